/* core/run/sharing.c: see sharing.h.
 *
 * A process alone goes through the stages in the plan's order. Several that were started together take the stage first that
 * has the most work behind it: the longest chain decides when all are done.
 */
#include "run/sharing.h"

#include <math.h>
#include <time.h>

#include "base/log.h"
#include "ledger/claims.h"
#include "run/stage_note.h"

enum { FIRST_WAIT_MS = 20, LAST_WAIT_MS = 500 };

struct prn__sharing {
    uint32_t *order;    /* (stage_count) stages as they are offered */
    int64_t *missing;   /* (stage_count) scores that this process still counts as to be made */
    char *is_complete;  /* (stage_count) done and scored */
    char *is_checked;   /* (stage_count) as done, against its parent */
    int32_t awaited;    /* stage that was last said to be waited for; -1: none */
    long awaited_process;
    int32_t busy;       /* of this look: a stage that is ready and not free; -1: none */
    prn__holder holder; /* who has it */
};

static void pause_ms(int ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
    (void)nanosleep(&time, NULL);
}

/* Work from this stage to the end of the longest chain behind it. */
static void order_by_chain(const prn__plan *plan, uint32_t *order, double *chain)
{
    for (uint32_t i = plan->stage_count; i-- > 0;) {
        const prn__stage *stage = &plan->stages[i];
        chain[i] += stage->total_macs;
        if (stage->parent >= 0 && chain[i] > chain[stage->parent]) {
            chain[stage->parent] = chain[i];
        }
    }
    for (uint32_t i = 1; i < plan->stage_count; i++) { /* stable: of equals, the plan's order */
        uint32_t at = i, moved = order[i];
        for (; at > 0 && chain[order[at - 1]] < chain[moved]; at--) {
            order[at] = order[at - 1];
        }
        order[at] = moved;
    }
}

prn_status prn__sharing_open(prn__execution *x, prn_error *error)
{
    const uint32_t count = x->plan->stage_count;
    prn__sharing *s = prn__arena_alloc(&x->memory, sizeof *s);
    double *chain = prn__arena_alloc(&x->memory, (count + 1) * sizeof *chain);
    if (s == NULL || chain == NULL || (s->order = prn__arena_alloc(&x->memory, (count + 1) * sizeof *s->order)) == NULL ||
        (s->missing = prn__arena_alloc(&x->memory, (count + 1) * sizeof *s->missing)) == NULL ||
        (s->is_complete = prn__arena_alloc(&x->memory, count + 1)) == NULL || (s->is_checked = prn__arena_alloc(&x->memory, count + 1)) == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while ordering %u stages", count);
    }
    s->awaited = -1;
    for (uint32_t i = 0; i < count; i++) {
        s->order[i] = i;
        if (x->plan->stages[i].is_scored) {
            prn_status status = prn__scores_missing(x, &x->plan->stages[i], &s->missing[i], error);
            if (status != PRN_OK) {
                return status;
            }
        }
        x->evaluations_left += s->missing[i];
    }
    if (x->options != NULL && x->options->joins) {
        order_by_chain(x->plan, s->order, chain);
    }
    x->sharing = s;
    return PRN_OK;
}

/* ---- what others did ------------------------------------------------------------------------------------------------------------- */

/* A stage that was not done is now. */
static prn_status take_over(prn__execution *x, uint32_t i, prn_error *error)
{
    char label[256];
    prn__stage *stage = &x->plan->stages[i];
    stage->is_done = 1;
    x->samples_left -= stage->samples;
    prn__log(x->options != NULL && x->options->joins ? PRN_LOG_DEBUG : PRN_LOG_INFO, "stage %u/%u was finished by another process: %s", i + 1,
             x->plan->stage_count, prn__stage_label(x->plan, stage, label, sizeof label));
    prn_status status = prn__check_finished(x, stage, error);
    if (status == PRN_OK) { /* that process may have been killed before it could say so */
        status = prn__ledger_stage_done(x->ledger, stage->key, error);
    }
    return status;
}

static prn_status count_missing(prn__execution *x, uint32_t i, prn_error *error)
{
    int64_t missing = 0;
    prn_status status = x->plan->stages[i].is_scored ? prn__scores_missing(x, &x->plan->stages[i], &missing, error) : PRN_OK;
    if (status == PRN_OK) {
        x->evaluations_left -= x->sharing->missing[i] - missing;
        x->sharing->missing[i] = missing;
    }
    return status;
}

/* ---- offers ------------------------------------------------------------------------------------------------------------------------ */

/* Takes the stage into `turn` when it is ready, free, and not complete. */
static prn_status offer(prn__execution *x, uint32_t i, prn__turn *turn, prn_error *error)
{
    prn__sharing *s = x->sharing;
    prn__stage *stage = &x->plan->stages[i];
    const char *workspace = x->recipe->workspace;
    prn_status status = PRN_OK;
    prn__holder holder;
    int claim = -1;
    if (!stage->is_done && prn__stage_is_done(workspace, stage->key)) {
        status = take_over(x, i, error);
    }
    if (status != PRN_OK || !prn__stage_is_ready(x->plan, stage)) {
        return status;
    }
    if (stage->is_done && !s->is_checked[i]) {
        if ((status = prn__check_parent(x, stage, error)) != PRN_OK) {
            return status;
        }
        s->is_checked[i] = 1;
    }
    if (stage->is_done && s->missing[i] == 0) {
        s->is_complete[i] = 1;
        return PRN_OK;
    }
    if ((status = prn__claim_take(workspace, stage->key, x->recipe->name, &claim, &holder, error)) != PRN_OK) {
        return status;
    }
    if (claim < 0) {
        if (s->busy < 0) {
            s->busy = (int32_t)i;
            s->holder = holder;
        }
        return PRN_OK;
    }
    if (!stage->is_done && prn__stage_is_done(workspace, stage->key)) { /* by the one who held the claim just before */
        status = take_over(x, i, error);
    }
    if (status == PRN_OK && stage->is_done) {
        status = count_missing(x, i, error);
    }
    if (status != PRN_OK || (stage->is_done && s->missing[i] == 0)) {
        prn__claim_release(claim);
        return status; /* complete at the next look, which checks it */
    }
    turn->stage = (int32_t)i;
    turn->claim = claim;
    return PRN_OK;
}

static void say_waiting(prn__execution *x)
{
    prn__sharing *s = x->sharing;
    char who[320], label[256], text[700];
    const prn__stage *stage = &x->plan->stages[s->busy];
    (void)prn__holder_format(&s->holder, who, sizeof who);
    (void)prn__stage_label(x->plan, stage, label, sizeof label);
    (void)snprintf(text, sizeof text, "%s, which %s stage %d/%u, %s", who, stage->is_done ? "scores" : "trains", (int)s->busy + 1,
                   x->plan->stage_count, label);
    if (s->awaited != s->busy || s->awaited_process != s->holder.process) {
        s->awaited = s->busy;
        s->awaited_process = s->holder.process;
        prn__log(x->options != NULL && x->options->joins ? PRN_LOG_DEBUG : PRN_LOG_INFO, "waiting for %s", text);
    }
    prn__progress progress = {.phase = "wait", .label = text, .stage = (uint32_t)s->busy + 1, .loss = NAN, .learning_rate = NAN, .samples_per_s = NAN,
                              .data_wait_frac = NAN, .remaining_s = NAN};
    prn__execution_report(x, &progress, stage);
}

prn_status prn__turn_next(prn__execution *x, prn__turn *turn, prn_error *error)
{
    prn__sharing *s = x->sharing;
    for (int wait_ms = FIRST_WAIT_MS;; wait_ms = wait_ms < LAST_WAIT_MS ? wait_ms + wait_ms / 2 : LAST_WAIT_MS) {
        int left = 0;
        turn->stage = -1;
        turn->claim = -1;
        s->busy = -1;
        for (uint32_t k = 0; k < x->plan->stage_count && turn->stage < 0; k++) {
            const uint32_t i = s->order[k];
            prn_status status = s->is_complete[i] ? PRN_OK : offer(x, i, turn, error);
            if (status != PRN_OK) {
                return status;
            }
            left += !s->is_complete[i];
        }
        if (turn->stage >= 0 || left == 0) {
            return PRN_OK;
        }
        if (s->busy >= 0) {
            say_waiting(x);
        }
        if (prn__execution_stop(x)) {
            return prn_error_set(error, PRN_INTERRUPTED, "stopped while waiting for another process; the same command goes on from there");
        }
        pause_ms(s->busy >= 0 ? wait_ms : FIRST_WAIT_MS);
    }
}

void prn__turn_end(prn__execution *x, prn__turn *turn, int is_complete)
{
    if (turn->stage >= 0 && is_complete) {
        x->sharing->is_complete[turn->stage] = 1;
        x->sharing->missing[turn->stage] = 0;
    }
    prn__claim_release(turn->claim);
    turn->claim = -1;
}
