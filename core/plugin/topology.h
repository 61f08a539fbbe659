/* core/plugin/topology.h: what this machine is, as plain data: for `perennial topology` and for binding threads.
 *
 * Invariants: everything is copied out of hwloc, so that nothing outside topology.c knows it; processors are in the machine's own
 * order (by package, core, hardware thread), and every list may be empty where the machine does not tell (virtual machines often
 * hide caches), never NULL with a count.
 */
#ifndef PRN_PLUGIN_TOPOLOGY_H
#define PRN_PLUGIN_TOPOLOGY_H

#include <perennial/status.h>

typedef struct prn__topology_processor {
    uint32_t number;    /* the system's own, what affinity masks count */
    uint32_t core;      /* 0.. */
    uint32_t package;   /* 0.. */
    uint32_t numa_node; /* the system's number of the nearest memory */
    int is_allowed;     /* this process may run on it */
} prn__topology_processor;

typedef struct prn__topology_cache {
    const char *name;      /* "L1d", "L1i", "L2", "L3" */
    uint32_t count;        /* how many there are of this kind and size */
    uint32_t shared_by;    /* processors that share one */
    uint64_t bytes;        /* of one */
    uint32_t line_bytes;   /* 0: not told */
    uint32_t ways;         /* 0: not told */
} prn__topology_cache;

typedef struct prn__topology_numa_node {
    uint32_t number; /* the system's own */
    uint32_t processor_count;
    uint64_t memory_bytes;
} prn__topology_numa_node;

typedef struct prn__topology_extension {
    const char *name; /* "avx2" */
    int is_present;
} prn__topology_extension;

typedef struct prn__topology {
    char *machine;      /* the host's name; "" when it has none */
    char *processor;    /* the model: "AMD EPYC 7B13"; "" when it is not told */
    const char *architecture; /* "x86_64" */
    uint32_t package_count, core_count, processor_count, numa_node_count, cache_count, extension_count;
    uint32_t allowed_core_count, allowed_processor_count;
    uint64_t memory_bytes;      /* of the machine */
    uint64_t memory_free_bytes; /* that could be used now without swapping; 0: not told */
    prn__topology_processor *processors;   /* (processor_count) */
    prn__topology_cache *caches;           /* (cache_count), nearest to the core first */
    prn__topology_numa_node *numa_nodes;   /* (numa_node_count) */
    prn__topology_extension *extensions;   /* (extension_count), those that the cpu backend's kernels may choose by */
    /* Where perennial's threads go: one a core first, then the cores' other hardware threads. thread_count is what was asked for, or
     * one for each allowed core. binds is 0 when there are more threads than allowed processors: then they are left to the system,
     * and `binding` is all -1. */
    uint32_t thread_count;
    int binds;
    int *binding; /* (thread_count): the processor's number, what prn__pool_create takes */
    struct prn__arena *memory; /* owns all of the above */
} prn__topology;

/* `threads` 0: one for each core that this process may use. `description` NULL: this machine; else a made-up one in hwloc's synthetic
 * syntax ("package:2 core:4 pu:2"), for tests. [orchestrator] */
prn_status prn__topology_create(uint32_t threads, const char *description, prn__topology **topology, prn_error *error);
void prn__topology_destroy(prn__topology *topology); /* NULL is allowed */

typedef struct prn__topology_share {
    uint32_t *processors; /* the system's numbers, all that are allowed of each core; the topology's memory */
    uint32_t processor_count, core_count;
} prn__topology_share;

/* Allowed cores for `jobs` processes side by side: neighbours in the machine's order, so that a share has caches and memory of its own
 * where it can, of sizes that differ by one core at most. `shares` has room for them. `are_disjoint` (may be NULL) is 0 when there are
 * more jobs than cores: then some share one. [orchestrator] */
prn_status prn__topology_split(prn__topology *topology, uint32_t jobs, prn__topology_share *shares, int *are_disjoint, prn_error *error);

#endif
