/* Recipes to plain data: every value, every default, every refusal with its line, and --set. */
#include "recipe/support.h"

#include <math.h>

#include "recipe/fields.h"

#define HEAD "local p = require 'perennial'\n"
#define MINIMAL                                                                                    \
    HEAD "return p.recipe {\n"                                                                     \
         "  stream = 'stream.yaml', model = 'micro', batch = 8,\n"                                 \
         "  budget = p.samples(80),\n"                                                             \
         "  schedule = p.cosine { peak = 1e-3 },\n"                                                \
         "  strategies = { p.sequential {} },\n"

static void test_defaults(void **state)
{
    bench *b = *state;
    int64_t before = prn__alloc_live();
    prn__recipe *r = load(b, MINIMAL "}");
    assert_string_equal(r->name, "r");
    assert_string_equal(r->workspace, "runs/r");
    assert_string_equal(r->path, b->recipe);
    assert_string_equal(r->text, MINIMAL "}");
    assert_string_equal(r->backend, "auto");
    assert_int_equal(r->batch, 8);
    assert_int_equal(r->micro_batch, 0);
    assert_int_equal(r->checkpointing, 0);
    assert_int_equal(r->keep_optimizer, 0);
    assert_int_equal(r->budget, 80);
    assert_int_equal(r->budget_unit, PRN__BUDGET_SAMPLES);
    assert_true(r->optimizer.beta1 == 0.9 && r->optimizer.beta2 == 0.98 && r->optimizer.epsilon == 1e-6 && r->optimizer.decay == 0.2);
    assert_true(r->optimizer.clip_norm == 0 && !r->optimizer.bf16_moments);
    assert_int_equal(r->decay_rule, PRN__DECAY_DIMENSIONS);
    assert_int_equal(r->schedule.kind, PRN__SCHEDULE_COSINE);
    assert_true(r->schedule.peak == 1e-3 && r->schedule.final == 0);
    assert_int_equal(r->schedule.warmup_steps, 0);
    assert_int_equal(r->augment, 1);
    assert_true(r->scale_low == 0.9 && r->scale_high == 1.0);
    assert_int_equal(r->shuffle, 1);
    assert_int_equal(r->with_replacement, 0);
    assert_true(r->save_every_s == 60);
    assert_int_equal(r->save_every_steps, 0);
    assert_int_equal(r->recall_k_count, 3);
    assert_int_equal(r->recall_k[0], 1);
    assert_int_equal(r->recall_k[2], 10);
    assert_int_equal(r->eval_batch, 256);
    assert_null(r->evaluate);
    assert_null(r->init);
    assert_int_equal(r->strategy_count, 1);
    assert_string_equal(r->strategies[0].label, "sequential");
    assert_int_equal(r->strategies[0].line, 6);
    assert_int_equal(r->strategies[0].option_count, 0);
    assert_string_equal(r->model.name, "ViT-micro-32px");
    prn__recipe_destroy(r);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_every_value(void **state)
{
    prn__recipe *r = load(*state, HEAD
        "local rates = p.constant { peak = 0.5, warmup = 7, later_warmup = 3 }\n"
        "return p.recipe {\n"
        "  name = 'every.value-1', stream = 'stream.yaml', workspace = 'somewhere/else',\n"
        "  model = p.model { base = 'micro', embed_dim = 64, quick_gelu = true, vocab_size = 600,\n"
        "    vision = { width = 64, layers = 2, head_width = 32, patch_size = 8, image_size = 16, mlp_ratio = 2 },\n"
        "    text = { width = 96, heads = 3, layers = 1, context_length = 12, mlp_ratio = 3.5 } },\n"
        "  batch = 1e2, micro_batch = 25, checkpointing = true, keep_optimizer = true, budget = p.steps(50),\n"
        "  optimizer = p.adamw { beta1 = 0.8, beta2 = 0.95, epsilon = 1e-8, decay = 0.1, clip_norm = 1, decay_rule = 'no_embeddings', moments = 'bf16' },\n"
        "  schedule = rates, transform = 'eval', scale = {0.5, 0.75}, shuffle = false, with_replacement = true, window = 4,\n"
        "  seed = 12345678901, save_every = p.steps(9), data_threads = 3,\n"
        "  evaluate = p.evaluate { sets = {'retrieval'}, recall = {1, 2}, batch = 32 },\n"
        "  strategies = { p.cumulative { label = 'rising', budget_multiples = {1, 1, 1.5} }, p.strategy 'oracle' {}, p['sequential'] {} },\n"
        "}");
    assert_string_equal(r->name, "every.value-1");
    assert_string_equal(r->workspace, "somewhere/else");
    assert_int_equal(r->model.embed_dim, 64);
    assert_int_equal(r->model.quick_gelu, 1);
    assert_int_equal(r->model.text.vocab_size, 600);
    assert_int_equal(r->model.vision.width, 64);
    assert_int_equal(r->model.vision.layers, 2);
    assert_int_equal(r->model.vision.patch_size, 8);
    assert_int_equal(r->model.vision.image_size, 16);
    assert_true(r->model.vision.mlp_ratio == 2);
    assert_int_equal(r->model.text.width, 96);
    assert_int_equal(r->model.text.heads, 3);
    assert_int_equal(r->model.text.layers, 1);
    assert_int_equal(r->model.text.context_length, 12);
    assert_true(r->model.text.mlp_ratio == 3.5);
    assert_int_equal(r->batch, 100);
    assert_int_equal(r->micro_batch, 25);
    assert_int_equal(r->checkpointing, PRN__CHECKPOINT_BLOCKS);
    assert_int_equal(r->keep_optimizer, 1);
    assert_int_equal(r->budget_unit, PRN__BUDGET_STEPS);
    assert_int_equal(r->budget, 50);
    assert_true(r->optimizer.beta1 == 0.8 && r->optimizer.beta2 == 0.95 && r->optimizer.epsilon == 1e-8 && r->optimizer.decay == 0.1);
    assert_true(r->optimizer.clip_norm == 1 && r->optimizer.bf16_moments);
    assert_int_equal(r->decay_rule, PRN__DECAY_NO_EMBEDDINGS);
    assert_int_equal(r->schedule.kind, PRN__SCHEDULE_CONSTANT);
    assert_int_equal(r->schedule.warmup_steps, 7);
    assert_int_equal(r->schedule.later_warmup_steps, 3);
    assert_int_equal(r->augment, 0);
    assert_true(r->scale_low == 0.5 && r->scale_high == 0.75);
    assert_int_equal(r->shuffle, 0);
    assert_int_equal(r->with_replacement, 1);
    assert_int_equal(r->window, 4);
    assert_int_equal(r->seed, 12345678901);
    assert_int_equal(r->save_every_steps, 9);
    assert_int_equal(r->data_threads, 3);
    assert_int_equal(r->evaluate_count, 1);
    assert_string_equal(r->evaluate[0], "retrieval");
    assert_int_equal(r->recall_k_count, 2);
    assert_int_equal(r->eval_batch, 32);
    assert_int_equal(r->strategy_count, 3);
    assert_string_equal(r->strategies[0].label, "rising");
    assert_string_equal(r->strategies[0].strategy, "cumulative");
    assert_int_equal(r->strategies[0].option_count, 1);
    assert_string_equal(r->strategies[0].options[0].name, "budget_multiples");
    assert_string_equal(r->strategies[0].options[0].value, "1,1,1.5");
    assert_string_equal(r->strategies[1].label, "oracle");
    assert_string_equal(r->strategies[2].label, "sequential");
    prn__recipe_destroy(r);
}

static void test_unknown_keys_are_refused_at_their_line(void **state)
{
    bench *b = *state;
    refused(b, MINIMAL "\n\n  bacth = 4,\n}", 9, "no key 'bacth'", "did you mean 'batch'?");
    refused(b, MINIMAL "  optimizer = p.adamw {\n    decay = 0.1,\n    -- beta3 = 1\n    [\"beta3\"] = 0.9 },\n}", 10, "p.adamw", "'beta3'", "'beta1'");
    refused(b, HEAD "return p.recipe { stream = 'stream.yaml', model = 'micro', budget = p.steps(3), schedule = p.cosine { peak = 1, warmpu = 2 },\n"
            "strategies = { p.sequential {} } }", 2, "warmpu", "warmup");
    refused(b, HEAD "return p.recipe { stream = 'stream.yaml', model = 'micro', budget = p.steps(3), schedule = p.cosine { peak = 1 },\n"
            "strategies = {\n  p.sequential {},\n  p.cumulative {\n    budget_multiple = 2 } } }", 6, "p.cumulative", "budget_multiple", "'budget_multiples'");
    refused(b, MINIMAL "  model = p.model { base = 'micro',\n vision = {\n widht = 3 } } }", 9, "vision", "widht", "'width'");
    refused(b, MINIMAL "  'quickstart' }", 2, "value without a key");
    refused(b, MINIMAL "  evaluate = p.evaluate { set = {} } }", 7, "p.evaluate", "'sets'");
}

static void test_wrong_values_are_refused_at_their_line(void **state)
{
    bench *b = *state;
    refused(b, MINIMAL "  seed = 'one' }", 7, "`seed`", "a number", "string");
    refused(b, MINIMAL "  seed = -1 }", 7, "seed", "-1");
    refused(b, MINIMAL "  window = 2.5 }", 7, "window", "whole number");
    refused(b, MINIMAL "  window = 0/0 }", 7, "window");
    refused(b, MINIMAL "  shuffle = 1 }", 7, "`shuffle`", "true or false");
    refused(b, MINIMAL "  transform = 'trian' }", 7, "transform", "did you mean 'train'?");
    refused(b, MINIMAL "  scale = {1.0, 0.5} }", 7, "`scale`");
    refused(b, MINIMAL "  scale = {0.5} }", 7, "`scale`");
    refused(b, MINIMAL "  scale = {'a', 'b'} }", 7, "`scale`", "list of numbers");
    refused(b, MINIMAL "  name = '../up' }", 7, "`name`");
    refused(b, MINIMAL "  name = '' }", 7, "`name`");
    refused(b, MINIMAL "  budget = 20000 }", 7, "`budget`", "p.samples", "number without a unit");
    refused(b, MINIMAL "  budget = p.seconds(3) }", 7, "`budget`", "p.seconds");
    refused(b, MINIMAL "  budget = p.samples(7) }", 7, "`budget`", "batch");
    refused(b, MINIMAL "  budget = p.samples(0/0) }", 7, "`budget`");
    refused(b, MINIMAL "  budget = p.steps(1.5) }", 7, "`budget`", "whole number");
    refused(b, MINIMAL "  save_every = 60 }", 7, "`save_every`", "p.seconds");
    refused(b, MINIMAL "  optimizer = { decay = 1 } }", 7, "`optimizer`", "p.adamw", "plain table");
    refused(b, MINIMAL "  optimizer = p.cosine { peak = 1 } }", 7, "`optimizer`", "p.cosine");
    refused(b, MINIMAL "  optimizer = p.adamw { beta1 = 1.5 } }", 7, "beta1", "1.5");
    refused(b, MINIMAL "  schedule = 1e-3 }", 7, "`schedule`", "p.cosine");
    refused(b, MINIMAL "  schedule = p.cosine { warmup = 3 } }", 7, "needs `peak`");
    refused(b, MINIMAL "  strategies = {} }", 7, "`strategies`");
    refused(b, MINIMAL "  strategies = { 'sequential' } }", 7, "strategies", "p.sequential {}");
    refused(b, MINIMAL "  strategies = { a = p.sequential {} } }", 7, "strategies");
    refused(b, MINIMAL "  strategies = {\n p.sequential {},\n p.sequential {} } }", 9, "two strategies", "label", "line 8");
    refused(b, MINIMAL "  strategies = { p.sequential { label = 'a.b' } } }", 7, "label", "a.b");
    refused(b, MINIMAL "  strategies = { p.cumulative { budget_multiples = {1, -1} } } }", 7, "budget_multiples", "-1");
    refused(b, MINIMAL "  evaluate = {'retreival'} }", 7, "retreival", "did you mean 'retrieval'?");
    refused(b, MINIMAL "  evaluate = p.evaluate { recall = {5, 1} } }", 7, "recall");
    refused(b, MINIMAL "  backend = 'cppu' }", 7, "cppu", "did you mean 'cpu'?");
    refused(b, MINIMAL "  stream = 'strem.yaml' }", 7, "strem.yaml", b->folder);
    refused(b, MINIMAL "  model = 'micr' }", 7, "micr", "did you mean 'micro'?");
    refused(b, MINIMAL "  model = 'ViT-B32' }", 7, "ViT-B32", "did you mean 'ViT-B-32'?");
    refused(b, MINIMAL "  optimizer = p.adamw { decay_rule = 'dimension' } }", 7, "decay_rule", "did you mean 'dimensions'?");
    refused(b, MINIMAL "  optimizer = p.adamw { moments = 'bf15' } }", 7, "moments", "did you mean 'bf16'?");
    refused(b, MINIMAL "  backend = p.backend 'cpu' { ias = 'avx2' } }", 7, "'ias'", "did you mean 'isa'?");
    refused(b, MINIMAL "  backend = p.backend 'cpu' { isa = 'avx3' } }", 7, "isa", "avx3");
    refused(b, MINIMAL "  batch = 1 }", 7, "batch", "1");
    refused(b, MINIMAL "  batch = 1e300 }", 7, "batch");
    refused(b, MINIMAL "  seed = 1e16 }", 7, "seed");
    refused(b, MINIMAL "  data_threads = {} }", 7, "data_threads", "table");
    refused(b, MINIMAL "  workspace = true }", 7, "workspace", "a string");
    refused(b, MINIMAL "  stream = 7 }", 7, "stream", "a string");
    refused(b, MINIMAL "  model = 7 }", 7, "model");
    refused(b, MINIMAL "  model = p.adamw {} }", 7, "model", "p.adamw");
    refused(b, MINIMAL "  model = p.model { base = 'micro', text = { heads = 0 } } }", 7, "heads");
    refused(b, MINIMAL "  model = p.model { base = 'micro', text = 3 } }", 7, "text");
    refused(b, MINIMAL "  init = false }", 7, "init");
    refused(b, MINIMAL "  schedule = p.cosine { peak = -1 } }", 7, "peak", "-1");
    refused(b, MINIMAL "  schedule = p.cosine { peak = 'high' } }", 7, "peak", "a number");
    refused(b, MINIMAL "  schedule = p.constant { peak = 1, final = 0 } }", 7, "p.constant", "'final'");
    refused(b, MINIMAL "  save_every = p.samples(3) }", 7, "`save_every`", "p.samples");
    refused(b, MINIMAL "  save_every = p.steps(0) }", 7, "`save_every`");
    refused(b, MINIMAL "  evaluate = 'retrieval' }", 7, "`evaluate`", "list of names");
    refused(b, MINIMAL "  evaluate = { 3 } }", 7, "evaluate", "name in quotes");
    refused(b, MINIMAL "  evaluate = p.evaluate { recall = {0} } }", 7, "recall");
    refused(b, MINIMAL "  evaluate = p.evaluate { recall = {1,2,3,4,5,6,7,8,9} } }", 7, "recall", "9");
    refused(b, MINIMAL "  evaluate = p.evaluate { batch = 0 } }", 7, "batch", "0");
    refused(b, MINIMAL "  strategies = p.sequential }", 7, "`strategies`", "a list such as");
    refused(b, MINIMAL "  strategies = { p.sequential { label = 3 } } }", 7, "label");
    refused(b, MINIMAL "  strategies = { p.sequential } }", 7, "entry 1 of `strategies`", "function");
    refused(b, MINIMAL "  strategies = { p.sequential {}, nil, p.oracle {} } }", 7, "strategies");
    refused(b, MINIMAL "  window = 1 << 40 }", 7, "window");
    refused(b, MINIMAL "  micro_batch = -4 }", 7, "micro_batch", "-4");
    refused(b, MINIMAL "  micro_batch = 'automatic' }", 7, "micro_batch", "a number, or \"auto\"");
    refused(b, MINIMAL "  checkpointing = 'yes' }", 7, "checkpointing", "true, false, or one of selective|towers");
    refused(b, MINIMAL "  checkpointing = 'select' }", 7, "checkpointing", "true, false, or one of selective");
    refused(b, MINIMAL "  checkpointing = 'selective|towers' }", 7, "checkpointing", "true, false, or one of selective");
    refused(b, MINIMAL "  checkpointing = '' }", 7, "checkpointing", "true, false, or one of selective");
    refused(b, MINIMAL "  checkpointing = 1 }", 7, "checkpointing", "true, false, or one of selective");
    refused(b, MINIMAL "  model = p.model { vision = { width = 3 } } }", 7, "model");
    refused(b, MINIMAL "  model = p.model { base = 'micro', vision = { width = 100 } } }", 7, "model");
    refused(b, MINIMAL "  model = p.model { base = 'micro', vocab_size = 512, text = { vocab_size = 513 } } }", 7, "512", "513");
    refused(b, MINIMAL "  init = 'no/such/folder' }", 7, "no/such/folder");
}

static void test_what_is_missing_is_named(void **state)
{
    bench *b = *state;
    refused(b, HEAD "return p.recipe { model = 'micro' }", 2, "`stream`");
    refused(b, HEAD "return p.recipe { stream = 'stream.yaml' }", 2, "`budget`");
    refused(b, HEAD "return p.recipe { stream = 'stream.yaml', budget = p.steps(1) }", 2, "`schedule`");
    refused(b, HEAD "return p.recipe { stream = 'stream.yaml', budget = p.steps(1), schedule = p.constant { peak = 1 } }", 2, "`strategies`");
    refused(b, HEAD "return p.recipe { stream = 'stream.yaml', budget = p.steps(1), schedule = p.constant { peak = 1 }, strategies = p.sequential {} }", 2,
            "`model`");
    refused(b, HEAD, 0, "return p.recipe", "nothing");
    refused(b, "return 42", 0, "return p.recipe", "number");
    refused(b, HEAD "return p.adamw {}", 0, "return p.recipe", "p.adamw");
}

static void test_library_errors_have_the_recipes_line(void **state)
{
    bench *b = *state;
    refused(b, HEAD "\nreturn p.recip { }", 3, "no 'recip'", "did you mean 'recipe'?");
    refused(b, HEAD "local x = p.sequental {}", 2, "sequental", "did you mean 'sequential'?");
    refused(b, HEAD "local x = p.strategy 'oracel' {}", 2, "oracel", "did you mean 'oracle'?");
    refused(b, HEAD "local x = 1\nreturn p.sequential(5)", 3, "p.sequential { ... }");
    refused(b, HEAD "local x = p.samples 'many'", 2, "p.samples(1000)");
    refused(b, HEAD "local x = nil + 1", 2, "arithmetic");
    refused(b, HEAD "local x = = 2", 2, "unexpected symbol");
    refused(b, HEAD "error('by hand')", 2, "by hand");
    refused(b, HEAD "error({})", 0, b->recipe);
    refused(b, HEAD "local s = require 'perennial.schedules'\nlocal f = s.linear { peak = 1, warmpu = 2 }", 3, "warmpu");
}

static void test_constructors_copy_and_close_over_places(void **state)
{
    bench *b = *state;
    write_text(b->folder, "shared.lua", "local p = require 'perennial'\n\nreturn {\n  optimizer = p.adamw {\n    decay = 0.3,\n  },\n"
               "  broken = p.adamw {\n    deccay = 1 },\n}");
    prn__recipe *r = load(b, "local shared = require 'shared'\nlocal o = { decay = 0.7 }\n" MINIMAL "  optimizer = shared.optimizer }");
    assert_true(r->optimizer.decay == 0.3);
    prn__recipe_destroy(r);
    r = load(b, HEAD "local o = { decay = 0.7 }\nlocal a = p.adamw(o)\no.decay = 0.9\n" MINIMAL "  optimizer = a }");
    assert_true(r->optimizer.decay == 0.7);
    prn__recipe_destroy(r);
    refused(b, "local shared = require 'shared'\n" MINIMAL "  optimizer = shared.broken }", 0, "shared.lua:8: ", "deccay");
}

static void test_settings(void **state)
{
    bench *b = *state;
    const prn__option_pair pairs[] = {
        {"batch", "4"}, {"optimizer.decay", "0.05"}, {"schedule.peak", "2e-3"}, {"schedule.warmup", "11"}, {"model.vision.width", "64"},
        {"model.text.layers", "2"}, {"budget.steps", "33"}, {"save_every.seconds", "0"}, {"evaluate.recall", "1,3"}, {"evaluate.sets", "retrieval"},
        {"seed", "9"}, {"name", "other"}, {"shuffle", "false"}, {"strategies.rising.budget_multiples", "2,3"}, {"strategies", "rising"},
        {"batch", "6"}, {"transform", "eval"},
    };
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *r = NULL;
    if (load_with(b, MINIMAL "  strategies = { p.sequential {}, p.cumulative { label = 'rising' } } }", pairs, sizeof pairs / sizeof pairs[0], &r,
                  &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(r->batch, 6);
    assert_true(r->optimizer.decay == 0.05);
    assert_true(r->schedule.peak == 2e-3);
    assert_int_equal(r->schedule.warmup_steps, 11);
    assert_int_equal(r->model.vision.width, 64);
    assert_int_equal(r->model.text.layers, 2);
    assert_int_equal(r->budget_unit, PRN__BUDGET_STEPS);
    assert_int_equal(r->budget, 33);
    assert_true(r->save_every_s == 0);
    assert_int_equal(r->recall_k_count, 2);
    assert_int_equal(r->recall_k[1], 3);
    assert_int_equal(r->evaluate_count, 1);
    assert_int_equal(r->seed, 9);
    assert_string_equal(r->name, "other");
    assert_string_equal(r->workspace, "runs/other");
    assert_int_equal(r->shuffle, 0);
    assert_int_equal(r->augment, 0);
    assert_int_equal(r->strategy_count, 1);
    assert_string_equal(r->strategies[0].label, "rising");
    assert_string_equal(r->strategies[0].options[0].value, "2,3");
    prn__recipe_destroy(r);
    refused_set(b, MINIMAL "}", "bacth", "4", "no key 'bacth'", "'batch'");
    refused_set(b, MINIMAL "}", "optimizer.decai", "4", "'decay'");
    refused_set(b, MINIMAL "}", "optimizer.decay", "much", "must be a number");
    refused_set(b, MINIMAL "}", "batch", "1", "batch");
    refused_set(b, MINIMAL "}", "optimizer", "sgd", "cannot be set");
    refused_set(b, MINIMAL "}", "name.x", "1", "cannot be set");
    refused_set(b, MINIMAL "}", "strategies.oracle.x", "1", "no strategy 'oracle'");
    refused_set(b, MINIMAL "}", "strategies.sequential.foo", "1", "p.sequential", "'foo'");
    refused_set(b, MINIMAL "}", "strategies", "sequental", "did you mean 'sequential'?");
    refused_set(b, MINIMAL "}", "budget.hours", "1", "samples");
    refused_set(b, MINIMAL "}", "budget.steps", "x", "number");
    refused_set(b, MINIMAL "}", "model", "nanoo", "nanoo");
    refused_set(b, MINIMAL "  schedule = function() return 1 end }", "schedule.peak", "1", "function");
    refused_set(b, MINIMAL "}", "evaluate", "nothing", "nothing");
}

static void test_schedule_functions(void **state)
{
    bench *b = *state;
    prn_error error = PRN_ERROR_INIT;
    double rate = 0;
    prn__recipe *r = load(b, MINIMAL "  schedule = function(step, total, t)\n    if step == 3 then return nil end\n"
                                     "    if step == 4 then return -1 end\n    if step == 5 then while true do end end\n"
                                     "    if step == 6 then error 'six' end\n    return step / total + t\n  end }");
    assert_int_equal(r->schedule.kind, PRN__SCHEDULE_FUNCTION);
    assert_int_equal(r->schedule.function(r->schedule.function_self, 1, 4, 2, 0, &rate, &error), PRN_OK);
    assert_true(rate == 2.25);
    assert_int_not_equal(r->schedule.function(r->schedule.function_self, 3, 4, 2, 0, &rate, &error), PRN_OK);
    assert_non_null(strstr(error.message, "r.lua:7: "));
    assert_non_null(strstr(error.message, "nil"));
    assert_int_not_equal(r->schedule.function(r->schedule.function_self, 4, 4, 2, 0, &rate, &error), PRN_OK);
    assert_non_null(strstr(error.message, "-1"));
    assert_int_not_equal(r->schedule.function(r->schedule.function_self, 5, 4, 2, 0, &rate, &error), PRN_OK);
    assert_non_null(strstr(error.message, "instructions"));
    assert_int_not_equal(r->schedule.function(r->schedule.function_self, 6, 4, 2, 0, &rate, &error), PRN_OK);
    assert_non_null(strstr(error.message, "r.lua:11: six"));
    for (int i = 0; i < 100000; i++) { /* one call's limit is not the next one's */
        assert_int_equal(r->schedule.function(r->schedule.function_self, 1, 4, 2, 0, &rate, &error), PRN_OK);
    }
    prn__recipe_destroy(r);
    r = load(b, "local s = require 'perennial.schedules'\n" MINIMAL "  schedule = s.warmup_stable_decay { peak = 2, warmup = 2, decay = 0.5 } }");
    const double wanted[8] = {1, 2, 2, 2, 2, 1.5, 1, 0.5};
    for (int i = 0; i < 8; i++) {
        assert_int_equal(r->schedule.function(r->schedule.function_self, i, 8, 1, 1, &rate, &error), PRN_OK);
        assert_true(fabs(rate - wanted[i]) < 1e-12);
    }
    prn__recipe_destroy(r);
}

static void test_named_schedules(void **state)
{
    bench *b = *state;
    prn__recipe *r = load(b, MINIMAL "  schedule = p.infinite { peak = 4e-3, constant = 1e-3, cooldown = 50, warmup = 10, branch = 0.25, final = 1e-5,\n"
                                     "    cooldown_shape = '1-sqrt', shape = 'exponential' } }");
    const prn__schedule *s = &r->schedule;
    assert_int_equal(s->kind, PRN__SCHEDULE_INFINITE);
    assert_true(s->peak == 4e-3 && s->constant == 1e-3 && s->final == 1e-5 && s->branch == 0.25);
    assert_true(s->cooldown_steps == 50 && s->warmup_steps == 10 && s->later_warmup_steps == 0 && s->peak_count == 0);
    assert_int_equal(s->cooldown_shape, PRN__SHAPE_ONE_MINUS_SQRT);
    assert_int_equal(s->shape, PRN__SHAPE_EXPONENTIAL);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  schedule = p.infinite { peak = 1, constant = 1, cooldown = 0 } }");
    assert_true(r->schedule.branch == 0.1 && r->schedule.cooldown_steps == 0);
    assert_int_equal(r->schedule.cooldown_shape, PRN__SHAPE_COSINE);
    assert_int_equal(r->schedule.shape, PRN__SHAPE_LINEAR);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  schedule = p.trunk { peak = {3, 2}, later_warmup = 5 } }");
    assert_int_equal(r->schedule.kind, PRN__SCHEDULE_TRUNK);
    assert_int_equal(r->schedule.shape, PRN__SHAPE_COSINE);
    assert_true(r->schedule.peak == 3 && r->schedule.peak_count == 2 && r->schedule.peaks[1] == 2 && r->schedule.later_warmup_steps == 5);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  schedule = p.warmup_stable_decay { peak = 3, decay = 0.3, shape = '1-sqrt', final = 1 } }");
    assert_int_equal(r->schedule.kind, PRN__SCHEDULE_WARMUP_STABLE_DECAY);
    assert_int_equal(r->schedule.shape, PRN__SHAPE_ONE_MINUS_SQRT);
    assert_true(r->schedule.decay == 0.3 && r->schedule.final == 1);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  schedule = p.inverse_sqrt { peak = {3}, offset = 20 } }");
    assert_int_equal(r->schedule.kind, PRN__SCHEDULE_INVERSE_SQRT);
    assert_true(r->schedule.offset == 20 && r->schedule.peak == 3 && r->schedule.peak_count == 0);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  schedule = p.linear { peak = 2, final = 0.5 } }");
    assert_int_equal(r->schedule.kind, PRN__SCHEDULE_LINEAR);
    assert_true(r->schedule.final == 0.5);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  micro_batch = 'auto' }");
    assert_int_equal(r->micro_batch, PRN__MICRO_BATCH_AUTO);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  checkpointing = 'selective' }");
    assert_int_equal(r->checkpointing, PRN__CHECKPOINT_SELECTIVE);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  checkpointing = 'towers' }");
    assert_int_equal(r->checkpointing, PRN__CHECKPOINT_TOWERS);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  schedule = p.autoregressive_cosine { peak = 3e-4, final = 3e-5 } }");
    assert_int_equal(r->schedule.kind, PRN__SCHEDULE_AUTOREGRESSIVE_COSINE);
    assert_true(r->schedule.peak == 3e-4 && r->schedule.final == 3e-5);
    prn__recipe_destroy(r);
}

static void test_wrong_schedules_are_refused(void **state)
{
    bench *b = *state;
    refused(b, MINIMAL "  schedule = p.infinite { peak = 1, constant = 0.5 } }", 7, "needs `cooldown`");
    refused(b, MINIMAL "  schedule = p.infinite { peak = 1, cooldown = 5 } }", 7, "needs `constant`");
    refused(b, MINIMAL "  schedule = p.infinite { peak = 1, constant = 2, cooldown = 5 } }", 7, "`constant` is 2", "above the `peak`");
    refused(b, MINIMAL "  schedule = p.infinite { peak = {1, 2}, constant = 1, cooldown = 5 } }", 7, "peak", "a number");
    refused(b, MINIMAL "  schedule = p.infinite { peak = 1, constant = 0, cooldown = 5, cooldown_shape = 'exponential' } }", 7, "cooldown_shape",
            "never reaches 0");
    refused(b, MINIMAL "  schedule = p.infinite { peak = 1, constant = 1, cooldown = 1.5 } }", 7, "cooldown", "1.5");
    refused(b, MINIMAL "  schedule = p.trunk { peak = 1, shape = 'exponential' } }", 7, "shape", "`final` above 0");
    refused(b, MINIMAL "  schedule = p.trunk { peak = 1, shape = 'cosin' } }", 7, "shape", "did you mean 'cosine'?");
    refused(b, MINIMAL "  schedule = p.trunk { peak = 1, branch = 0 } }", 7, "branch", "0");
    refused(b, MINIMAL "  schedule = p.trunk { peak = 1, branch = 1 } }", 7, "branch", "1");
    refused(b, MINIMAL "  schedule = p.trunk { peak = {} } }", 7, "peak");
    refused(b, MINIMAL "  schedule = p.cosine { peak = {1, 'x'} } }", 7, "peak", "a list of numbers");
    refused(b, MINIMAL "  schedule = p.cosine { peak = {1, -2} } }", 7, "peak", "-2");
    refused(b, MINIMAL "  schedule = p.cosine { peak = {1, 1, 1, 1, 1, 1, 1, 1, 1} } }", 7, "9 numbers", "time steps");
    refused(b, MINIMAL "  schedule = p.autoregressive_cosine { peak = {1, 2} } }", 7, "peak", "a number");
    refused(b, MINIMAL "  schedule = p.autoregressive_cosine {} }", 7, "needs `peak`");
    refused(b, MINIMAL "  schedule = p.warmup_stable_decay { peak = 1, decay = 2 } }", 7, "decay", "2");
    refused(b, MINIMAL "  schedule = p.inverse_sqrt { peak = 1, offset = 0 } }", 7, "offset", "0");
    refused(b, MINIMAL "  schedule = p.inverse_sqrt { peak = 1, final = 0 } }", 7, "p.inverse_sqrt", "'final'");
    refused(b, MINIMAL "  schedule = p.linear { peak = 1, branch = 0.5 } }", 7, "p.linear", "'branch'");
    refused_set(b, MINIMAL "}", "schedule.branch", "0.5", "branch");
    refused_set(b, MINIMAL "}", "schedule.peak", "1,x", "peak");
}

static void test_budgets(void **state)
{
    bench *b = *state;
    prn__recipe *r = load(b, MINIMAL "  budget = p.epochs(1.5) }");
    assert_int_equal(r->budget_unit, PRN__BUDGET_EPOCHS);
    assert_true(r->budget_amount == 1.5);
    prn__recipe_destroy(r);
    r = load(b, MINIMAL "  budget = p.macs(3.79e18) }");
    assert_int_equal(r->budget_unit, PRN__BUDGET_MACS);
    assert_true(r->budget_amount == 3.79e18);
    prn__recipe_destroy(r);
    refused(b, MINIMAL "  budget = p.epochs(0) }", 7, "`budget` is 0 epochs", "above 0");
    refused(b, MINIMAL "  budget = p.epochs(-1) }", 7, "`budget`", "-1");
    refused(b, MINIMAL "  budget = p.macs(0) }", 7, "`budget` is 0 macs");
    refused(b, MINIMAL "  budget = p.macs(1e31) }", 7, "`budget`", "1e+30");
    refused(b, MINIMAL "  budget = p.epochs(1/0) }", 7, "`budget`");
    refused(b, MINIMAL "  budget = p.seconds(3) }", 7, "p.samples(n), p.steps(n), p.epochs(n) or p.macs(n)", "p.seconds");
    refused(b, MINIMAL "  save_every = p.epochs(1) }", 7, "p.seconds(n) or p.steps(n)", "p.epochs");
    refused(b, HEAD "local x = p.epochs 'two'", 2, "p.epochs(1000)");
    refused_set(b, MINIMAL "}", "budget.epoch", "2", "'samples', 'steps', 'epochs' and 'macs'");
    refused_set(b, MINIMAL "}", "budget.epochs", "two", "no number");
}

static void test_documentation_names_every_key(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    char *text, key[80];
    size_t bytes;
    assert_int_equal(prn__file_read(PRN_SOURCE_DIR "/docs/recipes.md", 1 << 20, &text, &bytes, &error), PRN_OK);
    for (int t = 0; t < PRN__TABLE_COUNT; t++) {
        for (uint32_t i = 0; i < prn__recipe_tables[t].count; i++) {
            (void)snprintf(key, sizeof key, "| `%s` |", prn__recipe_tables[t].fields[i].name);
            if (strstr(text, key) == NULL) {
                fail_msg("docs/recipes.md has no row %s of %s", key, prn__recipe_tables[t].what);
            }
        }
    }
    prn__free(text);
}

static void test_out_of_memory_at_every_allocation(void **state)
{
    bench *b = *state;
    const prn__recipe_settings settings = {.library = PRN_SOURCE_DIR "/lua"};
    int64_t before = prn__alloc_live();
    prn_status status = PRN_NO_MEMORY;
    write_text(b->folder, "r.lua", MINIMAL "  schedule = function() return 1 end }");
    for (int64_t nth = 1; status != PRN_OK; nth += nth < 400 ? 1 : 37) {
        prn_error error = PRN_ERROR_INIT;
        prn__recipe *recipe = NULL;
        prn__alloc_fail_at(nth);
        status = prn__recipe_load(b->recipe, &settings, b->registry, &recipe, &error);
        prn__alloc_fail_at(0);
        if (status != PRN_OK) {
            assert_null(recipe);
            assert_true(error.message[0] != '\0');
        }
        prn__recipe_destroy(recipe);
        assert_int_equal(prn__alloc_live(), before);
        assert_true(nth < 200000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_value),
        cmocka_unit_test(test_unknown_keys_are_refused_at_their_line),
        cmocka_unit_test(test_wrong_values_are_refused_at_their_line),
        cmocka_unit_test(test_what_is_missing_is_named),
        cmocka_unit_test(test_library_errors_have_the_recipes_line),
        cmocka_unit_test(test_constructors_copy_and_close_over_places),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_schedule_functions),
        cmocka_unit_test(test_named_schedules),
        cmocka_unit_test(test_wrong_schedules_are_refused),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_documentation_names_every_key),
        cmocka_unit_test(test_out_of_memory_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
