/* core/cli/jobs.h: `perennial run --jobs N`: worker processes over the stages of a run.
 *
 * The one that leads makes the plan, keeps the run's record open, and starts N processes of the same program with the same command line
 * and --worker; each takes stages by their claims (ledger/claims.h) and tells over a pipe what it does. Every worker has its own share of
 * the machine's cores, and where the backend has several devices, one of those.
 * Invariants: a worker never outlives its work unnoticed: when the leader dies, it saves and stops; when a worker fails, the others save
 * and stop; when a worker is killed, the others go on and take its stage from its last checkpoint.
 */
#ifndef PRN_CLI_JOBS_H
#define PRN_CLI_JOBS_H

#include "cli/cli.h"

/* What --threads means for this process: 0 for one a core that it may use. */
uint32_t prn__jobs_threads(const prn__arguments *arguments);
int prn__jobs_is_worker(const prn__arguments *arguments);
/* Runs the plan with up to `jobs` workers; `run` gets its number in the ledger. Signals are caught here. */
prn_status prn__jobs_lead(prn__cli *cli, prn__plan *plan, uint32_t jobs, int64_t *run, prn_error *error);
/* A worker's whole life from the moment it knows its pipe: the recipe, the plan, the stages. Returns the exit code. */
int prn__jobs_work(prn__cli *cli, const prn__arguments *arguments);

#endif
