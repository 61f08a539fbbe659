/* Plans: which stages, whose they are, what they cost, and what a key depends on. */
#include "run/support.h"

#include <math.h>

#include "base/hash.h"
#include "base/log.h"
#include "run/stage_key.h"

static int setup(void **state)
{
    static ground g;
    ground_open(&g, 1);
    write_bytes(&g, "stream.yaml", MANIFEST, strlen(MANIFEST)); /* no data: planning does without */
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    ground_close(*state);
    return 0;
}

static prn__plan *make(const ground *g, const prn__recipe *recipe)
{
    prn__plan *plan = NULL;
    MUST(prn__plan_create(recipe, g->registry, &plan, error_));
    return plan;
}

static void refused(const ground *g, const prn__recipe *recipe, const char *word, const char *other)
{
    prn_error error = PRN_ERROR_INIT;
    prn__plan *plan = NULL;
    int64_t before = prn__alloc_live();
    assert_int_not_equal(prn__plan_create(recipe, g->registry, &plan, &error), PRN_OK);
    assert_null(plan);
    if (strstr(error.message, word) == NULL || strstr(error.message, other) == NULL) {
        fail_msg("'%s' lacks '%s' or '%s'", error.message, word, other);
    }
    assert_int_equal(prn__alloc_live(), before);
}

static void test_three_strategies_share_their_first_stage(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    int64_t before = prn__alloc_live();
    prn__plan *plan = make(g, &r);
    assert_int_equal(plan->step_count, 3);
    assert_int_equal(plan->stage_count, 7); /* 1 + 3 * 2 */
    assert_int_equal(plan->stages[0].used_by_count, 3);
    assert_string_equal(plan->stages[0].used_by[2], "oracle");
    for (int s = 0; s < 3; s++) {
        assert_int_equal(plan->lines[s].stages[0], 0);
        assert_string_equal(plan->lines[s].label, THREE[s].label);
    }
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        const prn__stage *stage = &plan->stages[i];
        assert_int_equal(strlen(stage->key), 32);
        assert_true(stage->parent < (int32_t)i);
        assert_int_equal(stage->samples, stage->steps * 8);
        assert_false(stage->is_done);
        assert_true(fabs(stage->forward_macs - (double)stage->samples * (plan->image_macs + plan->text_macs)) < 1);
        double ratio = stage->total_macs / stage->forward_macs;
        assert_true(ratio > 2.5 && ratio <= 3.0);
        for (uint32_t j = 0; j < i; j++) {
            assert_string_not_equal(stage->key, plan->stages[j].key);
        }
    }
    const prn__stage *sequential = &plan->stages[plan->lines[0].stages[2]], *cumulative = &plan->stages[plan->lines[1].stages[2]],
                     *oracle = &plan->stages[plan->lines[2].stages[2]];
    assert_int_equal(sequential->parent, plan->lines[0].stages[1]);
    assert_int_equal(sequential->source_count, 1);
    assert_int_equal(sequential->sources[0].time_step, 3);
    assert_int_equal(sequential->sources[0].samples, 40);
    assert_int_equal(cumulative->parent, plan->lines[1].stages[1]);
    assert_int_equal(cumulative->source_count, 3);
    assert_int_equal(oracle->parent, -1);
    assert_int_equal(oracle->source_count, 3);
    assert_int_equal(oracle->steps, 18);
    assert_int_equal(plan->lines[0].samples, 3 * 48);
    assert_int_equal(plan->lines[2].samples, 6 * 48);
    assert_true(fabs(plan->lines[2].forward_macs / plan->lines[0].forward_macs - 2) < 1e-12);
    prn__plan_destroy(plan);
    assert_int_equal(prn__alloc_live(), before);
    prn__arena_fini(&memory);
}

static void test_published_costs(void **state)
{
    /* TiC-DataComp large: ViT-B/16, 8192 x 22,500 a step: C = 3.79e18; seven steps 2.65e19; the oracle series 28 C. */
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__text manifest;
    prn__option_pair rising = {"budget_multiples", "1,1,1,1,1.5,2,3"};
    const prn__recipe_strategy strategies[] = {
        {.label = "sequential", .strategy = "sequential"},
        {.label = "rising", .strategy = "cumulative", .options = &rising, .option_count = 1},
        {.label = "oracle", .strategy = "oracle"},
    };
    prn__arena_init(&memory, 256);
    prn__text_init(&manifest);
    prn__text_puts(&manifest, "stream: tic-datacomp\nsteps:\n");
    for (int year = 2016; year <= 2022; year++) { /* 12.7e9 samples in all: nothing may depend on their number */
        prn__text_printf(&manifest, "  - name: \"%d\"\n    train: { shards: \"%d/{000000..185713}.tar\", samples: 1814285714 }\n", year, year);
    }
    write_bytes(g, "large.yaml", manifest.data, manifest.length);
    prn__text_fini(&manifest);
    recipe_init(&r, &memory, g, "w");
    MUST(prn__model_config_resolve("ViT-B-16", &r.model, error_));
    r.manifest_path = prn__arena_printf(&memory, "%s/large.yaml", g->folder);
    r.batch = 8192;
    r.budget = 22500;
    r.strategies = strategies;
    prn__plan *plan = make(g, &r);
    double c = plan->stages[0].forward_macs;
    assert_true(fabs(c / 3.79e18 - 1) < 0.01);
    assert_true(fabs(plan->lines[0].forward_macs / 2.65e19 - 1) < 0.01);
    assert_true(fabs(plan->lines[1].forward_macs / c - 10.5) < 1e-9);
    assert_true(fabs(plan->lines[2].forward_macs / c - 28) < 1e-9);
    assert_true(fabs(plan->lines[2].forward_macs / 1.06e20 - 1) < 0.01);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static prn_status telling_rate(void *self, int64_t step, int64_t total, int64_t time_step, int is_fresh, double *rate, prn_error *error)
{
    (void)self;
    (void)error;
    *rate = (double)step + 100 * (double)total + 1e4 * (double)time_step + (is_fresh ? 5e4 : 0);
    return PRN_OK;
}

static void test_learning_rates(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_COSINE, .peak = 2, .final = 0.5, .warmup_steps = 2, .later_warmup_steps = 1};
    prn__plan *plan = make(g, &r);
    const float *first = plan->stages[0].rates, *later = plan->stages[1].rates;
    assert_int_equal(plan->stages[0].steps, 6);
    assert_true(first[0] == 1.0f && first[1] == 2.0f && first[2] == 2.0f);
    assert_true(fabs((double)first[4] - 1.25) < 1e-6); /* half way from 2 to 6 */
    assert_true(fabs((double)first[5] - (0.5 + 0.75 * (1 + cos(3.14159265358979 * 0.75)))) < 1e-6);
    assert_true(later[0] == 2.0f && later[1] == 2.0f && later[2] < 2.0f);
    assert_ptr_equal(plan->stages[1].rates, plan->stages[2].rates); /* kept once */
    const prn__stage *oracle = &plan->stages[plan->lines[2].stages[1]]; /* starts anew: the first warm-up */
    assert_int_equal(oracle->steps, 12);
    assert_true(oracle->rates[0] == 1.0f && oracle->rates[1] == 2.0f && oracle->rates[2] == 2.0f && oracle->rates[3] < 2.0f);
    prn__plan_destroy(plan);
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_COSINE, .peak = 1, .warmup_steps = 100};
    plan = make(g, &r); /* longer than the stage */
    assert_true(plan->stages[0].rates[5] == 0.06f);
    prn__plan_destroy(plan);
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_FUNCTION, .function = telling_rate};
    plan = make(g, &r);
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        const prn__stage *stage = &plan->stages[i];
        for (int64_t k = 0; k < stage->steps; k++) {
            assert_true(stage->rates[k] == (float)((double)k + 100 * (double)stage->steps + 1e4 * stage->time_step + (stage->parent < 0 ? 5e4 : 0)));
        }
    }
    prn__plan_destroy(plan);
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_COSINE, .peak = 2, .final = 0.5, .warmup_steps = 2, .later_warmup_steps = 1};
    r.schedule.kind = PRN__SCHEDULE_CONSTANT;
    plan = make(g, &r);
    assert_true(plan->stages[0].rates[0] == 1.0f && plan->stages[0].rates[5] == 2.0f && plan->stages[1].rates[0] == 2.0f);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

/* The engine's arithmetic: another version of it, other stages. */
static void test_a_key_holds_the_engine(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    char now[33], again[33], later[33];
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    prn__plan *plan = make(g, &r);
    MUST(prn__key_common(PRN__ENGINE_NUMERICS, &r, plan->manifest, g->registry, now, error_));
    MUST(prn__key_common(PRN__ENGINE_NUMERICS, &r, plan->manifest, g->registry, again, error_));
    MUST(prn__key_common(PRN__ENGINE_NUMERICS "+", &r, plan->manifest, g->registry, later, error_));
    assert_string_equal(now, again);
    assert_string_not_equal(now, later);
    /* and the plan's keys are made from the one of now */
    prn__stage first = plan->stages[0];
    char key[33];
    MUST(prn__key_stage(now, plan, &first, first.rates, key, error_));
    assert_string_equal(key, first.key);
    MUST(prn__key_stage(later, plan, &first, first.rates, key, error_));
    assert_string_not_equal(key, first.key);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static void key_of(const ground *g, const prn__recipe *recipe, char key[33])
{
    prn__plan *plan = make(g, recipe); /* of all stages: warm-up is none of the last one's business */
    prn__hasher *hasher = prn__hasher_create();
    assert_non_null(hasher);
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        prn__hasher_field(hasher, "key", plan->stages[i].key);
    }
    prn__digest_format(prn__hasher_digest(hasher), key);
    prn__hasher_destroy(hasher);
    prn__plan_destroy(plan);
}

#define DIFFERENT_IF(expected, change)                        \
    do {                                                      \
        r = base;                                             \
        change;                                               \
        key_of(g, &r, other);                                 \
        if ((strcmp(key, other) != 0) != (expected)) {        \
            fail_msg("after %s: %s, was %s", #change, other, key); \
        }                                                     \
    } while (0)

static void test_what_a_key_depends_on(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe base, r;
    char key[33], other[33];
    const char *nothing[] = {NULL};
    const prn__option_pair auto_isa = {"isa", "auto"}, baseline = {"isa", "baseline"}, half = {"precision", "bf16"};
    prn__arena_init(&memory, 256);
    recipe_init(&base, &memory, g, "w");
    key_of(g, &base, key);
#define SAME(change) DIFFERENT_IF(0, change)
#define DIFFERENT(change) DIFFERENT_IF(1, change)
    SAME((void)0);
    SAME(r.name = "other");
    SAME(r.workspace = "/tmp/elsewhere");
    SAME(r.data_threads = 4);
    SAME(r.save_every_steps = 1);
    SAME(r.eval_batch = 3);
    SAME(r.recall_k_count = 1);
    SAME(r.checkpointing = PRN__CHECKPOINT_BLOCKS);
    SAME(r.checkpointing = PRN__CHECKPOINT_SELECTIVE);
    SAME(r.checkpointing = PRN__CHECKPOINT_TOWERS);
    SAME(r.micro_batch = r.batch);
    SAME(r.micro_batch = 100);
    SAME(strcpy(r.model.name, "named-otherwise"));
    SAME(r.evaluate = nothing);
    SAME((r.backend_options = &auto_isa, r.backend_option_count = 1)); /* said, but the default */
    SAME(r.schedule.later_warmup_steps = 0);
    SAME((r.backend = "auto")); /* no cuda device here, so cpu */
    DIFFERENT((r.backend_options = &baseline, r.backend_option_count = 1));
    DIFFERENT((r.backend_options = &half, r.backend_option_count = 1));
    DIFFERENT(r.schedule.later_warmup_steps = 2);
    DIFFERENT(r.schedule.final = 1e-5);
    DIFFERENT(r.schedule.kind = PRN__SCHEDULE_CONSTANT);
    DIFFERENT(r.optimizer.beta1 = 0.8);
    DIFFERENT(r.optimizer.beta2 = 0.99);
    DIFFERENT(r.optimizer.epsilon = 1e-8);
    DIFFERENT(r.scale_high = 0.95);
    DIFFERENT(r.model.mean[1] = 0.25f);
    DIFFERENT(r.model.text.context_length = 16);
    DIFFERENT(r.model.embed_dim = 8);
    DIFFERENT(r.micro_batch = 4);
    DIFFERENT(r.micro_batch = PRN__MICRO_BATCH_AUTO);
    DIFFERENT(r.seed = 4);
    DIFFERENT(r.budget = 7);
    DIFFERENT(r.batch = 4);
    DIFFERENT(r.model.vision.layers = 2);
    DIFFERENT(r.model.quick_gelu = 1);
    DIFFERENT(r.optimizer.decay = 0.1);
    DIFFERENT(r.optimizer.clip_norm = 1);
    DIFFERENT(r.decay_rule = PRN__DECAY_NO_EMBEDDINGS);
    DIFFERENT(r.optimizer.bf16_moments = 1);
    DIFFERENT(r.schedule.peak = 2e-3);
    DIFFERENT(r.schedule.warmup_steps = 3);
    DIFFERENT(r.augment = 0);
    DIFFERENT(r.scale_low = 0.8);
    DIFFERENT(r.shuffle = 0);
    DIFFERENT(r.with_replacement = 1);
    DIFFERENT(r.window = 1);
    DIFFERENT(r.backend = "reference");
    prn__arena_fini(&memory);
}

/* What the manifest and the files it names decide. */
static void test_what_a_key_depends_on_in_the_data(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe base, r;
    char key[33], other[33];
    static const char *const parts[] = {"stripes", "vocab.txt", "\"a\"", "train/a-{0..1}.tar", "samples: 40", "name: retrieval, kind: retrieval"};
    static const struct {
        int part;
        const char *with;
        int is_other;
    } changes[] = {
        {0, "spots", 1}, /* nothing states a checksum: the stream's name stands for its data */
        {1, "vocab2.txt", 1},
        {2, "\"2016\"", 0}, /* what a time step is called trains nothing */
        {3, "train/a-{0..2}.tar", 1},
        {4, "samples: 41", 1},
        {4, "samples: 40, checksum: 00112233445566778899aabbccddeeff", 1},
        {5, "name: other, kind: retrieval", 0},
    };
    prn__arena_init(&memory, 256);
    write_bytes(g, "vocab.txt", "one", 3);
    write_bytes(g, "vocab2.txt", "two", 3);
    recipe_init(&base, &memory, g, "w");
    key_of(g, &base, key);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const char *place = strstr(MANIFEST, parts[changes[i].part]);
        assert_non_null(place);
        prn__text text;
        prn__text_init(&text);
        prn__text_append(&text, MANIFEST, (size_t)(place - MANIFEST));
        prn__text_puts(&text, changes[i].with);
        prn__text_puts(&text, place + strlen(parts[changes[i].part]));
        write_bytes(g, "changed.yaml", text.data, text.length);
        prn__text_fini(&text);
        DIFFERENT_IF(changes[i].is_other, r.manifest_path = prn__arena_printf(&memory, "%s/changed.yaml", g->folder));
    }
    write_bytes(g, "vocab.txt", "eno", 3); /* the same name, other bytes */
    DIFFERENT_IF(1, (void)0);
    write_bytes(g, "vocab.txt", "one", 3);
    DIFFERENT_IF(0, (void)0);
    char *elsewhere = prn__arena_printf(&memory, "%s/else/where", g->folder); /* the folder is no part of it */
    write_bytes(g, "else/where/stream.yaml", MANIFEST, strlen(MANIFEST));
    write_bytes(g, "else/where/vocab.txt", "one", 3);
    DIFFERENT_IF(0, r.manifest_path = prn__arena_printf(&memory, "%s/stream.yaml", elsewhere));
    write_bytes(g, "m/open_clip_model.safetensors", "weights", 7); /* planning hashes, and does not read them */
    DIFFERENT_IF(1, r.init = prn__arena_printf(&memory, "%s/m", g->folder));
    memcpy(key, other, 33);
    write_bytes(g, "n/open_clip_model.safetensors", "weights", 7);
    DIFFERENT_IF(0, r.init = prn__arena_printf(&memory, "%s/n", g->folder));
    write_bytes(g, "n/open_clip_model.safetensors", "Weights", 7);
    DIFFERENT_IF(1, r.init = prn__arena_printf(&memory, "%s/n", g->folder));
    unlink(prn__arena_printf(&memory, "%s/vocab.txt", g->folder));
    prn__arena_fini(&memory);
}

static void test_costs_by_hand(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    r.strategy_count = 1;
    prn__plan *plan = make(g, &r);
    /* blocks: qkv 3 w^2, out w^2, mlp 2 * 2 w^2 a token; scores and values 2 n^2 w (causal: the lower triangle) */
    const double w = 32, e = 16, n = 5, patches = 4, l = 20;
    double image = patches * (8 * 8 * 3) * w + n * 8 * w * w + 2 * n * n * w + w * e;
    double text = l * 8 * w * w + w * e, causal = 2 * (l * (l + 1) / 2) * w, full = 2 * l * l * w;
    assert_true(plan->image_macs == image);
    assert_true(plan->text_macs == text + causal || plan->text_macs == text + full);
    assert_true(plan->stages[0].forward_macs == 48 * (plan->image_macs + plan->text_macs));
    assert_true(plan->lines[0].forward_macs == 3 * plan->stages[0].forward_macs);
    const double total = plan->stages[0].total_macs, text_macs = plan->text_macs;
    prn__plan_destroy(plan);
    double again[4]; /* the forward count is C, whatever is computed twice */
    for (int i = 0; i < 4; i++) {
        r.checkpointing = i == 0 ? PRN__CHECKPOINT_SELECTIVE : i == 1 ? PRN__CHECKPOINT_BLOCKS : PRN__CHECKPOINT_TOWERS;
        r.optimizer.clip_norm = i == 3;
        plan = make(g, &r);
        assert_true(plan->stages[0].forward_macs == 48 * (plan->image_macs + plan->text_macs));
        again[i] = plan->stages[0].total_macs;
        prn__plan_destroy(plan);
    }
    assert_true(again[0] > total && again[1] > again[0]);
    assert_true(fabs(again[2] - again[1] - 48 * text_macs) < 1 && again[3] == again[1]); /* the whole text tower; not to clip */
    r.optimizer.clip_norm = 0;
    r.checkpointing = PRN__CHECKPOINT_NONE;
    r.micro_batch = 4;
    plan = make(g, &r);
    assert_true(fabs(plan->stages[0].total_macs - total - plan->stages[0].forward_macs) < 1);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static void test_oracle_of_one_step_and_budget_in_samples(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    r.budget_unit = PRN__BUDGET_SAMPLES;
    r.budget = 8 * 6 + 7; /* rounded down: never above the budget */
    prn__plan *plan = make(g, &r);
    assert_int_equal(plan->stages[0].steps, 6);
    assert_int_equal(plan->stages[plan->lines[2].stages[1]].steps, 13); /* 110 / 8 */
    prn__plan_destroy(plan);
    r.budget = 7;
    refused(g, &r, "one batch", "test.lua:11");
    r.budget = INT64_MAX / 2;
    refused(g, &r, "optimizer steps", "test.lua:11");
    r.budget_unit = PRN__BUDGET_STEPS; /* times the batch, it is more than 64 bits hold */
    refused(g, &r, "optimizer steps", "test.lua:11");
    prn__arena_fini(&memory);
}

static prn_status bad_rate(void *self, int64_t step, int64_t total, int64_t time_step, int is_fresh, double *rate, prn_error *error)
{
    (void)total;
    (void)is_fresh;
    (void)time_step;
    (void)error;
    *rate = step < 2 ? 1 : *(double *)self;
    return PRN_OK;
}

static void test_refusals(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__option_pair wrong = {"budget_multiple", "1"};
    prn__recipe_strategy strategy = {.label = "x", .strategy = "sequental", .line = 4};
    const char *sets[] = {"retreival"};
    double rate = NAN;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    r.strategies = &strategy;
    r.strategy_count = 1;
    refused(g, &r, "test.lua:4", "sequental");
    strategy.strategy = "cumulative";
    strategy.options = &wrong;
    strategy.option_count = 1;
    refused(g, &r, "test.lua:4", "budget_multiples");
    strategy.option_count = 0;
    r.evaluate = sets;
    r.evaluate_count = 1;
    refused(g, &r, "retreival", "stream.yaml");
    r.evaluate = NULL;
    r.evaluate_count = 0;
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_FUNCTION, .function = bad_rate, .function_self = &rate};
    refused(g, &r, "update 2 of 6", "nan");
    rate = -1;
    refused(g, &r, "update 2 of 6", "-1");
    r.schedule.kind = PRN__SCHEDULE_CONSTANT;
    r.schedule.peak = 1;
    r.backend = "cuda-of-tomorrow";
    refused(g, &r, "cuda-of-tomorrow", "");
    r.backend = "cpu";
    r.init = "/no/such/model";
    refused(g, &r, "init", "/no/such/model");
    r.init = NULL;
    r.manifest_path = "/no/such/stream.yaml";
    refused(g, &r, "/no/such/stream.yaml", "");
    prn__arena_fini(&memory);
}

/* A strategy of this test's own: its source is of time step 0. */
static prn_status open_nothing(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    (void)host;
    (void)values;
    (void)error;
    *instance = NULL;
    return PRN_OK;
}

static void close_nothing(prn_strategy_instance *instance)
{
    (void)instance;
}

static prn_status forget_a_step(prn_strategy_instance *instance, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)instance;
    (void)line;
    (void)error;
    request->start_step = step - 1;
    request->sources[0] = (prn_source){.time_step = step - 1};
    request->source_count = 1;
    return PRN_OK;
}

static void test_data_of_no_time_step(void **state)
{
    static const prn_strategy table = {.struct_size = sizeof table, .name = "forgetful", .summary = "", .open = open_nothing, .close = close_nothing,
                                       .plan = forget_a_step};
    const prn__recipe_strategy strategy = {.label = "x", .strategy = "forgetful", .line = 4, .table = &table, .source_digest = ""};
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    r.strategies = &strategy;
    r.strategy_count = 1;
    refused(g, &r, "strategy 'x' at time step 1 (a)", "which is time step 0, as data; it can be had as memory only");
    prn__arena_fini(&memory);
}

/* `keep_optimizer` of the recipe reaches every stage that goes on from another, and no other one. */
static void test_optimizers_that_are_kept(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    prn__plan *without = make(g, &r);
    r.keep_optimizer = 1;
    prn__plan *with = make(g, &r);
    assert_int_equal(with->stage_count, without->stage_count);
    for (uint32_t i = 0; i < with->stage_count; i++) {
        const prn__stage *a = &with->stages[i], *b = &without->stages[i];
        assert_int_equal(a->keep_optimizer, a->parent >= 0);
        assert_int_equal(b->keep_optimizer, 0);
        assert_true((strcmp(a->key, b->key) == 0) == (a->parent < 0));
    }
    prn__plan_destroy(with);
    prn__plan_destroy(without);
    prn__arena_fini(&memory);
}

static void test_budgets_in_multiples_of_c(void **state)
{
    static const prn__option_pair rising = {"budget_multiples", "1,1.5"};
    const prn__recipe_strategy strategies[] = {{.label = "rising", .strategy = "cumulative", .options = &rising, .option_count = 1},
                                               {.label = "oracle", .strategy = "oracle"}};
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    r.strategies = strategies;
    r.strategy_count = 2;
    prn__plan *plan = make(g, &r);
    const double *first = plan->lines[0].step_budget, *second = plan->lines[1].step_budget;
    assert_true(first[0] == 1 && first[1] == 1.5 && first[2] == 1.5 && plan->lines[0].budget == 4);
    assert_true(second[0] == 1 && second[1] == 2 && second[2] == 3 && plan->lines[1].budget == 6);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static void note_warning(void *context, prn_log_level level, const char *message)
{
    char *target = context;
    if (level == PRN_LOG_WARNING) {
        (void)snprintf(target + strlen(target), 1000 - strlen(target), "%s\n", message);
    }
}

/* Said once a plan, by the first stage; a warm-up that fits says nothing. */
static void test_warmups_that_never_end(void **state)
{
    char said[1000] = "";
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    prn__log_set_sink(note_warning, said);
    r.schedule.warmup_steps = 6; /* of 6 updates: the last one has the peak */
    prn__plan_destroy(make(g, &r));
    assert_string_equal(said, "");
    r.schedule.later_warmup_steps = 7;
    prn__plan_destroy(make(g, &r));
    assert_string_equal(said, "test.lua: strategy 'sequential' at time step 2 (b): the warm-up of 7 updates ends behind its 6 updates: the learning rate never"
                              " reaches the peak\n");
    said[0] = '\0';
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_INFINITE, .peak = 1, .constant = 0.5, .warmup_steps = 9, .cooldown_steps = 2, .branch = 0.2};
    prn__plan_destroy(make(g, &r));
    assert_string_equal(said, ""); /* it goes on in the next time step */
    prn__log_set_sink(NULL, NULL);
    prn__arena_fini(&memory);
}

static void test_out_of_memory(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    int64_t before = prn__alloc_live();
    prn_status status = PRN_NO_MEMORY;
    for (int64_t nth = 1; status != PRN_OK; nth += nth < 60 ? 1 : 29) {
        prn_error error = PRN_ERROR_INIT;
        prn__plan *plan = NULL;
        prn__alloc_fail_at(nth);
        status = prn__plan_create(&r, g->registry, &plan, &error);
        prn__alloc_fail_at(0);
        prn__plan_destroy(plan);
        assert_int_equal(prn__alloc_live(), before);
        assert_true(nth < 100000);
    }
    prn__arena_fini(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_strategies_share_their_first_stage),
        cmocka_unit_test(test_published_costs),
        cmocka_unit_test(test_learning_rates),
        cmocka_unit_test(test_a_key_holds_the_engine),
        cmocka_unit_test(test_what_a_key_depends_on),
        cmocka_unit_test(test_what_a_key_depends_on_in_the_data),
        cmocka_unit_test(test_costs_by_hand),
        cmocka_unit_test(test_oracle_of_one_step_and_budget_in_samples),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_data_of_no_time_step),
        cmocka_unit_test(test_optimizers_that_are_kept),
        cmocka_unit_test(test_budgets_in_multiples_of_c),
        cmocka_unit_test(test_warmups_that_never_end),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
