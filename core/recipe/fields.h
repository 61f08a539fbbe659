/* core/recipe/fields.h: every table of a recipe and its keys, typed. They drive checking, `--set`, and the test that
 * docs/recipes.md names them all. */
#ifndef PRN_RECIPE_FIELDS_H
#define PRN_RECIPE_FIELDS_H

#include <perennial/option.h>

/* Beside prn_option_type: keys whose value is read by its own code. */
#define PRN__FIELD_TABLE 100u /* a constructor's result, or a plain table */
#define PRN__FIELD_NAMES 101u /* a list of strings */

typedef struct prn__recipe_table {
    const char *what;         /* as a recipe writes it: "p.adamw" */
    const char *help;
    const prn_option *fields;
    uint32_t count;
} prn__recipe_table;

typedef enum prn__recipe_table_id {
    PRN__TABLE_RECIPE, PRN__TABLE_MODEL, PRN__TABLE_VISION, PRN__TABLE_TEXT, PRN__TABLE_ADAMW, PRN__TABLE_COSINE, PRN__TABLE_CONSTANT,
    PRN__TABLE_LINEAR, PRN__TABLE_WARMUP_STABLE_DECAY, PRN__TABLE_INVERSE_SQRT, PRN__TABLE_INFINITE, PRN__TABLE_TRUNK, PRN__TABLE_AUTOREGRESSIVE_COSINE,
    PRN__TABLE_EVALUATE, PRN__TABLE_STRATEGY, PRN__TABLE_LUA_STRATEGY, PRN__TABLE_SWEEP, PRN__TABLE_COUNT
} prn__recipe_table_id;

extern const prn__recipe_table prn__recipe_tables[PRN__TABLE_COUNT];

#endif
