/* core/recipe/translate.c: from the table that a recipe returned to a checked prn__recipe.
 *
 * Relative paths (stream, model, init) are looked for from the working folder first, as on a command line, then beside the
 * recipe; a message names both places. model.c translates the model.
 */
#include "recipe/translate.h"

#include "recipe/lua_strategy.h"
#include "recipe/sweep_choices.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

prn__view prn__view_of(lua_State *L, prn__recipe_table_id table, const char *path, int index, const char *file, int line)
{
    const prn__recipe_table *t = &prn__recipe_tables[table];
    prn__view view = {.L = L, .host = prn__recipe_host_of(L), .index = index, .path = path, .what = t->what, .file = file, .line = line,
                      .fields = t->fields, .count = t->count};
    return view;
}

const char *prn__find_path(const prn__view *view, const char *key, const char *given)
{
    char *beside = prn__path_join(view->host->folder, given);
    if (beside == NULL) {
        prn__raise(view->L, PRN_NO_MEMORY, NULL, 0, "%s: out of memory", view->host->recipe->path);
    }
    const char *found = prn__file_exists(given) || prn__folder_exists(given) ? given
                        : prn__file_exists(beside) || prn__folder_exists(beside) ? beside : NULL;
    const char *kept = prn__arena_strdup(&view->host->recipe->memory, found != NULL ? found : beside);
    prn__free(beside);
    if (kept == NULL) {
        prn__raise(view->L, PRN_NO_MEMORY, NULL, 0, "%s: out of memory", view->host->recipe->path);
    }
    if (found == NULL) {
        prn__view_bad(view, key, PRN_NOT_FOUND, "`%s`: there is neither %s (from the working folder) nor %s (beside the recipe)%s", key, given, kept,
                      strcmp(key, "stream") == 0 ? "; `perennial data build unicode` makes the streams of TiC-Unicode, others are described in README.md" : "");
    }
    return kept;
}

/* ---- amounts ----------------------------------------------------------------------------------------------------------------- */

/* "p.samples(n) or p.steps(n)": the units joined by `join` and, before the last one, `last`, each between `before` and `after`. */
static const char *join_units(const prn__view *view, const char *const *units, const char *before, const char *after, const char *join, const char *last)
{
    size_t bytes = 1, used = 0;
    for (int i = 0; units[i] != NULL; i++) {
        bytes += strlen(units[i]) + strlen(before) + strlen(after) + strlen(join) + strlen(last);
    }
    char *text = prn__view_alloc(view, bytes);
    for (int i = 0; units[i] != NULL; i++) {
        const char *between = i == 0 ? "" : units[i + 1] == NULL ? last : join;
        used += (size_t)snprintf(text + used, bytes - used, "%s%s%s%s", between, before, units[i], after);
    }
    return text;
}

/* p.samples(n), p.steps(n), p.seconds(x), ...: `units` are those allowed here, ending in NULL. -1 when not given. */
static int read_amount(const prn__view *view, const char *key, const char *const *units, double *amount)
{
    lua_State *L = view->L;
    const char *text = prn__view_setting(view, key), *name = key;
    int unit = -1;
    prn__tag tag;
    int type = prn__view_push(view, key);
    if (type != LUA_TNIL) {
        int is_amount = prn__tag_of(L, -1, &tag) && strcmp(tag.kind, PRN__TAG_AMOUNT) == 0;
        for (int i = 0; is_amount && units[i] != NULL; i++) {
            unit = strcmp(units[i], tag.name) == 0 ? i : unit;
        }
        if (unit < 0) {
            prn__view_bad(view, key, PRN_INVALID, "%s: `%s` is %s, not %s%s", view->what, key, join_units(view, units, "p.", "(n)", ", ", " or "),
                          is_amount ? "p." : "a ", is_amount ? tag.name : type == LUA_TNUMBER ? "number without a unit" : luaL_typename(L, -1));
        }
        lua_getfield(L, -1, tag.name);
        *amount = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    for (int i = 0; units[i] != NULL; i++) { /* --set budget.steps=100 */
        prn__view inner = *view;
        inner.path = prn__view_path(view, key);
        const char *own = prn__view_setting(&inner, units[i]);
        if (own != NULL) {
            unit = i;
            text = own;
            name = prn__view_path(&inner, units[i]);
        }
    }
    if (text != NULL) {
        char *end;
        *amount = strtod(text, &end);
        if (unit < 0) {
            prn__view_bad(view, key, PRN_INVALID, "say in what: --set %s.<unit>=..., where the unit is %s", key,
                          join_units(view, units, "", "", ", ", " or "));
        }
        if (end == text || *end != '\0') {
            prn__raise(L, PRN_INVALID, NULL, 0, "--set %s=%.100s: is no number", name, text);
        }
    }
    const double highest = unit >= 0 && strcmp(units[unit], "macs") == 0 ? 1e30 : 9e15;
    if (unit >= 0 && (!isfinite(*amount) || *amount < 0 || *amount > highest)) {
        prn__view_bad(view, key, PRN_INVALID, "%s: `%s` is %g; it must be a number from 0 to %g", view->what, key, *amount, highest);
    }
    return unit;
}

static void refuse_inner_settings(const prn__view *view, const char *key, const char *const *units)
{
    size_t length = strlen(key);
    for (size_t i = 0; i < view->host->setting_count; i++) {
        const char *name = view->host->settings[i].name;
        if (strncmp(name, key, length) == 0 && name[length] == '.') {
            int known = 0;
            for (int u = 0; units[u] != NULL; u++) {
                known |= strcmp(name + length + 1, units[u]) == 0;
            }
            if (!known) {
                prn__raise(view->L, PRN_INVALID, NULL, 0, "--set %.200s=%.100s: `%s` has only %s", name, view->host->settings[i].value, key,
                           join_units(view, units, "'", "'", ", ", " and "));
            }
        }
    }
}

static void read_budget(const prn__view *view)
{
    static const char *const units[] = {"samples", "steps", "epochs", "macs", NULL};
    static const prn__budget_unit kinds[] = {PRN__BUDGET_SAMPLES, PRN__BUDGET_STEPS, PRN__BUDGET_EPOCHS, PRN__BUDGET_MACS};
    prn__recipe *recipe = view->host->recipe;
    double amount = 0;
    refuse_inner_settings(view, "budget", units);
    int unit = read_amount(view, "budget", units, &amount);
    if (unit < 0) {
        prn__raise(view->L, PRN_INVALID, view->file, view->line, "p.recipe needs `budget`: what one time step may cost, p.samples(20000), p.steps(100),"
                   " p.epochs(2) or p.macs(1e15)");
    }
    recipe->budget_unit = kinds[unit];
    recipe->budget_amount = amount;
    if (recipe->budget_unit == PRN__BUDGET_EPOCHS || recipe->budget_unit == PRN__BUDGET_MACS) { /* in steps only when a stage's data and model are known */
        if (amount <= 0) {
            prn__view_bad(view, "budget", PRN_INVALID, "`budget` is %g %s; it must be above 0", amount, units[unit]);
        }
        return;
    }
    if (amount != floor(amount) || amount < 1) {
        prn__view_bad(view, "budget", PRN_INVALID, "`budget` is %g %s; it must be a whole number, at least 1", amount, units[unit]);
    }
    recipe->budget = (int64_t)amount;
    if (recipe->budget_unit == PRN__BUDGET_SAMPLES && recipe->budget < recipe->batch) {
        prn__view_bad(view, "budget", PRN_INVALID, "`budget` is %" PRId64 " samples, less than one batch of %" PRId64 "; raise it, or lower `batch`",
                      recipe->budget, recipe->batch);
    }
}

static void read_save_every(const prn__view *view)
{
    static const char *const units[] = {"seconds", "steps", NULL};
    prn__recipe *recipe = view->host->recipe;
    double amount = 0;
    refuse_inner_settings(view, "save_every", units);
    int unit = read_amount(view, "save_every", units, &amount);
    recipe->save_every_s = unit == 0 ? amount : 60;
    if (unit == 1) {
        if (amount != floor(amount) || amount < 1) {
            prn__view_bad(view, "save_every", PRN_INVALID, "`save_every` is %g steps; it must be a whole number, at least 1", amount);
        }
        recipe->save_every_steps = (int64_t)amount;
    }
}

/* ---- optimizer, schedule ------------------------------------------------------------------------------------------------------- */

/* Pushes the table of `key` when it is tagged as `kind`; 0 when absent. Raises for anything else. */
static int push_tagged(const prn__view *view, const char *key, const char *kind, const char *wanted, prn__tag *tag)
{
    int type = prn__view_push(view, key);
    if (type == LUA_TNIL) {
        lua_pop(view->L, 1);
        return 0;
    }
    if (!prn__tag_of(view->L, -1, tag) || strcmp(tag->kind, kind) != 0) {
        if (tag->kind != NULL) {
            prn__view_bad(view, key, PRN_INVALID, "%s: `%s` is %s, not p.%s", view->what, key, wanted, tag->name);
        }
        prn__view_bad(view, key, PRN_INVALID, "%s: `%s` is %s, not a plain %s", view->what, key, wanted, luaL_typename(view->L, -1));
    }
    return 1;
}

static void read_optimizer(const prn__view *view)
{
    prn__recipe *recipe = view->host->recipe;
    prn__tag tag;
    prn_option_value value;
    int given = push_tagged(view, "optimizer", PRN__TAG_OPTIMIZER, "p.adamw { ... }", &tag);
    prn__view inner = prn__view_of(view->L, PRN__TABLE_ADAMW, "optimizer", given ? lua_gettop(view->L) : 0, given ? tag.file : view->file,
                                   given ? tag.line : view->line);
    prn__view_check_keys(&inner);
    (void)prn__view_read(&inner, "beta1", &value);
    recipe->optimizer.beta1 = value.real;
    (void)prn__view_read(&inner, "beta2", &value);
    recipe->optimizer.beta2 = value.real;
    (void)prn__view_read(&inner, "epsilon", &value);
    recipe->optimizer.epsilon = value.real;
    (void)prn__view_read(&inner, "decay", &value);
    recipe->optimizer.decay = value.real;
    (void)prn__view_read(&inner, "clip_norm", &value);
    recipe->optimizer.clip_norm = value.real;
    (void)prn__view_read(&inner, "decay_rule", &value);
    recipe->decay_rule = strcmp(value.string, "dimensions") == 0 ? PRN__DECAY_DIMENSIONS : PRN__DECAY_NO_EMBEDDINGS;
    (void)prn__view_read(&inner, "moments", &value);
    recipe->optimizer.bf16_moments = strcmp(value.string, "bf16") == 0;
}

static const struct {
    const char *name;
    prn__schedule_kind kind;
    prn__recipe_table_id table;
} SCHEDULES[] = {
    {"constant", PRN__SCHEDULE_CONSTANT, PRN__TABLE_CONSTANT},
    {"cosine", PRN__SCHEDULE_COSINE, PRN__TABLE_COSINE},
    {"linear", PRN__SCHEDULE_LINEAR, PRN__TABLE_LINEAR},
    {"warmup_stable_decay", PRN__SCHEDULE_WARMUP_STABLE_DECAY, PRN__TABLE_WARMUP_STABLE_DECAY},
    {"inverse_sqrt", PRN__SCHEDULE_INVERSE_SQRT, PRN__TABLE_INVERSE_SQRT},
    {"infinite", PRN__SCHEDULE_INFINITE, PRN__TABLE_INFINITE},
    {"trunk", PRN__SCHEDULE_TRUNK, PRN__TABLE_TRUNK},
    {"autoregressive_cosine", PRN__SCHEDULE_AUTOREGRESSIVE_COSINE, PRN__TABLE_AUTOREGRESSIVE_COSINE},
};

static prn__shape shape_of(const char *name)
{
    return strcmp(name, "1-sqrt") == 0        ? PRN__SHAPE_ONE_MINUS_SQRT
           : strcmp(name, "cosine") == 0      ? PRN__SHAPE_COSINE
           : strcmp(name, "exponential") == 0 ? PRN__SHAPE_EXPONENTIAL
                                              : PRN__SHAPE_LINEAR;
}

static void read_peak(const prn__view *inner, prn__schedule *schedule)
{
    prn_option_value value;
    (void)prn__view_read(inner, "peak", &value);
    if (prn__view_field(inner, "peak")->type == PRN_OPTION_REAL) {
        schedule->peak = value.real;
        return;
    }
    if (value.list_count < 1) {
        prn__view_bad(inner, "peak", PRN_INVALID, "%s: `peak` is an empty list; give a number, or one for each time step", inner->what);
    }
    if (value.list_count > inner->host->manifest->step_count) {
        prn__view_bad(inner, "peak", PRN_INVALID, "%s: `peak` has %" PRIu64 " numbers, and the stream %zu time steps", inner->what, value.list_count,
                      inner->host->manifest->step_count);
    }
    schedule->peak = value.list[0];
    if (value.list_count > 1) {
        schedule->peaks = value.list;
        schedule->peak_count = (size_t)value.list_count;
    }
}

/* What only some schedules have. */
static void read_phases(const prn__view *inner, prn__schedule *schedule)
{
    prn_option_value value;
    if (prn__view_field(inner, "final") != NULL) {
        (void)prn__view_read(inner, "final", &value);
        schedule->final = value.real;
    }
    if (prn__view_field(inner, "shape") != NULL) {
        (void)prn__view_read(inner, "shape", &value);
        schedule->shape = shape_of(value.string);
        if (schedule->shape == PRN__SHAPE_EXPONENTIAL && schedule->final <= 0) {
            prn__view_bad(inner, "shape", PRN_INVALID, "%s: `shape` \"exponential\" never reaches 0; give a `final` above 0", inner->what);
        }
    }
    if (prn__view_field(inner, "decay") != NULL) {
        (void)prn__view_read(inner, "decay", &value);
        schedule->decay = value.real;
    }
    if (prn__view_field(inner, "offset") != NULL) {
        (void)prn__view_read(inner, "offset", &value);
        schedule->offset = value.real;
    }
    if (prn__view_field(inner, "branch") != NULL) {
        (void)prn__view_read(inner, "branch", &value);
        schedule->branch = value.real;
    }
    if (prn__view_field(inner, "cooldown") != NULL) {
        (void)prn__view_read(inner, "constant", &value);
        schedule->constant = value.real;
        (void)prn__view_read(inner, "cooldown", &value);
        schedule->cooldown_steps = value.integer;
        (void)prn__view_read(inner, "cooldown_shape", &value);
        schedule->cooldown_shape = shape_of(value.string);
        if (schedule->constant > schedule->peak) {
            prn__view_bad(inner, "constant", PRN_INVALID, "%s: `constant` is %g, above the `peak` of %g that the cooldown falls from", inner->what,
                          schedule->constant, schedule->peak);
        }
        if (schedule->cooldown_shape == PRN__SHAPE_EXPONENTIAL && schedule->constant <= 0) {
            prn__view_bad(inner, "cooldown_shape", PRN_INVALID, "%s: `cooldown_shape` \"exponential\" never reaches 0; give a `constant` above 0", inner->what);
        }
    }
}

static void read_schedule(const prn__view *view)
{
    static const char wanted[] = "p.cosine { ... }, p.constant { ... }, another schedule of docs/recipes.md, or a function(step, total, time_step)";
    lua_State *L = view->L;
    prn__schedule *schedule = &view->host->recipe->schedule;
    prn__tag tag;
    prn_option_value value;
    size_t which = 0;
    if (prn__view_push(view, "schedule") == LUA_TFUNCTION) {
        for (size_t i = 0; i < view->host->setting_count; i++) {
            if (strncmp(view->host->settings[i].name, "schedule.", 9) == 0) {
                prn__raise(L, PRN_INVALID, NULL, 0, "--set %.200s=%.100s: the recipe's schedule is a function and has no values to set",
                           view->host->settings[i].name, view->host->settings[i].value);
            }
        }
        schedule->kind = PRN__SCHEDULE_FUNCTION;
        view->host->schedule_ref = luaL_ref(L, LUA_REGISTRYINDEX);
        return;
    }
    lua_pop(L, 1);
    if (!push_tagged(view, "schedule", PRN__TAG_SCHEDULE, wanted, &tag)) {
        prn__raise(L, PRN_INVALID, view->file, view->line, "p.recipe needs `schedule`: %s", wanted);
    }
    while (which + 1 < sizeof SCHEDULES / sizeof SCHEDULES[0] && strcmp(tag.name, SCHEDULES[which].name) != 0) {
        which++;
    }
    schedule->kind = SCHEDULES[which].kind;
    prn__view inner = prn__view_of(L, SCHEDULES[which].table, "schedule", lua_gettop(L), tag.file, tag.line);
    prn__view_check_keys(&inner);
    read_peak(&inner, schedule);
    (void)prn__view_read(&inner, "warmup", &value);
    schedule->warmup_steps = value.integer;
    (void)prn__view_read(&inner, "later_warmup", &value);
    schedule->later_warmup_steps = value.integer;
    read_phases(&inner, schedule);
}

/* ---- lists of names --------------------------------------------------------------------------------------------------------------- */

/* A list of strings from a comma-separated setting, or from the table on top of the stack. */
static const char *const *read_names(const prn__view *view, const char *key, const char *setting, size_t *count)
{
    lua_State *L = view->L;
    const char **names;
    if (setting != NULL) {
        size_t capacity = 1;
        for (const char *c = setting; *c != '\0'; c++) {
            capacity += *c == ',';
        }
        names = prn__view_alloc(view, capacity * sizeof *names);
        char *copy = (char *)(uintptr_t)prn__view_copy(view, setting);
        for (char *item = copy; item != NULL;) {
            char *comma = strchr(item, ',');
            if (comma != NULL) {
                *comma = '\0';
            }
            if (*item != '\0') {
                names[(*count)++] = item;
            }
            item = comma != NULL ? comma + 1 : NULL;
        }
        return names;
    }
    int index = lua_gettop(L);
    if (!lua_istable(L, index) || lua_rawlen(L, index) > 10000) {
        prn__view_bad(view, key, PRN_INVALID, "%s: `%s` must be a list of names, not a %s", view->what, key, luaL_typename(L, index));
    }
    size_t length = lua_rawlen(L, index);
    names = prn__view_alloc(view, (length + 1) * sizeof *names);
    for (lua_Integer i = 1; i <= (lua_Integer)length; i++) {
        if (lua_rawgeti(L, index, i) != LUA_TSTRING) {
            prn__view_bad(view, key, PRN_INVALID, "%s: entry %d of `%s` must be a name in quotes, not a %s", view->what, (int)i, key, luaL_typename(L, -1));
        }
        names[(*count)++] = prn__view_copy(view, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return names;
}

/* ---- evaluations ------------------------------------------------------------------------------------------------------------------ */

static void check_set_name(const prn__view *view, const char *key, const char *name)
{
    enum { NAME_LIMIT = 256 };
    const prn__manifest *manifest = view->host->manifest;
    const char *names[NAME_LIMIT];
    char hint[160];
    size_t count = 0;
    for (size_t t = 0; t < manifest->step_count; t++) {
        for (size_t e = 0; e < manifest->steps[t].evaluation_count; e++) {
            if (strcmp(manifest->steps[t].evaluations[e].name, name) == 0) {
                return;
            }
            if (count < NAME_LIMIT) {
                names[count++] = manifest->steps[t].evaluations[e].name;
            }
        }
    }
    prn__view_bad(view, key, PRN_NOT_FOUND, "%s has no evaluation set '%.100s'%s", manifest->path, name,
                  prn__suggest_text(name, names, count, hint, sizeof hint));
}

static void read_recall(const prn__view *inner)
{
    prn__recipe *recipe = inner->host->recipe;
    prn_option_value value;
    (void)prn__view_read(inner, "recall", &value);
    if (value.list_count < 1 || value.list_count > PRN__RECALL_K_MAX) {
        prn__view_bad(inner, "recall", PRN_INVALID, "`recall` has %" PRIu64 " numbers; give 1 to %d", value.list_count, PRN__RECALL_K_MAX);
    }
    for (size_t i = 0; i < value.list_count; i++) {
        if (value.list[i] != floor(value.list[i]) || (i > 0 && value.list[i] <= value.list[i - 1])) {
            prn__view_bad(inner, "recall", PRN_INVALID, "`recall` must be rising whole numbers, such as {1, 5, 10}");
        }
        recipe->recall_k[i] = (int32_t)value.list[i];
    }
    recipe->recall_k_count = value.list_count;
}

static void read_evaluate(const prn__view *view)
{
    lua_State *L = view->L;
    prn__recipe *recipe = view->host->recipe;
    const char *setting = prn__view_setting(view, "evaluate");
    prn__tag tag;
    prn_option_value value;
    int type = prn__view_push(view, "evaluate"), place = lua_gettop(L);
    int is_tagged = prn__tag_of(L, place, &tag) && strcmp(tag.kind, PRN__TAG_EVALUATE) == 0;
    if (type != LUA_TNIL && type != LUA_TTABLE) {
        prn__view_bad(view, "evaluate", PRN_INVALID, "`evaluate` is a list of names or p.evaluate { ... }, not a %s", luaL_typename(L, place));
    }
    if (tag.kind != NULL && !is_tagged) {
        prn__view_bad(view, "evaluate", PRN_INVALID, "`evaluate` is a list of names or p.evaluate { ... }, not p.%s", tag.name);
    }
    prn__view inner = prn__view_of(L, PRN__TABLE_EVALUATE, "evaluate", is_tagged ? place : 0, is_tagged ? tag.file : view->file,
                                   is_tagged ? tag.line : view->line);
    prn__view_check_keys(&inner);
    if (setting == NULL) {
        setting = prn__view_setting(&inner, "sets");
    }
    if (setting != NULL) {
        recipe->evaluate = read_names(&inner, "sets", setting, &recipe->evaluate_count);
    } else if (is_tagged) {
        if (prn__view_push(&inner, "sets") != LUA_TNIL) {
            recipe->evaluate = read_names(&inner, "sets", NULL, &recipe->evaluate_count);
        }
        lua_pop(L, 1);
    } else if (type == LUA_TTABLE) {
        recipe->evaluate = read_names(view, "evaluate", NULL, &recipe->evaluate_count);
    }
    for (size_t i = 0; i < recipe->evaluate_count; i++) {
        check_set_name(is_tagged ? &inner : view, is_tagged ? "sets" : "evaluate", recipe->evaluate[i]);
    }
    read_recall(&inner);
    (void)prn__view_read(&inner, "batch", &value);
    recipe->eval_batch = value.integer > 0 ? value.integer : 256;
    lua_settop(L, place - 1);
}

/* ---- backend ------------------------------------------------------------------------------------------------------------------------ */

void prn__read_options(const prn__view *view, const prn__option_pair **pairs, size_t *count)
{
    prn__option_pair *found = prn__view_alloc(view, (view->count + 1) * sizeof *found);
    for (uint32_t i = 0; i < view->count; i++) {
        const prn_option *option = (const prn_option *)(const void *)((const char *)view->fields + (size_t)i * view->fields->struct_size);
        prn_option_value checked;
        const char *text = prn__view_text(view, option->name);
        if (text != NULL || option->preset == NULL) {
            (void)prn__view_read(view, option->name, &checked); /* raises what is wrong with it */
            found[*count].name = prn__view_copy(view, option->name);
            found[*count].value = prn__view_copy(view, text);
            (*count)++;
        }
    }
    *pairs = found;
}

static void read_backend(const prn__view *view)
{
    lua_State *L = view->L;
    prn__recipe *recipe = view->host->recipe;
    const char *setting = prn__view_setting(view, "backend");
    const prn_backend *backend = NULL;
    prn_error problem = PRN_ERROR_INIT;
    prn__tag tag;
    int type = prn__view_push(view, "backend"), place = lua_gettop(L);
    int is_tagged = prn__tag_of(L, place, &tag) && strcmp(tag.kind, PRN__TAG_BACKEND) == 0;
    if (type != LUA_TNIL && type != LUA_TSTRING && !is_tagged) {
        prn__view_bad(view, "backend", PRN_INVALID, "`backend` is a name or p.backend \"name\" { ... }, not a %s", luaL_typename(L, place));
    }
    recipe->backend = type == LUA_TSTRING ? prn__view_copy(view, lua_tostring(L, place)) : is_tagged ? prn__view_copy(view, tag.name) : "auto";
    if (setting != NULL) {
        is_tagged = is_tagged && strcmp(setting, tag.name) == 0; /* another backend has other options */
        recipe->backend = setting;
    }
    prn__view inner = {.L = L, .host = view->host, .index = is_tagged ? place : 0, .path = "backend", .what = recipe->backend,
                       .file = is_tagged ? tag.file : view->file, .line = is_tagged ? tag.line : view->line};
    if (strcmp(recipe->backend, "auto") != 0) {
        if (prn__registry_backend(view->host->registry, recipe->backend, &backend, NULL, &problem) != PRN_OK) {
            prn__view_bad(view, "backend", (prn_status)problem.status, "%s", problem.message);
        }
        inner.fields = backend->options;
        inner.count = backend->option_count;
    }
    prn__view_check_keys(&inner);
    prn__read_options(&inner, &recipe->backend_options, &recipe->backend_option_count);
    lua_settop(L, place - 1);
}

/* ---- strategies ---------------------------------------------------------------------------------------------------------------------- */

int prn__is_label(const char *label)
{
    size_t length = strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-");
    return length > 0 && length <= 64 && label[length] == '\0';
}

static void read_strategy(const prn__view *view, int list, lua_Integer position, prn__recipe_strategy *strategy)
{
    lua_State *L = view->L;
    const prn_strategy *table = NULL;
    prn_error problem = PRN_ERROR_INIT;
    prn_option_value value;
    prn__tag tag;
    lua_rawgeti(L, list, position);
    if (prn__is_lua_strategy(L)) {
        prn__lua_strategy_read(view, strategy);
        lua_pop(L, 1);
        return;
    }
    if (!prn__tag_of(L, -1, &tag) || strcmp(tag.kind, PRN__TAG_STRATEGY) != 0) {
        prn__view_bad(view, "strategies", PRN_INVALID, "entry %d of `strategies` is a %s; write p.sequential {}, or any strategy that `perennial strategies`"
                      " lists", (int)position, tag.kind != NULL ? tag.kind : luaL_typename(L, -1));
    }
    if (prn__registry_strategy(view->host->registry, tag.name, &table, NULL, &problem) != PRN_OK) {
        prn__raise(L, (prn_status)problem.status, tag.file, tag.line, "%s", problem.message);
    }
    char *what = prn__view_alloc(view, strlen(tag.name) + 3);
    (void)snprintf(what, strlen(tag.name) + 3, "p.%s", tag.name);
    prn__view inner = {.L = L, .host = view->host, .index = lua_gettop(L), .path = "strategies", .what = what, .file = tag.file, .line = tag.line,
                       .fields = prn__recipe_tables[PRN__TABLE_STRATEGY].fields, .count = prn__recipe_tables[PRN__TABLE_STRATEGY].count};
    strategy->strategy = prn__view_copy(view, tag.name);
    strategy->label = strategy->strategy;
    strategy->line = tag.line;
    if (prn__view_push(&inner, "label") != LUA_TNIL) {
        (void)prn__view_read(&inner, "label", &value);
        strategy->label = value.string;
    }
    lua_pop(L, 1);
    if (!prn__is_label(strategy->label)) {
        prn__view_bad(&inner, "label", PRN_INVALID, "the label '%.100s' may have letters, digits, '_', '+' and '-' only, 1 to 64 of them", strategy->label);
    }
    inner.path = prn__view_path(&inner, strategy->label); /* --set strategies.<label>.<option>=... */
    inner.more = inner.fields;
    inner.more_count = inner.count;
    inner.fields = table->options;
    inner.count = table->option_count;
    prn__view_check_keys(&inner);
    prn__read_options(&inner, &strategy->options, &strategy->option_count);
    lua_pop(L, 1);
}

/* Settings that name no strategy of the recipe, and `--set strategies=a,b`. */
static void choose_strategies(const prn__view *view, prn__recipe_strategy *strategies, size_t *count)
{
    enum { NAME_LIMIT = 128 };
    const char *labels[NAME_LIMIT], *setting = prn__view_setting(view, "strategies");
    char hint[160], label[80];
    size_t label_count = 0, wanted_count = 0, kept = 0;
    for (size_t i = 0; i < *count && i < NAME_LIMIT; i++) {
        labels[label_count++] = strategies[i].label;
    }
    for (size_t i = 0; i < view->host->setting_count; i++) {
        const char *name = view->host->settings[i].name;
        if (strncmp(name, "strategies.", 11) == 0) {
            int found = 0;
            (void)snprintf(label, sizeof label, "%.*s", (int)strcspn(name + 11, "."), name + 11);
            for (size_t s = 0; s < *count; s++) {
                found |= strcmp(strategies[s].label, label) == 0;
            }
            if (!found) {
                prn__raise(view->L, PRN_NOT_FOUND, NULL, 0, "--set %.200s=%.100s: the recipe has no strategy '%s'%s", name, view->host->settings[i].value,
                           label, prn__suggest_text(label, labels, label_count, hint, sizeof hint));
            }
        }
    }
    if (setting == NULL) {
        return;
    }
    const char *const *wanted = read_names(view, "strategies", setting, &wanted_count);
    for (size_t w = 0; w < wanted_count; w++) {
        int found = 0;
        for (size_t s = 0; s < *count; s++) {
            found |= strcmp(strategies[s].label, wanted[w]) == 0;
        }
        if (!found) {
            prn__view_bad(view, "strategies", PRN_NOT_FOUND, "the recipe has no strategy '%.100s'%s", wanted[w],
                          prn__suggest_text(wanted[w], labels, label_count, hint, sizeof hint));
        }
    }
    for (size_t s = 0; s < *count; s++) { /* in the recipe's order */
        for (size_t w = 0; w < wanted_count; w++) {
            if (strcmp(strategies[s].label, wanted[w]) == 0) {
                strategies[kept++] = strategies[s];
                break;
            }
        }
    }
    *count = kept;
}

static void read_strategies(const prn__view *view)
{
    lua_State *L = view->L;
    prn__recipe *recipe = view->host->recipe;
    prn__tag tag;
    int type = prn__view_push(view, "strategies"), list = lua_gettop(L);
    if (type == LUA_TTABLE && prn__tag_of(L, list, &tag)) { /* strategies = p.sequential {}: a list of one */
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, list);
        lua_rawseti(L, -2, 1);
        lua_replace(L, list);
    }
    size_t count = lua_istable(L, list) ? lua_rawlen(L, list) : 0;
    if (count < 1 || count > 1000) {
        prn__view_bad(view, "strategies", PRN_INVALID, "p.recipe needs `strategies`: a list such as { p.sequential {}, p.cumulative {} }");
    }
    lua_pushnil(L);
    while (lua_next(L, list) != 0) {
        lua_pop(L, 1);
        if (!lua_isinteger(L, -1)) {
            prn__view_bad(view, "strategies", PRN_INVALID, "`strategies` is a list: write { p.sequential {}, ... } without keys; to name one, use its `label`");
        }
    }
    prn__recipe_strategy *strategies = prn__view_alloc(view, count * sizeof *strategies);
    for (size_t i = 0; i < count; i++) {
        read_strategy(view, list, (lua_Integer)i + 1, &strategies[i]);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(strategies[j].label, strategies[i].label) == 0) {
                prn__raise(L, PRN_CONFLICT, view->file, strategies[i].line, "two strategies are called '%s' (the other one on line %d); give one a `label`",
                           strategies[i].label, strategies[j].line);
            }
        }
    }
    choose_strategies(view, strategies, &count);
    if (count == 0) {
        prn__view_bad(view, "strategies", PRN_INVALID, "no strategy is left");
    }
    recipe->strategies = strategies;
    recipe->strategy_count = count;
    lua_settop(L, list - 1);
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------------- */

static int is_run_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-");
    return length > 0 && length <= 100 && name[length] == '\0' && name[0] != '.' && name[0] != '-';
}

static void read_name(const prn__view *view)
{
    prn__recipe *recipe = view->host->recipe;
    prn_option_value value;
    if (prn__view_read(view, "name", &value)) {
        recipe->name = value.string;
    } else { /* the file's name without .lua */
        const char *slash = strrchr(recipe->path, '/');
        char *stem = (char *)(uintptr_t)prn__view_copy(view, slash != NULL ? slash + 1 : recipe->path);
        char *dot = strrchr(stem, '.');
        if (dot != NULL && dot != stem) {
            *dot = '\0';
        }
        recipe->name = stem;
    }
    if (!is_run_name(recipe->name)) {
        prn__view_bad(view, "name", PRN_INVALID, "`name` is '%.100s'; it names a folder: letters, digits, '_', '.', '+' and '-', starting with a letter or"
                      " digit", recipe->name);
    }
    if (prn__view_read(view, "workspace", &value) && value.string[0] != '\0') {
        recipe->workspace = value.string;
    } else {
        char *workspace = prn__view_alloc(view, strlen(recipe->name) + 6);
        (void)snprintf(workspace, strlen(recipe->name) + 6, "runs/%s", recipe->name);
        recipe->workspace = workspace;
    }
}

static void read_stream(const prn__view *view)
{
    prn_error problem = PRN_ERROR_INIT;
    prn_option_value value;
    (void)prn__view_read(view, "stream", &value);
    view->host->recipe->manifest_path = prn__find_path(view, "stream", value.string);
    if (prn__manifest_load(view->host->recipe->manifest_path, &view->host->manifest, &problem) != PRN_OK) {
        prn__view_bad(view, "stream", (prn_status)problem.status, "`stream`: %s", problem.message);
    }
}

static void read_reference(const prn__view *view)
{
    prn_option_value value;
    if (prn__view_read(view, "reference", &value) && value.string[0] != '\0') {
        view->host->recipe->reference_path = prn__find_path(view, "reference", value.string);
    }
}

static void read_plain(const prn__view *view)
{
    prn__recipe *recipe = view->host->recipe;
    prn_option_value value;
    (void)prn__view_read(view, "batch", &value);
    recipe->batch = value.integer;
    const char *micro = prn__view_text(view, "micro_batch");
    if (micro != NULL && strcmp(micro, "auto") == 0) {
        recipe->micro_batch = PRN__MICRO_BATCH_AUTO;
    } else {
        (void)prn__view_read(view, "micro_batch", &value);
        recipe->micro_batch = value.integer;
    }
    const char *checkpointing = prn__view_text(view, "checkpointing");
    if (checkpointing != NULL && strcmp(checkpointing, "selective") == 0) {
        recipe->checkpointing = PRN__CHECKPOINT_SELECTIVE;
    } else if (checkpointing != NULL && strcmp(checkpointing, "towers") == 0) {
        recipe->checkpointing = PRN__CHECKPOINT_TOWERS;
    } else {
        (void)prn__view_read(view, "checkpointing", &value);
        recipe->checkpointing = value.integer != 0 ? PRN__CHECKPOINT_BLOCKS : PRN__CHECKPOINT_NONE;
    }
    (void)prn__view_read(view, "keep_optimizer", &value);
    recipe->keep_optimizer = value.integer != 0;
    (void)prn__view_read(view, "transform", &value);
    recipe->augment = strcmp(value.string, "train") == 0;
    (void)prn__view_read(view, "scale", &value);
    if (value.list_count != 2 || value.list[0] > value.list[1]) {
        prn__view_bad(view, "scale", PRN_INVALID, "`scale` is two numbers, lowest and highest, such as {0.9, 1.0}");
    }
    recipe->scale_low = value.list[0];
    recipe->scale_high = value.list[1];
    (void)prn__view_read(view, "shuffle", &value);
    recipe->shuffle = value.integer != 0;
    (void)prn__view_read(view, "with_replacement", &value);
    recipe->with_replacement = value.integer != 0;
    (void)prn__view_read(view, "window", &value);
    recipe->window = value.integer;
    (void)prn__view_read(view, "seed", &value);
    recipe->seed = (uint64_t)value.integer;
    (void)prn__view_read(view, "data_threads", &value);
    recipe->data_threads = (uint32_t)value.integer;
}

void prn__recipe_translate(lua_State *L)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    prn__tag tag;
    luaL_checkstack(L, 200, "recipe");
    if (!prn__tag_of(L, -1, &tag) || strcmp(tag.kind, PRN__TAG_RECIPE) != 0) {
        prn__raise(L, PRN_INVALID, NULL, 0, "%s: a recipe ends with `return p.recipe { ... }`; this one returned %s%s", host->recipe->path,
                   tag.kind != NULL ? "p." : lua_isnoneornil(L, -1) ? "nothing" : "a ", tag.kind != NULL ? tag.name
                   : lua_isnoneornil(L, -1) ? "" : luaL_typename(L, -1));
    }
    prn__view view = prn__view_of(L, PRN__TABLE_RECIPE, "", lua_gettop(L), tag.file, tag.line);
    prn__view_check_keys(&view);
    read_name(&view);
    read_stream(&view);
    read_reference(&view);
    read_plain(&view);
    read_budget(&view);
    read_optimizer(&view);
    read_schedule(&view);
    read_save_every(&view);
    read_backend(&view);
    read_strategies(&view);
    read_evaluate(&view);
    prn__sweep_read(&view);
    prn__read_model(&view);
    for (size_t i = 0; i < host->setting_count; i++) {
        if (!host->setting_used[i] && !prn__sweep_is_setting(host->settings[i].name)) {
            prn__raise(L, PRN_INVALID, NULL, 0, "--set %.200s=%.200s: cannot be set in this recipe; docs/recipes.md lists what can", host->settings[i].name,
                       host->settings[i].value);
        }
    }
}
