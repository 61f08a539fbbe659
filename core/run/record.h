/* core/run/record.h: what a run keeps about itself, as JSON: option values, the resolved recipe, the environment. */
#ifndef PRN_RUN_RECORD_H
#define PRN_RUN_RECORD_H

#include "run/plan.h"

/* Each returns JSON text that the caller frees with prn__free, or NULL when out of memory. */
char *prn__record_options(const prn_option *table, uint32_t count, const prn_option_value *values);
char *prn__record_recipe(const prn__recipe *recipe);
/* Plugins with versions and digests, hardware, threads, release. `device` may be NULL. */
char *prn__record_environment(const prn__plan *plan, prn__registry *registry, const prn__device *device, const char *const *data_digests);
/* Digest of what makes a run this run: recipe text, resolved recipe, stage keys. */
void prn__record_identity(const prn__plan *plan, const char *resolved, char target[33]);

#endif
