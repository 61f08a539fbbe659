/* core/recipe/recipe_host.h: runs a Lua recipe in a sandbox and translates what it returns, checked, to a prn__recipe.
 *
 * Sandbox: base library without load/dofile/loadfile/collectgarbage, string, table, math, utf8; `require` only of
 * "perennial[.x]" from the recipe library and of files beside the recipe; memory and instruction limits.
 * Every error has file and line; unknown keys are refused with a suggestion.
 */
#ifndef PRN_RECIPE_RECIPE_HOST_H
#define PRN_RECIPE_RECIPE_HOST_H

#include "run/recipe.h"

typedef struct prn__recipe_settings {
    const char *library;              /* folder that holds perennial/init.lua */
    const prn__option_pair *settings; /* --set key=value; dotted keys reach into tables ("optimizer.decay", "schedule.peak") */
    size_t setting_count;
    size_t memory_limit_bytes;        /* 0: 256 MiB */
    int64_t instruction_limit;        /* 0: 200 million */
} prn__recipe_settings;

prn_status prn__recipe_load(const char *path, const prn__recipe_settings *settings, prn__registry *registry, prn__recipe **recipe, prn_error *error);
void prn__recipe_destroy(prn__recipe *recipe);

#endif
