/* core/model/texts.h: packed captions in the form that the text tower takes: what the embedder and the trainer share.
 *
 * Invariants: `fill` checks every id and length, because the tower reads rows at them; memory is taken at init only.
 */
#ifndef PRN_MODEL_TEXTS_H
#define PRN_MODEL_TEXTS_H

#include "model/blocks.h"

typedef struct prn__texts {
    const prn__device *device;  /* borrowed */
    int64_t max_items, block, context_length, vocab_size;
    int32_t *staging;           /* positions (max_items * context), offsets (blocks, block + 1), ends (max_items) */
    int64_t *starts;            /* (blocks + 1): each block's first row */
    prn_buffer *tokens, *positions, *offsets, *ends;
} prn__texts;

/* `block`: items that a tower takes at a time, which is planned for so many. */
prn_status prn__texts_init(prn__texts *texts, const prn__model *model, const prn__device *device, int64_t max_items, int64_t block, int64_t *bytes,
                           prn_error *error);
void prn__texts_fini(prn__texts *texts);
/* Writes items [first, first + count) of a packed batch to the device; count <= max_items.
 * The end-of-text token is each item's last, so that nothing after it is ever computed. */
prn_status prn__texts_fill(prn__texts *texts, const int32_t *tokens, const int64_t *offsets, int64_t first, int64_t count, prn_error *error);
/* Binds items [index * block, ..) of those that were filled in to `tower`, all but their number "B". */
void prn__texts_bind(const prn__texts *texts, int64_t index, prn__compiled *tower);

#endif
