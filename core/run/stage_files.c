/* core/run/stage_files.c: see stage_files.h. */
#include "run/stage_files.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "model/safetensors.h"

static const char CHECKPOINT_PREFIX[] = "checkpoint-";
static const char CHECKPOINT_SUFFIX[] = ".safetensors";
static const char OPTIMIZER_FILE[] = "optimizer.safetensors";
static const char STAGE_FILE[] = "stage.json";

prn_status prn__stage_state_init(prn__stage_state *state, int64_t flat_elements, prn_error *error)
{
    memset(state, 0, sizeof *state);
    state->last_loss = NAN;
    state->flat_elements = flat_elements;
    state->weights = prn__alloc_array((size_t)flat_elements, sizeof(float));
    state->m = prn__alloc_array((size_t)flat_elements, sizeof(float));
    state->v = prn__alloc_array((size_t)flat_elements, sizeof(float));
    if (state->weights == NULL || state->m == NULL || state->v == NULL) {
        prn__stage_state_fini(state);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for %" PRId64 " weights and their optimizer state; use a smaller model", flat_elements);
    }
    return PRN_OK;
}

prn_status prn__stage_state_widen(prn__stage_state *state, prn_error *error)
{
    if (state->wide == NULL) {
        state->wide = prn__alloc_array((size_t)state->flat_elements, 3 * sizeof(double));
    }
    return state->wide != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "no memory for the state of %" PRId64 " weights in fp64",
                                                        state->flat_elements);
}

void prn__stage_state_fini(prn__stage_state *state)
{
    prn__free(state->wide);
    prn__free(state->weights);
    prn__free(state->m);
    prn__free(state->v);
    memset(state, 0, sizeof *state);
}

char *prn__stage_folder(const char *workspace, const char *key)
{
    char *stages = prn__path_join(workspace, "stages");
    char *folder = stages != NULL ? prn__path_join(stages, key) : NULL;
    prn__free(stages);
    return folder;
}

int prn__stage_is_done(const char *workspace, const char *key)
{
    char *folder = prn__stage_folder(workspace, key);
    char *file = folder != NULL ? prn__path_join(folder, STAGE_FILE) : NULL;
    int done = file != NULL && prn__file_exists(file);
    prn__free(file);
    prn__free(folder);
    return done;
}

/* ---- tensors with a digest ------------------------------------------------------------------------------------------------ */

enum { PART_COUNT = 3 };
static const char *const part_names[PART_COUNT] = {"m", "v", "weights"};

/* What a file holds: part 2, the weights, only in checkpoints; unrounded only there, too. */
static void *part_of(const prn__stage_state *state, int part, int is_checkpoint)
{
    float *const narrow[PART_COUNT] = {state->m, state->v, state->weights};
    static const int place[PART_COUNT] = {1, 2, 0}; /* in `wide` */
    return is_checkpoint && state->wide != NULL ? (void *)(state->wide + place[part] * state->flat_elements) : (void *)narrow[part];
}

static size_t part_bytes(const prn__stage_state *state, int is_checkpoint)
{
    return (size_t)state->flat_elements * (is_checkpoint && state->wide != NULL ? sizeof(double) : sizeof(float));
}

/* Binds the tensors to the counters and to the stage: a checkpoint of another stage, or one patched together, is refused. */
static prn_status state_digest(const char *identity, const prn__stage_state *state, int is_checkpoint, char digest[33], prn_error *error)
{
    char numbers[96];
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while hashing a checkpoint");
    }
    (void)snprintf(numbers, sizeof numbers, "%" PRId64 " %" PRId64 " %.17g %.17g", state->step, state->updates, state->seconds, state->last_loss);
    prn__hasher_field(hasher, "stage", identity);
    prn__hasher_field(hasher, "numbers", numbers);
    if (is_checkpoint && state->micro_batch > 0) {
        (void)snprintf(numbers, sizeof numbers, "%" PRId64 " %" PRId64, state->micro_batch, state->micro_since);
        prn__hasher_field(hasher, "micro_batch", numbers);
    }
    for (int i = 0; i < (is_checkpoint ? PART_COUNT : 2); i++) {
        prn__hasher_update(hasher, part_of(state, i, is_checkpoint), part_bytes(state, is_checkpoint));
    }
    prn__digest_format(prn__hasher_digest(hasher), digest);
    prn__hasher_destroy(hasher);
    return PRN_OK;
}

static prn_status state_save(const char *path, const char *identity, const prn__stage_state *state, int is_checkpoint, prn_error *error)
{
    char digest[33], step[24], updates[24], seconds[40], loss[40], micro[24], since[24];
    prn__st_tensor tensors[PART_COUNT];
    size_t count = 0;
    prn_status status = state_digest(identity, state, is_checkpoint, digest, error);
    if (status != PRN_OK) {
        return status;
    }
    memset(tensors, 0, sizeof tensors);
    for (; count < (is_checkpoint ? (size_t)PART_COUNT : 2u); count++) {
        tensors[count].name = part_names[count];
        tensors[count].type = is_checkpoint && state->wide != NULL ? PRN__ST_F64 : PRN__ST_F32;
        tensors[count].rank = 1;
        tensors[count].shape[0] = state->flat_elements;
        tensors[count].data = part_of(state, (int)count, is_checkpoint);
        tensors[count].bytes = part_bytes(state, is_checkpoint);
    }
    (void)snprintf(step, sizeof step, "%" PRId64, state->step);
    (void)snprintf(updates, sizeof updates, "%" PRId64, state->updates);
    (void)snprintf(seconds, sizeof seconds, "%.17g", state->seconds);
    (void)snprintf(loss, sizeof loss, "%.17g", state->last_loss);
    (void)snprintf(micro, sizeof micro, "%" PRId64, state->micro_batch);
    (void)snprintf(since, sizeof since, "%" PRId64, state->micro_since);
    const int has_micro = is_checkpoint && state->micro_batch > 0;
    const char *const metadata[] = {"format", "perennial-state/1", "stage", identity, "step", step, "updates", updates, "seconds", seconds, "last_loss",
                                    loss, "digest", digest, has_micro ? "micro_batch" : NULL, micro, "micro_since", since, NULL};
    return prn__safetensors_save(path, tensors, count, metadata, error);
}

static int read_number(const prn__safetensors *file, const char *name, double *real, int64_t *integer)
{
    const char *text = prn__safetensors_metadata(file, name);
    char *end = NULL;
    if (text == NULL || text[0] == '\0') {
        return 0;
    }
    errno = 0;
    if (integer != NULL) {
        *integer = strtoll(text, &end, 10);
        return errno == 0 && *end == '\0' && *integer >= 0;
    }
    *real = strtod(text, &end);
    return *end == '\0';
}

/* Reads into `state` (already initialised); on failure its content is unspecified. */
static prn_status state_load(const char *path, const char *identity, int is_checkpoint, prn__stage_state *state, prn_error *error)
{
    prn__safetensors *file = NULL;
    char digest[33];
    const prn__st_type type = is_checkpoint && state->wide != NULL ? PRN__ST_F64 : PRN__ST_F32;
    const size_t bytes = part_bytes(state, is_checkpoint);
    prn_status status = prn__safetensors_open(path, &file, error);
    if (status != PRN_OK) {
        return status;
    }
    for (int i = 0; i < (is_checkpoint ? PART_COUNT : 2); i++) {
        const prn__st_tensor *tensor = prn__safetensors_find(file, part_names[i]);
        if (tensor == NULL || tensor->type != type || tensor->bytes != bytes) {
            status = prn_error_set(error, PRN_CORRUPT, "%s: has no %s tensor '%s' of %" PRId64 " numbers", path, type == PRN__ST_F64 ? "fp64" : "fp32",
                                   part_names[i], state->flat_elements);
            goto done;
        }
        memcpy(part_of(state, i, is_checkpoint), tensor->data, bytes);
    }
    const char *stated = prn__safetensors_metadata(file, "digest"), *owner = prn__safetensors_metadata(file, "stage");
    if (stated == NULL || owner == NULL || !read_number(file, "step", NULL, &state->step) || !read_number(file, "updates", NULL, &state->updates) ||
        !read_number(file, "seconds", &state->seconds, NULL) || !read_number(file, "last_loss", &state->last_loss, NULL)) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: lacks its stage, step, updates or digest", path);
        goto done;
    }
    if (is_checkpoint && (!read_number(file, "micro_batch", NULL, &state->micro_batch) || !read_number(file, "micro_since", NULL, &state->micro_since))) {
        state->micro_batch = state->micro_since = 0;
    }
    if (strcmp(owner, identity) != 0) {
        const size_t key = strcspn(identity, ".");
        status = strncmp(owner, identity, key) == 0 && owner[key] == '.' && identity[key] == '.'
                     ? prn_error_set(error, PRN_CONFLICT, "%s: was trained on other data than the stream holds now, or from other weights of its parent; put"
                                     " the data back, or remove the folder to train the stage from its beginning", path)
                     : prn_error_set(error, PRN_CORRUPT, "%s: belongs to another stage", path);
        goto done;
    }
    if ((status = state_digest(identity, state, is_checkpoint, digest, error)) != PRN_OK) {
        goto done;
    }
    if (strcmp(stated, digest) != 0) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: its bytes do not match its digest", path);
    }
done:
    prn__safetensors_close(file);
    return status;
}

/* ---- checkpoints ----------------------------------------------------------------------------------------------------------- */

/* The step in "checkpoint-<step>.safetensors", -1 for other names. */
static int64_t checkpoint_step(const char *name)
{
    size_t prefix = sizeof CHECKPOINT_PREFIX - 1;
    if (strncmp(name, CHECKPOINT_PREFIX, prefix) != 0 || name[prefix] < '0' || name[prefix] > '9') {
        return -1;
    }
    char *end = NULL;
    errno = 0;
    int64_t step = strtoll(name + prefix, &end, 10);
    return errno == 0 && strcmp(end, CHECKPOINT_SUFFIX) == 0 ? step : -1;
}

/* The latest checkpoint below `below`, -1 when there is none; `count` of all of them. */
static int64_t latest_below(const char *folder, int64_t below, int *count)
{
    int64_t best = -1;
    DIR *directory = opendir(folder);
    *count = 0;
    if (directory == NULL) {
        return -1;
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        int64_t step = checkpoint_step(entry->d_name);
        *count += step >= 0;
        if (step >= 0 && step < below && step > best) {
            best = step;
        }
    }
    (void)closedir(directory);
    return best;
}

static char *checkpoint_path(const char *folder, int64_t step)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s%" PRId64 "%s", CHECKPOINT_PREFIX, step, CHECKPOINT_SUFFIX);
    return prn__path_join(folder, name);
}

/* Removes checkpoints below `keep_from`. */
static void remove_checkpoints(const char *folder, int64_t keep_from)
{
    int count;
    for (int64_t step = latest_below(folder, keep_from, &count); step >= 0; step = latest_below(folder, step, &count)) {
        char *path = checkpoint_path(folder, step);
        if (path != NULL) {
            (void)unlink(path);
        }
        prn__free(path);
    }
}

prn_status prn__checkpoint_save(const char *folder, const char *identity, const prn__stage_state *state, prn_error *error)
{
    int count;
    char *path = checkpoint_path(folder, state->step);
    if (path == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", folder);
    }
    prn_status status = state_save(path, identity, state, 1, error);
    prn__free(path);
    if (status != PRN_OK) {
        return prn_error_context(error, status, "saving a checkpoint failed (the one before is intact; free some space and run the same command again)");
    }
    int64_t before = latest_below(folder, state->step, &count);
    if (before > 0) {
        remove_checkpoints(folder, before);
    }
    return PRN_OK;
}

prn_status prn__checkpoint_load(const char *folder, const char *identity, prn__stage_state *state, int *found, prn_error *error)
{
    int count;
    *found = 0;
    for (int64_t step = latest_below(folder, INT64_MAX, &count); step >= 0; step = latest_below(folder, step, &count)) {
        prn_error problem = PRN_ERROR_INIT;
        char *path = checkpoint_path(folder, step);
        char *aside = path != NULL ? prn__alloc(strlen(path) + 16) : NULL;
        if (aside == NULL) {
            prn__free(path);
            return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", folder);
        }
        prn_status status = state_load(path, identity, 1, state, &problem);
        if (status == PRN_OK && state->step != step) {
            status = prn_error_set(&problem, PRN_CORRUPT, "%s: holds step %" PRId64, path, state->step);
        }
        const int is_usable_later = status == PRN_NO_MEMORY || status == PRN_CONFLICT || status == PRN_IO; /* lack of memory or rights, not damage */
        if (status == PRN_OK) {
            *found = 1;
        } else if (!is_usable_later) {
            prn__log(PRN_LOG_WARNING, "a checkpoint cannot be used and is left aside, going on from the one before: %s", problem.message);
            (void)snprintf(aside, strlen(path) + 16, "%s.damaged", path);
            (void)rename(path, aside);
        }
        prn__free(path);
        prn__free(aside);
        if (*found) {
            return PRN_OK;
        }
        if (is_usable_later) {
            return status == PRN_IO ? prn_error_set(error, status, "%s; where it cannot be made readable, remove it: the checkpoint before it is taken then",
                                                    problem.message)
                                    : prn_error_set(error, status, "%s", problem.message);
        }
    }
    return PRN_OK;
}

/* ---- finished stages ------------------------------------------------------------------------------------------------------ */

prn_status prn__stage_finish(const char *folder, const char *key, const prn__model *model, const prn__stage_state *state, const char *description,
                             prn_error *error)
{
    char *optimizer = prn__path_join(folder, OPTIMIZER_FILE), *file = prn__path_join(folder, STAGE_FILE);
    prn_status status = PRN_NO_MEMORY;
    if (optimizer == NULL || file == NULL) {
        (void)prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", folder);
        goto done;
    }
    if ((status = prn__model_save(model, folder, state->weights, error)) != PRN_OK ||
        (status = state_save(optimizer, key, state, 0, error)) != PRN_OK ||
        (status = prn__file_write_atomic(file, description, strlen(description), error)) != PRN_OK) {
        (void)prn_error_context(error, status, "saving the finished stage failed (its last checkpoint is intact; run the same command again)");
        goto done;
    }
    remove_checkpoints(folder, INT64_MAX);
done:
    prn__free(optimizer);
    prn__free(file);
    return status;
}

prn_status prn__stage_load(const char *folder, const char *key, const prn__model *model, int optimizer, prn__stage_state *state, prn_error *error)
{
    prn_status status = prn__model_load(model, folder, state->weights, error);
    if (status == PRN_OK && optimizer) {
        char *path = prn__path_join(folder, OPTIMIZER_FILE);
        status = path != NULL ? state_load(path, key, 0, state, error) : prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", folder);
        prn__free(path);
    }
    return status;
}

void prn__stage_sweep(const char *folder)
{
    DIR *directory = opendir(folder);
    int is_done = 0;
    if (directory == NULL) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strstr(entry->d_name, ".tmp-") != NULL) {
            char *path = prn__path_join(folder, entry->d_name);
            if (path != NULL) {
                (void)unlink(path);
            }
            prn__free(path);
        }
        is_done |= strcmp(entry->d_name, STAGE_FILE) == 0;
    }
    (void)closedir(directory);
    if (is_done) {
        remove_checkpoints(folder, INT64_MAX);
    }
}
