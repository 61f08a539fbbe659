/* core/train/rows.c: which rows of the vocabulary's table have a gradient, and which have moments.
 *
 * A batch names a few hundred tokens of some 50,000. All other rows of the table's gradient are zero, and moments of tokens that no batch has named
 * are zero too. Clearing, norm and update are told so (`rows` of program.h) and leave that memory alone; the results are the same, to the last bit.
 *
 * Invariant: a row that the device has no flag for is zero: in `gradients` (or in the tower's own gradient), in m and v.
 */
#include <string.h>

#include "base/memory.h"
#include "train/trainer_internal.h"

static prn_status write(prn__trainer *t, prn_error *error)
{
    return t->device.backend->buffer_write(t->device.instance, t->rows, 0, PRN_HOST_U8, t->host_rows, t->row_count, error);
}

prn_status prn__rows_init(prn__trainer *t, prn_error *error)
{
    t->table = prn__model_parameter(t->model, "token_embedding.weight");
    t->row_count = t->table->shape[0];
    t->host_rows = prn__alloc_array((size_t)t->row_count, sizeof *t->host_rows); /* zeros, as the device's */
    if (t->host_rows == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for the rows of a vocabulary of %lld", (long long)t->row_count);
    }
    return prn__buffer_create(&t->device, PRN_U8, t->row_count, "rows of the vocabulary", &t->rows, &t->memory_bytes, error);
}

void prn__rows_fini(prn__trainer *t)
{
    prn__buffer_destroy(&t->device, t->rows);
    prn__free(t->host_rows);
}

prn_status prn__rows_use(prn__trainer *t, const prn__batch *batch, prn_error *error)
{
    for (int64_t item = 0; item < batch->count; item++) {
        const int64_t begin = batch->offsets[item], end = batch->offsets[item + 1];
        if (begin < 0 || end - begin > t->model->config.text.context_length) {
            break; /* refused when the batch is written, as are tokens that are none */
        }
        for (int64_t i = begin; i < end; i++) {
            if (batch->tokens[i] >= 0 && batch->tokens[i] < t->row_count) {
                t->host_rows[batch->tokens[i]] |= PRN_ROW_GRADIENT;
            }
        }
    }
    return write(t, error);
}

prn_status prn__rows_use_all(prn__trainer *t, prn_error *error)
{
    for (int64_t r = 0; r < t->row_count; r++) {
        t->host_rows[r] |= PRN_ROW_GRADIENT;
    }
    return write(t, error);
}

void prn__rows_cleared(prn__trainer *t)
{
    for (int64_t r = 0; r < t->row_count; r++) { /* there may have been an update */
        t->host_rows[r] = (uint8_t)((t->host_rows[r] & PRN_ROW_GRADIENT ? PRN_ROW_MOMENTS : 0) | (t->host_rows[r] & PRN_ROW_MOMENTS));
    }
}

static int is_zero(const char *bytes, size_t count)
{
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

void prn__rows_set_moments(prn__trainer *t, const void *m, const void *v, size_t element_bytes)
{
    const size_t bytes = (size_t)t->table->shape[1] * element_bytes, first = (size_t)t->table->offset * element_bytes;
    for (int64_t r = 0; r < t->row_count; r++) {
        const size_t at = first + (size_t)r * bytes;
        const int has = (m != NULL && !is_zero((const char *)m + at, bytes)) || (v != NULL && !is_zero((const char *)v + at, bytes));
        t->host_rows[r] = (uint8_t)((t->host_rows[r] & PRN_ROW_GRADIENT) | (has ? PRN_ROW_MOMENTS : 0));
    }
}
