/* core/report/score_colour.c: see score_colour.h.
 *
 * The polynomial of degree six that Matt Zucker fitted to viridis (shadertoy.com/view/WlfXRN, 2019, public domain); within 2 % of
 * the table.
 */
#include "report/score_colour.h"

#include <math.h>

uint32_t prn__score_colour(double fraction)
{
    static const double c[7][3] = {
        {0.2777273272234177, 0.005407344544966578, 0.3340998053353061},
        {0.1050930431085774, 1.404613529898575, 1.384590162594685},
        {-0.3308618287255563, 0.214847559468213, 0.09509516302823659},
        {-4.634230498983486, -5.799100973351585, -19.33244095627987},
        {6.228269936347081, 14.17993336680509, 56.69055260068105},
        {4.776384997670288, -13.74514537774601, -65.35303263337234},
        {-5.435455855934631, 4.645852612178535, 26.3124352495832}};
    double t = fraction > 0 ? fraction < 1 ? fraction : 1 : 0;
    uint32_t colour = 0;
    for (int i = 0; i < 3; i++) {
        double value = c[6][i];
        for (int k = 5; k >= 0; k--) {
            value = value * t + c[k][i];
        }
        long level = lround(255 * value);
        colour = colour << 8 | (uint32_t)(level < 0 ? 0 : level > 255 ? 255 : level);
    }
    return colour;
}

double prn__colour_luminance(uint32_t colour)
{
    static const double weights[] = {0.2126, 0.7152, 0.0722};
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        double level = (colour >> (16 - 8 * i) & 255) / 255.0;
        sum += weights[i] * (level <= 0.04045 ? level / 12.92 : pow((level + 0.055) / 1.055, 2.4));
    }
    return sum;
}
