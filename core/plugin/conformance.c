/* core/plugin/conformance.c: see conformance.h. Running one case and judging it; the cases are in conformance_cases.c.
 *
 * A case is a program of one operation. Each operand has a slot of its own, with a border of guard elements before and after.
 */
#include "plugin/conformance_internal.h"

#include <math.h>
#include <string.h>


/* A value near to where rounding turns may be rounded to the other side when it is computed a little differently: one in so many. */
enum { GUARD = 64, SLOTS = OPERANDS + 1, BF16_OTHERWISE = 256 };
static const double BF16_STEP = 1.0 / 128; /* of the value, at most */
static const double GUARD_VALUE = 12352; /* also in bf16 */

const char *prn__conformance_op_name(uint32_t kind)
{
    switch (kind) {
#define NAME(code, value, name, inputs, outputs) case value: return name;
        PRN_OP_LIST(NAME)
#undef NAME
    default: return "?";
    }
}

static int64_t output_slot(const trial *t, int k)
{
    return t->out[k].same_as >= 0 ? t->out[k].same_as + 1 : PRN_OP_MAX_INPUTS + k + 1;
}

/* ---- one case on one device ---- */

typedef struct session {
    const prn__device *device;
    trial *t;
    prn_tensor tensors[OPERANDS];
    prn_slot slots[SLOTS];
    prn_buffer *buffers[SLOTS];
    int64_t offsets[SLOTS];
    prn_symbol symbol;
    prn_op op;
    prn_segment segment;
    prn_program program;
    prn_executable *executable;
} session;

static void session_close(session *s)
{
    if (s->executable != NULL) {
        s->device->backend->executable_destroy(s->device->instance, s->executable);
    }
    for (int i = 0; i < SLOTS; i++) {
        if (s->buffers[i] != NULL) {
            s->device->backend->buffer_destroy(s->device->instance, s->buffers[i]);
        }
    }
}

static void session_program(session *s, const prn__device *device, trial *t)
{
    static const char *const names[OPERANDS] = {"in0", "in1", "in2", "in3", "in4", "out0", "out1", "out2"};
    memset(s, 0, sizeof *s);
    s->device = device;
    s->t = t;
    s->symbol = (prn_symbol){"n", t->symbol + 3};
    s->slots[0] = (prn_slot){"workspace", PRN_REAL, 0};
    s->op.kind = t->kind;
    s->op.attrs = t->attrs;
    for (int i = 0; i < OPERANDS; i++) {
        const spec *o = operand_of(t, i);
        int32_t *index = i < PRN_OP_MAX_INPUTS ? &s->op.input[i] : &s->op.output[i - PRN_OP_MAX_INPUTS];
        *index = o->content == ABSENT ? PRN_NO_TENSOR : i;
        const int slot = o->content != ABSENT && o->same_as >= 0 ? o->same_as + 1 : i + 1;
        s->tensors[i] = (prn_tensor){.name = names[i], .type = o->type != 0 ? (uint32_t)o->type : PRN_REAL, .rank = o->rank, .slot = slot,
                                     .offset = GUARD};
        memcpy(s->tensors[i].dim, o->dim, sizeof o->dim);
        s->slots[i + 1] = (prn_slot){names[i], s->tensors[i].type, i >= PRN_OP_MAX_INPUTS};
        if (o->content != ABSENT && i >= PRN_OP_MAX_INPUTS) {
            s->slots[slot].is_written = 1;
        }
        s->offsets[i + 1] = i % 2 == 0 ? 0 : GUARD; /* both ways of saying where a tensor lies */
    }
    s->segment = (prn_segment){"forward", 0, 1};
    s->program = (prn_program){.struct_size = (uint32_t)sizeof(prn_program), .name = "conformance", .symbols = &s->symbol, .symbol_count = 1,
                               .slot_count = SLOTS, .slots = s->slots, .tensors = s->tensors, .ops = &s->op, .segments = &s->segment,
                               .tensor_count = OPERANDS, .op_count = 1, .segment_count = 1};
}

static int64_t border(const session *s, int slot)
{
    return GUARD + s->offsets[slot];
}

/* Writes an operand's content and its borders. `room`: doubles enough for it. */
static prn_status session_fill(session *s, int i, double *room, prn_error *error)
{
    const spec *o = operand_of(s->t, i);
    const prn_backend *b = s->device->backend;
    const int64_t before = border(s, i + 1), all = before + o->elements + GUARD;
    if (o->type == PRN_REAL || o->type == PRN_BF16) {
        for (int64_t e = 0; e < all; e++) {
            const int inside = e >= before && e < before + o->elements;
            room[e] = !inside ? GUARD_VALUE : o->content == POISON ? (double)NAN : o->values[e - before];
        }
        return b->buffer_write(s->device->instance, s->buffers[i + 1], 0, PRN_HOST_F64, room, all, error);
    }
    if (o->type == PRN_I32) {
        return b->buffer_write(s->device->instance, s->buffers[i + 1], before, PRN_HOST_I32, o->integers, o->elements, error);
    }
    uint8_t *bytes = (uint8_t *)room;
    for (int64_t e = 0; e < o->elements; e++) {
        bytes[e] = (uint8_t)o->values[e];
    }
    return b->buffer_write(s->device->instance, s->buffers[i + 1], before, PRN_HOST_U8, bytes, o->elements, error);
}

static prn_status session_buffers(session *s, prn_error *error)
{
    const prn_backend *b = s->device->backend;
    prn_status status = b->buffer_create(s->device->instance, PRN_REAL, 0, "conformance", &s->buffers[0], error);
    for (int i = 0; i < OPERANDS && status == PRN_OK; i++) {
        const spec *o = operand_of(s->t, i);
        const int64_t elements = o->content != ABSENT && o->same_as < 0 ? border(s, i + 1) + o->elements + GUARD : 0;
        status = b->buffer_create(s->device->instance, (prn_type)s->slots[i + 1].type, elements, "conformance", &s->buffers[i + 1], error);
    }
    return status;
}

/* Compiles, and makes the buffers. */
static prn_status session_open(session *s, prn_error *error)
{
    const prn_status status = session_buffers(s, error);
    return status == PRN_OK ? s->device->backend->compile(s->device->instance, &s->program, &s->executable, error) : status;
}

static prn_status session_fill_all(session *s, double *room, prn_error *error)
{
    prn_status status = PRN_OK;
    for (int i = 0; i < OPERANDS && status == PRN_OK; i++) {
        const spec *o = operand_of(s->t, i);
        if (o->content != ABSENT && o->same_as < 0) {
            status = session_fill(s, i, room, error);
        }
    }
    return status;
}

static prn_binding session_binding(const session *s)
{
    return (prn_binding){.struct_size = (uint32_t)sizeof(prn_binding), .slot_count = SLOTS, .buffers = s->buffers, .buffer_offsets = s->offsets,
                         .symbol_values = &s->t->symbol, .symbol_count = 1};
}

/* Every output with its borders. */
static prn_status session_read(const session *s, double *const results[PRN_OP_MAX_OUTPUTS], prn_error *error)
{
    const prn_backend *b = s->device->backend;
    prn_status status = b->synchronise(s->device->instance, error);
    for (int k = 0; k < PRN_OP_MAX_OUTPUTS && status == PRN_OK; k++) {
        const spec *o = &s->t->out[k];
        if (o->content != ABSENT) {
            const int slot = o->same_as >= 0 ? o->same_as + 1 : PRN_OP_MAX_INPUTS + k + 1;
            status = b->buffer_read(s->device->instance, s->buffers[slot], 0, PRN_HOST_F64, results[k], border(s, slot) + o->elements + GUARD, error);
        }
    }
    return status;
}

/* Fills, executes and reads. */
static prn_status session_run(session *s, double *room, double *const results[PRN_OP_MAX_OUTPUTS], prn_error *error)
{
    const prn_binding binding = session_binding(s);
    prn_status status = session_fill_all(s, room, error);
    if (status == PRN_OK) {
        status = s->device->backend->execute(s->device->instance, s->executable, 0, &binding, error);
    }
    return status == PRN_OK ? session_read(s, results, error) : status;
}

/* The same, twice side by side (prn_backend.execute_each), in memory of their own; `is_same` 0: one of them gives other bytes than `want`. */
static prn_status session_run_each(session *s, double *room, double *const want[PRN_OP_MAX_OUTPUTS], double *const results[PRN_OP_MAX_OUTPUTS], int *is_same,
                                   prn_error *error)
{
    session twin = *s;
    memset(twin.buffers, 0, sizeof twin.buffers);
    twin.executable = NULL; /* that of both is `s`'s */
    prn_status status = session_buffers(&twin, error);
    session *const both[2] = {s, &twin};
    prn_binding bindings[2];
    prn_execution executions[2];
    *is_same = 1;
    for (int i = 0; i < 2 && status == PRN_OK; i++) {
        bindings[i] = session_binding(both[i]);
        executions[i] = (prn_execution){.executable = s->executable, .binding = &bindings[i]};
        status = session_fill_all(both[i], room, error);
    }
    if (status == PRN_OK) {
        status = s->device->backend->execute_each(s->device->instance, executions, 2, error);
    }
    for (int i = 0; i < 2 && status == PRN_OK; i++) {
        status = session_read(both[i], results, error);
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS && status == PRN_OK; k++) {
            const int64_t all = border(s, (int)output_slot(s->t, k)) + s->t->out[k].elements + GUARD;
            *is_same = *is_same && (s->t->out[k].content == ABSENT || memcmp(results[k], want[k], (size_t)all * sizeof **want) == 0);
        }
    }
    session_close(&twin);
    return status;
}

/* Reads as given from a device: results without borders go to `wanted[k]`, which the arena owns. */
int prn__conformance_reference(suite *u, trial *t, double *wanted[PRN_OP_MAX_OUTPUTS])
{
    session s;
    double *room, *results[PRN_OP_MAX_OUTPUTS] = {NULL, NULL, NULL};
    int64_t most = 0;
    if (u->status != PRN_OK) {
        return 0;
    }
    for (int i = 0; i < OPERANDS; i++) {
        most = operand_of(t, i)->elements > most ? operand_of(t, i)->elements : most;
    }
    room = prn__arena_alloc(&u->arena, (size_t)(most + 3 * GUARD) * sizeof *room);
    for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
        results[k] = prn__arena_alloc(&u->arena, (size_t)(t->out[k].elements + 3 * GUARD) * sizeof *room);
        if (results[k] == NULL) {
            room = NULL;
        }
    }
    if (room == NULL) {
        u->status = prn_error_set(u->error, PRN_NO_MEMORY, "no memory for a conformance case");
        return 0;
    }
    session_program(&s, u->reference, t);
    u->status = session_open(&s, u->error);
    if (u->status == PRN_OK) {
        u->status = session_run(&s, room, results, u->error);
    }
    for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
        wanted[k] = t->out[k].content != ABSENT ? results[k] + border(&s, (int)output_slot(t, k)) : NULL;
    }
    session_close(&s);
    if (u->status != PRN_OK) {
        (void)prn_error_context(u->error, u->status, "reference, %s (%s)", prn__conformance_op_name(t->kind), t->text);
    }
    return u->status == PRN_OK;
}

/* ---- comparing ---- */

static void judge_output(prn__conformance_case *result, const session *s, int k, const double *got, const double *again, const double *want,
                         double absolute, double relative, char *reason, size_t bytes)
{
    const spec *o = &s->t->out[k];
    const int64_t before = border(s, (int)output_slot(s->t, k)), all = before + o->elements + GUARD;
    double scale = 0, worst = 0;
    int64_t steps = 0;
    for (int64_t e = 0; e < o->elements; e++) {
        scale = isfinite(want[e]) && fabs(want[e]) > scale ? fabs(want[e]) : scale;
    }
    const double bound = absolute + relative * scale;
    for (int64_t e = 0; e < o->elements; e++) {
        const double difference = fabs(got[before + e] - want[e]);
        const int both_same = got[before + e] == want[e] || (isnan(got[before + e]) && isnan(want[e]));
        if (o->type == PRN_BF16 && difference > bound && difference <= BF16_STEP * fabs(want[e])) {
            steps++;
        } else if (!both_same && !(difference <= worst)) {
            worst = isnan(difference) ? (double)INFINITY : difference;
        }
    }
    if (worst * result->bound >= result->error * bound || k == 0) { /* the output nearest to its bound, or farthest beyond */
        result->error = worst;
        result->bound = bound;
    }
    if (worst > bound && reason[0] == '\0') {
        (void)snprintf(reason, bytes, "output %d differs by %.3g, allowed %.3g", k, worst, bound);
        result->error = worst;
        result->bound = bound;
    }
    if (steps > 1 + o->elements / BF16_OTHERWISE && reason[0] == '\0') {
        (void)snprintf(reason, bytes, "output %d: %lld of %lld values are rounded to the other side; see ADAMW in perennial/program.h", k, (long long)steps,
                       (long long)o->elements);
    }
    for (int64_t e = 0; e < all && reason[0] == '\0'; e++) {
        if ((e < before || e >= before + o->elements) && got[e] != GUARD_VALUE) {
            (void)snprintf(reason, bytes, "wrote outside output %d (element %lld of %lld)", k, (long long)(e - before), (long long)o->elements);
        }
    }
    if (reason[0] == '\0' && memcmp(got, again, (size_t)all * sizeof *got) != 0) {
        (void)snprintf(reason, bytes, "output %d: not the same bytes when run twice", k);
    }
}

static int is_supported(const session *s)
{
    return s->device->backend->supports(s->device->instance, &s->program, 0);
}

int prn__conformance_supports(const suite *u, trial *t)
{
    session s;
    session_program(&s, u->device, t);
    return is_supported(&s);
}

void prn__conformance_trial(suite *u, trial *t)
{
    prn__conformance_case result = {.op = prn__conformance_op_name(t->kind), .text = t->text, .supported = 1, .reason = ""};
    double *wanted[PRN_OP_MAX_OUTPUTS], *got[PRN_OP_MAX_OUTPUTS], *again[PRN_OP_MAX_OUTPUTS], *room, absolute = 0, relative = 0;
    char reason[PRN_ERROR_MESSAGE_BYTES] = "";
    prn_error error = PRN_ERROR_INIT;
    int64_t most = 0;
    session s;
    if (u->status != PRN_OK || !prn__conformance_reference(u, t, wanted)) {
        return;
    }
    for (int i = 0; i < OPERANDS; i++) {
        most = operand_of(t, i)->elements > most ? operand_of(t, i)->elements : most;
    }
    room = prn__arena_alloc(&u->arena, (size_t)(most + 3 * GUARD) * sizeof *room);
    for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
        got[k] = prn__arena_alloc(&u->arena, (size_t)(t->out[k].elements + 3 * GUARD) * sizeof *room);
        again[k] = prn__arena_alloc(&u->arena, (size_t)(t->out[k].elements + 3 * GUARD) * sizeof *room);
        if (got[k] == NULL || again[k] == NULL) {
            room = NULL;
        }
    }
    if (room == NULL) {
        u->status = prn_error_set(u->error, PRN_NO_MEMORY, "no memory for a conformance case");
        return;
    }
    session_program(&s, u->device, t);
    if (!is_supported(&s)) {
        result.supported = 0;
        result.reason = "not supported";
        u->summary->unsupported++;
    } else {
        prn_status status = session_open(&s, &error);
        if (status == PRN_OK) {
            status = session_run(&s, room, got, &error);
        }
        if (status == PRN_OK) {
            status = session_run(&s, room, again, &error);
        }
        if (u->device->backend->instance_error_bound != NULL) {
            u->device->backend->instance_error_bound(u->device->instance, t->kind, &absolute, &relative);
        } else {
            u->device->backend->error_bound(t->kind, &absolute, &relative);
        }
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS && status == PRN_OK; k++) {
            if (t->out[k].content != ABSENT) {
                judge_output(&result, &s, k, got[k], again[k], wanted[k], absolute, relative, reason, sizeof reason);
            }
        }
        int is_same = 1;
        if (status == PRN_OK && u->device->backend->execute_each != NULL) {
            status = session_run_each(&s, room, got, again, &is_same, &error);
        }
        if (!is_same && reason[0] == '\0') {
            (void)snprintf(reason, sizeof reason, "execute_each gives other bytes than execute");
        }
        if (status != PRN_OK) {
            result.error = (double)INFINITY;
            (void)snprintf(reason, sizeof reason, "%s", error.message);
        }
        result.passed = reason[0] == '\0';
        result.reason = reason;
        u->summary->cases++;
        *(result.passed ? &u->summary->passed : &u->summary->failed) += 1;
    }
    session_close(&s);
    if (u->report != NULL) {
        u->report(u->context, &result);
    }
}

prn_status prn__conformance_run(const prn__device *device, const prn__device *reference, const char *filter, prn__conformance_report report,
                                void *context, prn__conformance_summary *summary, prn_error *error)
{
    suite u = {.device = device, .reference = reference, .filter = filter, .report = report, .context = context, .summary = summary, .error = error,
               .status = PRN_OK};
    memset(summary, 0, sizeof *summary);
    if (device->backend->error_bound == NULL) {
        return prn_error_set(error, PRN_UNSUPPORTED, "backend '%s' states no error bound; give its table an error_bound", device->backend->name);
    }
    prn__arena_init(&u.arena, 1 << 20);
    prn__conformance_cases(&u);
    prn__arena_fini(&u.arena);
    if (u.status == PRN_OK && summary->cases + summary->unsupported == 0) {
        return prn_error_set(error, PRN_NOT_FOUND, "no operation's name contains '%s'; see `perennial backend test` without a filter", filter);
    }
    return u.status;
}
