/* tests/train/test_memory.c: what a trainer keeps must not change what it computes: gradients held by the towers, cheap operations computed
 * again, text planned for the rows that come; and memory is what was said. */
#include "model/test_support.h"

#include "train/trainer.h"

enum { BATCH = 9, STEPS = 4 };

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
    config.text.context_length = 24;
    config.text.layers = 2;
    config.vision.width = config.text.width = 132; /* not narrow: gradients can be held (model/blocks.h) */
    config.vision.head_width = 33;
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

typedef struct outcome {
    float *part[3]; /* weights, m, v */
    double loss[STEPS], norm[STEPS];
} outcome;

/* Some steps; with `until`, the vector of all gradients is asked for after so many. */
static outcome train(const fixture *f, const prn__device *device, const prn__trainer_config *config, int want_held, int until)
{
    outcome o;
    prn__step_result result;
    double loss;
    prn__trainer *trainer = trainer_make(f, device, config);
    assert_int_equal(prn__trainer_is_held(trainer), want_held);
    for (int i = 0; i < STEPS; i++) {
        if (i == until) {
            OK(prn__trainer_gradients(trainer, &f->batch, &loss, NULL, error));
            assert_false(prn__trainer_is_held(trainer));
        }
        OK(prn__trainer_step(trainer, &f->batch, 1e-3, &result, error));
        o.loss[i] = result.loss;
        o.norm[i] = result.gradient_norm;
    }
    for (int i = 0; i < 3; i++) {
        o.part[i] = prn__alloc_array((size_t)f->model->flat_elements, sizeof(float));
    }
    OK(prn__trainer_get_state(trainer, o.part[0], o.part[1], o.part[2], NULL, error));
    prn__trainer_destroy(trainer);
    return o;
}

static void outcome_free(outcome *o)
{
    for (int i = 0; i < 3; i++) {
        prn__free(o->part[i]);
    }
}

static void same(const fixture *f, const outcome *a, const outcome *b)
{
    assert_memory_equal(a->loss, b->loss, sizeof a->loss);
    assert_memory_equal(a->norm, b->norm, sizeof a->norm);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(a->part[i], b->part[i], (size_t)f->model->flat_elements * sizeof(float));
    }
}

/* Everything kept, gradients held, held until the norm is known, changed on the way: the same weights, moments, losses and norms to the bit. */
static void test_same_bits(void **state)
{
    const fixture *f = *state;
    for (int form = 0; form < 9; form++) {
        const prn__device *device = form % 2 == 0 ? &f->cpu.device : &f->reference.device;
        const int clip = form < 6 ? form / 2 : form == 8; /* none, one that acts, one that does not */
        prn__trainer_config config = base_config();
        config.optimizer.clip_norm = clip == 0 ? 0 : clip == 1 ? 0.05 : 1e6;
        config.optimizer.bf16_moments = form >= 6;
        config.keep_all = 1;
        outcome want = train(f, device, &config, 0, -1);
        assert_true(clip != 1 || want.norm[0] > 0.1);
        for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
            config.keep_all = 0;
            config.checkpoint = checkpoint;
            for (int until = -1; until < 3; until += 3) {
                outcome got = train(f, device, &config, 1, until);
                same(f, &want, &got);
                outcome_free(&got);
            }
        }
        outcome_free(&want);
    }
}

/* Captions of one length. */
static void batch_of(prn__batch *batch, const prn__model_config *config, uint64_t seed, int64_t length)
{
    test_batch_make(batch, config, BATCH, seed);
    prn__free(batch->tokens);
    batch->token_count = BATCH * length;
    batch->tokens = prn__alloc_array((size_t)batch->token_count, sizeof *batch->tokens);
    for (int64_t k = 0; k <= BATCH; k++) {
        batch->offsets[k] = k * length;
    }
    for (int64_t k = 0; k < batch->token_count; k++) {
        batch->tokens[k] = (int32_t)((k * 7 + (int64_t)seed) % 119);
    }
}

static int64_t text_elements(const prn__model *model, int64_t rows)
{
    const prn__tower_options options = {.max_items = BATCH, .max_tokens = BATCH * rows, .training = 1, .recompute = 1};
    const prn_program *program;
    prn__graph *graph;
    OK(prn__model_text_tower(model, &options, &graph, error));
    OK(prn__graph_finish(graph, &program, error));
    const int64_t elements = program->workspace_elements;
    prn__graph_destroy(graph);
    return elements;
}

/* The same of towers so wide that attention is computed again, and of captions so long that the sums behind it are too, which then keep less a row. */
static void test_wide(void **state)
{
    const fixture *f = *state;
    prn__model_config model = f->model->config;
    model.vision.width = model.text.width = 256;
    model.vision.head_width = 64;
    model.text.heads = 4;
    model.text.context_length = 60;
    model.text.layers = 3;
    fixture wide = *f;
    OK(prn__model_create(&model, PRN__DECAY_DIMENSIONS, &wide.model, error));
    wide.flat = prn__alloc_array((size_t)wide.model->flat_elements, sizeof *wide.flat);
    prn__model_init(wide.model, 5, wide.flat);
    assert_true(text_elements(wide.model, 48) * 36 * 20 < text_elements(wide.model, 36) * 48 * 19);
    for (int is_long = 0; is_long < 2; is_long++) {
        prn__trainer_config config = base_config();
        batch_of(&wide.batch, &model, 99, is_long ? 48 : 15);
        config.keep_all = 1;
        outcome want = train(&wide, &wide.cpu.device, &config, 0, -1);
        config.keep_all = 0;
        for (int checkpoint = PRN__CHECKPOINT_NONE; checkpoint <= PRN__CHECKPOINT_TOWERS; checkpoint++) {
            config.checkpoint = (prn__checkpointing)checkpoint;
            outcome got = train(&wide, &wide.cpu.device, &config, 1, -1);
            same(&wide, &want, &got);
            outcome_free(&got);
        }
        outcome_free(&want);
        test_batch_free(&wide.batch);
    }
    prn__free(wide.flat);
    prn__model_destroy(wide.model);
}

/* A trainer with moments in bf16 goes on from its state as if it had never stopped; a few updates on, each of its moments is about that of a trainer with
 * full ones, and so is its loss. */
static void test_bf16_moments(void **state)
{
    const fixture *f = *state;
    const size_t elements = (size_t)f->model->flat_elements;
    prn__trainer_config config = base_config();
    outcome full = train(f, &f->cpu.device, &config, 1, -1);
    config.optimizer.bf16_moments = 1;
    outcome want = train(f, &f->cpu.device, &config, 1, -1);
    for (int part = 1; part < 3; part++) {
        double off = 0, size = 0;
        for (size_t i = 0; i < elements; i++) {
            uint32_t bits;
            memcpy(&bits, &want.part[part][i], sizeof bits);
            assert_int_equal(bits & 0xffff, 0);
            off += fabs(want.part[part][i] - full.part[part][i]);
            size += fabs(full.part[part][i]);
        }
        assert_true(off < 0.03 * size);
    }
    assert_true(want.loss[0] == full.loss[0] && fabs(want.loss[STEPS - 1] - full.loss[STEPS - 1]) < 0.02 * full.loss[STEPS - 1]);

    outcome got = want;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    for (int i = 0; i < 3; i++) {
        got.part[i] = prn__alloc_array(elements, sizeof(float));
    }
    for (int i = 0; i < STEPS; i++) {
        int64_t updates;
        OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error));
        OK(prn__trainer_get_state(trainer, got.part[0], got.part[1], got.part[2], &updates, error));
        prn__trainer_destroy(trainer);
        trainer = trainer_make(f, &f->cpu.device, &config);
        OK(prn__trainer_set_state(trainer, got.part[0], got.part[1], got.part[2], updates, error));
    }
    same(f, &want, &got);
    prn__trainer_destroy(trainer);
    outcome_free(&full);
    outcome_free(&want);
    outcome_free(&got);
}

/* A micro-batched trainer needs all gradients at once. */
static void test_split_is_whole(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    config.micro_batch = 4;
    outcome got = train(f, &f->cpu.device, &config, 0, -1);
    outcome_free(&got);
}

/* What is planned is held against a limit before anything is made, and the error says both figures. A smaller micro-batch needs less. */
static void test_limit(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    prn_error refused = PRN_ERROR_INIT;
    config.micro_batch = 4;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    config.memory_limit = prn__trainer_memory_bytes(trainer);
    prn__trainer_destroy(trainer);
    trainer = trainer_make(f, &f->cpu.device, &config); /* to the byte */
    prn__trainer_destroy(trainer);
    config.memory_limit--;
    assert_int_equal(prn__trainer_create(f->model, &f->cpu.device, &config, &trainer, &refused), PRN_NO_MEMORY);
    assert_non_null(strstr(refused.message, "MiB are free"));
    assert_non_null(strstr(refused.message, "micro_batch"));
    config.micro_batch = 1;
    trainer = trainer_make(f, &f->cpu.device, &config);
    config.memory_limit = prn__trainer_memory_bytes(trainer);
    prn__trainer_destroy(trainer);
    trainer = trainer_make(f, &f->cpu.device, &config);
    refused = (prn_error)PRN_ERROR_INIT;
    assert_int_equal(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, &refused), PRN_NO_MEMORY); /* room for the captions it does not know yet */
    assert_non_null(strstr(refused.message, "MiB are free"));
    prn__trainer_destroy(trainer);
}

/* Captions that get longer from step to step, and shorter again, give what a trainer that has seen the longest first gives. */
static void test_text_grows(void **state)
{
    const fixture *f = *state;
    prn__batch batches[3];
    static const int64_t lengths[3] = {2, 23, 7};
    for (int i = 0; i < 3; i++) {
        batch_of(&batches[i], &f->model->config, (uint64_t)i + 1, lengths[i]);
    }
    const size_t bytes = (size_t)f->model->flat_elements * sizeof(float);
    for (int64_t micro = 0; micro <= 4; micro += 4) {
        prn__trainer_config config = base_config();
        config.micro_batch = micro;
        float *weights[2] = {prn__alloc(bytes), prn__alloc(bytes)};
        int64_t memory[2] = {0, 0};
        for (int k = 0; k < 2; k++) {
            prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
            const int64_t begin = prn__trainer_memory_bytes(trainer);
            if (k == 1) {
                OK(prn__trainer_step(trainer, &batches[1], 1e-3, NULL, error));
                OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
            }
            for (int i = 0; i < 3; i++) {
                OK(prn__trainer_step(trainer, &batches[i], 1e-3, NULL, error));
                assert_true(i > 0 || k == 1 || prn__trainer_memory_bytes(trainer) < begin + (begin >> 2));
            }
            memory[k] = prn__trainer_memory_bytes(trainer);
            assert_true(memory[k] > begin);
            OK(prn__trainer_get_state(trainer, weights[k], NULL, NULL, NULL, error));
            prn__trainer_destroy(trainer);
        }
        assert_memory_equal(weights[0], weights[1], bytes);
        assert_int_equal(memory[0], memory[1]);
        prn__free(weights[0]);
        prn__free(weights[1]);
    }
    for (int i = 0; i < 3; i++) {
        test_batch_free(&batches[i]);
    }
}

/* A step that needs more memory than there is fails, and the next one, with memory, goes on as if nothing had been. */
static void test_growing_fails(void **state)
{
    const fixture *f = *state;
    prn__trainer_config config = base_config();
    prn_error refused = PRN_ERROR_INIT;
    const size_t bytes = (size_t)f->model->flat_elements * sizeof(float);
    float *want = prn__alloc(bytes), *got = prn__alloc(bytes);
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error));
    OK(prn__trainer_get_state(trainer, want, NULL, NULL, NULL, error));
    prn__trainer_destroy(trainer);
    int failures = 0;
    for (int64_t nth = 1; nth < 100000; nth += 1 + nth / 10) {
        const int64_t live = prn__alloc_live();
        trainer = trainer_make(f, &f->cpu.device, &config);
        prn__alloc_fail_at(nth);
        prn_status status = prn__trainer_step(trainer, &f->batch, 1e-3, NULL, &refused);
        prn__alloc_fail_at(0);
        if (status != PRN_OK) {
            assert_int_equal(status, PRN_NO_MEMORY);
            failures++;
            OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error));
        }
        OK(prn__trainer_get_state(trainer, got, NULL, NULL, NULL, error));
        assert_memory_equal(got, want, bytes);
        prn__trainer_destroy(trainer);
        assert_int_equal(prn__alloc_live(), live);
        if (status == PRN_OK) {
            break;
        }
    }
    assert_true(failures > 10);
    prn__free(want);
    prn__free(got);
}

/* A finite loss with a gradient that is not: with the norm known first nothing has changed; without, the state is refused until one is set. */
static void test_gradient_not_finite(void **state)
{
    const fixture *f = *state;
    const size_t bytes = (size_t)f->model->flat_elements * sizeof(float);
    float *bad = prn__alloc(bytes), *after = prn__alloc(bytes);
    memcpy(bad, f->flat, bytes);
    /* the last norm's gain is tiny and the projection behind it huge: the embeddings are as before, the gain's gradient is huge, its square inf */
    const prn__parameter *gain = prn__model_parameter(f->model, "visual.ln_post.weight"), *projection = prn__model_parameter(f->model, "visual.proj");
    for (int64_t i = 0; i < gain->elements; i++) {
        bad[gain->offset + i] *= 1e-25f;
    }
    for (int64_t i = 0; i < projection->elements; i++) {
        bad[projection->offset + i] *= 1e25f;
    }
    for (int held = 0; held < 3; held++) { /* everything kept; held; held until the norm is known */
        prn__trainer_config config = base_config();
        prn_error refused = PRN_ERROR_INIT;
        config.keep_all = held == 0;
        config.optimizer.clip_norm = held == 2 ? 1 : 0;
        prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
        OK(prn__trainer_set_state(trainer, bad, NULL, NULL, 0, error));
        assert_int_equal(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, &refused), PRN_NUMERIC);
        assert_non_null(strstr(refused.message, "gradient norm is inf") != NULL ? refused.message : strstr(refused.message, "gradient norm inf"));
        assert_non_null(strstr(refused.message, held == 1 ? "are lost" : "as before"));
        const prn_status status = prn__trainer_get_state(trainer, after, NULL, NULL, NULL, &refused);
        assert_int_equal(status, held == 1 ? PRN_NUMERIC : PRN_OK);
        if (status == PRN_OK) {
            assert_memory_equal(after, bad, bytes);
        } else {
            assert_int_equal(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, &refused), PRN_NUMERIC);
            assert_non_null(strstr(refused.message, "load the last saved state"));
        }
        OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
        OK(prn__trainer_step(trainer, &f->batch, 1e-3, NULL, error));
        prn__trainer_destroy(trainer);
    }
    prn__free(bad);
    prn__free(after);
}

/* The difference is that of a vector of all gradients and of the activations that are not kept. */
static void test_less_memory(void **state)
{
    const fixture *f = *state;
    int64_t bytes[2];
    for (int keep = 0; keep < 2; keep++) {
        prn__trainer_config config = base_config();
        config.keep_all = keep;
        config.batch = 64;
        prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
        bytes[keep] = prn__trainer_memory_bytes(trainer);
        prn__trainer_destroy(trainer);
    }
    print_message("%lld bytes, with everything kept %lld\n", (long long)bytes[0], (long long)bytes[1]);
    assert_true(bytes[0] + 4 * f->model->flat_elements < bytes[1]);
    prn__trainer_config config = base_config();
    config.batch = 64;
    config.optimizer.bf16_moments = 1;
    prn__trainer *trainer = trainer_make(f, &f->cpu.device, &config);
    assert_int_equal(prn__trainer_memory_bytes(trainer), bytes[0] - 4 * f->model->flat_elements);
    prn__trainer_destroy(trainer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),      cmocka_unit_test(test_bf16_moments),        cmocka_unit_test(test_split_is_whole),
        cmocka_unit_test(test_text_grows),     cmocka_unit_test(test_limit),               cmocka_unit_test(test_growing_fails),
        cmocka_unit_test(test_gradient_not_finite), cmocka_unit_test(test_less_memory), cmocka_unit_test(test_wide),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
