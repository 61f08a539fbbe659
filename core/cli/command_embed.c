/* core/cli/command_embed.c: `perennial embed`. */
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/selection.h"
#include "eval/embed.h"
#include "report/json.h"
#include "report/table.h"

typedef struct embedding {
    prn__cli_model model;
    prn__manifest *manifest; /* NULL for plain shards */
    prn__dataset *dataset;
    prn__tokenizer *tokenizer;
    prn__embedder *embedder;
    prn__embeddings result;
} embedding;

/* The sets chosen, in time order; without --set-name the training data. */
static prn_status open_manifest(embedding *e, const prn__arguments *arguments, const char *path, prn_error *error)
{
    const prn__shard_list **lists = NULL;
    size_t count = 0, capacity = 1;
    prn_status status = prn__manifest_load(path, &e->manifest, error);
    if (status == PRN_OK) {
        status = prn__selection_check(arguments, e->manifest, 1, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    for (size_t t = 0; t < e->manifest->step_count; t++) {
        capacity += 1 + e->manifest->steps[t].evaluation_count;
    }
    lists = prn__alloc_array(capacity, sizeof *lists);
    if (lists == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    int is_set_given = prn__arguments_has(arguments, "set-name");
    for (size_t t = 0; t < e->manifest->step_count; t++) {
        const prn__manifest_step *step = &e->manifest->steps[t];
        if (!prn__selection_has_step(arguments, step)) {
            continue;
        }
        if (prn__selection_has_set(arguments, "train")) {
            lists[count++] = &step->train;
        }
        for (size_t s = 0; s < step->evaluation_count && is_set_given; s++) {
            if (prn__selection_has_set(arguments, step->evaluations[s].name)) {
                lists[count++] = &step->evaluations[s].shards;
            }
        }
    }
    status = count > 0 ? prn__dataset_open(e->manifest, lists, count, NULL, &e->dataset, error)
                       : prn_error_set(error, PRN_NOT_FOUND, "%s: the time steps chosen have no such set", path);
    prn__free((void *)lists);
    return status;
}

static prn_status open_data(embedding *e, const prn__arguments *arguments, prn_error *error)
{
    enum { MAX_PATTERNS = 4096 };
    const char *first = prn__arguments_value(arguments, "data");
    size_t count = 0;
    if (prn__cli_is_manifest(first) && prn__arguments_each(arguments, "data", 1) == NULL) {
        return open_manifest(e, arguments, first, error);
    }
    if (prn__arguments_has(arguments, "time-step") || prn__arguments_has(arguments, "set-name")) {
        return prn_error_set(error, PRN_INVALID, "embed: --time-step and --set-name choose from a manifest; --data names shards");
    }
    while (prn__arguments_each(arguments, "data", count) != NULL) {
        count++;
    }
    const char **patterns = prn__alloc_array(count, sizeof *patterns);
    if (patterns == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        patterns[i] = prn__arguments_each(arguments, "data", i);
    }
    prn_status status = prn__dataset_open_paths(patterns, count, NULL, &e->dataset, error);
    prn__free((void *)patterns);
    return status;
}

static void note(void *context, int64_t done, int64_t all)
{
    prn__terminal_work(context, "embedding", "samples", done, all);
}

static prn_status work(prn__cli *cli, const prn__arguments *arguments, embedding *e, prn_error *error)
{
    const char *folder = prn__arguments_value(arguments, "model");
    const int64_t batch = prn__arguments_integer(arguments, "batch", 128);
    int64_t merges;
    char *vocabulary = NULL;
    prn_status status;
    if ((status = open_data(e, arguments, error)) != PRN_OK || (status = prn__cli_model_open(cli, arguments, folder, &e->model, error)) != PRN_OK ||
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
    if (status == PRN_OK) {
        const prn__embed_options options = {
            .tokenizer = e->tokenizer, .batch = batch, .bad_policy = e->manifest != NULL ? e->manifest->bad_policy : PRN__BAD_SKIP,
            .progress = note, .context = cli->terminal,
        };
        status = prn__embed_dataset(e->embedder, &e->model.model->config, e->dataset, &options, &e->result, error);
    }
    if (status == PRN_OK) {
        status = prn__embeddings_save(&e->result, e->model.model->config.name, prn__arguments_value(arguments, "out"), error);
    }
    return status;
}

static int report(prn__cli *cli, const prn__arguments *arguments, const embedding *e, double seconds)
{
    const char *out = prn__arguments_value(arguments, "out");
    char a[32], b[32], c[32];
    prn__text text;
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__json json = {0};
        json_t *root = prn__json_object(&json, NULL, NULL);
        prn__json_string(&json, root, "out", out);
        prn__json_integer(&json, root, "samples", e->result.count);
        prn__json_integer(&json, root, "skipped", e->result.skipped);
        prn__json_integer(&json, root, "embed_dim", e->result.embed_dim);
        prn__json_string(&json, root, "backend", e->model.device.backend->name);
        prn__json_real(&json, root, "seconds", seconds);
        prn__json_finish(&json, root, &text);
    } else {
        prn__text_printf(&text, "%s: %s samples, embeddings of %" PRId64 " numbers, %s skipped, in %s\n", out,
                         prn__format_count(e->result.count, a, sizeof a), e->result.embed_dim, prn__format_count(e->result.skipped, b, sizeof b),
                         prn__format_duration(seconds, c, sizeof c));
    }
    return prn__cli_print(cli, &text);
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    static const char *const needed[] = {"model", "data", "out"};
    prn_error error = PRN_ERROR_INIT;
    embedding e;
    double begin = prn__now_s();
    memset(&e, 0, sizeof e);
    if (prn__arguments_require(arguments, needed, sizeof needed / sizeof needed[0], &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    prn_status status = work(cli, arguments, &e, &error);
    int code = status == PRN_OK ? report(cli, arguments, &e, prn__now_s() - begin) : prn__cli_fail(cli, &error);
    prn__embeddings_fini(&e.result);
    if (e.embedder != NULL) {
        prn__embedder_destroy(e.embedder);
    }
    if (e.tokenizer != NULL) {
        prn__tokenizer_close(e.tokenizer);
    }
    prn__cli_model_close(&e.model);
    prn__dataset_close(e.dataset);
    if (e.manifest != NULL) {
        prn__manifest_destroy(e.manifest);
    }
    return code;
}

static const prn__argument options[] = {
    {"model", "DIR", "folder with open_clip_config.json and open_clip_model.safetensors", 0, 0, 0},
    {"data", "DATA", "a stream's manifest (.yaml), or tar shards, brace ranges allowed", 1, 0, 0},
    {"out", "FILE", "where the embeddings go, a safetensors file", 0, 0, 0},
    PRN__ARGUMENT_VOCABULARY,
    {"batch", "N", "samples at a time (default: 128)", 0, 1, 1 << 16},
    {"set-name", "NAME", "with a manifest: \"train\" (the default) or an evaluation set", 1, 0, 0},
    PRN__ARGUMENT_TIME_STEP, PRN__ARGUMENT_BACKEND, PRN__ARGUMENT_THREADS, PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};

const prn__command prn__command_embed = {
    .name = "embed",
    .usage = "--model DIR --data SHARDS_OR_MANIFEST --out FILE [options]",
    .summary = "write the embeddings of images and captions to a safetensors file",
    .details = "The file holds image_embeddings and text_embeddings, (n, E) fp32, L2-normalised, in the order of the shards. The keys\n"
               "of the samples, in the same order, are a JSON array in its metadata under \"keys\" (beyond 8 MiB: in the U8 tensor\n"
               "keys_json). Damaged samples are left out and counted; a sample without a caption gets the embedding of \"\".\n"
               "\n"
               "  perennial embed --model DIR --data 'shards/{0000..0007}.tar' --out emb.safetensors",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
