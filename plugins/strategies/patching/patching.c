/* patching: continue on the new data from the patched model, then mix what was learned into it.
 *
 * patched_t = (1 - a) patched_{t-1} + a trained_t, patched_1 = trained_1. `a` is given, or chosen from a grid: the one with the best mean headline
 * score on the evaluation set `validation` of this step and all former ones (the first of equals). Choosing is part of the cost.
 * Source: Ilharco et al., "Patching open-vocabulary models by interpolating weights", 2022.
 */
#include <perennial/strategy.h>

struct prn_strategy_instance {
    const prn_host *host;
    double a;
    const double *grid; /* the host's, while the instance lives */
    uint64_t grid_count;
    const char *validation;
};

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "a", .unit = "fraction", .preset = "0.5", .minimum = 0, .maximum = 1,
     .help = "share of the newly trained weights"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL_LIST, .name = "grid", .unit = "fraction", .preset = "", .minimum = 0, .maximum = 1,
     .help = "shares to choose from instead; empty: no choosing"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_STRING, .name = "validation", .unit = "", .preset = "",
     .help = "evaluation set to choose on; must be given with `grid`, and should not be one that is reported"},
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "patching");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "patching: out of memory");
    }
    self->host = host;
    self->a = values[0].real;
    self->grid = values[1].list;
    self->grid_count = values[1].list_count;
    self->validation = values[2].string;
    if (self->grid_count > 0 && self->validation[0] == '\0') {
        host->release(host->self, self);
        return prn_error_set(error, PRN_INVALID, "patching: a grid needs `validation`, the name of the evaluation set to choose on");
    }
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)line;
    (void)error;
    request->start_step = step - 1;
    request->start_from = PRN_WEIGHTS_DEPLOYED;
    request->sources[0] = (prn_source){.time_step = step};
    request->source_count = 1;
    if (step > 1) {
        request->hooks = PRN_HOOK_FINISH;
        request->finish_scores = (int64_t)self->grid_count;
        request->finish_set = self->grid_count > 0 ? self->validation : NULL;
    }
    return PRN_OK;
}

/* stage->weights = (1 - a) before + a trained. */
static prn_status mix(const prn_stage *stage, double a, const prn_vector *before, const prn_vector *trained, prn_error *error)
{
    return stage->vectors->axpby(stage->vectors->self, stage->weights, 1 - a, before, a, trained, error);
}

static prn_status finish(prn_strategy_instance *self, const prn_stage *stage, prn_error *error)
{
    const prn_vectors *v = stage->vectors;
    prn_vector *before, *trained;
    double chosen = self->a, best = -1;
    prn_status status = v->create(v->self, &before, error);
    if (status == PRN_OK) {
        status = v->create(v->self, &trained, error);
    }
    if (status == PRN_OK) {
        status = v->axpby(v->self, trained, 1, stage->weights, 0, NULL, error);
    }
    if (status == PRN_OK) {
        status = stage->load_weights(stage->self, stage->time_step - 1, PRN_WEIGHTS_DEPLOYED, before, error);
    }
    for (uint64_t i = 0; i < self->grid_count && status == PRN_OK; i++) {
        double mean = 0, score;
        status = mix(stage, self->grid[i], before, trained, error);
        for (uint32_t t = 1; t <= stage->time_step && status == PRN_OK; t++) {
            status = stage->score(stage->self, stage->weights, t, self->validation, &score, error);
            mean += score / stage->time_step;
        }
        if (status == PRN_OK && mean > best) {
            best = mean;
            chosen = self->grid[i];
        }
    }
    if (status == PRN_OK && self->grid_count > 0) {
        status = stage->note(stage->self, "validation_score", best, error);
    }
    if (status == PRN_OK) {
        status = stage->note(stage->self, "a", chosen, error);
    }
    return status == PRN_OK ? mix(stage, chosen, before, trained, error) : status;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .option_count = sizeof options / sizeof options[0],
    .name = "patching",
    .summary = "continue on the new data, then mix the trained weights into those of the step before",
    .options = options,
    .open = open_instance,
    .close = close_instance,
    .plan = plan,
    .finish = finish,
};

static const prn_interface interfaces[] = {{PRN_STRATEGY_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "patching",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on the new data, then mix the trained weights into those of the step before",
    .interfaces = interfaces,
};
