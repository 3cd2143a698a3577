/* SPDX-License-Identifier: MIT */
/* status: the names of statuses, and of this release. */

#include "weir/weir.h"

const char *
weir_status_name(enum weir_status status)
{
    switch (status) {
    case WEIR_OK:
        return "WEIR_OK";
    case WEIR_FULL:
        return "WEIR_FULL";
    case WEIR_NO_ROOM:
        return "WEIR_NO_ROOM";
    case WEIR_OUT_OF_RANGE:
        return "WEIR_OUT_OF_RANGE";
    case WEIR_SHARED:
        return "WEIR_SHARED";
    case WEIR_TOO_LARGE:
        return "WEIR_TOO_LARGE";
    case WEIR_PENDING:
        return "WEIR_PENDING";
    case WEIR_CLOSED:
        return "WEIR_CLOSED";
    case WEIR_CANCELED:
        return "WEIR_CANCELED";
    case WEIR_TIMED_OUT:
        return "WEIR_TIMED_OUT";
    case WEIR_INVALID:
        return "WEIR_INVALID";
    case WEIR_UNSUPPORTED:
        return "WEIR_UNSUPPORTED";
    case WEIR_SYSTEM:
        return "WEIR_SYSTEM";
    case WEIR_FOREIGN:
        return "WEIR_FOREIGN";
    case WEIR_ALREADY_RELEASED:
        return "WEIR_ALREADY_RELEASED";
    case WEIR_SIZE_MISMATCH:
        return "WEIR_SIZE_MISMATCH";
    }
    return "not a weir_status";
}

#define TEXT_OF(number)     #number
#define VERSION_OF(x, y, z) TEXT_OF(x) "." TEXT_OF(y) "." TEXT_OF(z)

const char *
weir_version(void)
{
    return VERSION_OF(
        WEIR_VERSION_MAJOR, WEIR_VERSION_MINOR, WEIR_VERSION_PATCH);
}
