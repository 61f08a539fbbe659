/* tests/train/test_step.c: the optimizer step: micro-batches, tiles, threads, checkpointing, clipping, refusals, state. */
#include "model/test_support.h"

#include "base/stop.h"
#include "train/trainer.h"

enum { BATCH = 13 };

typedef struct fixture {
    prn__model *model;
    prn__batch batch;
    float *flat;
    test_device cpu, reference;
} fixture;

static int setup(void **state)
{
    static fixture f;
    prn__model_config config;
    OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
    config.text.vocab_size = 120;
    config.text.context_length = 12;
    config.embed_dim = 32; /* small: difference quotients run the reference backend hundreds of times */
    config.vision.width = config.text.width = 48;
    config.vision.head_width = 16;
    config.text.heads = 3;
    config.text.layers = 2;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f.model, error));
    f.flat = prn__alloc_array((size_t)f.model->flat_elements, sizeof *f.flat);
    prn__model_init(f.model, 5, f.flat);
    test_batch_make(&f.batch, &config, BATCH, 99);
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
    prn__free(f->flat);
    prn__model_destroy(f->model);
    assert_int_equal(prn__alloc_live(), 0);
    return 0;
}

static prn__trainer_config base_config(void)
{
    return (prn__trainer_config){.batch = BATCH, .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2}};
}

static prn__trainer *trainer_make(const fixture *f, const prn__device *device, const prn__trainer_config *config)
{
    prn__trainer *trainer;
    OK(prn__trainer_create(f->model, device, config, &trainer, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    return trainer;
}

static double *gradients_of(const fixture *f, const prn__device *device, const prn__trainer_config *config, const prn__batch *batch, double *loss)
{
    double *gradients = prn__alloc_array((size_t)f->model->flat_elements, sizeof *gradients);
    prn__trainer *trainer = trainer_make(f, device, config);
    OK(prn__trainer_gradients(trainer, batch, loss, gradients, error));
    prn__trainer_destroy(trainer);
    return gradients;
}

/* Gradients of the whole batch against any split of it and any tile: equal within rounding, in fp64 and fp32. */
static void test_micro_batches(void **state)
{
    const fixture *f = *state;
    const int64_t n = f->model->flat_elements;
    for (int which = 0; which < 2; which++) {
        const prn__device *device = which == 0 ? &f->reference.device : &f->cpu.device;
        const double bound = which == 0 ? 1e-12 : 1e-5;
        prn__trainer_config config = base_config();
        double whole_loss, loss;
        double *whole = gradients_of(f, device, &config, &f->batch, &whole_loss);
        static const struct {
            int64_t micro, tile;
        } splits[] = {{1, 0}, {4, 0}, {5, 3}, {12, 1}, {13, 6}, {0, 5}, {7, 13}};
        for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
            config.micro_batch = splits[i].micro;
            config.loss_tile = splits[i].tile;
            double *split = gradients_of(f, device, &config, &f->batch, &loss);
            NEAR(loss, whole_loss, bound * whole_loss);
            AT_MOST(test_relative(split, whole, n), bound);
            prn__free(split);
        }
        prn__free(whole);
    }
}

/* The same fp64 loss by hand from the embeddings' definition is tested against PyTorch elsewhere; here: d loss by finite differences. */
static void test_finite_differences(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    double loss, high, low;
    config.micro_batch = 5;
    double *gradients = gradients_of(f, &f->reference.device, &config, &f->batch, &loss);
    prn__trainer *trainer = trainer_make(f, &f->reference.device, &config);
    float *moved = prn__alloc_array((size_t)f->model->flat_elements, sizeof *moved);
    int checked = 0;
    for (size_t i = 0; i < f->model->parameter_count; i++) {
        /* the index of the largest entry: a difference quotient there is well above rounding */
        const prn__parameter *p = &f->model->parameters[i];
        int64_t at = p->offset;
        for (int64_t j = 0; j < p->elements; j++) {
            at = fabs(gradients[p->offset + j]) > fabs(gradients[at]) ? p->offset + j : at;
        }
        memcpy(moved, f->flat, (size_t)f->model->flat_elements * sizeof *moved);
        const float step = 1e-3f;
        moved[at] = f->flat[at] + step;
        const double up = (double)moved[at];
        OK(prn__trainer_set_state(trainer, moved, NULL, NULL, 0, error));
        OK(prn__trainer_gradients(trainer, &f->batch, &high, NULL, error));
        moved[at] = f->flat[at] - step;
        const double down = (double)moved[at];
        OK(prn__trainer_set_state(trainer, moved, NULL, NULL, 0, error));
        OK(prn__trainer_gradients(trainer, &f->batch, &low, NULL, error));
        const double want = (high - low) / (up - down);
        if (fabs(gradients[at] - want) > 1e-3 * fabs(want) + 1e-7) {
            fail_msg("%s: gradient %.9g, difference quotient %.9g", p->name, gradients[at], want);
        }
        checked += fabs(want) > 1e-5;
    }
    assert_true(checked > (int)f->model->parameter_count * 3 / 4);
    prn__free(moved);
    prn__free(gradients);
    prn__trainer_destroy(trainer);
}

static float *train(const fixture *f, const prn__device *device, const prn__trainer_config *config, int steps)
{
    float *weights = prn__alloc_array((size_t)f->model->flat_elements, sizeof *weights);
    prn__trainer *trainer = trainer_make(f, device, config);
    prn__step_result result;
    for (int i = 0; i < steps; i++) {
        OK(prn__trainer_step(trainer, &f->batch, 1e-3, &result, error));
    }
    OK(prn__trainer_get_state(trainer, weights, NULL, NULL, NULL, error));
    prn__trainer_destroy(trainer);
    return weights;
}

/* One thread, two, three: the same bytes; so does running it again. */
static void test_threads(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    for (int micro = 0; micro < 2; micro++) {
        config.micro_batch = micro == 0 ? 0 : 5;
        float *want = train(f, &f->cpu.device, &config, 3);
        for (uint32_t threads = 1; threads <= 3; threads++) {
            test_device other;
            test_device_open(&other, "cpu", threads);
            float *got = train(f, &other.device, &config, 3);
            assert_memory_equal(got, want, (size_t)f->model->flat_elements * sizeof *got);
            prn__free(got);
            test_device_close(&other);
        }
        assert_true(test_max_difference(want, f->flat, f->model->flat_elements) > 1e-4);
        prn__free(want);
    }
}

/* The same on products large enough to be cut among threads: matrix libraries that are not safe to call from two threads at once
 * (a serial build of OpenBLAS without locking) fail here, rarely and silently otherwise. */
static void test_threads_large(void **state)
{
    (void)state;
    enum { LARGE = 96, STEPS = 4 };
    prn__model_config config;
    fixture f;
    float *weights[2];
    OK(prn__model_config_resolve("ViT-micro-32px", &config, error));
    config.text.vocab_size = 500;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f.model, error));
    f.flat = prn__alloc_array((size_t)f.model->flat_elements, sizeof *f.flat);
    prn__model_init(f.model, 6, f.flat);
    test_batch_make(&f.batch, &config, LARGE, 7);
    for (uint32_t threads = 1; threads <= 2; threads++) {
        prn__trainer_config trainer_config = base_config();
        trainer_config.batch = LARGE;
        test_device_open(&f.cpu, "cpu", threads);
        weights[threads - 1] = train(&f, &f.cpu.device, &trainer_config, STEPS);
        test_device_close(&f.cpu);
    }
    int64_t different = 0;
    for (int64_t i = 0; i < f.model->flat_elements; i++) {
        different += memcmp(&weights[0][i], &weights[1][i], sizeof(float)) != 0;
    }
    prn__free(weights[0]);
    prn__free(weights[1]);
    test_batch_free(&f.batch);
    prn__free(f.flat);
    prn__model_destroy(f.model);
    assert_int_equal(different, 0);
}

static void test_checkpointing(void **state)
{
    const fixture *f = *state;
    for (int which = 0; which < 2; which++) { /* towers in one piece, which hold their gradients, and in blocks */
        const prn__device *device = which == 0 ? &f->reference.device : &f->cpu.device;
        prn__trainer_config config = base_config();
        float *want = train(f, device, &config, 3), *got;
        for (int how = PRN__CHECKPOINT_BLOCKS; how <= PRN__CHECKPOINT_TOWERS; how++) {
            config.checkpoint = (prn__checkpointing)how;
            got = train(f, device, &config, 3);
            assert_memory_equal(got, want, (size_t)f->model->flat_elements * sizeof *got);
            prn__free(got);
        }
        prn__free(want);
    }
}

/* Checkpointing and micro-batches exist to save memory; a long stack shows it. */
static void test_memory(void **state)
{
    const fixture *f = *state;
    prn__model_config model_config = f->model->config;
    prn__model *model;
    prn__trainer *trainer;
    int64_t bytes[6];
    model_config.vision.layers = 12;
    model_config.text.layers = 12;
    OK(prn__model_create(&model_config, PRN__DECAY_DIMENSIONS, &model, error));
    for (int i = 0; i < 6; i++) {
        prn__trainer_config config = base_config();
        config.batch = 256;
        config.checkpoint = i == 1 ? PRN__CHECKPOINT_BLOCKS : i == 3 ? PRN__CHECKPOINT_SELECTIVE : i >= 4 ? PRN__CHECKPOINT_TOWERS : PRN__CHECKPOINT_NONE;
        config.optimizer.clip_norm = i == 5; /* then towers do not take turns */
        config.micro_batch = i == 2 ? 32 : 0;
        OK(prn__trainer_create(model, &f->cpu.device, &config, &trainer, error));
        bytes[i] = prn__trainer_memory_bytes(trainer);
        prn__trainer_destroy(trainer);
    }
    print_message("whole %lld, checkpointing %lld, selective %lld, towers %lld, and to clip %lld, micro-batches %lld bytes\n", (long long)bytes[0],
                  (long long)bytes[1], (long long)bytes[3], (long long)bytes[4], (long long)bytes[5], (long long)bytes[2]);
    assert_true(bytes[1] < bytes[0] / 3);
    assert_true(bytes[2] < bytes[0] / 4);
    assert_true(bytes[4] + 1000000 < bytes[1] && bytes[5] == bytes[1]); /* captions are short here */
    assert_true(bytes[3] > bytes[1] && (double)bytes[3] < 0.75 * (double)bytes[0]);
    prn__model_destroy(model);
}

/* A batch below the planned size gives what a trainer of its own size gives. */
static void test_short_batch(void **state)
{
    const fixture *f = *state;
    for (int64_t micro = 0; micro <= 5; micro += 5) {
        prn__trainer_config config = base_config();
        prn__batch part = f->batch;
        double want_loss, loss;
        part.count = 6;
        config.batch = 6;
        double *want = gradients_of(f, &f->reference.device, &config, &part, &want_loss);
        config.batch = BATCH;
        config.micro_batch = micro;
        prn__trainer *trainer = trainer_make(f, &f->reference.device, &config);
        double *got = prn__alloc_array((size_t)f->model->flat_elements, sizeof *got);
        OK(prn__trainer_gradients(trainer, &f->batch, &loss, got, error)); /* the full one first: nothing of it may stay */
        OK(prn__trainer_gradients(trainer, &part, &loss, got, error));
        NEAR(loss, want_loss, 1e-12);
        AT_MOST(test_relative(got, want, f->model->flat_elements), 1e-12);
        prn__free(got);
        prn__free(want);
        prn__trainer_destroy(trainer);
    }
}

/* The gradient norm is the norm of the gradient, without gaps; clipping scales what AdamW sees. */
static void test_clipping(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    prn__step_result result;
    double loss, sum = 0;
    double *gradients = gradients_of(f, &f->reference.device, &config, &f->batch, &loss);
    float *m = prn__alloc_array((size_t)f->model->flat_elements, sizeof *m);
    for (int64_t i = 0; i < f->model->flat_elements; i++) {
        sum += gradients[i] * gradients[i];
    }
    for (int clipped = 0; clipped < 2; clipped++) {
        config.optimizer.clip_norm = clipped ? sqrt(sum) / 4 : sqrt(sum) * 4;
        prn__trainer *trainer = trainer_make(f, &f->reference.device, &config);
        OK(prn__trainer_step(trainer, &f->batch, 1e-3, &result, error));
        NEAR(result.gradient_norm, sqrt(sum), 1e-10 * sqrt(sum));
        NEAR(result.loss, loss, 1e-12);
        OK(prn__trainer_get_state(trainer, NULL, m, NULL, NULL, error));
        const double scale = clipped ? (sqrt(sum) / 4) / (sqrt(sum) + 1e-6) : 1;
        for (int64_t i = 0; i < f->model->flat_elements; i++) {
            NEAR(m[i], 0.1 * gradients[i] * scale, 1e-6 * fabs(gradients[i]) + 1e-12);
        }
        prn__trainer_destroy(trainer);
    }
    prn__free(m);
    prn__free(gradients);
}

/* logit_scale stays in [0, ln 100], whatever the update. */
static void test_logit_scale(void **state)
{
    const fixture *f = *state;
    const int64_t at = f->model->logit_scale_offset;
    prn__trainer_config config = base_config();
    prn__step_result result;
    float *weights = prn__alloc_array((size_t)f->model->flat_elements, sizeof *weights);
    for (int side = 0; side < 2; side++) {
        prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
        memcpy(weights, f->flat, (size_t)f->model->flat_elements * sizeof *weights);
        weights[at] = side == 0 ? (float)log(100) + 1 : -1;
        OK(prn__trainer_set_state(trainer, weights, NULL, NULL, 0, error));
        OK(prn__trainer_step(trainer, &f->batch, 1e-6, &result, error));
        NEAR(result.logit_scale, side == 0 ? 100 : 1, 1e-4);
        OK(prn__trainer_get_state(trainer, weights, NULL, NULL, NULL, error));
        assert_true(weights[at] >= 0 && weights[at] <= (float)log(100) + 1e-6f);
        prn__trainer_destroy(trainer);
    }
    prn__free(weights);
}

/* A loss that is not finite changes nothing. */
static void test_not_finite(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    const size_t bytes = (size_t)f->model->flat_elements * sizeof(float);
    float *weights = prn__alloc(bytes), *m = prn__alloc(bytes), *v = prn__alloc(bytes);
    float *after[3] = {prn__alloc(bytes), prn__alloc(bytes), prn__alloc(bytes)};
    prn_error refused = PRN_ERROR_INIT;
    int64_t updates;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    prn__step_result result;
    OK(prn__trainer_step(trainer, &f->batch, 1e-3, &result, error));
    OK(prn__trainer_get_state(trainer, weights, m, v, &updates, error));
    weights[prn__model_parameter(f->model, "visual.proj")->offset + 3] = NAN;
    OK(prn__trainer_set_state(trainer, weights, m, v, updates, error));
    assert_int_equal(prn__trainer_step(trainer, &f->batch, 1e-3, &result, &refused), PRN_NUMERIC);
    assert_non_null(strstr(refused.message, "update 2"));
    OK(prn__trainer_get_state(trainer, after[0], after[1], after[2], &updates, error));
    assert_int_equal(updates, 1);
    assert_memory_equal(after[0], weights, bytes);
    assert_memory_equal(after[1], m, bytes);
    assert_memory_equal(after[2], v, bytes);
    prn__trainer_destroy(trainer);
    for (int i = 0; i < 3; i++) {
        prn__free(after[i]);
    }
    prn__free(weights);
    prn__free(m);
    prn__free(v);
}

/* Stopping, saving the state, and going on in another trainer gives the same bytes. */
static void test_resume(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    const size_t bytes = (size_t)f->model->flat_elements * sizeof(float);
    float *want = train(f, &f->cpu.device, &config, 4), *w = prn__alloc(bytes), *m = prn__alloc(bytes), *v = prn__alloc(bytes);
    prn__step_result result;
    int64_t updates;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    for (int i = 0; i < 4; i++) {
        if (i == 2) {
            OK(prn__trainer_get_state(trainer, w, m, v, &updates, error));
            prn__trainer_destroy(trainer);
            OK(prn__trainer_create(f->model, &f->cpu.device, &config, &trainer, error));
            OK(prn__trainer_set_state(trainer, w, m, v, updates, error));
        }
        OK(prn__trainer_step(trainer, &f->batch, 1e-3, &result, error));
    }
    OK(prn__trainer_get_state(trainer, w, NULL, NULL, &updates, error));
    assert_int_equal(updates, 4);
    assert_memory_equal(w, want, bytes);
    /* gaps never move: they enter the gradient norm */
    for (size_t i = 0; i < f->model->parameter_count; i++) {
        const prn__parameter *p = &f->model->parameters[i];
        for (int64_t j = p->elements; j % 16 != 0; j++) {
            assert_true(w[p->offset + j] == 0);
        }
    }
    prn__trainer_destroy(trainer);
    prn__free(want);
    prn__free(w);
    prn__free(m);
    prn__free(v);
}

/* It learns: a dozen fixed pairs are told apart after some steps. */
static void test_learns(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    prn__step_result first, last;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    OK(prn__trainer_step(trainer, &f->batch, 2e-3, &first, error));
    NEAR(first.loss, log(BATCH), 1.0);
    for (int i = 0; i < 60; i++) {
        OK(prn__trainer_step(trainer, &f->batch, 2e-3, &last, error));
    }
    AT_MOST(last.loss, 0.1);
    assert_true(last.seconds > 0);
    prn__trainer_destroy(trainer);
}

static int yes_after(void *left)
{
    return (*(int *)left)-- <= 0;
}

/* Between micro-batches a step may be left: it was not made, and the same step afterwards gives the bytes of one that nothing disturbed. */
static void test_stops(void **state)
{
    const fixture *f = *state;
    const size_t n = (size_t)f->model->flat_elements;
    prn__trainer_config config = base_config();
    prn__step_result result;
    float *want = prn__alloc_array(n, sizeof *want), *got = prn__alloc_array(n, sizeof *got);
    int64_t updates, stopped = 0;
    config.micro_batch = 5;
    config.optimizer.clip_norm = 1;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    OK(prn__trainer_step(trainer, &f->batch, 1e-3, &result, error));
    OK(prn__trainer_get_state(trainer, want, NULL, NULL, NULL, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    for (int at = 0;; at++) {
        prn_error refused = PRN_ERROR_INIT;
        int left = at;
        prn__stop_set(yes_after, &left);
        const prn_status status = prn__trainer_step(trainer, &f->batch, 1e-3, &result, &refused);
        prn__stop_set(NULL, NULL);
        OK(prn__trainer_get_state(trainer, got, NULL, NULL, &updates, error));
        assert_memory_equal(got, status == PRN_OK ? want : f->flat, n * sizeof *got);
        assert_int_equal(updates, status == PRN_OK);
        if (status == PRN_OK) {
            break;
        }
        assert_int_equal(status, PRN_INTERRUPTED);
        stopped++;
    }
    assert_int_equal(stopped, 12); /* 3 micro-batches of 2 towers, forward and backward */
    prn__trainer_destroy(trainer);
    prn__free(want);
    prn__free(got);
}

static void test_no_allocation_in_a_step(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    prn__step_result result;
    prn_error refused = PRN_ERROR_INIT;
    config.micro_batch = 5;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    OK(prn__trainer_step(trainer, &f->batch, 1e-3, &result, error));
    prn__alloc_fail_at(1);
    prn_status status = prn__trainer_step(trainer, &f->batch, 1e-3, &result, &refused);
    prn__alloc_fail_at(0);
    if (status != PRN_OK) {
        fail_msg("%s", refused.message);
    }
    prn__trainer_destroy(trainer);
}

static void test_refusals(void **state)
{
    const fixture *f = *state;
    prn_error refused = PRN_ERROR_INIT;
    prn__trainer *trainer;
    prn__step_result result;
    static const struct {
        prn__trainer_config config;
        const char *part;
    } bad[] = {
        {{.batch = 1, .optimizer = {0.9, 0.98, 1e-6, 0.2, 0}}, "2 to"},
        {{.batch = 8, .micro_batch = 9, .optimizer = {0.9, 0.98, 1e-6, 0.2, 0}}, "micro_batch is 9"},
        {{.batch = 8, .micro_batch = -1, .optimizer = {0.9, 0.98, 1e-6, 0.2, 0}}, "micro_batch is -1"},
        {{.batch = 8, .loss_tile = 9, .optimizer = {0.9, 0.98, 1e-6, 0.2, 0}}, "loss_tile is 9"},
        {{.batch = 8, .optimizer = {1.0, 0.98, 1e-6, 0.2, 0}}, "beta1"},
        {{.batch = 8, .optimizer = {0.9, 0.98, 0, 0.2, 0}}, "epsilon"},
        {{.batch = 8, .optimizer = {0.9, 0.98, 1e-6, -1, 0}}, "decay"},
        {{.batch = 8, .optimizer = {0.9, 0.98, 1e-6, 0.2, -1}}, "clip_norm"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(prn__trainer_create(f->model, &f->cpu.device, &bad[i].config, &trainer, &refused), PRN_INVALID);
        if (strstr(refused.message, bad[i].part) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", refused.message, bad[i].part);
        }
        assert_null(trainer);
    }
    prn__trainer_config config = base_config();
    trainer = trainer_make(f, &f->cpu.device, &config);
    prn__batch batch = f->batch;
    batch.count = 1;
    assert_int_equal(prn__trainer_step(trainer, &batch, 1e-3, &result, &refused), PRN_INVALID);
    batch.count = BATCH + 1;
    assert_int_equal(prn__trainer_step(trainer, &batch, 1e-3, &result, &refused), PRN_INVALID);
    batch.count = BATCH;
    assert_int_equal(prn__trainer_step(trainer, &batch, NAN, &result, &refused), PRN_INVALID);
    assert_int_equal(prn__trainer_step(trainer, &batch, -1, &result, &refused), PRN_INVALID);
    const int32_t kept = batch.tokens[1];
    batch.tokens[1] = 120;
    assert_int_equal(prn__trainer_step(trainer, &batch, 1e-3, &result, &refused), PRN_INVALID);
    assert_non_null(strstr(refused.message, "token 120"));
    batch.tokens[1] = -1;
    assert_int_equal(prn__trainer_step(trainer, &batch, 1e-3, &result, &refused), PRN_INVALID);
    batch.tokens[1] = kept;
    const int64_t end = batch.offsets[3];
    batch.offsets[3] = batch.offsets[2]; /* empty caption */
    assert_int_equal(prn__trainer_step(trainer, &batch, 1e-3, &result, &refused), PRN_INVALID);
    batch.offsets[3] = batch.offsets[2] + 13; /* longer than the context */
    assert_int_equal(prn__trainer_step(trainer, &batch, 1e-3, &result, &refused), PRN_INVALID);
    assert_non_null(strstr(refused.message, "1 to 12"));
    batch.offsets[3] = end;
    OK(prn__trainer_step(trainer, &batch, 1e-3, &result, error));
    assert_int_equal(prn__trainer_set_state(trainer, NULL, NULL, NULL, 0, &refused), PRN_INVALID);
    assert_int_equal(prn__trainer_set_state(trainer, f->flat, NULL, NULL, -1, &refused), PRN_INVALID);
    prn__trainer_destroy(trainer);
}

static void test_no_memory(void **state)
{
    const fixture *f = *state;
    prn_error refused = PRN_ERROR_INIT;
    prn__trainer_config config = base_config();
    int64_t live = prn__alloc_live();
    int finished = 0;
    config.micro_batch = 5;
    for (int64_t nth = 1; nth < 100000 && !finished; nth += 1 + nth / 12) {
        prn__trainer *trainer;
        prn__alloc_fail_at(nth);
        prn_status status = prn__trainer_create(f->model, &f->cpu.device, &config, &trainer, &refused);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            finished = 1;
            prn__trainer_destroy(trainer);
        } else if (status != PRN_NO_MEMORY) {
            fail_msg("allocation %lld: %s: %s", (long long)nth, prn_status_name(status), refused.message);
        }
        assert_int_equal(prn__alloc_live(), live);
    }
    assert_true(finished);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_threads_large),
        cmocka_unit_test(test_checkpointing),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_short_batch),
        cmocka_unit_test(test_clipping),
        cmocka_unit_test(test_logit_scale),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_no_allocation_in_a_step),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
