/* core/ledger/reader.h: a ledger opened for reading: one consistent state of it, whatever a run writes meanwhile.
 * Private to core/ledger. */
#ifndef PRN_LEDGER_READER_H
#define PRN_LEDGER_READER_H

#include "base/memory.h"
#include "ledger/sql.h"

typedef struct prn__reader {
    prn__sql sql;
    int64_t version;     /* of the schema; older ones lack what docs/ledger.md says */
    char *path;
    const char *workspace; /* borrowed */
    int is_unsure, has_waited; /* a run's processes are gone: killed, or just leaving (results.c) */
    prn__arena *memory;  /* of what is handed out; borrowed */
    prn_error *error;
} prn__reader;

/* No ledger in `workspace` is PRN_NOT_FOUND. After a failure nothing is open. */
prn_status prn__reader_open(const char *workspace, prn__arena *memory, prn__reader *reader, prn_error *error);
void prn__reader_close(prn__reader *reader);

/* A column of the current row: text copied into the arena ("" for NULL; `failed` becomes 1 when out of memory), a number (NaN for NULL). */
const char *prn__column_text(prn__reader *reader, sqlite3_stmt *statement, int column, int *failed);
double prn__column_real(sqlite3_stmt *statement, int column);
/* What prn__sql_step's last answer means for the caller. */
prn_status prn__reader_status(const prn__reader *reader, int row);

#endif
