"""Writes a tiny stream into a folder, with the standard library alone: PNG shards, a vocabulary, a manifest, a recipe.

make_stream.py FOLDER [--steps N] [--train N] [--broken N]
"""
import argparse
import io
import os
import random
import struct
import tarfile
import zlib

SIDE = 16
KINDS = ["upright red", "level green", "upright blue", "level red", "upright green", "level blue"]


def png(kind, number):
    noise = random.Random(number)
    rows = bytearray()
    for y in range(SIDE):
        rows.append(0)
        for x in range(SIDE):
            on = ((x if kind % 2 == 0 else y) // 4) % 2
            for c in range(3):
                rows.append((200 * on if c == kind % 3 else 30) + noise.randrange(16))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")


def shard(path, first, count, broken=0, with_class=False):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as out:
        for number in range(first, first + count):
            kind = number % len(KINDS)
            parts = [("png", b"no image" if number < first + broken else png(kind, number)),
                     ("txt", f"{KINDS[kind]} stripes {number}".encode())]
            if with_class:
                parts.append(("cls", str(kind).encode()))
            for extension, data in parts:
                member = tarfile.TarInfo(f"{number:06d}.{extension}")
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))


RECIPE = """local p = require "perennial"
return p.recipe {
  name = "stripes",
  stream = "stream.yaml",
  model = p.model { base = "nano", embed_dim = 16, vision = { image_size = 16, patch_size = 8, width = 16, layers = 1, head_width = 8 },
                    text = { context_length = 16, width = 16, heads = 2, layers = 1 } },
  batch = 8,
  budget = p.steps(6),
  schedule = p.cosine { peak = 1e-3 },
  strategies = { p.sequential {}, p.oracle {} },
  backend = "cpu",
  seed = 1,
}
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--train", type=int, default=24)
    parser.add_argument("--broken", type=int, default=0)
    options = parser.parse_args()
    lines = ["stream: stripes", "vocabulary: vocab.txt", "classes: classes.txt", 'templates: ["a picture of {}"]', "steps:"]
    for step in range(options.steps):
        name = str(2016 + step)
        for part in range(2):
            shard(f"{options.folder}/train/{name}-{part}.tar", 1000 * step + part * options.train // 2, options.train // 2,
                  options.broken if part == 0 else 0)
        shard(f"{options.folder}/eval/{name}.tar", 1000 * step + 500, 12, with_class=True)
        lines += [f'  - name: "{name}"', f'    train: {{ shards: "train/{name}-{{0..1}}.tar", samples: {options.train} }}',
                  "    evaluations:", f'      - {{ name: retrieval, kind: retrieval, shards: "eval/{name}.tar" }}',
                  f'      - {{ name: stripes, kind: classification, shards: "eval/{name}.tar" }}']
    with open(f"{options.folder}/stream.yaml", "w") as out:
        out.write("\n".join(lines) + "\n")
    with open(f"{options.folder}/classes.txt", "w") as out:
        out.write("\n".join(KINDS) + "\n")
    with open(f"{options.folder}/vocab.txt", "w") as out:
        out.write("#version: 0.2\nr e\ns t\nst r\ni p\ne s</w>\n")
    with open(f"{options.folder}/recipe.lua", "w") as out:
        out.write(RECIPE)


main()
