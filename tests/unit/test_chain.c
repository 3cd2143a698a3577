/* SPDX-License-Identifier: MIT */
#include "support/refbuf.h"

#include <stdlib.h>

enum { BLOCK = 256, BLOCKS = 16, TEXT_SIZE = 256 };

static void
push(struct weir_chain *chain, struct weir_slice *slice)
{
    cr_assert(eq(int, weir_chain_push(chain, slice), WEIR_OK));
    cr_assert(eq(int, is_empty_slice(slice), 1));
}

static void
prepend(struct weir_chain *chain, struct weir_slice *slice)
{
    cr_assert(eq(int, weir_chain_prepend(chain, slice), WEIR_OK));
    cr_assert(eq(int, is_empty_slice(slice), 1));
}

static void
push_static(struct weir_chain *chain, const char *text)
{
    struct weir_slice slice;
    static_text(text, &slice);
    push(chain, &slice);
}

static void
prepend_static(struct weir_chain *chain, const char *text)
{
    struct weir_slice slice;
    static_text(text, &slice);
    prepend(chain, &slice);
}

static void
push_block(struct weir_chain *chain, struct weir_arena *arena, const char *text)
{
    struct weir_slice slice;
    freeze_text(arena, text, &slice);
    push(chain, &slice);
}

/* A slice with one letter a block. */
static void
push_letters(struct weir_chain *chain, struct weir_arena *arena, size_t n)
{
    for (size_t i = 0; i < n; i++)
        push_block(chain, arena, (char[2]){ (char)('a' + i % 26), 0 });
}

/* Length, count, every slice, every iovec and every byte agree with `text`. */
static bool
chain_holds(const struct weir_chain *chain, const char *text)
{
    size_t len = strlen(text);
    char copy[TEXT_SIZE];
    size_t count = weir_chain_count(chain);
    struct iovec iov[TEXT_SIZE];
    if (weir_chain_len(chain) != len || len > TEXT_SIZE ||
        weir_chain_iov(chain, iov, TEXT_SIZE) != count)
        return false;
    size_t from = 0;
    for (size_t i = 0; i < count; i++) {
        const struct weir_slice *slice = weir_chain_at(chain, i);
        size_t n = weir_slice_len(slice);
        if (n == 0 || n > len - from || iov[i].iov_len != n ||
            iov[i].iov_base != weir_slice_data(slice) ||
            memcmp(iov[i].iov_base, text + from, n) != 0)
            return false;
        from += n;
    }
    return from == len && weir_chain_copy(chain, 0, len, copy) == WEIR_OK &&
           memcmp(copy, text, len) == 0;
}

/* ---- The zeroed chain -------------------------------------------------- */

Test(chain, zeroed_has_nothing)
{
    struct weir_chain chain = { 0 };
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);
    struct iovec iov;

    cr_assert(eq(sz, weir_chain_len(&chain), 0));
    cr_assert(eq(sz, weir_chain_count(&chain), 0));
    cr_assert(eq(sz, weir_chain_iov(&chain, &iov, 1), 0));
    cr_assert(eq(sz, weir_chain_iov(&chain, NULL, 0), 0));
    weir_chain_pop(&chain, &slice);
    cr_assert(eq(int, is_empty_slice(&slice), 1));
    weir_chain_release(&chain);
    weir_chain_release(&chain);
    cr_assert(eq(int, is_empty_chain(&chain), 1));
}

Test(chain, zeroed_has_nothing_to_read)
{
    struct weir_chain chain = { 0 };
    uint64_t value = 7;
    uint8_t out = 9;

    cr_assert(eq(int, weir_chain_advance(&chain, 0), WEIR_OK));
    cr_assert(eq(int, weir_chain_advance(&chain, 1), WEIR_OUT_OF_RANGE));
    cr_assert(eq(int, weir_chain_copy(&chain, 0, 0, NULL), WEIR_OK));
    cr_assert(eq(int, weir_chain_copy(&chain, 0, 1, &out), WEIR_OUT_OF_RANGE));
    cr_assert(eq(int, weir_chain_copy(&chain, 1, 0, &out), WEIR_OUT_OF_RANGE));
    cr_assert(eq(sz, weir_chain_find(&chain, 0, "", 0), 0));
    cr_assert(eq(sz, weir_chain_find(&chain, 0, "a", 1), SIZE_MAX));
    cr_assert(eq(sz, weir_chain_find(&chain, 1, "", 0), SIZE_MAX));
    cr_assert(
        eq(int, weir_chain_read_be(&chain, 0, 1, &value), WEIR_OUT_OF_RANGE));
    cr_assert(
        eq(int, weir_chain_read_le(&chain, 0, 1, &value), WEIR_OUT_OF_RANGE));

    cr_assert(eq(u64, value, 7));
    cr_assert(eq(int, out, 9));
}

Test(chain, empty_slice_adds_nothing)
{
    struct weir_chain chain = { 0 };
    struct weir_slice empty = { 0 };

    cr_assert(eq(int, weir_chain_push(&chain, &empty), WEIR_OK));
    cr_assert(eq(int, weir_chain_prepend(&chain, &empty), WEIR_OK));

    cr_assert(eq(int, is_empty_chain(&chain), 1));
}

/* ---- Order ------------------------------------------------------------- */

Test(chain, push_and_prepend_keep_the_order)
{
    struct weir_chain chain = { 0 };

    push_static(&chain, "cc");
    prepend_static(&chain, "b");
    push_static(&chain, "ddd");
    prepend_static(&chain, "aaaa");

    cr_assert(eq(sz, weir_chain_count(&chain), 4));
    cr_assert(eq(int, chain_holds(&chain, "aaaabccddd"), 1));
    weir_chain_release(&chain);
    cr_assert(eq(int, is_empty_chain(&chain), 1));
}

Test(chain, grows_at_its_end)
{
    struct weir_arena *arena = open_arena(BLOCK, 64);
    struct weir_chain chain = { 0 };
    char text[64] = "";

    for (size_t i = 0; i < 60; i++) {
        char letter[2] = { (char)('a' + i % 26), 0 };
        push_block(&chain, arena, letter);
        (void)strcat(text, letter);
        cr_assert(eq(int, chain_holds(&chain, text), 1));
    }

    cr_assert(eq(sz, weir_chain_count(&chain), 60));
    weir_chain_release(&chain);
    end_arena(arena);
}

Test(chain, grows_at_its_front)
{
    struct weir_arena *arena = open_arena(BLOCK, 64);
    struct weir_chain chain = { 0 };
    char text[64];
    char *start = text + 63;
    *start = 0;

    for (size_t i = 0; i < 60; i++) {
        struct weir_slice slice;
        char letter[2] = { (char)('a' + i % 26), 0 };
        freeze_text(arena, letter, &slice);
        prepend(&chain, &slice);
        *--start = letter[0];
        cr_assert(eq(int, chain_holds(&chain, start), 1));
    }

    weir_chain_release(&chain);
    end_arena(arena);
}

Test(chain, every_mix_of_push_prepend_and_pop_keeps_the_order)
{
    enum { STEPS = 8, KINDS = 3, MIXES = 6561 };

    for (unsigned mix = 0; mix < MIXES; mix++) {
        struct weir_chain chain = { 0 };
        char text[3 * STEPS + 1] = { 0 };
        char *start = text + STEPS;
        char *end = start;
        unsigned rest = mix;
        for (size_t step = 0; step < STEPS; step++, rest /= KINDS) {
            const char *letter = &"abcdefgh"[step];
            struct weir_slice slice;
            cr_assert(eq(int, weir_slice_static(letter, 1, &slice), WEIR_OK));
            if (rest % KINDS == 0) {
                *end++ = *letter;
                push(&chain, &slice);
            } else if (rest % KINDS == 1) {
                *--start = *letter;
                prepend(&chain, &slice);
            } else if (start < end) {
                weir_chain_pop(&chain, &slice);
                cr_assert(
                    eq(int, *(const char *)weir_slice_data(&slice), *start));
                *start++ = 0;
            }
            *end = 0;
            cr_assert(eq(int, chain_holds(&chain, start), 1));
        }
        weir_chain_release(&chain);
    }

    no_leaks();
}

Test(chain, pop_moves_the_first_slice_out)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    struct weir_slice slice;
    push_letters(&chain, arena, 6);

    for (char letter = 'a'; letter < 'g'; letter++) {
        weir_chain_pop(&chain, &slice);
        cr_assert(eq(int, slice_holds(&slice, (char[2]){ letter, 0 }), 1));
        cr_assert(eq(int, weir_slice_is_sole(&slice), 1));
        weir_slice_release(&slice);
    }

    cr_assert(eq(int, is_empty_chain(&chain), 1));
    end_arena(arena);
}

Test(chain, queue_that_never_runs_empty_stays_small)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    push_letters(&chain, arena, 5);
    uint32_t capacity = chain.capacity;

    for (size_t i = 0; i < 1000; i++) {
        struct weir_slice slice;
        weir_chain_pop(&chain, &slice);
        push(&chain, &slice);
    }

    cr_assert(eq(int, chain_holds(&chain, "abcde"), 1));
    cr_assert(le(u32, chain.capacity, 2 * capacity));
    weir_chain_release(&chain);
    end_arena(arena);
}

Test(chain, release_sends_every_block_home)
{
    for (size_t n = 0; n <= 12; n++) {
        struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
        struct weir_chain chain = { 0 };
        push_letters(&chain, arena, n);
        cr_assert(eq(sz, blocks_out(arena), n));

        weir_chain_release(&chain);

        cr_assert(eq(int, is_empty_chain(&chain), 1));
        end_arena(arena);
    }
}

Test(chain, released_one_can_be_used_again)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };

    for (size_t i = 0; i < 10; i++) {
        push_letters(&chain, arena, i);
        cr_assert(eq(sz, weir_chain_count(&chain), i));
        weir_chain_release(&chain);
    }

    end_arena(arena);
}

Test(chain, release_keeps_what_others_hold)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    struct weir_slice slice;
    struct weir_slice copy;
    freeze_text(arena, "text", &slice);
    weir_slice_clone(&slice, &copy);
    push(&chain, &slice);

    weir_chain_release(&chain);

    cr_assert(eq(int, slice_holds(&copy, "text"), 1));
    cr_assert(eq(sz, blocks_out(arena), 1));
    weir_slice_release(&copy);
    end_arena(arena);
}

/* ---- Moving it --------------------------------------------------------- */

Test(chain, has_no_pointer_into_itself)
{
    for (size_t n = 1; n <= 10; n++) {
        struct weir_arena *arena = open_arena(BLOCK, 2 * BLOCKS);
        struct weir_chain *old = calloc(1, sizeof *old);
        struct weir_chain chain;
        push_letters(old, arena, n);
        prepend_static(old, "<");

        memcpy(&chain, old, sizeof chain);
        memset(old, 0xAB, sizeof *old);
        free(old);

        char text[16] = "<abcdefghij";
        text[n + 1] = 0;
        cr_assert(eq(int, chain_holds(&chain, text), 1));
        push_static(&chain, ">");
        prepend_static(&chain, "<");
        (void)strcat(text, ">");
        cr_assert(eq(int, weir_chain_advance(&chain, 1), WEIR_OK));
        cr_assert(eq(int, chain_holds(&chain, text), 1));
        weir_chain_release(&chain);
        end_arena(arena);
    }
}

/* ---- For writev -------------------------------------------------------- */

Test(chain, iov_fills_as_many_as_there_is_space_for)
{
    struct weir_chain chain = { 0 };
    struct iovec iov[8];
    push_static(&chain, "one");
    push_static(&chain, "three");
    push_static(&chain, "x");

    for (size_t n = 0; n <= 8; n++) {
        memset(iov, 0xAB, sizeof iov);
        size_t used = weir_chain_iov(&chain, iov, n);
        cr_assert(eq(sz, used, n < 3 ? n : 3));
        for (size_t i = 0; i < used; i++) {
            const struct weir_slice *slice = weir_chain_at(&chain, i);
            cr_assert(
                eq(uptr, at(iov[i].iov_base), at(weir_slice_data(slice))));
            cr_assert(eq(sz, iov[i].iov_len, weir_slice_len(slice)));
        }
        for (size_t i = used; i < 8; i++)
            cr_assert(eq(sz, iov[i].iov_len, (size_t)0xABABABABABABABAB));
    }

    weir_chain_release(&chain);
}

Test(chain, iov_begins_behind_what_was_advanced)
{
    struct weir_chain chain = { 0 };
    struct iovec iov[4];
    push_static(&chain, "one");
    push_static(&chain, "three");

    cr_assert(eq(int, weir_chain_advance(&chain, 5), WEIR_OK));

    cr_assert(eq(sz, weir_chain_iov(&chain, iov, 4), 1));
    cr_assert(eq(int, holds(iov[0].iov_base, iov[0].iov_len, "ree"), 1));
    weir_chain_release(&chain);
}

Test(chain, advance_stops_anywhere)
{
    static const char text[] = "aabbbcddddee";

    for (size_t n = 0; n <= 12; n++) {
        struct weir_chain chain = { 0 };
        push_static(&chain, "aa");
        push_static(&chain, "bbb");
        push_static(&chain, "c");
        push_static(&chain, "dddd");
        push_static(&chain, "ee");

        cr_assert(eq(int, weir_chain_advance(&chain, n), WEIR_OK));

        cr_assert(eq(int, chain_holds(&chain, text + n), 1));
        cr_assert(eq(int, is_empty_chain(&chain), n == 12));
        weir_chain_release(&chain);
    }
    no_leaks();
}

Test(chain, advance_byte_by_byte_releases_what_is_used_up)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    for (size_t i = 0; i < 6; i++)
        push_block(&chain, arena, "ab");

    for (size_t i = 1; i <= 12; i++) {
        cr_assert(eq(int, weir_chain_advance(&chain, 1), WEIR_OK));
        cr_assert(eq(sz, blocks_out(arena), 6 - i / 2));
        cr_assert(eq(sz, weir_chain_len(&chain), 12 - i));
    }

    cr_assert(eq(int, is_empty_chain(&chain), 1));
    end_arena(arena);
}

Test(chain, advance_past_the_end_changes_nothing)
{
    static const size_t sizes[] = { 5, UINT32_MAX, (size_t)UINT32_MAX + 5,
        SIZE_MAX };
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    push_letters(&chain, arena, 4);
    struct weir_chain before = chain;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        cr_assert(
            eq(int, weir_chain_advance(&chain, sizes[i]), WEIR_OUT_OF_RANGE));

    cr_assert(eq(int, memcmp(&chain, &before, sizeof chain), 0));
    cr_assert(eq(int, chain_holds(&chain, "abcd"), 1));
    weir_chain_release(&chain);
    end_arena(arena);
}

Test(chain, lengths_add_up_beyond_32_bits)
{
    static const char text[] = "as if it were long";
    struct weir_chain chain = { 0 };
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    for (size_t i = 0; i < 3; i++) {
        struct weir_slice slice;
        cr_assert(
            eq(int, weir_slice_static(text, UINT32_MAX, &slice), WEIR_OK));
        push(&chain, &slice);
    }
    cr_assert(eq(sz, weir_chain_len(&chain), 3 * (size_t)UINT32_MAX));
    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_TOO_LARGE));

    size_t n = (size_t)UINT32_MAX + 6;
    cr_assert(eq(int, weir_chain_advance(&chain, n), WEIR_OK));

    cr_assert(eq(sz, weir_chain_len(&chain), 2 * (size_t)UINT32_MAX - 6));
    cr_assert(eq(sz, weir_chain_count(&chain), 2));
    char copy[2];
    cr_assert(eq(int, weir_chain_copy(&chain, 0, 2, copy), WEIR_OK));
    cr_assert(eq(int, memcmp(copy, text + 6, 2), 0));
    weir_chain_release(&chain);
    end_arena(arena);
}

static void
count_release(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    ++*(int *)user;
}

Test(chain, foreign_memory_is_let_go_when_it_was_sent)
{
    int released = 0;
    struct weir_chain chain = { 0 };
    struct weir_slice slice;
    push_static(&chain, "head");
    cr_assert(
        eq(int, weir_slice_foreign("body", 4, count_release, &released, &slice),
            WEIR_OK));
    push(&chain, &slice);
    push_static(&chain, "tail");

    cr_assert(eq(int, weir_chain_advance(&chain, 7), WEIR_OK));
    cr_assert(eq(int, released, 0));
    cr_assert(eq(int, weir_chain_advance(&chain, 1), WEIR_OK));

    cr_assert(eq(int, released, 1));
    cr_assert(eq(int, chain_holds(&chain, "tail"), 1));
    weir_chain_release(&chain);
    no_leaks();
}

/* ---- Reading ----------------------------------------------------------- */

/* "0123456789" in slices of 1, 2, 3 and 4. */
static void
push_digits(struct weir_chain *chain)
{
    push_static(chain, "0");
    push_static(chain, "12");
    push_static(chain, "345");
    push_static(chain, "6789");
}

Test(chain, copy_gives_every_range)
{
    struct weir_chain chain = { 0 };
    push_digits(&chain);

    for (size_t from = 0; from <= 10; from++)
        for (size_t len = 0; len <= 10 - from; len++) {
            char out[12];
            memset(out, '.', sizeof out);
            cr_assert(
                eq(int, weir_chain_copy(&chain, from, len, out + 1), WEIR_OK));
            cr_assert(eq(int, memcmp(out + 1, &"0123456789"[from], len), 0));
            cr_assert(eq(chr, out[0], '.'));
            cr_assert(eq(chr, out[len + 1], '.'));
        }

    weir_chain_release(&chain);
}

Test(chain, copy_outside_copies_nothing)
{
    static const size_t ranges[][2] = { { 0, 11 }, { 1, 10 }, { 10, 1 },
        { 11, 0 }, { 5, SIZE_MAX }, { SIZE_MAX, 0 }, { SIZE_MAX, 6 },
        { 5, SIZE_MAX - 4 } };
    struct weir_chain chain = { 0 };
    char out[4] = "...";
    push_digits(&chain);

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        cr_assert(
            eq(int, weir_chain_copy(&chain, ranges[i][0], ranges[i][1], out),
                WEIR_OUT_OF_RANGE));

    cr_assert(eq(int, holds(out, 3, "..."), 1));
    weir_chain_release(&chain);
}

Test(chain, copy_is_counted_where_the_bytes_lie)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_arena *other = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    char out[16];
    push_block(&chain, arena, "12345");
    push_static(&chain, "67");
    push_block(&chain, other, "890");

    cr_assert(eq(int, weir_chain_copy(&chain, 2, 7, out), WEIR_OK));
    cr_assert(eq(int, weir_chain_copy(&chain, 5, 2, out), WEIR_OK));

    cr_assert(eq(u64, stats_of(arena).bytes_copied, 3));
    cr_assert(eq(u64, stats_of(other).bytes_copied, 2));
    weir_chain_release(&chain);
    end_arena(arena);
    end_arena(other);
}

Test(chain, find_agrees_with_a_flat_search)
{
    static const char text[] = "aabaaabaaaabab";
    enum { LEN = sizeof text - 1 };

    for (unsigned cuts = 0; cuts < 1U << (LEN - 1); cuts += 37) {
        struct weir_chain chain = { 0 };
        size_t start = 0;
        for (size_t i = 1; i <= LEN; i++)
            if (i == LEN || (cuts >> (i - 1) & 1) != 0) {
                struct weir_slice slice;
                cr_assert(
                    eq(int, weir_slice_static(text + start, i - start, &slice),
                        WEIR_OK));
                push(&chain, &slice);
                start = i;
            }
        static const char *const patterns[] = { "a", "b", "ab", "aab", "aaaab",
            "baaaab", "bab", "babb", "bb", "aabaaabaaaabab" };
        for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
            for (size_t from = 0; from <= LEN; from++) {
                const char *hit = strstr(text + from, patterns[p]);
                size_t wanted = hit == NULL ? SIZE_MAX : (size_t)(hit - text);
                cr_assert(eq(sz,
                    weir_chain_find(
                        &chain, from, patterns[p], strlen(patterns[p])),
                    wanted));
            }
        weir_chain_release(&chain);
    }
}

Test(chain, find_of_no_bytes_is_found_at_once)
{
    struct weir_chain chain = { 0 };
    push_digits(&chain);

    for (size_t from = 0; from <= 10; from++)
        cr_assert(eq(sz, weir_chain_find(&chain, from, NULL, 0), from));
    cr_assert(eq(sz, weir_chain_find(&chain, 11, NULL, 0), SIZE_MAX));
    cr_assert(eq(sz, weir_chain_find(&chain, SIZE_MAX, NULL, 0), SIZE_MAX));

    weir_chain_release(&chain);
}

Test(chain, find_of_more_than_there_is_finds_nothing)
{
    struct weir_chain chain = { 0 };
    push_digits(&chain);

    cr_assert(eq(sz, weir_chain_find(&chain, 0, "0123456789x", 11), SIZE_MAX));
    cr_assert(eq(sz, weir_chain_find(&chain, 9, "9x", 2), SIZE_MAX));
    cr_assert(eq(sz, weir_chain_find(&chain, 10, "9", 1), SIZE_MAX));
    cr_assert(eq(sz, weir_chain_find(&chain, 0, "0", SIZE_MAX), SIZE_MAX));
    cr_assert(eq(sz, weir_chain_find(&chain, SIZE_MAX, "0", 1), SIZE_MAX));

    weir_chain_release(&chain);
}

Test(chain, numbers_are_read_across_slices)
{
    static const uint8_t bytes[] = { 0x01, 0x82, 0x03, 0x84, 0x05, 0x86, 0x07,
        0x88, 0x09, 0xFF };
    struct weir_chain chain = { 0 };
    for (size_t from = 0, n = 1; n <= 4; from += n, n++) {
        struct weir_slice slice;
        cr_assert(eq(int, weir_slice_static(bytes + from, n, &slice), WEIR_OK));
        push(&chain, &slice);
    }

    for (size_t size = 1; size <= 8; size++)
        for (size_t from = 0; from + size <= sizeof bytes; from++) {
            uint64_t big = 0;
            uint64_t little = 0;
            for (size_t i = 0; i < size; i++) {
                big = big << 8 | bytes[from + i];
                little |= (uint64_t)bytes[from + i] << 8 * i;
            }
            uint64_t value = 0;
            cr_assert(eq(
                int, weir_chain_read_be(&chain, from, size, &value), WEIR_OK));
            cr_assert(eq(u64, value, big));
            cr_assert(eq(
                int, weir_chain_read_le(&chain, from, size, &value), WEIR_OK));
            cr_assert(eq(u64, value, little));
        }

    weir_chain_release(&chain);
}

Test(chain, number_that_is_not_all_there_is_not_read)
{
    static const size_t reads[][2] = { { 0, 0 }, { 0, 9 }, { 3, 8 }, { 10, 1 },
        { 9, 2 }, { 11, 1 }, { SIZE_MAX, 1 }, { SIZE_MAX, 8 },
        { 0, SIZE_MAX } };
    struct weir_chain chain = { 0 };
    uint64_t value = 42;
    push_digits(&chain);

    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        cr_assert(eq(int,
            weir_chain_read_be(&chain, reads[i][0], reads[i][1], &value),
            WEIR_OUT_OF_RANGE));
        cr_assert(eq(int,
            weir_chain_read_le(&chain, reads[i][0], reads[i][1], &value),
            WEIR_OUT_OF_RANGE));
    }

    cr_assert(eq(u64, value, 42));
    weir_chain_release(&chain);
}

Test(chain, reading_a_number_is_not_counted_as_a_copy)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    uint64_t value;
    push_letters(&chain, arena, 6);

    cr_assert(eq(int, weir_chain_read_be(&chain, 1, 4, &value), WEIR_OK));

    cr_assert(eq(u64, value, 0x62636465));
    cr_assert(eq(u64, stats_of(arena).bytes_copied, 0));
    weir_chain_release(&chain);
    end_arena(arena);
}

/* ---- One slice --------------------------------------------------------- */

Test(chain, linearize_makes_one_slice)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_arena *target = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    push_letters(&chain, arena, 7);

    cr_assert(eq(int, weir_chain_linearize(&chain, target), WEIR_OK));

    cr_assert(eq(sz, weir_chain_count(&chain), 1));
    cr_assert(eq(sz, blocks_out(arena), 0));
    cr_assert(eq(sz, blocks_out(target), 1));
    cr_assert(eq(u64, stats_of(target).bytes_copied, 7));
    cr_assert(eq(u64, stats_of(arena).bytes_copied, 0));
    cr_assert(eq(int, chain_holds(&chain, "abcdefg"), 1));
    weir_chain_release(&chain);
    end_arena(arena);
    end_arena(target);
}

Test(chain, linearize_leaves_one_slice_or_none_alone)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };

    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_OK));
    cr_assert(eq(int, is_empty_chain(&chain), 1));
    push_static(&chain, "only");
    struct weir_chain before = chain;
    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_OK));

    cr_assert(eq(int, memcmp(&chain, &before, sizeof chain), 0));
    cr_assert(eq(sz, blocks_out(arena), 0));
    cr_assert(eq(u64, stats_of(arena).bytes_copied, 0));
    weir_chain_release(&chain);
    end_arena(arena);
}

Test(chain, linearize_fills_a_block_to_its_last_byte)
{
    struct weir_arena *arena = open_arena(64, 1);
    struct weir_chain chain = { 0 };
    char text[65];
    for (size_t i = 0; i < 64; i++)
        text[i] = (char)('a' + i % 26);
    text[64] = 0;
    for (size_t i = 0; i < 64; i += 8) {
        struct weir_slice slice;
        cr_assert(eq(int, weir_slice_static(text + i, 8, &slice), WEIR_OK));
        push(&chain, &slice);
    }

    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_OK));

    cr_assert(eq(sz, weir_chain_count(&chain), 1));
    cr_assert(eq(int, chain_holds(&chain, text), 1));
    weir_chain_release(&chain);
    end_arena(arena);
}

Test(chain, linearize_fails_as_alloc_and_changes_nothing)
{
    struct weir_arena *arena = open_arena(64, 2);
    struct weir_chain chain = { 0 };
    struct weir_slice extra;
    push_letters(&chain, arena, 2);
    struct weir_chain before = chain;

    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_FULL));
    weir_arena_close(arena);
    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_CLOSED));
    cr_assert(eq(int, memcmp(&chain, &before, sizeof chain), 0));
    static_text(
        "sixty-three bytes that do not fit behind the two bytes in front",
        &extra);
    push(&chain, &extra);
    before = chain;
    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_TOO_LARGE));

    cr_assert(eq(int, memcmp(&chain, &before, sizeof chain), 0));
    weir_chain_release(&chain);
    end_arena(arena);
}

Test(chain, linearized_slice_is_sole)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    struct weir_slice slice;
    struct weir_slice copy;
    struct weir_buf buf;
    freeze_text(arena, "shared", &slice);
    weir_slice_clone(&slice, &copy);
    push(&chain, &slice);
    push_static(&chain, " and static");

    cr_assert(eq(int, weir_chain_linearize(&chain, arena), WEIR_OK));
    weir_chain_pop(&chain, &slice);
    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_OK));

    cr_assert(eq(int, buf_holds(&buf, "shared and static"), 1));
    cr_assert(eq(int, weir_slice_is_sole(&copy), 1));
    weir_buf_drop(&buf);
    weir_slice_release(&copy);
    end_arena(arena);
}

/* ---- Threads ----------------------------------------------------------- */

static void *
release_chain(void *chain)
{
    weir_chain_release(chain);
    return NULL;
}

Test(chain, may_be_released_on_another_thread)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_chain chain = { 0 };
    push_letters(&chain, arena, 10);

    on_thread(release_chain, &chain);

    cr_assert(eq(int, is_empty_chain(&chain), 1));
    end_arena(arena);
}

Test(chain, outlives_the_arenas_of_its_slices)
{
    struct weir_arena *arenas[6];
    struct weir_chain chain = { 0 };
    for (size_t i = 0; i < 6; i++) {
        arenas[i] = open_arena(BLOCK, 1);
        push_block(&chain, arenas[i], (char[2]){ (char)('a' + i), 0 });
        weir_arena_destroy(&arenas[i]);
    }

    cr_assert(eq(int, chain_holds(&chain, "abcdef"), 1));
    cr_assert(eq(int, weir_chain_advance(&chain, 3), WEIR_OK));
    cr_assert(eq(int, chain_holds(&chain, "def"), 1));

    weir_chain_release(&chain);
    no_leaks();
}
