/* core/base/file.h: files read whole or mapped, written atomically.
 *
 * Invariants: an atomic write goes to a temporary name in the same folder, is synced, renamed, and the folder is
 * synced; on any failure the old file is untouched and the temporary one removed. Errors name the path and errno's text.
 */
#ifndef PRN_BASE_FILE_H
#define PRN_BASE_FILE_H

#include <perennial/status.h>

typedef struct prn__map {
    const uint8_t *data; /* NULL for an empty file */
    size_t bytes;
} prn__map;

/* Maps a regular file read-only. [any] */
prn_status prn__map_open(const char *path, prn__map *map, prn_error *error);
void prn__map_close(prn__map *map);

/* The whole file, NUL-terminated beyond its end; caller frees with prn__free. Larger than `limit` is PRN_INVALID. [any] */
prn_status prn__file_read(const char *path, size_t limit, char **data, size_t *bytes, prn_error *error);
prn_status prn__file_write_atomic(const char *path, const void *data, size_t bytes, prn_error *error);

/* A file written in parts, then committed (synced and renamed) or dropped. */
typedef struct prn__writer prn__writer;
prn_status prn__writer_open(const char *path, prn__writer **writer, prn_error *error);
prn_status prn__writer_write(prn__writer *writer, const void *data, size_t bytes, prn_error *error);
prn_status prn__writer_commit(prn__writer *writer, prn_error *error); /* closes, also on failure */
void prn__writer_abort(prn__writer *writer);                         /* NULL is allowed */

prn_status prn__folder_create(const char *path, prn_error *error); /* with parents; existing is fine. [any] */
int prn__file_exists(const char *path);   /* regular file. [any] */
int prn__folder_exists(const char *path); /* [any] */
int64_t prn__file_bytes(const char *path); /* -1 when absent. [any] */
/* Joins with one '/', an absolute `name` wins; caller frees with prn__free; NULL when out of memory. [any] */
char *prn__path_join(const char *folder, const char *name);
/* The folder part ("." when none); caller frees with prn__free. [any] */
char *prn__path_folder(const char *path);

#endif
