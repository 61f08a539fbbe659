/* core/cli/terminal.h: standard error: progress, log records and errors, without one tearing the other.
 *
 * On a terminal, progress is one line rewritten in place, at most ten times a second; elsewhere plain lines, at most one
 * every five seconds and one at each new stage. Threads may log while progress is shown.
 */
#ifndef PRN_CLI_TERMINAL_H
#define PRN_CLI_TERMINAL_H

#include "run/executor.h"

typedef struct prn__terminal prn__terminal;

/* Sets the log sink. */
prn_status prn__terminal_create(prn__terminal **terminal, prn_error *error);
void prn__terminal_destroy(prn__terminal *terminal);
/* No progress, and only warnings and errors of the log. */
void prn__terminal_set_quiet(prn__terminal *terminal, int quiet);
/* Log records, errors and the starts and ends of stages also go to this file, appended, with the time. */
prn_status prn__terminal_log_file(prn__terminal *terminal, const char *path, prn_error *error);
/* prn__run_options.progress; `context` is the terminal. */
void prn__terminal_progress(void *context, const prn__progress *progress);
/* Work without a plan: "what 12/400". */
void prn__terminal_work(prn__terminal *terminal, const char *phase, const char *what, int64_t done, int64_t all);
/* Removes the progress line: the work is over. */
void prn__terminal_clear(prn__terminal *terminal);
/* An error's line, the progress line out of the way. */
void prn__terminal_error(prn__terminal *terminal, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
