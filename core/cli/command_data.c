/* core/cli/command_data.c: `perennial data build` and `data show`. */
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/selection.h"
#include "data/image.h"
#include "data/unicode.h"
#include "report/data_report.h"
#include "report/json.h"
#include "report/table.h"

/* ---- build ------------------------------------------------------------------------------------------------------------------ */

static void note_build(void *context, const char *what, double done_frac)
{
    prn__terminal_work(context, "building:", what, (int64_t)(done_frac * 100), 100);
}

static prn_status read_build(const prn__arguments *arguments, prn__unicode_options *o, prn_error *error)
{
    const char *preset = prn__arguments_value(arguments, "preset");
    prn_status status = prn__unicode_preset(preset != NULL ? preset : "quickstart", o, error);
    o->out = prn__arguments_value(arguments, "out");
    o->seed = (uint64_t)prn__arguments_integer(arguments, "seed", (int64_t)o->seed);
    o->image_side = prn__arguments_integer(arguments, "image-side", o->image_side);
    o->fonts_per_character = prn__arguments_integer(arguments, "fonts", o->fonts_per_character);
    o->evaluation_limit = prn__arguments_integer(arguments, "evaluation-limit", o->evaluation_limit);
    o->merges = prn__arguments_integer(arguments, "merges", o->merges);
    return status;
}

static int report_build(prn__cli *cli, const prn__arguments *arguments, const prn__unicode_options *o, const prn__unicode_report *r, double seconds)
{
    char a[32], b[32], c[32];
    prn__text text;
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__json json = {0};
        json_t *root = prn__json_object(&json, NULL, NULL);
        prn__json_string(&json, root, "out", o->out);
        prn__json_integer(&json, root, "characters", r->characters);
        prn__json_integer(&json, root, "renderings", r->renderings);
        prn__json_integer(&json, root, "fonts", r->fonts);
        prn__json_integer(&json, root, "blank", r->blank);
        prn__json_integer(&json, root, "training", r->training);
        prn__json_integer(&json, root, "evaluation", r->evaluation);
        prn__json_real(&json, root, "seconds", seconds);
        prn__json_finish(&json, root, &text);
    } else {
        prn__text_printf(&text, "found %s characters in %" PRId64 " fonts: %s (character, font) pairs, %s of them blank\n",
                         prn__format_count(r->characters, a, sizeof a), r->fonts, prn__format_count(r->renderings, b, sizeof b),
                         prn__format_count(r->blank, c, sizeof c));
        prn__text_printf(&text, "wrote %s training and %s evaluation samples, in %s\n", prn__format_count(r->training, a, sizeof a),
                         prn__format_count(r->evaluation, b, sizeof b), prn__format_duration(seconds, c, sizeof c));
        prn__text_printf(&text, "streams: %s/coarse.yaml, %s/yearly.yaml; look with: perennial data show %s/coarse.yaml\n", o->out, o->out, o->out);
    }
    return prn__cli_print(cli, &text);
}

static int build(prn__cli *cli, const prn__arguments *arguments)
{
    static const char *const kinds[] = {"unicode"}, *const needed[] = {"out"};
    const char *kind = prn__arguments_at(arguments, 0);
    char suggestion[64];
    prn_error error = PRN_ERROR_INIT;
    prn__unicode_options options;
    prn__unicode_report report;
    double begin = prn__now_s();
    memset(&options, 0, sizeof options);
    memset(&report, 0, sizeof report);
    if (strcmp(kind, "unicode") != 0) {
        (void)prn_error_set(&error, PRN_INVALID, "data build: unknown data set '%s'%s; there is: unicode", kind,
                            prn__suggest_text(kind, kinds, 1, suggestion, sizeof suggestion));
        return prn__cli_usage(cli, &error);
    }
    if (prn__arguments_require(arguments, needed, 1, &error) != PRN_OK || read_build(arguments, &options, &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    if (prn__unicode_build(&options, note_build, cli->terminal, &report, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    return report_build(cli, arguments, &options, &report, prn__now_s() - begin);
}

static const prn__argument build_options[] = {
    {"out", "DIR", "the folder to write", 0, 0, 0},
    {"preset", "NAME", "quickstart (small, the default) or full", 0, 0, 0},
    {"seed", "N", "what the held-out splits follow from", 0, 0, INT64_MAX},
    {"image-side", "N", "pixels of a side (default: the preset's)", 0, 8, 512},
    {"fonts", "N", "at most so many training renderings of a character; 0: all", 0, 0, 100000},
    {"evaluation-limit", "N", "at most so many images in an evaluation set", 0, 0, 1000000},
    {"merges", "N", "merges of the vocabulary that is learned from the captions", 0, 0, 48894},
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_data_build = {
    .name = "data build",
    .usage = "unicode --out DIR [options]",
    .summary = "build TiC-Unicode, a time-stamped benchmark, from distribution packages",
    .details = "Images are glyphs of Unicode characters in many fonts, captions their names, time stamps the years in which Unicode\n"
               "added them. The same packages and options give the same bytes. tools/install-packages installs what it needs.\n"
               "\n"
               "  perennial data build unicode --preset quickstart --out data/tic-unicode-quickstart",
    .options = build_options,
    .option_count = sizeof build_options / sizeof build_options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = build,
};

/* ---- show ------------------------------------------------------------------------------------------------------------------- */

typedef struct showing {
    prn__arena memory;
    prn__manifest *manifest;
    prn__tokenizer *tokenizer;
    prn__set_facts *sets;
    size_t count;
    int64_t samples_wanted;
} showing;

static void describe_sample(showing *s, prn__dataset *dataset, int64_t shard, int64_t index, prn__image *image, prn__sample_facts *f)
{
    prn_error error = PRN_ERROR_INIT;
    prn__sample sample;
    prn__sample_hold hold;
    int32_t ids[512];
    *f = (prn__sample_facts){.key = "", .class_index = -1, .tokens = -1};
    if (prn__dataset_sample(dataset, shard, index, &sample, &hold, &error) != PRN_OK) {
        f->problem = prn__arena_strdup(&s->memory, error.message);
        return;
    }
    f->key = prn__arena_printf(&s->memory, "%.*s", (int)sample.key_length, sample.key);
    f->class_index = sample.class_index;
    if (sample.caption != NULL) {
        f->caption = prn__arena_printf(&s->memory, "%.*s", (int)sample.caption_bytes, sample.caption);
        if (s->tokenizer != NULL) {
            f->tokens = prn__tokenizer_encode(s->tokenizer, sample.caption, sample.caption_bytes, 512, ids);
        }
    }
    if (prn__image_decode(sample.image, sample.image_bytes, image, &error) == PRN_OK) {
        f->width = image->width;
        f->height = image->height;
    } else {
        f->problem = prn__arena_strdup(&s->memory, error.message);
    }
    f->key = f->key != NULL ? f->key : "";
    prn__sample_release(dataset, &hold);
}

/* Opens the set's data for its first samples and, where the manifest does not state it, its number of samples. */
static void look_into(showing *s, prn__set_facts *set, prn__dataset *dataset)
{
    const int64_t *counts = prn__dataset_shard_samples(dataset);
    prn__image image = {0};
    set->shards = prn__dataset_shards(dataset);
    set->samples = prn__dataset_samples(dataset);
    int64_t wanted = s->samples_wanted < set->samples ? s->samples_wanted : set->samples;
    set->first = prn__arena_alloc(&s->memory, (size_t)(wanted + 1) * sizeof *set->first);
    for (int64_t shard = 0; shard < set->shards && set->first != NULL; shard++) {
        for (int64_t i = 0; i < counts[shard] && (int64_t)set->first_count < wanted; i++) {
            describe_sample(s, dataset, shard, i, &image, &set->first[set->first_count++]);
        }
    }
    prn__image_fini(&image);
}

static void add_set(showing *s, const char *step, const char *name, const char *kind, const prn__shard_list *list, int is_opened)
{
    prn_error error = PRN_ERROR_INIT;
    prn__dataset *dataset = NULL;
    prn__set_facts *set = &s->sets[s->count++];
    *set = (prn__set_facts){.step = step, .set = name, .kind = kind, .pattern = list->pattern, .shards = list->shard_count, .samples = list->samples};
    if (!is_opened && list->samples >= 0) {
        return;
    }
    int64_t wanted = s->samples_wanted;
    s->samples_wanted = is_opened ? wanted : 0;
    if (prn__dataset_open(s->manifest, &list, 1, NULL, &dataset, &error) == PRN_OK) {
        look_into(s, set, dataset);
        prn__dataset_close(dataset);
    } else {
        set->problem = prn__arena_strdup(&s->memory, error.message);
    }
    s->samples_wanted = wanted;
}

static prn_status show_manifest(showing *s, const prn__arguments *arguments, const char *path, prn_error *error)
{
    size_t capacity = 1;
    prn_error ignored = PRN_ERROR_INIT;
    prn_status status = prn__manifest_load(path, &s->manifest, error);
    if (status == PRN_OK) {
        status = prn__selection_check(arguments, s->manifest, 1, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    const prn__manifest *m = s->manifest;
    if (m->vocabulary != NULL && s->samples_wanted > 0) { /* only token counts are lost without it */
        (void)prn__tokenizer_open(m->vocabulary, m->merges, &s->tokenizer, &ignored);
    }
    for (size_t t = 0; t < m->step_count; t++) {
        capacity += 1 + m->steps[t].evaluation_count;
    }
    s->sets = prn__arena_alloc(&s->memory, capacity * sizeof *s->sets);
    if (s->sets == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    int is_chosen = prn__arguments_has(arguments, "set-name");
    for (size_t t = 0; t < m->step_count; t++) {
        const prn__manifest_step *step = &m->steps[t];
        if (!prn__selection_has_step(arguments, step)) {
            continue;
        }
        if (prn__selection_has_set(arguments, "train")) {
            add_set(s, step->name, "train", "training", &step->train, s->samples_wanted > 0);
        }
        for (size_t e = 0; e < step->evaluation_count; e++) {
            const prn__evaluation_set *set = &step->evaluations[e];
            if (prn__selection_has_set(arguments, set->name)) {
                add_set(s, step->name, set->name, set->kind == PRN__TASK_CLASSIFICATION ? "classification" : "retrieval", &set->shards,
                        is_chosen && s->samples_wanted > 0);
            }
        }
    }
    return PRN_OK;
}

static prn_status show_shards(showing *s, const prn__arguments *arguments, prn_error *error)
{
    const size_t count = prn__arguments_count(arguments);
    prn_status status = PRN_OK;
    if (prn__arguments_has(arguments, "time-step") || prn__arguments_has(arguments, "set-name")) {
        return prn_error_set(error, PRN_INVALID, "data show: --time-step and --set-name choose from a manifest (.yaml)");
    }
    s->sets = prn__arena_alloc(&s->memory, (count + 1) * sizeof *s->sets);
    if (s->sets == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        prn__dataset *dataset = NULL;
        const char *pattern = prn__arguments_at(arguments, i);
        status = prn__dataset_open_paths(&pattern, 1, NULL, &dataset, error);
        if (status == PRN_OK) {
            s->sets[s->count].pattern = pattern;
            look_into(s, &s->sets[s->count++], dataset);
            prn__dataset_close(dataset);
        }
    }
    return status;
}

static int show(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    showing s;
    prn__text text;
    int code;
    const char *first = prn__arguments_at(arguments, 0);
    memset(&s, 0, sizeof s);
    s.samples_wanted = prn__arguments_integer(arguments, "count", 3);
    prn__arena_init(&s.memory, 1 << 14);
    prn_status status = prn__cli_is_manifest(first) && prn__arguments_count(arguments) == 1 ? show_manifest(&s, arguments, first, &error)
                                                                                           : show_shards(&s, arguments, &error);
    if (status != PRN_OK) {
        code = prn__cli_fail(cli, &error);
    } else {
        prn__text_init(&text);
        if (prn__arguments_has(arguments, "json")) {
            prn__data_show_json(s.manifest, s.sets, s.count, &text);
        } else {
            prn__data_show_print(s.manifest, s.sets, s.count, &text);
        }
        code = prn__cli_print(cli, &text);
    }
    if (s.tokenizer != NULL) {
        prn__tokenizer_close(s.tokenizer);
    }
    if (s.manifest != NULL) {
        prn__manifest_destroy(s.manifest);
    }
    prn__arena_fini(&s.memory);
    return code;
}

static const prn__argument show_options[] = {
    {"count", "N", "samples to show of each set (default: 3; 0: open no shards that need not be opened)", 0, 0, 1000000},
    PRN__ARGUMENT_TIME_STEP,
    {"set-name", "NAME", "\"train\" or an evaluation set, with samples (default: all, samples of train)", 1, 0, 0},
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_data_show = {
    .name = "data show",
    .usage = "MANIFEST_OR_SHARDS... [options]",
    .summary = "show a stream's time steps and shards, and the first samples",
    .options = show_options,
    .option_count = sizeof show_options / sizeof show_options[0],
    .positional_min = 1,
    .positional_max = -1,
    .run = show,
};
