/* core/suite/strategy_suite_stream.c: the tiny stream of the strategy suite: stripes in three colours, said in words.
 *
 * Invariants: its bytes are a function of the number of samples alone; counts differ from step to step, so that a strategy that mixes
 * them up shows.
 */
#include "suite/strategy_suite_internal.h"

#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "data/shard_writer.h"

enum { SIDE = 16 };

static prn_status write_text(const prn__suite *s, const char *name, const prn__text *text, prn_error *error)
{
    char *path = prn__path_join(s->folder, name);
    prn_status status = path == NULL || text->failed ? prn_error_set(error, PRN_NO_MEMORY, "out of memory for the suite's stream")
                                                     : prn__file_write_atomic(path, text->data, text->length, error);
    prn__free(path);
    return status;
}

static void draw(int64_t number, uint8_t *pixels)
{
    const int64_t kind = number % 6;
    uint32_t noise = (uint32_t)number * 2654435761u + 1;
    for (int64_t y = 0; y < SIDE; y++) {
        for (int64_t x = 0; x < SIDE; x++) {
            for (int64_t c = 0; c < 3; c++) {
                const int64_t on = ((kind % 2 == 0 ? x : y) / 4) % 2;
                noise = noise * 1664525u + 1013904223u;
                pixels[(y * SIDE + x) * 3 + c] = (uint8_t)((c == kind % 3 ? 200 * on : 30) + (int64_t)(noise >> 28));
            }
        }
    }
}

static prn_status make_shard(const prn__suite *s, const char *name, int64_t first, int64_t count, prn_error *error)
{
    static const char *const words[] = {"upright red", "level green", "upright blue", "level red", "upright green", "level blue"};
    uint8_t pixels[SIDE * SIDE * 3];
    char key[32], json[96];
    prn__shard shard;
    prn__digest digest;
    prn_status status = PRN_OK;
    prn__shard_init(&shard);
    for (int64_t i = first; i < first + count && status == PRN_OK; i++) {
        draw(i, pixels);
        (void)snprintf(key, sizeof key, "%06" PRId64, i);
        (void)snprintf(json, sizeof json, "{\"caption\": \"%s stripes %" PRId64 "\"}", words[i % 6], i);
        status = prn__shard_add(&shard, key, pixels, SIDE, 1, json, error);
    }
    char *path = prn__path_join(s->folder, name);
    if (status == PRN_OK) {
        status = path != NULL ? prn__shard_write(&shard, path, &digest, error) : prn_error_set(error, PRN_NO_MEMORY, "out of memory for the suite's stream");
    }
    prn__free(path);
    prn__shard_fini(&shard);
    return status;
}

/* A single-quoted YAML text: the name of an evaluation set comes from the strategy. */
static void put_quoted(prn__text *text, const char *value)
{
    prn__text_puts(text, "'");
    for (; *value != '\0'; value++) {
        prn__text_append(text, value, 1);
        prn__text_append(text, value, *value == '\'' ? 1 : 0);
    }
    prn__text_puts(text, "'");
}

static prn_status make_manifest(const prn__suite *s, uint32_t steps, const char *train, const char *name, prn_error *error)
{
    prn__text text;
    prn__text_init(&text);
    prn__text_puts(&text, "stream: suite\nvocabulary: vocab.txt\nsteps:\n");
    for (uint32_t t = 1; t <= steps; t++) {
        prn__text_printf(&text, "  - name: \"%u\"\n    train: { shards: \"%s-%u.tar\", samples: %d }\n    evaluations:\n      - { name: ", t, train, t,
                         PRN__SUITE_FIRST + (int)(t - 1) * PRN__SUITE_MORE);
        put_quoted(&text, s->set);
        prn__text_printf(&text, ", kind: retrieval, shards: \"held-out-%u.tar\", samples: %d }\n", t, PRN__SUITE_HELD_OUT);
    }
    prn_status status = write_text(s, name, &text, error);
    prn__text_fini(&text);
    return status;
}

prn_status prn__suite_stream_make(const prn__suite *s, prn_error *error)
{
    static const uint32_t lines[] = {1, 2, 7};
    char name[48];
    prn__text text;
    prn_status status = make_manifest(s, PRN__SUITE_STEPS, "train", "stream.yaml", error);
    status = status == PRN_OK ? make_manifest(s, 1, "reference", "reference.yaml", error) : status;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0] && status == PRN_OK; i++) {
        (void)snprintf(name, sizeof name, "line-%u.yaml", lines[i]);
        status = make_manifest(s, lines[i], "train", name, error);
    }
    for (uint32_t t = 1; t <= PRN__SUITE_STEPS && status == PRN_OK; t++) {
        (void)snprintf(name, sizeof name, "train-%u.tar", t);
        status = make_shard(s, name, 1000 * (int64_t)t, PRN__SUITE_FIRST + (int64_t)(t - 1) * PRN__SUITE_MORE, error);
        (void)snprintf(name, sizeof name, "held-out-%u.tar", t);
        status = status == PRN_OK ? make_shard(s, name, 1000 * (int64_t)t + 500, PRN__SUITE_HELD_OUT, error) : status;
    }
    if (status == PRN_OK) {
        status = make_shard(s, "reference-1.tar", 9000, PRN__SUITE_FIRST, error);
    }
    if (status == PRN_OK) {
        prn__text_init(&text);
        prn__text_puts(&text, "#version: 0.2\ns t\nst r\nl e\nr e\ng re\nb l\nre d</w>\n");
        status = write_text(s, "vocab.txt", &text, error);
        prn__text_fini(&text);
    }
    return status;
}
