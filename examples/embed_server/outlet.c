/* SPDX-License-Identifier: MIT */
/*
 * outlet: one block at a time, shared by all answers of a loop.
 *
 *     block  [ head | head | JSON .......... | head | room ]
 *               |      |     |                 |
 *             client client client           client      one slice each
 *
 * Idea
 *   A head is a hundred bytes, a block is thousands: answers are split off the
 *   same block, and it goes home with the last of them. When the arena is full
 *   the loop waits once, for all of its clients, and serves them in the order
 *   in which they ran dry.
 */

#include "outlet.h"

#include <string.h>

#include "client.h"

void
outlet_init(
    struct outlet *outlet, struct weir_arena *arena, struct weir_bell *bell)
{
    memset(outlet, 0, sizeof(*outlet));
    outlet->arena = arena;
    outlet->bell = bell;
}

/* The handle moves: what is left behind must be empty. */
static void
take_granted(struct outlet *outlet)
{
    outlet_rest(outlet);
    outlet->buf = outlet->waiter.buf;
    outlet->waiter.buf = (struct weir_buf){ 0 };
}

static struct client *
pop(struct outlet *outlet)
{
    struct client *client = outlet->first;
    outlet->first = client->outlet_next;
    if (outlet->first == NULL)
        outlet->last = NULL;
    client->waits_for_block = false;
    return client;
}

/* Who finds the block used up again goes to the end, and that is the end of
   this round. */
static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct outlet *outlet = waiter->user;
    outlet->waiting = false;
    if (status == WEIR_OK)
        take_granted(outlet);
    struct client *end = outlet->last;
    while (outlet->first != NULL) {
        struct client *client = pop(outlet);
        bool was_end = client == end;
        client_run(client);
        if (was_end)
            break;
    }
}

bool
outlet_room(struct outlet *outlet, size_t n)
{
    if (weir_buf_room(&outlet->buf) >= n)
        return true;
    if (outlet->waiting)
        return false;
    outlet_rest(outlet);
    outlet->waiter = (struct weir_waiter){
        .bell = outlet->bell, .granted = on_granted, .user = outlet
    };
    enum weir_status status =
        weir_arena_wait(outlet->arena, 0, &outlet->waiter);
    outlet->waiting = status == WEIR_PENDING;
    if (status == WEIR_OK)
        take_granted(outlet);
    return status == WEIR_OK;
}

void
outlet_wait(struct outlet *outlet, struct client *client)
{
    if (client->waits_for_block)
        return;
    client->waits_for_block = true;
    client->outlet_next = NULL;
    if (outlet->last != NULL)
        outlet->last->outlet_next = client;
    else
        outlet->first = client;
    outlet->last = client;
}

void
outlet_forget(struct outlet *outlet, struct client *client)
{
    if (!client->waits_for_block)
        return;
    struct client *before = NULL;
    for (struct client *i = outlet->first; i != client; i = i->outlet_next)
        before = i;
    if (before != NULL)
        before->outlet_next = client->outlet_next;
    else
        outlet->first = client->outlet_next;
    if (outlet->last == client)
        outlet->last = before;
    client->waits_for_block = false;
}

void
outlet_rest(struct outlet *outlet)
{
    weir_buf_drop(&outlet->buf);
}

bool
outlet_stop(struct outlet *outlet)
{
    outlet_rest(outlet);
    if (outlet->waiting && weir_waiter_cancel(&outlet->waiter) == WEIR_OK)
        outlet->waiting = false;
    return !outlet->waiting;
}
