#!/usr/bin/env bats
# A strategy that a recipe defines itself: the shipped example, what docs/strategies.md says of it, and a recipe of one's own.
load support

# The shipped recipe on the tiny stream.
small() {
    perennial "$1" "$PRN_SOURCE_DIR/recipes/lua-strategy.lua" --set "stream=$WORK/stripes/stream.yaml" --set "workspace=$WORK/lua" --set batch=8 \
        --set budget.steps=3 --set schedule.warmup=1 --set schedule.later_warmup=0 --set backend=cpu --set seed=5 "${@:2}"
}

@test "the example plans with all of its cost, runs, and is found again" {
    small plan --json
    exits 0
    json "d['strategies']['steady']['strategy'] == 'lua' and d['strategies']['steady']['teacher_macs'] > 0"
    json "d['strategies']['steady']['forward_macs'] == d['strategies']['sequential']['forward_macs']"
    json "d['strategies']['steady']['teacher_macs'] == d['strategies']['lwf']['teacher_macs']"
    small run
    exits 0
    perennial results "$WORK/lua" --json
    exits 0
    json "all(x is not None for task in d['strategies']['steady']['tasks'].values() for row in task['matrix'] for x in row)"
    grep -q '"keep": 0.25' "$WORK"/lua/stages/*/stage.json
    small plan --json
    json "all(stage['state'] == 'done' for stage in d['stages'])"
    small plan --json --set strategies.steady.weight=0.5
    json "sum(stage['state'] != 'done' for stage in d['stages']) == 2 * (len(d['strategies']['steady']['steps']) - 1)"
    small plan --set strategies.steady.weigth=0.5
    exits 1
    complains "did you mean 'weight'?"
}

@test "the suite that tests plugins tests it, too" {
    own=(--recipe "$PRN_SOURCE_DIR/recipes/lua-strategy.lua" --set "stream=$WORK/stripes/stream.yaml")
    perennial strategies test steady "${own[@]}"
    exits 0
    says "steady on cpu:"
    says ", 0 failed,"
    perennial strategies test steady "${own[@]}" --set strategies.steady.weight=0 --set strategies.steady.replay=0.5 --backend reference --json
    exits 0
    json "d['strategy'] == 'steady' and d['backend'] == 'reference' and d['failed'] == 0 and d['passed'] >= 12"
    perennial strategies test stedy "${own[@]}"
    exits 1
    complains "defines no strategy 'stedy' (did you mean 'steady'?)"
    perennial strategies test lwf "${own[@]}"
    exits 1
    complains "defines no strategy 'lwf'"
}

@test "what docs/strategies.md shows of it is what the recipe says" {
    python3 - "$PRN_SOURCE_DIR" <<'PYTHON'
import pathlib, re, sys
root = pathlib.Path(sys.argv[1])
recipe = (root / "recipes/lua-strategy.lua").read_text()
blocks = re.findall(r"^```lua\n(.*?)^```", (root / "docs/strategies.md").read_text(), re.M | re.S)
assert len(blocks) == 5, len(blocks)
for block in blocks:
    assert block in recipe, block
shown = "".join(blocks).count("\n")
assert shown > 20, shown
indented = "\n".join(line[4:] for line in (root / "docs/strategies.md").read_text().split("\n") if line.startswith("    "))
penalty = re.search(r"^penalty = .*?^end,$", indented, re.M | re.S).group()
assert re.sub(r"^", "  ", penalty, flags=re.M) in (root / "tests/fixtures/lua_strategies.lua").read_text(), penalty
PYTHON
}

@test "docs/strategies.md names every field and function that Lua sees" {
    python3 - "$PRN_SOURCE_DIR" <<'PYTHON'
import pathlib, re, sys
root = pathlib.Path(sys.argv[1])
text = (root / "docs/strategies.md").read_text().split("## In Lua, inside a recipe")[1]
stage = (root / "core/recipe/lua_strategy_stage.c").read_text()
compose = (root / "core/recipe/lua_strategy_compose.c").read_text()
plan = (root / "core/recipe/lua_strategy_plan.c").read_text()
quoted = lambda source, begin: re.findall(r'"(\w+)"', re.search(re.escape(begin) + r".*?\};", source, re.S).group())
for name in quoted(stage, "const names[] = {\"vector\""):
    assert re.search(rf"`{name}`|stage:{name}\(", text), name
for name in quoted(stage, "const names[] = {\"fill\""):
    assert f":{name}(" in text, name
for name in re.findall(r'^    \{"(\w+)", PRN_OP_', compose, re.M):
    assert f"c:{name}(" in text or f"`{name}`" in text, name
for name in quoted(plan, "ANSWER_KEYS[] = "):
    assert f"`{name}`" in text, name
for name in re.findall(r'TABLE\("(\w+)"', re.search(r"lua_strategy_fields\[\].*?\};", (root / "core/recipe/fields.c").read_text(), re.S).group()):
    assert f"| `{name}` |" in text, name
PYTHON
}

@test "the short example of docs/recipes.md runs" {
    python3 - "$PRN_SOURCE_DIR" "$WORK" <<'PYTHON'
import pathlib, re, sys
root, work = map(pathlib.Path, sys.argv[1:])
block = next(b for b in re.findall(r"^```lua\n(.*?)^```", (root / "docs/recipes.md").read_text(), re.M | re.S) if "p.strategy {" in b)
(work / "blend.lua").write_text("local p = require 'perennial'\nreturn p.recipe { name = 'blend', stream = 'stripes/stream.yaml', model = 'nano', batch = 8,\n"
                                "budget = p.steps(2), schedule = p.constant { peak = 1e-3 }, backend = 'cpu',\n" + block.rstrip() + "\n}\n")
PYTHON
    perennial run "$WORK/blend.lua" --set "workspace=$WORK/blend"
    exits 0
    perennial results "$WORK/blend" --json
    json "set(d['strategies']) == {'sequential', 'blend'}"
}

@test "a mistake says where, in which strategy and at which time step" {
    sed 's/c.teacher_logits, {/c.teacher_logit, {/' "$PRN_SOURCE_DIR/recipes/lua-strategy.lua" >"$WORK/wrong.lua"
    line=$(grep -n 'c.teacher_logit,' "$WORK/wrong.lua" | cut -d: -f1)
    perennial run "$WORK/wrong.lua" --set "stream=$WORK/stripes/stream.yaml" --set "workspace=$WORK/wrong" --set batch=8 --set budget.steps=2 --set backend=cpu
    exits 1
    complains "strategy 'steady', time step 2"
    complains "$WORK/wrong.lua:$line: a composer has no 'teacher_logit' (did you mean 'teacher_logits'?)"
}
