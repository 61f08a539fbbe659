/* tests/train/test_terms.c: what strategies add to a step: a teacher, loss terms, memory batches, penalties, changed gradients, flat vectors.
 * The distillation term is checked against a plain second implementation on embeddings, every gradient against difference quotients. */
#include "model/test_support.h"

#include "model/embedder.h"
#include "train/trainer.h"

enum { BATCH = 7, MEMORY = 5 };

typedef struct fixture {
    prn__model *model;
    prn__batch batch, memory;
    float *flat, *teacher;
    test_device cpu, reference;
} fixture;

static int setup(void **state)
{
    static fixture f;
    prn__model_config config;
    OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
    config.embed_dim = 24;
    config.vision.width = config.text.width = 32;
    config.vision.head_width = 16;
    config.text.heads = 2;
    config.vision.layers = config.text.layers = 1;
    config.vision.patch_size = 16;
    config.text.vocab_size = 60;
    config.text.context_length = 8;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f.model, error));
    f.flat = prn__alloc_array((size_t)f.model->flat_elements, sizeof *f.flat);
    f.teacher = prn__alloc_array((size_t)f.model->flat_elements, sizeof *f.teacher);
    prn__model_init(f.model, 5, f.flat);
    prn__model_init(f.model, 6, f.teacher);
    test_batch_make(&f.batch, &config, BATCH, 99);
    test_batch_make(&f.memory, &config, MEMORY, 77);
    test_device_open(&f.cpu, "cpu", 2);
    test_device_open(&f.reference, "reference", 2);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    test_device_close(&f->cpu);
    test_device_close(&f->reference);
    test_batch_free(&f->batch);
    test_batch_free(&f->memory);
    prn__free(f->flat);
    prn__free(f->teacher);
    prn__model_destroy(f->model);
    assert_int_equal(prn__alloc_live(), 0);
    return 0;
}

static prn__trainer *trainer_make(const fixture *f, const prn__device *device, int64_t micro, int64_t tile)
{
    const prn__trainer_config config = {.batch = BATCH, .micro_batch = micro, .loss_tile = tile,
                                        .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2}};
    prn__trainer *trainer;
    OK(prn__trainer_create(f->model, device, &config, &trainer, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    return trainer;
}

/* ---- terms -------------------------------------------------------------------------------------------------------------------- */

typedef struct added {
    prn__trainer *trainer;
    const float *anchor;
    double weight, temperature;
    int changes;
} added;

static prn_status distil(void *context, const prn_composer *c, prn_error *error)
{
    const added *a = context;
    const int32_t inputs[2] = {c->logits, c->teacher_logits};
    const prn_op_attrs attrs = {.alpha = a->temperature};
    (void)error;
    c->add(c->self, c->operation(c->self, PRN_OP_SOFT_CROSS_ENTROPY, inputs, 2, &attrs), a->weight);
    return PRN_OK;
}

/* weight * sum of anchor_i (w_i - anchor_i)^2 */
static prn_status pull(void *context, const prn_composer *c, prn_error *error)
{
    const added *a = context;
    const prn_vectors *v = prn__trainer_vectors(a->trainer);
    prn_vector *anchor;
    const prn_op_attrs minus = {.alpha = 1, .beta = -1};
    prn_status status = v->create(v->self, &anchor, error);
    if (status == PRN_OK) {
        status = v->write(v->self, anchor, a->anchor, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    int32_t inputs[2] = {c->weights, c->vector(c->self, anchor)};
    inputs[0] = inputs[1] = c->operation(c->self, PRN_OP_AXPBY, inputs, 2, &minus);
    inputs[0] = c->operation(c->self, PRN_OP_MULTIPLY, inputs, 2, NULL);
    inputs[1] = c->vector(c->self, anchor);
    c->add(c->self, c->operation(c->self, PRN_OP_DOT, inputs, 2, NULL), a->weight);
    return PRN_OK;
}

/* Takes away the gradient's part along the memory batch's. */
static prn_status project(void *context, prn_error *error)
{
    added *a = context;
    const prn_vectors *v = prn__trainer_vectors(a->trainer);
    a->changes++;
    return v->axpby(v->self, prn__trainer_gradient(a->trainer), 0.5, prn__trainer_gradient(a->trainer), 0, NULL, error);
}

/* ---- second implementation ---------------------------------------------------------------------------------------------------- */

static void softmax(const double *x, int64_t n, double *p)
{
    double top = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++) {
        top = x[i] > top ? x[i] : top;
    }
    for (int64_t i = 0; i < n; i++) {
        sum += p[i] = exp(x[i] - top);
    }
    for (int64_t i = 0; i < n; i++) {
        p[i] /= sum;
    }
}

/* Mean KL over rows of both directions, from embeddings (n,E) of both models. */
static double distillation(const float *const student[2], const float *const teacher[2], int64_t n, int64_t e, double student_scale, double teacher_scale,
                           double tau)
{
    double total = 0, s[16], t[16], p[16], q[16];
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) {
                s[j] = t[j] = 0;
                for (int64_t k = 0; k < e; k++) {
                    s[j] += (double)student[side][i * e + k] * (double)student[1 - side][j * e + k] * student_scale / tau;
                    t[j] += (double)teacher[side][i * e + k] * (double)teacher[1 - side][j * e + k] * teacher_scale / tau;
                }
            }
            softmax(t, n, p);
            softmax(s, n, q);
            for (int64_t j = 0; j < n; j++) {
                total += p[j] * (log(p[j]) - log(q[j])) / (2.0 * (double)n);
            }
        }
    }
    return total;
}

static double distillation_of(const fixture *f, const prn__batch *batch, double tau)
{
    const int64_t e = f->model->config.embed_dim;
    float *embeddings[2][2];
    prn__embedder *embedder;
    OK(prn__embedder_create(f->model, &f->reference.device, BATCH, &embedder, error));
    for (int who = 0; who < 2; who++) {
        OK(prn__embedder_set_weights(embedder, who == 0 ? f->flat : f->teacher, error));
        for (int side = 0; side < 2; side++) {
            embeddings[who][side] = prn__alloc_array((size_t)(batch->count * e), sizeof(float));
        }
        OK(prn__embedder_images(embedder, batch->images, batch->count, embeddings[who][0], error));
        OK(prn__embedder_texts(embedder, batch->tokens, batch->offsets, batch->count, embeddings[who][1], error));
    }
    double value = distillation((const float *const[2]){embeddings[0][0], embeddings[0][1]}, (const float *const[2]){embeddings[1][0], embeddings[1][1]},
                                batch->count, e, exp((double)f->flat[f->model->logit_scale_offset]),
                                exp((double)f->teacher[f->model->logit_scale_offset]), tau);
    for (int i = 0; i < 4; i++) {
        prn__free(embeddings[i / 2][i % 2]);
    }
    prn__embedder_destroy(embedder);
    return value;
}

/* ---- tests -------------------------------------------------------------------------------------------------------------------- */

static void check_differences(const fixture *f, prn__trainer *trainer, const prn__batch *memory)
{
    const int64_t n = f->model->flat_elements;
    double loss, high, low, *gradients = prn__alloc_array((size_t)n, sizeof *gradients);
    float *moved = prn__alloc_array((size_t)n, sizeof *moved);
    OK(prn__trainer_gradients_with(trainer, &f->batch, memory, &loss, gradients, error));
    for (size_t i = 0; i < f->model->parameter_count; i++) {
        const prn__parameter *p = &f->model->parameters[i];
        int64_t at = p->offset;
        for (int64_t j = 0; j < p->elements; j++) {
            at = fabs(gradients[p->offset + j]) > fabs(gradients[at]) ? p->offset + j : at;
        }
        double place[2];
        for (int way = 0; way < 2; way++) {
            memcpy(moved, f->flat, (size_t)n * sizeof *moved);
            moved[at] += way == 0 ? 5e-4f : -5e-4f;
            place[way] = (double)moved[at];
            OK(prn__trainer_set_state(trainer, moved, NULL, NULL, 0, error));
            OK(prn__trainer_gradients_with(trainer, &f->batch, memory, way == 0 ? &high : &low, NULL, error));
        }
        const double want = (high - low) / (place[0] - place[1]);
        if (fabs(gradients[at] - want) > 1e-3 * fabs(want) + 1e-6) {
            fail_msg("%s: gradient %.9g, difference quotient %.9g", p->name, gradients[at], want);
        }
    }
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    prn__free(moved);
    prn__free(gradients);
}

static void test_distillation(void **state)
{
    const fixture *f = *state;
    static const struct {
        int64_t micro, tile;
    } splits[] = {{0, 0}, {0, 3}, {3, 0}, {2, 5}};
    const double want = distillation_of(f, &f->batch, 2);
    assert_true(want > 1e-4);
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
        added a = {.weight = 0.7, .temperature = 2};
        prn__trainer *trainer = trainer_make(f, &f->reference.device, splits[i].micro, splits[i].tile);
        double plain, loss;
        OK(prn__trainer_gradients(trainer, &f->batch, &plain, NULL, error));
        const prn__trainer_terms terms = {.teacher = f->teacher, .compose_loss = distil, .context = &a};
        OK(prn__trainer_set_terms(trainer, &terms, error));
        OK(prn__trainer_gradients(trainer, &f->batch, &loss, NULL, error));
        assert_true(fabs(loss - plain - 0.7 * want) < 1e-6);
        check_differences(f, trainer, NULL);
        prn__trainer_destroy(trainer);
    }
}

static void test_memory_loss(void **state)
{
    const fixture *f = *state;
    for (int64_t micro = 0; micro <= 3; micro += 3) {
        added a = {.weight = 1.5, .temperature = 1};
        prn__trainer *trainer = trainer_make(f, &f->reference.device, micro, 0);
        double plain, loss;
        OK(prn__trainer_gradients(trainer, &f->batch, &plain, NULL, error));
        const prn__trainer_terms terms = {.teacher = f->teacher, .has_memory = 1, .compose_memory_loss = distil, .context = &a};
        OK(prn__trainer_set_terms(trainer, &terms, error));
        OK(prn__trainer_gradients_with(trainer, &f->batch, &f->memory, &loss, NULL, error));
        assert_true(fabs(loss - plain - 1.5 * distillation_of(f, &f->memory, 1)) < 1e-6);
        check_differences(f, trainer, &f->memory);
        prn_error missing = PRN_ERROR_INIT;
        assert_int_equal(prn__trainer_gradients(trainer, &f->batch, &loss, NULL, &missing), PRN_INTERNAL);
        prn__trainer_destroy(trainer);
    }
}

static void test_penalty(void **state)
{
    const fixture *f = *state;
    const int64_t n = f->model->flat_elements;
    prn__trainer *trainer = trainer_make(f, &f->reference.device, 0, 0);
    added a = {.trainer = trainer, .anchor = f->teacher, .weight = 0.3};
    double plain, loss, want = 0, *before = prn__alloc_array((size_t)n, sizeof *before), *after = prn__alloc_array((size_t)n, sizeof *after);
    OK(prn__trainer_gradients(trainer, &f->batch, &plain, before, error));
    const prn__trainer_terms terms = {.compose_penalty = pull, .context = &a};
    OK(prn__trainer_set_terms(trainer, &terms, error));
    OK(prn__trainer_gradients(trainer, &f->batch, &loss, after, error));
    for (int64_t i = 0; i < n; i++) {
        const double w = (double)f->flat[i], t = (double)f->teacher[i];
        want += 0.3 * t * (w - t) * (w - t);
        if (fabs(after[i] - before[i] - 0.6 * t * (w - t)) > 1e-9) {
            fail_msg("element %lld: %.12g, not %.12g", (long long)i, after[i] - before[i], 0.6 * t * (w - t));
        }
    }
    assert_true(fabs(loss - plain - want) < 1e-9);
    prn__trainer_destroy(trainer);
    prn__free(before);
    prn__free(after);
}

/* Terms of nothing, and terms taken away again: the plain step to the byte. */
static void test_plain_again(void **state)
{
    const fixture *f = *state;
    const size_t bytes = (size_t)f->model->flat_elements * sizeof(float);
    float *weights[2];
    for (int i = 0; i < 2; i++) {
        added a = {.weight = 1, .temperature = 1};
        prn__trainer *trainer = trainer_make(f, &f->cpu.device, 0, 0);
        OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error)); /* plans for captions as long as these */
        OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
        const int64_t memory = prn__trainer_memory_bytes(trainer);
        if (i == 1) {
            const prn__trainer_terms terms = {.teacher = f->teacher, .compose_loss = distil, .context = &a};
            OK(prn__trainer_set_terms(trainer, &terms, error));
            OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error));
            OK(prn__trainer_set_terms(trainer, NULL, error));
            OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
            assert_int_equal(prn__trainer_memory_bytes(trainer), memory);
        }
        for (int step = 0; step < 3; step++) {
            OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error));
        }
        weights[i] = prn__alloc(bytes);
        OK(prn__trainer_get_state(trainer, weights[i], NULL, NULL, NULL, error));
        prn__trainer_destroy(trainer);
    }
    assert_memory_equal(weights[0], weights[1], bytes);
    prn__free(weights[0]);
    prn__free(weights[1]);
}

static void test_gradient_changes(void **state)
{
    const fixture *f = *state;
    prn__step_result plain, changed;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, 3, 0);
    added a = {.trainer = trainer};
    OK(prn__trainer_step(trainer, &f->batch, 1e-3, &plain, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    const prn__trainer_terms terms = {.change_gradient = project, .context = &a};
    OK(prn__trainer_set_terms(trainer, &terms, error));
    OK(prn__trainer_step(trainer, &f->batch, 1e-3, &changed, error));
    assert_int_equal(a.changes, 1);
    assert_true(fabs(changed.gradient_norm - plain.gradient_norm / 2) < 1e-5 * plain.gradient_norm);

    /* another batch's gradient leaves the step's own alone */
    const prn_vectors *v = prn__trainer_vectors(trainer);
    prn_vector *other;
    double own, again, loss, want;
    OK(v->create(v->self, &other, error));
    OK(v->dot(v->self, prn__trainer_gradient(trainer), prn__trainer_gradient(trainer), &own, error));
    OK(prn__trainer_batch_gradient(trainer, &f->memory, other, &loss, error));
    OK(v->dot(v->self, prn__trainer_gradient(trainer), prn__trainer_gradient(trainer), &again, error));
    assert_true(own > 0 && own == again);
    OK(prn__trainer_set_terms(trainer, NULL, error));
    OK(prn__trainer_gradients(trainer, &f->memory, &want, NULL, error));
    assert_true(want == loss);
    OK(v->dot(v->self, prn__trainer_gradient(trainer), other, &own, error));
    OK(v->dot(v->self, other, other, &again, error));
    assert_true(own > 0 && own == again);
    prn__trainer_destroy(trainer);
}

static void test_vectors(void **state)
{
    const fixture *f = *state;
    const int64_t n = f->model->flat_elements;
    float *x = prn__alloc_array((size_t)n, sizeof *x);
    for (int which = 0; which < 2; which++) {
        prn__trainer *trainer = trainer_make(f, which == 0 ? &f->reference.device : &f->cpu.device, 0, 0);
        const prn_vectors *v = prn__trainer_vectors(trainer);
        prn_vector *a, *b, *y;
        double sum, want = 0;
        assert_int_equal(v->elements, n);
        OK(v->create(v->self, &a, error));
        OK(v->create(v->self, &b, error));
        OK(v->create(v->self, &y, error));
        OK(v->read(v->self, y, x, error));
        for (int64_t i = 0; i < n; i++) {
            assert_true(x[i] == 0);
        }
        OK(v->write(v->self, a, f->flat, error));
        OK(v->write(v->self, b, f->teacher, error));
        OK(v->axpby(v->self, y, 2, a, -3, b, error));
        OK(v->multiply(v->self, y, y, b, error)); /* in place */
        OK(v->axpby(v->self, y, 0.25, y, 0, NULL, error));
        OK(v->read(v->self, y, x, error));
        for (int64_t i = 0; i < n; i++) {
            const float expected = 0.25f * ((2 * f->flat[i] - 3 * f->teacher[i]) * f->teacher[i]);
            want += (double)f->flat[i] * (double)f->teacher[i];
            assert_true(fabsf(x[i] - expected) <= 1e-5f * fabsf(expected) + 1e-9f);
        }
        OK(v->dot(v->self, a, b, &sum, error));
        assert_true(fabs(sum - want) < 1e-4 * fabs(want) + 1e-3);
        OK(v->fill(v->self, y, -1.5, error));
        OK(v->read(v->self, y, x, error));
        int64_t gaps = 0;
        for (int64_t i = 0; i < n; i++) { /* what belongs to no tensor stays zero */
            assert_true(x[i] == -1.5f || x[i] == 0);
            gaps += x[i] == 0;
        }
        assert_int_equal(gaps, v->gap_elements);
        for (int64_t i = 0; i < n; i++) {
            x[i] = 2;
        }
        OK(v->write(v->self, y, x, error));
        OK(v->dot(v->self, y, y, &sum, error));
        assert_true(sum == 4.0 * (double)(n - gaps));
        const int64_t memory = prn__trainer_memory_bytes(trainer);
        prn__trainer_drop_vectors(trainer);
        assert_int_equal(prn__trainer_memory_bytes(trainer), memory - 3 * 4 * n);
        prn__trainer_destroy(trainer);
    }
    prn__free(x);
}

static prn_status says_no(void *context, const prn_composer *c, prn_error *error)
{
    (void)context;
    (void)c;
    return prn_error_set(error, PRN_INVALID, "not today");
}

static prn_status wrong_shapes(void *context, const prn_composer *c, prn_error *error)
{
    const int32_t inputs[2] = {c->rows, c->logits};
    (void)context;
    (void)error;
    c->add(c->self, c->operation(c->self, PRN_OP_MULTIPLY, inputs, 2, NULL), 1);
    return PRN_OK;
}

static prn_status adds_nothing(void *context, const prn_composer *c, prn_error *error)
{
    (void)context;
    (void)c;
    (void)error;
    return PRN_OK;
}

static void test_refusals(void **state)
{
    const fixture *f = *state;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, 0, 0);
    prn_error refused = PRN_ERROR_INIT;
    double before, after;
    OK(prn__trainer_gradients(trainer, &f->batch, &before, NULL, error));
    prn__trainer_terms terms = {.compose_loss = says_no};
    assert_int_equal(prn__trainer_set_terms(trainer, &terms, &refused), PRN_INVALID);
    assert_non_null(strstr(refused.message, "not today"));
    terms.compose_loss = wrong_shapes;
    assert_int_not_equal(prn__trainer_set_terms(trainer, &terms, &refused), PRN_OK);
    assert_non_null(strstr(refused.message, "term.0"));
    terms.compose_loss = distil; /* without a teacher */
    added a = {.weight = 1, .temperature = 1};
    terms.context = &a;
    assert_int_not_equal(prn__trainer_set_terms(trainer, &terms, &refused), PRN_OK);
    terms = (prn__trainer_terms){.has_memory = 1, .compose_memory_loss = adds_nothing};
    assert_int_equal(prn__trainer_set_terms(trainer, &terms, &refused), PRN_INVALID);
    terms = (prn__trainer_terms){.compose_penalty = adds_nothing};
    assert_int_equal(prn__trainer_set_terms(trainer, &terms, &refused), PRN_INVALID);
    OK(prn__trainer_gradients(trainer, &f->batch, &after, NULL, error)); /* refused terms leave the plain step */
    assert_true(before == after);
    prn__trainer_destroy(trainer);
}

static void test_no_memory(void **state)
{
    const fixture *f = *state;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, 0, 0);
    added a = {.trainer = trainer, .anchor = f->teacher, .weight = 1, .temperature = 1};
    const prn__trainer_terms terms = {.teacher = f->teacher, .has_memory = 1, .compose_loss = distil, .compose_memory_loss = distil, .compose_penalty = pull,
                                      .context = &a};
    prn_error refused = PRN_ERROR_INIT;
    int finished = 0;
    /* such terms need the vector of all gradients, which a plain trainer does not have: making it may fail as well, and only once succeed */
    const int64_t held = prn__alloc_live();
    for (int64_t nth = 1; nth < 100000 && prn__trainer_is_held(trainer); nth += 1 + nth / 16) {
        prn__alloc_fail_at(nth);
        prn_status status = prn__trainer_set_terms(trainer, &terms, &refused);
        prn__alloc_fail_at(0);
        assert_true(status == PRN_OK || status == PRN_NO_MEMORY);
        OK(prn__trainer_set_terms(trainer, NULL, error));
        prn__trainer_drop_vectors(trainer);
        if (prn__trainer_is_held(trainer)) {
            assert_int_equal(prn__alloc_live(), held);
            OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error));
            OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
        }
    }
    assert_false(prn__trainer_is_held(trainer));
    OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error));
    const int64_t live = prn__alloc_live();
    for (int64_t nth = 1; nth < 100000 && !finished; nth += 1 + nth / 16) {
        prn__alloc_fail_at(nth);
        prn_status status = prn__trainer_set_terms(trainer, &terms, &refused);
        prn__alloc_fail_at(0);
        finished = status == PRN_OK;
        if (!finished && status != PRN_NO_MEMORY) {
            fail_msg("allocation %lld: %s: %s", (long long)nth, prn_status_name(status), refused.message);
        }
        OK(prn__trainer_set_terms(trainer, NULL, error));
        prn__trainer_drop_vectors(trainer);
        assert_int_equal(prn__alloc_live(), live);
    }
    assert_true(finished);
    prn__trainer_destroy(trainer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distillation), cmocka_unit_test(test_memory_loss),       cmocka_unit_test(test_penalty),
        cmocka_unit_test(test_plain_again),  cmocka_unit_test(test_gradient_changes),  cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
