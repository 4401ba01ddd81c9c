/* caching.h: what the caching pool's files share: its state, and what is asked of it.
 *
 * Every function is called with the lock held and returns with it held; those that say so leave it
 * in between, for no provider and no stream is called under it. */
#ifndef TARN_CACHING_H
#define TARN_CACHING_H

#include <pthread.h>

#include "alloc/budget.h"
#include "alloc/heap.h"
#include "alloc/paused.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_out_of_memory.h"
#include "alloc/tarn_pool_trace.h"

enum { TARN__DECAY_SLICES = 8 }; /* of a window */

/* Bytes that were reserved and not lent out, at their least: in each of the last slices, and in the
 * one that runs. */
typedef struct tarn__decay {
  bool is_running;   /* since the first call that told a time */
  uint64_t start_ns; /* of the slice that runs */
  size_t lowest_now;
  size_t lowest[TARN__DECAY_SLICES]; /* a ring; `slice` is the oldest */
  int slice;
} tarn__decay;

typedef struct tarn__magazine tarn__magazine;

/* Where a thread looks for its magazine first. */
typedef struct tarn__magazine_place {
  /* Written with the lock; read by the threads that look here, whosever it is. */
  _Atomic uintptr_t thread; /* 0: nobody's */
  _Atomic(tarn__magazine *) magazine;
} tarn__magazine_place;

enum { TARN__MAGAZINE_PLACES = 64 };

typedef struct tarn__caching tarn__caching;

struct tarn__caching {
  tarn__magazine_place places[TARN__MAGAZINE_PLACES];
  uint64_t id;             /* never reused, unlike the address */
  tarn_provider *provider; /* a reference */
  const tarn_provider_attributes *machine;
  size_t alignment_bytes;
  tarn_budget *budget; /* its own: all that is reserved, is being obtained or given back */
  bool is_sharing;     /* the budget has a parent: other pools may ask for idle memory */
  size_t floor_bytes;
  tarn_trace *trace;                         /* NULL: nothing is recorded */
  tarn_out_of_memory_function out_of_memory; /* may be NULL */
  void *out_of_memory_context;
  uint64_t decay_ns;
  tarn__decay decay;
  size_t segment_bytes;
  size_t range_bytes;
  size_t prepare_bytes;
  pthread_mutex_t lock;
  tarn__heap heap;
  tarn__paused paused;            /* granules without memory: caching_pause.h */
  uint32_t busy_count;            /* threads that left the lock with something claimed or growing */
  pthread_cond_t settled;         /* one of them is back */
  uint32_t giving_count;          /* of these: give memory back to the provider */
  tarn_pool_stats stats;          /* peaks and counts; sizes are the heap's */
  size_t peak_bytes_before_reset; /* of allocated_bytes, where the peaks began again */
  uint32_t looks_to_skip;         /* misses before the streams are asked again; caching_tiers.c */
  uint32_t look_doublings;
  uint64_t change_count;
  uint64_t poison_progress;  /* of streams, when memory checkers were told last */
  tarn__magazine *magazines; /* what threads keep: magazine.h */
  uint32_t magazines_closed_count;
  size_t ahead_bytes;     /* reserved up front, and not trimmed since: not recycled */
  uint64_t recycle_count; /* growths that gave idle memory back first */
  uint64_t settle_count;  /* times that streams were asked for a recycling */
  uint32_t impatience;    /* times in a row that they did not get done in a moment either */
  tarn_pool *closing;     /* no handle may be left: the pool ends with its last block */
  bool has_ended;         /* it has given up its reference to itself */
  size_t obtaining_bytes; /* charged, and not reserved yet */
  bool is_left_behind;    /* in a child of fork: its memory is the parent's alone */
  tarn__caching *next;    /* of all; under the lock of caching_fork.c */
  tarn__caching *previous;
};

/* What is obtained from the provider and not given back; and of that, what is neither lent out nor
 * kept for those that are paused. */
static inline size_t tarn__caching_reserved_bytes(const tarn__caching *self) {
  return self->heap.reserved_bytes - self->heap.paused_bytes;
}
static inline size_t tarn__caching_spare_bytes(const tarn__caching *self) {
  return self->heap.reserved_bytes - self->heap.allocated_bytes - self->heap.asleep_bytes;
}

/* What is asked for; the same through all tiers. */
typedef struct tarn__request {
  tarn_stream *stream;
  size_t requested_bytes;
  size_t size_bytes;      /* rounded to the heap's granule */
  size_t search_bytes;    /* with room to align */
  size_t alignment_bytes; /* power of two */
  bool is_ahead;          /* for later: nothing but fresh memory will do */
  size_t movable_bytes; /* where there is no room to grow: idle memory that may be moved instead */
} tarn__request;

/* Peaks, and the heap's validator in a debug build: after every change. */
void tarn__caching_note_change(tarn__caching *self);
void tarn__caching_add_cost(tarn__caching *self, const tarn__order_cost *cost);

/* Each capture that has used the block keeps so many bytes more; what wraps around takes back. */
void tarn__caching_count_kept(const tarn__block *block, size_t size_bytes);

/* Leave the lock with something claimed, and come back: whoever finds no memory meanwhile waits for
 * what these threads hold before it says so. */
void tarn__caching_leave(tarn__caching *self);
void tarn__caching_return(tarn__caching *self);

/* Lends a CLAIMED block. NULL, and the block free, where no record for a cut is to be had. */
void *tarn__caching_lend(tarn__caching *self, tarn__block *block, const tarn__request *asked);

/* Where a block is lent (a), used by another stream (u), taken back (f), or memory obtained (s) or
 * given back (r). */
static inline void tarn__caching_trace(const tarn__caching *self, char op, const void *address,
                                       size_t size_bytes, const tarn_stream *stream) {
  if (self->trace != NULL) tarn_trace_record(self->trace, op, address, size_bytes, stream);
}

/* The counters and peaks; of the sizes all but active_bytes. */
void tarn__caching_copy_stats(tarn__caching *self, tarn_pool_stats *stats);

/* The context of a caching pool; NULL, and the last error set, for any other. */
tarn__caching *tarn__caching_of(const tarn_pool *pool);

/* Tier 0: the best fitting block that the stream may use at once. `pending`: see
 * tarn__heap_find. */
void *tarn__caching_lend_covered(tarn__caching *self, const tarn__request *asked,
                                 tarn__block **pending);

/* caching_tiers.c: tiers 1 to 5, and pressure, until there is an answer that no other thread can
 * change. Leaves the lock. NULL with a status. */
void *tarn__caching_lend_slowly(tarn__caching *self, const tarn__request *asked,
                                tarn_status *status);

/* caching_explain.c: writes down what the pool looks like; the failure's status, with words. */
tarn_status tarn__caching_explain(tarn__caching *self, const tarn__request *asked);

/* caching_grow.c: lends fresh memory of the provider's, or says why not. Leaves the lock. */
void *tarn__caching_grow(tarn__caching *self, const tarn__request *asked, tarn_status *status);
/* The same where there is no room for more: idle memory is moved to where the request has its
 * addresses. NULL, and *status as it was, where nothing can be moved. */
void *tarn__caching_grow_by_moving(tarn__caching *self, const tarn__request *asked,
                                   tarn_status *status);
/* What has to come from the provider for the request; false where that cannot be rounded. */
bool tarn__caching_fresh_bytes(const tarn__caching *self, const tarn__request *asked,
                               size_t *size_bytes);
/* Obtains memory that stays free, until at least bytes are reserved. Leaves the lock. */
tarn_status tarn__caching_reserve(tarn__caching *self, size_t size_bytes);

/* caching_move.c: gives a GROWING hole memory: what the chain of idle blocks has is moved there and
 * taken off it, the rest is fresh and charged. It is CLAIMED then. Leaves the lock. What could be
 * moved, for a provider that can; and the end of a chain, whose blocks become free again. */
tarn_status tarn__caching_commit_hole(tarn__caching *self, const tarn__request *asked,
                                      tarn__block *hole, tarn__block **idle);
size_t tarn__caching_movable_bytes(const tarn__caching *self);
void tarn__caching_put_back_idle(tarn__caching *self, tarn__block *chain);

/* caching_recycle.c: whether growing by commit_bytes lifts what is reserved beyond the mark, and
 * idle memory may take the place of fresh; asks streams how far they have come, for a moment, and
 * joins what is free; answers a chain of idle blocks to be moved, of no more than commit_bytes, and
 * gives back what is idle beyond that, as much as commit_bytes may pay for; all of it where the
 * provider does not reserve. The last two leave the lock. */
bool tarn__caching_is_below_mark(const tarn__caching *self, const tarn__request *asked,
                                 size_t commit_bytes);
bool tarn__caching_wants_to_recycle(const tarn__caching *self, const tarn__request *asked,
                                    size_t commit_bytes);
void tarn__caching_settle(tarn__caching *self);
tarn__block *tarn__caching_recycle(tarn__caching *self, const tarn__request *asked,
                                   size_t commit_bytes);

/* caching_prepare.c: has the provider make as much ahead as the option says, at most so much, and
 * as limits have room. Leaves the lock. */
tarn_status tarn__caching_prepare(tarn__caching *self, size_t at_most_bytes);

/* caching_decay.c: after every change; and the pool's operation, which leaves the lock. */
void tarn__caching_note_spare(tarn__caching *self, size_t allocated_bytes);
tarn_status tarn__caching_decay(void *context, uint64_t now_ns, size_t *released_bytes);

/* caching_fork.c: a pool that is whole; and one that is about to end. Without the lock. */
void tarn__caching_enlist(tarn__caching *self);
void tarn__caching_delist(tarn__caching *self);
/* Whether a child of fork gets none of the pool's memory; false for a pool of another kind. */
bool tarn__caching_is_of_process(const tarn_pool *pool);
/* TARN_UNAVAILABLE, and words for it, where the pool is left behind; else TARN_OK. */
tarn_status tarn__caching_check_process(const tarn__caching *self);

/* caching_trim.c: what of a free block can go back to a provider that reserves; claims idle memory,
 * whole granules and at most so many bytes, as CLAIMED blocks that are going, chained by `low`; a
 * block whose memory is gone becomes a hole. */
tarn_provider_span tarn__caching_givable(const tarn__caching *self, const tarn__block *block);
tarn__block *tarn__caching_claim_idle(tarn__caching *self, size_t at_most_bytes);
/* Leaves the lock. */
void tarn__caching_release_chain(tarn__caching *self, tarn__block *chain);
void tarn__caching_note_hole(tarn__caching *self, tarn__block *block);
/* caching_snapshot.c: the pool's operation. */
tarn_status tarn__caching_snapshot(void *context, tarn_snapshot *snapshot);

/* caching_trim.c: gives idle memory back until the heap's reserved_bytes, with what is paused, are
 * down to keep_bytes or none is left, the second one no more than the floor allows; asks how far
 * the last users of every free block have come; waits for all of them, so that all of it becomes
 * idle; or for the fewest streams that make enough_bytes of it idle, in whole granules or segments.
 * All leave the lock. */
tarn_status tarn__caching_release_idle(tarn__caching *self, size_t keep_bytes,
                                       size_t *released_bytes);
tarn_status tarn__caching_give_back(tarn__caching *self, size_t keep_bytes, size_t *released_bytes);
/* The last users of every free block, to be deinited. Without memory some are left out. */
tarn__stamps tarn__caching_pending_stamps(tarn__caching *self);
void tarn__caching_observe_pending(tarn__caching *self);
void tarn__caching_wait_for_pending(tarn__caching *self);
void tarn__caching_wait_for_enough(tarn__caching *self, size_t enough_bytes);

/* The pressure function of a pool that shares a budget: gives back what is missing. */
bool tarn__caching_answer_pressure(void *context, const tarn_pressure *pressure);

#endif
