/* core/ledger/sql.h: one call to run a statement, failures as errors, and the schema.
 * Private to those who speak SQL: this room and run/ledger.c. */
#ifndef PRN_LEDGER_SQL_H
#define PRN_LEDGER_SQL_H

#include <perennial/status.h>
#include <sqlite3.h>
#include <stdint.h>

#define PRN__LEDGER_SCHEMA 3

typedef struct prn__sql {
    sqlite3 *database;
    const char *path; /* borrowed */
    double *seconds;  /* time spent in SQLite is added here; NULL: it is not counted */
} prn__sql;

/* Turns SQLite's last failure into an error that names the ledger's path and says what to do. */
prn_status prn__sql_failed(const prn__sql *sql, prn_error *error);
/* Prepares `text` and binds one argument a letter: i int64_t, s const char * (NULL allowed), d double (NaN becomes NULL). */
prn_status prn__sql_prepare(const prn__sql *sql, sqlite3_stmt **statement, prn_error *error, const char *text, const char *letters, ...);
/* The same, then runs it to its end. `first` (may be NULL) gets column 0 of the first row as an integer, and stays as it is
 * when there is no row. */
prn_status prn__sql_run(const prn__sql *sql, int64_t *first, prn_error *error, const char *text, const char *letters, ...);
/* 1 when a row is there, 0 at the end, -1 on failure (error written). */
int prn__sql_step(const prn__sql *sql, sqlite3_stmt *statement, prn_error *error);
/* Makes the tables of a new ledger and brings those of an older schema up to this one; others are refused. */
prn_status prn__sql_schema_ready(const prn__sql *sql, prn_error *error);

#endif
