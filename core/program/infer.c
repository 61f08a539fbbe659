/* core/program/infer.c: what shapes an operation takes and gives. One function an operation, in the order of the list in
 * perennial/program.h, which is their specification. Nothing here changes the graph. */
#include "program/graph_internal.h"

#include <string.h>

typedef struct question {
    const prn__graph *graph;
    const prn_tensor *in[PRN_OP_MAX_INPUTS]; /* NULL where absent */
    const prn_op_attrs *attrs;
    inference *result;
    prn_error *error;
} question;

static int dim_same(prn_dim a, prn_dim b)
{
    return a.fixed == b.fixed && a.symbol == b.symbol;
}

/* A product that overflows becomes the largest number, which no tensor may have. */
static prn_dim dim_times(prn_dim d, int64_t n)
{
    if (__builtin_mul_overflow(d.fixed, n, &d.fixed)) {
        d.fixed = INT64_MAX;
    }
    return d;
}

static int is_same(const prn_tensor *a, const prn_tensor *b)
{
    if (a->rank != b->rank) {
        return 0;
    }
    for (uint32_t i = 0; i < a->rank; i++) {
        if (!dim_same(a->dim[i], b->dim[i])) {
            return 0;
        }
    }
    return 1;
}

static const char *describe(const question *q, uint32_t i, char *target, size_t bytes)
{
    char shape[96];
    if (q->in[i] == NULL) {
        (void)snprintf(target, bytes, "nothing");
    } else {
        (void)snprintf(target, bytes, "'%s' %s", q->in[i]->name, prn__shape_text(q->graph->symbols, q->in[i], shape, sizeof shape));
    }
    return target;
}

/* A mismatch between inputs `a` and `b`; the message shows both. */
static prn_status mismatch(const question *q, uint32_t a, uint32_t b, const char *rule)
{
    char left[200], right[200];
    return prn_error_set(q->error, PRN_INVALID, "%s does not fit %s: %s", describe(q, a, left, sizeof left), describe(q, b, right, sizeof right), rule);
}

static prn_status wrong(const question *q, uint32_t a, const char *rule)
{
    char left[200];
    return prn_error_set(q->error, PRN_INVALID, "%s: %s", describe(q, a, left, sizeof left), rule);
}

/* Input `i` must be there, with this type and rank (rank < 0: any). */
static prn_status need(const question *q, uint32_t i, prn_type type, int rank)
{
    static const char *const type_name[] = {"", "real", "i32", "u8", "bf16"};
    if (q->in[i] == NULL) {
        return prn_error_set(q->error, PRN_INVALID, "input %u is missing", i);
    }
    if (q->in[i]->type != (uint32_t)type || (rank >= 0 && q->in[i]->rank != (uint32_t)rank)) {
        char left[200];
        describe(q, i, left, sizeof left);
        return rank < 0 ? prn_error_set(q->error, PRN_INVALID, "input %u, %s, must be %s", i, left, type_name[type])
                        : prn_error_set(q->error, PRN_INVALID, "input %u, %s, must be %s of rank %d", i, left, type_name[type], rank);
    }
    return PRN_OK;
}

#define TRY(call)                    \
    do {                             \
        prn_status status_ = (call); \
        if (status_ != PRN_OK) {     \
            return status_;          \
        }                            \
    } while (0)

static void give(const question *q, uint32_t i, uint32_t rank, prn_dim a, prn_dim b)
{
    prn_tensor *t = &q->result->shape[i];
    t->type = PRN_REAL;
    t->rank = rank;
    t->dim[0] = a;
    t->dim[1] = b;
    q->result->known |= 1u << i;
}

static void give_like(const question *q, uint32_t i, const prn_tensor *like)
{
    prn_tensor *t = &q->result->shape[i];
    t->type = PRN_REAL;
    t->rank = like->rank;
    memcpy(t->dim, like->dim, sizeof t->dim);
    q->result->known |= 1u << i;
}

static const prn_dim ONE = {1, PRN_NO_SYMBOL, 0};

static prn_status patches(question *q)
{
    TRY(need(q, 0, PRN_U8, 4));
    const prn_dim *d = q->in[0]->dim;
    int64_t p = q->attrs->patch;
    if (p < 1 || d[1].symbol >= 0 || !dim_same(d[1], d[2]) || d[3].fixed != 3 || d[3].symbol >= 0 || d[1].fixed % p != 0 || d[1].fixed == 0) {
        return wrong(q, 0, "images must be (B, S, S, 3) with S a multiple of the patch size");
    }
    for (int c = 0; c < 3; c++) {
        if (!(q->attrs->std[c] > 0)) {
            return wrong(q, 0, "the standard deviation of each colour must be positive");
        }
    }
    int64_t grid = d[1].fixed / p;
    give(q, 0, 2, dim_times(dim_times(d[0], grid), grid), dim_times(dim_times(prn__fixed(3), p), p));
    return PRN_OK;
}

static prn_status linear(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_REAL, 2));
    const prn_dim *x = q->in[0]->dim, *w = q->in[1]->dim;
    int t = q->attrs->transpose_w != 0;
    if (!dim_same(x[1], w[t ? 0 : 1])) {
        return mismatch(q, 0, 1, t ? "x (M, K) needs w (K, N)" : "x (M, K) needs w (N, K)");
    }
    prn_dim n = w[t ? 1 : 0];
    if (q->in[2] != NULL) {
        TRY(need(q, 2, PRN_REAL, 1));
        if (!dim_same(q->in[2]->dim[0], n)) {
            return mismatch(q, 1, 2, "bias must be (N)");
        }
    }
    give(q, 0, 2, x[0], n);
    give(q, 1, 2, x[0], n);
    if (q->in[3] != NULL) {
        TRY(need(q, 3, PRN_REAL, 2));
        if (!dim_same(q->in[3]->dim[0], x[0]) || !dim_same(q->in[3]->dim[1], n)) {
            return mismatch(q, 0, 3, "residual must be (M, N)");
        }
    }
    return PRN_OK;
}

static prn_status layer_norm(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    for (uint32_t i = 1; i < 3; i++) {
        TRY(need(q, i, PRN_REAL, 1));
        if (!dim_same(q->in[i]->dim[0], q->in[0]->dim[1])) {
            return mismatch(q, 0, i, "gain and bias must be (C)");
        }
    }
    give_like(q, 0, q->in[0]);
    give(q, 1, 1, q->in[0]->dim[0], ONE);
    give(q, 2, 1, q->in[0]->dim[0], ONE);
    return PRN_OK;
}

static prn_status attention_rows(question *q, uint32_t qkv, uint32_t offsets)
{
    const prn_dim *d = q->in[qkv]->dim;
    int64_t heads = q->attrs->heads;
    if (heads < 1 || d[1].symbol >= 0 || d[1].fixed % (3 * heads) != 0) {
        return wrong(q, qkv, "qkv must be (M, 3C) with C a multiple of the heads");
    }
    if (q->attrs->positions > 0) {
        if (q->in[offsets] != NULL || d[0].fixed % q->attrs->positions != 0) {
            return wrong(q, qkv, "uniform attention takes no offsets, and M must be a multiple of the positions");
        }
        return PRN_OK;
    }
    return need(q, offsets, PRN_I32, 1);
}

static prn_status attention(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(attention_rows(q, 0, 1));
    const prn_dim *d = q->in[0]->dim;
    give(q, 0, 2, d[0], prn__fixed(d[1].fixed / 3));
    give(q, 1, 2, d[0], prn__fixed(q->attrs->heads));
    return PRN_OK;
}

static prn_status lookup(question *q)
{
    TRY(need(q, 0, PRN_I32, 1));
    TRY(need(q, 1, PRN_REAL, 2));
    give(q, 0, 2, q->in[0]->dim[0], q->in[1]->dim[1]);
    if (q->in[2] != NULL) {
        TRY(need(q, 2, PRN_REAL, 2));
        if (!is_same(q->in[2], &q->result->shape[0])) {
            return mismatch(q, 0, 2, "residual must be (M, C)");
        }
    }
    return PRN_OK;
}

static prn_status class_rows(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_REAL, 1));
    TRY(need(q, 2, PRN_REAL, 2));
    prn_dim channels = q->in[0]->dim[1];
    int64_t t = q->in[2]->dim[0].fixed;
    if (!dim_same(q->in[1]->dim[0], channels) || !dim_same(q->in[2]->dim[1], channels)) {
        return mismatch(q, 0, 2, "class must be (C) and positions (T, C)");
    }
    if (t < 2 || q->in[2]->dim[0].symbol >= 0 || q->in[0]->dim[0].fixed % (t - 1) != 0) {
        return mismatch(q, 0, 2, "patches must be (B*P, C) with P = T - 1");
    }
    prn_dim rows = q->in[0]->dim[0];
    rows.fixed /= t - 1;
    give(q, 0, 2, dim_times(rows, t), channels);
    return PRN_OK;
}

static prn_status gather_rows(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    if (q->in[1] != NULL) {
        TRY(need(q, 1, PRN_I32, 1));
        give(q, 0, 2, q->in[1]->dim[0], q->in[0]->dim[1]);
        return PRN_OK;
    }
    prn_dim rows = q->in[0]->dim[0];
    if (q->attrs->stride < 1 || rows.fixed % q->attrs->stride != 0) {
        return wrong(q, 0, "without row numbers the rows must be a multiple of the stride");
    }
    rows.fixed /= q->attrs->stride;
    give(q, 0, 2, rows, q->in[0]->dim[1]);
    return PRN_OK;
}

static prn_status l2_normalise(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    give_like(q, 0, q->in[0]);
    give(q, 1, 1, q->in[0]->dim[0], ONE);
    return PRN_OK;
}

static prn_status similarity(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_REAL, 2));
    if (!dim_same(q->in[0]->dim[1], q->in[1]->dim[1])) {
        return mismatch(q, 0, 1, "a (R, E) needs b (M, E)");
    }
    if (q->in[2] != NULL) {
        TRY(need(q, 2, PRN_REAL, 0));
    }
    give(q, 0, 2, q->in[0]->dim[0], q->in[1]->dim[0]);
    return PRN_OK;
}

static prn_status cross_entropy(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_I32, 1));
    if (!dim_same(q->in[0]->dim[0], q->in[1]->dim[0])) {
        return mismatch(q, 0, 1, "labels must be (R)");
    }
    give(q, 0, 1, q->in[0]->dim[0], ONE);
    give(q, 1, 1, q->in[0]->dim[0], ONE);
    return PRN_OK;
}

static prn_status soft_cross_entropy(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_REAL, 2));
    if (!is_same(q->in[0], q->in[1])) {
        return mismatch(q, 0, 1, "logits and target logits must have one shape");
    }
    if (!(q->attrs->alpha > 0)) {
        return wrong(q, 0, "the temperature must be positive");
    }
    for (uint32_t i = 0; i < 3; i++) {
        give(q, i, 1, q->in[0]->dim[0], ONE);
    }
    return PRN_OK;
}

static prn_status like_first(question *q)
{
    TRY(need(q, 0, PRN_REAL, -1));
    give_like(q, 0, q->in[0]);
    return PRN_OK;
}

static prn_status axpby(question *q)
{
    TRY(like_first(q));
    if (q->in[1] != NULL) {
        TRY(need(q, 1, PRN_REAL, -1));
        if (!is_same(q->in[0], q->in[1])) {
            return mismatch(q, 0, 1, "both must have one shape");
        }
    }
    return PRN_OK;
}

static prn_status multiply(question *q)
{
    TRY(like_first(q));
    TRY(need(q, 1, PRN_REAL, -1));
    if (q->in[1]->rank != 0 && !is_same(q->in[0], q->in[1])) {
        return mismatch(q, 0, 1, "both must have one shape, or the second be a scalar");
    }
    return PRN_OK;
}

static prn_status to_scalar(question *q)
{
    TRY(need(q, 0, PRN_REAL, -1));
    give(q, 0, 0, ONE, ONE);
    return PRN_OK;
}

/* Input 2, when given: a flag for each row of the matrix `of`. */
static prn_status row_flags(question *q, uint32_t of)
{
    if (q->in[2] == NULL) {
        return PRN_OK;
    }
    TRY(need(q, 2, PRN_U8, 1));
    TRY(need(q, of, PRN_REAL, 2));
    return dim_same(q->in[2]->dim[0], q->in[of]->dim[0]) ? PRN_OK : mismatch(q, of, 2, "rows must be (R) for a matrix (R, C)");
}

static prn_status dot(question *q)
{
    TRY(need(q, 1, PRN_REAL, -1));
    TRY(to_scalar(q));
    if (!is_same(q->in[0], q->in[1])) {
        return mismatch(q, 0, 1, "both must have one shape");
    }
    return row_flags(q, 0);
}

/* q (B, C) and kv (M, 2C) from input `first` on, then offsets and rows. */
static prn_status read_attention_rows(question *q, uint32_t first)
{
    const uint32_t kv = first + 1, offsets = first + 2, rows = first + 3;
    TRY(need(q, first, PRN_REAL, 2));
    TRY(need(q, kv, PRN_REAL, 2));
    const prn_dim *query = q->in[first]->dim, *keys = q->in[kv]->dim;
    if (q->attrs->heads < 1 || query[1].symbol >= 0 || query[1].fixed % q->attrs->heads != 0) {
        return wrong(q, first, "q must be (B, C) with C a multiple of the heads");
    }
    if (!dim_same(keys[1], dim_times(query[1], 2))) {
        return mismatch(q, first, kv, "q (B, C) needs kv (M, 2C)");
    }
    if (q->in[rows] != NULL) {
        TRY(need(q, rows, PRN_I32, 1));
        if (!dim_same(q->in[rows]->dim[0], query[0])) {
            return mismatch(q, first, rows, "rows must be (B)");
        }
    }
    if (q->attrs->positions > 0) {
        if (q->in[offsets] != NULL || !dim_same(keys[0], dim_times(query[0], q->attrs->positions))) {
            return mismatch(q, first, kv, "uniform attention takes no offsets, and kv must have the positions' rows for each query");
        }
        return PRN_OK;
    }
    return need(q, offsets, PRN_I32, 1);
}

static prn_status read_attention(question *q)
{
    TRY(read_attention_rows(q, 0));
    give_like(q, 0, q->in[0]);
    return PRN_OK;
}

static prn_status fill(question *q)
{
    return q->in[0] == NULL ? PRN_OK : need(q, 0, PRN_U8, 1); /* the given output decides the rest */
}

static prn_status broadcast(question *q)
{
    return need(q, 0, PRN_REAL, 0); /* the given output decides the rest */
}

static prn_status linear_grad_x(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_REAL, 2));
    int t = q->attrs->transpose_w != 0;
    if (!dim_same(q->in[0]->dim[1], q->in[1]->dim[t ? 1 : 0])) {
        return mismatch(q, 0, 1, "dpre (M, N) does not match the weights");
    }
    give(q, 0, 2, q->in[0]->dim[0], q->in[1]->dim[t ? 0 : 1]);
    return PRN_OK;
}

static prn_status linear_grad_w(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_REAL, 2));
    if (!dim_same(q->in[0]->dim[0], q->in[1]->dim[0])) {
        return mismatch(q, 0, 1, "dpre (M, N) and x (M, K) must have the same rows");
    }
    prn_dim n = q->in[0]->dim[1], k = q->in[1]->dim[1];
    if (q->attrs->transpose_w) {
        give(q, 0, 2, k, n);
    } else {
        give(q, 0, 2, n, k);
    }
    give(q, 1, 1, n, ONE);
    return PRN_OK;
}

static prn_status activation_grad(question *q)
{
    TRY(need(q, 1, PRN_REAL, -1));
    TRY(like_first(q));
    return is_same(q->in[0], q->in[1]) ? PRN_OK : mismatch(q, 0, 1, "dy and pre must have one shape");
}

static prn_status layer_norm_grad(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_REAL, 2));
    TRY(need(q, 2, PRN_REAL, 1));
    TRY(need(q, 3, PRN_REAL, 1));
    TRY(need(q, 4, PRN_REAL, 1));
    if (!is_same(q->in[0], q->in[1]) || !dim_same(q->in[2]->dim[0], q->in[0]->dim[1])) {
        return mismatch(q, 0, 1, "dy and x must be (M, C), gain (C)");
    }
    for (uint32_t i = 3; i < 5; i++) {
        if (!dim_same(q->in[i]->dim[0], q->in[0]->dim[0])) {
            return mismatch(q, 0, i, "mean and rstd must be (M)");
        }
    }
    give_like(q, 0, q->in[0]);
    give_like(q, 1, q->in[2]);
    give_like(q, 2, q->in[2]);
    return PRN_OK;
}

static prn_status attention_grad(question *q)
{
    for (uint32_t i = 0; i < 4; i++) {
        TRY(need(q, i, PRN_REAL, 2));
    }
    TRY(attention_rows(q, 1, 4));
    if (!is_same(q->in[0], q->in[2])) {
        return mismatch(q, 0, 2, "dy and y must be (M, C)");
    }
    if (!dim_same(q->in[1]->dim[0], q->in[0]->dim[0]) || q->in[0]->dim[1].symbol >= 0 || q->in[1]->dim[1].fixed / 3 != q->in[0]->dim[1].fixed) {
        return mismatch(q, 0, 1, "dy (M, C) needs qkv (M, 3C)");
    }
    if (!dim_same(q->in[3]->dim[0], q->in[0]->dim[0]) || !dim_same(q->in[3]->dim[1], prn__fixed(q->attrs->heads))) {
        return mismatch(q, 0, 3, "lse must be (M, H)");
    }
    give_like(q, 0, q->in[1]);
    return PRN_OK;
}

static prn_status lookup_grad(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_I32, 1));
    return dim_same(q->in[0]->dim[0], q->in[1]->dim[0]) ? PRN_OK : mismatch(q, 0, 1, "dy (M, C) needs ids (M)");
}

static prn_status class_rows_grad(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    int64_t t = q->attrs->positions;
    prn_dim rows = q->in[0]->dim[0];
    if (t < 2 || rows.fixed % t != 0) {
        return wrong(q, 0, "the rows must be a multiple of the positions T");
    }
    rows.fixed = rows.fixed / t * (t - 1);
    give(q, 0, 2, rows, q->in[0]->dim[1]);
    give(q, 1, 1, q->in[0]->dim[1], ONE);
    give(q, 2, 2, prn__fixed(t), q->in[0]->dim[1]);
    return PRN_OK;
}

static prn_status gather_rows_grad(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    if (q->in[1] != NULL) {
        return need(q, 1, PRN_I32, 1); /* how many rows x has, the given output says */
    }
    if (q->attrs->stride < 1) {
        return wrong(q, 0, "without row numbers a stride is needed");
    }
    give(q, 0, 2, dim_times(q->in[0]->dim[0], q->attrs->stride), q->in[0]->dim[1]);
    return PRN_OK;
}

static prn_status l2_normalise_grad(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(need(q, 1, PRN_REAL, 2));
    TRY(need(q, 2, PRN_REAL, 1));
    if (!is_same(q->in[0], q->in[1])) {
        return mismatch(q, 0, 1, "dy and y must have one shape");
    }
    give_like(q, 0, q->in[0]);
    return dim_same(q->in[2]->dim[0], q->in[0]->dim[0]) ? PRN_OK : mismatch(q, 0, 2, "rnorm must be (M)");
}

static prn_status similarity_grad(question *q)
{
    for (uint32_t i = 0; i < 4; i++) {
        TRY(need(q, i, PRN_REAL, 2));
    }
    if (!is_same(q->in[0], q->in[3])) {
        return mismatch(q, 0, 3, "dy and y must be (R, M)");
    }
    if (!dim_same(q->in[1]->dim[0], q->in[0]->dim[0]) || !dim_same(q->in[2]->dim[0], q->in[0]->dim[1])) {
        return mismatch(q, 1, 2, "a must be (R, E) and b (M, E)");
    }
    if (!dim_same(q->in[1]->dim[1], q->in[2]->dim[1])) {
        return mismatch(q, 1, 2, "a (R, E) needs b (M, E)");
    }
    if (q->in[4] != NULL) {
        TRY(need(q, 4, PRN_REAL, 0));
    }
    give_like(q, 0, q->in[1]);
    give_like(q, 1, q->in[2]);
    give(q, 2, 0, ONE, ONE);
    return PRN_OK;
}

static prn_status cross_entropy_grad(question *q)
{
    TRY(need(q, 0, PRN_REAL, 1));
    TRY(need(q, 1, PRN_REAL, 2));
    TRY(need(q, 2, PRN_I32, 1));
    TRY(need(q, 3, PRN_REAL, 1));
    for (uint32_t i = 0; i < 4; i += i == 0 ? 2 : 1) {
        if (!dim_same(q->in[i]->dim[0], q->in[1]->dim[0])) {
            return mismatch(q, 1, i, "dloss, labels and lse must be (R)");
        }
    }
    give_like(q, 0, q->in[1]);
    return PRN_OK;
}

static prn_status soft_cross_entropy_grad(question *q)
{
    TRY(need(q, 0, PRN_REAL, 1));
    TRY(need(q, 1, PRN_REAL, 2));
    TRY(need(q, 2, PRN_REAL, 2));
    TRY(need(q, 3, PRN_REAL, 1));
    TRY(need(q, 4, PRN_REAL, 1));
    if (!is_same(q->in[1], q->in[2])) {
        return mismatch(q, 1, 2, "logits and target logits must have one shape");
    }
    for (uint32_t i = 0; i < 5; i += i == 0 ? 3 : 1) {
        if (!dim_same(q->in[i]->dim[0], q->in[1]->dim[0])) {
            return mismatch(q, 1, i, "dkl and both log-sum-exps must be (R)");
        }
    }
    if (!(q->attrs->alpha > 0)) {
        return wrong(q, 1, "the temperature must be positive");
    }
    give_like(q, 0, q->in[1]);
    return PRN_OK;
}

static prn_status read_attention_grad(question *q)
{
    TRY(need(q, 0, PRN_REAL, 2));
    TRY(read_attention_rows(q, 1));
    if (!is_same(q->in[0], q->in[1])) {
        return mismatch(q, 0, 1, "dy and q must be (B, C)");
    }
    give_like(q, 0, q->in[1]);
    give_like(q, 1, q->in[2]);
    return PRN_OK;
}

static prn_status adamw(question *q)
{
    TRY(need(q, 0, PRN_REAL, -1)); /* element by element: the shape does not matter */
    TRY(need(q, 1, PRN_REAL, 1));
    if (q->in[1]->dim[0].fixed != 8 || q->in[1]->dim[0].symbol >= 0) {
        return wrong(q, 1, "hyper must be (8)");
    }
    for (uint32_t i = 0; i < 3; i++) {
        give_like(q, i, q->in[0]);
    }
    q->result->may_be_bf16 = 0x6;
    return row_flags(q, 0);
}

static prn_status decay_rows(question *q)
{
    TRY(need(q, 0, PRN_REAL, 1));
    return need(q, 1, PRN_U8, 1); /* the given output decides the rest */
}

static prn_status (*rule_of(prn_op_kind kind))(question *)
{
    switch (kind) {
    case PRN_OP_PATCHES: return patches;
    case PRN_OP_LINEAR: return linear;
    case PRN_OP_LAYER_NORM: return layer_norm;
    case PRN_OP_ATTENTION: return attention;
    case PRN_OP_LOOKUP: return lookup;
    case PRN_OP_CLASS_ROWS: return class_rows;
    case PRN_OP_GATHER_ROWS: return gather_rows;
    case PRN_OP_L2_NORMALISE: return l2_normalise;
    case PRN_OP_SIMILARITY: return similarity;
    case PRN_OP_CROSS_ENTROPY: return cross_entropy;
    case PRN_OP_SOFT_CROSS_ENTROPY: return soft_cross_entropy;
    case PRN_OP_ACTIVATION: case PRN_OP_EXP: case PRN_OP_CLAMP: return like_first;
    case PRN_OP_AXPBY: return axpby;
    case PRN_OP_MULTIPLY: return multiply;
    case PRN_OP_SUM: return to_scalar;
    case PRN_OP_DOT: return dot;
    case PRN_OP_FILL: return fill;
    case PRN_OP_READ_ATTENTION: return read_attention;
    case PRN_OP_BROADCAST: return broadcast;
    case PRN_OP_LINEAR_GRAD_X: return linear_grad_x;
    case PRN_OP_LINEAR_GRAD_W: return linear_grad_w;
    case PRN_OP_ACTIVATION_GRAD: return activation_grad;
    case PRN_OP_LAYER_NORM_GRAD: return layer_norm_grad;
    case PRN_OP_ATTENTION_GRAD: return attention_grad;
    case PRN_OP_LOOKUP_GRAD: return lookup_grad;
    case PRN_OP_CLASS_ROWS_GRAD: return class_rows_grad;
    case PRN_OP_GATHER_ROWS_GRAD: return gather_rows_grad;
    case PRN_OP_L2_NORMALISE_GRAD: return l2_normalise_grad;
    case PRN_OP_SIMILARITY_GRAD: return similarity_grad;
    case PRN_OP_CROSS_ENTROPY_GRAD: return cross_entropy_grad;
    case PRN_OP_SOFT_CROSS_ENTROPY_GRAD: return soft_cross_entropy_grad;
    case PRN_OP_READ_ATTENTION_GRAD: return read_attention_grad;
    case PRN_OP_ADAMW: return adamw;
    case PRN_OP_DECAY_ROWS: return decay_rows;
    case PRN_OP_NONE: case PRN_OP_END: break;
    }
    return NULL;
}

prn_status prn__infer(const prn__graph *graph, prn_op_kind kind, const int32_t *inputs, const prn_op_attrs *attrs, inference *result,
                      prn_error *error)
{
    question q = {graph, {NULL}, attrs, result, error};
    memset(result, 0, sizeof *result);
    for (uint32_t i = 0; i < prn__op_inputs((uint32_t)kind); i++) {
        q.in[i] = inputs[i] == PRN_NO_TENSOR ? NULL : &graph->tensors[inputs[i]];
    }
    prn_status (*rule)(question *) = rule_of(kind);
    return rule != NULL ? rule(&q) : prn_error_set(error, PRN_INTERNAL, "operation kind %d has no shape rule", (int)kind);
}
