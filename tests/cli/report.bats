#!/usr/bin/env bats
# report: the page in a real browser, figures, several runs, what is unfinished, and wrong usage.
load support

setup() {
    cd "$WORK/stripes"
    export PYTHONDONTWRITEBYTECODE=1
    if [ ! -e runs/stripes/ledger.sqlite ]; then
        perennial run recipe.lua --quiet
    fi
}

# browses PAGE WORKSPACE [option]: the page against the results of the workspace
browses() {
    "$PERENNIAL" results "$2" --json >results.json
    python3 "$PRN_SOURCE_DIR/tests/page/check_page.py" "$1" results.json ${3:+"$3"}
}

@test "the page of a run, in a browser without network" {
    perennial report runs/stripes -o report.html
    exits 0
    says "report.html: "
    browses report.html runs/stripes
}

@test "a run that was stopped shows what there is, and hostile names are text" {
    rm -rf bad && mkdir bad && cp runs/stripes/ledger.sqlite bad/
    python3 - bad/ledger.sqlite <<'PY'
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
last = c.execute("SELECT stage FROM run_stages WHERE strategy = 'oracle' AND time_step = 2").fetchone()[0]
c.execute("DELETE FROM scores WHERE evaluation IN (SELECT id FROM evaluations WHERE stage = ?)", (last,))
c.execute("DELETE FROM evaluations WHERE stage = ?", (last,))
c.execute("DELETE FROM step_metrics WHERE stage = ? AND step > 2", (last,))
c.execute("UPDATE stages SET state = 'partial' WHERE id = ?", (last,))
name = "</script><script>window.hacked = 1; alert(1)</script><b>&\u2028"
c.execute("UPDATE runs SET state = 'interrupted', finished = '', name = ?, recipe_text = ? || recipe_text", (name, "-- </script><img src=x onerror='window.hacked = 1'> <!--\n"))
c.execute("UPDATE strategies SET label = ? WHERE label = 'sequential'", (name,))
c.execute("UPDATE run_stages SET strategy = ? WHERE strategy = 'sequential'", (name,))
c.execute("UPDATE time_steps SET name = '<i>2016</i>' WHERE time_step = 1")
c.execute("INSERT INTO skipped_samples VALUES(?, 0, '<img src=x>.tar', '<b>corrupt</b>', 3)", (last,))
c.commit()
PY
    perennial report bad -o bad.html
    exits 0
    says "is not complete: 2 of 3 stages are done"
    browses bad.html bad --hostile
    python3 - <<PY
import sys
sys.path.insert(0, "$PRN_SOURCE_DIR/tests/page")
from browser import Browser
with Browser() as b:
    b.open("bad.html")
    note = b.run("document.querySelector('.note').innerText")
    assert "was interrupted" in note and "2 of 3 stages" in note and "8 of 16 cells" not in note and "cells of the matrices have no score" in note, note
    assert b.run("document.querySelectorAll('rect.cell.none').length") == 2
    assert "3 samples could not be used while training: 3 <b>corrupt</b>" in b.run("document.querySelector('#run1-skipped + p').innerText")
PY
}

@test "the same ledger gives the same page" {
    perennial report runs/stripes -o one.html
    perennial report runs/stripes -o two.html
    cmp one.html two.html
    perennial report runs/stripes
    exits 0
    cmp one.html runs/stripes/report.html
}

@test "several runs on one page" {
    perennial run recipe.lua --workspace other --set seed=2 --set strategies=sequential --quiet
    exits 0
    perennial report runs/stripes other -o both.html --json
    exits 0
    json "d['page'] == 'both.html' and [r['name'] for r in d['runs']] == ['stripes', 'stripes'] and d['bytes'] > 10000 and d['figures'] == []"
    python3 - <<PY
import sys
sys.path.insert(0, "$PRN_SOURCE_DIR/tests/page")
from browser import Browser
with Browser() as b:
    b.open("both.html")
    assert b.complaints() == [], b.complaints()
    assert b.run("document.querySelectorAll('article').length") == 2
    assert b.run("document.querySelectorAll('section tbody tr').length") == 3
    b.click("document.querySelectorAll('#run2-top .legend button')[0]")
    assert b.run("document.querySelectorAll('#run2-top .grid figure').length") == 0
    assert b.run("document.querySelectorAll('#run1-top .grid figure').length") == 2
PY
    perennial report runs/stripes --run 1 --run stripes -o twice.html --json
    exits 0
    json "len(d['runs']) == 2"
}

@test "a sweep: its means over seeds, and its runs" {
    sed 's/seed = 1,/seed = p.seeds { 1, 2 }, optimizer = p.adamw { decay = p.grid { 0, 0.2 } },/; s/name = "stripes",/name = "swept", sweep = p.sweep { on = "stripes" },/' recipe.lua >swept.lua
    perennial run swept.lua --quiet
    exits 0
    perennial report runs/swept -o swept.html --json
    exits 0
    json "len(d['runs']) == 4 and all('seed = ' in r['settings'] and 'decay = ' in r['settings'] for r in d['runs'])"
    perennial results runs/swept --json >/dev/null
    echo "$output" >sweep.json
    python3 - <<PY
import json, sys
sys.path.insert(0, "$PRN_SOURCE_DIR/tests/page")
from browser import Browser
wanted = json.load(open("sweep.json"))
with Browser() as b:
    b.open("swept.html")
    assert b.complaints() == [], b.complaints()
    assert b.run("document.querySelectorAll('article').length") == 4
    rows = b.run("[...document.querySelector('section .scroll').querySelectorAll('tbody tr')].map(r => [r.querySelector('th').innerText, ...[...r.querySelectorAll('td')].map(c => c.innerText)])")
    flat = [(label, row) for label, s in wanted["strategies"].items() for row in s["rows"]]
    assert len(rows) == len(flat) > 1, rows
    for got, (label, row) in zip(rows, flat):
        task = row["tasks"]["retrieval"]
        assert got[0] == label and (got[2] == "best") == row["best"], got
        for text, key in zip(got[4:9], ("average", "in_domain", "backward", "forward", "forgetting")):
            mean, spread = (float(x.replace("−", "-")) for x in text.split(" ± "))
            assert abs(mean - 100 * task[key]["mean"]) < 0.051 and abs(spread - 100 * task[key]["standard_deviation"]) < 0.051, (text, task[key])
PY
}

@test "figures for papers" {
    perennial report runs/stripes --figures figures
    exits 0
    [ ! -e figures/report.html ]
    for name in matrix-retrieval compute-retrieval time-retrieval forgetting-retrieval matrix-stripes loss learning-rate throughput data-wait memory; do
        [ "$(head -c 5 figures/$name.pdf)" = "%PDF-" ]
        python3 -c 'import sys, xml.dom.minidom as x; assert x.parse(sys.argv[1]).documentElement.tagName == "svg"' figures/$name.svg
    done
    [ "$(ls figures | wc -l)" -eq 26 ]
    # text in a PDF is text: it can be found and copied
    pdftotext figures/time-retrieval.pdf text.txt
    grep -q "recall@1, mean of the tasks so far, in percent" text.txt
    grep -q "oracle" text.txt
    perennial report runs/stripes --figures top --format pdf --score top5 -o page.html --json
    exits 0
    json "d['page'] == 'page.html' and 'top/matrix-stripes.pdf' in d['figures'] and not any(f.endswith('.svg') for f in d['figures'])"
    [ ! -e top/matrix-retrieval.pdf ]
}

@test "wrong usage says what to do" {
    perennial report
    exits 2
    perennial report nowhere
    exits 1
    complains "no ledger.sqlite"
    perennial report runs/stripes --run stripe
    exits 1
    complains "did you mean 'stripes'?"
    perennial report runs/stripes other --run stripes
    exits 2
    complains "--run names runs of one workspace"
    perennial report runs/stripes --format png --figures x
    exits 2
    complains "it must be svg or pdf"
    perennial report runs/stripes --format pdf
    exits 2
    complains "add --figures DIR"
    perennial report runs/stripes --figures figures --score recal@1
    exits 1
    complains "did you mean 'recall@1'?"
    perennial report runs/stripes -o missing/folder/page.html
    exits 1
    complains "missing/folder"
    perennial report runs/stripes --outptu x
    exits 2
    complains "did you mean '--output'?"
    perennial results runs/stripes -o x
    exits 2
    complains "unknown option '-o'"
}

@test "matrices are shaded on a terminal that shows colours, and nowhere else" {
    command -v script >/dev/null || skip "no script(1) to make a terminal with"
    screen() { env -u NO_COLOR TERM=xterm-256color "$@" script -qec "$PERENNIAL results runs/stripes $extra" /dev/null; }
    extra=""
    screen COLORTERM=truecolor | grep -qF $'\e[38;5;16;48;2;' # the best score on its colour, in black
    screen COLORTERM= | grep -qF $'\e[38;5;16;48;5;'
    ! screen NO_COLOR=1 | grep -qF $'\e'
    ! screen TERM=dumb | grep -qF $'\e'
    extra=--no-colour
    ! screen COLORTERM=truecolor | grep -qF $'\e'
    perennial results runs/stripes
    [[ "$output" != *$'\e'* ]]
    # the same words and numbers, shaded or not
    extra=""
    plain=$(sed 's/ *$//; s/  */ /g' <<<"$output")
    shaded=$(screen COLORTERM=truecolor | sed 's/\x1b\[[0-9;]*m//g; s/\r//; s/ *$//; s/  */ /g')
    [ "$plain" = "$shaded" ]
    # names cannot steer a terminal
    rm -rf steer && mkdir steer && cp runs/stripes/ledger.sqlite steer/
    python3 -c "
import sqlite3
c = sqlite3.connect('steer/ledger.sqlite')
bad = chr(27) + ']0;title' + chr(7)
c.execute('UPDATE time_steps SET name = name || ?', (bad,))
c.execute('UPDATE tasks SET name = name || ?', (bad,))
c.execute('UPDATE scores SET name = name || ?', (bad,))
c.execute('UPDATE strategies SET label = label || ?', (bad,))
c.execute('UPDATE run_stages SET strategy = strategy || ?', (bad,))
c.commit()"
    shaded=$(env -u NO_COLOR TERM=xterm-256color script -qec "$PERENNIAL results steer" /dev/null)
    [[ "$shaded" != *$'\e]'* && "$shaded" != *$'\a'* && "$shaded" == *$'\e['* ]]
}
