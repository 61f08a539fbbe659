/* core/train/trainer_internal.h: what the files of the trainer share. Private to core/train. */
#ifndef PRN_TRAIN_TRAINER_INTERNAL_H
#define PRN_TRAIN_TRAINER_INTERNAL_H

#include "model/texts.h"
#include "train/trainer.h"

enum {
    PRN__HYPER_COUNT = 8,
    PRN__PENALTY_VECTORS = 8,
    PRN__VECTOR_CHUNK = 1 << 20,
    PRN__LATE_UPDATES = 256, /* whose decay rows wait for, at most: a pass over the table is then little of each */
};

struct prn_vector {
    prn_buffer *buffer;
    int64_t elements;
    prn_vector *next; /* of those that `create` made */
};

/* One call of a strategy that composes terms. */
typedef struct prn__loss_terms {
    prn_status (*compose)(void *context, const prn_composer *composer, prn_error *error);
    void *context;
    int has_teacher;
    int is_alone; /* 1: no contrastive loss beside the terms */
} prn__loss_terms;

struct prn__trainer {
    prn__device device; /* a copy of the handles; the device itself is the caller's and outlives the trainer */
    const prn__model *model; /* borrowed */
    prn__trainer_config config;
    int64_t micro, tile, tile_count; /* tile_count: of the largest batch, one direction */
    int64_t block[2];    /* items of a micro-batch that the image and the text tower take at a time; all of them, or few of a narrow tower */
    int64_t head_items;  /* that a head takes at a time */
    int64_t image_bytes, embed_dim, flat_elements, logit_scale_offset;
    int64_t updates;
    int64_t memory_bytes;
    int64_t weights_for; /* the batch that `row_weights` were written for */

    prn__compiled image_embed, text_embed; /* forward only; absent with one micro-batch and no teacher */
    prn__compiled image, text, loss, optimizer, clear;
    prn__compiled heads[2]; /* of the image and the text tower, where prn__has_head: then `image` and `text` are bodies */
    prn__texts texts;
    prn_buffer *parameters, *gradients, *m, *v; /* gradients: NULL where is_held */
    prn_buffer *images[2];                             /* (micro,S,S,3); the second only where the backend copies ahead */
    int images_at;                                     /* which of them is in use */
    struct {
        const prn__batch *batch; /* NULL: nothing is there */
        int64_t first, count;
    } ahead; /* what the other one holds, or will before it is used */
    const prn__batch *after, *next; /* what comes after the batch that is worked on, in this step or as the next one's; NULL: not known */
    prn_buffer *embeddings[2], *embedding_gradients[2]; /* images, texts: (batch,E) */
    prn_buffer *labels, *row_weights;                  /* (batch) */
    prn_buffer *tile_losses;                           /* (2 * tile_count) */
    prn_buffer *hyper, *norms;                         /* norms: (2 parameter_count) squares, of each part of each parameter's gradient */
    prn_buffer *scale_gradient;                        /* (1) of logit_scale, where there is no `gradients` */
    prn_buffer *table_gradient;                        /* (row_count, width), where prn__table_is_apart; else empty, or NULL */
    const prn__parameter *table;                       /* (row_count, width): the vocabulary's, of which a batch names few rows */
    prn_buffer *rows;                                  /* (row_count) U8: prn_row_flags of the table's rows */
    uint8_t *host_rows;                                /* (row_count): what `rows` will hold when it is written next */
    int64_t row_count;
    struct {
        prn__compiled program;     /* without one nothing waits */
        prn_buffer *rates;         /* (PRN__LATE_UPDATES) */
        double host_rates[PRN__LATE_UPDATES];
        int64_t count;
    } late; /* learning rates of the updates that rows with PRN_ROW_LATER wait for (rows.c) */
    prn_buffer *reads[2], *read_gradients[2];          /* images, texts: (2,micro,width), attended and residual of what a head reads; NULL without */
    prn_buffer *head_workspace[2];
    prn_buffer *tower_workspace, *text_workspace, *small_workspace;
    int64_t tower_elements, text_elements, small_elements; /* of the workspaces */
    int64_t text_rows;    /* that the text programs are planned for: as many as some block so far had, and a little more */
    double *host_losses;  /* (2 * tile_count) */
    double *host_norms;   /* (2 parameter_count) */
    float *host_weights;  /* (batch) */
    int is_split; /* more than one micro-batch is possible */
    int is_held;  /* the towers hold their gradients and update their parameters; `gradients` is NULL */
    int has_moments; /* m and v may hold anything but the zeros that they were made of */
    int is_spoiled; /* an update ended half-way */
    int is_wide;  /* the device keeps more than fp32 */

    /* terms.c: what a strategy adds; zeros without one */
    prn__trainer_terms terms;
    prn__compiled terms_loss, memory_loss, penalty;
    prn_buffer *teacher, *teacher_embeddings[2], *teacher_workspace; /* (flat), (batch,E) */
    int64_t teacher_elements; /* of its workspace */
    prn_buffer *terms_workspace, *scalars; /* scalars: a one, and the penalty's value */
    prn_buffer *kept_gradients; /* (flat) while another gradient is taken; made when first needed */

    /* vectors.c: made when first needed */
    prn__compiled vector_program;
    prn_buffer *vector_workspace, *vector_scalars, *vector_sums;
    double *host_sums;
    prn_vector weight_vector, gradient_vector;
    prn_vector *vectors; /* that strategies created */
    prn_vectors vector_table;
};

/* ---- programs.c: each gives a graph that the caller owns ---- */
prn_status prn__loss_graph(const prn__trainer *trainer, const prn__loss_terms *terms, prn__graph **graph, prn_error *error);
/* `vectors`: (PRN__PENALTY_VECTORS), those that slots vector0.. stand for; NULL where there are fewer. */
prn_status prn__penalty_graph(const prn__trainer *trainer, const prn__loss_terms *terms, const prn_vector **vectors, prn__graph **graph, prn_error *error);
prn_status prn__optimizer_graph(const prn__trainer *trainer, const prn__model *model, prn__graph **graph, prn_error *error);
prn_status prn__clear_graph(const prn__trainer *trainer, prn__graph **graph, prn_error *error);
prn_status prn__decay_graph(const prn__trainer *trainer, prn__graph **graph, prn_error *error);
prn_status prn__vectors_graph(prn__graph **graph, prn_error *error);

/* ---- memory.c ---- */
prn_status prn__programs_init(prn__trainer *trainer, prn_error *error);
prn_status prn__buffers_init(prn__trainer *trainer, prn_error *error);
void prn__bindings_init(prn__trainer *trainer);
void prn__bind_scale_gradient(const prn__trainer *trainer, prn__compiled *loss);
/* Ends is_held, for good: from here on there is a vector of all gradients. */
prn_status prn__trainer_make_whole(prn__trainer *trainer, prn_error *error);
/* Elements of workspace of all blocks of a micro-batch, of one side (0 images, 1 texts). */
int64_t prn__tower_elements(const prn__trainer *trainer, int side, const prn__compiled *tower);
/* Whether towers that hold their gradients update in a segment of their own. */
int prn__updates_late(const prn__trainer *trainer);
prn_type prn__moments_type(const prn__trainer *trainer);
/* Whether the text tower holds its gradients, but for that of the vocabulary's table. */
int prn__table_is_apart(const prn__trainer *trainer);
/* Whether the one micro-batch's text tower is run forward twice, so that it and the image tower have one workspace. */
int prn__takes_turns(const prn__trainer *trainer);
/* Whether the tower of one side is trained as body and head. */
int prn__has_head(const prn__trainer *trainer, int side);
/* Plans the text programs again when a block of `batch` has more rows than all before. */
prn_status prn__text_fit(prn__trainer *trainer, const prn__batch *batch, prn_error *error);
prn_status prn__tower_init(prn__trainer *trainer, int is_text, int training, prn__compiled *tower, prn_error *error);

/* ---- rows.c ---- */
prn_status prn__rows_init(prn__trainer *trainer, prn_error *error);
void prn__rows_fini(prn__trainer *trainer);
/* From here on the optimizer's program may leave the decay of some rows for later, where the device has what that takes. */
prn_status prn__rows_wait(prn__trainer *trainer, prn_error *error);
/* Before weights are read or written as a whole: no row waits for anything. */
prn_status prn__rows_settle(prn__trainer *trainer, prn_error *error);
/* After the optimizer's program. */
void prn__rows_updated(prn__trainer *trainer, double learning_rate);
/* From here on the table's gradient may be other than zero: in the rows of a batch's tokens, or in all; these rows wait for nothing. */
prn_status prn__rows_use(prn__trainer *trainer, const prn__batch *batch, prn_error *error);
prn_status prn__rows_use_all(prn__trainer *trainer, prn_error *error);
/* It is zero again. */
void prn__rows_cleared(prn__trainer *trainer);
/* Weights, m and v have been set: flat vectors of elements of so many bytes, NULL for zeros. */
void prn__rows_set_moments(prn__trainer *trainer, const void *m, const void *v, size_t element_bytes);

/* ---- passes.c ---- */
/* Writes items [first, ..) of one side to the device, a micro-batch of them, and readies the blocks of `tower` for them; `embeddings`: (batch,E). */
prn_status prn__tower_fill(prn__trainer *trainer, const prn__batch *batch, int side, int64_t first, prn__compiled *tower, prn_buffer *embeddings,
                           prn_error *error);
/* The same for the programs that one side is trained with. */
prn_status prn__training_fill(prn__trainer *trainer, const prn__batch *batch, int side, int64_t first, prn_error *error);
/* Runs a segment, "forward" or "backward", of the programs of sides [side, end) that are ready: bodies, then heads; backward the other way round. Towers that take
 * turns are run both at once, [0, 2). */
prn_status prn__training_run(prn__trainer *trainer, int side, int end, const char *segment, prn_error *error);
/* After the work on images [first, ..) of a batch was begun: the images that are needed next are copied beside it. */
prn_status prn__images_ahead(prn__trainer *trainer, const prn__batch *batch, int64_t first, int is_last_pass, prn_error *error);

/* ---- trainer.c ---- */
prn_status prn__gradients_clear(prn__trainer *trainer, prn_error *error);
/* Adds the gradients of `loss` (one of the loss programs) on a batch; waits for the loss. */
prn_status prn__gradients_add(prn__trainer *trainer, const prn__batch *batch, prn__compiled *loss, double *value, prn_error *error);

/* ---- terms.c ---- */
/* Embeddings of the teacher for a batch, when `loss` uses them. Comes before the batch's own forward pass, whose memory it uses. */
prn_status prn__teacher_embed(prn__trainer *trainer, const prn__batch *batch, const prn__compiled *loss, prn_error *error);
/* Binds the teacher's rows from `first` on for one direction of a loss program. */
void prn__teacher_bind(prn__trainer *trainer, prn__compiled *loss, int side, int64_t first);
/* Adds the penalty's gradient; its value into `value`. */
prn_status prn__penalty_run(prn__trainer *trainer, double *value, prn_error *error);

/* Before a vector is read or written as a whole. */
prn_status prn__vector_settle(prn__trainer *trainer, const prn_vector *vector, prn_error *error);
void prn__vectors_init(prn__trainer *trainer);
void prn__vectors_fini(prn__trainer *trainer);

#endif
