/* SPDX-License-Identifier: MIT */
/*
 * refs: weighted counts, and the end of what is counted.
 *
 *     handle A      handle B      handle C            the block's count, in a table
 *     weight 3/4    weight 3/16   weight 1/16         outside the block: 0 = free
 *
 *     weights of all handles  =  count
 *
 * Idea
 *   Every handle bears a weight, and a block's count is the sum of the weights
 *   of its handles. It is WHOLE, 2^27, from the moment the block is taken until
 *   somebody gives weight back: making a slice writes nothing outside the
 *   handle, and cloning it divides the handle's weight. Giving back part of the
 *   weight subtracts it from the count; whoever brings it to 0 was the last. A
 *   handle whose weight is all the count says is the only one: it sends the
 *   block home with a load and a store.
 *
 *   A clone takes a quarter of the weight, so one handle can be cloned some 60
 *   times, or clone of clone 12 deep, before less than 4 is left, which has no
 *   quarter. Then 2^16 more weight is added to the count and the handle.
 *
 * Invariants
 *   1. The weights of a block's handles add up to its count, and no handle but
 *      that of static memory has weight 0.
 *   2. The count of a free block is 0. That of a buddy's block that is out bears the
 *      block's order as well, and a handle of another order is told.
 *   3. A handle with the weight WHOLE may still not be the only one, since
 *      cloning a shared source does not change it; then the count is greater.
 *
 * Edges
 *   [last]  give_weight, acq_rel  ->  give_weight, acq_rel
 *           give_weight, acq_rel  ->  wr_refs_is_sole, wr_door_give, acquire
 *           All that other handles' owners read happens before the last one
 *           sends the block home, or writes into it.
 *
 * Linearization
 *   The subtraction. It cannot lose weight: it is one read-modify-write, and
 *   what it returns says how much was out before it.
 *
 * Costs
 *   divide: none for the first 60, then a locked add in 1 of 37. drop: none for
 *   the only handle; else one locked subtraction. Handles of a block that one
 *   thread drops one after the other, in whatever order and with no other block's
 *   in between, take one subtraction less than they are: what the last one left
 *   is the weight of the only one that remains.
 *
 * Limits
 *   What is seen of misuse: giving back more than is out, and giving back into
 *   a free block. A double release while other handles live goes unseen until
 *   the last of them finds too little left. Of two double releases that race,
 *   the later may hit a block that was handed out again; its weight is then
 *   missed at that block's last release. Spilled and foreign memory is released
 *   with its count: a handle of it that is used or released later is seen as long
 *   as the heap has not handed that memory out again (core/memory.c).
 *
 * Source
 *   D. I. Bevan, and P. Watson and I. Watson, both at PARLE 1987.
 */

#include "refbuf/refs.h"

#include "arena/arena.h"
#include "base/check.h"
#include "core/memory.h"

enum { MORE_WEIGHT = 1 << 16 };

/* The control block of a handle that is out. */
static struct wr_foreign *
foreign_at(uint64_t owner)
{
    struct wr_foreign *foreign = (struct wr_foreign *)(uintptr_t)owner;
    WR_CHECK(wr_memory_state(foreign) == WEIR_OK,
        "foreign memory was used or released after its release");
    return foreign;
}

static _Atomic uint64_t *
count_of(uint64_t word, uint64_t owner)
{
    if (wr_word_kind(word) == WR_FOREIGN)
        return &foreign_at(owner)->refs;
    return wr_arena_refs(word, owner);
}

uint64_t
wr_refs_divide_rarely(uint64_t *word, uint64_t owner)
{
    if (wr_word_kind(*word) == WR_STATIC)
        return *word;
    uint32_t weight = wr_word_weight(*word);
    WR_CHECK(weight != 0, "a slice was used after it was released");
    (void)wr_add_relaxed(
        count_of(*word, owner), MORE_WEIGHT); /* we hold a reference */
    uint32_t share = MORE_WEIGHT / 4;
    *word = wr_word_with_weight(*word, weight + MORE_WEIGHT - share);
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
    return count == (wr_word_weight(word) | wr_handle_tag(word, owner));
}

uint64_t
wr_refs_make_whole(uint64_t word, uint64_t owner)
{
    wr_store_relaxed(count_of(word, owner),
        WR_WEIGHT_WHOLE | wr_handle_tag(word, owner)); /* we are alone */
    return wr_word_with_weight(word, WR_WEIGHT_WHOLE);
}

/* What giving weight back has shown. */
enum given {
    NOT_LAST,
    LAST,    /* the count is 0 again */
    FREE,    /* nothing was out */
    TOO_MUCH /* more than was out */
};

/* What the thread's last subtraction left, of whatever block. */
static WR_TLS uint64_t left;

/* True if a handle may well be the only one that is left: then a look saves the
   locked subtraction. Else it would only wait for the subtractions before, to
   learn what its own says. */
static bool
is_last_perhaps(uint32_t weight)
{
    return weight >= WR_WEIGHT_WHOLE / 2 || weight == left;
}

/* `tag` is what the count has of the block's order. */
static enum given
give_weight(_Atomic uint64_t *count, uint32_t weight, uint64_t tag)
{
    uint64_t out = 0;
    if (weight == 0)
        return TOO_MUCH; /* invariant 1: no handle of ours */
    if (is_last_perhaps(weight))
        out = wr_load_acquire(count); /* [last] */
    if (out != (weight | tag)) {
        out = wr_sub_acq_rel(count, weight); /* [last] */
        if (out == 0)
            return FREE;
        if (wr_count_order(out ^ tag) != 0 || (out ^ tag) < weight)
            return TOO_MUCH;
        left = (out ^ tag) - weight;
        if (left != 0)
            return NOT_LAST;
    }
    wr_store_relaxed(count, 0); /* invariant 2; we are alone */
    return LAST;
}

static const char too_often[] = "released once too often";

static void
drop_spilled(uint64_t word, uint64_t owner)
{
    struct weir_arena *arena = wr_arena_of(word, owner);
    switch (give_weight(count_of(word, owner), wr_word_weight(word), 0)) {
    case NOT_LAST:
        break;
    case LAST:
        wr_arena_give(word, owner, NULL);
        break;
    case FREE:
    case TOO_MUCH:
        wr_fail(too_often, arena->name, WR_NO_BLOCK);
    }
}

/* The count goes first: the function may do anything. */
static void
let_go(struct wr_foreign *foreign)
{
    weir_release_fn *release = foreign->release;
    const void *bytes = foreign->bytes;
    size_t len = foreign->len;
    void *user = foreign->user;
    wr_memory_release(foreign, "foreign memory");
    if (release != NULL)
        release(bytes, len, user);
}

static void
drop_foreign(uint64_t word, uint64_t owner)
{
    struct wr_foreign *foreign = foreign_at(owner);
    switch (give_weight(&foreign->refs, wr_word_weight(word), 0)) {
    case NOT_LAST:
        break;
    case LAST:
        let_go(foreign);
        break;
    case FREE:
    case TOO_MUCH:
        wr_fail(
            "foreign memory was released once too often", NULL, WR_NO_BLOCK);
    }
}

static void
drop_block(uint64_t word, uint64_t owner, const uint8_t *data)
{
    struct weir_arena *arena = wr_directory_at(wr_owner_arena(owner));
    uint32_t slot = wr_owner_slot(owner);
    if (!wr_arena_has_block(arena, word, owner))
        wr_arena_fail(arena, slot, "released, but the arena has no such block");
    enum given given = give_weight(wr_arena_refs_at(arena, slot),
        wr_word_weight(word), wr_handle_tag(word, owner));
    if (given == NOT_LAST)
        return;
    if (given == FREE)
        wr_arena_fail(arena, slot, "released twice");
    if (given == TOO_MUCH)
        wr_arena_fail(arena, slot, too_often);
    bool is_home = wr_word_kind(word) == WR_BLOCK
                       ? wr_door_give(owner, data, 0)
                       : wr_buddy_door_give(owner, data, 0);
    if (!is_home)
        wr_arena_give_rarely(arena, owner, data);
}

/* Not inlined, so that its caller saves no registers for it. */
__attribute__((noinline)) static void
drop_other(uint64_t word, uint64_t owner)
{
    switch (wr_word_kind(word)) {
    case WR_EMPTY:
    case WR_STATIC:
        break;
    case WR_SPILLED:
        drop_spilled(word, owner);
        break;
    case WR_FOREIGN:
        drop_foreign(word, owner);
        break;
    case WR_BLOCK:
    case WR_BUDDY:
    default:
        wr_fail("a handle of no kind was released", NULL, WR_NO_BLOCK);
    }
}

void
wr_refs_drop_counted(uint64_t word, uint64_t owner, const uint8_t *data)
{
    if (wr_word_is_whole_block(word) && wr_arena_give_below(owner, data))
        return;
    if (!wr_word_is_block(word))
        drop_other(word, owner);
    else
        drop_block(word, owner, data);
}

void
wr_refs_drop_buddy(uint64_t word, uint64_t owner, const uint8_t *data)
{
    if (!wr_buddy_door_give(
            owner, data, WR_WEIGHT_WHOLE | wr_order_tag(wr_owner_order(owner))))
        wr_refs_drop_counted(word, owner, data);
}
