/* tests/model/test_config.c: built-in configurations, and configuration files accepted and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"

static void expect_refused(const char *json, prn_status want, const char *part)
{
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    prn_status status = prn__model_config_parse(json, "test.json", &config, &error);
    if (status != want || strstr(error.message, part) == NULL) {
        fail_msg("%s\ngot %s \"%s\", wanted %s with \"%s\"", json, prn_status_name(status), error.message, prn_status_name(want), part);
    }
}

static void assert_same(const prn__model_config *a, const prn__model_config *b)
{
    assert_int_equal(a->embed_dim, b->embed_dim);
    assert_int_equal(a->quick_gelu, b->quick_gelu);
    assert_memory_equal(&a->vision, &b->vision, sizeof a->vision);
    assert_memory_equal(&a->text, &b->text, sizeof a->text);
    assert_memory_equal(a->mean, b->mean, sizeof a->mean);
    assert_memory_equal(a->std, b->std, sizeof a->std);
}

static void test_built_in(void **state)
{
    (void)state;
    static const char *const needed[] = {"ViT-S-32", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14", "ViT-S-32-quickgelu", "ViT-B-32-quickgelu",
                                         "ViT-B-16-quickgelu", "ViT-L-14-quickgelu", "ViT-L-14-336-quickgelu", "ViT-H-14-quickgelu", "ViT-nano-32px",
                                         "ViT-micro-32px", "ViT-mini-32px"};
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config, again;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        assert_int_equal(prn__model_config_resolve(needed[i], &config, &error), PRN_OK);
        assert_string_equal(config.name, needed[i]);
        assert_int_equal(config.quick_gelu, strstr(needed[i], "quickgelu") != NULL);
    }
    for (size_t i = 0; i < prn__model_config_count(); i++) {
        const prn__model_config *built_in = prn__model_config_at(i);
        assert_int_equal(prn__model_config_validate(built_in, &error), PRN_OK);
        char *json = prn__model_config_json(built_in);
        assert_non_null(json);
        assert_int_equal(prn__model_config_parse(json, "x.json", &again, &error), PRN_OK);
        assert_same(&again, built_in);
        prn__free(json);
    }
    assert_null(prn__model_config_at(prn__model_config_count()));
}

static void test_names(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    assert_int_equal(prn__model_config_resolve("ViT-B-23", &config, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "did you mean 'ViT-B-32'"));
    assert_int_equal(prn__model_config_resolve("/nonexistent/x.json", &config, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "/nonexistent/x.json"));
    assert_int_equal(prn__model_config_resolve("/tmp", &config, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "open_clip_config.json"));
}

#define VISION "\"vision_cfg\":{\"image_size\":224,\"layers\":12,\"width\":768,\"patch_size\":32}"
#define TEXT "\"text_cfg\":{\"context_length\":77,\"vocab_size\":49408,\"width\":512,\"heads\":8,\"layers\":12}"

static void test_layouts(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    /* bare layout; defaults for what is absent */
    assert_int_equal(prn__model_config_parse("{\"embed_dim\":512," VISION ",\"text_cfg\":{}}", "dir/ViT-x.json", &config, &error), PRN_OK);
    assert_string_equal(config.name, "ViT-x");
    assert_int_equal(config.text.vocab_size, 49408);
    assert_int_equal(config.vision.head_width, 64);
    assert_int_equal(config.quick_gelu, 0);
    assert_true(config.mean[0] == 0.48145466f);
    /* hub layout; keys that have the family's own values; pairs for sizes; pixel statistics */
    assert_int_equal(prn__model_config_parse("{\"model_cfg\":{\"embed_dim\":64,\"quick_gelu\":true,\"custom_text\":false,\"init_logit_bias\":null,"
                                             "\"vision_cfg\":{\"image_size\":[32,32],\"patch_size\":4,\"width\":64,\"head_width\":32,\"layers\":2,\"mlp_ratio\":2,"
                                             "\"timm_model_name\":null,\"timm_pool\":\"avg\",\"patch_dropout\":0,\"pool_type\":\"tok\",\"attentional_pool\":false,\"ls_init_value\":null},"
                                             "\"text_cfg\":{\"context_length\":24,\"vocab_size\":300,\"width\":64,\"heads\":2,\"layers\":2,\"pool_type\":\"argmax\",\"no_causal_mask\":false,\"hf_tokenizer_name\":null}},"
                                             "\"preprocess_cfg\":{\"mean\":[0.5,0.5,0.5],\"std\":[0.25,0.25,0.25],\"interpolation\":\"bicubic\",\"resize_mode\":\"shortest\"}}",
                                             "x", &config, &error),
                     PRN_OK);
    assert_int_equal(config.vision.image_size, 32);
    assert_int_equal(config.quick_gelu, 1);
    assert_true(config.vision.mlp_ratio == 2.0);
    assert_true(config.std[2] == 0.25f);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *vision, *text, *part;
        prn_status status;
    } cases[] = {
        {"\"timm_model_name\":\"vit_base\"", "", "timm_model_name", PRN_UNSUPPORTED},
        {"\"layers\":[3,4,6,3]", "", "ResNet", PRN_UNSUPPORTED},
        {"\"attentional_pool\":true", "", "attentional_pool", PRN_UNSUPPORTED},
        {"\"attentional_pool\":\"parallel\"", "", "attentional_pool", PRN_UNSUPPORTED},
        {"\"patch_dropout\":0.5", "", "patch_dropout", PRN_UNSUPPORTED},
        {"\"pool_type\":\"avg\"", "", "pool_type", PRN_UNSUPPORTED},
        {"\"no_ln_pre\":true", "", "no_ln_pre", PRN_UNSUPPORTED},
        {"\"ls_init_value\":1e-5", "", "ls_init_value", PRN_UNSUPPORTED},
        {"\"pos_embed_type\":\"sin_cos_2d\"", "", "pos_embed_type", PRN_UNSUPPORTED},
        {"\"norm_kwargs\":{\"eps\":1e-6}", "", "norm_kwargs", PRN_UNSUPPORTED},
        {"\"act_kwargs\":{\"approximate\":\"tanh\"}", "", "act_kwargs", PRN_UNSUPPORTED},
        {"\"patchsize\":16", "", "did you mean 'patch_size'", PRN_UNSUPPORTED},
        {"\"image_size\":[224,256]", "", "square", PRN_INVALID},
        {"\"image_size\":\"224\"", "", "whole number", PRN_INVALID},
        {"\"image_size\":225", "", "does not divide", PRN_UNSUPPORTED},
        {"\"image_size\":1e30", "", "whole number", PRN_INVALID},
        {"\"layers\":0", "", "vision layers is 0", PRN_INVALID},
        {"\"layers\":-1", "", "vision layers is -1", PRN_INVALID},
        {"\"head_width\":100", "", "head_width 100", PRN_INVALID},
        {"\"mlp_ratio\":-4", "", "mlp_ratio", PRN_INVALID},
        {"\"mlp_ratio\":\"4\"", "", "must be a number", PRN_INVALID},
        {"", "\"hf_model_name\":\"roberta-base\"", "hf_model_name", PRN_UNSUPPORTED},
        {"", "\"no_causal_mask\":true", "no_causal_mask", PRN_UNSUPPORTED},
        {"", "\"embed_cls\":true", "embed_cls", PRN_UNSUPPORTED},
        {"", "\"pool_type\":\"last\"", "pool_type", PRN_UNSUPPORTED},
        {"", "\"proj_bias\":true", "proj_bias", PRN_UNSUPPORTED},
        {"", "\"hf_tokenizer_name\":\"timm/ViT-B-16-SigLIP\"", "hf_tokenizer_name", PRN_UNSUPPORTED},
        {"", "\"heads\":7", "7 text heads", PRN_INVALID},
        {"", "\"vocab_size\":999999999", "vocab_size", PRN_INVALID},
        {"", "\"context_length\":1", "context_length", PRN_INVALID},
    };
    char json[600];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(json, sizeof json, "{\"embed_dim\":512,\"vision_cfg\":{%s},\"text_cfg\":{%s}}", cases[i].vision, cases[i].text);
        expect_refused(json, cases[i].status, cases[i].part);
    }
    expect_refused("", PRN_CORRUPT, "no model configuration");
    expect_refused("[]", PRN_CORRUPT, "not a JSON object");
    expect_refused("{\"embed_dim\":512,", PRN_CORRUPT, "line 1");
    expect_refused("{}", PRN_INVALID, "embed_dim");
    expect_refused("{\"embed_dim\":512,\"vision_cfg\":[],\"text_cfg\":{}}", PRN_INVALID, "vision_cfg");
    expect_refused("{\"model_cfg\":7}", PRN_INVALID, "embed_dim");
    expect_refused("{\"embed_dim\":512," VISION "," TEXT ",\"custom_text\":true}", PRN_UNSUPPORTED, "custom_text");
    expect_refused("{\"embed_dim\":512," VISION "," TEXT ",\"init_logit_bias\":-10}", PRN_UNSUPPORTED, "logit bias");
    expect_refused("{\"embed_dim\":512," VISION "," TEXT ",\"multimodal_cfg\":{}}", PRN_UNSUPPORTED, "CoCa");
    expect_refused("{\"embed_dim\":512," VISION "," TEXT ",\"quickgelu\":true}", PRN_UNSUPPORTED, "did you mean 'quick_gelu'");
    expect_refused("{\"embed_dim\":512," VISION "," TEXT ",\"quick_gelu\":1}", PRN_INVALID, "true or false");
    expect_refused("{\"model_cfg\":{\"embed_dim\":512," VISION "," TEXT "},\"preprocess_cfg\":{\"std\":[0,1,1]}}", PRN_INVALID, "above zero");
    expect_refused("{\"model_cfg\":{\"embed_dim\":512," VISION "," TEXT "},\"preprocess_cfg\":{\"mean\":[1,2]}}", PRN_INVALID, "three numbers");
    expect_refused("{\"model_cfg\":{\"embed_dim\":512," VISION "," TEXT "},\"preprocess_cfg\":{\"resize_mode\":\"squash\"}}", PRN_UNSUPPORTED, "resize_mode");
}

/* A configuration cut anywhere is refused, or means the same as the whole. */
static void test_cut(void **state)
{
    (void)state;
    prn__model_config config;
    prn_error error = PRN_ERROR_INIT;
    char *json = prn__model_config_json(prn__model_config_at(0));
    size_t length = strlen(json);
    for (size_t i = 0; i + 2 < length; i++) {
        char kept = json[i];
        json[i] = 0;
        assert_int_not_equal(prn__model_config_parse(json, "x", &config, &error), PRN_OK);
        json[i] = kept;
    }
    prn__free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in), cmocka_unit_test(test_names), cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
