/* core/data/tokenizer.h: the CLIP byte-pair tokenizer for any vocabulary file.
 *
 * A vocabulary file is CLIP's format: a version line, then one merge ("left right") a line, plain or gzip. Token ids:
 * 256 byte symbols, the same with "</w>", the merges in order, start-of-text, end-of-text.
 */
#ifndef PRN_DATA_TOKENIZER_H
#define PRN_DATA_TOKENIZER_H

#include <perennial/status.h>

typedef struct prn__tokenizer prn__tokenizer;

/* `merge_limit` 0: as many merges as the original CLIP uses of its own file (48,894), else all up to that many. */
prn_status prn__tokenizer_open(const char *path, int64_t merge_limit, prn__tokenizer **tokenizer, prn_error *error);
void prn__tokenizer_close(prn__tokenizer *tokenizer);
int64_t prn__tokenizer_vocab_size(const prn__tokenizer *tokenizer);
/* Writes at most `context_length` (at least 2) ids: start-of-text, the caption's, end-of-text (kept when cut). Returns the count, >= 2.
 * `text` is any bytes (invalid UTF-8 becomes U+FFFD). Reentrant: many threads may share one tokenizer. An ordinary caption needs no
 * heap; a long one (hundreds of characters) that finds no memory, one above 128 MiB, or a `context_length` below 2 gives 0, and the ids
 * are undefined. [any] */
int64_t prn__tokenizer_encode(const prn__tokenizer *tokenizer, const char *text, size_t length, int64_t context_length, int32_t *ids);
/* The caption's text back, for `data show`: cleaned, one space between its pieces. Caller frees with prn__free; NULL when out of
 * memory. [any] */
char *prn__tokenizer_decode(const prn__tokenizer *tokenizer, const int32_t *ids, int64_t count);

/* Learns a vocabulary from captions (NUL-terminated lines in memory) and writes it in CLIP's format. Deterministic. It has fewer merges
 * than asked for when no pair occurs twice any more; when none does to begin with, that is PRN_INVALID and nothing is written. [any] */
prn_status prn__tokenizer_learn(const char *const *captions, size_t count, int64_t merges, const char *path, prn_error *error);

#endif
