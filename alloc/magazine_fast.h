/* magazine_fast.h: the fast path of tarn's own pool, written out where pools are called (pool.c).
 *
 * One straight run of instructions each for an allocation and a free, without a lock and without an
 * atomic read-modify-write. What is rare is a call at the very end, so that no register has to be
 * saved for it: those stores alone took a fifth of the time of a pair. */
#ifndef TARN_MAGAZINE_FAST_H
#define TARN_MAGAZINE_FAST_H

#include "alloc/caching_poison.h"
#include "alloc/magazine_state.h"

/* --- small parts --- */

static inline size_t tarn__load_size(const _Atomic size_t *value) {
  return atomic_load_explicit(value, memory_order_relaxed);
}

/* One writer, so a store will do. */
static inline void tarn__store_size(_Atomic size_t *value, size_t size_bytes) {
  atomic_store_explicit(value, size_bytes, memory_order_relaxed);
}

/* Says to the compiler which way most calls go, so that those run straight on. */
static inline bool tarn__is_common(bool condition) {
  return __builtin_expect(condition, true);
}

/* --- coming in and going out --- */

static inline tarn__magazine_place *tarn__magazine_place_of(tarn__caching *self, uintptr_t thread) {
  return &self->places[tarn__thread_place(thread, TARN__MAGAZINE_PLACES)];
}

/* The calling thread's magazine of the pool, where it has found a place to say so. What another
 * thread writes there is never the caller's number. */
static inline bool tarn__magazine_is_here(tarn__caching *self, tarn__magazine **magazine) {
  const uintptr_t thread = tarn__thread_number();
  const tarn__magazine_place *place = tarn__magazine_place_of(self, thread);
  *magazine = atomic_load_explicit(&place->magazine, memory_order_relaxed);
  return atomic_load_explicit(&place->thread, memory_order_relaxed) == thread;
}

/* Enters the magazine, and answers what it has to leave with. */
static inline uint64_t tarn__magazine_enter(tarn__magazine *magazine) {
  const uint64_t turn = atomic_load_explicit(&magazine->turn, memory_order_relaxed);
  atomic_store_explicit(&magazine->turn, turn | TARN__TURN_INSIDE, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst); /* the light side of the barrier */
  return turn;
}

/* True where the magazine that was entered is not closed. */
static inline bool tarn__magazine_is_open(const tarn__magazine *magazine) {
  /* Acquire: what was done to the magazine while it was closed. */
  return atomic_load_explicit(&magazine->closed, memory_order_acquire) == 0;
}

/* With the turn, or where the call was served one more. */
static inline void tarn__magazine_leave(tarn__magazine *magazine, uint64_t turn) {
  /* Release: pairs with the acquire of whoever closes the magazine. */
  atomic_store_explicit(&magazine->turn, turn, memory_order_release);
}

/* --- lanes: the thread is inside and the magazine open, or the lock is held --- */

/* One that keeps nothing. */
extern tarn__lane tarn__no_lane;

static inline tarn__lane *tarn__magazine_lane(tarn__magazine *magazine,
                                              const struct tarn__timeline_face *face) {
  if (face == NULL) return &magazine->host;
  tarn__lane *found = face->lane < TARN_STREAMS_MAX ? magazine->lane_of[face->lane] : NULL;
  return found != NULL ? found : &tarn__no_lane;
}

/* A block that was lent for requested_bytes goes to a place of its own, which is empty. */
static inline void tarn__magazine_push(tarn__magazine *magazine, tarn__recent *place,
                                       tarn__lane *kept, tarn__block *block, char *address,
                                       size_t requested_bytes, size_t kept_bytes) {
  place->lane = kept;
  place->block = block;
  place->address = address;
  tarn__store_size(&block->requested_bytes, 0);
  tarn__store_size(&magazine->kept_bytes, kept_bytes);
  tarn__store_size(&magazine->requested_bytes,
                   tarn__load_size(&magazine->requested_bytes) - requested_bytes);
}

/* A block that is in no bin any more. Answers what the magazine keeps then. */
static inline size_t tarn__magazine_count_out(tarn__magazine *magazine, const tarn__block *block) {
  const size_t kept_bytes = tarn__load_size(&magazine->kept_bytes) - block->size_bytes;
  tarn__store_size(&magazine->kept_bytes, kept_bytes);
  return kept_bytes;
}

/* Lends a block that is in no bin any more. */
static inline void tarn__magazine_lend(tarn__magazine *magazine, tarn__block *block,
                                       size_t requested_bytes) {
  const size_t kept_bytes = tarn__magazine_count_out(magazine, block);
  const size_t sum_bytes = tarn__load_size(&magazine->requested_bytes) + requested_bytes;
  tarn__store_size(&magazine->requested_bytes, sum_bytes);
  tarn__store_size(&block->requested_bytes, requested_bytes);
  tarn__caching_watch_lent(magazine->pool, block, requested_bytes);
  if (!tarn__is_common(block->tag == magazine->tag)) block->tag = magazine->tag;
  if (!tarn__is_common(kept_bytes >= magazine->kept_bytes_low)) {
    magazine->kept_bytes_low = kept_bytes;
  }
  if (!tarn__is_common((ptrdiff_t)sum_bytes <= (ptrdiff_t)magazine->requested_bytes_high)) {
    magazine->requested_bytes_high = sum_bytes;
  }
}

enum {
  TARN__LOOSE_BYTES_MAX = 1 << 20,  /* a larger request gets no more than it needs, */
  TARN__LOOSE_PAGE_BYTES = 4 << 10, /* but for less than a page */
};

/* Would a block do that may be up to an eighth larger than what was asked for, in granules? No sum
 * of a size and a granule overflows: the pool's handle has seen to it. */
static inline bool tarn__block_fits(const tarn__block *block, size_t requested_bytes) {
  const size_t granule_bytes = TARN__HEAP_GRANULE_BYTES;
  const size_t size_bytes = (requested_bytes + granule_bytes - 1) & ~(granule_bytes - 1);
  const size_t more_bytes = block->size_bytes - size_bytes; /* of a smaller one wraps round */
  return more_bytes <= size_bytes / 8 && (tarn__is_common(more_bytes < TARN__LOOSE_PAGE_BYTES) ||
                                          size_bytes <= TARN__LOOSE_BYTES_MAX);
}

/* The block that starts at the address; NULL, too, where the thread does not know the leaf of the
 * page map. */
static inline tarn__block *tarn__magazine_find(const tarn__magazine *magazine,
                                               const void *address) {
  const uintptr_t key = (uintptr_t)address >> TARN__PAGE_SPAN_BITS;
  const tarn__known_leaf *known = &magazine->leaves[key % TARN__KNOWN_LEAVES];
  if (!tarn__is_common(known->key == key)) return NULL;
  tarn__block *block = tarn__page_leaf_get(known->leaf, address);
  if (!tarn__is_common(block != NULL)) return NULL;
  return tarn__is_common(block->address == (const char *)address) ? block : NULL;
}

/* Has the block been used on no other timeline that the host has not seen the end of? */
static inline bool tarn__block_has_one_user(const tarn__block *block, uint32_t slot) {
  const tarn__stamps *stamps = &block->stamps;
  if (tarn__is_common((stamps->capacity | stamps->count) == 0)) return true;
  return stamps->capacity == 0 && stamps->count == 1 && stamps->few[0].slot == slot;
}

/* Keeps what was found at the address, where it may be kept without asking anybody. No block is the
 * one freed last. What is set aside, if told, is not in the way of others. */
static inline bool tarn__magazine_keep_freed(tarn__magazine *magazine, tarn__block *block,
                                             void *address, const struct tarn__timeline_face *face,
                                             size_t aside_bytes) {
  if (!tarn__is_common(block != NULL)) return false;
  const size_t requested_bytes = tarn__load_size(&block->requested_bytes);
  if (!tarn__is_common(requested_bytes != 0)) return false; /* it is kept already */
  tarn__lane *kept = tarn__magazine_lane(magazine, face);
  /* This one comes on top, however large it is. */
  const size_t kept_bytes = tarn__load_size(&magazine->kept_bytes);
  if (!tarn__is_common(kept_bytes - aside_bytes <= kept->kept_bytes_max)) return false;
  const tarn__stamp stamp =
      face == NULL ? (tarn__stamp){TARN__HOST_SLOT, 0} : tarn__face_stamp(face);
  if (!tarn__is_common(tarn__block_has_one_user(block, stamp.slot))) return false;
  if (face != NULL) {
    if (!tarn__is_common(block->size_bytes <= kept->block_bytes_max)) return false;
    block->stamps.few[0] = stamp;
    block->stamps.count = 1;
  }
  tarn__caching_watch_free(magazine->pool, block);
  tarn__magazine_push(magazine, &magazine->recent, kept, block, address, requested_bytes,
                      kept_bytes + block->size_bytes);
  return true;
}

/* Keeps the large block that was lent last, freed on a stream; NULL: there is none. */
static inline bool tarn__magazine_keep_aside(tarn__magazine *magazine, tarn__block *block,
                                             void *address,
                                             const struct tarn__timeline_face *face) {
  if (!tarn__is_common(block != NULL)) return false;
  const size_t requested_bytes = tarn__load_size(&block->requested_bytes);
  if (!tarn__is_common(requested_bytes != 0)) return false; /* it is kept already */
  tarn__lane *kept = tarn__magazine_lane(magazine, face);
  if (!tarn__is_common(kept != &tarn__no_lane)) return false;
  const tarn__stamp stamp = tarn__face_stamp(face);
  if (!tarn__is_common(tarn__block_has_one_user(block, stamp.slot))) return false;
  block->stamps.few[0] = stamp;
  block->stamps.count = 1;
  tarn__caching_watch_free(magazine->pool, block);
  tarn__magazine_push(magazine, &magazine->aside, kept, block, address, requested_bytes,
                      tarn__load_size(&magazine->kept_bytes) + block->size_bytes);
  tarn__store_size(&magazine->aside_bytes, block->size_bytes);
  return true;
}

/* The heap was asked for nothing by this thread since it lent the block, so it would lend it again
 * where as much is asked for: no other block comes to lie elsewhere for it. */
static inline bool tarn__magazine_lend_aside(tarn__magazine *magazine, size_t requested_bytes,
                                             const struct tarn__timeline_face *face,
                                             void **address) {
  tarn__recent *aside = &magazine->aside;
  if (aside->lane == NULL || aside->lane != tarn__magazine_lane(magazine, face)) return false;
  tarn__block *block = aside->block;
  if (block->size_bytes - requested_bytes >= TARN__HEAP_GRANULE_BYTES) return false;
  *address = aside->address;
  aside->lane = NULL;
  tarn__store_size(&magazine->aside_bytes, 0);
  tarn__magazine_lend(magazine, block, requested_bytes);
  return true;
}

/* --- both, for a pool's handle: the pool, and not across its seam --- */

/* False, and nothing changed but that the thread is inside, where that is not all. */
static inline bool tarn__magazine_alloc_recent(tarn__magazine *magazine, size_t size_bytes,
                                               const struct tarn__timeline_face *face,
                                               void **address) {
  const uint64_t turn = tarn__magazine_enter(magazine);
  if (!tarn__is_common(tarn__magazine_is_open(magazine))) return false;
  tarn__recent *recent = &magazine->recent;
  if (!tarn__is_common(recent->lane == tarn__magazine_lane(magazine, face))) {
    if (face == NULL || !tarn__magazine_lend_aside(magazine, size_bytes, face, address)) {
      return false;
    }
    tarn__magazine_leave(magazine, turn + TARN__TURN_SERVED);
    return true;
  }
  tarn__block *block = recent->block;
  if (!tarn__is_common(tarn__block_fits(block, size_bytes))) return false;
  *address = recent->address;
  recent->lane = NULL;
  tarn__magazine_lend(magazine, block, size_bytes);
  tarn__magazine_leave(magazine, turn + TARN__TURN_SERVED);
  return true;
}

static inline bool tarn__magazine_free_known(tarn__magazine *magazine, void *address,
                                             const struct tarn__timeline_face *face) {
  const uint64_t turn = tarn__magazine_enter(magazine);
  if (!tarn__is_common(tarn__magazine_is_open(magazine))) return false;
  if (!tarn__is_common(magazine->recent.lane == NULL)) return false;
  tarn__block *block = tarn__magazine_find(magazine, address);
  const bool is_kept =
      face != NULL && block == magazine->lent_large
          ? tarn__magazine_keep_aside(magazine, block, address, face)
          : tarn__magazine_keep_freed(magazine, block, address, face, /*aside_bytes=*/0);
  if (!tarn__is_common(is_kept)) return false;
  tarn__magazine_leave(magazine, turn + TARN__TURN_SERVED);
  return true;
}

/* --- where it does not go straight on: out of line, and the thread is inside --- */

/* Looks at what was freed before the last, and leaves. False, and nothing changed, where the pool
 * has to be asked: nothing fits, or the magazine is closed. */
bool tarn__magazine_alloc_on(tarn__magazine *magazine, size_t size_bytes, const tarn_stream *stream,
                             void **address);
/* Asks the page map, keeps the block and leaves. False as above. */
bool tarn__magazine_free_on(tarn__magazine *magazine, void *address, const tarn_stream *stream);

#endif
