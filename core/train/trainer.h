/* core/train/trainer.h: one optimizer step of CLIP on a device, with exact micro-batching.
 *
 * A step is several programs: image forward, text forward, contrastive loss (forward and backward on embeddings, in row
 * tiles), each tower's backward, optimizer. With more than one micro-batch, embeddings of the whole batch come first; then each
 * micro-batch is run forward again and backward with its rows of the embedding gradients: exact, not approximate.
 * Invariants: nothing is allocated inside a step, except in the first one and when its captions are longer than all before; same weights, batch and
 * options give the same bytes whatever the thread count.
 */
#ifndef PRN_TRAIN_TRAINER_H
#define PRN_TRAIN_TRAINER_H

#include <perennial/stage.h>

#include "data/batch.h"
#include "model/model.h"
#include "plugin/registry.h"

typedef struct prn__optimizer_config {
    double beta1, beta2, epsilon, decay;
    double clip_norm; /* global gradient norm; 0 for none */
    int bf16_moments; /* 1: both moments are kept in bf16, as ADAMW of program.h rounds them; half of their memory, and other results */
} prn__optimizer_config;

typedef struct prn__trainer_config {
    int64_t batch;       /* samples an optimizer step */
    int64_t micro_batch; /* samples a forward/backward; 0: the whole batch */
    prn__checkpointing checkpoint;
    int64_t loss_tile;   /* rows of the similarity matrix at a time; 0: chosen */
    int64_t memory_limit; /* bytes that may be planned; 0: what the device gives. For devices that promise more than there is, as a host does */
    int keep_all;        /* 1: all gradients, and all that the backward pass reads, are kept: fewer operations for more memory; the same results */
    prn__optimizer_config optimizer;
} prn__trainer_config;

typedef struct prn__step_result {
    double loss;
    double gradient_norm; /* before clipping */
    double logit_scale;   /* exp of the parameter, after the update */
    double seconds;
} prn__step_result;

typedef struct prn__trainer prn__trainer;

/* PRN_NO_MEMORY names what was needed, what is free and what to change: a smaller micro_batch may fit. */
prn_status prn__trainer_create(const prn__model *model, const prn__device *device, const prn__trainer_config *config,
                               prn__trainer **trainer, prn_error *error);
void prn__trainer_destroy(prn__trainer *trainer);
/* One optimizer step. `batch->count` may be any number in [2, config.batch]. A loss that is not finite is PRN_NUMERIC and
 * leaves the weights as they were; so does a gradient that is not, unless updates are made while it is computed (one micro-batch, no clipping,
 * no keep_all, no terms that need the gradient, towers that are not taken in blocks): then the state is lost, and refused, until one is set again.
 * PRN_INTERRUPTED, with the state as it was, when prn__stop_asked says so between two micro-batches. */
prn_status prn__trainer_step(prn__trainer *trainer, const prn__batch *batch, double learning_rate, prn__step_result *result, prn_error *error);
/* Before a step: the batch of the step after it (its memory batch, when it has one), which stays as it is until then; NULL: not known. Its images are
 * copied to the device while that is busy, where the backend can; results are the same. */
void prn__trainer_expect(prn__trainer *trainer, const prn__batch *next);
/* Loss and gradients only, no update, no change_gradient: for tests. gradients: (flat_elements), or NULL. */
prn_status prn__trainer_gradients(prn__trainer *trainer, const prn__batch *batch, double *loss, double *gradients, prn_error *error);

/* What a strategy adds to the steps of a stage. Each function may be NULL; all get `context`. */
typedef struct prn__trainer_terms {
    const float *teacher; /* (flat_elements), copied to the device; NULL for none */
    int has_memory;       /* 1: every step comes with a memory batch */
    prn_status (*compose_loss)(void *context, const prn_composer *composer, prn_error *error);
    prn_status (*compose_memory_loss)(void *context, const prn_composer *composer, prn_error *error);
    prn_status (*compose_penalty)(void *context, const prn_composer *composer, prn_error *error);
    prn_status (*change_gradient)(void *context, prn_error *error); /* `gradient` below is complete */
    void *context;
} prn__trainer_terms;

/* From the next step on; NULL: none. Frees vectors that were created before. Terms may be composed of vectors that are created after this
 * call has begun. */
prn_status prn__trainer_set_terms(prn__trainer *trainer, const prn__trainer_terms *terms, prn_error *error);
/* As prn__trainer_step with the memory batch (NULL without one). */
prn_status prn__trainer_step_with(prn__trainer *trainer, const prn__batch *batch, const prn__batch *memory, double learning_rate, prn__step_result *result,
                                  prn_error *error);
/* The same as prn__trainer_gradients with the memory batch. */
prn_status prn__trainer_gradients_with(prn__trainer *trainer, const prn__batch *batch, const prn__batch *memory, double *loss, double *gradients,
                                       prn_error *error);
/* Flat-vector operations, and the vectors of weights and gradient. */
const prn_vectors *prn__trainer_vectors(prn__trainer *trainer);
prn_vector *prn__trainer_weights(prn__trainer *trainer);
prn_vector *prn__trainer_gradient(prn__trainer *trainer);
/* Contrastive loss alone and its gradient at the weights as they are; the trainer's own gradient stays. */
prn_status prn__trainer_batch_gradient(prn__trainer *trainer, const prn__batch *batch, prn_vector *target, double *loss, prn_error *error);
/* Frees the vectors that were created. */
void prn__trainer_drop_vectors(prn__trainer *trainer);

/* State: weights, first and second moments (each (flat_elements) fp32; NULL to skip), and the number of updates so far. */
prn_status prn__trainer_get_state(prn__trainer *trainer, float *weights, float *m, float *v, int64_t *updates, prn_error *error);
/* m and v NULL: zeros. */
prn_status prn__trainer_set_state(prn__trainer *trainer, const float *weights, const float *m, const float *v, int64_t updates, prn_error *error);
/* 1 while no vector of all gradients exists (see keep_all); ends, for good, with the first call that needs it. */
int prn__trainer_is_held(const prn__trainer *trainer);
/* 1 when the device keeps weights in more than fp32, as `reference` does: then only the wide state goes on exactly. */
int prn__trainer_is_wide(const prn__trainer *trainer);
/* As get_state and set_state, with nothing rounded; all three are needed. */
prn_status prn__trainer_get_wide(prn__trainer *trainer, double *weights, double *m, double *v, int64_t *updates, prn_error *error);
prn_status prn__trainer_set_wide(prn__trainer *trainer, const double *weights, const double *m, const double *v, int64_t updates, prn_error *error);
/* Bytes of device memory in use by this trainer. */
int64_t prn__trainer_memory_bytes(const prn__trainer *trainer);

#endif
