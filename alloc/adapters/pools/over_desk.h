/* over_desk.h: what an adaptor has lent, as a sum that threads seldom share.
 *
 * Bytes that are charged are one sum, for a limit, for the statistics, and to know when no block is
 * out. What a thread frees stays charged as its credit, up to TARN__OVER_CREDIT_BYTES, and is what
 * it is lent again: most calls then change nothing that threads share. A thread finds its credit on
 * its *desk*, where it counts its calls as well.
 *
 *     charged = lent + on its way + credit of all threads  <= limit
 *
 * Where the sum is to be exact all credit is gathered, by the one-sided barrier of tarn_barrier.h:
 * for a moment where peaks begin again; for good where the limit is near or lower than it was, or
 * the pool is closed, and from then on every call goes to the sum. */
#ifndef TARN_OVER_DESK_PRIVATE_H
#define TARN_OVER_DESK_PRIVATE_H

#include "alloc/adapters/pools/lent_map.h"
#include "alloc/tarn_pool.h"

enum {
  TARN__OVER_DESKS = 32,
  TARN__OVER_CREDIT_BYTES = 1 << 20, /* of a thread, at most */
  TARN__OVER_OWN_WORDS = 2,
};

/* What a thread has for itself of an adaptor: written by it alone, or by the one that has its
 * number once it has ended. One that finds its desk taken uses the adaptor's shared counts. */
typedef struct tarn__over_desk {
  atomic_uintptr_t thread; /* who has it, for good; 0: nobody yet */
  atomic_uint_fast64_t alloc_count;
  atomic_uint_fast64_t free_count;
  atomic_uintptr_t leaf_end;       /* the last address of the leaf that was used last; 0: none */
  _Atomic(tarn__lent_leaf *) leaf; /* of the map */
  atomic_uintptr_t words[TARN__OVER_OWN_WORDS]; /* the adaptor's own */
  atomic_size_t credit_bytes; /* charged and not lent: what the thread freed, to lend again */
  atomic_uintptr_t inside;    /* the process's generation while credit_bytes is changed */
  atomic_uintptr_t gathered;  /* the generation while somebody moves credit_bytes to the sum */
  char apart[128 - 10 * 8];   /* no two threads share a line of the cache */
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
  atomic_size_t allocated_bytes_peak;
  atomic_uint_fast64_t out_of_memory_count;
  /* Of threads without a desk. */
  atomic_uint_fast64_t alloc_count;
  atomic_uint_fast64_t free_count;
  char apart[64];
  atomic_size_t charged_bytes; /* and TARN__OVER_CLOSING */
  atomic_size_t more_bytes;    /* asked for below than requested, of what is lent */
  atomic_uint exact_count;     /* 0: threads may keep credit */
  atomic_bool is_gathered;     /* all of it, for good */
  char further_apart[64];
  tarn__over_desk desks[TARN__OVER_DESKS];
};

/* Beside the bytes that are charged: the pool is to end as soon as there are none. */
#define TARN__OVER_CLOSING ((size_t)1 << 63)

/* Which child of a fork this is, from 1. What a thread of the parent was inside of, it never leaves
 * in the child. */
extern atomic_uintptr_t tarn__over_generation;

/* Says to the compiler which way most calls go. */
static inline bool tarn__over_is_common(bool condition) {
  return __builtin_expect(condition, true);
}

/* --- out of line --- */

/* Before anybody has the adaptor. */
void tarn__over_init_desks(tarn__over *self);
/* NULL where another thread has the caller's. */
tarn__over_desk *tarn__over_take_desk(tarn__over_desk *desk, uintptr_t thread);
/* TARN__OVER_OWN_WORDS of the calling thread's for the adaptor, 0 at first; NULL for a thread
 * without a desk. */
atomic_uintptr_t *tarn__over_own_words(tarn__over *self);
/* Refused, told and counted where that is beyond the limit. */
tarn_status tarn__over_charge(tarn__over *self, size_t size_bytes);
/* What was charged is nobody's. The adaptor may be gone then, where the caller has no handle. */
void tarn__over_pay_back(tarn__over *self, size_t size_bytes);
/* The same where all but missing_bytes is charged, which is paid back where it fails. */
tarn_status tarn__over_charge_sum(tarn__over *self, size_t size_bytes, size_t missing_bytes);
/* Counts an allocation that failed where it is TARN_OUT_OF_MEMORY. */
void tarn__over_count_refusal(tarn__over *self, tarn_status status);

/* From now on; 0: none. */
void tarn__over_set_limit(tarn__over *self, size_t limit_bytes);
/* See tarn_pool_ops.close. */
void tarn__over_close(void *context, tarn_pool *pool);
/* Lent, and on its way. */
size_t tarn__over_lent_bytes(const tarn__over *self);
uint64_t tarn__over_sum_allocs(const tarn__over *self);
uint64_t tarn__over_sum_frees(const tarn__over *self);
void tarn__over_raise_peak(atomic_size_t *peak, size_t size_bytes);
void tarn__over_reset_peaks(tarn__over *self);

/* --- where most calls go straight on --- */

/* Threads are told apart by their control blocks, which lie at the ends of their stacks: some pages
 * apart, or whole megabytes where those are aligned. */
static inline size_t tarn__over_desk_index(uintptr_t thread) {
  return (thread >> 12 ^ thread >> 21) % TARN__OVER_DESKS;
}

static inline tarn__over_desk *tarn__over_own_desk(tarn__over *self) {
  const uintptr_t thread = (uintptr_t)__builtin_thread_pointer();
  tarn__over_desk *desk = &self->desks[tarn__over_desk_index(thread)];
  /* Relaxed: what another thread writes here is never the caller's number. */
  const bool is_own = atomic_load_explicit(&desk->thread, memory_order_relaxed) == thread;
  return tarn__over_is_common(is_own) ? desk : tarn__over_take_desk(desk, thread);
}

/* Of two counts the thread's own, where it has one. */
static inline void tarn__over_count(atomic_uint_fast64_t *own, atomic_uint_fast64_t *shared) {
  if (tarn__over_is_common(own != NULL)) {
    const uint64_t count = atomic_load_explicit(own, memory_order_relaxed);
    atomic_store_explicit(own, count + 1, memory_order_relaxed); /* one writer */
  } else {
    atomic_fetch_add_explicit(shared, 1, memory_order_relaxed);
  }
}

/* True where the thread may change its credit until it leaves. */
static inline bool tarn__over_enter_desk(const tarn__over *self, tarn__over_desk *desk) {
  atomic_store_explicit(&desk->inside,
                        atomic_load_explicit(&tarn__over_generation, memory_order_relaxed),
                        memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst); /* the light side of the barrier */
  return tarn__over_is_common(atomic_load_explicit(&self->exact_count, memory_order_acquire) == 0);
}

/* Release: pairs with the acquire of whoever gathers. The adaptor may be gone then. */
static inline void tarn__over_leave_desk(tarn__over_desk *desk) {
  atomic_store_explicit(&desk->inside, 0, memory_order_release);
}

/* How many of the bytes are not covered by the thread's credit. */
static inline size_t tarn__over_take_credit(const tarn__over *self, tarn__over_desk *desk,
                                            size_t size_bytes) {
  if (!tarn__over_is_common(desk != NULL)) return size_bytes;
  if (tarn__over_enter_desk(self, desk)) {
    const size_t credit_bytes = atomic_load_explicit(&desk->credit_bytes, memory_order_relaxed);
    const size_t taken_bytes = credit_bytes < size_bytes ? credit_bytes : size_bytes;
    atomic_store_explicit(&desk->credit_bytes, credit_bytes - taken_bytes, memory_order_relaxed);
    size_bytes -= taken_bytes;
  }
  tarn__over_leave_desk(desk);
  return size_bytes;
}

/* True where the bytes stay charged as the thread's credit. */
static inline bool tarn__over_give_credit(const tarn__over *self, tarn__over_desk *desk,
                                          size_t size_bytes) {
  if (!tarn__over_is_common(desk != NULL)) return false;
  bool is_given = false;
  if (tarn__over_enter_desk(self, desk)) {
    const size_t sum = atomic_load_explicit(&desk->credit_bytes, memory_order_relaxed) + size_bytes;
    is_given = tarn__over_is_common(sum <= TARN__OVER_CREDIT_BYTES);
    if (is_given) atomic_store_explicit(&desk->credit_bytes, sum, memory_order_relaxed);
  }
  tarn__over_leave_desk(desk);
  return is_given;
}

/* As tarn__over_charge. *is_new is false where all of it was credit: no sum has changed then. */
static inline tarn_status tarn__over_desk_charge(tarn__over *self, tarn__over_desk *desk,
                                                 size_t size_bytes, bool *is_new) {
  *is_new = false;
  if (!tarn__over_is_common(size_bytes <= TARN__LENT_BYTES_MAX)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes; an adaptor's blocks have up to %zu", size_bytes,
                     (size_t)TARN__LENT_BYTES_MAX);
  }
  const size_t missing_bytes = tarn__over_take_credit(self, desk, size_bytes);
  if (tarn__over_is_common(missing_bytes == 0)) return TARN_OK;
  *is_new = true;
  return tarn__over_charge_sum(self, size_bytes, missing_bytes);
}

/* After the block is back below. The adaptor may be gone then. */
static inline void tarn__over_desk_pay_back(tarn__over *self, tarn__over_desk *desk,
                                            size_t size_bytes) {
  if (!tarn__over_is_common(tarn__over_give_credit(self, desk, size_bytes))) {
    tarn__over_pay_back(self, size_bytes);
  }
}

#endif
