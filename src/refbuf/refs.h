/* SPDX-License-Identifier: MIT */
/* refs: weighted counts, and the end of what is counted. */
#ifndef WR_REFS_H
#define WR_REFS_H

#include "arena/doors.h"
#include "weir/weir.h"

#include <stdbool.h>
#include <stdint.h>

/* Memory of somebody else's. */
struct wr_foreign {
    const void *bytes;
    size_t len;
    _Atomic uint64_t refs; /* the weight that is out */
    weir_release_fn *release;
    void *user;
};

/* The part of divide for static memory, and where little weight is left. */
uint64_t wr_refs_divide_rarely(uint64_t *word, uint64_t owner);

/*
 * Takes part of the weight of a handle for a second one; `word` is the first
 * one's, and what is returned is a word with the same kind and length.
 */
static inline uint64_t
wr_refs_divide(uint64_t *word, uint64_t owner)
{
    uint32_t share = wr_word_weight(*word) / 4;
    if (share == 0)
        return wr_refs_divide_rarely(word, owner);
    *word -= (uint64_t)share << WR_WEIGHT_SHIFT;
    return wr_word_with_weight(*word, share);
}

/* A second handle's word without a change of the first one's. */
uint64_t wr_refs_add(uint64_t word, uint64_t owner);

/* The part of drop for whatever is not the only handle of a block whose word is
   on top of the thread's cache. */
void wr_refs_drop_counted(uint64_t word, uint64_t owner, const uint8_t *data);

/* Drop, for a handle that has the whole weight of a buddy's block. */
void wr_refs_drop_buddy(uint64_t word, uint64_t owner, const uint8_t *data);

/* Gives the weight of a handle back; whoever gives the last sends the memory
   home. `data` is the handle's, to check it. */
static inline void
wr_refs_drop(uint64_t word, uint64_t owner, const uint8_t *data)
{
    if (wr_word_is_whole_block(word) &&
        wr_door_give(owner, data, WR_WEIGHT_WHOLE))
        return;
    if (wr_word_is_whole_buddy(word))
        wr_refs_drop_buddy(word, owner, data);
    else
        wr_refs_drop_counted(word, owner, data);
}

/* True if this handle has all the weight that is out. */
bool wr_refs_is_sole(uint64_t word, uint64_t owner);

/* The word of a sole handle with the whole weight, and its count. */
uint64_t wr_refs_make_whole(uint64_t word, uint64_t owner);

#endif
