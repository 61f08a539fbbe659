/* core/ledger/sweep_summary.c: from the runs of a sweep to means, deviations, the best setting and its cost; see sweep.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/sweep_internal.h"

const char *const prn__sweep_metric_names[PRN__SWEEP_METRICS] = {"average", "in_domain", "backward", "forward", "forgetting"};

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading a sweep");
}

prn__statistic prn__statistic_of(const double *values, size_t count)
{
    prn__statistic s = {.mean = NAN, .deviation = NAN};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += isnan(values[i]) ? 0 : values[i];
        s.n += isnan(values[i]) ? 0 : 1;
    }
    if (s.n > 0) {
        s.mean = sum / (double)s.n;
    }
    for (size_t i = 0; i < count; i++) {
        squares += isnan(values[i]) ? 0 : (values[i] - s.mean) * (values[i] - s.mean);
    }
    if (s.n > 1) {
        s.deviation = sqrt(squares / (double)(s.n - 1));
    }
    return s;
}

/* ---- one run ---------------------------------------------------------------------------------------------------------------------- */

static const prn__result_strategy *strategy_of(const prn__results *results, const char *label)
{
    for (size_t s = 0; s < results->strategy_count; s++) {
        if (strcmp(results->strategies[s].label, label) == 0) {
            return &results->strategies[s];
        }
    }
    return NULL;
}

static const prn__result_task *task_of(const prn__results *results, const prn__result_strategy *strategy, const char *name)
{
    for (size_t k = 0; k < results->task_count; k++) {
        if (strcmp(strategy->tasks[k].name, name) == 0) {
            return &strategy->tasks[k];
        }
    }
    return NULL;
}

static const prn__result_score *score_of(const prn__result_task *task, const char *name)
{
    for (size_t i = 0; i < task->score_count; i++) {
        if (strcmp(task->scores[i].name, name) == 0) {
            return &task->scores[i];
        }
    }
    return NULL;
}

static size_t finite_in_row(const double *matrix, uint32_t steps, uint32_t row)
{
    size_t count = 0;
    for (uint32_t j = 0; j < steps; j++) {
        count += isfinite(matrix[(size_t)row * steps + j]) ? 1 : 0;
    }
    return count;
}

/* Every stage trained, and each scored on as many sets as any other. */
static int is_complete(const prn__results *results, const prn__result_strategy *strategy)
{
    for (uint32_t t = 0; t < results->step_count; t++) {
        if (strcmp(strategy->stages[t].state, "done") != 0) {
            return 0;
        }
    }
    for (size_t k = 0; k < results->task_count; k++) {
        const prn__result_task *task = &strategy->tasks[k];
        const size_t wanted = task->score_count > 0 ? finite_in_row(task->scores[0].matrix, results->step_count, 0) : 0;
        for (uint32_t t = 0; t < results->step_count; t++) {
            if (wanted == 0 || finite_in_row(task->scores[0].matrix, results->step_count, t) != wanted) {
                return 0;
            }
        }
    }
    return 1;
}

static double metric_of(const prn__results *results, const prn__result_score *score, int metric)
{
    const prn__transfer *t = &score->transfer;
    double sum = 0;
    size_t count = 0;
    switch (metric) {
    case PRN__SWEEP_IN_DOMAIN:
        return t->in_domain;
    case PRN__SWEEP_BACKWARD:
        return t->backward;
    case PRN__SWEEP_FORWARD:
        return t->forward;
    case PRN__SWEEP_FORGETTING:
        return t->forgetting;
    default:
        for (uint32_t j = 0; j < results->step_count; j++) { /* over the tasks, after the last step */
            const double value = score->matrix[(size_t)(results->step_count - 1) * results->step_count + j];
            sum += isnan(value) ? 0 : value;
            count += isnan(value) ? 0 : 1;
        }
        return count > 0 ? sum / (double)count : NAN;
    }
}

/* NaN where the run is not complete for this strategy. */
static double run_metric(const prn__results *results, const char *label, const char *task, const char *score, int metric)
{
    const prn__result_strategy *strategy = strategy_of(results, label);
    if (strategy == NULL || results->step_count == 0 || !is_complete(results, strategy)) {
        return NAN;
    }
    const prn__result_task *t = task_of(results, strategy, task);
    const prn__result_score *s = t != NULL ? score_of(t, score) : NULL;
    return s != NULL ? metric_of(results, s, metric) : NAN;
}

/* ---- settings --------------------------------------------------------------------------------------------------------------------- */

static int is_same_setting(const prn__sweep_run *run, const prn__sweep_setting_values *setting)
{
    size_t at = 0;
    for (size_t i = 0; i < run->value_count; i++) {
        if (run->values[i].is_seeds) {
            continue;
        }
        if (at == setting->value_count || strcmp(run->values[i].name, setting->values[at].name) != 0 ||
            strcmp(run->values[i].value, setting->values[at].value) != 0) {
            return 0;
        }
        at++;
    }
    return at == setting->value_count;
}

static prn_status find_settings(prn__sweep_results *sweep, prn_error *error)
{
    size_t names = 0;
    for (size_t i = 0; i < sweep->run_count; i++) {
        names += sweep->runs[i].value_count;
    }
    sweep->settings = prn__arena_alloc(&sweep->memory, (sweep->run_count + 1) * sizeof *sweep->settings);
    sweep->names = prn__arena_alloc(&sweep->memory, (names + 1) * sizeof *sweep->names);
    if (sweep->settings == NULL || sweep->names == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < sweep->run_count; i++) {
        prn__sweep_run *run = &sweep->runs[i];
        size_t s = 0;
        while (s < sweep->setting_count && !is_same_setting(run, &sweep->settings[s])) {
            s++;
        }
        run->setting = (uint32_t)s;
        if (s < sweep->setting_count) {
            continue;
        }
        prn__sweep_setting_values *setting = &sweep->settings[sweep->setting_count++];
        setting->criterion = NAN;
        setting->values = prn__arena_alloc(&sweep->memory, (run->value_count + 1) * sizeof *setting->values);
        if (setting->values == NULL) {
            return no_memory(error);
        }
        for (size_t v = 0; v < run->value_count; v++) {
            if (run->values[v].is_seeds) {
                continue;
            }
            setting->values[setting->value_count++] = run->values[v];
            size_t n = 0;
            while (n < sweep->name_count && strcmp(sweep->names[n], run->values[v].name) != 0) {
                n++;
            }
            if (n == sweep->name_count) {
                sweep->names[sweep->name_count++] = run->values[v].name;
            }
        }
    }
    return PRN_OK;
}

/* ---- stages ----------------------------------------------------------------------------------------------------------------------- */

static int compare_nodes(const void *left, const void *right)
{
    const int64_t *id = left;
    const prn__stage_node *node = right;
    return *id < node->id ? -1 : *id > node->id;
}

/* Marks the stages of a strategy (NULL: of all) in a run, those that they stand on too, unless they are marked already. */
static void cover(const prn__stage_graph *graph, size_t run, const char *label, unsigned char mark, unsigned char *marks)
{
    for (size_t u = 0; u < graph->use_counts[run]; u++) {
        int64_t id = graph->uses[run][u].stage;
        if (label != NULL && strcmp(graph->uses[run][u].label, label) != 0) {
            continue;
        }
        while (id != 0 && graph->node_count > 0) {
            const prn__stage_node *node = bsearch(&id, graph->nodes, graph->node_count, sizeof *graph->nodes, compare_nodes);
            if (node == NULL || marks[node - graph->nodes] != 0) {
                break;
            }
            marks[node - graph->nodes] = mark;
            id = node->parent_id;
        }
    }
}

static double total_of(const prn__stage_graph *graph, const unsigned char *marks, unsigned char mark)
{
    double sum = 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        sum += marks[i] == mark ? graph->nodes[i].total_macs : 0;
    }
    return sum;
}

static double forward_of(const prn__stage_graph *graph, const unsigned char *marks, unsigned char mark)
{
    double sum = 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        sum += marks[i] == mark ? graph->nodes[i].forward_macs : 0;
    }
    return sum;
}

static int has_same_seeds(const prn__sweep_run *a, const prn__sweep_run *b)
{
    size_t i = 0, j = 0;
    for (;; i++, j++) {
        while (i < a->value_count && !a->values[i].is_seeds) {
            i++;
        }
        while (j < b->value_count && !b->values[j].is_seeds) {
            j++;
        }
        if (i == a->value_count || j == b->value_count) {
            return i == a->value_count && j == b->value_count;
        }
        if (strcmp(a->values[i].name, b->values[j].name) != 0 || strcmp(a->values[i].value, b->values[j].value) != 0) {
            return 0;
        }
    }
}

static int has_same_stages(const prn__stage_graph *graph, size_t a, size_t b, const char *label)
{
    size_t i = 0, j = 0;
    for (;; i++, j++) {
        while (i < graph->use_counts[a] && strcmp(graph->uses[a][i].label, label) != 0) {
            i++;
        }
        while (j < graph->use_counts[b] && strcmp(graph->uses[b][j].label, label) != 0) {
            j++;
        }
        if (i == graph->use_counts[a] || j == graph->use_counts[b]) {
            return i == graph->use_counts[a] && j == graph->use_counts[b];
        }
        if (graph->uses[a][i].stage != graph->uses[b][j].stage) {
            return 0;
        }
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------- */

typedef struct summary {
    prn__sweep_results *sweep;
    const prn__stage_graph *graph;
    const prn__results *shape;   /* the results whose tasks all rows show */
    double *values;              /* (run_count) scratch */
    unsigned char *marks;        /* (node_count) scratch */
    int metric;                  /* of the criterion */
    prn_error *error;
} summary;

/* Runs of the row's first setting that have the strategy. */
static prn_status find_runs(summary *m, const char *label, uint32_t setting, prn__sweep_row *row)
{
    row->runs = prn__arena_alloc(&m->sweep->memory, (m->sweep->run_count + 1) * sizeof *row->runs);
    if (row->runs == NULL) {
        return no_memory(m->error);
    }
    for (size_t i = 0; i < m->sweep->run_count; i++) {
        const prn__results *results = m->sweep->runs[i].results;
        const prn__result_strategy *strategy = strategy_of(results, label);
        if (m->sweep->runs[i].setting == setting && strategy != NULL) {
            row->runs[row->run_count++] = (uint32_t)i;
            row->complete_count += results->step_count > 0 && is_complete(results, strategy) ? 1 : 0;
        }
    }
    return PRN_OK;
}

static int trains_the_same(const summary *m, const char *label, const prn__sweep_row *a, const prn__sweep_row *b)
{
    if (a->run_count != b->run_count) {
        return 0;
    }
    for (size_t i = 0; i < a->run_count; i++) {
        if (!has_same_seeds(&m->sweep->runs[a->runs[i]], &m->sweep->runs[b->runs[i]]) || !has_same_stages(m->graph, a->runs[i], b->runs[i], label)) {
            return 0;
        }
    }
    return 1;
}

static prn__statistic row_statistic(summary *m, const char *label, const prn__sweep_row *row, const char *task, const char *score, int metric)
{
    for (size_t i = 0; i < row->run_count; i++) {
        m->values[i] = run_metric(m->sweep->runs[row->runs[i]].results, label, task, score, metric);
    }
    return prn__statistic_of(m->values, row->run_count);
}

static prn_status fill_row(summary *m, const char *label, prn__sweep_row *row)
{
    prn__sweep_results *sweep = m->sweep;
    row->tasks = prn__arena_alloc(&sweep->memory, (sweep->task_count + 1) * sizeof *row->tasks);
    if (row->tasks == NULL) {
        return no_memory(m->error);
    }
    for (size_t k = 0; k < sweep->task_count; k++) {
        const prn__result_task *shape = &m->shape->strategies[0].tasks[k];
        prn__sweep_task *task = &row->tasks[k];
        *task = (prn__sweep_task){.name = shape->name, .kind = shape->kind, .is_chosen_on = strcmp(shape->name, sweep->chosen_on) == 0};
        task->scores = prn__arena_alloc(&sweep->memory, (shape->score_count + 1) * sizeof *task->scores);
        if (task->scores == NULL) {
            return no_memory(m->error);
        }
        for (size_t s = 0; s < shape->score_count; s++) {
            task->scores[s].name = shape->scores[s].name;
            for (int metric = 0; metric < PRN__SWEEP_METRICS; metric++) {
                task->scores[s].metrics[metric] = row_statistic(m, label, row, shape->name, shape->scores[s].name, metric);
            }
        }
        task->score_count = shape->score_count;
    }
    row->criterion = row_statistic(m, label, row, sweep->chosen_on, sweep->score, m->metric);
    (void)memset(m->marks, 0, m->graph->node_count);
    for (size_t i = 0; i < row->run_count; i++) {
        cover(m->graph, row->runs[i], label, 1, m->marks);
    }
    row->total_macs = total_of(m->graph, m->marks, 1);
    row->forward_macs = forward_of(m->graph, m->marks, 1);
    return PRN_OK;
}

/* How many seeds a row has when it is whole. While runs are still to be begun, that is what the row with most of them has. */
static size_t whole_count(const prn__sweep_results *sweep, const prn__sweep_strategy *strategy, const prn__sweep_row *row)
{
    size_t most = row->run_count;
    for (size_t i = 0; i < strategy->row_count && sweep->run_count < sweep->combinations; i++) {
        most = strategy->rows[i].run_count > most ? strategy->rows[i].run_count : most;
    }
    return most;
}

/* The first of the highest means, among rows that are complete when there are any: an average over fewer seeds is no match for one over all. */
static void choose_best(summary *m, prn__sweep_strategy *strategy)
{
    strategy->best = -1;
    for (int complete = 1; complete >= 0 && strategy->best < 0; complete--) {
        for (size_t i = 0; i < strategy->row_count; i++) {
            const prn__sweep_row *row = &strategy->rows[i];
            if (!isnan(row->criterion.mean) && (!complete || row->criterion.n == whole_count(m->sweep, strategy, row)) &&
                (strategy->best < 0 || row->criterion.mean > strategy->rows[strategy->best].criterion.mean)) {
                strategy->best = (int64_t)i;
            }
        }
    }
    if (strategy->best < 0) {
        return;
    }
    (void)memset(m->marks, 0, m->graph->node_count);
    strategy->rows[strategy->best].is_best = 1;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < strategy->row_count; i++) {
            const prn__sweep_row *row = &strategy->rows[i];
            for (size_t k = 0; k < row->run_count && row->is_best == !pass; k++) {
                cover(m->graph, row->runs[k], strategy->label, pass == 0 ? 1 : 2, m->marks);
            }
        }
    }
    strategy->training_macs = total_of(m->graph, m->marks, 1);
    strategy->tuning_macs = total_of(m->graph, m->marks, 2);
}

static prn_status fill_strategy(summary *m, prn__sweep_strategy *strategy)
{
    prn__sweep_results *sweep = m->sweep;
    prn_status status = PRN_OK;
    strategy->best = -1;
    strategy->rows = prn__arena_alloc(&sweep->memory, (sweep->setting_count + 1) * sizeof *strategy->rows);
    if (strategy->rows == NULL) {
        return no_memory(m->error);
    }
    for (uint32_t s = 0; s < sweep->setting_count && status == PRN_OK; s++) {
        prn__sweep_row fresh = {0};
        prn__sweep_row *row = NULL;
        status = find_runs(m, strategy->label, s, &fresh);
        if (status != PRN_OK || fresh.run_count == 0) {
            continue;
        }
        for (size_t i = 0; i < strategy->row_count && row == NULL; i++) {
            row = trains_the_same(m, strategy->label, &strategy->rows[i], &fresh) ? &strategy->rows[i] : NULL;
        }
        if (row == NULL) {
            row = &strategy->rows[strategy->row_count++];
            *row = fresh;
            row->settings = prn__arena_alloc(&sweep->memory, (sweep->setting_count + 1) * sizeof *row->settings);
            status = row->settings != NULL ? fill_row(m, strategy->label, row) : no_memory(m->error);
        }
        if (status == PRN_OK) {
            row->settings[row->setting_count++] = s;
        }
    }
    if (status == PRN_OK) {
        choose_best(m, strategy);
    }
    return status;
}

/* ---- the whole -------------------------------------------------------------------------------------------------------------------- */

static prn_status find_strategies(summary *m)
{
    prn__sweep_results *sweep = m->sweep;
    size_t capacity = 0;
    for (size_t i = 0; i < sweep->run_count; i++) {
        capacity += sweep->runs[i].results->strategy_count;
    }
    sweep->strategies = prn__arena_alloc(&sweep->memory, (capacity + 1) * sizeof *sweep->strategies);
    if (sweep->strategies == NULL) {
        return no_memory(m->error);
    }
    for (size_t i = 0; i < sweep->run_count; i++) {
        const prn__results *results = sweep->runs[i].results;
        for (size_t s = 0; s < results->strategy_count; s++) {
            size_t k = 0;
            while (k < sweep->strategy_count && strcmp(sweep->strategies[k].label, results->strategies[s].label) != 0) {
                k++;
            }
            if (k == sweep->strategy_count) {
                sweep->strategies[sweep->strategy_count++] =
                    (prn__sweep_strategy){.label = results->strategies[s].label, .strategy = results->strategies[s].strategy};
            }
        }
    }
    return PRN_OK;
}

/* Over all strategies: the mean of their means, each the same weight. */
static void choose_overall(summary *m)
{
    prn__sweep_results *sweep = m->sweep;
    sweep->best = -1;
    for (uint32_t s = 0; s < sweep->setting_count; s++) {
        double sum = 0;
        for (size_t k = 0; k < sweep->strategy_count; k++) {
            const prn__sweep_strategy *strategy = &sweep->strategies[k];
            double mean = NAN;
            for (size_t i = 0; i < strategy->row_count; i++) {
                const prn__sweep_row *row = &strategy->rows[i];
                for (size_t n = 0; n < row->setting_count; n++) {
                    mean = row->settings[n] == s && row->criterion.n == whole_count(sweep, strategy, row) ? row->criterion.mean : mean;
                }
            }
            sum += mean; /* NaN stays */
        }
        sweep->settings[s].criterion = sweep->strategy_count > 0 ? sum / (double)sweep->strategy_count : NAN;
        if (!isnan(sweep->settings[s].criterion) && (sweep->best < 0 || sweep->settings[s].criterion > sweep->settings[sweep->best].criterion)) {
            sweep->best = s;
        }
    }
    (void)memset(m->marks, 0, m->graph->node_count);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sweep->run_count; i++) {
            if ((sweep->best == (int64_t)sweep->runs[i].setting) == !pass) {
                cover(m->graph, i, NULL, pass == 0 ? 1 : 2, m->marks);
            }
        }
    }
    sweep->training_macs = total_of(m->graph, m->marks, 1);
    sweep->tuning_macs = total_of(m->graph, m->marks, 2);
    sweep->total_macs = sweep->training_macs + sweep->tuning_macs;
    sweep->forward_macs = forward_of(m->graph, m->marks, 1) + forward_of(m->graph, m->marks, 2);
}

/* Tasks and scores are those of the run that shows most of them; a score of "" is the headline. */
static void find_shape(summary *m)
{
    prn__sweep_results *sweep = m->sweep;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const prn__results *results = sweep->runs[i].results;
        if (results->strategy_count > 0 && results->task_count > 0 &&
            (m->shape == NULL || results->strategies[0].tasks[0].score_count > m->shape->strategies[0].tasks[0].score_count)) {
            m->shape = results;
        }
    }
    sweep->task_count = m->shape != NULL ? m->shape->task_count : 0;
    sweep->is_held_out = sweep->task_count > 1;
    for (size_t k = 0; k < sweep->task_count && sweep->score[0] == '\0'; k++) {
        const prn__result_task *task = &m->shape->strategies[0].tasks[k];
        sweep->score = strcmp(task->name, sweep->chosen_on) == 0 ? task->scores[0].name : sweep->score;
    }
}

prn_status prn__sweep_summarise(prn__sweep_results *sweep, const prn__stage_graph *graph, prn_error *error)
{
    summary m = {.sweep = sweep, .graph = graph, .error = error};
    prn_status status = find_settings(sweep, error);
    m.values = prn__arena_alloc(&sweep->memory, (sweep->run_count + 1) * sizeof *m.values);
    m.marks = prn__arena_alloc(&sweep->memory, graph->node_count + 1);
    if (status == PRN_OK && (m.values == NULL || m.marks == NULL)) {
        status = no_memory(error);
    }
    if (status == PRN_OK) {
        find_shape(&m);
        while (m.metric < PRN__SWEEP_FORGETTING && strcmp(prn__sweep_metric_names[m.metric], sweep->criterion) != 0) {
            m.metric++;
        }
        m.metric = m.metric < PRN__SWEEP_FORGETTING ? m.metric : PRN__SWEEP_AVERAGE;
        status = find_strategies(&m);
    }
    for (size_t k = 0; k < sweep->strategy_count && status == PRN_OK; k++) {
        status = fill_strategy(&m, &sweep->strategies[k]);
    }
    if (status != PRN_OK) {
        return status;
    }
    choose_overall(&m);
    for (size_t i = 0; i < sweep->run_count; i++) {
        const prn__results *results = sweep->runs[i].results;
        int complete = results->strategy_count > 0 && results->step_count > 0;
        for (size_t s = 0; s < results->strategy_count && complete; s++) {
            complete = is_complete(results, &results->strategies[s]);
        }
        sweep->done_count += complete ? 1 : 0;
    }
    sweep->is_provisional = sweep->done_count < sweep->combinations;
    return PRN_OK;
}
