/* core/plugin/registry.c: see registry.h. The order of judgement: folder, file, entry symbol, versions, tables. Only a plugin
 * that passes them all is ever called. */
#include "plugin/registry.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "plugin/library.h"

typedef struct component {
    const prn__plugin_entry *entry;
    const char *interface_id;
    const char *name;
    const void *table; /* a full-size copy when the plugin's own is smaller */
} component;

struct prn__registry {
    prn__pool *pool;
    prn_host host;
    prn__arena memory;
    prn__plugin_entry **entries;
    size_t entry_count, entry_capacity;
    component *components;
    size_t component_count, component_capacity;
};

/* ---- host services ---- */

static void host_log(void *self, prn_log_level level, const char *message)
{
    (void)self;
    prn__log(level, "%s", message);
}

static void *host_allocate(void *self, size_t bytes, const char *purpose)
{
    (void)self;
    (void)purpose;
    return prn__alloc(bytes);
}

static void host_release(void *self, void *memory)
{
    (void)self;
    prn__free(memory);
}

static uint32_t host_threads(void *self)
{
    return prn__pool_threads(((prn__registry *)self)->pool);
}

static void host_parallel_for(void *self, int64_t count, prn_task task, void *context)
{
    prn__pool_for(((prn__registry *)self)->pool, count, task, context);
}

static const void *host_interface(void *self, const char *id)
{
    (void)self;
    (void)id;
    return NULL; /* this host offers no optional interface yet */
}

/* ---- entries ---- */

static prn_status grow(void **items, size_t count, size_t *capacity, size_t size, prn_error *error)
{
    if (count < *capacity) {
        return PRN_OK;
    }
    size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = prn__realloc(*items, wanted * size);
    if (grown == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of plugins");
    }
    *items = grown;
    *capacity = wanted;
    return PRN_OK;
}

static prn_status add_entry(prn__registry *registry, const char *path, prn__plugin_entry **result, prn_error *error)
{
    prn_status status = grow((void **)&registry->entries, registry->entry_count, &registry->entry_capacity, sizeof(prn__plugin_entry *), error);
    if (status != PRN_OK) {
        return status;
    }
    prn__plugin_entry *entry = prn__arena_alloc(&registry->memory, sizeof *entry);
    if (entry == NULL || (entry->path = prn__arena_strdup(&registry->memory, path)) == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of plugins");
    }
    registry->entries[registry->entry_count++] = entry;
    *result = entry;
    return PRN_OK;
}

static void refuse(prn__registry *registry, prn__plugin_entry *entry, const char *reason)
{
    const char *kept = prn__arena_strdup(&registry->memory, reason);
    entry->reason = kept != NULL ? kept : "out of memory";
    entry->plugin = NULL;
    prn__log(PRN_LOG_DEBUG, "plugin refused: %s", entry->reason);
}

/* ---- tables ---- */

/* Copies a smaller table into a full-size, zeroed one, so that the rest of the core never asks for sizes. */
static const void *full_size(prn__registry *registry, const void *table, size_t bytes)
{
    uint32_t have;
    memcpy(&have, table, sizeof have);
    if (have >= bytes) {
        return table;
    }
    char *copy = prn__arena_alloc(&registry->memory, bytes);
    if (copy != NULL) {
        memcpy(copy, table, have);
    }
    return copy;
}

static prn_status check_options(const char *path, const prn_option *options, uint32_t count, prn_error *error)
{
    if (count == 0) {
        return PRN_OK;
    }
    if (options == NULL || count > 1000) {
        return prn_error_set(error, PRN_INVALID, "%s: %u options but no table of them", path, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        const prn_option *o = &options[i];
        if (o->struct_size < sizeof *o || o->name == NULL || o->help == NULL || o->type < PRN_OPTION_BOOL || o->type > PRN_OPTION_REAL_LIST ||
            (o->type == PRN_OPTION_CHOICE && o->choices == NULL)) {
            return prn_error_set(error, PRN_INVALID, "%s: option %u of its table is incomplete (size, name, type, choices, help)", path, i);
        }
    }
    return PRN_OK;
}

static prn_status missing(const char *path, const char *table, const char *function, prn_error *error)
{
    return prn_error_set(error, PRN_INVALID, "%s: its %s lacks '%s', which every one must have", path, table, function);
}

static prn_status check_backend(const char *path, const prn_backend *b, prn_error *error)
{
    const struct {
        const char *name;
        int there;
    } functions[] = {
        {"name", b->name != NULL}, {"summary", b->summary != NULL}, {"numerics", b->numerics != NULL}, {"devices", b->devices != NULL},
        {"open", b->open != NULL}, {"close", b->close != NULL}, {"buffer_create", b->buffer_create != NULL},
        {"buffer_destroy", b->buffer_destroy != NULL}, {"buffer_write", b->buffer_write != NULL}, {"buffer_read", b->buffer_read != NULL},
        {"buffer_copy", b->buffer_copy != NULL}, {"supports", b->supports != NULL}, {"compile", b->compile != NULL},
        {"executable_destroy", b->executable_destroy != NULL}, {"execute", b->execute != NULL}, {"synchronise", b->synchronise != NULL},
        {"error_bound", b->error_bound != NULL},
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (!functions[i].there) {
            return missing(path, "backend table", functions[i].name, error);
        }
    }
    return check_options(path, b->options, b->option_count, error);
}

static prn_status check_strategy(const char *path, const prn_strategy *s, prn_error *error)
{
    const char *lacks = s->name == NULL ? "name" : s->summary == NULL ? "summary" : s->open == NULL ? "open" : s->close == NULL ? "close"
                      : s->plan == NULL ? "plan" : NULL;
    return lacks != NULL ? missing(path, "strategy table", lacks, error) : check_options(path, s->options, s->option_count, error);
}

static const component *find(const prn__registry *registry, const char *interface_id, const char *name)
{
    for (size_t i = 0; i < registry->component_count; i++) {
        const component *c = &registry->components[i];
        if (strcmp(c->interface_id, interface_id) == 0 && strcmp(c->name, name) == 0) {
            return c;
        }
    }
    return NULL;
}

static prn_status take_table(prn__registry *registry, const prn__plugin_entry *entry, const prn_interface *offer, prn_error *error)
{
    component c = {entry, NULL, NULL, NULL};
    prn_status status;
    if (offer->id == NULL || offer->table == NULL) {
        return prn_error_set(error, PRN_INVALID, "%s: an interface without id or table", entry->path);
    }
    if (strcmp(offer->id, PRN_BACKEND_INTERFACE) == 0) {
        const prn_backend *b = full_size(registry, offer->table, sizeof *b);
        status = b == NULL ? PRN_NO_MEMORY : check_backend(entry->path, b, error);
        c = (component){entry, PRN_BACKEND_INTERFACE, b != NULL ? b->name : NULL, b};
    } else if (strcmp(offer->id, PRN_STRATEGY_INTERFACE) == 0) {
        const prn_strategy *s = full_size(registry, offer->table, sizeof *s);
        status = s == NULL ? PRN_NO_MEMORY : check_strategy(entry->path, s, error);
        c = (component){entry, PRN_STRATEGY_INTERFACE, s != NULL ? s->name : NULL, s};
    } else {
        return PRN_OK; /* a power that this host does not know is not an error */
    }
    if (status != PRN_OK) {
        return status;
    }
    const component *other = find(registry, c.interface_id, c.name);
    if (other != NULL) {
        return prn_error_set(error, PRN_CONFLICT, "%s: '%s' is already provided by %s, which was found first", entry->path, c.name,
                             other->entry->path);
    }
    status = grow((void **)&registry->components, registry->component_count, &registry->component_capacity, sizeof(component), error);
    if (status == PRN_OK) {
        registry->components[registry->component_count++] = c;
    }
    return status;
}

static prn_status judge(prn__registry *registry, prn__plugin_entry *entry, prn_error *error)
{
    const char *path = entry->path;
    prn_status status = prn__library_check_file(path, PRN_PLUGIN_SYMBOL, error);
    if (status == PRN_OK) {
        status = prn__hash_file(path, &entry->digest, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *why = dlerror();
        return prn_error_set(error, PRN_INVALID, "%s: cannot be loaded: %s", path, why != NULL ? why : "unknown reason");
    }
    /* from here on the library stays loaded, as every library does, whether or not the plugin is taken */
    const prn_plugin *plugin = dlsym(library, PRN_PLUGIN_SYMBOL);
    if (plugin == NULL || plugin->magic != PRN_PLUGIN_MAGIC || plugin->struct_size < sizeof(prn_plugin)) {
        return prn_error_set(error, PRN_INVALID, "%s: '%s' is not a perennial plugin entry; build it against this SDK's plugin.h", path,
                             PRN_PLUGIN_SYMBOL);
    }
    if (plugin->abi_major != PRN_ABI_MAJOR) {
        return prn_error_set(error, PRN_VERSION, "%s: built for plugin interface %u.%u, this program has %u.%u; build it again with this SDK", path,
                             plugin->abi_major, plugin->abi_minor, PRN_ABI_MAJOR, PRN_ABI_MINOR);
    }
    if (plugin->name == NULL || plugin->version == NULL || plugin->license == NULL || plugin->summary == NULL ||
        (plugin->interface_count > 0 && plugin->interfaces == NULL) || plugin->interface_count > 1000) {
        return prn_error_set(error, PRN_INVALID, "%s: its entry lacks a name, version, license, summary or interface list", path);
    }
    size_t before = registry->component_count;
    for (uint32_t i = 0; i < plugin->interface_count; i++) {
        status = take_table(registry, entry, &plugin->interfaces[i], error);
        if (status != PRN_OK) {
            registry->component_count = before; /* a plugin is taken whole or not at all */
            return status;
        }
    }
    entry->plugin = plugin;
    return PRN_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Every *.so of a folder, in the order of their names. */
static prn_status search_folder(prn__registry *registry, const char *folder, prn_error *error)
{
    prn_error detail = PRN_ERROR_INIT;
    prn__plugin_entry *entry;
    char **names = NULL;
    size_t count = 0, capacity = 0;
    prn_status status = prn__library_check_folder(folder, &detail);
    if (status == PRN_NOT_FOUND) {
        return PRN_OK;
    }
    if (status != PRN_OK) {
        status = add_entry(registry, folder, &entry, error);
        if (status == PRN_OK) {
            refuse(registry, entry, detail.message);
        }
        return status;
    }
    DIR *listing = opendir(folder);
    if (listing == NULL) {
        return PRN_OK;
    }
    for (struct dirent *item = readdir(listing); item != NULL && status == PRN_OK; item = readdir(listing)) {
        size_t length = strlen(item->d_name);
        if (length < 4 || strcmp(item->d_name + length - 3, ".so") != 0) {
            continue;
        }
        status = grow((void **)&names, count, &capacity, sizeof(char *), error);
        if (status == PRN_OK) {
            names[count] = prn__path_join(folder, item->d_name);
            status = names[count] != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of plugins");
            count += status == PRN_OK;
        }
    }
    (void)closedir(listing);
    if (names != NULL) {
        qsort(names, count, sizeof *names, by_name);
    }
    for (size_t i = 0; i < count; i++) {
        if (status == PRN_OK) {
            status = add_entry(registry, names[i], &entry, error);
            if (status == PRN_OK && judge(registry, entry, &detail) != PRN_OK) {
                refuse(registry, entry, detail.message);
            }
        }
        prn__free(names[i]);
    }
    prn__free(names);
    return status;
}

static prn_status search_list(prn__registry *registry, const char *list, prn_error *error)
{
    prn_status status = PRN_OK;
    while (list != NULL && *list != '\0' && status == PRN_OK) {
        const char *end = strchr(list, ':');
        size_t length = end != NULL ? (size_t)(end - list) : strlen(list);
        if (length > 0) {
            char *folder = prn__arena_printf(&registry->memory, "%.*s", (int)length, list);
            if (folder == NULL) {
                return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of plugins");
            }
            status = search_folder(registry, folder, error);
        }
        list = end != NULL ? end + 1 : NULL;
    }
    return status;
}

/* <folder of the executable>/plugins in a build tree, <prefix>/lib.../perennial/plugins when installed. */
static prn_status search_own(prn__registry *registry, prn_error *error)
{
    static const char *const relative[] = {"plugins", "../plugins", "../lib/perennial/plugins", "../lib/x86_64-linux-gnu/perennial/plugins",
                                           "../lib64/perennial/plugins", "../lib/aarch64-linux-gnu/perennial/plugins"};
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) {
        return PRN_OK;
    }
    path[length] = '\0';
    char *folder = prn__path_folder(path);
    prn_status status = folder != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of plugins");
    for (size_t i = 0; i < sizeof relative / sizeof relative[0] && status == PRN_OK; i++) {
        char *own = prn__path_join(folder, relative[i]);
        if (own == NULL) {
            status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of plugins");
        } else if (prn__folder_exists(own)) {
            status = search_folder(registry, own, error);
            prn__free(own);
            break;
        }
        prn__free(own);
    }
    prn__free(folder);
    return status;
}

prn_status prn__registry_create(prn__pool *pool, const char *extra_paths, prn__registry **result, prn_error *error)
{
    *result = NULL;
    prn__registry *registry = prn__alloc(sizeof *registry);
    if (registry == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the plugin registry");
    }
    registry->pool = pool;
    prn__arena_init(&registry->memory, 4096);
    registry->host = (prn_host){
        .struct_size = sizeof(prn_host), .abi_major = PRN_ABI_MAJOR, .abi_minor = PRN_ABI_MINOR, .self = registry, .log = host_log,
        .allocate = host_allocate, .release = host_release, .thread_count = host_threads, .parallel_for = host_parallel_for,
        .interface_get = host_interface,
    };
    prn_status status = search_list(registry, extra_paths, error);
    if (status == PRN_OK) {
        status = search_list(registry, getenv("PERENNIAL_PLUGIN_PATH"), error);
    }
    if (status == PRN_OK) {
        status = search_own(registry, error);
    }
    if (status != PRN_OK) {
        prn__registry_destroy(registry);
        return status;
    }
    *result = registry;
    return PRN_OK;
}

void prn__registry_destroy(prn__registry *registry)
{
    if (registry != NULL) {
        prn__free(registry->entries);
        prn__free(registry->components);
        prn__arena_fini(&registry->memory);
        prn__free(registry);
    }
}

const prn_host *prn__registry_host(prn__registry *registry)
{
    return &registry->host;
}

size_t prn__registry_count(const prn__registry *registry)
{
    return registry->entry_count;
}

const prn__plugin_entry *prn__registry_entry(const prn__registry *registry, size_t index)
{
    return registry->entries[index];
}

static prn_status look_up(prn__registry *registry, const char *interface_id, const char *what, const char *name, const component **result,
                          prn_error *error)
{
    const char *names[256];
    char hint[128];
    size_t count = 0;
    prn__text known;
    *result = find(registry, interface_id, name);
    if (*result != NULL) {
        return PRN_OK;
    }
    prn__text_init(&known);
    for (size_t i = 0; i < registry->component_count; i++) {
        if (strcmp(registry->components[i].interface_id, interface_id) == 0 && count < 256) {
            prn__text_printf(&known, "%s%s", count > 0 ? ", " : "", registry->components[i].name);
            names[count++] = registry->components[i].name;
        }
    }
    (void)prn_error_set(error, PRN_NOT_FOUND, "there is no %s '%s'%s; there is: %s", what, name,
                        prn__suggest_text(name, names, count, hint, sizeof hint),
                        count > 0 && !known.failed ? known.data : "none (see 'perennial backends' for plugins that were refused)");
    prn__text_fini(&known);
    return PRN_NOT_FOUND;
}

prn_status prn__registry_backend(prn__registry *registry, const char *name, const prn_backend **backend, const prn__plugin_entry **entry,
                                 prn_error *error)
{
    const component *found;
    prn_status status = look_up(registry, PRN_BACKEND_INTERFACE, "backend", name, &found, error);
    if (status == PRN_OK) {
        *backend = found->table;
        if (entry != NULL) {
            *entry = found->entry;
        }
    }
    return status;
}

prn_status prn__registry_strategy(prn__registry *registry, const char *name, const prn_strategy **strategy, const prn__plugin_entry **entry,
                                  prn_error *error)
{
    const component *found;
    prn_status status = look_up(registry, PRN_STRATEGY_INTERFACE, "strategy", name, &found, error);
    if (status == PRN_OK) {
        *strategy = found->table;
        if (entry != NULL) {
            *entry = found->entry;
        }
    }
    return status;
}
