/* over_desk.c: threads' credit and the sum behind it. */
#include "alloc/adapters/pools/over_desk.h"

#include <pthread.h>
#include <sched.h>

#include "alloc/tarn_barrier.h"

/* --- desks --- */

atomic_uintptr_t tarn__over_generation = 1;

static void begin_generation(void) {
  atomic_fetch_add_explicit(&tarn__over_generation, 1, memory_order_relaxed);
}

__attribute__((constructor)) static void watch_forks(void) {
  (void)pthread_atfork(NULL, NULL, begin_generation);
}

void tarn__over_init_desks(tarn__over *self) {
  const bool is_one_sided = tarn_barrier_is_one_sided();
  atomic_init(&self->exact_count, is_one_sided ? 0 : 1);
  atomic_init(&self->is_gathered, !is_one_sided);
}

tarn__over_desk *tarn__over_take_desk(tarn__over_desk *desk, uintptr_t thread) {
  uintptr_t nobody = 0;
  const bool is_taken = atomic_compare_exchange_strong_explicit(
      &desk->thread, &nobody, thread, memory_order_relaxed, memory_order_relaxed);
  return is_taken ? desk : NULL;
}

atomic_uintptr_t *tarn__over_own_words(tarn__over *self) {
  tarn__over_desk *desk = tarn__over_own_desk(self);
  return desk != NULL ? desk->words : NULL;
}

uint64_t tarn__over_sum_allocs(const tarn__over *self) {
  uint64_t sum = atomic_load_explicit(&self->alloc_count, memory_order_relaxed);
  for (int index = 0; index < TARN__OVER_DESKS; index++) {
    sum += atomic_load_explicit(&self->desks[index].alloc_count, memory_order_relaxed);
  }
  return sum;
}

uint64_t tarn__over_sum_frees(const tarn__over *self) {
  uint64_t sum = atomic_load_explicit(&self->free_count, memory_order_relaxed);
  for (int index = 0; index < TARN__OVER_DESKS; index++) {
    sum += atomic_load_explicit(&self->desks[index].free_count, memory_order_relaxed);
  }
  return sum;
}

/* --- bytes --- */

void tarn__over_raise_peak(atomic_size_t *peak, size_t size_bytes) {
  size_t before = atomic_load_explicit(peak, memory_order_relaxed);
  while (before < size_bytes &&
         !atomic_compare_exchange_weak_explicit(peak, &before, size_bytes, memory_order_relaxed,
                                                memory_order_relaxed)) {
  }
}

/* A pool that has given up its reference to itself has it back: the caller has a handle. */
static __attribute__((noinline)) void reopen(tarn__over *self) {
  tarn_pool_retain(atomic_load_explicit(&self->closing, memory_order_relaxed));
}

static __attribute__((noinline)) tarn_status refuse_charge(tarn__over *self, size_t size_bytes,
                                                           size_t charged_bytes) {
  tarn__over_count_refusal(self, TARN_OUT_OF_MEMORY);
  return tarn_fail(TARN_OUT_OF_MEMORY, "%zu bytes over a limit of %zu, of which %zu are lent out",
                   size_bytes, atomic_load_explicit(&self->limit_bytes, memory_order_relaxed),
                   charged_bytes & ~TARN__OVER_CLOSING);
}

/* Beyond a limit nothing is added, not even for a moment: others would be refused for it. Acquire
 * and release: with the sum goes all that was done before it, to whoever ends the pool. */
static inline bool charge(tarn__over *self, size_t size_bytes, size_t *before) {
  const size_t limit_bytes = atomic_load_explicit(&self->limit_bytes, memory_order_relaxed);
  if (limit_bytes == 0) {
    *before = atomic_fetch_add_explicit(&self->charged_bytes, size_bytes, memory_order_acq_rel);
    return true;
  }
  *before = atomic_load_explicit(&self->charged_bytes, memory_order_relaxed);
  do {
    const size_t charged_bytes = *before & ~TARN__OVER_CLOSING;
    if (size_bytes > limit_bytes || charged_bytes > limit_bytes - size_bytes) return false;
  } while (!atomic_compare_exchange_weak_explicit(&self->charged_bytes, before,
                                                  *before + size_bytes, memory_order_acq_rel,
                                                  memory_order_relaxed));
  return true;
}

void tarn__over_pay_back(tarn__over *self, size_t size_bytes) {
  const size_t before =
      atomic_fetch_sub_explicit(&self->charged_bytes, size_bytes, memory_order_acq_rel);
  if (tarn__over_is_common(before != TARN__OVER_CLOSING + size_bytes)) return;
  tarn_pool_end(atomic_load_explicit(&self->closing, memory_order_relaxed));
}

void tarn__over_count_refusal(tarn__over *self, tarn_status status) {
  if (status != TARN_OUT_OF_MEMORY) return;
  atomic_fetch_add_explicit(&self->out_of_memory_count, 1, memory_order_relaxed);
}

/* --- credit --- */

static size_t sum_credit(const tarn__over *self) {
  size_t sum = 0;
  for (int index = 0; index < TARN__OVER_DESKS; index++) {
    sum += atomic_load_explicit(&self->desks[index].credit_bytes, memory_order_relaxed);
  }
  return sum;
}

/* One thread at a time for a desk, so that nobody passes by credit that is in neither place. */
static void move_credit(tarn__over *self, tarn__over_desk *desk) {
  const uintptr_t own = atomic_load_explicit(&tarn__over_generation, memory_order_relaxed);
  uintptr_t other = 0;
  while (!atomic_compare_exchange_weak_explicit(&desk->gathered, &other, own, memory_order_acquire,
                                                memory_order_relaxed)) {
    if (other != own) continue; /* who was at it is not in this child */
    sched_yield();
    other = 0;
  }
  const size_t credit_bytes = atomic_load_explicit(&desk->credit_bytes, memory_order_relaxed);
  atomic_store_explicit(&desk->credit_bytes, 0, memory_order_relaxed);
  if (credit_bytes != 0) tarn__over_pay_back(self, credit_bytes);
  atomic_store_explicit(&desk->gathered, 0, memory_order_release);
}

/* With exact_count raised: behind the barrier whoever comes to a desk sees that, and whoever is
 * there already says so. */
static void gather_credit(tarn__over *self) {
  tarn_barrier_heavy();
  for (int index = 0; index < TARN__OVER_DESKS; index++) {
    tarn__over_desk *desk = &self->desks[index];
    while (atomic_load_explicit(&desk->inside, memory_order_acquire) ==
           atomic_load_explicit(&tarn__over_generation, memory_order_relaxed)) {
      sched_yield();
    }
    move_credit(self, desk);
  }
}

/* Until allow_credit. */
static void gather_for_now(tarn__over *self) {
  atomic_fetch_add_explicit(&self->exact_count, 1, memory_order_seq_cst);
  gather_credit(self);
}

static void allow_credit(tarn__over *self) {
  atomic_fetch_sub_explicit(&self->exact_count, 1, memory_order_release);
}

/* Several threads may come at once; each has gathered all when it returns. */
static void gather_for_good(tarn__over *self) {
  /* Acquire pairs with the release below: the credit is in the sum. */
  if (atomic_load_explicit(&self->is_gathered, memory_order_acquire)) return;
  gather_for_now(self);
  atomic_store_explicit(&self->is_gathered, true, memory_order_release);
}

tarn_status tarn__over_charge_sum(tarn__over *self, size_t size_bytes, size_t missing_bytes) {
  size_t before;
  if (!tarn__over_is_common(charge(self, missing_bytes, &before))) {
    /* Others' credit may be what is missing, and what the caller took of its own would be missing
     * to others who do the same: of two one would not get it, both would be refused. */
    if (missing_bytes != size_bytes) tarn__over_pay_back(self, size_bytes - missing_bytes);
    if (size_bytes <= atomic_load_explicit(&self->limit_bytes, memory_order_relaxed)) {
      gather_for_good(self);
    }
    if (!charge(self, size_bytes, &before)) return refuse_charge(self, size_bytes, before);
  }
  if (!tarn__over_is_common(before != TARN__OVER_CLOSING)) reopen(self);
  return TARN_OK;
}

tarn_status tarn__over_charge(tarn__over *self, size_t size_bytes) {
  bool is_new;
  return tarn__over_desk_charge(self, tarn__over_own_desk(self), size_bytes, &is_new);
}

/* What is lent above a lower limit is nobody's credit when it comes back. */
void tarn__over_set_limit(tarn__over *self, size_t limit_bytes) {
  const size_t before_bytes =
      atomic_exchange_explicit(&self->limit_bytes, limit_bytes, memory_order_relaxed);
  const bool is_lower = limit_bytes != 0 && (before_bytes == 0 || limit_bytes < before_bytes);
  if (is_lower) gather_for_good(self);
}

/* Whoever brings the last block back from now on ends the pool. Release pairs with the acquire of
 * whoever sees the bit: the pool is known by then. */
void tarn__over_close(void *context, tarn_pool *pool) {
  tarn__over *self = context;
  atomic_store_explicit(&self->closing, pool, memory_order_relaxed);
  const size_t before =
      atomic_fetch_or_explicit(&self->charged_bytes, TARN__OVER_CLOSING, memory_order_acq_rel);
  if (before == 0) {
    tarn_pool_end(pool);
  } else if ((before & TARN__OVER_CLOSING) == 0) {
    gather_for_good(self);
  }
}

/* --- telling --- */

size_t tarn__over_lent_bytes(const tarn__over *self) {
  const size_t credit_bytes = sum_credit(self);
  const size_t charged_bytes =
      atomic_load_explicit(&self->charged_bytes, memory_order_relaxed) & ~TARN__OVER_CLOSING;
  /* What is taken out of credit meanwhile may be in neither. */
  return charged_bytes > credit_bytes ? charged_bytes - credit_bytes : 0;
}

/* Without credit, or what is lent out of it would be no new peak. */
void tarn__over_reset_peaks(tarn__over *self) {
  gather_for_now(self);
  const size_t lent_bytes =
      atomic_load_explicit(&self->charged_bytes, memory_order_relaxed) & ~TARN__OVER_CLOSING;
  const size_t more_bytes = atomic_load_explicit(&self->more_bytes, memory_order_relaxed);
  atomic_store_explicit(&self->requested_bytes_peak, lent_bytes, memory_order_relaxed);
  atomic_store_explicit(&self->allocated_bytes_peak, lent_bytes + more_bytes, memory_order_relaxed);
  allow_credit(self);
}
