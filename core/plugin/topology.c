/* core/plugin/topology.c: see topology.h. The only file that knows hwloc. */
#include "plugin/topology.h"

#include <hwloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "base/memory.h"

enum { THREAD_LIMIT = 1024 }; /* as the pool's */

typedef struct survey {
    hwloc_topology_t machine;
    hwloc_bitmap_t allowed;
    prn__topology *result;
    prn_error *error;
} survey;

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the description of this machine");
}

static uint32_t weight(hwloc_const_bitmap_t set)
{
    int count = hwloc_bitmap_weight(set);
    return count > 0 ? (uint32_t)count : 0;
}

static uint32_t count_of(hwloc_topology_t machine, hwloc_obj_type_t type)
{
    int count = hwloc_get_nbobjs_by_type(machine, type);
    return count > 0 ? (uint32_t)count : 0;
}

static void *list(survey *s, size_t count, size_t size)
{
    return prn__arena_alloc(s->result->memory, (count + 1) * size);
}

/* ---- the parts ---- */

static prn_status read_processors(survey *s)
{
    prn__topology *r = s->result;
    r->processor_count = count_of(s->machine, HWLOC_OBJ_PU);
    r->core_count = count_of(s->machine, HWLOC_OBJ_CORE);
    r->package_count = count_of(s->machine, HWLOC_OBJ_PACKAGE);
    r->processors = list(s, r->processor_count, sizeof *r->processors);
    if (r->processors == NULL) {
        return no_memory(s->error);
    }
    const int has_cores = r->core_count > 0;
    if (!has_cores) {
        r->core_count = r->processor_count; /* a system that tells of processors only: each counts as a core */
    }
    if (r->package_count == 0) {
        r->package_count = 1;
    }
    hwloc_bitmap_t seen = hwloc_bitmap_alloc();
    if (seen == NULL) {
        return no_memory(s->error);
    }
    hwloc_obj_t unit = NULL;
    for (uint32_t i = 0; i < r->processor_count; i++) {
        unit = hwloc_get_next_obj_by_type(s->machine, HWLOC_OBJ_PU, unit);
        const hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(s->machine, HWLOC_OBJ_CORE, unit);
        const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(s->machine, HWLOC_OBJ_PACKAGE, unit);
        const int node = hwloc_bitmap_first(unit->nodeset);
        prn__topology_processor *p = &r->processors[i];
        p->number = unit->os_index;
        p->core = has_cores && core != NULL ? core->logical_index : i;
        p->package = package != NULL ? package->logical_index : 0;
        p->numa_node = node >= 0 ? (uint32_t)node : 0;
        p->is_allowed = hwloc_bitmap_isset(s->allowed, unit->os_index);
        if (p->is_allowed) {
            r->allowed_processor_count++;
            r->allowed_core_count += !hwloc_bitmap_isset(seen, p->core);
            (void)hwloc_bitmap_set(seen, p->core);
        }
    }
    hwloc_bitmap_free(seen);
    return PRN_OK;
}

static prn_status read_caches(survey *s)
{
    static const struct {
        hwloc_obj_type_t type;
        const char *name;
    } kinds[] = {{HWLOC_OBJ_L1CACHE, "L1d"}, {HWLOC_OBJ_L1ICACHE, "L1i"}, {HWLOC_OBJ_L2CACHE, "L2"},
                 {HWLOC_OBJ_L3CACHE, "L3"},  {HWLOC_OBJ_L4CACHE, "L4"}};
    prn__topology *r = s->result;
    uint32_t room = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        room += count_of(s->machine, kinds[k].type);
    }
    r->caches = list(s, room, sizeof *r->caches);
    if (r->caches == NULL) {
        return no_memory(s->error);
    }
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        const uint32_t first = r->cache_count;
        for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(s->machine, kinds[k].type, o)) != NULL;) {
            const struct hwloc_cache_attr_s *a = &o->attr->cache;
            uint32_t i = first; /* machines with unlike cores have a row for each size */
            while (i < r->cache_count && (r->caches[i].bytes != a->size || r->caches[i].shared_by != weight(o->cpuset))) {
                i++;
            }
            if (i == r->cache_count) {
                r->caches[r->cache_count++] = (prn__topology_cache){.name = kinds[k].name, .shared_by = weight(o->cpuset), .bytes = a->size,
                                                                    .line_bytes = a->linesize,
                                                                    .ways = a->associativity > 0 ? (uint32_t)a->associativity : 0};
            }
            r->caches[i].count++;
        }
    }
    return PRN_OK;
}

/* The kernel's own account, in bytes; 0 where it does not tell. `total` may exceed the sum of the nodes where memory was added
 * while the machine ran. `available`: free pages and what the system would give up for them. */
static void memory_account(uint64_t *total, uint64_t *available)
{
    char *text = NULL;
    size_t bytes = 0;
    *total = *available = 0;
    if (prn__file_read("/proc/meminfo", 1 << 20, &text, &bytes, NULL) == PRN_OK) {
        const char *all = strstr(text, "MemTotal:"), *free_now = strstr(text, "MemAvailable:");
        *total = all != NULL ? strtoull(all + strlen("MemTotal:"), NULL, 10) * 1024 : 0;
        *available = free_now != NULL ? strtoull(free_now + strlen("MemAvailable:"), NULL, 10) * 1024 : 0;
        prn__free(text);
    }
}

static prn_status read_memory(survey *s)
{
    prn__topology *r = s->result;
    const uint32_t count = count_of(s->machine, HWLOC_OBJ_NUMANODE);
    r->numa_nodes = list(s, count, sizeof *r->numa_nodes);
    if (r->numa_nodes == NULL) {
        return no_memory(s->error);
    }
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(s->machine, HWLOC_OBJ_NUMANODE, o)) != NULL;) {
        r->numa_nodes[r->numa_node_count++] = (prn__topology_numa_node){o->os_index, weight(o->cpuset), o->attr->numanode.local_memory};
    }
    r->memory_bytes = hwloc_get_root_obj(s->machine)->total_memory;
    if (hwloc_topology_is_thissystem(s->machine)) {
        uint64_t total;
        memory_account(&total, &r->memory_free_bytes);
        r->memory_bytes = total > 0 ? total : r->memory_bytes;
    }
    return PRN_OK;
}

static prn_status read_extensions(survey *s)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    const prn__topology_extension found[] = {
        {"sse4.2", __builtin_cpu_supports("sse4.2") != 0},         {"avx", __builtin_cpu_supports("avx") != 0},
        {"avx2", __builtin_cpu_supports("avx2") != 0},             {"fma", __builtin_cpu_supports("fma") != 0},
        {"avx512f", __builtin_cpu_supports("avx512f") != 0},       {"avx512dq", __builtin_cpu_supports("avx512dq") != 0},
        {"avx512bw", __builtin_cpu_supports("avx512bw") != 0},     {"avx512vl", __builtin_cpu_supports("avx512vl") != 0},
        {"avx512bf16", __builtin_cpu_supports("avx512bf16") != 0},
    };
#elif defined(__aarch64__)
    const prn__topology_extension found[] = {{"asimd", 1}}; /* part of the architecture */
#else
    const prn__topology_extension found[] = {{"", 0}};
#endif
    prn__topology *r = s->result;
    r->extensions = list(s, sizeof found / sizeof found[0], sizeof found[0]);
    if (r->extensions == NULL) {
        return no_memory(s->error);
    }
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++) {
        if (found[i].name[0] != '\0') {
            r->extensions[r->extension_count++] = found[i];
        }
    }
    return PRN_OK;
}

static prn_status read_names(survey *s)
{
    prn__topology *r = s->result;
    struct utsname names;
    const int here = hwloc_topology_is_thissystem(s->machine);
    const hwloc_obj_t package = hwloc_get_obj_by_type(s->machine, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package != NULL ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    if (model == NULL) {
        model = hwloc_obj_get_info_by_name(hwloc_get_root_obj(s->machine), "CPUModel");
    }
    const int named = uname(&names) == 0;
    r->machine = prn__arena_strdup(r->memory, here && named ? names.nodename : "");
    r->architecture = prn__arena_strdup(r->memory, named ? names.machine : "");
    r->processor = prn__arena_strdup(r->memory, model != NULL ? model : "");
    return r->machine != NULL && r->architecture != NULL && r->processor != NULL ? PRN_OK : no_memory(s->error);
}

/* Round r takes the r-th allowed hardware thread of each core, cores in the machine's order. */
static prn_status choose_binding(survey *s, uint32_t threads)
{
    prn__topology *r = s->result;
    r->thread_count = threads > 0 ? threads : r->allowed_core_count > 0 ? r->allowed_core_count : 1;
    r->binding = list(s, r->thread_count, sizeof *r->binding);
    uint32_t *taken = list(s, r->core_count, sizeof *taken); /* allowed hardware threads of a core met in this round */
    if (r->binding == NULL || taken == NULL) {
        return no_memory(s->error);
    }
    r->binds = r->thread_count <= r->allowed_processor_count;
    for (uint32_t t = 0; t < r->thread_count; t++) {
        r->binding[t] = -1;
    }
    uint32_t placed = r->binds ? 0 : r->thread_count;
    for (uint32_t round = 0; placed < r->thread_count && round < r->processor_count; round++) {
        memset(taken, 0, r->core_count * sizeof *taken);
        for (uint32_t i = 0; i < r->processor_count && placed < r->thread_count; i++) {
            const prn__topology_processor *p = &r->processors[i];
            if (p->is_allowed && taken[p->core]++ == round) {
                r->binding[placed++] = (int)p->number;
            }
        }
    }
    return PRN_OK;
}

/* ---- whole ---- */

static prn_status open_machine(survey *s, const char *description)
{
    if (hwloc_topology_init(&s->machine) != 0) {
        s->machine = NULL;
        return no_memory(s->error);
    }
    if (description != NULL && hwloc_topology_set_synthetic(s->machine, description) != 0) {
        return prn_error_set(s->error, PRN_INVALID, "'%s' does not describe a machine; write it in hwloc's synthetic form, such as 'core:4 pu:2'",
                             description);
    }
    /* processors that this process may not use are part of the picture; caches of instructions too */
    (void)hwloc_topology_set_flags(s->machine, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    (void)hwloc_topology_set_icache_types_filter(s->machine, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(s->machine) != 0) {
        return prn_error_set(s->error, PRN_IO, "hwloc cannot read what this machine is; lstopo says why");
    }
    s->allowed = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(s->machine));
    hwloc_bitmap_t bound = hwloc_bitmap_alloc();
    prn_status status = s->allowed != NULL && bound != NULL ? PRN_OK : no_memory(s->error);
    if (status == PRN_OK && hwloc_topology_is_thissystem(s->machine) && hwloc_get_cpubind(s->machine, bound, HWLOC_CPUBIND_PROCESS) == 0) {
        (void)hwloc_bitmap_and(s->allowed, s->allowed, bound);
    }
    hwloc_bitmap_free(bound);
    return status;
}

prn_status prn__topology_create(uint32_t threads, const char *description, prn__topology **result, prn_error *error)
{
    *result = NULL;
    if (threads > THREAD_LIMIT) {
        return prn_error_set(error, PRN_INVALID, "%u threads asked for; at most %d are allowed", threads, THREAD_LIMIT);
    }
    survey s = {.error = error};
    prn__topology *topology = prn__alloc(sizeof *topology);
    prn__arena *memory = prn__alloc(sizeof *memory);
    if (topology == NULL || memory == NULL) {
        prn__free(topology);
        prn__free(memory);
        return no_memory(error);
    }
    prn__arena_init(memory, 4096);
    topology->memory = memory;
    s.result = topology;
    prn_status status = open_machine(&s, description);
    prn_status (*const parts[])(survey *) = {read_names, read_processors, read_caches, read_memory, read_extensions};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && status == PRN_OK; i++) {
        status = parts[i](&s);
    }
    if (status == PRN_OK) {
        status = choose_binding(&s, threads);
    }
    hwloc_bitmap_free(s.allowed);
    if (s.machine != NULL) {
        hwloc_topology_destroy(s.machine);
    }
    if (status != PRN_OK) {
        prn__topology_destroy(topology);
        return status;
    }
    *result = topology;
    return PRN_OK;
}

void prn__topology_destroy(prn__topology *topology)
{
    if (topology != NULL) {
        prn__arena_fini(topology->memory);
        prn__free(topology->memory);
        prn__free(topology);
    }
}

/* ---- shares ---- */

prn_status prn__topology_split(prn__topology *t, uint32_t jobs, prn__topology_share *shares, int *are_disjoint, prn_error *error)
{
    uint32_t *cores = prn__arena_alloc(t->memory, ((size_t)t->core_count + 1) * sizeof *cores), count = 0;
    if (cores == NULL) {
        return no_memory(error);
    }
    for (uint32_t i = 0; i < t->processor_count; i++) { /* processors come core by core */
        const prn__topology_processor *p = &t->processors[i];
        if (p->is_allowed && count < t->core_count && (count == 0 || cores[count - 1] != p->core)) {
            cores[count++] = p->core;
        }
    }
    if (are_disjoint != NULL) {
        *are_disjoint = jobs <= count;
    }
    for (uint32_t j = 0; j < jobs; j++) {
        const uint32_t first = jobs <= count ? (uint32_t)((uint64_t)j * count / jobs) : count > 0 ? j % count : 0;
        const uint32_t end = jobs <= count ? (uint32_t)(((uint64_t)j + 1) * count / jobs) : count > 0 ? first + 1 : 0;
        shares[j] = (prn__topology_share){.processors = prn__arena_alloc(t->memory, ((size_t)t->processor_count + 1) * sizeof(uint32_t)),
                                          .core_count = end - first};
        if (shares[j].processors == NULL) {
            return no_memory(error);
        }
        for (uint32_t i = 0; i < t->processor_count; i++) {
            const prn__topology_processor *p = &t->processors[i];
            int is_in = 0;
            for (uint32_t c = first; c < end; c++) {
                is_in |= cores[c] == p->core;
            }
            if (is_in && p->is_allowed) {
                shares[j].processors[shares[j].processor_count++] = p->number;
            }
        }
    }
    return PRN_OK;
}
