/* SPDX-License-Identifier: MIT */
/*
 * waiting: nobody sleeps while a block lies about (src/arena/waiters.c).
 *
 * Clients take the one block, or queue for it; client 0 may cancel. A barger
 * takes it without looking at the queue. Somebody may close the arena. A
 * wake-up that is lost is a client that waits when all others are gone: an end
 * that is none. Nobody ever holds the block together with somebody else, in the
 * end it is home, and a closed arena has an empty queue.
 *
 * Mutants: NO_SEARCH      queue without looking again
 *          FLAG_LATE      look again, then say that somebody waits
 *          LOOK_FIRST     a release looks for waiters, then sets its bit
 *          NO_LOOK        a release does not look
 *          NO_PASS_ON     a waiter that cancels after it was served sets the bit
 *                         and does not look
 *          NO_TELLING     closing tells nobody
 *          CLOSED_UNSEEN  who queues does not look again whether it is closed
 */
#define CLIENTS 3

mtype = { IDLE, QUEUED, TOLD_OK, TOLD_CLOSED };

bit is_free = 1;
bit waiting; /* WR_WAITING */
bit closed;  /* WR_CLOSED */
bit mutex;
chan queue = [CLIENTS] of { byte };
mtype state[CLIENTS] = IDLE;
byte holders;

#define LOCK   atomic { mutex == 0 -> mutex = 1 }
#define UNLOCK mutex = 0

inline search()
{
    atomic {
        found = is_free;
        is_free = 0
    }
}

/* One has left the queue: the last one takes the flag with it. */
inline take_flag_back()
{
    if
    :: empty(queue) -> waiting = 0
    :: nempty(queue)
    fi
}

/* Under the mutex. */
inline serve()
{
    do
    :: nempty(queue) ->
        search();
        if
        :: found ->
            queue ? first;
            take_flag_back();
            state[first] = TOLD_OK
        :: else -> break
        fi
    :: empty(queue) -> break
    od
}

inline attend()
{
    LOCK;
    if
    :: waiting -> serve()
    :: else
    fi;
    UNLOCK
}

inline give()
{
#ifdef MUTANT_LOOK_FIRST
    seen = waiting;
    is_free = 1;
#else
    is_free = 1;
    seen = waiting;
#endif
#ifndef MUTANT_NO_LOOK
    if
    :: seen -> attend()
    :: else
    fi
#endif
}

inline use()
{
    holders++;
    assert(holders == 1);
    holders--;
    give()
}

/* Takes the block, or queues. In the end `found`, or state[me] != IDLE, or the
   arena is closed. */
inline wait()
{
    found = false;
    if
    :: !waiting && !closed -> search()
    :: else
    fi;
    if
    :: found
    :: else ->
        LOCK;
        if
        :: !waiting && !closed -> search()
        :: else
        fi;
        UNLOCK
    fi;
    if
    :: found
    :: else ->
        LOCK;
        if
#ifndef MUTANT_CLOSED_UNSEEN
        :: closed
#endif
        :: else -> wait_in_line()
        fi;
        assert(!closed || empty(queue));
        UNLOCK
    fi
}

inline wait_in_line()
{
    seen = waiting;
#ifndef MUTANT_FLAG_LATE
    waiting = 1;
#endif
    state[me] = QUEUED;
    queue ! me;
#ifndef MUTANT_NO_SEARCH
    if
    :: !seen -> search()
    :: else
    fi;
#endif
    if
    :: found ->
        queue ?? eval(me);
        take_flag_back();
        state[me] = IDLE
    :: else
#ifdef MUTANT_FLAG_LATE
        -> waiting = 1
#endif
    fi
}

/* Takes the wait back, or the block that was given for it. */
inline cancel()
{
    LOCK;
    if
    :: state[me] == QUEUED ->
        queue ?? eval(me);
        take_flag_back();
        state[me] = IDLE;
        UNLOCK
    :: state[me] == TOLD_OK ->
        state[me] = IDLE;
        UNLOCK;
#ifdef MUTANT_NO_PASS_ON
        is_free = 1
#else
        give()
#endif
    :: state[me] == TOLD_CLOSED ->
        state[me] = IDLE;
        UNLOCK
    fi
}

proctype client(byte me)
{
    byte first;
    bool found, seen;
    wait();
    if
    :: found -> use()
    :: else ->
        if
        :: state[me] == IDLE -> assert(closed)
        :: state[me] == TOLD_OK -> state[me] = IDLE; use()
        :: state[me] == TOLD_CLOSED -> state[me] = IDLE
        :: state[me] != IDLE && me == 0 -> cancel()
        fi
    fi
}

proctype barger()
{
    byte first;
    bool found, seen;
    search();
    if
    :: found -> use()
    :: else
    fi
}

proctype closer()
{
    byte first;
    if
    :: true -> skip
    :: true ->
        LOCK;
        closed = 1;
#ifndef MUTANT_NO_TELLING
        do
        :: queue ? first -> take_flag_back(); state[first] = TOLD_CLOSED
        :: empty(queue) -> break
        od;
#endif
        assert(empty(queue));
        UNLOCK
    fi
}

init
{
    atomic {
        byte i;
        for (i : 0 .. CLIENTS - 1) {
            run client(i)
        }
        run barger();
        run closer()
    }
    _nr_pr == 1;
    assert(is_free && empty(queue) && !waiting)
}
