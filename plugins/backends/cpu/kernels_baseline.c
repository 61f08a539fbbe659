/* plugins/backends/cpu/kernels_baseline.c: the kernels with 128-bit vectors, for any processor. */
#define W 4
#define KERNELS_NAME kernels_baseline
#define KERNELS_LABEL "baseline"
#include "kernels.inc"
