/* core/report/table.h: text in columns, measured as a terminal shows it.
 *
 * Invariants: widths count terminal cells, not bytes (wide East Asian characters are two, combining marks none); control
 * characters and invalid UTF-8, which data files may hold, never reach the output. A failed allocation is kept in the table
 * and in the target text (`failed`), so that filling a table needs no checks.
 */
#ifndef PRN_REPORT_TABLE_H
#define PRN_REPORT_TABLE_H

#include "base/text.h"

/* Terminal cells of a UTF-8 string. [any] */
size_t prn__text_cells(const char *string);
/* Appends `length` bytes as safe UTF-8 on one line: line ends and tabs become spaces, other control characters and invalid
 * bytes U+FFFD. More than `limit` cells are cut, with an ellipsis; 0: no limit. [any] */
void prn__text_append_safe(prn__text *text, const char *bytes, size_t length, size_t limit);

typedef struct prn__table prn__table;

prn__table *prn__table_create(void); /* NULL when out of memory; then all calls below do nothing */
void prn__table_destroy(prn__table *table);
/* Columns come before cells. `align`: 'l' or 'r'. Headers all "" make a table without a head line. */
void prn__table_column(prn__table *table, const char *header, char align);
/* The next cell; a row is full after the last column. The text is made safe. */
void prn__table_cell(prn__table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends the table, each line behind `indent` spaces, columns two spaces apart, no blanks at line ends. */
void prn__table_print(const prn__table *table, size_t indent, prn__text *target);

/* Cells for numbers; NaN is "-". */
void prn__table_percent(prn__table *table, double fraction); /* one decimal, without the sign */
void prn__table_si(prn__table *table, double value);
void prn__table_count(prn__table *table, int64_t value); /* digits in groups of three: 33,584 */

/* "33,584" into `target`; returns it. [any] */
const char *prn__format_count(int64_t value, char *target, size_t bytes);
/* "3.1 MB" (powers of ten) into `target`; returns it. [any] */
const char *prn__format_bytes(double value, char *target, size_t bytes);

#endif
