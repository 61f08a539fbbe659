#!/usr/bin/env python3
"""The other side of `perennial bench embed`: open_clip's encode_image and encode_text under torch.inference_mode, in fp32 or, with --bf16,
by autocast to bf16.

Text is padded to the model's context length, as open_clip's tokenizer gives it; how long the captions are changes nothing. Every number of
threads up to the machine's is tried, and the best one is told for each tower. Prints JSON. Run through bench/embed."""
import argparse
import json
import os
import resource
import statistics
import time

import open_clip
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="ViT-B-32")
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--seconds", type=float, default=1.0, help="a repeat, at least")
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--threads", type=int, default=0, help="only this many")
parser.add_argument("--compile", action="store_true", help="torch.compile both towers")
parser.add_argument("--bf16", action="store_true", help="autocast to bf16")
options = parser.parse_args()

torch.manual_seed(0)
model = open_clip.create_model(options.model).eval()
side, context, vocabulary = model.visual.image_size[0], model.context_length, model.vocab_size
images = torch.randn(options.batch, 3, side, side)
texts = torch.randint(1, vocabulary - 1, (options.batch, context))
texts[:, 15] = vocabulary - 1
encode = {"images": (model.encode_image, images), "texts": (model.encode_text, texts)}
if options.compile:
    encode = {name: (torch.compile(function), batch) for name, (function, batch) in encode.items()}


def rates(function, batch):
    found = []
    function(batch, normalize=True)
    for _ in range(options.repeats):
        begin, runs = time.perf_counter(), 0
        while runs == 0 or time.perf_counter() - begin < options.seconds:
            function(batch, normalize=True)
            runs += 1
        found.append(runs * options.batch / (time.perf_counter() - begin))
    return found


result = {"torch": torch.__version__, "open_clip": open_clip.__version__, "model": options.model, "batch": options.batch, "compile": options.compile}
cores = len(os.sched_getaffinity(0))
with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bf16):
    for name, (function, batch) in encode.items():
        best = None
        for threads in [options.threads] if options.threads else sorted({1, max(1, cores // 2), cores}):
            torch.set_num_threads(threads)
            found = rates(function, batch)
            if best is None or statistics.median(found) > statistics.median(best[1]):
                best = (threads, found)
        result[f"{name}_per_s"] = statistics.median(best[1])
        result[f"{name}_per_s_least"], result[f"{name}_per_s_most"], result[f"{name}_threads"] = min(best[1]), max(best[1]), best[0]
result["process_peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(result))
