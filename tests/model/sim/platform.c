/* SPDX-License-Identifier: MIT */
/*
 * platform: the floor of the system, under the simulator.
 *
 * It stands in for src/platform: mutexes, thread exit, pages and heap. A mutex
 * is a place where threads block, and a view that goes from who unlocks to who
 * locks. Pages and heap are the pool of plain.c.
 */

#include "platform.h"

#include "base/atomic.h"
#include "core/memory.h"
#include "explore.h"
#include "library.h"
#include "memory.h"
#include "platform/clock.h"
#include "platform/fence.h"
#include "platform/pages.h"
#include "platform/poison.h"
#include "platform/thread.h"
#include "scheduler.h"
#include "sim.h"
#include "weir/weir.h"

#include <stdlib.h>
#include <string.h>

/* ---- Mutexes ----------------------------------------------------------- */

enum { NOBODY = SIM_WORKERS_MAX + 1 };

/* What is kept in the memory of a pthread mutex. */
struct lock {
    uint32_t run; /* the rest holds for this run only */
    uint32_t holder;
    uint32_t view; /* of who unlocked it last */
};

_Static_assert(sizeof(struct lock) <= sizeof(struct wr_mutex), "it fits");

static struct lock *
lock_of(struct wr_mutex *mutex)
{
    struct lock *lock = (struct lock *)(void *)mutex;
    if (lock->run != explore_run)
        *lock = (struct lock){ .run = explore_run, .holder = NOBODY };
    return lock;
}

void
wr_mutex_init(struct wr_mutex *mutex)
{
    sim_plain_write(mutex, sizeof(*mutex));
    struct lock *lock = (struct lock *)(void *)mutex;
    *lock = (struct lock){ .run = explore_run, .holder = NOBODY };
}

void
wr_mutex_fini(struct wr_mutex *mutex)
{
    if (lock_of(mutex)->holder != NOBODY)
        sim_fail("a mutex was ended while it was held");
    sim_plain_write(mutex, sizeof(*mutex));
}

void
wr_mutex_lock(struct wr_mutex *mutex)
{
    scheduler_point(explore_place(mutex), true);
    sim_plain_read(mutex, 1);
    struct lock *lock = lock_of(mutex);
    if (lock->holder == sim_self())
        sim_fail("thread %u locks a mutex twice", sim_self());
    while (lock->holder != NOBODY)
        scheduler_block(lock);
    explore_trace("locks %p", (void *)mutex);
    lock->holder = sim_self();
    memory_learn(lock->view);
}

void
wr_mutex_unlock(struct wr_mutex *mutex)
{
    struct lock *lock = lock_of(mutex);
    if (lock->holder != sim_self())
        sim_fail("thread %u unlocks what it did not lock", sim_self());
    explore_trace("unlocks %p", (void *)mutex);
    lock->holder = NOBODY;
    lock->view = memory_publish(0);
    scheduler_wake(lock);
}

bool
wr_mutex_try_lock(struct wr_mutex *mutex)
{
    scheduler_point(explore_place(mutex), true);
    sim_plain_read(mutex, 1);
    struct lock *lock = lock_of(mutex);
    if (lock->holder != NOBODY)
        return false;
    explore_trace("tries and locks %p", (void *)mutex);
    lock->holder = sim_self();
    memory_learn(lock->view);
    return true;
}

void
wr_thread_yield(unsigned round)
{
    (void)round;
    scheduler_yield();
}

/* Nobody forks here. */
bool
wr_thread_at_fork(enum wr_fork_rank rank, void (*before)(void),
    void (*in_parent)(void), void (*in_child)(void))
{
    (void)rank;
    (void)before;
    (void)in_parent;
    (void)in_child;
    return true;
}

bool
wr_thread_at_exit(void (*at_exit)(void *))
{
    scheduler_at_exit(at_exit);
    return true;
}

/* ---- Fences ------------------------------------------------------------ */

bool
wr_fence_is_supported(void)
{
    return true;
}

void
wr_fence_heavy(void)
{
    wr_heavy_fence();
}

/* ---- Tokens ------------------------------------------------------------ */

static void
refresh(struct sim_tokens *tokens)
{
    if (tokens->run == explore_run)
        return;
    tokens->run = explore_run;
    tokens->index = 0;
}

void
sim_tokens_put(struct sim_tokens *tokens)
{
    scheduler_point(explore_place(tokens), true);
    refresh(tokens);
    if (tokens->strong)
        tokens->index = memory_publish(tokens->index);
    tokens->count++;
    scheduler_wake(tokens);
}

void
sim_tokens_take(struct sim_tokens *tokens)
{
    scheduler_point(explore_place(tokens), true);
    refresh(tokens);
    while (tokens->count == 0)
        scheduler_block(tokens);
    tokens->count--;
    if (tokens->strong)
        memory_learn(tokens->index);
}

/* ---- Memory ------------------------------------------------------------ */

void *
wr_memory_alloc(size_t size)
{
    return sim_memory_take(size, 64);
}

void *
wr_memory_alloc_zeroed(size_t size)
{
    void *memory = wr_memory_alloc(size);
    memset(memory, 0, size);
    return memory;
}

void
wr_memory_release(void *memory, const char *what)
{
    (void)what;
    if (memory != NULL)
        sim_memory_give(memory);
}

/* The pool sees by itself what is used after its end. */
enum weir_status
wr_memory_state(const void *memory)
{
    (void)memory;
    return WEIR_OK;
}

size_t
wr_page_size(void)
{
    return 4096;
}

bool
wr_pages_map(
    size_t size, size_t align, enum wr_page_kind kind, struct wr_region *region)
{
    (void)kind;
    void *memory = sim_memory_take(size, align);
    memset(memory, 0, size);
    *region = (struct wr_region){ memory, size, memory, size };
    return true;
}

/* What is aligned to more than a line is so for the processor's sake. */
bool
wr_pages_reserve(size_t size, size_t align, struct wr_region *region)
{
    return wr_pages_map(size, align < 64 ? align : 64, WR_PAGES_NORMAL, region);
}

/* Nobody may be in the pages. */
bool
wr_pages_discard(void *base, size_t size)
{
    sim_plain_write(base, size);
    memset(base, 0, size);
    return true;
}

void
wr_pages_discard_zeros(void *base, size_t size)
{
    (void)base;
    (void)size;
}

bool
wr_pages_prefault(const struct wr_region *region)
{
    (void)region;
    return true;
}

bool
wr_pages_lock(const struct wr_region *region)
{
    (void)region;
    return true;
}

void
wr_pages_unmap(struct wr_region *region)
{
    if (region->mapping != NULL)
        sim_memory_give(region->mapping);
    *region = (struct wr_region){ 0 };
}

/* ---- Sanitizers: there are none ---------------------------------------- */

bool
wr_poison_is_on(void)
{
    return false;
}

void
wr_poison_open(const void *memory, size_t size, size_t room)
{
    (void)memory;
    (void)size;
    (void)room;
}

void
wr_poison_shut(const void *memory, size_t room)
{
    wr_poison_open(memory, 0, room);
}

void
wr_roots_add(const void *memory, size_t size)
{
    wr_poison_open(memory, size, size);
}

void
wr_roots_remove(const void *memory, size_t size)
{
    wr_poison_open(memory, size, size);
}

/* ---- Time -------------------------------------------------------------- */

static uint64_t milliseconds;

/* It goes on whenever somebody looks. */
uint64_t
wr_clock_ms(void)
{
    return ++milliseconds;
}

/* ---- The library's own variables --------------------------------------- */

static const char *allowed; /* NULL: no misuse is */

void
sim_allow_stop(const char *why)
{
    allowed = why;
}

static void
fail_misuse(const char *line, void *user)
{
    (void)user;
    if (allowed == NULL || strstr(line, allowed) == NULL)
        sim_fail("%s", line);
    explore_trace("stops: %s", line);
    scheduler_stop();
}

void
platform_reset(void)
{
    library_reset_directory();
    library_reset_life();
    library_reset_record();
    milliseconds = 0;
    allowed = NULL;
    weir_on_misuse(fail_misuse, NULL);
}
