/* core/data/resize_x86.c: the loops of resize_kernels.h for AVX2 and for AVX-512 (with VBMI and VNNI). Each function names its instruction
 * set, so that the file needs no flags and the processor decides at run time. Elsewhere the file holds only the answer "not here".
 *
 * Horizontal: a group is 8 neighbouring pixels of a row. Their bytes are spread so that the values of two neighbouring pixels stand side
 * by side, colour by colour, and one instruction multiplies both and adds. Four rows share the loads of the weights.
 * Vertical: the same with the values of two rows interleaved.
 */
#include "data/resize_kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <string.h>

enum { BITS = PRN__RESIZE_BITS, LOW_BITS = PRN__RESIZE_LOW_BITS, ROWS = PRN__RESIZE_ROWS, BLOCK = 16, WIDE_BLOCK = 32 };

/* The plain loop for what is narrower than one block. */
static void narrow_column(const prn__axis *axis, int64_t place, const uint8_t *source, int64_t stride, int64_t bytes, uint8_t *target)
{
    prn__resize_plain.column(axis, place, source, stride, bytes, target);
}

/* Four pixels, one a row, each in the first three bytes of four; `is_last` keeps the fourth byte from being written. */
static inline __attribute__((target("avx2"))) void store_pixels(__m128i pixels, int64_t place, int is_last, uint8_t *const target[ROWS])
{
    const uint32_t value[ROWS] = {(uint32_t)_mm_extract_epi32(pixels, 0), (uint32_t)_mm_extract_epi32(pixels, 1),
                                  (uint32_t)_mm_extract_epi32(pixels, 2), (uint32_t)_mm_extract_epi32(pixels, 3)};
    if (!is_last) {
        for (int row = 0; row < ROWS; row++) {
            memcpy(target[row] + 3 * place, &value[row], 4); /* the fourth byte is the next pixel's, which comes next */
        }
    } else {
        for (int row = 0; row < ROWS; row++) {
            memcpy(target[row] + 3 * place, &value[row], 3);
        }
    }
}

/* ---- AVX2 ---- */

__attribute__((target("avx2"))) static void avx2_rows(const prn__axis *axis, const uint8_t *const source[ROWS], uint8_t *const target[ROWS])
{
    const __m256i spread = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
                                            6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m128i half = _mm_set1_epi32(1 << (BITS - 1));
    const int64_t halves = axis->groups * 2; /* a register holds half a group */
    const int16_t *w = axis->packed;
    for (int64_t i = 0; i < axis->places; i++) {
        __m256i high[ROWS], low[ROWS];
        __m128i sum[ROWS];
        const int64_t at = axis->starts[i] * 3;
        for (int row = 0; row < ROWS; row++) {
            high[row] = low[row] = _mm256_setzero_si256();
        }
        for (int64_t h = 0; h < halves; h++) {
            const __m256i w_high = _mm256_loadu_si256((const __m256i *)(const void *)(w + h / 2 * 64 + h % 2 * 16));
            const __m256i w_low = _mm256_loadu_si256((const __m256i *)(const void *)(w + h / 2 * 64 + h % 2 * 16 + 32));
            for (int row = 0; row < ROWS; row++) {
                const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(source[row] + at + 12 * h));
                const __m256i pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), spread);
                high[row] = _mm256_add_epi32(high[row], _mm256_madd_epi16(pixels, w_high));
                low[row] = _mm256_add_epi32(low[row], _mm256_madd_epi16(pixels, w_low));
            }
        }
        w += axis->groups * 64;
        for (int row = 0; row < ROWS; row++) {
            const __m256i all = _mm256_add_epi32(_mm256_slli_epi32(high[row], LOW_BITS), low[row]);
            const __m128i whole = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
            sum[row] = _mm_srai_epi32(_mm_add_epi32(whole, half), BITS);
        }
        store_pixels(_mm_packus_epi16(_mm_packs_epi32(sum[0], sum[1]), _mm_packs_epi32(sum[2], sum[3])), i, i == axis->places - 1, target);
    }
}

__attribute__((target("avx2"))) static void avx2_column(const prn__axis *axis, int64_t place, const uint8_t *source, int64_t stride, int64_t bytes,
                                                        uint8_t *target)
{
    const int16_t *w = axis->packed + place * axis->groups * 4;
    const int64_t count = axis->counts[place];
    const __m256i half = _mm256_set1_epi32(1 << (BITS - 1));
    if (bytes < BLOCK) {
        narrow_column(axis, place, source, stride, bytes, target);
        return;
    }
    for (int64_t x = 0;; x += BLOCK) {
        x = x + BLOCK > bytes ? bytes - BLOCK : x; /* the last block may overlap the one before */
        __m256i high[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, low[2] = {high[0], high[0]};
        const uint8_t *s = source + x;
        for (int64_t k = 0; k < count; k += 2, s += 2 * stride) {
            int32_t pair[2];
            memcpy(pair, w + 2 * k, sizeof pair);
            const __m256i w_high = _mm256_set1_epi32(pair[0]), w_low = _mm256_set1_epi32(pair[1]);
            const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)s));
            const __m256i b = k + 1 < count ? _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(s + stride))) : _mm256_setzero_si256();
            const __m256i both[2] = {_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)};
            for (int j = 0; j < 2; j++) {
                high[j] = _mm256_add_epi32(high[j], _mm256_madd_epi16(both[j], w_high));
                low[j] = _mm256_add_epi32(low[j], _mm256_madd_epi16(both[j], w_low));
            }
        }
        for (int j = 0; j < 2; j++) {
            low[j] = _mm256_srai_epi32(_mm256_add_epi32(_mm256_add_epi32(_mm256_slli_epi32(high[j], LOW_BITS), low[j]), half), BITS);
        }
        const __m256i values = _mm256_packs_epi32(low[0], low[1]); /* back in order: unpacking and packing both work by halves */
        _mm_storeu_si128((__m128i *)(void *)(target + x), _mm_packus_epi16(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1)));
        if (x + BLOCK >= bytes) {
            break;
        }
    }
}

static const prn__resize_kernels avx2_kernels = {"avx2", 1, avx2_rows, avx2_column};

const prn__resize_kernels *prn__resize_avx2(void)
{
    return __builtin_cpu_supports("avx2") ? &avx2_kernels : NULL;
}

/* ---- AVX-512 ---- */

#define TARGET_WIDE __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni,avx2")))

TARGET_WIDE static void avx512_rows(const prn__axis *axis, const uint8_t *const source[ROWS], uint8_t *const target[ROWS])
{
    /* byte 32-bit lane by lane: pixels 2p and 2p + 1 of colour c at 16 * p + 4 * c */
    static const uint8_t places[64] = {0,  0, 3,  0, 1,  0, 4,  0, 2,  0, 5,  0, 0, 0, 0, 0, 6,  0, 9,  0, 7,  0, 10, 0, 8,  0, 11, 0, 0, 0, 0, 0,
                                       12, 0, 15, 0, 13, 0, 16, 0, 14, 0, 17, 0, 0, 0, 0, 0, 18, 0, 21, 0, 19, 0, 22, 0, 20, 0, 23, 0, 0, 0, 0, 0};
    const __m512i spread = _mm512_loadu_si512(places);
    const __mmask64 used = 0x0555055505550555u;
    const __m128i half = _mm_set1_epi32(1 << (BITS - 1));
    const int16_t *w = axis->packed;
    for (int64_t i = 0; i < axis->places; i++) {
        __m512i high[ROWS], low[ROWS];
        __m128i sum[ROWS];
        const int64_t at = axis->starts[i] * 3;
        for (int row = 0; row < ROWS; row++) {
            high[row] = low[row] = _mm512_setzero_si512();
        }
        for (int64_t g = 0; g < axis->groups; g++, w += 64) {
            const __m512i w_high = _mm512_loadu_si512(w), w_low = _mm512_loadu_si512(w + 32);
            for (int row = 0; row < ROWS; row++) {
                const __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(source[row] + at + 24 * g));
                const __m512i pixels = _mm512_maskz_permutexvar_epi8(used, spread, _mm512_castsi256_si512(bytes));
                high[row] = _mm512_dpwssd_epi32(high[row], pixels, w_high);
                low[row] = _mm512_dpwssd_epi32(low[row], pixels, w_low);
            }
        }
        for (int row = 0; row < ROWS; row++) {
            const __m512i all = _mm512_add_epi32(_mm512_slli_epi32(high[row], LOW_BITS), low[row]);
            const __m256i two = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
            const __m128i whole = _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
            sum[row] = _mm_srai_epi32(_mm_add_epi32(whole, half), BITS);
        }
        store_pixels(_mm_packus_epi16(_mm_packs_epi32(sum[0], sum[1]), _mm_packs_epi32(sum[2], sum[3])), i, i == axis->places - 1, target);
    }
}

TARGET_WIDE static void avx512_column(const prn__axis *axis, int64_t place, const uint8_t *source, int64_t stride, int64_t bytes, uint8_t *target)
{
    const int16_t *w = axis->packed + place * axis->groups * 4;
    const int64_t count = axis->counts[place];
    const __m512i half = _mm512_set1_epi32(1 << (BITS - 1));
    if (bytes < WIDE_BLOCK) {
        avx2_column(axis, place, source, stride, bytes, target);
        return;
    }
    for (int64_t x = 0;; x += WIDE_BLOCK) {
        x = x + WIDE_BLOCK > bytes ? bytes - WIDE_BLOCK : x;
        __m512i high[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()}, low[2] = {half, half};
        const uint8_t *s = source + x;
        for (int64_t k = 0; k < count; k += 2, s += 2 * stride) {
            int32_t pair[2];
            memcpy(pair, w + 2 * k, sizeof pair);
            const __m512i w_high = _mm512_set1_epi32(pair[0]), w_low = _mm512_set1_epi32(pair[1]);
            const __m512i a = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)s));
            const __m512i b = k + 1 < count ? _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(s + stride)))
                                            : _mm512_setzero_si512();
            const __m512i both[2] = {_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)};
            for (int j = 0; j < 2; j++) {
                high[j] = _mm512_dpwssd_epi32(high[j], both[j], w_high);
                low[j] = _mm512_dpwssd_epi32(low[j], both[j], w_low);
            }
        }
        for (int j = 0; j < 2; j++) {
            low[j] = _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(high[j], LOW_BITS), low[j]), BITS);
        }
        const __m512i values = _mm512_max_epi16(_mm512_packs_epi32(low[0], low[1]), _mm512_setzero_si512());
        _mm256_storeu_si256((__m256i *)(void *)(target + x), _mm512_cvtusepi16_epi8(values));
        if (x + WIDE_BLOCK >= bytes) {
            break;
        }
    }
}

static const prn__resize_kernels avx512_kernels = {"avx512", 1, avx512_rows, avx512_column};

const prn__resize_kernels *prn__resize_avx512(void)
{
    const int has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx2");
    return has ? &avx512_kernels : NULL;
}

#else

const prn__resize_kernels *prn__resize_avx2(void)
{
    return NULL;
}

const prn__resize_kernels *prn__resize_avx512(void)
{
    return NULL;
}

#endif
