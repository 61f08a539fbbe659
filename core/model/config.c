/* core/model/config.c: built-in configurations, and open_clip's configuration files read and written.
 *
 * Purpose: a configuration file says exactly which network its weights belong to. So nothing in it is skipped: every key is
 * either understood, or known to be without effect on this family, or known and refused by name, or unknown and refused
 * with a suggestion. A key whose value is what the family has anyway is accepted.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"

static const char CONFIG_FILE[] = "open_clip_config.json";

enum { CONFIG_FILE_LIMIT = 1 << 20 };

/* CLIP's pixel statistics, as published with the original model. */
#define CLIP_MEAN {0.48145466f, 0.4578275f, 0.40821073f}
#define CLIP_STD {0.26862954f, 0.26130258f, 0.27577711f}

/* ---- built-in configurations ------------------------------------------------------------------------------------------
 * X(name, E, quick, S, p, C_image, layers_image, D, V_context, V, C_text, H_text, layers_text)
 *
 * The last three are ours, for images of 32 pixels on a laptop; their vocabulary (CLIP's) is usually replaced by that
 * of the data's own tokenizer, which is what makes them small:
 *
 *   name           image tower              text tower (24 tokens)    parameters with 2,048 tokens
 *   ViT-nano-32px  16 patches of 8, C 128   C 128, 4 heads, 1 block   1.1 M
 *   ViT-micro-32px 64 patches of 4, C 128   C 128, 4 heads, 3 blocks  1.7 M
 *   ViT-mini-32px  64 patches of 4, C 192   C 192, 6 heads, 4 blocks  4.9 M
 */
#define EACH_CONFIG(X)                                                              \
    X("ViT-S-32", 384, 0, 224, 32, 384, 12, 64, 77, 49408, 384, 6, 12)              \
    X("ViT-S-32-quickgelu", 384, 1, 224, 32, 384, 12, 64, 77, 49408, 384, 6, 12)    \
    X("ViT-S-16", 384, 0, 224, 16, 384, 12, 64, 77, 49408, 384, 6, 12)              \
    X("ViT-S-16-quickgelu", 384, 1, 224, 16, 384, 12, 64, 77, 49408, 384, 6, 12)    \
    X("ViT-M-32", 512, 0, 224, 32, 512, 12, 64, 77, 49408, 512, 8, 12)              \
    X("ViT-M-32-quickgelu", 512, 1, 224, 32, 512, 12, 64, 77, 49408, 512, 8, 12)    \
    X("ViT-B-32", 512, 0, 224, 32, 768, 12, 64, 77, 49408, 512, 8, 12)              \
    X("ViT-B-32-quickgelu", 512, 1, 224, 32, 768, 12, 64, 77, 49408, 512, 8, 12)    \
    X("ViT-B-32-256", 512, 0, 256, 32, 768, 12, 64, 77, 49408, 512, 8, 12)          \
    X("ViT-B-16", 512, 0, 224, 16, 768, 12, 64, 77, 49408, 512, 8, 12)              \
    X("ViT-B-16-quickgelu", 512, 1, 224, 16, 768, 12, 64, 77, 49408, 512, 8, 12)    \
    X("ViT-L-14", 768, 0, 224, 14, 1024, 24, 64, 77, 49408, 768, 12, 12)            \
    X("ViT-L-14-quickgelu", 768, 1, 224, 14, 1024, 24, 64, 77, 49408, 768, 12, 12)  \
    X("ViT-L-14-336", 768, 0, 336, 14, 1024, 24, 64, 77, 49408, 768, 12, 12)        \
    X("ViT-L-14-336-quickgelu", 768, 1, 336, 14, 1024, 24, 64, 77, 49408, 768, 12, 12) \
    X("ViT-H-14", 1024, 0, 224, 14, 1280, 32, 80, 77, 49408, 1024, 16, 24)          \
    X("ViT-H-14-quickgelu", 1024, 1, 224, 14, 1280, 32, 80, 77, 49408, 1024, 16, 24) \
    X("ViT-nano-32px", 128, 0, 32, 8, 128, 2, 32, 24, 49408, 128, 4, 1)              \
    X("ViT-micro-32px", 128, 0, 32, 4, 128, 4, 32, 24, 49408, 128, 4, 3)            \
    X("ViT-mini-32px", 192, 0, 32, 4, 192, 6, 32, 24, 49408, 192, 6, 4)

#define BUILT_IN(name_, e, quick, s, p, cv, lv, d, ctx, v, ct, h, lt)                                                          \
    {.name = name_, .embed_dim = e, .quick_gelu = quick,                                                                       \
     .vision = {.image_size = s, .patch_size = p, .width = cv, .layers = lv, .head_width = d, .mlp_ratio = 4.0},               \
     .text = {.context_length = ctx, .vocab_size = v, .width = ct, .heads = h, .layers = lt, .mlp_ratio = 4.0},                \
     .mean = CLIP_MEAN, .std = CLIP_STD},
static const prn__model_config CONFIGS[] = {EACH_CONFIG(BUILT_IN)};
#define BUILT_IN_NAME(name_, ...) name_,
static const char *const CONFIG_NAMES[] = {EACH_CONFIG(BUILT_IN_NAME)};
enum { CONFIG_COUNT = sizeof CONFIGS / sizeof CONFIGS[0] };

size_t prn__model_config_count(void)
{
    return CONFIG_COUNT;
}

const prn__model_config *prn__model_config_at(size_t index)
{
    return index < CONFIG_COUNT ? &CONFIGS[index] : NULL;
}

/* ---- what may stand in a configuration file ---------------------------------------------------------------------------- */

typedef enum key_rule {
    TAKEN,   /* read below */
    NO_EFFECT, /* says nothing about this family's network */
    FIXED    /* must be absent, null or `value` (JSON): anything else is another network */
} key_rule;

typedef struct key_entry {
    const char *name;
    key_rule rule;
    const char *value;
    const char *meaning; /* of other values, for the message */
} key_entry;

static const key_entry MODEL_KEYS[] = {
    {"embed_dim", TAKEN, NULL, NULL},
    {"quick_gelu", TAKEN, NULL, NULL},
    {"vision_cfg", TAKEN, NULL, NULL},
    {"text_cfg", TAKEN, NULL, NULL},
    {"output_dict", NO_EFFECT, NULL, NULL},
    {"cast_dtype", NO_EFFECT, NULL, NULL},
    {"init_logit_scale", FIXED, "2.6592600369327783", "another first logit scale"},
    {"init_logit_bias", FIXED, "null", "a logit bias (SigLIP)"},
    {"nonscalar_logit_scale", FIXED, "false", "a logit scale that is no scalar"},
    {"custom_text", FIXED, "false", "a text tower of its own naming (CustomTextCLIP)"},
    {"multimodal_cfg", FIXED, "null", "a multimodal decoder (CoCa)"},
    {"audio_cfg", FIXED, "null", "an audio tower (CLAP)"},
};

static const key_entry VISION_KEYS[] = {
    {"image_size", TAKEN, NULL, NULL},
    {"patch_size", TAKEN, NULL, NULL},
    {"width", TAKEN, NULL, NULL},
    {"layers", TAKEN, NULL, NULL},
    {"head_width", TAKEN, NULL, NULL},
    {"mlp_ratio", TAKEN, NULL, NULL},
    {"timm_model_name", FIXED, "null", "an image tower from timm"},
    {"timm_model_pretrained", NO_EFFECT, NULL, NULL},
    {"timm_pool", NO_EFFECT, NULL, NULL},
    {"timm_proj", NO_EFFECT, NULL, NULL},
    {"timm_proj_bias", NO_EFFECT, NULL, NULL},
    {"timm_drop", NO_EFFECT, NULL, NULL},
    {"timm_drop_path", NO_EFFECT, NULL, NULL},
    {"timm_model_kwargs", NO_EFFECT, NULL, NULL},
    {"image_seq_len", NO_EFFECT, NULL, NULL},
    {"attn_pooler_queries", NO_EFFECT, NULL, NULL},
    {"attn_pooler_heads", NO_EFFECT, NULL, NULL},
    {"n_queries", NO_EFFECT, NULL, NULL},
    {"output_tokens", FIXED, "false", "an image tower that also gives its tokens out"},
    {"ls_init_value", FIXED, "null", "layer scale"},
    {"patch_dropout", FIXED, "0.0", "patch dropout in training"},
    {"attentional_pool", FIXED, "false", "attentional pooling"},
    {"global_average_pool", FIXED, "false", "average pooling"},
    {"input_patchnorm", FIXED, "false", "a norm on the patches"},
    {"no_ln_pre", FIXED, "false", "an image tower without ln_pre"},
    {"pos_embed_type", FIXED, "\"learnable\"", "fixed position embeddings"},
    {"pool_type", FIXED, "\"tok\"", "another pooling than the class token"},
    {"final_ln_after_pool", TAKEN, NULL, NULL}, /* same result: the norm works on rows, and one row is pooled */
    {"block_type", FIXED, "\"default\"", "another kind of block"},
    {"act_kwargs", FIXED, "{}", "another activation"},
    {"norm_kwargs", FIXED, "{}", "another norm"},
    {"qk_norm", FIXED, "false", "norms on queries and keys"},
    {"scaled_cosine_attn", FIXED, "false", "cosine attention"},
    {"scale_heads", FIXED, "false", "scaled heads"},
    {"scale_attn_inner", FIXED, "false", "a norm inside attention"},
    {"scale_attn", FIXED, "false", "a norm after attention"},
    {"scale_fc", FIXED, "false", "a norm inside the MLP"},
};

static const key_entry TEXT_KEYS[] = {
    {"context_length", TAKEN, NULL, NULL},
    {"vocab_size", TAKEN, NULL, NULL},
    {"width", TAKEN, NULL, NULL},
    {"heads", TAKEN, NULL, NULL},
    {"layers", TAKEN, NULL, NULL},
    {"mlp_ratio", TAKEN, NULL, NULL},
    {"text_arch", FIXED, "\"clip\"", "another text tower"},
    {"variable_text", FIXED, "false", "variable text lengths"},
    {"hf_model_name", FIXED, "null", "a text tower from Hugging Face transformers"},
    {"hf_model_pretrained", NO_EFFECT, NULL, NULL},
    {"hf_proj_type", NO_EFFECT, NULL, NULL},
    {"hf_pooler_type", NO_EFFECT, NULL, NULL},
    {"hf_model_config", NO_EFFECT, NULL, NULL},
    {"hf_tokenizer_name", FIXED, "\"\"", "a tokenizer from Hugging Face"},
    {"tokenizer_mode", NO_EFFECT, NULL, NULL},
    {"tokenizer_kwargs", FIXED, "{}", "another treatment of captions"},
    {"tokenizer_type", FIXED, "\"\"", "another tokenizer"},
    {"tiktoken_name", NO_EFFECT, NULL, NULL},
    {"pad_id", NO_EFFECT, NULL, NULL}, /* nothing is padded, and nothing after the end of text is read */
    {"bos_id", NO_EFFECT, NULL, NULL},
    {"eos_id", NO_EFFECT, NULL, NULL},
    {"ls_init_value", FIXED, "null", "layer scale"},
    {"embed_cls", FIXED, "false", "a class token in the text"},
    {"no_causal_mask", FIXED, "false", "text attention without a causal mask"},
    {"final_ln_after_pool", TAKEN, NULL, NULL},
    {"pool_type", FIXED, "\"argmax\"", "another pooling than the end-of-text token"},
    {"proj_bias", FIXED, "false", "a text projection with a bias"},
    {"proj_type", FIXED, "\"linear\"", "another text projection"},
    {"output_tokens", FIXED, "false", "a text tower that also gives its tokens out"},
    {"block_type", FIXED, "\"default\"", "another kind of block"},
    {"act_kwargs", FIXED, "{}", "another activation"},
    {"norm_kwargs", FIXED, "{}", "another norm"},
    {"qk_norm", FIXED, "false", "norms on queries and keys"},
    {"scaled_cosine_attn", FIXED, "false", "cosine attention"},
    {"scale_heads", FIXED, "false", "scaled heads"},
    {"scale_attn_inner", FIXED, "false", "a norm inside attention"},
    {"scale_attn", FIXED, "false", "a norm after attention"},
    {"scale_fc", FIXED, "false", "a norm inside the MLP"},
};

#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

static int json_same(const json_t *given, const char *wanted_text)
{
    int same;
    json_t *wanted = json_loads(wanted_text, JSON_DECODE_ANY, NULL);
    if (json_is_number(given) && json_is_number(wanted)) {
        same = fabs(json_number_value(given) - json_number_value(wanted)) <= 1e-9;
    } else {
        same = json_equal((json_t *)(uintptr_t)given, wanted);
    }
    json_decref(wanted);
    return same;
}

static prn_status check_keys(const char *origin, const char *part, const json_t *object, const key_entry *table, size_t count, prn_error *error)
{
    const char *key;
    json_t *value;
    const char *names[64];
    char hint[160];

    for (size_t i = 0; i < count; i++) {
        names[i] = table[i].name;
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        const key_entry *entry = NULL;
        for (size_t i = 0; i < count && entry == NULL; i++) {
            entry = strcmp(table[i].name, key) == 0 ? &table[i] : NULL;
        }
        if (entry == NULL) {
            return prn_error_set(error, PRN_UNSUPPORTED, "%s: unknown key '%.80s' in %s%s; it could change the network, so it is not ignored", origin, key,
                                 part, prn__suggest_text(key, names, count, hint, sizeof hint));
        }
        if (entry->rule == FIXED && !json_is_null(value) && !json_same(value, entry->value)) {
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            prn_status status = prn_error_set(error, PRN_UNSUPPORTED,
                                              "%s: %s has %s = %.80s, which means %s; supported are open_clip's ViT image towers with its own text "
                                              "transformer, where it is %s or absent",
                                              origin, part, key, text == NULL ? "?" : text, entry->meaning, entry->value);
            free(text);
            return status;
        }
    }
    return PRN_OK;
}

/* Integers; a square pair such as [224, 224] counts as its side. Absent or null leaves the default. */
static prn_status take_integer(const char *origin, const char *part, const json_t *object, const char *key, int64_t *target, prn_error *error)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        return PRN_OK;
    }
    if (json_is_array(value) && json_array_size(value) == 2 && json_equal(json_array_get(value, 0), json_array_get(value, 1))) {
        value = json_array_get(value, 0);
    }
    if (json_is_real(value) && json_real_value(value) == floor(json_real_value(value)) && fabs(json_real_value(value)) < 1e15) {
        *target = (int64_t)json_real_value(value);
        return PRN_OK;
    }
    if (!json_is_integer(value)) {
        return prn_error_set(error, PRN_INVALID, "%s: %s.%s must be a whole number%s", origin, part, key,
                             json_is_array(value) ? " (images and patches must be square)" : "");
    }
    *target = (int64_t)json_integer_value(value);
    return PRN_OK;
}

static prn_status take_real(const char *origin, const char *part, const json_t *object, const char *key, double *target, prn_error *error)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        return PRN_OK;
    }
    if (!json_is_number(value)) {
        return prn_error_set(error, PRN_INVALID, "%s: %s.%s must be a number", origin, part, key);
    }
    *target = json_number_value(value);
    return PRN_OK;
}

static prn_status take_bool(const char *origin, const char *part, const json_t *object, const char *key, int *target, prn_error *error)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        return PRN_OK;
    }
    if (!json_is_boolean(value)) {
        return prn_error_set(error, PRN_INVALID, "%s: %s.%s must be true or false", origin, part, key);
    }
    *target = json_is_true(value);
    return PRN_OK;
}

static prn_status take_triple(const char *origin, const json_t *object, const char *key, float target[3], prn_error *error)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        return PRN_OK;
    }
    if (!json_is_array(value) || json_array_size(value) != 3) {
        return prn_error_set(error, PRN_INVALID, "%s: preprocess_cfg.%s must be three numbers", origin, key);
    }
    for (size_t i = 0; i < 3; i++) {
        if (!json_is_number(json_array_get(value, i))) {
            return prn_error_set(error, PRN_INVALID, "%s: preprocess_cfg.%s must be three numbers", origin, key);
        }
        target[i] = (float)json_number_value(json_array_get(value, i));
    }
    return PRN_OK;
}

static prn_status parse_preprocess(const char *origin, const json_t *object, prn__model_config *config, prn_error *error)
{
    static const struct {
        const char *key, *value;
    } fixed[] = {{"interpolation", "\"bicubic\""}, {"resize_mode", "\"shortest\""}, {"mode", "\"RGB\""}};
    prn_status status = take_triple(origin, object, "mean", config->mean, error);
    if (status == PRN_OK) {
        status = take_triple(origin, object, "std", config->std, error);
    }
    for (size_t i = 0; i < COUNT_OF(fixed) && status == PRN_OK; i++) {
        const json_t *value = json_object_get(object, fixed[i].key);
        if (value != NULL && !json_is_null(value) && !json_same(value, fixed[i].value)) {
            status = prn_error_set(error, PRN_UNSUPPORTED, "%s: preprocess_cfg.%s must be %s: no other preprocessing is supported", origin, fixed[i].key,
                                   fixed[i].value);
        }
    }
    return status;
}

static void set_name(prn__model_config *config, const char *origin)
{
    const char *end = origin + strlen(origin), *begin;
    size_t length;
    while (end > origin + 1 && end[-1] == '/') {
        end--;
    }
    begin = end;
    while (begin > origin && begin[-1] != '/') {
        begin--;
    }
    length = (size_t)(end - begin);
    if (length > 5 && strncmp(end - 5, ".json", 5) == 0) {
        length -= 5;
    }
    memset(config->name, 0, sizeof config->name);
    memcpy(config->name, begin, length < sizeof config->name ? length : sizeof config->name - 1);
}

prn_status prn__model_config_parse(const char *json, const char *origin, prn__model_config *result, prn_error *error)
{
    prn_status status;
    json_error_t problem;
    const json_t *model, *vision, *text, *preprocess;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &problem);
    /* The defaults are those of open_clip's configuration classes. */
    prn__model_config config = {
        .vision = {.image_size = 224, .patch_size = 16, .width = 768, .layers = 12, .head_width = 64, .mlp_ratio = 4.0},
        .text = {.context_length = 77, .vocab_size = 49408, .width = 512, .heads = 8, .layers = 12, .mlp_ratio = 4.0},
        .mean = CLIP_MEAN,
        .std = CLIP_STD,
    };

    if (!json_is_object(root)) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: no model configuration: %s at line %d", origin, root == NULL ? problem.text : "not a JSON object",
                               root == NULL ? problem.line : 1);
        goto done;
    }
    model = json_object_get(root, "model_cfg");
    preprocess = json_object_get(root, "preprocess_cfg");
    if (model == NULL) {
        model = root; /* the bare layout of open_clip's own model_configs */
    }
    vision = json_object_get(model, "vision_cfg");
    text = json_object_get(model, "text_cfg");
    if (!json_is_integer(json_object_get(model, "embed_dim")) || !json_is_object(vision) || !json_is_object(text)) {
        status = prn_error_set(error, PRN_INVALID, "%s: a model configuration needs embed_dim, vision_cfg and text_cfg, at the top or in model_cfg", origin);
        goto done;
    }
    if (json_is_array(json_object_get(vision, "layers"))) {
        status = prn_error_set(error, PRN_UNSUPPORTED, "%s: vision_cfg.layers is a list, which means a ResNet image tower; only ViT towers are supported",
                               origin);
        goto done;
    }
    /* The towers first: when text_cfg names a Hugging Face model, that says more than the custom_text beside it. */
    if ((status = check_keys(origin, "vision_cfg", vision, VISION_KEYS, COUNT_OF(VISION_KEYS), error)) != PRN_OK ||
        (status = check_keys(origin, "text_cfg", text, TEXT_KEYS, COUNT_OF(TEXT_KEYS), error)) != PRN_OK ||
        (status = check_keys(origin, "the model configuration", model, MODEL_KEYS, COUNT_OF(MODEL_KEYS), error)) != PRN_OK ||
        (status = take_integer(origin, "model_cfg", model, "embed_dim", &config.embed_dim, error)) != PRN_OK ||
        (status = take_bool(origin, "model_cfg", model, "quick_gelu", &config.quick_gelu, error)) != PRN_OK ||
        (status = take_integer(origin, "vision_cfg", vision, "image_size", &config.vision.image_size, error)) != PRN_OK ||
        (status = take_integer(origin, "vision_cfg", vision, "patch_size", &config.vision.patch_size, error)) != PRN_OK ||
        (status = take_integer(origin, "vision_cfg", vision, "width", &config.vision.width, error)) != PRN_OK ||
        (status = take_integer(origin, "vision_cfg", vision, "layers", &config.vision.layers, error)) != PRN_OK ||
        (status = take_integer(origin, "vision_cfg", vision, "head_width", &config.vision.head_width, error)) != PRN_OK ||
        (status = take_real(origin, "vision_cfg", vision, "mlp_ratio", &config.vision.mlp_ratio, error)) != PRN_OK ||
        (status = take_integer(origin, "text_cfg", text, "context_length", &config.text.context_length, error)) != PRN_OK ||
        (status = take_integer(origin, "text_cfg", text, "vocab_size", &config.text.vocab_size, error)) != PRN_OK ||
        (status = take_integer(origin, "text_cfg", text, "width", &config.text.width, error)) != PRN_OK ||
        (status = take_integer(origin, "text_cfg", text, "heads", &config.text.heads, error)) != PRN_OK ||
        (status = take_integer(origin, "text_cfg", text, "layers", &config.text.layers, error)) != PRN_OK ||
        (status = take_real(origin, "text_cfg", text, "mlp_ratio", &config.text.mlp_ratio, error)) != PRN_OK) {
        goto done;
    }
    if (preprocess != NULL && model != root && (status = parse_preprocess(origin, preprocess, &config, error)) != PRN_OK) {
        goto done;
    }
    set_name(&config, origin);
    status = prn__model_config_validate(&config, error);
    if (status != PRN_OK) {
        status = prn_error_context(error, status, "%s", origin);
        goto done;
    }
    *result = config;
done:
    json_decref(root);
    return status;
}

prn_status prn__model_config_validate(const prn__model_config *c, prn_error *error)
{
    const struct {
        const char *name;
        int64_t value, minimum, maximum;
    } bounds[] = {
        {"embed_dim", c->embed_dim, 1, 65536},
        {"vision image_size", c->vision.image_size, 1, 8192},
        {"vision patch_size", c->vision.patch_size, 1, c->vision.image_size},
        {"vision width", c->vision.width, 1, 65536},
        {"vision layers", c->vision.layers, 1, 1000},
        {"vision head_width", c->vision.head_width, 1, 1024},
        {"text context_length", c->text.context_length, 2, 65536},
        {"text vocab_size", c->text.vocab_size, 3, 1 << 24},
        {"text width", c->text.width, 1, 65536},
        {"text heads", c->text.heads, 1, 65536},
        {"text layers", c->text.layers, 1, 1000},
    };
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        if (bounds[i].value < bounds[i].minimum || bounds[i].value > bounds[i].maximum) {
            return prn_error_set(error, PRN_INVALID, "model '%s': %s is %lld, but must lie in %lld..%lld", c->name, bounds[i].name, (long long)bounds[i].value,
                                 (long long)bounds[i].minimum, (long long)bounds[i].maximum);
        }
    }
    if (c->vision.image_size % c->vision.patch_size != 0) {
        return prn_error_set(error, PRN_UNSUPPORTED, "model '%s': patch_size %lld does not divide image_size %lld; choose sizes where it does", c->name,
                             (long long)c->vision.patch_size, (long long)c->vision.image_size);
    }
    if (c->vision.width % c->vision.head_width != 0) {
        return prn_error_set(error, PRN_INVALID, "model '%s': vision head_width %lld does not divide width %lld", c->name, (long long)c->vision.head_width,
                             (long long)c->vision.width);
    }
    if (c->text.width % c->text.heads != 0) {
        return prn_error_set(error, PRN_INVALID, "model '%s': %lld text heads do not divide width %lld", c->name, (long long)c->text.heads,
                             (long long)c->text.width);
    }
    if (!(c->vision.mlp_ratio > 0 && c->vision.mlp_ratio <= 64 && c->text.mlp_ratio > 0 && c->text.mlp_ratio <= 64) ||
        (double)c->vision.width * c->vision.mlp_ratio < 1 || (double)c->text.width * c->text.mlp_ratio < 1) {
        return prn_error_set(error, PRN_INVALID, "model '%s': mlp_ratio must lie in (0, 64] and give the MLP at least one channel", c->name);
    }
    for (int i = 0; i < 3; i++) {
        if (!isfinite(c->mean[i]) || !isfinite(c->std[i]) || !(c->std[i] > 0)) {
            return prn_error_set(error, PRN_INVALID, "model '%s': pixel mean and std must be finite, std above zero", c->name);
        }
    }
    return PRN_OK;
}

prn_status prn__model_config_resolve(const char *name, prn__model_config *config, prn_error *error)
{
    prn_status status;
    size_t length = strlen(name), bytes;
    char *path = NULL, *text = NULL;
    char hint[160];

    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        if (strcmp(CONFIGS[i].name, name) == 0) {
            *config = CONFIGS[i];
            return PRN_OK;
        }
    }
    if (prn__folder_exists(name)) {
        path = prn__path_join(name, CONFIG_FILE);
    } else if (length > 5 && strcmp(name + length - 5, ".json") == 0) {
        path = prn__strdup(name);
    } else {
        return prn_error_set(error, PRN_NOT_FOUND,
                             "unknown model '%.200s'%s; give a built-in name (perennial model list), a folder with %s, or a .json file", name,
                             prn__suggest_text(name, CONFIG_NAMES, CONFIG_COUNT, hint, sizeof hint), CONFIG_FILE);
    }
    if (path == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for a path");
    }
    status = prn__file_read(path, CONFIG_FILE_LIMIT, &text, &bytes, error);
    if (status == PRN_OK && memchr(text, 0, bytes) != NULL) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: holds a NUL byte and is no JSON text", path);
    }
    if (status == PRN_OK) {
        status = prn__model_config_parse(text, path, config, error);
    }
    if (status == PRN_OK) {
        set_name(config, name);
    }
    prn__free(text);
    prn__free(path);
    return status;
}

/* The shortest decimal that reads back as the same float, so that 0.48145466f is written as people know it. */
static json_t *json_float(float value)
{
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            break;
        }
    }
    return json_real(strtod(text, NULL));
}

char *prn__model_config_json(const prn__model_config *c)
{
    char *text = NULL, *copy = NULL;
    json_t *mean = json_array(), *std = json_array(), *root;
    for (int i = 0; i < 3; i++) {
        (void)json_array_append_new(mean, json_float(c->mean[i]));
        (void)json_array_append_new(std, json_float(c->std[i]));
    }
    root = json_pack("{s:{s:I, s:b, s:{s:I, s:I, s:I, s:I, s:I, s:f}, s:{s:I, s:I, s:I, s:I, s:I, s:f}}, s:{s:o, s:o, s:s, s:s}}", "model_cfg",
                     "embed_dim", (json_int_t)c->embed_dim, "quick_gelu", c->quick_gelu, "vision_cfg", "image_size", (json_int_t)c->vision.image_size,
                     "layers", (json_int_t)c->vision.layers, "width", (json_int_t)c->vision.width, "head_width", (json_int_t)c->vision.head_width,
                     "patch_size", (json_int_t)c->vision.patch_size, "mlp_ratio", c->vision.mlp_ratio, "text_cfg", "context_length",
                     (json_int_t)c->text.context_length, "vocab_size", (json_int_t)c->text.vocab_size, "width", (json_int_t)c->text.width, "heads",
                     (json_int_t)c->text.heads, "layers", (json_int_t)c->text.layers, "mlp_ratio", c->text.mlp_ratio, "preprocess_cfg", "mean", mean, "std",
                     std, "interpolation", "bicubic", "resize_mode", "shortest");
    if (root != NULL) {
        text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    }
    if (text != NULL) {
        size_t length = strlen(text);
        copy = prn__alloc(length + 2);
        if (copy != NULL) {
            memcpy(copy, text, length);
            copy[length] = '\n';
        }
    }
    free(text);
    json_decref(root);
    return copy;
}
