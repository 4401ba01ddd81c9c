/* caching_pool.c: tarn's own pool: its life, and what it does at a call.
 *
 * What the calling thread keeps is asked first (pool.c, magazine_fast.h). Here an allocation takes
 * the best fitting block that its stream may use at once; what happens where there is none is told
 * in caching_tiers.c. The lock guards the heap and is never held while a provider or a stream is
 * called: what is worked on meanwhile is CLAIMED. */
#include "alloc/tarn_caching_pool.h"

#include <stdlib.h>

#include "alloc/caching_pause.h"
#include "alloc/caching_poison.h"
#include "alloc/heap_paused.h"
#include "alloc/magazine.h"
#include "alloc/pool.h"
#include "alloc/status.h"
#include "alloc/stream.h"
#include "alloc/tag.h"

enum { VALIDATE_PERIOD = 64 }; /* changes between two walks over the whole heap, TARN_DEBUG 2 */

static const size_t DEFAULT_SEGMENT_BYTES = (size_t)2 << 20;
static const size_t DEFAULT_RANGE_BYTES = (size_t)64 << 30;

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

/* --- under the lock --- */

void tarn__caching_note_change(tarn__caching *self) {
  tarn__magazine_note_peaks(self);
  self->stats.reserved_bytes_peak =
      larger(self->stats.reserved_bytes_peak, tarn__caching_reserved_bytes(self));
  if (TARN_DEBUG > 1 && ++self->change_count % VALIDATE_PERIOD == 0) {
    tarn__heap_validate(&self->heap);
    /* What is being obtained or given back is charged, and not reserved. */
    const size_t charged_bytes = tarn__budget_used_bytes(self->budget);
    const size_t reserved_bytes = tarn__caching_reserved_bytes(self);
    TARN_ASSERT(self->busy_count > 0 ? charged_bytes >= reserved_bytes
                                     : charged_bytes == reserved_bytes);
  }
}

void tarn__caching_add_cost(tarn__caching *self, const tarn__order_cost *cost) {
  self->stats.fence_count += cost->fence_count;
  self->stats.wait_count += cost->wait_count;
}

void tarn__caching_leave(tarn__caching *self) {
  self->busy_count++;
  pthread_mutex_unlock(&self->lock);
}

void tarn__caching_return(tarn__caching *self) {
  pthread_mutex_lock(&self->lock);
  self->busy_count--;
  pthread_cond_broadcast(&self->settled);
}

/* The capture that the stamp is of, where it does not keep the block yet; else 0. */
static uint64_t new_keeper(const tarn__block *block, tarn__stamp stamp) {
  const uint64_t capture = tarn__order_capture_number(stamp.slot);
  return tarn__stamps_are_of_capture(&block->stamps, capture) ? 0 : capture;
}

/* Adds a stamp; where it is a captured stream's, the capture keeps the block from now on. False
 * without memory. */
static bool stamp_block(tarn__block *block, tarn__stamp stamp, uint64_t keeper) {
  if (!tarn__stamps_add(&block->stamps, stamp)) return false;
  if (keeper != 0) tarn__order_keep(stamp.slot, keeper, block->size_bytes);
  return true;
}

void tarn__caching_count_kept(const tarn__block *block, size_t size_bytes) {
  for (uint32_t index = 0; index < block->stamps.count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(&block->stamps, index);
    const uint64_t capture = tarn__order_capture_number(stamp.slot);
    bool is_first = capture != 0 && !tarn__order_is_seen(stamp);
    for (uint32_t before = 0; before < index && is_first; before++) {
      const uint32_t slot = tarn__stamps_at(&block->stamps, before).slot;
      is_first = tarn__order_capture_number(slot) != capture;
    }
    if (is_first) tarn__order_keep(stamp.slot, capture, size_bytes);
  }
}

/* A block lent in a capture is the capture's from now on, whoever frees it and when. False, with
 * the block free again, without memory for the stamp. */
static bool stamp_for_capture(tarn__caching *self, tarn__block *block, const tarn_stream *stream) {
  const tarn__stamp stamp = tarn__order_stamp(stream);
  if (tarn__stamps_reserve(&block->stamps, 2) &&
      stamp_block(block, stamp, new_keeper(block, stamp))) {
    return true;
  }
  tarn__caching_watch_free(self, block);
  tarn__heap_take_back(&self->heap, block);
  tarn__heap_put_free(&self->heap, block);
  return false;
}

void *tarn__caching_lend(tarn__caching *self, tarn__block *block, const tarn__request *asked) {
  TARN_ASSERT(tarn__stamps_are_covered(&block->stamps, asked->stream));
  tarn__block *lent = tarn__heap_lend(&self->heap, block, asked->size_bytes, asked->alignment_bytes,
                                      asked->requested_bytes);
  if (lent == NULL) return NULL;
  tarn__caching_watch_lent(self, lent, asked->requested_bytes);
  if (tarn__order_is_captured(asked->stream) && !stamp_for_capture(self, lent, asked->stream)) {
    return NULL;
  }
  lent->tag = tarn__tag_current;
  tarn__magazine_note_lent(self, lent);
  tarn__caching_trace(self, 'a', lent->address, lent->requested_bytes, asked->stream);
  self->stats.alloc_count++;
  tarn__caching_note_change(self);
  return lent->address;
}

/* Tier 0. */
void *tarn__caching_lend_covered(tarn__caching *self, const tarn__request *asked,
                                 tarn__block **pending) {
  tarn__block *block = tarn__heap_find(&self->heap, asked->search_bytes, asked->stream, pending);
  if (block == NULL) return NULL;
  tarn__heap_claim(block);
  return tarn__caching_lend(self, block, asked);
}

/* --- the pool's operations --- */

static tarn_status caching_attributes(void *context, tarn_pool_attributes *attributes) {
  const tarn__caching *self = context;
  attributes->device = self->machine->device;
  attributes->alignment_bytes = self->alignment_bytes;
  attributes->node = self->machine->node;
  return TARN_OK;
}

/* Where the calling thread keeps nothing that would do: pool.c asks that first. */
static tarn_status caching_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  tarn__caching *self = context;
  tarn__request asked = {.stream = stream,
                         .requested_bytes = size_bytes,
                         .alignment_bytes = larger(alignment_bytes, self->alignment_bytes)};
  if (!tarn_size_round_up(size_bytes, TARN__HEAP_GRANULE_BYTES, &asked.size_bytes) ||
      !tarn_size_add(asked.size_bytes, asked.alignment_bytes - self->alignment_bytes,
                     &asked.search_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes aligned to %zu cannot be rounded", size_bytes,
                     alignment_bytes);
  }
  if (tarn__stream_is_closed(stream)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "memory is asked for on a %s stream that is closed",
                     tarn_stream_name(stream));
  }
  pthread_mutex_lock(&self->lock);
  const tarn_status there = tarn__caching_check_process(self);
  if (there != TARN_OK) {
    pthread_mutex_unlock(&self->lock);
    return there;
  }
  if (self->has_ended) {
    /* The caller has a handle, and with this block the pool keeps itself once more. */
    tarn_pool_retain(self->closing);
    self->has_ended = false;
  }
  tarn__caching_watch_call(self);
  tarn__magazine_note_peaks(self);
  tarn__magazine_give_large(self);
  void *found = tarn__caching_lend_covered(self, &asked, NULL);
  if (found != NULL) {
    pthread_mutex_unlock(&self->lock);
    *address = found;
    return TARN_OK;
  }
  /* What is tried and refused on the way to a success is nobody's last error. */
  const tarn_error before = *tarn_last_error();
  tarn_status status = TARN_OK;
  found = tarn__caching_lend_slowly(self, &asked, &status);
  pthread_mutex_unlock(&self->lock);
  *address = found;
  if (found != NULL) {
    tarn__error_restore(&before);
    return TARN_OK;
  }
  return status != TARN_OK ? status
                           : tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a block's record");
}

static tarn_status refuse_unknown(const tarn__caching *self, const void *address) {
  return tarn_fail(TARN_NOT_FOUND, "pool %s: %p is not lent out", tarn_budget_name(self->budget),
                   address);
}

/* True once when no block is out: then the pool's reference to itself goes. */
static bool may_end(tarn__caching *self) {
  if (self->closing == NULL || self->heap.live_count != 0 || self->has_ended) return false;
  self->has_ended = true;
  return true;
}

/* Of a live block that is freed: to the thread's magazine, or to the heap. */
static void take_back(tarn__caching *self, tarn__block *block, tarn__magazine *magazine,
                      uint32_t slot) {
  tarn__caching_watch_free(self, block);
  tarn__magazine_give_large(self);
  if (magazine != NULL && tarn__magazine_keep(magazine, block, slot)) return;
  tarn__heap_take_back(&self->heap, block);
  tarn__heap_put_free(&self->heap, block);
}

static tarn_status caching_free(void *context, void *address, tarn_stream *stream) {
  tarn__caching *self = context;
  tarn__magazine *magazine = tarn__magazine_of_thread(self);
  pthread_mutex_lock(&self->lock);
  tarn__caching_watch_call(self);
  tarn__magazine_note_peaks(self);
  tarn__block *block = tarn__heap_live_at(&self->heap, address);
  if (block == NULL) block = tarn__heap_paused_at(&self->heap, address);
  if (block == NULL || !tarn__block_is_lent(block)) {
    pthread_mutex_unlock(&self->lock);
    return refuse_unknown(self, address);
  }
  const uint32_t slot = tarn__stream_slot(stream);
  tarn__stamp mark = {0};
  uint64_t keeper = 0;
  if (slot != TARN__HOST_SLOT) {
    mark = tarn__stamps_mark(&block->stamps, stream);
    keeper = new_keeper(block, mark);
  }
  /* What the stream is behind, its own stamp stands for. */
  tarn__stamps_drop_covered(&block->stamps, stream);
  const bool is_added = slot == TARN__HOST_SLOT || stamp_block(block, mark, keeper);
  TARN_ASSERT(is_added); /* a live block has room for it */
  (void)is_added;
  tarn__caching_trace(self, 'f', block->address, block->requested_bytes, stream);
  if (block->state == TARN__BLOCK_PAUSED) {
    tarn__caching_free_paused(self, block);
  } else {
    take_back(self, block, magazine, slot);
  }
  self->stats.free_count++;
  tarn__caching_note_change(self);
  tarn_pool *ended = may_end(self) ? self->closing : NULL;
  tarn__backup *gone = tarn__caching_take_gone(self);
  pthread_mutex_unlock(&self->lock);
  tarn__backups_free(gone, /*stream=*/NULL);
  if (ended != NULL) tarn_pool_end(ended);
  return TARN_OK;
}

/* Room for the free's own stamp is kept, so that a free cannot fail. */
static bool note_block(tarn__block *block, const tarn_stream *stream) {
  if (!tarn__stamps_reserve(&block->stamps, 2)) return false;
  const tarn__stamp mark = tarn__stamps_mark(&block->stamps, stream);
  return stamp_block(block, mark, new_keeper(block, mark));
}

static tarn_status refuse_paused(const tarn__caching *self, const void *address) {
  return tarn_fail(TARN_BUSY, "pool %s: the block at %p is paused", tarn_budget_name(self->budget),
                   address);
}

/* A pause leaves alone what tarn__share_is_exported; this sees one that came before that. */
static tarn_status caching_share_range(void *context, const void *address, size_t size_bytes,
                                       tarn_stream *stream, bool may_mark,
                                       tarn_share_memory *memory) {
  tarn__caching *self = context;
  pthread_mutex_lock(&self->lock);
  const bool is_paused = tarn__heap_paused_around(&self->heap, address) != NULL;
  pthread_mutex_unlock(&self->lock);
  if (is_paused) return refuse_paused(self, address);
  return tarn_provider_share_range(self->provider, address, size_bytes, stream, may_mark, memory);
}

static tarn_status caching_note_use(void *context, void *address, tarn_stream *stream) {
  tarn__caching *self = context;
  pthread_mutex_lock(&self->lock);
  tarn__block *block = tarn__heap_live_around(&self->heap, address);
  const bool is_known = block != NULL && tarn__block_is_lent(block);
  const bool is_noted = is_known && note_block(block, stream);
  if (is_noted) tarn__caching_trace(self, 'u', block->address, block->requested_bytes, stream);
  const bool is_paused = !is_known && tarn__heap_paused_around(&self->heap, address) != NULL;
  pthread_mutex_unlock(&self->lock);
  if (is_paused) return refuse_paused(self, address);
  if (!is_known) return refuse_unknown(self, address);
  if (is_noted) return TARN_OK;
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note that a stream uses a block");
}

static tarn_status caching_size_of(void *context, const void *address, size_t *size_bytes) {
  tarn__caching *self = context;
  pthread_mutex_lock(&self->lock);
  const tarn__block *block = tarn__heap_live_at(&self->heap, address);
  if (block == NULL) block = tarn__heap_paused_at(&self->heap, address);
  /* Relaxed: whoever was lent the block has seen that happen. */
  if (block != NULL) {
    *size_bytes = atomic_load_explicit(&block->requested_bytes, memory_order_relaxed);
  }
  pthread_mutex_unlock(&self->lock);
  return *size_bytes != 0 ? TARN_OK : refuse_unknown(self, address);
}

static tarn_status caching_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  tarn__caching *self = context;
  const tarn_status there = tarn__caching_check_process(self);
  if (there != TARN_OK) return there;
  pthread_mutex_lock(&self->lock);
  tarn__magazines_gather(self, /*least_bytes=*/0);
  tarn__caching_observe_pending(self);
  tarn__caching_watch_call(self);
  tarn__heap_join_all(&self->heap, /*clean_only=*/true);
  if (self->ahead_bytes > keep_bytes) self->ahead_bytes = keep_bytes;
  const size_t paused_bytes = self->heap.paused_bytes;
  const size_t kept_bytes =
      keep_bytes < SIZE_MAX - paused_bytes ? keep_bytes : SIZE_MAX - paused_bytes;
  tarn_status status = tarn__caching_give_back(self, kept_bytes + paused_bytes, released_bytes);
  const size_t reserved_bytes = tarn__caching_reserved_bytes(self);
  if (status == TARN_OK) {
    status =
        tarn__caching_prepare(self, keep_bytes > reserved_bytes ? keep_bytes - reserved_bytes : 0);
  }
  pthread_mutex_unlock(&self->lock);
  return status;
}

void tarn__caching_copy_stats(tarn__caching *self, tarn_pool_stats *stats) {
  tarn__magazine_note_peaks(self);
  const tarn__kept kept = tarn__magazines_sum(self);
  *stats = self->stats;
  stats->struct_size = sizeof *stats;
  stats->requested_bytes = self->heap.requested_bytes + kept.requested_bytes;
  stats->allocated_bytes = self->heap.allocated_bytes - kept.kept_bytes;
  stats->reserved_bytes = tarn__caching_reserved_bytes(self);
  stats->paused_bytes = self->heap.paused_bytes;
  tarn__magazines_count(self, &stats->alloc_count, &stats->free_count);
}

static tarn_status caching_stats(void *context, tarn_pool_stats *stats) {
  tarn__caching *self = context;
  pthread_mutex_lock(&self->lock);
  tarn__caching_watch_call(self);
  tarn__magazines_close(self);
  tarn__caching_copy_stats(self, stats);
  stats->active_bytes = stats->allocated_bytes + tarn__magazines_pending_bytes(self) +
                        tarn__heap_pending_bytes(&self->heap);
  stats->captured_bytes = tarn__heap_captured_bytes(&self->heap, &stats->graph_bytes);
  stats->graph_bytes += stats->captured_bytes;
  tarn__magazines_open(self);
  TARN_ASSERT(stats->requested_bytes <= stats->allocated_bytes);
  TARN_ASSERT(stats->allocated_bytes <= stats->active_bytes);
  TARN_ASSERT(stats->active_bytes <= stats->reserved_bytes + stats->paused_bytes);
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

static tarn_status caching_reset_peaks(void *context) {
  tarn__caching *self = context;
  tarn_pool_stats now;
  pthread_mutex_lock(&self->lock);
  tarn__magazines_empty(self); /* and every thread's own peak is forgotten */
  tarn__caching_copy_stats(self, &now);
  self->peak_bytes_before_reset =
      larger(self->peak_bytes_before_reset, self->stats.allocated_bytes_peak);
  self->stats.requested_bytes_peak = now.requested_bytes;
  self->stats.allocated_bytes_peak = now.allocated_bytes;
  self->stats.reserved_bytes_peak = now.reserved_bytes;
  tarn__magazines_open(self);
  pthread_mutex_unlock(&self->lock);
  return TARN_OK;
}

/* Every call takes the lock while a trace runs. */
static void caching_set_trace(void *context, tarn_trace *trace) {
  tarn__caching *self = context;
  pthread_mutex_lock(&self->lock);
  if (self->trace == NULL && trace != NULL) tarn__magazines_empty(self);
  if (self->trace != NULL && trace == NULL) tarn__magazines_open(self);
  self->trace = trace;
  pthread_mutex_unlock(&self->lock);
}

/* Block by block, so that no memory is needed; without the lock, for nobody else is left. A stream
 * that cannot be waited for has lost its device: nothing of it can still be running. */
static void wait_for_users(tarn__caching *self) {
  tarn__order_cost cost = {0};
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      for (uint32_t index = 0; index < block->stamps.count; index++) {
        const tarn_status status =
            tarn__order_behind(NULL, tarn__stamps_at(&block->stamps, index), &cost);
        (void)status;
      }
    }
  }
}

/* Threads keep nothing any more, so every free is seen here, and with it the last one. */
static void caching_close(void *context, tarn_pool *pool) {
  tarn__caching *self = context;
  pthread_mutex_lock(&self->lock);
  if (self->closing == NULL) tarn__magazines_empty(self);
  self->closing = pool;
  const bool ends = may_end(self);
  pthread_mutex_unlock(&self->lock);
  if (ends) tarn_pool_end(pool);
}

static void deinit(tarn__caching *self) {
  tarn__caching_forget_paused(self);
  tarn__heap_deinit(&self->heap);
  pthread_cond_destroy(&self->settled);
  pthread_mutex_destroy(&self->lock);
  tarn_budget_release(self->budget);
  free(self);
}

static void caching_destroy(void *context) {
  tarn__caching *self = context;
  tarn__caching_delist(self);
  tarn__magazines_forget(self);
  if (self->is_sharing) {
    const tarn_status removed =
        tarn_budget_remove_pressure(self->budget, tarn__caching_answer_pressure, self);
    TARN_ASSERT(removed == TARN_OK);
    (void)removed;
  }
  wait_for_users(self);
  const size_t reserved_bytes = tarn__caching_reserved_bytes(self);
  TARN_ASSERT(self->heap.live_count == 0);
  for (tarn__segment *segment = self->heap.segments; segment != NULL;
       segment = self->heap.segments) {
    void *address = segment->address;
    const size_t size_bytes = segment->size_bytes;
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state != TARN__BLOCK_HOLE) tarn__caching_watch_gone(self, block);
      tarn__caching_count_kept(block, 0 - block->size_bytes);
    }
    tarn__heap_remove_segment(&self->heap, segment);
    const tarn_status status = tarn_provider_free(self->provider, address, size_bytes);
    (void)status; /* there is nobody left to tell */
  }
  tarn_budget_pay_back(self->budget, reserved_bytes);
  if (self->prepare_bytes != 0) {
    const tarn_status status = tarn_provider_prepare(self->provider, 0, NULL);
    (void)status; /* in a child of fork it is the parent's */
  }
  tarn_provider_release(self->provider);
  deinit(self);
}

tarn__caching *tarn__caching_of(const tarn_pool *pool) {
  tarn__caching *self = tarn_pool_context(pool, caching_destroy);
  if (self != NULL) return self;
  const tarn_status status = tarn_fail(TARN_INVALID_ARGUMENT, "%s is no caching pool",
                                       pool != NULL ? tarn_pool_name(pool) : "NULL");
  (void)status; /* the caller returns it */
  return NULL;
}

tarn_budget *tarn_caching_pool_budget(tarn_pool *pool) {
  const tarn__caching *self = tarn__caching_of(pool);
  return self != NULL ? self->budget : NULL;
}

tarn_status tarn_caching_pool_reserve(tarn_pool *pool, size_t size_bytes) {
  tarn__caching *self = tarn__caching_of(pool);
  if (self == NULL) return TARN_INVALID_ARGUMENT;
  if (size_bytes > PTRDIFF_MAX) {
    return tarn_fail(TARN_TOO_LARGE, "pool %s: %zu bytes exceed any machine",
                     tarn_budget_name(self->budget), size_bytes);
  }
  tarn_status status = tarn__caching_check_process(self);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(&self->lock);
  status = tarn__caching_reserve(self, size_bytes);
  pthread_mutex_unlock(&self->lock);
  return status;
}

static tarn_status check_options(const tarn_caching_options *options) {
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_caching_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  if (options->limit_bytes == 0 || options->floor_bytes <= options->limit_bytes) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "a floor of %zu bytes lies above the pool's limit of %zu",
                   options->floor_bytes, options->limit_bytes);
}

/* An option's size, or the default, in whole granules. */
static bool choose_size(size_t option_bytes, size_t default_bytes, size_t granularity_bytes,
                        size_t *chosen_bytes) {
  return tarn_size_round_up(option_bytes != 0 ? option_bytes : default_bytes, granularity_bytes,
                            chosen_bytes);
}

/* Held for some hundred nanoseconds: who finds it taken spins for a while before it sleeps. */
static void init_lock(pthread_mutex_t *lock) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
  pthread_mutex_init(lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

/* All of a pool but its handle; NULL, and nothing left, on failure. */
static tarn__caching *make_context(tarn_provider *provider, const tarn_caching_options *options,
                                   const char *name, tarn_status *status) {
  tarn__caching *self = calloc(1, sizeof *self);
  if (self == NULL) {
    *status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a caching pool");
    return NULL;
  }
  static _Atomic uint64_t pool_count;
  self->id = atomic_fetch_add_explicit(&pool_count, 1, memory_order_relaxed);
  init_lock(&self->lock);
  pthread_cond_init(&self->settled, NULL);
  self->machine = tarn_provider_attributes_of(provider);
  self->heap.piece_bytes = self->machine->piece_bytes;
  self->alignment_bytes = self->machine->alignment_bytes < TARN__HEAP_GRANULE_BYTES
                              ? self->machine->alignment_bytes
                              : TARN__HEAP_GRANULE_BYTES;
  self->floor_bytes = options->floor_bytes;
  self->decay_ns = options->decay_ns;
  self->prepare_bytes = options->prepare_bytes;
  self->out_of_memory = options->out_of_memory;
  self->out_of_memory_context = options->out_of_memory_context;
  self->is_sharing = options->budget != NULL;
  const tarn_budget_options own = {.struct_size = sizeof own,
                                   .name = name,
                                   .limit_bytes = options->limit_bytes,
                                   .parent = options->budget};
  const size_t granularity = self->machine->granularity_bytes;
  *status = TARN_OK;
  if (!choose_size(options->segment_bytes, DEFAULT_SEGMENT_BYTES, granularity,
                   &self->segment_bytes) ||
      !choose_size(options->range_bytes, DEFAULT_RANGE_BYTES, granularity, &self->range_bytes)) {
    *status = tarn_fail(TARN_TOO_LARGE, "segments of %zu or ranges of %zu bytes cannot be rounded",
                        options->segment_bytes, options->range_bytes);
  }
  if (*status == TARN_OK) *status = tarn_budget_create(&own, &self->budget);
  if (*status == TARN_OK && self->is_sharing) {
    *status = tarn_budget_add_pressure(self->budget, tarn__caching_answer_pressure, self);
  }
  if (*status != TARN_OK) {
    deinit(self);
    return NULL;
  }
  self->provider = provider;
  tarn_provider_retain(provider);
  tarn__caching_enlist(self);
  return self;
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
  const char *name = options->name != NULL ? options->name : tarn_provider_name(provider);
  tarn__caching *self = make_context(provider, options, name, &status);
  if (self == NULL) return status;
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = name,
                             .attributes = caching_attributes,
                             .alloc = caching_alloc,
                             .free = caching_free,
                             .note_use = caching_note_use,
                             .trim = caching_trim,
                             .stats = caching_stats,
                             .destroy = caching_destroy,
                             .close = caching_close,
                             .decay = tarn__caching_decay,
                             .share_range = caching_share_range,
                             .set_trace = caching_set_trace,
                             .snapshot = tarn__caching_snapshot,
                             .reset_peaks = caching_reset_peaks,
                             .pause = tarn__caching_pause,
                             .resume = tarn__caching_resume,
                             .is_paused = tarn__caching_is_paused,
                             .size_of = caching_size_of};
  status = tarn_pool_create(&ops, self, pool);
  if (status != TARN_OK) {
    caching_destroy(self);
    return status;
  }
  tarn__pool_set_caching(*pool, self);
  pthread_mutex_lock(&self->lock);
  status = tarn__caching_prepare(self, SIZE_MAX);
  pthread_mutex_unlock(&self->lock);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  tarn_pool_release(*pool);
  *pool = NULL;
  return tarn_fail_again(&cause);
}
