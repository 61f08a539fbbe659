/* restart: start again at every step, on all data so far, at the cost of one step.
 *
 * What retraining costs when the budget does not grow: every sample is seen t times less often than the restart sees it. Step t costs C.
 */
#include <perennial/strategy.h>

struct prn_strategy_instance {
    const prn_host *host;
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    (void)values;
    *instance = host->allocate(host->self, sizeof **instance, "restart");
    if (*instance == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "restart: out of memory");
    }
    (*instance)->host = host;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

static prn_status plan(prn_strategy_instance *instance, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)instance;
    (void)line;
    if (request->source_capacity < step) {
        return prn_error_set(error, PRN_INVALID, "restart: the host gave room for %u data sources, step %u needs as many", request->source_capacity, step);
    }
    request->start_step = PRN_START_RANDOM;
    request->budget_multiple = 1;
    for (uint32_t t = 1; t <= step; t++) {
        request->sources[t - 1] = (prn_source){.time_step = t};
    }
    request->source_count = step;
    return PRN_OK;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .name = "restart",
    .summary = "start again at every step, on all data so far, at the cost of one step",
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
    .name = "restart",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "start again on all data so far, at constant cost",
    .interfaces = interfaces,
};
