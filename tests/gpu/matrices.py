#!/usr/bin/env python3
"""Whether two backends' matrices agree within the spread over seeds.

usage: matrices.py CUDA CPU CPU_OTHER_SEED: files of `perennial results WORKSPACE --json`, the first two of one seed.

The mean absolute difference over all cells of all tasks and strategies, in points of a hundred, must not be larger between the backends than between
the seeds. Its last line is the figure; exit status 1 when it is larger, or when the runs are not of the same strategies, tasks and steps."""
import json
import sys


def cells(path):
    with open(path) as file:
        strategies = json.load(file)["strategies"]
    return {(label, task, row, column): value for label, strategy in strategies.items() for task, scores in strategy["tasks"].items()
            for row, values in enumerate(scores["matrix"]) for column, value in enumerate(values) if value is not None}


def apart(a, b):
    differences = [abs(a[cell] - b[cell]) for cell in a]
    return 100 * sum(differences) / len(differences), 100 * max(differences)


def main(arguments):
    if len(arguments) != 3:
        sys.exit(__doc__)
    cuda, cpu, other = map(cells, arguments)
    if not cuda or cuda.keys() != cpu.keys() or cpu.keys() != other.keys():
        sys.exit("the three runs have not evaluated the same cells")
    (mean, most), (seeds_mean, seeds_most) = apart(cuda, cpu), apart(cpu, other)
    print(f"{len(cuda)} cells: {mean:.2f} points apart in the mean, {most:.2f} at most; two seeds on cpu {seeds_mean:.2f} and {seeds_most:.2f}")
    return mean > seeds_mean


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
