/* SPDX-License-Identifier: MIT */
/* poison: what the program's sanitizers are told about our memory. */
#ifndef WR_POISON_H
#define WR_POISON_H

#include <stdbool.h>
#include <stddef.h>

/* True if the program has an AddressSanitizer that wants to be told. */
bool wr_poison_is_on(void);

/* Of the `room` bytes at `memory` the first `size` may be used, and no others.
   Who uses some that may be used before and after does not notice. */
void wr_poison_open(const void *memory, size_t size, size_t room);

/* None of them may be used. */
void wr_poison_shut(const void *memory, size_t room);

/*
 * What malloc gave and only a pointer in these bytes knows of is no leak. They are
 * readable until the same ones are removed.
 */
void wr_roots_add(const void *memory, size_t size);
void wr_roots_remove(const void *memory, size_t size);

#endif
