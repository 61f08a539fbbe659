/* core/data/manifest.c: see manifest.h. libyaml parses; this file walks its document tree and checks every key. */
#include "data/manifest.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

/* Of a whole manifest: YAML's anchors let a small file ask for much more than it holds. */
enum { MAX_BYTES = 64 << 20, MAX_STEPS = 100000, MAX_EVALUATIONS = 100000, MAX_SHARDS = 10000000 };

typedef struct reader {
    const char *path;
    yaml_document_t *document;
    prn__manifest *manifest;
    prn__arena *memory;
    prn_error *error;
    struct totals {
        int64_t evaluations, shards;
    } *totals; /* so far */
} reader;

static prn_status bad(const reader *r, const yaml_node_t *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
static prn_status bad(const reader *r, const yaml_node_t *node, const char *format, ...)
{
    char text[700];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return prn_error_set(r->error, PRN_INVALID, "%s:%zu: %s", r->path, node != NULL ? node->start_mark.line + 1 : 1, text);
}

static prn_status no_memory(const reader *r)
{
    return prn_error_set(r->error, PRN_NO_MEMORY, "%s: out of memory", r->path);
}

static yaml_node_t *at(const reader *r, int index)
{
    return yaml_document_get_node(r->document, index);
}

static const char *scalar(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

typedef struct key {
    const char *name;
    yaml_node_type_t type;
    const char *form; /* what the value must be, in words */
    int is_required;
    yaml_node_t *value; /* found */
} key;

/* Sorts a mapping's pairs into `keys`; unknown, repeated, mistyped and missing ones are errors. */
static prn_status take_keys(const reader *r, const yaml_node_t *node, const char *what, key *keys, size_t count)
{
    const char *names[32];
    char hint[128];
    if (node->type != YAML_MAPPING_NODE) {
        return bad(r, node, "%s must be a table of 'key: value' lines", what);
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = keys[i].name;
        keys[i].value = NULL;
    }
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        yaml_node_t *name = at(r, p->key), *value = at(r, p->value);
        size_t i = 0;
        if (name->type != YAML_SCALAR_NODE) {
            return bad(r, name, "a key of %s is not plain text", what);
        }
        while (i < count && strcmp(keys[i].name, scalar(name)) != 0) {
            i++;
        }
        if (i == count) {
            return bad(r, name, "%s has no key '%s'%s", what, scalar(name), prn__suggest_text(scalar(name), names, count, hint, sizeof hint));
        }
        if (keys[i].value != NULL) {
            return bad(r, name, "key '%s' stands twice in %s", keys[i].name, what);
        }
        if (value->type != keys[i].type) {
            return bad(r, value, "'%s' of %s must be %s", keys[i].name, what, keys[i].form);
        }
        keys[i].value = value;
    }
    for (size_t i = 0; i < count; i++) {
        if (keys[i].is_required && keys[i].value == NULL) {
            return bad(r, node, "%s needs the key '%s' (%s)", what, keys[i].name, keys[i].form);
        }
    }
    return PRN_OK;
}

static prn_status take_text(const reader *r, const yaml_node_t *node, const char **target)
{
    if (node == NULL) {
        return PRN_OK;
    }
    if (strlen(scalar(node)) != node->data.scalar.length) {
        return bad(r, node, "a text with a NUL character");
    }
    if (scalar(node)[0] == '\0') {
        return bad(r, node, "an empty text; write a value, or leave the key out where it is not required");
    }
    *target = prn__arena_strdup(r->memory, scalar(node));
    return *target != NULL ? PRN_OK : no_memory(r);
}

static prn_status take_number(const reader *r, const yaml_node_t *node, const char *name, int64_t low, int64_t *target)
{
    if (node == NULL) {
        return PRN_OK;
    }
    char *end, plain[64];
    const char *c = scalar(node);
    size_t n = 0;
    for (; *c != '\0' && n + 1 < sizeof plain; c++) {
        if (*c != '_') { /* 1_270_000 reads better */
            plain[n++] = *c;
        }
    }
    plain[n] = '\0';
    errno = 0;
    long long value = strtoll(plain, &end, 10);
    if (*c != '\0' || end == plain || *end != '\0' || errno != 0 || value < low) {
        return bad(r, node, "'%s' is '%s', but must be a whole number of at least %lld", name, scalar(node), (long long)low);
    }
    *target = value;
    return PRN_OK;
}

static prn_status count_item(void *context, const char *item, prn_error *error)
{
    (void)item;
    (void)error;
    ++*(int64_t *)context;
    return PRN_OK;
}

static prn_status take_shards(const reader *r, const yaml_node_t *pattern, const yaml_node_t *samples, const yaml_node_t *checksum,
                              prn__shard_list *list)
{
    prn_error detail = PRN_ERROR_INIT;
    list->samples = -1;
    list->about = -1;
    prn_status status = take_text(r, pattern, &list->pattern);
    if (status == PRN_OK) {
        status = prn__brace_expand(list->pattern, MAX_SHARDS - r->totals->shards, count_item, &list->shard_count, &detail);
        if (status != PRN_OK) {
            status = status == PRN_NO_MEMORY ? no_memory(r) : bad(r, pattern, "%s; a manifest may name %d shards in all", detail.message, MAX_SHARDS);
        }
        r->totals->shards += list->shard_count;
    }
    if (status == PRN_OK) {
        status = take_number(r, samples, "samples", 0, &list->samples);
    }
    if (status == PRN_OK && checksum != NULL) {
        status = take_text(r, checksum, &list->checksum);
        size_t digits = 0;
        while (status == PRN_OK && isxdigit((unsigned char)list->checksum[digits])) {
            digits++;
        }
        if (status == PRN_OK && (digits != 32 || list->checksum[32] != '\0')) {
            status = bad(r, checksum, "a checksum is 32 hexadecimal digits; 'perennial data verify' prints the right one");
        }
    }
    return status;
}

static prn_status take_evaluation(const reader *r, const yaml_node_t *node, prn__evaluation_set *set)
{
    key keys[] = {
        {"name", YAML_SCALAR_NODE, "text", 1, NULL},       {"kind", YAML_SCALAR_NODE, "retrieval or classification", 1, NULL},
        {"shards", YAML_SCALAR_NODE, "a path, braces allowed", 1, NULL}, {"samples", YAML_SCALAR_NODE, "a number", 0, NULL},
        {"checksum", YAML_SCALAR_NODE, "32 hexadecimal digits", 0, NULL},
    };
    prn_status status = take_keys(r, node, "an evaluation", keys, sizeof keys / sizeof keys[0]);
    if (status == PRN_OK) {
        status = take_text(r, keys[0].value, &set->name);
    }
    if (status == PRN_OK) {
        const char *kind = scalar(keys[1].value);
        static const char *const kinds[] = {"retrieval", "classification"};
        char hint[64];
        if (strcmp(kind, "retrieval") == 0) {
            set->kind = PRN__TASK_RETRIEVAL;
        } else if (strcmp(kind, "classification") == 0) {
            set->kind = PRN__TASK_CLASSIFICATION;
        } else {
            return bad(r, keys[1].value, "the kind of an evaluation is retrieval or classification, not '%s'%s", kind,
                       prn__suggest_text(kind, kinds, 2, hint, sizeof hint));
        }
        status = take_shards(r, keys[2].value, keys[3].value, keys[4].value, &set->shards);
    }
    return status;
}

typedef struct named {
    const char *name;
    size_t index;
} named;

static int compare_named(const void *a, const void *b)
{
    const named *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->index < y->index ? -1 : x->index > y->index;
}

/* The first of `count` items whose name one before it has too, `count` when there is none. Sorts `items`. */
static size_t find_repeated(named *items, size_t count)
{
    size_t found = count;
    qsort(items, count, sizeof *items, compare_named);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(items[i - 1].name, items[i].name) == 0 && items[i].index < found) {
            found = items[i].index;
        }
    }
    return found;
}

static size_t item_count(const yaml_node_t *node)
{
    return (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
}

static prn_status take_step(const reader *r, const yaml_node_t *node, prn__manifest_step *step)
{
    key keys[] = {
        {"name", YAML_SCALAR_NODE, "text", 1, NULL},
        {"train", YAML_MAPPING_NODE, "{ shards: ..., samples: ... }", 1, NULL},
        {"evaluations", YAML_SEQUENCE_NODE, "a list", 0, NULL},
    };
    key train[] = {
        {"shards", YAML_SCALAR_NODE, "a path, braces allowed", 1, NULL},
        {"samples", YAML_SCALAR_NODE, "a number", 0, NULL},
        {"checksum", YAML_SCALAR_NODE, "32 hexadecimal digits", 0, NULL},
        {"about", YAML_SCALAR_NODE, "a number", 0, NULL},
    };
    prn_status status = take_keys(r, node, "a time step", keys, 3);
    if (status == PRN_OK) {
        status = take_text(r, keys[0].value, &step->name);
    }
    if (status == PRN_OK) {
        status = take_keys(r, keys[1].value, "'train'", train, 4);
    }
    if (status == PRN_OK) {
        status = take_shards(r, train[0].value, train[1].value, train[2].value, &step->train);
    }
    if (status == PRN_OK) {
        status = take_number(r, train[3].value, "about", 0, &step->train.about);
    }
    if (status == PRN_OK && keys[2].value != NULL) {
        size_t count = item_count(keys[2].value);
        r->totals->evaluations += (int64_t)count;
        if (r->totals->evaluations > MAX_EVALUATIONS) {
            return bad(r, keys[2].value, "the steps up to here have %lld evaluations; a manifest may have %d in all", (long long)r->totals->evaluations,
                       MAX_EVALUATIONS);
        }
        step->evaluations = prn__arena_alloc(r->memory, (count + 1) * sizeof *step->evaluations);
        named *names = prn__alloc_array(count + 1, sizeof *names);
        status = step->evaluations != NULL && names != NULL ? PRN_OK : no_memory(r);
        for (size_t i = 0; i < count && status == PRN_OK; i++) {
            status = take_evaluation(r, at(r, keys[2].value->data.sequence.items.start[i]), &step->evaluations[i]);
            names[i] = (named){step->evaluations[i].name, i};
            step->evaluation_count = i + 1;
        }
        size_t repeated = status == PRN_OK ? find_repeated(names, count) : count;
        if (repeated < count) {
            status = bad(r, at(r, keys[2].value->data.sequence.items.start[repeated]), "two evaluations of step '%s' are called '%s'", step->name,
                         step->evaluations[repeated].name);
        }
        prn__free(names);
    }
    return status;
}

static prn_status split_classes(const reader *r, const yaml_node_t *node, const char *path, char *text, size_t bytes)
{
    size_t count = 0, capacity = 1;
    for (size_t i = 0; i < bytes; i++) {
        capacity += text[i] == '\n';
    }
    const char **names = prn__arena_alloc(r->memory, capacity * sizeof *names);
    if (names == NULL) {
        return no_memory(r);
    }
    for (char *line = text; line < text + bytes;) { /* a class is its line's number: none may be passed over */
        char *end = memchr(line, '\n', (size_t)(text + bytes - line)), *next = end != NULL ? end + 1 : text + bytes;
        size_t length = (size_t)((end != NULL ? end : text + bytes) - line);
        length -= length > 0 && line[length - 1] == '\r';
        line[length] = '\0';
        if (length == 0 || strlen(line) != length) {
            return bad(r, node, "the class names: %s:%zu: %s; every line is one class name", path, count + 1,
                       length == 0 ? "an empty line" : "a NUL character");
        }
        names[count] = prn__arena_strdup(r->memory, line);
        if (names[count++] == NULL) {
            return no_memory(r);
        }
        line = next;
    }
    r->manifest->classes = names;
    r->manifest->class_count = count;
    return PRN_OK;
}

static prn_status take_classes(const reader *r, const yaml_node_t *node)
{
    const char *name = NULL;
    char *text = NULL;
    size_t bytes;
    prn_error detail = PRN_ERROR_INIT;
    prn_status status = take_text(r, node, &name);
    if (status != PRN_OK) {
        return status;
    }
    char *path = prn__path_join(r->manifest->root, name);
    if (path == NULL) {
        return no_memory(r);
    }
    status = prn__file_read(path, MAX_BYTES, &text, &bytes, &detail);
    if (status != PRN_OK) {
        status = status == PRN_NO_MEMORY ? no_memory(r) : bad(r, node, "the class names: %s", detail.message);
    } else {
        status = split_classes(r, node, path, text, bytes);
    }
    prn__free(text);
    prn__free(path);
    return status;
}

static prn_status take_templates(const reader *r, const yaml_node_t *node)
{
    size_t count = node != NULL ? item_count(node) : 0;
    const char **templates = prn__arena_alloc(r->memory, (count + 1) * sizeof *templates);
    if (templates == NULL) {
        return no_memory(r);
    }
    if (count == 0) {
        templates[0] = "a photo of a {}.";
        count = node == NULL ? 1 : 0;
    }
    for (size_t i = 0; node != NULL && i < count; i++) {
        const yaml_node_t *item = at(r, node->data.sequence.items.start[i]);
        const char *first = item->type == YAML_SCALAR_NODE ? strstr(scalar(item), "{}") : NULL;
        if (first == NULL || strstr(first + 2, "{}") != NULL) {
            return bad(r, item, "a template is a text with one {} where the class name goes");
        }
        prn_status status = take_text(r, item, &templates[i]);
        if (status != PRN_OK) {
            return status;
        }
    }
    if (count == 0) {
        return bad(r, node, "'templates' is empty");
    }
    r->manifest->templates = templates;
    r->manifest->template_count = count;
    return PRN_OK;
}

/* A path below `folder`. */
static prn_status take_path(const reader *r, const yaml_node_t *node, const char *folder, const char **target)
{
    const char *name = NULL;
    prn_status status = take_text(r, node, &name);
    if (status != PRN_OK) {
        return status;
    }
    char *path = prn__path_join(folder, name != NULL ? name : ".");
    *target = path != NULL ? prn__arena_strdup(r->memory, path) : NULL;
    prn__free(path);
    return *target != NULL ? PRN_OK : no_memory(r);
}

static prn_status take_root(const reader *r, const yaml_node_t *node)
{
    char *folder = prn__path_folder(r->path);
    prn_status status = folder != NULL ? take_path(r, node, folder, &r->manifest->root) : no_memory(r);
    prn__free(folder);
    return status;
}

static prn_status take_stream(const reader *r, const yaml_node_t *node)
{
    prn__manifest *m = r->manifest;
    key keys[] = {
        {"stream", YAML_SCALAR_NODE, "its name", 1, NULL},
        {"root", YAML_SCALAR_NODE, "a folder, relative to the manifest", 0, NULL},
        {"vocabulary", YAML_SCALAR_NODE, "a vocabulary file", 0, NULL},
        {"merges", YAML_SCALAR_NODE, "a number", 0, NULL},
        {"on_bad_sample", YAML_SCALAR_NODE, "skip or fail", 0, NULL},
        {"classes", YAML_SCALAR_NODE, "a file with one class name a line", 0, NULL},
        {"templates", YAML_SEQUENCE_NODE, "a list of texts with {}", 0, NULL},
        {"steps", YAML_SEQUENCE_NODE, "a list of time steps", 1, NULL},
    };
    prn_status status = take_keys(r, node, "the stream", keys, sizeof keys / sizeof keys[0]);
    if (status == PRN_OK) {
        status = take_text(r, keys[0].value, &m->name);
    }
    if (status == PRN_OK) {
        status = take_root(r, keys[1].value);
    }
    if (status == PRN_OK && keys[2].value != NULL) {
        status = take_path(r, keys[2].value, m->root, &m->vocabulary);
    }
    if (status == PRN_OK) {
        status = take_number(r, keys[3].value, "merges", 1, &m->merges);
    }
    if (status == PRN_OK && keys[4].value != NULL) {
        const char *policy = scalar(keys[4].value);
        if (strcmp(policy, "fail") == 0) {
            m->bad_policy = PRN__BAD_FAIL;
        } else if (strcmp(policy, "skip") != 0) {
            return bad(r, keys[4].value, "'on_bad_sample' is skip or fail, not '%s'", policy);
        }
    }
    if (status == PRN_OK && keys[5].value != NULL) {
        status = take_classes(r, keys[5].value);
    }
    if (status == PRN_OK) {
        status = take_templates(r, keys[6].value);
    }
    if (status != PRN_OK) {
        return status;
    }
    size_t count = item_count(keys[7].value);
    if (count == 0 || count > MAX_STEPS) {
        return bad(r, keys[7].value, "'steps' has %zu time steps; 1 to %d are taken", count, MAX_STEPS);
    }
    m->steps = prn__arena_alloc(r->memory, count * sizeof *m->steps);
    named *names = prn__alloc_array(count, sizeof *names);
    status = m->steps != NULL && names != NULL ? PRN_OK : no_memory(r);
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        status = take_step(r, at(r, keys[7].value->data.sequence.items.start[i]), &m->steps[i]);
        names[i] = (named){m->steps[i].name, i};
        m->step_count = i + 1;
    }
    size_t repeated = status == PRN_OK ? find_repeated(names, count) : count;
    if (repeated < count) {
        status = bad(r, at(r, keys[7].value->data.sequence.items.start[repeated]), "two time steps are called '%s'", m->steps[repeated].name);
    }
    prn__free(names);
    return status;
}

prn_status prn__manifest_load(const char *path, prn__manifest **result, prn_error *error)
{
    char *text = NULL;
    size_t bytes;
    yaml_parser_t parser;
    yaml_document_t document;
    prn__manifest *manifest = NULL;
    *result = NULL;
    prn_status status = prn__file_read(path, MAX_BYTES, &text, &bytes, error);
    if (status != PRN_OK) {
        return status;
    }
    if (!yaml_parser_initialize(&parser)) {
        prn__free(text);
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    if (!yaml_parser_load(&parser, &document)) {
        status = prn_error_set(error, PRN_INVALID, "%s:%zu: not YAML: %s", path, parser.problem_mark.line + 1,
                               parser.problem != NULL ? parser.problem : "unreadable");
        yaml_parser_delete(&parser);
        prn__free(text);
        return status;
    }
    manifest = prn__alloc(sizeof *manifest);
    prn__arena *memory = manifest != NULL ? prn__alloc(sizeof *memory) : NULL;
    if (memory == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
        goto done;
    }
    prn__arena_init(memory, 16384);
    manifest->memory = memory;
    manifest->path = prn__arena_strdup(memory, path);
    struct totals totals = {0, 0};
    reader r = {path, &document, manifest, memory, error, &totals};
    yaml_node_t *root = yaml_document_get_root_node(&document);
    if (manifest->path == NULL) {
        status = no_memory(&r);
    } else if (root == NULL) {
        status = prn_error_set(error, PRN_INVALID, "%s: is empty; a stream needs at least 'stream' and 'steps'", path);
    } else {
        status = take_stream(&r, root);
    }
done:
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    prn__free(text);
    if (status != PRN_OK) {
        prn__manifest_destroy(manifest);
        return status;
    }
    *result = manifest;
    return PRN_OK;
}

void prn__manifest_destroy(prn__manifest *manifest)
{
    if (manifest != NULL) {
        if (manifest->memory != NULL) {
            prn__arena_fini(manifest->memory);
            prn__free(manifest->memory);
        }
        prn__free(manifest);
    }
}
