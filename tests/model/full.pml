/* SPDX-License-Identifier: MIT */
/*
 * full: who is told "full" was told the truth (src/arena/rare.c).
 *
 * There are as many tokens as blocks. A thread takes a token, asks for a block,
 * gives the block back and then the token. So there is always a block for who
 * has a token, and "full" would be wrong. Every word of the bitmap has one
 * block here; a search begins at any word, as a hint may say anything.
 *
 * Mutants: NO_SECOND_SUM   say full after one search
 *          COUNT_FIRST     a release counts, then sets its bit
 */
#define WORDS   2
#define THREADS 3
#define ROUNDS  2

bit is_free[WORDS] = 1;
byte tokens = WORDS;
byte releases[THREADS]; /* each written by its thread alone */
bit mutex;

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

/* One count after the other: others count meanwhile. */
inline sum(result)
{
    result = 0;
    steps = 0;
    do
    :: steps < THREADS -> result = result + releases[steps]; steps++
    :: else -> break
    od
}

inline take_exact()
{
    sum(after);
    do
    :: true ->
        before = after;
        search();
        if
        :: found -> break
        :: else
        fi;
#ifndef MUTANT_NO_SECOND_SUM
        sum(after);
#endif
        if
        :: after == before -> break
        :: else
        fi
    od
}

inline give()
{
#ifdef MUTANT_COUNT_FIRST
    releases[me]++;
    is_free[block] = 1;
#else
    is_free[block] = 1;
    releases[me]++;
#endif
}

proctype thread(byte me)
{
    byte rounds, word, steps, block, before, after;
    bool found;
    do
    :: rounds < ROUNDS ->
        rounds++;
        atomic { tokens > 0 -> tokens-- };
        search(); /* without the mutex */
        if
        :: found
        :: else ->
            atomic { mutex == 0 -> mutex = 1 };
            take_exact();
            mutex = 0;
            assert(found) /* else it said full */
        fi;
        give();
        tokens++
    :: else -> break
    od
}

init
{
    atomic {
        byte i;
        for (i : 0 .. THREADS - 1) {
            run thread(i)
        }
    }
}
