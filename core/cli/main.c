/* core/cli/main.c: the program: finds the command, parses its arguments, runs it. */
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "report/table.h"

static const prn__command *const COMMANDS[] = {
    &prn__command_run, &prn__command_plan, &prn__command_results, &prn__command_report, &prn__command_ls, &prn__command_compare, &prn__command_export, &prn__command_gc, &prn__command_eval, &prn__command_embed, &prn__command_data_build,
    &prn__command_data_verify, &prn__command_data_show, &prn__command_model_list, &prn__command_model_show, &prn__command_model_new,
    &prn__command_strategies, &prn__command_strategies_show, &prn__command_strategies_test, &prn__command_new_strategy, &prn__command_backends,
    &prn__command_backend_test, &prn__command_topology,
    &prn__command_bench_train, &prn__command_bench_embed, &prn__command_bench_data, &prn__command_bench_ops,
};
enum { COMMAND_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

static void print_program_help(prn__text *target)
{
    prn__table *table = prn__table_create();
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (!COMMANDS[i]->is_alias) {
            prn__table_cell(table, "%s", COMMANDS[i]->name);
            prn__table_cell(table, "%s", COMMANDS[i]->summary);
        }
    }
    prn__text_puts(target, "perennial trains and evaluates CLIP continually over time-stamped image-text data.\n\n"
                           "usage: perennial COMMAND ...\n\ncommands\n");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
    prn__text_puts(target, "\nperennial COMMAND --help says more; perennial --version prints the version.\n"
                           "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 interrupted: the same command goes on.\n");
}

/* "data": the commands "data build", "data verify", "data show". */
static int is_group(const char *name)
{
    size_t length = strlen(name);
    int count = 0;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        count += strncmp(COMMANDS[i]->name, name, length) == 0 && COMMANDS[i]->name[length] == ' ';
    }
    return count > 0 && length > 0;
}

static void print_group_help(const char *group, prn__text *target)
{
    size_t length = strlen(group);
    prn__table *table = prn__table_create();
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strncmp(COMMANDS[i]->name, group, length) == 0 && COMMANDS[i]->name[length] == ' ') {
            prn__table_cell(table, "%s %s", COMMANDS[i]->name, COMMANDS[i]->usage);
            prn__table_cell(table, "%s", COMMANDS[i]->summary);
        }
    }
    prn__text_printf(target, "usage: perennial %s COMMAND ...\n\n", group);
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

/* Two words before one: "strategies test" is no strategy of the command "strategies". */
static const prn__command *find_command(const char *first, const char *second, int *words)
{
    const prn__command *single = NULL;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *name = COMMANDS[i]->name, *space = strchr(name, ' ');
        if (space == NULL && strcmp(name, first) == 0) {
            single = COMMANDS[i];
        }
        if (space != NULL && second != NULL && strlen(first) == (size_t)(space - name) && strncmp(name, first, strlen(first)) == 0 &&
            strcmp(space + 1, second) == 0) {
            *words = 2;
            return COMMANDS[i];
        }
    }
    *words = 1;
    return single;
}

static void unknown_command(const char *first, const char *second, prn_error *error)
{
    const char *names[COMMAND_COUNT * 2];
    char suggestion[128], group[64];
    size_t count = 0;
    if (is_group(first) && second != NULL) {
        for (size_t i = 0; i < COMMAND_COUNT; i++) {
            if (strncmp(COMMANDS[i]->name, first, strlen(first)) == 0 && COMMANDS[i]->name[strlen(first)] == ' ') {
                names[count++] = COMMANDS[i]->name + strlen(first) + 1;
            }
        }
        const char *meant = prn__suggest(second, names, count);
        (void)snprintf(suggestion, sizeof suggestion, meant != NULL ? " (did you mean '%s %s'?)" : "", first, meant != NULL ? meant : "");
        (void)prn_error_set(error, PRN_INVALID, "unknown command '%s %s'%s; see 'perennial %s --help'", first, second, suggestion, first);
        return;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[count++] = COMMANDS[i]->name;
    }
    static const char *const groups[] = {"data", "model", "backend", "help"};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        names[count++] = groups[i];
    }
    /* "data-build" and "databuild" mean "data build" */
    (void)snprintf(group, sizeof group, "%.60s", first);
    for (char *c = group; *c != '\0'; c++) {
        *c = *c == '-' || *c == '_' ? ' ' : *c;
    }
    (void)prn_error_set(error, PRN_INVALID, "unknown command '%s'%s; see 'perennial --help'", first,
                        prn__suggest_text(group, names, count, suggestion, sizeof suggestion));
}

static int run_command(prn__cli *cli, const prn__command *command, int argc, char **argv)
{
    prn_error error = PRN_ERROR_INIT;
    prn__arguments *arguments = NULL;
    int is_help = 0;
    prn_status status = prn__arguments_parse(command, argc, argv, &arguments, &is_help, &error);
    if (status == PRN_OK && is_help) {
        prn__text text;
        prn__text_init(&text);
        prn__command_help(command, &text);
        return prn__cli_print(cli, &text);
    }
    int code = status == PRN_OK ? command->run(cli, arguments) : prn__cli_usage(cli, &error);
    prn__arguments_destroy(arguments);
    return code;
}

static int print_help_of(prn__cli *cli, const char *group)
{
    prn__text text;
    prn__text_init(&text);
    if (group != NULL) {
        print_group_help(group, &text);
    } else {
        print_program_help(&text);
    }
    return prn__cli_print(cli, &text);
}

static int dispatch(prn__cli *cli, int argc, char **argv)
{
    prn_error error = PRN_ERROR_INIT;
    int words = 0, asks_help = 0;
    if (argc > 1 && strcmp(argv[1], "help") == 0) { /* "help run" is "run --help" */
        asks_help = 1;
        argc--;
        argv++;
    }
    if (argc < 2) {
        int code = print_help_of(cli, NULL);
        return asks_help ? code : PRN__EXIT_USAGE;
    }
    const char *first = argv[1], *second = argc > 2 ? argv[2] : NULL;
    if (strcmp(first, "backends") == 0 && second != NULL && strcmp(second, "test") == 0) {
        first = "backend"; /* the listing and the test differ by one letter */
    }
    int is_asked = asks_help || (second != NULL && (strcmp(second, "--help") == 0 || strcmp(second, "-h") == 0));
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0) {
        return print_help_of(cli, NULL);
    }
    if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0 || strcmp(first, "version") == 0) {
        prn__text text;
        prn__text_init(&text);
        prn__text_printf(&text, "perennial %s (plugin interface %d.%d)\n", PRN_RELEASE, PRN_ABI_MAJOR, PRN_ABI_MINOR);
        return prn__cli_print(cli, &text);
    }
    const prn__command *command = find_command(first, second, &words);
    if (command != NULL && asks_help) {
        static char help[] = "--help";
        char *only[] = {help};
        return run_command(cli, command, 1, only);
    }
    if (command != NULL) {
        return run_command(cli, command, argc - 1 - words, argv + 1 + words);
    }
    if (is_group(first) && (second == NULL || is_asked)) {
        int code = print_help_of(cli, first);
        return is_asked ? code : PRN__EXIT_USAGE;
    }
    unknown_command(first, second, &error);
    return prn__cli_usage(cli, &error);
}

int main(int argc, char **argv)
{
    prn_error error = PRN_ERROR_INIT;
    prn__cli cli;
    memset(&cli, 0, sizeof cli);
    cli.argc = argc;
    cli.argv = argv;
    if (prn__terminal_create(&cli.terminal, &error) != PRN_OK) {
        return PRN__EXIT_FAILED;
    }
    int code = dispatch(&cli, argc, argv);
    prn__cli_close(&cli);
    prn__terminal_destroy(cli.terminal);
    return code;
}
