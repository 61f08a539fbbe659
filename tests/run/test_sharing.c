/* Several processes in one workspace: claims, who is there, the run's record, and that every stage is trained by one of them to the
 * bytes of a run that was alone. */
#include "run/execute_support.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "ledger/claims.h"
#include "run/ledger.h"

enum { UPDATES = 6 };

/* What the processes of a test tell each other. */
typedef struct board {
    _Atomic int64_t trained, evaluated, waited;
    _Atomic int go;
} board;

typedef struct scene {
    ground g;
    prn__arena memory;
    prn__recipe recipe; /* sequential and oracle; workspace "whole" */
    watch whole;        /* what the run alone did */
    board *board;
} scene;

static const prn__recipe_strategy strategies[2] = {{.label = "sequential", .strategy = "sequential"}, {.label = "oracle", .strategy = "oracle"}};

static int setup(void **state)
{
    static scene s;
    ground_open(&s.g, 1);
    make_stream(&s.g);
    prn__arena_init(&s.memory, 1024);
    recipe_init(&s.recipe, &s.memory, &s.g, "whole");
    s.recipe.budget = UPDATES;
    s.recipe.strategies = strategies;
    s.recipe.strategy_count = 2;
    s.whole = complete(&s.g, &s.recipe);
    s.board = mmap(NULL, sizeof *s.board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(s.board != MAP_FAILED);
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;
    (void)munmap(s->board, sizeof *s->board);
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

static void count_progress(void *context, const prn__progress *progress)
{
    board *b = context;
    b->trained += strcmp(progress->phase, "train") == 0;
    b->evaluated += strcmp(progress->phase, "evaluate") == 0;
    b->waited += strcmp(progress->phase, "wait") == 0;
}

/* Runs the recipe in a process of its own, whose exit code is the status; begins when the board says so. */
static pid_t start_child(scene *s, const prn__recipe *r, int joins)
{
    pid_t child = fork();
    if (child == 0) {
        prn_error error = PRN_ERROR_INIT;
        ground own = s->g;
        prn__plan *plan = NULL;
        const prn__run_options options = {.progress = count_progress, .progress_context = s->board, .joins = joins};
        prn_status status = prn__pool_create(1, NULL, &own.pool, &error);
        if (status == PRN_OK) {
            status = prn__registry_create(own.pool, PRN_BUILD_DIR "/plugins", &own.registry, &error);
        }
        if (status == PRN_OK) {
            status = prn__plan_create(r, own.registry, &plan, &error);
        }
        while (!s->board->go) {
            (void)usleep(200);
        }
        if (status == PRN_OK) {
            status = prn__run_execute(plan, own.registry, &options, &error);
        }
        if (status != PRN_OK) {
            (void)dprintf(STDERR_FILENO, "process %ld: %s\n", (long)getpid(), error.message);
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

static void reset(board *b)
{
    b->trained = b->evaluated = b->waited = 0;
    b->go = 0;
}

/* ---- claims ------------------------------------------------------------------------------------------------------------------------ */

static void test_a_claim_has_one_holder(void **state)
{
    scene *s = *state;
    static const char KEY[] = "0123456789abcdef0123456789abcdef";
    char *workspace = prn__arena_printf(&s->memory, "%s/claims", s->g.folder), text[320];
    prn__holder holder;
    int first, second;
    assert_false(prn__claim_is_held(workspace, KEY, NULL)); /* asking makes nothing */
    assert_false(prn__folder_exists(workspace));
    MUST(prn__claim_take(workspace, KEY, "recipe-one", &first, NULL, error_));
    assert_true(first >= 0);
    assert_true(prn__claim_is_held(workspace, KEY, &holder));
    assert_int_equal(holder.process, getpid());
    assert_string_equal(holder.what, "recipe-one");
    MUST(prn__claim_take(workspace, KEY, "recipe-two", &second, &holder, error_));
    assert_int_equal(second, -1);
    assert_int_equal(holder.process, getpid());
    assert_string_equal(holder.what, "recipe-one");
    (void)prn__holder_format(&holder, text, sizeof text);
    assert_non_null(strstr(text, "recipe 'recipe-one'"));
    prn__claim_release(first);
    assert_false(prn__claim_is_held(workspace, KEY, NULL));
    MUST(prn__claim_take(workspace, KEY, "recipe-two", &second, NULL, error_));
    assert_true(second >= 0);
    /* a folder that is removed under a claim is another folder when it is there again */
    assert_int_equal(system(prn__arena_printf(&s->memory, "rm -r '%s/stages'", workspace)), 0);
    MUST(prn__claim_take(workspace, KEY, "recipe-one", &first, NULL, error_));
    assert_true(first >= 0);
    prn__claim_release(first);
    prn__claim_release(second);
}

static void test_a_killed_holder_holds_nothing(void **state)
{
    scene *s = *state;
    static const char KEY[] = "00000000000000000000000000000001", IDENTITY[] = "ffffffffffffffffffffffffffffffff";
    char *workspace = prn__arena_printf(&s->memory, "%s/orphans", s->g.folder);
    prn__holder holders[2];
    int claim, lock;
    reset(s->board);
    MUST(prn__folder_create(workspace, error_));
    pid_t child = fork();
    if (child == 0) {
        prn__presence *presence;
        prn_error error = PRN_ERROR_INIT;
        s->board->go = prn__workspace_lock(workspace, 0, &lock, &error) == PRN_OK &&
                       prn__claim_take(workspace, KEY, "dying", &claim, NULL, &error) == PRN_OK && claim >= 0 &&
                       prn__presence_enter(workspace, IDENTITY, "dying", &presence, &error) == PRN_OK ? 1 : 2;
        for (;;) {
            (void)pause();
        }
    }
    while (!s->board->go) {
        (void)usleep(200);
    }
    assert_int_equal(s->board->go, 1);
    assert_true(prn__claim_is_held(workspace, KEY, NULL));
    assert_int_equal(prn__presence_count(workspace, IDENTITY, holders, 2), 1);
    assert_int_equal(holders[0].process, child);
    assert_int_equal(prn__presence_count(workspace, "00000000000000000000000000000000", NULL, 0), 0);
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(prn__workspace_lock(workspace, 1, &lock, &error), PRN_CONFLICT);
    assert_message(&error, prn__arena_printf(&s->memory, "%ld", (long)child));
    assert_message(&error, "dying");
    (void)kill(child, SIGKILL);
    (void)wait_child(child);
    assert_false(prn__claim_is_held(workspace, KEY, NULL));
    assert_int_equal(prn__presence_count(workspace, NULL, NULL, 0), 0);
    assert_int_equal(count_files(prn__arena_printf(&s->memory, "%s/processes", workspace), "ffff"), 0);
    MUST(prn__workspace_lock(workspace, 1, &lock, error_));
    prn__workspace_unlock(lock);
}

/* ---- runs -------------------------------------------------------------------------------------------------------------------------- */

static void run_together(scene *s, const prn__recipe *recipes, size_t count, int joins)
{
    pid_t children[8];
    reset(s->board);
    for (size_t i = 0; i < count; i++) {
        children[i] = start_child(s, &recipes[i], joins);
    }
    s->board->go = 1;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
}

static void test_processes_share_a_run(void **state)
{
    scene *s = *state;
    for (int trial = 0; trial < 6; trial++) {
        prn__recipe r = in_workspace(s, prn__arena_printf(&s->memory, "shared-%d", trial));
        const prn__recipe recipes[4] = {r, r, r, r};
        const size_t count = 2 + (size_t)trial % 3;
        run_together(s, recipes, count, 0);
        assert_int_equal(s->board->trained, s->whole.trained); /* each stage once, each score once */
        assert_int_equal(s->board->evaluated, s->whole.evaluated);
        assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
        assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'done'") == 1);
        assert_true(ask(r.workspace, "SELECT attempts FROM runs") == (double)count);
        assert_true(ask(r.workspace, "SELECT count(*) FROM environment") == (double)count);
        assert_true(ask(r.workspace, "SELECT count(*) FROM stages WHERE state != 'done'") == 0);
        assert_int_equal(prn__presence_count(r.workspace, NULL, NULL, 0), 0);
    }
}

static void test_recipes_share_a_workspace(void **state)
{
    scene *s = *state;
    for (int trial = 0; trial < 3; trial++) {
        prn__recipe recipes[3] = {in_workspace(s, prn__arena_printf(&s->memory, "mixed-%d", trial))};
        recipes[1] = recipes[2] = recipes[0];
        recipes[0].strategy_count = 1;
        recipes[0].name = "one";
        recipes[1].strategies = &strategies[1];
        recipes[1].strategy_count = 1;
        recipes[1].name = "two";
        run_together(s, recipes, 3, 0);
        assert_int_equal(s->board->trained, s->whole.trained);
        assert_int_equal(s->board->evaluated, s->whole.evaluated);
        assert_true(ask(recipes[0].workspace, "SELECT count(*) FROM runs WHERE state = 'done'") == 3);
        (void)usleep(1100000); /* the latest run is told by the second */
        const watch again = complete(&s->g, &recipes[2]); /* now the latest, and nothing is left to do */
        assert_int_equal(again.trained + again.evaluated, 0);
        assert_same_outcome(&s->g, &recipes[2], s->recipe.workspace, recipes[2].workspace);
    }
}

static void test_workers_join_their_leaders_attempt(void **state)
{
    scene *s = *state;
    prn__recipe r = in_workspace(s, "led");
    const prn__recipe recipes[2] = {r, r};
    prn__plan *plan = NULL;
    prn__lead *lead = NULL;
    MUST(prn__plan_create(&r, s->g.registry, &plan, error_));
    MUST(prn__lead_open(plan, s->g.registry, "[{\"processors\":[0]}]", &lead, error_));
    run_together(s, recipes, 2, 1);
    assert_int_equal(s->board->trained, s->whole.trained);
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'running'") == 1); /* until the leader says how it ended */
    MUST(prn__lead_close(lead, PRN_OK, "", error_));
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'done'") == 1);
    assert_true(ask(r.workspace, "SELECT attempts FROM runs") == 1);
    assert_true(ask(r.workspace, "SELECT count(*) FROM environment WHERE facts LIKE '%\"jobs\"%' AND facts LIKE '%\"numerics\"%'") == 1);
    assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
    prn__plan_destroy(plan);
}

static void test_a_run_is_running_while_one_of_its_processes_lives(void **state)
{
    scene *s = *state;
    prn__recipe r = in_workspace(s, "leaving");
    prn__plan *plan = NULL;
    prn__lead *first = NULL, *second = NULL;
    MUST(prn__plan_create(&r, s->g.registry, &plan, error_));
    MUST(prn__lead_open(plan, s->g.registry, NULL, &first, error_));
    pid_t child = fork(); /* the same process cannot be there twice */
    if (child == 0) {
        prn_error error = PRN_ERROR_INIT;
        (void)prn__lead_open(plan, s->g.registry, NULL, &second, &error);
        s->board->go = 3;
        for (;;) {
            (void)pause();
        }
    }
    while (s->board->go != 3) {
        (void)usleep(200);
    }
    assert_true(ask(r.workspace, "SELECT attempts FROM runs") == 2);
    MUST(prn__lead_close(first, PRN_INTERRUPTED, "stopped", error_));
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'running'") == 1);
    (void)kill(child, SIGKILL);
    (void)wait_child(child);
    MUST(prn__lead_open(plan, s->g.registry, NULL, &first, error_));
    MUST(prn__lead_close(first, PRN_INTERRUPTED, "stopped", error_)); /* the killed one does not count */
    assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'interrupted' AND message = 'stopped'") == 1);
    prn__plan_destroy(plan);
}

/* Each writes as a training process does, some are killed while they do: nobody is told that the ledger is busy, or worse. */
static void test_many_writers(void **state)
{
    enum { WRITERS = 8, ROUNDS = 40, STEPS_EACH = 16 };
    scene *s = *state;
    pid_t writers[WRITERS];
    prn__step_metric metrics[STEPS_EACH];
    const char *workspace = s->recipe.workspace;
    char keys[2][33];
    prn__plan *plan = NULL;
    MUST(prn__plan_create(&s->recipe, s->g.registry, &plan, error_));
    memcpy(keys[0], plan->stages[0].key, 33);
    memcpy(keys[1], plan->stages[1].key, 33);
    prn__plan_destroy(plan);
    char *copy = prn__arena_printf(&s->memory, "%s/written", s->g.folder);
    assert_int_equal(system(prn__arena_printf(&s->memory, "mkdir '%s' && cp '%s/ledger.sqlite' '%s'", copy, workspace, copy)), 0);
    memset(metrics, 0, sizeof metrics);
    reset(s->board);
    for (int w = 0; w < WRITERS; w++) {
        writers[w] = fork();
        if (writers[w] == 0) {
            prn__ledger *ledger = NULL;
            prn_error error = PRN_ERROR_INIT;
            prn_status status = prn__ledger_open(copy, &ledger, &error);
            while (!s->board->go) {
                (void)usleep(200);
            }
            for (int64_t round = 0; round < ROUNDS && status == PRN_OK; round++) {
                int known;
                for (int64_t i = 0; i < STEPS_EACH; i++) {
                    metrics[i].step = 1000 + (w * ROUNDS + round) * STEPS_EACH + i;
                }
                if ((status = prn__ledger_begin(ledger, &error)) == PRN_OK &&
                    (status = prn__ledger_metrics(ledger, keys[w % 2], metrics, STEPS_EACH, &error)) == PRN_OK &&
                    (status = prn__ledger_stage_state(ledger, keys[w % 2], "partial", 1, 1, &error)) == PRN_OK) {
                    status = prn__ledger_commit(ledger, &error);
                }
                status = status == PRN_OK ? prn__ledger_has_scores(ledger, keys[0], keys[1], &known, &error) : status;
                status = status == PRN_OK ? prn__ledger_stage_done(ledger, keys[w % 2], &error) : status;
            }
            prn__ledger_close(ledger);
            if (status != PRN_OK) {
                (void)dprintf(STDERR_FILENO, "writer %d: %s\n", w, error.message);
            }
            _exit((int)status);
        }
        assert_true(writers[w] > 0);
    }
    s->board->go = 1;
    (void)usleep(100000);
    (void)kill(writers[0], SIGKILL);
    (void)kill(writers[1], SIGKILL);
    for (int w = 0; w < WRITERS; w++) {
        const int code = wait_child(writers[w]);
        assert_true((w < 2 && WIFSIGNALED(code)) || (WIFEXITED(code) && WEXITSTATUS(code) == 0));
    }
    assert_true(ask(copy, "SELECT count(*) FROM step_metrics WHERE step >= 1000 + 2 * 640") == (WRITERS - 2) * ROUNDS * STEPS_EACH);
}

static void test_killed_among_others(void **state)
{
    enum { TRIALS = 5, PROCESSES = 3 };
    scene *s = *state;
    unsigned random = 4711;
    int killed = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        prn__recipe r = in_workspace(s, prn__arena_printf(&s->memory, "fight-%d", trial));
        pid_t children[PROCESSES] = {0};
        int left = PROCESSES, kills = 0;
        reset(s->board);
        s->board->go = 1;
        r.save_every_steps = 1 + trial % 3;
        for (int i = 0; i < PROCESSES; i++) {
            children[i] = start_child(s, &r, 0);
        }
        while (left > 0) {
            int code;
            random = random * 1664525u + 1013904223u;
            (void)usleep(5000 + random % 60000u);
            const int at = (int)((random >> 16) % PROCESSES);
            if (children[at] != 0 && kills < 12) { /* a new one takes its place */
                (void)kill(children[at], SIGKILL);
                code = wait_child(children[at]);
                kills += WIFSIGNALED(code);
                assert_true(WIFSIGNALED(code) || WEXITSTATUS(code) == 0);
                children[at] = start_child(s, &r, 0);
            }
            for (int i = 0; i < PROCESSES; i++) {
                if (children[i] != 0 && waitpid(children[i], &code, WNOHANG) == children[i]) {
                    assert_true(WIFEXITED(code));
                    assert_int_equal(WEXITSTATUS(code), 0);
                    children[i] = 0;
                    left--;
                }
            }
        }
        killed += kills;
        assert_same_outcome(&s->g, &r, s->recipe.workspace, r.workspace);
        assert_true(ask(r.workspace, "SELECT count(*) FROM runs WHERE state = 'done'") == 1);
        assert_int_equal(prn__presence_count(r.workspace, NULL, NULL, 0), 0);
    }
    assert_true(killed >= TRIALS);
    print_message("killed %d processes among others\n", killed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_claim_has_one_holder),
        cmocka_unit_test(test_a_killed_holder_holds_nothing),
        cmocka_unit_test(test_processes_share_a_run),
        cmocka_unit_test(test_recipes_share_a_workspace),
        cmocka_unit_test(test_workers_join_their_leaders_attempt),
        cmocka_unit_test(test_a_run_is_running_while_one_of_its_processes_lives),
        cmocka_unit_test(test_many_writers),
        cmocka_unit_test(test_killed_among_others),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
