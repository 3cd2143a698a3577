/* SPDX-License-Identifier: MIT */
/*
 * buddy: words of cells, and a cell of the word above for each word that is whole
 * (src/buddy).
 *
 *     parent   [ 1    . ]       a set bit is free; a word whose parent bit
 *                |    |         is set is 0, and so is one whose cells are
 *     word     [. .] [1 .]      all out
 *
 * A block is one cell, or a whole word, which is one bit of the parent. Taking clears the block's bits. Where no word has it, a bit of the parent
 * is claimed, and what is not wanted of that word is published there. Giving sets
 * the block's bits; if that would make the word whole it makes it 0 instead, and
 * sets the parent's bit next. Each of these is one exchange, or several of which
 * only the last one changes anything; so they are atomic here. In between, the
 * cells are nowhere.
 *
 * One more process searches as rare.c does, for a block of any size, and says full
 * only if the flag stayed; who gives, and who took from the parent, looks at the
 * flag behind its last step. So when it says full nothing of that size is free, or
 * some call has not come to its end.
 *
 * Mutants: STAYS_WHOLE     a word that is whole stays so
 *          STAYS_TOO       and goes up all the same
 *          UP_FIRST        the parent's bit is set before the word is empty
 *          MERGE_BY_LOOK   whether it is whole is seen before the bits are set
 *          CUT_FIRST       the rest is published before the parent's bit is claimed
 *          CUT_ALL         all of the word is published
 *          CUT_NOTHING     the rest is lost
 *          LOOK_FIRST      a release looks at the flag first
 *          SILENT_CUT      who took from the parent does not look
 *          SAYS_NOTHING    who searches does not set the flag
 *          SAYS_LATE       or sets it behind the search
 *          FORGETS_PARENT  or does not look into the parent
 */
#define WORDS   2
#define WHOLE   3 /* two cells */
#define WORKERS 2
#define ROUNDS  2

byte word[WORDS];
bit parent[WORDS] = 1;
bit searching;    /* WR_SEARCHING */
byte in_progress; /* calls that may have something to give */

byte owned[WORDS]; /* what is in somebody's hands */
byte ended;

/* ---- What there is ----------------------------------------------------- */

/* The first bit that is set. */
#define FIRST(bits) (((bits) & 1) != 0 -> 1 : (bits))

/* A cell that is free in a word; 0: there is none, or a whole word is wanted. */
#define CHOICE(bits) (wanted == 1 -> FIRST(bits) : 0)

#define IS_THERE \
    (parent[0] || parent[1] || (wanted == 1 && (word[0] | word[1]) != 0))

inline own()
{
    assert((owned[at] & mask) == 0);
    owned[at] = owned[at] | mask
}

/* ---- Taking and giving ------------------------------------------------- */

/* `wanted` is 1 or WHOLE. Each word once, then each bit of the parent. */
inline take()
{
    do
    :: atomic { mask == 0 && at < WORDS ->
            mask = CHOICE(word[at]);
            word[at] = word[at] & ~mask;
            if
            :: mask == 0 -> at++
            :: else -> own()
            fi
        }
    :: atomic { else ->
#ifndef MUTANT_FORGETS_PARENT
            at = (mask == 0 -> 0 : at);
#endif
            break
        }
    od;
    do
    :: atomic { mask == 0 && at < WORDS ->
            if
            :: parent[at] ->
                mask = wanted;
                was_cut = (wanted != WHOLE);
#ifndef MUTANT_CUT_FIRST
                parent[at] = 0;
                own()
#endif
            :: else -> at++
            fi
        }
    :: else -> break
    od;
    if
    :: was_cut -> publish()
    :: else
    fi
#ifdef MUTANT_CUT_FIRST
    ;
    if
    :: was_cut -> atomic { parent[at] = 0; own() }
    :: !was_cut && mask == WHOLE -> atomic { parent[at] = 0; own() }
    :: else
    fi
#endif
}

inline publish()
{
    atomic {
#ifndef MUTANT_CUT_FIRST
        assert(word[at] == 0);
#endif
#ifdef MUTANT_CUT_ALL
        word[at] = WHOLE
#else
#ifndef MUTANT_CUT_NOTHING
        word[at] = WHOLE & ~mask
#endif
#endif
    }
}

inline set_parent()
{
    atomic {
        assert(!parent[at]); /* else it was given twice */
        parent[at] = 1
    }
}

inline give()
{
#ifdef MUTANT_MERGE_BY_LOOK
    is_whole = ((word[at] | mask) == WHOLE);
#endif
    atomic {
        owned[at] = owned[at] & ~mask;
        assert((word[at] & mask) == 0);
#ifndef MUTANT_MERGE_BY_LOOK
        is_whole = ((word[at] | mask) == WHOLE);
#endif
#ifdef MUTANT_STAYS_WHOLE
        is_whole = (mask == WHOLE);
#endif
        if
        :: mask == WHOLE /* it was a bit of the parent */
#ifdef MUTANT_UP_FIRST
        :: mask != WHOLE && is_whole
#endif
#ifdef MUTANT_STAYS_TOO
        :: mask != WHOLE && is_whole -> word[at] = word[at] | mask
#endif
#if !defined(MUTANT_UP_FIRST) && !defined(MUTANT_STAYS_TOO)
        :: mask != WHOLE && is_whole -> word[at] = 0
#endif
        :: else -> word[at] = word[at] | mask
        fi
    };
    if
    :: is_whole -> set_parent()
    :: else
    fi;
#ifdef MUTANT_UP_FIRST
    if
    :: is_whole -> word[at] = 0
    :: else
    fi;
#endif
    mask = 0;
    at = 0;
    is_whole = false
}

/* A call's last step. */
inline look()
{
    if
    :: searching -> searching = 0
    :: else
    fi
}

proctype worker()
{
    byte rounds, wanted, at, mask;
    bool was_cut, is_whole;
    do
    :: atomic { rounds < ROUNDS ->
            rounds++;
            if
            :: wanted = 1
            :: wanted = WHOLE
            fi;
            in_progress++
        };
        take();
#ifndef MUTANT_SILENT_CUT
        if
        :: was_cut -> look()
        :: else
        fi;
#endif
        atomic { in_progress--; was_cut = false };
        if
        :: atomic { mask != 0 -> in_progress++ };
#ifdef MUTANT_LOOK_FIRST
            look();
            give();
#else
            give();
            look();
#endif
            in_progress--
        :: else -> at = 0
        fi
    :: else -> break
    od;
    ended++
}

/* ---- Full -------------------------------------------------------------- */

proctype searcher()
{
    byte wanted, at, mask;
    bool was_cut, is_whole;
    if
    :: wanted = 1
    :: wanted = WHOLE
    fi;
    do
    :: true ->
#if !defined(MUTANT_SAYS_NOTHING) && !defined(MUTANT_SAYS_LATE)
        searching = 1;
#endif
        take();
#ifdef MUTANT_SAYS_LATE
        searching = 1;
#endif
        atomic {
            if
            :: mask != 0 -> searching = 0; break
#ifdef MUTANT_SAYS_NOTHING
            :: mask == 0 ->
#else
            :: mask == 0 && searching ->
#endif
                searching = 0;
                assert(in_progress > 0 || !IS_THERE); /* it says full */
                break
            :: else -> at = 0 /* again */
            fi
        }
    od;
    if
    :: mask != 0 -> give()
    :: else
    fi;
    ended++
}

/* All have ended: every word is whole. */
active proctype judge()
{
    byte i;
    ended == WORKERS + 1;
    for (i : 0 .. WORDS - 1) {
        assert(owned[i] == 0);
        assert(word[i] == 0);
        assert(parent[i])
    }
}

init
{
    atomic {
        byte i;
        for (i : 1 .. WORKERS) {
            run worker()
        }
        run searcher()
    }
}
