/* core/page/page.c: a run read whole, and the page around its data; see page.h.
 *
 * The page's style and script are files of this folder (page.css, page.js), and their bytes are taken into the program as they are.
 */
#include "page/page.h"

#include <stdio.h>
#include <string.h>

#include "page/curves.h"
#include "page/style.h"

#define ASSET(name, file)                                                                              \
    __asm__(".pushsection .rodata\n"                                                                   \
            ".global prn__asset_" #name "\n.hidden prn__asset_" #name "\nprn__asset_" #name ":\n"          \
            ".incbin \"" PRN_SOURCE_DIR "/core/page/" file "\"\n.byte 0\n"                                \
            ".popsection\n");                                                                          \
    extern const char prn__asset_##name[] __attribute__((visibility("hidden")))

ASSET(style, "page.css");
ASSET(script, "page.js");

/* ---- a part ------------------------------------------------------------------------------------------------------------------- */

prn_status prn__page_part_load(const char *workspace, const char *run, int64_t stretches, prn__page_part **result, prn_error *error)
{
    *result = NULL;
    prn__page_part *part = prn__alloc(sizeof *part);
    if (part == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading a run");
    }
    prn__arena_init(&part->memory, 1 << 16);
    prn_status status = prn__results_load(workspace, run, &part->results, error);
    if (status == PRN_OK) {
        status = prn__timeline_load(workspace, part->results->run.id, &part->timeline, error);
    }
    if (status == PRN_OK) {
        status = prn__curves_load(workspace, stretches, part, error);
    }
    if (status != PRN_OK) {
        prn__page_part_destroy(part);
        return status;
    }
    *result = part;
    return PRN_OK;
}

void prn__page_part_destroy(prn__page_part *part)
{
    if (part != NULL) {
        prn__results_destroy(part->results);
        prn__timeline_destroy(part->timeline);
        prn__arena_fini(&part->memory);
        prn__free(part);
    }
}

/* ---- the page -------------------------------------------------------------------------------------------------------------------- */

static void put_escaped(prn__text *t, const char *string)
{
    for (const char *c = string; *c != '\0'; c++) {
        switch (*c) {
        case '<': prn__text_puts(t, "&lt;"); break;
        case '>': prn__text_puts(t, "&gt;"); break;
        case '&': prn__text_puts(t, "&amp;"); break;
        case '"': prn__text_puts(t, "&quot;"); break;
        case '\'': prn__text_puts(t, "&#39;"); break;
        default: prn__text_append(t, c, 1); break;
        }
    }
}

static void put_palette(prn__text *t, const char *selector, int is_dark)
{
    prn__text_printf(t, "%s{", selector);
    for (int i = 0; i < PRN__PALETTE_COLOURS; i++) {
        prn__text_printf(t, "--s%d:#%06x;", i, prn__palette_colour(i, is_dark));
    }
    prn__text_puts(t, "}\n");
}

void prn__page_print(const prn__page *page, prn__text *t)
{
    prn__text_puts(t, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
                      "<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    for (size_t i = 0; i < page->part_count; i++) { /* runs of a sweep share a name */
        const char *name = page->parts[i]->results->run.name;
        if (i == 0 || strcmp(name, page->parts[i - 1]->results->run.name) != 0) {
            prn__text_puts(t, i > 0 ? ", " : "");
            put_escaped(t, name);
        }
    }
    prn__text_puts(t, " \xc2\xb7 perennial</title>\n<style>\n");
    put_palette(t, ":root", 0);
    put_palette(t, ":root[data-theme=dark]", 1);
    prn__text_puts(t, prn__asset_style);
    prn__text_puts(t, "</style>\n</head>\n<body>\n<noscript><p>This page draws its figures with a script of its own; switch scripts on to see them."
                      " It loads nothing from anywhere.</p></noscript>\n<main id=\"page\"></main>\n<script type=\"application/json\" id=\"data\">");
    prn__page_data(page, t);
    prn__text_puts(t, "</script>\n<script>\n");
    prn__text_puts(t, prn__asset_script);
    prn__text_puts(t, "</script>\n</body>\n</html>\n");
}
