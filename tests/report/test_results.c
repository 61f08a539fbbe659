/* tests/report/test_results.c: matrices, comparison, JSON keys, CSV, progress, from results made by hand. */
#include "report/support.h"

#include <jansson.h>
#include <math.h>

#include "report/progress_line.h"
#include "report/results_report.h"

enum { STEPS = 2 };

typedef struct fixture {
    prn__results results;
    double matrices[4][STEPS * STEPS];
    prn__result_score scores[2][2];
    prn__result_task tasks[2];
    prn__result_stage stages[STEPS];
    prn__result_strategy strategies[2];
    const char *names[STEPS];
} fixture;

static void fill(fixture *f)
{
    static const double values[4][STEPS * STEPS] = {
        {0.5, 0.25, 0.125, 0.75}, {0.9, 0.8, 0.7, 0.95}, {0.5, 0.3, NAN, NAN}, {0.9, NAN, NAN, NAN}};
    memset(f, 0, sizeof *f);
    memcpy(f->matrices, values, sizeof values);
    f->names[0] = "1993";
    f->names[1] = "\xe6\xbc\xa2\xe5\xad\x97"; /* wide */
    f->stages[0] = (prn__result_stage){.key = "k1", .state = "done", .steps = 10, .samples = 100, .forward_macs = 1e9, .total_macs = 3e9};
    f->stages[1] = (prn__result_stage){.key = "", .state = "missing", .last_loss = NAN};
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < 2; i++) {
            prn__result_score *score = &f->scores[s][i];
            score->name = i == 0 ? "recall@1" : "recall@5";
            score->matrix = f->matrices[2 * s + i];
            prn__transfer_compute(score->matrix, s == 0 ? f->matrices[2 + i] : NULL, NULL, STEPS, &score->transfer);
        }
        f->tasks[s] = (prn__result_task){.name = "retrieval, \"names\"", .kind = PRN__TASK_RETRIEVAL, .scores = f->scores[s], .score_count = 2};
        f->strategies[s] = (prn__result_strategy){.label = s == 0 ? "sequential" : "oracle", .strategy = s == 0 ? "sequential" : "oracle",
                                                  .options = "{\"a\": 1}", .tasks = &f->tasks[s], .stages = f->stages, .forward_macs = 3.79e18,
                                                  .total_macs = 1e19, .samples = 12345};
    }
    f->results = (prn__results){
        .run = {.id = 3, .name = "demo", .state = "interrupted", .message = "", .started = "2026-01-31T12:00:00Z", .finished = "", .recipe_path = "r.lua",
                .manifest_path = "s.yaml", .stream = "tiny", .model = "nano", .backend = "cpu", .seed = 7, .batch = 16, .step_count = STEPS,
                .strategy_count = 2, .stage_count = 4, .stages_done = 3},
        .step_count = STEPS, .step_names = f->names, .task_count = 1, .strategies = f->strategies, .strategy_count = 2, .environment = "{}",
        .forward_macs = 4e18, .total_macs = 2e19, .samples = 20000,
    };
}

static void the_text_is_readable(void **state)
{
    fixture f;
    prn__text text;
    (void)state;
    fill(&f);
    prn__text_init(&text);
    prn__results_print(&f.results, &(prn__results_view){0}, &text);
    text_has(&text, "run 3 'demo', interrupted (3 of 4 stages done): tiny over 2 time steps, nano, backend cpu, batch 16, seed 7");
    text_has(&text, "retrieval, \"names\": recall@1 in percent");
    text_has(&text, "  sequential    1993  \xe6\xbc\xa2\xe5\xad\x97\n"
                    "    after 1993  50.0  25.0\n"
                    "    after \xe6\xbc\xa2\xe5\xad\x97  12.5  75.0\n");
    text_has(&text, "  oracle        1993  \xe6\xbc\xa2\xe5\xad\x97\n"
                    "    after 1993  50.0  30.0\n"
                    "    after \xe6\xbc\xa2\xe5\xad\x97     -     -\n");
    text_has(&text, "strategy    in-domain  backward  forward  forgetting  next-domain  regret  forward MACs  samples\n"
                    "  sequential       62.5      12.5     25.0        37.5         25.0     0.0        3.79 E   12,345\n");
    text_has(&text, "further scores (--score NAME or --all-scores)\n  retrieval, \"names\": recall@5\n");
    text_lacks(&text, "90.0");
    prn__text_fini(&text);

    prn__text_init(&text);
    prn__results_print(&f.results, &(prn__results_view){.score = "recall@5"}, &text);
    text_has(&text, "90.0");
    text_lacks(&text, "recall@1 in percent");
    prn__text_fini(&text);

    prn__text_init(&text);
    prn__results_print(&f.results, &(prn__results_view){.all_scores = 1}, &text);
    text_has(&text, "recall@1 in percent");
    text_has(&text, "recall@5 in percent");
    text_lacks(&text, "further scores");
    prn__text_fini(&text);

    prn__text_init(&text);
    prn__results_print(&f.results, &(prn__results_view){.summary = 1}, &text);
    text_has(&text, "in-domain");
    text_lacks(&text, "after 1993");
    prn__text_fini(&text);
}

static void unknown_scores_suggest(void **state)
{
    fixture f;
    prn_error error = PRN_ERROR_INIT;
    (void)state;
    fill(&f);
    assert_int_equal(prn__results_check_score(&f.results, "recall@5", &error), PRN_OK);
    assert_int_equal(prn__results_check_score(&f.results, "recal@5", &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "did you mean 'recall@5'?"));
    assert_non_null(strstr(error.message, "recall@1, recall@5"));
}

static double number_at(const json_t *value)
{
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void json_has_the_promised_keys(void **state)
{
    fixture f;
    prn__text text;
    json_error_t detail;
    (void)state;
    fill(&f);
    prn__text_init(&text);
    prn__results_json(&f.results, &(prn__results_view){0}, &text);
    assert_false(text.failed);
    json_t *root = json_loads(text.data, JSON_REJECT_DUPLICATES, &detail);
    assert_non_null(root);
    const json_t *strategy = json_object_get(json_object_get(root, "strategies"), "sequential");
    assert_true(number_at(json_object_get(strategy, "forward_macs")) == 3.79e18);
    assert_true(number_at(json_object_get(strategy, "total_macs")) == 1e19);
    assert_int_equal(json_integer_value(json_object_get(strategy, "samples")), 12345);
    const json_t *task = json_object_get(json_object_get(strategy, "tasks"), "retrieval, \"names\"");
    assert_true(number_at(json_object_get(task, "in_domain")) == 0.625);
    assert_true(number_at(json_object_get(task, "backward")) == 0.125);
    assert_true(number_at(json_object_get(task, "forward")) == 0.25);
    const json_t *matrix = json_object_get(task, "matrix");
    assert_int_equal(json_array_size(matrix), STEPS);
    assert_true(number_at(json_array_get(json_array_get(matrix, 1), 0)) == 0.125); /* row 1: after the second step */
    const json_t *oracle = json_object_get(json_object_get(json_object_get(json_object_get(root, "strategies"), "oracle"), "tasks"),
                                           "retrieval, \"names\"");
    assert_true(json_is_null(json_array_get(json_array_get(json_object_get(oracle, "matrix"), 1), 1)));
    assert_true(json_is_null(json_object_get(oracle, "backward")));
    assert_true(number_at(json_object_get(json_object_get(json_object_get(task, "scores"), "recall@5"), "in_domain")) == 0.925);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(strategy, "options"), "a")), 1);
    json_decref(root);
    prn__text_fini(&text);
}

static void csv_is_quoted_and_complete(void **state)
{
    fixture f;
    prn__text text;
    size_t lines = 0;
    (void)state;
    fill(&f);
    prn__text_init(&text);
    prn__results_csv(&f.results, &(prn__results_view){0}, &text);
    assert_false(text.failed);
    for (const char *c = text.data; *c != '\0'; c++) {
        lines += *c == '\n' ? 1 : 0;
    }
    assert_int_equal(lines, 1 + 2 * 2 * STEPS * STEPS); /* strategies, scores, cells */
    text_has(&text, "run,strategy,task,kind,score,after_step,after_step_name,task_step,task_step_name,value\n");
    text_has(&text, "demo,sequential,\"retrieval, \"\"names\"\"\",retrieval,recall@1,2,\xe6\xbc\xa2\xe5\xad\x97,1,1993,0.125\n");
    text_has(&text, ",recall@1,2,\xe6\xbc\xa2\xe5\xad\x97,2,\xe6\xbc\xa2\xe5\xad\x97,\n"); /* not evaluated: empty */
    prn__text_fini(&text);
    prn__text_init(&text);
    prn__results_csv(&f.results, &(prn__results_view){.score = "recall@5"}, &text);
    text_lacks(&text, "recall@1");
    prn__text_fini(&text);
}

static void progress_fits_the_line(void **state)
{
    const prn__progress p = {.phase = "train", .label = "time step 3 (2016), strategies sequential, cumulative", .stage = 3, .stage_count = 11,
                             .step = 120, .steps = 400, .loss = 2.3412, .learning_rate = 1.5e-3, .samples_per_s = 812.4, .data_wait_frac = 0.031,
                             .remaining_s = 200};
    prn__text text;
    (void)state;
    prn__text_init(&text);
    prn__progress_print(&p, 0, &text);
    text_is(&text, "stage 3/11, time step 3 (2016), strategies sequential, cumulative | 120/400 | 812 samples/s | 3 min 20 s left | loss 2.341 |"
                   " lr 1.50e-03 | data wait 3 %");
    for (size_t columns = 20; columns < 160; columns++) {
        prn__text_init(&text);
        prn__progress_print(&p, columns, &text);
        if (strlen(text.data) > columns) { /* all ASCII */
            fail_msg("%zu cells in %zu columns: %s", strlen(text.data), columns, text.data);
        }
        text_has(&text, "stage 3/11");
        prn__text_fini(&text);
    }
    prn__text_init(&text);
    prn__progress_print(&p, 79, &text);
    text_is(&text, "stage 3/11 | 120/400 | 812/s | 3 min 20 s left | loss 2.341 | lr 1.5e-03");
    prn__text_init(&text);
    prn__progress_print(&p, 110, &text);
    text_is(&text, "stage 3/11 | 120/400 | 812 samples/s | 3 min 20 s left | loss 2.341 | lr 1.50e-03 | data wait 3 %");
    prn__text_init(&text);
    prn__progress_heading(&p, &text);
    text_is(&text, "stage 3/11: time step 3 (2016), strategies sequential, cumulative");
    const prn__progress early = {.phase = "index", .label = "1993", .loss = NAN, .learning_rate = NAN, .samples_per_s = NAN, .data_wait_frac = NAN,
                                 .remaining_s = NAN};
    prn__text_init(&text);
    prn__progress_print(&early, 0, &text);
    text_is(&text, "indexing shards of 1993");
    prn__text_init(&text);
    prn__progress_print(&early, 22, &text);
    text_is(&text, "indexing shards of 19\xe2\x80\xa6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_readable),       cmocka_unit_test(unknown_scores_suggest),  cmocka_unit_test(json_has_the_promised_keys),
        cmocka_unit_test(csv_is_quoted_and_complete), cmocka_unit_test(progress_fits_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
