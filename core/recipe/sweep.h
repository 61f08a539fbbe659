/* core/recipe/sweep.h: a recipe with p.grid or p.seeds is a recipe for each combination of their values.
 *
 * The recipe file is run once for each combination, in a fresh sandbox: the last choice that the recipe asks varies fastest, and a choice
 * that is asked only after some answers of others (a nested grid) makes combinations only there.
 */
#ifndef PRN_RECIPE_SWEEP_H
#define PRN_RECIPE_SWEEP_H

#include "recipe/recipe_host.h"

#define PRN__SWEEP_COMBINATIONS 1000u /* at most */
#define PRN__SWEEP_CHOICES 32u        /* of one combination, at most */

typedef struct prn__recipe_set {
    prn__recipe **recipes;
    size_t count;    /* 1 for a recipe that is no sweep; its `sweep` is NULL then */
} prn__recipe_set;

/* `--set grid.<name>=value[,value]` leaves only these. All combinations have one name and one workspace. */
prn_status prn__recipe_set_load(const char *path, const prn__recipe_settings *settings, prn__registry *registry, prn__recipe_set **set, prn_error *error);
/* One combination: `chosen` (count) are its settings' `chosen`; none for a recipe that is no sweep. PRN_CONFLICT when the recipe asks more or
 * less. Of `sweep`, combination, combination_count and identity are left to the caller. */
prn_status prn__recipe_load_combination(const char *path, const prn__recipe_settings *settings, prn__registry *registry, const uint32_t *chosen, size_t count,
                                        prn__recipe **recipe, prn_error *error);
void prn__recipe_set_destroy(prn__recipe_set *set); /* NULL is allowed */
/* Takes one out, for the caller to destroy, and destroys the others with the set. `index` < count. */
prn__recipe *prn__recipe_set_take(prn__recipe_set *set, size_t index);

#endif
