/* front.c: what threads keep of a pool's blocks: how it comes, is counted, and goes. */
#include "numa/front.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_barrier.h"

/* A stack has room for so many bytes, within bounds. */
enum { STACK_BYTES = 64 << 10, STACK_LEAST = 8, STACK_MOST = 64 };
/* A thread keeps so much, or its share of what the pool has lent out; and the block freed last. */
enum { KEPT_SHARE = 8 };
static const size_t KEPT_BYTES_LEAST = (size_t)1 << 20;
/* How often the share is worked out anew while blocks are refused. */
enum { REFUSALS_PER_SHARE = 16 };

/* Ranks before the locks of the fronts, and those before jemalloc's. Guards the list of all pools'
 * fronts, and a front against the end of its pool. */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static tarn__fronts *all_fronts;
static uint64_t last_id;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* its value only makes the destructor run */
static bool has_key;

static _Thread_local tarn__front *own_fronts; /* the most recently used first */
static _Thread_local bool is_ending;

/* --- publishing --- */

static void raise_peak(_Atomic size_t *peak, size_t value) {
  size_t before = atomic_load_explicit(peak, memory_order_relaxed);
  while (value > before && !atomic_compare_exchange_weak_explicit(
                               peak, &before, value, memory_order_relaxed, memory_order_relaxed)) {
  }
}

/* What others hold, as far as they have told, and the most that this one held since. */
static size_t publish(_Atomic size_t *sum, _Atomic size_t *peak, size_t now, size_t high,
                      size_t *published) {
  const size_t change = now - *published;
  const size_t before = atomic_fetch_add_explicit(sum, change, memory_order_relaxed);
  const size_t most = before + change + (high - now);
  *published = now;
  if ((ptrdiff_t)most <= 0) return 0; /* somebody else has not told yet */
  raise_peak(peak, most);
  return most;
}

/* Before the front takes from the arena or gives to it: till then only its kept bytes change. */
static void note_high(tarn__front *front) {
  const size_t high = tarn__count_load(&front->taken_bytes) - front->kept_bytes_low;
  if ((ptrdiff_t)(high - front->allocated_high) > 0) front->allocated_high = high;
  front->kept_bytes_low = tarn__count_load(&front->kept_bytes);
}

/* So many bytes came out of the arena for the front, or went; block_count 1, or modulo 2^64 -1. */
static void count_taken(tarn__front *front, size_t bytes, uint64_t block_count) {
  note_high(front);
  tarn__count_store(&front->taken_bytes, tarn__count_load(&front->taken_bytes) + bytes);
  const uint64_t before = atomic_load_explicit(&front->taken_count, memory_order_relaxed);
  atomic_store_explicit(&front->taken_count, before + block_count, memory_order_relaxed);
}

void tarn__front_count_away(tarn__front *front, size_t requested_bytes, size_t block_bytes) {
  tarn__count_store(&front->requested_bytes,
                    tarn__count_load(&front->requested_bytes) - requested_bytes);
  count_taken(front, 0 - block_bytes, UINT64_MAX);
}

void tarn__front_publish(tarn__front *front) {
  tarn__fronts *fronts = front->fronts;
  note_high(front);
  const size_t requested = tarn__count_load(&front->requested_bytes);
  const size_t allocated =
      tarn__count_load(&front->taken_bytes) - tarn__count_load(&front->kept_bytes);
  publish(&fronts->requested_sum, &fronts->requested_peak, requested, front->requested_high,
          &front->requested_published);
  const size_t most = publish(&fronts->allocated_sum, &fronts->allocated_peak, allocated,
                              front->allocated_high, &front->allocated_published);
  raise_peak(&fronts->allocated_peak_lately, most);
  front->requested_high = requested;
  front->allocated_high = allocated;
}

/* --- stacks; by whoever may touch them --- */

static void give_back(tarn__front *front, tarn__front_stack *stack, const tarn__kept_block *block) {
  count_taken(front, 0 - stack->block_bytes, UINT64_MAX);
  const size_t kept_bytes = tarn__count_load(&front->kept_bytes) - stack->block_bytes;
  tarn__count_store(&front->kept_bytes, kept_bytes);
  front->kept_bytes_low = kept_bytes;
  tarn__arena_free(front->fronts->arena, front->cache, block->address,
                   (unsigned)(stack - front->stacks));
}

/* The blocks that were kept longest go. */
static void give_back_oldest(tarn__front *front, tarn__front_stack *stack, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    give_back(front, stack, &stack->blocks[i]);
  }
  stack->count -= count;
  memmove(stack->blocks, stack->blocks + count, stack->count * sizeof stack->blocks[0]);
}

/* The large blocks go first, until keep_bytes are left. */
static void drain(tarn__front *front, size_t keep_bytes) {
  for (unsigned size_class = TARN__SIZE_CLASSES; size_class-- > 0;) {
    tarn__front_stack *stack = &front->stacks[size_class];
    while (stack->count > 0) {
      if (tarn__count_load(&front->kept_bytes) <= keep_bytes) return;
      give_back_oldest(front, stack, 1);
    }
  }
}

static void set_share(tarn__front *front) {
  const size_t lent_bytes =
      atomic_load_explicit(&front->fronts->allocated_sum, memory_order_relaxed);
  const size_t share_bytes = (ptrdiff_t)lent_bytes > 0 ? lent_bytes / KEPT_SHARE : 0;
  front->kept_bytes_max = share_bytes > KEPT_BYTES_LEAST ? share_bytes : KEPT_BYTES_LEAST;
}

static bool has_stack(tarn__front_stack *stack, unsigned size_class) {
  if (stack->capacity != 0) return true;
  const size_t block_bytes = tarn__class_bytes(size_class);
  size_t capacity = STACK_BYTES / block_bytes;
  if (capacity < STACK_LEAST) capacity = STACK_LEAST;
  if (capacity > STACK_MOST) capacity = STACK_MOST;
  stack->blocks = calloc(capacity, sizeof stack->blocks[0]);
  if (stack->blocks == NULL) return false;
  stack->block_bytes = block_bytes;
  stack->capacity = (uint32_t)capacity;
  return true;
}

void *tarn__front_get(tarn__front *front, unsigned size_class) {
  tarn__front_stack *stack = &front->stacks[size_class];
  if (stack->count > 0) return tarn__front_pop(front, stack).address;
  return tarn__front_get_aligned(front, tarn__class_bytes(size_class), /*alignment_bytes=*/0);
}

void *tarn__front_get_aligned(tarn__front *front, size_t size_bytes, size_t alignment_bytes) {
  void *address = tarn__arena_alloc(front->fronts->arena, front->part, front->cache, size_bytes,
                                    alignment_bytes);
  if (address == NULL) return NULL;
  const size_t block_bytes = tarn__arena_rounded(size_bytes, alignment_bytes);
  count_taken(front, block_bytes, 1);
  return address;
}

void tarn__front_put(tarn__front *front, void *address, void *word, unsigned size_class) {
  tarn__front_stack *stack = &front->stacks[size_class];
  if (!has_stack(stack, size_class)) {
    count_taken(front, 0 - tarn__class_bytes(size_class), UINT64_MAX);
    tarn__arena_free(front->fronts->arena, front->cache, address, size_class);
    return;
  }
  if (tarn__count_load(&front->kept_bytes) > front->kept_bytes_max) {
    if (front->refusal_count++ % REFUSALS_PER_SHARE == 0) set_share(front);
    if (tarn__count_load(&front->kept_bytes) > front->kept_bytes_max) {
      drain(front, front->kept_bytes_max / 2);
    }
  }
  if (stack->count == stack->capacity) give_back_oldest(front, stack, stack->capacity / 2);
  tarn__front_push(front, stack, address, word);
}

/* --- closing --- */

bool tarn__front_enter_slowly(tarn__front *front) {
  const uint32_t fenced = TARN__FRONT_NEEDS_FENCE;
  atomic_store_explicit(&front->is_inside, true, memory_order_relaxed);
  atomic_thread_fence(memory_order_seq_cst);
  /* Acquire: what was done to the front while it was closed. */
  if ((atomic_load_explicit(&front->closed, memory_order_acquire) & ~fenced) == 0) return true;
  tarn__front_leave(front);
  return false;
}

void tarn__fronts_close(tarn__fronts *fronts) {
  ++fronts->closed_count;
  if (fronts->first == NULL) return;
  for (tarn__front *each = fronts->first; each != NULL; each = each->next) {
    atomic_fetch_add_explicit(&each->closed, 1, memory_order_relaxed);
  }
  tarn_barrier_heavy();
  for (tarn__front *each = fronts->first; each != NULL; each = each->next) {
    /* Acquire: what the thread did while it was inside. */
    while (atomic_load_explicit(&each->is_inside, memory_order_acquire)) sched_yield();
  }
}

void tarn__fronts_open(tarn__fronts *fronts) {
  --fronts->closed_count;
  for (tarn__front *each = fronts->first; each != NULL; each = each->next) {
    /* Release: what was done to the front while it was closed. */
    atomic_fetch_sub_explicit(&each->closed, 1, memory_order_release);
  }
}

void tarn__fronts_drain(tarn__fronts *fronts) {
  for (tarn__front *each = fronts->first; each != NULL; each = each->next) {
    drain(each, /*keep_bytes=*/0);
    tarn__arena_cache_flush(each->cache);
  }
}

size_t tarn__fronts_settle(tarn__fronts *fronts) {
  size_t kept_bytes = 0;
  for (tarn__front *each = fronts->first; each != NULL; each = each->next) {
    tarn__front_publish(each);
    kept_bytes += tarn__count_load(&each->kept_bytes);
  }
  return kept_bytes;
}

static uint64_t count_kept(const tarn__front *front) {
  uint64_t count = 0;
  for (unsigned i = 0; i < TARN__SIZE_CLASSES; ++i) count += front->stacks[i].count;
  return count;
}

static void add_counts(const tarn__front *front, uint64_t *alloc_count, uint64_t *free_count) {
  const uint64_t allocs = atomic_load_explicit(&front->alloc_count, memory_order_relaxed);
  const uint64_t taken = atomic_load_explicit(&front->taken_count, memory_order_relaxed);
  *alloc_count += allocs;
  *free_count += allocs - (taken - count_kept(front));
}

void tarn__fronts_count(const tarn__fronts *fronts, uint64_t *alloc_count, uint64_t *free_count) {
  *alloc_count = fronts->alloc_count;
  *free_count = fronts->free_count;
  for (const tarn__front *each = fronts->first; each != NULL; each = each->next) {
    add_counts(each, alloc_count, free_count);
  }
}

static void add_to_sums(tarn__fronts *fronts, size_t requested_bytes, size_t allocated_bytes) {
  size_t published = 0;
  publish(&fronts->requested_sum, &fronts->requested_peak, requested_bytes, requested_bytes,
          &published);
  published = 0;
  const size_t most = publish(&fronts->allocated_sum, &fronts->allocated_peak, allocated_bytes,
                              allocated_bytes, &published);
  raise_peak(&fronts->allocated_peak_lately, most);
}

void tarn__fronts_count_alloc(tarn__fronts *fronts, size_t requested_bytes,
                              size_t allocated_bytes) {
  add_to_sums(fronts, requested_bytes, allocated_bytes);
  ++fronts->alloc_count;
}

void tarn__fronts_count_free(tarn__fronts *fronts, size_t requested_bytes, size_t allocated_bytes) {
  add_to_sums(fronts, 0 - requested_bytes, 0 - allocated_bytes);
  ++fronts->free_count;
}

size_t tarn__fronts_take_peak(tarn__fronts *fronts) {
  const size_t now = atomic_load_explicit(&fronts->allocated_sum, memory_order_relaxed);
  return atomic_exchange_explicit(&fronts->allocated_peak_lately, now, memory_order_relaxed);
}

/* --- threads and pools come and go --- */

/* Nobody finds the front by its place any more. */
static void leave_place(tarn__front *front) {
  for (size_t i = 0; i < TARN__FRONT_PLACES; ++i) {
    tarn__front_place *place = &front->fronts->places[i];
    if (atomic_load_explicit(&place->front, memory_order_relaxed) != front) continue;
    atomic_store_explicit(&place->thread, 0, memory_order_relaxed);
    atomic_store_explicit(&place->front, NULL, memory_order_relaxed);
  }
}

static void unlink_front(tarn__front *front) {
  tarn__front **link = &front->fronts->first;
  while (*link != front) link = &(*link)->next;
  *link = front->next;
}

/* Takes the front off its pool, which gets what it keeps and has counted. With the lock. */
static void detach(tarn__front *front) {
  tarn__fronts *fronts = front->fronts;
  tarn__front_publish(front);
  drain(front, /*keep_bytes=*/0);
  tarn__arena_cache_destroy(front->cache);
  add_counts(front, &fronts->alloc_count, &fronts->free_count);
  unlink_front(front);
  leave_place(front);
}

static void free_front(tarn__front *front) {
  for (unsigned i = 0; i < TARN__SIZE_CLASSES; ++i) free(front->stacks[i].blocks);
  free(front);
}

static void end_thread(void *value) {
  (void)value;
  is_ending = true;
  pthread_mutex_lock(&registry);
  while (own_fronts != NULL) {
    tarn__front *const front = own_fronts;
    own_fronts = front->next_of_thread;
    if (!front->is_forgotten) {
      pthread_mutex_t *lock = &front->fronts->lock;
      pthread_mutex_lock(lock);
      detach(front);
      pthread_mutex_unlock(lock);
    }
    free_front(front);
  }
  pthread_mutex_unlock(&registry);
}

static void start(void) {
  has_key = pthread_key_create(&key, end_thread) == 0;
}

void tarn__fronts_init(tarn__fronts *fronts, tarn__arena *arena) {
  pthread_once(&once, start);
  memset(fronts, 0, sizeof *fronts);
  fronts->arena = arena;
  pthread_mutex_init(&fronts->lock, NULL);
  pthread_mutex_lock(&registry);
  fronts->id = ++last_id;
  fronts->next = all_fronts;
  all_fronts = fronts;
  pthread_mutex_unlock(&registry);
}

void tarn__fronts_deinit(tarn__fronts *fronts) {
  pthread_mutex_lock(&registry);
  pthread_mutex_lock(&fronts->lock);
  while (fronts->first != NULL) {
    tarn__front *const front = fronts->first;
    detach(front);
    front->is_forgotten = true; /* the record itself is its thread's */
    if (front->is_orphan) free_front(front);
  }
  pthread_mutex_unlock(&fronts->lock);
  tarn__fronts **link = &all_fronts;
  while (*link != fronts) link = &(*link)->next;
  *link = fronts->next;
  pthread_mutex_unlock(&registry);
  pthread_mutex_destroy(&fronts->lock);
}

/* Frees the thread's records of pools that are gone. With the registry's lock. */
static void free_forgotten(void) {
  for (tarn__front **link = &own_fronts; *link != NULL;) {
    tarn__front *const front = *link;
    if (front->is_forgotten) {
      *link = front->next_of_thread;
      free_front(front);
    } else {
      link = &front->next_of_thread;
    }
  }
}

static void attach(tarn__front *made) {
  tarn__fronts *fronts = made->fronts;
  pthread_mutex_lock(&fronts->lock);
  const uint32_t fenced = tarn_barrier_is_one_sided() ? 0 : TARN__FRONT_NEEDS_FENCE;
  atomic_init(&made->closed, fronts->closed_count + fenced);
  made->part = fronts->next_part++;
  made->next = fronts->first;
  fronts->first = made;
  const uintptr_t thread = tarn__front_thread();
  tarn__front_place *place = tarn__front_place_of(fronts, thread);
  if (atomic_load_explicit(&place->front, memory_order_relaxed) == NULL) {
    atomic_store_explicit(&place->front, made, memory_order_relaxed);
    atomic_store_explicit(&place->thread, thread, memory_order_relaxed);
  }
  pthread_mutex_unlock(&fronts->lock);
}

static tarn__front *make_front(tarn__fronts *fronts) {
  if (is_ending || !has_key || pthread_setspecific(key, &key) != 0) return NULL;
  tarn__front *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->cache = tarn__arena_cache_create();
  made->kept_bytes_max = KEPT_BYTES_LEAST;
  made->owner = fronts->arena;
  made->fronts = fronts;
  made->fronts_id = fronts->id;
  pthread_mutex_lock(&registry);
  free_forgotten();
  pthread_mutex_unlock(&registry);
  attach(made);
  made->next_of_thread = own_fronts;
  own_fronts = made;
  return made;
}

tarn__front *tarn__front_of_thread(tarn__fronts *fronts) {
  tarn__front **link = &own_fronts;
  while (*link != NULL && (*link)->fronts_id != fronts->id) link = &(*link)->next_of_thread;
  tarn__front *const found = *link;
  if (found == NULL) return make_front(fronts);
  *link = found->next_of_thread; /* to the front: it is likely to be used again */
  found->next_of_thread = own_fronts;
  own_fronts = found;
  return found;
}

/* --- forks --- */

void tarn__fronts_lock_all(void) {
  pthread_mutex_lock(&registry);
  for (tarn__fronts *each = all_fronts; each != NULL; each = each->next) {
    pthread_mutex_lock(&each->lock);
    tarn__fronts_close(each);
  }
}

void tarn__fronts_unlock_all(void) {
  for (tarn__fronts *each = all_fronts; each != NULL; each = each->next) {
    tarn__fronts_open(each);
    pthread_mutex_unlock(&each->lock);
  }
  pthread_mutex_unlock(&registry);
}

static bool is_own(const tarn__front *front) {
  const tarn__front *own = own_fronts;
  while (own != NULL && own != front) own = own->next_of_thread;
  return own != NULL;
}

void tarn__fronts_unlock_all_in_child(void) {
  for (tarn__fronts *fronts = all_fronts; fronts != NULL; fronts = fronts->next) {
    for (tarn__front *front = fronts->first; front != NULL; front = front->next) {
      if (is_own(front)) continue;
      front->is_orphan = true;
      leave_place(front);
    }
  }
  tarn__fronts_unlock_all();
}
