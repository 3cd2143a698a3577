/* SPDX-License-Identifier: MIT */
#ifndef EMBED_TALLY_H
#define EMBED_TALLY_H

#include <stdbool.h>
#include <stddef.h>

/* How many texts a body can hold, as far as it has been seen. Zeroed it has
   seen nothing. */
struct tally {
    size_t strings; /* that began inside brackets */
    size_t depth;   /* of brackets */
    bool in_string;
    bool escaped; /* the next byte is */
};

/* Sees the next `n` bytes of the body. */
void tally_add(struct tally *tally, const char *bytes, size_t n);

/* So many rows are enough for the body, and at least 1. */
size_t tally_rows(const struct tally *tally);

#endif
