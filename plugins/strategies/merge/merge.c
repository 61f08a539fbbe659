/* merge: train on the new data as `start` says, and deploy a merge of all steps' weights.
 *
 * Where training starts and what is evaluated are separate choices. With w_t as trained at step t, m_t as merged (m_1 = w_1), and
 * tau_t = w_t - (what training started from at t), t > 1:
 *
 *   ema              m_t = decay m_{t-1} + (1 - decay) w_t
 *   task_arithmetic  m_t = w_1 + scale * sum of tau_2..tau_t          Ilharco et al., "Editing models with task arithmetic", 2023
 *   ties             m_t = w_1 + scale * the TIES merge of tau_2..tau_t: of each, only the `density` largest values stay; each
 *                    parameter takes the sign of their sum, and the mean of those that have that sign
 *                                                                     Yadav et al., "TIES-merging", 2023
 *
 * Both papers merge changes of a pretrained model. With base = "initial" these do, too: w_0, the recipe's `init`, stands for w_1, and the
 * first step's change tau_1 is one of those that are merged. A time line that begins with random weights has nothing there to add to.
 */
#include <perennial/strategy.h>

#include <math.h>
#include <string.h>

struct prn_strategy_instance {
    const prn_host *host;
    const char *method, *start;
    double decay, scale, density;
    uint32_t base; /* the step whose weights as trained the changes of later steps are added to; 0: what the time line began with */
    int reports_trained;
};

enum { OPTION_METHOD, OPTION_START, OPTION_DEPLOY, OPTION_DECAY, OPTION_SCALE, OPTION_DENSITY, OPTION_BASE };

static const prn_option options[] = {
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "method", .unit = "", .preset = "ema", .choices = "ema|task_arithmetic|ties",
     .help = "how the steps' weights are merged"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "start", .unit = "", .preset = "trained", .choices = "trained|merged|first|initial",
     .help = "where training starts: from the step before as trained or as merged, from the first step, or from what the time line began with"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "deploy", .unit = "", .preset = "merged", .choices = "merged|trained",
     .help = "which weights are evaluated"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "decay", .unit = "fraction", .preset = "0.5", .minimum = 0, .maximum = 1,
     .help = "ema: share of the merge of the step before"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "scale", .unit = "", .preset = "0.5", .minimum = -100, .maximum = 100,
     .help = "task_arithmetic, ties: what the merged change is multiplied by"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_REAL, .name = "density", .unit = "fraction", .preset = "0.2", .minimum = 0, .maximum = 1,
     .help = "ties: share of each step's change that is kept, the largest magnitudes"},
    {.struct_size = sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "base", .unit = "", .preset = "first", .choices = "first|initial",
     .help = "task_arithmetic, ties: what changes are added to: the first step's weights, or what the time line began with (the recipe's `init`), and then"
             " the first step's change is merged, too"},
};

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error)
{
    prn_strategy_instance *self = host->allocate(host->self, sizeof *self, "merge");
    *instance = self;
    if (self == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "merge: out of memory");
    }
    self->host = host;
    self->method = values[OPTION_METHOD].string;
    self->start = values[OPTION_START].string;
    self->reports_trained = strcmp(values[OPTION_DEPLOY].string, "trained") == 0;
    self->base = strcmp(self->method, "ema") == 0 || strcmp(values[OPTION_BASE].string, "first") == 0 ? 1 : 0;
    self->decay = values[OPTION_DECAY].real;
    self->scale = values[OPTION_SCALE].real;
    self->density = values[OPTION_DENSITY].real;
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    instance->host->release(instance->host->self, instance);
}

/* Which step's weights, and which of them, step t starts from. */
static void start_of(const prn_strategy_instance *self, uint32_t step, uint32_t *start_step, uint32_t *start_from)
{
    const int is_initial = strcmp(self->start, "initial") == 0;
    *start_step = step == 1 || is_initial ? PRN_START_RANDOM : strcmp(self->start, "first") == 0 ? 1 : step - 1;
    *start_from = strcmp(self->start, "merged") == 0 ? PRN_WEIGHTS_DEPLOYED : PRN_WEIGHTS_TRAINED;
}

static prn_status plan(prn_strategy_instance *self, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    (void)line;
    (void)error;
    start_of(self, step, &request->start_step, &request->start_from);
    request->sources[0] = (prn_source){.time_step = step};
    request->source_count = 1;
    if (step > self->base) {
        request->hooks = PRN_HOOK_FINISH;
        request->evaluate = self->reports_trained ? PRN_WEIGHTS_TRAINED : PRN_WEIGHTS_DEPLOYED;
    }
    return PRN_OK;
}

/* tau_k into `target`. */
static prn_status change_of(const prn_strategy_instance *self, const prn_stage *stage, uint32_t k, prn_vector *target, prn_vector *room, prn_error *error)
{
    uint32_t step, from;
    start_of(self, k, &step, &from);
    prn_status status = stage->load_weights(stage->self, k, PRN_WEIGHTS_TRAINED, target, error);
    if (status == PRN_OK) {
        status = stage->load_weights(stage->self, step, from, room, error);
    }
    return status == PRN_OK ? stage->vectors->axpby(stage->vectors->self, target, 1, target, -1, room, error) : status;
}

/* The magnitude that `count` values of x are at least as large as: found digit by digit of their bits, which sort as the values do. */
static float threshold_of(const float *x, int64_t n, int64_t count)
{
    uint32_t prefix = 0;
    for (int shift = 30; shift >= 0; shift--) {
        const uint32_t candidate = prefix | 1u << shift;
        int64_t above = 0;
        for (int64_t i = 0; i < n; i++) {
            const float magnitude = fabsf(x[i]);
            uint32_t bits;
            memcpy(&bits, &magnitude, sizeof bits);
            above += bits >= candidate;
        }
        prefix = above >= count ? candidate : prefix;
    }
    float value;
    memcpy(&value, &prefix, sizeof value);
    return value;
}

/* `stage->weights` = w_base + scale * TIES(tau_(base+1)..tau_t). Works in host memory: signs and order are no flat-vector operations. Two passes over
 * the changes, one to elect signs and one to average, so that three arrays are enough whatever the number of steps. */
static prn_status merge_ties(prn_strategy_instance *self, const prn_stage *stage, prn_vector *change, prn_vector *room, prn_error *error)
{
    const prn_vectors *v = stage->vectors;
    const prn_host *host = self->host;
    const int64_t n = v->elements, kept = (int64_t)ceil(self->density * (double)(n - v->gap_elements)); /* a share of the values that are parameters */
    float *x = host->allocate(host->self, (size_t)n * sizeof *x, "merge"), *sum = host->allocate(host->self, (size_t)n * sizeof *sum, "merge");
    float *mean = host->allocate(host->self, (size_t)n * sizeof *mean, "merge");
    uint16_t *votes = host->allocate(host->self, (size_t)n * sizeof *votes, "merge");
    prn_status status = x != NULL && sum != NULL && mean != NULL && votes != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "merge: out of memory");
    for (int64_t i = 0; i < n && status == PRN_OK; i++) {
        sum[i] = mean[i] = 0;
        votes[i] = 0;
    }
    for (int pass = 0; pass < 2 && kept > 0; pass++) {
        for (uint32_t k = self->base + 1; k <= stage->time_step && status == PRN_OK; k++) {
            status = change_of(self, stage, k, change, room, error);
            if (status == PRN_OK) {
                status = v->read(v->self, change, x, error);
            }
            if (status != PRN_OK) {
                break;
            }
            const float threshold = threshold_of(x, n, kept);
            for (int64_t i = 0; i < n; i++) {
                if (fabsf(x[i]) < threshold || x[i] == 0) {
                    continue;
                }
                if (pass == 0) {
                    sum[i] += x[i];
                } else if ((x[i] > 0) == (sum[i] > 0) && sum[i] != 0) {
                    mean[i] += x[i];
                    votes[i]++;
                }
            }
        }
    }
    for (int64_t i = 0; i < n && status == PRN_OK; i++) {
        mean[i] = votes[i] > 0 ? mean[i] / (float)votes[i] : 0;
    }
    if (status == PRN_OK) {
        status = v->write(v->self, change, mean, error);
    }
    host->release(host->self, x);
    host->release(host->self, sum);
    host->release(host->self, mean);
    host->release(host->self, votes);
    if (status == PRN_OK) {
        status = stage->load_weights(stage->self, self->base, PRN_WEIGHTS_TRAINED, room, error);
    }
    return status == PRN_OK ? v->axpby(v->self, stage->weights, 1, room, self->scale, change, error) : status;
}

static prn_status merge_arithmetic(prn_strategy_instance *self, const prn_stage *stage, prn_vector *change, prn_vector *room, prn_error *error)
{
    const prn_vectors *v = stage->vectors;
    prn_status status = stage->load_weights(stage->self, self->base, PRN_WEIGHTS_TRAINED, stage->weights, error);
    for (uint32_t k = self->base + 1; k <= stage->time_step && status == PRN_OK; k++) {
        status = change_of(self, stage, k, change, room, error);
        if (status == PRN_OK) {
            status = v->axpby(v->self, stage->weights, 1, stage->weights, self->scale, change, error);
        }
    }
    return status;
}

static prn_status finish(prn_strategy_instance *self, const prn_stage *stage, prn_error *error)
{
    const prn_vectors *v = stage->vectors;
    prn_vector *change, *room;
    prn_status status = v->create(v->self, &change, error);
    if (status == PRN_OK) {
        status = v->create(v->self, &room, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    if (strcmp(self->method, "ties") == 0) {
        return merge_ties(self, stage, change, room, error);
    }
    if (strcmp(self->method, "task_arithmetic") == 0) {
        return merge_arithmetic(self, stage, change, room, error);
    }
    status = stage->load_weights(stage->self, stage->time_step - 1, PRN_WEIGHTS_DEPLOYED, room, error);
    return status == PRN_OK ? v->axpby(v->self, stage->weights, self->decay, room, 1 - self->decay, stage->weights, error) : status;
}

static const prn_strategy table = {
    .struct_size = sizeof(prn_strategy),
    .option_count = sizeof options / sizeof options[0],
    .name = "merge",
    .summary = "continue on the new data, and deploy a merge of all steps' weights",
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
    .name = "merge",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "continue on the new data, and deploy a merge of all steps' weights",
    .interfaces = interfaces,
};
