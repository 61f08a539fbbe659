/* core/suite/strategy_suite_fakes.c: callbacks of a strategy on stand-ins, whose services fail one after another.
 *
 * The stand-ins keep vectors in host memory and really compute with them; what is loaded is made up. A callback that was told of a failure
 * must end with one, and must have given back what it allocated when its instance is closed.
 */
#include "suite/strategy_suite_internal.h"

#include <inttypes.h>
#include <string.h>

enum { ELEMENTS = 64, VECTOR_LIMIT = 64, CALL_LIMIT = 400, COMPOSE_LOSS = 0, COMPOSE_MEMORY_LOSS, COMPOSE_PENALTY, CHANGE_GRADIENT, FINISH, CALLBACKS };

static const char *const CALLBACK_NAMES[CALLBACKS] = {"compose_loss", "compose_memory_loss", "compose_penalty", "change_gradient", "finish"};

typedef struct fake_vector {
    double values[ELEMENTS];
} fake_vector;

typedef struct fake {
    prn__suite_host host;
    prn_stage stage;
    prn_vectors vectors;
    prn_composer composer;
    fake_vector room[VECTOR_LIMIT];
    size_t used;
    int64_t calls, fail_at; /* services; the one that fails, from 1 */
    const char *failed;     /* its name */
    uint32_t noise;
    int32_t tensors;
} fake;

static prn_status service(fake *f, const char *name, prn_error *error)
{
    if (++f->calls != f->fail_at) {
        return PRN_OK;
    }
    f->failed = name;
    return prn_error_set(error, PRN_IO, "the suite makes this call of `%s` fail", name);
}

static fake_vector *own(const prn_vector *vector)
{
    return (fake_vector *)(uintptr_t)vector;
}

static void make_up(fake *f, const prn_vector *target)
{
    for (int i = 0; i < ELEMENTS; i++) {
        f->noise = f->noise * 1664525u + 1013904223u;
        own(target)->values[i] = (double)(f->noise >> 8) / (1 << 23) - 1;
    }
}

static prn_status create(void *self, prn_vector **vector, prn_error *error)
{
    fake *f = self;
    prn_status status = service(f, "vectors->create", error);
    *vector = NULL;
    if (status == PRN_OK && f->used == VECTOR_LIMIT) {
        status = prn_error_set(error, PRN_NO_MEMORY, "no memory for another vector");
    }
    if (status == PRN_OK) {
        fake_vector *made = &f->room[f->used++];
        memset(made, 0, sizeof *made);
        *vector = (prn_vector *)(void *)made;
    }
    return status;
}

static prn_status fill(void *self, prn_vector *y, double value, prn_error *error)
{
    prn_status status = service(self, "vectors->fill", error);
    for (int i = 0; i < ELEMENTS && status == PRN_OK; i++) {
        own(y)->values[i] = value;
    }
    return status;
}

static prn_status axpby(void *self, prn_vector *y, double alpha, const prn_vector *a, double beta, const prn_vector *b, prn_error *error)
{
    prn_status status = service(self, "vectors->axpby", error);
    for (int i = 0; i < ELEMENTS && status == PRN_OK; i++) {
        own(y)->values[i] = alpha * own(a)->values[i] + (b != NULL ? beta * own(b)->values[i] : 0);
    }
    return status;
}

static prn_status multiply(void *self, prn_vector *y, const prn_vector *a, const prn_vector *b, prn_error *error)
{
    prn_status status = service(self, "vectors->multiply", error);
    for (int i = 0; i < ELEMENTS && status == PRN_OK; i++) {
        own(y)->values[i] = own(a)->values[i] * own(b)->values[i];
    }
    return status;
}

static prn_status dot(void *self, const prn_vector *a, const prn_vector *b, double *result, prn_error *error)
{
    prn_status status = service(self, "vectors->dot", error);
    *result = 0;
    for (int i = 0; i < ELEMENTS && status == PRN_OK; i++) {
        *result += own(a)->values[i] * own(b)->values[i];
    }
    return status;
}

static prn_status vector_read(void *self, const prn_vector *vector, float *target, prn_error *error)
{
    prn_status status = service(self, "vectors->read", error);
    for (int i = 0; i < ELEMENTS && status == PRN_OK; i++) {
        target[i] = (float)own(vector)->values[i];
    }
    return status;
}

static prn_status vector_write(void *self, prn_vector *vector, const float *source, prn_error *error)
{
    prn_status status = service(self, "vectors->write", error);
    for (int i = 0; i < ELEMENTS && status == PRN_OK; i++) {
        own(vector)->values[i] = (double)source[i];
    }
    return status;
}

static prn_status load_weights(void *self, uint32_t after_step, uint32_t which, prn_vector *target, prn_error *error)
{
    prn_status status = service(self, "load_weights", error);
    (void)after_step;
    (void)which;
    if (status == PRN_OK) {
        make_up(self, target);
    }
    return status;
}

static prn_status keep(void *self, const char *name, const prn_vector *vector, prn_error *error)
{
    (void)name;
    (void)vector;
    return service(self, "keep", error);
}

static prn_status load_kept(void *self, uint32_t after_step, const char *name, prn_vector *target, prn_error *error)
{
    prn_status status = service(self, "load_kept", error);
    (void)after_step;
    (void)name;
    if (status == PRN_OK) {
        make_up(self, target);
    }
    return status;
}

static prn_status data_gradient(void *self, prn_vector *target, double *loss, prn_error *error)
{
    prn_status status = service(self, "data_gradient", error);
    *loss = 1;
    if (status == PRN_OK) {
        make_up(self, target);
    }
    return status;
}

/* Against the batch's own gradient: what projections look for. */
static prn_status memory_gradient(void *self, prn_vector *target, double *loss, prn_error *error)
{
    fake *f = self;
    prn_status status = service(f, "memory_gradient", error);
    *loss = 1;
    for (int i = 0; i < ELEMENTS && status == PRN_OK; i++) {
        own(target)->values[i] = -own(f->stage.gradient)->values[i];
    }
    return status;
}

static prn_status score(void *self, const prn_vector *weights, uint32_t time_step, const char *set, double *value, prn_error *error)
{
    prn_status status = service(self, "score", error);
    (void)weights;
    (void)set;
    *value = 0.5 / time_step;
    return status;
}

static prn_status note(void *self, const char *name, double value, prn_error *error)
{
    (void)name;
    (void)value;
    return service(self, "note", error);
}

static int32_t compose_operation(void *self, prn_op_kind kind, const int32_t *inputs, uint32_t input_count, const prn_op_attrs *attrs)
{
    fake *f = self;
    (void)kind;
    (void)inputs;
    (void)input_count;
    (void)attrs;
    return f->tensors++;
}

static int32_t compose_vector(void *self, const prn_vector *vector)
{
    fake *f = self;
    (void)vector;
    return f->tensors++;
}

static void compose_add(void *self, int32_t term, double weight)
{
    (void)self;
    (void)term;
    (void)weight;
}

static void fake_init(fake *f, const prn__suite *s, int callback, uint32_t time_step, const prn_stage_request *request)
{
    prn_vector **const of_stage[] = {&f->stage.weights, &f->stage.gradient, &f->stage.scratch};
    const int has_teacher = request->teacher != PRN_TEACHER_NONE, is_penalty = callback == COMPOSE_PENALTY;
    memset(f, 0, sizeof *f);
    prn__suite_host_init(&f->host, prn__suite_real_host(s));
    f->noise = 2654435769u;
    f->vectors = (prn_vectors){.struct_size = sizeof f->vectors, .self = f, .elements = ELEMENTS, .create = create, .fill = fill, .axpby = axpby,
                               .multiply = multiply, .dot = dot, .read = vector_read, .write = vector_write};
    f->stage = (prn_stage){.struct_size = sizeof f->stage, .time_step = time_step, .self = f, .steps = callback == FINISH ? 0 : PRN__SUITE_UPDATES,
                           .vectors = &f->vectors, .load_weights = load_weights, .keep = keep, .load_kept = load_kept, .data_gradient = data_gradient,
                           .memory_gradient = memory_gradient, .score = score, .note = note};
    for (size_t i = 0; i < 3; i++) {
        *of_stage[i] = (prn_vector *)(void *)&f->room[f->used++];
        make_up(f, *of_stage[i]);
    }
    f->composer = (prn_composer){.struct_size = sizeof f->composer, .self = f, .operation = compose_operation, .vector = compose_vector, .add = compose_add};
    int32_t *const batch[] = {&f->composer.logits, &f->composer.rows, &f->composer.columns, &f->composer.log_scale};
    int32_t *const teacher[] = {&f->composer.teacher_logits, &f->composer.teacher_rows, &f->composer.teacher_columns, &f->composer.teacher_log_scale};
    for (size_t i = 0; i < 4; i++) {
        *batch[i] = is_penalty ? PRN_NO_TENSOR : f->tensors++;
        *teacher[i] = has_teacher && !is_penalty ? f->tensors++ : PRN_NO_TENSOR;
    }
    f->composer.weights = is_penalty ? f->tensors++ : PRN_NO_TENSOR;
}

static prn_status call(const prn_strategy *table, prn_strategy_instance *instance, fake *f, int callback, prn_error *error)
{
    switch (callback) {
    case COMPOSE_LOSS: return table->compose_loss(instance, &f->stage, &f->composer, error);
    case COMPOSE_MEMORY_LOSS: return table->compose_memory_loss(instance, &f->stage, &f->composer, error);
    case COMPOSE_PENALTY: return table->compose_penalty(instance, &f->stage, &f->composer, error);
    case CHANGE_GRADIENT: return table->change_gradient(instance, &f->stage, error);
    default: return table->finish(instance, &f->stage, error);
    }
}

static int is_called(const prn_strategy *t, const prn_stage_request *request, int callback)
{
    const int there[CALLBACKS] = {t->compose_loss != NULL, t->compose_memory_loss != NULL && request->memory_batch > 0, t->compose_penalty != NULL,
                                  t->change_gradient != NULL, t->finish != NULL};
    return there[callback] && (request->hooks & (callback == FINISH ? PRN_HOOK_FINISH : PRN_HOOK_TRAIN)) != 0;
}

/* One callback on fresh stand-ins and a fresh instance; a failing allocation is one of the callback's own. */
static prn_status one_call(prn__suite *s, fake *f, int callback, uint32_t time_step, const prn_stage_request *request, int64_t fail_service,
                           int64_t fail_allocation, prn_error *reason)
{
    prn_strategy_instance *instance = NULL;
    fake_init(f, s, callback, time_step, request);
    prn_status status = s->table->open(&f->host.host, prn__options_values(s->values), &instance, reason);
    if (status != PRN_OK) {
        return status;
    }
    f->calls = 0;
    f->fail_at = fail_service;
    f->host.asked = 0;
    f->host.fail_at = fail_allocation;
    status = call(s->table, instance, f, callback, reason);
    s->table->close(instance);
    return status;
}

static void look_for_leak(prn__suite *s, const fake *f, int callback, uint32_t time_step, const char *when)
{
    if (f->host.live != 0 && !s->sees_leaks) {
        s->sees_leaks = 1;
        (void)snprintf(s->leak, sizeof s->leak, "%" PRId64 " blocks of the host's memory are left after `%s` of time step %u%s%s, and `close`",
                       (int64_t)f->host.live, CALLBACK_NAMES[callback], time_step, when[0] != '\0' ? ", in which failed: " : "", when);
    }
}

static int64_t fail_each(prn__suite *s, fake *f, int callback, uint32_t time_step, const prn_stage_request *request, int64_t services, int64_t allocations,
                         prn__suite_verdict *verdict)
{
    int64_t made = 0;
    const int64_t limits[2] = {services < CALL_LIMIT ? services : CALL_LIMIT, allocations < CALL_LIMIT ? allocations : CALL_LIMIT};
    for (int kind = 0; kind < 2; kind++) {
        for (int64_t n = 1; n <= limits[kind] && verdict->outcome == PRN__SUITE_PASSED; n++, made++) {
            prn_error reason = PRN_ERROR_INIT;
            const prn_status status = one_call(s, f, callback, time_step, request, kind == 0 ? n : 0, kind == 1 ? n : 0, &reason);
            const char *what = kind == 1 ? "allocate" : f->failed != NULL ? f->failed : "nothing";
            if (status == PRN_OK && (kind == 1 || f->failed != NULL)) {
                prn__suite_say(verdict, PRN__SUITE_FAILED, "`%s` of time step %u says all is well although `%s` failed (call %" PRId64 "); return its status",
                               CALLBACK_NAMES[callback], time_step, what, n);
            }
            look_for_leak(s, f, callback, time_step, what);
        }
    }
    return made;
}

prn_status prn__suite_failures(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    prn_error reason = PRN_ERROR_INIT;
    prn__answers answers = {0};
    prn_time_line line;
    int64_t made = 0;
    int callbacks = 0;
    fake *f = prn__alloc(sizeof *f);
    if (f == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the suite's stand-ins");
    }
    prn_status status = prn__suite_failures_of_plan(s, verdict, error);
    if (status == PRN_OK) {
        status = prn__time_line_make(PRN__SUITE_STEPS, PRN__SUITE_FIRST, PRN__SUITE_MORE, PRN__SUITE_UPDATES * s->batch, &line, error);
    }
    if (status != PRN_OK) {
        prn__free(f);
        return status;
    }
    if (prn__strategy_ask(prn__suite_real_host(s), s->table, s->options->given, s->options->given_count, &line, PRN__ASK_FORWARD, &answers,
                          &reason) != PRN_OK) {
        prn__suite_say(verdict, PRN__SUITE_SKIPPED, "it cannot be asked (see the check 'plan'): %s", reason.message);
    }
    for (uint32_t t = 1; verdict->outcome == PRN__SUITE_PASSED && t <= answers.step_count; t++) {
        for (int callback = 0; callback < CALLBACKS && verdict->outcome == PRN__SUITE_PASSED; callback++) {
            const prn_stage_request *request = &answers.requests[t - 1];
            if (!is_called(s->table, request, callback)) {
                continue;
            }
            reason = (prn_error)PRN_ERROR_INIT;
            if (one_call(s, f, callback, t, request, 0, 0, &reason) != PRN_OK) {
                continue; /* made-up contents are not for every strategy; the runs show what it does with real ones */
            }
            callbacks++;
            look_for_leak(s, f, callback, t, "");
            made += fail_each(s, f, callback, t, request, f->calls, f->host.asked, verdict);
        }
    }
    prn__answers_drop(&answers);
    prn__time_line_drop(&line);
    prn__free(f);
    if (verdict->outcome == PRN__SUITE_PASSED) {
        prn__suite_say(verdict, PRN__SUITE_PASSED, "%d callbacks, %" PRId64 " failures of theirs", callbacks, made);
    }
    return PRN_OK;
}
