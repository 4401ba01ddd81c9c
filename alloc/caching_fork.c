/* caching_fork.c: caching pools around a fork: threads stopped, and what was under way undone.
 *
 * With all locks held and all magazines closed no thread is in the middle of anything but of calls
 * to providers and streams. In the child those never return, and what they may or may not have done
 * is not known. So what they had claimed is put back as what is right either way:
 *
 *     a hole that was getting memory        is a hole
 *     memory that was going back, in place  is a hole: it is committed again before it is lent
 *     a segment that was going back         is gone, and lost to the child if it was not yet
 *     a segment that was being obtained     is lost to the child
 *     a free block that a stream was being
 *     ordered behind                        is free
 *
 * What the threads kept that are not there goes back to the heap. What their callers hold stays
 * lent out: the child may have addresses of it. */
#include "alloc/caching_pause.h"
#include "alloc/fork.h"
#include "alloc/magazine.h"
#include "alloc/status.h"

/* Ranks before all locks of pools and magazines. */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static tarn__caching *all;

void tarn__caching_enlist(tarn__caching *self) {
  pthread_mutex_lock(&all_lock);
  self->next = all;
  if (all != NULL) all->previous = self;
  all = self;
  pthread_mutex_unlock(&all_lock);
}

void tarn__caching_delist(tarn__caching *self) {
  pthread_mutex_lock(&all_lock);
  if (self->previous != NULL) self->previous->next = self->next;
  if (self->next != NULL) self->next->previous = self->previous;
  if (all == self) all = self->next;
  pthread_mutex_unlock(&all_lock);
}

tarn_status tarn__caching_check_process(const tarn__caching *self) {
  if (!self->is_left_behind) return TARN_OK;
  return tarn_fail(TARN_UNAVAILABLE,
                   "pool %s: after a fork its memory is the parent process's alone",
                   tarn_budget_name(self->budget));
}

static bool is_of_process(const tarn__caching *self) {
  return self->machine->device.type != TARN_DEVICE_CPU ||
         (self->machine->flags & TARN_PROVIDER_OF_PROCESS) != 0;
}

bool tarn__caching_is_of_process(const tarn_pool *pool) {
  const tarn_error before = *tarn_last_error();
  const tarn__caching *self = tarn__caching_of(pool);
  if (self == NULL) tarn__error_restore(&before); /* no failure: another kind */
  return self != NULL && is_of_process(self);
}

void tarn__caching_hold(void) {
  pthread_mutex_lock(&all_lock);
  tarn__magazines_hold();
  for (tarn__caching *self = all; self != NULL; self = self->next) pthread_mutex_lock(&self->lock);
  for (tarn__caching *self = all; self != NULL; self = self->next) tarn__magazines_close(self);
}

void tarn__caching_unhold(void) {
  for (tarn__caching *self = all; self != NULL; self = self->next) {
    tarn__magazines_open(self);
    pthread_mutex_unlock(&self->lock);
  }
  tarn__magazines_unhold();
  pthread_mutex_unlock(&all_lock);
}

/* Puts a block back that a thread had claimed; what it is part of then. */
static tarn__block *put_back(tarn__caching *self, tarn__block *block) {
  if (block->state == TARN__BLOCK_GROWING) return tarn__heap_put_hole(&self->heap, block);
  if (!block->is_going) return tarn__heap_put_free(&self->heap, block);
  block->is_going = false;
  self->heap.reserved_bytes -= block->size_bytes;
  tarn_budget_pay_back(self->budget, block->size_bytes);
  return tarn__heap_put_hole(&self->heap, block);
}

/* True where the segment is gone. */
static bool forget_going(tarn__caching *self, tarn__segment *segment) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  const bool is_going = segment->first->state == TARN__BLOCK_CLAIMED && segment->first->is_going;
  if (reserves || !is_going) return false;
  tarn_budget_pay_back(self->budget, segment->size_bytes);
  tarn__heap_remove_segment(&self->heap, segment);
  return true;
}

static void mend(tarn__caching *self) {
  for (tarn__segment *segment = self->heap.segments, *next = NULL; segment != NULL;
       segment = next) {
    next = segment->next;
    if (forget_going(self, segment)) continue;
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      const bool is_claimed =
          block->state == TARN__BLOCK_CLAIMED || block->state == TARN__BLOCK_GROWING;
      if (is_claimed) block = put_back(self, block);
    }
  }
  tarn__budget_cancel(self->budget, self->obtaining_bytes);
  self->obtaining_bytes = 0;
  self->busy_count = 0;
  self->giving_count = 0;
  pthread_cond_init(&self->settled, NULL); /* it may remember threads that wait */
  tarn__caching_mend_paused(self);
  self->is_left_behind |= is_of_process(self);
}

void tarn__caching_mend(void) {
  tarn__magazines_mend();
  for (tarn__caching *self = all; self != NULL; self = self->next) {
    mend(self);
    /* Nothing is kept of a pool that lends nothing: its magazines stay closed. */
    if (!self->is_left_behind) tarn__magazines_open(self);
    pthread_mutex_unlock(&self->lock);
  }
  tarn__magazines_unhold();
  pthread_mutex_unlock(&all_lock);
}
