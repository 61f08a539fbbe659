/* tests/report/test_table.c: widths, alignment, hostile text, numbers. */
#include "report/support.h"

#include <math.h>

#include "report/table.h"

static void widths_count_cells(void **state)
{
    (void)state;
    assert_int_equal(prn__text_cells(""), 0);
    assert_int_equal(prn__text_cells("abc"), 3);
    assert_int_equal(prn__text_cells("\xc3\xa9"), 1);                     /* e acute */
    assert_int_equal(prn__text_cells("e\xcc\x81"), 1);                   /* e, combining acute */
    assert_int_equal(prn__text_cells("\xe6\xbc\xa2\xe5\xad\x97"), 4);    /* two ideographs */
    assert_int_equal(prn__text_cells("\xf0\x9f\x98\x80"), 2);            /* an emoji */
    assert_int_equal(prn__text_cells("\xff\xfe"), 2);                    /* invalid bytes show as one cell each */
}

static void safe(const char *bytes, size_t length, size_t limit, const char *wanted)
{
    prn__text text;
    prn__text_init(&text);
    prn__text_append_safe(&text, bytes, length, limit);
    text_is(&text, wanted);
}

static void unsafe_characters_do_not_pass(void **state)
{
    (void)state;
    safe("a\nb\tc\rd", 7, 0, "a b c d");
    safe("\033[2Jx", 5, 0, "\xef\xbf\xbd[2Jx");
    safe("a\0b", 3, 0, "a\xef\xbf\xbd" "b");
    safe("\xc2\x9bx", 3, 0, "\xef\xbf\xbdx");             /* C1 control sequence introducer */
    safe("\xe2\x80\xaex", 4, 0, "\xef\xbf\xbdx");         /* right-to-left override */
    safe("\xc3(", 2, 0, "\xef\xbf\xbd(");                 /* a cut sequence */
    safe("caf\xc3\xa9", 5, 0, "caf\xc3\xa9");
}

static void long_text_is_cut_by_cells(void **state)
{
    (void)state;
    safe("abcdef", 6, 6, "abcdef");
    safe("abcdefg", 7, 6, "abcde\xe2\x80\xa6");
    safe("\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 9, 6, "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2");
    safe("\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 9, 5, "\xe6\xbc\xa2\xe5\xad\x97\xe2\x80\xa6");
    safe("\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 9, 4, "\xe6\xbc\xa2\xe2\x80\xa6");
    safe("abc", 3, 1, "\xe2\x80\xa6");
}

static void columns_line_up(void **state)
{
    prn__text text;
    prn__table *table = prn__table_create();
    (void)state;
    prn__text_init(&text);
    prn__table_column(table, "name", 'l');
    prn__table_column(table, "n", 'r');
    prn__table_column(table, "last", 'l');
    prn__table_cell(table, "\xe6\xbc\xa2");
    prn__table_cell(table, "%d", 7);
    prn__table_cell(table, "x");
    prn__table_cell(table, "longer name");
    prn__table_cell(table, "%d", 12345);
    prn__table_cell(table, "%s", "");
    prn__table_print(table, 1, &text);
    prn__table_destroy(table);
    text_is(&text, " name             n  last\n"
                   " \xe6\xbc\xa2               7  x\n"
                   " longer name  12345\n");
}

static void a_table_without_head_has_none(void **state)
{
    prn__text text;
    prn__table *table = prn__table_create();
    (void)state;
    prn__text_init(&text);
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    prn__table_cell(table, "a");
    prn__table_cell(table, "one\ntwo");
    prn__table_cell(table, "bb");
    prn__table_print(table, 0, &text); /* the last row is not full */
    prn__table_destroy(table);
    text_is(&text, "a   one two\nbb\n");
}

static void numbers_are_readable(void **state)
{
    prn__text text;
    char buffer[40];
    prn__table *table = prn__table_create();
    (void)state;
    assert_string_equal(prn__format_count(0, buffer, sizeof buffer), "0");
    assert_string_equal(prn__format_count(999, buffer, sizeof buffer), "999");
    assert_string_equal(prn__format_count(33584, buffer, sizeof buffer), "33,584");
    assert_string_equal(prn__format_count(-1234567, buffer, sizeof buffer), "-1,234,567");
    assert_string_equal(prn__format_count(INT64_MIN, buffer, sizeof buffer), "-9,223,372,036,854,775,808");
    assert_string_equal(prn__format_bytes(512, buffer, sizeof buffer), "512 B");
    assert_string_equal(prn__format_bytes(3.1e6, buffer, sizeof buffer), "3.10 MB");
    prn__text_init(&text);
    for (int i = 0; i < 5; i++) {
        prn__table_column(table, "", 'l');
    }
    prn__table_percent(table, 0.1234);
    prn__table_percent(table, -0.0001);
    prn__table_percent(table, NAN);
    prn__table_si(table, 3.79e18);
    prn__table_count(table, 12000);
    prn__table_print(table, 0, &text);
    prn__table_destroy(table);
    text_is(&text, "12.3  0.0  -  3.79 E  12,000\n");
}

/* Whatever allocation fails, nothing crashes, nothing is left, and the result says so. */
static void failed_allocations_are_kept(void **state)
{
    (void)state;
    int64_t before = prn__alloc_live();
    for (int64_t nth = 1; nth < 40; nth++) {
        prn__text text;
        prn__alloc_fail_at(nth);
        prn__table *table = prn__table_create();
        prn__text_init(&text);
        prn__table_column(table, "head", 'l');
        for (int i = 0; i < 40; i++) {
            prn__table_cell(table, "%s %0300d", "a cell that is longer than the small buffer", i);
        }
        prn__table_print(table, 0, &text);
        prn__alloc_fail_at(0);
        if (!text.failed) {
            text_has(&text, "small buffer");
            assert_int_equal(strlen(text.data), text.length);
        }
        prn__table_destroy(table);
        prn__text_fini(&text);
        assert_int_equal(prn__alloc_live(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths_count_cells),  cmocka_unit_test(unsafe_characters_do_not_pass), cmocka_unit_test(long_text_is_cut_by_cells),
        cmocka_unit_test(columns_line_up),     cmocka_unit_test(a_table_without_head_has_none), cmocka_unit_test(numbers_are_readable),
        cmocka_unit_test(failed_allocations_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
