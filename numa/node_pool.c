/* node_pool.c: jemalloc arenas over one provider's pages as a pool in stream order. */
#include "numa/tarn_node_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "numa/front.h"
#include "numa/held_blocks.h"
#include "numa/tarn_node_provider.h"

static const uint64_t DEFAULT_DECAY_NS = UINT64_C(10) * 1000 * 1000 * 1000;
/* An arena per so many processors. */
enum { PROCESSORS_PER_ARENA = 8, DEFAULT_ARENAS_MAX = 8 };
/* What was idle for a whole window goes back if it is more than this part of all. */
enum { DECAY_SHARE = 8 };

typedef struct node_pool node_pool;
struct node_pool {
  tarn__fronts fronts; /* first: the fast path is near */
  node_pool *next;     /* of all pools */
  tarn_pool *handle;
  tarn__arena *arena;
  tarn_provider *provider;
  uint32_t arena_count;
  size_t machine_bytes;
  tarn__used_blocks used;
  tarn__held_blocks held;
  atomic_size_t held_bytes;
  atomic_uint_fast64_t out_of_memory_count;
  /* Under the lock of the fronts. */
  tarn_pool *closing; /* no handle may be left: the pool ends with its last block */
  bool has_ended;
  uint64_t decay_ns;
  uint64_t window_start_ns;
  bool has_window;
};

/* All pools of the process, for fork. Ranks before the locks of the pools. */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static node_pool *all_pools;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_forking; /* under all_lock */

static void before_fork(void) {
  pthread_mutex_lock(&all_lock);
  is_forking = true;
  tarn__fronts_lock_all();
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    tarn__used_blocks_lock(&pool->used);
    tarn__held_blocks_lock(&pool->held);
    if (pool->arena != NULL) tarn__arena_stop_purges(pool->arena);
  }
}

static void after_fork(void) {
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    if (pool->arena != NULL) tarn__arena_allow_purges(pool->arena);
    tarn__held_blocks_unlock(&pool->held);
    tarn__used_blocks_unlock(&pool->used);
  }
  tarn__fronts_unlock_all();
  is_forking = false;
  pthread_mutex_unlock(&all_lock);
}

/* The quick path keeps off what is the parent's alone: those fronts stay closed. */
static void close_fronts_left_behind(void) {
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    if (pool->arena == NULL || !tarn__arena_is_left_behind(pool->arena)) continue;
    pthread_mutex_lock(&pool->fronts.lock);
    tarn__fronts_close(&pool->fronts);
    pthread_mutex_unlock(&pool->fronts.lock);
  }
}

static void after_fork_in_child(void) {
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    if (pool->arena != NULL) {
      tarn__arena_allow_purges(pool->arena);
      tarn__arena_enter_child(pool->arena);
    }
    tarn__held_blocks_unlock_in_child(&pool->held);
    tarn__used_blocks_unlock(&pool->used);
  }
  tarn__fronts_unlock_all_in_child();
  close_fronts_left_behind();
  is_forking = false;
  pthread_mutex_unlock(&all_lock);
}

static void watch_forks(void) {
  /* jemalloc registered its own handlers when it was loaded, so that these locks are taken first.
   */
  (void)pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

/* What is locked under jemalloc's locks. */
static void lock_arenas(void) {
  if (!is_forking) return; /* the first pool is only just being made */
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    if (pool->arena != NULL) tarn__arena_lock(pool->arena);
  }
}

static void unlock_arenas(void) {
  if (!is_forking) return;
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    if (pool->arena != NULL) tarn__arena_unlock(pool->arena);
  }
}

/* Handlers run the last one registered first: these are registered before jemalloc's, and after
 * those of alloc/, whose locks rank behind them. */
__attribute__((constructor(103))) static void watch_forks_early(void) {
  (void)pthread_atfork(lock_arenas, unlock_arenas, unlock_arenas);
}

static void add_to_all(node_pool *self) {
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&all_lock);
  self->next = all_pools;
  all_pools = self;
  pthread_mutex_unlock(&all_lock);
}

static void remove_from_all(node_pool *self) {
  pthread_mutex_lock(&all_lock);
  node_pool **link = &all_pools;
  while (*link != self) link = &(*link)->next;
  *link = self->next;
  pthread_mutex_unlock(&all_lock);
}

static tarn_status check_process(const node_pool *self) {
  if (!tarn__arena_is_left_behind(self->arena)) return TARN_OK;
  return tarn_fail(TARN_UNAVAILABLE,
                   "pool %s: after a fork its memory is the parent process's alone",
                   tarn_pool_name(self->handle));
}

static tarn_status pool_attributes(void *context, tarn_pool_attributes *attributes) {
  const node_pool *self = context;
  const tarn_provider_attributes *memory = tarn_provider_attributes_of(self->provider);
  attributes->device = memory->device;
  attributes->alignment_bytes = TARN__ARENA_ALIGNMENT_BYTES;
  attributes->node = memory->node;
  return TARN_OK;
}

/* --- what is given back --- */

/* A block that is neither lent nor held any more, by anybody. */
static void give_to_arena(node_pool *self, void *address, unsigned size_class) {
  tarn_poison(address, tarn__class_bytes(size_class));
  tarn__arena_free(self->arena, TARN__NO_CACHE, address, size_class);
}

/* Gives back to the arena what was held and is no longer. */
static void free_held(node_pool *self, tarn__held_block *blocks) {
  while (blocks != NULL) {
    tarn__held_block *const next = blocks->next;
    const unsigned size_class = blocks->block.size_class;
    give_to_arena(self, blocks->block.address, size_class);
    atomic_fetch_sub_explicit(&self->held_bytes, tarn__class_bytes(size_class),
                              memory_order_relaxed);
    tarn__block_uses_free(blocks->block.uses);
    free(blocks);
    blocks = next;
  }
}

static void reap(node_pool *self, bool waits) {
  if (!tarn__held_blocks_any(&self->held)) return;
  free_held(self, tarn__held_blocks_reap(&self->held, waits));
}

/* Idle blocks of other sizes and threads are memory that the provider may give out again. */
static void give_back_idle(node_pool *self) {
  pthread_mutex_lock(&self->fronts.lock);
  tarn__fronts_close(&self->fronts);
  tarn__fronts_drain(&self->fronts);
  tarn__fronts_open(&self->fronts);
  pthread_mutex_unlock(&self->fronts.lock);
  tarn__arena_purge(self->arena);
}

/* --- alloc --- */

static tarn_status fail_out_of_memory(node_pool *self, size_t size_bytes) {
  atomic_fetch_add_explicit(&self->out_of_memory_count, 1, memory_order_relaxed);
  return tarn_fail(
      TARN_OUT_OF_MEMORY,
      "pool %s has no %zu bytes left: %zu are lent out, %zu wait for a stream, %zu are reserved",
      tarn_pool_name(self->handle), size_bytes, tarn__count_load(&self->fronts.allocated_sum),
      tarn__count_load(&self->held_bytes), tarn__arena_counts_of(self->arena).committed_bytes);
}

/* For a thread without a front, or that finds it closed. */
static void *lend_without_front(node_pool *self, size_t size_bytes, size_t alignment_bytes) {
  const unsigned part = (unsigned)(tarn__front_thread() / 4096);
  void *address = tarn__arena_alloc(self->arena, part, TARN__NO_CACHE, size_bytes, alignment_bytes);
  if (address == NULL) return NULL;
  const tarn__found found = tarn__shadow_look(tarn__shadow_find(address), address);
  tarn__slot_lend(found.word, found.size_class, size_bytes);
  tarn_poison_lend(address, size_bytes);
  pthread_mutex_lock(&self->fronts.lock);
  if (self->has_ended) {
    /* The caller has a handle, and with this block the pool keeps itself once more. */
    tarn_pool_retain(self->closing);
    self->has_ended = false;
  }
  tarn__fronts_count_alloc(&self->fronts, size_bytes, tarn__class_bytes(found.size_class));
  pthread_mutex_unlock(&self->fronts.lock);
  return address;
}

static void *lend(node_pool *self, size_t size_bytes, size_t alignment_bytes) {
  tarn__front *front = tarn__front_of_thread(&self->fronts);
  if (front == NULL || !tarn__front_enter_slowly(front)) {
    return lend_without_front(self, size_bytes, alignment_bytes);
  }
  void *address = alignment_bytes > TARN__ARENA_ALIGNMENT_BYTES
                      ? tarn__front_get_aligned(front, size_bytes, alignment_bytes)
                      : tarn__front_get(front, tarn__class_of(size_bytes));
  if (address != NULL) {
    const tarn__found found = tarn__shadow_look(tarn__shadow_find(address), address);
    tarn__front_lend(front, address, found.word, found.size_class, size_bytes);
    tarn__front_publish(front);
  }
  tarn__front_leave(front);
  return address;
}

/* Tries what the arena has, then what lies idle elsewhere, then what streams will pass. */
static __attribute__((noinline)) tarn_status alloc_slowly(node_pool *self, size_t size_bytes,
                                                          size_t alignment_bytes, void **address) {
  const tarn_status there = check_process(self);
  if (there != TARN_OK) return there;
  tarn__front *front = tarn__front_of_thread(&self->fronts); /* it may have found no place */
  if (front != NULL && alignment_bytes <= TARN__ARENA_ALIGNMENT_BYTES &&
      tarn__front_alloc(front, size_bytes, address)) {
    return TARN_OK;
  }
  const size_t rounded_bytes = tarn__arena_rounded(size_bytes, alignment_bytes);
  if (rounded_bytes == 0) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes aligned to %zu are beyond any block of jemalloc's",
                     size_bytes, alignment_bytes);
  }
  /* Asking jemalloc for more than the machine has would take address space at every try. */
  if (rounded_bytes > self->machine_bytes) return fail_out_of_memory(self, size_bytes);
  reap(self, /*waits=*/false);
  *address = lend(self, size_bytes, alignment_bytes);
  if (*address != NULL) return TARN_OK;
  give_back_idle(self);
  *address = lend(self, size_bytes, alignment_bytes);
  if (*address != NULL) return TARN_OK;
  reap(self, /*waits=*/true);
  give_back_idle(self);
  *address = lend(self, size_bytes, alignment_bytes);
  return *address != NULL ? TARN_OK : fail_out_of_memory(self, size_bytes);
}

static tarn_status pool_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                              tarn_stream *stream, void **address) {
  (void)stream; /* what is not held any more is anybody's, the CPU's too */
  node_pool *self = context;
  tarn__front *front;
  if (tarn__is_likely(tarn__front_is_here(&self->fronts, &front)) &&
      tarn__is_likely(alignment_bytes <= TARN__ARENA_ALIGNMENT_BYTES) &&
      tarn__is_likely(tarn__front_alloc(front, size_bytes, address))) {
    return TARN_OK;
  }
  return alloc_slowly(self, size_bytes, alignment_bytes, address);
}

/* --- free --- */

/* Holds the block until its streams have passed. Without memory to remember that, waits for them at
 * once: the block is then free when this returns. */
static void hold(node_pool *self, tarn__freed_block *block, tarn_stream *stream) {
  const size_t block_bytes = tarn__class_bytes(block->size_class);
  const bool is_known =
      tarn_stream_is_synchronous(stream) || tarn__block_uses_add(&block->uses, stream);
  atomic_fetch_add_explicit(&self->held_bytes, block_bytes, memory_order_relaxed);
  if (is_known && block->uses != NULL && tarn__held_blocks_add(&self->held, block)) return;
  if (!is_known) (void)!tarn_stream_synchronize(stream);
  for (tarn__block_use *use = block->uses; use != NULL; use = use->next) {
    (void)!tarn_stream_synchronize(use->stream);
  }
  tarn__block_uses_free(block->uses);
  give_to_arena(self, block->address, block->size_class);
  atomic_fetch_sub_explicit(&self->held_bytes, block_bytes, memory_order_relaxed);
}

/* True once when no block is out: then the pool's reference to itself goes. With the lock of the
 * fronts, and these closed or the caller's count the last that was missing. */
static bool may_end(node_pool *self) {
  if (self->closing == NULL || self->has_ended) return false;
  uint64_t alloc_count, free_count;
  tarn__fronts_count(&self->fronts, &alloc_count, &free_count);
  self->has_ended = alloc_count == free_count;
  return self->has_ended;
}

/* The last that is done with the block. The pool may be gone then. */
static void count_free_without_front(node_pool *self, size_t requested_bytes, size_t block_bytes) {
  pthread_mutex_lock(&self->fronts.lock);
  tarn__fronts_count_free(&self->fronts, requested_bytes, block_bytes);
  tarn_pool *ended = may_end(self) ? self->closing : NULL;
  pthread_mutex_unlock(&self->fronts.lock);
  if (ended != NULL) tarn_pool_end(ended);
}

static void free_found(node_pool *self, void *address, const tarn__found *found) {
  tarn__front *front = tarn__front_of_thread(&self->fronts);
  const size_t block_bytes = tarn__class_bytes(found->size_class);
  if (front != NULL && tarn__front_enter_slowly(front)) {
    tarn__front_take(front, address, found, block_bytes);
    tarn__front_put(front, address, found->word, found->size_class);
    tarn__front_publish(front);
    tarn__front_leave(front);
    return;
  }
  tarn__slot_take(found->word, found->size_class);
  give_to_arena(self, address, found->size_class);
  count_free_without_front(self, found->requested_bytes, block_bytes);
}

/* Until it is counted, the block keeps the pool. */
static void hold_found(node_pool *self, void *address, const tarn__found *found,
                       tarn_stream *stream) {
  tarn__slot_take(found->word, found->size_class);
  tarn__freed_block block = {.address = address, .size_class = found->size_class};
  if (found->is_used) block.uses = tarn__used_blocks_take(&self->used, address);
  hold(self, &block, stream);
  const size_t block_bytes = tarn__class_bytes(found->size_class);
  tarn__front *front = tarn__front_of_thread(&self->fronts);
  if (front != NULL && tarn__front_enter_slowly(front)) {
    tarn__front_count_away(front, found->requested_bytes, block_bytes);
    tarn__front_publish(front);
    tarn__front_leave(front);
    return;
  }
  count_free_without_front(self, found->requested_bytes, block_bytes);
}

static __attribute__((noinline)) tarn_status free_slowly(node_pool *self, void *address,
                                                         tarn_stream *stream) {
  const bool is_synchronous = tarn_stream_is_synchronous(stream);
  tarn__front *front = tarn__front_of_thread(&self->fronts); /* it may have found no place */
  if (is_synchronous && front != NULL && tarn__front_free(front, address)) return TARN_OK;
  const tarn__shadow *shadow = tarn__shadow_find(address);
  tarn__found found = {0};
  if (shadow != NULL && shadow->owner == self->arena) found = tarn__shadow_look(shadow, address);
  if (found.requested_bytes == 0) {
    return tarn_fail(TARN_NOT_FOUND, "pool %s has not lent out %p, or it was freed already",
                     tarn_pool_name(self->handle), address);
  }
  if (!found.is_used && is_synchronous) {
    free_found(self, address, &found);
  } else {
    hold_found(self, address, &found, stream);
  }
  return TARN_OK;
}

static tarn_status pool_free(void *context, void *address, tarn_stream *stream) {
  node_pool *self = context;
  tarn__front *front;
  if (tarn__is_likely(stream == NULL) &&
      tarn__is_likely(tarn__front_is_here(&self->fronts, &front)) &&
      tarn__is_likely(tarn__front_free(front, address))) {
    return TARN_OK;
  }
  return free_slowly(self, address, stream);
}

static tarn_status pool_note_use(void *context, void *address, tarn_stream *stream) {
  node_pool *self = context;
  tarn__shadow *shadow = tarn__shadow_find(address);
  const void *start = shadow != NULL && shadow->owner == self->arena
                          ? tarn__shadow_start_of(shadow, address)
                          : NULL;
  if (start == NULL) {
    return tarn_fail(TARN_NOT_FOUND, "no block that pool %s has lent out holds %p",
                     tarn_pool_name(self->handle), address);
  }
  if (!tarn__used_blocks_note(&self->used, start, stream)) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note a use of %p", address);
  }
  tarn__shadow_mark_used(shadow, start);
  return TARN_OK;
}

static tarn_status pool_size_of(void *context, const void *address, size_t *size_bytes) {
  node_pool *self = context;
  const tarn__shadow *shadow = tarn__shadow_find(address);
  if (shadow != NULL && shadow->owner == self->arena) {
    *size_bytes = tarn__shadow_look(shadow, address).requested_bytes;
  }
  if (*size_bytes != 0) return TARN_OK;
  return tarn_fail(TARN_NOT_FOUND, "pool %s has not lent out %p", tarn_pool_name(self->handle),
                   address);
}

/* --- the rest --- */

static size_t give_back_committed(node_pool *self) {
  const size_t before = tarn__arena_counts_of(self->arena).committed_bytes;
  give_back_idle(self);
  const size_t after = tarn__arena_counts_of(self->arena).committed_bytes;
  return before > after ? before - after : 0;
}

static tarn_status pool_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  node_pool *self = context;
  const tarn_status there = check_process(self);
  if (there != TARN_OK) return there;
  reap(self, /*waits=*/false);
  if (tarn__arena_counts_of(self->arena).committed_bytes <= keep_bytes) return TARN_OK;
  *released_bytes = give_back_committed(self);
  return TARN_OK;
}

/* True at the end of a window that much of the memory was not needed in; then the next begins. */
static bool has_idled(node_pool *self, uint64_t now_ns) {
  const bool is_over = self->has_window && now_ns >= self->window_start_ns &&
                       now_ns - self->window_start_ns >= self->decay_ns;
  if (self->has_window && !is_over) return false;
  self->window_start_ns = now_ns;
  self->has_window = true;
  tarn__fronts_close(&self->fronts);
  (void)tarn__fronts_settle(&self->fronts);
  tarn__fronts_open(&self->fronts);
  const size_t needed_bytes =
      tarn__fronts_take_peak(&self->fronts) + tarn__count_load(&self->held_bytes);
  const size_t committed_bytes = tarn__arena_counts_of(self->arena).committed_bytes;
  if (!is_over || committed_bytes <= needed_bytes) return false;
  return needed_bytes == 0 || committed_bytes - needed_bytes > committed_bytes / DECAY_SHARE;
}

static tarn_status pool_decay(void *context, uint64_t now_ns, size_t *released_bytes) {
  node_pool *self = context;
  const tarn_status there = check_process(self);
  if (there != TARN_OK) return there;
  reap(self, /*waits=*/false);
  pthread_mutex_lock(&self->fronts.lock);
  const bool gives_back = has_idled(self, now_ns);
  pthread_mutex_unlock(&self->fronts.lock);
  if (gives_back) *released_bytes = give_back_committed(self);
  return TARN_OK;
}

/* With the fronts settled. */
static void copy_stats(const node_pool *self, tarn_pool_stats *stats) {
  const tarn__fronts *fronts = &self->fronts;
  stats->requested_bytes = tarn__count_load(&fronts->requested_sum);
  stats->allocated_bytes = tarn__count_load(&fronts->allocated_sum);
  stats->requested_bytes_peak = tarn__count_load(&fronts->requested_peak);
  stats->allocated_bytes_peak = tarn__count_load(&fronts->allocated_peak);
  tarn__fronts_count(fronts, &stats->alloc_count, &stats->free_count);
}

static tarn_status pool_stats(void *context, tarn_pool_stats *stats) {
  node_pool *self = context;
  reap(self, /*waits=*/false);
  pthread_mutex_lock(&self->fronts.lock);
  tarn__fronts_close(&self->fronts);
  (void)tarn__fronts_settle(&self->fronts);
  copy_stats(self, stats);
  tarn__fronts_open(&self->fronts);
  pthread_mutex_unlock(&self->fronts.lock);
  const tarn__arena_counts counts = tarn__arena_counts_of(self->arena);
  stats->active_bytes = stats->allocated_bytes + tarn__count_load(&self->held_bytes);
  stats->reserved_bytes = counts.committed_bytes;
  stats->reserved_bytes_peak = counts.committed_bytes_peak;
  stats->provider_calls = counts.provider_calls;
  stats->fence_count = atomic_load(&self->held.fence_count);
  stats->wait_count = atomic_load(&self->held.wait_count);
  stats->out_of_memory_count = atomic_load(&self->out_of_memory_count);
  return TARN_OK;
}

static void fill_stats(node_pool *self, const tarn__arena_report *report,
                       tarn_node_pool_stats *stats) {
  const size_t out_bytes = report->small_bytes + report->large_bytes;
  stats->arena_count = self->arena_count;
  stats->lent_bytes = tarn__count_load(&self->fronts.allocated_sum);
  stats->held_bytes = tarn__count_load(&self->held_bytes);
  const size_t known_bytes = stats->lent_bytes + stats->held_bytes + stats->kept_bytes;
  stats->cached_bytes = out_bytes > known_bytes ? out_bytes - known_bytes : 0;
  stats->small_bytes = report->small_bytes;
  stats->large_bytes = report->large_bytes;
  stats->active_bytes = report->active_bytes;
  stats->dirty_bytes = report->dirty_bytes;
  stats->retained_bytes = report->retained_bytes;
  stats->metadata_bytes = report->metadata_bytes;
  stats->committed_bytes = tarn__arena_counts_of(self->arena).committed_bytes;
}

/* NULL for a pool of another kind. The caller's handle keeps what is found. */
static node_pool *find_pool(const tarn_pool *handle) {
  pthread_mutex_lock(&all_lock);
  node_pool *found = all_pools;
  while (found != NULL && found->handle != handle) found = found->next;
  pthread_mutex_unlock(&all_lock);
  return found;
}

tarn_status tarn_node_pool_stats_of(tarn_pool *pool, tarn_node_pool_stats *stats) {
  if (stats == NULL || stats->struct_size != sizeof *stats) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_node_pool_stats with struct_size %zu is needed",
                     sizeof *stats);
  }
  *stats = (tarn_node_pool_stats){.struct_size = sizeof *stats};
  node_pool *self = pool == NULL ? NULL : find_pool(pool);
  if (self == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "this is not a node pool");
  reap(self, /*waits=*/false);
  tarn__arena_report report;
  pthread_mutex_lock(&self->fronts.lock);
  tarn__fronts_close(&self->fronts);
  stats->kept_bytes = tarn__fronts_settle(&self->fronts);
  const tarn_status status = tarn__arena_report_of(self->arena, &report);
  if (status == TARN_OK) {
    fill_stats(self, &report, stats);
  } else {
    stats->kept_bytes = 0;
  }
  tarn__fronts_open(&self->fronts);
  pthread_mutex_unlock(&self->fronts.lock);
  return status;
}

/* Threads keep nothing any more, so every free is seen with the lock, and with it the last one. */
static void pool_close(void *context, tarn_pool *pool) {
  node_pool *self = context;
  pthread_mutex_lock(&self->fronts.lock);
  if (self->closing == NULL) {
    tarn__fronts_close(&self->fronts);
    tarn__fronts_drain(&self->fronts);
  }
  self->closing = pool;
  const bool ends = may_end(self);
  pthread_mutex_unlock(&self->fronts.lock);
  if (ends) tarn_pool_end(pool);
}

/* A stream that cannot be waited for has lost its device: nothing of it can still be running. */
static void pool_destroy(void *context) {
  node_pool *self = context;
  reap(self, /*waits=*/true);
  free_held(self, tarn__held_blocks_take_all(&self->held));
  remove_from_all(self);
  tarn__fronts_deinit(&self->fronts);
  tarn__held_blocks_deinit(&self->held);
  tarn__used_blocks_deinit(&self->used);
  tarn__arena_destroy(self->arena);
  tarn_provider_release(self->provider);
  free(self);
}

/* --- create --- */

static tarn_status check_options(const tarn_topology *topology,
                                 const tarn_node_pool_options *options) {
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_node_pool_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  if (options->arena_count > TARN_NODE_POOL_ARENAS_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%u arenas are more than the %d of a pool",
                     options->arena_count, TARN_NODE_POOL_ARENAS_MAX);
  }
  if (options->provider == NULL) {
    if (topology != NULL) return TARN_OK;
    return tarn_fail(TARN_INVALID_ARGUMENT, "a node pool needs a topology or a provider");
  }
  const tarn_provider_attributes *memory = tarn_provider_attributes_of(options->provider);
  if (memory->device.type != TARN_DEVICE_CPU || (memory->flags & TARN_PROVIDER_RESERVES) == 0) {
    return tarn_fail(TARN_NOT_SUPPORTED, "provider %s %s", tarn_provider_name(options->provider),
                     memory->device.type != TARN_DEVICE_CPU ? "is not the host's memory"
                                                            : "reserves no address space");
  }
  return TARN_OK;
}

/* jemalloc works in pages; huge ones are the kernel's to find. */
static tarn_status make_provider(tarn_topology *topology, const tarn_node_pool_options *options,
                                 tarn_provider **provider) {
  if (options->provider != NULL) {
    *provider = options->provider;
    tarn_provider_retain(*provider);
    return TARN_OK;
  }
  tarn_node_options pages = tarn_node_options_on(options->node);
  pages.granularity_bytes = (size_t)sysconf(_SC_PAGESIZE);
  return tarn_node_provider_create(topology, &pages, provider);
}

static uint32_t arena_count_of(const tarn_node_pool_options *options) {
  if (options->arena_count != 0) return options->arena_count;
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  const long count = (processors + PROCESSORS_PER_ARENA - 1) / PROCESSORS_PER_ARENA;
  return count < 1 ? 1 : count > DEFAULT_ARENAS_MAX ? DEFAULT_ARENAS_MAX : (uint32_t)count;
}

static size_t bytes_of_machine(void) {
  const long page_count = sysconf(_SC_PHYS_PAGES);
  return page_count > 0 ? (size_t)page_count * (size_t)sysconf(_SC_PAGESIZE) : SIZE_MAX;
}

static tarn_status make_handle(node_pool *self, const tarn_node_pool_options *options) {
  char name[64];
  if (options->name != NULL) {
    snprintf(name, sizeof name, "%s", options->name);
  } else if (options->provider != NULL) {
    snprintf(name, sizeof name, "jemalloc:%s", tarn_provider_name(options->provider));
  } else {
    snprintf(name, sizeof name, "jemalloc:%d", options->node);
  }
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = name,
                             .attributes = pool_attributes,
                             .alloc = pool_alloc,
                             .free = pool_free,
                             .note_use = pool_note_use,
                             .trim = pool_trim,
                             .stats = pool_stats,
                             .destroy = pool_destroy,
                             .close = pool_close,
                             .decay = pool_decay,
                             .size_of = pool_size_of};
  tarn_pool *handle = NULL;
  const tarn_status status = tarn_pool_create(&ops, self, &handle);
  pthread_mutex_lock(&all_lock); /* find_pool may be looking */
  self->handle = handle;
  pthread_mutex_unlock(&all_lock);
  return status;
}

tarn_status tarn_node_pool_create(tarn_topology *topology, const tarn_node_pool_options *options,
                                  tarn_pool **pool) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  const tarn_node_pool_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = check_options(topology, options);
  if (status != TARN_OK) return status;
  node_pool *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a node pool");
  self->decay_ns = options->decay_ns != 0 ? options->decay_ns : DEFAULT_DECAY_NS;
  self->machine_bytes = bytes_of_machine();
  self->arena_count = arena_count_of(options);
  status = make_provider(topology, options, &self->provider);
  if (status == TARN_OK) {
    status =
        tarn__arena_create(self->provider, self->arena_count, options->limit_bytes, &self->arena);
  }
  tarn__used_blocks_init(&self->used);
  tarn__held_blocks_init(&self->held);
  tarn__fronts_init(&self->fronts, self->arena);
  add_to_all(self);
  if (status == TARN_OK) status = make_handle(self, options);
  if (status != TARN_OK) {
    pool_destroy(self);
    return status;
  }
  *pool = self->handle;
  return TARN_OK;
}
