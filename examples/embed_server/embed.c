/* SPDX-License-Identifier: MIT */
/*
 * embed: the model, feature hashing of words and of the letters in them.
 *
 *     "The Arena"  ->  the  <th the he>  <the the>  <the>  arena  <ar are ...
 *
 * Idea
 *   Each word, and each run of 3 to 5 bytes in a word between < and >, is a
 *   feature. Its hash chooses one number of the row and a sign, so unrelated
 *   features that meet in one number cancel out on average, and no vocabulary
 *   is needed. Texts that share words, or parts of words, point the same way.
 *   It stands in for your model: it reads text where it lies and writes a row
 *   where it is sent from.
 *
 * Limits
 *   Only ASCII letters are folded; every byte of 128 and above is a letter.
 *   Weights are 1 and 1/2, so the sums are exact and do not depend on order.
 *
 * Source
 *   Weinberger et al., Feature Hashing for Large Scale Multitask Learning,
 *   2009; Bojanowski et al., Enriching Word Vectors with Subword Information,
 *   2017.
 */

#include "embed.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

enum { SHORTEST_RUN = 3, LONGEST_RUN = 5 };

static const uint64_t word_seed = UINT64_C(0xcbf29ce484222325);
static const uint64_t run_seed = UINT64_C(0x9e3779b97f4a7c15);

struct row {
    float *numbers;
    size_t dim;
};

static bool
is_upper(unsigned char byte)
{
    return byte >= 'A' && byte <= 'Z';
}

static bool
is_word(unsigned char byte)
{
    return is_upper(byte) || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || byte >= 0x80;
}

static uint64_t
hash_byte(uint64_t hash, unsigned char byte)
{
    unsigned char folded = is_upper(byte) ? (unsigned char)(byte | 0x20) : byte;
    return (hash ^ folded) * UINT64_C(0x100000001b3);
}

/* The hash above leaves its low bits weak, and they choose place and sign. */
static uint64_t
mix(uint64_t hash)
{
    hash = (hash ^ (hash >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ (hash >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return hash ^ (hash >> 33);
}

static void
add_feature(const struct row *row, uint64_t hash, float weight)
{
    assert(row->dim > 0);
    uint64_t mixed = mix(hash);
    float *number = &row->numbers[(mixed >> 1) % row->dim];
    *number += (mixed & 1) != 0 ? weight : -weight;
}

/* The byte at `place` of <word>. */
static unsigned char
framed(const unsigned char *word, size_t len, size_t place)
{
    if (place == 0)
        return '<';
    return place > len ? '>' : word[place - 1];
}

static void
add_runs(const struct row *row, const unsigned char *word, size_t len)
{
    for (size_t from = 0; from + SHORTEST_RUN <= len + 2; from++) {
        uint64_t hash = run_seed;
        for (size_t i = 0; i < LONGEST_RUN && from + i < len + 2; i++) {
            hash = hash_byte(hash, framed(word, len, from + i));
            if (i + 1 >= SHORTEST_RUN)
                add_feature(row, hash, 0.5F);
        }
    }
}

static void
add_word(const struct row *row, const unsigned char *word, size_t len)
{
    uint64_t hash = word_seed;
    for (size_t i = 0; i < len; i++)
        hash = hash_byte(hash, word[i]);
    add_feature(row, hash, 1.0F);
    add_runs(row, word, len);
}

/* A text without words has length 1 too: nobody divides by its zero. */
static void
normalise(const struct row *row)
{
    double square = 0;
    for (size_t i = 0; i < row->dim; i++)
        square += (double)row->numbers[i] * row->numbers[i];
    if (square == 0)
        row->numbers[0] = 1.0F;
    double scale = square == 0 ? 1 : 1 / sqrt(square);
    for (size_t i = 0; i < row->dim; i++)
        row->numbers[i] = (float)(row->numbers[i] * scale);
}

size_t
embed_text(const unsigned char *text, size_t len, float *numbers, size_t dim)
{
    struct row row = { numbers, dim };
    for (size_t i = 0; i < dim; i++)
        numbers[i] = 0;
    size_t word_count = 0;
    for (size_t from = 0; from < len;) {
        size_t end = from;
        while (end < len && is_word(text[end]))
            end++;
        if (end > from) {
            add_word(&row, text + from, end - from);
            word_count++;
        }
        from = end + 1;
    }
    normalise(&row);
    return word_count;
}
