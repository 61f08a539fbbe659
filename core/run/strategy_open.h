/* core/run/strategy_open.h: an instance of a strategy that a recipe asks for: a plugin's, or one that the recipe defines itself.
 * Private to core/run. */
#ifndef PRN_RUN_STRATEGY_OPEN_H
#define PRN_RUN_STRATEGY_OPEN_H

#include "run/recipe.h"

typedef struct prn__open_strategy {
    const prn_strategy *table;
    prn_strategy_instance *instance;
    prn__options *options; /* alive while the instance is */
    int declares_kept;     /* built against an SDK whose requests have kept_vectors */
} prn__open_strategy;

/* `code`: digest of what the strategy is made of, the plugin's file or the recipe's text; may be NULL. After a failure nothing is open. */
prn_status prn__strategy_open(const prn__recipe_strategy *asked, prn__registry *registry, prn__open_strategy *strategy, char code[33], prn_error *error);
void prn__strategy_close(prn__open_strategy *strategy); /* zeros are allowed */

#endif
