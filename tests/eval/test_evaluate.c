/* tests/eval/test_evaluate.c: an evaluation set from its shards to its scores, against a second implementation that embeds the same pixels and
 * captions by hand and compares all pairs; damaged samples, sets that cannot be scored, any batch size and number of threads.
 */
#include "eval/support.h"

#include <unistd.h>

#include "base/stop.h"
#include "data/tokenizer.h"
#include "data_support.h"
#include "model/embedder.h"

enum { SIDE = 16, E = 16, SAMPLES = 14, CLASSES = 3, CONTEXT = 20 };

static const char *const class_names[CLASSES] = {"one tree", "two cars", "three"};

typedef struct ground {
    char folder[64];
    test_device device;
    prn__model *model;
    prn__embedder *embedder;
    prn__tokenizer *tokenizer;
    float *flat;
} ground;

static ground g;

static const char *path_of(const char *name)
{
    static char path[2][160];
    static int turn;
    turn = !turn;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", g.folder, name);
    return path[turn];
}

static void write_text(const char *name, const char *text)
{
    test_write(path_of(name), text, strlen(text));
}

/* A shard with one of each: whole, broken image, no caption, no class. */
static void write_special(const char *name, int count, int broken, int without_caption, int without_class, int class_of_last)
{
    test_tar tar = {NULL, 0};
    for (int i = 0; i < count; i++) {
        char member[32], text[32];
        size_t bytes;
        uint8_t *png = test_png(SIDE, i, &bytes);
        (void)snprintf(member, sizeof member, "%06d.png", i);
        test_tar_member(&tar, member, '0', i == broken ? (const void *)"no image" : png, i == broken ? 8 : bytes);
        free(png);
        if (i != without_caption) {
            (void)snprintf(member, sizeof member, "%06d.txt", i);
            (void)snprintf(text, sizeof text, "sample %d", i);
            test_tar_member(&tar, member, '0', text, strlen(text));
        }
        if (i != without_class) {
            (void)snprintf(member, sizeof member, "%06d.cls", i);
            (void)snprintf(text, sizeof text, "%d", i == count - 1 ? class_of_last : i % CLASSES);
            test_tar_member(&tar, member, '0', text, strlen(text));
        }
    }
    test_tar_end(&tar);
    test_write(path_of(name), tar.data, tar.bytes);
    free(tar.data);
}

static int setup(void **state)
{
    static const char json[] = "{\"embed_dim\":16,\"vision_cfg\":{\"image_size\":16,\"patch_size\":8,\"width\":32,\"layers\":1,\"head_width\":16,\"mlp_ratio\":2},"
                               "\"text_cfg\":{\"context_length\":20,\"vocab_size\":600,\"width\":32,\"heads\":2,\"layers\":1}}";
    prn__model_config config;
    (void)state;
    (void)snprintf(g.folder, sizeof g.folder, "/tmp/prn-eval-XXXXXX");
    assert_non_null(mkdtemp(g.folder));
    test_device_open(&g.device, "reference", 1);
    OK(prn__model_config_parse(json, "tiny.json", &config, error));
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &g.model, error));
    g.flat = prn__alloc_array((size_t)g.model->flat_elements, sizeof *g.flat);
    for (size_t i = 0; i < g.model->parameter_count; i++) { /* an untrained tower hardly looks at its input; this one does */
        for (int64_t k = 0; k < g.model->parameters[i].elements; k++) {
            g.flat[g.model->parameters[i].offset + k] = (float)(0.4 * prn__rng_normal(3, PRN__RNG_INIT, i, (uint64_t)k));
        }
    }
    OK(prn__embedder_create(g.model, &g.device.device, 5, &g.embedder, error));
    OK(prn__embedder_set_weights(g.embedder, g.flat, error));
    write_text("vocab.txt", "#version: 0.2\ns a\nsa m\nt r\nt h\n");
    OK(prn__tokenizer_open(path_of("vocab.txt"), 0, &g.tokenizer, error));
    test_shard(path_of("good-0.tar"), 0, 9, SIDE);
    test_shard(path_of("good-1.tar"), 9, SAMPLES - 9, SIDE);
    write_special("broken.tar", 8, 3, -1, -1, 1);
    write_special("uncaptioned.tar", 8, -1, 2, -1, 1);
    write_special("unclassed.tar", 8, -1, -1, 4, 1);
    write_special("beyond.tar", 8, -1, -1, -1, CLASSES);
    write_special("hopeless.tar", 1, 0, -1, -1, 1);
    write_text("classes.txt", "one tree\ntwo cars\nthree\n");
    static const char steps[] = "templates: [\"a picture of {}.\", \"{}\"]\n"
                                "steps:\n"
                                "  - name: \"a\"\n"
                                "    train: { shards: \"good-0.tar\", samples: 9 }\n"
                                "    evaluations:\n"
                                "      - { name: retrieval, kind: retrieval, shards: \"good-{0..1}.tar\" }\n"
                                "      - { name: class, kind: classification, shards: \"good-{0..1}.tar\" }\n"
                                "      - { name: broken, kind: retrieval, shards: \"broken.tar\" }\n"
                                "      - { name: uncaptioned, kind: retrieval, shards: \"uncaptioned.tar\" }\n"
                                "      - { name: uncaptioned-class, kind: classification, shards: \"uncaptioned.tar\" }\n"
                                "      - { name: unclassed, kind: classification, shards: \"unclassed.tar\" }\n"
                                "      - { name: beyond, kind: classification, shards: \"beyond.tar\" }\n"
                                "      - { name: hopeless, kind: retrieval, shards: \"hopeless.tar\" }\n"
                                "      - { name: absent, kind: retrieval, shards: \"absent.tar\" }\n";
    char text[2048];
    (void)snprintf(text, sizeof text, "stream: small\nvocabulary: vocab.txt\nclasses: classes.txt\n%s", steps);
    write_text("stream.yaml", text);
    (void)snprintf(text, sizeof text, "stream: small\nvocabulary: vocab.txt\nclasses: classes.txt\non_bad_sample: fail\n%s", steps);
    write_text("strict.yaml", text);
    (void)snprintf(text, sizeof text, "stream: small\nvocabulary: vocab.txt\n%s", steps);
    write_text("classless.yaml", text);
    return 0;
}

static int teardown(void **state)
{
    char command[96];
    (void)state;
    prn__tokenizer_close(g.tokenizer);
    prn__embedder_destroy(g.embedder);
    prn__model_destroy(g.model);
    prn__free(g.flat);
    test_device_close(&g.device);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", g.folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(prn__alloc_live(), 0);
    return 0;
}

static prn_status evaluate(const char *manifest_name, const char *set_name, int64_t batch, uint32_t threads, const int32_t *k, size_t k_count, int has_tokenizer,
                           prn__scores *scores, prn_error *refusal)
{
    prn__manifest *manifest;
    const prn__evaluation_set *set = NULL;
    OK(prn__manifest_load(path_of(manifest_name), &manifest, error));
    for (size_t i = 0; i < manifest->steps[0].evaluation_count; i++) {
        if (strcmp(manifest->steps[0].evaluations[i].name, set_name) == 0) {
            set = &manifest->steps[0].evaluations[i];
        }
    }
    assert_non_null(set);
    const prn__evaluator_config config = {.manifest = manifest, .tokenizer = has_tokenizer ? g.tokenizer : NULL, .batch = batch, .threads = threads,
                                          .recall_k = k, .recall_k_count = k_count};
    const prn_status status = prn__evaluate_set(g.embedder, &g.model->config, &g.device.device, &config, set, scores, refusal);
    prn__manifest_destroy(manifest);
    return status;
}

/* ---- the second implementation ---------------------------------------------------------------------------------------------------- */

static void embed_text(const char *text, float *embedding)
{
    int32_t tokens[CONTEXT];
    int64_t offsets[2] = {0, 0};
    offsets[1] = prn__tokenizer_encode(g.tokenizer, text, strlen(text), CONTEXT, tokens);
    OK(prn__embedder_texts(g.embedder, tokens, offsets, 1, embedding, error));
}

/* The pixels of test_png at their own size, which evaluation leaves as they are; and the captions of test_shard. */
static void embed_samples(float *images, float *texts)
{
    for (int n = 0; n < SAMPLES; n++) {
        uint8_t pixels[SIDE * SIDE * 3];
        char caption[32];
        for (int i = 0; i < SIDE * SIDE * 3; i++) {
            pixels[i] = (uint8_t)(n * 37 + i * (n % 5 + 1));
        }
        (void)snprintf(caption, sizeof caption, "sample %d", n);
        OK(prn__embedder_images(g.embedder, pixels, 1, images + n * E, error));
        embed_text(caption, texts + n * E);
    }
}

static void test_retrieval(void **state)
{
    (void)state;
    static const int32_t k[2] = {2, 4}, usual[3] = {1, 5, 10};
    float images[SAMPLES * E], texts[SAMPLES * E];
    prn__scores scores, other;
    OK(evaluate("stream.yaml", "retrieval", 0, 2, NULL, 0, 1, &scores, error));
    assert_int_equal(scores.images, SAMPLES);
    assert_int_equal(scores.texts, SAMPLES);
    assert_int_equal(scores.skipped, 0);
    assert_int_equal(scores.count, 9);
    assert_string_equal(scores.score[0].name, "recall@1");
    embed_samples(images, texts);
    double sum = 0;
    for (int n = 0; n < 3; n++) {
        char name[32];
        int found[2] = {0, 0};
        for (int i = 0; i < SAMPLES; i++) {
            int better[2] = {0, 0};
            for (int j = 0; j < SAMPLES; j++) {
                better[0] += dot(images + i * E, texts + j * E, E) > dot(images + i * E, texts + i * E, E);
                better[1] += dot(images + j * E, texts + i * E, E) > dot(images + i * E, texts + i * E, E);
            }
            found[0] += better[0] < usual[n];
            found[1] += better[1] < usual[n];
        }
        (void)snprintf(name, sizeof name, "i2t_recall@%d", usual[n]);
        NEAR(score_of(&scores, name), (double)found[0] / SAMPLES, 1e-12);
        (void)snprintf(name, sizeof name, "t2i_recall@%d", usual[n]);
        NEAR(score_of(&scores, name), (double)found[1] / SAMPLES, 1e-12);
        sum += found[0] + found[1];
    }
    assert_true(sum > 0 && sum < 6 * SAMPLES);
    for (int64_t batch = 1; batch < 20; batch += 4) { /* neither the batch nor the threads matter */
        OK(evaluate("stream.yaml", "retrieval", batch, (uint32_t)batch % 4, NULL, 0, 1, &other, error));
        assert_memory_equal(&scores, &other, sizeof scores);
    }
    OK(evaluate("stream.yaml", "retrieval", 3, 1, k, 2, 1, &other, error));
    assert_int_equal(other.count, 6);
    assert_string_equal(other.score[0].name, "recall@2");
}

static void test_classification(void **state)
{
    (void)state;
    float images[SAMPLES * E], texts[SAMPLES * E], classes[CLASSES * E];
    double first = 0, right[CLASSES] = {0}, seen[CLASSES] = {0}, mean = 0;
    prn__scores scores, other;
    OK(evaluate("stream.yaml", "class", 4, 2, NULL, 0, 1, &scores, error));
    embed_samples(images, texts);
    for (int c = 0; c < CLASSES; c++) {
        float each[2][E];
        double length = 0;
        for (int t = 0; t < 2; t++) {
            char text[64];
            (void)snprintf(text, sizeof text, t == 0 ? "a picture of %s." : "%s", class_names[c]);
            embed_text(text, each[t]);
        }
        for (int e = 0; e < E; e++) {
            length += ((double)each[0][e] + each[1][e]) * ((double)each[0][e] + each[1][e]);
        }
        for (int e = 0; e < E; e++) {
            classes[c * E + e] = (float)(((double)each[0][e] + each[1][e]) / sqrt(length));
        }
    }
    for (int i = 0; i < SAMPLES; i++) {
        int best = 0;
        for (int c = 1; c < CLASSES; c++) {
            best = dot(images + i * E, classes + c * E, E) > dot(images + i * E, classes + best * E, E) ? c : best;
        }
        seen[i % CLASSES]++;
        right[i % CLASSES] += best == i % CLASSES;
        first += best == i % CLASSES;
    }
    for (int c = 0; c < CLASSES; c++) {
        mean += right[c] / seen[c] / CLASSES;
    }
    assert_int_equal(scores.count, 3);
    assert_string_equal(scores.score[0].name, "top1");
    NEAR(score_of(&scores, "top1"), first / SAMPLES, 1e-12);
    NEAR(score_of(&scores, "top5"), 1, 0); /* there are but three */
    NEAR(score_of(&scores, "mean_per_class"), mean, 1e-12);
    assert_int_equal(scores.classes, CLASSES);
    OK(evaluate("stream.yaml", "class", 256, 1, NULL, 0, 1, &other, error));
    assert_memory_equal(&scores, &other, sizeof scores);
}

/* What is damaged is left out and counted, or fails, as the stream says. */
static void test_damage(void **state)
{
    (void)state;
    prn__scores scores;
    prn_error error_text = PRN_ERROR_INIT;
    OK(evaluate("stream.yaml", "broken", 3, 2, NULL, 0, 1, &scores, error));
    assert_int_equal(scores.images, 7);
    assert_int_equal(scores.texts, 7);
    assert_int_equal(scores.skipped, 1);
    assert_int_equal(evaluate("strict.yaml", "broken", 3, 2, NULL, 0, 1, &scores, &error_text), PRN_CORRUPT);
    assert_non_null(strstr(error_text.message, "broken.tar"));
    assert_non_null(strstr(error_text.message, "000003"));
    /* without a caption there is nothing to retrieve; a class needs none */
    OK(evaluate("stream.yaml", "uncaptioned", 3, 2, NULL, 0, 1, &scores, error));
    assert_int_equal(scores.images, 7);
    assert_int_equal(scores.skipped, 1);
    OK(evaluate("stream.yaml", "uncaptioned-class", 3, 2, NULL, 0, 1, &scores, error));
    assert_int_equal(scores.images, 8);
    assert_int_equal(scores.skipped, 0);
}

static void expect_refused(const char *manifest, const char *set, int has_tokenizer, prn_status want, const char *part, const char *more)
{
    prn__scores scores;
    prn_error error = PRN_ERROR_INIT;
    const prn_status status = evaluate(manifest, set, 0, 1, NULL, 0, has_tokenizer, &scores, &error);
    if (status != want || strstr(error.message, part) == NULL || strstr(error.message, more) == NULL) {
        fail_msg("%s: '%s', wanted %s with '%s' and '%s'", prn_status_name(status), error.message, prn_status_name(want), part, more);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    expect_refused("classless.yaml", "class", 1, PRN_INVALID, "'class'", "no 'classes'");
    expect_refused("stream.yaml", "retrieval", 0, PRN_INVALID, "'retrieval'", "vocabulary");
    expect_refused("stream.yaml", "unclassed", 1, PRN_INVALID, "image 4", "no class");
    expect_refused("stream.yaml", "beyond", 1, PRN_INVALID, "image 7 has class 3", "3 class names");
    expect_refused("stream.yaml", "hopeless", 1, PRN_CORRUPT, "'hopeless'", "no usable sample");
    expect_refused("strict.yaml", "absent", 1, PRN_NOT_FOUND, "absent.tar", "");
}

/* Weights that have diverged are told, not scored. */
static void test_diverged(void **state)
{
    (void)state;
    prn__scores scores;
    prn_error refusal = PRN_ERROR_INIT;
    float *broken = prn__alloc_array((size_t)g.model->flat_elements, sizeof *broken);
    memcpy(broken, g.flat, (size_t)g.model->flat_elements * sizeof *broken);
    broken[prn__model_parameter(g.model, "visual.proj")->offset] = NAN;
    OK(prn__embedder_set_weights(g.embedder, broken, error));
    assert_int_equal(evaluate("stream.yaml", "retrieval", 0, 1, NULL, 0, 1, &scores, &refusal), PRN_NUMERIC);
    assert_int_equal(evaluate("stream.yaml", "class", 0, 1, NULL, 0, 1, &scores, &refusal), PRN_NUMERIC);
    assert_non_null(strstr(refusal.message, "image 0"));
    OK(prn__embedder_set_weights(g.embedder, g.flat, error));
    prn__free(broken);
}

static int yes_after(void *left)
{
    return (*(int *)left)-- <= 0;
}

/* A stop is heard between batches and between classes, and leaves nothing behind. */
static void test_stops(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        int asked; /* four times by three batches and their end; then once for each of three classes; indexes are there */
    } cases[] = {{"retrieval", 0}, {"retrieval", 2}, {"class", 3}, {"class", 5}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        prn__scores scores;
        prn_error error = PRN_ERROR_INIT;
        int left = cases[i].asked;
        const int64_t before = prn__alloc_live();
        prn__stop_set(yes_after, &left);
        const prn_status status = evaluate("stream.yaml", cases[i].set, 5, 2, NULL, 0, 1, &scores, &error);
        prn__stop_set(NULL, NULL);
        assert_int_equal(status, PRN_INTERRUPTED);
        assert_non_null(strstr(error.message, cases[i].set));
        assert_int_equal(left, -1); /* the first yes ended it */
        assert_int_equal(prn__alloc_live(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retrieval), cmocka_unit_test(test_classification), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_diverged), cmocka_unit_test(test_stops),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
