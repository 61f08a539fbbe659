/* core/model/blocks.h: how many items of a batch a tower takes at a time, for the embedder and the trainer.
 *
 * A narrow tower's work on a few items stays in a core's cache, its weights with it, and one core can do all of it alone; a wide one's weights would
 * be read again for every block. Backends that gain from it say so (prn_backend.execute_each); for others a block is all there is.
 * Invariants: depends on configuration and backend alone, never on data or threads, since gradients are added block by block.
 */
#ifndef PRN_MODEL_BLOCKS_H
#define PRN_MODEL_BLOCKS_H

#include "model/compiled.h"
#include "model/model.h"

/* Of `items` (at least 1) at most. */
int64_t prn__block_items(const prn__model *model, const prn__device *device, int is_text, int64_t items);
/* Items that a tower's head takes at a time, where its body takes a batch of `items` in blocks: at most half of them. */
int64_t prn__head_items(int64_t items);
static inline int64_t prn__block_count(int64_t items, int64_t block)
{
    return (items + block - 1) / block;
}
/* Elements of workspace from one block to the next. */
int64_t prn__block_elements(const prn__compiled *tower);
/* Readies block `index` of `count` items in blocks of `block`: its part of the workspace, which is bound already, and "B". */
void prn__block_bind(prn__compiled *tower, int64_t index, int64_t block, int64_t count);

#endif
