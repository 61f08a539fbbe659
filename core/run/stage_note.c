/* core/run/stage_note.c: see stage_note.h. */
#include "run/stage_note.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "run/stage_data.h"

enum { NOTE_LIMIT = 1 << 20 };

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading what a stage was made from");
}

/* ---- writing ----------------------------------------------------------------------------------------------------------------- */

static prn_status put_source(prn__execution *x, const prn__plan_source *source, int is_memory, json_t *list, prn_error *error)
{
    const char *digest = NULL;
    prn_status status = prn__data_digest(x, source->time_step, NULL, &digest, error);
    json_t *item = status == PRN_OK ? json_pack("{s:i, s:s, s:I, s:f}", "time_step", (int)source->time_step, "digest", digest, "max_samples",
                                                (json_int_t)source->max_samples, "weight", source->weight)
                                    : NULL;
    if (status == PRN_OK && (item == NULL || (is_memory && json_object_set_new(item, "memory", json_true()) != 0))) {
        status = no_memory(error);
    }
    if (status == PRN_OK && json_array_append(list, item) != 0) {
        status = no_memory(error);
    }
    json_decref(item);
    return status;
}

/* The sets that a finishing stage may choose by: of its name, of all time steps so far. */
static prn_status put_sets(prn__execution *x, const prn__stage *stage, json_t *list, prn_error *error)
{
    const prn__manifest *manifest = x->plan->manifest;
    prn_status status = PRN_OK;
    for (uint32_t t = 1; t <= stage->time_step; t++) {
        for (size_t e = 0; e < manifest->steps[t - 1].evaluation_count && status == PRN_OK; e++) {
            const prn__evaluation_set *set = &manifest->steps[t - 1].evaluations[e];
            char digest[33];
            if (strcmp(set->name, stage->finish_set) != 0 || (status = prn__set_digest(x, t, set, digest, error)) != PRN_OK) {
                continue;
            }
            json_t *item = json_pack("{s:i, s:s, s:s}", "time_step", (int)t, "set", set->name, "digest", digest);
            if (item == NULL || json_array_append_new(list, item) != 0) {
                status = no_memory(error);
            }
        }
    }
    return status;
}

json_t *prn__stage_note_data(prn__execution *x, const prn__stage *stage, prn_error *error)
{
    json_t *list = json_array();
    prn_status status = list != NULL ? PRN_OK : no_memory(error);
    for (uint32_t i = 0; i < stage->source_count && !(stage->hooks & PRN_HOOK_FINISH) && status == PRN_OK; i++) { /* a finishing stage's are its parent's */
        status = put_source(x, &stage->sources[i], 0, list, error);
    }
    for (uint32_t i = 0; i < stage->memory_source_count && status == PRN_OK; i++) {
        status = put_source(x, &stage->memory_sources[i], 1, list, error);
    }
    if (status == PRN_OK && stage->finish_set != NULL) {
        status = put_sets(x, stage, list, error);
    }
    if (status != PRN_OK) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------- */

static prn_status read_note(const char *file, json_t **object, prn_error *error)
{
    char *text = NULL;
    size_t bytes = 0;
    *object = NULL;
    prn_status status = prn__file_read(file, NOTE_LIMIT, &text, &bytes, error);
    if (status == PRN_OK && (*object = json_loadb(text, bytes, 0, NULL)) == NULL) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: is damaged; remove the folder to train the stage again", file);
    }
    prn__free(text);
    return status;
}

prn_status prn__stage_note(prn__execution *x, const prn__stage *stage, const char *field, char target[33], prn_error *error)
{
    const char *folder = prn__execution_folder(x, stage);
    char *file = folder != NULL ? prn__path_join(folder, "stage.json") : NULL;
    json_t *object = NULL;
    target[0] = '\0';
    if (file == NULL) {
        return no_memory(error);
    }
    prn_status status = read_note(file, &object, error);
    if (status == PRN_OK) {
        const char *value = json_string_value(strncmp(field, "kept/", 5) == 0 ? json_object_get(json_object_get(object, "kept"), field + 5)
                                                                              : json_object_get(object, field));
        if (value != NULL && strlen(value) == 32) {
            memcpy(target, value, 33);
        } else {
            status = prn_error_set(error, PRN_CORRUPT, "%s: is damaged (no `%s`); remove the folder to train the stage again", file, field);
        }
    }
    json_decref(object);
    prn__free(file);
    return status;
}

/* What `item` of a note was made from, as it is now; `now` stays empty where that is none of this plan's, is stated by the manifest (then it is in
 * the key), or is not there. */
static prn_status digest_now(prn__execution *x, const json_t *item, char now[33], const char **where, prn_error *error)
{
    const prn__manifest *manifest = x->plan->manifest;
    const json_int_t step = json_integer_value(json_object_get(item, "time_step"));
    const char *set = json_string_value(json_object_get(item, "set")), *digest = NULL;
    int missing = 0;
    prn_status status = PRN_OK;
    now[0] = '\0';
    if (step < 0 || step > (json_int_t)x->plan->step_count || (step == 0 && x->plan->reference == NULL)) {
        return PRN_OK;
    }
    *where = step == 0 ? x->plan->reference->name : manifest->steps[step - 1].name;
    if (set == NULL) {
        if (step > 0 && manifest->steps[step - 1].train.checksum != NULL) {
            return PRN_OK;
        }
        status = prn__data_digest(x, (uint32_t)step, &missing, &digest, error);
        if (status == PRN_OK && !missing) {
            memcpy(now, digest, 33);
        }
        return status;
    }
    for (size_t e = 0; step > 0 && e < manifest->steps[step - 1].evaluation_count; e++) {
        const prn__evaluation_set *found = &manifest->steps[step - 1].evaluations[e];
        if (strcmp(found->name, set) == 0 && found->shards.checksum == NULL) {
            status = prn__set_digest(x, (uint32_t)step, found, now, error);
            if (status == PRN_NOT_FOUND) { /* scoring will say so, where it is to be scored */
                now[0] = '\0';
                status = PRN_OK;
            }
        }
    }
    return status;
}

prn_status prn__check_finished(prn__execution *x, const prn__stage *stage, prn_error *error)
{
    const char *folder = prn__execution_folder(x, stage);
    char *file = folder != NULL ? prn__path_join(folder, "stage.json") : NULL;
    json_t *object = NULL, *item;
    size_t index;
    if (file == NULL) {
        return no_memory(error);
    }
    prn_status status = read_note(file, &object, error);
    json_array_foreach(json_object_get(object, "data"), index, item) {
        const char *stated = json_string_value(json_object_get(item, "digest")), *where = "";
        const char *set = json_string_value(json_object_get(item, "set"));
        char now[33];
        if (status != PRN_OK || stated == NULL || (status = digest_now(x, item, now, &where, error)) != PRN_OK || now[0] == '\0' ||
            strcmp(stated, now) == 0) {
            continue;
        }
        status = set != NULL
                     ? prn_error_set(error, PRN_CONFLICT, "%s: its weights were chosen by another evaluation set '%s' than step '%s' holds now; use another"
                                     " workspace, or remove the folder to choose again (stated checksums in the manifest keep such stages apart)", folder,
                                     set, where)
                     : prn_error_set(error, PRN_CONFLICT, "%s: was trained on other data than %s '%s' holds now; use another workspace, or remove the folder"
                                     " to train the stage again (stated checksums in the manifest keep such stages apart)", folder,
                                     json_integer_value(json_object_get(item, "time_step")) == 0 ? "the reference stream" : "step", where);
    }
    json_decref(object);
    prn__free(file);
    return status;
}

prn_status prn__check_weights(prn__execution *x, const prn__stage *stage, const float *weights, prn_error *error)
{
    char stated[33], digest[33];
    prn_status status = prn__stage_note(x, stage, "weights_digest", stated, error);
    if (status == PRN_OK) {
        prn__digest_format(prn__hash_bytes(weights, (size_t)x->plan->model->flat_elements * sizeof(float)), digest);
        if (strcmp(stated, digest) != 0) {
            status = prn_error_set(error, PRN_CORRUPT, "%s/stages/%s: the weights are not those that were saved there; remove the folder to train the stage"
                                   " again", x->recipe->workspace, stage->key);
        }
    }
    return status;
}
