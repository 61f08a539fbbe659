#!/usr/bin/env bats
# The recipes that ship: those of published streams plan without their data, with the published costs.
load support

plan_json() {
    "$PERENNIAL" plan "$BATS_TEST_DIRNAME/../../recipes/$1.lua" --json 2>/dev/null
}

@test "TiC-DataComp large costs what was published" {
    plan_json tic-datacomp-large >"$BATS_TEST_TMPDIR/plan.json"
  python3 - "$BATS_TEST_TMPDIR/plan.json" <<'PYTHON'
import json, sys
s = json.load(open(sys.argv[1]))["strategies"]
near = lambda got, want: abs(got - want) <= 0.01 * want or sys.exit(f"{got} is not {want} within 1 %")
for name in ("sequential", "cumulative", "cumulative-equal", "cumulative-exp"):
    assert len(s[name]["steps"]) == 7
    for step in s[name]["steps"]:
        near(step["forward_macs"], 3.79e18)
    near(s[name]["forward_macs"], 2.65e19)
near(s["oracle"]["forward_macs"], 1.06e20)
near(s["cumulative-rising"]["forward_macs"], 10.5 * 3.79e18)
near(s["oracle"]["forward_macs"] / s["cumulative-rising"]["forward_macs"], 28 / 10.5)
assert s["cumulative-rising"]["budget_multiple"] == 10.5 and s["oracle"]["budget_multiple"] == 28
assert [t["budget_multiple"] for t in s["cumulative-rising"]["steps"]] == [1, 1, 1, 1, 1.5, 2, 3]
PYTHON
}

@test "every published stream plans without its data, 12.7 billion samples in 1.3 million shards among them" {
    for recipe in tic-datacomp-medium tic-datacomp-large tic-datacomp-xlarge tic-yfcc tic-redcaps; do
        plan_json "$recipe" >"$BATS_TEST_TMPDIR/plan.json" || { echo "$recipe"; false; }
        python3 -c 'import json, sys; p = json.load(open(sys.argv[1])); assert p["stages"] and p["strategies"]' "$BATS_TEST_TMPDIR/plan.json"
    done
    grep -q 'about: 1814285714' "$BATS_TEST_DIRNAME/../../recipes/streams/tic-datacomp-xlarge.yaml"
}

@test "a run without the data says what is missing and trains nothing" {
    cd "$BATS_TEST_TMPDIR"
    run "$PERENNIAL" run "$BATS_TEST_DIRNAME/../../recipes/tic-redcaps.lua"
    [ "$status" -eq 1 ]
    [[ "$output" == *tic-redcaps* ]]
    [[ "$output" == *"No such file"* ]]
    [[ "$output" == *"must be obtained from its owners first; the first lines of that file say where"* ]]
    [ -z "$(ls runs/tic-redcaps/stages 2>/dev/null)" ]
}

@test "every recipe is sound as far as its data" {
    cd "$BATS_TEST_TMPDIR"
    for recipe in "$BATS_TEST_DIRNAME/../.."/recipes/*.lua; do
        run "$PERENNIAL" plan "$recipe"
        [ "$status" -eq 0 ] || [[ "$output" == *"stream"* ]] || { echo "$recipe: $output"; false; }
    done
}
