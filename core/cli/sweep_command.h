/* core/cli/sweep_command.h: what plan, run and results do with a sweep. */
#ifndef PRN_CLI_SWEEP_COMMAND_H
#define PRN_CLI_SWEEP_COMMAND_H

#include "cli/cli.h"
#include "ledger/sweep.h"
#include "run/plan.h"

/* Each returns the exit code. */
int prn__sweep_command_plan(prn__cli *cli, const prn__arguments *arguments, const prn__recipe_set *set);
int prn__sweep_command_run(prn__cli *cli, const prn__arguments *arguments, const prn__recipe_set *set);
int prn__sweep_command_results(prn__cli *cli, const prn__arguments *arguments, const prn__sweep_results *sweep);

/* ---- command_run.c ---- */

/* Opens the workspace's log. */
prn_status prn__cli_run_log(prn__cli *cli, const char *workspace, prn_error *error);
/* Runs one plan, with --jobs; `run` gets its number in the ledger. */
prn_status prn__cli_run_plan(prn__cli *cli, const prn__arguments *arguments, prn__plan *plan, int64_t *run, prn_error *error);

#endif
