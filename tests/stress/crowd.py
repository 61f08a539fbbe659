#!/usr/bin/env python3
"""Several processes at once in one workspace, of three recipes that share stages, with and without jobs; each is killed at random moments and
started again, some asked to stop instead. In the end every recipe is done, to the bytes of runs that were alone.

usage: crowd.py [--rounds N] [--processes N] [--kills N] [--seed S]      (PRN_BUILD_DIR names the build)
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import workload

SHARES = {"first": ["sequential", "oracle", "lwf"], "second": ["sequential", "patching", "merge"], "third": ["oracle", "ewc", "restart"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    random = workload.generator(options.seed if options.seed is not None else int(time.time()))
    folder = tempfile.mkdtemp(prefix="prn-crowd-", dir="/tmp")
    workload.make(folder, steps=20, save=3)
    os.chdir(folder)
    text = open("recipe.lua").read()
    begin = time.monotonic()
    for name, strategies in SHARES.items():
        with open(name + ".lua", "w") as out:
            lines = "".join(f"    p.{s} {{ {workload.OPTIONS.get(s, '')} }},\n" for s in strategies)
            head, tail = text.split("  strategies = {\n")[0], text.split("  },\n  backend")[1]
            out.write(head.replace('"stress"', f'"{name}"') + "  strategies = {\n" + lines + "  },\n  backend" + tail)
        alone = workload.run("run", name + ".lua", "--workspace", "alone", "--quiet")
        if alone.returncode != 0:
            sys.exit(f"{name}: {alone.stderr}")
    alone_s = time.monotonic() - begin
    wanted = workload.outcome("alone")
    print(f"{len(wanted['stages'])} stages of {len(SHARES)} recipes, undisturbed {alone_s:.1f} s")

    begun, total = time.monotonic(), {"killed": 0, "stopped": 0, "ended": 0}
    for turn in range(options.rounds):
        workspace = f"crowd-{turn}"

        def start(name):
            command = [workload.program(), "run", name + ".lua", "--workspace", workspace, "--quiet"] + random.choice([[], [], ["--jobs", "2"]])
            return name, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open("errors.txt", "a"))

        running = [start(list(SHARES)[i % len(SHARES)]) for i in range(options.processes)]
        disturbed = 0
        while running:
            time.sleep(random.uniform(0.01, alone_s / 8))
            if disturbed < options.kills:
                at = random.randrange(len(running))
                name, process = running[at]
                number = random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
                if process.poll() is None:
                    process.send_signal(number)
                    disturbed += 1
                    code = process.wait(timeout=60)
                    if code not in (0, -number, 3):
                        sys.exit(f"exit code {code} after signal {number}: {open('errors.txt').read()}")
                    total["killed" if code == -signal.SIGKILL else "stopped" if code != 0 else "ended"] += 1
                    running[at] = start(name)
            for one in list(running):
                code = one[1].poll()
                if code is not None:
                    if code != 0:
                        sys.exit(f"{one[0]}: exit code {code}: {open('errors.txt').read()}")
                    running.remove(one)
        deadline = time.monotonic() + 30 # workers of a killed leader save and leave
        while True:
            for name in SHARES:
                last = workload.run("run", name + ".lua", "--workspace", workspace, "--quiet")
                if last.returncode != 0:
                    sys.exit(f"{name} after the crowd: {last.stderr}")
            if not os.listdir(workspace + "/processes") or time.monotonic() > deadline:
                break
        workload.compare(wanted, workspace)
        shutil.rmtree(workspace)
    print(f"{options.rounds} rounds of {options.processes} processes, {total['killed']} killed, {total['stopped']} asked to stop: the same bytes each"
          f" time, in {time.monotonic() - begun:.0f} s")
    os.chdir("/")
    shutil.rmtree(folder)


main()
