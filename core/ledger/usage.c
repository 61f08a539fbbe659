/* core/ledger/usage.c: see usage.h. */
#include "ledger/usage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "ledger/reader.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading which stages are needed");
}

/* Keys of all stages and of all parents that are named, with what they are needed for. UNION drops what was met before, so parents that
 * form a ring end. The runs are a list of numbers made here. */
static const char QUERY[] =
    "WITH RECURSIVE needed(key) AS (SELECT stages.key FROM run_stages JOIN stages ON stages.id = run_stages.stage WHERE run_stages.run %s (%s)"
    " UNION SELECT stages.parent FROM needed JOIN stages ON stages.key = needed.key WHERE stages.parent IS NOT NULL),"
    " known(key) AS (SELECT key FROM stages UNION SELECT key FROM needed)"
    " SELECT known.key, known.key IN (SELECT key FROM needed), stages.parent FROM known LEFT JOIN stages ON stages.key = known.key ORDER BY known.key";

static prn_status read_uses(prn__reader *r, const char *query, prn__stage_uses *uses)
{
    sqlite3_stmt *statement = NULL;
    size_t capacity = 0;
    int row = 0, failed = 0;
    prn__stage_use *stages = NULL;
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error, query, "");
    while (status == PRN_OK && !failed && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        if (uses->count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 64;
            prn__stage_use *more = prn__realloc(stages, capacity * sizeof *stages);
            if (more == NULL) {
                failed = 1;
                break;
            }
            stages = more;
        }
        prn__stage_use *use = &stages[uses->count++];
        use->key = prn__column_text(r, statement, 0, &failed);
        use->is_needed = sqlite3_column_int(statement, 1);
        use->parent = prn__column_text(r, statement, 2, &failed);
    }
    (void)sqlite3_finalize(statement);
    uses->stages = stages;
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

static prn_status load(const char *workspace, const char *how, const int64_t *runs, size_t count, prn__stage_uses **result, prn_error *error)
{
    prn__reader r;
    prn__text list, query;
    *result = NULL;
    prn__stage_uses *uses = prn__alloc(sizeof *uses);
    if (uses == NULL) {
        return no_memory(error);
    }
    prn__arena_init(&uses->memory, 1 << 12);
    prn__text_init(&list);
    prn__text_init(&query);
    for (size_t i = 0; i < count; i++) {
        prn__text_printf(&list, "%s%" PRId64, i > 0 ? "," : "", runs[i]);
    }
    prn__text_printf(&query, QUERY, how, list.data != NULL ? list.data : "");
    prn_status status = list.failed || query.failed ? no_memory(error) : prn__reader_open(workspace, &uses->memory, &r, error);
    if (status == PRN_OK) {
        status = read_uses(&r, query.data, uses);
        prn__reader_close(&r);
    }
    prn__text_fini(&query);
    prn__text_fini(&list);
    if (status != PRN_OK) {
        prn__stage_uses_destroy(uses);
        return status;
    }
    *result = uses;
    return PRN_OK;
}

prn_status prn__stage_uses_load(const char *workspace, const int64_t *forgotten, size_t forgotten_count, prn__stage_uses **uses, prn_error *error)
{
    return load(workspace, "NOT IN", forgotten, forgotten_count, uses, error);
}

prn_status prn__stage_uses_of_run(const char *workspace, int64_t run, prn__stage_uses **uses, prn_error *error)
{
    return load(workspace, "IN", &run, 1, uses, error);
}

static int compare_key(const void *key, const void *use)
{
    return strcmp(key, ((const prn__stage_use *)use)->key);
}

const prn__stage_use *prn__stage_uses_find(const prn__stage_uses *uses, const char *key)
{
    return uses->count > 0 ? bsearch(key, uses->stages, uses->count, sizeof *uses->stages, compare_key) : NULL;
}

void prn__stage_uses_destroy(prn__stage_uses *uses)
{
    if (uses != NULL) {
        prn__free(uses->stages);
        prn__arena_fini(&uses->memory);
        prn__free(uses);
    }
}
