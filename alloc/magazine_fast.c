/* magazine_fast.c: where the fast path of tarn's own pool does not go straight on. */
#include "alloc/magazine_fast.h"

enum { PROBE_COUNT_MAX = 4 };

tarn__lane tarn__no_lane;

static __attribute__((noinline)) bool is_open_behind_fence(const tarn__magazine *magazine) {
  atomic_thread_fence(memory_order_seq_cst);
  return atomic_load_explicit(&magazine->closed, memory_order_acquire) == TARN__NEEDS_FENCE;
}

static bool may_use(const tarn__magazine *magazine) {
  return tarn__magazine_is_open(magazine) || is_open_behind_fence(magazine);
}

static void leave(tarn__magazine *magazine, bool is_served) {
  const uint64_t turn = atomic_load_explicit(&magazine->turn, memory_order_relaxed);
  tarn__magazine_leave(magazine, turn - TARN__TURN_INSIDE + (is_served ? TARN__TURN_SERVED : 0));
}

/* Where a kept block hangs that would do; NULL for none. */
static tarn__block **search(tarn__lane *kept, size_t requested_bytes) {
  const unsigned first = tarn__size_bin(requested_bytes + TARN__HEAP_GRANULE_BYTES - 1);
  for (unsigned bin = first; bin < first + 3 && bin < TARN__SIZE_BINS; bin++) {
    tarn__block **link = &kept->bins[bin];
    for (int count = 0; *link != NULL && count < PROBE_COUNT_MAX; count++) {
      if (tarn__block_fits(*link, requested_bytes)) return link;
      link = &(*link)->below;
    }
  }
  return NULL;
}

static bool lend_from_bins(tarn__magazine *magazine, size_t requested_bytes,
                           const tarn_stream *stream, void **address) {
  if (!tarn__magazine_has_large(magazine)) tarn__magazine_settle(magazine);
  tarn__lane *kept = tarn__magazine_lane(magazine, tarn__stream_face(stream));
  tarn__block **link = search(kept, requested_bytes);
  if (link == NULL) return false;
  tarn__block *block = *link;
  *link = block->below;
  tarn__magazine_lend(magazine, block, requested_bytes);
  *address = block->address;
  return true;
}

bool tarn__magazine_alloc_on(tarn__magazine *magazine, size_t size_bytes, const tarn_stream *stream,
                             void **address) {
  const bool is_lent =
      may_use(magazine) &&
      (tarn__magazine_lend_aside(magazine, size_bytes, tarn__stream_face(stream), address) ||
       lend_from_bins(magazine, size_bytes, stream, address));
  leave(magazine, is_lent);
  return is_lent;
}

/* The page map needs no lock. */
static void learn_leaf(tarn__magazine *magazine, const void *address) {
  const uintptr_t key = (uintptr_t)address >> TARN__PAGE_SPAN_BITS;
  tarn__known_leaf *known = &magazine->leaves[key % TARN__KNOWN_LEAVES];
  if (known->key == key) return;
  const tarn__page_leaf *leaf = tarn__page_map_leaf(&magazine->pool->heap.starts, address);
  if (leaf != NULL) *known = (tarn__known_leaf){key, leaf};
}

/* The thread is inside, and the magazine open. */
static bool keep(tarn__magazine *magazine, void *address, const struct tarn__timeline_face *face) {
  learn_leaf(magazine, address);
  tarn__block *block = tarn__magazine_find(magazine, address);
  if (face != NULL && block == magazine->lent_large) {
    return tarn__magazine_keep_aside(magazine, block, address, face);
  }
  if (tarn__magazine_has_large(magazine)) return false;
  tarn__magazine_settle(magazine);
  return tarn__magazine_keep_freed(magazine, block, address, face,
                                   tarn__load_size(&magazine->aside_bytes));
}

bool tarn__magazine_free_on(tarn__magazine *magazine, void *address, const tarn_stream *stream) {
  const bool is_kept = may_use(magazine) && keep(magazine, address, tarn__stream_face(stream));
  leave(magazine, is_kept);
  return is_kept;
}
