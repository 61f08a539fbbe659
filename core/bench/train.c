/* core/bench/train.c: whole optimizer steps and embeddings, on made-up batches. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/pool.h"
#include "bench/bench_internal.h"
#include "model/embedder.h"
#include "train/trainer.h"

static const double REPEAT_S = 2.0;

static prn_status check(const prn__bench_options *options, prn_error *error)
{
    if (options->repeats < 1 || options->repeats > PRN__BENCH_REPEATS || options->batch < 2 || options->steps < 0) {
        return prn_error_set(error, PRN_INVALID, "a benchmark needs a batch of at least 2, and 1 to %d repeats", PRN__BENCH_REPEATS);
    }
    return PRN_OK;
}

/* Multiply-accumulates of one tower over a batch: forward, or forward and backward. Recomputation is not needed work. */
static prn_status tower_macs(const prn__model *model, const prn__batch *batch, int is_text, int training, double *macs, prn_error *error)
{
    const prn__tower_options tower = {.max_items = batch->count, .training = training};
    const int64_t values[2] = {batch->count, batch->token_count};
    const prn_program *program;
    prn__graph *graph;
    prn_status status = is_text ? prn__model_text_tower(model, &tower, &graph, error) : prn__model_image_tower(model, &tower, &graph, error);
    if (status != PRN_OK) {
        return status;
    }
    status = prn__graph_finish(graph, &program, error);
    if (status == PRN_OK) {
        *macs += prn__program_macs(program, -1, values, is_text ? prn__bench_pairs(batch) : 0);
    }
    prn__graph_destroy(graph);
    return status;
}

static const char *op_name(uint32_t kind)
{
    switch (kind) {
#define NAME(code, value, name, inputs, outputs) case PRN_OP_##code: return name;
        PRN_OP_LIST(NAME)
#undef NAME
    default: return "?";
    }
}

/* Adds the times since the last reading, or since they were forgotten. */
static prn_status read_times(const prn__device *device, prn__bench_result *result, prn_error *error)
{
    prn_op_time times[PRN__BENCH_OPS];
    uint32_t count = 0;
    if (device->backend->op_times == NULL) {
        return PRN_OK;
    }
    prn_status status = device->backend->op_times(device->instance, times, PRN__BENCH_OPS, &count, 1, error);
    for (uint32_t i = 0; i < count && status == PRN_OK; i++) {
        const char *name = op_name(times[i].kind);
        size_t at = 0;
        while (at < result->op_count && strcmp(result->ops[at].name, name) != 0) {
            at++;
        }
        if (times[i].calls == 0 || at == PRN__BENCH_OPS) {
            continue;
        }
        if (at == result->op_count) {
            result->ops[result->op_count++] = (prn__bench_op){.name = name};
        }
        result->ops[at].calls += times[i].calls;
        result->ops[at].seconds += times[i].seconds;
    }
    return status;
}

static int by_cost(const void *a, const void *b)
{
    const prn__bench_op *x = a, *y = b;
    return x->seconds != y->seconds ? (x->seconds < y->seconds ? 1 : -1) : strcmp(x->name, y->name);
}

/* The most expensive first, each with its share. */
static void finish_times(prn__bench_result *result)
{
    double all = 0;
    for (size_t i = 0; i < result->op_count; i++) {
        all += result->ops[i].seconds;
    }
    for (size_t i = 0; i < result->op_count && all > 0; i++) {
        result->ops[i].share = result->ops[i].seconds / all;
    }
    qsort(result->ops, result->op_count, sizeof result->ops[0], by_cost);
}

/* The machine's peak now, whose products are not among the model's operations. */
static prn_status look_at_peak(const prn__device *device, prn__peaks *peaks, prn_error *error)
{
    prn_op_time times[PRN__BENCH_OPS];
    uint32_t count;
    prn_status status = prn__peaks_add(peaks, device, error);
    if (status == PRN_OK && device->backend->op_times != NULL) {
        status = device->backend->op_times(device->instance, times, PRN__BENCH_OPS, &count, 1, error);
    }
    return status;
}

/* Of the first device: what the driver sees in use, so that it can be compared with what another program uses. */
static int64_t used_bytes(const prn__device *device, const prn_host *host)
{
    prn_error ignored = PRN_ERROR_INIT;
    prn_device_info info = {.struct_size = (uint32_t)sizeof info};
    uint32_t count = 0;
    if (host == NULL || device->backend->devices(host, &info, 1, &count, &ignored) != PRN_OK || count == 0 || info.memory_free_bytes == 0) {
        return 0;
    }
    return (int64_t)(info.memory_bytes - info.memory_free_bytes);
}

prn_status prn__bench_train(const prn__model *model, const prn__device *device, const prn__bench_options *options, prn__bench_result *result,
                            prn_error *error)
{
    const prn__trainer_config config = {.batch = options->batch, .micro_batch = options->micro_batch, .checkpoint = options->checkpointing,
                                        .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2,
                                                      .bf16_moments = options->bf16_moments}};
    prn__trainer *trainer = NULL;
    prn__peaks peaks = {.count = 0};
    prn__batch batch;
    double rates[PRN__BENCH_REPEATS], macs = 0;
    int64_t steps = options->steps;
    memset(result, 0, sizeof *result);
    prn_status status = check(options, error);
    if (status == PRN_OK) {
        status = prn__bench_batch_init(&batch, &model->config, options, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    float *weights = prn__alloc_array((size_t)model->flat_elements, sizeof *weights);
    if (weights == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the weights");
        goto done;
    }
    prn__model_init(model, 1, weights);
    for (int is_text = 0; is_text < 2 && status == PRN_OK; is_text++) {
        status = tower_macs(model, &batch, is_text, 1, &macs, error);
    }
    macs += 3.0 * 2.0 * (double)batch.count * (double)batch.count * (double)model->config.embed_dim; /* both directions, forward and backward */
    if (status == PRN_OK) {
        status = prn__trainer_create(model, device, &config, &trainer, error);
    }
    if (status == PRN_OK) {
        status = prn__trainer_set_state(trainer, weights, NULL, NULL, 0, error);
    }
    prn__free(weights); /* the device has them: what follows is the memory of a step */
    weights = NULL;
    const int warm_up = device->backend->buffer_write_ahead != NULL ? 5 : 2;
    double begin = prn__now_s();
    for (int warm = 0; warm < warm_up && status == PRN_OK; warm++) { /* pages are touched, kernels chosen, graphs made for either half of the input */
        prn__bench_note(options, "warming up", warm, warm_up);
        if (warm == warm_up - 1) { /* a device may be behind what it was told: the last one is timed from rest to rest */
            status = device->backend->synchronise(device->instance, error);
        }
        begin = prn__now_s();
        prn__trainer_expect(trainer, &batch);
        if (status == PRN_OK) {
            status = prn__trainer_step(trainer, &batch, 1e-5, NULL, error);
        }
        if (status == PRN_OK && warm == warm_up - 1) {
            status = device->backend->synchronise(device->instance, error);
        }
    }
    if (steps == 0) {
        steps = (int64_t)ceil(REPEAT_S / (prn__now_s() - begin));
        steps = steps < 1 ? 1 : steps;
    }
    result->process_peak_bytes = (int64_t)prn__peak_memory_bytes(); /* every page of a step has been touched, and nothing else has had room yet */
    if (status == PRN_OK) {
        status = look_at_peak(device, &peaks, error);
    }
    for (int r = 0; r < options->repeats && status == PRN_OK; r++) {
        prn__bench_note(options, "training", r, options->repeats);
        begin = prn__now_s();
        for (int64_t i = 0; i < steps && status == PRN_OK; i++) {
            prn__trainer_expect(trainer, &batch); /* as a run does: the next images come while this step is computed */
            status = prn__trainer_step(trainer, &batch, 1e-5, NULL, error);
        }
        if (status == PRN_OK) {
            status = device->backend->synchronise(device->instance, error);
        }
        rates[r] = (double)(steps * batch.count) / (prn__now_s() - begin);
        if (status == PRN_OK && (status = read_times(device, result, error)) == PRN_OK) {
            status = look_at_peak(device, &peaks, error);
        }
    }
    if (status == PRN_OK) {
        finish_times(result);
        prn__rate_of(rates, options->repeats, &result->samples_per_s);
        result->step_s = (double)batch.count / result->samples_per_s.median;
        result->gflops = 2e-9 * macs / result->step_s;
        result->peak_bytes = prn__trainer_memory_bytes(trainer);
        result->tokens = (double)batch.token_count / (double)batch.count;
        result->device_used_bytes = used_bytes(device, options->host);
        prn__trainer_destroy(trainer); /* large matrix products need room of their own */
        trainer = NULL;
        status = prn__peaks_finish(&peaks, device, &result->sgemm_peak_gflops, error);
    }
done:
    prn__trainer_destroy(trainer);
    prn__free(weights);
    prn__bench_batch_fini(&batch);
    return status;
}

prn_status prn__bench_embed(const prn__model *model, const prn__device *device, const prn__bench_options *options, prn__bench_result *result,
                            prn_error *error)
{
    prn__embedder *embedder = NULL;
    prn__peaks peaks = {.count = 0};
    prn__batch batch;
    double rates[2][PRN__BENCH_REPEATS], macs[2] = {0, 0};
    memset(result, 0, sizeof *result);
    prn_status status = check(options, error);
    if (status == PRN_OK) {
        status = prn__bench_batch_init(&batch, &model->config, options, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    float *weights = prn__alloc_array((size_t)model->flat_elements, sizeof *weights);
    float *embeddings = prn__alloc_array((size_t)(batch.count * model->config.embed_dim), sizeof *embeddings);
    if (weights == NULL || embeddings == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the weights");
        goto done;
    }
    prn__model_init(model, 1, weights);
    for (int is_text = 0; is_text < 2 && status == PRN_OK; is_text++) {
        status = tower_macs(model, &batch, is_text, 0, &macs[is_text], error);
    }
    if (status == PRN_OK) {
        status = prn__embedder_create(model, device, options->micro_batch > 0 ? options->micro_batch : options->batch, &embedder, error);
    }
    if (status == PRN_OK) {
        status = prn__embedder_set_weights(embedder, weights, error);
    }
    for (int r = -1; r < options->repeats && status == PRN_OK; r++) { /* the first is warm-up */
        prn__bench_note(options, "embedding", r < 0 ? 0 : r, options->repeats);
        for (int is_text = 0; is_text < 2 && status == PRN_OK; is_text++) {
            const double begin = prn__now_s();
            int64_t runs = 0;
            do {
                status = is_text ? prn__embedder_texts(embedder, batch.tokens, batch.offsets, batch.count, embeddings, error)
                                 : prn__embedder_images(embedder, batch.images, batch.count, embeddings, error);
                runs++;
            } while (status == PRN_OK && (options->steps > 0 ? runs < options->steps : prn__now_s() - begin < REPEAT_S / 4));
            if (r >= 0) {
                rates[is_text][r] = (double)(runs * batch.count) / (prn__now_s() - begin);
            }
        }
        if (status == PRN_OK && (r < 0 || (status = read_times(device, result, error)) == PRN_OK)) {
            status = look_at_peak(device, &peaks, error);
        }
    }
    if (status == PRN_OK) {
        finish_times(result);
        prn__rate_of(rates[0], options->repeats, &result->samples_per_s);
        prn__rate_of(rates[1], options->repeats, &result->texts_per_s);
        result->step_s = (double)batch.count / result->samples_per_s.median + (double)batch.count / result->texts_per_s.median;
        result->gflops = 2e-9 * (macs[0] + macs[1]) / result->step_s;
        result->tokens = (double)batch.token_count / (double)batch.count;
        status = prn__peaks_finish(&peaks, device, &result->sgemm_peak_gflops, error);
    }
    result->process_peak_bytes = (int64_t)prn__peak_memory_bytes();
done:
    prn__embedder_destroy(embedder);
    prn__free(weights);
    prn__free(embeddings);
    prn__bench_batch_fini(&batch);
    return status;
}
