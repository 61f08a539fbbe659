/* plugins/backends/cuda/kernels.cu: all kernels as one module. */
#include "elements.cu"
#include "rows.cu"
#include "norms.cu"
#include "losses.cu"
#include "matmul.cu"
#include "attention.cu"
#include "attention_mma.cu"
#include "read_attention.cu"
