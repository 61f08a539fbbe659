/* @NAME@: continue on the new data and some of the step before, held to what the model of the step before says.
 *
 * A strategy is a rule: given the time line so far, it says what the next training stage is (`plan`). This one also adds a loss term
 * (`compose_loss`): the cross-entropy between the similarities of the model of the step before and those of the model in training.
 * Read it from step 1 to step 6, then change what it does. <perennial/strategy.h> and <perennial/stage.h> say the rest.
 */
#include <perennial/strategy.h>

/* Step 1: what one opened strategy remembers. Options and the host, nothing more: what a callback computes must follow from its
 * arguments alone, because a run may be stopped and gone on with at any update. No global variables, for the same reason. */
struct prn_strategy_instance {
    const prn_host *host;
    double weight;
};

/* Step 2: options. The host parses them, checks bounds, fills in defaults, and shows this table to users:
 * perennial strategies @NAME@ */
static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "weight", .unit = "", .preset = "1", .minimum = 0, .maximum = 1000,
     .help = "weight of the distillation term; the contrastive loss has 1"},
};

/* `values` are in the order of the table above. Memory comes from the host, so that it can be counted. */
static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "@NAME@");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "@NAME@: out of memory");
    }
    self->host = host;
    self->weight = values[0].real;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

/* Step 3: the plan, asked once for each time step before anything runs. It says where training starts, on which data, at which
 * cost, and with what besides. The cost of a run is counted from these answers, and the host holds the run to them. */
static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)self;
    (void)error;
    request->start_step = step - 1;                            /* 0 is PRN_START_RANDOM: the first step starts anew */
    request->budget_multiple = 1;                              /* of C, what the recipe allows a time step */
    request->sources[0] = (prn_source){.time_step = step};     /* D_t, all of it */
    request->source_count = 1;
    if (step > 1) {
        request->sources[1] = (prn_source){
            .time_step = step - 1,                             /* replay: as much of the step before as is new, at most */
            .max_samples = line->steps[step - 1].samples,
        };
        request->source_count = 2;
        request->hooks = PRN_HOOK_TRAIN;                       /* step 4 runs in this stage */
        request->teacher = PRN_TEACHER_AFTER(step - 1);        /* one more forward pass of each batch, counted in the cost */
    }
    return PRN_OK;
}

/* Step 4: a loss term, composed from operations of <perennial/program.h>. Called for rows of images against all texts and of texts against
 * all images; `logits` is (R,M). The term is one number a row, (R). Its gradient is derived, and it runs on every backend. */
static prn_status compose_loss(prn_strategy_instance *self, const prn_stage *stage, const prn_composer *composer, prn_error *error)
{
    const int32_t inputs[2] = {composer->logits, composer->teacher_logits};
    const prn_op_attrs attrs = {.alpha = 2}; /* temperature of both softmaxes */
    (void)stage;
    (void)error;
    const int32_t term = composer->operation(composer->self, PRN_OP_SOFT_CROSS_ENTROPY, inputs, 2, &attrs);
    composer->add(composer->self, term, self->weight);
    return PRN_OK; /* operations that do not fit are reported by the host, with the name of this strategy and its time step */
}

/* Step 5: the table of the strategy. What is left out is NULL: compose_penalty, change_gradient, finish, ... */
static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .option_count = sizeof options / sizeof options[0],
    .name = "@NAME@",
    .summary = "continue on the new data and some of the step before, distilling from its model",
    .options = options,
    .open = open_instance,
    .close = close_instance,
    .plan = plan,
    .compose_loss = compose_loss,
};

/* Step 6: the one symbol that a plugin exports: what it offers, under which name and version. */
static const prn_interface interfaces[] = {{PRN_STRATEGY_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "@NAME@",
    .version = "0.1.0",
    .license = "unlicensed",
    .summary = "the strategy @NAME@",
    .interfaces = interfaces,
};
