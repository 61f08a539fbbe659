/* core/ledger/sweep_internal.h: what loading a sweep hands to its summary. Private to core/ledger. */
#ifndef PRN_LEDGER_SWEEP_INTERNAL_H
#define PRN_LEDGER_SWEEP_INTERNAL_H

#include "ledger/sweep.h"

typedef struct prn__stage_node {
    int64_t id, parent_id;    /* parent: 0 for none */
    double forward_macs, total_macs;
} prn__stage_node;

typedef struct prn__stage_use { /* a scored stage of a run */
    const char *label;        /* of the strategy */
    int64_t time_step, stage; /* id */
} prn__stage_use;

typedef struct prn__stage_graph {
    prn__stage_node *nodes;   /* by rising id */
    size_t node_count;
    prn__stage_use **uses;    /* (run_count), each in the order of strategy and time step */
    size_t *use_counts;
} prn__stage_graph;

/* Everything below `runs`: settings, rows, the best, the cost. */
prn_status prn__sweep_summarise(prn__sweep_results *sweep, const prn__stage_graph *graph, prn_error *error);

#endif
