/* tests/eval/test_scale.c: retrieval over 100,000 pairs without its matrix of 40 GB, with every rank known; and over tens of thousands of noisy
 * pairs against brute force and between thread counts. Smaller under sanitizers, as printed. */
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

/* Embeddings of +1 and -1 have whole similarities, so nothing rounds: E for the same signs, at most E - 2 otherwise. The first half of the
 * pairs comes in groups of 20 alike, where the lower index wins: member m has rank m. The other half has rank 0. */
static void test_planted_ranks(void **state)
{
    (void)state;
    enum { E = 32, GROUP = 20 };
    const int64_t n = SANITIZED ? 16000 : 100000;
    static const int32_t k[6] = {1, 5, 10, 19, 20, 50};
    float *signs = prn__alloc_array((size_t)n, E * sizeof *signs);
    int64_t *owner = prn__alloc_array((size_t)n, sizeof *owner);
    prn__scores scores;
    assert_non_null(signs);
    assert_non_null(owner);
    for (int64_t i = 0; i < n; i++) {
        const uint64_t number = (uint64_t)(i < n / 2 ? i / GROUP : i), code = prn__permute(77, (uint64_t)1 << E, number); /* each number its own signs */
        owner[i] = i;
        for (int64_t j = 0; j < E; j++) {
            signs[i * E + j] = code >> j & 1 ? 1 : -1;
        }
    }
    memset(&scores, 0, sizeof scores);
    const double begin = prn__now_s();
    OK(prn__eval_retrieval(&two.device, signs, n, signs, n, owner, E, k, 6, &scores, error));
    const double seconds = prn__now_s() - begin, peak = (double)prn__peak_memory_bytes();
    print_message("%lld pairs%s, E = %d: %.1f s; %.0f MB at the peak, the matrix would be %.0f MB\n", (long long)n,
                  SANITIZED ? " (fewer because of the sanitizer)" : "", E, seconds, peak / 1e6, (double)n * (double)n * 4 / 1e6);
    if (!SANITIZED) {
        AT_MOST(peak, 1024.0 * 1024 * 1024);
    }
    for (int i = 0; i < 6; i++) {
        char name[32];
        const double found = k[i] < GROUP ? k[i] : GROUP, want = 0.5 + 0.5 * found / GROUP;
        static const char *const way[3] = {"i2t_recall@%d", "t2i_recall@%d", "recall@%d"};
        for (int w = 0; w < 3; w++) {
            (void)snprintf(name, sizeof name, way[w], k[i]);
            NEAR(score_of(&scores, name), want, 1e-12);
        }
    }
    prn__free(signs);
    prn__free(owner);
}

/* The right text of every image is moved away from it by a noise that grows along the list, so that recall is neither 0 nor 1. */
static void test_noisy_pairs(void **state)
{
    (void)state;
    enum { E = 16, PROBES = 400 };
    const int64_t n = SANITIZED ? 6000 : 20000;
    static const int32_t k[3] = {1, 5, 10};
    float *images = random_embeddings(n, E, 8), *texts = random_embeddings(n, E, 9);
    int64_t *owner = prn__alloc_array((size_t)n, sizeof *owner);
    prn__scores scores, again;
    for (int64_t i = 0; i < n; i++) {
        const float noise = 2 * (float)i / (float)n;
        owner[i] = i;
        for (int64_t j = 0; j < E; j++) {
            texts[i * E + j] = images[i * E + j] + noise * texts[i * E + j];
        }
    }
    memset(&scores, 0, sizeof scores);
    memset(&again, 0, sizeof again);
    OK(prn__eval_retrieval(&two.device, images, n, texts, n, owner, E, k, 3, &scores, error));
    OK(prn__eval_retrieval(&one.device, images, n, texts, n, owner, E, k, 3, &again, error));
    assert_memory_equal(&scores, &again, sizeof scores); /* whatever the number of threads */
    /* by brute force, for evenly spread texts and images: the share among the probes that are found */
    double found[2] = {0, 0};
    for (int64_t p = 0; p < PROBES; p++) {
        const int64_t j = p * (n / PROBES) + 7;
        const double own = dot(images + j * E, texts + j * E, E);
        int64_t better[2] = {0, 0};
        for (int64_t i = 0; i < n; i++) {
            better[0] += dot(images + i * E, texts + j * E, E) > own;
            better[1] += dot(images + j * E, texts + i * E, E) > own;
        }
        found[0] += better[0] < 5;
        found[1] += better[1] < 5;
    }
    print_message("%lld noisy pairs: recall@5 %.4f text to image (%d probes: %.4f), %.4f image to text (%.4f)\n", (long long)n, score_of(&scores, "t2i_recall@5"),
                  PROBES, found[0] / PROBES, score_of(&scores, "i2t_recall@5"), found[1] / PROBES);
    assert_true(score_of(&scores, "t2i_recall@5") > 0.15 && score_of(&scores, "t2i_recall@5") < 0.95);
    NEAR(found[0] / PROBES, score_of(&scores, "t2i_recall@5"), 0.05); /* spread evenly, the probes are better than random ones */
    NEAR(found[1] / PROBES, score_of(&scores, "i2t_recall@5"), 0.05);
    prn__free(images);
    prn__free(texts);
    prn__free(owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_planted_ranks), cmocka_unit_test(test_noisy_pairs)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
