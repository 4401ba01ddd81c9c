/* lent_map.h: what an adaptor has lent out, by address: a word for each block, without a lock.
 *
 * A trie over the bits of an address, as page tables are. Blocks begin at multiples of the pool's
 * alignment, a *granule*; the word at the granule where a block begins is its record:
 *
 *     address   | root 12 | middle 11 | leaf 26, of granules |
 *                   middle: where the block begins that covers the first byte of each 256 KiB
 *                   leaf:   one record for each granule; one mark for 512 of them that were written
 *     record    | size 46 | label 18 |       0: no block begins here
 *
 * Whoever was just lent a block, and nobody else, writes its record, and whoever gives it back
 * clears it before the pool below has it. So plain stores do, in the order that the pool below
 * makes between a free and the next allocation; two threads that free one block at once race, as
 * tarn_pool_free says. What covers is not cleared: a record says how far its block goes.
 * Whoever comes upon others' blocks finds with a record all that its label stands for: release and
 * acquire.
 *
 * Tables are address space, of which pages that are written take memory: 8 bytes for each granule
 * where blocks begin, in pages. They stay until the map goes. */
#ifndef TARN_LENT_MAP_PRIVATE_H
#define TARN_LENT_MAP_PRIVATE_H

#include <stdatomic.h>

#include "alloc/tarn_base.h"

enum {
  TARN__LENT_LEAF_BITS = 26,
  TARN__LENT_MIDDLE_BITS = 11,
  TARN__LENT_ROOT_BITS = 12,
  TARN__LENT_UNIT_BITS = 18,
  TARN__LENT_GROUP_BITS = 9, /* of a leaf's records, a page of them, one mark */
  TARN__LENT_LABEL_BITS = 18,
  TARN__LENT_LABELS_MAX = 1 << TARN__LENT_LABEL_BITS,
};

#define TARN__LENT_BYTES_MAX ((UINT64_C(1) << (64 - TARN__LENT_LABEL_BITS)) - 1)

typedef _Atomic uint64_t tarn__lent_leaf; /* the first of its records; behind them are the marks */

typedef struct tarn__lent_middle {
  _Atomic(tarn__lent_leaf *) leaves[1 << TARN__LENT_MIDDLE_BITS];
  _Atomic uintptr_t
      covering[1 << (TARN__LENT_MIDDLE_BITS + TARN__LENT_LEAF_BITS - TARN__LENT_UNIT_BITS)];
} tarn__lent_middle;

/* A zeroed struct is empty, and has granules of a byte. */
typedef struct tarn__lent_map {
  unsigned granule_bits;
  _Atomic(_Atomic(tarn__lent_middle *) *) root;
} tarn__lent_map;

/* Before anything is entered: every block begins at a multiple of this power of two. */
void tarn__lent_map_align(tarn__lent_map *map, size_t alignment_bytes);
void tarn__lent_map_deinit(tarn__lent_map *map);

static inline uint64_t tarn__lent_record(size_t size_bytes, uint32_t label) {
  return (uint64_t)size_bytes << TARN__LENT_LABEL_BITS | label;
}

static inline size_t tarn__lent_size(uint64_t record) {
  return (size_t)(record >> TARN__LENT_LABEL_BITS);
}

static inline uint32_t tarn__lent_label(uint64_t record) {
  return (uint32_t)(record & (TARN__LENT_LABELS_MAX - 1));
}

/* The leaf that spans the address; NULL where there is none. */
tarn__lent_leaf *tarn__lent_map_leaf(const tarn__lent_map *map, uintptr_t address);

/* Where the record of a block that begins at `address`, in the leaf's span, is; NULL for an address
 * where none can begin. */
static inline tarn__lent_leaf *tarn__lent_place(const tarn__lent_map *map, tarn__lent_leaf *leaf,
                                                uintptr_t address) {
  const uintptr_t inside = address & (((uintptr_t)1 << TARN__LENT_LEAF_BITS) - 1);
  const uintptr_t granule_mask = ((uintptr_t)1 << map->granule_bits) - 1;
  return (address & granule_mask) == 0 ? leaf + (inside >> map->granule_bits) : NULL;
}

/* Enters a block of up to TARN__LENT_BYTES_MAX bytes, and tells what was recorded where it begins.
 * False, and nothing changed but perhaps more tables, where there is no memory for it, or no block
 * can begin there. */
bool tarn__lent_map_enter(tarn__lent_map *map, uintptr_t address, uint64_t record,
                          uint64_t *before);
/* The same where the leaf is known and nothing but the record is missing; false otherwise. */
static inline bool tarn__lent_leaf_enter(const tarn__lent_map *map, tarn__lent_leaf *leaf,
                                         uintptr_t address, uint64_t record, uint64_t *before) {
  const uintptr_t last = address + tarn__lent_size(record) - 1;
  const size_t records = (size_t)1 << (TARN__LENT_LEAF_BITS - map->granule_bits);
  const _Atomic uint8_t *marks = (const _Atomic uint8_t *)(leaf + records);
  tarn__lent_leaf *place = tarn__lent_place(map, leaf, address);
  if (place == NULL || (address ^ last) >> TARN__LENT_UNIT_BITS != 0) return false;
  const size_t group = (size_t)(place - leaf) >> TARN__LENT_GROUP_BITS;
  if (atomic_load_explicit(&marks[group], memory_order_relaxed) == 0) return false;
  *before = atomic_load_explicit(place, memory_order_relaxed);
  atomic_store_explicit(place, record, memory_order_release);
  return true;
}

/* The record of the block that `address` points into, and where it begins; 0 for none. */
uint64_t tarn__lent_map_find(const tarn__lent_map *map, uintptr_t address, uintptr_t *start);
/* The first that begins at `address` or behind it; 0 for none. */
uint64_t tarn__lent_map_next(const tarn__lent_map *map, uintptr_t address, uintptr_t *start);

#endif
