/* node_pool.c: a jemalloc arena over one node's pages as a pool in stream order. */
#include "numa/arena.h"
#include "numa/held_blocks.h"
#include "numa/live_blocks.h"
#include "numa/tarn_node_pool.h"
#include "numa/tarn_node_provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct peak_counter {
  atomic_size_t now;
  atomic_size_t peak;
} peak_counter;

typedef struct node_pool node_pool;
struct node_pool {
  node_pool *next; /* of all pools */
  tarn__arena *arena;
  int32_t node;
  tarn__live_blocks live;
  tarn__held_blocks held;
  peak_counter requested_bytes;
  peak_counter allocated_bytes;
  atomic_size_t held_bytes;
  atomic_uint_fast64_t alloc_count;
  atomic_uint_fast64_t free_count;
  atomic_uint_fast64_t out_of_memory_count;
};

/* All pools of the process, for fork. Ranks before the locks of the pools. */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static node_pool *all_pools;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void) {
  pthread_mutex_lock(&all_lock);
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    tarn__live_blocks_lock(&pool->live);
    tarn__held_blocks_lock(&pool->held);
  }
}

static void after_fork(void) {
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    tarn__held_blocks_unlock(&pool->held);
    tarn__live_blocks_unlock(&pool->live);
  }
  pthread_mutex_unlock(&all_lock);
}

static void after_fork_in_child(void) {
  for (node_pool *pool = all_pools; pool != NULL; pool = pool->next) {
    tarn__held_blocks_unlock_in_child(&pool->held);
    tarn__live_blocks_unlock(&pool->live);
  }
  pthread_mutex_unlock(&all_lock);
}

static void watch_forks(void) {
  (void)pthread_atfork(before_fork, after_fork, after_fork_in_child);
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

static void counter_add(peak_counter *counter, size_t bytes) {
  const size_t now = atomic_fetch_add_explicit(&counter->now, bytes, memory_order_relaxed) + bytes;
  size_t peak = atomic_load_explicit(&counter->peak, memory_order_relaxed);
  while (now > peak &&
         !atomic_compare_exchange_weak_explicit(&counter->peak, &peak, now, memory_order_relaxed,
                                                memory_order_relaxed)) {
  }
}

static void counter_subtract(peak_counter *counter, size_t bytes) {
  atomic_fetch_sub_explicit(&counter->now, bytes, memory_order_relaxed);
}

static tarn_status pool_attributes(void *context, tarn_pool_attributes *attributes) {
  const node_pool *self = context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->alignment_bytes = TARN__ARENA_ALIGNMENT_BYTES;
  attributes->node = self->node;
  return TARN_OK;
}

/* Gives back to the arena what was held and is no longer. */
static void free_held(node_pool *self, tarn__held_block *blocks) {
  while (blocks != NULL) {
    tarn__held_block *const next = blocks->next;
    tarn__arena_free(self->arena, blocks->block.address);
    atomic_fetch_sub_explicit(&self->held_bytes, blocks->block.rounded_bytes, memory_order_relaxed);
    tarn__block_uses_free(blocks->block.uses);
    free(blocks);
    blocks = next;
  }
}

static void reap(node_pool *self, bool waits) {
  if (!tarn__held_blocks_any(&self->held)) return;
  free_held(self, tarn__held_blocks_reap(&self->held, waits));
}

/* What has no memory: tries what the arena has, then what streams have passed by now, then what
 * they will pass, then what lies idle elsewhere in the arena. */
static void *alloc_from_arena(node_pool *self, size_t size_bytes, size_t alignment_bytes) {
  reap(self, /*waits=*/false);
  void *address = tarn__arena_alloc(self->arena, size_bytes, alignment_bytes);
  if (address != NULL) return address;
  reap(self, /*waits=*/true);
  /* Idle blocks of other sizes and threads are memory that the provider may give out again. */
  tarn__arena_purge(self->arena);
  return tarn__arena_alloc(self->arena, size_bytes, alignment_bytes);
}

static tarn_status fail_out_of_memory(node_pool *self, size_t size_bytes) {
  atomic_fetch_add_explicit(&self->out_of_memory_count, 1, memory_order_relaxed);
  return tarn_fail(
      TARN_OUT_OF_MEMORY,
      "node %d has no %zu bytes left: %zu are lent out, %zu wait for a stream, %zu are reserved",
      self->node, size_bytes,
      atomic_load_explicit(&self->allocated_bytes.now, memory_order_relaxed),
      atomic_load_explicit(&self->held_bytes, memory_order_relaxed),
      tarn__arena_counts_of(self->arena).committed_bytes);
}

/* More than the machine has cannot be had from one of its nodes. Asking jemalloc would take address
 * space at every try. */
static bool is_beyond_the_machine(size_t size_bytes) {
  const long page_count = sysconf(_SC_PHYS_PAGES);
  return page_count > 0 && size_bytes / (size_t)sysconf(_SC_PAGESIZE) > (size_t)page_count;
}

static tarn_status pool_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                              tarn_stream *stream, void **address) {
  (void)stream; /* what is not held any more is anybody's, the CPU's too */
  node_pool *self = context;
  tarn__live_block block = {.requested_bytes = size_bytes,
                            .rounded_bytes = tarn__arena_rounded(size_bytes, alignment_bytes)};
  if (block.rounded_bytes == 0) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes aligned to %zu are beyond any block of jemalloc's",
                     size_bytes, alignment_bytes);
  }
  if (is_beyond_the_machine(block.rounded_bytes)) return fail_out_of_memory(self, size_bytes);
  block.address = alloc_from_arena(self, size_bytes, alignment_bytes);
  if (block.address == NULL) return fail_out_of_memory(self, size_bytes);
  if (!tarn__live_blocks_add(&self->live, &block)) {
    tarn__arena_free(self->arena, block.address);
    atomic_fetch_add_explicit(&self->out_of_memory_count, 1, memory_order_relaxed);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to remember a block of %zu bytes", size_bytes);
  }
  counter_add(&self->requested_bytes, block.requested_bytes);
  counter_add(&self->allocated_bytes, block.rounded_bytes);
  atomic_fetch_add_explicit(&self->alloc_count, 1, memory_order_relaxed);
  *address = block.address;
  return TARN_OK;
}

/* Holds the block until its streams have passed. Without memory to remember that, waits for them at
 * once: the block is then free when this returns. */
static void hold(node_pool *self, tarn__live_block *block, tarn_stream *stream) {
  const bool is_known =
      tarn_stream_is_synchronous(stream) || tarn__block_uses_add(&block->uses, stream);
  atomic_fetch_add_explicit(&self->held_bytes, block->rounded_bytes, memory_order_relaxed);
  if (is_known && tarn__held_blocks_add(&self->held, block)) return;
  if (!is_known) (void)!tarn_stream_synchronize(stream);
  for (tarn__block_use *use = block->uses; use != NULL; use = use->next) {
    (void)!tarn_stream_synchronize(use->stream);
  }
  tarn__block_uses_free(block->uses);
  tarn__arena_free(self->arena, block->address);
  atomic_fetch_sub_explicit(&self->held_bytes, block->rounded_bytes, memory_order_relaxed);
}

static tarn_status pool_free(void *context, void *address, tarn_stream *stream) {
  node_pool *self = context;
  tarn__live_block block;
  if (!tarn__live_blocks_remove(&self->live, address, &block)) {
    return tarn_fail(TARN_NOT_FOUND, "node pool %d has not lent out %p, or it was freed already",
                     self->node, address);
  }
  if (block.uses != NULL || !tarn_stream_is_synchronous(stream)) {
    hold(self, &block, stream);
  } else {
    tarn__arena_free(self->arena, address);
  }
  counter_subtract(&self->requested_bytes, block.requested_bytes);
  counter_subtract(&self->allocated_bytes, block.rounded_bytes);
  atomic_fetch_add_explicit(&self->free_count, 1, memory_order_relaxed);
  return TARN_OK;
}

static tarn_status pool_note_use(void *context, void *address, tarn_stream *stream) {
  node_pool *self = context;
  return tarn__live_blocks_note_use(&self->live, address, stream);
}

static tarn_status pool_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  node_pool *self = context;
  reap(self, /*waits=*/false);
  const size_t before = tarn__arena_counts_of(self->arena).committed_bytes;
  if (before <= keep_bytes) return TARN_OK;
  tarn__arena_purge(self->arena);
  const size_t after = tarn__arena_counts_of(self->arena).committed_bytes;
  *released_bytes = before > after ? before - after : 0;
  return TARN_OK;
}

static tarn_status pool_stats(void *context, tarn_pool_stats *stats) {
  node_pool *self = context;
  reap(self, /*waits=*/false);
  const tarn__arena_counts counts = tarn__arena_counts_of(self->arena);
  stats->requested_bytes = atomic_load(&self->requested_bytes.now);
  stats->allocated_bytes = atomic_load(&self->allocated_bytes.now);
  stats->active_bytes = stats->allocated_bytes + atomic_load(&self->held_bytes);
  stats->reserved_bytes = counts.committed_bytes;
  stats->requested_bytes_peak = atomic_load(&self->requested_bytes.peak);
  stats->allocated_bytes_peak = atomic_load(&self->allocated_bytes.peak);
  stats->reserved_bytes_peak = counts.committed_bytes_peak;
  stats->alloc_count = atomic_load(&self->alloc_count);
  stats->free_count = atomic_load(&self->free_count);
  stats->provider_calls = counts.provider_calls;
  stats->fence_count = atomic_load(&self->held.fence_count);
  stats->wait_count = atomic_load(&self->held.wait_count);
  stats->out_of_memory_count = atomic_load(&self->out_of_memory_count);
  return TARN_OK;
}

static void pool_destroy(void *context) {
  node_pool *self = context;
  remove_from_all(self);
  reap(self, /*waits=*/true);
  /* What is left belongs to a stream that failed: no work of it runs any more. */
  free_held(self, tarn__held_blocks_take_all(&self->held));
  tarn__held_blocks_deinit(&self->held);
  tarn__live_blocks_deinit(&self->live);
  tarn__arena_destroy(self->arena);
  free(self);
}

static tarn_status create_arena(tarn_topology *topology, int32_t node, tarn__arena **arena) {
  /* jemalloc works in pages; huge ones are the kernel's to find. */
  const tarn_pages_options pages = {.struct_size = sizeof pages,
                                    .granularity_bytes = (size_t)sysconf(_SC_PAGESIZE)};
  tarn_provider *provider = NULL;
  tarn_status status = tarn_node_provider_create(topology, node, &pages, &provider);
  if (status == TARN_OK) status = tarn__arena_create(provider, arena);
  tarn_provider_release(provider);
  return status;
}

tarn_status tarn_node_pool_create(tarn_topology *topology, int32_t node, tarn_pool **pool) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  node_pool *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a node pool");
  self->node = node;
  tarn__live_blocks_init(&self->live);
  tarn__held_blocks_init(&self->held);
  add_to_all(self);

  char name[24];
  snprintf(name, sizeof name, "jemalloc:%d", node);
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = name,
                             .attributes = pool_attributes,
                             .alloc = pool_alloc,
                             .free = pool_free,
                             .note_use = pool_note_use,
                             .trim = pool_trim,
                             .stats = pool_stats,
                             .destroy = pool_destroy};
  tarn_status status = create_arena(topology, node, &self->arena);
  if (status == TARN_OK) status = tarn_pool_create(&ops, self, pool);
  if (status != TARN_OK) pool_destroy(self);
  return status;
}
