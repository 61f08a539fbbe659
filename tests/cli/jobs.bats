#!/usr/bin/env bats
# run --jobs N: worker processes over the stages of a run.
load support

setup() {
    cd "$WORK/stripes"
}

# same WORKSPACE WORKSPACE: models and matrices are equal
same() {
    for file in "$1"/stages/*/open_clip_model.safetensors; do
        cmp "$file" "$2/stages/$(basename "$(dirname "$file")")/open_clip_model.safetensors"
    done
    for workspace in "$1" "$2"; do
        "$PERENNIAL" results "$workspace" --json >"$workspace/results.json"
    done
    python3 -c '
import json, sys
a, b = (json.load(open(w + "/results.json")) for w in sys.argv[1:])
assert a["strategies"].keys() == b["strategies"].keys()
for name in a["strategies"]:
    assert a["strategies"][name]["tasks"] == b["strategies"][name]["tasks"], name' "$1" "$2"
}

# waits_for FILE TEXT
waits_for() {
    for _ in $(seq 1500); do
        if grep -q "$2" "$1" 2>/dev/null; then
            return 0
        fi
        sleep 0.02
    done
    cat "$1"
    return 1
}

workers_of() {
    tr ' ' '\n' <"/proc/$1/task/$1/children"
}

@test "jobs change no byte" {
    settings=(--set budget.steps=40 --set 'strategies=sequential,oracle' --quiet)
    perennial run recipe.lua --workspace "$WORK/one" "${settings[@]}"
    exits 0
    for jobs in 2 3 7; do
        perennial run recipe.lua --workspace "$WORK/jobs-$jobs" --jobs "$jobs" "${settings[@]}"
        exits 0
        same "$WORK/one" "$WORK/jobs-$jobs"
        [ "$(sqlite3 "$WORK/jobs-$jobs/ledger.sqlite" "SELECT attempts || state FROM runs")" = 1done ]
        [ "$(sqlite3 "$WORK/jobs-$jobs/ledger.sqlite" "SELECT count(*) FROM environment")" -eq 1 ]
        [ -z "$(ls "$WORK/jobs-$jobs/processes")" ]
        perennial run recipe.lua --workspace "$WORK/jobs-$jobs" --jobs "$jobs" "${settings[@]}" --json
        exits 0
        json "d['state'] == 'done' and d['seconds'] < 10"
        [ "$(sqlite3 "$WORK/jobs-$jobs/ledger.sqlite" "SELECT attempts || state FROM runs")" = 2done ]
    done
}

@test "each job has its own cores, and the record says which" {
    cores=$("$PERENNIAL" topology --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["allowed_cores"])')
    perennial run recipe.lua --workspace "$WORK/cores" --jobs 2 --set budget.steps=3
    exits 0
    if [ "$cores" -lt 2 ]; then
        complains "2 jobs on 1 cores"
        skip "one core"
    fi
    sqlite3 "$WORK/cores/ledger.sqlite" "SELECT facts FROM environment" | python3 -c '
import json, sys
facts = json.load(sys.stdin)
a, b = (set(job["processors"]) for job in facts["jobs"])
assert a and b and not a & b, facts["jobs"]
assert facts["device"]["backend"] == "cpu" and len(facts["data"]) == 2 and all(facts["data"])'
}

@test "signals to the one that leads save everywhere" {
    settings=(--jobs 2 --set budget.steps=3000)
    perennial run recipe.lua --workspace "$WORK/whole" --quiet --set budget.steps=3000
    exits 0
    for signal in INT TERM HUP; do
        "$PERENNIAL" run recipe.lua --workspace "$WORK/cut-$signal" "${settings[@]}" 2>"$WORK/cut.log" >/dev/null 3>&- &
        pid=$!
        waits_for "$WORK/cut.log" "stage 3/3"
        waits_for "$WORK/cut.log" "stage 1/3"
        kill -s "$signal" "$pid"
        status=0
        wait "$pid" || status=$?
        if [ "$status" -ne 3 ]; then
            echo "exit code $status after SIG$signal"
            cat "$WORK/cut.log"
            return 1
        fi
        grep -q "job 1: stopped at update" "$WORK/cut.log"
        grep -q "job 2: stopped at update" "$WORK/cut.log"
        [ "$(ls "$WORK/cut-$signal"/stages/*/checkpoint-* | wc -l)" -eq 2 ]
        [ "$(sqlite3 "$WORK/cut-$signal/ledger.sqlite" "SELECT state FROM runs")" = interrupted ]
        [ "$signal" = INT ] || continue
        perennial run recipe.lua --workspace "$WORK/cut-$signal" --quiet --set budget.steps=3000 # jobs are no part of what a run is
        exits 0
        same "$WORK/whole" "$WORK/cut-$signal"
    done
}

@test "a worker that is killed is reported, and the others do its work" {
    settings=(--jobs 2 --set budget.steps=3000 --set save_every.steps=50)
    "$PERENNIAL" run recipe.lua --workspace "$WORK/hurt" "${settings[@]}" 2>"$WORK/hurt.log" >/dev/null 3>&- &
    pid=$!
    waits_for "$WORK/hurt.log" "stage 3/3"
    waits_for "$WORK/hurt.log" "stage 1/3"
    victim=$(workers_of "$pid" | head -n 1)
    kill -s KILL "$victim"
    status=0
    wait "$pid" || status=$?
    if [ "$status" -ne 0 ]; then
        cat "$WORK/hurt.log"
        return 1
    fi
    grep -q "was ended by signal 9 (Killed) at stage ./3: time step" "$WORK/hurt.log"
    perennial run recipe.lua --workspace "$WORK/unhurt" --quiet --set budget.steps=3000
    same "$WORK/unhurt" "$WORK/hurt"
    # all of them
    "$PERENNIAL" run recipe.lua --workspace "$WORK/dead" --jobs 2 --set budget.steps=200000 2>"$WORK/dead.log" >/dev/null 3>&- &
    pid=$!
    waits_for "$WORK/dead.log" "stage 3/3"
    for victim in $(workers_of "$pid"); do
        kill -s KILL "$victim"
    done
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 1 ]
    grep -q "perennial: all jobs were ended by signals" "$WORK/dead.log"
    [ "$(sqlite3 "$WORK/dead/ledger.sqlite" "SELECT state FROM runs")" = failed ]
}

@test "workers do not outlive the one that leads" {
    "$PERENNIAL" run recipe.lua --workspace "$WORK/orphans" --jobs 2 --set budget.steps=2000000 2>"$WORK/orphans.log" >/dev/null 3>&- &
    pid=$!
    waits_for "$WORK/orphans.log" "stage 3/3"
    waits_for "$WORK/orphans.log" "stage 1/3"
    workers=$(workers_of "$pid")
    [ "$(wc -w <<<"$workers")" -eq 2 ]
    kill -s KILL "$pid"
    wait "$pid" || true
    for _ in $(seq 500); do
        alive=0
        for worker in $workers; do
            kill -s 0 "$worker" 2>/dev/null && alive=1
        done
        [ "$alive" -eq 0 ] && break
        sleep 0.02
    done
    [ "$alive" -eq 0 ]
    [ "$(ls "$WORK/orphans"/stages/*/checkpoint-* | wc -l)" -eq 2 ] # they saved
    [ "$(sqlite3 "$WORK/orphans/ledger.sqlite" "SELECT state FROM runs")" = interrupted ]
}

@test "a worker that fails stops the others, and its reason is the run's" {
    cp -r "$WORK/stripes" "$WORK/torn"
    rm "$WORK/torn/train/2017-1.tar" # stage 3 cannot begin, stage 1 is under way
    cd "$WORK/torn"
    perennial run recipe.lua --workspace "$WORK/failing" --jobs 2 --set budget.steps=200000
    exits 1
    complains "perennial: job "
    complains "2017-1.tar"
    complains "the others save and stop"
    complains ": stopped at update"
    [ "$(sqlite3 "$WORK/failing/ledger.sqlite" "SELECT state FROM runs")" = failed ]
    [ -z "$(ls "$WORK/failing/processes")" ]
}

@test "wrong numbers of jobs" {
    for jobs in 0 -1 many 1000; do
        perennial run recipe.lua --jobs "$jobs"
        exits 2
        complains "from 1 to 256"
    done
    perennial run recipe.lua --worker 1,2,3
    exits 2
    complains "see --jobs"
    perennial run --help
    says "--jobs N"
    [[ "$output" != *"--worker"* ]]
}
