/* SPDX-License-Identifier: MIT */
#include "core/heap.h"

#include "support/child.h"
#include "support/heap.h"

#include <pthread.h>
#include <stdatomic.h>

enum { CHILDREN = 100, BUSY = 3 };

static struct weir_heap *heap;

static void
allocate_and_release(void)
{
    void *held[64];
    for (size_t i = 0; i < 64; i++) {
        size_t size = (i + 1) * (i + 1) * 700;
        NEED(weir_heap_alloc(heap, size, &held[i]) == WEIR_OK);
        memset(held[i], 1, size);
    }
    for (size_t i = 0; i < 64; i++)
        NEED(weir_heap_release(heap, held[i]) == WEIR_OK);
    NEED(weir_heap_release(heap, held[0]) == WEIR_ALREADY_RELEASED);
    void *memory = weir_alloc(100);
    NEED(memory != NULL);
    NEED(weir_release(memory) == WEIR_OK);
}

/* ---- One thread -------------------------------------------------------- */

static void *before;

static void
release_what_was_out(void)
{
    NEED(weir_heap_release(heap, before) == WEIR_OK);
    allocate_and_release();
    weir_heap_check(heap);
    weir_heap_destroy(&heap);
}

Test(heap_fork, a_child_goes_on_with_its_heaps)
{
    heap = open_heap(0, 0);
    before = get(heap, 100);

    expect_good_child(release_what_was_out);

    let_go(heap, before);
    close_heap(&heap);
}

/* ---- Busy threads ------------------------------------------------------ */

static atomic_bool is_over;

static void *
hammer(void *unused)
{
    size_t round = 0;
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        void *held[8];
        for (size_t i = 0; i < 8; i++) {
            enum weir_status status = weir_heap_alloc(
                heap, 64 + (round++ % 300) * 997 * (i + 1), &held[i]);
            cr_assert(eq(int, status, WEIR_OK));
        }
        for (size_t i = 0; i < 8; i++)
            (void)weir_heap_release(heap, held[i]);
        weir_release(weir_alloc(round % 5000 + 1));
    }
    return unused;
}

Test(heap_fork, children_of_busy_threads_allocate_and_release)
{
    pthread_t threads[BUSY];
    heap = open_heap(0, 0);
    for (size_t i = 0; i < BUSY; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, hammer, NULL)));

    for (int i = 0; i < CHILDREN; i++)
        expect_good_child(allocate_and_release);

    atomic_store_explicit(&is_over, true, memory_order_relaxed);
    for (size_t i = 0; i < BUSY; i++)
        cr_assert(zero(int, pthread_join(threads[i], NULL)));
    close_heap(&heap);
}

/* ---- A thread that sleeps ---------------------------------------------- */

enum { SLOTS = 64 };

static pthread_barrier_t gate;

/* One block out, and some at hand. */
static void *
sleep_with_blocks(void *unused)
{
    void *out = get(heap, 1024);
    let_go(heap, get(heap, 1024));
    (void)pthread_barrier_wait(&gate);
    (void)pthread_barrier_wait(&gate);
    let_go(heap, out);
    return unused;
}

static void
take_all_but_one(void)
{
    void *memory;
    size_t count = 0;
    while (weir_heap_alloc(heap, 1024, &memory) == WEIR_OK)
        count++;
    NEED(count == SLOTS - 1);
    struct weir_heap_stats stats;
    weir_heap_stats(heap, &stats);
    NEED(stats.caches == 1);
    weir_heap_check(heap);
}

Test(heap_fork, a_child_has_what_a_sleeper_kept_at_hand_and_not_what_it_held)
{
    pthread_t sleeper;
    heap = open_heap(64 << 10, 64 << 10);
    cr_assert(zero(int, pthread_barrier_init(&gate, NULL, 2)));
    cr_assert(
        zero(int, pthread_create(&sleeper, NULL, sleep_with_blocks, NULL)));
    (void)pthread_barrier_wait(&gate);

    expect_good_child(take_all_but_one);

    (void)pthread_barrier_wait(&gate);
    cr_assert(zero(int, pthread_join(sleeper, NULL)));
    close_heap(&heap);
}
