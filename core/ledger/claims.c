/* core/ledger/claims.c: see claims.h.
 *
 * Locks of open file descriptions (F_OFD_...), not flock: they can be asked about without being taken, and they keep apart two
 * openings by one process. Both work across hosts where the file system passes locks on (NFS does).
 */
#include "ledger/claims.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

static const char LOCK_FILE[] = "lock";
static const char CLAIM_FILE[] = "claim";
static const char PROCESS_FOLDER[] = "processes";
enum { TEXT_BYTES = 320, LISTED = 8 };

struct prn__presence {
    int file;
    char *path;
};

static prn_status no_memory(const char *workspace, prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", workspace);
}

static void host_name(char target[72])
{
    if (gethostname(target, 71) != 0) {
        target[0] = '\0';
    }
    target[71] = '\0';
    for (char *c = target; *c != '\0'; c++) { /* it becomes part of a file's name */
        *c = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '.' ? *c : '-';
    }
}

/* ---- locks of open files ------------------------------------------------------------------------------------------------------ */

/* 1: taken; 0: another one has it; -1: errno says why not. */
static int lock_file(int file, short type)
{
    struct flock lock;
    memset(&lock, 0, sizeof lock); /* all of the file; l_pid must be 0 */
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    for (;;) {
        if (fcntl(file, F_OFD_SETLK, &lock) == 0) {
            return 1;
        }
        if (errno != EINTR) {
            return errno == EAGAIN || errno == EACCES ? 0 : -1;
        }
    }
}

static int is_locked(int file)
{
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Opens and locks `path`, which another process may remove meanwhile. As lock_file; `file` is -1 unless 1 is returned. */
static int open_locked(const char *path, short type, int *file)
{
    for (;;) {
        struct stat mine, named;
        *file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (*file < 0) {
            return -1;
        }
        int taken = lock_file(*file, type), reason = errno;
        if (taken == 1 && fstat(*file, &mine) == 0 && (stat(path, &named) != 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev)) {
            (void)close(*file); /* it was removed between opening and locking */
            continue;
        }
        if (taken != 1) {
            (void)close(*file);
            *file = -1;
            errno = reason;
        }
        return taken;
    }
}

/* ---- what the files say ---------------------------------------------------------------------------------------------------------- */

/* Process, host and recipe, a line each. A failure to write is none: the lock is what counts. */
static void sign(int file, const char *what)
{
    char text[TEXT_BYTES], host[72];
    host_name(host);
    int length = snprintf(text, sizeof text, "%ld\n%s\n%.90s\n", (long)getpid(), host, what != NULL ? what : "");
    if (ftruncate(file, 0) == 0 && length > 0) {
        ssize_t ignored = pwrite(file, text, (size_t)length, 0);
        (void)ignored;
    }
}

static void take_line(const char **at, char *target, size_t bytes)
{
    const char *end = strchr(*at, '\n');
    size_t length = end != NULL ? (size_t)(end - *at) : strlen(*at);
    (void)snprintf(target, bytes, "%.*s", (int)(length < bytes ? length : bytes - 1), *at);
    *at += length + (end != NULL ? 1 : 0);
}

static void read_holder(int file, prn__holder *holder)
{
    char text[TEXT_BYTES], number[24];
    const char *at = text;
    if (holder == NULL) {
        return;
    }
    memset(holder, 0, sizeof *holder);
    ssize_t got = pread(file, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    take_line(&at, number, sizeof number);
    holder->process = strtol(number, NULL, 10);
    take_line(&at, holder->host, sizeof holder->host);
    take_line(&at, holder->what, sizeof holder->what);
}

const char *prn__holder_format(const prn__holder *holder, char *target, size_t bytes)
{
    char host[72];
    int used;
    host_name(host);
    if (holder->process <= 0) {
        (void)snprintf(target, bytes, "another process");
        return target;
    }
    used = snprintf(target, bytes, "process %ld", holder->process);
    if (used > 0 && (size_t)used < bytes && holder->host[0] != '\0' && strcmp(holder->host, host) != 0) {
        used += snprintf(target + used, bytes - (size_t)used, " on %s", holder->host);
    }
    if (used > 0 && (size_t)used < bytes && holder->what[0] != '\0') {
        (void)snprintf(target + used, bytes - (size_t)used, " (recipe '%s')", holder->what);
    }
    return target;
}

/* ---- the workspace ---------------------------------------------------------------------------------------------------------------- */

static prn_status occupied(const char *workspace, int exclusive, prn_error *error)
{
    prn__holder holders[LISTED];
    char list[LISTED * 64], one[320];
    uint32_t count = prn__presence_count(workspace, NULL, holders, LISTED);
    size_t used = 0;
    list[0] = '\0';
    for (uint32_t i = 0; i < count && i < LISTED; i++) {
        int more = snprintf(list + used, sizeof list - used, "%s%.120s", i > 0 ? ", " : "", prn__holder_format(&holders[i], one, sizeof one));
        if (more < 0 || (size_t)more >= sizeof list - used) {
            list[used] = '\0';
            break;
        }
        used += (size_t)more;
    }
    return exclusive ? prn_error_set(error, PRN_CONFLICT, "%s: is in use by %s; wait for the end of what runs there, or stop it", workspace,
                                     count > 0 ? list : "another process")
                     : prn_error_set(error, PRN_CONFLICT, "%s: is being rearranged (perennial gc); run this again when that is done", workspace);
}

prn_status prn__workspace_lock(const char *workspace, int exclusive, int *lock, prn_error *error)
{
    char *path = prn__path_join(workspace, LOCK_FILE);
    prn_status status = PRN_OK;
    *lock = -1;
    if (path == NULL) {
        return no_memory(workspace, error);
    }
    int taken = open_locked(path, exclusive ? F_WRLCK : F_RDLCK, lock);
    if (taken == 0) {
        status = occupied(workspace, exclusive, error);
    } else if (taken < 0) {
        status = prn_error_set(error, PRN_IO, "%s: cannot be created or locked (%s); choose a workspace that can be written", path, strerror(errno));
    }
    prn__free(path);
    return status;
}

void prn__workspace_unlock(int lock)
{
    if (lock >= 0) {
        (void)close(lock);
    }
}

/* ---- claims ---------------------------------------------------------------------------------------------------------------------- */

static char *claim_path(const char *workspace, const char *key)
{
    prn__text text;
    prn__text_init(&text);
    prn__text_printf(&text, "%s/stages/%s/%s", workspace, key, CLAIM_FILE);
    if (text.failed) {
        prn__text_fini(&text);
        return NULL;
    }
    return text.data;
}

prn_status prn__claim_take(const char *workspace, const char *key, const char *what, int *claim, prn__holder *holder, prn_error *error)
{
    char *path = claim_path(workspace, key), *folder = path != NULL ? prn__path_folder(path) : NULL;
    *claim = -1;
    prn_status status = folder != NULL ? prn__folder_create(folder, error) : no_memory(workspace, error);
    if (status == PRN_OK) {
        int taken = open_locked(path, F_WRLCK, claim);
        if (taken > 0) {
            sign(*claim, what);
        } else if (taken < 0) {
            status = prn_error_set(error, PRN_IO, "%s: cannot be created or locked (%s); a run needs a workspace that it can write to", path,
                                   strerror(errno));
        } else if (holder != NULL) {
            int file = open(path, O_RDONLY | O_CLOEXEC);
            memset(holder, 0, sizeof *holder);
            if (file >= 0) {
                read_holder(file, holder);
                (void)close(file);
            }
        }
    }
    prn__free(folder);
    prn__free(path);
    return status;
}

void prn__claim_release(int claim)
{
    if (claim >= 0) {
        (void)close(claim);
    }
}

int prn__claim_is_held(const char *workspace, const char *key, prn__holder *holder)
{
    char *path = claim_path(workspace, key);
    int file = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1, held = 0;
    if (holder != NULL) {
        memset(holder, 0, sizeof *holder);
    }
    if (file >= 0) {
        held = is_locked(file);
        if (held) {
            read_holder(file, holder);
        }
        (void)close(file);
    }
    prn__free(path);
    return held;
}

/* ---- presence -------------------------------------------------------------------------------------------------------------------- */

prn_status prn__presence_enter(const char *workspace, const char *identity, const char *what, prn__presence **result, prn_error *error)
{
    char host[72], name[192];
    prn_status status = PRN_NO_MEMORY;
    *result = NULL;
    prn__presence *presence = prn__alloc(sizeof *presence);
    char *folder = prn__path_join(workspace, PROCESS_FOLDER);
    host_name(host);
    (void)snprintf(name, sizeof name, "%.32s-%s-%ld", identity, host, (long)getpid());
    if (presence == NULL || folder == NULL || (presence->path = prn__path_join(folder, name)) == NULL) {
        status = no_memory(workspace, error);
        goto failed;
    }
    if ((status = prn__folder_create(folder, error)) != PRN_OK) {
        goto failed;
    }
    int taken = open_locked(presence->path, F_WRLCK, &presence->file);
    for (int tries = 0; taken == 0 && tries < 100; tries++) { /* the file of a killed process of this number may be being removed */
        (void)usleep(1000);
        taken = open_locked(presence->path, F_WRLCK, &presence->file);
    }
    if (taken != 1) {
        status = taken == 0 ? prn_error_set(error, PRN_CONFLICT, "%s: is locked by another process; two machines that share a workspace need different"
                                            " host names", presence->path)
                            : prn_error_set(error, PRN_IO, "%s: cannot be created or locked (%s); a run needs a workspace that it can write to",
                                            presence->path, strerror(errno));
        goto failed;
    }
    sign(presence->file, what);
    prn__free(folder);
    *result = presence;
    return PRN_OK;
failed:
    prn__free(folder);
    if (presence != NULL) {
        prn__free(presence->path);
        prn__free(presence);
    }
    return status;
}

void prn__presence_leave(prn__presence *presence)
{
    if (presence != NULL) {
        (void)unlink(presence->path); /* before the lock goes */
        (void)close(presence->file);
        prn__free(presence->path);
        prn__free(presence);
    }
}

/* 1 when the process is alive; else removes its file. */
static int is_alive(const char *path, prn__holder *holder)
{
    struct stat mine, named;
    int file = open(path, O_RDWR | O_CLOEXEC), alive = 0;
    if (file < 0) { /* gone, or not ours to write: then only to be asked about */
        file = open(path, O_RDONLY | O_CLOEXEC);
        alive = file >= 0 && is_locked(file);
    } else if (lock_file(file, F_WRLCK) == 1) {
        if (fstat(file, &mine) == 0 && stat(path, &named) == 0 && mine.st_ino == named.st_ino) {
            (void)unlink(path);
        }
    } else {
        alive = 1;
    }
    if (alive) {
        read_holder(file, holder);
    }
    if (file >= 0) {
        (void)close(file);
    }
    return alive;
}

uint32_t prn__presence_count(const char *workspace, const char *identity, prn__holder *holders, uint32_t capacity)
{
    char *folder = prn__path_join(workspace, PROCESS_FOLDER);
    DIR *directory = folder != NULL ? opendir(folder) : NULL;
    uint32_t count = 0;
    if (directory != NULL) {
        for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
            if (entry->d_name[0] == '.' || (identity != NULL && strncmp(entry->d_name, identity, 32) != 0)) {
                continue;
            }
            char *path = prn__path_join(folder, entry->d_name);
            count += path != NULL && is_alive(path, count < capacity && holders != NULL ? &holders[count] : NULL);
            prn__free(path);
        }
        (void)closedir(directory);
    }
    prn__free(folder);
    return count;
}
