/* SPDX-License-Identifier: MIT */
/*
 * pages: memory from the system, with a guard at either end.
 *
 *     mapping                                         mapping_size
 *     [ guard | slack to align | size bytes | to a page, guard ]
 *               PROT_NONE        base
 *
 * Idea
 *   The whole range is reserved without access, and only the middle is opened.
 *   So a write that runs off either end faults at once, and the guards cost
 *   address space, not memory. Huge pages are another kind of mapping; it takes
 *   the place of the middle.
 *
 * Limits
 *   munmap of what we mapped cannot fail but by a bug; then it is fatal.
 */

#include "platform/pages.h"

#include "base/bits.h"
#include "base/check.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

size_t
wr_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Reserves `size` bytes at an aligned base, a guard before and behind. */
static bool
reserve(size_t size, size_t align, struct wr_region *region)
{
    size_t page = wr_page_size();
    size_t total;
    if (wr_add_overflows(size, align, &total) ||
        wr_add_overflows(total, 2 * page, &total)) {
        errno = ENOMEM;
        return false;
    }
    void *mapping =
        mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return false;

    uintptr_t first = (uintptr_t)mapping + page;
    uintptr_t base = (first + align - 1) & ~((uintptr_t)align - 1);
    *region = (struct wr_region){
        .base = (char *)mapping + (base - (uintptr_t)mapping),
        .size = size,
        .mapping = mapping,
        .mapping_size = total,
    };
    return true;
}

/*
 * Puts huge pages into the middle. A refused MAP_FIXED would have taken the old
 * mapping away, and another thread's may lie in the hole by then; so the middle
 * is given up first, and the pages may replace nothing. False: the middle is
 * not ours any more.
 */
static bool
open_huge(const struct wr_region *region)
{
    (void)munmap(region->base, region->size);
    void *got = mmap(region->base, region->size, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != MAP_FAILED && got != region->base)
        (void)munmap(got, region->size); /* a kernel before 4.17 */
    return got == region->base;
}

/* Unmaps what lies on either side of a middle that is not ours. */
static void
unmap_ends(const struct wr_region *region)
{
    char *first = region->mapping;
    char *base = region->base;
    char *end = base + region->size;
    char *last = first + region->mapping_size;
    (void)munmap(first, (size_t)(base - first));
    (void)munmap(end, (size_t)(last - end));
}

static bool
map_huge(size_t size, size_t align, struct wr_region *region)
{
    do {
        struct wr_region made;
        if (!reserve(size, align, &made))
            return false;
        if (open_huge(&made)) {
            *region = made;
            return true;
        }
        int why = errno;
        unmap_ends(&made);
        errno = why;
    } while (errno == EEXIST); /* somebody mapped into the hole */
    return false;
}

/* Opens the middle in place: refused, it leaves the reserve as it was. */
static bool
map_normal(size_t size, size_t align, struct wr_region *region)
{
    struct wr_region made;
    if (!reserve(size, align, &made))
        return false;
    if (mprotect(made.base, made.size, PROT_READ | PROT_WRITE) != 0) {
        int why = errno;
        wr_pages_unmap(&made);
        errno = why;
        return false;
    }
    *region = made;
    return true;
}

bool
wr_pages_map(
    size_t size, size_t align, enum wr_page_kind kind, struct wr_region *region)
{
    WR_ASSERT(size > 0 && wr_is_power_of_two(align));
    size_t unit = kind == WR_PAGES_NORMAL ? wr_page_size() : WR_HUGE_PAGE_SIZE;
    if (wr_round_up_overflows(size, unit, &size)) {
        errno = ENOMEM;
        return false;
    }
    if (align < unit)
        align = unit;
    if (kind != WR_PAGES_NORMAL && map_huge(size, align, region))
        return true;
    if (kind == WR_PAGES_HUGE || !map_normal(size, align, region))
        return false;
    if (kind == WR_PAGES_HUGE_IF_FREE)
        (void)madvise(region->base, region->size, MADV_HUGEPAGE); /* a wish */
    return true;
}

bool
wr_pages_reserve(size_t size, size_t align, struct wr_region *region)
{
    WR_ASSERT(size > 0 && wr_is_power_of_two(align));
    struct wr_region made;
    if (wr_round_up_overflows(size, wr_page_size(), &size)) {
        errno = ENOMEM;
        return false;
    }
    if (align < wr_page_size())
        align = wr_page_size();
    if (!reserve(size, align, &made))
        return false;
    void *got = mmap(made.base, made.size, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (got == MAP_FAILED) { /* in place, so the reserve is as it was */
        int why = errno;
        wr_pages_unmap(&made);
        errno = why;
        return false;
    }
    *region = made;
    return true;
}

bool
wr_pages_discard(void *base, size_t size)
{
    return size % wr_page_size() == 0 &&
           madvise(base, size, MADV_DONTNEED) == 0;
}

void
wr_pages_discard_zeros(void *base, size_t size)
{
    (void)wr_pages_discard(base, size);
}

bool
wr_pages_prefault(const struct wr_region *region)
{
    if (madvise(region->base, region->size, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL) /* EINVAL: a kernel before 5.14 */
        return false;
    size_t page = wr_page_size();
    volatile char *bytes = region->base;
    for (size_t at = 0; at < region->size; at += page)
        bytes[at] = 0;
    return true;
}

bool
wr_pages_lock(const struct wr_region *region)
{
    return mlock(region->base, region->size) == 0;
}

void
wr_pages_unmap(struct wr_region *region)
{
    if (region->mapping == NULL)
        return;
    int failed = munmap(region->mapping, region->mapping_size);
    WR_CHECK(failed == 0, "the system refused to unmap an arena");
    *region = (struct wr_region){ 0 };
}
