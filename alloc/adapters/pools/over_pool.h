/* over_pool.h: what every adaptor is made of: a pool that hands all calls through to another.
 *
 * An adaptor is a struct that begins with a tarn__over, and a copy of tarn__over_ops in which it
 * replaces what it changes. What it leaves alone is what a pool over a pool has to be:
 *
 *     alloc      charged, the block below, then its record (lent_map.h)
 *     free       the record is cleared, then the block goes back below, then it is paid back:
 *                in this order, for as soon as it is free another thread may be lent it
 *     note_use, share_range, is_paused    below, for addresses in the adaptor's blocks alone
 *     size_of    from the record
 *     trim, decay, pause, resume          below, with all that the pool below has
 *     stats      what is lent out is counted here; what is active, reserved and paused, and what
 *                was done for it, is as the pool below says
 *     trace, snapshot    of what the adaptor lent, at its own level
 *
 * There is no lock: over_desk.h says how bytes and calls are counted. A block keeps its adaptor,
 * and an adaptor its pool below. */
#ifndef TARN_OVER_POOL_PRIVATE_H
#define TARN_OVER_POOL_PRIVATE_H

#include "alloc/adapters/pools/over_desk.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_pool_trace.h"

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

/* --- lending: charge, ask below, enter --- */

/* The block that `below` lent at *address, and that was charged, is the adaptor's. Where there is
 * no memory for its record it goes back, and is paid back. */
tarn_status tarn__over_enter(tarn__over *self, size_t requested_bytes, uint32_t label,
                             tarn_stream *stream, void **address);
/* All three. */
tarn_status tarn__over_lend(tarn__over *self, size_t requested_bytes, size_t alignment_bytes,
                            uint32_t label, tarn_stream *stream, void **address);
tarn_status tarn__over_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                             tarn_stream *stream, void **address);
/* --- taking back --- */

/* A block whose record is cleared. */
typedef struct tarn__over_taken {
  tarn__lent_leaf *place;
  uint64_t record;
} tarn__over_taken;

/* TARN_NOT_FOUND, told, where the adaptor has lent no block that begins there. */
tarn_status tarn__over_take_back(tarn__over *self, const void *address, tarn_stream *stream,
                                 tarn__over_taken *taken);
/* It goes back below; where that refuses, all is as it was before it was taken back. */
tarn_status tarn__over_give_back(tarn__over *self, const tarn__over_taken *taken, void *address,
                                 tarn_stream *stream);
tarn_status tarn__over_free(void *context, void *address, tarn_stream *stream);

/* --- telling --- */

/* The block that `address` points into: TARN_NOT_FOUND, told, for none. */
tarn_status tarn__over_find(const tarn__over *self, const void *address, void **start,
                            size_t *size_bytes);
tarn_status tarn__over_note_use(void *context, void *address, tarn_stream *stream);
/* What is lent, its counts and its peaks; *stats is otherwise left alone. */
void tarn__over_copy_stats(tarn__over *self, tarn_pool_stats *stats);
/* A snapshot's blocks, those that are lent, and the same of its statistics. */
tarn_status tarn__over_copy_blocks(tarn__over *self, tarn_snapshot *snapshot);

#endif
