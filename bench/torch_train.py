#!/usr/bin/env python3
"""The other side of `perennial bench train`: the same optimizer step in PyTorch, with open_clip's model (bench/torch_clip.py without it).

Text is padded to the model's context length, as open_clip's trainer does. With --shards, batches come from WebDataset shards through
open_clip's own pipeline, by pinned memory; without, they lie on the device already. Prints JSON: samples_per_s (median), least and most, and
with --peak what a bf16 (fp32 without --bf16) matrix product of 8192 x 8192 x 8192 reaches on the same device.
Run through bench/train, bench/memory and tests/gpu/run, which set up the packages and run both sides in turn."""
import argparse
import json
import os
import resource
import statistics
import time

import torch

try:
    import open_clip
except ImportError:
    open_clip = None
import torch_clip

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="ViT-B-32", help="an open_clip name, or a model_cfg JSON file")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--steps", type=int, default=3, help="a repeat; 0: as many as take about two seconds")
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--compile", action="store_true", help="torch.compile the model")
parser.add_argument("--device", default="cpu", help="cpu or cuda")
parser.add_argument("--bf16", action="store_true", help="autocast to bf16: fp32 weights and optimizer state")
parser.add_argument("--plain", action="store_true", help="the model of bench/torch_clip.py although open_clip is there")
parser.add_argument("--peak", action="store_true", help="measure the matrix product as well")
parser.add_argument("--peak-side", type=int, default=8192)
parser.add_argument("--shards", help="brace ranges: end to end from these")
parser.add_argument("--samples", type=int, default=0, help="of all shards")
parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
options = parser.parse_args()

if options.threads:
    torch.set_num_threads(options.threads)
torch.manual_seed(0)
torch.set_float32_matmul_precision("high" if options.bf16 else "highest")
on_gpu = options.device.startswith("cuda")
plain_model = options.plain or open_clip is None
config = None
if options.model.endswith(".json"):
    with open(options.model) as file:
        config = json.load(file)
    config = config.get("model_cfg", config)
if plain_model:
    model, side, context, vocabulary = torch_clip.create(options.model, config)
elif config is not None:
    model = open_clip.CLIP(embed_dim=config["embed_dim"], vision_cfg=config["vision_cfg"], text_cfg=config["text_cfg"],
                           quick_gelu=config.get("quick_gelu", False))
    side, context, vocabulary = config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"], config["text_cfg"]["vocab_size"]
else:
    model = open_clip.create_model(options.model)
    side, context, vocabulary = model.visual.image_size[0], model.context_length, model.vocab_size
model = model.to(options.device)
decayed = [p for p in model.parameters() if p.ndim >= 2]
plain = [p for p in model.parameters() if p.ndim < 2]
groups = [{"params": decayed, "weight_decay": 0.2}, {"params": plain, "weight_decay": 0.0}]
fused = True
try:
    optimizer = torch.optim.AdamW(groups, lr=1e-5, betas=(0.9, 0.98), eps=1e-6, fused=True)
except (RuntimeError, TypeError):
    fused = False
    optimizer = torch.optim.AdamW(groups, lr=1e-5, betas=(0.9, 0.98), eps=1e-6)
loss_of = torch_clip.ClipLoss() if plain_model else open_clip.ClipLoss()


def made_up():
    images = torch.randn(options.batch, 3, side, side)
    texts = torch.randint(1, vocabulary - 1, (options.batch, context))
    texts[:, 15] = vocabulary - 1  # the end-of-text token: what lies behind it is computed all the same
    images, texts = images.to(options.device), texts.to(options.device)
    while True:
        yield images, texts


def from_shards():
    from open_clip_train.data import get_wds_dataset
    transform = open_clip.image_transform(side, is_train=True, aug_cfg={"scale": (0.9, 1.0)})
    wanted = argparse.Namespace(train_data=options.shards, train_num_samples=options.samples, dataset_resampled=False, seed=1, workers=options.workers,
                                train_data_upsampling_factors=None, world_size=1, batch_size=options.batch)
    loader = get_wds_dataset(wanted, transform, is_train=True, epoch=0, floor=True, tokenizer=open_clip.get_tokenizer("ViT-B-32")).dataloader
    while True:
        for images, texts in loader:
            if on_gpu:  # pinned, so that the copy runs beside the step before
                images, texts = images.pin_memory(), texts.pin_memory()
            yield images.to(options.device, non_blocking=True), texts.to(options.device, non_blocking=True)


forward = torch.compile(model) if options.compile else model
batches = from_shards() if options.shards else made_up()


def wait():
    if on_gpu:
        torch.cuda.synchronize()


def step():
    images, texts = next(batches)
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(options.device.split(":")[0], dtype=torch.bfloat16, enabled=options.bf16):
        image, text, scale = forward(images, texts)[:3]
        loss = loss_of(image, text, scale)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, 4.6052)


def matrix_product():
    n = options.peak_side
    a, b = (torch.randn(n, n, device=options.device, dtype=torch.bfloat16 if options.bf16 else torch.float32) for _ in range(2))
    best = 0
    for run in range(13):  # the first three warm up
        wait()
        begin = time.perf_counter()
        for _ in range(5):
            a @ b
        wait()
        best = max(best, 0 if run < 3 else 5 * 2 * n ** 3 / (time.perf_counter() - begin))
    return best / 1e9


for _ in range(3):
    step()
wait()
rates = []
for _ in range(options.repeats):
    begin, steps = time.perf_counter(), 0
    while steps < options.steps or (options.steps == 0 and time.perf_counter() - begin < 2):
        step()
        steps += 1
    wait()
    rates.append(steps * options.batch / (time.perf_counter() - begin))
free, total = torch.cuda.mem_get_info() if on_gpu else (0, 0)
result = {
    "torch": torch.__version__, "open_clip": None if plain_model else open_clip.__version__, "model": options.model, "batch": options.batch,
    "compile": options.compile, "fused_adamw": fused, "threads": torch.get_num_threads(), "samples_per_s": statistics.median(rates),
    "samples_per_s_least": min(rates), "samples_per_s_most": max(rates), "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    "bf16": options.bf16, "device_peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else 0, "device_used_bytes": total - free,
    "process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}
if options.peak:
    result["peak_gflops"] = matrix_product()
print(json.dumps(result), flush=True)
os._exit(0)  # workers are not waited for
