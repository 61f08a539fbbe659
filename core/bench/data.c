/* core/bench/data.c: the data path alone: shards to batches, without a model behind it. */
#include <string.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "base/pool.h"
#include "bench/bench_internal.h"
#include "data/loader.h"

static const double REPEAT_S = 2.0;

static double cpu_s(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

prn_status prn__bench_data(const prn__manifest *manifest, const char *vocabulary, int64_t merges, const prn__model_config *model, uint32_t threads,
                           const prn__bench_options *options, prn__bench_result *result, prn_error *error)
{
    const prn__shard_list *list = &manifest->steps[0].train;
    prn__loader_source source = {0};
    prn__tokenizer *tokenizer = NULL;
    prn__loader *loader = NULL;
    const prn__batch *batch;
    double rates[PRN__BENCH_REPEATS];
    int64_t tokens = 0, samples = 0;
    memset(result, 0, sizeof *result);
    if (options->repeats < 1 || options->repeats > PRN__BENCH_REPEATS || options->batch < 1) {
        return prn_error_set(error, PRN_INVALID, "a benchmark needs a batch and 1 to %d repeats", PRN__BENCH_REPEATS);
    }
    prn_status status = prn__dataset_open(manifest, &list, 1, NULL, &source.dataset, error);
    if (status == PRN_OK) {
        status = prn__tokenizer_open(vocabulary, merges, &tokenizer, error);
    }
    if (status == PRN_OK) {
        const prn__loader_config config = {
            .sources = &source, .source_count = 1, .tokenizer = tokenizer, .context_length = model->text.context_length,
            .image_side = model->vision.image_size, .batch = options->batch, .seed = 1, .shuffle = 1, .augment = 1, .scale_low = 0.9, .scale_high = 1.0,
            .bad_policy = manifest->bad_policy, .threads = threads > 0 ? threads : 1, .step_count = -1,
        };
        status = prn__loader_create(&config, &loader, error);
    }
    if (status == PRN_OK) {
        status = prn__loader_next(loader, &batch, NULL, error); /* threads are up, files are open */
    }
    const double cpu_begin = cpu_s();
    for (int r = 0; r < options->repeats && status == PRN_OK; r++) {
        const double begin = prn__now_s();
        int64_t drawn = 0, steps = 0;
        prn__bench_note(options, "drawing batches", r, options->repeats);
        do {
            status = prn__loader_next(loader, &batch, NULL, error);
            if (status == PRN_OK) {
                drawn += batch->count;
                tokens += batch->token_count;
                steps++;
            }
        } while (status == PRN_OK && (options->steps > 0 ? steps < options->steps : prn__now_s() - begin < REPEAT_S));
        rates[r] = (double)drawn / (prn__now_s() - begin);
        samples += drawn;
    }
    if (status == PRN_OK) {
        prn__rate_of(rates, options->repeats, &result->samples_per_s);
        result->tokens = (double)tokens / (double)samples;
        result->cpu_ms = 1000 * (cpu_s() - cpu_begin) / (double)samples; /* batches prepared ahead before and behind cancel out */
        result->step_s = (double)options->batch / result->samples_per_s.median;
        int64_t bytes = 0, probes = 0;
        for (int64_t i = 0; i < prn__dataset_shard_samples(source.dataset)[0] && probes < 1000; i++, probes++) {
            prn__sample sample;
            prn__sample_hold hold;
            prn_error ignored = PRN_ERROR_INIT;
            if (prn__dataset_sample(source.dataset, 0, i, &sample, &hold, &ignored) == PRN_OK) {
                bytes += (int64_t)sample.image_bytes;
                prn__sample_release(source.dataset, &hold);
            }
        }
        result->image_bytes = probes > 0 ? (double)bytes / (double)probes : 0;
    }
    result->process_peak_bytes = (int64_t)prn__peak_memory_bytes();
    if (loader != NULL) {
        prn__loader_destroy(loader);
    }
    if (tokenizer != NULL) {
        prn__tokenizer_close(tokenizer);
    }
    if (source.dataset != NULL) {
        prn__dataset_close(source.dataset);
    }
    return status;
}
