/* core/report/json.h: building JSON whose keys stay in the order written.
 *
 * Invariants: numbers that are not finite are null; text that is not UTF-8 is repaired, because keys and captions come from
 * data files; a failed allocation is kept in `failed` and the result is refused at the end.
 */
#ifndef PRN_REPORT_JSON_H
#define PRN_REPORT_JSON_H

#include <jansson.h>

#include "base/text.h"

typedef struct prn__json {
    int failed;
} prn__json;

/* Each adds a value under `key` of the object, or appends it to the array when `key` is NULL. A NULL `text` is null. */
void prn__json_string(prn__json *json, json_t *parent, const char *key, const char *text);
void prn__json_bytes(prn__json *json, json_t *parent, const char *key, const char *bytes, size_t length);
void prn__json_integer(prn__json *json, json_t *parent, const char *key, int64_t value);
void prn__json_real(prn__json *json, json_t *parent, const char *key, double value);
void prn__json_boolean(prn__json *json, json_t *parent, const char *key, int value);
/* JSON text as it is; null when it is none. */
void prn__json_parsed(prn__json *json, json_t *parent, const char *key, const char *text);
json_t *prn__json_object(prn__json *json, json_t *parent, const char *key); /* borrowed; NULL parent: owned by the caller */
json_t *prn__json_array(prn__json *json, json_t *parent, const char *key);
/* The shortest decimal that reads back as the same number; returns target. [any] */
const char *prn__format_real(double value, char target[40]);
/* Appends the tree as indented text and a line end, and releases it; `text->failed` when anything failed. */
void prn__json_finish(prn__json *json, json_t *root, prn__text *text);

#endif
