#!/usr/bin/env bats
# A strategy of one's own: `perennial new strategy` against an installation and against the build folder, from nothing to a run; and the
# documentation's code, which is this code.
load support

setup_file() {
    export PRN_SOURCE_DIR="${PRN_SOURCE_DIR:?run through ctest, or set PRN_SOURCE_DIR}"
    export WORK PREFIX PERENNIAL
    unset PERENNIAL_PLUGIN_PATH PERENNIAL_LUA DESTDIR CMAKE_PREFIX_PATH
    umask 002 # what some systems give their users; plugins load from what others cannot write
    WORK=$(mktemp -d /tmp/perennial-new.XXXXXX)
    chmod 755 "$WORK"
    PREFIX="$WORK/prefix"
    cmake --install "$PRN_BUILD_DIR" --prefix "$PREFIX" >"$WORK/install.log" 2>&1 || {
        cat "$WORK/install.log"
        return 1
    }
    PERENNIAL="$PREFIX/bin/perennial"
    python3 "$BATS_TEST_DIRNAME/make_stream.py" "$WORK/stripes"
    cd "$WORK" && "$PERENNIAL" new strategy x >"$WORK/new.txt"
}

setup() {
    cd "$WORK"
    umask 002
}

# logged FILE COMMAND...: prints what a command said when it fails
logged() {
    local file=$1
    shift
    "$@" >"$WORK/$file" 2>&1 || {
        cat "$WORK/$file"
        return 1
    }
}

@test "a project is made, and says how to go on" {
    [ "$(ls x | sort | tr '\n' ' ')" = "CMakeLists.txt README.md recipe.lua x.c " ]
    run cat "$WORK/new.txt"
    [[ "$output" == *"cmake -S x -B x/build"* ]]
    # every mark was replaced, and no place of this machine is in it
    run grep -rn -e '@NAME@' -e "$PRN_SOURCE_DIR" -e "$WORK" x
    [ "$status" -eq 1 ]
    [ "$(stat -c %a x)" = 755 ]
}

@test "it builds against the installation without a warning, loads, and passes its test" {
    logged configure.log cmake -S x -B x/build -DCMAKE_PREFIX_PATH="$PREFIX" -DCMAKE_C_FLAGS="-Werror -Wpedantic -Wshadow"
    logged build.log cmake --build x/build
    run grep -rlF "$PRN_SOURCE_DIR/include" x/build --include=flags.make --include=build.ninja
    [ -z "$output" ]
    [ "$(nm -D --defined-only x/build/plugins/x.so | awk '{print $3}')" = perennial_plugin ]
    logged test.log ctest --test-dir x/build --output-on-failure
    grep -q "100% tests passed, 0 tests failed out of 1" "$WORK/test.log"
    perennial strategies x --plugin-path x/build/plugins --json
    exits 0
    json "d['options'][0]['name'] == 'weight' and d['facts']['steps'][1]['teacher'] == 'step 1' and d['facts']['steps'][0]['teacher'] is None"
    json "[s['time_step'] for s in d['facts']['steps'][3]['sources']] == [4, 3]"
}

@test "it passes the suite, by name and with options" {
    perennial strategies test x --plugin-path x/build/plugins --json
    exits 0
    json "d['failed'] == 0 and d['passed'] >= 11 and {c['name'] for c in d['checks'] if c['outcome'] == 'skipped'} == {'finish', 'kept'}"
    PERENNIAL_PLUGIN_PATH=x/build/plugins perennial strategies test x --set weight=0 --backend reference
    exits 0
    says "x on reference: "
}

@test "its recipe plans and runs" {
    export PERENNIAL_PLUGIN_PATH="$WORK/x/build/plugins"
    perennial plan x/recipe.lua --set stream=stripes/stream.yaml --json
    exits 0
    json "d['strategies']['x']['forward_macs'] == d['strategies']['sequential']['forward_macs'] and d['strategies']['x']['total_macs'] > d['strategies']['sequential']['total_macs']"
    perennial run x/recipe.lua --set stream=stripes/stream.yaml --set budget.steps=2 --set batch=8 --backend cpu --quiet
    exits 0
    perennial results runs/x --json
    exits 0
    json "d['run']['state'] == 'done' and set(d['strategies']) == {'sequential', 'x'}"
}

@test "its recipe plans on the stream that it names" {
    logged data.log "$PERENNIAL" data build unicode --preset quickstart --out data/tic-unicode-quickstart
    PERENNIAL_PLUGIN_PATH=x/build/plugins perennial plan x/recipe.lua --json
    exits 0
    json "len(d['strategies']['x']['steps']) > 3"
}

@test "installed, it needs no path" {
    logged x-install.log cmake --install x/build
    perennial strategies --json
    json "[s['plugin']['path'] for s in d['strategies'] if s['name'] == 'x'][0].endswith('perennial/plugins/x.so')"
    perennial new strategy x --out again
    exits 1
    complains "there is a strategy 'x' already"
    [ ! -e again ]
    rm "$(dirname "$(find "$PREFIX" -name strategy_sequential.so)")/x.so"
}

@test "it builds from the build folder, too" {
    perennial new strategy from_build --out "$WORK/elsewhere/from_build/" --json
    exits 0
    json "d['strategy'] == 'from_build' and d['folder'] == '$WORK/elsewhere/from_build' and 'from_build.c' in d['files']"
    logged configure.log cmake -S elsewhere/from_build -B elsewhere/build -Dperennial_DIR="$PRN_BUILD_DIR"
    logged build.log cmake --build elsewhere/build
    logged test.log ctest --test-dir elsewhere/build --output-on-failure
    "$PRN_BUILD_DIR/perennial" strategies --plugin-path elsewhere/build/plugins --json >from_build.json
    grep -q '"name": "from_build"' from_build.json
}

@test "a mistake in it is found" {
    cp -r x wrong
    rm -rf wrong/build
    sed -i 's/PRN_TEACHER_AFTER(step - 1)/PRN_TEACHER_AFTER(step)/' wrong/x.c
    logged configure.log cmake -S wrong -B wrong/build -DCMAKE_PREFIX_PATH="$PREFIX"
    logged build.log cmake --build wrong/build
    run ctest --test-dir wrong/build --output-on-failure
    [ "$status" -ne 0 ]
    [[ "$output" == *"past: failed: at time step 2 it starts from, or is taught by, a model that is not there yet"* ]]
    [[ "$output" == *"plan: failed: on a time line of 2 steps: "*"strategy 'x' at time step 2 (2)"* ]]
}

@test "names and folders are checked before anything is made" {
    for name in Upper 'two words' dash-ed 9lives '' ../up _x "$(printf 'a%.0s' {1..60})"; do
        perennial new strategy "$name" --out bad
        exits 2
        complains "no name for a strategy"
        [ ! -e bad ]
    done
    for name in end repeat recipe test; do
        perennial new strategy "$name" --out bad
        exits 2
        complains "choose another name"
        [ ! -e bad ]
    done
    perennial new strategy replay --out bad
    exits 1
    complains "there is a strategy 'replay' already"
    mkdir full && echo mine >full/README.md
    perennial new strategy mine --out full
    exits 1
    complains "full: is there already"
    [ "$(cat full/README.md)" = mine ]
    touch file
    perennial new strategy mine --out file
    exits 1
    perennial new strategy mine --out file/below
    exits 1
    perennial new strategy
    exits 2
    perennial new
    exits 2
    says "new strategy NAME"
    perennial new stratgy mine
    exits 2
    complains "did you mean 'new strategy'?"
}

@test "the documentation's code is compiled code" {
    python3 - "$PRN_SOURCE_DIR" <<'PYTHON'
import pathlib, re, sys
root = pathlib.Path(sys.argv[1])
compiled = [(root / "templates/strategy/strategy.c").read_text().replace("@NAME@", "x")]
compiled += [p.read_text() for p in sorted((root / "plugins/strategies").glob("*/*.c"))]
blocks = re.findall(r"^```c\n(.*?)^```", (root / "docs/strategies.md").read_text(), re.M | re.S)
assert len(blocks) >= 6, len(blocks)
lost = [b for b in blocks if not any(b in text for text in compiled)]
for block in lost:
    print("no compiled file has this:\n" + block)
sys.exit(1 if lost else 0)
PYTHON
}

@test "the documentation names every check and every callback" {
    perennial strategies test sequential --json
    exits 0
    for check in $(python3 -c 'import json, sys; print(*[c["name"] for c in json.load(sys.stdin)["checks"]])' <<<"$output"); do
        grep -q "^| \`$check\` |" "$PRN_SOURCE_DIR/docs/strategies.md" || { echo "docs/strategies.md lacks the check $check"; return 1; }
    done
    for callback in $(sed -n 's/^ *\(prn_status\|void\) (\*\([a-z_]*\))(.*/\2/p' "$PRN_SOURCE_DIR/include/perennial/strategy.h"); do
        grep -q "\`$callback\`" "$PRN_SOURCE_DIR/docs/strategies.md" || { echo "docs/strategies.md lacks $callback"; return 1; }
    done
    for member in $(sed -n '/typedef struct prn_stage_request/,/^}/s@^    [a-z].*[ *]\([a-z_]*\);.*@\1@p' <(sed 's@/\*.*@@' "$PRN_SOURCE_DIR/include/perennial/strategy.h")); do
        [ "$member" = struct_size ] || grep -q "\`$member\`" "$PRN_SOURCE_DIR/docs/strategies.md" || { echo "docs/strategies.md lacks $member"; return 1; }
    done
}
