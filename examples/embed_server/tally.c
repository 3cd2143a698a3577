/* SPDX-License-Identifier: MIT */
/*
 * tally: how many rows a body needs at most, before it is parsed.
 *
 *     {"model":"m","input":["one","two"],"user":"[x]"}      2
 *     {"model":"m","input":"one"}                           1
 *
 * Idea
 *   A result block is taken before a worker starts, and should be no larger
 *   than the batch needs. The input of a body is one string, or the strings
 *   inside one pair of brackets. So a body that the parser accepts has no more
 *   texts than strings that begin inside brackets, or one. That takes no more
 *   than to tell strings from what is between them, which can be done with each
 *   byte as it arrives.
 *
 * Limits
 *   An array in another field counts too; the block is trimmed when the rows
 *   are there. What is not JSON may count as anything: it gets no row.
 */

#include "tally.h"

static void
see_outside(struct tally *tally, char byte)
{
    if (byte == '[')
        tally->depth++;
    else if (byte == ']')
        tally->depth--; /* below 0 it is no JSON */
    tally->in_string = byte == '"';
    if (tally->in_string && tally->depth > 0)
        tally->strings++;
}

void
tally_add(struct tally *tally, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (tally->escaped)
            tally->escaped = false;
        else if (!tally->in_string)
            see_outside(tally, bytes[i]);
        else if (bytes[i] == '\\')
            tally->escaped = true;
        else
            tally->in_string = bytes[i] != '"';
    }
}

size_t
tally_rows(const struct tally *tally)
{
    return tally->strings > 0 ? tally->strings : 1;
}
