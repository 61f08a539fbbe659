/* core/cli/terminal.h: standard error: progress, log records and errors, without one tearing the other.
 *
 * On a terminal a run shows a view of several lines, redrawn in place at most five times a second by a thread of its own, and other
 * long work one line, rewritten in place; elsewhere there are plain lines, at most one every five seconds and one at each new stage.
 * Threads may log while progress is shown.
 * Invariants: no mode of the terminal is changed and its cursor is never hidden: it stands below the view, so that nothing has to be
 * restored however the program ends; a line is written with one call.
 */
#ifndef PRN_CLI_TERMINAL_H
#define PRN_CLI_TERMINAL_H

#include "report/live_view.h"
#include "run/executor.h"

typedef struct prn__terminal prn__terminal;

/* Sets the log sink. */
prn_status prn__terminal_create(prn__terminal **terminal, prn_error *error);
void prn__terminal_destroy(prn__terminal *terminal);
/* No progress, and only warnings and errors of the log. */
void prn__terminal_set_quiet(prn__terminal *terminal, int quiet);
/* Log records, errors and the starts and ends of stages also go to this file, appended, with the time and this process's number. */
prn_status prn__terminal_log_file(prn__terminal *terminal, const char *path, prn_error *error);
/* Shows a run of `jobs` processes from here on; 1 when this is a terminal that a view is drawn on. */
int prn__terminal_show(prn__terminal *terminal, const prn__plan *plan, uint32_t jobs);
/* Which process a job is, and that it has ended. */
void prn__terminal_job_process(prn__terminal *terminal, uint32_t job, long process);
void prn__terminal_job_end(prn__terminal *terminal, uint32_t job);
/* What job 0, 1, ... of a run does. */
void prn__terminal_job_progress(prn__terminal *terminal, uint32_t job, const prn__progress *progress);
/* prn__run_options.progress: job 0. `context` is the terminal. */
void prn__terminal_progress(void *context, const prn__progress *progress);
/* Work without a plan: "what 12/400". */
void prn__terminal_work(prn__terminal *terminal, const char *phase, const char *what, int64_t done, int64_t all);
/* Removes the view or the progress line: the work is over. */
void prn__terminal_clear(prn__terminal *terminal);
/* An error's line, the progress line out of the way. */
void prn__terminal_error(prn__terminal *terminal, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
