/* Manifests: what a good one gives, and that every bad one is an error with file, line and what to do. */
#include "data_helpers.h"

#include "data/manifest.h"

static const char good_text[] =
    "# a stream\n"
    "stream: tic-test\n"
    "root: data\n"
    "vocabulary: vocab.txt\n"
    "merges: 1_000\n"
    "on_bad_sample: fail\n"
    "classes: classes.txt\n"
    "templates: [\"a {} character\", 'the {}']\n"
    "steps:\n"
    "  - name: \"1993\"\n"
    "    train: { shards: \"train/1993-{0000..0003}.tar\", samples: 12_000, checksum: 0123456789abcdefABCDEF0123456789 }\n"
    "    evaluations:\n"
    "      - { name: retrieval, kind: retrieval, shards: eval/r.tar, samples: 10 }\n"
    "      - { name: script, kind: classification, shards: \"eval/c-{a,b}.tar\", checksum: ffffffffffffffffffffffffffffffff }\n"
    "  - name: \"1994\"\n"
    "    train: { shards: /absolute/1994.tar }\n"
    "  - name: \"1995\"\n"
    "    train: { shards: train/1995.tar }\n"
    "    evaluations: []\n";

static void test_good(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__manifest *m;
    char expected[512];
    assert_int_equal(mkdir(in_folder("data"), 0700), 0);
    write_text(in_folder("data/classes.txt"), "Latin\r\nGreek\nnew line at the end\n");
    write_text(in_folder("good.yaml"), good_text);
    assert_ok(prn__manifest_load(in_folder("good.yaml"), &m, &error));
    assert_string_equal(m->path, in_folder("good.yaml"));
    assert_string_equal(m->name, "tic-test");
    (void)snprintf(expected, sizeof expected, "%s/data", test_folder);
    assert_string_equal(m->root, expected);
    (void)snprintf(expected, sizeof expected, "%s/data/vocab.txt", test_folder);
    assert_string_equal(m->vocabulary, expected);
    assert_int_equal(m->merges, 1000);
    assert_int_equal(m->bad_policy, PRN__BAD_FAIL);
    assert_int_equal(m->class_count, 3);
    assert_string_equal(m->classes[0], "Latin");
    assert_string_equal(m->classes[1], "Greek");
    assert_string_equal(m->classes[2], "new line at the end");
    assert_int_equal(m->template_count, 2);
    assert_string_equal(m->templates[0], "a {} character");
    assert_string_equal(m->templates[1], "the {}");
    assert_int_equal(m->step_count, 3);
    const prn__manifest_step *s = &m->steps[0];
    assert_string_equal(s->name, "1993");
    assert_string_equal(s->train.pattern, "train/1993-{0000..0003}.tar");
    assert_int_equal(s->train.shard_count, 4);
    assert_int_equal(s->train.samples, 12000);
    assert_string_equal(s->train.checksum, "0123456789abcdefABCDEF0123456789");
    assert_int_equal(s->evaluation_count, 2);
    assert_string_equal(s->evaluations[0].name, "retrieval");
    assert_int_equal(s->evaluations[0].kind, PRN__TASK_RETRIEVAL);
    assert_int_equal(s->evaluations[0].shards.samples, 10);
    assert_null(s->evaluations[0].shards.checksum);
    assert_int_equal(s->evaluations[1].kind, PRN__TASK_CLASSIFICATION);
    assert_int_equal(s->evaluations[1].shards.shard_count, 2);
    assert_int_equal(s->evaluations[1].shards.samples, -1);
    assert_non_null(s->evaluations[1].shards.checksum);
    assert_int_equal(m->steps[1].train.samples, -1);
    assert_int_equal(m->steps[1].evaluation_count, 0);
    assert_int_equal(m->steps[2].evaluation_count, 0);
    prn__manifest_destroy(m);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_defaults(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__manifest *m;
    char expected[512];
    write_text(in_folder("small.yaml"), "{stream: s, steps: [{name: a, train: {shards: x.tar}}]}");
    assert_ok(prn__manifest_load(in_folder("small.yaml"), &m, &error));
    (void)snprintf(expected, sizeof expected, "%s/.", test_folder);
    if (strcmp(m->root, expected) != 0) {
        assert_string_equal(m->root, test_folder); /* without 'root': the manifest's folder */
    }
    assert_null(m->vocabulary);
    assert_int_equal(m->merges, 0);
    assert_int_equal(m->bad_policy, PRN__BAD_SKIP);
    assert_int_equal(m->class_count, 0);
    assert_int_equal(m->template_count, 1);
    assert_non_null(strstr(m->templates[0], "{}"));
    prn__manifest_destroy(m);
    prn__manifest_destroy(NULL);
    assert_int_equal(prn__alloc_live(), 0);
}

#define STEP "steps:\n  - name: a\n    train: {shards: x.tar}\n"

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int line; /* 0: the message names the file only */
        const char *message;
    } cases[] = {
        {"", 0, "empty"},
        {"# nothing\n", 0, "empty"},
        {"stream: [", 2, "not YAML"},
        {"stream: s\n\tsteps: 1\n", 2, "not YAML"},
        {"stream: \"\xff\xfe\"\n", 0, "not YAML"},
        {"just text\n", 1, "table"},
        {"- a\n- b\n", 1, "table"},
        {"stream: s\n", 1, "needs the key 'steps'"},
        {STEP, 1, "needs the key 'stream'"},
        {"stream: s\nvocabulry: v\n" STEP, 2, "has no key 'vocabulry' (did you mean 'vocabulary'?)"},
        {"stream: s\nzzzzzz: v\n" STEP, 2, "has no key 'zzzzzz'"},
        {"stream: s\nstream: t\n" STEP, 2, "'stream' stands twice"},
        {"stream: s\n? [a]\n: b\n" STEP, 2, "not plain text"},
        {"stream: [s]\n" STEP, 1, "'stream' of the stream must be its name"},
        {"stream: s\nsteps: a\n", 2, "'steps' of the stream must be a list"},
        {"stream: s\nsteps: []\n", 2, "0 time steps"},
        {"stream: s\nsteps:\n  - a\n", 3, "a time step must be a table"},
        {"stream: s\nsteps:\n  - name: a\n", 3, "a time step needs the key 'train'"},
        {"stream: s\nsteps:\n  - train: {shards: x.tar}\n", 3, "a time step needs the key 'name'"},
        {"stream: s\nsteps:\n  - name: a\n    trian: {shards: x.tar}\n", 4, "(did you mean 'train'?)"},
        {"stream: s\nsteps:\n  - name: a\n    train: x.tar\n", 4, "'train' of a time step must be"},
        {"stream: s\nsteps:\n  - name: a\n    train: {samples: 3}\n", 4, "'train' needs the key 'shards'"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, sample: 3}\n", 4, "(did you mean 'samples'?)"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, samples: -1}\n", 4, "'samples' is '-1'"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, samples: many}\n", 4, "whole number"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, samples: 1.5}\n", 4, "whole number"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, samples: 99999999999999999999}\n", 4, "whole number"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, samples: ''}\n", 4, "whole number"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, samples: _}\n", 4, "whole number"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, samples: 0000000000000000000000000000000000000000000000000000000000000012x}\n", 4,
         "whole number"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, samples: [1]}\n", 4, "'samples' of 'train' must be a number"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, checksum: abc}\n", 4, "32 hexadecimal digits"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, checksum: 0123456789abcdef0123456789abcdef0}\n", 4, "32 hexadecimal digits"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar, checksum: 0123456789abcdef0123456789abcdeg}\n", 4, "32 hexadecimal digits"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: \"x-{0..99999999}.tar\"}\n", 4, "x-{0..99999999}.tar"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: \"{0..9999}{0..9999}{0..9999}.tar\"}\n", 4, ".tar"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: \"{0..99999999999999999999999}.tar\"}\n", 4, ".tar"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: \"x-{0..3.tar\"}\n", 4, "x-{0..3.tar"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: \"\"}\n", 4, "empty"},
        {"stream: s\n" STEP "  - name: a\n    train: {shards: y.tar}\n", 5, "two time steps are called 'a'"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar}\n    evaluations: {}\n", 5, "'evaluations' of a time step must be a list"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar}\n    evaluations:\n      - {name: e, kind: retrieval}\n", 6, "an evaluation needs the key 'shards'"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar}\n    evaluations:\n      - {name: e, kind: retreival, shards: x}\n", 6,
         "not 'retreival' (did you mean 'retrieval'?)"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: x.tar}\n    evaluations:\n      - {name: e, kind: retrieval, shards: x}\n"
         "      - {name: e, kind: retrieval, shards: y}\n", 7, "two evaluations of step 'a' are called 'e'"},
        {"stream: s\non_bad_sample: skp\n" STEP, 2, "skip or fail, not 'skp'"},
        {"stream: s\nmerges: 0\n" STEP, 2, "at least 1"},
        {"stream: s\ntemplates: a\n" STEP, 2, "'templates' of the stream must be a list"},
        {"stream: s\ntemplates: []\n" STEP, 2, "'templates' is empty"},
        {"stream: s\ntemplates:\n  - \"a {}\"\n  - a photo\n" STEP, 4, "one {}"},
        {"stream: s\ntemplates: [\"{} and {}\"]\n" STEP, 2, "one {}"},
        {"stream: s\ntemplates: [[a]]\n" STEP, 2, "one {}"},
        {"stream: s\nclasses: nowhere.txt\n" STEP, 2, "nowhere.txt"},
        {"stream: s\nclasses: nul.txt\n" STEP, 2, "NUL"},
        {"stream: s\nclasses: gap.txt\n" STEP, 2, "gap.txt:2: an empty line"},
        {"stream: \"a\\0b\"\n" STEP, 1, "NUL"},
        {"stream: s\nroot: \"a\\0b\"\n" STEP, 2, "NUL"},
        {"stream: s\nvocabulary: \"a\\0b\"\n" STEP, 2, "NUL"},
        {"stream: s\nclasses: \"a\\0b\"\n" STEP, 2, "NUL"},
        {"stream: s\nsteps:\n  - name: a\n    train: {shards: \"a\\0b\"}\n", 4, "NUL"},
        {"stream: s\nsteps:\n  - name: ''\n    train: {shards: x}\n", 3, "empty"},
        {"stream: ''\n" STEP, 1, "empty"},
    };
    test_write(in_folder("nul.txt"), "one\0two\nthree\n", 14);
    write_text(in_folder("gap.txt"), "one\n\nthree\n");
    int failures = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        prn_error error = PRN_ERROR_INIT;
        prn__manifest *m = (prn__manifest *)&error;
        char where[600];
        write_text(in_folder("bad.yaml"), cases[i].text);
        prn_status status = prn__manifest_load(in_folder("bad.yaml"), &m, &error);
        if (cases[i].line > 0) {
            (void)snprintf(where, sizeof where, "%s:%d: ", in_folder("bad.yaml"), cases[i].line);
        } else {
            (void)snprintf(where, sizeof where, "%s", in_folder("bad.yaml"));
        }
        if (status != PRN_INVALID || m != NULL || strncmp(error.message, where, strlen(where)) != 0 || strstr(error.message, cases[i].message) == NULL) {
            print_error("case %zu: status %d, '%s'; expected '%s...%s'\n%s\n", i, (int)status, error.message, where, cases[i].message, cases[i].text);
            failures++;
            if (status == PRN_OK) {
                prn__manifest_destroy(m);
            }
        }
    }
    assert_int_equal(failures, 0);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_files(void **state)
{
    (void)state;
    prn__manifest *m;
    prn_error error = PRN_ERROR_INIT;
    assert_fails(prn__manifest_load(in_folder("nowhere.yaml"), &m, &error), PRN_NOT_FOUND, "nowhere.yaml");
    assert_null(m);
    assert_int_not_equal(prn__manifest_load(test_folder, &m, &error), PRN_OK);
    assert_null(m);
    /* a root that is not there is met when the shards are opened; the class names need it at once */
    write_text(in_folder("far.yaml"), "stream: s\nroot: far/away\nclasses: c.txt\n" STEP);
    assert_fails(prn__manifest_load(in_folder("far.yaml"), &m, &error), PRN_INVALID, "far/away/c.txt");
    assert_non_null(strstr(error.message, "far.yaml:3:"));
    assert_int_equal(prn__alloc_live(), 0);
}

/* Many steps take time in proportion to their number; too many are refused. */
static void test_many_steps(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__manifest *m;
    for (int count = 20000; count <= 100001; count += 80001) {
        FILE *f = fopen(in_folder("many.yaml"), "w");
        (void)fputs("stream: s\nsteps:\n", f);
        for (int i = 0; i < count; i++) {
            (void)fprintf(f, "- {name: a-step-with-a-long-common-name-%d, train: {shards: x}}\n", i);
        }
        (void)fclose(f);
        if (count <= 100000) {
            assert_ok(prn__manifest_load(in_folder("many.yaml"), &m, &error));
            assert_int_equal(m->step_count, count);
            prn__manifest_destroy(m);
        } else {
            assert_fails(prn__manifest_load(in_folder("many.yaml"), &m, &error), PRN_INVALID, "time steps");
        }
    }
    assert_int_equal(prn__alloc_live(), 0);
}

/* Anchors that multiply: 50,000 steps that share one list of 10,000 evaluations would be half a billion sets. */
/* A pattern of a million braces must not use up the stack. */
static void test_many_braces(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__manifest *m;
    FILE *f = fopen(in_folder("braces.yaml"), "w");
    (void)fputs("stream: s\nsteps:\n- name: a\n  train:\n    shards: \"", f);
    for (int i = 0; i < 1000000; i++) {
        (void)fputs("{a}", f);
    }
    (void)fputs("\"\n", f);
    (void)fclose(f);
    assert_fails(prn__manifest_load(in_folder("braces.yaml"), &m, &error), PRN_INVALID, "braces.yaml:5:");
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_alias_bomb(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__manifest *m;
    FILE *f = fopen(in_folder("bomb.yaml"), "w");
    (void)fputs("stream: s\nsteps:\n- name: first\n  train: &t {shards: x}\n  evaluations: &e\n", f);
    for (int i = 0; i < 10000; i++) {
        (void)fprintf(f, "  - {name: e%d, kind: retrieval, shards: x}\n", i);
    }
    for (int i = 0; i < 50000; i++) {
        (void)fprintf(f, "- {name: s%d, train: *t, evaluations: *e}\n", i);
    }
    (void)fclose(f);
    assert_fails(prn__manifest_load(in_folder("bomb.yaml"), &m, &error), PRN_INVALID, "bomb.yaml:");
    assert_int_equal(prn__alloc_live(), 0);
}

/* Deep nesting and random bytes: an error or a manifest, never a crash. */
static void test_hostile(void **state)
{
    (void)state;
    prn__manifest *m;
    uint64_t random = 5;
    enum { DEEP = 50000 };
    char *deep = malloc(DEEP + 1);
    memset(deep, '[', DEEP);
    deep[DEEP] = '\0';
    prn_error error = PRN_ERROR_INIT;
    write_text(in_folder("deep.yaml"), deep);
    assert_int_equal(prn__manifest_load(in_folder("deep.yaml"), &m, &error), PRN_INVALID);
    free(deep);
    int refused = 0;
    write_text(in_folder("classes.txt"), "a\nb\n");
    for (int i = 0; i < 2000; i++) {
        char text[sizeof good_text];
        memcpy(text, good_text, sizeof text);
        for (uint64_t n = 1 + random_below(&random, 3); n > 0; n--) {
            size_t at = (size_t)random_below(&random, sizeof text - 1);
            text[at] = random_below(&random, 2) != 0 ? "{}[]:,&*#-\n \"'0"[random_below(&random, 15)] : (char)next_random(&random);
        }
        test_write(in_folder("hostile.yaml"), text, sizeof text - 1);
        error = (prn_error)PRN_ERROR_INIT;
        if (prn__manifest_load(in_folder("hostile.yaml"), &m, &error) == PRN_OK) {
            prn__manifest_destroy(m);
        } else {
            assert_non_null(strstr(error.message, "hostile.yaml"));
            refused++;
        }
    }
    assert_true(refused > 500);
    assert_int_equal(prn__alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),       cmocka_unit_test(test_defaults),   cmocka_unit_test(test_errors),  cmocka_unit_test(test_files),
        cmocka_unit_test(test_many_steps), cmocka_unit_test(test_many_braces), cmocka_unit_test(test_alias_bomb), cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
