/* core/run/storage.c: see storage.h. docs/recipes.md defines the figures. */
#include "run/storage.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"

enum { SHARD_LIMIT = 16 }; /* looked at for each time step: planning stays quick over a million shards */

typedef struct shard_sizes {
    const char *root;
    int64_t count;
    double bytes;
    int failed;
} shard_sizes;

static prn_status add_shard(void *context, const char *item, prn_error *error)
{
    shard_sizes *sizes = context;
    struct stat found;
    char *path = prn__path_join(sizes->root, item);
    (void)error;
    sizes->failed = path == NULL || stat(path, &found) != 0;
    prn__free(path);
    if (sizes->failed) {
        return PRN_END;
    }
    sizes->bytes += (double)found.st_size;
    return ++sizes->count < SHARD_LIMIT ? PRN_OK : PRN_END;
}

/* Mean bytes of a sample of a time step; NaN when its shards are not there. */
static double sample_bytes(const prn__plan *plan, uint32_t time_step, int64_t samples)
{
    const prn__shard_list *list = &plan->manifest->steps[time_step - 1].train;
    prn_error ignored = PRN_ERROR_INIT;
    shard_sizes sizes = {.root = plan->manifest->root};
    (void)prn__brace_expand(list->pattern, INT64_MAX, add_shard, &sizes, &ignored);
    if (sizes.failed || sizes.count == 0 || samples < 1) {
        return NAN;
    }
    return sizes.bytes * ((double)list->shard_count / (double)sizes.count) / (double)samples;
}

/* Samples of each earlier time step that a stage draws from, into held (T). */
static int64_t held_samples(const prn__stage *stage, uint32_t step, int64_t *held, uint32_t step_count)
{
    int64_t total = 0;
    memset(held, 0, step_count * sizeof *held);
    for (uint32_t i = 0; i < stage->source_count + stage->memory_source_count; i++) {
        const prn__plan_source *source = i < stage->source_count ? &stage->sources[i] : &stage->memory_sources[i - stage->source_count];
        if (source->time_step < 1 || source->time_step >= step) {
            continue;
        }
        const int64_t samples = source->max_samples > 0 ? source->max_samples : source->samples;
        if (samples > held[source->time_step - 1]) { /* the same samples serve both batches */
            held[source->time_step - 1] = samples;
        }
    }
    for (uint32_t t = 0; t < step_count; t++) {
        total += held[t];
    }
    return total;
}

static void line_storage(const prn__plan *plan, prn__plan_line *line, const double *bytes_each, int64_t *held)
{
    const double weights = (double)plan->model->elements * 4, moments = (double)plan->model->flat_elements * 8;
    int has_teacher = 0;
    for (uint32_t t = 0; t < plan->step_count; t++) {
        const prn__stage *stage = &plan->stages[line->trunk[t]];
        const int32_t parts[4] = {line->trunk[t], line->trained[t], line->deployed[t], line->trunk_deployed[t]};
        const int64_t total = held_samples(stage, t + 1, held, plan->step_count);
        for (int part = 0; part < 4; part++) {
            const prn__stage *one = parts[part] >= 0 ? &plan->stages[parts[part]] : NULL;
            if (one == NULL || (part > 0 && parts[part] == parts[part - 1]) || (part == 3 && parts[part] == line->trunk[t])) {
                continue;
            }
            const double kept = one->kept_vectors > 0 ? (double)one->kept_vectors * (double)plan->model->flat_elements * 4 : 0;
            line->kept_bytes += kept;
            line->checkpoint_bytes += weights + moments + kept;
        }
        has_teacher |= stage->teacher != PRN_TEACHER_NONE;
        if (total > line->buffer_samples) {
            line->buffer_samples = total;
            line->buffer_bytes = 0;
            for (uint32_t s = 0; s < t; s++) {
                line->buffer_bytes += held[s] > 0 ? (double)held[s] * bytes_each[s] : 0;
            }
        }
    }
    line->memory_factor = has_teacher ? 4.0 / 3.0 : 1.0;
    line->memory_adjusted_flops = 2 * line->total_macs * line->memory_factor;
}

prn_status prn__plan_storage(prn__plan *plan, prn_error *error)
{
    double *bytes_each = prn__alloc_array(plan->step_count, sizeof *bytes_each);
    int64_t *held = prn__alloc_array(plan->step_count, sizeof *held);
    prn_status status = PRN_OK;
    if (bytes_each == NULL || held == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory while planning");
        goto done;
    }
    for (uint32_t t = 0; t < plan->step_count; t++) {
        int64_t samples = plan->manifest->steps[t].train.samples;
        for (uint32_t i = 0; i < plan->stage_count && samples < 0; i++) { /* counted when the plan was made */
            for (uint32_t k = 0; k < plan->stages[i].source_count; k++) {
                const prn__plan_source *source = &plan->stages[i].sources[k];
                samples = source->time_step == t + 1 ? source->samples : samples;
            }
        }
        bytes_each[t] = sample_bytes(plan, t + 1, samples);
    }
    for (size_t s = 0; s < plan->recipe->strategy_count; s++) {
        line_storage(plan, &plan->lines[s], bytes_each, held);
    }
done:
    prn__free(bytes_each);
    prn__free(held);
    return status;
}
