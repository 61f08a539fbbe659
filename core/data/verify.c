/* core/data/verify.c: see verify.h. Samples are judged in chunks by all threads; what is wrong with a bad one is then asked again
 * in order, so that messages come in the data set's order. */
#include "data/verify.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "data/image.h"

enum { CHUNK = 2048, IS_GOOD = -1, IS_STUCK = -2 };

typedef struct check {
    prn__dataset *dataset;
    const prn__verify_options *options;
    const int64_t *shard_samples;
    int64_t shards;
    int64_t *starts;     /* (shards + 1) sample number of each shard's first */
    prn__image *images;  /* one a worker */
    uint32_t workers;
    int64_t first;       /* of the chunk */
    int8_t *verdict;     /* (CHUNK) a prn__loss_reason, IS_GOOD, or IS_STUCK when the check itself failed */
} check;

/* The shard that holds sample `number`. */
static int64_t shard_of(const check *c, int64_t number)
{
    int64_t low = 0, high = c->shards;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (c->starts[middle] <= number) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* IS_GOOD, a reason, or IS_STUCK with the error set. `key` (may be NULL) gets the sample's key. */
static int judge(const check *c, int64_t number, prn__image *image, char *key, size_t key_bytes, prn_error *error)
{
    const prn__verify_options *o = c->options;
    const int64_t shard = shard_of(c, number);
    prn__sample sample;
    prn__sample_hold hold;
    prn_status status = prn__dataset_sample(c->dataset, shard, number - c->starts[shard], &sample, &hold, error);
    if (status != PRN_OK) {
        return status == PRN_CORRUPT ? PRN__LOSS_BAD_METADATA : status == PRN_UNSUPPORTED ? PRN__LOSS_IMAGE_DIMENSIONS : IS_STUCK;
    }
    int verdict = IS_GOOD;
    if (key != NULL) {
        (void)snprintf(key, key_bytes, "%.*s", (int)sample.key_length, sample.key);
    }
    if (o->needs_caption && sample.caption == NULL) {
        verdict = PRN__LOSS_NO_CAPTION;
        (void)prn_error_set(error, PRN_CORRUPT, "has no caption");
    } else if (o->needs_class && (sample.class_index < 0 || sample.class_index >= o->class_count)) {
        verdict = PRN__LOSS_BAD_METADATA;
        (void)prn_error_set(error, PRN_CORRUPT, sample.class_index < 0 ? "has no class" : "has class %d of 0 .. %" PRId64, sample.class_index,
                            o->class_count - 1);
    } else {
        status = prn__image_decode(sample.image, sample.image_bytes, image, error);
        if (status != PRN_OK) { /* the loader's rule */
            verdict = status == PRN_NO_MEMORY ? IS_STUCK : status == PRN_INVALID ? PRN__LOSS_IMAGE_DIMENSIONS : PRN__LOSS_IMAGE_DECODE;
        }
    }
    prn__sample_release(c->dataset, &hold);
    return verdict;
}

static void judge_task(void *context, int64_t index, uint32_t worker)
{
    check *c = context;
    prn_error ignored = PRN_ERROR_INIT;
    c->verdict[index] = (int8_t)judge(c, c->first + index, &c->images[worker], NULL, 0, &ignored);
}

static prn_status report_bad(check *c, int64_t number, prn__verify_report *report, prn_error *error)
{
    char key[256] = "";
    prn_error message = PRN_ERROR_INIT;
    const int64_t shard = shard_of(c, number);
    int verdict = judge(c, number, &c->images[0], key, sizeof key, &message);
    if (verdict == IS_STUCK) {
        return message.status == PRN_NO_MEMORY
                   ? prn_error_set(error, PRN_NO_MEMORY, "%s", message.message)
                   : prn_error_set(&report->problem, (prn_status)message.status, "%s", message.message);
    }
    if (verdict != IS_GOOD) {
        prn__dataset_count_loss(c->dataset, shard, (prn__loss_reason)verdict, 1);
        if (c->options->bad != NULL) {
            c->options->bad(c->options->context, prn__dataset_shard_path(c->dataset, shard), key, (prn__loss_reason)verdict, message.message);
        }
    }
    return PRN_OK;
}

static prn_status check_samples(check *c, prn__verify_report *report, prn_error *error)
{
    const int64_t all = c->starts[c->shards];
    for (c->first = 0; c->first < all; c->first += CHUNK) {
        int64_t count = all - c->first < CHUNK ? all - c->first : CHUNK;
        prn__pool_for(c->options->pool, count, judge_task, c);
        for (int64_t i = 0; i < count; i++) {
            prn_status status = PRN_OK;
            if (c->verdict[i] == IS_GOOD) {
                report->good++;
            } else {
                status = report_bad(c, c->first + i, report, error);
            }
            if (status != PRN_OK) {
                return status;
            }
        }
        if (c->options->progress != NULL) {
            c->options->progress(c->options->context, c->first + count, all);
        }
    }
    return PRN_OK;
}

static void report_losses(const check *c, prn__verify_report *report)
{
    for (int64_t s = 0; s < c->shards; s++) {
        for (int r = 0; r < PRN__LOSS_COUNT; r++) {
            int64_t lost = prn__dataset_losses(c->dataset, s, (prn__loss_reason)r);
            report->losses[r] += lost;
            report->lost += lost;
            if (lost > 0 && c->options->loss != NULL) {
                c->options->loss(c->options->context, prn__dataset_shard_path(c->dataset, s), (prn__loss_reason)r, lost);
            }
        }
    }
}

static void compare_checksum(const check *c, const prn__shard_list *list, prn__verify_report *report)
{
    prn_error error = PRN_ERROR_INIT;
    prn_status status = prn__dataset_digest(c->dataset, report->digest, &error);
    if (status != PRN_OK || report->losses[PRN__LOSS_SHARD_MISSING] > 0) { /* no checksum of half a list: it could end up in a manifest */
        report->digest[0] = '\0';
        report->checksum = list != NULL && list->checksum != NULL ? PRN__CHECKSUM_DIFFERS : PRN__CHECKSUM_NOT_STATED;
    } else if (list != NULL && list->checksum != NULL) {
        report->checksum = strcmp(list->checksum, report->digest) == 0 ? PRN__CHECKSUM_EQUAL : PRN__CHECKSUM_DIFFERS;
    }
}

static void check_fini(check *c)
{
    for (uint32_t w = 0; c->images != NULL && w < c->workers; w++) {
        prn__image_fini(&c->images[w]);
    }
    prn__free(c->images);
    prn__free(c->starts);
    prn__free(c->verdict);
    prn__dataset_close(c->dataset);
}

prn_status prn__verify_shards(const prn__manifest *manifest, const prn__shard_list *list, const char *const *patterns, size_t pattern_count,
                              const prn__verify_options *options, prn__verify_report *report, prn_error *error)
{
    check c = {.options = options, .workers = prn__pool_threads(options->pool)};
    memset(report, 0, sizeof *report);
    report->problem.struct_size = (uint32_t)sizeof report->problem;
    prn_status status = manifest != NULL ? prn__dataset_open(manifest, &list, 1, NULL, &c.dataset, &report->problem)
                                         : prn__dataset_open_paths(patterns, pattern_count, NULL, &c.dataset, &report->problem);
    if (status != PRN_OK) {
        report->problem.status = (int32_t)status;
        return status == PRN_NO_MEMORY ? prn_error_set(error, status, "%s", report->problem.message) : PRN_OK;
    }
    c.shards = report->shards = prn__dataset_shards(c.dataset);
    report->samples = prn__dataset_samples(c.dataset);
    c.shard_samples = prn__dataset_shard_samples(c.dataset);
    c.starts = prn__alloc_array((size_t)c.shards + 1, sizeof *c.starts);
    c.images = prn__alloc_array(c.workers, sizeof *c.images);
    c.verdict = prn__alloc(CHUNK);
    if (c.starts == NULL || c.images == NULL || c.verdict == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory while checking %" PRId64 " shards", c.shards);
        goto done;
    }
    for (int64_t s = 0; s < c.shards; s++) {
        c.starts[s + 1] = c.starts[s] + c.shard_samples[s];
    }
    status = check_samples(&c, report, error);
    if (status != PRN_OK && report->problem.status == (int32_t)status) { /* a shard that cannot be read on: the data's fault */
        status = PRN_OK;
    }
    if (status == PRN_OK) {
        report_losses(&c, report);
        compare_checksum(&c, list, report);
    }
done:
    check_fini(&c);
    return status;
}
