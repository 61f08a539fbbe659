/* tests/data_support.h: small tars and images made in a test. */
#ifndef TESTS_DATA_SUPPORT_H
#define TESTS_DATA_SUPPORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <spng.h>

/* A tar in memory. */
typedef struct test_tar {
    uint8_t *data; /* malloc */
    size_t bytes;
} test_tar;

static inline void test_tar_member(test_tar *tar, const char *name, char type, const void *content, size_t bytes)
{
    size_t padded = (bytes + 511) / 512 * 512;
    unsigned sum = 0;
    tar->data = realloc(tar->data, tar->bytes + 512 + padded);
    uint8_t *h = tar->data + tar->bytes;
    memset(h, 0, 512 + padded);
    memcpy(h, name, strlen(name) < 100 ? strlen(name) : 100);
    (void)snprintf((char *)h + 100, 8, "%07o", 0644);
    (void)snprintf((char *)h + 124, 12, "%011o", (unsigned)bytes);
    (void)snprintf((char *)h + 136, 12, "%011o", 0u);
    memset(h + 148, ' ', 8);
    h[156] = (uint8_t)type;
    memcpy(h + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++) {
        sum += h[i];
    }
    (void)snprintf((char *)h + 148, 8, "%06o", sum);
    if (bytes > 0) {
        memcpy(h + 512, content, bytes);
    }
    tar->bytes += 512 + padded;
}

static inline void test_tar_end(test_tar *tar)
{
    tar->data = realloc(tar->data, tar->bytes + 1024);
    memset(tar->data + tar->bytes, 0, 1024);
    tar->bytes += 1024;
}

static inline void test_write(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, bytes, f) != bytes) {
        abort();
    }
    (void)fclose(f);
}

/* A (side, side) PNG whose pixels follow from `value`; caller frees. */
static inline uint8_t *test_png(int side, int value, size_t *bytes)
{
    uint8_t *pixels = malloc((size_t)(side * side * 3));
    for (int i = 0; i < side * side * 3; i++) {
        pixels[i] = (uint8_t)(value * 37 + i * (value % 5 + 1));
    }
    struct spng_ihdr header = {.width = (uint32_t)side, .height = (uint32_t)side, .bit_depth = 8, .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    spng_ctx *context = spng_ctx_new(SPNG_CTX_ENCODER);
    int code = spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1);
    code = code != 0 ? code : spng_set_ihdr(context, &header);
    code = code != 0 ? code : spng_encode_image(context, pixels, (size_t)(side * side * 3), SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    uint8_t *png = code == 0 ? spng_get_png_buffer(context, bytes, &code) : NULL;
    spng_ctx_free(context);
    free(pixels);
    if (png == NULL) {
        abort();
    }
    return png;
}

/* Writes a shard of `count` samples "NNNNNN" with captions "sample N" and classes N % 3, numbered from `first`. */
static inline void test_shard(const char *path, int first, int count, int side)
{
    test_tar tar = {NULL, 0};
    for (int i = first; i < first + count; i++) {
        char name[64], text[64];
        size_t bytes;
        uint8_t *png = test_png(side, i, &bytes);
        (void)snprintf(name, sizeof name, "%06d.png", i);
        test_tar_member(&tar, name, '0', png, bytes);
        (void)snprintf(name, sizeof name, "%06d.txt", i);
        (void)snprintf(text, sizeof text, "sample %d", i);
        test_tar_member(&tar, name, '0', text, strlen(text));
        (void)snprintf(name, sizeof name, "%06d.cls", i);
        (void)snprintf(text, sizeof text, "%d", i % 3);
        test_tar_member(&tar, name, '0', text, strlen(text));
        free(png);
    }
    test_tar_end(&tar);
    test_write(path, tar.data, tar.bytes);
    free(tar.data);
}

#endif
