/* lwf: continue on the new data, held to what the model of the step before says about it (learning without forgetting).
 *
 * Adds weight * KL(softmax(teacher / temperature) || softmax(student / temperature)) over each row of the batch's similarity matrix, mean
 * over rows of both directions. The teacher is this strategy's model after the step before.
 * Source: Li, Hoiem, "Learning without Forgetting", 2016; on similarities of image-text models: Ding et al., 2022.
 */
#include <perennial/strategy.h>

struct prn_strategy_instance {
    const prn_host *host;
    double weight, temperature;
};

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "weight", .unit = "", .preset = "1", .minimum = 0, .maximum = 1e6,
     .help = "weight of the distillation term; the contrastive loss has 1"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "temperature", .unit = "", .preset = "2", .minimum = 1e-3, .maximum = 1e3,
     .help = "divides both similarity matrices before their softmax"},
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "lwf");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "lwf: out of memory");
    }
    self->host = host;
    self->weight = values[0].real;
    self->temperature = values[1].real;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)self;
    (void)line;
    (void)error;
    request->start_step = step - 1;
    request->sources[0] = (prn_source){.time_step = step};
    request->source_count = 1;
    if (step > 1) {
        request->hooks = PRN_HOOK_TRAIN;
        request->teacher = PRN_TEACHER_AFTER(step - 1);
    }
    return PRN_OK;
}

static prn_status compose_loss(prn_strategy_instance *self, const prn_stage *stage, const prn_composer *composer, prn_error *error)
{
    const int32_t inputs[2] = {composer->logits, composer->teacher_logits};
    const prn_op_attrs attrs = {.alpha = self->temperature};
    (void)stage;
    (void)error;
    composer->add(composer->self, composer->operation(composer->self, PRN_OP_SOFT_CROSS_ENTROPY, inputs, 2, &attrs), self->weight);
    return PRN_OK;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .option_count = sizeof options / sizeof options[0],
    .name = "lwf",
    .summary = "continue on the new data, distilling from the model of the step before",
    .options = options,
    .open = open_instance,
    .close = close_instance,
    .plan = plan,
    .compose_loss = compose_loss,
};

static const prn_interface interfaces[] = {{PRN_STRATEGY_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "lwf",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on the new data, distilling from the model of the step before",
    .interfaces = interfaces,
};
