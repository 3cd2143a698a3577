/* SPDX-License-Identifier: MIT */
/* pile: what cases about heaps share. */
#ifndef SIM_PILE_H
#define SIM_PILE_H

#include "sim.h"
#include "weir/heap.h"

#include <stddef.h>

/* Sizes of blocks, and how many there are of each in a page. */
enum {
    PILE_BLOCK = 64, /* the first class */
    PILE_WIDE = 128, /* the second */
    PILE_PAGE = 256, /* large: a page */
    PILE_PAGE_BLOCKS = 4,
    PILE_PAGE_WIDES = 2
};

/* The heap of the run. */
extern struct weir_heap *pile;

/* Makes it, with room for so many pages, where threads take `refill` blocks at a
   time; without `deep` a cache keeps one word's. */
void pile_create(size_t pages, unsigned refill, bool deep);

/* The calling thread has its caches, empty, and they come on again after one
   call past them. */
void pile_warm(void);

/* A block for whoever asks: nobody has any byte of it. NULL: full. */
void *pile_try(size_t size);

/* The same, and there must be one. */
void *pile_take(size_t size);

/* Gives it back. */
void pile_drop(void *memory);

/* The same in parts: nobody has it now, whoever is to release it. */
void pile_disown(void *memory);

/* The heap is sound, and counts what is out, no more and no less; all the rest can
   be taken; and it is empty when all is home. For who is alone; what is out are
   blocks of the first class. */
void pile_expect_whole(void);

#endif
