/* SPDX-License-Identifier: MIT */
/*
 * teardown: an arena is unmapped once, after its last block came home, and
 * nobody touches it later (src/arena/arena.c, src/arena/spill.c).
 *
 * Two threads release a block each; one of them moves its block to the heap
 * first. A third destroys the arena. The control part is used again for a
 * second arena, that nobody takes blocks from and that is destroyed in turn, so
 * that late releasers of the first meet it.
 *
 * Mutants: LOOK_FIRST   a release looks at the state, then sets its bit
 *          STATE_LATE   destroying looks whether all is home, then sets the
 *                       state
 *          NO_SERIAL    whoever finds a destroyed arena whole unmaps it
 *          SPILL_LATE   a block that moves goes home before the heap's counts
 *          HEAP_FIRST   who looks whether all is home reads the count of heap
 *                       blocks before the bitmap
 */
#define BLOCKS 2
#define LIVES  3 /* serials 1 and 2 */

bit is_free[BLOCKS]; /* both are out */
byte spilled;
bit mapped[LIVES];
byte unmaps[LIVES];
byte serial = 1; /* 0: unused */
bit destroyed;
bit mutex;
bit unused; /* the control part waits for its next arena */

#define LOCK   atomic { mutex == 0 -> mutex = 1 }
#define UNLOCK mutex = 0

/* Block after block, then the heap. */
inline look_whether_home()
{
    home = true;
#ifdef MUTANT_HEAP_FIRST
    home = (spilled == 0);
#endif
    i = 0;
    do
    :: home && i < BLOCKS -> home = is_free[i]; i++
    :: else -> break
    od;
#ifndef MUTANT_HEAP_FIRST
    if
    :: home -> home = (spilled == 0)
    :: else
    fi
#endif
}

inline attend()
{
    LOCK;
    dead = 0;
    if
    :: serial != 0 && destroyed ->
        look_whether_home();
        if
        :: home ->
            dead = serial;
#ifndef MUTANT_NO_SERIAL
            serial = 0
#endif
        :: else
        fi
    :: else
    fi;
    UNLOCK;
    if
    :: dead != 0 ->
        unmaps[dead]++;
        assert(unmaps[dead] == 1);
        mapped[dead] = 0;
        unused = 1
    :: else
    fi
}

/* Sets the bit of a block of the first arena, and looks around. */
inline give(block)
{
#ifdef MUTANT_LOOK_FIRST
    seen = destroyed;
#endif
    assert(mapped[1]);
    is_free[block] = 1;
#ifndef MUTANT_LOOK_FIRST
    seen = destroyed;
#endif
    if
    :: seen -> attend()
    :: else
    fi
}

/* A buf that outgrows its block, and is released on the heap. */
proctype grower()
{
    byte i, dead;
    bool home, seen;
#ifdef MUTANT_SPILL_LATE
    give(0);
    spilled++;
#else
    spilled++;
    give(0);
#endif
    assert(unmaps[1] == 0); /* it still holds a block of the arena */
    spilled--;
    seen = destroyed;
    if
    :: seen -> attend()
    :: else
    fi
}

proctype releaser()
{
    byte i, dead;
    bool home, seen;
    give(1)
}

inline destroy()
{
#ifdef MUTANT_STATE_LATE
    look_whether_home();
    destroyed = 1;
    if
    :: home -> attend()
    :: else
    fi
#else
    destroyed = 1;
    attend()
#endif
}

proctype destroyer()
{
    byte i, dead;
    bool home;
    destroy();
    unused == 1; /* the next arena */
    unused = 0;
    LOCK;
    assert(serial == 0);
    destroyed = 0;
    serial = 2;
    mapped[2] = 1;
    UNLOCK;
    destroy()
}

init
{
    mapped[1] = 1;
    atomic {
        run grower();
        run releaser();
        run destroyer()
    }
    _nr_pr == 1;
    assert(unmaps[1] == 1 && unmaps[2] == 1 && serial == 0)
}
