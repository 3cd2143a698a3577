/* SPDX-License-Identifier: MIT */
/* atomic: the counter of the counting build. */

#include "base/atomic.h"

#ifdef WEIR_COUNT_ATOMICS
__thread unsigned long wr_locked_count;
#else
typedef int wr_atomic_is_not_empty; /* a translation unit may not be */
#endif
