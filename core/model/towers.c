/* core/model/towers.c: the two towers of CLIP, written once as composition of operations.
 *
 * Everything else (shapes, backward pass, memory, MACs, printing) is read from these programs by core/program.
 * Packed text: the rows of all captions lie back to back, as long as they are. The tower is causal and read at the end-of-text row, so
 * what a padded form would hold after that row changes neither result nor gradient, and is left out.
 * Of the last block, only one row an item is read: it alone has a query, attends to the keys and values of all rows, and goes on. Its numbers are
 * those of the whole form, and rows that nobody reads have the gradient zero. The whole form (`every_row`) is what published MACs speak of. So that
 * block's input projection is read in two parts, the queries' and the keys' and values' (prn__parameter_parts): what is done for each
 * parameter is done for each part.
 * For a narrow tower, whose body takes a batch in blocks of few items (blocks.h), what comes after those rows have attended is a program of its own, the
 * head, which takes more items at a time: of so few rows, weights and their gradients would be most of what is read and written.
 * Invariants: operations of block i belong to group i + 1, the others to group 0; a failed call leaves its reason in the graph, which
 * prn__graph_finish reports, so no call here checks the one before it.
 */
#include <string.h>

#include "base/memory.h"
#include "model/model.h"

/* LayerNorm's epsilon, as PyTorch's default. */
static const double EPSILON = 1e-5;

typedef struct tower {
    const prn__model *model;
    prn__graph *graph;
    int32_t parameters; /* slot */
    int is_text;
} tower;

/* How a tower's rows lie, and which of them it is read at. */
typedef struct row_layout {
    int32_t offsets;   /* tensor of the row groups; PRN_NO_TENSOR: uniform */
    int32_t positions; /* T, rows an item, when uniform; else 0 */
    int32_t read;      /* tensor (B) of the rows that are read; PRN_NO_TENSOR: every item's first */
    int32_t heads;
    int causal;
} row_layout;

/* The parameter named prefix + name, as a matrix of (first dimension, all others) when it has more than two. */
static int32_t parameter(const tower *t, const char *prefix, const char *name)
{
    char full[128];
    prn_dim dims[2];
    uint32_t rank;
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    const prn__parameter *p = prn__model_parameter(t->model, full);
    if (p == NULL) {
        return PRN_NO_TENSOR;
    }
    rank = p->rank > 2 ? 2 : p->rank;
    dims[0] = prn__fixed(p->rank > 0 ? p->shape[0] : 1);
    dims[1] = prn__fixed(p->rank > 1 ? p->elements / p->shape[0] : 1);
    return prn__graph_bound(t->graph, full, t->parameters, p->offset, rank, dims);
}

/* Of a parameter whose first dimension is queries, keys and values one below the other: the queries (`part` 0), or the keys and values (1). */
static int32_t projection_part(const tower *t, const char *prefix, const char *name, int part)
{
    char full[160];
    prn_dim dims[2];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    const prn__parameter *p = prn__model_parameter(t->model, full);
    if (p == NULL) {
        return PRN_NO_TENSOR;
    }
    const int64_t third = p->elements / 3;
    (void)snprintf(full, sizeof full, "%s%s %s", prefix, name, part == 0 ? "q" : "kv");
    dims[0] = prn__fixed(p->shape[0] / 3 * (1 + part));
    dims[1] = prn__fixed(p->elements / p->shape[0]);
    return prn__graph_bound(t->graph, full, t->parameters, p->offset + part * third, p->rank, dims);
}

int prn__parameter_parts(const prn__model *model, const prn__parameter *parameter, int64_t elements[2])
{
    const char *const prefixes[2] = {"visual.", ""};
    const int64_t layers[2] = {model->config.vision.layers, model->config.text.layers};
    static const char *const names[2] = {"weight", "bias"};
    char full[128];
    for (int i = 0; i < 4; i++) {
        (void)snprintf(full, sizeof full, "%stransformer.resblocks.%lld.attn.in_proj_%s", prefixes[i / 2], (long long)layers[i / 2] - 1, names[i % 2]);
        if (strcmp(parameter->name, full) == 0) {
            elements[0] = parameter->elements / 3;
            elements[1] = parameter->elements - elements[0];
            return 2;
        }
    }
    elements[0] = parameter->elements;
    elements[1] = 0;
    return 1;
}

static int32_t norm(const tower *t, const char *prefix, const char *name, int32_t x)
{
    char gain[96], bias[96], label[128];
    (void)snprintf(gain, sizeof gain, "%s.weight", name);
    (void)snprintf(bias, sizeof bias, "%s.bias", name);
    (void)snprintf(label, sizeof label, "%s%s", prefix, name);
    return prn__graph_layer_norm(t->graph, label, x, parameter(t, prefix, gain), parameter(t, prefix, bias), EPSILON);
}

static int32_t linear(const tower *t, const char *prefix, const char *weight, const char *bias, int32_t x, int32_t residual, prn_activation activation,
                      const char *name)
{
    char label[128];
    (void)snprintf(label, sizeof label, "%s%s", prefix, name);
    return prn__graph_linear(t->graph, label, x, parameter(t, prefix, weight), parameter(t, prefix, bias), residual, activation, 0);
}

/* Into `out`, or a tensor of the workspace where that is PRN_NO_TENSOR. */
static int32_t read_rows(const tower *t, const row_layout *rows, const char *prefix, const char *name, int32_t x, int32_t out)
{
    char label[128];
    (void)snprintf(label, sizeof label, "%s%s", prefix, name);
    return prn__graph_gather_rows(t->graph, label, x, rows->read, rows->positions, out);
}

/* The attention of the rows that are read to all rows of h, (M, C) -> (B, C). What takes few rows is written first: in the backward pass it is then
 * added to what all rows have. */
static int32_t read_attention(const tower *t, const char *prefix, int32_t h, const row_layout *rows, int32_t out)
{
    char label[128];
    int32_t q = read_rows(t, rows, prefix, "attn.read", h, PRN_NO_TENSOR), kv;
    (void)snprintf(label, sizeof label, "%sattn.q", prefix);
    q = prn__graph_linear(t->graph, label, q, projection_part(t, prefix, "attn.in_proj_weight", 0), projection_part(t, prefix, "attn.in_proj_bias", 0),
                          PRN_NO_TENSOR, PRN_ACT_NONE, 0);
    (void)snprintf(label, sizeof label, "%sattn.kv", prefix);
    kv = prn__graph_linear(t->graph, label, h, projection_part(t, prefix, "attn.in_proj_weight", 1), projection_part(t, prefix, "attn.in_proj_bias", 1),
                           PRN_NO_TENSOR, PRN_ACT_NONE, 0);
    (void)snprintf(label, sizeof label, "%sattn", prefix);
    return prn__graph_read_attention(t->graph, label, q, kv, rows->offsets, rows->read, rows->heads, rows->causal, rows->positions, out);
}

/* What is read of an item in its last block, each (B, C): what its row has attended to, and the row itself. */
typedef struct reads {
    int32_t attended, residual;
} reads;

/* attention(norm(x)) of the rows that are read, and these; into `out`'s tensors, where it has some. */
static reads read_block(const tower *t, const char *prefix, int32_t x, const row_layout *rows, reads out)
{
    const int32_t residual = read_rows(t, rows, prefix, "read", x, out.residual);
    return (reads){read_attention(t, prefix, norm(t, prefix, "ln_1", x), rows, out.attended), residual};
}

/* x = residual + projection(attended), then x + mlp(norm(x)): a block behind its attention. */
static int32_t block_rest(const tower *t, const char *prefix, int32_t attended, int32_t residual)
{
    const prn_activation activation = t->model->config.quick_gelu ? PRN_ACT_QUICK_GELU : PRN_ACT_GELU;
    const int32_t x = linear(t, prefix, "attn.out_proj.weight", "attn.out_proj.bias", attended, residual, PRN_ACT_NONE, "attn.out_proj");
    const int32_t h = linear(t, prefix, "mlp.c_fc.weight", "mlp.c_fc.bias", norm(t, prefix, "ln_2", x), PRN_NO_TENSOR, activation, "mlp.c_fc");
    return linear(t, prefix, "mlp.c_proj.weight", "mlp.c_proj.bias", h, x, PRN_ACT_NONE, "mlp.c_proj");
}

/* x: (M, C) -> (M, C). */
static int32_t block(const tower *t, const char *prefix, int32_t x, const row_layout *rows)
{
    char label[128];
    int32_t h = linear(t, prefix, "attn.in_proj_weight", "attn.in_proj_bias", norm(t, prefix, "ln_1", x), PRN_NO_TENSOR, PRN_ACT_NONE, "attn.qkv");
    (void)snprintf(label, sizeof label, "%sattn", prefix);
    h = prn__graph_attention(t->graph, label, h, rows->offsets, rows->heads, rows->causal, rows->positions);
    return block_rest(t, prefix, h, x);
}

/* Sets the group of block i, too. */
static void block_begin(const tower *t, int64_t i, char prefix[96])
{
    (void)snprintf(prefix, 96, "%stransformer.resblocks.%lld.", t->is_text ? "" : "visual.", (long long)i);
    prn__graph_group(t->graph, (uint32_t)(i + 1));
}

/* x: (M, C) -> (M, C): the first blocks. */
static int32_t blocks(const tower *t, int64_t count, int32_t x, const row_layout *rows)
{
    char prefix[96];
    for (int64_t i = 0; i < count; i++) {
        block_begin(t, i, prefix);
        x = block(t, prefix, x, rows);
    }
    prn__graph_group(t->graph, 0);
    return x;
}

/* ---- the update inside the backward pass ---- */

typedef struct updating {
    const prn__model *model;
    const prn__tower_update *update;
    int32_t m, v, norms; /* slots */
    int32_t hyper;
    int32_t table, rows; /* the vocabulary's table, and flags of its rows; PRN_NO_TENSOR */
    int32_t (*late)[2];  /* (2 parameter_count): parameter or part of one, gradient, in the order in which they are complete */
    size_t late_count;
} updating;

static void update_parameter(const updating *u, prn__graph *graph, int32_t parameter, int32_t gradient)
{
    int32_t inputs[PRN_OP_MAX_INPUTS] = {gradient, u->hyper, parameter == u->table ? u->rows : PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {parameter, PRN_NO_TENSOR, PRN_NO_TENSOR};
    const prn_tensor *p = prn__graph_tensor(graph, parameter);
    char name[2][160];
    if (p == NULL) {
        return;
    }
    const prn_tensor like = *p; /* the array may move */
    prn_op_attrs attrs = {.alpha = u->update->beta1, .beta = u->update->beta2, .epsilon = u->update->epsilon,
                          .decay = like.offset < u->model->decay_elements ? u->update->decay : 0};
    (void)snprintf(name[0], sizeof name[0], "m %s", like.name);
    (void)snprintf(name[1], sizeof name[1], "v %s", like.name);
    outputs[1] = prn__graph_bound(graph, name[0], u->m, like.offset, like.rank, like.dim);
    outputs[2] = prn__graph_bound(graph, name[1], u->v, like.offset, like.rank, like.dim);
    (void)prn__graph_op(graph, PRN_OP_ADAMW, inputs, outputs, 0, &attrs, "adamw");
}

static void gradient_complete(void *context, prn__graph *graph, int32_t parameter, int32_t gradient)
{
    updating *u = context;
    const prn_tensor *p = prn__graph_tensor(graph, parameter);
    char name[160];
    for (size_t i = 0; i < u->model->parameter_count && p != NULL; i++) {
        const int64_t first = u->model->parameters[i].offset;
        if (p->offset >= first && p->offset < first + u->model->parameters[i].elements) {
            (void)snprintf(name, sizeof name, "norm %s", p->name);
            int32_t norm = prn__graph_bound(graph, name, u->norms, 2 * (int64_t)i + (p->offset > first), 0, NULL);
            (void)prn__graph_dot(graph, name, gradient, gradient, parameter == u->table ? u->rows : PRN_NO_TENSOR, norm);
            break;
        }
    }
    if (!u->update->is_late) {
        update_parameter(u, graph, parameter, gradient);
    } else if (u->late_count < 2 * u->model->parameter_count) {
        u->late[u->late_count][0] = parameter;
        u->late[u->late_count++][1] = gradient;
    }
}

enum { ATTENTION_WIDE = 256 };
static const double ATTENTION_ROWS_FRAC = 0.3; /* of the width: at 2 T MACs a value beside 12 C of the linear layers, attention is then 5 % of a block */
/* Captions of so many tokens on average keep as much as images do: the sum behind attention is a ninth of it, for a thirty-sixth of the tower's work. */
enum { LONG_CAPTION = 40 };

static prn__recompute recompute_of(const tower *t, const prn__tower_options *options)
{
    const prn__model_config *config = &t->model->config;
    const int64_t grid = config->vision.image_size / config->vision.patch_size, width = t->is_text ? config->text.width : config->vision.width;
    const int64_t rows = t->is_text ? config->text.context_length : grid * grid + 1;
    if (options->checkpoint == PRN__CHECKPOINT_SELECTIVE) {
        return PRN__RECOMPUTE_PROJECTIONS;
    }
    if (!options->recompute) {
        return PRN__RECOMPUTE_NOTHING;
    }
    const int is_small = width >= ATTENTION_WIDE && (double)rows <= ATTENTION_ROWS_FRAC * (double)width;
    if (!is_small || options->checkpoint != PRN__CHECKPOINT_NONE) {
        return PRN__RECOMPUTE_CHEAP;
    }
    const int is_long = t->is_text && (options->max_tokens > 0 ? options->max_tokens : options->max_items * rows) >= options->max_items * LONG_CAPTION;
    return is_long ? PRN__RECOMPUTE_SUMS : PRN__RECOMPUTE_ATTENTION;
}

/* `targets`: with no `update`. */
static prn_status backward(const tower *t, const prn__tower_options *options, const prn__gradient *seeds, uint32_t seed_count, const prn__gradient *targets,
                           uint32_t target_count, prn_error *error)
{
    prn__graph *graph = t->graph;
    updating u = {.model = t->model, .update = options->update, .table = PRN_NO_TENSOR, .rows = PRN_NO_TENSOR};
    prn__derive_options derive = {.checkpoint = prn__checkpoints_blocks(options->checkpoint), .recompute = recompute_of(t, options)};
    int32_t gradients = PRN_SLOT_WORKSPACE;
    prn__gradient apart;
    prn_status status;
    if (options->update == NULL) {
        gradients = prn__graph_slot(graph, "gradients", PRN_REAL);
    } else {
        const prn_dim eight = prn__fixed(8);
        u.m = prn__graph_slot(graph, "m", options->update->moments);
        u.v = prn__graph_slot(graph, "v", options->update->moments);
        u.norms = prn__graph_slot(graph, "norms", PRN_REAL);
        u.hyper = prn__graph_bound(graph, "hyper", prn__graph_slot(graph, "hyper", PRN_REAL), 0, 1, &eight);
        if (t->is_text) {
            const prn_dim rows = prn__fixed(t->model->config.text.vocab_size);
            u.table = parameter(t, "", "token_embedding.weight");
            u.rows = prn__graph_bound(graph, "table_rows", prn__graph_slot(graph, "table_rows", PRN_U8), 0, 1, &rows);
            if (options->update->table_apart) {
                const prn_dim shape[2] = {rows, prn__fixed(t->model->config.text.width)};
                const int32_t slot = prn__graph_slot(graph, "table_gradient", PRN_REAL);
                apart = (prn__gradient){u.table, prn__graph_bound(graph, "table_gradient", slot, 0, 2, shape), 1};
                targets = &apart;
                target_count = 1;
            }
        }
        u.late = prn__alloc_array(2 * t->model->parameter_count, sizeof *u.late);
        if (u.late == NULL) {
            return prn_error_set(error, PRN_NO_MEMORY, "no memory for the update of %zu parameters", t->model->parameter_count);
        }
        derive.complete = gradient_complete;
        derive.context = &u;
    }
    status = prn__graph_derive_with(graph, "backward", seeds, seed_count, targets, target_count, t->parameters, gradients, &derive, error);
    if (status == PRN_OK && options->update != NULL && options->update->is_late) {
        prn__graph_segment(graph, "update");
        for (size_t i = 0; i < u.late_count; i++) {
            update_parameter(&u, graph, u.late[i][0], u.late[i][1]);
        }
    }
    prn__free(u.late);
    return status;
}

static int64_t layers_of(const tower *t)
{
    return t->is_text ? t->model->config.text.layers : t->model->config.vision.layers;
}

/* Rows (B, C) to normalised embeddings (B, E) in their slot, and the backward pass when training. */
static prn_status finish(const tower *t, const prn__tower_options *options, int32_t rows, int32_t batch, const prn__gradient *targets, uint32_t target_count,
                         prn_error *error)
{
    prn__graph *graph = t->graph;
    const prn_dim shape[2] = {prn__sized(1, batch), prn__fixed(t->model->config.embed_dim)};
    int32_t slot, out, seed;
    rows = t->is_text ? norm(t, "", "ln_final", rows) : norm(t, "visual.", "ln_post", rows);
    rows = prn__graph_linear(graph, "projected", rows, parameter(t, "", t->is_text ? "text_projection" : "visual.proj"), PRN_NO_TENSOR, PRN_NO_TENSOR,
                             PRN_ACT_NONE, 1);
    slot = prn__graph_slot(graph, "embeddings", PRN_REAL);
    out = prn__graph_bound(graph, "embeddings", slot, 0, 2, shape);
    out = prn__graph_l2_normalise(graph, "normalise", rows, out);
    if (!options->training) {
        return PRN_OK;
    }
    slot = prn__graph_slot(graph, "embedding_gradients", PRN_REAL);
    seed = prn__graph_bound(graph, "embedding_gradients", slot, 0, 2, shape);
    return backward(t, options, &(prn__gradient){out, seed, 0}, 1, targets, target_count, error);
}

/* Between body and head: (B, C) each. */
static int32_t between(const tower *t, const char *name, int32_t batch)
{
    const prn_dim shape[2] = {prn__sized(1, batch), prn__fixed(t->is_text ? t->model->config.text.width : t->model->config.vision.width)};
    return prn__graph_bound(t->graph, name, prn__graph_slot(t->graph, name, PRN_REAL), 0, 2, shape);
}

/* All blocks of rows x (M, C), and what comes after them; or without the head. */
static prn_status rows_finish(const tower *t, const prn__tower_options *options, int32_t x, const row_layout *rows, int32_t batch, prn_error *error)
{
    const int64_t layers = layers_of(t);
    char prefix[96];
    if (options->every_row || layers == 0) {
        x = blocks(t, layers, x, rows);
        return finish(t, options, read_rows(t, rows, t->is_text ? "" : "visual.", "read", x, PRN_NO_TENSOR), batch, NULL, 0, error);
    }
    x = blocks(t, layers - 1, x, rows);
    block_begin(t, layers - 1, prefix);
    if (options->part == PRN__TOWER_BODY) {
        const reads out = {between(t, "attended", batch), between(t, "residual", batch)};
        (void)read_block(t, prefix, x, rows, out);
        prn__graph_group(t->graph, 0);
        const prn__gradient seeds[2] = {{out.attended, between(t, "attended_gradients", batch), 0}, {out.residual, between(t, "residual_gradients", batch), 0}};
        return backward(t, options, seeds, 2, NULL, 0, error);
    }
    const reads read = read_block(t, prefix, x, rows, (reads){PRN_NO_TENSOR, PRN_NO_TENSOR});
    x = block_rest(t, prefix, read.attended, read.residual);
    prn__graph_group(t->graph, 0);
    return finish(t, options, x, batch, NULL, 0, error);
}

static prn_status check(const prn__tower_options *options, prn_error *error)
{
    if (options->max_items < 1 || options->max_items > 1 << 24 || options->max_tokens < 0) {
        return prn_error_set(error, PRN_INVALID, "a tower needs max_items in 1..%d, not %lld", 1 << 24, (long long)options->max_items);
    }
    return PRN_OK;
}

prn_status prn__model_image_tower(const prn__model *model, const prn__tower_options *options, prn__graph **result, prn_error *error)
{
    const prn__model_config *config = &model->config;
    const int64_t side = config->vision.image_size, grid = side / config->vision.patch_size;
    tower t = {model, NULL, PRN_NO_TENSOR, 0};
    prn_op_attrs attrs;
    int32_t batch, slot, images, x;
    int32_t inputs[PRN_OP_MAX_INPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    prn_status status = check(options, error);

    *result = NULL;
    if (status == PRN_OK) {
        status = prn__graph_create("image_tower", &t.graph, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    batch = prn__graph_symbol(t.graph, "B", options->max_items);
    t.parameters = prn__graph_slot(t.graph, "parameters", PRN_REAL);
    slot = prn__graph_slot(t.graph, "images", PRN_U8);
    images = prn__graph_bound(t.graph, "images", slot, 0, 4, (const prn_dim[4]){prn__sized(1, batch), prn__fixed(side), prn__fixed(side), prn__fixed(3)});

    memset(&attrs, 0, sizeof attrs);
    attrs.patch = (int32_t)config->vision.patch_size;
    memcpy(attrs.mean, config->mean, sizeof attrs.mean);
    memcpy(attrs.std, config->std, sizeof attrs.std);
    inputs[0] = images;
    x = prn__graph_op(t.graph, PRN_OP_PATCHES, inputs, outputs, 1, &attrs, "patches");
    x = prn__graph_linear(t.graph, "visual.conv1", x, parameter(&t, "visual.", "conv1.weight"), PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_ACT_NONE, 0);

    memset(&attrs, 0, sizeof attrs);
    attrs.positions = (int32_t)(grid * grid + 1);
    inputs[0] = x;
    inputs[1] = parameter(&t, "visual.", "class_embedding");
    inputs[2] = parameter(&t, "visual.", "positional_embedding");
    outputs[0] = PRN_NO_TENSOR;
    x = prn__graph_op(t.graph, PRN_OP_CLASS_ROWS, inputs, outputs, 1, &attrs, "class_rows");
    x = norm(&t, "visual.", "ln_pre", x);
    const row_layout layout = {.offsets = PRN_NO_TENSOR, .positions = (int32_t)(grid * grid + 1), .read = PRN_NO_TENSOR,
                               .heads = (int32_t)(config->vision.width / config->vision.head_width)};
    status = rows_finish(&t, options, x, &layout, batch, error);
    if (status != PRN_OK) {
        prn__graph_destroy(t.graph);
        return status;
    }
    *result = t.graph;
    return PRN_OK;
}

prn_status prn__model_text_tower(const prn__model *model, const prn__tower_options *options, prn__graph **result, prn_error *error)
{
    const prn__model_config *config = &model->config;
    tower t = {model, NULL, PRN_NO_TENSOR, 1};
    int32_t batch, rows, slot, tokens, positions, offsets, ends, x;
    const int64_t max_tokens = options->max_tokens > 0 ? options->max_tokens : options->max_items * config->text.context_length;
    prn_status status = check(options, error);

    *result = NULL;
    if (status == PRN_OK) {
        status = prn__graph_create("text_tower", &t.graph, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    batch = prn__graph_symbol(t.graph, "B", options->max_items);
    rows = prn__graph_symbol(t.graph, "N", max_tokens);
    t.parameters = prn__graph_slot(t.graph, "parameters", PRN_REAL);
    slot = prn__graph_slot(t.graph, "tokens", PRN_I32);
    tokens = prn__graph_bound(t.graph, "tokens", slot, 0, 1, (const prn_dim[1]){prn__sized(1, rows)});
    slot = prn__graph_slot(t.graph, "positions", PRN_I32);
    positions = prn__graph_bound(t.graph, "positions", slot, 0, 1, (const prn_dim[1]){prn__sized(1, rows)});
    slot = prn__graph_slot(t.graph, "offsets", PRN_I32);
    offsets = prn__graph_bound(t.graph, "offsets", slot, 0, 1, (const prn_dim[1]){prn__fixed(options->max_items + 1)});
    slot = prn__graph_slot(t.graph, "ends", PRN_I32);
    ends = prn__graph_bound(t.graph, "ends", slot, 0, 1, (const prn_dim[1]){prn__sized(1, batch)});

    x = prn__graph_lookup(t.graph, "positional_rows", positions, parameter(&t, "", "positional_embedding"), PRN_NO_TENSOR);
    x = prn__graph_lookup(t.graph, "token_rows", tokens, parameter(&t, "", "token_embedding.weight"), x);
    const row_layout layout = {.offsets = offsets, .read = ends, .heads = (int32_t)config->text.heads, .causal = 1};
    status = rows_finish(&t, options, x, &layout, batch, error);
    if (status != PRN_OK) {
        prn__graph_destroy(t.graph);
        return status;
    }
    *result = t.graph;
    return PRN_OK;
}

prn_status prn__model_tower_head(const prn__model *model, int is_text, const prn__tower_options *options, prn__graph **result, prn_error *error)
{
    tower t = {model, NULL, PRN_NO_TENSOR, is_text};
    char prefix[96];
    prn_status status = check(options, error);
    *result = NULL;
    if (status == PRN_OK) {
        status = prn__graph_create(is_text ? "text_head" : "image_head", &t.graph, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    const int32_t batch = prn__graph_symbol(t.graph, "B", options->max_items);
    t.parameters = prn__graph_slot(t.graph, "parameters", PRN_REAL);
    const int32_t attended = between(&t, "attended", batch), residual = between(&t, "residual", batch);
    const prn__gradient targets[2] = {{attended, between(&t, "attended_gradients", batch), 0}, {residual, between(&t, "residual_gradients", batch), 0}};
    block_begin(&t, layers_of(&t) - 1, prefix);
    const int32_t x = block_rest(&t, prefix, attended, residual);
    prn__graph_group(t.graph, 0);
    status = finish(&t, options, x, batch, targets, 2, error);
    if (status != PRN_OK) {
        prn__graph_destroy(t.graph);
        return status;
    }
    *result = t.graph;
    return PRN_OK;
}

/* MACs of the first segment with one item. */
static prn_status one_item_macs(prn__graph *graph, int64_t tokens, double *macs, prn_error *error)
{
    const prn_program *program;
    const int64_t values[2] = {1, tokens};
    prn_status status = prn__graph_finish(graph, &program, error);
    if (status == PRN_OK) {
        *macs = prn__program_macs(program, 0, values, 0);
    }
    prn__graph_destroy(graph);
    return status;
}

prn_status prn__model_forward_macs(const prn__model *model, double *image_macs, double *text_macs, prn_error *error)
{
    const prn__tower_options options = {.max_items = 1, .every_row = 1};
    prn__graph *graph;
    prn_status status = prn__model_image_tower(model, &options, &graph, error);
    if (status == PRN_OK) {
        status = one_item_macs(graph, 0, image_macs, error);
    }
    if (status == PRN_OK) {
        status = prn__model_text_tower(model, &options, &graph, error);
    }
    if (status == PRN_OK) {
        status = one_item_macs(graph, model->config.text.context_length, text_macs, error);
    }
    return status;
}
