#!/usr/bin/env bats
# What a run shows on a terminal, and that it leaves the terminal as it was.
load support

setup() {
    cd "$WORK/stripes"
}

# on_a_terminal SCRIPT: python3 with Screen, the program's path P and a workspace W that is new
on_a_terminal() {
    rm -rf "$WORK/terminal"
    PYTHONPATH="$BATS_TEST_DIRNAME" PYTHONDONTWRITEBYTECODE=1 PERENNIAL="$PERENNIAL" W="$WORK/terminal" python3 -c "
import os, re, signal, sys, time
from screen import Grid, Screen
P, W = os.environ['PERENNIAL'], os.environ['W']
LONG = ['--workspace', W, '--set', 'budget.steps=200000', '--set', 'strategies=sequential']
def check(value, screen):
    if not value:
        sys.exit('not so:\n' + screen.everything())
def comes(condition, screen):
    until = time.monotonic() + 20
    while not condition() and time.monotonic() < until:
        screen.feed(0.1)
    check(condition(), screen)
$1"
}

@test "the interpreter that these tests look through reads what terminals read" {
    on_a_terminal '
g = Grid(10, 3)
g.feed("one\ntwo\r\n")
assert g.screen == ["one", "   two", ""] and g.y == 2, g.screen
g.feed("\033[1A\033[Jthree\r\nfour\r\nfive\r\n")
assert g.above == ["one", "three"] and g.screen == ["four", "five", ""], (g.above, g.screen)
g = Grid(10, 4)
g.feed("0123456789abc\r\n")
assert g.screen[:2] == ["0123456789", "abc"]
g.resize(5, 4, True)
assert g.screen == ["01234", "56789", "abc", ""] and g.y == 3, (g.above, g.screen)
try:
    g.feed("\033[?25l and more text")
except ValueError:
    pass
else:
    sys.exit("an unknown sequence was let through")'
}

@test "a run shows its stages, redraws in place, and cleans up" {
    on_a_terminal '
s = Screen([P, "run", "recipe.lua", *LONG], 130, 24)
s.shows("stage 1/2: time step 1 (2016), strategy sequential")
s.shows("1 running  1 to come")
text = s.shows("samples/s")
for word in ("loss ", "lr 1.00e-03", "data wait", "s left", "0 stages done", "/200000", "%"):
    check(word in text, s)
s.feed(2)
check(len([l for l in s.lines() if l]) == 4, s)   # the announcement, the summary, the heading, the figures
check(len(s.grid.above) == 0, s)
drawn = [t for t, data in s.writes if b"\033[J" in data]
rate = (len(drawn) - 1) / (drawn[-1] - drawn[0])
check(0.3 <= rate <= 5.5, s)
check(b"\033[?" not in s.raw and re.search(rb"\033\[[0-9;]+m", s.raw), s) # no mode is set; there are colours
s.kill(signal.SIGINT)
assert s.wait() == 3, s.code
text = s.everything()
check("perennial: stopped at update" in text, s)
check("samples/s" not in text and "█" not in text and "░" not in text, s)
check(s.grid.x == 0, s)'
}

@test "several jobs are shown, each with what it does" {
    on_a_terminal '
s = Screen([P, "run", "recipe.lua", "--jobs", "2", "--workspace", W, "--set", "budget.steps=200000"], 110, 24)
s.shows("2 running  1 to come")
s.shows("  stage 1/3: time step 1 (2016)")
s.shows("  stage 3/3: time step 2 (2017), strategy oracle")
s.feed(1)
check(sorted(l[:3] for l in s.lines() if "stage " in l and "/3: " in l) == ["1  ", "2  "], s)
check(s.text().count("samples/s") == 2 and s.text().count("/400000") == 1, s)
s.kill(signal.SIGINT)
assert s.wait() == 3, s.code
check("job 2: stopped at update" in s.everything() and "perennial: stopped" in s.everything(), s)'
}

@test "windows of any size, also while it runs" {
    on_a_terminal '
s = Screen([P, "run", "recipe.lua", *LONG], 120, 24)
s.shows("samples/s")
for columns, rows in ((40, 24), (120, 24), (25, 20), (200, 50), (90, 12), (12, 30), (110, 24)):
    s.resize(columns, rows)
    s.feed(0.5)
    comes(lambda: all(len(l) <= columns for l in s.lines()) and len(re.findall(r"(?m)^stripes( |$)", s.everything())) == 1, s)
comes(lambda: "samples/s" in s.text(), s)
for columns, rows in ((60, 3), (80, 2), (120, 1), (5, 24), (60, 24)): # what has left a small window cannot be taken back
    s.resize(columns, rows)
    s.feed(0.7)
s.kill(signal.SIGTERM)
assert s.wait() == 3, s.code
for columns in (1, 5, 9):
    s = Screen([P, "run", "recipe.lua", *LONG], columns, 5)
    s.feed(1)
    s.kill(signal.SIGINT)
    assert s.wait() == 3, s.code
s = Screen([P, "run", "recipe.lua", *LONG], 100, 24)   # a terminal that cuts what is too long
s.shows("samples/s")
s.resize(50, 24, reflows=False)
comes(lambda: s.text().count("loss") == 1, s)
s.kill(signal.SIGINT)
assert s.wait() == 3, s.code'
}

@test "no colours with NO_COLOR, no special characters without UTF-8, nothing when quiet, lines on a dumb terminal" {
    on_a_terminal '
s = Screen([P, "run", "recipe.lua", *LONG], 100, 24, {"NO_COLOR": "1"})
s.shows("░")
s.feed(0.5)
check(not re.search(rb"\033\[[0-9;]*m", s.raw), s)
s.kill(signal.SIGINT)
assert s.wait() == 3, s.code
s = Screen([P, "run", "recipe.lua", *LONG], 100, 24, {"LANG": "C"})
s.shows("....")
s.feed(0.5)
check(all(b < 128 for b in s.raw), s)
s.kill(signal.SIGINT)
assert s.wait() == 3, s.code
s = Screen([P, "run", "recipe.lua", "--quiet", *LONG], 100, 24)
s.feed(1.5)
check(s.everything() == "", s)
s.kill(signal.SIGINT)
assert s.wait() == 3, s.code
s = Screen([P, "run", "recipe.lua", *LONG], 150, 24, {"TERM": "dumb"})
s.shows("stage 1/2, time step 1 (2016), strategy sequential | ")
check(b"\033" not in s.raw, s)
s.kill(signal.SIGINT)
assert s.wait() == 3, s.code'
}

@test "what is logged stands above the view, and the second signal ends at once" {
    on_a_terminal '
import subprocess, threading
other = subprocess.Popen([P, "run", "recipe.lua", "--quiet", *LONG], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
while not os.path.exists(W + "/run.log") or "progress" not in open(W + "/run.log").read():
    time.sleep(0.02)
s = Screen([P, "run", "recipe.lua", *LONG], 120, 24)
s.shows(f"waiting for process {other.pid}")
text = s.shows("1 elsewhere")
lines = s.lines()
check(lines[1].startswith("waiting for process") and lines[2].startswith("stripes  "), s)
os.kill(s.pid, signal.SIGINT)
assert s.wait() == 3, s.code
s = Screen([P, "run", "recipe.lua", "--jobs", "2", "--workspace", W + "2", "--set", "budget.steps=200000"], 120, 24)
s.shows("2 running")
s.kill(signal.SIGINT)
s.kill(signal.SIGINT)
assert s.wait(10) == 3, s.code
other.kill()
other.wait()'
}

@test "stopped and continued, the view comes again below what was written meanwhile" {
    on_a_terminal '
s = Screen([P, "run", "recipe.lua", *LONG], 130, 24)
s.shows("samples/s")
s.kill(signal.SIGSTOP)
s.feed(0.5)
s.grid.feed("\r\n[1]+  Stopped\r\n$ fg\r\n")
s.kill(signal.SIGCONT)
comes(lambda: "stripes  " in s.text().split("$ fg")[1], s)
lines = [l for l in s.lines() if l]
at = lines.index("$ fg")
check(lines[at - 1] == "[1]+  Stopped" and lines[at + 1].startswith("stripes  ") and len(lines) == at + 4, s)
s.kill(signal.SIGINT)
assert s.wait() == 3, s.code'
}
