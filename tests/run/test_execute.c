/* Whole runs on a tiny stream: what is trained, scored and recorded, and what is not done twice. */
#include "run/execute_support.h"

#include <fcntl.h>
#include <jansson.h>

#include "data/image.h"
#include "model/safetensors.h"

static int setup(void **state)
{
    static ground g;
    ground_open(&g, 2);
    make_stream(&g);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    ground_close(*state);
    return 0;
}

/* The first run's workspace is looked at by several tests. */
static void run_first(const ground *g, prn__arena *memory, prn__recipe *r)
{
    recipe_init(r, memory, g, "first");
    (void)complete(g, r);
}

static void test_a_whole_run(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__plan *plan = NULL;
    prn__results *results = NULL;
    prn__arena_init(&memory, 1024);
    recipe_init(&r, &memory, g, "first");
    int64_t before = prn__alloc_live();
    watch w = complete(g, &r);
    MUST(prn__plan_create(&r, g->registry, &plan, error_));
    int64_t steps = 0;
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        const prn__stage *stage = &plan->stages[i];
        prn__step_metric *metrics = NULL;
        size_t count = 0;
        assert_true(stage->is_done);
        steps += stage->steps;
        MUST(prn__results_metrics(r.workspace, stage->key, 0, &metrics, &count, error_));
        assert_int_equal(count, stage->steps);
        for (size_t k = 0; k < count; k++) {
            assert_int_equal(metrics[k].step, k);
            assert_true((float)metrics[k].learning_rate == stage->rates[k]);
            assert_true(isfinite(metrics[k].loss) && metrics[k].loss > 0 && metrics[k].loss < 20);
            assert_true(metrics[k].gradient_norm > 0 && isfinite(metrics[k].gradient_norm));
            assert_true(metrics[k].logit_scale >= 1 && metrics[k].logit_scale <= 100.001);
            assert_true(metrics[k].seconds > 0 && metrics[k].data_wait_s >= 0 && metrics[k].data_wait_s <= metrics[k].seconds + 1e-3);
        }
        prn__free(metrics);
        MUST(prn__results_metrics(r.workspace, stage->key, 3, &metrics, &count, error_));
        assert_true(count >= 2 && count <= 3);
        prn__free(metrics);
        char *folder = stage_file(&memory, r.workspace, stage->key, "");
        assert_int_equal(count_files(folder, "checkpoint"), 0);
        assert_int_equal(count_files(folder, ".tmp"), 0);
        assert_int_equal(count_files(folder, "open_clip_"), 2);
        assert_int_equal(count_files(folder, "stage.json"), 1);
    }
    assert_int_equal(w.trained, steps);
    assert_int_equal(w.evaluated, 7 * 3); /* distinct stages x sets */
    MUST(prn__results_load(r.workspace, NULL, &results, error_));
    assert_string_equal(results->run.name, "test");
    assert_string_equal(results->run.state, "done");
    assert_string_equal(results->run.stream, "stripes");
    assert_int_equal(results->run.stage_count, 7);
    assert_int_equal(results->run.stages_done, 7);
    assert_int_equal(results->step_count, 3);
    assert_string_equal(results->step_names[2], "c");
    assert_int_equal(results->task_count, 1);
    assert_int_equal(results->strategy_count, 3);
    assert_int_equal(results->skip_count, 0);
    assert_int_equal(results->samples, 8 * steps);
    for (size_t s = 0; s < 3; s++) {
        const prn__result_strategy *strategy = &results->strategies[s];
        const prn__result_task *task = &strategy->tasks[0];
        assert_string_equal(strategy->label, THREE[s].label);
        assert_true(strategy->forward_macs == plan->lines[s].forward_macs && strategy->total_macs == plan->lines[s].total_macs);
        assert_int_equal(strategy->samples, plan->lines[s].samples);
        assert_string_equal(task->name, "retrieval");
        assert_string_equal(task->scores[0].name, "recall@1");
        assert_int_equal(task->score_count, 6); /* k = 1, 5; both directions and their mean */
        for (size_t k = 0; k < task->score_count; k++) {
            double diagonal = 0;
            for (int i = 0; i < 9; i++) {
                double cell = task->scores[k].matrix[i];
                assert_true(cell >= 0 && cell <= 1);
                diagonal += i % 4 == 0 ? cell / 3 : 0;
            }
            assert_true(fabs(task->scores[k].transfer.in_domain - diagonal) < 1e-12);
            assert_true(isfinite(task->scores[k].transfer.backward) && isfinite(task->scores[k].transfer.forward));
        }
        for (uint32_t t = 0; t < 3; t++) {
            const prn__stage *stage = &plan->stages[plan->lines[s].stages[t]];
            assert_string_equal(strategy->stages[t].key, stage->key);
            assert_string_equal(strategy->stages[t].state, "done");
            assert_int_equal(strategy->stages[t].steps, stage->steps);
            assert_true(isfinite(strategy->stages[t].last_loss) && strategy->stages[t].seconds > 0);
        }
    }
    json_t *facts = json_loads(results->environment, 0, NULL);
    assert_non_null(facts);
    assert_string_equal(json_string_value(json_object_get(json_object_get(facts, "device"), "backend")), "cpu");
    assert_int_equal(json_integer_value(json_object_get(facts, "threads")), 2);
    assert_int_equal(json_array_size(json_object_get(facts, "data")), 3);
    for (size_t t = 0; t < 3; t++) {
        assert_int_equal(strlen(json_string_value(json_array_get(json_object_get(facts, "data"), t))), 32);
    }
    assert_true(json_array_size(json_object_get(facts, "plugins")) >= 5);
    json_decref(facts);
    prn__results_destroy(results);
    prn__plan_destroy(plan);
    assert_int_equal(prn__alloc_live(), before);
    prn__arena_fini(&memory);
}

/* docs/ledger.md names tables and columns; each must be there. */
static void test_the_ledger_is_as_documented(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    char *text, sql[256];
    size_t length;
    int columns = 0;
    prn__arena_init(&memory, 1024);
    run_first(g, &memory, &r);
    assert_true(ask(r.workspace, "PRAGMA user_version") == 3);
    MUST(prn__file_read(PRN_SOURCE_DIR "/docs/ledger.md", 1 << 20, &text, &length, error_));
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char table[64];
        if (sscanf(line, "| `%63[a-z_]` |", table) != 1) {
            continue;
        }
        int depth = 0; /* names in parentheses explain a column */
        char *start = strrchr(line, '|');
        *start = '\0';
        for (const char *c = strrchr(line, '|'); *c != '\0'; c++) {
            depth += *c == '(' ? 1 : *c == ')' ? -1 : 0;
            char column[64];
            if (depth == 0 && *c == '`' && sscanf(c, "`%63[a-z_0-9]`", column) == 1) {
                (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM pragma_table_info('%s') WHERE name = '%s'", table, column);
                if (ask(r.workspace, sql) != 1) {
                    fail_msg("table %s has no column %s", table, column);
                }
                columns++;
                c = strchr(c + 1, '`');
            }
        }
    }
    prn__free(text);
    assert_true(columns > 60);
    assert_true(ask(r.workspace, "SELECT count(*) FROM matrix WHERE score = 'recall@1'") == 27);
    assert_true(ask(r.workspace, "SELECT count(*) FROM matrix WHERE value IS NULL") == 0);
    assert_true(ask(r.workspace, "SELECT count(*) FROM evaluations") == 21);
    assert_true(ask(r.workspace, "SELECT count(*) FROM run_stages") == 9);
    assert_true(ask(r.workspace, "SELECT count(*) FROM stages WHERE state != 'done'") == 0);
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs") == 1);
    assert_true(ask(r.workspace, "SELECT count(*) FROM environment") == ask(r.workspace, "SELECT attempts FROM runs"));
    prn__arena_fini(&memory);
}

static void test_the_same_command_again_does_nothing(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    struct stat before, after;
    prn__arena_init(&memory, 1024);
    run_first(g, &memory, &r);
    double attempts = ask(r.workspace, "SELECT attempts FROM runs"), seconds = ask(r.workspace, "SELECT sum(seconds) FROM stages");
    char *stages = prn__arena_printf(&memory, "%s/stages", r.workspace);
    assert_int_equal(stat(stages, &before), 0);
    watch w = complete(g, &r);
    assert_int_equal(w.trained, 0);
    assert_int_equal(w.evaluated, 0);
    assert_int_equal(stat(stages, &after), 0);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs") == 1);
    assert_true(ask(r.workspace, "SELECT attempts FROM runs") == attempts + 1);
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'done' AND finished != ''") == 1);
    assert_true(ask(r.workspace, "SELECT sum(seconds) FROM stages") == seconds);
    /* other data threads, other evaluation batch: still the same stages */
    r.data_threads = 2;
    r.eval_batch = 5;
    w = complete(g, &r);
    assert_int_equal(w.trained, 0);
    assert_int_equal(w.evaluated, 0);
    prn__arena_fini(&memory);
}

static void test_runs_in_one_workspace_share_stages(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe one, two, three;
    prn__run_list *list = NULL;
    prn__arena_init(&memory, 1024);
    recipe_init(&one, &memory, g, "shared");
    one.name = "one";
    one.strategy_count = 1;
    watch w = complete(g, &one);
    assert_int_equal(w.trained, 3 * 6);
    recipe_init(&two, &memory, g, "shared");
    two.name = "two";
    two.strategies = &THREE[1];
    two.strategy_count = 1;
    w = complete(g, &two);
    assert_int_equal(w.trained, 2 * 6); /* its first stage is there */
    assert_int_equal(w.evaluated, 2 * 3);
    recipe_init(&three, &memory, g, "shared");
    three.name = "three";
    three.recall_k[0] = 3;
    three.recall_k_count = 1;
    three.strategy_count = 2;
    w = complete(g, &three); /* all stages are there; the scores are others */
    assert_int_equal(w.trained, 0);
    assert_int_equal(w.evaluated, 5 * 3);
    MUST(prn__run_list_load(one.workspace, &list, error_));
    assert_int_equal(list->count, 3);
    assert_string_equal(list->runs[0].name, "three");
    assert_string_equal(list->runs[2].name, "one");
    prn__run_list_destroy(list);
    prn__results *a, *b;
    MUST(prn__results_load(one.workspace, "one", &a, error_));
    MUST(prn__results_load(one.workspace, "two", &b, error_));
    assert_string_equal(a->strategies[0].stages[0].key, b->strategies[0].stages[0].key);
    assert_memory_equal(a->strategies[0].tasks[0].scores[0].matrix, b->strategies[0].tasks[0].scores[0].matrix, 3 * sizeof(double));
    prn__results_destroy(a);
    prn__results_destroy(b);
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(prn__results_load(one.workspace, "tree", &a, &error), PRN_NOT_FOUND);
    assert_message(&error, "did you mean 'three'?");
    prn__arena_fini(&memory);
}

static void test_the_reference_backend_agrees(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r, first;
    prn__plan *plan = NULL, *other = NULL;
    prn__arena_init(&memory, 1024);
    run_first(g, &memory, &first);
    recipe_init(&r, &memory, g, "reference");
    r.backend = "reference";
    r.strategy_count = 1;
    watch w = complete(g, &r);
    assert_int_equal(w.trained, 18);
    assert_int_equal(w.evaluated, 9);
    assert_true(ask(r.workspace, "SELECT count(*) FROM matrix WHERE score = 'recall@1' AND value >= 0") == 9);
    MUST(prn__plan_create(&r, g->registry, &plan, error_));
    MUST(prn__plan_create(&first, g->registry, &other, error_));
    for (uint32_t t = 0; t < 3; t++) {
        prn__step_metric *x, *y;
        size_t m, n;
        assert_string_not_equal(plan->stages[plan->lines[0].stages[t]].key, other->stages[other->lines[0].stages[t]].key);
        MUST(prn__results_metrics(r.workspace, plan->stages[plan->lines[0].stages[t]].key, 0, &x, &m, error_));
        MUST(prn__results_metrics(first.workspace, other->stages[other->lines[0].stages[t]].key, 0, &y, &n, error_));
        assert_int_equal(m, n);
        for (size_t k = 0; k < m; k++) {
            if (!(fabs(x[k].loss - y[k].loss) < 2e-3 * y[k].loss)) {
                fail_msg("time step %u, update %zu: loss %.9g on reference, %.9g on cpu", t + 1, k, x[k].loss, y[k].loss);
            }
        }
        prn__free(x);
        prn__free(y);
    }
    prn__plan_destroy(plan);
    prn__plan_destroy(other);
    prn__arena_fini(&memory);
}

/* ---- where a stage starts, what it sees ---------------------------------------------------------------------------------------- */

static void first_key(const ground *g, const prn__recipe *r, char key[33])
{
    prn__plan *plan = NULL;
    MUST(prn__plan_create(r, g->registry, &plan, error_));
    memcpy(key, plan->stages[0].key, 33);
    prn__plan_destroy(plan);
}

static void test_init_from_a_model_folder(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe first, r;
    char key[33], own[33];
    prn__arena_init(&memory, 1024);
    run_first(g, &memory, &first);
    first_key(g, &first, key);
    recipe_init(&r, &memory, g, "init");
    r.init = prn__arena_printf(&memory, "%s/stages/%s", first.workspace, key);
    r.strategy_count = 1;
    r.evaluate = (const char *const[]){NULL};
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_CONSTANT, .peak = 0}; /* updates that change nothing */
    watch w = complete(g, &r);
    assert_int_equal(w.evaluated, 0);
    first_key(g, &r, own);
    assert_same_file(stage_file(&memory, r.workspace, own, "open_clip_model.safetensors"),
                     stage_file(&memory, first.workspace, key, "open_clip_model.safetensors"));
    /* other weights are another stage */
    r.init = prn__arena_printf(&memory, "%s/other", g->folder);
    char *bytes;
    size_t length;
    read_path(stage_file(&memory, first.workspace, key, "open_clip_config.json"), &bytes, &length);
    write_bytes(g, "other/open_clip_config.json", bytes, length);
    prn__free(bytes);
    read_path(stage_file(&memory, first.workspace, key, "open_clip_model.safetensors"), &bytes, &length);
    bytes[length - 1] ^= 1;
    write_bytes(g, "other/open_clip_model.safetensors", bytes, length);
    char changed[33];
    first_key(g, &r, changed);
    assert_string_not_equal(changed, own);
    /* a damaged one says so and leaves nothing behind that looks finished */
    write_bytes(g, "other/open_clip_model.safetensors", bytes, length / 2);
    prn__free(bytes);
    prn_error error = PRN_ERROR_INIT;
    w = (watch){.stop_at = -1};
    assert_int_not_equal(execute(g, &r, &w, &error), PRN_OK);
    assert_message(&error, "open_clip_model.safetensors");
    assert_message(&error, "`init`");
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'failed' AND message != ''") == 1);
    prn__arena_fini(&memory);
}

/* Six updates by hand over the shards in order, without the loader: the same bytes as the run with transform = "eval", shuffle = false. */
static void test_without_augmentation_and_shuffling_batches_are_the_datasets_order(void **state)
{
    ground *g = *state;
    enum { BATCH = 8, UPDATES = 6, TOKENS = 20 };
    static uint8_t images[BATCH * SIDE * SIDE * 3];
    static int32_t tokens[BATCH * TOKENS];
    prn__arena memory;
    prn__recipe r;
    char key[33];
    prn__plan *plan = NULL;
    prn__device device;
    prn__trainer *trainer = NULL;
    prn__tokenizer *tokenizer = NULL;
    prn__dataset *dataset = NULL;
    prn__scratch *scratch = prn__scratch_create();
    prn__image image;
    memset(&image, 0, sizeof image);
    prn__arena_init(&memory, 1024);
    recipe_init(&r, &memory, g, "plain");
    r.augment = 0;
    r.shuffle = 0;
    r.strategy_count = 1;
    r.evaluate = (const char *const[]){NULL};
    (void)complete(g, &r);
    first_key(g, &r, key);
    MUST(prn__plan_create(&r, g->registry, &plan, error_));
    int64_t flat = plan->model->flat_elements;
    float *weights = prn__alloc_array((size_t)flat, sizeof *weights), *trained = prn__alloc_array((size_t)flat, sizeof *trained);
    prn__model_init(plan->model, r.seed, weights);
    MUST(prn__device_open(g->registry, "cpu", NULL, 0, &device, error_));
    const prn__trainer_config config = {.batch = BATCH, .optimizer = r.optimizer};
    MUST(prn__trainer_create(plan->model, &device, &config, &trainer, error_));
    MUST(prn__trainer_set_state(trainer, weights, NULL, NULL, 0, error_));
    MUST(prn__tokenizer_open(plan->manifest->vocabulary, 0, &tokenizer, error_));
    const prn__shard_list *list = &plan->manifest->steps[0].train;
    MUST(prn__dataset_open(plan->manifest, &list, 1, NULL, &dataset, error_));
    for (int step = 0; step < UPDATES; step++) {
        int64_t offsets[BATCH + 1] = {0};
        int32_t classes[BATCH];
        uint64_t samples[BATCH];
        for (int b = 0; b < BATCH; b++) {
            int position = (step * BATCH + b) % 40;
            prn__sample sample;
            prn__sample_hold hold;
            MUST(prn__dataset_sample(dataset, position / 20, position % 20, &sample, &hold, error_));
            MUST(prn__image_decode(sample.image, sample.image_bytes, &image, error_));
            MUST(prn__image_eval_transform(&image, SIDE, scratch, images + (size_t)b * SIDE * SIDE * 3, error_));
            offsets[b + 1] = offsets[b] + prn__tokenizer_encode(tokenizer, sample.caption, sample.caption_bytes, TOKENS, tokens + offsets[b]);
            classes[b] = -1;
            samples[b] = (uint64_t)position;
            prn__sample_release(dataset, &hold);
        }
        const prn__batch batch = {.count = BATCH, .token_count = offsets[BATCH], .images = images, .tokens = tokens, .offsets = offsets, .classes = classes,
                                  .samples = samples};
        prn__step_result result;
        MUST(prn__trainer_step(trainer, &batch, (double)plan->stages[0].rates[step], &result, error_));
    }
    MUST(prn__trainer_get_state(trainer, trained, NULL, NULL, NULL, error_));
    MUST(prn__model_load(plan->model, prn__arena_printf(&memory, "%s/stages/%s", r.workspace, key), weights, error_));
    assert_memory_equal(weights, trained, (size_t)flat * sizeof *weights);
    prn__dataset_close(dataset);
    prn__tokenizer_close(tokenizer);
    prn__trainer_destroy(trainer);
    prn__device_close(&device);
    prn__image_fini(&image);
    prn__scratch_destroy(scratch);
    prn__free(weights);
    prn__free(trained);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

/* ---- determinism --------------------------------------------------------------------------------------------------------------- */

static void test_thread_counts_change_no_byte(void **state)
{
    ground *g = *state;
    ground alone = *g;
    prn__arena memory;
    prn__recipe r, first;
    prn__arena_init(&memory, 1024);
    run_first(g, &memory, &first);
    MUST(prn__pool_create(1, NULL, &alone.pool, error_));
    MUST(prn__registry_create(alone.pool, PRN_BUILD_DIR "/plugins", &alone.registry, error_));
    recipe_init(&r, &memory, &alone, "alone");
    r.data_threads = 3;
    (void)complete(&alone, &r);
    assert_same_outcome(&alone, &r, first.workspace, r.workspace);
    prn__registry_destroy(alone.registry);
    prn__pool_destroy(alone.pool);
    recipe_init(&r, &memory, g, "other-seed");
    r.seed = 4;
    r.strategy_count = 1;
    (void)complete(g, &r);
    char key[33], other[33];
    first_key(g, &first, key);
    first_key(g, &r, other);
    assert_string_not_equal(key, other);
    assert_false(is_same_file(stage_file(&memory, first.workspace, key, "open_clip_model.safetensors"),
                              stage_file(&memory, r.workspace, other, "open_clip_model.safetensors")));
    prn__arena_fini(&memory);
}

static double largest_difference(const ground *g, prn__arena *memory, const prn__recipe *left, const prn__recipe *right)
{
    char a[33], b[33];
    prn__safetensors *x = NULL, *y = NULL;
    double largest = 0;
    first_key(g, left, a);
    first_key(g, right, b);
    MUST(prn__safetensors_open(stage_file(memory, left->workspace, a, "open_clip_model.safetensors"), &x, error_));
    MUST(prn__safetensors_open(stage_file(memory, right->workspace, b, "open_clip_model.safetensors"), &y, error_));
    for (size_t i = 0; i < prn__safetensors_count(x); i++) {
        const prn__st_tensor *p = prn__safetensors_at(x, i), *q = prn__safetensors_find(y, p->name);
        assert_non_null(q);
        size_t count = p->bytes / sizeof(float);
        float *u = prn__alloc_array(count, sizeof *u), *v = prn__alloc_array(count, sizeof *v);
        MUST(prn__safetensors_read_f32(p, u, (int64_t)count, error_));
        MUST(prn__safetensors_read_f32(q, v, (int64_t)count, error_));
        for (size_t k = 0; k < count; k++) {
            largest = fmax(largest, fabs((double)u[k] - (double)v[k]));
        }
        prn__free(u);
        prn__free(v);
    }
    prn__safetensors_close(x);
    prn__safetensors_close(y);
    return largest;
}

static void test_micro_batches_and_checkpointing_give_the_whole_batchs_result(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe whole, parts, recomputed;
    static const char *const backends[] = {"reference", "cpu"};
    prn__arena_init(&memory, 1024);
    for (int i = 0; i < 2; i++) {
        recipe_init(&whole, &memory, g, "whole");
        whole.backend = backends[i];
        whole.strategy_count = 1;
        whole.budget = 3;
        whole.evaluate = (const char *const[]){NULL};
        whole.optimizer.epsilon = 1e-3; /* or rounding decides the direction of updates whose gradient is nothing but rounding */
        parts = recomputed = whole;
        parts.workspace = prn__arena_printf(&memory, "%s/parts", g->folder);
        parts.micro_batch = 3; /* does not divide the batch */
        recomputed.workspace = prn__arena_printf(&memory, "%s/recomputed", g->folder);
        recomputed.checkpointing = 1;
        (void)complete(g, &whole);
        (void)complete(g, &parts);
        (void)complete(g, &recomputed);
        double difference = largest_difference(g, &memory, &whole, &parts);
        if (!(difference <= (i == 0 ? 1e-9 : 2e-5))) {
            fail_msg("%s: micro-batches differ by %g", backends[i], difference);
        }
        assert_true(largest_difference(g, &memory, &whole, &recomputed) == 0); /* the same operations: the same key, the same bytes */
    }
    prn__arena_fini(&memory);
}

/* ---- what can go wrong --------------------------------------------------------------------------------------------------------- */

static void stream_named(const ground *g, const char *file, const char *folder, const char *policy)
{
    prn__text text;
    prn__text_init(&text);
    prn__text_printf(&text, "stream: %s\nvocabulary: vocab.txt\non_bad_sample: %s\nsteps:\n", folder, policy);
    for (int t = 0; t < 2; t++) {
        prn__text_printf(&text, "  - name: \"%c\"\n    train: { shards: \"%s/%c-{0..1}.tar\" }\n    evaluations:\n"
                         "      - { name: retrieval, kind: retrieval, shards: \"eval/%c.tar\" }\n", 'a' + t, folder, 'a' + t, 'a' + t);
    }
    assert_false(text.failed);
    write_bytes(g, file, text.data, text.length);
    prn__text_fini(&text);
}

static void test_bad_samples_are_counted_or_stop_the_run(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn__results *results = NULL;
    prn_error error = PRN_ERROR_INIT;
    watch w = {.stop_at = -1};
    prn__arena_init(&memory, 1024);
    make_shard(g, "bad/a-0.tar", 0, 20, 0);
    make_shard(g, "bad/a-1.tar", 100, 20, 3);
    make_shard(g, "bad/b-0.tar", 200, 20, 0);
    make_shard(g, "bad/b-1.tar", 300, 20, 0);
    char *whole;
    size_t length;
    prn__text text, png;
    read_bytes(g, "bad/b-1.tar", &whole, &length);
    prn__text_init(&text);
    prn__text_init(&png);
    make_png(&png, 0, 1);
    tar_member(&text, "orphan.png", png.data, png.length); /* an image without a caption: the index finds it */
    prn__text_append(&text, whole, length);
    write_bytes(g, "bad/b-1.tar", text.data, text.length);
    prn__text_fini(&text);
    prn__text_fini(&png);
    prn__free(whole);
    stream_named(g, "skip.yaml", "bad", "skip");
    stream_named(g, "fail.yaml", "bad", "fail");
    recipe_init(&r, &memory, g, "bad-skip");
    r.manifest_path = prn__arena_printf(&memory, "%s/skip.yaml", g->folder);
    r.strategy_count = 1;
    r.shuffle = 0;
    r.budget = 5; /* one epoch */
    w.stop_at = 10; /* in the second stage */
    assert_int_equal(execute(g, &r, &w, &error), PRN_INTERRUPTED);
    w = (watch){.stop_at = -1};
    (void)complete(g, &r);
    MUST(prn__results_load(r.workspace, NULL, &results, error_));
    assert_int_equal(results->skip_count, 2);
    for (size_t i = 0; i < 2; i++) {
        const prn__skip_count *skip = &results->skips[i];
        int decoding = strcmp(skip->reason, "image_decode") == 0;
        assert_string_equal(skip->reason, decoding ? "image_decode" : "no_caption");
        assert_int_equal(skip->count, decoding ? 3 : 1);
        assert_non_null(strstr(skip->shard, decoding ? "bad/a-1.tar" : "bad/b-1.tar"));
        assert_string_equal(skip->stage, results->strategies[0].stages[decoding ? 0 : 1].key);
    }
    assert_int_equal(results->strategies[0].stages[0].skipped, 3);
    assert_int_equal(results->strategies[0].stages[1].skipped, 1);
    prn__results_destroy(results);
    recipe_init(&r, &memory, g, "bad-fail");
    r.manifest_path = prn__arena_printf(&memory, "%s/fail.yaml", g->folder);
    r.strategy_count = 1;
    r.shuffle = 0; /* position 20 is in the third batch of 8 */
    assert_int_not_equal(execute(g, &r, &w, &error), PRN_OK);
    assert_message(&error, "update 3 of 6");
    assert_message(&error, "bad/a-1.tar");
    assert_message(&error, "000100");
    assert_int_equal(w.trained, 2);
    assert_true(ask(r.workspace, "SELECT count(*) FROM step_metrics") == 2); /* kept: they show what led to it */
    MUST(prn__results_load(r.workspace, NULL, &results, error_));
    assert_string_equal(results->run.state, "failed");
    assert_string_equal(results->run.message, error.message);
    prn__results_destroy(results);
    prn__arena_fini(&memory);
}

static void test_finished_stages_of_changed_data_are_refused(void **state)
{
    ground *g = *state;
    prn__plan *plan = NULL;
    prn__arena memory;
    prn__recipe r;
    prn_error error = PRN_ERROR_INIT;
    watch w = {.stop_at = -1};
    prn__arena_init(&memory, 1024);
    for (int t = 0; t < 2; t++) {
        for (int s = 0; s < 2; s++) {
            make_shard(g, prn__arena_printf(&memory, "moving/%c-%d.tar", 'a' + t, s), 100 * t + 50 * s, 20, 0);
        }
    }
    stream_named(g, "moving.yaml", "moving", "skip");
    recipe_init(&r, &memory, g, "moving-runs");
    r.manifest_path = prn__arena_printf(&memory, "%s/moving.yaml", g->folder);
    r.strategy_count = 1;
    (void)complete(g, &r);
    make_shard(g, "moving/b-1.tar", 777, 20, 0);
    assert_int_equal(execute(g, &r, &w, &error), PRN_CONFLICT);
    assert_message(&error, "other data than step 'b'");
    assert_int_equal(w.trained, 0);
    /* removing what the message names trains and scores it again */
    MUST(prn__plan_create(&r, g->registry, &plan, error_));
    assert_int_equal(system(prn__arena_printf(&memory, "rm -r '%s/stages/%s'", r.workspace, plan->stages[1].key)), 0);
    w = complete(g, &r);
    assert_int_equal(w.trained, 6);
    assert_int_equal(w.evaluated, 2);
    /* a parent that is trained again on other data: its child is refused, too */
    make_shard(g, "moving/a-0.tar", 888, 20, 0);
    assert_int_equal(system(prn__arena_printf(&memory, "rm -r '%s/stages/%s'", r.workspace, plan->stages[0].key)), 0);
    w = (watch){.stop_at = -1};
    assert_int_equal(execute(g, &r, &w, &error), PRN_CONFLICT);
    assert_message(&error, plan->stages[0].key);
    assert_message(&error, plan->stages[1].key);
    assert_int_equal(w.trained, 6);
    assert_int_equal(system(prn__arena_printf(&memory, "rm -r '%s/stages/%s'", r.workspace, plan->stages[1].key)), 0);
    w = complete(g, &r);
    assert_int_equal(w.trained, 6);
    assert_int_equal(w.evaluated, 2);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static void test_a_workspace_that_is_being_rearranged_is_left_alone(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn_error error = PRN_ERROR_INIT;
    watch w = {.stop_at = -1};
    int lock;
    prn__arena_init(&memory, 1024);
    recipe_init(&r, &memory, g, "locked");
    MUST(prn__folder_create(r.workspace, error_));
    MUST(prn__workspace_lock(r.workspace, 1, &lock, error_));
    assert_int_equal(execute(g, &r, &w, &error), PRN_CONFLICT);
    assert_message(&error, r.workspace);
    assert_message(&error, "rearranged");
    prn__workspace_unlock(lock);
    r.strategy_count = 1;
    r.budget = 1;
    (void)complete(g, &r); /* the file that is left is no lock */
    prn__arena_fini(&memory);
}

static void test_hopeless_runs_end_with_a_message(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe r;
    prn_error error = PRN_ERROR_INIT;
    watch w = {.stop_at = -1};
    prn__arena_init(&memory, 1024);
    recipe_init(&r, &memory, g, "diverged");
    r.strategy_count = 1;
    r.budget = 30;
    r.schedule = (prn__schedule){.kind = PRN__SCHEDULE_CONSTANT, .peak = 1e6};
    r.optimizer.decay = 100;
    prn_status status = execute(g, &r, &w, &error);
    assert_int_equal(status, PRN_NUMERIC);
    assert_message(&error, "learning rate");
    assert_message(&error, "clip_norm");
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'failed'") == 1);
    recipe_init(&r, &memory, g, "small-vocabulary");
    r.model.text.vocab_size = 300;
    w = (watch){.stop_at = -1};
    assert_int_not_equal(execute(g, &r, &w, &error), PRN_OK);
    assert_message(&error, "vocab_size");
    recipe_init(&r, &memory, g, "no-shards");
    write_bytes(g, "gone.yaml", "stream: gone\nvocabulary: vocab.txt\nsteps:\n  - name: a\n    train: { shards: \"gone/{0..1}.tar\", samples: 40 }\n", 101);
    r.manifest_path = prn__arena_printf(&memory, "%s/gone.yaml", g->folder);
    assert_int_not_equal(execute(g, &r, &w, &error), PRN_OK);
    assert_message(&error, "gone");
    recipe_init(&r, &memory, g, "a-file");
    write_bytes(g, "a-file", "x", 1);
    assert_int_not_equal(execute(g, &r, &w, &error), PRN_OK);
    assert_message(&error, "a-file");
    recipe_init(&r, &memory, g, "future");
    write_bytes(g, "future/ledger.sqlite", "no database at all, and long enough to be looked at by SQLite: 0123456789012345678901234567890123456789", 100);
    assert_int_not_equal(execute(g, &r, &w, &error), PRN_OK);
    assert_message(&error, "ledger.sqlite");
    prn__arena_fini(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_run),
        cmocka_unit_test(test_the_ledger_is_as_documented),
        cmocka_unit_test(test_the_same_command_again_does_nothing),
        cmocka_unit_test(test_runs_in_one_workspace_share_stages),
        cmocka_unit_test(test_the_reference_backend_agrees),
        cmocka_unit_test(test_init_from_a_model_folder),
        cmocka_unit_test(test_without_augmentation_and_shuffling_batches_are_the_datasets_order),
        cmocka_unit_test(test_thread_counts_change_no_byte),
        cmocka_unit_test(test_micro_batches_and_checkpointing_give_the_whole_batchs_result),
        cmocka_unit_test(test_bad_samples_are_counted_or_stop_the_run),
        cmocka_unit_test(test_finished_stages_of_changed_data_are_refused),
        cmocka_unit_test(test_a_workspace_that_is_being_rearranged_is_left_alone),
        cmocka_unit_test(test_hopeless_runs_end_with_a_message),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
