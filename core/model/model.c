/* core/model/model.c: the table of parameters, initialisation, and model directories.
 *
 * Invariants: the layout of the flat vector is a function of (configuration, decay rule); a parameter's first values are
 * a function of (seed, its name, the index inside it), so that they depend neither on the layout nor on what else the model holds.
 */
#include "model/model.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/rng.h"
#include "model/safetensors.h"

static const char CONFIG_FILE[] = "open_clip_config.json";
static const char WEIGHTS_FILE[] = "open_clip_model.safetensors";

enum { ALIGNMENT = 16, CONFIG_FILE_LIMIT = 1 << 20 };

/* How a parameter starts. NORMAL: N(0, scale^2); UNIFORM: U(-scale, scale); CONSTANT: scale. */
typedef enum start_kind { START_NORMAL, START_UNIFORM, START_CONSTANT } start_kind;

typedef struct start {
    start_kind kind;
    double scale;
} start;

/* The model as its owner sees it, and what only this file needs. */
typedef struct model_body {
    prn__model model; /* first: the public pointer is a pointer to the body */
    prn__arena memory; /* names */
    start *starts;    /* (parameter_count) */
    size_t capacity;
} model_body;

/* ---- the table ----------------------------------------------------------------------------------------------------------- */

static int has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

static int decays(const char *name, uint32_t rank, prn__decay_rule rule)
{
    if (rank < 2 || has(name, "bn") || has(name, "ln") || has(name, "bias") || has(name, "logit_scale")) {
        return 0;
    }
    if (rule == PRN__DECAY_NO_EMBEDDINGS && (has(name, "positional_embedding") || has(name, "class_embedding") || has(name, "token_embedding"))) {
        return 0;
    }
    return 1;
}

static int add(model_body *body, prn__decay_rule rule, start first, uint32_t rank, int64_t a, int64_t b, int64_t c, int64_t d, const char *prefix,
               const char *name)
{
    prn__parameter *p;
    if (body->model.parameter_count == body->capacity) {
        size_t capacity = body->capacity == 0 ? 64 : 2 * body->capacity;
        prn__parameter *parameters = prn__realloc(body->model.parameters, capacity * sizeof *parameters);
        if (parameters == NULL) {
            return -1;
        }
        body->model.parameters = parameters;
        start *starts = prn__realloc(body->starts, capacity * sizeof *starts);
        if (starts == NULL) {
            return -1;
        }
        body->starts = starts;
        body->capacity = capacity;
    }
    p = &body->model.parameters[body->model.parameter_count];
    p->name = prn__arena_printf(&body->memory, "%s%s", prefix, name);
    p->rank = rank;
    p->shape[0] = a;
    p->shape[1] = b;
    p->shape[2] = c;
    p->shape[3] = d;
    p->elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        p->elements *= p->shape[i];
    }
    if (p->name == NULL) {
        return -1;
    }
    p->decays = decays(p->name, rank, rule);
    body->starts[body->model.parameter_count] = first;
    body->model.parameter_count++;
    return 0;
}

static start normal(double scale) { return (start){START_NORMAL, scale}; }
static start uniform(double scale) { return (start){START_UNIFORM, scale}; }
static start constant(double value) { return (start){START_CONSTANT, value}; }

static int add_norm(model_body *body, prn__decay_rule rule, int64_t width, const char *prefix, const char *name)
{
    char full[32];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    int failed = add(body, rule, constant(1), 1, width, 1, 1, 1, prefix, full);
    (void)snprintf(full, sizeof full, "%s.bias", name);
    return failed | add(body, rule, constant(0), 1, width, 1, 1, 1, prefix, full);
}

/* One residual block. The image tower keeps PyTorch's own first values (Xavier for the fused qkv weight, 1/sqrt(inputs) for the
 * rest), the text tower has CLIP's; the biases of the two MLP layers are PyTorch's in both, those of attention zero. */
static int add_block(model_body *body, prn__decay_rule rule, int is_text, int64_t layers, int64_t c, double mlp_ratio, const char *prefix)
{
    int64_t hidden = (int64_t)((double)c * mlp_ratio);
    double width = (double)c, out_std = pow(width, -0.5) * pow(2.0 * (double)layers, -0.5);
    int failed = add_norm(body, rule, c, prefix, "ln_1");
    failed |= add(body, rule, is_text ? normal(pow(width, -0.5)) : uniform(sqrt(6.0 / (4.0 * width))), 2, 3 * c, c, 1, 1, prefix, "attn.in_proj_weight");
    failed |= add(body, rule, constant(0), 1, 3 * c, 1, 1, 1, prefix, "attn.in_proj_bias");
    failed |= add(body, rule, is_text ? normal(out_std) : uniform(pow(width, -0.5)), 2, c, c, 1, 1, prefix, "attn.out_proj.weight");
    failed |= add(body, rule, constant(0), 1, c, 1, 1, 1, prefix, "attn.out_proj.bias");
    failed |= add_norm(body, rule, c, prefix, "ln_2");
    failed |= add(body, rule, is_text ? normal(pow(2.0 * width, -0.5)) : uniform(pow(width, -0.5)), 2, hidden, c, 1, 1, prefix, "mlp.c_fc.weight");
    failed |= add(body, rule, uniform(pow(width, -0.5)), 1, hidden, 1, 1, 1, prefix, "mlp.c_fc.bias");
    failed |= add(body, rule, is_text ? normal(out_std) : uniform(pow((double)hidden, -0.5)), 2, c, hidden, 1, 1, prefix, "mlp.c_proj.weight");
    failed |= add(body, rule, uniform(pow((double)hidden, -0.5)), 1, c, 1, 1, 1, prefix, "mlp.c_proj.bias");
    return failed;
}

/* In the order of open_clip's state dictionary. */
static int add_all(model_body *body, prn__decay_rule rule)
{
    const prn__model_config *config = &body->model.config;
    const int64_t c = config->vision.width, p = config->vision.patch_size, grid = config->vision.image_size / p, e = config->embed_dim;
    const int64_t ct = config->text.width;
    const double scale = pow((double)c, -0.5);
    char prefix[64];
    int failed = add(body, rule, normal(0.01), 2, config->text.context_length, ct, 1, 1, "", "positional_embedding");
    failed |= add(body, rule, normal(pow((double)ct, -0.5)), 2, ct, e, 1, 1, "", "text_projection");
    failed |= add(body, rule, constant(log(1 / 0.07)), 0, 1, 1, 1, 1, "", "logit_scale");
    failed |= add(body, rule, normal(scale), 1, c, 1, 1, 1, "visual.", "class_embedding");
    failed |= add(body, rule, normal(scale), 2, grid * grid + 1, c, 1, 1, "visual.", "positional_embedding");
    failed |= add(body, rule, normal(scale), 2, c, e, 1, 1, "visual.", "proj");
    failed |= add(body, rule, uniform(pow(3.0 * (double)(p * p), -0.5)), 4, c, 3, p, p, "visual.", "conv1.weight");
    failed |= add_norm(body, rule, c, "visual.", "ln_pre");
    for (int64_t i = 0; i < config->vision.layers; i++) {
        (void)snprintf(prefix, sizeof prefix, "visual.transformer.resblocks.%lld.", (long long)i);
        failed |= add_block(body, rule, 0, config->vision.layers, c, config->vision.mlp_ratio, prefix);
    }
    failed |= add_norm(body, rule, c, "visual.", "ln_post");
    for (int64_t i = 0; i < config->text.layers; i++) {
        (void)snprintf(prefix, sizeof prefix, "transformer.resblocks.%lld.", (long long)i);
        failed |= add_block(body, rule, 1, config->text.layers, ct, config->text.mlp_ratio, prefix);
    }
    failed |= add(body, rule, normal(0.02), 2, config->text.vocab_size, ct, 1, 1, "", "token_embedding.weight");
    failed |= add_norm(body, rule, ct, "", "ln_final");
    return failed;
}

/* Decayed parameters first; inside each part, the table's order. */
static void lay_out(prn__model *model)
{
    int64_t offset = 0;
    for (int wanted = 1; wanted >= 0; wanted--) {
        for (size_t i = 0; i < model->parameter_count; i++) {
            prn__parameter *p = &model->parameters[i];
            if (p->decays == wanted) {
                p->offset = offset;
                offset += (p->elements + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
                model->elements += p->elements;
            }
        }
        if (wanted) {
            model->decay_elements = offset;
        }
    }
    model->flat_elements = offset;
}

prn_status prn__model_create(const prn__model_config *config, prn__decay_rule rule, prn__model **model, prn_error *error)
{
    model_body *body;
    prn_status status = prn__model_config_validate(config, error);
    *model = NULL;
    if (status != PRN_OK) {
        return status;
    }
    if (rule != PRN__DECAY_DIMENSIONS && rule != PRN__DECAY_NO_EMBEDDINGS) {
        return prn_error_set(error, PRN_INVALID, "model '%s': unknown decay rule %d", config->name, (int)rule);
    }
    body = prn__alloc(sizeof *body);
    if (body == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "model '%s': no memory for its table of parameters", config->name);
    }
    prn__arena_init(&body->memory, 1 << 14);
    body->model.config = *config;
    if (add_all(body, rule)) {
        prn__model_destroy(&body->model);
        return prn_error_set(error, PRN_NO_MEMORY, "model '%s': no memory for its table of parameters", config->name);
    }
    lay_out(&body->model);
    body->model.logit_scale_offset = prn__model_parameter(&body->model, "logit_scale")->offset;
    *model = &body->model;
    return PRN_OK;
}

void prn__model_destroy(prn__model *model)
{
    model_body *body = (model_body *)model;
    if (body == NULL) {
        return;
    }
    prn__arena_fini(&body->memory);
    prn__free(body->starts);
    prn__free(body->model.parameters);
    prn__free(body);
}

const prn__parameter *prn__model_parameter(const prn__model *model, const char *name)
{
    for (size_t i = 0; i < model->parameter_count; i++) {
        if (strcmp(model->parameters[i].name, name) == 0) {
            return &model->parameters[i];
        }
    }
    return NULL;
}

void prn__model_init(const prn__model *model, uint64_t seed, float *flat)
{
    const model_body *body = (const model_body *)model;
    memset(flat, 0, (size_t)model->flat_elements * sizeof *flat);
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        const start first = body->starts[i];
        const uint64_t id = prn__hash_bytes(p->name, strlen(p->name)).low;
        for (int64_t j = 0; j < p->elements; j++) {
            double value = first.scale;
            if (first.kind == START_NORMAL) {
                value *= prn__rng_normal(seed, PRN__RNG_INIT, id, (uint64_t)j);
            } else if (first.kind == START_UNIFORM) {
                value *= 2 * prn__rng_uniform(seed, PRN__RNG_INIT, id, (uint64_t)j) - 1;
            }
            flat[p->offset + j] = (float)value;
        }
    }
}

/* ---- model directories ---------------------------------------------------------------------------------------------------- */

/* The configuration in the folder must describe the same network and the same pixels; what differs is named. */
static prn_status check_config(const prn__model *model, const char *folder, prn_error *error)
{
    const prn__model_config *want = &model->config;
    prn__model_config got;
    char detail[400] = "";
    size_t used = 0;
    prn_status status = prn__model_config_resolve(folder, &got, error);
    if (status != PRN_OK) {
        return status;
    }
    const struct {
        const char *name;
        double want, got;
    } fields[] = {
        {"quick_gelu", want->quick_gelu != 0, got.quick_gelu != 0},
        {"embed_dim", (double)want->embed_dim, (double)got.embed_dim},
        {"vision image_size", (double)want->vision.image_size, (double)got.vision.image_size},
        {"vision patch_size", (double)want->vision.patch_size, (double)got.vision.patch_size},
        {"vision width", (double)want->vision.width, (double)got.vision.width},
        {"vision layers", (double)want->vision.layers, (double)got.vision.layers},
        {"vision head_width", (double)want->vision.head_width, (double)got.vision.head_width},
        {"vision mlp_ratio", want->vision.mlp_ratio, got.vision.mlp_ratio},
        {"text context_length", (double)want->text.context_length, (double)got.text.context_length},
        {"text vocab_size", (double)want->text.vocab_size, (double)got.text.vocab_size},
        {"text width", (double)want->text.width, (double)got.text.width},
        {"text heads", (double)want->text.heads, (double)got.text.heads},
        {"text layers", (double)want->text.layers, (double)got.text.layers},
        {"text mlp_ratio", want->text.mlp_ratio, got.text.mlp_ratio},
        {"mean of red", want->mean[0], got.mean[0]},
        {"mean of green", want->mean[1], got.mean[1]},
        {"mean of blue", want->mean[2], got.mean[2]},
        {"std of red", want->std[0], got.std[0]},
        {"std of green", want->std[1], got.std[1]},
        {"std of blue", want->std[2], got.std[2]},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fabs(fields[i].want - fields[i].got) > 1e-6 && used < sizeof detail) {
            int n = snprintf(detail + used, sizeof detail - used, "%s%s is %g there and %g here", used > 0 ? "; " : "", fields[i].name, fields[i].got,
                             fields[i].want);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    if (used > 0) {
        return prn_error_set(error, PRN_CONFLICT,
                             "'%s' holds another model than '%s': %s; name the folder itself as the model, or the built-in name that fits%s", folder,
                             want->name, detail, want->quick_gelu != got.quick_gelu ? " ('...-quickgelu' is the QuickGELU form)" : "");
    }
    return PRN_OK;
}

static void shape_text(char *target, size_t bytes, uint32_t rank, const int64_t *shape)
{
    size_t used = (size_t)snprintf(target, bytes, "(");
    for (uint32_t i = 0; i < rank && used < bytes; i++) {
        used += (size_t)snprintf(target + used, bytes - used, "%s%lld", i > 0 ? ", " : "", (long long)shape[i]);
    }
    if (used < bytes) {
        (void)snprintf(target + used, bytes - used, ")");
    }
}

/* Every problem counted, the first few spelt out. */
typedef struct problems {
    char text[700];
    size_t used;
    size_t count;
} problems;

static void note(problems *list, const char *what, const char *name, const char *detail)
{
    if (list->used < sizeof list->text - 160) {
        int n = snprintf(list->text + list->used, sizeof list->text - list->used, "%s%s '%.100s'%.60s", list->count > 0 ? "; " : "", what, name, detail);
        if (n > 0) {
            list->used += (size_t)n;
            if (list->used >= sizeof list->text) {
                list->used = sizeof list->text - 1;
            }
        }
    }
    list->count++;
}

static int shape_fits(const prn__parameter *p, const prn__st_tensor *tensor)
{
    if (tensor->rank != p->rank) {
        /* open_clip with nonscalar_logit_scale, and some converters, write a scalar as one element */
        return p->rank == 0 && tensor->rank == 1 && tensor->shape[0] == 1;
    }
    for (uint32_t i = 0; i < p->rank; i++) {
        if (tensor->shape[i] != p->shape[i]) {
            return 0;
        }
    }
    return 1;
}

prn_status prn__model_load(const prn__model *model, const char *folder, float *flat, prn_error *error)
{
    prn__safetensors *file = NULL;
    problems list = {{0}, 0, 0};
    char want[80], got[80], detail[200];
    char *path = NULL;
    prn_status status = check_config(model, folder, error);
    if (status != PRN_OK) {
        return status;
    }
    path = prn__path_join(folder, WEIGHTS_FILE);
    if (path == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for a path");
    }
    status = prn__safetensors_open(path, &file, error);
    if (status != PRN_OK) {
        goto done;
    }
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        const prn__st_tensor *tensor = prn__safetensors_find(file, p->name);
        if (tensor == NULL) {
            note(&list, "lacks", p->name, "");
        } else if (!shape_fits(p, tensor)) {
            shape_text(want, sizeof want, p->rank, p->shape);
            shape_text(got, sizeof got, tensor->rank, tensor->shape);
            (void)snprintf(detail, sizeof detail, " of shape %s, not %s", got, want);
            note(&list, "has", p->name, detail);
        } else if (tensor->type != PRN__ST_F32 && tensor->type != PRN__ST_F16 && tensor->type != PRN__ST_BF16 && tensor->type != PRN__ST_F64) {
            note(&list, "has", p->name, " of a type that is no number");
        }
    }
    for (size_t i = 0; i < prn__safetensors_count(file); i++) {
        const prn__st_tensor *tensor = prn__safetensors_at(file, i);
        if (prn__model_parameter(model, tensor->name) == NULL) {
            note(&list, "has the extra", tensor->name, "");
        }
    }
    if (list.count > 0) {
        status = prn_error_set(error, PRN_CONFLICT, "'%s' does not fit its configuration in %zu places: it %s", path, list.count, list.text);
        goto done;
    }
    memset(flat, 0, (size_t)model->flat_elements * sizeof *flat);
    for (size_t i = 0; i < model->parameter_count && status == PRN_OK; i++) {
        const prn__parameter *p = &model->parameters[i];
        status = prn__safetensors_read_f32(prn__safetensors_find(file, p->name), flat + p->offset, p->elements, error);
        for (int64_t j = 0; j < p->elements && status == PRN_OK; j++) {
            if (!isfinite(flat[p->offset + j])) {
                status = prn_error_set(error, PRN_NUMERIC, "'%s': '%s' holds a value that is not finite at index %lld; these weights are broken", path,
                                       p->name, (long long)j);
            }
        }
    }
done:
    prn__safetensors_close(file);
    prn__free(path);
    return status;
}

prn_status prn__model_save(const prn__model *model, const char *folder, const float *flat, prn_error *error)
{
    static const char *const metadata[] = {"format", "pt", "producer", "perennial " PRN_RELEASE, NULL};
    prn_status status = prn__folder_create(folder, error);
    char *weights_path = prn__path_join(folder, WEIGHTS_FILE), *config_path = prn__path_join(folder, CONFIG_FILE);
    char *config = prn__model_config_json(&model->config);
    prn__st_tensor *tensors = prn__alloc_array(model->parameter_count, sizeof *tensors);

    if (status != PRN_OK) {
        goto done;
    }
    if (weights_path == NULL || config_path == NULL || config == NULL || tensors == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "'%s': no memory to save a model", folder);
        goto done;
    }
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        tensors[i].name = p->name;
        tensors[i].type = PRN__ST_F32;
        tensors[i].rank = p->rank;
        memcpy(tensors[i].shape, p->shape, sizeof p->shape);
        tensors[i].data = flat + p->offset;
        tensors[i].bytes = (size_t)p->elements * sizeof *flat;
    }
    /* The configuration last: a folder that has it has its weights too. */
    status = prn__safetensors_save(weights_path, tensors, model->parameter_count, metadata, error);
    if (status == PRN_OK) {
        status = prn__file_write_atomic(config_path, config, strlen(config), error);
    }
done:
    prn__free(tensors);
    prn__free(config);
    prn__free(config_path);
    prn__free(weights_path);
    return status;
}
