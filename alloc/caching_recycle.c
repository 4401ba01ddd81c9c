/* caching_recycle.c: what a caching pool does before it grows beyond its high-water mark: memory
 * that lies idle elsewhere goes back first, so that address space is what fragments.
 *
 *     before   | LIVE | idle ... idle | LIVE | hole ............. |     a larger block is asked for
 *     after    | LIVE | hole          | LIVE | the block | hole   |     reserved: about the same
 *
 * The mark is what the pool's live blocks have needed at once, and a little more. What must be
 * known for it, is that no stream uses the idle memory any more; a stream that has got so far is
 * asked and given a moment to answer, but never waited for: an allocation that may grow must not
 * hang on work that hangs on the caller.
 *
 * Over a provider that moves memory (caching_move.c) it is handed on instead, as much of it as is
 * asked for.
 *
 * It costs calls to the provider, and the fresh memory's first touch, so it is bounded: once per
 * RECYCLE_PERIOD allocations, a few in advance, and RECYCLED_PER_ASKED_MAX bytes for each that is
 * to be committed. On four recorded models of 47,000 to 206,000 events, peak reserved over peak
 * live falls from 1.023 - 1.135 to 1.010 - 1.043 in granules of 2 MiB, with 51 to 193 calls to the
 * provider in all (37 to 166 before); in granules of 64 KiB from 1.031 - 1.172 to 1.007 - 1.010,
 * with 107 to 245 (36 to 168). What is left lies in granules that are partly used: a model of best
 * fit over addresses that moves every idle granule at once needs 1.007 - 1.025 of 2 MiB. Over a
 * provider that does not reserve, whole idle segments go back: 1.05 - 1.40 falls to 1.05 - 1.14. */
#include "alloc/magazine.h"

#include <time.h>

enum {
  MARK_SLACK = 128, /* one part in so many above the peak of live blocks is no waste, */
  MARK_SLACK_BYTES_MIN = 2 << 20,    /* nor a huge page */
  RECYCLE_PERIOD = 64,               /* allocations per recycling */
  RECYCLES_AHEAD = 64,               /* before that rule holds */
  RECYCLES_PER_DOUBLING = 64,        /* of the slack */
  DOUBLINGS_MAX = 6,                 /* of the slack: to one half */
  RECYCLE_FORGIVEN_PERIOD = 1 << 14, /* allocations that make up for one recycling */
  RECYCLED_PER_ASKED_MAX = 4,        /* bytes given back for each byte committed */
  POLLS_MAX = 16,                    /* streams are given so many looks to be done ... */
  POLL_NS = 20 * 1000,               /* ... so far apart */
  IMPATIENCE_MAX = 8,                /* where that was in vain, only one time in 2, 4, ... 2^8 */
};

/* How often the slack doubles. A pool whose blocks come and go at random cannot do with little more
 * than its live bytes, and would recycle for ever; so each round of recyclings that long stretches
 * of allocations do not make up for allows it twice as much more. */
static unsigned doubling_count(const tarn__caching *self) {
  const uint64_t made_up_for = self->stats.alloc_count / RECYCLE_FORGIVEN_PERIOD;
  if (self->recycle_count <= made_up_for) return 0;
  const uint64_t count = (self->recycle_count - made_up_for) / RECYCLES_PER_DOUBLING;
  return count < DOUBLINGS_MAX ? (unsigned)count : DOUBLINGS_MAX;
}

static size_t mark_bytes(const tarn__caching *self, const tarn__request *asked) {
  /* What threads have set aside is nobody's need: with room for them it would be grown for. */
  const size_t live_bytes =
      self->heap.allocated_bytes - tarn__magazines_aside_bytes(self) + asked->size_bytes;
  const size_t peak_bytes =
      live_bytes > self->stats.allocated_bytes_peak ? live_bytes : self->stats.allocated_bytes_peak;
  const size_t slack_bytes = (peak_bytes / MARK_SLACK) << doubling_count(self);
  const size_t mark =
      peak_bytes + (slack_bytes > MARK_SLACK_BYTES_MIN ? slack_bytes : MARK_SLACK_BYTES_MIN);
  return mark > self->floor_bytes ? mark : self->floor_bytes;
}

bool tarn__caching_is_below_mark(const tarn__caching *self, const tarn__request *asked,
                                 size_t commit_bytes) {
  return self->heap.reserved_bytes + commit_bytes <= mark_bytes(self, asked);
}

bool tarn__caching_wants_to_recycle(const tarn__caching *self, const tarn__request *asked,
                                    size_t commit_bytes) {
  const size_t free_bytes = tarn__caching_spare_bytes(self);
  size_t missing_bytes = 0;
  return !tarn__caching_is_below_mark(self, asked, commit_bytes) &&
         free_bytes >= self->machine->granularity_bytes &&
         /* Beyond its limit the pool does not grow: reuse is tried first, then caching_tiers.c. */
         tarn__budget_find_refuser(self->budget, commit_bytes, &missing_bytes) == NULL &&
         self->recycle_count < self->stats.alloc_count / RECYCLE_PERIOD + RECYCLES_AHEAD &&
         !tarn__order_is_captured(asked->stream);
}

/* Asks each timeline once; false where one has not come so far. */
static bool observe(const tarn__stamps *stamps, tarn__order_cost *cost) {
  bool is_done = true;
  for (uint32_t i = 0; i < stamps->count; i++) {
    is_done &= tarn__order_is_done(tarn__stamps_at(stamps, i), cost);
  }
  return is_done;
}

void tarn__caching_settle(tarn__caching *self) {
  tarn__stamps stamps = tarn__caching_pending_stamps(self);
  const bool is_patient = ++self->settle_count % (UINT64_C(1) << self->impatience) == 0;
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  bool is_done = observe(&stamps, &cost);
  for (int i = 0; !is_done && is_patient && i < POLLS_MAX; i++) {
    nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
    is_done = observe(&stamps, &cost);
  }
  tarn__stamps_deinit(&stamps);
  pthread_mutex_lock(&self->lock);
  tarn__caching_add_cost(self, &cost);
  if (is_done) {
    self->impatience = 0;
  } else if (is_patient && self->impatience < IMPATIENCE_MAX) {
    self->impatience++;
  }
  tarn__magazines_gather(self, /*least_bytes=*/0); /* what came back meanwhile */
  tarn__heap_join_all(&self->heap, /*clean_only=*/true);
}

tarn__block *tarn__caching_recycle(tarn__caching *self, const tarn__request *asked,
                                   size_t commit_bytes) {
  const size_t mark = mark_bytes(self, asked);
  const size_t reserved_bytes = self->heap.reserved_bytes;
  size_t keep_bytes = mark > commit_bytes ? mark - commit_bytes : 0;
  if (reserved_bytes <= keep_bytes) return NULL;
  if ((reserved_bytes - keep_bytes) / RECYCLED_PER_ASKED_MAX > commit_bytes) {
    keep_bytes = reserved_bytes - commit_bytes * RECYCLED_PER_ASKED_MAX;
  }
  const size_t ahead_bytes = self->ahead_bytes + self->heap.paused_bytes;
  if (keep_bytes < ahead_bytes) keep_bytes = ahead_bytes;
  if (reserved_bytes <= keep_bytes) return NULL;
  tarn__block *chain = NULL;
  if ((self->machine->flags & TARN_PROVIDER_RESERVES) != 0) {
    /* What moves need not be made, so all of it does; what is swapped goes down to the mark. */
    const bool moves = (self->machine->flags & TARN_PROVIDER_MOVES) != 0;
    const size_t spare_bytes = reserved_bytes - keep_bytes;
    chain = tarn__caching_claim_idle(
        self, moves || spare_bytes > commit_bytes ? commit_bytes : spare_bytes);
    for (const tarn__block *block = chain; block != NULL; block = block->low) {
      keep_bytes += block->size_bytes; /* will have moved */
    }
  }
  size_t released_bytes = 0;
  /* What the provider does not take back stays free, and the pool grows all the same. */
  const tarn_status status = tarn__caching_release_idle(self, keep_bytes, &released_bytes);
  (void)status;
  if (released_bytes != 0 || chain != NULL) self->recycle_count++;
  return chain;
}
