#!/usr/bin/env python3
"""The other side of `perennial bench train`: the same optimizer step in PyTorch, with open_clip's model.

Text is padded to the model's context length, as open_clip's trainer does. Prints JSON: samples_per_s (median), least and most.
Run through bench/train and bench/memory, which set up the packages and run both sides in turn."""
import argparse
import json
import resource
import statistics
import time

import open_clip
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="ViT-B-32", help="an open_clip name, or a model_cfg JSON file")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--steps", type=int, default=3, help="a repeat; 0: as many as take about two seconds")
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--compile", action="store_true", help="torch.compile the model")
parser.add_argument("--device", default="cpu", help="cpu or cuda")
parser.add_argument("--bf16", action="store_true", help="autocast to bf16: fp32 weights and optimizer state")
options = parser.parse_args()

if options.threads:
    torch.set_num_threads(options.threads)
torch.manual_seed(0)
if options.model.endswith(".json"):
    config = json.load(open(options.model))
    config = config.get("model_cfg", config)
    model = open_clip.CLIP(embed_dim=config["embed_dim"], vision_cfg=config["vision_cfg"], text_cfg=config["text_cfg"],
                           quick_gelu=config.get("quick_gelu", False))
    side, context, vocabulary = config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"], config["text_cfg"]["vocab_size"]
else:
    model = open_clip.create_model(options.model)
    side, context, vocabulary = model.visual.image_size[0], model.context_length, model.vocab_size
model = model.to(options.device)
decayed = [p for p in model.parameters() if p.ndim >= 2]
plain = [p for p in model.parameters() if p.ndim < 2]
try:
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.2}, {"params": plain, "weight_decay": 0.0}], lr=1e-5, betas=(0.9, 0.98),
                                  eps=1e-6, fused=True)
except (RuntimeError, TypeError):
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.2}, {"params": plain, "weight_decay": 0.0}], lr=1e-5, betas=(0.9, 0.98),
                                  eps=1e-6)
loss_of = open_clip.ClipLoss()
images = torch.randn(options.batch, 3, side, side)
texts = torch.randint(1, vocabulary - 1, (options.batch, context))
texts[:, 15] = vocabulary - 1  # the end-of-text token: what lies behind it is computed all the same
images, texts = images.to(options.device), texts.to(options.device)
forward = torch.compile(model) if options.compile else model
on_gpu = options.device.startswith("cuda")


def wait():
    if on_gpu:
        torch.cuda.synchronize()


def step():
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(options.device.split(":")[0], dtype=torch.bfloat16, enabled=options.bf16):
        image, text, scale = forward(images, texts)[:3]
        loss = loss_of(image, text, scale)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, 4.6052)


for _ in range(2):
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
print(json.dumps({
    "torch": torch.__version__, "open_clip": open_clip.__version__, "model": options.model, "batch": options.batch, "compile": options.compile,
    "threads": torch.get_num_threads(), "samples_per_s": statistics.median(rates), "samples_per_s_least": min(rates), "samples_per_s_most": max(rates),
    "device": torch.cuda.get_device_name() if on_gpu else "cpu", "bf16": options.bf16,
    "device_peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else 0,
    "process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
