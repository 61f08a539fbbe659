/* core/eval/score.c: retrieval and classification from embeddings; see eval.h. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "eval/topk.h"

static void add_score(prn__scores *scores, double value, const char *format, int k)
{
    if (scores->count < PRN__EVAL_MAX_SCORES) {
        prn__score *score = &scores->score[scores->count++];
        (void)snprintf(score->name, sizeof score->name, format, k);
        score->value = value;
    }
}

/* A model that has diverged embeds NaN, which would otherwise look like a score of 0. */
static prn_status check_finite(const float *embeddings, int64_t count, int64_t embed_dim, const char *what, prn_error *error)
{
    for (int64_t i = 0; i < count * embed_dim; i++) {
        if (!isfinite(embeddings[i])) {
            return prn_error_set(error, PRN_NUMERIC, "the embedding of %s %lld is not finite; the model's weights are broken, or its training diverged", what,
                                 (long long)(i / embed_dim));
        }
    }
    return PRN_OK;
}

typedef struct retrieval {
    prn__topk *by_image, *by_text;
} retrieval;

static void visit_retrieval(void *context, const float *scores, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    retrieval *r = context;
    prn__topk_push_tile(r->by_image, row, rows, scores, columns, column, columns, 1);
    prn__topk_push_tile(r->by_text, column, columns, scores, 1, row, rows, columns);
}

/* Share of queries for which any of the first k candidates is right. image_of[candidate or query]: see the two calls. */
static double recall(const prn__topk *topk, int64_t queries, int32_t width, int32_t k, const int64_t *query_image, const int64_t *candidate_image)
{
    const int64_t *indices = prn__topk_indices(topk);
    int64_t right = 0;
    for (int64_t q = 0; q < queries; q++) {
        int64_t image = query_image != NULL ? query_image[q] : q;
        for (int32_t i = 0; i < k && i < width; i++) {
            int64_t candidate = indices[q * width + i];
            if (candidate >= 0 && (candidate_image != NULL ? candidate_image[candidate] : candidate) == image) {
                right++;
                break;
            }
        }
    }
    return queries > 0 ? (double)right / (double)queries : 0;
}

prn_status prn__eval_retrieval(const prn__device *device, const float *image_embeddings, int64_t images, const float *text_embeddings, int64_t texts,
                               const int64_t *text_image, int64_t embed_dim, const int32_t *k, size_t k_count, prn__scores *scores, prn_error *error)
{
    retrieval r = {NULL, NULL};
    int32_t most = 1;
    for (size_t i = 0; i < k_count || k_count == 0; i++) {
        if (k_count == 0 || k_count > PRN__MAX_K || k[i] < 1) {
            return prn_error_set(error, PRN_INVALID, "recall@k needs 1 to %d values of k, each at least 1", PRN__MAX_K);
        }
        most = k[i] > most ? k[i] : most;
    }
    const int64_t candidates = images > texts ? images : texts; /* a longer list would stay empty at its end */
    most = most > candidates ? (int32_t)(candidates > 0 ? candidates : 1) : most;
    for (int64_t j = 0; j < texts; j++) {
        if (text_image[j] < 0 || text_image[j] >= images) {
            return prn_error_set(error, PRN_INVALID, "text %lld belongs to image %lld, which does not exist", (long long)j, (long long)text_image[j]);
        }
    }
    prn_status status = check_finite(image_embeddings, images, embed_dim, "image", error);
    if (status == PRN_OK) {
        status = check_finite(text_embeddings, texts, embed_dim, "text", error);
    }
    if (status == PRN_OK) {
        status = prn__topk_create(images, most, &r.by_image, error);
    }
    if (status == PRN_OK) {
        status = prn__topk_create(texts, most, &r.by_text, error);
    }
    if (status == PRN_OK) {
        status = prn__similarity_tiles(device, image_embeddings, images, text_embeddings, texts, embed_dim, visit_retrieval, &r, error);
    }
    if (status == PRN_OK) {
        double image_to_text[PRN__MAX_K], text_to_image[PRN__MAX_K];
        scores->images = images;
        scores->texts = texts;
        for (size_t i = 0; i < k_count; i++) {
            image_to_text[i] = recall(r.by_image, images, most, k[i], NULL, text_image);
            text_to_image[i] = recall(r.by_text, texts, most, k[i], text_image, NULL);
            add_score(scores, (image_to_text[i] + text_to_image[i]) / 2, "recall@%d", k[i]);
        }
        for (size_t i = 0; i < k_count; i++) {
            add_score(scores, image_to_text[i], "i2t_recall@%d", k[i]);
            add_score(scores, text_to_image[i], "t2i_recall@%d", k[i]);
        }
    }
    prn__topk_destroy(r.by_image);
    prn__topk_destroy(r.by_text);
    return status;
}

static void visit_classes(void *context, const float *scores, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    prn__topk_push_tile(context, row, rows, scores, columns, column, columns, 1);
}

prn_status prn__eval_classification(const prn__device *device, const float *image_embeddings, const int32_t *labels, int64_t images,
                                    const float *class_embeddings, int64_t classes, int64_t embed_dim, prn__scores *scores, prn_error *error)
{
    enum { FIRST = 5 };
    prn__topk *topk = NULL;
    int64_t *seen = prn__alloc_array((size_t)classes + 1, sizeof *seen), *right = prn__alloc_array((size_t)classes + 1, sizeof *right);
    int64_t first = 0, among = 0, present = 0;
    double per_class = 0;
    prn_status status = PRN_OK;
    if (seen == NULL || right == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for %lld classes", (long long)classes);
        goto done;
    }
    for (int64_t i = 0; i < images; i++) {
        if (labels[i] < 0) {
            status = prn_error_set(error, PRN_INVALID, "image %lld has no class; give the sample a '.cls', or leave it out of the classification set", (long long)i);
            goto done;
        }
        if (labels[i] >= classes) {
            status = prn_error_set(error, PRN_INVALID, "image %lld has class %d, but there are %lld class names; add it to 'classes' or correct the sample",
                                   (long long)i, labels[i], (long long)classes);
            goto done;
        }
    }
    if ((status = check_finite(image_embeddings, images, embed_dim, "image", error)) == PRN_OK &&
        (status = check_finite(class_embeddings, classes, embed_dim, "class", error)) == PRN_OK) {
        status = prn__topk_create(images, FIRST, &topk, error);
    }
    if (status == PRN_OK) {
        status = prn__similarity_tiles(device, image_embeddings, images, class_embeddings, classes, embed_dim, visit_classes, topk, error);
    }
    if (status != PRN_OK) {
        goto done;
    }
    for (int64_t i = 0; i < images; i++) {
        const int64_t *best = prn__topk_indices(topk) + i * FIRST;
        seen[labels[i]]++;
        right[labels[i]] += best[0] == labels[i];
        first += best[0] == labels[i];
        for (int k = 0; k < FIRST; k++) {
            among += best[k] == labels[i];
        }
    }
    for (int64_t c = 0; c < classes; c++) {
        if (seen[c] > 0) {
            present++;
            per_class += (double)right[c] / (double)seen[c];
        }
    }
    scores->images = images;
    scores->classes = classes;
    add_score(scores, images > 0 ? (double)first / (double)images : 0, "top%d", 1);
    add_score(scores, images > 0 ? (double)among / (double)images : 0, "top%d", FIRST);
    add_score(scores, present > 0 ? per_class / (double)present : 0, "mean_per_class", 0);
done:
    prn__topk_destroy(topk);
    prn__free(seen);
    prn__free(right);
    return status;
}
