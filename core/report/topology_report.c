/* core/report/topology_report.c: see topology_report.h. */
#include "report/topology_report.h"

#include <inttypes.h>

#include "report/json.h"
#include "report/table.h"

/* "0-3, 8" */
static void put_numbers(const int *numbers, uint32_t count, prn__text *target)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t end = i + 1;
        while (end < count && numbers[end] == numbers[end - 1] + 1) {
            end++;
        }
        prn__text_printf(target, "%s%d", i > 0 ? ", " : "", numbers[i]);
        if (end - i > 1) {
            prn__text_printf(target, "%s%d", end - i > 2 ? "-" : ", ", numbers[end - 1]);
        }
        i = end;
    }
}

static void print_caches(const prn__topology *t, prn__table *table)
{
    char size[32];
    for (uint32_t i = 0; i < t->cache_count; i++) {
        const prn__topology_cache *c = &t->caches[i];
        int is_kib = c->bytes < (1u << 20);
        (void)snprintf(size, sizeof size, "%.4g %s", (double)c->bytes / (is_kib ? 1024 : 1024 * 1024), is_kib ? "KiB" : "MiB");
        prn__table_cell(table, i == 0 ? "caches" : "");
        prn__table_cell(table, "%s: %u of %s, each for %u processor%s", c->name, c->count, size, c->shared_by, c->shared_by == 1 ? "" : "s");
    }
}

void prn__topology_print(const prn__topology *t, prn__text *target)
{
    char all[32], free_bytes[32];
    prn__text list;
    prn__table *table = prn__table_create();
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    prn__table_cell(table, "machine");
    prn__table_cell(table, "%s%s%s", t->machine, t->machine[0] != '\0' ? ", " : "", t->architecture);
    prn__table_cell(table, "processor");
    prn__table_cell(table, "%s", t->processor[0] != '\0' ? t->processor : "not told");
    prn__table_cell(table, "cores");
    prn__table_cell(table, "%u in %u package%s, %u hardware threads", t->core_count, t->package_count, t->package_count == 1 ? "" : "s",
                    t->processor_count);
    prn__table_cell(table, "allowed here");
    prn__table_cell(table, "%u cores, %u hardware threads", t->allowed_core_count, t->allowed_processor_count);
    prn__table_cell(table, "memory");
    (void)prn__format_bytes((double)t->memory_bytes, all, sizeof all);
    if (t->memory_free_bytes > 0) {
        prn__table_cell(table, "%s, %s free", all, prn__format_bytes((double)t->memory_free_bytes, free_bytes, sizeof free_bytes));
    } else {
        prn__table_cell(table, "%s", all);
    }
    for (uint32_t i = 0; i < t->numa_node_count && t->numa_node_count > 1; i++) {
        prn__table_cell(table, i == 0 ? "NUMA nodes" : "");
        prn__table_cell(table, "node %u: %s, %u hardware threads", t->numa_nodes[i].number,
                        prn__format_bytes((double)t->numa_nodes[i].memory_bytes, all, sizeof all), t->numa_nodes[i].processor_count);
    }
    print_caches(t, table);
    prn__text_init(&list);
    for (uint32_t i = 0, n = 0; i < t->extension_count; i++) {
        if (t->extensions[i].is_present) {
            prn__text_printf(&list, "%s%s", n++ > 0 ? ", " : "", t->extensions[i].name);
        }
    }
    prn__table_cell(table, "extensions");
    prn__table_cell(table, "%s", list.length > 0 ? list.data : "none that the cpu backend uses");
    prn__text_clear(&list);
    prn__table_cell(table, "threads");
    if (t->binds) {
        put_numbers(t->binding, t->thread_count, &list);
        prn__table_cell(table, "%u compute, bound to processors %s", t->thread_count, list.data != NULL ? list.data : "");
    } else {
        prn__table_cell(table, "%u compute, left to the system", t->thread_count);
    }
    target->failed |= list.failed;
    prn__text_fini(&list);
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
}

void prn__topology_json(const prn__topology *t, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "machine", t->machine);
    prn__json_string(&json, root, "processor", t->processor);
    prn__json_string(&json, root, "architecture", t->architecture);
    prn__json_integer(&json, root, "packages", t->package_count);
    prn__json_integer(&json, root, "cores", t->core_count);
    prn__json_integer(&json, root, "processors", t->processor_count);
    prn__json_integer(&json, root, "allowed_cores", t->allowed_core_count);
    prn__json_integer(&json, root, "allowed_processors", t->allowed_processor_count);
    prn__json_integer(&json, root, "memory_bytes", (int64_t)t->memory_bytes);
    prn__json_integer(&json, root, "memory_free_bytes", (int64_t)t->memory_free_bytes);
    json_t *nodes = prn__json_array(&json, root, "numa_nodes");
    for (uint32_t i = 0; i < t->numa_node_count; i++) {
        json_t *node = prn__json_object(&json, nodes, NULL);
        prn__json_integer(&json, node, "number", t->numa_nodes[i].number);
        prn__json_integer(&json, node, "processors", t->numa_nodes[i].processor_count);
        prn__json_integer(&json, node, "memory_bytes", (int64_t)t->numa_nodes[i].memory_bytes);
    }
    json_t *caches = prn__json_array(&json, root, "caches");
    for (uint32_t i = 0; i < t->cache_count; i++) {
        const prn__topology_cache *c = &t->caches[i];
        json_t *cache = prn__json_object(&json, caches, NULL);
        prn__json_string(&json, cache, "name", c->name);
        prn__json_integer(&json, cache, "count", c->count);
        prn__json_integer(&json, cache, "bytes", (int64_t)c->bytes);
        prn__json_integer(&json, cache, "shared_by", c->shared_by);
        prn__json_integer(&json, cache, "line_bytes", c->line_bytes);
        prn__json_integer(&json, cache, "ways", c->ways);
    }
    json_t *extensions = prn__json_object(&json, root, "extensions");
    for (uint32_t i = 0; i < t->extension_count; i++) {
        prn__json_boolean(&json, extensions, t->extensions[i].name, t->extensions[i].is_present);
    }
    json_t *processors = prn__json_array(&json, root, "processor_list");
    for (uint32_t i = 0; i < t->processor_count; i++) {
        const prn__topology_processor *p = &t->processors[i];
        json_t *processor = prn__json_object(&json, processors, NULL);
        prn__json_integer(&json, processor, "number", p->number);
        prn__json_integer(&json, processor, "core", p->core);
        prn__json_integer(&json, processor, "package", p->package);
        prn__json_integer(&json, processor, "numa_node", p->numa_node);
        prn__json_boolean(&json, processor, "allowed", p->is_allowed);
    }
    json_t *threads = prn__json_object(&json, root, "threads");
    prn__json_integer(&json, threads, "count", t->thread_count);
    prn__json_boolean(&json, threads, "bound", t->binds);
    json_t *binding = prn__json_array(&json, threads, "processors");
    for (uint32_t i = 0; i < t->thread_count && t->binds; i++) {
        prn__json_integer(&json, binding, NULL, t->binding[i]);
    }
    prn__json_finish(&json, root, target);
}
