#!/usr/bin/env bats
# plan, run, results: from a recipe to a matrix, interrupted and not.
load support

setup() {
    cd "$WORK/stripes"
}

@test "a plan shows stages and cost before anything runs" {
    perennial plan recipe.lua
    exits 0
    says "3 stages, 0 done"
    perennial plan recipe.lua --json
    exits 0
    json "[s['state'] for s in d['stages']] == ['missing'] * 3"
    json "d['stages'][0]['used_by'] == ['sequential', 'oracle'] and len(d['stages'][0]['key']) == 32"
    json "len(d['strategies']['sequential']['steps']) == 2"
    json "d['strategies']['oracle']['forward_macs'] == sum(s['forward_macs'] for s in d['strategies']['oracle']['steps']) > 0"
    json "d['strategies']['oracle']['steps'][1]['forward_macs'] == 2 * d['strategies']['oracle']['steps'][0]['forward_macs']"
    [ ! -e runs/stripes ]
}

@test "a run ends in matrices" {
    perennial run recipe.lua
    exits 0
    says "in-domain"
    says "perennial results runs/stripes"
    complains "stage 1/3, time step 1 (2016)"
    [ -s runs/stripes/run.log ]
    perennial results runs/stripes
    exits 0
    says "after 2017"
    says "recall@1 in percent"
    says "top1 in percent"
    perennial results runs/stripes --json
    exits 0
    json "d['run']['state'] == 'done' and list(d['strategies']) == ['sequential', 'oracle']"
    json "len(d['strategies']['sequential']['tasks']['retrieval']['matrix']) == 2"
    json "all(0 <= x <= 1 for row in d['strategies']['oracle']['tasks']['stripes']['matrix'] for x in row)"
    json "all(abs(t['in_domain'] - (t['matrix'][0][0] + t['matrix'][1][1]) / 2) < 1e-12 and t['backward'] == t['matrix'][1][0] and t['forward'] == t['matrix'][0][1] for s in d['strategies'].values() for t in s['tasks'].values())"
    json "d['strategies']['oracle']['samples'] == 144 and d['strategies']['oracle']['total_macs'] > d['strategies']['oracle']['forward_macs'] > 0"
}

@test "a second run finds everything done" {
    perennial run recipe.lua
    exits 0
    before=$(find runs/stripes/stages -name '*.safetensors' -exec md5sum {} + | sort)
    perennial run recipe.lua --json
    exits 0
    complains "all 3 stages are trained already"
    json "d['state'] == 'done' and d['stages'] == 3 and d['workspace'] == 'runs/stripes'"
    [ "$before" = "$(find runs/stripes/stages -name '*.safetensors' -exec md5sum {} + | sort)" ]
    perennial plan recipe.lua --json
    json "[s['state'] for s in d['stages']] == ['done'] * 3"
}

@test "other scores, CSV, the list of runs" {
    perennial run recipe.lua --quiet
    exits 0
    perennial results runs/stripes --score i2t_recall@5
    exits 0
    says "i2t_recall@5 in percent"
    [[ "$output" != *"top1 in percent"* ]]
    perennial results runs/stripes --all-scores
    says "mean_per_class in percent"
    perennial results runs/stripes --score recal@1
    exits 1
    complains "did you mean 'recall@1'?"
    perennial results runs/stripes --csv
    exits 0
    python3 -c '
import csv, sys
rows = list(csv.DictReader(sys.stdin))
assert len(rows) == 2 * (9 + 3) * 4, len(rows)
assert all(0 <= float(r["value"]) <= 1 for r in rows)
assert {r["strategy"] for r in rows} == {"sequential", "oracle"}' <<<"$output"
    perennial results runs/stripes --list --json
    json "d['runs'][0]['name'] == 'stripes'"
    perennial results runs/stripes --run stripe
    exits 1
    complains "did you mean 'stripes'?"
}

@test "options reach the recipe" {
    perennial run recipe.lua --workspace "$WORK/other" --backend reference --set strategies=sequential --set seed=5 --set budget.steps=2 --quiet --threads 1
    exits 0
    [ -z "$errors" ]
    perennial results "$WORK/other" --json
    json "list(d['strategies']) == ['sequential'] and d['run']['backend'] == 'reference' and d['run']['seed'] == 5"
    json "d['strategies']['sequential']['samples'] == 32"
}

@test "wrong settings say what was wrong" {
    perennial run recipe.lua --set schedule.peek=1
    exits 1
    complains "did you mean 'peak'?"
    perennial run recipe.lua --set nonsense
    exits 1
    complains "--set key=value"
    perennial run recipe.lua --backend cpi
    exits 1
    complains "--backend cpi: "
    complains "did you mean 'cpu'?"
    sed 's/batch = 8/bach = 8/' recipe.lua >wrong.lua
    perennial run wrong.lua
    exits 1
    complains "wrong.lua:7: "
    complains "did you mean 'batch'?"
    perennial plan wrong.lua
    exits 1
}

# Waits until the run writes its first progress; fails after 20 s.
wait_for_progress() {
    for _ in $(seq 1000); do
        if grep -q "$2" "$1" 2>/dev/null; then
            return 0
        fi
        sleep 0.02
    done
    cat "$1"
    return 1
}

@test "an interrupted run exits with 3 and goes on to the same bytes" {
    settings=(--set budget.steps=2500 --set strategies=sequential --set evaluate=)
    perennial run recipe.lua --workspace "$WORK/whole" --quiet "${settings[@]}"
    exits 0
    for signal in INT TERM; do
        "$PERENNIAL" run recipe.lua --workspace "$WORK/cut-$signal" "${settings[@]}" 2>"$WORK/cut.log" >/dev/null 3>&- &
        pid=$!
        wait_for_progress "$WORK/cut.log" "stage 1/2"
        kill -s "$signal" "$pid"
        status=0
        wait "$pid" || status=$?
        if [ "$status" -ne 3 ]; then
            echo "exit code $status after SIG$signal"
            cat "$WORK/cut.log"
            return 1
        fi
        grep -q "perennial: stopped at update" "$WORK/cut.log"
        perennial plan recipe.lua --workspace "$WORK/cut-$signal" "${settings[@]}" --json
        json "d['stages'][0]['state'] in ('partial', 'done') and d['stages'][1]['state'] != 'done'"
        perennial results "$WORK/cut-$signal" --json
        json "d['run']['state'] == 'interrupted'"
        [ "$signal" = INT ] || continue # going on is the same after either
        perennial run recipe.lua --workspace "$WORK/cut-$signal" --quiet "${settings[@]}"
        exits 0
        for file in "$WORK"/whole/stages/*/open_clip_model.safetensors; do
            cmp "$file" "$WORK/cut-$signal/stages/$(basename "$(dirname "$file")")/open_clip_model.safetensors"
        done
        perennial results "$WORK/cut-$signal" --json
        json "d['run']['state'] == 'done'"
    done
}

@test "two runs share a workspace: the second waits, says for what, and both end" {
    settings=(--workspace "$WORK/busy" --set budget.steps=4000 --set strategies=sequential)
    "$PERENNIAL" run recipe.lua "${settings[@]}" 2>"$WORK/busy.log" >"$WORK/busy.out" 3>&- &
    pid=$!
    wait_for_progress "$WORK/busy.log" "stage 1/2"
    perennial plan recipe.lua "${settings[@]}" --json
    exits 0
    json "d['stages'][0]['state'] in ('running', 'done')"
    perennial run recipe.lua "${settings[@]}"
    exits 0
    complains "waiting for process $pid (recipe 'stripes'), which trains stage"
    complains "was finished by another process"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 0 ]
    perennial results "$WORK/busy" --json
    json "d['run']['state'] == 'done'"
    [ "$(sqlite3 "$WORK/busy/ledger.sqlite" "SELECT attempts FROM runs")" -eq 2 ]
    [ "$(sqlite3 "$WORK/busy/ledger.sqlite" "SELECT count(*) FROM step_metrics")" -eq 8000 ]
    [ -z "$(ls "$WORK/busy/processes")" ]
}

@test "a run that was killed is taken over by the one that waits" {
    settings=(--workspace "$WORK/over" --set budget.steps=3000 --set strategies=sequential)
    perennial run recipe.lua --workspace "$WORK/alone" --set budget.steps=3000 --set strategies=sequential --quiet
    exits 0
    "$PERENNIAL" run recipe.lua "${settings[@]}" --set save_every.steps=100 2>"$WORK/over.log" >/dev/null 3>&- &
    first=$!
    wait_for_progress "$WORK/over.log" "stage 1/2"
    "$PERENNIAL" run recipe.lua "${settings[@]}" --quiet >/dev/null 2>&1 3>&- &
    second=$!
    sleep 0.2
    kill -s KILL "$first"
    wait "$first" || true
    status=0
    wait "$second" || status=$?
    [ "$status" -eq 0 ]
    for file in "$WORK"/alone/stages/*/open_clip_model.safetensors; do
        cmp "$file" "$WORK/over/stages/$(basename "$(dirname "$file")")/open_clip_model.safetensors"
    done
    perennial results "$WORK/over" --json
    json "d['run']['state'] == 'done'"
}

@test "of a run that was killed results and ls say so before anybody goes on with it" {
    settings=(--workspace "$WORK/killed" --set budget.steps=30000 --set strategies=sequential)
    "$PERENNIAL" run recipe.lua "${settings[@]}" 2>"$WORK/killed.log" >/dev/null 3>&- &
    pid=$!
    wait_for_progress "$WORK/killed.log" "stage 1/2"
    perennial results "$WORK/killed" --json
    json "d['run']['state'] == 'running'"
    perennial ls "$WORK/killed" --json
    json "[r['state'] for r in d['runs']] == ['running']"
    kill -s KILL "$pid"
    wait "$pid" || true
    perennial results "$WORK/killed" --json
    json "d['run']['state'] == 'interrupted'"
    perennial results "$WORK/killed" --run 1 --json
    json "d['run']['state'] == 'interrupted'"
    perennial ls "$WORK/killed" --json
    json "[r['state'] for r in d['runs']] == ['interrupted']"
    perennial export "$WORK/killed" --format jsonl -o "$WORK/killed.jsonl"
    exits 0
    grep -q '"state": *"interrupted"' "$WORK/killed.jsonl"
    ! grep -q '"state": *"running"' "$WORK/killed.jsonl"
}

@test "a workspace that cannot be written is refused, and what is in it stays" {
    mkdir -p "$WORK/fixed"
    mount -t tmpfs -o size=16m tmpfs "$WORK/fixed" 2>/dev/null || skip "no file system can be mounted here"
    perennial run recipe.lua --workspace "$WORK/fixed/run" --quiet --set strategies=sequential
    exits 0
    mount -o remount,ro "$WORK/fixed"
    perennial run recipe.lua --workspace "$WORK/fixed/run"
    first="$status $errors"
    perennial plan recipe.lua --workspace "$WORK/fixed/run" --json
    plan=$status
    planned=$output
    perennial results "$WORK/fixed/run" --json
    results=$status
    umount "$WORK/fixed"
    [[ "$first" == "1 "*"$WORK/fixed/run"*"Read-only file system"* ]] || {
        echo "$first"
        return 1
    }
    [ "$plan" -eq 0 ] && [ "$results" -eq 0 ]
    output=$planned
    json "[s['state'] for s in d['stages']] == ['done', 'done', 'missing']"
}

@test "a changed recipe is another run, and the first one's stages stay" {
    perennial run recipe.lua --workspace "$WORK/changed" --quiet
    exits 0
    sed 's/peak = 1e-3/peak = 2e-3/' recipe.lua >changed.lua
    perennial run changed.lua --workspace "$WORK/changed"
    exits 0
    complains "3 of 3 stages to train"
    sed 's/p.sequential {}, p.oracle {}/p.sequential {}, p.oracle {}, p.restart {}/' recipe.lua >more.lua
    perennial run more.lua --workspace "$WORK/changed"
    exits 0
    complains "1 of 4 stages to train"
    perennial run recipe.lua --workspace "$WORK/changed"
    exits 0
    complains "all 3 stages are trained already"
    [ "$(sqlite3 "$WORK/changed/ledger.sqlite" "SELECT count(*) FROM runs WHERE state = 'done'")" -eq 3 ]
    rm changed.lua more.lua
}
