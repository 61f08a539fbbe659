/* A disk that fails: laid under a program with LD_PRELOAD, it counts the calls that change files below FAULT_FOLDER, and does something to
 * the FAULT_AT-th, by FAULT_KIND:
 *   full   from here on the disk is full: a write keeps half of its bytes, what comes after it fails with ENOSPC
 *   once   this call fails with ENOSPC, later ones do not
 *   eio    this call fails with EIO; fsync and unlink are among the calls
 *   short  a write keeps half of its bytes and says so
 *   kill   the process is killed before the call
 *   torn   a write keeps half of its bytes, and the process is killed
 * FAULT_REPORT names a file that gets the number of calls and, behind it, what the faulty one was. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum fault { NONE, FAIL, HALF, DIE, TEAR } fault;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long count, at = -1;
static char folder[512], kind[16], report[512], what[700];
static int is_full, is_ready;

static void ready(void)
{
    if (!is_ready) {
        const char *number = getenv("FAULT_AT"), *place = getenv("FAULT_FOLDER"), *name = getenv("FAULT_KIND"), *file = getenv("FAULT_REPORT");
        at = number != NULL ? atol(number) : -1;
        (void)snprintf(folder, sizeof folder, "%s", place != NULL ? place : "");
        (void)snprintf(kind, sizeof kind, "%s", name != NULL ? name : "");
        (void)snprintf(report, sizeof report, "%s", file != NULL ? file : "");
        is_ready = 1;
    }
}

static void write_report(void)
{
    if (report[0] != '\0') {
        FILE *out = fopen(report, "w"); /* stdio's own calls do not come through here */
        if (out != NULL) {
            (void)fprintf(out, "%ld %s\n", count, what);
            (void)fclose(out);
        }
    }
}

static __attribute__((destructor)) void done(void)
{
    ready();
    write_report();
}

/* What happens to this call. `grows`: it needs room on the disk. */
static fault next(const char *call, const char *path, int grows, int is_write)
{
    fault f = NONE;
    (void)pthread_mutex_lock(&mutex);
    ready();
    if (folder[0] != '\0' && strncmp(path, folder, strlen(folder)) == 0) {
        count++;
        if (count == at) {
            (void)snprintf(what, sizeof what, "%s %s", call, path + strlen(folder));
            f = strcmp(kind, "full") == 0    ? (grows ? (is_write ? HALF : FAIL) : NONE)
                : strcmp(kind, "once") == 0  ? (grows ? FAIL : NONE)
                : strcmp(kind, "eio") == 0   ? FAIL
                : strcmp(kind, "short") == 0 ? (is_write ? HALF : NONE)
                : strcmp(kind, "torn") == 0  ? (is_write ? TEAR : DIE)
                                             : DIE;
            is_full = strcmp(kind, "full") == 0;
            if (f == DIE || f == TEAR) {
                write_report();
            }
        } else if (is_full && grows) {
            f = FAIL;
        }
    }
    (void)pthread_mutex_unlock(&mutex);
    if (f == DIE) {
        (void)kill(getpid(), SIGKILL);
    }
    if (f == FAIL) {
        errno = strcmp(kind, "eio") == 0 ? EIO : ENOSPC;
    }
    return f;
}

static fault next_of_file(const char *call, int file, int grows, int is_write)
{
    char link[64], path[512];
    const int saved = errno;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    errno = saved;
    return next(call, path, grows, is_write);
}

/* Relative paths are of the working folder. */
static fault next_of_path(const char *call, const char *path, int grows)
{
    char whole[1024];
    if (path[0] == '/') {
        return next(call, path, grows, 0);
    }
    if (getcwd(whole, 500) == NULL) {
        return NONE;
    }
    (void)snprintf(whole + strlen(whole), 512, "/%s", path);
    return next(call, whole, grows, 0);
}

#define REAL(type, name) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

ssize_t write(int file, const void *bytes, size_t length)
{
    fault f = next_of_file("write", file, 1, 1);
    if (f == FAIL) {
        return -1;
    }
    ssize_t put = REAL(ssize_t (*)(int, const void *, size_t), "write")(file, bytes, (f == HALF || f == TEAR) && length > 1 ? length / 2 : length);
    if (f == TEAR) {
        (void)kill(getpid(), SIGKILL);
    }
    return put;
}

static ssize_t put_at(int file, const void *bytes, size_t length, off_t offset)
{
    fault f = next_of_file("pwrite", file, 1, 1);
    if (f == FAIL) {
        return -1;
    }
    ssize_t put = REAL(ssize_t (*)(int, const void *, size_t, off_t), "pwrite")(file, bytes, (f == HALF || f == TEAR) && length > 1 ? length / 2 : length,
                                                                               offset);
    if (f == TEAR) {
        (void)kill(getpid(), SIGKILL);
    }
    return put;
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset)
{
    return put_at(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t offset)
{
    return put_at(file, bytes, length, offset);
}

int fsync(int file)
{
    return next_of_file("fsync", file, 0, 0) == FAIL ? -1 : REAL(int (*)(int), "fsync")(file);
}

int fdatasync(int file)
{
    return next_of_file("fdatasync", file, 0, 0) == FAIL ? -1 : REAL(int (*)(int), "fdatasync")(file);
}

int ftruncate(int file, off_t length)
{
    return next_of_file("ftruncate", file, 0, 0) == FAIL ? -1 : REAL(int (*)(int, off_t), "ftruncate")(file, length);
}

int ftruncate64(int file, off_t length)
{
    return next_of_file("ftruncate", file, 0, 0) == FAIL ? -1 : REAL(int (*)(int, off_t), "ftruncate")(file, length);
}

int rename(const char *from, const char *to)
{
    return next_of_path("rename", to, 1) == FAIL ? -1 : REAL(int (*)(const char *, const char *), "rename")(from, to);
}

int unlink(const char *path)
{
    return next_of_path("unlink", path, 0) == FAIL ? -1 : REAL(int (*)(const char *), "unlink")(path);
}

int mkdir(const char *path, mode_t mode)
{
    return next_of_path("mkdir", path, 1) == FAIL ? -1 : REAL(int (*)(const char *, mode_t), "mkdir")(path, mode);
}

static int open_with(const char *name, const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT) != 0 && access(path, F_OK) != 0 && next_of_path("create", path, 1) == FAIL) {
        return -1;
    }
    return REAL(int (*)(const char *, int, ...), name)(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open_with("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open_with("open64", path, flags, mode);
}
