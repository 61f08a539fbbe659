/* core/cli/sweep_command.c: see sweep_command.h.
 *
 * A sweep runs its combinations one after another in one workspace. A combination whose loss becomes infinite is a result, too: the others
 * go on, and the exit code says that one failed. Anything else that fails stops the sweep, and the same command goes on.
 */
#include "cli/sweep_command.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/pool.h"
#include "report/json.h"
#include "report/sweep_report.h"
#include "report/table.h"

/* A seed that --set has overridden would look like several. */
static void warn(const prn__sweep_plan *sweep)
{
    if (sweep->same_count > 0) {
        prn__log(PRN_LOG_WARNING, "%u of %u combinations train the same as another one, the first is combination %u: a p.grid or p.seeds has no effect, perhaps"
                 " because --set overrides its value (--set grid.NAME=VALUE chooses among its values)", sweep->same_count, sweep->member_count,
                 sweep->first_same);
    }
}

int prn__sweep_command_plan(prn__cli *cli, const prn__arguments *arguments, const prn__recipe_set *set)
{
    prn_error error = PRN_ERROR_INIT;
    prn__sweep_plan *sweep = NULL;
    prn__text text;
    if (prn__arguments_has(arguments, "schedule")) {
        (void)prn_error_set(&error, PRN_INVALID, "plan --schedule: the recipe is a sweep of %zu combinations; the schedule is shown of a recipe without p.grid"
                            " and p.seeds", set->count);
        return prn__cli_usage(cli, &error);
    }
    if (prn__sweep_plan_create(set->recipes, set->count, cli->registry, &sweep, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    warn(sweep);
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__sweep_plan_json(sweep, &text);
    } else {
        prn__sweep_plan_print(sweep, &text);
    }
    prn__sweep_plan_destroy(sweep);
    return prn__cli_print(cli, &text);
}

/* ---- run -------------------------------------------------------------------------------------------------------------------------- */

static void announce(const prn__sweep_plan *sweep, const char *name)
{
    char macs[32];
    double left = 0;
    for (uint32_t i = 0; i < sweep->member_count; i++) {
        const prn__sweep_cost *own = &sweep->members[i].own;
        left += own->stages > 0 ? own->forward_macs * (double)(own->stages - own->done) / (double)own->stages : 0; /* about */
    }
    if (sweep->cost.done == sweep->cost.stages) {
        prn__log(PRN_LOG_INFO, "sweep '%s': %u combinations, all %u stages are trained already", name, sweep->member_count, sweep->cost.stages);
    } else {
        prn__log(PRN_LOG_INFO, "sweep '%s': %u combinations, %u of %u stages to train, about %s forward MACs", name, sweep->member_count,
                 sweep->cost.stages - sweep->cost.done, sweep->cost.stages, prn__format_si(left, macs, sizeof macs));
    }
}

static prn_status run_member(prn__cli *cli, const prn__arguments *arguments, const prn__recipe *recipe, int64_t *run, prn_error *error)
{
    prn__plan *plan = NULL;
    prn__text settings;
    prn__text_init(&settings);
    prn__sweep_settings_text(recipe->sweep, &settings);
    prn__log(PRN_LOG_INFO, "combination %u/%u: %s", recipe->sweep->combination, recipe->sweep->combination_count, settings.data != NULL ? settings.data : "");
    prn_status status = prn__plan_create(recipe, cli->registry, &plan, error);
    if (status == PRN_OK) {
        status = prn__cli_run_plan(cli, arguments, plan, run, error);
    }
    if (status != PRN_OK) {
        status = prn_error_context(error, status, "combination %u/%u (%s)", recipe->sweep->combination, recipe->sweep->combination_count,
                                   settings.data != NULL ? settings.data : "");
    }
    prn__plan_destroy(plan);
    prn__text_fini(&settings);
    return status;
}

static void put_summary(const prn__sweep_results *results, const prn__sweep_plan *plan, const prn__recipe *recipe, const char *state, double seconds,
                        const int64_t *runs, uint32_t run_count, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "name", recipe->name);
    prn__json_string(&json, root, "sweep", recipe->sweep->identity);
    prn__json_string(&json, root, "state", state);
    prn__json_string(&json, root, "workspace", recipe->workspace);
    prn__json_integer(&json, root, "combinations", recipe->sweep->combination_count);
    json_t *list = prn__json_array(&json, root, "runs");
    for (uint32_t i = 0; i < run_count; i++) {
        prn__json_integer(&json, list, NULL, runs[i]);
    }
    prn__json_integer(&json, root, "stages", plan->cost.stages);
    prn__json_real(&json, root, "forward_macs", results->forward_macs);
    prn__json_real(&json, root, "total_macs", results->total_macs);
    prn__json_integer(&json, root, "samples", plan->cost.samples);
    prn__json_real(&json, root, "seconds", seconds);
    prn__json_finish(&json, root, target);
}

static int print_summary(prn__cli *cli, const prn__arguments *arguments, const prn__sweep_plan *plan, const prn__recipe *recipe, const char *state,
                         double seconds, const int64_t *runs)
{
    prn_error error = PRN_ERROR_INIT;
    prn__sweep_results *results = NULL;
    prn__text text;
    char time[32];
    if (prn__sweep_results_load_identity(recipe->workspace, recipe->sweep->identity, &results, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        put_summary(results, plan, recipe, state, seconds, runs, plan->member_count, &text);
    } else {
        prn__sweep_results_print(results, &(prn__results_view){.summary = 1}, &text);
        prn__text_printf(&text, "\ndone in %s; again: perennial results %s\n", prn__format_duration(seconds, time, sizeof time), recipe->workspace);
    }
    prn__sweep_results_destroy(results);
    return prn__cli_print(cli, &text);
}

int prn__sweep_command_run(prn__cli *cli, const prn__arguments *arguments, const prn__recipe_set *set)
{
    prn_error error = PRN_ERROR_INIT, diverged = PRN_ERROR_INIT;
    prn__sweep_plan *sweep = NULL;
    const prn__recipe *first = set->recipes[0];
    const double begin = prn__now_s();
    uint32_t diverged_count = 0;
    int code = PRN__EXIT_DONE;
    int64_t *runs = prn__alloc_array(set->count, sizeof *runs);
    prn_status status = runs != NULL ? prn__cli_run_log(cli, first->workspace, &error) : prn_error_set(&error, PRN_NO_MEMORY, "out of memory");
    if (status == PRN_OK) {
        status = prn__sweep_plan_create(set->recipes, set->count, cli->registry, &sweep, &error);
    }
    if (status == PRN_OK) {
        warn(sweep);
        announce(sweep, first->name);
    }
    for (size_t i = 0; i < set->count && status == PRN_OK; i++) {
        if (prn__cli_is_stopped(NULL)) {
            status = prn_error_set(&error, PRN_INTERRUPTED, "stopped before combination %zu/%zu; the same command goes on from there", i + 1, set->count);
            break;
        }
        status = run_member(cli, arguments, set->recipes[i], &runs[i], &error);
        if (status == PRN_NUMERIC) {
            prn__log(PRN_LOG_WARNING, "%s; the other combinations go on", error.message);
            diverged = error;
            diverged_count++;
            status = PRN_OK;
        }
    }
    if (status != PRN_OK) {
        code = prn__cli_fail(cli, &error);
    } else {
        code = print_summary(cli, arguments, sweep, first, diverged_count > 0 ? "failed" : "done", prn__now_s() - begin, runs);
        if (code == PRN__EXIT_DONE && diverged_count > 0) {
            (void)prn_error_set(&error, PRN_NUMERIC, "%" PRIu32 " of %zu combinations failed, the last one: %s", diverged_count, set->count, diverged.message);
            code = prn__cli_fail(cli, &error);
        }
    }
    prn__sweep_plan_destroy(sweep);
    prn__free(runs);
    return code;
}

/* ---- results ---------------------------------------------------------------------------------------------------------------------- */

int prn__sweep_command_results(prn__cli *cli, const prn__arguments *arguments, const prn__sweep_results *sweep)
{
    const prn__results_view view = {
        .score = prn__arguments_value(arguments, "score"),
        .all_scores = prn__arguments_has(arguments, "all-scores"),
    };
    prn_error error = PRN_ERROR_INIT;
    prn__text text;
    if (view.score != NULL && prn__sweep_check_score(sweep, view.score, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__sweep_results_json(sweep, &view, &text);
    } else if (prn__arguments_has(arguments, "csv")) {
        prn__sweep_results_csv(sweep, &view, &text);
    } else {
        prn__sweep_results_print(sweep, &view, &text);
    }
    return prn__cli_print(cli, &text);
}
