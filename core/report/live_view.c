/* core/report/live_view.c: see live_view.h.
 *
 *   quickstart  ██████████░░░░░░░░░░  31 %  8 min left  3 stages done  2 running  6 to come
 *   1  stage 4/11: time step 2 (1996), strategy sequential
 *      ████████████░░░░░░░░  240/400  loss 2.341  812 samples/s  20 s left  lr 1.50e-03  data wait 3 %
 *
 * Where there is no room, parts are left out from the end of a line, then the headings of jobs, then jobs.
 */
#include "ledger/claims.h"
#include "report/live_view.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "report/table.h"
#include "run/stage_files.h"

enum { LABEL_BYTES = 384, SMALLEST = 10 };

typedef enum stage_state { TO_COME = 0, ELSEWHERE = 1, DONE = 2 } stage_state;

typedef struct job {
    prn__progress progress; /* label: below; phase: one of the constants */
    char label[LABEL_BYTES];
    int is_known, is_over;
    _Atomic long process;   /* 0: not told */
} job;

struct prn__live_view {
    const prn__plan *plan;
    job *jobs;
    uint32_t job_count;
    _Atomic unsigned char *states; /* (stage_count) */
};

prn__live_view *prn__live_view_create(const prn__plan *plan, uint32_t jobs)
{
    prn__live_view *v = prn__alloc(sizeof *v);
    if (v == NULL) {
        return NULL;
    }
    v->plan = plan;
    v->job_count = jobs;
    v->jobs = prn__alloc_array(jobs, sizeof *v->jobs);
    v->states = prn__alloc_array((size_t)plan->stage_count + 1, 1);
    if (v->jobs == NULL || v->states == NULL) {
        prn__live_view_destroy(v);
        return NULL;
    }
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        v->states[i] = plan->stages[i].is_done ? DONE : TO_COME;
    }
    return v;
}

void prn__live_view_destroy(prn__live_view *v)
{
    if (v != NULL) {
        prn__free(v->jobs);
        prn__free(v->states);
        prn__free(v);
    }
}

/* A constant of the same spelling: the caller's text may not outlive the call. */
static const char *phase_of(const char *phase)
{
    static const char *const known[] = {"train", "finish", "evaluate", "index", "wait"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i], phase) == 0) {
            return known[i];
        }
    }
    return "";
}

static int is_phase(const job *j, const char *phase)
{
    return j->is_known && !j->is_over && strcmp(j->progress.phase, phase) == 0;
}

/* Index of the stage that a job trains, -1 for none. */
static int64_t trained_by(const job *j)
{
    return j->progress.stage > 0 && (is_phase(j, "train") || is_phase(j, "finish")) ? (int64_t)j->progress.stage - 1 : -1;
}

void prn__live_view_update(prn__live_view *v, uint32_t index, const prn__progress *p)
{
    if (index >= v->job_count) {
        return;
    }
    job *j = &v->jobs[index];
    const char *phase = phase_of(p->phase);
    const int64_t before = trained_by(j);
    if (before >= 0 && before < (int64_t)v->plan->stage_count && p->stage > 0 && (int64_t)p->stage - 1 != before && j->progress.step >= j->progress.steps) {
        v->states[before] = DONE;
    }
    j->progress = *p;
    j->progress.phase = phase;
    (void)snprintf(j->label, sizeof j->label, "%s", p->label != NULL ? p->label : "");
    j->progress.label = j->label;
    j->is_known = 1;
    if (strcmp(phase, "evaluate") == 0 && p->stage > 0 && p->stage <= v->plan->stage_count) {
        v->states[p->stage - 1] = DONE;
    }
}

void prn__live_view_process(prn__live_view *v, uint32_t index, long process)
{
    if (index < v->job_count) {
        v->jobs[index].process = process;
    }
}

void prn__live_view_end(prn__live_view *v, uint32_t index)
{
    if (index < v->job_count) {
        v->jobs[index].is_over = 1;
    }
}

static int is_own(const prn__live_view *v, const prn__holder *holder)
{
    int own = 0;
    for (uint32_t k = 0; k < v->job_count; k++) {
        own |= v->jobs[k].process == holder->process;
    }
    return own;
}

void prn__live_view_look(prn__live_view *v)
{
    const char *workspace = v->plan->recipe->workspace;
    for (uint32_t i = 0; i < v->plan->stage_count; i++) {
        if (v->states[i] != DONE) {
            const char *key = v->plan->stages[i].key;
            prn__holder holder;
            v->states[i] = prn__stage_is_done(workspace, key)                                      ? DONE
                           : prn__claim_is_held(workspace, key, &holder) && !is_own(v, &holder) ? ELSEWHERE
                                                                                                   : TO_COME;
        }
    }
}

/* ---- a line ---------------------------------------------------------------------------------------------------------------------- */

typedef struct line {
    prn__text *target;
    const prn__live_style *style;
    size_t used; /* cells */
} line;

static const char STRONG[] = "1", FAINT[] = "2", DONE_COLOUR[] = "32", WARNING[] = "33";

static size_t room(const line *l)
{
    return l->style->columns > l->used + 1 ? l->style->columns - 1 - l->used : 0;
}

/* Characters that the terminal does not know become ones that it does. */
static void put_plain(line *l, const char *text, size_t length)
{
    static const struct {
        const char *fine, *plain;
    } table[] = {{"█", "#"}, {"░", "."}, {"…", "."}};
    for (size_t i = 0; i < length;) {
        const unsigned char c = (unsigned char)text[i];
        size_t bytes = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        const char *plain = "?";
        for (size_t k = 0; k < sizeof table / sizeof table[0] && c >= 0x80; k++) {
            plain = strncmp(text + i, table[k].fine, strlen(table[k].fine)) == 0 ? table[k].plain : plain;
        }
        if (c < 0x80) {
            prn__text_append(l->target, text + i, 1);
        } else {
            prn__text_puts(l->target, plain);
        }
        i += bytes;
    }
}

/* Cut at the line's end. */
static void put(line *l, const char *colour, const char *text)
{
    prn__text safe;
    if (room(l) == 0 || text[0] == '\0') {
        return;
    }
    prn__text_init(&safe);
    prn__text_append_safe(&safe, text, strlen(text), room(l));
    if (safe.data != NULL && !safe.failed) {
        if (l->style->is_coloured && colour != NULL) {
            prn__text_printf(l->target, "\033[%sm", colour);
        }
        if (l->style->is_utf8) {
            prn__text_append(l->target, safe.data, safe.length);
        } else {
            put_plain(l, safe.data, safe.length);
        }
        if (l->style->is_coloured && colour != NULL) {
            prn__text_puts(l->target, "\033[0m");
        }
        l->used += prn__text_cells(safe.data);
    }
    l->target->failed |= safe.failed;
    prn__text_fini(&safe);
}

/* Two spaces and the text, or nothing where it does not fit. */
static void put_part(line *l, const char *colour, const char *text)
{
    if (text[0] != '\0' && prn__text_cells(text) + 2 <= room(l)) {
        put(l, NULL, "  ");
        put(l, colour, text);
    }
}

static void put_bar(line *l, double share, size_t cells)
{
    char text[3 * 64 + 1], *at = text;
    const size_t full = (size_t)(fmin(fmax(share, 0), 1) * (double)cells + 1e-9);
    if (cells == 0 || cells > 64 || cells > room(l)) {
        return;
    }
    for (size_t i = 0; i < full; i++) {
        at += strlen(strcpy(at, "█"));
    }
    put(l, DONE_COLOUR, full > 0 ? text : "");
    at = text;
    for (size_t i = full; i < cells; i++) {
        at += strlen(strcpy(at, "░"));
    }
    put(l, FAINT, full < cells ? text : "");
}

static void end_line(line *l, size_t *lines)
{
    prn__text_puts(l->target, "\n");
    l->used = 0;
    (*lines)++;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------- */

static double share_of(const job *j)
{
    return j->progress.steps > 0 ? (double)j->progress.step / (double)j->progress.steps : 0;
}

typedef struct summary {
    uint32_t done, running, elsewhere, to_come, working;
    double share, remaining_s;
} summary;

static summary sum_up(const prn__live_view *v)
{
    summary s = {.remaining_s = 0};
    double all = 0, made = 0, remaining = 0;
    uint32_t told = 0;
    for (uint32_t i = 0; i < v->plan->stage_count; i++) {
        double part = v->states[i] == DONE ? 1 : 0, cost = v->plan->stages[i].total_macs;
        int is_running = 0;
        for (uint32_t k = 0; k < v->job_count && part < 1; k++) {
            if (trained_by(&v->jobs[k]) == (int64_t)i) {
                is_running = 1;
                part = fmin(share_of(&v->jobs[k]), 0.999);
            }
        }
        s.done += part >= 1;
        s.running += (uint32_t)is_running;
        s.elsewhere += part < 1 && !is_running && v->states[i] == ELSEWHERE;
        s.to_come += part < 1 && !is_running && v->states[i] != ELSEWHERE;
        all += cost;
        made += cost * part;
    }
    for (uint32_t k = 0; k < v->job_count; k++) {
        const job *j = &v->jobs[k];
        s.working += is_phase(j, "train") || is_phase(j, "evaluate") || is_phase(j, "finish");
        if ((is_phase(j, "train") || is_phase(j, "evaluate")) && isfinite(j->progress.remaining_s)) {
            remaining += j->progress.remaining_s; /* what it would take alone */
            told++;
        }
    }
    s.share = all > 0 ? made / all : s.to_come + s.running + s.elsewhere == 0;
    s.remaining_s = told > 0 ? remaining / told / (s.working > 0 ? s.working : 1) : NAN;
    return s;
}

static void put_summary(const prn__live_view *v, line *l)
{
    char text[64], time[40];
    const summary s = sum_up(v);
    put(l, STRONG, v->plan->recipe->name);
    if (v->plan->recipe->sweep != NULL) {
        (void)snprintf(text, sizeof text, " %" PRIu32 "/%" PRIu32, v->plan->recipe->sweep->combination, v->plan->recipe->sweep->combination_count);
        put(l, STRONG, text); /* which combination; a line above has said its settings */
    }
    put(l, NULL, "  ");
    put_bar(l, s.share, l->style->columns >= 100 ? 24 : l->style->columns >= 60 ? 12 : 0);
    (void)snprintf(text, sizeof text, "%3.0f %%", floor(s.share * 100));
    put_part(l, NULL, text);
    if (l->style->is_stopping) {
        put_part(l, WARNING, "stopping, once more stops at once");
    } else if (isfinite(s.remaining_s)) {
        (void)snprintf(text, sizeof text, "%s left", s.remaining_s < 1 ? "< 1 s" : prn__format_duration(s.remaining_s, time, sizeof time));
        put_part(l, NULL, text);
    }
    (void)snprintf(text, sizeof text, "%" PRIu32 " %s done", s.done, s.done == 1 ? "stage" : "stages");
    put_part(l, DONE_COLOUR, text);
    (void)snprintf(text, sizeof text, "%" PRIu32 " running", s.running);
    put_part(l, NULL, text);
    if (s.elsewhere > 0) {
        (void)snprintf(text, sizeof text, "%" PRIu32 " elsewhere", s.elsewhere);
        put_part(l, NULL, text);
    }
    (void)snprintf(text, sizeof text, "%" PRIu32 " to come", s.to_come);
    put_part(l, FAINT, text);
}

static void put_heading(const prn__live_view *v, uint32_t index, line *l)
{
    const job *j = &v->jobs[index];
    char text[32];
    if (v->job_count > 1) {
        (void)snprintf(text, sizeof text, "%-3" PRIu32, index + 1);
        put(l, STRONG, text);
    }
    if (is_phase(j, "wait")) {
        put(l, FAINT, "waiting for ");
        put(l, FAINT, j->label);
        return;
    }
    if (j->progress.stage > 0) {
        (void)snprintf(text, sizeof text, "stage %" PRIu32 "/%" PRIu32 ": ", j->progress.stage, v->plan->stage_count);
        put(l, NULL, text);
    } else {
        put(l, NULL, is_phase(j, "index") ? "indexing shards of " : is_phase(j, "") ? "starting" : "");
    }
    put(l, NULL, is_phase(j, "evaluate") ? "scoring " : is_phase(j, "finish") ? "finishing " : "");
    put(l, NULL, j->label);
}

/* Time that this stage alone still takes. */
static double stage_left_s(const prn__live_view *v, const prn__progress *p)
{
    const double batch = (double)v->plan->recipe->batch;
    return p->samples_per_s > 0 ? (double)(p->steps - p->step) * batch / p->samples_per_s : NAN;
}

static void put_figures(const prn__live_view *v, uint32_t index, line *l)
{
    const job *j = &v->jobs[index];
    const prn__progress *p = &j->progress;
    char text[64], number[40];
    put(l, NULL, v->job_count > 1 ? "   " : "");
    put_bar(l, share_of(j), l->style->columns >= 100 ? 24 : l->style->columns >= 50 ? 12 : 0);
    (void)snprintf(text, sizeof text, "%" PRId64 "/%" PRId64, p->step, p->steps);
    put_part(l, NULL, text);
    if (isfinite(p->loss)) {
        (void)snprintf(text, sizeof text, "loss %.3f", p->loss);
        put_part(l, STRONG, text);
    }
    if (isfinite(p->samples_per_s)) {
        (void)snprintf(text, sizeof text, "%s samples/s",
                       prn__format_si(p->samples_per_s >= 100 ? round(p->samples_per_s) : p->samples_per_s, number, sizeof number));
        put_part(l, NULL, text);
    }
    const double left = is_phase(j, "train") ? stage_left_s(v, p) : NAN;
    if (isfinite(left)) {
        (void)snprintf(text, sizeof text, "%s left", left < 1 ? "< 1 s" : prn__format_duration(left, number, sizeof number));
        put_part(l, NULL, text);
    }
    if (isfinite(p->learning_rate)) {
        (void)snprintf(text, sizeof text, "lr %.2e", p->learning_rate);
        put_part(l, FAINT, text);
    }
    if (isfinite(p->data_wait_frac)) {
        const double wait = fmin(fmax(p->data_wait_frac, 0), 1) * 100;
        (void)snprintf(text, sizeof text, "data wait %.0f %%", wait);
        put_part(l, wait >= 20 ? WARNING : FAINT, text);
    }
}

static int has_figures(const job *j)
{
    return j->progress.steps > 0 && (is_phase(j, "train") || is_phase(j, "evaluate"));
}

size_t prn__live_view_print(const prn__live_view *v, const prn__live_style *style, prn__text *target)
{
    line l = {.target = target, .style = style};
    size_t lines = 0, wanted = 1;
    const size_t limit = style->rows > 1 ? style->rows - 1 : 1; /* the cursor stands below */
    if (style->columns < SMALLEST) {
        return 0;
    }
    for (uint32_t k = 0; k < v->job_count; k++) {
        wanted += v->jobs[k].is_known && !v->jobs[k].is_over ? 1u + (size_t)has_figures(&v->jobs[k]) : 0;
    }
    put_summary(v, &l);
    end_line(&l, &lines);
    for (uint32_t k = 0; k < v->job_count && lines < limit; k++) {
        const job *j = &v->jobs[k];
        if (!j->is_known || j->is_over) {
            continue;
        }
        const int is_short = wanted > limit; /* a line each */
        if (!is_short || !has_figures(j)) {
            put_heading(v, k, &l);
            end_line(&l, &lines);
        }
        if (has_figures(j) && lines < limit) {
            if (is_short) {
                char text[32];
                (void)snprintf(text, sizeof text, "%" PRIu32 "/%" PRIu32 " ", j->progress.stage, v->plan->stage_count);
                put(&l, NULL, text);
            }
            put_figures(v, k, &l);
            end_line(&l, &lines);
        }
    }
    return lines;
}
