/* core/recipe/model.c: the recipe's `model` and `init`.
 *
 * The vocabulary's size follows the stream's vocabulary when the recipe names a built-in configuration and gives no
 * vocab_size. A configuration file belongs to weights, so its own size stands.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "recipe/translate.h"

static int is_built_in(const char *name, prn__model_config *config)
{
    char longer[96];
    (void)snprintf(longer, sizeof longer, "ViT-%.60s-32px", name); /* "micro" for short */
    for (size_t i = 0; i < prn__model_config_count(); i++) {
        const prn__model_config *at = prn__model_config_at(i);
        if (strcmp(at->name, name) == 0 || strcmp(at->name, longer) == 0) {
            *config = *at;
            return 1;
        }
    }
    return 0;
}

static _Noreturn void unknown(const prn__view *view, const char *key, const char *name)
{
    enum { NAME_LIMIT = 64 };
    char shorter[NAME_LIMIT][32], hint[160];
    const char *names[2 * NAME_LIMIT];
    size_t count = 0;
    for (size_t i = 0; i < prn__model_config_count() && i < NAME_LIMIT; i++) {
        const char *long_name = prn__model_config_at(i)->name;
        size_t length = strlen(long_name);
        names[count++] = long_name;
        if (length > 9 && length < 41 && strncmp(long_name, "ViT-", 4) == 0 && strcmp(long_name + length - 5, "-32px") == 0) {
            (void)snprintf(shorter[i], sizeof shorter[i], "%.*s", (int)(length - 9), long_name + 4);
            names[count++] = shorter[i];
        }
    }
    prn__view_bad(view, key, PRN_NOT_FOUND, "`%s`: unknown model '%.100s'%s; give a built-in name (`perennial model list`), a folder with"
                  " open_clip_config.json, or a .json file", key, name, prn__suggest_text(name, names, count, hint, sizeof hint));
}

/* 1 when it is a built-in one, whose vocabulary may be replaced. */
static int resolve(const prn__view *view, const char *key, const char *name, prn__model_config *config)
{
    prn_error problem = PRN_ERROR_INIT;
    if (is_built_in(name, config)) {
        return 1;
    }
    size_t length = strlen(name);
    int is_path = strchr(name, '/') != NULL || (length > 5 && strcmp(name + length - 5, ".json") == 0) || prn__folder_exists(name);
    if (!is_path) {
        unknown(view, key, name);
    }
    const char *place = prn__find_path(view, key, name);
    if (prn__model_config_resolve(place, config, &problem) != PRN_OK) {
        prn__view_bad(view, key, (prn_status)problem.status, "`%s`: %s", key, problem.message);
    }
    return 0;
}

static void change(const prn__view *view, const char *key, int64_t *target)
{
    prn_option_value value;
    if (prn__view_read(view, key, &value)) {
        *target = value.integer;
    }
}

static void change_real(const prn__view *view, const char *key, double *target)
{
    prn_option_value value;
    if (prn__view_read(view, key, &value)) {
        *target = value.real;
    }
}

/* A plain table inside p.model. Leaves it on the stack. */
static prn__view tower(const prn__view *view, const char *key, prn__recipe_table_id id)
{
    int type = prn__view_push(view, key);
    if (type != LUA_TNIL && type != LUA_TTABLE) {
        prn__view_bad(view, key, PRN_INVALID, "%s: `%s` must be a table { ... }, not a %s", view->what, key, luaL_typename(view->L, -1));
    }
    prn__view inner = prn__view_of(view->L, id, prn__view_path(view, key), type == LUA_TTABLE ? lua_gettop(view->L) : 0, view->file,
                                   prn__view_line(view, key));
    prn__view_check_keys(&inner);
    return inner;
}

/* Returns the vocab_size that was asked for, 0 for none. */
static int64_t read_changes(const prn__view *view, prn__model_config *config)
{
    const prn__model_config before = *config;
    prn_option_value value;
    int64_t vocab_size = 0, text_vocab_size = 0;
    int top = lua_gettop(view->L);
    change(view, "embed_dim", &config->embed_dim);
    if (prn__view_read(view, "quick_gelu", &value)) {
        config->quick_gelu = value.integer != 0;
    }
    change(view, "vocab_size", &vocab_size);
    prn__view vision = tower(view, "vision", PRN__TABLE_VISION);
    change(&vision, "image_size", &config->vision.image_size);
    change(&vision, "patch_size", &config->vision.patch_size);
    change(&vision, "width", &config->vision.width);
    change(&vision, "layers", &config->vision.layers);
    change(&vision, "head_width", &config->vision.head_width);
    change_real(&vision, "mlp_ratio", &config->vision.mlp_ratio);
    prn__view text = tower(view, "text", PRN__TABLE_TEXT);
    change(&text, "context_length", &config->text.context_length);
    change(&text, "vocab_size", &text_vocab_size);
    change(&text, "width", &config->text.width);
    change(&text, "heads", &config->text.heads);
    change(&text, "layers", &config->text.layers);
    change_real(&text, "mlp_ratio", &config->text.mlp_ratio);
    if (vocab_size > 0 && text_vocab_size > 0 && vocab_size != text_vocab_size) {
        prn__view_bad(view, "vocab_size", PRN_CONFLICT, "vocab_size is %" PRId64 ", and %" PRId64 " in `text`; give it once", vocab_size, text_vocab_size);
    }
    if (memcmp(&before, config, sizeof before) != 0) {
        (void)snprintf(config->name, sizeof config->name, "%.56s-custom", before.name);
    }
    lua_settop(view->L, top);
    return vocab_size > 0 ? vocab_size : text_vocab_size;
}

/* The size of the stream's vocabulary; 0 when it cannot be told yet. */
static int64_t stream_vocab_size(const prn__view *view)
{
    prn__recipe_host *host = view->host;
    prn_error problem = PRN_ERROR_INIT;
    const char *path = host->manifest->vocabulary;
    if (path == NULL) {
        return 0;
    }
    if (!prn__file_exists(path)) {
        prn__log(PRN_LOG_WARNING, "%s is not there: the model's own vocab_size is used until it is", path);
        return 0;
    }
    if (prn__tokenizer_open(path, host->manifest->merges, &host->tokenizer, &problem) != PRN_OK) {
        prn__view_bad(view, "stream", (prn_status)problem.status, "the stream's vocabulary: %s", problem.message);
    }
    int64_t size = prn__tokenizer_vocab_size(host->tokenizer);
    prn__tokenizer_close(host->tokenizer);
    host->tokenizer = NULL;
    return size;
}

static void check_init(const prn__view *view, const prn__model_config *init)
{
    const prn__model_config *c = &view->host->recipe->model;
    const struct {
        const char *name;
        int64_t wanted, there;
    } values[] = {
        {"embed_dim", c->embed_dim, init->embed_dim},
        {"quick_gelu", c->quick_gelu, init->quick_gelu},
        {"vision.image_size", c->vision.image_size, init->vision.image_size},
        {"vision.patch_size", c->vision.patch_size, init->vision.patch_size},
        {"vision.width", c->vision.width, init->vision.width},
        {"vision.layers", c->vision.layers, init->vision.layers},
        {"vision.head_width", c->vision.head_width, init->vision.head_width},
        {"text.context_length", c->text.context_length, init->text.context_length},
        {"text.vocab_size", c->text.vocab_size, init->text.vocab_size},
        {"text.width", c->text.width, init->text.width},
        {"text.heads", c->text.heads, init->text.heads},
        {"text.layers", c->text.layers, init->text.layers},
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (values[i].wanted != values[i].there) {
            prn__view_bad(view, "init", PRN_CONFLICT, "the weights in `init` have %s %" PRId64 ", the recipe's model has %" PRId64 "; leave `model` out to"
                          " take that of `init`", values[i].name, values[i].there, values[i].wanted);
        }
    }
}

void prn__read_model(const prn__view *view)
{
    lua_State *L = view->L;
    prn__recipe *recipe = view->host->recipe;
    prn__model_config *config = &recipe->model;
    prn_error problem = PRN_ERROR_INIT;
    prn_option_value value;
    prn__tag tag;
    const char *setting = prn__view_setting(view, "model");
    int type = prn__view_push(view, "model"), place = lua_gettop(L), is_replaceable = 0;
    int is_tagged = prn__tag_of(L, place, &tag) && strcmp(tag.kind, PRN__TAG_MODEL) == 0;
    if (type != LUA_TNIL && type != LUA_TSTRING && !is_tagged) {
        prn__view_bad(view, "model", PRN_INVALID, "`model` is a name, a path or p.model { ... }, not a %s%s", tag.kind != NULL ? "p." : luaL_typename(L, place),
                      tag.kind != NULL ? tag.name : "");
    }
    if (prn__view_read(view, "init", &value) && value.string[0] != '\0') {
        recipe->init = prn__find_path(view, "init", value.string);
    }
    is_tagged = is_tagged && setting == NULL;
    prn__view inner = prn__view_of(L, PRN__TABLE_MODEL, "model", is_tagged ? place : 0, is_tagged ? tag.file : view->file,
                                   is_tagged ? tag.line : prn__view_line(view, "model"));
    prn__view_check_keys(&inner);
    const char *base = setting != NULL ? setting : type == LUA_TSTRING ? prn__view_copy(view, lua_tostring(L, place)) : NULL;
    if (base != NULL && prn__view_setting(&inner, "base") == NULL) {
        is_replaceable = resolve(view, "model", base, config);
    } else if (prn__view_read(&inner, "base", &value) && value.string[0] != '\0') {
        is_replaceable = resolve(&inner, "base", value.string, config);
    } else if (recipe->init != NULL) {
        (void)resolve(view, "init", recipe->init, config);
    } else {
        prn__raise(L, PRN_INVALID, inner.file, inner.line, "p.recipe needs `model`: a built-in name such as \"ViT-B-32\" or \"micro\","
                   " a configuration file or folder, or p.model { base = ..., ... }");
    }
    int64_t wanted = read_changes(&inner, config), there = is_replaceable || wanted > 0 ? stream_vocab_size(view) : 0;
    if (wanted > 0) {
        if (there > wanted) {
            prn__view_bad(&inner, "vocab_size", PRN_INVALID, "vocab_size is %" PRId64 ", and the stream's vocabulary %s has %" PRId64 " tokens; leave it out,"
                          " or give at least that", wanted, view->host->manifest->vocabulary, there);
        }
        config->text.vocab_size = wanted;
    } else if (is_replaceable && there > 0 && recipe->init == NULL) {
        config->text.vocab_size = there;
    }
    if (prn__model_config_validate(config, &problem) != PRN_OK) {
        prn__raise(L, (prn_status)problem.status, inner.file, inner.line, "`model`: %s", problem.message);
    }
    if (recipe->init != NULL) {
        prn__model_config init;
        memset(&init, 0, sizeof init);
        if (prn__model_config_resolve(recipe->init, &init, &problem) != PRN_OK) {
            prn__view_bad(view, "init", (prn_status)problem.status, "`init`: %s", problem.message);
        }
        check_init(view, &init);
    }
    lua_settop(L, place - 1);
}
