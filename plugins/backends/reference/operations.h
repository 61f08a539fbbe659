/* plugins/backends/reference/operations.h: one function that runs one checked operation in fp64. */
#ifndef PRN_REFERENCE_OPERATIONS_H
#define PRN_REFERENCE_OPERATIONS_H

#include "../common/operand.h"

/* Runs `v`. Fails only where an operation's data (row offsets) can be wrong; then nothing is written. [orchestrator] */
prn_status reference_run(const operation *v, prn_error *error);

/* The data checks of reference_run alone. [orchestrator] */
prn_status reference_check(const operation *v, prn_error *error);

#endif
