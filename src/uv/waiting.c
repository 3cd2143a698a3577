/* SPDX-License-Identifier: MIT */
/*
 * waiting: readers that queue for a block.
 *
 *     arena's queue   [ A of loop 1 | X of loop 2 | B of loop 1 | ... ]
 *     uv->waiting     [ A           |               B           | ... ]
 *
 * Idea
 *   A reader waits in two queues: the arena's, which decides who is next over
 *   all loops, and one of its loop, in the same order. The second is there to
 *   find the readers when the adapter closes, and to pass on room that is
 *   already here: while readers wait no room lies idle, so what a read leaves
 *   of a block goes to the reader of this loop that waits longest. Were it
 *   dropped, each message that is kept in parts would pin a block a part, and
 *   the end of none might ever find room. But it goes only to a reader whose
 *   bytes fit: one that left the queue for half of them would join again at its
 *   end, with the half it has pinning the block.
 *
 * Invariants
 *   1. A reader is in uv->waiting if and only if its waiter is queued at the
 *      arena or the bell. uv->paused counts them.
 *   2. The async keeps the loop alive if and only if uv->paused > 0.
 *   3. When no callback runs, either no reader waits or there is no chunk.
 *
 * Costs
 *   Joining and leaving take the arena's mutex; handing on asks the kernel how
 *   many bytes there are.
 *
 * Limits
 *   A block may go round on one loop until less than min_tail is left of it,
 *   however many wait on other loops.
 */

#include "waiting.h"

#include "blocks.h"
#include "reader.h"

#include <sys/ioctl.h>

static void
push(struct weir_uv_reader *reader)
{
    struct weir_uv *uv = reader->uv;
    wr_readers_push(&uv->waiting, reader);
    reader->state = WR_READER_WAITS;
    uv->pauses++;
    if (uv->paused++ == 0)
        uv_ref((uv_handle_t *)&uv->async);
}

static void
remove_reader(struct weir_uv_reader *reader)
{
    struct weir_uv *uv = reader->uv;
    wr_readers_remove(&uv->waiting, reader);
    reader->state = WR_READER_STOPPED;
    if (--uv->paused == 0)
        uv_unref((uv_handle_t *)&uv->async);
}

static void
on_granted(struct weir_waiter *waiter, enum weir_status status)
{
    struct weir_uv_reader *reader = waiter->user;
    remove_reader(reader);
    if (status == WEIR_OK)
        wr_reader_resume(reader, &waiter->buf);
    else
        wr_reader_end(reader, weir_uv_error(status));
}

enum weir_status
wr_waiting_join(struct weir_uv_reader *reader)
{
    struct weir_uv *uv = reader->uv;
    reader->waiter = (struct weir_waiter){
        .bell = &uv->bell, .granted = on_granted, .user = reader
    };
    enum weir_status status =
        weir_arena_wait(uv->arena, wr_blocks_size(reader), &reader->waiter);
    if (status == WEIR_PENDING)
        push(reader);
    return status;
}

bool
wr_waiting_leave(struct weir_uv_reader *reader)
{
    remove_reader(reader);
    return weir_waiter_cancel(&reader->waiter) == WEIR_OK;
}

/* All that the kernel holds for the reader now fits; when in doubt, yes. But
   never a whole, which has a block of its own. */
static bool
fits(const struct weir_uv_reader *reader, size_t room)
{
    uv_os_fd_t fd;
    int bytes = 0;
    if (reader->whole > 0)
        return false;
    if (uv_fileno((const uv_handle_t *)reader->stream, &fd) != 0 ||
        ioctl(fd, FIONREAD, &bytes) != 0)
        return true;
    return bytes >= 0 && (size_t)bytes <= room;
}

void
wr_waiting_hand_on(struct weir_uv *uv)
{
    struct weir_uv_reader *reader = uv->waiting.first;
    if (reader == NULL)
        return;
    size_t room = weir_buf_room(&uv->chunk);
    if (room >= uv->min_tail && fits(reader, room) && wr_waiting_leave(reader))
        wr_reader_resume(reader, &uv->chunk);
    else
        weir_buf_drop(&uv->chunk);
}
