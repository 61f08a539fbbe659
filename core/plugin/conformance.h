/* core/plugin/conformance.h: the suite behind `perennial backend test NAME`.
 *
 * Every operation, forward and gradient, over many shapes (odd, one, empty, ragged), with and without optional operands, is run on
 * the device under test and on `reference`, and compared within the device's stated bound. Each case is run twice on the device, and twice more side
 * by side where it has `execute_each`, and must give the same bytes; memory around every output must stay as it was; outputs that are overwritten
 * start as not-a-number, so that reading them shows.
 * Gradients get what the forward operation saved (mean, log-sum-exp, ...) from `reference`, so a bound speaks of one operation.
 */
#ifndef PRN_PLUGIN_CONFORMANCE_H
#define PRN_PLUGIN_CONFORMANCE_H

#include "plugin/registry.h"

/* One case's result; strings live while the callback runs. */
typedef struct prn__conformance_case {
    const char *op;     /* "linear_grad_w" */
    const char *text;   /* "M=33 N=5 K=17 bias accumulate" */
    double error;       /* largest |got - want| of the worst output; infinite when not a number */
    double bound;       /* what it may be: absolute + relative * largest |want| */
    int passed;
    int supported;      /* 0: the device says it cannot; not counted as failed */
    const char *reason; /* "" or why it failed: "output 0 differs", "not the same bytes twice", "wrote outside output 1", "execute_each gives other bytes
                         * than execute", an error's message */
} prn__conformance_case;

typedef struct prn__conformance_summary {
    int64_t cases, passed, failed, unsupported;
} prn__conformance_summary;

typedef void (*prn__conformance_report)(void *context, const prn__conformance_case *result);

/* Runs all cases whose operation's name contains `filter` (NULL: all). Failing cases are results, not errors: the status tells
 * whether the suite itself could run (memory, the reference). `report` may be NULL. [orchestrator] */
prn_status prn__conformance_run(const prn__device *device, const prn__device *reference, const char *filter, prn__conformance_report report,
                                void *context, prn__conformance_summary *summary, prn_error *error);

#endif
