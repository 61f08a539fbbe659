/* core/data/unicode_glyphs.c: fonts of the packages and the drawing of their glyphs, by FreeType.
 *
 * Which files count is read from the package manager's own lists, so that other fonts on a machine change nothing.
 */
#include "data/unicode_internal.h"

#include <ft2build.h>
#include FT_FREETYPE_H

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { MAX_FONTS = 4096 };

typedef struct font {
    char *path;
    FT_Face face;
} font;

struct prn__fonts {
    FT_Library library;
    font *fonts;
    size_t count;
    prn__rendering *renderings;
    size_t rendering_count, rendering_capacity;
    char **names;
};

static const char *const packages[] = {"fonts-dejavu-core", "fonts-dejavu-extra", "fonts-freefont-ttf", "fonts-noto-color-emoji", "fonts-noto-core",
                                       "fonts-symbola", "fonts-unifont"};

static int by_path(const void *a, const void *b)
{
    return strcmp(((const font *)a)->path, ((const font *)b)->path);
}

static int by_place(const void *a, const void *b)
{
    const prn__rendering *x = a, *y = b;
    if (x->character != y->character) {
        return x->character < y->character ? -1 : 1;
    }
    return x->font < y->font ? -1 : x->font > y->font;
}

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static prn_status list_package(prn__fonts *fonts, const char *package, prn_error *error)
{
    char path[256], *text, *at;
    size_t bytes, before = fonts->count;
    prn_error detail = PRN_ERROR_INIT;
    (void)snprintf(path, sizeof path, "/var/lib/dpkg/info/%s.list", package);
    if (prn__file_read(path, 16 << 20, &text, &bytes, &detail) != PRN_OK) {
        return prn_error_set(error, PRN_NOT_FOUND, "the font package %s is not installed; install it and run the same command again", package);
    }
    at = text;
    while (at != NULL && *at != '\0') {
        char *end = strchr(at, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        if ((ends_with(at, ".ttf") || ends_with(at, ".otf")) && fonts->count < MAX_FONTS) {
            font *f = &fonts->fonts[fonts->count];
            f->path = prn__strdup(at);
            if (f->path == NULL) {
                prn__free(text);
                return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of fonts");
            }
            fonts->count++;
        }
        at = end != NULL ? end + 1 : NULL;
    }
    prn__free(text);
    return fonts->count > before ? PRN_OK : prn_error_set(error, PRN_NOT_FOUND, "the package %s names no font file; install it again", package);
}

static prn_status add_font(prn__fonts *fonts, const prn__characters *characters, size_t index, prn_error *error)
{
    font *f = &fonts->fonts[index];
    FT_UInt glyph;
    if (FT_New_Face(fonts->library, f->path, 0, &f->face) != 0 || FT_Select_Charmap(f->face, FT_ENCODING_UNICODE) != 0) {
        return prn_error_set(error, PRN_CORRUPT, "%s: FreeType cannot read this font; install its package again", f->path);
    }
    for (FT_ULong code = FT_Get_First_Char(f->face, &glyph); glyph != 0; code = FT_Get_Next_Char(f->face, code, &glyph)) {
        if (code >= PRN__CODE_POINTS || characters->index_of[code] < 0) {
            continue;
        }
        if (fonts->rendering_count == fonts->rendering_capacity) {
            size_t wanted = fonts->rendering_capacity == 0 ? 1 << 16 : fonts->rendering_capacity * 2;
            prn__rendering *grown = prn__realloc(fonts->renderings, wanted * sizeof *grown);
            if (grown == NULL) {
                return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of glyphs");
            }
            fonts->renderings = grown;
            fonts->rendering_capacity = wanted;
        }
        fonts->renderings[fonts->rendering_count++] =
            (prn__rendering){.character = (uint32_t)characters->index_of[code], .font = (uint16_t)index, .glyph = glyph};
    }
    return PRN_OK;
}

prn_status prn__fonts_open(const prn__characters *characters, prn__fonts **result, prn_error *error)
{
    prn_status status = PRN_OK;
    *result = NULL;
    prn__fonts *fonts = prn__alloc(sizeof *fonts);
    if (fonts == NULL || (fonts->fonts = prn__alloc_array(MAX_FONTS, sizeof *fonts->fonts)) == NULL ||
        (fonts->names = prn__alloc_array(MAX_FONTS, sizeof *fonts->names)) == NULL || FT_Init_FreeType(&fonts->library) != 0) {
        prn__fonts_close(fonts);
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the fonts");
    }
    for (size_t i = 0; i < sizeof packages / sizeof packages[0] && status == PRN_OK; i++) {
        status = list_package(fonts, packages[i], error);
    }
    qsort(fonts->fonts, fonts->count, sizeof *fonts->fonts, by_path);
    for (size_t i = 0; i < fonts->count && status == PRN_OK; i++) {
        const char *slash = strrchr(fonts->fonts[i].path, '/');
        fonts->names[i] = prn__strdup(slash != NULL ? slash + 1 : fonts->fonts[i].path);
        if (fonts->names[i] == NULL) {
            status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the fonts");
            break;
        }
        *strrchr(fonts->names[i], '.') = '\0';
        status = add_font(fonts, characters, i, error);
    }
    if (status != PRN_OK) {
        prn__fonts_close(fonts);
        return status;
    }
    if (fonts->rendering_count > 0) {
        qsort(fonts->renderings, fonts->rendering_count, sizeof *fonts->renderings, by_place);
    }
    *result = fonts;
    return PRN_OK;
}

void prn__fonts_close(prn__fonts *fonts)
{
    if (fonts == NULL) {
        return;
    }
    for (size_t i = 0; fonts->fonts != NULL && i < fonts->count; i++) {
        if (fonts->fonts[i].face != NULL) {
            (void)FT_Done_Face(fonts->fonts[i].face);
        }
        prn__free(fonts->fonts[i].path);
        prn__free(fonts->names != NULL ? fonts->names[i] : NULL);
    }
    if (fonts->library != NULL) {
        (void)FT_Done_FreeType(fonts->library);
    }
    prn__free(fonts->fonts);
    prn__free(fonts->names);
    prn__free(fonts->renderings);
    prn__free(fonts);
}

size_t prn__fonts_count(const prn__fonts *fonts)
{
    return fonts->count;
}

const char *prn__fonts_name(const prn__fonts *fonts, size_t index)
{
    return fonts->names[index];
}

const prn__rendering *prn__fonts_renderings(const prn__fonts *fonts, size_t *count)
{
    *count = fonts->rendering_count;
    return fonts->renderings;
}

/* Mean of the pixels of source box [x0,x1) x [y0,y1), borders weighted by what of them lies inside: exact area averaging. */
static void average(const FT_Bitmap *bitmap, double x0, double x1, double y0, double y1, double *rgba)
{
    double weight_sum = 0;
    for (int c = 0; c < 4; c++) {
        rgba[c] = 0;
    }
    for (long y = (long)y0; y < (long)bitmap->rows && (double)y < y1; y++) {
        double wy = ((double)y + 1 < y1 ? (double)y + 1 : y1) - ((double)y > y0 ? (double)y : y0);
        for (long x = (long)x0; x < (long)bitmap->width && (double)x < x1; x++) {
            double wx = ((double)x + 1 < x1 ? (double)x + 1 : x1) - ((double)x > x0 ? (double)x : x0);
            const unsigned char *row = bitmap->buffer + y * bitmap->pitch;
            double w = wx * wy;
            if (bitmap->pixel_mode == FT_PIXEL_MODE_BGRA) { /* colours are multiplied by alpha already */
                rgba[0] += w * row[4 * x + 2];
                rgba[1] += w * row[4 * x + 1];
                rgba[2] += w * row[4 * x];
                rgba[3] += w * row[4 * x + 3];
            } else {
                rgba[3] += w * (bitmap->pixel_mode == FT_PIXEL_MODE_MONO ? (row[x / 8] >> (7 - x % 8) & 1) * 255.0 : row[x]);
            }
            weight_sum += w;
        }
    }
    for (int c = 0; c < 4; c++) {
        rgba[c] = weight_sum > 0 ? rgba[c] / weight_sum : 0;
    }
}

int prn__fonts_draw(prn__fonts *fonts, const prn__rendering *rendering, int64_t side, uint8_t *target, int *is_colour)
{
    /* Drawn four times as large and averaged down. Most glyphs keep their size relative to the em, so that a full stop stays small;
     * those that would not fit the margin are shrunk. */
    enum { OVERSAMPLING = 4 };
    FT_Face face = fonts->fonts[rendering->font].face;
    const double margin_box = (double)side * 0.9, em = (double)side * 0.75;
    double scale;
    if (FT_IS_SCALABLE(face)) {
        if (FT_Set_Pixel_Sizes(face, 0, (FT_UInt)(em * OVERSAMPLING)) != 0) {
            return 0;
        }
        scale = 1.0 / OVERSAMPLING;
    } else {
        if (face->num_fixed_sizes < 1 || FT_Select_Size(face, 0) != 0) {
            return 0;
        }
        scale = em / (double)face->available_sizes[0].height;
    }
    if (FT_Load_Glyph(face, rendering->glyph, FT_LOAD_RENDER | FT_LOAD_NO_HINTING | (FT_HAS_COLOR(face) ? FT_LOAD_COLOR : 0)) != 0) {
        return 0;
    }
    const FT_Bitmap *bitmap = &face->glyph->bitmap;
    *is_colour = bitmap->pixel_mode == FT_PIXEL_MODE_BGRA;
    if (bitmap->width == 0 || bitmap->rows == 0 ||
        (bitmap->pixel_mode != FT_PIXEL_MODE_GRAY && bitmap->pixel_mode != FT_PIXEL_MODE_MONO && bitmap->pixel_mode != FT_PIXEL_MODE_BGRA)) {
        return 0;
    }
    double width = bitmap->width * scale, height = bitmap->rows * scale, most = width > height ? width : height;
    if (most > margin_box) {
        scale *= margin_box / most;
        width *= margin_box / most;
        height *= margin_box / most;
    }
    double left = ((double)side - width) / 2, top = ((double)side - height) / 2, darkest = 0;
    for (int64_t y = 0; y < side; y++) {
        for (int64_t x = 0; x < side; x++) {
            double rgba[4] = {0, 0, 0, 0}, x0 = ((double)x - left) / scale, x1 = ((double)x + 1 - left) / scale;
            double y0 = ((double)y - top) / scale, y1 = ((double)y + 1 - top) / scale;
            if (x1 > 0 && y1 > 0 && x0 < bitmap->width && y0 < bitmap->rows) {
                double cx0 = x0 > 0 ? x0 : 0, cy0 = y0 > 0 ? y0 : 0;
                double cx1 = x1 < bitmap->width ? x1 : bitmap->width, cy1 = y1 < bitmap->rows ? y1 : bitmap->rows;
                double share = (cx1 - cx0) * (cy1 - cy0) / ((x1 - x0) * (y1 - y0));
                average(bitmap, cx0, cx1, cy0, cy1, rgba);
                for (int c = 0; c < 4; c++) {
                    rgba[c] *= share;
                }
            }
            for (int c = 0; c < 3; c++) {
                double value = 255 - rgba[3] + rgba[c];
                target[(y * side + x) * 3 + c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value + 0.5);
            }
            darkest = rgba[3] > darkest ? rgba[3] : darkest;
        }
    }
    return darkest >= 32; /* fainter than that is as good as blank */
}
