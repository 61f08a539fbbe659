#!/usr/bin/env python3
"""Lets every call by which `perennial gc --yes` changes a file fail, or kills it there: what a kept run needs is always whole, the next collection
ends what this one began, and what was forgotten can be run again to the same bytes.

usage: collect.py [--kinds kill,full,eio] [--each K] [--seed S]

--each 1 tries every call; a larger number every K-th, beginning at a random one. PRN_BUILD_DIR names the build.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import workload

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", default="kill,full,eio")
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    random = workload.generator(options.seed if options.seed is not None else int(time.time()))
    folder = os.path.realpath(tempfile.mkdtemp(prefix="prn-collect-", dir="/tmp"))
    workload.make(folder, steps=2, save=1, time_steps=2, strategies=["sequential", "patching"])
    os.chdir(folder)
    with open("recipe.lua", encoding="utf-8") as file:
        text = file.read()
    with open("other.lua", "w", encoding="utf-8") as file:  # shares the first time step of `sequential` with the other one
        file.write(text.replace('name = "stress"', 'name = "other"').replace("p.patching", "p.oracle {}, -- p.patching"))
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", "faulty_disk.so", f"{HERE}/faulty_disk.c", "-ldl", "-lpthread"], check=True)

    def must(*arguments, **more):
        done = workload.run(*arguments, timeout=120, **more)
        if done.returncode != 0:
            sys.exit(f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr}")
        return done

    def collect(kind="", at=-1):
        env = dict(os.environ, LD_PRELOAD=f"{folder}/faulty_disk.so", FAULT_FOLDER=f"{folder}/part", FAULT_KIND=kind, FAULT_AT=str(at),
                   FAULT_REPORT=f"{folder}/report", ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0")
        done = workload.run("gc", "part", "--forget", "other", "--yes", env=env, timeout=120)
        try:
            return done, int(open("report").read().strip().partition(" ")[0])
        except (OSError, ValueError):  # it was killed while it wrote that
            return done, 0

    must("run", "recipe.lua", "--workspace", "alone", "--quiet")
    wanted = workload.outcome("alone")
    must("run", "recipe.lua", "--workspace", "whole", "--quiet")
    must("run", "other.lua", "--workspace", "whole", "--quiet")
    both = workload.outcome("whole")
    shutil.copytree("whole", "part")
    whole, calls = collect()
    if whole.returncode != 0 or calls < 10:
        sys.exit(f"the undisturbed collection: exit code {whole.returncode}, {calls} calls: {whole.stderr}")
    workload.compare(wanted, "part")
    tried = 0
    for kind in options.kinds.split(","):
        for at in range(1 + random.randrange(options.each), calls + 1, options.each):
            shutil.rmtree("part")
            shutil.copytree("whole", "part")
            done, _ = collect(kind, at)
            if done.returncode not in ((-9, 0) if kind == "kill" else (0, 1)):
                sys.exit(f"{kind} at call {at}: exit code {done.returncode}: {done.stderr}")
            again = must("run", "recipe.lua", "--workspace", "part")
            if "trained already" not in again.stderr:
                sys.exit(f"{kind} at call {at}: the kept run trained again: {again.stderr}")
            listed = must("ls", "part", "--json").stdout
            must("gc", "part", *(("--forget", "other") if '"other"' in listed else ()), "--yes")
            workload.compare(wanted, "part")
            must("run", "other.lua", "--workspace", "part", "--quiet")
            workload.compare(both, "part")
            tried += 1
    print(f"{calls} calls change files of a collection; {tried} faults, and nothing that was kept was lost")
    os.chdir("/")
    shutil.rmtree(folder)


main()
