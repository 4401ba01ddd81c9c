/* huge_pages.h: explicit huge pages from the kernel's pool, and words for when it has none. */
#ifndef TARN_HUGE_PAGES_H
#define TARN_HUGE_PAGES_H

#include "alloc/tarn_status.h"

/* What mmap and memfd_create want to hear: MAP_HUGETLB's or MFD_HUGETLB's size bits. */
int tarn__huge_pages_size_bits(size_t page_bytes);

/* TARN_UNAVAILABLE where the kernel has no pool of such pages, or an empty one that may not
 * grow. */
tarn_status tarn__huge_pages_check(size_t page_bytes);

/* Whether a mapping of them can be moved to another address. */
bool tarn__huge_pages_can_move(size_t page_bytes);

/* Maps size_bytes anywhere, usable, zeroed, and promised by the pool: no touch finds it empty, but
 * for one that is bound to a node whose share of the pool is. Ends with munmap. */
tarn_status tarn__huge_pages_map(size_t page_bytes, size_t size_bytes, void **address);

/* In place of the mapping at `to`, which is the caller's own and stays where that fails. */
tarn_status tarn__huge_pages_move(void *from, size_t size_bytes, void *to);

/* TARN_OUT_OF_MEMORY for size_bytes of them, with the pool's numbers. */
tarn_status tarn__huge_pages_fail(size_t page_bytes, size_t size_bytes, const char *call,
                                  int error);

#endif
