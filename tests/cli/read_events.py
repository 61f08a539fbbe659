"""Reads exported TensorBoard event files with TensorBoard itself and compares every value with the ledger and with `results --json`.

usage: read_events.py FOLDER LEDGER RESULTS.json
"""
import json
import math
import sqlite3
import struct
import sys

from tensorboard.backend.event_processing import event_accumulator, event_multiplexer


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def main():
    folder, ledger, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    database = sqlite3.connect(ledger)
    guidance = {event_accumulator.SCALARS: 0}
    multiplexer = event_multiplexer.EventMultiplexer(size_guidance=guidance).AddRunsFromDirectory(folder)
    multiplexer.Reload()
    assert sorted(multiplexer.Runs()) == sorted(results["strategies"]), (multiplexer.Runs().keys(), list(results["strategies"]))
    columns = {"loss": "loss", "learning_rate": "learning_rate", "gradient_norm": "gradient_norm", "logit_scale": "logit_scale",
               "data_wait": "data_wait_s", "memory": "memory_bytes"}
    names = results["time_steps"]
    compared = 0
    for label, strategy in results["strategies"].items():
        seen = multiplexer.GetAccumulator(label)
        tags = set(seen.Tags()["scalars"])
        expected = {name: [] for name in columns}
        rates, ends, before = [], [], 0
        for step in strategy["steps"]:
            chain, key = [], step["stage"]
            while key:
                row = database.execute("SELECT id, parent, steps, samples, time_step FROM stages WHERE key = ?", (key,)).fetchone()
                if row is None or row[4] != step["time_step"]:
                    break
                chain.insert(0, row)
                key = row[1]
            for stage, _, steps, samples, _ in chain:
                for row in database.execute(f"SELECT step, seconds, {', '.join(columns.values())} FROM step_metrics WHERE stage = ? ORDER BY step", (stage,)):
                    for name, value in zip(columns, row[2:]):
                        if value is not None:
                            expected[name].append((before + row[0] + 1, single(value)))
                    if row[1] and row[1] > 0:
                        rates.append((before + row[0] + 1, single(samples / steps / row[1])))
                before += steps
            ends.append(before)
        expected["samples_per_s"] = rates
        for task, object in strategy["tasks"].items():
            for score, values in object["scores"].items():
                for i, row in enumerate(values["matrix"]):
                    for j, value in enumerate(row):
                        if value is not None:
                            expected.setdefault(f"score/{task}@{names[j]}/{score}", []).append((ends[i], single(value)))
                            if i == j:
                                expected.setdefault(f"score/{task}/{score}", []).append((ends[i], single(value)))
        expected = {name: points for name, points in expected.items() if points}
        assert tags == set(expected), tags ^ set(expected)
        for tag, points in expected.items():
            events = seen.Scalars(tag)
            assert [(e.step, e.value) for e in events] == points, (label, tag, events[:3], points[:3])
            assert all(a.wall_time < b.wall_time for a, b in zip(events, events[1:])), (label, tag)
            assert all(math.isfinite(e.value) for e in events)
            compared += len(points)
        assert len(expected["loss"]) == ends[-1] > 0
    print(compared, "values are equal")
    assert compared > 100


main()
