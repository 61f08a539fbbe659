/* Schedules against numbers worked out by hand; branches, budgets and storage in plans; a run with branches. */
#include "run/execute_support.h"

#include "run/schedule.h"

static int setup(void **state)
{
    static ground g;
    ground_open(&g, 2);
    make_stream(&g);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    ground_close(*state);
    return 0;
}

static const prn__schedule_place FRESH = {.time_step = 1, .is_fresh = 1, .steps = 8};

static double rate_at(const prn__schedule *schedule, prn__schedule_place place, int64_t step)
{
    prn_error error = PRN_ERROR_INIT;
    double rate = -1;
    assert_int_equal(prn__schedule_rate(schedule, &place, step, &rate, &error), PRN_OK);
    return rate;
}

static void assert_rates(const prn__schedule *schedule, prn__schedule_place place, const double *wanted, int count)
{
    for (int i = 0; i < count; i++) {
        double rate = rate_at(schedule, place, i);
        if (fabs(rate - wanted[i]) > 1e-8 * (1 + wanted[i])) {
            fail_msg("p.%s at update %d: %.12g, wanted %.12g", prn__schedule_name(schedule->kind), i, rate, wanted[i]);
        }
    }
}

#define ASSERT_RATES(schedule, place, ...) assert_rates(schedule, place, (const double[]){__VA_ARGS__}, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)))

/* ---- formulas --------------------------------------------------------------------------------------------------------------- */

static void test_constant_linear_cosine(void **state)
{
    (void)state;
    prn__schedule s = {.kind = PRN__SCHEDULE_CONSTANT, .peak = 2, .warmup_steps = 4, .later_warmup_steps = 1};
    ASSERT_RATES(&s, FRESH, 0.5, 1, 1.5, 2, 2, 2, 2, 2);
    s.later_warmup_steps = 2;
    ASSERT_RATES(&s, ((prn__schedule_place){.time_step = 2, .before = 8, .steps = 4}), 1, 2, 2, 2);
    s = (prn__schedule){.kind = PRN__SCHEDULE_LINEAR, .peak = 2, .final = 0.5, .warmup_steps = 2};
    ASSERT_RATES(&s, ((prn__schedule_place){.time_step = 1, .is_fresh = 1, .steps = 6}), 1, 2, 2, 1.625, 1.25, 0.875);
    ASSERT_RATES(&s, ((prn__schedule_place){.time_step = 2, .before = 6, .steps = 6}), 2, 1.75, 1.5, 1.25, 1, 0.75);
    s.kind = PRN__SCHEDULE_COSINE; /* 0.5 + 0.75 (1 + cos(k pi / 4)) */
    ASSERT_RATES(&s, ((prn__schedule_place){.time_step = 1, .is_fresh = 1, .steps = 6}), 1, 2, 2, 1.7803300859, 1.25, 0.7196699141);
}

static void test_warmup_stable_decay(void **state)
{
    (void)state;
    prn__schedule s = {.kind = PRN__SCHEDULE_WARMUP_STABLE_DECAY, .peak = 4, .decay = 0.5, .warmup_steps = 2};
    ASSERT_RATES(&s, FRESH, 2, 4, 4, 4, 4, 3, 2, 1);
    s.shape = PRN__SHAPE_ONE_MINUS_SQRT; /* 4 (1 - sqrt(k / 4)) */
    ASSERT_RATES(&s, FRESH, 2, 4, 4, 4, 4, 2, 1.1715728753, 0.5358983849);
    s.decay = 0.25; /* two updates of eight */
    s.final = 2;
    ASSERT_RATES(&s, FRESH, 2, 4, 4, 4, 4, 4, 4, 2.5857864376);
    s.decay = 1;
    s.shape = PRN__SHAPE_LINEAR;
    s.warmup_steps = 0;
    s.final = 0;
    ASSERT_RATES(&s, FRESH, 4, 3.5, 3, 2.5, 2, 1.5, 1, 0.5);
}

static void test_inverse_sqrt(void **state)
{
    (void)state;
    const prn__schedule s = {.kind = PRN__SCHEDULE_INVERSE_SQRT, .peak = 3, .offset = 4, .warmup_steps = 4};
    ASSERT_RATES(&s, FRESH, 0.75, 1.5, 2.25, 3, 3, 2.683281573, 2.4494897428);
    prn__schedule_place place = FRESH;
    place.steps = 100; /* with the warm-up as offset: peak sqrt(warmup / update), as it was published */
    assert_true(fabs(rate_at(&s, place, 16) - 1.5) < 1e-12);
    assert_true(fabs(rate_at(&s, place, 36) - 1.0) < 1e-12);
}

static void test_infinite(void **state)
{
    (void)state;
    prn__schedule s = {.kind = PRN__SCHEDULE_INFINITE, .peak = 4, .constant = 1, .warmup_steps = 2, .cooldown_steps = 4,
                       .cooldown_shape = PRN__SHAPE_COSINE, .branch = 0.25};
    /* the cooldown: 1 + 1.5 (1 + cos(k pi / 4)) */
    ASSERT_RATES(&s, FRESH, 2, 4, 4, 3.5606601718, 2.5, 1.4393398282, 1, 1);
    prn__schedule_place later = {.time_step = 2, .before = 4, .steps = 4}; /* goes on where the first step stopped */
    ASSERT_RATES(&s, later, 2.5, 1.4393398282, 1, 1);
    later.before = 1;
    ASSERT_RATES(&s, later, 4, 4, 3.5606601718, 2.5);
    later.before = 1000000;
    ASSERT_RATES(&s, later, 1, 1, 1, 1);
    s.later_warmup_steps = 4;
    ASSERT_RATES(&s, later, 0.25, 0.5, 0.75, 1);
    /* branches: from the constant, or from where the cooldown is */
    prn__schedule_place branch = {.time_step = 1, .is_fresh = 1, .steps = 8, .branch_steps = 4};
    ASSERT_RATES(&s, branch, 1, 0.75, 0.5, 0.25);
    branch.steps = 4;
    ASSERT_RATES(&s, branch, 2.5, 1.875, 1.25, 0.625);
    branch.steps = 8;
    s.final = 0.0625;
    s.shape = PRN__SHAPE_EXPONENTIAL;
    ASSERT_RATES(&s, branch, 1, 0.5, 0.25, 0.125);
    s.cooldown_shape = PRN__SHAPE_LINEAR;
    ASSERT_RATES(&s, FRESH, 2, 4, 4, 3.25, 2.5, 1.75, 1, 1);
    s.cooldown_shape = PRN__SHAPE_EXPONENTIAL;
    ASSERT_RATES(&s, FRESH, 2, 4, 4, 2.8284271247, 2, 1.4142135624, 1, 1);
    s.cooldown_shape = PRN__SHAPE_ONE_MINUS_SQRT;
    ASSERT_RATES(&s, FRESH, 2, 4, 4, 2.5, 1.8786796564, 1.4019237886, 1, 1);
}

static void test_trunk(void **state)
{
    (void)state;
    const double peaks[] = {4, 2};
    const prn__schedule s = {.kind = PRN__SCHEDULE_TRUNK, .peak = 4, .peaks = peaks, .peak_count = 2, .final = 0.5, .warmup_steps = 2, .branch = 0.5,
                             .shape = PRN__SHAPE_COSINE};
    ASSERT_RATES(&s, FRESH, 2, 4, 4, 4, 4, 4, 4, 4);
    ASSERT_RATES(&s, ((prn__schedule_place){.time_step = 1, .is_fresh = 1, .steps = 8, .branch_steps = 2}), 4, 2.25);
    ASSERT_RATES(&s, ((prn__schedule_place){.time_step = 2, .before = 8, .steps = 4, .branch_steps = 2}), 2, 1.25);
    ASSERT_RATES(&s, ((prn__schedule_place){.time_step = 3, .before = 12, .steps = 4}), 2, 2, 2, 2); /* the last peak holds */
}

static void test_peaks_of_time_steps(void **state)
{
    (void)state;
    const double peaks[] = {8, 4, 2};
    const prn__schedule s = {.kind = PRN__SCHEDULE_LINEAR, .peak = 8, .peaks = peaks, .peak_count = 3, .warmup_steps = 2, .later_warmup_steps = 1};
    const double highest[] = {8, 4, 2, 2, 2};
    for (uint32_t t = 1; t <= 5; t++) {
        assert_true(prn__schedule_peak(&s, t) == highest[t - 1]);
        assert_true(rate_at(&s, (prn__schedule_place){.time_step = t, .before = 4, .steps = 4}, 0) == highest[t - 1]);
        assert_true(rate_at(&s, (prn__schedule_place){.time_step = t, .is_fresh = 1, .steps = 4}, 0) == highest[t - 1] / 2);
    }
}

static void test_autoregressive_cosine(void **state)
{
    (void)state;
    prn__schedule s = {.kind = PRN__SCHEDULE_AUTOREGRESSIVE_COSINE, .peak = 3e-4, .final = 3e-5};
    /* equal steps: one cosine over t steps at (t - 1) / t of its way: 3e-5 + 1.35e-4 (1 + cos(pi (t - 1) / t)) */
    const double peaks[] = {3e-4, 1.65e-4, 9.75e-5, 6.95405845398e-5, 5.57827057595e-5};
    for (uint32_t t = 1; t <= 5; t++) {
        prn__schedule_place place = {.time_step = t, .is_fresh = t == 1, .before = 100 * (t - 1), .steps = 100};
        double rate = rate_at(&s, place, 0);
        if (fabs(rate - peaks[t - 1]) > 1e-13) {
            fail_msg("peak of step %u: %.12g, wanted %.12g", t, rate, peaks[t - 1]);
        }
        assert_true(fabs(rate_at(&s, place, 50) - (peaks[t - 1] + 3e-5) / 2) < 1e-13); /* half way down to the same end */
    }
    /* unequal ones: 100 updates before 300 are a quarter of the way */
    assert_true(fabs(rate_at(&s, (prn__schedule_place){.time_step = 2, .before = 100, .steps = 300}, 0) - 2.6045941546e-4) < 1e-13);
    assert_true(rate_at(&s, (prn__schedule_place){.time_step = 4, .is_fresh = 1, .steps = 100}, 0) == 3e-4); /* an oracle starts at the top */
    s.later_warmup_steps = 10;
    assert_true(fabs(rate_at(&s, (prn__schedule_place){.time_step = 2, .before = 100, .steps = 100}, 4) - 0.825e-4) < 1e-13);
}

static void test_splits(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__schedule s = {.kind = PRN__SCHEDULE_TRUNK, .branch = 0.2};
    static const struct {
        int64_t steps;
        double share;
        int64_t trunk, branch;
    } cases[] = {{10, 0.2, 8, 2}, {10, 0.3, 7, 3}, {9, 0.5, 5, 4}, {5, 0.1, 4, 1}, {2, 0.5, 1, 1}, {1000000, 0.1, 900000, 100000}};
    int64_t trunk, branch;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        s.branch = cases[i].share;
        assert_int_equal(prn__schedule_split(&s, cases[i].steps, &trunk, &branch, &error), PRN_OK);
        assert_int_equal(trunk, cases[i].trunk);
        assert_int_equal(branch, cases[i].branch);
    }
    assert_int_not_equal(prn__schedule_split(&s, 1, &trunk, &branch, &error), PRN_OK);
    assert_message(&error, "1 update cannot be parted");
    s.kind = PRN__SCHEDULE_COSINE;
    assert_int_equal(prn__schedule_split(&s, 1, &trunk, &branch, &error), PRN_OK);
    assert_true(trunk == 1 && branch == 0);
}

/* ---- plans --------------------------------------------------------------------------------------------------------------------- */

static prn__plan *make(const ground *g, const prn__recipe *recipe)
{
    prn__plan *plan = NULL;
    MUST(prn__plan_create(recipe, g->registry, &plan, error_));
    return plan;
}

static void refused(const ground *g, const prn__recipe *recipe, const char *first, const char *second)
{
    prn_error error = PRN_ERROR_INIT;
    prn__plan *plan = NULL;
    int64_t before = prn__alloc_live();
    assert_int_not_equal(prn__plan_create(recipe, g->registry, &plan, &error), PRN_OK);
    assert_null(plan);
    assert_message(&error, first);
    assert_message(&error, second);
    assert_int_equal(prn__alloc_live(), before);
}

static const prn__option_pair TRAINED[] = {{"start", "trained"}}, MERGED[] = {{"start", "merged"}};
static const prn__option_pair HELD[] = {{"size", "10"}, {"unit", "samples"}, {"rule", "recent"}};
static const prn__recipe_strategy BRANCHED[] = {
    {.label = "sequential", .strategy = "sequential", .line = 1},
    {.label = "lwf", .strategy = "lwf", .line = 2},
    {.label = "merge", .strategy = "merge", .options = TRAINED, .option_count = 1, .line = 3},
    {.label = "oracle", .strategy = "oracle", .line = 4},
};

static void test_a_plan_with_branches(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "branches");
    r.strategies = BRANCHED;
    r.strategy_count = 4;
    prn__plan *plain = make(g, &r);
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_TRUNK, .peak = 1e-3, .branch = 0.34, .shape = PRN__SHAPE_COSINE};
    prn__plan *plan = make(g, &r);
    for (size_t s = 0; s < 4; s++) {
        const prn__plan_line *line = &plan->lines[s];
        for (uint32_t t = 0; t < 3; t++) {
            const prn__stage *trunk = &plan->stages[line->trunk[t]], *branch = &plan->stages[line->trained[t]];
            const int is_oracle = s == 3;
            const int64_t steps = is_oracle ? 6 * (t + 1) : 6, of_branch = (int64_t)((double)steps * 0.34);
            assert_int_not_equal(line->trunk[t], line->trained[t]);
            assert_int_equal(branch->parent, line->trunk[t]);
            assert_int_equal(trunk->parent, t == 0 || is_oracle ? -1 : line->trunk[t - 1]);
            assert_int_equal(trunk->steps, steps - of_branch);
            assert_int_equal(branch->steps, of_branch);
            assert_int_equal(branch->data_step, trunk->steps);
            assert_int_equal(trunk->data_step, 0);
            assert_int_equal(trunk->updates_before, is_oracle ? 0 : 4 * t);
            assert_int_equal(branch->updates_before, trunk->updates_before + trunk->steps);
            assert_true(branch->is_branch && branch->keep_optimizer && !trunk->is_branch && !trunk->keep_optimizer);
            assert_true(!trunk->is_scored && plan->stages[line->stages[t]].is_scored);
            assert_int_equal(line->stages[t], line->deployed[t]);
            assert_true(trunk->rates[0] == 1e-3f && trunk->rates[trunk->steps - 1] == 1e-3f);
            assert_true(branch->rates[0] == 1e-3f && branch->rates[of_branch - 1] < 1e-3f);
            assert_int_equal(branch->hooks, trunk->hooks);
            assert_int_equal(branch->teacher, trunk->teacher);
            if (s == 2 && t > 0) { /* it finishes the branch's weights; the trunk goes on untouched */
                const prn__stage *finish = &plan->stages[line->deployed[t]];
                assert_int_equal(finish->hooks, PRN_HOOK_FINISH);
                assert_int_equal(finish->parent, line->trained[t]);
            } else {
                assert_int_equal(line->deployed[t], line->trained[t]);
            }
            assert_int_equal(line->step_updates[t], steps);
            /* the same budget as without a branch */
            assert_true(fabs(line->step_forward_macs[t] / plain->lines[s].step_forward_macs[t] - 1) < 1e-12);
            assert_true(fabs(line->step_total_macs[t] / plain->lines[s].step_total_macs[t] - 1) < 1e-12);
            assert_int_equal(line->step_samples[t], plain->lines[s].step_samples[t]);
        }
    }
    assert_int_equal(plan->lines[0].trunk[0], plan->lines[3].trunk[0]); /* shared, as stages are */
    assert_int_equal(plan->stages[plan->lines[1].trained[1]].teacher, PRN_TEACHER_AFTER(1));
    prn__plan_destroy(plan);
    /* how the branch falls is none of the trunk's business */
    char key[33];
    plan = make(g, &r);
    memcpy(key, plan->stages[plan->lines[0].trunk[0]].key, 33);
    r.schedule.shape = PRN__SHAPE_ONE_MINUS_SQRT;
    prn__plan *other = make(g, &r);
    assert_string_equal(other->stages[other->lines[0].trunk[0]].key, key);
    assert_string_not_equal(other->stages[other->lines[0].trained[0]].key, plan->stages[plan->lines[0].trained[0]].key);
    prn__plan_destroy(other);
    prn__plan_destroy(plan);
    prn__plan_destroy(plain);
    prn__arena_fini(&memory);
}

static void test_an_infinite_plan(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "infinite");
    r.strategy_count = 1;
    r.budget = 8;
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_INFINITE, .peak = 4, .constant = 1, .warmup_steps = 2, .cooldown_steps = 6,
                                 .cooldown_shape = PRN__SHAPE_LINEAR, .branch = 0.25};
    prn__plan *plan = make(g, &r);
    const prn__plan_line *line = &plan->lines[0];
    static const float trunk[3][6] = {{2, 4, 4, 3.5f, 3, 2.5f}, {2, 1.5f, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}};
    static const float branch[3][2] = {{2, 1}, {1, 0.5f}, {1, 0.5f}};
    for (int t = 0; t < 3; t++) {
        assert_int_equal(plan->stages[line->trunk[t]].steps, 6);
        assert_int_equal(plan->stages[line->trained[t]].steps, 2);
        for (int k = 0; k < 6; k++) {
            assert_true(fabsf(plan->stages[line->trunk[t]].rates[k] - trunk[t][k]) < 1e-6f);
        }
        for (int k = 0; k < 2; k++) {
            assert_true(fabsf(plan->stages[line->trained[t]].rates[k] - branch[t][k]) < 1e-6f);
        }
    }
    prn__plan_destroy(plan);
    r.budget = 1;
    refused(g, &r, "cannot be parted into a trunk and a branch", "sequential");
    prn__arena_fini(&memory);
}

/* Strategies that start from what they deployed: trunks go on from finished trunks, and finished branches are what is scored. */
static void test_a_plan_whose_trunks_are_finished(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "finished");
    static const prn__option_pair chosen[] = {{"grid", "0,0.5,1"}, {"validation", "retrieval"}};
    const prn__recipe_strategy all[] = {
        {.label = "sequential", .strategy = "sequential"},
        {.label = "patching", .strategy = "patching", .options = chosen, .option_count = 2},
        {.label = "merged", .strategy = "merge", .options = MERGED, .option_count = 1},
        {.label = "trained", .strategy = "merge", .options = TRAINED, .option_count = 1},
        {.label = "ewc", .strategy = "ewc"},
    };
    r.strategies = all;
    r.strategy_count = 5;
    prn__plan *plain = make(g, &r);
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_TRUNK, .peak = 1e-3, .branch = 0.34, .shape = PRN__SHAPE_COSINE};
    prn__plan *plan = make(g, &r);
    for (size_t l = 0; l < 5; l++) {
        const prn__plan_line *line = &plan->lines[l];
        const int is_twofold = l == 1 || l == 2; /* start from what they deployed */
        for (uint32_t t = 0; t < 3; t++) {
            const prn__stage *trunk = &plan->stages[line->trunk[t]], *branch = &plan->stages[line->trained[t]], *deployed = &plan->stages[line->deployed[t]];
            const int finishes = deployed != branch;
            assert_int_equal(branch->parent, line->trunk[t]); /* a branch begins where training is, not where it was mixed */
            assert_true(branch->is_branch && branch->keep_optimizer);
            assert_int_equal(finishes, l == 0 ? 0 : l == 4 ? t < 2 : t > 0);
            assert_int_equal(line->stages[t], line->deployed[t]);
            if (!is_twofold || t == 2) { /* the last step is gone on from by nobody */
                assert_int_equal(line->trunk_deployed[t], -1);
            } else if (!finishes) {
                assert_int_equal(line->trunk_deployed[t], line->trunk[t]);
            } else {
                const prn__stage *finished = &plan->stages[line->trunk_deployed[t]];
                assert_true(finished->of_trunk && !deployed->of_trunk && finished->hooks == PRN_HOOK_FINISH && !finished->is_scored);
                assert_int_equal(finished->parent, line->trunk[t]);
                assert_int_equal(finished->time_step, t + 1);
                assert_int_equal(finished->updates_before, trunk->updates_before + trunk->steps);
                assert_int_equal(finished->finish_scores, deployed->finish_scores);
                assert_true(finished->tuning_macs == deployed->tuning_macs);
                assert_string_not_equal(finished->key, deployed->key);
            }
            assert_int_equal(trunk->parent, t == 0 ? -1 : is_twofold ? line->trunk_deployed[t - 1] : line->trunk[t - 1]);
            assert_int_equal(trunk->updates_before, 4 * t);
            /* training costs what it costs without a branch, and finishing twice costs twice */
            const int times = is_twofold && t == 1 ? 2 : 1;
            assert_true(fabs(line->step_forward_macs[t] / plain->lines[l].step_forward_macs[t] - 1) < 1e-12);
            assert_true(fabs(line->step_tuning_macs[t] - times * plain->lines[l].step_tuning_macs[t]) <= 1e-12 * line->step_tuning_macs[t]);
            assert_int_equal(line->step_updates[t], 6);
        }
    }
    assert_int_equal(plan->stages[plan->lines[1].trunk_deployed[1]].finish_scores, 3);
    assert_true(plan->lines[4].step_tuning_macs[1] > 0 && plan->lines[4].step_tuning_macs[2] == 0);
    /* 3 trunks and 3 branches each, with 2 finished branches, and a finished trunk where that is gone on from */
    const double stage = 4 * (double)plan->model->elements + 8 * (double)plan->model->flat_elements;
    assert_true(plan->lines[0].checkpoint_bytes == 6 * stage && plan->lines[1].checkpoint_bytes == 9 * stage && plan->lines[3].checkpoint_bytes == 8 * stage);
    assert_true(plan->lines[4].kept_bytes == 2 * 4 * (double)plan->model->flat_elements);
    assert_true(plan->lines[4].checkpoint_bytes == 8 * stage + plan->lines[4].kept_bytes);
    prn__plan_destroy(plan);
    prn__plan_destroy(plain);
    prn__arena_fini(&memory);
}

static void test_autoregressive_peaks_in_a_plan(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "regress");
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_AUTOREGRESSIVE_COSINE, .peak = 3e-4, .final = 3e-5};
    prn__plan *plan = make(g, &r);
    const float peaks[] = {3e-4f, 1.65e-4f, 9.75e-5f};
    for (int t = 0; t < 3; t++) {
        assert_true(fabsf(plan->stages[plan->lines[0].stages[t]].rates[0] - peaks[t]) < 1e-10f);
        assert_true(plan->stages[plan->lines[2].stages[t]].rates[0] == 3e-4f); /* the oracle starts anew */
    }
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

/* ---- budgets --------------------------------------------------------------------------------------------------------------------- */

static void test_budgets_in_epochs(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "epochs");
    const prn__recipe_strategy strategies[] = {
        {.label = "sequential", .strategy = "sequential"},
        {.label = "cumulative", .strategy = "cumulative"},
        {.label = "oracle", .strategy = "oracle"},
        {.label = "replay", .strategy = "replay", .options = HELD, .option_count = 3},
    };
    r.strategies = strategies;
    r.strategy_count = 4;
    r.budget = 0;
    r.budget_unit = PRN__BUDGET_EPOCHS;
    r.budget_amount = 1; /* 40 samples a time step, 8 a batch */
    prn__plan *plan = make(g, &r);
    static const int64_t once[4][3] = {{5, 5, 5}, {5, 10, 15}, {5, 20, 45}, {5, 6, 6}}; /* oracle: t epochs of t steps; replay: 40 + 10 samples */
    for (int s = 0; s < 4; s++) {
        for (int t = 0; t < 3; t++) {
            assert_int_equal(plan->stages[plan->lines[s].stages[t]].steps, once[s][t]);
        }
    }
    prn__plan_destroy(plan);
    r.budget_amount = 1.5; /* 7.5 batches: rounded down */
    plan = make(g, &r);
    assert_int_equal(plan->stages[0].steps, 7);
    assert_int_equal(plan->stages[plan->lines[1].stages[1]].steps, 15);
    prn__plan_destroy(plan);
    r.budget_amount = 0.1;
    refused(g, &r, "4 samples", "one batch");
    r.budget_amount = 1e15;
    refused(g, &r, "optimizer steps", "sequential");
    prn__arena_fini(&memory);
}

static void test_budgets_in_macs(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "macs");
    prn__plan *plan = make(g, &r);
    const double update = plan->stages[0].forward_macs / 6, whole = plan->stages[0].forward_macs;
    prn__plan_destroy(plan);
    r.budget = 0;
    r.budget_unit = PRN__BUDGET_MACS;
    r.budget_amount = whole; /* exactly six updates, and not five by rounding */
    plan = make(g, &r);
    assert_int_equal(plan->stages[0].steps, 6);
    assert_int_equal(plan->stages[plan->lines[2].stages[2]].steps, 18);
    prn__plan_destroy(plan);
    r.budget_amount = 6.99 * update;
    plan = make(g, &r);
    assert_int_equal(plan->stages[0].steps, 6);
    assert_int_equal(plan->stages[plan->lines[2].stages[1]].steps, 13);
    assert_true(plan->stages[0].forward_macs <= r.budget_amount);
    prn__plan_destroy(plan);
    r.budget_amount = 0.99 * update;
    refused(g, &r, "one batch", "sequential");
    r.budget_amount = 1e30;
    refused(g, &r, "optimizer steps", "sequential");
    prn__arena_fini(&memory);
}

/* ---- what is kept ---------------------------------------------------------------------------------------------------------------- */

static void test_costs_and_storage(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    struct stat shard;
    const prn__option_pair few = {"memory_batch", "4"};
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "storage");
    const prn__recipe_strategy strategies[] = {
        {.label = "sequential", .strategy = "sequential"},
        {.label = "cumulative", .strategy = "cumulative"},
        {.label = "lwf", .strategy = "lwf"},
        {.label = "replay", .strategy = "replay", .options = HELD, .option_count = 3},
        {.label = "ewc", .strategy = "ewc"},
        {.label = "zscl", .strategy = "zscl", .options = &few, .option_count = 1},
    };
    r.strategies = strategies;
    r.strategy_count = 6;
    prn__plan *plan = make(g, &r);
    const prn__plan_line *sequential = &plan->lines[0], *cumulative = &plan->lines[1], *lwf = &plan->lines[2], *replay = &plan->lines[3],
                         *ewc = &plan->lines[4];
    const double c = plan->stages[0].forward_macs, stage = 4 * (double)plan->model->elements + 8 * (double)plan->model->flat_elements;
    assert_true(sequential->teacher_macs == 0 && sequential->tuning_macs == 0 && sequential->memory_factor == 1);
    assert_true(sequential->memory_adjusted_flops == 2 * sequential->total_macs);
    assert_true(sequential->checkpoint_bytes == 3 * stage && sequential->kept_bytes == 0);
    assert_true(ewc->kept_bytes == 2 * 4 * (double)plan->model->flat_elements && ewc->checkpoint_bytes == 5 * stage + ewc->kept_bytes);
    assert_true(fabs(lwf->teacher_macs / (2 * c) - 1) < 1e-12); /* not in the first step */
    assert_true(fabs((lwf->total_macs - lwf->teacher_macs) / sequential->total_macs - 1) < 1e-12);
    assert_true(fabs(lwf->memory_adjusted_flops / (2 * lwf->total_macs * 4 / 3) - 1) < 1e-12);
    assert_true(lwf->tuning_macs == 0 && ewc->teacher_macs == 0);
    /* zscl's teacher sees the memory batches only, four samples for eight; these train, too */
    assert_true(fabs(plan->lines[5].teacher_macs / (2 * c / 2) - 1) < 1e-12);
    assert_true(fabs((plan->lines[5].total_macs - plan->lines[5].teacher_macs) / (sequential->total_macs * 4 / 3) - 1) < 1e-12);
    /* two Fisher estimates of 32 batches, of 6 an update stage has */
    assert_true(fabs(ewc->tuning_macs / (2 * 32 * plan->stages[0].total_macs / 6) - 1) < 1e-12);
    assert_true(fabs((ewc->total_macs - ewc->tuning_macs) / sequential->total_macs - 1) < 1e-12);
    assert_int_equal(sequential->buffer_samples, 0);
    assert_true(sequential->buffer_bytes == 0);
    assert_int_equal(cumulative->buffer_samples, 80);
    assert_int_equal(replay->buffer_samples, 10);
    double bytes = 0;
    static const char *const names[] = {"train/a-0.tar", "train/a-1.tar", "train/b-0.tar", "train/b-1.tar"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(stat(prn__arena_printf(&memory, "%s/%s", g->folder, names[i]), &shard), 0);
        bytes += (double)shard.st_size;
    }
    assert_true(fabs(cumulative->buffer_bytes - bytes) < 1);
    prn__plan_destroy(plan);
    /* without the data the samples are known and their bytes are not */
    write_bytes(g, "else/stream.yaml", MANIFEST, strlen(MANIFEST));
    write_bytes(g, "else/vocab.txt", "x", 1);
    r.manifest_path = prn__arena_printf(&memory, "%s/else/stream.yaml", g->folder);
    plan = make(g, &r);
    assert_int_equal(plan->lines[1].buffer_samples, 80);
    assert_true(isnan(plan->lines[1].buffer_bytes));
    assert_true(plan->lines[0].buffer_bytes == 0);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

/* ---- runs -------------------------------------------------------------------------------------------------------------------------- */

static void test_a_run_with_branches_is_resumable_and_its_rows_count_all_stages(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r, again;
    prn__results *results = NULL;
    prn_error error = PRN_ERROR_INIT;
    prn__arena_init(&memory, 1024);
    recipe_init(&r, &memory, g, "whole");
    r.strategies = BRANCHED;
    r.strategy_count = 3;
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_TRUNK, .peak = 1e-3, .warmup_steps = 2, .branch = 0.34, .shape = PRN__SHAPE_COSINE};
    watch whole = {.stop_at = -1};
    MUST(execute(g, &r, &whole, error_));
    again = r;
    again.workspace = prn__arena_printf(&memory, "%s/stopped", g->folder);
    for (int64_t stop = 3; stop < 40; stop += 7) { /* in trunks and in branches */
        watch w = {.stop_at = stop % 9};
        prn_status status = execute(g, &again, &w, &error);
        assert_true(status == PRN_OK || status == PRN_INTERRUPTED);
    }
    watch rest = {.stop_at = -1};
    MUST(execute(g, &again, &rest, error_));
    prn__plan *plan = make(g, &r);
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        assert_true(plan->stages[i].is_done);
        assert_same_file(stage_file(&memory, r.workspace, plan->stages[i].key, "open_clip_model.safetensors"),
                         stage_file(&memory, again.workspace, plan->stages[i].key, "open_clip_model.safetensors"));
    }
    const prn__plan_line *line = &plan->lines[0];
    assert_false(is_same_file(stage_file(&memory, r.workspace, plan->stages[line->trunk[0]].key, "open_clip_model.safetensors"),
                              stage_file(&memory, r.workspace, plan->stages[line->trained[0]].key, "open_clip_model.safetensors")));
    MUST(prn__results_load(r.workspace, NULL, &results, error_));
    for (size_t s = 0; s < 3; s++) {
        const prn__result_strategy *found = &results->strategies[s];
        assert_true(found->teacher_macs == plan->lines[s].teacher_macs && found->tuning_macs == plan->lines[s].tuning_macs);
        for (uint32_t t = 0; t < 3; t++) {
            assert_string_equal(found->stages[t].key, plan->stages[plan->lines[s].stages[t]].key);
            assert_int_equal(found->stages[t].steps, 6);
            assert_int_equal(found->stages[t].samples, 48);
            assert_true(fabs(found->stages[t].total_macs / plan->lines[s].step_total_macs[t] - 1) < 1e-12);
            assert_true(isfinite(found->stages[t].last_loss));
            for (int k = 0; k < 3; k++) {
                assert_true(isfinite(found->tasks[0].scores[0].matrix[3 * t + (uint32_t)k]));
            }
        }
    }
    assert_true(results->strategies[1].teacher_macs > 0);
    prn__results_destroy(results);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static float *weights_of(prn__arena *memory, const prn__recipe *r, const prn__plan *plan, int32_t stage)
{
    float *weights = prn__arena_alloc(memory, (size_t)plan->model->flat_elements * sizeof *weights);
    char *folder = prn__arena_printf(memory, "%s/stages/%s", r->workspace, plan->stages[stage].key);
    assert_non_null(weights);
    MUST(prn__model_load(plan->model, folder, weights, error_));
    return weights;
}

static void assert_mixed(const prn__plan *plan, const float *mixed, double a, const float *before, const float *trained)
{
    for (int64_t i = 0; i < plan->model->flat_elements; i++) {
        const double wanted = (1 - a) * (double)before[i] + a * (double)trained[i];
        if (fabs((double)mixed[i] - wanted) > 1e-6 * (1 + fabs(wanted))) {
            fail_msg("value %d is %.9g, must be %.9g", (int)i, (double)mixed[i], wanted);
        }
    }
}

static void assert_starts_from(prn__arena *memory, const prn__recipe *r, const prn__plan *plan, int32_t stage, int32_t parent)
{
    static const char *const fields[] = {"\"parent_weights\": \"", "\"weights_digest\": \""};
    char digests[2][33] = {"", ""};
    for (int i = 0; i < 2; i++) {
        char *text;
        size_t length;
        read_path(stage_file(memory, r->workspace, plan->stages[i == 0 ? stage : parent].key, "stage.json"), &text, &length);
        const char *at = strstr(text, fields[i]);
        assert_non_null(at);
        memcpy(digests[i], at + strlen(fields[i]), 32);
        prn__free(text);
    }
    assert_string_equal(digests[0], digests[1]);
}

static double payload_bytes(prn__arena *memory, const prn__recipe *r, const prn__plan *plan, int32_t stage)
{
    static const char *const names[] = {"open_clip_model.safetensors", "optimizer.safetensors", "kept.safetensors"};
    double bytes = 0;
    for (int i = 0; i < 3; i++) {
        char *path = stage_file(memory, r->workspace, plan->stages[stage].key, names[i]), *content;
        size_t length;
        uint64_t header;
        if (i == 2 && !prn__file_exists(path)) {
            continue;
        }
        read_path(path, &content, &length);
        memcpy(&header, content, sizeof header); /* safetensors: the header's length, the header, the values */
        bytes += (double)(length - sizeof header - (size_t)header);
        prn__free(content);
    }
    return bytes;
}

/* Golden: every mixture against its definition, worked out here from the weights that training left. */
static void test_a_run_whose_trunks_are_finished(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r, again;
    prn_error error = PRN_ERROR_INIT;
    prn__arena_init(&memory, 1024);
    recipe_init(&r, &memory, g, "mixing");
    static const prn__option_pair quarter[] = {{"a", "0.25"}}, ema[] = {{"start", "merged"}, {"decay", "0.75"}}, few[] = {{"batches", "2"}},
                                  light[] = {{"batches", "2"}, {"weight", "0"}};
    const prn__recipe_strategy all[] = {
        {.label = "patching", .strategy = "patching", .options = quarter, .option_count = 1},
        {.label = "ema", .strategy = "merge", .options = ema, .option_count = 2},
        {.label = "ewc", .strategy = "ewc", .options = few, .option_count = 1},
        {.label = "light", .strategy = "ewc", .options = light, .option_count = 2},
        {.label = "sequential", .strategy = "sequential"},
    };
    r.strategies = all;
    r.strategy_count = 5;
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_TRUNK, .peak = 1e-3, .warmup_steps = 2, .branch = 0.34, .shape = PRN__SHAPE_COSINE};
    watch whole = {.stop_at = -1};
    MUST(execute(g, &r, &whole, error_));
    prn__plan *plan = make(g, &r);
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        assert_true(plan->stages[i].is_done);
    }
    for (int l = 0; l < 2; l++) { /* with these options the two are one definition */
        const prn__plan_line *line = &plan->lines[l];
        float *trunk[3], *branch[3], *deployed[3];
        for (int t = 0; t < 3; t++) {
            trunk[t] = weights_of(&memory, &r, plan, line->trunk[t]);
            branch[t] = weights_of(&memory, &r, plan, line->trained[t]);
            deployed[t] = weights_of(&memory, &r, plan, line->deployed[t]);
        }
        const float *second = weights_of(&memory, &r, plan, line->trunk_deployed[1]);
        assert_mixed(plan, second, 0.25, trunk[0], trunk[1]);
        assert_mixed(plan, deployed[0], 1, branch[0], branch[0]);
        assert_mixed(plan, deployed[1], 0.25, branch[0], branch[1]);
        assert_mixed(plan, deployed[2], 0.25, deployed[1], branch[2]);
        assert_starts_from(&memory, &r, plan, line->trunk[1], line->trunk[0]);
        assert_starts_from(&memory, &r, plan, line->trunk[2], line->trunk_deployed[1]);
        assert_starts_from(&memory, &r, plan, line->trained[2], line->trunk[2]);
        assert_starts_from(&memory, &r, plan, line->deployed[2], line->trained[2]);
        if (l == 1) {
            const float *other = weights_of(&memory, &r, plan, plan->lines[0].deployed[2]);
            assert_memory_equal(other, deployed[2], (size_t)plan->model->flat_elements * sizeof *other);
        }
    }
    /* ewc: its trunk goes on from the trunk, held to the branch; without a price it is sequential */
    for (int t = 0; t < 3; t++) {
        const prn__plan_line *ewc = &plan->lines[2], *light_ewc = &plan->lines[3], *sequential = &plan->lines[4];
        const int32_t pairs[2][2] = {{light_ewc->trunk[t], sequential->trunk[t]}, {light_ewc->trained[t], sequential->trained[t]}};
        for (int k = 0; k < 2; k++) {
            assert_same_file(stage_file(&memory, r.workspace, plan->stages[pairs[k][0]].key, "open_clip_model.safetensors"),
                             stage_file(&memory, r.workspace, plan->stages[pairs[k][1]].key, "open_clip_model.safetensors"));
        }
        assert_int_equal(is_same_file(stage_file(&memory, r.workspace, plan->stages[ewc->trunk[t]].key, "open_clip_model.safetensors"),
                                      stage_file(&memory, r.workspace, plan->stages[sequential->trunk[t]].key, "open_clip_model.safetensors")), t == 0);
    }
    /* what lies on the disk is what the plan counted, to the byte */
    for (size_t l = 0; l < 5; l++) {
        const prn__plan_line *line = &plan->lines[l];
        double bytes = 0;
        for (int t = 0; t < 3; t++) {
            bytes += payload_bytes(&memory, &r, plan, line->trunk[t]) + payload_bytes(&memory, &r, plan, line->trained[t]);
            bytes += line->deployed[t] != line->trained[t] ? payload_bytes(&memory, &r, plan, line->deployed[t]) : 0;
            bytes += line->trunk_deployed[t] >= 0 && line->trunk_deployed[t] != line->trunk[t] ? payload_bytes(&memory, &r, plan, line->trunk_deployed[t]) : 0;
        }
        assert_true(bytes == line->checkpoint_bytes);
    }
    assert_true(plan->lines[2].kept_bytes > 0);
    /* interrupted again and again: the same bytes */
    again = r;
    again.workspace = prn__arena_printf(&memory, "%s/mixing-stopped", g->folder);
    prn_status status = PRN_INTERRUPTED;
    for (int attempt = 0; attempt < 200 && status == PRN_INTERRUPTED; attempt++) {
        watch w = {.stop_at = 5 + attempt % 7};
        status = execute(g, &again, &w, &error);
    }
    assert_int_equal(status, PRN_OK);
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        assert_same_file(stage_file(&memory, r.workspace, plan->stages[i].key, "open_clip_model.safetensors"),
                         stage_file(&memory, again.workspace, plan->stages[i].key, "open_clip_model.safetensors"));
    }
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

/* What a stage's strategy may look at need not be its ancestor: processes that share a run must wait for it. */
static void test_stages_wait_for_all_they_need(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "waiting");
    const prn__recipe_strategy all[] = {{.label = "lwf", .strategy = "lwf"}, {.label = "merged", .strategy = "merge", .options = MERGED, .option_count = 1}};
    r.strategies = all;
    r.strategy_count = 2;
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_TRUNK, .peak = 1e-3, .branch = 0.34};
    prn__plan *plan = make(g, &r);
    const prn__plan_line *lwf = &plan->lines[0], *merged = &plan->lines[1];
    prn__stage *stages = plan->stages;
    assert_true(prn__stage_is_ready(plan, &stages[lwf->trunk[0]]) && !prn__stage_is_ready(plan, &stages[lwf->trained[0]]));
    stages[lwf->trunk[0]].is_done = 1;
    assert_true(prn__stage_is_ready(plan, &stages[lwf->trained[0]]));
    assert_false(prn__stage_is_ready(plan, &stages[lwf->trunk[1]])); /* its parent is done, its teacher is not */
    assert_true(prn__stage_is_ready(plan, &stages[merged->trunk[1]]));
    stages[lwf->trained[0]].is_done = 1;
    assert_true(prn__stage_is_ready(plan, &stages[lwf->trunk[1]]));
    stages[merged->trunk[1]].is_done = stages[merged->trunk[2]].is_done = stages[merged->trained[2]].is_done = 1;
    assert_true(prn__stage_is_ready(plan, &stages[merged->trunk_deployed[1]])); /* the trunk's line is all it sees */
    assert_false(prn__stage_is_ready(plan, &stages[merged->deployed[2]]));
    stages[merged->trained[1]].is_done = stages[merged->deployed[1]].is_done = 1;
    assert_true(prn__stage_is_ready(plan, &stages[merged->deployed[2]]));
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static void test_out_of_memory(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 256);
    recipe_init(&r, &memory, g, "w");
    const prn__recipe_strategy both[] = {BRANCHED[1], BRANCHED[2], {.label = "merged", .strategy = "merge", .options = MERGED, .option_count = 1}};
    r.strategies = both;
    r.strategy_count = 3;
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_TRUNK, .peak = 1e-3, .branch = 0.34};
    int64_t before = prn__alloc_live();
    prn_status status = PRN_NO_MEMORY;
    for (int64_t nth = 1; status != PRN_OK; nth += nth < 60 ? 1 : 7) {
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

/* A ledger of schema 1 is read as it is, and brought up to date by the next run. */
static void test_ledgers_of_schema_1(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__results *results = NULL;
    sqlite3 *database = NULL;
    prn__arena_init(&memory, 1024);
    recipe_init(&r, &memory, g, "old");
    r.strategy_count = 1;
    r.budget = 1;
    (void)complete(g, &r);
    char *path = prn__arena_printf(&memory, "%s/ledger.sqlite", r.workspace);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "ALTER TABLE strategies DROP COLUMN teacher_macs; ALTER TABLE strategies DROP COLUMN tuning_macs;"
                                  "ALTER TABLE runs DROP COLUMN sweep; DROP TABLE settings; DROP TABLE sweeps; ALTER TABLE step_metrics DROP COLUMN memory_bytes;"
                                  "PRAGMA user_version = 1;", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    MUST(prn__results_load(r.workspace, NULL, &results, error_));
    assert_int_equal(results->strategy_count, 1);
    assert_true(results->strategies[0].teacher_macs == 0 && results->strategies[0].forward_macs > 0);
    prn__results_destroy(results);
    (void)complete(g, &r);
    assert_true(ask(r.workspace, "PRAGMA user_version") == 3);
    assert_true(ask(r.workspace, "SELECT count(*) FROM strategies WHERE teacher_macs = 0 AND tuning_macs = 0") == 1);
    prn__arena_fini(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant_linear_cosine),
        cmocka_unit_test(test_warmup_stable_decay),
        cmocka_unit_test(test_inverse_sqrt),
        cmocka_unit_test(test_infinite),
        cmocka_unit_test(test_trunk),
        cmocka_unit_test(test_peaks_of_time_steps),
        cmocka_unit_test(test_autoregressive_cosine),
        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_a_plan_with_branches),
        cmocka_unit_test(test_an_infinite_plan),
        cmocka_unit_test(test_a_plan_whose_trunks_are_finished),
        cmocka_unit_test(test_autoregressive_peaks_in_a_plan),
        cmocka_unit_test(test_budgets_in_epochs),
        cmocka_unit_test(test_budgets_in_macs),
        cmocka_unit_test(test_costs_and_storage),
        cmocka_unit_test(test_a_run_with_branches_is_resumable_and_its_rows_count_all_stages),
        cmocka_unit_test(test_a_run_whose_trunks_are_finished),
        cmocka_unit_test(test_stages_wait_for_all_they_need),
        cmocka_unit_test(test_ledgers_of_schema_1),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
