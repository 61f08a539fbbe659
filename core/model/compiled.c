/* core/model/compiled.c: see compiled.h. */
#include "model/compiled.h"

#include <string.h>

#include "base/memory.h"

static const char *op_name(uint32_t kind)
{
    switch (kind) {
#define NAME(code, value, name, inputs, outputs) case PRN_OP_##code: return name;
        PRN_OP_LIST(NAME)
#undef NAME
    default: return "?";
    }
}

static void blocks_drop(prn__compiled *c)
{
    prn__free(c->blocks.bindings);
    prn__free((void *)c->blocks.buffers);
    prn__free(c->blocks.offsets);
    prn__free(c->blocks.symbols);
    prn__free(c->blocks.executions);
    memset(&c->blocks, 0, sizeof c->blocks);
}

prn_status prn__compiled_init(prn__compiled *c, prn__graph *graph, const prn__device *device, prn_error *error)
{
    prn_status status;
    const prn_backend *backend = device->backend;
    c->device = device;
    c->graph = graph;
    status = prn__graph_finish(graph, &c->program, error);
    if (status != PRN_OK) {
        goto failed;
    }
    for (uint32_t i = 0; i < c->program->op_count; i++) {
        if (!backend->supports(device->instance, c->program, i)) {
            status = prn_error_set(error, PRN_UNSUPPORTED, "backend '%s' cannot run operation '%s' of program '%s'; choose another one with --backend",
                                   backend->name, op_name(c->program->ops[i].kind), c->program->name);
            goto failed;
        }
    }
    c->buffers = prn__alloc_array(c->program->slot_count, sizeof(prn_buffer *));
    c->offsets = prn__alloc_array(c->program->slot_count, sizeof *c->offsets);
    c->symbols = prn__alloc_array(c->program->symbol_count, sizeof *c->symbols);
    if (c->buffers == NULL || c->offsets == NULL || c->symbols == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "no memory for the bindings of program '%s'", c->program->name);
        goto failed;
    }
    status = backend->compile(device->instance, c->program, &c->executable, error);
    if (status == PRN_OK) {
        return PRN_OK;
    }
failed:
    prn__compiled_fini(c);
    return status;
}

void prn__compiled_fini(prn__compiled *c)
{
    if (c->executable != NULL) {
        c->device->backend->executable_destroy(c->device->instance, c->executable);
    }
    prn__free((void *)c->buffers);
    prn__free(c->offsets);
    prn__free(c->symbols);
    blocks_drop(c);
    prn__graph_destroy(c->graph);
    memset(c, 0, sizeof *c);
}

void prn__compiled_bind(prn__compiled *c, const char *slot, prn_buffer *buffer, int64_t offset)
{
    int32_t index = prn__program_slot(c->program, slot);
    if (index >= 0) {
        c->buffers[index] = buffer;
        c->offsets[index] = offset;
    }
}

void prn__compiled_set(prn__compiled *c, const char *symbol, int64_t value)
{
    for (uint32_t i = 0; i < c->program->symbol_count; i++) {
        if (strcmp(c->program->symbols[i].name, symbol) == 0) {
            c->symbols[i] = value;
        }
    }
}

static prn_status find_segment(const prn__compiled *c, const char *segment, uint32_t *index, prn_error *error)
{
    const int32_t found = prn__program_segment(c->program, segment);
    *index = found < 0 ? 0 : (uint32_t)found;
    return found < 0 ? prn_error_set(error, PRN_INTERNAL, "program '%s' has no segment '%s'", c->program->name, segment) : PRN_OK;
}

static prn_status check_binding(const prn__compiled *c, const prn_binding *binding, prn_error *error)
{
    for (uint32_t i = 0; i < c->program->slot_count; i++) {
        if (binding->buffers[i] == NULL) {
            return prn_error_set(error, PRN_INTERNAL, "slot '%s' of program '%s' is not bound", c->program->slots[i].name, c->program->name);
        }
    }
    for (uint32_t i = 0; i < c->program->symbol_count; i++) {
        if (binding->symbol_values[i] < 0 || binding->symbol_values[i] > c->program->symbols[i].maximum) {
            return prn_error_set(error, PRN_INTERNAL, "program '%s' was planned for at most %lld of '%s', not %lld", c->program->name,
                                 (long long)c->program->symbols[i].maximum, c->program->symbols[i].name, (long long)binding->symbol_values[i]);
        }
    }
    return PRN_OK;
}

prn_status prn__compiled_run(prn__compiled *c, const char *segment, prn_error *error)
{
    const prn_binding binding = {.struct_size = (uint32_t)sizeof binding, .slot_count = c->program->slot_count, .buffers = c->buffers,
                                 .buffer_offsets = c->offsets, .symbol_values = c->symbols, .symbol_count = c->program->symbol_count};
    uint32_t index;
    prn_status status = find_segment(c, segment, &index, error);
    if (status == PRN_OK) {
        status = check_binding(c, &binding, error);
    }
    return status == PRN_OK ? c->device->backend->execute(c->device->instance, c->executable, index, &binding, error) : status;
}

/* ---- blocks ---- */

prn_status prn__compiled_reserve_blocks(prn__compiled *c, uint32_t most, uint32_t beside, prn_error *error)
{
    const size_t slots = c->program->slot_count, symbols = c->program->symbol_count;
    blocks_drop(c);
    c->blocks.bindings = prn__alloc_array(most, sizeof *c->blocks.bindings);
    c->blocks.buffers = prn__alloc_array(most * slots, sizeof *c->blocks.buffers);
    c->blocks.offsets = prn__alloc_array(most * slots, sizeof *c->blocks.offsets);
    c->blocks.symbols = prn__alloc_array(most * symbols, sizeof *c->blocks.symbols);
    c->blocks.executions = prn__alloc_array((size_t)most + beside, sizeof *c->blocks.executions);
    if (c->blocks.bindings == NULL || c->blocks.buffers == NULL || c->blocks.offsets == NULL || c->blocks.symbols == NULL || c->blocks.executions == NULL) {
        blocks_drop(c);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for the bindings of program '%s'", c->program->name);
    }
    for (uint32_t i = 0; i < most; i++) {
        c->blocks.bindings[i] = (prn_binding){.struct_size = (uint32_t)sizeof *c->blocks.bindings, .slot_count = (uint32_t)slots,
                                              .buffers = c->blocks.buffers + i * slots, .buffer_offsets = c->blocks.offsets + i * slots,
                                              .symbol_values = c->blocks.symbols + i * symbols, .symbol_count = (uint32_t)symbols};
    }
    c->blocks.room = most;
    c->blocks.all = most + beside;
    return PRN_OK;
}

void prn__compiled_forget_blocks(prn__compiled *c)
{
    c->blocks.count = 0;
}

void prn__compiled_keep_block(prn__compiled *c)
{
    const size_t slots = c->program->slot_count, symbols = c->program->symbol_count, at = c->blocks.count;
    if (at < c->blocks.room) {
        memcpy((void *)(c->blocks.buffers + at * slots), (const void *)c->buffers, slots * sizeof *c->buffers);
        memcpy(c->blocks.offsets + at * slots, c->offsets, slots * sizeof *c->offsets);
        memcpy(c->blocks.symbols + at * symbols, c->symbols, symbols * sizeof *c->symbols);
    }
    c->blocks.count++;
}

static prn_status check_blocks(const prn__compiled *c, const char *segment, uint32_t *index, prn_error *error)
{
    prn_status status = find_segment(c, segment, index, error);
    if (status == PRN_OK && c->blocks.count > c->blocks.room) {
        status = prn_error_set(error, PRN_INTERNAL, "program '%s' has room for %u blocks, not %u", c->program->name, c->blocks.room, c->blocks.count);
    }
    for (uint32_t i = 0; i < c->blocks.count && status == PRN_OK; i++) {
        status = check_binding(c, &c->blocks.bindings[i], error);
    }
    return status;
}

prn_status prn__compiled_run_blocks(prn__compiled *const *programs, uint32_t count, const char *segment, prn_error *error)
{
    const prn__compiled *first = programs[0];
    const prn_backend *backend = first->device->backend;
    prn_execution *executions = first->blocks.executions;
    uint32_t all = 0, made = 0;
    prn_status status = PRN_OK;
    for (uint32_t p = 0; p < count; p++) {
        all += programs[p]->blocks.count;
    }
    if (all > first->blocks.all) {
        return prn_error_set(error, PRN_INTERNAL, "program '%s' has room for %u blocks of all programs, not %u", first->program->name, first->blocks.all, all);
    }
    for (uint32_t p = 0; p < count && status == PRN_OK; p++) {
        const prn__compiled *c = programs[p];
        const int are_many = c->blocks.count > 1 && backend->execute_each != NULL; /* one block alone is the work of all threads */
        uint32_t index;
        status = check_blocks(c, segment, &index, error);
        for (uint32_t i = 0; i < c->blocks.count && status == PRN_OK; i++) {
            if (are_many) {
                executions[made++] = (prn_execution){.executable = c->executable, .binding = &c->blocks.bindings[i], .segment = index};
            } else {
                status = backend->execute(c->device->instance, c->executable, index, &c->blocks.bindings[i], error);
            }
        }
    }
    return status == PRN_OK && made > 0 ? backend->execute_each(first->device->instance, executions, made, error) : status;
}

int64_t prn__type_bytes(prn_type type)
{
    return type == PRN_U8 ? 1 : type == PRN_BF16 ? 2 : 4;
}

prn_status prn__buffer_create(const prn__device *device, prn_type type, int64_t elements, const char *purpose, prn_buffer **buffer, int64_t *bytes,
                              prn_error *error)
{
    prn_status status = device->backend->buffer_create(device->instance, type, elements, purpose, buffer, error);
    if (status == PRN_OK && bytes != NULL) {
        *bytes += elements * prn__type_bytes(type);
    }
    return status;
}

void prn__buffer_destroy(const prn__device *device, prn_buffer *buffer)
{
    if (buffer != NULL) {
        device->backend->buffer_destroy(device->instance, buffer);
    }
}
