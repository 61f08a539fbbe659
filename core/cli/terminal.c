/* core/cli/terminal.c: see terminal.h.
 *
 * A view is taken back by moving up over the lines that it takes now: after the window became narrower, terminals break the lines
 * that were too long, so their number is counted anew from the cells of each.
 */
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
#include "cli/cli.h"
#include "report/progress_line.h"
#include "report/table.h"

static const double REWRITE_EVERY_S = 0.1, LINE_EVERY_S = 5.0, LOOK_EVERY_S = 1.0;
static const long REDRAW_EVERY_NS = 200000000L;
static const char ERASE[] = "\r\033[K";
enum { LAST_JOB = 64, VIEW_LINES = 256 };

struct prn__terminal {
    pthread_mutex_t mutex;
    FILE *log;
    int is_terminal, is_quiet;
    int is_shown;      /* a progress line stands on the terminal */
    prn__text line;    /* what it says */
    double last_s;     /* when progress was shown last */
    struct {
        char phase[16];
        uint32_t stage;
    } last[LAST_JOB];  /* what was said of each job last; those behind share the last one */
    uint32_t headed_stage; /* whose heading stands above the line */
    int is_run;        /* prn__terminal_show was called */
    uint32_t jobs;

    /* the view; its thread draws while there is one */
    prn__live_view *view;
    pthread_t thread;
    pthread_cond_t wake;
    int has_thread, is_over;
    int is_utf8, is_coloured;
    prn__text drawn;   /* what stands on the terminal; "" for nothing */
    size_t drawn_cells[VIEW_LINES], drawn_lines;
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

/* ---- the view ------------------------------------------------------------------------------------------------------------------ */

static void window(size_t *columns_, size_t *rows)
{
    struct winsize size;
    *columns_ = 80;
    *rows = 24;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        *columns_ = size.ws_col;
        *rows = size.ws_row;
    }
}

/* Cells of each line of a view, colours apart. */
static void measure_view(prn__terminal *t)
{
    size_t cells = 0;
    t->drawn_lines = 0;
    for (const char *at = t->drawn.data; at != NULL && *at != '\0' && t->drawn_lines < VIEW_LINES; at++) {
        if (*at == '\033') {
            at = strchr(at, 'm');
            if (at == NULL) {
                return;
            }
        } else if (*at == '\n') {
            t->drawn_cells[t->drawn_lines++] = cells;
            cells = 0;
        } else if (((unsigned char)*at & 0xc0) != 0x80) {
            cells++; /* wide characters count once: the view moves up one line too few at most */
        }
    }
}

/* Moves to where the view begins. */
static void take_back(prn__terminal *t, prn__text *out)
{
    size_t columns_, rows, up = 0;
    window(&columns_, &rows);
    for (size_t i = 0; i < t->drawn_lines; i++) {
        up += t->drawn_cells[i] > columns_ ? (t->drawn_cells[i] + columns_ - 1) / columns_ : 1;
    }
    up = up < rows ? up : rows - 1;
    if (up > 0) {
        prn__text_printf(out, "\r\033[%zuA\033[J", up);
    }
    t->drawn_lines = 0;
}

/* What stands on the terminal is left there: something else has been written below it. */
static void forget_view(prn__terminal *t)
{
    prn__text_clear(&t->drawn);
    t->drawn_lines = 0;
}

/* Under mutex. Text that comes above the view, and the view below it, in one call: nothing flickers. */
static void redraw(prn__terminal *t, const char *above)
{
    prn__text out, fresh;
    prn__live_style style = {.is_utf8 = t->is_utf8, .is_coloured = t->is_coloured, .is_stopping = prn__cli_is_stopped(NULL)};
    if (prn__cli_was_continued()) {
        forget_view(t);
    }
    window(&style.columns, &style.rows);
    prn__text_init(&out);
    prn__text_init(&fresh);
    if (t->view != NULL) {
        (void)prn__live_view_print(t->view, &style, &fresh);
    }
    const int is_same = above[0] == '\0' && fresh.data != NULL && t->drawn.data != NULL && strcmp(fresh.data, t->drawn.data) == 0;
    if (!is_same) {
        take_back(t, &out);
        prn__text_puts(&out, above);
        prn__text_puts(&out, fresh.data != NULL && !fresh.failed ? fresh.data : "");
        if (out.data != NULL && !out.failed) {
            write_error(out.data, out.length);
        }
        prn__text_clear(&t->drawn);
        prn__text_puts(&t->drawn, fresh.data != NULL && !fresh.failed ? fresh.data : "");
        measure_view(t);
    }
    prn__text_fini(&fresh);
    prn__text_fini(&out);
}

static void *draw(void *context)
{
    prn__terminal *t = context;
    double looked_s = 0;
    (void)pthread_mutex_lock(&t->mutex);
    while (!t->is_over) {
        struct timespec until;
        if (prn__now_s() - looked_s >= LOOK_EVERY_S) {
            (void)pthread_mutex_unlock(&t->mutex); /* nobody who reports progress waits for a slow disk */
            prn__live_view_look(t->view);
            (void)pthread_mutex_lock(&t->mutex);
            looked_s = prn__now_s();
        }
        if (tcgetpgrp(STDERR_FILENO) == getpgrp() || tcgetpgrp(STDERR_FILENO) < 0) {
            redraw(t, "");
        } else {
            forget_view(t); /* in the background the terminal is somebody else's */
        }
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += REDRAW_EVERY_NS;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&t->wake, &t->mutex, &until);
    }
    (void)pthread_mutex_unlock(&t->mutex);
    return NULL;
}

/* The locale is not asked: the program keeps the C locale's numbers, whatever the environment says. */
static int environment_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && value[0] != '\0') {
            return strcasestr(value, "utf-8") != NULL || strcasestr(value, "utf8") != NULL;
        }
    }
    return 0;
}

int prn__terminal_show(prn__terminal *t, const prn__plan *plan, uint32_t jobs)
{
    const char *no_colour = getenv("NO_COLOR");
    t->is_run = 1;
    t->jobs = jobs;
    if (!t->is_terminal || t->is_quiet || (t->view = prn__live_view_create(plan, jobs)) == NULL) {
        return 0;
    }
    t->is_utf8 = environment_is_utf8();
    t->is_coloured = no_colour == NULL || no_colour[0] == '\0';
    t->is_over = 0;
    t->has_thread = pthread_create(&t->thread, NULL, draw, t) == 0;
    return 1;
}

void prn__terminal_job_process(prn__terminal *t, uint32_t job, long process)
{
    (void)pthread_mutex_lock(&t->mutex);
    if (t->view != NULL) {
        prn__live_view_process(t->view, job, process);
    }
    (void)pthread_mutex_unlock(&t->mutex);
}

void prn__terminal_job_end(prn__terminal *t, uint32_t job)
{
    (void)pthread_mutex_lock(&t->mutex);
    if (t->view != NULL) {
        prn__live_view_end(t->view, job);
    }
    (void)pthread_mutex_unlock(&t->mutex);
}

static void close_view(prn__terminal *t)
{
    if (t->view == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&t->mutex);
    t->is_over = 1;
    (void)pthread_cond_signal(&t->wake);
    (void)pthread_mutex_unlock(&t->mutex);
    if (t->has_thread) {
        (void)pthread_join(t->thread, NULL);
        t->has_thread = 0;
    }
    (void)pthread_mutex_lock(&t->mutex);
    prn__live_view_destroy(t->view);
    t->view = NULL;
    redraw(t, "");
    (void)pthread_mutex_unlock(&t->mutex);
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------------- */

/* Under mutex. */
static void put_line(prn__terminal *t, const char *text)
{
    prn__text out;
    prn__text_init(&out);
    prn__text_puts(&out, t->is_shown ? ERASE : "");
    prn__text_append_safe(&out, text, strlen(text), 0);
    prn__text_puts(&out, "\n");
    prn__text_puts(&out, t->is_shown && t->line.data != NULL ? t->line.data : "");
    if (t->view != NULL) {
        redraw(t, out.data != NULL ? out.data : "");
    } else {
        write_error(out.data != NULL ? out.data : "", out.length);
    }
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
        (void)fprintf(t->log, "%s [%ld] %s: %s\n", when, (long)getpid(), kind, message); /* one write: other runs append too */
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
    (void)pthread_cond_init(&t->wake, NULL);
    t->is_terminal = isatty(STDERR_FILENO) && kind != NULL && strcmp(kind, "dumb") != 0;
    prn__text_init(&t->line);
    prn__text_init(&t->drawn);
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
        prn__text_fini(&t->drawn);
        (void)pthread_cond_destroy(&t->wake);
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

void prn__terminal_job_progress(prn__terminal *t, uint32_t job, const prn__progress *p)
{
    const double now = prn__now_s();
    const uint32_t place = job < LAST_JOB ? job : LAST_JOB - 1;
    (void)pthread_mutex_lock(&t->mutex);
    /* Work without stages comes in many short parts, and waiting in many reports: never a line each. */
    const int is_wait = strcmp(p->phase, "wait") == 0;
    const int is_new = p->stage > 0 && !is_wait &&
                       (p->stage != t->last[place].stage || strncmp(p->phase, t->last[place].phase, sizeof t->last[place].phase - 1) != 0);
    const int is_end = p->stage > 0 && p->step >= p->steps && strcmp(p->phase, "train") == 0;
    const int is_due = now - t->last_s >= (t->is_terminal ? REWRITE_EVERY_S : LINE_EVERY_S);
    if (t->view != NULL) {
        prn__live_view_update(t->view, job, p);
    }
    if (is_new || is_end || (is_due && !t->is_quiet)) {
        (void)snprintf(t->last[place].phase, sizeof t->last[place].phase, "%s", p->phase);
        t->last[place].stage = p->stage;
        t->last_s = now;
        if (is_new || is_end) {
            prn__text line;
            prn__text_init(&line);
            prn__progress_print(p, 0, &line);
            put_log(t, "progress", line.data != NULL ? line.data : "");
            prn__text_fini(&line);
        }
        if (!t->is_quiet && t->view == NULL && !is_wait) { /* the log has said what is waited for */
            put_progress(t, p);
        }
    }
    (void)pthread_mutex_unlock(&t->mutex);
}

void prn__terminal_progress(void *context, const prn__progress *p)
{
    prn__terminal_job_progress(context, 0, p);
}

void prn__terminal_work(prn__terminal *t, const char *phase, const char *what, int64_t done, int64_t all)
{
    const prn__progress progress = {.phase = phase, .label = what, .step = done, .steps = all, .loss = NAN, .learning_rate = NAN, .samples_per_s = NAN,
                                    .data_wait_frac = NAN, .remaining_s = NAN};
    prn__terminal_progress(t, &progress);
}

void prn__terminal_clear(prn__terminal *t)
{
    close_view(t);
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
