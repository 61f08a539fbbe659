/* core/data/tokenizer_symbols.h: how a vocabulary file writes bytes, shared by the reader and the learner.
 *
 * A file writes each byte as one character: bytes 21-7E, A1-AC and AE-FF as the character of that number, the other 68, in ascending
 * order, as U+0100 on. A symbol that ends a word has "</w>" behind it. Symbols 0 to 255 are the bytes in the order of that sentence, 256 to
 * 511 the same with "</w>".
 */
#ifndef PRN_DATA_TOKENIZER_SYMBOLS_H
#define PRN_DATA_TOKENIZER_SYMBOLS_H

#include "data/tokenizer_strings.h"

enum {
    PRN__BASE_SYMBOLS = 512,
    PRN__CLIP_MERGES = 48894,          /* what the original CLIP uses of its file */
    PRN__MOST_MERGES = 16 * 1024 * 1024 /* far beyond any vocabulary in use; keeps ids and sizes in range */
};

#define PRN__WORD_END "</w>"

/* The symbol of a byte (0 to 255), and the byte of a symbol. [any] */
int prn__symbol_of_byte(uint8_t byte);
uint8_t prn__byte_of_symbol(int symbol);
/* The byte of a character of the file, -1 when it stands for none. [any] */
int prn__byte_of_character(uint32_t point);
/* The character that stands for a byte. [any] */
uint32_t prn__character_of_byte(uint8_t byte);
/* Adds the 512 symbols (as plain bytes, "</w>" in letters) to an empty set; PRN_NO_MEMORY. */
prn_status prn__symbols_init(prn__strings *symbols);

#endif
