/* core/run/stage_data.c: see stage_data.h. */
#include "run/stage_data.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a stage's data");
}

/* The training data of a time step, or all of the reference stream's, as one data set. */
static prn_status open_step(prn__execution *x, uint32_t time_step, prn__dataset **dataset, prn_error *error)
{
    const prn__manifest *manifest = time_step == PRN_SOURCE_REFERENCE ? x->plan->reference : x->plan->manifest;
    const size_t count = time_step == PRN_SOURCE_REFERENCE ? manifest->step_count : 1, first = time_step == PRN_SOURCE_REFERENCE ? 0 : time_step - 1;
    const prn__shard_list **lists = prn__alloc_array(count, sizeof(const prn__shard_list *));
    if (lists == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        lists[i] = &manifest->steps[first + i].train;
    }
    prn_status status = prn__dataset_open(manifest, lists, count, x->cache, dataset, error);
    prn__free(lists);
    return status;
}

prn_status prn__data_complete(const prn__dataset *dataset, prn_error *error)
{
    const int64_t shards = prn__dataset_shards(dataset);
    int64_t missing = 0, first = -1;
    for (int64_t i = 0; i < shards && prn__dataset_losses(dataset, -1, PRN__LOSS_SHARD_MISSING) > 0; i++) {
        if (prn__dataset_losses(dataset, i, PRN__LOSS_SHARD_MISSING) > 0) {
            missing++;
            first = first < 0 ? i : first;
        }
    }
    if (missing == 0) {
        return PRN_OK;
    }
    return prn_error_set(error, PRN_NOT_FOUND, "%" PRId64 " of %" PRId64 " shards cannot be read, the first is %s; put them back, or take them out of the"
                         " manifest (that makes it another stage); what is trained is kept", missing, shards, prn__dataset_shard_path(dataset, first));
}

prn_status prn__data_digest(prn__execution *x, uint32_t time_step, int *missing, const char **digest, prn_error *error)
{
    const int is_reference = time_step == PRN_SOURCE_REFERENCE;
    const prn__manifest *manifest = is_reference ? x->plan->reference : x->plan->manifest;
    const char *name = is_reference ? manifest->name : manifest->steps[time_step - 1].name;
    const char *stated = is_reference ? NULL : manifest->steps[time_step - 1].train.checksum;
    const char **known = is_reference ? &x->reference_digest : &x->data_digests[time_step - 1];
    prn__dataset *dataset = NULL;
    char text[33];
    if (missing != NULL) {
        *missing = 0;
    }
    *digest = *known;
    if (*digest != NULL) {
        return PRN_OK;
    }
    prn__progress progress = {.phase = "index", .label = name, .time_step = time_step};
    prn__execution_report(x, &progress, NULL);
    prn_status status = open_step(x, time_step, &dataset, error);
    if (status == PRN_OK && missing != NULL && prn__dataset_losses(dataset, -1, PRN__LOSS_SHARD_MISSING) > 0) {
        *missing = 1;
        goto done;
    }
    if (status == PRN_NOT_FOUND && missing != NULL) {
        *missing = 1;
        status = PRN_OK;
        goto done;
    }
    if (status == PRN_OK) {
        status = prn__data_complete(dataset, error);
    }
    if (status == PRN_OK) {
        status = prn__dataset_digest(dataset, text, error);
    }
    if (status != PRN_OK) {
        (void)prn_error_context(error, status, "%s: training data of step '%s'", manifest->path, name);
        goto done;
    }
    if (stated != NULL && strcasecmp(stated, text) != 0) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: step '%s' states the checksum %s, and its shards have %s: they were changed or damaged; get them"
                               " again, or correct the manifest", manifest->path, name, stated, text);
        goto done;
    }
    if ((*digest = prn__arena_strdup(&x->memory, text)) == NULL) {
        status = no_memory(error);
        goto done;
    }
    *known = *digest;
done:
    if (dataset != NULL) {
        prn__dataset_close(dataset);
    }
    return status;
}

static int64_t count_losses(const prn__dataset *dataset)
{
    int64_t total = 0;
    for (int reason = 0; reason < PRN__LOSS_COUNT; reason++) {
        total += prn__dataset_losses(dataset, -1, (prn__loss_reason)reason);
    }
    return total;
}

static prn_status record_index(prn__stage_data *d, uint32_t i, const char *stage, prn_error *error)
{
    prn__dataset *dataset = d->datasets[i];
    int64_t shards = prn__dataset_shards(dataset);
    d->recorded_losses[i] = count_losses(dataset);
    if (d->recorded_losses[i] == 0) {
        return PRN_OK;
    }
    d->index_losses[i] = prn__alloc_array((size_t)shards * PRN__LOSS_COUNT, sizeof(int64_t));
    if (d->index_losses[i] == NULL) {
        return no_memory(error);
    }
    prn_status status = prn__ledger_begin(d->x->ledger, error);
    for (int64_t shard = 0; shard < shards && status == PRN_OK; shard++) {
        for (int reason = 0; reason < PRN__LOSS_COUNT && status == PRN_OK; reason++) {
            int64_t count = prn__dataset_losses(dataset, shard, (prn__loss_reason)reason);
            d->index_losses[i][shard * PRN__LOSS_COUNT + reason] = count;
            if (count > 0) {
                status = prn__ledger_skip(d->x->ledger, stage, -1, prn__dataset_shard_path(dataset, shard),
                                          prn__loss_reason_name((prn__loss_reason)reason), count, error);
            }
        }
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(d->x->ledger, error);
    }
    prn__ledger_rollback(d->x->ledger);
    return status;
}

prn_status prn__stage_data_record_index(prn__stage_data *d, const char *stage, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < d->source_count && status == PRN_OK; i++) {
        status = record_index(d, i, stage, error);
    }
    return status;
}

static prn_status record_drawn(prn__stage_data *d, uint32_t i, const char *stage, int64_t first_step, prn_error *error)
{
    prn__dataset *dataset = d->datasets[i];
    const int64_t total = count_losses(dataset), shards = prn__dataset_shards(dataset);
    prn_status status = PRN_OK;
    if (total == d->recorded_losses[i]) {
        return PRN_OK;
    }
    for (int64_t shard = 0; shard < shards && status == PRN_OK; shard++) {
        for (int reason = 0; reason < PRN__LOSS_COUNT && status == PRN_OK; reason++) {
            int64_t count = prn__dataset_losses(dataset, shard, (prn__loss_reason)reason);
            count -= d->index_losses[i] != NULL ? d->index_losses[i][shard * PRN__LOSS_COUNT + reason] : 0;
            if (count > 0) {
                status = prn__ledger_skip(d->x->ledger, stage, first_step, prn__dataset_shard_path(dataset, shard),
                                          prn__loss_reason_name((prn__loss_reason)reason), count, error);
            }
        }
    }
    d->recorded_losses[i] = total;
    return status;
}

prn_status prn__stage_data_record(prn__stage_data *d, const char *stage, int64_t first_step, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < d->source_count && status == PRN_OK; i++) {
        status = record_drawn(d, i, stage, first_step, error);
    }
    return status;
}

/* Which samples of a time step are taken where only so many may be. The same order at every later step, for data and memory: a buffer whose
 * share of a step shrinks forgets samples, and never sees again what it forgot. */
static uint64_t subset_seed(const prn__execution *x, uint32_t time_step)
{
    const uint64_t parts[3] = {0x737562736574ull, x->recipe->seed, time_step};
    return prn__hash_bytes(parts, sizeof parts).low;
}

prn_status prn__stage_data_open(prn__execution *x, const prn__plan_source *from, uint32_t count, const char *label, prn__stage_data *d, prn_error *error)
{
    const prn__manifest *manifest = x->plan->manifest;
    prn_status status = PRN_OK;
    int joined = count == 1 || from[0].weight == 0;
    for (uint32_t i = 0; i < count; i++) {
        joined = joined && (count == 1 || from[i].max_samples == 0);
    }
    d->x = x;
    d->source_count = joined ? 1 : count;
    d->datasets = prn__alloc_array(d->source_count, sizeof(prn__dataset *));
    d->sources = prn__alloc_array(d->source_count, sizeof *d->sources);
    d->index_losses = prn__alloc_array(d->source_count, sizeof(int64_t *));
    d->recorded_losses = prn__alloc_array(d->source_count, sizeof(int64_t));
    const prn__shard_list **lists = prn__alloc_array(count, sizeof(const prn__shard_list *));
    if (d->datasets == NULL || d->sources == NULL || d->index_losses == NULL || d->recorded_losses == NULL || lists == NULL) {
        status = no_memory(error);
    }
    for (uint32_t i = 0; i < count && status == PRN_OK && from[i].time_step != PRN_SOURCE_REFERENCE; i++) {
        lists[i] = &manifest->steps[from[i].time_step - 1].train;
    }
    for (uint32_t i = 0; i < d->source_count && status == PRN_OK; i++) {
        status = from[i].time_step == PRN_SOURCE_REFERENCE /* which stands alone */
                     ? open_step(x, PRN_SOURCE_REFERENCE, &d->datasets[i], error)
                     : prn__dataset_open(manifest, &lists[i], joined ? count : 1, x->cache, &d->datasets[i], error);
        if (status != PRN_OK) {
            (void)prn_error_context(error, status, "training data of %s", label);
            break;
        }
        int64_t samples = prn__dataset_samples(d->datasets[i]);
        if (samples < 1) {
            status = prn_error_set(error, PRN_CORRUPT, "%s: the training data of %s has no usable sample; `perennial data verify` tells why", manifest->path,
                                   label);
            break;
        }
        d->sources[i].dataset = d->datasets[i];
        d->sources[i].max_samples = from[i].max_samples;
        d->sources[i].subset_seed = subset_seed(x, from[i].time_step);
        if (!joined) {
            int64_t limited = from[i].max_samples > 0 && from[i].max_samples < samples ? from[i].max_samples : samples;
            d->sources[i].weight = from[i].weight > 0 ? from[i].weight : (double)limited;
        }
    }
    prn__free(lists);
    if (status != PRN_OK) {
        prn__stage_data_close(d);
    }
    return status;
}

prn_status prn__stage_data_start(prn__stage_data *d, uint64_t seed, int64_t batch, int64_t first_step, int64_t step_count, prn_error *error)
{
    const prn__recipe *r = d->x->recipe;
    const prn__loader_config config = {
        .sources = d->sources,
        .source_count = d->source_count,
        .tokenizer = d->x->tokenizer,
        .context_length = r->model.text.context_length,
        .image_side = r->model.vision.image_size,
        .batch = batch,
        .seed = seed,
        .shuffle = r->shuffle,
        .with_replacement = r->with_replacement,
        .window = r->window,
        .augment = r->augment,
        .scale_low = r->scale_low,
        .scale_high = r->scale_high,
        .bad_policy = d->x->plan->manifest->bad_policy,
        .threads = r->data_threads,
        .first_step = first_step,
        .step_count = step_count,
    };
    return prn__loader_create(&config, &d->loader, error);
}

void prn__stage_data_stop(prn__stage_data *d)
{
    if (d->loader != NULL) {
        prn__loader_destroy(d->loader);
        d->loader = NULL;
    }
}

void prn__stage_data_close(prn__stage_data *d)
{
    prn__stage_data_stop(d);
    for (uint32_t i = 0; i < d->source_count; i++) {
        if (d->datasets != NULL && d->datasets[i] != NULL) {
            prn__dataset_close(d->datasets[i]);
        }
        if (d->index_losses != NULL) {
            prn__free(d->index_losses[i]);
        }
    }
    prn__free(d->datasets);
    prn__free(d->sources);
    prn__free(d->index_losses);
    prn__free(d->recorded_losses);
    memset(d, 0, sizeof *d);
}
