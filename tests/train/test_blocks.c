/* tests/train/test_blocks.c: narrow towers take a batch in blocks, side by side: the same bytes with any number of threads, and as one block after the
 * other; as near to the whole batch at once as another order of sums is.
 */
#include "model/test_support.h"

#include "model/blocks.h"
#include "model/embedder.h"
#include "train/trainer.h"

enum { BATCH = 41, STEPS = 3 };

typedef struct fixture {
    prn__model *model;
    prn__batch batch[STEPS]; /* the second one is smaller */
    float *flat;
} fixture;

static prn__model_config narrow_config(void)
{
    prn__model_config config;
    OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
    config.text.vocab_size = 120;
    config.text.context_length = 12;
    config.text.layers = config.vision.layers = 2;
    config.vision.width = config.text.width = 64;
    config.vision.head_width = 32;
    config.text.heads = 2;
    config.embed_dim = 32;
    return config;
}

static int setup(void **state)
{
    static fixture f;
    const prn__model_config config = narrow_config();
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f.model, error));
    f.flat = prn__alloc_array((size_t)f.model->flat_elements, sizeof *f.flat);
    prn__model_init(f.model, 5, f.flat);
    for (int i = 0; i < STEPS; i++) {
        test_batch_make(&f.batch[i], &config, i == 1 ? BATCH - 7 : BATCH, 99 + (uint64_t)i);
    }
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < STEPS; i++) {
        test_batch_free(&f->batch[i]);
    }
    prn__free(f->flat);
    prn__model_destroy(f->model);
    assert_int_equal(prn__alloc_live(), 0);
    return 0;
}

static prn__trainer_config base_config(int64_t micro)
{
    return (prn__trainer_config){.batch = BATCH, .micro_batch = micro, .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2}};
}

/* Weights after some steps. */
static float *train(const fixture *f, const prn__device *device, int64_t micro, prn__checkpointing checkpoint)
{
    prn__trainer_config config = base_config(micro);
    prn__trainer *trainer;
    float *weights = prn__alloc_array((size_t)f->model->flat_elements, sizeof *weights);
    config.checkpoint = checkpoint;
    OK(prn__trainer_create(f->model, device, &config, &trainer, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    for (int i = 0; i < STEPS; i++) {
        OK(prn__trainer_step(trainer, &f->batch[i], 1e-3, NULL, error));
    }
    OK(prn__trainer_get_state(trainer, weights, NULL, NULL, NULL, error));
    prn__trainer_destroy(trainer);
    return weights;
}

static double *gradient(const fixture *f, const prn__device *device, int64_t micro)
{
    const prn__trainer_config config = base_config(micro);
    prn__trainer *trainer;
    double loss, *result = prn__alloc_array((size_t)f->model->flat_elements, sizeof *result);
    OK(prn__trainer_create(f->model, device, &config, &trainer, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    OK(prn__trainer_gradients(trainer, &f->batch[0], &loss, result, error));
    prn__trainer_destroy(trainer);
    return result;
}

/* ---- devices that differ in `execute_each` alone ---- */

static prn_backend changed;
static int64_t blocks_run;

static prn_status in_turn(prn_backend_instance *instance, const prn_execution *executions, uint32_t count, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < count && status == PRN_OK; i++) {
        status = changed.execute(instance, executions[i].executable, executions[i].segment, executions[i].binding, error);
    }
    blocks_run += count;
    return status;
}

static prn__device with(const prn__device *device, int has_blocks)
{
    prn__device result = *device;
    changed = *device->backend;
    changed.execute_each = has_blocks ? in_turn : NULL;
    result.backend = &changed;
    return result;
}

/* ---- tests ---- */

static void test_sizes(void **state)
{
    const fixture *f = *state;
    prn__model_config wide = narrow_config();
    prn__model *wide_model;
    test_device d, reference;
    test_device_open(&d, "cpu", 2);
    test_device_open(&reference, "reference", 2);
    wide.vision.width = wide.text.width = 192;
    wide.vision.head_width = 96;
    OK(prn__model_create(&wide, PRN__DECAY_DIMENSIONS, &wide_model, error));
    const prn__device whole = with(&d.device, 0);
    assert_int_equal(prn__block_items(f->model, &d.device, 0, BATCH), 6); /* 17 positions */
    assert_int_equal(prn__block_items(f->model, &d.device, 1, BATCH), 8); /* 12 tokens at most */
    assert_int_equal(prn__block_items(f->model, &d.device, 0, 5000), 30);
    for (int is_text = 0; is_text < 2; is_text++) {
        for (int64_t items = 1; items < 300; items++) {
            const int64_t block = prn__block_items(f->model, &d.device, is_text, items);
            assert_true(block >= 1 && block <= items);
            assert_int_equal(prn__block_items(wide_model, &d.device, is_text, items), items);
            assert_int_equal(prn__block_items(f->model, &reference.device, is_text, items), items);
            assert_int_equal(prn__block_items(f->model, &whole, is_text, items), items);
        }
    }
    prn__model_destroy(wide_model);
    test_device_close(&reference);
    test_device_close(&d);
}

/* Either precision, a whole batch and micro-batches, kept and recomputed activations. */
static void test_same_bytes(void **state)
{
    const fixture *f = *state;
    static const uint32_t threads[] = {1, 2, 3, 7};
    static const struct {
        int64_t micro;
        prn__checkpointing checkpoint;
        const char *precision;
    } forms[] = {{0, PRN__CHECKPOINT_NONE, "fp32"}, {17, PRN__CHECKPOINT_NONE, "fp32"}, {0, PRN__CHECKPOINT_BLOCKS, "fp32"}, {0, PRN__CHECKPOINT_NONE, "bf16"}};
    const size_t bytes = (size_t)f->model->flat_elements * sizeof(float);
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
        float *want = NULL;
        for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
            test_device d;
            test_device_open_as(&d, "cpu", threads[i], forms[k].precision);
            float *got = train(f, &d.device, forms[k].micro, forms[k].checkpoint);
            if (want == NULL) {
                want = got;
                const prn__device other = with(&d.device, 1);
                blocks_run = 0;
                got = train(f, &other, forms[k].micro, forms[k].checkpoint);
                assert_true(blocks_run > 4 * STEPS * BATCH / 8);
            }
            assert_memory_equal(got, want, bytes);
            prn__free(got);
            test_device_close(&d);
        }
        prn__free(want);
    }
}

/* The text tower is the work of all threads together. */
static void test_one_narrow(void **state)
{
    fixture f = *(const fixture *)*state;
    prn__model_config config = narrow_config();
    config.text.width = 192;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f.model, error));
    f.flat = prn__alloc_array((size_t)f.model->flat_elements, sizeof *f.flat);
    prn__model_init(f.model, 6, f.flat);
    float *got[3];
    for (int which = 0; which < 3; which++) { /* side by side on one thread and on three; one block after the other */
        test_device d;
        test_device_open(&d, "cpu", which == 0 ? 1 : 3);
        const prn__device other = with(&d.device, 1);
        blocks_run = 0;
        got[which] = train(&f, which == 2 ? &other : &d.device, 0, PRN__CHECKPOINT_NONE);
        assert_memory_equal(got[which], got[0], (size_t)f.model->flat_elements * sizeof(float));
        assert_int_equal(blocks_run, which == 2 ? 2 * (7 + 6 + 7) + 2 * 3 * 2 : 0); /* of 6 images, and heads of 21, forward and backward */
        test_device_close(&d);
    }
    for (int which = 0; which < 3; which++) {
        prn__free(got[which]);
    }
    prn__free(f.flat);
    prn__model_destroy(f.model);
}

static void test_near_the_whole(void **state)
{
    const fixture *f = *state;
    test_device d;
    test_device_open(&d, "cpu", 2);
    const prn__device other = with(&d.device, 0);
    double *whole = gradient(f, &other, 0);
    for (int64_t micro = 0; micro < BATCH; micro += 20) {
        double *blocks = gradient(f, &d.device, micro);
        AT_MOST(test_relative(blocks, whole, f->model->flat_elements), 2e-6);
        prn__free(blocks);
    }
    prn__free(whole);
    test_device_close(&d);
}

static void test_embeddings(void **state)
{
    const fixture *f = *state;
    enum { CHUNK = 24 };
    const size_t elements = (size_t)BATCH * (size_t)f->model->config.embed_dim;
    float *got[3];
    for (int which = 0; which < 3; which++) { /* whole chunks, blocks, blocks on more threads */
        test_device d;
        prn__embedder *embedder;
        test_device_open(&d, "cpu", which == 2 ? 3 : 2);
        const prn__device whole = with(&d.device, 0);
        got[which] = prn__alloc_array(2 * elements, sizeof **got);
        OK(prn__embedder_create(f->model, which == 0 ? &whole : &d.device, CHUNK, &embedder, error));
        OK(prn__embedder_set_weights(embedder, f->flat, error));
        OK(prn__embedder_images(embedder, f->batch[0].images, BATCH, got[which], error));
        OK(prn__embedder_texts(embedder, f->batch[0].tokens, f->batch[0].offsets, BATCH, got[which] + elements, error));
        prn__embedder_destroy(embedder);
        test_device_close(&d);
    }
    AT_MOST(test_max_difference(got[1], got[0], (int64_t)(2 * elements)), 2e-6);
    assert_memory_equal(got[2], got[1], 2 * elements * sizeof **got);
    for (int which = 0; which < 3; which++) {
        prn__free(got[which]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_one_narrow),
        cmocka_unit_test(test_near_the_whole), cmocka_unit_test(test_embeddings),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
