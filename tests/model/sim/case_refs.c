/* SPDX-License-Identifier: MIT */
/*
 * refs: a block goes home once, after its last handle, and nobody writes into
 * it while another one reads. Edge [last].
 *
 * Every reader reads the block through its handle; who thaws writes; who gets
 * the block next writes too. A release that does not carry what a reader did, or
 * an acquire that does not wait for it, is a race in the block.
 */

#include "base/handle.h"
#include "cases.h"
#include "world.h"

static struct weir_arena *arena;
static struct weir_slice slices[SIM_WORKERS_MAX];
static struct weir_slice shared;

/* A slice for each thread, cloned from one another. */
static void
prepare(void)
{
    arena = world_create(1, 0);
    slices[0] = world_slice(arena);
    for (unsigned i = 1; i < SIM_WORKERS_MAX - 1; i++)
        weir_slice_clone(&slices[0], &slices[i]);
    slices[SIM_WORKERS_MAX - 1] = (struct weir_slice){ 0 };
}

/* Two slices with nearly all the weight each can have. */
static void
prepare_two(void)
{
    arena = world_create(1, 0);
    slices[0] = world_slice(arena);
    weir_slice_clone(&slices[0], &slices[1]);
}

/* A handle with so little weight that it has to fetch more. */
static void
prepare_light(void)
{
    arena = world_create(1, 0);
    struct weir_slice heavy = world_slice(arena);
    slices[0] = heavy;
    slices[1] = heavy;
    slices[0].word = wr_word_with_weight(heavy.word, 2);
    slices[1].word = wr_word_with_weight(heavy.word, WR_WEIGHT_WHOLE - 2);
}

/* One with the whole weight and one with more: cloned without leave. */
static void
prepare_whole(void)
{
    arena = world_create(1, 0);
    slices[0] = world_slice(arena);
    weir_slice_clone_shared(&slices[0], &slices[1]);
}

/* One that two threads clone without leave, and a third holds. */
static void
prepare_shared(void)
{
    prepare();
    weir_slice_clone(&slices[0], &shared);
}

/* With caches, which have the block's word on top: what comes home is what the
   same thread takes next. */
static void
warm_cached(void)
{
    world_warm();
    world_cache(arena)->batch_max = 1;
    if (sim_self() != 0) {
        struct weir_buf buf = world_alloc(arena);
        world_drop(&buf);
    }
}

static void
prepare_cached(void)
{
    arena = world_create(WR_WORD_BITS + 2, 0);
    world_leave(arena, 7, 0);
    warm_cached();
    slices[0] = world_slice(arena);
    weir_slice_clone(&slices[0], &slices[1]);
}

/* They have another word on top, so that it comes on top of that. */
static void
prepare_cached_below(void)
{
    arena = world_create(WR_WORD_BITS + 3, 0);
    world_leave(arena, 1, 6);
    warm_cached();
    slices[0] = world_slice(arena);
    weir_slice_clone(&slices[0], &slices[1]);
}

static void
prepare_cached_whole_below(void)
{
    arena = world_create(WR_WORD_BITS + 3, 0);
    world_leave(arena, 1, 6);
    warm_cached();
    slices[0] = world_slice(arena);
    weir_slice_clone_shared(&slices[0], &slices[1]);
}

/* The first one keeps the whole weight. */
static void
prepare_cached_whole(void)
{
    arena = world_create(WR_WORD_BITS + 2, 0);
    world_leave(arena, 7, 0);
    warm_cached();
    slices[0] = world_slice(arena);
    weir_slice_clone_shared(&slices[0], &slices[1]);
}

static struct weir_slice *
mine(void)
{
    return &slices[sim_self() - 1];
}

static void
release(void)
{
    world_release(mine());
}

static void
clone_and_release(void)
{
    struct weir_slice copy;
    weir_slice_clone(mine(), &copy);
    world_release(mine());
    world_release(&copy);
}

static void
clone_shared_and_release(void)
{
    struct weir_slice copy;
    weir_slice_clone_shared(&shared, &copy);
    world_release(&copy);
}

/* Clones without leave from a slice of its own, and gives that up first. */
static void
clone_own_shared(void)
{
    struct weir_slice copy;
    weir_slice_clone_shared(mine(), &copy);
    world_release(mine());
    world_release(&copy);
}

/* Writes into the block if it is alone with it. */
static void
thaw(void)
{
    struct weir_buf buf;
    if (weir_slice_thaw(mine(), &buf) != WEIR_OK) {
        world_release(mine());
        return;
    }
    weir_buf_clear(&buf);
    world_drop(&buf);
}

/* And goes on with it as if it were new. */
static void
thaw_and_freeze(void)
{
    struct weir_buf buf;
    if (weir_slice_thaw(mine(), &buf) != WEIR_OK) {
        world_release(mine());
        return;
    }
    struct weir_slice part;
    weir_buf_clear(&buf);
    sim_plain_write(weir_buf_tail(&buf), WORLD_BLOCK);
    weir_buf_commit(&buf, WORLD_BLOCK / 2);
    weir_buf_split(&buf, &part);
    world_release(&part);
    weir_buf_drop(&buf);
}

/* Whoever gets the block next writes into it, and shares it in its turn. */
static void
use_next(void)
{
    struct weir_buf buf;
    if (!world_try(arena, &buf))
        return;
    struct weir_slice slice;
    struct weir_slice copy;
    weir_buf_commit(&buf, WORLD_BLOCK);
    weir_buf_freeze(&buf, &slice);
    weir_slice_clone(&slice, &copy);
    world_release(&slice);
    world_release(&copy);
}

static void
release_and_use_next(void)
{
    release();
    use_next();
}

static void
all_is_home(void)
{
    world_expect_whole(arena);
}

static void
release_shared_too(void)
{
    world_release(&shared);
    for (unsigned i = 0; i < SIM_WORKERS_MAX; i++)
        world_release(&slices[i]);
    all_is_home();
}

const struct sim_case refs_cases[] = {
    {
        .name = "refs",
        .claim = "three release; the last sends the block home",
        .before = prepare,
        .threads = { release, clone_and_release, release },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "refs_thaw",
        .claim = "who is alone writes, behind all readers",
        .before = prepare,
        .threads = { thaw, release, release },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "refs_thaw_all",
        .claim = "of all who thaw at most one is alone",
        .before = prepare,
        .threads = { thaw, thaw, thaw_and_freeze },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "refs_shared",
        .claim = "clones that divide nothing",
        .before = prepare_shared,
        .threads = { clone_shared_and_release, clone_shared_and_release },
        .after = release_shared_too,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "refs_shared_own",
        .claim = "clones that add weight while others give it back",
        .before = prepare,
        .warm = world_warm,
        .threads = { clone_own_shared, clone_own_shared, thaw },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "refs_light",
        .claim = "a handle out of weight fetches more",
        .before = prepare_light,
        .threads = { clone_and_release, thaw },
        .after = all_is_home,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "refs_whole",
        .claim = "a handle with the whole weight and another one",
        .before = prepare_whole,
        .warm = world_warm,
        .threads = { release, release, use_next },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "refs_whole_thaw",
        .claim = "of which one thaws",
        .before = prepare_whole,
        .threads = { thaw, release, use_next },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "refs_next",
        .claim = "the next owner is behind all readers",
        .before = prepare_two,
        .warm = world_warm,
        .threads = { clone_own_shared, release, use_next },
        .after = all_is_home,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "refs_cached",
        .claim = "a block that comes home to the cache of the last",
        .before = prepare_cached,
        .warm = warm_cached,
        .threads = { release_and_use_next, release_and_use_next },
        .after = all_is_home,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "refs_cached_below",
        .claim = "on top of another word's blocks",
        .before = prepare_cached_below,
        .warm = warm_cached,
        .threads = { release_and_use_next, release_and_use_next },
        .after = all_is_home,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "refs_cached_whole",
        .claim = "who has the whole weight, and another one",
        .before = prepare_cached_whole,
        .warm = warm_cached,
        .threads = { release_and_use_next, release_and_use_next },
        .after = all_is_home,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "refs_cached_whole_below",
        .claim = "on top of another word's blocks",
        .before = prepare_cached_whole_below,
        .warm = warm_cached,
        .threads = { release_and_use_next, release_and_use_next },
        .after = all_is_home,
        .preemptions = 3,
        .stales = 3,
    },
    { 0 },
};
