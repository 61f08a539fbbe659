"""Opens a report in a real browser without network, uses it as a reader would, and compares what it shows with the results.

check_page.py REPORT.html RESULTS.json [--hostile]     (RESULTS.json: what `perennial results --json` printed of the page's first run)
"""
import json
import sys
import time

from browser import Browser

PART = "document.getElementById('run1-top')"


def percent(x):
    return "–" if x is None else f"{100 * x:.1f}".replace("-0.0", "0.0").replace("-", "−")


def near(shown, x):
    """Shown with one decimal; a tie may be rounded either way."""
    if x is None or shown == "–":
        return x is None and shown == "–"
    return abs(float(shown.replace("−", "-")) - 100 * x) <= 0.0500001


def exact(x):
    """As the page writes exact values: percent, at most four decimals."""
    text = f"{100 * x:.4f}".rstrip("0").rstrip(".")
    return ("0" if text == "-0" else text).replace("-", "−") + " %"


class Check:
    def __init__(self, browser, results):
        self.b = browser
        self.results = results
        self.labels = list(results["strategies"])
        self.count = 0

    def equal(self, got, wanted, what):
        self.count += 1
        if got != wanted:
            raise SystemExit(f"{what}: the page has {got!r}, wanted {wanted!r}")

    def true(self, value, what):
        self.equal(bool(value), True, what)

    def select(self, which, value):
        self.b.run(f"(s => {{ s.value = {json.dumps(value)}; s.dispatchEvent(new Event('change')); }})(document.getElementById('run1-{which}'))")

    def tip(self):
        return self.b.run("(t => t.hidden ? null : [t.querySelector('strong').textContent, t.querySelector('.value').innerText,"
                          " ...[...t.querySelectorAll('span:not(.value)')].map(s => s.innerText)])(document.getElementById('tip'))")

    # ---- parts ----

    def data(self):
        """What the page draws from, to the last digit."""
        run = self.b.run("JSON.parse(document.getElementById('data').textContent).runs[0]")
        steps = len(self.results["time_steps"])
        self.equal(run["time_steps"], self.results["time_steps"], "time steps")
        self.equal([s["label"] for s in run["strategies"]], self.labels, "strategies")
        for s in run["strategies"]:
            wanted = self.results["strategies"][s["label"]]
            for key in ("forward_macs", "total_macs", "teacher_macs", "tuning_macs", "samples"):
                self.equal(s[key], wanted[key], f"{s['label']} {key}")
            for task, scores in zip(run["tasks"], s["tasks"]):
                for name, score in scores.items():
                    other = wanted["tasks"][task["name"]]["scores"][name]
                    self.equal([score["matrix"][i * steps:(i + 1) * steps] for i in range(steps)], other["matrix"], f"{s['label']} {name} matrix")
                    for key in ("in_domain", "backward", "forward", "next_domain", "forgetting", "gem_bwt", "gem_fwt", "regret"):
                        self.equal(score[key], other[key], f"{s['label']} {task['name']} {name} {key}")

    def summary(self, task, score):
        rows = self.b.run("[...document.querySelectorAll('[aria-label=\"Summary table\"] tbody tr')].map(r => [r.querySelector('th').textContent,"
                          " Object.fromEntries([...r.querySelectorAll('td')].map(c => [c.dataset.key, [c.innerText, c.title]]))])")
        self.equal([r[0] for r in rows], self.labels, "rows of the summary")
        for label, cells in rows:
            wanted = self.results["strategies"][label]["tasks"][task]["scores"][score]
            for key in ("in_domain", "backward", "forward", "next_domain", "gem_bwt", "forgetting", "regret"):
                if key in cells:
                    self.true(near(cells[key][0], wanted[key]), f"{label} {key}: {cells[key][0]} for {wanted[key]}")
                    if wanted[key] is not None:
                        self.equal(cells[key][1], exact(wanted[key]), f"{label} {key}, exact")
            self.equal(cells["samples"][0], f"{self.results['strategies'][label]['samples']:,}", f"{label} samples")

    def matrices(self, task, score):
        shown = self.b.run("[...document.querySelectorAll('.grid figure')].map(f => [f.dataset.strategy, [...f.querySelectorAll('rect.cell')].map((r, k) =>"
                           " [+r.dataset.i, +r.dataset.j, r.nextSibling.tagName === 'text' ? r.nextSibling.textContent : null])])")
        self.equal([f[0] for f in shown], self.labels, "matrices")
        for label, cells in shown:
            matrix = self.results["strategies"][label]["tasks"][task]["scores"][score]["matrix"]
            self.equal(len(cells), len(matrix) ** 2, "cells")
            for i, j, text in cells:
                self.true(near(text, matrix[i][j]), f"{label} {score} [{i}][{j}]: {text} for {matrix[i][j]}")

    def hovering(self, task, score):
        for s, label in enumerate(self.labels):
            matrix = self.results["strategies"][label]["tasks"][task]["scores"][score]["matrix"]
            steps = self.results["time_steps"]
            for i, j in ((len(matrix) - 1, 0), (0, len(matrix) - 1)):
                cell = f"document.querySelectorAll('.grid figure')[{s}].querySelector('rect.cell[data-i=\"{i}\"][data-j=\"{j}\"]')"
                self.b.hover(cell)
                got = self.tip()
                value = exact(matrix[i][j]) if matrix[i][j] is not None else "not evaluated"
                self.equal(got[:3], [label, value, f"after {steps[i]}"], f"the tip over {label} [{i}][{j}]")
                self.true(steps[j] in got[3], "the tip names the tested step")

    def keyboard(self):
        self.b.focus("document.querySelector('.heat svg')")
        self.b.key("ArrowRight")
        first = self.tip()
        self.b.key("ArrowDown")
        second = self.tip()
        self.true(first and second and first != second, f"arrow keys read a matrix: {first}, {second}")
        self.b.key("Escape")
        self.equal(self.tip(), None, "escape hides the tip")
        self.b.focus("document.querySelector('#run1-compute ~ figure svg')")
        self.b.key("ArrowRight")
        point = self.tip()
        self.true(point and "MACs so far" in point[-1], f"arrow keys read a chart: {point}")
        self.b.key("Escape")

    def points(self, task, score):
        """The last point of each line: the mean of its matrix's last row, at all its compute."""
        for s, label in enumerate(self.labels):
            matrix = self.results["strategies"][label]["tasks"][task]["scores"][score]["matrix"]
            rows = [i for i, row in enumerate(matrix) if any(v is not None for v in row[:i + 1])]
            values = [v for v in matrix[rows[-1]][:rows[-1] + 1] if v is not None]
            for _ in range(2):  # alone on the chart, so that no other point is as near
                self.b.run(f"document.querySelectorAll('.legend button')[{s}].dispatchEvent(new MouseEvent('dblclick'))")
                if _ == 0:
                    self.b.hover("[...document.querySelectorAll('#run1-compute ~ figure')[0].querySelectorAll('path.mark')].at(-1)")
                    got = self.tip()
                    self.equal(got[:2], [label, exact(sum(values) / len(values))], "the tip over a line's end")
        self.equal(self.b.run("document.querySelectorAll('.grid figure').length"), len(self.labels), "all are shown again")

    def legend(self):
        lines = "document.querySelectorAll('#run1-compute ~ figure')[0].querySelectorAll('path.series').length"
        before = self.b.run(lines)
        self.b.click("document.querySelectorAll('.legend button')[0]")
        self.equal(self.b.run("document.querySelectorAll('.legend button')[0].getAttribute('aria-pressed')"), "false", "a legend entry is off")
        self.equal(self.b.run("[...document.querySelectorAll('.grid figure')].map(f => f.dataset.strategy)"), self.labels[1:], "its matrix is gone")
        self.equal(self.b.run(lines), before - 1, "its line is gone")
        self.b.click("document.querySelectorAll('.legend button')[0]")
        self.equal(self.b.run(lines), before, "its line is back")

    def sorting(self, task, score):
        wanted = [v["tasks"][task]["scores"][score]["in_domain"] for v in self.results["strategies"].values()]
        for way, order in (("descending", sorted(wanted, reverse=True)), ("ascending", sorted(wanted))):
            self.b.click("document.querySelector('[data-sort=in_domain]')")
            self.equal(self.b.run("document.querySelector('[data-sort=in_domain]').closest('th').getAttribute('aria-sort')"), way, "the sorted column")
            got = self.b.run("[...document.querySelectorAll('[aria-label=\"Summary table\"] td[data-key=in_domain]')].map(c => c.title)")
            self.equal(got, [exact(x) for x in order], "sorted rows")

    def training(self):
        self.true(self.b.run("[...document.querySelectorAll('#run1-training ~ .pair svg path.series')].length >= 4"), "training curves are drawn")
        self.b.focus("document.querySelector('#run1-training ~ .pair svg')")
        self.b.key("ArrowRight")
        self.true("update" in self.tip()[-2], "a training curve tells its update")
        self.b.key("Escape")


def main():
    page, results = sys.argv[1], json.load(open(sys.argv[2]))
    hostile = "--hostile" in sys.argv
    with Browser() as b:
        b.open(page)
        c = Check(b, results)
        task = list(results["strategies"][c.labels[0]]["tasks"])[0]
        scores = list(results["strategies"][c.labels[0]]["tasks"][task]["scores"])
        c.data()
        c.summary(task, scores[0])
        c.matrices(task, scores[0])
        c.hovering(task, scores[0])
        c.keyboard()
        c.points(task, scores[0])
        c.legend()
        c.training()
        c.select("score", scores[1])
        c.summary(task, scores[1])
        c.matrices(task, scores[1])
        c.hovering(task, scores[1])
        other = list(results["strategies"][c.labels[0]]["tasks"])[-1]
        c.select("task", len(results["strategies"][c.labels[0]]["tasks"]) - 1)
        first = list(results["strategies"][c.labels[0]]["tasks"][other]["scores"])[0]
        c.equal(b.run("document.getElementById('run1-score').value"), first, "another task begins with its first score")
        c.matrices(other, first)
        for measure in ("all", "own", "past", "next", "seen"):
            c.select("measure", measure)
        c.select("cost", "forward_macs")
        c.true(b.run("document.querySelector('#run1-compute ~ figure').textContent.includes('forward MACs so far')"), "forward MACs along the axis")
        c.sorting(other, first)
        b.run("document.getElementById('theme').click()")
        c.equal(b.run("document.documentElement.dataset.theme"), "dark", "the dark theme")
        # a phone
        b.look(360, 740, touch=True)
        b.run("new Promise(done => setTimeout(done, 200))")
        c.true(b.run("document.documentElement.scrollWidth <= 360"), "nothing is wider than a phone")
        b.tap("document.querySelector('.heat rect.cell')")
        c.true(c.tip(), "a touch shows a value")
        if hostile:
            c.true(b.run("document.querySelector('h1').textContent.includes('</script>')"), "a hostile name is text")
            c.true(b.run("[...document.querySelectorAll('code')].some(e => e.textContent.includes('<img src=x onerror='))"), "a hostile recipe is text")
            c.equal(b.run("document.querySelectorAll('img, iframe, object, embed, article b, article i:not(.scale i), article script').length"), 0, "elements from names")
            c.equal(b.run("typeof window.hacked"), "undefined", "no script of a name ran")
        c.equal(b.run("document.querySelectorAll('script').length"), 2, "scripts of the page")
        c.equal(b.complaints(), [], "errors of the console")
        c.equal([e["method"] for e in b.events if e.get("method") == "Page.javascriptDialogOpening"], [], "dialogs")
        c.equal(len(b.requests()), 1, f"requests {b.requests()}")
        # the policy forbids what nothing here tries
        c.equal(b.run("fetch('http://127.0.0.1:9/').then(() => 'let through', () => 'refused')"), "refused", "a request")
        c.true(any("Content Security Policy" in text for text in b.complaints()), "the policy refused it")
    print(f"{c.count} checks of {page}")


if __name__ == "__main__":
    start = time.monotonic()
    main()
    print(f"{time.monotonic() - start:.1f} s")
