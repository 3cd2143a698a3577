/* SPDX-License-Identifier: MIT */
/*
 * cache: no block is hidden in a thread's cache, lost there, or handed out twice
 * (src/core/cache_gate.c).
 *
 *     owner     its stores go through a buffer, ─▶ memory ◀─ sweeper
 *               which empties itself at any time
 *
 * The owner takes blocks from its cache, gives blocks back, or moves one between
 * the top and below. Its stores to the cache wait in a buffer of one entry: what
 * it checks next it may read before they are in memory. The heavy fence empties
 * the buffer. The sweeper stops the cache, fences, waits for an owner between
 * begin and end, and puts what it finds into the bitmap. Another thread takes
 * blocks from there, and may give one to the owner. In the end every block is
 * in one place; on the way none is in two hands.
 *
 * Mutants: NO_FENCE      the sweeper does not fence
 *          FENCE_FIRST   or fences before it stops the cache
 *          NO_WAIT       or does not wait for who moves
 *          OFF_FIRST     or turns the cache off before it reads it
 *          FORGETS_BELOW or takes the top only
 *          TAKE_BLIND    the owner does not check behind a take
 *          GIVE_BLIND    or behind a release
 *          CHECK_FIRST   or checks before a take
 *          MOVE_BLIND    or does not check when it begins to move
 *          END_FIRST     or says that it is done before it is
 *          NO_SETTLE     who was stopped does not wait for the sweep's end
 *          ALWAYS_MINE   and believes that it was in time
 *          NEVER_MINE    or that it was late
 *          HAD_IT        a release does not mind that its bit is on top
 */
#define BLOCKS 3 /* as bits: two of them */
#define ROUNDS 3

mtype = { OFF, ON, STOPPED };
mtype:cell = { TOP, BELOW, BUSY };

mtype control = ON;
byte top = 1; /* in memory; the owner knows its own */
byte below;
byte busy;
byte stolen;
bit lock;

byte bitmap;
byte owner_has = 2;
byte other_has;

chan buffer = [1] of { mtype:cell, byte };
byte ended;

inline write(cell, value)
{
    if
    :: cell == TOP -> top = value
    :: cell == BELOW -> below = value
    :: cell == BUSY -> busy = value
    fi
}

/* A processor's: it empties itself whenever it likes. */
active proctype store_buffer()
{
    mtype:cell cell;
    byte value;
end:
    do
    :: atomic { buffer ? cell, value -> write(cell, value) }
    od
}

/* On the owner's processor, or by whoever has it execute one. */
inline fence()
{
    atomic {
        if
        :: buffer ? cell, value -> write(cell, value)
        :: empty(buffer)
        fi
    }
}

inline put_home(blocks)
{
    atomic {
        assert((bitmap & (blocks)) == 0);
        bitmap = bitmap | (blocks)
    }
}

/* ---- The owner --------------------------------------------------------- */

inline check()
{
    is_on = (control == ON)
}

/* Waits for the sweep's end; was the block on top then? The cache is empty
   for its owner now. */
inline settle(block)
{
#ifndef MUTANT_NO_SETTLE
    if
    :: control == STOPPED -> atomic { lock == 0 -> lock = 1 }; lock = 0
    :: else
    fi;
#endif
#ifdef MUTANT_ALWAYS_MINE
    was_stolen = false;
#else
#ifdef MUTANT_NEVER_MINE
    was_stolen = true;
#else
    was_stolen = ((stolen & (block)) != 0);
#endif
#endif
    my_top = 0;
    my_below = 0;
    has_word = false
}

inline take(block)
{
    my_top = my_top & ~(block);
#ifdef MUTANT_CHECK_FIRST
    check();
    buffer ! TOP, my_top;
#else
    buffer ! TOP, my_top;
    check();
#endif
#ifdef MUTANT_TAKE_BLIND
    is_on = true;
#endif
    was_stolen = false;
    if
    :: is_on
    :: else -> settle(block)
    fi;
    atomic {
        if
        :: was_stolen
        :: else ->
            assert(((owner_has | other_has) & (block)) == 0);
            owner_has = owner_has | (block)
        fi
    }
}

inline give(block)
{
    owner_has = owner_has & ~(block);
    is_on = false;
    was_stolen = false;
    if
#ifdef MUTANT_HAD_IT
    :: has_word ->
#else
    :: has_word && (my_top & (block)) == 0 ->
#endif
        my_top = my_top | (block);
        buffer ! TOP, my_top;
        check();
#ifdef MUTANT_GIVE_BLIND
        is_on = true;
#endif
        if
        :: is_on
        :: else -> settle(block)
        fi
    :: else -> /* past the cache, which is off */
        if
        :: my_top != 0 -> settle(block); was_stolen = false /* that was before */
        :: else
        fi
    fi;
    if
    :: is_on || was_stolen
    :: else -> put_home(block)
    fi
}

/* The top moves below, or what is below comes up: several stores. */
inline move()
{
    buffer ! BUSY, 1;
    check();
#ifdef MUTANT_MOVE_BLIND
    is_on = true;
#endif
#ifdef MUTANT_END_FIRST
    buffer ! BUSY, 0;
#endif
    if
    :: is_on ->
        if
        :: my_top != 0 ->
            my_below = my_below | my_top;
            my_top = 0;
            buffer ! TOP, my_top;
            buffer ! BELOW, my_below
        :: else ->
            my_top = my_below;
            my_below = 0;
            buffer ! BELOW, my_below;
            buffer ! TOP, my_top
        fi
    :: else
    fi;
#ifndef MUTANT_END_FIRST
    buffer ! BUSY, 0;
#endif
    if
    :: is_on
    :: else -> settle(0)
    fi
}

active proctype owner()
{
    byte my_top = 1;
    byte my_below, rounds;
    bool is_on, was_stolen;
    bool has_word = true; /* all blocks are of one word; a swept cache has none */
    do
    :: rounds < ROUNDS ->
        rounds++;
        if
        :: (my_top & 1) != 0 -> take(1)
        :: (my_top & 2) != 0 -> take(2)
        :: (owner_has & 1) != 0 -> give(1)
        :: (owner_has & 2) != 0 -> give(2)
        :: (my_top | my_below) != 0 -> move()
        :: true /* nothing */
        fi
    :: else -> break
    od;
    ended++
}

/* ---- The others -------------------------------------------------------- */

active proctype sweeper()
{
    mtype:cell cell;
    byte value, found, found_below;
    atomic { lock == 0 -> lock = 1 };
#ifdef MUTANT_FENCE_FIRST
    fence();
#endif
    control = STOPPED;
#if !defined(MUTANT_NO_FENCE) && !defined(MUTANT_FENCE_FIRST)
    fence();
#endif
#ifndef MUTANT_NO_WAIT
    busy == 0;
#endif
#ifdef MUTANT_OFF_FIRST
    control = OFF;
#endif
    found = top;
    put_home(found);
    found_below = below;
#ifndef MUTANT_FORGETS_BELOW
    put_home(found_below);
#endif
    stolen = found;
    control = OFF;
    lock = 0;
    ended++
}

/* Takes a block past the caches; keeps it, or gives it to the owner. */
active proctype other()
{
    byte block;
    if
    :: true
    :: atomic { bitmap != 0 ->
            block = ((bitmap & 1) != 0 -> 1 : 2);
            bitmap = bitmap & ~block;
            assert(((owner_has | other_has) & block) == 0);
            other_has = block
        };
        if
        :: true
        :: atomic { other_has = 0; owner_has = owner_has | block }
        fi
    fi;
    ended++
}

/* All have ended: every block is in one place. */
active proctype judge()
{
    mtype:cell cell;
    byte value;
    ended == 3;
    fence();
    assert((bitmap & (owner_has | other_has)) == 0);
    assert((bitmap | owner_has | other_has) == BLOCKS)
}
