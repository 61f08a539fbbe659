#!/usr/bin/env bats
# What strategies declare, and the suite that tests them.
load support

@test "a strategy is shown with options and with what it declares" {
    perennial strategies show replay --set mix=0.5
    exits 0
    says "list of numbers, 0 to 0.99 fraction"
    says "2 (50 %), 1 (50 %)"
    says "in \`plan\` only, so its stages are shared"
    shown=$output
    perennial strategies replay --set mix=0.5
    exits 0
    [ "$output" = "$shown" ]
    perennial strategies agem
    says "64 samples of 1-2 (each 500,000 samples)"
    says "forward and backward of each memory batch"
    perennial strategies ewc
    says "yes, 32 gradient batches"
    says "extra passes: after training, forward and backward of 32 batches"
    perennial strategies patching --set grid=0.2,0.4 --set validation=held
    says "extra passes: after training, forward of an evaluation set of each step so far, 2 times"
    perennial strategies zscl
    says "extra passes: the teacher's forward pass of each memory batch; forward and backward of each memory batch"
    perennial strategies replay --set mix=0,0.25,0.5
    says "2 (75 %), 1 (25 %)"
    says "3 (50 %), 1-2 (each 25 %, 500,000 samples)"
    perennial strategies replay --set mix=
    says "replay: mix is empty; give at least one number"
    perennial strategies cumulative
    says "extra passes: none"
    perennial strategies lwf
    says "the teacher's forward pass of each batch"
}

@test "declared facts as JSON" {
    perennial strategies oracle --json
    exits 0
    json "[s['budget_multiple'] for s in d['facts']['steps']] == [1, 2, 3, 4] and all(s['start_from'] == 'random' for s in d['facts']['steps'])"
    json "[len(s['sources']) for s in d['facts']['steps']] == [1, 2, 3, 4]"
    perennial strategies show patching --set grid=0.2,0.4 --set validation=held --json
    exits 0
    json "d['facts']['steps'][3]['finish_scores'] == 2 and d['facts']['steps'][3]['finish_set'] == 'held' and d['facts']['steps'][3]['hook_finish']"
    json "d['facts']['steps'][0]['finish_set'] is None and not d['facts']['steps'][0]['hook_finish']"
    perennial strategies merge --set deploy=trained --set start=merged --json
    json "d['facts']['steps'][1]['evaluate'] == 'trained' and d['facts']['steps'][1]['start_from'] == 'deployed' and d['facts']['steps'][2]['start_step'] == 2"
}

@test "facts that cannot be asked for are a reason, not a failure" {
    perennial strategies patching --set grid=0.2
    exits 0
    says "what it declares cannot be shown: patching: a grid needs"
    perennial strategies patching --set grid=0.2 --json
    exits 0
    json "d['facts'] is None and 'validation' in d['facts_error']"
    perennial strategies show ewc --set wieght=1
    exits 1
    complains "ewc has no option 'wieght' (did you mean 'weight'?)"
    perennial strategies show ewc --set batches=0
    exits 1
    complains "option 'batches' is '0', but must be between 1 and 1000000 batches"
    perennial strategies replay --set mix
    exits 2
    complains "option=value"
}

@test "the suite passes, and says of each check what holds" {
    perennial strategies test lwf
    exits 0
    says "a run that is interrupted after every 2 updates gives the same bytes"
    says "finish: skipped: it finishes no stage"
    says "lwf on cpu: 12 checks passed, 0 failed, 2 skipped"
    perennial strategies test merge --set method=ties --backend reference --json
    exits 0
    json "d['strategy'] == 'merge' and d['backend'] == 'reference' and d['failed'] == 0 and len(d['checks']) == d['passed'] + d['skipped'] == 14"
    json "all(c['meaning'] and c['outcome'] in ('passed', 'skipped') for c in d['checks'])"
}

@test "the suite fails strategies that are wrong, by exit code and by name" {
    [ -d "$PRN_BUILD_DIR/tests/broken-strategies" ] || skip "the broken strategies are not built"
    perennial strategies test idle --plugin-path "$PRN_BUILD_DIR/tests/broken-strategies"
    exits 1
    says "finish: failed: \`finish\` of time step 1 leaves the weights as they were trained"
    perennial strategies test cheating --plugin-path "$PRN_BUILD_DIR/tests/broken-strategies" --json
    exits 1
    json "[c['name'] for c in d['checks'] if c['outcome'] == 'failed'] == ['cost'] and d['failed'] == 1"
}

@test "wrong calls of the suite" {
    perennial strategies test sequental
    exits 1
    complains "did you mean 'sequential'?"
    perennial strategies test
    exits 2
    perennial strategies test lwf --set wieght=1
    exits 1
    complains "did you mean 'weight'?"
    perennial strategies test lwf --set weight
    exits 2
    perennial strategies test lwf --backend cpo
    exits 1
    complains "did you mean 'cpu'?"
    TMPDIR="$WORK/not-there" perennial strategies test lwf
    exits 1
    complains "TMPDIR"
}

@test "interrupted, the suite stops and leaves nothing" {
    mkdir "$WORK/temporary"
    TMPDIR="$WORK/temporary" timeout --foreground --signal=INT 0.3 "$PERENNIAL" strategies test oracle >/dev/null 2>&1 || code=$?
    [ "${code:-0}" = 124 ] || [ "${code:-0}" = 0 ] # timeout's own exit code, or done before it
    [ -z "$(ls "$WORK/temporary")" ]
}
