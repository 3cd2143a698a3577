/* SPDX-License-Identifier: MIT */
/*
 * sweep: one thread's cache against who sweeps it; core/thread_cache.c alone.
 * Edges [sweep], [busy] and [off].
 *
 * The owner takes and gives as arena/doors.h does, with a bitmap behind the
 * cache; the sweeper empties the cache, then takes all it finds. No block has
 * two owners, none is lost, and what one owner did with it happens before what
 * the next one does, whichever way it went.
 */

#include "cases.h"
#include "core/thread_cache.h"
#include "platform/fence.h"
#include "platform/thread.h"

enum { WORDS = WR_CACHE_DEPTH + 3, SLOTS = WORDS * WR_WORD_BITS, CELL = 4 };

static struct shared {
    struct wr_thread_cache cache;
    struct wr_mutex lock;
    _Atomic uint64_t words[WORDS];
    struct wr_bitmap_hint sweeper_hint;
} * shared;
static struct wr_bitmap map;
static unsigned char *payload; /* of the first blocks of each word */
static unsigned holder[SLOTS]; /* 0: it is free */
static uint64_t existing[WORDS];
static struct wr_bitmap_hint hint; /* the owner's */
static uint32_t held[4];

enum { PAYLOADS = 4 }; /* blocks of a word that are looked at */

static uint32_t
slot_at(uint32_t word, uint32_t index)
{
    return word * WR_WORD_BITS + index;
}

static void
touch(uint32_t slot)
{
    uint32_t word = slot / WR_WORD_BITS;
    uint32_t index = slot % WR_WORD_BITS;
    sim_expect(index < PAYLOADS);
    sim_plain_write(payload + (word * PAYLOADS + index) * (size_t)CELL, CELL);
}

static void
own(uint32_t slot)
{
    sim_expect(slot < SLOTS);
    sim_expect(holder[slot] == 0);
    holder[slot] = sim_self() + 1;
    touch(slot);
}

static void
disown(uint32_t slot)
{
    touch(slot);
    sim_expect(holder[slot] == sim_self() + 1);
    holder[slot] = 0;
}

/* ---- The owner --------------------------------------------------------- */

static bool
settle(uint32_t slot)
{
    struct wr_thread_cache *cache = &shared->cache;
    if (wr_gate_is_stopped(&cache->gate)) {
        wr_mutex_lock(&shared->lock);
        wr_mutex_unlock(&shared->lock);
    }
    wr_cache_clear(cache);
    return wr_cache_was_stolen(cache, slot);
}

static bool
begin(void)
{
    struct wr_thread_cache *cache = &shared->cache;
    if (wr_gate_is_on(&cache->gate) && wr_gate_begin(&cache->gate))
        return true;
    if (wr_cache_top(cache) != 0)
        (void)settle(0);
    return false;
}

static bool
refill(void)
{
    struct wr_batch batch;
    if (!wr_bitmap_take_batch(&map, &hint, WR_WORD_BITS, &batch))
        return false;
    wr_cache_fill(&shared->cache, &batch);
    return true;
}

static bool
take_between(uint32_t *slot)
{
    if (!begin())
        return false;
    bool taken = wr_cache_take(&shared->cache, slot) ||
                 (refill() && wr_cache_take(&shared->cache, slot));
    wr_gate_end(&shared->cache.gate);
    return taken;
}

static bool
take(uint32_t *slot)
{
    struct wr_thread_cache *cache = &shared->cache;
    uint64_t top = wr_cache_top(cache);
    bool taken = false;
    if (top != 0) {
        *slot = slot_at(wr_cache_word(cache), wr_lowest_bit(top));
        wr_cache_set_top(cache, top & (top - 1));
        taken = wr_gate_is_on(&cache->gate) || !settle(*slot);
    }
    if (!taken)
        taken = take_between(slot) || wr_bitmap_take(&map, &hint, slot);
    if (taken)
        own(*slot);
    return taken;
}

static void
give_batch(struct wr_bitmap_hint *from, const struct wr_batch *batch)
{
    if (batch->mask != 0)
        sim_expect(wr_bitmap_give_batch(&map, from, batch));
}

static bool
give_between(uint32_t slot)
{
    if (!begin())
        return false;
    struct wr_batch spilled;
    sim_expect(wr_cache_give(&shared->cache, slot, &spilled));
    give_batch(&hint, &spilled);
    wr_gate_end(&shared->cache.gate);
    return true;
}

static void
give(uint32_t slot)
{
    struct wr_thread_cache *cache = &shared->cache;
    uint64_t bit = UINT64_C(1) << slot % WR_WORD_BITS;
    uint64_t top = wr_cache_top(cache);
    disown(slot);
    if (wr_cache_word(cache) == slot / WR_WORD_BITS && (top & bit) == 0) {
        wr_cache_set_top(cache, top | bit);
        if (wr_gate_is_on(&cache->gate) || settle(slot))
            return;
    } else if (give_between(slot)) {
        return;
    }
    sim_expect(wr_bitmap_give(&map, &hint, slot));
}

static void
turn_on(void)
{
    wr_mutex_lock(&shared->lock);
    if (!wr_gate_is_on(&shared->cache.gate)) {
        wr_cache_clear(&shared->cache);
        wr_cache_turn_on(&shared->cache, WR_WORD_BITS, WR_WORD_BITS);
    }
    wr_mutex_unlock(&shared->lock);
}

/* ---- What the owner does ----------------------------------------------- */

static void
take_two(void)
{
    uint32_t slot;
    for (unsigned i = 0; i < 2; i++)
        (void)take(&slot);
}

static void
give_two(void)
{
    give(held[0]);
    give(held[1]);
}

static void
take_and_give(void)
{
    uint32_t slot;
    if (take(&slot))
        give(slot);
}

static void
take_and_give_twice(void)
{
    take_and_give();
    take_and_give();
}

/* Blocks of three words: one on top, one below, one found below. */
static void
give_and_take_all(void)
{
    for (unsigned i = 0; i < 3; i++)
        give(held[i]);
    for (unsigned i = 0; i < 3; i++)
        (void)take(&held[i]);
}

/* And on again in between. */
static void
go_on(void)
{
    take_and_give();
    turn_on();
    take_and_give();
}

/* ---- The sweeper ------------------------------------------------------- */

static void
empty_cache(void)
{
    struct wr_batch top = wr_cache_batch(&shared->cache, 0);
    give_batch(&shared->sweeper_hint, &top);
    for (uint32_t i = 1; i <= WR_CACHE_DEPTH; i++) {
        struct wr_batch below = wr_cache_batch(&shared->cache, i);
        give_batch(&shared->sweeper_hint, &below);
    }
    wr_cache_turn_off(&shared->cache, top.mask);
}

static void
sweep(void)
{
    wr_mutex_lock(&shared->lock);
    if (wr_gate_stop(&shared->cache.gate)) {
        wr_fence_heavy();
        wr_gate_wait(&shared->cache.gate);
        empty_cache();
    }
    wr_mutex_unlock(&shared->lock);
}

/* It keeps what it finds. */
static void
sweep_and_take(void)
{
    struct wr_bitmap_hint from = { 0 };
    uint32_t slot;
    sweep();
    while (wr_bitmap_take(&map, &from, &slot))
        own(slot);
}

static void
sweep_twice(void)
{
    struct wr_bitmap_hint from = { 0 };
    uint32_t slot;
    for (unsigned i = 0; i < 2; i++) {
        sweep();
        if (wr_bitmap_take(&map, &from, &slot)) {
            own(slot);
            disown(slot);
            sim_expect(wr_bitmap_give(&map, &from, slot));
        }
    }
}

/* Has nothing to do with the cache. */
static void
use_bitmap(void)
{
    struct wr_bitmap_hint from = { 0 };
    uint32_t slot;
    if (!wr_bitmap_take(&map, &from, &slot))
        return;
    own(slot);
    disown(slot);
    sim_expect(wr_bitmap_give(&map, &from, slot));
}

/* ---- Beginnings -------------------------------------------------------- */

/* An empty cache that is on, and no block anywhere. */
static void
prepare(void)
{
    shared = sim_memory_take(sizeof(*shared), 64);
    sim_plain_write(shared, sizeof(*shared));
    payload = sim_memory_take((size_t)WORDS * PAYLOADS * CELL, 64);
    wr_mutex_init(&shared->lock);
    map = (struct wr_bitmap){
        .words = shared->words, .word_count = WORDS, .slot_count = SLOTS
    };
    hint = (struct wr_bitmap_hint){ 0 };
    shared->sweeper_hint = hint;
    for (uint32_t i = 0; i < SLOTS; i++)
        holder[i] = 0;
    for (uint32_t i = 0; i < WORDS; i++) {
        existing[i] = 0;
        atomic_init(&shared->words[i], 0);
    }
    wr_cache_init(&shared->cache);
    wr_cache_turn_on(&shared->cache, WR_WORD_BITS, WR_WORD_BITS);
    sim_name(&shared->cache.top, "top");
    sim_name(&shared->cache.word, "word");
    sim_name(&shared->cache.gate.control, "control");
    sim_name(&shared->cache.gate.busy, "busy");
    sim_name(&shared->cache.below[0], "below");
    sim_name(&shared->words[0], "word 0");
    sim_name(&shared->words[1], "word 1");
}

static void
put_in_cache(uint32_t slot)
{
    struct wr_batch spilled;
    existing[slot / WR_WORD_BITS] |= UINT64_C(1) << slot % WR_WORD_BITS;
    sim_expect(wr_cache_give(&shared->cache, slot, &spilled));
    sim_expect(spilled.mask == 0);
}

static void
put_in_bitmap(uint32_t slot)
{
    uint32_t word = slot / WR_WORD_BITS;
    existing[word] |= UINT64_C(1) << slot % WR_WORD_BITS;
    atomic_init(&shared->words[word], existing[word]);
}

/* In the hands of thread 1. */
static void
put_in_hand(unsigned hand, uint32_t slot)
{
    existing[slot / WR_WORD_BITS] |= UINT64_C(1) << slot % WR_WORD_BITS;
    held[hand] = slot;
    holder[slot] = 2;
}

static void
prepare_two(void)
{
    prepare();
    put_in_cache(slot_at(0, 0));
    put_in_cache(slot_at(0, 1));
}

static void
prepare_held(void)
{
    prepare();
    put_in_cache(slot_at(0, 0));
    put_in_hand(0, slot_at(0, 1));
    put_in_hand(1, slot_at(0, 2));
}

/* Word 1 lies below word 0, and word 2 is in nobody's cache. */
static void
prepare_words(void)
{
    prepare();
    put_in_cache(slot_at(1, 0));
    put_in_cache(slot_at(0, 0));
    put_in_hand(0, slot_at(1, 1));
    put_in_hand(1, slot_at(2, 0));
    put_in_hand(2, slot_at(0, 1));
}

static void
prepare_refill(void)
{
    prepare();
    put_in_bitmap(slot_at(0, 0));
    put_in_bitmap(slot_at(0, 1));
}

/* Every batch is there; the next word makes one leave. */
static void
prepare_spill(void)
{
    prepare();
    for (uint32_t word = 0; word <= WR_CACHE_DEPTH; word++)
        put_in_cache(slot_at(word, 0));
    put_in_hand(0, slot_at(WR_CACHE_DEPTH + 1, 0));
    put_in_hand(1, slot_at(WR_CACHE_DEPTH + 2, 0));
}

/* ---- The end ----------------------------------------------------------- */

/* Every block is in one place. */
static void
none_is_lost(void)
{
    uint64_t free[WORDS] = { 0 };
    for (uint32_t i = 0; i < WORDS; i++)
        free[i] = wr_load_relaxed(&map.words[i]); /* it is quiet */
    sim_expect(!wr_gate_is_stopped(&shared->cache.gate));
    uint32_t batches =
        wr_gate_is_on(&shared->cache.gate) ? 1 + WR_CACHE_DEPTH : 0;
    for (uint32_t i = 0; i < batches; i++) {
        struct wr_batch batch = wr_cache_batch(&shared->cache, i);
        if (batch.mask == 0)
            continue;
        sim_expect((free[batch.word] & batch.mask) == 0);
        free[batch.word] |= batch.mask;
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        bool is_free = (free[i / WR_WORD_BITS] >> i % WR_WORD_BITS & 1) != 0;
        bool exists = (existing[i / WR_WORD_BITS] >> i % WR_WORD_BITS & 1) != 0;
        sim_expect(is_free + (holder[i] != 0) == exists);
    }
}

const struct sim_case sweep_cases[] = {
    {
        .name = "sweep_take",
        .claim = "two takes from the top",
        .before = prepare_two,
        .threads = { take_two, sweep_and_take },
        .after = none_is_lost,
        .preemptions = 3,
        .stales = 4,
    },
    {
        .name = "sweep_give",
        .claim = "two releases to the top",
        .before = prepare_held,
        .threads = { give_two, sweep_and_take },
        .after = none_is_lost,
        .preemptions = 4,
        .stales = 4,
    },
    {
        .name = "sweep_hits",
        .claim = "a block that goes out and comes home, twice",
        .before = prepare_two,
        .threads = { take_and_give_twice, sweep_and_take },
        .after = none_is_lost,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sweep_back",
        .claim = "and once more through others",
        .before = prepare_two,
        .threads = { take_and_give_twice, sweep, use_bitmap },
        .after = none_is_lost,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sweep_words",
        .claim = "batches that move below and come up",
        .before = prepare_words,
        .threads = { give_and_take_all, sweep_and_take },
        .after = none_is_lost,
        .preemptions = 3,
        .stales = 2,
    },
    {
        .name = "sweep_refill",
        .claim = "a refill, while another one takes too",
        .before = prepare_refill,
        .threads = { take_two, sweep_and_take, use_bitmap },
        .after = none_is_lost,
        .preemptions = 2,
        .stales = 3,
    },
    {
        .name = "sweep_spill",
        .claim = "a full cache, and two more words",
        .before = prepare_spill,
        .threads = { give_two, sweep_and_take },
        .after = none_is_lost,
        .preemptions = 3,
        .stales = 3,
    },
    {
        .name = "sweep_on_again",
        .claim = "swept, turned on, and swept again",
        .before = prepare_two,
        .threads = { go_on, sweep_twice },
        .after = none_is_lost,
        .preemptions = 3,
        .stales = 3,
    },
    { 0 },
};
