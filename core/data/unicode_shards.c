/* core/data/unicode_shards.c: images as PNG, and the tars they travel in; see shard_writer.h. */
#include "data/shard_writer.h"

#include <spng.h>

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/tar.h"

void prn__shard_init(prn__shard *shard)
{
    prn__text_init(&shard->tar);
    shard->samples = 0;
}

void prn__shard_fini(prn__shard *shard)
{
    prn__text_fini(&shard->tar);
}

static prn_status add_member(prn__shard *shard, const char *key, const char *extension, const void *data, size_t bytes, prn_error *error)
{
    static const char zeros[PRN__TAR_BLOCK];
    char header[PRN__TAR_BLOCK];
    unsigned sum = 0;
    memset(header, 0, sizeof header);
    if (snprintf(header, 100, "%s.%s", key, extension) >= 100) {
        return prn_error_set(error, PRN_INVALID, "the sample key '%s' is longer than a tar header holds", key);
    }
    /* ustar, POSIX.1-1988: name 0, mode 100, owner 108, group 116, size 124, time 136, checksum 148, type 156, magic 257 */
    memcpy(header + 100, "0000644", 8);
    memcpy(header + 108, "0000000", 8);
    memcpy(header + 116, "0000000", 8);
    (void)snprintf(header + 124, 12, "%011lo", (unsigned long)bytes);
    memcpy(header + 136, "00000000000", 12);
    memset(header + 148, ' ', 8);
    header[156] = '0';
    memcpy(header + 257, "ustar", 6);
    memcpy(header + 263, "00", 2);
    for (size_t i = 0; i < sizeof header; i++) {
        sum += (unsigned char)header[i];
    }
    (void)snprintf(header + 148, 8, "%06o", sum);
    prn__text_append(&shard->tar, header, sizeof header);
    prn__text_append(&shard->tar, data, bytes);
    prn__text_append(&shard->tar, zeros, (PRN__TAR_BLOCK - bytes % PRN__TAR_BLOCK) % PRN__TAR_BLOCK);
    return shard->tar.failed ? prn_error_set(error, PRN_NO_MEMORY, "out of memory for a shard of %zu bytes", shard->tar.length) : PRN_OK;
}

prn_status prn__shard_add(prn__shard *shard, const char *key, const uint8_t *pixels, int64_t side, int is_colour, const char *json, prn_error *error)
{
    struct spng_ihdr ihdr = {.width = (uint32_t)side, .height = (uint32_t)side, .bit_depth = 8};
    size_t count = (size_t)(side * side), bytes = 0;
    void *png = NULL;
    int failure = SPNG_EMEM;
    ihdr.color_type = is_colour ? SPNG_COLOR_TYPE_TRUECOLOR : SPNG_COLOR_TYPE_GRAYSCALE;
    uint8_t *grey = prn__alloc(count);
    spng_ctx *png_context = spng_ctx_new(SPNG_CTX_ENCODER);
    if (grey != NULL && png_context != NULL) {
        for (size_t i = 0; i < count; i++) {
            grey[i] = pixels[3 * i];
        }
        failure = spng_set_option(png_context, SPNG_ENCODE_TO_BUFFER, 1);
        failure = failure != 0 ? failure : spng_set_ihdr(png_context, &ihdr);
        failure = failure != 0 ? failure
                               : spng_encode_image(png_context, is_colour ? pixels : grey, is_colour ? 3 * count : count, SPNG_FMT_PNG,
                                                   SPNG_ENCODE_FINALIZE);
        if (failure == 0) {
            png = spng_get_png_buffer(png_context, &bytes, &failure);
        }
    }
    prn_status status = png != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "cannot write the image of '%s': %s", key, spng_strerror(failure));
    if (status == PRN_OK) {
        status = add_member(shard, key, "png", png, bytes, error);
    }
    if (status == PRN_OK) {
        status = add_member(shard, key, "json", json, strlen(json), error);
    }
    if (status == PRN_OK) {
        shard->samples++;
    }
    free(png); /* libspng's own allocation */
    spng_ctx_free(png_context);
    prn__free(grey);
    return status;
}

prn_status prn__shard_write(prn__shard *shard, const char *path, prn__digest *digest, prn_error *error)
{
    static const char end[2 * PRN__TAR_BLOCK];
    prn__text_append(&shard->tar, end, sizeof end);
    if (shard->tar.failed) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the shard %s", path);
    }
    prn_status status = prn__file_write_atomic(path, shard->tar.data, shard->tar.length, error);
    *digest = prn__hash_bytes(shard->tar.data, shard->tar.length);
    prn__text_clear(&shard->tar);
    shard->samples = 0;
    return status;
}
