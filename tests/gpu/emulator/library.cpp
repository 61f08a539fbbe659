/* tests/gpu/emulator/library.cpp: the functions of libcublasLt.so.13 that the plugin calls, as plain loops over host memory.
 *
 * Checks what the library takes on trust: that operands lie in device memory and are as aligned as the caller has said when it asked for an
 * algorithm. PRN_EMULATOR_PRODUCTS=none: no algorithm for anything; =plain: none with a bias gradient; =refused: an algorithm that is refused when used.
 */
#include <cublasLt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "half.hpp"
#include "machine.hpp"

struct desc {
    int32_t transpose[2] = {0, 0}, epilogue = CUBLASLT_EPILOGUE_DEFAULT, pointer_mode = 0;
    void *bias = nullptr;
};
struct layout {
    cudaDataType type;
    int64_t rows, columns, ld;
};
struct preference {
    uint32_t alignment[4] = {256, 256, 256, 256};
};
struct promise { /* what an algorithm holds here */
    uint32_t alignment[4];
    uint32_t magic;
};

static float get(const void *memory, cudaDataType type, int64_t i)
{
    return type == CUDA_R_16BF ? emulated_number(((const uint16_t *)memory)[i]) : ((const float *)memory)[i];
}

static void put(void *memory, cudaDataType type, int64_t i, float x)
{
    if (type == CUDA_R_16BF) {
        ((uint16_t *)memory)[i] = (uint16_t)emulated_half(x);
    } else {
        ((float *)memory)[i] = x;
    }
}

static bool holds(const layout &l, const void *memory, uint32_t alignment)
{
    const size_t each = l.type == CUDA_R_16BF ? 2 : 4;
    return l.ld >= l.rows && (size_t)memory % alignment == 0 &&
           emulated_is_device(memory, (size_t)(l.rows > 0 && l.columns > 0 ? (l.columns - 1) * l.ld + l.rows : 0) * each);
}

/* One column of a product of (k, m) rows with a column of k: each sum in the order of p. Most of the emulated time, on memory that its caller
 * owns, so that sanitizers need not look at every access. */
__attribute__((no_sanitize("address", "undefined"), optimize("O3"))) static void multiply(float *__restrict result, const float *__restrict rows,
                                                                                           const float *__restrict column, int64_t m, int64_t k)
{
    std::memset(result, 0, (size_t)m * sizeof *result);
    for (int64_t p = 0; p < k; p++) {
        const float x = column[p];
        for (int64_t i = 0; i < m; i++) {
            result[i] += rows[p * m + i] * x;
        }
    }
}

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = (cublasLtHandle_t) new char;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete (char *)handle;
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void)
{
    return 130000;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *made, cublasComputeType_t compute, cudaDataType_t scale)
{
    *made = (cublasLtMatmulDesc_t) new desc;
    return compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    delete (desc *)d;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t opaque, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes)
{
    desc *d = (desc *)opaque;
    int32_t number = 0;
    if (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER) {
        if (bytes != sizeof(void *)) {
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        std::memcpy(&d->bias, value, bytes);
        return CUBLAS_STATUS_SUCCESS;
    }
    if (bytes != sizeof number) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    std::memcpy(&number, value, bytes);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: d->transpose[0] = number == CUBLAS_OP_T; break;
    case CUBLASLT_MATMUL_DESC_TRANSB: d->transpose[1] = number == CUBLAS_OP_T; break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: d->epilogue = number; break;
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: d->pointer_mode = number; break;
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *made, cudaDataType type, uint64_t rows, uint64_t columns, int64_t ld)
{
    *made = (cublasLtMatrixLayout_t) new layout{type, (int64_t)rows, (int64_t)columns, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete (layout *)l;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *made)
{
    *made = (cublasLtMatmulPreference_t) new preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete (preference *)p;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t opaque, cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes)
{
    preference *p = (preference *)opaque;
    const int which = (int)attribute - (int)CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    if (which >= 0 && which < 4) {
        if (bytes != sizeof(uint32_t)) {
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        std::memcpy(&p->alignment[which], value, bytes);
    } else if (bytes != (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? sizeof(uint64_t) : sizeof(uint32_t))) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t opaque, cublasLtMatrixLayout_t a_opaque, cublasLtMatrixLayout_t b_opaque,
                                              cublasLtMatrixLayout_t c_opaque, cublasLtMatrixLayout_t d_opaque, cublasLtMatmulPreference_t p, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *found)
{
    const desc *d = (const desc *)opaque;
    const layout *a = (const layout *)a_opaque, *b = (const layout *)b_opaque, *c = (const layout *)c_opaque, *r = (const layout *)d_opaque;
    const char *mode = std::getenv("PRN_EMULATOR_PRODUCTS");
    *found = 0;
    const int64_t m = d->transpose[0] ? a->columns : a->rows, k = d->transpose[0] ? a->rows : a->columns;
    const int64_t k_b = d->transpose[1] ? b->columns : b->rows, n = d->transpose[1] ? b->rows : b->columns;
    if (wanted < 1 || m != r->rows || n != r->columns || k != k_b || c->rows != m || c->columns != n || a->type != b->type || c->type != r->type) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (mode != nullptr && (mode[0] == 'n' || (mode[0] == 'p' && d->epilogue == CUBLASLT_EPILOGUE_BGRADB))) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    promise made;
    std::memcpy(made.alignment, ((const preference *)p)->alignment, sizeof made.alignment);
    made.magic = 0x50524e31;
    static_assert(sizeof made <= sizeof results[0].algo, "");
    std::memcpy(&results[0].algo, &made, sizeof made);
    results[0].state = CUBLAS_STATUS_SUCCESS;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t opaque, const void *alpha, const void *a_memory, cublasLtMatrixLayout_t a_opaque,
                              const void *b_memory, cublasLtMatrixLayout_t b_opaque, const void *beta, const void *c_memory, cublasLtMatrixLayout_t c_opaque,
                              void *d_memory, cublasLtMatrixLayout_t d_opaque, const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream)
{
    const desc d = *(const desc *)opaque;
    const layout a = *(const layout *)a_opaque, b = *(const layout *)b_opaque, c = *(const layout *)c_opaque, r = *(const layout *)d_opaque;
    promise made;
    const char *mode = std::getenv("PRN_EMULATOR_PRODUCTS");
    if (mode != nullptr && mode[0] == 'r') {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    std::memcpy(&made, algorithm, sizeof made);
    const bool on_device = d.pointer_mode == CUBLASLT_POINTER_MODE_DEVICE;
    const int64_t m = r.rows, n = r.columns, k = d.transpose[0] ? a.rows : a.columns;
    const size_t vector_bytes = (size_t)(d.epilogue == CUBLASLT_EPILOGUE_BGRADB ? n : m) * (r.type == CUDA_R_16BF ? 2 : 4);
    if (made.magic != 0x50524e31 || !holds(a, a_memory, made.alignment[0]) || !holds(b, b_memory, made.alignment[1]) || !holds(c, c_memory, made.alignment[2]) ||
        !holds(r, d_memory, made.alignment[3]) || !emulated_is_device(workspace, workspace_bytes) ||
        (d.epilogue != CUBLASLT_EPILOGUE_DEFAULT && !emulated_is_device(d.bias, vector_bytes)) ||
        (on_device && (!emulated_is_device(alpha, sizeof(float)) || !emulated_is_device(beta, sizeof(float))))) {
        std::fprintf(stderr, "emulator: a matrix product (%lld, %lld, %lld; epilogue %d) whose operands are not in device memory or not as aligned as was said: %d%d%d%d %d%d\n", (long long)m, (long long)n, (long long)k, d.epilogue, holds(a, a_memory, made.alignment[0]), holds(b, b_memory, made.alignment[1]), holds(c, c_memory, made.alignment[2]), holds(r, d_memory, made.alignment[3]), emulated_is_device(workspace, workspace_bytes), d.epilogue == CUBLASLT_EPILOGUE_DEFAULT || emulated_is_device(d.bias, vector_bytes));
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    const float host_alpha = on_device ? 0 : *(const float *)alpha, host_beta = on_device ? 0 : *(const float *)beta;
    emulated_submit(stream, [=] {
        const float scale = on_device ? *(const float *)alpha : host_alpha, keep = on_device ? *(const float *)beta : host_beta;
        std::vector<float> column((size_t)k), rows((size_t)(k * m)), results((size_t)m);
        for (int64_t p = 0; p < k; p++) {
            for (int64_t i = 0; i < m; i++) {
                rows[(size_t)(p * m + i)] = get(a_memory, a.type, d.transpose[0] ? p + i * a.ld : i + p * a.ld);
            }
        }
        for (int64_t j = 0; j < n; j++) {
            float sums = 0;
            for (int64_t p = 0; p < k; p++) {
                column[(size_t)p] = get(b_memory, b.type, d.transpose[1] ? j + p * b.ld : p + j * b.ld);
                sums += column[(size_t)p];
            }
            multiply(results.data(), rows.data(), column.data(), m, k);
            for (int64_t i = 0; i < m; i++) {
                float sum = results[(size_t)i] * scale;
                if (keep != 0) { /* as the library: C is not read otherwise */
                    sum += keep * get(c_memory, c.type, i + j * c.ld);
                }
                if (d.epilogue == CUBLASLT_EPILOGUE_BIAS) {
                    sum += get(d.bias, r.type, i);
                }
                put(d_memory, r.type, i + j * r.ld, sum);
            }
            if (d.epilogue == CUBLASLT_EPILOGUE_BGRADB) {
                put(d.bias, r.type, j, sums);
            }
        }
        return true;
    });
    return CUBLAS_STATUS_SUCCESS;
}

} // extern "C"
