/* core/recipe/recipe_host.c: see recipe_host.h. Loads a recipe: opens the sandbox, runs the file, translates the result.
 *
 * The Lua state stays open while the recipe lives only when something in it is asked later: a schedule that is a function, or a
 * strategy of the recipe's own.
 */
#include "recipe/recipe_host.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "recipe/host.h"
#include "recipe/sweep.h"
#include "recipe/sweep_choices.h"

static const size_t DEFAULT_MEMORY_BYTES = (size_t)256 << 20;
static const int64_t DEFAULT_INSTRUCTIONS = 200000000;
static const int64_t RATE_INSTRUCTIONS = 1000000; /* of one call of a schedule function */

static int prepare(lua_State *L)
{
    prn__sandbox_libraries(L);
    return 0;
}

static int run(lua_State *L)
{
    prn__sandbox_run_recipe(L);
    prn__recipe_translate(L);
    return 0;
}

/* ---- schedule functions -------------------------------------------------------------------------------------------------------- */

typedef struct rate_question {
    int64_t step, total, time_step;
    int is_fresh;
    double rate;
} rate_question;

static int ask_rate(lua_State *L)
{
    rate_question *question = lua_touserdata(L, 1);
    prn__recipe_host *host = prn__recipe_host_of(L);
    lua_Debug record;
    lua_rawgeti(L, LUA_REGISTRYINDEX, host->schedule_ref);
    lua_pushvalue(L, -1);
    (void)lua_getinfo(L, ">S", &record);
    lua_pushinteger(L, question->step);
    lua_pushinteger(L, question->total);
    lua_pushinteger(L, question->time_step);
    lua_pushboolean(L, question->is_fresh);
    lua_call(L, 4, 1);
    if (lua_type(L, -1) != LUA_TNUMBER) {
        prn__raise(L, PRN_INVALID, record.source[0] == '@' ? record.source + 1 : host->recipe->path, record.linedefined,
                   "the schedule function returned a %s and not a number (update %d of %d, time step %d)", luaL_typename(L, -1), (int)question->step,
                   (int)question->total, (int)question->time_step);
    }
    question->rate = lua_tonumber(L, -1);
    if (!isfinite(question->rate) || question->rate < 0) {
        prn__raise(L, PRN_INVALID, record.source[0] == '@' ? record.source + 1 : host->recipe->path, record.linedefined,
                   "the schedule function returned %f; a learning rate is 0 or more (update %d of %d, time step %d)", question->rate, (int)question->step,
                   (int)question->total, (int)question->time_step);
    }
    return 0;
}

static prn_status schedule_rate(void *self, int64_t step, int64_t total, int64_t time_step, int is_fresh, double *rate, prn_error *error)
{
    rate_question question = {step, total, time_step, is_fresh, 0};
    prn_status status = prn__sandbox_call(self, ask_rate, &question, 0, RATE_INSTRUCTIONS, error);
    *rate = question.rate;
    return status;
}

/* ---- loading ---------------------------------------------------------------------------------------------------------------------- */

static void host_destroy(prn__recipe_host *host)
{
    if (host != NULL) {
        if (host->L != NULL) {
            lua_close(host->L);
        }
        if (host->manifest != NULL) {
            prn__manifest_destroy(host->manifest);
        }
        if (host->tokenizer != NULL) {
            prn__tokenizer_close(host->tokenizer);
        }
        prn__free(host->scratch);
        prn__free(host->setting_used);
        prn__free(host);
    }
}

static prn_status no_memory(const char *path, prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
}

static char *without_slash(prn__arena *memory, const char *path)
{
    char *copy = prn__arena_strdup(memory, path);
    for (size_t length = copy != NULL ? strlen(copy) : 0; length > 1 && copy[length - 1] == '/'; length--) {
        copy[length - 1] = '\0';
    }
    return copy;
}

static prn_status host_init(prn__recipe_host *host, const prn__recipe_settings *settings, prn_error *error)
{
    prn__recipe *recipe = host->recipe;
    prn__option_pair *pairs = prn__arena_alloc(&recipe->memory, (settings->setting_count + 1) * sizeof *pairs);
    char *folder = prn__path_folder(recipe->path);
    host->folder = folder != NULL ? prn__arena_strdup(&recipe->memory, folder) : NULL;
    prn__free(folder);
    host->library = without_slash(&recipe->memory, settings->library);
    host->setting_used = prn__alloc(settings->setting_count + 1);
    if (pairs == NULL || host->folder == NULL || host->library == NULL || host->setting_used == NULL) {
        return no_memory(recipe->path, error);
    }
    for (size_t i = 0; i < settings->setting_count; i++) {
        pairs[i].name = prn__arena_strdup(&recipe->memory, settings->settings[i].name);
        pairs[i].value = prn__arena_strdup(&recipe->memory, settings->settings[i].value);
        if (pairs[i].name == NULL || pairs[i].value == NULL) {
            return no_memory(recipe->path, error);
        }
    }
    host->settings = pairs;
    host->setting_count = settings->setting_count;
    host->memory_limit = settings->memory_limit_bytes > 0 ? settings->memory_limit_bytes : DEFAULT_MEMORY_BYTES;
    host->instruction_limit = settings->instruction_limit > 0 ? settings->instruction_limit : DEFAULT_INSTRUCTIONS;
    host->schedule_ref = LUA_NOREF;
    host->error.struct_size = sizeof host->error;
    host->L = prn__sandbox_open(host);
    return host->L != NULL ? PRN_OK : no_memory(recipe->path, error);
}

/* The recipe's own text, for the record. */
static prn_status keep_text(prn__recipe *recipe, prn_error *error)
{
    char *text = NULL;
    size_t bytes;
    prn_status status = prn__file_read(recipe->path, 1 << 20, &text, &bytes, error);
    if (status == PRN_OK && memchr(text, 0, bytes) != NULL) {
        status = prn_error_set(error, PRN_INVALID, "%s: holds a zero byte and is no recipe; recipes are Lua text", recipe->path);
    }
    if (status == PRN_OK && (recipe->text = prn__arena_strdup(&recipe->memory, text)) == NULL) {
        status = no_memory(recipe->path, error);
    }
    prn__free(text);
    return status;
}

prn_status prn__recipe_load_chosen(const char *path, const prn__recipe_settings *settings, prn__registry *registry, prn__sweep_path *choices,
                                   unsigned char *used, prn__recipe **result, prn_error *error)
{
    prn__recipe_host *host = NULL;
    prn_error own = PRN_ERROR_INIT;
    prn_status status;
    *result = NULL;
    error = error != NULL ? error : &own;
    if (settings->library == NULL) {
        return prn_error_set(error, PRN_INVALID, "%s: the folder of the recipe library is not known", path);
    }
    prn__recipe *recipe = prn__alloc(sizeof *recipe);
    if (recipe == NULL) {
        return no_memory(path, error);
    }
    prn__arena_init(&recipe->memory, 1 << 14);
    recipe->path = prn__arena_strdup(&recipe->memory, path);
    host = prn__alloc(sizeof *host);
    if (recipe->path == NULL || host == NULL) {
        status = no_memory(path, error);
        goto failed;
    }
    host->recipe = recipe;
    host->registry = registry;
    host->path = choices;
    if ((status = keep_text(recipe, error)) != PRN_OK || (status = host_init(host, settings, error)) != PRN_OK ||
        (status = prn__sandbox_call(host, prepare, NULL, 0, DEFAULT_INSTRUCTIONS, error)) != PRN_OK ||
        (status = prn__sandbox_call(host, run, NULL, 0, host->instruction_limit, error)) != PRN_OK) {
        goto failed;
    }
    host->path = NULL; /* from here on nothing is asked any more */
    for (size_t i = 0; i < host->setting_count; i++) {
        used[i] |= host->setting_used[i];
    }
    if (host->schedule_ref == LUA_NOREF && !host->has_strategies) {
        host_destroy(host);
        host = NULL;
    } else if (host->schedule_ref != LUA_NOREF) {
        recipe->schedule.function = schedule_rate;
        recipe->schedule.function_self = host;
    }
    recipe->host = host;
    *result = recipe;
    return PRN_OK;
failed:
    host_destroy(host);
    prn__arena_fini(&recipe->memory);
    prn__free(recipe);
    return status;
}

prn_status prn__recipe_load(const char *path, const prn__recipe_settings *settings, prn__registry *registry, prn__recipe **result, prn_error *error)
{
    prn__recipe_set *set = NULL;
    *result = NULL;
    prn_status status = prn__recipe_set_load(path, settings, registry, &set, error);
    if (status == PRN_OK && set->recipes[0]->sweep != NULL) {
        status = prn_error_set(error, PRN_INVALID, "%s: is a sweep of %zu combinations, and this takes one recipe; leave one with --set grid.<name>=<value>", path,
                               set->count);
    }
    if (status != PRN_OK) {
        prn__recipe_set_destroy(set);
        return status;
    }
    *result = prn__recipe_set_take(set, 0);
    return PRN_OK;
}

void prn__recipe_destroy(prn__recipe *recipe)
{
    if (recipe != NULL) {
        host_destroy(recipe->host);
        prn__arena_fini(&recipe->memory);
        prn__free(recipe);
    }
}
