/* SPDX-License-Identifier: MIT */
/*
 * size_class: stands in for src/core/size_class.h: of its classes there are two.
 *
 * A sweep looks at every class of every thread, by the same steps; a run with all
 * of them has more locations than are worth it.
 */
#ifndef SIM_SIZE_CLASS_H
#define SIM_SIZE_CLASS_H

#define WR_CLASS_SMALL_COUNT WR_CLASS_SMALL_COUNT_OF_SRC
#define WR_CLASS_SMALL_MAX   WR_CLASS_SMALL_MAX_OF_SRC
#include <size_class.h> /* of src */
#undef WR_CLASS_SMALL_COUNT
#undef WR_CLASS_SMALL_MAX

enum {
    WR_CLASS_SMALL_COUNT = 2, /* 64 bytes and 128 */
    WR_CLASS_SMALL_MAX = 2 * WR_CLASS_UNIT
};

#endif
