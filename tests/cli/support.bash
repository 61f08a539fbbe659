# What the command tests share: the program, a folder of their own, a stream in it, JSON read with python3.

setup_file() {
    export PERENNIAL="${PRN_BUILD_DIR:?run through ctest, or set PRN_BUILD_DIR}/perennial"
    export WORK
    WORK=$(mktemp -d /tmp/prn-cli-XXXXXX)
    python3 "$BATS_TEST_DIRNAME/make_stream.py" "$WORK/stripes"
}

teardown_file() {
    rm -rf "$WORK"
}

# Standard output in $output, standard error in $errors, exit code in $status.
perennial() {
    status=0
    output=$("$PERENNIAL" "$@" 2>"$WORK/errors") || status=$?
    errors=$(cat "$WORK/errors")
}

# exits CODE: the last command's exit code
exits() {
    if [ "$status" -ne "$1" ]; then
        echo "exit code $status, not $1"
        echo "$output"
        echo "$errors"
        return 1
    fi
}

# says TEXT / complains TEXT: standard output / error holds it
says() {
    if [[ "$output" != *"$1"* ]]; then
        echo "standard output lacks: $1"
        echo "$output"
        return 1
    fi
}

complains() {
    if [[ "$errors" != *"$1"* ]]; then
        echo "standard error lacks: $1"
        echo "$errors"
        return 1
    fi
}

# json EXPRESSION: true of `d`, the JSON on standard output
json() {
    python3 -c '
import json, sys
d = json.load(sys.stdin)
value = eval(sys.argv[1])
if not value:
    print("not true:", sys.argv[1])
    print(json.dumps(d, indent=1)[:3000])
    sys.exit(1)' "$1" <<<"$output"
}
