/* magazine.c: the fast path of the caching pool: blocks kept by thread and stream. */
#include "alloc/magazine.h"

#include <sched.h>
#include <stdlib.h>

#include "alloc/barrier.h"
#include "alloc/stream.h"
#include "alloc/tag.h"
#include "alloc/thread_number.h"

enum {
  /* Pools that a thread uses at once without one pushing another's magazine out. */
  TABLE_COUNT = 64,
  PROBE_COUNT_MAX = 4,
  LEAF_COUNT = 16,
  NEEDS_FENCE = 1 << 30, /* no barrier makes up for a fence of the thread's: barrier.h */
};

/* A thread keeps at most this share of what the pool has reserved, and the block freed last. Blocks
 * of streams are pending when they come back to the heap, and what is pending is neither recycled
 * nor lent to others, so fewer of them are kept. On recorded models with one stream peak reserved
 * over peak live is 1.05 - 1.24 in segments with it, 1.16 - 1.36 with the share of the CPU's. */
enum { KEPT_SHARE = 8, KEPT_SHARE_STREAM = 128 };
static const size_t KEPT_BYTES_LEAST = (size_t)1 << 20;

typedef struct lane {
  struct lane *next;                  /* of the magazine's lanes */
  tarn__block *bins[TARN__SIZE_BINS]; /* chained by `low`; the one freed last comes first */
} lane;

/* No address has it. */
static const uintptr_t NO_KEY = UINTPTR_MAX;

typedef struct known_leaf {
  uintptr_t key; /* the address bits above the leaf's span; NO_KEY: none is known */
  tarn__page_leaf *leaf;
} known_leaf;

struct tarn__magazine {
  tarn__caching *pool;
  uint64_t pool_id;
  /* Written by the thread alone, between its two flags; what is atomic is read by anybody. */
  _Atomic uint32_t is_busy;
  _Atomic uint32_t closed; /* how often, and NEEDS_FENCE; written with the lock */
  _Atomic size_t kept_bytes;
  uint32_t tag;          /* the thread's */
  size_t kept_bytes_low; /* since the peaks were looked at */
  size_t kept_bytes_max;
  _Atomic size_t requested_bytes; /* modulo 2^64: of blocks taken out less of blocks kept */
  size_t requested_bytes_high;    /* since the peaks were looked at */
  uint64_t alloc_count;
  uint64_t free_count;
  known_leaf leaves[LEAF_COUNT]; /* leaves of the page map that were used lately */
  lane *lanes;
  lane *lane_of[TARN__NO_LANE + 1]; /* the last one is always NULL */
  /* Guarded by the pool's lock. */
  tarn__magazine *next;
  tarn__magazine *previous;
  bool is_forgotten; /* the pool is gone; guarded by magazines_lock */
};

typedef struct thread_table {
  tarn__magazine *magazines[TABLE_COUNT];
  uint64_t used; /* a bit for each that is not NULL */
} thread_table;

_Static_assert(TABLE_COUNT == 64, "a thread's table has a bit for each place");

static _Thread_local thread_table *current_table;

/* Held while a thread leaves a pool that another thread may be taking down. Rank: before a pool's
 * lock. */
static pthread_mutex_t magazines_lock = PTHREAD_MUTEX_INITIALIZER;

/* --- small parts --- */

static size_t load_size(const _Atomic size_t *value) {
  return atomic_load_explicit(value, memory_order_relaxed);
}

/* One writer, so a store will do. */
static void store_size(_Atomic size_t *value, size_t size_bytes) {
  atomic_store_explicit(value, size_bytes, memory_order_relaxed);
}

/* Says to the compiler which way most calls go, so that those run straight on. */
static inline bool is_common(bool condition) {
  return __builtin_expect(condition, true);
}

/* The pool's handle has seen to it that this does not overflow. */
static inline size_t round_size(size_t size_bytes) {
  const size_t granule_bytes = TARN__HEAP_GRANULE_BYTES;
  return (size_bytes + granule_bytes - 1) & ~(granule_bytes - 1);
}

/* --- lanes: the thread is busy and the magazine open, or the lock is held --- */

/* kept_bytes: with the block. */
static inline void push(tarn__magazine *magazine, lane *kept, tarn__block *block,
                        size_t kept_bytes) {
  tarn__block **bin = &kept->bins[block->bin];
  atomic_store_explicit(&block->is_kept, true, memory_order_relaxed);
  block->low = *bin;
  *bin = block;
  store_size(&magazine->kept_bytes, kept_bytes);
  store_size(&magazine->requested_bytes,
             load_size(&magazine->requested_bytes) - block->requested_bytes);
}

/* Answers what the magazine keeps then. */
static inline size_t take_out(tarn__magazine *magazine, tarn__block **link) {
  tarn__block *block = *link;
  *link = block->low;
  const size_t kept_bytes = load_size(&magazine->kept_bytes) - block->size_bytes;
  store_size(&magazine->kept_bytes, kept_bytes);
  atomic_store_explicit(&block->is_kept, false, memory_order_relaxed);
  return kept_bytes;
}

/* Where a kept block of at least size_bytes and at most an eighth more hangs; NULL for none. */
static tarn__block **search(lane *kept, unsigned first, size_t size_bytes) {
  const size_t most_bytes = size_bytes + size_bytes / 8;
  for (unsigned bin = first; bin < first + 3 && bin < TARN__SIZE_BINS; bin++) {
    tarn__block **link = &kept->bins[bin];
    for (int count = 0; *link != NULL && count < PROBE_COUNT_MAX; count++) {
      const size_t found_bytes = (*link)->size_bytes;
      if (found_bytes >= size_bytes && found_bytes <= most_bytes) return link;
      link = &(*link)->low;
    }
  }
  return NULL;
}

/* --- the fast path --- */

static inline tarn__magazine_place *place_of(tarn__caching *self, uintptr_t thread) {
  return &self->places[tarn__thread_place(thread, TARN__MAGAZINE_PLACES)];
}

/* The calling thread's place in the pool, where that is its own, and then there is a magazine. What
 * another thread writes there is never the caller's number. */
static inline bool find_place(tarn__caching *self, tarn__magazine_place **place) {
  const uintptr_t thread = tarn__thread_number();
  *place = place_of(self, thread);
  return is_common(atomic_load_explicit(&(*place)->thread, memory_order_relaxed) == thread);
}

/* The same where another thread had that place first; NULL where the thread has none. */
static tarn__magazine *magazine_of_caller(const tarn__caching *self) {
  tarn__magazine *magazine =
      current_table == NULL ? NULL : current_table->magazines[self->id % TABLE_COUNT];
  return magazine != NULL && magazine->pool_id == self->id ? magazine : NULL;
}

static __attribute__((noinline)) bool enter_fenced(tarn__magazine *magazine) {
  atomic_thread_fence(memory_order_seq_cst);
  return atomic_load_explicit(&magazine->closed, memory_order_acquire) == NEEDS_FENCE;
}

/* True where the thread may use its magazine until it leaves. */
static inline bool enter(tarn__magazine *magazine) {
  atomic_store_explicit(&magazine->is_busy, 1, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst); /* the light side of the barrier */
  /* Acquire: what was done to the magazine while it was closed. */
  const uint32_t closed = atomic_load_explicit(&magazine->closed, memory_order_acquire);
  return is_common(closed == 0) || enter_fenced(magazine);
}

static inline void leave(tarn__magazine *magazine) {
  /* Release: pairs with the acquire of whoever closes the magazine. */
  atomic_store_explicit(&magazine->is_busy, 0, memory_order_release);
}

static inline void *take_kept(tarn__magazine *magazine, tarn__block **link,
                              size_t requested_bytes) {
  tarn__block *block = *link;
  const size_t kept_bytes = take_out(magazine, link);
  if (kept_bytes < magazine->kept_bytes_low) magazine->kept_bytes_low = kept_bytes;
  block->requested_bytes = requested_bytes;
  block->tag = magazine->tag;
  const size_t sum_bytes = load_size(&magazine->requested_bytes) + requested_bytes;
  store_size(&magazine->requested_bytes, sum_bytes);
  if ((ptrdiff_t)sum_bytes > (ptrdiff_t)magazine->requested_bytes_high) {
    magazine->requested_bytes_high = sum_bytes;
  }
  magazine->alloc_count++;
  return block->address;
}

/* Where no block of just this size was freed last. The thread is busy. */
static __attribute__((noinline)) tarn_status alloc_near(tarn__magazine *magazine,
                                                        size_t requested_bytes,
                                                        size_t alignment_bytes, tarn_stream *stream,
                                                        void **address) {
  lane *kept = magazine->lane_of[tarn__stream_lane(stream)];
  const size_t size_bytes = round_size(requested_bytes);
  /* Asked again, and another thread may have begun a capture meanwhile. */
  tarn__block **link = kept == NULL ? NULL : search(kept, tarn__size_bin(size_bytes), size_bytes);
  if (link != NULL) *address = take_kept(magazine, link, requested_bytes);
  leave(magazine);
  if (link != NULL) return TARN_OK;
  return tarn__caching_alloc_locked(magazine->pool, requested_bytes, alignment_bytes, stream,
                                    address);
}

/* With the calling thread's magazine. */
static inline tarn_status alloc_from(tarn__magazine *magazine, tarn__caching *self,
                                     size_t size_bytes, size_t alignment_bytes, tarn_stream *stream,
                                     void **address) {
  lane *kept = magazine->lane_of[tarn__stream_lane(stream)];
  if (is_common(kept != NULL && alignment_bytes <= self->alignment_bytes)) {
    if (enter(magazine)) {
      const size_t rounded_bytes = round_size(size_bytes);
      tarn__block **bin = &kept->bins[tarn__size_bin(rounded_bytes)];
      tarn__block *block = *bin;
      if (!is_common(block != NULL && block->size_bytes == rounded_bytes)) {
        return alloc_near(magazine, size_bytes, alignment_bytes, stream, address);
      }
      *address = take_kept(magazine, bin, size_bytes);
      leave(magazine);
      return TARN_OK;
    }
    leave(magazine);
  }
  return tarn__caching_alloc_locked(self, size_bytes, alignment_bytes, stream, address);
}

static __attribute__((noinline)) tarn_status alloc_without_place(tarn__caching *self,
                                                                 size_t size_bytes,
                                                                 size_t alignment_bytes,
                                                                 tarn_stream *stream,
                                                                 void **address) {
  tarn__magazine *magazine = magazine_of_caller(self);
  if (magazine == NULL) {
    return tarn__caching_alloc_locked(self, size_bytes, alignment_bytes, stream, address);
  }
  return alloc_from(magazine, self, size_bytes, alignment_bytes, stream, address);
}

tarn_status tarn__magazine_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  tarn__caching *self = context;
  tarn__magazine_place *place = NULL;
  if (find_place(self, &place)) {
    return alloc_from(place->magazine, self, size_bytes, alignment_bytes, stream, address);
  }
  return alloc_without_place(self, size_bytes, alignment_bytes, stream, address);
}

/* The block that starts at the address, where the magazine knows the leaf of the page map. */
static inline tarn__block *find_start(tarn__magazine *magazine, const void *address) {
  const uintptr_t key = (uintptr_t)address >> TARN__PAGE_SPAN_BITS;
  const known_leaf *known = &magazine->leaves[key % LEAF_COUNT];
  if (!is_common(known->key == key)) return NULL;
  tarn__block *block = tarn__page_leaf_get(known->leaf, address);
  return is_common(block != NULL && block->address == (const char *)address) ? block : NULL;
}

/* Has the block been used on no other timeline that the host has not seen the end of? */
static inline bool has_one_user(const tarn__block *block, uint32_t slot) {
  const tarn__stamps *stamps = &block->stamps;
  if (is_common((stamps->capacity | stamps->count) == 0)) return true;
  return stamps->capacity == 0 && stamps->count == 1 && stamps->few[0].slot == slot;
}

/* Keeps what may be kept without asking anybody. */
static inline bool keep_freed(tarn__magazine *magazine, lane *kept, const void *address,
                              const tarn_stream *stream, uint32_t slot) {
  tarn__block *block = find_start(magazine, address);
  if (block == NULL || atomic_load_explicit(&block->is_kept, memory_order_relaxed)) return false;
  if (!has_one_user(block, slot)) return false;
  const size_t kept_bytes = load_size(&magazine->kept_bytes) + block->size_bytes;
  if (kept_bytes > magazine->kept_bytes_max) return false;
  if (slot != TARN__HOST_SLOT) {
    block->stamps.few[0] = tarn__stream_stamp(stream);
    block->stamps.count = 1;
  }
  push(magazine, kept, block, kept_bytes);
  magazine->free_count++;
  return true;
}

static inline tarn_status free_to(tarn__magazine *magazine, tarn__caching *self, void *address,
                                  tarn_stream *stream) {
  const uint32_t slot = tarn__stream_lane(stream);
  lane *kept = magazine->lane_of[slot];
  if (is_common(kept != NULL)) {
    const bool is_kept = enter(magazine) && keep_freed(magazine, kept, address, stream, slot);
    leave(magazine);
    if (is_common(is_kept)) return TARN_OK;
  }
  return tarn__caching_free_locked(self, address, stream);
}

static __attribute__((noinline)) tarn_status free_without_place(tarn__caching *self, void *address,
                                                                tarn_stream *stream) {
  tarn__magazine *magazine = magazine_of_caller(self);
  if (magazine == NULL) return tarn__caching_free_locked(self, address, stream);
  return free_to(magazine, self, address, stream);
}

tarn_status tarn__magazine_free(void *context, void *address, tarn_stream *stream) {
  tarn__caching *self = context;
  tarn__magazine_place *place = NULL;
  if (find_place(self, &place)) return free_to(place->magazine, self, address, stream);
  return free_without_place(self, address, stream);
}

/* --- with the pool's lock --- */

/* Gives blocks back to the heap, the large ones first, until keep_bytes are left. */
static void drain_lane(tarn__magazine *magazine, lane *kept, size_t keep_bytes) {
  tarn__heap *heap = &magazine->pool->heap;
  for (unsigned bin = TARN__SIZE_BINS; bin-- > 0;) {
    while (kept->bins[bin] != NULL) {
      if (load_size(&magazine->kept_bytes) <= keep_bytes) return;
      tarn__block *block = kept->bins[bin];
      take_out(magazine, &kept->bins[bin]);
      block->low = NULL;
      /* The heap takes this off its own sum now. */
      store_size(&magazine->requested_bytes,
                 load_size(&magazine->requested_bytes) + block->requested_bytes);
      tarn__heap_take_back(heap, block);
      tarn__heap_put_free(heap, block);
    }
  }
}

static void drain(tarn__magazine *magazine, size_t keep_bytes) {
  for (lane *kept = magazine->lanes; kept != NULL; kept = kept->next) {
    drain_lane(magazine, kept, keep_bytes);
  }
}

static lane *lane_at(tarn__magazine *magazine, uint32_t slot) {
  lane *kept = magazine->lane_of[slot];
  if (kept != NULL) return kept;
  kept = calloc(1, sizeof *kept);
  if (kept == NULL) return NULL;
  kept->next = magazine->lanes;
  magazine->lanes = kept;
  magazine->lane_of[slot] = kept;
  return kept;
}

static size_t share_of_thread(const tarn__caching *self, uint32_t slot) {
  if (slot != TARN__HOST_SLOT) return self->heap.reserved_bytes / KEPT_SHARE_STREAM;
  const size_t share_bytes = self->heap.reserved_bytes / KEPT_SHARE;
  return share_bytes > KEPT_BYTES_LEAST ? share_bytes : KEPT_BYTES_LEAST;
}

bool tarn__magazine_keep(tarn__magazine *magazine, tarn__block *block, uint32_t slot) {
  if (!has_one_user(block, slot)) return false;
  /* In a capture every call takes the lock. */
  if (slot != TARN__HOST_SLOT && tarn__order_is_private(slot)) return false;
  if (atomic_load_explicit(&magazine->closed, memory_order_relaxed) % NEEDS_FENCE != 0)
    return false;
  lane *kept = lane_at(magazine, slot);
  if (kept == NULL) return false;
  magazine->kept_bytes_max = share_of_thread(magazine->pool, slot);
  if (load_size(&magazine->kept_bytes) + block->size_bytes > magazine->kept_bytes_max) {
    drain(magazine, magazine->kept_bytes_max / 2);
  }
  const size_t kept_bytes = load_size(&magazine->kept_bytes) + block->size_bytes;
  if (magazine->kept_bytes_max < kept_bytes) magazine->kept_bytes_max = kept_bytes;
  const uintptr_t key = (uintptr_t)block->address >> TARN__PAGE_SPAN_BITS;
  magazine->leaves[key % LEAF_COUNT] =
      (known_leaf){key, tarn__page_map_leaf(&magazine->pool->heap.starts, block->address)};
  push(magazine, kept, block, kept_bytes);
  return true;
}

void tarn__magazines_close(tarn__caching *self) {
  self->magazines_closed_count++;
  const tarn__magazine *mine = magazine_of_caller(self);
  bool is_other = false;
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    atomic_fetch_add_explicit(&each->closed, 1, memory_order_relaxed);
    is_other |= each != mine;
  }
  if (!is_other) return;
  tarn__barrier_heavy();
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    /* Acquire: what the thread did while it was busy. */
    while (atomic_load_explicit(&each->is_busy, memory_order_acquire) != 0) sched_yield();
  }
}

void tarn__magazines_open(tarn__caching *self) {
  self->magazines_closed_count--;
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    /* Release: pairs with the acquire of the thread that enters. */
    atomic_fetch_sub_explicit(&each->closed, 1, memory_order_release);
  }
}

tarn__kept tarn__magazines_sum(const tarn__caching *self) {
  tarn__kept sum = {0};
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    sum.kept_bytes += load_size(&each->kept_bytes);
    sum.requested_bytes += load_size(&each->requested_bytes);
  }
  return sum;
}

/* Raises the peaks to what is lent out now, or was in between by the calls of this magazine's
 * thread. The magazine is closed, or the caller's own. NULL: just to what is lent out now. */
static void note_peaks_of(tarn__caching *self, tarn__magazine *magazine) {
  const tarn__kept sum = tarn__magazines_sum(self);
  size_t allocated_bytes = self->heap.allocated_bytes - sum.kept_bytes;
  size_t requested_bytes = self->heap.requested_bytes + sum.requested_bytes;
  /* A block may have gone from one open magazine to another between the two looks: counted as kept
   * twice, perhaps with more than there is. That was no peak. */
  if (allocated_bytes > self->heap.allocated_bytes) allocated_bytes = 0;
  if (requested_bytes > allocated_bytes) requested_bytes = allocated_bytes;
  if (magazine != NULL) {
    const size_t kept_bytes = load_size(&magazine->kept_bytes);
    const size_t sum_bytes = load_size(&magazine->requested_bytes);
    const size_t more_bytes = magazine->requested_bytes_high - sum_bytes;
    /* Where the lock's owner has moved blocks meanwhile, the marks may be on the other side. */
    if (magazine->kept_bytes_low < kept_bytes) {
      allocated_bytes += kept_bytes - magazine->kept_bytes_low;
    }
    if ((ptrdiff_t)more_bytes > 0) requested_bytes += more_bytes;
    magazine->kept_bytes_low = kept_bytes;
    magazine->requested_bytes_high = sum_bytes;
  }
  tarn_pool_stats *stats = &self->stats;
  if (stats->allocated_bytes_peak < allocated_bytes) stats->allocated_bytes_peak = allocated_bytes;
  if (stats->requested_bytes_peak < requested_bytes) stats->requested_bytes_peak = requested_bytes;
  tarn__caching_note_spare(self, allocated_bytes);
}

void tarn__magazine_note_peaks(tarn__caching *self) {
  note_peaks_of(self, magazine_of_caller(self));
}

void tarn__magazines_empty(tarn__caching *self) {
  tarn__magazines_close(self);
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    note_peaks_of(self, each);
    drain(each, 0);
  }
}

bool tarn__magazine_gather_own(tarn__caching *self) {
  tarn__magazine *mine = magazine_of_caller(self);
  if (mine == NULL || load_size(&mine->kept_bytes) == 0) return false;
  note_peaks_of(self, mine);
  drain(mine, 0);
  return true;
}

bool tarn__magazines_gather(tarn__caching *self) {
  bool is_any = false;
  for (tarn__magazine *each = self->magazines; each != NULL && !is_any; each = each->next) {
    is_any = load_size(&each->kept_bytes) != 0;
  }
  if (!is_any) return false;
  tarn__magazines_empty(self);
  tarn__magazines_open(self);
  return true;
}

size_t tarn__magazines_peak_bytes(tarn__caching *self) {
  size_t allocated_bytes = self->heap.allocated_bytes;
  tarn__magazines_close(self);
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    const size_t kept_bytes = load_size(&each->kept_bytes);
    allocated_bytes -= each->kept_bytes_low < kept_bytes ? each->kept_bytes_low : kept_bytes;
  }
  tarn__magazines_open(self);
  return allocated_bytes;
}

static size_t lane_pending_bytes(const lane *kept) {
  size_t pending = 0;
  for (unsigned bin = 0; bin < TARN__SIZE_BINS; bin++) {
    for (const tarn__block *block = kept->bins[bin]; block != NULL; block = block->low) {
      if (!tarn__stamps_are_covered(&block->stamps, NULL)) pending += block->size_bytes;
    }
  }
  return pending;
}

void tarn__magazines_count(const tarn__caching *self, uint64_t *alloc_count, uint64_t *free_count) {
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    *alloc_count += each->alloc_count;
    *free_count += each->free_count;
  }
}

size_t tarn__magazines_pending_bytes(const tarn__caching *self) {
  size_t pending = 0;
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    for (const lane *kept = each->lanes; kept != NULL; kept = kept->next) {
      pending += lane_pending_bytes(kept);
    }
  }
  return pending;
}

/* --- coming and going --- */

/* Empties the magazine and takes it off the pool's list; its counts go over to the pool. */
static void detach(tarn__magazine *magazine) {
  tarn__caching *self = magazine->pool;
  tarn__magazine_note_peaks(self);
  drain(magazine, 0);
  self->heap.requested_bytes += load_size(&magazine->requested_bytes);
  self->stats.alloc_count += magazine->alloc_count;
  self->stats.free_count += magazine->free_count;
  if (magazine->previous != NULL) magazine->previous->next = magazine->next;
  if (magazine->next != NULL) magazine->next->previous = magazine->previous;
  if (self->magazines == magazine) self->magazines = magazine->next;
  tarn__magazine_place *place = place_of(self, tarn__thread_number());
  if (place->magazine == magazine) {
    atomic_store_explicit(&place->thread, 0, memory_order_relaxed);
    place->magazine = NULL;
  }
}

/* The thread's own, and it is not busy. */
static void discard(tarn__magazine *magazine) {
  pthread_mutex_lock(&magazines_lock);
  if (!magazine->is_forgotten) {
    pthread_mutex_t *lock = &magazine->pool->lock;
    pthread_mutex_lock(lock);
    detach(magazine);
    pthread_mutex_unlock(lock);
  }
  pthread_mutex_unlock(&magazines_lock);
  for (lane *kept = magazine->lanes, *next = NULL; kept != NULL; kept = next) {
    next = kept->next;
    free(kept);
  }
  free(magazine);
}

void tarn__magazines_forget(tarn__caching *self) {
  pthread_mutex_lock(&magazines_lock);
  for (tarn__magazine *each = self->magazines; each != NULL; each = each->next) {
    each->is_forgotten = true;
    atomic_fetch_add_explicit(&each->closed, 1, memory_order_relaxed);
  }
  self->magazines = NULL;
  pthread_mutex_unlock(&magazines_lock);
}

static pthread_key_t exit_key;
static bool has_exit_key;

static void leave_pools(void *argument) {
  thread_table *table = argument;
  for (int index = 0; index < TABLE_COUNT; index++) {
    if (table->magazines[index] != NULL) discard(table->magazines[index]);
  }
  /* Another library's destructor may still free something: it then gets a fresh table, and this
   * runs once more. */
  current_table = NULL;
  free(table);
}

static void make_exit_key(void) {
  has_exit_key = pthread_key_create(&exit_key, leave_pools) == 0;
}

/* The thread's table; NULL where nobody would hear of its exit. */
static thread_table *make_table(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_exit_key);
  if (!has_exit_key) return NULL;
  thread_table *table = calloc(1, sizeof *table);
  if (table == NULL || pthread_setspecific(exit_key, table) != 0) {
    free(table);
    return NULL;
  }
  current_table = table;
  return table;
}

void tarn__magazines_set_tag(uint32_t tag) {
  if (current_table == NULL) return;
  for (uint64_t left = current_table->used; left != 0; left &= left - 1) {
    current_table->magazines[__builtin_ctzll(left)]->tag = tag;
  }
}

tarn__magazine *tarn__magazine_of_thread(tarn__caching *self) {
  thread_table *table = current_table != NULL ? current_table : make_table();
  if (table == NULL) return NULL;
  tarn__magazine **place = &table->magazines[self->id % TABLE_COUNT];
  /* A pool that is gone may have had the same address, but not the same number. */
  if (*place != NULL && (*place)->pool_id == self->id) return *place;
  const uint64_t bit = UINT64_C(1) << (self->id % TABLE_COUNT);
  if (*place != NULL) discard(*place);
  *place = NULL;
  table->used &= ~bit;
  tarn__magazine *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->pool = self;
  made->pool_id = self->id;
  made->kept_bytes_max = KEPT_BYTES_LEAST;
  for (int index = 0; index < LEAF_COUNT; index++) made->leaves[index].key = NO_KEY;
  made->tag = tarn__tag_current;
  pthread_mutex_lock(&self->lock);
  const uint32_t fenced = tarn__barrier_is_one_sided() ? 0 : NEEDS_FENCE;
  atomic_init(&made->closed, self->magazines_closed_count + fenced);
  made->next = self->magazines;
  if (made->next != NULL) made->next->previous = made;
  self->magazines = made;
  tarn__magazine_place *quick = place_of(self, tarn__thread_number());
  if (quick->magazine == NULL) {
    quick->magazine = made;
    atomic_store_explicit(&quick->thread, tarn__thread_number(), memory_order_relaxed);
  }
  pthread_mutex_unlock(&self->lock);
  *place = made;
  table->used |= bit;
  return made;
}
