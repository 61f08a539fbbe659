/* tests/backends/test_derived.c: derived backward passes of whole programs, run by `reference` (fp64), against central differences.
 *
 * A net is a program under construction with everything that is bound to it. `examine` derives it in several ways (parameters' and inputs'
 * gradients; with and without checkpointing; adding to what is there) and checks each: the gradients against differences of the loss,
 * checkpointing bit for bit against the plain form, the memory plan, a second run against the first, and that seeds are only read.
 * The loss is a fixed random combination of the seeded tensors. Single operations are tested in test_gradients.c.
 */
#include "backends/support.h"

#include <stdlib.h>

#include "program/graph.h"
#include "program/plan_check.h"

enum { NONE = PRN_NO_TENSOR, SLOTS = 40, LIST = 8, ROWS = 6, MOST_ROWS = 9, ITEMS = 3, MOST_ITEMS = 4, C = 8, PARAMETERS = 40000 };

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
    assert_int_equal(prn__alloc_live(), 0);
    return 0;
}

/* What a slot is for. */
enum { OTHER, PARAMETER, GRADIENT, INPUT, INPUT_GRADIENT, OUTPUT, SEED, INTEGERS };

typedef struct net {
    prn__graph *g;
    int32_t rows, items; /* symbols */
    int32_t parameters, gradients;
    int64_t next_parameter;
    int32_t last_slot;
    int role[SLOTS];
    const int32_t *integers[SLOTS];
    int64_t integer_count[SLOTS];
    prn__gradient seeds[LIST], targets[LIST];
    uint32_t seed_count, target_count, output_count;
    int32_t outputs[LIST], output_seeds[LIST]; /* the loss is the sum of their products */
    int accumulate;
    /* running */
    const prn_program *program;
    prn_executable *executable;
    prn_buffer *buffers[SLOTS];
    double *host[SLOTS];
    int64_t size[SLOTS];
    int64_t values[2];
} net;

static prn_dim rows_of(const net *n)
{
    return prn__sized(1, n->rows);
}

static int32_t slot(net *n, const char *name, prn_type type, int role)
{
    const int32_t s = prn__graph_slot(n->g, name, type);
    assert_true(s >= 0 && s < SLOTS);
    n->role[s] = role;
    n->last_slot = s;
    return s;
}

static void net_begin(net *n, int accumulate)
{
    prn_error error = PRN_ERROR_INIT;
    memset(n, 0, sizeof *n);
    assert_int_equal(prn__graph_create("net", &n->g, &error), PRN_OK);
    n->rows = prn__graph_symbol(n->g, "N", MOST_ROWS);
    n->items = prn__graph_symbol(n->g, "B", MOST_ITEMS);
    n->parameters = slot(n, "parameters", PRN_REAL, PARAMETER);
    n->gradients = slot(n, "gradients", PRN_REAL, GRADIENT);
    n->accumulate = accumulate;
    n->values[0] = ROWS;
    n->values[1] = ITEMS;
}

/* A parameter; columns < 0: a vector; both < 0: one number. */
static int32_t parameter(net *n, const char *name, int64_t rows, int64_t columns)
{
    const prn_dim dims[2] = {prn__fixed(rows < 0 ? 0 : rows), prn__fixed(columns < 0 ? 0 : columns)};
    const int32_t t = prn__graph_bound(n->g, name, n->parameters, n->next_parameter, rows < 0 ? 0 : columns < 0 ? 1 : 2, dims);
    n->next_parameter += (rows < 0 ? 1 : rows) * (columns < 0 ? 1 : columns) + 3; /* a gap, which must stay as it is */
    assert_true(n->next_parameter <= PARAMETERS);
    return t;
}

static int32_t bound_like(net *n, const char *name, prn_type type, int role, uint32_t rank, prn_dim a, prn_dim b)
{
    const prn_dim dims[2] = {a, b};
    return prn__graph_bound(n->g, name, slot(n, name, type, role), 0, rank, dims);
}

/* An input whose gradient is wanted, too. */
static int32_t input(net *n, const char *name, uint32_t rank, prn_dim a, prn_dim b)
{
    char gradient[32];
    (void)snprintf(gradient, sizeof gradient, "d_%s", name);
    const int32_t t = bound_like(n, name, PRN_REAL, INPUT, rank, a, b);
    n->targets[n->target_count++] = (prn__gradient){t, bound_like(n, gradient, PRN_REAL, INPUT_GRADIENT, rank, a, b), n->accumulate};
    return t;
}

static int32_t integers(net *n, const char *name, prn_dim length, const int32_t *values, int64_t count)
{
    const int32_t t = bound_like(n, name, PRN_I32, INTEGERS, 1, length, prn__fixed(0));
    const int32_t s = n->last_slot;
    n->integers[s] = values;
    n->integer_count[s] = count;
    return t;
}

/* A loss enters at `t`, with weights of its own, or with those of seed `shared_with`. */
static void loss_at(net *n, int32_t t, uint32_t rank, prn_dim a, prn_dim b, int shared_with)
{
    char name[32];
    (void)snprintf(name, sizeof name, "out%u", n->output_count);
    const int32_t out = bound_like(n, name, PRN_REAL, OUTPUT, rank, a, b);
    (void)prn__graph_axpby(n->g, name, 1, t, 0, NONE, out);
    (void)snprintf(name, sizeof name, "seed%u", n->output_count);
    const int32_t seed = shared_with >= 0 ? n->output_seeds[shared_with] : bound_like(n, name, PRN_REAL, SEED, rank, a, b);
    n->seeds[n->seed_count++] = (prn__gradient){t, seed, 0};
    n->outputs[n->output_count] = out;
    n->output_seeds[n->output_count++] = seed;
}

static void loss_rows(net *n, int32_t t)
{
    loss_at(n, t, 2, rows_of(n), prn__fixed(C), -1);
}

static void loss_scalar(net *n, int32_t t)
{
    loss_at(n, t, 0, prn__fixed(0), prn__fixed(0), -1);
}

static int32_t op(net *n, prn_op_kind kind, int32_t a, int32_t b, int32_t c, uint32_t wanted, prn_op_attrs attrs, const char *name)
{
    const int32_t in[PRN_OP_MAX_INPUTS] = {a, b, c, NONE, NONE};
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    return prn__graph_op(n->g, kind, in, out, wanted, &attrs, name);
}

static int32_t multiply(net *n, int32_t a, int32_t b)
{
    return op(n, PRN_OP_MULTIPLY, a, b, NONE, 1, (prn_op_attrs){0}, "product");
}

static int32_t activate(net *n, int32_t x, prn_activation activation)
{
    return op(n, PRN_OP_ACTIVATION, x, NONE, NONE, 1, (prn_op_attrs){.activation = (int32_t)activation}, "activation");
}

/* ---- running ------------------------------------------------------------------------------------------------------------------ */

#define SUCCEEDS(call)                                                                     \
    do {                                                                                   \
        prn_error error_ = PRN_ERROR_INIT, *error = &error_;                               \
        if ((call) != PRN_OK) {                                                            \
            fail_msg("%s: %s", #call, error->message);                                     \
        }                                                                                  \
    } while (0)

static void net_ready(net *n, const char *what)
{
    const prn_backend *b = shared.reference.backend;
    prn_error failure = PRN_ERROR_INIT;
    int64_t maxima[2] = {MOST_ROWS, MOST_ITEMS};
    if (prn__graph_finish(n->g, &n->program, &failure) != PRN_OK) {
        fail_msg("%s: %s", what, failure.message);
    }
    (void)check_plan(n->program);
    n->size[0] = n->program->workspace_elements;
    for (uint32_t t = 0; t < n->program->tensor_count; t++) {
        const prn_tensor *tensor = &n->program->tensors[t];
        if (tensor->slot != PRN_SLOT_WORKSPACE) {
            const int64_t end = tensor->offset + prn_tensor_elements(tensor, maxima);
            n->size[tensor->slot] = end > n->size[tensor->slot] ? end : n->size[tensor->slot];
        }
    }
    n->size[n->parameters] = n->size[n->gradients] = n->next_parameter;
    for (uint32_t s = 0; s < n->program->slot_count; s++) {
        SUCCEEDS(b->buffer_create(shared.reference.instance, (prn_type)n->program->slots[s].type, n->size[s], "test", &n->buffers[s], error));
        n->host[s] = prn__alloc_array((size_t)n->size[s] + 1, sizeof(double));
        assert_non_null(n->host[s]);
        for (int64_t i = 0; i < n->size[s]; i++) {
            /* the same numbers in every form of the net; a workspace of NaN shows what is read unwritten */
            n->host[s][i] = s == 0 ? (double)NAN : 0.6 * prn__rng_normal(21, PRN__RNG_INIT, (uint64_t)s, (uint64_t)i);
        }
        if (n->role[s] == INTEGERS) {
            SUCCEEDS(b->buffer_write(shared.reference.instance, n->buffers[s], 0, PRN_HOST_I32, n->integers[s], n->integer_count[s], error));
        }
    }
    SUCCEEDS(b->compile(shared.reference.instance, n->program, &n->executable, error));
}

static void net_end(net *n)
{
    const prn_backend *b = shared.reference.backend;
    b->executable_destroy(shared.reference.instance, n->executable);
    for (int s = 0; s < SLOTS; s++) {
        b->buffer_destroy(shared.reference.instance, n->buffers[s]);
        prn__free(n->host[s]);
    }
    prn__graph_destroy(n->g);
    memset(n, 0, sizeof *n);
}

static void run(net *n, int with_backward)
{
    const prn_backend *b = shared.reference.backend;
    const prn_binding binding = {.struct_size = (uint32_t)sizeof binding, .slot_count = n->program->slot_count, .buffers = n->buffers,
                                 .symbol_values = n->values, .symbol_count = 2};
    for (uint32_t s = 0; s < n->program->slot_count; s++) {
        if (n->role[s] != INTEGERS && n->size[s] > 0) {
            SUCCEEDS(b->buffer_write(shared.reference.instance, n->buffers[s], 0, PRN_HOST_F64, n->host[s], n->size[s], error));
        }
    }
    for (uint32_t segment = 0; segment < (with_backward ? 2u : 1u); segment++) {
        SUCCEEDS(b->execute(shared.reference.instance, n->executable, segment, &binding, error));
    }
    SUCCEEDS(b->synchronise(shared.reference.instance, error));
}

static double *read_slot(net *n, int32_t s)
{
    double *values = prn__alloc_array((size_t)n->size[s] + 1, sizeof *values);
    assert_non_null(values);
    SUCCEEDS(shared.reference.backend->buffer_read(shared.reference.instance, n->buffers[s], 0, PRN_HOST_F64, values, n->size[s], error));
    return values;
}

static double loss(net *n)
{
    double total = 0;
    run(n, 0);
    for (uint32_t k = 0; k < n->output_count; k++) {
        const prn_tensor *out = &n->program->tensors[n->outputs[k]];
        const double *seed = n->host[n->program->tensors[n->output_seeds[k]].slot];
        double *y = read_slot(n, out->slot);
        for (int64_t i = 0; i < prn_tensor_elements(out, n->values); i++) {
            total += seed[i] * y[i];
        }
        prn__free(y);
    }
    return total;
}

/* Elements of the slot that a run of this size uses. */
static int64_t used(const net *n, int32_t s)
{
    int64_t end = 0;
    for (uint32_t t = 0; t < n->program->tensor_count; t++) {
        const prn_tensor *tensor = &n->program->tensors[t];
        if (tensor->slot == s) {
            const int64_t here = tensor->offset + prn_tensor_elements(tensor, n->values);
            end = here > end ? here : end;
        }
    }
    return end;
}

/* d loss / d (slot s) by differences against got - before. `step` > 1: a few elements stand for all. */
static void differences(net *n, int32_t s, const double *got, const double *before, int64_t step, const char *what)
{
    double worst = 0, scale = 1e-3;
    int64_t where = 0;
    for (int64_t i = 0; i < used(n, s); i += step) {
        const double x = n->host[s][i], h = 1e-5;
        n->host[s][i] = x + h;
        const double up = loss(n);
        n->host[s][i] = x - h;
        const double down = loss(n);
        n->host[s][i] = x;
        const double want = (up - down) / (2 * h), have = got[i] - (before != NULL ? before[i] : 0);
        scale = fmax(scale, fabs(want));
        if (!(fabs(want - have) <= worst)) {
            worst = fabs(want - have);
            where = i;
        }
    }
    if (!(worst <= 2e-6 * scale)) {
        fail_msg("%s, element %lld of slot '%s': the gradient differs by %g, the largest is %g", what, (long long)where, n->program->slots[s].name, worst, scale);
    }
}

typedef void (*builder)(net *);

enum { CHECKPOINTED = 1, RECOMPUTED = 2, HELD = 4 }; /* forms of one backward pass */

/* A gradient of the workspace goes where it would have been added; then both it and the parameter are overwritten, which nothing may notice. */
static void use_up(void *context, prn__graph *graph, int32_t parameter, int32_t gradient)
{
    const net *n = context;
    const prn_tensor p = *prn__graph_tensor(graph, parameter);
    char name[96];
    int32_t spoil[PRN_OP_MAX_OUTPUTS] = {gradient, NONE, NONE};
    const int32_t nothing[PRN_OP_MAX_INPUTS] = {NONE, NONE, NONE, NONE, NONE};
    const prn_op_attrs attrs = {.alpha = 1e30};
    (void)snprintf(name, sizeof name, "used %s", p.name);
    const int32_t into = prn__graph_bound(graph, name, n->gradients, p.offset, p.rank, p.dim);
    (void)prn__graph_axpby(graph, name, 1, gradient, 1, into, into);
    (void)prn__graph_op(graph, PRN_OP_FILL, nothing, spoil, 0, &attrs, "spoiled gradient");
    spoil[0] = parameter;
    (void)prn__graph_op(graph, PRN_OP_FILL, nothing, spoil, 0, &attrs, "spoiled parameter");
}

static void net_build_at(net *n, builder build, int accumulate, int form, prn__recompute level, const char *what)
{
    prn_error error = PRN_ERROR_INIT;
    const prn__derive_options options = {.checkpoint = (form & CHECKPOINTED) != 0, .recompute = form & RECOMPUTED ? level : PRN__RECOMPUTE_NOTHING,
                                         .complete = form & HELD ? use_up : NULL, .context = n};
    net_begin(n, accumulate);
    build(n);
    if (prn__graph_derive_with(n->g, "backward", n->seeds, n->seed_count, n->targets, n->target_count, n->parameters,
                               form & HELD ? PRN_SLOT_WORKSPACE : n->gradients, &options, &error) != PRN_OK) {
        fail_msg("%s: %s", what, error.message);
    }
    net_ready(n, what);
}

static void net_build(net *n, builder build, int accumulate, int form, const char *what)
{
    net_build_at(n, build, accumulate, form, PRN__RECOMPUTE_CHEAP, what);
}

typedef struct gradients {
    double *slot[SLOTS];
} gradients;

static gradients gradients_of(net *n)
{
    gradients all = {{NULL}};
    run(n, 1);
    for (int32_t s = 1; s < (int32_t)n->program->slot_count; s++) {
        if (n->role[s] == GRADIENT || n->role[s] == INPUT_GRADIENT) {
            all.slot[s] = read_slot(n, s);
        } else if (n->role[s] == SEED) { /* seeds are the caller's */
            double *after = read_slot(n, s);
            assert_memory_equal(after, n->host[s], (size_t)n->size[s] * sizeof *after);
            prn__free(after);
        }
    }
    return all;
}

static void gradients_free(gradients *all)
{
    for (int s = 0; s < SLOTS; s++) {
        prn__free(all->slot[s]);
    }
}

static void same_bits(const net *n, const gradients *a, const gradients *b, const char *what, const char *how)
{
    for (uint32_t s = 0; s < n->program->slot_count; s++) {
        if (a->slot[s] != NULL && memcmp(a->slot[s], b->slot[s], (size_t)n->size[s] * sizeof(double)) != 0) {
            fail_msg("%s: slot '%s' differs %s", what, n->program->slots[s].name, how);
        }
    }
}

/* Every other form of the backward pass against the plain one; sums that are added up elsewhere first may round otherwise. */
static void other_forms(const net *plain, const gradients *want, builder build, int accumulate, const char *what)
{
    enum { LEVELS = PRN__RECOMPUTE_PROJECTIONS };
    for (int each = LEVELS * RECOMPUTED; each < LEVELS * ((CHECKPOINTED | RECOMPUTED | HELD) + 1); each++) {
        const int form = each / LEVELS;
        net other;
        if (!(form & RECOMPUTED) && each % LEVELS > 0) {
            continue;
        }
        net_build_at(&other, build, accumulate, form, (prn__recompute)(PRN__RECOMPUTE_CHEAP + each % LEVELS), what);
        gradients got = gradients_of(&other);
        if (form & HELD) {
            for (uint32_t s = 0; s < plain->program->slot_count; s++) {
                for (int64_t i = 0; want->slot[s] != NULL && i < plain->size[s]; i++) {
                    if (!(fabs(got.slot[s][i] - want->slot[s][i]) <= 1e-9 * (1 + fabs(want->slot[s][i])))) {
                        fail_msg("%s, form %d: slot '%s', element %lld is %.12g, not %.12g", what, form, plain->program->slots[s].name, (long long)i,
                                 got.slot[s][i], want->slot[s][i]);
                    }
                }
            }
        } else {
            same_bits(plain, want, &got, what, form == RECOMPUTED ? "with cheap operations computed again" : "with checkpointing and recomputation");
        }
        gradients_free(&got);
        net_end(&other);
    }
}

/* Workspace elements of the plain and of the checkpointed form. */
static void examine(const char *what, builder build, int64_t step, int64_t workspace[2])
{
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        net plain, checkpointed;
        net_build(&plain, build, accumulate, 0, what);
        gradients g = gradients_of(&plain), again = gradients_of(&plain);
        same_bits(&plain, &g, &again, what, "on a second run");
        gradients_free(&again);
        for (int32_t s = 0; s < (int32_t)plain.program->slot_count; s++) {
            const int32_t of = plain.role[s] == PARAMETER ? plain.gradients : s + 1;
            if (plain.role[s] == PARAMETER || plain.role[s] == INPUT) {
                differences(&plain, s, g.slot[of], plain.role[s] == PARAMETER || accumulate ? plain.host[of] : NULL, accumulate ? step * 5 : step, what);
            }
        }
        net_build(&checkpointed, build, accumulate, 1, what);
        again = gradients_of(&checkpointed);
        same_bits(&plain, &g, &again, what, "with checkpointing");
        if (workspace != NULL) {
            workspace[0] = plain.program->workspace_elements;
            workspace[1] = checkpointed.program->workspace_elements;
        }
        gradients_free(&again);
        other_forms(&plain, &g, build, accumulate, what);
        gradients_free(&g);
        net_end(&checkpointed);
        net_end(&plain);
    }
}

/* ---- compositions ------------------------------------------------------------------------------------------------------------- */

static int32_t x_rows(net *n)
{
    return input(n, "x", 2, rows_of(n), prn__fixed(C));
}

static int32_t square(net *n, const char *name)
{
    return parameter(n, name, C, C);
}

static void shared_input(net *n)
{
    const int32_t x = x_rows(n);
    const int32_t a = prn__graph_linear(n->g, "a", x, square(n, "wa"), parameter(n, "ba", C, -1), NONE, PRN_ACT_GELU, 0);
    const int32_t b = prn__graph_linear(n->g, "b", x, square(n, "wb"), NONE, NONE, PRN_ACT_QUICK_GELU, 1);
    loss_rows(n, prn__graph_axpby(n->g, "sum", 0.5, a, -2, b, NONE));
}

static void diamond(net *n)
{
    const int32_t x = x_rows(n), gain = parameter(n, "gain", C, -1), bias = parameter(n, "bias", C, -1);
    prn__graph_group(n->g, 1);
    const int32_t h = prn__graph_linear(n->g, "h", x, square(n, "w"), NONE, NONE, PRN_ACT_NONE, 0);
    const int32_t p = activate(n, h, PRN_ACT_GELU), q = prn__graph_layer_norm(n->g, "norm", h, gain, bias, 1e-3);
    prn__graph_group(n->g, 0);
    const int32_t product = multiply(n, p, q);
    loss_rows(n, prn__graph_linear(n->g, "y", product, square(n, "v"), NONE, h, PRN_ACT_NONE, 0));
}

/* A branch that no loss sees: its parameters' gradients stay as they were, its operations vanish. */
static void unused(net *n)
{
    const int32_t x = x_rows(n), z = input(n, "z", 2, rows_of(n), prn__fixed(C));
    const int32_t h = prn__graph_linear(n->g, "h", x, square(n, "w"), NONE, NONE, PRN_ACT_GELU, 0);
    const int32_t lost = prn__graph_linear(n->g, "lost", h, square(n, "lost_w"), parameter(n, "lost_b", C, -1), z, PRN_ACT_GELU, 0);
    (void)prn__graph_layer_norm(n->g, "lost2", lost, parameter(n, "lost_g", C, -1), parameter(n, "lost_c", C, -1), 1e-3);
    loss_rows(n, prn__graph_layer_norm(n->g, "norm", h, parameter(n, "g", C, -1), parameter(n, "c", C, -1), 1e-3));
}

static void parameter_twice(net *n)
{
    const int32_t x = x_rows(n), w = square(n, "w"), gain = parameter(n, "gain", C, -1);
    int32_t h = prn__graph_linear(n->g, "1", x, w, gain, NONE, PRN_ACT_GELU, 0);
    h = prn__graph_linear(n->g, "2", h, w, NONE, x, PRN_ACT_QUICK_GELU, 1);
    h = prn__graph_layer_norm(n->g, "3", h, gain, gain, 1e-3); /* as gain and as bias, too */
    loss_rows(n, prn__graph_linear(n->g, "4", h, w, NONE, h, PRN_ACT_NONE, 0));
}

/* A tensor that meets itself. */
static void itself(net *n)
{
    const int32_t x = x_rows(n), h = prn__graph_linear(n->g, "h", x, square(n, "w"), NONE, NONE, PRN_ACT_NONE, 0);
    const int32_t twice = prn__graph_axpby(n->g, "twice", 1, h, 1, h, NONE), odd = prn__graph_axpby(n->g, "odd", 0.3, twice, -0.7, twice, NONE);
    const int32_t squares = multiply(n, odd, odd), norm = prn__graph_dot(n->g, "norm", h, h, NONE, NONE);
    const int32_t linear = prn__graph_linear(n->g, "self", squares, square(n, "v"), NONE, squares, PRN_ACT_GELU, 0);
    const int32_t gram = op(n, PRN_OP_SIMILARITY, linear, linear, NONE, 1, (prn_op_attrs){0}, "gram");
    loss_at(n, gram, 2, rows_of(n), rows_of(n), -1);
    loss_scalar(n, multiply(n, norm, norm));
}

/* x x^T by LINEAR: one tensor as rows and as weights. */
static void own_weights(net *n)
{
    const int32_t x = input(n, "x", 2, prn__fixed(5), prn__fixed(C));
    const int32_t h = prn__graph_linear(n->g, "h", x, square(n, "w"), NONE, x, PRN_ACT_GELU, 0);
    const int32_t bias = input(n, "bias", 1, prn__fixed(5), prn__fixed(0)), table = input(n, "residual", 2, prn__fixed(5), prn__fixed(5));
    loss_at(n, prn__graph_linear(n->g, "y", h, h, bias, table, PRN_ACT_GELU, 0), 2, prn__fixed(5), prn__fixed(5), -1);
}

static int32_t block(net *n, int32_t x, int32_t offsets, int i, int causal, int32_t positions, prn_activation activation)
{
    char name[7][16];
    for (int k = 0; k < 7; k++) {
        (void)snprintf(name[k], sizeof name[k], "p%d.%d", i, k);
    }
    prn__graph_group(n->g, (uint32_t)i + 1);
    int32_t h = prn__graph_layer_norm(n->g, "ln_1", x, parameter(n, name[0], C, -1), parameter(n, name[1], C, -1), 1e-3);
    h = prn__graph_linear(n->g, "qkv", h, parameter(n, name[2], 3 * C, C), parameter(n, name[3], 3 * C, -1), NONE, PRN_ACT_NONE, 0);
    h = prn__graph_attention(n->g, "attention", h, offsets, 2, causal, positions);
    x = prn__graph_linear(n->g, "out", h, parameter(n, name[4], C, C), NONE, x, PRN_ACT_NONE, 0);
    h = prn__graph_linear(n->g, "up", x, parameter(n, name[5], 2 * C, C), NONE, NONE, activation, 0);
    x = prn__graph_linear(n->g, "down", h, parameter(n, name[6], C, 2 * C), NONE, x, PRN_ACT_NONE, 0);
    prn__graph_group(n->g, 0);
    return x;
}

/* A text tower over packed rows of 1, 2 and 3 tokens, against fixed candidates, with a learned scale: cross-entropy and distillation. */
static void text_tower(net *n)
{
    static const int32_t ids[ROWS] = {4, 0, 4, 2, 2, 1}, at[ROWS] = {0, 0, 1, 0, 1, 2}, offsets[ITEMS + 1] = {0, 1, 3, 6}, ends[ITEMS] = {0, 2, 5};
    static const int32_t labels[ITEMS] = {3, 0, 1};
    const int32_t id = integers(n, "ids", rows_of(n), ids, ROWS), position = integers(n, "at", rows_of(n), at, ROWS);
    const int32_t offset = integers(n, "offsets", prn__fixed(MOST_ITEMS + 1), offsets, ITEMS + 1);
    const prn_dim items = prn__sized(1, n->items);
    const int32_t end = integers(n, "ends", items, ends, ITEMS), label = integers(n, "labels", items, labels, ITEMS);
    const int32_t table = parameter(n, "table", 5, C), scale = parameter(n, "log_scale", -1, -1);
    int32_t x = prn__graph_lookup(n->g, "tokens", id, table, NONE);
    x = prn__graph_lookup(n->g, "positions", position, parameter(n, "places", 3, C), x);
    for (int i = 0; i < 2; i++) {
        x = block(n, x, offset, i, 1, 0, PRN_ACT_GELU);
    }
    x = prn__graph_gather_rows(n->g, "ends", x, end, 0, NONE);
    const int32_t y = prn__graph_l2_normalise(n->g, "embedding", x, NONE);
    const int32_t candidates = input(n, "candidates", 2, prn__fixed(4), prn__fixed(C));
    const int32_t logits = op(n, PRN_OP_SIMILARITY, y, candidates, scale, 1, (prn_op_attrs){0}, "logits");
    const int32_t row_losses = op(n, PRN_OP_CROSS_ENTROPY, logits, label, NONE, 3, (prn_op_attrs){0}, "rows");
    loss_at(n, row_losses, 1, items, prn__fixed(0), -1);
    /* the teacher's logits come from elsewhere: no gradient flows there */
    const int32_t frozen = bound_like(n, "frozen", PRN_REAL, OTHER, 2, items, prn__fixed(4));
    loss_at(n, op(n, PRN_OP_SOFT_CROSS_ENTROPY, logits, frozen, NONE, 7, (prn_op_attrs){.alpha = 2}, "kl"), 1, items, prn__fixed(0), -1);
}

/* An image tower on given patches: class row, uniform attention, the first row of each item. */
static void image_tower(net *n)
{
    enum { PATCHES = 2 };
    const int32_t patches = input(n, "patches", 2, prn__sized(PATCHES, n->items), prn__fixed(C));
    int32_t x = op(n, PRN_OP_CLASS_ROWS, patches, parameter(n, "class", C, -1), parameter(n, "positions", PATCHES + 1, C), 1, (prn_op_attrs){0}, "rows");
    for (int i = 0; i < 2; i++) {
        x = block(n, x, NONE, i, 0, PATCHES + 1, PRN_ACT_QUICK_GELU);
    }
    x = prn__graph_gather_rows(n->g, "first", x, NONE, PATCHES + 1, NONE);
    loss_at(n, prn__graph_l2_normalise(n->g, "embedding", x, NONE), 2, prn__sized(1, n->items), prn__fixed(C), -1);
}

/* One query an item: over keys and values of its own, over some that another reads too, and with either side fixed. */
static void one_query(net *n)
{
    static const int32_t offsets[ITEMS + 1] = {0, 1, 3, 6}, ends[ITEMS] = {0, 2, 4};
    const int32_t offset = integers(n, "offsets", prn__fixed(MOST_ITEMS + 1), offsets, ITEMS + 1);
    const int32_t end = integers(n, "ends", prn__sized(1, n->items), ends, ITEMS);
    const int32_t x = x_rows(n), h = prn__graph_gather_rows(n->g, "h", x, end, 0, NONE);
    const int32_t q = prn__graph_linear(n->g, "q", h, square(n, "w"), NONE, NONE, PRN_ACT_NONE, 0);
    const int32_t kv = prn__graph_linear(n->g, "kv", x, parameter(n, "k", 2 * C, C), NONE, NONE, PRN_ACT_NONE, 0);
    const int32_t fixed_q = bound_like(n, "fixed q", PRN_REAL, OTHER, 2, prn__sized(1, n->items), prn__fixed(C));
    const int32_t fixed_kv = bound_like(n, "fixed kv", PRN_REAL, OTHER, 2, rows_of(n), prn__fixed(2 * C));
    int32_t y = prn__graph_read_attention(n->g, "all", q, kv, offset, NONE, 2, 0, 0, NONE);
    y = prn__graph_axpby(n->g, "and seen", 1, y, 1, prn__graph_read_attention(n->g, "seen", q, kv, offset, end, 2, 1, 0, NONE), NONE);
    y = prn__graph_axpby(n->g, "and by q", 1, y, 1, prn__graph_read_attention(n->g, "by q", q, fixed_kv, offset, end, 2, 1, 0, NONE), NONE);
    y = prn__graph_axpby(n->g, "and by kv", 1, y, 1, prn__graph_read_attention(n->g, "by kv", fixed_q, kv, offset, NONE, 2, 0, 0, NONE), NONE);
    loss_at(n, y, 2, prn__sized(1, n->items), prn__fixed(C), -1);
}

/* Losses in the middle and at the end; the middle one's tensor is used on. */
static void seeds_on_the_way(net *n)
{
    const int32_t x = x_rows(n);
    const int32_t h = prn__graph_linear(n->g, "h", x, square(n, "w"), NONE, NONE, PRN_ACT_GELU, 0);
    loss_rows(n, h);
    const int32_t y = prn__graph_linear(n->g, "y", h, square(n, "v"), NONE, h, PRN_ACT_GELU, 0);
    loss_rows(n, y);
    loss_rows(n, y); /* twice */
    loss_rows(n, x); /* at an input whose gradient is wanted */
}

/* One tensor of weights for three losses. */
static void one_seed(net *n)
{
    const int32_t x = x_rows(n), z = input(n, "z", 2, rows_of(n), prn__fixed(C));
    loss_rows(n, prn__graph_linear(n->g, "a", x, square(n, "w"), NONE, z, PRN_ACT_NONE, 0));
    const int32_t sum = prn__graph_axpby(n->g, "sum", 1, x, 1, z, NONE);
    loss_at(n, sum, 2, rows_of(n), prn__fixed(C), 0);
    loss_at(n, prn__graph_linear(n->g, "b", sum, square(n, "v"), NONE, NONE, PRN_ACT_GELU, 0), 2, rows_of(n), prn__fixed(C), 0);
}

/* Seeds that the program itself makes, in the workspace. */
static void made_seed(net *n)
{
    const int32_t x = x_rows(n);
    const int32_t given = bound_like(n, "given", PRN_REAL, SEED, 2, rows_of(n), prn__fixed(C));
    const int32_t seed = prn__graph_axpby(n->g, "seed", 1, given, 0, NONE, NONE);
    const int32_t h = prn__graph_axpby(n->g, "h", 1, x, 0, NONE, NONE); /* shares what it can */
    const int32_t y = prn__graph_linear(n->g, "y", h, square(n, "w"), NONE, NONE, PRN_ACT_GELU, 0);
    const int32_t z = prn__graph_linear(n->g, "z", y, square(n, "v"), NONE, h, PRN_ACT_NONE, 0);
    for (int k = 0; k < 3; k++) {
        const int32_t t = k == 0 ? h : k == 1 ? y : z;
        char name[16];
        (void)snprintf(name, sizeof name, "made%d", k);
        const int32_t out = bound_like(n, name, PRN_REAL, OUTPUT, 2, rows_of(n), prn__fixed(C));
        (void)prn__graph_axpby(n->g, name, 1, t, 0, NONE, out);
        n->seeds[n->seed_count++] = (prn__gradient){t, seed, 0};
        n->outputs[n->output_count] = out;
        n->output_seeds[n->output_count++] = given;
    }
}

/* Scalars: learned factors, sums, products, exponentials; a loss on a parameter itself. */
static void scalars(net *n)
{
    const int32_t x = x_rows(n), s = parameter(n, "s", -1, -1), w = square(n, "w"), anchor = input(n, "anchor", 2, prn__fixed(C), prn__fixed(C));
    const int32_t e = op(n, PRN_OP_EXP, s, NONE, NONE, 1, (prn_op_attrs){0}, "exp");
    const int32_t h = multiply(n, prn__graph_linear(n->g, "h", x, w, NONE, NONE, PRN_ACT_NONE, 0), e);
    const int32_t grown = op(n, PRN_OP_EXP, prn__graph_axpby(n->g, "half", 0.2, h, 0, NONE, NONE), NONE, NONE, 1, (prn_op_attrs){0}, "grown");
    const int32_t sum = op(n, PRN_OP_SUM, grown, NONE, NONE, 1, (prn_op_attrs){0}, "sum");
    const int32_t away = prn__graph_axpby(n->g, "away", 1, w, -1, anchor, NONE), distance = prn__graph_dot(n->g, "distance", away, away, NONE, NONE);
    loss_scalar(n, prn__graph_axpby(n->g, "total", 0.1, multiply(n, sum, e), 0.5, multiply(n, distance, s), NONE));
    loss_at(n, w, 2, prn__fixed(C), prn__fixed(C), -1);
    loss_scalar(n, s);
}

/* Groups that come in pieces, share tensors, and feed what lies outside. */
static void groups(net *n)
{
    const int32_t x = x_rows(n), w = square(n, "w");
    prn__graph_group(n->g, 7);
    const int32_t a = prn__graph_linear(n->g, "a", x, w, NONE, NONE, PRN_ACT_GELU, 0);
    const int32_t b = prn__graph_linear(n->g, "b", a, square(n, "v"), NONE, x, PRN_ACT_GELU, 0);
    prn__graph_group(n->g, 0);
    const int32_t between = multiply(n, a, b);
    prn__graph_group(n->g, 7); /* the same number again */
    const int32_t c = prn__graph_linear(n->g, "c", between, w, NONE, a, PRN_ACT_GELU, 1);
    prn__graph_group(n->g, 2);
    const int32_t d = multiply(n, c, activate(n, b, PRN_ACT_GELU));
    loss_rows(n, d);
    prn__graph_group(n->g, 0);
    loss_rows(n, prn__graph_axpby(n->g, "e", 1, c, 1, a, NONE));
}

static void test_compositions(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        builder build;
        int64_t step;
    } all[] = {
        {"shared input", shared_input, 1},     {"diamond", diamond, 1},         {"unused branch", unused, 1},       {"parameter used twice", parameter_twice, 1},
        {"a tensor with itself", itself, 1},   {"own weights", own_weights, 1}, {"text tower", text_tower, 11},     {"image tower", image_tower, 11},
        {"losses on the way", seeds_on_the_way, 1}, {"one seed for all", one_seed, 1}, {"a seed in the workspace", made_seed, 1}, {"scalars", scalars, 1},
        {"groups", groups, 1},                 {"one query an item", one_query, 1},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        examine(all[i].name, all[i].build, all[i].step, NULL);
    }
}

/* Twelve blocks: the same bits, and one block's activations instead of twelve. */
static void twelve_blocks(net *n)
{
    static const int32_t offsets[ITEMS + 1] = {0, 1, 3, 6};
    const int32_t offset = integers(n, "offsets", prn__fixed(MOST_ITEMS + 1), offsets, ITEMS + 1);
    int32_t x = x_rows(n);
    for (int i = 0; i < 12; i++) {
        x = block(n, x, offset, i, 1, 0, PRN_ACT_GELU);
    }
    loss_rows(n, x);
}

static void test_checkpointing(void **state)
{
    (void)state;
    int64_t workspace[2];
    examine("twelve blocks", twelve_blocks, 997, workspace);
    print_message("12 blocks: workspace %lld elements, checkpointed %lld; the same gradients bit for bit\n", (long long)workspace[0], (long long)workspace[1]);
    assert_true(workspace[1] * 3 < workspace[0]);
    net recomputed;
    net_build(&recomputed, twelve_blocks, 0, RECOMPUTED, "twelve blocks");
    print_message("12 blocks: workspace %lld elements with cheap operations computed again\n", (long long)recomputed.program->workspace_elements);
    assert_true(recomputed.program->workspace_elements * 10 < workspace[0] * 8);
    net_end(&recomputed);
}

/* The gradient of a tensor on the way, wanted by name, equals that of zeros added to it; with and without checkpointing, and what was in
 * the target before does not flow on. */
static void test_targets_on_the_way(void **state)
{
    (void)state;
    for (int form = 0; form < 16; form++) {
        const int grouped = form & 1, checkpoint = form >> 1 & 1, accumulate = form >> 2 & 1, with_residual = form >> 3;
        net n;
        prn_error error = PRN_ERROR_INIT;
        net_begin(&n, 0);
        const int32_t x = x_rows(&n), zeros = input(&n, "zeros", 2, rows_of(&n), prn__fixed(C)), far = input(&n, "far", 2, rows_of(&n), prn__fixed(C));
        prn__graph_group(n.g, grouped ? 3 : 0);
        const int32_t root = prn__graph_linear(n.g, "root", x, square(&n, "u"), NONE, NONE, PRN_ACT_NONE, 0), q = activate(&n, root, PRN_ACT_GELU);
        const int32_t h = prn__graph_linear(n.g, "h", q, square(&n, "w"), NONE, with_residual ? root : NONE, PRN_ACT_GELU, 0);
        const int32_t same = prn__graph_axpby(n.g, "same", 1, h, 1, zeros, NONE);
        const int32_t b = prn__graph_linear(n.g, "b", same, square(&n, "v"), NONE, same, PRN_ACT_GELU, 0);
        prn__graph_group(n.g, 0);
        loss_rows(&n, prn__graph_axpby(n.g, "y", 1, b, 0.5, q, NONE));
        const int32_t d_h = bound_like(&n, "d_h", PRN_REAL, INPUT_GRADIENT, 2, rows_of(&n), prn__fixed(C));
        n.targets[n.target_count++] = (prn__gradient){h, d_h, accumulate};
        (void)far; /* nothing depends on it */
        if (prn__graph_derive(n.g, "backward", n.seeds, n.seed_count, n.targets, n.target_count, n.parameters, n.gradients, checkpoint, &error) != PRN_OK) {
            fail_msg("form %d: %s", form, error.message);
        }
        net_ready(&n, "target on the way");
        gradients g = gradients_of(&n);
        int32_t d_zeros = -1, d_far = -1, d_target = -1, d_x = -1;
        for (int32_t s = 0; s < (int32_t)n.program->slot_count; s++) {
            const char *name = n.program->slots[s].name;
            d_zeros = strcmp(name, "d_zeros") == 0 ? s : d_zeros;
            d_far = strcmp(name, "d_far") == 0 ? s : d_far;
            d_target = strcmp(name, "d_h") == 0 ? s : d_target;
            d_x = strcmp(name, "d_x") == 0 ? s : d_x;
        }
        for (int i = 0; i < ROWS * C; i++) {
            const double before = accumulate ? n.host[d_target][i] : 0;
            assert_true(fabs(g.slot[d_target][i] - before - g.slot[d_zeros][i]) <= 1e-12);
            assert_true(g.slot[d_far][i] == 0);
        }
        assert_true(fabs(g.slot[d_zeros][3]) > 1e-6);
        differences(&n, d_x - 1, g.slot[d_x], NULL, 5, "target on the way");
        differences(&n, n.parameters, g.slot[n.gradients], n.host[n.gradients], 5, "target on the way");
        gradients_free(&g);
        net_end(&n);
    }
}

/* ---- random programs ------------------------------------------------------------------------------------------------------------ */

static uint64_t random_seed;
static uint64_t random_count;

static uint32_t below(uint32_t bound)
{
    return (uint32_t)prn__rng_below(random_seed, PRN__RNG_SUBSET, 1, random_count++, bound);
}

/* Operations on (N, C) tensors chosen at random: any earlier tensor may be used again, anything may be in a group, losses anywhere. */
static void random_program(net *n)
{
    int32_t pool[64], weights[3], vectors[3], scalar = NONE;
    uint32_t count = 0;
    random_count = 0;
    pool[count++] = x_rows(n);
    pool[count++] = input(n, "z", 2, rows_of(n), prn__fixed(C));
    for (int i = 0; i < 3; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "w%d", i);
        weights[i] = parameter(n, name, C, C);
        (void)snprintf(name, sizeof name, "v%d", i);
        vectors[i] = parameter(n, name, C, -1);
    }
    scalar = parameter(n, "s", -1, -1);
    const uint32_t operations = 4 + below(20);
    for (uint32_t i = 0; i < operations; i++) {
        const int32_t a = pool[below(4) == 0 ? below(count) : count - 1 - below(count < 3 ? count : 3)], b = pool[below(count)];
        const int32_t w = weights[below(3)], v = vectors[below(3)], u = vectors[below(3)];
        int32_t y;
        if (below(3) == 0) {
            prn__graph_group(n->g, below(4));
        }
        switch (below(9)) {
        case 0: y = prn__graph_axpby(n->g, "axpby", below(2) ? 1 : 0.7, a, below(2) ? 1 : -0.4, b, NONE); break;
        case 1: y = multiply(n, a, b); break;
        case 2: y = prn__graph_axpby(n->g, "scaled", 0.5, multiply(n, a, scalar), below(2) ? 1 : 0.3, b, NONE); break;
        case 3: y = activate(n, a, below(2) ? PRN_ACT_GELU : PRN_ACT_QUICK_GELU); break;
        case 4: y = prn__graph_layer_norm(n->g, "norm", a, v, u, 1e-2); break;
        case 5: y = op(n, PRN_OP_L2_NORMALISE, prn__graph_axpby(n->g, "shift", 1, a, 0, NONE, NONE), NONE, NONE, 3, (prn_op_attrs){0}, "unit"); break;
        default:
            y = prn__graph_linear(n->g, "linear", a, w, below(2) ? v : NONE, below(2) ? b : NONE, (prn_activation)below(3), (int)below(2));
            y = below(3) == 0 ? prn__graph_axpby(n->g, "copy", 1, y, 0, NONE, NONE) : y;
            break;
        }
        if (below(8) == 0 && n->output_count < 4) {
            loss_rows(n, y);
        }
        if (i % 3 == 2) { /* products of products must not run away */
            y = prn__graph_layer_norm(n->g, "calm", y, v, u, 1e-2);
        }
        pool[count++] = y;
    }
    prn__graph_group(n->g, 0);
    loss_rows(n, pool[count - 1]);
}

/* The derivative along a random direction of everything at once: two runs instead of two an element. */
static void directional(net *n, const gradients *g, int accumulate, const char *what)
{
    double want = 0, size = 0, h = 1e-6, side[2];
    for (int k = 0; k < 2; k++) {
        for (int32_t s = 0; s < (int32_t)n->program->slot_count; s++) {
            if (n->role[s] != PARAMETER && n->role[s] != INPUT) {
                continue;
            }
            const int32_t of = n->role[s] == PARAMETER ? n->gradients : s + 1;
            for (int64_t i = 0; i < used(n, s); i++) {
                const double d = prn__rng_normal(random_seed, PRN__RNG_CROP, (uint64_t)s, (uint64_t)i);
                if (k == 0) {
                    const double gradient = g->slot[of][i] - (n->role[s] == PARAMETER || accumulate ? n->host[of][i] : 0);
                    want += gradient * d;
                    size += fabs(gradient);
                }
                n->host[s][i] += (k == 0 ? h : -2 * h) * d;
            }
        }
        side[k] = loss(n);
    }
    const double got = (side[0] - side[1]) / (2 * h);
    if (!(fabs(got - want) <= 1e-6 * (1 + size))) {
        fail_msg("%s: the derivative along a direction is %.12g, the gradient says %.12g (sum of magnitudes %g)", what, got, want, size);
    }
}

static void test_random_programs(void **state)
{
    (void)state;
    enum { PROGRAMS = 400 };
    int64_t saved = 0;
    for (random_seed = 1; random_seed <= PROGRAMS; random_seed++) {
        char what[48];
        net plain, checkpointed;
        const int accumulate = random_seed % 2 == 0;
        (void)snprintf(what, sizeof what, "random program %llu", (unsigned long long)random_seed);
        net_build(&plain, random_program, accumulate, 0, what);
        net_build(&checkpointed, random_program, accumulate, 1, what);
        gradients a = gradients_of(&plain), b = gradients_of(&checkpointed);
        same_bits(&plain, &a, &b, what, "with checkpointing");
        saved += plain.program->workspace_elements - checkpointed.program->workspace_elements > 0;
        other_forms(&plain, &a, random_program, accumulate, what);
        directional(&plain, &a, accumulate, what);
        gradients_free(&a);
        gradients_free(&b);
        net_end(&plain);
        net_end(&checkpointed);
    }
    print_message("%d random programs, checkpointing made the workspace of %lld smaller\n", PROGRAMS, (long long)saved);
}

/* ---- refusals ------------------------------------------------------------------------------------------------------------------- */

static void refused(net *n, const prn__gradient *seeds, uint32_t count, prn_status want, const char *part, const char *more)
{
    prn_error error = PRN_ERROR_INIT;
    const prn_status status = prn__graph_derive(n->g, "backward", seeds, count, n->targets, n->target_count, n->parameters, n->gradients, 0, &error);
    if (status != want || strstr(error.message, part) == NULL || strstr(error.message, more) == NULL || strstr(error.message, "'net'") == NULL) {
        fail_msg("got %s: '%s', wanted '%s' and '%s'", prn_status_name(status), error.message, part, more);
    }
    prn__graph_destroy(n->g);
}

static void test_refusals(void **state)
{
    (void)state;
    net n;
    /* no derivative */
    net_begin(&n, 0);
    int32_t x = x_rows(&n);
    loss_rows(&n, op(&n, PRN_OP_CLAMP, x, NONE, NONE, 1, (prn_op_attrs){.alpha = -1, .beta = 1}, "clamped"));
    refused(&n, n.seeds, 1, PRN_UNSUPPORTED, "clamp", "'x'");
    /* a gradient through a second result would silently be lost */
    net_begin(&n, 0);
    x = x_rows(&n);
    static const int32_t labels[ROWS] = {0};
    const int32_t label = integers(&n, "labels", rows_of(&n), labels, ROWS);
    const int32_t in[PRN_OP_MAX_INPUTS] = {x, label, NONE, NONE, NONE};
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    (void)prn__graph_op(n.g, PRN_OP_CROSS_ENTROPY, in, out, 3, NULL, "rows");
    loss_at(&n, prn__graph_axpby(n.g, "mixed", 1, out[0], -1, out[1], NONE), 1, rows_of(&n), prn__fixed(0), -1);
    refused(&n, n.seeds, 1, PRN_UNSUPPORTED, "cross_entropy", "'rows#1'");
    /* a seed of another shape, a seed that is no tensor */
    net_begin(&n, 0);
    x = x_rows(&n);
    refused(&n, &(prn__gradient){x, parameter(&n, "p", C, -1), 0}, 1, PRN_INVALID, "seed 0", "'p' (8)");
    net_begin(&n, 0);
    x = x_rows(&n);
    refused(&n, &(prn__gradient){x, NONE, 0}, 1, PRN_INVALID, "seed 0", "does not have");
    net_begin(&n, 0);
    x = x_rows(&n);
    n.targets[0].gradient = parameter(&n, "p", -1, -1);
    refused(&n, &(prn__gradient){x, x, 0}, 1, PRN_INVALID, "target 0", "(N, 8)");
    net_begin(&n, 0);
    x = x_rows(&n);
    n.targets[0].tensor = 1000;
    refused(&n, &(prn__gradient){x, x, 0}, 1, PRN_INVALID, "target 0", "does not have");
}

/* No rows at all: every gradient is zero, and nothing is read. */
static void test_empty(void **state)
{
    (void)state;
    static const builder all[] = {shared_input, diamond, parameter_twice, itself, one_seed};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        net n;
        net_build(&n, all[i], 0, 1, "empty");
        n.values[0] = n.values[1] = 0;
        gradients g = gradients_of(&n);
        assert_memory_equal(g.slot[n.gradients], n.host[n.gradients], (size_t)n.size[n.gradients] * sizeof(double));
        gradients_free(&g);
        net_end(&n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compositions),    cmocka_unit_test(test_checkpointing), cmocka_unit_test(test_targets_on_the_way),
        cmocka_unit_test(test_random_programs), cmocka_unit_test(test_refusals),      cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
