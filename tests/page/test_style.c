/* tests/page/test_style.c: colours that everyone can tell apart, markers that differ. */
#include "page/support.h"

#include "page/style.h"
#include "report/score_colour.h"

static double channel(uint32_t colour, int shift)
{
    return (double)(colour >> shift & 255);
}

static void near(uint32_t colour, uint32_t wanted)
{
    for (int shift = 0; shift <= 16; shift += 8) {
        if (fabs(channel(colour, shift) - channel(wanted, shift)) > 6) {
            fail_msg("#%06x is not near #%06x", colour, wanted);
        }
    }
}

static void the_map_of_scores_is_viridis(void **state)
{
    (void)state;
    /* matplotlib's table at 0, 64, 128, 191 and 255 of 255 */
    near(prn__score_colour(0), 0x440154);
    near(prn__score_colour(64 / 255.0), 0x3b528b);
    near(prn__score_colour(128 / 255.0), 0x21918c);
    near(prn__score_colour(191 / 255.0), 0x5ec962);
    near(prn__score_colour(1), 0xfde725);
    assert_int_equal(prn__score_colour(-1), prn__score_colour(0));
    assert_int_equal(prn__score_colour(7), prn__score_colour(1));
    assert_int_equal(prn__score_colour(NAN), prn__score_colour(0));
}

static void the_map_reads_in_grey(void **state)
{
    double before = -1;
    (void)state;
    for (int i = 0; i <= 100; i++) {
        double now = prn__colour_luminance(prn__score_colour(i / 100.0));
        if (now < before) {
            fail_msg("at %d %% the map gets darker: %f after %f", i, now, before);
        }
        before = now;
    }
    assert_true(prn__colour_luminance(prn__score_colour(0)) < 0.03 && before > 0.75);
    assert_true(fabs(prn__colour_luminance(0xffffff) - 1) < 1e-12 && prn__colour_luminance(0) == 0);
}

static double contrast(uint32_t a, uint32_t b)
{
    double x = prn__colour_luminance(a) + 0.05, y = prn__colour_luminance(b) + 0.05;
    return x > y ? x / y : y / x;
}

static void lines_stand_out(void **state)
{
    (void)state;
    for (int i = 0; i < PRN__PALETTE_COLOURS; i++) {
        for (int is_dark = 0; is_dark < 2; is_dark++) {
            double ratio = contrast(prn__palette_colour(i, is_dark), is_dark ? 0x141517 : 0xfdfdfb);
            if (ratio < 3) {
                fail_msg("colour %d on %s: contrast %.2f", i, is_dark ? "dark" : "light", ratio);
            }
        }
    }
}

static void strategies_differ_in_more_than_colour(void **state)
{
    enum { COUNT = 28 };
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        const prn__line_style a = prn__line_style_of(i, 0), oracle = prn__line_style_of(0, 1);
        assert_true(a.colour >= 0 && a.colour < PRN__INK && a.marker >= 0 && a.marker < PRN__MARKERS && a.dash >= 0 && a.dash < PRN__DASHES);
        assert_true(oracle.colour == PRN__INK && a.marker != oracle.marker);
        for (size_t k = 0; k < i; k++) {
            const prn__line_style b = prn__line_style_of(k, 0);
            /* without colour: by marker or dash; in the same colour: by both */
            assert_true(a.marker != b.marker || a.dash != b.dash);
            assert_true(a.colour != b.colour || (a.marker != b.marker && a.dash != b.dash));
        }
    }
}

static void markers_are_outlines(void **state)
{
    (void)state;
    for (int i = 0; i < PRN__MARKERS; i++) {
        double outline[2 * PRN__MARKER_POINTS];
        int points = prn__marker_outline(i, outline);
        assert_in_range(points, 3, PRN__MARKER_POINTS);
        for (int k = 0; k < 2 * points; k++) {
            assert_true(fabs(outline[k]) <= 1.3 + 1e-9);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_map_of_scores_is_viridis), cmocka_unit_test(the_map_reads_in_grey), cmocka_unit_test(lines_stand_out),
        cmocka_unit_test(strategies_differ_in_more_than_colour), cmocka_unit_test(markers_are_outlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
