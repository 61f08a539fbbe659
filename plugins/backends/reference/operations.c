/* plugins/backends/reference/operations.c: every operation as one obvious loop in fp64, the truth for tests.
 *
 * Each function is the formula of program.h and nothing else: no blocking, no threads, no reuse of partial results.
 * An index outside its table reads (and, in gradients, adds to) row 0; a label outside its row gives a loss that is not a
 * number, so that it is noticed.
 */
#include "operations.h"

#include "../common/bf16.h"

#include <math.h>

static const double SQRT1_2 = 0.70710678118654752440, INV_SQRT_2PI = 0.39894228040143267794;

static double *real(const operand *o)
{
    return o->data;
}

static void put(double *at, int accumulate, double value)
{
    *at = accumulate ? *at + value : value;
}

static double activate(int32_t kind, double x)
{
    switch (kind) {
    case PRN_ACT_GELU: return 0.5 * x * erfc(-x * SQRT1_2);
    case PRN_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    default: return x;
    }
}

static double activate_slope(int32_t kind, double x)
{
    double s;
    switch (kind) {
    case PRN_ACT_GELU: return 0.5 * erfc(-x * SQRT1_2) + x * INV_SQRT_2PI * exp(-0.5 * x * x);
    case PRN_ACT_QUICK_GELU:
        s = 1 / (1 + exp(-1.702 * x));
        return s * (1 + 1.702 * x * (1 - s));
    default: return 1;
    }
}

static int64_t row_or_zero(int32_t id, int64_t rows)
{
    return id >= 0 && id < rows ? id : 0;
}

static void patches(const operation *v)
{
    const uint8_t *images = v->in[0].data;
    double *y = real(&v->out[0]);
    const int64_t p = v->op->attrs.patch, side = v->k, across = side / p;
    for (int64_t row = 0; row < v->m; row++) {
        const int64_t item = row / v->per_item, patch = row % v->per_item, top = patch / across * p, left = patch % across * p;
        for (int64_t c = 0; c < 3; c++) {
            for (int64_t i = 0; i < p; i++) {
                for (int64_t j = 0; j < p; j++) {
                    const double pixel = images[((item * side + top + i) * side + left + j) * 3 + c];
                    y[row * v->n + (c * p + i) * p + j] = (pixel / 255 - v->op->attrs.mean[c]) / v->op->attrs.std[c];
                }
            }
        }
    }
}

static double weight(const operation *v, const operand *w, int64_t n, int64_t k)
{
    return v->op->attrs.transpose_w ? real(w)[k * v->n + n] : real(w)[n * v->k + k];
}

static void linear(const operation *v)
{
    const double *x = real(&v->in[0]), *bias = real(&v->in[2]), *residual = real(&v->in[3]);
    double *y = real(&v->out[0]), *pre = real(&v->out[1]);
    for (int64_t m = 0; m < v->m; m++) {
        for (int64_t n = 0; n < v->n; n++) {
            double sum = bias != NULL ? bias[n] : 0;
            for (int64_t k = 0; k < v->k; k++) {
                sum += x[m * v->k + k] * weight(v, &v->in[1], n, k);
            }
            if (pre != NULL) {
                pre[m * v->n + n] = sum;
            }
            y[m * v->n + n] = activate(v->op->attrs.activation, sum) + (residual != NULL ? residual[m * v->n + n] : 0);
        }
    }
}

static void linear_grad_x(const operation *v)
{
    const double *dpre = real(&v->in[0]);
    for (int64_t m = 0; m < v->m; m++) {
        for (int64_t k = 0; k < v->k; k++) {
            double sum = 0;
            for (int64_t n = 0; n < v->n; n++) {
                sum += dpre[m * v->n + n] * weight(v, &v->in[1], n, k);
            }
            put(&real(&v->out[0])[m * v->k + k], v->op->attrs.accumulate, sum);
        }
    }
}

static void linear_grad_w(const operation *v)
{
    const double *dpre = real(&v->in[0]), *x = real(&v->in[1]);
    double *dw = real(&v->out[0]), *dbias = real(&v->out[1]);
    for (int64_t n = 0; n < v->n; n++) {
        for (int64_t k = 0; k < v->k && dw != NULL; k++) {
            double sum = 0;
            for (int64_t m = 0; m < v->m; m++) {
                sum += dpre[m * v->n + n] * x[m * v->k + k];
            }
            put(&dw[v->op->attrs.transpose_w ? k * v->n + n : n * v->k + k], v->op->attrs.accumulate, sum);
        }
        if (dbias != NULL) {
            double sum = 0;
            for (int64_t m = 0; m < v->m; m++) {
                sum += dpre[m * v->n + n];
            }
            put(&dbias[n], v->op->attrs.accumulate, sum);
        }
    }
}

static void layer_norm(const operation *v)
{
    const double *gain = real(&v->in[1]), *bias = real(&v->in[2]);
    for (int64_t m = 0; m < v->m; m++) {
        const double *x = real(&v->in[0]) + m * v->n;
        double mean = 0, variance = 0;
        for (int64_t c = 0; c < v->n; c++) {
            mean += x[c] / (double)v->n;
        }
        for (int64_t c = 0; c < v->n; c++) {
            variance += (x[c] - mean) * (x[c] - mean) / (double)v->n;
        }
        const double rstd = 1 / sqrt(variance + v->op->attrs.epsilon);
        for (int64_t c = 0; c < v->n; c++) {
            real(&v->out[0])[m * v->n + c] = (x[c] - mean) * rstd * gain[c] + bias[c];
        }
        if (v->out[1].data != NULL) {
            real(&v->out[1])[m] = mean;
        }
        if (v->out[2].data != NULL) {
            real(&v->out[2])[m] = rstd;
        }
    }
}

static void layer_norm_grad(const operation *v)
{
    const double *gain = real(&v->in[2]);
    double *dx = real(&v->out[0]), *dgain = real(&v->out[1]), *dbias = real(&v->out[2]);
    for (int64_t m = 0; m < v->m; m++) {
        const double *dy = real(&v->in[0]) + m * v->n, *x = real(&v->in[1]) + m * v->n;
        const double mean = real(&v->in[3])[m], rstd = real(&v->in[4])[m];
        double sum = 0, sum_hat = 0;
        for (int64_t c = 0; c < v->n; c++) {
            sum += dy[c] * gain[c];
            sum_hat += dy[c] * gain[c] * (x[c] - mean) * rstd;
        }
        for (int64_t c = 0; c < v->n; c++) {
            const double hat = (x[c] - mean) * rstd, d = dy[c];
            if (dgain != NULL) {
                dgain[c] += d * hat;
            }
            if (dbias != NULL) {
                dbias[c] += d;
            }
            if (dx != NULL) {
                put(&dx[m * v->n + c], v->op->attrs.accumulate, rstd * (d * gain[c] - (sum + hat * sum_hat) / (double)v->n));
            }
        }
    }
}

/* Row group `item`: [*first, *end). */
static void group(const operation *v, const operand *offsets, int64_t item, int64_t *first, int64_t *end)
{
    if (v->per_item > 0) {
        *first = item * v->per_item;
        *end = *first + v->per_item;
    } else {
        *first = ((const int32_t *)offsets->data)[item];
        *end = ((const int32_t *)offsets->data)[item + 1];
    }
}

static double score(const operation *v, const double *qkv, int64_t head, int64_t i, int64_t j)
{
    const int64_t width = v->head_width, c = v->n;
    double sum = 0;
    for (int64_t d = 0; d < width; d++) {
        sum += qkv[i * 3 * c + head * width + d] * qkv[j * 3 * c + c + head * width + d];
    }
    return sum / sqrt((double)width);
}

static void attention(const operation *v)
{
    const double *qkv = real(&v->in[0]);
    double *y = real(&v->out[0]), *lse = real(&v->out[1]);
    const int64_t c = v->n, width = v->head_width;
    for (int64_t item = 0; item < v->items; item++) {
        int64_t first, end;
        group(v, &v->in[1], item, &first, &end);
        for (int64_t head = 0; head < v->heads; head++) {
            for (int64_t i = first; i < end; i++) {
                const int64_t last = v->op->attrs.causal ? i + 1 : end;
                double most = -INFINITY, total = 0;
                for (int64_t j = first; j < last; j++) {
                    most = fmax(most, score(v, qkv, head, i, j));
                }
                for (int64_t d = 0; d < width; d++) {
                    y[i * c + head * width + d] = 0;
                }
                for (int64_t j = first; j < last; j++) {
                    const double e = exp(score(v, qkv, head, i, j) - most);
                    total += e;
                    for (int64_t d = 0; d < width; d++) {
                        y[i * c + head * width + d] += e * qkv[j * 3 * c + 2 * c + head * width + d];
                    }
                }
                for (int64_t d = 0; d < width; d++) {
                    y[i * c + head * width + d] /= total;
                }
                if (lse != NULL) {
                    lse[i * v->heads + head] = most + log(total);
                }
            }
        }
    }
}

static void attention_grad(const operation *v)
{
    const double *dy = real(&v->in[0]), *qkv = real(&v->in[1]), *y = real(&v->in[2]), *lse = real(&v->in[3]);
    double *dqkv = real(&v->out[0]);
    const int64_t c = v->n, width = v->head_width;
    const double scale = 1 / sqrt((double)width);
    if (!v->op->attrs.accumulate) {
        memset(dqkv, 0, (size_t)v->out[0].elements * sizeof *dqkv);
    }
    for (int64_t item = 0; item < v->items; item++) {
        int64_t first, end;
        group(v, &v->in[4], item, &first, &end);
        for (int64_t head = 0; head < v->heads; head++) {
            for (int64_t i = first; i < end; i++) {
                const int64_t last = v->op->attrs.causal ? i + 1 : end, at_i = head * width;
                double delta = 0;
                for (int64_t d = 0; d < width; d++) {
                    delta += dy[i * c + at_i + d] * y[i * c + at_i + d];
                }
                for (int64_t j = first; j < last; j++) {
                    const double p = exp(score(v, qkv, head, i, j) - lse[i * v->heads + head]);
                    double dp = 0;
                    for (int64_t d = 0; d < width; d++) {
                        dp += dy[i * c + at_i + d] * qkv[j * 3 * c + 2 * c + at_i + d];
                    }
                    const double ds = p * (dp - delta) * scale;
                    for (int64_t d = 0; d < width; d++) {
                        dqkv[i * 3 * c + at_i + d] += ds * qkv[j * 3 * c + c + at_i + d];
                        dqkv[j * 3 * c + c + at_i + d] += ds * qkv[i * 3 * c + at_i + d];
                        dqkv[j * 3 * c + 2 * c + at_i + d] += p * dy[i * c + at_i + d];
                    }
                }
            }
        }
    }
}

static double read_score(const operation *v, const double *q, const double *kv, int64_t item, int64_t head, int64_t j)
{
    double sum = 0;
    for (int64_t d = head * v->head_width; d < (head + 1) * v->head_width; d++) {
        sum += q[item * v->n + d] * kv[j * 2 * v->n + d];
    }
    return sum / sqrt((double)v->head_width);
}

/* The log-sum-exp of what query `item` sees. */
static double read_lse(const operation *v, const double *q, const double *kv, int64_t item, int64_t head, int64_t first, int64_t seen)
{
    double most = -INFINITY, total = 0;
    for (int64_t j = first; j < seen; j++) {
        most = fmax(most, read_score(v, q, kv, item, head, j));
    }
    for (int64_t j = first; j < seen; j++) {
        total += exp(read_score(v, q, kv, item, head, j) - most);
    }
    return most + log(total);
}

static void read_attention(const operation *v)
{
    const double *q = real(&v->in[0]), *kv = real(&v->in[1]);
    double *y = real(&v->out[0]);
    const int64_t c = v->n;
    memset(y, 0, (size_t)v->out[0].elements * sizeof *y);
    for (int64_t item = 0; item < v->k; item++) {
        int64_t first, end, seen;
        read_group(v, item, &first, &end, &seen);
        for (int64_t head = 0; head < v->heads; head++) {
            const double lse = read_lse(v, q, kv, item, head, first, seen);
            for (int64_t j = first; j < seen; j++) {
                const double p = exp(read_score(v, q, kv, item, head, j) - lse);
                for (int64_t d = head * v->head_width; d < (head + 1) * v->head_width; d++) {
                    y[item * c + d] += p * kv[j * 2 * c + c + d];
                }
            }
        }
    }
}

static double read_value_gradient(const operation *v, const double *dy, const double *kv, int64_t item, int64_t head, int64_t j)
{
    double sum = 0;
    for (int64_t d = head * v->head_width; d < (head + 1) * v->head_width; d++) {
        sum += dy[item * v->n + d] * kv[j * 2 * v->n + v->n + d];
    }
    return sum;
}

static void read_attention_grad(const operation *v)
{
    const double *dy = real(&v->in[0]), *q = real(&v->in[1]), *kv = real(&v->in[2]);
    double *dq = real(&v->out[0]), *dkv = real(&v->out[1]);
    const int64_t c = v->n;
    const double scale = 1 / sqrt((double)v->head_width);
    for (int k = 0; k < 2 && !v->op->attrs.accumulate; k++) {
        if (v->out[k].data != NULL) {
            memset(v->out[k].data, 0, (size_t)v->out[k].elements * sizeof(double));
        }
    }
    for (int64_t item = 0; item < v->k; item++) {
        int64_t first, end, seen;
        read_group(v, item, &first, &end, &seen);
        for (int64_t head = 0; head < v->heads; head++) {
            const double lse = read_lse(v, q, kv, item, head, first, seen);
            double delta = 0;
            for (int64_t j = first; j < seen; j++) {
                delta += exp(read_score(v, q, kv, item, head, j) - lse) * read_value_gradient(v, dy, kv, item, head, j);
            }
            for (int64_t j = first; j < seen; j++) {
                const double p = exp(read_score(v, q, kv, item, head, j) - lse);
                const double ds = p * (read_value_gradient(v, dy, kv, item, head, j) - delta) * scale;
                for (int64_t d = head * v->head_width; d < (head + 1) * v->head_width; d++) {
                    if (dq != NULL) {
                        dq[item * c + d] += ds * kv[j * 2 * c + d];
                    }
                    if (dkv != NULL) {
                        dkv[j * 2 * c + d] += ds * q[item * c + d];
                        dkv[j * 2 * c + c + d] += p * dy[item * c + d];
                    }
                }
            }
        }
    }
}

static void lookup(const operation *v)
{
    const int32_t *ids = v->in[0].data;
    const double *table = real(&v->in[1]), *residual = real(&v->in[2]);
    for (int64_t m = 0; m < v->m; m++) {
        for (int64_t c = 0; c < v->n; c++) {
            real(&v->out[0])[m * v->n + c] = table[row_or_zero(ids[m], v->k) * v->n + c] + (residual != NULL ? residual[m * v->n + c] : 0);
        }
    }
}

static void lookup_grad(const operation *v)
{
    const int32_t *ids = v->in[1].data;
    for (int64_t m = 0; m < v->m; m++) {
        for (int64_t c = 0; c < v->n; c++) {
            real(&v->out[0])[row_or_zero(ids[m], v->k) * v->n + c] += real(&v->in[0])[m * v->n + c];
        }
    }
}

static void class_rows(const operation *v)
{
    const double *x = real(&v->in[0]), *class_row = real(&v->in[1]), *positions = real(&v->in[2]);
    const int64_t t = v->per_item + 1;
    for (int64_t row = 0; row < v->items * t; row++) {
        const int64_t item = row / t, at = row % t;
        for (int64_t c = 0; c < v->n; c++) {
            const double base = at == 0 ? class_row[c] : x[(item * v->per_item + at - 1) * v->n + c];
            real(&v->out[0])[row * v->n + c] = base + positions[at * v->n + c];
        }
    }
}

static void class_rows_grad(const operation *v)
{
    double *dpatches = real(&v->out[0]), *dclass = real(&v->out[1]), *dpositions = real(&v->out[2]);
    const int64_t t = v->per_item + 1;
    for (int64_t row = 0; row < v->items * t; row++) {
        const int64_t item = row / t, at = row % t;
        for (int64_t c = 0; c < v->n; c++) {
            const double d = real(&v->in[0])[row * v->n + c];
            if (dpositions != NULL) {
                dpositions[at * v->n + c] += d;
            }
            if (at == 0 && dclass != NULL) {
                dclass[c] += d;
            }
            if (at > 0 && dpatches != NULL) {
                put(&dpatches[(item * v->per_item + at - 1) * v->n + c], v->op->attrs.accumulate, d);
            }
        }
    }
}

static int64_t gathered(const operation *v, int64_t b)
{
    const int32_t *rows = v->in[1].data;
    return rows != NULL ? row_or_zero(rows[b], v->k) : b * v->op->attrs.stride;
}

static void gather_rows(const operation *v)
{
    for (int64_t b = 0; b < v->m; b++) {
        for (int64_t c = 0; c < v->n; c++) {
            real(&v->out[0])[b * v->n + c] = real(&v->in[0])[gathered(v, b) * v->n + c];
        }
    }
}

static void gather_rows_grad(const operation *v)
{
    double *dx = real(&v->out[0]);
    if (!v->op->attrs.accumulate) {
        memset(dx, 0, (size_t)v->out[0].elements * sizeof *dx);
    }
    for (int64_t b = 0; b < v->m; b++) {
        for (int64_t c = 0; c < v->n; c++) {
            dx[gathered(v, b) * v->n + c] += real(&v->in[0])[b * v->n + c];
        }
    }
}

static void l2_normalise(const operation *v)
{
    for (int64_t m = 0; m < v->m; m++) {
        double sum = 0;
        for (int64_t c = 0; c < v->n; c++) {
            sum += real(&v->in[0])[m * v->n + c] * real(&v->in[0])[m * v->n + c];
        }
        const double rnorm = 1 / fmax(sqrt(sum), 1e-12);
        for (int64_t c = 0; c < v->n; c++) {
            real(&v->out[0])[m * v->n + c] = real(&v->in[0])[m * v->n + c] * rnorm;
        }
        if (v->out[1].data != NULL) {
            real(&v->out[1])[m] = rnorm;
        }
    }
}

static void l2_normalise_grad(const operation *v)
{
    for (int64_t m = 0; m < v->m; m++) {
        const double *dy = real(&v->in[0]) + m * v->n, *y = real(&v->in[1]) + m * v->n;
        double dot = 0;
        for (int64_t c = 0; c < v->n; c++) {
            dot += dy[c] * y[c];
        }
        for (int64_t c = 0; c < v->n; c++) {
            put(&real(&v->out[0])[m * v->n + c], v->op->attrs.accumulate, (dy[c] - y[c] * dot) * real(&v->in[2])[m]);
        }
    }
}

static double scale_of(const operand *log_scale)
{
    return log_scale->data != NULL ? exp(real(log_scale)[0]) : 1;
}

static void similarity(const operation *v)
{
    for (int64_t r = 0; r < v->m; r++) {
        for (int64_t m = 0; m < v->n; m++) {
            double sum = 0;
            for (int64_t e = 0; e < v->k; e++) {
                sum += real(&v->in[0])[r * v->k + e] * real(&v->in[1])[m * v->k + e];
            }
            real(&v->out[0])[r * v->n + m] = scale_of(&v->in[2]) * sum;
        }
    }
}

static void similarity_grad(const operation *v)
{
    const double *dy = real(&v->in[0]), *a = real(&v->in[1]), *b = real(&v->in[2]), *y = real(&v->in[3]);
    const double scale = scale_of(&v->in[4]);
    double *da = real(&v->out[0]), *db = real(&v->out[1]), *dlog_scale = real(&v->out[2]);
    for (int64_t r = 0; r < v->m && da != NULL; r++) {
        for (int64_t e = 0; e < v->k; e++) {
            double sum = 0;
            for (int64_t m = 0; m < v->n; m++) {
                sum += dy[r * v->n + m] * b[m * v->k + e];
            }
            put(&da[r * v->k + e], v->op->attrs.accumulate, scale * sum);
        }
    }
    for (int64_t m = 0; m < v->n && db != NULL; m++) {
        for (int64_t e = 0; e < v->k; e++) {
            double sum = 0;
            for (int64_t r = 0; r < v->m; r++) {
                sum += dy[r * v->n + m] * a[r * v->k + e];
            }
            db[m * v->k + e] += scale * sum;
        }
    }
    for (int64_t i = 0; i < v->m * v->n && dlog_scale != NULL; i++) {
        *dlog_scale += dy[i] * y[i];
    }
}

/* log sum exp of x[0..n)/tau */
static double log_sum_exp(const double *x, int64_t n, double tau)
{
    double most = -INFINITY, total = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, x[i] / tau);
    }
    for (int64_t i = 0; i < n; i++) {
        total += exp(x[i] / tau - most);
    }
    return n > 0 ? most + log(total) : -INFINITY;
}

static void cross_entropy(const operation *v)
{
    const int32_t *labels = v->in[1].data;
    for (int64_t r = 0; r < v->m; r++) {
        const double *x = real(&v->in[0]) + r * v->n;
        const double lse = log_sum_exp(x, v->n, 1);
        if (v->out[0].data != NULL) {
            real(&v->out[0])[r] = labels[r] >= 0 && labels[r] < v->n ? lse - x[labels[r]] : (double)NAN;
        }
        if (v->out[1].data != NULL) {
            real(&v->out[1])[r] = lse;
        }
    }
}

static void cross_entropy_grad(const operation *v)
{
    const int32_t *labels = v->in[2].data;
    for (int64_t r = 0; r < v->m; r++) {
        for (int64_t m = 0; m < v->n; m++) {
            const double p = exp(real(&v->in[1])[r * v->n + m] - real(&v->in[3])[r]);
            put(&real(&v->out[0])[r * v->n + m], v->op->attrs.accumulate, real(&v->in[0])[r] * (p - (labels[r] == m ? 1 : 0)));
        }
    }
}

static void soft_cross_entropy(const operation *v)
{
    const double tau = v->op->attrs.alpha;
    for (int64_t r = 0; r < v->m; r++) {
        const double *x = real(&v->in[0]) + r * v->n, *target = real(&v->in[1]) + r * v->n;
        const double lse = log_sum_exp(x, v->n, tau), target_lse = log_sum_exp(target, v->n, tau);
        double kl = 0;
        for (int64_t m = 0; m < v->n; m++) {
            const double log_p = target[m] / tau - target_lse;
            kl += exp(log_p) * (log_p - (x[m] / tau - lse));
        }
        if (v->out[0].data != NULL) {
            real(&v->out[0])[r] = kl;
        }
        if (v->out[1].data != NULL) {
            real(&v->out[1])[r] = lse;
        }
        if (v->out[2].data != NULL) {
            real(&v->out[2])[r] = target_lse;
        }
    }
}

static void soft_cross_entropy_grad(const operation *v)
{
    const double tau = v->op->attrs.alpha;
    for (int64_t r = 0; r < v->m; r++) {
        for (int64_t m = 0; m < v->n; m++) {
            const int64_t at = r * v->n + m;
            const double q = exp(real(&v->in[1])[at] / tau - real(&v->in[3])[r]), p = exp(real(&v->in[2])[at] / tau - real(&v->in[4])[r]);
            put(&real(&v->out[0])[at], v->op->attrs.accumulate, real(&v->in[0])[r] * (q - p) / tau);
        }
    }
}

static void adamw(const operation *v)
{
    const prn_op_attrs *a = &v->op->attrs;
    const double *g = real(&v->in[0]), *hyper = real(&v->in[1]);
    const int is_bf16 = v->out[1].type == PRN_BF16;
    double *p = real(&v->out[0]), *real1 = real(&v->out[1]), *real2 = real(&v->out[2]);
    uint16_t *half1 = v->out[1].data, *half2 = v->out[2].data;
    const uint8_t *rows = v->in[2].data;
    for (int64_t i = 0; i < v->m; i++) {
        if (rows != NULL && (rows[i / v->out[0].columns] & PRN_ROW_LATER) != 0) {
            continue;
        }
        const double gradient = g[i] * hyper[3];
        const double m1 = a->alpha * (is_bf16 ? bf16_value(half1[i]) : real1[i]) + (1 - a->alpha) * gradient;
        const double m2 = a->beta * (is_bf16 ? bf16_value(half2[i]) : real2[i]) + (1 - a->beta) * gradient * gradient;
        p[i] *= 1 - hyper[0] * a->decay;
        p[i] -= hyper[0] * (m1 * hyper[1]) / (sqrt(m2 * hyper[2]) + a->epsilon);
        if (is_bf16) {
            const uint32_t chance = bf16_mix((uint32_t)(v->out[1].first + i) ^ bf16_mix((uint32_t)hyper[4]));
            half1[i] = bf16_by_chance((float)m1, chance & 0xffffu);
            half2[i] = bf16_by_chance((float)m2, chance >> 16);
        } else {
            real1[i] = m1;
            real2[i] = m2;
        }
    }
}

static void decay_rows(const operation *v)
{
    const double *lr = real(&v->in[0]);
    const uint8_t *rows = v->in[1].data;
    double *p = real(&v->out[0]);
    for (int64_t i = 0; i < v->m; i++) {
        for (int64_t k = 0; k < v->in[0].elements && (rows[i / v->out[0].columns] & PRN_ROW_DUE) != 0; k++) {
            p[i] *= 1 - lr[k] * v->op->attrs.decay;
        }
    }
}

static void element_wise(const operation *v)
{
    const prn_op_attrs *at = &v->op->attrs;
    const double *a = real(&v->in[0]), *b = real(&v->in[1]);
    double *y = real(&v->out[0]);
    const double scalar = v->op->kind == PRN_OP_MULTIPLY && v->in[1].rank == 0 ? b[0] : 0;
    for (int64_t i = 0; i < v->m; i++) {
        switch (v->op->kind) {
        case PRN_OP_ACTIVATION: y[i] = activate(at->activation, a[i]); break;
        case PRN_OP_ACTIVATION_GRAD: put(&y[i], at->accumulate, a[i] * activate_slope(at->activation, b[i])); break;
        case PRN_OP_AXPBY: y[i] = at->alpha * a[i] + (b != NULL ? at->beta * b[i] : 0); break;
        case PRN_OP_MULTIPLY: y[i] = a[i] * (v->in[1].rank == 0 ? scalar : b[i]); break;
        case PRN_OP_EXP: y[i] = exp(a[i]); break;
        case PRN_OP_FILL: y[i] = at->alpha; break;
        case PRN_OP_CLAMP: y[i] = a[i] < at->alpha ? at->alpha : a[i] > at->beta ? at->beta : a[i]; break;
        case PRN_OP_BROADCAST: put(&y[i], at->accumulate, at->alpha * a[0]); break;
        default: break;
        }
    }
}

static void reduce(const operation *v)
{
    const double *a = real(&v->in[0]), *b = real(&v->in[1]);
    double sum = 0;
    for (int64_t i = 0; i < v->m; i++) {
        sum += b != NULL ? a[i] * b[i] : a[i];
    }
    real(&v->out[0])[0] = sum;
}

static prn_status items_of(const operation *v, int64_t *items, prn_error *error)
{
    const int at = offsets_input(v->op->kind);
    *items = v->items;
    return at >= 0 && v->per_item == 0 ? ragged_items(v->in[at].data, v->in[at].elements, v->m, items, error) : PRN_OK;
}

prn_status reference_check(const operation *v, prn_error *error)
{
    int64_t items;
    return items_of(v, &items, error);
}

prn_status reference_run(const operation *given, prn_error *error)
{
    operation with_items = *given;
    const operation *const v = &with_items;
    prn_status status = items_of(given, &with_items.items, error);
    if (status != PRN_OK) {
        return status;
    }
    switch (v->op->kind) {
    case PRN_OP_PATCHES: patches(v); break;
    case PRN_OP_LINEAR: linear(v); break;
    case PRN_OP_LAYER_NORM: layer_norm(v); break;
    case PRN_OP_ATTENTION: attention(v); break;
    case PRN_OP_LOOKUP: lookup(v); break;
    case PRN_OP_CLASS_ROWS: class_rows(v); break;
    case PRN_OP_GATHER_ROWS: gather_rows(v); break;
    case PRN_OP_L2_NORMALISE: l2_normalise(v); break;
    case PRN_OP_SIMILARITY: similarity(v); break;
    case PRN_OP_CROSS_ENTROPY: cross_entropy(v); break;
    case PRN_OP_SOFT_CROSS_ENTROPY: soft_cross_entropy(v); break;
    case PRN_OP_READ_ATTENTION: read_attention(v); break;
    case PRN_OP_SUM:
    case PRN_OP_DOT: reduce(v); break;
    case PRN_OP_LINEAR_GRAD_X: linear_grad_x(v); break;
    case PRN_OP_LINEAR_GRAD_W: linear_grad_w(v); break;
    case PRN_OP_LAYER_NORM_GRAD: layer_norm_grad(v); break;
    case PRN_OP_ATTENTION_GRAD: attention_grad(v); break;
    case PRN_OP_LOOKUP_GRAD: lookup_grad(v); break;
    case PRN_OP_CLASS_ROWS_GRAD: class_rows_grad(v); break;
    case PRN_OP_GATHER_ROWS_GRAD: gather_rows_grad(v); break;
    case PRN_OP_L2_NORMALISE_GRAD: l2_normalise_grad(v); break;
    case PRN_OP_SIMILARITY_GRAD: similarity_grad(v); break;
    case PRN_OP_CROSS_ENTROPY_GRAD: cross_entropy_grad(v); break;
    case PRN_OP_SOFT_CROSS_ENTROPY_GRAD: soft_cross_entropy_grad(v); break;
    case PRN_OP_READ_ATTENTION_GRAD: read_attention_grad(v); break;
    case PRN_OP_ADAMW: adamw(v); break;
    case PRN_OP_DECAY_ROWS: decay_rows(v); break;
    default: element_wise(v); break;
    }
    return PRN_OK;
}
