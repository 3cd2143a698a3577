/* SPDX-License-Identifier: MIT */
#include "support/unit.h"

#include <stdio.h>

Test(status, every_status_has_its_name_in_c)
{
    static const char *const names[] = {
        [WEIR_OK] = "WEIR_OK",
        [WEIR_FULL] = "WEIR_FULL",
        [WEIR_NO_ROOM] = "WEIR_NO_ROOM",
        [WEIR_OUT_OF_RANGE] = "WEIR_OUT_OF_RANGE",
        [WEIR_SHARED] = "WEIR_SHARED",
        [WEIR_TOO_LARGE] = "WEIR_TOO_LARGE",
        [WEIR_PENDING] = "WEIR_PENDING",
        [WEIR_CLOSED] = "WEIR_CLOSED",
        [WEIR_CANCELED] = "WEIR_CANCELED",
        [WEIR_TIMED_OUT] = "WEIR_TIMED_OUT",
        [WEIR_INVALID] = "WEIR_INVALID",
        [WEIR_UNSUPPORTED] = "WEIR_UNSUPPORTED",
        [WEIR_SYSTEM] = "WEIR_SYSTEM",
        [WEIR_FOREIGN] = "WEIR_FOREIGN",
        [WEIR_ALREADY_RELEASED] = "WEIR_ALREADY_RELEASED",
        [WEIR_SIZE_MISMATCH] = "WEIR_SIZE_MISMATCH",
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        expect_text(weir_status_name((enum weir_status)i), names[i]);
    }
}

Test(status, a_number_that_is_none_has_a_name_too)
{
    enum weir_status none = (enum weir_status)(WEIR_SIZE_MISMATCH + 1);

    expect_text(weir_status_name(none), "not a weir_status");
}

Test(status, ok_is_zero)
{
    cr_assert(eq(int, WEIR_OK, 0));
}

Test(status, the_version_is_that_of_the_header)
{
    char version[32];

    (void)snprintf(version, sizeof version, "%d.%d.%d", WEIR_VERSION_MAJOR,
        WEIR_VERSION_MINOR, WEIR_VERSION_PATCH);

    expect_text(weir_version(), version);
}
