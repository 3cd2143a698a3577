/* SPDX-License-Identifier: MIT */
/*
 * refs: weighted counts, and the end of what is counted.
 *
 *     handle A      handle B      handle C            the block's count, in a table
 *     weight 3/4    weight 3/16   weight 1/16         outside the block: 0 = at rest
 *
 *     weights of all handles  =  WHOLE + count
 *
 * Idea
 *   Every handle bears a weight, and the sum of the weights of a block's
 *   handles is known: WHOLE, 2^27, plus what the block's count says. The count
 *   rests at 0 while nobody gave weight back, so making a slice writes nothing
 *   outside the handle, and cloning it divides the handle's weight. Only giving
 *   back part of the weight subtracts it from the count; whoever brings the sum
 *   to 0 was the last. A handle with the whole weight and a count at rest is
 *   the only one: it sends the block home without touching the count.
 *
 *   A clone takes a quarter of the weight, so one handle can be cloned some 65
 *   times, or clone of clone 13 deep, before a weight of 1 is left, which cannot
 *   be divided. Then 2^16 more weight is added to the count and the handle.
 *
 * Invariants
 *   1. The weights of a block's handles add up to WHOLE + count, and no handle
 *      but that of static memory has weight 0.
 *   2. The count of a free block is at rest, 0.
 *   3. A handle with the whole weight may still not be the only one, since
 *      cloning a shared source does not change it; then the count is not 0.
 *
 * Edges
 *   [last]  give_weight, acq_rel  ->  give_weight, acq_rel
 *           give_weight, acq_rel  ->  wr_refs_is_sole, wr_refs_drop, acquire
 *           All that other handles' owners read happens before the last one
 *           sends the block home, or writes into it.
 *
 * Linearization
 *   The subtraction. It cannot lose weight: it is one read-modify-write, and
 *   what it returns says how much was out before it.
 *
 * Costs
 *   divide: none, or a locked add in 1 of 65. drop: none for the only handle
 *   but a load of a count nobody writes; else one locked subtraction.
 *
 * Limits
 *   What is seen of misuse: giving back more than is out, and giving back into
 *   a free block. A double release while other handles live goes unseen until
 *   the last of them finds too little left. Of two double releases that race,
 *   the later may hit a block that was handed out again; its weight is then
 *   missed at that block's last release. Spilled and foreign memory is freed
 *   with its count, so a double release of it is seen only before that.
 *
 * Source
 *   D. I. Bevan, and P. Watson and I. Watson, both at PARLE 1987.
 */

#include "refbuf/refs.h"

#include "arena/arena.h"
#include "base/check.h"
#include "platform/memory.h"

#include <stdint.h>

enum { MORE_WEIGHT = 1 << 16 };

static struct wr_foreign *
foreign_at(uint64_t owner)
{
    return (struct wr_foreign *)(uintptr_t)owner;
}

static _Atomic uint64_t *
count_of(uint64_t word, uint64_t owner)
{
    if (wr_word_kind(word) == WR_FOREIGN)
        return &foreign_at(owner)->refs;
    return wr_arena_refs(word, owner);
}

/* How a weight is divided: what the second handle gets. */
static uint32_t
share_of(uint32_t weight)
{
    return weight < 4 ? 1 : weight / 4;
}

uint64_t
wr_refs_divide(uint64_t *word, uint64_t owner)
{
    if (wr_word_kind(*word) == WR_STATIC)
        return *word;
    uint32_t weight = wr_word_weight(*word);
    WR_CHECK(weight != 0, "a slice was used after it was released");
    if (weight == 1) {
        (void)wr_add_relaxed(
            count_of(*word, owner), MORE_WEIGHT); /* we hold a reference */
        weight += MORE_WEIGHT;
    }
    uint32_t share = share_of(weight);
    *word = wr_word_with_weight(*word, weight - share);
    return wr_word_with_weight(*word, share);
}

uint64_t
wr_refs_add(uint64_t word, uint64_t owner)
{
    if (wr_word_kind(word) == WR_STATIC)
        return word;
    (void)wr_add_relaxed(
        count_of(word, owner), MORE_WEIGHT); /* we hold a reference */
    return wr_word_with_weight(word, MORE_WEIGHT);
}

bool
wr_refs_is_sole(uint64_t word, uint64_t owner)
{
    uint64_t count = wr_load_acquire(count_of(word, owner)); /* [last] */
    return count + WR_WEIGHT_WHOLE == wr_word_weight(word);
}

uint64_t
wr_refs_make_whole(uint64_t word, uint64_t owner)
{
    wr_store_relaxed(count_of(word, owner), 0); /* we are alone */
    return wr_word_with_weight(word, WR_WEIGHT_WHOLE);
}

static void
go_home(uint64_t word, uint64_t owner, const uint8_t *data)
{
    if (wr_word_kind(word) != WR_FOREIGN) {
        wr_arena_give(word, owner, data);
        return;
    }
    struct wr_foreign foreign = *foreign_at(owner);
    wr_memory_release(foreign_at(owner));
    foreign.release(foreign.bytes, foreign.len, foreign.user);
}

static _Noreturn void
fail_weight(uint64_t word, uint64_t owner)
{
    static const char what[] = "released once too often";
    if (wr_word_kind(word) == WR_FOREIGN)
        wr_fail(what, "foreign memory", WR_NO_BLOCK);
    int64_t block = wr_word_kind(word) == WR_BLOCK
                        ? (int64_t)wr_owner_slot(owner)
                        : WR_NO_BLOCK;
    wr_fail(what, wr_arena_of(word, owner)->name, block);
}

/* Takes the weight off the count; true if it was the last. */
static bool
give_weight(uint64_t word, uint64_t owner)
{
    uint32_t weight = wr_word_weight(word);
    _Atomic uint64_t *count = count_of(word, owner);
    uint64_t out = wr_sub_acq_rel(count, weight) + WR_WEIGHT_WHOLE; /* [last] */
    if (out < weight || out > INT64_MAX)
        fail_weight(word, owner);
    if (out != weight)
        return false;
    wr_store_relaxed(count, 0); /* invariant 2; we are alone */
    return true;
}

/* True if this handle was the last. With much of the weight it may be the only
   one left; then a look saves the locked subtraction. */
static bool
was_last(uint64_t word, uint64_t owner)
{
    if (wr_word_weight(word) < WR_WEIGHT_WHOLE / 2 ||
        !wr_refs_is_sole(word, owner))
        return give_weight(word, owner);
    (void)wr_refs_make_whole(word, owner);
    return true;
}

void
wr_refs_drop_slowly(uint64_t word, uint64_t owner, const uint8_t *data)
{
    enum wr_kind kind = wr_word_kind(word);
    if (kind == WR_EMPTY || kind == WR_STATIC)
        return;
    if (kind == WR_BLOCK)
        wr_arena_check_live(word, owner);
    if (was_last(word, owner))
        go_home(word, owner, data);
}
