/* core/train/programs.c: the programs of a step that are not towers: loss, penalty, optimizer, clearing, flat vectors. */
#include <math.h>
#include <string.h>

#include "train/trainer_internal.h"

static const int32_t NO_INPUTS[PRN_OP_MAX_INPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};

/* ---- composing ----------------------------------------------------------------------------------------------------------- */

typedef struct composing {
    prn__graph *graph;
    int32_t total;        /* of the terms so far */
    int terms, adds;      /* names given, terms added */
    const prn_vector *vectors[PRN__PENALTY_VECTORS];
    int32_t tensors[PRN__PENALTY_VECTORS];
    int vector_count, is_overfull;
    int is_broken;        /* an operation has failed: the graph knows why */
} composing;

static uint32_t outputs_of(prn_op_kind kind)
{
    switch (kind) {
#define OUTPUTS(code, value, name, inputs, outputs) case PRN_OP_##code: return outputs;
        PRN_OP_LIST(OUTPUTS)
#undef OUTPUTS
    default: return 1;
    }
}

static int32_t compose_operation(void *self, prn_op_kind kind, const int32_t *inputs, uint32_t input_count, const prn_op_attrs *attrs)
{
    composing *c = self;
    int32_t in[PRN_OP_MAX_INPUTS], out[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    char name[32];
    memcpy(in, NO_INPUTS, sizeof in);
    for (uint32_t i = 0; i < input_count && i < PRN_OP_MAX_INPUTS; i++) {
        in[i] = inputs[i];
    }
    (void)snprintf(name, sizeof name, "term.%d", c->terms++);
    uint32_t wanted = kind == PRN_OP_LINEAR && (attrs == NULL || attrs->activation == PRN_ACT_NONE) ? 1 : (1u << outputs_of(kind)) - 1;
    int32_t made = prn__graph_op(c->graph, kind, in, out, wanted, attrs, name);
    c->is_broken |= made == PRN_NO_TENSOR;
    return made;
}

/* A strategy that notices that an operation has failed may end there; then the reason goes behind what it says. */
static prn_status with_reason(const composing *c, prn_status status, prn_error *error)
{
    prn_error reason = PRN_ERROR_INIT;
    const prn_program *unused;
    if (status != PRN_OK && c->is_broken && error != NULL && prn__graph_finish(c->graph, &unused, &reason) != PRN_OK) {
        char own[PRN_ERROR_MESSAGE_BYTES];
        (void)snprintf(own, sizeof own, "%s", error->message);
        reason.message[sizeof reason.message / 2] = '\0'; /* both are shown, cut where they are long */
        own[sizeof own / 2 - 8] = '\0';
        (void)prn_error_set(error, status, "%s: %s", own, reason.message);
    }
    return status;
}

static void compose_add(void *self, int32_t term, double weight)
{
    composing *c = self;
    char name[32];
    c->adds++;
    (void)snprintf(name, sizeof name, "term.%d", c->terms++);
    c->total = c->total == PRN_NO_TENSOR ? prn__graph_axpby(c->graph, name, weight, term, 0, PRN_NO_TENSOR, PRN_NO_TENSOR)
                                         : prn__graph_axpby(c->graph, name, 1, c->total, weight, term, PRN_NO_TENSOR);
}

static int32_t compose_vector(void *self, const prn_vector *vector)
{
    composing *c = self;
    char name[32];
    for (int i = 0; i < c->vector_count; i++) {
        if (c->vectors[i] == vector) {
            return c->tensors[i];
        }
    }
    if (c->vector_count == PRN__PENALTY_VECTORS) {
        c->is_overfull = 1;
        return PRN_NO_TENSOR;
    }
    (void)snprintf(name, sizeof name, "vector%d", c->vector_count);
    const prn_dim dim = prn__fixed(vector->elements);
    int32_t tensor = prn__graph_bound(c->graph, name, prn__graph_slot(c->graph, name, PRN_REAL), 0, 1, &dim);
    c->vectors[c->vector_count] = vector;
    c->tensors[c->vector_count++] = tensor;
    return tensor;
}

/* ---- loss ------------------------------------------------------------------------------------------------------------------ */

static int32_t bound_rows(prn__graph *g, const char *name, int32_t symbol, int64_t columns)
{
    const prn_dim dims[2] = {prn__sized(1, symbol), prn__fixed(columns)};
    return prn__graph_bound(g, name, prn__graph_slot(g, name, PRN_REAL), 0, columns > 0 ? 2 : 1, dims);
}

static int32_t similarity(prn__graph *g, int32_t rows, int32_t columns, int32_t scale, const char *name)
{
    int32_t inputs[PRN_OP_MAX_INPUTS] = {rows, columns, scale, PRN_NO_TENSOR, PRN_NO_TENSOR};
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    return prn__graph_op(g, PRN_OP_SIMILARITY, inputs, outputs, 1, NULL, name);
}

/* Rows R of one side against all M items of the other. Symbols: R, M. */
prn_status prn__loss_graph(const prn__trainer *t, const prn__loss_terms *terms, prn__graph **result, prn_error *error)
{
    prn__graph *g;
    int32_t r, m, parameters, rows, columns, row_gradients, column_gradients, scale, labels, weights, total, logits, slot;
    int32_t inputs[PRN_OP_MAX_INPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    composing c = {.total = PRN_NO_TENSOR};
    prn_status status = prn__graph_create(terms == NULL ? "contrastive_loss" : terms->is_alone ? "memory_loss" : "extended_loss", &g, error);
    *result = NULL;
    if (status != PRN_OK) {
        return status;
    }
    r = prn__graph_symbol(g, "R", t->tile);
    m = prn__graph_symbol(g, "M", t->config.batch);
    parameters = prn__graph_slot(g, "parameters", PRN_REAL);
    rows = bound_rows(g, "rows", r, t->embed_dim);
    row_gradients = bound_rows(g, "row_gradients", r, t->embed_dim);
    slot = prn__graph_slot(g, "labels", PRN_I32);
    labels = prn__graph_bound(g, "labels", slot, 0, 1, (const prn_dim[1]){prn__sized(1, r)});
    weights = bound_rows(g, "row_weights", r, 0);
    columns = bound_rows(g, "columns", m, t->embed_dim);
    column_gradients = bound_rows(g, "column_gradients", m, t->embed_dim);
    slot = prn__graph_slot(g, "tile_loss", PRN_REAL);
    total = prn__graph_bound(g, "tile_loss", slot, 0, 0, NULL);
    scale = prn__graph_bound(g, "logit_scale", parameters, t->logit_scale_offset, 0, NULL);
    slot = prn__graph_slot(g, "scale_gradient", PRN_REAL);
    const int32_t scale_gradient = prn__graph_bound(g, "scale_gradient", slot, 0, 0, NULL);
    logits = similarity(g, rows, columns, scale, "logits");
    c.graph = g;
    if (terms == NULL || !terms->is_alone) {
        inputs[0] = logits;
        inputs[1] = labels;
        c.total = prn__graph_op(g, PRN_OP_CROSS_ENTROPY, inputs, outputs, 3, NULL, "row_losses");
    }
    if (terms != NULL) {
        prn_composer composer = {.struct_size = sizeof composer, .self = &c, .logits = logits, .rows = rows, .columns = columns, .log_scale = scale,
                                 .teacher_logits = PRN_NO_TENSOR, .teacher_rows = PRN_NO_TENSOR, .teacher_columns = PRN_NO_TENSOR,
                                 .teacher_log_scale = PRN_NO_TENSOR, .weights = PRN_NO_TENSOR, .operation = compose_operation, .add = compose_add};
        if (terms->has_teacher) { /* what no term uses is dropped when the program is finished */
            composer.teacher_rows = bound_rows(g, "teacher_rows", r, t->embed_dim);
            composer.teacher_columns = bound_rows(g, "teacher_columns", m, t->embed_dim);
            slot = prn__graph_slot(g, "teacher_parameters", PRN_REAL);
            composer.teacher_log_scale = prn__graph_bound(g, "teacher_logit_scale", slot, t->logit_scale_offset, 0, NULL);
            composer.teacher_logits = similarity(g, composer.teacher_rows, composer.teacher_columns, composer.teacher_log_scale, "teacher_logits");
        }
        status = with_reason(&c, terms->compose(terms->context, &composer, error), error);
        if (status == PRN_OK && c.adds == 0 && terms->is_alone) {
            status = prn_error_set(error, PRN_INVALID, "the loss on memory batches has no term; add one with `add`, or ask for no memory batch");
        }
    }
    if (status == PRN_OK) {
        (void)prn__graph_dot(g, "tile_loss", c.total, weights, PRN_NO_TENSOR, total);
        status = prn__graph_derive(g, "backward", &(prn__gradient){c.total, weights, 0}, 1,
                                   (const prn__gradient[3]){{rows, row_gradients, 1}, {columns, column_gradients, 1}, {scale, scale_gradient, 1}}, 3,
                                   PRN_NO_SYMBOL, PRN_NO_SYMBOL, 0, error);
    }
    if (status != PRN_OK) {
        prn__graph_destroy(g);
        return status;
    }
    *result = g;
    return PRN_OK;
}

/* A scalar of the parameters and its gradient. Slots: parameters, gradients, one (1), penalty (1), vector0.. as `vectors` names them. */
prn_status prn__penalty_graph(const prn__trainer *t, const prn__loss_terms *terms, const prn_vector **vectors, prn__graph **result, prn_error *error)
{
    prn__graph *g;
    composing c = {.total = PRN_NO_TENSOR};
    prn_status status = prn__graph_create("penalty", &g, error);
    *result = NULL;
    if (status != PRN_OK) {
        return status;
    }
    const prn_dim flat = prn__fixed(t->flat_elements);
    int32_t weights = prn__graph_bound(g, "weights", prn__graph_slot(g, "parameters", PRN_REAL), 0, 1, &flat);
    int32_t gradient = prn__graph_bound(g, "gradient", prn__graph_slot(g, "gradients", PRN_REAL), 0, 1, &flat);
    int32_t one = prn__graph_bound(g, "one", prn__graph_slot(g, "one", PRN_REAL), 0, 0, NULL);
    int32_t value = prn__graph_bound(g, "penalty", prn__graph_slot(g, "penalty", PRN_REAL), 0, 0, NULL);
    c.graph = g;
    const prn_composer composer = {.struct_size = sizeof composer, .self = &c, .logits = PRN_NO_TENSOR, .rows = PRN_NO_TENSOR, .columns = PRN_NO_TENSOR,
                                   .log_scale = PRN_NO_TENSOR, .teacher_logits = PRN_NO_TENSOR, .teacher_rows = PRN_NO_TENSOR,
                                   .teacher_columns = PRN_NO_TENSOR, .teacher_log_scale = PRN_NO_TENSOR, .weights = weights,
                                   .operation = compose_operation, .vector = compose_vector, .add = compose_add};
    status = with_reason(&c, terms->compose(terms->context, &composer, error), error);
    if (status == PRN_OK && c.is_overfull) {
        status = prn_error_set(error, PRN_INVALID, "a penalty may use at most %d vectors", PRN__PENALTY_VECTORS);
    }
    if (status == PRN_OK && c.adds == 0) {
        status = prn_error_set(error, PRN_INVALID, "the penalty has no term; add one with `add`, or leave compose_penalty out");
    }
    if (status == PRN_OK) {
        (void)prn__graph_axpby(g, "penalty", 1, c.total, 0, PRN_NO_TENSOR, value);
        status = prn__graph_derive(g, "backward", &(prn__gradient){c.total, one, 0}, 1, &(prn__gradient){weights, gradient, 1}, 1, PRN_NO_SYMBOL,
                                   PRN_NO_SYMBOL, 0, error);
    }
    if (status != PRN_OK) {
        prn__graph_destroy(g);
        return status;
    }
    memcpy(vectors, c.vectors, sizeof c.vectors);
    *result = g;
    return PRN_OK;
}

/* ---- optimizer -------------------------------------------------------------------------------------------------------------- */

static int32_t flat_tensor(prn__graph *g, const char *name, int32_t slot, int64_t offset, int64_t elements)
{
    const prn_dim dim = prn__fixed(elements);
    return prn__graph_bound(g, name, slot, offset, 1, &dim);
}

/* Where the vocabulary's table lies, a range apart: its rows have flags (rows.c). */
typedef struct range {
    int64_t begin, end;
    int is_table;
} range;

static int ranges_of(const prn__trainer *t, int64_t begin, int64_t end, range ranges[3])
{
    const int64_t first = t->table->offset, last = first + t->table->elements;
    int count = 0;
    if (t->is_held || last <= begin || first >= end) {
        ranges[count++] = (range){begin, end, 0};
        return count;
    }
    if (first > begin) {
        ranges[count++] = (range){begin, first, 0};
    }
    ranges[count++] = (range){first, last, 1};
    if (end > last) {
        ranges[count++] = (range){last, end, 0};
    }
    return count;
}

/* Of a slot that is laid out as the parameters are: (n), or the table as a matrix. */
static int32_t range_tensor(const prn__trainer *t, prn__graph *g, const char *name, int32_t slot, const range *r)
{
    const prn_dim table[2] = {prn__fixed(t->table->shape[0]), prn__fixed(t->table->shape[1])};
    char label[64];
    if (!r->is_table) {
        (void)snprintf(label, sizeof label, "%s.%lld", name, (long long)r->begin);
        return flat_tensor(g, label, slot, r->begin, r->end - r->begin);
    }
    (void)snprintf(label, sizeof label, "%s.table", name);
    return prn__graph_bound(g, label, slot, r->begin, 2, table);
}

/* Flags of the table's rows, where the programs have all gradients in one vector. */
static int32_t flags_tensor(const prn__trainer *t, prn__graph *g)
{
    const prn_dim rows = prn__fixed(t->row_count);
    return t->is_held ? PRN_NO_TENSOR : prn__graph_bound(g, "table_rows", prn__graph_slot(g, "table_rows", PRN_U8), 0, 1, &rows);
}

/* Into element `index` of the norms. */
static void squared_norm(const prn__trainer *t, prn__graph *g, const char *name, int32_t slot, const range *r, int32_t flags, int32_t norms, size_t index)
{
    const int32_t gradient = range_tensor(t, g, name, slot, r);
    char label[160];
    (void)snprintf(label, sizeof label, "norm %s", name);
    (void)prn__graph_dot(g, label, gradient, gradient, r->is_table ? flags : PRN_NO_TENSOR, prn__graph_bound(g, label, norms, (int64_t)index, 0, NULL));
}

/* AdamW on one range. slots: parameters, m, v, gradients. */
static void update_range(const prn__trainer *t, prn__graph *g, const int32_t slots[4], int32_t hyper, const range *r, int32_t flags, double decay)
{
    static const char *const names[4] = {"p", "m", "v", "g"};
    const prn__optimizer_config *o = &t->config.optimizer;
    const range gradient = t->is_held ? (range){0, r->end - r->begin, 0} : *r;
    const prn_op_attrs attrs = {.alpha = o->beta1, .beta = o->beta2, .epsilon = o->epsilon, .decay = decay};
    int32_t inputs[PRN_OP_MAX_INPUTS] = {PRN_NO_TENSOR, hyper, r->is_table ? flags : PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    int32_t outputs[PRN_OP_MAX_OUTPUTS];
    for (int i = 0; i < 3; i++) {
        outputs[i] = range_tensor(t, g, names[i], slots[i], r);
    }
    inputs[0] = range_tensor(t, g, names[3], slots[3], &gradient);
    (void)prn__graph_op(g, PRN_OP_ADAMW, inputs, outputs, 7, &attrs, decay != 0 ? "adamw_decay" : "adamw");
}

/* Segments: norm (sum of squares of each parameter's gradient, part by part, as prn__tower_update says), update (AdamW on what decays and on what does
 * not, then the clamp of logit_scale). Where the towers hold their gradients, it is all about logit_scale, the one parameter that no tower has. */
prn_status prn__optimizer_graph(const prn__trainer *t, const prn__model *model, prn__graph **result, prn_error *error)
{
    const prn__optimizer_config *o = &t->config.optimizer;
    prn__graph *g;
    int32_t slot, slots[4], hyper, norms, scale;
    static const char *const names[4] = {"parameters", "m", "v", "gradients"};
    prn_status status = prn__graph_create("optimizer", &g, error);
    *result = NULL;
    if (status != PRN_OK) {
        return status;
    }
    for (int i = 0; i < 4; i++) {
        slots[i] = prn__graph_slot(g, t->is_held && i == 3 ? "scale_gradient" : names[i], i == 1 || i == 2 ? prn__moments_type(t) : PRN_REAL);
    }
    slot = prn__graph_slot(g, "hyper", PRN_REAL);
    hyper = flat_tensor(g, "hyper", slot, 0, PRN__HYPER_COUNT);
    norms = prn__graph_slot(g, "norms", PRN_REAL);
    const int32_t flags = flags_tensor(t, g);
    prn__graph_segment(g, "norm");
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        int64_t elements[2], first = t->is_held ? 0 : p->offset;
        const int parts = prn__parameter_parts(model, p, elements);
        for (int k = 0; k < parts && (!t->is_held || p->offset == model->logit_scale_offset); first += elements[k++]) {
            const range whole = {first, first + elements[k], p == t->table && !t->is_held};
            squared_norm(t, g, p->name, slots[3], &whole, flags, norms, 2 * i + (size_t)k);
        }
    }

    prn__graph_segment(g, "update");
    for (int part = 0; part < 2; part++) {
        int64_t begin = part == 0 ? 0 : model->decay_elements, end = part == 0 ? model->decay_elements : model->flat_elements;
        range ranges[3];
        if (t->is_held) {
            end = model->logit_scale_offset + (model->logit_scale_offset >= begin && model->logit_scale_offset < end);
            begin = model->logit_scale_offset;
        }
        const int count = end > begin ? ranges_of(t, begin, end, ranges) : 0;
        for (int k = 0; k < count; k++) {
            update_range(t, g, slots, hyper, &ranges[k], flags, part == 0 ? o->decay : 0);
        }
    }
    {
        int32_t inputs[PRN_OP_MAX_INPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
        int32_t outputs[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
        prn_op_attrs attrs;
        memset(&attrs, 0, sizeof attrs);
        attrs.alpha = 0;
        attrs.beta = log(100);
        scale = prn__graph_bound(g, "logit_scale", slots[0], t->logit_scale_offset, 0, NULL);
        inputs[0] = scale;
        outputs[0] = scale;
        (void)prn__graph_op(g, PRN_OP_CLAMP, inputs, outputs, 1, &attrs, "clamp_logit_scale");
    }
    *result = g;
    return PRN_OK;
}

/* Segments: gradients (the flat vector, or logit_scale's and the table's), embeddings (both embedding gradients; symbol M). */
prn_status prn__clear_graph(const prn__trainer *t, prn__graph **result, prn_error *error)
{
    prn__graph *g;
    int32_t slot, m;
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    const int32_t inputs[PRN_OP_MAX_INPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    prn_op_attrs attrs;
    prn_status status = prn__graph_create("clear", &g, error);
    *result = NULL;
    if (status != PRN_OK) {
        return status;
    }
    memset(&attrs, 0, sizeof attrs);
    m = prn__graph_symbol(g, "M", t->config.batch);
    prn__graph_segment(g, "gradients");
    slot = prn__graph_slot(g, t->is_held ? "scale_gradient" : "gradients", PRN_REAL);
    range ranges[3];
    const int32_t flags = flags_tensor(t, g);
    const int count = ranges_of(t, 0, t->is_held ? 1 : t->flat_elements, ranges);
    for (int i = 0; i < count; i++) {
        const int32_t rows[PRN_OP_MAX_INPUTS] = {ranges[i].is_table ? flags : PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
        outputs[0] = range_tensor(t, g, "gradients", slot, &ranges[i]);
        (void)prn__graph_op(g, PRN_OP_FILL, rows, outputs, 1, &attrs, ranges[i].is_table ? "clear_table" : "clear_gradients");
    }
    if (prn__table_is_apart(t)) {
        const prn_dim shape[2] = {prn__fixed(t->row_count), prn__fixed(t->table->shape[1])}, all = prn__fixed(t->row_count);
        const int32_t flags_of[PRN_OP_MAX_INPUTS] = {prn__graph_bound(g, "table_rows", prn__graph_slot(g, "table_rows", PRN_U8), 0, 1, &all), PRN_NO_TENSOR,
                                                     PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
        outputs[0] = prn__graph_bound(g, "table_gradient", prn__graph_slot(g, "table_gradient", PRN_REAL), 0, 2, shape);
        (void)prn__graph_op(g, PRN_OP_FILL, flags_of, outputs, 1, &attrs, "clear_table");
    }
    prn__graph_segment(g, "embeddings");
    for (int side = 0; side < 2; side++) {
        const char *name = side == 0 ? "image_gradients" : "text_gradients";
        slot = prn__graph_slot(g, name, PRN_REAL);
        outputs[0] = prn__graph_bound(g, name, slot, 0, 2, (const prn_dim[2]){prn__sized(1, m), prn__fixed(t->embed_dim)});
        (void)prn__graph_op(g, PRN_OP_FILL, inputs, outputs, 1, &attrs, side == 0 ? "clear_image_gradients" : "clear_text_gradients");
    }
    *result = g;
    return PRN_OK;
}

/* What rows of the vocabulary's table lack of the decay of n updates, at these rates (rows.c). Symbol n; slots: parameters, rates (n), table_rows. */
prn_status prn__decay_graph(const prn__trainer *t, prn__graph **result, prn_error *error)
{
    prn__graph *g;
    prn_status status = prn__graph_create("late_decay", &g, error);
    *result = NULL;
    if (status != PRN_OK) {
        return status;
    }
    const prn_dim updates = prn__sized(1, prn__graph_symbol(g, "n", PRN__LATE_UPDATES)), rows = prn__fixed(t->row_count);
    const range table = {t->table->offset, t->table->offset + t->table->elements, 1};
    const prn_op_attrs attrs = {.decay = t->table->offset < t->model->decay_elements ? t->config.optimizer.decay : 0};
    int32_t inputs[PRN_OP_MAX_INPUTS], outputs[PRN_OP_MAX_OUTPUTS];
    memcpy(inputs, NO_INPUTS, sizeof inputs);
    memcpy(outputs, NO_INPUTS, sizeof outputs);
    outputs[0] = range_tensor(t, g, "p", prn__graph_slot(g, "parameters", PRN_REAL), &table);
    inputs[0] = prn__graph_bound(g, "rates", prn__graph_slot(g, "rates", PRN_REAL), 0, 1, &updates);
    inputs[1] = prn__graph_bound(g, "table_rows", prn__graph_slot(g, "table_rows", PRN_U8), 0, 1, &rows);
    (void)prn__graph_op(g, PRN_OP_DECAY_ROWS, inputs, outputs, 1, &attrs, "late_decay");
    *result = g;
    return PRN_OK;
}

/* ---- flat vectors ------------------------------------------------------------------------------------------------------------ */

/* One chunk of n elements at a time. Segments: fill (y = alpha), scale (y = alpha a), axpby (y = alpha a + beta b), multiply (y = a b), dot. */
prn_status prn__vectors_graph(prn__graph **result, prn_error *error)
{
    prn__graph *g;
    prn_op_attrs attrs;
    prn_status status = prn__graph_create("flat_vectors", &g, error);
    *result = NULL;
    if (status != PRN_OK) {
        return status;
    }
    memset(&attrs, 0, sizeof attrs);
    attrs.alpha = 1;
    const prn_dim chunk = prn__sized(1, prn__graph_symbol(g, "n", PRN__VECTOR_CHUNK));
    int32_t a = prn__graph_bound(g, "a", prn__graph_slot(g, "a", PRN_REAL), 0, 1, &chunk);
    int32_t b = prn__graph_bound(g, "b", prn__graph_slot(g, "b", PRN_REAL), 0, 1, &chunk);
    int32_t y = prn__graph_bound(g, "y", prn__graph_slot(g, "y", PRN_REAL), 0, 1, &chunk);
    int32_t scalars = prn__graph_slot(g, "scalars", PRN_REAL);
    int32_t alpha = prn__graph_bound(g, "alpha", scalars, 0, 0, NULL), beta = prn__graph_bound(g, "beta", scalars, 1, 0, NULL);
    int32_t sum = prn__graph_bound(g, "sum", prn__graph_slot(g, "sum", PRN_REAL), 0, 0, NULL);
    int32_t inputs[PRN_OP_MAX_INPUTS], outputs[PRN_OP_MAX_OUTPUTS];
    memcpy(inputs, NO_INPUTS, sizeof inputs);

    prn__graph_segment(g, "fill");
    memcpy(outputs, NO_INPUTS, sizeof outputs);
    outputs[0] = y;
    (void)prn__graph_op(g, PRN_OP_FILL, inputs, outputs, 1, &attrs, "ones");
    inputs[0] = y;
    inputs[1] = alpha;
    (void)prn__graph_op(g, PRN_OP_MULTIPLY, inputs, outputs, 1, NULL, "filled");

    prn__graph_segment(g, "scale");
    inputs[0] = a;
    (void)prn__graph_op(g, PRN_OP_MULTIPLY, inputs, outputs, 1, NULL, "scaled");

    prn__graph_segment(g, "axpby");
    memcpy(outputs, NO_INPUTS, sizeof outputs);
    int32_t left = prn__graph_op(g, PRN_OP_MULTIPLY, inputs, outputs, 1, NULL, "alpha_a");
    memcpy(outputs, NO_INPUTS, sizeof outputs);
    inputs[0] = b;
    inputs[1] = beta;
    int32_t right = prn__graph_op(g, PRN_OP_MULTIPLY, inputs, outputs, 1, NULL, "beta_b");
    (void)prn__graph_axpby(g, "added", 1, left, 1, right, y);

    prn__graph_segment(g, "multiply");
    inputs[0] = a;
    inputs[1] = b;
    memcpy(outputs, NO_INPUTS, sizeof outputs);
    outputs[0] = y;
    (void)prn__graph_op(g, PRN_OP_MULTIPLY, inputs, outputs, 1, NULL, "multiplied");

    prn__graph_segment(g, "dot");
    (void)prn__graph_dot(g, "dot", a, b, PRN_NO_TENSOR, sum);
    *result = g;
    return PRN_OK;
}
