/* core/recipe/sweep.c: see sweep.h. */
#include "recipe/sweep.h"

#include <string.h>

#include "recipe/host.h"
#include "recipe/sweep_choices.h"

static prn_status no_memory(const char *path, prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
}

/* The next path in order; 0 when there is none: the last choice with a value left takes that, those behind it begin anew. */
static int advance(prn__sweep_path *path)
{
    for (size_t i = path->count; i-- > 0;) {
        if (path->points[i].chosen + 1 < path->points[i].arity) {
            path->wanted_count = i + 1;
            for (size_t j = 0; j < i; j++) {
                path->wanted[j] = path->points[j].chosen;
            }
            path->wanted[i] = path->points[i].chosen + 1;
            return 1;
        }
    }
    return 0;
}

static prn_status too_many(const prn__sweep_path *path, const char *file, prn_error *error)
{
    return prn_error_set(error, PRN_INVALID, "%s: its grids and seeds have more than %u combinations; give fewer values, or leave some with --set grid.%s=...",
                         file, PRN__SWEEP_COMBINATIONS, path->points[0].setting.name);
}

/* What all combinations have in common; a value that differs would take one out of the workspace, or out of the sweep. */
static prn_status check_common(const prn__recipe *first, const prn__recipe *next, prn_error *error)
{
    const char *what = strcmp(first->text, next->text) != 0             ? "text"
                       : strcmp(first->name, next->name) != 0           ? "name"
                       : strcmp(first->workspace, next->workspace) != 0 ? "workspace"
                       : strcmp(first->manifest_path, next->manifest_path) != 0 ? "stream"
                                                                                : NULL;
    if (what == NULL) {
        if (first->sweep->criterion != next->sweep->criterion || strcmp(first->sweep->chosen_on, next->sweep->chosen_on) != 0 ||
            strcmp(first->sweep->score, next->sweep->score) != 0) {
            what = "sweep";
        }
    }
    if (what == NULL) {
        return PRN_OK;
    }
    if (strcmp(what, "text") == 0) {
        return prn_error_set(error, PRN_CONFLICT, "%s: was changed while it was read; give the command again", first->path);
    }
    return prn_error_set(error, PRN_INVALID, "%s: `%s` depends on a p.grid or p.seeds; all combinations have one", first->path, what);
}

static prn_status add(prn__recipe_set *set, prn__recipe *recipe, prn_error *error)
{
    prn_status status = set->count > 0 ? check_common(set->recipes[0], recipe, error) : PRN_OK;
    prn__recipe **more = status == PRN_OK ? prn__realloc(set->recipes, (set->count + 1) * sizeof *more) : NULL;
    if (status == PRN_OK && more == NULL) {
        status = no_memory(recipe->path, error);
    }
    if (status != PRN_OK) {
        prn__recipe_destroy(recipe);
        return status;
    }
    set->recipes = more;
    set->recipes[set->count++] = recipe;
    if (recipe->sweep != NULL) {
        recipe->sweep->combination = (uint32_t)set->count;
    }
    return PRN_OK;
}

/* --set grid.x may matter in some combinations only, but in one it must. */
static prn_status check_settings(const prn__recipe_settings *settings, const unsigned char *used, const prn__recipe_set *set, prn_error *error)
{
    enum { NAMES = 64 };
    const char *names[NAMES];
    char hint[160];
    size_t count = 0;
    for (size_t r = 0; r < set->count && set->recipes[0]->sweep != NULL; r++) {
        const prn__recipe_sweep *sweep = set->recipes[r]->sweep;
        for (size_t i = 0; i < sweep->setting_count && count < NAMES; i++) {
            int is_new = 1;
            for (size_t n = 0; n < count; n++) {
                is_new &= strcmp(names[n], sweep->settings[i].name) != 0;
            }
            if (is_new) {
                names[count++] = sweep->settings[i].name;
            }
        }
    }
    for (size_t i = 0; i < settings->setting_count; i++) {
        const char *name = settings->settings[i].name;
        if (prn__sweep_is_setting(name) && !used[i]) {
            if (count == 0) {
                return prn_error_set(error, PRN_INVALID, "--set %.200s=%.200s: the recipe has no p.grid and no p.seeds", name, settings->settings[i].value);
            }
            return prn_error_set(error, PRN_NOT_FOUND, "--set %.200s=%.200s: the recipe has no p.grid or p.seeds of this name%s; `perennial plan` shows them",
                                 name, settings->settings[i].value, prn__suggest_text(strchr(name, '.') + 1, names, count, hint, sizeof hint));
        }
    }
    return PRN_OK;
}

prn_status prn__recipe_set_load(const char *path, const prn__recipe_settings *settings, prn__registry *registry, prn__recipe_set **result, prn_error *error)
{
    prn_error own = PRN_ERROR_INIT;
    prn_status status = PRN_OK;
    *result = NULL;
    error = error != NULL ? error : &own;
    prn__recipe_set *set = prn__alloc(sizeof *set);
    prn__sweep_path *choices = prn__alloc(sizeof *choices);
    unsigned char *used = prn__alloc(settings->setting_count + 1);
    if (set == NULL || choices == NULL || used == NULL) {
        status = no_memory(path, error);
        goto done;
    }
    prn__text_init(&choices->text);
    do {
        prn__recipe *recipe = NULL;
        choices->count = 0;
        status = prn__recipe_load_chosen(path, settings, registry, choices, used, &recipe, error);
        if (status == PRN_OK && set->count == PRN__SWEEP_COMBINATIONS) {
            status = too_many(choices, path, error);
            prn__recipe_destroy(recipe); /* owns the names in `choices` */
        } else if (status == PRN_OK) {
            status = add(set, recipe, error);
        }
    } while (status == PRN_OK && advance(choices));
    if (status == PRN_OK) {
        status = check_settings(settings, used, set, error);
    }
    for (size_t i = 0; status == PRN_OK && i < set->count; i++) {
        if (set->recipes[i]->sweep != NULL) {
            set->recipes[i]->sweep->combination_count = (uint32_t)set->count;
        }
    }
    prn__text_fini(&choices->text);
done:
    prn__free(used);
    prn__free(choices);
    if (status != PRN_OK) {
        prn__recipe_set_destroy(set);
        set = NULL;
    }
    *result = set;
    return status;
}

prn_status prn__recipe_load_combination(const char *path, const prn__recipe_settings *settings, prn__registry *registry, const uint32_t *chosen, size_t count,
                                        prn__recipe **result, prn_error *error)
{
    prn_status status = PRN_OK;
    prn__sweep_path *choices = prn__alloc(sizeof *choices);
    unsigned char *used = prn__alloc(settings->setting_count + 1);
    *result = NULL;
    if (choices == NULL || used == NULL || count > PRN__SWEEP_POINTS) {
        status = count > PRN__SWEEP_POINTS ? prn_error_set(error, PRN_INVALID, "%s: no combination has %zu choices", path, count) : no_memory(path, error);
    } else {
        prn__text_init(&choices->text);
        for (size_t i = 0; i < count; i++) {
            choices->wanted[i] = chosen[i];
        }
        choices->wanted_count = count;
        status = prn__recipe_load_chosen(path, settings, registry, choices, used, result, error);
        if (status == PRN_OK && choices->count != count) {
            prn__recipe_destroy(*result);
            *result = NULL;
            status = prn_error_set(error, PRN_CONFLICT, "%s: was changed while it was run; give the command again", path);
        }
        prn__text_fini(&choices->text);
    }
    prn__free(choices);
    prn__free(used);
    return status;
}

void prn__recipe_set_destroy(prn__recipe_set *set)
{
    if (set != NULL) {
        for (size_t i = 0; i < set->count; i++) {
            prn__recipe_destroy(set->recipes[i]);
        }
        prn__free(set->recipes);
        prn__free(set);
    }
}

prn__recipe *prn__recipe_set_take(prn__recipe_set *set, size_t index)
{
    prn__recipe *taken = set->recipes[index];
    set->recipes[index] = NULL;
    prn__recipe_set_destroy(set);
    return taken;
}
