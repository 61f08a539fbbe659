/* plugins/backends/common/bounds.h: error bounds that backends state, by precision. Header only, as operand.h. */
#ifndef PRN_BACKENDS_BOUNDS_H
#define PRN_BACKENDS_BOUNDS_H

#include <perennial/backend.h>

/* Rounding of fp32 over the longest sums of a model; the sums grow with the square root of their length, so these hold with room for
 * random data of the suite's and a model's shapes. */
static inline void error_bound(uint32_t kind, double *absolute, double *relative)
{
    *absolute = 1e-30;
    switch (kind) {
    case PRN_OP_PATCHES:
    case PRN_OP_LOOKUP:
    case PRN_OP_CLASS_ROWS:
    case PRN_OP_GATHER_ROWS:
    case PRN_OP_FILL:
    case PRN_OP_CLAMP:
    case PRN_OP_MULTIPLY:
    case PRN_OP_AXPBY:
    case PRN_OP_BROADCAST: *relative = 3e-7; break;
    case PRN_OP_SUM:
    case PRN_OP_DOT:
        *absolute = 1e-5; /* the sum itself may cancel to nothing */
        *relative = 1e-6;
        break;
    case PRN_OP_CROSS_ENTROPY:
    case PRN_OP_SOFT_CROSS_ENTROPY:
        *absolute = 1e-6;
        *relative = 2e-6;
        break;
    case PRN_OP_ATTENTION:
    case PRN_OP_ATTENTION_GRAD:
    case PRN_OP_READ_ATTENTION:
    case PRN_OP_READ_ATTENTION_GRAD: *relative = 2e-5; break;
    default: *relative = 1e-5; break;
    }
}

/* With bf16, each operand of a product is rounded to 8 bits: errors are those of a sum of such products. Attention puts scores of up to some
 * tens, off by as much as a tenth, into the exponent, and rounds the chances before they weigh the values. Activations beside such products need five
 * digits. What is neither stays as it is. */
static inline void error_bound_bf16(uint32_t kind, double *absolute, double *relative)
{
    error_bound(kind, absolute, relative);
    switch (kind) {
    case PRN_OP_LINEAR:
    case PRN_OP_LINEAR_GRAD_X:
    case PRN_OP_LINEAR_GRAD_W:
        *absolute = 5e-3; /* a product and what is added to it may cancel */
        *relative = 1e-2;
        break;
    case PRN_OP_ATTENTION:
    case PRN_OP_ATTENTION_GRAD: /* a tenth in the exponent is a tenth of a chance */
        *absolute = 5e-3;
        *relative = 1e-1;
        break;
    case PRN_OP_ACTIVATION:
    case PRN_OP_ACTIVATION_GRAD: *relative = 3e-5; break;
    default: break;
    }
}

#endif
