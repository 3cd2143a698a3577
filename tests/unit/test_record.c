/* SPDX-License-Identifier: MIT */
#include "arena/record.h"

#include "arena/arena.h"
#include "support/unit.h"

#include <limits.h>

/* ---- One thread -------------------------------------------------------- */

Test(record, a_thread_has_one_for_each_arena)
{
    struct weir_arena *first = open_arena(64, 4);
    struct weir_arena *second = open_arena(64, 4);

    struct wr_record *of_first = wr_record_of(first);
    struct wr_record *of_second = wr_record_of(second);

    cr_assert(ne(ptr, of_first, NULL));
    cr_assert(ne(ptr, of_first, of_second));
    cr_assert(eq(ptr, wr_record_of(first), of_first));
    cr_assert(eq(ptr, wr_record_of(second), of_second));
    cr_assert(eq(u32, first->record_count, 1));
    cr_assert(eq(u32, second->record_count, 1));
    close_whole(&first);
    close_whole(&second);
}

Test(record, many_arenas_taken_in_turns_each_keep_their_own_counts)
{
    enum { ARENAS = 100 };
    struct weir_arena *arenas[ARENAS];
    for (size_t i = 0; i < ARENAS; i++)
        arenas[i] = open_arena(64, 4);

    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < ARENAS; i++)
            for (size_t n = 0; n <= i % 5; n++)
                cr_assert(eq(int, ask(arenas[i]), WEIR_OK));

    for (size_t i = 0; i < ARENAS; i++) {
        struct weir_stats stats = stats_of(arenas[i]);
        cr_assert(eq(u64, stats.allocs, 3 * (i % 5 + 1)));
        cr_assert(eq(u64, stats.releases, 3 * (i % 5 + 1)));
        cr_assert(eq(u32, arenas[i]->record_count, 1));
        weir_arena_destroy(&arenas[i]);
    }
    no_leaks();
}

Test(record, a_sum_has_all_threads_in_it)
{
    struct weir_arena *arena = open_arena(64, 4);
    struct wr_record *record = wr_record_of(arena);

    wr_record_count(record, WR_FREEZES, 5);
    wr_record_count(record, WR_FREEZES, 7);
    arena->retired[WR_FREEZES] = 100;
    wr_mutex_lock(&arena->mutex);
    wr_record_count(&arena->shared, WR_FREEZES, 1000);
    uint64_t sum = wr_record_sum(arena, WR_FREEZES);
    uint64_t others = wr_record_sum(arena, WR_GRANTS);
    wr_mutex_unlock(&arena->mutex);

    cr_assert(eq(u64, sum, 1112));
    cr_assert(eq(u64, others, 0));
    close_whole(&arena);
}

Test(record, a_stale_one_is_made_new_for_the_next_arena_of_its_number)
{
    struct weir_arena *first = open_arena(64, 4);
    struct wr_record *record = wr_record_of(first);
    wr_record_count(record, WR_FREEZES, 5);
    record->hint = (struct wr_bitmap_hint){ .guess = 1, .word = 7 };
    weir_arena_destroy(&first);

    struct weir_arena *second = open_arena(64, 4);
    struct wr_record *again = wr_record_of(second);

    cr_assert(eq(u32, wr_record_books(), 2));
    cr_assert(eq(u64, again->serial, second->serial));
    cr_assert(eq(u64, wr_load_relaxed(&again->counts[WR_FREEZES]), 0));
    cr_assert(eq(u32, again->hint.word, 0));
    cr_assert(eq(int, ask(second), WEIR_OK));
    cr_assert(eq(u64, stats_of(second).freezes, 0));
    cr_assert(eq(u32, second->record_count, 1));
    close_whole(&second);
}

/* ---- Threads that end -------------------------------------------------- */

static void *
ask_three_times(void *user)
{
    for (int i = 0; i < 3; i++)
        cr_assert(eq(int, ask(user), WEIR_OK));
    return NULL;
}

Test(record, a_threads_counts_stay_when_it_ends)
{
    struct weir_arena *arena = open_arena(64, 4);

    for (uint64_t i = 1; i <= 50; i++) {
        on_thread(ask_three_times, arena);
        cr_assert(eq(u64, stats_of(arena).releases, 3 * i));
        cr_assert(eq(u64, stats_of(arena).allocs, 3 * i));
        cr_assert(eq(u32, arena->record_count, 0));
    }

    close_whole(&arena);
}

Test(record, a_thread_that_ends_leaves_no_memory_behind)
{
    struct weir_arena *arena = open_arena(64, 4);
    uint64_t before = stats_of(arena).meta_bytes;

    on_thread(ask_three_times, arena);

    cr_assert(eq(u64, stats_of(arena).meta_bytes, before));
    close_whole(&arena);
}

struct visit {
    struct weir_arena *arena;
    struct weir_arena *next;
    pthread_barrier_t gate;
    struct wr_record *record;
    uint32_t first_word;
    enum weir_status status;
};

static struct visit
new_visit(struct weir_arena *arena)
{
    struct visit visit = { .arena = arena };
    cr_assert(zero(int, pthread_barrier_init(&visit.gate, NULL, 2)));
    return visit;
}

static void *
note_record(void *user)
{
    struct visit *visit = user;
    visit->record = wr_record_of(visit->arena);
    visit->first_word = visit->record->hint.word;
    (void)pthread_barrier_wait(&visit->gate);
    (void)pthread_barrier_wait(&visit->gate);
    return NULL;
}

Test(record, every_thread_has_its_own)
{
    struct weir_arena *arena = open_arena(64, 1024);
    struct visit visit = new_visit(arena);
    struct wr_record *mine = wr_record_of(arena);
    pthread_t thread = start_thread(note_record, &visit);
    (void)pthread_barrier_wait(&visit.gate);

    cr_assert(ne(ptr, visit.record, mine));
    cr_assert(eq(u32, arena->record_count, 2));

    (void)pthread_barrier_wait(&visit.gate);
    join_thread(thread);
    cr_assert(eq(u32, arena->record_count, 1));
    cr_assert(eq(ptr, wr_record_of(arena), mine));
    close_whole(&arena);
}

Test(record, threads_may_end_in_any_order)
{
    struct weir_arena *arena = open_arena(64, 4);
    struct visit first = new_visit(arena);
    struct visit second = new_visit(arena);
    pthread_t threads[2];
    threads[0] = start_thread(note_record, &first);
    (void)pthread_barrier_wait(&first.gate);
    threads[1] = start_thread(note_record, &second);
    (void)pthread_barrier_wait(&second.gate);
    (void)wr_record_of(arena);

    (void)pthread_barrier_wait(&first.gate);
    join_thread(threads[0]);
    cr_assert(eq(u32, arena->record_count, 2));
    (void)pthread_barrier_wait(&second.gate);
    join_thread(threads[1]);

    cr_assert(eq(u32, arena->record_count, 1));
    cr_assert(eq(ptr, arena->records, wr_record_of(arena)));
    close_whole(&arena);
}

Test(record, threads_begin_to_search_in_different_lines)
{
    struct weir_arena *arena = open_arena(64, 1024);
    struct visit visit = new_visit(arena);
    uint32_t mine = wr_record_of(arena)->hint.word;
    pthread_t thread = start_thread(note_record, &visit);
    (void)pthread_barrier_wait(&visit.gate);

    cr_assert(ne(u32, visit.first_word / 8, mine / 8));
    cr_assert(lt(u32, visit.first_word, arena->fixed.map.word_count));

    (void)pthread_barrier_wait(&visit.gate);
    join_thread(thread);
    close_whole(&arena);
}

static void *
use_one_and_outlive_it(void *user)
{
    struct visit *visit = user;
    (void)ask_three_times(visit->arena);
    (void)pthread_barrier_wait(&visit->gate);
    (void)pthread_barrier_wait(&visit->gate);
    if (visit->next != NULL)
        visit->status = ask(visit->next);
    return NULL;
}

Test(record, a_thread_that_ends_after_its_arena_counts_in_no_other)
{
    struct weir_arena *arena = open_arena(64, 4);
    struct visit visit = new_visit(arena);
    uint32_t id = arena->id;
    pthread_t thread = start_thread(use_one_and_outlive_it, &visit);
    (void)pthread_barrier_wait(&visit.gate);
    weir_arena_destroy(&arena);
    struct weir_arena *next = open_arena(64, 4);
    cr_assert(eq(u32, next->id, id));

    (void)pthread_barrier_wait(&visit.gate);
    join_thread(thread);

    cr_assert(eq(u64, stats_of(next).allocs, 0));
    cr_assert(eq(u64, stats_of(next).releases, 0));
    cr_assert(eq(u32, next->record_count, 0));
    cr_assert(eq(int, ask(next), WEIR_OK));
    close_whole(&next);
}

Test(record, a_thread_that_goes_on_with_the_next_arena_counts_there_only)
{
    struct weir_arena *arena = open_arena(64, 4);
    struct visit visit = new_visit(arena);
    pthread_t thread = start_thread(use_one_and_outlive_it, &visit);
    (void)pthread_barrier_wait(&visit.gate);
    weir_arena_destroy(&arena);
    visit.next = open_arena(64, 4);

    (void)pthread_barrier_wait(&visit.gate);
    join_thread(thread);

    cr_assert(eq(int, visit.status, WEIR_OK));
    cr_assert(eq(u64, stats_of(visit.next).allocs, 1));
    cr_assert(eq(u64, stats_of(visit.next).releases, 1));
    cr_assert(eq(u32, visit.next->record_count, 0));
    close_whole(&visit.next);
}

Test(record, a_thread_that_ends_after_an_arena_was_destroyed_frees_its_own)
{
    struct weir_arena *arena = open_arena(64, 4);
    struct visit visit = new_visit(arena);
    pthread_t thread = start_thread(use_one_and_outlive_it, &visit);
    (void)pthread_barrier_wait(&visit.gate);

    weir_arena_destroy(&arena);
    (void)pthread_barrier_wait(&visit.gate);
    join_thread(thread);

    no_leaks();
}

/* ---- Destructors ------------------------------------------------------- */

static pthread_key_t key;
static struct weir_arena *shared_arena;
static struct wr_record *seen_record;
static enum weir_status seen_status;
static int destructions;

static void
use_arena_at_exit(void *user)
{
    struct weir_buf *buf = user;
    seen_record = wr_record_of(shared_arena);
    seen_status = ask(shared_arena);
    struct weir_slice slice;
    cr_assert(eq(int, weir_buf_write(buf, "weir", 4), WEIR_OK));
    weir_buf_freeze(buf, &slice);
    weir_slice_release(&slice);
    destructions++;
}

static void *
leave_a_buf_to_the_destructor(void *user)
{
    struct weir_buf *buf = user;
    *buf = take(shared_arena);
    cr_assert(zero(int, pthread_setspecific(key, buf)));
    return NULL;
}

static void
expect_all_counted(void)
{
    struct weir_stats stats = stats_of(shared_arena);
    cr_assert(eq(int, destructions, 1));
    cr_assert(eq(int, seen_status, WEIR_OK));
    cr_assert(eq(u64, stats.allocs, stats.releases));
    cr_assert(eq(u64, stats.freezes, 1));
    cr_assert(eq(u64, stats.bytes_frozen, 4));
    cr_assert(eq(u32, shared_arena->record_count, 1));
}

Test(record, a_destructor_that_runs_behind_ours_works_without_one)
{
    struct weir_buf buf;
    shared_arena = open_arena(64, 4);
    cr_assert(eq(int, ask(shared_arena), WEIR_OK));
    cr_assert(zero(int, pthread_key_create(&key, use_arena_at_exit)));

    on_thread(leave_a_buf_to_the_destructor, &buf);

    cr_assert(zero(ptr, seen_record));
    expect_all_counted();
    cr_assert(eq(u64, stats_of(shared_arena).allocs, 3));
    close_whole(&shared_arena);
}

Test(record, a_destructor_that_runs_before_ours_still_has_one)
{
    struct weir_buf buf;
    cr_assert(zero(int, pthread_key_create(&key, use_arena_at_exit)));
    shared_arena = open_arena(64, 4);
    cr_assert(eq(int, ask(shared_arena), WEIR_OK));

    on_thread(leave_a_buf_to_the_destructor, &buf);

    cr_assert(ne(ptr, seen_record, NULL));
    expect_all_counted();
    close_whole(&shared_arena);
}

static void
ask_at_exit(void *user)
{
    seen_status = ask(user);
    destructions++;
}

static void *
leave_the_first_use_to_the_destructor(void *user)
{
    cr_assert(zero(int, pthread_setspecific(key, user)));
    return NULL;
}

Test(record, a_thread_may_use_an_arena_first_when_it_ends)
{
    struct weir_arena *arena = open_arena(64, 4);
    cr_assert(eq(int, ask(arena), WEIR_OK));
    cr_assert(zero(int, pthread_key_create(&key, ask_at_exit)));

    on_thread(leave_the_first_use_to_the_destructor, arena);

    cr_assert(eq(int, destructions, 1));
    cr_assert(eq(int, seen_status, WEIR_OK));
    cr_assert(eq(u64, stats_of(arena).releases, 2));
    cr_assert(eq(u32, arena->record_count, 1));
    close_whole(&arena);
}

static void
drop_at_exit(void *user)
{
    weir_buf_drop(user);
    destructions++;
}

Test(record, the_last_release_may_come_from_a_destructor)
{
    struct weir_buf buf;
    struct iovec memory;
    struct weir_arena *arena = open_arena(64, 4);
    weir_arena_memory(arena, &memory);
    buf = take(arena);
    cr_assert(zero(int, pthread_key_create(&key, drop_at_exit)));
    weir_arena_destroy(&arena);

    on_thread(leave_the_first_use_to_the_destructor, &buf);

    cr_assert(eq(int, destructions, 1));
    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    no_leaks();
}

/* ---- Without one ------------------------------------------------------- */

static void
use_up_keys(void)
{
    pthread_key_t used;
    while (pthread_key_create(&used, NULL) == 0)
        ;
}

Test(record, without_a_key_threads_work_under_the_mutex_and_are_counted)
{
    use_up_keys();
    struct weir_arena *arena = open_with(&(struct weir_arena_config){
        .block_size = 64,
        .block_count = 2,
        .flags = WEIR_SPILL_GROW | WEIR_SPILL_FULL,
        .spill_bytes_max = 200,
    });
    cr_assert(zero(ptr, wr_record_of(arena)));

    struct weir_buf first = take(arena);
    struct weir_buf second = take(arena);
    struct weir_buf spilled = take(arena);
    struct weir_buf rest;
    cr_assert(eq(int, weir_buf_write(&first, "weir", 4), WEIR_OK));
    cr_assert(eq(int, weir_buf_reserve(&first, 100), WEIR_OK));
    cr_assert(eq(int, weir_arena_alloc(arena, 0, &rest), WEIR_OK));
    cr_assert(eq(int, ask(arena), WEIR_FULL));
    struct weir_slice slice;
    weir_buf_freeze(&first, &slice);
    weir_slice_release(&slice);
    weir_buf_drop(&second);
    weir_buf_drop(&spilled);
    weir_buf_drop(&rest);

    struct weir_stats stats = stats_of(arena);
    cr_assert(eq(u32, arena->record_count, 0));
    cr_assert(eq(u64, stats.allocs, 5));
    cr_assert(eq(u64, stats.releases, 5));
    cr_assert(eq(u64, stats.alloc_fulls, 1));
    cr_assert(eq(u64, stats.spill_fulls, 1));
    cr_assert(eq(u64, stats.spill_grows, 1));
    cr_assert(eq(u64, stats.bytes_copied, 4));
    cr_assert(eq(u64, stats.freezes, 1));
    close_whole(&arena);
}

Test(record, without_a_key_every_block_goes_out_before_it_is_full)
{
    use_up_keys();
    struct weir_arena *arena = open_arena(64, 130);
    struct weir_buf bufs[130];

    for (size_t i = 0; i < 130; i++)
        bufs[i] = take(arena);

    cr_assert(eq(int, ask(arena), WEIR_FULL));
    for (size_t i = 0; i < 130; i++)
        weir_buf_drop(&bufs[i]);
    close_whole(&arena);
}

Test(record, without_a_key_the_last_release_unmaps)
{
    use_up_keys();
    struct weir_arena *arena = open_arena(64, 130);
    struct iovec memory;
    weir_arena_memory(arena, &memory);
    struct weir_buf held = take(arena);

    weir_arena_destroy(&arena);
    weir_buf_drop(&held);

    cr_assert(not(is_mapped(memory.iov_base, memory.iov_len)));
    no_leaks();
}

/* ---- Threads that end, and the heap ------------------------------------ */

enum { KEYS_MAX = PTHREAD_KEYS_MAX, LOW = 10, MIDDLE = 500, HIGH = 900 };

static pthread_key_t keys[KEYS_MAX];
static size_t key_count;
static uint32_t books_between;

/* What a thread holds when it ends. */
struct estate {
    struct weir_arena *arena;
    struct weir_slice slices[2];
    struct weir_chain chain;
    int released;
};

static void
count_release(const void *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)n;
    ++*(int *)user;
}

static void
push_foreign(struct estate *estate)
{
    struct weir_slice slice;
    cr_assert(eq(int,
        weir_slice_foreign("text", 4, count_release, &estate->released, &slice),
        WEIR_OK));
    cr_assert(eq(int, weir_chain_push(&estate->chain, &slice), WEIR_OK));
}

static void
spill_slice(struct estate *estate, size_t i)
{
    struct weir_buf buf = take(estate->arena);
    cr_assert(eq(int, weir_buf_reserve(&buf, 1000), WEIR_OK));
    cr_assert(eq(int, weir_buf_write(&buf, "text", 4), WEIR_OK));
    weir_buf_freeze(&buf, &estate->slices[i]);
}

/* One of the two has ended. */
static void
end_between(void *user)
{
    struct estate *estate = user;
    books_between = wr_record_books();
    weir_slice_release(&estate->slices[0]);
    spill_slice(estate, 0);
    push_foreign(estate);
}

/* Both have. */
static void
end_last(void *user)
{
    struct estate *estate = user;
    cr_assert(zero(u32, wr_record_books()));
    push_foreign(estate);
    weir_slice_release(&estate->slices[0]);
    weir_slice_release(&estate->slices[1]);
    spill_slice(estate, 0);
    weir_slice_release(&estate->slices[0]);
    weir_chain_release(&estate->chain);
}

/* Destructors run in the order of keys, and a new key is the lowest there is. */
static void
replace_key(size_t i, void (*destructor)(void *))
{
    cr_assert(zero(int, pthread_key_delete(keys[i])));
    cr_assert(zero(int, pthread_key_create(&keys[i], destructor)));
}

static void
take_all_keys(void)
{
    while (
        key_count < KEYS_MAX && pthread_key_create(&keys[key_count], NULL) == 0)
        key_count++;
    cr_assert(gt(sz, key_count, HIGH + 1));
    replace_key(MIDDLE, end_between);
    replace_key(key_count - 1, end_last);
}

static void *
live_and_leave(void *user)
{
    struct estate *estate = user;
    spill_slice(estate, 0);
    spill_slice(estate, 1);
    for (int i = 0; i < 10; i++)
        push_foreign(estate);
    cr_assert(zero(int, pthread_setspecific(keys[MIDDLE], user)));
    cr_assert(zero(int, pthread_setspecific(keys[key_count - 1], user)));
    return NULL;
}

/* The heap's key gets the one place, the arenas' the other. */
static void
end_in_order(size_t heaps, size_t arenas)
{
    static struct estate estate;
    take_all_keys();
    cr_assert(zero(int, pthread_key_delete(keys[heaps])));
    cr_assert(eq(int, weir_release(weir_alloc(1)), WEIR_OK));
    estate.arena = open_with(&(struct weir_arena_config){
        .block_size = 64, .block_count = 100, .flags = WEIR_SPILL_GROW });
    cr_assert(zero(int, pthread_key_delete(keys[arenas])));
    cr_assert(eq(int, ask(estate.arena), WEIR_OK));
    cr_assert(eq(u32, wr_record_books(), 2));

    on_thread(live_and_leave, &estate);

    cr_assert(eq(int, estate.released, 12));
    cr_assert(eq(u32, estate.arena->record_count, 1));
    cr_assert(eq(
        u64, stats_of(estate.arena).allocs, stats_of(estate.arena).releases));
    weir_heap_check(weir_heap_default());
    close_whole(&estate.arena);
}

Test(record, a_thread_may_end_with_its_heap_before_its_arenas)
{
    end_in_order(LOW, HIGH);

    cr_assert(eq(u32, books_between, 2), "the arenas' destructor was first");
}

Test(record, a_thread_may_end_with_its_arenas_before_its_heap)
{
    end_in_order(HIGH, LOW);

    cr_assert(zero(u32, books_between), "the heap's destructor was first");
}
