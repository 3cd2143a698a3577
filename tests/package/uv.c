/* SPDX-License-Identifier: MIT */
/* The adapter is found, links, and runs with the library beside it. */

#include <weir/uv.h>

int
main(void)
{
    return weir_uv_error(WEIR_OK);
}
