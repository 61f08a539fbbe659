#!/usr/bin/env python3
"""Kills a run of every strategy with SIGKILL again and again; the same command must lead to the bytes of the run that nothing disturbed.

usage: kill.py [--kills N] [--jobs N] [--seed S] [--steps N] [--keep]     (PRN_BUILD_DIR names the build)

Each kill is at a random moment, or at the instant at which a checkpoint, a finished model, a stage's last file or the ledger's journal is
being written, or a set is being scored. With --jobs it is all processes at once, one worker, or the one that leads. A run that comes to its end is
compared, and the next one begins in a new workspace, until there were N kills and the last run has ended.
"""
import argparse
import collections
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import workload

TRIGGERS = {  # what must be there at the instant
    "checkpoint": lambda w: glob.glob(w + "/stages/*/checkpoint-*.tmp-*"),
    "model": lambda w: glob.glob(w + "/stages/*/open_clip_model.safetensors.tmp-*"),
    "finishing": lambda w: glob.glob(w + "/stages/*/optimizer.safetensors.tmp-*") or glob.glob(w + "/stages/*/stage.json.tmp-*"),
    "ledger": lambda w: os.path.exists(w + "/ledger.sqlite-journal"),
}


def log_lines(workspace):
    try:
        with open(workspace + "/run.log") as file:
            return file.read().splitlines()
    except OSError:
        return []


def phase(workspace, since):
    """What was under way, from files and from what this attempt has logged."""
    for name, there in TRIGGERS.items():
        if name != "ledger" and there(workspace):
            return name
    lines = [l for l in log_lines(workspace)[since:] if " progress: " in l]
    if not lines:
        return "starting"
    last = lines[-1]
    found = re.search(r"\| (\d+)/(\d+) ", last)
    if "scoring" in last:
        return "scoring" if not found or found.group(1) != found.group(2) else "between"
    if found and found.group(1) == found.group(2):
        return "finishing"
    return "training" if found else "merging"


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    random = workload.generator(options.seed if options.seed is not None else int(time.time()))
    folder = tempfile.mkdtemp(prefix="prn-kill-", dir="/tmp")
    names = workload.make(folder, options.steps, max(1, options.steps // 6))
    os.chdir(folder)
    begin = time.monotonic()
    whole = workload.run("run", "recipe.lua", "--workspace", "whole", "--quiet")
    if whole.returncode != 0:
        sys.exit(f"the undisturbed run failed: {whole.stderr}")
    whole_s = time.monotonic() - begin
    wanted = workload.outcome("whole")
    print(f"{len(names)} strategies ({', '.join(names)}), {len(wanted['stages'])} stages, undisturbed {whole_s:.1f} s")

    kills = runs = attempts = 0
    phases, targets = collections.Counter(), collections.Counter()
    begun = time.monotonic()
    while kills < options.kills:
        workspace = f"run-{runs}"
        command = [workload.program(), "run", "recipe.lua", "--workspace", workspace, "--quiet"]
        command += ["--jobs", str(options.jobs)] if options.jobs > 1 else []
        in_this_run = 0
        while True:
            attempts += 1
            since = len(log_lines(workspace))
            errors = open("errors.txt", "w+")
            process = subprocess.Popen(command, stderr=errors, stdout=subprocess.DEVNULL, start_new_session=True)
            # the later attempts of a run get further, or it would never end
            limit = whole_s * random.uniform(0.02, 0.35) * (1 + in_this_run / 8) if kills < options.kills else 1e9
            target = random.choice(["time", "time", "time", *TRIGGERS, "scoring"])
            begin, hit = time.monotonic(), None
            after = random.uniform(0, limit)
            while process.poll() is None:
                spent = time.monotonic() - begin
                is_now = spent > after and kills < options.kills and (
                    target == "time" or spent > 3 * limit or
                    (TRIGGERS[target](workspace) if target in TRIGGERS else phase(workspace, since) == "scoring"))
                if is_now:
                    hit = phase(workspace, since)
                    victims = [process.pid]
                    who = "all"
                    if options.jobs > 1:
                        who = random.choice(["all", "worker", "leader"])
                        workers = children(process.pid)
                        if who == "all":
                            victims += workers
                        elif who == "worker" and workers:
                            victims = [random.choice(workers)]
                    for pid in victims:
                        try:
                            os.kill(pid, signal.SIGKILL)
                        except ProcessLookupError:
                            pass
                    kills += 1
                    in_this_run += 1
                    phases[hit] += 1
                    targets[who] += 1
                    if who == "worker":  # the others go on: until the next one
                        after, target = spent + random.uniform(0, limit), "time"
                        continue
                    break
                time.sleep(0.0003)
            code = process.wait()
            errors.seek(0)
            text = errors.read()
            errors.close()
            if code == 0:
                break
            if code != -signal.SIGKILL and not (options.jobs > 1 and "all jobs were ended by signals" in text):
                sys.exit(f"after {kills} kills, exit code {code}: {text}")
        runs += 1
        files, cells = workload.compare(wanted, workspace)
        shutil.rmtree(workspace)
    print(f"{kills} kills over {runs} runs and {attempts} attempts{'' if options.jobs == 1 else f' with --jobs {options.jobs}'}, in"
          f" {time.monotonic() - begun:.0f} s: {files} files and {cells} cells of the matrix equal each time")
    print("  at:", ", ".join(f"{name} {count}" for name, count in phases.most_common()))
    if options.jobs > 1:
        print("  of:", ", ".join(f"{name} {count}" for name, count in targets.most_common()))
    if not options.keep:
        os.chdir("/")
        shutil.rmtree(folder)


main()
