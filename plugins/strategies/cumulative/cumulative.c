/* cumulative: continue from the last checkpoint on all data so far.
 *
 * Costs C at each step, or a list of multiples of C: TiC-CLIP's rising budget is 1,1,1,1,1.5,2,3. A step beyond the list's end
 * costs what its last entry says.
 */
#include <perennial/strategy.h>

struct prn_strategy_instance {
    const prn_host *host;
    const double *multiples; /* the host's, while the instance lives */
    uint64_t multiple_count;
};

static const prn_option options[] = {
    {
        .struct_size = sizeof(prn_option),
        .type = PRN_OPTION_REAL_LIST,
        .name = "budget_multiples",
        .unit = "times C",
        .preset = "1",
        .minimum = 1e-6,
        .maximum = 1e6,
        .help = "what each time step may cost, in multiples of the recipe's budget; the last one holds for all later steps",
    },
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    if (values[0].list_count == 0) {
        return prn_error_set(error, PRN_INVALID, "cumulative: budget_multiples is empty; give at least one number, such as 1");
    }
    *instance = host->allocate(host->self, sizeof **instance, "cumulative");
    if (*instance == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "cumulative: out of memory");
    }
    (*instance)->host = host;
    (*instance)->multiples = values[0].list;
    (*instance)->multiple_count = values[0].list_count;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

static prn_status plan(prn_strategy_instance *instance, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)line;
    if (request->source_capacity < step) {
        return prn_error_set(error, PRN_INVALID, "cumulative: the host gave room for %u data sources, step %u needs as many", request->source_capacity,
                             step);
    }
    request->start_step = step - 1;
    request->budget_multiple = instance->multiples[step - 1 < instance->multiple_count ? step - 1 : instance->multiple_count - 1];
    for (uint32_t t = 1; t <= step; t++) {
        request->sources[t - 1] = (prn_source){.time_step = t};
    }
    request->source_count = step;
    return PRN_OK;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .option_count = sizeof options / sizeof options[0],
    .name = "cumulative",
    .summary = "continue from the last checkpoint, on all data so far",
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
    .name = "cumulative",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on all data so far",
    .interfaces = interfaces,
};
