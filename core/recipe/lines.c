/* core/recipe/lines.c: on which line of a Lua text a table's key stands.
 *
 * Lua keeps the line of a call and not those of the fields of its table; this reads the text again, as tokens, far enough to
 * skip strings and comments. It only improves messages: when in doubt it gives the table's own line.
 */
#include <ctype.h>
#include <string.h>

#include "recipe/host.h"

typedef struct scanner {
    const char *at, *end;
    int line;
} scanner;

/* The number of '=' in a long bracket that opens here, -1 when none does. */
static int long_level(const scanner *s)
{
    const char *c = s->at + 1;
    if (s->at >= s->end || *s->at != '[') {
        return -1;
    }
    while (c < s->end && *c == '=') {
        c++;
    }
    return c < s->end && *c == '[' ? (int)(c - s->at - 1) : -1;
}

static void skip_long(scanner *s, int level)
{
    s->at += level + 2;
    for (; s->at < s->end; s->at++) {
        if (*s->at == '\n') {
            s->line++;
        } else if (*s->at == ']') {
            const char *c = s->at + 1;
            int count = 0;
            while (c < s->end && *c == '=') {
                c++;
                count++;
            }
            if (count == level && c < s->end && *c == ']') {
                s->at = c + 1;
                return;
            }
        }
    }
}

static void skip_space(scanner *s)
{
    while (s->at < s->end) {
        if (*s->at == '\n') {
            s->line++;
            s->at++;
        } else if (isspace((unsigned char)*s->at)) {
            s->at++;
        } else if (s->end - s->at >= 2 && s->at[0] == '-' && s->at[1] == '-') {
            s->at += 2;
            int level = long_level(s);
            if (level >= 0) {
                skip_long(s, level);
            } else {
                while (s->at < s->end && *s->at != '\n') {
                    s->at++;
                }
            }
        } else {
            return;
        }
    }
}

/* Moves over one token. A name or a plain quoted string is given in (*text, *length); its first byte is given back, 'a' for
 * names, '"' for strings, 0 at the end. */
static char next_token(scanner *s, const char **text, size_t *length)
{
    skip_space(s);
    *text = s->at;
    *length = 0;
    if (s->at >= s->end) {
        return 0;
    }
    if (isalpha((unsigned char)*s->at) || *s->at == '_') {
        while (s->at < s->end && (isalnum((unsigned char)*s->at) || *s->at == '_')) {
            s->at++;
        }
        *length = (size_t)(s->at - *text);
        return 'a';
    }
    if (*s->at == '"' || *s->at == '\'') {
        char quote = *s->at++;
        *text = s->at;
        while (s->at < s->end && *s->at != quote && *s->at != '\n') {
            s->at += *s->at == '\\' && s->end - s->at > 1 ? 2 : 1;
        }
        *length = (size_t)(s->at - *text);
        if (s->at < s->end && *s->at == quote) {
            s->at++;
        }
        return '"';
    }
    int level = long_level(s);
    if (level >= 0) {
        skip_long(s, level);
        return '"';
    }
    return *s->at++;
}

static int is_key(const char *text, size_t length, const char *key)
{
    return strlen(key) == length && memcmp(text, key, length) == 0;
}

/* `s` stands behind a '{'. The line of the key's last mention, which is the one that counts; 0 when the table lacks it. */
static int find_in_table(scanner s, const char *key)
{
    int depth = 1, at_field = 1, found = 0;
    while (depth > 0) {
        const char *text;
        size_t length;
        skip_space(&s);
        int line = s.line;
        char token = next_token(&s, &text, &length);
        if (token == 0) {
            return found;
        }
        if (depth == 1 && at_field && token == '[') { /* ["key"] = */
            token = next_token(&s, &text, &length);
            int matches = token == '"' && is_key(text, length, key);
            if (next_token(&s, &text, &length) == ']' && matches) {
                found = line;
            }
            at_field = 0;
            continue;
        }
        if (depth == 1 && at_field && token == 'a' && is_key(text, length, key)) {
            scanner ahead = s;
            if (next_token(&ahead, &text, &length) == '=' && ahead.at < ahead.end && *ahead.at != '=') {
                found = line;
            }
        }
        at_field = depth == 1 && (token == ',' || token == ';');
        depth += token == '{' || token == '(' || token == '[';
        depth -= token == '}' || token == ')' || token == ']';
    }
    return found;
}

int prn__key_line(const char *text, size_t length, int line, const char *key)
{
    scanner s = {text, text + length, 1};
    while (s.at < s.end && s.line <= line) {
        const char *token_text;
        size_t token_length;
        skip_space(&s);
        int token_line = s.line;
        char token = next_token(&s, &token_text, &token_length);
        if (token == 0) {
            break;
        }
        if (token == '{' && token_line == line) { /* several tables may open on one line: the first that has the key */
            int found = find_in_table(s, key);
            if (found > 0) {
                return found;
            }
        }
    }
    return line;
}
