/* SPDX-License-Identifier: MIT */
#ifndef EMBED_MEMORY_H
#define EMBED_MEMORY_H

#include <stddef.h>

/*
 * Zeroed memory for one of the server's own small objects. It never fails: a
 * server that does not get a few hundred bytes cannot say so to anybody and
 * stops. Payload never lies here; it lies in the arenas.
 */
void *memory_zeroed(size_t size);

#endif
