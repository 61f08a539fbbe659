/* core/cli/command_data_verify.c: `perennial data verify`. */
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/selection.h"
#include "report/data_report.h"

typedef struct verification {
    prn__cli *cli;
    prn__arena memory;
    prn__manifest *manifest;
    prn__verified_set *sets;
    size_t count;
    int64_t shown;          /* bad samples listed a set, at most */
    prn__verified_set *now; /* the set under way */
    size_t loss_capacity;
    char label[256];
    int failed;
} verification;

static const char *keep(verification *v, const char *text)
{
    const char *copy = prn__arena_strdup(&v->memory, text);
    v->failed |= copy == NULL;
    return copy != NULL ? copy : "";
}

static void note(void *context, int64_t done, int64_t all)
{
    verification *v = context;
    prn__terminal_work(v->cli->terminal, "checking", v->label, done, all);
}

static void note_bad(void *context, const char *shard, const char *key, prn__loss_reason reason, const char *message)
{
    verification *v = context;
    if ((int64_t)v->now->sample_count < v->shown) {
        v->now->samples[v->now->sample_count++] = (prn__verify_sample){keep(v, shard), keep(v, key), keep(v, message), reason};
    }
}

static void note_loss(void *context, const char *shard, prn__loss_reason reason, int64_t count)
{
    verification *v = context;
    if (v->now->loss_count == v->loss_capacity) {
        size_t wanted = v->loss_capacity == 0 ? 16 : v->loss_capacity * 2;
        prn__verify_loss *grown = prn__realloc(v->now->losses, wanted * sizeof *grown);
        if (grown == NULL) {
            v->failed = 1;
            return;
        }
        v->now->losses = grown;
        v->loss_capacity = wanted;
    }
    v->now->losses[v->now->loss_count++] = (prn__verify_loss){keep(v, shard), reason, count};
}

static prn_status verify_one(verification *v, const char *step, const char *name, const prn__shard_list *list, const char *pattern,
                             const prn__verify_options *rules, prn_error *error)
{
    prn__verify_options options = *rules;
    options.pool = v->cli->pool;
    options.progress = note;
    options.bad = note_bad;
    options.loss = note_loss;
    options.context = v;
    v->now = &v->sets[v->count];
    v->loss_capacity = 0;
    *v->now = (prn__verified_set){.step = step, .set = name, .pattern = pattern, .stated = list != NULL ? list->samples : -1};
    v->now->samples = prn__arena_alloc(&v->memory, (size_t)(v->shown + 1) * sizeof *v->now->samples);
    if (v->now->samples == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    (void)snprintf(v->label, sizeof v->label, "%s%s%s", step != NULL ? step : pattern, step != NULL ? ", " : "", name != NULL ? name : "");
    prn__terminal_work(v->cli->terminal, "checking", v->label, 0, 0);
    v->count++;
    prn_status status = prn__verify_shards(v->manifest, list, &pattern, 1, &options, &v->now->report, error);
    return status == PRN_OK && v->failed ? prn_error_set(error, PRN_NO_MEMORY, "out of memory") : status;
}

static prn_status verify_manifest(verification *v, const prn__arguments *arguments, const char *path, prn_error *error)
{
    size_t capacity = 1;
    prn_status status = prn__manifest_load(path, &v->manifest, error);
    if (status == PRN_OK) {
        status = prn__selection_check(arguments, v->manifest, 1, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    const prn__manifest *m = v->manifest;
    for (size_t t = 0; t < m->step_count; t++) {
        capacity += 1 + m->steps[t].evaluation_count;
    }
    v->sets = prn__arena_alloc(&v->memory, capacity * sizeof *v->sets);
    if (v->sets == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t t = 0; t < m->step_count && status == PRN_OK; t++) {
        const prn__manifest_step *step = &m->steps[t];
        const prn__verify_options pairs = {.needs_caption = 1};
        if (!prn__selection_has_step(arguments, step)) {
            continue;
        }
        if (prn__selection_has_set(arguments, "train")) {
            status = verify_one(v, step->name, "train", &step->train, step->train.pattern, &pairs, error);
        }
        for (size_t e = 0; e < step->evaluation_count && status == PRN_OK; e++) {
            const prn__evaluation_set *set = &step->evaluations[e];
            const prn__verify_options classes = {.needs_class = 1, .class_count = (int64_t)m->class_count};
            if (prn__selection_has_set(arguments, set->name)) {
                status = verify_one(v, step->name, set->name, &set->shards, set->shards.pattern,
                                    set->kind == PRN__TASK_CLASSIFICATION ? &classes : &pairs, error);
            }
        }
    }
    return status;
}

static prn_status verify_patterns(verification *v, const prn__arguments *arguments, prn_error *error)
{
    const prn__verify_options pairs = {.needs_caption = 1};
    const size_t count = prn__arguments_count(arguments);
    prn_status status = PRN_OK;
    if (prn__arguments_has(arguments, "time-step") || prn__arguments_has(arguments, "set-name")) {
        return prn_error_set(error, PRN_INVALID, "data verify: --time-step and --set-name choose from a manifest (.yaml)");
    }
    v->sets = prn__arena_alloc(&v->memory, (count + 1) * sizeof *v->sets);
    if (v->sets == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        status = verify_one(v, NULL, NULL, NULL, prn__arguments_at(arguments, i), &pairs, error);
    }
    return status;
}

static int report(prn__cli *cli, const prn__arguments *arguments, const verification *v, double seconds)
{
    prn__text text;
    int is_bad = 0;
    for (size_t i = 0; i < v->count; i++) {
        is_bad |= prn__verified_is_bad(&v->sets[i]);
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__data_verify_json(v->sets, v->count, seconds, &text);
    } else {
        prn__data_verify_print(v->sets, v->count, seconds, &text);
    }
    int code = prn__cli_print(cli, &text);
    return code == PRN__EXIT_DONE && is_bad ? PRN__EXIT_FAILED : code;
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    verification v;
    double begin = prn__now_s();
    const char *first = prn__arguments_at(arguments, 0);
    memset(&v, 0, sizeof v);
    v.cli = cli;
    v.shown = prn__arguments_integer(arguments, "count", 20);
    prn__arena_init(&v.memory, 1 << 14);
    prn_status status = prn__cli_open_threads(cli, arguments, &error);
    if (status == PRN_OK) {
        status = prn__cli_is_manifest(first) && prn__arguments_count(arguments) == 1 ? verify_manifest(&v, arguments, first, &error)
                                                                                     : verify_patterns(&v, arguments, &error);
    }
    int code = status == PRN_OK ? report(cli, arguments, &v, prn__now_s() - begin) : prn__cli_fail(cli, &error);
    for (size_t i = 0; i < v.count; i++) {
        prn__free(v.sets[i].losses);
    }
    if (v.manifest != NULL) {
        prn__manifest_destroy(v.manifest);
    }
    prn__arena_fini(&v.memory);
    return code;
}

static const prn__argument options[] = {
    {"count", "N", "bad samples to list of each set (default: 20)", 0, 0, 100000},
    PRN__ARGUMENT_TIME_STEP,
    {"set-name", "NAME", "only \"train\" or this evaluation set (default: all)", 1, 0, 0},
    PRN__ARGUMENT_THREADS, PRN__ARGUMENT_JSON,
};

const prn__command prn__command_data_verify = {
    .name = "data verify",
    .usage = "MANIFEST_OR_SHARDS... [options]",
    .summary = "open every shard, decode every image, compare counts and checksums",
    .details = "Losses are counted as a run would count them. Exit code 1 when anything is wrong.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = -1,
    .run = run,
};
