/* ewc: continue on the new data, with a price on moving the parameters that mattered before (elastic weight consolidation).
 *
 * Adds weight/2 * sum_i F_i (w_i - w*_i)^2, where w* are the weights after the step before and F is the running sum of the diagonal
 * Fisher information, F_t = decay * F_{t-1} + mean over batches of the squared gradient of the contrastive loss at w*_t. One anchor and one
 * sum, whatever the number of steps.
 * Source: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017; the running sum: Schwarz et al., "Progress &
 * Compress", 2018. Squared gradients of batches stand for those of samples: a contrastive loss has no per-sample gradient.
 */
#include <perennial/strategy.h>

struct prn_strategy_instance {
    const prn_host *host;
    double weight, decay;
    int64_t batches;
};

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "weight", .unit = "", .preset = "1000", .minimum = 0, .maximum = 1e15,
     .help = "weight of the penalty"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "decay", .unit = "fraction", .preset = "1", .minimum = 0, .maximum = 1,
     .help = "what remains of the former steps' Fisher information at each step"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_INTEGER, .name = "batches", .unit = "batches", .preset = "32", .minimum = 1, .maximum = 1000000,
     .help = "batches that the Fisher information is estimated from"},
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "ewc");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "ewc: out of memory");
    }
    self->host = host;
    self->weight = values[0].real;
    self->decay = values[1].real;
    self->batches = values[2].integer;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)error;
    request->start_step = step - 1;
    request->start_from = PRN_WEIGHTS_TRAINED; /* `finish` leaves them as they are; so a schedule with a branch finishes nothing twice */
    request->sources[0] = (prn_source){.time_step = step};
    request->source_count = 1;
    request->hooks = (step > 1 ? PRN_HOOK_TRAIN : 0) | (step < line->step_count ? PRN_HOOK_FINISH : 0); /* nobody asks for the last step's Fisher */
    request->finish_gradient_batches = step < line->step_count ? self->batches : 0;
    request->kept_vectors = step < line->step_count ? 1 : 0; /* the Fisher information; the anchor is the step's weights */
    return PRN_OK;
}

static prn_status compose_penalty(prn_strategy_instance *self, const prn_stage *stage, const prn_composer *composer, prn_error *error)
{
    const prn_vectors *v = stage->vectors;
    prn_vector *anchor, *fisher;
    prn_status status = v->create(v->self, &anchor, error);
    if (status == PRN_OK) {
        status = v->create(v->self, &fisher, error);
    }
    if (status == PRN_OK) {
        status = stage->load_weights(stage->self, stage->time_step - 1, PRN_WEIGHTS_DEPLOYED, anchor, error);
    }
    if (status == PRN_OK) {
        status = stage->load_kept(stage->self, stage->time_step - 1, "fisher", fisher, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    const prn_op_attrs difference = {.alpha = 1, .beta = -1};
    int32_t inputs[2] = {composer->weights, composer->vector(composer->self, anchor)};
    inputs[0] = inputs[1] = composer->operation(composer->self, PRN_OP_AXPBY, inputs, 2, &difference);
    inputs[0] = composer->operation(composer->self, PRN_OP_MULTIPLY, inputs, 2, NULL);
    inputs[1] = composer->vector(composer->self, fisher);
    composer->add(composer->self, composer->operation(composer->self, PRN_OP_DOT, inputs, 2, NULL), self->weight / 2);
    return PRN_OK;
}

static prn_status finish(prn_strategy_instance *self, const prn_stage *stage, prn_error *error)
{
    const prn_vectors *v = stage->vectors;
    prn_vector *fisher, *gradient;
    double loss;
    prn_status status = v->create(v->self, &fisher, error);
    if (status == PRN_OK) {
        status = v->create(v->self, &gradient, error);
    }
    if (status == PRN_OK && stage->time_step > 1) {
        status = stage->load_kept(stage->self, stage->time_step - 1, "fisher", fisher, error);
        if (status == PRN_OK) {
            status = v->axpby(v->self, fisher, self->decay, fisher, 0, NULL, error);
        }
    }
    for (int64_t i = 0; i < self->batches && status == PRN_OK; i++) {
        status = stage->data_gradient(stage->self, gradient, &loss, error);
        if (status == PRN_OK) {
            status = v->multiply(v->self, gradient, gradient, gradient, error);
        }
        if (status == PRN_OK) {
            status = v->axpby(v->self, fisher, 1, fisher, 1.0 / (double)self->batches, gradient, error);
        }
    }
    return status == PRN_OK ? stage->keep(stage->self, "fisher", fisher, error) : status;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .option_count = sizeof options / sizeof options[0],
    .name = "ewc",
    .summary = "continue on the new data, with a price on moving the parameters that mattered before",
    .options = options,
    .open = open_instance,
    .close = close_instance,
    .plan = plan,
    .compose_penalty = compose_penalty,
    .finish = finish,
};

static const prn_interface interfaces[] = {{PRN_STRATEGY_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "ewc",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on the new data, with a price on moving the parameters that mattered before",
    .interfaces = interfaces,
};
