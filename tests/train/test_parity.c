/* tests/train/test_parity.c: equal to PyTorch's CLIP on a small configuration (tests/fixtures/README.md), on both backends:
 * embeddings, loss, every gradient, and the weights after 20 AdamW steps with decay and a cosine schedule. */
#include "model/test_support.h"

#include "model/embedder.h"
#include "train/trainer.h"

static const prn__optimizer_config ADAMW = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2};

/* What may differ: embeddings by element, the loss by its size, gradients by their norm; then, after 20 updates, losses and weights. */
typedef struct bounds {
    double embedding, loss, gradient, losses, weights;
} bounds;

static const bounds FP64 = {1e-5, 1e-5, 1e-6, 1e-4, 1e-3}, FP32 = {1e-5, 1e-5, 1e-4, 1e-4, 1e-3};
/* Of a model of width 32. Adam's step is the rate for a gradient of any size, so that a weight whose gradient is rounding differs by all its steps. */
static const bounds BF16 = {2e-2, 1e-2, 6e-2, 2e-2, 4e-2};

typedef struct golden {
    prn__model *model;
    prn__safetensors *step, *trained;
    prn__batch batch[2];
    float *flat;
} golden;

static void golden_open(golden *g, const char *name)
{
    char folder[512], path[600];
    prn__model_config config;
    (void)snprintf(folder, sizeof folder, "%s/tests/fixtures/%s", PRN_SOURCE_DIR, name);
    OK(prn__model_config_resolve(folder, &config, error));
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &g->model, error));
    g->flat = prn__alloc_array((size_t)g->model->flat_elements, sizeof *g->flat);
    assert_non_null(g->flat);
    OK(prn__model_load(g->model, folder, g->flat, error));
    (void)snprintf(path, sizeof path, "%s/step.safetensors", folder);
    OK(prn__safetensors_open(path, &g->step, error));
    (void)snprintf(path, sizeof path, "%s/trained.safetensors", folder);
    OK(prn__safetensors_open(path, &g->trained, error));
    for (int i = 0; i < 2; i++) {
        const prn__safetensors *file = i == 0 ? g->step : g->trained;
        const prn__st_tensor *images = test_tensor(file, i == 0 ? "images" : "images2"), *tokens = test_tensor(file, i == 0 ? "tokens" : "tokens2");
        int32_t *ids = prn__alloc(tokens->bytes);
        memcpy(ids, tokens->data, tokens->bytes);
        test_batch_pack(&g->batch[i], images->data, images->bytes, ids, tokens->shape[0], tokens->shape[1]);
        prn__free(ids);
    }
}

static void golden_close(golden *g)
{
    prn__safetensors_close(g->step);
    prn__safetensors_close(g->trained);
    test_batch_free(&g->batch[0]);
    test_batch_free(&g->batch[1]);
    prn__free(g->flat);
    prn__model_destroy(g->model);
}

static void check_embeddings(const golden *g, const prn__device *device, const bounds *most)
{
    const prn__batch *batch = &g->batch[0];
    prn__embedder *embedder;
    int64_t count;
    float *want, *got;
    OK(prn__embedder_create(g->model, device, 3, &embedder, error)); /* chunks of 3, 3 and 2 */
    OK(prn__embedder_set_weights(embedder, g->flat, error));
    for (int side = 0; side < 2; side++) {
        want = test_read(g->step, side == 0 ? "image_embeddings" : "text_embeddings", &count);
        assert_int_equal(count, batch->count * g->model->config.embed_dim);
        got = prn__alloc_array((size_t)count, sizeof *got);
        if (side == 0) {
            OK(prn__embedder_images(embedder, batch->images, batch->count, got, error));
        } else {
            OK(prn__embedder_texts(embedder, batch->tokens, batch->offsets, batch->count, got, error));
        }
        AT_MOST(test_max_difference(got, want, count), most->embedding);
        prn__free(got);
        prn__free(want);
    }
    prn__embedder_destroy(embedder);
}

static void check_gradients(const golden *g, const prn__device *device, const bounds *most)
{
    const prn__trainer_config config = {.batch = g->batch[0].count, .optimizer = ADAMW};
    prn__trainer *trainer;
    int64_t count;
    double loss, *gradients = prn__alloc_array((size_t)g->model->flat_elements, sizeof *gradients);
    float *want = test_read(g->step, "loss", &count);
    OK(prn__trainer_create(g->model, device, &config, &trainer, error));
    OK(prn__trainer_set_state(trainer, g->flat, NULL, NULL, 0, error));
    OK(prn__trainer_gradients(trainer, &g->batch[0], &loss, gradients, error));
    NEAR(loss, want[0], most->loss * fabs((double)want[0]));
    prn__free(want);
    double worst = 0;
    for (size_t i = 0; i < g->model->parameter_count; i++) {
        const prn__parameter *p = &g->model->parameters[i];
        char name[160];
        (void)snprintf(name, sizeof name, "grad.%s", p->name);
        want = test_read(g->step, name, &count);
        assert_int_equal(count, p->elements);
        double difference = 0, norm = 0;
        for (int64_t j = 0; j < count; j++) {
            difference += pow(gradients[p->offset + j] - (double)want[j], 2);
            norm += pow((double)want[j], 2);
        }
        if (!(sqrt(difference) <= most->gradient * sqrt(norm))) {
            fail_msg("%s on %s: the gradient differs by %.3g of its norm %.3g", p->name, device->backend->name, sqrt(difference / norm), sqrt(norm));
        }
        worst = fmax(worst, sqrt(difference / norm));
        prn__free(want);
    }
    print_message("%s: worst gradient error %.2e of its norm\n", device->backend->name, worst);
    prn__free(gradients);
    prn__trainer_destroy(trainer);
}

static void check_training(const golden *g, const prn__device *device, const bounds *most)
{
    enum { STEPS = 20, WARMUP = 5 };
    const prn__trainer_config config = {.batch = g->batch[0].count, .optimizer = ADAMW};
    prn__trainer *trainer;
    prn__step_result result;
    int64_t count, updates;
    float *losses = test_read(g->trained, "losses", &count), *want;
    float *weights = prn__alloc_array((size_t)g->model->flat_elements, sizeof *weights);
    assert_int_equal(count, STEPS);
    OK(prn__trainer_create(g->model, device, &config, &trainer, error));
    OK(prn__trainer_set_state(trainer, g->flat, NULL, NULL, 0, error));
    for (int step = 0; step < STEPS; step++) {
        double rate = step < WARMUP ? 1e-3 * (step + 1) / WARMUP : 0.5 * (1 + cos(3.14159265358979323846 * (step - WARMUP) / (STEPS - WARMUP))) * 1e-3;
        OK(prn__trainer_step(trainer, &g->batch[step % 2], rate, &result, error));
        NEAR(result.loss, losses[step], most->losses * fabs((double)losses[step]));
    }
    OK(prn__trainer_get_state(trainer, weights, NULL, NULL, &updates, error));
    assert_int_equal(updates, STEPS);
    double worst = 0;
    for (size_t i = 0; i < g->model->parameter_count; i++) {
        const prn__parameter *p = &g->model->parameters[i];
        want = test_read(g->trained, p->name, &count);
        double relative = test_relative_f32(weights + p->offset, want, count);
        if (!(relative <= most->weights)) {
            fail_msg("%s on %s: trained weights differ by %.3g of their norm", p->name, device->backend->name, relative);
        }
        worst = fmax(worst, relative);
        prn__free(want);
    }
    NEAR(result.logit_scale, exp((double)weights[g->model->logit_scale_offset]), 1e-5 * result.logit_scale);
    print_message("%s: worst trained tensor %.2e of its norm\n", device->backend->name, worst);
    prn__free(weights);
    prn__free(losses);
    prn__trainer_destroy(trainer);
}

static void check(const char *fixture, const char *backend, const char *precision, const bounds *most)
{
    golden g;
    test_device d;
    int64_t live = prn__alloc_live();
    golden_open(&g, fixture);
    test_device_open_as(&d, backend, 2, precision);
    check_embeddings(&g, &d.device, most);
    check_gradients(&g, &d.device, most);
    check_training(&g, &d.device, most);
    test_device_close(&d);
    golden_close(&g);
    assert_int_equal(prn__alloc_live(), live);
}

static void test_gelu_reference(void **state) { (void)state; check("clip-tiny-gelu", "reference", NULL, &FP64); }
static void test_gelu_cpu(void **state) { (void)state; check("clip-tiny-gelu", "cpu", NULL, &FP32); }
static void test_gelu_cpu_bf16(void **state) { (void)state; check("clip-tiny-gelu", "cpu", "bf16", &BF16); }
static void test_quickgelu_reference(void **state) { (void)state; check("clip-tiny-quickgelu", "reference", NULL, &FP64); }
static void test_quickgelu_cpu(void **state) { (void)state; check("clip-tiny-quickgelu", "cpu", NULL, &FP32); }
static void test_quickgelu_cpu_bf16(void **state) { (void)state; check("clip-tiny-quickgelu", "cpu", "bf16", &BF16); }

/* The same weights under the other activation give other embeddings: the tests above can tell the two apart. */
static void test_activations_differ(void **state)
{
    (void)state;
    golden g;
    test_device d;
    prn__embedder *embedder;
    prn__model *other;
    int64_t count;
    golden_open(&g, "clip-tiny-gelu");
    prn__model_config config = g.model->config;
    config.quick_gelu = 1;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &other, error));
    test_device_open(&d, "reference", 1);
    OK(prn__embedder_create(other, &d.device, 8, &embedder, error));
    OK(prn__embedder_set_weights(embedder, g.flat, error));
    float *want = test_read(g.step, "image_embeddings", &count), *got = prn__alloc_array((size_t)count, sizeof *got);
    OK(prn__embedder_images(embedder, g.batch[0].images, g.batch[0].count, got, error));
    assert_true(test_max_difference(got, want, count) > 1e-4);
    prn__free(got);
    prn__free(want);
    prn__embedder_destroy(embedder);
    test_device_close(&d);
    prn__model_destroy(other);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gelu_reference),
        cmocka_unit_test(test_gelu_cpu),
        cmocka_unit_test(test_gelu_cpu_bf16),
        cmocka_unit_test(test_quickgelu_reference),
        cmocka_unit_test(test_quickgelu_cpu),
        cmocka_unit_test(test_quickgelu_cpu_bf16),
        cmocka_unit_test(test_activations_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
