/* core/recipe/translate.h: what translate.c and model.c share. All functions raise Lua errors. Private to core/recipe. */
#ifndef PRN_RECIPE_TRANSLATE_H
#define PRN_RECIPE_TRANSLATE_H

#include "recipe/view.h"

prn__view prn__view_of(lua_State *L, prn__recipe_table_id table, const char *path, int index, const char *file, int line);
/* A path as given, from the working folder or beside the recipe, whichever is there; arena memory. */
const char *prn__find_path(const prn__view *view, const char *key, const char *given);
/* The options that a table and its settings give, in the order of the view's fields. */
void prn__read_options(const prn__view *view, const prn__option_pair **pairs, size_t *count);
int prn__is_label(const char *label); /* what results may call a strategy; never raises */
/* `model` and `init` of the recipe; host->manifest is loaded. */
void prn__read_model(const prn__view *view);

#endif
