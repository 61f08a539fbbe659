/* core/suite/strategy_suite_internal.h: what the parts of the strategy suite share. Private to core/suite/strategy_suite*.c.
 *
 * A check's function fills its verdict; an error it returns ends the suite.
 */
#ifndef PRN_SUITE_STRATEGY_SUITE_INTERNAL_H
#define PRN_SUITE_STRATEGY_SUITE_INTERNAL_H

#include <stdatomic.h>

#include "base/memory.h"
#include "suite/strategy_ask.h"
#include "suite/strategy_suite.h"

enum { PRN__SUITE_STEPS = 3, PRN__SUITE_UPDATES = 6, PRN__SUITE_BATCH = 8, PRN__SUITE_FIRST = 40, PRN__SUITE_MORE = 8, PRN__SUITE_HELD_OUT = 12 };

typedef struct prn__suite_verdict {
    prn__suite_outcome outcome;
    char reason[PRN_ERROR_MESSAGE_BYTES];
} prn__suite_verdict;

void prn__suite_say(prn__suite_verdict *verdict, prn__suite_outcome outcome, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A host that counts what a strategy allocates, and can refuse. */
typedef struct prn__suite_host {
    prn_host host;
    const prn_host *real;
    atomic_int_fast64_t live, asked;
    int64_t fail_at; /* the allocation that fails, from 1; 0: none */
} prn__suite_host;
void prn__suite_host_init(prn__suite_host *host, const prn_host *real);

/* What the first whole run showed. */
typedef struct prn__suite_base {
    int is_done;
    int64_t leaked;            /* blocks that were live after it and not before */
    struct prn__suite_seen {   /* callbacks, each once */
        char name[32];
    } callbacks[8];
    size_t callback_count;
    int overuses;
    uint32_t overused_step;
    int64_t gradient_batches, declared_gradient_batches, scores, declared_scores; /* sums, or of the stage that overuses */
    int64_t kept_vectors;      /* in all finishing stages */
    int64_t wrongly_kept, wrongly_declared; /* of the stage that keeps another number than `plan` declared, when there is one: */
    uint32_t wrongly_kept_step;
    int is_composing;          /* its terms are being put together */
} prn__suite_base;

typedef struct prn__suite {
    prn__registry *registry;
    const prn__suite_options *options;
    const char *strategy, *backend;
    const prn_strategy *table;
    prn__options *values;
    char *folder;
    const char *set;  /* the evaluation set that it scores, or "retrieval" */
    int64_t batch;    /* of the runs: at least its memory batch */
    int64_t sees_leaks; /* 1 once a direct check has seen blocks left; the words are in `leak` */
    char leak[256];
    prn__suite_base base;
    prn__arena memory;
} prn__suite;

/* ---- strategy_suite_ask.c: plans without a plan ---- */
const prn_host *prn__suite_real_host(const prn__suite *s); /* that a plugin gets, or a recipe's own strategy */
prn_status prn__suite_options_check(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);
prn_status prn__suite_deterministic(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);
prn_status prn__suite_past(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);
/* Notes leaks of opening, planning and closing in `s`, also with failing allocations. */
prn_status prn__suite_failures_of_plan(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);

/* ---- strategy_suite_fakes.c: callbacks on stand-ins ---- */
prn_status prn__suite_failures(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);

/* ---- strategy_suite_stream.c ---- */
/* stream.yaml with PRN__SUITE_STEPS steps and their data, reference.yaml, and line-<T>.yaml without data, for plans. */
prn_status prn__suite_stream_make(const prn__suite *s, prn_error *error);

/* ---- strategy_suite_runs.c ---- */
prn_status prn__suite_plan(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);
/* The first whole run, and what it says of three checks. */
prn_status prn__suite_base_run(prn__suite *s, prn__suite_verdict *loss, prn__suite_verdict *training, prn__suite_verdict *cost, prn_error *error);
prn_status prn__suite_finish(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);
prn_status prn__suite_kept(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);
prn_status prn__suite_repeat(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);
prn_status prn__suite_resume(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);
prn_status prn__suite_reported(prn__suite *s, prn__suite_verdict *verdict, prn_error *error);

#endif
