/* SPDX-License-Identifier: MIT */
/*
 * heap_region: stands in for src/core/heap_region.h: a page of the heap holds four
 * blocks of the first class, so that few of them fill a heap.
 */
#ifndef SIM_HEAP_REGION_H
#define SIM_HEAP_REGION_H

#define WR_PAGE_SHIFT WR_PAGE_SHIFT_OF_SRC
#define WR_PAGE_UNITS WR_PAGE_UNITS_OF_SRC
#include <heap_region.h> /* of src */
#undef WR_PAGE_SHIFT
#undef WR_PAGE_UNITS

enum { WR_PAGE_SHIFT = 8, WR_PAGE_UNITS = 4 };

#endif
