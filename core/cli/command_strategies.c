/* core/cli/command_strategies.c: `perennial strategies` and `perennial strategies test`. */
#include <string.h>

#include "base/memory.h"
#include "base/pool.h"
#include "base/text.h"
#include "cli/cli.h"
#include "report/component_report.h"
#include "report/strategy_report.h"

static int show_all(prn__cli *cli, int as_json)
{
    prn_error error = PRN_ERROR_INIT;
    prn__component *components = NULL;
    size_t count = 0;
    prn__text text;
    if (prn__components_find(cli->registry, PRN_STRATEGY_INTERFACE, &components, &count, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (as_json) {
        prn__strategies_json(components, count, &text);
    } else {
        prn__strategies_print(components, count, &text);
        prn__refused_print(cli->registry, &text);
    }
    prn__free(components);
    return prn__cli_print(cli, &text);
}

static int show_one(prn__cli *cli, const prn__arguments *arguments, const char *name, int as_json)
{
    prn_error error = PRN_ERROR_INIT;
    prn__component c;
    prn__cli_pairs set;
    prn__text text;
    memset(&c, 0, sizeof c);
    if (prn__cli_pairs_get(arguments, &set, &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    if (prn__registry_strategy(cli->registry, name, &c.strategy, &c.entry, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__options *parsed = NULL; /* a mistyped option is an error; what only the strategy itself refuses is shown beside its options */
    const prn_status status = prn__options_parse(name, c.strategy->options, c.strategy->option_count, set.pairs, set.count, &parsed, &error);
    prn__options_destroy(parsed);
    if (status != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    c.name = c.strategy->name;
    c.summary = c.strategy->summary;
    c.options = c.strategy->options;
    c.option_count = c.strategy->option_count;
    prn__text_init(&text);
    if (as_json) {
        prn__strategy_json(cli->registry, &c, set.pairs, set.count, &text);
    } else {
        prn__strategy_print(cli->registry, &c, set.pairs, set.count, &text);
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
    return name != NULL ? show_one(cli, arguments, name, as_json) : show_all(cli, as_json);
}

static const prn__argument options[] = {
    {"set", "OPTION=VALUE", "what it would declare with this option", 1, 0, 0},
    PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};

#define SHOW_DETAILS                                                                                                                  \
    "A strategy is shown with its options and with what it declares: where each time step starts, its data, its budget, what it\n"    \
    "computes besides. 'perennial strategies test NAME' tests one, 'perennial new strategy NAME' begins one."

const prn__command prn__command_strategies = {
    .name = "strategies",
    .usage = "[NAME] [options]",
    .summary = "list the strategies, or show one with its options and what it declares",
    .details = SHOW_DETAILS,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_max = 1,
    .run = run,
};

const prn__command prn__command_strategies_show = {
    .name = "strategies show",
    .usage = "NAME [options]",
    .summary = "show a strategy with its options and what it declares",
    .details = SHOW_DETAILS,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = run,
    .is_alias = 1,
};

/* ---- strategies test --------------------------------------------------------------------------------------------------------- */

typedef struct test_run {
    prn__cli *cli;
    prn__suite_book *book;
    int64_t checks;
} test_run;

static void note_check(void *context, const prn__suite_check *check)
{
    test_run *t = context;
    t->checks++;
    prn__suite_book_add(t->book, check);
}

static void note_work(void *context, const char *name)
{
    test_run *t = context;
    prn__terminal_work(t->cli->terminal, "testing", name, t->checks, 0);
}

/* The strategy that the recipe defines under this label. `set` is the caller's, also after a failure. */
static prn_status find_own(prn__cli *cli, const prn__arguments *arguments, const char *path, const char *label, prn__recipe_set **set,
                           const prn__recipe_strategy **own, prn_error *error)
{
    enum { LABEL_LIMIT = 64 };
    const char *labels[LABEL_LIMIT];
    char hint[160];
    size_t count = 0;
    prn_status status = prn__cli_recipes(cli, arguments, path, set, error);
    if (status != PRN_OK) {
        return status;
    }
    const prn__recipe *recipe = (*set)->recipes[0]; /* of a sweep, the first: --set grid.<name>=<value> chooses another */
    for (size_t i = 0; i < recipe->strategy_count; i++) {
        const prn__recipe_strategy *strategy = &recipe->strategies[i];
        if (strategy->table != NULL && strcmp(strategy->label, label) == 0) {
            *own = strategy;
            return PRN_OK;
        }
        if (strategy->table != NULL && count < LABEL_LIMIT) {
            labels[count++] = strategy->label;
        }
    }
    return prn_error_set(error, PRN_NOT_FOUND, "%s defines no strategy '%s'%s%s", path, label, prn__suggest_text(label, labels, count, hint, sizeof hint),
                         count == 0 ? "; it has only plugins, which are tested without --recipe" : "");
}

static int test(prn__cli *cli, const prn__arguments *arguments)
{
    const char *recipe = prn__arguments_value(arguments, "recipe");
    prn__recipe_set *recipes = NULL;
    prn_error error = PRN_ERROR_INIT;
    const char *name = prn__arguments_at(arguments, 0), *backend = prn__arguments_value(arguments, "backend");
    prn__cli_pairs set;
    prn__suite_summary summary = {0, 0, 0};
    test_run t = {.cli = cli};
    prn__text text;
    int code;
    const double begin = prn__now_s();
    if (prn__cli_pairs_get(arguments, &set, &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    prn__suite_options wanted = {.backend = backend, .given = set.pairs, .given_count = set.count, .report = note_check, .work = note_work,
                                       .should_stop = prn__cli_is_stopped, .context = &t};
    prn_status status = prn__cli_open(cli, arguments, &error);
    if (status == PRN_OK && recipe != NULL) {
        status = find_own(cli, arguments, recipe, name, &recipes, &wanted.own, &error);
    }
    if (status == PRN_OK && recipe != NULL) { /* --set has changed the recipe, and with it the options there */
        wanted.given = wanted.own->options;
        wanted.given_count = wanted.own->option_count;
    }
    if (status == PRN_OK && (t.book = prn__suite_book_create()) == NULL) {
        status = prn_error_set(&error, PRN_NO_MEMORY, "out of memory");
    }
    if (status == PRN_OK) {
        prn__cli_catch_signals(0);
        prn__terminal_set_quiet(cli->terminal, 1); /* its runs are interrupted on purpose */
        status = prn__strategy_suite_run(cli->registry, name, &wanted, &summary, &error);
        prn__terminal_set_quiet(cli->terminal, 0);
    }
    if (status != PRN_OK) {
        code = prn__cli_fail(cli, &error);
    } else {
        prn__text_init(&text);
        if (prn__arguments_has(arguments, "json")) {
            prn__suite_json(t.book, name, backend != NULL ? backend : "cpu", &summary, prn__now_s() - begin, &text);
        } else {
            prn__suite_print(t.book, name, backend != NULL ? backend : "cpu", &summary, prn__now_s() - begin, &text);
        }
        code = prn__cli_print(cli, &text);
        code = code == PRN__EXIT_DONE && summary.failed > 0 ? PRN__EXIT_FAILED : code;
    }
    prn__suite_book_destroy(t.book);
    prn__recipe_set_destroy(recipes);
    return code;
}

static const prn__argument test_options[] = {
    {"recipe", "RECIPE", "test a strategy that this recipe defines itself; NAME is its label", 0, 0, 0},
    {"set", "OPTION=VALUE", "an option, see 'perennial strategies NAME'; with --recipe a value of the recipe", 1, 0, 0},
    {"backend", "NAME", "what computes; see 'perennial backends' (default: cpu)", 0, 0, 0},
    PRN__ARGUMENT_THREADS, PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};

const prn__command prn__command_strategies_test = {
    .name = "strategies test",
    .usage = "NAME [options]",
    .summary = "test a strategy: its plans, its cost, what it computes, and that it can be interrupted",
    .details = "The strategy is asked for plans of made-up time lines, its callbacks are run while services fail, and it trains a tiny model\n"
               "on a tiny stream in a temporary folder (TMPDIR): to the end, again, with interruptions, with callbacks that fail.\n"
               "Exit code 1 when a check fails.",
    .options = test_options,
    .option_count = sizeof test_options / sizeof test_options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = test,
};
