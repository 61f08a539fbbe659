/* core/data/sampler.c: see sampler.h.
 *
 * An epoch's shards stand in a permuted order, cut into windows of W shards. Only the running totals of the windows are kept (one
 * number for W shards), and only for the epoch last asked about; and the running totals inside the window last asked about. Both are
 * caches: the answer depends on the position alone. Inside a window a second keyed permutation mixes the samples. Shards of equal
 * size need no totals at all.
 */
#include "data/sampler.h"

#include "base/memory.h"
#include "base/rng.h"

enum { DEFAULT_WINDOW = 64 };

struct prn__sampler {
    prn__sampler_config config;
    int64_t samples;       /* in one epoch */
    int64_t window_count;
    int64_t *totals;       /* (window_count + 1) samples before each window; NULL for uniform shards */
    uint64_t epoch;        /* that totals belong to */
    int has_epoch;
    int64_t *window_shards; /* (window) the shards of one window in order; NULL for uniform shards */
    int64_t *window_totals; /* (window + 1) samples before each of them */
    uint64_t window_epoch;
    int64_t window;        /* that the two belong to, -1: none */
};

static int64_t shard_samples(const prn__sampler *sampler, int64_t shard)
{
    return sampler->config.shard_samples != NULL ? sampler->config.shard_samples[shard] : sampler->config.uniform_samples;
}

/* The shard at place `place` of an epoch's order. */
static int64_t shard_at(const prn__sampler *sampler, uint64_t epoch, int64_t place)
{
    if (!sampler->config.shuffle) {
        return place;
    }
    uint64_t key = prn__rng_u64(sampler->config.seed, PRN__RNG_SHARDS, epoch, 0);
    return (int64_t)prn__permute(key, (uint64_t)sampler->config.shard_count, (uint64_t)place);
}

static int64_t window_end(const prn__sampler *sampler, int64_t window)
{
    int64_t end = (window + 1) * sampler->config.window;
    return end < sampler->config.shard_count ? end : sampler->config.shard_count;
}

static void load_epoch(prn__sampler *sampler, uint64_t epoch)
{
    if (sampler->totals == NULL || (sampler->has_epoch && sampler->epoch == epoch)) {
        return;
    }
    int64_t total = 0;
    for (int64_t w = 0; w < sampler->window_count; w++) {
        sampler->totals[w] = total;
        for (int64_t place = w * sampler->config.window; place < window_end(sampler, w); place++) {
            total += shard_samples(sampler, shard_at(sampler, epoch, place));
        }
    }
    sampler->totals[sampler->window_count] = total;
    sampler->epoch = epoch;
    sampler->has_epoch = 1;
}

static void load_window(prn__sampler *sampler, uint64_t epoch, int64_t window)
{
    if (sampler->window == window && sampler->window_epoch == epoch) {
        return;
    }
    int64_t first = window * sampler->config.window, count = window_end(sampler, window) - first, total = 0;
    for (int64_t i = 0; i < count; i++) {
        sampler->window_shards[i] = shard_at(sampler, epoch, first + i);
        sampler->window_totals[i] = total;
        total += shard_samples(sampler, sampler->window_shards[i]);
    }
    sampler->window_totals[count] = total;
    sampler->window = window;
    sampler->window_epoch = epoch;
}

/* The last of `count` ascending totals that is not above `place`: empty ranges start where the next one does, and lose. */
static int64_t last_not_above(const int64_t *totals, int64_t count, int64_t place)
{
    int64_t low = 0, high = count;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (totals[middle] <= place) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

prn_status prn__sampler_create(const prn__sampler_config *config, prn__sampler **result, prn_error *error)
{
    *result = NULL;
    if (config->shard_count < 1) {
        return prn_error_set(error, PRN_INVALID, "a sampler needs at least one shard");
    }
    prn__sampler *sampler = prn__alloc(sizeof *sampler);
    if (sampler == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the sampler");
    }
    sampler->config = *config;
    sampler->window = -1;
    if (sampler->config.window <= 0 || config->with_replacement) {
        sampler->config.window = DEFAULT_WINDOW; /* independent draws are not mixed: the window only shortens the search */
    }
    if (config->with_replacement) {
        sampler->config.shuffle = 0;
    }
    if (sampler->config.window > config->shard_count) {
        sampler->config.window = config->shard_count;
    }
    sampler->window_count = (config->shard_count - 1) / sampler->config.window + 1;
    if (config->shard_samples == NULL) {
        if (config->uniform_samples < 1 || __builtin_mul_overflow(config->shard_count, config->uniform_samples, &sampler->samples)) {
            prn__free(sampler);
            return prn_error_set(error, PRN_INVALID, "%lld shards of %lld samples each cannot be counted", (long long)config->shard_count,
                                 (long long)config->uniform_samples);
        }
    } else {
        for (int64_t i = 0; i < config->shard_count; i++) {
            if (config->shard_samples[i] < 0 || __builtin_add_overflow(sampler->samples, config->shard_samples[i], &sampler->samples)) {
                prn__free(sampler);
                return prn_error_set(error, PRN_INVALID, "shard %lld has an impossible number of samples", (long long)i);
            }
        }
        sampler->totals = prn__alloc_array((size_t)sampler->window_count + 1, sizeof *sampler->totals);
        sampler->window_shards = prn__alloc_array((size_t)sampler->config.window, sizeof *sampler->window_shards);
        sampler->window_totals = prn__alloc_array((size_t)sampler->config.window + 1, sizeof *sampler->window_totals);
        if (sampler->totals == NULL || sampler->window_shards == NULL || sampler->window_totals == NULL) {
            prn__sampler_destroy(sampler);
            return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the sampler");
        }
    }
    if (sampler->samples == 0) {
        prn__sampler_destroy(sampler);
        return prn_error_set(error, PRN_INVALID, "none of the %lld shards has a sample; check the shards with 'perennial data verify'",
                             (long long)config->shard_count);
    }
    *result = sampler;
    return PRN_OK;
}

void prn__sampler_destroy(prn__sampler *sampler)
{
    if (sampler != NULL) {
        prn__free(sampler->totals);
        prn__free(sampler->window_shards);
        prn__free(sampler->window_totals);
        prn__free(sampler);
    }
}

int64_t prn__sampler_samples(const prn__sampler *sampler)
{
    return sampler->samples;
}

void prn__sampler_at(prn__sampler *sampler, uint64_t position, int64_t *shard, int64_t *index)
{
    const int64_t uniform = sampler->config.uniform_samples, window_samples = sampler->config.window * uniform;
    uint64_t epoch = position / (uint64_t)sampler->samples;
    int64_t place = (int64_t)(position % (uint64_t)sampler->samples);
    if (sampler->config.with_replacement) {
        place = (int64_t)prn__rng_below(sampler->config.seed, PRN__RNG_SAMPLES, position, UINT64_MAX, (uint64_t)sampler->samples);
        epoch = 0;
    }
    load_epoch(sampler, epoch);
    int64_t window = sampler->totals != NULL ? last_not_above(sampler->totals, sampler->window_count, place) : place / window_samples;
    int64_t start = sampler->totals != NULL ? sampler->totals[window] : window * window_samples;
    int64_t inside = place - start;
    if (sampler->config.shuffle) {
        int64_t end = window + 1 == sampler->window_count ? sampler->samples
                      : sampler->totals != NULL           ? sampler->totals[window + 1]
                                                          : start + window_samples;
        uint64_t key = prn__rng_u64(sampler->config.seed, PRN__RNG_SAMPLES, epoch, (uint64_t)window);
        inside = (int64_t)prn__permute(key, (uint64_t)(end - start), (uint64_t)inside);
    }
    if (sampler->totals == NULL) {
        *shard = shard_at(sampler, epoch, window * sampler->config.window + inside / uniform);
        *index = inside % uniform;
        return;
    }
    load_window(sampler, epoch, window);
    int64_t i = last_not_above(sampler->window_totals, window_end(sampler, window) - window * sampler->config.window, inside);
    *shard = sampler->window_shards[i];
    *index = inside - sampler->window_totals[i];
}
