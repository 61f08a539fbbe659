/* core/plugin/registry.c: see registry.h. The order of judgement: folder, file, entry symbol, versions, tables. Only a plugin
 * that passes them all is ever called. */
#include "plugin/registry.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
    struct searched {
        dev_t device;
        ino_t inode;
    } *searched; /* folders, so that one named twice is searched once */
    size_t searched_count, searched_capacity;
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

/* Names end up in recipes, keys and file names. */
static int is_name(const char *name)
{
    const size_t length = name != NULL ? strnlen(name, 65) : 0;
    return length > 0 && length < 65 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == length;
}

static prn_status check_options(const char *path, const prn_option *options, uint32_t count, prn_error *error)
{
    if (count == 0) {
        return PRN_OK;
    }
    if (options == NULL || count > 1000) {
        return prn_error_set(error, PRN_INVALID, "%s: %u options but no table of them (or more than 1000)", path, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (options->struct_size < sizeof *options) {
            return prn_error_set(error, PRN_INVALID, "%s: option 0 of its table has a struct_size of %u, must be at least %zu", path,
                                 options->struct_size, sizeof *options);
        }
        const prn_option *o = prn__option_at(options, i);
        if (o->struct_size != options->struct_size || !is_name(o->name) || o->help == NULL || o->type < PRN_OPTION_BOOL ||
            o->type > PRN_OPTION_REAL_LIST || (o->type == PRN_OPTION_CHOICE && o->choices == NULL)) {
            return prn_error_set(error, PRN_INVALID, "%s: option %u of its table is incomplete (size, name, type, choices, help)", path, i);
        }
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(prn__option_at(options, k)->name, o->name) == 0) {
                return prn_error_set(error, PRN_INVALID, "%s: option '%s' is twice in its table", path, o->name);
            }
        }
        prn__options *preset = NULL; /* a default that its own table refuses would fail every user who does not set it */
        if (o->preset != NULL && prn__options_parse("its default", o, 1, NULL, 0, &preset, error) != PRN_OK) {
            return prn_error_context(error, PRN_INVALID, "%s", path);
        }
        prn__options_destroy(preset);
    }
    return PRN_OK;
}

static prn_status missing(const char *path, const char *table, const char *function, prn_error *error)
{
    return prn_error_set(error, PRN_INVALID, "%s: its %s lacks '%s', which every one must have", path, table, function);
}

static prn_status bad_name(const char *path, const char *name, prn_error *error)
{
    return prn_error_set(error, PRN_INVALID, "%s: '%.64s' is not a component's name: 1 to 64 lower case letters, digits, '-' and '_' (and not 'auto')",
                         path, name);
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
    if (!is_name(b->name) || strcmp(b->name, "auto") == 0) {
        return bad_name(path, b->name, error);
    }
    return check_options(path, b->options, b->option_count, error);
}

static prn_status check_strategy(const char *path, const prn_strategy *s, prn_error *error)
{
    const char *lacks = s->name == NULL ? "name" : s->summary == NULL ? "summary" : s->open == NULL ? "open" : s->close == NULL ? "close"
                      : s->plan == NULL ? "plan" : NULL;
    if (lacks != NULL) {
        return missing(path, "strategy table", lacks, error);
    }
    return is_name(s->name) ? check_options(path, s->options, s->option_count, error) : bad_name(path, s->name, error);
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

static prn_status no_memory(const char *path, prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory for its tables", path);
}

static prn_status take_table(prn__registry *registry, const prn__plugin_entry *entry, const prn_interface *offer, prn_error *error)
{
    component c = {entry, NULL, NULL, NULL};
    prn_status status;
    uint32_t bytes;
    if (offer->id == NULL || offer->table == NULL) {
        return prn_error_set(error, PRN_INVALID, "%s: an interface without id or table", entry->path);
    }
    if (strcmp(offer->id, PRN_BACKEND_INTERFACE) != 0 && strcmp(offer->id, PRN_STRATEGY_INTERFACE) != 0) {
        return PRN_OK; /* a power that this host does not know is not an error */
    }
    memcpy(&bytes, offer->table, sizeof bytes);
    if (bytes < offsetof(prn_strategy, summary)) { /* size, option count, name: what every table begins with */
        return prn_error_set(error, PRN_INVALID, "%s: the table of '%s' has a struct_size of %u, which is too small", entry->path, offer->id, bytes);
    }
    if (strcmp(offer->id, PRN_BACKEND_INTERFACE) == 0) {
        const prn_backend *b = full_size(registry, offer->table, sizeof *b);
        status = b == NULL ? no_memory(entry->path, error) : check_backend(entry->path, b, error);
        c = (component){entry, PRN_BACKEND_INTERFACE, b != NULL ? b->name : NULL, b};
    } else {
        const prn_strategy *s = full_size(registry, offer->table, sizeof *s);
        status = s == NULL ? no_memory(entry->path, error) : check_strategy(entry->path, s, error);
        c = (component){entry, PRN_STRATEGY_INTERFACE, s != NULL ? s->name : NULL, s};
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

/* What the file says of its entry before it is loaded: numbers only. */
typedef struct entry_head {
    uint32_t struct_size, magic;
    uint16_t abi_major, abi_minor;
} entry_head;

static prn_status check_head(const char *path, const entry_head *head, prn_error *error)
{
    if (head->magic != PRN_PLUGIN_MAGIC) {
        return prn_error_set(error, PRN_INVALID, "%s: its '%s' is not a plugin's entry (no magic number); build it against this SDK's plugin.h",
                             path, PRN_PLUGIN_SYMBOL);
    }
    if (head->abi_major != PRN_ABI_MAJOR) { /* before its size: another major version may have another size */
        return prn_error_set(error, PRN_VERSION, "%s: built for plugin interface %u.%u, this program has %u.%u; build it again with this SDK", path,
                             head->abi_major, head->abi_minor, PRN_ABI_MAJOR, PRN_ABI_MINOR);
    }
    if (head->struct_size < sizeof(prn_plugin)) {
        return prn_error_set(error, PRN_INVALID, "%s: its entry has a struct_size of %u, must be at least %zu; build it again with this SDK", path,
                             head->struct_size, sizeof(prn_plugin));
    }
    return PRN_OK;
}

static prn_status judge(prn__registry *registry, prn__plugin_entry *entry, prn_error *error)
{
    const char *path = entry->path;
    entry_head head;
    prn_status status = prn__library_check_file(path, PRN_PLUGIN_SYMBOL, &head, sizeof head, error);
    if (status == PRN_OK) {
        status = check_head(path, &head, error);
    }
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
    if (plugin == NULL || memcmp(plugin, &head, sizeof head) != 0) {
        return prn_error_set(error, PRN_INVALID, "%s: its '%s' is another than the file says; build it against this SDK's plugin.h", path,
                             PRN_PLUGIN_SYMBOL);
    }
    if (!is_name(plugin->name) || plugin->version == NULL || plugin->license == NULL || plugin->summary == NULL ||
        (plugin->interface_count > 0 && plugin->interfaces == NULL) || plugin->interface_count > 1000) {
        return prn_error_set(error, PRN_INVALID, "%s: its entry lacks a name (lower case letters, digits, '-', '_'), version, license, summary or "
                             "interface list", path);
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

/* 1 when the folder was searched before, by whatever name; else notes it. */
static int was_searched(prn__registry *registry, const char *folder, prn_status *status, prn_error *error)
{
    struct stat info;
    if (stat(folder, &info) != 0) {
        return 0;
    }
    for (size_t i = 0; i < registry->searched_count; i++) {
        if (registry->searched[i].device == info.st_dev && registry->searched[i].inode == info.st_ino) {
            return 1;
        }
    }
    *status = grow((void **)&registry->searched, registry->searched_count, &registry->searched_capacity, sizeof *registry->searched, error);
    if (*status == PRN_OK) {
        registry->searched[registry->searched_count++] = (struct searched){info.st_dev, info.st_ino};
    }
    return 0;
}

/* Every *.so of a folder, in the order of their names. */
static prn_status search_folder(prn__registry *registry, const char *folder, int is_given, prn_error *error)
{
    prn_error detail = PRN_ERROR_INIT;
    prn__plugin_entry *entry;
    char **names = NULL;
    size_t count = 0, capacity = 0;
    prn_status status = PRN_OK;
    if (was_searched(registry, folder, &status, error) || status != PRN_OK) {
        return status;
    }
    status = prn__library_check_folder(folder, &detail);
    if (status == PRN_NOT_FOUND && !is_given) {
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
        (void)prn_error_set(&detail, PRN_IO, "%s: cannot be read: %s", folder, strerror(errno));
        status = add_entry(registry, folder, &entry, error);
        if (status == PRN_OK) {
            refuse(registry, entry, detail.message);
        }
        return status;
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

/* Folders that someone named: one that is not there is said, as an entry that was refused. */
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
            status = search_folder(registry, folder, 1, error);
        }
        list = end != NULL ? end + 1 : NULL;
    }
    return status;
}

/* Where plugins lie, seen from the executable's folder, when installed; the build says, because library folders have many names. */
#ifndef PRN_PLUGINS_FROM_EXECUTABLE
#define PRN_PLUGINS_FROM_EXECUTABLE "../lib/perennial/plugins"
#endif

/* In the build tree, the tree's; else the installed ones, or a folder `plugins` beside the executable of a tree that was moved. */
static prn_status search_own(prn__registry *registry, prn_error *error)
{
    static const char *const relative[] = {PRN_PLUGINS_FROM_EXECUTABLE, "plugins", "../plugins"};
    static const char build[] = PRN_BUILD_DIR;
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) {
        return PRN_OK;
    }
    path[length] = '\0';
    char *folder = prn__path_folder(path);
    prn_status status = folder != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of plugins");
    const int is_built = strncmp(path, build, sizeof build - 1) == 0 && path[sizeof build - 1] == '/';
    for (size_t i = 0; i <= sizeof relative / sizeof relative[0] && status == PRN_OK; i++) {
        if (i == 0 && !is_built) {
            continue;
        }
        char *own = i == 0 ? prn__path_join(build, "plugins") : prn__path_join(folder, relative[i - 1]);
        const int found = own != NULL && prn__folder_exists(own);
        if (own == NULL) {
            status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of plugins");
        } else if (found) {
            status = search_folder(registry, own, 0, error);
        }
        prn__free(own);
        if (found) {
            break;
        }
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
        prn__free(registry->searched);
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
