/* core/ledger/reader.c: see reader.h.
 *
 * The database is opened read-only, so that looking at a workspace that is no workspace creates nothing in it.
 */
#include "ledger/reader.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/file.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading a ledger");
}

void prn__reader_close(prn__reader *r)
{
    (void)sqlite3_close(r->sql.database);
    prn__free(r->path);
}

static prn_status database_open(prn__reader *r, int flags, int64_t *version)
{
    if (sqlite3_open_v2(r->path, &r->sql.database, flags, NULL) != SQLITE_OK) {
        return r->sql.database == NULL ? no_memory(r->error) : prn__sql_failed(&r->sql, r->error);
    }
    (void)sqlite3_busy_timeout(r->sql.database, 30000);
    return prn__sql_run(&r->sql, version, r->error, "PRAGMA user_version", "");
}

prn_status prn__reader_open(const char *workspace, prn__arena *memory, prn__reader *r, prn_error *error)
{
    int64_t version = 0;
    memset(r, 0, sizeof *r);
    r->memory = memory;
    r->workspace = workspace;
    r->error = error;
    r->path = prn__path_join(workspace, "ledger.sqlite");
    if (r->path == NULL) {
        return no_memory(error);
    }
    r->sql.path = r->path;
    if (!prn__file_exists(r->path)) {
        prn_status status = prn_error_set(error, PRN_NOT_FOUND, "%s: there are no results here (no ledger.sqlite); name the folder of a run, such as"
                                          " runs/quickstart, or run the recipe first", workspace);
        prn__free(r->path);
        return status;
    }
    prn_status status = database_open(r, SQLITE_OPEN_READONLY, &version);
    if (status != PRN_OK && r->sql.database != NULL && (sqlite3_errcode(r->sql.database) & 0xff) == SQLITE_READONLY) {
        /* a run was killed while it wrote: its half transaction is undone by the first who may write */
        (void)sqlite3_close(r->sql.database);
        r->sql.database = NULL;
        status = database_open(r, SQLITE_OPEN_READWRITE, &version);
    }
    if (status == PRN_OK && version == 0) {
        status = prn_error_set(error, PRN_NOT_FOUND, "%s: no run is recorded here yet", r->path);
    } else if (status == PRN_OK && (version < 1 || version > PRN__LEDGER_SCHEMA)) {
        status = prn_error_set(error, PRN_VERSION, "%s: its schema is version %" PRId64 ", this program reads version %d", r->path, version,
                               PRN__LEDGER_SCHEMA);
    }
    r->version = version;
    if (status == PRN_OK) { /* everything below sees one state of the ledger, whatever a run writes meanwhile */
        status = prn__sql_run(&r->sql, NULL, error, "BEGIN", "");
    }
    if (status != PRN_OK) {
        prn__reader_close(r);
    }
    return status;
}

const char *prn__column_text(prn__reader *r, sqlite3_stmt *statement, int column, int *failed)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    const char *copy = prn__arena_strdup(r->memory, text != NULL ? text : "");
    *failed |= copy == NULL;
    return copy;
}

double prn__column_real(sqlite3_stmt *statement, int column)
{
    return sqlite3_column_type(statement, column) == SQLITE_NULL ? NAN : sqlite3_column_double(statement, column);
}

prn_status prn__reader_status(const prn__reader *r, int row)
{
    return row >= 0 ? PRN_OK : r->error != NULL && r->error->status != PRN_OK ? (prn_status)r->error->status : PRN_IO;
}
