/* core/base/log.h: where messages of the core go.
 *
 * The core never prints: it hands records to the sink that the program set (the command line writes them to
 * standard error and to the run's log file). Without a sink, records are dropped.
 */
#ifndef PRN_BASE_LOG_H
#define PRN_BASE_LOG_H

#include <perennial/host.h>

typedef void (*prn__log_sink)(void *context, prn_log_level level, const char *message);
void prn__log_set_sink(prn__log_sink sink, void *context); /* [orchestrator] */
void prn__log(prn_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3))); /* [any] */

#endif
