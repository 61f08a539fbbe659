#!/usr/bin/env bats
# An installation is whole and may be moved: the command finds its plugins and its recipe library from where it lies, and plugins are
# built outside the tree against what was installed, with CMake and with pkg-config, and loaded.

setup_file() {
  export WORK
  WORK=$(mktemp -d /tmp/perennial-install.XXXXXX)
  chmod 755 "$WORK"
  umask 022
  unset PERENNIAL_PLUGIN_PATH PERENNIAL_LUA DESTDIR
  cmake --install "$PRN_BUILD_DIR" --prefix "$WORK/first" >"$WORK/install.log" 2>&1 || {
    cat "$WORK/install.log"
    return 1
  }
  # installed in one place, used in another
  export PREFIX="$WORK/moved"
  mv "$WORK/first" "$PREFIX"
  export PERENNIAL="$PREFIX/bin/perennial"
  PKG_CONFIG_PATH=$(dirname "$(find "$PREFIX" -name perennial.pc)")
  export PKG_CONFIG_PATH
}

teardown_file() {
  rm -rf "$WORK"
}

# has_strategy NAME LISTING: the JSON listing has that strategy; prints its plugin's path
strategy_path() {
  python3 - "$1" "$2" <<'PYTHON'
import json, sys
found = [s for s in json.load(open(sys.argv[2]))["strategies"] if s["name"] == sys.argv[1]]
if len(found) != 1:
    sys.exit(f"strategy {sys.argv[1]} is there {len(found)} times")
print(found[0]["plugin"]["path"])
PYTHON
}

@test "everything is installed" {
  local header plugin
  cd "$PRN_SOURCE_DIR/include"
  for header in $(find perennial -name '*.h'); do
    cmp "$header" "$PREFIX/include/$header"
  done
  [ -x "$PERENNIAL" ]
  [ -f "$PREFIX/share/perennial/lua/perennial/init.lua" ]
  [ -f "$PREFIX/share/perennial/recipes/quickstart.lua" ]
  for plugin in "$PRN_BUILD_DIR"/plugins/*.so; do
    [ -f "$(pkg-config --variable=plugindir perennial)/$(basename "$plugin")" ]
  done
  # headers, not the core
  [ -z "$(find "$PREFIX" -name '*.a')" ]
}

@test "what was installed names no place of the machine that built it" {
  run grep -rlF -e "$PRN_SOURCE_DIR" -e "$WORK" "$PREFIX/include" "$PREFIX/share" --include='*.cmake' --include='*.pc' --include='*.h' --include='*.lua'
  echo "$output"
  [ -z "$output" ]
  run grep -rlF -e "$PRN_SOURCE_DIR" -e "$WORK" $(find "$PREFIX" -name '*.cmake' -o -name '*.pc')
  echo "$output"
  [ -z "$output" ]
}

@test "the installed command finds the installed plugins" {
  cd /
  "$PERENNIAL" strategies --json >"$WORK/own.json"
  [ "$(realpath "$(strategy_path sequential "$WORK/own.json")")" = "$(realpath "$(pkg-config --variable=plugindir perennial)")/strategy_sequential.so" ]
  "$PERENNIAL" backends --json >"$WORK/backends.json"
  python3 -c 'import json, sys; names = [b["name"] for b in json.load(open(sys.argv[1]))["backends"]]; assert {"cpu", "reference"} <= set(names), names' \
    "$WORK/backends.json"
}

@test "through a link, the command still finds them" {
  mkdir -p "$WORK/links"
  ln -s "$PERENNIAL" "$WORK/links/perennial"
  cd /
  "$WORK/links/perennial" strategies --json >"$WORK/linked.json"
  [ "$(realpath "$(strategy_path sequential "$WORK/linked.json")")" = "$(realpath "$(pkg-config --variable=plugindir perennial)")/strategy_sequential.so" ]
}

@test "the installed command finds the installed recipe library" {
  local library="$PREFIX/share/perennial/lua/perennial/init.lua"
  cp "$library" "$WORK/init.lua"
  printf 'local p = require "perennial"\nreturn p.recipe { nothing = 1 }\n' >"$WORK/recipe.lua"
  run "$PERENNIAL" plan "$WORK/recipe.lua"
  echo "$output"
  [ "$status" -ne 0 ]
  [[ "$output" == *"recipe.lua:2"* ]]
  # not the source tree's: a mark in the installed one shows
  printf 'error("this is the installed library")\n' >"$library"
  run "$PERENNIAL" plan "$WORK/recipe.lua"
  cp "$WORK/init.lua" "$library"
  echo "$output"
  [ "$status" -ne 0 ]
  [[ "$output" == *"this is the installed library"* ]]
}

@test "a plugin outside the tree: find_package(perennial)" {
  cmake -S "$PRN_SOURCE_DIR/tests/sdk/outside" -B "$WORK/outside" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$PREFIX" >"$WORK/configure.log" 2>&1 || {
    cat "$WORK/configure.log"
    return 1
  }
  cmake --build "$WORK/outside" >"$WORK/build.log" 2>&1 || {
    cat "$WORK/build.log"
    return 1
  }
  # built against what was installed, not against the tree
  run grep -rlF "$PRN_SOURCE_DIR/include" "$WORK/outside" --include=flags.make --include=build.ninja
  [ -z "$output" ]
  [ "$(nm -D --defined-only "$WORK/outside/latest.so" | awk '{print $3}')" = perennial_plugin ]
  "$PERENNIAL" strategies --plugin-path "$WORK/outside" --json >"$WORK/outside.json"
  [ "$(strategy_path latest-cmake "$WORK/outside.json")" = "$WORK/outside/latest.so" ]
  strategy_path sequential "$WORK/outside.json"
  # and installed, where the command looks by itself
  cmake --install "$WORK/outside" >"$WORK/outside-install.log"
  "$PERENNIAL" strategies --json >"$WORK/outside.json"
  [ "$(realpath "$(strategy_path latest-cmake "$WORK/outside.json")")" = "$(realpath "$(pkg-config --variable=plugindir perennial)")/latest.so" ]
  # the plugin that offers something else is no error, and in nobody's way
  run "$PERENNIAL" backends
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" != *"power.so"* ]]
}

@test "a version that is not there is refused by find_package" {
  mkdir -p "$WORK/newer"
  printf 'cmake_minimum_required(VERSION 3.25)\nproject(newer LANGUAGES C)\nfind_package(perennial 99.0 REQUIRED)\n' >"$WORK/newer/CMakeLists.txt"
  run cmake -S "$WORK/newer" -B "$WORK/newer/build" -DCMAKE_PREFIX_PATH="$PREFIX"
  [ "$status" -ne 0 ]
  [[ "$output" == *"99.0"* ]]
}

@test "a plugin outside the tree: pkg-config" {
  mkdir -p "$WORK/by-hand"
  chmod 755 "$WORK/by-hand"
  pkg-config --exists 'perennial >= 0.1'
  [ "$(realpath "$(pkg-config --variable=includedir perennial)")" = "$(realpath "$PREFIX/include")" ]
  "${CC:-cc}" -std=c11 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror -DOUTSIDE_NAME='"latest-by-hand"' \
    $(pkg-config --cflags perennial) -o "$WORK/by-hand/latest.so" "$PRN_SOURCE_DIR/tests/sdk/outside/latest.c" $(pkg-config --libs perennial)
  "$PERENNIAL" strategies --plugin-path "$WORK/by-hand" --json >"$WORK/by-hand.json"
  [ "$(strategy_path latest-by-hand "$WORK/by-hand.json")" = "$WORK/by-hand/latest.so" ]
  # its option table came along
  run "$PERENNIAL" strategies latest-by-hand --plugin-path "$WORK/by-hand"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"steps"* && "$output" == *"How many of the newest time steps are trained on."* ]]
}

@test "a plugin in a folder that others may write is refused, and the command goes on" {
  mkdir -p "$WORK/open"
  "${CC:-cc}" -std=c11 -fPIC -shared -fvisibility=hidden -DOUTSIDE_NAME='"latest-open"' $(pkg-config --cflags perennial) -o "$WORK/open/latest.so" \
    "$PRN_SOURCE_DIR/tests/sdk/outside/latest.c"
  chmod 777 "$WORK/open"
  "$PERENNIAL" strategies --plugin-path "$WORK/open" --json >"$WORK/open.json"
  run strategy_path latest-open "$WORK/open.json"
  [ "$status" -ne 0 ]
  strategy_path sequential "$WORK/open.json"
  run "$PERENNIAL" backends --plugin-path "$WORK/open"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"writable by others"* ]]
}
