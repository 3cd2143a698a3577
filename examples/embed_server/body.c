/* SPDX-License-Identifier: MIT */
/*
 * body: from the bytes of a request to rows, in one pass and without a copy.
 *
 *     chain   [ {"model":"m","inp ][ ut":["first text","second ][ text"]} ]
 *     yajl                      | key    | string           | string
 *     rows                               row 0              row 1
 *
 * Idea
 *   yajl is fed slice by slice and calls back with each string where it lies.
 *   The model reads it there and writes the row into the result matrix, so a
 *   text is never held anywhere. Keys may come in any order.
 *
 * Limits
 *   A string that is escaped, or crosses from one slice into the next, is put
 *   together by yajl inside itself. That is the parser's, and not counted.
 */

#include "body.h"

#include <stdbool.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "embed.h"

enum field {
    FIELD_OTHER,
    FIELD_MODEL,
    FIELD_INPUT,
    FIELD_ENCODING,
    FIELD_DIMENSIONS
};

/* At depth 1 we are between the outer braces; below a known field there is
   only the array of input, everything else is skipped with its parts. */
struct reading {
    struct rows *rows;
    enum field field;
    size_t depth;
    bool seen_input;
    enum answer wrong;
};

static const char *const field_names[] = {
    [FIELD_MODEL] = "model",
    [FIELD_INPUT] = "input",
    [FIELD_ENCODING] = "encoding_format",
    [FIELD_DIMENSIONS] = "dimensions",
};

static bool
is_word(const unsigned char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

static int
refuse(struct reading *reading, enum answer wrong)
{
    reading->wrong = wrong;
    return 0;
}

static int
embed_input(struct reading *reading, const unsigned char *text, size_t len)
{
    struct rows *rows = reading->rows;
    if (rows->count == rows->room)
        return refuse(reading, ANSWER_TOO_MANY);
    rows->word_count += embed_text(
        text, len, rows->numbers + rows->count * rows->dim, rows->dim);
    rows->count++;
    return 1;
}

static int
choose_encoding(struct reading *reading, const unsigned char *text, size_t len)
{
    if (is_word(text, len, "base64"))
        reading->rows->encoding = ENCODING_BASE64;
    else if (is_word(text, len, "float"))
        reading->rows->encoding = ENCODING_FLOAT;
    else
        return refuse(reading, ANSWER_BAD_SHAPE);
    return 1;
}

static int
on_string(void *user, const unsigned char *text, size_t len)
{
    struct reading *reading = user;
    if (reading->depth == 0)
        return refuse(reading, ANSWER_BAD_SHAPE);
    switch (reading->field) {
    case FIELD_OTHER:
    case FIELD_MODEL:
        return 1;
    case FIELD_INPUT:
        return embed_input(reading, text, len);
    case FIELD_ENCODING:
        return choose_encoding(reading, text, len);
    case FIELD_DIMENSIONS:
        return refuse(reading, ANSWER_BAD_SHAPE);
    }
    return 0;
}

/* Anything that only a field we do not know may have. */
static int
on_anything(struct reading *reading)
{
    if (reading->depth > 0 && reading->field == FIELD_OTHER)
        return 1;
    return refuse(reading, ANSWER_BAD_SHAPE);
}

/* An optional field may be null, which says nothing. */
static int
on_null(void *user)
{
    struct reading *reading = user;
    if (reading->depth == 1 && reading->field != FIELD_INPUT)
        return 1;
    return on_anything(reading);
}

static int
on_boolean(void *user, int value)
{
    (void)value;
    return on_anything(user);
}

/* The only number we take is one we cannot change: our own dimension. */
static int
on_number(void *user, const char *text, size_t len)
{
    struct reading *reading = user;
    if (reading->field != FIELD_DIMENSIONS)
        return on_anything(reading);
    size_t value = 0;
    for (size_t i = 0; i < len && value <= reading->rows->dim; i++) {
        if (text[i] < '0' || text[i] > '9')
            return refuse(reading, ANSWER_BAD_SHAPE);
        value = value * 10 + (size_t)(text[i] - '0');
    }
    return value == reading->rows->dim ? 1 : refuse(reading, ANSWER_BAD_SHAPE);
}

static int
on_key(void *user, const unsigned char *text, size_t len)
{
    struct reading *reading = user;
    if (reading->depth > 1)
        return 1;
    reading->field = FIELD_OTHER;
    for (enum field i = FIELD_MODEL; i <= FIELD_DIMENSIONS; i++)
        if (is_word(text, len, field_names[i]))
            reading->field = i;
    if (reading->field != FIELD_INPUT)
        return 1;
    if (reading->seen_input)
        return refuse(reading, ANSWER_BAD_SHAPE);
    reading->seen_input = true;
    return 1;
}

static int
on_open_map(void *user)
{
    struct reading *reading = user;
    if (reading->depth > 0 && on_anything(reading) == 0)
        return 0;
    reading->depth++;
    return 1;
}

static int
on_open_array(void *user)
{
    struct reading *reading = user;
    bool is_input = reading->depth == 1 && reading->field == FIELD_INPUT;
    if (!is_input && on_anything(reading) == 0)
        return 0;
    reading->depth++;
    return 1;
}

static int
on_close(void *user)
{
    struct reading *reading = user;
    reading->depth--;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_open_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_close,
    .yajl_start_array = on_open_array,
    .yajl_end_array = on_close,
};

static yajl_status
feed(yajl_handle parser, const struct weir_chain *body)
{
    yajl_status status = yajl_status_ok;
    size_t count = weir_chain_count(body);
    for (size_t i = 0; i < count && status == yajl_status_ok; i++) {
        const struct weir_slice *slice = weir_chain_at(body, i);
        status =
            yajl_parse(parser, weir_slice_data(slice), weir_slice_len(slice));
    }
    return status == yajl_status_ok ? yajl_complete_parse(parser) : status;
}

enum answer
body_embed(const struct weir_chain *body, struct rows *rows)
{
    struct reading reading = { .rows = rows };
    yajl_handle parser = yajl_alloc(&callbacks, NULL, &reading);
    if (parser == NULL)
        return ANSWER_FAILED;
    yajl_status status = feed(parser, body);
    yajl_free(parser);
    if (status == yajl_status_client_canceled)
        return reading.wrong;
    if (status != yajl_status_ok)
        return ANSWER_BAD_JSON;
    return rows->count > 0 ? ANSWER_ROWS : ANSWER_BAD_SHAPE;
}
