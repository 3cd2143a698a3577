/* SPDX-License-Identifier: MIT */
/*
 * library: those sources of the library that keep static variables, and the
 * way back to their beginning.
 *
 * Every run begins with a library that was just loaded. A static variable can be
 * set back only from inside its file, so the file is compiled here. Keep this in
 * step with it.
 */

#include "arena/directory.c"

#include <string.h>

void library_reset(void);

void
library_reset(void)
{
    memset(wr_directory, 0, entry_count * sizeof(wr_directory[0]));
    entry_count = 0;
    unused = NULL;
    last_serial = 0;
}
