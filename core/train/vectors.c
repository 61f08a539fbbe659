/* core/train/vectors.c: arithmetic on flat parameter vectors, as strategies see it (perennial/stage.h).
 *
 * One small program, run on a chunk at a time: memory does not grow with the model, and sums are those of chunks, in order.
 */
#include "base/memory.h"
#include "train/trainer_internal.h"

enum { PRN__MODEL_ALIGNMENT = 16 }; /* elements: model.h */

static prn_status make_program(prn__trainer *t, prn_error *error)
{
    prn__graph *graph;
    const int64_t chunks = (t->flat_elements + PRN__VECTOR_CHUNK - 1) / PRN__VECTOR_CHUNK;
    prn_status status;
    if (t->vector_program.program != NULL) {
        return PRN_OK;
    }
    if ((status = prn__vectors_graph(&graph, error)) != PRN_OK || (status = prn__compiled_init(&t->vector_program, graph, &t->device, error)) != PRN_OK) {
        return status;
    }
    t->host_sums = prn__alloc_array((size_t)chunks, sizeof *t->host_sums);
    if (t->host_sums == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for flat vectors");
    }
    if (status != PRN_OK ||
        (status = prn__buffer_create(&t->device, PRN_REAL, t->vector_program.program->workspace_elements, "vector chunks", &t->vector_workspace,
                                     &t->memory_bytes, error)) != PRN_OK ||
        (status = prn__buffer_create(&t->device, PRN_REAL, 2, "vector factors", &t->vector_scalars, &t->memory_bytes, error)) != PRN_OK ||
        (status = prn__buffer_create(&t->device, PRN_REAL, chunks, "vector sums", &t->vector_sums, &t->memory_bytes, error)) != PRN_OK) {
        prn__vectors_fini(t);
        return status;
    }
    prn__compiled_bind(&t->vector_program, "workspace", t->vector_workspace, 0);
    prn__compiled_bind(&t->vector_program, "scalars", t->vector_scalars, 0);
    return PRN_OK;
}

prn_status prn__vector_settle(prn__trainer *t, const prn_vector *vector, prn_error *error)
{
    return vector == &t->weight_vector ? prn__rows_settle(t, error) : PRN_OK;
}

static prn_status run(prn__trainer *t, const char *segment, prn_vector *y, const prn_vector *a, const prn_vector *b, double alpha, double beta, prn_error *error)
{
    const double factors[2] = {alpha, beta};
    prn_status status = make_program(t, error);
    if (status == PRN_OK && y == &t->gradient_vector) {
        status = prn__rows_use_all(t, error);
    }
    const prn_vector *const all[3] = {y, a, b};
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        status = prn__vector_settle(t, all[i], error);
    }
    if (status == PRN_OK) {
        status = t->device.backend->buffer_write(t->device.instance, t->vector_scalars, 0, PRN_HOST_F64, factors, 2, error);
    }
    for (int64_t first = 0, chunk = 0; first < t->flat_elements && status == PRN_OK; first += PRN__VECTOR_CHUNK, chunk++) {
        /* every slot of the program must be bound, also those that this segment leaves alone */
        prn__compiled_bind(&t->vector_program, "a", a != NULL ? a->buffer : y->buffer, first);
        prn__compiled_bind(&t->vector_program, "b", b != NULL ? b->buffer : a != NULL ? a->buffer : y->buffer, first);
        prn__compiled_bind(&t->vector_program, "y", y != NULL ? y->buffer : a->buffer, first);
        prn__compiled_bind(&t->vector_program, "sum", t->vector_sums, chunk);
        prn__compiled_set(&t->vector_program, "n", t->flat_elements - first < PRN__VECTOR_CHUNK ? t->flat_elements - first : PRN__VECTOR_CHUNK);
        status = prn__compiled_run(&t->vector_program, segment, error);
    }
    return status;
}

static prn_status vector_create(void *self, prn_vector **result, prn_error *error)
{
    prn__trainer *t = self;
    prn_vector *vector = prn__alloc(sizeof *vector);
    prn_status status = vector != NULL ? prn__buffer_create(&t->device, PRN_REAL, t->flat_elements, "a strategy's vector", &vector->buffer, &t->memory_bytes, error)
                                       : prn_error_set(error, PRN_NO_MEMORY, "out of memory for a vector");
    *result = NULL;
    if (status != PRN_OK) {
        prn__free(vector);
        return status;
    }
    vector->elements = t->flat_elements;
    vector->next = t->vectors;
    t->vectors = vector;
    *result = vector;
    return PRN_OK;
}

/* Zeros behind each tensor, up to where the next one may start. All other operations leave zeros there, and files have no room for them:
 * weights that went through one would not be those that did not. */
static prn_status clear_gaps(prn__trainer *t, const prn_vector *y, prn_error *error)
{
    static const double zeros[PRN__MODEL_ALIGNMENT];
    prn_status status = PRN_OK;
    for (size_t i = 0; i < t->model->parameter_count && status == PRN_OK; i++) {
        const prn__parameter *parameter = &t->model->parameters[i];
        const int64_t end = parameter->offset + parameter->elements;
        int64_t gap = (PRN__MODEL_ALIGNMENT - end % PRN__MODEL_ALIGNMENT) % PRN__MODEL_ALIGNMENT;
        gap = end + gap > t->flat_elements ? t->flat_elements - end : gap;
        status = gap > 0 ? t->device.backend->buffer_write(t->device.instance, y->buffer, end, PRN_HOST_F64, zeros, gap, error) : PRN_OK;
    }
    return status;
}

static prn_status vector_fill(void *self, prn_vector *y, double value, prn_error *error)
{
    prn_status status = run(self, "fill", y, NULL, NULL, value, 0, error);
    return status == PRN_OK && value != 0 ? clear_gaps(self, y, error) : status;
}

static prn_status vector_axpby(void *self, prn_vector *y, double alpha, const prn_vector *a, double beta, const prn_vector *b, prn_error *error)
{
    return run(self, b == NULL ? "scale" : "axpby", y, a, b, alpha, beta, error);
}

static prn_status vector_multiply(void *self, prn_vector *y, const prn_vector *a, const prn_vector *b, prn_error *error)
{
    return run(self, "multiply", y, a, b, 0, 0, error);
}

static prn_status vector_dot(void *self, const prn_vector *a, const prn_vector *b, double *result, prn_error *error)
{
    prn__trainer *t = self;
    const int64_t chunks = (t->flat_elements + PRN__VECTOR_CHUNK - 1) / PRN__VECTOR_CHUNK;
    prn_status status = run(t, "dot", NULL, a, b, 0, 0, error);
    *result = 0;
    if (status == PRN_OK) {
        status = t->device.backend->buffer_read(t->device.instance, t->vector_sums, 0, PRN_HOST_F64, t->host_sums, chunks, error);
    }
    for (int64_t i = 0; i < chunks && status == PRN_OK; i++) {
        *result += t->host_sums[i];
    }
    return status;
}

static prn_status vector_read(void *self, const prn_vector *vector, float *target, prn_error *error)
{
    prn__trainer *t = self;
    const prn_status status = prn__vector_settle(t, vector, error);
    return status == PRN_OK ? t->device.backend->buffer_read(t->device.instance, vector->buffer, 0, PRN_HOST_F32, target, t->flat_elements, error) : status;
}

static prn_status vector_write(void *self, prn_vector *vector, const float *source, prn_error *error)
{
    prn__trainer *t = self;
    prn_status status = prn__vector_settle(t, vector, error); /* what was there before decays no more */
    if (status == PRN_OK) {
        status = t->device.backend->buffer_write(t->device.instance, vector->buffer, 0, PRN_HOST_F32, source, t->flat_elements, error);
    }
    if (status == PRN_OK && vector == &t->gradient_vector) {
        status = prn__rows_use_all(t, error);
    }
    return status == PRN_OK ? clear_gaps(t, vector, error) : status;
}

void prn__vectors_init(prn__trainer *t)
{
    t->weight_vector = (prn_vector){.buffer = t->parameters, .elements = t->flat_elements};
    t->gradient_vector = (prn_vector){.buffer = t->gradients, .elements = t->flat_elements};
    t->vector_table = (prn_vectors){
        .struct_size = sizeof t->vector_table, .self = t, .elements = t->flat_elements, .create = vector_create, .fill = vector_fill,
        .axpby = vector_axpby, .multiply = vector_multiply, .dot = vector_dot, .read = vector_read, .write = vector_write,
        .gap_elements = t->flat_elements - t->model->elements,
    };
}

void prn__trainer_drop_vectors(prn__trainer *t)
{
    while (t->vectors != NULL) {
        prn_vector *next = t->vectors->next;
        prn__buffer_destroy(&t->device, t->vectors->buffer);
        t->memory_bytes -= 4 * t->flat_elements;
        prn__free(t->vectors);
        t->vectors = next;
    }
}

void prn__vectors_fini(prn__trainer *t)
{
    prn__trainer_drop_vectors(t);
    prn__compiled_fini(&t->vector_program);
    prn__buffer_destroy(&t->device, t->vector_workspace);
    prn__buffer_destroy(&t->device, t->vector_scalars);
    prn__buffer_destroy(&t->device, t->vector_sums);
    prn__free(t->host_sums);
    t->vector_workspace = t->vector_scalars = t->vector_sums = NULL;
    t->host_sums = NULL;
}

const prn_vectors *prn__trainer_vectors(prn__trainer *t)
{
    return &t->vector_table;
}

prn_vector *prn__trainer_weights(prn__trainer *t)
{
    return &t->weight_vector;
}

prn_vector *prn__trainer_gradient(prn__trainer *t)
{
    return &t->gradient_vector;
}
