/* core/page/page_data.c: what the page draws from; see page.h.
 *
 * Numbers are written as `perennial results --json` writes them, so that both say the same to the last digit; curves, which are
 * only looked at, have five digits.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <utf8proc.h>

#include "page/page.h"
#include "page/style.h"
#include "report/json.h"
#include "report/score_colour.h"

enum { MAP_COLOURS = 128, MAX_SKIPS = 200 };

/* ---- values ------------------------------------------------------------------------------------------------------------------ */

/* A JSON string that can stand in HTML: what could end a script element or start markup is written as its code point. */
static void put_string(prn__text *t, const char *string)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)string;
    utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(string);
    prn__text_puts(t, "\"");
    while (left > 0) {
        utf8proc_int32_t code;
        utf8proc_ssize_t used = utf8proc_iterate(at, left, &code);
        if (used <= 0) {
            prn__text_puts(t, "\xef\xbf\xbd");
            used = 1;
        } else if (code < 0x20 || code == '"' || code == '\\' || code == '<' || code == '>' || code == '&' || code == 0x7f || code == 0x2028 ||
                   code == 0x2029) {
            prn__text_printf(t, "\\u%04x", (unsigned)code);
        } else {
            prn__text_append(t, (const char *)at, (size_t)used);
        }
        at += used;
        left -= used;
    }
    prn__text_puts(t, "\"");
}

/* `before` each value but an array's or object's first is the caller's comma. */
static void put_field(prn__text *t, const char *key, const char *string)
{
    prn__text_printf(t, "\"%s\":", key);
    put_string(t, string);
    prn__text_puts(t, ",");
}

static void put_real(prn__text *t, double value)
{
    char digits[40];
    prn__text_puts(t, isfinite(value) ? prn__format_real(value, digits) : "null");
}

static void put_real_field(prn__text *t, const char *key, double value)
{
    prn__text_printf(t, "\"%s\":", key);
    put_real(t, value);
    prn__text_puts(t, ",");
}

static void put_rounded(prn__text *t, double value)
{
    if (isfinite(value)) {
        prn__text_printf(t, "%.5g", value);
    } else {
        prn__text_puts(t, "null");
    }
}

static void put_comma(prn__text *t, size_t index)
{
    prn__text_puts(t, index > 0 ? "," : "");
}

/* ---- how it looks -------------------------------------------------------------------------------------------------------------- */

static void put_style(prn__text *t)
{
    prn__text_puts(t, "\"style\":{\"map\":[");
    for (int i = 0; i < MAP_COLOURS; i++) {
        prn__text_printf(t, "%s\"#%06x\"", i > 0 ? "," : "", prn__score_colour(i / (MAP_COLOURS - 1.0)));
    }
    prn__text_puts(t, "],\"markers\":[");
    for (int i = 0; i < PRN__MARKERS; i++) {
        double outline[2 * PRN__MARKER_POINTS];
        int points = prn__marker_outline(i, outline);
        prn__text_puts(t, i > 0 ? ",[" : "[");
        for (int k = 0; k < 2 * points; k++) {
            prn__text_printf(t, "%s%.3g", k > 0 ? "," : "", outline[k]);
        }
        prn__text_puts(t, "]");
    }
    prn__text_puts(t, "],\"dashes\":[");
    for (int i = 0; i < PRN__DASHES; i++) {
        int count;
        const double *parts = prn__dash_parts(i, &count);
        prn__text_puts(t, i > 0 ? ",\"" : "\"");
        for (int k = 0; k < count; k++) {
            prn__text_printf(t, "%s%g", k > 0 ? " " : "", parts[k]);
        }
        prn__text_puts(t, "\"");
    }
    prn__text_puts(t, "]},");
}

/* ---- a strategy ------------------------------------------------------------------------------------------------------------------ */

static void put_stages(prn__text *t, const prn__results *results, const prn__result_strategy *strategy)
{
    prn__text_puts(t, "\"stages\":[");
    for (uint32_t i = 0; i < results->step_count; i++) {
        const prn__result_stage *stage = &strategy->stages[i];
        put_comma(t, i);
        prn__text_puts(t, "{");
        put_field(t, "stage", stage->key);
        put_field(t, "state", stage->state);
        put_real_field(t, "forward_macs", stage->forward_macs);
        put_real_field(t, "total_macs", stage->total_macs);
        put_real_field(t, "seconds", stage->seconds);
        put_real_field(t, "last_loss", stage->last_loss);
        prn__text_printf(t, "\"updates\":%" PRId64 ",\"samples\":%" PRId64 ",\"skipped\":%" PRId64 "}", stage->steps, stage->samples, stage->skipped);
    }
    prn__text_puts(t, "],");
}

static void put_scores(prn__text *t, const prn__results *results, const prn__result_task *task)
{
    const size_t cells = (size_t)results->step_count * results->step_count;
    for (size_t k = 0; k < task->score_count; k++) {
        const prn__result_score *score = &task->scores[k];
        const prn__transfer *m = &score->transfer;
        put_comma(t, k);
        put_string(t, score->name);
        prn__text_puts(t, ":{");
        put_real_field(t, "in_domain", m->in_domain);
        put_real_field(t, "backward", m->backward);
        put_real_field(t, "forward", m->forward);
        put_real_field(t, "next_domain", m->next_domain);
        put_real_field(t, "forgetting", m->forgetting);
        put_real_field(t, "gem_bwt", m->gem_bwt);
        put_real_field(t, "gem_fwt", m->gem_fwt);
        put_real_field(t, "regret", m->regret);
        prn__text_puts(t, "\"matrix\":[");
        for (size_t i = 0; i < cells; i++) {
            put_comma(t, i);
            put_real(t, score->matrix[i]);
        }
        prn__text_puts(t, "]}");
    }
}

/* One array a column: shorter than one object a point. */
static void put_curve(prn__text *t, const prn__curve *curve, uint32_t steps, int64_t batch)
{
    static const char *const columns[] = {"at", "loss_low", "loss_high", "loss", "rate_low", "rate_high", "speed", "wait", "memory"};
    int64_t lost = 0;
    prn__text_printf(t, "\"curve\":{\"updates\":%" PRId64 ",\"width\":%" PRId64 ",\"starts\":[", curve->updates, curve->width);
    for (uint32_t i = 0; i <= steps; i++) {
        prn__text_printf(t, "%s%" PRId64, i > 0 ? "," : "", curve->starts[i]);
    }
    prn__text_puts(t, "]");
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        prn__text_printf(t, ",\"%s\":[", columns[c]);
        for (size_t i = 0; i < curve->count; i++) {
            const prn__curve_point *p = &curve->points[i];
            const double values[] = {(double)p->update, p->loss_low, p->loss_high, p->loss_mean, p->rate_low, p->rate_high,
                                     prn__curve_speed(p, batch), prn__curve_wait(p), p->memory_bytes};
            put_comma(t, i);
            if (c == 0) {
                prn__text_printf(t, "%" PRId64, p->update);
            } else {
                put_rounded(t, values[c]);
            }
            lost += c == 0 ? p->count - p->finite : 0;
        }
        prn__text_puts(t, "]");
    }
    prn__text_printf(t, ",\"not_finite\":%" PRId64 "}", lost);
}

static void put_strategy(prn__text *t, const prn__page_part *part, size_t index, size_t plain)
{
    const prn__results *results = part->results;
    const prn__result_strategy *strategy = &results->strategies[index];
    const int is_oracle = strcmp(strategy->strategy, "oracle") == 0;
    const prn__line_style style = prn__line_style_of(plain, is_oracle);
    double seconds = 0;
    int64_t skipped = 0;
    for (uint32_t i = 0; i < results->step_count; i++) {
        seconds += strategy->stages[i].seconds;
        skipped += strategy->stages[i].skipped;
    }
    prn__text_puts(t, "{");
    put_field(t, "label", strategy->label);
    put_field(t, "strategy", strategy->strategy);
    put_field(t, "options", strategy->options);
    prn__text_printf(t, "\"oracle\":%s,\"colour\":%d,\"marker\":%d,\"dash\":%d,", is_oracle ? "true" : "false", style.colour, style.marker, style.dash);
    put_real_field(t, "forward_macs", strategy->forward_macs);
    put_real_field(t, "total_macs", strategy->total_macs);
    put_real_field(t, "teacher_macs", strategy->teacher_macs);
    put_real_field(t, "tuning_macs", strategy->tuning_macs);
    put_real_field(t, "seconds", seconds);
    prn__text_printf(t, "\"samples\":%" PRId64 ",\"skipped\":%" PRId64 ",", strategy->samples, skipped);
    put_stages(t, results, strategy);
    prn__text_puts(t, "\"tasks\":[");
    for (size_t k = 0; k < results->task_count; k++) {
        put_comma(t, k);
        prn__text_puts(t, "{");
        put_scores(t, results, &strategy->tasks[k]);
        prn__text_puts(t, "}");
    }
    prn__text_puts(t, "],");
    put_curve(t, &part->curves[index], results->step_count, results->run.batch);
    prn__text_puts(t, "}");
}

/* ---- a run ------------------------------------------------------------------------------------------------------------------------ */

static void put_part(prn__text *t, const prn__page_part *part)
{
    const prn__results *results = part->results;
    const prn__run_info *run = &results->run;
    prn__text_printf(t, "{\"id\":%" PRId64 ",\"seed\":%" PRId64 ",\"batch\":%" PRId64 ",\"stages\":%u,\"stages_done\":%u,\"attempts\":%" PRId64 ",", run->id,
                     run->seed, run->batch, run->stage_count, run->stages_done, part->timeline->attempts);
    put_field(t, "name", run->name);
    put_field(t, "state", run->state);
    put_field(t, "message", run->message);
    put_field(t, "started", run->started);
    put_field(t, "finished", run->finished);
    put_field(t, "recipe_path", run->recipe_path);
    put_field(t, "manifest", run->manifest_path);
    put_field(t, "stream", run->stream);
    put_field(t, "model", run->model);
    put_field(t, "backend", run->backend);
    put_real_field(t, "forward_macs", results->forward_macs);
    put_real_field(t, "total_macs", results->total_macs);
    prn__text_printf(t, "\"samples\":%" PRId64 ",", results->samples);
    put_field(t, "settings", part->timeline->settings);
    put_field(t, "recipe", part->timeline->recipe_text);
    put_field(t, "resolved", part->timeline->resolved);
    put_field(t, "environment", results->environment != NULL ? results->environment : "");
    prn__text_puts(t, "\"time_steps\":[");
    for (uint32_t i = 0; i < results->step_count; i++) {
        put_comma(t, i);
        put_string(t, results->step_names[i]);
    }
    prn__text_puts(t, "],\"tasks\":[");
    for (size_t k = 0; k < results->task_count && results->strategy_count > 0; k++) {
        const prn__result_task *task = &results->strategies[0].tasks[k];
        put_comma(t, k);
        prn__text_puts(t, "{");
        put_field(t, "name", task->name);
        put_field(t, "kind", task->kind == PRN__TASK_CLASSIFICATION ? "classification" : "retrieval");
        prn__text_puts(t, "\"scores\":[");
        for (size_t i = 0; i < task->score_count; i++) {
            put_comma(t, i);
            put_string(t, task->scores[i].name);
        }
        prn__text_puts(t, "]}");
    }
    prn__text_puts(t, "],\"strategies\":[");
    for (size_t s = 0, plain = 0; s < results->strategy_count; s++) {
        put_comma(t, s);
        put_strategy(t, part, s, plain);
        plain += strcmp(results->strategies[s].strategy, "oracle") != 0;
    }
    prn__text_printf(t, "],\"skip_rows\":%zu,\"skips\":[", results->skip_count);
    for (size_t i = 0; i < results->skip_count && i < MAX_SKIPS; i++) {
        put_comma(t, i);
        prn__text_puts(t, "{");
        put_field(t, "stage", results->skips[i].stage);
        put_field(t, "shard", results->skips[i].shard);
        put_field(t, "reason", results->skips[i].reason);
        prn__text_printf(t, "\"count\":%" PRId64 "}", results->skips[i].count);
    }
    prn__text_puts(t, "]}");
}

void prn__page_data(const prn__page *page, prn__text *t)
{
    prn__text_puts(t, "{");
    put_field(t, "perennial", PRN_RELEASE);
    put_style(t);
    prn__text_puts(t, "\"sweeps\":[");
    for (size_t i = 0; i < page->sweep_count; i++) {
        put_comma(t, i);
        put_string(t, page->sweeps[i]);
    }
    prn__text_puts(t, "],\"runs\":[");
    for (size_t i = 0; i < page->part_count; i++) {
        put_comma(t, i);
        put_part(t, page->parts[i]);
    }
    prn__text_puts(t, "]}");
}
