/* over_pool.h: what every adaptor is made of: a pool that hands all calls through to another.
 *
 * An adaptor is a struct that begins with a tarn__over, and a copy of tarn__over_ops in which it
 * replaces what it changes. What it leaves alone is what a pool over a pool has to be:
 *
 *     alloc      a record, the block below, then the record is the adaptor's (tarn__over_lend)
 *     free       the record is taken out, then the block goes back below (tarn__over_give_back):
 *                in this order, for as soon as it is free another thread may be lent it
 *     note_use, share_range, is_paused    below, for addresses in the adaptor's blocks alone
 *     size_of    from the record
 *     trim, decay, pause, resume          below, with all that the pool below has
 *     stats      what is lent out is counted here; what is active, reserved and paused, and what
 *                was done for it, is as the pool below says
 *     trace, snapshot    of what the adaptor lent, at its own level
 *
 * No lock is held while anything below is called. A block keeps its adaptor (tarn counts them), and
 * an adaptor its pool below. */
#ifndef TARN_OVER_POOL_PRIVATE_H
#define TARN_OVER_POOL_PRIVATE_H

#include <pthread.h>

#include "alloc/adapters/pools/lent_blocks.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_pool_trace.h"

typedef struct tarn__over {
  tarn_pool *upstream;   /* retained; NULL: the adaptor has several, and looks after them */
  uint32_t note_count;   /* of each block's record */
  pthread_mutex_t *lock; /* guards what follows; adaptors may share it */
  tarn__lent *lent;
  tarn_trace *trace;
  tarn_pool_stats stats; /* of what is lent, its counts and its peaks; the rest is 0 */
} tarn__over;

/* With name NULL. destroy frees the context. */
extern const tarn_pool_ops tarn__over_ops;

/* The outputs and inputs that all creators share: *pool is cleared. */
tarn_status tarn__over_check(tarn_pool **pool, const tarn_pool *upstream);
/* `given_bytes` is an options struct's struct_size. */
tarn_status tarn__over_check_size(const char *what, size_t own_bytes, size_t given_bytes);

/* Makes a pool of `self`, which is zeroed from calloc but for what the adaptor has filled in, and
 * takes it: it is destroyed where this fails. NULL: TARN_OUT_OF_MEMORY. Retains `upstream`, which
 * may be NULL. Named `name`, or where that is NULL "<kind> over <the other's name>". */
tarn_status tarn__over_create(tarn__over *self, tarn_pool *upstream, const tarn_pool_ops *ops,
                              const char *kind, const char *name, tarn_pool **pool);
/* Gives up what create has filled in, once no block is out. */
void tarn__over_deinit(tarn__over *self);
/* The default destroy. */
void tarn__over_destroy(void *context);

/* A record for a block of `size_bytes`, to be lent or freed with free; NULL, told, where there is
 * no memory for it. */
tarn__lent *tarn__over_record(tarn__over *self, size_t size_bytes);
/* Asks `block->below` for block->size_bytes, and takes the record whatever the answer. */
tarn_status tarn__over_lend(tarn__over *self, tarn__lent *block, size_t alignment_bytes,
                            tarn_stream *stream, void **address);
/* The second half of it: the block that `below` has lent out at `address` is the adaptor's. */
void tarn__over_enter(tarn__over *self, tarn__lent *block, void *address, tarn_stream *stream);
/* A record, and lend; what is asked of the upstream is size_bytes, where the adaptor was asked for
 * requested_bytes. */
tarn_status tarn__over_alloc_from(tarn__over *self, tarn_pool *below, size_t requested_bytes,
                                  size_t size_bytes, size_t alignment_bytes, tarn_stream *stream,
                                  void **address);
tarn_status tarn__over_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                             tarn_stream *stream, void **address);
/* An allocation that does not reach the pool below: counts it where it is TARN_OUT_OF_MEMORY. */
void tarn__over_count_refusal(tarn__over *self, tarn_status status);

/* The record of the block that begins at `address`, no longer lent; NULL, told, for none. */
tarn__lent *tarn__over_take_back(tarn__over *self, const void *address, tarn_stream *stream);
/* The block goes back below and the record is freed; where the pool below refuses, all is as it was
 * before it was taken back. */
tarn_status tarn__over_give_back(tarn__over *self, tarn__lent *block, tarn_stream *stream);
tarn_status tarn__over_free(void *context, void *address, tarn_stream *stream);

/* A copy, without its notes, of the record of the block that `address` points into. */
tarn_status tarn__over_find(tarn__over *self, const void *address, tarn__lent *found);
tarn_status tarn__over_note_use(void *context, void *address, tarn_stream *stream);
/* What is lent, its counts and its peaks; *stats is otherwise left alone. */
void tarn__over_copy_stats(tarn__over *self, tarn_pool_stats *stats);
void tarn__over_reset_peaks(tarn__over *self);
/* A snapshot's blocks, those that are lent, and the same of its statistics, as of one moment. */
tarn_status tarn__over_copy_blocks(tarn__over *self, tarn_snapshot *snapshot);

#endif
