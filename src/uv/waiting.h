/* SPDX-License-Identifier: MIT */
#ifndef WR_WAITING_H
#define WR_WAITING_H

#include "weir/uv.h"

/*
 * Queues a reader for a block. WEIR_OK: there is one, in its waiter.
 * WEIR_PENDING: it will be resumed or ended. Else it will get none.
 */
enum weir_status wr_waiting_join(struct weir_uv_reader *reader);

/* Takes a reader out of the queue. False: its block is being handed over. */
bool wr_waiting_leave(struct weir_uv_reader *reader);

/* What is left of the chunk goes to a reader that waits, if one does. */
void wr_waiting_hand_on(struct weir_uv *uv);

#endif
