/* core/run/stage_key.h: the digest that names a stage.
 *
 * Invariants: a key holds what can change a stage's bytes and nothing else: not the recipe's name, the strategy, the thread count, what is
 * evaluated or when checkpoints are saved. So strategies share stages, and so do recipes in one workspace.
 */
#ifndef PRN_RUN_STAGE_KEY_H
#define PRN_RUN_STAGE_KEY_H

#include "run/plan.h"

/* The version of the engine's arithmetic, part of every key, as a backend's `numerics` is for the backend's. Raise it with any change above the
 * backends after which some stage may get other bytes, if only in the last bit: the programs (model/towers, program/derive, train/programs: which
 * operations, on which rows, in which order), initial weights, optimizer, decoding, resizing and crops, tokens, the order of samples, random numbers.
 * Stages of before are then trained anew and the old ones kept, for `perennial gc` to remove. What leaves all bytes alone (speed, memory plans that are
 * tested equal, messages) leaves it alone, too. */
#define PRN__ENGINE_NUMERICS "engine-3"

/* What all stages of a recipe have in common: the engine (PRN__ENGINE_NUMERICS), model, optimizer, order of samples, backend and device. */
prn_status prn__key_common(const char *engine, const prn__recipe *recipe, const prn__manifest *manifest, prn__registry *registry, char digest[33],
                           prn_error *error);
/* One stage; `rates` (stage->steps) are its learning rates. Its parent's key is there already. */
prn_status prn__key_stage(const char *common, const prn__plan *plan, const prn__stage *stage, const float *rates, char key[33], prn_error *error);

#endif
