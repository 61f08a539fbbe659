/* core/run/strategy_open.c: see strategy_open.h. */
#include "run/strategy_open.h"

#include <string.h>

prn_status prn__strategy_open(const prn__recipe_strategy *asked, prn__registry *registry, prn__open_strategy *strategy, char code[33], prn_error *error)
{
    const prn__plugin_entry *entry = NULL;
    const prn_host *host = asked->host;
    prn_status status = PRN_OK;
    memset(strategy, 0, sizeof *strategy);
    strategy->table = asked->table;
    if (asked->table == NULL) {
        status = prn__registry_strategy(registry, asked->strategy, &strategy->table, &entry, error);
        host = prn__registry_host(registry);
    }
    if (status == PRN_OK) {
        status = prn__options_parse(asked->strategy, strategy->table->options, strategy->table->option_count, asked->options, asked->option_count,
                                    &strategy->options, error);
    }
    if (status == PRN_OK) {
        status = strategy->table->open(host, prn__options_values(strategy->options), &strategy->instance, error);
        strategy->instance = status == PRN_OK ? strategy->instance : NULL; /* what a failed `open` left there is nobody's */
    }
    if (status != PRN_OK) {
        prn__strategy_close(strategy);
        return status;
    }
    strategy->declares_kept = entry == NULL || entry->plugin->abi_minor >= 2;
    if (code != NULL && entry != NULL) {
        prn__digest_format(entry->digest, code);
    } else if (code != NULL) {
        (void)snprintf(code, 33, "%s", asked->source_digest);
    }
    return PRN_OK;
}

void prn__strategy_close(prn__open_strategy *strategy)
{
    if (strategy->instance != NULL) {
        strategy->table->close(strategy->instance);
    }
    if (strategy->options != NULL) {
        prn__options_destroy(strategy->options);
    }
    memset(strategy, 0, sizeof *strategy);
}
