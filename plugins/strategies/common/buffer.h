/* plugins/strategies/common/buffer.h: which former time step may keep how many samples in a buffer of bounded size.
 *
 * Which samples of a step stay is the host's choice: the first so many of an order that the seed fixes, so that a share that
 * shrinks keeps a subset of what it had, as a buffer that forgets must. No share ever grows again.
 *
 *   equal      every former step the same share
 *   exp        shares halve with each `half_life` steps of age
 *   recent     the newest samples first, until the buffer is full
 *   reservoir  in proportion to the size of each step: a uniform sample of all that has passed
 *
 * A step with fewer samples than its share leaves the rest to the others, in the same proportions.
 */
#ifndef PLUGINS_STRATEGIES_BUFFER_H
#define PLUGINS_STRATEGIES_BUFFER_H

#include <perennial/strategy.h>

#include <math.h>
#include <string.h>

typedef struct buffer_rule {
    const char *name;
    double size, half_life;
    int in_steps; /* size is in multiples of what the step before brought; else in samples */
} buffer_rule;

#define BUFFER_RULES "equal|exp|recent|reservoir"

/* Weight of step k (1..) among the former steps of step t. */
static inline double buffer_weight(const buffer_rule *rule, const prn_time_line *line, uint32_t k, uint32_t t)
{
    if (strcmp(rule->name, "exp") == 0) {
        return exp2(-(double)(t - 1 - k) / rule->half_life);
    }
    return strcmp(rule->name, "reservoir") == 0 ? (double)line->steps[k - 1].samples : 1;
}

/* Lowers `shares` (of the former steps of step t, on entry what each could keep at most) until they are `room` together:
 * share = min(limit, level * weight), where the level is such that the room is used; a limit that binds leaves its rest to the others.
 * Rounded down: a buffer never holds more than it may. */
static inline void buffer_share_out(const buffer_rule *rule, const prn_time_line *line, uint32_t t, int64_t room, int64_t *shares)
{
    double free_room = (double)room, level = 0;
    int64_t all = 0;
    for (uint32_t k = 1; k < t; k++) {
        all += shares[k - 1];
    }
    if (all <= room) {
        return;
    }
    if (strcmp(rule->name, "recent") == 0) {
        for (uint32_t k = t - 1; k >= 1; k--) {
            shares[k - 1] = shares[k - 1] < room ? shares[k - 1] : room;
            room -= shares[k - 1];
        }
        return;
    }
    for (int changed = 1; changed;) { /* each round finds at least one more limit that binds, or ends: at most t rounds */
        double weights = 0, bound = 0, next;
        for (uint32_t k = 1; k < t; k++) {
            int binds = level > 0 && (double)shares[k - 1] <= level * buffer_weight(rule, line, k, t);
            weights += binds ? 0 : buffer_weight(rule, line, k, t);
            bound += binds ? (double)shares[k - 1] : 0;
        }
        next = weights > 0 ? (free_room - bound) / weights : level;
        changed = next > level;
        level = changed ? next : level;
    }
    for (uint32_t k = 1; k < t; k++) {
        double share = floor(level * buffer_weight(rule, line, k, t) * (1 + 1e-12));
        shares[k - 1] = share < (double)shares[k - 1] ? (int64_t)share : shares[k - 1];
    }
}

static inline int64_t buffer_room(const buffer_rule *rule, const prn_time_line *line, uint32_t t)
{
    const double room = rule->in_steps ? rule->size * (double)line->steps[t - 2].samples : rule->size;
    return room < 9e18 ? (int64_t)room : INT64_MAX; /* what a double holds may be more than a count can */
}

/* Shares of the former steps 1..step-1 at time step `step` into (step-1); their sum. */
static inline int64_t buffer_shares(const buffer_rule *rule, const prn_time_line *line, uint32_t step, int64_t *shares)
{
    int64_t kept = 0;
    for (uint32_t t = 2; t <= step; t++) { /* the buffer's history: what was forgotten does not come back */
        shares[t - 2] = line->steps[t - 2].samples;
        buffer_share_out(rule, line, t, buffer_room(rule, line, t), shares);
    }
    for (uint32_t k = 1; k < step; k++) {
        kept += shares[k - 1];
    }
    return kept;
}

/* Former steps with a share as sources, their weights `mix` in all (0: none have weights). Returns how many. */
static inline uint32_t buffer_sources(const prn_time_line *line, uint32_t step, const int64_t *shares, int64_t kept, double mix, prn_source *sources)
{
    uint32_t count = 0;
    for (uint32_t k = 1; k < step; k++) {
        if (shares[k - 1] > 0) {
            sources[count++] = (prn_source){
                .time_step = k,
                .max_samples = shares[k - 1] < line->steps[k - 1].samples ? shares[k - 1] : 0,
                .weight = mix > 0 ? mix * (double)shares[k - 1] / (double)kept : 0,
            };
        }
    }
    return count;
}

#endif
