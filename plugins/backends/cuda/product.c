/* plugins/backends/cuda/product.c: matrix products by cuBLASLt, or by our own kernel where it is missing or has no algorithm.
 *
 * cuBLASLt counts by columns, we by rows, so it is asked for y^T = b^T a^T. The algorithm of a shape is the library's first choice, found once
 * and remembered. Split sums are allowed where they are added in a fixed order (deterministic), any where option `fast` is on.
 * Epilogues: a bias and a residual (as C) are fused, and the sums over rows that a bias gradient is. The activation is a kernel of its own:
 * the library's GELU is the tanh approximation, ours is exact, and QuickGELU it has not.
 */
#include "instance.h"

enum { EPILOGUE_NONE, EPILOGUE_BIAS, EPILOGUE_SUMS };

size_t product_scratch(const prn_backend_instance *d, int64_t m, int64_t n, int64_t k)
{
    return d->half ? aligned((size_t)(m * k) * 2) + aligned((size_t)(k * n) * 2) + aligned((size_t)n * 2) : 0;
}

static void product_fini(const prn_backend_instance *d, product *p)
{
    if (p->a != NULL) {
        (void)d->api.cublasLtMatrixLayoutDestroy(p->a);
    }
    if (p->b != NULL) {
        (void)d->api.cublasLtMatrixLayoutDestroy(p->b);
    }
    if (p->d != NULL) {
        (void)d->api.cublasLtMatrixLayoutDestroy(p->d);
    }
    if (p->operation != NULL) {
        (void)d->api.cublasLtMatmulDescDestroy(p->operation);
    }
    memset(p, 0, sizeof *p);
}

prn_status products_open(prn_backend_instance *d, prn_error *error)
{
    if (!d->api.has_lt || d->api.cublasLtCreate(&d->lt) != CUBLAS_STATUS_SUCCESS) {
        d->lt = NULL;
        d->host->log(d->host->self, PRN_LOG_WARNING,
                     d->api.has_lt ? "cuda: libcublasLt.so.13 does not start; matrix products are done by a kernel of our own, many times slower"
                                   : "cuda: libcublasLt.so.13 is neither on the library path (LD_LIBRARY_PATH) nor in /usr/local/cuda/lib64; matrix products "
                                     "are done by a kernel of our own, many times slower");
        return PRN_OK;
    }
    d->products = d->host->allocate(d->host->self, PRODUCT_LIMIT * sizeof *d->products, "matrix products");
    if (d->products == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for the cuda backend");
    }
    memset(d->products, 0, PRODUCT_LIMIT * sizeof *d->products);
    return device_allocate(d, PRODUCT_WORKSPACE, "matrix products", &d->product_workspace, error);
}

void products_close(prn_backend_instance *d)
{
    for (uint32_t i = 0; i < d->product_count; i++) {
        product_fini(d, &d->products[i]);
    }
    if (d->products != NULL) {
        d->host->release(d->host->self, d->products);
    }
    device_release(d, d->product_workspace);
    if (d->lt != NULL) {
        (void)d->api.cublasLtDestroy(d->lt);
    }
}

static prn_status library_error(cublasStatus_t status, const product_key *key, prn_error *error)
{
    return prn_error_set(error, status == CUBLAS_STATUS_ALLOC_FAILED ? PRN_NO_MEMORY : PRN_INTERNAL,
                         "cuBLASLt refuses a matrix product of %lld x %lld x %lld (status %d)", (long long)key->m, (long long)key->n, (long long)key->k,
                         (int)status);
}

static int set(const prn_backend_instance *d, const product *p, cublasLtMatmulDescAttributes_t attribute, int32_t value)
{
    return d->api.cublasLtMatmulDescSetAttribute(p->operation, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
}

/* Descriptions and the algorithm. */
static int product_describe(const prn_backend_instance *d, product *p)
{
    const product_key *k = &p->key;
    const cudaDataType_t operand_type = k->is_half ? CUDA_R_16BF : CUDA_R_32F, result_type = k->d_is_half ? CUDA_R_16BF : CUDA_R_32F;
    const driver *api = &d->api;
    const int32_t epilogue = k->epilogue == EPILOGUE_BIAS   ? (int32_t)CUBLASLT_EPILOGUE_BIAS
                             : k->epilogue == EPILOGUE_SUMS ? (int32_t)CUBLASLT_EPILOGUE_BGRADB
                                                            : (int32_t)CUBLASLT_EPILOGUE_DEFAULT;
    return api->cublasLtMatmulDescCreate(&p->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
           set(d, p, CUBLASLT_MATMUL_DESC_TRANSA, k->transpose_a ? (int32_t)CUBLAS_OP_T : (int32_t)CUBLAS_OP_N) &&
           set(d, p, CUBLASLT_MATMUL_DESC_TRANSB, k->transpose_b ? (int32_t)CUBLAS_OP_T : (int32_t)CUBLAS_OP_N) &&
           set(d, p, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue) &&
           set(d, p, CUBLASLT_MATMUL_DESC_POINTER_MODE,
               k->device_alpha ? (int32_t)CUBLASLT_POINTER_MODE_DEVICE : (int32_t)CUBLASLT_POINTER_MODE_HOST) &&
           api->cublasLtMatrixLayoutCreate(&p->a, operand_type, (uint64_t)(k->transpose_a ? k->k : k->m), (uint64_t)(k->transpose_a ? k->m : k->k), k->lda) ==
               CUBLAS_STATUS_SUCCESS &&
           api->cublasLtMatrixLayoutCreate(&p->b, operand_type, (uint64_t)(k->transpose_b ? k->n : k->k), (uint64_t)(k->transpose_b ? k->k : k->n), k->ldb) ==
               CUBLAS_STATUS_SUCCESS &&
           api->cublasLtMatrixLayoutCreate(&p->d, result_type, (uint64_t)k->m, (uint64_t)k->n, k->ldd) == CUBLAS_STATUS_SUCCESS;
}

/* The library asks for the vector of an epilogue before it chooses. */
static int set_vector(const prn_backend_instance *d, const product *p, const void *vector)
{
    return vector == NULL ||
           d->api.cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &vector, sizeof vector) == CUBLAS_STATUS_SUCCESS;
}

static prn_status product_choose(const prn_backend_instance *d, product *p, const void *vector, prn_error *error)
{
    const driver *api = &d->api;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    const uint64_t workspace = PRODUCT_WORKSPACE;
    const uint32_t aligned_to[4] = {(uint32_t)p->key.align_a, (uint32_t)p->key.align_b, (uint32_t)p->key.align_d, (uint32_t)p->key.align_d};
    const uint32_t sums = d->fast ? CUBLASLT_REDUCTION_SCHEME_MASK : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    static const cublasLtMatmulPreferenceAttributes_t alignments[4] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    int count = 0;
    cublasStatus_t status = product_describe(d, p) && set_vector(d, p, vector) ? api->cublasLtMatmulPreferenceCreate(&preference) : CUBLAS_STATUS_ALLOC_FAILED;
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = api->cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = api->cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &sums, sizeof sums);
    }
    for (int i = 0; i < 4 && status == CUBLAS_STATUS_SUCCESS; i++) {
        status = api->cublasLtMatmulPreferenceSetAttribute(preference, alignments[i], &aligned_to[i], sizeof aligned_to[i]);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        memset(&found, 0, sizeof found);
        const cublasStatus_t answer = api->cublasLtMatmulAlgoGetHeuristic(d->lt, p->operation, p->a, p->b, p->d, p->d, preference, 1, &found, &count);
        p->is_served = answer == CUBLAS_STATUS_SUCCESS && count > 0 && found.state == CUBLAS_STATUS_SUCCESS;
        p->algorithm = found.algo;
    }
    if (preference != NULL) {
        (void)api->cublasLtMatmulPreferenceDestroy(preference);
    }
    return status == CUBLAS_STATUS_SUCCESS ? PRN_OK : library_error(status, &p->key, error);
}

/* The remembered product of a key; the oldest is forgotten when there are too many. */
static prn_status product_find(prn_backend_instance *d, const product_key *key, const void *vector, product **found, prn_error *error)
{
    for (uint32_t i = 0; i < d->product_count; i++) {
        if (memcmp(&d->products[i].key, key, sizeof *key) == 0) {
            *found = &d->products[i];
            return PRN_OK;
        }
    }
    product made;
    memset(&made, 0, sizeof made);
    made.key = *key;
    const prn_status status = product_choose(d, &made, vector, error);
    if (status != PRN_OK) {
        product_fini(d, &made);
        return status;
    }
    const uint32_t at = d->product_count < PRODUCT_LIMIT ? d->product_count++ : d->product_next++ % PRODUCT_LIMIT;
    product_fini(d, &d->products[at]);
    d->products[at] = made;
    *found = &d->products[at];
    return PRN_OK;
}

static int32_t alignment_of(const void *pointer)
{
    const uintptr_t low = (uintptr_t)pointer & (~(uintptr_t)pointer + 1);
    return low == 0 || low > 16 ? 16 : (int32_t)low;
}

/* `x`, or its bf16 copy in scratch. */
static prn_status as_half(prn_backend_instance *d, values *x, int64_t n, size_t *scratch_at, prn_error *error)
{
    if (x->is_half || x->data == NULL) {
        return PRN_OK;
    }
    const values copy = {.data = device_pointer(d->scratch + *scratch_at), .is_half = 1, .is_wide = 2};
    *scratch_at += aligned((size_t)n * 2);
    const prn_status status = values_copy(d, copy, *x, n, error);
    *x = copy;
    return status;
}

/* y = act(y or pre) + residual, after a product that could not do so itself. */
static prn_status finish(prn_backend_instance *d, const product_job *job, int with_residual, prn_error *error)
{
    const int64_t n = job->m * job->n;
    const values residual = with_residual ? job->residual : (values){0};
    const element_args arguments = {.a = job->pre.data != NULL ? job->pre : job->y, .b = residual, .y = job->y, .n = n, .kind = ELEMENT_ACTIVATION_ADD,
                                    .activation = job->activation};
    return elements_launch(d, &arguments, error);
}

static prn_status own_product(prn_backend_instance *d, const product_job *job, prn_error *error)
{
    const matmul_args arguments = {
        .a = job->a, .b = job->b, .d = job->y, .bias = job->bias, .residual = job->residual, .pre = job->pre, .alpha = job->alpha, .m = job->m, .n = job->n,
        .k = job->k, .a_row = job->transpose_a ? 1 : job->k, .a_column = job->transpose_a ? job->m : 1, .b_row = job->transpose_b ? 1 : job->n,
        .b_column = job->transpose_b ? job->k : 1, .activation = job->activation, .accumulate = job->accumulate};
    const int64_t tiles = ((job->m + MATMUL_TILE - 1) / MATMUL_TILE) * ((job->n + MATMUL_TILE - 1) / MATMUL_TILE);
    if (tiles > BLOCK_LIMIT) {
        return prn_error_set(error, PRN_UNSUPPORTED, "a matrix product of %lld x %lld is more than a device takes at once; use smaller batches",
                             (long long)job->m, (long long)job->n);
    }
    return kernel_launch(d, KERNEL_matmul, &arguments, tiles, 1, THREADS, 2 * MATMUL_TILE * (MATMUL_TILE + 1) * sizeof(float), error);
}

/* Once: a run that is many times slower than it should be must not be silent. */
static void tell_refused(prn_backend_instance *d, const product_key *key)
{
    char text[192];
    if (!d->told_refused) {
        (void)snprintf(text, sizeof text, "cuda: cuBLASLt has no algorithm for a matrix product of %lld x %lld x %lld (%s); such are done by a kernel of our own, "
                       "many times slower", (long long)key->m, (long long)key->n, (long long)key->k, key->is_half ? "bf16" : "fp32");
        d->host->log(d->host->self, PRN_LOG_WARNING, text);
        d->told_refused = 1;
    }
}

prn_status product_run(prn_backend_instance *d, const product_job *asked, size_t scratch_at, int *did_sums, prn_error *error)
{
    product_job job = *asked;
    product *p = NULL;
    prn_status status = PRN_OK;
    *did_sums = 0;
    if (job.m == 0 || job.n == 0 || job.y.data == NULL) {
        return PRN_OK;
    }
    if (d->lt == NULL || job.k == 0) {
        return own_product(d, &job, error);
    }
    const int half = job.may_be_half && d->half;
    const int plain = job.activation == PRN_ACT_NONE && job.pre.data == NULL;
    values first = job.pre.data != NULL ? job.pre : job.y;
    /* a residual can be C when nothing comes between, and it has the result's type */
    const int fuses_residual = plain && job.residual.data != NULL && !job.accumulate && job.residual.is_half == first.is_half;
    if (half && ((status = as_half(d, &job.a, job.m * job.k, &scratch_at, error)) != PRN_OK ||
                 (status = as_half(d, &job.b, job.k * job.n, &scratch_at, error)) != PRN_OK)) {
        return status;
    }
    if (job.a.is_half != job.b.is_half) {
        return own_product(d, &job, error);
    }
    values bias = job.bias;
    if (first.is_half && (status = as_half(d, &bias, job.n, &scratch_at, error)) != PRN_OK) {
        return status;
    }
    product_key key;
    memset(&key, 0, sizeof key); /* compared as bytes */
    key.m = job.n;
    key.n = job.m;
    key.k = job.k;
    key.lda = job.transpose_b ? job.k : job.n;
    key.ldb = job.transpose_a ? job.m : job.k;
    key.ldd = job.n;
    key.transpose_a = job.transpose_b;
    key.transpose_b = job.transpose_a;
    key.is_half = job.a.is_half;
    key.d_is_half = first.is_half;
    key.epilogue = bias.data != NULL ? EPILOGUE_BIAS : job.sums.data != NULL && !job.accumulate ? EPILOGUE_SUMS : EPILOGUE_NONE;
    key.has_beta = job.accumulate || fuses_residual;
    key.device_alpha = job.alpha != NULL;
    key.align_a = alignment_of(job.b.data);
    key.align_b = alignment_of(job.a.data);
    key.align_d = alignment_of(first.data);
    if (fuses_residual && alignment_of(job.residual.data) < key.align_d) {
        key.align_d = alignment_of(job.residual.data);
    }
    const void *vector = key.epilogue == EPILOGUE_BIAS ? bias.data : key.epilogue == EPILOGUE_SUMS ? job.sums.data : NULL;
    if (vector != NULL && alignment_of(vector) < key.align_d) {
        key.align_d = alignment_of(vector); /* the library looks at the result's alignment for its vector, too */
    }
    status = product_find(d, &key, vector, &p, error);
    if (status == PRN_OK && !p->is_served && key.epilogue == EPILOGUE_SUMS) {
        key.epilogue = EPILOGUE_NONE;
        vector = NULL;
        status = product_find(d, &key, vector, &p, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    if (!p->is_served) {
        tell_refused(d, &key);
        return own_product(d, &job, error);
    }
    if (!set_vector(d, p, vector)) {
        return library_error(CUBLAS_STATUS_INTERNAL_ERROR, &key, error);
    }
    const float one = 1, zero = 0, *const host_beta = key.has_beta ? &one : &zero;
    const void *const device_beta = device_pointer(d->constants + (key.has_beta ? sizeof(float) : 0));
    const void *const alpha = job.alpha != NULL ? (const void *)job.alpha : &one, *const beta = job.alpha != NULL ? device_beta : (const void *)host_beta;
    const void *const c = fuses_residual ? job.residual.data : first.data;
    const cublasStatus_t answer = d->api.cublasLtMatmul(d->lt, p->operation, alpha, job.b.data, p->a, job.a.data, p->b, beta, c, p->d, first.data, p->d,
                                                        &p->algorithm, device_pointer(d->product_workspace), PRODUCT_WORKSPACE, (cudaStream_t)d->stream);
    if (answer == CUBLAS_STATUS_NOT_SUPPORTED) { /* its own choice after all; it has begun nothing */
        p->is_served = 0;
        tell_refused(d, &key);
        return own_product(d, &job, error);
    }
    if (answer != CUBLAS_STATUS_SUCCESS) {
        return library_error(answer, &key, error);
    }
    *did_sums = key.epilogue == EPILOGUE_SUMS;
    if (!plain || (job.residual.data != NULL && !fuses_residual)) {
        return finish(d, &job, job.residual.data != NULL && !fuses_residual, error);
    }
    return PRN_OK;
}
