/* core/run/plan_check.c: see plan_check.h. */
#include "run/plan_check.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* `sources` are what `what` names, of time steps first..last. */
static prn_status check_sources(const prn_source *sources, uint32_t count, uint32_t last, int may_be_reference, int has_reference, const char *what,
                                prn_error *error)
{
    uint32_t weighted = 0;
    for (uint32_t i = 0; i < count; i++) {
        const prn_source *source = &sources[i];
        if (source->time_step == PRN_SOURCE_REFERENCE && has_reference) {
            if (count > 1) {
                return prn_error_set(error, PRN_INVALID, "it mixes the reference stream with other %s; it can only stand alone", what);
            }
            continue;
        }
        if (source->time_step == PRN_SOURCE_REFERENCE && may_be_reference) {
            return prn_error_set(error, PRN_INVALID, "it wants the reference stream as %s, and there is none: give the recipe `reference = \"STREAM.yaml\"`",
                                 what);
        }
        if (source->time_step == 0) {
            return prn_error_set(error, PRN_INVALID, "it wants the reference stream, which is time step 0, as %s; it can be had as memory only, and time steps are"
                                 " counted from 1", what);
        }
        if (source->time_step > last) {
            return prn_error_set(error, PRN_INVALID, "it wants the %s of step %u, and only steps 1 to %u have arrived", what, source->time_step, last);
        }
        if (source->max_samples < 0 || !isfinite(source->weight) || source->weight < 0) {
            return prn_error_set(error, PRN_INVALID, "the %s of step %u has the weight %g and the sample limit %" PRId64 "; neither may be negative", what,
                                 source->time_step, source->weight, source->max_samples);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (sources[j].time_step == source->time_step) {
                return prn_error_set(error, PRN_INVALID, "it names the %s of step %u twice", what, source->time_step);
            }
        }
        weighted += source->weight > 0;
    }
    if (weighted != 0 && weighted != count) {
        return prn_error_set(error, PRN_INVALID, "some sources of %s have a weight and some have none; give all of them one, or none", what);
    }
    return PRN_OK;
}

static prn_status check_hooks(const prn__plan *plan, const prn_stage_request *request, uint32_t step, prn_error *error)
{
    const prn__manifest *manifest = plan->manifest;
    if ((request->hooks & ~(PRN_HOOK_TRAIN | PRN_HOOK_FINISH)) != 0 || request->start_from > PRN_WEIGHTS_TRAINED || request->evaluate > PRN_WEIGHTS_TRAINED) {
        return prn_error_set(error, PRN_INVALID, "it asks for what this program does not know (hooks %u, start_from %u, evaluate %u)", request->hooks,
                             request->start_from, request->evaluate);
    }
    if (request->teacher > step) {
        return prn_error_set(error, PRN_INVALID, "its teacher is the model after step %u, which is not there yet at step %u", request->teacher - 1, step);
    }
    if ((request->memory_source_count > 0) != (request->memory_batch > 0) || request->memory_batch < 0 || request->memory_batch == 1 ||
        request->memory_batch > plan->recipe->batch) {
        return prn_error_set(error, PRN_INVALID, "its memory batch has %" PRId64 " samples of %u sources; it must have 2 to %" PRId64 " (the recipe's batch)"
                             " and sources, or neither", request->memory_batch, request->memory_source_count, plan->recipe->batch);
    }
    if ((request->hooks & PRN_HOOK_TRAIN) == 0 && (request->teacher != PRN_TEACHER_NONE || request->memory_batch > 0)) {
        return prn_error_set(error, PRN_INVALID, "it asks for a teacher or a memory batch without PRN_HOOK_TRAIN");
    }
    if (request->finish_gradient_batches < 0 || request->finish_scores < 0 || (request->finish_scores > 0) != (request->finish_set != NULL) ||
        ((request->hooks & PRN_HOOK_FINISH) == 0 && (request->finish_gradient_batches > 0 || request->finish_scores > 0))) {
        return prn_error_set(error, PRN_INVALID, "what it declares of `finish` does not fit together (%" PRId64 " gradient batches, %" PRId64 " scores)",
                             request->finish_gradient_batches, request->finish_scores);
    }
    if (request->kept_vectors < 0 || request->kept_vectors > PRN__KEPT_LIMIT || (request->kept_vectors > 0 && (request->hooks & PRN_HOOK_FINISH) == 0)) {
        return prn_error_set(error, PRN_INVALID, "it declares %" PRId64 " kept vectors%s; `finish` keeps 0 to %d", request->kept_vectors,
                             (request->hooks & PRN_HOOK_FINISH) == 0 ? " without PRN_HOOK_FINISH" : "", PRN__KEPT_LIMIT);
    }
    for (uint32_t t = 0; t < step && request->finish_set != NULL; t++) {
        int found = 0;
        for (size_t e = 0; e < manifest->steps[t].evaluation_count; e++) {
            found |= strcmp(manifest->steps[t].evaluations[e].name, request->finish_set) == 0;
        }
        if (!found) {
            return prn_error_set(error, PRN_NOT_FOUND, "it chooses by the evaluation set '%s', which step '%s' of %s does not have", request->finish_set,
                                 manifest->steps[t].name, manifest->path);
        }
    }
    return check_sources(request->memory_sources, request->memory_source_count, step, 1, plan->reference != NULL, "memory", error);
}

prn_status prn__plan_check_request(const prn__plan *plan, const prn_stage_request *request, uint32_t step, prn_error *error)
{
    const uint32_t capacity = plan->step_count;
    if (request->start_step >= step) {
        return prn_error_set(error, PRN_INVALID, "it wants to start from its weights after step %u, which are not there yet at step %u",
                             request->start_step, step);
    }
    if (request->source_count < 1 || request->source_count > capacity || request->memory_source_count > capacity) {
        return prn_error_set(error, PRN_INVALID, "it names %u sources of data and %u of memory; 1 to %u can be used", request->source_count,
                             request->memory_source_count, capacity);
    }
    prn_status status = check_sources(request->sources, request->source_count, step, 0, 0, "data", error);
    return status == PRN_OK ? check_hooks(plan, request, step, error) : status;
}
