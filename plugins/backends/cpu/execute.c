/* plugins/backends/cpu/execute.c: programs compiled to their scratch, and run: one execution by all threads together, or many side by side.
 *
 * Everything is checked before the first operation runs. `execute` allocates nothing; `execute_each` takes each thread's own scratch when it is
 * called first.
 *
 * Side by side. Each execution is run by one thread from its first operation to its last, so that what one operation writes is still in that core's
 * cache when the next one reads it, and no thread waits for others at the end of each. What all add to (gradients by weights) is added in the order of
 * the executions, an operation at a time: execution e runs such an operation when e - 1 has run it. Threads take executions in rising order, so
 * the one that is waited for has always begun; and since neighbours are a step apart, none waits long.
 */
#include "operations.h"

#include "../common/buffers.h"

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum { PIXELS = 3 * 256, SPINS = 1 << 12 };

/* ---- memory ---- */

/* `count` elements of `each` bytes; 1 when there is memory (or nothing is asked for). */
static int reserve(const prn_host *host, int64_t count, size_t each, const char *purpose, void **memory)
{
    size_t bytes;
    *memory = NULL;
    if (count == 0) {
        return 1;
    }
    if (count < 0 || __builtin_mul_overflow((size_t)count, each, &bytes)) {
        return 0;
    }
    *memory = host->allocate(host->self, bytes, purpose);
    return *memory != NULL;
}

static int lane_init(const prn_host *host, lane *l, int64_t worker, const scratch_need *need)
{
    void *sums = NULL, *partials = NULL, *pixels = NULL;
    const int enough = reserve(host, need->sums, sizeof(float), "cpu scratch", &sums) &&
                       reserve(host, need->partials, sizeof(double), "cpu scratch", &partials) &&
                       reserve(host, PIXELS, sizeof(float), "cpu scratch", &pixels);
    memset(l, 0, sizeof *l);
    l->worker = worker;
    l->sums = sums;
    l->partials = partials;
    l->pixels = pixels;
    return enough;
}

static void lane_fini(const prn_host *host, lane *l)
{
    host->release(host->self, l->sums);
    host->release(host->self, l->partials);
    host->release(host->self, l->pixels);
}

static void alone_drop(const prn_host *host, prn_executable *executable)
{
    for (uint32_t i = 0; executable->alone != NULL && i < host->thread_count(host->self); i++) {
        lane_fini(host, &executable->alone[i]);
    }
    host->release(host->self, executable->alone);
    host->release(host->self, (void *)executable->turns);
    host->release(host->self, executable->weights);
    host->release(host->self, (void *)executable->weights_of);
    executable->weights = NULL;
    executable->weights_of = NULL;
    executable->alone = NULL;
    executable->turns = NULL;
}

void executable_destroy(prn_backend_instance *instance, prn_executable *executable)
{
    if (executable != NULL) {
        const prn_host *host = instance->host;
        alone_drop(host, executable);
        lane_fini(host, &executable->together);
        host->release(host->self, executable->views);
        host->release(host->self, executable->is_half);
        host->release(host->self, executable->worker_scratch);
        host->release(host->self, executable->packed);
        host->release(host->self, executable->program);
        host->release(host->self, executable);
    }
}

/* Shapes that only fit at other values are judged when executed; here only sizes count. */
static scratch_need need_of(const prn_backend_instance *instance, const prn_program *program, const int64_t *maxima)
{
    scratch_need need = {0, 0, 0, 0};
    for (uint32_t i = 0; i < program->op_count; i++) {
        operation view;
        if (operation_view(program, i, maxima, NULL, sizeof(float), &view, NULL) == PRN_OK) {
            (void)operation_shape(program, i, &view, NULL);
            operation_scratch(instance, &view, &need);
        }
    }
    need.worker_floats = (need.worker_floats + 15) / 16 * 16;
    return need;
}

prn_status executable_compile(prn_backend_instance *instance, const prn_program *program, prn_executable **executable, prn_error *error)
{
    const prn_host *host = instance->host;
    int64_t *maxima = NULL, all_floats;
    void *memory = NULL;
    *executable = NULL;
    prn_status status = program_check(program, error);
    if (status != PRN_OK) {
        return status;
    }
    prn_executable *made = host->allocate(host->self, sizeof *made, "cpu executable");
    if (made == NULL || !reserve(host, (int64_t)program->symbol_count + 1, sizeof *maxima, "cpu executable", &memory)) {
        host->release(host->self, made);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory to compile program '%s'", program->name);
    }
    maxima = memory;
    for (uint32_t i = 0; i < program->symbol_count; i++) {
        maxima[i] = program->symbols[i].maximum;
    }
    memset(made, 0, sizeof *made);
    made->program = program_fused(host, program);
    made->need = need_of(instance, program, maxima);
    int enough = made->program != NULL && lane_init(host, &made->together, -1, &made->need) &&
                 !__builtin_mul_overflow(made->need.worker_floats, (int64_t)host->thread_count(host->self), &all_floats);
    if (enough) {
        enough = reserve(host, all_floats, sizeof(float), "cpu scratch", &memory);
        made->worker_scratch = memory;
    }
    if (enough) {
        enough = reserve(host, made->need.packed, sizeof(float), "cpu scratch", &memory);
        made->packed = memory;
    }
    if (enough) {
        enough = reserve(host, program->tensor_count, sizeof *made->is_half, "cpu executable", &memory);
        made->is_half = memory;
    }
    if (enough) {
        enough = reserve(host, made->program->op_count, sizeof *made->views, "cpu executable", &memory);
        made->views = memory;
    }
    for (uint32_t t = 0; t < program->tensor_count && enough; t++) {
        made->is_half[t] = 0;
    }
    if (enough && instance->half != NULL) {
        halves_choose(made->program, maxima, made->is_half);
    }
    host->release(host->self, maxima);
    if (!enough) {
        executable_destroy(instance, made);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory to compile program '%s'; use a smaller batch", program->name);
    }
    *executable = made;
    return PRN_OK;
}

/* ---- by all threads ---- */

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static prn_status ready(const prn_program *program, uint32_t index, const prn_binding *binding, operation *view, prn_error *error)
{
    const prn_status status = operation_resolve(program, index, binding, sizeof(float), view, error);
    return status == PRN_OK ? operation_prepare(view, error) : status;
}

prn_status execute(prn_backend_instance *instance, prn_executable *executable, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    const prn_program *program = executable->program;
    prn_status status = binding_check(program, segment, binding, error);
    if (status != PRN_OK) {
        return status;
    }
    buffer_wish_huge(binding->buffers[PRN_SLOT_WORKSPACE]);
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    for (uint32_t i = first; i < end && status == PRN_OK; i++) {
        status = ready(program, i, binding, &executable->views[i], error);
    }
    if (status != PRN_OK) {
        return status;
    }
    double started = now();
    for (uint32_t i = first; i < end; i++) {
        operation_run(instance, executable, &executable->together, &executable->views[i]);
        const double ended = now();
        op_clock *clock = &instance->times[program->ops[i].kind];
        clock->calls++;
        clock->seconds += ended - started;
        started = ended;
    }
    return PRN_OK;
}

/* ---- side by side ---- */

typedef struct side_by_side {
    prn_backend_instance *instance;
    prn_executable *executable;
    const prn_binding *bindings;
    uint32_t first, end; /* operations */
    _Atomic int64_t refused; /* the first binding that is no good */
} side_by_side;

int bindings_agree(const prn_binding *bindings, uint32_t count, int32_t slot)
{
    const int64_t offset = bindings[0].buffer_offsets != NULL ? bindings[0].buffer_offsets[slot] : 0;
    for (uint32_t i = 1; i < count; i++) {
        if (bindings[i].buffers[slot] != bindings[0].buffers[slot] || (bindings[i].buffer_offsets != NULL ? bindings[i].buffer_offsets[slot] : 0) != offset) {
            return 0;
        }
    }
    return 1;
}

static int is_added(const prn_op *op, int output)
{
    switch (op->kind) {
    case PRN_OP_LOOKUP_GRAD: return 1;
    case PRN_OP_LAYER_NORM_GRAD:
    case PRN_OP_CLASS_ROWS_GRAD:
    case PRN_OP_SIMILARITY_GRAD: return output > 0 || op->attrs.accumulate;
    default: return op->kind >= PRN_OP_LINEAR_GRAD_X && op->kind < PRN_OP_ADAMW && op->attrs.accumulate;
    }
}

static int is_read(const prn_program *program, uint32_t first, uint32_t end, int32_t slot)
{
    for (uint32_t i = first; i < end; i++) {
        for (int k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            const int32_t tensor = program->ops[i].input[k];
            if (tensor != PRN_NO_TENSOR && program->tensors[tensor].slot == slot) {
                return 1;
            }
        }
    }
    return 0;
}

/* Says in `turns` which operations must be run in order (0), and which need not (UINT32_MAX). */
static prn_status turns_init(const side_by_side *x, uint32_t count, prn_error *error)
{
    const prn_program *program = x->executable->program;
    for (uint32_t i = x->first; i < x->end; i++) {
        const prn_op *op = &program->ops[i];
        uint32_t turn = UINT32_MAX;
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            const int32_t slot = op->output[k] != PRN_NO_TENSOR ? program->tensors[op->output[k]].slot : 0;
            if (op->output[k] == PRN_NO_TENSOR || count < 2 || !bindings_agree(x->bindings, count, slot)) {
                continue;
            }
            if (!is_added(op, k) || is_read(program, x->first, x->end, slot)) {
                return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): executions side by side share slot '%s', which they do more than add to",
                                     program->name, i, operation_name(op->kind), program->slots[slot].name);
            }
            turn = 0;
        }
        atomic_store_explicit(&x->executable->turns[i], turn, memory_order_relaxed);
    }
    return PRN_OK;
}

static void check_task(void *context, int64_t index, uint32_t worker)
{
    side_by_side *x = context;
    (void)worker;
    for (uint32_t i = x->first; i < x->end; i++) {
        operation view;
        if (ready(x->executable->program, i, &x->bindings[index], &view, NULL) != PRN_OK) {
            int64_t least = atomic_load(&x->refused);
            while (index < least && !atomic_compare_exchange_weak(&x->refused, &least, index)) {
            }
            return;
        }
    }
}

static void wait_for(_Atomic uint32_t *turn, uint32_t index)
{
    for (int spins = 0; atomic_load_explicit(turn, memory_order_acquire) != index; spins++) {
        if (spins >= SPINS) {
            (void)sched_yield();
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

static void run_task(void *context, int64_t index, uint32_t worker)
{
    const side_by_side *x = context;
    lane *l = &x->executable->alone[worker];
    for (uint32_t i = x->first; i < x->end; i++) {
        _Atomic uint32_t *turn = &x->executable->turns[i];
        const int in_order = atomic_load_explicit(turn, memory_order_relaxed) != UINT32_MAX;
        operation view;
        (void)ready(x->executable->program, i, &x->bindings[index], &view, NULL); /* has been checked */
        if (in_order) {
            wait_for(turn, (uint32_t)index);
        }
        op_clock *clock = &l->times[view.op->kind];
        const double started = now();
        operation_run(x->instance, x->executable, l, &view);
        clock->seconds += now() - started;
        clock->calls++;
        if (in_order) {
            atomic_store_explicit(turn, (uint32_t)index + 1, memory_order_release);
        }
    }
}

/* Each thread's own scratch. */
static prn_status alone_init(prn_backend_instance *instance, prn_executable *executable, prn_error *error)
{
    const prn_host *host = instance->host;
    const uint32_t threads = host->thread_count(host->self);
    void *lanes = NULL, *turns = NULL, *weights = NULL, *weights_of = NULL;
    if (executable->alone != NULL) {
        return PRN_OK;
    }
    int enough = reserve(host, threads, sizeof *executable->alone, "cpu executable", &lanes) &&
                 reserve(host, (int64_t)executable->program->op_count + 1, sizeof *executable->turns, "cpu executable", &turns) &&
                 reserve(host, weights_floats(instance, executable->program), sizeof(float), "weights in bf16", &weights) &&
                 reserve(host, (int64_t)executable->program->op_count + 1, sizeof *executable->weights_of, "cpu executable", &weights_of);
    executable->weights = weights;
    executable->weights_of = weights_of;
    executable->alone = lanes;
    executable->turns = turns;
    for (uint32_t i = 0; lanes != NULL && i < threads; i++) {
        memset(&executable->alone[i], 0, sizeof *executable->alone);
    }
    for (uint32_t i = 0; i < threads && enough; i++) {
        enough = lane_init(host, &executable->alone[i], i, &executable->need);
    }
    if (!enough) {
        alone_drop(host, executable);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory to run program '%s' on %u threads side by side", executable->program->name, threads);
    }
    return PRN_OK;
}

/* Seconds of threads that worked side by side become seconds of the clock. */
static void times_collect(prn_backend_instance *instance, prn_executable *executable, uint32_t count)
{
    const uint32_t all = instance->host->thread_count(instance->host->self), threads = all < count ? all : count;
    for (uint32_t i = 0; i < all; i++) {
        for (uint32_t kind = 0; kind <= PRN_OP_ADAMW; kind++) {
            op_clock *clock = &executable->alone[i].times[kind];
            instance->times[kind].calls += clock->calls;
            instance->times[kind].seconds += clock->seconds / threads;
            *clock = (op_clock){0, 0};
        }
    }
}

prn_status execute_each(prn_backend_instance *instance, prn_executable *executable, uint32_t segment, const prn_binding *bindings, uint32_t count,
                        prn_error *error)
{
    const prn_host *host = instance->host;
    const prn_program *program = executable->program;
    side_by_side x = {.instance = instance, .executable = executable, .bindings = bindings};
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < count && status == PRN_OK; i++) {
        status = binding_check(program, segment, &bindings[i], error);
    }
    if (status != PRN_OK || count == 0) {
        return status;
    }
    buffer_wish_huge(bindings[0].buffers[PRN_SLOT_WORKSPACE]);
    x.first = program->segments[segment].first_op;
    x.end = x.first + program->segments[segment].op_count;
    atomic_init(&x.refused, INT64_MAX);
    if ((status = alone_init(instance, executable, error)) != PRN_OK || (status = turns_init(&x, count, error)) != PRN_OK) {
        return status;
    }
    host->parallel_for(host->self, count, check_task, &x);
    const int64_t refused = atomic_load(&x.refused);
    for (uint32_t i = x.first; i < x.end && refused < count && status == PRN_OK; i++) {
        status = ready(program, i, &bindings[refused], &executable->views[i], error);
    }
    if (status == PRN_OK && !weights_shared(instance, executable, segment, bindings, count)) {
        for (uint32_t i = 0; i < count && status == PRN_OK; i++) {
            status = execute(instance, executable, segment, &bindings[i], error);
        }
        return status;
    }
    if (status == PRN_OK && (status = weights_pack(instance, executable, segment, &bindings[0], error)) == PRN_OK) {
        host->parallel_for(host->self, count, run_task, &x);
        times_collect(instance, executable, count);
    }
    return status;
}
