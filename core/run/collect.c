/* core/run/collect.c: see collect.h. */
#include "run/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/text.h"
#include "data/manifest.h"
#include "ledger/claims.h"
#include "ledger/results.h"
#include "ledger/usage.h"
#include "run/ledger.h"
#include "run/stage_files.h"

enum { KEY_DIGITS = 32, DEPTH_LIMIT = 32, SHARD_LIMIT = 1 << 24 };
static const char REMOVED_SUFFIX[] = ".removed"; /* a stage folder on its way out; its parts may be gone already */
static const char TEMPORARY_MARK[] = ".tmp-";    /* before the number of the process that writes it */

const char *const prn__rubbish_names[PRN__RUBBISH_KINDS] = {"stage", "checkpoint", "damaged", "temporary", "index", "optimizer"};

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while looking for what can go");
}

/* ---- folders ------------------------------------------------------------------------------------------------------------------- */

static int64_t bytes_below(int parent, const char *name, int depth)
{
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = folder >= 0 ? fdopendir(folder) : NULL;
    int64_t bytes = 0;
    if (directory == NULL) {
        if (folder >= 0) {
            (void)close(folder);
        }
        return 0;
    }
    for (const struct dirent *entry; depth < DEPTH_LIMIT && (entry = readdir(directory)) != NULL;) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || fstatat(folder, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        bytes += S_ISREG(info.st_mode) ? (int64_t)info.st_size : S_ISDIR(info.st_mode) ? bytes_below(folder, entry->d_name, depth + 1) : 0;
    }
    (void)closedir(directory);
    return bytes;
}

int64_t prn__folder_bytes(const char *path)
{
    return bytes_below(AT_FDCWD, path, 0);
}

/* 1 when nothing is left of it; else errno says why. Links are removed, not followed. */
static int remove_below(int parent, const char *name, int depth)
{
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = folder >= 0 ? fdopendir(folder) : NULL;
    int gone = 1;
    if (directory == NULL) {
        int reason = errno;
        if (folder >= 0) {
            (void)close(folder);
        }
        errno = reason;
        return reason == ENOENT;
    }
    for (const struct dirent *entry; gone && (entry = readdir(directory)) != NULL;) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (fstatat(folder, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode)) {
            errno = ELOOP;
            gone = depth < DEPTH_LIMIT && remove_below(folder, entry->d_name, depth + 1);
        } else {
            gone = unlinkat(folder, entry->d_name, 0) == 0 || errno == ENOENT;
        }
    }
    int reason = errno;
    (void)closedir(directory);
    errno = reason;
    return gone && (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT);
}

static int is_key(const char *name, size_t length)
{
    return length == KEY_DIGITS && strspn(name, "0123456789abcdef") >= KEY_DIGITS;
}

static int ends_in(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);
    return length > tail && strcmp(name + length - tail, suffix) == 0;
}

/* Left by a process that is not there any more. Names of a number that is in use again stay until the next time. */
static int is_left_over(const char *name)
{
    const char *mark = strstr(name, TEMPORARY_MARK), *next = mark;
    char *end = NULL;
    while (next != NULL && (next = strstr(next + 1, TEMPORARY_MARK)) != NULL) {
        mark = next;
    }
    if (mark == NULL) {
        return 0;
    }
    const char *digits = mark + sizeof TEMPORARY_MARK - 1;
    long process = strtol(digits, &end, 10);
    if (end == digits || *end != '\0' || process <= 0 || process > INT32_MAX) {
        return 0;
    }
    return process != (long)getpid() && kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

/* ---- looking --------------------------------------------------------------------------------------------------------------------- */

typedef struct search {
    const char *workspace;
    const prn__collect_options *options;
    prn__stage_uses *uses;
    prn__collection *found;
    size_t capacity;
    prn__digest *shards; /* of the paths of kept runs' shards that are there */
    size_t shard_count, shard_capacity;
    const char *root;    /* of the manifest at hand */
    int all_known;       /* 0: a manifest cannot be read, so no index is known to be of no use */
} search;

static prn_status add(search *s, prn__rubbish_kind kind, int64_t bytes, prn_error *error, const char *folder, const char *name)
{
    if (s->found->count == s->capacity) {
        size_t capacity = s->capacity > 0 ? 2 * s->capacity : 64;
        prn__rubbish *more = prn__realloc(s->found->items, capacity * sizeof *more);
        if (more == NULL) {
            return no_memory(error);
        }
        s->found->items = more;
        s->capacity = capacity;
    }
    const char *path = folder[0] != '\0' ? prn__arena_printf(&s->found->memory, "%s/%s", folder, name) : prn__arena_strdup(&s->found->memory, name);
    if (path == NULL) {
        return no_memory(error);
    }
    s->found->items[s->found->count++] = (prn__rubbish){.kind = kind, .path = path, .bytes = bytes};
    s->found->bytes += bytes;
    return PRN_OK;
}

/* Calls `visit` for each regular file and folder in a folder of the workspace; one that is not there has none. */
static prn_status each(search *s, const char *folder, prn_status (*visit)(search *s, const char *folder, const char *name, const struct stat *info,
                                                                         prn_error *error), prn_error *error)
{
    char *path = prn__path_join(s->workspace, folder[0] != '\0' ? folder : ".");
    DIR *directory = path != NULL ? opendir(path) : NULL;
    prn_status status = path != NULL ? PRN_OK : no_memory(error);
    if (directory == NULL && path != NULL && errno != ENOENT) {
        status = prn_error_set(error, PRN_IO, "%s: cannot be read (%s)", path, strerror(errno));
    }
    for (const struct dirent *entry; status == PRN_OK && directory != NULL && (entry = readdir(directory)) != NULL;) {
        struct stat info;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))) {
            status = visit(s, folder, entry->d_name, &info, error);
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    prn__free(path);
    return status;
}

/* By what lies on the disk, not by what the ledger says: a stage whose folder is gone is trained again. */
static int is_continued(const search *s, const char *key)
{
    for (size_t i = 0; i < s->uses->count; i++) {
        const prn__stage_use *use = &s->uses->stages[i];
        if (use->is_needed && strcmp(use->parent, key) == 0 && !prn__stage_is_done(s->workspace, use->key)) {
            return 1;
        }
    }
    return 0;
}

static prn_status look_at_file(search *s, const char *folder, const char *name, const struct stat *info, prn_error *error)
{
    const char *key = strrchr(folder, '/') + 1;
    const int is_done = prn__stage_is_done(s->workspace, key);
    prn__rubbish_kind kind = PRN__RUBBISH_KINDS;
    if (!S_ISREG(info->st_mode)) {
        return PRN_OK;
    }
    if (is_left_over(name)) {
        kind = PRN__RUBBISH_TEMPORARY;
    } else if (ends_in(name, ".damaged")) {
        kind = PRN__RUBBISH_DAMAGED;
    } else if (is_done && strncmp(name, "checkpoint-", 11) == 0 && ends_in(name, ".safetensors")) {
        kind = PRN__RUBBISH_CHECKPOINT;
    } else if (is_done && s->options->with_optimizer && strcmp(name, "optimizer.safetensors") == 0 && !is_continued(s, key)) {
        kind = PRN__RUBBISH_OPTIMIZER;
    }
    if (kind == PRN__RUBBISH_KINDS) {
        s->found->kept_bytes += (int64_t)info->st_size;
        return PRN_OK;
    }
    return add(s, kind, (int64_t)info->st_size, error, folder, name);
}

static prn_status look_at_stage(search *s, const char *folder, const char *name, const struct stat *info, prn_error *error)
{
    const size_t length = strlen(name), tail = sizeof REMOVED_SUFFIX - 1;
    const int is_removed = length == KEY_DIGITS + tail && is_key(name, length - tail) && strcmp(name + KEY_DIGITS, REMOVED_SUFFIX) == 0;
    if (!S_ISDIR(info->st_mode) || (!is_key(name, length) && !is_removed)) {
        return PRN_OK; /* no name of this program's */
    }
    const prn__stage_use *use = is_removed ? NULL : prn__stage_uses_find(s->uses, name);
    char *path = prn__arena_printf(&s->found->memory, "%s/%s", folder, name);
    if (path == NULL) {
        return no_memory(error);
    }
    if (use != NULL && use->is_needed) {
        s->found->kept_stages++;
        return each(s, path, look_at_file, error);
    }
    char *whole = prn__path_join(s->workspace, path);
    if (whole == NULL) {
        return no_memory(error);
    }
    int64_t bytes = prn__folder_bytes(whole);
    prn__free(whole);
    return add(s, PRN__RUBBISH_STAGE, bytes, error, folder, name);
}

static prn_status look_at_root(search *s, const char *folder, const char *name, const struct stat *info, prn_error *error)
{
    return S_ISREG(info->st_mode) && is_left_over(name) ? add(s, PRN__RUBBISH_TEMPORARY, (int64_t)info->st_size, error, folder, name) : PRN_OK;
}

/* ---- indexes of shards ------------------------------------------------------------------------------------------------------------ */

static int compare_digests(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(prn__digest));
}

static prn_status note_shard(void *context, const char *item, prn_error *error)
{
    search *s = context;
    char *path = prn__path_join(s->root, item);
    if (path == NULL) {
        return no_memory(error);
    }
    prn_status status = PRN_OK;
    if (prn__file_exists(path)) {
        if (s->shard_count == s->shard_capacity) {
            size_t capacity = s->shard_capacity > 0 ? 2 * s->shard_capacity : 256;
            prn__digest *more = prn__realloc(s->shards, capacity * sizeof *more);
            if (more == NULL) {
                prn__free(path);
                return no_memory(error);
            }
            s->shards = more;
            s->shard_capacity = capacity;
        }
        s->shards[s->shard_count++] = prn__hash_bytes(path, strlen(path));
    }
    prn__free(path);
    return status;
}

static prn_status note_manifest(search *s, const char *path, prn_error *error)
{
    prn_error problem = PRN_ERROR_INIT;
    prn__manifest *manifest = NULL;
    prn_status status = prn__manifest_load(path, &manifest, &problem);
    if (status != PRN_OK) {
        s->all_known = 0;
        return status == PRN_NO_MEMORY ? no_memory(error) : PRN_OK;
    }
    s->root = manifest->root;
    for (size_t t = 0; t < manifest->step_count && status == PRN_OK; t++) {
        const prn__manifest_step *step = &manifest->steps[t];
        status = prn__brace_expand(step->train.pattern, SHARD_LIMIT, note_shard, s, &problem);
        for (size_t e = 0; e < step->evaluation_count && status == PRN_OK; e++) {
            status = prn__brace_expand(step->evaluations[e].shards.pattern, SHARD_LIMIT, note_shard, s, &problem);
        }
    }
    prn__manifest_destroy(manifest);
    if (status != PRN_OK && status != PRN_NO_MEMORY) {
        s->all_known = 0;
        status = PRN_OK;
    }
    return status == PRN_OK ? PRN_OK : no_memory(error);
}

static int is_forgotten(const prn__collect_options *options, int64_t run)
{
    for (size_t i = 0; i < options->forgotten_count; i++) {
        if (options->forgotten[i] == run) {
            return 1;
        }
    }
    return 0;
}

static prn_status note_shards(search *s, prn_error *error)
{
    prn__run_list *list = NULL;
    prn_status status = prn__run_list_load(s->workspace, &list, error);
    s->all_known = 1;
    for (size_t i = 0; status == PRN_OK && i < list->count && s->all_known; i++) {
        int is_known = is_forgotten(s->options, list->runs[i].id);
        for (size_t k = 0; k < i && !is_known; k++) {
            is_known = !is_forgotten(s->options, list->runs[k].id) && strcmp(list->runs[k].manifest_path, list->runs[i].manifest_path) == 0;
        }
        if (!is_known) {
            status = note_manifest(s, list->runs[i].manifest_path, error);
        }
    }
    prn__run_list_destroy(list);
    if (s->shard_count > 0) {
        qsort(s->shards, s->shard_count, sizeof *s->shards, compare_digests);
    }
    return status;
}

static prn_status look_at_index(search *s, const char *folder, const char *name, const struct stat *info, prn_error *error)
{
    if (!S_ISREG(info->st_mode)) {
        return PRN_OK;
    }
    if (is_left_over(name)) {
        return add(s, PRN__RUBBISH_TEMPORARY, (int64_t)info->st_size, error, folder, name);
    }
    if (!s->all_known || !is_key(name, strcspn(name, ".")) || strcmp(name + KEY_DIGITS, ".index") != 0) {
        return PRN_OK;
    }
    char half[KEY_DIGITS / 2 + 1];
    prn__digest digest;
    (void)snprintf(half, sizeof half, "%.16s", name);
    digest.high = strtoull(half, NULL, 16);
    (void)snprintf(half, sizeof half, "%.16s", name + KEY_DIGITS / 2);
    digest.low = strtoull(half, NULL, 16);
    if (s->shard_count > 0 && bsearch(&digest, s->shards, s->shard_count, sizeof *s->shards, compare_digests) != NULL) {
        return PRN_OK;
    }
    return add(s, PRN__RUBBISH_INDEX, (int64_t)info->st_size, error, folder, name);
}

/* ---- all of it --------------------------------------------------------------------------------------------------------------------- */

static int compare_items(const void *a, const void *b)
{
    return strcmp(((const prn__rubbish *)a)->path, ((const prn__rubbish *)b)->path);
}

prn_status prn__collection_create(const char *workspace, const prn__collect_options *options, prn__collection **result, prn_error *error)
{
    search s = {.workspace = workspace, .options = options};
    *result = NULL;
    s.found = prn__alloc(sizeof *s.found);
    if (s.found == NULL) {
        return no_memory(error);
    }
    prn__arena_init(&s.found->memory, 1 << 12);
    prn_status status = prn__stage_uses_load(workspace, options->forgotten, options->forgotten_count, &s.uses, error);
    if (status == PRN_OK) {
        status = each(&s, "", look_at_root, error);
    }
    if (status == PRN_OK) {
        status = each(&s, "stages", look_at_stage, error);
    }
    if (status == PRN_OK && (status = note_shards(&s, error)) == PRN_OK) {
        status = each(&s, "cache", look_at_index, error);
    }
    if (status == PRN_OK && s.found->count > 0) {
        qsort(s.found->items, s.found->count, sizeof *s.found->items, compare_items);
    }
    prn__stage_uses_destroy(s.uses);
    prn__free(s.shards);
    if (status != PRN_OK) {
        prn__collection_destroy(s.found);
        return status;
    }
    *result = s.found;
    return PRN_OK;
}

void prn__collection_destroy(prn__collection *collection)
{
    if (collection != NULL) {
        prn__free(collection->items);
        prn__arena_fini(&collection->memory);
        prn__free(collection);
    }
}

/* The folder goes under another name first, in one step: no one takes half a stage for a whole one. */
static int remove_stage(const char *path)
{
    if (ends_in(path, REMOVED_SUFFIX)) {
        return remove_below(AT_FDCWD, path, 0);
    }
    size_t bytes = strlen(path) + sizeof REMOVED_SUFFIX;
    char *aside = prn__alloc(bytes);
    if (aside == NULL) {
        errno = ENOMEM;
        return 0;
    }
    (void)snprintf(aside, bytes, "%s%s", path, REMOVED_SUFFIX);
    /* one that an earlier collection left may be in the way */
    int gone = remove_below(AT_FDCWD, aside, 0) && (rename(path, aside) == 0 || errno == ENOENT) && remove_below(AT_FDCWD, aside, 0);
    int reason = errno;
    prn__free(aside);
    errno = reason;
    return gone;
}

static prn_status remove_items(const char *workspace, prn__collection *collection, prn_error *error)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < collection->count; i++) {
        char *path = prn__path_join(workspace, collection->items[i].path);
        if (path == NULL) {
            collection->count = i;
            collection->bytes = bytes;
            return no_memory(error);
        }
        int gone = collection->items[i].kind == PRN__RUBBISH_STAGE ? remove_stage(path) : unlink(path) == 0 || errno == ENOENT;
        if (!gone) {
            (void)prn_error_set(error, PRN_IO, "%s: cannot be removed (%s); what came before it is gone, and nothing that is kept was touched: see to it and"
                                " collect again", path, strerror(errno));
            collection->count = i;
            collection->bytes = bytes;
        }
        prn__free(path);
        if (!gone) {
            return PRN_IO;
        }
        bytes += collection->items[i].bytes;
    }
    return PRN_OK;
}

prn_status prn__collect(const char *workspace, const prn__collect_options *options, prn__collection **result, prn_error *error)
{
    prn__ledger *ledger = NULL;
    int lock = -1;
    *result = NULL;
    prn_status status = prn__collection_create(workspace, options, result, error); /* no ledger: nothing is made here */
    prn__collection_destroy(*result);
    *result = NULL;
    if (status == PRN_OK) {
        status = prn__workspace_lock(workspace, 1, &lock, error);
    }
    if (status == PRN_OK) { /* again, now that nothing changes any more */
        status = prn__collection_create(workspace, options, result, error);
    }
    if (status == PRN_OK && (status = prn__ledger_open(workspace, &ledger, error)) == PRN_OK) {
        status = prn__ledger_collect(ledger, options->forgotten, options->forgotten_count, error);
    }
    prn__ledger_close(ledger);
    if (status == PRN_OK) {
        status = remove_items(workspace, *result, error);
    } else {
        prn__collection_destroy(*result);
        *result = NULL;
    }
    prn__workspace_unlock(lock);
    return status;
}
