/* core/run/attempt.c: see attempt.h. */
#include "run/attempt.h"

#include <jansson.h>
#include <stdlib.h>

#include "run/record.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while recording a run");
}

/* What a worker found out, laid over what the attempt's leader recorded: the device, and digests that are new. */
static char *merge(const char *recorded, const char *found)
{
    json_t *whole = json_loads(recorded, 0, NULL), *part = json_loads(found, 0, NULL);
    char *text = NULL, *copy = NULL;
    if (whole != NULL && part != NULL) {
        json_t *data = json_object_get(whole, "data"), *device = json_object_get(part, "device"), *digest;
        size_t index;
        if (device != NULL) { /* and what it computes with, which the leader does not */
            (void)json_object_set(whole, "device", device);
            (void)json_object_set(whole, "threads", json_object_get(part, "threads"));
        }
        json_array_foreach(json_object_get(part, "data"), index, digest) {
            if (index >= json_array_size(data)) {
                (void)json_array_append(data, digest);
            } else if (json_is_string(digest)) {
                (void)json_array_set(data, index, digest);
            }
        }
        text = json_dumps(whole, JSON_COMPACT);
        copy = prn__strdup(text);
        free(text); /* jansson's own allocator */
    }
    json_decref(whole);
    json_decref(part);
    return copy;
}

static char *with_jobs(char *environment, const char *jobs)
{
    json_t *whole = environment != NULL ? json_loads(environment, 0, NULL) : NULL;
    char *text = NULL, *copy = NULL;
    prn__free(environment);
    if (whole != NULL && json_object_set_new(whole, "jobs", json_loads(jobs, 0, NULL)) == 0) {
        text = json_dumps(whole, JSON_COMPACT);
        copy = prn__strdup(text);
        free(text);
    }
    json_decref(whole);
    return copy;
}

/* Inside a transaction. */
static prn_status record(prn__attempt *a, const prn__device *device, const char *const *digests, prn_error *error)
{
    char *environment = prn__record_environment(a->plan, a->registry, device, digests), *recorded = NULL;
    prn_status status = environment != NULL ? PRN_OK : no_memory(error);
    if (status == PRN_OK && a->joins) {
        status = prn__ledger_environment_get(a->ledger, a->run, &recorded, error);
        char *merged = status == PRN_OK ? merge(recorded, environment) : NULL;
        prn__free(environment);
        environment = merged;
        status = status == PRN_OK && environment == NULL ? no_memory(error) : status;
    }
    if (status == PRN_OK) {
        status = prn__ledger_environment(a->ledger, a->run, environment, error);
    }
    prn__free(recorded);
    prn__free(environment);
    return status;
}

prn_status prn__attempt_begin(prn__attempt *a, const prn__device *device, const char *const *digests, const char *jobs, prn_error *error)
{
    const prn__recipe *recipe = a->plan->recipe;
    char *resolved = prn__record_recipe(recipe), *environment = prn__record_environment(a->plan, a->registry, device, digests);
    if (jobs != NULL) {
        environment = with_jobs(environment, jobs);
    }
    prn_status status = resolved != NULL && environment != NULL ? PRN_OK : no_memory(error);
    if (status == PRN_OK) {
        prn__record_identity(a->plan, resolved, a->identity);
        (void)prn__presence_count(recipe->workspace, NULL, NULL, 0); /* takes away what killed processes left */
        status = prn__ledger_begin(a->ledger, error);
    }
    if (status == PRN_OK) {
        status = prn__presence_enter(recipe->workspace, a->identity, recipe->name, &a->presence, error);
    }
    if (status == PRN_OK) {
        const prn__run_record entry = {.identity = a->identity, .environment = environment, .resolved = resolved, .joins = a->joins};
        status = prn__ledger_run_begin(a->ledger, a->plan, &entry, &a->run, error);
    }
    if (status == PRN_OK && a->joins) {
        status = record(a, device, digests, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(a->ledger, error);
    }
    prn__ledger_rollback(a->ledger);
    if (status != PRN_OK) {
        prn__presence_leave(a->presence);
        a->presence = NULL;
        a->run = 0;
    }
    prn__free(resolved);
    prn__free(environment);
    return status;
}

prn_status prn__attempt_complete(prn__attempt *a, const prn__device *device, const char *const *digests, prn_error *error)
{
    prn_status status = prn__ledger_begin(a->ledger, error);
    if (status == PRN_OK) {
        status = record(a, device, digests, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(a->ledger, error);
    }
    prn__ledger_rollback(a->ledger);
    return status;
}

prn_status prn__attempt_end(prn__attempt *a, prn_status how, const char *message, prn_error *error)
{
    if (a->run == 0) {
        return PRN_OK;
    }
    prn_status status = prn__ledger_begin(a->ledger, error);
    prn__presence_leave(a->presence); /* also when the ledger cannot be written */
    a->presence = NULL;
    /* Whatever is left to do, others do; when nothing is left, the run is done, whoever else is about to say so. */
    const int says_so = (how == PRN_OK && !a->joins) || prn__presence_count(a->plan->recipe->workspace, a->identity, NULL, 0) == 0;
    if (status == PRN_OK && says_so) {
        status = prn__ledger_run_end(a->ledger, a->run, how == PRN_OK ? "done" : how == PRN_INTERRUPTED ? "interrupted" : "failed",
                                     how == PRN_OK ? "" : message, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(a->ledger, error);
    }
    prn__ledger_rollback(a->ledger);
    a->run = 0;
    return status;
}
