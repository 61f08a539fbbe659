#!/usr/bin/env bats
# Sweeps end to end: shared stages run once, means and deviations against single runs, the best and its cost, stopping and going on.
load support

setup() {
    cd "$WORK/stripes"
    # cumulative alone has the swept value, from its second step on; setting "1,2" costs more there
    write_recipe sweep 'p.grid { {1, 1}, {1, 2} }' 'p.seeds(2)' 6
}

# write_recipe NAME BUDGET_MULTIPLES SEED STEPS
write_recipe() {
    sed -e "s/name = \"stripes\"/name = \"$1\"/" -e "s/p.steps(6)/p.steps($4)/" -e "s/seed = 1/seed = $3/" \
        -e "s/strategies = .*/strategies = { p.sequential {}, p.cumulative { budget_multiples = $2 } },/" \
        -e 's/peak = 1e-3/peak = 5e-3/' recipe.lua >"$1.lua"
    if [[ $2 == *grid* ]]; then
        sed -i 's/backend = "cpu",/backend = "cpu", sweep = p.sweep { criterion = "in_domain", on = "retrieval", score = "i2t_recall@5" },/' "$1.lua"
    fi
}

@test "a plan shows combinations, what they share, and the cost of all" {
    perennial plan sweep.lua
    exits 0
    says "sweep 'sweep' (sweep.lua): 4 combinations in runs/sweep"
    says "in_domain of i2t_recall@5 on 'retrieval'"
    says "8 stages, 0 done (12 are asked for"
    perennial plan sweep.lua --json
    exits 0
    json "len(d['combinations']) == 4 and d['stages'] == 8 and d['stages_done'] == 0"
    json "[c['settings'] for c in d['combinations']] == [dict(budget_multiples=m, seed=s) for m in ([1, 1], [1, 2]) for s in (1, 2)]"
    json "[c['stages'] for c in d['combinations']] == [3] * 4 and [c['own']['stages'] for c in d['combinations']] == [3, 3, 1, 1]"
    json "sum(c['own']['total_macs'] for c in d['combinations']) == d['total_macs'] > 0"
    json "d['sweep']['criterion'] == 'in_domain' and d['sweep']['chosen_on'] == 'retrieval' and len(d['sweep']['identity']) == 32"
    [ ! -e runs/sweep ]
    perennial plan sweep.lua --set 'grid.budget_multiples=[1,2]' --set grid.seed=2 --json
    json "len(d['combinations']) == 1 and d['combinations'][0]['settings'] == dict(budget_multiples=[1, 2], seed=2)"
    perennial plan sweep.lua --schedule
    exits 2
    complains "a sweep of 4 combinations"
}

@test "a recipe without choices prints what it always did" {
    perennial plan recipe.lua --json
    exits 0
    json "list(d) == ['name', 'recipe', 'workspace', 'stream', 'manifest', 'backend', 'seed', 'batch', 'budget', 'time_steps', 'model', 'strategies', 'stages', 'forward_macs', 'total_macs', 'teacher_macs', 'tuning_macs', 'samples']"
    perennial run recipe.lua --json --quiet
    exits 0
    json "list(d) == ['name', 'run', 'state', 'workspace', 'stages', 'forward_macs', 'total_macs', 'samples', 'seconds']"
    perennial results runs/stripes --json
    json "list(d) == ['run', 'time_steps', 'strategies', 'forward_macs', 'total_macs', 'samples', 'skipped', 'environment']"
    perennial results runs/stripes --list --json
    json "'settings' not in d['runs'][0] and 'sweep' not in d['runs'][0]"
    [ "$(sqlite3 runs/stripes/ledger.sqlite "SELECT count(*) FROM settings")" -eq 0 ]
}

@test "a sweep runs each stage once, and its figures are those of single runs" {
    perennial run sweep.lua
    exits 0
    complains "combination 3/4: budget_multiples=[1,2], seed=1"
    says "best settings"
    [ "$(find runs/sweep/stages -name stage.json | wc -l)" -eq 8 ]
    [ "$(sqlite3 runs/sweep/ledger.sqlite "SELECT count(*) FROM step_metrics")" -eq "$((2 * (6 + 6 + 6 + 12)))" ]
    mkdir -p alone
    perennial results runs/sweep --json
    exits 0
    echo "$output" >alone/sweep.json
    for k in 1 2; do
        for seed in 1 2; do
            write_recipe "alone-$k-$seed" "{1, $k}" "$seed" 6
            perennial run "alone-$k-$seed.lua" --quiet
            exits 0
            perennial results "runs/alone-$k-$seed" --json
            echo "$output" >"alone/$k-$seed.json"
            perennial plan "alone-$k-$seed.lua" --json
            echo "$output" >"alone/plan-$k-$seed.json"
        done
    done
    python3 - <<'PYTHON'
import json, math, statistics
read = lambda name: json.load(open(f"alone/{name}.json"))
sweep = read("sweep")
near = lambda a, b, what: abs(a - b) < 1e-12 or exit(f"{what}: {a} is not {b}")

def figure(run, strategy, task, score, metric):
    s = run["strategies"][strategy]["tasks"][task]["scores"][score]
    return sum(s["matrix"][-1]) / 2 if metric == "average" else s[metric]

def single(k, strategy, task, score, metric):
    return [figure(read(f"{k}-{seed}"), strategy, task, score, metric) for seed in (1, 2)]

assert sweep["sweep"]["held_out"] and not sweep["sweep"]["provisional"] and sweep["sweep"]["complete"] == 4
rows = {(s, json.dumps(row["settings"])): row for s, v in sweep["strategies"].items() for row in v["rows"]}
m = lambda *ks: json.dumps([{"budget_multiples": [1, k]} for k in ks])
assert set(rows) == {("sequential", m(1, 2)), ("cumulative", m(1)), ("cumulative", m(2))}, rows.keys()
compared = 0
for (strategy, settings), row in rows.items():
    k = 2 if settings == m(2) else 1
    assert row["runs_complete"] == 2
    for task, t in row["tasks"].items():
        assert t["chosen_on"] == (task == "retrieval")
        for score, metrics in t["scores"].items():
            for metric, got in metrics.items():
                values = single(k, strategy, task, score, metric)
                assert got["n"] == 2
                near(got["mean"], statistics.mean(values), (strategy, k, task, score, metric))
                near(got["standard_deviation"], statistics.stdev(values), (strategy, k, task, score, metric))
                compared += 1
    near(row["criterion"]["mean"], statistics.mean(single(k, strategy, "retrieval", "i2t_recall@5", "in_domain")), "criterion")
assert compared == 3 * (9 + 3) * 5, compared

# the best, and its cost: stages of single runs have the same keys
value = {k: statistics.mean(single(k, "cumulative", "retrieval", "i2t_recall@5", "in_domain")) for k in (1, 2)}
best = 2 if value[2] > value[1] else 1
assert sweep["strategies"]["cumulative"]["best"] == {"budget_multiples": [1, best]}
assert [r["best"] for r in sweep["strategies"]["cumulative"]["rows"]] == [best == 1, best == 2]
def stages(strategy, k):
    return {s["key"]: s["total_macs"] for seed in (1, 2) for s in read(f"plan-{k}-{seed}")["stages"] if strategy in s["used_by"]}
mine, other = stages("cumulative", best), stages("cumulative", 3 - best)
got = sweep["strategies"]["cumulative"]
near(got["training_macs"], sum(mine.values()), "training")
near(got["tuning_macs"], sum(v for key, v in other.items() if key not in mine), "tuning")
assert got["tuning_macs"] > 0 and sweep["strategies"]["sequential"]["tuning_macs"] == 0
near(sweep["strategies"]["sequential"]["training_macs"], sum(stages("sequential", 1).values()), "sequential")
both = {k: value[k] + statistics.mean(single(k, "sequential", "retrieval", "i2t_recall@5", "in_domain")) for k in (1, 2)}
assert sweep["overall"]["best"] == {"budget_multiples": [1, 2 if both[2] > both[1] else 1]}
near(sweep["overall"]["criterion"], max(both.values()) / 2, "overall")
near(sweep["overall"]["training_macs"] + sweep["overall"]["tuning_macs"], sweep["total_macs"], "sum")
union = {}
for k in (1, 2):
    for strategy in ("sequential", "cumulative"):
        union.update(stages(strategy, k))
assert len(union) == 8
near(sweep["total_macs"], sum(union.values()), "total")
PYTHON
    for file in runs/alone-*/stages/*/open_clip_model.safetensors; do
        cmp "$file" "runs/sweep/stages/$(basename "$(dirname "$file")")/open_clip_model.safetensors"
    done
}

@test "text, CSV, single runs, the list" {
    perennial run sweep.lua --quiet
    exits 0
    perennial results runs/sweep
    exits 0
    says "held out: it decides, and is not reported below"
    says "stripes: top1 in percent, mean ± sample standard deviation over n seeds"
    [[ "$output" != *"retrieval: "* ]]
    says "best settings; training"
    says "any"
    perennial results runs/sweep --score top5
    says "stripes: top5 in percent"
    perennial results runs/sweep --score topp5
    exits 1
    complains "did you mean 'top5'?"
    perennial results runs/sweep --csv
    exits 0
    python3 -c '
import csv, sys
rows = list(csv.DictReader(sys.stdin))
assert len(rows) == 4 * (9 + 3) * 5, len(rows)
assert all(0 <= float(r["mean"]) <= 1 and r["n"] == "2" for r in rows if r["metric"] != "forgetting")' <<<"$output"
    perennial results runs/sweep --list --json
    json "len(d['runs']) == 4 and d['runs'][-1]['settings'] == dict(budget_multiples=[1, 1], seed=1)"
    perennial results runs/sweep --list
    says "budget_multiples=[1,2], seed=2"
    perennial results runs/sweep --run 3 --json
    exits 0
    json "d['run']['id'] == 3 and d['run']['seed'] == 1 and len(d['strategies']['cumulative']['tasks']['retrieval']['matrix']) == 2"
    identity=$(sqlite3 runs/sweep/ledger.sqlite "SELECT identity FROM sweeps")
    perennial results runs/sweep --run "${identity:0:8}" --json
    json "d['sweep']['identity'] == '$identity'"
    perennial results runs/sweep --run nothing
    exits 1
    complains "no run 'nothing'"
}

@test "a stream with one set says that nothing is held out; seeds alone choose nothing" {
    perennial run sweep.lua --quiet --set evaluate=retrieval --workspace "$WORK/one"
    exits 0
    says "not held out: the stream has no other set"
    says "retrieval: recall@1 in percent"
    perennial results "$WORK/one" --json
    json "not d['sweep']['held_out']"
    write_recipe seeds '{1, 1}' 'p.seeds { 4, 5, 6 }' 3
    perennial run seeds.lua --quiet
    exits 0
    says "1 setting, 3 runs, 3 of them complete"
    [[ "$output" != *"best settings"* ]]
    says "retrieval: recall@1 in percent"
    says "stripes: top1 in percent"
}

wait_for() {
    for _ in $(seq 1000); do
        if grep -q "$2" "$1" 2>/dev/null; then
            return 0
        fi
        sleep 0.02
    done
    cat "$1"
    return 1
}

# Without what differs from run to run: numbers of runs are the same.
figures() {
    "$PERENNIAL" results "$1" --json
}

@test "killed and stopped in the middle, the same command goes on to the same bytes" {
    settings=(--set budget.steps=400 --set save_every.steps=20)
    perennial run sweep.lua --workspace "$WORK/whole" --quiet "${settings[@]}"
    exits 0
    "$PERENNIAL" run sweep.lua --workspace "$WORK/cut" "${settings[@]}" 2>"$WORK/cut.log" >/dev/null 3>&- &
    pid=$!
    wait_for "$WORK/cut.log" "combination 2/4"
    sleep 0.1
    kill -s KILL "$pid"
    wait "$pid" || true
    perennial results "$WORK/cut" --json
    exits 0
    json "d['sweep']['provisional'] and d['sweep']['complete'] < 4"
    perennial results "$WORK/cut"
    says "provisional: "
    "$PERENNIAL" run sweep.lua --workspace "$WORK/cut" "${settings[@]}" 2>"$WORK/cut2.log" >/dev/null 3>&- &
    pid=$!
    wait_for "$WORK/cut2.log" "combination 3/4"
    kill -s INT "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 3 ]
    grep -q "stopped" "$WORK/cut2.log"
    perennial run sweep.lua --workspace "$WORK/cut" --quiet "${settings[@]}" --json
    exits 0
    json "d['state'] == 'done' and d['runs'] == [1, 2, 3, 4] and d['stages'] == 8"
    for file in "$WORK"/whole/stages/*/open_clip_model.safetensors; do
        cmp "$file" "$WORK/cut/stages/$(basename "$(dirname "$file")")/open_clip_model.safetensors"
    done
    diff <(figures "$WORK/whole") <(figures "$WORK/cut")
    # finished: nothing is trained, nothing changes
    perennial run sweep.lua --workspace "$WORK/cut" "${settings[@]}"
    exits 0
    complains "all 8 stages are trained already"
    diff <(figures "$WORK/whole") <(figures "$WORK/cut")
}

@test "jobs change nothing" {
    perennial run sweep.lua --workspace "$WORK/alone-jobs" --quiet
    exits 0
    perennial run sweep.lua --workspace "$WORK/jobs" --quiet --jobs 2
    exits 0
    diff <(figures "$WORK/alone-jobs") <(figures "$WORK/jobs")
}

@test "a combination that diverges is no end, and no best" {
    sed -e 's/peak = 1e-3/peak = p.grid { 1000, 5e-3 }/' -e 's/name = "stripes"/name = "hot"/' \
        -e 's/seed = 1/seed = 1, sweep = p.sweep { on = "stripes" }/' -e 's/p.oracle {}//' recipe.lua >hot.lua
    perennial run hot.lua
    exits 1
    complains "the other combinations go on"
    complains "1 of 2 combinations failed"
    says "1 of them complete"
    perennial results runs/hot --json
    exits 0
    json "d['strategies']['sequential']['best'] == dict(peak=0.005) and [r['state'] for r in d['runs']] == ['failed', 'done']"
    json "d['strategies']['sequential']['rows'][0]['criterion']['n'] == 0 and d['overall']['best'] == dict(peak=0.005)"
}

@test "choices without effect are told" {
    perennial plan sweep.lua
    [ -z "$errors" ]
    perennial plan sweep.lua --set seed=7 --json
    exits 0
    complains "2 of 4 combinations train the same as another one, the first is combination 2"
    json "d['stages'] == 4"
}

@test "wrong choices are told with their place" {
    sed 's/p.seeds(2)/p.seeds(0)/' sweep.lua >wrong.lua
    perennial run wrong.lua
    exits 1
    complains "wrong.lua:12: p.seeds takes 1 to 1000 seeds"
    sed 's/on = "retrieval", score = "i2t_recall@5"/on = "retrieva"/' sweep.lua >wrong.lua
    perennial plan wrong.lua
    exits 1
    complains "wrong.lua:11: "
    complains "did you mean 'retrieval'?"
    perennial plan sweep.lua --set grid.seed=3
    exits 1
    complains "--set grid.seed=3: p.seeds (sweep.lua:12) has no value '3'; it has 1, 2"
}
