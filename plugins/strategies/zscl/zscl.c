/* zscl: continue on the new data, held to what an early model says about reference data.
 *
 * With each update comes a batch of reference data; there, weight * KL(softmax(teacher / temperature) || softmax(student / temperature)) over
 * each row of the similarity matrix, mean over rows of both directions, is added to the loss of the new batch.
 * Source: Zheng et al., "Preventing zero-shot transfer degradation in continual learning of vision-language models", 2023 (the
 * distillation in feature space; their weight ensemble is `merge`'s).
 */
#include <perennial/strategy.h>

#include <string.h>

struct prn_strategy_instance {
    const prn_host *host;
    double weight, temperature;
    int64_t batch;
    const char *reference;
    int is_first; /* the teacher is the model after step 1 */
};

enum { OPTION_WEIGHT, OPTION_TEMPERATURE, OPTION_TEACHER, OPTION_REFERENCE, OPTION_BATCH };

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "weight", .unit = "", .preset = "1", .minimum = 0, .maximum = 1e6,
     .help = "weight of the distillation term; the contrastive loss has 1"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "temperature", .unit = "", .preset = "2", .minimum = 1e-3, .maximum = 1e3,
     .help = "divides both similarity matrices before their softmax"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "teacher", .unit = "", .preset = "first", .choices = "initial|first",
     .help = "initial: what the time line began with (the recipe's `init`); first: the model after the first step"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "reference", .unit = "", .preset = "first", .choices = "first|past|stream",
     .help = "reference data: the first step's, all former steps', or the recipe's reference stream"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_INTEGER, .name = "memory_batch", .unit = "samples", .preset = "64", .minimum = 2, .maximum = 16777216,
     .help = "reference samples that come with each update; at most the recipe's batch"},
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "zscl");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "zscl: out of memory");
    }
    self->host = host;
    self->weight = values[OPTION_WEIGHT].real;
    self->temperature = values[OPTION_TEMPERATURE].real;
    self->is_first = strcmp(values[OPTION_TEACHER].string, "first") == 0;
    self->reference = values[OPTION_REFERENCE].string;
    self->batch = values[OPTION_BATCH].integer;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    const int is_stream = strcmp(self->reference, "stream") == 0;
    (void)line;
    (void)error;
    request->start_step = step - 1;
    request->sources[0] = (prn_source){.time_step = step};
    request->source_count = 1;
    if (step == 1 && (self->is_first || !is_stream)) { /* no teacher yet, or nothing to hold it to */
        return PRN_OK;
    }
    request->hooks = PRN_HOOK_TRAIN;
    request->teacher = self->is_first ? PRN_TEACHER_AFTER(1) : PRN_TEACHER_INITIAL;
    request->memory_batch = self->batch;
    request->memory_source_count = strcmp(self->reference, "past") == 0 ? step - 1 : 1;
    for (uint32_t i = 0; i < request->memory_source_count; i++) {
        request->memory_sources[i] = (prn_source){.time_step = is_stream ? PRN_SOURCE_REFERENCE : i + 1};
    }
    return PRN_OK;
}

static prn_status compose_memory_loss(prn_strategy_instance *self, const prn_stage *stage, const prn_composer *composer, prn_error *error)
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
    .name = "zscl",
    .summary = "continue on the new data, distilling from an early model on reference data",
    .options = options,
    .open = open_instance,
    .close = close_instance,
    .plan = plan,
    .compose_memory_loss = compose_memory_loss,
};

static const prn_interface interfaces[] = {{PRN_STRATEGY_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "zscl",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on the new data, distilling from an early model on reference data",
    .interfaces = interfaces,
};
