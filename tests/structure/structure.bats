#!/usr/bin/env bats
# Who may include whom, what may be called where, how long a file may be, and what a built plugin shows: on this tree, and on a small
# one in which every rule is broken, so that a rule which stopped looking is noticed.

setup() {
  rules="$PRN_SOURCE_DIR/tests/structure/rules.py"
}

teardown() {
  if [ -n "${bad:-}" ]; then
    rm -rf "$bad"
  fi
}

holds() {
  run python3 "$rules" "$PRN_SOURCE_DIR" "$1"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "${lines[-1]}" =~ ^([0-9]+)" files, 0 breaches"$ ]]
  [ "${BASH_REMATCH[1]}" -ge "$2" ]
}

@test "imports point downward, plugins see the SDK only" {
  holds imports 150
}

@test "core and plugins never print, exit or abort" {
  holds calls 100
}

@test "no file is longer than 1,000 lines" {
  holds lengths 150
}

@test "nothing has a constructor" {
  holds constructors 100
}

@test "plugins have no variables that outlive a call" {
  holds globals 15
}

@test "nothing is marked as unfinished" {
  holds unfinished 100
}

# A tree with each kind of breach, and beside each the same thing done rightly.
make_bad_tree() {
  bad=$(mktemp -d /tmp/perennial-structure.XXXXXX)
  mkdir -p "$bad"/core/{base,data,train,eval,cli,extra} "$bad"/plugins/backends/{common,one,two} "$bad"/plugins/strategies/three "$bad"/include/perennial \
    "$bad"/tests/base "$bad"/tools
  touch "$bad"/core/base/memory.h "$bad"/core/data/tar.h "$bad"/core/eval/eval.h "$bad"/plugins/backends/common/buffers.h \
    "$bad"/plugins/backends/two/two.h "$bad"/include/perennial/perennial.h
  cat >"$bad/core/data/wrong.c" <<'C'
#include <perennial/perennial.h>
#include <stdio.h>
#include "base/memory.h"
#include "data/tar.h"
#include "eval/eval.h"
#include "tar.h"
#include <perennial/nothing.h>
/* #include "cli/cli.h" printf("in a comment"); abort(); */
static const char text[] = "printf(1); exit(1)";
void wrong(void) { printf("%s", text); snprintf(0, 0, "x"); prn__text_printf(0); exit(1); }
void more(struct s *t) { t->exit(1); fprintf(stderr, ""); assert(t); on_exit_now(); }
C
  printf '#include "train/trainer.h"\n#include "eval/eval.h"\n' >"$bad/core/train/sideways.c"
  printf '#include "base/memory.h"\nint prn_x;\n' >"$bad/core/extra/room.c"
  printf '#include "data/tar.h"\n#include <stdio.h>\nvoid show(void) { printf("fine here"); }\n' >"$bad/core/cli/fine.c"
  printf '#include "base/memory.h"\n' >"$bad/tests/base/fine.c"
  printf '#include "../core/base/memory.h"\n' >"$bad/tools/wrong.c"
  printf '#include "base/memory.h"\n#include <perennial/perennial.h>\n' >"$bad/include/perennial/wrong.h"
  cat >"$bad/plugins/backends/one/one.c" <<'C'
#include <perennial/perennial.h>
#include <cblas.h>
#include "../common/buffers.h"
#include "one.h"
#include "../two/two.h"
#include "base/memory.h"
#include "../../../core/base/memory.h"
static int counter;
static const char *current = "a";
static const char *const names[] = {"a"};
static const int limit = 3;
static int add(int a);
static inline int one(void) { static int calls; return calls++; }
static double *cache[4];
__attribute__((constructor)) static void early(void) { abort(); }
/* TODO: more */
C
  touch "$bad/plugins/backends/one/one.h"
  printf '#include "../../backends/common/buffers.h"\nint stub;\n' >"$bad/plugins/strategies/three/three.c"
  yes '/* a line */' | head -n 1001 >"$bad/core/base/long.c" || true
  yes '/* a line */' | head -n 1000 >"$bad/core/base/fits.c" || true
}

# breaks RULE COUNT PATTERN...: exactly COUNT breaches, each pattern among them
breaks() {
  local rule=$1 count=$2 pattern
  shift 2
  run python3 "$rules" "$bad" "$rule"
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "${lines[-1]}" == *" files, $count breaches" ]]
  for pattern in "$@"; do
    grep -qF -- "$pattern" <<<"$output" || {
      echo "missing: $pattern"
      return 1
    }
  done
}

@test "every breach in a bad tree is found, and nothing else" {
  make_bad_tree
  breaks imports 11 "core/data/wrong.c:5: data includes eval, which is not below it" 'core/data/wrong.c:6: "tar.h"' \
    "core/data/wrong.c:7: <perennial/nothing.h> is not in the SDK" "core/train/sideways.c:2: train includes eval" "core/extra/room.c:1: 'extra' is no room" \
    "tools/wrong.c:1:" "include/perennial/wrong.h:1:" 'plugins/backends/one/one.c:5: "../two/two.h"' 'plugins/backends/one/one.c:6: "base/memory.h"' \
    'plugins/backends/one/one.c:7: "../../../core/base/memory.h"' "plugins/strategies/three/three.c:1:"
  breaks calls 5 "core/data/wrong.c:10: calls printf()" "core/data/wrong.c:10: calls exit()" "core/data/wrong.c:11: calls fprintf()" \
    "core/data/wrong.c:11: calls assert()" "plugins/backends/one/one.c:15: calls abort()"
  breaks lengths 1 "core/base/long.c:1001: 1001 lines"
  breaks constructors 1 "plugins/backends/one/one.c:15:"
  breaks globals 4 "one.c:8: 'int counter'" "one.c:9: 'const char *current'" "one.c:13: 'int calls'" "one.c:14: 'double *cache'"
  breaks unfinished 2 "one.c:16:" "three.c:2:"
}

@test "an empty tree is not a success" {
  bad=$(mktemp -d /tmp/perennial-structure.XXXXXX)
  run python3 "$rules" "$bad" calls
  [ "$status" -eq 1 ]
  run python3 "$rules" "$PRN_SOURCE_DIR" no-such-rule
  [ "$status" -eq 2 ]
}

# The sanitizers add symbols and constructors of their own.
is_sanitized() {
  readelf -Ws --dyn-syms "$1" | grep -qE '__(asan|tsan|ubsan)_'
}

@test "a built plugin exports its entry and nothing else" {
  local plugin count=0
  for plugin in "$PRN_BUILD_DIR"/plugins/*.so; do
    run bash -o pipefail -c "nm -D --defined-only '$plugin' | awk '\$3 !~ /^__odr_asan/ {print \$2, \$3}'"
    echo "$plugin: $output"
    [ "$status" -eq 0 ]
    # a constant: in read-only data, or in data that is read-only after relocation
    [[ "$output" =~ ^[RD]" perennial_plugin"$ ]]
    count=$((count + 1))
  done
  [ "$count" -ge 5 ]
}

@test "a built plugin runs nothing when it is loaded" {
  local plugin sizes wanted
  for plugin in "$PRN_BUILD_DIR"/plugins/*.so; do
    if is_sanitized "$plugin"; then
      skip "sanitizers have constructors of their own"
    fi
    # one pointer for the compiler's own frame_dummy, and one for libgcc's look at the processor where __builtin_cpu_supports is used
    sizes=$(readelf -SW "$plugin" | awk '{ sub(/^ *\[ *[0-9]+\] */, "") } $1 == ".init_array" || $1 == ".ctors" {print $5}')
    wanted=000008
    if nm "$plugin" | grep -q ' __cpu_indicator_init$'; then
      wanted=000010
    fi
    echo "$plugin: $sizes, wanted $wanted"
    [ "$sizes" = "$wanted" ]
  done
}

@test "every bundled plugin's folder is built" {
  local folder name
  for folder in "$PRN_SOURCE_DIR"/plugins/backends/*/ "$PRN_SOURCE_DIR"/plugins/strategies/*/; do
    name=$(basename "$folder")
    kind=$(basename "$(dirname "$folder")")
    compgen -G "$folder*.c" >/dev/null || continue
    case $kind in
      backends) [ -f "$PRN_BUILD_DIR/plugins/backend_$name.so" ] ;;
      strategies) [ -f "$PRN_BUILD_DIR/plugins/strategy_$name.so" ] ;;
    esac || {
      echo "$folder was not built" >&2
      return 1
    }
  done
}
