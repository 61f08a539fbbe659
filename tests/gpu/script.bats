#!/usr/bin/env bats
# tests/gpu/run from its first step to its last, with stand-ins for what it measures: every part has its row, and one that fails does not stop the others.

setup() {
    WORK=$(mktemp -d /tmp/prn-gpu-script-XXXXXX)
    mkdir -p "$WORK/build/tests" "$WORK/bin"
    echo "CMAKE_HOME_DIRECTORY:INTERNAL=$WORK" >"$WORK/build/CMakeCache.txt"
    cat >"$WORK/build/perennial" <<'STAND_IN'
#!/usr/bin/env bash
case "$*" in
  "backends cuda") printf '  device 0: stand-in\n    sm_90\n' ;;
  "backend test cuda --set precision=bf16") echo "cuda: 935 of 936 cases passed"; exit 1 ;;
  "backend test "*) echo "cuda: 936 of 936 cases passed, 0 failed" ;;
  "bench train "*) echo '{"samples_per_s": 3000.0, "gflops": 400000.0, "sgemm_peak_gflops": 780000.0, "device_used_bytes": 20000000000}' ;;
  "data build "*) mkdir -p "${@: -1}" && touch "${@: -1}/coarse.yaml" ;;
  *photos.lua*)
    while [ "$1" != --workspace ]; do shift; done
    mkdir -p "$2" && python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TABLE step_metrics (step INTEGER, seconds REAL, data_wait_s REAL)")
db.executemany("INSERT INTO step_metrics VALUES (?, 0.5, 0.01)", [(i,) for i in range(40)])
db.commit()' "$2/ledger.sqlite" ;;
  "run "*) echo done ;;
  "results "*) echo '{"strategies": {"a": {"tasks": {"t": {"matrix": [[0.5, '"$([[ $2 == *cpu-2 ]] && echo 0.4 || echo 0.5)"']]}}}}}' ;;
  *) exit 1 ;;
esac
STAND_IN
    cat >"$WORK/bin/peer" <<'STAND_IN'
#!/usr/bin/env bash
case "$*" in
  -c*) echo "PyTorch 2.11.0" ;;
  *torch_train.py*) echo '{"torch": "2.11.0", "samples_per_s": 2000.0, "peak_gflops": 800000.0, "device_used_bytes": 21000000000}' ;;
  *make_photos.py*) while [ "$1" != --out ]; do shift; done; mkdir -p "$2" && touch "$2/photos.yaml" ;;
esac
STAND_IN
    printf '#!/bin/sh\nwhile [ "$1" != backend ] && [ $# -gt 0 ]; do shift; done\necho "no errors"\n' >"$WORK/bin/compute-sanitizer"
    printf '#!/bin/sh\necho "release 13.0"\n' >"$WORK/bin/nvcc"
    touch "$WORK/bin/libcublasLt.so.13"
    printf '#!/bin/sh\necho "[  PASSED  ] 9 test(s)."\n' | tee "$WORK/build/tests/test_gpu_emulated" >"$WORK/build/tests/test_gpu_parity"
    chmod +x "$WORK"/build/perennial "$WORK"/build/tests/* "$WORK"/bin/*
}

teardown() {
    rm -rf "$WORK"
}

script() {
    PATH="$WORK/bin:$PATH" LD_LIBRARY_PATH="$WORK/bin" BENCH_PYTHON="$WORK/bin/peer" "$BATS_TEST_DIRNAME/run" --out "$WORK/out" --build "$WORK/build" "$@"
}

@test "every part has its row, and the failing one is counted" {
    run script
    [ "$status" -eq 1 ]
    table=$(cat "$WORK/out/table.md")
    [[ "$table" == *"| conformance, fp32 | pass | cuda: 936 of 936"* ]]
    [[ "$table" == *"| conformance, bf16 | **FAIL** (1) |"* ]]
    [[ "$table" == *"| parity with PyTorch on the fixtures | pass |"* ]]
    [[ "$table" == *"| compute-sanitizer synccheck, similarity | pass |"* ]]
    [[ "$table" == *"| ViT-B-32, batch 1024, 10 to 20 tokens | measured | 3000 samples/s, PyTorch 2.11.0 2000: 1.50 times (goal 1.3); 50 % of 800.0 TFLOP/s"* ]]
    [[ "$table" == *"| ViT-B-16, batch 512, 77 tokens | measured |"*"(goal 1.0)"* ]]
    [[ "$table" == *"| the quickstart's matrices, cuda against cpu | pass | 2 cells: 0.00 points apart"* ]]
    [[ "$table" == *"| ViT-B-16, batch 512, from shards | measured | 1024 samples/s, data wait 2.0 %; PyTorch 2000 samples/s |"* ]]
}

@test "the quick form leaves out what takes long; single parts" {
    run script --quick
    [ "$status" -eq 1 ]
    run grep "quickstart\|from shards\|synccheck" "$WORK/out/table.md"
    [ "$status" -eq 1 ]
    run script --parts bench --models tiny:4:1.3
    [ "$status" -eq 0 ]
    grep -q "| tiny, batch 4, 77 tokens | measured |" "$WORK/out/table.md"
    run grep "conformance" "$WORK/out/table.md"
    [ "$status" -eq 1 ]
}
