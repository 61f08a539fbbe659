/* core/run/plan.c: see plan.h.
 *
 * Strategies are asked time step by time step, all of them at one step before the next: parents come first by
 * construction, and a run that stops early has every strategy at about the same step. Equal keys (stage_key.h) are one stage.
 */
#include "run/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "data/dataset.h"
#include "run/plan_check.h"
#include "run/record.h"
#include "run/schedule.h"
#include "run/stage_files.h"
#include "run/stage_key.h"
#include "run/storage.h"
#include "run/strategy_open.h"

static const int64_t STEPS_LIMIT = 100000000; /* of one stage: bounds the table of learning rates to 400 MB */

typedef struct planner {
    prn__plan *plan;
    const prn__recipe *recipe;
    prn__registry *registry;
    prn__open_strategy *strategies;
    prn_time_line line;
    prn_time_step *time_steps;
    prn_source *sources;     /* (2 T): data, then memory */
    float *rates;            /* scratch, (rates_capacity) */
    int64_t rates_capacity;
    char common[33];         /* digest of what all stages have in common */
    double sample_forward_macs, sample_total_macs;
    int has_warned;
} planner;

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while planning");
}

/* ---- learning rates ------------------------------------------------------------------------------------------------------ */

/* Once a plan: the schedule is the same for all. A warm-up of `infinite` may go on in the next time step. */
static void warn_of_warmup(planner *p, size_t strategy, const prn__schedule_place *place)
{
    const prn__schedule *s = &p->recipe->schedule;
    const int64_t warmup = place->is_fresh ? s->warmup_steps : s->later_warmup_steps;
    if (p->has_warned || s->kind == PRN__SCHEDULE_FUNCTION || s->kind == PRN__SCHEDULE_INFINITE || warmup <= place->steps) {
        return;
    }
    p->has_warned = 1;
    prn__log(PRN_LOG_WARNING, "%s: strategy '%s' at time step %u (%s): the warm-up of %" PRId64 " updates ends behind its %" PRId64 " updates: the learning rate"
             " never reaches the peak", p->recipe->path, p->recipe->strategies[strategy].label, place->time_step,
             p->plan->manifest->steps[place->time_step - 1].name, warmup, place->steps);
}

/* Fills the scratch table with the rates of a stage, or of the branch behind it. */
static prn_status fill_rates(planner *p, const prn__schedule_place *place, prn_error *error)
{
    const int64_t steps = place->branch_steps > 0 ? place->branch_steps : place->steps;
    if (steps > p->rates_capacity) {
        prn__free(p->rates);
        p->rates = prn__alloc_array((size_t)steps, sizeof *p->rates);
        p->rates_capacity = p->rates != NULL ? steps : 0;
        if (p->rates == NULL) {
            return no_memory(error);
        }
    }
    for (int64_t i = 0; i < steps; i++) {
        double rate = 0;
        prn_status status = prn__schedule_rate(&p->recipe->schedule, place, i, &rate, error);
        if (status == PRN_OK && (!isfinite(rate) || rate < 0 || rate > 1e6)) {
            status = prn_error_set(error, PRN_INVALID, "%s: the schedule gives the learning rate %g at update %" PRId64 " of %" PRId64
                                   ", time step %u; it must be a number from 0 to 1e6", p->recipe->path, rate, i, steps, place->time_step);
        }
        if (status != PRN_OK) {
            return status;
        }
        p->rates[i] = (float)rate;
    }
    return PRN_OK;
}

/* Tables that are equal are kept once: most stages of a recipe have the same one. */
static prn_status keep_rates(planner *p, prn__stage *stage, prn_error *error)
{
    size_t bytes = (size_t)stage->steps * sizeof(float);
    if (stage->steps == 0) {
        return PRN_OK;
    }
    for (uint32_t i = p->plan->stage_count; i > 0; i--) {
        const prn__stage *other = &p->plan->stages[i - 1];
        if (other->steps == stage->steps && memcmp(other->rates, p->rates, bytes) == 0) {
            stage->rates = other->rates;
            return PRN_OK;
        }
    }
    stage->rates = prn__arena_alloc(&p->plan->memory, bytes);
    if (stage->rates == NULL) {
        return no_memory(error);
    }
    memcpy(stage->rates, p->rates, bytes);
    return PRN_OK;
}

/* ---- stages -------------------------------------------------------------------------------------------------------------- */

/* Samples of one epoch of a request's own data. */
static double epoch_samples(const planner *p, const prn_stage_request *request)
{
    double total = 0;
    for (uint32_t i = 0; i < request->source_count; i++) {
        const int64_t samples = p->time_steps[request->sources[i].time_step - 1].samples, limit = request->sources[i].max_samples;
        total += (double)(limit > 0 && limit < samples ? limit : samples);
    }
    return total;
}

static prn_status stage_steps(const planner *p, const prn_stage_request *request, int64_t *steps, prn_error *error)
{
    const prn__recipe *r = p->recipe;
    const double multiple = request->budget_multiple;
    double samples = 0;
    if (!isfinite(multiple) || multiple <= 0 || multiple > 1e6) {
        return prn_error_set(error, PRN_INVALID, "the budget multiple is %g; it must be above 0 and at most 1e6", multiple);
    }
    switch (r->budget_unit) {
    case PRN__BUDGET_SAMPLES:
        samples = (double)r->budget * multiple;
        break;
    case PRN__BUDGET_STEPS:
        samples = (double)r->budget * multiple * (double)r->batch;
        break;
    case PRN__BUDGET_EPOCHS:
        samples = r->budget_amount * multiple * epoch_samples(p, request);
        break;
    case PRN__BUDGET_MACS:
        samples = r->budget_amount * multiple / p->sample_forward_macs;
        break;
    }
    const double count = samples / (double)r->batch;
    *steps = count < (double)STEPS_LIMIT * 2 ? (int64_t)floor(count * (1 + 1e-12)) : STEPS_LIMIT * 2; /* 0.1 * 10 is one, also in binary */
    if (*steps < 1) {
        return prn_error_set(error, PRN_INVALID, "its budget of %.17g samples is less than one batch of %" PRId64 "; raise `budget` or lower `batch`",
                             floor(samples * (1 + 1e-12)), r->batch);
    }
    if (*steps > STEPS_LIMIT) {
        return prn_error_set(error, PRN_INVALID, "its budget is more than %" PRId64 " optimizer steps; raise `batch` or lower `budget`", STEPS_LIMIT);
    }
    return PRN_OK;
}

static void sort_sources(prn_source *sources, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        prn_source moved = sources[i];
        uint32_t j = i;
        for (; j > 0 && sources[j - 1].time_step > moved.time_step; j--) {
            sources[j] = sources[j - 1];
        }
        sources[j] = moved;
    }
}

static prn_status note_user(planner *p, prn__stage *stage, const char *label, prn_error *error)
{
    for (uint32_t i = 0; i < stage->used_by_count; i++) {
        if (strcmp(stage->used_by[i], label) == 0) {
            return PRN_OK;
        }
    }
    if (stage->used_by == NULL) {
        stage->used_by = prn__arena_alloc(&p->plan->memory, p->recipe->strategy_count * sizeof *stage->used_by);
    }
    if (stage->used_by == NULL) {
        return no_memory(error);
    }
    stage->used_by[stage->used_by_count++] = label;
    return PRN_OK;
}

static prn_status keep_sources(planner *p, prn_source *sources, uint32_t count, prn__plan_source **kept, prn_error *error)
{
    sort_sources(sources, count);
    *kept = prn__arena_alloc(&p->plan->memory, (count + 1) * sizeof **kept);
    if (*kept == NULL) {
        return no_memory(error);
    }
    for (uint32_t i = 0; i < count; i++) {
        const int64_t samples = sources[i].time_step == PRN_SOURCE_REFERENCE ? p->plan->reference_samples
                                                                             : p->time_steps[sources[i].time_step - 1].samples;
        (*kept)[i].time_step = sources[i].time_step;
        (*kept)[i].samples = samples;
        (*kept)[i].max_samples = sources[i].max_samples < samples ? sources[i].max_samples : 0;
        (*kept)[i].weight = count > 1 ? sources[i].weight : 0; /* the only source has no rival */
    }
    return PRN_OK;
}

/* `stage`, or the one in the plan that is equal to it. Its rates are in the scratch table. */
static prn_status add_stage(planner *p, size_t strategy, prn__stage *stage, int32_t *index, prn_error *error)
{
    prn__plan *plan = p->plan;
    prn_status status = prn__key_stage(p->common, plan, stage, p->rates, stage->key, error);
    for (uint32_t i = 0; i < plan->stage_count && status == PRN_OK; i++) {
        if (strcmp(plan->stages[i].key, stage->key) == 0) {
            *index = (int32_t)i;
            return note_user(p, &plan->stages[i], p->recipe->strategies[strategy].label, error);
        }
    }
    if (status == PRN_OK) {
        status = keep_rates(p, stage, error);
    }
    if (status == PRN_OK) {
        status = note_user(p, stage, p->recipe->strategies[strategy].label, error);
    }
    if (status == PRN_OK) {
        stage->is_done = prn__stage_is_done(p->recipe->workspace, stage->key);
        *index = (int32_t)plan->stage_count;
        plan->stages[plan->stage_count++] = *stage;
    }
    return status;
}

/* 1 when the plugin was built against an SDK that has this callback, and sets it. */
#define HAS(table, member) \
    ((table)->struct_size >= offsetof(prn_strategy, member) + sizeof((table)->member) && (table)->member != NULL)

/* What a stage's updates cost, all of its parts. A teacher sees the batches that terms of the loss are composed for. */
static void count_cost(const planner *p, size_t strategy, prn__stage *stage)
{
    const prn_strategy *table = p->strategies[strategy].table;
    const double memory = (double)(stage->steps * stage->memory_batch);
    stage->samples = stage->steps * p->recipe->batch;
    stage->forward_macs = (double)stage->samples * p->sample_forward_macs;
    if (stage->teacher != PRN_TEACHER_NONE) {
        const double taught = (HAS(table, compose_loss) ? (double)stage->samples : 0) + (HAS(table, compose_memory_loss) ? memory : 0);
        stage->teacher_macs = taught * p->sample_forward_macs;
    }
    stage->total_macs = ((double)stage->samples + memory) * p->sample_total_macs + stage->teacher_macs;
}

static void add_cost(prn__plan_line *line, uint32_t t, const prn__stage *stage)
{
    line->step_forward_macs[t] += stage->forward_macs;
    line->step_total_macs[t] += stage->total_macs;
    line->step_teacher_macs[t] += stage->teacher_macs;
    line->step_tuning_macs[t] += stage->tuning_macs;
    line->step_samples[t] += stage->samples;
    line->step_updates[t] += stage->steps;
    line->forward_macs += stage->forward_macs;
    line->total_macs += stage->total_macs;
    line->teacher_macs += stage->teacher_macs;
    line->tuning_macs += stage->tuning_macs;
    line->samples += stage->samples;
}

/* What the strategy makes of the branch's weights after steps 1..last, it makes of the trunk's as well: a later step starts from that.
 * The branch cannot serve: its learning rate has fallen, and the trunk's has not. What `finish` may load of earlier steps, it loads of their
 * trunks, so these come first. */
static prn_status finish_trunks(planner *p, size_t strategy, uint32_t last, prn_error *error)
{
    prn__plan *plan = p->plan;
    prn__plan_line *line = &plan->lines[strategy];
    prn_status status = PRN_OK;
    for (uint32_t t = 0; t < last && status == PRN_OK; t++) {
        if (line->trunk_deployed[t] >= 0) {
            continue;
        }
        line->trunk_deployed[t] = line->trunk[t];
        if (line->deployed[t] == line->trained[t]) {
            continue;
        }
        const prn__stage *trunk = &plan->stages[line->trunk[t]];
        prn__stage stage = plan->stages[line->deployed[t]];
        stage.parent = line->trunk[t];
        stage.line = (uint32_t)strategy;
        stage.of_trunk = 1;
        stage.is_scored = 0;
        stage.used_by = NULL;
        stage.used_by_count = 0;
        stage.updates_before = trunk->updates_before + trunk->steps;
        status = add_stage(p, strategy, &stage, &line->trunk_deployed[t], error);
        if (status == PRN_OK) {
            add_cost(line, t, &plan->stages[line->trunk_deployed[t]]);
        }
    }
    return status;
}

/* The stage that `request` goes on from; -1: none. */
static prn_status find_start(planner *p, size_t strategy, const prn_stage_request *request, int32_t *parent, prn_error *error)
{
    const prn__plan_line *line = &p->plan->lines[strategy];
    *parent = -1;
    if (request->start_step == PRN_START_RANDOM) {
        return PRN_OK;
    }
    const uint32_t t = request->start_step - 1;
    const int is_finished = line->deployed[t] != line->trained[t];
    if (request->start_from == PRN_WEIGHTS_TRAINED || !is_finished) {
        *parent = line->trunk[t];
        return PRN_OK;
    }
    if (prn__schedule_has_branch(&p->recipe->schedule)) {
        prn_status status = finish_trunks(p, strategy, request->start_step, error);
        *parent = line->trunk_deployed[t];
        return status;
    }
    *parent = line->deployed[t];
    return PRN_OK;
}

/* The branch behind the training stage `trunk`: the same data, from where the trunk stopped, and the same terms of the loss. */
static prn_status branch_for(planner *p, size_t strategy, const prn__stage *trunk, int32_t parent, const prn__schedule_place *place, int32_t *index,
                             prn_error *error)
{
    prn__stage stage = *trunk;
    stage.parent = parent;
    stage.keep_optimizer = 1;
    stage.is_branch = 1;
    stage.steps = place->branch_steps;
    stage.updates_before = trunk->updates_before + trunk->steps;
    stage.data_step = trunk->steps;
    count_cost(p, strategy, &stage);
    prn_status status = fill_rates(p, place, error);
    return status == PRN_OK ? add_stage(p, strategy, &stage, index, error) : status;
}

/* The training stage that `request` describes, and its branch where the schedule has one. */
static prn_status train_for(planner *p, size_t strategy, uint32_t step, const prn_stage_request *request, int32_t *trunk, int32_t *trained, prn_error *error)
{
    prn__schedule_place place = {.time_step = step};
    int64_t steps = 0, branch_steps = 0;
    prn__stage stage;
    memset(&stage, 0, sizeof stage);
    stage.time_step = step;
    prn_status status = find_start(p, strategy, request, &stage.parent, error);
    if (status == PRN_OK) {
        status = stage_steps(p, request, &steps, error);
    }
    if (status == PRN_OK) {
        status = prn__schedule_split(&p->recipe->schedule, steps, &stage.steps, &branch_steps, error);
    }
    if (status == PRN_OK) {
        status = keep_sources(p, request->sources, request->source_count, &stage.sources, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    stage.keep_optimizer = stage.parent >= 0 && (request->keep_optimizer != 0 || p->recipe->keep_optimizer);
    stage.source_count = request->source_count;
    if (stage.parent >= 0) {
        stage.updates_before = p->plan->stages[stage.parent].updates_before + p->plan->stages[stage.parent].steps;
    }
    if ((request->hooks & PRN_HOOK_TRAIN) != 0) {
        stage.hooks = PRN_HOOK_TRAIN;
        stage.line = (uint32_t)strategy;
        stage.teacher = request->teacher;
        stage.memory_batch = request->memory_batch;
        stage.memory_source_count = request->memory_source_count;
        status = keep_sources(p, request->memory_sources, request->memory_source_count, &stage.memory_sources, error);
    }
    count_cost(p, strategy, &stage);
    place.is_fresh = stage.parent < 0;
    place.before = stage.updates_before;
    place.steps = stage.steps;
    if (status == PRN_OK) {
        warn_of_warmup(p, strategy, &place);
        status = fill_rates(p, &place, error);
    }
    const prn__stage unshared = stage;
    if (status == PRN_OK) {
        status = add_stage(p, strategy, &stage, trunk, error);
    }
    *trained = *trunk;
    if (status == PRN_OK && branch_steps > 0) {
        place.branch_steps = branch_steps;
        status = branch_for(p, strategy, &unshared, *trunk, &place, trained, error);
    }
    return status;
}

/* The stage behind it that makes the deployed weights. Its cost is what `finish` has declared; sets without a stated count cost nothing. */
static prn_status finish_for(planner *p, size_t strategy, uint32_t step, const prn_stage_request *request, int32_t parent, int32_t *index, prn_error *error)
{
    const prn__manifest *manifest = p->plan->manifest;
    const prn__stage *trained = &p->plan->stages[parent];
    prn__stage stage;
    memset(&stage, 0, sizeof stage);
    stage.parent = parent;
    stage.time_step = step;
    stage.keep_optimizer = 1; /* its state goes through */
    stage.hooks = PRN_HOOK_FINISH;
    stage.line = (uint32_t)strategy;
    stage.sources = trained->sources;
    stage.source_count = trained->source_count;
    stage.finish_gradient_batches = request->finish_gradient_batches;
    stage.finish_scores = request->finish_scores;
    stage.kept_vectors = p->strategies[strategy].declares_kept ? request->kept_vectors : -1;
    stage.finish_set = request->finish_set != NULL ? prn__arena_strdup(&p->plan->memory, request->finish_set) : NULL;
    if (request->finish_set != NULL && stage.finish_set == NULL) {
        return no_memory(error);
    }
    stage.updates_before = trained->updates_before + trained->steps;
    stage.tuning_macs = (double)(request->finish_gradient_batches * p->recipe->batch) * p->sample_total_macs;
    for (uint32_t t = 0; t < step && stage.finish_set != NULL; t++) {
        for (size_t e = 0; e < manifest->steps[t].evaluation_count; e++) {
            const prn__evaluation_set *set = &manifest->steps[t].evaluations[e];
            if (strcmp(set->name, stage.finish_set) == 0 && set->shards.samples > 0) {
                stage.tuning_macs += (double)(stage.finish_scores * set->shards.samples) * p->sample_forward_macs;
            }
        }
    }
    stage.total_macs = stage.tuning_macs;
    return add_stage(p, strategy, &stage, index, error);
}

/* The one to three stages of one time step of a strategy; finish_trunks may add a fourth later. */
static prn_status stages_for(planner *p, size_t strategy, uint32_t step, const prn_stage_request *request, prn_error *error)
{
    prn__plan *plan = p->plan;
    prn__plan_line *line = &plan->lines[strategy];
    const uint32_t t = step - 1;
    prn_status status = train_for(p, strategy, step, request, &line->trunk[t], &line->trained[t], error);
    if (status != PRN_OK) {
        return status;
    }
    line->deployed[t] = line->trained[t];
    line->trunk_deployed[t] = -1;
    line->step_budget[t] = request->budget_multiple;
    line->budget += request->budget_multiple;
    if ((request->hooks & PRN_HOOK_FINISH) != 0) {
        status = finish_for(p, strategy, step, request, line->trained[t], &line->deployed[t], error);
        if (status != PRN_OK) {
            return status;
        }
    }
    line->stages[t] = request->evaluate == PRN_WEIGHTS_TRAINED ? line->trained[t] : line->deployed[t];
    plan->stages[line->stages[t]].is_scored = 1;
    const int32_t parts[3] = {line->trunk[t], line->trained[t], line->deployed[t]};
    for (int part = 0; part < 3; part++) {
        const prn__stage *stage = &plan->stages[parts[part]];
        if (part > 0 && parts[part] == parts[part - 1]) {
            continue;
        }
        add_cost(line, t, stage);
    }
    return PRN_OK;
}

static prn_status ask_strategy(planner *p, size_t strategy, uint32_t step, prn_error *error)
{
    prn__plan *plan = p->plan;
    const prn__recipe_strategy *asked = &p->recipe->strategies[strategy];
    prn_stage_request request;
    memset(&request, 0, sizeof request);
    memset(p->sources, 0, 2 * plan->step_count * sizeof *p->sources);
    request.struct_size = sizeof request;
    request.budget_multiple = 1;
    request.sources = p->sources;
    request.memory_sources = p->sources + plan->step_count;
    request.source_capacity = plan->step_count;
    prn_status status = p->strategies[strategy].table->plan(p->strategies[strategy].instance, &p->line, step, &request, error);
    request.sources = p->sources;
    request.memory_sources = p->sources + plan->step_count;
    if (status == PRN_OK) {
        status = prn__plan_check_request(plan, &request, step, error);
    }
    if (status == PRN_OK) {
        status = stages_for(p, strategy, step, &request, error);
    }
    if (status != PRN_OK) {
        return prn_error_context(error, status, "%s:%d: strategy '%s' at time step %u (%s)", p->recipe->path, asked->line, asked->label, step,
                                 plan->manifest->steps[step - 1].name);
    }
    return PRN_OK;
}

/* ---- preparation --------------------------------------------------------------------------------------------------------- */

static int make_line(planner *p, prn__plan_line *line)
{
    const size_t count = p->plan->step_count;
    prn__arena *memory = &p->plan->memory;
    int32_t **const stages[] = {&line->stages, &line->trunk, &line->trained, &line->deployed, &line->trunk_deployed};
    double **const costs[] = {&line->step_forward_macs, &line->step_total_macs, &line->step_teacher_macs, &line->step_tuning_macs,
                              &line->step_budget};
    int64_t **const counts[] = {&line->step_samples, &line->step_updates};
    int failed = 0;
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        *stages[i] = prn__arena_alloc(memory, count * sizeof **stages[i]);
        failed |= *stages[i] == NULL;
    }
    for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++) {
        *costs[i] = prn__arena_alloc(memory, count * sizeof **costs[i]);
        failed |= *costs[i] == NULL;
    }
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        *counts[i] = prn__arena_alloc(memory, count * sizeof **counts[i]);
        failed |= *counts[i] == NULL;
    }
    return !failed;
}

static prn_status open_strategies(planner *p, prn_error *error)
{
    const prn__recipe *r = p->recipe;
    p->strategies = prn__alloc_array(r->strategy_count, sizeof *p->strategies);
    p->plan->lines = prn__arena_alloc(&p->plan->memory, r->strategy_count * sizeof *p->plan->lines);
    if (p->strategies == NULL || p->plan->lines == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < r->strategy_count; i++) {
        const prn__recipe_strategy *asked = &r->strategies[i];
        prn__open_strategy *opened = &p->strategies[i];
        prn__plan_line *line = &p->plan->lines[i];
        prn_status status = prn__strategy_open(asked, p->registry, opened, line->plugin, error);
        if (status != PRN_OK) {
            return prn_error_context(error, status, "%s:%d: strategy '%s'", r->path, asked->line, asked->label);
        }
        char *options = prn__record_options(opened->table->options, opened->table->option_count, prn__options_values(opened->options));
        line->label = asked->label;
        line->strategy = asked->strategy;
        line->options = options != NULL ? prn__arena_strdup(&p->plan->memory, options) : NULL;
        prn__free(options);
        if (line->options == NULL || !make_line(p, line)) {
            return no_memory(error);
        }
    }
    return PRN_OK;
}

static prn_status first_only(void *context, const char *item, prn_error *error)
{
    char **first = context;
    (void)error;
    *first = prn__strdup(item);
    return PRN_END;
}

/* 1 when the first shard of a list is there: the rough count is for data that one does not have. */
static int has_data(const prn__manifest *manifest, const prn__shard_list *list)
{
    prn_error ignored = PRN_ERROR_INIT;
    char *first = NULL;
    (void)prn__brace_expand(list->pattern, INT64_MAX, first_only, &first, &ignored);
    char *path = first != NULL ? prn__path_join(manifest->root, first) : NULL;
    int found = path != NULL && prn__file_exists(path);
    prn__free(path);
    prn__free(first);
    return found;
}

/* C in samples, for strategies that want to know; an epoch is one of the largest time step here. stage_steps has the last word. */
static int64_t budget_samples(const planner *p)
{
    const prn__recipe *r = p->recipe;
    double samples = 0;
    int64_t largest = 0, exact;
    for (uint32_t t = 0; t < p->plan->step_count; t++) {
        largest = p->time_steps[t].samples > largest ? p->time_steps[t].samples : largest;
    }
    switch (r->budget_unit) {
    case PRN__BUDGET_SAMPLES:
        return r->budget;
    case PRN__BUDGET_STEPS:
        return __builtin_mul_overflow(r->budget, r->batch, &exact) ? INT64_MAX : exact;
    case PRN__BUDGET_EPOCHS:
        samples = r->budget_amount * (double)largest;
        break;
    case PRN__BUDGET_MACS:
        samples = r->budget_amount / p->sample_forward_macs;
        break;
    }
    return samples < 9e18 ? (int64_t)floor(samples * (1 + 1e-12)) : INT64_MAX;
}

/* Counts come from the manifest; what it leaves out is counted in the data, or, without data, taken as it says roughly. */
static prn_status make_time_line(planner *p, prn_error *error)
{
    const prn__manifest *manifest = p->plan->manifest;
    size_t count = manifest->step_count;
    p->time_steps = prn__alloc_array(count, sizeof *p->time_steps);
    p->sources = prn__alloc_array(2 * count, sizeof *p->sources);
    if (p->time_steps == NULL || p->sources == NULL) {
        return no_memory(error);
    }
    for (size_t t = 0; t < count; t++) {
        const prn__manifest_step *step = &manifest->steps[t];
        int64_t samples = step->train.samples;
        if (samples < 0 && step->train.about >= 0 && !has_data(manifest, &step->train)) {
            samples = step->train.about;
        } else if (samples < 0) {
            const prn__shard_list *list = &step->train;
            prn__dataset *dataset = NULL;
            prn_status status = prn__dataset_open(manifest, &list, 1, NULL, &dataset, error);
            if (status != PRN_OK) {
                return prn_error_context(error, status, "%s: step '%s' states no `samples`, and they cannot be counted", manifest->path, step->name);
            }
            samples = prn__dataset_samples(dataset);
            prn__dataset_close(dataset);
        }
        p->time_steps[t].struct_size = sizeof p->time_steps[t];
        p->time_steps[t].index = (uint32_t)t + 1;
        p->time_steps[t].name = step->name;
        p->time_steps[t].samples = samples;
    }
    p->line.struct_size = sizeof p->line;
    p->line.step_count = (uint32_t)count;
    p->line.steps = p->time_steps;
    p->line.budget_samples = budget_samples(p);
    return PRN_OK;
}

/* All segments of a training tower for one item: forward, backward, and what checkpointing computes again. */
static prn_status tower_total(prn__graph *graph, int64_t tokens, double *macs, prn_error *error)
{
    const prn_program *program = NULL;
    const int64_t values[2] = {1, tokens};
    prn_status status = prn__graph_finish(graph, &program, error);
    if (status == PRN_OK) {
        *macs += prn__program_macs(program, -1, values, 0);
    }
    prn__graph_destroy(graph);
    return status;
}

static prn_status count_macs(planner *p, prn_error *error)
{
    prn__plan *plan = p->plan;
    const prn__recipe *r = p->recipe;
    const prn__tower_options options = {.max_items = 1, .training = 1, .checkpoint = r->checkpointing, .recompute = 1, .every_row = 1};
    prn__graph *graph = NULL;
    prn_status status = prn__model_forward_macs(plan->model, &plan->image_macs, &plan->text_macs, error);
    p->sample_forward_macs = plan->image_macs + plan->text_macs;
    if (status == PRN_OK) {
        status = prn__model_image_tower(plan->model, &options, &graph, error);
    }
    if (status == PRN_OK) {
        status = tower_total(graph, 0, &p->sample_total_macs, error);
    }
    if (status == PRN_OK) {
        status = prn__model_text_tower(plan->model, &options, &graph, error);
    }
    if (status == PRN_OK) {
        status = tower_total(graph, r->model.text.context_length, &p->sample_total_macs, error);
    }
    if (r->micro_batch > 0 && r->micro_batch < r->batch) {
        p->sample_total_macs += p->sample_forward_macs; /* embeddings of the whole batch come first */
    } else if (r->checkpointing == PRN__CHECKPOINT_TOWERS && r->optimizer.clip_norm == 0) {
        p->sample_total_macs += plan->text_macs; /* the text tower is run forward twice */
    }
    return status;
}

static prn_status load_reference(prn__plan *plan, const char *path, prn_error *error)
{
    prn_status status = prn__manifest_load(path, &plan->reference, error);
    for (size_t t = 0; status == PRN_OK && t < plan->reference->step_count; t++) {
        const prn__shard_list *list = &plan->reference->steps[t].train;
        if (list->samples < 0 && list->about < 0) {
            return prn_error_set(error, PRN_INVALID, "%s: step '%s' of a reference stream must state its `samples`", path, plan->reference->steps[t].name);
        }
        plan->reference_samples += list->samples >= 0 ? list->samples : list->about;
    }
    return status;
}

/* Names that the recipe wants scored must be there. */
static prn_status check_evaluations(const planner *p, prn_error *error)
{
    const prn__manifest *manifest = p->plan->manifest;
    for (size_t i = 0; i < p->recipe->evaluate_count; i++) {
        const char *wanted = p->recipe->evaluate[i];
        int found = 0;
        for (size_t t = 0; t < manifest->step_count && !found; t++) {
            for (size_t e = 0; e < manifest->steps[t].evaluation_count && !found; e++) {
                found = strcmp(manifest->steps[t].evaluations[e].name, wanted) == 0;
            }
        }
        if (!found) {
            return prn_error_set(error, PRN_NOT_FOUND, "%s: no step of %s has an evaluation set '%s'", p->recipe->path, manifest->path, wanted);
        }
    }
    return PRN_OK;
}

static void planner_fini(planner *p)
{
    for (size_t i = 0; p->strategies != NULL && i < p->recipe->strategy_count; i++) {
        prn__strategy_close(&p->strategies[i]);
    }
    prn__free(p->strategies);
    prn__free(p->time_steps);
    prn__free(p->sources);
    prn__free(p->rates);
}

prn_status prn__plan_create(const prn__recipe *recipe, prn__registry *registry, prn__plan **result, prn_error *error)
{
    planner p;
    prn_status status;
    memset(&p, 0, sizeof p);
    *result = NULL;
    prn__plan *plan = prn__alloc(sizeof *plan);
    if (plan == NULL) {
        return no_memory(error);
    }
    prn__arena_init(&plan->memory, 1 << 16);
    plan->recipe = recipe;
    p.plan = plan;
    p.recipe = recipe;
    p.registry = registry;
    if ((status = prn__manifest_load(recipe->manifest_path, &plan->manifest, error)) != PRN_OK) {
        goto done;
    }
    if (recipe->reference_path != NULL && (status = load_reference(plan, recipe->reference_path, error)) != PRN_OK) {
        goto done;
    }
    size_t count = plan->manifest->step_count;
    if (count < 1 || count > UINT32_MAX / 2 || recipe->strategy_count < 1) {
        status = prn_error_set(error, PRN_INVALID, "%s: needs at least one strategy, and %s at least one time step", recipe->path, recipe->manifest_path);
        goto done;
    }
    plan->step_count = (uint32_t)count;
    plan->stages = prn__arena_alloc(&plan->memory, 4 * count * recipe->strategy_count * sizeof *plan->stages);
    if (plan->stages == NULL) {
        status = no_memory(error);
        goto done;
    }
    if ((status = prn__model_create(&recipe->model, recipe->decay_rule, &plan->model, error)) != PRN_OK ||
        (status = check_evaluations(&p, error)) != PRN_OK || (status = count_macs(&p, error)) != PRN_OK ||
        (status = make_time_line(&p, error)) != PRN_OK ||
        (status = prn__key_common(PRN__ENGINE_NUMERICS, recipe, plan->manifest, registry, p.common, error)) != PRN_OK ||
        (status = open_strategies(&p, error)) != PRN_OK) {
        goto done;
    }
    for (uint32_t step = 1; step <= plan->step_count; step++) {
        for (size_t s = 0; s < recipe->strategy_count; s++) {
            if ((status = ask_strategy(&p, s, step, error)) != PRN_OK) {
                goto done;
            }
        }
    }
    status = prn__plan_storage(plan, error);
done:
    planner_fini(&p);
    if (status != PRN_OK) {
        prn__plan_destroy(plan);
        return status;
    }
    *result = plan;
    return PRN_OK;
}

int prn__stage_is_ready(const prn__plan *plan, const prn__stage *stage)
{
    const prn__plan_line *line = &plan->lines[stage->line];
    int is_ready = stage->parent < 0 || plan->stages[stage->parent].is_done;
    for (uint32_t t = 0; stage->hooks != 0 && t + 1 < stage->time_step && is_ready; t++) {
        is_ready = stage->of_trunk ? plan->stages[line->trunk[t]].is_done && plan->stages[line->trunk_deployed[t]].is_done
                                   : plan->stages[line->trained[t]].is_done && plan->stages[line->deployed[t]].is_done;
    }
    return is_ready;
}

void prn__plan_destroy(prn__plan *plan)
{
    if (plan != NULL) {
        if (plan->model != NULL) {
            prn__model_destroy(plan->model);
        }
        if (plan->manifest != NULL) {
            prn__manifest_destroy(plan->manifest);
        }
        if (plan->reference != NULL) {
            prn__manifest_destroy(plan->reference);
        }
        prn__arena_fini(&plan->memory);
        prn__free(plan);
    }
}
