/* core/base/stop.h: whether the user has asked to stop, for long work deep inside: indexing shards, scoring a set, the micro-batches of one update.
 *
 * As with the log, the process has one question, which whoever runs long work sets and takes away. Work that finds it answered with yes leaves what it
 * has begun as if it had not begun, and returns PRN_INTERRUPTED.
 */
#ifndef PRN_BASE_STOP_H
#define PRN_BASE_STOP_H

typedef int (*prn__stop_question)(void *context); /* non-zero: stop */

void prn__stop_set(prn__stop_question question, void *context); /* NULL: none. [orchestrator] */
int prn__stop_asked(void); /* 0 where no question is set. [orchestrator] */

#endif
