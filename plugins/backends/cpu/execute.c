/* plugins/backends/cpu/execute.c: programs compiled to their scratch, and run by all threads together.
 *
 * Everything is checked before the first operation runs. `execute` allocates nothing. Executions side by side: each.c.
 */
#include "operations.h"

#include "../common/buffers.h"

#include <time.h>

/* ---- memory ---- */

int reserve(const prn_host *host, int64_t count, size_t each, const char *purpose, void **memory)
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

int lane_init(const prn_host *host, lane *l, int64_t worker, const scratch_need *need)
{
    void *sums = NULL, *partials = NULL, *pixels = NULL;
    const int enough = reserve(host, need->sums, sizeof(float), "cpu scratch", &sums) &&
                       reserve(host, need->partials, sizeof(double), "cpu scratch", &partials) &&
                       reserve(host, 1, sizeof(pixel_values), "cpu scratch", &pixels);
    memset(l, 0, sizeof *l);
    l->worker = worker;
    l->sums = sums;
    l->partials = partials;
    l->pixels = pixels;
    if (pixels != NULL) {
        l->pixels->is_made = 0;
    }
    return enough;
}

static void lane_fini(const prn_host *host, lane *l)
{
    host->release(host->self, l->sums);
    host->release(host->self, l->partials);
    host->release(host->self, l->pixels);
}

void alone_drop(const prn_host *host, prn_executable *executable)
{
    for (uint32_t i = 0; executable->alone != NULL && i < host->thread_count(host->self); i++) {
        lane_fini(host, &executable->alone[i]);
    }
    host->release(host->self, executable->alone);
    host->release(host->self, executable->in_order);
    host->release(host->self, executable->shared);
    host->release(host->self, executable->spans);
    host->release(host->self, executable->weights);
    host->release(host->self, (void *)executable->weights_of);
    host->release(host->self, executable->panels);
    executable->alone = NULL;
    executable->in_order = executable->shared = NULL;
    executable->spans = NULL;
    executable->weights = NULL;
    executable->weights_of = NULL;
    executable->panels = NULL;
}

void executable_destroy(prn_backend_instance *instance, prn_executable *executable)
{
    if (executable != NULL) {
        const prn_host *host = instance->host;
        alone_drop(host, executable);
        host->release(host->self, executable->each_members);
        host->release(host->self, executable->each_parties);
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

double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

prn_status operation_ready(const prn_program *program, uint32_t index, const prn_binding *binding, operation *view, prn_error *error)
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
        status = operation_ready(program, i, binding, &executable->views[i], error);
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
