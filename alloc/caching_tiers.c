/* caching_tiers.c: what an allocation tries where no block is at hand.
 *
 *     0  a block that the stream may use at once                       no driver call
 *        and again with what the thread keeps; beyond the mark
 *        (caching_recycle.c) with what all threads keep                no driver call
 *     1  ask how far the streams have come, and look again             one query
 *     2  grow, where the budget allows
 *     3  order the stream behind a pending block's last users          one fence, one wait
 *     4  the same behind a run of neighbours: the one that takes the fewest fences
 *     5  wait for what has to be given back to grow, give it back, grow; in the end, all of it
 *     6  call the pressure functions, and begin again
 *
 * and only then says that it is out of memory. For a stream that is captured there is only 0 and 2:
 * no stream is asked or waited for (alloc/tarn_capture.h). 3 comes before 2 once the pool has
 * enough memory: what several streams could reuse from each other at once they would otherwise each
 * grow for. */
#include "alloc/magazine.h"
#include "alloc/status.h"

/* Enough is this many quarters of the peak of what was ever lent out at once: all of it, and a
 * quarter for fragments. Two recorded traces over 4 streams without any limit reserved 1.8 and 1.5
 * times what was live at the peak, and 2.8 and 2.9 times without this rule. Since growth recycles
 * idle memory first (caching_recycle.c) a range needs 1.04 for both with the rule, segments 1.3 and
 * 1.5: what is left is that a stream is ordered once where all of them would be asked. */
enum { ENOUGH_QUARTERS = 5 };
/* Below it memory is cheaper than a wait. */
static const size_t ENOUGH_BYTES_MIN = (size_t)32 << 20;

/* Looks that find nothing are put off, each one twice as long as the one before, up to 2 to the
 * power of this: where the streams are far behind, asking costs more than it can bring. */
enum { LOOK_DOUBLINGS_MAX = 6 };

/* What a thread keeps is much where it is more than so many times what is asked for; blocks that
 * are a smaller part of that are then left alone. */
enum { GATHERED_PART = 16 };

/* Times that one allocation begins again because pressure functions say that they gave something,
 * and because somebody did, and another thread was faster to take it. The first may be empty words;
 * of the second each means that somebody else went on, and on a busy machine a thread is late many
 * times in a row. */
enum { PROMISES_MAX = 16, LOSSES_MAX = 1000 };

/* Tier 0 without the room to align that the search by size asks for. */
static void *lend_anywhere(tarn__caching *self, const tarn__request *asked) {
  void *address = tarn__caching_lend_covered(self, asked, NULL);
  if (address != NULL || asked->search_bytes == asked->size_bytes) return address;
  tarn__block *block = tarn__heap_find_aligned(&self->heap, asked->size_bytes,
                                               asked->alignment_bytes, asked->stream);
  if (block == NULL) return NULL;
  tarn__heap_claim(block);
  return tarn__caching_lend(self, block, asked);
}

/* --- tiers that leave the lock; held again when they return --- */

/* Tier 0 once more, with what the calling thread keeps, or all threads do. */
static void *lend_gathered(tarn__caching *self, const tarn__request *asked, bool from_all,
                           const tarn__gathering *what) {
  const bool is_any = from_all ? tarn__magazines_gather(self, what->least_bytes)
                               : tarn__magazine_gather_own(self, what);
  return is_any ? tarn__caching_lend_covered(self, asked, NULL) : NULL;
}

/* May the pool grow for the request without more waste than it allows itself? Stopping all threads
 * for what they keep costs more than that. */
static bool has_room(const tarn__caching *self, const tarn__request *asked) {
  size_t fresh_bytes = 0;
  return tarn__caching_fresh_bytes(self, asked, &fresh_bytes) &&
         tarn__caching_is_below_mark(self, asked, fresh_bytes);
}

/* Tier 1. */
static void *lend_observed(tarn__caching *self, const tarn__request *asked) {
  tarn__block *pending = NULL;
  void *address = tarn__caching_lend_covered(self, asked, &pending);
  if (address != NULL || pending == NULL) return address;
  if (self->looks_to_skip > 0) {
    self->looks_to_skip--;
    return NULL;
  }
  tarn__stamps stamps = {.count = 0};
  const bool is_copied = tarn__stamps_copy(&stamps, &pending->stamps);
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  for (uint32_t index = 0; is_copied && index < stamps.count; index++) {
    tarn__order_observe(tarn__stamps_at(&stamps, index), &cost);
  }
  tarn__stamps_deinit(&stamps);
  pthread_mutex_lock(&self->lock);
  tarn__caching_add_cost(self, &cost);
  address = tarn__caching_lend_covered(self, asked, NULL);
  if (address != NULL) {
    self->look_doublings = 0;
  } else if (self->look_doublings < LOOK_DOUBLINGS_MAX) {
    self->look_doublings++;
  }
  self->looks_to_skip = (1U << self->look_doublings) - 1;
  return address;
}

/* Orders the stream behind the last users of a free block on which the request fits. */
static void *lend_behind(tarn__caching *self, tarn__block *block, const tarn__request *asked,
                         tarn_status *status) {
  /* Only what is needed is kept from others meanwhile. */
  tarn__heap_claim(block);
  block = tarn__heap_cut(&self->heap, block, asked->size_bytes, asked->alignment_bytes);
  if (block == NULL) return NULL;
  tarn__caching_leave(self);
  tarn__order_cost cost = {0};
  *status = TARN_OK;
  for (uint32_t index = 0; *status == TARN_OK && index < block->stamps.count; index++) {
    *status = tarn__order_behind(asked->stream, tarn__stamps_at(&block->stamps, index), &cost);
  }
  tarn__caching_return(self);
  tarn__caching_add_cost(self, &cost);
  if (*status == TARN_OK) return tarn__caching_lend(self, block, asked);
  tarn__heap_put_free(&self->heap, block);
  return NULL;
}

/* Tier 3: the best fitting pending block. One whose user has just begun to be captured is nobody's
 * for now: the next search passes over it. */
static void *lend_ordered(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  for (;;) {
    tarn__block *block = NULL;
    void *address = tarn__caching_lend_covered(self, asked, &block);
    if (address != NULL || block == NULL) return address;
    address = lend_behind(self, block, asked, status);
    if (address != NULL || *status != TARN_NOT_READY) return address;
  }
}

/* Tier 4. */
static void *lend_run(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  for (;;) {
    tarn__block *block =
        tarn__heap_join_run(&self->heap, asked->size_bytes, asked->alignment_bytes, asked->stream);
    if (block == NULL) return NULL;
    void *address = lend_behind(self, block, asked, status);
    if (address != NULL || *status != TARN_NOT_READY) return address;
  }
}

/* Tier 5, the last resort: everything idle goes back. */
static void *lend_after_all(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  tarn__caching_wait_for_pending(self);
  tarn__magazines_gather(self, /*least_bytes=*/0);
  tarn__heap_join_all(&self->heap, /*clean_only=*/false);
  void *address = lend_anywhere(self, asked);
  if (address != NULL) return address;
  size_t released_bytes = 0;
  *status = tarn__caching_release_idle(self, /*keep_bytes=*/0, &released_bytes);
  address = tarn__caching_grow(self, asked, status);
  if (address != NULL) return address;
  tarn__magazines_gather(self, /*least_bytes=*/0); /* what threads have freed meanwhile */
  return lend_anywhere(self, asked);
}

/* Tier 5: only as much is waited for and given back as has to be, then more. */
static void *lend_reclaimed(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  size_t fresh_bytes = 0;
  if (!tarn__caching_fresh_bytes(self, asked, &fresh_bytes)) return NULL;
  if (!tarn__budget_may_ever_fit(self->budget, fresh_bytes)) {
    /* Giving memory back cannot help; only what there is can. */
    tarn__caching_wait_for_pending(self);
    tarn__heap_join_all(&self->heap, /*clean_only=*/true);
    return lend_anywhere(self, asked);
  }
  size_t missing_bytes = 0;
  if (tarn__budget_find_refuser(self->budget, fresh_bytes, &missing_bytes) == NULL) {
    missing_bytes = fresh_bytes; /* the machine refused: swap for as much */
  }
  tarn__caching_wait_for_enough(self, missing_bytes);
  tarn__heap_join_all(&self->heap, /*clean_only=*/true);
  void *address = lend_anywhere(self, asked);
  if (address == NULL) address = tarn__caching_grow_by_moving(self, asked, status);
  if (address != NULL) return address;
  const size_t reserved_bytes = self->heap.reserved_bytes;
  const size_t keep_bytes = reserved_bytes > missing_bytes ? reserved_bytes - missing_bytes : 0;
  size_t released_bytes = 0;
  *status = tarn__caching_release_idle(self, keep_bytes, &released_bytes);
  if (released_bytes >= missing_bytes) address = tarn__caching_grow(self, asked, status);
  return address != NULL ? address : lend_after_all(self, asked, status);
}

/* --- all together --- */

/* The CPU would have to stand still, which is dearer than memory. */
static bool has_enough(const tarn__caching *self, const tarn__request *asked) {
  const size_t reserved_bytes = self->heap.reserved_bytes;
  size_t peak_bytes = self->stats.allocated_bytes_peak;
  if (peak_bytes < self->peak_bytes_before_reset) peak_bytes = self->peak_bytes_before_reset;
  return !tarn_stream_is_synchronous(asked->stream) && reserved_bytes >= ENOUGH_BYTES_MIN &&
         reserved_bytes / ENOUGH_QUARTERS >= peak_bytes / 4;
}

/* What is there, and fresh memory. Nothing is given back, for a driver may wait then. */
static void *lend_captured(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  tarn__magazines_gather(self, /*least_bytes=*/0);
  tarn__heap_join_all(&self->heap, /*clean_only=*/true);
  void *address = lend_anywhere(self, asked);
  if (address == NULL) address = tarn__caching_grow(self, asked, status);
  if (address == NULL && *status == TARN_OUT_OF_MEMORY) address = lend_anywhere(self, asked);
  return address;
}

/* What threads keep, before the pool grows. They keep little of what streams use, and all of it is
 * looked at. Of the CPU's memory they may keep much, and soon miss what is taken from them: it is
 * left to them while the pool may grow without waste, and then no more is taken than has to be, of
 * blocks that count. */
static void *lend_kept(tarn__caching *self, const tarn__request *asked) {
  const bool is_short = !has_room(self, asked);
  const bool is_host = tarn_stream_is_synchronous(asked->stream);
  const bool is_much = tarn__magazine_kept_bytes(self) / GATHERED_PART > asked->size_bytes;
  tarn__gathering what = {0};
  if (is_host && is_much) {
    what.least_bytes = asked->size_bytes / GATHERED_PART;
    what.enough_bytes = asked->search_bytes;
  }
  void *address = NULL;
  if (is_short || !is_host || !is_much) {
    address = lend_gathered(self, asked, /*from_all=*/false, &what);
  }
  if (address != NULL || !is_short) return address;
  return lend_gathered(self, asked, /*from_all=*/true, &what);
}

/* Tiers 1 to 5, once. */
static void *alloc_once(tarn__caching *self, const tarn__request *asked, tarn_status *status) {
  if (tarn__order_is_captured(asked->stream)) return lend_captured(self, asked, status);
  void *address = lend_kept(self, asked);
  if (address == NULL) address = lend_observed(self, asked);
  if (address == NULL && has_enough(self, asked)) {
    address = lend_ordered(self, asked, status);
    if (address == NULL) address = lend_run(self, asked, status);
  }
  if (address != NULL) return address;
  address = tarn__caching_grow(self, asked, status);
  if (address != NULL) return address;
  /* Only a lack of memory can be helped by other memory. */
  if (*status != TARN_OUT_OF_MEMORY) return NULL;
  address = lend_gathered(self, asked, /*from_all=*/true, &(tarn__gathering){0});
  if (address == NULL) address = lend_ordered(self, asked, status);
  if (address == NULL) address = lend_run(self, asked, status);
  if (address != NULL) return address;
  /* What is held by a capture is not there for now: what is left to say is that memory is short. */
  if (*status == TARN_NOT_READY) *status = TARN_OUT_OF_MEMORY;
  return lend_reclaimed(self, asked, status);
}

/* Tier 6. */
static bool press(tarn__caching *self, const tarn__request *asked) {
  if (tarn__order_is_captured(asked->stream)) return false;
  size_t fresh_bytes = 0;
  if (!tarn__caching_fresh_bytes(self, asked, &fresh_bytes)) return false;
  if (!tarn__budget_may_ever_fit(self->budget, fresh_bytes)) return false;
  pthread_mutex_unlock(&self->lock);
  const bool has_given =
      tarn_budget_press(self->budget, asked->requested_bytes, fresh_bytes, /*except=*/self);
  pthread_mutex_lock(&self->lock);
  return has_given;
}

static tarn_status give_up(tarn__caching *self, const tarn__request *asked) {
  const tarn_status status = tarn__caching_explain(self, asked);
  if (self->out_of_memory == NULL) return status;
  const tarn_error explained = *tarn_last_error();
  pthread_mutex_unlock(&self->lock);
  self->out_of_memory(self->out_of_memory_context, tarn_last_out_of_memory());
  pthread_mutex_lock(&self->lock);
  tarn__error_restore(&explained);
  return status;
}

/* Until there is an answer that no other thread can change: what one of them has claimed, or is
 * giving back, is waited for before it is called missing. */
void *tarn__caching_lend_slowly(tarn__caching *self, const tarn__request *asked,
                                tarn_status *status) {
  int promise_count = 0;
  int loss_count = 0;
  for (;;) {
    const uint64_t given_count = tarn__budget_given_count(self->budget);
    void *address = alloc_once(self, asked, status);
    if (address != NULL || *status != TARN_OUT_OF_MEMORY) return address;
    if (self->busy_count > 0) {
      pthread_cond_wait(&self->settled, &self->lock);
      continue;
    }
    if (promise_count == PROMISES_MAX || loss_count == LOSSES_MAX) break;
    const bool is_promised = press(self, asked);
    /* A budget that refused may have room by now, and nobody anything left to give. */
    const bool is_given = tarn__budget_given_count(self->budget) != given_count;
    if (!is_promised && !is_given) break;
    ++*(is_given ? &loss_count : &promise_count);
  }
  *status = give_up(self, asked);
  return NULL;
}
