/* core/recipe/sweep_choices.c: see sweep_choices.h. */
#include "recipe/sweep_choices.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/translate.h"

enum { NAME_BYTES = 96, DEPTH_LIMIT = 8, KEY_LIMIT = 64 };
static const char SETTING[] = "grid.";

typedef struct place { /* of the call */
    const char *what, *file; /* "p.grid" */
    int line, is_seeds;
} place;

/* ---- values as text ------------------------------------------------------------------------------------------------------------- */

static void put_string(prn__text *text, const char *string, size_t length)
{
    json_t *value = json_stringn(string, length);
    char *dumped = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    prn__text_puts(text, dumped != NULL ? dumped : "\"(not UTF-8)\"");
    free(dumped); /* jansson's own allocator */
    json_decref(value);
}

static void put_number(const place *at, lua_State *L, int index, prn__text *text)
{
    char digits[40];
    if (lua_isinteger(L, index)) {
        prn__text_printf(text, "%lld", (long long)lua_tointeger(L, index));
        return;
    }
    const double number = lua_tonumber(L, index);
    if (!isfinite(number)) {
        prn__raise(L, PRN_INVALID, at->file, at->line, "%s: a value is not finite", at->what);
    }
    for (int precision = 6; precision <= 17; precision++) { /* the shortest that reads back the same */
        (void)snprintf(digits, sizeof digits, "%.*g", precision, number);
        if (strtod(digits, NULL) == number) {
            break;
        }
    }
    prn__text_puts(text, digits);
}

static void put_value(const place *at, lua_State *L, int index, prn__text *text, int depth);

static int compare_names(const void *left, const void *right)
{
    const char *const *a = left, *const *b = right;
    return strcmp(*a, *b);
}

static void put_table(const place *at, lua_State *L, int index, prn__text *text, int depth)
{
    const char *keys[KEY_LIMIT];
    size_t count = 0;
    const lua_Integer length = (lua_Integer)lua_rawlen(L, index);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            if (count == KEY_LIMIT) {
                prn__raise(L, PRN_INVALID, at->file, at->line, "%s: a value has more than %d keys", at->what, (int)KEY_LIMIT);
            }
            keys[count++] = lua_tostring(L, -1); /* alive in the table */
        } else if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || lua_tointeger(L, -1) > length) {
            prn__raise(L, PRN_INVALID, at->file, at->line, "%s: a value is a table whose keys are neither names nor 1, 2, ...", at->what);
        }
    }
    if (count > 0 && length > 0) {
        prn__raise(L, PRN_INVALID, at->file, at->line, "%s: a value is a table with and without names; it is one or the other", at->what);
    }
    if (count == 0) {
        prn__text_puts(text, "[");
        for (lua_Integer i = 1; i <= length; i++) {
            prn__text_puts(text, i > 1 ? "," : "");
            (void)lua_rawgeti(L, index, i);
            put_value(at, L, lua_gettop(L), text, depth + 1);
            lua_pop(L, 1);
        }
        prn__text_puts(text, "]");
        return;
    }
    qsort(keys, count, sizeof *keys, compare_names);
    prn__text_puts(text, "{");
    for (size_t i = 0; i < count; i++) {
        prn__text_puts(text, i > 0 ? "," : "");
        put_string(text, keys[i], strlen(keys[i]));
        prn__text_puts(text, ":");
        lua_pushstring(L, keys[i]);
        (void)lua_rawget(L, index);
        put_value(at, L, lua_gettop(L), text, depth + 1);
        lua_pop(L, 1);
    }
    prn__text_puts(text, "}");
}

/* JSON of the value at `index` (from the stack's bottom). What a constructor made is { "p.cosine": ... }. */
static void put_value(const place *at, lua_State *L, int index, prn__text *text, int depth)
{
    size_t length = 0;
    const char *string;
    lua_Debug record;
    prn__tag tag;
    if (depth > DEPTH_LIMIT) {
        prn__raise(L, PRN_INVALID, at->file, at->line, "%s: a value has more than %d tables inside each other", at->what, (int)DEPTH_LIMIT);
    }
    luaL_checkstack(L, 12, "values");
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        prn__text_puts(text, lua_toboolean(L, index) ? "true" : "false");
        break;
    case LUA_TNUMBER:
        put_number(at, L, index, text);
        break;
    case LUA_TSTRING:
        string = lua_tolstring(L, index, &length);
        put_string(text, string, length);
        break;
    case LUA_TFUNCTION:
        lua_pushvalue(L, index);
        (void)lua_getinfo(L, ">S", &record);
        prn__text_printf(text, "\"function of line %d\"", record.linedefined);
        break;
    case LUA_TTABLE:
        if (prn__tag_of(L, index, &tag)) {
            prn__text_printf(text, "{\"p.%s\":", tag.name);
            put_table(at, L, index, text, depth);
            prn__text_puts(text, "}");
        } else {
            put_table(at, L, index, text, depth);
        }
        break;
    default:
        prn__raise(L, PRN_INVALID, at->file, at->line, "%s: a value is a %s; values are numbers, text, true, false, tables of these, what p.... makes, and"
                   " functions", at->what, luaL_typename(L, index));
    }
}

/* ---- names ---------------------------------------------------------------------------------------------------------------------- */

static int is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Where `word` stands in [text, end) for the n-th time (from 0), or last. */
static const char *find_word(const char *text, const char *end, const char *word, size_t n)
{
    const size_t length = strlen(word);
    const char *found = NULL;
    for (const char *c = text; c + length <= end; c++) {
        if (memcmp(c, word, length) == 0 && (c == text || !is_word(c[-1])) && (c + length == end || !is_word(c[length]))) {
            found = c;
            if (n-- == 0) {
                break;
            }
        }
    }
    return found;
}

/* The key or variable that the call's value goes to, read from the text of its line: "peak" in `{ peak = p.grid { ... } }`. */
static int name_from_text(lua_State *L, const prn__sweep_path *path, const place *at, char name[NAME_BYTES])
{
    size_t length = 0, earlier = 0;
    int line = 1, found = 0;
    prn__sandbox_source(L, at->file);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL, *end = text != NULL ? text + length : NULL;
    for (; text != NULL && line < at->line; line++) {
        text = memchr(text, '\n', (size_t)(end - text));
        text = text != NULL ? text + 1 : NULL;
    }
    for (size_t i = 0; i < path->count; i++) { /* a line's calls come from left to right */
        earlier += path->points[i].line == at->line && path->points[i].setting.is_seeds == at->is_seeds && strcmp(path->points[i].file, at->file) == 0;
    }
    if (text != NULL) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        const char *c = find_word(text, stop != NULL ? stop : end, at->is_seeds ? "seeds" : "grid", earlier);
        while (c != NULL && c > text && (is_word(c[-1]) || strchr(" \t.({", c[-1]) != NULL)) {
            c--;
        }
        if (c != NULL && c > text && c[-1] == '=' && c - 1 > text && strchr("=~<>", c[-2]) == NULL) {
            for (c--; c > text && (c[-1] == ' ' || c[-1] == '\t'); c--) {
            }
            const char *last = c;
            while (c > text && is_word(c[-1])) {
                c--;
            }
            found = last > c && last - c < 64;
            (void)snprintf(name, NAME_BYTES, "%.*s", found ? (int)(last - c) : 0, c);
        }
    }
    lua_pop(L, 1);
    return found;
}

static const prn__sweep_point *point_called(const prn__sweep_path *path, const char *name)
{
    for (size_t i = 0; i < path->count; i++) {
        if (strcmp(path->points[i].setting.name, name) == 0) {
            return &path->points[i];
        }
    }
    return NULL;
}

/* A name that the recipe does not give is made unique; one that it gives must be. */
static const char *name_point(lua_State *L, const prn__sweep_path *path, const place *at, const char *given)
{
    char base[NAME_BYTES], name[NAME_BYTES + 32];
    if (given != NULL) {
        const prn__sweep_point *other = point_called(path, given);
        if (!prn__is_label(given)) {
            prn__raise(L, PRN_INVALID, at->file, at->line, "%s: the name '%.100s' may have letters, digits, '_', '+' and '-' only, 1 to 64 of them",
                       at->what, given);
        }
        if (other != NULL) {
            prn__raise(L, PRN_CONFLICT, at->file, at->line, "%s: another one is called '%s' (line %d); a value that stands in two places goes into a local"
                       " variable", at->what, given, other->line);
        }
        (void)snprintf(name, sizeof name, "%s", given);
    } else {
        if (at->is_seeds) {
            (void)snprintf(base, sizeof base, "seed");
        } else if (!name_from_text(L, path, at, base)) {
            (void)snprintf(base, sizeof base, "grid");
        }
        (void)snprintf(name, sizeof name, "%s", base);
        for (int n = 1; point_called(path, name) != NULL; n++) {
            (void)snprintf(name, sizeof name, n == 1 ? "%s@%d" : "%s@%d.%d", base, at->line, n);
        }
    }
    const char *kept = prn__arena_strdup(&prn__recipe_host_of(L)->recipe->memory, name);
    if (kept == NULL) {
        prn__raise(L, PRN_NO_MEMORY, NULL, 0, "%s: out of memory", prn__recipe_host_of(L)->recipe->path);
    }
    return kept;
}

/* ---- --set grid.name=value,value ----------------------------------------------------------------------------------------------- */

int prn__sweep_is_setting(const char *name)
{
    return strncmp(name, SETTING, sizeof SETTING - 1) == 0;
}

static int is_same(const char *json, const char *text, size_t length)
{
    const size_t size = strlen(json);
    char own[64], *end;
    if (size == length && memcmp(json, text, length) == 0) {
        return 1;
    }
    if (json[0] == '"') {
        return size == length + 2 && memcmp(json + 1, text, length) == 0;
    }
    if (length == 0 || length >= sizeof own) {
        return 0;
    }
    (void)snprintf(own, sizeof own, "%.*s", (int)length, text);
    const double number = strtod(own, &end);
    if (*end != '\0') {
        return 0;
    }
    const double value = strtod(json, &end);
    return *end == '\0' && value == number;
}

/* Keeps those of the `count` indices in `kept` whose value the setting names; the new count. */
static uint32_t narrow(lua_State *L, const place *at, const char *name, const char *const *values, uint32_t *kept, uint32_t count)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    const char *setting = NULL;
    uint32_t left = 0;
    for (size_t i = 0; i < host->setting_count; i++) {
        if (prn__sweep_is_setting(host->settings[i].name) && strcmp(host->settings[i].name + sizeof SETTING - 1, name) == 0) {
            host->setting_used[i] = 1;
            setting = host->settings[i].value;
        }
    }
    if (setting == NULL) {
        return count;
    }
    for (uint32_t i = 0; i < count && left == 0; i++) { /* a list's text has commas of its own */
        if (is_same(values[i], setting, strlen(setting))) {
            kept[left++] = i;
        }
    }
    if (left > 0) {
        return left;
    }
    for (const char *item = setting; item != NULL;) {
        const char *comma = strchr(item, ',');
        const size_t length = comma != NULL ? (size_t)(comma - item) : strlen(item);
        uint32_t found = count;
        for (uint32_t i = 0; i < count && found == count; i++) {
            found = is_same(values[i], item, length) ? i : count;
        }
        if (found == count) {
            prn__text_clear(&host->path->text);
            for (uint32_t i = 0; i < count && host->path->text.length < 300; i++) {
                prn__text_printf(&host->path->text, "%s%s", i > 0 ? ", " : "", values[i]);
            }
            prn__raise(L, PRN_NOT_FOUND, NULL, 0, "--set %s%s=%.200s: %s (%s:%d) has no value '%.*s'; it has %s", SETTING, name, setting, at->what, at->file,
                       at->line, (int)(length < 100 ? length : 100), item, host->path->text.data != NULL ? host->path->text.data : "");
        }
        int is_new = 1;
        for (uint32_t i = 0; i < left; i++) {
            is_new &= kept[i] != found;
        }
        if (is_new) {
            kept[left++] = found;
        }
        item = comma != NULL ? comma + 1 : NULL;
    }
    return left;
}

/* ---- the calls ------------------------------------------------------------------------------------------------------------------- */

/* The list of values is at stack place `list`; pushes the one that this combination has. */
static int choose(lua_State *L, const place *at, const char *given, int list)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    prn__sweep_path *path = host->path;
    prn__arena *memory = &host->recipe->memory;
    uint32_t count = (uint32_t)lua_rawlen(L, list);
    const char **values = prn__arena_alloc(memory, (count + 1u) * sizeof *values);
    uint32_t *kept = prn__arena_alloc(memory, (count + 1u) * sizeof *kept);
    const char *name = name_point(L, path, at, given), *file = prn__arena_strdup(memory, at->file);
    for (uint32_t i = 0; i < count && values != NULL && kept != NULL; i++) {
        prn__text_clear(&path->text);
        (void)lua_rawgeti(L, list, (lua_Integer)i + 1);
        put_value(at, L, lua_gettop(L), &path->text, 0);
        lua_pop(L, 1);
        kept[i] = i;
        values[i] = path->text.failed ? NULL : prn__arena_strdup(memory, path->text.data);
        if (values[i] == NULL) {
            break;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(values[i], values[j]) == 0) {
                prn__raise(L, PRN_CONFLICT, at->file, at->line, "%s: values %u and %u are the same, %.200s", at->what, j + 1, i + 1, values[i]);
            }
        }
    }
    if (values == NULL || kept == NULL || file == NULL || values[count - 1] == NULL) {
        prn__raise(L, PRN_NO_MEMORY, NULL, 0, "%s: out of memory", host->recipe->path);
    }
    count = narrow(L, at, name, values, kept, count);
    if (path->count == PRN__SWEEP_POINTS) {
        prn__raise(L, PRN_INVALID, at->file, at->line, "%s: a recipe may have %u grids and seeds, and this is one more; is it in a loop?", at->what,
                   PRN__SWEEP_POINTS);
    }
    const uint32_t chosen = path->count < path->wanted_count ? path->wanted[path->count] : 0;
    if (chosen >= count) {
        prn__raise(L, PRN_CONFLICT, at->file, at->line, "%s: has fewer values than a moment ago; the recipe or a file beside it was changed while it was read",
                   at->what);
    }
    path->points[path->count++] = (prn__sweep_point){
        .setting = {.name = name, .value = values[kept[chosen]], .is_seeds = at->is_seeds, .chosen = chosen},
        .file = file, .line = at->line, .arity = count, .chosen = chosen,
    };
    (void)lua_rawgeti(L, list, (lua_Integer)kept[chosen] + 1);
    return 1;
}

/* Checks what both have in common; the place of the values on the stack. */
static int begin(lua_State *L, place *at, const char **given)
{
    prn__library_caller(L, &at->file, &at->line);
    if (prn__recipe_host_of(L)->path == NULL) {
        prn__raise(L, PRN_INVALID, at->file, at->line, "%s is asked while the recipe is read, and not inside a schedule's or a strategy's function; put its"
                   " value into a local variable above", at->what);
    }
    *given = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    const int values = *given != NULL ? 2 : 1;
    if (lua_gettop(L) != values) {
        prn__raise(L, PRN_INVALID, at->file, at->line, at->is_seeds ? "%s takes a number of seeds, or a list of them: p.seeds(3), p.seeds { 1, 2, 3 },"
                   " p.seeds(\"name\", 3)" : "%s takes a list of values: p.grid { 1e-4, 1e-3 }, p.grid(\"name\", { 1e-4, 1e-3 })", at->what);
    }
    return values;
}

/* Raises unless a list of 1 to 1000 values, numbered without a gap, is there. */
static void check_list(lua_State *L, const place *at, int list)
{
    prn__tag tag;
    size_t count = 0;
    if (!lua_istable(L, list) || prn__tag_of(L, list, &tag)) {
        prn__raise(L, PRN_INVALID, at->file, at->line, "%s takes a list of values in braces, not a %s", at->what,
                   lua_istable(L, list) ? "constructor's result" : luaL_typename(L, list));
    }
    const size_t length = lua_rawlen(L, list);
    lua_pushnil(L);
    while (lua_next(L, list) != 0) {
        lua_pop(L, 1);
        count++;
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || (size_t)lua_tointeger(L, -1) > length) {
            prn__raise(L, PRN_INVALID, at->file, at->line, "%s takes a list of values without names and without nil between them", at->what);
        }
    }
    if (count == 0 || count != length || count > PRN__SWEEP_VALUES) {
        prn__raise(L, PRN_INVALID, at->file, at->line, "%s takes 1 to %u values, not %zu%s", at->what, PRN__SWEEP_VALUES, count,
                   count != length ? " with nil between them" : "");
    }
}

int prn__sweep_grid(lua_State *L)
{
    place at = {.what = "p.grid"};
    const char *given;
    const int list = begin(L, &at, &given);
    check_list(L, &at, list);
    return choose(L, &at, given, list);
}

int prn__sweep_seeds(lua_State *L)
{
    place at = {.what = "p.seeds", .is_seeds = 1};
    const char *given;
    const int list = begin(L, &at, &given);
    if (lua_type(L, list) == LUA_TNUMBER) {
        const lua_Integer count = lua_isinteger(L, list) ? lua_tointeger(L, list) : 0;
        if (count < 1 || count > (lua_Integer)PRN__SWEEP_VALUES) {
            prn__raise(L, PRN_INVALID, at.file, at.line, "p.seeds takes 1 to %u seeds, a whole number, or a list of them", PRN__SWEEP_VALUES);
        }
        lua_createtable(L, (int)count, 0);
        for (lua_Integer i = 1; i <= count; i++) {
            lua_pushinteger(L, i);
            lua_rawseti(L, -2, i);
        }
        lua_replace(L, list);
    }
    check_list(L, &at, list);
    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, list); i++) {
        if (lua_rawgeti(L, list, i) != LUA_TNUMBER || !lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0 || lua_tointeger(L, -1) > (lua_Integer)1 << 53) {
            prn__raise(L, PRN_INVALID, at.file, at.line, "p.seeds: value %d is no seed; seeds are whole numbers from 0 to 2^53", (int)i);
        }
        lua_pop(L, 1);
    }
    return choose(L, &at, given, list);
}

/* ---- `sweep` of the recipe ------------------------------------------------------------------------------------------------------- */

static int is_scored(const prn__recipe *recipe, const char *name)
{
    int found = recipe->evaluate == NULL;
    for (size_t i = 0; i < recipe->evaluate_count; i++) {
        found |= strcmp(recipe->evaluate[i], name) == 0;
    }
    return found;
}

/* The names of the sets that are scored, each once; at most `limit`, all of them counted. */
static size_t scored_sets(const prn__recipe_host *host, const prn__evaluation_set **sets, size_t limit)
{
    size_t count = 0;
    for (size_t t = 0; t < host->manifest->step_count; t++) {
        const prn__manifest_step *step = &host->manifest->steps[t];
        for (size_t e = 0; e < step->evaluation_count; e++) {
            int is_new = is_scored(host->recipe, step->evaluations[e].name);
            for (size_t i = 0; i < count && i < limit; i++) {
                is_new &= strcmp(sets[i]->name, step->evaluations[e].name) != 0;
            }
            if (is_new && count < limit) {
                sets[count++] = &step->evaluations[e];
            }
        }
    }
    return count;
}

static void check_score(const prn__view *view, const prn__evaluation_set *set, const char *score)
{
    enum { NAMES = 3 * PRN__RECALL_K_MAX + 3 };
    const prn__recipe *recipe = view->host->recipe;
    char names[NAMES][32], hint[96];
    const char *list[NAMES];
    size_t count = 0;
    if (set->kind == PRN__TASK_RETRIEVAL) {
        static const char *const forms[] = {"recall@%d", "i2t_recall@%d", "t2i_recall@%d"};
        for (size_t k = 0; k < 3 * recipe->recall_k_count; k++) {
            (void)snprintf(names[count++], sizeof names[0], forms[k % 3], recipe->recall_k[k / 3]);
        }
    } else {
        static const char *const fixed[] = {"top1", "top5", "mean_per_class"};
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(names[count++], sizeof names[0], "%s", fixed[k]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        list[i] = names[i];
        if (strcmp(names[i], score) == 0) {
            return;
        }
    }
    prn__text *known = &view->host->path->text;
    prn__text_clear(known);
    for (size_t i = 0; i < count; i++) {
        prn__text_printf(known, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    prn__view_bad(view, "score", PRN_NOT_FOUND, "the set '%s' has no score '%.64s'%s; it has %s", set->name, score,
                  prn__suggest_text(score, list, count, hint, sizeof hint), known->data != NULL ? known->data : "");
}

/* The set to choose on: the one that is named, or the only one. */
static const prn__evaluation_set *choose_set(const prn__view *inner, int has_table)
{
    enum { SETS = 64 };
    const prn__recipe_host *host = inner->host;
    const prn__sweep_path *path = host->path;
    const prn__evaluation_set *sets[SETS];
    const char *names[SETS];
    char hint[160];
    const size_t count = scored_sets(host, sets, SETS);
    const prn__sweep_point *grid = NULL;
    prn_option_value value;
    for (size_t i = 0; i < count; i++) {
        names[i] = sets[i]->name;
    }
    for (size_t i = 0; i < path->count && grid == NULL; i++) {
        grid = !path->points[i].setting.is_seeds && path->points[i].arity > 1 ? &path->points[i] : NULL;
    }
    if (prn__view_read(inner, "on", &value) && value.string[0] != '\0') {
        for (size_t i = 0; i < count; i++) {
            if (strcmp(names[i], value.string) == 0) {
                return sets[i];
            }
        }
        prn__view_bad(inner, "on", PRN_NOT_FOUND, "no evaluation set '%.100s' is scored%s; `on` names one of the stream's that `evaluate` has", value.string,
                      prn__suggest_text(value.string, names, count, hint, sizeof hint));
    }
    if (count > 1 && grid != NULL) {
        prn__text *known = &host->path->text;
        prn__text_clear(known);
        for (size_t i = 0; i < count; i++) {
            prn__text_printf(known, "%s%s", i > 0 ? ", " : "", names[i]);
        }
        const char *list = known->data != NULL ? known->data : "";
        if (has_table) {
            prn__raise(inner->L, PRN_INVALID, inner->file, inner->line, "p.sweep needs `on`: the evaluation set that settings are chosen on, which is then not"
                       " reported; there are %.300s", list);
        }
        prn__raise(inner->L, PRN_INVALID, grid->file, grid->line, "p.grid needs to know on which evaluation set settings are chosen, which is then not"
                   " reported: write sweep = p.sweep { on = \"%.100s\" } into p.recipe; there are %.300s", names[count - 1], list);
    }
    return count > 0 ? sets[0] : NULL;
}

void prn__sweep_read(const prn__view *view)
{
    lua_State *L = view->L;
    prn__recipe_host *host = view->host;
    prn__sweep_path *path = host->path;
    prn_option_value value;
    prn__tag tag;
    const int type = prn__view_push(view, "sweep"), top = lua_gettop(L);
    const int is_tagged = prn__tag_of(L, top, &tag) && strcmp(tag.kind, PRN__TAG_SWEEP) == 0;
    if (type != LUA_TNIL && !is_tagged) {
        prn__view_bad(view, "sweep", PRN_INVALID, "`sweep` is p.sweep { criterion = ..., on = ... }, not %s%s", tag.kind != NULL ? "p." : "a ",
                      tag.kind != NULL ? tag.name : luaL_typename(L, top));
    }
    prn__view inner = prn__view_of(L, PRN__TABLE_SWEEP, "sweep", is_tagged ? top : 0, is_tagged ? tag.file : view->file, is_tagged ? tag.line : view->line);
    prn__view_check_keys(&inner);
    if (path == NULL || (path->count == 0 && !is_tagged)) {
        lua_settop(L, top - 1);
        return;
    }
    prn__recipe_sweep *sweep = prn__view_alloc(view, sizeof *sweep);
    prn__sweep_setting *settings = prn__view_alloc(view, (path->count + 1) * sizeof *settings);
    memset(sweep, 0, sizeof *sweep);
    for (size_t i = 0; i < path->count; i++) {
        settings[i] = path->points[i].setting;
    }
    const prn__evaluation_set *set = choose_set(&inner, is_tagged);
    (void)prn__view_read(&inner, "criterion", &value);
    sweep->criterion = strcmp(value.string, "in_domain") == 0  ? PRN__CRITERION_IN_DOMAIN
                       : strcmp(value.string, "backward") == 0 ? PRN__CRITERION_BACKWARD
                       : strcmp(value.string, "forward") == 0  ? PRN__CRITERION_FORWARD
                                                               : PRN__CRITERION_AVERAGE;
    sweep->score = "";
    if (prn__view_read(&inner, "score", &value) && value.string[0] != '\0') {
        if (set == NULL) {
            prn__view_bad(&inner, "score", PRN_INVALID, "`score` is of the set that settings are chosen on, and nothing is scored");
        }
        check_score(&inner, set, value.string);
        sweep->score = value.string;
    }
    sweep->settings = settings;
    sweep->setting_count = path->count;
    sweep->chosen_on = set != NULL ? prn__view_copy(view, set->name) : "";
    host->recipe->sweep = path->count > 0 ? sweep : NULL; /* p.sweep alone was checked, and means nothing */
    lua_settop(L, top - 1);
}
