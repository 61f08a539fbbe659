/* core/cli/command_model.c: `perennial model list`, `show` and `new`. */
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "report/json.h"
#include "report/model_report.h"
#include "report/table.h"

/* ---- list ------------------------------------------------------------------------------------------------------------------- */

static int list(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    const size_t count = prn__model_config_count();
    prn__text text;
    prn_status status = PRN_OK;
    prn__model_facts *facts = prn__alloc_array(count, sizeof *facts);
    if (facts == NULL) {
        status = prn_error_set(&error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        status = prn__model_facts_of(prn__model_config_at(i), &facts[i], &error);
    }
    if (status != PRN_OK) {
        prn__free(facts);
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__model_list_json(facts, count, &text);
    } else {
        prn__model_list_print(facts, count, &text);
    }
    prn__free(facts);
    return prn__cli_print(cli, &text);
}

static const prn__argument list_options[] = {PRN__ARGUMENT_JSON};

const prn__command prn__command_model_list = {
    .name = "model list",
    .usage = "[options]",
    .summary = "list the built-in models",
    .options = list_options,
    .option_count = sizeof list_options / sizeof list_options[0],
    .run = list,
};

/* ---- show ------------------------------------------------------------------------------------------------------------------- */

typedef prn_status tower_maker(const prn__model *model, const prn__tower_options *options, prn__graph **graph, prn_error *error);

static prn_status print_tower(tower_maker *make, const prn__model *model, const prn__tower_options *options, prn__text *text, prn_error *error)
{
    prn__graph *graph = NULL;
    const prn_program *program = NULL;
    prn_status status = make(model, options, &graph, error);
    if (status == PRN_OK) {
        status = prn__graph_finish(graph, &program, error);
    }
    if (status == PRN_OK) {
        prn__program_print(program, text);
    }
    prn__graph_destroy(graph);
    return status;
}

static prn_status print_programs(const prn__arguments *arguments, const prn__model_config *config, prn__text *image, prn__text *text, prn_error *error)
{
    prn__model *model = NULL;
    prn__tower_options options = {.training = prn__arguments_has(arguments, "backward"), .recompute = 1,
                                  .checkpoint = prn__arguments_has(arguments, "checkpointing") ? PRN__CHECKPOINT_BLOCKS
                                                : prn__arguments_has(arguments, "selective")   ? PRN__CHECKPOINT_SELECTIVE
                                                                                               : PRN__CHECKPOINT_NONE};
    options.max_items = prn__arguments_integer(arguments, "batch", 1);
    prn_status status = prn__model_create(config, PRN__DECAY_DIMENSIONS, &model, error);
    if (status == PRN_OK) {
        status = print_tower(prn__model_image_tower, model, &options, image, error);
    }
    if (status == PRN_OK) {
        status = print_tower(prn__model_text_tower, model, &options, text, error);
    }
    if (model != NULL) {
        prn__model_destroy(model);
    }
    return status;
}

static int show(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    prn__model_facts facts;
    prn__text text, image, captions;
    int with_program = prn__arguments_has(arguments, "program") || prn__arguments_has(arguments, "backward") ||
                       prn__arguments_has(arguments, "checkpointing") || prn__arguments_has(arguments, "selective");
    prn__text_init(&text);
    prn__text_init(&image);
    prn__text_init(&captions);
    prn_status status = prn__cli_model_config(prn__arguments_at(arguments, 0), &config, &error);
    if (status == PRN_OK) {
        status = prn__model_facts_of(&config, &facts, &error);
    }
    if (status == PRN_OK && with_program) {
        status = print_programs(arguments, &config, &image, &captions, &error);
    }
    if (status == PRN_OK && prn__arguments_has(arguments, "json")) {
        const char *const programs[] = {image.data, captions.data};
        prn__model_json(&facts, with_program ? programs : NULL, &text);
    } else if (status == PRN_OK) {
        prn__model_print(&facts, &text);
        if (with_program) {
            prn__text_printf(&text, "\n%s\n%s", image.data != NULL ? image.data : "", captions.data != NULL ? captions.data : "");
        }
    }
    text.failed |= image.failed | captions.failed;
    prn__text_fini(&image);
    prn__text_fini(&captions);
    if (status != PRN_OK) {
        prn__text_fini(&text);
        return prn__cli_fail(cli, &error);
    }
    return prn__cli_print(cli, &text);
}

static const prn__argument show_options[] = {
    {"program", NULL, "print the operations of both towers, with shapes, storage and MACs", 0, 0, 0},
    {"backward", NULL, "the same with the derived backward pass", 0, 0, 0},
    {"checkpointing", NULL, "the same with activations of each block computed again", 0, 0, 0},
    {"selective", NULL, "the same with attention and its projections computed again", 0, 0, 0},
    {"batch", "N", "items that the programs are planned for (default: 1)", 0, 1, 1 << 20},
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_model_show = {
    .name = "model show",
    .usage = "NAME_OR_PATH [options]",
    .summary = "show a model's size, cost and towers",
    .details = "NAME is a built-in model ('perennial model list'; \"nano\" is short for ViT-nano-32px), PATH a model folder or an\n"
               "open_clip configuration file.",
    .options = show_options,
    .option_count = sizeof show_options / sizeof show_options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = show,
};

/* ---- new -------------------------------------------------------------------------------------------------------------------- */

static prn_status make_model(const prn__arguments *arguments, prn__model_config *config, int64_t *parameters, prn_error *error)
{
    const char *out = prn__arguments_value(arguments, "out"), *vocabulary = prn__arguments_value(arguments, "vocabulary");
    const int64_t seed = prn__arguments_integer(arguments, "seed", 0);
    prn__model *model = NULL;
    float *weights = NULL;
    char *file = NULL;
    prn_status status = prn__cli_model_config(prn__arguments_at(arguments, 0), config, error);
    if (status == PRN_OK && vocabulary != NULL) {
        prn__tokenizer *tokenizer = NULL;
        status = prn__tokenizer_open(vocabulary, 0, &tokenizer, error);
        if (status == PRN_OK) {
            config->text.vocab_size = prn__tokenizer_vocab_size(tokenizer);
            prn__tokenizer_close(tokenizer);
        }
    }
    if (status != PRN_OK) {
        return status;
    }
    file = prn__path_join(out, "open_clip_model.safetensors");
    if (file != NULL && prn__file_exists(file)) {
        status = prn_error_set(error, PRN_CONFLICT, "%s: is there already, and weights are never overwritten; choose another folder, or remove it", file);
    }
    prn__free(file);
    if (status == PRN_OK) {
        status = prn__model_create(config, PRN__DECAY_DIMENSIONS, &model, error);
    }
    if (status == PRN_OK) {
        *parameters = model->elements;
        weights = prn__alloc_array((size_t)model->flat_elements, sizeof *weights);
        status = weights != NULL ? prn__folder_create(out, error) : prn_error_set(error, PRN_NO_MEMORY, "out of memory for the weights");
    }
    if (status == PRN_OK) {
        prn__model_init(model, (uint64_t)seed, weights);
        status = prn__model_save(model, out, weights, error);
    }
    prn__free(weights);
    if (model != NULL) {
        prn__model_destroy(model);
    }
    return status;
}

static int new(prn__cli *cli, const prn__arguments *arguments)
{
    static const char *const needed[] = {"out"};
    prn_error error = PRN_ERROR_INIT;
    prn__model_config config;
    int64_t parameters = 0;
    char number[32];
    prn__text text;
    if (prn__arguments_require(arguments, needed, 1, &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    if (make_model(arguments, &config, &parameters, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    const char *out = prn__arguments_value(arguments, "out");
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__json json = {0};
        json_t *root = prn__json_object(&json, NULL, NULL);
        prn__json_string(&json, root, "out", out);
        prn__json_string(&json, root, "name", config.name);
        prn__json_integer(&json, root, "parameters", parameters);
        prn__json_integer(&json, root, "vocab_size", config.text.vocab_size);
        prn__json_finish(&json, root, &text);
    } else {
        prn__text_printf(&text, "%s: %s with random weights, %s parameters\n", out, config.name, prn__format_count(parameters, number, sizeof number));
    }
    return prn__cli_print(cli, &text);
}

static const prn__argument new_options[] = {
    {"out", "DIR", "the model folder to write", 0, 0, 0},
    {"seed", "N", "what the weights follow from (default: 0)", 0, 0, INT64_MAX},
    {"vocabulary", "FILE", "make room for this vocabulary's tokens", 0, 0, 0},
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_model_new = {
    .name = "model new",
    .usage = "NAME_OR_PATH --out DIR [options]",
    .summary = "write a model folder with random weights",
    .details = "The folder holds open_clip_config.json and open_clip_model.safetensors; weights are initialised as open_clip does.",
    .options = new_options,
    .option_count = sizeof new_options / sizeof new_options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = new,
};
