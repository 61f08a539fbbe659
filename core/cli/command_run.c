/* core/cli/command_run.c: `perennial run`. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/jobs.h"
#include "cli/sweep_command.h"
#include "report/json.h"
#include "report/results_report.h"
#include "report/table.h"
#include "run/executor.h"

static uint32_t stages_done(const prn__plan *plan)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        done += plan->stages[i].is_done ? 1 : 0;
    }
    return done;
}

static void announce(prn__cli *cli, const prn__plan *plan)
{
    char macs[32], samples[32];
    double cost = 0;
    int64_t count = 0;
    uint32_t done = stages_done(plan);
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        cost += plan->stages[i].is_done ? 0 : plan->stages[i].forward_macs;
        count += plan->stages[i].is_done ? 0 : plan->stages[i].samples;
    }
    (void)cli;
    if (done == plan->stage_count) {
        prn__log(PRN_LOG_INFO, "'%s': all %u stages are trained already", plan->recipe->name, plan->stage_count);
    } else {
        prn__log(PRN_LOG_INFO, "'%s': %u of %u stages to train, %s samples, %s forward MACs", plan->recipe->name, plan->stage_count - done,
                 plan->stage_count, prn__format_count(count, samples, sizeof samples), prn__format_si(cost, macs, sizeof macs));
    }
}

static int print_summary(prn__cli *cli, const prn__plan *plan, int64_t run, double seconds, int as_json)
{
    prn_error error = PRN_ERROR_INIT;
    prn__results *results = NULL;
    prn__text text;
    char time[32], number[24];
    (void)snprintf(number, sizeof number, "%" PRId64, run); /* the latest one may be another process's */
    if (prn__results_load(plan->recipe->workspace, number, &results, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (as_json) {
        prn__json json = {0};
        json_t *root = prn__json_object(&json, NULL, NULL);
        prn__json_string(&json, root, "name", results->run.name);
        prn__json_integer(&json, root, "run", results->run.id);
        prn__json_string(&json, root, "state", results->run.state);
        prn__json_string(&json, root, "workspace", plan->recipe->workspace);
        prn__json_integer(&json, root, "stages", plan->stage_count);
        prn__json_real(&json, root, "forward_macs", results->forward_macs);
        prn__json_real(&json, root, "total_macs", results->total_macs);
        prn__json_integer(&json, root, "samples", results->samples);
        prn__json_real(&json, root, "seconds", seconds);
        prn__json_finish(&json, root, &text);
    } else {
        prn__results_print(results, &(prn__results_view){.summary = 1}, &text);
        prn__text_printf(&text, "\ndone in %s; the matrices: perennial results %s\n", prn__format_duration(seconds, time, sizeof time),
                         plan->recipe->workspace);
    }
    prn__results_destroy(results);
    return prn__cli_print(cli, &text);
}

prn_status prn__cli_run_log(prn__cli *cli, const char *workspace, prn_error *error)
{
    prn_status status = prn__folder_create(workspace, error);
    char *path = status == PRN_OK ? prn__path_join(workspace, "run.log") : NULL;
    if (status == PRN_OK) {
        status = path != NULL ? prn__terminal_log_file(cli->terminal, path, error) : prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    prn__free(path);
    return status;
}

static prn_status run_alone(prn__cli *cli, prn__plan *plan, int64_t *number, prn_error *error)
{
    const prn__run_options options = {
        .progress = prn__terminal_progress, .progress_context = cli->terminal, .should_stop = prn__cli_is_stopped,
        .should_leave = prn__cli_is_stopped, .run = number,
    };
    prn__cli_catch_signals(prn__terminal_show(cli->terminal, plan, 1));
    prn__terminal_job_process(cli->terminal, 0, (long)getpid());
    prn_status status = prn__run_execute(plan, cli->registry, &options, error);
    prn__terminal_clear(cli->terminal);
    return status;
}

prn_status prn__cli_run_plan(prn__cli *cli, const prn__arguments *arguments, prn__plan *plan, int64_t *number, prn_error *error)
{
    const uint32_t jobs = (uint32_t)prn__arguments_integer(arguments, "jobs", 1);
    announce(cli, plan);
    return jobs > 1 ? prn__jobs_lead(cli, plan, jobs, number, error) : run_alone(cli, plan, number, error);
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    prn__recipe_set *set = NULL;
    prn__plan *plan = NULL;
    double begin = prn__now_s();
    int64_t number = 0;
    int code;
    if (prn__jobs_is_worker(arguments)) {
        return prn__jobs_work(cli, arguments);
    }
    prn__terminal_set_quiet(cli->terminal, prn__arguments_has(arguments, "quiet"));
    prn_status status = prn__cli_recipes(cli, arguments, prn__arguments_at(arguments, 0), &set, &error);
    if (status == PRN_OK && set->recipes[0]->sweep != NULL) {
        code = prn__sweep_command_run(cli, arguments, set);
        prn__recipe_set_destroy(set);
        return code;
    }
    if (status == PRN_OK) {
        status = prn__plan_create(set->recipes[0], cli->registry, &plan, &error);
    }
    if (status == PRN_OK) {
        status = prn__cli_run_log(cli, set->recipes[0]->workspace, &error);
    }
    if (status == PRN_OK) {
        status = prn__cli_run_plan(cli, arguments, plan, &number, &error);
    }
    code = status == PRN_OK ? print_summary(cli, plan, number, prn__now_s() - begin, prn__arguments_has(arguments, "json"))
                            : prn__cli_fail(cli, &error);
    prn__plan_destroy(plan);
    prn__recipe_set_destroy(set);
    return code;
}

static const prn__argument options[] = {
    PRN__ARGUMENT_BACKEND, PRN__ARGUMENT_SET, PRN__ARGUMENT_WORKSPACE, PRN__ARGUMENT_THREADS, PRN__ARGUMENT_PLUGINS,
    {"jobs", "N", "stages run side by side, each on a share of the cores or a device of its own (default: 1)", 0, 1, 256},
    {"quiet", NULL, "no progress; warnings and errors only", 0, 0, 0}, PRN__ARGUMENT_JSON, PRN__ARGUMENT_WORKER,
};

const prn__command prn__command_run = {
    .name = "run",
    .usage = "RECIPE [options]",
    .summary = "run a recipe: train what is missing, score it, keep everything in a workspace",
    .details = "A run may be stopped at any time (Ctrl-C saves first) and goes on with the same command, to the same bytes.\n"
               "A recipe with p.grid or p.seeds runs once for each combination (docs/sweeps.md).\n"
               "Several runs may share a workspace: each stage is trained once, and who needs it waits (docs/runs.md).\n"
               "\n"
               "  perennial run recipes/quickstart.lua\n"
               "  perennial run recipe.lua --backend cpu --set schedule.peak=1e-3 --set strategies=sequential,oracle",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = run,
};
