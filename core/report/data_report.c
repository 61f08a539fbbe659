/* core/report/data_report.c: see data_report.h. */
#include "report/data_report.h"

#include <inttypes.h>
#include <string.h>

#include "report/json.h"
#include "report/table.h"

enum { CAPTION_CELLS = 80, KEY_CELLS = 40, SHOWN_CLASSES = 4 };

/* ---- showing: text ---------------------------------------------------------------------------------------------------------- */

static void print_manifest(const prn__manifest *m, prn__text *target)
{
    char number[32];
    prn__table *table = prn__table_create();
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    prn__table_cell(table, "manifest");
    prn__table_cell(table, "%s", m->path);
    prn__table_cell(table, "vocabulary");
    if (m->vocabulary == NULL) {
        prn__table_cell(table, "none");
    } else if (m->merges > 0) {
        prn__table_cell(table, "%s, %" PRId64 " merges", m->vocabulary, m->merges);
    } else {
        prn__table_cell(table, "%s", m->vocabulary);
    }
    prn__table_cell(table, "bad samples");
    prn__table_cell(table, "%s", m->bad_policy == PRN__BAD_FAIL ? "end the run" : "are skipped and counted");
    if (m->class_count > 0) {
        prn__table_cell(table, "classes");
        prn__text names;
        prn__text_init(&names);
        for (size_t c = 0; c < m->class_count && c < SHOWN_CLASSES; c++) {
            prn__text_printf(&names, "%s%s", c > 0 ? ", " : "", m->classes[c]);
        }
        prn__table_cell(table, "%s: %s%s", prn__format_count((int64_t)m->class_count, number, sizeof number), names.data != NULL ? names.data : "",
                        m->class_count > SHOWN_CLASSES ? ", ..." : "");
        prn__text_fini(&names);
        prn__table_cell(table, "templates");
        prn__table_cell(table, "%zu: \"%s\"%s", m->template_count, m->templates[0], m->template_count > 1 ? ", ..." : "");
    }
    prn__text_printf(target, "stream '%s', %zu time steps\n", m->name, m->step_count);
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
    prn__text_puts(target, "\n");
}

static void print_sets(const prn__set_facts *sets, size_t count, prn__text *target)
{
    prn__table *table = prn__table_create();
    int is_stream = count > 0 && sets[0].step != NULL;
    if (is_stream) {
        prn__table_column(table, "step", 'l');
        prn__table_column(table, "set", 'l');
        prn__table_column(table, "kind", 'l');
    }
    prn__table_column(table, "shards", 'r');
    prn__table_column(table, "samples", 'r');
    prn__table_column(table, "files", 'l');
    for (size_t i = 0; i < count; i++) {
        const prn__set_facts *s = &sets[i];
        if (is_stream) { /* a step's name once, on its first line */
            prn__table_cell(table, "%s", i > 0 && strcmp(sets[i - 1].step, s->step) == 0 ? "" : s->step);
            prn__table_cell(table, "%s", s->set);
            prn__table_cell(table, "%s", s->kind);
        }
        prn__table_count(table, s->shards);
        if (s->samples >= 0) {
            prn__table_count(table, s->samples);
        } else {
            prn__table_cell(table, "?");
        }
        prn__table_cell(table, "%s", s->pattern);
    }
    prn__table_print(table, is_stream ? 2 : 0, target);
    prn__table_destroy(table);
}

static void print_samples(const prn__set_facts *s, int has_tokens, int has_class, prn__text *target)
{
    prn__table *table = prn__table_create();
    prn__table_column(table, "key", 'l');
    prn__table_column(table, "image", 'l');
    if (has_class) {
        prn__table_column(table, "class", 'r');
    }
    if (has_tokens) {
        prn__table_column(table, "tokens", 'r');
    }
    prn__table_column(table, "caption", 'l');
    for (size_t i = 0; i < s->first_count; i++) {
        const prn__sample_facts *f = &s->first[i];
        prn__text key, caption;
        prn__text_init(&key);
        prn__text_init(&caption);
        prn__text_append_safe(&key, f->key, strlen(f->key), KEY_CELLS);
        prn__text_append_safe(&caption, f->caption != NULL ? f->caption : "", f->caption != NULL ? strlen(f->caption) : 0, CAPTION_CELLS);
        prn__table_cell(table, "%s", key.data != NULL ? key.data : "");
        if (f->problem != NULL) {
            prn__table_cell(table, "bad");
        } else {
            prn__table_cell(table, "%" PRId64 "x%" PRId64, f->width, f->height);
        }
        if (has_class && f->class_index >= 0) {
            prn__table_cell(table, "%d", f->class_index);
        } else if (has_class) {
            prn__table_cell(table, "-");
        }
        if (has_tokens) {
            prn__table_cell(table, "%" PRId64, f->tokens);
        }
        prn__table_cell(table, "%s", f->problem != NULL ? f->problem : f->caption == NULL ? "(none)" : caption.data != NULL ? caption.data : "");
        target->failed |= key.failed | caption.failed;
        prn__text_fini(&key);
        prn__text_fini(&caption);
    }
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

void prn__data_show_print(const prn__manifest *manifest, const prn__set_facts *sets, size_t count, prn__text *target)
{
    if (manifest != NULL) {
        print_manifest(manifest, target);
    }
    print_sets(sets, count, target);
    for (size_t i = 0; i < count; i++) {
        int has_tokens = 0, has_class = 0;
        if (sets[i].problem != NULL) {
            prn__text_printf(target, "\n%s%s%s: ", sets[i].step != NULL ? sets[i].step : "", sets[i].step != NULL ? ", " : "",
                             sets[i].set != NULL ? sets[i].set : sets[i].pattern);
            prn__text_append_safe(target, sets[i].problem, strlen(sets[i].problem), 0);
            prn__text_puts(target, "\n");
        }
        if (sets[i].first_count == 0) {
            continue;
        }
        for (size_t k = 0; k < sets[i].first_count; k++) {
            has_tokens |= sets[i].first[k].tokens >= 0;
            has_class |= sets[i].first[k].class_index >= 0;
        }
        if (sets[i].step != NULL) {
            prn__text_printf(target, "\n%s, %s\n", sets[i].step, sets[i].set);
        } else {
            prn__text_puts(target, "\n");
        }
        print_samples(&sets[i], has_tokens, has_class, target);
    }
}

/* ---- showing: JSON ----------------------------------------------------------------------------------------------------------- */

void prn__data_show_json(const prn__manifest *manifest, const prn__set_facts *sets, size_t count, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    if (manifest != NULL) {
        prn__json_string(&json, root, "stream", manifest->name);
        prn__json_string(&json, root, "manifest", manifest->path);
        prn__json_string(&json, root, "root", manifest->root);
        prn__json_string(&json, root, "vocabulary", manifest->vocabulary);
        prn__json_string(&json, root, "on_bad_sample", manifest->bad_policy == PRN__BAD_FAIL ? "fail" : "skip");
        json_t *steps = prn__json_array(&json, root, "time_steps");
        for (size_t t = 0; t < manifest->step_count; t++) {
            prn__json_string(&json, steps, NULL, manifest->steps[t].name);
        }
        json_t *classes = prn__json_array(&json, root, "classes");
        for (size_t c = 0; c < manifest->class_count; c++) {
            prn__json_string(&json, classes, NULL, manifest->classes[c]);
        }
        json_t *templates = prn__json_array(&json, root, "templates");
        for (size_t c = 0; c < manifest->template_count; c++) {
            prn__json_string(&json, templates, NULL, manifest->templates[c]);
        }
    }
    json_t *list = prn__json_array(&json, root, "sets");
    for (size_t i = 0; i < count; i++) {
        const prn__set_facts *s = &sets[i];
        json_t *object = prn__json_object(&json, list, NULL);
        prn__json_string(&json, object, "time_step", s->step);
        prn__json_string(&json, object, "set", s->set);
        prn__json_string(&json, object, "kind", s->kind);
        prn__json_string(&json, object, "files", s->pattern);
        prn__json_integer(&json, object, "shards", s->shards);
        if (s->samples >= 0) {
            prn__json_integer(&json, object, "samples", s->samples);
        } else {
            prn__json_string(&json, object, "samples", NULL);
        }
        prn__json_string(&json, object, "problem", s->problem);
        json_t *first = prn__json_array(&json, object, "first");
        for (size_t k = 0; k < s->first_count; k++) {
            const prn__sample_facts *f = &s->first[k];
            json_t *sample = prn__json_object(&json, first, NULL);
            prn__json_string(&json, sample, "key", f->key);
            prn__json_string(&json, sample, "caption", f->caption);
            if (f->class_index >= 0) {
                prn__json_integer(&json, sample, "class", f->class_index);
            } else {
                prn__json_string(&json, sample, "class", NULL);
            }
            prn__json_integer(&json, sample, "width", f->width);
            prn__json_integer(&json, sample, "height", f->height);
            if (f->tokens >= 0) {
                prn__json_integer(&json, sample, "tokens", f->tokens);
            }
            prn__json_string(&json, sample, "problem", f->problem);
        }
    }
    prn__json_finish(&json, root, target);
}

/* ---- verifying ---------------------------------------------------------------------------------------------------------------- */

int prn__verified_is_bad(const prn__verified_set *set)
{
    return set->report.problem.status != PRN_OK || set->report.lost > 0 || set->report.checksum == PRN__CHECKSUM_DIFFERS;
}

static const char *checksum_text(prn__checksum_state state)
{
    return state == PRN__CHECKSUM_EQUAL ? "equal" : state == PRN__CHECKSUM_DIFFERS ? "DIFFERS" : "not stated";
}

typedef struct verify_totals {
    int64_t shards, good, lost;
    size_t bad_sets;
    int64_t losses[PRN__LOSS_COUNT];
} verify_totals;

static verify_totals totals_of(const prn__verified_set *sets, size_t count)
{
    verify_totals t;
    memset(&t, 0, sizeof t);
    for (size_t i = 0; i < count; i++) {
        t.shards += sets[i].report.shards;
        t.good += sets[i].report.good;
        t.lost += sets[i].report.lost;
        t.bad_sets += prn__verified_is_bad(&sets[i]) ? 1 : 0;
        for (int r = 0; r < PRN__LOSS_COUNT; r++) {
            t.losses[r] += sets[i].report.losses[r];
        }
    }
    return t;
}

static void print_verified(const prn__verified_set *sets, size_t count, prn__text *target)
{
    prn__table *table = prn__table_create();
    int is_stream = count > 0 && sets[0].step != NULL;
    if (is_stream) {
        prn__table_column(table, "step", 'l');
        prn__table_column(table, "set", 'l');
    } else {
        prn__table_column(table, "files", 'l');
    }
    static const char *const heads[] = {"shards", "samples", "good", "lost"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'r');
    }
    prn__table_column(table, "checksum", 'l');
    prn__table_column(table, "", 'l');
    for (size_t i = 0; i < count; i++) {
        const prn__verify_report *r = &sets[i].report;
        if (is_stream) {
            prn__table_cell(table, "%s", i > 0 && strcmp(sets[i - 1].step, sets[i].step) == 0 ? "" : sets[i].step);
            prn__table_cell(table, "%s", sets[i].set);
        } else {
            prn__table_cell(table, "%s", sets[i].pattern);
        }
        prn__table_count(table, r->shards);
        prn__table_count(table, r->samples);
        prn__table_count(table, r->good);
        prn__table_count(table, r->lost);
        prn__table_cell(table, "%s", r->shards > 0 ? checksum_text(r->checksum) : "-");
        prn__table_cell(table, "%s", prn__verified_is_bad(&sets[i]) ? "BAD" : "");
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
}

static void print_losses(const prn__verified_set *sets, size_t count, prn__text *target)
{
    prn__table *table = prn__table_create();
    size_t lines = 0;
    prn__table_column(table, "shard", 'l');
    prn__table_column(table, "reason", 'l');
    prn__table_column(table, "lost", 'r');
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sets[i].loss_count; k++, lines++) {
            prn__table_cell(table, "%s", sets[i].losses[k].shard);
            prn__table_cell(table, "%s", prn__loss_reason_name(sets[i].losses[k].reason));
            prn__table_count(table, sets[i].losses[k].count);
        }
    }
    if (lines > 0) {
        prn__text_puts(target, "\n");
        prn__table_print(table, 0, target);
    }
    prn__table_destroy(table);
}

static void print_lines(const prn__verified_set *sets, size_t count, prn__text *target)
{
    size_t lines = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sets[i].sample_count; k++) {
            const prn__verify_sample *s = &sets[i].samples[k];
            prn__text line;
            prn__text_init(&line);
            prn__text_printf(&line, "%s: %s%s%s: %s", s->shard, s->key, s->key[0] != '\0' ? ": " : "", prn__loss_reason_name(s->reason), s->message);
            prn__text_puts(target, lines++ == 0 ? "\nfirst bad samples\n  " : "  ");
            prn__text_append_safe(target, line.data != NULL ? line.data : "", line.length, 0);
            prn__text_puts(target, "\n");
            prn__text_fini(&line);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (sets[i].report.problem.status != PRN_OK) {
            prn__text_puts(target, "\n");
            prn__text_append_safe(target, sets[i].report.problem.message, strlen(sets[i].report.problem.message), 0);
            prn__text_puts(target, "\n");
        }
    }
}

void prn__data_verify_print(const prn__verified_set *sets, size_t count, double seconds, prn__text *target)
{
    const verify_totals t = totals_of(sets, count);
    char a[32], b[32], c[32], d[32];
    print_verified(sets, count, target);
    print_losses(sets, count, target);
    print_lines(sets, count, target);
    prn__text_printf(target, "\n%s samples in %s shards are good, %s lost", prn__format_count(t.good, a, sizeof a),
                     prn__format_count(t.shards, b, sizeof b), prn__format_count(t.lost, c, sizeof c));
    for (int r = 0, n = 0; r < PRN__LOSS_COUNT; r++) {
        if (t.losses[r] > 0) {
            prn__text_printf(target, "%s%s %s", n++ == 0 ? " (" : ", ", prn__format_count(t.losses[r], a, sizeof a),
                             prn__loss_reason_name((prn__loss_reason)r));
        }
    }
    prn__text_printf(target, "%s; %s, in %s\n", t.lost > 0 ? ")" : "", t.bad_sets == 0 ? "nothing is wrong" : "SOMETHING IS WRONG",
                     prn__format_duration(seconds, d, sizeof d));
}

static void put_losses(prn__json *json, json_t *parent, const int64_t *losses)
{
    json_t *object = prn__json_object(json, parent, "losses");
    for (int r = 0; r < PRN__LOSS_COUNT; r++) {
        prn__json_integer(json, object, prn__loss_reason_name((prn__loss_reason)r), losses[r]);
    }
}

void prn__data_verify_json(const prn__verified_set *sets, size_t count, double seconds, prn__text *target)
{
    static const char *const states[] = {"not_stated", "equal", "differs"};
    const verify_totals t = totals_of(sets, count);
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_boolean(&json, root, "ok", t.bad_sets == 0);
    prn__json_integer(&json, root, "shards", t.shards);
    prn__json_integer(&json, root, "good", t.good);
    prn__json_integer(&json, root, "lost", t.lost);
    put_losses(&json, root, t.losses);
    prn__json_real(&json, root, "seconds", seconds);
    json_t *list = prn__json_array(&json, root, "sets");
    for (size_t i = 0; i < count; i++) {
        const prn__verified_set *s = &sets[i];
        json_t *object = prn__json_object(&json, list, NULL);
        prn__json_string(&json, object, "time_step", s->step);
        prn__json_string(&json, object, "set", s->set);
        prn__json_string(&json, object, "files", s->pattern);
        prn__json_boolean(&json, object, "ok", !prn__verified_is_bad(s));
        prn__json_integer(&json, object, "shards", s->report.shards);
        prn__json_integer(&json, object, "samples", s->report.samples);
        prn__json_integer(&json, object, "good", s->report.good);
        prn__json_integer(&json, object, "lost", s->report.lost);
        put_losses(&json, object, s->report.losses);
        prn__json_string(&json, object, "checksum", states[s->report.checksum]);
        prn__json_string(&json, object, "digest", s->report.digest[0] != '\0' ? s->report.digest : NULL);
        prn__json_string(&json, object, "problem", s->report.problem.status != PRN_OK ? s->report.problem.message : NULL);
        json_t *shards = prn__json_array(&json, object, "shard_losses");
        for (size_t k = 0; k < s->loss_count; k++) {
            json_t *entry = prn__json_object(&json, shards, NULL);
            prn__json_string(&json, entry, "shard", s->losses[k].shard);
            prn__json_string(&json, entry, "reason", prn__loss_reason_name(s->losses[k].reason));
            prn__json_integer(&json, entry, "count", s->losses[k].count);
        }
        json_t *samples = prn__json_array(&json, object, "bad_samples");
        for (size_t k = 0; k < s->sample_count; k++) {
            json_t *entry = prn__json_object(&json, samples, NULL);
            prn__json_string(&json, entry, "shard", s->samples[k].shard);
            prn__json_string(&json, entry, "key", s->samples[k].key);
            prn__json_string(&json, entry, "reason", prn__loss_reason_name(s->samples[k].reason));
            prn__json_string(&json, entry, "message", s->samples[k].message);
        }
    }
    prn__json_finish(&json, root, target);
}
