/* magazine.c: what threads keep of a pool's blocks: given back, closed and summed up. */
#include <sched.h>
#include <stdlib.h>

#include "alloc/tarn_barrier.h"
#include "alloc/magazine_fast.h"

/* A thread keeps at most this share of what the pool has reserved, and the block freed last. Blocks
 * of streams are pending when they come back to the heap, and what is pending is neither recycled
 * nor lent to others, so fewer of them are kept, and no large ones: where those lie matters more
 * than how fast they are had, and in the heap they are joined with their neighbours. */
enum { KEPT_SHARE = 4, KEPT_SHARE_STREAM = 256 };
static const size_t KEPT_BYTES_LEAST = (size_t)1 << 20;

/* Where memory can be moved in large granules it is packed by them: not even the block freed last
 * is kept where it lies, unless it is small, or would be lent again at once. */
static const size_t LARGE_GRANULE_BYTES = (size_t)1 << 20;

static size_t most_block_bytes(const tarn__caching *self) {
  const bool is_packing = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0 &&
                          self->machine->granularity_bytes >= LARGE_GRANULE_BYTES;
  return is_packing ? TARN__KEPT_BYTES_OF_STREAM : SIZE_MAX;
}

void tarn__magazine_note_lent(tarn__caching *self, const tarn__block *block) {
  if (block->size_bytes <= most_block_bytes(self)) return;
  tarn__magazine *mine = tarn__magazine_of_caller(self);
  if (mine != NULL) mine->lent_large = block;
}

/* A block that is in no bin any more. Answers what it is part of then. */
static tarn__block *give_back(tarn__magazine *magazine, tarn__block *block) {
  tarn__heap *heap = &magazine->pool->heap;
  tarn__magazine_count_out(magazine, block);
  magazine->locked_count--;
  tarn__heap_take_back(heap, block);
  return tarn__heap_put_free(heap, block);
}

/* The large blocks go first, until keep_bytes are left. False once enough has gone. */
static bool drain_lane(tarn__magazine *magazine, tarn__lane *kept, size_t keep_bytes,
                       const tarn__gathering *what) {
  const unsigned last = tarn__size_bin(what->least_bytes);
  for (unsigned bin = TARN__SIZE_BINS; bin-- > last;) {
    while (kept->bins[bin] != NULL) {
      if (tarn__load_size(&magazine->kept_bytes) <= keep_bytes) return false;
      tarn__block *block = kept->bins[bin];
      kept->bins[bin] = block->below;
      block = give_back(magazine, block);
      if (what->enough_bytes != 0 && block->size_bytes >= what->enough_bytes) return false;
    }
  }
  return true;
}

/* What the thread's next call with the lock is to find in the heap. */
static tarn__block *give_aside(tarn__magazine *magazine) {
  magazine->lent_large = NULL;
  if (magazine->aside.lane == NULL) return NULL;
  magazine->aside.lane = NULL;
  tarn__store_size(&magazine->aside_bytes, 0);
  return give_back(magazine, magazine->aside.block);
}

static void drain(tarn__magazine *magazine, size_t keep_bytes, const tarn__gathering *what) {
  give_aside(magazine);
  tarn__magazine_settle(magazine);
  bool may_go_on = true;
  for (tarn__lane *kept = magazine->lanes; kept != NULL && may_go_on; kept = kept->next) {
    may_go_on = drain_lane(magazine, kept, keep_bytes, what);
  }
  if (may_go_on) drain_lane(magazine, &magazine->host, keep_bytes, what);
}

void tarn__magazine_drain(tarn__magazine *magazine) {
  drain(magazine, /*keep_bytes=*/0, &(tarn__gathering){0});
}

static void give_large(tarn__magazine *magazine) {
  give_aside(magazine);
  if (!tarn__magazine_has_large(magazine)) return;
  magazine->recent.lane = NULL;
  give_back(magazine, magazine->recent.block);
}

void tarn__magazine_give_large(tarn__caching *self) {
  tarn__magazine *mine = tarn__magazine_of_caller(self);
  if (mine != NULL) give_large(mine);
}

static tarn__lane *make_lane(tarn__magazine *magazine, uint32_t slot) {
  if (slot == TARN__HOST_SLOT) return &magazine->host;
  if (magazine->lane_of[slot] != NULL) return magazine->lane_of[slot];
  tarn__lane *kept = calloc(1, sizeof *kept);
  if (kept == NULL) return NULL;
  kept->block_bytes_max = most_block_bytes(magazine->pool);
  kept->next = magazine->lanes;
  magazine->lanes = kept;
  magazine->lane_of[slot] = kept;
  return kept;
}

static size_t share_of_thread(const tarn__caching *self, uint32_t slot) {
  const size_t reserved_bytes = tarn__caching_reserved_bytes(self);
  if (slot != TARN__HOST_SLOT) return reserved_bytes / KEPT_SHARE_STREAM;
  const size_t share_bytes = reserved_bytes / KEPT_SHARE;
  return share_bytes > KEPT_BYTES_LEAST ? share_bytes : KEPT_BYTES_LEAST;
}

/* Is the stamp of the free, none for the CPU's, all that the block waits for? One may be another
 * stream's, where the host has seen the free's own meanwhile. */
static bool has_own_stamp_only(const tarn__block *block, uint32_t slot) {
  if (slot == TARN__HOST_SLOT) return block->stamps.count == 0;
  return tarn__block_has_one_user(block, slot) && block->stamps.count == 1;
}

bool tarn__magazine_keep(tarn__magazine *magazine, tarn__block *block, uint32_t slot) {
  if (!has_own_stamp_only(block, slot)) return false;
  /* In a capture every call takes the lock. */
  if (slot != TARN__HOST_SLOT && tarn__order_is_private(slot)) return false;
  const uint32_t closed = atomic_load_explicit(&magazine->closed, memory_order_relaxed);
  if (closed % TARN__NEEDS_FENCE != 0) return false;
  tarn__lane *kept = make_lane(magazine, slot);
  if (kept == NULL) return false;
  if (kept != &magazine->host && block->size_bytes > kept->block_bytes_max) return false;
  give_large(magazine);
  tarn__magazine_settle(magazine);
  kept->kept_bytes_max = share_of_thread(magazine->pool, slot);
  if (tarn__load_size(&magazine->kept_bytes) > kept->kept_bytes_max) {
    drain(magazine, kept->kept_bytes_max / 2, &(tarn__gathering){0});
  }
  magazine->locked_count++;
  tarn__magazine_push(magazine, &magazine->recent, kept, block, block->address,
                      tarn__load_size(&block->requested_bytes),
                      tarn__load_size(&magazine->kept_bytes) + block->size_bytes);
  return true;
}

void tarn__magazines_close(tarn__caching *self) {
  self->magazines_closed_count++;
  const tarn__magazine *mine = tarn__magazine_of_caller(self);
  bool is_other = false;
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    atomic_fetch_add_explicit(&each->closed, 1, memory_order_relaxed);
    is_other |= each != mine;
  }
  if (!is_other) return;
  tarn_barrier_heavy();
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    /* Acquire: what the thread did while it was inside. */
    while ((atomic_load_explicit(&each->turn, memory_order_acquire) & TARN__TURN_INSIDE) != 0) {
      sched_yield();
    }
  }
}

void tarn__magazines_open(tarn__caching *self) {
  self->magazines_closed_count--;
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    /* Release: pairs with the acquire of the thread that enters. */
    atomic_fetch_sub_explicit(&each->closed, 1, memory_order_release);
  }
}

size_t tarn__magazines_aside_bytes(const tarn__caching *self) {
  size_t sum_bytes = 0;
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    sum_bytes += tarn__load_size(&each->aside_bytes);
  }
  return sum_bytes;
}

tarn__kept tarn__magazines_sum(const tarn__caching *self) {
  tarn__kept sum = {0};
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    sum.kept_bytes += tarn__load_size(&each->kept_bytes);
    sum.requested_bytes += tarn__load_size(&each->requested_bytes);
  }
  return sum;
}

/* Raises the peaks to what is lent out now, or was in between by the calls of this magazine's
 * thread. The magazine is closed, or the caller's own. NULL: just to what is lent out now. */
static void note_peaks_of(tarn__caching *self, tarn__magazine *magazine) {
  const tarn__kept sum = tarn__magazines_sum(self);
  size_t allocated_bytes = self->heap.allocated_bytes - sum.kept_bytes;
  size_t requested_bytes = self->heap.requested_bytes + sum.requested_bytes;
  /* A block may have gone from one open magazine to another between the two looks: counted as kept
   * twice, perhaps with more than there is. That was no peak. */
  if (allocated_bytes > self->heap.allocated_bytes) allocated_bytes = 0;
  if (requested_bytes > allocated_bytes) requested_bytes = allocated_bytes;
  if (magazine != NULL) {
    const size_t kept_bytes = tarn__load_size(&magazine->kept_bytes);
    const size_t sum_bytes = tarn__load_size(&magazine->requested_bytes);
    const size_t more_bytes = magazine->requested_bytes_high - sum_bytes;
    /* Where the lock's owner has moved blocks meanwhile, the marks may be on the other side. */
    if (magazine->kept_bytes_low < kept_bytes) {
      allocated_bytes += kept_bytes - magazine->kept_bytes_low;
    }
    if ((ptrdiff_t)more_bytes > 0) requested_bytes += more_bytes;
    magazine->kept_bytes_low = kept_bytes;
    magazine->requested_bytes_high = sum_bytes;
  }
  tarn_pool_stats *stats = &self->stats;
  if (stats->allocated_bytes_peak < allocated_bytes) stats->allocated_bytes_peak = allocated_bytes;
  if (stats->requested_bytes_peak < requested_bytes) stats->requested_bytes_peak = requested_bytes;
  tarn__caching_note_spare(self, allocated_bytes);
}

void tarn__magazine_note_peaks(tarn__caching *self) {
  note_peaks_of(self, tarn__magazine_of_caller(self));
}

/* With the magazines closed. */
static void drain_all(tarn__caching *self, size_t least_bytes) {
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    note_peaks_of(self, each);
    drain(each, /*keep_bytes=*/0, &(tarn__gathering){.least_bytes = least_bytes});
  }
}

void tarn__magazines_empty(tarn__caching *self) {
  tarn__magazines_close(self);
  drain_all(self, /*least_bytes=*/0);
}

size_t tarn__magazine_kept_bytes(const tarn__caching *self) {
  const tarn__magazine *mine = tarn__magazine_of_caller(self);
  return mine == NULL ? 0 : tarn__load_size(&mine->kept_bytes);
}

bool tarn__magazine_gather_own(tarn__caching *self, const tarn__gathering *what) {
  tarn__magazine *mine = tarn__magazine_of_caller(self);
  if (mine == NULL) return false;
  const size_t kept_bytes = tarn__load_size(&mine->kept_bytes);
  if (kept_bytes < what->least_bytes || kept_bytes == 0) return false;
  note_peaks_of(self, mine);
  drain(mine, /*keep_bytes=*/0, what);
  return tarn__load_size(&mine->kept_bytes) != kept_bytes;
}

bool tarn__magazines_gather(tarn__caching *self, size_t least_bytes) {
  bool may_help = false;
  for (tarn__magazine *each = self->magazines; each != NULL && !may_help; each = each->next) {
    const size_t kept_bytes = tarn__load_size(&each->kept_bytes);
    may_help = kept_bytes != 0 && kept_bytes >= least_bytes;
  }
  if (!may_help) return false;
  tarn__magazines_close(self);
  const size_t before_bytes = self->heap.allocated_bytes;
  drain_all(self, least_bytes);
  tarn__magazines_open(self);
  return self->heap.allocated_bytes != before_bytes;
}

size_t tarn__magazines_peak_bytes(tarn__caching *self) {
  size_t allocated_bytes = self->heap.allocated_bytes;
  tarn__magazines_close(self);
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    const size_t kept_bytes = tarn__load_size(&each->kept_bytes);
    allocated_bytes -= each->kept_bytes_low < kept_bytes ? each->kept_bytes_low : kept_bytes;
  }
  tarn__magazines_open(self);
  return allocated_bytes;
}

static size_t block_pending_bytes(const tarn__block *block) {
  return tarn__stamps_are_covered(&block->stamps, NULL) ? 0 : block->size_bytes;
}

static size_t lane_pending_bytes(const tarn__lane *kept) {
  size_t pending = 0;
  for (unsigned bin = 0; bin < TARN__SIZE_BINS; bin++) {
    const tarn__block *block = kept->bins[bin];
    for (; block != NULL; block = block->below) {
      pending += block_pending_bytes(block);
    }
  }
  return pending;
}

static uint64_t lane_block_count(const tarn__lane *kept) {
  uint64_t count = 0;
  for (unsigned bin = 0; bin < TARN__SIZE_BINS; bin++) {
    const tarn__block *block = kept->bins[bin];
    for (; block != NULL; block = block->below) count++;
  }
  return count;
}

/* Of the calls that were served, as many more were frees than allocations as blocks are kept that
 * did not come with the lock. */
void tarn__magazine_count(const tarn__magazine *magazine, uint64_t *alloc_count,
                          uint64_t *free_count) {
  uint64_t kept_count = (magazine->recent.lane != NULL) + (magazine->aside.lane != NULL);
  if (tarn__load_size(&magazine->kept_bytes) != 0) {
    kept_count += lane_block_count(&magazine->host);
    for (const tarn__lane *kept = magazine->lanes; kept != NULL; kept = kept->next) {
      kept_count += lane_block_count(kept);
    }
  }
  const uint64_t turn = atomic_load_explicit(&magazine->turn, memory_order_relaxed);
  const uint64_t served_count = turn / TARN__TURN_SERVED;
  const uint64_t more_frees = kept_count - magazine->locked_count;
  *alloc_count += (served_count - more_frees) / 2;
  *free_count += (served_count - more_frees) / 2 + more_frees;
}

void tarn__magazines_count(const tarn__caching *self, uint64_t *alloc_count, uint64_t *free_count) {
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    tarn__magazine_count(each, alloc_count, free_count);
  }
}

size_t tarn__magazines_pending_bytes(const tarn__caching *self) {
  size_t pending = 0;
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    if (each->recent.lane != NULL) pending += block_pending_bytes(each->recent.block);
    if (each->aside.lane != NULL) pending += block_pending_bytes(each->aside.block);
    pending += lane_pending_bytes(&each->host);
    for (const tarn__lane *kept = each->lanes; kept != NULL; kept = kept->next) {
      pending += lane_pending_bytes(kept);
    }
  }
  return pending;
}
