/* Recipes with strategies of their own, on the tiny stream of tests/run/support.h. */
#ifndef TESTS_RECIPE_LUA_SUPPORT_H
#define TESTS_RECIPE_LUA_SUPPORT_H

#include "run/execute_support.h"

#include "recipe/recipe_host.h"

/* Before and behind a recipe's list of strategies. */
static const char HEAD[] =
    "local p = require 'perennial'\n"
    "local function entry(t) return p.strategy(t) end\n";
static const char TAIL[] =
    "return p.recipe {\n"
    "  name = 'lua', stream = 'stream.yaml', batch = 8, budget = p.steps(4), seed = 3, data_threads = 1,\n"
    "  model = p.model { base = 'nano', embed_dim = 16, vocab_size = 600,\n"
    "    vision = { image_size = 16, patch_size = 8, width = 32, layers = 1, head_width = 16, mlp_ratio = 2 },\n"
    "    text = { context_length = 20, width = 32, heads = 2, layers = 1, mlp_ratio = 2 } },\n"
    "  schedule = p.cosine { peak = 1e-3, warmup = 2 }, save_every = p.seconds(0), evaluate = { 'retrieval' },\n"
    "  strategies = strategies,\n"
    "}\n";

static inline char *recipe_path(const ground *g)
{
    return path_in(g, "r.lua");
}

static inline void write_recipe(const ground *g, const char *strategies)
{
    prn__text text;
    prn__text_init(&text);
    prn__text_puts(&text, HEAD);
    prn__text_puts(&text, strategies);
    prn__text_puts(&text, TAIL);
    assert_false(text.failed);
    write_bytes(g, "r.lua", text.data, text.length);
    prn__text_fini(&text);
}

static inline prn_status load_recipe(const ground *g, const char *backend, const char *workspace, const prn__option_pair *more, size_t more_count,
                                     prn__recipe **recipe, prn_error *error)
{
    char folder[128], *path = recipe_path(g);
    prn__option_pair pairs[8] = {{"backend", backend}, {"workspace", folder}};
    assert_true(more_count <= 6);
    (void)snprintf(folder, sizeof folder, "%s/%s", g->folder, workspace);
    for (size_t i = 0; i < more_count; i++) {
        pairs[2 + i] = more[i];
    }
    const prn__recipe_settings settings = {.library = PRN_SOURCE_DIR "/lua", .settings = pairs, .setting_count = 2 + more_count,
                                           .instruction_limit = 3000000};
    prn_status status = prn__recipe_load(path, &settings, g->registry, recipe, error);
    prn__free(path);
    return status;
}

static inline prn__recipe *must_load(const ground *g, const char *backend, const char *workspace)
{
    prn__recipe *recipe = NULL;
    MUST(load_recipe(g, backend, workspace, NULL, 0, &recipe, error_));
    return recipe;
}

static inline prn__plan *must_plan(const ground *g, const prn__recipe *recipe)
{
    prn__plan *plan = NULL;
    MUST(prn__plan_create(recipe, g->registry, &plan, error_));
    return plan;
}

static inline const prn__plan_line *line_of(const prn__plan *plan, const char *label)
{
    for (uint32_t i = 0; i < plan->recipe->strategy_count; i++) {
        if (strcmp(plan->lines[i].label, label) == 0) {
            return &plan->lines[i];
        }
    }
    fail_msg("no line '%s'", label);
    return NULL;
}

/* watch_progress knows no finishing stages. */
static inline void watch_all(void *context, const prn__progress *progress)
{
    if (strcmp(progress->phase, "finish") != 0) {
        watch_progress(context, progress);
    }
}

/* Like `execute`, but that what Lua remembers may grow. */
static inline prn_status run_plan(const ground *g, const prn__recipe *recipe, watch *w, prn_error *error)
{
    prn__plan *plan = NULL;
    const prn__run_options options = {.progress = watch_all, .progress_context = w, .should_stop = watch_stop, .stop_context = w};
    prn_status status = prn__plan_create(recipe, g->registry, &plan, error);
    if (status == PRN_OK) {
        status = prn__run_execute(plan, g->registry, &options, error);
    }
    prn__plan_destroy(plan);
    return status;
}

#endif
