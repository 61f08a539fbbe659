/* core/cli/cli.h: what all commands share: the session (threads, plugins), output, and the list of commands.
 *
 * Results go to standard output; progress, log records and errors to standard error. A command returns its exit code and
 * has printed its error before.
 */
#ifndef PRN_CLI_CLI_H
#define PRN_CLI_CLI_H

#include "cli/arguments.h"
#include "cli/terminal.h"
#include "data/tokenizer.h"
#include "plugin/registry.h"
#include "recipe/sweep.h"

struct prn__cli {
    prn__pool *pool;         /* NULL until prn__cli_open */
    prn__registry *registry;
    prn__terminal *terminal;
    prn__option_pair *pairs; /* of prn__cli_recipes */
    char **names;            /* copies that the pairs point to */
    size_t name_count;
    int argc;                /* of the program, for starting workers */
    char **argv;
};

/* Options that several commands have. */
#define PRN__ARGUMENT_JSON {"json", NULL, "print JSON instead of text", 0, 0, 0}
#define PRN__ARGUMENT_BACKEND {"backend", "NAME", "what computes; see 'perennial backends' (default: auto)", 0, 0, 0}
#define PRN__ARGUMENT_THREADS {"threads", "N", "threads that compute (default: one a core)", 0, 1, 4096}
#define PRN__ARGUMENT_PLUGINS {"plugin-path", "DIRS", "folders searched for plugins first, separated by ':'", 0, 0, 0}
#define PRN__ARGUMENT_SET {"set", "KEY=VALUE", "change a value of the recipe; dots reach into tables", 1, 0, 0}
#define PRN__ARGUMENT_WORKSPACE {"workspace", "DIR", "folder of the results (default: what the recipe says, or runs/<name>)", 0, 0, 0}
/* Without help: not listed. What a worker process is told, see jobs.h. */
#define PRN__ARGUMENT_WORKER {"worker", "SPEC", NULL, 0, 0, 0}
#define PRN__ARGUMENT_VOCABULARY {"vocabulary", "FILE", "tokenizer (default: the stream's, or one found beside the model)", 0, 0, 0}

/* Threads and plugins, by --threads and --plugin-path. Closed by main. */
prn_status prn__cli_open(prn__cli *cli, const prn__arguments *arguments, prn_error *error);
/* Threads alone. */
prn_status prn__cli_open_threads(prn__cli *cli, const prn__arguments *arguments, prn_error *error);
void prn__cli_close(prn__cli *cli);
/* The recipe at `path`, or all of them where it is a sweep, with --set, --backend and --workspace laid over it. */
prn_status prn__cli_recipes(prn__cli *cli, const prn__arguments *arguments, const char *path, prn__recipe_set **set, prn_error *error);
/* One of them: of the sweep with this identity the one with `choices`, "0.2.1" as prn__cli_choices writes them; "-" for no sweep. */
prn_status prn__cli_recipe_at(prn__cli *cli, const prn__arguments *arguments, const char *path, const char *choices, const char *identity,
                              prn__recipe **recipe, prn_error *error);
enum { PRN__CLI_CHOICES_BYTES = 192 };
const char *prn__cli_choices(const prn__recipe *recipe, char target[PRN__CLI_CHOICES_BYTES]); /* returns target */

/* --set OPTION=VALUE of a component, for commands that take no recipe. */
enum { PRN__CLI_MAX_PAIRS = 32 };
typedef struct prn__cli_pairs {
    prn__option_pair pairs[PRN__CLI_MAX_PAIRS]; /* values point into the arguments */
    char names[PRN__CLI_MAX_PAIRS][64];
    size_t count;
} prn__cli_pairs;
prn_status prn__cli_pairs_get(const prn__arguments *arguments, prn__cli_pairs *pairs, prn_error *error);

/* "perennial: message" on standard error; returns the exit code of the error's status. */
int prn__cli_fail(prn__cli *cli, const prn_error *error);
/* The same for wrong usage. */
int prn__cli_usage(prn__cli *cli, const prn_error *error);
/* Writes the text to standard output and releases it. Exit code: done, or failed when it could not be made or written. */
int prn__cli_print(prn__cli *cli, prn__text *text);
/* The same for text whose control characters are meant: what comes from files in it was made safe where it was put together. */
int prn__cli_print_styled(prn__cli *cli, prn__text *text);
/* How many colours standard output shows: 0 (no terminal, NO_COLOR, a dumb one), 256 or 1 << 24. */
int prn__cli_colours(void);

/* A file that comes with the program: beside the executable's prefix when installed, else in the source tree. Caller
 * frees with prn__free; NULL when there is none. `installed` is relative to <prefix>/share/perennial, `source` to the tree. */
char *prn__cli_own_path(const char *installed, const char *source);
/* 1 when the name ends in .yaml or .yml. */
int prn__cli_is_manifest(const char *path);
/* --vocabulary, or the manifest's (may be NULL), or one in the model's folder, or CLIP's own where it is installed. Caller frees with
 * prn__free. */
prn_status prn__cli_vocabulary(const prn__arguments *arguments, const prn__manifest *manifest, const char *model_folder, char **path, int64_t *merges,
                               prn_error *error);
/* Opens it, and checks that the model has room for its tokens. */
prn_status prn__cli_tokenizer(const char *path, int64_t merges, const prn__model_config *model, prn__tokenizer **tokenizer, prn_error *error);

/* A model folder, its weights, and the backend they run on. */
typedef struct prn__cli_model {
    prn__model *model;
    float *weights;
    prn__device device;
} prn__cli_model;
prn_status prn__cli_model_open(prn__cli *cli, const prn__arguments *arguments, const char *folder, prn__cli_model *model, prn_error *error);
void prn__cli_model_close(prn__cli_model *model); /* zeros are allowed */
/* As prn__model_config_resolve, and the short names of the built-in small ones ("nano"). */
prn_status prn__cli_model_config(const char *name, prn__model_config *config, prn_error *error);

/* SIGINT, SIGTERM and SIGHUP (unless it is ignored) set a flag; the second one ends the process. `is_shown`: the screen says so by
 * itself, else a line does. */
void prn__cli_catch_signals(int is_shown);
/* For a process that others look after: of a worker only SIGTERM counts, of the one that leads each signal is counted. */
void prn__cli_catch_signals_as(int is_worker, int is_shown);
int prn__cli_is_stopped(void *unused);
int prn__cli_stop_count(void);
/* 1 once after each SIGCONT. */
int prn__cli_was_continued(void);

extern const prn__command prn__command_run, prn__command_plan, prn__command_results, prn__command_report, prn__command_ls, prn__command_compare, prn__command_export, prn__command_gc, prn__command_eval, prn__command_embed, prn__command_data_build,
    prn__command_data_verify, prn__command_data_show, prn__command_model_list, prn__command_model_show, prn__command_model_new,
    prn__command_strategies, prn__command_strategies_show, prn__command_strategies_test, prn__command_new_strategy, prn__command_backends, prn__command_backend_test, prn__command_topology,
    prn__command_bench_train, prn__command_bench_embed, prn__command_bench_data, prn__command_bench_ops;

#endif
