/* plugins/backends/cpu/kernels_avx512_bf16.c: products of bf16 operands by the processor's own instruction. */
#if defined(__x86_64__)
#include <immintrin.h>
#define W 16
#define VECTOR_AVX512 1
#define VECTOR_BF16 1
#include "kernels.h"

#include "vector.inc"

#include "transpose.inc"

#include "near.inc"

#include "half.inc"

#include "tiles.inc"

#include "product_half.inc"

#include "attention.inc"

#include "layer_norm.inc"

const half_kernels half_kernels_avx512_bf16 = {
    .product = product_half, .panel = PANEL, .pack = pack_half, .layer_norm = layer_norm_half, .epilogue = epilogue_half, .activation = activation_half,
    .activation_grad = activation_grad_half, .attention = attention_half, .attention_grad = attention_grad_half,
};
#else
typedef int kernels_avx512_bf16_absent; /* an empty file is not C */
#endif
