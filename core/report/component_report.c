/* core/report/component_report.c: see component_report.h. */
#include "report/component_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/json.h"
#include "report/strategy_report.h"
#include "report/table.h"

enum { MAX_DEVICES = 64 };

/* ---- finding ---------------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const prn__component *)a)->name, ((const prn__component *)b)->name);
}

/* The name stands at the same place in every revision of both tables. */
static const char *name_in(const char *interface_id, const void *table)
{
    return strcmp(interface_id, PRN_BACKEND_INTERFACE) == 0 ? ((const prn_backend *)table)->name : ((const prn_strategy *)table)->name;
}

static int describe(prn__registry *registry, const char *interface_id, const char *name, prn__component *c)
{
    memset(c, 0, sizeof *c);
    if (strcmp(interface_id, PRN_BACKEND_INTERFACE) == 0) {
        if (prn__registry_backend(registry, name, &c->backend, &c->entry, NULL) != PRN_OK) {
            return 0;
        }
        c->name = c->backend->name;
        c->summary = c->backend->summary;
        c->options = c->backend->options;
        c->option_count = c->backend->option_count;
    } else {
        if (prn__registry_strategy(registry, name, &c->strategy, &c->entry, NULL) != PRN_OK) {
            return 0;
        }
        c->name = c->strategy->name;
        c->summary = c->strategy->summary;
        c->options = c->strategy->options;
        c->option_count = c->strategy->option_count;
    }
    return 1;
}

prn_status prn__components_find(prn__registry *registry, const char *interface_id, prn__component **components, size_t *count, prn_error *error)
{
    size_t capacity = 1;
    *components = NULL;
    *count = 0;
    for (size_t e = 0; e < prn__registry_count(registry); e++) {
        const prn__plugin_entry *entry = prn__registry_entry(registry, e);
        capacity += entry->plugin != NULL ? entry->plugin->interface_count : 0;
    }
    prn__component *found = prn__alloc_array(capacity, sizeof *found);
    if (found == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while listing plugins");
    }
    for (size_t e = 0; e < prn__registry_count(registry); e++) {
        const prn__plugin_entry *entry = prn__registry_entry(registry, e);
        for (uint32_t i = 0; entry->plugin != NULL && i < entry->plugin->interface_count; i++) {
            const prn_interface *offered = &entry->plugin->interfaces[i];
            /* Of two components of one name the registry serves the first: only that one is listed. */
            if (strcmp(offered->id, interface_id) == 0 && describe(registry, interface_id, name_in(interface_id, offered->table), &found[*count]) &&
                found[*count].entry == entry) {
                (*count)++;
            }
        }
    }
    qsort(found, *count, sizeof *found, by_name);
    *components = found;
    return PRN_OK;
}

/* ---- options ------------------------------------------------------------------------------------------------------------------ */

static const char *type_name(const prn_option *o)
{
    switch (o->type) {
    case PRN_OPTION_BOOL: return "true or false";
    case PRN_OPTION_INTEGER: return "whole number";
    case PRN_OPTION_REAL: return "number";
    case PRN_OPTION_CHOICE: return "choice";
    case PRN_OPTION_REAL_LIST: return "list of numbers";
    default: return "text";
    }
}

static const prn_option *option_at(const prn__component *c, uint32_t index)
{
    return (const prn_option *)(const void *)((const char *)(const void *)c->options + (size_t)index * c->options[0].struct_size);
}

static int has_bounds(const prn_option *o)
{
    return (o->type == PRN_OPTION_INTEGER || o->type == PRN_OPTION_REAL || o->type == PRN_OPTION_REAL_LIST) && o->maximum > o->minimum;
}

static void print_options(const prn__component *c, prn__text *target)
{
    if (c->option_count == 0) {
        prn__text_puts(target, "  no options\n");
        return;
    }
    prn__table *table = prn__table_create();
    static const char *const heads[] = {"option", "default", "value", "meaning"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'l');
    }
    for (uint32_t i = 0; i < c->option_count; i++) {
        const prn_option *o = option_at(c, i);
        prn__table_cell(table, "%s", o->name);
        prn__table_cell(table, "%s", o->preset == NULL ? "(must be given)" : o->preset[0] == '\0' ? "\"\"" : o->preset);
        if (o->type == PRN_OPTION_CHOICE) {
            prn__table_cell(table, "%s", o->choices != NULL ? o->choices : "");
        } else if (has_bounds(o)) {
            prn__table_cell(table, "%s, %.10g to %.10g%s%s", type_name(o), o->minimum, o->maximum, o->unit != NULL && o->unit[0] != '\0' ? " " : "",
                            o->unit != NULL ? o->unit : "");
        } else {
            prn__table_cell(table, "%s%s%s", type_name(o), o->unit != NULL && o->unit[0] != '\0' ? ", " : "", o->unit != NULL ? o->unit : "");
        }
        prn__table_cell(table, "%s", o->help != NULL ? o->help : "");
    }
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

static void put_options(prn__json *json, json_t *parent, const prn__component *c)
{
    static const char *const types[] = {"", "bool", "integer", "real", "string", "choice", "real_list"};
    json_t *options = prn__json_array(json, parent, "options");
    for (uint32_t i = 0; i < c->option_count; i++) {
        const prn_option *o = option_at(c, i);
        json_t *object = prn__json_object(json, options, NULL);
        prn__json_string(json, object, "name", o->name);
        prn__json_string(json, object, "type", types[o->type <= PRN_OPTION_REAL_LIST ? o->type : 0]);
        prn__json_string(json, object, "unit", o->unit);
        prn__json_string(json, object, "default", o->preset);
        prn__json_string(json, object, "choices", o->choices);
        if (has_bounds(o)) {
            prn__json_real(json, object, "minimum", o->minimum);
            prn__json_real(json, object, "maximum", o->maximum);
        }
        prn__json_string(json, object, "help", o->help);
    }
}

static void put_component(prn__json *json, json_t *object, const prn__component *c)
{
    char digest[33];
    prn__digest_format(c->entry->digest, digest);
    prn__json_string(json, object, "name", c->name);
    prn__json_string(json, object, "summary", c->summary);
    json_t *plugin = prn__json_object(json, object, "plugin");
    prn__json_string(json, plugin, "name", c->entry->plugin->name);
    prn__json_string(json, plugin, "version", c->entry->plugin->version);
    prn__json_string(json, plugin, "license", c->entry->plugin->license);
    prn__json_string(json, plugin, "path", c->entry->path);
    prn__json_string(json, plugin, "digest", digest);
    put_options(json, object, c);
}

static void print_head(const prn__component *c, prn__text *target)
{
    prn__text_printf(target, "%s: %s\n", c->name, c->summary != NULL ? c->summary : "");
    prn__text_printf(target, "  plugin %s %s (%s)\n\n", c->entry->plugin->name, c->entry->plugin->version, c->entry->path);
}

/* ---- strategies ---------------------------------------------------------------------------------------------------------------- */

void prn__strategies_print(const prn__component *components, size_t count, prn__text *target)
{
    prn__table *table = prn__table_create();
    static const char *const heads[] = {"strategy", "version", "what it does", "options"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'l');
    }
    for (size_t i = 0; i < count; i++) {
        const prn__component *c = &components[i];
        prn__text names;
        prn__text_init(&names);
        for (uint32_t o = 0; o < c->option_count; o++) {
            prn__text_printf(&names, "%s%s", o > 0 ? ", " : "", option_at(c, o)->name);
        }
        prn__table_cell(table, "%s", c->name);
        prn__table_cell(table, "%s", c->entry->plugin->version);
        prn__table_cell(table, "%s", c->summary != NULL ? c->summary : "");
        prn__table_cell(table, "%s", c->option_count > 0 && names.data != NULL ? names.data : "-");
        prn__text_fini(&names);
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
}

void prn__strategies_json(const prn__component *components, size_t count, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL), *list = prn__json_array(&json, root, "strategies");
    for (size_t i = 0; i < count; i++) {
        put_component(&json, prn__json_object(&json, list, NULL), &components[i]);
    }
    prn__json_finish(&json, root, target);
}

void prn__strategy_print(prn__registry *registry, const prn__component *component, const prn__option_pair *given, size_t given_count, prn__text *target)
{
    print_head(component, target);
    print_options(component, target);
    prn__text_puts(target, "\n");
    prn__strategy_facts_print(registry, component->strategy, given, given_count, target);
    prn__text_printf(target, "\nin a recipe: strategies = { p.%s {%s%s%s} }\n", component->name, component->option_count > 0 ? " " : "",
                     component->option_count > 0 ? option_at(component, 0)->name : "", component->option_count > 0 ? " = ... " : "");
}

void prn__strategy_json(prn__registry *registry, const prn__component *component, const prn__option_pair *given, size_t given_count, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    put_component(&json, root, component);
    prn__strategy_facts_json(registry, component->strategy, given, given_count, &json, root);
    prn__json_finish(&json, root, target);
}

/* ---- backends ------------------------------------------------------------------------------------------------------------------ */

static uint32_t devices_of(prn__registry *registry, const prn__component *c, prn_device_info *devices, prn_error *error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < MAX_DEVICES; i++) {
        devices[i] = (prn_device_info){.struct_size = sizeof devices[i]};
    }
    if (c->backend->devices(prn__registry_host(registry), devices, MAX_DEVICES, &count, error) != PRN_OK) {
        return 0;
    }
    return count < MAX_DEVICES ? count : MAX_DEVICES;
}

void prn__refused_print(prn__registry *registry, prn__text *target)
{
    int any = 0;
    for (size_t e = 0; e < prn__registry_count(registry); e++) {
        const prn__plugin_entry *entry = prn__registry_entry(registry, e);
        if (entry->plugin == NULL) {
            prn__text_puts(target, any ? "" : "\nrefused plugins\n");
            prn__text_puts(target, "  ");
            prn__text_append_safe(target, entry->reason, strlen(entry->reason), 0);
            prn__text_puts(target, "\n");
            any = 1;
        }
    }
}

void prn__backends_print(prn__registry *registry, const prn__component *components, size_t count, prn__text *target)
{
    prn__table *table = prn__table_create();
    prn_device_info *devices = prn__alloc_array(MAX_DEVICES, sizeof *devices);
    static const char *const heads[] = {"backend", "version", "what it is", "devices"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'l');
    }
    for (size_t i = 0; i < count && devices != NULL; i++) {
        const prn__component *c = &components[i];
        prn_error error = PRN_ERROR_INIT;
        uint32_t found = devices_of(registry, c, devices, &error);
        prn__table_cell(table, "%s", c->name);
        prn__table_cell(table, "%s", c->entry->plugin->version);
        prn__table_cell(table, "%s", c->summary != NULL ? c->summary : "");
        if (found == 0) {
            prn__table_cell(table, "%s", error.message[0] != '\0' ? error.message : "none");
        } else {
            prn__table_cell(table, "%u: %s", found, devices[0].name);
        }
    }
    target->failed |= devices == NULL;
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
    prn__free(devices);
    prn__refused_print(registry, target);
}

static void put_backend(prn__json *json, json_t *object, prn__registry *registry, const prn__component *c)
{
    prn_device_info *devices = prn__alloc_array(MAX_DEVICES, sizeof *devices);
    prn_error error = PRN_ERROR_INIT;
    uint32_t found = devices != NULL ? devices_of(registry, c, devices, &error) : 0;
    put_component(json, object, c);
    prn__json_string(json, object, "numerics", c->backend->numerics);
    json_t *list = prn__json_array(json, object, "devices");
    for (uint32_t d = 0; d < found; d++) {
        json_t *device = prn__json_object(json, list, NULL);
        prn__json_integer(json, device, "index", devices[d].index);
        prn__json_string(json, device, "name", devices[d].name);
        prn__json_string(json, device, "detail", devices[d].detail);
        prn__json_integer(json, device, "memory_bytes", (int64_t)devices[d].memory_bytes);
        prn__json_integer(json, device, "memory_free_bytes", (int64_t)devices[d].memory_free_bytes);
    }
    prn__json_string(json, object, "device_error", error.message[0] != '\0' ? error.message : NULL);
    json->failed |= devices == NULL;
    prn__free(devices);
}

void prn__backends_json(prn__registry *registry, const prn__component *components, size_t count, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL), *list = prn__json_array(&json, root, "backends");
    for (size_t i = 0; i < count; i++) {
        put_backend(&json, prn__json_object(&json, list, NULL), registry, &components[i]);
    }
    json_t *refused = prn__json_array(&json, root, "refused");
    for (size_t e = 0; e < prn__registry_count(registry); e++) {
        const prn__plugin_entry *entry = prn__registry_entry(registry, e);
        if (entry->plugin == NULL) {
            json_t *object = prn__json_object(&json, refused, NULL);
            prn__json_string(&json, object, "path", entry->path);
            prn__json_string(&json, object, "reason", entry->reason);
        }
    }
    prn__json_finish(&json, root, target);
}

void prn__backend_print(prn__registry *registry, const prn__component *component, prn__text *target)
{
    prn_device_info *devices = prn__alloc_array(MAX_DEVICES, sizeof *devices);
    prn_error error = PRN_ERROR_INIT;
    char size[32], free_size[32];
    uint32_t found = devices != NULL ? devices_of(registry, component, devices, &error) : 0;
    print_head(component, target);
    for (uint32_t d = 0; d < found; d++) {
        prn__text_printf(target, "  device %u: %s\n    %s\n", devices[d].index, devices[d].name, devices[d].detail);
        if (devices[d].memory_bytes > 0) {
            prn__text_printf(target, "    memory %s, %s free\n", prn__format_bytes((double)devices[d].memory_bytes, size, sizeof size),
                             prn__format_bytes((double)devices[d].memory_free_bytes, free_size, sizeof free_size));
        }
    }
    if (found == 0) {
        prn__text_printf(target, "  no device here%s%s\n", error.message[0] != '\0' ? ": " : "", error.message);
    }
    prn__text_printf(target, "  numerics %s (results may change when this does)\n\n", component->backend->numerics);
    print_options(component, target);
    target->failed |= devices == NULL;
    prn__free(devices);
}

void prn__backend_json(prn__registry *registry, const prn__component *component, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    put_backend(&json, root, registry, component);
    prn__json_finish(&json, root, target);
}
