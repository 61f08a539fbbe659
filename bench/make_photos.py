#!/usr/bin/env python3
"""Makes the data that the data path is measured on: WebDataset shards of JPEG photos with captions, and the stream's manifest.

The photos are real ones that two Python packages carry (scikit-image, scikit-learn). Each sample is a random part of one of them, mirrored
or not, scaled so that its longer side is about 500 pixels, at JPEG quality 90 with libjpeg's usual colour subsampling: what ImageNet and
image-text sets gathered from the web look like. Captions are words of CLIP's own vocabulary, drawn as words occur (the n-th most common
with a probability of 1/n), 8 to 18 of them, some glued together, so that a caption is 10 to 20 tokens and more than one is split.
The same seed gives the same samples; the bytes depend on the versions of Pillow and of the packages.
"""
import argparse
import gzip
import io
import itertools
import os
import pathlib
import random
import shutil
import tarfile

import open_clip
import sklearn
import skimage
from PIL import Image

SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "hubble_deep_field.jpg", "retina.jpg")
SKLEARN = ("china.jpg", "flower.jpg")
SHAPES = ((500, 375), (500, 333), (375, 500), (333, 500), (500, 400), (500, 500), (480, 360))

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path, required=True)
parser.add_argument("--shards", type=int, default=4)
parser.add_argument("--samples", type=int, default=256, help="a shard")
parser.add_argument("--quality", type=int, default=90)
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()

random.seed(options.seed)
options.out.mkdir(parents=True, exist_ok=True)
folders = ((pathlib.Path(skimage.__file__).parent / "data", SKIMAGE), (pathlib.Path(sklearn.__file__).parent / "datasets" / "images", SKLEARN))
photos = [Image.open(folder / name).convert("RGB") for folder, names in folders for name in names if (folder / name).exists()]
if len(photos) < 4:
    raise SystemExit("fewer than 4 of the packages' photos are there; are scikit-image and scikit-learn installed whole?")

vocabulary = pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
merges = gzip.open(vocabulary, "rt", encoding="utf-8").read().split("\n")[1:48895]
words = [(a + b)[:-4] for a, b in (merge.split() for merge in merges) if b.endswith("</w>") and (a + b)[:-4].isalpha() and (a + b).isascii()]
cumulative = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(words))))  # merges are in the order of how common they are


def caption():
    drawn = random.choices(words, cum_weights=cumulative, k=random.randint(8, 16))
    if random.random() < 0.5:
        at = random.randrange(1, len(drawn))
        drawn[at - 1:at + 1] = ["".join(drawn[at - 1:at + 1])]
    text = " ".join(drawn)
    return text.capitalize() + random.choice((".", "", ", " + str(random.randint(1990, 2026))))


def photo():
    source, (width, height) = random.choice(photos), random.choice(SHAPES)
    part = min(source.width / width, source.height / height) * random.uniform(0.7, 1)
    box_width, box_height = part * width, part * height
    left, top = random.uniform(0, source.width - box_width), random.uniform(0, source.height - box_height)
    image = source.resize((width, height), Image.Resampling.LANCZOS, box=(left, top, left + box_width, top + box_height))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=options.quality)
    return data.getvalue()


total = 0
for shard in range(options.shards):
    with tarfile.open(options.out / f"train-{shard:04d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in range(options.samples):
            key = f"{shard:04d}{sample:06d}"
            for name, data in ((f"{key}.jpg", photo()), (f"{key}.txt", caption().encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                total += len(data)
                tar.addfile(member, io.BytesIO(data))
shutil.copyfile(vocabulary, options.out / "bpe_simple_vocab_16e6.txt.gz")
manifest = f"""stream: photos
root: .
vocabulary: bpe_simple_vocab_16e6.txt.gz
steps:
  - name: "1"
    train: {{ shards: "train-{{0000..{options.shards - 1:04d}}}.tar", samples: {options.shards * options.samples} }}
"""
temporary = options.out / ".photos.yaml"
temporary.write_text(manifest)
os.replace(temporary, options.out / "photos.yaml")
print(f"{options.out}: {options.shards * options.samples} samples of {len(photos)} photos, {total / options.shards / options.samples / 1024:.0f} KiB each")
