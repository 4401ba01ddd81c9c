/* caching_grow.c: how a caching pool grows: a segment more, or a range in place. */
#include "alloc/caching.h"

enum { HUGE_PAGE_BYTES = 2 << 20, SMALL_GRANULE_BYTES = HUGE_PAGE_BYTES / 16 };

/* Segments grow with the pool, for many small ones fragment more than a few large ones: a quarter
 * of what is reserved, and no more than this. On recorded traces peak reserved over peak live is
 * then 1.16 to 1.36 with 13 to 50 calls to the provider; with segments as small as can be once the
 * mark is passed (caching_recycle.c) it is 1.08 to 1.27, with 33 to 298. */
static const size_t GROWN_SEGMENT_BYTES_MAX = (size_t)32 << 20;

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static size_t choose_segment(const tarn__caching *self, size_t exact_bytes) {
  size_t grown_bytes = self->heap.reserved_bytes / 4 & ~(self->machine->granularity_bytes - 1);
  if (grown_bytes > GROWN_SEGMENT_BYTES_MAX) grown_bytes = GROWN_SEGMENT_BYTES_MAX;
  return larger(exact_bytes, larger(grown_bytes, self->segment_bytes));
}

/* What has to be added for the request: a fresh block lies on the provider's alignment, so room to
 * align is needed only beyond that. */
bool tarn__caching_fresh_bytes(const tarn__caching *self, const tarn__request *asked,
                               size_t *size_bytes) {
  const bool is_aligned = asked->alignment_bytes <= self->machine->alignment_bytes;
  return tarn_size_round_up(is_aligned ? asked->size_bytes : asked->search_bytes,
                            self->machine->granularity_bytes, size_bytes);
}

/* Asks the provider for one segment. Charged before the provider is asked, so that threads that
 * grow at once respect the limit. */
static tarn_status alloc_segment(tarn__caching *self, const tarn__request *asked, size_t size_bytes,
                                 void **memory) {
  tarn_status status = tarn_budget_charge(self->budget, size_bytes);
  if (status != TARN_OK) return status;
  self->stats.provider_calls++;
  tarn__caching_leave(self);
  status = tarn_provider_alloc_ordered(self->provider, size_bytes, asked->stream, memory);
  tarn__caching_return(self);
  if (status != TARN_OK) tarn__budget_cancel(self->budget, size_bytes);
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
static tarn__block *grow_segment(tarn__caching *self, const tarn__request *asked, bool may_recycle,
                                 tarn_status *status) {
  size_t exact_bytes = 0;
  if (!tarn__caching_fresh_bytes(self, asked, &exact_bytes)) {
    *status = tarn_fail(TARN_TOO_LARGE, "%zu bytes cannot be rounded", asked->requested_bytes);
    return NULL;
  }
  if (may_recycle && tarn__caching_wants_to_recycle(self, asked, exact_bytes)) {
    tarn__block *block = settle(self, asked);
    *status = TARN_OK;
    if (block != NULL) return block;
    tarn__caching_recycle(self, asked, exact_bytes);
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
    tarn__budget_cancel(self->budget, size_bytes);
    return NULL;
  }
  tarn__heap_claim(block);
  tarn__caching_trace(self, 's', memory, size_bytes, asked->stream);
  stamp_fresh(self, asked, block);
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

/* Where a range grows: memory for the front of a hole, or for all of it, so that together with the
 * free blocks on its two sides the request fits:
 *
 *     | LIVE |  front  |     hole     |  back  | LIVE |
 *            ^-------- the request ------^
 */
typedef struct growth {
  tarn__block *front; /* NULL: the request starts at the hole */
  tarn__block *hole;
  tarn__block *back; /* NULL: the hole is enough */
  size_t commit_bytes;
} growth;

static bool is_usable(const tarn__block *block, const tarn_stream *stream) {
  return block != NULL && block->state == TARN__BLOCK_FREE &&
         tarn__stamps_are_covered(&block->stamps, stream);
}

static bool plan_at(const tarn__caching *self, const tarn__request *asked, tarn__block *hole,
                    growth *plan) {
  *plan = (growth){.hole = hole};
  /* A hole lies on a granule; room to align is needed only beyond that, or behind a front. */
  const bool is_aligned = asked->alignment_bytes <= self->machine->granularity_bytes;
  size_t missing_bytes = is_aligned ? asked->size_bytes : asked->search_bytes;
  if (is_usable(hole->left, asked->stream) && hole->left->size_bytes < asked->search_bytes) {
    plan->front = hole->left;
    missing_bytes = asked->search_bytes - plan->front->size_bytes;
  }
  if (!tarn_size_round_up(missing_bytes, self->machine->granularity_bytes, &plan->commit_bytes)) {
    return false;
  }
  if (plan->commit_bytes > hole->size_bytes) {
    if (!is_usable(hole->right, asked->stream)) return false;
    plan->back = hole->right;
    plan->commit_bytes = hole->size_bytes;
    if (missing_bytes > hole->size_bytes + plan->back->size_bytes) return false;
  }
  return tarn__budget_has_room(self->budget, plan->commit_bytes);
}

/* Small granules come up to the end of a huge page, where that stays below the mark: memory that
 * comes in small steps is never given huge pages. */
static void widen(const tarn__caching *self, const tarn__request *asked, growth *plan) {
  if (plan->back != NULL || self->machine->granularity_bytes > SMALL_GRANULE_BYTES) return;
  const uintptr_t start = (uintptr_t)plan->hole->address;
  size_t end = 0;
  if (!tarn_size_round_up(start + plan->commit_bytes, HUGE_PAGE_BYTES, &end)) return;
  const size_t wide_bytes = end - start;
  if (wide_bytes <= plan->hole->size_bytes && tarn__budget_has_room(self->budget, wide_bytes) &&
      tarn__caching_is_below_mark(self, asked, wide_bytes)) {
    plan->commit_bytes = wide_bytes;
  }
}

/* Of the smallest holes the one that takes the least fresh memory; many small ones are not worth
 * looking at one by one. */
static bool plan_growth(tarn__caching *self, const tarn__request *asked, growth *plan) {
  enum { PROBE_COUNT_MAX = 32 };
  bool is_found = false;
  tarn__block *hole = tarn__tree_at_least(self->heap.holes, 0, NULL);
  for (int count = 0; hole != NULL && count < PROBE_COUNT_MAX; count++) {
    growth found;
    if (plan_at(self, asked, hole, &found) &&
        (!is_found || found.commit_bytes < plan->commit_bytes)) {
      *plan = found;
      is_found = true;
    }
    hole = tarn__tree_next(hole);
  }
  if (!is_found) {
    hole = tarn__tree_at_least(self->heap.holes, asked->search_bytes, NULL);
    is_found = hole != NULL && plan_at(self, asked, hole, plan);
  }
  if (is_found) widen(self, asked, plan);
  return is_found;
}

/* Claims the plan's blocks and cuts the hole. False, with nothing changed, where there is no memory
 * for the record. */
static bool claim_growth(tarn__caching *self, const growth *plan) {
  tarn__heap_claim(plan->hole);
  if (plan->hole->size_bytes > plan->commit_bytes) {
    tarn__block *rest = tarn__block_split(plan->hole, plan->commit_bytes);
    if (rest == NULL) {
      tarn__heap_put_hole(&self->heap, plan->hole);
      return false;
    }
    tarn__heap_put_hole(&self->heap, rest);
  }
  plan->hole->state = TARN__BLOCK_GROWING;
  if (plan->front != NULL) tarn__heap_claim(plan->front);
  if (plan->back != NULL) tarn__heap_claim(plan->back);
  return true;
}

static void abandon_growth(tarn__caching *self, const growth *plan) {
  tarn__heap_put_hole(&self->heap, plan->hole);
  if (plan->front != NULL) tarn__heap_put_free(&self->heap, plan->front);
  if (plan->back != NULL) tarn__heap_put_free(&self->heap, plan->back);
}

/* Makes one CLAIMED block of the plan's, now that its hole has memory. NULL, and all of it free,
 * where stamps cannot be joined for want of memory. */
static tarn__block *join_growth(tarn__caching *self, const growth *plan) {
  tarn__block *whole = plan->hole;
  if (plan->back != NULL && !tarn__block_merge_right(whole)) {
    tarn__heap_put_free(&self->heap, plan->back);
    if (plan->front != NULL) tarn__heap_put_free(&self->heap, plan->front);
    tarn__heap_put_free(&self->heap, whole);
    return NULL;
  }
  if (plan->front == NULL) return whole;
  if (tarn__block_merge_right(plan->front)) return plan->front;
  tarn__heap_put_free(&self->heap, plan->front);
  tarn__heap_put_free(&self->heap, whole);
  return NULL;
}

/* A plan, in a fresh range where the ones there are have no room. */
static tarn_status find_growth(tarn__caching *self, const tarn__request *asked, growth *plan) {
  if (plan_growth(self, asked, plan)) return TARN_OK;
  size_t least_bytes = 0;
  if (!tarn__caching_fresh_bytes(self, asked, &least_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes cannot be rounded", asked->requested_bytes);
  }
  tarn_status status = tarn__budget_check(self->budget, least_bytes);
  if (status == TARN_OK) status = reserve_range(self, least_bytes);
  if (status != TARN_OK || plan_growth(self, asked, plan)) return status;
  /* Other threads were faster. */
  return tarn_fail(TARN_OUT_OF_MEMORY, "a fresh range of addresses is used up already");
}

/* Charges the claimed plan and gives it memory. */
static tarn_status commit_growth(tarn__caching *self, const tarn__request *asked,
                                 const growth *plan) {
  tarn_status status = tarn_budget_charge(self->budget, plan->commit_bytes);
  if (status != TARN_OK) return status;
  self->stats.provider_calls++;
  tarn__caching_leave(self);
  status = tarn_provider_commit(self->provider, plan->hole->address, plan->commit_bytes);
  tarn__caching_return(self);
  if (status != TARN_OK) {
    tarn__budget_cancel(self->budget, plan->commit_bytes);
    return status;
  }
  tarn__caching_trace(self, 's', plan->hole->address, plan->commit_bytes, asked->stream);
  plan->hole->state = TARN__BLOCK_CLAIMED;
  self->heap.reserved_bytes += plan->commit_bytes;
  return TARN_OK;
}

/* Tier 2 over a provider that reserves: a free block that turned up on the way, or fresh memory.
 * What is recycled goes back before the commit, so that no more is held at once. */
static tarn__block *grow_in_place(tarn__caching *self, const tarn__request *asked, bool may_recycle,
                                  tarn_status *status) {
  growth plan;
  *status = find_growth(self, asked, &plan);
  if (*status != TARN_OK) return NULL;
  may_recycle = may_recycle && tarn__caching_wants_to_recycle(self, asked, plan.commit_bytes);
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
  if (may_recycle) tarn__caching_recycle(self, asked, plan.commit_bytes);
  *status = commit_growth(self, asked, &plan);
  if (*status != TARN_OK) {
    abandon_growth(self, &plan);
    return NULL;
  }
  tarn__block *whole = join_growth(self, &plan);
  if (whole == NULL) *status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory to join a block's stamps");
  return whole;
}

/* A CLAIMED block on which the request fits, with fresh memory in it. */
static tarn__block *obtain(tarn__caching *self, const tarn__request *asked, bool may_recycle,
                           tarn_status *status) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  return reserves ? grow_in_place(self, asked, may_recycle, status)
                  : grow_segment(self, asked, may_recycle, status);
}

void *tarn__caching_grow(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  tarn__block *block = obtain(self, asked, /*may_recycle=*/true, status);
  return block != NULL ? tarn__caching_lend(self, block, asked) : NULL;
}

tarn_status tarn__caching_reserve(tarn__caching *self, size_t size_bytes) {
  while (self->heap.reserved_bytes < size_bytes) {
    tarn__request missing = {.alignment_bytes = self->alignment_bytes};
    if (!tarn_size_round_up(size_bytes - self->heap.reserved_bytes,
                            self->machine->granularity_bytes, &missing.size_bytes)) {
      return tarn_fail(TARN_TOO_LARGE, "%zu bytes cannot be rounded", size_bytes);
    }
    missing.search_bytes = missing.size_bytes;
    tarn_status status = TARN_OK;
    tarn__block *block = obtain(self, &missing, /*may_recycle=*/false, &status);
    if (block == NULL) return status;
    tarn__heap_put_free(&self->heap, block);
    tarn__caching_note_change(self);
  }
  self->ahead_bytes = larger(self->ahead_bytes, size_bytes);
  return TARN_OK;
}
