/* over_pool.c: hands every call of a pool through to another, and keeps a record of each block. */
#include "alloc/adapters/pools/over_pool.h"

#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_tag.h"

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
  self->upstream = upstream;
  if (upstream != NULL) tarn_pool_retain(upstream);
  tarn__over_init_desks(self);
  char standard[128];
  snprintf(standard, sizeof standard, "%s over %s", kind,
           upstream != NULL ? tarn_pool_name(upstream) : "pools");
  tarn_pool_ops named = *ops;
  named.name = name != NULL ? name : standard;
  const tarn_status status = tarn_pool_create(&named, self, pool);
  if (status == TARN_OK) {
    tarn__lent_map_align(&self->lent, tarn_pool_attributes_of(*pool)->alignment_bytes);
    return TARN_OK;
  }
  const tarn_error cause = *tarn_last_error();
  ops->destroy(self);
  return tarn_fail_again(&cause);
}

void tarn__over_deinit(tarn__over *self) {
  TARN_ASSERT((atomic_load_explicit(&self->charged_bytes, memory_order_relaxed) &
               ~TARN__OVER_CLOSING) == 0);
  tarn__lent_map_deinit(&self->lent);
  tarn_pool_release(self->upstream);
}

void tarn__over_destroy(void *context) {
  tarn__over_deinit(context);
  free(context);
}

/* --- lending --- */

static inline uintptr_t end_of_leaf(uintptr_t address) {
  return address | (((uintptr_t)1 << TARN__LENT_LEAF_BITS) - 1);
}

/* The leaf that spans the address, where it is the one that the thread used last. */
static inline tarn__lent_leaf *known_leaf(const tarn__over_desk *desk, uintptr_t address) {
  if (!tarn__over_is_common(desk != NULL)) return NULL;
  const uintptr_t end = atomic_load_explicit(&desk->leaf_end, memory_order_relaxed);
  return tarn__over_is_common(end == end_of_leaf(address))
             ? atomic_load_explicit(&desk->leaf, memory_order_relaxed)
             : NULL;
}

static inline tarn_pool *route(const tarn__over *self, size_t requested_bytes,
                               size_t *asked_bytes) {
  *asked_bytes = requested_bytes;
  return tarn__over_is_common(self->route == NULL)
             ? self->upstream
             : self->route(self, requested_bytes, asked_bytes);
}

/* What was asked for below beside what was requested. The thread's own credit is not lent beside
 * it; it is read behind the sum, or what is gathered in between would be missing from both. */
static __attribute__((noinline)) void note_lent(tarn__over *self, const tarn__over_desk *desk,
                                                size_t more_bytes) {
  if (!tarn__over_is_common(more_bytes == 0)) {
    atomic_fetch_add_explicit(&self->more_bytes, more_bytes, memory_order_relaxed);
  }
  const size_t charged_bytes =
      atomic_load_explicit(&self->charged_bytes, memory_order_acquire) & ~TARN__OVER_CLOSING;
  const size_t credit_bytes =
      desk != NULL ? atomic_load_explicit(&desk->credit_bytes, memory_order_relaxed) : 0;
  const size_t peak_bytes = atomic_load_explicit(&self->requested_bytes_peak, memory_order_relaxed);
  if (!tarn__over_is_common(charged_bytes <= peak_bytes)) {
    tarn__over_raise_peak(&self->requested_bytes_peak, charged_bytes);
  }
  const size_t sum_bytes =
      charged_bytes - credit_bytes + atomic_load_explicit(&self->more_bytes, memory_order_relaxed);
  const size_t high_bytes = atomic_load_explicit(&self->allocated_bytes_peak, memory_order_relaxed);
  if (!tarn__over_is_common(sum_bytes <= high_bytes)) {
    tarn__over_raise_peak(&self->allocated_bytes_peak, sum_bytes);
  }
}

/* What was credit was a peak already, but for what is asked for beside it. */
static inline bool may_be_peak(const tarn__over *self, bool is_new, size_t more_bytes) {
  return is_new || more_bytes != 0 ||
         atomic_load_explicit(&self->more_bytes, memory_order_relaxed) != 0;
}

static inline void note_back(tarn__over *self, size_t more_bytes) {
  if (tarn__over_is_common(more_bytes == 0)) return;
  atomic_fetch_sub_explicit(&self->more_bytes, more_bytes, memory_order_relaxed);
}

/* Somebody freed the block below that was recorded here: what began there is over. */
static __attribute__((noinline)) void forget_lost(tarn__over *self, uint64_t record) {
  const size_t requested_bytes = tarn__lent_size(record);
  size_t asked_bytes;
  (void)route(self, requested_bytes, &asked_bytes);
  tarn__over_count(NULL, &self->free_count);
  note_back(self, asked_bytes - requested_bytes);
  tarn__over_pay_back(self, requested_bytes);
}

static __attribute__((noinline)) tarn_status return_unrecorded(tarn__over *self,
                                                               size_t requested_bytes,
                                                               tarn_stream *stream,
                                                               void **address) {
  size_t asked_bytes;
  tarn_pool *below = route(self, requested_bytes, &asked_bytes);
  const tarn_status returned = tarn_pool_free(below, *address, stream);
  (void)returned; /* a block just lent: nobody could take it elsewhere */
  *address = NULL;
  tarn__over_count_refusal(self, TARN_OUT_OF_MEMORY);
  const tarn_status status =
      tarn_fail(TARN_OUT_OF_MEMORY,
                "no memory for the record of a block of %zu bytes, or pool %s does not align it",
                requested_bytes, tarn_pool_name(below));
  tarn__over_pay_back(self, requested_bytes);
  return status;
}

static bool enter_slowly(tarn__over *self, tarn__over_desk *desk, uintptr_t address,
                         uint64_t record, uint64_t *before) {
  if (!tarn__lent_map_enter(&self->lent, address, record, before)) return false;
  if (desk == NULL) return true;
  atomic_store_explicit(&desk->leaf_end, end_of_leaf(address), memory_order_relaxed);
  atomic_store_explicit(&desk->leaf, tarn__lent_map_leaf(&self->lent, address),
                        memory_order_relaxed);
  return true;
}

static inline bool enter(tarn__over *self, tarn__over_desk *desk, uintptr_t address,
                         uint64_t record, uint64_t *before) {
  tarn__lent_leaf *leaf = known_leaf(desk, address);
  return (tarn__over_is_common(leaf != NULL) && tarn__over_is_common(tarn__lent_leaf_enter(
                                                    &self->lent, leaf, address, record, before))) ||
         enter_slowly(self, desk, address, record, before);
}

static inline tarn_trace *trace_of(tarn__over *self) {
  return atomic_load_explicit(&self->trace, memory_order_acquire);
}

static inline tarn_status enter_block(tarn__over *self, tarn__over_desk *desk,
                                      size_t requested_bytes, size_t asked_bytes, bool is_new,
                                      uint32_t label, tarn_stream *stream, void **address) {
  const uint64_t record = tarn__lent_record(requested_bytes, label);
  uint64_t before = 0;
  if (!tarn__over_is_common(enter(self, desk, (uintptr_t)*address, record, &before))) {
    return return_unrecorded(self, requested_bytes, stream, address);
  }
  tarn__over_count(desk != NULL ? &desk->alloc_count : NULL, &self->alloc_count);
  if (!tarn__over_is_common(before == 0)) forget_lost(self, before);
  const size_t more_bytes = asked_bytes - requested_bytes;
  if (!tarn__over_is_common(!may_be_peak(self, is_new, more_bytes))) {
    note_lent(self, desk, more_bytes);
  }
  tarn_trace *trace = trace_of(self);
  if (!tarn__over_is_common(trace == NULL)) {
    tarn_trace_record(trace, 'a', *address, requested_bytes, stream);
  }
  return TARN_OK;
}

tarn_status tarn__over_enter(tarn__over *self, size_t requested_bytes, uint32_t label,
                             tarn_stream *stream, void **address) {
  size_t asked_bytes;
  (void)route(self, requested_bytes, &asked_bytes);
  return enter_block(self, tarn__over_own_desk(self), requested_bytes, asked_bytes, /*is_new=*/true,
                     label, stream, address);
}

tarn_status tarn__over_lend(tarn__over *self, size_t requested_bytes, size_t alignment_bytes,
                            uint32_t label, tarn_stream *stream, void **address) {
  bool is_new;
  tarn__over_desk *desk = tarn__over_own_desk(self);
  tarn_status status = tarn__over_desk_charge(self, desk, requested_bytes, &is_new);
  if (!tarn__over_is_common(status == TARN_OK)) return status;
  size_t asked_bytes;
  tarn_pool *below = route(self, requested_bytes, &asked_bytes);
  status = alignment_bytes == 0
               ? tarn_pool_alloc(below, asked_bytes, stream, address)
               : tarn_pool_alloc_aligned(below, asked_bytes, alignment_bytes, stream, address);
  if (tarn__over_is_common(status == TARN_OK)) {
    return enter_block(self, desk, requested_bytes, asked_bytes, is_new, label, stream, address);
  }
  tarn__over_count_refusal(self, status);
  tarn__over_pay_back(self, requested_bytes);
  return status;
}

tarn_status tarn__over_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                             tarn_stream *stream, void **address) {
  return tarn__over_lend(context, size_bytes, alignment_bytes, tarn_tag_current(), stream, address);
}

/* --- taking back --- */

static __attribute__((noinline)) tarn_status refuse_address(const void *address) {
  return tarn_fail(TARN_NOT_FOUND, "%p is no block that this adaptor has lent out", address);
}

/* Where the record of a block that begins there is or would be; NULL for nowhere. */
static inline tarn__lent_leaf *place_of(tarn__over *self, const tarn__over_desk *desk,
                                        uintptr_t address) {
  tarn__lent_leaf *leaf = known_leaf(desk, address);
  if (!tarn__over_is_common(leaf != NULL)) leaf = tarn__lent_map_leaf(&self->lent, address);
  return tarn__over_is_common(leaf != NULL) ? tarn__lent_place(&self->lent, leaf, address) : NULL;
}

static inline tarn_status take_back(tarn__over *self, const tarn__over_desk *desk,
                                    const void *address, tarn_stream *stream,
                                    tarn__over_taken *taken) {
  taken->place = place_of(self, desk, (uintptr_t)address);
  if (!tarn__over_is_common(taken->place != NULL)) return refuse_address(address);
  taken->record = atomic_load_explicit(taken->place, memory_order_relaxed);
  if (!tarn__over_is_common(taken->record != 0)) return refuse_address(address);
  atomic_store_explicit(taken->place, 0, memory_order_relaxed);
  tarn_trace *trace = trace_of(self);
  if (!tarn__over_is_common(trace == NULL)) {
    tarn_trace_record(trace, 'f', address, tarn__lent_size(taken->record), stream);
  }
  return TARN_OK;
}

static __attribute__((noinline)) void undo_taking(tarn__over *self, const tarn__over_taken *taken,
                                                  const void *address, tarn_stream *stream) {
  atomic_store_explicit(taken->place, taken->record, memory_order_release);
  tarn_trace *trace = trace_of(self);
  if (trace == NULL) return;
  tarn_trace_record(trace, 'a', address, tarn__lent_size(taken->record), stream);
}

static inline tarn_status give_back(tarn__over *self, tarn__over_desk *desk,
                                    const tarn__over_taken *taken, void *address,
                                    tarn_stream *stream) {
  const size_t requested_bytes = tarn__lent_size(taken->record);
  size_t asked_bytes;
  tarn_pool *below = route(self, requested_bytes, &asked_bytes);
  const tarn_status status = tarn_pool_free(below, address, stream);
  if (!tarn__over_is_common(status == TARN_OK)) {
    undo_taking(self, taken, address, stream);
    return status;
  }
  tarn__over_count(desk != NULL ? &desk->free_count : NULL, &self->free_count);
  note_back(self, asked_bytes - requested_bytes);
  tarn__over_desk_pay_back(self, desk, requested_bytes);
  return TARN_OK;
}

tarn_status tarn__over_take_back(tarn__over *self, const void *address, tarn_stream *stream,
                                 tarn__over_taken *taken) {
  return take_back(self, tarn__over_own_desk(self), address, stream, taken);
}

tarn_status tarn__over_give_back(tarn__over *self, const tarn__over_taken *taken, void *address,
                                 tarn_stream *stream) {
  return give_back(self, tarn__over_own_desk(self), taken, address, stream);
}

tarn_status tarn__over_free(void *context, void *address, tarn_stream *stream) {
  tarn__over_taken taken;
  tarn__over_desk *desk = tarn__over_own_desk(context);
  const tarn_status status = take_back(context, desk, address, stream, &taken);
  return tarn__over_is_common(status == TARN_OK) ? give_back(context, desk, &taken, address, stream)
                                                 : status;
}

/* --- of blocks that are out --- */

/* The pool below that lent the block, too; NULL where there is no such block. */
static tarn_pool *find_block(const tarn__over *self, const void *address, void **start,
                             size_t *size_bytes) {
  uintptr_t first = 0;
  const uint64_t record = tarn__lent_map_find(&self->lent, (uintptr_t)address, &first);
  if (record == 0) return NULL;
  size_t asked_bytes;
  *start = (void *)first;
  *size_bytes = tarn__lent_size(record);
  return route(self, *size_bytes, &asked_bytes);
}

tarn_status tarn__over_find(const tarn__over *self, const void *address, void **start,
                            size_t *size_bytes) {
  return find_block(self, address, start, size_bytes) != NULL ? TARN_OK : refuse_address(address);
}

tarn_status tarn__over_note_use(void *context, void *address, tarn_stream *stream) {
  tarn__over *self = context;
  void *start;
  size_t size_bytes;
  tarn_pool *below = find_block(self, address, &start, &size_bytes);
  if (below == NULL) return refuse_address(address);
  const tarn_status status = tarn_pool_note_use(below, address, stream);
  tarn_trace *trace = trace_of(self);
  if (status == TARN_OK && trace != NULL) tarn_trace_record(trace, 'u', start, size_bytes, stream);
  return status;
}

static tarn_status over_share_range(void *context, const void *address, size_t size_bytes,
                                    tarn_stream *stream, bool may_mark, tarn_share_memory *memory) {
  void *start;
  size_t block_bytes;
  tarn_pool *below = find_block(context, address, &start, &block_bytes);
  if (below == NULL) return refuse_address(address);
  return tarn_pool_share_range(below, address, size_bytes, stream, may_mark, memory);
}

static bool over_is_paused(void *context, const void *address) {
  void *start;
  size_t size_bytes;
  tarn_pool *below = find_block(context, address, &start, &size_bytes);
  return below != NULL && tarn_pool_is_paused(below, address);
}

/* What was asked for is known here. */
static tarn_status over_size_of(void *context, const void *address, size_t *size_bytes) {
  tarn__over *self = context;
  const tarn__lent_leaf *place = place_of(self, tarn__over_own_desk(self), (uintptr_t)address);
  const uint64_t record = place != NULL ? atomic_load_explicit(place, memory_order_relaxed) : 0;
  *size_bytes = tarn__lent_size(record);
  return record != 0 ? TARN_OK : refuse_address(address);
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

void tarn__over_copy_stats(tarn__over *self, tarn_pool_stats *stats) {
  stats->requested_bytes = tarn__over_lent_bytes(self);
  stats->allocated_bytes =
      stats->requested_bytes + atomic_load_explicit(&self->more_bytes, memory_order_relaxed);
  stats->requested_bytes_peak =
      atomic_load_explicit(&self->requested_bytes_peak, memory_order_relaxed);
  stats->allocated_bytes_peak =
      atomic_load_explicit(&self->allocated_bytes_peak, memory_order_relaxed);
  stats->alloc_count = tarn__over_sum_allocs(self);
  stats->free_count = tarn__over_sum_frees(self);
  stats->out_of_memory_count =
      atomic_load_explicit(&self->out_of_memory_count, memory_order_relaxed);
}

static tarn_status over_stats(void *context, tarn_pool_stats *stats) {
  tarn__over *self = context;
  const tarn_status status = tarn_pool_stats_of(self->upstream, stats);
  if (status == TARN_OK) tarn__over_copy_stats(self, stats);
  return status;
}

static tarn_status over_reset_peaks(void *context) {
  tarn__over *self = context;
  const tarn_status status = tarn_pool_reset_peaks(self->upstream);
  if (status == TARN_OK) tarn__over_reset_peaks(self);
  return status;
}

static void over_set_trace(void *context, tarn_trace *trace) {
  tarn__over *self = context;
  atomic_store_explicit(&self->trace, trace, memory_order_release);
}

/* True with all blocks, or with as many as there is room for. */
static bool copy_blocks(const tarn__over *self, tarn_snapshot *snapshot) {
  uintptr_t start = 0;
  uint64_t record = tarn__lent_map_next(&self->lent, 0, &start);
  for (; record != 0; record = tarn__lent_map_next(&self->lent, start + 1, &start)) {
    if (snapshot->block_count == snapshot->block_capacity) return false;
    const uint32_t label = tarn__lent_label(record);
    tarn_snapshot_block *block = &snapshot->blocks[snapshot->block_count++];
    *block = (tarn_snapshot_block){.address = (void *)start,
                                   .requested_bytes = tarn__lent_size(record),
                                   .tag = self->tag_of == NULL ? label : self->tag_of(self, label),
                                   .state = TARN_BLOCK_LIVE,
                                   .is_first = true};
    (void)route(self, block->requested_bytes, &block->size_bytes);
  }
  return true;
}

/* Other threads may allocate and free meanwhile: what is told is of the blocks that are listed. */
static void tell_of_blocks(tarn__over *self, tarn_snapshot *snapshot) {
  tarn_pool_stats *stats = &snapshot->stats;
  tarn__over_copy_stats(self, stats);
  stats->requested_bytes = 0;
  stats->allocated_bytes = 0;
  for (size_t index = 0; index < snapshot->block_count; index++) {
    tarn_snapshot_block *block = &snapshot->blocks[index];
    stats->requested_bytes += block->requested_bytes;
    stats->allocated_bytes += block->size_bytes;
    if (over_is_paused(self, block->address)) block->state = TARN_BLOCK_PAUSED;
  }
}

tarn_status tarn__over_copy_blocks(tarn__over *self, tarn_snapshot *snapshot) {
  snapshot->flags = TARN_SNAPSHOT_LENT_ONLY;
  size_t room = 0;
  do {
    const uint64_t live =
        tarn__over_sum_allocs(self) - tarn__over_sum_frees(self); /* they change meanwhile */
    room = 2 * room > live ? 2 * room : (size_t)live;
    const tarn_status status = tarn_snapshot_reserve(snapshot, room, /*stamp_count=*/0);
    if (status != TARN_OK) return status;
  } while (!copy_blocks(self, snapshot));
  tell_of_blocks(self, snapshot);
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
                                      .close = tarn__over_close,
                                      .decay = over_decay,
                                      .share_range = over_share_range,
                                      .set_trace = over_set_trace,
                                      .snapshot = over_snapshot,
                                      .reset_peaks = over_reset_peaks,
                                      .pause = over_pause,
                                      .resume = over_resume,
                                      .is_paused = over_is_paused,
                                      .size_of = over_size_of};
