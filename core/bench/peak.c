/* core/bench/peak.c: what the machine's matrix product reaches, as the backend computes it.
 *
 * Invariants: a peak is the best of several products, one straight after the other. A machine that others use too differs from minute to minute, so
 * there are peaks from before, between and after the repeats, of which the median is told. A device that is done with such a product in no time is
 * measured once, by larger ones that need room of their own.
 */
#include <string.h>

#include "base/memory.h"
#include "base/pool.h"
#include "bench/bench_internal.h"
#include "model/compiled.h"

static const int64_t SIDES[] = {1024, 4096, 8192};
enum { RUNS = 12 };
static const double ENOUGH_S = 2e-3; /* a product that takes less says more of starting it than of the machine: a larger one is measured */
static const double PATIENCE_S = 3;

static prn_status peak_program(const prn__device *device, int64_t side, prn__compiled *product, prn_error *error)
{
    static const char *const names[3] = {"x", "w", "y"};
    prn__graph *g;
    int32_t tensors[3], inputs[PRN_OP_MAX_INPUTS], outputs[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    const prn_dim dims[2] = {prn__fixed(side), prn__fixed(side)};
    prn_status status = prn__graph_create("sgemm", &g, error);
    if (status != PRN_OK) {
        return status;
    }
    for (int i = 0; i < 3; i++) {
        tensors[i] = prn__graph_bound(g, names[i], prn__graph_slot(g, names[i], PRN_REAL), 0, 2, dims);
    }
    for (int i = 0; i < PRN_OP_MAX_INPUTS; i++) {
        inputs[i] = i < 2 ? tensors[i] : PRN_NO_TENSOR;
    }
    outputs[0] = tensors[2];
    (void)prn__graph_op(g, PRN_OP_LINEAR, inputs, outputs, 1, NULL, "product");
    return prn__compiled_init(product, g, device, error);
}

/* `seconds`: the best run's. */
static prn_status peak_of(const prn__device *device, int64_t side, double *seconds, prn_error *error)
{
    static const char *const names[4] = {"x", "w", "y", "workspace"};
    const int64_t n = side * side;
    const double start = prn__now_s();
    prn__compiled product;
    prn_buffer *buffers[4] = {NULL, NULL, NULL, NULL};
    float *values = prn__alloc_array((size_t)n, sizeof *values);
    prn_status status;
    memset(&product, 0, sizeof product);
    *seconds = 0;
    if (values == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a matrix product");
    }
    for (int64_t i = 0; i < n; i++) {
        values[i] = (float)(i % 17) / 16 - 0.5f;
    }
    status = peak_program(device, side, &product, error);
    for (int i = 0; i < 4 && status == PRN_OK; i++) {
        status = prn__buffer_create(device, PRN_REAL, i < 3 ? n : product.program->workspace_elements, "a matrix product", &buffers[i], NULL, error);
        if (status == PRN_OK) {
            prn__compiled_bind(&product, names[i], buffers[i], 0);
        }
    }
    for (int i = 0; i < 2 && status == PRN_OK; i++) {
        status = device->backend->buffer_write(device->instance, buffers[i], 0, PRN_HOST_F32, values, n, error);
    }
    for (int run = 0; run < RUNS && status == PRN_OK && (run < 2 || prn__now_s() - start < PATIENCE_S); run++) {
        const double begin = prn__now_s();
        status = prn__compiled_run(&product, "forward", error);
        if (status == PRN_OK) {
            status = device->backend->synchronise(device->instance, error);
        }
        const double took = prn__now_s() - begin;
        *seconds = run == 0 || took < *seconds ? took : *seconds;
    }
    prn__compiled_fini(&product);
    for (int i = 0; i < 4; i++) {
        prn__buffer_destroy(device, buffers[i]);
    }
    prn__free(values);
    return status;
}

static double rate_of(int64_t side, double seconds)
{
    return seconds > 0 ? 2e-9 * (double)side * (double)side * (double)side / seconds : 0;
}

prn_status prn__peaks_add(prn__peaks *peaks, const prn__device *device, prn_error *error)
{
    double seconds;
    if (peaks->is_fast) {
        return PRN_OK;
    }
    prn_status status = peak_of(device, SIDES[0], &seconds, error);
    peaks->is_fast = seconds < ENOUGH_S;
    peaks->gflops[peaks->count++] = rate_of(SIDES[0], seconds);
    return status;
}

prn_status prn__peaks_finish(prn__peaks *peaks, const prn__device *device, double *gflops, prn_error *error)
{
    prn_status status = PRN_OK;
    double seconds = 0;
    prn__rate rate = {0, 0, 0};
    if (peaks->count > 0) {
        prn__rate_of(peaks->gflops, peaks->count, &rate);
    }
    *gflops = peaks->is_fast ? rate.most : rate.median;
    for (size_t i = 1; i < sizeof SIDES / sizeof SIDES[0] && peaks->is_fast && status == PRN_OK && seconds < ENOUGH_S; i++) {
        status = peak_of(device, SIDES[i], &seconds, error);
        *gflops = rate_of(SIDES[i], seconds) > *gflops ? rate_of(SIDES[i], seconds) : *gflops;
    }
    return status;
}
