/* core/train/terms.c: what a strategy adds to a step: a teacher's embeddings, loss terms, a penalty, gradients of other batches.
 *
 * Invariants: without terms nothing of this exists and a step is the plain one, bit for bit; all memory is taken when the terms are set.
 */
#include "train/trainer_internal.h"

#include <string.h>

#include "base/memory.h"

static void drop(prn__trainer *t)
{
    prn_buffer **const buffers[] = {&t->teacher, &t->teacher_embeddings[0], &t->teacher_embeddings[1], &t->teacher_workspace, &t->terms_workspace,
                                    &t->scalars, &t->kept_gradients};
    prn__compiled_fini(&t->terms_loss);
    prn__compiled_fini(&t->memory_loss);
    prn__compiled_fini(&t->penalty);
    if (!t->is_split) { /* they were made for the teacher */
        prn__compiled_fini(&t->image_embed);
        prn__compiled_fini(&t->text_embed);
    }
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        prn__buffer_destroy(&t->device, *buffers[i]);
        *buffers[i] = NULL;
    }
    memset(&t->terms, 0, sizeof t->terms);
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static prn_status make_teacher(prn__trainer *t, const float *weights, prn_error *error)
{
    const int64_t embeddings = t->config.batch * t->embed_dim;
    prn__compiled *const towers[2] = {&t->image_embed, &t->text_embed};
    prn_status status = prn__buffer_create(&t->device, PRN_REAL, t->flat_elements, "the teacher", &t->teacher, NULL, error);
    for (int side = 0; side < 2 && status == PRN_OK; side++) {
        status = prn__buffer_create(&t->device, PRN_REAL, embeddings, "the teacher's embeddings", &t->teacher_embeddings[side], NULL, error);
    }
    if (status == PRN_OK) {
        status = t->device.backend->buffer_write(t->device.instance, t->teacher, 0, PRN_HOST_F32, weights, t->flat_elements, error);
    }
    if (status != PRN_OK || t->is_split) {
        return status;
    }
    if ((status = prn__tower_init(t, 0, 0, towers[0], error)) != PRN_OK || (status = prn__tower_init(t, 1, 0, towers[1], error)) != PRN_OK) {
        return status;
    }
    t->teacher_elements = most(prn__tower_elements(t, 0, towers[0]), prn__tower_elements(t, 1, towers[1]));
    status = prn__buffer_create(&t->device, PRN_REAL, t->teacher_elements, "the teacher's activations", &t->teacher_workspace, NULL, error);
    for (int side = 0; side < 2 && status == PRN_OK; side++) {
        prn__compiled_bind(towers[side], "workspace", t->teacher_workspace, 0);
        prn__compiled_bind(towers[side], "images", t->images[t->images_at], 0);
    }
    return status;
}

static prn_status make_loss(prn__trainer *t, prn_status (*compose)(void *, const prn_composer *, prn_error *), int is_alone, prn__compiled *loss, prn_error *error)
{
    const prn__loss_terms terms = {.compose = compose, .context = t->terms.context, .has_teacher = t->teacher != NULL, .is_alone = is_alone};
    prn__graph *graph;
    if (compose == NULL) {
        return PRN_OK;
    }
    prn_status status = prn__loss_graph(t, &terms, &graph, error);
    return status == PRN_OK ? prn__compiled_init(loss, graph, &t->device, error) : status;
}

static prn_status make_penalty(prn__trainer *t, prn_error *error)
{
    const prn__loss_terms terms = {.compose = t->terms.compose_penalty, .context = t->terms.context};
    const prn_vector *vectors[PRN__PENALTY_VECTORS] = {NULL};
    const double one[2] = {1, 0};
    prn__graph *graph;
    if (terms.compose == NULL) {
        return PRN_OK;
    }
    prn_status status = prn__penalty_graph(t, &terms, vectors, &graph, error);
    if (status == PRN_OK) {
        status = prn__compiled_init(&t->penalty, graph, &t->device, error);
    }
    if (status == PRN_OK) {
        status = prn__buffer_create(&t->device, PRN_REAL, 2, "the penalty", &t->scalars, NULL, error);
    }
    if (status == PRN_OK) {
        status = t->device.backend->buffer_write(t->device.instance, t->scalars, 0, PRN_HOST_F64, one, 2, error);
    }
    for (int i = 0; i < PRN__PENALTY_VECTORS && status == PRN_OK && vectors[i] != NULL; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "vector%d", i);
        prn__compiled_bind(&t->penalty, name, vectors[i]->buffer, 0);
    }
    if (status == PRN_OK) {
        prn__compiled_bind(&t->penalty, "parameters", t->parameters, 0);
        prn__compiled_bind(&t->penalty, "gradients", t->gradients, 0);
        prn__compiled_bind(&t->penalty, "one", t->scalars, 0);
        prn__compiled_bind(&t->penalty, "penalty", t->scalars, 1);
    }
    return status;
}

prn_status prn__trainer_set_terms(prn__trainer *t, const prn__trainer_terms *terms, prn_error *error)
{
    prn__compiled *const programs[3] = {&t->terms_loss, &t->memory_loss, &t->penalty};
    int64_t workspace = 0;
    prn_status status = PRN_OK;
    drop(t);
    if (terms == NULL) {
        return PRN_OK;
    }
    if (terms->has_memory || terms->compose_memory_loss != NULL || terms->compose_penalty != NULL || terms->change_gradient != NULL) {
        status = prn__trainer_make_whole(t, error);
        if (status != PRN_OK) {
            return status;
        }
    }
    t->terms = *terms;
    t->terms.teacher = NULL; /* the caller's memory: not kept */
    if (terms->teacher != NULL) {
        status = make_teacher(t, terms->teacher, error);
    }
    if (status == PRN_OK) {
        status = make_loss(t, terms->compose_loss, 0, &t->terms_loss, error);
    }
    if (status == PRN_OK) {
        status = make_loss(t, terms->compose_memory_loss, 1, &t->memory_loss, error);
    }
    if (status == PRN_OK) {
        status = make_penalty(t, error);
    }
    for (int i = 0; i < 3; i++) {
        workspace = most(workspace, programs[i]->program != NULL ? programs[i]->program->workspace_elements : 0);
    }
    if (status == PRN_OK) {
        status = prn__buffer_create(&t->device, PRN_REAL, workspace, "loss terms", &t->terms_workspace, NULL, error);
    }
    if (status != PRN_OK) {
        drop(t);
        return status;
    }
    for (int i = 0; i < 3; i++) {
        if (programs[i]->program != NULL) {
            prn__compiled_bind(programs[i], "workspace", t->terms_workspace, 0);
            prn__compiled_bind(programs[i], "parameters", t->parameters, 0);
            prn__compiled_bind(programs[i], "gradients", t->gradients, 0);
            prn__bind_scale_gradient(t, programs[i]);
            prn__compiled_bind(programs[i], "teacher_parameters", t->teacher, 0);
        }
    }
    return PRN_OK;
}

/* 1 when some operation reads from the slot: what no term needs is not computed. */
static int reads_slot(const prn_program *program, const char *name)
{
    const int32_t slot = prn__program_slot(program, name);
    for (uint32_t i = 0; i < program->op_count && slot >= 0; i++) {
        for (int k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            if (program->ops[i].input[k] != PRN_NO_TENSOR && program->tensors[program->ops[i].input[k]].slot == slot) {
                return 1;
            }
        }
    }
    return 0;
}

prn_status prn__teacher_embed(prn__trainer *t, const prn__batch *batch, const prn__compiled *loss, prn_error *error)
{
    prn__compiled *const towers[2] = {&t->image_embed, &t->text_embed};
    const int is_used = t->teacher != NULL && reads_slot(loss->program, "teacher_rows");
    prn_status status = PRN_OK;
    for (int side = 0; side < 2 && is_used && status == PRN_OK; side++) {
        prn__compiled_bind(towers[side], "parameters", t->teacher, 0);
        for (int64_t first = 0; first < batch->count && status == PRN_OK; first += t->micro) {
            status = prn__tower_fill(t, batch, side, first, towers[side], t->teacher_embeddings[side], error);
            if (status == PRN_OK) {
                status = prn__compiled_run_blocks(&towers[side], 1, "forward", error);
            }
        }
        prn__compiled_bind(towers[side], "parameters", t->parameters, 0); /* a split trainer embeds its own batches with them */
    }
    return status;
}

void prn__teacher_bind(prn__trainer *t, prn__compiled *loss, int side, int64_t first)
{
    if (t->teacher != NULL) {
        prn__compiled_bind(loss, "teacher_rows", t->teacher_embeddings[side], first * t->embed_dim);
        prn__compiled_bind(loss, "teacher_columns", t->teacher_embeddings[1 - side], 0);
    }
}

prn_status prn__penalty_run(prn__trainer *t, double *value, prn_error *error)
{
    prn_status status = prn__rows_use_all(t, error);
    if (status == PRN_OK) {
        status = prn__compiled_run(&t->penalty, "forward", error);
    }
    if (status == PRN_OK) {
        status = prn__compiled_run(&t->penalty, "backward", error);
    }
    return status == PRN_OK ? t->device.backend->buffer_read(t->device.instance, t->scalars, 1, PRN_HOST_F64, value, 1, error) : status;
}

prn_status prn__trainer_batch_gradient(prn__trainer *t, const prn__batch *batch, prn_vector *target, double *loss, prn_error *error)
{
    const prn_backend *backend = t->device.backend;
    const int64_t n = t->flat_elements;
    prn_status status = prn__trainer_make_whole(t, error);
    if (status == PRN_OK && t->kept_gradients == NULL) {
        status = prn__buffer_create(&t->device, PRN_REAL, n, "a gradient aside", &t->kept_gradients, NULL, error);
    }
    if (status == PRN_OK) {
        status = backend->buffer_copy(t->device.instance, t->kept_gradients, 0, t->gradients, 0, n, error);
    }
    if (status == PRN_OK) {
        status = prn__gradients_clear(t, error);
    }
    if (status == PRN_OK) {
        status = prn__gradients_add(t, batch, &t->loss, loss, error);
    }
    if (status == PRN_OK && target != &t->gradient_vector) {
        status = prn__vector_settle(t, target, error);
        if (status == PRN_OK) {
            status = backend->buffer_copy(t->device.instance, target->buffer, 0, t->gradients, 0, n, error);
        }
        if (status == PRN_OK) {
            status = backend->buffer_copy(t->device.instance, t->gradients, 0, t->kept_gradients, 0, n, error);
        }
        if (status == PRN_OK) {
            status = prn__rows_use_all(t, error);
        }
    }
    return status;
}
