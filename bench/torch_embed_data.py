#!/usr/bin/env python3
"""The other side of `perennial embed`: a data set's embeddings with open_clip's model, its evaluation transform and its evaluation pipeline.

First writes the model, random weights, to --weights where there is none: the folder that `perennial embed --model` takes. Prints JSON: the
seconds of embedding alone, without imports and without loading the model. With --compare FILE the embeddings are compared with those that
`perennial embed` wrote: the smallest cosine between the two sides' embeddings of the same sample. Run through bench/embed."""
import argparse
import json
import os
import pathlib
import time

import open_clip
import safetensors.torch
import torch
from open_clip_train.data import get_wds_dataset

parser = argparse.ArgumentParser()
parser.add_argument("--shards", required=True, help="brace ranges")
parser.add_argument("--model", default="ViT-B-32")
parser.add_argument("--weights", type=pathlib.Path, required=True)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--workers", type=int, default=1)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--compare", type=pathlib.Path)
parser.add_argument("--only-weights", action="store_true", help="write the model and stop")
options = parser.parse_args()

torch.manual_seed(0)
if options.threads:
    torch.set_num_threads(options.threads)
model = open_clip.create_model(options.model).eval()
file = options.weights / "open_clip_model.safetensors"
if not file.exists():
    options.weights.mkdir(parents=True, exist_ok=True)
    (options.weights / "open_clip_config.json").write_text(json.dumps({"model_cfg": open_clip.get_model_config(options.model)}))
    safetensors.torch.save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
if options.only_weights:
    print("{}")
    os._exit(0)
model.load_state_dict(safetensors.torch.load_file(file))
transform = open_clip.image_transform(model.visual.image_size[0], is_train=False)
arguments = argparse.Namespace(val_data=options.shards, val_num_samples=0, seed=1, workers=options.workers, world_size=1, batch_size=options.batch)
loader = get_wds_dataset(arguments, transform, is_train=False, tokenizer=open_clip.get_tokenizer(options.model)).dataloader
images, texts = [], []
begin = time.perf_counter()
with torch.inference_mode():
    for batch, tokens in loader:
        images.append(model.encode_image(batch, normalize=True))
        texts.append(model.encode_text(tokens, normalize=True))
seconds = time.perf_counter() - begin
result = {"samples": sum(len(part) for part in images), "seconds": seconds, "workers": options.workers, "threads": torch.get_num_threads()}
if options.compare:
    other = safetensors.torch.load_file(options.compare)
    for name, mine in (("image", torch.cat(images)), ("text", torch.cat(texts))):
        cosines = torch.nn.functional.cosine_similarity(mine, other[f"{name}_embeddings"].float())
        result[f"least_{name}_cosine"] = cosines.min().item()
print(json.dumps(result))
os._exit(0)  # workers are not waited for
