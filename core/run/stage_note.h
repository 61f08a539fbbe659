/* core/run/stage_note.h: stage.json of a finished stage: what its bytes came from, written when it is done and held against what is there when it is
 * needed again. Private to core/run. */
#ifndef PRN_RUN_STAGE_NOTE_H
#define PRN_RUN_STAGE_NOTE_H

#include <jansson.h>

#include "run/execution.h"

/* Digests of all data that the stage's bytes depend on: each source of its training and of its memory batches (time_step 0: the reference stream), and
 * for a finishing stage the sets that it chooses by (`set`). A new reference; NULL after an error. */
json_t *prn__stage_note_data(prn__execution *x, const prn__stage *stage, prn_error *error);
/* A digest that stage.json of a finished stage states, "kept/<name>" one of the vectors that it keeps. PRN_CORRUPT when it is not there. */
prn_status prn__stage_note(prn__execution *x, const prn__stage *stage, const char *field, char target[33], prn_error *error);
/* Stages of data without stated checksums were keyed by name: their data must still be what they were trained on. */
prn_status prn__check_finished(prn__execution *x, const prn__stage *stage, prn_error *error);
/* `weights` (flat), as read from the finished stage's folder, are those that were saved there. */
prn_status prn__check_weights(prn__execution *x, const prn__stage *stage, const float *weights, prn_error *error);

#endif
