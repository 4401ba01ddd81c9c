/* tarn_binning_pool.h: an adaptor over several pools: each size from the pool that is for it.
 *
 * Small blocks from one pool and large ones from another, so that the small do not cut up what the
 * large need. The pools may stand on each other (a caching pool over the provider of another,
 * tarn_pool_provider.h) or on different providers of one device.
 *
 * The pool of a block follows from its size, which is looked up by its address, and is asked alone,
 * for a free as for a use inside of the block; bins never change, so a block always goes back to
 * where it came from. The pool of a size is asked alone as well: what the others keep idle is given
 * back for it where they share a budget with it (tarn_budget.h), and stays theirs where they do
 * not.
 *
 * tarn_limit_pool.h says what all adaptors share, where "the upstream" is here: the block's pool;
 * for trim and decay all of them in turn, the last one first; for statistics their sums. Peaks of
 * reserved memory are summed as well, though they may not have been at one moment, and where pools
 * stand on each other both count what the upper one has of the lower. Peaks are reset in one pool
 * after the other: where one refuses, those before it have begun again. TARN_NOT_SUPPORTED for
 * pause and resume: the pools themselves may be paused, and a block then is so here. */
#ifndef TARN_BINNING_POOL_H
#define TARN_BINNING_POOL_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TARN_BINS_MAX = 64 };

typedef struct tarn_bin {
  size_t size_max_bytes; /* the largest block that comes from here */
  tarn_pool *pool;       /* retained */
} tarn_bin;

/* `bins` in the order of their sizes, each larger than the one before, 1 to TARN_BINS_MAX; a pool
 * may have several. What is larger than the last bin is asked of `rest`, retained; NULL: it is
 * TARN_TOO_LARGE. `name` is copied; NULL: "binning over pools". The pool's alignment is the least
 * of theirs. TARN_INVALID_ARGUMENT where bins are out of order or pools are of different
 * devices. */
TARN_API TARN_NODISCARD tarn_status tarn_binning_pool_create(const tarn_bin *bins, size_t bin_count,
                                                             tarn_pool *rest, const char *name,
                                                             tarn_pool **pool);

#ifdef __cplusplus
}
#endif
#endif
