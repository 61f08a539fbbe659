/* core/train/rows.c: which rows of the vocabulary's table have a gradient, which have moments, and which decay later.
 *
 * A batch names a few hundred tokens of some 50,000. All other rows of the table's gradient are zero, and moments of tokens that no batch has named
 * are zero too. Clearing, norm and update are told so (`rows` of program.h) and leave that memory alone; the results are the same, to the last bit.
 *
 * What an update does to a token that no batch has named is to multiply it by a factor, and nothing reads it. So all these wait, and the learning rates of up to
 * PRN__LATE_UPDATES updates are kept; the factors are made up for when a batch names the token, when anything reads or writes weights as a whole, and when no
 * more can be kept. A pass over the whole table at every update was up to a fifth of a small model's step. Only where the optimizer's program updates the table,
 * and on devices with DECAY_ROWS.
 *
 * Invariants: a row that the device has no flag for is zero: in `gradients` (or in the tower's own gradient), in m and v. A row with PRN_ROW_LATER has neither
 * of these two flags, and lacks the decay of the last `late.count` updates; every other row lacks nothing.
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
    prn__buffer_destroy(&t->device, t->late.rates);
    prn__compiled_fini(&t->late.program);
    prn__free(t->host_rows);
}

/* ---- decay that comes later ---- */

prn_status prn__rows_wait(prn__trainer *t, prn_error *error)
{
    prn_error unsupported = PRN_ERROR_INIT;
    prn__graph *graph;
    if (t->is_held || t->late.program.program != NULL) {
        return PRN_OK;
    }
    prn_status status = prn__decay_graph(t, &graph, error);
    if (status != PRN_OK) {
        return status;
    }
    status = prn__compiled_init(&t->late.program, graph, &t->device, &unsupported);
    if (status != PRN_OK) { /* without, every update passes over all rows */
        return status == PRN_UNSUPPORTED ? PRN_OK : prn_error_set(error, status, "%s", unsupported.message);
    }
    status = prn__buffer_create(&t->device, PRN_REAL, PRN__LATE_UPDATES, "decay of the vocabulary", &t->late.rates, &t->memory_bytes, error);
    if (status != PRN_OK) {
        prn__compiled_fini(&t->late.program);
        return status;
    }
    for (int64_t r = 0; r < t->row_count; r++) {
        t->host_rows[r] |= t->host_rows[r] == 0 ? PRN_ROW_LATER : 0;
    }
    return PRN_OK;
}

/* Makes up for what rows with PRN_ROW_DUE lack. Where that fails, some may have been done. */
static prn_status decay(prn__trainer *t, prn_error *error)
{
    prn__compiled *program = &t->late.program;
    prn__compiled_set(program, "n", t->late.count);
    prn_status status = t->device.backend->buffer_write(t->device.instance, t->late.rates, 0, PRN_HOST_F64, t->late.host_rates, t->late.count, error);
    if (status == PRN_OK) {
        status = prn__compiled_run(program, "forward", error);
    }
    for (int64_t r = 0; r < t->row_count; r++) {
        t->host_rows[r] &= (uint8_t)~PRN_ROW_DUE;
    }
    t->is_spoiled |= status != PRN_OK;
    return status;
}

prn_status prn__rows_settle(prn__trainer *t, prn_error *error)
{
    if (t->late.count == 0) {
        return PRN_OK;
    }
    for (int64_t r = 0; r < t->row_count; r++) {
        t->host_rows[r] |= t->host_rows[r] & PRN_ROW_LATER ? PRN_ROW_DUE : 0;
    }
    prn_status status = write(t, error);
    if (status == PRN_OK) {
        status = decay(t, error);
    }
    t->late.count = status == PRN_OK ? 0 : t->late.count;
    return status;
}

void prn__rows_updated(prn__trainer *t, double learning_rate)
{
    if (t->late.program.program != NULL && t->config.optimizer.decay != 0) {
        t->late.host_rates[t->late.count++] = learning_rate;
    }
}

/* ---- rows with a gradient ---- */

/* Flags of a row that gets a gradient; `waits`: there are updates whose decay it lacks if it decays later, which comes before its own. */
static inline uint8_t named(uint8_t flags, int waits)
{
    return (uint8_t)((flags & ~PRN_ROW_LATER) | PRN_ROW_GRADIENT | (waits && flags & PRN_ROW_LATER ? PRN_ROW_DUE : 0));
}

/* `any`: all flags that some row has been given. */
static prn_status tell(prn__trainer *t, uint8_t any, prn_error *error)
{
    const prn_status status = write(t, error);
    return status == PRN_OK && any & PRN_ROW_DUE ? decay(t, error) : status;
}

prn_status prn__rows_use(prn__trainer *t, const prn__batch *batch, prn_error *error)
{
    uint8_t any = 0;
    const prn_status status = t->late.count == PRN__LATE_UPDATES ? prn__rows_settle(t, error) : PRN_OK; /* there is to be room for one more */
    if (status != PRN_OK) {
        return status;
    }
    for (int64_t item = 0; item < batch->count; item++) {
        const int64_t begin = batch->offsets[item], end = batch->offsets[item + 1];
        if (begin < 0 || end - begin > t->model->config.text.context_length) {
            break; /* refused when the batch is written, as are tokens that are none */
        }
        for (int64_t i = begin; i < end; i++) {
            if (batch->tokens[i] >= 0 && batch->tokens[i] < t->row_count) {
                uint8_t *flags = &t->host_rows[batch->tokens[i]];
                any |= *flags = named(*flags, t->late.count > 0);
            }
        }
    }
    return tell(t, any, error);
}

prn_status prn__rows_use_all(prn__trainer *t, prn_error *error)
{
    const int waits = t->late.count > 0;
    uint8_t any = 0;
    for (int64_t r = 0; r < t->row_count; r++) {
        any |= t->host_rows[r] = named(t->host_rows[r], waits);
    }
    return tell(t, any, error);
}

void prn__rows_cleared(prn__trainer *t)
{
    for (int64_t r = 0; r < t->row_count; r++) { /* there may have been an update */
        const uint8_t flags = t->host_rows[r];
        t->host_rows[r] = (uint8_t)((flags & ~PRN_ROW_GRADIENT) | (flags & PRN_ROW_GRADIENT ? PRN_ROW_MOMENTS : 0));
    }
}

static int is_zero(const char *bytes, size_t count)
{
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

void prn__rows_set_moments(prn__trainer *t, const void *m, const void *v, size_t element_bytes)
{
    const size_t bytes = (size_t)t->table->shape[1] * element_bytes, first = (size_t)t->table->offset * element_bytes;
    const int others = t->late.program.program != NULL ? PRN_ROW_LATER : 0;
    for (int64_t r = 0; r < t->row_count; r++) {
        const size_t at = first + (size_t)r * bytes;
        const int has = (m != NULL && !is_zero((const char *)m + at, bytes)) || (v != NULL && !is_zero((const char *)v + at, bytes));
        const int flags = (t->host_rows[r] & PRN_ROW_GRADIENT) | (has ? PRN_ROW_MOMENTS : 0);
        t->host_rows[r] = (uint8_t)(flags != 0 ? flags : others);
    }
    t->late.count = 0; /* the weights have been set too */
}
