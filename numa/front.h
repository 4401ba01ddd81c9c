/* front.h: what a thread keeps of a pool's blocks, so that most calls need no lock and no jemalloc.
 *
 * A thread has one front per pool it uses: a stack of blocks for each size class, and below it a
 * cache of jemalloc's. A freed block goes on its stack, and the same thread's next allocation of
 * the class takes it from there. To jemalloc a kept block is allocated; its shadow says that it is
 * not lent.
 *
 *     thread --- fronts[pool] --- front --- stack per class --- {address, word of its shadow}
 *                                      \--- jemalloc's cache --- arena
 *
 * Who may touch a front's stacks and cache: its thread, while it says that it is inside and as long
 * as the front is open; and whoever holds the lock of the pool's fronts, has closed the front, and
 * has then seen that the thread is not inside. The two flags are ordered by a one-sided barrier
 * (tarn_barrier.h), so the thread's side is plain loads and stores. A thread that finds its front
 * closed goes to the arena by itself, and counts with the lock.
 *
 * The counters are the thread's alone, and modulo 2^64: it may free what others allocated. Their
 * sum over all fronts, with what went without one, is the pool's:
 *
 *     lent = taken - kept      frees = allocations - (blocks taken - blocks kept)
 */
#ifndef TARN_NUMA_FRONT_H
#define TARN_NUMA_FRONT_H

#include <pthread.h>

#include "alloc/tarn_poison.h"
#include "numa/arena.h"
#include "numa/shadow.h"

enum {
  TARN__FRONT_PLACES = 64,
  TARN__FRONT_NEEDS_FENCE = 1 << 30, /* no barrier makes up for a fence of its own */
};

typedef struct tarn__kept_block {
  char *address;
  void *word; /* of its shadow */
} tarn__kept_block;

typedef struct tarn__front_stack {
  uint32_t count;
  uint32_t capacity; /* 0: not used yet */
  size_t block_bytes;
  tarn__kept_block *blocks;
} tarn__front_stack;

typedef struct tarn__fronts tarn__fronts;
typedef struct tarn__front tarn__front;

struct tarn__front {
  /* Written by the thread alone; what is atomic is read by anybody. */
  atomic_bool is_inside;
  _Atomic uint32_t closed; /* how often, and TARN__FRONT_NEEDS_FENCE; written with the lock */
  size_t kept_bytes_max;   /* a block is kept as long as no more are */
  _Atomic size_t kept_bytes;
  size_t kept_bytes_low; /* since the thread noted it */
  _Atomic size_t requested_bytes;
  size_t requested_high; /* since it was published */
  _Atomic uint64_t alloc_count;
  /* Out of the arena less back in it; what of this is not kept is lent. */
  _Atomic size_t taken_bytes;
  _Atomic uint64_t taken_count;
  size_t allocated_high; /* since it was published, as far as the thread noted it */
  tarn__front_stack stacks[TARN__SIZE_CLASSES];
  /* What the pool has been told of; by whoever may touch the stacks. */
  size_t requested_published;
  size_t allocated_published;
  uint32_t refusal_count;
  unsigned part; /* of the arena */
  tarn__arena_cache cache;
  const tarn__arena *owner; /* as shadows name it */
  tarn__fronts *fronts;
  uint64_t fronts_id;
  tarn__front *next; /* of the pool's; under the lock */
  tarn__front *next_of_thread;
  bool is_forgotten; /* the pool is gone; under the lock of front.c */
  bool is_orphan;    /* its thread was not forked with the process */
};

typedef struct tarn__front_place {
  _Atomic uintptr_t thread;
  _Atomic(tarn__front *) front;
} tarn__front_place;

/* A pool's. */
struct tarn__fronts {
  tarn__front_place places[TARN__FRONT_PLACES]; /* where most threads find theirs at once */
  uint64_t id;                                  /* never used again for another pool */
  tarn__arena *arena;
  pthread_mutex_t lock;
  tarn__front *first;
  uint32_t closed_count;
  unsigned next_part;
  tarn__fronts *next;   /* of the process's */
  uint64_t alloc_count; /* of threads that are gone, or have no front; under the lock */
  uint64_t free_count;
  _Atomic size_t requested_sum; /* as far as it was published; and the most that it was */
  _Atomic size_t allocated_sum;
  _Atomic size_t requested_peak;
  _Atomic size_t allocated_peak;
  _Atomic size_t allocated_peak_lately; /* since tarn__fronts_take_peak */
};

void tarn__fronts_init(tarn__fronts *fronts, tarn__arena *arena);
/* All that fronts keep goes back to the arena. No thread is inside of a call. */
void tarn__fronts_deinit(tarn__fronts *fronts);

/* The calling thread's front, made on first need; NULL where there is no memory for one or the
 * thread is about to end. Takes the lock. */
tarn__front *tarn__front_of_thread(tarn__fronts *fronts);

/* As tarn__front_enter, with the fence where it takes one. False: not inside, and the thread goes
 * without its front. */
bool tarn__front_enter_slowly(tarn__front *front);

/* From here on the thread is inside. */

/* A block of the class that is not lent; out of the arena where none is kept. NULL where that has
 * no more. */
void *tarn__front_get(tarn__front *front, unsigned size_class);
/* The same out of the arena, so aligned. */
void *tarn__front_get_aligned(tarn__front *front, size_t size_bytes, size_t alignment_bytes);
/* Keeps a block that is not lent, or some of it goes to the arena. */
void tarn__front_put(tarn__front *front, void *address, void *word, unsigned size_class);
/* A lent block goes, and not to the front. */
void tarn__front_count_away(tarn__front *front, size_t requested_bytes, size_t block_bytes);
/* Tells the pool of the counts, so that its peaks are right. */
void tarn__front_publish(tarn__front *front);

/* --- with the lock of the fronts held --- */

/* Keeps every thread out of its front until they are opened again. They nest. */
void tarn__fronts_close(tarn__fronts *fronts);
void tarn__fronts_open(tarn__fronts *fronts);
/* With the fronts closed: gives all that they and jemalloc's caches keep to the arena. */
void tarn__fronts_drain(tarn__fronts *fronts);
/* With the fronts closed: publishes all, and answers the bytes they keep. */
size_t tarn__fronts_settle(tarn__fronts *fronts);
/* With the fronts closed: counts of all threads. */
void tarn__fronts_count(const tarn__fronts *fronts, uint64_t *alloc_count, uint64_t *free_count);
/* Counts for a thread without a front. */
void tarn__fronts_count_alloc(tarn__fronts *fronts, size_t requested_bytes, size_t allocated_bytes);
void tarn__fronts_count_free(tarn__fronts *fronts, size_t requested_bytes, size_t allocated_bytes);

/* The most that was allocated since the last call. With the fronts settled. */
size_t tarn__fronts_take_peak(tarn__fronts *fronts);

/* Around a fork: all fronts of the process, closed, so that the child finds none half changed. */
void tarn__fronts_lock_all(void);
void tarn__fronts_unlock_all(void);
void tarn__fronts_unlock_all_in_child(void);

/* --- the fast path --- */

static inline bool tarn__is_likely(bool condition) {
  return __builtin_expect(condition, true);
}

static inline size_t tarn__count_load(const _Atomic size_t *value) {
  return atomic_load_explicit(value, memory_order_relaxed);
}

/* One writer, so a store will do. */
static inline void tarn__count_store(_Atomic size_t *value, size_t count) {
  atomic_store_explicit(value, count, memory_order_relaxed);
}

static inline void tarn__count_up(_Atomic uint64_t *count) {
  const uint64_t before = atomic_load_explicit(count, memory_order_relaxed);
  atomic_store_explicit(count, before + 1, memory_order_relaxed);
}

/* The calling thread by a number that no other live thread has, and that is not 0. */
static inline uintptr_t tarn__front_thread(void) {
  return (uintptr_t)__builtin_thread_pointer();
}

static inline tarn__front_place *tarn__front_place_of(tarn__fronts *fronts, uintptr_t thread) {
  return &fronts->places[thread / 4096 % TARN__FRONT_PLACES];
}

/* The calling thread's front, where it has found a place to say so. What another thread writes
 * there is never the caller's number. */
static inline bool tarn__front_is_here(tarn__fronts *fronts, tarn__front **front) {
  const uintptr_t thread = tarn__front_thread();
  const tarn__front_place *place = tarn__front_place_of(fronts, thread);
  *front = atomic_load_explicit(&place->front, memory_order_relaxed);
  return atomic_load_explicit(&place->thread, memory_order_relaxed) == thread;
}

static inline void tarn__front_leave(tarn__front *front) {
  /* Release: pairs with the acquire of whoever closes the front. */
  atomic_store_explicit(&front->is_inside, false, memory_order_release);
}

static inline bool tarn__front_enter(tarn__front *front) {
  atomic_store_explicit(&front->is_inside, true, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst); /* the light side of the barrier */
  /* Acquire: what was done to the front while it was closed. */
  if (tarn__is_likely(atomic_load_explicit(&front->closed, memory_order_acquire) == 0)) return true;
  tarn__front_leave(front);
  return false;
}

/* Lends a block that is on no stack any more. */
static inline void tarn__front_lend(tarn__front *front, void *address, void *word,
                                    unsigned size_class, size_t requested_bytes) {
  tarn__slot_lend(word, size_class, requested_bytes);
  tarn_poison_lend(address, requested_bytes);
  const size_t requested_sum = tarn__count_load(&front->requested_bytes) + requested_bytes;
  tarn__count_store(&front->requested_bytes, requested_sum);
  if (!tarn__is_likely((ptrdiff_t)(requested_sum - front->requested_high) <= 0)) {
    front->requested_high = requested_sum;
  }
  tarn__count_up(&front->alloc_count);
}

static inline tarn__kept_block tarn__front_pop(tarn__front *front, tarn__front_stack *stack) {
  const size_t kept_bytes = tarn__count_load(&front->kept_bytes) - stack->block_bytes;
  tarn__count_store(&front->kept_bytes, kept_bytes);
  if (!tarn__is_likely(kept_bytes >= front->kept_bytes_low)) front->kept_bytes_low = kept_bytes;
  return stack->blocks[--stack->count];
}

static inline void tarn__front_push(tarn__front *front, tarn__front_stack *stack, void *address,
                                    void *word) {
  stack->blocks[stack->count++] = (tarn__kept_block){address, word};
  const size_t kept_bytes = tarn__count_load(&front->kept_bytes) + stack->block_bytes;
  tarn__count_store(&front->kept_bytes, kept_bytes);
}

/* A lent block is lent no more. */
static inline void tarn__front_take(tarn__front *front, void *address, const tarn__found *found,
                                    size_t block_bytes) {
  tarn__slot_take(found->word, found->size_class);
  tarn_poison(address, block_bytes);
  tarn__count_store(&front->requested_bytes,
                    tarn__count_load(&front->requested_bytes) - found->requested_bytes);
}

/* False, with nothing changed, where the thread keeps no such block or may not look. */
static inline bool tarn__front_alloc(tarn__front *front, size_t size_bytes, void **address) {
  const unsigned size_class = tarn__class_of(size_bytes);
  if (!tarn__is_likely(tarn__front_enter(front))) return false;
  tarn__front_stack *stack = &front->stacks[size_class];
  if (!tarn__is_likely(stack->count != 0)) {
    tarn__front_leave(front);
    return false;
  }
  const tarn__kept_block block = tarn__front_pop(front, stack);
  tarn__front_lend(front, block.address, block.word, size_class, size_bytes);
  tarn__front_leave(front);
  *address = block.address;
  return true;
}

/* False, with nothing changed, where there is more to it. */
static inline bool tarn__front_free(tarn__front *front, void *address) {
  const tarn__shadow *shadow = tarn__shadow_find(address);
  if (!tarn__is_likely(shadow != NULL && shadow->owner == front->owner)) return false;
  if (!tarn__is_likely(tarn__front_enter(front))) return false;
  const tarn__found found = tarn__shadow_look(shadow, address);
  tarn__front_stack *stack = &front->stacks[found.size_class];
  /* This one comes on top, however large it is. */
  const bool is_kept = found.requested_bytes != 0 && !found.is_used &&
                       stack->count < stack->capacity &&
                       tarn__count_load(&front->kept_bytes) <= front->kept_bytes_max;
  if (tarn__is_likely(is_kept)) {
    tarn__front_take(front, address, &found, stack->block_bytes);
    tarn__front_push(front, stack, address, found.word);
  }
  tarn__front_leave(front);
  return is_kept;
}

#endif
