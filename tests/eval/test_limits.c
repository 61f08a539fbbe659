/* tests/eval/test_limits.c: evaluation at its edges: more k than candidates, nothing to score, ties across tiles, wrong arguments, numbers that
 * are none, no memory; transfer metrics against a second implementation with any cells missing. */
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

/* ---- top-k ------------------------------------------------------------------------------------------------------------------- */

typedef struct candidate {
    float score;
    int64_t index;
} candidate;

static int better_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : (x->index > y->index) - (x->index < y->index);
}

/* One tall tile or many small ones, rows or columns as queries, in any order, infinite scores among them: always the head of the full sort. */
static void test_tiles(void **state)
{
    (void)state;
    enum { ROWS = 23, COLUMNS = 31, ALL = ROWS * COLUMNS };
    float scores[ALL], tile[ALL];
    candidate sorted[COLUMNS];
    for (int form = 0; form < 60; form++) {
        const uint64_t levels = 1 + (uint64_t)form % 7;
        const int32_t k = 1 + (form * 5) % 40;
        for (int i = 0; i < ALL; i++) {
            const uint64_t level = prn__rng_below(5, PRN__RNG_SUBSET, (uint64_t)i, (uint64_t)form, levels + (form % 4 == 0 ? 2 : 0));
            scores[i] = level == levels ? -INFINITY : level == levels + 1 ? INFINITY : (float)level - 2.5f;
        }
        const int64_t height = 1 + (form * 3) % ROWS, width = 1 + (form * 11) % COLUMNS;
        const int64_t down = (ROWS + height - 1) / height, across = (COLUMNS + width - 1) / width;
        prn__topk *by_row, *by_column;
        OK(prn__topk_create(ROWS, k, &by_row, error));
        OK(prn__topk_create(COLUMNS, k, &by_column, error));
        for (int64_t t = 0; t < down * across; t++) {
            const int64_t which = (int64_t)prn__permute((uint64_t)form, (uint64_t)(down * across), (uint64_t)t);
            const int64_t row = which / across * height, column = which % across * width;
            const int64_t rows = ROWS - row < height ? ROWS - row : height, columns = COLUMNS - column < width ? COLUMNS - column : width;
            for (int64_t r = 0; r < rows; r++) {
                memcpy(tile + r * columns, scores + (row + r) * COLUMNS + column, (size_t)columns * sizeof *tile);
            }
            prn__topk_push_tile(by_row, row, rows, tile, columns, column, columns, 1);
            prn__topk_push_tile(by_column, column, columns, tile, 1, row, rows, columns);
        }
        for (int side = 0; side < 2; side++) {
            const int64_t queries = side == 0 ? ROWS : COLUMNS, candidates = side == 0 ? COLUMNS : ROWS;
            const int64_t *got = prn__topk_indices(side == 0 ? by_row : by_column);
            for (int64_t q = 0; q < queries; q++) {
                for (int64_t c = 0; c < candidates; c++) {
                    sorted[c] = (candidate){side == 0 ? scores[q * COLUMNS + c] : scores[c * COLUMNS + q], c};
                }
                qsort(sorted, (size_t)candidates, sizeof *sorted, better_first);
                for (int32_t i = 0; i < k; i++) {
                    const int64_t want = i < candidates ? sorted[i].index : -1;
                    if (got[q * k + i] != want) {
                        fail_msg("form %d, side %d, query %lld, place %d: %lld, wanted %lld", form, side, (long long)q, i, (long long)got[q * k + i], (long long)want);
                    }
                }
            }
        }
        prn__topk_destroy(by_row);
        prn__topk_destroy(by_column);
    }
}

static void test_topk_limits(void **state)
{
    (void)state;
    prn_error refusal = PRN_ERROR_INIT;
    prn__topk *topk;
    assert_int_equal(prn__topk_create(-1, 1, &topk, &refusal), PRN_INVALID);
    assert_int_equal(prn__topk_create(1, -1, &topk, &refusal), PRN_INVALID);
    assert_null(topk);
    assert_int_equal(prn__topk_create(INT64_MAX, 10, &topk, &refusal), PRN_NO_MEMORY); /* a product that overflows */
    assert_int_equal(prn__topk_create((int64_t)1 << 61, INT32_MAX, &topk, &refusal), PRN_NO_MEMORY);
    assert_null(topk);
    OK(prn__topk_create(0, 5, &topk, error));
    prn__topk_push(topk, NULL, 0, 10);
    prn__topk_destroy(topk);
    prn__topk_destroy(NULL);
    /* a score that is no number is nobody's best */
    const float scores[4] = {NAN, 1, NAN, 2};
    OK(prn__topk_create(1, 4, &topk, error));
    prn__topk_push(topk, scores, 0, 4);
    const int64_t want[4] = {3, 1, -1, -1};
    assert_memory_equal(prn__topk_indices(topk), want, sizeof want);
    prn__topk_destroy(topk);
}

/* ---- scores -------------------------------------------------------------------------------------------------------------------- */

/* k beyond the number of candidates finds everything, and needs no more memory than they do. */
static void test_large_k(void **state)
{
    (void)state;
    enum { N = 7, E = 4 };
    static const int32_t k[3] = {1, 100, INT32_MAX};
    float *images = random_embeddings(N, E, 1), *texts = random_embeddings(N, E, 2);
    const int64_t owner[N] = {6, 5, 4, 3, 2, 1, 0};
    prn__scores scores;
    memset(&scores, 0, sizeof scores);
    OK(prn__eval_retrieval(&one.device, images, N, texts, N, owner, E, k, 3, &scores, error));
    assert_int_equal(scores.count, 9);
    NEAR(score_of(&scores, "recall@100"), 1, 0);
    NEAR(score_of(&scores, "recall@2147483647"), 1, 0);
    assert_true(score_of(&scores, "recall@1") < 1);
    prn__free(images);
    prn__free(texts);
}

static void test_nothing(void **state)
{
    (void)state;
    static const int32_t k[1] = {1};
    float x[4] = {1, 0, 0, 0};
    const int64_t owner[1] = {0};
    const int32_t label[1] = {0};
    prn__scores scores;
    memset(&scores, 0, sizeof scores);
    OK(prn__eval_retrieval(&one.device, x, 0, x, 0, owner, 4, k, 1, &scores, error));
    NEAR(score_of(&scores, "recall@1"), 0, 0);
    memset(&scores, 0, sizeof scores);
    OK(prn__eval_retrieval(&one.device, x, 1, x, 0, owner, 4, k, 1, &scores, error)); /* an image without a caption is not found */
    NEAR(score_of(&scores, "i2t_recall@1"), 0, 0);
    memset(&scores, 0, sizeof scores);
    OK(prn__eval_retrieval(&one.device, x, 1, x, 1, owner, 4, k, 1, &scores, error));
    NEAR(score_of(&scores, "recall@1"), 1, 0);
    memset(&scores, 0, sizeof scores);
    OK(prn__eval_classification(&one.device, x, label, 0, x, 1, 4, &scores, error));
    NEAR(score_of(&scores, "top1"), 0, 0);
    NEAR(score_of(&scores, "mean_per_class"), 0, 0);
    memset(&scores, 0, sizeof scores);
    OK(prn__eval_classification(&one.device, x, label, 1, x, 1, 4, &scores, error));
    NEAR(score_of(&scores, "top1"), 1, 0);
    NEAR(score_of(&scores, "mean_per_class"), 1, 0);
}

static void expect_refused(prn_status status, prn_status want, const prn_error *error, const char *part)
{
    if (status != want || strstr(error->message, part) == NULL) {
        fail_msg("%s: '%s', wanted %s with '%s'", prn_status_name(status), error->message, prn_status_name(want), part);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    enum { N = 6, E = 4 };
    static const int32_t k[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, zero[2] = {1, 0}, negative[1] = {-5};
    float *x = random_embeddings(N, E, 1), *y = random_embeddings(N, E, 2);
    int64_t owner[N] = {0};
    int32_t labels[N] = {0};
    prn__scores scores;
    prn_error error = PRN_ERROR_INIT;
    memset(&scores, 0, sizeof scores);
    const prn__device *d = &two.device;
    expect_refused(prn__eval_retrieval(d, x, N, y, N, owner, E, k, 0, &scores, &error), PRN_INVALID, &error, "1 to 8 values of k");
    expect_refused(prn__eval_retrieval(d, x, N, y, N, owner, E, k, 9, &scores, &error), PRN_INVALID, &error, "1 to 8 values of k");
    expect_refused(prn__eval_retrieval(d, x, N, y, N, owner, E, zero, 2, &scores, &error), PRN_INVALID, &error, "at least 1");
    expect_refused(prn__eval_retrieval(d, x, N, y, N, owner, E, negative, 1, &scores, &error), PRN_INVALID, &error, "at least 1");
    owner[2] = -1;
    expect_refused(prn__eval_retrieval(d, x, N, y, N, owner, E, k, 1, &scores, &error), PRN_INVALID, &error, "text 2 belongs to image -1");
    owner[2] = 0;
    static const float wrong[3] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        const float keep = x[3 * E + 1];
        x[3 * E + 1] = wrong[i];
        expect_refused(prn__eval_retrieval(d, x, N, y, N, owner, E, k, 1, &scores, &error), PRN_NUMERIC, &error, "image 3");
        expect_refused(prn__eval_retrieval(d, y, N, x, N, owner, E, k, 1, &scores, &error), PRN_NUMERIC, &error, "text 3");
        expect_refused(prn__eval_classification(d, x, labels, N, y, N, E, &scores, &error), PRN_NUMERIC, &error, "image 3");
        expect_refused(prn__eval_classification(d, y, labels, N, x, N, E, &scores, &error), PRN_NUMERIC, &error, "class 3");
        x[3 * E + 1] = keep;
    }
    labels[5] = -1; /* a sample without a class */
    expect_refused(prn__eval_classification(d, x, labels, N, y, N, E, &scores, &error), PRN_INVALID, &error, "image 5 has no class");
    labels[5] = N;
    expect_refused(prn__eval_classification(d, x, labels, N, y, N, E, &scores, &error), PRN_INVALID, &error, "image 5 has class 6, but there are 6");
    labels[5] = 0;
    expect_refused(prn__eval_classification(d, x, labels, N, y, 0, E, &scores, &error), PRN_INVALID, &error, "image 0");
    assert_int_equal(scores.count, 0); /* a refused evaluation leaves no score behind */
    prn__free(x);
    prn__free(y);
}

/* More rows and columns than a tile has, with odd remainders, whole similarities and ties all over; several captions an image, in no order;
 * a second implementation that knows nothing of tiles. */
static void test_across_tiles(void **state)
{
    (void)state;
    enum { IMAGES = 1031, TEXTS = 4711, E = 6, SIDES = 3 };
    static const int32_t k[4] = {1, 3, 10, 200};
    float *images = prn__alloc_array(IMAGES * E, sizeof *images), *texts = prn__alloc_array(TEXTS * E, sizeof *texts);
    int64_t *owner = prn__alloc_array(TEXTS, sizeof *owner);
    int32_t *scores_of = prn__alloc_array(TEXTS, sizeof *scores_of);
    prn__scores scores[2];
    for (int i = 0; i < (IMAGES + TEXTS) * E; i++) {
        float *target = i < IMAGES * E ? images + i : texts + i - IMAGES * E;
        *target = (float)((int)prn__rng_below(9, PRN__RNG_SUBSET, (uint64_t)i, 0, SIDES) - 1);
    }
    for (int j = 0; j < TEXTS; j++) {
        owner[j] = (int64_t)prn__rng_below(9, PRN__RNG_SUBSET, (uint64_t)j, 1, IMAGES - 5);
    }
    memset(scores, 0, sizeof scores);
    OK(prn__eval_retrieval(&one.device, images, IMAGES, texts, TEXTS, owner, E, k, 4, &scores[0], error));
    OK(prn__eval_retrieval(&two.device, images, IMAGES, texts, TEXTS, owner, E, k, 4, &scores[1], error));
    assert_memory_equal(&scores[0], &scores[1], sizeof scores[0]);
    int64_t found[2][4] = {{0}};
    for (int side = 0; side < 2; side++) {
        const int queries = side == 0 ? IMAGES : TEXTS, candidates = side == 0 ? TEXTS : IMAGES;
        for (int q = 0; q < queries; q++) {
            int64_t least = INT64_MAX;
            for (int c = 0; c < candidates; c++) {
                const int i = side == 0 ? q : c, j = side == 0 ? c : q;
                scores_of[c] = (int32_t)dot(images + i * E, texts + j * E, E);
            }
            for (int c = 0; c < candidates; c++) {
                if (owner[side == 0 ? c : q] != (side == 0 ? q : c)) {
                    continue;
                }
                int64_t rank = 0;
                for (int other = 0; other < candidates; other++) {
                    rank += scores_of[other] > scores_of[c] || (scores_of[other] == scores_of[c] && other < c);
                }
                least = rank < least ? rank : least;
            }
            for (int n = 0; n < 4; n++) {
                found[side][n] += least < k[n];
            }
        }
    }
    for (int n = 0; n < 4; n++) {
        char name[32];
        (void)snprintf(name, sizeof name, "i2t_recall@%d", k[n]);
        NEAR(score_of(&scores[0], name), (double)found[0][n] / IMAGES, 1e-12);
        (void)snprintf(name, sizeof name, "t2i_recall@%d", k[n]);
        NEAR(score_of(&scores[0], name), (double)found[1][n] / TEXTS, 1e-12);
    }
    assert_true(found[0][1] > 0 && found[0][3] < IMAGES && found[1][3] < TEXTS && found[1][3] > found[1][2]);
    prn__free(images);
    prn__free(texts);
    prn__free(owner);
    prn__free(scores_of);
}

static void test_no_memory(void **state)
{
    (void)state;
    enum { N = 6, E = 4 };
    static const int32_t k[2] = {1, 5};
    float *x = random_embeddings(N, E, 1);
    const int64_t owner[N] = {0, 1, 2, 3, 4, 5};
    const int32_t labels[N] = {0, 1, 2, 3, 4, 5};
    for (int which = 0; which < 2; which++) {
        const int64_t live = prn__alloc_live();
        int failures = 0, finished = 0;
        for (int64_t nth = 1; nth < 1000 && !finished; nth++) {
            prn_error error = PRN_ERROR_INIT;
            prn__scores scores;
            memset(&scores, 0, sizeof scores);
            prn__alloc_fail_at(nth);
            const prn_status status = which == 0 ? prn__eval_retrieval(&one.device, x, N, x, N, owner, E, k, 2, &scores, &error)
                                                 : prn__eval_classification(&one.device, x, labels, N, x, N, E, &scores, &error);
            prn__alloc_fail_at(0);
            finished = status == PRN_OK;
            failures += !finished;
            if (!finished && (status != PRN_NO_MEMORY || scores.count != 0)) {
                fail_msg("allocation %lld: %s: %s", (long long)nth, prn_status_name(status), error.message);
            }
            assert_int_equal(prn__alloc_live(), live);
        }
        assert_true(finished && failures > 5);
    }
    prn__free(x);
}

/* ---- transfer ------------------------------------------------------------------------------------------------------------------- */

/* Mean of f(i, j) over the cells that a rule names, in any order, skipping what was not evaluated. */
typedef struct sum {
    double total;
    int count;
} sum;

static void count(sum *s, double value)
{
    if (value == value) {
        s->total += value;
        s->count++;
    }
}

static void same(double got, sum want, const char *name, uint64_t seed)
{
    const double mean = want.total / want.count; /* 0 / 0 is NaN, as it should be */
    if (!(fabs(got - mean) <= 1e-12) && !(isnan(got) && want.count == 0)) {
        fail_msg("matrix %llu, %s: %.15g, wanted %.15g over %d cells", (unsigned long long)seed, name, got, mean, want.count);
    }
}

/* Any size from 1 to 7, any cells missing, with and without an oracle and a baseline: eval.h's definitions word by word. */
static void test_transfer_at_random(void **state)
{
    (void)state;
    enum { LARGEST = 7 };
    for (uint64_t seed = 1; seed <= 500; seed++) {
        const int t = 1 + (int)(seed % LARGEST), missing = (int)(seed / LARGEST % 4);
        double cells[2][LARGEST * LARGEST], baseline[LARGEST];
        for (int i = 0; i < 3 * t * t; i++) {
            const double value = prn__rng_uniform(seed, PRN__RNG_SUBSET, 1, (uint64_t)i);
            const int is_missing = prn__rng_below(seed, PRN__RNG_SUBSET, 2, (uint64_t)i, 8) < (uint64_t)missing * 2;
            if (i < 2 * t * t) {
                cells[i / (t * t)][i % (t * t)] = is_missing ? (double)NAN : value;
            } else if (i - 2 * t * t < t) {
                baseline[i - 2 * t * t] = is_missing ? (double)NAN : value;
            }
        }
        const double *a = cells[0], *oracle = seed % 3 != 0 ? cells[1] : NULL, *random = seed % 5 != 0 ? baseline : NULL;
        prn__transfer got;
        prn__transfer_compute(a, oracle, random, t, &got);
#define A(i, j) a[(i) * t + (j)]
        sum in = {0}, back = {0}, ahead = {0}, next = {0}, bwt = {0}, fwt = {0}, lost = {0}, regret = {0};
        for (int j = 0; j < t; j++) {
            double best = -1;
            count(&in, A(j, j));
            for (int i = 0; i < t; i++) {
                count(i > j ? &back : &ahead, i == j ? (double)NAN : A(i, j));
                best = A(i, j) > best ? A(i, j) : best; /* a comparison with NaN is false */
            }
            if (j > 0) {
                count(&next, A(j - 1, j));
                count(&fwt, random != NULL ? A(j - 1, j) - random[j] : (double)NAN);
            }
            if (j < t - 1) {
                count(&bwt, A(t - 1, j) - A(j, j));
                count(&lost, best < 0 ? (double)NAN : best - A(t - 1, j));
            }
        }
        for (int i = 0; i < t && oracle != NULL; i++) {
            sum row = {0};
            for (int j = 0; j <= i; j++) {
                count(&row, oracle[i * t + j] - A(i, j));
            }
            count(&regret, row.count > 0 ? row.total / row.count : (double)NAN);
        }
#undef A
        same(got.in_domain, in, "in-domain", seed);
        same(got.backward, back, "backward", seed);
        same(got.forward, ahead, "forward", seed);
        same(got.next_domain, next, "next domain", seed);
        same(got.gem_bwt, bwt, "GEM backward", seed);
        same(got.gem_fwt, fwt, "GEM forward", seed);
        same(got.forgetting, lost, "forgetting", seed);
        same(got.regret, regret, "regret", seed);
    }
}

static void test_transfer_edges(void **state)
{
    (void)state;
    prn__transfer t;
    double nothing[4] = {NAN, NAN, NAN, NAN};
    prn__transfer_compute(nothing, nothing, nothing, 2, &t);
    assert_true(isnan(t.in_domain) && isnan(t.backward) && isnan(t.forward) && isnan(t.next_domain) && isnan(t.gem_bwt) && isnan(t.gem_fwt) &&
                isnan(t.forgetting) && isnan(t.regret));
    prn__transfer_compute(nothing, NULL, NULL, 0, &t);
    assert_true(isnan(t.in_domain) && isnan(t.regret));
    /* the last row missing: what was forgotten is not known, but the past scores are */
    const double early[9] = {0.5, 0.1, 0.1, 0.25, 0.75, 0.2, NAN, NAN, NAN};
    prn__transfer_compute(early, NULL, NULL, 3, &t);
    NEAR(t.in_domain, 0.625, 1e-15);
    NEAR(t.backward, 0.25, 1e-15);
    NEAR(t.next_domain, 0.15, 1e-15);
    assert_true(isnan(t.gem_bwt) && isnan(t.forgetting));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles),     cmocka_unit_test(test_topk_limits),  cmocka_unit_test(test_large_k),  cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_across_tiles), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_transfer_at_random),
        cmocka_unit_test(test_transfer_edges),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
