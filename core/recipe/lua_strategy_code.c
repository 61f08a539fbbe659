/* core/recipe/lua_strategy_code.c: what the functions of a strategy are made of, as a digest that stands for them in stage keys.
 *
 * A key must change with everything that can change a stage's bytes, and should change with nothing else: not with comments, and not with
 * the strategy next door. So from the functions on, everything is followed that they can reach: code without names and lines, constants,
 * variables, tables, metatables, the globals that they name, and the metatable of texts. What cannot be followed makes the digest
 * incomplete, and then the caller adds the whole text of the recipe:
 *
 * - functions of C that are no library function as it was before the recipe ran; userdata, coroutines;
 * - a use of _ENV other than reading a global by its name, and globals with a metatable;
 * - pcall and xpcall: a caught message has file names and line numbers; next: its order has the history of the table in it; require;
 * - tables with keys that are no booleans, numbers or texts, or with holes, whose length depends on how they were filled;
 * - code of another Lua than 5.4.
 *
 * The format of compiled functions is that of ldump.c and lopcodes.h of Lua 5.4.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "recipe/lua_strategy.h"

enum { OPCODE_GETUPVAL = 9, OPCODE_SETUPVAL = 10, OPCODE_GETTABUP = 11, OPCODE_SETTABUP = 15 };
enum { UPVALUE_LIMIT = 256, DEPTH_LIMIT = 100 };

static const char KNOWN[] = "prn.known"; /* registry: library function -> its name */

typedef struct content {
    lua_State *L;
    int seen, list; /* number of each object; the objects, in the order in which they are met */
    lua_Integer count, variable_count;
    prn__digest digest;
    int is_complete;
} content;

static void take(content *c, uint64_t value)
{
    c->digest.low = prn__lua_mix(c->digest.low, value);
    c->digest.high = prn__lua_mix(c->digest.high ^ 0xa5a5a5a5a5a5a5a5ull, value);
}

static void take_bytes(content *c, const void *bytes, size_t length)
{
    take(c, length);
    take(c, prn__hash_bytes(bytes, length).low);
}

static int is_globals(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    (void)lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    int same = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    return same;
}

/* The value on top of the stack; an object by the number under which it is met. Pops it. */
static void take_value(content *c)
{
    lua_State *L = c->L;
    int type = lua_type(L, -1);
    take(c, (uint64_t)type);
    if (type == LUA_TTABLE || type == LUA_TFUNCTION) {
        lua_pushvalue(L, -1);
        if (lua_rawget(L, c->seen) == LUA_TNIL) {
            lua_pushvalue(L, -2);
            lua_pushinteger(L, ++c->count);
            lua_rawset(L, c->seen);
            lua_pushvalue(L, -2);
            lua_rawseti(L, c->list, c->count);
            take(c, (uint64_t)c->count);
        } else {
            take(c, (uint64_t)lua_tointeger(L, -1));
        }
        lua_pop(L, 1);
    } else if (type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING) {
        take(c, prn__lua_hash(L, -1));
    } else {
        c->is_complete = 0;
    }
    lua_pop(L, 1);
}

/* ---- tables ---------------------------------------------------------------------------------------------------------------------- */

typedef struct key_place {
    int rank; /* booleans, numbers, texts */
    lua_Number number;
    const char *text; /* alive in the table */
    size_t length;
} key_place;

static int compare_places(const void *left, const void *right)
{
    const key_place *a = left, *b = right;
    if (a->rank != b->rank || a->text == NULL) {
        return a->rank != b->rank ? (a->rank > b->rank) - (a->rank < b->rank) : (a->number > b->number) - (a->number < b->number);
    }
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, shorter);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static void take_table(content *c, int index)
{
    lua_State *L = c->L;
    size_t count = 0;
    lua_Unsigned places_of_list = 0;
    uint64_t others = 0;
    c->is_complete &= !is_globals(L, index);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        count++;
    }
    key_place *places = lua_newuserdatauv(L, (count + 1) * sizeof *places, 0);
    memset(places, 0, (count + 1) * sizeof *places);
    count = 0;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        int type = lua_type(L, -2);
        key_place *place = &places[count];
        lua_pop(L, 1);
        if (type != LUA_TBOOLEAN && type != LUA_TNUMBER && type != LUA_TSTRING) {
            c->is_complete = 0;
            lua_pushvalue(L, -1); /* these have no order that is the same in every process: a sum */
            (void)lua_rawget(L, index);
            int plain = lua_type(L, -1) != LUA_TTABLE && lua_type(L, -1) != LUA_TFUNCTION && lua_type(L, -1) != LUA_TUSERDATA;
            others += plain ? prn__lua_hash(L, -1) : 1;
            lua_pop(L, 1);
            continue;
        }
        if (lua_isinteger(L, -1)) {
            const lua_Integer whole = lua_tointeger(L, -1), limit = (lua_Integer)1 << 53;
            c->is_complete &= whole >= -limit && whole <= limit; /* beyond, two of them may be one number */
            places_of_list += whole >= 1;
        }
        place->rank = type;
        place->number = type == LUA_TBOOLEAN ? lua_toboolean(L, -1) : type == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        place->text = type == LUA_TSTRING ? lua_tolstring(L, -1, &place->length) : NULL;
        count++;
    }
    c->is_complete &= places_of_list == lua_rawlen(L, index);
    qsort(places, count, sizeof *places, compare_places);
    take(c, others);
    take(c, count);
    for (size_t i = 0; i < count; i++) {
        if (places[i].text != NULL) {
            lua_pushlstring(L, places[i].text, places[i].length);
        } else if (places[i].rank == LUA_TBOOLEAN) {
            lua_pushboolean(L, places[i].number != 0);
        } else {
            lua_pushnumber(L, places[i].number); /* finds whole numbers, too */
        }
        take(c, prn__lua_hash(L, -1));
        (void)lua_rawget(L, index);
        take_value(c);
    }
    if (lua_getmetatable(L, index)) {
        take(c, 1);
        take_value(c);
    }
}

/* ---- compiled functions ---------------------------------------------------------------------------------------------------------- */

typedef struct code_reader {
    content *c;
    const unsigned char *at, *end;
    int failed; /* it is not what Lua 5.4 writes */
} code_reader;

static const unsigned char *skip(code_reader *r, size_t bytes)
{
    const unsigned char *from = r->at;
    if (r->failed || (size_t)(r->end - r->at) < bytes) {
        r->failed = 1;
        return NULL;
    }
    r->at += bytes;
    return from;
}

static unsigned read_byte(code_reader *r)
{
    const unsigned char *byte = skip(r, 1);
    return byte != NULL ? *byte : 0;
}

/* Seven bits a byte, the highest first; the last one has its eighth bit set. */
static size_t read_size(code_reader *r)
{
    size_t size = 0;
    for (unsigned byte = 0; (byte & 0x80) == 0 && !r->failed;) {
        byte = read_byte(r);
        r->failed |= size > (SIZE_MAX >> 8);
        size = size << 7 | (byte & 0x7f);
    }
    return r->failed ? 0 : size;
}

static const char *read_text(code_reader *r, size_t *length)
{
    size_t size = read_size(r);
    *length = size > 0 ? size - 1 : 0;
    return size > 0 ? (const char *)skip(r, size - 1) : NULL;
}

typedef struct constant {
    const char *text; /* NULL: no text */
    size_t length;
} constant;

/* A global that the code names: its name and its value. */
static void take_global(content *c, const constant *name)
{
    lua_State *L = c->L;
    take_bytes(c, name->text, name->length);
    (void)lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushlstring(L, name->text, name->length);
    (void)lua_rawget(L, -2);
    lua_remove(L, -2);
    take_value(c);
}

/* What the code does with variables that hold the globals. */
static void take_globals(code_reader *r, const unsigned char *code, size_t count, const unsigned char *holds_globals, const constant *constants,
                         size_t constant_count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, code + 4 * i, sizeof word);
        const uint32_t opcode = word & 0x7f, a = word >> 7 & 0xff, b = word >> 16 & 0xff, k = word >> 24;
        if (opcode == OPCODE_GETTABUP && holds_globals[b] && (k >= constant_count || constants[k].text == NULL)) {
            r->failed = 1;
        } else if (opcode == OPCODE_GETTABUP && holds_globals[b]) {
            take_global(r->c, &constants[k]);
        } else if (((opcode == OPCODE_GETUPVAL || opcode == OPCODE_SETUPVAL) && holds_globals[b]) || (opcode == OPCODE_SETTABUP && holds_globals[a])) {
            r->c->is_complete = 0;
        }
    }
}

/* One function and those inside it. `holds_globals` (UPVALUE_LIMIT): which of its variables do; NULL: `outer` tells, that of the function
 * around it. */
static void take_function(code_reader *r, const unsigned char *holds_globals, const unsigned char *outer, int depth)
{
    lua_State *L = r->c->L;
    unsigned char own[UPVALUE_LIMIT] = {0};
    size_t length;
    if (depth > DEPTH_LIMIT) {
        r->failed = 1;
        return;
    }
    luaL_checkstack(L, 10, "a strategy's code");
    (void)read_text(r, &length); /* the file's name */
    (void)read_size(r);          /* its first line, its last one */
    (void)read_size(r);
    const unsigned char *shape = skip(r, 3); /* parameters, whether there may be more, registers */
    const size_t code_count = read_size(r);
    const unsigned char *code = code_count <= (size_t)(r->end - r->at) / 4 ? skip(r, 4 * code_count) : skip(r, SIZE_MAX);
    const size_t constant_count = read_size(r);
    const unsigned char *constants_from = r->at;
    if (r->failed || constant_count > (size_t)(r->end - r->at)) {
        r->failed = 1;
        return;
    }
    constant *constants = lua_newuserdatauv(L, (constant_count + 1) * sizeof *constants, 0);
    memset(constants, 0, (constant_count + 1) * sizeof *constants);
    for (size_t i = 0; i < constant_count && !r->failed; i++) {
        switch (read_byte(r)) {
        case 0x00: /* nil, false, true */
        case 0x01:
        case 0x11:
            break;
        case 0x03: /* whole numbers, others */
        case 0x13:
            (void)skip(r, 8);
            break;
        case 0x04: /* short texts, long ones */
        case 0x14:
            constants[i].text = read_text(r, &constants[i].length);
            r->failed |= constants[i].text == NULL;
            break;
        default:
            r->failed = 1;
        }
    }
    const unsigned char *constants_to = r->at;
    const size_t upvalue_count = read_size(r);
    const unsigned char *upvalues = upvalue_count < UPVALUE_LIMIT ? skip(r, 3 * upvalue_count) : skip(r, SIZE_MAX); /* in the stack, which, kind */
    if (r->failed) {
        return;
    }
    for (size_t i = 0; i < upvalue_count; i++) {
        own[i] = holds_globals != NULL ? holds_globals[i] : upvalues[3 * i] == 0 && outer[upvalues[3 * i + 1]];
    }
    take_bytes(r->c, shape, 3);
    take_bytes(r->c, code, 4 * code_count);
    take_bytes(r->c, constants_from, (size_t)(constants_to - constants_from));
    take_bytes(r->c, upvalues, 3 * upvalue_count);
    take_globals(r, code, code_count, own, constants, constant_count);
    lua_pop(L, 1);
    const size_t inner = read_size(r);
    take(r->c, inner);
    for (size_t i = 0; i < inner && !r->failed; i++) {
        take_function(r, NULL, own, depth + 1);
    }
    for (int i = 0; i < 4; i++) { /* lines and names were left out */
        r->failed |= read_size(r) != 0;
    }
}

typedef struct code_text {
    luaL_Buffer buffer;
    int is_open;
} code_text;

static int add_code(lua_State *L, const void *bytes, size_t length, void *context)
{
    code_text *text = context;
    if (!text->is_open) { /* here and not before: the function must be on top of the stack when lua_dump begins */
        text->is_open = 1;
        luaL_buffinit(L, &text->buffer);
    }
    luaL_addlstring(&text->buffer, bytes, length);
    return 0;
}

static void take_code(content *c, int index, const unsigned char *holds_globals)
{
    static const unsigned char head[] = {0x1b, 'L', 'u', 'a', 0x54, 0, 0x19, 0x93, '\r', '\n', 0x1a, '\n', 4, 8, 8};
    lua_State *L = c->L;
    code_text text = {.is_open = 0};
    size_t length = 0;
    lua_pushvalue(L, index);
    if (lua_dump(L, add_code, &text, 1) != 0 || !text.is_open) {
        c->is_complete = 0;
        return;
    }
    luaL_pushresult(&text.buffer);
    const unsigned char *bytes = (const unsigned char *)lua_tolstring(L, -1, &length);
    code_reader r = {.c = c, .at = bytes, .end = bytes + length};
    const unsigned char *found = skip(&r, sizeof head);
    r.failed |= found == NULL || memcmp(found, head, sizeof head) != 0;
    (void)skip(&r, 16 + 1); /* a whole number and another one, for comparison; how many variables it has */
    take_function(&r, holds_globals, NULL, 0);
    if (r.failed || r.at != r.end) {
        c->is_complete = 0;
        take_bytes(c, bytes, length);
    }
}

/* ---- functions ------------------------------------------------------------------------------------------------------------------- */

static int is_unsafe(const char *name)
{
    static const char *const names[] = {"pcall", "xpcall", "next", "require"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* 1 when the function is one of a library, as the libraries were before the recipe ran. */
static int take_known(content *c, int index)
{
    lua_State *L = c->L;
    const char *name = NULL;
    size_t length = 0;
    if (lua_getfield(L, LUA_REGISTRYINDEX, KNOWN) == LUA_TTABLE) {
        lua_pushvalue(L, index);
        name = lua_rawget(L, -2) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
    }
    if (name == NULL) {
        c->is_complete = 0;
        return 0;
    }
    take_bytes(c, name, length);
    c->is_complete &= !is_unsafe(name);
    return 1;
}

static void take_function_value(content *c, int index)
{
    lua_State *L = c->L;
    unsigned char holds_globals[UPVALUE_LIMIT] = {0};
    const int is_lua = !lua_iscfunction(L, index);
    if (!is_lua && take_known(c, index)) {
        return;
    }
    for (int k = 1; k < UPVALUE_LIMIT && lua_getupvalue(L, index, k) != NULL; k++) {
        holds_globals[k - 1] = is_lua && is_globals(L, -1);
        if (is_lua) { /* a variable that functions share is one */
            lua_pushlightuserdata(L, lua_upvalueid(L, index, k));
            if (lua_rawget(L, c->seen) == LUA_TNIL) {
                lua_pushlightuserdata(L, lua_upvalueid(L, index, k));
                lua_pushinteger(L, ++c->variable_count);
                lua_rawset(L, c->seen);
                take(c, (uint64_t)c->variable_count);
            } else {
                take(c, (uint64_t)lua_tointeger(L, -1));
            }
            lua_pop(L, 1);
        }
        if (holds_globals[k - 1]) {
            take(c, 0x676c6f62616c73);
            lua_pop(L, 1);
        } else {
            take_value(c);
        }
    }
    if (is_lua) {
        take_code(c, index, holds_globals);
    }
}

prn__digest prn__lua_content(lua_State *L, const int *functions, size_t count, int *is_complete)
{
    content c = {.L = L, .digest = {1, 2}, .is_complete = 1};
    int top = lua_gettop(L);
    luaL_checkstack(L, 60, "a strategy's functions");
    lua_newtable(L);
    c.seen = lua_gettop(L);
    lua_newtable(L);
    c.list = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        (void)lua_rawgeti(L, LUA_REGISTRYINDEX, functions[i]); /* nil for LUA_NOREF */
        take_value(&c);
    }
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) {
        take_value(&c);
    }
    (void)lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    c.is_complete &= !lua_getmetatable(L, -1);
    lua_settop(L, c.list);
    for (lua_Integer i = 1; i <= c.count; i++) {
        (void)lua_rawgeti(L, c.list, i);
        int index = lua_gettop(L);
        if (lua_istable(L, index)) {
            take_table(&c, index);
        } else {
            take_function_value(&c, index);
        }
        lua_settop(L, c.list);
    }
    lua_settop(L, top);
    *is_complete = c.is_complete;
    return c.digest;
}

/* Notes the functions of the table on top of the stack, and pops it. One that has several names (math.atan, math.atan2) gets the first in
 * the order of texts: that of the table is another one in each process. */
static void know(lua_State *L, int known, const char *library)
{
    int table = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        if (lua_iscfunction(L, -1) && lua_type(L, -2) == LUA_TSTRING) {
            (void)lua_pushfstring(L, "%s%s", library, lua_tostring(L, -2));
            lua_pushvalue(L, -2);
            if (lua_rawget(L, known) != LUA_TSTRING || strcmp(lua_tostring(L, -2), lua_tostring(L, -1)) < 0) {
                lua_pushvalue(L, -3);
                lua_pushvalue(L, -3);
                lua_rawset(L, known);
            }
            lua_pop(L, 2);
        }
        lua_pop(L, 1);
    }
    lua_settop(L, table - 1);
}

void prn__lua_know_libraries(lua_State *L)
{
    static const char *const libraries[][2] = {{"string", "string."}, {"table", "table."}, {"math", "math."}, {"utf8", "utf8."}};
    lua_newtable(L);
    int known = lua_gettop(L);
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        if (lua_getglobal(L, libraries[i][0]) == LUA_TTABLE) {
            know(L, known, libraries[i][1]);
        }
        lua_settop(L, known);
    }
    (void)lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    know(L, known, "");
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) {
        know(L, known, "text:");
    }
    lua_settop(L, known);
    lua_setfield(L, LUA_REGISTRYINDEX, KNOWN);
}
