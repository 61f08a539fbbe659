/* Every strategy against a second implementation: real runs over three time steps of a tiny stream, and the weights that
 * tests/fixtures/make_strategy_fixtures.py left after each of them, as trained and as deployed.
 *
 * The fixtures were computed in double precision and rounded to fp32 where files hold fp32. The reference backend computes in double
 * precision, too: only roundings of the last bit may differ. The cpu backend computes in fp32, and AdamW divides by the size of
 * gradients, so that rounding noise of small gradients shows: its bounds are wider, and still far below what a wrong term would do: after
 * three steps every strategy is 40 % of the change or more away from `sequential`.
 */
#include "run/execute_support.h"

#include "data/tokenizer.h"
#include "model/safetensors.h"

enum { SIZE = 12, SAMPLES = 10, FIRST_SHARD = 6, CAPTION = 64, MOST_OPTIONS = 8 };

#define FIXTURES PRN_SOURCE_DIR "/tests/fixtures/strategies"

static const char *const NAMES[] = {"sequential", "restart", "cumulative", "oracle", "replay", "lwf", "ewc", "patching", "merge-ema",
                                    "merge-task-arithmetic", "merge-ties", "agem", "zscl"};
enum { COUNT = sizeof NAMES / sizeof NAMES[0] };

typedef struct bounds {
    double tensor; /* error of a tensor, relative to its change since `init` */
    double value;  /* error of any value; one update moves a value by up to 2e-3 */
    double key;    /* the same of biases of attention keys: softmax makes their gradient zero but for rounding, which AdamW enlarges */
    double whole;  /* all parameters but those as one vector, relative to its change */
    int strays;    /* so many values may be further off than `value`; they count in `whole`, not in `tensor` */
} bounds;

/* ---- the stream of the fixture ------------------------------------------------------------------------------------------------- */

static void put_png(prn__text *out, const uint8_t *pixels)
{
    static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10};
    const unsigned char header[13] = {0, 0, 0, SIZE, 0, 0, 0, SIZE, 8, 2, 0, 0, 0};
    unsigned char rows[SIZE * (1 + 3 * SIZE)], packed[2048];
    uLongf length = sizeof packed;
    for (int y = 0; y < SIZE; y++) {
        rows[y * (1 + 3 * SIZE)] = 0;
        memcpy(rows + y * (1 + 3 * SIZE) + 1, pixels + (ptrdiff_t)y * SIZE * 3, SIZE * 3);
    }
    assert_int_equal(compress(packed, &length, rows, sizeof rows), Z_OK);
    prn__text_append(out, (const char *)signature, 8);
    png_chunk(out, "IHDR", header, 13);
    png_chunk(out, "IDAT", packed, length);
    png_chunk(out, "IEND", header, 0);
}

static void put_shard(const ground *g, const char *name, const uint8_t *images, const char *captions, int first, int count)
{
    static const char zeros[1024];
    prn__text tar, png;
    prn__text_init(&tar);
    for (int i = first; i < first + count; i++) {
        char key[32];
        const char *caption = captions + (ptrdiff_t)i * CAPTION;
        prn__text_init(&png);
        put_png(&png, images + (ptrdiff_t)i * SIZE * SIZE * 3);
        (void)snprintf(key, sizeof key, "%06d.png", i);
        tar_member(&tar, key, png.data, png.length);
        prn__text_fini(&png);
        (void)snprintf(key, sizeof key, "%06d.txt", i);
        tar_member(&tar, key, caption, strnlen(caption, CAPTION));
    }
    prn__text_append(&tar, zeros, sizeof zeros);
    assert_false(tar.failed);
    write_bytes(g, name, tar.data, tar.length);
    prn__text_fini(&tar);
}

static const prn__st_tensor *tensor_of(prn__safetensors *file, const char *name, size_t bytes)
{
    const prn__st_tensor *tensor = prn__safetensors_find(file, name);
    if (tensor == NULL || tensor->bytes != bytes) {
        fail_msg("the fixture's '%s' is absent or of another size", name);
    }
    return tensor;
}

static void put_stream(const ground *g)
{
    char name[32], *bytes;
    size_t length;
    prn__text manifest;
    prn__safetensors *file;
    MUST(prn__safetensors_open(FIXTURES "/data.safetensors", &file, error_));
    prn__text_init(&manifest);
    prn__text_puts(&manifest, "stream: strategies\nvocabulary: vocabulary.txt\nsteps:\n");
    for (int t = 1; t <= STEPS; t++) {
        (void)snprintf(name, sizeof name, "images%d", t);
        const prn__st_tensor *images = tensor_of(file, name, (size_t)SAMPLES * SIZE * SIZE * 3);
        (void)snprintf(name, sizeof name, "captions%d", t);
        const prn__st_tensor *captions = tensor_of(file, name, (size_t)SAMPLES * CAPTION);
        (void)snprintf(name, sizeof name, "train/%d-0.tar", t);
        put_shard(g, name, images->data, captions->data, 0, FIRST_SHARD);
        (void)snprintf(name, sizeof name, "train/%d-1.tar", t);
        put_shard(g, name, images->data, captions->data, FIRST_SHARD, SAMPLES - FIRST_SHARD);
        prn__text_printf(&manifest, "  - name: \"%d\"\n    train: { shards: \"train/%d-{0..1}.tar\", samples: %d }\n", t, t, SAMPLES);
    }
    prn__safetensors_close(file);
    write_bytes(g, "stream.yaml", manifest.data, manifest.length);
    prn__text_fini(&manifest);
    read_path(FIXTURES "/vocabulary.txt", &bytes, &length);
    write_bytes(g, "vocabulary.txt", bytes, length);
    prn__free(bytes);
}

static int setup(void **state)
{
    static ground g;
    ground_open(&g, 2);
    put_stream(&g);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    ground_close(*state);
    return 0;
}

/* ---- runs --------------------------------------------------------------------------------------------------------------------------- */

/* "strategy name=value name=value" of a fixture's metadata. */
static void take_strategy(prn__arena *memory, const char *text, prn__option_pair *pairs, prn__recipe_strategy *strategy)
{
    assert_non_null(text);
    char *rest = prn__arena_strdup(memory, text), *word;
    assert_non_null(rest);
    strategy->strategy = strsep(&rest, " ");
    while ((word = strsep(&rest, " ")) != NULL) {
        char *value = strchr(word, '=');
        if (value != NULL) {
            assert_true(strategy->option_count < MOST_OPTIONS);
            *value = '\0';
            pairs[strategy->option_count++] = (prn__option_pair){.name = word, .value = value + 1};
        }
    }
    strategy->options = pairs;
}

typedef struct comparison {
    const prn__model *model;
    float *init, *ours, *theirs;
    bounds worst; /* so far */
} comparison;

/* 1 for a bias of an attention key: the middle third of in_proj_bias. */
static int is_key_bias(const prn__parameter *p, int64_t k)
{
    return strstr(p->name, "in_proj_bias") != NULL && k >= p->elements / 3 && k < 2 * p->elements / 3;
}

static void compare(comparison *c, const bounds *b, const char *name, prn__safetensors *file, const char *prefix)
{
    const prn__model *model = c->model;
    double all_errors = 0, all_changes = 0;
    int strays = 0;
    for (size_t i = 0; i < model->parameter_count; i++) {
        const prn__parameter *p = &model->parameters[i];
        const float *ours = c->ours + p->offset, *init = c->init + p->offset;
        float *theirs = c->theirs + p->offset;
        double errors = 0, changes = 0;
        char key[128];
        (void)snprintf(key, sizeof key, "%s%s", prefix, p->name);
        MUST(prn__safetensors_read_f32(tensor_of(file, key, (size_t)p->elements * sizeof(float)), theirs, p->elements, error_));
        for (int64_t k = 0; k < p->elements; k++) {
            const double error = fabs((double)ours[k] - (double)theirs[k]), change = (double)theirs[k] - (double)init[k];
            const int is_key = is_key_bias(p, k);
            const int is_stray = !(error <= (is_key ? b->key : b->value));
            double *worst = is_key ? &c->worst.key : &c->worst.value;
            strays += is_stray;
            if (strays > b->strays) {
                fail_msg("%s, %s: %s[%lld] is %.9g, and should be %.9g", name, prefix, p->name, (long long)k, (double)ours[k], (double)theirs[k]);
            }
            *worst = fmax(*worst, error);
            errors += is_key || is_stray ? 0 : error * error;
            all_errors += is_key ? 0 : error * error;
            changes += is_key ? 0 : change * change;
        }
        assert_true(changes > 0); /* every parameter takes part */
        if (!(sqrt(errors / changes) <= b->tensor)) {
            fail_msg("%s, %s: %s is off by %.3g of its change", name, prefix, p->name, sqrt(errors / changes));
        }
        c->worst.tensor = fmax(c->worst.tensor, sqrt(errors / changes));
        all_changes += changes;
    }
    if (!(sqrt(all_errors / all_changes) <= b->whole)) {
        fail_msg("%s, %s: the weights are off by %.3g of their change", name, prefix, sqrt(all_errors / all_changes));
    }
    c->worst.whole = fmax(c->worst.whole, sqrt(all_errors / all_changes));
    c->worst.strays = strays > c->worst.strays ? strays : c->worst.strays;
}

static void load(comparison *c, prn__arena *memory, const prn__plan *plan, int32_t stage)
{
    MUST(prn__model_load(plan->model, prn__arena_printf(memory, "%s/stages/%s", plan->recipe->workspace, plan->stages[stage].key), c->ours, error_));
}

static void compare_line(comparison *c, const bounds *b, const bounds *of_deployed, prn__arena *memory, const prn__plan *plan, int line, prn__safetensors *file)
{
    const prn__plan_line *l = &plan->lines[line];
    prn__safetensors *first;
    MUST(prn__safetensors_open(FIXTURES "/first.safetensors", &first, error_));
    load(c, memory, plan, l->deployed[0]);
    compare(c, b, NAMES[line], first, "");
    prn__safetensors_close(first);
    for (int t = 2; t <= STEPS; t++) {
        char prefix[32], probe[64];
        (void)snprintf(prefix, sizeof prefix, "trained%d.", t);
        load(c, memory, plan, l->trained[t - 1]);
        compare(c, b, NAMES[line], file, prefix);
        (void)snprintf(probe, sizeof probe, "deployed%d.logit_scale", t);
        const int has_deployed = prn__safetensors_find(file, probe) != NULL;
        load(c, memory, plan, l->deployed[t - 1]);
        (void)snprintf(prefix, sizeof prefix, "%s%d.", has_deployed ? "deployed" : "trained", t);
        compare(c, has_deployed ? of_deployed : b, NAMES[line], file, prefix);
    }
}

/* How far the weights in `ours` are from those that `sequential` left, relative to the latter's change. */
static double distance(const comparison *c, const float *sequential)
{
    double apart = 0, changes = 0;
    for (int64_t k = 0; k < c->model->flat_elements; k++) {
        apart += ((double)c->ours[k] - (double)sequential[k]) * ((double)c->ours[k] - (double)sequential[k]);
        changes += ((double)sequential[k] - (double)c->init[k]) * ((double)sequential[k] - (double)c->init[k]);
    }
    return sqrt(apart / changes);
}

/* `trimmed`: for what TIES deploys. */
static void run_on(const ground *g, const char *backend, const bounds *b, const bounds *trimmed)
{
    prn__arena memory;
    prn__recipe r;
    prn__plan *plan = NULL;
    prn__option_pair pairs[COUNT][MOST_OPTIONS];
    prn__recipe_strategy strategies[COUNT];
    prn__safetensors *files[COUNT];
    prn__arena_init(&memory, 4096);
    recipe_init(&r, &memory, g, backend);
    MUST(prn__model_config_resolve(FIXTURES "/init", &r.model, error_));
    r.init = FIXTURES "/init";
    r.backend = backend;
    r.batch = 4;
    r.budget = 5;
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_CONSTANT, .peak = 1.0 / 512};
    r.augment = 0;
    r.shuffle = 0;
    r.evaluate = (const char *const[]){NULL};
    memset(strategies, 0, sizeof strategies);
    for (int i = 0; i < COUNT; i++) {
        MUST(prn__safetensors_open(prn__arena_printf(&memory, "%s/%s.safetensors", FIXTURES, NAMES[i]), &files[i], error_));
        strategies[i].label = NAMES[i];
        take_strategy(&memory, prn__safetensors_metadata(files[i], "run"), pairs[i], &strategies[i]);
    }
    r.strategies = strategies;
    r.strategy_count = COUNT;
    MUST(execute(g, &r, NULL, error_));
    MUST(prn__plan_create(&r, g->registry, &plan, error_));
    const size_t flat = (size_t)plan->model->flat_elements;
    comparison c = {.model = plan->model, .init = prn__alloc_array(flat, sizeof(float)), .ours = prn__alloc_array(flat, sizeof(float)),
                    .theirs = prn__alloc_array(flat, sizeof(float))};
    double apart = INFINITY; /* the least that a strategy is away from `sequential` after the last step */
    float *sequential = prn__alloc_array(flat, sizeof *sequential);
    MUST(prn__model_load(plan->model, r.init, c.init, error_));
    load(&c, &memory, plan, plan->lines[0].deployed[STEPS - 1]);
    memcpy(sequential, c.ours, flat * sizeof *sequential);
    for (int i = 0; i < COUNT; i++) {
        memset(&c.worst, 0, sizeof c.worst);
        compare_line(&c, b, strcmp(NAMES[i], "merge-ties") == 0 ? trimmed : b, &memory, plan, i, files[i]);
        print_message("%-9s %-21s worst tensor %.1e of its change, all weights %.1e, value %.1e, key bias %.1e, %d strays; from sequential %.2f\n", backend, NAMES[i],
                      c.worst.tensor, c.worst.whole, c.worst.value, c.worst.key, c.worst.strays, distance(&c, sequential));
        apart = i > 0 ? fmin(apart, distance(&c, sequential)) : apart;
        prn__safetensors_close(files[i]);
    }
    assert_true(apart > 0.2); /* what the comparison can tell */
    prn__free(c.init);
    prn__free(c.ours);
    prn__free(c.theirs);
    prn__free(sequential);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

/* The fixture's token ids are its script's own: bytes, the last one of a word 256 higher. */
static void test_captions_have_the_fixtures_tokens(void **state)
{
    enum { CONTEXT = 16 };
    prn__safetensors *file;
    prn__tokenizer *tokenizer;
    (void)state;
    MUST(prn__safetensors_open(FIXTURES "/data.safetensors", &file, error_));
    MUST(prn__tokenizer_open(FIXTURES "/vocabulary.txt", 0, &tokenizer, error_));
    for (int t = 1; t <= STEPS; t++) {
        char name[32];
        (void)snprintf(name, sizeof name, "captions%d", t);
        const char *captions = tensor_of(file, name, (size_t)SAMPLES * CAPTION)->data;
        (void)snprintf(name, sizeof name, "tokens%d", t);
        const char *wanted = tensor_of(file, name, (size_t)SAMPLES * CONTEXT * sizeof(int32_t))->data;
        for (int i = 0; i < SAMPLES; i++) {
            int32_t ids[CONTEXT] = {0};
            const char *caption = captions + (ptrdiff_t)i * CAPTION;
            int64_t count = prn__tokenizer_encode(tokenizer, caption, strnlen(caption, CAPTION), CONTEXT, ids);
            memset(ids + count, 0, (size_t)(CONTEXT - count) * sizeof ids[0]);
            assert_memory_equal(ids, wanted + (size_t)i * sizeof ids, sizeof ids);
        }
    }
    prn__tokenizer_close(tokenizer);
    prn__safetensors_close(file);
}

static void test_on_the_reference_backend(void **state)
{
    static const bounds b = {.tensor = 2e-6, .value = 1e-7, .key = 1e-7, .whole = 1e-6};
    run_on(*state, "reference", &b, &b);
}

static void test_on_the_cpu_backend(void **state)
{
    static const bounds b = {.tensor = 5e-3, .value = 4e-4, .key = 4e-3, .whole = 5e-4};
    /* A value that noise moves over the edge of what stays, as biases of keys do, pushes another one out: few, by as much as they moved. */
    static const bounds trimmed = {.tensor = 5e-3, .value = 4e-4, .key = 4e-3, .whole = 1.5e-2, .strays = 8};
    run_on(*state, "cpu", &b, &trimmed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captions_have_the_fixtures_tokens),
        cmocka_unit_test(test_on_the_reference_backend),
        cmocka_unit_test(test_on_the_cpu_backend),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
