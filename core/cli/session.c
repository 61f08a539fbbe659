/* core/cli/session.c: what commands share; see cli.h. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/jobs.h"
#include "plugin/topology.h"
#include "report/table.h"

/* ---- threads and plugins ---------------------------------------------------------------------------------------------------- */

/* Threads are bound to cores when they take every core that this process has: with fewer, two runs on one machine would sit on the
 * same cores. The calling thread stays free, because the data threads that it starts inherit its binding. */
prn_status prn__cli_open_threads(prn__cli *cli, const prn__arguments *arguments, prn_error *error)
{
    const uint32_t threads = prn__jobs_threads(arguments);
    prn__topology *topology = NULL;
    prn_error ignored = PRN_ERROR_INIT;
    prn_status status;
    if (cli->pool != NULL) {
        return PRN_OK;
    }
    if (prn__topology_create(threads, NULL, &topology, &ignored) == PRN_OK && topology->binds &&
        topology->thread_count == topology->allowed_core_count) {
        topology->binding[0] = -1;
        status = prn__pool_create(topology->thread_count, topology->binding, &cli->pool, error);
    } else {
        status = prn__pool_create(threads, NULL, &cli->pool, error);
    }
    prn__topology_destroy(topology);
    return status;
}

prn_status prn__cli_open(prn__cli *cli, const prn__arguments *arguments, prn_error *error)
{
    prn_status status = prn__cli_open_threads(cli, arguments, error);
    if (status == PRN_OK && cli->registry == NULL) {
        status = prn__registry_create(cli->pool, prn__arguments_value(arguments, "plugin-path"), &cli->registry, error);
    }
    return status;
}

void prn__cli_close(prn__cli *cli)
{
    prn__registry_destroy(cli->registry);
    if (cli->pool != NULL) {
        prn__pool_destroy(cli->pool);
    }
    for (size_t i = 0; i < cli->name_count; i++) {
        prn__free(cli->names[i]);
    }
    prn__free(cli->names);
    prn__free(cli->pairs);
}

/* ---- files that come with the program ---------------------------------------------------------------------------------------- */

static char *existing(char *path)
{
    if (path != NULL && !prn__file_exists(path) && !prn__folder_exists(path)) {
        prn__free(path);
        return NULL;
    }
    return path;
}

char *prn__cli_own_path(const char *installed, const char *source)
{
    char executable[4096];
    ssize_t length = readlink("/proc/self/exe", executable, sizeof executable - 1);
    char *found = NULL;
    if (length > 0) {
        executable[length] = '\0';
        char *folder = prn__path_folder(executable);
        char *share = folder != NULL ? prn__path_join(folder, "../share/perennial") : NULL;
        found = share != NULL ? existing(prn__path_join(share, installed)) : NULL;
        prn__free(share);
        prn__free(folder);
    }
    return found != NULL || source == NULL ? found : existing(prn__path_join(PRN_SOURCE_DIR, source));
}

int prn__cli_is_manifest(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

prn_status prn__cli_vocabulary(const prn__arguments *arguments, const prn__manifest *manifest, const char *model_folder, char **path, int64_t *merges,
                               prn_error *error)
{
    static const char CLIP[] = "bpe_simple_vocab_16e6.txt.gz";
    static const char *const beside[] = {"vocab.txt", "vocab.txt.gz", CLIP};
    const char *given = prn__arguments_value(arguments, "vocabulary");
    *merges = 0;
    *path = NULL;
    if (given != NULL) {
        *path = prn__strdup(given);
    } else if (manifest != NULL && manifest->vocabulary != NULL) {
        *path = prn__strdup(manifest->vocabulary);
        *merges = manifest->merges;
    } else {
        for (size_t i = 0; i < sizeof beside / sizeof beside[0] && *path == NULL; i++) {
            *path = existing(prn__path_join(model_folder, beside[i]));
        }
        if (*path == NULL) {
            *path = prn__cli_own_path(CLIP, "build/assets/bpe_simple_vocab_16e6.txt.gz");
        }
        if (*path == NULL) {
            return prn_error_set(error, PRN_NOT_FOUND, "no vocabulary for the text tower: there is none in %s, and CLIP's own is not installed; give one"
                                 " with --vocabulary FILE (tools/fetch-clip-vocabulary gets CLIP's)", model_folder);
        }
    }
    return *path != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "out of memory");
}

prn_status prn__cli_tokenizer(const char *path, int64_t merges, const prn__model_config *model, prn__tokenizer **tokenizer, prn_error *error)
{
    prn_status status = prn__tokenizer_open(path, merges, tokenizer, error);
    if (status != PRN_OK) {
        return status;
    }
    int64_t size = prn__tokenizer_vocab_size(*tokenizer);
    if (size > model->text.vocab_size) {
        return prn_error_set(error, PRN_INVALID, "%s has %" PRId64 " tokens and the model %s room for %" PRId64 "; give the vocabulary that the model was"
                             " trained with, with --vocabulary FILE", path, size, model->name, model->text.vocab_size);
    }
    if (size != model->text.vocab_size) {
        prn__log(PRN_LOG_WARNING, "%s has %" PRId64 " tokens and the model %s room for %" PRId64 ": it was probably trained with another vocabulary", path,
                 size, model->name, model->text.vocab_size);
    }
    return PRN_OK;
}

prn_status prn__cli_pairs_get(const prn__arguments *arguments, prn__cli_pairs *p, prn_error *error)
{
    for (p->count = 0; prn__arguments_each(arguments, "set", p->count) != NULL; p->count++) {
        const char *text = prn__arguments_each(arguments, "set", p->count), *equals = strchr(text, '=');
        if (equals == NULL || equals == text || (size_t)(equals - text) >= sizeof p->names[0] || p->count == PRN__CLI_MAX_PAIRS) {
            return prn_error_set(error, PRN_INVALID, "--set '%s': write it as --set option=value", text);
        }
        (void)snprintf(p->names[p->count], sizeof p->names[0], "%.*s", (int)(equals - text), text);
        p->pairs[p->count] = (prn__option_pair){p->names[p->count], equals + 1};
    }
    return PRN_OK;
}

/* ---- recipes ------------------------------------------------------------------------------------------------------------------ */

static const char *const DIRECT[] = {"backend", "workspace"}; /* options that are keys of a recipe */

static prn_status add_pair(prn__cli *cli, size_t *count, const char *name, size_t length, const char *value, prn_error *error)
{
    char *copy = prn__alloc(length + 1);
    if (copy == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    memcpy(copy, name, length);
    cli->names[cli->name_count++] = copy;
    cli->pairs[(*count)++] = (prn__option_pair){copy, value};
    return PRN_OK;
}

static prn_status collect_settings(prn__cli *cli, const prn__arguments *arguments, size_t *count, prn_error *error)
{
    prn_status status = PRN_OK;
    size_t sets = 0;
    *count = 0;
    while (prn__arguments_each(arguments, "set", sets) != NULL) {
        sets++;
    }
    cli->pairs = prn__alloc_array(sets + 3, sizeof *cli->pairs);
    cli->names = prn__alloc_array(sets + 3, sizeof *cli->names);
    if (cli->pairs == NULL || cli->names == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < sets && status == PRN_OK; i++) {
        const char *text = prn__arguments_each(arguments, "set", i), *equals = strchr(text, '=');
        if (equals == NULL || equals == text) {
            return prn_error_set(error, PRN_INVALID, "--set '%s': write it as --set key=value, such as --set schedule.peak=1e-3", text);
        }
        status = add_pair(cli, count, text, (size_t)(equals - text), equals + 1, error);
    }
    for (size_t i = 0; i < sizeof DIRECT / sizeof DIRECT[0] && status == PRN_OK; i++) {
        const char *value = prn__arguments_value(arguments, DIRECT[i]);
        if (value != NULL) {
            status = add_pair(cli, count, DIRECT[i], strlen(DIRECT[i]), value, error);
        }
    }
    return status;
}

/* "--set backend=cpy: ..." said of --backend cpy is said as it was given. */
static void name_option(const prn__arguments *arguments, prn_error *error)
{
    for (size_t i = 0; i < sizeof DIRECT / sizeof DIRECT[0]; i++) {
        const char *value = prn__arguments_value(arguments, DIRECT[i]);
        char before[PRN_ERROR_MESSAGE_BYTES], rest[PRN_ERROR_MESSAGE_BYTES];
        (void)snprintf(before, sizeof before, "--set %s=%s:", DIRECT[i], value != NULL ? value : "");
        if (value != NULL && strncmp(error->message, before, strlen(before)) == 0) {
            (void)snprintf(rest, sizeof rest, "%s", error->message + strlen(before));
            (void)prn_error_set(error, (prn_status)error->status, "--%s %s:%s", DIRECT[i], value, rest);
        }
    }
}

/* Where the recipe library is, and what is laid over the recipe. `library` is the caller's to free. */
static prn_status recipe_settings(prn__cli *cli, const prn__arguments *arguments, char **library, prn__recipe_settings *settings, prn_error *error)
{
    size_t count = 0;
    prn_status status = prn__cli_open(cli, arguments, error);
    *library = NULL;
    if (status == PRN_OK) {
        status = collect_settings(cli, arguments, &count, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    const char *wanted = getenv("PERENNIAL_LUA");
    *library = wanted != NULL && wanted[0] != '\0' ? prn__strdup(wanted) : prn__cli_own_path("lua", "lua");
    if (*library == NULL) {
        return prn_error_set(error, PRN_NOT_FOUND, "the recipe library is not where it was installed (<prefix>/share/perennial/lua); install perennial again,"
                             " or name its folder in the environment variable PERENNIAL_LUA");
    }
    *settings = (prn__recipe_settings){.library = *library, .settings = cli->pairs, .setting_count = count};
    return PRN_OK;
}

prn_status prn__cli_recipes(prn__cli *cli, const prn__arguments *arguments, const char *path, prn__recipe_set **set, prn_error *error)
{
    char *library = NULL;
    prn__recipe_settings settings;
    prn_status status = recipe_settings(cli, arguments, &library, &settings, error);
    if (status == PRN_OK && (status = prn__recipe_set_load(path, &settings, cli->registry, set, error)) != PRN_OK) {
        name_option(arguments, error);
    }
    prn__free(library);
    return status;
}

const char *prn__cli_choices(const prn__recipe *recipe, char target[PRN__CLI_CHOICES_BYTES])
{
    size_t used = 0;
    (void)snprintf(target, PRN__CLI_CHOICES_BYTES, "-");
    for (size_t i = 0; recipe->sweep != NULL && i < recipe->sweep->setting_count; i++) { /* 32 numbers below 1,000 */
        used += (size_t)snprintf(target + used, PRN__CLI_CHOICES_BYTES - used, "%s%" PRIu32, i > 0 ? "." : "", recipe->sweep->settings[i].chosen);
    }
    return target;
}

prn_status prn__cli_recipe_at(prn__cli *cli, const prn__arguments *arguments, const char *path, const char *choices, const char *identity,
                              prn__recipe **recipe, prn_error *error)
{
    uint32_t chosen[PRN__SWEEP_CHOICES];
    size_t count = 0;
    char *library = NULL;
    prn__recipe_settings settings;
    for (const char *at = choices; choices[0] != '-' && at != NULL && count < PRN__SWEEP_CHOICES; at = strchr(at, '.') != NULL ? strchr(at, '.') + 1 : NULL) {
        chosen[count++] = (uint32_t)strtoul(at, NULL, 10);
    }
    prn_status status = recipe_settings(cli, arguments, &library, &settings, error);
    if (status == PRN_OK) {
        status = prn__recipe_load_combination(path, &settings, cli->registry, chosen, count, recipe, error);
    }
    if (status == PRN_OK && (*recipe)->sweep != NULL) {
        (void)snprintf((*recipe)->sweep->identity, sizeof (*recipe)->sweep->identity, "%s", identity);
    }
    prn__free(library);
    return status;
}

/* ---- models -------------------------------------------------------------------------------------------------------------------- */

prn_status prn__cli_model_config(const char *name, prn__model_config *config, prn_error *error)
{
    char longer[96];
    (void)snprintf(longer, sizeof longer, "ViT-%.60s-32px", name); /* "nano" for short, as in recipes */
    for (size_t i = 0; i < prn__model_config_count(); i++) {
        if (strcmp(prn__model_config_at(i)->name, longer) == 0) {
            *config = *prn__model_config_at(i);
            return PRN_OK;
        }
    }
    return prn__model_config_resolve(name, config, error);
}

prn_status prn__cli_model_open(prn__cli *cli, const prn__arguments *arguments, const char *folder, prn__cli_model *m, prn_error *error)
{
    const char *backend = prn__arguments_value(arguments, "backend");
    prn__model_config config;
    prn_status status;
    if (!prn__folder_exists(folder)) {
        return prn_error_set(error, PRN_NOT_FOUND, "%s: no such folder; --model names a folder with open_clip_config.json and open_clip_model.safetensors,"
                             " such as a stage of a run", folder);
    }
    if ((status = prn__model_config_resolve(folder, &config, error)) != PRN_OK || (status = prn__cli_open(cli, arguments, error)) != PRN_OK ||
        (status = prn__model_create(&config, PRN__DECAY_DIMENSIONS, &m->model, error)) != PRN_OK) {
        return status;
    }
    m->weights = prn__alloc_array((size_t)m->model->flat_elements, sizeof *m->weights);
    if (m->weights == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the weights of %s", folder);
    }
    if ((status = prn__model_load(m->model, folder, m->weights, error)) == PRN_OK) {
        status = prn__device_open(cli->registry, backend != NULL ? backend : "auto", NULL, 0, &m->device, error);
    }
    return status;
}

void prn__cli_model_close(prn__cli_model *m)
{
    if (m->device.instance != NULL) {
        prn__device_close(&m->device);
    }
    prn__free(m->weights);
    if (m->model != NULL) {
        prn__model_destroy(m->model);
    }
}

/* ---- output -------------------------------------------------------------------------------------------------------------------- */

int prn__cli_fail(prn__cli *cli, const prn_error *error)
{
    prn__terminal_clear(cli->terminal);
    prn__terminal_error(cli->terminal, "perennial: %s", error->message);
    return error->status == PRN_INTERRUPTED ? PRN__EXIT_INTERRUPTED : PRN__EXIT_FAILED;
}

int prn__cli_usage(prn__cli *cli, const prn_error *error)
{
    (void)prn__cli_fail(cli, error);
    return PRN__EXIT_USAGE;
}

/* Names and captions come from files: on a terminal, nothing in them may steer it. */
static void make_safe(prn__text *text)
{
    prn__text safe;
    prn__text_init(&safe);
    for (size_t at = 0; at < text->length;) {
        const char *end = memchr(text->data + at, '\n', text->length - at);
        size_t length = end != NULL ? (size_t)(end - text->data) - at : text->length - at;
        prn__text_append_safe(&safe, text->data + at, length, 0);
        prn__text_puts(&safe, end != NULL ? "\n" : "");
        at += length + (end != NULL ? 1 : 0);
    }
    safe.failed |= text->failed;
    prn__text_fini(text);
    *text = safe;
}

int prn__cli_print(prn__cli *cli, prn__text *text)
{
    if (isatty(STDOUT_FILENO)) {
        make_safe(text);
    }
    return prn__cli_print_styled(cli, text);
}

int prn__cli_colours(void)
{
    const char *none = getenv("NO_COLOR"), *kind = getenv("TERM"), *depth = getenv("COLORTERM");
    if (!isatty(STDOUT_FILENO) || (none != NULL && none[0] != '\0') || kind == NULL || strcmp(kind, "dumb") == 0) {
        return 0;
    }
    return depth != NULL && (strcmp(depth, "truecolor") == 0 || strcmp(depth, "24bit") == 0) ? 1 << 24 : 256;
}

int prn__cli_print_styled(prn__cli *cli, prn__text *text)
{
    prn_error error = PRN_ERROR_INIT;
    int code = PRN__EXIT_DONE;
    prn__terminal_clear(cli->terminal);
    if (text->failed) {
        (void)prn_error_set(&error, PRN_NO_MEMORY, "out of memory while printing");
        code = prn__cli_fail(cli, &error);
    } else if (fwrite(text->data, 1, text->length, stdout) != text->length || fflush(stdout) != 0) {
        (void)prn_error_set(&error, PRN_IO, "standard output cannot be written: %s", strerror(errno));
        code = prn__cli_fail(cli, &error);
    }
    prn__text_fini(text);
    return code;
}

/* ---- signals ------------------------------------------------------------------------------------------------------------------- */

/* The only things that a signal handler can reach. */
static volatile sig_atomic_t stop_count;
static volatile sig_atomic_t is_silent;
static volatile sig_atomic_t is_continued;

static void on_continue(int number)
{
    (void)number;
    is_continued = 1;
}

static void on_signal(int number)
{
    static const char message[] = "\nstopping after this step; once more stops at once\n";
    const int saved = errno;
    (void)number;
    stop_count = stop_count < 100 ? stop_count + 1 : stop_count;
    if (!is_silent && write(STDERR_FILENO, message, sizeof message - 1) < 0) {
        errno = saved; /* nothing can be done about it here */
    }
    errno = saved;
}

static void catch_signal(int number, int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = flags;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(number, &action, NULL);
}

/* After a stop (Ctrl-Z) the screen is no longer as it was left. */
static void catch_continue(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_continue;
    action.sa_flags = SA_RESTART;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGCONT, &action, NULL);
}

int prn__cli_was_continued(void)
{
    const int was = is_continued != 0;
    is_continued = 0;
    return was;
}

/* A run that was started to outlive its terminal (nohup) does. */
static void catch_hang_up(int flags)
{
    struct sigaction now;
    if (sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
        catch_signal(SIGHUP, flags);
    }
}

void prn__cli_catch_signals(int is_shown)
{
    const int flags = (int)SA_RESETHAND | SA_RESTART; /* the second one does what the system does */
    is_silent = is_shown;
    catch_signal(SIGINT, flags);
    catch_signal(SIGTERM, flags);
    catch_hang_up(flags);
    catch_continue();
}

void prn__cli_catch_signals_as(int is_worker, int is_shown)
{
    is_silent = is_worker || is_shown;
    catch_signal(SIGTERM, is_worker ? SA_RESTART : 0); /* without restart: it wakes the one that waits */
    if (is_worker) {
        (void)signal(SIGINT, SIG_IGN); /* the terminal sends it to all; the one that leads passes on what it means */
        (void)signal(SIGHUP, SIG_IGN);
        (void)signal(SIGPIPE, SIG_IGN);
    } else {
        catch_signal(SIGINT, 0);
        catch_hang_up(0);
        catch_continue();
    }
}

int prn__cli_is_stopped(void *unused)
{
    (void)unused;
    return stop_count != 0;
}

int prn__cli_stop_count(void)
{
    return (int)stop_count;
}
