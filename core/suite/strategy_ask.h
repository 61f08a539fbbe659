/* core/suite/strategy_ask.h: what a strategy answers to `plan`, asked outside a plan: for its declared facts and for the strategy suite.
 *
 * Invariants: nothing is checked here but what memory safety needs; answers are copies that live in their own arena.
 */
#ifndef PRN_SUITE_STRATEGY_ASK_H
#define PRN_SUITE_STRATEGY_ASK_H

#include "base/memory.h"
#include "plugin/registry.h"

typedef enum prn__ask_order { PRN__ASK_FORWARD = 0, PRN__ASK_BACKWARD = 1, PRN__ASK_TWICE = 2 } prn__ask_order;

typedef struct prn__answers {
    prn_stage_request *requests; /* (step_count), their sources in the arena */
    uint32_t step_count;
    prn__arena memory;
} prn__answers;

/* A time line of `count` steps named "1", "2", ...; step t brings first + (t - 1) * more samples. Caller frees `steps` with prn__free. */
prn_status prn__time_line_make(uint32_t count, int64_t first, int64_t more, int64_t budget_samples, prn_time_line *line, prn_error *error);
void prn__time_line_drop(prn_time_line *line);

/* Asks an open instance for every step. TWICE keeps the second answer to each step. `answers` must be dropped, also after a failure. */
prn_status prn__strategy_answers(const prn_strategy *table, prn_strategy_instance *instance, const prn_time_line *line, prn__ask_order order,
                                 prn__answers *answers, prn_error *error);
void prn__answers_drop(prn__answers *answers); /* zeros are allowed */

/* Opens the strategy with options, asks, closes. */
prn_status prn__strategy_ask(const prn_host *host, const prn_strategy *table, const prn__option_pair *given, size_t given_count, const prn_time_line *line,
                             prn__ask_order order, prn__answers *answers, prn_error *error);

/* NULL when both ask for the same stage, else what differs, in words. */
const char *prn__request_difference(const prn_stage_request *a, const prn_stage_request *b);

#endif
