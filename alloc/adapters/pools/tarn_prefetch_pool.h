/* tarn_prefetch_pool.h: an adaptor over a pool: memory whose pages are there when it is lent.
 *
 * What is done for a block depends on where it lies:
 *
 * host memory (TARN_DEVICE_CPU)    tarn_touch: the pages that lie wholly inside of the block are
 *                                  made, by several threads at once. For NULL and synchronous
 *                                  streams before the allocation returns; for a stream of the
 *                                  CPU's in its order, since earlier work may still use the block;
 *                                  for a device's stream not at all
 * pinned and device memory         nothing: it is there, always
 * managed memory, or any other     `prefetch`, the caller's own (cuMemPrefetchAsync); tarn has no
 *                                  managed memory, and so no such call. Without it
 *                                  TARN_NOT_SUPPORTED
 *
 * Pages that are there already are passed over, but each block is looked at each time that it is
 * lent. tarn_limit_pool.h says what all adaptors share. */
#ifndef TARN_PREFETCH_POOL_H
#define TARN_PREFETCH_POOL_H

#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Brings [address, address + size_bytes), just lent in the order of `stream`, to where it will be
 * used, in that order. Called without a lock, by several threads at once. */
typedef tarn_status (*tarn_prefetch_function)(void *context, void *address, size_t size_bytes,
                                              tarn_stream *stream);

typedef struct tarn_prefetch_pool_options {
  size_t struct_size;
  const char *name;                /* copied; NULL: "prefetch over <the upstream's name>" */
  size_t size_min_bytes;           /* smaller blocks are left as they are; 0: 64 KiB */
  int32_t thread_count;            /* as in tarn_touch_options; 0: its default */
  tarn_prefetch_function prefetch; /* takes the place of what is said above; NULL: that */
  void *prefetch_context;          /* alive as long as the pool */
} tarn_prefetch_pool_options;

/* `options` may be NULL. An allocation whose pages cannot be had answers TARN_OUT_OF_MEMORY: a pool
 * of explicit huge pages that is empty, or a limit of the system's, is told here and not by a
 * signal later. Any other failure to prefetch leaves the block as it is, and is counted. */
TARN_API TARN_NODISCARD tarn_status tarn_prefetch_pool_create(
    tarn_pool *upstream, const tarn_prefetch_pool_options *options, tarn_pool **pool);

typedef struct tarn_prefetch_told {
  size_t struct_size;
  uint64_t prefetched_bytes; /* of blocks so far, each time that they were lent */
  uint64_t failed_count;     /* blocks lent all the same */
} tarn_prefetch_told;

/* The caller sets told->struct_size. TARN_INVALID_ARGUMENT for a pool of another kind. */
TARN_API TARN_NODISCARD tarn_status tarn_prefetch_pool_tell(tarn_pool *pool,
                                                            tarn_prefetch_told *told);

#ifdef __cplusplus
}
#endif
#endif
