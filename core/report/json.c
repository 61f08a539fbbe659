/* core/report/json.c: see json.h. */
#include "report/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/table.h"

static void add(prn__json *json, json_t *parent, const char *key, json_t *value)
{
    int failed = key != NULL ? json_object_set_new(parent, key, value) : json_array_append_new(parent, value);
    json->failed |= failed;
}

void prn__json_bytes(prn__json *json, json_t *parent, const char *key, const char *bytes, size_t length)
{
    json_t *value = json_stringn(bytes, length);
    if (value == NULL) { /* not UTF-8 */
        prn__text safe;
        prn__text_init(&safe);
        prn__text_append_safe(&safe, bytes, length, 0);
        value = safe.failed ? NULL : json_string(safe.data);
        prn__text_fini(&safe);
    }
    add(json, parent, key, value);
}

void prn__json_string(prn__json *json, json_t *parent, const char *key, const char *text)
{
    if (text == NULL) {
        add(json, parent, key, json_null());
    } else {
        prn__json_bytes(json, parent, key, text, strlen(text));
    }
}

void prn__json_integer(prn__json *json, json_t *parent, const char *key, int64_t value)
{
    add(json, parent, key, json_integer((json_int_t)value));
}

void prn__json_real(prn__json *json, json_t *parent, const char *key, double value)
{
    add(json, parent, key, isfinite(value) ? json_real(value) : json_null());
}

void prn__json_boolean(prn__json *json, json_t *parent, const char *key, int value)
{
    add(json, parent, key, json_boolean(value));
}

void prn__json_parsed(prn__json *json, json_t *parent, const char *key, const char *text)
{
    json_t *value = text != NULL ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    add(json, parent, key, value != NULL ? value : json_null());
}

json_t *prn__json_object(prn__json *json, json_t *parent, const char *key)
{
    json_t *made = json_object();
    if (parent != NULL) {
        add(json, parent, key, made);
        return key != NULL ? json_object_get(parent, key) : json_array_get(parent, json_array_size(parent) - 1);
    }
    json->failed |= made == NULL;
    return made;
}

json_t *prn__json_array(prn__json *json, json_t *parent, const char *key)
{
    json_t *made = json_array();
    if (parent != NULL) {
        add(json, parent, key, made);
        return key != NULL ? json_object_get(parent, key) : json_array_get(parent, json_array_size(parent) - 1);
    }
    json->failed |= made == NULL;
    return made;
}

static int append(const char *buffer, size_t size, void *context)
{
    prn__text *text = context;
    prn__text_append(text, buffer, size);
    return text->failed ? -1 : 0;
}

static int is_container(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) > 0) || (json_is_object(value) && json_object_size(value) > 0);
}

const char *prn__format_real(double value, char target[40])
{
    for (int precision = 15; precision <= 17; precision++) {
        (void)snprintf(target, 40, "%.*g", precision, value);
        if (strtod(target, NULL) == value) {
            break;
        }
    }
    return target;
}

static void put_line(prn__text *text, int depth)
{
    prn__text_printf(text, "\n%*s", depth * 2, "");
}

/* An array of plain values stays on one line, so that a matrix reads as one. */
static void put_value(const json_t *value, int depth, prn__json *json, prn__text *text)
{
    size_t index, count = 0;
    const char *key;
    json_t *item;
    char digits[40];
    if (json_is_real(value)) {
        prn__text_puts(text, prn__format_real(json_real_value(value), digits));
    } else if (!is_container(value)) {
        json->failed |= json_dump_callback(value, append, text, JSON_ENCODE_ANY);
    } else if (json_is_array(value)) {
        int is_flat = 1;
        json_array_foreach(value, index, item) {
            is_flat &= !is_container(item);
        }
        prn__text_puts(text, "[");
        json_array_foreach(value, index, item) {
            prn__text_puts(text, index == 0 ? "" : is_flat ? ", " : ",");
            if (!is_flat) {
                put_line(text, depth + 1);
            }
            put_value(item, depth + 1, json, text);
        }
        if (!is_flat) {
            put_line(text, depth);
        }
        prn__text_puts(text, "]");
    } else {
        prn__text_puts(text, "{");
        json_object_foreach((json_t *)(uintptr_t)value, key, item) {
            json_t *name = json_string(key);
            prn__text_puts(text, count++ == 0 ? "" : ",");
            put_line(text, depth + 1);
            json->failed |= name == NULL || json_dump_callback(name, append, text, JSON_ENCODE_ANY) != 0;
            json_decref(name);
            prn__text_puts(text, ": ");
            put_value(item, depth + 1, json, text);
        }
        put_line(text, depth);
        prn__text_puts(text, "}");
    }
}

void prn__json_finish(prn__json *json, json_t *root, prn__text *text)
{
    if (root != NULL) {
        put_value(root, 0, json, text);
        prn__text_puts(text, "\n");
    }
    text->failed |= json->failed || root == NULL;
    json_decref(root);
}
