"""Collections over random subsets of runs that share stages: whatever is kept trains nothing afterwards and has the results it had.

usage: gc_subsets.py PERENNIAL FOLDER [ROUNDS]
"""
import json
import os
import random
import re
import shutil
import subprocess
import sys

perennial, folder = sys.argv[1:3]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 6
os.chdir(folder)


def call(*arguments, code=0):
    done = subprocess.run([perennial, *arguments], capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def stages(workspace):
    return {name for name in os.listdir(f"{workspace}/stages")}


def weights(workspace):
    found = {}
    for name in stages(workspace):
        with open(f"{workspace}/stages/{name}/open_clip_model.safetensors", "rb") as file:
            found[name] = file.read()
    return found


def scores(workspace, run):
    results = json.loads(call("results", workspace, "--run", str(run), "--json").stdout)
    return {label: strategy["tasks"] for label, strategy in results["strategies"].items()}, results["strategies"].keys()


STRATEGIES = ["p.sequential {}", "p.oracle {}", "p.restart {}", "p.patching { a = 0.5 }", "p.merge { method = 'ema', decay = 0.5 }", "p.cumulative {}"]
with open("recipe.lua", encoding="utf-8") as file:
    recipe = file.read()
chance = random.Random(4)
recipes = []
for number in range(5):
    chosen = ["p.sequential {}"] * (number == 0) or chance.sample(STRATEGIES, chance.randint(1, 4))
    name = f"subset{number}"
    text = recipe.replace('name = "stripes"', f'name = "{name}"').replace("p.sequential {}, p.oracle {}", ", ".join(chosen))
    with open(f"{name}.lua", "w", encoding="utf-8") as file:
        file.write(text)
    recipes.append(name)
    call("run", f"{name}.lua", "--workspace", "whole", "--quiet")

before = {name: scores("whole", name) for name in recipes}
bytes_before = weights("whole")
shared, without_state = set(), []
for _ in range(rounds):
    kept = set(chance.sample(recipes, chance.randint(0, len(recipes))))
    shutil.rmtree("part", ignore_errors=True)
    shutil.copytree("whole", "part")
    forget = [word for name in recipes if name not in kept for word in ("--forget", name)]
    if chance.random() < 0.5:
        forget.append("--optimizer")
    plan = json.loads(call("gc", "part", *forget, "--json").stdout)
    assert not plan["done"] and stages("part") == stages("whole")
    done = json.loads(call("gc", "part", *forget, "--yes", "--json").stdout)
    assert done["done"] and done["removed"] == plan["removed"] and done["bytes"] == plan["bytes"]
    shared.add(len(stages("part")))
    listed = {run["name"] for run in json.loads(call("ls", "part", "--json").stdout)["runs"]}
    assert listed == kept, (listed, kept)
    assert json.loads(call("gc", "part", "--json").stdout)["removed"] == []
    for name in sorted(kept):
        again = call("run", f"{name}.lua", "--workspace", "part")
        assert "stages are trained already" in again.stderr, again.stderr
        assert scores("part", name) == before[name]
    for name, content in weights("part").items():
        assert content == bytes_before[name]
    for name in recipes:  # and what was forgotten comes back as it was
        if name in kept:
            continue
        command = [perennial, "run", f"{name}.lua", "--workspace", "part", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        for _ in range(8):  # --optimizer took a state that it goes on from: the error names the stage, whose folder is to be removed
            if done.returncode == 0:
                break
            assert "--optimizer" in forget and done.returncode == 1 and "/optimizer.safetensors: cannot open" in done.stderr, done
            without_state.append(name)
            shutil.rmtree(re.search(r"remove the folder (\S+) to train", done.stderr).group(1))
            done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done
        assert scores("part", name) == before[name]
assert len(shared) > 1, shared
print(rounds, "collections")
