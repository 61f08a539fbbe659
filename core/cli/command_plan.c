/* core/cli/command_plan.c: `perennial plan`. */
#include "cli/cli.h"
#include "report/plan_report.h"

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    prn__plan *plan = NULL;
    prn__text text;
    int code;
    prn_status status = prn__cli_recipe(cli, arguments, prn__arguments_at(arguments, 0), &recipe, &error);
    if (status == PRN_OK) {
        status = prn__plan_create(recipe, cli->registry, &plan, &error);
    }
    if (status != PRN_OK) {
        code = prn__cli_fail(cli, &error);
    } else {
        prn__text_init(&text);
        if (prn__arguments_has(arguments, "json")) {
            prn__plan_json(plan, &text);
        } else {
            prn__plan_print(plan, &text);
        }
        code = prn__cli_print(cli, &text);
    }
    prn__plan_destroy(plan);
    if (recipe != NULL) {
        prn__recipe_destroy(recipe);
    }
    return code;
}

static const prn__argument options[] = {
    PRN__ARGUMENT_SET, PRN__ARGUMENT_BACKEND, PRN__ARGUMENT_WORKSPACE, PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};

const prn__command prn__command_plan = {
    .name = "plan",
    .usage = "RECIPE [options]",
    .summary = "show the stages of a recipe and what they cost, without running anything",
    .details = "A stage that several strategies ask for is run once. Cost is counted from the model's own programs: forward\n"
               "multiply-accumulates (MACs) times samples.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = run,
};
