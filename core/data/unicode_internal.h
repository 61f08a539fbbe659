/* core/data/unicode_internal.h: what the files of the TiC-Unicode builder share: the characters, the
 * glyphs, and the shards. */
#ifndef PRN_DATA_UNICODE_INTERNAL_H
#define PRN_DATA_UNICODE_INTERNAL_H

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/shard_writer.h"
#include "data/unicode.h"

enum { PRN__CODE_POINTS = 0x110000, PRN__MAX_SCRIPTS = 512 };

typedef struct prn__character {
    uint32_t code_point;
    const char *name;     /* lower case */
    const char *keywords; /* "face, grin, smile" or NULL */
    int16_t year;
    int16_t script;       /* index into scripts, -1: common or inherited */
} prn__character;

typedef struct prn__characters {
    prn__character *list; /* by code point */
    size_t count;
    int32_t *index_of;    /* (PRN__CODE_POINTS) into list, -1: left out */
    const char *scripts[PRN__MAX_SCRIPTS]; /* "old italic" */
    size_t script_count;
    prn__arena memory;
} prn__characters;

/* Reads UnicodeData, DerivedAge, Scripts and CLDR's English annotations from their packages. */
prn_status prn__characters_load(prn__characters *characters, prn_error *error);
void prn__characters_fini(prn__characters *characters);

typedef struct prn__rendering {
    uint32_t character; /* index into characters.list */
    uint16_t font;
    uint32_t glyph;
} prn__rendering;

typedef struct prn__fonts prn__fonts;

/* Opens every font file of the packages; the list of renderings comes sorted by (character, font). */
prn_status prn__fonts_open(const prn__characters *characters, prn__fonts **fonts, prn_error *error);
void prn__fonts_close(prn__fonts *fonts);
size_t prn__fonts_count(const prn__fonts *fonts);
const char *prn__fonts_name(const prn__fonts *fonts, size_t font); /* "NotoSans-Regular" */
const prn__rendering *prn__fonts_renderings(const prn__fonts *fonts, size_t *count);
/* Draws one glyph, centred on white, into (side,side,3) RGB. Returns 0 when it draws nothing or cannot be drawn. */
int prn__fonts_draw(prn__fonts *fonts, const prn__rendering *rendering, int64_t side, uint8_t *target, int *is_colour);

#endif
