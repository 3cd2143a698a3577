/* SPDX-License-Identifier: MIT */
#include "refbuf/refs.h"

#include "support/refbuf.h"

enum { BLOCK = 256, BLOCKS = 4, MANY = 200, DEEP = 40 };

static uint64_t
count_of(const struct weir_slice *slice)
{
    return count_at(slice->word, slice->owner);
}

static uint64_t
weight_of(const struct weir_slice *slice)
{
    return wr_word_weight(slice->word);
}

/* Invariant 1 of refs: what handles bear is what the count says. */
static void
weights_add_up(const struct weir_slice *slices, size_t n)
{
    uint64_t sum = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (slices[i].word == 0)
            continue;
        cr_assert(gt(u64, weight_of(&slices[i]), 0));
        sum += weight_of(&slices[i]);
        count = count_of(&slices[i]);
    }
    if (sum != 0)
        cr_assert(eq(u64, sum, count));
}

Test(refs, new_block_has_the_whole_weight_and_so_has_its_count)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slice;

    alloc(arena, &buf);
    cr_assert(eq(u32, wr_word_weight(buf.word), WR_WEIGHT_WHOLE));
    cr_assert(eq(u64, count_at(buf.word, buf.owner), WR_WEIGHT_WHOLE));
    write_text(&buf, "text");
    weir_buf_freeze(&buf, &slice);

    cr_assert(eq(u64, weight_of(&slice), WR_WEIGHT_WHOLE));
    cr_assert(eq(u64, count_of(&slice), WR_WEIGHT_WHOLE));
    weir_slice_release(&slice);
    end_arena(arena);
}

Test(refs, clone_divides_the_weight_and_leaves_the_count)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[2];
    freeze_text(arena, "text", &slices[0]);

    weir_slice_clone(&slices[0], &slices[1]);

    cr_assert(eq(u64, weight_of(&slices[0]), WR_WEIGHT_WHOLE / 4 * 3));
    cr_assert(eq(u64, weight_of(&slices[1]), WR_WEIGHT_WHOLE / 4));
    cr_assert(eq(u64, count_of(&slices[0]), WR_WEIGHT_WHOLE));
    weir_slice_release(&slices[0]);
    weir_slice_release(&slices[1]);
    end_arena(arena);
}

Test(refs, sixty_clones_of_one_handle_touch_no_count)
{
    enum { CLONES = 60 };
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[CLONES + 1] = { 0 };
    freeze_text(arena, "text", &slices[0]);

    for (size_t i = 1; i <= CLONES; i++) {
        weir_slice_clone(&slices[0], &slices[i]);
        cr_assert(eq(u64, count_of(&slices[0]), WR_WEIGHT_WHOLE));
    }

    weights_add_up(slices, CLONES + 1);
    for (size_t i = 0; i <= CLONES; i++)
        weir_slice_release(&slices[i]);
    end_arena(arena);
}

Test(refs, clone_shared_adds_to_the_count)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[2];
    freeze_text(arena, "text", &slices[0]);

    weir_slice_clone_shared(&slices[0], &slices[1]);

    cr_assert(eq(u64, weight_of(&slices[0]), WR_WEIGHT_WHOLE));
    cr_assert(
        eq(u64, count_of(&slices[0]), WR_WEIGHT_WHOLE + weight_of(&slices[1])));
    weights_add_up(slices, 2);
    weir_slice_release(&slices[0]);
    weir_slice_release(&slices[1]);
    end_arena(arena);
}

/* Makes MANY clones of one handle and of kinds of its own. */
static void
clone_many(struct weir_slice *slices)
{
    for (size_t i = 1; i < MANY; i++) {
        weir_slice_clone(&slices[0], &slices[i]);
        weights_add_up(slices, i + 1);
    }
}

Test(refs, two_hundred_clones_of_one_handle_are_counted)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[MANY] = { 0 };
    freeze_text(arena, "text", &slices[0]);

    clone_many(slices);

    for (size_t i = 0; i < MANY; i++) {
        cr_assert(eq(int, slice_holds(&slices[i], "text"), 1));
        cr_assert(eq(sz, blocks_out(arena), 1));
        cr_assert(eq(int, weir_slice_is_sole(&slices[i]), i == MANY - 1));
        weir_slice_release(&slices[i]);
        weights_add_up(slices, MANY);
    }
    end_arena(arena);
}

Test(refs, two_hundred_clones_may_go_in_any_order)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[MANY] = { 0 };

    for (size_t step = 1; step < MANY; step += 2) {
        if (step % 5 == 0)
            continue; /* it would not meet all */
        freeze_text(arena, "text", &slices[0]);
        clone_many(slices);
        for (size_t i = 0; i < MANY; i++) {
            cr_assert(eq(sz, blocks_out(arena), 1));
            weir_slice_release(&slices[i * step % MANY]);
        }
        cr_assert(eq(sz, blocks_out(arena), 0));
        weir_arena_check(arena);
    }
    end_arena(arena);
}

Test(refs, clone_of_clone_forty_deep_is_counted)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[DEEP] = { 0 };
    freeze_text(arena, "text", &slices[0]);

    for (size_t i = 1; i < DEEP; i++) {
        weir_slice_clone(&slices[i - 1], &slices[i]);
        weights_add_up(slices, i + 1);
    }

    cr_assert(gt(u64, count_of(&slices[0]), WR_WEIGHT_WHOLE));
    for (size_t i = DEEP; i > 0; i--) {
        cr_assert(eq(int, slice_holds(&slices[i - 1], "text"), 1));
        cr_assert(eq(sz, blocks_out(arena), 1));
        weir_slice_release(&slices[i - 1]);
        weights_add_up(slices, DEEP);
    }
    end_arena(arena);
}

Test(refs, chain_of_clones_that_go_at_once_keeps_the_block)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[2];
    freeze_text(arena, "text", &slices[0]);

    for (size_t i = 0; i < 10 * MANY; i++) {
        weir_slice_clone(&slices[i % 2], &slices[(i + 1) % 2]);
        weir_slice_release(&slices[i % 2]);
        cr_assert(eq(sz, blocks_out(arena), 1));
    }

    cr_assert(eq(int, slice_holds(&slices[0], "text"), 1));
    cr_assert(eq(int, weir_slice_is_sole(&slices[0]), 1));
    weir_slice_release(&slices[0]);
    end_arena(arena);
}

Test(refs, shared_clones_that_go_first_leave_the_count_whole)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[MANY] = { 0 };
    freeze_text(arena, "text", &slices[0]);

    for (size_t i = 1; i < MANY; i++)
        weir_slice_clone_shared(&slices[i / 2], &slices[i]);
    weights_add_up(slices, MANY);
    for (size_t i = 1; i < MANY; i++)
        weir_slice_release(&slices[i]);

    cr_assert(eq(u64, count_of(&slices[0]), WR_WEIGHT_WHOLE));
    cr_assert(eq(int, weir_slice_is_sole(&slices[0]), 1));
    weir_slice_release(&slices[0]);
    end_arena(arena);
}

Test(refs, thaw_makes_a_count_whole_again)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[MANY] = { 0 };
    struct weir_buf buf;
    freeze_text(arena, "text", &slices[0]);
    clone_many(slices);
    for (size_t i = 0; i < MANY - 1; i++)
        weir_slice_release(&slices[i]);
    cr_assert(ne(u64, count_of(&slices[MANY - 1]), WR_WEIGHT_WHOLE));

    cr_assert(eq(int, weir_slice_thaw(&slices[MANY - 1], &buf), WEIR_OK));

    cr_assert(eq(u32, wr_word_weight(buf.word), WR_WEIGHT_WHOLE));
    cr_assert(eq(u64, count_at(buf.word, buf.owner), WR_WEIGHT_WHOLE));
    weir_buf_drop(&buf);
    end_arena(arena);
}

Test(refs, splits_of_a_buf_divide_its_weight)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_buf buf;
    struct weir_slice slices[MANY] = { 0 };
    alloc(arena, &buf);

    for (size_t i = 0; i < MANY; i++) {
        write_pattern(&buf, i, 1);
        weir_buf_split(&buf, &slices[i]);
        uint64_t sum = wr_word_weight(buf.word);
        for (size_t j = 0; j <= i; j++)
            sum += weight_of(&slices[j]);
        cr_assert(eq(u64, sum, count_of(&slices[i])));
    }

    weir_buf_drop(&buf);
    for (size_t i = 0; i < MANY; i++)
        weir_slice_release(&slices[i]);
    end_arena(arena);
}

Test(refs, weight_of_one_is_enlarged_before_it_is_divided)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[3] = { 0 };
    freeze_text(arena, "text", &slices[0]);
    uint64_t word = slices[0].word;
    slices[0].word = wr_word_with_weight(word, WR_WEIGHT_WHOLE - 1);
    slices[1] = slices[0];
    slices[1].word = wr_word_with_weight(word, 1);

    weir_slice_clone(&slices[1], &slices[2]);

    cr_assert(gt(u64, count_of(&slices[1]), WR_WEIGHT_WHOLE));
    cr_assert(gt(u64, weight_of(&slices[1]), 1));
    weights_add_up(slices, 3);
    for (size_t i = 0; i < 3; i++)
        weir_slice_release(&slices[i]);
    end_arena(arena);
}

Test(refs, every_small_weight_can_be_divided)
{
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice slices[3] = { 0 };

    for (uint32_t weight = 1; weight <= 64; weight++) {
        freeze_text(arena, "text", &slices[0]);
        uint64_t word = slices[0].word;
        slices[0].word = wr_word_with_weight(word, WR_WEIGHT_WHOLE - weight);
        slices[1] = slices[0];
        slices[1].word = wr_word_with_weight(word, weight);
        weir_slice_clone(&slices[1], &slices[2]);
        weights_add_up(slices, 3);
        for (size_t i = 0; i < 3; i++)
            weir_slice_release(&slices[(weight + i) % 3]);
        cr_assert(eq(sz, blocks_out(arena), 0));
    }

    end_arena(arena);
}

static void
count_release(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    ++*(int *)user;
}

Test(refs, foreign_memory_is_counted_as_a_block_is)
{
    int released = 0;
    struct weir_slice slices[MANY + DEEP] = { 0 };
    cr_assert(eq(int,
        weir_slice_foreign("text", 4, count_release, &released, &slices[0]),
        WEIR_OK));

    for (size_t i = 1; i < MANY; i++)
        weir_slice_clone(&slices[0], &slices[i]);
    for (size_t i = MANY; i < MANY + DEEP; i++)
        weir_slice_clone(&slices[i - 1], &slices[i]);
    for (size_t i = 0; i < MANY + DEEP; i++) {
        cr_assert(eq(int, released, 0));
        cr_assert(
            eq(int, weir_slice_is_sole(&slices[i]), i == MANY + DEEP - 1));
        weir_slice_release(&slices[i]);
    }

    cr_assert(eq(int, released, 1));
    no_leaks();
}

/* What several threads clone and release at once. */
struct crowd {
    const struct weir_slice *source;
    struct weir_slice mine;
};

static void *
clone_and_release(void *user)
{
    struct crowd *crowd = user;
    for (size_t i = 0; i < 2000; i++) {
        struct weir_slice shared;
        struct weir_slice own;
        weir_slice_clone_shared(crowd->source, &shared);
        weir_slice_clone(&crowd->mine, &own);
        cr_assert(eq(int, slice_holds(&shared, "text"), 1));
        weir_slice_release(&shared);
        weir_slice_release(&own);
    }
    weir_slice_release(&crowd->mine);
    return NULL;
}

Test(refs, threads_share_one_source)
{
    enum { THREADS = 4 };
    struct weir_arena *arena = open_arena(BLOCK, BLOCKS);
    struct weir_slice source;
    struct crowd crowds[THREADS];
    pthread_t threads[THREADS];
    freeze_text(arena, "text", &source);
    for (size_t i = 0; i < THREADS; i++) {
        crowds[i].source = &source;
        weir_slice_clone(&source, &crowds[i].mine);
    }

    for (size_t i = 0; i < THREADS; i++)
        cr_assert(eq(int,
            pthread_create(&threads[i], NULL, clone_and_release, &crowds[i]),
            0));
    for (size_t i = 0; i < THREADS; i++)
        cr_assert(eq(int, pthread_join(threads[i], NULL), 0));

    cr_assert(eq(int, slice_holds(&source, "text"), 1));
    cr_assert(eq(int, weir_slice_is_sole(&source), 1));
    weir_slice_release(&source);
    end_arena(arena);
}
