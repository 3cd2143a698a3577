/* SPDX-License-Identifier: MIT */
#include "support/refbuf.h"

#include <stdlib.h>

enum { BLOCK = 256, BLOCKS = 4 };

_Static_assert(_Generic(weir_slice_data(NULL), const void * : 1, default : 0),
    "what is read of a slice is const");

/* Where and how often foreign memory was let go. */
struct owner {
    int calls;
    const void *bytes;
    size_t n;
    pthread_t thread;
    struct weir_arena *arena; /* where to alloc in the callback, if at all */
    struct weir_slice next;   /* what to release in the callback */
};

static void
on_release(const void *bytes, size_t n, void *user)
{
    struct owner *owner = user;
    owner->calls++;
    owner->bytes = bytes;
    owner->n = n;
    owner->thread = pthread_self();
    if (owner->arena != NULL)
        freeze_text(owner->arena, "from the callback", &owner->next);
    else
        weir_slice_release(&owner->next);
}

static void
own(struct owner *owner, const char *text, struct weir_slice *slice)
{
    cr_assert(eq(int,
        weir_slice_foreign(text, strlen(text), on_release, owner, slice),
        WEIR_OK));
}

/* ---- The zeroed slice -------------------------------------------------- */

Test(slice, zeroed_has_nothing)
{
    struct weir_slice slice = { 0 };

    cr_assert(eq(uptr, at(weir_slice_data(&slice)), 0));
    cr_assert(eq(sz, weir_slice_len(&slice), 0));
    cr_assert(eq(int, weir_slice_is_sole(&slice), 0));
    weir_slice_release(&slice);
    weir_slice_release(&slice);
    cr_assert(eq(int, is_empty_slice(&slice), 1));
}

Test(slice, zeroed_makes_empty_ones)
{
    struct weir_slice slice = { 0 };
    struct weir_slice made[6];
    struct weir_buf buf;
    memset(made, 0xAB, sizeof made);
    memset(&buf, 0xAB, sizeof buf);

    weir_slice_clone(&slice, &made[0]);
    weir_slice_clone_shared(&slice, &made[1]);
    cr_assert(eq(int, weir_slice_sub(&slice, 0, 0, &made[2]), WEIR_OK));
    cr_assert(eq(int, weir_slice_split_front(&slice, 0, &made[3]), WEIR_OK));
    cr_assert(eq(int, weir_slice_split_back(&slice, 0, &made[4]), WEIR_OK));
    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_OK));

    for (size_t i = 0; i < 5; i++)
        cr_assert(eq(int, is_empty_slice(&made[i]), 1));
    cr_assert(eq(int, is_empty_buf(&buf), 1));
    cr_assert(eq(int, is_empty_slice(&slice), 1));
}

Test(slice, zeroed_has_nothing_to_cut)
{
    struct weir_slice slice = { 0 };
    struct weir_slice part;
    memset(&part, 0xAB, sizeof part);
    struct weir_slice before = part;

    cr_assert(eq(int, weir_slice_sub(&slice, 0, 1, &part), WEIR_OUT_OF_RANGE));
    cr_assert(eq(int, weir_slice_sub(&slice, 1, 0, &part), WEIR_OUT_OF_RANGE));
    cr_assert(
        eq(int, weir_slice_split_front(&slice, 1, &part), WEIR_OUT_OF_RANGE));
    cr_assert(
        eq(int, weir_slice_split_back(&slice, 1, &part), WEIR_OUT_OF_RANGE));

    cr_assert(eq(int, same_slice(&part, &before), 1));
}

/* ---- Cloning ----------------------------------------------------------- */

Test(slice, clone_is_a_second_handle_on_the_same_bytes)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice copy;
    memset(&copy, 0xAB, sizeof copy);
    freeze_text(arena, "text", &slice);

    weir_slice_clone(&slice, &copy);

    cr_assert(
        eq(uptr, at(weir_slice_data(&copy)), at(weir_slice_data(&slice))));
    cr_assert(eq(int, slice_holds(&copy, "text"), 1));
    cr_assert(eq(sz, blocks_out(arena), 1));
    weir_slice_release(&slice);
    cr_assert(eq(int, is_empty_slice(&slice), 1));
    cr_assert(eq(int, slice_holds(&copy, "text"), 1));
    cr_assert(eq(sz, blocks_out(arena), 1));
    weir_slice_release(&copy);
    end_arena(arena);
}

Test(slice, clone_may_go_before_its_source)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice copy;
    freeze_text(arena, "text", &slice);

    weir_slice_clone(&slice, &copy);
    weir_slice_release(&copy);

    cr_assert(eq(int, slice_holds(&slice, "text"), 1));
    cr_assert(eq(sz, blocks_out(arena), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(slice, clone_shared_takes_a_const_source)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice copy;
    freeze_text(arena, "text", &slice);
    const struct weir_slice before = slice;

    weir_slice_clone_shared(&before, &copy);

    cr_assert(eq(int, same_slice(&slice, &before), 1));
    cr_assert(eq(int, slice_holds(&copy, "text"), 1));
    weir_slice_release(&slice);
    weir_slice_release(&copy);
    end_arena(arena);
}

Test(slice, clone_shared_outlives_its_source)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct weir_slice slice;
    struct weir_slice copy;
    struct weir_buf buf;
    freeze_text(arena, "text", &slice);

    weir_slice_clone_shared(&slice, &copy);
    weir_slice_release(&slice);

    cr_assert(eq(sz, blocks_out(arena), 1));
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &buf), WEIR_FULL));
    cr_assert(eq(int, slice_holds(&copy, "text"), 1));
    weir_slice_release(&copy);
    end_arena(arena);
}

Test(slice, release_runs_on_any_thread)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[3];
    freeze_text(arena, "text", &slices[0]);
    weir_slice_clone(&slices[0], &slices[1]);
    weir_slice_clone_shared(&slices[0], &slices[2]);

    for (size_t i = 0; i < 3; i++) {
        cr_assert(eq(sz, blocks_out(arena), 1));
        on_thread(release_slice, &slices[i]);
        cr_assert(eq(int, is_empty_slice(&slices[i]), 1));
    }

    end_arena(arena);
}

/* ---- Cutting ----------------------------------------------------------- */

Test(slice, sub_is_a_range)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice part;
    memset(&part, 0xAB, sizeof part);
    freeze_text(arena, "header body", &slice);

    cr_assert(eq(int, weir_slice_sub(&slice, 7, 4, &part), WEIR_OK));

    cr_assert(eq(int, slice_holds(&part, "body"), 1));
    cr_assert(eq(int, slice_holds(&slice, "header body"), 1));
    weir_slice_release(&slice);
    cr_assert(eq(int, slice_holds(&part, "body"), 1));
    weir_slice_release(&part);
    end_arena(arena);
}

Test(slice, sub_may_be_all)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice part;
    freeze_text(arena, "all", &slice);

    cr_assert(eq(int, weir_slice_sub(&slice, 0, 3, &part), WEIR_OK));

    cr_assert(eq(int, slice_holds(&part, "all"), 1));
    weir_slice_release(&slice);
    weir_slice_release(&part);
    end_arena(arena);
}

Test(slice, sub_of_sub_is_a_range_of_the_range)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice middle;
    struct weir_slice inner;
    freeze_text(arena, "0123456789", &slice);

    cr_assert(eq(int, weir_slice_sub(&slice, 2, 6, &middle), WEIR_OK));
    cr_assert(eq(int, weir_slice_sub(&middle, 1, 3, &inner), WEIR_OK));
    cr_assert(
        eq(int, weir_slice_sub(&middle, 4, 3, &slice), WEIR_OUT_OF_RANGE));

    cr_assert(eq(int, slice_holds(&inner, "345"), 1));
    weir_slice_release(&slice);
    weir_slice_release(&middle);
    cr_assert(eq(int, slice_holds(&inner, "345"), 1));
    weir_slice_release(&inner);
    end_arena(arena);
}

Test(slice, sub_of_nothing_holds_no_block)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice parts[3];
    memset(parts, 0xAB, sizeof parts);
    freeze_text(arena, "text", &slice);

    for (size_t i = 0; i < 3; i++)
        cr_assert(
            eq(int, weir_slice_sub(&slice, 2 * i, 0, &parts[i]), WEIR_OK));

    weir_slice_release(&slice);
    cr_assert(eq(sz, blocks_out(arena), 0));
    for (size_t i = 0; i < 3; i++)
        cr_assert(eq(int, is_empty_slice(&parts[i]), 1));
    end_arena(arena);
}

Test(slice, sub_outside_changes_nothing)
{
    static const size_t ranges[][2] = { { 0, 5 }, { 1, 4 }, { 4, 1 }, { 5, 0 },
        { 3, SIZE_MAX }, { SIZE_MAX, 0 }, { SIZE_MAX, 2 }, { 2, SIZE_MAX - 1 },
        { (size_t)UINT32_MAX + 1, 1 }, { 0, (size_t)UINT32_MAX + 1 },
        { 0, (size_t)UINT32_MAX + 2 } };
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice part;
    memset(&part, 0xAB, sizeof part);
    freeze_text(arena, "text", &slice);
    struct weir_slice part_before = part;
    struct weir_slice before = slice;

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        cr_assert(
            eq(int, weir_slice_sub(&slice, ranges[i][0], ranges[i][1], &part),
                WEIR_OUT_OF_RANGE));

    cr_assert(eq(int, same_slice(&slice, &before), 1));
    cr_assert(eq(int, same_slice(&part, &part_before), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(slice, split_front_moves_the_first_bytes)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice front;
    memset(&front, 0xAB, sizeof front);
    freeze_text(arena, "headbody", &slice);

    cr_assert(eq(int, weir_slice_split_front(&slice, 4, &front), WEIR_OK));

    cr_assert(eq(int, slice_holds(&front, "head"), 1));
    cr_assert(eq(int, slice_holds(&slice, "body"), 1));
    weir_slice_release(&front);
    cr_assert(eq(sz, blocks_out(arena), 1));
    cr_assert(eq(int, slice_holds(&slice, "body"), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(slice, split_back_moves_the_last_bytes)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice back;
    memset(&back, 0xAB, sizeof back);
    freeze_text(arena, "bodytail", &slice);

    cr_assert(eq(int, weir_slice_split_back(&slice, 4, &back), WEIR_OK));

    cr_assert(eq(int, slice_holds(&back, "tail"), 1));
    cr_assert(eq(int, slice_holds(&slice, "body"), 1));
    weir_slice_release(&slice);
    cr_assert(eq(int, slice_holds(&back, "tail"), 1));
    weir_slice_release(&back);
    end_arena(arena);
}

Test(slice, split_of_all_moves_the_handle)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice front;
    struct weir_slice back;
    freeze_text(arena, "all", &slice);

    cr_assert(eq(int, weir_slice_split_front(&slice, 3, &front), WEIR_OK));
    cr_assert(eq(int, is_empty_slice(&slice), 1));
    cr_assert(eq(int, weir_slice_split_back(&front, 3, &back), WEIR_OK));
    cr_assert(eq(int, is_empty_slice(&front), 1));

    cr_assert(eq(int, slice_holds(&back, "all"), 1));
    cr_assert(eq(int, weir_slice_is_sole(&back), 1));
    weir_slice_release(&back);
    end_arena(arena);
}

Test(slice, split_of_nothing_gives_the_empty_slice)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice front;
    struct weir_slice back;
    freeze_text(arena, "all", &slice);
    struct weir_slice before = slice;

    cr_assert(eq(int, weir_slice_split_front(&slice, 0, &front), WEIR_OK));
    cr_assert(eq(int, weir_slice_split_back(&slice, 0, &back), WEIR_OK));

    cr_assert(eq(int, is_empty_slice(&front), 1));
    cr_assert(eq(int, is_empty_slice(&back), 1));
    cr_assert(eq(int, same_slice(&slice, &before), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(slice, split_beyond_the_end_changes_nothing)
{
    static const size_t sizes[] = { 4, UINT32_MAX, (size_t)UINT32_MAX + 2,
        SIZE_MAX };
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice part;
    memset(&part, 0xAB, sizeof part);
    freeze_text(arena, "all", &slice);
    struct weir_slice before = slice;
    struct weir_slice part_before = part;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cr_assert(eq(int, weir_slice_split_front(&slice, sizes[i], &part),
            WEIR_OUT_OF_RANGE));
        cr_assert(eq(int, weir_slice_split_back(&slice, sizes[i], &part),
            WEIR_OUT_OF_RANGE));
    }

    cr_assert(eq(int, same_slice(&slice, &before), 1));
    cr_assert(eq(int, same_slice(&part, &part_before), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(slice, split_byte_by_byte_from_both_ends)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    struct weir_slice part;
    alloc(arena, &buf);
    write_pattern(&buf, 0, BLOCK);
    weir_buf_freeze(&buf, &slice);

    for (size_t i = 0; i < BLOCK / 2; i++) {
        cr_assert(eq(int, weir_slice_split_front(&slice, 1, &part), WEIR_OK));
        cr_assert(eq(int, is_pattern(weir_slice_data(&part), i, 1), 1));
        weir_slice_release(&part);
        cr_assert(eq(int, weir_slice_split_back(&slice, 1, &part), WEIR_OK));
        cr_assert(
            eq(int, is_pattern(weir_slice_data(&part), BLOCK - 1 - i, 1), 1));
        weir_slice_release(&part);
    }

    cr_assert(eq(int, is_empty_slice(&slice), 1));
    end_arena(arena);
}

/* ---- Alone ------------------------------------------------------------- */

Test(slice, is_sole_until_it_is_cloned_and_again_afterwards)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice copy;
    freeze_text(arena, "text", &slice);
    cr_assert(eq(int, weir_slice_is_sole(&slice), 1));

    weir_slice_clone(&slice, &copy);
    cr_assert(eq(int, weir_slice_is_sole(&slice), 0));
    cr_assert(eq(int, weir_slice_is_sole(&copy), 0));
    weir_slice_release(&slice);

    cr_assert(eq(int, weir_slice_is_sole(&copy), 1));
    weir_slice_release(&copy);
    end_arena(arena);
}

Test(slice, is_not_sole_while_a_shared_clone_lives)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice copy;
    freeze_text(arena, "text", &slice);

    weir_slice_clone_shared(&slice, &copy);
    cr_assert(eq(int, weir_slice_is_sole(&slice), 0));
    cr_assert(eq(int, weir_slice_is_sole(&copy), 0));
    weir_slice_release(&copy);

    cr_assert(eq(int, weir_slice_is_sole(&slice), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(slice, is_not_sole_while_a_buf_has_the_rest)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "text");

    weir_buf_split(&buf, &slice);
    cr_assert(eq(int, weir_slice_is_sole(&slice), 0));
    weir_buf_drop(&buf);

    cr_assert(eq(int, weir_slice_is_sole(&slice), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(slice, is_not_sole_while_a_part_lives)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice part;
    freeze_text(arena, "text", &slice);

    cr_assert(eq(int, weir_slice_split_front(&slice, 2, &part), WEIR_OK));
    cr_assert(eq(int, weir_slice_is_sole(&slice), 0));
    cr_assert(eq(int, weir_slice_is_sole(&part), 0));
    on_thread(release_slice, &part);

    cr_assert(eq(int, weir_slice_is_sole(&slice), 1));
    weir_slice_release(&slice);
    end_arena(arena);
}

/* ---- Thawing ----------------------------------------------------------- */

Test(slice, thaw_restores_bytes_headroom_and_room)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;
    alloc(arena, &buf);
    cr_assert(eq(int, weir_buf_headroom(&buf, 16), WEIR_OK));
    write_text(&buf, "body");
    struct weir_buf before = buf;
    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_OK));

    cr_assert(eq(int, same_buf(&buf, &before), 1));
    cr_assert(eq(int, is_empty_slice(&slice), 1));
    cr_assert(eq(int, weir_buf_prepend(&buf, "head", 4), WEIR_OK));
    write_text(&buf, "tail");
    cr_assert(eq(int, buf_holds(&buf, "headbodytail"), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(slice, thaw_of_a_part_has_all_the_block_around_it)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice part;
    struct weir_buf buf;
    freeze_text(arena, "0123456789", &slice);
    cr_assert(eq(int, weir_slice_sub(&slice, 3, 4, &part), WEIR_OK));
    weir_slice_release(&slice);

    cr_assert(eq(int, weir_slice_thaw(&part, &buf), WEIR_OK));

    cr_assert(eq(int, buf_holds(&buf, "3456"), 1));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 3));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 7));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(slice, thaw_after_split_and_drop_has_the_whole_block)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice first;
    struct weir_slice second;
    alloc(arena, &buf);
    write_text(&buf, "first");
    weir_buf_split(&buf, &first);
    write_text(&buf, "second");
    weir_buf_split(&buf, &second);
    weir_buf_drop(&buf);
    weir_slice_release(&first);

    cr_assert(eq(int, weir_slice_thaw(&second, &buf), WEIR_OK));

    cr_assert(eq(int, buf_holds(&buf, "second"), 1));
    cr_assert(eq(sz, weir_buf_headroom_left(&buf), 5));
    cr_assert(eq(sz, weir_buf_room(&buf), BLOCK - 11));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(slice, thaw_of_a_shared_one_changes_nothing)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice copy;
    struct weir_buf buf;
    memset(&buf, 0xAB, sizeof buf);
    struct weir_buf buf_before = buf;
    freeze_text(arena, "text", &slice);
    weir_slice_clone_shared(&slice, &copy);
    struct weir_slice before = slice;
    struct weir_slice copy_before = copy;

    cr_assert(eq(int, weir_slice_thaw(&slice, &buf), WEIR_SHARED));
    cr_assert(eq(int, weir_slice_thaw(&copy, &buf), WEIR_SHARED));

    cr_assert(eq(int, same_slice(&slice, &before), 1));
    cr_assert(eq(int, same_slice(&copy, &copy_before), 1));
    cr_assert(eq(int, same_buf(&buf, &buf_before), 1));
    weir_slice_release(&slice);
    weir_slice_release(&copy);
    end_arena(arena);
}

Test(slice, thaw_is_refused_while_the_buf_goes_on)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_buf thawed;
    struct weir_slice slice;
    alloc(arena, &buf);
    write_text(&buf, "text");
    weir_buf_split(&buf, &slice);

    cr_assert(eq(int, weir_slice_thaw(&slice, &thawed), WEIR_SHARED));
    weir_buf_drop(&buf);
    cr_assert(eq(int, weir_slice_thaw(&slice, &thawed), WEIR_OK));

    weir_buf_drop(&thawed);
    end_arena(arena);
}

Test(slice, thaw_and_freeze_can_be_repeated)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slice;
    struct weir_slice copy;
    struct weir_buf buf;
    freeze_text(arena, "", &slice);
    alloc(arena, &buf);

    for (size_t i = 0; i < BLOCK; i++) {
        write_pattern(&buf, i, 1);
        weir_buf_freeze(&buf, &slice);
        weir_slice_clone(&slice, &copy);
        weir_slice_release(&slice);
        cr_assert(eq(int, weir_slice_thaw(&copy, &buf), WEIR_OK));
    }

    cr_assert(eq(sz, weir_buf_len(&buf), BLOCK));
    cr_assert(eq(int, is_pattern(weir_buf_data(&buf), 0, BLOCK), 1));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(slice, thaw_of_others_memory_is_not_supported)
{
    struct owner owner = { 0 };
    struct weir_slice slices[2];
    struct weir_buf buf;
    memset(&buf, 0xAB, sizeof buf);
    struct weir_buf buf_before = buf;
    static_text("static", &slices[0]);
    own(&owner, "foreign", &slices[1]);

    for (size_t i = 0; i < 2; i++) {
        struct weir_slice before = slices[i];
        cr_assert(eq(int, weir_slice_thaw(&slices[i], &buf), WEIR_UNSUPPORTED));
        cr_assert(eq(int, same_slice(&slices[i], &before), 1));
        cr_assert(eq(int, same_buf(&buf, &buf_before), 1));
        weir_slice_release(&slices[i]);
    }

    cr_assert(eq(int, owner.calls, 1));
    no_leaks();
}

/* ---- Static memory ----------------------------------------------------- */

Test(slice, static_memory_is_never_counted)
{
    static const char text[] = "static";
    struct weir_slice slice;
    struct weir_slice made[4];
    memset(&slice, 0xAB, sizeof slice);

    cr_assert(eq(int, weir_slice_static(text, 6, &slice), WEIR_OK));
    struct weir_slice before = slice;
    weir_slice_clone(&slice, &made[0]);
    weir_slice_clone_shared(&slice, &made[1]);
    cr_assert(eq(int, weir_slice_sub(&slice, 0, 6, &made[2]), WEIR_OK));
    cr_assert(eq(int, weir_slice_is_sole(&slice), 0));

    cr_assert(eq(int, same_slice(&slice, &before), 1));
    for (size_t i = 0; i < 3; i++) {
        cr_assert(eq(int, same_slice(&made[i], &before), 1));
        weir_slice_release(&made[i]);
        cr_assert(eq(int, is_empty_slice(&made[i]), 1));
    }
    weir_slice_release(&before);
    cr_assert(eq(uptr, at(weir_slice_data(&slice)), at(text)));
    weir_slice_release(&slice);
    cr_assert(eq(int, is_empty_slice(&slice), 1));
}

Test(slice, static_memory_can_be_cut)
{
    struct weir_slice slice;
    struct weir_slice front;
    struct weir_slice back;
    static_text("frontmiddleback", &slice);

    cr_assert(eq(int, weir_slice_split_front(&slice, 5, &front), WEIR_OK));
    cr_assert(eq(int, weir_slice_split_back(&slice, 4, &back), WEIR_OK));

    cr_assert(eq(int, slice_holds(&front, "front"), 1));
    cr_assert(eq(int, slice_holds(&slice, "middle"), 1));
    cr_assert(eq(int, slice_holds(&back, "back"), 1));
}

Test(slice, static_nothing_is_the_empty_slice)
{
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);

    cr_assert(eq(int, weir_slice_static("text", 0, &slice), WEIR_OK));

    cr_assert(eq(int, is_empty_slice(&slice), 1));
}

Test(slice, memory_of_2_to_the_32_bytes_is_too_large)
{
    static const size_t sizes[] = { (size_t)UINT32_MAX + 1,
        (size_t)UINT32_MAX + 2, SIZE_MAX };
    struct owner owner = { 0 };
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);
    struct weir_slice before = slice;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cr_assert(
            eq(int, weir_slice_static("x", sizes[i], &slice), WEIR_TOO_LARGE));
        cr_assert(eq(int,
            weir_slice_foreign("x", sizes[i], on_release, &owner, &slice),
            WEIR_TOO_LARGE));
    }

    cr_assert(eq(int, same_slice(&slice, &before), 1));
    cr_assert(eq(int, owner.calls, 0));
    no_leaks();
}

Test(slice, memory_of_one_byte_less_is_not)
{
    static const char text[] = "not that long";
    struct owner owner = { 0 };
    struct weir_slice slices[2];
    struct weir_slice part;

    cr_assert(
        eq(int, weir_slice_static(text, UINT32_MAX, &slices[0]), WEIR_OK));
    cr_assert(eq(int,
        weir_slice_foreign(text, UINT32_MAX, on_release, &owner, &slices[1]),
        WEIR_OK));

    for (size_t i = 0; i < 2; i++) {
        cr_assert(eq(sz, weir_slice_len(&slices[i]), UINT32_MAX));
        cr_assert(eq(int, weir_slice_sub(&slices[i], UINT32_MAX - 1, 1, &part),
            WEIR_OK));
        cr_assert(
            eq(uptr, at(weir_slice_data(&part)), at(text) + UINT32_MAX - 1));
        weir_slice_release(&part);
        weir_slice_release(&slices[i]);
    }
    cr_assert(eq(sz, owner.n, UINT32_MAX));
    no_leaks();
}

/* ---- Foreign memory ---------------------------------------------------- */

Test(slice, foreign_memory_is_let_go_once_and_last)
{
    static const char text[] = "foreign";
    struct owner owner = { 0 };
    struct weir_slice slices[4];
    own(&owner, text, &slices[0]);
    cr_assert(eq(int, weir_slice_is_sole(&slices[0]), 1));

    weir_slice_clone(&slices[0], &slices[1]);
    weir_slice_clone_shared(&slices[0], &slices[2]);
    cr_assert(eq(int, weir_slice_sub(&slices[1], 3, 2, &slices[3]), WEIR_OK));
    cr_assert(eq(int, weir_slice_is_sole(&slices[0]), 0));
    cr_assert(eq(int, slice_holds(&slices[3], "ei"), 1));
    for (size_t i = 0; i < 4; i++) {
        cr_assert(eq(int, owner.calls, 0));
        weir_slice_release(&slices[i]);
    }

    cr_assert(eq(int, owner.calls, 1));
    cr_assert(eq(uptr, at(owner.bytes), at(text)));
    cr_assert(eq(sz, owner.n, 7));
    no_leaks();
}

Test(slice, foreign_memory_is_let_go_on_the_last_thread)
{
    struct owner owner = { 0 };
    struct weir_slice slices[2];
    own(&owner, "foreign", &slices[0]);
    weir_slice_clone(&slices[0], &slices[1]);

    weir_slice_release(&slices[0]);
    on_thread(release_slice, &slices[1]);

    cr_assert(eq(int, owner.calls, 1));
    cr_assert(eq(int, pthread_equal(owner.thread, pthread_self()), 0));
    no_leaks();
}

Test(slice, foreign_nothing_is_let_go_at_once)
{
    static const char text[] = "";
    struct owner owner = { 0 };
    struct weir_slice slice;
    memset(&slice, 0xAB, sizeof slice);

    own(&owner, text, &slice);

    cr_assert(eq(int, owner.calls, 1));
    cr_assert(eq(uptr, at(owner.bytes), at(text)));
    cr_assert(eq(sz, owner.n, 0));
    cr_assert(eq(int, is_empty_slice(&slice), 1));
    weir_slice_release(&slice);
    cr_assert(eq(int, owner.calls, 1));
    no_leaks();
}

Test(slice, foreign_release_may_call_weir)
{
    struct weir_arena *arena = open_arena(BLOCK, 1);
    struct owner owner = { .arena = arena };
    struct weir_slice slice;
    own(&owner, "foreign", &slice);

    weir_slice_release(&slice);

    cr_assert(eq(int, owner.calls, 1));
    cr_assert(eq(int, slice_holds(&owner.next, "from the callback"), 1));
    weir_slice_release(&owner.next);
    end_arena(arena);
}

Test(slice, foreign_release_may_release_the_next)
{
    enum { DEPTH = 100 };
    struct owner owners[DEPTH] = { 0 };
    struct weir_slice first;
    own(&owners[0], "foreign", &first);
    for (size_t i = 1; i < DEPTH; i++)
        own(&owners[i], "foreign", &owners[i - 1].next);

    weir_slice_release(&first);

    for (size_t i = 0; i < DEPTH; i++)
        cr_assert(eq(int, owners[i].calls, 1));
    no_leaks();
}

Test(slice, foreign_memory_may_be_freed_in_its_release)
{
    struct owner owner = { 0 };
    struct weir_slice slice;
    char *text = strdup("on the heap");
    own(&owner, text, &slice);
    struct weir_slice tail;

    cr_assert(eq(int, weir_slice_split_back(&slice, 4, &tail), WEIR_OK));
    weir_slice_release(&slice);
    cr_assert(eq(int, slice_holds(&tail, "heap"), 1));
    weir_slice_release(&tail);

    cr_assert(eq(uptr, at(owner.bytes), at(text)));
    free(text);
    no_leaks();
}

/* ---- The end of its arena ---------------------------------------------- */

static void
count_unmapped(void *user)
{
    ++*(int *)user;
}

Test(slice, outlives_its_arena)
{
    int unmapped = 0;
    struct weir_arena *arena =
        open_with(&(struct weir_arena_config){ .block_size = BLOCK,
            .block_count = BLOCKS,
            .on_unmapped = count_unmapped,
            .user = &unmapped });
    struct weir_slice slices[3];
    struct weir_buf buf;
    freeze_text(arena, "text", &slices[0]);

    weir_arena_destroy(&arena);
    weir_slice_clone(&slices[0], &slices[1]);
    weir_slice_clone_shared(&slices[0], &slices[2]);
    weir_slice_release(&slices[0]);
    on_thread(release_slice, &slices[1]);

    cr_assert(eq(int, unmapped, 0));
    cr_assert(eq(int, slice_holds(&slices[2], "text"), 1));
    cr_assert(eq(int, weir_slice_thaw(&slices[2], &buf), WEIR_OK));
    write_text(&buf, " and more");
    cr_assert(eq(int, buf_holds(&buf, "text and more"), 1));
    weir_buf_drop(&buf);
    cr_assert(eq(int, unmapped, 1));
    no_leaks();
}

Test(slice, foreign_memory_need_not_tell_anybody)
{
    struct weir_slice slice;
    struct weir_slice none;

    cr_assert(
        eq(int, weir_slice_foreign("text", 4, NULL, NULL, &slice), WEIR_OK));
    cr_assert(eq(int, weir_slice_foreign("", 0, NULL, NULL, &none), WEIR_OK));
    cr_assert(eq(int, is_empty_slice(&none), 1));
    weir_slice_release(&slice);

    cr_assert(eq(int, is_empty_slice(&slice), 1));
}
