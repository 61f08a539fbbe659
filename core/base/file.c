/* core/base/file.c: see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

static prn_status failed(prn_error *error, const char *path, const char *doing)
{
    int code = errno;
    const char *hint = code == ENOSPC   ? "; free some space and run the same command again"
                       : code == EACCES ? "; check the permissions"
                       : code == EROFS  ? "; the file system is read-only"
                                        : "";
    return prn_error_set(error, code == ENOENT ? PRN_NOT_FOUND : PRN_IO, "%s: cannot %s: %s%s", path, doing, strerror(code), hint);
}

prn_status prn__map_open(const char *path, prn__map *map, prn_error *error)
{
    struct stat info;
    map->data = NULL;
    map->bytes = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return failed(error, path, "open");
    }
    if (fstat(file, &info) != 0) {
        (void)close(file);
        return failed(error, path, "stat");
    }
    if (!S_ISREG(info.st_mode)) {
        (void)close(file);
        return prn_error_set(error, PRN_INVALID, "%s: not a regular file", path);
    }
    if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) {
            (void)close(file);
            return failed(error, path, "map");
        }
        map->data = data;
        map->bytes = (size_t)info.st_size;
    }
    (void)close(file);
    return PRN_OK;
}

void prn__map_close(prn__map *map)
{
    if (map->data != NULL) {
        (void)munmap((void *)(uintptr_t)map->data, map->bytes);
    }
    map->data = NULL;
    map->bytes = 0;
}

prn_status prn__file_read(const char *path, size_t limit, char **data, size_t *bytes, prn_error *error)
{
    struct stat info;
    prn_status status = PRN_OK;
    char *content = NULL;
    size_t used = 0, capacity;
    *data = NULL;
    *bytes = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return failed(error, path, "open");
    }
    if (fstat(file, &info) != 0) {
        status = failed(error, path, "stat");
        goto done;
    }
    if (S_ISDIR(info.st_mode)) {
        status = prn_error_set(error, PRN_INVALID, "%s: is a folder, a file is wanted", path);
        goto done;
    }
    capacity = info.st_size > 0 ? (size_t)info.st_size : 4096;
    if (capacity > limit) {
        status = prn_error_set(error, PRN_INVALID, "%s: has %zu bytes, more than the %zu allowed here", path, capacity, limit);
        goto done;
    }
    content = prn__alloc(capacity + 1);
    while (content != NULL) {
        if (used == capacity) {
            /* the file may have grown, or be a pipe without a size */
            if (capacity >= limit) {
                char extra;
                ssize_t more = read(file, &extra, 1);
                if (more == 0) {
                    break;
                }
                status = prn_error_set(error, PRN_INVALID, "%s: has more than the %zu bytes allowed here", path, limit);
                goto done;
            }
            capacity = capacity * 2 < limit ? capacity * 2 : limit;
            char *grown = prn__realloc(content, capacity + 1);
            if (grown == NULL) {
                prn__free(content);
                content = NULL;
                break;
            }
            content = grown;
        }
        ssize_t got = read(file, content + used, capacity - used);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            status = failed(error, path, "read");
            goto done;
        }
        if (got == 0) {
            break;
        }
        used += (size_t)got;
    }
    if (content == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while reading", path);
        goto done;
    }
    content[used] = '\0';
    *data = content;
    *bytes = used;
    content = NULL;
done:
    prn__free(content);
    (void)close(file);
    return status;
}

struct prn__writer {
    char *path, *temporary;
    int file;
};

static void writer_free(prn__writer *writer)
{
    if (writer != NULL) {
        if (writer->file >= 0) {
            (void)close(writer->file);
        }
        prn__free(writer->path);
        prn__free(writer->temporary);
        prn__free(writer);
    }
}

prn_status prn__writer_open(const char *path, prn__writer **result, prn_error *error)
{
    *result = NULL;
    size_t length = strlen(path);
    prn__writer *writer = prn__alloc(sizeof *writer);
    if (writer == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
    }
    writer->file = -1;
    writer->path = prn__strdup(path);
    writer->temporary = prn__alloc(length + 32);
    if (writer->path == NULL || writer->temporary == NULL) {
        writer_free(writer);
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
    }
    (void)snprintf(writer->temporary, length + 32, "%s.tmp-%ld", path, (long)getpid());
    writer->file = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->file < 0) {
        prn_status status = failed(error, path, "create");
        writer_free(writer);
        return status;
    }
    *result = writer;
    return PRN_OK;
}

prn_status prn__writer_write(prn__writer *writer, const void *data, size_t bytes, prn_error *error)
{
    const char *from = data;
    while (bytes > 0) {
        ssize_t put = write(writer->file, from, bytes < (size_t)1 << 30 ? bytes : (size_t)1 << 30);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return failed(error, writer->path, "write");
        }
        from += put;
        bytes -= (size_t)put;
    }
    return PRN_OK;
}

/* The folder that `path` lies in. */
static void sync_folder(const char *path)
{
    char *folder = prn__path_folder(path);
    if (folder != NULL) {
        int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (file >= 0) {
            (void)fsync(file); /* some file systems refuse to sync a folder; the rename is done all the same */
            (void)close(file);
        }
        prn__free(folder);
    }
}

prn_status prn__writer_commit(prn__writer *writer, prn_error *error)
{
    prn_status status = PRN_OK;
    if (fsync(writer->file) != 0) {
        status = failed(error, writer->path, "sync");
    }
    if (close(writer->file) != 0 && status == PRN_OK) {
        status = failed(error, writer->path, "close");
    }
    writer->file = -1;
    if (status == PRN_OK && rename(writer->temporary, writer->path) != 0) {
        status = failed(error, writer->path, "rename into place");
    }
    if (status == PRN_OK) {
        sync_folder(writer->path);
    } else {
        (void)unlink(writer->temporary);
    }
    writer_free(writer);
    return status;
}

void prn__writer_abort(prn__writer *writer)
{
    if (writer != NULL) {
        (void)unlink(writer->temporary);
        writer_free(writer);
    }
}

prn_status prn__file_write_atomic(const char *path, const void *data, size_t bytes, prn_error *error)
{
    prn__writer *writer;
    prn_status status = prn__writer_open(path, &writer, error);
    if (status != PRN_OK) {
        return status;
    }
    status = prn__writer_write(writer, data, bytes, error);
    if (status != PRN_OK) {
        prn__writer_abort(writer);
        return status;
    }
    return prn__writer_commit(writer, error);
}

prn_status prn__folder_create(const char *path, prn_error *error)
{
    prn_status status = PRN_OK;
    char *copy = prn__strdup(path);
    if (copy == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
    }
    for (char *c = copy + 1; status == PRN_OK; c++) {
        if (*c != '/' && *c != '\0') {
            continue;
        }
        char kept = *c;
        *c = '\0';
        if (mkdir(copy, 0777) == 0) {
            sync_folder(copy); /* or a power cut could take the folder with the synced files in it */
        } else if (errno != EEXIST) {
            status = failed(error, copy, "create the folder");
        }
        *c = kept;
        if (kept == '\0') {
            break;
        }
    }
    if (status == PRN_OK && !prn__folder_exists(path)) {
        status = prn_error_set(error, PRN_CONFLICT, "%s: exists and is not a folder", path);
    }
    prn__free(copy);
    return status;
}

int prn__file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

int prn__folder_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

int64_t prn__file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}

char *prn__path_join(const char *folder, const char *name)
{
    size_t left = strlen(folder), right = strlen(name);
    if (name[0] == '/' || left == 0) {
        return prn__strdup(name);
    }
    char *path = prn__alloc(left + right + 2);
    if (path != NULL) {
        (void)snprintf(path, left + right + 2, "%s%s%s", folder, folder[left - 1] == '/' ? "" : "/", name);
    }
    return path;
}

char *prn__path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return prn__strdup(".");
    }
    size_t length = slash == path ? 1 : (size_t)(slash - path);
    char *folder = prn__alloc(length + 1);
    if (folder != NULL) {
        memcpy(folder, path, length);
    }
    return folder;
}
