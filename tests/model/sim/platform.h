/* SPDX-License-Identifier: MIT */
/* platform: the floor of the system, under the simulator. */
#ifndef SIM_PLATFORM_H
#define SIM_PLATFORM_H

/* Brings the library's own variables back to what they are at the start. */
void platform_reset(void);

#endif
