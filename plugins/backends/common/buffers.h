/* plugins/backends/common/buffers.h: buffers in host memory, for backends that compute on the host.
 *
 * The table's functions are written out by PRN_HOST_BUFFERS(REAL): REAL is the C type of PRN_REAL elements. The backend's
 * instance must start with a `const prn_host *host` member.
 * A large buffer is made of pages that the system zeroes when they are first touched: what a batch does not reach (captions shorter than the
 * model's context, activations of a batch below the planned size) never takes memory.
 * Invariant: ranges are checked against the buffer before memory is touched.
 */
#ifndef PRN_BACKENDS_BUFFERS_H
#define PRN_BACKENDS_BUFFERS_H

#include "bf16.h"
#include "operand.h"

#include <stdlib.h>

#if defined(__unix__)
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { BUFFER_ALIGNMENT = 64, BUFFER_LARGE_BYTES = 1 << 20, BUFFER_HUGE_BYTES = 1 << 22, BUFFER_HUGE_PAGE = 1 << 21 };

typedef struct buffer_owner {
    const prn_host *host;
} buffer_owner;

static inline const prn_host *buffer_host(prn_backend_instance *instance)
{
    return ((const buffer_owner *)(const void *)instance)->host;
}

static inline prn_status buffer_new(prn_backend_instance *instance, prn_type type, int64_t elements, const char *purpose, size_t real_bytes,
                                    prn_buffer **buffer, prn_error *error)
{
    const prn_host *host = buffer_host(instance);
    const size_t bytes_each = operand_element_bytes(type, real_bytes);
    *buffer = NULL;
    if (type < PRN_REAL || type > PRN_BF16 || elements < 0 || (uint64_t)elements > (SIZE_MAX / 2) / bytes_each) {
        return prn_error_set(error, PRN_INVALID, "buffer for %s: type %d and %lld elements are not valid", purpose, (int)type, (long long)elements);
    }
    /* more bytes, so that an empty buffer is memory too, and a large one can be aligned */
    const size_t bytes = (size_t)elements * bytes_each;
    const int is_large = bytes >= BUFFER_LARGE_BYTES;
    const size_t alignment = bytes >= BUFFER_HUGE_BYTES ? BUFFER_HUGE_PAGE : BUFFER_ALIGNMENT;
    prn_buffer *made = host->allocate(host->self, sizeof *made, purpose);
    void *memory = made == NULL ? NULL : is_large ? calloc(1, bytes + alignment) : host->allocate(host->self, bytes + BUFFER_ALIGNMENT, purpose);
    if (memory == NULL) {
        if (made != NULL) {
            host->release(host->self, made);
        }
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for %s: %zu bytes; use a smaller batch or model", purpose, bytes);
    }
    if (is_large) {
        made->pages = memory;
        made->data = (void *)(((uintptr_t)memory + alignment - 1) / alignment * alignment);
    } else {
        memset(memory, 0, bytes + BUFFER_ALIGNMENT);
        made->pages = NULL;
        made->data = memory;
    }
    made->elements = elements;
    made->type = (uint32_t)type;
    made->wishes_huge = 0;
    *buffer = made;
    return PRN_OK;
}

/* Asks the system for huge pages, where nothing has been touched yet: columns and strides of a matrix then miss the table of pages less often, and
 * memory is taken in fewer steps. For what is used from end to end; of a buffer that is used here and there, small pages take less. [orchestrator] */
static inline void buffer_wish_huge(prn_buffer *buffer)
{
#if defined(__linux__)
    const size_t bytes = buffer != NULL ? (size_t)buffer->elements * 4 : 0; /* at least */
    if (bytes >= BUFFER_HUGE_BYTES && buffer->type == PRN_REAL && !buffer->wishes_huge) {
        buffer->wishes_huge = 1;
        (void)madvise(buffer->data, bytes / BUFFER_HUGE_PAGE * BUFFER_HUGE_PAGE, MADV_HUGEPAGE); /* refused: then not */
    }
#else
    (void)buffer;
#endif
}

static inline void buffer_drop(prn_backend_instance *instance, prn_buffer *buffer)
{
    if (buffer != NULL) {
        const prn_host *host = buffer_host(instance);
        if (buffer->pages != NULL) {
            free(buffer->pages);
        } else {
            host->release(host->self, buffer->data);
        }
        host->release(host->self, buffer);
    }
}

static inline prn_status buffer_range(const prn_buffer *buffer, int64_t offset, int64_t count, const char *verb, prn_error *error)
{
    if (buffer == NULL || offset < 0 || count < 0 || offset > buffer->elements || count > buffer->elements - offset) {
        return prn_error_set(error, PRN_INVALID, "%s of %lld elements at %lld does not fit a buffer of %lld", verb, (long long)count, (long long)offset,
                             (long long)(buffer != NULL ? buffer->elements : 0));
    }
    return PRN_OK;
}

static inline int buffer_host_type_fits(const prn_buffer *buffer, prn_host_type type)
{
    return buffer->type == PRN_REAL || buffer->type == PRN_BF16 ? type == PRN_HOST_F32 || type == PRN_HOST_F64
                                                                : type == (buffer->type == PRN_I32 ? PRN_HOST_I32 : PRN_HOST_U8);
}

static inline prn_status buffer_type_error(prn_error *error)
{
    return prn_error_set(error, PRN_INVALID, "a buffer of another type cannot be converted to or from this host type");
}

static inline prn_status buffer_duplicate(prn_buffer *target, int64_t target_offset, prn_buffer *source, int64_t source_offset, int64_t count,
                                          size_t real_bytes, prn_error *error)
{
    prn_status status = buffer_range(target, target_offset, count, "a copy", error);
    if (status == PRN_OK) {
        status = buffer_range(source, source_offset, count, "a copy", error);
    }
    if (status == PRN_OK && target->type != source->type) {
        status = buffer_type_error(error);
    }
    if (status == PRN_OK) {
        const size_t each = operand_element_bytes(target->type, real_bytes);
        memmove((char *)target->data + (size_t)target_offset * each, (const char *)source->data + (size_t)source_offset * each, (size_t)count * each);
    }
    return status;
}

static inline void buffer_write_bf16(prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source, int64_t count)
{
    uint16_t *at = (uint16_t *)buffer->data + offset;
    for (int64_t i = 0; i < count; i++) {
        at[i] = bf16_nearest(type == PRN_HOST_F32 ? ((const float *)source)[i] : (float)((const double *)source)[i]);
    }
}

static inline void buffer_read_bf16(const prn_buffer *buffer, int64_t offset, prn_host_type type, void *target, int64_t count)
{
    const uint16_t *at = (const uint16_t *)buffer->data + offset;
    for (int64_t i = 0; i < count; i++) {
        const float value = bf16_value(at[i]);
        if (type == PRN_HOST_F32) {
            ((float *)target)[i] = value;
        } else {
            ((double *)target)[i] = value;
        }
    }
}

static inline uint64_t host_memory_bytes(int available)
{
#if defined(_SC_PHYS_PAGES) && defined(_SC_AVPHYS_PAGES)
    const long pages = sysconf(available ? _SC_AVPHYS_PAGES : _SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
#else
    (void)available;
    return 0;
#endif
}

#define PRN_HOST_BUFFERS(REAL)                                                                                                                       \
    static prn_status buffer_create(prn_backend_instance *instance, prn_type type, int64_t elements, const char *purpose, prn_buffer **buffer,       \
                                    prn_error *error)                                                                                                \
    {                                                                                                                                                \
        return buffer_new(instance, type, elements, purpose, sizeof(REAL), buffer, error);                                                           \
    }                                                                                                                                                \
    static prn_status buffer_write(prn_backend_instance *instance, prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source,       \
                                   int64_t count, prn_error *error)                                                                                  \
    {                                                                                                                                                \
        prn_status status = buffer_range(buffer, offset, count, "a write", error);                                                                   \
        (void)instance;                                                                                                                              \
        if (status != PRN_OK || count == 0) {                                                                                                        \
            return status;                                                                                                                           \
        }                                                                                                                                            \
        if (!buffer_host_type_fits(buffer, type)) {                                                                                                  \
            return buffer_type_error(error);                                                                                                         \
        }                                                                                                                                            \
        if (buffer->type == PRN_REAL) {                                                                                                              \
            REAL *at = (REAL *)buffer->data + offset;                                                                                                \
            for (int64_t i = 0; i < count; i++) {                                                                                                    \
                at[i] = type == PRN_HOST_F32 ? (REAL)((const float *)source)[i] : (REAL)((const double *)source)[i];                                 \
            }                                                                                                                                        \
        } else if (buffer->type == PRN_BF16) {                                                                                                       \
            buffer_write_bf16(buffer, offset, type, source, count);                                                                                  \
        } else {                                                                                                                                     \
            const size_t each = operand_element_bytes(buffer->type, sizeof(REAL));                                                                   \
            memcpy((char *)buffer->data + (size_t)offset * each, source, (size_t)count * each);                                                      \
        }                                                                                                                                            \
        return PRN_OK;                                                                                                                               \
    }                                                                                                                                                \
    static prn_status buffer_read(prn_backend_instance *instance, prn_buffer *buffer, int64_t offset, prn_host_type type, void *target,              \
                                  int64_t count, prn_error *error)                                                                                   \
    {                                                                                                                                                \
        prn_status status = buffer_range(buffer, offset, count, "a read", error);                                                                    \
        (void)instance;                                                                                                                              \
        if (status != PRN_OK || count == 0) {                                                                                                        \
            return status;                                                                                                                           \
        }                                                                                                                                            \
        if (!buffer_host_type_fits(buffer, type)) {                                                                                                  \
            return buffer_type_error(error);                                                                                                         \
        }                                                                                                                                            \
        if (buffer->type == PRN_REAL) {                                                                                                              \
            const REAL *at = (const REAL *)buffer->data + offset;                                                                                    \
            for (int64_t i = 0; i < count; i++) {                                                                                                    \
                if (type == PRN_HOST_F32) {                                                                                                          \
                    ((float *)target)[i] = (float)at[i];                                                                                             \
                } else {                                                                                                                             \
                    ((double *)target)[i] = (double)at[i];                                                                                           \
                }                                                                                                                                    \
            }                                                                                                                                        \
        } else if (buffer->type == PRN_BF16) {                                                                                                       \
            buffer_read_bf16(buffer, offset, type, target, count);                                                                                   \
        } else {                                                                                                                                     \
            const size_t each = operand_element_bytes(buffer->type, sizeof(REAL));                                                                   \
            memcpy(target, (const char *)buffer->data + (size_t)offset * each, (size_t)count * each);                                                \
        }                                                                                                                                            \
        return PRN_OK;                                                                                                                               \
    }                                                                                                                                                \
    static prn_status buffer_copy(prn_backend_instance *instance, prn_buffer *target, int64_t target_offset, prn_buffer *source,                     \
                                  int64_t source_offset, int64_t count, prn_error *error)                                                            \
    {                                                                                                                                                \
        (void)instance;                                                                                                                              \
        return buffer_duplicate(target, target_offset, source, source_offset, count, sizeof(REAL), error);                                           \
    }

#endif
