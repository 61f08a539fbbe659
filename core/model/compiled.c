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

prn_status prn__compiled_run(prn__compiled *c, const char *segment, prn_error *error)
{
    const int32_t index = prn__program_segment(c->program, segment);
    prn_binding binding = {.struct_size = (uint32_t)sizeof binding};
    if (index < 0) {
        return prn_error_set(error, PRN_INTERNAL, "program '%s' has no segment '%s'", c->program->name, segment);
    }
    for (uint32_t i = 0; i < c->program->slot_count; i++) {
        if (c->buffers[i] == NULL) {
            return prn_error_set(error, PRN_INTERNAL, "slot '%s' of program '%s' is not bound", c->program->slots[i].name, c->program->name);
        }
    }
    for (uint32_t i = 0; i < c->program->symbol_count; i++) {
        if (c->symbols[i] < 0 || c->symbols[i] > c->program->symbols[i].maximum) {
            return prn_error_set(error, PRN_INTERNAL, "program '%s' was planned for at most %lld of '%s', not %lld", c->program->name,
                                 (long long)c->program->symbols[i].maximum, c->program->symbols[i].name, (long long)c->symbols[i]);
        }
    }
    binding.slot_count = c->program->slot_count;
    binding.buffers = c->buffers;
    binding.buffer_offsets = c->offsets;
    binding.symbol_values = c->symbols;
    binding.symbol_count = c->program->symbol_count;
    return c->device->backend->execute(c->device->instance, c->executable, (uint32_t)index, &binding, error);
}

prn_status prn__buffer_create(const prn__device *device, prn_type type, int64_t elements, const char *purpose, prn_buffer **buffer, int64_t *bytes,
                              prn_error *error)
{
    prn_status status = device->backend->buffer_create(device->instance, type, elements, purpose, buffer, error);
    if (status == PRN_OK && bytes != NULL) {
        *bytes += elements * (type == PRN_U8 ? 1 : 4);
    }
    return status;
}

void prn__buffer_destroy(const prn__device *device, prn_buffer *buffer)
{
    if (buffer != NULL) {
        device->backend->buffer_destroy(device->instance, buffer);
    }
}
