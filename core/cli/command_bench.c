/* core/cli/command_bench.c: `perennial bench train`, `bench embed`, `bench data` and `bench ops`. */
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "bench/bench.h"
#include "cli/cli.h"
#include "report/json.h"
#include "report/table.h"

typedef enum kind { TRAIN, EMBED, DATA, OPS } kind;
static const char *const kind_names[] = {"train", "embed", "data", "ops"};

static void note(void *context, const char *what, int64_t done, int64_t all)
{
    prn__terminal_work(context, what, "parts", done, all);
}

static prn__bench_options options_of(prn__cli *cli, const prn__arguments *a)
{
    const int64_t tokens = prn__arguments_integer(a, "tokens", 0);
    return (prn__bench_options){
        .batch = prn__arguments_integer(a, "batch", 32),
        .micro_batch = prn__arguments_integer(a, "micro-batch", 0),
        .caption_low = tokens > 0 ? tokens : 10,
        .caption_high = tokens > 0 ? tokens : 20,
        .steps = prn__arguments_integer(a, "steps", 0),
        .repeats = (int)prn__arguments_integer(a, "repeats", 5),
        .checkpointing = prn__arguments_has(a, "checkpointing") ? PRN__CHECKPOINT_BLOCKS
                         : prn__arguments_has(a, "towers")      ? PRN__CHECKPOINT_TOWERS
                         : prn__arguments_has(a, "selective")   ? PRN__CHECKPOINT_SELECTIVE
                                                                : PRN__CHECKPOINT_NONE,
        .bf16_moments = prn__arguments_has(a, "bf16-moments"),
        .progress = note,
        .progress_context = cli->terminal,
    };
}

static void put_rate(prn__json *json, json_t *object, const char *name, const prn__rate *rate)
{
    char key[64];
    prn__json_real(json, object, name, rate->median);
    (void)snprintf(key, sizeof key, "%s_least", name);
    prn__json_real(json, object, key, rate->least);
    (void)snprintf(key, sizeof key, "%s_most", name);
    prn__json_real(json, object, key, rate->most);
}

static void print_json(kind what, const char *model, const char *backend, const prn__bench_options *o, const prn__bench_result *r, prn__text *text)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "bench", kind_names[what]);
    prn__json_string(&json, root, "model", model);
    prn__json_string(&json, root, "backend", backend);
    prn__json_integer(&json, root, "batch", o->batch);
    prn__json_real(&json, root, "tokens", r->tokens);
    prn__json_integer(&json, root, "repeats", o->repeats);
    put_rate(&json, root, what == EMBED ? "images_per_s" : "samples_per_s", &r->samples_per_s);
    if (what == EMBED) {
        put_rate(&json, root, "texts_per_s", &r->texts_per_s);
    }
    prn__json_real(&json, root, "step_s", r->step_s);
    if (what != DATA) {
        prn__json_real(&json, root, "gflops", r->gflops);
        prn__json_real(&json, root, "sgemm_peak_gflops", r->sgemm_peak_gflops);
        prn__json_integer(&json, root, "peak_bytes", r->peak_bytes);
        prn__json_integer(&json, root, "device_used_bytes", r->device_used_bytes);
    } else {
        prn__json_real(&json, root, "image_bytes", r->image_bytes);
        prn__json_real(&json, root, "cpu_ms_per_sample", r->cpu_ms);
    }
    prn__json_integer(&json, root, "process_peak_bytes", r->process_peak_bytes);
    json_t *ops = prn__json_array(&json, root, "ops");
    for (size_t i = 0; i < r->op_count; i++) {
        json_t *op = prn__json_object(&json, ops, NULL);
        prn__json_string(&json, op, "name", r->ops[i].name);
        prn__json_integer(&json, op, "calls", (int64_t)r->ops[i].calls);
        prn__json_real(&json, op, "seconds", r->ops[i].seconds);
        prn__json_real(&json, op, "share", r->ops[i].share);
    }
    prn__json_finish(&json, root, text);
}

static void print_text(kind what, const char *model, const char *backend, const prn__bench_options *o, const prn__bench_result *r, prn__text *text)
{
    char bytes[32], peak[32];
    prn__text_printf(text, "%s, batch %" PRId64 "%s%s, captions of %.1f tokens\n", model, o->batch, backend != NULL ? ", backend " : "",
                     backend != NULL ? backend : "", r->tokens);
    prn__text_printf(text, "  %-10s %10.1f a second (%.1f to %.1f in %d repeats)\n", what == EMBED ? "images" : "samples", r->samples_per_s.median,
                     r->samples_per_s.least, r->samples_per_s.most, o->repeats);
    if (what == EMBED) {
        prn__text_printf(text, "  %-10s %10.1f a second (%.1f to %.1f)\n", "texts", r->texts_per_s.median, r->texts_per_s.least, r->texts_per_s.most);
    }
    if (what != DATA) {
        prn__text_printf(text, "  %-10s %10.1f GFLOP/s, %.0f %% of the %.1f that this machine's matrix product reaches\n", "work", r->gflops,
                         100 * r->gflops / r->sgemm_peak_gflops, r->sgemm_peak_gflops);
        prn__text_printf(text, "  %-10s %10s for the model, %s the whole process at most\n", "memory", prn__format_bytes((double)r->peak_bytes, bytes, sizeof bytes),
                         prn__format_bytes((double)r->process_peak_bytes, peak, sizeof peak));
    } else {
        prn__text_printf(text, "  %-10s %10.3f ms of processor time a sample\n", "work", r->cpu_ms);
        prn__text_printf(text, "  %-10s %10s an image, compressed\n", "size", prn__format_bytes(r->image_bytes, bytes, sizeof bytes));
    }
    if (what == OPS) {
        prn__table *table = prn__table_create();
        prn__table_column(table, "operation", 'l');
        prn__table_column(table, "calls", 'r');
        prn__table_column(table, "seconds", 'r');
        prn__table_column(table, "share", 'r');
        for (size_t i = 0; i < r->op_count; i++) {
            prn__table_cell(table, "%s", r->ops[i].name);
            prn__table_count(table, (int64_t)r->ops[i].calls);
            prn__table_cell(table, "%.3f", r->ops[i].seconds);
            prn__table_cell(table, "%.1f %%", 100 * r->ops[i].share);
        }
        prn__table_print(table, 2, text);
        prn__table_destroy(table);
    }
}

static prn_status bench_model(prn__cli *cli, const prn__arguments *a, kind what, const prn__model_config *config, const prn__bench_options *options,
                              const char **backend, prn__bench_result *result, prn_error *error)
{
    const char *name = prn__arguments_value(a, "backend");
    prn__model *model = NULL;
    prn__device device = {0};
    prn__cli_pairs set;
    prn__bench_options with_host = *options;
    prn_status status = prn__cli_pairs_get(a, &set, error);
    with_host.host = prn__registry_host(cli->registry);
    if (status == PRN_OK) {
        status = prn__model_create(config, PRN__DECAY_DIMENSIONS, &model, error);
    }
    if (status == PRN_OK) {
        status = prn__device_open(cli->registry, name != NULL ? name : "auto", set.pairs, set.count, &device, error);
    }
    if (status == PRN_OK) {
        *backend = device.backend->name;
        status = what == EMBED ? prn__bench_embed(model, &device, &with_host, result, error) : prn__bench_train(model, &device, &with_host, result, error);
    }
    if (device.instance != NULL) {
        prn__device_close(&device);
    }
    if (model != NULL) {
        prn__model_destroy(model);
    }
    return status;
}

static prn_status bench_data(const prn__arguments *a, const prn__model_config *config, const prn__bench_options *options, prn__bench_result *result,
                             prn_error *error)
{
    prn__manifest *manifest = NULL;
    char *vocabulary = NULL;
    int64_t merges = 0;
    prn_status status = prn__manifest_load(prn__arguments_value(a, "stream"), &manifest, error);
    if (status == PRN_OK) {
        status = prn__cli_vocabulary(a, manifest, NULL, &vocabulary, &merges, error);
    }
    if (status == PRN_OK) {
        status = prn__bench_data(manifest, vocabulary, merges, config, (uint32_t)prn__arguments_integer(a, "threads", 1), options, result, error);
    }
    prn__free(vocabulary);
    if (manifest != NULL) {
        prn__manifest_destroy(manifest);
    }
    return status;
}

static int run(prn__cli *cli, const prn__arguments *a, kind what)
{
    static const char *const needed[] = {"stream"};
    const char *name = prn__arguments_value(a, "model"), *backend = NULL;
    const prn__bench_options options = options_of(cli, a);
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    prn__bench_result result;
    prn__text text;
    if (what == DATA && prn__arguments_require(a, needed, 1, &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    prn_status status = prn__cli_model_config(name != NULL ? name : "ViT-B-32", &config, &error);
    if (status == PRN_OK) {
        status = what == DATA ? bench_data(a, &config, &options, &result, &error) : prn__cli_open(cli, a, &error);
    }
    if (status == PRN_OK && what != DATA) {
        status = bench_model(cli, a, what, &config, &options, &backend, &result, &error);
    }
    if (status != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (prn__arguments_has(a, "json")) {
        print_json(what, config.name, backend, &options, &result, &text);
    } else {
        print_text(what, config.name, backend, &options, &result, &text);
    }
    return prn__cli_print(cli, &text);
}

static int run_train(prn__cli *cli, const prn__arguments *arguments)
{
    return run(cli, arguments, TRAIN);
}

static int run_embed(prn__cli *cli, const prn__arguments *arguments)
{
    return run(cli, arguments, EMBED);
}

static int run_data(prn__cli *cli, const prn__arguments *arguments)
{
    return run(cli, arguments, DATA);
}

static int run_ops(prn__cli *cli, const prn__arguments *arguments)
{
    return run(cli, arguments, OPS);
}

#define ARGUMENT_SET {"set", "OPTION=VALUE", "an option of the backend; see 'perennial backends NAME'", 1, 0, 0}
#define ARGUMENT_MODEL {"model", "NAME", "a built-in model, or a folder or file with a configuration (default: ViT-B-32)", 0, 0, 0}
#define ARGUMENT_BATCH {"batch", "N", "samples a step (default: 32)", 0, 1, 1 << 20}
#define ARGUMENT_REPEATS {"repeats", "N", "measurements; the median is told (default: 5)", 0, 1, 64}
#define ARGUMENT_STEPS {"steps", "N", "steps a measurement (default: about two seconds)", 0, 1, 1 << 30}
#define ARGUMENT_TOKENS {"tokens", "N", "tokens of every caption (default: 10 to 20, evenly)", 0, 2, 1 << 16}
#define ARGUMENT_MICRO {"micro-batch", "N", "samples computed at a time (default: all)", 0, 1, 1 << 20}

static const prn__argument train_options[] = {
    ARGUMENT_MODEL, ARGUMENT_BATCH, ARGUMENT_MICRO, ARGUMENT_TOKENS, ARGUMENT_STEPS, ARGUMENT_REPEATS,
    {"checkpointing", NULL, "compute the activations of each block again in the backward pass", 0, 0, 0},
    {"towers", NULL, "the same, and of the whole text tower", 0, 0, 0},
    {"selective", NULL, "compute attention and its projections again in the backward pass", 0, 0, 0},
    {"bf16-moments", NULL, "keep AdamW's moments in bf16", 0, 0, 0},
    PRN__ARGUMENT_BACKEND, ARGUMENT_SET, PRN__ARGUMENT_THREADS, PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};
static const prn__argument embed_options[] = {
    ARGUMENT_MODEL, ARGUMENT_BATCH, ARGUMENT_MICRO, ARGUMENT_TOKENS, ARGUMENT_STEPS, ARGUMENT_REPEATS,
    PRN__ARGUMENT_BACKEND, ARGUMENT_SET, PRN__ARGUMENT_THREADS, PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};
static const prn__argument data_options[] = {
    {"stream", "MANIFEST", "the stream; batches come from its first time step", 0, 0, 0},
    ARGUMENT_MODEL, ARGUMENT_BATCH, ARGUMENT_STEPS, ARGUMENT_REPEATS, PRN__ARGUMENT_VOCABULARY,
    {"threads", "N", "threads that prepare batches (default: 1, so that the rate is that of a core)", 0, 1, 4096},
    PRN__ARGUMENT_JSON,
};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

const prn__command prn__command_bench_train = {
    .name = "bench train", .usage = "[options]", .summary = "measure whole training steps: samples a second, share of the machine's peak, memory",
    .details = "Steps are forward, backward and AdamW on made-up images and captions. Work counts the multiply-accumulates that are\n"
               "needed, without padding and without what checkpointing computes again.",
    .options = train_options, .option_count = COUNT(train_options), .run = run_train,
};
const prn__command prn__command_bench_embed = {
    .name = "bench embed", .usage = "[options]", .summary = "measure embedding: images and texts a second",
    .options = embed_options, .option_count = COUNT(embed_options), .run = run_embed,
};
const prn__command prn__command_bench_data = {
    .name = "bench data", .usage = "--stream MANIFEST [options]", .summary = "measure the data path alone: samples a second, without a model",
    .details = "Shards are read, decoded, cropped, resized and tokenized as in training.",
    .options = data_options, .option_count = COUNT(data_options), .run = run_data,
};
const prn__command prn__command_bench_ops = {
    .name = "bench ops", .usage = "[options]", .summary = "measure where the time of a training step goes, by kind of operation",
    .options = train_options, .option_count = COUNT(train_options), .run = run_ops,
};
