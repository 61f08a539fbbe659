/* core/run/stage_files.h: the files of one stage in a workspace: its finished model, its mid-stage checkpoints.
 *
 * Layout: <workspace>/stages/<key>/ as executor.h says.
 * Invariants: every file appears whole or not at all; a checkpoint carries a digest of its tensors and is refused when
 * that does not match; the last two checkpoints are kept, and the older one goes only after the newer one is safe.
 */
#ifndef PRN_RUN_STAGE_FILES_H
#define PRN_RUN_STAGE_FILES_H

#include "model/model.h"

/* Everything an optimizer step changes. */
typedef struct prn__stage_state {
    float *weights, *m, *v; /* (flat_elements) each, owned */
    double *wide;           /* (3 * flat_elements): the same three, unrounded, for devices that keep more than fp32; else NULL; owned */
    int64_t flat_elements;
    int64_t micro_batch;    /* with micro_batch = "auto": the one in force, and since which step of the stage; else 0 */
    int64_t micro_since;
    int64_t step;           /* updates done in this stage */
    int64_t updates;        /* the optimizer's own count: more than `step` when its state was kept from the parent */
    double seconds;         /* training time so far */
    double last_loss;
} prn__stage_state;

prn_status prn__stage_state_init(prn__stage_state *state, int64_t flat_elements, prn_error *error);
/* Makes room for `wide`; done already is fine. */
prn_status prn__stage_state_widen(prn__stage_state *state, prn_error *error);
void prn__stage_state_fini(prn__stage_state *state);

/* Caller frees with prn__free; NULL when out of memory. */
char *prn__stage_folder(const char *workspace, const char *key);
/* 1 when a finished stage lies there. [any] */
int prn__stage_is_done(const char *workspace, const char *key);

/* Saves checkpoint-<step>.safetensors and then removes all but the last two. `identity` says what the state belongs to: the stage's
 * key and its data. With `wide`, that is what is saved. */
prn_status prn__checkpoint_save(const char *folder, const char *identity, const prn__stage_state *state, prn_error *error);
/* The latest checkpoint that is whole and has this identity, as it was saved: into weights, m and v, or into wide; `found` 0 when there is
 * none. Damaged ones and those of other stages are logged, moved aside as checkpoint-<step>.safetensors.damaged, and the one before is
 * taken. One of this stage (what comes before the dot) with other data stays, and is PRN_CONFLICT; so does one that cannot be read for lack of rights
 * or memory, which is PRN_IO or PRN_NO_MEMORY. */
prn_status prn__checkpoint_load(const char *folder, const char *identity, prn__stage_state *state, int *found, prn_error *error);

/* Writes the model folder, optimizer.safetensors and, last, stage.json (`description`), then removes the checkpoints. */
prn_status prn__stage_finish(const char *folder, const char *key, const prn__model *model, const prn__stage_state *state, const char *description,
                             prn_error *error);
/* Weights of a finished stage; with `optimizer` 1 also m, v and updates. */
prn_status prn__stage_load(const char *folder, const char *key, const prn__model *model, int optimizer, prn__stage_state *state, prn_error *error);
/* Removes temporary files that a killed process left, and beside a finished stage its checkpoints. */
void prn__stage_sweep(const char *folder);

#endif
