#!/usr/bin/env python3
"""Lets every call that changes a file of a run fail: after each fault the same command, on a disk that works, must lead to the bytes of the
run that nothing disturbed.

usage: faults.py [--kinds full,once,eio,short,kill,torn] [--each K] [--seed S] [--from K]

--each 1 tries every call of the run; a larger number every K-th, beginning at a random one. PRN_BUILD_DIR names the build.
"""
import argparse
import collections
import os
import shutil
import subprocess
import sys
import tempfile
import time

import workload

HERE = os.path.dirname(os.path.abspath(__file__))
REASONS = ("No space left on device", "the disk is full", "Input/output error", "disk I/O error", "database or disk is full", "unable to open database file")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", default="full,once,eio,short,kill,torn")
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    random = workload.generator(options.seed if options.seed is not None else int(time.time()))
    folder = os.path.realpath(tempfile.mkdtemp(prefix="prn-faults-", dir="/tmp"))
    workload.make(folder, steps=2, save=1, time_steps=2, strategies=["sequential", "patching"])
    os.chdir(folder)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", "faulty_disk.so", f"{HERE}/faulty_disk.c", "-ldl", "-lpthread"], check=True)

    def run(workspace, kind="", at=-1):
        env = dict(os.environ, LD_PRELOAD=f"{folder}/faulty_disk.so", FAULT_FOLDER=f"{folder}/{workspace}", FAULT_KIND=kind, FAULT_AT=str(at),
                   FAULT_REPORT=f"{folder}/report", ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0")
        done = workload.run("run", "recipe.lua", "--workspace", workspace, "--quiet", env=env, timeout=120)
        try:
            number, _, what = open("report").read().strip().partition(" ")
        except OSError: # it was killed while it wrote that
            number, what = "0", ""
        return done, int(number), what

    whole, calls, _ = run("whole")
    if whole.returncode != 0:
        sys.exit(f"the undisturbed run failed: {whole.stderr}")
    wanted = workload.outcome("whole")
    print(f"{calls} calls change files of the run")
    if calls < 100:
        sys.exit("that is too few: the calls are not seen")
    begin = time.monotonic()
    total = collections.Counter()
    for kind in options.kinds.split(","):
        ends = collections.Counter()
        for at in range(1 + random.randrange(options.each), calls + 1, options.each):
            workspace = "run"
            shutil.rmtree(workspace, ignore_errors=True)
            done, _, what = run(workspace, kind, at)
            here = f"{kind} at call {at} ({what})"
            if kind in ("kill", "torn"):
                ok = done.returncode in (-9, 0)
            elif kind == "short":
                ok = done.returncode == 0
            else: # a failure that matters is told: where, and what happened
                ok = done.returncode == 0 or (done.returncode == 1 and workspace in done.stderr and any(r in done.stderr for r in REASONS))
            if not ok:
                sys.exit(f"{here}: exit code {done.returncode}: {done.stderr}")
            again = workload.run("run", "recipe.lua", "--workspace", workspace, "--quiet", timeout=120)
            if again.returncode != 0:
                sys.exit(f"the same command after {here}: exit code {again.returncode}: {again.stderr}\n(before: {done.stderr})")
            try:
                workload.compare(wanted, workspace)
            except SystemExit as problem:
                sys.exit(f"after {here}: {problem}")
            ends["went on" if done.returncode == 0 else "failed" if done.returncode == 1 else "killed"] += 1
            total[kind] += 1
        print(f"  {kind}: {', '.join(f'{n} {e}' for e, n in ends.most_common())}")
    print(f"{sum(total.values())} faults, and the same bytes after each, in {time.monotonic() - begin:.0f} s")
    os.chdir("/")
    shutil.rmtree(folder)


main()
