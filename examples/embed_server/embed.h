/* SPDX-License-Identifier: MIT */
#ifndef EMBED_EMBED_H
#define EMBED_EMBED_H

#include <stddef.h>

/*
 * Writes the embedding of `len` bytes of UTF-8 into `dim` `numbers`:
 * of length 1, and the same for the same text everywhere. Returns how many
 * words the text has.
 */
size_t embed_text(
    const unsigned char *text, size_t len, float *numbers, size_t dim);

#endif
