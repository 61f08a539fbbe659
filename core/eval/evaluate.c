/* core/eval/evaluate.c: one evaluation set from its shards to its scores. Samples come once, in order; damaged ones are left out and
 * counted. In a retrieval set every sample is one image with one text; a text that stands twice is two texts. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/stop.h"
#include "eval/eval.h"

typedef struct collected {
    float *images, *texts; /* (count, E) */
    int32_t *labels;       /* (count) */
    int64_t count;
} collected;

static void collected_fini(collected *c)
{
    prn__free(c->images);
    prn__free(c->texts);
    prn__free(c->labels);
}

static prn_status stopped(const prn__evaluation_set *set, prn_error *error)
{
    return prn_error_set(error, PRN_INTERRUPTED, "stopped while scoring '%s'", set->name);
}

static prn_status collect(prn__embedder *embedder, const prn__model_config *model, const prn__evaluator_config *config, const prn__evaluation_set *set,
                          prn__dataset *dataset, collected *c, prn_error *error)
{
    const int64_t samples = prn__dataset_samples(dataset), width = model->embed_dim;
    const prn__loader_source source = {.dataset = dataset};
    const int has_texts = set->kind == PRN__TASK_RETRIEVAL;
    const prn__loader_config loading = {
        .sources = &source, .source_count = 1, .tokenizer = config->tokenizer, .context_length = model->text.context_length,
        .image_side = model->vision.image_size, .batch = config->batch > 0 ? config->batch : 256, .bad_policy = config->manifest->bad_policy,
        .threads = config->threads, .step_count = -1, .single_pass = 1, .needs_captions = has_texts,
    };
    prn__loader *loader = NULL;
    c->images = prn__alloc_array((size_t)samples + 1, (size_t)width * sizeof(float));
    c->texts = has_texts ? prn__alloc_array((size_t)samples + 1, (size_t)width * sizeof(float)) : NULL;
    c->labels = prn__alloc_array((size_t)samples + 1, sizeof(int32_t));
    if (c->images == NULL || (has_texts && c->texts == NULL) || c->labels == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for %lld embeddings", (long long)samples);
    }
    prn_status status = prn__loader_create(&loading, &loader, error);
    while (status == PRN_OK) {
        const prn__batch *batch;
        status = prn__stop_asked() ? stopped(set, error) : prn__loader_next(loader, &batch, NULL, error);
        if (status != PRN_OK) {
            break;
        }
        status = prn__embedder_images(embedder, batch->images, batch->count, c->images + c->count * width, error);
        if (status == PRN_OK && has_texts) {
            status = prn__embedder_texts(embedder, batch->tokens, batch->offsets, batch->count, c->texts + c->count * width, error);
        }
        memcpy(c->labels + c->count, batch->classes, (size_t)batch->count * sizeof(int32_t));
        c->count += batch->count;
    }
    prn__loader_destroy(loader);
    return status == PRN_END ? PRN_OK : status;
}

/* Renormalised means of the normalised embeddings of every template filled with the class name; caller frees. */
static prn_status class_embeddings(prn__embedder *embedder, const prn__model_config *model, const prn__evaluator_config *config,
                                   const prn__evaluation_set *set, float **result, prn_error *error)
{
    const prn__manifest *manifest = config->manifest;
    const int64_t width = model->embed_dim, context = model->text.context_length;
    const size_t templates = manifest->template_count, classes = manifest->class_count;
    float *means = prn__alloc_array(classes + 1, (size_t)width * sizeof(float));
    float *each = prn__alloc_array(templates, (size_t)width * sizeof(float));
    int32_t *tokens = prn__alloc_array(templates * (size_t)context, sizeof(int32_t));
    int64_t *offsets = prn__alloc_array(templates + 1, sizeof(int64_t));
    prn_status status = PRN_OK;
    *result = NULL;
    if (means == NULL || each == NULL || tokens == NULL || offsets == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the embeddings of %zu classes", classes);
    }
    for (size_t c = 0; c < classes && status == PRN_OK; c++) {
        double sum = 0;
        status = prn__stop_asked() ? stopped(set, error) : PRN_OK;
        for (size_t t = 0; t < templates; t++) {
            char text[1024];
            const char *hole = strstr(manifest->templates[t], "{}");
            (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(hole - manifest->templates[t]), manifest->templates[t], manifest->classes[c], hole + 2);
            offsets[t + 1] = offsets[t] + prn__tokenizer_encode(config->tokenizer, text, strlen(text), context, tokens + offsets[t]);
            if (offsets[t + 1] == offsets[t] && status == PRN_OK) {
                status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the caption of class '%s'", manifest->classes[c]);
            }
        }
        status = status != PRN_OK ? status : prn__embedder_texts(embedder, tokens, offsets, (int64_t)templates, each, error);
        float *mean = means + (int64_t)c * width;
        for (int64_t e = 0; e < width; e++) {
            double total = 0;
            for (size_t t = 0; t < templates; t++) {
                total += each[(int64_t)t * width + e];
            }
            mean[e] = (float)(total / (double)templates);
            sum += (double)mean[e] * mean[e];
        }
        for (int64_t e = 0; e < width; e++) {
            mean[e] = (float)(mean[e] / fmax(sqrt(sum), 1e-12));
        }
    }
    prn__free(each);
    prn__free(tokens);
    prn__free(offsets);
    if (status != PRN_OK) {
        prn__free(means);
        return status;
    }
    *result = means;
    return PRN_OK;
}

static prn_status score_retrieval(const prn__device *device, const prn__model_config *model, const prn__evaluator_config *config, const collected *c,
                                  prn__scores *scores, prn_error *error)
{
    static const int32_t usual[] = {1, 5, 10};
    int64_t *text_image = prn__alloc_array((size_t)c->count + 1, sizeof *text_image);
    if (text_image == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while scoring");
    }
    for (int64_t i = 0; i < c->count; i++) {
        text_image[i] = i;
    }
    prn_status status = prn__eval_retrieval(device, c->images, c->count, c->texts, c->count, text_image, model->embed_dim,
                                            config->recall_k != NULL ? config->recall_k : usual, config->recall_k != NULL ? config->recall_k_count : 3,
                                            scores, error);
    prn__free(text_image);
    return status;
}

prn_status prn__evaluate_set(prn__embedder *embedder, const prn__model_config *model, const prn__device *device, const prn__evaluator_config *config,
                             const prn__evaluation_set *set, prn__scores *scores, prn_error *error)
{
    const prn__shard_list *list = &set->shards;
    prn__dataset *dataset = NULL;
    collected c = {0};
    float *classes = NULL;
    memset(scores, 0, sizeof *scores);
    if (config->tokenizer == NULL) {
        return prn_error_set(error, PRN_INVALID, "%s: evaluation '%s' needs a tokenizer; give the stream a 'vocabulary'", config->manifest->path, set->name);
    }
    if (set->kind == PRN__TASK_CLASSIFICATION && config->manifest->class_count == 0) {
        return prn_error_set(error, PRN_INVALID, "%s: evaluation '%s' is a classification, but the stream has no 'classes'; name a file with one class a line",
                             config->manifest->path, set->name);
    }
    prn_status status = prn__dataset_open(config->manifest, &list, 1, config->cache, &dataset, error);
    if (status == PRN_OK) {
        status = collect(embedder, model, config, set, dataset, &c, error);
    }
    if (status == PRN_OK && c.count == 0) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: evaluation '%s' has no usable sample; 'perennial data verify' says why", config->manifest->path,
                               set->name);
    }
    if (status == PRN_OK && set->kind == PRN__TASK_RETRIEVAL) {
        status = score_retrieval(device, model, config, &c, scores, error);
    } else if (status == PRN_OK) {
        status = class_embeddings(embedder, model, config, set, &classes, error);
        if (status == PRN_OK) {
            status = prn__eval_classification(device, c.images, c.labels, c.count, classes, (int64_t)config->manifest->class_count, model->embed_dim,
                                              scores, error);
        }
    }
    if (status == PRN_OK) {
        for (int r = 0; r < PRN__LOSS_COUNT; r++) {
            scores->skipped += prn__dataset_losses(dataset, -1, (prn__loss_reason)r);
        }
    }
    prn__free(classes);
    collected_fini(&c);
    prn__dataset_close(dataset);
    return status;
}
