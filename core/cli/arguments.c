/* core/cli/arguments.c: see arguments.h. */
#include "cli/arguments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/table.h"

typedef struct given {
    const prn__argument *option;
    const char *value; /* NULL for a switch */
} given;

struct prn__arguments {
    const prn__command *command;
    given *options;
    size_t option_count;
    const char **positional;
    size_t positional_count;
};

static const prn__argument *find_option(const prn__command *command, const char *name, size_t length)
{
    for (size_t i = 0; i < command->option_count; i++) {
        if (strlen(command->options[i].name) == length && strncmp(command->options[i].name, name, length) == 0) {
            return &command->options[i];
        }
    }
    return NULL;
}

static prn_status unknown_option(const prn__command *command, const char *argument, size_t length, prn_error *error)
{
    enum { MAX_CANDIDATES = 32 };
    const char *candidates[MAX_CANDIDATES];
    char name[80], suggestion[128] = "";
    size_t count = 0;
    (void)snprintf(name, sizeof name, "%.*s", (int)(length < 70 ? length : 70), argument);
    for (size_t i = 0; i < command->option_count && count + 1 < MAX_CANDIDATES; i++) {
        if (command->options[i].help != NULL) {
            candidates[count++] = command->options[i].name;
        }
    }
    candidates[count++] = "help";
    const char *found = prn__suggest(name + strspn(name, "-"), candidates, count);
    if (found != NULL) {
        (void)snprintf(suggestion, sizeof suggestion, " (did you mean '--%s'?)", found);
    }
    return prn_error_set(error, PRN_INVALID, "%s: unknown option '%s'%s; see 'perennial %s --help'", command->name, name, suggestion, command->name);
}

static prn_status check_number(const prn__command *command, const prn__argument *option, const char *text, prn_error *error)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < option->minimum || value > option->maximum) {
        return prn_error_set(error, PRN_INVALID, "%s: --%s is '%s'; it must be a whole number from %lld to %lld", command->name, option->name, text,
                             (long long)option->minimum, (long long)option->maximum);
    }
    return PRN_OK;
}

static prn_status take_option(prn__arguments *a, int argc, char **argv, int *at, prn_error *error)
{
    const prn__command *command = a->command;
    const char *name = strcmp(argv[*at], "-o") == 0 ? "output" : argv[*at] + 2, *equals = strchr(name, '=');
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const prn__argument *option = find_option(command, name, length);
    if (option == NULL) {
        return unknown_option(command, argv[*at], length + 2, error);
    }
    if (!option->may_repeat && prn__arguments_has(a, option->name)) {
        return prn_error_set(error, PRN_INVALID, "%s: --%s is given twice; give it once", command->name, option->name);
    }
    if (option->value == NULL && equals != NULL) {
        return prn_error_set(error, PRN_INVALID, "%s: --%s takes no value; write it without '%s'", command->name, option->name, equals);
    }
    const char *value = equals != NULL ? equals + 1 : NULL;
    if (option->value != NULL && value == NULL) {
        /* A value that starts with "--" is nearly always a forgotten value. */
        if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0) {
            return prn_error_set(error, PRN_INVALID, "%s: --%s needs a value: --%s %s", command->name, option->name, option->name, option->value);
        }
        value = argv[++*at];
    }
    a->options[a->option_count++] = (given){option, value};
    return option->maximum > 0 ? check_number(command, option, value, error) : PRN_OK;
}

static prn_status check_positional(const prn__arguments *a, prn_error *error)
{
    const prn__command *c = a->command;
    if (a->positional_count < (size_t)c->positional_min) {
        return prn_error_set(error, PRN_INVALID, "%s: something is missing; usage: perennial %s %s", c->name, c->name, c->usage);
    }
    if (c->positional_max >= 0 && a->positional_count > (size_t)c->positional_max) {
        return prn_error_set(error, PRN_INVALID, "%s: '%s' is too much; usage: perennial %s %s", c->name, a->positional[c->positional_max], c->name,
                             c->usage);
    }
    return PRN_OK;
}

prn_status prn__arguments_parse(const prn__command *command, int argc, char **argv, prn__arguments **result, int *is_help, prn_error *error)
{
    prn_status status = PRN_OK;
    int options_end = 0;
    *result = NULL;
    *is_help = 0;
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        *is_help |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    }
    if (*is_help) {
        return PRN_OK;
    }
    prn__arguments *a = prn__alloc(sizeof *a);
    if (a == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    a->command = command;
    a->options = prn__alloc_array((size_t)argc + 1, sizeof *a->options);
    a->positional = prn__alloc_array((size_t)argc + 1, sizeof *a->positional);
    if (a->options == NULL || a->positional == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (int i = 0; i < argc && status == PRN_OK; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = 1;
        } else if (!options_end && (strncmp(argv[i], "--", 2) == 0 || (strcmp(argv[i], "-o") == 0 && find_option(command, "output", 6) != NULL))) {
            status = take_option(a, argc, argv, &i, error);
        } else if (!options_end && argv[i][0] == '-' && argv[i][1] != '\0') {
            status = unknown_option(command, argv[i], strlen(argv[i]), error);
        } else {
            a->positional[a->positional_count++] = argv[i];
        }
    }
    if (status == PRN_OK) {
        status = check_positional(a, error);
    }
    if (status != PRN_OK) {
        prn__arguments_destroy(a);
        return status;
    }
    *result = a;
    return PRN_OK;
}

void prn__arguments_destroy(prn__arguments *a)
{
    if (a != NULL) {
        prn__free(a->options);
        prn__free((void *)a->positional);
        prn__free(a);
    }
}

const char *prn__arguments_value(const prn__arguments *a, const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < a->option_count; i++) {
        value = strcmp(a->options[i].option->name, name) == 0 ? a->options[i].value : value;
    }
    return value;
}

int prn__arguments_has(const prn__arguments *a, const char *name)
{
    for (size_t i = 0; i < a->option_count; i++) {
        if (strcmp(a->options[i].option->name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

const char *prn__arguments_each(const prn__arguments *a, const char *name, size_t index)
{
    for (size_t i = 0; i < a->option_count; i++) {
        if (strcmp(a->options[i].option->name, name) == 0 && index-- == 0) {
            return a->options[i].value;
        }
    }
    return NULL;
}

size_t prn__arguments_count(const prn__arguments *a)
{
    return a->positional_count;
}

const char *prn__arguments_at(const prn__arguments *a, size_t index)
{
    return index < a->positional_count ? a->positional[index] : NULL;
}

const prn__command *prn__arguments_command(const prn__arguments *a)
{
    return a->command;
}

prn_status prn__arguments_require(const prn__arguments *a, const char *const *names, size_t count, prn_error *error)
{
    for (size_t i = 0; i < count; i++) {
        const char *value = prn__arguments_value(a, names[i]);
        if (value == NULL || value[0] == '\0') {
            return prn_error_set(error, PRN_INVALID, "%s: --%s is missing; usage: perennial %s %s", a->command->name, names[i], a->command->name,
                                 a->command->usage);
        }
    }
    return PRN_OK;
}

int64_t prn__arguments_integer(const prn__arguments *a, const char *name, int64_t preset)
{
    const char *text = prn__arguments_value(a, name);
    return text != NULL ? strtoll(text, NULL, 10) : preset;
}

void prn__command_help(const prn__command *command, prn__text *target)
{
    prn__table *table = prn__table_create();
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    for (size_t i = 0; i < command->option_count; i++) {
        const prn__argument *o = &command->options[i];
        if (o->help == NULL) {
            continue;
        }
        prn__table_cell(table, "--%s%s%s", o->name, o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
        prn__table_cell(table, "%s%s", o->help, o->may_repeat ? "; may be given again" : "");
    }
    prn__table_cell(table, "-h, --help");
    prn__table_cell(table, "this text");
    prn__text_printf(target, "usage: perennial %s%s%s\n\n%s\n", command->name, command->usage[0] != '\0' ? " " : "", command->usage, command->summary);
    if (command->details != NULL) {
        prn__text_printf(target, "\n%s\n", command->details);
    }
    prn__text_puts(target, "\noptions\n");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}
