/* SPDX-License-Identifier: MIT */
/* library_record: core/heap_record.c, and the way back to its beginning. */

#include "core/heap_record.c"

#include "library.h"

void
library_reset_record(void)
{
    spare = NULL;
}
