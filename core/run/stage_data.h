/* core/run/stage_data.h: the data sets behind a stage's sources, and the batches drawn from them. Private to core/run. */
#ifndef PRN_RUN_STAGE_DATA_H
#define PRN_RUN_STAGE_DATA_H

#include "run/execution.h"

typedef struct prn__stage_data {
    prn__execution *x;
    prn__dataset **datasets;    /* one joined, or one a source */
    prn__loader_source *sources;
    uint32_t source_count;
    int64_t **index_losses;     /* (source_count): what indexes lost, (shards * reasons); NULL when nothing */
    int64_t *recorded_losses;   /* (source_count): all losses when last written */
    prn__loader *loader;
} prn__stage_data;

/* A run never trains on, or scores, a part of its data because shards are not there: PRN_NOT_FOUND, naming the first. */
prn_status prn__data_complete(const prn__dataset *dataset, prn_error *error);

/* Digest of a time step's training shards, checked against what the manifest states. `missing` (may be NULL): 1 when shards are
 * not there, then no error. */
prn_status prn__data_digest(prn__execution *x, uint32_t time_step, int *missing, const char **digest, prn_error *error);

/* Sources without weights become one data set. Unweighted ones with sample limits cannot be joined, and are drawn in
 * proportion to what the limits leave. `data` must be zeros; close brings it back there, also after a failure. */
prn_status prn__stage_data_open(prn__execution *x, const prn__plan_source *sources, uint32_t count, const char *label, prn__stage_data *data,
                                prn_error *error);
void prn__stage_data_close(prn__stage_data *data);
/* Batches of steps first_step, ... as the recipe says; `step_count` -1: endless. */
prn_status prn__stage_data_start(prn__stage_data *data, uint64_t seed, int64_t batch, int64_t first_step, int64_t step_count, prn_error *error);
/* Stops the worker threads: no loss is counted after that. */
void prn__stage_data_stop(prn__stage_data *data);

/* Writes what the indexes lost to the ledger, and keeps the counts apart from what drawing loses. */
prn_status prn__stage_data_record_index(prn__stage_data *data, const char *stage, prn_error *error);
/* Writes what drawing has lost since `first_step`, where that has grown; inside a transaction. */
prn_status prn__stage_data_record(prn__stage_data *data, const char *stage, int64_t first_step, prn_error *error);

#endif
