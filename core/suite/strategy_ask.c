/* core/suite/strategy_ask.c: see strategy_ask.h. */
#include "suite/strategy_ask.h"

#include <string.h>

#include "base/memory.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while asking a strategy");
}

/* ---- time lines ---------------------------------------------------------------------------------------------------------------- */

enum { STEP_NAME_BYTES = 16 };

prn_status prn__time_line_make(uint32_t count, int64_t first, int64_t more, int64_t budget_samples, prn_time_line *line, prn_error *error)
{
    prn_time_step *steps = prn__alloc(count * (sizeof *steps + STEP_NAME_BYTES)); /* the names lie behind the steps */
    char *names = (char *)(steps + count);
    *line = (prn_time_line){.struct_size = sizeof *line};
    if (steps == NULL) {
        return no_memory(error);
    }
    for (uint32_t i = 0; i < count; i++) {
        char *name = names + (size_t)i * STEP_NAME_BYTES;
        (void)snprintf(name, STEP_NAME_BYTES, "%u", i + 1);
        steps[i] = (prn_time_step){.struct_size = sizeof *steps, .index = i + 1, .name = name, .samples = first + (int64_t)i * more};
    }
    line->step_count = count;
    line->steps = steps;
    line->budget_samples = budget_samples;
    return PRN_OK;
}

void prn__time_line_drop(prn_time_line *line)
{
    prn__free((void *)(uintptr_t)line->steps);
    line->steps = NULL;
}

/* ---- asking -------------------------------------------------------------------------------------------------------------------- */

static prn_status keep_sources(prn__answers *answers, prn_source **sources, uint32_t count, prn_error *error)
{
    prn_source *kept = prn__arena_alloc(&answers->memory, (count + 1) * sizeof *kept);
    if (kept == NULL) {
        return no_memory(error);
    }
    if (count > 0) {
        memcpy(kept, *sources, count * sizeof *kept);
    }
    *sources = kept;
    return PRN_OK;
}

static prn_status ask(const prn_strategy *table, prn_strategy_instance *instance, const prn_time_line *line, uint32_t step, prn_source *room,
                      prn__answers *answers, prn_error *error)
{
    prn_stage_request *request = &answers->requests[step - 1];
    memset(room, 0, 2 * line->step_count * sizeof *room);
    *request = (prn_stage_request){.struct_size = sizeof *request, .budget_multiple = 1, .sources = room, .memory_sources = room + line->step_count,
                                   .source_capacity = line->step_count};
    prn_status status = table->plan(instance, line, step, request, error);
    if (status == PRN_OK && (request->source_count < 1 || request->source_count > line->step_count || request->memory_source_count > line->step_count)) {
        status = prn_error_set(error, PRN_INVALID, "it names %u sources of data and %u of memory; 1 to %u can be used", request->source_count,
                               request->memory_source_count, line->step_count);
    }
    request->sources = room;
    request->memory_sources = room + line->step_count;
    if (status == PRN_OK) {
        status = keep_sources(answers, &request->sources, request->source_count, error);
    }
    if (status == PRN_OK) {
        status = keep_sources(answers, &request->memory_sources, request->memory_source_count, error);
    }
    if (status == PRN_OK && request->finish_set != NULL && (request->finish_set = prn__arena_strdup(&answers->memory, request->finish_set)) == NULL) {
        status = no_memory(error);
    }
    return status == PRN_OK ? status : prn_error_context(error, status, "time step %u of %u", step, line->step_count);
}

prn_status prn__strategy_answers(const prn_strategy *table, prn_strategy_instance *instance, const prn_time_line *line, prn__ask_order order,
                                 prn__answers *answers, prn_error *error)
{
    const uint32_t count = line->step_count;
    prn_status status = PRN_OK;
    memset(answers, 0, sizeof *answers);
    prn__arena_init(&answers->memory, 4096);
    answers->step_count = count;
    answers->requests = prn__arena_alloc(&answers->memory, count * sizeof *answers->requests);
    prn_source *room = prn__alloc_array(2 * (size_t)count, sizeof *room);
    if (answers->requests == NULL || room == NULL) {
        status = no_memory(error);
    }
    for (uint32_t i = 0; i < count && status == PRN_OK; i++) {
        const uint32_t step = order == PRN__ASK_BACKWARD ? count - i : i + 1;
        status = ask(table, instance, line, step, room, answers, error);
        if (status == PRN_OK && order == PRN__ASK_TWICE) {
            status = ask(table, instance, line, step, room, answers, error);
        }
    }
    prn__free(room);
    return status;
}

void prn__answers_drop(prn__answers *answers)
{
    prn__arena_fini(&answers->memory);
    memset(answers, 0, sizeof *answers);
}

prn_status prn__strategy_ask(const prn_host *host, const prn_strategy *table, const prn__option_pair *given, size_t given_count, const prn_time_line *line,
                             prn__ask_order order, prn__answers *answers, prn_error *error)
{
    prn__options *options = NULL;
    prn_strategy_instance *instance = NULL;
    memset(answers, 0, sizeof *answers);
    prn_status status = prn__options_parse(table->name, table->options, table->option_count, given, given_count, &options, error);
    if (status == PRN_OK) {
        status = table->open(host, prn__options_values(options), &instance, error);
    }
    if (status == PRN_OK) {
        status = prn__strategy_answers(table, instance, line, order, answers, error);
        table->close(instance);
    }
    prn__options_destroy(options);
    return status;
}

/* ---- comparing ------------------------------------------------------------------------------------------------------------------ */

static int same_sources(const prn_source *a, const prn_source *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (a[i].time_step != b[i].time_step || a[i].max_samples != b[i].max_samples || a[i].weight != b[i].weight) {
            return 0;
        }
    }
    return 1;
}

static int same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

const char *prn__request_difference(const prn_stage_request *a, const prn_stage_request *b)
{
    if (a->start_step != b->start_step || a->start_from != b->start_from || a->keep_optimizer != b->keep_optimizer) {
        return "where it starts from";
    }
    if (a->budget_multiple != b->budget_multiple) {
        return "its budget";
    }
    if (a->source_count != b->source_count || !same_sources(a->sources, b->sources, a->source_count)) {
        return "its data";
    }
    if (a->memory_batch != b->memory_batch || a->memory_source_count != b->memory_source_count ||
        !same_sources(a->memory_sources, b->memory_sources, a->memory_source_count)) {
        return "its memory batches";
    }
    if (a->hooks != b->hooks || a->teacher != b->teacher || a->evaluate != b->evaluate) {
        return "its hooks, teacher or what is evaluated";
    }
    if (a->finish_gradient_batches != b->finish_gradient_batches || a->finish_scores != b->finish_scores || !same_text(a->finish_set, b->finish_set) ||
        a->kept_vectors != b->kept_vectors) {
        return "what it declares of `finish`";
    }
    return NULL;
}
