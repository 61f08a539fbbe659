/* core/plugin/registry.h: finding, judging and loading plugins; opening a backend.
 *
 * Purpose: the one place that calls dlopen. Folders are searched in order: given paths, PERENNIAL_PLUGIN_PATH, then the
 * program's own (the build tree's for an executable in it, the installed one otherwise), each folder once. Each plugin is
 * either loaded or refused with a reason, and so is a folder that was named; a refused one never stops the others.
 * Invariants: a folder or file writable by others is refused; the entry symbol is judged before any plugin code runs;
 * libraries stay loaded while the process lives.
 */
#ifndef PRN_PLUGIN_REGISTRY_H
#define PRN_PLUGIN_REGISTRY_H

#include <perennial/perennial.h>
#include "base/hash.h"
#include "base/pool.h"

typedef struct prn__registry prn__registry;

typedef struct prn__plugin_entry {
    const char *path;
    const prn_plugin *plugin; /* NULL when refused */
    const char *reason;       /* why it was refused, what to do; NULL when loaded */
    prn__digest digest;       /* of the file's bytes */
} prn__plugin_entry;

/* `pool` outlives the registry. `extra_paths` colon-separated or NULL. */
prn_status prn__registry_create(prn__pool *pool, const char *extra_paths, prn__registry **registry, prn_error *error);
void prn__registry_destroy(prn__registry *registry);
const prn_host *prn__registry_host(prn__registry *registry);
size_t prn__registry_count(const prn__registry *registry);
const prn__plugin_entry *prn__registry_entry(const prn__registry *registry, size_t index);
/* The table of the component named `name` ("cpu", "sequential") offering `interface_id`; unknown names suggest. */
prn_status prn__registry_backend(prn__registry *registry, const char *name, const prn_backend **backend,
                                 const prn__plugin_entry **entry, prn_error *error);
prn_status prn__registry_strategy(prn__registry *registry, const char *name, const prn_strategy **strategy,
                                  const prn__plugin_entry **entry, prn_error *error);

/* Entry `index` of a table: the stride is the plugin's own, because a newer SDK may have a longer struct. [any] */
static inline const prn_option *prn__option_at(const prn_option *table, uint32_t index)
{
    return (const prn_option *)(const void *)((const char *)table + (size_t)index * table->struct_size);
}

/* Option tables. `given` pairs as text; every value parsed, bounded, defaults filled in; unknown names suggest. */
typedef struct prn__option_pair {
    const char *name;
    const char *value;
} prn__option_pair;
typedef struct prn__options prn__options; /* owns values */
prn_status prn__options_parse(const char *component, const prn_option *table, uint32_t count, const prn__option_pair *given,
                              size_t given_count, prn__options **options, prn_error *error);
/* 1 when `text` is one of the option's choices. */
int prn__option_has_choice(const prn_option *option, const char *text);
void prn__options_destroy(prn__options *options);
const prn_option_value *prn__options_values(const prn__options *options);

/* An opened backend: what the core computes on. */
typedef struct prn__device {
    const prn_backend *backend;
    prn_backend_instance *instance;
    const prn__plugin_entry *entry;
    prn__options *options;
} prn__device;
/* `name` may be "auto": cuda when it reports a device, else cpu. */
prn_status prn__device_open(prn__registry *registry, const char *name, const prn__option_pair *given, size_t given_count,
                            prn__device *device, prn_error *error);
void prn__device_close(prn__device *device);

#endif
