/* page_map.c: a trie from addresses to the blocks that start there. */
#include "alloc/page_map.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
  LAST_IN_LEAF = (1 << TARN__PAGE_LEAF_BITS) - 1,
  MIDDLE_COUNT = 1 << TARN__PAGE_MIDDLE_BITS,
  ROOT_COUNT = 1 << TARN__PAGE_ROOT_BITS,
};

/* Where an address stands on each level. */
typedef struct path {
  size_t root; /* ROOT_COUNT and above: outside of the map */
  size_t middle;
  size_t leaf;
} path;

static path path_of(const void *address) {
  const uintptr_t granule = (uintptr_t)address >> TARN__PAGE_GRANULE_BITS;
  return (path){
      .root = granule >> (TARN__PAGE_LEAF_BITS + TARN__PAGE_MIDDLE_BITS),
      .middle = (granule >> TARN__PAGE_LEAF_BITS) & (MIDDLE_COUNT - 1),
      .leaf = granule & (((size_t)1 << TARN__PAGE_LEAF_BITS) - 1),
  };
}

static tarn__page_middle *middle_at(tarn__page_map *map, size_t index) {
  _Atomic(tarn__page_middle *) *root = atomic_load_explicit(&map->root, memory_order_acquire);
  if (root == NULL || index >= ROOT_COUNT) return NULL;
  return atomic_load_explicit(&root[index], memory_order_acquire);
}

tarn__page_leaf *tarn__page_map_leaf(tarn__page_map *map, const void *address) {
  const path at = path_of(address);
  tarn__page_middle *middle = middle_at(map, at.root);
  if (middle == NULL) return NULL;
  return atomic_load_explicit(&middle->leaves[at.middle], memory_order_acquire);
}

/* --- under the lock --- */

static tarn__page_middle *make_middle(tarn__page_map *map, size_t index) {
  _Atomic(tarn__page_middle *) *root = atomic_load_explicit(&map->root, memory_order_relaxed);
  if (root == NULL) {
    root = calloc(ROOT_COUNT, sizeof *root);
    if (root == NULL) return NULL;
    atomic_store_explicit(&map->root, root, memory_order_release);
  }
  tarn__page_middle *middle = atomic_load_explicit(&root[index], memory_order_relaxed);
  if (middle == NULL) {
    middle = calloc(1, sizeof *middle);
    if (middle != NULL) atomic_store_explicit(&root[index], middle, memory_order_release);
  }
  return middle;
}

static tarn__page_leaf *make_leaf(tarn__page_map *map, path at) {
  tarn__page_middle *middle = make_middle(map, at.root);
  if (middle == NULL) return NULL;
  tarn__page_leaf *leaf = atomic_load_explicit(&middle->leaves[at.middle], memory_order_relaxed);
  if (leaf != NULL) return leaf;
  leaf = mmap(NULL, sizeof *leaf, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (leaf == MAP_FAILED) return NULL;
  atomic_store_explicit(&middle->leaves[at.middle], leaf, memory_order_release);
  return leaf;
}

bool tarn__page_map_set(tarn__page_map *map, tarn__block *block) {
  const path at = path_of(block->address);
  if (at.root >= ROOT_COUNT) return false;
  tarn__page_leaf *leaf = tarn__page_map_leaf(map, block->address);
  if (leaf == NULL) leaf = make_leaf(map, at);
  if (leaf == NULL) return false;
  leaf->used[at.leaf / 64] |= UINT64_C(1) << at.leaf % 64;
  leaf->used_words[at.leaf / 64 / 64] |= UINT64_C(1) << at.leaf / 64 % 64;
  atomic_store_explicit(&leaf->starts[at.leaf], block, memory_order_release);
  return true;
}

void tarn__page_map_clear(tarn__page_map *map, const tarn__block *block) {
  const path at = path_of(block->address);
  tarn__page_leaf *leaf = tarn__page_map_leaf(map, block->address);
  atomic_store_explicit(&leaf->starts[at.leaf], NULL, memory_order_release);
  leaf->used[at.leaf / 64] &= ~(UINT64_C(1) << at.leaf % 64);
  if (leaf->used[at.leaf / 64] == 0) {
    leaf->used_words[at.leaf / 64 / 64] &= ~(UINT64_C(1) << at.leaf / 64 % 64);
  }
}

/* The highest bit of `word` at or below `bit`; -1 for none. */
static int bit_at_or_below(uint64_t word, unsigned bit) {
  const uint64_t below = word & (UINT64_MAX >> (63 - bit));
  return below == 0 ? -1 : 63 - __builtin_clzll(below);
}

/* The highest used entry at or below `entry`. */
static tarn__block *last_in_leaf(tarn__page_leaf *leaf, size_t entry) {
  int bit = bit_at_or_below(leaf->used[entry / 64], entry % 64);
  size_t word = entry / 64;
  if (bit < 0) {
    if (word == 0) return NULL;
    word--;
    size_t group = word / 64;
    int found = bit_at_or_below(leaf->used_words[group], word % 64);
    while (found < 0 && group > 0) found = bit_at_or_below(leaf->used_words[--group], 63);
    if (found < 0) return NULL;
    word = group * 64 + (size_t)found;
    bit = bit_at_or_below(leaf->used[word], 63);
  }
  return atomic_load_explicit(&leaf->starts[word * 64 + (size_t)bit], memory_order_relaxed);
}

/* The block with the highest start in the granule of the address or below. */
static tarn__block *last_entry(tarn__page_map *map, uintptr_t address) {
  path at = path_of((const void *)address);
  if (at.root >= ROOT_COUNT) at = (path){ROOT_COUNT - 1, MIDDLE_COUNT - 1, LAST_IN_LEAF};
  for (size_t root = at.root + 1; root-- > 0;) {
    tarn__page_middle *middle = middle_at(map, root);
    for (size_t index = at.middle + 1; middle != NULL && index-- > 0; at.leaf = LAST_IN_LEAF) {
      tarn__page_leaf *leaf = atomic_load_explicit(&middle->leaves[index], memory_order_relaxed);
      tarn__block *block = leaf == NULL ? NULL : last_in_leaf(leaf, at.leaf);
      if (block != NULL) return block;
    }
    at = (path){.middle = MIDDLE_COUNT - 1, .leaf = LAST_IN_LEAF};
  }
  return NULL;
}

tarn__block *tarn__page_map_at_or_before(tarn__page_map *map, const void *address) {
  tarn__block *block = last_entry(map, (uintptr_t)address);
  if (block == NULL || block->address <= (const char *)address) return block;
  /* It starts in the address's own granule, but behind the address. */
  const uintptr_t granule = (uintptr_t)1 << TARN__PAGE_GRANULE_BITS;
  const uintptr_t start = (uintptr_t)address & ~(granule - 1);
  return start == 0 ? NULL : last_entry(map, start - 1);
}

void tarn__page_map_deinit(tarn__page_map *map) {
  _Atomic(tarn__page_middle *) *root = atomic_load_explicit(&map->root, memory_order_relaxed);
  for (size_t index = 0; root != NULL && index < ROOT_COUNT; index++) {
    tarn__page_middle *middle = atomic_load_explicit(&root[index], memory_order_relaxed);
    for (size_t entry = 0; middle != NULL && entry < MIDDLE_COUNT; entry++) {
      tarn__page_leaf *leaf = atomic_load_explicit(&middle->leaves[entry], memory_order_relaxed);
      if (leaf != NULL) (void)munmap(leaf, sizeof *leaf);
    }
    free(middle);
  }
  free(root);
  atomic_store_explicit(&map->root, NULL, memory_order_relaxed);
}
