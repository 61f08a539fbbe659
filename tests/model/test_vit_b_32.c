/* tests/model/test_vit_b_32.c: the full ViT-B-32 against PyTorch (tests/fixtures/README.md): embeddings, loss, and for every
 * parameter the gradient's norm and 64 of its entries. Weights and inputs come from a formula, so the fixture is small.
 * Slow (151 M parameters): runs when PRN_SLOW_TESTS=1, otherwise says that it was skipped. */
#include "model/test_support.h"

#include "model/embedder.h"
#include "train/trainer.h"

static uint64_t fnv1a(const char *name)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *name != 0; name++) {
        h = (h ^ (unsigned char)*name) * 0x100000001B3u;
    }
    return h;
}

static double uniform(uint64_t hash, int64_t i)
{
    uint64_t z = hash + (uint64_t)(i + 1) * 0x9E3779B97F4A7C15u;
    z ^= z >> 30;
    z *= 0xBF58476D1CE4E5B9u;
    z ^= z >> 27;
    z *= 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 40) / 16777216.0;
}

static int ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static void fill_parameter(const prn__parameter *p, float *values)
{
    static const char *const norms[] = {"ln_1.weight", "ln_2.weight", "ln_pre.weight", "ln_post.weight", "ln_final.weight"};
    static const char *const embeddings[] = {"token_embedding.weight", "positional_embedding", "visual.positional_embedding", "visual.class_embedding"};
    const uint64_t hash = fnv1a(p->name);
    double center = 0, scale = 0;
    if (strcmp(p->name, "logit_scale") == 0) {
        values[0] = (float)log(1 / 0.07);
        return;
    }
    for (size_t i = 0; i < 5; i++) {
        center = ends_with(p->name, norms[i]) ? 1 : center;
    }
    for (size_t i = 0; i < 4; i++) {
        scale = strcmp(p->name, embeddings[i]) == 0 ? 0.04 : scale;
    }
    if (scale == 0 && p->rank == 1) {
        scale = 0.05;
    } else if (scale == 0) {
        int is_right = strcmp(p->name, "visual.proj") == 0 || strcmp(p->name, "text_projection") == 0;
        double fan_in = is_right ? (double)p->shape[0] : (double)(p->elements / p->shape[0]);
        scale = sqrt(3) * 0.7 / sqrt(fan_in);
    }
    for (int64_t i = 0; i < p->elements; i++) {
        values[i] = (float)(center + scale * (2 * uniform(hash, i) - 1));
    }
}

static void test_vit_b_32(void **state)
{
    (void)state;
    enum { COUNT = 4, CONTEXT = 77, SIDE = 224 };
    static const int lengths[COUNT] = {5, 12, 30, 77};
    const char *slow = getenv("PRN_SLOW_TESTS");
    if (slow == NULL || strcmp(slow, "1") != 0) {
        print_message("skipped: slow; set PRN_SLOW_TESTS=1 to run it\n");
        skip();
    }
    const char *backend = getenv("PRN_TEST_BACKEND");
    test_device d;
    prn__model_config config;
    prn__model *model;
    prn__safetensors *step;
    prn__trainer *trainer;
    prn__embedder *embedder;
    prn__batch batch;
    int64_t count;
    double loss;
    OK(prn__model_config_resolve(PRN_SOURCE_DIR "/tests/fixtures/clip-vit-b-32", &config, error));
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &model, error));
    OK(prn__safetensors_open(PRN_SOURCE_DIR "/tests/fixtures/clip-vit-b-32/step.safetensors", &step, error));
    float *flat = prn__alloc_array((size_t)model->flat_elements, sizeof *flat);
    for (size_t i = 0; i < model->parameter_count; i++) {
        fill_parameter(&model->parameters[i], flat + model->parameters[i].offset);
    }
    const float *conv = flat + prn__model_parameter(model, "visual.conv1.weight")->offset;
    NEAR(conv[0], 0.0030007884, 1e-9);
    NEAR(conv[2], -0.01734498, 1e-8);
    uint8_t *images = prn__alloc(COUNT * SIDE * SIDE * 3);
    int32_t ids[COUNT * CONTEXT] = {0};
    const uint64_t image_hash = fnv1a("images"), token_hash = fnv1a("tokens");
    for (int64_t i = 0; i < COUNT * SIDE * SIDE * 3; i++) {
        images[i] = (uint8_t)floor(256 * uniform(image_hash, i));
    }
    for (int b = 0; b < COUNT; b++) {
        for (int i = 0; i < lengths[b]; i++) {
            ids[b * CONTEXT + i] = i == 0 ? 49406 : i == lengths[b] - 1 ? 49407 : 1 + (int32_t)floor(40000 * uniform(token_hash, b * CONTEXT + i));
        }
    }
    test_batch_pack(&batch, images, COUNT * SIDE * SIDE * 3, ids, COUNT, CONTEXT);
    prn__free(images);

    test_device_open(&d, backend != NULL ? backend : "cpu", 0);
    OK(prn__embedder_create(model, &d.device, COUNT, &embedder, error));
    OK(prn__embedder_set_weights(embedder, flat, error));
    for (int side = 0; side < 2; side++) {
        float *want = test_read(step, side == 0 ? "image_embeddings" : "text_embeddings", &count), *got = prn__alloc_array((size_t)count, sizeof *got);
        if (side == 0) {
            OK(prn__embedder_images(embedder, batch.images, COUNT, got, error));
        } else {
            OK(prn__embedder_texts(embedder, batch.tokens, batch.offsets, COUNT, got, error));
        }
        const double worst = test_max_difference(got, want, count);
        print_message("%s embeddings: worst difference %.2e\n", side == 0 ? "image" : "text", worst);
        AT_MOST(worst, 1e-5);
        prn__free(got);
        prn__free(want);
    }
    prn__embedder_destroy(embedder);

    const prn__trainer_config trainer_config = {.batch = COUNT, .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2}};
    double *gradients = prn__alloc_array((size_t)model->flat_elements, sizeof *gradients);
    OK(prn__trainer_create(model, &d.device, &trainer_config, &trainer, error));
    OK(prn__trainer_set_state(trainer, flat, NULL, NULL, 0, error));
    OK(prn__trainer_gradients(trainer, &batch, &loss, gradients, error));
    float *want = test_read(step, "loss", &count);
    print_message("loss: relative difference %.2e\n", fabs(loss / (double)want[0] - 1));
    NEAR(loss, want[0], 1e-5 * fabs((double)want[0]));
    prn__free(want);
    double worst_norm = 0, worst_entries = 0;
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        char name[160];
        double norm = 0, difference = 0, entries = 0;
        for (int64_t j = 0; j < p->elements; j++) {
            norm += gradients[p->offset + j] * gradients[p->offset + j];
        }
        (void)snprintf(name, sizeof name, "gradnorm.%s", p->name);
        want = test_read(step, name, &count);
        const double relative_norm = fabs(sqrt(norm) - (double)want[0]) / (double)want[0];
        prn__free(want);
        (void)snprintf(name, sizeof name, "grad.%s", p->name);
        want = test_read(step, name, &count);
        for (int64_t k = 0; k < count; k++) {
            const int64_t at = p->elements <= 64 ? k : k * p->elements / 64;
            difference += pow(gradients[p->offset + at] - (double)want[k], 2);
            entries += pow((double)want[k], 2);
        }
        prn__free(want);
        const double relative_entries = sqrt(difference) / fmax(sqrt(entries), 1e-300);
        if (!(relative_norm <= 1e-4) || !(relative_entries <= 1e-4 || sqrt(difference) <= 1e-12)) {
            fail_msg("%s: gradient norm differs by %.3g, its sampled entries by %.3g", p->name, relative_norm, relative_entries);
        }
        worst_norm = fmax(worst_norm, relative_norm);
        worst_entries = fmax(worst_entries, entries > 0 ? relative_entries : 0);
    }
    print_message("gradients: worst norm %.2e, worst sampled entries %.2e\n", worst_norm, worst_entries);
    prn__trainer_destroy(trainer);
    prn__free(gradients);
    test_device_close(&d);
    test_batch_free(&batch);
    prn__free(flat);
    prn__safetensors_close(step);
    prn__model_destroy(model);
    assert_int_equal(prn__alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vit_b_32)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
