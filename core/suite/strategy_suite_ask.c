/* core/suite/strategy_suite_ask.c: the checks of the strategy suite that ask for plans only. */
#include "suite/strategy_suite_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/text.h"

enum { LINE_STEPS = 7, PAIR_LIMIT = 64, TRY_LIMIT = 4 };

/* ---- a host that counts ---------------------------------------------------------------------------------------------------------- */

static void host_log(void *self, prn_log_level level, const char *message)
{
    const prn__suite_host *h = self;
    h->real->log(h->real->self, level, message);
}

static void *host_allocate(void *self, size_t bytes, const char *purpose)
{
    prn__suite_host *h = self;
    if (atomic_fetch_add(&h->asked, 1) + 1 == h->fail_at) {
        return NULL;
    }
    void *memory = h->real->allocate(h->real->self, bytes, purpose);
    (void)atomic_fetch_add(&h->live, memory != NULL ? 1 : 0);
    return memory;
}

static void host_release(void *self, void *memory)
{
    prn__suite_host *h = self;
    (void)atomic_fetch_sub(&h->live, memory != NULL ? 1 : 0);
    h->real->release(h->real->self, memory);
}

static uint32_t host_threads(void *self)
{
    const prn__suite_host *h = self;
    return h->real->thread_count(h->real->self);
}

static void host_parallel_for(void *self, int64_t count, prn_task task, void *context)
{
    const prn__suite_host *h = self;
    h->real->parallel_for(h->real->self, count, task, context);
}

static const void *host_interface(void *self, const char *id)
{
    const prn__suite_host *h = self;
    return h->real->interface_get(h->real->self, id);
}

const prn_host *prn__suite_real_host(const prn__suite *s)
{
    return s->options->own != NULL ? s->options->own->host : prn__registry_host(s->registry);
}

void prn__suite_host_init(prn__suite_host *h, const prn_host *real)
{
    memset(h, 0, sizeof *h);
    h->real = real;
    h->host = (prn_host){.struct_size = sizeof h->host, .abi_major = real->abi_major, .abi_minor = real->abi_minor, .self = h, .log = host_log,
                         .allocate = host_allocate, .release = host_release, .thread_count = host_threads, .parallel_for = host_parallel_for,
                         .interface_get = host_interface};
}

/* ---- options --------------------------------------------------------------------------------------------------------------------- */

/* The given options with `name` set to `value` (NULL: left out). Returns how many. */
static size_t with_option(const prn__suite *s, const char *name, const char *value, prn__option_pair *pairs)
{
    size_t count = 0;
    for (size_t i = 0; i < s->options->given_count; i++) {
        if (strcmp(s->options->given[i].name, name) != 0) {
            pairs[count++] = s->options->given[i];
        }
    }
    if (value != NULL) {
        pairs[count++] = (prn__option_pair){name, value};
    }
    return count;
}

/* A value within its bounds: the strategy takes it, or says why not. */
static prn_status try_inside(const prn__suite *s, const prn_option *o, const char *value, int64_t *tried, prn__suite_verdict *verdict, prn_error *error)
{
    prn__option_pair pairs[PAIR_LIMIT + 1];
    prn_error own = PRN_ERROR_INIT;
    prn__answers answers;
    prn_time_line line;
    prn__options *parsed = NULL;
    const size_t count = with_option(s, o->name, value, pairs);
    prn_status status = prn__time_line_make(2, 1000, 100, 1000, &line, error);
    if (status != PRN_OK) {
        return status;
    }
    (*tried)++;
    if (prn__options_parse(s->strategy, s->table->options, s->table->option_count, pairs, count, &parsed, &own) != PRN_OK) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "its own table refuses %s = %s: %s", o->name, value, own.message);
    } else {
        status = prn__strategy_ask(prn__suite_real_host(s), s->table, pairs, count, &line, PRN__ASK_FORWARD, &answers, &own);
        if (status != PRN_OK && own.message[0] == '\0') {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "%s = %s is refused (%s) without a message; give one with prn_error_set", o->name, value,
                           prn_status_name(status));
        }
        prn__answers_drop(&answers);
    }
    prn__options_destroy(parsed);
    prn__time_line_drop(&line);
    return PRN_OK;
}

static void try_outside(const prn__suite *s, const char *name, const char *value, int64_t *tried, prn__suite_verdict *verdict)
{
    prn__option_pair pairs[PAIR_LIMIT + 1];
    prn_error own = PRN_ERROR_INIT;
    prn__options *parsed = NULL;
    const size_t count = with_option(s, name, value, pairs);
    (*tried)++;
    if (prn__options_parse(s->strategy, s->table->options, s->table->option_count, pairs, count, &parsed, &own) == PRN_OK) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "%s = %s is taken, and lies outside its bounds", name, value);
    } else if (strstr(own.message, name) == NULL) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "%s = %s is refused without its name: %s", name, value, own.message);
    }
    prn__options_destroy(parsed);
}

static prn_status try_number(const prn__suite *s, const prn_option *o, int64_t *tried, prn__suite_verdict *verdict, prn_error *error)
{
    const int is_integer = o->type == PRN_OPTION_INTEGER, is_list = o->type == PRN_OPTION_REAL_LIST;
    char text[2][80];
    prn_status status = PRN_OK;
    if (!(o->minimum <= o->maximum)) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "option %s has bounds from %g to %g; no value lies within", o->name, o->minimum, o->maximum);
        return PRN_OK;
    }
    for (int side = 0; side < 2 && status == PRN_OK; side++) {
        const double bound = side == 0 ? o->minimum : o->maximum;
        const double beyond = is_integer ? bound + (side == 0 ? -1 : 1) : nextafter(bound, side == 0 ? -INFINITY : INFINITY);
        if (isfinite(bound) && !(is_integer && fabs(bound) > 9e15)) {
            (void)snprintf(text[0], sizeof text[0], is_list ? "%.17g,%.17g" : "%.17g", bound, bound);
            status = try_inside(s, o, text[0], tried, verdict, error);
        }
        if (isfinite(beyond) && beyond != bound && !(is_integer && fabs(bound) > 9e15)) {
            (void)snprintf(text[1], sizeof text[1], "%.17g", beyond);
            try_outside(s, o->name, text[1], tried, verdict);
        }
    }
    try_outside(s, o->name, "much", tried, verdict);
    return status;
}

static prn_status try_choices(const prn__suite *s, const prn_option *o, int64_t *tried, prn__suite_verdict *verdict, prn_error *error)
{
    prn_status status = PRN_OK;
    for (const char *item = o->choices; item != NULL && status == PRN_OK;) {
        const char *end = strchr(item, '|');
        char name[80];
        (void)snprintf(name, sizeof name, "%.*s", end != NULL ? (int)(end - item) : (int)strlen(item), item);
        status = try_inside(s, o, name, tried, verdict, error);
        item = end != NULL ? end + 1 : NULL;
    }
    try_outside(s, o->name, "no_such_choice", tried, verdict);
    return status;
}

prn_status prn__suite_options_check(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    int64_t tried = 0;
    prn_status status = PRN_OK;
    if (s->options->given_count >= PAIR_LIMIT) {
        return prn_error_set(error, PRN_INVALID, "%zu options are given; the suite takes at most %d", s->options->given_count, PAIR_LIMIT - 1);
    }
    for (uint32_t i = 0; i < s->table->option_count && status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED; i++) {
        const prn_option *o = prn__option_at(s->table->options, i);
        if (o->help[0] == '\0') {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "option %s has no help; say in one sentence what it does", o->name);
        }
        if (o->type == PRN_OPTION_BOOL) {
            status = try_inside(s, o, "true", &tried, verdict, error);
            status = status == PRN_OK ? try_inside(s, o, "false", &tried, verdict, error) : status;
            try_outside(s, o->name, "perhaps", &tried, verdict);
        } else if (o->type == PRN_OPTION_CHOICE) {
            status = try_choices(s, o, &tried, verdict, error);
        } else if (o->type != PRN_OPTION_STRING) {
            status = try_number(s, o, &tried, verdict, error);
        }
        if (status == PRN_OK && o->preset == NULL) { /* one that must be given */
            prn__option_pair pairs[PAIR_LIMIT + 1];
            prn_error own = PRN_ERROR_INIT;
            prn__options *parsed = NULL;
            const size_t count = with_option(s, o->name, NULL, pairs);
            if (prn__options_parse(s->strategy, s->table->options, s->table->option_count, pairs, count, &parsed, &own) == PRN_OK ||
                strstr(own.message, o->name) == NULL) {
                prn__suite_say(verdict, PRN__SUITE_FAILED, "option %s must be given, and leaving it out is no clear error", o->name);
            }
            prn__options_destroy(parsed);
        }
    }
    if (status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED) {
        try_outside(s, "no_such_option", "1", &tried, verdict);
    }
    if (status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED) {
        prn__suite_say(verdict, PRN__SUITE_PASSED, "%u options, %" PRId64 " values tried", s->table->option_count, tried);
    }
    return status;
}

/* ---- answers --------------------------------------------------------------------------------------------------------------------- */

static void compare(const prn__answers *a, const prn__answers *b, uint32_t count, const char *when, prn__suite_verdict *verdict)
{
    for (uint32_t t = 0; t < count && verdict->outcome == PRN__SUITE_PASSED; t++) {
        const char *difference = prn__request_difference(&a->requests[t], &b->requests[t]);
        if (difference != NULL) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "%s, `plan` answers differently at time step %u of %u: %s", when, t + 1, a->step_count, difference);
        }
    }
}

/* A `plan` that fails has its own check; here it ends the comparing. */
static void refuses(prn__suite_verdict *verdict, const prn_error *own)
{
    prn__suite_say(verdict, PRN__SUITE_SKIPPED, "it cannot be asked (see the check 'plan'): %s", own->message);
}

prn_status prn__suite_deterministic(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    static const struct {
        prn__ask_order order;
        const char *when;
    } ways[] = {{PRN__ASK_FORWARD, "asked again"}, {PRN__ASK_TWICE, "asked twice in a row"}, {PRN__ASK_BACKWARD, "asked from the last step to the first"}};
    const prn_host *host = prn__suite_real_host(s);
    prn__answers first = {0}, second = {0};
    prn_strategy_instance *instance = NULL;
    prn_error own = PRN_ERROR_INIT;
    prn_time_line line;
    prn_status status = prn__time_line_make(LINE_STEPS, 1000, 77, 640, &line, error);
    if (status != PRN_OK) {
        return status;
    }
    if (s->table->open(host, prn__options_values(s->values), &instance, &own) != PRN_OK) {
        refuses(verdict, &own);
        prn__time_line_drop(&line);
        return PRN_OK;
    }
    if (prn__strategy_answers(s->table, instance, &line, PRN__ASK_FORWARD, &first, &own) != PRN_OK) {
        refuses(verdict, &own);
    }
    for (int round = 0; round < TRY_LIMIT && verdict->outcome == PRN__SUITE_PASSED; round++) {
        for (size_t i = 0; i < sizeof ways / sizeof ways[0] && verdict->outcome == PRN__SUITE_PASSED; i++) {
            if (prn__strategy_answers(s->table, instance, &line, ways[i].order, &second, &own) != PRN_OK) {
                refuses(verdict, &own);
            } else {
                compare(&first, &second, LINE_STEPS, ways[i].when, verdict);
            }
            prn__answers_drop(&second);
        }
        if (verdict->outcome == PRN__SUITE_PASSED &&
            prn__strategy_ask(host, s->table, s->options->given, s->options->given_count, &line, PRN__ASK_FORWARD, &second, &own) != PRN_OK) {
            refuses(verdict, &own);
        } else if (verdict->outcome == PRN__SUITE_PASSED) {
            compare(&first, &second, LINE_STEPS, "opened anew", verdict);
        }
        prn__answers_drop(&second);
    }
    prn__answers_drop(&first);
    s->table->close(instance);
    prn__time_line_drop(&line);
    return PRN_OK;
}

prn_status prn__suite_past(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    const prn_host *host = prn__suite_real_host(s);
    prn_error own = PRN_ERROR_INIT;
    prn__answers as_is = {0}, changed = {0};
    prn_time_line line, other = {0};
    prn_status status = prn__time_line_make(LINE_STEPS, 1000, 77, 640, &line, error);
    if (status != PRN_OK) {
        return status;
    }
    if (prn__strategy_ask(host, s->table, s->options->given, s->options->given_count, &line, PRN__ASK_FORWARD, &as_is, &own) != PRN_OK) {
        refuses(verdict, &own);
    }
    for (uint32_t t = 1; t < LINE_STEPS && verdict->outcome == PRN__SUITE_PASSED && status == PRN_OK; t++) {
        status = prn__time_line_make(LINE_STEPS, 1000, 77, 640, &other, error); /* the same up to step t, and then something else */
        if (status != PRN_OK) {
            break;
        }
        for (uint32_t later = t; later < LINE_STEPS; later++) {
            ((prn_time_step *)(uintptr_t)other.steps)[later].samples = 5 + 100000 * (int64_t)(later % 3);
        }
        if (prn__strategy_ask(host, s->table, s->options->given, s->options->given_count, &other, PRN__ASK_FORWARD, &changed, &own) != PRN_OK) {
            refuses(verdict, &own);
        } else {
            compare(&as_is, &changed, t, "when later time steps bring other numbers of samples", verdict);
        }
        prn__answers_drop(&changed);
        prn__time_line_drop(&other);
    }
    for (uint32_t t = 0; verdict->outcome == PRN__SUITE_PASSED && t < as_is.step_count; t++) {
        const prn_stage_request *r = &as_is.requests[t];
        for (uint32_t i = 0; i < r->source_count + r->memory_source_count; i++) {
            const prn_source *source = i < r->source_count ? &r->sources[i] : &r->memory_sources[i - r->source_count];
            if (source->time_step > t + 1) {
                prn__suite_say(verdict, PRN__SUITE_FAILED, "at time step %u it wants the data of step %u, which has not arrived", t + 1, source->time_step);
            }
        }
        if (r->start_step > t || (r->teacher > PRN_TEACHER_INITIAL && r->teacher - 1 > t)) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "at time step %u it starts from, or is taught by, a model that is not there yet", t + 1);
        }
    }
    prn__answers_drop(&as_is);
    prn__time_line_drop(&line);
    return status;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------------- */

static prn_status ask_counted(prn__suite *s, const prn_time_line *line, int64_t fail_at, prn__suite_host *host, prn_error *own)
{
    prn__answers answers;
    prn__suite_host_init(host, prn__suite_real_host(s));
    host->fail_at = fail_at;
    prn_status status = prn__strategy_ask(&host->host, s->table, s->options->given, s->options->given_count, line, PRN__ASK_FORWARD, &answers, own);
    prn__answers_drop(&answers);
    return status;
}

prn_status prn__suite_failures_of_plan(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    prn_error own = PRN_ERROR_INIT;
    prn__suite_host host;
    prn_time_line line;
    prn_status status = prn__time_line_make(LINE_STEPS, 1000, 77, 640, &line, error);
    if (status != PRN_OK) {
        return status;
    }
    (void)ask_counted(s, &line, 0, &host, &own);
    const int64_t asked = host.asked;
    if (host.live != 0) {
        s->sees_leaks = 1;
        (void)snprintf(s->leak, sizeof s->leak, "%" PRId64 " blocks of the host's memory are left after `open`, `plan` for %d steps and `close`",
                       (int64_t)host.live, LINE_STEPS);
    }
    for (int64_t n = 1; n <= asked && verdict->outcome == PRN__SUITE_PASSED && !s->sees_leaks; n++) {
        if (ask_counted(s, &line, n, &host, &own) == PRN_OK) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "`open` or `plan` goes on although the host had no memory (allocation %" PRId64 " of %" PRId64 ")", n,
                           asked);
        }
        if (host.live != 0) {
            s->sees_leaks = 1;
            (void)snprintf(s->leak, sizeof s->leak, "%" PRId64 " blocks of the host's memory are left after allocation %" PRId64 " of `open` and `plan` failed",
                           (int64_t)host.live, n);
        }
    }
    prn__time_line_drop(&line);
    return PRN_OK;
}
