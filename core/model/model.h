/* core/model/model.h: CLIP configurations, parameters and towers as programs.
 *
 * A model is a configuration plus the table of its parameters in one flat vector. The vector's first part holds the
 * parameters that weight decay applies to, the second part the others, so that AdamW is two operations.
 * Names and shapes are open_clip's, so weights go in and out unchanged.
 */
#ifndef PRN_MODEL_MODEL_H
#define PRN_MODEL_MODEL_H

#include "program/graph.h"

typedef struct prn__model_config {
    char name[64];
    int64_t embed_dim; /* E */
    int quick_gelu;
    struct {
        int64_t image_size, patch_size, width, layers, head_width; /* pixels, pixels, C, blocks, D */
        double mlp_ratio;
    } vision;
    struct {
        int64_t context_length, vocab_size, width, heads, layers;
        double mlp_ratio;
    } text;
    float mean[3], std[3]; /* CLIP's unless the configuration says otherwise */
} prn__model_config;

/* Built-in configurations, in listing order. */
size_t prn__model_config_count(void);
const prn__model_config *prn__model_config_at(size_t index);
/* A built-in name; a path to a folder with open_clip_config.json; or a path to a .json file (either hub layout or bare
 * model_cfg). Unknown names suggest. Towers outside the family (ResNet, timm, HF text, ...) are PRN_UNSUPPORTED, named. */
prn_status prn__model_config_resolve(const char *name_or_path, prn__model_config *config, prn_error *error);
prn_status prn__model_config_parse(const char *json, const char *origin, prn__model_config *config, prn_error *error);
prn_status prn__model_config_validate(const prn__model_config *config, prn_error *error);
/* open_clip_config.json's text; caller frees with prn__free. */
char *prn__model_config_json(const prn__model_config *config);

typedef struct prn__parameter {
    const char *name; /* open_clip's */
    uint32_t rank;
    int64_t shape[4];
    int64_t offset;   /* elements, into the flat vector */
    int64_t elements;
    int decays;
} prn__parameter;

typedef enum prn__decay_rule {
    PRN__DECAY_DIMENSIONS = 0, /* ndim >= 2 and no norm, bias, logit_scale: open_clip at TiC-CLIP's commit */
    PRN__DECAY_NO_EMBEDDINGS = 1 /* the newer rule: position, class and token embeddings do not decay either */
} prn__decay_rule;

typedef struct prn__model {
    prn__model_config config;
    prn__parameter *parameters;
    size_t parameter_count;
    int64_t elements;       /* of the flat vector; gaps for alignment are not counted here */
    int64_t flat_elements;  /* with alignment gaps (each tensor starts at a multiple of 16 elements; gaps stay zero) */
    int64_t decay_elements; /* [0, decay_elements) decays */
    int64_t logit_scale_offset;
} prn__model;

prn_status prn__model_create(const prn__model_config *config, prn__decay_rule rule, prn__model **model, prn_error *error);
void prn__model_destroy(prn__model *model);
const prn__parameter *prn__model_parameter(const prn__model *model, const char *name); /* NULL when absent */

/* open_clip's initialisation, from (seed, parameter, index). flat: (flat_elements) fp32. */
void prn__model_init(const prn__model *model, uint64_t seed, float *flat);

/* model directory: open_clip_config.json + open_clip_model.safetensors. */
prn_status prn__model_load(const prn__model *model, const char *folder, float *flat, prn_error *error);
prn_status prn__model_save(const prn__model *model, const char *folder, const float *flat, prn_error *error);

/* AdamW inside a tower's program: a parameter's gradient lives in the workspace and only until it has been used up, so no vector of all
 * gradients exists. Slots besides a training tower's: m, v (flat, as the parameters), hyper (8, see ADAMW), norms (two elements a parameter, in the
 * model's order: the sum of squares of its gradient, of each part that prn__parameter_parts names; the second of a whole one is not written); of a
 * text tower also table_rows (U8: prn_row_flags of the vocabulary's table). */
typedef struct prn__tower_update {
    double beta1, beta2, epsilon, decay;
    int is_late; /* 0: each parameter is updated within "backward", as soon as its gradient is complete; 1: all in a segment "update" */
    prn_type moments; /* PRN_REAL or PRN_BF16 */
    int table_apart;  /* 1: the gradient of the vocabulary's table lies in a slot of its own, table_gradient (V, width), where it is added to what is
                       * there, and only the rows of the batch's tokens are touched; 0: in the workspace, all rows */
} prn__tower_update;

/* What of a tower's activations the backward pass computes again. No result depends on it, not by a bit. */
typedef enum prn__checkpointing {
    PRN__CHECKPOINT_NONE = 0,
    PRN__CHECKPOINT_BLOCKS = 1,   /* each block from what goes into it */
    PRN__CHECKPOINT_SELECTIVE = 2, /* attention and its projections: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer
                                    * Models", section 5, which keeps the projections */
    PRN__CHECKPOINT_TOWERS = 3     /* each block, and of the text tower all: a trainer's towers then take turns on one memory. For a program, as BLOCKS */
} prn__checkpointing;

static inline int prn__checkpoints_blocks(prn__checkpointing how)
{
    return how == PRN__CHECKPOINT_BLOCKS || how == PRN__CHECKPOINT_TOWERS;
}

/* Of a training tower without `every_row` or `update`: the body is all up to what the rows that are read attend to, in its last block; the head is what
 * comes then, of these rows alone. */
typedef enum prn__tower_part { PRN__TOWER_WHOLE = 0, PRN__TOWER_BODY = 1 } prn__tower_part;

typedef struct prn__tower_options {
    int64_t max_items;  /* B's maximum */
    int64_t max_tokens; /* N's maximum (text); 0: max_items * context_length */
    int training;       /* 1: with a backward segment */
    prn__checkpointing checkpoint;
    int recompute;      /* 1: layer norms, activations and patches are computed again in the backward pass instead of kept; attention too, in a tower so
                         * wide that it is a small part of the work, and there, of long captions, the sums behind it */
    int every_row;      /* 1: all rows of the last block are computed, as the model is defined; 0: only those that are read. The same results */
    const prn__tower_update *update; /* NULL: gradients are added to the slot "gradients". Not with `every_row` */
    prn__tower_part part;
} prn__tower_options;

/* How many parts a tower reads a parameter in, 1 or 2, one behind the other, and their elements: of the last block's input projection the queries
 * are read apart, because only rows that are read have one. */
int prn__parameter_parts(const prn__model *model, const prn__parameter *parameter, int64_t elements[2]);

/* Image tower. Symbols: "B". Slots: workspace, parameters, gradients (training), images (U8: B,S,S,3),
 * embeddings (B,E; L2-normalised), embedding_gradients (B,E; training). Segments: forward, backward. */
prn_status prn__model_image_tower(const prn__model *model, const prn__tower_options *options, prn__graph **graph, prn_error *error);
/* Text tower over packed rows. Symbols: "B", "N". Slots: workspace, parameters, gradients, tokens (I32: N), positions (I32: N),
 * offsets (I32: B+1, may be longer), ends (I32: B; row of each item's end-of-text token), embeddings, embedding_gradients. */
prn_status prn__model_text_tower(const prn__model *model, const prn__tower_options *options, prn__graph **graph, prn_error *error);

/* The head of a tower of at least one layer. Symbols: "B". Slots: parameters, gradients, embeddings and embedding_gradients as the whole tower's; between
 * it and the body, which has them in the place of the embeddings: attended, residual (B, width), and the gradients by these, attended_gradients,
 * residual_gradients, which its backward pass writes and the body's reads. `part` does not count. */
prn_status prn__model_tower_head(const prn__model *model, int is_text, const prn__tower_options *options, prn__graph **graph, prn_error *error);

/* Forward MACs of one image and one text of full context length, of the model as it is defined (`every_row`): a budget in MACs means the same whatever
 * a program leaves out. */
prn_status prn__model_forward_macs(const prn__model *model, double *image_macs, double *text_macs, prn_error *error);

#endif
