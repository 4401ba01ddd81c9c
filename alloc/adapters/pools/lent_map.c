/* lent_map.c: tables of records by address, made as blocks come to lie there. */
#include "alloc/adapters/pools/lent_map.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
  ROOT_COUNT = 1 << TARN__LENT_ROOT_BITS,
  MIDDLE_COUNT = 1 << TARN__LENT_MIDDLE_BITS,
  UNITS_OF_LEAF = 1 << (TARN__LENT_LEAF_BITS - TARN__LENT_UNIT_BITS),
  GRANULE_BITS_MAX = TARN__LENT_UNIT_BITS - TARN__LENT_GROUP_BITS, /* a unit has whole groups */
};

static const uintptr_t LEAF_SPAN = (uintptr_t)1 << TARN__LENT_LEAF_BITS;
static const uintptr_t MIDDLE_SPAN = (uintptr_t)1
                                     << (TARN__LENT_LEAF_BITS + TARN__LENT_MIDDLE_BITS);
static const uintptr_t UNIT_SPAN = (uintptr_t)1 << TARN__LENT_UNIT_BITS;
static const uintptr_t ADDRESS_END =
    (uintptr_t)1 << (TARN__LENT_LEAF_BITS + TARN__LENT_MIDDLE_BITS + TARN__LENT_ROOT_BITS);

/* --- tables --- */

void tarn__lent_map_align(tarn__lent_map *map, size_t alignment_bytes) {
  while (map->granule_bits < GRANULE_BITS_MAX && alignment_bytes >> map->granule_bits > 1) {
    map->granule_bits++;
  }
}

static size_t record_count(const tarn__lent_map *map) {
  return LEAF_SPAN >> map->granule_bits;
}

static size_t group_count(const tarn__lent_map *map) {
  return record_count(map) >> TARN__LENT_GROUP_BITS;
}

static size_t leaf_bytes(const tarn__lent_map *map) {
  return record_count(map) * sizeof(tarn__lent_leaf) + group_count(map);
}

/* One for each group of records: whether any of them was ever written. */
static _Atomic uint8_t *marks_of(const tarn__lent_map *map, tarn__lent_leaf *leaf) {
  return (_Atomic uint8_t *)(leaf + record_count(map));
}

static size_t index_in_leaf(const tarn__lent_map *map, uintptr_t address) {
  return (address & (LEAF_SPAN - 1)) >> map->granule_bits;
}

/* Zeroes that take memory as they are written, a small page at a time: a huge one would hold as
 * many records as a leaf has. */
static void *map_table(size_t size_bytes) {
  void *table = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (table == MAP_FAILED) return NULL;
  (void)madvise(table, size_bytes, MADV_NOHUGEPAGE); /* refused where there are no huge ones */
  return table;
}

static tarn__lent_middle *middle_at(const tarn__lent_map *map, uintptr_t address) {
  _Atomic(tarn__lent_middle *) *root = atomic_load_explicit(&map->root, memory_order_acquire);
  if (root == NULL || address >= ADDRESS_END) return NULL;
  return atomic_load_explicit(&root[address / MIDDLE_SPAN], memory_order_acquire);
}

static _Atomic(tarn__lent_leaf *) *leaf_at(tarn__lent_middle *middle, uintptr_t address) {
  return &middle->leaves[address % MIDDLE_SPAN / LEAF_SPAN];
}

static _Atomic uintptr_t *covering_at(tarn__lent_middle *middle, uintptr_t address) {
  return &middle->covering[address % MIDDLE_SPAN / UNIT_SPAN];
}

tarn__lent_leaf *tarn__lent_map_leaf(const tarn__lent_map *map, uintptr_t address) {
  tarn__lent_middle *middle = middle_at(map, address);
  if (middle == NULL) return NULL;
  return atomic_load_explicit(leaf_at(middle, address), memory_order_acquire);
}

/* Of two threads that make the same table one is first. Release: the zeroes pair with the acquire
 * of whoever finds the table. */
static _Atomic(tarn__lent_middle *) *make_root(tarn__lent_map *map) {
  _Atomic(tarn__lent_middle *) *there = atomic_load_explicit(&map->root, memory_order_acquire);
  if (there != NULL) return there;
  _Atomic(tarn__lent_middle *) *made = calloc(ROOT_COUNT, sizeof *made);
  if (made == NULL || atomic_compare_exchange_strong_explicit(
                          &map->root, &there, made, memory_order_acq_rel, memory_order_acquire)) {
    return made;
  }
  free(made);
  return there;
}

static tarn__lent_middle *make_middle(tarn__lent_map *map, uintptr_t address) {
  _Atomic(tarn__lent_middle *) *root = address < ADDRESS_END ? make_root(map) : NULL;
  if (root == NULL) return NULL;
  _Atomic(tarn__lent_middle *) *place = &root[address / MIDDLE_SPAN];
  tarn__lent_middle *there = atomic_load_explicit(place, memory_order_acquire);
  if (there != NULL) return there;
  tarn__lent_middle *made = map_table(sizeof *made);
  if (made == NULL || atomic_compare_exchange_strong_explicit(
                          place, &there, made, memory_order_acq_rel, memory_order_acquire)) {
    return made;
  }
  (void)munmap(made, sizeof *made);
  return there;
}

static tarn__lent_leaf *make_leaf(const tarn__lent_map *map, tarn__lent_middle *middle,
                                  uintptr_t address) {
  _Atomic(tarn__lent_leaf *) *place = leaf_at(middle, address);
  tarn__lent_leaf *there = atomic_load_explicit(place, memory_order_acquire);
  if (there != NULL) return there;
  tarn__lent_leaf *made = map_table(leaf_bytes(map));
  if (made == NULL || atomic_compare_exchange_strong_explicit(
                          place, &there, made, memory_order_acq_rel, memory_order_acquire)) {
    return made;
  }
  (void)munmap(made, leaf_bytes(map));
  return there;
}

void tarn__lent_map_deinit(tarn__lent_map *map) {
  _Atomic(tarn__lent_middle *) *root = atomic_load_explicit(&map->root, memory_order_relaxed);
  for (size_t index = 0; root != NULL && index < ROOT_COUNT; index++) {
    tarn__lent_middle *middle = atomic_load_explicit(&root[index], memory_order_relaxed);
    if (middle == NULL) continue;
    for (size_t entry = 0; entry < MIDDLE_COUNT; entry++) {
      tarn__lent_leaf *leaf = atomic_load_explicit(&middle->leaves[entry], memory_order_relaxed);
      if (leaf != NULL) (void)munmap(leaf, leaf_bytes(map));
    }
    (void)munmap(middle, sizeof *middle);
  }
  free(root);
}

/* --- records --- */

/* For every unit whose first byte lies in the block, and at its own start for none. */
static bool cover(tarn__lent_map *map, uintptr_t address, size_t size_bytes) {
  const uintptr_t first = (address | (UNIT_SPAN - 1)) + 1;
  for (uintptr_t unit = first; unit - address < size_bytes; unit += UNIT_SPAN) {
    tarn__lent_middle *middle = make_middle(map, unit);
    if (middle == NULL) return false;
    atomic_store_explicit(covering_at(middle, unit), address, memory_order_relaxed);
  }
  return true;
}

bool tarn__lent_map_enter(tarn__lent_map *map, uintptr_t address, uint64_t record,
                          uint64_t *before) {
  tarn__lent_middle *middle = make_middle(map, address);
  tarn__lent_leaf *leaf = middle != NULL ? make_leaf(map, middle, address) : NULL;
  tarn__lent_leaf *place = leaf != NULL ? tarn__lent_place(map, leaf, address) : NULL;
  if (place == NULL || !cover(map, address, tarn__lent_size(record))) return false;
  _Atomic uint8_t *mark =
      marks_of(map, leaf) + (index_in_leaf(map, address) >> TARN__LENT_GROUP_BITS);
  atomic_store_explicit(mark, 1, memory_order_relaxed);
  *before = atomic_load_explicit(place, memory_order_relaxed);
  atomic_store_explicit(place, record, memory_order_release);
  return true;
}

/* --- looking for one --- */

/* The last record of the leaf from the granule `first` to the granule `last`; 0 for none. */
static uint64_t last_record(const tarn__lent_map *map, tarn__lent_leaf *leaf, size_t first,
                            size_t last, size_t *found) {
  const _Atomic uint8_t *marks = marks_of(map, leaf);
  for (size_t index = last + 1; index-- > first;) {
    if (atomic_load_explicit(&marks[index >> TARN__LENT_GROUP_BITS], memory_order_relaxed) == 0) {
      index = index >> TARN__LENT_GROUP_BITS << TARN__LENT_GROUP_BITS;
      continue;
    }
    const uint64_t record = atomic_load_explicit(&leaf[index], memory_order_acquire);
    *found = index;
    if (record != 0) return record;
  }
  return 0;
}

uint64_t tarn__lent_map_find(const tarn__lent_map *map, uintptr_t address, uintptr_t *start) {
  tarn__lent_middle *middle = middle_at(map, address);
  if (middle == NULL) return 0;
  const uintptr_t unit = address & ~(UNIT_SPAN - 1);
  tarn__lent_leaf *leaf = atomic_load_explicit(leaf_at(middle, address), memory_order_acquire);
  uint64_t record = 0;
  if (leaf != NULL) {
    size_t index = 0;
    record = last_record(map, leaf, index_in_leaf(map, unit), index_in_leaf(map, address), &index);
    *start = (address & ~(LEAF_SPAN - 1)) + ((uintptr_t)index << map->granule_bits);
  }
  if (record == 0) {
    *start = atomic_load_explicit(covering_at(middle, address), memory_order_relaxed);
    leaf = *start != 0 ? tarn__lent_map_leaf(map, *start) : NULL;
    if (leaf == NULL) return 0;
    record = atomic_load_explicit(&leaf[index_in_leaf(map, *start)], memory_order_acquire);
  }
  return address - *start < tarn__lent_size(record) ? record : 0;
}

static uint64_t next_in_leaf(const tarn__lent_map *map, tarn__lent_leaf *leaf, size_t first,
                             size_t *found) {
  const _Atomic uint8_t *marks = marks_of(map, leaf);
  const size_t group_mask = ((size_t)1 << TARN__LENT_GROUP_BITS) - 1;
  for (size_t index = first; index < record_count(map); index++) {
    if (atomic_load_explicit(&marks[index >> TARN__LENT_GROUP_BITS], memory_order_relaxed) == 0) {
      index |= group_mask;
      continue;
    }
    const uint64_t record = atomic_load_explicit(&leaf[index], memory_order_acquire);
    *found = index;
    if (record != 0) return record;
  }
  return 0;
}

uint64_t tarn__lent_map_next(const tarn__lent_map *map, uintptr_t address, uintptr_t *start) {
  const uintptr_t granule = (uintptr_t)1 << map->granule_bits;
  address = (address + granule - 1) & ~(granule - 1);
  while (address < ADDRESS_END) {
    tarn__lent_middle *middle = middle_at(map, address);
    tarn__lent_leaf *leaf =
        middle != NULL ? atomic_load_explicit(leaf_at(middle, address), memory_order_acquire)
                       : NULL;
    size_t index = 0;
    const uint64_t record =
        leaf != NULL ? next_in_leaf(map, leaf, index_in_leaf(map, address), &index) : 0;
    *start = (address & ~(LEAF_SPAN - 1)) + ((uintptr_t)index << map->granule_bits);
    if (record != 0) return record;
    address = (address | ((middle != NULL ? LEAF_SPAN : MIDDLE_SPAN) - 1)) + 1;
  }
  return 0;
}
