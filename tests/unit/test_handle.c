/* SPDX-License-Identifier: MIT */
#include "base/handle.h"

#include "weir/weir.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stddef.h>

_Static_assert(sizeof(struct weir_slice) == 24, "a slice is three words");
_Static_assert(sizeof(struct weir_buf) == 32, "a buf is a slice and two sizes");

Test(handle, buf_begins_as_a_slice_does)
{
    cr_assert(eq(sz, offsetof(struct weir_buf, data),
        offsetof(struct weir_slice, data)));
    cr_assert(eq(sz, offsetof(struct weir_buf, word),
        offsetof(struct weir_slice, word)));
    cr_assert(eq(sz, offsetof(struct weir_buf, owner),
        offsetof(struct weir_slice, owner)));
}

Test(handle, zero_is_the_empty_word)
{
    uint64_t word = wr_word_pack(0, WR_EMPTY, 0);

    cr_assert(eq(u64, word, 0));
    cr_assert(eq(u32, wr_word_len(word), 0));
    cr_assert(eq(u32, wr_word_weight(word), 0));
    cr_assert(eq(int, wr_word_kind(word), WR_EMPTY));
}

Test(handle, word_keeps_what_was_packed)
{
    static const uint32_t weights[] = { 0, 1, 2, 1 << 16, WR_WEIGHT_WHOLE / 2,
        WR_WEIGHT_WHOLE, (UINT32_C(1) << 28) - 1 };
    static const uint32_t lens[] = { 0, 1, UINT32_MAX / 2, UINT32_MAX };
    enum { WEIGHTS = sizeof weights / sizeof *weights };
    enum { LENS = sizeof lens / sizeof *lens };

    for (int kind = WR_EMPTY; kind <= WR_STATIC; kind++)
        for (size_t w = 0; w < WEIGHTS; w++)
            for (size_t l = 0; l < LENS; l++) {
                uint64_t word =
                    wr_word_pack(weights[w], (enum wr_kind)kind, lens[l]);
                cr_assert(eq(u32, wr_word_weight(word), weights[w]));
                cr_assert(eq(int, wr_word_kind(word), kind));
                cr_assert(eq(u32, wr_word_len(word), lens[l]));
            }
}

Test(handle, another_len_changes_only_the_len)
{
    uint64_t word = wr_word_pack(77, WR_SPILLED, UINT32_MAX);

    uint64_t shorter = wr_word_with_len(word, 5);

    cr_assert(eq(u64, shorter, wr_word_pack(77, WR_SPILLED, 5)));
    cr_assert(eq(u64, wr_word_with_len(shorter, UINT32_MAX), word));
}

Test(handle, another_weight_changes_only_the_weight)
{
    uint64_t word = wr_word_pack(UINT32_C(1) << 27, WR_FOREIGN, UINT32_MAX);

    uint64_t lighter = wr_word_with_weight(word, 1);

    cr_assert(eq(u64, lighter, wr_word_pack(1, WR_FOREIGN, UINT32_MAX)));
    cr_assert(eq(u64, wr_word_with_weight(lighter, UINT32_C(1) << 27), word));
}

Test(handle, whole_block_is_a_block_of_the_whole_weight_only)
{
    for (int kind = WR_EMPTY; kind <= WR_STATIC; kind++) {
        enum wr_kind of = (enum wr_kind)kind;
        bool is_block = kind == WR_BLOCK;
        cr_assert(eq(int,
            wr_word_is_whole_block(wr_word_pack(WR_WEIGHT_WHOLE, of, 9)),
            is_block));
        cr_assert(eq(int,
            wr_word_is_whole_block(wr_word_pack(WR_WEIGHT_WHOLE - 1, of, 9)),
            0));
        cr_assert(eq(int,
            wr_word_is_whole_block(wr_word_pack(WR_WEIGHT_WHOLE + 1, of, 9)),
            0));
        cr_assert(eq(int, wr_word_is_whole_block(wr_word_pack(0, of, 9)), 0));
    }
}

Test(handle, owner_keeps_arena_and_slot)
{
    uint64_t owner = wr_owner_pack(UINT16_MAX - 1, UINT32_MAX - 64);

    cr_assert(eq(u32, wr_owner_arena(owner), UINT16_MAX - 1));
    cr_assert(eq(u32, wr_owner_slot(owner), UINT32_MAX - 64));
    cr_assert(eq(u32, wr_owner_arena(wr_owner_pack(0, 7)), 0));
    cr_assert(eq(u32, wr_owner_slot(wr_owner_pack(7, 0)), 0));
}
