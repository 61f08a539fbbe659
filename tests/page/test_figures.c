/* tests/page/test_figures.c: figures as files: there, whole, the same again, whatever the names. */
#include "page/support.h"

#include <dirent.h>

#include "base/file.h"
#include "page/figures.h"

static void load(const ground *g, prn__page_part **part)
{
    prn_error error = PRN_ERROR_INIT;
    if (prn__page_part_load(g->folder, NULL, 50, part, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
}

static size_t write_all(const prn__page_part *part, prn__figure_options options, prn__figure_files *files)
{
    prn_error error = PRN_ERROR_INIT;
    const size_t before = files->count;
    if (prn__figures_write(part, &options, files, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return files->count - before;
}

static char *content(const char *path, size_t *bytes)
{
    prn_error error = PRN_ERROR_INIT;
    char *data = NULL;
    if (prn__file_read(path, 1 << 24, &data, bytes, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return data;
}

static void make_ground(ground *g)
{
    ground_open(g);
    add_run(g, 3, "interrupted", "return 1");
    add_strategy(g, 0, HOSTILE_LABEL, "sequential", 3, 2, 20);
    add_strategy(g, 1, BROKEN_UTF8 "\n\x1b[31m", "replay", 3, 1, 20);
    add_strategy(g, 2, "oracle", "oracle", 3, 3, 20);
    add_metrics(g, 1, 20, 3);
    add_metrics(g, 201, 20, 2);
}

static void figures_are_whole_and_the_same_again(void **state)
{
    ground g;
    char folder[80], again[80];
    prn__page_part *part;
    prn__figure_files first = {0}, second = {0};
    prn_error error = PRN_ERROR_INIT;
    (void)state;
    make_ground(&g);
    load(&g, &part);
    (void)snprintf(folder, sizeof folder, "%s/one", g.folder);
    (void)snprintf(again, sizeof again, "%s/two", g.folder);
    assert_int_equal(prn__folder_create(folder, &error), PRN_OK);
    assert_int_equal(prn__folder_create(again, &error), PRN_OK);
    const int64_t before = prn__alloc_live();
    /* two tasks with four figures each, five of training, each as SVG and PDF */
    assert_int_equal(write_all(part, (prn__figure_options){.folder = folder, .prefix = "", .has_svg = 1, .has_pdf = 1}, &first), 2 * (2 * 4 + 5));
    assert_int_equal(write_all(part, (prn__figure_options){.folder = again, .prefix = "", .has_pdf = 1}, &second), 2 * 4 + 5);
    for (size_t i = 0; i < first.count; i++) {
        size_t bytes, length = strlen(first.paths[i]);
        char *data = content(first.paths[i], &bytes);
        assert_memory_equal(first.paths[i], folder, strlen(folder));
        assert_null(strpbrk(first.paths[i] + strlen(folder) + 1, "/<>&\"' \\"));
        if (strcmp(first.paths[i] + length - 3, "svg") == 0) {
            assert_memory_equal(data, "<?xml", 5);
            assert_non_null(strstr(data, "</svg>"));
        } else {
            char other[160];
            size_t other_bytes;
            assert_memory_equal(data, "%PDF-", 5);
            assert_memory_equal(data + bytes - 6, "%%EOF\n", 6);
            (void)snprintf(other, sizeof other, "%s/%s", again, strrchr(first.paths[i], '/') + 1);
            char *same = content(other, &other_bytes);
            assert_int_equal(bytes, other_bytes);
            assert_memory_equal(data, same, bytes);
            prn__free(same);
        }
        prn__free(data);
    }
    prn__figure_files_fini(&first);
    prn__figure_files_fini(&second);
    assert_int_equal(prn__alloc_live(), before);
    prn__page_part_destroy(part);
    ground_close(&g);
}

static void a_score_and_a_prefix(void **state)
{
    ground g;
    prn__page_part *part;
    prn__figure_files files = {0};
    (void)state;
    make_ground(&g);
    load(&g, &part);
    /* only retrieval has recall@5 */
    assert_int_equal(write_all(part, (prn__figure_options){.folder = g.folder, .prefix = "2-", .score = "recall@5", .has_svg = 1}, &files), 4 + 5);
    for (size_t i = 0; i < files.count; i++) {
        assert_memory_equal(strrchr(files.paths[i], '/'), "/2-", 3);
    }
    prn__figure_files_fini(&files);
    prn__page_part_destroy(part);
    ground_close(&g);
}

static void tasks_that_look_alike_get_files_of_their_own(void **state)
{
    ground g;
    prn__page_part *part;
    prn__figure_files files = {0};
    (void)state;
    make_ground(&g);
    sql(&g, "UPDATE tasks SET name = 'names-x' WHERE name = 'kinds'");
    load(&g, &part);
    assert_int_equal(write_all(part, (prn__figure_options){.folder = g.folder, .prefix = "", .has_svg = 1}, &files), 2 * 4 + 5);
    for (size_t i = 0; i < files.count; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(files.paths[i], files.paths[k]);
        }
    }
    prn__figure_files_fini(&files);
    prn__page_part_destroy(part);
    ground_close(&g);
}

static void nothing_to_draw_is_no_figure(void **state)
{
    ground g;
    prn__page_part *part;
    prn__figure_files files = {0};
    (void)state;
    ground_open(&g);
    add_run(&g, 2, "running", "return 1");
    load(&g, &part);
    assert_int_equal(write_all(part, (prn__figure_options){.folder = g.folder, .prefix = "", .has_svg = 1, .has_pdf = 1}, &files), 0);
    prn__page_part_destroy(part);
    add_strategy(&g, 0, "sequential", "sequential", 2, 0, 5);
    load(&g, &part);
    assert_int_equal(write_all(part, (prn__figure_options){.folder = g.folder, .prefix = "", .has_svg = 1, .has_pdf = 1}, &files), 0);
    prn__page_part_destroy(part);
    prn__figure_files_fini(&files);
    ground_close(&g);
}

static void a_folder_that_cannot_be_written(void **state)
{
    ground g;
    prn__page_part *part;
    prn__figure_files files = {0};
    prn_error error = PRN_ERROR_INIT;
    (void)state;
    make_ground(&g);
    load(&g, &part);
    const int64_t before = prn__alloc_live();
    const prn__figure_options options = {.folder = "/proc/none", .prefix = "", .has_svg = 1};
    assert_int_not_equal(prn__figures_write(part, &options, &files, &error), PRN_OK);
    assert_non_null(strstr(error.message, "/proc/none"));
    assert_int_equal(files.count, 0);
    prn__figure_files_fini(&files);
    assert_int_equal(prn__alloc_live(), before);
    prn__page_part_destroy(part);
    ground_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_whole_and_the_same_again), cmocka_unit_test(a_score_and_a_prefix),
        cmocka_unit_test(tasks_that_look_alike_get_files_of_their_own), cmocka_unit_test(nothing_to_draw_is_no_figure),
        cmocka_unit_test(a_folder_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
