/* SPDX-License-Identifier: MIT */
/* jobs: several processes share what there is to try. */
#ifndef SIM_JOBS_H
#define SIM_JOBS_H

/* Goes on in `count` processes, 1 or more. */
void jobs_begin(unsigned count);

/* A number, 0 and up, that no other process gets. */
unsigned jobs_next(void);

/* Ends all processes but the first, which waits for them; returns the highest
   status of all. */
int jobs_end(int status);

#endif
