/* caching_pool.c: tarn's own pool: which block to lend next, and what to do when there is none.
 *
 * tarn_pool_alloc tries, in this order:
 *
 *     0  a block that the stream may use at once                       no driver call
 *     1  ask how far the streams have come, and look again             one query
 *     2  grow, where the limit allows
 *     3  order the stream behind a pending block's last users          one fence, one wait
 *     4  join free neighbours whatever their stamps, then 0 and 3 again
 *     5  wait for what is pending, give idle memory back, grow, search again
 *
 * and only then says that it is out of memory. The lock guards the heap and is never held while a
 * provider or a stream is called: what is worked on meanwhile is CLAIMED. */
#include "alloc/tarn_caching_pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/heap.h"

enum { VALIDATE_PERIOD = 64 }; /* changes between two walks over the whole heap, TARN_DEBUG 2 */

static const size_t DEFAULT_SEGMENT_BYTES = (size_t)2 << 20;
static const size_t DEFAULT_RANGE_BYTES = (size_t)64 << 30;

typedef struct caching {
  tarn_provider *provider; /* a reference */
  const tarn_provider_attributes *machine;
  size_t alignment_bytes;
  size_t limit_bytes;
  size_t segment_bytes;
  size_t range_bytes;
  pthread_mutex_t lock;
  tarn__heap heap;
  tarn_pool_stats stats; /* peaks and counts; sizes are the heap's */
  uint64_t change_count;
} caching;

/* What is asked for; the same through all tiers. */
typedef struct request {
  tarn_stream *stream;
  size_t requested_bytes;
  size_t size_bytes;      /* rounded to the heap's granule */
  size_t search_bytes;    /* with room to align */
  size_t alignment_bytes; /* power of two */
} request;

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

/* --- under the lock --- */

static void note_change(caching *self) {
  self->stats.requested_bytes_peak =
      larger(self->stats.requested_bytes_peak, self->heap.requested_bytes);
  self->stats.allocated_bytes_peak =
      larger(self->stats.allocated_bytes_peak, self->heap.allocated_bytes);
  self->stats.reserved_bytes_peak =
      larger(self->stats.reserved_bytes_peak, self->heap.reserved_bytes);
  if (TARN_DEBUG > 1 && ++self->change_count % VALIDATE_PERIOD == 0) {
    tarn__heap_validate(&self->heap);
  }
}

static void add_cost(caching *self, const tarn__order_cost *cost) {
  self->stats.fence_count += cost->fence_count;
  self->stats.wait_count += cost->wait_count;
}

/* Lends a CLAIMED block. NULL where no record for a cut is to be had. */
static void *lend(caching *self, tarn__block *block, const request *asked) {
  tarn__block *lent = tarn__heap_lend(&self->heap, block, asked->size_bytes, asked->alignment_bytes,
                                      asked->requested_bytes);
  if (lent == NULL) return NULL;
  self->stats.alloc_count++;
  note_change(self);
  return lent->address;
}

/* Tier 0. */
static void *lend_covered(caching *self, const request *asked, tarn__block **pending) {
  tarn__block *block = tarn__heap_find(&self->heap, asked->search_bytes, asked->stream, pending);
  if (block == NULL) return NULL;
  tarn__heap_claim(block);
  return lend(self, block, asked);
}

/* --- tiers that leave the lock; held again when they return --- */

/* Tier 1. */
static void *lend_observed(caching *self, const request *asked) {
  tarn__block *pending = NULL;
  void *address = lend_covered(self, asked, &pending);
  if (address != NULL || pending == NULL) return address;
  tarn__stamps stamps = {.count = 0};
  const bool is_copied = tarn__stamps_copy(&stamps, &pending->stamps);
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  for (uint32_t index = 0; is_copied && index < stamps.count; index++) {
    tarn__order_observe(tarn__stamps_at(&stamps, index), &cost);
  }
  tarn__stamps_deinit(&stamps);
  pthread_mutex_lock(&self->lock);
  add_cost(self, &cost);
  return lend_covered(self, asked, NULL);
}

/* Tier 3: the best fitting pending block, behind its last users. */
static void *lend_ordered(caching *self, const request *asked, tarn_status *status) {
  tarn__block *block = NULL;
  void *address = lend_covered(self, asked, &block);
  if (address != NULL || block == NULL) return address;
  tarn__heap_claim(block);
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  *status = TARN_OK;
  for (uint32_t index = 0; *status == TARN_OK && index < block->stamps.count; index++) {
    *status = tarn__order_behind(asked->stream, tarn__stamps_at(&block->stamps, index), &cost);
  }
  pthread_mutex_lock(&self->lock);
  add_cost(self, &cost);
  if (*status == TARN_OK) return lend(self, block, asked);
  tarn__heap_put_free(&self->heap, block);
  return NULL;
}

static bool is_within_limit(const caching *self, size_t more_bytes) {
  return self->limit_bytes == 0 || (self->heap.reserved_bytes <= self->limit_bytes &&
                                    more_bytes <= self->limit_bytes - self->heap.reserved_bytes);
}

static tarn_status refuse_limit(const caching *self, size_t more_bytes) {
  return tarn_fail(TARN_OUT_OF_MEMORY,
                   "pool over %s: %zu bytes more than the %zu reserved exceed its limit of %zu",
                   tarn_provider_name(self->provider), more_bytes, self->heap.reserved_bytes,
                   self->limit_bytes);
}

/* Tier 2 over a provider that does not reserve: a segment more. */
static void *grow_segment(caching *self, const request *asked, tarn_status *status) {
  size_t exact_bytes = 0;
  if (!tarn_size_round_up(asked->search_bytes, self->machine->granularity_bytes, &exact_bytes)) {
    *status = tarn_fail(TARN_TOO_LARGE, "%zu bytes cannot be rounded", asked->requested_bytes);
    return NULL;
  }
  size_t size_bytes = larger(exact_bytes, self->segment_bytes);
  if (!is_within_limit(self, size_bytes)) size_bytes = exact_bytes;
  if (!is_within_limit(self, size_bytes)) {
    *status = refuse_limit(self, size_bytes);
    return NULL;
  }
  /* Claimed before the lock is left, so that threads that grow at once respect the limit. */
  self->heap.reserved_bytes += size_bytes;
  self->stats.provider_calls++;
  pthread_mutex_unlock(&self->lock);
  void *memory = NULL;
  *status = tarn_provider_alloc(self->provider, size_bytes, &memory);
  pthread_mutex_lock(&self->lock);
  self->heap.reserved_bytes -= size_bytes;
  if (*status != TARN_OK) return NULL;
  tarn__block *block = tarn__heap_add_segment(&self->heap, memory, size_bytes, TARN__BLOCK_FREE);
  if (block == NULL) {
    pthread_mutex_unlock(&self->lock);
    const tarn_status freed = tarn_provider_free(self->provider, memory, size_bytes);
    (void)freed; /* nothing is left to try, and the failure below is the one to report */
    *status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a segment's records");
    pthread_mutex_lock(&self->lock);
    return NULL;
  }
  tarn__heap_claim(block);
  return lend(self, block, asked);
}

/* A fresh address range with no memory in it. Smaller ones are tried where the address space is
 * limited. */
static tarn_status reserve_range(caching *self, size_t least_bytes) {
  size_t size_bytes = larger(self->range_bytes, least_bytes);
  void *address = NULL;
  pthread_mutex_unlock(&self->lock);
  uint64_t calls = 1;
  tarn_status status = tarn_provider_reserve(self->provider, size_bytes, &address);
  while (status == TARN_OUT_OF_MEMORY && size_bytes > least_bytes) {
    size_bytes = larger(size_bytes / 2 & ~(self->machine->granularity_bytes - 1), least_bytes);
    status = tarn_provider_reserve(self->provider, size_bytes, &address);
    calls++;
  }
  pthread_mutex_lock(&self->lock);
  self->stats.provider_calls += calls;
  if (status != TARN_OK) return status;
  if (tarn__heap_add_segment(&self->heap, address, size_bytes, TARN__BLOCK_HOLE) != NULL) {
    return TARN_OK;
  }
  pthread_mutex_unlock(&self->lock);
  status = tarn_provider_free(self->provider, address, size_bytes);
  status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a range's records");
  pthread_mutex_lock(&self->lock);
  return status;
}

/* Tier 2 over a provider that reserves: memory at the front of the best fitting hole, together with
 * the free block in front of it where the stream may use that. */
static void *grow_in_place(caching *self, const request *asked, tarn_status *status) {
  size_t need_bytes = 0;
  if (!tarn_size_round_up(asked->search_bytes, self->machine->granularity_bytes, &need_bytes)) {
    *status = tarn_fail(TARN_TOO_LARGE, "%zu bytes cannot be rounded", asked->requested_bytes);
    return NULL;
  }
  tarn__block *hole = tarn__tree_at_least(self->heap.holes, need_bytes, NULL);
  if (hole == NULL) {
    *status = reserve_range(self, need_bytes);
    if (*status != TARN_OK) return NULL;
    hole = tarn__tree_at_least(self->heap.holes, need_bytes, NULL);
    if (hole == NULL) { /* another thread was faster */
      *status = tarn_fail(TARN_OUT_OF_MEMORY, "a fresh range of addresses is used up already");
      return NULL;
    }
  }
  tarn__block *front = hole->left;
  const bool joins_front = front != NULL && front->state == TARN__BLOCK_FREE &&
                           front->size_bytes < asked->search_bytes &&
                           tarn__stamps_are_covered(&front->stamps, asked->stream);
  if (joins_front) {
    const size_t missing_bytes = asked->search_bytes - front->size_bytes;
    const bool fits =
        tarn_size_round_up(missing_bytes, self->machine->granularity_bytes, &need_bytes);
    TARN_ASSERT(fits);
    (void)fits;
  }
  if (!is_within_limit(self, need_bytes)) {
    *status = refuse_limit(self, need_bytes);
    return NULL;
  }
  tarn__heap_claim(hole);
  if (hole->size_bytes > need_bytes) {
    tarn__block *rest = tarn__block_split(hole, need_bytes);
    if (rest == NULL) {
      tarn__heap_put_hole(&self->heap, hole);
      *status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a block's record");
      return NULL;
    }
    tarn__heap_put_hole(&self->heap, rest);
  }
  if (joins_front) tarn__heap_claim(front);
  self->heap.reserved_bytes += hole->size_bytes;
  self->stats.provider_calls++;
  pthread_mutex_unlock(&self->lock);
  *status = tarn_provider_commit(self->provider, hole->address, hole->size_bytes);
  pthread_mutex_lock(&self->lock);
  if (*status != TARN_OK) {
    self->heap.reserved_bytes -= hole->size_bytes;
    if (joins_front) tarn__heap_put_free(&self->heap, front);
    tarn__heap_put_hole(&self->heap, hole);
    return NULL;
  }
  if (joins_front) {
    const bool is_merged = tarn__block_merge_right(front); /* the hole has no stamps to join */
    TARN_ASSERT(is_merged);
    (void)is_merged;
    hole = front;
  }
  return lend(self, hole, asked);
}

static void *grow(caching *self, const request *asked, tarn_status *status) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  return reserves ? grow_in_place(self, asked, status) : grow_segment(self, asked, status);
}

/* --- giving back --- */

/* Claims the whole granules inside a free block that no stream uses any more. NULL where there are
 * none, or no records to cut them out. */
static tarn__block *claim_idle_granules(caching *self, tarn__block *block) {
  const uintptr_t granule = self->machine->granularity_bytes;
  const uintptr_t start = (uintptr_t)block->address;
  const uintptr_t first = (start + granule - 1) & ~(granule - 1);
  const uintptr_t end = (start + block->size_bytes) & ~(granule - 1);
  if (end <= first) return NULL;
  tarn__heap_claim(block);
  if (first > start) {
    tarn__block *inner = tarn__block_split(block, first - start);
    tarn__heap_put_free(&self->heap, block);
    if (inner == NULL) return NULL;
    block = inner;
  }
  if (block->size_bytes > end - first) {
    tarn__block *rest = tarn__block_split(block, end - first);
    if (rest == NULL) {
      tarn__heap_put_free(&self->heap, block);
      return NULL;
    }
    tarn__heap_put_free(&self->heap, rest);
  }
  return block;
}

/* Claims idle memory until at most keep_bytes would be left; the blocks are chained by `low`. */
static tarn__block *claim_idle(caching *self, size_t keep_bytes) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  tarn__block *chain = NULL;
  size_t left_bytes = self->heap.reserved_bytes;
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (left_bytes <= keep_bytes) return chain;
      if (block->state != TARN__BLOCK_FREE) continue;
      tarn__stamps_prune(&block->stamps);
      if (block->stamps.count != 0) continue;
      if (!reserves && block->size_bytes != segment->size_bytes) continue;
      tarn__block *idle = block;
      if (reserves) {
        idle = claim_idle_granules(self, block);
      } else {
        tarn__heap_claim(block);
      }
      if (idle == NULL) continue;
      left_bytes -= idle->size_bytes;
      idle->low = chain;
      chain = idle;
      block = idle;
    }
  }
  return chain;
}

/* Holds the lock on entry and on return, not in between. */
static tarn_status release_idle(caching *self, size_t keep_bytes, size_t *released_bytes) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  tarn_status result = TARN_OK;
  tarn__block *chain = claim_idle(self, keep_bytes);
  while (chain != NULL) {
    tarn__block *block = chain;
    chain = block->low;
    self->stats.provider_calls++;
    pthread_mutex_unlock(&self->lock);
    const tarn_status status =
        reserves ? tarn_provider_decommit(self->provider, block->address, block->size_bytes)
                 : tarn_provider_free(self->provider, block->address, block->size_bytes);
    pthread_mutex_lock(&self->lock);
    if (status != TARN_OK) result = status;
    if (status == TARN_OK) *released_bytes += block->size_bytes;
    if (reserves && status == TARN_OK) {
      self->heap.reserved_bytes -= block->size_bytes;
      tarn__heap_put_hole(&self->heap, block);
    } else if (reserves) {
      tarn__heap_put_free(&self->heap, block);
    } else {
      tarn__heap_remove_segment(&self->heap, block->segment); /* refused or not, it is gone */
    }
  }
  note_change(self);
  return result;
}

/* Waits, outside of the lock, for the last users of every free block. */
static void wait_for_pending(caching *self) {
  tarn__stamps stamps = {.count = 0};
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state != TARN__BLOCK_FREE) continue;
      const bool is_joined = tarn__stamps_join(&stamps, &block->stamps);
      (void)is_joined; /* without memory fewer are waited for, and fewer blocks become idle */
    }
  }
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  for (uint32_t index = 0; index < stamps.count; index++) {
    const tarn_status status = tarn__order_behind(NULL, tarn__stamps_at(&stamps, index), &cost);
    (void)status; /* a stream that cannot be waited for leaves its blocks pending */
  }
  tarn__stamps_deinit(&stamps);
  pthread_mutex_lock(&self->lock);
  add_cost(self, &cost);
}

static tarn_status explain_out_of_memory(caching *self, const request *asked) {
  self->stats.out_of_memory_count++;
  return tarn_fail(
      TARN_OUT_OF_MEMORY,
      "pool over %s: %zu bytes asked for; %zu live, %zu cached of which %zu pending, largest free "
      "block %zu, %zu reserved, limit %zu",
      tarn_provider_name(self->provider), asked->requested_bytes, self->heap.allocated_bytes,
      self->heap.reserved_bytes - self->heap.allocated_bytes, tarn__heap_pending_bytes(&self->heap),
      tarn__heap_largest_free_bytes(&self->heap), self->heap.reserved_bytes, self->limit_bytes);
}

/* --- the pool's operations --- */

static tarn_status caching_attributes(void *context, tarn_pool_attributes *attributes) {
  const caching *self = context;
  attributes->device = self->machine->device;
  attributes->alignment_bytes = self->alignment_bytes;
  attributes->node = self->machine->node;
  return TARN_OK;
}

/* Tiers 1 to 5, with the lock held on entry and on return. */
static void *alloc_slowly(caching *self, const request *asked, tarn_status *status) {
  void *address = lend_observed(self, asked);
  if (address == NULL) address = grow(self, asked, status);
  if (address != NULL) return address;
  /* Only a lack of memory can be helped by other memory. */
  if (*status != TARN_OUT_OF_MEMORY) return NULL;
  address = lend_ordered(self, asked, status);
  if (address == NULL && tarn__heap_join_all(&self->heap)) {
    address = lend_ordered(self, asked, status);
  }
  if (address != NULL) return address;

  wait_for_pending(self);
  tarn__heap_join_all(&self->heap);
  address = lend_covered(self, asked, NULL);
  if (address != NULL) return address;
  size_t released_bytes = 0;
  *status = release_idle(self, /*keep_bytes=*/0, &released_bytes);
  address = grow(self, asked, status);
  if (address == NULL) address = lend_covered(self, asked, NULL);
  if (address == NULL && *status == TARN_OUT_OF_MEMORY) {
    *status = explain_out_of_memory(self, asked);
  }
  return address;
}

static tarn_status caching_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  caching *self = context;
  request asked = {.stream = stream,
                   .requested_bytes = size_bytes,
                   .alignment_bytes = larger(alignment_bytes, self->alignment_bytes)};
  if (!tarn_size_round_up(size_bytes, TARN__HEAP_GRANULE_BYTES, &asked.size_bytes) ||
      !tarn_size_add(asked.size_bytes, asked.alignment_bytes - self->alignment_bytes,
                     &asked.search_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes aligned to %zu cannot be rounded", size_bytes,
                     alignment_bytes);
  }
  tarn_status status = TARN_OK;
  pthread_mutex_lock(&self->lock);
  void *found = lend_covered(self, &asked, NULL);
  if (found == NULL) found = alloc_slowly(self, &asked, &status);
  pthread_mutex_unlock(&self->lock);
  *address = found;
  if (found != NULL) return TARN_OK;
  return status != TARN_OK ? status
                           : tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a block's record");
}

static tarn_status refuse_unknown(const caching *self, const void *address) {
  return tarn_fail(TARN_NOT_FOUND, "pool over %s: %p is not lent out",
                   tarn_provider_name(self->provider), address);
}

static tarn_status caching_free(void *context, void *address, tarn_stream *stream) {
  caching *self = context;
  const bool is_stamped = !tarn_stream_is_synchronous(stream);
  const tarn__stamp stamp = is_stamped ? tarn__order_stamp(stream) : (tarn__stamp){0};
  for (;;) {
    pthread_mutex_lock(&self->lock);
    tarn__block *block = tarn__heap_live_at(&self->heap, address);
    const bool is_done = block != NULL && (!is_stamped || tarn__stamps_add(&block->stamps, stamp));
    if (is_done) {
      tarn__heap_take_back(&self->heap, block);
      tarn__heap_put_free(&self->heap, block);
      self->stats.free_count++;
      note_change(self);
    }
    pthread_mutex_unlock(&self->lock);
    if (block == NULL) return refuse_unknown(self, address);
    if (is_done) return TARN_OK;
    /* No memory for one more stamp: once the host has seen it passed, none is needed. */
    tarn__order_cost cost = {0};
    const tarn_status status = tarn__order_behind(NULL, stamp, &cost);
    if (status != TARN_OK) return status;
  }
}

static tarn_status caching_note_use(void *context, void *address, tarn_stream *stream) {
  caching *self = context;
  const tarn__stamp stamp = tarn__order_stamp(stream);
  pthread_mutex_lock(&self->lock);
  tarn__block *block = tarn__heap_live_around(&self->heap, address);
  const bool is_noted = block != NULL && tarn__stamps_add(&block->stamps, stamp);
  pthread_mutex_unlock(&self->lock);
  if (block == NULL) return refuse_unknown(self, address);
  if (is_noted) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note that a stream uses a block");
}

static tarn_status caching_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  caching *self = context;
  pthread_mutex_lock(&self->lock);
  tarn__heap_join_all(&self->heap);
  const tarn_status status = release_idle(self, keep_bytes, released_bytes);
  pthread_mutex_unlock(&self->lock);
  return status;
}

static tarn_status caching_stats(void *context, tarn_pool_stats *stats) {
  caching *self = context;
  pthread_mutex_lock(&self->lock);
  *stats = self->stats;
  stats->struct_size = sizeof *stats;
  stats->requested_bytes = self->heap.requested_bytes;
  stats->allocated_bytes = self->heap.allocated_bytes;
  stats->reserved_bytes = self->heap.reserved_bytes;
  stats->active_bytes = stats->allocated_bytes + tarn__heap_pending_bytes(&self->heap);
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

static void caching_destroy(void *context) {
  caching *self = context;
  pthread_mutex_lock(&self->lock);
  wait_for_pending(self);
  TARN_ASSERT(self->heap.live == NULL);
  for (tarn__segment *segment = self->heap.segments; segment != NULL;
       segment = self->heap.segments) {
    void *address = segment->address;
    const size_t size_bytes = segment->size_bytes;
    tarn__heap_remove_segment(&self->heap, segment);
    const tarn_status status = tarn_provider_free(self->provider, address, size_bytes);
    (void)status; /* there is nobody left to tell */
  }
  pthread_mutex_unlock(&self->lock);
  pthread_mutex_destroy(&self->lock);
  tarn_provider_release(self->provider);
  free(self);
}

static tarn_status check_options(const tarn_caching_options *options) {
  if (options->struct_size == sizeof *options) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_caching_options has %zu bytes here, %zu were given",
                   sizeof *options, options->struct_size);
}

/* An option's size, or the default, in whole granules. */
static bool choose_size(size_t option_bytes, size_t default_bytes, size_t granularity_bytes,
                        size_t *chosen_bytes) {
  return tarn_size_round_up(option_bytes != 0 ? option_bytes : default_bytes, granularity_bytes,
                            chosen_bytes);
}

tarn_status tarn_caching_pool_create(tarn_provider *provider, const tarn_caching_options *options,
                                     tarn_pool **pool) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  const tarn_caching_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = check_options(options);
  if (status != TARN_OK) return status;
  caching *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a caching pool");
  self->machine = tarn_provider_attributes_of(provider);
  self->alignment_bytes = self->machine->alignment_bytes < TARN__HEAP_GRANULE_BYTES
                              ? self->machine->alignment_bytes
                              : TARN__HEAP_GRANULE_BYTES;
  self->limit_bytes = options->limit_bytes;
  const size_t granularity = self->machine->granularity_bytes;
  if (!choose_size(options->segment_bytes, DEFAULT_SEGMENT_BYTES, granularity,
                   &self->segment_bytes) ||
      !choose_size(options->range_bytes, DEFAULT_RANGE_BYTES, granularity, &self->range_bytes)) {
    free(self);
    return tarn_fail(TARN_TOO_LARGE, "segments of %zu or ranges of %zu bytes cannot be rounded",
                     options->segment_bytes, options->range_bytes);
  }
  pthread_mutex_init(&self->lock, NULL);
  const tarn_pool_ops ops = {
      .struct_size = sizeof ops,
      .name = options->name != NULL ? options->name : tarn_provider_name(provider),
      .attributes = caching_attributes,
      .alloc = caching_alloc,
      .free = caching_free,
      .note_use = caching_note_use,
      .trim = caching_trim,
      .stats = caching_stats,
      .destroy = caching_destroy};
  status = tarn_pool_create(&ops, self, pool);
  if (status != TARN_OK) {
    pthread_mutex_destroy(&self->lock);
    free(self);
    return status;
  }
  self->provider = provider;
  tarn_provider_retain(provider);
  return TARN_OK;
}
