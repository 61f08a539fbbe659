/* core/suite/strategy_suite.c: see strategy_suite.h. The list of checks, their order, and the temporary folder that they share. */
#include "suite/strategy_suite_internal.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"

enum { BATCH_LIMIT = 512, ROUNDS = 64 };

typedef enum check_index {
    CHECK_OPTIONS, CHECK_DETERMINISTIC, CHECK_PAST, CHECK_PLAN, CHECK_FAILURES, CHECK_LOSS, CHECK_TRAINING, CHECK_COST, CHECK_FINISH, CHECK_KEPT,
    CHECK_REPEAT, CHECK_RESUME, CHECK_REPORTED, CHECK_LEAKS, CHECKS
} check_index;

static const struct {
    const char *name, *meaning;
} LIST[CHECKS] = {
    [CHECK_OPTIONS] = {"options", "every default, bound and choice is taken or clearly refused; what lies outside, and unknown names, are refused by name"},
    [CHECK_DETERMINISTIC] = {"deterministic", "the same question gets the same answer: again, in another order, from another instance"},
    [CHECK_PAST] = {"past", "data, teachers and starting points are of time steps that are over; no answer depends on what later steps bring"},
    [CHECK_PLAN] = {"plan", "time lines of 1, 2 and 7 steps can be planned"},
    [CHECK_FAILURES] = {"failures", "when memory or a service of the host fails, the callback ends with that failure"},
    [CHECK_LOSS] = {"loss", "its loss terms fit together: shapes, operations, gradients"},
    [CHECK_TRAINING] = {"training", "a whole run ends, and all its weights are finite"},
    [CHECK_COST] = {"cost", "the run keeps its budget, and uses and keeps exactly what the plan declared, to the byte"},
    [CHECK_FINISH] = {"finish", "each finishing stage changes the weights, keeps a vector or notes a number"},
    [CHECK_KEPT] = {"kept", "vectors that it keeps are whole and finite when they are read again"},
    [CHECK_REPEAT] = {"repeat", "the same run, made twice, gives the same bytes"},
    [CHECK_RESUME] = {"resume", "a run that is interrupted after every 2 updates gives the same bytes"},
    [CHECK_REPORTED] = {"reported", "a callback that fails stops the run by name and time step; what was finished stays, and the run can go on"},
    [CHECK_LEAKS] = {"leaks", "after a run, after plans and after failures, all memory has been given back"},
};

void prn__suite_say(prn__suite_verdict *verdict, prn__suite_outcome outcome, const char *format, ...)
{
    va_list arguments;
    if (verdict->outcome == PRN__SUITE_FAILED) {
        return; /* the first reason counts */
    }
    verdict->outcome = outcome;
    va_start(arguments, format);
    (void)vsnprintf(verdict->reason, sizeof verdict->reason, format, arguments);
    va_end(arguments);
}

int prn__strategy_suite_at(size_t index, const char **name, const char **meaning)
{
    if (index >= CHECKS) {
        return 0;
    }
    *name = LIST[index].name;
    *meaning = LIST[index].meaning;
    return 1;
}

/* ---- the temporary folder -------------------------------------------------------------------------------------------------------- */

static prn_status folder_open(prn__suite *s, prn_error *error)
{
    const char *parent = getenv("TMPDIR");
    s->folder = prn__arena_printf(&s->memory, "%s/perennial-suite-XXXXXX", parent != NULL && parent[0] != '\0' ? parent : "/tmp");
    if (s->folder == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory in the strategy suite");
    }
    if (mkdtemp(s->folder) == NULL) {
        char wanted[512];
        (void)snprintf(wanted, sizeof wanted, "%s", s->folder);
        s->folder = NULL;
        return prn_error_set(error, PRN_IO, "%s: cannot be created: %s; name a folder that can be written in TMPDIR", wanted, strerror(errno));
    }
    return PRN_OK;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    (void)remove(path); /* what cannot be removed stays: the folder is a temporary one */
    return 0;
}

static void folder_close(prn__suite *s)
{
    if (s->folder != NULL) {
        (void)nftw(s->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

/* ---- preparation ------------------------------------------------------------------------------------------------------------------ */

/* What its runs need: room for its memory batches, and the evaluation set that it scores. A strategy that cannot be asked fails later. */
static prn_status look_ahead(prn__suite *s, prn_error *error)
{
    prn_error own = PRN_ERROR_INIT;
    prn__answers answers;
    prn_time_line line;
    prn_status status = prn__time_line_make(PRN__SUITE_STEPS, PRN__SUITE_FIRST, PRN__SUITE_MORE, PRN__SUITE_UPDATES * PRN__SUITE_BATCH, &line, error);
    if (status != PRN_OK) {
        return status;
    }
    s->batch = PRN__SUITE_BATCH;
    s->set = "retrieval";
    (void)prn__strategy_ask(prn__suite_real_host(s), s->table, s->options->given, s->options->given_count, &line, PRN__ASK_FORWARD, &answers, &own);
    for (uint32_t t = 0; answers.requests != NULL && t < answers.step_count; t++) {
        const prn_stage_request *r = &answers.requests[t];
        s->batch = r->memory_batch > s->batch && r->memory_batch <= BATCH_LIMIT ? r->memory_batch : s->batch;
        if (r->finish_set != NULL && r->finish_set[0] != '\0') {
            s->set = prn__arena_strdup(&s->memory, r->finish_set);
        }
    }
    prn__answers_drop(&answers);
    prn__time_line_drop(&line);
    return s->set != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "out of memory in the strategy suite");
}

/* Memory that the strategy took from the C library, not from the host: bytes that stay with each round of opening and planning. */
static int64_t bytes_kept_a_round(prn__suite *s, const prn_time_line *line)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    size_t before = 0;
    for (int round = 0; round < ROUNDS + 4; round++) {
        prn_error ignored = PRN_ERROR_INIT;
        prn__answers answers;
        if (round == 4) { /* caches have filled */
            before = mallinfo2().uordblks;
        }
        (void)prn__strategy_ask(prn__suite_real_host(s), s->table, s->options->given, s->options->given_count, line, PRN__ASK_FORWARD, &answers,
                                &ignored);
        prn__answers_drop(&answers);
    }
    const size_t after = mallinfo2().uordblks;
    return after > before ? (int64_t)((after - before) / ROUNDS) : 0;
#else
    (void)s;
    (void)line;
    return 0;
#endif
}

static prn_status check_leaks(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    prn_time_line line;
    prn_status status = prn__time_line_make(PRN__SUITE_STEPS, PRN__SUITE_FIRST, PRN__SUITE_MORE, PRN__SUITE_UPDATES * s->batch, &line, error);
    if (status != PRN_OK) {
        return status;
    }
    const int is_own = s->options->own != NULL; /* a Lua state collects when it likes: what it holds meanwhile is not a strategy's */
    const int64_t kept = s->sees_leaks || is_own ? 0 : bytes_kept_a_round(s, &line);
    if (s->sees_leaks) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "%s", s->leak);
    } else if (s->base.is_done && s->base.leaked != 0 && !is_own) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "%" PRId64 " blocks of the host's memory are left after a whole run", s->base.leaked);
    } else if (kept >= 16) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "each round of `open`, `plan` and `close` leaves about %" PRId64 " bytes of the C library's memory", kept);
    } else {
        prn__suite_say(verdict, PRN__SUITE_PASSED, "%s", "");
    }
    prn__time_line_drop(&line);
    return PRN_OK;
}

/* ---- the checks -------------------------------------------------------------------------------------------------------------------- */

typedef prn_status (*check_function)(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);

static void report(prn__suite *s, check_index index, const prn__suite_verdict *verdict, double seconds, prn__suite_summary *summary)
{
    int64_t *const counts[] = {&summary->passed, &summary->failed, &summary->skipped};
    const prn__suite_check check = {.name = LIST[index].name, .meaning = LIST[index].meaning, .outcome = verdict->outcome, .reason = verdict->reason,
                                    .seconds = seconds};
    (*counts[verdict->outcome])++;
    if (s->options->report != NULL) {
        s->options->report(s->options->context, &check);
    }
}

static void announce(const prn__suite *s, check_index index)
{
    if (s->options->work != NULL) {
        s->options->work(s->options->context, LIST[index].name);
    }
}

/* One check that depends on nothing, or only on `skip` being NULL. */
static prn_status make_check(prn__suite *s, check_index index, check_function function, const char *skip, prn__suite_outcome *outcome,
                             prn__suite_summary *summary, prn_error *error)
{
    prn__suite_verdict verdict = {PRN__SUITE_PASSED, ""};
    const double begin = prn__now_s();
    prn_status status = PRN_OK;
    if (s->options->should_stop != NULL && s->options->should_stop(s->options->context)) {
        return prn_error_set(error, PRN_INTERRUPTED, "the strategy suite was stopped");
    }
    announce(s, index);
    if (skip != NULL) {
        prn__suite_say(&verdict, PRN__SUITE_SKIPPED, "%s", skip);
    } else {
        status = function(s, &verdict, error);
    }
    if (status == PRN_OK) {
        report(s, index, &verdict, prn__now_s() - begin, summary);
        *outcome = verdict.outcome;
    }
    return status;
}

static prn_status make_base_checks(prn__suite *s, const char *skip, prn__suite_summary *summary, prn_error *error)
{
    prn__suite_verdict verdicts[3] = {{PRN__SUITE_PASSED, ""}, {PRN__SUITE_PASSED, ""}, {PRN__SUITE_PASSED, ""}};
    const double begin = prn__now_s();
    prn_status status = PRN_OK;
    announce(s, CHECK_TRAINING);
    if (skip != NULL) {
        for (int i = 0; i < 3; i++) {
            prn__suite_say(&verdicts[i], PRN__SUITE_SKIPPED, "%s", skip);
        }
    } else {
        status = prn__suite_base_run(s, &verdicts[0], &verdicts[1], &verdicts[2], error);
    }
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        report(s, (check_index)(CHECK_LOSS + i), &verdicts[i], i == 1 ? prn__now_s() - begin : 0, summary);
    }
    return status;
}

static prn_status make_all(prn__suite *s, prn__suite_summary *summary, prn_error *error)
{
    static const struct {
        check_index index;
        check_function function;
    } before[] = {{CHECK_OPTIONS, prn__suite_options_check}, {CHECK_DETERMINISTIC, prn__suite_deterministic}, {CHECK_PAST, prn__suite_past},
                  {CHECK_PLAN, prn__suite_plan}, {CHECK_FAILURES, prn__suite_failures}},
      after[] = {{CHECK_FINISH, prn__suite_finish}, {CHECK_KEPT, prn__suite_kept}, {CHECK_REPEAT, prn__suite_repeat}, {CHECK_RESUME, prn__suite_resume},
                 {CHECK_REPORTED, prn__suite_reported}};
    prn__suite_outcome outcomes[CHECKS] = {0};
    prn_status status = PRN_OK;
    for (size_t i = 0; i < sizeof before / sizeof before[0] && status == PRN_OK; i++) {
        status = make_check(s, before[i].index, before[i].function, NULL, &outcomes[before[i].index], summary, error);
    }
    if (status == PRN_OK) {
        status = make_base_checks(s, outcomes[CHECK_PLAN] != PRN__SUITE_PASSED            ? "it cannot be planned"
                                     : outcomes[CHECK_DETERMINISTIC] == PRN__SUITE_FAILED ? "its plan is another one each time"
                                                                                           : NULL, summary, error);
    }
    for (size_t i = 0; i < sizeof after / sizeof after[0] && status == PRN_OK; i++) {
        status = make_check(s, after[i].index, after[i].function, s->base.is_done ? NULL : "there is no first whole run", &outcomes[after[i].index], summary, error);
    }
    return status == PRN_OK ? make_check(s, CHECK_LEAKS, check_leaks, NULL, &outcomes[CHECK_LEAKS], summary, error) : status;
}

prn_status prn__strategy_suite_run(prn__registry *registry, const char *strategy, const prn__suite_options *options, prn__suite_summary *summary,
                                   prn_error *error)
{
    const prn_backend *backend;
    prn__suite *s = prn__alloc(sizeof *s);
    *summary = (prn__suite_summary){0, 0, 0};
    if (s == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory in the strategy suite");
    }
    s->registry = registry;
    s->options = options;
    s->strategy = strategy;
    s->backend = options->backend != NULL ? options->backend : "cpu";
    prn__arena_init(&s->memory, 1 << 14);
    prn_status status = PRN_OK;
    if (options->own != NULL) {
        s->table = options->own->table;
    } else {
        status = prn__registry_strategy(registry, strategy, &s->table, NULL, error);
    }
    if (status == PRN_OK && strcmp(s->backend, "auto") != 0) {
        status = prn__registry_backend(registry, s->backend, &backend, NULL, error);
    }
    if (status == PRN_OK) { /* wrong options are the caller's, not the strategy's */
        status = prn__options_parse(strategy, s->table->options, s->table->option_count, options->given, options->given_count, &s->values, error);
        if (status != PRN_OK) {
            (void)prn_error_context(error, status, "options are given with --set OPTION=VALUE");
        }
    }
    if (status == PRN_OK) {
        status = folder_open(s, error);
    }
    if (status == PRN_OK) {
        status = look_ahead(s, error);
    }
    if (status == PRN_OK) {
        status = prn__suite_stream_make(s, error);
    }
    if (status == PRN_OK) {
        status = make_all(s, summary, error);
    }
    folder_close(s);
    prn__options_destroy(s->values);
    prn__arena_fini(&s->memory);
    prn__free(s);
    return status;
}
