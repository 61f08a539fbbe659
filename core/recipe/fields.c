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
    TABLE("model", "", "a built-in model, a configuration file or folder, or p.model { ... }; default: that of `init`"),
    TEXT("init", "", "a model folder whose weights take the place of random ones"),
    COUNT("batch", "samples", "256", 2, 1 << 24, "samples in one optimizer step"),
    COUNT("micro_batch", "samples", "0", 0, 1 << 24, "samples computed at a time; 0: the whole batch; the result is that of the whole batch"),
    SWITCH("checkpointing", "false", "recompute activations in the backward pass, to save memory"),
    TABLE("budget", NULL, "what one time step may cost: p.samples(n) or p.steps(n)"),
    TABLE("optimizer", "", "p.adamw { ... }"),
    TABLE("schedule", NULL, "p.cosine { ... }, p.constant { ... } or function(step, total, time_step)"),
    TABLE("strategies", NULL, "the strategies to compare, in a list"),
    CHOICE("transform", "train", "train|eval", "train: random crops; eval: the evaluation transform, no randomness"),
    LIST("scale", "0.9,1", 0.01, 1, "the share of an image's area that a random crop keeps, lowest and highest"),
    SWITCH("shuffle", "true", "false: samples in the order of the shards"),
    SWITCH("with_replacement", "false", "true: draw each sample anew, instead of every sample once an epoch"),
    COUNT("window", "shards", "0", 0, 1 << 20, "shards that are mixed together; 0: chosen"),
    COUNT("seed", "", "0", 0, WHOLE_MAX, "what all random choices follow from"),
    TABLE("backend", "", "the backend's name, \"auto\", or p.backend \"name\" { ... }; default: auto"),
    TABLE("save_every", "", "mid-stage checkpoints: p.seconds(x) or p.steps(n); default: p.seconds(60)"),
    TABLE("evaluate", "", "names of evaluation sets, or p.evaluate { ... }; default: all sets"),
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
};

#define SCHEDULE_FIELDS                                                                                    \
    REAL("peak", NULL, 0, 1000, "the highest learning rate"),                                              \
    COUNT("warmup", "updates", "0", 0, WHOLE_MAX, "linear warm-up of stages that start from random weights or `init`"),                \
    COUNT("later_warmup", "updates", "0", 0, WHOLE_MAX, "linear warm-up of stages that go on from earlier weights")

static const prn_option cosine_fields[] = {SCHEDULE_FIELDS, REAL("final", "0", 0, 1000, "the learning rate at the end")};
static const prn_option constant_fields[] = {SCHEDULE_FIELDS};

static const prn_option evaluate_fields[] = {
    NAMES("sets", "", "names of evaluation sets; default: all"),
    LIST("recall", "1,5,10", 1, 1000000, "the k of recall@k, rising"),
    COUNT("batch", "samples", "256", 1, 1 << 20, "images or texts embedded at a time"),
};

static const prn_option strategy_fields[] = {
    TEXT("label", "", "what results call it; default: the strategy's name"),
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
    [PRN__TABLE_EVALUATE] = {"p.evaluate", "what is scored after each time step", evaluate_fields, COUNT_OF(evaluate_fields)},
    [PRN__TABLE_STRATEGY] = {"p.<strategy>", "any strategy; its own options come from its plugin", strategy_fields, COUNT_OF(strategy_fields)},
};
