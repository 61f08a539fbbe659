#!/usr/bin/env bats
# Commands and options: help, suggestions, exit codes.
load support

@test "help of the program and of every command" {
    perennial --help
    exits 0
    says "usage: perennial COMMAND"
    [ -z "$errors" ]
    commands=$(sed -n '/^commands/,/^$/s/^  \([a-z]* \?[a-z]*\)  .*/\1/p' <<<"$output")
    [ "$(wc -l <<<"$commands")" -ge 15 ]
    while read -r words; do
        # shellcheck disable=SC2086
        perennial $words --help
        exits 0
        says "usage: perennial $words"
        [ "$words" = export ] || says "--json" # what export writes is the file
        [ "$(awk '{ if (length($0) > longest) longest = length($0) } END { print longest }' <<<"$output")" -le 130 ]
        # shellcheck disable=SC2086
        perennial help $words
        exits 0
        says "usage: perennial $words"
    done <<<"$commands"
}

@test "version" {
    perennial --version
    exits 0
    [[ "$output" =~ ^perennial\ [0-9]+\.[0-9]+\.[0-9]+ ]]
}

@test "nothing and half a command are wrong usage" {
    perennial
    exits 2
    says "usage: perennial COMMAND"
    perennial data
    exits 2
    says "data verify"
    perennial data --help
    exits 0
    perennial run
    exits 2
    complains "usage: perennial run RECIPE"
    perennial results one two
    exits 2
    complains "'two' is too much"
}

@test "unknown commands suggest" {
    perennial runn
    exits 2
    complains "perennial: unknown command 'runn' (did you mean 'run'?)"
    perennial data shwo
    exits 2
    complains "(did you mean 'data show'?)"
    perennial data-verify
    exits 2
    complains "(did you mean 'data verify'?)"
    perennial xyzzy
    exits 2
    [[ "$errors" != *"did you mean"* ]]
}

@test "unknown options suggest, wrong values say what they should be" {
    perennial run recipe.lua --bakend cpu
    exits 2
    complains "unknown option '--bakend' (did you mean '--backend'?)"
    perennial run recipe.lua -x
    exits 2
    complains "unknown option '-x'"
    perennial run recipe.lua --threads
    exits 2
    complains "--threads needs a value"
    perennial run recipe.lua --backend --quiet
    exits 2
    complains "--backend needs a value"
    for bad in 0 -1 two 1.5 99999999999999999999 ""; do
        perennial run recipe.lua --threads "$bad"
        exits 2
        complains "a whole number from 1 to 4096"
    done
    perennial run recipe.lua --quiet=yes
    exits 2
    complains "takes no value"
    perennial run recipe.lua --threads 1 --threads 2
    exits 2
    complains "given twice"
    perennial results there --json --csv
    exits 2
    perennial embed --model x
    exits 2
    complains "--data is missing"
}

@test "a file that is not there is a failure, not wrong usage" {
    perennial run "$WORK/none.lua"
    exits 1
    complains "perennial: $WORK/none.lua: "
    perennial data show "$WORK/none.yaml"
    exits 1
    perennial results "$WORK"
    exits 1
    complains "no ledger.sqlite"
}

@test "an option-like name can be given behind --" {
    perennial model show -- --strange
    exits 1
    complains "unknown model '--strange'"
}

@test "standard output that cannot be written is a failure" {
    [ -w /dev/full ] || skip "no /dev/full"
    status=0
    "$PERENNIAL" model list >/dev/full 2>"$WORK/errors" || status=$?
    [ "$status" -eq 1 ]
    grep -q "standard output cannot be written" "$WORK/errors"
}
