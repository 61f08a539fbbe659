/* core/data/decode.c: JPEG, PNG and WebP to RGB. Hostile input: sizes are checked before anything is allocated, and a
 * damaged file is an error, never a crash. Conversion to RGB follows Pillow's convert("RGB"): alpha is dropped, not blended. */
#include "data/image.h"

#include <stdlib.h>
#include <string.h>
#include <spng.h>
#include <turbojpeg.h>
#include <webp/decode.h>

#include "base/memory.h"

enum { LARGE_BYTES = 1 << 26 };

void prn__image_fini(prn__image *image)
{
    prn__free(image->pixels);
    memset(image, 0, sizeof *image);
}

static prn_status reserve(prn__image *image, int64_t width, int64_t height, prn_error *error)
{
    if (width < 1 || height < 1 || width > PRN__IMAGE_MAX_SIDE || height > PRN__IMAGE_MAX_SIDE || width * height > PRN__IMAGE_MAX_PIXELS) {
        return prn_error_set(error, PRN_INVALID, "an image of %lld x %lld pixels; at most %d a side and %d in all are taken", (long long)width,
                             (long long)height, PRN__IMAGE_MAX_SIDE, PRN__IMAGE_MAX_PIXELS);
    }
    size_t bytes = (size_t)(width * height * 3);
    if (image->capacity < bytes || (image->capacity > LARGE_BYTES && bytes < LARGE_BYTES)) { /* one huge image is not kept for good */
        prn__free(image->pixels);
        image->pixels = prn__alloc(bytes);
        image->capacity = image->pixels != NULL ? bytes : 0;
        if (image->pixels == NULL) {
            return prn_error_set(error, PRN_NO_MEMORY, "out of memory for an image of %lld x %lld pixels", (long long)width, (long long)height);
        }
    }
    image->width = width;
    image->height = height;
    return PRN_OK;
}

/* ---- JPEG ---- */

/* CMYK as libjpeg hands it out to RGB. Adobe's programs store the inks inverted, and like Pillow every CMYK JPEG is taken to be theirs. */
static void cmyk_to_rgb(const uint8_t *cmyk, int64_t pixels, uint8_t *rgb)
{
    for (int64_t i = 0; i < pixels; i++) {
        int32_t light = cmyk[4 * i + 3]; /* 255 - K */
        for (int c = 0; c < 3; c++) {
            int32_t t = (255 - cmyk[4 * i + c]) * light + 128; /* Pillow's division by 255, rounded */
            int32_t value = light - (((t >> 8) + t) >> 8);
            rgb[3 * i + c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
    }
}

static prn_status decode_jpeg(const uint8_t *bytes, size_t length, prn__image *image, prn_error *error)
{
    int width, height, sampling, colours;
    uint8_t *cmyk = NULL;
    tjhandle handle = tjInitDecompress();
    if (handle == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the JPEG decoder");
    }
    prn_status status = PRN_OK;
    if (tjDecompressHeader3(handle, bytes, length, &width, &height, &sampling, &colours) != 0) {
        status = prn_error_set(error, PRN_CORRUPT, "JPEG: %s", tjGetErrorStr2(handle));
    } else if (width < 1 || height < 1) { /* what the library says of a file that ends before its header */
        status = prn_error_set(error, PRN_CORRUPT, "JPEG: damaged header");
    } else {
        status = reserve(image, width, height, error);
    }
    if (status == PRN_OK && (colours == TJCS_CMYK || colours == TJCS_YCCK)) {
        cmyk = prn__alloc((size_t)width * (size_t)height * 4);
        if (cmyk == NULL) {
            status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for a CMYK image");
        } else if (tjDecompress2(handle, bytes, length, cmyk, width, 0, height, TJPF_CMYK, TJFLAG_LIMITSCANS) != 0) {
            status = prn_error_set(error, PRN_CORRUPT, "JPEG: %s", tjGetErrorStr2(handle));
        } else {
            cmyk_to_rgb(cmyk, (int64_t)width * height, image->pixels);
        }
    } else if (status == PRN_OK && tjDecompress2(handle, bytes, length, image->pixels, width, 0, height, TJPF_RGB, TJFLAG_LIMITSCANS) != 0) {
        /* a warning still gives a whole image with grey where data is missing; a damaged image is not trained on */
        status = prn_error_set(error, PRN_CORRUPT, "JPEG: %s", tjGetErrorStr2(handle));
    }
    prn__free(cmyk);
    (void)tjDestroy(handle);
    return status;
}

/* ---- PNG ---- */

static prn_status decode_png(const uint8_t *bytes, size_t length, prn__image *image, prn_error *error)
{
    prn_status status = PRN_OK;
    struct spng_ihdr header;
    uint8_t *raw = NULL;
    size_t size = 0;
    int code;
    spng_ctx *context = spng_ctx_new(0);
    if (context == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the PNG decoder");
    }
    code = spng_set_image_limits(context, PRN__IMAGE_MAX_SIDE, PRN__IMAGE_MAX_SIDE);
    if (code == 0) {
        code = spng_set_chunk_limits(context, 1 << 24, 1 << 26);
    }
    if (code == 0) {
        code = spng_set_png_buffer(context, bytes, length);
    }
    if (code == 0) {
        code = spng_get_ihdr(context, &header);
    }
    if (code != 0) {
        status = prn_error_set(error, code == SPNG_EUSER_WIDTH || code == SPNG_EUSER_HEIGHT ? PRN_INVALID : PRN_CORRUPT, "PNG: %s", spng_strerror(code));
        goto done;
    }
    if ((uint64_t)header.width * header.height / 8 / 1032 > length) {
        /* no byte of deflate stands for more than 1032, so that this cannot be whole: refused before memory is spent on it */
        status = prn_error_set(error, PRN_CORRUPT, "PNG: %u x %u pixels in %zu bytes", header.width, header.height, length);
        goto done;
    }
    status = reserve(image, header.width, header.height, error);
    if (status != PRN_OK) {
        goto done;
    }
    int64_t pixels = image->width * image->height;
    int is_deep_grey = header.bit_depth == 16 && header.color_type == SPNG_COLOR_TYPE_GRAYSCALE;
    int is_deep = header.bit_depth == 16 && !is_deep_grey;
    int format = is_deep_grey || is_deep ? SPNG_FMT_PNG : SPNG_FMT_RGB8;
    code = spng_decoded_image_size(context, format, &size);
    if (code == 0 && format == SPNG_FMT_RGB8) {
        code = size == (size_t)pixels * 3 ? spng_decode_image(context, image->pixels, size, format, 0) : SPNG_EOVERFLOW;
    } else if (code == 0) {
        raw = prn__alloc(size);
        if (raw == NULL) {
            status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for a 16-bit PNG");
            goto done;
        }
        code = spng_decode_image(context, raw, size, format, 0); /* native byte order */
        const uint16_t *deep = (const uint16_t *)(const void *)raw;
        int64_t channels = header.color_type == SPNG_COLOR_TYPE_TRUECOLOR ? 3 : header.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA ? 4
                         : header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ? 2 : 1;
        if (code == 0 && size < (size_t)(pixels * channels * 2)) {
            code = SPNG_EOVERFLOW;
        }
        for (int64_t i = 0; code == 0 && i < pixels; i++) {
            for (int64_t c = 0; c < 3; c++) {
                uint16_t value = deep[i * channels + (channels >= 3 ? c : 0)];
                /* Pillow clips 16-bit grey at 255, and keeps the high byte of the other 16-bit kinds */
                image->pixels[3 * i + c] = is_deep_grey ? (uint8_t)(value > 255 ? 255 : value) : (uint8_t)(value >> 8);
            }
        }
    }
    if (code != 0) {
        status = prn_error_set(error, code == SPNG_EMEM ? PRN_NO_MEMORY : PRN_CORRUPT, "PNG: %s", spng_strerror(code));
    }
done:
    prn__free(raw);
    spng_ctx_free(context);
    return status;
}

/* ---- WebP ---- */

static prn_status decode_webp(const uint8_t *bytes, size_t length, prn__image *image, prn_error *error)
{
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(bytes, length, &features) != VP8_STATUS_OK) {
        return prn_error_set(error, PRN_CORRUPT, "WebP: damaged header");
    }
    if (features.has_animation) {
        return prn_error_set(error, PRN_UNSUPPORTED, "WebP: an animation, still images are wanted");
    }
    prn_status status = reserve(image, features.width, features.height, error);
    if (status == PRN_OK && WebPDecodeRGBInto(bytes, length, image->pixels, (size_t)(image->width * image->height * 3), (int)image->width * 3) == NULL) {
        status = prn_error_set(error, PRN_CORRUPT, "WebP: damaged image data");
    }
    return status;
}

prn_status prn__image_decode(const uint8_t *bytes, size_t length, prn__image *image, prn_error *error)
{
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (length >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) {
        return decode_jpeg(bytes, length, image, error);
    }
    if (length >= 8 && memcmp(bytes, png, 8) == 0) {
        return decode_png(bytes, length, image, error);
    }
    if (length >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0) {
        return decode_webp(bytes, length, image, error);
    }
    return prn_error_set(error, PRN_UNSUPPORTED, "neither JPEG nor PNG nor WebP (%zu bytes)", length);
}
