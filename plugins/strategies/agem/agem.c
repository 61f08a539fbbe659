/* agem: continue on the new data; where that would raise the loss on a memory of former data, take the step without that part.
 *
 * With g the gradient of the new batch and r that of a memory batch: when g.r < 0, g := g - (g.r / r.r) r (averaged gradient
 * episodic memory). The memory holds at most `size` samples, shared out by a rule (../common/buffer.h).
 * Source: Chaudhry et al., "Efficient lifelong learning with A-GEM", 2019.
 */
#include "../common/buffer.h"

struct prn_strategy_instance {
    const prn_host *host;
    buffer_rule rule;
    int64_t batch;
};

enum { OPTION_SIZE, OPTION_UNIT, OPTION_RULE, OPTION_HALF_LIFE, OPTION_BATCH };

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "size", .unit = "", .preset = "1", .minimum = 0, .maximum = 1e15,
     .help = "how much the memory holds, in what `unit` says"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "unit", .unit = "", .preset = "steps", .choices = "steps|samples",
     .help = "samples, or time steps' worth: multiples of the samples that the step before brought"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "rule", .unit = "", .preset = "equal", .choices = BUFFER_RULES,
     .help = "how former steps share the memory"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "half_life", .unit = "steps", .preset = "1", .minimum = 1e-3, .maximum = 1e6,
     .help = "exp: the age at which a share has halved"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_INTEGER, .name = "memory_batch", .unit = "samples", .preset = "64", .minimum = 2, .maximum = 16777216,
     .help = "samples of the memory that come with each update; at most the recipe's batch"},
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "agem");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "agem: out of memory");
    }
    self->host = host;
    self->rule = (buffer_rule){.name = values[OPTION_RULE].string, .size = values[OPTION_SIZE].real, .half_life = values[OPTION_HALF_LIFE].real,
                               .in_steps = strcmp(values[OPTION_UNIT].string, "steps") == 0};
    self->batch = values[OPTION_BATCH].integer;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    if (request->source_capacity < step) {
        return prn_error_set(error, PRN_INVALID, "agem: the host gave room for %u data sources, step %u needs as many", request->source_capacity, step);
    }
    int64_t *shares = self->host->allocate(self->host->self, (step + 1) * sizeof *shares, "agem");
    if (shares == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "agem: out of memory");
    }
    int64_t kept = buffer_shares(&self->rule, line, step, shares);
    request->start_step = step - 1;
    request->sources[0] = (prn_source){.time_step = step};
    request->source_count = 1;
    if (kept > 0) {
        request->hooks = PRN_HOOK_TRAIN;
        request->memory_source_count = buffer_sources(line, step, shares, kept, 0, request->memory_sources);
        request->memory_batch = self->batch;
    }
    self->host->release(self->host->self, shares);
    return PRN_OK;
}

static prn_status change_gradient(prn_strategy_instance *self, const prn_stage *stage, prn_error *error)
{
    const prn_vectors *v = stage->vectors;
    double loss, along, length;
    (void)self;
    prn_status status = stage->memory_gradient(stage->self, stage->scratch, &loss, error);
    if (status == PRN_OK) {
        status = v->dot(v->self, stage->gradient, stage->scratch, &along, error);
    }
    if (status != PRN_OK || along >= 0) {
        return status;
    }
    status = v->dot(v->self, stage->scratch, stage->scratch, &length, error);
    return status == PRN_OK ? v->axpby(v->self, stage->gradient, 1, stage->gradient, -along / length, stage->scratch, error) : status;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .option_count = sizeof options / sizeof options[0],
    .name = "agem",
    .summary = "continue on the new data, never stepping against the gradient on a memory of former data",
    .options = options,
    .open = open_instance,
    .close = close_instance,
    .plan = plan,
    .change_gradient = change_gradient,
};

static const prn_interface interfaces[] = {{PRN_STRATEGY_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "agem",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on the new data, never stepping against the gradient on a memory of former data",
    .interfaces = interfaces,
};
