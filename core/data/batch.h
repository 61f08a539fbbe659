/* core/data/batch.h: what the loader hands to training and evaluation. */
#ifndef PRN_DATA_BATCH_H
#define PRN_DATA_BATCH_H

#include <stdint.h>

typedef struct prn__batch {
    int64_t count;         /* B */
    int64_t token_count;   /* N */
    uint8_t *images;       /* (B,S,S,3) RGB */
    int32_t *tokens;       /* (N), packed */
    int64_t *offsets;      /* (B+1), offsets[0] = 0; item b is rows offsets[b] .. offsets[b+1]-1, its last row the end-of-text token */
    int32_t *classes;      /* (B), -1 where the sample has none */
    uint64_t *samples;     /* (B), index in the dataset's own order (shard by shard) */
} prn__batch;

#endif
