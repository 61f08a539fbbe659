/* core/cli/command_topology.c: `perennial topology`. */
#include "cli/cli.h"
#include "plugin/topology.h"
#include "report/topology_report.h"

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    prn__topology *topology = NULL;
    prn__text text;
    const uint32_t threads = (uint32_t)prn__arguments_integer(arguments, "threads", 0);
    if (prn__topology_create(threads, NULL, &topology, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__topology_json(topology, &text);
    } else {
        prn__topology_print(topology, &text);
    }
    prn__topology_destroy(topology);
    return prn__cli_print(cli, &text);
}

static const prn__argument options[] = {PRN__ARGUMENT_THREADS, PRN__ARGUMENT_JSON};

const prn__command prn__command_topology = {
    .name = "topology",
    .usage = "[options]",
    .summary = "show the machine: cores, caches, memory, and where threads would go",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
