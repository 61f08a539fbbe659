#!/usr/bin/env bats
# Every SDK header compiles alone, in C and C++, and says which threads may call each function.

setup() {
  root=$PRN_SOURCE_DIR
  work=$(mktemp -d /tmp/perennial-headers.XXXXXX)
  mapfile -t headers < <(cd "$root/include" && find perennial -name '*.h' | sort)
}

teardown() {
  rm -rf "$work"
}

# compile_alone COMPILER STANDARD SUFFIX: one translation unit for each header, with nothing before it
compile_alone() {
  local header unit
  [ ${#headers[@]} -ge 7 ]
  for header in "${headers[@]}"; do
    unit=$work/alone.$3
    # twice: the guard works; the object and the function use what it declares
    printf '#include <%s>\n#include <%s>\nint prn_alone(void);\nint prn_alone(void) { return 0; }\n' "$header" "$header" >"$unit"
    "$1" -std="$2" -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror -fsyntax-only -I"$root/include" "$unit" || {
      echo "$header does not compile alone as $2" >&2
      return 1
    }
  done
}

@test "every header compiles alone as C11" {
  compile_alone "${CC:-cc}" c11 c
}

@test "every header compiles alone as C17" {
  compile_alone "${CC:-cc}" c17 c
}

@test "every header compiles alone as C++17" {
  compile_alone "${CXX:-c++}" c++17 cpp
}

@test "every header compiles alone as C++20" {
  compile_alone "${CXX:-c++}" c++20 cpp
}

@test "perennial.h brings every header" {
  local header
  cd "$root/include"
  for header in "${headers[@]}"; do
    case $header in perennial/draft/*) continue ;; esac
    echo '#include <perennial/perennial.h>' | "${CC:-cc}" -I. -E -M - | grep -q "$header" || {
      echo "perennial.h does not bring $header" >&2
      return 1
    }
  done
}

@test "a header that needs another first is noticed" {
  mkdir -p "$work/include/perennial"
  cp "$root"/include/perennial/*.h "$work/include/perennial/"
  echo 'prn_unheard_of prn_make(void);' >>"$work/include/perennial/perennial.h"
  root=$work
  run compile_alone "${CC:-cc}" c11 c
  [ "$status" -ne 0 ]
  [[ "$output" == *"perennial.h does not compile alone"* ]]
}

@test "every function and callback says its threads" {
  run python3 "$root/tests/sdk/thread_tags.py" $(printf "$root/include/%s " "${headers[@]}")
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" =~ ([0-9]+)" functions and callbacks, 0 without a tag" ]]
  [ "${BASH_REMATCH[1]}" -ge 40 ]
}

@test "a missing, wrong or misplaced thread tag is noticed" {
  cat >"$work/bad.h" <<'HEADER'
#define CALL(x) f(x)
/* Fine. [any] */
int fine(int a);
int fine_too(int a); /* Fine. [worker] */
/* No tag. */
int no_tag(int a);
int no_comment(int a);
/* Wrong tag. [everyone] */
static inline int wrong_tag(int a) { return fine(a) + (a > 0 ? fine(-a) : 0); }
/* Not at its end. [any] Really. */
__attribute__((format(printf, 1, 2))) void not_at_end(const char *format, ...);
struct table {
    int plain;
    /* Of the next one. [any] */
    int (*one)(void *self);
    int (*two)(void *self);
    int (*three)(void *self,
                 int (*inner)(int)); /* [orchestrator] */
    /* [any] */
    const char *name;
    int (*four)(void);
};
typedef void (*callback)(void *context);
enum { A, B };
HEADER
  run python3 "$root/tests/sdk/thread_tags.py" "$work/bad.h"
  echo "$output"
  [ "$status" -eq 1 ]
  for name in no_tag no_comment wrong_tag not_at_end two four callback; do
    [[ "$output" == *"comment of $name does not"* ]]
  done
  for name in fine fine_too one three plain A CALL; do
    [[ "$output" != *"comment of $name does not"* ]]
  done
  [[ "$output" == *"11 functions and callbacks, 7 without a tag"* ]]
}

@test "no header at all is not a success" {
  echo 'typedef int nothing;' >"$work/empty.h"
  run python3 "$root/tests/sdk/thread_tags.py" "$work/empty.h"
  [ "$status" -eq 1 ]
}
