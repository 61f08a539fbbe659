/* core/run/stage_key.h: the digest that names a stage.
 *
 * Invariants: a key holds what can change a stage's bytes and nothing else: not the recipe's name, the strategy, the thread count, what is
 * evaluated or when checkpoints are saved. So strategies share stages, and so do recipes in one workspace.
 */
#ifndef PRN_RUN_STAGE_KEY_H
#define PRN_RUN_STAGE_KEY_H

#include "run/plan.h"

/* What all stages of a recipe have in common: model, optimizer, order of samples, backend and device. */
prn_status prn__key_common(const prn__recipe *recipe, const prn__manifest *manifest, prn__registry *registry, char digest[33], prn_error *error);
/* One stage; `rates` (stage->steps) are its learning rates. Its parent's key is there already. */
prn_status prn__key_stage(const char *common, const prn__plan *plan, const prn__stage *stage, const float *rates, char key[33], prn_error *error);

#endif
