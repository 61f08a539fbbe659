/* replay: continue from the last checkpoint, on the new data and a buffer of bounded size.
 *
 * The buffer keeps at most `size` samples of former time steps, shared out by a rule (../common/buffer.h).
 */
#include "../common/buffer.h"

struct prn_strategy_instance {
    const prn_host *host;
    buffer_rule rule;
    const double *mix; /* the host's, while the instance lives */
    uint64_t mix_count;
};

enum { OPTION_SIZE, OPTION_UNIT, OPTION_RULE, OPTION_MIX, OPTION_HALF_LIFE };

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "size", .unit = "", .preset = "1", .minimum = 0, .maximum = 1e15,
     .help = "how much the buffer holds, in what `unit` says"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "unit", .unit = "", .preset = "steps", .choices = "steps|samples",
     .help = "samples, or time steps' worth: multiples of the samples that the step before brought"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "rule", .unit = "", .preset = "equal", .choices = BUFFER_RULES,
     .help = "how former steps share the buffer"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL_LIST, .name = "mix", .unit = "fraction", .preset = "0", .minimum = 0, .maximum = 0.99,
     .help = "share of each batch that comes from the buffer, or a list with that of each time step, the last of which holds for all later ones; 0: in"
             " proportion to the samples in it"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "half_life", .unit = "steps", .preset = "1", .minimum = 1e-3, .maximum = 1e6,
     .help = "exp: the age at which a share has halved"},
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    if (values[OPTION_MIX].list_count == 0) {
        return prn_error_set(error, PRN_INVALID, "replay: mix is empty; give at least one number, such as 0.5");
    }
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "replay");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "replay: out of memory");
    }
    self->host = host;
    self->rule = (buffer_rule){.name = values[OPTION_RULE].string, .size = values[OPTION_SIZE].real, .half_life = values[OPTION_HALF_LIFE].real,
                               .in_steps = strcmp(values[OPTION_UNIT].string, "steps") == 0};
    self->mix = values[OPTION_MIX].list;
    self->mix_count = values[OPTION_MIX].list_count;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    if (request->source_capacity < step) {
        return prn_error_set(error, PRN_INVALID, "replay: the host gave room for %u data sources, step %u needs as many", request->source_capacity, step);
    }
    int64_t *shares = self->host->allocate(self->host->self, (step + 1) * sizeof *shares, "replay");
    if (shares == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "replay: out of memory");
    }
    const double mix = self->mix[step - 1 < self->mix_count ? step - 1 : self->mix_count - 1];
    int64_t kept = buffer_shares(&self->rule, line, step, shares);
    request->start_step = step - 1;
    request->sources[0] = (prn_source){.time_step = step, .weight = mix > 0 && kept > 0 ? 1 - mix : 0};
    request->source_count = 1 + buffer_sources(line, step, shares, kept, mix, request->sources + 1);
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
