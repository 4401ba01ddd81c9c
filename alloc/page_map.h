/* page_map.h: which lent-out block starts at an address: found without a lock.
 *
 * A trie over the bits of an address, as page tables are. Entries are written under the pool's lock
 * and read without it; a leaf, once there, stays until the map goes.
 *
 *     address   | root 12 | middle 11 | leaf 18 | granule 8 |
 *                                       -> block that starts in this granule, or NULL
 *
 * A leaf spans 64 MiB of addresses. Its table is address space of which only pages that are written
 * take memory; a bit for each entry, and one for each word of bits, find the block before an
 * address in a few steps. */
#ifndef TARN_PAGE_MAP_H
#define TARN_PAGE_MAP_H

#include <stdatomic.h>

#include "alloc/block.h"

enum {
  TARN__PAGE_GRANULE_BITS = 8,
  TARN__PAGE_LEAF_BITS = 18,
  TARN__PAGE_MIDDLE_BITS = 11,
  TARN__PAGE_ROOT_BITS = 12,
  TARN__PAGE_SPAN_BITS = TARN__PAGE_GRANULE_BITS + TARN__PAGE_LEAF_BITS, /* of one leaf */
};

typedef struct tarn__page_leaf {
  _Atomic(tarn__block *) starts[1 << TARN__PAGE_LEAF_BITS];
  /* Guarded by the lock. */
  uint64_t used[(1 << TARN__PAGE_LEAF_BITS) / 64];
  uint64_t used_words[(1 << TARN__PAGE_LEAF_BITS) / 64 / 64];
} tarn__page_leaf;

typedef struct tarn__page_middle {
  _Atomic(tarn__page_leaf *) leaves[1 << TARN__PAGE_MIDDLE_BITS];
} tarn__page_middle;

/* A zeroed struct is empty. */
typedef struct tarn__page_map {
  _Atomic(_Atomic(tarn__page_middle *) *) root;
} tarn__page_map;

/* Under the lock. Enters a block; false, and nothing changed but perhaps an empty leaf more, where
 * there is no memory for it or the address has more bits than the map. */
bool tarn__page_map_set(tarn__page_map *map, tarn__block *block);
void tarn__page_map_clear(tarn__page_map *map, const tarn__block *block);
/* The block with the highest start at or before the address; NULL for none. */
tarn__block *tarn__page_map_at_or_before(tarn__page_map *map, const void *address);
void tarn__page_map_deinit(tarn__page_map *map);

/* From here on without the lock. The leaf that spans the address, or NULL. */
tarn__page_leaf *tarn__page_map_leaf(tarn__page_map *map, const void *address);

/* What starts in the granule of `address`, which the leaf spans. */
static inline tarn__block *tarn__page_leaf_get(const tarn__page_leaf *leaf, const void *address) {
  const uintptr_t granule = (uintptr_t)address >> TARN__PAGE_GRANULE_BITS;
  const uintptr_t mask = ((uintptr_t)1 << TARN__PAGE_LEAF_BITS) - 1;
  /* Acquire: pairs with the release of the thread that entered the block. */
  return atomic_load_explicit(&leaf->starts[granule & mask], memory_order_acquire);
}

#endif
