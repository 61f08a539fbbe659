#!/usr/bin/env python3
"""The other side of `perennial bench data`: open_clip's trainer's own data pipeline (webdataset, Pillow, torchvision, its tokenizer).

`get_wds_dataset` of open_clip_train and open_clip's training transform are called as its main program calls them. With --workers 0 the
pipeline runs in this process, which is the kindest to it: nothing is sent between processes. Prints JSON: samples_per_s, and the CPU time
of a sample, user and system, with that of worker processes. Run through bench/data."""
import argparse
import importlib.metadata
import json
import os
import resource
import statistics
import time

import open_clip
import PIL
import torch
from open_clip_train.data import get_wds_dataset

parser = argparse.ArgumentParser()
parser.add_argument("--shards", required=True, help="brace ranges")
parser.add_argument("--samples", type=int, required=True, help="of all shards")
parser.add_argument("--model", default="ViT-B-32")
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--steps", type=int, default=8, help="a repeat")
parser.add_argument("--repeats", type=int, default=3)
options = parser.parse_args()

torch.set_num_threads(1)
config = open_clip.get_model_config(options.model)
side = config["vision_cfg"]["image_size"]
transform = open_clip.image_transform(side, is_train=True, aug_cfg={"scale": (0.9, 1.0)})
tokenizer = open_clip.get_tokenizer(options.model)
arguments = argparse.Namespace(train_data=options.shards, train_num_samples=options.samples, dataset_resampled=False,
                               train_data_upsampling_factors=None, seed=1, workers=options.workers, world_size=1, batch_size=options.batch)
loader = get_wds_dataset(arguments, transform, is_train=True, epoch=0, floor=True, tokenizer=tokenizer).dataloader


def cpu_s():
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    ticks = os.sysconf("SC_CLK_TCK")
    for name in os.listdir("/proc"):  # workers that live are in no resource usage yet
        try:
            fields = open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split() if name.isdigit() else None
        except OSError:
            continue
        if fields and int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def batches():
    while True:
        yield from loader


stream = batches()
for _ in range(3):
    images, texts = next(stream)
assert images.shape == (options.batch, 3, side, side) and texts.shape[0] == options.batch
rates, cpu = [], []
for _ in range(options.repeats):
    begin, begin_cpu = time.perf_counter(), cpu_s()
    for _ in range(options.steps):
        next(stream)
    drawn = options.steps * options.batch
    rates.append(drawn / (time.perf_counter() - begin))
    cpu.append((cpu_s() - begin_cpu) / drawn)
versions = {name: importlib.metadata.version(name) for name in ("open_clip_torch", "webdataset", "torchvision", "torch", "pillow")}
features = __import__("PIL.features", fromlist=["features"])
versions["libjpeg-turbo"] = features.version("libjpeg_turbo") or "?"
print(json.dumps({
    "versions": versions, "batch": options.batch, "workers": options.workers, "samples_per_s": statistics.median(rates),
    "samples_per_s_least": min(rates), "samples_per_s_most": max(rates), "cpu_ms_per_sample": 1000 * statistics.median(cpu),
}))
os._exit(0)  # workers are not waited for
