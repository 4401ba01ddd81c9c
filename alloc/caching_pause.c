/* caching_pause.c: which granules of a caching pool may go, and how they do.
 *
 *     wait for all streams -> choose granules; blocks PAUSED, pieces with memory, contents in place
 *        -> contents to the backup -> memory to the provider, run by run
 *
 * Until the last step begins nothing has to be undone but records. */
#include "alloc/caching_pause.h"

#include <stdlib.h>

#include "alloc/caching_poison.h"
#include "alloc/heap_paused.h"
#include "alloc/magazine.h"
#include "alloc/share.h"
#include "alloc/status.h"
#include "alloc/tag.h"

/* Contents are kept in blocks of so many bytes at most: what a backup pool finds more easily than
 * one of the whole, and what one copy takes. */
static const size_t KEPT_PIECE_BYTES = (size_t)64 << 20;

/* Waits for work that is enqueued while the work before is waited for. */
enum { ROUNDS_MAX = 16 };

/* A run of granules that are to go. */
typedef struct stretch {
  uintptr_t start;
  uintptr_t end;
  tarn__segment *range;
} stretch;

typedef struct choice {
  tarn__pausing *op;
  const tarn_pause_options *options;
  stretch *stretches;
  size_t count;
  size_t capacity;
  size_t block_count; /* of live ones that are chosen */
  bool is_late;       /* one of them was just used by a stream again */
  bool is_short;      /* no memory for a stretch */
} choice;

/* --- beginning and ending --- */

static tarn_status check_pool(const tarn__caching *self) {
  const tarn_status there = tarn__caching_check_process(self);
  if (there != TARN_OK) return there;
  if ((self->machine->flags & TARN_PROVIDER_RESERVES) == 0) {
    return tarn_fail(TARN_NOT_SUPPORTED,
                     "pool %s cannot be paused: provider %s does not reserve address space, so its "
                     "addresses would go with the memory",
                     tarn_budget_name(self->budget), tarn_provider_name(self->provider));
  }
  if (!tarn__order_is_any_captured()) return TARN_OK;
  return tarn_fail(TARN_BUSY, "pool %s cannot be paused or resumed while a stream is captured",
                   tarn_budget_name(self->budget));
}

tarn_status tarn__pausing_init(tarn__pausing *op, tarn__caching *self, const char *const *tags,
                               size_t tag_count) {
  op->self = self;
  for (uint32_t tag = 0; tag < TARN_TAGS_MAX; tag++) op->has_tag[tag] = tag_count == 0;
  for (size_t index = 0; index < tag_count; index++) {
    uint32_t tag = 0;
    if (tarn__tag_find(tags[index], &tag)) op->has_tag[tag] = true;
  }
  return check_pool(self);
}

void tarn__pausing_begin(tarn__pausing *op) {
  tarn__caching *self = op->self;
  pthread_mutex_lock(&self->lock);
  while (self->paused.is_busy) pthread_cond_wait(&self->settled, &self->lock);
  tarn__caching_watch_call(self);
  tarn__caching_settle_paused(self); /* what had no record for it then */
  self->paused.is_busy = true;
}

/* What is missing is what the pieces miss. */
static bool is_exact(const tarn__caching *self) {
  return tarn__paused_missing_bytes(&self->paused, 0, UINTPTR_MAX) == self->heap.paused_bytes;
}

void tarn__pausing_end(tarn__pausing *op) {
  tarn__caching *self = op->self;
  TARN_ASSERT(is_exact(self));
  self->paused.is_busy = false;
  tarn__caching_note_change(self);
  tarn__backup *gone = tarn__caching_take_gone(self);
  pthread_cond_broadcast(&self->settled);
  pthread_mutex_unlock(&self->lock);
  const tarn_error before = *tarn_last_error();
  tarn__backups_free(gone, op->unsure);
  tarn__error_restore(&before);
  free(op->spans);
}

/* --- streams --- */

static tarn_status wait_for(tarn__stamp stamp, bool may_wait, tarn__order_cost *cost) {
  if (may_wait) return tarn__order_behind(/*stream=*/NULL, stamp, cost);
  if (tarn__order_is_done(stamp, cost)) return TARN_OK;
  return tarn_fail(TARN_BUSY, "stream %u has work left that may use the pool's memory",
                   (unsigned)stamp.slot + 1);
}

/* For everything that is enqueued anywhere by now. Leaves the lock. */
static tarn_status wait_for_streams(tarn__caching *self, bool may_wait) {
  tarn__order_cost cost = {0};
  tarn_status status = TARN_OK;
  pthread_mutex_unlock(&self->lock);
  const uint32_t end = tarn__order_slot_end();
  for (uint32_t slot = 0; slot < end && status == TARN_OK; slot++) {
    tarn__stamp reached;
    if (tarn__order_reached(slot, &reached)) status = wait_for(reached, may_wait, &cost);
  }
  pthread_mutex_lock(&self->lock);
  tarn__caching_add_cost(self, &cost);
  if (status != TARN_NOT_READY) return status;
  return tarn_fail(TARN_BUSY, "pool %s cannot be paused while a stream is captured",
                   tarn_budget_name(self->budget));
}

/* --- choosing --- */

static bool is_chosen(const choice *self, const tarn__block *block) {
  const bool is_lent = block->state == TARN__BLOCK_PAUSED ||
                       (block->state == TARN__BLOCK_LIVE && tarn__block_is_lent(block));
  return is_lent && self->op->has_tag[block->tag];
}

/* All that are left are those of captures, whose graphs do not run now. */
static bool is_done_with(tarn__block *block) {
  tarn__stamps_prune(&block->stamps);
  for (uint32_t index = 0; index < block->stamps.count; index++) {
    if (!tarn__order_is_private(tarn__stamps_at(&block->stamps, index).slot)) return false;
  }
  return true;
}

/* Its part of a granule may go, as far as the block is concerned. */
static bool may_go(choice *self, tarn__block *block) {
  switch (block->state) {
    case TARN__BLOCK_LIVE:
      if (!is_chosen(self, block)) return false;
      if (tarn__share_is_exported(block->address, block->size_bytes)) return false;
      self->is_late |= !is_done_with(block);
      return true;
    case TARN__BLOCK_PAUSED:
      return self->options->contents == TARN_PAUSE_KEEP || !block->is_kept;
    case TARN__BLOCK_FREE:
      tarn__stamps_prune(&block->stamps);
      return block->stamps.count == 0;
    case TARN__BLOCK_ASLEEP:
      return true;
    case TARN__BLOCK_HOLE:
    case TARN__BLOCK_CLAIMED:
    case TARN__BLOCK_GROWING:
      return false;
  }
  return false;
}

static void add_stretch(choice *self, uintptr_t start, uintptr_t end, tarn__segment *range) {
  stretch *last = self->count > 0 ? &self->stretches[self->count - 1] : NULL;
  if (last != NULL && last->end == start && last->range == range) {
    last->end = end;
    return;
  }
  if (self->count == self->capacity) {
    const size_t capacity = self->capacity * 2 + 64;
    stretch *grown = realloc(self->stretches, capacity * sizeof *grown);
    if (grown == NULL) {
      self->is_short = true;
      return;
    }
    self->stretches = grown;
    self->capacity = capacity;
  }
  self->stretches[self->count++] = (stretch){start, end, range};
}

/* What of [start, end) is in no stretch and no piece yet. */
static void add_missing(choice *self, uintptr_t start, uintptr_t end, tarn__segment *range) {
  const tarn__paused *paused = &self->op->self->paused;
  if (self->count > 0 && self->stretches[self->count - 1].range == range) {
    const uintptr_t done = self->stretches[self->count - 1].end;
    if (start < done) start = done;
  }
  while (start < end) {
    const size_t index = tarn__paused_find(paused, start);
    const tarn__piece *piece = index < paused->count ? &paused->pieces[index] : NULL;
    const uintptr_t next = piece != NULL ? (uintptr_t)piece->address : end;
    const uintptr_t until = next < end ? next : end;
    if (until > start) add_stretch(self, start, until, range);
    start = piece != NULL ? next + piece->size_bytes : end;
  }
}

/* Blocks from `first` up to `end` may go, and their neighbours may not. A piece of the provider's
 * goes whole, with what lies in it beside a chosen block, or stays. */
static void choose_run(choice *self, tarn__block *first, const tarn__block *end) {
  const tarn__heap *heap = &self->op->self->heap;
  const uintptr_t granule = self->op->self->machine->granularity_bytes;
  tarn__segment *segment = first->segment;
  uintptr_t low = ((uintptr_t)first->address + granule - 1) & ~(granule - 1);
  uintptr_t high =
      end != NULL ? (uintptr_t)end->address : (uintptr_t)segment->address + segment->size_bytes;
  high &= ~(granule - 1);
  tarn__heap_trim_pieces(heap, segment, &low, &high);
  for (const tarn__block *block = first; block != end; block = block->right) {
    if (!is_chosen(self, block)) continue;
    self->block_count += block->state == TARN__BLOCK_LIVE;
    uintptr_t from = (uintptr_t)block->address & ~(granule - 1);
    uintptr_t to = ((uintptr_t)block->address + block->size_bytes + granule - 1) & ~(granule - 1);
    tarn__heap_widen_to_pieces(heap, segment, &from, &to);
    if (from < low) from = low;
    if (to > high) to = high;
    if (from < to) add_missing(self, from, to, segment);
  }
}

static void choose_all(choice *self) {
  for (tarn__segment *segment = self->op->self->heap.segments; segment != NULL;
       segment = segment->next) {
    tarn__block *block = segment->first;
    while (block != NULL) {
      tarn__block *const first = block;
      while (block != NULL && may_go(self, block)) block = block->right;
      if (block != first) choose_run(self, first, block);
      if (block != NULL) block = block->right;
    }
  }
}

/* --- marking --- */

static size_t piece_bytes_max(const choice *self) {
  if (self->options->contents == TARN_PAUSE_DISCARD) return SIZE_MAX;
  const size_t granule = self->op->self->machine->granularity_bytes;
  return granule > KEPT_PIECE_BYTES ? granule : KEPT_PIECE_BYTES;
}

static void insert_pieces(const choice *self, const stretch *at) {
  const size_t most_bytes = piece_bytes_max(self);
  for (uintptr_t start = at->start; start < at->end;) {
    const size_t left_bytes = at->end - start;
    /* Addresses are kept as numbers where they are compared. */
    const tarn__piece piece = {.address = (char *)start,
                               .size_bytes = left_bytes < most_bytes ? left_bytes : most_bytes,
                               .has_memory = true,
                               .is_in_place = true,
                               .is_chosen = true,
                               .range = at->range};
    tarn__paused_insert(&self->op->self->paused, &piece);
    start += piece.size_bytes;
  }
}

/* The end of the pieces that adjoin each other from `address` on; `address` where none has it. */
static uintptr_t pieces_end(const tarn__paused *paused, uintptr_t address) {
  for (size_t index = tarn__paused_find(paused, address); index < paused->count; index++) {
    const tarn__piece *piece = &paused->pieces[index];
    if ((uintptr_t)piece->address > address) break;
    address = (uintptr_t)piece->address + piece->size_bytes;
  }
  return address;
}

/* Of a free block its ends alone can be in pieces, or all of it: its own whole granules are
 * nobody's contents. Those sleep. *last is the last block that is done with, for what is put back
 * may be joined with what is not. False where there is no record for a cut. */
static bool put_ends_asleep(tarn__caching *self, tarn__block *block, tarn__block **last) {
  const tarn__paused *paused = &self->paused;
  const uintptr_t start = (uintptr_t)block->address;
  const uintptr_t end = start + block->size_bytes;
  const uintptr_t low = pieces_end(paused, start);
  *last = block;
  if (low == start && !tarn__paused_touches(paused, start, end)) return true;
  tarn__heap_claim(block);
  if (low >= end) {
    *last = tarn__heap_put_asleep(&self->heap, block);
    return true;
  }
  if (low > start) {
    tarn__block *rest = tarn__block_split(block, low - start);
    if (rest == NULL) {
      *last = tarn__heap_put_free(&self->heap, block);
      return false;
    }
    *last = tarn__heap_put_asleep(&self->heap, block);
    tarn__heap_put_free(&self->heap, rest);
    return true; /* and comes next */
  }
  const size_t index = tarn__paused_find(paused, low);
  tarn__block *rest = tarn__block_split(block, (uintptr_t)paused->pieces[index].address - start);
  *last = tarn__heap_put_free(&self->heap, block);
  if (rest != NULL) *last = tarn__heap_put_asleep(&self->heap, rest);
  return rest != NULL;
}

static tarn_status mark(choice *self) {
  tarn__caching *pool = self->op->self;
  size_t piece_count = 0;
  for (size_t index = 0; index < self->count; index++) {
    piece_count +=
        (self->stretches[index].end - self->stretches[index].start - 1) / piece_bytes_max(self) + 1;
  }
  /* Each paused block that is freed may cut a piece. */
  const size_t room = piece_count + pool->paused.block_count + self->block_count;
  bool is_done = piece_count == 0 || tarn__paused_reserve(&pool->paused, room);
  if (!is_done) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a list of what is paused");
  for (size_t index = 0; index < self->count; index++) insert_pieces(self, &self->stretches[index]);
  const bool is_kept = self->options->contents == TARN_PAUSE_KEEP;
  for (tarn__segment *segment = pool->heap.segments; segment != NULL && piece_count != 0;
       segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      const uintptr_t start = (uintptr_t)block->address;
      if (block->state == TARN__BLOCK_FREE) is_done &= put_ends_asleep(pool, block, &block);
      if (block->state != TARN__BLOCK_LIVE || !is_chosen(self, block)) continue;
      if (!tarn__paused_touches(&pool->paused, start, start + block->size_bytes)) continue;
      tarn__heap_pause(&pool->heap, block, is_kept);
      pool->paused.block_count++;
      self->op->report->block_count++;
    }
  }
  return is_done ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a block's record");
}

/* Chooses and marks, with every thread's blocks in the heap. TARN_NOT_READY where a stream has used
 * a chosen block meanwhile. */
static tarn_status choose(choice *self) {
  tarn__caching *pool = self->op->self;
  tarn__magazines_empty(pool);
  self->count = 0;
  self->block_count = 0;
  self->is_late = false;
  choose_all(self);
  tarn_status status = TARN_NOT_READY;
  if (self->is_short) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a list of granules");
  } else if (!self->is_late) {
    status = mark(self);
  }
  tarn__magazines_open(pool);
  return status;
}

/* --- all together --- */

/* Leaves the lock. */
static tarn_status choose_behind_streams(choice *self) {
  const bool may_wait = (self->options->flags & TARN_PAUSE_NO_WAIT) == 0;
  for (int round = 0; round < ROUNDS_MAX; round++) {
    tarn_status status = wait_for_streams(self->op->self, may_wait);
    if (status == TARN_OK) status = choose(self);
    if (status != TARN_NOT_READY) return status;
  }
  return tarn_fail(TARN_BUSY, "pool %s: streams go on using blocks that are to be paused",
                   tarn_budget_name(self->op->self->budget));
}

/* Contents that nobody kept are gone where the memory came back. */
static void accept_loss(tarn__pausing *op, bool is_copied) {
  for (size_t index = 0; index < op->self->paused.count; index++) {
    tarn__piece *piece = &op->self->paused.pieces[index];
    if (!piece->is_chosen || !piece->has_memory || piece->is_in_place) continue;
    if (piece->backup == NULL) {
      op->report->lost_bytes += piece->size_bytes;
    } else if (!is_copied) {
      op->report->stuck_bytes += piece->size_bytes;
      continue;
    }
    piece->is_in_place = true;
  }
}

/* Leaves the lock, and the last error as it is. */
static void undo(tarn__pausing *op) {
  const tarn_error cause = *tarn_last_error();
  tarn_status status = tarn__pausing_obtain(op, /*is_undoing=*/true);
  (void)status; /* the report has it */
  status = tarn__pausing_copy(op, /*to_backup=*/false);
  accept_loss(op, status == TARN_OK);
  op->report->copied_bytes = 0;
  tarn__error_restore(&cause);
}

static size_t shared_bytes(const choice *self) {
  tarn__caching *pool = self->op->self;
  size_t bytes = 0;
  tarn__magazines_close(pool); /* what a thread has is its own to write in */
  for (tarn__segment *segment = pool->heap.segments; segment != NULL; segment = segment->next) {
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (!is_chosen(self, block)) continue;
      const uintptr_t start = (uintptr_t)block->address;
      bytes += block->size_bytes -
               tarn__paused_missing_bytes(&pool->paused, start, start + block->size_bytes);
    }
  }
  tarn__magazines_open(pool);
  return bytes;
}

static tarn_status pause(choice *self) {
  tarn__pausing *op = self->op;
  const bool is_kept = self->options->contents == TARN_PAUSE_KEEP;
  tarn_status status = choose_behind_streams(self);
  if (status == TARN_OK && is_kept) {
    status = tarn__pausing_add_backups(op, self->options->backup);
    if (status == TARN_OK) status = tarn__pausing_collect(op);
    if (status == TARN_OK) status = tarn__pausing_copy(op, /*to_backup=*/true);
  }
  if (status == TARN_OK) status = tarn__pausing_release(op, /*fresh_only=*/false);
  if (status != TARN_OK) undo(op);
  tarn__caching_drop_pieces(op->self, /*is_all=*/false);
  const uint64_t live_count = tarn__caching_settle_paused(op->self);
  if (status != TARN_OK) op->report->block_count -= live_count;
  if (status == TARN_OK) op->report->shared_bytes = shared_bytes(self);
  return status;
}

tarn_status tarn__caching_pause(void *context, const tarn_pause_options *options,
                                tarn_pause_report *report) {
  tarn__caching *self = context;
  const bool is_host = tarn_device_is_host(self->machine->device);
  tarn__pausing op = {.stream = is_host ? NULL : options->stream, .report = report};
  tarn_status status = tarn__pausing_init(&op, self, options->tags, options->tag_count);
  if (status != TARN_OK) return status;
  if (options->contents == TARN_PAUSE_KEEP && options->stream == NULL && !is_host) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "contents of a device's memory need a stream");
  }
  choice chosen = {.op = &op, .options = options};
  tarn__pausing_begin(&op);
  status = pause(&chosen);
  tarn__pausing_end(&op);
  free(chosen.stretches);
  return status;
}
