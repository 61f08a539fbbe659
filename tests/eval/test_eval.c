/* tests/eval/test_eval.c: streamed top-k against sorting, scores against a second implementation, transfer metrics by hand. What is
 * large is in test_scale.c, what is hostile in test_limits.c. */
#include "eval/support.h"

static test_device one, two;

static int setup(void **state)
{
    (void)state;
    test_device_open(&one, "cpu", 1);
    test_device_open(&two, "cpu", 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_device_close(&one);
    test_device_close(&two);
    assert_int_equal(prn__alloc_live(), 0);
    return 0;
}

/* ---- top-k ----------------------------------------------------------------------------------------------------------------- */

/* Place of candidate c among all for one query: how many come before it. Ties go to the lower index. */
static int64_t place(const float *scores, int64_t n, int64_t c)
{
    int64_t before = 0;
    for (int64_t i = 0; i < n; i++) {
        before += scores[i] > scores[c] || (scores[i] == scores[c] && i < c);
    }
    return before;
}

static void test_topk_is_a_sort(void **state)
{
    (void)state;
    enum { QUERIES = 5, CANDIDATES = 37 };
    float scores[QUERIES * CANDIDATES];
    for (int levels = 1; levels < 50; levels += 6) { /* few levels: ties everywhere */
        for (int i = 0; i < QUERIES * CANDIDATES; i++) {
            scores[i] = (float)prn__rng_below(3, PRN__RNG_SUBSET, (uint64_t)i, (uint64_t)levels, (uint64_t)levels) - 3;
        }
        for (int32_t k = 1; k < 45; k += 4) {
            for (int64_t tile = 1; tile <= CANDIDATES; tile += 5) {
                for (int reversed = 0; reversed < 2; reversed++) { /* the order of pushes never shows */
                    prn__topk *topk;
                    float part[QUERIES * CANDIDATES];
                    OK(prn__topk_create(QUERIES, k, &topk, error));
                    const int64_t tiles = (CANDIDATES + tile - 1) / tile;
                    for (int64_t t = 0; t < tiles; t++) {
                        const int64_t first = (reversed ? tiles - 1 - t : t) * tile, count = CANDIDATES - first < tile ? CANDIDATES - first : tile;
                        for (int64_t q = 0; q < QUERIES; q++) {
                            memcpy(part + q * count, scores + q * CANDIDATES + first, (size_t)count * sizeof *part);
                        }
                        prn__topk_push(topk, part, first, count);
                    }
                    for (int64_t q = 0; q < QUERIES; q++) {
                        for (int32_t i = 0; i < k; i++) {
                            const int64_t got = prn__topk_indices(topk)[q * k + i];
                            if (i >= CANDIDATES) {
                                assert_int_equal(got, -1);
                            } else {
                                assert_true(got >= 0 && got < CANDIDATES);
                                assert_int_equal(place(scores + q * CANDIDATES, CANDIDATES, got), i);
                            }
                        }
                    }
                    prn__topk_destroy(topk);
                }
            }
        }
    }
    prn_error error = PRN_ERROR_INIT;
    prn__topk *topk;
    assert_int_equal(prn__topk_create(3, 0, &topk, &error), PRN_INVALID);
}

/* ---- scores ------------------------------------------------------------------------------------------------------------------- */

/* Several captions an image, some images without any: an image is found when any of its captions is in the top k. */
static void test_retrieval(void **state)
{
    (void)state;
    enum { IMAGES = 61, TEXTS = 150, E = 8 };
    static const int32_t k[3] = {1, 5, 10};
    float *images = random_embeddings(IMAGES, E, 1), *texts = random_embeddings(TEXTS, E, 2);
    int64_t owner[TEXTS];
    for (int j = 0; j < TEXTS; j++) {
        owner[j] = (j * 7) % (IMAGES - 4);
        for (int i = 0; i < E; i++) { /* near enough to its image for scores between 0 and 1 */
            texts[j * E + i] = 0.6f * texts[j * E + i] + 0.8f * images[owner[j] * E + i];
        }
    }
    prn__scores scores, again;
    memset(&scores, 0, sizeof scores);
    memset(&again, 0, sizeof again);
    OK(prn__eval_retrieval(&one.device, images, IMAGES, texts, TEXTS, owner, E, k, 3, &scores, error));
    OK(prn__eval_retrieval(&two.device, images, IMAGES, texts, TEXTS, owner, E, k, 3, &again, error));
    assert_memory_equal(&scores, &again, sizeof scores);
    assert_string_equal(scores.score[0].name, "recall@1");
    assert_int_equal(scores.images, IMAGES);
    assert_int_equal(scores.texts, TEXTS);
    for (int n = 0; n < 3; n++) {
        double found_texts = 0, found_images = 0;
        char name[32];
        for (int i = 0; i < IMAGES; i++) {
            int found = 0;
            for (int j = 0; j < TEXTS; j++) {
                int before = 0;
                for (int other = 0; other < TEXTS; other++) {
                    before += dot(images + i * E, texts + other * E, E) > dot(images + i * E, texts + j * E, E);
                }
                found |= owner[j] == i && before < k[n];
            }
            found_texts += found;
        }
        for (int j = 0; j < TEXTS; j++) {
            int before = 0;
            for (int i = 0; i < IMAGES; i++) {
                before += dot(images + i * E, texts + j * E, E) > dot(images + owner[j] * E, texts + j * E, E);
            }
            found_images += before < k[n];
        }
        (void)snprintf(name, sizeof name, "i2t_recall@%d", k[n]);
        NEAR(score_of(&scores, name), found_texts / IMAGES, 1e-12);
        (void)snprintf(name, sizeof name, "t2i_recall@%d", k[n]);
        NEAR(score_of(&scores, name), found_images / TEXTS, 1e-12);
        (void)snprintf(name, sizeof name, "recall@%d", k[n]);
        NEAR(score_of(&scores, name), (found_texts / IMAGES + found_images / TEXTS) / 2, 1e-12);
    }
    assert_true(score_of(&scores, "recall@1") > 0.2 && score_of(&scores, "recall@1") < 0.95);

    prn_error error = PRN_ERROR_INIT;
    owner[3] = IMAGES;
    assert_int_equal(prn__eval_retrieval(&one.device, images, IMAGES, texts, TEXTS, owner, E, k, 3, &scores, &error), PRN_INVALID);
    owner[3] = 0;
    texts[17 * E + 2] = NAN;
    assert_int_equal(prn__eval_retrieval(&one.device, images, IMAGES, texts, TEXTS, owner, E, k, 3, &scores, &error), PRN_NUMERIC);
    assert_non_null(strstr(error.message, "text 17"));
    prn__free(images);
    prn__free(texts);
}

/* Equal embeddings everywhere: ties go to the lower index, so exactly one of each kind is right. */
static void test_ties(void **state)
{
    (void)state;
    enum { N = 12, E = 4 };
    static const int32_t k[2] = {1, 5};
    float *same = prn__alloc_array(N * E, sizeof *same);
    int64_t owner[N];
    prn__scores scores;
    for (int i = 0; i < N; i++) {
        same[i * E] = 1;
        owner[i] = i;
    }
    memset(&scores, 0, sizeof scores);
    OK(prn__eval_retrieval(&two.device, same, N, same, N, owner, E, k, 2, &scores, error));
    NEAR(score_of(&scores, "recall@1"), 1.0 / N, 1e-12);
    NEAR(score_of(&scores, "recall@5"), 5.0 / N, 1e-12);
    prn__free(same);
}

static void test_classification(void **state)
{
    (void)state;
    enum { IMAGES = 83, CLASSES = 9, E = 6 };
    float *images = random_embeddings(IMAGES, E, 5), *classes = random_embeddings(CLASSES, E, 6);
    int32_t labels[IMAGES];
    double right[CLASSES] = {0}, seen[CLASSES] = {0}, first = 0, among = 0, mean = 0;
    for (int i = 0; i < IMAGES; i++) {
        labels[i] = (i * i) % 7; /* classes 3, 5, 6, 7 and 8 have no image */
        int before = 0;
        for (int j = 0; j < E; j++) {
            images[i * E + j] += 0.7f * classes[labels[i] * E + j];
        }
        for (int c = 0; c < CLASSES; c++) {
            before += dot(images + i * E, classes + c * E, E) > dot(images + i * E, classes + labels[i] * E, E);
        }
        first += before == 0;
        among += before < 5;
        right[labels[i]] += before == 0;
        seen[labels[i]]++;
    }
    int present = 0;
    for (int c = 0; c < CLASSES; c++) {
        mean += seen[c] > 0 ? right[c] / seen[c] : 0;
        present += seen[c] > 0;
    }
    prn__scores scores;
    memset(&scores, 0, sizeof scores);
    OK(prn__eval_classification(&two.device, images, labels, IMAGES, classes, CLASSES, E, &scores, error));
    assert_string_equal(scores.score[0].name, "top1");
    NEAR(score_of(&scores, "top1"), first / IMAGES, 1e-12);
    NEAR(score_of(&scores, "top5"), among / IMAGES, 1e-12);
    NEAR(score_of(&scores, "mean_per_class"), mean / present, 1e-12);
    assert_true(first > 0 && first < IMAGES && present < CLASSES);

    /* fewer classes than five */
    memset(&scores, 0, sizeof scores);
    memset(labels, 0, sizeof labels);
    OK(prn__eval_classification(&one.device, images, labels, IMAGES, classes, 3, E, &scores, error));
    NEAR(score_of(&scores, "top5"), 1, 0);

    prn_error error = PRN_ERROR_INIT;
    labels[4] = CLASSES;
    assert_int_equal(prn__eval_classification(&one.device, images, labels, IMAGES, classes, CLASSES, E, &scores, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "image 4"));
    labels[4] = 0;
    classes[2 * E] = INFINITY;
    assert_int_equal(prn__eval_classification(&one.device, images, labels, IMAGES, classes, CLASSES, E, &scores, &error), PRN_NUMERIC);
    prn__free(images);
    prn__free(classes);
}

/* ---- transfer ------------------------------------------------------------------------------------------------------------------ */

static void test_transfer(void **state)
{
    (void)state;
    static const double a[9] = {0.6, 0.2, 0.1, 0.5, 0.7, 0.3, 0.3, 0.4, 0.8};
    static const double oracle[9] = {0.6, 0, 0, 0.7, 0.8, 0, 0.8, 0.8, 0.9}, baseline[3] = {0.05, 0.1, 0.1};
    prn__transfer t;
    prn__transfer_compute(a, oracle, baseline, 3, &t);
    NEAR(t.in_domain, (0.6 + 0.7 + 0.8) / 3, 1e-12);
    NEAR(t.backward, (0.5 + 0.3 + 0.4) / 3, 1e-12);
    NEAR(t.forward, (0.2 + 0.1 + 0.3) / 3, 1e-12);
    NEAR(t.next_domain, (0.2 + 0.3) / 2, 1e-12);
    NEAR(t.gem_bwt, ((0.3 - 0.6) + (0.4 - 0.7)) / 2, 1e-12);
    NEAR(t.gem_fwt, ((0.2 - 0.1) + (0.3 - 0.1)) / 2, 1e-12);
    NEAR(t.forgetting, ((0.6 - 0.3) + (0.7 - 0.4)) / 2, 1e-12);
    NEAR(t.regret, (0 + ((0.7 - 0.5) + (0.8 - 0.7)) / 2 + ((0.8 - 0.3) + (0.8 - 0.4) + (0.9 - 0.8)) / 3) / 3, 1e-12);

    /* a task that was never evaluated leaves the others' means alone */
    double holes[9];
    memcpy(holes, a, sizeof a);
    holes[1] = holes[4] = holes[7] = NAN;
    prn__transfer_compute(holes, NULL, NULL, 3, &t);
    NEAR(t.in_domain, (0.6 + 0.8) / 2, 1e-12);
    NEAR(t.backward, (0.5 + 0.3) / 2, 1e-12);
    NEAR(t.forward, (0.1 + 0.3) / 2, 1e-12);
    NEAR(t.next_domain, 0.3, 1e-12);
    NEAR(t.gem_bwt, 0.3 - 0.6, 1e-12);
    assert_true(isnan(t.gem_fwt) && isnan(t.regret));

    /* the best is not always the diagonal: what was learned later and lost is forgotten, too */
    static const double later[9] = {0.5, 0, 0, 0.9, 0.6, 0, 0.4, 0.5, 0.7};
    prn__transfer_compute(later, NULL, NULL, 3, &t);
    NEAR(t.forgetting, ((0.9 - 0.4) + (0.6 - 0.5)) / 2, 1e-12);

    prn__transfer_compute(a, a, baseline, 1, &t); /* one time step has no transfer */
    NEAR(t.in_domain, 0.6, 0);
    NEAR(t.regret, 0, 0);
    assert_true(isnan(t.backward) && isnan(t.forward) && isnan(t.next_domain) && isnan(t.gem_bwt) && isnan(t.forgetting));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topk_is_a_sort), cmocka_unit_test(test_retrieval), cmocka_unit_test(test_ties),
        cmocka_unit_test(test_classification), cmocka_unit_test(test_transfer),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
