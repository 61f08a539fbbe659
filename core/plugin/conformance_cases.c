/* core/plugin/conformance_cases.c: the cases of each operation: odd sizes, one, none, every form. */
#include "plugin/conformance_internal.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static prn_dim fixed(int64_t n)
{
    return (prn_dim){n, PRN_NO_SYMBOL, 0};
}

/* n times the symbol */
static prn_dim times(int64_t n)
{
    return (prn_dim){n, 0, 0};
}

static int wanted_kind(const suite *u, uint32_t kind)
{
    return u->status == PRN_OK && (u->filter == NULL || strstr(prn__conformance_op_name(kind), u->filter) != NULL);
}

static trial begin(suite *u, uint32_t kind, int64_t symbol)
{
    trial t;
    memset(&t, 0, sizeof t);
    t.kind = kind;
    t.symbol = symbol;
    for (int i = 0; i < OPERANDS; i++) {
        operand_of(&t, i)->same_as = -1;
    }
    prn__arena_fini(&u->arena);
    prn__arena_init(&u->arena, 1 << 20);
    u->seed++;
    return t;
}

/* `shape`: dimensions up to one with fixed < 0. */
static spec shaped(suite *u, const trial *t, content what, prn_type type, const prn_dim *shape)
{
    spec o = {.content = what, .type = type, .elements = 1, .same_as = -1};
    for (; o.rank < PRN_MAX_RANK && shape[o.rank].fixed >= 0; o.rank++) {
        o.dim[o.rank] = shape[o.rank];
        o.elements *= shape[o.rank].fixed * (shape[o.rank].symbol >= 0 ? t->symbol : 1);
    }
    if (what == GIVEN && type == PRN_I32) {
        o.integers = prn__arena_alloc(&u->arena, (size_t)(o.elements + 1) * sizeof *o.integers);
    } else if (what == GIVEN) {
        o.values = prn__arena_alloc(&u->arena, (size_t)(o.elements + 1) * sizeof *o.values);
    }
    if (what == GIVEN && o.values == NULL && o.integers == NULL && u->status == PRN_OK) {
        u->status = prn_error_set(u->error, PRN_NO_MEMORY, "no memory for a conformance case");
    }
    return o;
}

#define SHAPE(...) ((const prn_dim[PRN_MAX_RANK + 1]){__VA_ARGS__, {-1, PRN_NO_SYMBOL, 0}})
#define SCALAR ((const prn_dim[1]){{-1, PRN_NO_SYMBOL, 0}})

/* Normal values, as a float can hold them. */
static spec random_real(suite *u, const trial *t, const prn_dim *shape, double mean, double deviation)
{
    spec o = shaped(u, t, GIVEN, PRN_REAL, shape);
    for (int64_t i = 0; o.values != NULL && i < o.elements; i++) {
        o.values[i] = (double)(float)(mean + deviation * prn__rng_normal(u->seed, PRN__RNG_INIT, 0, (uint64_t)i));
    }
    u->seed++;
    return o;
}

static spec random_index(suite *u, const trial *t, const prn_dim *shape, int64_t below)
{
    spec o = shaped(u, t, GIVEN, PRN_I32, shape);
    for (int64_t i = 0; o.integers != NULL && i < o.elements; i++) {
        o.integers[i] = below > 0 ? (int32_t)prn__rng_below(u->seed, PRN__RNG_SUBSET, 0, (uint64_t)i, (uint64_t)below) : 0;
    }
    u->seed++;
    return o;
}

static spec poison(suite *u, const trial *t, const prn_dim *shape)
{
    return shaped(u, t, POISON, PRN_REAL, shape);
}

/* Overwritten, or added to. */
static spec target(suite *u, const trial *t, const prn_dim *shape, int accumulate)
{
    return accumulate ? random_real(u, t, shape, 0, 1) : poison(u, t, shape);
}

/* What a forward operation left, as an input of its gradient: rounded to what a float can hold. */
static spec saved(suite *u, const trial *t, const prn_dim *shape, const double *values)
{
    spec o = shaped(u, t, GIVEN, PRN_REAL, shape);
    for (int64_t i = 0; o.values != NULL && values != NULL && i < o.elements; i++) {
        o.values[i] = (double)(float)values[i];
    }
    return o;
}

static const char *activation_name(int activation)
{
    return activation == PRN_ACT_GELU ? " gelu" : activation == PRN_ACT_QUICK_GELU ? " quick_gelu" : "";
}

static void linear_cases(suite *u)
{
    static const struct {
        int64_t m, n, k;
    } shapes[] = {{1, 1, 1}, {0, 5, 3}, {3, 0, 2}, {4, 3, 0}, {1, 64, 64}, {7, 5, 3}, {33, 17, 65}, {17, 128, 32}, {130, 96, 48}, {257, 200, 129}, {64, 384, 128}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int64_t m = shapes[i].m, n = shapes[i].n, k = shapes[i].k;
        for (int form = 0; form < 12 && wanted_kind(u, PRN_OP_LINEAR); form++) {
            trial t = begin(u, PRN_OP_LINEAR, m);
            const int with_bias = form % 2, with_residual = form / 2 % 2, with_pre = form % 3 == 0;
            t.attrs.activation = form % 3;
            t.attrs.transpose_w = form / 6;
            t.in[0] = random_real(u, &t, SHAPE(times(1), fixed(k)), 0.1, 1);
            t.in[1] = random_real(u, &t, t.attrs.transpose_w ? SHAPE(fixed(k), fixed(n)) : SHAPE(fixed(n), fixed(k)), 0, 0.5);
            if (with_bias) {
                t.in[2] = random_real(u, &t, SHAPE(fixed(n)), 0, 1);
            }
            if (with_residual) {
                t.in[3] = random_real(u, &t, SHAPE(times(1), fixed(n)), 0, 1);
            }
            t.out[0] = poison(u, &t, SHAPE(times(1), fixed(n)));
            if (with_pre) {
                t.out[1] = poison(u, &t, SHAPE(times(1), fixed(n)));
            }
            (void)snprintf(t.text, sizeof t.text, "M=%lld N=%lld K=%lld%s%s%s%s%s", (long long)m, (long long)n, (long long)k, with_bias ? " bias" : "",
                           with_residual ? " residual" : "", with_pre ? " pre" : "", activation_name(t.attrs.activation),
                           t.attrs.transpose_w ? " w=(K,N)" : "");
            prn__conformance_trial(u, &t);
        }
        for (int form = 0; form < 4; form++) {
            const int accumulate = form % 2, transposed = form / 2;
            const char *ending = accumulate ? transposed ? " w=(K,N) accumulate" : " accumulate" : transposed ? " w=(K,N)" : "";
            if (wanted_kind(u, PRN_OP_LINEAR_GRAD_X)) {
                trial t = begin(u, PRN_OP_LINEAR_GRAD_X, m);
                t.attrs.accumulate = accumulate;
                t.attrs.transpose_w = transposed;
                t.in[0] = random_real(u, &t, SHAPE(times(1), fixed(n)), 0, 1);
                t.in[1] = random_real(u, &t, transposed ? SHAPE(fixed(k), fixed(n)) : SHAPE(fixed(n), fixed(k)), 0, 0.5);
                t.out[0] = target(u, &t, SHAPE(times(1), fixed(k)), accumulate);
                (void)snprintf(t.text, sizeof t.text, "M=%lld N=%lld K=%lld%s", (long long)m, (long long)n, (long long)k, ending);
                prn__conformance_trial(u, &t);
            }
            for (int with_bias = 0; with_bias < 2 && wanted_kind(u, PRN_OP_LINEAR_GRAD_W); with_bias++) {
                trial t = begin(u, PRN_OP_LINEAR_GRAD_W, m);
                t.attrs.accumulate = accumulate;
                t.attrs.transpose_w = transposed;
                t.in[0] = random_real(u, &t, SHAPE(times(1), fixed(n)), 0, 1);
                t.in[1] = random_real(u, &t, SHAPE(times(1), fixed(k)), 0, 1);
                t.out[0] = target(u, &t, transposed ? SHAPE(fixed(k), fixed(n)) : SHAPE(fixed(n), fixed(k)), accumulate);
                if (with_bias) {
                    t.out[1] = target(u, &t, SHAPE(fixed(n)), accumulate);
                }
                (void)snprintf(t.text, sizeof t.text, "M=%lld N=%lld K=%lld%s%s", (long long)m, (long long)n, (long long)k, with_bias ? " dbias" : "", ending);
                prn__conformance_trial(u, &t);
            }
        }
    }
}

/* Operations over (M, C) rows with a gradient that needs what the forward saved. */
static void norm_cases(suite *u)
{
    static const struct {
        int64_t m, c;
    } shapes[] = {{0, 8}, {1, 1}, {1, 33}, {5, 3}, {13, 64}, {70, 100}, {300, 129}, {3, 768}};
    double *kept[PRN_OP_MAX_OUTPUTS];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int64_t m = shapes[i].m, c = shapes[i].c;
        const prn_dim rows[] = {times(1), fixed(c), {-1, PRN_NO_SYMBOL, 0}}, column[] = {times(1), {-1, PRN_NO_SYMBOL, 0}};
        const prn_dim row[] = {fixed(c), {-1, PRN_NO_SYMBOL, 0}};
        for (int form = 0; form < 4; form++) {
            if (wanted_kind(u, PRN_OP_LAYER_NORM) || wanted_kind(u, PRN_OP_LAYER_NORM_GRAD)) {
                trial t = begin(u, PRN_OP_LAYER_NORM, m);
                t.attrs.epsilon = 1e-5;
                /* form 2: far from zero, where a one-pass variance would fail */
                t.in[0] = random_real(u, &t, rows, form == 2 ? 20 : 0.3, form == 3 ? 1e-2 : 1);
                t.in[1] = random_real(u, &t, row, 1, 0.2);
                t.in[2] = random_real(u, &t, row, 0, 0.5);
                t.out[0] = poison(u, &t, rows);
                if (form != 1) {
                    t.out[1] = poison(u, &t, column);
                    t.out[2] = poison(u, &t, column);
                }
                (void)snprintf(t.text, sizeof t.text, "M=%lld C=%lld%s%s", (long long)m, (long long)c, form == 1 ? " without statistics" : "",
                               form == 2 ? " mean 20" : form == 3 ? " deviation 0.01" : "");
                if (wanted_kind(u, PRN_OP_LAYER_NORM)) {
                    prn__conformance_trial(u, &t);
                }
                if (form != 1 && c > 1 && wanted_kind(u, PRN_OP_LAYER_NORM_GRAD) && prn__conformance_reference(u, &t, kept)) {
                    trial g = t;
                    g.kind = PRN_OP_LAYER_NORM_GRAD;
                    g.attrs.accumulate = form != 0;
                    g.in[1] = t.in[0];
                    g.in[2] = t.in[1];
                    g.in[0] = random_real(u, &g, rows, 0, 1);
                    g.in[3] = saved(u, &g, column, kept[1]);
                    g.in[4] = saved(u, &g, column, kept[2]);
                    g.out[0] = target(u, &g, rows, g.attrs.accumulate);
                    g.out[1] = random_real(u, &g, row, 0, 1);
                    g.out[2] = random_real(u, &g, row, 0, 1);
                    (void)snprintf(g.text, sizeof g.text, "M=%lld C=%lld%s%s", (long long)m, (long long)c, g.attrs.accumulate ? " accumulate" : "",
                                   form == 2 ? " mean 20" : form == 3 ? " deviation 0.01" : "");
                    prn__conformance_trial(u, &g);
                }
            }
            if (form < 2 && (wanted_kind(u, PRN_OP_L2_NORMALISE) || wanted_kind(u, PRN_OP_L2_NORMALISE_GRAD))) {
                trial t = begin(u, PRN_OP_L2_NORMALISE, m);
                t.in[0] = random_real(u, &t, rows, 0, form == 0 ? 1 : 1e-3);
                t.out[0] = poison(u, &t, rows);
                t.out[1] = poison(u, &t, column);
                (void)snprintf(t.text, sizeof t.text, "M=%lld E=%lld%s", (long long)m, (long long)c, form == 1 ? " small" : "");
                if (wanted_kind(u, PRN_OP_L2_NORMALISE)) {
                    prn__conformance_trial(u, &t);
                }
                if (wanted_kind(u, PRN_OP_L2_NORMALISE_GRAD) && prn__conformance_reference(u, &t, kept)) {
                    trial g = t;
                    g.kind = PRN_OP_L2_NORMALISE_GRAD;
                    g.attrs.accumulate = form;
                    g.in[0] = random_real(u, &g, rows, 0, 1);
                    g.in[1] = saved(u, &g, rows, kept[0]);
                    g.in[2] = saved(u, &g, column, kept[1]);
                    g.out[0] = target(u, &g, rows, form);
                    g.out[1] = (spec){.same_as = -1};
                    (void)snprintf(g.text, sizeof g.text, "M=%lld E=%lld%s", (long long)m, (long long)c, form ? " small accumulate" : "");
                    prn__conformance_trial(u, &g);
                }
            }
        }
    }
}

static void attention_cases(suite *u)
{
    /* lengths: uniform T when `positions`, else ragged row groups, ended by -1 */
    static const struct {
        int64_t items, positions, heads, width;
        int causal;
        int lengths[8];
    } shapes[] = {
        {2, 5, 1, 4, 0, {-1}}, {0, 7, 2, 8, 0, {-1}}, {1, 1, 1, 1, 0, {-1}}, {3, 17, 4, 32, 0, {-1}}, {2, 50, 3, 64, 0, {-1}}, {2, 17, 2, 20, 1, {-1}},
        {1, 77, 2, 64, 1, {-1}}, {1, 65, 1, 80, 0, {-1}}, {1, 197, 1, 16, 0, {-1}}, {2, 33, 2, 128, 1, {-1}},
        {1, 700, 1, 16, 0, {-1}}, {1, 660, 1, 8, 1, {-1}}, /* longer than a block of keys */
        {0, 0, 2, 16, 1, {3, 1, 8, 2, -1}}, {0, 0, 4, 32, 1, {12, 9, 31, 16, 17, 1, 5, -1}}, {0, 0, 1, 7, 0, {4, 0, 3, 20, -1}},
        {0, 0, 2, 64, 1, {77, 6, 0, 33, 0, -1}}, {0, 0, 3, 5, 0, {1, -1}}, {0, 0, 2, 16, 1, {-1}},
    };
    double *kept[PRN_OP_MAX_OUTPUTS];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        int64_t rows = shapes[i].items * shapes[i].positions, groups = 0;
        const int64_t heads = shapes[i].heads, width = shapes[i].width, c = heads * width, positions = shapes[i].positions;
        for (; positions == 0 && shapes[i].lengths[groups] >= 0; groups++) {
            rows += shapes[i].lengths[groups];
        }
        for (int form = 0; form < 2 && (wanted_kind(u, PRN_OP_ATTENTION) || wanted_kind(u, PRN_OP_ATTENTION_GRAD)); form++) {
            trial t = begin(u, PRN_OP_ATTENTION, positions > 0 ? shapes[i].items : rows);
            const int64_t each = positions > 0 ? positions : 1;
            const prn_dim qkv[] = {times(each), fixed(3 * c), {-1, PRN_NO_SYMBOL, 0}}, y[] = {times(each), fixed(c), {-1, PRN_NO_SYMBOL, 0}};
            const prn_dim lse[] = {times(each), fixed(heads), {-1, PRN_NO_SYMBOL, 0}};
            t.attrs.heads = (int32_t)heads;
            t.attrs.causal = shapes[i].causal;
            t.attrs.positions = (int32_t)positions;
            t.in[0] = random_real(u, &t, qkv, 0, form == 0 ? 1 : 3);
            if (positions == 0) { /* two entries more than groups: a program plans for the largest batch */
                t.in[1] = shaped(u, &t, GIVEN, PRN_I32, SHAPE(fixed(groups + 3)));
                int32_t at = 0;
                for (int64_t g = 0; t.in[1].integers != NULL && g < groups + 3; g++) {
                    t.in[1].integers[g] = at;
                    at += g < groups ? shapes[i].lengths[g] : 0;
                }
            }
            t.out[0] = poison(u, &t, y);
            t.out[1] = poison(u, &t, lse);
            (void)snprintf(t.text, sizeof t.text, "rows=%lld %s=%lld H=%lld D=%lld%s%s", (long long)rows, positions > 0 ? "T" : "groups",
                           (long long)(positions > 0 ? positions : groups), (long long)heads, (long long)width, shapes[i].causal ? " causal" : "",
                           form ? " steep" : "");
            if (wanted_kind(u, PRN_OP_ATTENTION)) {
                prn__conformance_trial(u, &t);
            }
            if (wanted_kind(u, PRN_OP_ATTENTION_GRAD) && prn__conformance_reference(u, &t, kept)) {
                trial g = t;
                g.kind = PRN_OP_ATTENTION_GRAD;
                g.attrs.accumulate = form;
                g.in[1] = t.in[0];
                g.in[4] = t.in[1];
                g.in[0] = random_real(u, &g, y, 0, 1);
                g.in[2] = saved(u, &g, y, kept[0]);
                g.in[3] = saved(u, &g, lse, kept[1]);
                g.out[0] = target(u, &g, qkv, form);
                g.out[1] = (spec){.same_as = -1};
                if (form) {
                    (void)snprintf(g.text + strlen(g.text), sizeof g.text - strlen(g.text), " accumulate");
                }
                prn__conformance_trial(u, &g);
            }
        }
    }
}

static void read_attention_cases(suite *u)
{
    /* as attention_cases; `idle`: row groups at the end that no query reads */
    static const struct {
        int64_t items, positions, heads, width;
        int causal, idle;
        int lengths[8];
    } shapes[] = {
        {2, 5, 1, 4, 0, 0, {-1}}, {0, 7, 2, 8, 0, 0, {-1}}, {1, 1, 1, 1, 0, 0, {-1}}, {3, 17, 4, 32, 0, 0, {-1}}, {2, 50, 3, 64, 0, 0, {-1}},
        {1, 65, 1, 80, 0, 0, {-1}}, {4, 17, 2, 20, 1, 0, {-1}}, {2, 1100, 2, 12, 0, 0, {-1}}, {1, 600, 1, 8, 1, 0, {-1}}, /* longer than a block of keys */
        {0, 0, 2, 16, 1, 0, {3, 1, 8, 2, -1}}, {0, 0, 4, 32, 1, 0, {12, 9, 31, 16, 17, 1, 5, -1}}, {0, 0, 1, 7, 0, 0, {4, 0, 3, 20, -1}},
        {0, 0, 2, 64, 1, 0, {77, 6, 0, 33, 0, -1}}, {0, 0, 3, 5, 0, 0, {1, -1}}, {0, 0, 2, 16, 1, 0, {-1}}, {0, 0, 2, 16, 0, 0, {0, 0, -1}},
        {0, 0, 2, 33, 1, 1, {5, 9, 4, -1}}, {0, 0, 1, 3, 0, 2, {7, 2, -1}},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        int64_t groups = 0, rows = 0;
        const int64_t heads = shapes[i].heads, c = heads * shapes[i].width, positions = shapes[i].positions;
        for (; positions == 0 && shapes[i].lengths[groups] >= 0; groups++) {
            rows += shapes[i].lengths[groups];
        }
        const int64_t items = positions > 0 ? shapes[i].items : groups - shapes[i].idle;
        for (int form = 0; form < 2 && (wanted_kind(u, PRN_OP_READ_ATTENTION) || wanted_kind(u, PRN_OP_READ_ATTENTION_GRAD)); form++) {
            trial t = begin(u, PRN_OP_READ_ATTENTION, positions > 0 ? items : rows);
            const prn_dim queries = positions > 0 ? times(1) : fixed(items);
            const prn_dim q[] = {queries, fixed(c), {-1, PRN_NO_SYMBOL, 0}};
            const prn_dim kv[] = {times(positions > 0 ? positions : 1), fixed(2 * c), {-1, PRN_NO_SYMBOL, 0}};
            t.attrs.heads = (int32_t)heads;
            t.attrs.causal = shapes[i].causal;
            t.attrs.positions = (int32_t)positions;
            t.in[0] = random_real(u, &t, q, 0, form == 0 ? 1 : 3);
            t.in[1] = random_real(u, &t, kv, 0, form == 0 ? 1 : 3);
            if (positions == 0) {
                t.in[2] = shaped(u, &t, GIVEN, PRN_I32, SHAPE(fixed(groups + 3)));
                int32_t at = 0;
                for (int64_t g = 0; t.in[2].integers != NULL && g < groups + 3; g++) {
                    t.in[2].integers[g] = at;
                    at += g < groups ? shapes[i].lengths[g] : 0;
                }
            }
            if (form == 1 || (positions == 0 && shapes[i].causal)) { /* from the row before a group to the one after it */
                t.in[3] = shaped(u, &t, GIVEN, PRN_I32, SHAPE(queries));
                for (int64_t b = 0; t.in[3].integers != NULL && (positions > 0 || t.in[2].integers != NULL) && b < items; b++) {
                    const int64_t first = positions > 0 ? b * positions : t.in[2].integers[b], length = positions > 0 ? positions : shapes[i].lengths[b];
                    t.in[3].integers[b] = (int32_t)(first + (length - 1 + b * (3 + form)) % (length + 2) - (b > 1));
                }
            }
            t.out[0] = poison(u, &t, q);
            (void)snprintf(t.text, sizeof t.text, "B=%lld %s=%lld H=%lld D=%lld%s%s%s", (long long)items, positions > 0 ? "T" : "M",
                           (long long)(positions > 0 ? positions : rows), (long long)heads, (long long)shapes[i].width, shapes[i].causal ? " causal" : "",
                           t.in[3].content != ABSENT ? " rows" : "", form ? " steep" : "");
            if (wanted_kind(u, PRN_OP_READ_ATTENTION)) {
                prn__conformance_trial(u, &t);
            }
            for (int part = 0; part < (i % 4 == 3 ? 3 : 1) && wanted_kind(u, PRN_OP_READ_ATTENTION_GRAD); part++) { /* both results, or one of them */
                trial g = t;
                g.kind = PRN_OP_READ_ATTENTION_GRAD;
                g.attrs.accumulate = form;
                for (int k = 4; k > 0; k--) {
                    g.in[k] = t.in[k - 1];
                }
                g.in[0] = random_real(u, &g, q, 0, 1);
                g.out[0] = part != 2 ? target(u, &g, q, form) : (spec){.same_as = -1};
                g.out[1] = part != 1 ? target(u, &g, kv, form) : (spec){.same_as = -1};
                (void)snprintf(g.text + strlen(g.text), sizeof g.text - strlen(g.text), "%s%s", part == 1 ? " dq" : part == 2 ? " dkv" : "",
                               form ? " accumulate" : "");
                prn__conformance_trial(u, &g);
            }
        }
    }
}

static void row_cases(suite *u)
{
    static const struct {
        int64_t m, c, v;
    } shapes[] = {{0, 4, 3}, {1, 1, 1}, {9, 5, 4}, {40, 64, 7}, {130, 100, 300}, {2, 768, 5}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int64_t m = shapes[i].m, c = shapes[i].c, v = shapes[i].v;
        const prn_dim rows[] = {times(1), fixed(c), {-1, PRN_NO_SYMBOL, 0}};
        for (int form = 0; form < 2; form++) {
            if (wanted_kind(u, PRN_OP_LOOKUP)) {
                trial t = begin(u, PRN_OP_LOOKUP, m);
                t.in[0] = random_index(u, &t, SHAPE(times(1)), v);
                t.in[1] = random_real(u, &t, SHAPE(fixed(v), fixed(c)), 0, 1);
                if (form) {
                    t.in[2] = random_real(u, &t, rows, 0, 1);
                }
                if (form && t.in[0].elements > 2 && t.in[0].integers != NULL) { /* outside the table: row 0 */
                    t.in[0].integers[0] = -1;
                    t.in[0].integers[1] = (int32_t)v;
                }
                t.out[0] = poison(u, &t, rows);
                (void)snprintf(t.text, sizeof t.text, "M=%lld V=%lld C=%lld%s", (long long)m, (long long)v, (long long)c, form ? " residual" : "");
                prn__conformance_trial(u, &t);
            }
            if (form == 0 && wanted_kind(u, PRN_OP_LOOKUP_GRAD)) {
                trial t = begin(u, PRN_OP_LOOKUP_GRAD, m);
                t.in[0] = random_real(u, &t, rows, 0, 1);
                t.in[1] = random_index(u, &t, SHAPE(times(1)), v);
                t.out[0] = random_real(u, &t, SHAPE(fixed(v), fixed(c)), 0, 1);
                (void)snprintf(t.text, sizeof t.text, "M=%lld V=%lld C=%lld", (long long)m, (long long)v, (long long)c);
                prn__conformance_trial(u, &t);
            }
            for (int by_stride = 0; by_stride < 2; by_stride++) {
                const int64_t stride = 3;
                const prn_dim all[] = {by_stride ? times(stride) : fixed(v), fixed(c), {-1, PRN_NO_SYMBOL, 0}};
                if (form == 0 && wanted_kind(u, PRN_OP_GATHER_ROWS)) {
                    trial t = begin(u, PRN_OP_GATHER_ROWS, m);
                    t.attrs.stride = by_stride ? (int32_t)stride : 0;
                    t.in[0] = random_real(u, &t, all, 0, 1);
                    if (!by_stride) {
                        t.in[1] = random_index(u, &t, SHAPE(times(1)), v);
                    }
                    t.out[0] = poison(u, &t, rows);
                    (void)snprintf(t.text, sizeof t.text, "B=%lld C=%lld %s", (long long)m, (long long)c, by_stride ? "stride 3" : "rows");
                    prn__conformance_trial(u, &t);
                }
                if (wanted_kind(u, PRN_OP_GATHER_ROWS_GRAD)) {
                    trial t = begin(u, PRN_OP_GATHER_ROWS_GRAD, m);
                    t.attrs.stride = by_stride ? (int32_t)stride : 0;
                    t.attrs.accumulate = form;
                    t.in[0] = random_real(u, &t, rows, 0, 1);
                    if (!by_stride) {
                        t.in[1] = random_index(u, &t, SHAPE(times(1)), v);
                    }
                    t.out[0] = target(u, &t, all, form);
                    (void)snprintf(t.text, sizeof t.text, "B=%lld C=%lld %s%s", (long long)m, (long long)c, by_stride ? "stride 3" : "rows",
                                   form ? " accumulate" : "");
                    prn__conformance_trial(u, &t);
                }
            }
        }
    }
}

static void image_cases(suite *u)
{
    static const struct {
        int64_t b, side, patch, c;
    } shapes[] = {{0, 8, 4, 6}, {1, 4, 4, 3}, {2, 12, 3, 32}, {3, 32, 8, 64}, {9, 6, 1, 17}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int64_t b = shapes[i].b, side = shapes[i].side, p = shapes[i].patch, c = shapes[i].c, count = side / p * (side / p);
        if (wanted_kind(u, PRN_OP_PATCHES)) {
            trial t = begin(u, PRN_OP_PATCHES, b);
            const float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f}, deviation[3] = {0.26862954f, 0.26130258f, 0.27577711f};
            t.attrs.patch = (int32_t)p;
            memcpy(t.attrs.mean, mean, sizeof mean);
            memcpy(t.attrs.std, deviation, sizeof deviation);
            t.in[0] = shaped(u, &t, GIVEN, PRN_U8, SHAPE(times(1), fixed(side), fixed(side), fixed(3)));
            for (int64_t e = 0; t.in[0].values != NULL && e < t.in[0].elements; e++) {
                t.in[0].values[e] = (double)prn__rng_below(u->seed, PRN__RNG_CROP, 0, (uint64_t)e, 256);
            }
            t.out[0] = poison(u, &t, SHAPE(times(count), fixed(3 * p * p)));
            (void)snprintf(t.text, sizeof t.text, "B=%lld S=%lld p=%lld", (long long)b, (long long)side, (long long)p);
            prn__conformance_trial(u, &t);
        }
        if (wanted_kind(u, PRN_OP_CLASS_ROWS)) {
            trial t = begin(u, PRN_OP_CLASS_ROWS, b);
            t.attrs.positions = (int32_t)(count + 1);
            t.in[0] = random_real(u, &t, SHAPE(times(count), fixed(c)), 0, 1);
            t.in[1] = random_real(u, &t, SHAPE(fixed(c)), 0, 1);
            t.in[2] = random_real(u, &t, SHAPE(fixed(count + 1), fixed(c)), 0, 1);
            t.out[0] = poison(u, &t, SHAPE(times(count + 1), fixed(c)));
            (void)snprintf(t.text, sizeof t.text, "B=%lld P=%lld C=%lld", (long long)b, (long long)count, (long long)c);
            prn__conformance_trial(u, &t);
        }
        for (int form = 0; form < 2 && wanted_kind(u, PRN_OP_CLASS_ROWS_GRAD); form++) {
            trial t = begin(u, PRN_OP_CLASS_ROWS_GRAD, b);
            t.attrs.positions = (int32_t)(count + 1);
            t.attrs.accumulate = form;
            t.in[0] = random_real(u, &t, SHAPE(times(count + 1), fixed(c)), 0, 1);
            t.out[0] = target(u, &t, SHAPE(times(count), fixed(c)), form);
            t.out[1] = random_real(u, &t, SHAPE(fixed(c)), 0, 1);
            t.out[2] = random_real(u, &t, SHAPE(fixed(count + 1), fixed(c)), 0, 1);
            (void)snprintf(t.text, sizeof t.text, "B=%lld P=%lld C=%lld%s", (long long)b, (long long)count, (long long)c, form ? " accumulate" : "");
            prn__conformance_trial(u, &t);
        }
    }
}

static void loss_cases(suite *u)
{
    static const struct {
        int64_t r, m, e;
    } shapes[] = {{0, 5, 4}, {1, 1, 1}, {3, 7, 2}, {16, 16, 32}, {33, 70, 65}, {128, 300, 64}, {5, 1000, 16}};
    double *kept[PRN_OP_MAX_OUTPUTS];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const int64_t r = shapes[i].r, m = shapes[i].m, e = shapes[i].e;
        const prn_dim logits[] = {times(1), fixed(m), {-1, PRN_NO_SYMBOL, 0}}, column[] = {times(1), {-1, PRN_NO_SYMBOL, 0}};
        const prn_dim a[] = {times(1), fixed(e), {-1, PRN_NO_SYMBOL, 0}}, b[] = {fixed(m), fixed(e), {-1, PRN_NO_SYMBOL, 0}};
        char shape[80];
        (void)snprintf(shape, sizeof shape, "R=%lld M=%lld", (long long)r, (long long)m);
        for (int form = 0; form < 2; form++) {
            if (wanted_kind(u, PRN_OP_SIMILARITY) || wanted_kind(u, PRN_OP_SIMILARITY_GRAD)) {
                trial t = begin(u, PRN_OP_SIMILARITY, r);
                t.in[0] = random_real(u, &t, a, 0, 0.3);
                t.in[1] = random_real(u, &t, b, 0, 0.3);
                if (form) {
                    t.in[2] = random_real(u, &t, SCALAR, 2.6, 0);
                }
                t.out[0] = poison(u, &t, logits);
                (void)snprintf(t.text, sizeof t.text, "%s E=%lld%s", shape, (long long)e, form ? " log_scale" : "");
                if (wanted_kind(u, PRN_OP_SIMILARITY)) {
                    prn__conformance_trial(u, &t);
                }
                for (int part = 0; part < 4 && wanted_kind(u, PRN_OP_SIMILARITY_GRAD) && prn__conformance_reference(u, &t, kept); part++) {
                    trial g = t;
                    g.kind = PRN_OP_SIMILARITY_GRAD;
                    g.attrs.accumulate = part == 1;
                    g.in[0] = random_real(u, &g, logits, 0, 1);
                    g.in[1] = t.in[0];
                    g.in[2] = t.in[1];
                    g.in[3] = saved(u, &g, logits, kept[0]);
                    g.in[4] = t.in[2];
                    g.out[0] = part != 2 ? target(u, &g, a, g.attrs.accumulate) : (spec){.same_as = -1};
                    g.out[1] = part != 3 ? random_real(u, &g, b, 0, 1) : (spec){.same_as = -1};
                    if (form && part < 2) {
                        g.out[2] = random_real(u, &g, SCALAR, 0, 1);
                    }
                    (void)snprintf(g.text, sizeof g.text, "%s E=%lld%s%s%s", shape, (long long)e, form ? " log_scale" : "",
                                   g.attrs.accumulate ? " accumulate" : "", part == 2 ? " without da" : part == 3 ? " without db" : "");
                    prn__conformance_trial(u, &g);
                }
            }
            if (wanted_kind(u, PRN_OP_CROSS_ENTROPY) || wanted_kind(u, PRN_OP_CROSS_ENTROPY_GRAD)) {
                trial t = begin(u, PRN_OP_CROSS_ENTROPY, r);
                t.in[0] = random_real(u, &t, logits, 0, form ? 8 : 1);
                t.in[1] = random_index(u, &t, column, m);
                t.out[0] = poison(u, &t, column);
                t.out[1] = poison(u, &t, column);
                (void)snprintf(t.text, sizeof t.text, "%s%s", shape, form ? " steep" : "");
                if (wanted_kind(u, PRN_OP_CROSS_ENTROPY)) {
                    prn__conformance_trial(u, &t);
                }
                if (wanted_kind(u, PRN_OP_CROSS_ENTROPY_GRAD) && prn__conformance_reference(u, &t, kept)) {
                    trial g = t;
                    g.kind = PRN_OP_CROSS_ENTROPY_GRAD;
                    g.attrs.accumulate = form;
                    g.in[0] = random_real(u, &g, column, 1, 0.2);
                    g.in[1] = t.in[0];
                    g.in[2] = t.in[1];
                    g.in[3] = saved(u, &g, column, kept[1]);
                    g.out[0] = target(u, &g, logits, form);
                    g.out[1] = (spec){.same_as = -1};
                    (void)snprintf(g.text, sizeof g.text, "%s%s", shape, form ? " steep accumulate" : "");
                    prn__conformance_trial(u, &g);
                }
            }
            if (wanted_kind(u, PRN_OP_SOFT_CROSS_ENTROPY) || wanted_kind(u, PRN_OP_SOFT_CROSS_ENTROPY_GRAD)) {
                trial t = begin(u, PRN_OP_SOFT_CROSS_ENTROPY, r);
                t.attrs.alpha = form ? 2.5 : 1;
                t.in[0] = random_real(u, &t, logits, 0, 2);
                t.in[1] = random_real(u, &t, logits, 0, 2);
                for (int k = 0; k < 3; k++) {
                    t.out[k] = poison(u, &t, column);
                }
                (void)snprintf(t.text, sizeof t.text, "%s tau=%g", shape, t.attrs.alpha);
                if (wanted_kind(u, PRN_OP_SOFT_CROSS_ENTROPY)) {
                    prn__conformance_trial(u, &t);
                }
                if (wanted_kind(u, PRN_OP_SOFT_CROSS_ENTROPY_GRAD) && prn__conformance_reference(u, &t, kept)) {
                    trial g = t;
                    g.kind = PRN_OP_SOFT_CROSS_ENTROPY_GRAD;
                    g.attrs.accumulate = form;
                    g.in[0] = random_real(u, &g, column, 1, 0.2);
                    g.in[1] = t.in[0];
                    g.in[2] = t.in[1];
                    g.in[3] = saved(u, &g, column, kept[1]);
                    g.in[4] = saved(u, &g, column, kept[2]);
                    g.out[0] = target(u, &g, logits, form);
                    g.out[1] = g.out[2] = (spec){.same_as = -1};
                    (void)snprintf(g.text, sizeof g.text, "%s tau=%g%s", shape, g.attrs.alpha, form ? " accumulate" : "");
                    prn__conformance_trial(u, &g);
                }
            }
        }
    }
}

static void element_cases(suite *u)
{
    static const uint32_t kinds[] = {PRN_OP_ACTIVATION, PRN_OP_ACTIVATION_GRAD, PRN_OP_AXPBY, PRN_OP_MULTIPLY, PRN_OP_EXP, PRN_OP_SUM,
                                     PRN_OP_DOT, PRN_OP_FILL, PRN_OP_CLAMP, PRN_OP_BROADCAST};
    static const int64_t rows[] = {0, 1, 3, 70, 600}, columns[] = {1, 5, 16, 33, 128};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (int form = 0; form < 6; form++) {
            for (size_t i = 0; i < sizeof rows / sizeof rows[0] && wanted_kind(u, kinds[k]); i++) {
                const int64_t m = rows[i], c = columns[(i + (size_t)form) % 5];
                const prn_dim shape[] = {times(1), fixed(c), {-1, PRN_NO_SYMBOL, 0}};
                trial t = begin(u, kinds[k], m);
                const char *note = "";
                t.attrs.alpha = -0.75;
                t.attrs.beta = 1.5;
                t.in[0] = random_real(u, &t, shape, 0, 2);
                t.out[0] = poison(u, &t, shape);
                switch (kinds[k]) {
                case PRN_OP_ACTIVATION:
                    t.attrs.activation = form % 3;
                    note = activation_name(form % 3);
                    break;
                case PRN_OP_ACTIVATION_GRAD:
                    t.attrs.activation = form % 3;
                    t.attrs.accumulate = form / 3;
                    t.in[1] = random_real(u, &t, shape, 0, 2);
                    note = form / 3 ? " accumulate" : activation_name(form % 3);
                    if (form < 3 && i % 2 == 1) { /* in place */
                        t.out[0] = t.in[0];
                        t.out[0].same_as = 0;
                        note = " in place";
                    } else {
                        t.out[0] = target(u, &t, shape, form / 3);
                    }
                    break;
                case PRN_OP_AXPBY:
                    if (form % 2) {
                        t.in[1] = random_real(u, &t, shape, 0, 1);
                        note = " two terms";
                    }
                    break;
                case PRN_OP_MULTIPLY:
                    t.in[1] = form % 2 ? random_real(u, &t, SCALAR, 1, 1) : random_real(u, &t, shape, 0, 1);
                    note = form % 2 ? " by a scalar" : "";
                    break;
                case PRN_OP_DOT: t.in[1] = random_real(u, &t, shape, 0, 1); /* fall through */
                case PRN_OP_SUM: t.out[0] = poison(u, &t, SCALAR); break;
                case PRN_OP_FILL: t.in[0] = (spec){.same_as = -1}; break;
                case PRN_OP_CLAMP:
                    if (form % 2) {
                        t.out[0] = t.in[0];
                        t.out[0].same_as = 0;
                        note = " in place";
                    }
                    break;
                case PRN_OP_BROADCAST:
                    t.attrs.accumulate = form % 2;
                    t.in[0] = random_real(u, &t, SCALAR, 0, 1);
                    t.out[0] = target(u, &t, shape, form % 2);
                    note = form % 2 ? " accumulate" : "";
                    break;
                default: break;
                }
                (void)snprintf(t.text, sizeof t.text, "M=%lld C=%lld%s", (long long)m, (long long)c, note);
                prn__conformance_trial(u, &t);
            }
        }
    }
}

/* ADAMW's `hyper` of step `step`, with the settings of these cases. */
static spec hyper_of(suite *u, const trial *t, double lr, double step, double scale)
{
    const double hyper[4] = {lr, 1 / (1 - pow(0.9, step)), 1 / (1 - pow(0.98, step)), scale};
    spec o = shaped(u, t, GIVEN, PRN_REAL, SHAPE(fixed(8)));
    for (int h = 0; o.values != NULL && h < 8; h++) {
        o.values[h] = h < 4 ? (double)(float)hyper[h] : h == 4 ? step : 0;
    }
    return o;
}

/* Second moments. */
static spec random_square(suite *u, const trial *t, const prn_dim *shape)
{
    spec o = random_real(u, t, shape, 0, 0.01);
    for (int64_t e = 0; o.values != NULL && e < o.elements; e++) {
        o.values[e] = fabs(o.values[e]);
    }
    return o;
}

/* Flags of the rows of a matrix (R, C), of all kinds below `end`. */
static spec row_flags(suite *u, const trial *t, const prn_dim *shape, uint64_t end)
{
    spec o = shaped(u, t, GIVEN, PRN_U8, shape);
    for (int64_t i = 0; o.values != NULL && i < o.elements; i++) {
        o.values[i] = (double)prn__rng_below(u->seed, PRN__RNG_SUBSET, 0, (uint64_t)i, end);
    }
    u->seed++;
    return o;
}

/* `otherwise` in the rows that do not have the flag `needed`. */
static void keep_rows(const spec *rows, spec *matrix, int needed, double otherwise)
{
    const int64_t columns = rows->elements > 0 ? matrix->elements / rows->elements : 0;
    for (int64_t i = 0; rows->values != NULL && matrix->values != NULL && i < matrix->elements && columns > 0; i++) {
        matrix->values[i] = ((int)rows->values[i / columns] & needed) != 0 ? matrix->values[i] : otherwise;
    }
}

/* ADAMW of a matrix whose rows have these flags: what they promise is true. */
static void flagged_adamw(suite *u, trial *t, const prn_dim *shape, spec flags, double decay, prn_type moments)
{
    t->attrs.alpha = 0.9;
    t->attrs.beta = 0.98;
    t->attrs.epsilon = 1e-6;
    t->attrs.decay = decay;
    t->in[0] = random_real(u, t, shape, 0, 0.1);
    t->in[1] = hyper_of(u, t, 1e-3, 2, 1);
    t->in[2] = flags;
    t->out[0] = random_real(u, t, shape, 0, 1);
    t->out[1] = random_real(u, t, shape, 0, 0.1);
    t->out[2] = random_square(u, t, shape);
    keep_rows(&flags, &t->in[0], PRN_ROW_GRADIENT, 0);
    keep_rows(&flags, &t->out[1], PRN_ROW_MOMENTS, 0);
    keep_rows(&flags, &t->out[2], PRN_ROW_MOMENTS, 0);
    t->out[1].type = t->out[2].type = moments;
}

/* FILL, DOT and ADAMW of a table of which only some rows count. */
static void flagged_cases(suite *u)
{
    static const uint32_t kinds[] = {PRN_OP_FILL, PRN_OP_DOT, PRN_OP_ADAMW};
    static const int64_t rows[] = {0, 1, 37, 2000}, columns[] = {1, 5, 16, 128};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (size_t i = 0; i < (kinds[k] == PRN_OP_ADAMW ? 32 : 16) && wanted_kind(u, kinds[k]); i++) {
            const int64_t m = rows[i / 4 % 4], c = columns[i % 4];
            const int is_bf16 = i >= 16;
            const prn_dim shape[] = {times(1), fixed(c), {-1, PRN_NO_SYMBOL, 0}};
            trial t = begin(u, kinds[k], m);
            spec flags = row_flags(u, &t, SHAPE(times(1)), PRN_ROW_LATER);
            if (kinds[k] == PRN_OP_ADAMW) {
                flagged_adamw(u, &t, shape, flags, i % 2 == 0 ? 0.2 : 0, is_bf16 ? PRN_BF16 : PRN_REAL);
            } else if (kinds[k] == PRN_OP_FILL) {
                t.attrs.alpha = -0.75;
                t.out[0] = random_real(u, &t, shape, 0, 1);
                keep_rows(&flags, &t.out[0], PRN_ROW_GRADIENT, t.attrs.alpha);
                t.in[0] = flags;
            } else {
                t.in[0] = random_real(u, &t, shape, 0, 0.1);
                keep_rows(&flags, &t.in[0], PRN_ROW_GRADIENT, 0);
                t.in[1] = random_real(u, &t, shape, 0, 1);
                t.in[2] = flags;
                t.out[0] = poison(u, &t, SCALAR);
            }
            (void)snprintf(t.text, sizeof t.text, "R=%lld C=%lld with flags of rows%s", (long long)m, (long long)c, is_bf16 ? ", moments in bf16" : "");
            prn__conformance_trial(u, &t);
        }
    }
}

/* DECAY_ROWS, and the rows that ADAMW leaves to it: only backends that have the one are given the other. */
static void decay_cases(suite *u)
{
    static const int64_t columns[] = {1, 5, 16, 200}, updates[] = {0, 1, 30};
    enum { ROWS = 61 };
    int can = 0;
    for (size_t i = 0; i < 12; i++) {
        const int64_t c = columns[i % 4], n = updates[i / 4];
        trial t = begin(u, PRN_OP_DECAY_ROWS, n);
        t.attrs.decay = 0.2;
        t.in[0] = random_real(u, &t, SHAPE(times(1)), 0, 0.01);
        t.in[1] = row_flags(u, &t, SHAPE(fixed(ROWS)), 2 * PRN_ROW_DUE);
        t.out[0] = random_real(u, &t, SHAPE(fixed(ROWS), fixed(c)), 0, 1);
        (void)snprintf(t.text, sizeof t.text, "R=%d C=%lld of %lld updates", ROWS, (long long)c, (long long)n);
        can = prn__conformance_supports(u, &t);
        if (wanted_kind(u, PRN_OP_DECAY_ROWS)) {
            prn__conformance_trial(u, &t);
        }
    }
    for (size_t i = 0; i < 8 && can && wanted_kind(u, PRN_OP_ADAMW); i++) {
        const int64_t c = columns[i % 4];
        trial t = begin(u, PRN_OP_ADAMW, 1);
        spec flags = row_flags(u, &t, SHAPE(fixed(ROWS)), PRN_ROW_LATER + 1); /* a row that waits has neither gradient nor moments */
        flagged_adamw(u, &t, SHAPE(fixed(ROWS), fixed(c)), flags, 0.2, i < 4 ? PRN_REAL : PRN_BF16);
        (void)snprintf(t.text, sizeof t.text, "R=%d C=%lld with rows that decay later%s", ROWS, (long long)c, i < 4 ? "" : ", moments in bf16");
        prn__conformance_trial(u, &t);
    }
}

static void adamw_cases(suite *u)
{
    static const int64_t sizes[] = {0, 1, 37, 1000, 70000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int form = 0; form < 6 && wanted_kind(u, PRN_OP_ADAMW); form++) {
            trial t = begin(u, PRN_OP_ADAMW, sizes[i]);
            const double lr = form % 3 == 2 ? 1e-5 : 1e-3, step = form + 1;
            const int is_bf16 = form >= 3;
            t.attrs.alpha = 0.9;
            t.attrs.beta = 0.98;
            t.attrs.epsilon = 1e-6;
            t.attrs.decay = form % 3 == 0 ? 0 : 0.2;
            t.in[0] = random_real(u, &t, SHAPE(times(1)), 0, 0.1);
            t.in[1] = hyper_of(u, &t, lr, step, form % 3 == 2 ? 0.5 : 1);
            t.out[0] = random_real(u, &t, SHAPE(times(1)), 0, 1);
            t.out[1] = random_real(u, &t, SHAPE(times(1)), 0, 0.1);
            t.out[2] = random_square(u, &t, SHAPE(times(1)));
            t.out[1].type = t.out[2].type = is_bf16 ? PRN_BF16 : PRN_REAL;
            (void)snprintf(t.text, sizeof t.text, "n=%lld lr=%g decay=%g step %g%s", (long long)sizes[i], lr, t.attrs.decay, step,
                           is_bf16 ? ", moments in bf16" : "");
            prn__conformance_trial(u, &t);
        }
    }
}

void prn__conformance_cases(suite *u)
{
    linear_cases(u);
    norm_cases(u);
    attention_cases(u);
    read_attention_cases(u);
    row_cases(u);
    image_cases(u);
    loss_cases(u);
    element_cases(u);
    adamw_cases(u);
    flagged_cases(u);
    decay_cases(u);
}
