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
 * There is no lock. Bytes that are charged are one sum, which says as well when no block is out;
 * calls are counted by each thread for itself. A block keeps its adaptor, and an adaptor its pool
 * below. */
#ifndef TARN_OVER_POOL_PRIVATE_H
#define TARN_OVER_POOL_PRIVATE_H

#include "alloc/adapters/pools/lent_map.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_pool_trace.h"

enum { TARN__OVER_DESKS = 32 };

/* What a thread has for itself of an adaptor: written by it alone, or by the one that has its
 * number once it has ended. One that finds its desk taken uses the adaptor's shared counts. */
typedef struct tarn__over_desk {
  atomic_uintptr_t thread; /* who has it, for good; 0: nobody yet */
  atomic_uint_fast64_t alloc_count;
  atomic_uint_fast64_t free_count;
  atomic_uintptr_t leaf_end;       /* the last address of the leaf that was used last; 0: none */
  _Atomic(tarn__lent_leaf *) leaf; /* of the map */
  atomic_uintptr_t word;           /* the adaptor's own */
  char apart[128 - 6 * 8];         /* no two threads share a line of the cache */
} tarn__over_desk;

typedef struct tarn__over tarn__over;
struct tarn__over {
  tarn_pool *upstream; /* retained; NULL: the adaptor has several, and looks after them */
  /* Whose block one of `requested_bytes` is, and how many bytes are asked of it: always the same
   * for a size. NULL: the upstream, and as many. */
  tarn_pool *(*route)(const tarn__over *self, size_t requested_bytes, size_t *asked_bytes);
  /* The tag of a block with this label. NULL: the label itself. */
  uint32_t (*tag_of)(const tarn__over *self, uint32_t label);
  atomic_size_t limit_bytes; /* of what is charged; 0: none */
  _Atomic(tarn_pool *) closing;
  _Atomic(tarn_trace *) trace;
  tarn__lent_map lent;
  atomic_size_t requested_bytes_peak;
  atomic_size_t allocated_bytes_peak; /* 0 without a route: as requested */
  atomic_uint_fast64_t out_of_memory_count;
  /* What threads without a desk count; and those that have none of these. */
  atomic_uint_fast64_t alloc_count;
  atomic_uint_fast64_t free_count;
  char apart[64];
  atomic_size_t charged_bytes; /* and a bit: see over_pool.c */
  atomic_size_t more_bytes;    /* asked for below than requested, of what is lent */
  char further_apart[64];
  tarn__over_desk desks[TARN__OVER_DESKS];
};

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

/* Refused, told and counted where that is beyond the limit. */
tarn_status tarn__over_charge(tarn__over *self, size_t size_bytes);
/* What was charged is nobody's. The adaptor may be gone then, where the caller has no handle. */
void tarn__over_pay_back(tarn__over *self, size_t size_bytes);
/* The block that `below` lent at *address, and that was charged, is the adaptor's. Where there is
 * no memory for its record it goes back, and is paid back. */
tarn_status tarn__over_enter(tarn__over *self, size_t requested_bytes, uint32_t label,
                             tarn_stream *stream, void **address);
/* All three. */
tarn_status tarn__over_lend(tarn__over *self, size_t requested_bytes, size_t alignment_bytes,
                            uint32_t label, tarn_stream *stream, void **address);
tarn_status tarn__over_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                             tarn_stream *stream, void **address);
/* Counts an allocation that failed where it is TARN_OUT_OF_MEMORY. */
void tarn__over_count_refusal(tarn__over *self, tarn_status status);

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
/* A word of the calling thread's for the adaptor, 0 at first; NULL for a thread without a desk. */
atomic_uintptr_t *tarn__over_own_word(tarn__over *self);
/* What is lent, its counts and its peaks; *stats is otherwise left alone. */
void tarn__over_copy_stats(tarn__over *self, tarn_pool_stats *stats);
void tarn__over_reset_peaks(tarn__over *self);
/* A snapshot's blocks, those that are lent, and the same of its statistics. */
tarn_status tarn__over_copy_blocks(tarn__over *self, tarn_snapshot *snapshot);

#endif
