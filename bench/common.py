"""What the bench scripts share: where the two sides are, the photos they are measured on, and how ratios are told.

Both sides run in turn, a short repeat each, for several rounds; a ratio is that of one round, and the median of the rounds is told with the
least and the greatest. Needs Python's standard library only; the other side's packages (bench/requirements.txt) go to build/bench-venv.

Environment: PERENNIAL, the command to measure (default: build/perennial); BENCH_PYTHON, an interpreter that has the packages;
BENCH_DATA, where data goes (default: build/bench-data)."""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PERENNIAL = pathlib.Path(os.environ.get("PERENNIAL", ROOT / "build" / "perennial"))
DATA = pathlib.Path(os.environ.get("BENCH_DATA", ROOT / "build" / "bench-data"))
RESULTS = ROOT / "build" / "bench-results"
CORES = len(os.sched_getaffinity(0))
# What a user's shell has set for OpenBLAS on its own account would measure another library than the one that is installed.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}


def arguments(description, rounds=5, **more):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    for name, (kind, default, text) in more.items():
        if kind is bool:
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
        else:
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"{text} (default: {default})")
    options = parser.parse_args()
    if not PERENNIAL.exists():
        sys.exit(f"{PERENNIAL} is not there; build it first: cmake --preset release && cmake --build build")
    return options


def python():
    """The interpreter that has the other side's packages."""
    if "BENCH_PYTHON" in os.environ:
        return os.environ["BENCH_PYTHON"]
    venv, wanted = ROOT / "build" / "bench-venv", (ROOT / "bench" / "requirements.txt").read_text()
    stamp = venv / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        note("installing the other side's packages into build/bench-venv")
        if not (venv / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", ROOT / "bench" / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    return str(venv / "bin" / "python")


def note(text):
    print(text, file=sys.stderr, flush=True)


def run(command, environment=None):
    """Runs a command and reads the JSON that it prints."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**ENVIRONMENT, **(environment or {})})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.decode(errors='replace')[-3000:]}")
    return json.loads(done.stdout)


def ours(*parts):
    return run([PERENNIAL, *parts, "--json"])


def theirs(script, *parts):
    return run([python(), ROOT / "bench" / script, *parts])


def photos():
    """The photos' manifest, made on the first call."""
    folder = DATA / "photos"
    if not (folder / "photos.yaml").exists():
        note(f"making photos in {folder}")
        subprocess.run([python(), ROOT / "bench" / "make_photos.py", "--out", folder], check=True, stdout=sys.stderr)
    return folder / "photos.yaml"


def unicode_stream():
    """The quickstart's stream, made on the first call; its folder."""
    for folder in (ROOT / "data" / "tic-unicode-quickstart", DATA / "tic-unicode-quickstart"):
        if (folder / "coarse.yaml").exists():
            return folder
    note(f"building the quickstart's data in {folder}")
    subprocess.run([PERENNIAL, "data", "build", "unicode", "--preset", "quickstart", "--out", folder], check=True, stdout=sys.stderr, stderr=sys.stderr)
    return folder


def median(values):
    return statistics.median(list(values))


def spread(values):
    values = list(values)
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def machine():
    name = platform.processor() or "processor"
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{CORES} core{'s' if CORES > 1 else ''} of {name}"


class Table:
    """Rows of one bench script: printed for people, and kept in build/bench-results for bench/all."""

    def __init__(self, name, title):
        self.name, self.title, self.rows, self.notes = name, title, [], []

    def ratio(self, what, unit, our_rates, their_rates, goal=None, peer=""):
        """Two lists of rates (more is better), round by round."""
        ratios = [a / b for a, b in zip(our_rates, their_rates)]
        self.rows.append({"what": what, "unit": unit, "ours": median(our_rates), "theirs": median(their_rates), "ratio": median(ratios),
                          "least": min(ratios), "most": max(ratios), "goal": goal, "peer": peer, "met": None if goal is None else median(ratios) >= goal})

    def value(self, what, unit, values, goal=None):
        """A figure of our own (less is better)."""
        values = list(values)
        self.rows.append({"what": what, "unit": unit, "ours": median(values), "least": min(values), "most": max(values), "goal": goal,
                          "met": None if goal is None else median(values) <= goal})

    def note(self, text):
        self.notes.append(text)

    def markdown(self):
        lines = [f"## {self.title}", "", "| what | perennial | peer | ratio | goal |", "|---|---|---|---|---|"]
        for row in self.rows:
            goal = "" if row["goal"] is None else f"{row['goal']:g} {'met' if row['met'] else 'MISSED'}"
            if "ratio" in row:
                lines.append(f"| {row['what']} | {number(row['ours'])} {row['unit']} | {number(row['theirs'])} {row['unit']} | "
                             f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f}) | {goal} |")
            else:
                lines.append(f"| {row['what']} | {number(row['ours'])} {row['unit']} ({number(row['least'])} to {number(row['most'])}) | | | {goal} |")
        return "\n".join(lines + [""] + [f"- {text}" for text in self.notes])

    def finish(self):
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{self.name}.md").write_text(self.markdown() + "\n")
        (RESULTS / f"{self.name}.json").write_text(json.dumps({"title": self.title, "machine": machine(), "rows": self.rows, "notes": self.notes}, indent=1))
        print(self.markdown())
