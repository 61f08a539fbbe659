/* A strategy as someone outside the tree would write it: train from scratch on the newest `steps` time steps. */
#include <perennial/strategy.h>

struct prn_strategy_instance {
    const prn_host *host;
    int64_t steps;
};

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_INTEGER, .name = "steps", .unit = "time steps", .preset = "2", .minimum = 1,
     .maximum = 1000, .help = "How many of the newest time steps are trained on."},
};

static prn_status latest_open(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "strategy latest");
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "latest: out of memory");
    }
    self->host = host;
    self->steps = values[0].integer;
    *instance = self;
    return PRN_OK;
}

static void latest_close(prn_strategy_instance *self)
{
    self->host->release(self->host->self, self);
}

static prn_status latest_plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)line;
    if (request->source_capacity < step) {
        return prn_error_set(error, PRN_INTERNAL, "latest: the host left no room for %u sources", step);
    }
    request->start_step = PRN_START_RANDOM;
    for (uint32_t t = step > self->steps ? step - (uint32_t)self->steps + 1 : 1; t <= step; t++) {
        request->sources[request->source_count++] = (prn_source){.time_step = t};
    }
    return PRN_OK;
}

static const prn_strategy strategy = {
    .struct_size = sizeof(prn_strategy),
    .option_count = 1,
    .name = OUTSIDE_NAME,
    .summary = "start again at every step, on the newest steps only",
    .options = options,
    .open = latest_open,
    .close = latest_close,
    .plan = latest_plan,
};

static const prn_interface interfaces[] = {{PRN_STRATEGY_INTERFACE, &strategy}};

PRN_PLUGIN_DECLARE = {
    .struct_size = sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = OUTSIDE_NAME,
    .version = "0.3.1",
    .license = "MIT",
    .summary = "a strategy built outside the tree",
    .interfaces = interfaces,
};
