/* SPDX-License-Identifier: MIT */
/*
 * text: the JSON answer, written piece by piece into whatever room there is.
 *
 * Idea
 *   A large answer never exists as a whole: the caller takes pieces while its
 *   block has room, sends the block and comes back. Every number has the same
 *   width, so the length is known before the first piece, and the answer needs
 *   no chunks. Nine digits read back as exactly the same float.
 *
 *   Writing numbers as digits, or as base64, is a change of form: the text is
 *   made here, once, where it is sent from. It is no copy of the row and is
 *   not counted as one; the row itself stays in its matrix.
 */

#include "text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    NUMBER_WIDTH = 15, /* "-1.23456789e-01", or a space for the sign */
    BYTES_A_PIECE = 48 /* 64 letters of base64 */
};

static const char opening[] = "{\"object\":\"list\",\"data\":[";

static size_t
row_bytes(const struct text *text)
{
    return text->dim * sizeof(float);
}

static size_t
write_row_open(const struct text *text, size_t row, char *out)
{
    return (size_t)snprintf(out, TEXT_PIECE,
        "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":%c",
        row > 0 ? "," : "", row, text->encoding == ENCODING_FLOAT ? '[' : '"');
}

static size_t
write_close(const struct text *text, char *out)
{
    return (size_t)snprintf(out, TEXT_PIECE,
        "],\"model\":\"feature-hash-%zu\","
        "\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}\n",
        text->dim, text->word_count, text->word_count);
}

size_t
text_len(const struct text *text)
{
    char scratch[TEXT_PIECE];
    size_t numbers = text->encoding == ENCODING_FLOAT
                         ? text->dim * (NUMBER_WIDTH + 1) - 1
                         : (row_bytes(text) + 2) / 3 * 4;
    size_t len = sizeof(opening) - 1 + write_close(text, scratch);
    for (size_t row = 0; row < text->row_count; row++)
        len += write_row_open(text, row, scratch) + numbers + 2;
    return len;
}

static size_t
write_number(struct text *text, char *out)
{
    double number = text->rows[text->row * text->dim + text->place];
    size_t len = 0;
    if (text->place > 0)
        out[len++] = ',';
    len += (size_t)snprintf(out + len, NUMBER_WIDTH + 1, "% .8e", number);
    if (++text->place == text->dim)
        text->stage = TEXT_ROW_CLOSE;
    return len;
}

/* Three bytes, or the last one or two, as four letters. */
static void
encode(const uint8_t *bytes, size_t count, char *out)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = (uint32_t)bytes[0] << 16;
    if (count > 1)
        bits |= (uint32_t)bytes[1] << 8;
    if (count > 2)
        bits |= bytes[2];
    for (size_t i = 0; i < 4; i++)
        out[i] = letters[bits >> (18 - 6 * i) & 63];
    for (size_t i = count + 1; i < 4; i++)
        out[i] = '=';
}

static size_t
write_base64(struct text *text, char *out)
{
    const uint8_t *row = (const uint8_t *)(text->rows + text->row * text->dim);
    size_t left = row_bytes(text) - text->place;
    size_t count = left < BYTES_A_PIECE ? left : BYTES_A_PIECE;
    size_t len = 0;
    for (size_t i = 0; i < count; i += 3, len += 4)
        encode(row + text->place + i, count - i < 3 ? count - i : 3, out + len);
    text->place += count;
    if (text->place == row_bytes(text))
        text->stage = TEXT_ROW_CLOSE;
    return len;
}

static size_t
write_row_close(struct text *text, char *out)
{
    out[0] = text->encoding == ENCODING_FLOAT ? ']' : '"';
    out[1] = '}';
    text->row++;
    text->place = 0;
    text->stage = text->row < text->row_count ? TEXT_ROW_OPEN : TEXT_CLOSE;
    return 2;
}

size_t
text_next(struct text *text, char *out)
{
    switch (text->stage) {
    case TEXT_OPEN:
        text->stage = TEXT_ROW_OPEN;
        memcpy(out, opening, sizeof(opening) - 1);
        return sizeof(opening) - 1;
    case TEXT_ROW_OPEN:
        text->stage = TEXT_NUMBERS;
        return write_row_open(text, text->row, out);
    case TEXT_NUMBERS:
        return text->encoding == ENCODING_FLOAT ? write_number(text, out)
                                                : write_base64(text, out);
    case TEXT_ROW_CLOSE:
        return write_row_close(text, out);
    case TEXT_CLOSE:
        text->stage = TEXT_DONE;
        return write_close(text, out);
    case TEXT_DONE:
        return 0;
    }
    return 0;
}
