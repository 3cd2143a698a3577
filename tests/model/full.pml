/* SPDX-License-Identifier: MIT */
/*
 * full: who is told "full" was told the truth (src/arena/rare.c).
 *
 * There are as many tokens as blocks. A thread takes a token, asks for a block,
 * gives the block back and then the token. So there is always a block for who
 * has a token, and "full" would be wrong. Every word of the bitmap has one
 * block here; a search begins at any word, as a hint may say anything. The state
 * is one word: its flags are read and changed together. One more thread asks
 * without a token and may be told so, rightly; if it gets a block it keeps it, and
 * nobody can count on a block any more.
 *
 * Mutants: SAYS_NOTHING   who searches does not say so, and believes the search
 *          SAYS_LATE      says so behind the search
 *          DRY_ANYWAY     does not mind that a release took the flag away
 *          LOOK_FIRST     a release looks, then sets its bit
 *          CLEARS_NOTHING a release leaves the flags
 *          KEEPS_DRY      a release leaves the answer that was kept
 */
#define WORDS   2
#define THREADS 2
#define ROUNDS  3

bit is_free[WORDS] = 1;
byte tokens = WORDS;
bit searching; /* WR_SEARCHING */
bit dry;       /* WR_DRY */
bit mutex;
bit excess; /* somebody has a block without a token, or may have one soon */

/* Looks at each word once; a word that has a free block gives it. */
inline search()
{
    select(word : 0 .. WORDS - 1);
    steps = 0;
    found = false;
    do
    :: !found && steps < WORDS ->
        atomic {
            if
            :: is_free[word] -> is_free[word] = 0; block = word; found = true
            :: else -> word = (word + 1) % WORDS; steps++
            fi
        }
    :: else -> break
    od
}

/* The mutex is held. */
inline take_exact()
{
    do
    :: dry -> break
    :: else ->
#if !defined(MUTANT_SAYS_NOTHING) && !defined(MUTANT_SAYS_LATE)
        searching = 1;
#endif
        search();
#ifdef MUTANT_SAYS_LATE
        searching = 1;
#endif
        if
        :: found -> searching = 0; break
        :: else ->
            atomic {
                if
#if defined(MUTANT_SAYS_NOTHING) || defined(MUTANT_DRY_ANYWAY)
                :: true -> searching = 0; dry = 1; break
#else
                :: searching -> searching = 0; dry = 1; break
                :: else /* again */
#endif
                fi
            }
        fi
    od
}

inline look()
{
    seen = searching || dry
}

inline give()
{
#ifdef MUTANT_LOOK_FIRST
    look();
    is_free[block] = 1;
#else
    is_free[block] = 1;
    look();
#endif
#ifndef MUTANT_CLEARS_NOTHING
    if
    :: seen ->
        atomic {
            searching = 0;
#ifndef MUTANT_KEEPS_DRY
            dry = 0
#endif
        }
    :: else
    fi
#endif
}

inline take()
{
    found = false;
    if
    :: dry /* it says full */
    :: else ->
        search(); /* without the mutex */
        if
        :: found
        :: else ->
            atomic { mutex == 0 -> mutex = 1 };
            take_exact();
            mutex = 0
        fi
    fi
}

proctype thread()
{
    byte rounds, word, steps, block;
    bool found, seen;
    do
    :: rounds < ROUNDS ->
        rounds++;
        atomic { tokens > 0 -> tokens-- };
        take();
        assert(found || excess); /* else it said full */
        if
        :: found
        :: else -> break
        fi;
        give();
        tokens++
    :: else -> break
    od
}

proctype asker()
{
    byte word, steps, block;
    bool found;
    excess = 1;
    take();
    excess = found
}

init
{
    atomic {
        byte i;
        for (i : 0 .. THREADS - 1) {
            run thread()
        }
        run asker()
    }
}
