/* core/recipe/sweep_choices.h: p.grid and p.seeds inside a recipe. Private to core/recipe.
 *
 * A recipe is run once for each combination, each time in a fresh state. A path says which value each choice gets, in the order in which
 * the recipe asks; choices behind the path's end get their first. So what is asked may depend on what was answered before.
 */
#ifndef PRN_RECIPE_SWEEP_CHOICES_H
#define PRN_RECIPE_SWEEP_CHOICES_H

#include "base/text.h"
#include "recipe/sweep.h"
#include "recipe/view.h"

#define PRN__SWEEP_POINTS PRN__SWEEP_CHOICES
#define PRN__SWEEP_VALUES 1000u /* of one choice; of a sweep, combinations */

typedef struct prn__sweep_point {
    prn__sweep_setting setting; /* arena of the recipe */
    const char *file;
    int line;
    uint32_t arity, chosen;     /* chosen < arity */
} prn__sweep_point;

typedef struct prn__sweep_path {
    uint32_t wanted[PRN__SWEEP_POINTS];
    size_t wanted_count;
    prn__sweep_point points[PRN__SWEEP_POINTS]; /* what was asked, and answered */
    size_t count;
    prn__text text;             /* scratch that outlives a raise */
} prn__sweep_path;

/* p.grid { values }, p.grid("name", { values }), p.seeds(n), p.seeds { values }, with a name too: this combination's value. */
int prn__sweep_grid(lua_State *L);
int prn__sweep_seeds(lua_State *L);
/* `sweep` of the recipe, and recipe->sweep where something was asked; `evaluate` has been read. Raises. */
void prn__sweep_read(const prn__view *view);
/* prn__recipe_load along a path (its `text` initialised): what was asked is in it afterwards, its texts while the recipe lives; `used`
 * (setting_count) gets 1 for each setting that this combination has used. */
prn_status prn__recipe_load_chosen(const char *path, const prn__recipe_settings *settings, prn__registry *registry, prn__sweep_path *choices,
                                   unsigned char *used, prn__recipe **recipe, prn_error *error);
/* 1 for "grid.x" of --set: other combinations may use it. */
int prn__sweep_is_setting(const char *name);

#endif
