/* SPDX-License-Identifier: MIT */
/*
 * Every allocation behind bufs, slices and chains fails once, and from there
 * on. All of them pass src/core/memory.h, and this is linked with
 * --wrap=wr_memory_alloc and --wrap=wr_memory_alloc_zeroed.
 */
#include "support/refbuf.h"

#include "refbuf/refs.h"

#include <errno.h>

enum { BLOCK = 64, BLOCKS = 2, NEVER = 0 };

void *__real_wr_memory_alloc(size_t size);
void *__real_wr_memory_alloc_zeroed(size_t size);
void *__wrap_wr_memory_alloc(size_t size);
void *__wrap_wr_memory_alloc_zeroed(size_t size);

static struct {
    size_t calls;
    size_t fail_at; /* the number of the call; NEVER */
    bool for_ever;  /* and of all that follow */
    size_t failed;
} faults;

static bool
fails(void)
{
    faults.calls++;
    bool fails = faults.fail_at != NEVER &&
                 (faults.for_ever ? faults.calls >= faults.fail_at
                                  : faults.calls == faults.fail_at);
    faults.failed += fails;
    if (fails)
        errno = ENOMEM;
    return fails;
}

void *
__wrap_wr_memory_alloc(size_t size)
{
    return fails() ? NULL : __real_wr_memory_alloc(size);
}

void *
__wrap_wr_memory_alloc_zeroed(size_t size)
{
    return fails() ? NULL : __real_wr_memory_alloc_zeroed(size);
}

static void
fail_at(size_t call, bool for_ever)
{
    faults.calls = 0;
    faults.fail_at = call;
    faults.for_ever = for_ever;
    faults.failed = 0;
    errno = 0;
}

static void
fail_no_more(void)
{
    fail_at(NEVER, false);
}

static struct weir_arena *
open_spilling(unsigned flags)
{
    return open_with(&(struct weir_arena_config){ .name = "test",
        .block_size = BLOCK,
        .block_count = BLOCKS,
        .spill_bytes_max = 1 << 20,
        .flags = flags });
}

static void
count_release(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    ++*(int *)user;
}

/* ---- Chains ------------------------------------------------------------ */

static void
push_static(struct weir_chain *chain, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct weir_slice slice;
        static_text("text", &slice);
        cr_assert(eq(int, weir_chain_push(chain, &slice), WEIR_OK));
    }
}

/* Uses up what space the chain has at either end, while allocation fails. */
static void
fill_up(struct weir_chain *chain)
{
    struct weir_slice slice;
    static_text("text", &slice);
    while (weir_chain_push(chain, &slice) == WEIR_OK)
        static_text("text", &slice);
    while (weir_chain_prepend(chain, &slice) == WEIR_OK)
        static_text("text", &slice);
}

Test(refbuf_faults, chain_that_cannot_grow_leaves_the_slice_to_the_caller)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);

    for (size_t n = WEIR_CHAIN_INLINE; n <= 64; n *= 2) {
        struct weir_chain chain = { 0 };
        struct weir_slice slice;
        freeze_text(arena, "mine", &slice);
        push_static(&chain, n);
        fail_at(1, true);
        fill_up(&chain);
        struct weir_chain before = chain;
        struct weir_slice slice_before = slice;

        cr_assert(eq(int, weir_chain_push(&chain, &slice), WEIR_SYSTEM));
        cr_assert(eq(int, errno, ENOMEM));
        cr_assert(eq(int, weir_chain_prepend(&chain, &slice), WEIR_SYSTEM));
        fail_no_more();

        cr_assert(eq(int, memcmp(&chain, &before, sizeof chain), 0));
        cr_assert(eq(int, same_slice(&slice, &slice_before), 1));
        cr_assert(eq(int, slice_holds(&slice, "mine"), 1));
        cr_assert(eq(int, weir_chain_push(&chain, &slice), WEIR_OK));
        cr_assert(eq(sz, weir_chain_count(&chain), before.count + 1));
        weir_chain_release(&chain);
        cr_assert(eq(sz, blocks_out(arena), 0));
    }

    end_arena(arena);
}

Test(refbuf_faults, chain_with_space_needs_no_memory)
{
    struct weir_chain chain = { 0 };
    fail_at(1, true);

    push_static(&chain, WEIR_CHAIN_INLINE);
    for (size_t i = 0; i < 100; i++) {
        struct weir_slice slice;
        weir_chain_pop(&chain, &slice);
        cr_assert(eq(int,
            i % 2 == 0 ? weir_chain_push(&chain, &slice)
                       : weir_chain_prepend(&chain, &slice),
            WEIR_OK));
    }

    cr_assert(eq(sz, weir_chain_count(&chain), WEIR_CHAIN_INLINE));
    cr_assert(eq(sz, faults.failed, 0));
    weir_chain_release(&chain);
    no_leaks();
}

Test(refbuf_faults, linearize_that_finds_no_memory_changes_nothing)
{
    struct weir_arena *arena = open_spilling(WEIR_SPILL_FULL);
    struct weir_buf bufs[BLOCKS];
    struct weir_chain chain = { 0 };
    for (size_t i = 0; i < BLOCKS; i++)
        alloc(arena, &bufs[i]);
    push_static(&chain, 3);
    struct weir_chain before = chain;

    fail_at(1, true);
    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_FULL));
    fail_no_more();

    cr_assert(eq(int, memcmp(&chain, &before, sizeof chain), 0));
    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_OK));
    cr_assert(eq(sz, weir_chain_count(&chain), 1));
    weir_chain_release(&chain);
    for (size_t i = 0; i < BLOCKS; i++)
        weir_buf_drop(&bufs[i]);
    end_arena(arena);
}

/* ---- Foreign memory ---------------------------------------------------- */

Test(refbuf_faults, foreign_memory_that_cannot_be_counted_is_not_let_go)
{
    int released = 0;
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);
    struct weir_slice before = slice;

    fail_at(1, false);
    cr_assert(
        eq(int, weir_slice_foreign("text", 4, count_release, &released, &slice),
            WEIR_SYSTEM));

    cr_assert(eq(int, errno, ENOMEM));
    cr_assert(eq(int, released, 0));
    cr_assert(eq(int, same_slice(&slice, &before), 1));
    cr_assert(
        eq(int, weir_slice_foreign("text", 4, count_release, &released, &slice),
            WEIR_OK));
    weir_slice_release(&slice);
    cr_assert(eq(int, released, 1));
    no_leaks();
}

Test(refbuf_faults, clones_and_parts_need_no_memory)
{
    int released = 0;
    struct weir_slice slice;
    struct weir_slice parts[100];
    cr_assert(
        eq(int, weir_slice_foreign("text", 4, count_release, &released, &slice),
            WEIR_OK));
    fail_at(1, true);

    for (size_t i = 0; i < 100; i++)
        cr_assert(
            eq(int, weir_slice_sub(&slice, i % 4, 1, &parts[i]), WEIR_OK));
    for (size_t i = 0; i < 100; i++)
        weir_slice_release(&parts[i]);
    weir_slice_release(&slice);

    cr_assert(eq(sz, faults.calls, 0));
    cr_assert(eq(int, released, 1));
    no_leaks();
}

/* ---- Spilling ---------------------------------------------------------- */

/* A buf of "0123456789" with headroom of 4, behind a slice. */
static void
begin_buf(
    struct weir_arena *arena, struct weir_buf *buf, struct weir_slice *slice)
{
    alloc(arena, buf);
    write_text(buf, "slice");
    weir_buf_split(buf, slice);
    cr_assert(eq(int, weir_buf_headroom(buf, 4), WEIR_OK));
    write_text(buf, "0123456789");
}

Test(refbuf_faults, buf_that_cannot_grow_is_unchanged)
{
    struct weir_arena *arena = open_spilling(WEIR_SPILL_GROW);
    struct weir_buf buf;
    struct weir_slice slice;
    char bytes[BLOCK] = { 0 };
    begin_buf(arena, &buf, &slice);
    struct weir_buf before = buf;
    struct weir_stats stats = stats_of(arena);

    fail_at(1, true);
    cr_assert(eq(int, weir_buf_write(&buf, bytes, BLOCK), WEIR_SYSTEM));
    cr_assert(eq(int, errno, ENOMEM));
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK), WEIR_SYSTEM));
    fail_no_more();

    cr_assert(eq(int, same_buf(&buf, &before), 1));
    cr_assert(eq(int, buf_holds(&buf, "0123456789"), 1));
    cr_assert(eq(int, slice_holds(&slice, "slice"), 1));
    struct weir_stats now = stats_of(arena);
    cr_assert(eq(int, memcmp(&now, &stats, sizeof now), 0));
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK), WEIR_OK));
    cr_assert(eq(int, buf_holds(&buf, "0123456789"), 1));
    weir_buf_drop(&buf);
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(refbuf_faults, buf_grows_to_what_is_needed_when_twice_is_too_much)
{
    struct weir_arena *arena = open_spilling(WEIR_SPILL_GROW);
    struct weir_buf buf;
    struct weir_slice slice;
    begin_buf(arena, &buf, &slice);

    fail_at(1, false);
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK), WEIR_OK));

    cr_assert(eq(sz, faults.failed, 1));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 4 + 10 + BLOCK));
    cr_assert(eq(int, buf_holds(&buf, "0123456789"), 1));
    weir_buf_drop(&buf);
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(refbuf_faults, spilled_buf_that_cannot_grow_is_unchanged)
{
    struct weir_arena *arena = open_spilling(WEIR_SPILL_GROW);
    struct weir_buf buf;
    struct weir_slice slice;
    begin_buf(arena, &buf, &slice);
    cr_assert(eq(int, weir_buf_reserve(&buf, BLOCK), WEIR_OK));
    struct weir_buf before = buf;
    struct weir_stats stats = stats_of(arena);

    fail_at(1, true);
    cr_assert(eq(int, weir_buf_reserve(&buf, 4 * BLOCK), WEIR_SYSTEM));
    fail_no_more();

    struct weir_stats now = stats_of(arena);
    cr_assert(eq(int, same_buf(&buf, &before), 1));
    cr_assert(eq(int, memcmp(&now, &stats, sizeof now), 0));
    cr_assert(eq(int, buf_holds(&buf, "0123456789"), 1));
    weir_buf_drop(&buf);
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(refbuf_faults, alloc_that_cannot_spill_is_full)
{
    struct weir_arena *arena = open_spilling(WEIR_SPILL_FULL);
    struct weir_buf bufs[BLOCKS + 1];
    for (size_t i = 0; i < BLOCKS; i++)
        alloc(arena, &bufs[i]);
    memset(&bufs[BLOCKS], 0xAB, sizeof bufs[BLOCKS]);
    struct weir_buf before = bufs[BLOCKS];

    fail_at(1, false);
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &bufs[BLOCKS]), WEIR_FULL));
    cr_assert(eq(int, same_buf(&bufs[BLOCKS], &before), 1));
    cr_assert(eq(u64, stats_of(arena).spilled_bytes, 0));
    cr_assert(eq(u64, stats_of(arena).alloc_fulls, 1));
    cr_assert(eq(u64, stats_of(arena).spill_fulls, 0));
    alloc(arena, &bufs[BLOCKS]);

    cr_assert(eq(u64, stats_of(arena).spill_fulls, 1));
    for (size_t i = 0; i <= BLOCKS; i++)
        weir_buf_drop(&bufs[i]);
    end_arena(arena);
}

/* ---- A whole life, with every allocation failing in turn --------------- */

/* What a program does with a buf that it wants to send. What failed is left
   out; nothing else may be wrong. */
struct life {
    struct weir_arena *arena;
    int foreign; /* how much of it there is */
    int released;
    size_t failures; /* that were reported */
};

static bool
works(struct life *life, enum weir_status status)
{
    cr_assert(eq(int,
        status == WEIR_OK || status == WEIR_SYSTEM || status == WEIR_FULL, 1));
    if (status == WEIR_SYSTEM)
        cr_assert(eq(int, errno, ENOMEM));
    life->failures += status != WEIR_OK;
    return status == WEIR_OK;
}

static void
push_or_release(
    struct life *life, struct weir_chain *chain, struct weir_slice *slice)
{
    if (!works(life, weir_chain_push(chain, slice)))
        weir_slice_release(slice);
}

static void
push_foreign(struct life *life, struct weir_chain *chain)
{
    struct weir_slice slice;
    if (!works(life, weir_slice_foreign(
                         "foreign", 7, count_release, &life->released, &slice)))
        return;
    life->foreign++;
    push_or_release(life, chain, &slice);
}

static void
push_text(struct life *life, struct weir_chain *chain, const char *text)
{
    struct weir_buf buf;
    struct weir_slice slice;
    struct weir_slice copy;
    if (!works(life, weir_arena_alloc(life->arena, 0, &buf)))
        return;
    for (size_t i = 0; i < 20; i++)
        if (!works(life, weir_buf_write(&buf, text, strlen(text))))
            break;
    weir_buf_split(&buf, &slice);
    (void)works(life, weir_buf_reserve(&buf, 2 * BLOCK));
    weir_buf_drop(&buf);
    weir_slice_clone(&slice, &copy);
    push_or_release(life, chain, &slice);
    push_or_release(life, chain, &copy);
}

static void *
live(void *user)
{
    struct life *life = user;
    struct weir_chain chain = { 0 };
    for (size_t i = 0; i < 5; i++) {
        push_foreign(life, &chain);
        push_text(life, &chain, "some text ");
    }
    struct weir_chain text = { 0 };
    push_text(life, &text, "a");
    (void)works(life, weir_chain_linearize(&text, life->arena));
    size_t sent = weir_chain_len(&chain) / 2;
    cr_assert(eq(int, weir_chain_advance(&chain, sent), WEIR_OK));
    weir_chain_release(&chain);
    weir_chain_release(&text);
    return NULL;
}

/* Returns true if a failure came up; then it is not yet the end. */
static bool
live_with_failure_at(size_t call, bool for_ever)
{
    struct life life = { .arena =
                             open_spilling(WEIR_SPILL_GROW | WEIR_SPILL_FULL) };

    fail_at(call, for_ever);
    live(&life);
    size_t failed = faults.failed;
    cr_assert(eq(int, life.released, life.foreign));
    fail_at(call, for_ever);
    on_thread(live, &life);
    failed += faults.failed;
    fail_no_more();
    cr_assert(eq(int, life.released, life.foreign));

    cr_assert(eq(sz, blocks_out(life.arena), 0));
    size_t failures = life.failures;
    live(&life);
    cr_assert(eq(sz, life.failures, failures));
    cr_assert(eq(int, life.released, life.foreign));
    end_arena(life.arena);
    return failed > 0;
}

Test(refbuf_faults, every_allocation_may_fail_once)
{
    size_t call = 1;

    while (live_with_failure_at(call, false))
        call++;

    cr_assert(gt(sz, call, 20));
}

Test(refbuf_faults, every_allocation_may_fail_for_ever)
{
    size_t call = 1;

    while (live_with_failure_at(call, true))
        call++;

    cr_assert(gt(sz, call, 20));
}
