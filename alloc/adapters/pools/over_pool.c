/* over_pool.c: hands every call of a pool through to another, and keeps a record of each block. */
#include "alloc/adapters/pools/over_pool.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_tag.h"

/* --- locks --- */

/* Adaptors take them in turn. They are few and static, so that a fork can hold them all; nothing
 * but a trace's lock is taken under one. */
enum { LOCK_COUNT = 8 };

static pthread_mutex_t locks[LOCK_COUNT] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                            PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                            PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
                                            PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};

static pthread_mutex_t *next_lock(void) {
  static atomic_uint count;
  return &locks[atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) % LOCK_COUNT];
}

static void hold_locks(void) {
  for (int index = 0; index < LOCK_COUNT; index++) pthread_mutex_lock(&locks[index]);
}

static void unhold_locks(void) {
  for (int index = LOCK_COUNT; index-- > 0;) pthread_mutex_unlock(&locks[index]);
}

/* Behind alloc/fork.c's, so that these locks are taken before those of what is called under them.
 * In a child a block that another thread was about to give back is nobody's any more. */
__attribute__((constructor)) static void watch_forks(void) {
  (void)pthread_atfork(hold_locks, unhold_locks, unhold_locks);
}

/* --- life --- */

tarn_status tarn__over_check(tarn_pool **pool, const tarn_pool *upstream) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  return upstream != NULL ? TARN_OK : tarn_fail(TARN_INVALID_ARGUMENT, "upstream is NULL");
}

tarn_status tarn__over_check_size(const char *what, size_t own_bytes, size_t given_bytes) {
  if (own_bytes == given_bytes) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "%s has %zu bytes here, %zu were given", what, own_bytes,
                   given_bytes);
}

tarn_status tarn__over_create(tarn__over *self, tarn_pool *upstream, const tarn_pool_ops *ops,
                              const char *kind, const char *name, tarn_pool **pool) {
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a pool's adaptor");
  self->lock = next_lock();
  self->upstream = upstream;
  if (upstream != NULL) tarn_pool_retain(upstream);
  char standard[128];
  snprintf(standard, sizeof standard, "%s over %s", kind,
           upstream != NULL ? tarn_pool_name(upstream) : "pools");
  tarn_pool_ops named = *ops;
  named.name = name != NULL ? name : standard;
  const tarn_status status = tarn_pool_create(&named, self, pool);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  ops->destroy(self);
  return tarn_fail_again(&cause);
}

void tarn__over_deinit(tarn__over *self) {
  TARN_ASSERT(self->lent == NULL);
  tarn_pool_release(self->upstream);
}

void tarn__over_destroy(void *context) {
  tarn__over_deinit(context);
  free(context);
}

/* --- lending --- */

/* Under the lock: the block is the adaptor's, or is so again. */
static void count_lent(tarn__over *self, tarn__lent *block, const tarn_stream *stream) {
  tarn_pool_stats *stats = &self->stats;
  tarn__lent_insert(&self->lent, block);
  stats->requested_bytes += block->requested_bytes;
  stats->allocated_bytes += block->size_bytes;
  if (stats->requested_bytes_peak < stats->requested_bytes) {
    stats->requested_bytes_peak = stats->requested_bytes;
  }
  if (stats->allocated_bytes_peak < stats->allocated_bytes) {
    stats->allocated_bytes_peak = stats->allocated_bytes;
  }
  if (self->trace == NULL) return;
  tarn_trace_record(self->trace, 'a', block->address, block->requested_bytes, stream);
}

tarn__lent *tarn__over_record(tarn__over *self, size_t size_bytes) {
  const size_t notes_bytes = self->note_count * sizeof(void *);
  tarn__lent *block = malloc(sizeof *block + notes_bytes);
  if (block == NULL) {
    tarn__over_count_refusal(
        self, tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the record of a block of %zu bytes",
                        size_bytes));
    return NULL;
  }
  *block = (tarn__lent){.size_bytes = size_bytes,
                        .requested_bytes = size_bytes,
                        .below = self->upstream,
                        .tag = tarn_tag_current()};
  return block;
}

void tarn__over_enter(tarn__over *self, tarn__lent *block, void *address, tarn_stream *stream) {
  block->address = address;
  pthread_mutex_lock(self->lock);
  count_lent(self, block, stream);
  self->stats.alloc_count++;
  pthread_mutex_unlock(self->lock);
}

tarn_status tarn__over_lend(tarn__over *self, tarn__lent *block, size_t alignment_bytes,
                            tarn_stream *stream, void **address) {
  const tarn_status status =
      tarn_pool_alloc_aligned(block->below, block->size_bytes, alignment_bytes, stream, address);
  if (status == TARN_OK) {
    tarn__over_enter(self, block, *address, stream);
  } else {
    free(block);
    tarn__over_count_refusal(self, status);
  }
  return status;
}

tarn_status tarn__over_alloc_from(tarn__over *self, tarn_pool *below, size_t requested_bytes,
                                  size_t size_bytes, size_t alignment_bytes, tarn_stream *stream,
                                  void **address) {
  tarn__lent *block = tarn__over_record(self, requested_bytes);
  if (block == NULL) return TARN_OUT_OF_MEMORY;
  block->below = below;
  block->size_bytes = size_bytes;
  return tarn__over_lend(self, block, alignment_bytes, stream, address);
}

tarn_status tarn__over_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                             tarn_stream *stream, void **address) {
  tarn__over *self = context;
  return tarn__over_alloc_from(self, self->upstream, size_bytes, size_bytes, alignment_bytes,
                               stream, address);
}

void tarn__over_count_refusal(tarn__over *self, tarn_status status) {
  if (status != TARN_OUT_OF_MEMORY) return;
  pthread_mutex_lock(self->lock);
  self->stats.out_of_memory_count++;
  pthread_mutex_unlock(self->lock);
}

/* --- taking back --- */

static tarn_status refuse_address(const void *address) {
  return tarn_fail(TARN_NOT_FOUND, "%p is no block that this adaptor has lent out", address);
}

tarn__lent *tarn__over_take_back(tarn__over *self, const void *address, tarn_stream *stream) {
  pthread_mutex_lock(self->lock);
  tarn__lent *block = tarn__lent_take(&self->lent, address);
  if (block != NULL) {
    self->stats.requested_bytes -= block->requested_bytes;
    self->stats.allocated_bytes -= block->size_bytes;
    self->stats.free_count++;
    if (self->trace != NULL) {
      tarn_trace_record(self->trace, 'f', address, block->requested_bytes, stream);
    }
  }
  pthread_mutex_unlock(self->lock);
  if (block == NULL) (void)refuse_address(address);
  return block;
}

tarn_status tarn__over_give_back(tarn__over *self, tarn__lent *block, tarn_stream *stream) {
  const tarn_status status = tarn_pool_free(block->below, block->address, stream);
  if (status == TARN_OK) {
    free(block);
    return TARN_OK;
  }
  pthread_mutex_lock(self->lock);
  count_lent(self, block, stream);
  self->stats.free_count--;
  pthread_mutex_unlock(self->lock);
  return status;
}

tarn_status tarn__over_free(void *context, void *address, tarn_stream *stream) {
  tarn__lent *block = tarn__over_take_back(context, address, stream);
  return block != NULL ? tarn__over_give_back(context, block, stream) : TARN_NOT_FOUND;
}

/* --- of blocks that are out --- */

static bool copy_lent(tarn__over *self, const void *address, tarn__lent *found) {
  pthread_mutex_lock(self->lock);
  const tarn__lent *block = tarn__lent_find(self->lent, address);
  if (block != NULL) *found = *block;
  pthread_mutex_unlock(self->lock);
  return block != NULL;
}

tarn_status tarn__over_find(tarn__over *self, const void *address, tarn__lent *found) {
  return copy_lent(self, address, found) ? TARN_OK : refuse_address(address);
}

tarn_status tarn__over_note_use(void *context, void *address, tarn_stream *stream) {
  tarn__over *self = context;
  tarn__lent used;
  tarn_status status = tarn__over_find(self, address, &used);
  if (status == TARN_OK) status = tarn_pool_note_use(used.below, address, stream);
  if (status != TARN_OK) return status;
  pthread_mutex_lock(self->lock);
  if (self->trace != NULL) {
    tarn_trace_record(self->trace, 'u', used.address, used.requested_bytes, stream);
  }
  pthread_mutex_unlock(self->lock);
  return TARN_OK;
}

static tarn_status over_share_range(void *context, const void *address, size_t size_bytes,
                                    tarn_stream *stream, bool may_mark, tarn_share_memory *memory) {
  tarn__lent shared;
  const tarn_status status = tarn__over_find(context, address, &shared);
  if (status != TARN_OK) return status;
  return tarn_pool_share_range(shared.below, address, size_bytes, stream, may_mark, memory);
}

static bool over_is_paused(void *context, const void *address) {
  tarn__lent block;
  return copy_lent(context, address, &block) && tarn_pool_is_paused(block.below, address);
}

/* What was asked for is known here. */
static tarn_status over_size_of(void *context, const void *address, size_t *size_bytes) {
  tarn__lent block;
  const bool is_lent = copy_lent(context, address, &block) && block.address == address;
  if (!is_lent) return refuse_address(address);
  *size_bytes = block.requested_bytes;
  return TARN_OK;
}

/* --- of the pool below --- */

static tarn_status over_attributes(void *context, tarn_pool_attributes *attributes) {
  const tarn__over *self = context;
  *attributes = *tarn_pool_attributes_of(self->upstream);
  return TARN_OK;
}

static tarn_status over_trim(void *context, size_t keep_bytes, size_t *released_bytes) {
  const tarn__over *self = context;
  return tarn_pool_trim(self->upstream, keep_bytes, released_bytes);
}

static tarn_status over_decay(void *context, uint64_t now_ns, size_t *released_bytes) {
  const tarn__over *self = context;
  return tarn_pool_decay(self->upstream, now_ns, released_bytes);
}

static tarn_status over_pause(void *context, const struct tarn_pause_options *options,
                              struct tarn_pause_report *report) {
  const tarn__over *self = context;
  return tarn_pool_pause(self->upstream, options, report);
}

static tarn_status over_resume(void *context, const struct tarn_resume_options *options,
                               struct tarn_pause_report *report) {
  const tarn__over *self = context;
  return tarn_pool_resume(self->upstream, options, report);
}

/* --- telling --- */

/* Under the lock. */
static void copy_counts(const tarn__over *self, tarn_pool_stats *stats) {
  stats->requested_bytes = self->stats.requested_bytes;
  stats->allocated_bytes = self->stats.allocated_bytes;
  stats->requested_bytes_peak = self->stats.requested_bytes_peak;
  stats->allocated_bytes_peak = self->stats.allocated_bytes_peak;
  stats->alloc_count = self->stats.alloc_count;
  stats->free_count = self->stats.free_count;
  stats->out_of_memory_count = self->stats.out_of_memory_count;
}

void tarn__over_copy_stats(tarn__over *self, tarn_pool_stats *stats) {
  pthread_mutex_lock(self->lock);
  copy_counts(self, stats);
  pthread_mutex_unlock(self->lock);
}

static tarn_status over_stats(void *context, tarn_pool_stats *stats) {
  tarn__over *self = context;
  const tarn_status status = tarn_pool_stats_of(self->upstream, stats);
  if (status == TARN_OK) tarn__over_copy_stats(self, stats);
  return status;
}

void tarn__over_reset_peaks(tarn__over *self) {
  pthread_mutex_lock(self->lock);
  self->stats.requested_bytes_peak = self->stats.requested_bytes;
  self->stats.allocated_bytes_peak = self->stats.allocated_bytes;
  pthread_mutex_unlock(self->lock);
}

static tarn_status over_reset_peaks(void *context) {
  tarn__over *self = context;
  const tarn_status status = tarn_pool_reset_peaks(self->upstream);
  if (status == TARN_OK) tarn__over_reset_peaks(self);
  return status;
}

static void over_set_trace(void *context, tarn_trace *trace) {
  tarn__over *self = context;
  pthread_mutex_lock(self->lock);
  self->trace = trace;
  pthread_mutex_unlock(self->lock);
}

/* Under the lock, and with room. */
static void copy_blocks(const tarn__over *self, tarn_snapshot *snapshot) {
  const tarn__lent *block = tarn__lent_after(self->lent, NULL);
  for (; block != NULL; block = tarn__lent_after(self->lent, block->address)) {
    snapshot->blocks[snapshot->block_count++] =
        (tarn_snapshot_block){.address = block->address,
                              .size_bytes = block->size_bytes,
                              .requested_bytes = block->requested_bytes,
                              .tag = block->tag,
                              .state = TARN_BLOCK_LIVE,
                              .is_first = true};
  }
  copy_counts(self, &snapshot->stats);
}

tarn_status tarn__over_copy_blocks(tarn__over *self, tarn_snapshot *snapshot) {
  snapshot->flags = TARN_SNAPSHOT_LENT_ONLY;
  for (;;) {
    pthread_mutex_lock(self->lock);
    const size_t needed = (size_t)(self->stats.alloc_count - self->stats.free_count);
    const bool fits = needed <= snapshot->block_capacity;
    if (fits) copy_blocks(self, snapshot);
    pthread_mutex_unlock(self->lock);
    if (fits) break;
    const tarn_status status = tarn_snapshot_reserve(snapshot, needed, /*stamp_count=*/0);
    if (status != TARN_OK) return status;
  }
  for (size_t index = 0; index < snapshot->block_count; index++) {
    tarn_snapshot_block *block = &snapshot->blocks[index];
    if (over_is_paused(self, block->address)) block->state = TARN_BLOCK_PAUSED;
  }
  return TARN_OK;
}

static tarn_status over_snapshot(void *context, tarn_snapshot *snapshot) {
  tarn__over *self = context;
  snapshot->stats.struct_size = sizeof snapshot->stats;
  const tarn_status status = tarn_pool_stats_of(self->upstream, &snapshot->stats);
  return status == TARN_OK ? tarn__over_copy_blocks(self, snapshot) : status;
}

const tarn_pool_ops tarn__over_ops = {.struct_size = sizeof(tarn_pool_ops),
                                      .attributes = over_attributes,
                                      .alloc = tarn__over_alloc,
                                      .free = tarn__over_free,
                                      .note_use = tarn__over_note_use,
                                      .trim = over_trim,
                                      .stats = over_stats,
                                      .destroy = tarn__over_destroy,
                                      .decay = over_decay,
                                      .share_range = over_share_range,
                                      .set_trace = over_set_trace,
                                      .snapshot = over_snapshot,
                                      .reset_peaks = over_reset_peaks,
                                      .pause = over_pause,
                                      .resume = over_resume,
                                      .is_paused = over_is_paused,
                                      .size_of = over_size_of};
