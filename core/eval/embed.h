/* core/eval/embed.h: the embeddings of every sample of a data set, with the samples' keys, in the data set's order. */
#ifndef PRN_EVAL_EMBED_H
#define PRN_EVAL_EMBED_H

#include "data/loader.h"
#include "model/embedder.h"

typedef struct prn__embeddings {
    float *images, *texts; /* (count, E), L2-normalised */
    char *keys;            /* JSON: an array of `count` strings */
    int64_t count, embed_dim;
    int64_t skipped;       /* samples left out because they are damaged */
} prn__embeddings;

typedef struct prn__embed_options {
    const prn__tokenizer *tokenizer;
    int64_t batch;         /* 0: 256 */
    prn__bad_policy bad_policy;
    void (*progress)(void *context, int64_t done, int64_t all);
    void *context;
} prn__embed_options;

/* A sample without a caption (only a class) has the embedding of the empty text. `embeddings` must be zeros; fini brings it back there. */
prn_status prn__embed_dataset(prn__embedder *embedder, const prn__model_config *model, prn__dataset *dataset, const prn__embed_options *options,
                              prn__embeddings *embeddings, prn_error *error);
void prn__embeddings_fini(prn__embeddings *embeddings);

/* safetensors with `image_embeddings` and `text_embeddings`; metadata `keys` (JSON), `count`, `skipped` and `model`
 * (its name). Keys of more than 8 MiB, which a header should not hold, are the tensor `keys_json` (U8, the same JSON) instead. */
prn_status prn__embeddings_save(const prn__embeddings *embeddings, const char *model_name, const char *path, prn_error *error);

#endif
