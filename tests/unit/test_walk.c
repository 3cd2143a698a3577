/* SPDX-License-Identifier: MIT */
/*
 * A random walk over bufs, slices and chains of several arenas, and beside it
 * the same with the naive model. After each step every byte, every status and
 * every count must agree. WEIR_SEED in the environment repeats a walk.
 */
#include "support/prng.h"
#include "support/refbuf.h"
#include "support/walk_model.h"

#include "arena/caches.h"
#include "refbuf/refs.h"

#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    STEPS = 10000,
    LIVE = 7, /* arenas at a time */
    ARENAS = 60,
    BUFS = 10,
    SLICES = 40,
    CHAINS = 4,
    BYTES_MAX = 1500
};

static const struct weir_arena_config configs[LIVE] = {
    { .name = "plain", .block_size = 256, .block_count = 6 },
    { .name = "tiny", .block_size = 64, .block_count = 1 },
    { .name = "grows",
        .block_size = 128,
        .block_count = 4,
        .flags = WEIR_SPILL_GROW,
        .spill_bytes_max = 4000 },
    { .name = "spills",
        .block_size = 192,
        .block_count = 3,
        .flags = WEIR_SPILL_FULL },
    { .name = "both",
        .block_size = 64,
        .block_count = 2,
        .flags = WEIR_SPILL_GROW | WEIR_SPILL_FULL,
        .spill_bytes_max = 2000 },
    { .name = "cached", .block_size = 128, .block_count = 70 },
    { .name = "cached and grows",
        .block_size = 64,
        .block_count = 64,
        .flags = WEIR_SPILL_GROW | WEIR_SPILL_FULL,
        .spill_bytes_max = 2000 },
};

struct walk_arena {
    struct weir_arena *real; /* NULL: destroyed */
    struct model_arena model;
    size_t unmapped;
};

struct walk_buf {
    struct weir_buf real;
    struct model_buf model;
};

struct walk_slice {
    struct weir_slice real;
    struct model_range model;
};

struct walk_chain {
    struct weir_chain real;
    struct model_chain model;
};

static struct walk {
    struct prng prng;
    uint64_t seed;
    size_t step;
    const char *doing;
    struct walk_arena arenas[ARENAS];
    size_t arena_count;
    struct walk_arena *live[LIVE];
    struct walk_buf bufs[BUFS];
    struct walk_slice slices[SLICES];
    struct walk_chain chains[CHAINS];
    size_t let_go;
    uint8_t bytes[BYTES_MAX];
} walk;

static void
agree(uint64_t is, uint64_t wanted, const char *what)
{
    cr_assert(eq(u64, is, wanted), "%s after %s, seed %llu, step %zu", what,
        walk.doing, (unsigned long long)walk.seed, walk.step);
}

static size_t
below(size_t limit)
{
    return (size_t)prng_below(&walk.prng, limit);
}

/* Mostly small, sometimes nothing, sometimes more than there is. */
static size_t
some_size(size_t usual)
{
    if (usual > BYTES_MAX - 2)
        usual = BYTES_MAX - 2;
    switch (below(8)) {
    case 0:
        return 0;
    case 1:
        return usual;
    case 2:
        return below(BYTES_MAX);
    default:
        return below(usual + 2);
    }
}

static const uint8_t *
some_bytes(size_t n)
{
    for (size_t i = 0; i < n; i++)
        walk.bytes[i] = (uint8_t)prng_next(&walk.prng);
    return walk.bytes;
}

static struct walk_buf *
some_buf(void)
{
    return &walk.bufs[below(BUFS)];
}

static struct walk_slice *
some_slice(void)
{
    return &walk.slices[below(SLICES)];
}

static struct walk_chain *
some_chain(void)
{
    return &walk.chains[below(CHAINS)];
}

/* ---- Arenas ------------------------------------------------------------ */

static void
count_unmapped(void *user)
{
    ++*(size_t *)user;
}

static void
open_live(size_t i)
{
    struct walk_arena *arena = &walk.arenas[walk.arena_count++];
    struct weir_arena_config config = configs[i];
    config.on_unmapped = count_unmapped;
    config.user = &arena->unmapped;
    arena->real = open_with(&config);
    size_t bytes = config.block_size * config.block_count;
    arena->model = (struct model_arena){
        .block_size = config.block_size,
        .block_count = config.block_count,
        .flags = config.flags,
        .spill_bytes_max =
            config.spill_bytes_max != 0 ? config.spill_bytes_max : bytes,
    };
    walk.live[i] = arena;
}

static void
destroy_live(size_t i)
{
    weir_arena_destroy(&walk.live[i]->real);
    walk.live[i]->model.closed = true;
}

static void
renew_arena(void)
{
    if (walk.arena_count == ARENAS || below(8) != 0)
        return;
    size_t i = below(LIVE);
    destroy_live(i);
    open_live(i);
}

static void
close_arena(void)
{
    if (below(20) != 0)
        return;
    struct walk_arena *arena = walk.live[below(LIVE)];
    weir_arena_close(arena->real);
    arena->model.closed = true;
}

static void
flush_thread(void)
{
    weir_thread_flush();
}

static void
sweep_caches(void)
{
    struct weir_arena *arena = walk.live[below(LIVE)]->real;
    wr_mutex_lock(&arena->mutex);
    wr_caches_sweep(arena);
    wr_mutex_unlock(&arena->mutex);
}

/* ---- Bufs -------------------------------------------------------------- */

static void
alloc_buf(void)
{
    struct walk_arena *arena = walk.live[below(LIVE)];
    struct walk_buf *buf = some_buf();
    weir_buf_drop(&buf->real);
    model_drop(&buf->model);
    size_t size = below(4) == 0 ? some_size(arena->model.block_size) : 0;

    enum weir_status status = weir_arena_alloc(arena->real, size, &buf->real);

    agree(status, model_alloc(&arena->model, size, &buf->model), "status");
}

static void
write_buf(void)
{
    struct walk_buf *buf = some_buf();
    size_t n = some_size(buf->model.room);
    const uint8_t *bytes = some_bytes(n);

    enum weir_status status = weir_buf_write(&buf->real, bytes, n);

    agree(status, model_write(&buf->model, bytes, n), "status");
}

static void
commit_buf(void)
{
    struct walk_buf *buf = some_buf();
    size_t n = below(buf->model.room + 1);
    if (n > BYTES_MAX)
        n = BYTES_MAX;
    const uint8_t *bytes = some_bytes(n);

    if (n > 0)
        memcpy(weir_buf_tail(&buf->real), bytes, n);
    weir_buf_commit(&buf->real, n);

    agree(WEIR_OK, model_write(&buf->model, bytes, n), "status");
}

static void
reserve_buf(void)
{
    struct walk_buf *buf = some_buf();
    size_t n = some_size(buf->model.room);

    enum weir_status status = weir_buf_reserve(&buf->real, n);

    agree(status, model_reserve(&buf->model, n), "status");
}

static void
headroom_buf(void)
{
    struct walk_buf *buf = some_buf();
    size_t n = below(2) == 0 ? below(32) : some_size(buf->model.room);

    enum weir_status status = weir_buf_headroom(&buf->real, n);

    agree(status, model_headroom(&buf->model, n), "status");
}

static void
prepend_buf(void)
{
    struct walk_buf *buf = some_buf();
    size_t n = some_size(buf->model.head);
    const uint8_t *bytes = some_bytes(n);

    enum weir_status status = weir_buf_prepend(&buf->real, bytes, n);

    agree(status, model_prepend(&buf->model, bytes, n), "status");
}

static void
truncate_buf(void)
{
    struct walk_buf *buf = some_buf();
    size_t len = some_size(buf->model.range.len);
    if (below(4) == 0) {
        weir_buf_clear(&buf->real);
        len = 0;
    } else {
        weir_buf_truncate(&buf->real, len);
    }
    model_truncate(&buf->model, len);
}

static void
drop_some_buf(void)
{
    struct walk_buf *buf = some_buf();
    weir_buf_drop(&buf->real);
    model_drop(&buf->model);
}

/* ---- Slices ------------------------------------------------------------ */

static void
release_one(struct walk_slice *slice)
{
    weir_slice_release(&slice->real);
    model_release(&slice->model);
}

/* A place for a new slice that is not `other`. */
static struct walk_slice *
place_beside(const struct walk_slice *other)
{
    struct walk_slice *place = some_slice();
    while (place == other)
        place = some_slice();
    release_one(place);
    return place;
}

static void
freeze_buf(void)
{
    struct walk_buf *buf = some_buf();
    struct walk_slice *slice = place_beside(NULL);
    weir_buf_freeze(&buf->real, &slice->real);
    model_freeze(&buf->model, &slice->model);
}

static void
split_buf(void)
{
    struct walk_buf *buf = some_buf();
    struct walk_slice *slice = place_beside(NULL);
    weir_buf_split(&buf->real, &slice->real);
    model_split(&buf->model, &slice->model);
}

static void
clone_slice(void)
{
    struct walk_slice *slice = some_slice();
    struct walk_slice *copy = place_beside(slice);
    if (below(3) == 0)
        weir_slice_clone_shared(&slice->real, &copy->real);
    else
        weir_slice_clone(&slice->real, &copy->real);
    model_clone(&slice->model, &copy->model);
}

/* Clone of clone, with the first one gone at once: weights get small. */
static void
wear_slice(void)
{
    struct walk_slice *slice = some_slice();
    for (size_t i = below(30); i > 0; i--) {
        struct weir_slice copy;
        weir_slice_clone(&slice->real, &copy);
        if (below(2) == 0) {
            weir_slice_release(&slice->real);
            slice->real = copy;
        } else {
            weir_slice_release(&copy);
        }
    }
}

static void
sub_slice(void)
{
    struct walk_slice *slice = some_slice();
    struct walk_slice *part = place_beside(slice);
    size_t from = some_size(slice->model.len);
    size_t len = some_size(slice->model.len);
    if (below(2) == 0 && from <= slice->model.len)
        len = below(slice->model.len - from + 1);

    enum weir_status status =
        weir_slice_sub(&slice->real, from, len, &part->real);

    agree(status, model_sub(&slice->model, from, len, &part->model), "status");
}

static void
cut_slice(void)
{
    struct walk_slice *slice = some_slice();
    struct walk_slice *part = place_beside(slice);
    size_t n = some_size(slice->model.len);
    bool front = below(2) == 0;

    enum weir_status status =
        front ? weir_slice_split_front(&slice->real, n, &part->real)
              : weir_slice_split_back(&slice->real, n, &part->real);

    agree(status,
        front ? model_split_front(&slice->model, n, &part->model)
              : model_split_back(&slice->model, n, &part->model),
        "status");
}

static void
release_some_slice(void)
{
    struct walk_slice *slice = some_slice();
    if (below(50) == 0)
        on_thread(release_slice, &slice->real);
    release_one(slice);
}

static void
thaw_slice(void)
{
    struct walk_slice *slice = some_slice();
    struct walk_buf *buf = some_buf();
    weir_buf_drop(&buf->real);
    model_drop(&buf->model);

    enum weir_status status = weir_slice_thaw(&slice->real, &buf->real);

    agree(status, model_thaw(&slice->model, &buf->model), "status");
}

/* The caller's memory; it goes when the last slice has gone. */
static void
on_let_go(const void *bytes, size_t n, void *user)
{
    walk.let_go++;
    cr_assert(eq(uptr, at(bytes), at(user)));
    cr_assert(lt(sz, n, BYTES_MAX));
    free(user);
}

static void
foreign_slice(void)
{
    struct walk_slice *slice = place_beside(NULL);
    size_t n = some_size(100);
    uint8_t *bytes = malloc(n + 1);
    cr_assert(ne(ptr, bytes, NULL));
    memcpy(bytes, some_bytes(n), n);
    model_other(MODEL_FOREIGN, bytes, n, &slice->model);

    enum weir_status status =
        weir_slice_foreign(bytes, n, on_let_go, bytes, &slice->real);

    agree(status, WEIR_OK, "status");
}

static void
static_slice(void)
{
    static const char text[] = "all the bytes that are always there";
    struct walk_slice *slice = place_beside(NULL);
    size_t n = below(sizeof text);

    enum weir_status status = weir_slice_static(text, n, &slice->real);

    agree(status, WEIR_OK, "status");
    model_other(MODEL_STATIC, (const uint8_t *)text, n, &slice->model);
}

/* ---- Chains ------------------------------------------------------------ */

static void
push_slice(void)
{
    struct walk_chain *chain = some_chain();
    struct walk_slice *slice = some_slice();
    if (chain->model.count == MODEL_CHAIN_MAX)
        return;
    bool front = below(3) == 0;

    enum weir_status status =
        front ? weir_chain_prepend(&chain->real, &slice->real)
              : weir_chain_push(&chain->real, &slice->real);

    agree(status, WEIR_OK, "status");
    agree(is_empty_slice(&slice->real), 1, "moved slice");
    model_push(&chain->model, front ? 0 : chain->model.count, &slice->model);
}

static void
pop_slice(void)
{
    struct walk_chain *chain = some_chain();
    struct walk_slice *slice = place_beside(NULL);
    weir_chain_pop(&chain->real, &slice->real);
    model_pop(&chain->model, &slice->model);
}

static void
advance_chain(void)
{
    struct walk_chain *chain = some_chain();
    size_t n = some_size(model_chain_len(&chain->model) / 2);

    enum weir_status status = weir_chain_advance(&chain->real, n);

    agree(status, model_advance(&chain->model, n), "status");
}

static void
read_chain(void)
{
    const struct walk_chain *chain = some_chain();
    size_t len = model_chain_len(&chain->model);
    uint8_t *bytes = model_flat(&chain->model);
    uint8_t *out = malloc(len + 1);
    cr_assert(ne(ptr, out, NULL));
    size_t from = below(len + 1);
    size_t n = below(len - from + 1);
    size_t pattern = n < 3 ? n : 3;

    agree(weir_chain_copy(&chain->real, from, n, out), WEIR_OK, "status");
    agree(memcmp(out, bytes + from, n) == 0, 1, "copy");
    model_count_copy(&chain->model, from, n);
    agree(weir_chain_copy(&chain->real, from, len - from + 1, out),
        WEIR_OUT_OF_RANGE, "status");
    const uint8_t *hit =
        pattern == 0 ? bytes : memmem(bytes, len, bytes + from, pattern);
    agree(weir_chain_find(&chain->real, 0, bytes + from, pattern),
        (uint64_t)(hit - bytes), "find");

    free(out);
    free(bytes);
}

static void
linearize_chain(void)
{
    struct walk_chain *chain = some_chain();
    struct walk_arena *arena = walk.live[below(LIVE)];

    enum weir_status status = weir_chain_linearize(&chain->real, arena->real);

    agree(status, model_linearize(&chain->model, &arena->model), "status");
}

static void
release_chain(void)
{
    struct walk_chain *chain = some_chain();
    if (below(3) != 0)
        return;
    weir_chain_release(&chain->real);
    model_release_chain(&chain->model);
}

static void
move_chain(void)
{
    struct walk_chain *chain = some_chain();
    struct weir_chain moved = chain->real;
    memset(&chain->real, 0xAB, sizeof chain->real);
    memcpy(&chain->real, &moved, sizeof moved);
}

/* ---- Agreement --------------------------------------------------------- */

static void
bytes_agree(const void *data, size_t len, const struct model_range *model)
{
    agree(len, model->len, "len");
    if (len > 0)
        agree(memcmp(data, model->bytes, len) == 0, 1, "bytes");
}

static void
slice_agrees(const struct weir_slice *slice, const struct model_range *model)
{
    bytes_agree(weir_slice_data(slice), weir_slice_len(slice), model);
    agree(weir_slice_is_sole(slice), model_is_sole(model), "sole");
    agree(is_empty_slice(slice), model->memory == NULL, "emptiness");
}

static void
buf_agrees(const struct weir_buf *buf, const struct model_buf *model)
{
    bytes_agree(weir_buf_data(buf), weir_buf_len(buf), &model->range);
    agree(weir_buf_room(buf), model->room, "room");
    agree(weir_buf_headroom_left(buf), model->head, "headroom");
    agree(is_empty_buf(buf), model->range.memory == NULL, "emptiness");
}

static void
chain_agrees(const struct walk_chain *chain)
{
    const struct model_chain *model = &chain->model;
    agree(weir_chain_count(&chain->real), model->count, "count");
    agree(weir_chain_len(&chain->real), model_chain_len(model), "length");
    for (size_t i = 0; i < model->count; i++)
        slice_agrees(weir_chain_at(&chain->real, i), &model->ranges[i]);
    if (model->count == 0)
        agree(is_empty_chain(&chain->real), 1, "emptiness");
}

static void
stats_agree(struct walk_arena *arena)
{
    struct weir_stats *model = &arena->model.stats;
    size_t out = model->blocks_out + model->spilled_blocks;
    if (arena->real == NULL) {
        agree(arena->unmapped, out == 0, "unmapped");
        return;
    }
    struct weir_stats stats = stats_of(arena->real);
    agree(stats.blocks_out, model->blocks_out, "blocks_out");
    agree(stats.spilled_blocks, model->spilled_blocks, "spilled_blocks");
    agree(stats.spilled_bytes, model->spilled_bytes, "spilled_bytes");
    agree(stats.allocs, model->allocs, "allocs");
    agree(stats.alloc_fulls, model->alloc_fulls, "alloc_fulls");
    agree(stats.releases, model->releases, "releases");
    agree(stats.freezes, model->freezes, "freezes");
    agree(stats.bytes_frozen, model->bytes_frozen, "bytes_frozen");
    agree(stats.bytes_copied, model->bytes_copied, "bytes_copied");
    agree(stats.spill_grows, model->spill_grows, "spill_grows");
    agree(stats.spill_fulls, model->spill_fulls, "spill_fulls");
    agree(arena->unmapped, 0, "unmapped");
    weir_arena_check(arena->real);
}

typedef void visit_fn(
    const struct weir_slice *handle, struct model_memory *memory);

/* Every handle that holds something, a buf by its first three words. */
static void
visit_handles(visit_fn *visit)
{
    for (size_t i = 0; i < BUFS; i++) {
        const struct weir_buf *buf = &walk.bufs[i].real;
        const struct weir_slice words = { buf->data, buf->word, buf->owner };
        if (words.word != 0)
            visit(&words, walk.bufs[i].model.range.memory);
    }
    for (size_t i = 0; i < SLICES; i++)
        if (walk.slices[i].real.word != 0)
            visit(&walk.slices[i].real, walk.slices[i].model.memory);
    for (size_t c = 0; c < CHAINS; c++)
        for (size_t i = 0; i < walk.chains[c].model.count; i++)
            visit(weir_chain_at(&walk.chains[c].real, i),
                walk.chains[c].model.ranges[i].memory);
}

static void
forget_weight(const struct weir_slice *handle, struct model_memory *memory)
{
    (void)handle;
    memory->weight = 0;
}

static void
add_weight(const struct weir_slice *handle, struct model_memory *memory)
{
    memory->weight += wr_word_weight(handle->word);
}

/* Invariant 1 of refs. */
static void
weight_agrees(const struct weir_slice *handle, struct model_memory *memory)
{
    uint64_t count = 0;
    if (memory->kind == MODEL_STATIC) {
        agree(memory->weight, 0, "weight");
        return;
    }
    if (memory->kind == MODEL_FOREIGN)
        count = wr_load_relaxed(
            &((struct wr_foreign *)(uintptr_t)handle->owner)->refs);
    else
        count = count_at(handle->word, handle->owner);
    agree(memory->weight, count, "weight");
}

static void
all_agrees(void)
{
    for (size_t i = 0; i < BUFS; i++)
        buf_agrees(&walk.bufs[i].real, &walk.bufs[i].model);
    for (size_t i = 0; i < SLICES; i++)
        slice_agrees(&walk.slices[i].real, &walk.slices[i].model);
    for (size_t i = 0; i < CHAINS; i++)
        chain_agrees(&walk.chains[i]);
    for (size_t i = 0; i < walk.arena_count; i++)
        stats_agree(&walk.arenas[i]);
    agree(walk.let_go, model_let_go, "foreign memory");
    visit_handles(forget_weight);
    visit_handles(add_weight);
    visit_handles(weight_agrees);
}

/* ---- The walk ---------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
    unsigned weight;
} operations[] = {
    { "renew", renew_arena, 2 },
    { "close", close_arena, 1 },
    { "flush", flush_thread, 1 },
    { "sweep", sweep_caches, 1 },
    { "alloc", alloc_buf, 12 },
    { "write", write_buf, 12 },
    { "commit", commit_buf, 6 },
    { "reserve", reserve_buf, 4 },
    { "headroom", headroom_buf, 4 },
    { "prepend", prepend_buf, 6 },
    { "truncate", truncate_buf, 3 },
    { "drop", drop_some_buf, 2 },
    { "freeze", freeze_buf, 6 },
    { "split", split_buf, 8 },
    { "clone", clone_slice, 8 },
    { "wear", wear_slice, 3 },
    { "sub", sub_slice, 8 },
    { "cut", cut_slice, 8 },
    { "release", release_some_slice, 12 },
    { "thaw", thaw_slice, 6 },
    { "foreign", foreign_slice, 2 },
    { "static", static_slice, 2 },
    { "push", push_slice, 14 },
    { "pop", pop_slice, 4 },
    { "advance", advance_chain, 5 },
    { "read", read_chain, 4 },
    { "linearize", linearize_chain, 3 },
    { "release chain", release_chain, 3 },
    { "move", move_chain, 2 },
};

enum { OPERATIONS = sizeof operations / sizeof *operations };

static void
make_step(void)
{
    unsigned sum = 0;
    for (size_t i = 0; i < OPERATIONS; i++)
        sum += operations[i].weight;
    size_t draw = below(sum);
    size_t which = 0;
    while (draw >= operations[which].weight)
        draw -= operations[which++].weight;
    walk.doing = operations[which].name;
    operations[which].run();
}

static void
end_walk(void)
{
    walk.doing = "the end";
    for (size_t i = 0; i < BUFS; i++) {
        weir_buf_drop(&walk.bufs[i].real);
        model_drop(&walk.bufs[i].model);
    }
    for (size_t i = 0; i < SLICES; i++)
        release_one(&walk.slices[i]);
    for (size_t i = 0; i < CHAINS; i++) {
        weir_chain_release(&walk.chains[i].real);
        model_release_chain(&walk.chains[i].model);
    }
    all_agrees();
    for (size_t i = 0; i < LIVE; i++)
        destroy_live(i);
    for (size_t i = 0; i < walk.arena_count; i++)
        agree(walk.arenas[i].unmapped, 1, "unmapped");
    no_leaks();
}

static void
walk_from(uint64_t seed)
{
    (void)fprintf(stderr, "walk: seed %llu\n", (unsigned long long)seed);
    walk.seed = seed;
    walk.prng.state = seed;
    for (size_t i = 0; i < LIVE; i++)
        open_live(i);
    for (walk.step = 0; walk.step < STEPS; walk.step++) {
        make_step();
        all_agrees();
    }
    end_walk();
}

ParameterizedTestParameters(walk, agrees_with_the_model)
{
    static uint64_t seeds[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    return cr_make_param_array(
        uint64_t, seeds, sizeof seeds / sizeof *seeds, NULL);
}

ParameterizedTest(uint64_t *seed, walk, agrees_with_the_model)
{
    walk_from(*seed);
}

Test(walk, agrees_with_the_model_from_any_seed)
{
    const char *seed = getenv("WEIR_SEED");

    walk_from(seed != NULL ? strtoull(seed, NULL, 10)
                           : (uint64_t)time(NULL) << 16 | (uint64_t)getpid());
}
