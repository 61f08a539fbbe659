/* core/run/scoring.c: scores a stage's model on every time step's evaluation sets.
 *
 * A score is a function of (stage, set): the ledger keeps each once, under the stage's key and the set's. The set's key
 * holds its data's digest and everything that the score depends on beside the model. So strategies that share a stage, and
 * recipes that share a workspace, share its scores.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/pool.h"
#include "run/stage_data.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while scoring");
}

static int is_wanted(const prn__recipe *recipe, const char *name)
{
    if (recipe->evaluate == NULL) {
        return 1;
    }
    for (size_t i = 0; i < recipe->evaluate_count; i++) {
        if (strcmp(recipe->evaluate[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

prn_status prn__set_digest(prn__execution *x, uint32_t time_step, const prn__evaluation_set *set, char digest[33], prn_error *error)
{
    const prn__manifest *manifest = x->plan->manifest;
    const prn__shard_list *list = &set->shards;
    const char *step = manifest->steps[time_step - 1].name;
    prn__dataset *dataset = NULL;
    for (const prn__known_set *known = x->known_sets; known != NULL; known = known->next) {
        if (known->set == set) {
            memcpy(digest, known->digest, 33);
            return PRN_OK;
        }
    }
    prn_status status = prn__dataset_open(manifest, &list, 1, x->cache, &dataset, error);
    if (status == PRN_OK && (status = prn__data_complete(dataset, error)) == PRN_OK) {
        status = prn__dataset_digest(dataset, digest, error);
    }
    if (dataset != NULL) {
        prn__dataset_close(dataset);
    }
    if (status != PRN_OK) {
        return prn_error_context(error, status, "%s: evaluation set '%s' of step '%s'", manifest->path, set->name, step);
    }
    if (list->checksum != NULL && strcasecmp(list->checksum, digest) != 0) {
        return prn_error_set(error, PRN_CORRUPT, "%s: evaluation set '%s' of step '%s' states the checksum %s, and its shards have %s: they were changed or"
                             " damaged; get them again, or correct the manifest", manifest->path, set->name, step, list->checksum, digest);
    }
    prn__known_set *known = prn__arena_alloc(&x->memory, sizeof *known);
    if (known == NULL) {
        return no_memory(error);
    }
    known->set = set;
    memcpy(known->digest, digest, 33);
    known->next = x->known_sets;
    x->known_sets = known;
    return PRN_OK;
}

static prn_status set_key(prn__execution *x, prn__scored_set *scored, prn_error *error)
{
    const prn__manifest *manifest = x->plan->manifest;
    char digest[33], number[24];
    prn_status status = prn__set_digest(x, scored->time_step, scored->set, digest, error);
    if (status != PRN_OK) {
        return status;
    }
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return no_memory(error);
    }
    prn__hasher_field(hasher, "data", digest);
    if (scored->set->kind == PRN__TASK_RETRIEVAL) {
        prn__hasher_field(hasher, "kind", "retrieval");
        for (size_t i = 0; i < x->recipe->recall_k_count; i++) {
            (void)snprintf(number, sizeof number, "%" PRId32, x->recipe->recall_k[i]);
            prn__hasher_field(hasher, "k", number);
        }
    } else {
        prn__hasher_field(hasher, "kind", "classification");
        for (size_t i = 0; i < manifest->class_count; i++) {
            prn__hasher_field(hasher, "class", manifest->classes[i]);
        }
        for (size_t i = 0; i < manifest->template_count; i++) {
            prn__hasher_field(hasher, "template", manifest->templates[i]);
        }
    }
    prn__digest_format(prn__hasher_digest(hasher), scored->key);
    prn__hasher_destroy(hasher);
    return PRN_OK;
}

prn_status prn__scores_missing(prn__execution *x, const prn__stage *stage, int64_t *missing, prn_error *error)
{
    prn_status status = PRN_OK;
    *missing = 0;
    for (size_t i = 0; i < x->set_count && status == PRN_OK; i++) {
        int known = 0;
        status = prn__ledger_has_scores(x->ledger, stage->key, x->sets[i].key, &known, error);
        *missing += !known;
    }
    return status;
}

prn_status prn__scoring_prepare(prn__execution *x, prn_error *error)
{
    const prn__manifest *manifest = x->plan->manifest;
    prn_status status = PRN_OK;
    size_t capacity = 0;
    for (size_t t = 0; t < manifest->step_count; t++) {
        capacity += manifest->steps[t].evaluation_count;
    }
    x->sets = prn__arena_alloc(&x->memory, (capacity + 1) * sizeof *x->sets);
    if (x->sets == NULL) {
        return no_memory(error);
    }
    for (size_t t = 0; t < manifest->step_count; t++) {
        prn__progress progress = {.phase = "index", .label = manifest->steps[t].name, .time_step = (uint32_t)t + 1};
        prn__execution_report(x, &progress, NULL);
        for (size_t e = 0; e < manifest->steps[t].evaluation_count; e++) {
            prn__scored_set *scored = &x->sets[x->set_count];
            scored->time_step = (uint32_t)t + 1;
            scored->set = &manifest->steps[t].evaluations[e];
            if (is_wanted(x->recipe, scored->set->name)) {
                if ((status = set_key(x, scored, error)) != PRN_OK) {
                    return status;
                }
                x->set_count++;
            }
        }
    }
    if (x->set_count == 0) {
        prn__log(PRN_LOG_WARNING, "%s has no evaluation set: models will be trained and not scored", manifest->path);
    }
    status = prn__ledger_begin(x->ledger, error);
    for (size_t i = 0; i < x->set_count && status == PRN_OK; i++) {
        status = prn__ledger_task(x->ledger, x->run, x->sets[i].time_step, x->sets[i].set->name, x->sets[i].set->kind, x->sets[i].key, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(x->ledger, error);
    }
    prn__ledger_rollback(x->ledger);
    return status;
}

static prn_status embedder_ready(prn__execution *x, int32_t stage, prn_error *error)
{
    prn_status status = PRN_OK;
    if (x->loaded_stage != stage) {
        status = prn__finished_load(x, stage, 0, error);
    }
    if (status == PRN_OK && x->embedder == NULL) {
        status = prn__embedder_create(x->plan->model, &x->device, x->recipe->eval_batch, &x->embedder, error);
    }
    if (status == PRN_OK) {
        status = prn__embedder_set_weights(x->embedder, x->state.weights, error);
    }
    return status;
}

static prn__evaluator_config evaluator_config(const prn__execution *x)
{
    return (prn__evaluator_config){
        .manifest = x->plan->manifest,
        .tokenizer = x->tokenizer,
        .cache = x->cache,
        .batch = x->recipe->eval_batch,
        .threads = x->recipe->data_threads,
        .recall_k = x->recipe->recall_k,
        .recall_k_count = x->recipe->recall_k_count,
    };
}

prn_status prn__set_score(prn__execution *x, const float *weights, uint32_t time_step, const char *set, double *score, prn_error *error)
{
    const prn__manifest_step *step = &x->plan->manifest->steps[time_step - 1];
    const prn__evaluator_config config = evaluator_config(x);
    const prn__evaluation_set *found = NULL;
    prn__scores scores;
    memset(&scores, 0, sizeof scores);
    for (size_t i = 0; i < step->evaluation_count; i++) {
        found = strcmp(step->evaluations[i].name, set) == 0 ? &step->evaluations[i] : found;
    }
    if (found == NULL) {
        return prn_error_set(error, PRN_NOT_FOUND, "%s: step '%s' has no evaluation set '%s'", x->plan->manifest->path, step->name, set);
    }
    if (prn__execution_stop(x)) {
        return prn_error_set(error, PRN_INTERRUPTED, "stopped; the same command goes on from there");
    }
    prn_status status = x->embedder == NULL ? prn__embedder_create(x->plan->model, &x->device, x->recipe->eval_batch, &x->embedder, error) : PRN_OK;
    if (status == PRN_OK) {
        status = prn__embedder_set_weights(x->embedder, weights, error);
    }
    if (status == PRN_OK) {
        status = prn__evaluate_set(x->embedder, &x->recipe->model, &x->device, &config, found, &scores, error);
    }
    *score = status == PRN_OK ? scores.score[0].value : 0;
    return status;
}

static prn_status stopped(const char *label, prn_error *error)
{
    return prn_error_set(error, PRN_INTERRUPTED, "stopped while scoring %s; the same command goes on from there", label);
}

prn_status prn__stage_score(prn__execution *x, int32_t index, prn_error *error)
{
    const prn__stage *stage = &x->plan->stages[index];
    const prn__evaluator_config config = evaluator_config(x);
    char label[256], where[384];
    int64_t missing, done = 0;
    prn_status status = prn__scores_missing(x, stage, &missing, error);
    if (status != PRN_OK || missing == 0) {
        return status;
    }
    (void)prn__stage_label(x->plan, stage, label, sizeof label);
    if ((status = embedder_ready(x, index, error)) != PRN_OK) {
        return prn_error_context(error, status, "scoring %s", label);
    }
    for (size_t i = 0; i < x->set_count; i++) {
        const prn__scored_set *scored = &x->sets[i];
        int known = 0;
        prn__scores scores;
        memset(&scores, 0, sizeof scores);
        if ((status = prn__ledger_has_scores(x->ledger, stage->key, scored->key, &known, error)) != PRN_OK) {
            return status;
        }
        if (known) {
            continue;
        }
        if (prn__execution_stop(x)) {
            return stopped(label, error);
        }
        const char *step = x->plan->manifest->steps[scored->time_step - 1].name;
        (void)snprintf(where, sizeof where, "%s of %s, %s", scored->set->name, step, label);
        double begin = prn__now_s();
        status = prn__evaluate_set(x->embedder, &x->recipe->model, &x->device, &config, scored->set, &scores, error);
        if (status != PRN_OK) {
            return status == PRN_INTERRUPTED ? stopped(label, error)
                                             : prn_error_context(error, status, "scoring '%s' of step '%s' for %s", scored->set->name, step, label);
        }
        double seconds = prn__now_s() - begin;
        if ((status = prn__ledger_scores(x->ledger, stage->key, scored->key, &scores, seconds, error)) != PRN_OK) {
            return status;
        }
        done++;
        x->evaluations_done++;
        x->evaluations_left--;
        x->evaluation_seconds += seconds;
        prn__progress progress = {
            .phase = "evaluate",
            .label = where,
            .stage = (uint32_t)index + 1,
            .step = done,
            .steps = missing,
            .loss = NAN,
            .learning_rate = NAN,
            .samples_per_s = seconds > 0 ? (double)scores.images / seconds : NAN,
            .data_wait_frac = NAN,
            .remaining_s = (double)x->samples_left / (double)x->recipe->batch * x->step_seconds +
                           x->evaluation_seconds / (double)x->evaluations_done * (double)x->evaluations_left,
        };
        prn__execution_report(x, &progress, stage);
    }
    return PRN_OK;
}
