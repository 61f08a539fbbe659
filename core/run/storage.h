/* core/run/storage.h: what a planned strategy has to keep: checkpoints, samples of earlier time steps, copies of the model. */
#ifndef PRN_RUN_STORAGE_H
#define PRN_RUN_STORAGE_H

#include "run/plan.h"

/* Fills the storage part of every line of a plan that is otherwise whole. Reads sizes of shard files that are there; data that is
 * not leaves the bytes unknown (NaN). */
prn_status prn__plan_storage(prn__plan *plan, prn_error *error);

#endif
