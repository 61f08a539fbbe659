#!/usr/bin/env bats
# ls, compare, gc, export: many runs beside each other, and out of the ledger.
load support

setup() {
    cd "$WORK/stripes"
    if [ ! -e ready ]; then
        "$PERENNIAL" run recipe.lua --quiet >/dev/null
        "$PERENNIAL" run recipe.lua --quiet --set schedule.peak=0.003 >/dev/null
        "$PERENNIAL" run recipe.lua --quiet --set seed=2 --workspace runs/deep/other >/dev/null
        touch ready
    fi
}

@test "ls finds every workspace below runs" {
    perennial ls
    exits 0
    says "runs/deep/other"
    says "sequential, oracle"
    perennial ls --json
    exits 0
    json "[(r['workspace'], r['id'], r['state'], r['stages'], r['stages_done']) for r in d['runs']] == [('runs/deep/other', 1, 'done', 3, 3), ('runs/stripes', 2, 'done', 3, 3), ('runs/stripes', 1, 'done', 3, 3)]"
    json "all(r['bytes'] > 1000 and r['strategies'] == ['sequential', 'oracle'] and r['started'] <= r['finished'] for r in d['runs'])"
    perennial ls runs/stripes --json
    json "len(d['runs']) == 2"
    perennial ls nowhere
    exits 1
    complains "there is no such folder"
    perennial ls train
    exits 1
    complains "no workspace"
}

@test "one ledger that cannot be read does not hide the others" {
    mkdir -p runs/broken
    head -c 5000 /dev/urandom >runs/broken/ledger.sqlite
    perennial ls --json
    exits 1
    complains "runs/broken/ledger.sqlite"
    json "len(d['runs']) == 3"
    rm -r runs/broken
}

@test "compare shows differences, and what recipes differ in" {
    perennial compare runs/stripes --run 1 --run 2 --json
    exits 0
    json "d['comparable'] and [r['id'] for r in d['runs']] == [1, 2]"
    json "d['runs'][1]['recipe_differences'] == [{'key': 'schedule.peak', 'first': 0.001, 'this': 0.003}] and d['runs'][0]['recipe_differences'] == []"
    json "all(abs(t['differences'][m] - (t[m] - d['runs'][0]['strategies'][s]['tasks'][k][m])) < 1e-12 for s, v in d['runs'][1]['strategies'].items() for k, t in v['tasks'].items() for m in ('in_domain', 'backward', 'forward', 'gem_bwt'))"
    perennial compare runs/stripes runs/deep/other --run 1 --run 1 --all-metrics
    exits 0
    says "comparable: the same time steps"
    says "seed: 1 -> 2"
    says "GEM BWT"
    perennial compare runs/stripes
    exits 2
    complains "two runs or more"
    perennial compare runs/stripes runs/deep/other --run 1 --run 1 --run 1
    exits 2
}

@test "compare says when evaluation sets are not the same" {
    python3 "$BATS_TEST_DIRNAME/make_stream.py" "$WORK/changed" --train 32
    (cd "$WORK/changed" && cp eval/2016.tar eval/2017.tar && "$PERENNIAL" run recipe.lua --quiet >/dev/null)
    perennial compare runs/stripes "$WORK/changed/runs/stripes"
    exits 0
    says "NOT COMPARABLE: retrieval of time step 2017 is another evaluation set in [2]"
    perennial compare runs/stripes "$WORK/changed/runs/stripes" --json
    json "not d['comparable'] and d['runs'][1]['sets']['retrieval'] == 'other_sets'"
    json "all(x is None for s in d['runs'][1]['strategies'].values() for t in s['tasks'].values() for x in t['differences'].values())"
}

@test "gc: dry run first, then what no kept run needs" {
    cp -r runs/stripes "$WORK/collected"
    key=$(ls "$WORK/collected/stages" | head -1)
    touch "$WORK/collected/stages/$key/checkpoint-3.safetensors" "$WORK/collected/stages/$key/checkpoint-2.safetensors.damaged" \
        "$WORK/collected/stages/$key/stage.json.tmp-999999999"
    mkdir -p "$WORK/collected/stages/0123456789abcdef0123456789abcdef" "$WORK/collected/stages/notes"
    echo x >"$WORK/collected/cache/0123456789abcdef0123456789abcdef.index"
    before=$(find "$WORK/collected" -type f | sort)
    perennial gc "$WORK/collected" --json
    exits 0
    json "sorted(i['kind'] for i in d['removed']) == ['checkpoint', 'damaged', 'index', 'stage', 'temporary'] and not d['done'] and d['kept_stages'] == 6"
    [ "$before" = "$(find "$WORK/collected" -type f | sort)" ]
    perennial gc "$WORK/collected" --yes
    exits 0
    [ -d "$WORK/collected/stages/notes" ]
    [ "$(find "$WORK/collected/stages" -mindepth 1 -maxdepth 1 | wc -l)" -eq 7 ]
    perennial gc "$WORK/collected" --forget 2 --optimizer
    says "would forget run 2"
    perennial gc "$WORK/collected" --forget 2 --optimizer --yes
    exits 0
    [ "$(find "$WORK/collected/stages" -name stage.json | wc -l)" -eq 3 ]
    [ -z "$(find "$WORK/collected/stages" -name optimizer.safetensors)" ]
    [ "$(sqlite3 "$WORK/collected/ledger.sqlite" "SELECT count(*) FROM stages")" -eq 3 ]
    [ "$(sqlite3 "$WORK/collected/ledger.sqlite" "SELECT count(*) FROM step_metrics WHERE stage NOT IN (SELECT id FROM stages)")" -eq 0 ]
    perennial run recipe.lua --workspace "$WORK/collected"
    exits 0
    complains "all 3 stages are trained already"
    perennial gc train
    exits 1
    complains "there are no results here"
    [ ! -e train/lock ]
}

@test "gc keeps what an unfinished run goes on from" {
    perennial run recipe.lua --workspace "$WORK/whole" --quiet
    exits 0
    cp -r "$WORK/whole" "$WORK/partial"
    last=$(sqlite3 "$WORK/partial/ledger.sqlite" "SELECT key FROM stages WHERE parent IS NOT NULL")
    rm -r "$WORK/partial/stages/$last"
    mkdir "$WORK/partial/stages/$last"
    touch "$WORK/partial/stages/$last/checkpoint-3.safetensors"
    parent=$(sqlite3 "$WORK/partial/ledger.sqlite" "SELECT parent FROM stages WHERE parent IS NOT NULL")
    perennial gc "$WORK/partial" --optimizer --yes
    exits 0
    [ -e "$WORK/partial/stages/$last/checkpoint-3.safetensors" ]
    [ -e "$WORK/partial/stages/$parent/optimizer.safetensors" ]
}

@test "gc is refused while a run is there" {
    perennial run recipe.lua --workspace "$WORK/busy" --quiet
    python3 - "$WORK/busy" "$PERENNIAL" <<'P'
import fcntl, struct, subprocess, sys
with open(sys.argv[1] + "/lock", "r+") as file:  # as a run holds it
    fcntl.fcntl(file, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))
    done = subprocess.run([sys.argv[2], "gc", sys.argv[1], "--forget", "1", "--yes"], capture_output=True, text=True)
    assert done.returncode == 1 and "is in use by" in done.stderr, done
P
    perennial results "$WORK/busy"
    exits 0
}

@test "random subsets of runs that share stages" {
    python3 "$BATS_TEST_DIRNAME/make_stream.py" "$WORK/subsets"
    python3 "$BATS_TEST_DIRNAME/gc_subsets.py" "$PERENNIAL" "$WORK/subsets"
}

@test "exported CSV and JSON Lines hold what the ledger holds" {
    perennial export runs/stripes --run 1 --format csv -o "$WORK/csv"
    exits 0
    perennial export runs/stripes --run 1 --format jsonl -o "$WORK/run.jsonl"
    exits 0
    perennial results runs/stripes --run 1 --json
    python3 -c '
import csv, json, sqlite3, sys
work, ledger = sys.argv[1:]
results = json.load(sys.stdin)
rows = {name: list(csv.DictReader(open(f"{work}/csv/{name}.csv", newline=""))) for name in ("matrix", "metrics", "summary", "stages")}
lines = [json.loads(line) for line in open(f"{work}/run.jsonl")]
assert {line["kind"] for line in lines} == {"run", "strategy", "stage", "score", "summary", "metric"}
for row in rows["matrix"]:
    task = results["strategies"][row["strategy"]]["tasks"][row["task"]]
    assert float(row["value"]) == task["scores"][row["score"]]["matrix"][int(row["after_step"]) - 1][int(row["task_step"]) - 1]
scores = [line for line in lines if line["kind"] == "score"]
assert len(scores) == len(rows["matrix"]) > 0
for line in scores:
    assert line["value"] == results["strategies"][line["strategy"]]["tasks"][line["task"]]["scores"][line["score"]]["matrix"][line["after_step"] - 1][line["task_step"] - 1]
for row in rows["summary"]:
    score = results["strategies"][row["strategy"]]["tasks"][row["task"]]["scores"][row["score"]]
    for name in ("in_domain", "backward", "forward", "gem_bwt", "regret"):
        assert (float(row[name]) if row[name] else None) == score[name], (row, name)
database = sqlite3.connect(ledger)
metrics = [line for line in lines if line["kind"] == "metric"]
assert len(rows["metrics"]) == len(metrics) == sum(s["updates"] for v in results["strategies"].values() for s in v["steps"])
for row, line in zip(rows["metrics"], metrics):
    loss, rate, memory = database.execute("SELECT loss, learning_rate, memory_bytes FROM step_metrics JOIN stages ON stages.id = stage WHERE key = ? AND step = ?", (row["stage"], row["stage_step"])).fetchone()
    assert float(row["loss"]) == loss == line["loss"] and float(row["learning_rate"]) == rate == line["learning_rate"] and float(row["memory_bytes"]) == memory
    assert int(row["step"]) == line["step"] >= 1
assert len(rows["stages"]) == len([line for line in lines if line["kind"] == "stage"]) > 0
' "$WORK" runs/stripes/ledger.sqlite <<<"$output"
    perennial export runs/stripes --format xml -o "$WORK/x"
    exits 2
    perennial export runs/stripes --format csv
    exits 2
}

@test "TensorBoard reads the exported events" {
    packages="$PRN_SOURCE_DIR/build/assets/tensorboard"
    wanted="$BATS_TEST_DIRNAME/tensorboard-requirements.txt"
    if ! cmp -s "$wanted" "$packages/requirements.txt"; then
        rm -rf "$packages.new" "$packages"
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --target "$packages.new" -r "$wanted"
        cp "$wanted" "$packages.new/requirements.txt"
        mv "$packages.new" "$packages"
    fi
    for run in 1 2; do
        perennial export runs/stripes --run $run --format tensorboard -o "$WORK/events$run"
        exits 0
        perennial results runs/stripes --run $run --json
        echo "$output" >"$WORK/results.json"
        PYTHONPATH="$packages" python3 "$BATS_TEST_DIRNAME/read_events.py" "$WORK/events$run" runs/stripes/ledger.sqlite "$WORK/results.json"
    done
    perennial export runs/stripes --run 1 --format tensorboard -o "$WORK/events2"
    exits 1
    complains "events of another run"
}
