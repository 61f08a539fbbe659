/* core/model/embedder.h: images and texts to L2-normalised embeddings on a device, in chunks of any size. */
#ifndef PRN_MODEL_EMBEDDER_H
#define PRN_MODEL_EMBEDDER_H

#include "model/model.h"
#include "plugin/registry.h"

typedef struct prn__embedder prn__embedder;

/* `max_items`: the chunk that one execution takes. The embedder keeps its own copy of the weights on the device. */
prn_status prn__embedder_create(const prn__model *model, const prn__device *device, int64_t max_items, prn__embedder **embedder, prn_error *error);
void prn__embedder_destroy(prn__embedder *embedder);
prn_status prn__embedder_set_weights(prn__embedder *embedder, const float *flat, prn_error *error);
/* images: (count,S,S,3) u8. embeddings: (count,E) fp32. Any count. */
prn_status prn__embedder_images(prn__embedder *embedder, const uint8_t *images, int64_t count, float *embeddings, prn_error *error);
/* tokens: packed (offsets[count]) i32; offsets: (count+1) starting at 0; the end-of-text token is each item's last. */
prn_status prn__embedder_texts(prn__embedder *embedder, const int32_t *tokens, const int64_t *offsets, int64_t count, float *embeddings, prn_error *error);

#endif
