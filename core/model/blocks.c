/* core/model/blocks.c: see blocks.h. Sizes were chosen by bench/train on models of width 128. */
#include "model/blocks.h"

enum {
    LAYER_WEIGHTS = 1 << 16, /* of the widest product of a layer that is narrow, its two sides w and 4w: packed again for every block */
    ROWS = 512,              /* of a block: what they need while a product is made lies in the second-level cache */
    BLOCKS = 8,              /* fewer leave cores idle; then blocks are smaller, but of no fewer rows than */
    ROWS_LEAST = 96,
    CAPTION = 16,            /* tokens of a caption as they usually are */
    HEAD_ITEMS = 32,         /* rows of a head's block, one an item: fewer, and reading weights and adding to gradients is most of its work */
};

static int64_t items_of(int64_t rows, int64_t positions)
{
    const int64_t items = (rows + positions / 2) / positions;
    return items > 1 ? items : 1;
}

int64_t prn__block_items(const prn__model *model, const prn__device *device, int is_text, int64_t items)
{
    const prn__model_config *c = &model->config;
    const int64_t across = c->vision.image_size / c->vision.patch_size, width = is_text ? c->text.width : c->vision.width;
    const int64_t positions = !is_text ? across * across + 1 : c->text.context_length < CAPTION ? c->text.context_length : CAPTION;
    if (device->backend->execute_each == NULL || 4 * width * width > LAYER_WEIGHTS) {
        return items;
    }
    int64_t block = items_of(ROWS, positions);
    if (items < BLOCKS * block) {
        const int64_t smaller = (items + BLOCKS - 1) / BLOCKS, least = items_of(ROWS_LEAST, positions);
        block = smaller > least ? smaller : least;
    }
    return block < items ? block : items;
}

int64_t prn__head_items(int64_t items)
{
    const int64_t half = (items + 1) / 2;
    return half < HEAD_ITEMS ? half : HEAD_ITEMS;
}

int64_t prn__block_elements(const prn__compiled *tower)
{
    return tower->program == NULL ? 0 : (tower->program->workspace_elements + 63) / 64 * 64;
}

void prn__block_bind(prn__compiled *tower, int64_t index, int64_t block, int64_t count)
{
    const int64_t rest = count - index * block;
    prn__compiled_bind(tower, "workspace", tower->buffers[PRN_SLOT_WORKSPACE], index * prn__block_elements(tower));
    prn__compiled_set(tower, "B", rest < block ? rest : block);
}
