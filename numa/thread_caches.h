/* thread_caches.h: jemalloc's explicit caches: one per thread and arena, gone with either.
 *
 * A cache may serve one thread at a time. Its own thread takes it without waiting; a thread that
 * trims takes the others' for a moment, and their threads then go uncached for that moment.
 */
#ifndef TARN_NUMA_THREAD_CACHES_H
#define TARN_NUMA_THREAD_CACHES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tarn__thread_cache tarn__thread_cache;

/* An arena's side of it. */
typedef struct tarn__cached_arena tarn__cached_arena;
struct tarn__cached_arena {
  uint64_t id;               /* never used again for another arena */
  tarn__thread_cache *first; /* of all threads; this and the next under the registry's lock */
  tarn__cached_arena *next;
};

struct tarn__thread_cache {
  tarn__cached_arena *arena; /* NULL: the arena is gone, and jemalloc's cache with it */
  uint64_t arena_id;
  unsigned index; /* jemalloc's */
  atomic_bool is_taken;
  tarn__thread_cache *next_of_arena;
  tarn__thread_cache *next_of_thread; /* only its own thread follows it */
};

void tarn__cached_arena_init(tarn__cached_arena *arena);
/* Destroys the caches of all threads for the arena. */
void tarn__cached_arena_deinit(tarn__cached_arena *arena);
/* Empties the caches of all threads into the arena. */
void tarn__cached_arena_flush(tarn__cached_arena *arena);

/* The calling thread's cache for the arena, taken; NULL where there is none (jemalloc has 4094 in a
 * process, memory is short, the thread is about to end) or somebody flushes it: go uncached
 * then. */
tarn__thread_cache *tarn__thread_cache_take(tarn__cached_arena *arena);
void tarn__thread_cache_put(tarn__thread_cache *cache);

#endif
