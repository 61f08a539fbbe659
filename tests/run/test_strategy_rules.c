/* The rules of the strategies, by hand: what buffers hold, which data and teachers are asked for, what it costs, and the arithmetic of
 * TIES, task arithmetic, A-GEM, EWC and patching on vectors of six values, with the plugins' own callbacks on a stage made here. */
#include "run/support.h"

#include <math.h>

enum { VALUES = 6, ROOM = 8, MOST_STEPS = 8, MOST_TENSORS = 16, MOST_NOTES = 4 }; /* two values of each vector are a gap */

static int setup(void **state)
{
    static ground g;
    ground_open(&g, 1);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    ground_close(*state);
    return 0;
}

/* ---- a strategy, asked directly -------------------------------------------------------------------------------------------------- */

typedef struct asked {
    const prn_strategy *table;
    prn__options *options;
    prn_strategy_instance *instance;
} asked;

/* `pairs`: name, value, ... NULL. */
static asked ask_for(const ground *g, const char *name, const char *const *pairs)
{
    asked a;
    prn__option_pair given[8];
    size_t count = 0;
    for (; pairs != NULL && pairs[2 * count] != NULL; count++) {
        given[count] = (prn__option_pair){pairs[2 * count], pairs[2 * count + 1]};
    }
    MUST(prn__registry_strategy(g->registry, name, &a.table, NULL, error_));
    MUST(prn__options_parse(name, a.table->options, a.table->option_count, given, count, &a.options, error_));
    MUST(a.table->open(prn__registry_host(g->registry), prn__options_values(a.options), &a.instance, error_));
    return a;
}

static void done_with(asked *a)
{
    a->table->close(a->instance);
    prn__options_destroy(a->options);
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

typedef struct answer {
    prn_stage_request request;
    prn_source sources[MOST_STEPS], memory[MOST_STEPS];
} answer;

static void plan_at(const asked *a, const int64_t *samples, uint32_t count, uint32_t step, answer *result)
{
    prn_time_step steps[MOST_STEPS];
    memset(steps, 0, sizeof steps);
    memset(result, 0, sizeof *result);
    for (uint32_t i = 0; i < count; i++) {
        steps[i] = (prn_time_step){.struct_size = sizeof steps[i], .index = i + 1, .name = "s", .samples = samples[i]};
    }
    const prn_time_line line = {.struct_size = sizeof line, .step_count = count, .steps = steps, .budget_samples = 1000};
    result->request = (prn_stage_request){.struct_size = sizeof result->request, .budget_multiple = 1, .sources = result->sources,
                                          .source_capacity = MOST_STEPS, .memory_sources = result->memory};
    MUST(a->table->plan(a->instance, &line, step, &result->request, error_));
}

/* ---- what buffers hold ------------------------------------------------------------------------------------------------------------ */

static const int64_t UNEVEN[5] = {100, 10, 200, 60, 50};
static const int64_t EVEN[4] = {1000, 1000, 1000, 1000};

/* Shares of former steps, from the sources of `replay`: every former step's samples that may be drawn. */
static void shares_of(const answer *r, const int64_t *samples, uint32_t step, int64_t *shares)
{
    memset(shares, 0, MOST_STEPS * sizeof *shares);
    assert_int_equal(r->sources[0].time_step, step);
    assert_int_equal(r->sources[0].max_samples, 0);
    for (uint32_t i = 1; i < r->request.source_count; i++) {
        const prn_source *source = &r->sources[i];
        assert_in_range(source->time_step, 1, step - 1);
        assert_int_equal(shares[source->time_step - 1], 0);
        assert_true(source->max_samples >= 0 && source->max_samples < samples[source->time_step - 1]);
        shares[source->time_step - 1] = source->max_samples > 0 ? source->max_samples : samples[source->time_step - 1];
    }
}

static void holds(const ground *g, const char *const *pairs, const int64_t *samples, uint32_t count, uint32_t step, const int64_t *wanted)
{
    answer r;
    int64_t shares[MOST_STEPS];
    asked a = ask_for(g, "replay", pairs);
    plan_at(&a, samples, count, step, &r);
    shares_of(&r, samples, step, shares);
    for (uint32_t k = 0; k + 1 < step; k++) {
        if (shares[k] != wanted[k]) {
            fail_msg("rule %s, step %u: %lld samples of step %u, and should be %lld", pairs[1], step, (long long)shares[k], k + 1, (long long)wanted[k]);
        }
    }
    assert_int_equal(r.request.start_step, step - 1);
    assert_int_equal(r.request.hooks, 0);
    done_with(&a);
}

#define HOLDS(g, pairs, samples, step, ...) holds(g, pairs, samples, sizeof(samples) / sizeof(samples)[0], step, (const int64_t[]){__VA_ARGS__, 0})

static void test_what_a_buffer_of_90_samples_holds(void **state)
{
    const ground *g = *state;
    const char *const *equal = PAIRS("rule", "equal", "size", "90", "unit", "samples");
    HOLDS(g, equal, UNEVEN, 1, 0);
    HOLDS(g, equal, UNEVEN, 2, 90);
    HOLDS(g, equal, UNEVEN, 3, 80, 10);         /* step 2 has no more than 10: the rest is step 1's */
    HOLDS(g, equal, UNEVEN, 4, 40, 10, 40);
    HOLDS(g, equal, UNEVEN, 5, 26, 10, 26, 26); /* 80 / 3, rounded down */
    const char *const *exponential = PAIRS("rule", "exp", "size", "90", "unit", "samples");
    HOLDS(g, exponential, UNEVEN, 2, 90);
    HOLDS(g, exponential, UNEVEN, 3, 80, 10);
    HOLDS(g, exponential, UNEVEN, 4, 16, 10, 64);    /* 80 shared as 1/4 : 1 */
    HOLDS(g, exponential, UNEVEN, 5, 6, 10, 24, 49); /* 80 shared as 1/8 : 1/2 : 1: 6.2, 24.6, 49.2 */
    const char *const *recent = PAIRS("rule", "recent", "size", "90", "unit", "samples");
    HOLDS(g, recent, UNEVEN, 2, 90);
    HOLDS(g, recent, UNEVEN, 3, 80, 10);
    HOLDS(g, recent, UNEVEN, 4, 0, 0, 90);
    HOLDS(g, recent, UNEVEN, 5, 0, 0, 30, 60);
    const char *const *reservoir = PAIRS("rule", "reservoir", "size", "90", "unit", "samples");
    HOLDS(g, reservoir, UNEVEN, 2, 90);
    HOLDS(g, reservoir, UNEVEN, 3, 81, 8);          /* 90 / 110 of each: 81.8, 8.2 */
    HOLDS(g, reservoir, UNEVEN, 4, 29, 2, 58);      /* 90 / 310 of each: 29.03, 2.9, 58.06 */
    HOLDS(g, reservoir, UNEVEN, 5, 24, 2, 48, 14);  /* only 2 are left of step 2; 88 / 360 of the others: 24.4, 48.9, 14.7 */
}

static void test_shares_that_halve_with_age(void **state)
{
    const ground *g = *state;
    const char *const *one = PAIRS("rule", "exp", "size", "700", "unit", "samples");
    const char *const *two = PAIRS("rule", "exp", "size", "700", "unit", "samples", "half_life", "2");
    HOLDS(g, one, EVEN, 2, 700);
    HOLDS(g, one, EVEN, 3, 233, 466);
    HOLDS(g, one, EVEN, 4, 100, 200, 400);
    HOLDS(g, two, EVEN, 4, 158, 224, 317); /* 1/2 : 1/sqrt 2 : 1 */
}

static void test_a_buffer_in_steps_worth_forgets_for_good(void **state)
{
    const ground *g = *state;
    const char *const *pairs = PAIRS("rule", "equal", "size", "1", "unit", "steps");
    HOLDS(g, pairs, UNEVEN, 2, 100);       /* room for what step 1 brought: all of it */
    HOLDS(g, pairs, UNEVEN, 3, 5, 5);      /* room 10 */
    HOLDS(g, pairs, UNEVEN, 4, 5, 5, 190); /* room 200: what was forgotten does not come back */
    HOLDS(g, pairs, UNEVEN, 5, 5, 5, 25, 25);
    const char *const *none = PAIRS("rule", "recent", "size", "0", "unit", "steps");
    HOLDS(g, none, UNEVEN, 5, 0, 0, 0, 0);
}

static uint32_t next_of(uint32_t *noise)
{
    *noise = *noise * 1664525u + 1013904223u;
    return *noise >> 8;
}

static void test_no_buffer_outgrows_its_size_and_no_share_grows(void **state)
{
    static const char *const rules[] = {"equal", "exp", "recent", "reservoir"};
    uint32_t noise = 5;
    for (int round = 0; round < 200; round++) {
        const int in_steps = round % 2;
        int64_t samples[7], shares[MOST_STEPS], before[MOST_STEPS];
        char size[32];
        for (int i = 0; i < 7; i++) {
            samples[i] = 1 + next_of(&noise) % (round % 5 == 0 ? 5 : 3000);
        }
        const double amount = in_steps ? (double)(next_of(&noise) % 40) / 10 : (double)(next_of(&noise) % 5000);
        (void)snprintf(size, sizeof size, "%.1f", amount);
        asked a = ask_for(*state, "replay", PAIRS("rule", rules[round / 2 % 4], "size", size, "unit", in_steps ? "steps" : "samples", "half_life", "1.7"));
        for (uint32_t step = 2; step <= 7; step++) {
            answer r;
            int64_t kept = 0, could = 0;
            plan_at(&a, samples, 7, step, &r);
            shares_of(&r, samples, step, shares);
            const double room = in_steps ? amount * (double)samples[step - 2] : amount;
            for (uint32_t k = 0; k + 1 < step; k++) {
                const int64_t limit = k + 2 < step ? before[k] : samples[k];
                assert_true(shares[k] <= limit);
                kept += shares[k];
                could += limit;
            }
            assert_true((double)kept <= room + 1e-6);
            assert_true((double)kept + step > room || kept == could); /* and it is full, but for what rounding down leaves */
            memcpy(before, shares, sizeof before);
        }
        done_with(&a);
    }
}

static void test_shares_of_a_batch(void **state)
{
    answer r;
    asked a = ask_for(*state, "replay", PAIRS("size", "90", "unit", "samples", "mix", "0.25"));
    plan_at(&a, UNEVEN, 5, 4, &r); /* 40, 10, 40 */
    assert_int_equal(r.request.source_count, 4);
    assert_true(r.sources[0].weight == 0.75);
    assert_true(fabs(r.sources[1].weight - 0.25 * 40 / 90) < 1e-15 && fabs(r.sources[2].weight - 0.25 * 10 / 90) < 1e-15);
    assert_int_equal(r.sources[2].max_samples, 0); /* all ten */
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_int_equal(r.request.source_count, 1);
    assert_true(r.sources[0].weight == 0);
    done_with(&a);
    a = ask_for(*state, "replay", PAIRS("size", "90", "unit", "samples", "mix", "0,0.5,0,0.25")); /* of each time step; the last holds on */
    const double shares[] = {0, 0.5, 0, 0.25, 0.25};
    for (uint32_t step = 2; step <= 5; step++) {
        double all = 0;
        plan_at(&a, UNEVEN, 5, step, &r);
        for (uint32_t i = 0; i < r.request.source_count; i++) {
            all += r.sources[i].weight;
        }
        assert_true(r.sources[0].weight == (shares[step - 1] > 0 ? 1 - shares[step - 1] : 0));
        assert_true(fabs(all - (shares[step - 1] > 0 ? 1 : 0)) < 1e-15);
    }
    done_with(&a);
}

/* A buffer of more than can be counted holds all. */
static void test_a_boundless_buffer(void **state)
{
    static const int64_t large[] = {INT64_C(12700000000), INT64_C(12700000000), 10};
    answer r;
    asked a = ask_for(*state, "replay", PAIRS("size", "1e15"));
    plan_at(&a, large, 3, 3, &r);
    assert_int_equal(r.request.source_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r.sources[i].max_samples, 0);
    }
    done_with(&a);
}

/* ---- which data and teachers ------------------------------------------------------------------------------------------------------ */

static void test_memories_and_teachers(void **state)
{
    const ground *g = *state;
    answer r;
    asked a = ask_for(g, "agem", PAIRS("rule", "recent", "size", "90", "unit", "samples", "memory_batch", "7"));
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_int_equal(r.request.hooks, 0);
    assert_int_equal(r.request.memory_batch, 0);
    plan_at(&a, UNEVEN, 5, 5, &r); /* 0, 0, 30, 60 */
    assert_int_equal(r.request.hooks, PRN_HOOK_TRAIN);
    assert_int_equal(r.request.teacher, PRN_TEACHER_NONE);
    assert_int_equal(r.request.memory_batch, 7);
    assert_int_equal(r.request.source_count, 1);
    assert_int_equal(r.request.memory_source_count, 2);
    assert_true(r.memory[0].time_step == 3 && r.memory[0].max_samples == 30 && r.memory[1].time_step == 4 && r.memory[1].max_samples == 0);
    done_with(&a);

    a = ask_for(g, "zscl", PAIRS("memory_batch", "5")); /* teacher and reference: first */
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_int_equal(r.request.hooks, 0);
    plan_at(&a, UNEVEN, 5, 4, &r);
    assert_int_equal(r.request.hooks, PRN_HOOK_TRAIN);
    assert_int_equal(r.request.teacher, PRN_TEACHER_AFTER(1));
    assert_int_equal(r.request.memory_batch, 5);
    assert_int_equal(r.request.memory_source_count, 1);
    assert_int_equal(r.memory[0].time_step, 1);
    done_with(&a);
    a = ask_for(g, "zscl", PAIRS("reference", "past", "teacher", "initial"));
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_int_equal(r.request.hooks, 0); /* a teacher, and nothing to hold it to */
    plan_at(&a, UNEVEN, 5, 4, &r);
    assert_int_equal(r.request.teacher, PRN_TEACHER_INITIAL);
    assert_int_equal(r.request.memory_source_count, 3);
    assert_true(r.memory[0].time_step == 1 && r.memory[1].time_step == 2 && r.memory[2].time_step == 3);
    done_with(&a);
    a = ask_for(g, "zscl", PAIRS("reference", "stream", "teacher", "initial"));
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_int_equal(r.request.hooks, PRN_HOOK_TRAIN);
    assert_int_equal(r.request.teacher, PRN_TEACHER_INITIAL);
    assert_int_equal(r.request.memory_source_count, 1);
    assert_int_equal(r.memory[0].time_step, PRN_SOURCE_REFERENCE);
    done_with(&a);

    a = ask_for(g, "lwf", NULL);
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_int_equal(r.request.hooks, 0);
    assert_int_equal(r.request.teacher, PRN_TEACHER_NONE);
    plan_at(&a, UNEVEN, 5, 3, &r);
    assert_int_equal(r.request.hooks, PRN_HOOK_TRAIN);
    assert_int_equal(r.request.teacher, PRN_TEACHER_AFTER(2));
    done_with(&a);
    a = ask_for(g, "ewc", PAIRS("batches", "9"));
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_true(r.request.hooks == PRN_HOOK_FINISH && r.request.finish_gradient_batches == 9);
    plan_at(&a, UNEVEN, 5, 3, &r);
    assert_true(r.request.hooks == (PRN_HOOK_FINISH | PRN_HOOK_TRAIN) && r.request.finish_gradient_batches == 9);
    plan_at(&a, UNEVEN, 5, 5, &r);
    assert_true(r.request.hooks == PRN_HOOK_TRAIN && r.request.finish_gradient_batches == 0);
    done_with(&a);
    static const struct {
        const char *start;
        uint32_t step, from;
    } starts[] = {{"trained", 3, PRN_WEIGHTS_TRAINED}, {"merged", 3, PRN_WEIGHTS_DEPLOYED}, {"first", 1, PRN_WEIGHTS_TRAINED},
                  {"initial", PRN_START_RANDOM, PRN_WEIGHTS_TRAINED}};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        a = ask_for(g, "merge", PAIRS("start", starts[i].start, "deploy", i % 2 ? "trained" : "merged"));
        plan_at(&a, UNEVEN, 5, 4, &r);
        assert_int_equal(r.request.start_step, starts[i].step);
        assert_int_equal(r.request.start_from, starts[i].from);
        assert_int_equal(r.request.evaluate, i % 2 ? PRN_WEIGHTS_TRAINED : PRN_WEIGHTS_DEPLOYED);
        plan_at(&a, UNEVEN, 5, 1, &r);
        assert_int_equal(r.request.start_step, PRN_START_RANDOM);
        assert_int_equal(r.request.hooks, 0);
        done_with(&a);
    }
}

/* ---- costs ------------------------------------------------------------------------------------------------------------------------ */

static void test_costs(void **state)
{
    static const char manifest[] =
        "stream: costs\nsteps:\n"
        "  - { name: \"a\", train: { shards: \"a.tar\", samples: 40 }, evaluations: [ { name: held_out, kind: retrieval, shards: \"va.tar\", samples: 11 } ] }\n"
        "  - { name: \"b\", train: { shards: \"b.tar\", samples: 40 }, evaluations: [ { name: held_out, kind: retrieval, shards: \"vb.tar\", samples: 13 } ] }\n"
        "  - { name: \"c\", train: { shards: \"c.tar\", samples: 40 }, evaluations: [ { name: held_out, kind: retrieval, shards: \"vc.tar\", samples: 17 } ] }\n";
    const ground *g = *state;
    const prn__option_pair batches = {"batches", "3"}, memory[] = {{"memory_batch", "5"}, {"size", "2"}}, grid[] = {{"grid", "0.25,0.5,0.75,1"}, {"validation", "held_out"}};
    const prn__recipe_strategy strategies[] = {
        {.label = "sequential", .strategy = "sequential"},
        {.label = "lwf", .strategy = "lwf"},
        {.label = "ewc", .strategy = "ewc", .options = &batches, .option_count = 1},
        {.label = "agem", .strategy = "agem", .options = memory, .option_count = 2},
        {.label = "zscl", .strategy = "zscl", .options = memory, .option_count = 1},
        {.label = "patching", .strategy = "patching", .options = grid, .option_count = 2},
        {.label = "restart", .strategy = "restart"},
        {.label = "oracle", .strategy = "oracle"},
    };
    prn__arena arena;
    prn__recipe r;
    prn__plan *plan = NULL;
    prn__arena_init(&arena, 256);
    write_bytes(g, "stream.yaml", manifest, strlen(manifest));
    recipe_init(&r, &arena, g, "costs");
    r.strategies = strategies;
    r.strategy_count = sizeof strategies / sizeof strategies[0];
    MUST(prn__plan_create(&r, g->registry, &plan, error_));
    const double one = plan->image_macs + plan->text_macs, step = 6 * 8, forward = step * one;
    const double total = plan->lines[0].step_total_macs[0];
    const double each = total / step; /* of a sample: forward and backward */
    const prn__plan_line *l = plan->lines;
    static const double multiples[8] = {3, 3, 3, 3, 3, 3, 3, 6};
    assert_true(total > 2.5 * forward && total <= 3 * forward);
    for (int s = 0; s < 8; s++) { /* own data's forward pass is C a step, whatever a strategy adds */
        assert_true(fabs(l[s].forward_macs / forward - multiples[s]) < 1e-9);
    }
#define NEAR(x, y) assert_true(fabs((x) - (y)) <= 1e-9 * fabs(y))
    NEAR(l[0].total_macs, 3 * total);
    assert_true(l[0].teacher_macs == 0 && l[0].tuning_macs == 0);
    /* lwf: one more forward pass of each batch, but for the first step */
    assert_true(l[1].step_teacher_macs[0] == 0);
    NEAR(l[1].step_teacher_macs[1], forward);
    NEAR(l[1].teacher_macs, 2 * forward);
    NEAR(l[1].total_macs, 3 * total + 2 * forward);
    /* ewc: 3 gradients of batches of 8 after each step but the last */
    NEAR(l[2].step_tuning_macs[0], 3 * 8 * each);
    assert_true(l[2].step_tuning_macs[2] == 0);
    NEAR(l[2].tuning_macs, 2 * 3 * 8 * each);
    NEAR(l[2].total_macs, 3 * total + 2 * 3 * 8 * each);
    /* agem: 5 more samples with each of 6 updates, but for the first step */
    NEAR(l[3].total_macs, 3 * total + 2 * 6 * 5 * each);
    assert_true(l[3].teacher_macs == 0);
    /* zscl: the same, and at least these samples through the teacher, at most all */
    assert_true(l[4].teacher_macs >= 2 * 6 * 5 * one * (1 - 1e-9) && l[4].teacher_macs <= 2 * 6 * (5 + 8) * one * (1 + 1e-9));
    NEAR(l[4].total_macs, 3 * total + 2 * 6 * 5 * each + l[4].teacher_macs);
    /* patching: 4 candidates on the held-out sets of steps 1..t, after steps 2 and 3 */
    assert_true(l[5].step_tuning_macs[0] == 0);
    NEAR(l[5].step_tuning_macs[1], 4 * (11 + 13) * one);
    NEAR(l[5].step_tuning_macs[2], 4 * (11 + 13 + 17) * one);
    NEAR(l[5].total_macs, 3 * total + 4 * (11 + 13 + 11 + 13 + 17) * one);
    NEAR(l[6].total_macs, 3 * total);
    NEAR(l[7].total_macs, 6 * total);
#undef NEAR
    prn__plan_destroy(plan);
    prn__arena_fini(&arena);
}

/* ---- a stage of six values ---------------------------------------------------------------------------------------------------------- */

struct prn_vector {
    float x[ROOM];
};

typedef struct fake {
    prn_vectors vectors;
    prn_stage stage;
    prn_vector pool[8], weights, gradient, scratch;
    size_t pool_count;
    float trained[MOST_STEPS][ROOM], deployed[MOST_STEPS][ROOM]; /* [0]: what the time line began with */
    float kept[MOST_STEPS][ROOM];
    const float (*batches)[ROOM];
    int batches_drawn;
    float memory[ROOM];
    int memory_drawn;
    double scores[3][2]; /* [share 1/4, 1/2, 3/4 of what was trained][time step - 1] */
    int scored;
    char notes[MOST_NOTES][32];
    double noted[MOST_NOTES];
    size_t note_count;
    double tensors[MOST_TENSORS][ROOM];
    int32_t tensor_count;
    double loss;
} fake;

static prn_status create(void *self, prn_vector **vector, prn_error *error)
{
    fake *f = self;
    (void)error;
    assert_true(f->pool_count < 8);
    *vector = &f->pool[f->pool_count++];
    memset(*vector, 0, sizeof **vector);
    return PRN_OK;
}

static prn_status fill(void *self, prn_vector *y, double value, prn_error *error)
{
    (void)self;
    (void)error;
    for (int i = 0; i < VALUES; i++) {
        y->x[i] = (float)value;
    }
    return PRN_OK;
}

static prn_status axpby(void *self, prn_vector *y, double alpha, const prn_vector *a, double beta, const prn_vector *b, prn_error *error)
{
    (void)self;
    (void)error;
    for (int i = 0; i < ROOM; i++) {
        y->x[i] = (float)(alpha * (double)a->x[i] + (b != NULL ? beta * (double)b->x[i] : 0));
    }
    return PRN_OK;
}

static prn_status multiply(void *self, prn_vector *y, const prn_vector *a, const prn_vector *b, prn_error *error)
{
    (void)self;
    (void)error;
    for (int i = 0; i < ROOM; i++) {
        y->x[i] = a->x[i] * b->x[i];
    }
    return PRN_OK;
}

static prn_status dot(void *self, const prn_vector *a, const prn_vector *b, double *result, prn_error *error)
{
    (void)self;
    (void)error;
    *result = 0;
    for (int i = 0; i < ROOM; i++) {
        *result += (double)a->x[i] * (double)b->x[i];
    }
    return PRN_OK;
}

static prn_status read_vector(void *self, const prn_vector *vector, float *target, prn_error *error)
{
    (void)self;
    (void)error;
    memcpy(target, vector->x, sizeof vector->x);
    return PRN_OK;
}

static prn_status write_vector(void *self, prn_vector *vector, const float *source, prn_error *error)
{
    (void)self;
    (void)error;
    memcpy(vector->x, source, sizeof vector->x);
    return PRN_OK;
}

static prn_status load_weights(void *self, uint32_t after_step, uint32_t which, prn_vector *target, prn_error *error)
{
    fake *f = self;
    (void)error;
    assert_true(after_step < f->stage.time_step || (after_step == f->stage.time_step && which == PRN_WEIGHTS_TRAINED));
    memcpy(target->x, which == PRN_WEIGHTS_TRAINED || after_step == 0 ? f->trained[after_step] : f->deployed[after_step], sizeof target->x);
    return PRN_OK;
}

static prn_status keep(void *self, const char *name, const prn_vector *vector, prn_error *error)
{
    fake *f = self;
    (void)error;
    assert_string_equal(name, "fisher");
    memcpy(f->kept[f->stage.time_step], vector->x, sizeof vector->x);
    return PRN_OK;
}

static prn_status load_kept(void *self, uint32_t after_step, const char *name, prn_vector *target, prn_error *error)
{
    fake *f = self;
    (void)error;
    assert_string_equal(name, "fisher");
    assert_int_equal(after_step, f->stage.time_step - 1);
    memcpy(target->x, f->kept[after_step], sizeof target->x);
    return PRN_OK;
}

static prn_status data_gradient(void *self, prn_vector *target, double *loss, prn_error *error)
{
    fake *f = self;
    (void)error;
    memcpy(target->x, f->batches[f->batches_drawn++], sizeof target->x);
    *loss = 1;
    return PRN_OK;
}

static prn_status memory_gradient(void *self, prn_vector *target, double *loss, prn_error *error)
{
    fake *f = self;
    (void)error;
    f->memory_drawn++;
    memcpy(target->x, f->memory, sizeof target->x);
    *loss = 1;
    return PRN_OK;
}

/* The first value goes from 0 to 4 in training: it tells the share of what was trained. */
static prn_status score(void *self, const prn_vector *weights, uint32_t time_step, const char *set, double *value, prn_error *error)
{
    fake *f = self;
    (void)error;
    const int share = (int)weights->x[0];
    assert_string_equal(set, "held_out");
    assert_in_range(share, 1, 3);
    assert_true((float)share == weights->x[0]);
    assert_in_range(time_step, 1, 2);
    f->scored++;
    *value = f->scores[share - 1][time_step - 1];
    return PRN_OK;
}

static prn_status note(void *self, const char *name, double value, prn_error *error)
{
    fake *f = self;
    (void)error;
    assert_true(f->note_count < MOST_NOTES);
    (void)snprintf(f->notes[f->note_count], sizeof f->notes[0], "%s", name);
    f->noted[f->note_count++] = value;
    return PRN_OK;
}

static void fake_init(fake *f, uint32_t time_step)
{
    memset(f, 0, sizeof *f);
    f->vectors = (prn_vectors){.struct_size = sizeof f->vectors, .self = f, .elements = ROOM, .create = create, .fill = fill, .axpby = axpby,
                               .multiply = multiply, .dot = dot, .read = read_vector, .write = write_vector, .gap_elements = ROOM - VALUES};
    f->stage = (prn_stage){.struct_size = sizeof f->stage, .time_step = time_step, .self = f, .steps = 1, .vectors = &f->vectors, .weights = &f->weights,
                           .gradient = &f->gradient, .scratch = &f->scratch, .load_weights = load_weights, .keep = keep, .load_kept = load_kept,
                           .data_gradient = data_gradient, .memory_gradient = memory_gradient, .score = score, .note = note};
}

static void set(float *target, const float *values)
{
    memcpy(target, values, VALUES * sizeof *target);
}

static void is(const float *x, const float *wanted)
{
    for (int i = 0; i < ROOM; i++) {
        const float should = i < VALUES ? wanted[i] : 0;
        if (!(fabsf(x[i] - should) <= 1e-6f)) {
            fail_msg("value %d is %.9g, and should be %.9g", i, (double)x[i], (double)should);
        }
    }
}

#define ROW(...) ((const float[VALUES]){__VA_ARGS__})

static void finish(const ground *g, fake *f, const char *name, const char *const *pairs)
{
    asked a = ask_for(g, name, pairs);
    f->pool_count = 0;
    memcpy(f->weights.x, f->trained[f->stage.time_step], sizeof f->weights.x);
    MUST(a.table->finish(a.instance, &f->stage, error_));
    done_with(&a);
}

/* ---- merges --------------------------------------------------------------------------------------------------------------------------- */

/* w_1 = (1, 2, 3, 4, 5, 6); changes of steps 2 and 3 from it: (4, -3, 2, 1, -1/2, 1/4) and (-6, -2, 3, 5, 1/2, 1/4). */
static void two_changes(fake *f, uint32_t time_step)
{
    fake_init(f, time_step);
    set(f->trained[1], ROW(1, 2, 3, 4, 5, 6));
    set(f->deployed[1], ROW(1, 2, 3, 4, 5, 6));
    set(f->trained[2], ROW(5, -1, 5, 5, 4.5f, 6.25f));
    set(f->trained[3], ROW(-5, 0, 6, 9, 5.5f, 6.25f));
}

static void test_ties(void **state)
{
    static fake f;
    two_changes(&f, 2);
    finish(*state, &f, "merge", PAIRS("method", "ties", "start", "first", "density", "0.5", "scale", "0.5"));
    is(f.weights.x, ROW(1 + 2, 2 - 1.5f, 3 + 1, 4, 5, 6)); /* 4, -3, 2 stay */
    two_changes(&f, 3); /* of the second change -6, 3, 5 stay; sums -2, -3, 5, 5; means of those with the sum's sign -6, -3, 5/2, 5 */
    finish(*state, &f, "merge", PAIRS("method", "ties", "start", "first", "density", "0.5", "scale", "0.5"));
    is(f.weights.x, ROW(1 - 3, 2 - 1.5f, 3 + 1.25f, 4 + 2.5f, 5, 6));
    two_changes(&f, 3); /* everything stays; the fifth values cancel, and no sign wins */
    finish(*state, &f, "merge", PAIRS("method", "ties", "start", "first", "density", "1", "scale", "1"));
    is(f.weights.x, ROW(1 - 6, 2 - 2.5f, 3 + 2.5f, 4 + 3, 5, 6.25f));
    two_changes(&f, 3); /* a share that is no whole number is rounded up: 0.4 of 6 are 3, the gap counts for nothing */
    finish(*state, &f, "merge", PAIRS("method", "ties", "start", "first", "density", "0.4", "scale", "0.5"));
    is(f.weights.x, ROW(1 - 3, 2 - 1.5f, 3 + 1.25f, 4 + 2.5f, 5, 6));
    two_changes(&f, 3);
    finish(*state, &f, "merge", PAIRS("method", "ties", "start", "first", "density", "0", "scale", "1"));
    is(f.weights.x, ROW(1, 2, 3, 4, 5, 6));
}

static void test_task_arithmetic_and_averages(void **state)
{
    static fake f;
    two_changes(&f, 3);
    finish(*state, &f, "merge", PAIRS("method", "task_arithmetic", "start", "first", "scale", "0.5"));
    is(f.weights.x, ROW(1 - 1, 2 - 2.5f, 3 + 2.5f, 4 + 3, 5, 6.25f));
    two_changes(&f, 3); /* each change from the step before: they add up to w_3 - w_1 */
    finish(*state, &f, "merge", PAIRS("method", "task_arithmetic", "start", "trained", "scale", "1"));
    is(f.weights.x, ROW(-5, 0, 6, 9, 5.5f, 6.25f));
    two_changes(&f, 3); /* the second change is from what step 2 deployed */
    set(f.deployed[2], ROW(3, 0, 4, 5, 5, 6));
    finish(*state, &f, "merge", PAIRS("method", "task_arithmetic", "start", "merged", "scale", "1"));
    is(f.weights.x, ROW(1 + 4 - 8, 2 - 3 + 0, 3 + 2 + 2, 4 + 1 + 4, 5 - 0.5f + 0.5f, 6 + 0.25f + 0.25f));
    two_changes(&f, 3);
    set(f.deployed[2], ROW(3, 0, 4, 5, 5, 6));
    finish(*state, &f, "merge", PAIRS("method", "ema", "decay", "0.75"));
    is(f.weights.x, ROW(0.75f * 3 - 0.25f * 5, 0, 3 + 1.5f, 3.75f + 2.25f, 3.75f + 1.375f, 4.5f + 1.5625f));
}

/* base = "initial": the first step's change is one of those that are merged, w_0 = (1, 1, 1, 1, 1, 1) what they are added to. */
static void test_merges_of_changes_from_what_was_there_before(void **state)
{
    static fake f;
    const char *const *sum = PAIRS("method", "task_arithmetic", "start", "initial", "base", "initial", "scale", "0.5");
    const char *const *ties = PAIRS("method", "ties", "start", "initial", "base", "initial", "density", "0.5", "scale", "0.5");
    fake_init(&f, 1);
    set(f.trained[0], ROW(1, 1, 1, 1, 1, 1));
    set(f.trained[1], ROW(5, -1, 2, 1, 1, 1)); /* 4, -2, 1 */
    finish(*state, &f, "merge", sum);
    is(f.weights.x, ROW(1 + 2, 1 - 1, 1.5f, 1, 1, 1));
    fake_init(&f, 2);
    set(f.trained[0], ROW(1, 1, 1, 1, 1, 1));
    set(f.trained[1], ROW(5, -1, 2, 1, 1, 1));
    set(f.trained[2], ROW(-1, 5, 1, 1, 3, 1.5f)); /* -2, 4, 0, 0, 2, 1/2 */
    finish(*state, &f, "merge", sum);
    is(f.weights.x, ROW(1 + 1, 1 + 1, 1.5f, 1, 2, 1.25f));
    finish(*state, &f, "merge", ties); /* 4, -2, 1 and -2, 4, 2 stay; the signs are +, +, +, 0, + */
    is(f.weights.x, ROW(1 + 2, 1 + 2, 1.5f, 1, 2, 1));

    answer r;
    asked a = ask_for(*state, "merge", sum);
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_true(r.request.hooks == PRN_HOOK_FINISH && r.request.start_step == PRN_START_RANDOM);
    done_with(&a);
    a = ask_for(*state, "merge", PAIRS("method", "ema", "base", "initial")); /* an average of steps: nothing to average at the first */
    plan_at(&a, UNEVEN, 5, 1, &r);
    assert_int_equal(r.request.hooks, 0);
    done_with(&a);
}

/* ---- A-GEM ------------------------------------------------------------------------------------------------------------------------------ */

static void project(const ground *g, const float *gradient, const float *memory, const float *wanted)
{
    static fake f;
    asked a = ask_for(g, "agem", NULL);
    fake_init(&f, 2);
    set(f.gradient.x, gradient);
    set(f.memory, memory);
    MUST(a.table->change_gradient(a.instance, &f.stage, error_));
    is(f.gradient.x, wanted);
    assert_int_equal(f.memory_drawn, 1);
    done_with(&a);
}

static void test_projection(void **state)
{
    const float *g = ROW(1, 2, 0, -1, 0, 1);
    project(*state, g, ROW(-2, 0, 1, 1, 0, 0), ROW(0, 2, 0.5f, -0.5f, 0, 1)); /* g.r = -3, r.r = 6: g + r / 2, which is at right angles to r */
    project(*state, g, ROW(2, 0, 1, 1, 0, 0), g);                            /* g.r = 1 */
    project(*state, g, ROW(1, 0, 1, 1, 0, 0), g);                            /* g.r = 0 */
    project(*state, g, ROW(0, 0, 0, 0, 0, 0), g);
    project(*state, g, ROW(-1, -2, 0, 1, 0, -1), ROW(0, 0, 0, 0, 0, 0));     /* the opposite: nothing is left */
}

/* ---- patching --------------------------------------------------------------------------------------------------------------------------- */

static void patch(const ground *g, fake *f, const char *const *pairs, const double scores[3][2])
{
    fake_init(f, 2);
    set(f->deployed[1], ROW(0, 1, 2, 3, 4, 5));
    set(f->trained[2], ROW(4, 5, 2, 1, 0, 9));
    for (int i = 0; i < 3; i++) {
        memcpy(f->scores[i], scores[i], sizeof f->scores[i]);
    }
    finish(g, f, "patching", pairs);
}

static void test_patching(void **state)
{
    static fake f;
    static const double middle[3][2] = {{0.8, 0.2}, {0.7, 0.7}, {0.2, 0.9}}, last[3][2] = {{0.1, 0.3}, {0.3, 0.3}, {0.2, 0.5}},
                        equal[3][2] = {{0.5, 0.5}, {0.25, 0.75}, {0.75, 0.25}}, zero[3][2] = {{0, 0}, {0, 0}, {0, 0}};
    const char *const *grid = PAIRS("grid", "0.25,0.5,0.75", "validation", "held_out");
    patch(*state, &f, PAIRS("a", "0.25"), zero);
    is(f.weights.x, ROW(1, 2, 2, 2.5f, 3, 6));
    assert_int_equal(f.scored, 0);
    assert_int_equal(f.note_count, 1);
    assert_string_equal(f.notes[0], "a");
    assert_true(f.noted[0] == 0.25);
    patch(*state, &f, grid, middle); /* means 0.5, 0.7, 0.55 */
    is(f.weights.x, ROW(2, 3, 2, 2, 2, 7));
    assert_int_equal(f.scored, 6);
    assert_int_equal(f.note_count, 2);
    assert_string_equal(f.notes[0], "validation_score");
    assert_true(fabs(f.noted[0] - 0.7) < 1e-12);
    assert_string_equal(f.notes[1], "a");
    assert_true(f.noted[1] == 0.5);
    patch(*state, &f, grid, last); /* 0.2, 0.3, 0.35 */
    is(f.weights.x, ROW(3, 4, 2, 1.5f, 1, 8));
    patch(*state, &f, grid, equal); /* the first of equals */
    is(f.weights.x, ROW(1, 2, 2, 2.5f, 3, 6));
    patch(*state, &f, grid, zero);
    is(f.weights.x, ROW(1, 2, 2, 2.5f, 3, 6));
    assert_true(f.noted[1] == 0.25 && f.noted[0] == 0);
}

/* ---- EWC ---------------------------------------------------------------------------------------------------------------------------------- */

static int32_t put(fake *f, const double *values)
{
    assert_true(f->tensor_count < MOST_TENSORS);
    memcpy(f->tensors[f->tensor_count], values, sizeof f->tensors[0]);
    return f->tensor_count++;
}

static int32_t operation(void *self, prn_op_kind kind, const int32_t *inputs, uint32_t input_count, const prn_op_attrs *attrs)
{
    fake *f = self;
    double y[ROOM] = {0};
    assert_int_equal(input_count, 2);
    const double *a = f->tensors[inputs[0]], *b = f->tensors[inputs[1]];
    for (int i = 0; i < ROOM; i++) {
        switch ((int)kind) {
        case PRN_OP_AXPBY: y[i] = attrs->alpha * a[i] + attrs->beta * b[i]; break;
        case PRN_OP_MULTIPLY: y[i] = a[i] * b[i]; break;
        case PRN_OP_DOT: y[0] += a[i] * b[i]; break;
        default: fail_msg("an operation that no penalty here has (%d)", (int)kind);
        }
    }
    return put(f, y);
}

static int32_t as_tensor(void *self, const prn_vector *vector)
{
    double values[ROOM];
    for (int i = 0; i < ROOM; i++) {
        values[i] = (double)vector->x[i];
    }
    return put(self, values);
}

static void add(void *self, int32_t term, double weight)
{
    fake *f = self;
    f->loss += weight * f->tensors[term][0];
}

static void test_fisher_information_and_its_penalty(void **state)
{
    static const float batches[2][ROOM] = {{1, 2, 0, -1, 0.5f, 3}, {-1, 0, 2, 3, 0.5f, 1}};
    static fake f;
    fake_init(&f, 1);
    f.batches = batches;
    set(f.trained[1], ROW(1, 1, 1, 1, 1, 1));
    finish(*state, &f, "ewc", PAIRS("batches", "2"));
    is(f.kept[1], ROW(1, 2, 2, 5, 0.25f, 5)); /* means of squares */
    is(f.weights.x, ROW(1, 1, 1, 1, 1, 1));
    assert_int_equal(f.batches_drawn, 2);
    fake_init(&f, 2);
    f.batches = batches;
    set(f.kept[1], ROW(4, 0, 2, 0, 8, 1));
    finish(*state, &f, "ewc", PAIRS("batches", "2", "decay", "0.5"));
    is(f.kept[2], ROW(3, 2, 3, 5, 4.25f, 5.5f));

    fake_init(&f, 3);
    set(f.kept[2], ROW(3, 2, 3, 5, 4.25f, 5.5f));
    set(f.trained[2], ROW(1, 2, 3, 4, 5, 6));
    set(f.deployed[2], ROW(1, 2, 3, 4, 5, 6));
    const double now[ROOM] = {2, 0, 3, 4.5, 5, 5};
    asked a = ask_for(*state, "ewc", PAIRS("weight", "10"));
    const prn_composer composer = {.struct_size = sizeof composer, .self = &f, .logits = PRN_NO_TENSOR, .rows = PRN_NO_TENSOR, .columns = PRN_NO_TENSOR,
                                   .log_scale = PRN_NO_TENSOR, .teacher_logits = PRN_NO_TENSOR, .teacher_rows = PRN_NO_TENSOR,
                                   .teacher_columns = PRN_NO_TENSOR, .teacher_log_scale = PRN_NO_TENSOR, .weights = put(&f, now), .operation = operation,
                                   .vector = as_tensor, .add = add};
    MUST(a.table->compose_penalty(a.instance, &f.stage, &composer, error_));
    assert_true(fabs(f.loss - 10.0 / 2 * (3 * 1 + 2 * 4 + 0 + 5 * 0.25 + 0 + 5.5 * 1)) < 1e-12);
    done_with(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_buffer_of_90_samples_holds),
        cmocka_unit_test(test_shares_that_halve_with_age),
        cmocka_unit_test(test_a_buffer_in_steps_worth_forgets_for_good),
        cmocka_unit_test(test_no_buffer_outgrows_its_size_and_no_share_grows),
        cmocka_unit_test(test_shares_of_a_batch),
        cmocka_unit_test(test_a_boundless_buffer),
        cmocka_unit_test(test_memories_and_teachers),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_task_arithmetic_and_averages),
        cmocka_unit_test(test_merges_of_changes_from_what_was_there_before),
        cmocka_unit_test(test_projection),
        cmocka_unit_test(test_patching),
        cmocka_unit_test(test_fisher_information_and_its_penalty),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
