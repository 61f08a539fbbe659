/* What the tests of the report room share. */
#ifndef TESTS_REPORT_SUPPORT_H
#define TESTS_REPORT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

/* The text is exactly this; released. */
static inline void text_is(prn__text *text, const char *wanted)
{
    assert_false(text->failed);
    assert_string_equal(text->data, wanted);
    prn__text_fini(text);
}

static inline void text_has(const prn__text *text, const char *part)
{
    if (strstr(text->data, part) == NULL) {
        fail_msg("'%s' lacks '%s'", text->data, part);
    }
}

static inline void text_lacks(const prn__text *text, const char *part)
{
    if (strstr(text->data, part) != NULL) {
        fail_msg("'%s' has '%s'", text->data, part);
    }
}

#endif
