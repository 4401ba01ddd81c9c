/* arena.h: a jemalloc arena whose memory comes from one provider, with a cache per thread.
 *
 *     provider range   |<-------------- reserved, never given back before destroy ------->|guard|
 *     jemalloc         |  active  |   dirty (kept)   |  retained: decommitted or never used |
 *     committed_bytes  |<----------- counted ------->|
 *
 * jemalloc may not unmap a range while another arena could map beside it: its retained extents are
 * decommitted, and whole ranges are given back when the arena goes. The guard keeps two ranges from
 * ever being neighbours, which jemalloc would join.
 */
#ifndef TARN_NUMA_ARENA_H
#define TARN_NUMA_ARENA_H

#include "alloc/tarn_provider.h"

enum {
  TARN__ARENA_ALIGNMENT_BYTES = 64, /* of every block: a cache line */
};

typedef struct tarn__arena tarn__arena;

typedef struct tarn__arena_counts {
  size_t committed_bytes;
  size_t committed_bytes_peak;
  uint64_t provider_calls;
} tarn__arena_counts;

/* Retains `provider`, which must reserve, in granules of one page. TARN_NOT_SUPPORTED where
 * jemalloc has no more arenas (4094 in a process). */
tarn_status tarn__arena_create(tarn_provider *provider, tarn__arena **arena);
/* No block is live, and no thread is inside of a call. NULL does nothing. */
void tarn__arena_destroy(tarn__arena *arena);

/* What a block of size_bytes really takes; 0 where no block can be so large. */
size_t tarn__arena_rounded(size_t size_bytes, size_t alignment_bytes);
/* NULL where the provider has no more. alignment_bytes is a power of two. */
void *tarn__arena_alloc(tarn__arena *arena, size_t size_bytes, size_t alignment_bytes);
void tarn__arena_free(tarn__arena *arena, void *address);

/* Decommits all that is idle, also in the caches of other threads. */
void tarn__arena_purge(tarn__arena *arena);

tarn__arena_counts tarn__arena_counts_of(const tarn__arena *arena);

#endif
