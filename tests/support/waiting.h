/* SPDX-License-Identifier: MIT */
/*
 * waiting: guests that wait for blocks, and who was served, in order.
 *
 * A guest writes its name into the log when its `granted` runs, and keeps the
 * block, or lets go of it at once if it `hurries`.
 */
#ifndef WAITING_H
#define WAITING_H

#include "support/unit.h"

enum { LOG_SIZE = 128 };

struct guest {
    struct weir_waiter waiter;
    char name;
    bool hurries;
    int runs;
    enum weir_status status;
};

static struct {
    char names[LOG_SIZE];
    size_t count;
    int rings;
} served;

static inline void
note_ring(struct weir_bell *bell)
{
    (void)bell;
    served.rings++;
}

static inline void
note_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct guest *guest = waiter->user;
    cr_assert(eq(ptr, waiter, &guest->waiter));
    guest->runs++;
    guest->status = status;
    if (served.count < LOG_SIZE - 1)
        served.names[served.count++] = guest->name;
    if (guest->hurries && status == WEIR_OK)
        weir_buf_drop(&waiter->buf);
}

static inline void
open_bell(struct weir_bell *bell)
{
    weir_bell_init(bell, note_ring, NULL);
}

/* `guest` must stay where it is. */
static inline void
invite(struct guest *guest, char name, struct weir_bell *bell)
{
    *guest = (struct guest){ .name = name };
    guest->waiter.bell = bell;
    guest->waiter.granted = note_granted;
    guest->waiter.user = guest;
}

static inline void
expect_wait(
    struct weir_arena *arena, struct guest *guest, enum weir_status wanted)
{
    cr_assert(eq(int, weir_arena_wait(arena, 0, &guest->waiter), wanted));
}

/* Guests a, b, c ... queue for blocks. */
static inline void
queue_guests(struct weir_arena *arena, struct weir_bell *bell,
    struct guest *guests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        invite(&guests[i], (char)('a' + i), bell);
        expect_wait(arena, &guests[i], WEIR_PENDING);
    }
}

static inline void
expect_served(const char *names)
{
    expect_text(served.names, names);
}

#endif
