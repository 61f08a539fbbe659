"""What the stress scripts run: a small stream, a recipe with every strategy that is installed, and the comparison of two workspaces."""
import glob
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Options that a strategy needs on a stream this small, or that make it do more; every other one is run as it comes.
OPTIONS = {
    "agem": "memory_batch = 8",
    "ewc": "batches = 2, weight = 1",
    "merge": 'method = "ties"',
    "patching": 'grid = { 0.25, 0.75 }, validation = "retrieval"',
    "replay": "mix = 0.5",
    "zscl": "memory_batch = 8",
}

RECIPE = """local p = require "perennial"
return p.recipe {
  name = "stress",
  stream = "stream.yaml",
  model = p.model { base = "nano", embed_dim = 16, vision = { image_size = 16, patch_size = 8, width = 16, layers = 1, head_width = 8 },
                    text = { context_length = 16, width = 16, heads = 2, layers = 1 } },
  batch = 8,
  budget = p.steps(%(steps)d),
  schedule = p.cosine { peak = 1e-3, warmup = 2 },
  save_every = p.steps(%(save)d),
  strategies = {
%(strategies)s  },
  backend = "cpu",
  seed = 3,
}
"""


def program():
    return os.path.join(os.environ.get("PRN_BUILD_DIR") or sys.exit("set PRN_BUILD_DIR to a build folder"), "perennial")


def run(*arguments, **options):
    return subprocess.run([program(), *arguments], text=True, capture_output=True, **options)


def every_strategy():
    listed = run("strategies", "--json")
    if listed.returncode != 0:
        sys.exit(f"perennial strategies: {listed.stderr}")
    return [s["name"] for s in json.loads(listed.stdout)["strategies"]]


def make(folder, steps, save, time_steps=3, strategies=None):
    """The stream and the recipe; returns the strategies' names."""
    names = strategies or every_strategy()
    subprocess.run([sys.executable, os.path.join(HERE, "..", "cli", "make_stream.py"), folder, "--steps", str(time_steps)], check=True)
    text = "".join(f"    p.{name} {{ {OPTIONS.get(name, '') if not strategies or name in OPTIONS else ''} }},\n" for name in names)
    with open(os.path.join(folder, "recipe.lua"), "w") as out:
        out.write(RECIPE % {"steps": steps, "save": save, "strategies": text})
    return names


def outcome(workspace):
    """Everything that an interruption must not change: weights, what strategies keep, scores, metrics but for their times."""
    files = {}
    for path in sorted(glob.glob(workspace + "/stages/*/*")):
        name = os.path.relpath(path, workspace)
        base = os.path.basename(path)
        if base in ("open_clip_model.safetensors", "open_clip_config.json") or base.startswith("kept"):
            with open(path, "rb") as file:
                files[name] = hashlib.sha256(file.read()).hexdigest()
    database = sqlite3.connect(workspace + "/ledger.sqlite", timeout=60)
    rows = {
        "matrix": "SELECT strategy, after_step, task, task_step, score, value FROM matrix",
        "metrics": "SELECT key, step, loss, learning_rate, gradient_norm, logit_scale FROM step_metrics JOIN stages ON stages.id = stage",
        "stages": "SELECT key, parent, time_step, steps, samples, forward_macs, total_macs, state FROM stages",
        "skipped": "SELECT key, shard, reason, sum(count) FROM skipped_samples JOIN stages ON stages.id = stage GROUP BY key, shard, reason",
        "state": "SELECT state FROM runs",
    }
    found = {name: sorted(map(repr, database.execute(text))) for name, text in rows.items()}
    if [r[0] for r in database.execute("PRAGMA integrity_check")] != ["ok"]:
        sys.exit(f"{workspace}/ledger.sqlite is damaged")
    database.close()
    found["files"] = files
    return found


def compare(wanted, workspace):
    got = outcome(workspace)
    for part in wanted:
        if got[part] != wanted[part]:
            a, b = (set(v.items()) if isinstance(v, dict) else set(v) for v in (wanted[part], got[part]))
            sys.exit(f"{workspace}: {part} differ\n  only undisturbed: {sorted(a - b)[:4]}\n  only here: {sorted(b - a)[:4]}")
    left = [p for pattern in ("/stages/*/checkpoint-*", "/stages/*/*.tmp-*", "/processes/*") for p in glob.glob(workspace + pattern)]
    if left:
        sys.exit(f"{workspace}: left over: {left}")
    return len(got["files"]), len(got["matrix"])


def generator(seed):
    print(f"seed {seed}")
    return random.Random(seed)
