/* tests/model/test_parameters.c: the parameter table, first values, and model directories. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"
#include "model/safetensors.h"

static char folder[64], weights_path[128], config_path[128];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/prn-model-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)snprintf(weights_path, sizeof weights_path, "%s/open_clip_model.safetensors", folder);
    (void)snprintf(config_path, sizeof config_path, "%s/open_clip_config.json", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(weights_path);
    (void)unlink(config_path);
    (void)rmdir(folder);
    return 0;
}

static prn__model *create(const prn__model_config *config, prn__decay_rule rule)
{
    prn_error error = PRN_ERROR_INIT;
    prn__model *model;
    if (prn__model_create(config, rule, &model, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return model;
}

static prn__model_config tiny(void)
{
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    assert_int_equal(prn__model_config_resolve("ViT-nano-32px", &config, &error), PRN_OK);
    config.text.vocab_size = 300;
    return config;
}

/* Exact counts: open_clip's model table has them in millions to two digits (63.09, 151.28, 149.62, 427.62, 427.94, 986.11). */
static void test_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t parameters;
    } known[] = {{"ViT-S-32", 63085825},   {"ViT-B-32", 151277313}, {"ViT-B-32-quickgelu", 151277313}, {"ViT-B-16", 149620737},
                 {"ViT-L-14", 427616513}, {"ViT-L-14-336", 427944193}, {"ViT-H-14", 986109441}};
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_int_equal(prn__model_config_resolve(known[i].name, &config, &error), PRN_OK);
        prn__model *model = create(&config, PRN__DECAY_DIMENSIONS);
        assert_int_equal(model->elements, known[i].parameters);
        prn__model_destroy(model);
    }
}

static void test_layout(void **state)
{
    (void)state;
    prn__model_config config = tiny();
    for (int rule = 0; rule < 2; rule++) {
        prn__model *model = create(&config, (prn__decay_rule)rule);
        int64_t sum = 0;
        for (size_t i = 0; i < model->parameter_count; i++) {
            const prn__parameter *p = &model->parameters[i];
            int plain = p->rank < 2 || strstr(p->name, "ln_") != NULL || strstr(p->name, "bias") != NULL || strcmp(p->name, "logit_scale") == 0;
            if (rule == PRN__DECAY_NO_EMBEDDINGS && strstr(p->name, "embedding") != NULL) {
                plain = 1;
            }
            assert_int_equal(p->offset % 16, 0);
            assert_int_equal(p->decays, !plain);
            assert_true(p->decays ? p->offset + p->elements <= model->decay_elements : p->offset >= model->decay_elements);
            assert_true(p->offset + p->elements <= model->flat_elements);
            for (size_t j = 0; j < i; j++) {
                const prn__parameter *q = &model->parameters[j];
                assert_true(p->offset >= q->offset + q->elements || q->offset >= p->offset + p->elements);
                assert_string_not_equal(p->name, q->name);
            }
            sum += p->elements;
        }
        assert_int_equal(sum, model->elements);
        assert_int_equal(model->flat_elements % 16, 0);
        assert_int_equal(model->decay_elements % 16, 0);
        assert_int_equal(prn__model_parameter(model, "logit_scale")->offset, model->logit_scale_offset);
        assert_null(prn__model_parameter(model, "no.such"));
        prn__model_destroy(model);
    }
}

static void moments(const prn__model *model, const float *flat, const char *name, double *mean, double *deviation, double *largest)
{
    const prn__parameter *p = prn__model_parameter(model, name);
    assert_non_null(p);
    double sum = 0, squares = 0;
    *largest = 0;
    for (int64_t i = 0; i < p->elements; i++) {
        double x = flat[p->offset + i];
        sum += x;
        squares += x * x;
        *largest = fabs(x) > *largest ? fabs(x) : *largest;
    }
    *mean = sum / (double)p->elements;
    *deviation = sqrt(squares / (double)p->elements - *mean * *mean);
}

static void test_init(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    assert_int_equal(prn__model_config_resolve("ViT-micro-32px", &config, &error), PRN_OK);
    config.text.vocab_size = 2000;
    prn__model *model = create(&config, PRN__DECAY_DIMENSIONS), *other = create(&config, PRN__DECAY_NO_EMBEDDINGS);
    float *flat = prn__alloc_array((size_t)model->flat_elements, sizeof *flat), *again = prn__alloc_array((size_t)model->flat_elements, sizeof *flat);
    double mean, deviation, largest;
    const double c = 128;
    prn__model_init(model, 7, flat);
    /* open_clip: normal ones by their standard deviation, uniform ones by their bound */
    const struct {
        const char *name;
        double deviation, bound; /* bound 0: normal */
    } wanted[] = {
        {"token_embedding.weight", 0.02, 0},
        {"positional_embedding", 0.01, 0},
        {"text_projection", pow(c, -0.5), 0},
        {"visual.proj", pow(c, -0.5), 0},
        {"visual.positional_embedding", pow(c, -0.5), 0},
        {"visual.conv1.weight", 0, 1 / sqrt(48)},
        {"visual.transformer.resblocks.1.attn.in_proj_weight", 0, sqrt(6 / (4 * c))},
        {"visual.transformer.resblocks.0.attn.out_proj.weight", 0, 1 / sqrt(c)},
        {"visual.transformer.resblocks.3.mlp.c_fc.weight", 0, 1 / sqrt(c)},
        {"visual.transformer.resblocks.3.mlp.c_proj.weight", 0, 1 / sqrt(4 * c)},
        {"transformer.resblocks.0.attn.in_proj_weight", pow(c, -0.5), 0},
        {"transformer.resblocks.2.attn.out_proj.weight", pow(c, -0.5) * pow(6, -0.5), 0},
        {"transformer.resblocks.1.mlp.c_fc.weight", pow(2 * c, -0.5), 0},
        {"transformer.resblocks.1.mlp.c_proj.weight", pow(c, -0.5) * pow(6, -0.5), 0},
        {"transformer.resblocks.1.mlp.c_fc.bias", 0, 1 / sqrt(c)},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        moments(model, flat, wanted[i].name, &mean, &deviation, &largest);
        double want = wanted[i].bound > 0 ? wanted[i].bound / sqrt(3) : wanted[i].deviation;
        double count = (double)prn__model_parameter(model, wanted[i].name)->elements;
        if (fabs(deviation / want - 1) > 4 / sqrt(count) || fabs(mean) > 5 * want / sqrt(count)) {
            fail_msg("%s: mean %g, deviation %g, wanted 0 and %g", wanted[i].name, mean, deviation, want);
        }
        if (wanted[i].bound > 0) {
            assert_true(largest <= wanted[i].bound && largest > 0.9 * wanted[i].bound);
        } else {
            assert_true(largest > 2.5 * want);
        }
    }
    moments(model, flat, "visual.ln_pre.weight", &mean, &deviation, &largest);
    assert_true(mean == 1 && deviation == 0);
    moments(model, flat, "ln_final.bias", &mean, &deviation, &largest);
    assert_true(largest == 0);
    moments(model, flat, "transformer.resblocks.0.attn.in_proj_bias", &mean, &deviation, &largest);
    assert_true(largest == 0);
    assert_true(flat[model->logit_scale_offset] == (float)log(1 / 0.07));
    /* same seed, same values, whatever the layout; another seed, other values; gaps are zero */
    prn__model_init(model, 7, again);
    assert_memory_equal(flat, again, (size_t)model->flat_elements * sizeof *flat);
    prn__model_init(other, 7, again);
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i], *q = prn__model_parameter(other, p->name);
        assert_memory_equal(flat + p->offset, again + q->offset, (size_t)p->elements * sizeof *flat);
        for (int64_t j = p->elements; j % 16 != 0; j++) {
            assert_true(flat[p->offset + j] == 0);
        }
    }
    prn__model_init(model, 8, again);
    const prn__parameter *p = prn__model_parameter(model, "visual.proj");
    assert_memory_not_equal(flat + p->offset, again + p->offset, 64);
    prn__free(flat);
    prn__free(again);
    prn__model_destroy(model);
    prn__model_destroy(other);
}

static void test_directory(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config = tiny(), read;
    prn__model *model = create(&config, PRN__DECAY_DIMENSIONS);
    float *flat = prn__alloc_array((size_t)model->flat_elements, sizeof *flat), *again = prn__alloc_array((size_t)model->flat_elements, sizeof *flat);
    prn__model_init(model, 3, flat);
    int64_t live = prn__alloc_live();
    if (prn__model_save(model, folder, flat, &error) != PRN_OK || prn__model_load(model, folder, again, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    assert_memory_equal(flat, again, (size_t)model->flat_elements * sizeof *flat);
    assert_int_equal(prn__model_config_resolve(folder, &read, &error), PRN_OK);
    assert_memory_equal(&read.vision, &config.vision, sizeof read.vision);
    assert_string_equal(read.name, folder + 5);
    assert_int_equal(prn__alloc_live(), live);

    /* another activation than the folder's is refused, as is any other difference */
    config.quick_gelu = 1;
    prn__model *quick = create(&config, PRN__DECAY_DIMENSIONS);
    assert_int_equal(prn__model_load(quick, folder, again, &error), PRN_CONFLICT);
    assert_non_null(strstr(error.message, "quick_gelu is 0 there and 1 here"));
    prn__model_destroy(quick);
    config.quick_gelu = 0;
    config.text.vocab_size = 301;
    config.mean[1] = 0.5f;
    quick = create(&config, PRN__DECAY_DIMENSIONS);
    assert_int_equal(prn__model_load(quick, folder, again, &error), PRN_CONFLICT);
    assert_non_null(strstr(error.message, "vocab_size is 300 there and 301 here"));
    assert_non_null(strstr(error.message, "mean of green"));
    prn__model_destroy(quick);
    assert_int_equal(prn__alloc_live(), live);
    prn__free(flat);
    prn__free(again);
    prn__model_destroy(model);
}

/* Missing, extra and mis-shaped tensors, each named; half precision taken; broken values refused. */
static void test_weights_file(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config = tiny();
    prn__model *model = create(&config, PRN__DECAY_DIMENSIONS);
    float *flat = prn__alloc_array((size_t)model->flat_elements, sizeof *flat), *again = prn__alloc_array((size_t)model->flat_elements, sizeof *flat);
    prn__st_tensor *tensors = prn__alloc_array(model->parameter_count + 1, sizeof *tensors);
    uint16_t *brain = prn__alloc_array((size_t)model->flat_elements, sizeof *brain);
    prn__model_init(model, 3, flat);
    assert_int_equal(prn__model_save(model, folder, flat, &error), PRN_OK);
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        tensors[i] = (prn__st_tensor){p->name, PRN__ST_F32, p->rank, {p->shape[0], p->shape[1], p->shape[2], p->shape[3]}, flat + p->offset, (size_t)p->elements * 4};
    }
    prn__st_tensor *proj = NULL, *scale = NULL, *conv = NULL;
    for (size_t i = 0; i < model->parameter_count; i++) {
        proj = strcmp(tensors[i].name, "visual.proj") == 0 ? &tensors[i] : proj;
        scale = strcmp(tensors[i].name, "logit_scale") == 0 ? &tensors[i] : scale;
        conv = strcmp(tensors[i].name, "visual.conv1.weight") == 0 ? &tensors[i] : conv;
    }
    const prn__st_tensor kept_proj = *proj, kept_conv = *conv;
    proj->name = "visual.project";
    conv->rank = 2;
    conv->shape[1] = 3 * 8 * 8;
    scale->rank = 1;
    scale->shape[0] = 1; /* one element for a scalar is fine */
    assert_int_equal(prn__safetensors_save(weights_path, tensors, model->parameter_count, NULL, &error), PRN_OK);
    assert_int_equal(prn__model_load(model, folder, again, &error), PRN_CONFLICT);
    assert_non_null(strstr(error.message, "3 places"));
    assert_non_null(strstr(error.message, "lacks 'visual.proj'"));
    assert_non_null(strstr(error.message, "extra 'visual.project'"));
    assert_non_null(strstr(error.message, "'visual.conv1.weight' of shape (128, 192), not (128, 3, 8, 8)"));
    *proj = kept_proj;
    *conv = kept_conv;

    /* bf16 keeps the top half of each value */
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        for (int64_t j = 0; j < p->elements; j++) {
            uint32_t bits;
            memcpy(&bits, &flat[p->offset + j], 4);
            brain[p->offset + j] = (uint16_t)(bits >> 16);
        }
        tensors[i].type = PRN__ST_BF16;
        tensors[i].data = brain + p->offset;
        tensors[i].bytes /= 2;
    }
    assert_int_equal(prn__safetensors_save(weights_path, tensors, model->parameter_count, NULL, &error), PRN_OK);
    if (prn__model_load(model, folder, again, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        for (int64_t j = 0; j < p->elements; j++) {
            assert_true(fabsf(again[p->offset + j] - flat[p->offset + j]) <= fabsf(flat[p->offset + j]) * 0x1p-7f);
        }
    }
    brain[model->logit_scale_offset] = 0x7fc0; /* NaN */
    assert_int_equal(prn__safetensors_save(weights_path, tensors, model->parameter_count, NULL, &error), PRN_OK);
    assert_int_equal(prn__model_load(model, folder, again, &error), PRN_NUMERIC);
    assert_non_null(strstr(error.message, "logit_scale"));
    unlink(weights_path);
    assert_int_equal(prn__model_load(model, folder, again, &error), PRN_NOT_FOUND);
    unlink(config_path);
    assert_int_equal(prn__model_load(model, folder, again, &error), PRN_NOT_FOUND);
    prn__free(flat);
    prn__free(again);
    prn__free(tensors);
    prn__free(brain);
    prn__model_destroy(model);
}

static void test_no_memory(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config = tiny();
    int64_t live = prn__alloc_live();
    int finished = 0;
    for (int64_t nth = 1; nth < 500 && !finished; nth++) {
        prn__model *model;
        prn__alloc_fail_at(nth);
        prn_status status = prn__model_create(&config, PRN__DECAY_DIMENSIONS, &model, &error);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            finished = 1;
            prn__model_destroy(model);
        } else {
            assert_int_equal(status, PRN_NO_MEMORY);
            assert_null(model);
        }
        assert_int_equal(prn__alloc_live(), live);
    }
    assert_true(finished);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_init),
        cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_weights_file, setup, teardown),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
