/* tests/train/test_rows.c: a step leaves rows of the vocabulary alone that no batch names; weights and moments are those of a step that takes all of
 * them, to the last bit, whatever came before: other batches, penalties, memory batches, changed gradients, states that were set.
 */
#include "model/test_support.h"

#include "train/trainer.h"

enum { BATCH = 8, VOCABULARY = 119, STEPS = 4 };

typedef struct fixture {
    prn__model *model;
    prn__batch batch[STEPS];
    float *flat;
} fixture;

static fixture f;

/* ---- a device that is told that every row counts ---- */

static prn_backend blind;
static const prn_backend *seeing;
static int64_t flags_written, flags_set, flags_later, flags_due;

static prn_status write_all(prn_backend_instance *instance, prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source, int64_t count,
                            prn_error *error)
{
    uint8_t all[VOCABULARY];
    if (type == PRN_HOST_U8 && count == VOCABULARY) {
        memset(all, PRN_ROW_GRADIENT | PRN_ROW_MOMENTS, sizeof all);
        source = all;
    }
    return seeing->buffer_write(instance, buffer, offset, type, source, count, error);
}

static prn_status write_counted(prn_backend_instance *instance, prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source, int64_t count,
                                prn_error *error)
{
    if (type == PRN_HOST_U8 && count == VOCABULARY) {
        flags_written += count;
        for (int64_t i = 0; i < count; i++) {
            const int flags = ((const uint8_t *)source)[i];
            flags_set += (flags & PRN_ROW_GRADIENT) != 0;
            flags_later += (flags & PRN_ROW_LATER) != 0;
            flags_due += (flags & PRN_ROW_DUE) != 0;
        }
    }
    return seeing->buffer_write(instance, buffer, offset, type, source, count, error);
}

typedef prn_status writing(prn_backend_instance *instance, prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source, int64_t count,
                           prn_error *error);

/* In one piece, so that towers may hold their gradients. */
static prn__device with_write(const prn__device *device, writing *write)
{
    prn__device result = *device;
    seeing = device->backend;
    blind = *device->backend;
    blind.buffer_write = write;
    blind.execute_each = NULL;
    result.backend = &blind;
    return result;
}

/* ---- what a strategy adds ---- */

static prn_status pull(void *context, const prn_composer *c, prn_error *error)
{
    int32_t inputs[2] = {c->weights, c->weights};
    (void)context;
    (void)error;
    c->add(c->self, c->operation(c->self, PRN_OP_DOT, inputs, 2, NULL), 1e-3);
    return PRN_OK;
}

/* Adds the gradient of another batch, as projections do. */
static prn_status add_other(void *context, prn_error *error)
{
    prn__trainer *t = *(prn__trainer **)context;
    const prn_vectors *vectors = prn__trainer_vectors(t);
    prn_vector *other, *gradient = prn__trainer_gradient(t);
    double loss;
    prn_status status = vectors->create(vectors->self, &other, error);
    if (status == PRN_OK && (status = prn__trainer_batch_gradient(t, &f.batch[3], other, &loss, error)) == PRN_OK) {
        status = vectors->axpby(vectors->self, gradient, 0.5, gradient, 0.25, other, error);
    }
    prn__trainer_drop_vectors(t);
    return status;
}

typedef struct result {
    float *weights, *m, *v;
    double *gradient;
} result;

static result train(const prn__device *device, int is_held, int is_memory)
{
    const int64_t n = f.model->flat_elements;
    const prn__trainer_config config = {.batch = BATCH, .keep_all = !is_held,
                                        .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2, .clip_norm = is_memory ? 1 : 0}};
    prn__trainer *t;
    result r = {prn__alloc_array((size_t)n, sizeof(float)), prn__alloc_array((size_t)n, sizeof(float)), prn__alloc_array((size_t)n, sizeof(float)),
                prn__alloc_array((size_t)n, sizeof(double))};
    double loss;
    OK(prn__trainer_create(f.model, device, &config, &t, error));
    OK(prn__trainer_set_state(t, f.flat, NULL, NULL, 0, error));
    assert_int_equal(prn__trainer_is_held(t), is_held);
    for (int i = 0; i < STEPS; i++) {
        OK(prn__trainer_step(t, &f.batch[i], 1e-3, NULL, error));
    }
    if (!is_held) {
        prn__trainer_terms terms = {.compose_penalty = pull};
        OK(prn__trainer_gradients(t, &f.batch[1], &loss, NULL, error));
        OK(prn__trainer_set_terms(t, &terms, error));
        OK(prn__trainer_step(t, &f.batch[0], 1e-3, NULL, error));
        terms = (prn__trainer_terms){.change_gradient = add_other, .context = &t, .has_memory = is_memory};
        OK(prn__trainer_set_terms(t, &terms, error));
        OK(prn__trainer_step_with(t, &f.batch[1], is_memory ? &f.batch[2] : NULL, 1e-3, NULL, error));
        OK(prn__trainer_set_terms(t, NULL, error));
        OK(prn__trainer_step(t, &f.batch[2], 1e-3, NULL, error));
    }
    /* a state of which every moment is something, then one with none */
    OK(prn__trainer_get_state(t, r.weights, r.m, r.v, NULL, error));
    for (size_t i = 0; i < f.model->parameter_count; i++) {
        for (int64_t e = f.model->parameters[i].offset; e < f.model->parameters[i].offset + f.model->parameters[i].elements; e++) {
            r.v[e] += 1e-4f;
            r.m[e] += 1e-3f;
        }
    }
    OK(prn__trainer_set_state(t, r.weights, r.m, r.v, STEPS, error));
    OK(prn__trainer_step(t, &f.batch[3], 1e-3, NULL, error));
    OK(prn__trainer_get_state(t, r.weights, NULL, NULL, NULL, error));
    OK(prn__trainer_set_state(t, r.weights, NULL, NULL, 0, error));
    OK(prn__trainer_step(t, &f.batch[1], 1e-3, NULL, error));
    OK(prn__trainer_get_state(t, r.weights, r.m, r.v, NULL, error));
    OK(prn__trainer_gradients(t, &f.batch[0], &loss, r.gradient, error));
    prn__trainer_destroy(t);
    return r;
}

static void free_result(result *r)
{
    prn__free(r->weights);
    prn__free(r->m);
    prn__free(r->v);
    prn__free(r->gradient);
}

static void same_bytes(void **state)
{
    test_device cpu;
    const size_t n = (size_t)f.model->flat_elements;
    (void)state;
    test_device_open(&cpu, "cpu", 2);
    for (int form = 0; form < 4; form++) {
        const prn__device all = with_write(&cpu.device, write_all);
        result want = train(&all, form % 2, form / 2);
        const prn__device counted = with_write(&cpu.device, write_counted);
        flags_written = flags_set = 0;
        result got = train(&counted, form % 2, form / 2);
        assert_memory_equal(got.weights, want.weights, n * sizeof *got.weights);
        assert_memory_equal(got.m, want.m, n * sizeof *got.m);
        assert_memory_equal(got.v, want.v, n * sizeof *got.v);
        assert_memory_equal(got.gradient, want.gradient, n * sizeof *got.gradient);
        assert_true(flags_written > 0 && flags_set > 0 && flags_set < flags_written); /* something was left alone */
        free_result(&got);
        free_result(&want);
    }
    test_device_close(&cpu);
}

/* ---- decay that comes later ---- */

static int supports_no_decay(prn_backend_instance *instance, const prn_program *program, uint32_t op)
{
    return program->ops[op].kind != PRN_OP_DECAY_ROWS && seeing->supports(instance, program, op);
}

static prn_status compile_no_decay(prn_backend_instance *instance, const prn_program *program, prn_executable **executable, prn_error *error)
{
    for (uint32_t i = 0; i < program->op_count; i++) {
        assert_true(program->ops[i].kind != PRN_OP_DECAY_ROWS);
    }
    return seeing->compile(instance, program, executable, error);
}

static void some_steps(prn__trainer *t, const prn__batch *batch, int count, double rate)
{
    for (int i = 0; i < count; i++) {
        OK(prn__trainer_step(t, batch, rate * (1 + i % 7), NULL, error));
    }
}

/* Rows that are named after one update, after many, and never; a table that is read, scaled and written meanwhile. `often`: the state is asked for after each
 * part, which makes up for everything. */
static void long_way(const prn__device *device, int often, float *weights, double *square)
{
    const int64_t n = f.model->flat_elements;
    const prn__trainer_config config = {.batch = BATCH, .keep_all = 1, .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2}};
    prn__trainer *t;
    float *other = prn__alloc_array((size_t)n, sizeof *other);
    OK(prn__trainer_create(f.model, device, &config, &t, error));
    OK(prn__trainer_set_state(t, f.flat, NULL, NULL, 0, error));
    const prn_vectors *vectors = prn__trainer_vectors(t);
    prn_vector *own = prn__trainer_weights(t);
    const int counts[] = {1, 300, 3, 260, 2}; /* more updates than are kept */
    for (int part = 0; part < 5; part++) {
        some_steps(t, &f.batch[part % 3], counts[part], 1e-4);
        if (often) {
            OK(prn__trainer_get_state(t, weights, NULL, NULL, NULL, error));
        }
    }
    OK(vectors->dot(vectors->self, own, own, square, error));
    some_steps(t, &f.batch[0], 5, 1e-3);
    OK(vectors->axpby(vectors->self, own, 0.5, own, 0, NULL, error));
    some_steps(t, &f.batch[1], 5, 1e-3);
    OK(vectors->read(vectors->self, own, other, error));
    some_steps(t, &f.batch[1], 2, 1e-3);
    OK(vectors->write(vectors->self, own, other, error)); /* as they were two updates ago */
    some_steps(t, &f.batch[3], 2, 1e-3);
    OK(prn__trainer_get_state(t, weights, NULL, NULL, NULL, error));
    prn__trainer_destroy(t);
    prn__free(other);
}

static void later(void **state)
{
    test_device cpu;
    const size_t n = (size_t)f.model->flat_elements;
    float *want = prn__alloc_array(n, sizeof *want), *got = prn__alloc_array(n, sizeof *got);
    double square, other;
    (void)state;
    test_device_open(&cpu, "cpu", 2);
    const prn__device all = with_write(&cpu.device, write_all);
    long_way(&all, 0, want, &square);
    for (int often = 0; often < 2; often++) {
        const prn__device counted = with_write(&cpu.device, write_counted);
        flags_later = flags_due = 0;
        long_way(&counted, often, got, &other);
        assert_memory_equal(got, want, n * sizeof *got);
        assert_true(other == square);
        assert_true(flags_later > 100 * VOCABULARY / 2 && flags_due > 0); /* hundreds of updates left much of the table alone */
    }
    const prn__device without = with_write(&cpu.device, write_counted);
    blind.supports = supports_no_decay;
    blind.compile = compile_no_decay;
    flags_later = flags_due = 0;
    long_way(&without, 0, got, &other);
    assert_memory_equal(got, want, n * sizeof *got);
    assert_true(flags_later == 0 && flags_due == 0);
    test_device_close(&cpu);
    prn__free(want);
    prn__free(got);
}

/* The reference keeps more than fp32; and what an untouched row must come to is known. */
static void later_wide(void **state)
{
    test_device reference;
    const prn__trainer_config config = {.batch = BATCH, .keep_all = 1, .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2}};
    const prn__parameter *table = prn__model_parameter(f.model, "token_embedding.weight");
    const int64_t n = f.model->flat_elements, columns = table->shape[1];
    double *weights = prn__alloc_array((size_t)n, sizeof *weights), *m = prn__alloc_array((size_t)n, sizeof *m), *v = prn__alloc_array((size_t)n, sizeof *v);
    uint8_t is_named[VOCABULARY] = {0};
    int64_t updates, untouched = 0;
    prn__trainer *t;
    (void)state;
    test_device_open(&reference, "reference", 1);
    OK(prn__trainer_create(f.model, &reference.device, &config, &t, error));
    OK(prn__trainer_set_state(t, f.flat, NULL, NULL, 0, error));
    some_steps(t, &f.batch[0], 3, 1e-3);
    OK(prn__trainer_get_wide(t, weights, m, v, &updates, error));
    for (int64_t i = 0; i < f.batch[0].offsets[BATCH]; i++) {
        is_named[f.batch[0].tokens[i]] = 1;
    }
    for (int64_t r = 0; r < VOCABULARY; r++) {
        for (int64_t c = 0; c < columns && !is_named[r]; c++, untouched++) {
            double value = (double)f.flat[table->offset + r * columns + c];
            for (int i = 0; i < 3; i++) {
                value *= 1 - 1e-3 * (1 + i) * 0.2;
            }
            assert_true(fabs(weights[table->offset + r * columns + c] - value) <= 1e-15 * fabs(value));
        }
    }
    assert_true(untouched > 0);
    prn__trainer_destroy(t);
    test_device_close(&reference);
    prn__free(weights);
    prn__free(m);
    prn__free(v);
}

static int setup(void **state)
{
    prn__model_config config;
    (void)state;
    OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
    config.text.vocab_size = VOCABULARY;
    config.text.context_length = 6;
    config.text.layers = config.vision.layers = 1;
    config.vision.width = config.text.width = 32;
    config.vision.head_width = 16;
    config.text.heads = 2;
    config.embed_dim = 16;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f.model, error));
    f.flat = prn__alloc_array((size_t)f.model->flat_elements, sizeof *f.flat);
    prn__model_init(f.model, 5, f.flat);
    for (int i = 0; i < STEPS; i++) {
        test_batch_make(&f.batch[i], &config, BATCH, 99 + (uint64_t)i);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < STEPS; i++) {
        test_batch_free(&f.batch[i]);
    }
    prn__free(f.flat);
    prn__model_destroy(f.model);
    assert_int_equal(prn__alloc_live(), 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bytes), cmocka_unit_test(later), cmocka_unit_test(later_wide)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
