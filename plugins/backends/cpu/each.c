/* plugins/backends/cpu/each.c: executions side by side (prn_backend.execute_each).
 *
 * Each execution is run by one thread from its first operation to its last, so that what one operation writes is still in that core's cache when the
 * next one reads it, and no thread waits for others at the end of each. Executions of one program are a party. What a party adds to (gradients by
 * weights) is added in the order of its executions, an operation at a time: an execution runs such an operation when the one before it in its party
 * has run it. Threads take a party's executions in rising order, so the one that is waited for has always begun; and since neighbours are a step
 * apart, none waits long. Parties do not wait for each other: what one writes, no other touches.
 *
 * Everything is checked before the first operation runs. Memory that is needed is taken when a program, or so many executions, come for the first time.
 */
#include "operations.h"

#include "../common/buffers.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>

enum { SPINS = 1 << 12, NONE = -1 };

/* Executions of one program; all of them run the same segment. */
typedef struct party {
    _Alignas(64) _Atomic int64_t next; /* the execution that is begun next; NONE */
    prn_executable *executable;
    const prn_binding *binding; /* of the first of them */
    uint32_t segment, first, end; /* operations */
    uint32_t count;
    int64_t last; /* execution */
} party;

/* An execution's place in its party. */
typedef struct member {
    _Alignas(64) _Atomic uint32_t done; /* its operations before this one, as far as others wait for them */
    uint32_t party;
    int64_t before, after; /* executions; NONE */
} member;

typedef struct side_by_side {
    prn_backend_instance *instance;
    const prn_execution *executions;
    member *members; /* (count) */
    party *parties;  /* (party_count) */
    uint32_t count, party_count;
    int64_t panels;          /* of weights, of all parties */
    _Atomic int64_t refused; /* the first execution that is no good */
} side_by_side;

static int64_t offset_of(const prn_binding *binding, uint32_t slot)
{
    return binding->buffer_offsets != NULL ? binding->buffer_offsets[slot] : 0;
}

static int same_place(const prn_binding *a, const prn_binding *b, uint32_t slot)
{
    return a->buffers[slot] == b->buffers[slot] && offset_of(a, slot) == offset_of(b, slot);
}

/* ---- what is known of a program ---- */

static int by_place(const void *a, const void *b)
{
    const slot_span *x = a, *y = b;
    return x->slot != y->slot ? (x->slot < y->slot ? -1 : 1) : x->first < y->first ? -1 : x->first > y->first;
}

/* Of all tensors outside the workspace. */
static void spans_find(prn_executable *executable)
{
    const prn_program *program = executable->program;
    executable->span_count = 0;
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        if (program->tensors[t].slot != PRN_SLOT_WORKSPACE) {
            executable->spans[executable->span_count++] = (slot_span){(uint32_t)program->tensors[t].slot, t, program->tensors[t].offset};
        }
    }
    qsort(executable->spans, executable->span_count, sizeof *executable->spans, by_place);
}

/* Each thread's own scratch, and what is known of the program. */
static prn_status alone_init(prn_backend_instance *instance, prn_executable *executable, prn_error *error)
{
    const prn_host *host = instance->host;
    const prn_program *program = executable->program;
    const uint32_t threads = host->thread_count(host->self);
    void *lanes = NULL, *in_order = NULL, *weights = NULL, *weights_of = NULL, *panels = NULL, *shared = NULL, *spans = NULL;
    if (executable->alone != NULL) {
        return PRN_OK;
    }
    int64_t floats, panel_count;
    weights_most(instance, program, &floats, &panel_count);
    int enough = reserve(host, threads, sizeof *executable->alone, "cpu executable", &lanes) &&
                 reserve(host, (int64_t)program->op_count + 1, 1, "cpu executable", &in_order) &&
                 reserve(host, floats, sizeof(float), "weights in panels", &weights) &&
                 reserve(host, (int64_t)program->op_count + 1, sizeof *executable->weights_of, "cpu executable", &weights_of) &&
                 reserve(host, panel_count, sizeof *executable->panels, "cpu executable", &panels) &&
                 reserve(host, program->slot_count, 1, "cpu executable", &shared) &&
                 reserve(host, (int64_t)program->tensor_count + 1, sizeof *executable->spans, "cpu executable", &spans);
    executable->alone = lanes;
    executable->in_order = in_order;
    executable->weights = weights;
    executable->weights_of = weights_of;
    executable->panels = panels;
    executable->shared = shared;
    executable->spans = spans;
    for (uint32_t i = 0; lanes != NULL && i < threads; i++) {
        memset(&executable->alone[i], 0, sizeof *executable->alone);
    }
    for (uint32_t i = 0; i < threads && enough; i++) {
        enough = lane_init(host, &executable->alone[i], i, &executable->need);
    }
    if (!enough) {
        alone_drop(host, executable);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory to run program '%s' on %u threads side by side", program->name, threads);
    }
    spans_find(executable);
    return PRN_OK;
}

/* ---- parties ---- */

/* Room for as many executions as come, kept with the first one's program. */
static prn_status room_init(side_by_side *x, prn_error *error)
{
    const prn_host *host = x->instance->host;
    prn_executable *keeper = x->executions[0].executable;
    if (x->count > keeper->each_count) {
        void *members = NULL, *parties = NULL;
        if (!reserve(host, x->count, sizeof *x->members, "cpu executions", &members) || !reserve(host, x->count, sizeof *x->parties, "cpu executions", &parties)) {
            host->release(host->self, members);
            return prn_error_set(error, PRN_NO_MEMORY, "no memory for %u executions side by side", x->count);
        }
        host->release(host->self, keeper->each_members);
        host->release(host->self, keeper->each_parties);
        keeper->each_members = members;
        keeper->each_parties = parties;
        keeper->each_count = x->count;
    }
    x->members = keeper->each_members;
    x->parties = keeper->each_parties;
    return PRN_OK;
}

/* Whose each execution is, and what all of a party have at one place. `*is_apart` 0: one program is to run several segments. */
static prn_status parties_init(side_by_side *x, int *is_apart, prn_error *error)
{
    for (int64_t i = 0; i < x->count; i++) {
        const prn_execution *e = &x->executions[i];
        const prn_program *program = e->executable->program;
        uint32_t index = 0;
        while (index < x->party_count && x->parties[index].executable != e->executable) {
            index++;
        }
        party *p = &x->parties[index];
        x->members[i] = (member){.party = index, .before = NONE, .after = NONE};
        if (index == x->party_count) {
            const prn_segment *segment = &program->segments[e->segment];
            const prn_status status = alone_init(x->instance, e->executable, error);
            if (status != PRN_OK) {
                return status;
            }
            *p = (party){.next = i, .executable = e->executable, .binding = e->binding, .segment = e->segment, .first = segment->first_op,
                         .end = segment->first_op + segment->op_count, .last = i};
            memset(e->executable->shared, 1, program->slot_count);
            buffer_wish_huge(e->binding->buffers[PRN_SLOT_WORKSPACE]);
            x->party_count++;
        } else {
            x->members[i].before = p->last;
            x->members[p->last].after = i;
            p->last = i;
        }
        p->count++;
        *is_apart = *is_apart && p->segment == e->segment;
        for (uint32_t slot = 0; slot < program->slot_count; slot++) {
            e->executable->shared[slot] &= (uint8_t)same_place(p->binding, e->binding, slot);
        }
    }
    return PRN_OK;
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

static int is_read(const party *p, int32_t slot)
{
    const prn_program *program = p->executable->program;
    for (uint32_t i = p->first; i < p->end; i++) {
        for (int k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            const int32_t tensor = program->ops[i].input[k];
            if (tensor != PRN_NO_TENSOR && program->tensors[tensor].slot == slot) {
                return 1;
            }
        }
    }
    return 0;
}

/* Which operations must be run in the order of a party's executions. */
static prn_status order_init(const party *p, prn_error *error)
{
    const prn_program *program = p->executable->program;
    int32_t judged = -1; /* the last slot that was: mostly there is one */
    int judged_read = 0;
    for (uint32_t i = p->first; i < p->end; i++) {
        const prn_op *op = &program->ops[i];
        p->executable->in_order[i] = 0;
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            const int32_t slot = op->output[k] != PRN_NO_TENSOR ? program->tensors[op->output[k]].slot : 0;
            if (op->output[k] == PRN_NO_TENSOR || p->count < 2 || !p->executable->shared[slot]) {
                continue;
            }
            judged_read = slot == judged ? judged_read : is_read(p, slot);
            judged = slot;
            if (!is_added(op, k) || judged_read) {
                return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): executions side by side share slot '%s', which they do more than add to",
                                     program->name, i, operation_name(op->kind), program->slots[slot].name);
            }
            p->executable->in_order[i] = 1;
        }
    }
    return PRN_OK;
}

static uint32_t first_span(const prn_executable *executable, uint32_t slot)
{
    uint32_t i = 0;
    while (i < executable->span_count && executable->spans[i].slot < slot) {
        i++;
    }
    return i;
}

/* Of the party's first execution: elements of the slot that lie before the end of a tensor. */
static int64_t end_of(const party *p, const slot_span *span)
{
    return span->first + prn_tensor_elements(&p->executable->program->tensors[span->tensor], p->binding->symbol_values);
}

/* Two programs' slots in one buffer: what one of them writes, the other may not touch. */
static prn_status slots_apart(const party *a, uint32_t slot, const party *b, uint32_t other, prn_error *error)
{
    const prn_executable *one = a->executable, *two = b->executable;
    const int64_t shift = offset_of(a->binding, slot) - offset_of(b->binding, other);
    uint32_t i = first_span(one, slot), k = first_span(two, other);
    while (i < one->span_count && one->spans[i].slot == slot && k < two->span_count && two->spans[k].slot == other) {
        const slot_span *s = &one->spans[i], *t = &two->spans[k];
        if (end_of(a, s) + shift <= t->first) {
            i++;
        } else if (end_of(b, t) <= s->first + shift) {
            k++;
        } else {
            return prn_error_set(error, PRN_INVALID, "programs '%s' and '%s' side by side: tensor '%s' of the one and '%s' of the other share memory",
                                 one->program->name, two->program->name, one->program->tensors[s->tensor].name, two->program->tensors[t->tensor].name);
        }
    }
    return PRN_OK;
}

static prn_status parties_apart(const side_by_side *x, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t p = 1; p < x->party_count; p++) {
        for (uint32_t q = 0; q < p; q++) {
            const party *a = &x->parties[q], *b = &x->parties[p];
            const prn_program *one = a->executable->program, *two = b->executable->program;
            for (uint32_t i = 1; i < one->slot_count; i++) {
                for (uint32_t k = 1; k < two->slot_count && status == PRN_OK; k++) {
                    const int is_written = one->slots[i].is_written || two->slots[k].is_written;
                    status = is_written && a->binding->buffers[i] == b->binding->buffers[k] ? slots_apart(a, i, b, k, error) : PRN_OK;
                }
            }
        }
    }
    return status;
}

/* ---- first all weights are laid down and all executions checked, then they run ---- */

static const party *party_of(const side_by_side *x, int64_t index)
{
    return &x->parties[x->members[index].party];
}

static void check(side_by_side *x, int64_t index)
{
    const party *p = party_of(x, index);
    for (uint32_t i = p->first; i < p->end; i++) {
        operation view;
        if (operation_ready(p->executable->program, i, x->executions[index].binding, &view, NULL) != PRN_OK) {
            int64_t least = atomic_load(&x->refused);
            while (index < least && !atomic_compare_exchange_weak(&x->refused, &least, index)) {
            }
            return;
        }
    }
}

static void prepare_task(void *context, int64_t index, uint32_t worker)
{
    side_by_side *x = context;
    if (index >= x->panels) {
        check(x, index - x->panels);
        return;
    }
    const party *p = x->parties;
    for (; index >= p->executable->panel_count; p++) {
        index -= p->executable->panel_count;
    }
    weights_pack(x->instance, p->executable, index, worker);
}

/* Until operation `index` is done. */
static void wait_for(const _Atomic uint32_t *done, uint32_t index)
{
    for (int spins = 0; atomic_load_explicit(done, memory_order_acquire) <= index; spins++) {
        if (spins >= SPINS) {
            (void)sched_yield();
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

static void run(const side_by_side *x, int64_t index, uint32_t worker)
{
    const party *p = party_of(x, index);
    member *m = &x->members[index];
    lane *l = &p->executable->alone[worker];
    for (uint32_t i = p->first; i < p->end; i++) {
        const int in_order = p->executable->in_order[i];
        operation view;
        (void)operation_ready(p->executable->program, i, x->executions[index].binding, &view, NULL); /* has been checked */
        if (in_order && m->before != NONE) {
            wait_for(&x->members[m->before].done, i);
        }
        op_clock *clock = &l->times[view.op->kind];
        const double started = now();
        operation_run(x->instance, p->executable, l, &view);
        clock->seconds += now() - started;
        clock->calls++;
        if (in_order) {
            atomic_store_explicit(&m->done, i + 1, memory_order_release);
        }
    }
}

/* Takes the party's next execution; NONE when all have begun. */
static int64_t take(const side_by_side *x, party *p)
{
    int64_t index = atomic_load_explicit(&p->next, memory_order_relaxed);
    while (index != NONE && !atomic_compare_exchange_weak_explicit(&p->next, &index, x->members[index].after, memory_order_relaxed, memory_order_relaxed)) {
    }
    return index;
}

/* All parties, the first ones first. */
static void run_task(void *context, int64_t index, uint32_t worker)
{
    const side_by_side *x = context;
    (void)index;
    for (uint32_t p = 0; p < x->party_count; p++) {
        for (int64_t i = take(x, &x->parties[p]); i != NONE; i = take(x, &x->parties[p])) {
            run(x, i, worker);
        }
    }
}

/* Seconds of threads that worked side by side become seconds of the clock. */
static void times_collect(const side_by_side *x)
{
    const uint32_t all = x->instance->host->thread_count(x->instance->host->self), threads = all < x->count ? all : x->count;
    for (uint32_t p = 0; p < x->party_count; p++) {
        for (uint32_t i = 0; i < all; i++) {
            for (uint32_t kind = 0; kind < PRN_OP_END; kind++) {
                op_clock *clock = &x->parties[p].executable->alone[i].times[kind];
                x->instance->times[kind].calls += clock->calls;
                x->instance->times[kind].seconds += clock->seconds / threads;
                *clock = (op_clock){0, 0};
            }
        }
    }
}

/* What the first one that is no good is refused for. */
static prn_status refusal(const side_by_side *x, int64_t index, prn_error *error)
{
    const party *p = party_of(x, index);
    prn_status status = PRN_OK;
    for (uint32_t i = p->first; i < p->end && status == PRN_OK; i++) {
        status = operation_ready(p->executable->program, i, x->executions[index].binding, &p->executable->views[i], error);
    }
    return status;
}

static prn_status one_by_one(const side_by_side *x, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < x->count && status == PRN_OK; i++) {
        const prn_execution *e = &x->executions[i];
        status = execute(x->instance, e->executable, e->segment, e->binding, error);
    }
    return status;
}

prn_status execute_each(prn_backend_instance *instance, const prn_execution *executions, uint32_t count, prn_error *error)
{
    const prn_host *host = instance->host;
    side_by_side x = {.instance = instance, .executions = executions, .count = count};
    prn_status status = PRN_OK;
    int is_apart = 1;
    for (uint32_t i = 0; i < count && status == PRN_OK; i++) {
        status = binding_check(executions[i].executable->program, executions[i].segment, executions[i].binding, error);
    }
    if (status != PRN_OK || count == 0 || (status = room_init(&x, error)) != PRN_OK || (status = parties_init(&x, &is_apart, error)) != PRN_OK ||
        (status = parties_apart(&x, error)) != PRN_OK) {
        return status;
    }
    for (uint32_t p = 0; p < x.party_count && is_apart && status == PRN_OK; p++) {
        status = order_init(&x.parties[p], error);
    }
    for (uint32_t p = 0; p < x.party_count && is_apart && status == PRN_OK; p++) {
        const party *here = &x.parties[p];
        is_apart = weights_shared(instance, here->executable, here->segment);
        status = is_apart ? weights_find(instance, here->executable, here->segment, here->binding, error) : PRN_OK;
        x.panels += is_apart ? here->executable->panel_count : 0;
    }
    if (status != PRN_OK) {
        return status;
    }
    x.panels = is_apart ? x.panels : 0;
    atomic_init(&x.refused, INT64_MAX);
    host->parallel_for(host->self, x.panels + count, prepare_task, &x);
    const int64_t refused = atomic_load(&x.refused);
    if (refused < count) {
        return refusal(&x, refused, error);
    }
    if (!is_apart) {
        return one_by_one(&x, error);
    }
    host->parallel_for(host->self, host->thread_count(host->self), run_task, &x);
    times_collect(&x);
    return PRN_OK;
}
