/* core/ledger/sql.c: see sql.h. */
#include "ledger/sql.h"

#include <stdarg.h>

#include "base/pool.h"

prn_status prn__sql_failed(const prn__sql *sql, prn_error *error)
{
    int code = sqlite3_errcode(sql->database) & 0xff;
    const char *text = sqlite3_errmsg(sql->database);
    switch (code) {
    case SQLITE_NOMEM:
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", sql->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return prn_error_set(error, PRN_CORRUPT, "%s: this is no ledger, or a damaged one (%s); move it away and run again: finished stages are kept"
                             " and evaluated anew", sql->path, text);
    case SQLITE_FULL:
        return prn_error_set(error, PRN_IO, "%s: the disk is full; free some space and run the same command again", sql->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return prn_error_set(error, PRN_CONFLICT, "%s: another program keeps the ledger locked; close it and run the same command again", sql->path);
    default:
        return prn_error_set(error, PRN_IO, "%s: %s; check that the folder can be written and has room", sql->path, text);
    }
}

static void count_seconds(const prn__sql *sql, double begin)
{
    if (sql->seconds != NULL) {
        *sql->seconds += prn__now_s() - begin;
    }
}

static prn_status prepare_list(const prn__sql *sql, sqlite3_stmt **statement, prn_error *error, const char *text, const char *letters,
                               va_list arguments)
{
    int code = sqlite3_prepare_v2(sql->database, text, -1, statement, NULL);
    for (int i = 0; code == SQLITE_OK && letters[i] != '\0'; i++) {
        switch (letters[i]) {
        case 'i':
            code = sqlite3_bind_int64(*statement, i + 1, va_arg(arguments, int64_t));
            break;
        case 'd':
            code = sqlite3_bind_double(*statement, i + 1, va_arg(arguments, double));
            break;
        default: /* the caller's text outlives the statement */
            code = sqlite3_bind_text(*statement, i + 1, va_arg(arguments, const char *), -1, SQLITE_STATIC);
            break;
        }
    }
    if (code != SQLITE_OK) {
        prn_status status = prn__sql_failed(sql, error);
        (void)sqlite3_finalize(*statement);
        *statement = NULL;
        return status;
    }
    return PRN_OK;
}

prn_status prn__sql_prepare(const prn__sql *sql, sqlite3_stmt **statement, prn_error *error, const char *text, const char *letters, ...)
{
    va_list arguments;
    const double begin = prn__now_s();
    va_start(arguments, letters);
    *statement = NULL;
    prn_status status = prepare_list(sql, statement, error, text, letters, arguments);
    va_end(arguments);
    count_seconds(sql, begin);
    return status;
}

int prn__sql_step(const prn__sql *sql, sqlite3_stmt *statement, prn_error *error)
{
    const double begin = prn__now_s();
    int code = sqlite3_step(statement);
    count_seconds(sql, begin);
    if (code == SQLITE_ROW || code == SQLITE_DONE) {
        return code == SQLITE_ROW;
    }
    (void)prn__sql_failed(sql, error);
    return -1;
}

prn_status prn__sql_run(const prn__sql *sql, int64_t *first, prn_error *error, const char *text, const char *letters, ...)
{
    sqlite3_stmt *statement = NULL;
    va_list arguments;
    const double begin = prn__now_s();
    va_start(arguments, letters);
    prn_status status = prepare_list(sql, &statement, error, text, letters, arguments);
    va_end(arguments);
    count_seconds(sql, begin);
    if (status != PRN_OK) {
        return status;
    }
    int row, is_first = 1;
    while ((row = prn__sql_step(sql, statement, error)) > 0) {
        if (is_first && first != NULL) {
            *first = sqlite3_column_int64(statement, 0);
        }
        is_first = 0;
    }
    if (row < 0) {
        status = error != NULL && error->status != PRN_OK ? (prn_status)error->status : PRN_IO;
    }
    (void)sqlite3_finalize(statement);
    return status;
}
