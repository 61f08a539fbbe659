#!/usr/bin/env bats
# The short form of the stress scripts; each script's head tells of the long one:
#   PRN_BUILD_DIR=build/dev tests/stress/kill.py --kills 50 --steps 90 [--jobs 2]
#   PRN_BUILD_DIR=build/dev tests/stress/faults.py
#   PRN_BUILD_DIR=build/dev tests/stress/crowd.py --rounds 20
#   PRN_BUILD_DIR=build/dev tests/stress/collect.py

setup() {
    export PYTHONDONTWRITEBYTECODE=1
    cd "$BATS_TEST_DIRNAME"
}

@test "every strategy, killed 6 times, ends with the same bytes" {
    python3 kill.py --kills 6 --steps 12
}

@test "every strategy in two jobs, killed 6 times, ends with the same bytes" {
    python3 kill.py --kills 6 --steps 12 --jobs 2
}

@test "a disk that fails at any call loses nothing" {
    python3 faults.py --each 97
}

@test "processes that come, go and are killed share a workspace" {
    python3 crowd.py --rounds 1
}

@test "a collection that fails or dies at any call loses nothing that is kept" {
    python3 collect.py --each 31
}
