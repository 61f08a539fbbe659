/* core/cli/command_backends.c: `perennial backends` and `perennial backend test`. */
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "report/component_report.h"

static int show_all(prn__cli *cli, int as_json)
{
    prn_error error = PRN_ERROR_INIT;
    prn__component *components = NULL;
    size_t count = 0;
    prn__text text;
    if (prn__components_find(cli->registry, PRN_BACKEND_INTERFACE, &components, &count, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (as_json) {
        prn__backends_json(cli->registry, components, count, &text);
    } else {
        prn__backends_print(cli->registry, components, count, &text);
    }
    prn__free(components);
    return prn__cli_print(cli, &text);
}

static int show_one(prn__cli *cli, const char *name, int as_json)
{
    prn_error error = PRN_ERROR_INIT;
    prn__component c;
    prn__text text;
    memset(&c, 0, sizeof c);
    if (prn__registry_backend(cli->registry, name, &c.backend, &c.entry, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    c.name = c.backend->name;
    c.summary = c.backend->summary;
    c.options = c.backend->options;
    c.option_count = c.backend->option_count;
    prn__text_init(&text);
    if (as_json) {
        prn__backend_json(cli->registry, &c, &text);
    } else {
        prn__backend_print(cli->registry, &c, &text);
    }
    return prn__cli_print(cli, &text);
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    const char *name = prn__arguments_at(arguments, 0);
    int as_json = prn__arguments_has(arguments, "json");
    if (prn__cli_open(cli, arguments, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    return name != NULL ? show_one(cli, name, as_json) : show_all(cli, as_json);
}

static const prn__argument options[] = {PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON};

const prn__command prn__command_backends = {
    .name = "backends",
    .usage = "[NAME] [options]",
    .summary = "list the backends, their devices, and plugins that were refused; or show one",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_max = 1,
    .run = run,
};

/* ---- backend test ---------------------------------------------------------------------------------------------------------- */

typedef struct test_run {
    prn__cli *cli;
    prn__conformance_book *book;
    int64_t cases;
} test_run;

static void note_case(void *context, const prn__conformance_case *result)
{
    test_run *t = context;
    char what[96];
    t->cases++;
    (void)snprintf(what, sizeof what, "%s, case %lld", result->op, (long long)t->cases);
    prn__terminal_work(t->cli->terminal, "testing", what, 0, 0);
    prn__conformance_book_add(t->book, result);
}

static int test(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    prn__device device, reference;
    prn__cli_pairs set;
    test_run t = {.cli = cli};
    prn__conformance_summary summary;
    prn__text text;
    double begin = prn__now_s();
    int code = PRN__EXIT_FAILED;
    memset(&device, 0, sizeof device);
    memset(&reference, 0, sizeof reference);
    memset(&summary, 0, sizeof summary);
    if (prn__cli_pairs_get(arguments, &set, &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    prn_status status = prn__cli_open(cli, arguments, &error);
    if (status == PRN_OK && (t.book = prn__conformance_book_create()) == NULL) {
        status = prn_error_set(&error, PRN_NO_MEMORY, "out of memory");
    }
    if (status == PRN_OK) {
        status = prn__device_open(cli->registry, prn__arguments_at(arguments, 0), set.pairs, set.count, &device, &error);
    }
    if (status == PRN_OK) {
        status = prn__device_open(cli->registry, "reference", NULL, 0, &reference, &error);
    }
    if (status == PRN_OK) {
        status = prn__conformance_run(&device, &reference, prn__arguments_value(arguments, "filter"), note_case, &t, &summary, &error);
    }
    if (status == PRN_OK && summary.cases == 0) {
        status = prn_error_set(&error, PRN_NOT_FOUND, "no operation's name contains '%s'; 'perennial backend test %s' tests them all",
                               prn__arguments_value(arguments, "filter"), prn__arguments_at(arguments, 0));
    }
    if (status != PRN_OK) {
        code = prn__cli_fail(cli, &error);
    } else {
        prn__text_init(&text);
        if (prn__arguments_has(arguments, "json")) {
            prn__conformance_json(t.book, device.backend->name, &summary, prn__now_s() - begin, &text);
        } else {
            prn__conformance_print(t.book, device.backend->name, &summary, prn__now_s() - begin, &text);
        }
        code = prn__cli_print(cli, &text);
        code = code == PRN__EXIT_DONE && summary.failed > 0 ? PRN__EXIT_FAILED : code;
    }
    if (device.instance != NULL) {
        prn__device_close(&device);
    }
    if (reference.instance != NULL) {
        prn__device_close(&reference);
    }
    prn__conformance_book_destroy(t.book);
    return code;
}

static const prn__argument test_options[] = {
    {"filter", "OP", "only operations whose name contains this", 0, 0, 0},
    {"set", "OPTION=VALUE", "an option of the backend; see 'perennial backends NAME'", 1, 0, 0},
    PRN__ARGUMENT_THREADS, PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};

const prn__command prn__command_backend_test = {
    .name = "backend test",
    .usage = "NAME [options]",
    .summary = "compare every operation of a backend with the reference",
    .details = "Every operation, forward and gradient, over odd, empty and ragged shapes, with each optional operand: results within the\n"
               "backend's stated bounds, the same bytes twice, nothing written beside an output. Exit code 1 when a case fails.",
    .options = test_options,
    .option_count = sizeof test_options / sizeof test_options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = test,
};
