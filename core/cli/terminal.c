/* core/cli/terminal.c: see terminal.h. */
#include "cli/terminal.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pool.h"
#include "report/progress_line.h"
#include "report/table.h"

static const double REWRITE_EVERY_S = 0.1, LINE_EVERY_S = 5.0;
static const char ERASE[] = "\r\033[K";

struct prn__terminal {
    pthread_mutex_t mutex;
    FILE *log;
    int is_terminal, is_quiet;
    int is_shown;      /* a progress line stands on the terminal */
    prn__text line;    /* what it says */
    double last_s;     /* when progress was shown last */
    char last_phase[16];
    uint32_t last_stage;
    uint32_t headed_stage; /* whose heading stands above the line */
};

static void write_error(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t put = write(STDERR_FILENO, text, length);
        if (put < 0 && errno != EINTR) {
            return; /* nobody listens: progress is not worth a failure */
        }
        length -= put > 0 ? (size_t)put : 0;
        text += put > 0 ? put : 0;
    }
}

static size_t columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) {
        return size.ws_col - 1u; /* the last column would wrap */
    }
    return 79;
}

/* Under mutex. */
static void put_line(prn__terminal *t, const char *text)
{
    prn__text out;
    prn__text_init(&out);
    prn__text_puts(&out, t->is_shown ? ERASE : "");
    prn__text_append_safe(&out, text, strlen(text), 0);
    prn__text_puts(&out, "\n");
    prn__text_puts(&out, t->is_shown && t->line.data != NULL ? t->line.data : "");
    write_error(out.data != NULL ? out.data : "", out.length);
    prn__text_fini(&out);
}

/* Under mutex. */
static void put_log(prn__terminal *t, const char *kind, const char *message)
{
    char when[32];
    time_t now = time(NULL);
    struct tm parts;
    if (t->log != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
        (void)fprintf(t->log, "%s %s: %s\n", when, kind, message);
        (void)fflush(t->log); /* what a killed run said last matters most */
    }
}

static void log_sink(void *context, prn_log_level level, const char *message)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    prn__terminal *t = context;
    (void)pthread_mutex_lock(&t->mutex);
    put_log(t, names[level], message);
    if (level >= PRN_LOG_WARNING || (level == PRN_LOG_INFO && !t->is_quiet)) {
        char line[2200];
        (void)snprintf(line, sizeof line, "%s%s%s", level >= PRN_LOG_WARNING ? names[level] : "", level >= PRN_LOG_WARNING ? ": " : "", message);
        put_line(t, line);
    }
    (void)pthread_mutex_unlock(&t->mutex);
}

prn_status prn__terminal_create(prn__terminal **terminal, prn_error *error)
{
    prn__terminal *t = prn__alloc(sizeof *t);
    if (t == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    const char *kind = getenv("TERM");
    (void)pthread_mutex_init(&t->mutex, NULL);
    t->is_terminal = isatty(STDERR_FILENO) && kind != NULL && strcmp(kind, "dumb") != 0;
    prn__text_init(&t->line);
    t->last_s = prn__now_s();
    prn__log_set_sink(log_sink, t);
    *terminal = t;
    return PRN_OK;
}

void prn__terminal_destroy(prn__terminal *t)
{
    if (t != NULL) {
        prn__log_set_sink(NULL, NULL);
        prn__terminal_clear(t);
        if (t->log != NULL) {
            (void)fclose(t->log);
        }
        prn__text_fini(&t->line);
        (void)pthread_mutex_destroy(&t->mutex);
        prn__free(t);
    }
}

void prn__terminal_set_quiet(prn__terminal *t, int quiet)
{
    t->is_quiet = quiet;
}

prn_status prn__terminal_log_file(prn__terminal *t, const char *path, prn_error *error)
{
    FILE *file = fopen(path, "ae");
    if (file == NULL) {
        return prn_error_set(error, PRN_IO, "%s: cannot be written: %s", path, strerror(errno));
    }
    (void)pthread_mutex_lock(&t->mutex);
    if (t->log != NULL) {
        (void)fclose(t->log);
    }
    t->log = file;
    (void)pthread_mutex_unlock(&t->mutex);
    return PRN_OK;
}

/* Under mutex. The stage's name stands above the line that is rewritten, for it seldom fits into it. */
static void put_heading(prn__terminal *t, const prn__progress *p)
{
    prn__text heading;
    prn__text_init(&heading);
    prn__progress_heading(p, &heading);
    t->headed_stage = p->stage;
    if (heading.data != NULL && !heading.failed) {
        t->is_shown = 0;
        write_error(ERASE, sizeof ERASE - 1);
        put_line(t, heading.data);
    }
    prn__text_fini(&heading);
}

/* Under mutex. */
static void put_progress(prn__terminal *t, const prn__progress *p)
{
    if (t->is_terminal && p->stage > 0 && p->stage != t->headed_stage && strcmp(p->phase, "evaluate") != 0) {
        put_heading(t, p);
    }
    prn__text_clear(&t->line);
    prn__progress_print(p, t->is_terminal ? columns() : 0, &t->line);
    if (t->line.data != NULL && !t->line.failed) {
        write_error(ERASE, t->is_terminal ? sizeof ERASE - 1 : 0);
        write_error(t->line.data, t->line.length);
        write_error("\n", t->is_terminal ? 0 : 1);
        t->is_shown = t->is_terminal;
    }
}

void prn__terminal_progress(void *context, const prn__progress *p)
{
    prn__terminal *t = context;
    const double now = prn__now_s();
    /* Work without stages comes in many short parts: never a line each. */
    const int is_new = p->stage > 0 && (p->stage != t->last_stage || strncmp(p->phase, t->last_phase, sizeof t->last_phase - 1) != 0);
    const int is_end = p->stage > 0 && p->step >= p->steps && strcmp(p->phase, "train") == 0;
    const int is_due = now - t->last_s >= (t->is_terminal ? REWRITE_EVERY_S : LINE_EVERY_S);
    if (!is_new && !is_end && (!is_due || t->is_quiet)) {
        return;
    }
    (void)snprintf(t->last_phase, sizeof t->last_phase, "%s", p->phase);
    t->last_stage = p->stage;
    t->last_s = now;
    (void)pthread_mutex_lock(&t->mutex);
    if (is_new || is_end) {
        prn__text line;
        prn__text_init(&line);
        prn__progress_print(p, 0, &line);
        put_log(t, "progress", line.data != NULL ? line.data : "");
        prn__text_fini(&line);
    }
    if (!t->is_quiet) {
        put_progress(t, p);
    }
    (void)pthread_mutex_unlock(&t->mutex);
}

void prn__terminal_work(prn__terminal *t, const char *phase, const char *what, int64_t done, int64_t all)
{
    const prn__progress progress = {.phase = phase, .label = what, .step = done, .steps = all, .loss = NAN, .learning_rate = NAN, .samples_per_s = NAN,
                                    .data_wait_frac = NAN, .remaining_s = NAN};
    prn__terminal_progress(t, &progress);
}

void prn__terminal_clear(prn__terminal *t)
{
    (void)pthread_mutex_lock(&t->mutex);
    if (t->is_shown) {
        write_error(ERASE, sizeof ERASE - 1);
        t->is_shown = 0;
    }
    (void)pthread_mutex_unlock(&t->mutex);
}

void prn__terminal_error(prn__terminal *t, const char *format, ...)
{
    char line[PRN_ERROR_MESSAGE_BYTES + 64];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    (void)pthread_mutex_lock(&t->mutex);
    put_log(t, "error", line);
    put_line(t, line);
    (void)pthread_mutex_unlock(&t->mutex);
}
