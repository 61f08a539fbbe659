/* core/report/component_report.h: what plugins offer: strategies and backends, their options, plugins that were refused. */
#ifndef PRN_REPORT_COMPONENT_REPORT_H
#define PRN_REPORT_COMPONENT_REPORT_H

#include "base/text.h"
#include "plugin/conformance.h"

/* One strategy or backend that is served under its name. */
typedef struct prn__component {
    const char *name, *summary;
    const prn_option *options;
    uint32_t option_count;
    const prn__plugin_entry *entry;
    const prn_backend *backend;   /* NULL for strategies */
    const prn_strategy *strategy; /* NULL for backends */
} prn__component;

/* All that offer `interface_id`, by name; caller frees with prn__free. */
prn_status prn__components_find(prn__registry *registry, const char *interface_id, prn__component **components, size_t *count, prn_error *error);

void prn__strategies_print(const prn__component *components, size_t count, prn__text *target);
void prn__strategies_json(const prn__component *components, size_t count, prn__text *target);
/* With its declared facts (strategy_report.h) under these options; facts that cannot be asked for are a reason instead. */
void prn__strategy_print(prn__registry *registry, const prn__component *component, const prn__option_pair *given, size_t given_count, prn__text *target);
void prn__strategy_json(prn__registry *registry, const prn__component *component, const prn__option_pair *given, size_t given_count, prn__text *target);

/* Backends come with their devices, asked for here, and with the plugins that were refused. */
void prn__backends_print(prn__registry *registry, const prn__component *components, size_t count, prn__text *target);
void prn__backends_json(prn__registry *registry, const prn__component *components, size_t count, prn__text *target);
void prn__backend_print(prn__registry *registry, const prn__component *component, prn__text *target);
void prn__backend_json(prn__registry *registry, const prn__component *component, prn__text *target);
/* Refused plugins only; nothing when there are none. */
void prn__refused_print(prn__registry *registry, prn__text *target);

/* Conformance, gathered operation by operation. Strings of failing cases are copied. */
typedef struct prn__conformance_book prn__conformance_book;
prn__conformance_book *prn__conformance_book_create(void); /* NULL when out of memory */
void prn__conformance_book_destroy(prn__conformance_book *book);
void prn__conformance_book_add(void *book, const prn__conformance_case *result); /* a prn__conformance_report */
void prn__conformance_print(const prn__conformance_book *book, const char *backend, const prn__conformance_summary *summary, double seconds,
                            prn__text *target);
void prn__conformance_json(const prn__conformance_book *book, const char *backend, const prn__conformance_summary *summary, double seconds,
                           prn__text *target);

#endif
