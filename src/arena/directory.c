/* SPDX-License-Identifier: MIT */
/*
 * directory: the control parts of all arenas, by number.
 *
 * Idea
 *   A handle has no room for a pointer to its arena and a slot number, so it
 *   bears the arena's number here. A control part is made once for a number and
 *   then stays: a releaser may look at it, and take its mutex, after its block
 *   went home and the arena was unmapped by somebody else. It then sees an
 *   unused part, or the next arena, and finds nothing to do.
 *
 * Invariants
 *   1. An entry is NULL, then a control part for ever.
 *   2. Unused parts have serial 0 and are in the list.
 *
 * Edges
 *   [entry]  wr_directory_take, release  ->  wr_directory_at, acquire
 *            The control part is initialised before its number is known.
 *
 * Costs
 *   at: one load. take and give: a mutex.
 *
 * Limits
 *   65,535 arenas at once. Control parts are never freed: the memory is that
 *   of the largest number of arenas that ever were there at once.
 */

#include "arena/arena.h"
#include "base/check.h"
#include "core/memory.h"

#include <errno.h>

static struct wr_mutex directory_mutex = WR_MUTEX_INITIAL;
_Atomic(struct weir_arena *) wr_directory[WR_ARENAS_MAX + 1];
static uint32_t entry_count;
static struct weir_arena *unused;
static uint64_t last_serial;

/* A new control part at the next number. */
static struct weir_arena *
make_entry(void)
{
    if (entry_count == WR_ARENAS_MAX) {
        errno = ENFILE;
        return NULL;
    }
    struct weir_arena *arena = wr_memory_alloc_zeroed(sizeof(*arena));
    if (arena == NULL)
        return NULL;
    wr_mutex_init(&arena->mutex);
    arena->id = entry_count;
    arena->owner = wr_owner_pack(entry_count, 0);
    wr_store_release(&wr_directory[entry_count], arena); /* [entry] */
    entry_count++;
    return arena;
}

bool
wr_directory_has(const struct weir_arena *arena)
{
    const struct weir_arena *entry = NULL;
    for (uint32_t id = 0; arena != NULL && id < WR_ARENAS_MAX; id++) {
        entry = wr_load_relaxed(&wr_directory[id]); /* it is only compared */
        if (entry == NULL || entry == arena)
            break;
    }
    return arena != NULL && entry == arena;
}

struct weir_arena *
wr_directory_take(void)
{
    if (!wr_fork_prepare())
        return NULL;
    wr_mutex_lock(&directory_mutex);
    struct weir_arena *arena = unused;
    if (arena != NULL)
        unused = arena->next_unused;
    else
        arena = make_entry();
    uint64_t serial = ++last_serial;
    wr_mutex_unlock(&directory_mutex);

    if (arena == NULL)
        return NULL;
    wr_mutex_lock(&arena->mutex); /* a late releaser may be looking */
    WR_ASSERT(arena->serial == 0);
    arena->serial = serial;
    return arena;
}

void
wr_directory_give(struct weir_arena *arena)
{
    WR_ASSERT(arena->serial == 0);
    wr_mutex_lock(&directory_mutex);
    arena->next_unused = unused;
    unused = arena;
    wr_mutex_unlock(&directory_mutex);
}

void
wr_directory_hold(void (*each)(struct weir_arena *))
{
    wr_mutex_lock(&directory_mutex);
    for (uint32_t id = 0; id < entry_count; id++)
        each(wr_directory_at(id));
}

void
wr_directory_let_go(void (*each)(struct weir_arena *))
{
    for (uint32_t id = 0; id < entry_count; id++)
        each(wr_directory_at(id));
    wr_mutex_unlock(&directory_mutex);
}
