/* SPDX-License-Identifier: MIT */
#ifndef EMBED_TEXT_H
#define EMBED_TEXT_H

#include <stddef.h>

enum { TEXT_PIECE = 192 };

enum encoding { ENCODING_FLOAT, ENCODING_BASE64 };

/* Where the text goes on. */
enum text_stage {
    TEXT_OPEN,
    TEXT_ROW_OPEN,
    TEXT_NUMBERS,
    TEXT_ROW_CLOSE,
    TEXT_CLOSE,
    TEXT_DONE
};

/* The JSON of an answer on its way out. The caller sets the first five; `rows`
   must stay. */
struct text {
    const float *rows;
    size_t row_count;
    size_t dim;
    size_t word_count;
    enum encoding encoding;
    enum text_stage stage;
    size_t row;
    size_t place; /* in the row: of the next number, or of the next byte */
};

/* The bytes of the whole text, before any of it is written. */
size_t text_len(const struct text *text);

/* Writes the next piece, at most TEXT_PIECE bytes, to `out` and returns its
   length; 0 at the end. */
size_t text_next(struct text *text, char *out);

#endif
