/* core/report/strategy_report.h: what a strategy declares of itself, and the outcome of its suite. */
#ifndef PRN_REPORT_STRATEGY_REPORT_H
#define PRN_REPORT_STRATEGY_REPORT_H

#include "report/json.h"
#include "suite/strategy_suite.h"

/* Declared facts: where each time step starts, its data, budget, teacher, memory and finishing, as `plan` answers on a made-up time line of
 * four steps. JSON: "facts", null with a "facts_error" when it cannot be asked. */
void prn__strategy_facts_print(prn__registry *registry, const prn_strategy *strategy, const prn__option_pair *given, size_t given_count, prn__text *target);
void prn__strategy_facts_json(prn__registry *registry, const prn_strategy *strategy, const prn__option_pair *given, size_t given_count, prn__json *json,
                              json_t *parent);

/* The suite's checks, gathered: `add` is told of each; reasons are copied. */
typedef struct prn__suite_book prn__suite_book;
prn__suite_book *prn__suite_book_create(void); /* NULL when out of memory */
void prn__suite_book_destroy(prn__suite_book *book);
void prn__suite_book_add(prn__suite_book *book, const prn__suite_check *check);
void prn__suite_print(const prn__suite_book *book, const char *strategy, const char *backend, const prn__suite_summary *summary, double seconds,
                      prn__text *target);
void prn__suite_json(const prn__suite_book *book, const char *strategy, const char *backend, const prn__suite_summary *summary, double seconds,
                     prn__text *target);

#endif
