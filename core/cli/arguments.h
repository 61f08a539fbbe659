/* core/cli/arguments.h: commands, their options, and what was given on the command line.
 *
 * One table of options a command drives parsing, --help and suggestions. Options may stand anywhere; "--" ends them;
 * values are given as "--name value" or "--name=value". Every command has -h and --help; "-o FILE" is "--output FILE".
 */
#ifndef PRN_CLI_ARGUMENTS_H
#define PRN_CLI_ARGUMENTS_H

#include "base/text.h"

typedef struct prn__cli prn__cli;
typedef struct prn__arguments prn__arguments;

typedef struct prn__argument {
    const char *name;  /* "backend" */
    const char *value; /* what --help calls its value, "NAME"; NULL for a switch */
    const char *help;  /* NULL: for the program's own use, not listed */
    int may_repeat;
    int64_t minimum, maximum; /* maximum > 0: a whole number within */
} prn__argument;

typedef struct prn__command {
    const char *name;       /* "data build" */
    const char *usage;      /* behind the name: "unicode --out DIR [options]" */
    const char *summary;    /* one line */
    const char *details;    /* further text of --help, lines of at most 100 characters; may be NULL */
    const prn__argument *options;
    size_t option_count;
    int positional_min, positional_max; /* -1: no limit */
    int (*run)(prn__cli *cli, const prn__arguments *arguments); /* returns the exit code */
    int is_alias;           /* understood, not listed */
} prn__command;

/* Exit codes of the program. */
enum { PRN__EXIT_DONE = 0, PRN__EXIT_FAILED = 1, PRN__EXIT_USAGE = 2, PRN__EXIT_INTERRUPTED = 3 };

/* Pointers into argv stay borrowed. PRN_INVALID is wrong usage. `is_help` 1: help was asked for, and nothing else was checked. */
prn_status prn__arguments_parse(const prn__command *command, int argc, char **argv, prn__arguments **arguments, int *is_help, prn_error *error);
void prn__arguments_destroy(prn__arguments *arguments);

const char *prn__arguments_value(const prn__arguments *arguments, const char *name); /* the last one given, or NULL */
int prn__arguments_has(const prn__arguments *arguments, const char *name);
/* The index-th value of a repeatable option; NULL beyond the last. */
const char *prn__arguments_each(const prn__arguments *arguments, const char *name, size_t index);
size_t prn__arguments_count(const prn__arguments *arguments);                       /* positional */
const char *prn__arguments_at(const prn__arguments *arguments, size_t index);       /* positional; NULL beyond the last */
const prn__command *prn__arguments_command(const prn__arguments *arguments);

/* Options that must be given. */
prn_status prn__arguments_require(const prn__arguments *arguments, const char *const *names, size_t count, prn_error *error);
/* The value of an option that has bounds, checked when it was parsed; `preset` when it was not given. */
int64_t prn__arguments_integer(const prn__arguments *arguments, const char *name, int64_t preset);

/* `perennial COMMAND --help`. */
void prn__command_help(const prn__command *command, prn__text *target);

#endif
