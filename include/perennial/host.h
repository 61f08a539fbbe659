/* perennial/host.h: services that the host hands to every plugin.
 *
 * Invariants: every callback takes `self`; the table and what it points to outlive every plugin instance; a plugin
 * checks `struct_size` before it uses a member that its oldest supported host may lack.
 */
#ifndef PERENNIAL_HOST_H
#define PERENNIAL_HOST_H

#include <perennial/program.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum prn_log_level { PRN_LOG_DEBUG = 0, PRN_LOG_INFO = 1, PRN_LOG_WARNING = 2, PRN_LOG_ERROR = 3 } prn_log_level;

/* Runs once for each index in [0, count); `worker` in [0, thread_count) names the thread that runs it. [worker] */
typedef void (*prn_task)(void *context, int64_t index, uint32_t worker);

typedef struct prn_host {
    uint32_t struct_size; /* bytes */
    uint16_t abi_major;
    uint16_t abi_minor;
    void *self;
    /* Writes one log record; no trailing newline needed. [any] */
    void (*log)(void *self, prn_log_level level, const char *message);
    /* Memory aligned to 64 bytes, or NULL; `purpose` names it in reports. Freed with `release`. [any] */
    void *(*allocate)(void *self, size_t bytes, const char *purpose);
    void (*release)(void *self, void *memory); /* NULL is allowed. [any] */
    /* Threads of the host's pool, the caller included; constant while the process lives. [any] */
    uint32_t (*thread_count)(void *self);
    /* Calls `task` for every index, on the pool and the calling thread, and returns when all are done. Which worker
     * takes which index is not fixed: results must not depend on it. Each takes a share of them, the same one for every loop of as many, then helps
     * with the others', all in rising order: a task may wait for those below its own. Not reentrant from inside a task. [orchestrator] */
    void (*parallel_for)(void *self, int64_t count, prn_task task, void *context);
    /* An optional table by id, such as "perennial.loss/1", or NULL when this host lacks it. [any] */
    const void *(*interface_get)(void *self, const char *id);
} prn_host;

#ifdef __cplusplus
}
#endif
#endif
