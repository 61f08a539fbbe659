/* core/data/image.h: compressed images to RGB, and the two transforms. Hostile input: bounded sizes, never crashes. */
#ifndef PRN_DATA_IMAGE_H
#define PRN_DATA_IMAGE_H

#include <perennial/status.h>

typedef struct prn__image {
    uint8_t *pixels; /* (height, width, 3) RGB, owned */
    int64_t width, height;
    size_t capacity; /* bytes, so that one image can be reused for many */
} prn__image;

#define PRN__IMAGE_MAX_SIDE 32768
#define PRN__IMAGE_MAX_PIXELS 100000000

void prn__image_fini(prn__image *image);
/* JPEG (grey, YCC, CMYK, YCCK), PNG (all kinds), WebP; told apart by content. Conversion to RGB as Pillow's convert("RGB").
 * `minimum_side` > 0 lets JPEG decode at a reduced scale only when the result would be equal; 0 for exact. [any] */
prn_status prn__image_decode(const uint8_t *bytes, size_t length, prn__image *image, prn_error *error);

/* Evaluation transform: bicubic antialiased resize of the shorter side to `side`, centre crop; target (side,side,3).
 * Equal to Pillow within 1/255. `scratch` grows as needed and is reused. [any] */
typedef struct prn__scratch prn__scratch; /* one a thread */
prn__scratch *prn__scratch_create(void);
void prn__scratch_destroy(prn__scratch *scratch);
/* For tests: other inner loops than the fastest ones (data/resize_kernels.h). The bytes are the same. */
struct prn__resize_kernels;
void prn__scratch_use(prn__scratch *scratch, const struct prn__resize_kernels *kernels);
prn_status prn__image_eval_transform(const prn__image *image, int64_t side, prn__scratch *scratch, uint8_t *target, prn_error *error);
/* Crop box, then bicubic antialiased resize to (side,side). */
prn_status prn__image_resized_crop(const prn__image *image, int64_t top, int64_t left, int64_t height, int64_t width, int64_t side,
                                   prn__scratch *scratch, uint8_t *target, prn_error *error);
/* Training transform: random resized crop, area scale in [scale_low, scale_high], aspect 3/4..4/3; random values from (seed, sample, draw). */
prn_status prn__image_train_transform(const prn__image *image, int64_t side, double scale_low, double scale_high, uint64_t seed,
                                      uint64_t sample, uint64_t draw, prn__scratch *scratch, uint8_t *target, prn_error *error);

#endif
