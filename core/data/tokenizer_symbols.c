/* core/data/tokenizer_symbols.c: see tokenizer_symbols.h. The four ranges are few enough to compute with, so that there is no table. */
#include "data/tokenizer_symbols.h"

#include <string.h>

static int is_plain(int byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The 68 that are not plain: 00-20, 7F-A0, AD. Their place among themselves. */
static int odd_index(int byte)
{
    return byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7F + 0x21 : 0x21 + 0x22;
}

static int odd_byte(int index)
{
    return index <= 0x20 ? index : index < 0x21 + 0x22 ? index - 0x21 + 0x7F : 0xAD;
}

enum { FIRST = 0x7E - 0x21 + 1, SECOND = 0xAC - 0xA1 + 1, PLAIN = 188 };

int prn__symbol_of_byte(uint8_t byte)
{
    if (!is_plain(byte)) {
        return PLAIN + odd_index(byte);
    }
    return byte <= 0x7E ? byte - 0x21 : byte <= 0xAC ? FIRST + byte - 0xA1 : FIRST + SECOND + byte - 0xAE;
}

uint8_t prn__byte_of_symbol(int symbol)
{
    if (symbol >= PLAIN) {
        return (uint8_t)odd_byte(symbol - PLAIN);
    }
    return (uint8_t)(symbol < FIRST ? symbol + 0x21 : symbol < FIRST + SECOND ? symbol - FIRST + 0xA1 : symbol - FIRST - SECOND + 0xAE);
}

int prn__byte_of_character(uint32_t point)
{
    if (point >= 0x100) {
        return point < 0x100 + 256 - PLAIN ? odd_byte((int)point - 0x100) : -1;
    }
    return is_plain((int)point) ? (int)point : -1;
}

uint32_t prn__character_of_byte(uint8_t byte)
{
    return is_plain(byte) ? byte : 0x100u + (uint32_t)odd_index(byte);
}

prn_status prn__symbols_init(prn__strings *symbols)
{
    for (int i = 0; i < PRN__BASE_SYMBOLS; i++) {
        char bytes[1 + sizeof PRN__WORD_END] = {(char)prn__byte_of_symbol(i % 256)};
        size_t length = 1;
        if (i >= 256) {
            memcpy(bytes + 1, PRN__WORD_END, sizeof PRN__WORD_END - 1);
            length += sizeof PRN__WORD_END - 1;
        }
        if (prn__strings_add(symbols, bytes, length) != i) {
            return PRN_NO_MEMORY;
        }
    }
    return PRN_OK;
}
