/* sequential: continue from the last checkpoint on the new data only.
 *
 * The plainest way of continuing, and the one that forgets most. Costs C at each step.
 */
#include <perennial/strategy.h>

struct prn_strategy_instance {
    const prn_host *host;
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    (void)values;
    *instance = host->allocate(host->self, sizeof **instance, "sequential");
    if (*instance == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "sequential: out of memory");
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
    if (request->source_capacity < 1) {
        return prn_error_set(error, PRN_INVALID, "sequential: the host gave no room for a data source");
    }
    request->start_step = step - 1; /* 0 is PRN_START_RANDOM */
    request->sources[0] = (prn_source){.time_step = step};
    request->source_count = 1;
    return PRN_OK;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .name = "sequential",
    .summary = "continue from the last checkpoint, on the new data only",
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
    .name = "sequential",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on the new data only",
    .interfaces = interfaces,
};
