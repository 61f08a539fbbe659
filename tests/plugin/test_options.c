/* Option tables: text of every type becomes a checked value, what is not given has its default, and every refusal says which option
 * of which component, what it was, and what it must be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "plugin/registry.h"

#define OPTION(type, name, unit, preset, choices, low, high, help) {sizeof(prn_option), type, name, unit, preset, choices, low, high, help}

static const prn_option TABLE[] = {
    OPTION(PRN_OPTION_BOOL, "keep_optimizer", "", "false", NULL, 0, 1, "Whether the optimizer's state is kept."),
    OPTION(PRN_OPTION_INTEGER, "buffer_samples", "samples", "1000", NULL, 0, 1e12, "Size of the replay buffer."),
    OPTION(PRN_OPTION_REAL, "weight", "", "0.5", NULL, -1, 1, "Weight of the term."),
    OPTION(PRN_OPTION_STRING, "note", "", "", NULL, 0, 0, "Any text."),
    OPTION(PRN_OPTION_CHOICE, "rule", "", "equal", "equal|exp|recent", 0, 0, "How past steps share."),
    OPTION(PRN_OPTION_REAL_LIST, "grid", "fraction", "0.1,0.5,0.9", NULL, 0, 1, "Values that are tried."),
};
enum { KEEP, BUFFER, WEIGHT, NOTE, RULE, GRID, COUNT };

static prn__options *parsed(const prn__option_pair *given, size_t count)
{
    prn_error error = PRN_ERROR_INIT;
    prn__options *options = NULL;
    if (prn__options_parse("replay", TABLE, COUNT, given, count, &options, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return options;
}

/* `parts`: what the message must have besides the component and the option. */
static void refused(const char *name, const char *value, const char *part)
{
    prn_error error = PRN_ERROR_INIT;
    prn__options *options = (prn__options *)&error;
    const prn__option_pair given = {name, value};
    const int64_t live = prn__alloc_live();
    const prn_status status = prn__options_parse("replay", TABLE, COUNT, &given, 1, &options, &error);
    if (status != PRN_INVALID) {
        fail_msg("%s = '%s' gave %s", name, value, prn_status_name(status));
    }
    assert_null(options);
    assert_int_equal(prn__alloc_live(), live);
    if (strstr(error.message, part) == NULL || strstr(error.message, "replay") == NULL || strstr(error.message, name) == NULL) {
        fail_msg("the message for %s = '%s' lacks '%s': %s", name, value, part, error.message);
    }
}

static void defaults(void **state)
{
    (void)state;
    prn__options *options = parsed(NULL, 0);
    const prn_option_value *v = prn__options_values(options);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(v[i].struct_size, sizeof(prn_option_value));
        assert_int_equal(v[i].is_given, 0);
    }
    assert_int_equal(v[KEEP].integer, 0);
    assert_int_equal(v[BUFFER].integer, 1000);
    assert_true(v[WEIGHT].real == 0.5);
    assert_string_equal(v[NOTE].string, "");
    assert_string_equal(v[RULE].string, "equal");
    assert_int_equal(v[GRID].list_count, 3);
    assert_true(v[GRID].list[0] == 0.1 && v[GRID].list[1] == 0.5 && v[GRID].list[2] == 0.9);
    prn__options_destroy(options);
    prn__options_destroy(NULL);
}

static void given_values(void **state)
{
    (void)state;
    char text[] = "a text, with | and =", name[] = "note";
    const prn__option_pair given[] = {{"grid", " 0, 1 ,0.25"}, {name, text}, {"weight", "-1e-1"}, {"rule", "recent"}, {"keep_optimizer", "true"},
                                      {"buffer_samples", "1e6"}};
    prn__options *options = parsed(given, 6);
    memset(text, 'x', sizeof text - 1); /* the values are copies */
    const prn_option_value *v = prn__options_values(options);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(v[i].is_given, 1);
    }
    assert_int_equal(v[KEEP].integer, 1);
    assert_int_equal(v[BUFFER].integer, 1000000);
    assert_true(v[WEIGHT].real == -0.1);
    assert_string_equal(v[NOTE].string, "a text, with | and =");
    assert_string_equal(v[RULE].string, "recent");
    assert_int_equal(v[GRID].list_count, 3);
    assert_true(v[GRID].list[0] == 0 && v[GRID].list[1] == 1 && v[GRID].list[2] == 0.25);
    prn__options_destroy(options);
}

static void booleans(void **state)
{
    (void)state;
    static const char *const good[] = {"true", "1", "false", "0"}, *const bad[] = {"yes", "TRUE", "2", "", " true", "true "};
    for (int i = 0; i < 4; i++) {
        const prn__option_pair given = {"keep_optimizer", good[i]};
        prn__options *options = parsed(&given, 1);
        assert_int_equal(prn__options_values(options)[KEEP].integer, i < 2);
        prn__options_destroy(options);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refused("keep_optimizer", bad[i], "must be true or false");
    }
}

static void numbers_and_their_bounds(void **state)
{
    (void)state;
    static const char *const at_bounds[] = {"-1", "1", "1.0", "-1e0"};
    for (int i = 0; i < 4; i++) {
        const prn__option_pair given = {"weight", at_bounds[i]};
        prn__options *options = parsed(&given, 1);
        assert_true(fabs(prn__options_values(options)[WEIGHT].real) == 1);
        prn__options_destroy(options);
    }
    refused("weight", "1.0000001", "between -1 and 1");
    refused("weight", "-2", "between -1 and 1");
    refused("weight", "inf", "between -1 and 1");
    refused("weight", "-inf", "between -1 and 1");
    refused("weight", "nan", "a number");
    refused("weight", "", "a number");
    refused("weight", "half", "a number");
    refused("weight", "0.5x", "a number");
    refused("weight", "0,5", "a number");
    refused("weight", "1e999", "a number");
    refused("weight", "0.5 0.5", "Weight of the term."); /* the help is in the message */
    refused("buffer_samples", "1.5", "a whole number");
    refused("buffer_samples", "-1", "between 0 and 1e+12 samples");
    refused("buffer_samples", "1e13", "between 0 and 1e+12 samples");
    refused("buffer_samples", "ten", "a number");
}

static void whole_numbers_are_exact(void **state)
{
    (void)state;
    static const prn_option wide[] = {OPTION(PRN_OPTION_INTEGER, "seed", "", "0", NULL, -DBL_MAX, DBL_MAX, "A seed.")};
    prn_error error = PRN_ERROR_INIT;
    prn__options *options = NULL;
    prn__option_pair given = {"seed", "-8999999999999999"};
    assert_int_equal(prn__options_parse("x", wide, 1, &given, 1, &options, &error), PRN_OK);
    assert_int_equal(prn__options_values(options)[0].integer, -8999999999999999);
    prn__options_destroy(options);
    given.value = "9007199254740993"; /* the first that a double cannot hold */
    assert_int_equal(prn__options_parse("x", wide, 1, &given, 1, &options, &error), PRN_INVALID);
    assert_null(options);
}

static void choices_and_lists(void **state)
{
    (void)state;
    refused("rule", "random", "one of equal|exp|recent");
    refused("rule", "equal|exp", "one of");
    refused("rule", "equa", "one of");
    refused("rule", "", "one of");
    refused("rule", "Exp", "one of");
    refused("grid", "0.1,", "a number");
    refused("grid", ",", "a number");
    refused("grid", "0.1;0.2", "a number");
    refused("grid", "0.1,2,0.3", "between 0 and 1 fraction");
    const prn__option_pair empty = {"grid", ""};
    prn__options *options = parsed(&empty, 1);
    assert_int_equal(prn__options_values(options)[GRID].list_count, 0);
    assert_int_equal(prn__options_values(options)[GRID].is_given, 1);
    prn__options_destroy(options);
    char many[4001];
    for (int i = 0; i < 2000; i++) {
        memcpy(many + 2 * i, "1,", 2);
    }
    many[3999] = '\0';
    const prn__option_pair given = {"grid", many};
    options = parsed(&given, 1);
    assert_int_equal(prn__options_values(options)[GRID].list_count, 2000);
    assert_true(prn__options_values(options)[GRID].list[1999] == 1);
    prn__options_destroy(options);
}

static void unknown_twice_and_missing(void **state)
{
    (void)state;
    refused("bufer_samples", "1", "has no option 'bufer_samples' (did you mean 'buffer_samples'?)");
    refused("temperature", "1", "has no option 'temperature'");
    refused("", "1", "has no option ''");
    prn_error error = PRN_ERROR_INIT;
    prn__options *options = NULL;
    const prn__option_pair twice[] = {{"weight", "0"}, {"rule", "exp"}, {"weight", "0"}};
    assert_int_equal(prn__options_parse("replay", TABLE, COUNT, twice, 3, &options, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "option 'weight' is given twice"));
    assert_null(options);

    static const prn_option needed[] = {OPTION(PRN_OPTION_STRING, "path", "", NULL, NULL, 0, 0, "Where it lies.")};
    assert_int_equal(prn__options_parse("remote", needed, 1, NULL, 0, &options, &error), PRN_INVALID);
    assert_string_equal(error.message, "remote needs option 'path' (Where it lies.)");
    const prn__option_pair path = {"path", "here"};
    assert_int_equal(prn__options_parse("remote", needed, 1, &path, 1, &options, &error), PRN_OK);
    assert_string_equal(prn__options_values(options)[0].string, "here");
    prn__options_destroy(options);

    assert_int_equal(prn__options_parse("plain", NULL, 0, &path, 1, &options, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "it has none at all"));
    assert_int_equal(prn__options_parse("plain", NULL, 0, NULL, 0, &options, &error), PRN_OK);
    assert_non_null(prn__options_values(options));
    prn__options_destroy(options);
}

static void hostile_text_is_survived(void **state)
{
    (void)state;
    char huge[20000];
    memset(huge, '9', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    for (int i = 0; i < COUNT; i++) {
        const prn__option_pair given = {TABLE[i].name, huge}, named = {huge, "1"};
        prn_error error = PRN_ERROR_INIT;
        prn__options *options = NULL;
        const prn_status status = prn__options_parse("replay", TABLE, COUNT, &given, 1, &options, &error);
        assert_int_equal(status, i == NOTE ? PRN_OK : PRN_INVALID);
        prn__options_destroy(options);
        assert_int_equal(prn__options_parse("replay", TABLE, COUNT, &named, 1, &options, &error), PRN_INVALID);
        assert_true(strlen(error.message) < sizeof error.message);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const prn__option_pair given[] = {{"grid", "0.1,0.2"}, {"note", "text"}};
    const int64_t live = prn__alloc_live();
    for (int64_t n = 1;; n++) {
        prn_error error = PRN_ERROR_INIT;
        prn__options *options = NULL;
        prn__alloc_fail_at(n);
        const prn_status status = prn__options_parse("replay", TABLE, COUNT, given, 2, &options, &error);
        prn__alloc_fail_at(0);
        prn__options_destroy(options);
        assert_int_equal(prn__alloc_live(), live);
        if (status == PRN_OK) {
            assert_true(n > 1);
            break;
        }
        assert_int_equal(status, PRN_NO_MEMORY);
        assert_true(error.message[0] != '\0');
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(given_values),
        cmocka_unit_test(booleans),
        cmocka_unit_test(numbers_and_their_bounds),
        cmocka_unit_test(whole_numbers_are_exact),
        cmocka_unit_test(choices_and_lists),
        cmocka_unit_test(unknown_twice_and_missing),
        cmocka_unit_test(hostile_text_is_survived),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
