/* core/cli/jobs.c: see jobs.h. */
#include "cli/jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "plugin/topology.h"
#include "report/json.h"

enum { JOB_LIMIT = 256, POLL_MS = 200, REMEMBERED = 16 };
static const double TELL_EVERY_S = 0.1;

typedef enum message_kind { SAYS_PROGRESS = 1, SAYS_LOG = 2, SAYS_END = 3 } message_kind;

/* Between two processes of one program file; small enough that a pipe takes it whole. */
typedef struct message {
    uint32_t kind;
    int32_t number; /* log level, or the status at the end */
    prn__progress progress; /* its texts are below */
    char phase[16];
    char text[2048];
} message;
_Static_assert(sizeof(message) <= 4096, "a message is written in one piece");

/* ---- the worker ------------------------------------------------------------------------------------------------------------------ */

typedef struct worker {
    int pipe;
    uint32_t index, count, device;
    char choices[PRN__CLI_CHOICES_BYTES], sweep[33]; /* of which combination of which sweep; "-" for a recipe that is none */
    double told_s;
    char phase[16];
    uint32_t stage;
    int is_alone; /* nobody listens any more */
} worker;

static int read_spec(const char *text, worker *w)
{
    memset(w, 0, sizeof *w);
    return text != NULL &&
           sscanf(text, "%d,%" SCNu32 ",%" SCNu32 ",%" SCNu32 ",%191[-0-9.],%32s", &w->pipe, &w->index, &w->count, &w->device, w->choices, w->sweep) == 6 &&
           w->pipe > 2 && w->count >= 1 && w->count <= JOB_LIMIT && w->index < w->count && w->device <= 4096;
}

int prn__jobs_is_worker(const prn__arguments *arguments)
{
    return prn__arguments_value(arguments, "worker") != NULL;
}

uint32_t prn__jobs_threads(const prn__arguments *arguments)
{
    const uint32_t threads = (uint32_t)prn__arguments_integer(arguments, "threads", 0);
    worker w;
    if (read_spec(prn__arguments_value(arguments, "worker"), &w)) {
        return threads == 0 ? 0 : threads / w.count > 0 ? threads / w.count : 1; /* 0: of the share that it was started on */
    }
    return prn__arguments_integer(arguments, "jobs", 1) > 1 ? 1 : threads; /* the one that leads computes nothing */
}

static void tell(worker *w, const message *m)
{
    const char *at = (const char *)m;
    size_t left = sizeof *m;
    while (left > 0 && !w->is_alone) {
        ssize_t put = write(w->pipe, at, left);
        if (put < 0 && errno != EINTR) {
            w->is_alone = 1;
        }
        at += put > 0 ? put : 0;
        left -= put > 0 ? (size_t)put : 0;
    }
}

static void tell_log(void *context, prn_log_level level, const char *text)
{
    message m;
    memset(&m, 0, sizeof m);
    m.kind = SAYS_LOG;
    m.number = (int32_t)level;
    (void)snprintf(m.text, sizeof m.text, "%s", text);
    tell(context, &m); /* a write of this size is never torn by another thread's */
}

static void tell_progress(void *context, const prn__progress *progress)
{
    worker *w = context;
    message m;
    const double now = prn__now_s();
    const int is_new = progress->stage != w->stage || strncmp(progress->phase, w->phase, sizeof w->phase - 1) != 0 || progress->step >= progress->steps;
    if (!is_new && now - w->told_s < TELL_EVERY_S) {
        return;
    }
    w->told_s = now;
    w->stage = progress->stage;
    (void)snprintf(w->phase, sizeof w->phase, "%s", progress->phase);
    memset(&m, 0, sizeof m);
    m.kind = SAYS_PROGRESS;
    m.progress = *progress;
    m.progress.phase = m.progress.label = NULL;
    (void)snprintf(m.phase, sizeof m.phase, "%s", progress->phase);
    (void)snprintf(m.text, sizeof m.text, "%s", progress->label != NULL ? progress->label : "");
    tell(w, &m);
}

static int worker_should_stop(void *context)
{
    const worker *w = context;
    return w->is_alone || prn__cli_is_stopped(NULL);
}

int prn__jobs_work(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    prn__plan *plan = NULL;
    worker w;
    message end;
    if (!read_spec(prn__arguments_value(arguments, "worker"), &w) || fcntl(w.pipe, F_SETFD, FD_CLOEXEC) != 0) {
        (void)prn_error_set(&error, PRN_INVALID, "--worker is for the program's own use; see --jobs");
        return prn__cli_usage(cli, &error);
    }
    prn__cli_catch_signals_as(1, 0);
    prn__log_set_sink(tell_log, &w);
    const prn__run_options options = {
        .progress = tell_progress, .progress_context = &w, .should_stop = worker_should_stop, .should_leave = worker_should_stop,
        .stop_context = &w, .joins = 1, .device = w.device,
    };
    prn_status status = prn__cli_recipe_at(cli, arguments, prn__arguments_at(arguments, 0), w.choices, w.sweep, &recipe, &error);
    if (status == PRN_OK) {
        status = prn__plan_create(recipe, cli->registry, &plan, &error);
    }
    if (status == PRN_OK) {
        status = prn__run_execute(plan, cli->registry, &options, &error);
    }
    memset(&end, 0, sizeof end);
    end.kind = SAYS_END;
    end.number = (int32_t)status;
    (void)snprintf(end.text, sizeof end.text, "%s", status == PRN_OK ? "" : error.message);
    tell(&w, &end);
    prn__log_set_sink(NULL, NULL);
    (void)close(w.pipe);
    prn__plan_destroy(plan);
    if (recipe != NULL) {
        prn__recipe_destroy(recipe);
    }
    return status == PRN_OK ? PRN__EXIT_DONE : status == PRN_INTERRUPTED ? PRN__EXIT_INTERRUPTED : PRN__EXIT_FAILED;
}

/* ---- starting workers ------------------------------------------------------------------------------------------------------------ */

typedef struct job {
    pid_t process; /* 0: not there */
    int pipe;      /* -1: closed */
    message incoming;
    size_t got;
    char doing[384]; /* "stage 3/11: time step ..." */
    int has_ended;   /* it said how */
    prn_status ended;
    char message[2048];
} job;

typedef struct lead {
    prn__cli *cli;
    prn__plan *plan;
    job *jobs;
    uint32_t count, alive;
    uint32_t device_count;  /* 0: nothing to choose */
    prn__topology *topology;
    prn__topology_share *shares; /* (count) */
    int is_bound;
    int told;               /* 1: asked to save and stop; 2: killed */
    uint32_t done, stopped, killed; /* workers that ended so */
    int last_signal;
    prn_status failure;
    char message[2200];
    uint64_t said[REMEMBERED]; /* digests of what workers have warned of lately: all of them find the same */
    uint32_t said_count;
} lead;

/* The backend's devices, where it has several and the recipe does not say which. */
static uint32_t count_devices(prn__registry *registry, const prn__recipe *recipe)
{
    enum { MOST = 64 };
    const int is_auto = strcmp(recipe->backend, "auto") == 0;
    const prn_backend *backend = NULL;
    prn_error ignored = PRN_ERROR_INIT;
    prn_device_info found[MOST];
    uint32_t count = 0;
    int has_option = 0;
    if (prn__registry_backend(registry, is_auto ? "cuda" : recipe->backend, &backend, NULL, &ignored) != PRN_OK) {
        return 0;
    }
    for (uint32_t i = 0; i < backend->option_count; i++) {
        has_option |= strcmp(prn__option_at(backend->options, i)->name, "device") == 0;
    }
    for (size_t i = 0; i < recipe->backend_option_count; i++) {
        has_option &= strcmp(recipe->backend_options[i].name, "device") != 0;
    }
    memset(found, 0, sizeof found);
    for (int i = 0; i < MOST; i++) {
        found[i].struct_size = sizeof found[i];
    }
    if (!has_option || backend->devices(prn__registry_host(registry), found, MOST, &count, &ignored) != PRN_OK) {
        return 0;
    }
    return count > 1 ? count : 0;
}

static uint32_t device_of(const lead *l, uint32_t index)
{
    return l->device_count > 0 ? index % l->device_count + 1 : 0;
}

/* JSON for the run's environment: what each job computes on. */
static char *describe(const lead *l)
{
    prn__text text;
    prn__text_init(&text);
    for (uint32_t j = 0; j < l->count; j++) {
        prn__text_puts(&text, j > 0 ? ",{\"processors\":[" : "[{\"processors\":[");
        for (uint32_t i = 0; l->is_bound && i < l->shares[j].processor_count; i++) {
            prn__text_printf(&text, "%s%" PRIu32, i > 0 ? "," : "", l->shares[j].processors[i]);
        }
        prn__text_puts(&text, "]");
        if (l->device_count > 0) {
            prn__text_printf(&text, ",\"device\":%" PRIu32, device_of(l, j) - 1);
        }
        prn__text_puts(&text, "}");
    }
    prn__text_puts(&text, "]");
    if (text.failed) {
        prn__text_fini(&text);
        return NULL;
    }
    return text.data;
}

static prn_status share_machine(lead *l, prn_error *error)
{
    int are_disjoint = 0;
    prn_error ignored = PRN_ERROR_INIT;
    l->shares = prn__alloc_array(l->count, sizeof *l->shares);
    if (l->shares == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    if (prn__topology_create(0, NULL, &l->topology, &ignored) != PRN_OK) {
        prn__log(PRN_LOG_WARNING, "the jobs are not bound to cores: %s", ignored.message);
        return PRN_OK;
    }
    prn_status status = prn__topology_split(l->topology, l->count, l->shares, &are_disjoint, error);
    l->is_bound = status == PRN_OK && l->topology->allowed_core_count > 0;
    if (l->is_bound && !are_disjoint) {
        prn__log(PRN_LOG_WARNING, "%" PRIu32 " jobs on %" PRIu32 " cores: some share one, and will be slow; --jobs %" PRIu32 " would not", l->count,
                 l->topology->allowed_core_count, l->topology->allowed_core_count);
    }
    return status;
}

/* In the new process, between fork and exec: nothing but system calls. */
static void become_worker(const lead *l, uint32_t index, pid_t parent, char **argv)
{
    if (l->is_bound) {
        cpu_set_t set;
        CPU_ZERO(&set);
        for (uint32_t i = 0; i < l->shares[index].processor_count; i++) {
            if (l->shares[index].processors[i] < CPU_SETSIZE) {
                CPU_SET((size_t)l->shares[index].processors[i], &set);
            }
        }
        (void)sched_setaffinity(0, sizeof set, &set); /* binding is a wish */
    }
    (void)signal(SIGINT, SIG_IGN); /* from its first moment: see prn__cli_catch_signals_as */
    (void)signal(SIGHUP, SIG_IGN);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent) {
        (void)execv("/proc/self/exe", argv);
    }
    _exit(127);
}

static prn_status start_worker(lead *l, uint32_t index, prn_error *error)
{
    int ends[2] = {-1, -1};
    char spec[384], choices[PRN__CLI_CHOICES_BYTES];
    const prn__recipe_sweep *sweep = l->plan->recipe->sweep;
    const pid_t parent = getpid();
    char **argv = prn__alloc_array((size_t)l->cli->argc + 2, sizeof *argv);
    if (argv == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    if (pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(ends[1], F_SETFD, 0) != 0) {
        goto failed;
    }
    (void)snprintf(spec, sizeof spec, "--worker=%d,%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%s,%s", ends[1], index, l->count, device_of(l, index),
                   prn__cli_choices(l->plan->recipe, choices), sweep != NULL ? sweep->identity : "-");
    for (int i = 0, at = 0; i < l->cli->argc; i++) { /* behind the command's name: what follows "--" are no options */
        argv[at++] = l->cli->argv[i];
        if (i == 1) {
            argv[at++] = spec;
        }
    }
    pid_t process = fork();
    if (process == 0) {
        become_worker(l, index, parent, argv);
    }
    if (process < 0) {
        goto failed;
    }
    (void)close(ends[1]);
    prn__free(argv);
    l->jobs[index].process = process;
    l->jobs[index].pipe = ends[0];
    l->alive++;
    prn__terminal_job_process(l->cli->terminal, index, (long)process);
    return PRN_OK;
failed:
    (void)prn_error_set(error, PRN_IO, "job %" PRIu32 " cannot be started: %s", index + 1, strerror(errno));
    if (ends[0] >= 0) {
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
    prn__free(argv);
    return PRN_IO;
}

/* ---- leading --------------------------------------------------------------------------------------------------------------------- */

static void signal_all(const lead *l, int number)
{
    for (uint32_t j = 0; j < l->count; j++) {
        if (l->jobs[j].process > 0) {
            (void)kill(l->jobs[j].process, number);
        }
    }
}

static int is_new(lead *l, const char *text)
{
    const uint64_t digest = prn__hash_bytes(text, strlen(text)).low;
    for (uint32_t i = 0; i < REMEMBERED && i < l->said_count; i++) {
        if (l->said[i] == digest) {
            return 0;
        }
    }
    l->said[l->said_count++ % REMEMBERED] = digest;
    return 1;
}

static void hear(lead *l, uint32_t index)
{
    job *j = &l->jobs[index];
    message *m = &j->incoming;
    m->phase[sizeof m->phase - 1] = m->text[sizeof m->text - 1] = '\0';
    if (m->kind == SAYS_PROGRESS) {
        m->progress.phase = m->phase;
        m->progress.label = m->text;
        if (m->progress.stage > 0) {
            (void)snprintf(j->doing, sizeof j->doing, "stage %" PRIu32 "/%" PRIu32 ": %.300s", m->progress.stage, l->plan->stage_count, m->text);
        }
        prn__terminal_job_progress(l->cli->terminal, index, &m->progress);
    } else if (m->kind == SAYS_LOG) {
        prn__log(m->number < PRN_LOG_WARNING || is_new(l, m->text) ? (prn_log_level)m->number : PRN_LOG_DEBUG, "job %" PRIu32 ": %s", index + 1,
                 m->text);
    } else if (m->kind == SAYS_END) {
        j->has_ended = 1;
        j->ended = (prn_status)m->number;
        (void)snprintf(j->message, sizeof j->message, "%s", m->text);
    }
}

static void listen_to(lead *l, uint32_t index)
{
    job *j = &l->jobs[index];
    for (;;) {
        ssize_t got = read(j->pipe, (char *)&j->incoming + j->got, sizeof j->incoming - j->got);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            (void)close(j->pipe);
            j->pipe = -1;
        }
        if (got <= 0) {
            return;
        }
        j->got += (size_t)got;
        if (j->got == sizeof j->incoming) {
            j->got = 0;
            hear(l, index);
        }
    }
}

static void note_end(lead *l, uint32_t index, int code)
{
    job *j = &l->jobs[index];
    if (j->pipe >= 0) {
        listen_to(l, index); /* what it said last */
    }
    if (j->pipe >= 0) {
        (void)close(j->pipe);
        j->pipe = -1;
    }
    j->process = 0;
    l->alive--;
    prn__terminal_job_end(l->cli->terminal, index);
    if (WIFSIGNALED(code)) {
        const int number = WTERMSIG(code);
        l->killed++;
        l->last_signal = number;
        if (l->told == 0) {
            prn__log(PRN_LOG_WARNING, "job %" PRIu32 " was ended by signal %d (%s)%s%s; %s", index + 1, number, strsignal(number),
                     j->doing[0] != '\0' ? " at " : "", j->doing, l->alive > 0 ? "the others go on and take over what it did" : "nothing is lost that was saved");
        }
    } else if (WEXITSTATUS(code) == PRN__EXIT_DONE) {
        l->done++;
    } else if (WEXITSTATUS(code) == PRN__EXIT_INTERRUPTED) {
        l->stopped++;
        prn__log(PRN_LOG_INFO, "job %" PRIu32 ": %s", index + 1, j->message);
    } else if (l->failure == PRN_OK) {
        l->failure = j->has_ended && j->ended != PRN_OK ? j->ended : PRN_INTERNAL;
        (void)snprintf(l->message, sizeof l->message, "job %" PRIu32 ": %s", index + 1,
                       j->has_ended ? j->message : WEXITSTATUS(code) == 127 ? "the program could not be started again" : "it ended without a reason");
        if (l->alive > 0 && l->told == 0) {
            prn__log(PRN_LOG_WARNING, "%s; the others save and stop", l->message);
            l->told = 1;
            signal_all(l, SIGTERM);
        }
    } else if (j->has_ended && strcmp(j->message, l->message) != 0) {
        prn__log(PRN_LOG_WARNING, "job %" PRIu32 ": %s", index + 1, j->message);
    }
}

static void reap(lead *l)
{
    for (uint32_t j = 0; j < l->count; j++) {
        int code = 0;
        if (l->jobs[j].process > 0 && waitpid(l->jobs[j].process, &code, WNOHANG) == l->jobs[j].process) {
            note_end(l, j, code);
        }
    }
}

static void attend(lead *l)
{
    struct pollfd *waiting = prn__alloc_array(l->count, sizeof *waiting);
    uint32_t *whose = prn__alloc_array(l->count, sizeof *whose);
    while (l->alive > 0) {
        nfds_t count = 0;
        for (uint32_t j = 0; j < l->count && waiting != NULL && whose != NULL; j++) {
            if (l->jobs[j].pipe >= 0) {
                waiting[count] = (struct pollfd){.fd = l->jobs[j].pipe, .events = POLLIN};
                whose[count++] = j;
            }
        }
        int ready = poll(waiting, count, POLL_MS);
        for (nfds_t i = 0; i < count && ready > 0; i++) {
            if (waiting[i].revents != 0) {
                listen_to(l, whose[i]);
            }
        }
        const int asked = prn__cli_stop_count();
        if (asked > 0 && l->told == 0) {
            l->told = 1;
            signal_all(l, SIGTERM);
        }
        if (asked > 1 && l->told == 1) {
            l->told = 2;
            signal_all(l, SIGKILL);
        }
        reap(l);
    }
    prn__free(waiting);
    prn__free(whose);
}

static prn_status conclude(const lead *l, prn_error *error)
{
    if (l->failure != PRN_OK) {
        return prn_error_set(error, l->failure, "%s", l->message);
    }
    if (l->done > 0) { /* a worker that ends well has seen everything done, whoever did it */
        return PRN_OK;
    }
    if (l->told > 0 || l->stopped > 0) {
        return prn_error_set(error, PRN_INTERRUPTED, "stopped, with %s saved; the same command goes on from there",
                             l->told == 2 ? "what the last checkpoints held" : "everything");
    }
    return prn_error_set(error, PRN_INTERNAL, "all jobs were ended by signals, the last one by signal %d (%s); where that is the system's lack of memory, ask"
                         " for fewer --jobs; the same command goes on from the last checkpoints", l->last_signal, strsignal(l->last_signal));
}

prn_status prn__jobs_lead(prn__cli *cli, prn__plan *plan, uint32_t jobs, int64_t *run, prn_error *error)
{
    uint32_t missing = 0;
    char *description = NULL;
    prn__lead *record = NULL;
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        missing += !plan->stages[i].is_done;
    }
    lead l = {.cli = cli, .plan = plan, .count = jobs < missing ? jobs : missing > 0 ? missing : 1};
    l.count = l.count < JOB_LIMIT ? l.count : JOB_LIMIT;
    l.jobs = prn__alloc_array(l.count, sizeof *l.jobs);
    l.device_count = count_devices(cli->registry, plan->recipe);
    prn_status status = l.jobs != NULL ? share_machine(&l, error) : prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    if (status == PRN_OK && (description = describe(&l)) == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    if (status == PRN_OK) {
        status = prn__lead_open(plan, cli->registry, description, &record, error);
    }
    if (status == PRN_OK) {
        *run = prn__lead_run(record);
        prn__cli_catch_signals_as(0, prn__terminal_show(cli->terminal, plan, l.count));
        for (uint32_t j = 0; j < l.count; j++) {
            l.jobs[j].pipe = -1;
        }
        for (uint32_t j = 0; j < l.count && status == PRN_OK; j++) {
            status = start_worker(&l, j, error);
        }
        if (status != PRN_OK) { /* those that were started save and stop */
            l.told = 1;
            signal_all(&l, SIGTERM);
        }
        attend(&l);
        status = status == PRN_OK ? conclude(&l, error) : status;
        prn__terminal_clear(cli->terminal);
        prn_error own = PRN_ERROR_INIT;
        prn_status closed = prn__lead_close(record, status, status == PRN_OK ? "" : error->message, status == PRN_OK ? error : &own);
        status = status == PRN_OK ? closed : status;
    }
    prn__topology_destroy(l.topology);
    prn__free(l.shares);
    prn__free(l.jobs);
    prn__free(description);
    return status;
}
