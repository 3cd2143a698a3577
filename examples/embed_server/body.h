/* SPDX-License-Identifier: MIT */
#ifndef EMBED_BODY_H
#define EMBED_BODY_H

#include <stddef.h>

#include <weir/weir.h>

#include "answer.h"
#include "text.h"

/* Where the rows go, and what came of a body. */
struct rows {
    float *numbers; /* room for `room` rows of `dim` */
    size_t dim;
    size_t room;
    size_t count;
    size_t word_count;
    enum encoding encoding;
};

/*
 * Reads the JSON that lies in `body` and computes a row for every text in it.
 * ANSWER_ROWS, or what is wrong; ANSWER_TOO_MANY: there are more than `room`.
 * The body stays as it is.
 */
enum answer body_embed(const struct weir_chain *body, struct rows *rows);

#endif
