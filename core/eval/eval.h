/* core/eval/eval.h: scores of one model on evaluation sets, and the time-continual metrics over a matrix of scores. */
#ifndef PRN_EVAL_EVAL_H
#define PRN_EVAL_EVAL_H

#include "data/loader.h"
#include "model/embedder.h"

#define PRN__MAX_K 8
#define PRN__EVAL_MAX_SCORES 24

/* Streamed top-k of similarities, so that no full score matrix is held: ties go to the lower index. Every query keeps its
 * best k of all candidates pushed so far. */
typedef struct prn__topk prn__topk;
prn_status prn__topk_create(int64_t queries, int32_t k, prn__topk **topk, prn_error *error);
void prn__topk_destroy(prn__topk *topk);
/* scores: (queries, count) row-major of candidates first .. first+count-1. */
void prn__topk_push(prn__topk *topk, const float *scores, int64_t first, int64_t count);
/* (queries, k), best first; -1 where fewer candidates were seen. */
const int64_t *prn__topk_indices(const prn__topk *topk);

typedef struct prn__score {
    char name[48];  /* "i2t_recall@1", "t2i_recall@5", "recall@1" (their mean), "top1", "top5", "mean_per_class" */
    double value;   /* fraction in [0,1] */
} prn__score;

typedef struct prn__scores {
    prn__score score[PRN__EVAL_MAX_SCORES];
    size_t count;
    int64_t images, texts, classes, skipped;
} prn__scores;

/* Retrieval between image (n,E) and text (m,E) embeddings; text_image[j] is the image that text j belongs to. An image with
 * several texts counts when any is in its top k. Streams in tiles of the similarity matrix on the device. */
prn_status prn__eval_retrieval(const prn__device *device, const float *image_embeddings, int64_t images, const float *text_embeddings,
                               int64_t texts, const int64_t *text_image, int64_t embed_dim, const int32_t *k, size_t k_count,
                               prn__scores *scores, prn_error *error);
/* Classification: class_embeddings (classes,E) are the renormalised means of normalised template embeddings. labels: (n). */
prn_status prn__eval_classification(const prn__device *device, const float *image_embeddings, const int32_t *labels, int64_t images,
                                    const float *class_embeddings, int64_t classes, int64_t embed_dim, prn__scores *scores, prn_error *error);

/* Embeds an evaluation set and scores it. Headline score first in `scores`: "recall@1" or "top1". */
typedef struct prn__evaluator_config {
    const prn__manifest *manifest;
    const prn__tokenizer *tokenizer;
    const char *cache;      /* folder for shard indexes when beside the shard is not writable; may be NULL */
    int64_t batch;
    uint32_t threads;
    const int32_t *recall_k; /* NULL: 1, 5, 10 */
    size_t recall_k_count;
} prn__evaluator_config;
prn_status prn__evaluate_set(prn__embedder *embedder, const prn__model_config *model, const prn__device *device, const prn__evaluator_config *config,
                             const prn__evaluation_set *set, prn__scores *scores, prn_error *error);

/* Metrics over a (T,T) matrix, row i = after step i, column j = task of step j; NaN where not evaluated. Each is NaN when nothing it
 * needs was evaluated. `oracle` (T,T) or NULL. */
typedef struct prn__transfer {
    double in_domain;  /* mean of the diagonal */
    double backward;   /* mean below it */
    double forward;    /* mean above it */
    double next_domain;/* mean of A[i][i+1] */
    double gem_bwt;    /* mean over j<T of A[T][j] - A[j][j] */
    double gem_fwt;    /* mean over j>1 of A[j-1][j] - baseline[j] (baseline row, when given) */
    double forgetting; /* mean over j<T of max_i A[i][j] - A[T][j] */
    double regret;     /* mean over i of mean_{j<=i} oracle[i][j] - A[i][j] */
} prn__transfer;
void prn__transfer_compute(const double *matrix, const double *oracle, const double *baseline, int64_t steps, prn__transfer *transfer);

#endif
