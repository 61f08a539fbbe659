/* Interrupted runs: stopped at every question, killed at any instant, with damaged checkpoints and full disks. Whatever happened,
 * the same command leads to the bytes of the run that nothing disturbed. */
#include "run/execute_support.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { UPDATES = 4 };

typedef struct scene {
    ground g;
    prn__arena memory;
    prn__recipe recipe;    /* sequential and oracle; workspace "whole" */
    int64_t questions;     /* that the undisturbed run asked */
} scene;

static int setup(void **state)
{
    static scene s;
    ground_open(&s.g, 2);
    make_stream(&s.g);
    make_shard(&s.g, "train/a-1.tar", 100, 20, 2); /* losses are counted across interruptions */
    prn__arena_init(&s.memory, 1024);
    recipe_init(&s.recipe, &s.memory, &s.g, "whole");
    s.recipe.budget = UPDATES;
    static const prn__recipe_strategy strategies[2] = {{.label = "sequential", .strategy = "sequential"}, {.label = "oracle", .strategy = "oracle"}};
    s.recipe.strategies = strategies;
    s.recipe.strategy_count = 2;
    watch w = complete(&s.g, &s.recipe);
    s.questions = w.asked;
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;
    char path[96];
    (void)snprintf(path, sizeof path, "%s/tmpfs", s->g.folder);
    (void)umount2(path, MNT_DETACH); /* a failed test may have left it */
    prn__arena_fini(&s->memory);
    ground_close(&s->g);
    return 0;
}

static prn__recipe in_workspace(scene *s, const char *name)
{
    prn__recipe r = s->recipe;
    r.workspace = prn__arena_printf(&s->memory, "%s/%s", s->g.folder, name);
    assert_non_null(r.workspace);
    return r;
}

static void drop(scene *s, const char *name)
{
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s/%s'", s->g.folder, name);
    assert_int_equal(system(command), 0);
}

static void key_at(scene *s, uint32_t stage, char key[33])
{
    prn__plan *plan = NULL;
    MUST(prn__plan_create(&s->recipe, s->g.registry, &plan, error_));
    memcpy(key, plan->stages[stage].key, 33);
    prn__plan_destroy(plan);
}

/* ---- asked to stop --------------------------------------------------------------------------------------------------------------- */

static void test_stopped_at_every_question(void **state)
{
    scene *s = *state;
    int interrupted = 0;
    assert_true(s->questions > 5 * UPDATES);
    for (int64_t n = 0; n <= s->questions; n++) {
        prn__recipe r = in_workspace(s, "stopped");
        prn_error error = PRN_ERROR_INIT;
        watch w = {.stop_at = n};
        prn_status status = execute(&s->g, &r, &w, &error);
        if (n < s->questions) {
            assert_int_equal(status, PRN_INTERRUPTED);
            assert_message(&error, "the same command goes on");
            assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'interrupted' AND message != ''") == 1);
            interrupted++;
        } else {
            assert_int_equal(status, PRN_OK);
        }
        watch rest = complete(&s->g, &r);
        assert_int_equal(w.trained + rest.trained, ask(s->recipe.workspace, "SELECT count(*) FROM step_metrics"));
        assert_int_equal(w.evaluated + rest.evaluated, ask(s->recipe.workspace, "SELECT count(*) FROM evaluations"));
        assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
        assert_true(ask(r.workspace, "SELECT count(*) FROM runs") == 1);
        drop(s, "stopped");
    }
    assert_int_equal(interrupted, s->questions);
}

typedef struct midst {
    int64_t asked, yes_at;
} midst;

static int midst_leave(void *context)
{
    midst *m = context;
    return m->asked++ == m->yes_at;
}

/* In the midst of a set or of an update of several micro-batches. */
static void test_left_in_the_midst(void **state)
{
    scene *s = *state;
    prn__recipe whole = in_workspace(s, "midst-whole"), r = in_workspace(s, "midst");
    prn__plan *plan = NULL;
    midst all = {.yes_at = -1};
    whole.strategy_count = r.strategy_count = 1;
    whole.micro_batch = r.micro_batch = 3;
    prn__run_options options = {.should_leave = midst_leave, .stop_context = &all};
    MUST(prn__plan_create(&whole, s->g.registry, &plan, error_));
    MUST(prn__run_execute(plan, s->g.registry, &options, error_));
    prn__plan_destroy(plan);
    assert_true(all.asked > 100);
    for (int64_t n = 0; n < all.asked; n += 1 + all.asked / 12) {
        prn_error error = PRN_ERROR_INIT;
        midst m = {.yes_at = n};
        options.stop_context = &m;
        MUST(prn__plan_create(&r, s->g.registry, &plan, error_));
        assert_int_equal(prn__run_execute(plan, s->g.registry, &options, &error), PRN_INTERRUPTED);
        prn__plan_destroy(plan);
        assert_message(&error, "the same command goes on");
        assert_int_equal(m.asked, n + 1);
        (void)complete(&s->g, &r);
        assert_same_outcome(&s->g, &r, whole.workspace, r.workspace);
        drop(s, "midst");
    }
    drop(s, "midst-whole");
}

static void test_stopped_after_every_step(void **state)
{
    scene *s = *state;
    prn__recipe r = in_workspace(s, "steps");
    prn_status status = PRN_INTERRUPTED;
    int attempts = 0;
    for (; status == PRN_INTERRUPTED; attempts++) {
        prn_error error = PRN_ERROR_INIT;
        watch w = {.stop_at = 1}; /* one step or one evaluation in each attempt */
        status = execute(&s->g, &r, &w, &error);
        assert_true(status == PRN_OK || status == PRN_INTERRUPTED);
        assert_true(attempts < 200);
    }
    assert_true(attempts > 30);
    assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    assert_true(ask(r.workspace, "SELECT attempts FROM runs") == attempts);
    drop(s, "steps");
}

static void test_the_reference_backend_resumes_exactly(void **state)
{
    scene *s = *state;
    prn__recipe whole = in_workspace(s, "fp64-whole"), r = in_workspace(s, "fp64-steps");
    prn_status status = PRN_INTERRUPTED;
    whole.backend = r.backend = "reference";
    whole.strategy_count = r.strategy_count = 1;
    (void)complete(&s->g, &whole);
    while (status == PRN_INTERRUPTED) {
        prn_error error = PRN_ERROR_INIT;
        watch w = {.stop_at = 1};
        status = execute(&s->g, &r, &w, &error);
    }
    assert_int_equal(status, PRN_OK);
    assert_same_outcome(&s->g, &r, whole.workspace, r.workspace);
    drop(s, "fp64-whole");
    drop(s, "fp64-steps");
}

static void test_losses_are_counted_once(void **state)
{
    scene *s = *state;
    prn__recipe r = in_workspace(s, "losses");
    prn__results *a, *b;
    r.budget = 10; /* two epochs */
    r.strategy_count = 1;
    r.shuffle = 0;
    r.evaluate = (const char *const[]){NULL};
    prn__recipe whole = r;
    whole.workspace = prn__arena_printf(&s->memory, "%s/losses-whole", s->g.folder);
    (void)complete(&s->g, &whole);
    for (prn_status status = PRN_INTERRUPTED; status == PRN_INTERRUPTED;) {
        prn_error error = PRN_ERROR_INIT;
        watch w = {.stop_at = 3};
        status = execute(&s->g, &r, &w, &error);
    }
    MUST(prn__results_load(whole.workspace, NULL, &a, error_));
    MUST(prn__results_load(r.workspace, NULL, &b, error_));
    assert_int_equal(a->strategies[0].stages[0].skipped, 4); /* two bad samples, met in both epochs */
    assert_true(b->strategies[0].stages[0].skipped >= 4);    /* batches prepared ahead of a stop are prepared, and counted, again */
    prn__results_destroy(a);
    prn__results_destroy(b);
    drop(s, "losses");
    drop(s, "losses-whole");
}

/* What no bundled strategy asks for at present, put into the plan by hand: `parts` 1 keeps the optimizer, 2 weights and limits the sources. */
static prn_status execute_changed(scene *s, const prn__recipe *r, int parts, watch *w, prn_error *error)
{
    prn__plan *plan = NULL;
    const prn__run_options options = {.progress = watch_progress, .progress_context = w, .should_stop = watch_stop, .stop_context = w};
    MUST(prn__plan_create(r, s->g.registry, &plan, error_));
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        prn__stage *stage = &plan->stages[i];
        stage->keep_optimizer = (parts & 1) != 0 && stage->parent >= 0;
        for (uint32_t k = 0; k < stage->source_count && stage->source_count > 1 && (parts & 2) != 0; k++) {
            stage->sources[k].weight = 1.0 + k;
            stage->sources[k].max_samples = k == 0 ? 7 : 0;
        }
    }
    prn_status status = prn__run_execute(plan, s->g.registry, &options, error);
    prn__plan_destroy(plan);
    return status;
}

static void test_kept_optimizers_and_weighted_sources_resume_exactly(void **state)
{
    scene *s = *state;
    static const prn__recipe_strategy cumulative = {.label = "cumulative", .strategy = "cumulative"};
    prn__recipe plain = in_workspace(s, "parts-0"), whole, r;
    char key[33];
    prn__plan *plan = NULL;
    plain.strategies = &cumulative;
    plain.strategy_count = 1;
    (void)complete(&s->g, &plain);
    MUST(prn__plan_create(&plain, s->g.registry, &plan, error_));
    memcpy(key, plan->stages[2].key, 33);
    prn__plan_destroy(plan);
    for (int parts = 1; parts <= 3; parts++) {
        prn_error error = PRN_ERROR_INIT;
        watch w = {.stop_at = -1};
        whole = r = plain;
        whole.workspace = prn__arena_printf(&s->memory, "%s/parts-%d", s->g.folder, parts);
        r.workspace = prn__arena_printf(&s->memory, "%s/parts-steps", s->g.folder);
        assert_int_equal(execute_changed(s, &whole, parts, &w, &error), PRN_OK);
        for (prn_status status = PRN_INTERRUPTED; status != PRN_OK;) {
            w = (watch){.stop_at = 1};
            status = execute_changed(s, &r, parts, &w, &error);
            assert_true(status == PRN_OK || status == PRN_INTERRUPTED);
        }
        assert_same_outcome(&s->g, &r, whole.workspace, r.workspace);
        for (int other = 0; other < parts; other++) { /* each of them changes the last stage */
            assert_false(is_same_file(stage_file(&s->memory, whole.workspace, key, "open_clip_model.safetensors"),
                                      prn__arena_printf(&s->memory, "%s/parts-%d/stages/%s/open_clip_model.safetensors", s->g.folder, other, key)));
        }
        drop(s, "parts-steps");
    }
}

/* ---- killed ------------------------------------------------------------------------------------------------------------------------ */

/* Runs in a child with its own threads; the exit code is the status. */
static pid_t start_child(scene *s, const prn__recipe *r, rlim_t file_limit, const char *message_file)
{
    pid_t child = fork();
    if (child == 0) {
        prn_error error = PRN_ERROR_INIT;
        ground own = s->g;
        prn__plan *plan = NULL;
        if (file_limit > 0) {
            const struct rlimit limit = {file_limit, file_limit};
            (void)signal(SIGXFSZ, SIG_IGN);
            (void)setrlimit(RLIMIT_FSIZE, &limit);
        }
        prn_status status = prn__pool_create(2, NULL, &own.pool, &error);
        if (status == PRN_OK) {
            status = prn__registry_create(own.pool, PRN_BUILD_DIR "/plugins", &own.registry, &error);
        }
        if (status == PRN_OK) {
            status = prn__plan_create(r, own.registry, &plan, &error);
        }
        if (status == PRN_OK) {
            status = prn__run_execute(plan, own.registry, NULL, &error);
        }
        if (message_file != NULL) {
            const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
            (void)setrlimit(RLIMIT_FSIZE, &none);
            FILE *file = fopen(message_file, "w");
            if (file != NULL) {
                (void)fputs(error.message, file);
                (void)fclose(file);
            }
        }
        _exit((int)status);
    }
    assert_true(child > 0);
    return child;
}

static int wait_child(pid_t child)
{
    int code = 0;
    pid_t waited;
    do {
        waited = waitpid(child, &code, 0);
    } while (waited < 0 && errno == EINTR);
    assert_int_equal(waited, child);
    return code;
}

static void test_killed_at_any_instant(void **state)
{
    enum { TRIALS = 6 };
    scene *s = *state;
    unsigned random = 20240229;
    int killed = 0, in_training = 0;
    double begin = prn__now_s();
    prn__recipe timed = in_workspace(s, "timed");
    pid_t child = start_child(s, &timed, 0, NULL);
    assert_int_equal(wait_child(child), 0);
    double whole_s = prn__now_s() - begin;
    assert_same_outcome(&s->g, &timed, s->recipe.workspace, timed.workspace);
    drop(s, "timed");
    for (int trial = 0; trial < TRIALS; trial++) {
        prn__recipe r = in_workspace(s, "killed");
        r.save_every_steps = 1 + trial % 3;
        for (int kills = 0;; kills++) {
            random = random * 1664525u + 1013904223u;
            double delay = whole_s * (0.15 + 0.85 * (double)(random >> 8) / (double)(1u << 24)) * (kills < 12 ? 0.6 : 20);
            child = start_child(s, &r, 0, NULL);
            int code = -1;
            for (double until = prn__now_s() + delay; prn__now_s() < until;) {
                pid_t waited = waitpid(child, &code, WNOHANG);
                if (waited == child) {
                    child = 0;
                    break;
                }
                (void)usleep(200);
            }
            if (child != 0) {
                (void)kill(child, SIGKILL);
                code = wait_child(child);
                killed++;
            }
            if (!WIFSIGNALED(code)) {
                assert_int_equal(WEXITSTATUS(code), PRN_OK);
                break;
            }
            prn__results *results = NULL;
            prn_error error = PRN_ERROR_INIT;
            prn_status status = prn__results_load(r.workspace, NULL, &results, &error); /* whatever the kill left can be read */
            if (status != PRN_OK && status != PRN_NOT_FOUND) {
                fail_msg("%s", error.message);
            }
            in_training += status == PRN_OK && ask(r.workspace, "SELECT count(*) FROM stages WHERE state = 'partial'") > 0;
            prn__results_destroy(results);
            assert_true(kills < 40);
        }
        assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
        for (uint32_t i = 0; i < 5; i++) { /* nothing of the killed ones is left over */
            char key[33];
            key_at(s, i, key);
            char *folder = stage_file(&s->memory, r.workspace, key, "");
            assert_int_equal(count_files(folder, "checkpoint"), 0);
            assert_int_equal(count_files(folder, ".tmp"), 0);
        }
        drop(s, "killed");
    }
    assert_true(killed >= TRIALS);
    print_message("killed %d times, %d of them with a stage under way\n", killed, in_training);
}

/* ---- no memory ------------------------------------------------------------------------------------------------------------------- */

static void test_allocations_that_fail(void **state)
{
    scene *s = *state;
    prn__recipe whole = in_workspace(s, "memory-whole"), r = in_workspace(s, "memory");
    int failed = 0, absorbed = 0;
    whole.strategy_count = r.strategy_count = 1;
    whole.budget = r.budget = 2;
    r.save_every_steps = 1;
    (void)complete(&s->g, &whole);
    for (int64_t nth = 1; absorbed < 8; nth += 1 + nth / 10) {
        prn_error error = PRN_ERROR_INIT;
        prn__plan *plan = NULL;
        MUST(prn__plan_create(&r, s->g.registry, &plan, error_));
        int64_t before = prn__alloc_live();
        prn__alloc_fail_at(nth);
        prn_status status = prn__run_execute(plan, s->g.registry, NULL, &error);
        prn__alloc_fail_at(0);
        assert_int_equal(prn__alloc_live(), before);
        prn__plan_destroy(plan);
        if (status != PRN_OK) {
            assert_int_equal(error.status, status);
            assert_true(error.message[0] != '\0');
            failed++;
            (void)complete(&s->g, &r);
        } else {
            absorbed++; /* it was not needed, or the run made fewer */
        }
        assert_same_outcome(&s->g, &r, whole.workspace, r.workspace);
        drop(s, "memory");
        assert_true(nth < 10000000);
    }
    print_message("%d attempts ran out of memory\n", failed);
    assert_true(failed > 20);
    drop(s, "memory-whole");
}

/* ---- damaged checkpoints ------------------------------------------------------------------------------------------------------------- */

/* Stops after `updates` of the first stage, with a checkpoint after each. */
static void leave_checkpoints(scene *s, prn__recipe *r, const char *name, int64_t updates)
{
    prn_error error = PRN_ERROR_INIT;
    watch w = {.stop_at = updates};
    *r = in_workspace(s, name);
    r->save_every_steps = 1;
    assert_int_equal(execute(&s->g, r, &w, &error), PRN_INTERRUPTED);
    assert_int_equal(w.trained, updates);
}

static char *checkpoint(scene *s, const prn__recipe *r, const char *key, int64_t step)
{
    char name[64];
    (void)snprintf(name, sizeof name, "checkpoint-%d.safetensors", (int)step);
    return stage_file(&s->memory, r->workspace, key, name);
}

static void flip(const char *path, double place)
{
    struct stat info;
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &info), 0);
    long at = (long)(place * (double)(info.st_size - 1));
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 0x10, file), byte ^ 0x10);
    assert_int_equal(fclose(file), 0);
}

static void test_damaged_checkpoints_are_left_aside(void **state)
{
    scene *s = *state;
    char key[33];
    prn__recipe r;
    static const double places[] = {0, 0.0005, 0.3, 0.7, 1};
    key_at(s, 0, key);
    for (size_t i = 0; i < sizeof places / sizeof places[0] + 2; i++) {
        leave_checkpoints(s, &r, "damaged", 3);
        assert_int_equal(count_files(stage_file(&s->memory, r.workspace, key, ""), "checkpoint-"), 2);
        char *last = checkpoint(s, &r, key, 3), *before = checkpoint(s, &r, key, 2);
        int64_t updates = 2;
        if (i < sizeof places / sizeof places[0]) {
            flip(last, places[i]);
        } else if (i == sizeof places / sizeof places[0]) {
            assert_int_equal(truncate(last, 1000), 0);
            assert_int_equal(truncate(before, 0), 0);
            updates = 0;
        } else { /* the one before, under the name of the last */
            char *bytes;
            size_t length;
            read_path(before, &bytes, &length);
            MUST(prn__file_write_atomic(last, bytes, length, error_));
            prn__free(bytes);
        }
        watch w = complete(&s->g, &r);
        assert_int_equal(w.trained, ask(s->recipe.workspace, "SELECT count(*) FROM step_metrics") - updates);
        assert_int_equal(count_files(stage_file(&s->memory, r.workspace, key, ""), ".damaged"), updates == 0 ? 2 : 1);
        assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
        drop(s, "damaged");
    }
}

/* What cannot be read for another reason than damage is not given up: here a link that leads nowhere stands for lack of rights, which root does not
 * know. */
static void test_checkpoints_that_cannot_be_read_are_kept(void **state)
{
    scene *s = *state;
    prn_error error = PRN_ERROR_INIT;
    char key[33];
    prn__recipe r;
    key_at(s, 0, key);
    leave_checkpoints(s, &r, "unreadable", 3);
    char *last = checkpoint(s, &r, key, 3), *aside = prn__arena_printf(&s->memory, "%s/aside", r.workspace);
    assert_int_equal(rename(last, aside), 0);
    assert_int_equal(symlink(last, last), 0);
    watch w = {.stop_at = -1};
    assert_int_equal(execute(&s->g, &r, &w, &error), PRN_IO);
    assert_message(&error, last);
    assert_message(&error, "remove it");
    assert_int_equal(w.trained, 0);
    assert_int_equal(count_files(stage_file(&s->memory, r.workspace, key, ""), ".damaged"), 0);
    assert_int_equal(unlink(last), 0);
    assert_int_equal(rename(aside, last), 0);
    w = complete(&s->g, &r);
    assert_int_equal(w.trained, ask(s->recipe.workspace, "SELECT count(*) FROM step_metrics") - 3);
    assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    drop(s, "unreadable");
}

/* The run ends with that message, and leaves the checkpoints of its first stages as they are. */
static void refuse(scene *s, const prn__recipe *r, prn_status status, const char *word)
{
    prn_error error = PRN_ERROR_INIT;
    watch w = {.stop_at = -1};
    assert_int_equal(execute(&s->g, r, &w, &error), status);
    assert_message(&error, word);
    char *command = prn__arena_printf(&s->memory, "test -z \"$(find '%s' -name '*.damaged')\"", r->workspace);
    assert_int_equal(system(command), 0);
}

static void test_checkpoints_of_another_stage_or_other_data_are_not_used(void **state)
{
    scene *s = *state;
    char key[33], next[33], *bytes;
    size_t length;
    prn__recipe r;
    key_at(s, 0, key);
    key_at(s, 1, next);
    leave_checkpoints(s, &r, "mixed", 3);
    read_path(checkpoint(s, &r, key, 3), &bytes, &length);
    char *other = checkpoint(s, &r, next, 3);
    char *folder = prn__path_folder(other);
    MUST(prn__folder_create(folder, error_));
    MUST(prn__file_write_atomic(other, bytes, length, error_));
    prn__free(folder);
    prn__free(bytes);
    watch w = complete(&s->g, &r);
    assert_int_equal(w.trained, ask(s->recipe.workspace, "SELECT count(*) FROM step_metrics") - 3);
    assert_int_equal(count_files(stage_file(&s->memory, r.workspace, next, ""), ".damaged"), 1);
    assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    drop(s, "mixed");
    /* data without a stated checksum that changes in the middle of a stage */
    leave_checkpoints(s, &r, "changed", 3);
    make_shard(&s->g, "train/a-0.tar", 5000, 20, 0);
    refuse(s, &r, PRN_CONFLICT, "put the data back");
    make_shard(&s->g, "train/a-0.tar", 0, 20, 0);
    w = complete(&s->g, &r); /* nothing was lost */
    assert_int_equal(w.trained, ask(s->recipe.workspace, "SELECT count(*) FROM step_metrics") - 3);
    assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    drop(s, "changed");
    /* shards that are gone, of training and of evaluation sets */
    leave_checkpoints(s, &r, "gone", 3);
    static const char *const shards[] = {"train/a-0.tar", "train/b-0.tar", "eval/b.tar"};
    for (size_t i = 0; i < 3; i++) {
        char *path = path_in(&s->g, shards[i]), *aside = path_in(&s->g, "aside.tar");
        assert_int_equal(rename(path, aside), 0);
        refuse(s, &r, PRN_NOT_FOUND, shards[i]);
        assert_int_equal(rename(aside, path), 0);
        prn__free(path);
        prn__free(aside);
    }
    (void)complete(&s->g, &r);
    assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    drop(s, "gone");
}

static void test_damaged_finished_stages_are_refused(void **state)
{
    scene *s = *state;
    char key[33];
    prn_error error = PRN_ERROR_INIT;
    prn__recipe r;
    key_at(s, 0, key);
    leave_checkpoints(s, &r, "finished", UPDATES); /* asked to stop once the stage was finished, before its scores */
    assert_true(prn__stage_is_done(r.workspace, key));
    flip(stage_file(&s->memory, r.workspace, key, "open_clip_model.safetensors"), 0.8);
    watch w = {.stop_at = -1};
    assert_int_equal(execute(&s->g, &r, &w, &error), PRN_CORRUPT);
    assert_message(&error, key);
    assert_message(&error, "remove the folder");
    char *command = prn__arena_printf(&s->memory, "rm -r '%s/stages/%s'", r.workspace, key);
    assert_int_equal(system(command), 0);
    (void)complete(&s->g, &r);
    assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    drop(s, "finished");
}

/* ---- full disks ------------------------------------------------------------------------------------------------------------------------ */

static void test_files_that_cannot_grow(void **state)
{
    scene *s = *state;
    char key[33], *message, path[128];
    size_t length;
    prn__recipe r;
    struct stat info;
    key_at(s, 0, key);
    leave_checkpoints(s, &r, "limited", 2);
    char *last = checkpoint(s, &r, key, 2);
    assert_int_equal(stat(last, &info), 0);
    (void)snprintf(path, sizeof path, "%s/message", s->g.folder);
    int code = wait_child(start_child(s, &r, (rlim_t)info.st_size / 2, path));
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), PRN_IO);
    read_path(path, &message, &length);
    if (strstr(message, "the one before is intact") == NULL || strstr(message, "File too large") == NULL || strstr(message, "checkpoint-3") == NULL) {
        fail_msg("'%s'", message);
    }
    prn__free(message);
    assert_true(prn__file_exists(last));
    assert_int_equal(count_files(stage_file(&s->memory, r.workspace, key, ""), ".tmp"), 0);
    watch w = complete(&s->g, &r); /* from the checkpoint that was kept */
    assert_int_equal(w.trained, ask(s->recipe.workspace, "SELECT count(*) FROM step_metrics") - 2);
    assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    drop(s, "limited");
}

/* A small file system that fills up at many places of the run: in the ledger, in a checkpoint, in a model. */
static void test_full_disks(void **state)
{
    scene *s = *state;
    prn__recipe r = in_workspace(s, "tmpfs");
    char options[64];
    int failed = 0, kinds = 0;
    r.save_every_steps = 1;
    MUST(prn__folder_create(r.workspace, error_));
    if (mount("tmpfs", r.workspace, "tmpfs", 0, "size=64k") != 0) {
        print_message("skipped: no file system can be mounted here (%s)\n", strerror(errno));
        skip();
    }
    prn_status status = PRN_IO;
    const char *seen[2] = {NULL, NULL};
    for (int kib = 64; status != PRN_OK && kib < 64 * 1024; kib += kib / 6 + 16) {
        prn_error error = PRN_ERROR_INIT;
        watch w = {.stop_at = -1};
        (void)snprintf(options, sizeof options, "size=%dk", kib);
        if (mount("tmpfs", r.workspace, "tmpfs", MS_REMOUNT, options) != 0) {
            break;
        }
        status = execute(&s->g, &r, &w, &error);
        if (status != PRN_OK) {
            int ledger = strstr(error.message, "ledger.sqlite") != NULL, files = strstr(error.message, "No space left") != NULL;
            failed++;
            kinds |= ledger ? 1 : files ? 2 : 0;
            if ((!ledger && !files) || status != PRN_IO) {
                seen[0] = prn__arena_strdup(&s->memory, error.message);
                break;
            }
        }
    }
    if (status == PRN_OK) {
        assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    }
    assert_int_equal(umount2(r.workspace, MNT_DETACH), 0);
    if (seen[0] != NULL || status != PRN_OK) {
        fail_msg("status %d: %s", status, seen[0] != NULL ? seen[0] : "");
    }
    assert_true(failed >= 4);
    assert_int_equal(kinds, 3);
    drop(s, "tmpfs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopped_at_every_question),
        cmocka_unit_test(test_left_in_the_midst),
        cmocka_unit_test(test_stopped_after_every_step),
        cmocka_unit_test(test_the_reference_backend_resumes_exactly),
        cmocka_unit_test(test_losses_are_counted_once),
        cmocka_unit_test(test_kept_optimizers_and_weighted_sources_resume_exactly),
        cmocka_unit_test(test_killed_at_any_instant),
        cmocka_unit_test(test_allocations_that_fail),
        cmocka_unit_test(test_damaged_checkpoints_are_left_aside),
        cmocka_unit_test(test_checkpoints_that_cannot_be_read_are_kept),
        cmocka_unit_test(test_checkpoints_of_another_stage_or_other_data_are_not_used),
        cmocka_unit_test(test_damaged_finished_stages_are_refused),
        cmocka_unit_test(test_files_that_cannot_grow),
        cmocka_unit_test(test_full_disks),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
