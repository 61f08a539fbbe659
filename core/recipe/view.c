/* core/recipe/view.c: see view.h. Values from a table and from `--set` take the same way: as text through the option
 * parser, so that bounds, choices and messages are the same everywhere. */
#include "recipe/view.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "recipe/sweep_choices.h"

static const prn_option *at(const prn_option *fields, uint32_t index)
{
    return (const prn_option *)(const void *)((const char *)fields + (size_t)index * fields->struct_size); /* a plugin's may be longer */
}

const prn_option *prn__view_field(const prn__view *view, const char *key)
{
    for (uint32_t i = 0; i < view->count; i++) {
        if (strcmp(at(view->fields, i)->name, key) == 0) {
            return at(view->fields, i);
        }
    }
    for (uint32_t i = 0; i < view->more_count; i++) {
        if (strcmp(at(view->more, i)->name, key) == 0) {
            return at(view->more, i);
        }
    }
    return NULL;
}

void *prn__view_alloc(const prn__view *view, size_t bytes)
{
    void *block = prn__arena_alloc(&view->host->recipe->memory, bytes);
    if (block == NULL) {
        prn__raise(view->L, PRN_NO_MEMORY, NULL, 0, "%s: out of memory", view->host->recipe->path);
    }
    return block;
}

const char *prn__view_copy(const prn__view *view, const char *text)
{
    const char *copy = prn__arena_strdup(&view->host->recipe->memory, text);
    if (copy == NULL) {
        prn__raise(view->L, PRN_NO_MEMORY, NULL, 0, "%s: out of memory", view->host->recipe->path);
    }
    return copy;
}

const char *prn__view_path(const prn__view *view, const char *key)
{
    size_t bytes = strlen(view->path) + strlen(key) + 2;
    char *path = prn__view_alloc(view, bytes);
    (void)snprintf(path, bytes, "%s%s%s", view->path, view->path[0] != '\0' ? "." : "", key);
    return path;
}

static int is_setting_of(const prn__view *view, const char *name, const char *key)
{
    size_t length = strlen(view->path);
    if (length > 0) {
        if (strncmp(name, view->path, length) != 0 || name[length] != '.') {
            return 0;
        }
        name += length + 1;
    }
    return strcmp(name, key) == 0;
}

const char *prn__view_setting(const prn__view *view, const char *key)
{
    const char *value = NULL;
    for (size_t i = 0; i < view->host->setting_count; i++) {
        if (is_setting_of(view, view->host->settings[i].name, key)) {
            view->host->setting_used[i] = 1;
            value = view->host->settings[i].value;
        }
    }
    return value;
}

int prn__view_line(const prn__view *view, const char *key)
{
    int line = view->line;
    size_t length;
    if (view->index == 0 || view->file == NULL) {
        return line;
    }
    prn__sandbox_source(view->L, view->file);
    const char *text = lua_type(view->L, -1) == LUA_TSTRING ? lua_tolstring(view->L, -1, &length) : NULL;
    if (text != NULL) {
        line = prn__key_line(text, length, view->line, key);
    }
    lua_pop(view->L, 1);
    return line;
}

void prn__view_bad(const prn__view *view, const char *key, prn_status status, const char *format, ...)
{
    char message[PRN_ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    const char *setting = key != NULL ? prn__view_setting(view, key) : NULL;
    if (setting != NULL) {
        prn__raise(view->L, status, NULL, 0, "--set %s%s%s=%.200s: %s", view->path, view->path[0] != '\0' ? "." : "", key, setting, message);
    }
    prn__raise(view->L, status, view->file, key != NULL ? prn__view_line(view, key) : view->line, "%s", message);
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------ */

enum { NAME_LIMIT = 128 };

static const char *suggestion(const prn__view *view, const char *key, char *target, size_t bytes)
{
    const char *names[NAME_LIMIT];
    size_t count = 0;
    for (uint32_t i = 0; i < view->count && count < NAME_LIMIT; i++) {
        names[count++] = at(view->fields, i)->name;
    }
    for (uint32_t i = 0; i < view->more_count && count < NAME_LIMIT; i++) {
        names[count++] = at(view->more, i)->name;
    }
    return prn__suggest_text(key, names, count, target, bytes);
}

/* "takes none", "takes peak, warmup" */
static const char *known_keys(const prn__view *view, char *target, size_t bytes)
{
    size_t used = (size_t)snprintf(target, bytes, "takes %s", view->count + view->more_count == 0 ? "none" : "");
    for (uint32_t i = 0; i < view->count + view->more_count; i++) {
        const char *name = i < view->count ? at(view->fields, i)->name : at(view->more, i - view->count)->name;
        int more = snprintf(target + used, bytes - used, "%s%s", i > 0 ? ", " : "", name);
        if (more < 0 || (size_t)more >= bytes - used) {
            target[used] = '\0';
            break;
        }
        used += (size_t)more;
    }
    return target;
}

void prn__view_check_keys(const prn__view *view)
{
    lua_State *L = view->L;
    char hint[160], keys[512];
    if (view->index != 0) {
        lua_pushnil(L);
        while (lua_next(L, view->index) != 0) {
            lua_pop(L, 1);
            if (lua_type(L, -1) != LUA_TSTRING) {
                prn__raise(L, PRN_INVALID, view->file, view->line, "%s has a value without a key; write key = value (it %s)", view->what,
                           known_keys(view, keys, sizeof keys));
            }
            const char *key = lua_tostring(L, -1);
            if (prn__view_field(view, key) == NULL) {
                prn__raise(L, PRN_INVALID, view->file, prn__view_line(view, key), "%s has no key '%.100s'%s; it %s", view->what, key,
                           suggestion(view, key, hint, sizeof hint), known_keys(view, keys, sizeof keys));
            }
        }
    }
    size_t length = strlen(view->path);
    for (size_t i = 0; i < view->host->setting_count; i++) {
        const char *name = view->host->settings[i].name, *rest = name;
        if (length > 0) {
            if (strncmp(name, view->path, length) != 0 || name[length] != '.') {
                continue;
            }
            rest = name + length + 1;
        }
        if (length == 0 && prn__sweep_is_setting(name)) {
            continue;
        }
        char key[128];
        (void)snprintf(key, sizeof key, "%.*s", (int)strcspn(rest, "."), rest);
        if (prn__view_field(view, key) == NULL) {
            prn__raise(L, PRN_INVALID, NULL, 0, "--set %.200s=%.200s: %s has no key '%s'%s; it %s", name, view->host->settings[i].value,
                       view->what, key, suggestion(view, key, hint, sizeof hint), known_keys(view, keys, sizeof keys));
        }
    }
}

/* ---- values ---------------------------------------------------------------------------------------------------------------- */

int prn__view_push(const prn__view *view, const char *key)
{
    if (view->index == 0) {
        lua_pushnil(view->L);
        return LUA_TNIL;
    }
    lua_pushstring(view->L, key);
    return lua_rawget(view->L, view->index);
}

/* A number on top of the stack as text that reads back as the same number. */
static const char *number_text(const prn__view *view, const prn_option *field, int index)
{
    lua_State *L = view->L;
    char text[40];
    if (lua_isinteger(L, index)) {
        (void)snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(L, index));
    } else {
        double number = lua_tonumber(L, index);
        if (field->type == PRN_OPTION_INTEGER && number == floor(number) && fabs(number) < 1e15) {
            (void)snprintf(text, sizeof text, "%.0f", number); /* 1e6 is a whole number, too */
        } else {
            (void)snprintf(text, sizeof text, "%.17g", number);
        }
    }
    return prn__view_copy(view, text);
}

static _Noreturn void wrong_type(const prn__view *view, const prn_option *field, const char *wanted, int index)
{
    prn__view_bad(view, field->name, PRN_INVALID, "%s: `%s` must be %s, not a %s (%s)", view->what, field->name, wanted,
                  luaL_typename(view->L, index), field->help);
}

static const char *list_text(const prn__view *view, const prn_option *field)
{
    lua_State *L = view->L;
    int index = lua_gettop(L);
    size_t count = lua_rawlen(L, index), used = 0, bytes;
    if (count > 100000) {
        prn__view_bad(view, field->name, PRN_INVALID, "%s: `%s` has %zu numbers; 100000 is the most", view->what, field->name, count);
    }
    bytes = count * 40 + 1;
    char *text = prn__view_alloc(view, bytes);
    for (size_t i = 1; i <= count; i++) {
        if (lua_rawgeti(L, index, (lua_Integer)i) != LUA_TNUMBER) {
            wrong_type(view, field, "a list of numbers", -1);
        }
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i > 1 ? "," : "", number_text(view, field, -1));
        lua_pop(L, 1);
    }
    return text;
}

/* The value on top of the stack as text. */
static const char *value_text(const prn__view *view, const prn_option *field)
{
    lua_State *L = view->L;
    int type = lua_type(L, -1);
    const int is_plain = field->type == PRN_OPTION_BOOL || field->type == PRN_OPTION_INTEGER || field->type == PRN_OPTION_REAL;
    char word[96] = "";
    if (is_plain && field->choices != NULL) {
        if (type == LUA_TSTRING && prn__option_has_choice(field, lua_tostring(L, -1))) {
            return prn__view_copy(view, lua_tostring(L, -1)); /* a word that may stand for a number or a switch */
        }
        (void)snprintf(word, sizeof word, strchr(field->choices, '|') != NULL ? "%s, or one of %.40s" : "%s, or \"%.40s\"",
                       field->type == PRN_OPTION_BOOL ? "true, false" : "a number", field->choices);
    }
    switch (field->type) {
    case PRN_OPTION_BOOL:
        if (type != LUA_TBOOLEAN) {
            wrong_type(view, field, word[0] != '\0' ? word : "true or false", -1);
        }
        return lua_toboolean(L, -1) ? "true" : "false";
    case PRN_OPTION_INTEGER:
    case PRN_OPTION_REAL:
        if (type != LUA_TNUMBER) {
            wrong_type(view, field, word[0] != '\0' ? word : "a number", -1);
        }
        return number_text(view, field, -1);
    case PRN_OPTION_REAL_LIST:
        if (type == LUA_TNUMBER) {
            return number_text(view, field, -1);
        }
        if (type != LUA_TTABLE) {
            wrong_type(view, field, "a number or a list of numbers", -1);
        }
        return list_text(view, field);
    default:
        if (type != LUA_TSTRING) {
            wrong_type(view, field, "a string", -1);
        }
        if (strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1)) {
            prn__view_bad(view, field->name, PRN_INVALID, "%s: `%s` holds a zero byte", view->what, field->name);
        }
        return prn__view_copy(view, lua_tostring(L, -1));
    }
}

const char *prn__view_text(const prn__view *view, const char *key)
{
    const char *text = prn__view_setting(view, key);
    if (text == NULL) {
        if (prn__view_push(view, key) != LUA_TNIL) {
            text = value_text(view, prn__view_field(view, key));
        }
        lua_pop(view->L, 1);
    }
    return text;
}

int prn__view_read(const prn__view *view, const char *key, prn_option_value *value)
{
    const prn_option *field = prn__view_field(view, key);
    const char *given = prn__view_text(view, key);
    const prn__option_pair pair = {key, given != NULL ? given : field->preset};
    prn__options *options = NULL;
    prn_error problem = PRN_ERROR_INIT;
    memset(value, 0, sizeof *value);
    if (pair.value == NULL) {
        prn__raise(view->L, PRN_INVALID, view->file, view->line, "%s needs `%s`: %s", view->what, key, field->help);
    }
    if (given == NULL && field->type == PRN_OPTION_INTEGER && strcmp(field->preset, "0") == 0) {
        return 0; /* "0" may lie outside the bounds: it stands for "not given" */
    }
    if (given == NULL && field->type == PRN_OPTION_REAL && strcmp(field->preset, "0") == 0) {
        return 0;
    }
    if (prn__options_parse(view->what, field, 1, &pair, 1, &options, &problem) != PRN_OK) {
        prn__view_bad(view, key, (prn_status)problem.status, "%s", problem.message);
    }
    *value = *prn__options_values(options);
    const char *string = value->string;
    const double *list = value->list;
    prn__arena *memory = &view->host->recipe->memory; /* not by prn__view_alloc: `options` must not be lost to a raise */
    value->string = string != NULL ? prn__arena_strdup(memory, string) : NULL;
    value->list = value->list_count > 0 ? prn__arena_alloc(memory, value->list_count * sizeof *list) : NULL;
    int failed = (string != NULL && value->string == NULL) || (value->list_count > 0 && value->list == NULL);
    if (!failed && value->list_count > 0) {
        memcpy((double *)(uintptr_t)value->list, list, value->list_count * sizeof *list);
    }
    prn__options_destroy(options);
    if (failed) {
        prn__raise(view->L, PRN_NO_MEMORY, NULL, 0, "%s: out of memory", view->host->recipe->path);
    }
    return given != NULL;
}
