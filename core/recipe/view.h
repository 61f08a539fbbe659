/* core/recipe/view.h: reading one table of a recipe by its typed fields, with `--set` laid over it. Private to core/recipe.
 *
 * All functions raise Lua errors, except where they say otherwise; what they give out lives in the recipe's arena.
 */
#ifndef PRN_RECIPE_VIEW_H
#define PRN_RECIPE_VIEW_H

#include "recipe/fields.h"
#include "recipe/host.h"

typedef struct prn__view {
    lua_State *L;
    prn__recipe_host *host;
    int index;              /* of the table on the stack; 0 when the recipe has none (settings and defaults still count) */
    const char *path;       /* in --set: "optimizer"; "" for the recipe itself */
    const char *what;       /* in messages: "p.adamw" */
    const char *file;
    int line;               /* of the constructor */
    const prn_option *fields;
    uint32_t count;
    const prn_option *more; /* further fields, may be NULL: a strategy's `label` */
    uint32_t more_count;
} prn__view;

const prn_option *prn__view_field(const prn__view *view, const char *key); /* NULL when unknown; never raises */
/* Keys that the table and the settings under its path have and the fields lack are refused. */
void prn__view_check_keys(const prn__view *view);
/* The last setting of path.key, marked as used; NULL when there is none. Never raises. */
const char *prn__view_setting(const prn__view *view, const char *key);
/* Pushes the table's raw value; nil when there is none. Returns its Lua type. */
int prn__view_push(const prn__view *view, const char *key);
/* One value: setting, then table, then default; 1 when it was given. A missing one without default is an error. */
int prn__view_read(const prn__view *view, const char *key, prn_option_value *value);
/* The same as text, as an option pair holds it. NULL when not given. */
const char *prn__view_text(const prn__view *view, const char *key);
int prn__view_line(const prn__view *view, const char *key); /* of `key =`, else of the table */
/* Raises an error that points at `key` in the file, or at the setting that gave it. */
_Noreturn void prn__view_bad(const prn__view *view, const char *key, prn_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "path.key" in the arena. */
const char *prn__view_path(const prn__view *view, const char *key);
/* Arena memory or a raised error. */
void *prn__view_alloc(const prn__view *view, size_t bytes);
const char *prn__view_copy(const prn__view *view, const char *text);

#endif
