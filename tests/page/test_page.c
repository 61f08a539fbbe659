/* tests/page/test_page.c: what the page says equals what results say, and nothing from a ledger becomes markup. */
#include "page/support.h"

#include <jansson.h>

#include "page/page.h"
#include "report/results_report.h"

static prn__page_part *load(const ground *g, int64_t stretches)
{
    prn_error error = PRN_ERROR_INIT;
    prn__page_part *part = NULL;
    if (prn__page_part_load(g->folder, NULL, stretches, &part, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return part;
}

static json_t *parse(const prn__text *text)
{
    json_error_t error;
    json_t *root = json_loadb(text->data, text->length, 0, &error);
    if (root == NULL) {
        fail_msg("%s at %d: %.80s", error.text, error.position, text->data + (error.position > 40 ? error.position - 40 : 0));
    }
    return root;
}

static json_t *page_json(prn__page_part *part)
{
    prn__text text;
    prn__text_init(&text);
    prn__page_data(&(prn__page){.parts = &part, .part_count = 1}, &text);
    assert_false(text.failed);
    json_t *root = parse(&text);
    prn__text_fini(&text);
    return root;
}

static json_t *results_json(const prn__page_part *part)
{
    prn__text text;
    prn__text_init(&text);
    prn__results_json(part->results, &(prn__results_view){0}, &text);
    assert_false(text.failed);
    json_t *root = parse(&text);
    prn__text_fini(&text);
    return root;
}

static void same(const json_t *a, const json_t *b)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(json_is_null(a), json_is_null(b));
    assert_true(json_number_value(a) == json_number_value(b));
}

static void numbers_are_those_of_results(void **state)
{
    static const char *const metrics[] = {"in_domain", "backward", "forward", "next_domain", "forgetting", "gem_bwt", "gem_fwt", "regret"};
    static const char *const costs[] = {"forward_macs", "total_macs", "teacher_macs", "tuning_macs", "samples"};
    static const char *const steps[] = {"forward_macs", "total_macs", "seconds", "last_loss", "updates", "samples", "skipped"};
    ground g;
    size_t compared = 0;
    (void)state;
    ground_open(&g);
    add_run(&g, 3, "interrupted", HOSTILE_RECIPE);
    add_strategy(&g, 0, HOSTILE_LABEL, "sequential", 3, 2, 5);
    add_strategy(&g, 1, "oracle", "oracle", 3, 3, 5);
    sql(&g, "INSERT INTO skipped_samples VALUES(1, 0, 'a<b>.tar', 'corrupt </script>', 4)");
    prn__page_part *part = load(&g, 100);
    json_t *page = page_json(part), *results = results_json(part), *run = json_array_get(json_object_get(page, "runs"), 0);
    json_t *strategies = json_object_get(results, "strategies"), *strategy;
    size_t s;
    assert_int_equal(json_array_size(json_object_get(run, "strategies")), 2);
    same(json_object_get(run, "total_macs"), json_object_get(results, "total_macs"));
    json_array_foreach(json_object_get(run, "strategies"), s, strategy) {
        const json_t *other = json_object_get(strategies, json_string_value(json_object_get(strategy, "label")));
        assert_non_null(other);
        for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++) {
            same(json_object_get(strategy, costs[i]), json_object_get(other, costs[i]));
        }
        for (size_t t = 0; t < 3; t++) {
            for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
                same(json_object_get(json_array_get(json_object_get(strategy, "stages"), t), steps[i]),
                     json_object_get(json_array_get(json_object_get(other, "steps"), t), steps[i]));
            }
        }
        for (size_t k = 0; k < 2; k++) {
            const char *task = json_string_value(json_object_get(json_array_get(json_object_get(run, "tasks"), k), "name")), *name;
            json_t *score;
            json_object_foreach(json_array_get(json_object_get(strategy, "tasks"), k), name, score) {
                const json_t *wanted = json_object_get(json_object_get(json_object_get(json_object_get(other, "tasks"), task), "scores"), name);
                for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
                    same(json_object_get(score, metrics[i]), json_object_get(wanted, metrics[i]));
                }
                for (size_t i = 0; i < 9; i++, compared++) {
                    same(json_array_get(json_object_get(score, "matrix"), i),
                         json_array_get(json_array_get(json_object_get(wanted, "matrix"), i / 3), i % 3));
                }
            }
        }
    }
    assert_int_equal(compared, 2 * 4 * 9);
    assert_string_equal(json_string_value(json_object_get(run, "recipe")), HOSTILE_RECIPE);
    assert_string_equal(json_string_value(json_object_get(run, "name")), HOSTILE_LABEL);
    assert_int_equal(json_integer_value(json_object_get(run, "stages_done")), 5);
    const json_t *skip = json_array_get(json_object_get(run, "skips"), 0);
    assert_string_equal(json_string_value(json_object_get(skip, "reason")), "corrupt </script>");
    json_decref(page);
    json_decref(results);
    prn__page_part_destroy(part);
    ground_close(&g);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part)) {
        count++;
    }
    return count;
}

static void nothing_from_a_ledger_becomes_markup(void **state)
{
    static const char opener[] = "<script type=\"application/json\" id=\"data\">";
    ground g;
    prn__text text;
    (void)state;
    ground_open(&g);
    add_run(&g, 2, "failed", HOSTILE_RECIPE);
    sql(&g, "UPDATE runs SET message = %Q", HOSTILE_LABEL);
    add_strategy(&g, 0, HOSTILE_LABEL, "sequential", 2, 1, 4);
    add_strategy(&g, 1, BROKEN_UTF8, "replay", 2, 1, 4);
    prn__page_part *part = load(&g, 100);
    prn__page_part *twice[] = {part, part};
    static const char *const sweeps[] = {"{\"sweep\":{\"name\":\"</script>\"}}"};
    const prn__page both = {.parts = twice, .part_count = 2, .sweeps = sweeps, .sweep_count = 1};
    prn__text_init(&text);
    prn__page_print(&both, &text);
    assert_false(text.failed);
    assert_int_equal(strlen(text.data), text.length);
    assert_int_equal(count_of(text.data, "<script"), 2);
    assert_int_equal(count_of(text.data, "</script"), 2);
    assert_int_equal(count_of(text.data, "<!--"), 0);
    assert_int_equal(count_of(text.data, "<title>&lt;/script&gt;&lt;script&gt;alert(1)"), 1);
    const char *data = strstr(text.data, opener);
    assert_non_null(data);
    data += sizeof opener - 1;
    const size_t length = (size_t)(strchr(data, '<') - data);
    assert_memory_equal(data + length, "</script>", 9);
    for (size_t i = 0; i < length; i++) {
        assert_true(data[i] != '>' && data[i] != '&' && (unsigned char)data[i] >= 0x20);
    }
    json_t *root = json_loadb(data, length, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(json_array_get(json_object_get(root, "runs"), 1), "strategies"), 1), "label")),
                        "st\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(root);
    prn__text_fini(&text);
    prn__page_part_destroy(part);
    ground_close(&g);
}

static void the_page_reaches_for_nothing(void **state)
{
    ground g;
    prn__text text;
    (void)state;
    ground_open(&g);
    add_run(&g, 1, "done", "return 1");
    prn__page_part *part = load(&g, 100);
    prn__text_init(&text);
    prn__page_print(&(prn__page){.parts = &part, .part_count = 1}, &text);
    const char *const wanted[] = {"default-src 'none'", "<noscript>", "prefers-color-scheme", "@media print", "name=\"viewport\""};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (strstr(text.data, wanted[i]) == NULL) {
            fail_msg("the page lacks %s", wanted[i]);
        }
    }
    const char *const unwanted[] = {"https:", "url(", "@import", "src=", "<link", "fetch(", "XMLHttpRequest", "innerHTML", "outerHTML", "insertAdjacentHTML",
                                    "document.write", "eval("};
    for (size_t i = 0; i < sizeof unwanted / sizeof unwanted[0]; i++) {
        if (strstr(text.data, unwanted[i]) != NULL) {
            fail_msg("the page has %s", unwanted[i]);
        }
    }
    assert_int_equal(count_of(text.data, "http:"), 1); /* SVG's name space, a name only */
    prn__text_fini(&text);
    prn__page_part_destroy(part);
    ground_close(&g);
}

/* ---- curves -------------------------------------------------------------------------------------------------------------------- */

static void spikes_survive(void **state)
{
    ground g;
    int64_t seen = 0;
    double high = 0, low = 1e9;
    (void)state;
    ground_open(&g);
    add_run(&g, 2, "done", "return 1");
    add_strategy(&g, 0, "sequential", "sequential", 2, 2, 1000);
    add_metrics(&g, 1, 1000, 3);
    add_metrics(&g, 2, 1000, 2);
    sql(&g, "UPDATE step_metrics SET loss = 99 WHERE stage = 2 AND step = 637");
    sql(&g, "UPDATE step_metrics SET loss = -5 WHERE stage = 1 AND step = 11");
    sql(&g, "UPDATE step_metrics SET loss = NULL WHERE stage = 1 AND step = 12");
    prn__page_part *part = load(&g, 20);
    const prn__curve *curve = &part->curves[0];
    assert_int_equal(curve->updates, 2000);
    assert_int_equal(curve->width, 100);
    assert_int_equal(curve->count, 20);
    assert_int_equal(curve->starts[0], 0);
    assert_int_equal(curve->starts[1], 1000);
    assert_int_equal(curve->starts[2], 2000);
    for (size_t i = 0; i < curve->count; i++) {
        const prn__curve_point *p = &curve->points[i];
        assert_int_equal(p->update, 100 * (int64_t)i);
        assert_true(p->loss_low <= p->loss_mean && p->loss_mean <= p->loss_high);
        assert_true(fabs(prn__curve_speed(p, 16) - 32) < 1e-9);
        assert_true(fabs(prn__curve_wait(p) - 0.25) < 1e-12);
        seen += p->count;
        high = fmax(high, p->loss_high);
        low = fmin(low, p->loss_low);
    }
    assert_int_equal(seen, 2000);
    assert_true(high == 99 && low == -5);
    assert_int_equal(curve->points[0].finite, 99);
    assert_true(curve->points[16].loss_high == 99);
    /* mean of 2.1 ... 2.199, in two stages on one axis */
    assert_true(fabs(curve->points[11].loss_mean - 2.1495) < 1e-9);
    assert_true(fabs(curve->points[11].rate_low - 0.1) < 1e-9 && fabs(curve->points[11].rate_high - 0.199) < 1e-9);
    assert_true(curve->points[11].memory_bytes == 1000199);
    prn__page_part_destroy(part);
    ground_close(&g);
}

static void a_time_step_of_several_stages_is_one_line(void **state)
{
    ground g;
    (void)state;
    ground_open(&g);
    add_run(&g, 2, "done", "return 1");
    add_strategy(&g, 0, "merge", "merge", 2, 2, 0); /* finishing stages: nothing is trained in them */
    sql(&g, "INSERT INTO stages VALUES(50, 'branch', 'trunk', 1, 4, 64, 1, 1, '[]', 'done', 2, 1)");
    sql(&g, "INSERT INTO stages VALUES(51, 'trunk', NULL, 1, 6, 96, 1, 1, '[]', 'done', 3, 1)");
    sql(&g, "UPDATE stages SET parent = 'branch' WHERE id = 1");
    sql(&g, "UPDATE stages SET parent = 'key-2' WHERE id = 2"); /* a ring ends, too */
    add_metrics(&g, 50, 4, 20);
    add_metrics(&g, 51, 6, 10);
    prn__page_part *part = load(&g, 1000);
    const prn__timeline_strategy *line = &part->timeline->strategies[0];
    assert_string_equal(line->stages[0].key, "trunk");
    assert_string_equal(line->stages[1].key, "branch");
    assert_string_equal(line->stages[2].key, "key-1");
    assert_int_equal(part->results->run.stage_count, 4); /* the scored ones and what they stand on, as a plan counts */
    assert_int_equal(part->results->run.stages_done, 4);
    const prn__curve *curve = &part->curves[0];
    assert_int_equal(curve->count, 10);
    assert_int_equal(curve->starts[1], 10);
    assert_true(curve->points[5].loss_mean < 11 && curve->points[6].loss_mean >= 20);
    prn__page_part_destroy(part);
    ground_close(&g);
}

static void what_is_not_there_yet_is_left_out(void **state)
{
    ground g;
    (void)state;
    ground_open(&g);
    add_run(&g, 3, "running", "return 1");
    add_strategy(&g, 0, "sequential", "sequential", 3, 1, 10);
    sql(&g, "INSERT INTO strategies VALUES(1, 1, 'planned', 'replay', '{}', 0, 0, 0, 0, 0)");
    add_metrics(&g, 1, 10, 3);
    add_metrics(&g, 3, 4, 3); /* another stage, under way: its place stays */
    sql(&g, "UPDATE step_metrics SET memory_bytes = NULL");
    sql(&g, "INSERT INTO step_metrics VALUES(3, 99, 1, 1, 1, 1, 1, 1, 1)"); /* beyond its end */
    prn__page_part *part = load(&g, 1000);
    assert_int_equal(part->curves[0].updates, 30);
    assert_int_equal(part->curves[0].count, 14);
    assert_int_equal(part->curves[0].points[10].update, 20);
    assert_int_equal(part->curves[1].count, 0);
    json_t *page = page_json(part), *strategies = json_object_get(json_array_get(json_object_get(page, "runs"), 0), "strategies");
    const json_t *curve = json_object_get(json_array_get(strategies, 0), "curve");
    assert_int_equal(json_array_size(json_object_get(curve, "at")), 14);
    assert_true(json_is_null(json_array_get(json_object_get(curve, "memory"), 0)));
    assert_true(json_is_real(json_array_get(json_object_get(curve, "loss"), 13)) || json_is_integer(json_array_get(json_object_get(curve, "loss"), 13)));
    const json_t *score = json_object_get(json_array_get(json_object_get(json_array_get(strategies, 0), "tasks"), 0), "recall@1");
    assert_false(json_is_null(json_array_get(json_object_get(score, "matrix"), 2)));
    assert_true(json_is_null(json_array_get(json_object_get(score, "matrix"), 3)));
    json_decref(page);
    prn__page_part_destroy(part);
    ground_close(&g);
}

static void odd_ledgers_make_a_page(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    prn__page_part *part = NULL;
    prn__text text;
    ground g;
    (void)state;
    ground_open(&g);
    assert_int_equal(prn__page_part_load(g.folder, NULL, 10, &part, &error), PRN_NOT_FOUND);
    assert_null(part);
    add_run(&g, 0, "running", "");
    part = load(&g, 10);
    prn__text_init(&text);
    prn__page_print(&(prn__page){.parts = &part, .part_count = 1}, &text);
    assert_false(text.failed);
    prn__text_fini(&text);
    prn__page_part_destroy(part);
    sql(&g, "UPDATE runs SET step_count = 1");
    add_strategy(&g, 0, "sequential", "sequential", 1, 1, 3);
    sql(&g, "UPDATE stages SET steps = 9223372036854775807, samples = -1");
    sql(&g, "UPDATE runs SET batch = 0");
    part = load(&g, 10);
    assert_int_equal(part->curves[0].updates, 0);
    json_decref(page_json(part));
    prn__page_part_destroy(part);
    ground_close(&g);
}

static void a_failed_allocation_is_an_error(void **state)
{
    ground g;
    int64_t nth = 1;
    (void)state;
    ground_open(&g);
    add_run(&g, 2, "done", "return 1");
    add_strategy(&g, 0, "sequential", "sequential", 2, 2, 5);
    add_metrics(&g, 1, 5, 3);
    const int64_t before = prn__alloc_live();
    for (;; nth++) {
        prn_error error = PRN_ERROR_INIT;
        prn__page_part *part = NULL;
        prn__text text;
        prn__alloc_fail_at(nth);
        prn_status status = prn__page_part_load(g.folder, NULL, 10, &part, &error);
        prn__text_init(&text);
        if (status == PRN_OK) {
            prn__page_print(&(prn__page){.parts = &part, .part_count = 1}, &text);
        }
        prn__alloc_fail_at(0);
        const int failed = status != PRN_OK || text.failed;
        assert_true(status == PRN_OK || (status == PRN_NO_MEMORY && error.message[0] != '\0' && part == NULL));
        prn__text_fini(&text);
        prn__page_part_destroy(part);
        assert_int_equal(prn__alloc_live(), before);
        if (!failed) {
            break;
        }
    }
    assert_true(nth > 20);
    ground_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_results), cmocka_unit_test(nothing_from_a_ledger_becomes_markup), cmocka_unit_test(the_page_reaches_for_nothing),
        cmocka_unit_test(spikes_survive), cmocka_unit_test(a_time_step_of_several_stages_is_one_line), cmocka_unit_test(what_is_not_there_yet_is_left_out),
        cmocka_unit_test(odd_ledgers_make_a_page), cmocka_unit_test(a_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
