/* core/base/pool.h: the thread pool that compute runs on, and small thread helpers.
 *
 * Invariants: one pool a process; the calling thread is worker 0. A task waits for none but those of lower indices.
 */
#ifndef PRN_BASE_POOL_H
#define PRN_BASE_POOL_H

#include <perennial/host.h>

typedef struct prn__pool prn__pool;

/* `threads` 0: one for each core this process may use. `cpus` (threads entries) binds worker i to processor cpus[i]; NULL leaves
 * threads unbound. */
prn_status prn__pool_create(uint32_t threads, const int *cpus, prn__pool **pool, prn_error *error);
void prn__pool_destroy(prn__pool *pool);
uint32_t prn__pool_threads(const prn__pool *pool);
/* As prn_host.parallel_for. [orchestrator] */
void prn__pool_for(prn__pool *pool, int64_t count, prn_task task, void *context);

/* Processors this process may run on. [any] */
uint32_t prn__cpu_count(void);
double prn__now_s(void); /* monotonic seconds. [any] */
/* Peak resident memory of this process in bytes. [any] */
uint64_t prn__peak_memory_bytes(void);

#endif
