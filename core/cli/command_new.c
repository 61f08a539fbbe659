/* core/cli/command_new.c: `perennial new strategy`: a small project, made from the templates that come with the program. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "report/json.h"

enum { NAME_LIMIT = 48, TEMPLATE_LIMIT = 1 << 20 };

/* What is made: the template's name, and the file's, in which @NAME@ stands for the strategy's name. */
static const struct {
    const char *template, *file;
} FILES[] = {
    {"CMakeLists.txt.in", "CMakeLists.txt"}, {"strategy.c", "@NAME@.c"}, {"recipe.lua", "recipe.lua"}, {"README.md", "README.md"},
};
enum { FILE_COUNT = sizeof FILES / sizeof FILES[0] };

/* Lua's own words cannot stand behind "p.", and these are the recipe library's or the program's. */
static const char *const TAKEN[] = {
    "and",  "break", "do",     "else",     "elseif",  "end",     "false",    "for",      "function", "goto",  "if",     "in",   "local",  "nil",    "not",
    "or",   "repeat", "return", "then",    "true",    "until",   "while",    "recipe",   "model",    "samples", "steps", "epochs", "macs", "seconds", "adamw",
    "evaluate", "strategy", "backend", "perennial", "test", "show",
};

static prn_status check_name(prn__cli *cli, const char *name, prn_error *error)
{
    const size_t length = strlen(name);
    const prn_strategy *strategy;
    const prn__plugin_entry *entry;
    prn_error ignored = PRN_ERROR_INIT;
    if (length == 0 || length > NAME_LIMIT || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != length || name[0] < 'a' || name[0] > 'z') {
        return prn_error_set(error, PRN_INVALID, "'%.60s' is no name for a strategy: lower-case letters, digits and '_', a letter first, at most %d", name,
                             NAME_LIMIT);
    }
    for (size_t i = 0; i < sizeof TAKEN / sizeof TAKEN[0]; i++) {
        if (strcmp(name, TAKEN[i]) == 0) {
            return prn_error_set(error, PRN_INVALID, "'%s' means something else in a recipe or on the command line; choose another name", name);
        }
    }
    if (prn__registry_strategy(cli->registry, name, &strategy, &entry, &ignored) == PRN_OK) {
        return prn_error_set(error, PRN_CONFLICT, "there is a strategy '%s' already (%s); choose another name", name, entry->path);
    }
    return PRN_OK;
}

static void put_replaced(prn__text *target, const char *source, size_t bytes, const char *name)
{
    static const char MARK[] = "@NAME@";
    for (size_t at = 0; at < bytes;) {
        const char *found = memmem(source + at, bytes - at, MARK, sizeof MARK - 1);
        const size_t end = found != NULL ? (size_t)(found - source) : bytes;
        prn__text_append(target, source + at, end - at);
        at = end;
        if (found != NULL) {
            prn__text_puts(target, name);
            at += sizeof MARK - 1;
        }
    }
}

static prn_status make_file(const char *templates, const char *folder, const char *template, const char *file, const char *name, prn_error *error)
{
    prn__text target, content;
    char *from = prn__path_join(templates, template), *to = NULL, *text = NULL;
    size_t bytes = 0;
    prn__text_init(&target);
    prn__text_init(&content);
    put_replaced(&target, file, strlen(file), name);
    prn_status status = from != NULL && !target.failed && (to = prn__path_join(folder, target.data)) != NULL
                            ? prn__file_read(from, TEMPLATE_LIMIT, &text, &bytes, error)
                            : prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    if (status == PRN_OK) {
        put_replaced(&content, text, bytes, name);
        status = content.failed ? prn_error_set(error, PRN_NO_MEMORY, "out of memory") : prn__file_write_atomic(to, content.data, content.length, error);
    }
    prn__text_fini(&target);
    prn__text_fini(&content);
    prn__free(from);
    prn__free(to);
    prn__free(text);
    return status;
}

/* A folder that is there is somebody's work: never written into. */
static prn_status make_folder(const char *folder, prn_error *error)
{
    char *parent = prn__path_folder(folder);
    prn_status status = parent != NULL ? prn__folder_create(parent, error) : prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    prn__free(parent);
    if (status == PRN_OK && mkdir(folder, 0755) != 0) { /* not writable by others: plugins load only from such folders */
        status = errno == EEXIST ? prn_error_set(error, PRN_CONFLICT, "%s: is there already; name another folder with --out", folder)
                                 : prn_error_set(error, PRN_IO, "%s: cannot be created: %s", folder, strerror(errno));
    }
    return status;
}

/* "/a/b/" and "/a/b" are the same folder; its parent is not "/a/b". */
static char *trimmed(const char *path)
{
    char *copy = prn__strdup(path);
    for (size_t n = copy != NULL ? strlen(copy) : 0; n > 1 && copy[n - 1] == '/'; n--) {
        copy[n - 1] = '\0';
    }
    return copy;
}

static void put_made(const char *name, const char *folder, int as_json, prn__text *text)
{
    if (as_json) {
        prn__json json = {0};
        json_t *root = prn__json_object(&json, NULL, NULL);
        prn__json_string(&json, root, "strategy", name);
        prn__json_string(&json, root, "folder", folder);
        json_t *files = prn__json_array(&json, root, "files");
        for (size_t i = 0; i < FILE_COUNT; i++) {
            prn__text file;
            prn__text_init(&file);
            put_replaced(&file, FILES[i].file, strlen(FILES[i].file), name);
            prn__json_string(&json, files, NULL, file.data);
            prn__text_fini(&file);
        }
        prn__json_finish(&json, root, text);
        return;
    }
    prn__text_printf(text, "%s: CMakeLists.txt, %s.c, recipe.lua, README.md\n\n"
                           "  cmake -S %s -B %s/build && cmake --build %s/build\n"
                           "  ctest --test-dir %s/build --output-on-failure\n\n"
                           "%s/README.md says how to go on.\n", folder, name, folder, folder, folder, folder, folder);
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    const char *name = prn__arguments_at(arguments, 0), *out = prn__arguments_value(arguments, "out");
    char *templates = NULL, *folder = NULL;
    prn__text text;
    int code;
    prn_status status = prn__cli_open(cli, arguments, &error);
    if (status == PRN_OK && (status = check_name(cli, name, &error)) == PRN_INVALID) {
        return prn__cli_usage(cli, &error);
    }
    if (status == PRN_OK) {
        templates = prn__cli_own_path("templates/strategy", "templates/strategy");
        folder = trimmed(out != NULL ? out : name);
        status = templates == NULL ? prn_error_set(&error, PRN_NOT_FOUND, "the templates are not where they were installed"
                                                   " (<prefix>/share/perennial/templates); install perennial again")
                 : folder == NULL  ? prn_error_set(&error, PRN_NO_MEMORY, "out of memory")
                                   : make_folder(folder, &error);
    }
    for (size_t i = 0; i < FILE_COUNT && status == PRN_OK; i++) {
        status = make_file(templates, folder, FILES[i].template, FILES[i].file, name, &error);
    }
    if (status != PRN_OK) {
        code = prn__cli_fail(cli, &error);
    } else {
        prn__text_init(&text);
        put_made(name, folder, prn__arguments_has(arguments, "json"), &text);
        code = prn__cli_print(cli, &text);
    }
    prn__free(templates);
    prn__free(folder);
    return code;
}

static const prn__argument options[] = {
    {"out", "DIR", "folder to make (default: NAME, below the working folder)", 0, 0, 0},
    PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};

const prn__command prn__command_new_strategy = {
    .name = "new strategy",
    .usage = "NAME [options]",
    .summary = "begin a strategy of your own: a project that builds, loads and passes its test",
    .details = "Makes a folder with a CMakeLists.txt, one C file that explains itself, a recipe and a README. Nothing that is there already\n"
               "is written into. docs/strategies.md says how strategies work.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = run,
};
