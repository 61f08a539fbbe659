/* tests/report/test_json.c: order, numbers, text that is not UTF-8. */
#include "report/support.h"

#include <math.h>

#include "report/json.h"

static void the_tree_is_printed_in_order(void **state)
{
    prn__json json = {0};
    prn__text text;
    json_t *root = prn__json_object(&json, NULL, NULL);
    (void)state;
    prn__text_init(&text);
    prn__json_string(&json, root, "z", "first \"quoted\"");
    prn__json_integer(&json, root, "a", 12);
    prn__json_boolean(&json, root, "yes", 1);
    prn__json_string(&json, root, "nothing", NULL);
    json_t *matrix = prn__json_array(&json, root, "matrix");
    for (int i = 0; i < 2; i++) {
        json_t *row = prn__json_array(&json, matrix, NULL);
        prn__json_real(&json, row, NULL, i + 0.1);
        prn__json_real(&json, row, NULL, NAN);
    }
    (void)prn__json_array(&json, root, "empty");
    (void)prn__json_object(&json, root, "none");
    prn__json_parsed(&json, root, "options", "{\"b\": 1, \"a\": 2}");
    prn__json_parsed(&json, root, "broken", "{\"b\": ");
    prn__json_finish(&json, root, &text);
    text_is(&text, "{\n"
                   "  \"z\": \"first \\\"quoted\\\"\",\n"
                   "  \"a\": 12,\n"
                   "  \"yes\": true,\n"
                   "  \"nothing\": null,\n"
                   "  \"matrix\": [\n"
                   "    [0.1, null],\n"
                   "    [1.1, null]\n"
                   "  ],\n"
                   "  \"empty\": [],\n"
                   "  \"none\": {},\n"
                   "  \"options\": {\n"
                   "    \"b\": 1,\n"
                   "    \"a\": 2\n"
                   "  },\n"
                   "  \"broken\": null\n"
                   "}\n");
}

static void reals_read_back_the_same(void **state)
{
    static const double values[] = {0.1, 1.0 / 3, 3.79e18, 1.06e20, 5e-324, 1.7976931348623157e308, -0.0, 123456789.0, 0.30000000000000004};
    char digits[40];
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_true(strtod(prn__format_real(values[i], digits), NULL) == values[i]);
    }
    assert_string_equal(prn__format_real(0.1, digits), "0.1");
    assert_string_equal(prn__format_real(0.30000000000000004, digits), "0.30000000000000004");
}

static void bad_bytes_are_repaired(void **state)
{
    prn__json json = {0};
    prn__text text;
    json_t *root = prn__json_array(&json, NULL, NULL);
    (void)state;
    prn__text_init(&text);
    prn__json_bytes(&json, root, NULL, "key\xff.1", 6);
    prn__json_string(&json, root, NULL, "caf\xc3\xa9\n");
    prn__json_finish(&json, root, &text);
    text_is(&text, "[\"key\xef\xbf\xbd.1\", \"caf\xc3\xa9\\n\"]\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_is_printed_in_order),
        cmocka_unit_test(reals_read_back_the_same),
        cmocka_unit_test(bad_bytes_are_repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
