/* SPDX-License-Identifier: MIT */
#ifndef EMBED_OUTLET_H
#define EMBED_OUTLET_H

#include <stdbool.h>

#include <weir/weir.h>

struct client;

/* Where the text of a loop's answers is written: its current block. */
struct outlet {
    struct weir_arena *arena;
    struct weir_bell *bell;
    struct weir_buf buf;
    struct weir_waiter waiter; /* one for all clients of the loop */
    bool waiting;
    struct client *first; /* who waits for a block, in order */
    struct client *last;
};

/* `bell` is drained by the loop that uses `outlet`. */
void outlet_init(
    struct outlet *outlet, struct weir_arena *arena, struct weir_bell *bell);

/*
 * Makes room for `n` bytes in `outlet->buf`, in a new block if need be. False:
 * there is no block now; whoever is queued with outlet_wait is run when there
 * is one.
 */
bool outlet_room(struct outlet *outlet, size_t n);

void outlet_wait(struct outlet *outlet, struct client *client);

/* Takes `client` out of the queue, if it is there. */
void outlet_forget(struct outlet *outlet, struct client *client);

/* Gives back the block that is being written to; the loop goes to sleep. */
void outlet_rest(struct outlet *outlet);

/* Gives back the block and ends the wait for one; true when neither is left. */
bool outlet_stop(struct outlet *outlet);

#endif
