/* SPDX-License-Identifier: MIT */
/* library_directory: arena/directory.c, and the way back to its beginning. */

#include "arena/directory.c"

#include "library.h"

#include <string.h>

void
library_reset_directory(void)
{
    memset(wr_directory, 0, entry_count * sizeof(wr_directory[0]));
    entry_count = 0;
    unused = NULL;
    last_serial = 0;
}
