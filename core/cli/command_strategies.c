/* core/cli/command_strategies.c: `perennial strategies`. */
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "report/component_report.h"

static int show_all(prn__cli *cli, int as_json)
{
    prn_error error = PRN_ERROR_INIT;
    prn__component *components = NULL;
    size_t count = 0;
    prn__text text;
    if (prn__components_find(cli->registry, PRN_STRATEGY_INTERFACE, &components, &count, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (as_json) {
        prn__strategies_json(components, count, &text);
    } else {
        prn__strategies_print(components, count, &text);
        prn__refused_print(cli->registry, &text);
    }
    prn__free(components);
    return prn__cli_print(cli, &text);
}

static int show_one(prn__cli *cli, const char *name, int as_json)
{
    prn_error error = PRN_ERROR_INIT;
    prn__component c;
    prn__text text;
    memset(&c, 0, sizeof c);
    if (prn__registry_strategy(cli->registry, name, &c.strategy, &c.entry, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    c.name = c.strategy->name;
    c.summary = c.strategy->summary;
    c.options = c.strategy->options;
    c.option_count = c.strategy->option_count;
    prn__text_init(&text);
    if (as_json) {
        prn__strategy_json(&c, &text);
    } else {
        prn__strategy_print(&c, &text);
    }
    return prn__cli_print(cli, &text);
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    const char *name = prn__arguments_at(arguments, 0);
    int as_json = prn__arguments_has(arguments, "json");
    if (prn__cli_open(cli, arguments, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    return name != NULL ? show_one(cli, name, as_json) : show_all(cli, as_json);
}

static const prn__argument options[] = {PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON};

const prn__command prn__command_strategies = {
    .name = "strategies",
    .usage = "[NAME] [options]",
    .summary = "list the strategies, or show one with its options",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_max = 1,
    .run = run,
};
