/* tests/backends/test_gradients.c: every gradient operation of `reference` against central finite differences of its forward operation.
 *
 * The loss is a fixed random combination of one forward output, so its gradient by that output is the combination's weights. Central
 * differences in fp64 are good to about 1e-9 here; the tolerance is 1e-6 of the largest gradient.
 */
#include "backends/support.h"

enum { IN = 5, OUT = 3 };

typedef struct forward {
    rig r;
    double *in[IN];
    int32_t *integers[IN];
    double *weights; /* of output 0 */
    double *y[OUT];
} forward;

static bench shared;

static int open_shared(void **state)
{
    (void)state;
    (void)bench_open(&shared, 1, NULL);
    return 0;
}

static int close_shared(void **state)
{
    (void)state;
    bench_close(&shared);
    return 0;
}

static void begin(forward *f, uint32_t kind)
{
    memset(f, 0, sizeof *f);
    rig_init(&f->r, &shared.reference, kind);
}

static void give(forward *f, int i, int64_t rows, int64_t columns)
{
    rig_operand(&f->r, i, PRN_REAL, rows, columns, -1, -1);
    if (i < IN) {
        const int64_t n = rig_elements(&f->r, i);
        f->in[i] = prn__alloc_array((size_t)n, sizeof(double));
        for (int64_t e = 0; e < n; e++) {
            f->in[i][e] = 0.7 * prn__rng_normal(11, PRN__RNG_INIT, (uint64_t)i, (uint64_t)e);
        }
    }
}

static void give_integers(forward *f, int i, const int32_t *values, int64_t n)
{
    rig_operand(&f->r, i, PRN_I32, n, -1, -1, -1);
    f->integers[i] = prn__alloc_array((size_t)n, sizeof(int32_t));
    memcpy(f->integers[i], values, (size_t)n * sizeof *values);
}

static void ready(forward *f)
{
    prn_error error = PRN_ERROR_INIT;
    if (rig_compile(&f->r, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    for (int k = 0; k < OUT; k++) {
        if (f->r.op.output[k] != PRN_NO_TENSOR) {
            f->y[k] = prn__alloc_array((size_t)rig_elements(&f->r, IN + k) + 1, sizeof(double));
        }
    }
    const int64_t n = rig_elements(&f->r, IN);
    f->weights = prn__alloc_array((size_t)n + 1, sizeof(double));
    for (int64_t e = 0; e < n; e++) {
        f->weights[e] = prn__rng_normal(12, PRN__RNG_INIT, 0, (uint64_t)e);
    }
}

static double loss(forward *f)
{
    prn_error error = PRN_ERROR_INIT;
    double total = 0;
    for (int i = 0; i < IN; i++) {
        if (f->in[i] != NULL) {
            rig_write(&f->r, i, PRN_HOST_F64, f->in[i]);
        } else if (f->integers[i] != NULL) {
            rig_write(&f->r, i, PRN_HOST_I32, f->integers[i]);
        }
    }
    if (rig_run(&f->r, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    for (int k = 0; k < OUT; k++) {
        if (f->y[k] != NULL) {
            rig_read(&f->r, IN + k, PRN_HOST_F64, f->y[k]);
        }
    }
    for (int64_t e = 0; e < rig_elements(&f->r, IN); e++) {
        total += f->weights[e] * f->y[0][e];
    }
    return total;
}

static void end(forward *f)
{
    for (int i = 0; i < IN; i++) {
        prn__free(f->in[i]);
        prn__free(f->integers[i]);
    }
    for (int k = 0; k < OUT; k++) {
        prn__free(f->y[k]);
    }
    prn__free(f->weights);
    rig_fini(&f->r);
}

/* d loss / d input i, by differences, against `got`, which started from `before` (NULL: zero). */
static void check(forward *f, int i, const double *got, const double *before, const char *what)
{
    const int64_t n = rig_elements(&f->r, i);
    double worst = 0, scale = 0;
    for (int64_t e = 0; e < n; e++) {
        const double x = f->in[i][e], h = 1e-5;
        f->in[i][e] = x + h;
        const double up = loss(f);
        f->in[i][e] = x - h;
        const double down = loss(f);
        f->in[i][e] = x;
        const double want = (up - down) / (2 * h) + (before != NULL ? before[e] : 0);
        scale = fmax(scale, fabs(want));
        worst = fmax(worst, fabs(want - got[e]));
    }
    if (!(worst <= 1e-6 * scale) || scale == 0) {
        fail_msg("%s: gradient differs by %g, largest is %g", what, worst, scale);
    }
}

/* Runs the gradient operation `kind`: operand i of it is `from[i]` (shape from rig/operand) with the given doubles or integers. */
typedef struct backward {
    rig r;
    double *out[OUT], *before[OUT];
} backward;

static void grad_begin(backward *g, uint32_t kind, const prn_op_attrs *attrs)
{
    memset(g, 0, sizeof *g);
    rig_init(&g->r, &shared.reference, kind);
    g->r.op.attrs = *attrs;
}

static void grad_shape(backward *g, int i, const forward *f, int of)
{
    const prn_tensor *t = &f->r.tensors[of];
    int64_t d[4];
    for (uint32_t k = 0; k < 4; k++) {
        d[k] = k < t->rank ? t->dim[k].fixed : -1;
    }
    rig_operand(&g->r, i, (prn_type)t->type, d[0], d[1], d[2], d[3]);
}

static void grad_ready(backward *g, int accumulate)
{
    prn_error error = PRN_ERROR_INIT;
    g->r.op.attrs.accumulate = accumulate;
    if (rig_compile(&g->r, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    for (int k = 0; k < OUT; k++) {
        if (g->r.op.output[k] != PRN_NO_TENSOR) {
            const int64_t n = rig_elements(&g->r, IN + k);
            g->out[k] = prn__alloc_array((size_t)n + 1, sizeof(double));
            g->before[k] = prn__alloc_array((size_t)n + 1, sizeof(double));
            for (int64_t e = 0; e < n; e++) {
                g->before[k][e] = prn__rng_normal(13, PRN__RNG_INIT, (uint64_t)k, (uint64_t)e);
            }
            rig_write(&g->r, IN + k, PRN_HOST_F64, g->before[k]);
        }
    }
}

static void grad_run(backward *g)
{
    prn_error error = PRN_ERROR_INIT;
    if (rig_run(&g->r, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    for (int k = 0; k < OUT; k++) {
        if (g->out[k] != NULL) {
            rig_read(&g->r, IN + k, PRN_HOST_F64, g->out[k]);
        }
    }
}

static void grad_end(backward *g)
{
    for (int k = 0; k < OUT; k++) {
        prn__free(g->out[k]);
        prn__free(g->before[k]);
    }
    rig_fini(&g->r);
}

static const double *base(const backward *g, int k)
{
    return g->r.op.attrs.accumulate ? g->before[k] : NULL;
}

static void linear(void **state)
{
    (void)state;
    for (int form = 0; form < 12; form++) {
        const int transposed = form % 2, accumulate = form / 2 % 2, activation = form / 4;
        forward f;
        begin(&f, PRN_OP_LINEAR);
        f.r.op.attrs.transpose_w = transposed;
        f.r.op.attrs.activation = activation;
        give(&f, 0, 4, 5);
        give(&f, 1, transposed ? 5 : 3, transposed ? 3 : 5);
        give(&f, 2, 3, -1);
        give(&f, 5, 4, 3);
        give(&f, 6, 4, 3);
        ready(&f);
        (void)loss(&f);
        backward a, x, w;
        grad_begin(&a, PRN_OP_ACTIVATION_GRAD, &f.r.op.attrs);
        grad_shape(&a, 0, &f, 5);
        grad_shape(&a, 1, &f, 6);
        grad_shape(&a, 5, &f, 5);
        grad_ready(&a, 0);
        rig_write(&a.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&a.r, 1, PRN_HOST_F64, f.y[1]);
        grad_run(&a);
        grad_begin(&x, PRN_OP_LINEAR_GRAD_X, &f.r.op.attrs);
        grad_shape(&x, 0, &f, 5);
        grad_shape(&x, 1, &f, 1);
        grad_shape(&x, 5, &f, 0);
        grad_ready(&x, accumulate);
        rig_write(&x.r, 0, PRN_HOST_F64, a.out[0]);
        rig_write(&x.r, 1, PRN_HOST_F64, f.in[1]);
        grad_run(&x);
        check(&f, 0, x.out[0], base(&x, 0), "linear_grad_x");
        grad_begin(&w, PRN_OP_LINEAR_GRAD_W, &f.r.op.attrs);
        grad_shape(&w, 0, &f, 5);
        grad_shape(&w, 1, &f, 0);
        grad_shape(&w, 5, &f, 1);
        grad_shape(&w, 6, &f, 2);
        grad_ready(&w, accumulate);
        rig_write(&w.r, 0, PRN_HOST_F64, a.out[0]);
        rig_write(&w.r, 1, PRN_HOST_F64, f.in[0]);
        grad_run(&w);
        check(&f, 1, w.out[0], base(&w, 0), "linear_grad_w");
        check(&f, 2, w.out[1], base(&w, 1), "linear_grad_w, bias");
        grad_end(&a);
        grad_end(&x);
        grad_end(&w);
        end(&f);
    }
}

static void layer_norm(void **state)
{
    (void)state;
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        forward f;
        backward g;
        begin(&f, PRN_OP_LAYER_NORM);
        f.r.op.attrs.epsilon = 1e-3;
        give(&f, 0, 4, 6);
        give(&f, 1, 6, -1);
        give(&f, 2, 6, -1);
        give(&f, 5, 4, 6);
        give(&f, 6, 4, -1);
        give(&f, 7, 4, -1);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_LAYER_NORM_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 0);
        grad_shape(&g, 2, &f, 1);
        grad_shape(&g, 3, &f, 6);
        grad_shape(&g, 4, &f, 7);
        grad_shape(&g, 5, &f, 0);
        grad_shape(&g, 6, &f, 1);
        grad_shape(&g, 7, &f, 2);
        grad_ready(&g, accumulate);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_F64, f.in[0]);
        rig_write(&g.r, 2, PRN_HOST_F64, f.in[1]);
        rig_write(&g.r, 3, PRN_HOST_F64, f.y[1]);
        rig_write(&g.r, 4, PRN_HOST_F64, f.y[2]);
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "layer_norm_grad");
        check(&f, 1, g.out[1], g.before[1], "layer_norm_grad, gain");
        check(&f, 2, g.out[2], g.before[2], "layer_norm_grad, bias");
        grad_end(&g);
        end(&f);
    }
}

static void attention(void **state)
{
    static const int32_t offsets[] = {0, 3, 4, 4, 8};
    (void)state;
    for (int form = 0; form < 8; form++) {
        forward f;
        backward g;
        const int ragged = form % 2, causal = form / 2 % 2;
        begin(&f, PRN_OP_ATTENTION);
        f.r.op.attrs.heads = 2;
        f.r.op.attrs.causal = causal;
        f.r.op.attrs.positions = ragged ? 0 : 4;
        give(&f, 0, 8, 18);
        if (ragged) {
            give_integers(&f, 1, offsets, 5);
        }
        give(&f, 5, 8, 6);
        give(&f, 6, 8, 2);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_ATTENTION_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 0);
        grad_shape(&g, 2, &f, 5);
        grad_shape(&g, 3, &f, 6);
        if (ragged) {
            grad_shape(&g, 4, &f, 1);
        }
        grad_shape(&g, 5, &f, 0);
        grad_ready(&g, form / 4);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_F64, f.in[0]);
        rig_write(&g.r, 2, PRN_HOST_F64, f.y[0]);
        rig_write(&g.r, 3, PRN_HOST_F64, f.y[1]);
        if (ragged) {
            rig_write(&g.r, 4, PRN_HOST_I32, offsets);
        }
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "attention_grad");
        grad_end(&g);
        end(&f);
    }
}

static void read_attention(void **state)
{
    static const int32_t offsets[] = {0, 3, 4, 4, 8}, uniform[] = {1, 6}, read[] = {1, 3, 4, 7};
    (void)state;
    for (int form = 0; form < 8; form++) {
        forward f;
        backward g;
        const int ragged = form % 2, causal = form / 2 % 2, items = ragged ? 4 : 2;
        begin(&f, PRN_OP_READ_ATTENTION);
        f.r.op.attrs.heads = 2;
        f.r.op.attrs.causal = causal;
        f.r.op.attrs.positions = ragged ? 0 : 4;
        give(&f, 0, items, 6);
        give(&f, 1, 8, 12);
        if (ragged) {
            give_integers(&f, 2, offsets, 5);
        }
        if (causal) {
            give_integers(&f, 3, ragged ? read : uniform, items);
        }
        give(&f, 5, items, 6);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_READ_ATTENTION_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 0);
        grad_shape(&g, 2, &f, 1);
        if (ragged) {
            grad_shape(&g, 3, &f, 2);
        }
        if (causal) {
            grad_shape(&g, 4, &f, 3);
        }
        grad_shape(&g, 5, &f, 0);
        grad_shape(&g, 6, &f, 1);
        grad_ready(&g, form / 4);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_F64, f.in[0]);
        rig_write(&g.r, 2, PRN_HOST_F64, f.in[1]);
        if (ragged) {
            rig_write(&g.r, 3, PRN_HOST_I32, offsets);
        }
        if (causal) {
            rig_write(&g.r, 4, PRN_HOST_I32, ragged ? read : uniform);
        }
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "read_attention_grad, q");
        check(&f, 1, g.out[1], base(&g, 1), "read_attention_grad, kv");
        grad_end(&g);
        end(&f);
    }
}

static void rows(void **state)
{
    static const int32_t ids[] = {2, 0, 2, 1, 2};
    (void)state;
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        forward f;
        backward g;
        begin(&f, PRN_OP_LOOKUP);
        give_integers(&f, 0, ids, 5);
        give(&f, 1, 4, 3);
        give(&f, 2, 5, 3);
        give(&f, 5, 5, 3);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_LOOKUP_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 0);
        grad_shape(&g, 5, &f, 1);
        grad_ready(&g, accumulate);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_I32, ids);
        grad_run(&g);
        check(&f, 1, g.out[0], g.before[0], "lookup_grad");
        check(&f, 2, f.weights, NULL, "lookup's residual");
        grad_end(&g);
        end(&f);

        for (int by_stride = 0; by_stride < 2; by_stride++) {
            begin(&f, PRN_OP_GATHER_ROWS);
            f.r.op.attrs.stride = 2;
            give(&f, 0, 10, 3);
            if (!by_stride) {
                give_integers(&f, 1, ids, 5);
            }
            give(&f, 5, 5, 3);
            ready(&f);
            (void)loss(&f);
            grad_begin(&g, PRN_OP_GATHER_ROWS_GRAD, &f.r.op.attrs);
            grad_shape(&g, 0, &f, 5);
            if (!by_stride) {
                grad_shape(&g, 1, &f, 1);
            }
            grad_shape(&g, 5, &f, 0);
            grad_ready(&g, accumulate);
            rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
            if (!by_stride) {
                rig_write(&g.r, 1, PRN_HOST_I32, ids);
            }
            grad_run(&g);
            check(&f, 0, g.out[0], base(&g, 0), "gather_rows_grad");
            grad_end(&g);
            end(&f);
        }

        begin(&f, PRN_OP_CLASS_ROWS);
        give(&f, 0, 6, 4);
        give(&f, 1, 4, -1);
        give(&f, 2, 4, 4);
        give(&f, 5, 8, 4);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_CLASS_ROWS_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 5, &f, 0);
        grad_shape(&g, 6, &f, 1);
        grad_shape(&g, 7, &f, 2);
        grad_ready(&g, accumulate);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "class_rows_grad");
        check(&f, 1, g.out[1], g.before[1], "class_rows_grad, class");
        check(&f, 2, g.out[2], g.before[2], "class_rows_grad, positions");
        grad_end(&g);
        end(&f);

        begin(&f, PRN_OP_L2_NORMALISE);
        give(&f, 0, 4, 5);
        give(&f, 5, 4, 5);
        give(&f, 6, 4, -1);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_L2_NORMALISE_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 5);
        grad_shape(&g, 2, &f, 6);
        grad_shape(&g, 5, &f, 0);
        grad_ready(&g, accumulate);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_F64, f.y[0]);
        rig_write(&g.r, 2, PRN_HOST_F64, f.y[1]);
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "l2_normalise_grad");
        grad_end(&g);
        end(&f);
    }
}

static void losses(void **state)
{
    static const int32_t labels[] = {2, 0, 5, 4};
    (void)state;
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        forward f;
        backward g;
        begin(&f, PRN_OP_SIMILARITY);
        give(&f, 0, 4, 3);
        give(&f, 1, 6, 3);
        rig_operand(&f.r, 2, PRN_REAL, -1, -1, -1, -1);
        f.in[2] = prn__alloc(sizeof(double));
        f.in[2][0] = 1.3;
        give(&f, 5, 4, 6);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_SIMILARITY_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 0);
        grad_shape(&g, 2, &f, 1);
        grad_shape(&g, 3, &f, 5);
        grad_shape(&g, 4, &f, 2);
        grad_shape(&g, 5, &f, 0);
        grad_shape(&g, 6, &f, 1);
        grad_shape(&g, 7, &f, 2);
        grad_ready(&g, accumulate);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_F64, f.in[0]);
        rig_write(&g.r, 2, PRN_HOST_F64, f.in[1]);
        rig_write(&g.r, 3, PRN_HOST_F64, f.y[0]);
        rig_write(&g.r, 4, PRN_HOST_F64, f.in[2]);
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "similarity_grad, a");
        check(&f, 1, g.out[1], g.before[1], "similarity_grad, b");
        check(&f, 2, g.out[2], g.before[2], "similarity_grad, log_scale");
        grad_end(&g);
        end(&f);

        begin(&f, PRN_OP_CROSS_ENTROPY);
        give(&f, 0, 4, 6);
        give_integers(&f, 1, labels, 4);
        give(&f, 5, 4, -1);
        give(&f, 6, 4, -1);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_CROSS_ENTROPY_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 0);
        grad_shape(&g, 2, &f, 1);
        grad_shape(&g, 3, &f, 6);
        grad_shape(&g, 5, &f, 0);
        grad_ready(&g, accumulate);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_F64, f.in[0]);
        rig_write(&g.r, 2, PRN_HOST_I32, labels);
        rig_write(&g.r, 3, PRN_HOST_F64, f.y[1]);
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "cross_entropy_grad");
        grad_end(&g);
        end(&f);

        begin(&f, PRN_OP_SOFT_CROSS_ENTROPY);
        f.r.op.attrs.alpha = 1.7;
        give(&f, 0, 4, 6);
        give(&f, 1, 4, 6);
        give(&f, 5, 4, -1);
        give(&f, 6, 4, -1);
        give(&f, 7, 4, -1);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_SOFT_CROSS_ENTROPY_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 0);
        grad_shape(&g, 2, &f, 1);
        grad_shape(&g, 3, &f, 6);
        grad_shape(&g, 4, &f, 7);
        grad_shape(&g, 5, &f, 0);
        grad_ready(&g, accumulate);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_F64, f.in[0]);
        rig_write(&g.r, 2, PRN_HOST_F64, f.in[1]);
        rig_write(&g.r, 3, PRN_HOST_F64, f.y[1]);
        rig_write(&g.r, 4, PRN_HOST_F64, f.y[2]);
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "soft_cross_entropy_grad");
        grad_end(&g);
        end(&f);
    }
}

/* SUM's gradient is BROADCAST; ACTIVATION stands alone too. */
static void element_wise(void **state)
{
    (void)state;
    for (int form = 0; form < 6; form++) {
        forward f;
        backward g;
        begin(&f, PRN_OP_ACTIVATION);
        f.r.op.attrs.activation = form % 3;
        give(&f, 0, 5, 7);
        give(&f, 5, 5, 7);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_ACTIVATION_GRAD, &f.r.op.attrs);
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 1, &f, 0);
        grad_shape(&g, 5, &f, 0);
        grad_ready(&g, form / 3);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        rig_write(&g.r, 1, PRN_HOST_F64, f.in[0]);
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "activation_grad");
        grad_end(&g);
        end(&f);
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        forward f;
        backward g;
        begin(&f, PRN_OP_SUM);
        give(&f, 0, 3, 4);
        rig_operand(&f.r, 5, PRN_REAL, -1, -1, -1, -1);
        ready(&f);
        (void)loss(&f);
        grad_begin(&g, PRN_OP_BROADCAST, &f.r.op.attrs);
        g.r.op.attrs.alpha = 1;
        grad_shape(&g, 0, &f, 5);
        grad_shape(&g, 5, &f, 0);
        grad_ready(&g, accumulate);
        rig_write(&g.r, 0, PRN_HOST_F64, f.weights);
        grad_run(&g);
        check(&f, 0, g.out[0], base(&g, 0), "broadcast");
        grad_end(&g);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear), cmocka_unit_test(layer_norm), cmocka_unit_test(attention), cmocka_unit_test(read_attention),
        cmocka_unit_test(rows),   cmocka_unit_test(losses),     cmocka_unit_test(element_wise),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
