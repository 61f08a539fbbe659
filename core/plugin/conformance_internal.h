/* core/plugin/conformance_internal.h: what a case of the conformance suite is. Private to core/plugin: conformance.c runs a case, conformance_cases.c
 * makes them. */
#ifndef PRN_PLUGIN_CONFORMANCE_INTERNAL_H
#define PRN_PLUGIN_CONFORMANCE_INTERNAL_H

#include "base/memory.h"
#include "plugin/conformance.h"

enum { OPERANDS = PRN_OP_MAX_INPUTS + PRN_OP_MAX_OUTPUTS };

typedef enum content {
    ABSENT = 0,
    GIVEN,  /* `values` or `integers` */
    POISON  /* an output that is overwritten */
} content;

typedef struct spec {
    content content;
    prn_type type;
    uint32_t rank;
    prn_dim dim[PRN_MAX_RANK];
    int64_t elements;
    double *values;   /* REAL, and bytes as numbers; owned by the suite's arena */
    int32_t *integers; /* I32 */
    int same_as;      /* outputs: the input whose memory it is, or -1 */
} spec;

typedef struct trial {
    uint32_t kind;
    prn_op_attrs attrs;
    int64_t symbol; /* the value of the one symbol, "n" */
    spec in[PRN_OP_MAX_INPUTS];
    spec out[PRN_OP_MAX_OUTPUTS];
    char text[160];
} trial;

typedef struct suite {
    const prn__device *device, *reference;
    const char *filter;
    prn__conformance_report report;
    void *context;
    prn__conformance_summary *summary;
    prn_error *error;
    prn_status status; /* the first failure of the suite itself; everything after it is skipped */
    uint64_t seed;
    prn__arena arena; /* values of one case */
} suite;

static inline spec *operand_of(trial *t, int i)
{
    return i < PRN_OP_MAX_INPUTS ? &t->in[i] : &t->out[i - PRN_OP_MAX_INPUTS];
}

/* "?" for an unknown kind. */
const char *prn__conformance_op_name(uint32_t kind);

/* What the reference makes of it, in memory of the suite's arena. 0: it failed, or the suite had before. */
int prn__conformance_reference(suite *u, trial *t, double *wanted[PRN_OP_MAX_OUTPUTS]);

/* Whether the device supports the operation of a case. */
int prn__conformance_supports(const suite *u, trial *t);

/* Runs a case on both devices, judges it and reports it. */
void prn__conformance_trial(suite *u, trial *t);

/* Every case whose operation's name contains the filter. */
void prn__conformance_cases(suite *u);

#endif
