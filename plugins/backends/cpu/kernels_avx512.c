/* plugins/backends/cpu/kernels_avx512.c: the kernels with 512-bit vectors. */
#if defined(__x86_64__)
#include <immintrin.h>
#define W 16
#define VECTOR_AVX512 1
#define KERNELS_NAME kernels_avx512
#define KERNELS_LABEL "avx512"
#include "kernels.inc"
#else
typedef int kernels_avx512_absent; /* an empty file is not C */
#endif
