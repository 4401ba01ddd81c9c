/* arena.h: jemalloc arenas whose memory comes from one provider.
 *
 *     provider range   |<-------------- reserved, never given back before destroy ------->|guard|
 *     jemalloc         |  active  |   dirty (kept)   |  retained: decommitted or never used |
 *     committed_bytes  |<----------- counted ------->|
 *     shadow.h         |  words for every block that is out of the arena                    |
 *
 * jemalloc may not unmap a range while another arena could map beside it: its retained extents are
 * decommitted, and whole ranges are given back when the arena goes. Ranges begin on a cell of the
 * shadow, and a guard keeps two of them from ever being neighbours, which jemalloc would join.
 *
 * Of a provider whose granules are larger than jemalloc's pages, a granule is committed as long as
 * one of its pages is.
 */
#ifndef TARN_NUMA_ARENA_H
#define TARN_NUMA_ARENA_H

#include "alloc/tarn_provider.h"

enum {
  TARN__ARENA_ALIGNMENT_BYTES = 64, /* of every block: a cache line */
  TARN__ARENA_PARTS_MAX = 64,
};

typedef struct tarn__arena tarn__arena;

typedef struct tarn__arena_counts {
  size_t committed_bytes;
  size_t committed_bytes_peak;
  uint64_t provider_calls;
} tarn__arena_counts;

/* What jemalloc itself says of the arena, in bytes. */
typedef struct tarn__arena_report {
  size_t small_bytes; /* out of the arena, with what jemalloc's thread caches hold */
  size_t large_bytes;
  size_t active_bytes; /* pages that hold these */
  size_t dirty_bytes;  /* pages kept for reuse */
  size_t retained_bytes;
  size_t metadata_bytes;
} tarn__arena_report;

/* Retains `provider`, which must reserve. part_count: jemalloc's arenas in it, 1 to
 * TARN__ARENA_PARTS_MAX. No more than limit_bytes are committed; 0: no limit. TARN_NOT_SUPPORTED
 * where jemalloc has no more arenas (4094 in a process). */
tarn_status tarn__arena_create(tarn_provider *provider, unsigned part_count, size_t limit_bytes,
                               tarn__arena **arena);
/* No block is out and no cache left, and no thread is inside of a call. NULL does nothing. */
void tarn__arena_destroy(tarn__arena *arena);

/* In a child of fork, before any call. Where the provider's memory is the parent's alone, the arena
 * is left behind: nothing is committed or given back any more. */
void tarn__arena_enter_child(tarn__arena *arena);
bool tarn__arena_is_left_behind(const tarn__arena *arena);

/* What a block of size_bytes really takes; 0 where no block can be so large. */
size_t tarn__arena_rounded(size_t size_bytes, size_t alignment_bytes);

/* One of jemalloc's explicit caches, for one thread at a time. TARN__NO_CACHE where jemalloc makes
 * none (4094 in a process). */
typedef int tarn__arena_cache;
#define TARN__NO_CACHE (-1)
tarn__arena_cache tarn__arena_cache_create(void);
/* Both give back what it holds. TARN__NO_CACHE does nothing. */
void tarn__arena_cache_flush(tarn__arena_cache cache);
void tarn__arena_cache_destroy(tarn__arena_cache cache);

/* A block that is not lent yet: its shadow says so, and all of it is poisoned. NULL where the
 * provider has no more. `part` is any number: threads with another one meet less often.
 * alignment_bytes is 0 or a power of two. */
void *tarn__arena_alloc(tarn__arena *arena, unsigned part, tarn__arena_cache cache,
                        size_t size_bytes, size_t alignment_bytes);
/* Takes it back the same way. size_class: as its shadow has it. */
void tarn__arena_free(tarn__arena *arena, tarn__arena_cache cache, void *address,
                      unsigned size_class);

/* Decommits all that is idle; what caches hold is not. Waits for another thread's purge. */
void tarn__arena_purge(tarn__arena *arena);

/* Around a fork, before jemalloc's own handlers and after them: no purge is under way. In its midst
 * jemalloc has pages on no list, and its child would neither lend nor purge them. */
void tarn__arena_stop_purges(tarn__arena *arena);
void tarn__arena_allow_purges(tarn__arena *arena);
/* The same between jemalloc's handlers and those of alloc/: no hook has anything half changed. */
void tarn__arena_lock(tarn__arena *arena);
void tarn__arena_unlock(tarn__arena *arena);

tarn__arena_counts tarn__arena_counts_of(const tarn__arena *arena);
/* Takes some microseconds per arena of the process. */
tarn_status tarn__arena_report_of(const tarn__arena *arena, tarn__arena_report *report);

#endif
