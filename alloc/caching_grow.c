/* caching_grow.c: how a caching pool grows: a segment more, or a range in place. */
#include "alloc/caching_poison.h"

enum { HUGE_PAGE_BYTES = 2 << 20, SMALL_GRANULE_BYTES = HUGE_PAGE_BYTES / 16 };

/* Segments grow with the pool, for many small ones fragment more than a few large ones: a quarter
 * of what is reserved, and no more than this. On recorded traces peak reserved over peak live is
 * then 1.05 to 1.14 with 12 to 47 calls to the provider; with segments as small as can be once the
 * mark is passed (caching_recycle.c) it is 1.07 to 1.16, with 30 to 297. */
static const size_t GROWN_SEGMENT_BYTES_MAX = (size_t)32 << 20;

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static size_t choose_segment(const tarn__caching *self, size_t exact_bytes) {
  size_t grown_bytes = self->heap.reserved_bytes / 4 & ~(self->machine->granularity_bytes - 1);
  if (grown_bytes > GROWN_SEGMENT_BYTES_MAX) grown_bytes = GROWN_SEGMENT_BYTES_MAX;
  return larger(exact_bytes, larger(grown_bytes, self->segment_bytes));
}

/* The least that has to be added for the request where nothing is free: room to align is address
 * space alone where the provider reserves; else a fresh block lies on the provider's alignment, and
 * more is needed beyond that. */
bool tarn__caching_fresh_bytes(const tarn__caching *self, const tarn__request *asked,
                               size_t *size_bytes) {
  const bool is_aligned = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0 ||
                          asked->alignment_bytes <= self->machine->alignment_bytes;
  return tarn_size_round_up(is_aligned ? asked->size_bytes : asked->search_bytes,
                            self->machine->granularity_bytes, size_bytes);
}

static void cancel_charge(tarn__caching *self, size_t size_bytes) {
  self->obtaining_bytes -= size_bytes;
  tarn__budget_cancel(self->budget, size_bytes);
}

/* Asks the provider for one segment. Charged before the provider is asked, so that threads that
 * grow at once respect the limit. */
static tarn_status alloc_segment(tarn__caching *self, const tarn__request *asked, size_t size_bytes,
                                 void **memory) {
  tarn_status status = tarn_budget_charge(self->budget, size_bytes);
  if (status != TARN_OK) return status;
  self->obtaining_bytes += size_bytes;
  self->stats.provider_calls++;
  tarn__caching_leave(self);
  status = tarn_provider_alloc_ordered(self->provider, size_bytes, asked->stream, memory);
  tarn__caching_return(self);
  if (status != TARN_OK) cancel_charge(self, size_bytes);
  return status;
}

/* Memory of an ordered provider is behind work that only the asking stream is known to be behind:
 * its stamp, taken now, stands for that, on every part of the segment. */
static void stamp_fresh(const tarn__caching *self, const tarn__request *asked, tarn__block *block) {
  if ((self->machine->flags & TARN_PROVIDER_ORDERED) == 0) return;
  if (tarn_stream_is_synchronous(asked->stream)) return;
  TARN_ASSERT(block->state == TARN__BLOCK_CLAIMED && block->stamps.count == 0);
  const bool is_added = tarn__stamps_add(&block->stamps, tarn__order_stamp(asked->stream));
  TARN_ASSERT(is_added); /* the first stamps lie inside the record */
  (void)is_added;
}

/* A free block after all, CLAIMED, or NULL: streams may have come further, and then nothing keeps
 * free neighbours apart any more. */
static tarn__block *settle(tarn__caching *self, const tarn__request *asked) {
  tarn__caching_settle(self);
  tarn__block *block = tarn__heap_find(&self->heap, asked->search_bytes, asked->stream, NULL);
  if (block != NULL) tarn__heap_claim(block);
  return block;
}

/* Tier 2 over a provider that does not reserve: a segment more. */
static tarn__block *grow_segment(tarn__caching *self, const tarn__request *asked,
                                 tarn_status *status) {
  size_t exact_bytes = 0;
  if (!tarn__caching_fresh_bytes(self, asked, &exact_bytes)) {
    *status = tarn_fail(TARN_TOO_LARGE, "%zu bytes cannot be rounded", asked->requested_bytes);
    return NULL;
  }
  if (!asked->is_ahead && tarn__caching_wants_to_recycle(self, asked, exact_bytes)) {
    tarn__block *block = settle(self, asked);
    *status = TARN_OK;
    if (block != NULL) return block;
    tarn__block *chain = tarn__caching_recycle(self, asked, exact_bytes);
    TARN_ASSERT(chain == NULL); /* segments do not move */
    (void)chain;
  }
  size_t size_bytes = choose_segment(self, exact_bytes);
  void *memory = NULL;
  *status = alloc_segment(self, asked, size_bytes, &memory);
  if (*status == TARN_OUT_OF_MEMORY && size_bytes > exact_bytes) {
    size_bytes = exact_bytes; /* more was wanted than is needed */
    *status = alloc_segment(self, asked, size_bytes, &memory);
  }
  if (*status != TARN_OK) return NULL;
  tarn__block *block = tarn__heap_add_segment(&self->heap, memory, size_bytes, TARN__BLOCK_FREE);
  if (block == NULL) {
    tarn__caching_leave(self);
    const tarn_status freed = tarn_provider_free(self->provider, memory, size_bytes);
    (void)freed; /* nothing is left to try, and the failure below is the one to report */
    *status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a segment's records");
    tarn__caching_return(self);
    cancel_charge(self, size_bytes);
    return NULL;
  }
  self->obtaining_bytes -= size_bytes;
  tarn__heap_claim(block);
  tarn__caching_trace(self, 's', memory, size_bytes, asked->stream);
  stamp_fresh(self, asked, block);
  tarn__caching_watch_free(self, block);
  return block;
}

/* A fresh address range with no memory in it. Smaller ones are tried where the address space is
 * limited. */
static tarn_status reserve_range(tarn__caching *self, size_t least_bytes) {
  size_t size_bytes = larger(self->range_bytes, least_bytes);
  void *address = NULL;
  tarn__caching_leave(self);
  uint64_t calls = 1;
  tarn_status status = tarn_provider_reserve(self->provider, size_bytes, &address);
  while (status == TARN_OUT_OF_MEMORY && size_bytes > least_bytes) {
    size_bytes = larger(size_bytes / 2 & ~(self->machine->granularity_bytes - 1), least_bytes);
    status = tarn_provider_reserve(self->provider, size_bytes, &address);
    calls++;
  }
  tarn__caching_return(self);
  self->stats.provider_calls += calls;
  if (status != TARN_OK) return status;
  if (tarn__heap_add_segment(&self->heap, address, size_bytes, TARN__BLOCK_HOLE) != NULL) {
    return TARN_OK;
  }
  tarn__caching_leave(self);
  status = tarn_provider_free(self->provider, address, size_bytes);
  status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a range's records");
  tarn__caching_return(self);
  return status;
}

/* Where a range grows: the request lies at one end of a gap, which is a run of holes and of free
 * blocks that its stream may use. What it covers of the holes gets memory:
 *
 *     | LIVE |  free  |  hole  | free |     hole     | LIVE |
 *            ^--------- the request ------^
 */
typedef struct growth {
  tarn__block *first; /* the request starts in it, and ends in the last one */
  tarn__block *last;
  uintptr_t start;
  uintptr_t end;
  uintptr_t commit_end; /* of the last block, where that is a hole */
  size_t commit_bytes;
  size_t gap_bytes;
} growth;

typedef struct gap {
  tarn__block *first;
  tarn__block *last;
  uintptr_t start;
  uintptr_t end;
} gap;

static uintptr_t end_of(const tarn__block *block) {
  return (uintptr_t)block->address + block->size_bytes;
}

static bool is_usable(const tarn__block *block, const tarn_stream *stream) {
  return block != NULL && block->state == TARN__BLOCK_FREE &&
         tarn__stamps_are_covered(&block->stamps, stream);
}

static bool is_of_gap(const tarn__block *block, const tarn__request *asked) {
  if (block != NULL && block->state == TARN__BLOCK_HOLE) return true;
  return !asked->is_ahead && is_usable(block, asked->stream);
}

static gap gap_around(tarn__block *hole, const tarn__request *asked) {
  gap found = {.first = hole, .last = hole};
  while (is_of_gap(found.first->left, asked)) found.first = found.first->left;
  while (is_of_gap(found.last->right, asked)) found.last = found.last->right;
  found.start = (uintptr_t)found.first->address;
  found.end = end_of(found.last);
  return found;
}

/* The request at `start`, where it fits into the gap. */
static growth plan_from(const tarn__caching *self, const tarn__request *asked, const gap *place,
                        uintptr_t start) {
  const uintptr_t granule = self->machine->granularity_bytes;
  growth plan = {.start = start, .end = start + asked->size_bytes};
  plan.gap_bytes = place->end - place->start;
  plan.first = place->first;
  while (end_of(plan.first) <= start) plan.first = plan.first->right;
  for (plan.last = plan.first;; plan.last = plan.last->right) {
    if (plan.last->state == TARN__BLOCK_HOLE) { /* lies on granules */
      const uintptr_t from = larger((uintptr_t)plan.last->address, start & ~(granule - 1));
      plan.commit_end = (plan.end + granule - 1) & ~(granule - 1);
      if (plan.commit_end > end_of(plan.last)) plan.commit_end = end_of(plan.last);
      plan.commit_bytes += plan.commit_end - from;
    }
    if (end_of(plan.last) >= plan.end) return plan;
  }
}

/* Of what is to be committed. */
static size_t fresh_bytes(const tarn__request *asked, size_t commit_bytes) {
  return commit_bytes > asked->movable_bytes ? commit_bytes - asked->movable_bytes : 0;
}

/* At the gap's low end; at its high end where that takes less. */
static bool plan_in(const tarn__caching *self, const tarn__request *asked, const gap *place,
                    growth *plan) {
  if (place->end - place->start < asked->size_bytes) return false;
  size_t low = 0;
  const uintptr_t high = (place->end - asked->size_bytes) & ~(asked->alignment_bytes - 1);
  if (high < place->start || !tarn_size_round_up(place->start, asked->alignment_bytes, &low)) {
    return false;
  }
  *plan = plan_from(self, asked, place, low);
  const growth other = plan_from(self, asked, place, high);
  if (other.commit_bytes < plan->commit_bytes) *plan = other;
  return tarn__budget_has_room(self->budget, fresh_bytes(asked, plan->commit_bytes));
}

/* Small granules come up to the end of a huge page, where that stays below the mark: memory that
 * comes in small steps is never given huge pages. */
static void widen(const tarn__caching *self, const tarn__request *asked, growth *plan) {
  const bool ends_in_hole = plan->last->state == TARN__BLOCK_HOLE;
  if (!ends_in_hole || self->machine->granularity_bytes > SMALL_GRANULE_BYTES) return;
  size_t end = 0;
  if (!tarn_size_round_up(plan->commit_end, HUGE_PAGE_BYTES, &end)) return;
  const size_t wide_bytes = plan->commit_bytes + (end - plan->commit_end);
  if (end <= end_of(plan->last) && tarn__budget_has_room(self->budget, wide_bytes) &&
      tarn__caching_is_below_mark(self, asked, wide_bytes)) {
    plan->commit_end = end;
    plan->commit_bytes = wide_bytes;
  }
}

/* Best fit again, but over addresses: the smallest gap, however much memory lies in it, for memory
 * can be moved (caching_recycle.c) and addresses cannot. Many small holes are not worth looking at
 * one by one. */
static bool plan_growth(tarn__caching *self, const tarn__request *asked, growth *plan) {
  enum { PROBE_COUNT_MAX = 32 };
  bool is_found = false;
  tarn__block *hole = tarn__tree_at_least(self->heap.holes, 0, NULL);
  for (int count = 0; hole != NULL && count < PROBE_COUNT_MAX; count++) {
    if (is_found && hole->size_bytes >= plan->gap_bytes) break;
    growth found;
    const gap place = gap_around(hole, asked);
    if (plan_in(self, asked, &place, &found) && (!is_found || found.gap_bytes < plan->gap_bytes)) {
      *plan = found;
      is_found = true;
    }
    hole = tarn__tree_next(hole);
  }
  if (!is_found) {
    hole = tarn__tree_at_least(self->heap.holes, asked->search_bytes, NULL);
    const gap place = hole != NULL ? gap_around(hole, asked) : (gap){.first = NULL};
    is_found = hole != NULL && plan_in(self, asked, &place, plan);
  }
  if (is_found) widen(self, asked, plan);
  return is_found;
}

/* Puts the plan's blocks back, CLAIMED ones as free. */
static void abandon_growth(tarn__caching *self, const growth *plan) {
  tarn__block *block = plan->first;
  for (bool is_last = false; !is_last;) {
    tarn__block *right = block->right; /* putting a block back may end its record */
    is_last = block == plan->last;
    if (block->state == TARN__BLOCK_GROWING) {
      tarn__heap_put_hole(&self->heap, block);
    } else {
      tarn__heap_put_free(&self->heap, block);
    }
    block = right;
  }
}

/* What the plan leaves of the holes at its ends stays a hole. False for want of a record. */
static bool cut_holes(tarn__caching *self, growth *plan) {
  const uintptr_t granule = self->machine->granularity_bytes;
  tarn__block *first = plan->first;
  const uintptr_t from = plan->start & ~(granule - 1);
  if (first->state == TARN__BLOCK_GROWING && from > (uintptr_t)first->address) {
    tarn__block *rest = tarn__block_split(first, from - (uintptr_t)first->address);
    if (rest == NULL) return false;
    if (plan->last == first) plan->last = rest;
    plan->first = rest;
    tarn__heap_put_hole(&self->heap, first);
  }
  tarn__block *last = plan->last;
  if (last->state != TARN__BLOCK_GROWING || plan->commit_end == end_of(last)) return true;
  tarn__block *rest = tarn__block_split(last, plan->commit_end - (uintptr_t)last->address);
  if (rest != NULL) tarn__heap_put_hole(&self->heap, rest);
  return rest != NULL;
}

/* What lies before and behind the request, where there is memory, goes to the free trees, with its
 * own stamps only. Without a record it stays, and is cut off later. */
static void cut_ends(tarn__caching *self, growth *plan) {
  tarn__block *first = plan->first;
  if (first->state == TARN__BLOCK_CLAIMED && plan->start > (uintptr_t)first->address) {
    tarn__block *rest = tarn__block_split(first, plan->start - (uintptr_t)first->address);
    if (rest != NULL) {
      if (plan->last == first) plan->last = rest;
      plan->first = rest;
      tarn__heap_put_free(&self->heap, first);
    }
  }
  tarn__block *last = plan->last;
  if (last->state != TARN__BLOCK_CLAIMED || plan->end == end_of(last)) return;
  tarn__block *rest = tarn__block_split(last, plan->end - (uintptr_t)last->address);
  if (rest != NULL) tarn__heap_put_free(&self->heap, rest);
}

/* Claims the plan's blocks, and no more than the request needs of them: what is left over may go
 * back for what is to come. False, with nothing changed, where there is no memory for a record. */
static bool claim_growth(tarn__caching *self, growth *plan) {
  tarn__block *block = plan->first;
  for (bool is_last = false; !is_last; block = block->right) {
    const bool is_hole = block->state == TARN__BLOCK_HOLE;
    is_last = block == plan->last;
    tarn__heap_claim(block);
    if (is_hole) block->state = TARN__BLOCK_GROWING;
  }
  if (!cut_holes(self, plan)) {
    abandon_growth(self, plan);
    return false;
  }
  cut_ends(self, plan);
  return true;
}

/* Who has used one part keeps the whole. As tarn__block_merge_right. */
static bool merge_right(tarn__block *block) {
  tarn__block *right = block->right;
  tarn__caching_count_kept(block, 0 - block->size_bytes);
  tarn__caching_count_kept(right, 0 - right->size_bytes);
  const bool is_merged = tarn__block_merge_right(block);
  tarn__caching_count_kept(block, block->size_bytes);
  if (!is_merged) tarn__caching_count_kept(right, right->size_bytes);
  return is_merged;
}

/* Makes one CLAIMED block of the plan's, now that its holes have memory. NULL, and all of it free,
 * where stamps cannot be joined for want of memory. */
static tarn__block *join_growth(tarn__caching *self, growth *plan) {
  cut_ends(self, plan);
  for (bool is_last = plan->first == plan->last; !is_last;) {
    is_last = plan->first->right == plan->last;
    if (merge_right(plan->first)) continue;
    abandon_growth(self, plan);
    return NULL;
  }
  return plan->first;
}

/* A plan, in a fresh range where the ones there are have no room. */
static tarn_status find_growth(tarn__caching *self, const tarn__request *asked, growth *plan) {
  if (plan_growth(self, asked, plan)) return TARN_OK;
  size_t least_bytes = 0;
  size_t range_bytes = 0;
  if (!tarn__caching_fresh_bytes(self, asked, &least_bytes) ||
      !tarn_size_round_up(asked->search_bytes, self->machine->granularity_bytes, &range_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes cannot be rounded", asked->requested_bytes);
  }
  tarn_status status = tarn__budget_check(self->budget, fresh_bytes(asked, least_bytes));
  if (status == TARN_OK) status = reserve_range(self, range_bytes);
  if (status != TARN_OK || plan_growth(self, asked, plan)) return status;
  /* Other threads were faster. */
  return tarn_fail(TARN_OUT_OF_MEMORY, "a fresh range of addresses is used up already");
}

/* Gives the holes of the claimed plan memory, idle one first. What one of them got stays, as free
 * memory, where another one gets none. */
static tarn_status commit_growth(tarn__caching *self, const tarn__request *asked,
                                 const growth *plan, tarn__block **idle) {
  tarn_status status = TARN_OK;
  tarn__block *block = plan->first;
  for (bool is_last = false; status == TARN_OK && !is_last; block = block->right) {
    is_last = block == plan->last;
    if (block->state != TARN__BLOCK_GROWING) continue;
    status = tarn__caching_commit_hole(self, asked, block, idle);
  }
  return status;
}

/* Idle memory for the claimed plan, so that no more is held than was. */
static tarn__block *claim_idle(tarn__caching *self, const tarn__request *asked, const growth *plan,
                               bool may_recycle) {
  if (asked->movable_bytes != 0) return tarn__caching_claim_idle(self, plan->commit_bytes);
  return may_recycle ? tarn__caching_recycle(self, asked, plan->commit_bytes) : NULL;
}

/* Tier 2 over a provider that reserves: a free block that turned up on the way, or memory where the
 * request fits. */
static tarn__block *grow_in_place(tarn__caching *self, const tarn__request *asked,
                                  tarn_status *status) {
  growth plan = {.first = NULL};
  *status = find_growth(self, asked, &plan);
  if (*status != TARN_OK) return NULL;
  const bool may_recycle = !asked->is_ahead && asked->movable_bytes == 0 &&
                           tarn__caching_wants_to_recycle(self, asked, plan.commit_bytes);
  if (may_recycle) {
    tarn__block *block = settle(self, asked);
    if (block != NULL) return block;
    *status = find_growth(self, asked, &plan); /* others were here, and blocks were joined */
    if (*status != TARN_OK) return NULL;
  }
  if (!claim_growth(self, &plan)) {
    *status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a block's record");
    return NULL;
  }
  tarn__block *idle = claim_idle(self, asked, &plan, may_recycle);
  *status = commit_growth(self, asked, &plan, &idle);
  tarn__caching_put_back_idle(self, idle);
  if (*status != TARN_OK) {
    abandon_growth(self, &plan);
    return NULL;
  }
  tarn__block *whole = join_growth(self, &plan);
  if (whole == NULL) *status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory to join a block's stamps");
  return whole;
}

/* A CLAIMED block on which the request fits, with fresh memory in it. */
static tarn__block *obtain(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  return reserves ? grow_in_place(self, asked, status) : grow_segment(self, asked, status);
}

void *tarn__caching_grow(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  tarn__block *block = obtain(self, asked, status);
  return block != NULL ? tarn__caching_lend(self, block, asked) : NULL;
}

void *tarn__caching_grow_by_moving(tarn__caching *self, const tarn__request *asked,
                                   tarn_status *status) {
  tarn__request moving = *asked;
  moving.movable_bytes = tarn__caching_movable_bytes(self);
  return moving.movable_bytes != 0 ? tarn__caching_grow(self, &moving, status) : NULL;
}

tarn_status tarn__caching_reserve(tarn__caching *self, size_t size_bytes) {
  while (tarn__caching_reserved_bytes(self) < size_bytes) {
    tarn__request missing = {.alignment_bytes = self->alignment_bytes, .is_ahead = true};
    if (!tarn_size_round_up(size_bytes - tarn__caching_reserved_bytes(self),
                            self->machine->granularity_bytes, &missing.size_bytes)) {
      return tarn_fail(TARN_TOO_LARGE, "%zu bytes cannot be rounded", size_bytes);
    }
    missing.search_bytes = missing.size_bytes;
    tarn_status status = TARN_OK;
    tarn__block *block = obtain(self, &missing, &status);
    if (block == NULL) return status;
    tarn__heap_put_free(&self->heap, block);
    tarn__caching_note_change(self);
  }
  self->ahead_bytes = larger(self->ahead_bytes, size_bytes);
  return TARN_OK;
}
