/* core/report/strategy_report.c: see strategy_report.h. */
#include "report/strategy_report.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/memory.h"
#include "report/table.h"
#include "suite/strategy_ask.h"

enum { FACT_STEPS = 4, FACT_SAMPLES = 1000000 };

/* ---- declared facts -------------------------------------------------------------------------------------------------------------- */

/* "2, 1 (40 %, 500,000 samples)"; runs of whole steps as "1-3". */
static void put_sources(prn__text *text, const prn_source *sources, uint32_t count)
{
    double all = 0;
    char number[32];
    for (uint32_t i = 0; i < count; i++) {
        all += sources[i].weight;
    }
    for (uint32_t i = 0; i < count; i++) {
        const prn_source *first = &sources[i];
        uint32_t last = i;
        while (last + 1 < count && sources[last + 1].time_step == sources[last].time_step + 1 && sources[last + 1].max_samples == first->max_samples &&
               sources[last + 1].weight == first->weight) {
            last++;
        }
        prn__text_puts(text, i > 0 ? ", " : "");
        if (first->time_step == PRN_SOURCE_REFERENCE) {
            prn__text_puts(text, "reference stream");
        } else if (last > i) {
            prn__text_printf(text, "%u-%u", first->time_step, sources[last].time_step);
        } else {
            prn__text_printf(text, "%u", first->time_step);
        }
        if (first->weight > 0 || first->max_samples > 0) {
            prn__text_puts(text, last > i ? " (each " : " (");
            if (first->weight > 0) {
                prn__text_printf(text, "%.4g %%%s", 100 * first->weight / all, first->max_samples > 0 ? ", " : "");
            }
            if (first->max_samples > 0) {
                prn__text_printf(text, "%s samples", prn__format_count(first->max_samples, number, sizeof number));
            }
            prn__text_puts(text, ")");
        }
        i = last;
    }
}

static void put_finish(prn__text *text, const prn_stage_request *r)
{
    if ((r->hooks & PRN_HOOK_FINISH) == 0) {
        prn__text_puts(text, "-");
        return;
    }
    prn__text_puts(text, "yes");
    if (r->finish_gradient_batches > 0) {
        prn__text_printf(text, ", %" PRId64 " gradient batches", r->finish_gradient_batches);
    }
    if (r->finish_scores > 0) {
        prn__text_printf(text, ", %" PRId64 " scores of '%s' a step so far", r->finish_scores, r->finish_set != NULL ? r->finish_set : "");
    }
    if (r->kept_vectors > 0) {
        prn__text_printf(text, ", keeps %" PRId64 " vector%s", r->kept_vectors, r->kept_vectors > 1 ? "s" : "");
    }
}

static void print_step(prn__table *table, uint32_t step, const prn_stage_request *r, prn__text *target)
{
    prn__text data, memory, finish;
    prn__text *const texts[] = {&data, &memory, &finish};
    for (size_t i = 0; i < 3; i++) {
        prn__text_init(texts[i]);
    }
    put_sources(&data, r->sources, r->source_count);
    if (r->memory_batch > 0) {
        prn__text_printf(&memory, "%" PRId64 " samples of ", r->memory_batch);
        put_sources(&memory, r->memory_sources, r->memory_source_count);
    } else {
        prn__text_puts(&memory, "-");
    }
    put_finish(&finish, r);
    prn__table_cell(table, "%u", step);
    if (r->start_step == PRN_START_RANDOM) {
        prn__table_cell(table, "random weights or `init`");
    } else {
        prn__table_cell(table, "step %u%s%s", r->start_step, r->start_from == PRN_WEIGHTS_TRAINED ? " as trained" : "",
                        r->keep_optimizer ? ", with its optimizer" : "");
    }
    prn__table_cell(table, "%s", data.data != NULL ? data.data : "");
    prn__table_cell(table, "%.4g C", r->budget_multiple);
    if (r->teacher > PRN_TEACHER_INITIAL) {
        prn__table_cell(table, "step %u", r->teacher - 1);
    } else {
        prn__table_cell(table, "%s", r->teacher == PRN_TEACHER_INITIAL ? "what training began with" : "-");
    }
    prn__table_cell(table, "%s", memory.data != NULL ? memory.data : "");
    prn__table_cell(table, "%s", finish.data != NULL ? finish.data : "");
    prn__table_cell(table, "%s", r->evaluate == PRN_WEIGHTS_TRAINED ? "as trained" : "as deployed");
    for (size_t i = 0; i < 3; i++) {
        target->failed |= texts[i]->failed;
        prn__text_fini(texts[i]);
    }
}

static prn_status ask(prn__registry *registry, const prn_strategy *strategy, const prn__option_pair *given, size_t given_count, prn__answers *answers,
                      prn_error *error)
{
    prn_time_line line;
    memset(answers, 0, sizeof *answers);
    prn_status status = prn__time_line_make(FACT_STEPS, FACT_SAMPLES, 0, FACT_SAMPLES, &line, error);
    if (status == PRN_OK) {
        status = prn__strategy_ask(prn__registry_host(registry), strategy, given, given_count, &line, PRN__ASK_FORWARD, answers, error);
        prn__time_line_drop(&line);
    }
    return status;
}

/* What is computed beside forward and backward passes of the stage's own batches. */
static void put_passes(const prn_strategy *strategy, const prn__answers *answers, prn__text *target)
{
    const int has_loss = strategy->struct_size >= offsetof(prn_strategy, compose_loss) + sizeof strategy->compose_loss && strategy->compose_loss != NULL;
    const int has_memory_loss = strategy->struct_size >= offsetof(prn_strategy, compose_memory_loss) + sizeof strategy->compose_memory_loss &&
                                strategy->compose_memory_loss != NULL;
    int teacher = 0, memory = 0;
    int64_t gradients = 0, scores = 0;
    const char *before = "";
    for (uint32_t t = 0; t < answers->step_count; t++) {
        const prn_stage_request *r = &answers->requests[t];
        teacher |= r->teacher != PRN_TEACHER_NONE;
        memory |= r->memory_batch > 0;
        gradients = r->finish_gradient_batches > gradients ? r->finish_gradient_batches : gradients;
        scores = r->finish_scores > scores ? r->finish_scores : scores;
    }
    prn__text_puts(target, "  extra passes: ");
    if (teacher) {
        prn__text_printf(target, "the teacher's forward pass of each %s", has_loss && has_memory_loss ? "batch and each memory batch"
                                                                          : has_memory_loss              ? "memory batch"
                                                                                                         : "batch");
        before = "; ";
    }
    if (memory) {
        prn__text_printf(target, "%sforward and backward of each memory batch", before);
        before = "; ";
    }
    if (gradients > 0) {
        prn__text_printf(target, "%safter training, forward and backward of %" PRId64 " batch%s", before, gradients, gradients > 1 ? "es" : "");
        before = "; ";
    }
    if (scores > 0) {
        prn__text_printf(target, "%safter training, forward of an evaluation set of each step so far, %" PRId64 " time%s", before, scores, scores > 1 ? "s" : "");
        before = "; ";
    }
    prn__text_printf(target, "%s\n", before[0] == '\0' ? "none" : "");
}

void prn__strategy_facts_print(prn__registry *registry, const prn_strategy *strategy, const prn__option_pair *given, size_t given_count, prn__text *target)
{
    static const char *const heads[] = {"step", "starts from", "data of steps", "budget", "teacher", "with each update", "finishing", "evaluated"};
    prn_error error = PRN_ERROR_INIT;
    prn__answers answers;
    uint32_t hooks = 0;
    if (ask(registry, strategy, given, given_count, &answers, &error) != PRN_OK) {
        prn__text_printf(target, "  what it declares cannot be shown: %s\n", error.message);
        prn__answers_drop(&answers);
        return;
    }
    prn__table *table = prn__table_create();
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], i == 0 ? 'r' : 'l');
    }
    for (uint32_t t = 0; t < answers.step_count; t++) {
        const prn_stage_request *r = &answers.requests[t];
        print_step(table, t + 1, r, target);
        hooks |= r->hooks;
    }
    prn__text_puts(target, "  declared, on a time line of 4 steps of 1,000,000 samples, a budget C of 1,000,000 samples a step\n");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
    put_passes(strategy, &answers, target);
    prn__text_printf(target, "  its code runs: %s\n", hooks == (PRN_HOOK_TRAIN | PRN_HOOK_FINISH) ? "at each update, and after training"
                                                      : hooks == PRN_HOOK_TRAIN                  ? "at each update"
                                                      : hooks == PRN_HOOK_FINISH                 ? "after training"
                                                                                                 : "in `plan` only, so its stages are shared");
    prn__answers_drop(&answers);
}

static void json_sources(prn__json *json, json_t *parent, const char *key, const prn_source *sources, uint32_t count)
{
    json_t *list = prn__json_array(json, parent, key);
    for (uint32_t i = 0; i < count; i++) {
        json_t *object = prn__json_object(json, list, NULL);
        prn__json_integer(json, object, "time_step", sources[i].time_step);
        prn__json_integer(json, object, "max_samples", sources[i].max_samples);
        prn__json_real(json, object, "weight", sources[i].weight);
    }
}

static void json_step(prn__json *json, json_t *list, uint32_t step, const prn_stage_request *r)
{
    char teacher[32];
    json_t *object = prn__json_object(json, list, NULL);
    (void)snprintf(teacher, sizeof teacher, "step %u", r->teacher - 1);
    prn__json_integer(json, object, "time_step", step);
    prn__json_integer(json, object, "start_step", r->start_step);
    prn__json_string(json, object, "start_from",
                     r->start_step == PRN_START_RANDOM ? "random" : r->start_from == PRN_WEIGHTS_TRAINED ? "trained" : "deployed");
    prn__json_boolean(json, object, "keep_optimizer", r->keep_optimizer != 0);
    json_sources(json, object, "sources", r->sources, r->source_count);
    prn__json_real(json, object, "budget_multiple", r->budget_multiple);
    prn__json_string(json, object, "teacher", r->teacher == PRN_TEACHER_NONE ? NULL : r->teacher == PRN_TEACHER_INITIAL ? "initial" : teacher);
    prn__json_integer(json, object, "memory_batch", r->memory_batch);
    json_sources(json, object, "memory_sources", r->memory_sources, r->memory_source_count);
    prn__json_boolean(json, object, "hook_train", (r->hooks & PRN_HOOK_TRAIN) != 0);
    prn__json_boolean(json, object, "hook_finish", (r->hooks & PRN_HOOK_FINISH) != 0);
    prn__json_integer(json, object, "finish_gradient_batches", r->finish_gradient_batches);
    prn__json_integer(json, object, "finish_scores", r->finish_scores);
    prn__json_string(json, object, "finish_set", r->finish_set);
    prn__json_integer(json, object, "kept_vectors", r->kept_vectors);
    prn__json_string(json, object, "evaluate", r->evaluate == PRN_WEIGHTS_TRAINED ? "trained" : "deployed");
    prn__json_integer(json, object, "teacher_forward_passes", r->teacher != PRN_TEACHER_NONE);
}

void prn__strategy_facts_json(prn__registry *registry, const prn_strategy *strategy, const prn__option_pair *given, size_t given_count, prn__json *json,
                              json_t *parent)
{
    prn_error error = PRN_ERROR_INIT;
    prn__answers answers;
    if (ask(registry, strategy, given, given_count, &answers, &error) != PRN_OK) {
        prn__json_parsed(json, parent, "facts", NULL);
        prn__json_string(json, parent, "facts_error", error.message);
    } else {
        json_t *facts = prn__json_object(json, parent, "facts");
        prn__json_integer(json, facts, "samples", FACT_SAMPLES);
        prn__json_integer(json, facts, "budget_samples", FACT_SAMPLES);
        json_t *list = prn__json_array(json, facts, "steps");
        for (uint32_t t = 0; t < answers.step_count; t++) {
            json_step(json, list, t + 1, &answers.requests[t]);
        }
    }
    prn__answers_drop(&answers);
}

/* ---- the suite --------------------------------------------------------------------------------------------------------------------- */

enum { MAX_CHECKS = 64 };

struct prn__suite_book {
    prn__arena memory;
    prn__suite_check checks[MAX_CHECKS];
    size_t count;
    int failed;
};

prn__suite_book *prn__suite_book_create(void)
{
    prn__suite_book *book = prn__alloc(sizeof *book);
    if (book != NULL) {
        prn__arena_init(&book->memory, 4096);
    }
    return book;
}

void prn__suite_book_destroy(prn__suite_book *book)
{
    if (book != NULL) {
        prn__arena_fini(&book->memory);
        prn__free(book);
    }
}

void prn__suite_book_add(prn__suite_book *book, const prn__suite_check *check)
{
    char *reason = prn__arena_strdup(&book->memory, check->reason);
    if (book->count == MAX_CHECKS || reason == NULL) {
        book->failed = 1;
        return;
    }
    book->checks[book->count] = *check; /* name and meaning are constants */
    book->checks[book->count++].reason = reason;
}

static const char *outcome_name(prn__suite_outcome outcome)
{
    return outcome == PRN__SUITE_PASSED ? "passed" : outcome == PRN__SUITE_FAILED ? "failed" : "skipped";
}

void prn__suite_print(const prn__suite_book *book, const char *strategy, const char *backend, const prn__suite_summary *summary, double seconds,
                      prn__text *target)
{
    static const char *const heads[] = {"check", "outcome", "what holds when it passes"};
    char time[32];
    int any = 0;
    prn__table *table = prn__table_create();
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'l');
    }
    for (size_t i = 0; i < book->count; i++) {
        prn__table_cell(table, "%s", book->checks[i].name);
        prn__table_cell(table, "%s", outcome_name(book->checks[i].outcome));
        prn__table_cell(table, "%s", book->checks[i].meaning);
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
    for (size_t i = 0; i < book->count; i++) {
        const prn__suite_check *check = &book->checks[i];
        if (check->outcome != PRN__SUITE_PASSED && check->reason[0] != '\0') {
            prn__text_printf(target, "%s%s: %s: ", any ? "" : "\n", check->name, outcome_name(check->outcome));
            prn__text_append_safe(target, check->reason, strlen(check->reason), 0);
            prn__text_puts(target, "\n");
            any = 1;
        }
    }
    prn__text_printf(target, "\n%s on %s: %" PRId64 " checks passed, %" PRId64 " failed, %" PRId64 " skipped, in %s\n", strategy, backend, summary->passed,
                     summary->failed, summary->skipped, prn__format_duration(seconds, time, sizeof time));
    target->failed |= book->failed;
}

void prn__suite_json(const prn__suite_book *book, const char *strategy, const char *backend, const prn__suite_summary *summary, double seconds,
                     prn__text *target)
{
    prn__json json = {book->failed};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "strategy", strategy);
    prn__json_string(&json, root, "backend", backend);
    prn__json_integer(&json, root, "passed", summary->passed);
    prn__json_integer(&json, root, "failed", summary->failed);
    prn__json_integer(&json, root, "skipped", summary->skipped);
    prn__json_real(&json, root, "seconds", seconds);
    json_t *checks = prn__json_array(&json, root, "checks");
    for (size_t i = 0; i < book->count; i++) {
        json_t *object = prn__json_object(&json, checks, NULL);
        prn__json_string(&json, object, "name", book->checks[i].name);
        prn__json_string(&json, object, "meaning", book->checks[i].meaning);
        prn__json_string(&json, object, "outcome", outcome_name(book->checks[i].outcome));
        prn__json_string(&json, object, "reason", book->checks[i].reason);
        prn__json_real(&json, object, "seconds", book->checks[i].seconds);
    }
    prn__json_finish(&json, root, target);
}
