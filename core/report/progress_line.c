/* core/report/progress_line.c: see progress_line.h. */
#include "report/progress_line.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report/table.h"

static void put_tail(const prn__progress *p, int is_short, prn__text *target)
{
    char text[40];
    if (p->steps > 0) {
        prn__text_printf(target, " | %" PRId64 "/%" PRId64, p->step, p->steps);
    }
    if (isfinite(p->samples_per_s)) {
        prn__text_printf(target, " | %s%s", prn__format_si(p->samples_per_s >= 100 ? round(p->samples_per_s) : p->samples_per_s, text, sizeof text),
                         is_short ? "/s" : " samples/s");
    }
    if (isfinite(p->remaining_s)) {
        prn__text_printf(target, " | %s left", p->remaining_s < 1 ? "< 1 s" : prn__format_duration(p->remaining_s, text, sizeof text));
    }
    if (isfinite(p->loss)) {
        prn__text_printf(target, " | loss %.3f", p->loss);
    }
    if (isfinite(p->learning_rate)) {
        prn__text_printf(target, " | lr %.*e", is_short ? 1 : 2, p->learning_rate);
    }
    if (isfinite(p->data_wait_frac)) {
        prn__text_printf(target, " | %swait %.0f %%", is_short ? "" : "data ", fmin(fmax(p->data_wait_frac, 0), 1) * 100);
    }
}

static int is_scoring(const prn__progress *p)
{
    return strcmp(p->phase, "evaluate") == 0;
}

static void put_label(const prn__progress *p, size_t limit, prn__text *target)
{
    prn__text_append_safe(target, p->label != NULL ? p->label : "", p->label != NULL ? strlen(p->label) : 0, limit);
}

void prn__progress_heading(const prn__progress *p, prn__text *target)
{
    prn__text_printf(target, "stage %u/%u: ", p->stage, p->stage_count);
    put_label(p, 0, target);
}

/* Work with no stage has no heading either: its label stays, as far as there is room. */
static void print_short(const prn__progress *p, const char *head, size_t columns, prn__text *target)
{
    prn__text tail;
    size_t label = p->stage > 0 ? 0 : 1;
    prn__text_init(&tail);
    put_tail(p, 0, &tail);
    if (strlen(head) + label + tail.length > columns) {
        prn__text_clear(&tail);
        put_tail(p, 1, &tail);
    }
    while (tail.data != NULL && strlen(head) + label + tail.length > columns) {
        char *bar = strrchr(tail.data, '|');
        if (bar == NULL) {
            break;
        }
        tail.length = (size_t)(bar - tail.data) - 1;
        tail.data[tail.length] = '\0';
    }
    size_t used = strlen(head) + tail.length;
    prn__text_puts(target, head);
    if (label > 0) {
        put_label(p, columns > used ? columns - used : 1, target);
    }
    prn__text_puts(target, tail.data != NULL ? tail.data : "");
    target->failed |= tail.failed;
    prn__text_fini(&tail);
}

void prn__progress_print(const prn__progress *p, size_t columns, prn__text *target)
{
    char head[64];
    if (p->stage > 0) {
        (void)snprintf(head, sizeof head, "%s%u/%u", is_scoring(p) ? "scoring stage " : "stage ", p->stage, p->stage_count);
    } else {
        (void)snprintf(head, sizeof head, "%s ", strcmp(p->phase, "index") == 0 ? "indexing shards of" : p->phase);
    }
    if (columns > 0) {
        print_short(p, head, columns, target);
        return;
    }
    prn__text_printf(target, "%s%s", head, p->stage > 0 ? ", " : "");
    put_label(p, 0, target);
    put_tail(p, 0, target);
}
