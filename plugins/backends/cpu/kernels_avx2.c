/* plugins/backends/cpu/kernels_avx2.c: the kernels with 256-bit vectors and fused multiply-add. */
#if defined(__x86_64__)
#include <immintrin.h>
#define W 8
#define VECTOR_AVX2 1
#define KERNELS_NAME kernels_avx2
#define KERNELS_LABEL "avx2"
#include "kernels.inc"
#else
typedef int kernels_avx2_absent; /* an empty file is not C */
#endif
