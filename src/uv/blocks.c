/* SPDX-License-Identifier: MIT */
/*
 * blocks: what a loop holds of the arena while it reads, and how it lets go.
 *
 *     chunk     [ slice | slice | slice | room ........ ]   any stream reads here
 *     granted   [ room ................................ ]   one stream, one read
 *     whole     [ bytes so far | room ................. ]   one stream, n bytes
 *
 * Idea
 *   libuv asks for room and reports the read in one go, so one block, the
 *   chunk, serves all streams of a loop: each read splits a slice off it, and
 *   many small messages share a block. When less than min_tail bytes are left a
 *   new block takes its place; if there is none, the short tail must do.
 *
 *   A stream that waited for a block was granted one of its own, and reads
 *   into that first. What its read leaves becomes the chunk, if it is larger
 *   than the chunk there is.
 *
 *   Who reads a whole of n bytes takes a block of that size, or is granted one,
 *   and keeps it from the first byte to the last.
 *
 *   Room that nobody reads into is room that others wait for. So a timer ticks
 *   while the loop holds any: what was not used for a whole tick is dropped,
 *   and a chunk also when somebody waits for the arena.
 *
 * Invariants
 *   1. The chunk has room, or is the empty buf.
 *   2. A reader is in uv->granted if and only if it has a granted block that
 *      nothing was read into.
 *   3. The timer runs while there is a chunk or a granted reader, and never
 *      keeps the loop alive.
 *   4. uv->granted is in the order of granting.
 *
 * Costs
 *   A read into the chunk touches no arena. A tick, every 10 ms while the chunk
 *   is in use, reads the arena's stats: a mutex, and of a buddy arena one load
 *   for each 64 of the smallest blocks, but only while none of the largest is
 *   free. A loop that sleeps holds a block for two ticks at most.
 *
 * Limits
 *   A dropped tail is lost until the slices of its block are released: streams
 *   that keep parts of messages, with pauses between, pin a block a part.
 */

#include "blocks.h"

enum { TICK_MS = 10 };

void
wr_readers_push(struct weir_uv_readers *readers, struct weir_uv_reader *reader)
{
    reader->next = NULL;
    reader->previous = readers->last;
    if (readers->last != NULL)
        readers->last->next = reader;
    else
        readers->first = reader;
    readers->last = reader;
}

void
wr_readers_remove(
    struct weir_uv_readers *readers, struct weir_uv_reader *reader)
{
    if (reader->previous != NULL)
        reader->previous->next = reader->next;
    else
        readers->first = reader->next;
    if (reader->next != NULL)
        reader->next->previous = reader->previous;
    else
        readers->last = reader->previous;
    reader->next = NULL;
    reader->previous = NULL;
}

void
wr_blocks_move(struct weir_buf *from, struct weir_buf *to)
{
    *to = *from;
    *from = (struct weir_buf){ 0 };
}

static bool
was_idle(const struct weir_uv *uv, uint32_t used_tick)
{
    return uv->ticks - used_tick >= 2;
}

/* The stats of an arena whose blocks are cut of larger ones walk its books. But
   while one of the largest is free nobody waits there. */
static bool
somebody_waits(struct weir_uv *uv)
{
    struct weir_stats stats;
    if (uv->is_cut && weir_arena_largest_free(uv->arena) == uv->block_max)
        return false;
    weir_arena_stats(uv->arena, &stats);
    return stats.waiting > 0;
}

static void
on_tick(uv_timer_t *timer)
{
    struct weir_uv *uv = timer->data;
    uv->ticks++;

    if (weir_buf_room(&uv->chunk) > 0)
        if (was_idle(uv, uv->chunk_tick) || somebody_waits(uv))
            weir_buf_drop(&uv->chunk);

    struct weir_uv_reader *reader = uv->granted.first;
    while (reader != NULL && was_idle(uv, reader->granted_tick)) {
        wr_blocks_ungrant(reader);
        reader = uv->granted.first;
    }

    if (weir_buf_room(&uv->chunk) == 0 && reader == NULL)
        (void)uv_timer_stop(timer);
}

/* Invariant 3. Starting a timer fails only without a callback. */
static void
watch(struct weir_uv *uv)
{
    if (!uv_is_active((const uv_handle_t *)&uv->timer))
        (void)uv_timer_start(&uv->timer, on_tick, TICK_MS, TICK_MS);
}

/* First the new block, then the old tail goes: half is better than none. */
static void
refill(struct weir_uv *uv)
{
    if (weir_buf_room(&uv->chunk) >= uv->min_tail)
        return;
    struct weir_buf fresh = { 0 };
    if (weir_arena_alloc(uv->arena, uv->block_size, &fresh) != WEIR_OK)
        return;
    weir_buf_drop(&uv->chunk);
    wr_blocks_move(&fresh, &uv->chunk);
    uv->chunk_tick = uv->ticks;
    watch(uv);
}

static bool
is_granted(const struct weir_uv_reader *reader)
{
    return reader != NULL && weir_buf_room(&reader->granted) > 0;
}

void
wr_blocks_grant(struct weir_uv_reader *reader, struct weir_buf *buf)
{
    struct weir_uv *uv = reader->uv;
    wr_blocks_move(buf, &reader->granted);
    reader->granted_tick = uv->ticks;
    wr_readers_push(&uv->granted, reader);
    watch(uv);
}

static void
give_room(struct weir_buf *buf, size_t most, uv_buf_t *room)
{
    size_t size = weir_buf_room(buf);
    if (size > most)
        size = most;
    void *tail = size > 0 ? weir_buf_tail(buf) : NULL;
    *room = uv_buf_init(tail, (unsigned)size);
}

/* What follows the whole is another message's, and not for its block. */
static void
give_room_of_whole(struct weir_uv_reader *reader, uv_buf_t *room)
{
    struct weir_buf fresh;
    if (!is_granted(reader) &&
        weir_arena_alloc(reader->uv->arena, reader->whole, &fresh) == WEIR_OK)
        wr_blocks_grant(reader, &fresh);
    give_room(
        &reader->granted, reader->whole - weir_buf_len(&reader->granted), room);
}

void
wr_blocks_room(
    struct weir_uv *uv, struct weir_uv_reader *reader, uv_buf_t *room)
{
    if (reader != NULL && reader->whole > 0) {
        give_room_of_whole(reader, room);
        return;
    }
    struct weir_buf *buf = &uv->chunk;
    if (is_granted(reader))
        buf = &reader->granted;
    else
        refill(uv);
    give_room(buf, SIZE_MAX, room);
}

/* What a granted block has left becomes the chunk, or goes. */
static void
keep_rest(struct weir_uv_reader *reader)
{
    struct weir_uv *uv = reader->uv;
    if (weir_buf_room(&reader->granted) > weir_buf_room(&uv->chunk)) {
        weir_buf_drop(&uv->chunk);
        wr_blocks_move(&reader->granted, &uv->chunk);
    }
    weir_buf_drop(&reader->granted);
    wr_readers_remove(&uv->granted, reader);
}

static bool
commit_whole(struct weir_uv_reader *reader, size_t n, struct weir_slice *slice)
{
    struct weir_buf *buf = &reader->granted;
    if (weir_buf_len(buf) == 0)
        wr_readers_remove(&reader->uv->granted, reader);
    weir_buf_commit(buf, n);
    if (weir_buf_len(buf) < reader->whole)
        return false;
    weir_buf_freeze(buf, slice);
    return true;
}

bool
wr_blocks_commit(struct weir_uv *uv, struct weir_uv_reader *reader, size_t n,
    struct weir_slice *slice)
{
    if (reader != NULL && reader->whole > 0)
        return commit_whole(reader, n, slice);
    bool granted = is_granted(reader);
    struct weir_buf *buf = granted ? &reader->granted : &uv->chunk;
    weir_buf_commit(buf, n);
    weir_buf_split(buf, slice);

    if (granted)
        keep_rest(reader);
    if (weir_buf_room(&uv->chunk) == 0)
        weir_buf_drop(&uv->chunk);
    uv->chunk_tick = uv->ticks;
    return true;
}

void
wr_blocks_ungrant(struct weir_uv_reader *reader)
{
    if (!is_granted(reader))
        return;
    if (weir_buf_len(&reader->granted) == 0)
        wr_readers_remove(&reader->uv->granted, reader);
    weir_buf_drop(&reader->granted);
}
