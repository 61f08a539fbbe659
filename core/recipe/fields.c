/* core/recipe/fields.c: see fields.h. */
#include "recipe/fields.h"

#define ENTRY(kind, name_, unit_, preset_, choices_, low, high, help_)                                                                            \
    {.struct_size = sizeof(prn_option), .type = kind, .name = name_, .unit = unit_, .preset = preset_, .choices = choices_, .minimum = low,       \
     .maximum = high, .help = help_}
#define TEXT(name, preset, help) ENTRY(PRN_OPTION_STRING, name, "", preset, NULL, 0, 0, help)
#define COUNT(name, unit, preset, low, high, help) ENTRY(PRN_OPTION_INTEGER, name, unit, preset, NULL, low, high, help)
#define REAL(name, preset, low, high, help) ENTRY(PRN_OPTION_REAL, name, "", preset, NULL, low, high, help)
#define SWITCH(name, preset, help) ENTRY(PRN_OPTION_BOOL, name, "", preset, NULL, 0, 1, help)
#define CHOICE(name, preset, choices, help) ENTRY(PRN_OPTION_CHOICE, name, "", preset, choices, 0, 0, help)
#define LIST(name, preset, low, high, help) ENTRY(PRN_OPTION_REAL_LIST, name, "", preset, NULL, low, high, help)
#define TABLE(name, preset, help) ENTRY(PRN__FIELD_TABLE, name, "", preset, NULL, 0, 0, help)
#define NAMES(name, preset, help) ENTRY(PRN__FIELD_NAMES, name, "", preset, NULL, 0, 0, help)

/* 2^53: every whole number up to it is exact in a double. */
#define WHOLE_MAX 9007199254740992.0

static const prn_option recipe_fields[] = {
    TEXT("name", "", "what the run is called; default: the recipe file's name"),
    TEXT("stream", NULL, "the stream's manifest, a YAML file"),
    TEXT("reference", "", "another manifest, whose training data strategies may use as reference data (zscl)"),
    TABLE("model", "", "a built-in model, a configuration file or folder, or p.model { ... }; default: that of `init`"),
    TEXT("init", "", "a model folder whose weights take the place of random ones"),
    COUNT("batch", "samples", "256", 2, 1 << 24, "samples in one optimizer step"),
    ENTRY(PRN_OPTION_INTEGER, "micro_batch", "samples", "0", "auto", 0, 1 << 24, "samples computed at a time; 0: the whole batch; \"auto\": what fits; the result is that of the whole batch"),
    ENTRY(PRN_OPTION_BOOL, "checkpointing", "", "false", "selective|towers", 0, 1, "compute activations again in the backward pass, to save memory: of whole blocks; \"selective\": attention and its projections; \"towers\": of blocks and the whole text tower"),
    TABLE("budget", NULL, "what one time step may cost: p.samples(n), p.steps(n), p.epochs(x) or p.macs(x)"),
    TABLE("optimizer", "", "p.adamw { ... }"),
    TABLE("schedule", NULL, "p.cosine { ... }, another named schedule, or function(step, total, time_step)"),
    TABLE("strategies", NULL, "the strategies to compare, in a list"),
    SWITCH("keep_optimizer", "false", "true: a time step that goes on from earlier weights goes on with their optimizer state, too"),
    CHOICE("transform", "train", "train|eval", "train: random crops; eval: the evaluation transform, no randomness"),
    LIST("scale", "0.9,1", 0.01, 1, "the share of an image's area that a random crop keeps, lowest and highest"),
    SWITCH("shuffle", "true", "false: samples in the order of the shards"),
    SWITCH("with_replacement", "false", "true: draw each sample anew, instead of every sample once an epoch"),
    COUNT("window", "shards", "0", 0, 1 << 20, "shards that are mixed together; 0: chosen"),
    COUNT("seed", "", "0", 0, WHOLE_MAX, "what all random choices follow from"),
    TABLE("backend", "", "the backend's name, \"auto\", or p.backend \"name\" { ... }; default: auto"),
    TABLE("save_every", "", "mid-stage checkpoints: p.seconds(x) or p.steps(n); default: p.seconds(60)"),
    TABLE("evaluate", "", "names of evaluation sets, or p.evaluate { ... }; default: all sets"),
    TABLE("sweep", "", "p.sweep { ... }: how settings are chosen among those of p.grid"),
    TEXT("workspace", "", "the folder for results; default: runs/<name>"),
    COUNT("data_threads", "threads", "0", 0, 1024, "threads that prepare batches; 0: chosen"),
};

static const prn_option model_fields[] = {
    TEXT("base", "", "the configuration to start from; default: that of `init`"),
    COUNT("embed_dim", "", "0", 1, 65536, "width of the joint embedding"),
    SWITCH("quick_gelu", "false", "QuickGELU instead of GELU"),
    COUNT("vocab_size", "tokens", "0", 1, 1 << 24, "rows of the token embedding; default: the size of the stream's vocabulary"),
    TABLE("vision", "", "the image tower"),
    TABLE("text", "", "the text tower"),
};

static const prn_option vision_fields[] = {
    COUNT("image_size", "pixels", "0", 1, 4096, "side of the square image"),
    COUNT("patch_size", "pixels", "0", 1, 4096, "side of a patch"),
    COUNT("width", "", "0", 1, 65536, "width of the tower"),
    COUNT("layers", "blocks", "0", 1, 1024, "transformer blocks"),
    COUNT("head_width", "", "0", 1, 65536, "width of one attention head"),
    REAL("mlp_ratio", "0", 0.01, 64, "width of the hidden layer, in widths of the tower"),
};

static const prn_option text_fields[] = {
    COUNT("context_length", "tokens", "0", 2, 65536, "longest caption, start and end included"),
    COUNT("vocab_size", "tokens", "0", 1, 1 << 24, "the same as the model's vocab_size"),
    COUNT("width", "", "0", 1, 65536, "width of the tower"),
    COUNT("heads", "", "0", 1, 4096, "attention heads"),
    COUNT("layers", "blocks", "0", 1, 1024, "transformer blocks"),
    REAL("mlp_ratio", "0", 0.01, 64, "width of the hidden layer, in widths of the tower"),
};

static const prn_option adamw_fields[] = {
    REAL("beta1", "0.9", 0, 0.999999999, "decay of the first moment"),
    REAL("beta2", "0.98", 0, 0.999999999, "decay of the second moment"),
    REAL("epsilon", "1e-6", 1e-20, 1, "added to the root of the second moment"),
    REAL("decay", "0.2", 0, 100, "decoupled weight decay, times the learning rate"),
    REAL("clip_norm", "0", 0, 1e9, "largest norm of the whole gradient; 0: no clipping"),
    CHOICE("decay_rule", "dimensions", "dimensions|no_embeddings",
           "what decays: all with two dimensions or more (open_clip when TiC-CLIP was made), or those without embeddings"),
    CHOICE("moments", "full", "full|bf16", "how both moments are kept: as the weights are, or in bf16, rounded up or down by chance, in half of the memory"),
};

#define WARMUP_FIELDS                                                                                      \
    COUNT("warmup", "updates", "0", 0, WHOLE_MAX, "linear warm-up of stages that start from random weights or `init`"),                \
    COUNT("later_warmup", "updates", "0", 0, WHOLE_MAX, "linear warm-up of stages that go on from earlier weights")

/* The peak may differ from time step to time step; where a schedule spans all of them, it is one. */
#define SCHEDULE_FIELDS LIST("peak", NULL, 0, 1000, "the highest learning rate, or a list with that of each time step"), WARMUP_FIELDS
#define ONE_PEAK_FIELDS REAL("peak", NULL, 0, 1000, "the highest learning rate"), WARMUP_FIELDS
#define FINAL_FIELD REAL("final", "0", 0, 1000, "the learning rate at the end")
#define BRANCH_FIELDS(shape)                                                                               \
    REAL("branch", "0.1", 0.000001, 0.999999, "the share of a time step's updates that its branch takes"), \
    CHOICE("shape", shape, "linear|1-sqrt|cosine|exponential", "how the branch falls")

static const prn_option cosine_fields[] = {SCHEDULE_FIELDS, FINAL_FIELD};
static const prn_option constant_fields[] = {SCHEDULE_FIELDS};
static const prn_option linear_fields[] = {SCHEDULE_FIELDS, FINAL_FIELD};
static const prn_option warmup_stable_decay_fields[] = {
    SCHEDULE_FIELDS, FINAL_FIELD,
    REAL("decay", "0.2", 0.000001, 1, "the share of a stage's updates that decay, at its end"),
    CHOICE("shape", "linear", "linear|1-sqrt|cosine|exponential", "how they fall"),
};
static const prn_option inverse_sqrt_fields[] = {
    SCHEDULE_FIELDS,
    REAL("offset", "1000", 0.000001, WHOLE_MAX, "updates, after the warm-up, behind which the rate has fallen to peak / sqrt(2)"),
};
static const prn_option infinite_fields[] = {
    ONE_PEAK_FIELDS, FINAL_FIELD, BRANCH_FIELDS("linear"),
    REAL("constant", NULL, 0, 1000, "the learning rate after the cooldown, for as long as the line of time steps goes on"),
    COUNT("cooldown", "updates", NULL, 0, WHOLE_MAX, "updates from the peak to the constant rate, counted over all time steps"),
    CHOICE("cooldown_shape", "cosine", "linear|1-sqrt|cosine|exponential", "how the cooldown falls"),
};
static const prn_option trunk_fields[] = {SCHEDULE_FIELDS, FINAL_FIELD, BRANCH_FIELDS("cosine")};
static const prn_option autoregressive_cosine_fields[] = {ONE_PEAK_FIELDS, FINAL_FIELD};

static const prn_option evaluate_fields[] = {
    NAMES("sets", "", "names of evaluation sets; default: all"),
    LIST("recall", "1,5,10", 1, 1000000, "the k of recall@k, rising"),
    COUNT("batch", "samples", "256", 1, 1 << 20, "images or texts embedded at a time"),
};

static const prn_option strategy_fields[] = {
    TEXT("label", "", "what results call it; default: the strategy's name"),
};

static const prn_option lua_strategy_fields[] = {
    TEXT("label", NULL, "what results call it"),
    TABLE("plan", NULL, "function(step, line, options): what to do at a time step"),
    TABLE("loss", "", "function(c, stage, options): terms on the stage's own batches"),
    TABLE("memory_loss", "", "function(c, stage, options): terms on memory batches"),
    TABLE("penalty", "", "function(c, stage, options): terms on the parameters"),
    TABLE("gradient", "", "function(stage, options): may change the gradient before each update"),
    TABLE("finish", "", "function(stage, options): decides which weights are deployed"),
    TABLE("options", "", "names and defaults of what the functions are handed and --set can change"),
};

static const prn_option sweep_fields[] = {
    CHOICE("criterion", "average", "average|in_domain|backward|forward",
           "what decides: the mean score over all tasks after the last time step, or one of the three transfer means"),
    TEXT("on", "", "the evaluation set that settings are chosen on, and that is not reported; default: the only one"),
    TEXT("score", "", "its score; default: recall@k with the first k, or top1"),
};

#define COUNT_OF(fields) (uint32_t)(sizeof(fields) / sizeof((fields)[0]))

const prn__recipe_table prn__recipe_tables[PRN__TABLE_COUNT] = {
    [PRN__TABLE_RECIPE] = {"p.recipe", "the whole recipe", recipe_fields, COUNT_OF(recipe_fields)},
    [PRN__TABLE_MODEL] = {"p.model", "a configuration with some values changed", model_fields, COUNT_OF(model_fields)},
    [PRN__TABLE_VISION] = {"vision", "the image tower", vision_fields, COUNT_OF(vision_fields)},
    [PRN__TABLE_TEXT] = {"text", "the text tower", text_fields, COUNT_OF(text_fields)},
    [PRN__TABLE_ADAMW] = {"p.adamw", "AdamW with decoupled decay", adamw_fields, COUNT_OF(adamw_fields)},
    [PRN__TABLE_COSINE] = {"p.cosine", "warm-up, then half a cosine down", cosine_fields, COUNT_OF(cosine_fields)},
    [PRN__TABLE_CONSTANT] = {"p.constant", "warm-up, then constant", constant_fields, COUNT_OF(constant_fields)},
    [PRN__TABLE_LINEAR] = {"p.linear", "warm-up, then a straight line down", linear_fields, COUNT_OF(linear_fields)},
    [PRN__TABLE_WARMUP_STABLE_DECAY] = {"p.warmup_stable_decay", "warm-up, constant, and a decay at the end", warmup_stable_decay_fields,
                                        COUNT_OF(warmup_stable_decay_fields)},
    [PRN__TABLE_INVERSE_SQRT] = {"p.inverse_sqrt", "warm-up, then the inverse square root of the updates", inverse_sqrt_fields,
                                 COUNT_OF(inverse_sqrt_fields)},
    [PRN__TABLE_INFINITE] = {"p.infinite", "warm-up, cooldown, constant over all time steps, with an annealed branch at each", infinite_fields,
                             COUNT_OF(infinite_fields)},
    [PRN__TABLE_TRUNK] = {"p.trunk", "warm-up, then constant, with a decaying branch at each time step", trunk_fields, COUNT_OF(trunk_fields)},
    [PRN__TABLE_AUTOREGRESSIVE_COSINE] = {"p.autoregressive_cosine", "cosines whose peaks follow one cosine over all time steps so far",
                                          autoregressive_cosine_fields, COUNT_OF(autoregressive_cosine_fields)},
    [PRN__TABLE_EVALUATE] = {"p.evaluate", "what is scored after each time step", evaluate_fields, COUNT_OF(evaluate_fields)},
    [PRN__TABLE_STRATEGY] = {"p.<strategy>", "any strategy; its own options come from its plugin", strategy_fields, COUNT_OF(strategy_fields)},
    [PRN__TABLE_LUA_STRATEGY] = {"p.strategy", "a strategy of the recipe's own", lua_strategy_fields, COUNT_OF(lua_strategy_fields)},
    [PRN__TABLE_SWEEP] = {"p.sweep", "how settings are chosen", sweep_fields, COUNT_OF(sweep_fields)},
};
