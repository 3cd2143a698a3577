/* SPDX-License-Identifier: MIT */
/*
 * library: those sources of the library that keep static variables.
 *
 * Every run begins with a library that was just loaded. A static variable can be
 * set back only from inside its file, so each of these files is compiled as part of
 * one here, library_*.c. Keep that in step with it.
 */
#ifndef SIM_LIBRARY_H
#define SIM_LIBRARY_H

void library_reset_directory(void);
void library_reset_life(void);
void library_reset_record(void);

#endif
