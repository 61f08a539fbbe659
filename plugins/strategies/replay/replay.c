/* replay: continue from the last checkpoint, on the new data and a buffer of bounded size.
 *
 * The buffer keeps at most `size` samples of former time steps. Which step may keep how many is the rule's choice; which samples of a
 * step stay is the host's: the first so many of an order that the seed fixes, so that a share that shrinks keeps a subset of
 * what it had, as a buffer that forgets must. No share ever grows again.
 *
 *   equal      every former step the same share
 *   exp        shares halve with each `half_life` steps of age
 *   recent     the newest samples first, until the buffer is full
 *   reservoir  in proportion to the size of each step: a uniform sample of all that has passed
 *
 * A step with fewer samples than its share leaves the rest to the others, in the same proportions.
 */
#include <perennial/strategy.h>

#include <math.h>
#include <string.h>

struct prn_strategy_instance {
    const prn_host *host;
    double size, mix, half_life;
    const char *rule;
    int in_steps;
};

enum { OPTION_SIZE, OPTION_UNIT, OPTION_RULE, OPTION_MIX, OPTION_HALF_LIFE };

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "size", .unit = "", .preset = "1", .minimum = 0, .maximum = 1e15,
     .help = "how much the buffer holds, in what `unit` says"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "unit", .unit = "", .preset = "steps", .choices = "steps|samples",
     .help = "samples, or time steps' worth: multiples of the samples that the step before brought"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "rule", .unit = "", .preset = "equal", .choices = "equal|exp|recent|reservoir",
     .help = "how former steps share the buffer"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "mix", .unit = "fraction", .preset = "0", .minimum = 0, .maximum = 0.99,
     .help = "share of each batch that comes from the buffer; 0: in proportion to the samples in it"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "half_life", .unit = "steps", .preset = "1", .minimum = 1e-3, .maximum = 1e6,
     .help = "exp: the age at which a share has halved"},
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "replay");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "replay: out of memory");
    }
    self->host = host;
    self->size = values[OPTION_SIZE].real;
    self->in_steps = strcmp(values[OPTION_UNIT].string, "steps") == 0;
    self->rule = values[OPTION_RULE].string;
    self->mix = values[OPTION_MIX].real;
    self->half_life = values[OPTION_HALF_LIFE].real;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

/* Weight of step k (1..) among the former steps of step t. */
static double weight_of(const prn_strategy_instance *self, const prn_time_line *line, uint32_t k, uint32_t t)
{
    if (strcmp(self->rule, "exp") == 0) {
        return exp2(-(double)(t - 1 - k) / self->half_life);
    }
    return strcmp(self->rule, "reservoir") == 0 ? (double)line->steps[k - 1].samples : 1;
}

/* Lowers `shares` (of the former steps of step t, on entry what each could keep at most) until they are `room` together:
 * share = min(limit, level * weight), where the level is such that the room is used; a limit that binds leaves its rest to the others.
 * Rounded down: a buffer never holds more than it may. */
static void share_out(const prn_strategy_instance *self, const prn_time_line *line, uint32_t t, int64_t room, int64_t *shares)
{
    double free_room = (double)room, level = 0;
    int64_t all = 0;
    for (uint32_t k = 1; k < t; k++) {
        all += shares[k - 1];
    }
    if (all <= room) {
        return;
    }
    if (strcmp(self->rule, "recent") == 0) {
        for (uint32_t k = t - 1; k >= 1; k--) {
            shares[k - 1] = shares[k - 1] < room ? shares[k - 1] : room;
            room -= shares[k - 1];
        }
        return;
    }
    for (int changed = 1; changed;) { /* each round finds at least one more limit that binds, or ends: at most t rounds */
        double weights = 0, bound = 0, next;
        for (uint32_t k = 1; k < t; k++) {
            int binds = level > 0 && (double)shares[k - 1] <= level * weight_of(self, line, k, t);
            weights += binds ? 0 : weight_of(self, line, k, t);
            bound += binds ? (double)shares[k - 1] : 0;
        }
        next = weights > 0 ? (free_room - bound) / weights : level;
        changed = next > level;
        level = changed ? next : level;
    }
    for (uint32_t k = 1; k < t; k++) {
        double share = floor(level * weight_of(self, line, k, t) * (1 + 1e-12));
        shares[k - 1] = share < (double)shares[k - 1] ? (int64_t)share : shares[k - 1];
    }
}

static int64_t room_at(const prn_strategy_instance *self, const prn_time_line *line, uint32_t t)
{
    return (int64_t)(self->in_steps ? self->size * (double)line->steps[t - 2].samples : self->size);
}

static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    int64_t kept = 0;
    if (request->source_capacity < step) {
        return prn_error_set(error, PRN_INVALID, "replay: the host gave room for %u data sources, step %u needs as many", request->source_capacity, step);
    }
    int64_t *shares = self->host->allocate(self->host->self, (step + 1) * sizeof *shares, "replay");
    if (shares == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "replay: out of memory");
    }
    for (uint32_t t = 2; t <= step; t++) { /* the buffer's history: what was forgotten does not come back */
        shares[t - 2] = line->steps[t - 2].samples;
        share_out(self, line, t, room_at(self, line, t), shares);
    }
    for (uint32_t k = 1; k < step; k++) {
        kept += shares[k - 1];
    }
    request->start_step = step - 1;
    request->sources[0] = (prn_source){.time_step = step, .weight = self->mix > 0 && kept > 0 ? 1 - self->mix : 0};
    request->source_count = 1;
    for (uint32_t k = 1; k < step; k++) {
        if (shares[k - 1] > 0) {
            request->sources[request->source_count++] = (prn_source){
                .time_step = k,
                .max_samples = shares[k - 1] < line->steps[k - 1].samples ? shares[k - 1] : 0,
                .weight = self->mix > 0 ? self->mix * (double)shares[k - 1] / (double)kept : 0,
            };
        }
    }
    self->host->release(self->host->self, shares);
    return PRN_OK;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .option_count = sizeof options / sizeof options[0],
    .name = "replay",
    .summary = "continue from the last checkpoint, on the new data and a bounded buffer of former data",
    .options = options,
    .open = open_instance,
    .close = close_instance,
    .plan = plan,
};

static const prn_interface interfaces[] = {{PRN_STRATEGY_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "replay",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on the new data and a bounded buffer",
    .interfaces = interfaces,
};
