/* core/train/trainer.h: one optimizer step of CLIP on a device, with exact micro-batching.
 *
 * A step is several programs: image forward, text forward, contrastive loss (forward and backward on embeddings, in row
 * tiles), each tower's backward, optimizer. With more than one micro-batch, embeddings of the whole batch come first; then each
 * micro-batch is run forward again and backward with its rows of the embedding gradients: exact, not approximate.
 * Invariants: nothing is allocated inside a step; same weights, batch and options give the same bytes whatever the thread count.
 */
#ifndef PRN_TRAIN_TRAINER_H
#define PRN_TRAIN_TRAINER_H

#include "data/batch.h"
#include "model/model.h"
#include "plugin/registry.h"

typedef struct prn__optimizer_config {
    double beta1, beta2, epsilon, decay;
    double clip_norm; /* global gradient norm; 0 for none */
} prn__optimizer_config;

typedef struct prn__trainer_config {
    int64_t batch;       /* samples an optimizer step */
    int64_t micro_batch; /* samples a forward/backward; 0: the whole batch */
    int checkpoint;      /* activation checkpointing */
    int64_t loss_tile;   /* rows of the similarity matrix at a time; 0: chosen */
    prn__optimizer_config optimizer;
} prn__trainer_config;

typedef struct prn__step_result {
    double loss;
    double gradient_norm; /* before clipping */
    double logit_scale;   /* exp of the parameter, after the update */
    double seconds;
} prn__step_result;

typedef struct prn__trainer prn__trainer;

prn_status prn__trainer_create(const prn__model *model, const prn__device *device, const prn__trainer_config *config,
                               prn__trainer **trainer, prn_error *error);
void prn__trainer_destroy(prn__trainer *trainer);
/* One optimizer step. `batch->count` may be any number in [2, config.batch]. A loss that is not finite is PRN_NUMERIC and
 * leaves the weights as they were. */
prn_status prn__trainer_step(prn__trainer *trainer, const prn__batch *batch, double learning_rate, prn__step_result *result, prn_error *error);
/* Loss and gradients only, no update: for tests and for strategies. gradients: (flat_elements), or NULL. */
prn_status prn__trainer_gradients(prn__trainer *trainer, const prn__batch *batch, double *loss, double *gradients, prn_error *error);

/* State: weights, first and second moments (each (flat_elements) fp32; NULL to skip), and the number of updates so far. */
prn_status prn__trainer_get_state(prn__trainer *trainer, float *weights, float *m, float *v, int64_t *updates, prn_error *error);
/* m and v NULL: zeros. */
prn_status prn__trainer_set_state(prn__trainer *trainer, const float *weights, const float *m, const float *v, int64_t updates, prn_error *error);
/* Bytes of device memory in use by this trainer. */
int64_t prn__trainer_memory_bytes(const prn__trainer *trainer);

#endif
