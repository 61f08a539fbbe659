/* core/cli/command_eval.c: `perennial eval`. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/selection.h"
#include "eval/eval.h"
#include "report/scores_report.h"

typedef struct evaluation {
    prn__cli_model model;
    prn__manifest *manifest;
    prn__tokenizer *tokenizer;
    prn__embedder *embedder;
    prn__scored *scored;
    size_t count;
    int32_t recall_k[PRN__MAX_K];
    size_t recall_count;
} evaluation;

static prn_status read_recall(const prn__arguments *arguments, evaluation *e, prn_error *error)
{
    const char *text = prn__arguments_value(arguments, "recall");
    for (const char *at = text; at != NULL && *at != '\0';) {
        char *end;
        long k = strtol(at, &end, 10);
        if (end == at || (*end != ',' && *end != '\0') || k < 1 || k > 1000000 || e->recall_count == PRN__MAX_K ||
            (e->recall_count > 0 && k <= e->recall_k[e->recall_count - 1])) {
            return prn_error_set(error, PRN_INVALID, "eval: --recall is '%s'; write rising whole numbers, at most %d, such as 1,5,10", text, PRN__MAX_K);
        }
        e->recall_k[e->recall_count++] = (int32_t)k;
        at = *end == ',' ? end + 1 : end;
    }
    return PRN_OK;
}

static prn_status score_sets(prn__cli *cli, const prn__arguments *arguments, evaluation *e, int64_t batch, prn_error *error)
{
    const prn__manifest *m = e->manifest;
    const prn__evaluator_config config = {
        .manifest = m, .tokenizer = e->tokenizer, .batch = batch, .recall_k = e->recall_count > 0 ? e->recall_k : NULL,
        .recall_k_count = e->recall_count,
    };
    size_t wanted = 0;
    for (size_t t = 0; t < m->step_count; t++) {
        for (size_t s = 0; s < m->steps[t].evaluation_count; s++) {
            wanted += prn__selection_has_step(arguments, &m->steps[t]) && prn__selection_has_set(arguments, m->steps[t].evaluations[s].name) ? 1 : 0;
        }
    }
    if (wanted == 0) {
        return prn_error_set(error, PRN_NOT_FOUND, "%s: has no evaluation set%s", m->path,
                             prn__arguments_has(arguments, "time-step") || prn__arguments_has(arguments, "set-name") ? " of this choice" : "");
    }
    e->scored = prn__alloc_array(wanted, sizeof *e->scored);
    if (e->scored == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t t = 0; t < m->step_count; t++) {
        for (size_t s = 0; s < m->steps[t].evaluation_count; s++) {
            const prn__evaluation_set *set = &m->steps[t].evaluations[s];
            prn__scored *scored = &e->scored[e->count];
            char label[256];
            double begin = prn__now_s();
            if (!prn__selection_has_step(arguments, &m->steps[t]) || !prn__selection_has_set(arguments, set->name)) {
                continue;
            }
            (void)snprintf(label, sizeof label, "%s of %s", set->name, m->steps[t].name);
            prn__terminal_work(cli->terminal, "scoring", label, (int64_t)e->count + 1, (int64_t)wanted);
            prn_status status = prn__evaluate_set(e->embedder, &e->model.model->config, &e->model.device, &config, set, &scored->scores, error);
            if (status != PRN_OK) {
                return prn_error_context(error, status, "%s", label);
            }
            scored->time_step = (uint32_t)t + 1;
            scored->step_name = m->steps[t].name;
            scored->task = set->name;
            scored->kind = set->kind;
            scored->seconds = prn__now_s() - begin;
            e->count++;
        }
    }
    return PRN_OK;
}

static prn_status work(prn__cli *cli, const prn__arguments *arguments, evaluation *e, prn_error *error)
{
    const char *folder = prn__arguments_value(arguments, "model");
    char *vocabulary = NULL;
    const int64_t batch = prn__arguments_integer(arguments, "batch", 256);
    int64_t merges;
    prn_status status;
    if ((status = prn__manifest_load(prn__arguments_value(arguments, "data"), &e->manifest, error)) != PRN_OK ||
        (status = prn__selection_check(arguments, e->manifest, 0, error)) != PRN_OK ||
        (status = prn__cli_model_open(cli, arguments, folder, &e->model, error)) != PRN_OK ||
        (status = prn__cli_vocabulary(arguments, e->manifest, folder, &vocabulary, &merges, error)) != PRN_OK) {
        return status;
    }
    status = prn__cli_tokenizer(vocabulary, merges, &e->model.model->config, &e->tokenizer, error);
    prn__free(vocabulary);
    if (status == PRN_OK) {
        status = prn__embedder_create(e->model.model, &e->model.device, batch, &e->embedder, error);
    }
    if (status == PRN_OK) {
        status = prn__embedder_set_weights(e->embedder, e->model.weights, error);
    }
    return status == PRN_OK ? score_sets(cli, arguments, e, batch, error) : status;
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    static const char *const needed[] = {"model", "data"};
    prn_error error = PRN_ERROR_INIT;
    evaluation e;
    prn__text text;
    int code;
    memset(&e, 0, sizeof e);
    if (prn__arguments_require(arguments, needed, sizeof needed / sizeof needed[0], &error) != PRN_OK ||
        read_recall(arguments, &e, &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    if (work(cli, arguments, &e, &error) != PRN_OK) {
        code = prn__cli_fail(cli, &error);
    } else {
        prn__text_init(&text);
        if (prn__arguments_has(arguments, "json")) {
            prn__scored_json(prn__arguments_value(arguments, "model"), e.manifest->path, e.model.device.backend->name, e.scored, e.count, &text);
        } else {
            prn__scored_print(e.scored, e.count, &text);
        }
        code = prn__cli_print(cli, &text);
    }
    prn__free(e.scored);
    if (e.embedder != NULL) {
        prn__embedder_destroy(e.embedder);
    }
    if (e.tokenizer != NULL) {
        prn__tokenizer_close(e.tokenizer);
    }
    prn__cli_model_close(&e.model);
    if (e.manifest != NULL) {
        prn__manifest_destroy(e.manifest);
    }
    return code;
}

static const prn__argument options[] = {
    {"model", "DIR", "folder with open_clip_config.json and open_clip_model.safetensors", 0, 0, 0},
    {"data", "MANIFEST", "the stream whose evaluation sets are scored", 0, 0, 0},
    {"set-name", "NAME", "only this evaluation set (default: all)", 1, 0, 0},
    PRN__ARGUMENT_TIME_STEP,
    {"recall", "LIST", "the k of recall@k, rising (default: 1,5,10)", 0, 0, 0},
    {"batch", "N", "images or texts at a time (default: 256)", 0, 1, 1 << 16},
    PRN__ARGUMENT_VOCABULARY, PRN__ARGUMENT_BACKEND, PRN__ARGUMENT_THREADS, PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};

const prn__command prn__command_eval = {
    .name = "eval",
    .usage = "--model DIR --data MANIFEST [options]",
    .summary = "score a model folder on the evaluation sets of a stream",
    .details = "  perennial eval --model runs/quickstart/stages/KEY --data data/tic-unicode-quickstart/coarse.yaml",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
