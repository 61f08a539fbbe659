/* core/data/unicode_tables.c: the characters of TiC-Unicode, from the packages unicode-data and unicode-cldr-core. */
#include "data/unicode_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const char UNICODE[] = "/usr/share/unicode/";
static const char ANNOTATIONS[] = "/usr/share/unicode/cldr/common/annotations/en.xml";

/* Year in which each Unicode version was published. Source: the Unicode Consortium's list of versions. */
static int year_of_version(const char *version)
{
    static const struct {
        const char *version;
        int year;
    } versions[] = {
        {"1.1", 1993}, {"2.0", 1996}, {"2.1", 1998}, {"3.0", 1999},  {"3.1", 2001},  {"3.2", 2002},  {"4.0", 2003},  {"4.1", 2005},  {"5.0", 2006},
        {"5.1", 2008}, {"5.2", 2009}, {"6.0", 2010}, {"6.1", 2012},  {"6.2", 2012},  {"6.3", 2013},  {"7.0", 2014},  {"8.0", 2015},  {"9.0", 2016},
        {"10.0", 2017}, {"11.0", 2018}, {"12.0", 2019}, {"12.1", 2019}, {"13.0", 2020}, {"14.0", 2021}, {"15.0", 2022},
    };
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        if (strcmp(versions[i].version, version) == 0) {
            return versions[i].year;
        }
    }
    return 0; /* newer than this table: left out, so that the benchmark stays the same */
}

static prn_status read_table(const char *name, char **text, prn_error *error)
{
    char path[256];
    size_t bytes;
    prn_error detail = PRN_ERROR_INIT;
    (void)snprintf(path, sizeof path, "%s%s", UNICODE, name);
    prn_status status = prn__file_read(path, 64 << 20, text, &bytes, &detail);
    return status == PRN_OK ? status : prn_error_set(error, status, "%s; install the package unicode-data", detail.message);
}

/* Cuts the next line off; NULL at the end. */
static char *next_line(char **at)
{
    char *line = *at;
    if (line == NULL || *line == '\0') {
        return NULL;
    }
    char *end = strchr(line, '\n');
    if (end != NULL) {
        *end = '\0';
    }
    *at = end != NULL ? end + 1 : NULL;
    return line;
}

/* "0041..005A ; Latin # ..." to range and value; 0 for other lines. */
static int parse_range(char *line, uint32_t *low, uint32_t *high, char *value, size_t bytes)
{
    char *at = line;
    unsigned long first = strtoul(at, &at, 16), last = first;
    if (at == line) {
        return 0;
    }
    if (at[0] == '.' && at[1] == '.') {
        last = strtoul(at + 2, &at, 16);
    }
    while (*at == ' ') {
        at++;
    }
    if (*at++ != ';' || last >= PRN__CODE_POINTS || first > last) {
        return 0;
    }
    while (*at == ' ') {
        at++;
    }
    size_t n = 0;
    while (at[n] != '\0' && at[n] != ' ' && at[n] != '#' && n + 1 < bytes) {
        value[n] = at[n];
        n++;
    }
    value[n] = '\0';
    *low = (uint32_t)first;
    *high = (uint32_t)last;
    return n > 0;
}

static int is_left_out(const char *name, const char *category)
{
    static const char *const categories[] = {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"};
    static const char *const prefixes[] = {"<", "CJK COMPATIBILITY IDEOGRAPH", "CJK UNIFIED IDEOGRAPH", "HANGUL SYLLABLE", "NUSHU CHARACTER", "TANGUT ",
                                           "KHITAN SMALL SCRIPT CHARACTER"};
    for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++) {
        if (strcmp(category, categories[i]) == 0) {
            return 1;
        }
    }
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return 1;
        }
    }
    return 0;
}

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading the Unicode tables");
}

static prn_status load_names(prn__characters *c, const int16_t *years, prn_error *error)
{
    char *text;
    prn_status status = read_table("UnicodeData.txt", &text, error);
    if (status != PRN_OK) {
        return status;
    }
    size_t capacity = 1;
    for (const char *p = text; *p != '\0'; p++) {
        capacity += *p == '\n';
    }
    c->list = prn__alloc_array(capacity, sizeof *c->list);
    char *at = text;
    for (char *line = next_line(&at); line != NULL && c->list != NULL; line = next_line(&at)) {
        char *end, *name = strchr(line, ';'), *category = name != NULL ? strchr(name + 1, ';') : NULL;
        unsigned long code = strtoul(line, &end, 16);
        char *rest = category != NULL ? strchr(category + 1, ';') : NULL;
        if (rest == NULL || code >= PRN__CODE_POINTS) {
            continue;
        }
        *name++ = *category++ = *rest = '\0';
        if (is_left_out(name, category) || years[code] == 0) {
            continue;
        }
        for (char *p = name; *p != '\0'; p++) {
            *p = (char)tolower((unsigned char)*p);
        }
        prn__character *character = &c->list[c->count];
        character->code_point = (uint32_t)code;
        character->name = prn__arena_strdup(&c->memory, name);
        character->year = years[code];
        character->script = -1;
        if (character->name == NULL) {
            status = no_memory(error);
            break;
        }
        c->index_of[code] = (int32_t)c->count++;
    }
    prn__free(text);
    return c->list != NULL ? status : no_memory(error);
}

static prn_status load_years(int16_t *years, prn_error *error)
{
    char *text, value[64];
    uint32_t low, high;
    prn_status status = read_table("DerivedAge.txt", &text, error);
    if (status != PRN_OK) {
        return status;
    }
    char *at = text;
    for (char *line = next_line(&at); line != NULL; line = next_line(&at)) {
        if (parse_range(line, &low, &high, value, sizeof value)) {
            for (uint32_t code = low; code <= high; code++) {
                years[code] = (int16_t)year_of_version(value);
            }
        }
    }
    prn__free(text);
    return PRN_OK;
}

static prn_status load_scripts(prn__characters *c, prn_error *error)
{
    char *text, value[64];
    uint32_t low, high;
    prn_status status = read_table("Scripts.txt", &text, error);
    if (status != PRN_OK) {
        return status;
    }
    char *at = text;
    for (char *line = next_line(&at); line != NULL; line = next_line(&at)) {
        if (!parse_range(line, &low, &high, value, sizeof value) || strcmp(value, "Common") == 0 || strcmp(value, "Inherited") == 0) {
            continue;
        }
        for (char *p = value; *p != '\0'; p++) {
            *p = *p == '_' ? ' ' : (char)tolower((unsigned char)*p);
        }
        int16_t script = -1;
        for (uint32_t code = low; code <= high; code++) {
            if (c->index_of[code] < 0) {
                continue;
            }
            for (size_t s = 0; script < 0 && s < c->script_count; s++) {
                script = strcmp(c->scripts[s], value) == 0 ? (int16_t)s : script;
            }
            if (script < 0 && c->script_count < PRN__MAX_SCRIPTS) {
                c->scripts[c->script_count] = prn__arena_strdup(&c->memory, value);
                if (c->scripts[c->script_count] == NULL) {
                    prn__free(text);
                    return no_memory(error);
                }
                script = (int16_t)c->script_count++;
            }
            c->list[c->index_of[code]].script = script;
        }
    }
    prn__free(text);
    return PRN_OK;
}

static uint32_t decode_utf8(const char *text, size_t bytes, size_t *used)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    uint32_t code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    *used = n;
    for (size_t i = 1; i < n; i++) {
        if (i >= bytes) {
            return PRN__CODE_POINTS;
        }
        code = code << 6 | (s[i] & 0x3fu);
    }
    return code;
}

/* <annotation cp="x">word | word</annotation>, one a line; those with a type hold the spoken name instead. Single characters only. */
static prn_status load_keywords(prn__characters *c, prn_error *error)
{
    char *text;
    size_t bytes;
    prn_error detail = PRN_ERROR_INIT;
    prn_status status = prn__file_read(ANNOTATIONS, 64 << 20, &text, &bytes, &detail);
    if (status != PRN_OK) {
        return prn_error_set(error, status, "%s; install the package unicode-cldr-core", detail.message);
    }
    char *at = text;
    for (char *line = next_line(&at); line != NULL && status == PRN_OK; line = next_line(&at)) {
        char *cp = strstr(line, "<annotation cp=\""), *close = strstr(line, "</annotation>"), keywords[512];
        if (cp == NULL || close == NULL || strstr(line, "type=") != NULL || strchr(line, '&') != NULL) {
            continue;
        }
        cp += 16;
        char *quote = strchr(cp, '"');
        char *words = quote != NULL ? strchr(quote, '>') : NULL;
        size_t used, n = 0;
        if (words == NULL || words > close) {
            continue;
        }
        uint32_t code = decode_utf8(cp, (size_t)(quote - cp), &used);
        if (code >= PRN__CODE_POINTS || used != (size_t)(quote - cp) || c->index_of[code] < 0) {
            continue;
        }
        for (const char *p = words + 1; p < close && n + 3 < sizeof keywords; p++) {
            if (p[0] == ' ' && p[1] == '|') {
                keywords[n++] = ',';
                p++;
            } else {
                keywords[n++] = *p;
            }
        }
        keywords[n] = '\0';
        prn__character *character = &c->list[c->index_of[code]];
        character->keywords = prn__arena_strdup(&c->memory, keywords);
        status = character->keywords != NULL ? PRN_OK : no_memory(error);
    }
    prn__free(text);
    return status;
}

prn_status prn__characters_load(prn__characters *c, prn_error *error)
{
    memset(c, 0, sizeof *c);
    prn__arena_init(&c->memory, 1 << 16);
    int16_t *years = prn__alloc_array(PRN__CODE_POINTS, sizeof *years);
    c->index_of = prn__alloc_array(PRN__CODE_POINTS, sizeof *c->index_of);
    prn_status status = years != NULL && c->index_of != NULL ? PRN_OK : no_memory(error);
    for (size_t i = 0; status == PRN_OK && i < PRN__CODE_POINTS; i++) {
        c->index_of[i] = -1;
    }
    if (status == PRN_OK) {
        status = load_years(years, error);
    }
    if (status == PRN_OK) {
        status = load_names(c, years, error);
    }
    if (status == PRN_OK) {
        status = load_scripts(c, error);
    }
    if (status == PRN_OK) {
        status = load_keywords(c, error);
    }
    prn__free(years);
    if (status != PRN_OK) {
        prn__characters_fini(c);
    }
    return status;
}

void prn__characters_fini(prn__characters *c)
{
    prn__free(c->list);
    prn__free(c->index_of);
    prn__arena_fini(&c->memory);
    memset(c, 0, sizeof *c);
}
