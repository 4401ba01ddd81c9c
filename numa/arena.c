/* arena.c: a jemalloc arena whose memory comes from one provider, with a cache per thread. */
#include "numa/arena.h"

#include <errno.h>
#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "numa/thread_caches.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(address, size_bytes) ((void)(address), (void)(size_bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, size_bytes) ((void)(address), (void)(size_bytes))
#endif

/* Read last, so that nothing else that jemalloc reads can win over it.
 * - retain: freed address space stays the arena's (arena.h says why).
 * - dirty_decay_ms -1: freed memory is kept until trim asks for it, so that no allocation pays for
 *   giving back; then it skips the muzzy state. No background thread: trim is the only giver.
 * - oversize_threshold 0: large blocks are kept as well.
 * - narenas 1, tcache false: the automatic arenas and caches are never used. */
extern const char *je_malloc_conf_2_conf_harder;
const char *je_malloc_conf_2_conf_harder =
    "retain:true,dirty_decay_ms:-1,muzzy_decay_ms:0,oversize_threshold:0,background_thread:false,"
    "narenas:1,tcache:false,percpu_arena:disabled,dss:disabled,metadata_thp:disabled,hpa:false,"
    "abort:false,abort_conf:false,confirm_conf:false,stats_print:false,junk:false,zero:false";

static void say_nothing(void *context, const char *message) {
  (void)context;
  (void)message;
}

/* Before jemalloc's own constructor, which is the first that could have something to say. */
__attribute__((constructor(101))) static void silence_jemalloc(void) {
  je_malloc_message = say_nothing;
}

typedef struct arena_range {
  void *address;
  size_t size_bytes;
} arena_range;

struct tarn__arena {
  extent_hooks_t hooks; /* first: jemalloc hands its address to every hook */
  unsigned index;       /* jemalloc's */
  tarn_provider *provider;
  size_t page_bytes;
  tarn__cached_arena cached;
  pthread_mutex_t lock; /* of the ranges; the innermost of all */
  arena_range *ranges;
  size_t range_count;
  size_t range_capacity;
  atomic_size_t committed_bytes;
  atomic_size_t committed_bytes_peak;
  atomic_uint_fast64_t provider_calls;
};

static void count_call(tarn__arena *arena) {
  atomic_fetch_add_explicit(&arena->provider_calls, 1, memory_order_relaxed);
}

static void add_committed(tarn__arena *arena, size_t size_bytes) {
  const size_t now =
      atomic_fetch_add_explicit(&arena->committed_bytes, size_bytes, memory_order_relaxed) +
      size_bytes;
  size_t peak = atomic_load_explicit(&arena->committed_bytes_peak, memory_order_relaxed);
  while (now > peak &&
         !atomic_compare_exchange_weak_explicit(&arena->committed_bytes_peak, &peak, now,
                                                memory_order_relaxed, memory_order_relaxed)) {
  }
}

/* Remembers a range for destroy. False where there is no memory. */
static bool add_range(tarn__arena *arena, void *address, size_t size_bytes) {
  pthread_mutex_lock(&arena->lock);
  bool is_added = arena->range_count < arena->range_capacity;
  if (!is_added) {
    const size_t capacity = arena->range_capacity == 0 ? 16 : 2 * arena->range_capacity;
    arena_range *grown = realloc(arena->ranges, capacity * sizeof *grown);
    if (grown != NULL) {
      arena->ranges = grown;
      arena->range_capacity = capacity;
      is_added = true;
    }
  }
  if (is_added) arena->ranges[arena->range_count++] = (arena_range){address, size_bytes};
  pthread_mutex_unlock(&arena->lock);
  return is_added;
}

static bool commit(tarn__arena *arena, void *address, size_t size_bytes) {
  count_call(arena);
  if (tarn_provider_commit(arena->provider, address, size_bytes) != TARN_OK) return false;
  add_committed(arena, size_bytes);
  return true;
}

/* jemalloc calls the hooks under its own locks. They return true for "no". */

static void *on_alloc(extent_hooks_t *hooks, void *wanted_address, size_t size_bytes,
                      size_t alignment_bytes, bool *is_zero, bool *is_committed, unsigned index) {
  (void)index;
  tarn__arena *const arena = (tarn__arena *)hooks;
  if (wanted_address != NULL) return NULL;
  size_t slack_bytes = arena->page_bytes; /* the guard */
  if (alignment_bytes > arena->page_bytes) slack_bytes += alignment_bytes - arena->page_bytes;
  size_t range_bytes;
  void *range;
  if (!tarn_size_add(size_bytes, slack_bytes, &range_bytes)) return NULL;
  count_call(arena);
  if (tarn_provider_reserve(arena->provider, range_bytes, &range) != TARN_OK) return NULL;
  char *const start = (char *)range + (-(uintptr_t)range & (alignment_bytes - 1));
  const bool has_all = !*is_committed || commit(arena, start, size_bytes);
  if (!has_all || !add_range(arena, range, range_bytes)) {
    if (*is_committed && has_all) {
      atomic_fetch_sub_explicit(&arena->committed_bytes, size_bytes, memory_order_relaxed);
    }
    count_call(arena);
    (void)!tarn_provider_free(arena->provider, range, range_bytes);
    return NULL;
  }
  *is_zero = (tarn_provider_attributes_of(arena->provider)->flags & TARN_PROVIDER_ZEROED) != 0;
  return start;
}

/* Keeps the addresses: jemalloc then decommits and retains them. */
static bool on_dalloc(extent_hooks_t *hooks, void *address, size_t size_bytes, bool is_committed,
                      unsigned index) {
  (void)hooks, (void)address, (void)size_bytes, (void)is_committed, (void)index;
  return true;
}

static bool on_commit(extent_hooks_t *hooks, void *address, size_t size_bytes, size_t offset_bytes,
                      size_t length_bytes, unsigned index) {
  (void)size_bytes, (void)index;
  return !commit((tarn__arena *)hooks, (char *)address + offset_bytes, length_bytes);
}

static bool on_decommit(extent_hooks_t *hooks, void *address, size_t size_bytes,
                        size_t offset_bytes, size_t length_bytes, unsigned index) {
  (void)size_bytes, (void)index;
  tarn__arena *const arena = (tarn__arena *)hooks;
  count_call(arena);
  if (tarn_provider_decommit(arena->provider, (char *)address + offset_bytes, length_bytes) !=
      TARN_OK) {
    return true;
  }
  atomic_fetch_sub_explicit(&arena->committed_bytes, length_bytes, memory_order_relaxed);
  return false;
}

/* Nothing to do: ranges never lie side by side, so what jemalloc cuts and joins is one range's. */
static bool on_split(extent_hooks_t *hooks, void *address, size_t size_bytes, size_t first_bytes,
                     size_t second_bytes, bool is_committed, unsigned index) {
  (void)hooks, (void)address, (void)size_bytes, (void)first_bytes, (void)second_bytes;
  (void)is_committed, (void)index;
  return false;
}

static bool on_merge(extent_hooks_t *hooks, void *first, size_t first_bytes, void *second,
                     size_t second_bytes, bool is_committed, unsigned index) {
  (void)hooks, (void)first, (void)first_bytes, (void)second, (void)second_bytes;
  (void)is_committed, (void)index;
  return false;
}

static tarn_status create_in_jemalloc(tarn__arena *arena) {
  arena->hooks = (extent_hooks_t){.alloc = on_alloc,
                                  .dalloc = on_dalloc,
                                  .commit = on_commit,
                                  .decommit = on_decommit,
                                  .split = on_split,
                                  .merge = on_merge};
  /* jemalloc's arena_config_t: its own records lie in its own memory, so that the provider's
   * memory is the blocks' alone, and trim can give back all of it. */
  struct {
    extent_hooks_t *hooks;
    bool metadata_use_hooks;
  } config = {.hooks = &arena->hooks, .metadata_use_hooks = false};
  size_t index_bytes = sizeof arena->index;
  const int error = je_mallctl("experimental.arenas_create_ext", &arena->index, &index_bytes,
                               &config, sizeof config);
  if (error == 0) return TARN_OK;
  return tarn_fail_native(error == EAGAIN ? TARN_NOT_SUPPORTED : TARN_SYSTEM_ERROR,
                          "experimental.arenas_create_ext", error,
                          "jemalloc makes no further arena; a process has 4094 at most");
}

static void free_ranges(tarn__arena *arena) {
  for (size_t i = 0; i < arena->range_count; ++i) {
    ASAN_UNPOISON_MEMORY_REGION(arena->ranges[i].address, arena->ranges[i].size_bytes);
    /* A refusal leaves the range lost; there is nobody to tell. */
    (void)!tarn_provider_free(arena->provider, arena->ranges[i].address,
                              arena->ranges[i].size_bytes);
  }
  free(arena->ranges);
}

tarn_status tarn__arena_create(tarn_provider *provider, tarn__arena **arena) {
  *arena = NULL;
  tarn__arena *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for an arena");
  made->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  TARN_ASSERT(attributes->granularity_bytes == made->page_bytes);
  TARN_ASSERT((attributes->flags & TARN_PROVIDER_RESERVES) != 0);
  (void)attributes;
  const tarn_status status = create_in_jemalloc(made);
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  pthread_mutex_init(&made->lock, NULL);
  tarn__cached_arena_init(&made->cached);
  made->provider = provider;
  tarn_provider_retain(provider);
  *arena = made;
  return TARN_OK;
}

static void control(const tarn__arena *arena, const char *verb) {
  char name[48];
  snprintf(name, sizeof name, "arena.%u.%s", arena->index, verb);
  const int error = je_mallctl(name, NULL, NULL, NULL, 0);
  TARN_ASSERT(error == 0);
  (void)error;
}

void tarn__arena_destroy(tarn__arena *arena) {
  if (arena == NULL) return;
  tarn__cached_arena_deinit(&arena->cached);
  control(arena, "destroy");
  free_ranges(arena);
  tarn_provider_release(arena->provider);
  pthread_mutex_destroy(&arena->lock);
  free(arena);
}

/* Never jemalloc's automatic cache: it may hold another arena's memory. */
static int flags_of(const tarn__arena *arena, const tarn__thread_cache *cache) {
  return MALLOCX_ARENA(arena->index) |
         (cache != NULL ? MALLOCX_TCACHE(cache->index) : MALLOCX_TCACHE_NONE);
}

static size_t at_least_a_line(size_t alignment_bytes) {
  return alignment_bytes > TARN__ARENA_ALIGNMENT_BYTES ? alignment_bytes
                                                       : (size_t)TARN__ARENA_ALIGNMENT_BYTES;
}

size_t tarn__arena_rounded(size_t size_bytes, size_t alignment_bytes) {
  return je_nallocx(size_bytes, MALLOCX_ALIGN(at_least_a_line(alignment_bytes)));
}

void *tarn__arena_alloc(tarn__arena *arena, size_t size_bytes, size_t alignment_bytes) {
  tarn__thread_cache *const cache = tarn__thread_cache_take(&arena->cached);
  void *const address = je_mallocx(
      size_bytes, flags_of(arena, cache) | MALLOCX_ALIGN(at_least_a_line(alignment_bytes)));
  if (cache != NULL) tarn__thread_cache_put(cache);
  /* Only what was asked for may be touched: AddressSanitizer then sees an overflow. */
  if (address != NULL) ASAN_UNPOISON_MEMORY_REGION(address, size_bytes);
  return address;
}

void tarn__arena_free(tarn__arena *arena, void *address) {
  ASAN_POISON_MEMORY_REGION(address, je_sallocx(address, 0));
  tarn__thread_cache *const cache = tarn__thread_cache_take(&arena->cached);
  je_dallocx(address, flags_of(arena, cache));
  if (cache != NULL) tarn__thread_cache_put(cache);
}

void tarn__arena_purge(tarn__arena *arena) {
  tarn__cached_arena_flush(&arena->cached);
  control(arena, "purge");
}

tarn__arena_counts tarn__arena_counts_of(const tarn__arena *arena) {
  return (tarn__arena_counts){
      .committed_bytes = atomic_load_explicit(&arena->committed_bytes, memory_order_relaxed),
      .committed_bytes_peak =
          atomic_load_explicit(&arena->committed_bytes_peak, memory_order_relaxed),
      .provider_calls = atomic_load_explicit(&arena->provider_calls, memory_order_relaxed),
  };
}
