/* core/data/unicode.c: TiC-Unicode: who is held out, which rendering goes where, and the folder on disk.
 *
 * Every choice is a hash of (seed, code point, font name), so that it depends neither on the order of work nor on other characters.
 * Training shards are cut by year and numbered in the order of time: the coarse and the yearly stream are two manifests over the same
 * shards. Evaluation sets are cut for each stream, since their size is limited by time step.
 */
#include "data/unicode_internal.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "data/tokenizer.h"

enum { SHARD_SAMPLES = 8192, STEP_CHARACTERS = 100, SET_SAMPLES = 20, MAX_STEPS = 64, LEVELS = 2, TASKS = 3 };

static const double CHARACTERS_HELD_OUT = 0.06, RENDERINGS_HELD_OUT = 0.25;
/* Last years of the coarse stream's steps: about 5,000 characters each. */
static const int coarse_ends[] = {1993, 1999, 2005, 2009, 2014, 2022};
static const char *const level_names[LEVELS] = {"coarse", "yearly"};
static const char *const task_names[TASKS] = {"retrieval-renderings", "retrieval-characters", "script"};

/* What hashes decide; values are part of what a seed means. */
enum { DRAW_CHARACTER = 0, DRAW_RENDERING = 1, DRAW_ORDER = 2, DRAW_SET = 3 };

typedef enum role { UNUSED = 0, TRAIN, HELD_RENDERING, HELD_CHARACTER } role;

typedef struct step {
    int first_year, last_year;
    char name[16];
    int64_t first_shard, shards, samples;
    prn__hasher *checksum;
    int64_t set_samples[TASKS];
    char set_checksums[TASKS][33];
} step;

typedef struct builder {
    prn__unicode_options options;
    prn__characters characters;
    prn__fonts *fonts;
    const prn__rendering *renderings;
    size_t rendering_count;
    uint8_t *roles;       /* (rendering_count), of type role */
    uint32_t *chosen;     /* (rendering_count) room for a selection */
    uint64_t *font_keys;  /* (fonts) hash of the font's name */
    step steps[LEVELS][MAX_STEPS];
    size_t step_counts[LEVELS];
    int64_t shard_count;
    prn__shard shard;
    uint8_t *pixels;      /* (side,side,3) */
    prn__arena memory;    /* of the build */
    prn__unicode_progress progress;
    void *progress_context;
    int64_t work_done, work_total;
    prn__unicode_report report;
} builder;

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while building TiC-Unicode");
}

static const prn__character *character_of(const builder *b, const prn__rendering *rendering)
{
    return &b->characters.list[rendering->character];
}

static void tell(builder *b, const char *what)
{
    if (b->progress != NULL && (b->work_done % 512 == 0 || b->work_done >= b->work_total)) {
        double done = b->work_total > 0 ? (double)b->work_done / (double)b->work_total : 0;
        b->progress(b->progress_context, what, done < 1 ? done : 1);
    }
}

/* ---- who is held out ---- */

typedef struct ranked {
    uint64_t rank;
    uint32_t rendering;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    return x->rendering < y->rendering ? -1 : x->rendering > y->rendering;
}

static prn_status assign_roles(builder *b, prn_error *error)
{
    size_t fonts = prn__fonts_count(b->fonts);
    ranked *order = prn__alloc_array(fonts, sizeof *order);
    if (order == NULL) {
        return no_memory(error);
    }
    for (size_t first = 0, next; first < b->rendering_count; first = next) {
        uint32_t code = character_of(b, &b->renderings[first])->code_point;
        size_t n = 0, taken = 0, most;
        for (next = first; next < b->rendering_count && b->renderings[next].character == b->renderings[first].character; next++) {
            uint64_t rank = prn__rng_u64(b->options.seed, PRN__RNG_SPLIT, code, b->font_keys[b->renderings[next].font]);
            order[n++] = (ranked){.rank = rank, .rendering = (uint32_t)next};
        }
        qsort(order, n, sizeof *order, by_rank);
        b->report.characters++;
        if (prn__rng_uniform(b->options.seed, PRN__RNG_SPLIT, code, DRAW_CHARACTER) < CHARACTERS_HELD_OUT) {
            b->roles[order[0].rendering] = HELD_CHARACTER;
            continue;
        }
        if (n >= 2 && prn__rng_uniform(b->options.seed, PRN__RNG_SPLIT, code, DRAW_RENDERING) < RENDERINGS_HELD_OUT) {
            b->roles[order[taken++].rendering] = HELD_RENDERING;
        }
        most = b->options.fonts_per_character > 0 ? taken + (size_t)b->options.fonts_per_character : n;
        for (; taken < n && taken < most; taken++) {
            b->roles[order[taken].rendering] = TRAIN;
            b->work_total++;
        }
    }
    prn__free(order);
    return PRN_OK;
}

/* Time steps of both streams. A year with few characters goes together with the next one of the same coarse step. */
static void find_steps(builder *b)
{
    int64_t characters[3000] = {0};
    uint32_t last = UINT32_MAX;
    for (size_t i = 0; i < b->rendering_count; i++) {
        if (b->renderings[i].character != last) {
            last = b->renderings[i].character;
            characters[b->characters.list[last].year]++;
        }
    }
    int year = 1900;
    for (size_t end = 0; end < sizeof coarse_ends / sizeof coarse_ends[0]; end++) {
        step *coarse = &b->steps[0][b->step_counts[0]];
        int64_t waiting = 0;
        for (int first = 0; year <= coarse_ends[end]; year++) {
            waiting += characters[year];
            if (characters[year] == 0 && !(year == coarse_ends[end] && waiting > 0)) {
                continue;
            }
            first = first == 0 ? year : first;
            if (waiting < STEP_CHARACTERS && year != coarse_ends[end]) {
                continue;
            }
            step *yearly = &b->steps[1][b->step_counts[1]++];
            yearly->first_year = first;
            yearly->last_year = year;
            coarse->first_year = coarse->first_year == 0 ? first : coarse->first_year;
            coarse->last_year = year;
            first = 0;
            waiting = 0;
        }
        b->step_counts[0] += coarse->first_year != 0;
    }
    for (int level = 0; level < LEVELS; level++) {
        for (size_t i = 0; i < b->step_counts[level]; i++) {
            step *s = &b->steps[level][i];
            int n = snprintf(s->name, sizeof s->name, "%d", s->first_year);
            if (s->last_year != s->first_year) {
                (void)snprintf(s->name + n, sizeof s->name - (size_t)n, "-%d", s->last_year);
            }
            b->work_total += b->options.evaluation_limit * TASKS;
        }
    }
}

/* ---- samples ---- */

static const char *caption_of(builder *b, const prn__rendering *rendering)
{
    const prn__character *c = character_of(b, rendering);
    if (b->roles[rendering - b->renderings] != TRAIN || c->keywords == NULL ||
        (prn__rng_u64(b->options.seed, PRN__RNG_CAPTION, c->code_point, b->font_keys[rendering->font]) & 1) == 0) {
        return c->name;
    }
    return prn__arena_printf(&b->memory, "%s, %s", c->name, c->keywords);
}

/* Draws and adds one sample; a glyph that draws nothing adds none. */
static prn_status add_sample(builder *b, const prn__rendering *rendering, prn_error *error)
{
    const prn__character *c = character_of(b, rendering);
    const char *font = prn__fonts_name(b->fonts, rendering->font), *caption = caption_of(b, rendering);
    char key[96], code[16];
    int is_colour = 0;
    if (caption == NULL) {
        return no_memory(error);
    }
    if (!prn__fonts_draw(b->fonts, rendering, b->options.image_side, b->pixels, &is_colour)) {
        b->report.blank++;
        return PRN_OK;
    }
    (void)snprintf(code, sizeof code, "U+%04X", c->code_point);
    (void)snprintf(key, sizeof key, "%04X-%.80s", c->code_point, font);
    for (char *p = key; *p != '\0'; p++) {
        *p = *p == '.' || *p == '/' ? '_' : *p; /* a dot would end a WebDataset key */
    }
    json_t *json = json_pack("{s:s, s:s, s:s, s:i}", "caption", caption, "codepoint", code, "font", font, "year", (int)c->year);
    if (json != NULL && c->script >= 0) {
        (void)json_object_set_new(json, "class", json_integer(c->script));
    }
    char *text = json != NULL ? json_dumps(json, JSON_PRESERVE_ORDER) : NULL;
    prn_status status = text != NULL ? prn__shard_add(&b->shard, key, b->pixels, b->options.image_side, is_colour, text, error) : no_memory(error);
    free(text); /* jansson's own allocation */
    json_decref(json);
    return status;
}

static prn_status write_shard(builder *b, const char *name, prn__digest *digest, prn_error *error)
{
    char *path = prn__path_join(b->options.out, name);
    prn_status status = path != NULL ? prn__shard_write(&b->shard, path, digest, error) : no_memory(error);
    prn__free(path);
    return status;
}

static int in_step(const builder *b, const step *s, const prn__rendering *rendering)
{
    int year = character_of(b, rendering)->year;
    return year >= s->first_year && year <= s->last_year;
}

/* Shards of one yearly step; also counted to the coarse step that holds it. */
static prn_status write_training(builder *b, step *yearly, step *coarse, prn_error *error)
{
    prn_status status = PRN_OK;
    uint64_t n = 0;
    for (size_t i = 0; i < b->rendering_count; i++) {
        if (b->roles[i] == TRAIN && in_step(b, yearly, &b->renderings[i])) {
            b->chosen[n++] = (uint32_t)i;
        }
    }
    int64_t parts = ((int64_t)n + SHARD_SAMPLES - 1) / SHARD_SAMPLES, each = parts > 0 ? ((int64_t)n + parts - 1) / parts : 1;
    uint64_t key = prn__rng_u64(b->options.seed, PRN__RNG_SPLIT, (uint64_t)yearly->first_year, DRAW_ORDER);
    yearly->first_shard = b->shard_count;
    coarse->first_shard = coarse->shards == 0 ? b->shard_count : coarse->first_shard;
    for (uint64_t i = 0; i < n && status == PRN_OK; i++) {
        status = add_sample(b, &b->renderings[b->chosen[prn__permute(key, n, i)]], error);
        b->work_done++;
        tell(b, "drawing");
        if (status == PRN_OK && b->shard.samples > 0 && (b->shard.samples == each || i + 1 == n)) {
            char name[64];
            prn__digest digest;
            int64_t samples = b->shard.samples;
            (void)snprintf(name, sizeof name, "train/%05lld.tar", (long long)b->shard_count);
            status = write_shard(b, name, &digest, error);
            for (int level = 0; level < LEVELS; level++) {
                step *s = level == 0 ? coarse : yearly;
                prn__hasher_update(s->checksum, &digest, sizeof digest); /* as prn__dataset_digest */
                s->samples += samples;
                s->shards++;
            }
            b->shard_count++;
            b->report.training += samples;
        }
    }
    return status;
}

static int is_candidate(const builder *b, int task, size_t rendering)
{
    switch (task) {
    case 0:
        return b->roles[rendering] == HELD_RENDERING;
    case 1:
        return b->roles[rendering] == HELD_CHARACTER;
    default:
        return (b->roles[rendering] == HELD_RENDERING || b->roles[rendering] == HELD_CHARACTER) && character_of(b, &b->renderings[rendering])->script >= 0;
    }
}

static prn_status write_set(builder *b, int level, step *s, int task, ranked *order, prn_error *error)
{
    prn_status status = PRN_OK;
    size_t n = 0;
    for (size_t i = 0; i < b->rendering_count; i++) {
        if (is_candidate(b, task, i) && in_step(b, s, &b->renderings[i])) {
            uint32_t code = character_of(b, &b->renderings[i])->code_point;
            order[n++] = (ranked){.rank = prn__rng_u64(b->options.seed, PRN__RNG_SPLIT, code, DRAW_SET), .rendering = (uint32_t)i};
        }
    }
    if (n > 0) {
        qsort(order, n, sizeof *order, by_rank);
    }
    for (size_t i = 0; i < n && b->shard.samples < b->options.evaluation_limit && status == PRN_OK; i++) {
        status = add_sample(b, &b->renderings[order[i].rendering], error);
    }
    b->work_done += b->options.evaluation_limit;
    tell(b, "drawing");
    if (status != PRN_OK || b->shard.samples < SET_SAMPLES) { /* a score over so few would be noise: the step has no such set */
        b->shard.samples = 0;
        prn__text_clear(&b->shard.tar);
        return status;
    }
    char name[96];
    prn__digest digest;
    s->set_samples[task] = b->shard.samples;
    b->report.evaluation += b->shard.samples;
    (void)snprintf(name, sizeof name, "eval/%s-%s-%s.tar", level_names[level], s->name, task_names[task]);
    status = write_shard(b, name, &digest, error);
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return no_memory(error);
    }
    prn__hasher_update(hasher, &digest, sizeof digest);
    prn__digest_format(prn__hasher_digest(hasher), s->set_checksums[task]);
    prn__hasher_destroy(hasher);
    return status;
}

static prn_status write_samples(builder *b, prn_error *error)
{
    prn_status status = PRN_OK;
    ranked *order = prn__alloc_array(b->rendering_count, sizeof *order);
    if (order == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0, c = 0; i < b->step_counts[1] && status == PRN_OK; i++) {
        while (b->steps[1][i].first_year > b->steps[0][c].last_year) {
            c++;
        }
        status = write_training(b, &b->steps[1][i], &b->steps[0][c], error);
    }
    for (int level = 0; level < LEVELS; level++) {
        for (size_t i = 0; i < b->step_counts[level] && status == PRN_OK; i++) {
            for (int task = 0; task < TASKS && status == PRN_OK; task++) {
                status = write_set(b, level, &b->steps[level][i], task, order, error);
            }
        }
    }
    prn__free(order);
    return status;
}

/* ---- vocabulary, classes, manifests ---- */

static prn_status write_vocabulary(builder *b, prn_error *error)
{
    size_t n = 0;
    const char **captions = prn__alloc_array(b->rendering_count, sizeof *captions);
    char *path = prn__path_join(b->options.out, "vocab.txt");
    prn_status status = captions != NULL && path != NULL ? PRN_OK : no_memory(error);
    for (size_t i = 0; i < b->rendering_count && status == PRN_OK; i++) {
        if (b->roles[i] == TRAIN && (captions[n++] = caption_of(b, &b->renderings[i])) == NULL) {
            status = no_memory(error);
        }
    }
    if (status == PRN_OK) {
        status = prn__tokenizer_learn(captions, n, b->options.merges, path, error);
    }
    prn__free(path);
    prn__free(captions);
    return status;
}

static prn_status write_text(builder *b, const char *name, const prn__text *text, prn_error *error)
{
    char *path = prn__path_join(b->options.out, name);
    prn_status status = path != NULL && !text->failed ? prn__file_write_atomic(path, text->data, text->length, error) : no_memory(error);
    prn__free(path);
    return status;
}

static prn_status write_scripts(builder *b, prn_error *error)
{
    prn__text text;
    prn__text_init(&text);
    for (size_t i = 0; i < b->characters.script_count; i++) {
        prn__text_printf(&text, "%s\n", b->characters.scripts[i]);
    }
    prn_status status = write_text(b, "scripts.txt", &text, error);
    prn__text_fini(&text);
    return status;
}

static prn_status write_manifest(builder *b, int level, prn_error *error)
{
    prn__text text;
    char name[32];
    prn__text_init(&text);
    prn__text_printf(&text,
                     "# TiC-Unicode, %s: images of the characters that each version of Unicode added, captions are their names.\n"
                     "# %lld characters; image side %lld, at most %lld fonts a character (0: all), seed %llu.\n"
                     "stream: tic-unicode-%s\nroot: .\nvocabulary: vocab.txt\nclasses: scripts.txt\n"
                     "templates: [\"{} letter\", \"{} sign\", \"{}\"]\nsteps:\n",
                     level_names[level], (long long)b->report.characters, (long long)b->options.image_side,
                     (long long)b->options.fonts_per_character, (unsigned long long)b->options.seed, level_names[level]);
    for (size_t i = 0; i < b->step_counts[level]; i++) {
        const step *s = &b->steps[level][i];
        char checksum[33];
        int has_sets = 0;
        prn__digest_format(prn__hasher_digest(s->checksum), checksum);
        prn__text_printf(&text, "  - name: \"%s\"\n    train: { shards: \"train/{%05lld..%05lld}.tar\", samples: %lld, checksum: \"%s\" }\n", s->name,
                         (long long)s->first_shard, (long long)(s->first_shard + s->shards - 1), (long long)s->samples, checksum);
        for (int task = 0; task < TASKS; task++) {
            if (s->set_samples[task] > 0) {
                prn__text_printf(&text, "%s      - { name: %s, kind: %s, shards: \"eval/%s-%s-%s.tar\", samples: %lld, checksum: \"%s\" }\n",
                                 has_sets ? "" : "    evaluations:\n", task_names[task], task == 2 ? "classification" : "retrieval",
                                 level_names[level], s->name, task_names[task], (long long)s->set_samples[task], s->set_checksums[task]);
                has_sets = 1;
            }
        }
    }
    (void)snprintf(name, sizeof name, "%s.yaml", level_names[level]);
    prn_status status = write_text(b, name, &text, error);
    prn__text_fini(&text);
    return status;
}

/* ---- the build ---- */

prn_status prn__unicode_preset(const char *name, prn__unicode_options *options, prn_error *error)
{
    static const char *const names[] = {"quickstart", "full"};
    char suggestion[128];
    const char *out = options->out;
    if (strcmp(name, "quickstart") == 0) {
        *options = (prn__unicode_options){.out = out, .image_side = 32, .fonts_per_character = 3, .evaluation_limit = 400, .merges = 1500, .seed = 1};
    } else if (strcmp(name, "full") == 0) {
        *options = (prn__unicode_options){.out = out, .image_side = 32, .evaluation_limit = 1000, .merges = 1500, .seed = 1};
    } else {
        return prn_error_set(error, PRN_NOT_FOUND, "there is no preset '%s'%s; there are quickstart and full", name,
                             prn__suggest_text(name, names, 2, suggestion, sizeof suggestion));
    }
    return PRN_OK;
}

/* Folders made, and manifests of a former build removed: a folder with them must be whole. */
static prn_status prepare_folder(builder *b, prn_error *error)
{
    static const char *const folders[] = {"train", "eval"};
    prn_status status = PRN_OK;
    for (int i = 0; i < 2 && status == PRN_OK; i++) {
        char *path = prn__path_join(b->options.out, folders[i]);
        status = path != NULL ? prn__folder_create(path, error) : no_memory(error);
        prn__free(path);
    }
    for (int level = 0; level < LEVELS && status == PRN_OK; level++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%s.yaml", level_names[level]);
        char *path = prn__path_join(b->options.out, name);
        if (path == NULL) {
            return no_memory(error);
        }
        (void)unlink(path);
        prn__free(path);
    }
    return status;
}

static prn_status open_sources(builder *b, prn_error *error)
{
    tell(b, "reading the tables and fonts");
    prn_status status = prn__characters_load(&b->characters, error);
    if (status == PRN_OK) {
        status = prn__fonts_open(&b->characters, &b->fonts, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    size_t fonts = prn__fonts_count(b->fonts), side = (size_t)b->options.image_side;
    b->renderings = prn__fonts_renderings(b->fonts, &b->rendering_count);
    b->report.fonts = (int64_t)fonts;
    b->report.renderings = (int64_t)b->rendering_count;
    b->roles = prn__alloc(b->rendering_count);
    b->chosen = prn__alloc_array(b->rendering_count, sizeof *b->chosen);
    b->font_keys = prn__alloc_array(fonts, sizeof *b->font_keys);
    b->pixels = prn__alloc(side * side * 3);
    if (b->roles == NULL || b->chosen == NULL || b->font_keys == NULL || b->pixels == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < fonts; i++) {
        const char *name = prn__fonts_name(b->fonts, i);
        b->font_keys[i] = prn__hash_bytes(name, strlen(name)).low;
    }
    find_steps(b);
    for (int level = 0; level < LEVELS; level++) {
        for (size_t i = 0; i < b->step_counts[level]; i++) {
            if ((b->steps[level][i].checksum = prn__hasher_create()) == NULL) {
                return no_memory(error);
            }
        }
    }
    return assign_roles(b, error);
}

prn_status prn__unicode_build(const prn__unicode_options *options, prn__unicode_progress progress, void *context, prn__unicode_report *report,
                              prn_error *error)
{
    if (options->out == NULL || options->image_side < 8 || options->image_side > 1024 || options->fonts_per_character < 0 ||
        options->evaluation_limit < 0 || options->merges < 0) {
        return prn_error_set(error, PRN_INVALID, "TiC-Unicode: give a folder, an image side from 8 to 1024, and limits of 0 or more");
    }
    builder *b = prn__alloc(sizeof *b);
    if (b == NULL) {
        return no_memory(error);
    }
    b->options = *options;
    b->options.evaluation_limit = options->evaluation_limit > 0 ? options->evaluation_limit : 1000;
    b->options.merges = options->merges > 0 ? options->merges : 1500;
    b->progress = progress;
    b->progress_context = context;
    prn__shard_init(&b->shard);
    prn__arena_init(&b->memory, 1 << 16);
    prn_status status = open_sources(b, error);
    if (status == PRN_OK) {
        status = prepare_folder(b, error);
    }
    if (status == PRN_OK) {
        status = write_vocabulary(b, error);
    }
    if (status == PRN_OK) {
        status = write_samples(b, error);
    }
    if (status == PRN_OK) {
        status = write_scripts(b, error);
    }
    for (int level = 0; level < LEVELS && status == PRN_OK; level++) {
        status = write_manifest(b, level, error);
    }
    if (report != NULL) {
        *report = b->report;
    }
    for (int level = 0; level < LEVELS; level++) {
        for (size_t i = 0; i < b->step_counts[level]; i++) {
            prn__hasher_destroy(b->steps[level][i].checksum);
        }
    }
    prn__shard_fini(&b->shard);
    prn__arena_fini(&b->memory);
    prn__fonts_close(b->fonts);
    prn__characters_fini(&b->characters);
    prn__free(b->roles);
    prn__free(b->chosen);
    prn__free(b->font_keys);
    prn__free(b->pixels);
    prn__free(b);
    return status;
}
