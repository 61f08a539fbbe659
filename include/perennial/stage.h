/* perennial/stage.h: what a strategy can do inside a stage: add loss terms, change gradients, decide which weights are deployed.
 *
 * A loss term is composed from program operations; the host derives its gradient, so a strategy writes no backward pass, and it
 * runs on every backend. Parameter-space methods use the flat-vector operations below, which the backend runs, too.
 * Invariants: everything a strategy computes here is a function of its options, the time line and what the host hands
 * it, so that a stage that was interrupted ends with the same bytes. Between updates a strategy keeps no state of its
 * own; from stage to stage it keeps vectors by name, beside the stage's weights.
 */
#ifndef PERENNIAL_STAGE_H
#define PERENNIAL_STAGE_H

#include <perennial/program.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All parameters, or as many values, as one vector on the backend: (n) REAL. Owned by the host, alive until the stage ends. */
typedef struct prn_vector prn_vector;

/* Arithmetic on flat vectors. A target may be one of the sources. Sums run in a fixed order. */
typedef struct prn_vectors {
    uint32_t struct_size; /* bytes */
    uint32_t reserved;
    void *self;
    int64_t elements;     /* n; tensors start at multiples of 16 elements, the gaps between them are zero in weights and gradients */
    /* A vector of zeros. [orchestrator] */
    prn_status (*create)(void *self, prn_vector **vector, prn_error *error);
    /* y = value. [orchestrator] */
    prn_status (*fill)(void *self, prn_vector *y, double value, prn_error *error);
    /* y = alpha a + beta b; b may be NULL. [orchestrator] */
    prn_status (*axpby)(void *self, prn_vector *y, double alpha, const prn_vector *a, double beta, const prn_vector *b, prn_error *error);
    /* y = a b, element by element. [orchestrator] */
    prn_status (*multiply)(void *self, prn_vector *y, const prn_vector *a, const prn_vector *b, prn_error *error);
    /* Sum of products. [orchestrator] */
    prn_status (*dot)(void *self, const prn_vector *a, const prn_vector *b, double *result, prn_error *error);
    /* To and from (n) fp32 in host memory, for what the operations above cannot say. [orchestrator] */
    prn_status (*read)(void *self, const prn_vector *vector, float *target, prn_error *error);
    prn_status (*write)(void *self, prn_vector *vector, const float *source, prn_error *error); /* [orchestrator] */
    int64_t gap_elements; /* how many of the elements belong to no tensor */
} prn_vectors;

/* Composes loss terms. Batch terms: R rows of one side (images, then texts) against all M of the other, for each tile and both
 * directions. Penalty: the parameters as one vector. What is absent is PRN_NO_TENSOR.
 * A failed operation gives PRN_NO_TENSOR, which every later one takes and passes on; the host reports the first failure. */
typedef struct prn_composer {
    uint32_t struct_size;    /* bytes */
    uint32_t reserved;
    void *self;
    int32_t logits;          /* (R,M): exp(log_scale) rows columns^T of the model that is trained */
    int32_t rows, columns;   /* (R,E), (M,E): its embeddings, L2-normalised */
    int32_t log_scale;       /* () */
    int32_t teacher_logits;  /* (R,M): the same of the teacher; no gradient flows into it */
    int32_t teacher_rows, teacher_columns;
    int32_t teacher_log_scale;
    int32_t weights;         /* (n), penalty only */
    int32_t reserved2;
    /* One operation of program.h, with as many inputs as given; its first output. [orchestrator] */
    int32_t (*operation)(void *self, prn_op_kind kind, const int32_t *inputs, uint32_t input_count, const prn_op_attrs *attrs);
    /* A vector as a tensor (n), penalty only; its values are read at each update. [orchestrator] */
    int32_t (*vector)(void *self, const prn_vector *vector);
    /* Adds weight * term to the loss. Batch terms are (R): the mean over rows of both directions counts. Penalties are (). [orchestrator] */
    void (*add)(void *self, int32_t term, double weight);
} prn_composer;

enum { PRN_WEIGHTS_DEPLOYED = 0, PRN_WEIGHTS_TRAINED = 1 };

typedef struct prn_stage {
    uint32_t struct_size; /* bytes */
    uint32_t time_step;   /* 1..T */
    void *self;
    int64_t steps;        /* updates of this stage */
    int64_t step;         /* change_gradient: the update that is about to be made, from 0 */
    const prn_vectors *vectors;
    prn_vector *weights;  /* as they are now; finish: writes here what is deployed */
    prn_vector *gradient; /* change_gradient: of the whole loss, may be changed */
    prn_vector *scratch;  /* change_gradient: room for one more vector, of any content */
    /* Weights after one of this strategy's earlier time steps (or, in `finish`, this one as trained); `after_step` 0: what the time line
     * began with. `which`: PRN_WEIGHTS_DEPLOYED or PRN_WEIGHTS_TRAINED. [orchestrator] */
    prn_status (*load_weights)(void *self, uint32_t after_step, uint32_t which, prn_vector *target, prn_error *error);
    /* finish: keeps a vector under a name (letters, digits, '_') with this stage; as many as kept_vectors declares. [orchestrator] */
    prn_status (*keep)(void *self, const char *name, const prn_vector *vector, prn_error *error);
    /* What an earlier time step kept; none of that name is PRN_NOT_FOUND. [orchestrator] */
    prn_status (*load_kept)(void *self, uint32_t after_step, const char *name, prn_vector *target, prn_error *error);
    /* finish: contrastive loss and its gradient at `weights` on batch 0, 1, 2, ... of this stage's data, in that order; declared as
     * finish_gradient_batches. [orchestrator] */
    prn_status (*data_gradient)(void *self, prn_vector *target, double *loss, prn_error *error);
    /* change_gradient: the same on this update's memory batch, once an update. [orchestrator] */
    prn_status (*memory_gradient)(void *self, prn_vector *target, double *loss, prn_error *error);
    /* finish: headline score of `weights` on the evaluation set `set` of a time step; declared as
     * finish_scores and finish_set. [orchestrator] */
    prn_status (*score)(void *self, const prn_vector *weights, uint32_t time_step, const char *set, double *score, prn_error *error);
    /* finish: a number that the stage's record shows, such as a coefficient that was chosen. [orchestrator] */
    prn_status (*note)(void *self, const char *name, double value, prn_error *error);
} prn_stage;

#ifdef __cplusplus
}
#endif
#endif
