/* plugins/backends/cuda/memory.c: device memory, and copies through pinned host memory.
 *
 * A copy to the device goes by pieces through a ring of pinned slots: the host fills one (on all its threads) while the device takes
 * the one before. Copies ahead have a ring and a stream of their own, so that neither way holds up the other. Buffers of integers, which no operation writes, have a copy on the host, so that row offsets and table rows can be
 * checked and sorted without waiting for the device.
 */
#include "instance.h"

#include <stdlib.h>

enum { COPY_PIECE = 1 << 16 }; /* elements of one task */

prn_status instance_enter(prn_backend_instance *d, prn_error *error)
{
    return driver_status(&d->api, d->api.cuCtxSetCurrent(d->context), "choosing the device", error);
}

prn_status device_allocate(prn_backend_instance *d, size_t bytes, const char *purpose, CUdeviceptr *memory, prn_error *error)
{
    *memory = 0;
    const CUresult result = d->api.cuMemAlloc(memory, bytes > 0 ? bytes : 1);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
        size_t free_bytes = 0, all = 0;
        *memory = 0;
        (void)d->api.cuMemGetInfo(&free_bytes, &all);
        return prn_error_set(error, PRN_NO_MEMORY,
                             "out of device memory: %s needs %.1f MiB, %.1f of %.1f MiB are free; use a smaller micro_batch, checkpointing, or "
                             "precision=bf16",
                             purpose, (double)bytes / (1 << 20), (double)free_bytes / (1 << 20), (double)all / (1 << 20));
    }
    return driver_status(&d->api, result, "allocating device memory", error);
}

void device_release(prn_backend_instance *d, CUdeviceptr memory)
{
    if (memory != 0) {
        if (d->stream != NULL) {
            (void)d->api.cuStreamSynchronize(d->stream); /* work that uses it */
        }
        (void)d->api.cuMemFree(memory);
    }
}

prn_status scratch_reserve(prn_backend_instance *d, size_t bytes, prn_error *error)
{
    if (bytes <= d->scratch_bytes) {
        return PRN_OK;
    }
    device_release(d, d->scratch);
    d->scratch = 0;
    d->scratch_bytes = 0;
    d->scratch_version++;
    const prn_status status = device_allocate(d, bytes, "intermediate sums", &d->scratch, error);
    d->scratch_bytes = status == PRN_OK ? bytes : 0;
    return status;
}

static prn_status slot_open(prn_backend_instance *d, staging_ring *ring, uint32_t slot, prn_error *error)
{
    prn_status status = driver_status(&d->api, d->api.cuMemHostAlloc(&ring->slots[slot].memory, STAGING_BYTES, 0), "allocating pinned host memory", error);
    if (status != PRN_OK) {
        ring->slots[slot].memory = NULL;
        return status;
    }
    return ring->slots[slot].event != NULL
               ? PRN_OK
               : driver_status(&d->api, d->api.cuEventCreate(&ring->slots[slot].event, CU_EVENT_DISABLE_TIMING), "creating an event", error);
}

prn_status staging_open(prn_backend_instance *d, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < STAGING_SLOTS && status == PRN_OK; i++) {
        status = slot_open(d, &d->staging, i, error);
    }
    return status;
}

static void ring_close(prn_backend_instance *d, staging_ring *ring)
{
    for (int i = 0; i < STAGING_SLOTS; i++) {
        if (ring->slots[i].event != NULL) {
            (void)d->api.cuEventDestroy(ring->slots[i].event);
        }
        if (ring->slots[i].memory != NULL) {
            (void)d->api.cuMemFreeHost(ring->slots[i].memory);
        }
    }
}

void staging_close(prn_backend_instance *d)
{
    ring_close(d, &d->staging);
    ring_close(d, &d->ahead);
}

/* How the elements of a buffer lie on the device and at the host. */
typedef struct forms {
    size_t device, host; /* bytes of one */
    int is_double;       /* at the host, of a REAL or BF16 */
    int is_bf16;         /* on the device */
} forms;

static forms forms_of(const prn_buffer *buffer, prn_host_type type)
{
    const size_t device = operand_element_bytes(buffer->type, sizeof(float));
    const int is_double = type == PRN_HOST_F64, is_bf16 = buffer->type == PRN_BF16;
    return (forms){.device = device, .host = is_double ? sizeof(double) : is_bf16 ? sizeof(float) : device, .is_double = is_double, .is_bf16 = is_bf16};
}

/* Host memory from one form to the other, on all threads. */
typedef struct conversion {
    void *target;
    const void *source;
    int64_t count;
    forms form;
    int to_host;
} conversion;

static float value_at(const void *from, int64_t i, int is_double)
{
    return is_double ? (float)((const double *)from)[i] : ((const float *)from)[i];
}

static void put_at(void *to, int64_t i, int is_double, float value)
{
    if (is_double) {
        ((double *)to)[i] = (double)value;
    } else {
        ((float *)to)[i] = value;
    }
}

static void convert_task(void *context, int64_t index, uint32_t worker)
{
    const conversion *c = context;
    const int64_t first = index * COPY_PIECE, end = first + COPY_PIECE < c->count ? first + COPY_PIECE : c->count;
    (void)worker;
    if (c->form.is_bf16) {
        for (int64_t i = first; i < end; i++) {
            if (c->to_host) {
                put_at(c->target, i, c->form.is_double, bf16_value(((const uint16_t *)c->source)[i]));
            } else {
                ((uint16_t *)c->target)[i] = bf16_nearest(value_at(c->source, i, c->form.is_double));
            }
        }
    } else if (c->form.is_double) {
        for (int64_t i = first; i < end; i++) {
            put_at(c->target, i, c->to_host, value_at(c->source, i, !c->to_host));
        }
    } else {
        const size_t each = c->form.device;
        memcpy((char *)c->target + (size_t)first * each, (const char *)c->source + (size_t)first * each, (size_t)(end - first) * each);
    }
}

static void convert(const prn_backend_instance *d, const conversion *c)
{
    const int64_t pieces = (c->count + COPY_PIECE - 1) / COPY_PIECE;
    if (pieces == 1) {
        convert_task((void *)(uintptr_t)c, 0, 0);
    } else if (pieces > 1) {
        d->host->parallel_for(d->host->self, pieces, convert_task, (void *)(uintptr_t)c);
    }
}

/* A pinned slot that the device no longer reads. */
static prn_status staging_take(prn_backend_instance *d, staging_ring *ring, uint32_t *slot, prn_error *error)
{
    *slot = ring->next;
    ring->next = (ring->next + 1) % STAGING_SLOTS;
    if (ring->slots[*slot].memory == NULL || ring->slots[*slot].event == NULL) {
        return slot_open(d, ring, *slot, error);
    }
    if (ring->slots[*slot].is_busy) {
        ring->slots[*slot].is_busy = 0;
        return driver_status(&d->api, d->api.cuEventSynchronize(ring->slots[*slot].event), "waiting for a copy to the device", error);
    }
    return PRN_OK;
}

/* By the stream that goes with the ring. */
static prn_status write_values(prn_backend_instance *d, staging_ring *ring, CUdeviceptr target, const void *source, int64_t count, forms form,
                               prn_error *error)
{
    const int64_t piece = (int64_t)(STAGING_BYTES / form.device);
    const CUstream stream = ring == &d->ahead ? d->copies : d->stream;
    prn_status status = PRN_OK;
    for (int64_t first = 0; first < count && status == PRN_OK; first += piece) {
        const int64_t n = count - first < piece ? count - first : piece;
        uint32_t slot;
        status = staging_take(d, ring, &slot, error);
        if (status == PRN_OK) {
            const conversion c = {.target = ring->slots[slot].memory, .source = (const char *)source + (size_t)first * form.host, .count = n, .form = form};
            convert(d, &c);
            status = driver_status(&d->api, d->api.cuMemcpyHtoDAsync(target + (size_t)first * form.device, ring->slots[slot].memory,
                                                                     (size_t)n * form.device, stream), "copying to the device", error);
        }
        if (status == PRN_OK) {
            status = driver_status(&d->api, d->api.cuEventRecord(ring->slots[slot].event, stream), "recording an event", error);
            ring->slots[slot].is_busy = status == PRN_OK;
        }
    }
    return status;
}

prn_status upload(prn_backend_instance *d, CUdeviceptr target, const void *source, size_t bytes, prn_error *error)
{
    return write_values(d, &d->staging, target, source, (int64_t)bytes, (forms){.device = 1, .host = 1}, error);
}

/* ---- buffers ---- */

/* With bf16, a program may need less of a workspace than four bytes a value, and only it knows: memory is taken when a buffer is first used. */
typedef struct device_buffer {
    prn_buffer base; /* first */
    size_t bytes;    /* taken so far */
    int32_t *integers; /* I32: the host's copy */
    CUevent written, used; /* of the last copy ahead, and of the last work that used what was there; NULL before the first copy ahead */
    int is_on_its_way; /* a copy ahead that `stream` has not waited for */
    char purpose[64];
} device_buffer;

static device_buffer *whole(prn_buffer *buffer)
{
    return (device_buffer *)(void *)buffer;
}

int32_t *buffer_integers(prn_buffer *buffer)
{
    return whole(buffer)->integers;
}

prn_status buffer_join(prn_backend_instance *d, prn_buffer *buffer, prn_error *error)
{
    device_buffer *const b = whole(buffer);
    if (!b->is_on_its_way) {
        return PRN_OK;
    }
    const prn_status status = driver_status(&d->api, d->api.cuStreamWaitEvent(d->stream, b->written, 0), "waiting for a copy to the device", error);
    b->is_on_its_way = status != PRN_OK;
    return status;
}

prn_status buffer_leave(prn_backend_instance *d, prn_buffer *buffer, prn_error *error)
{
    const device_buffer *const b = whole(buffer);
    return b->used == NULL ? PRN_OK : driver_status(&d->api, d->api.cuEventRecord(b->used, d->stream), "recording an event", error);
}

prn_status buffer_take(prn_backend_instance *d, prn_buffer *buffer, size_t bytes, int may_be_lost, prn_error *error)
{
    device_buffer *const b = whole(buffer);
    CUdeviceptr before = device_address(buffer->data), memory = 0;
    if (before != 0 && bytes <= b->bytes) {
        return PRN_OK;
    }
    if (may_be_lost && before != 0) { /* so that old and new are never there together */
        device_release(d, before);
        buffer->data = NULL;
        b->bytes = 0;
        before = 0;
    }
    prn_status status = device_allocate(d, bytes, b->purpose, &memory, error);
    if (status == PRN_OK && bytes > b->bytes) {
        status = driver_status(&d->api, d->api.cuMemsetD8Async(memory + b->bytes, 0, bytes - b->bytes, d->stream), "clearing device memory", error);
    }
    if (status == PRN_OK && b->bytes > 0) {
        status = driver_status(&d->api, d->api.cuMemcpyDtoDAsync(memory, before, b->bytes, d->stream), "copying on the device", error);
    }
    if (status != PRN_OK) {
        device_release(d, memory);
        return status;
    }
    device_release(d, before);
    buffer->data = device_pointer(memory);
    b->bytes = bytes;
    return PRN_OK;
}

size_t buffer_bytes(const prn_buffer *buffer)
{
    return (size_t)buffer->elements * operand_element_bytes(buffer->type, sizeof(float));
}

prn_status buffer_create(prn_backend_instance *d, prn_type type, int64_t elements, const char *purpose, prn_buffer **buffer, prn_error *error)
{
    const prn_host *host = d->host;
    const size_t each = operand_element_bytes(type, sizeof(float));
    *buffer = NULL;
    if (type < PRN_REAL || type > PRN_BF16 || elements < 0 || (uint64_t)elements > (SIZE_MAX / 2) / each) {
        return prn_error_set(error, PRN_INVALID, "buffer for %s: type %d and %lld elements are not valid", purpose, (int)type, (long long)elements);
    }
    prn_status status = instance_enter(d, error);
    if (status != PRN_OK) {
        return status;
    }
    device_buffer *made = host->allocate(host->self, sizeof *made, purpose);
    if (made == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for %s", purpose);
    }
    *made = (device_buffer){.base = {.elements = elements, .type = (uint32_t)type}};
    (void)snprintf(made->purpose, sizeof made->purpose, "%s", purpose);
    if (type == PRN_I32) {
        made->integers = calloc((size_t)elements + 1, each);
        if (made->integers == NULL) {
            host->release(host->self, made);
            return prn_error_set(error, PRN_NO_MEMORY, "no memory for %s: %zu bytes", purpose, (size_t)elements * each);
        }
    }
    if (!d->half) {
        status = buffer_take(d, &made->base, buffer_bytes(&made->base), 0, error);
    }
    if (status != PRN_OK) {
        buffer_destroy(d, &made->base);
        return status;
    }
    *buffer = &made->base;
    return PRN_OK;
}

void buffer_destroy(prn_backend_instance *d, prn_buffer *buffer)
{
    if (buffer != NULL) {
        device_buffer *const b = whole(buffer);
        (void)instance_enter(d, NULL);
        if (b->is_on_its_way) {
            (void)d->api.cuStreamSynchronize(d->copies);
        }
        device_release(d, device_address(buffer->data));
        if (b->written != NULL) {
            (void)d->api.cuEventDestroy(b->written);
        }
        if (b->used != NULL) {
            (void)d->api.cuEventDestroy(b->used);
        }
        free(b->integers);
        d->host->release(d->host->self, buffer);
    }
}

static prn_status check_range(const prn_buffer *buffer, int64_t offset, int64_t count, const char *verb, prn_error *error)
{
    if (buffer == NULL || offset < 0 || count < 0 || offset > buffer->elements || count > buffer->elements - offset) {
        return prn_error_set(error, PRN_INVALID, "%s of %lld elements at %lld does not fit a buffer of %lld", verb, (long long)count, (long long)offset,
                             (long long)(buffer != NULL ? buffer->elements : 0));
    }
    return PRN_OK;
}

static prn_status check_access(prn_backend_instance *d, const prn_buffer *buffer, int64_t offset, int64_t count, prn_host_type type, const char *verb,
                               prn_error *error)
{
    const prn_status status = check_range(buffer, offset, count, verb, error);
    if (status != PRN_OK) {
        return status;
    }
    const int is_real = buffer->type == PRN_REAL || buffer->type == PRN_BF16;
    const int fits = is_real                   ? type == PRN_HOST_F32 || type == PRN_HOST_F64
                     : buffer->type == PRN_I32 ? type == PRN_HOST_I32
                                               : type == PRN_HOST_U8;
    if (count > 0 && !fits) {
        return prn_error_set(error, PRN_INVALID, "a buffer of another type cannot be converted to or from this host type");
    }
    return instance_enter(d, error);
}

/* All of it, before the host reads or writes. */
static prn_status take_all(prn_backend_instance *d, prn_buffer *buffer, prn_error *error)
{
    const prn_status status = buffer_take(d, buffer, buffer_bytes(buffer), 0, error);
    return status == PRN_OK ? buffer_join(d, buffer, error) : status;
}

prn_status buffer_write(prn_backend_instance *d, prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source, int64_t count, prn_error *error)
{
    prn_status status = check_access(d, buffer, offset, count, type, "a write", error);
    if (status != PRN_OK || count == 0 || (status = take_all(d, buffer, error)) != PRN_OK) {
        return status;
    }
    const forms form = forms_of(buffer, type);
    if (buffer_integers(buffer) != NULL) {
        memcpy(buffer_integers(buffer) + offset, source, (size_t)count * form.device);
    }
    status = write_values(d, &d->staging, device_address(buffer->data) + (size_t)offset * form.device, source, count, form, error);
    return status == PRN_OK ? buffer_leave(d, buffer, error) : status;
}

static prn_status ready_for_copies(prn_backend_instance *d, device_buffer *b, prn_error *error)
{
    const driver *api = &d->api;
    prn_status status = PRN_OK;
    if (d->copies == NULL) {
        status = driver_status(api, api->cuStreamCreate(&d->copies, CU_STREAM_NON_BLOCKING), "making a stream", error);
    }
    if (status == PRN_OK && b->written == NULL) {
        status = driver_status(api, api->cuEventCreate(&b->written, CU_EVENT_DISABLE_TIMING), "creating an event", error);
    }
    if (status == PRN_OK && b->used == NULL) {
        status = driver_status(api, api->cuEventCreate(&b->used, CU_EVENT_DISABLE_TIMING), "creating an event", error);
        if (status == PRN_OK) { /* what has used it so far is not known any more: all that was begun */
            status = buffer_leave(d, &b->base, error);
        }
    }
    return status;
}

prn_status buffer_write_ahead(prn_backend_instance *d, prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source, int64_t count,
                              prn_error *error)
{
    prn_status status = check_access(d, buffer, offset, count, type, "a write", error);
    if (status == PRN_OK && buffer_integers(buffer) != NULL) {
        return prn_error_set(error, PRN_UNSUPPORTED, "integers are not copied ahead: the host looks at them when they are used");
    }
    if (status != PRN_OK || count == 0 || (status = take_all(d, buffer, error)) != PRN_OK ||
        (status = ready_for_copies(d, whole(buffer), error)) != PRN_OK) {
        return status;
    }
    const forms form = forms_of(buffer, type);
    device_buffer *const b = whole(buffer);
    status = driver_status(&d->api, d->api.cuStreamWaitEvent(d->copies, b->used, 0), "waiting for the device", error);
    if (status == PRN_OK) {
        status = write_values(d, &d->ahead, device_address(buffer->data) + (size_t)offset * form.device, source, count, form, error);
    }
    if (status == PRN_OK) {
        status = driver_status(&d->api, d->api.cuEventRecord(b->written, d->copies), "recording an event", error);
    }
    if (status != PRN_OK) {
        (void)d->api.cuStreamSynchronize(d->copies); /* a part may be on its way, and nobody will wait for it */
    }
    b->is_on_its_way = status == PRN_OK;
    return status;
}

prn_status buffer_read(prn_backend_instance *d, prn_buffer *buffer, int64_t offset, prn_host_type type, void *target, int64_t count, prn_error *error)
{
    prn_status status = check_access(d, buffer, offset, count, type, "a read", error);
    if (status != PRN_OK || count == 0 || (status = take_all(d, buffer, error)) != PRN_OK) {
        return status;
    }
    const forms form = forms_of(buffer, type);
    const int64_t piece = (int64_t)(STAGING_BYTES / form.device);
    for (int64_t first = 0; first < count && status == PRN_OK; first += piece) {
        const int64_t n = count - first < piece ? count - first : piece;
        uint32_t slot;
        status = staging_take(d, &d->staging, &slot, error);
        if (status == PRN_OK) {
            status = driver_status(&d->api,
                                   d->api.cuMemcpyDtoHAsync(d->staging.slots[slot].memory, device_address(buffer->data) + (size_t)(offset + first) * form.device,
                                                            (size_t)n * form.device, d->stream),
                                   "copying from the device", error);
        }
        if (status == PRN_OK) {
            status = driver_status(&d->api, d->api.cuStreamSynchronize(d->stream), "waiting for the device", error);
        }
        if (status == PRN_OK) {
            const conversion c = {.target = (char *)target + (size_t)first * form.host, .source = d->staging.slots[slot].memory, .count = n, .form = form,
                                  .to_host = 1};
            convert(d, &c);
        }
    }
    return status;
}

prn_status buffer_copy(prn_backend_instance *d, prn_buffer *target, int64_t target_offset, prn_buffer *source, int64_t source_offset, int64_t count,
                       prn_error *error)
{
    prn_status status = check_range(target, target_offset, count, "a copy", error);
    if (status == PRN_OK) {
        status = check_range(source, source_offset, count, "a copy", error);
    }
    if (status == PRN_OK && target->type != source->type) {
        status = prn_error_set(error, PRN_INVALID, "a buffer cannot be copied to one of another type");
    }
    if (status == PRN_OK) {
        status = instance_enter(d, error);
    }
    if (status != PRN_OK || count == 0 || (status = take_all(d, target, error)) != PRN_OK || (status = take_all(d, source, error)) != PRN_OK) {
        return status;
    }
    const size_t each = operand_element_bytes(target->type, sizeof(float));
    if (buffer_integers(target) != NULL) {
        memmove(buffer_integers(target) + target_offset, buffer_integers(source) + source_offset, (size_t)count * each);
    }
    status = driver_status(&d->api,
                           d->api.cuMemcpyDtoDAsync(device_address(target->data) + (size_t)target_offset * each,
                                                  device_address(source->data) + (size_t)source_offset * each, (size_t)count * each, d->stream),
                           "copying on the device", error);
    if (status == PRN_OK && (status = buffer_leave(d, source, error)) == PRN_OK) {
        status = buffer_leave(d, target, error);
    }
    return status;
}
