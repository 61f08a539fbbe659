/* core/base/pool.c: see pool.h.
 *
 * Workers spin briefly before they sleep: a training step hands out hundreds of small loops, and waking a sleeping thread
 * costs more than most of them. Each worker has a share of the indices, the same one for every loop of as many, so that it finds in its cache what
 * it left there; then it helps with what is left of the others' shares, so a slow worker never holds up the rest. Every share is taken in rising
 * order, and by its owner before anything else: the lowest index that is not done is always being worked on, or next.
 */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

enum { SPIN_ROUNDS = 4000 };

typedef struct worker {
    prn__pool *pool;
    pthread_t thread;
    uint32_t index;
    int cpu; /* -1: unbound */
} worker;

/* Every `threads`th index of the present loop; a cache line of its own. */
typedef struct share {
    _Alignas(64) _Atomic int64_t next;
} share;

struct prn__pool {
    uint32_t threads;
    share *shares; /* (threads) */
    worker *workers; /* (threads); entry 0 is the calling thread and has no pthread */
    uint32_t started;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    _Atomic uint64_t generation; /* changes with every loop */
    _Atomic uint32_t busy;       /* workers that have not finished the present loop */
    _Atomic int stopping;
    uint32_t sleepers;           /* under mutex */
    int may_spin;                /* spinning needs a core for every thread */
    /* the present loop */
    prn_task task;
    void *context;
    int64_t count;
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

static void bind_self(int cpu)
{
    if (cpu >= 0 && cpu < CPU_SETSIZE) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* binding is a wish; unbound still works */
    }
}

static void run_shares(prn__pool *pool, uint32_t index)
{
    for (uint32_t turn = 0; turn < pool->threads; turn++) {
        share *s = &pool->shares[(index + turn) % pool->threads];
        while (atomic_load_explicit(&s->next, memory_order_relaxed) < pool->count) {
            const int64_t i = atomic_fetch_add_explicit(&s->next, pool->threads, memory_order_relaxed);
            if (i < pool->count) {
                pool->task(pool->context, i, index);
            }
        }
    }
}

static void wait_generation(prn__pool *pool, uint64_t seen)
{
    for (int i = 0; pool->may_spin && i < SPIN_ROUNDS; i++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen) {
            return;
        }
        relax();
    }
    (void)pthread_mutex_lock(&pool->mutex);
    pool->sleepers++;
    while (atomic_load_explicit(&pool->generation, memory_order_acquire) == seen) {
        (void)pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    pool->sleepers--;
    (void)pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    prn__pool *pool = self->pool;
    uint64_t seen = 0;
    bind_self(self->cpu);
    for (;;) {
        wait_generation(pool, seen);
        seen = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (atomic_load_explicit(&pool->stopping, memory_order_acquire)) {
            return NULL;
        }
        run_shares(pool, self->index);
        atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_release);
    }
}

static void next_generation(prn__pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    if (pool->sleepers > 0) {
        (void)pthread_cond_broadcast(&pool->wake);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
}

prn_status prn__pool_create(uint32_t threads, const int *cpus, prn__pool **result, prn_error *error)
{
    *result = NULL;
    uint32_t cores = prn__cpu_count();
    if (threads == 0) {
        threads = cores;
    }
    if (threads > 1024) {
        return prn_error_set(error, PRN_INVALID, "%u threads asked for; at most 1024 are allowed", threads);
    }
    prn__pool *pool = prn__alloc(sizeof *pool);
    if (pool == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the thread pool");
    }
    (void)pthread_mutex_init(&pool->mutex, NULL);
    (void)pthread_cond_init(&pool->wake, NULL);
    pool->threads = threads;
    pool->may_spin = threads <= cores;
    pool->workers = prn__alloc_array(threads, sizeof *pool->workers);
    pool->shares = prn__alloc_array(threads, sizeof *pool->shares);
    if (pool->workers == NULL || pool->shares == NULL) {
        prn__pool_destroy(pool);
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the thread pool");
    }
    for (uint32_t i = 0; i < threads; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].index = i;
        pool->workers[i].cpu = cpus != NULL ? cpus[i] : -1;
    }
    for (uint32_t i = 1; i < threads; i++) {
        int failure = pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]);
        if (failure != 0) {
            prn__pool_destroy(pool);
            return prn_error_set(error, PRN_NO_MEMORY, "cannot start thread %u of %u: %s; ask for fewer threads", i + 1, threads,
                                 strerror(failure));
        }
        pool->started = i;
    }
    bind_self(pool->workers[0].cpu);
    *result = pool;
    return PRN_OK;
}

void prn__pool_destroy(prn__pool *pool)
{
    if (pool == NULL) {
        return;
    }
    atomic_store_explicit(&pool->stopping, 1, memory_order_release);
    next_generation(pool);
    for (uint32_t i = 1; i <= pool->started; i++) {
        (void)pthread_join(pool->workers[i].thread, NULL);
    }
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->mutex);
    prn__free(pool->workers);
    prn__free(pool->shares);
    prn__free(pool);
}

uint32_t prn__pool_threads(const prn__pool *pool)
{
    return pool->threads;
}

void prn__pool_for(prn__pool *pool, int64_t count, prn_task task, void *context)
{
    if (count <= 0) {
        return;
    }
    if (pool->threads == 1 || count == 1) {
        for (int64_t i = 0; i < count; i++) {
            task(context, i, 0);
        }
        return;
    }
    pool->task = task;
    pool->context = context;
    pool->count = count;
    for (uint32_t i = 0; i < pool->threads; i++) {
        atomic_store_explicit(&pool->shares[i].next, i, memory_order_relaxed);
    }
    atomic_store_explicit(&pool->busy, pool->threads - 1, memory_order_relaxed);
    next_generation(pool);
    run_shares(pool, 0);
    for (int spins = 0; atomic_load_explicit(&pool->busy, memory_order_acquire) != 0; spins++) {
        if (pool->may_spin && spins < 100000) {
            relax();
        } else {
            (void)sched_yield();
        }
    }
}

uint32_t prn__cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        if (count > 0) {
            return (uint32_t)count;
        }
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

double prn__now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

uint64_t prn__peak_memory_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}
