/* A small stream on disk, made here: PNG shards, a vocabulary, a manifest; and a recipe written as plain data. */
#ifndef TESTS_RUN_SUPPORT_H
#define TESTS_RUN_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "run/plan.h"

enum { SIDE = 16, STEPS = 3 };

#define MUST(call)                         \
    do {                                   \
        prn_error must_ = PRN_ERROR_INIT;  \
        prn_error *error_ = &must_;        \
        if ((call) != PRN_OK) {            \
            fail_msg("%s", must_.message); \
        }                                  \
    } while (0)

typedef struct ground {
    char folder[64];
    prn__pool *pool;
    prn__registry *registry;
} ground;

static inline char *path_in(const ground *g, const char *name)
{
    char *path = prn__path_join(g->folder, name);
    assert_non_null(path);
    return path;
}

static inline void write_bytes(const ground *g, const char *name, const void *bytes, size_t length)
{
    char *path = path_in(g, name), *folder = prn__path_folder(path);
    MUST(prn__folder_create(folder, error_));
    MUST(prn__file_write_atomic(path, bytes, length, error_));
    prn__free(folder);
    prn__free(path);
}

static inline void read_bytes(const ground *g, const char *name, char **bytes, size_t *length)
{
    char *path = path_in(g, name);
    MUST(prn__file_read(path, (size_t)1 << 30, bytes, length, error_));
    prn__free(path);
}

/* ---- shards ---- */

static inline void png_chunk(prn__text *out, const char *type, const unsigned char *data, size_t length)
{
    unsigned char size[4] = {(unsigned char)(length >> 24), (unsigned char)(length >> 16), (unsigned char)(length >> 8), (unsigned char)length};
    uLong sum = crc32(crc32(0, (const unsigned char *)type, 4), data, (uInt)length);
    unsigned char check[4] = {(unsigned char)(sum >> 24), (unsigned char)(sum >> 16), (unsigned char)(sum >> 8), (unsigned char)sum};
    prn__text_append(out, (const char *)size, 4);
    prn__text_append(out, type, 4);
    prn__text_append(out, (const char *)data, length);
    prn__text_append(out, (const char *)check, 4);
}

/* Stripes whose direction and colour follow `kind`, with noise from `number`. */
static inline void make_png(prn__text *out, int kind, int number)
{
    static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10};
    const unsigned char header[13] = {0, 0, 0, SIDE, 0, 0, 0, SIDE, 8, 2, 0, 0, 0};
    unsigned char rows[SIDE * (1 + 3 * SIDE)], packed[2048];
    uLongf length = sizeof packed;
    unsigned noise = (unsigned)number * 2654435761u + 1;
    for (int y = 0; y < SIDE; y++) {
        rows[y * (1 + 3 * SIDE)] = 0;
        for (int x = 0; x < SIDE; x++) {
            for (int c = 0; c < 3; c++) {
                noise = noise * 1664525u + 1013904223u;
                int on = ((kind & 1 ? x : y) / 4) % 2;
                rows[y * (1 + 3 * SIDE) + 1 + 3 * x + c] = (unsigned char)((c == kind % 3 ? 200 * on : 30) + (noise >> 28));
            }
        }
    }
    assert_int_equal(compress(packed, &length, rows, sizeof rows), Z_OK);
    prn__text_append(out, (const char *)signature, 8);
    png_chunk(out, "IHDR", header, 13);
    png_chunk(out, "IDAT", packed, length);
    png_chunk(out, "IEND", header, 0);
}

static inline void tar_member(prn__text *out, const char *name, const char *bytes, size_t length)
{
    char header[512];
    unsigned sum = 0;
    static const char zeros[512];
    memset(header, 0, sizeof header);
    (void)snprintf(header, 100, "%s", name);
    memcpy(header + 100, "0000644\0" "0000000\0" "0000000\0", 24);
    (void)snprintf(header + 124, 12, "%011o", (unsigned)length);
    (void)snprintf(header + 136, 12, "%011o", 0u);
    memset(header + 148, ' ', 8);
    header[156] = '0';
    memcpy(header + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++) {
        sum += (unsigned char)header[i];
    }
    (void)snprintf(header + 148, 8, "%06o", sum);
    prn__text_append(out, header, 512);
    prn__text_append(out, bytes, length);
    prn__text_append(out, zeros, (512 - length % 512) % 512);
}

/* `broken`: that many samples have an image that is none. */
static inline void make_shard(const ground *g, const char *name, int first, int count, int broken)
{
    static const char *const words[] = {"upright red", "level green", "upright blue", "level red", "upright green", "level blue"};
    static const char zeros[1024];
    prn__text tar, png;
    char key[64];
    prn__text_init(&tar);
    for (int i = 0; i < count; i++) {
        int number = first + i, kind = number % 6;
        prn__text_init(&png);
        make_png(&png, kind, number);
        (void)snprintf(key, sizeof key, "%06d.png", number);
        tar_member(&tar, key, i < broken ? "no image" : png.data, i < broken ? 8 : png.length);
        prn__text_fini(&png);
        (void)snprintf(key, sizeof key, "%06d.txt", number);
        char caption[64];
        (void)snprintf(caption, sizeof caption, "%s stripes %d", words[kind], number);
        tar_member(&tar, key, caption, strlen(caption));
    }
    prn__text_append(&tar, zeros, sizeof zeros);
    assert_false(tar.failed);
    write_bytes(g, name, tar.data, tar.length);
    prn__text_fini(&tar);
}

static const char MANIFEST[] =
    "stream: stripes\n"
    "vocabulary: vocab.txt\n"
    "steps:\n"
    "  - name: \"a\"\n"
    "    train: { shards: \"train/a-{0..1}.tar\", samples: 40 }\n"
    "    evaluations:\n"
    "      - { name: retrieval, kind: retrieval, shards: \"eval/a.tar\" }\n"
    "  - name: \"b\"\n"
    "    train: { shards: \"train/b-{0..1}.tar\", samples: 40 }\n"
    "    evaluations:\n"
    "      - { name: retrieval, kind: retrieval, shards: \"eval/b.tar\" }\n"
    "  - name: \"c\"\n"
    "    train: { shards: \"train/c-{0..1}.tar\", samples: 40 }\n"
    "    evaluations:\n"
    "      - { name: retrieval, kind: retrieval, shards: \"eval/c.tar\" }\n";

static inline void make_stream(const ground *g)
{
    static const char vocabulary[] = "#version: 0.2\ns t\nst r\nl e\nr e\ng re\nb l\nre d</w>\n";
    char name[64];
    for (int t = 0; t < STEPS; t++) {
        for (int s = 0; s < 2; s++) {
            (void)snprintf(name, sizeof name, "train/%c-%d.tar", 'a' + t, s);
            make_shard(g, name, 1000 * t + 100 * s, 20, 0);
        }
        (void)snprintf(name, sizeof name, "eval/%c.tar", 'a' + t);
        make_shard(g, name, 1000 * t + 500, 12, 0);
    }
    write_bytes(g, "vocab.txt", vocabulary, strlen(vocabulary));
    write_bytes(g, "stream.yaml", MANIFEST, strlen(MANIFEST));
}

static inline void ground_open(ground *g, uint32_t threads)
{
    memset(g, 0, sizeof *g);
    (void)snprintf(g->folder, sizeof g->folder, "/tmp/prn-run-XXXXXX");
    assert_non_null(mkdtemp(g->folder));
    MUST(prn__pool_create(threads, NULL, &g->pool, error_));
    MUST(prn__registry_create(g->pool, PRN_BUILD_DIR "/plugins", &g->registry, error_));
}

static inline void ground_close(ground *g)
{
    char command[128];
    prn__registry_destroy(g->registry);
    prn__pool_destroy(g->pool);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", g->folder);
    assert_int_equal(system(command), 0);
}

/* ---- a recipe ---- */

static const prn__recipe_strategy THREE[] = {
    {.label = "sequential", .strategy = "sequential", .line = 11},
    {.label = "cumulative", .strategy = "cumulative", .line = 12},
    {.label = "oracle", .strategy = "oracle", .line = 13},
};

/* Paths are owned by the caller's arena. */
static inline void recipe_init(prn__recipe *r, prn__arena *memory, const ground *g, const char *workspace)
{
    memset(r, 0, sizeof *r);
    r->path = "test.lua";
    r->text = "-- test";
    r->name = "test";
    r->manifest_path = prn__arena_printf(memory, "%s/stream.yaml", g->folder);
    r->workspace = prn__arena_printf(memory, "%s/%s", g->folder, workspace);
    (void)snprintf(r->model.name, sizeof r->model.name, "tiny");
    r->model.embed_dim = 16;
    r->model.vision.image_size = SIDE;
    r->model.vision.patch_size = 8;
    r->model.vision.width = 32;
    r->model.vision.layers = 1;
    r->model.vision.head_width = 16;
    r->model.vision.mlp_ratio = 2;
    r->model.text.context_length = 20;
    r->model.text.vocab_size = 600;
    r->model.text.width = 32;
    r->model.text.heads = 2;
    r->model.text.layers = 1;
    r->model.text.mlp_ratio = 2;
    for (int i = 0; i < 3; i++) {
        r->model.mean[i] = 0.5f;
        r->model.std[i] = 0.25f;
    }
    r->backend = "cpu";
    r->seed = 3;
    r->batch = 8;
    r->optimizer = (prn__optimizer_config){.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2};
    r->schedule = (prn__schedule){.kind = PRN__SCHEDULE_COSINE, .peak = 1e-3, .warmup_steps = 2};
    r->budget_unit = PRN__BUDGET_STEPS;
    r->budget = 6;
    r->augment = 1;
    r->scale_low = 0.9;
    r->scale_high = 1.0;
    r->shuffle = 1;
    r->data_threads = 1;
    r->save_every_s = 0;
    r->recall_k[0] = 1;
    r->recall_k[1] = 5;
    r->recall_k_count = 2;
    r->eval_batch = 8;
    r->strategies = THREE;
    r->strategy_count = 3;
    assert_non_null(r->manifest_path);
    assert_non_null(r->workspace);
}

#endif
