/* core/page/style.c: see style.h.
 *
 * Categorical colours: Okabe and Ito's set for all kinds of colour vision (jfly.uni-koeln.de/color, 2008) without its yellow,
 * darkened or lightened where a thin line needs it to have 3:1 against the background; violet in the yellow's place.
 */
#include "page/style.h"

#include <math.h>

static const uint32_t LIGHT[PRN__PALETTE_COLOURS] = {0x0072b2, 0xd55e00, 0x00875f, 0xb8578f, 0xb97a00, 0x3b93c9, 0x6a4c93, 0x1b1c1e};
static const uint32_t DARK[PRN__PALETTE_COLOURS] = {0x4ba6e0, 0xf07f3c, 0x2fbf93, 0xe08bbd, 0xe6a82f, 0x8fcbf2, 0xa98fd6, 0xf1f0ec};
static const double DASHES[PRN__DASHES][PRN__DASH_PARTS] = {{0, 0, 0, 0}, {6, 3, 0, 0}, {1.5, 2.5, 0, 0}, {8, 2.5, 1.5, 2.5}};
static const int DASH_COUNT[PRN__DASHES] = {0, 2, 2, 4};

prn__line_style prn__line_style_of(size_t index, int is_oracle)
{
    if (is_oracle) {
        return (prn__line_style){PRN__INK, 4, 0};
    }
    /* the star is the oracle's */
    size_t round = index / PRN__INK, marker = (index + 3 * round) % (PRN__MARKERS - 1);
    return (prn__line_style){(int)(index % PRN__INK), (int)(marker < 4 ? marker : marker + 1), (int)(round % PRN__DASHES)};
}

uint32_t prn__palette_colour(int colour, int is_dark)
{
    return (is_dark ? DARK : LIGHT)[colour];
}

const double *prn__dash_parts(int dash, int *count)
{
    *count = DASH_COUNT[dash];
    return DASHES[dash];
}

/* A regular star or polygon: `corners` times an outer and, where `inner` is under 1, an inner point. */
static int ring(double *target, int corners, double outer, double inner, double turn)
{
    int points = inner < 1 ? 2 * corners : corners;
    for (int i = 0; i < points; i++) {
        double angle = turn + 2 * 3.14159265358979323846 * i / points, radius = i % 2 == 1 && inner < 1 ? inner * outer : outer;
        target[2 * i] = radius * sin(angle);
        target[2 * i + 1] = -radius * cos(angle);
    }
    return points;
}

int prn__marker_outline(int marker, double target[2 * PRN__MARKER_POINTS])
{
    static const double plus[] = {-0.4, -1.15, 0.4, -1.15, 0.4, -0.4, 1.15, -0.4, 1.15, 0.4, 0.4, 0.4, 0.4, 1.15, -0.4, 1.15, -0.4, 0.4, -1.15, 0.4, -1.15, -0.4, -0.4, -0.4};
    const double eighth = 3.14159265358979323846 / 4;
    switch (marker) {
    case 0: return ring(target, PRN__MARKER_POINTS, 1, 1, 0);        /* disc */
    case 1: return ring(target, 4, 1.25, 1, eighth);                 /* square */
    case 2: return ring(target, 3, 1.3, 1, 0);                       /* triangle */
    case 3: return ring(target, 4, 1.3, 1, 0);                       /* diamond */
    case 4: return ring(target, 5, 1.3, 0.45, 0);                    /* star */
    case 5: return ring(target, 3, 1.3, 1, 4 * eighth);              /* triangle, point down */
    case 6:                                                          /* plus */
    default:                                                         /* cross: the plus turned */
        for (int i = 0; i < 12; i++) {
            double x = plus[2 * i], y = plus[2 * i + 1], turn = marker == 6 ? 0 : eighth;
            target[2 * i] = x * cos(turn) - y * sin(turn);
            target[2 * i + 1] = x * sin(turn) + y * cos(turn);
        }
        return 12;
    }
}
