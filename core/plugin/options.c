/* core/plugin/options.c: text to typed, bounded option values, by a component's own table. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "plugin/registry.h"

struct prn__options {
    prn__arena memory;
    prn_option_value *values;
};

static prn_status wants(const char *component, const prn_option *option, const char *text, const char *what, prn_error *error)
{
    return prn_error_set(error, PRN_INVALID, "%s: option '%s' is '%s', but must be %s (%s)", component, option->name, text, what, option->help);
}

/* 16777216 as it is, and not as 1.67772e+07. */
static const char *bound(double value, char *text, size_t bytes)
{
    (void)snprintf(text, bytes, value == floor(value) && fabs(value) < 1e9 ? "%.0f" : "%g", value);
    return text;
}

static prn_status parse_number(const char *component, const prn_option *option, const char *text, double *number, prn_error *error)
{
    char *end, what[120], low[32], high[32];
    errno = 0;
    double value = strtod(text, &end);
    while (*end == ' ') {
        end++;
    }
    if (end == text || *end != '\0' || errno == ERANGE || isnan(value)) {
        return wants(component, option, text, "a number", error);
    }
    if (value < option->minimum || value > option->maximum) {
        (void)snprintf(what, sizeof what, "between %s and %s%s%s", bound(option->minimum, low, sizeof low), bound(option->maximum, high, sizeof high),
                       option->unit != NULL && option->unit[0] != '\0' ? " " : "", option->unit != NULL ? option->unit : "");
        return wants(component, option, text, what, error);
    }
    *number = value;
    return PRN_OK;
}

int prn__option_has_choice(const prn_option *option, const char *text)
{
    const size_t length = strlen(text);
    for (const char *item = option->choices; item != NULL;) {
        const char *end = strchr(item, '|');
        if ((end != NULL ? (size_t)(end - item) : strlen(item)) == length && memcmp(item, text, length) == 0) {
            return 1;
        }
        item = end != NULL ? end + 1 : NULL;
    }
    return 0;
}

static prn_status parse_choice(const char *component, const prn_option *option, const char *text, prn_error *error)
{
    enum { NAME_LIMIT = 32, NAME_BYTES = 64 }; /* of those that may be suggested; any number may be chosen from */
    char names[NAME_LIMIT][NAME_BYTES], hint[160], what[400];
    const char *candidates[NAME_LIMIT];
    size_t count = 0;
    if (prn__option_has_choice(option, text)) {
        return PRN_OK;
    }
    for (const char *item = option->choices; item != NULL;) {
        const char *end = strchr(item, '|');
        size_t size = end != NULL ? (size_t)(end - item) : strlen(item);
        if (size < NAME_BYTES && count < NAME_LIMIT) {
            (void)snprintf(names[count], NAME_BYTES, "%.*s", (int)size, item);
            candidates[count] = names[count];
            count++;
        }
        item = end != NULL ? end + 1 : NULL;
    }
    (void)snprintf(what, sizeof what, "one of %.200s%s", option->choices, prn__suggest_text(text, candidates, count, hint, sizeof hint));
    return wants(component, option, text, what, error);
}

static prn_status parse_list(prn__options *options, const char *component, const prn_option *option, const char *text, prn_option_value *value,
                             prn_error *error)
{
    uint64_t count = 0;
    if (text[0] == '\0') {
        return PRN_OK;
    }
    for (const char *c = text; c != NULL; c = strchr(c, ',') != NULL ? strchr(c, ',') + 1 : NULL) {
        count++;
    }
    double *list = prn__arena_alloc(&options->memory, count * sizeof *list);
    char *copy = prn__arena_strdup(&options->memory, text);
    if (list == NULL || copy == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory for option '%s'", component, option->name);
    }
    uint64_t i = 0;
    for (char *item = copy; item != NULL; i++) {
        char *comma = strchr(item, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        while (*item == ' ') {
            item++;
        }
        prn_status status = parse_number(component, option, item, &list[i], error);
        if (status != PRN_OK) {
            return status;
        }
        item = comma != NULL ? comma + 1 : NULL;
    }
    value->list = list;
    value->list_count = count;
    return PRN_OK;
}

static prn_status parse_one(prn__options *options, const char *component, const prn_option *option, const char *text, prn_option_value *value,
                            prn_error *error)
{
    prn_status status = PRN_OK;
    value->string = prn__arena_strdup(&options->memory, text);
    if (value->string == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory for option '%s'", component, option->name);
    }
    switch ((prn_option_type)option->type) {
    case PRN_OPTION_BOOL:
        if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0) {
            value->integer = 1;
        } else if (strcmp(text, "false") != 0 && strcmp(text, "0") != 0) {
            return wants(component, option, text, "true or false", error);
        }
        value->real = (double)value->integer;
        break;
    case PRN_OPTION_INTEGER:
        status = parse_number(component, option, text, &value->real, error);
        if (status == PRN_OK && (value->real != floor(value->real) || fabs(value->real) > 9e15)) {
            status = wants(component, option, text, "a whole number", error);
        }
        value->integer = status == PRN_OK ? (int64_t)value->real : 0;
        break;
    case PRN_OPTION_REAL:
        status = parse_number(component, option, text, &value->real, error);
        break;
    case PRN_OPTION_STRING:
        break;
    case PRN_OPTION_CHOICE:
        status = parse_choice(component, option, text, error);
        break;
    case PRN_OPTION_REAL_LIST:
        status = parse_list(options, component, option, text, value, error);
        break;
    }
    return status;
}

prn_status prn__options_parse(const char *component, const prn_option *table, uint32_t count, const prn__option_pair *given, size_t given_count,
                              prn__options **result, prn_error *error)
{
    prn_status status = PRN_OK;
    *result = NULL;
    prn__options *options = prn__alloc(sizeof *options);
    if (options == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory for its options", component);
    }
    prn__arena_init(&options->memory, 1024);
    options->values = prn__arena_alloc(&options->memory, (count + 1) * sizeof *options->values);
    const char **names = prn__arena_alloc(&options->memory, (count + 1) * sizeof *names);
    if (options->values == NULL || names == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory for its options", component);
        goto done;
    }
    for (uint32_t i = 0; i < count; i++) {
        names[i] = prn__option_at(table, i)->name;
        options->values[i].struct_size = sizeof(prn_option_value);
    }
    for (size_t g = 0; g < given_count && status == PRN_OK; g++) {
        uint32_t i = 0;
        char hint[128];
        while (i < count && strcmp(names[i], given[g].name) != 0) {
            i++;
        }
        if (i == count) {
            status = prn_error_set(error, PRN_INVALID, "%s has no option '%s'%s%s", component, given[g].name,
                                   prn__suggest_text(given[g].name, names, count, hint, sizeof hint), count == 0 ? "; it has none at all" : "");
        } else if (options->values[i].is_given) {
            status = prn_error_set(error, PRN_INVALID, "%s: option '%s' is given twice", component, names[i]);
        } else {
            status = parse_one(options, component, prn__option_at(table, i), given[g].value, &options->values[i], error);
            options->values[i].is_given = 1;
        }
    }
    for (uint32_t i = 0; i < count && status == PRN_OK; i++) {
        const prn_option *option = prn__option_at(table, i);
        if (options->values[i].is_given) {
            continue;
        }
        if (option->preset == NULL) {
            status = prn_error_set(error, PRN_INVALID, "%s needs option '%s' (%s)", component, option->name, option->help);
        } else {
            status = parse_one(options, component, option, option->preset, &options->values[i], error);
        }
    }
done:
    if (status != PRN_OK) {
        prn__options_destroy(options);
        return status;
    }
    *result = options;
    return PRN_OK;
}

void prn__options_destroy(prn__options *options)
{
    if (options != NULL) {
        prn__arena_fini(&options->memory);
        prn__free(options);
    }
}

const prn_option_value *prn__options_values(const prn__options *options)
{
    return options->values;
}
