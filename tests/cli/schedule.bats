#!/usr/bin/env bats
# `perennial plan`: the learning rate over the whole run, budgets in every unit, and what a plan says of costs and storage.
load support

# recipe SCHEDULE [BUDGET]: three strategies on the small stream
recipe() {
    cat >"$WORK/schedule.lua" <<LUA
local p = require "perennial"
return p.recipe {
  stream = "$WORK/stripes/stream.yaml", model = "nano", batch = 8, workspace = "$WORK/schedule",
  budget = ${2:-p.steps(100)}, schedule = $1,
  strategies = { p.sequential {}, p.lwf {}, p.oracle {} },
}
LUA
}

@test "a plot and a table of the learning rate, once for strategies that are alike" {
    recipe 'p.cosine { peak = 1e-3, warmup = 10 }'
    perennial plan "$WORK/schedule.lua" --schedule
    exits 0
    says "learning rate of sequential, lwf"
    says "learning rate of oracle"
    says "0.001 "
    says "highest"
    [[ "$output" != *"branch"* ]]
    [ "$(awk 'length > 100' <<<"$output")" = "" ]
    LC_ALL=C grep -q '[^ -~]' <<<"$output" && false
    true
}

@test "branches are drawn apart from the trunk" {
    recipe 'p.infinite { peak = 1e-3, constant = 5e-4, warmup = 10, cooldown = 50, branch = 0.2 }'
    perennial plan "$WORK/schedule.lua" --schedule
    exits 0
    says "* trunk"
    says "o branch"
    says "oo"
    perennial plan "$WORK/schedule.lua"
    says "branch: "
}

@test "the learning rate as points, the first and the last update of each stage among them" {
    recipe 'p.trunk { peak = 1e-3, branch = 0.2, shape = "linear" }'
    perennial plan "$WORK/schedule.lua" --schedule --json
    exits 0
    json 'all(len(s["points"]) == min(s["updates"], 65) for l in d["strategies"].values() for s in l["schedule"])'
    json '[(s["time_step"], s["branch"], s["first_update"], s["updates"]) for s in d["strategies"]["sequential"]["schedule"]][:4] == [(1, False, 0, 80), (1, True, 80, 20), (2, False, 100, 80), (2, True, 180, 20)]'
    json 'd["strategies"]["sequential"]["schedule"][1]["points"][0] == [80, 1e-3]'
    json 'd["strategies"]["sequential"]["schedule"][1]["points"][19] == [99, 5e-5]'
    json 'd["strategies"]["sequential"]["schedule"][0]["points"][64][0] == 79'
    json 'd["strategies"]["oracle"]["schedule"][2]["updates"] == 160'
    perennial plan "$WORK/schedule.lua" --json
    json '"schedule" not in d["strategies"]["sequential"]'
}

@test "the autoregressive cosine's peaks" {
    recipe 'p.autoregressive_cosine { peak = 3e-4, final = 3e-5 }'
    perennial plan "$WORK/schedule.lua" --schedule --json
    json '[s["points"][0][1] for s in d["strategies"]["sequential"]["schedule"]][:3] == [3e-4, 1.65e-4, 9.75e-5][:len(d["time_steps"])]'
    json 'all(s["points"][0][1] == 3e-4 for s in d["strategies"]["oracle"]["schedule"])'
}

@test "budgets in every unit" {
    for budget in 'p.samples(80)' 'p.steps(10)' 'p.epochs(2)' 'p.macs(1e12)'; do
        recipe 'p.constant { peak = 1e-3 }' "$budget"
        perennial plan "$WORK/schedule.lua"
        exits 0
        perennial plan "$WORK/schedule.lua" --json
        exits 0
        json 'len(d["budget"]) == 1 and d["strategies"]["sequential"]["samples"] > 0'
    done
    json 'all(x["forward_macs"] <= 1e12 < x["forward_macs"] * (x["updates"] + 1) / x["updates"] for x in d["strategies"]["sequential"]["steps"])'
    recipe 'p.constant { peak = 1e-3 }'
    perennial plan "$WORK/schedule.lua" --set budget.steps=7 --set schedule.peak=2e-3,1e-3 --schedule --json
    exits 0
    json '[s["points"][0][1] for s in d["strategies"]["sequential"]["schedule"]][:2] == [2e-3, 1e-3] and d["budget"] == {"steps": 7}'
}

@test "teacher, storage and memory are beside the costs" {
    recipe 'p.constant { peak = 1e-3 }'
    perennial plan "$WORK/schedule.lua"
    says "of teacher"
    says "memory-adjusted FLOPs"
    [[ "$output" != *"of tuning"* ]]
    perennial plan "$WORK/schedule.lua" --json
    json 'all(d["strategies"][s]["teacher_macs"] == 0 for s in ("sequential", "oracle"))'
    json '0 < d["strategies"]["lwf"]["teacher_macs"] < d["strategies"]["lwf"]["total_macs"]'
    json 'd["strategies"]["sequential"]["memory_adjusted_flops"] == 2 * d["strategies"]["sequential"]["total_macs"]'
    json 'd["strategies"]["sequential"]["buffer_samples"] == 0 and d["strategies"]["oracle"]["buffer_samples"] > 0'
    json 'd["strategies"]["oracle"]["buffer_bytes"] > 0 and d["strategies"]["oracle"]["checkpoint_bytes"] > 0'
    json 'abs(sum(s["teacher_macs"] for s in d["strategies"]["lwf"]["steps"]) / d["strategies"]["lwf"]["teacher_macs"] - 1) < 1e-9'
}

@test "a warm-up that is longer than a time step is said" {
    recipe 'p.cosine { peak = 1e-3, warmup = 101 }'
    perennial plan "$WORK/schedule.lua"
    exits 0
    complains "the warm-up of 101 updates ends behind its 100 updates: the learning rate never reaches the peak"
    [ "$(grep -c 'warm-up' <<<"$errors")" = 1 ]
}

@test "what a stage draws from is told in ranges, with its memory and its teacher" {
    cat >"$WORK/memory.lua" <<LUA
local p = require "perennial"
return p.recipe {
  stream = "$WORK/stripes/stream.yaml", model = "nano", batch = 8, workspace = "$WORK/memory", budget = p.steps(10), schedule = p.constant { peak = 1e-3 },
  strategies = { p.agem { size = 6, unit = "samples", memory_batch = 4 }, p.replay { size = 6, unit = "samples", mix = 0.5 }, p.lwf {} },
}
LUA
    perennial plan "$WORK/memory.lua" --set keep_optimizer=true
    exits 0
    says "; memory: 4 of "
    says "(at most 6, weight 0.5)"
    says "in C"
    perennial plan "$WORK/memory.lua" --set keep_optimizer=true --json
    json 'all(s["keep_optimizer"] == (s["parent"] is not None) for s in d["stages"])'
    json 'any(s["memory_batch"] == 4 and s["memory_sources"][0]["max_samples"] == 6 for s in d["stages"] if "agem" in s["used_by"])'
    json '[s["teacher"] for s in d["stages"] if s["used_by"] == ["lwf"]] == ["step %d" % t for t in range(1, len(d["time_steps"]))]'
    perennial plan "$WORK/memory.lua" --json
    json 'not any(s["keep_optimizer"] for s in d["stages"])'
}

@test "a strategy that is not loaded: where those of others are looked for" {
    sed 's/p.lwf/p.hold/' "$WORK/memory.lua" >"$WORK/hold.lua"
    perennial plan "$WORK/hold.lua"
    exits 1
    complains "has no 'hold'"
    complains "need --plugin-path or PERENNIAL_PLUGIN_PATH"
}

@test "a stream that is not there: how the embedded one is made" {
    sed "s#$WORK/stripes/stream.yaml#data/tic-unicode/coarse.yaml#" "$WORK/memory.lua" >"$WORK/nowhere.lua"
    cd "$BATS_TEST_TMPDIR"
    perennial plan "$WORK/nowhere.lua"
    exits 1
    complains "there is neither data/tic-unicode/coarse.yaml"
    complains "perennial data build unicode"
}
