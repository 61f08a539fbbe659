#!/usr/bin/env bats
# A recipe on the emulated device: nothing is changed but the backend's name.

setup_file() {
    [ -e "${PRN_BUILD_DIR:?run through ctest, or set PRN_BUILD_DIR}/emulated/libcuda.so.1" ] || return 0
    export WORK
    WORK=$(mktemp -d /tmp/prn-gpu-XXXXXX)
    python3 "$BATS_TEST_DIRNAME/../cli/make_stream.py" "$WORK/stripes"
}

setup() {
    [ -n "${WORK:-}" ] || skip "the cuda backend was left out of this build"
    cd "$WORK/stripes"
}

teardown_file() {
    [ -z "${WORK:-}" ] || rm -rf "$WORK"
}

emulated() {
    LD_LIBRARY_PATH="$PRN_BUILD_DIR/emulated" "$PRN_BUILD_DIR/perennial" "$@"
}

# near WORKSPACE WORKSPACE: what strategies reached on each task differs by two of 24 samples at most, which rounding may turn
near() {
    emulated results "$1" --json >one.json
    emulated results "$2" --json >two.json
    python3 -c '
import json
one, two = (json.load(open(name))["strategies"] for name in ("one.json", "two.json"))
worst, seen = 0, 0
for strategy in one:
    for task in one[strategy]["tasks"]:
        for row, other in zip(*(side[strategy]["tasks"][task]["matrix"] for side in (one, two)), strict=True):
            for a, b in zip(row, other, strict=True):
                worst, seen = max(worst, abs(a - b)), seen + 1
print("largest difference", worst, "of", seen)
raise SystemExit(seen == 0 or worst > 2.01 / 24)'
}

weights() { # WORKSPACE: digests of all trained weights
    (cd "$1/stages" && find . -name 'open_clip_model.safetensors' -exec sha256sum {} + | sort)
}

@test "the emulated device is listed" {
    run emulated backends cuda
    [ "$status" -eq 0 ]
    [[ "$output" == *"emulated device"* ]]
    [[ "$output" == *"sm_90"* ]]
}

@test "cuda ends near the matrices of cpu, and at the same bytes each time" {
    emulated run recipe.lua --set workspace=runs/first --set backend=cuda
    emulated run recipe.lua --set workspace=runs/second --set backend=cuda --set backend.graphs=false
    emulated run recipe.lua --set workspace=runs/cpu
    near runs/first runs/cpu
    [ -n "$(weights runs/first)" ]
    [ "$(weights runs/first | cut -d ' ' -f 1 | sort)" = "$(weights runs/second | cut -d ' ' -f 1 | sort)" ]
    [ "$(weights runs/first | cut -d ' ' -f 1 | sort)" != "$(weights runs/cpu | cut -d ' ' -f 1 | sort)" ]
}

@test "precision and fast are part of a stage's key" {
    for set in backend.precision=fp32 backend.precision=bf16 backend.fast=true; do
        emulated plan recipe.lua --set backend=cuda --set "$set" --json |
            python3 -c 'import json, sys; print(" ".join(s["key"] for s in json.load(sys.stdin)["stages"]))'
    done >keys
    [ "$(sort -u keys | wc -l)" -eq 3 ]
}

# Activations of many positions, so that micro-batches are what decides.
narrow_recipe() {
    sed -e 's/image_size = 16, patch_size = 8, width = 16, layers = 1, head_width = 8/image_size = 32, patch_size = 4, width = 32, layers = 3, head_width = 16/' \
        -e 's/batch = 8,/batch = 24, evaluate = p.evaluate { batch = 4 },/; s/steps(6)/steps(1)/; s/, p.oracle {}//' recipe.lua >narrow.lua
}

micro_batches() { # WORKSPACE: what stage.json says, each once
    python3 -c '
import glob, json, sys
print(sorted({(s.get("micro_batch"), s.get("micro_batch_since")) for s in map(lambda f: json.load(open(f)), glob.glob(sys.argv[1] + "/stages/*/stage.json"))}))' "$1"
}

@test "micro_batch = \"auto\" takes what the device has room for, to the bytes of that micro-batch" {
    narrow_recipe
    for form in "fp32 37300" "bf16 36200"; do
        set -- $form
        PRN_EMULATOR_MEMORY=$(($2 << 10)) emulated run narrow.lua --set "workspace=runs/auto-$1" --set backend=cuda --set "backend.precision=$1" \
            --set micro_batch=auto 2>log
        grep -q "24 samples at a time do not fit" log
        grep -q "going on with micro-batches of 12" log
        [ "$(micro_batches "runs/auto-$1")" = "[(12, 0)]" ]
        emulated run narrow.lua --set "workspace=runs/fixed-$1" --set backend=cuda --set "backend.precision=$1" --set micro_batch=12
        [ "$(weights "runs/auto-$1" | cut -d ' ' -f 1 | sort)" = "$(weights "runs/fixed-$1" | cut -d ' ' -f 1 | sort)" ]
    done
    run env PRN_EMULATOR_MEMORY=$(((32 << 20) + 300000)) LD_LIBRARY_PATH="$PRN_BUILD_DIR/emulated" "$PRN_BUILD_DIR/perennial" run narrow.lua \
        --set workspace=runs/nothing --set backend=cuda --set micro_batch=auto
    [ "$status" -ne 0 ]
    [[ "$output" == *"even that does not fit"* ]]
    [[ "$output" == *"MiB are free"* ]]
    [[ "$output" == *"checkpointing"* ]]
}
