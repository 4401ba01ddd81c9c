/* shadow.c: what is known of each block by its address: size class, requested size, lent or not. */
#include "numa/shadow.h"

#include <stdlib.h>
#include <sys/mman.h>

_Atomic(tarn__shadow_leaf *) tarn__shadow_table[1 << TARN__TABLE_BITS];

/* Address space that is zero where it was not written; NULL where there is none. */
static void *map_zeros(size_t size_bytes) {
  void *const mapping = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return mapping == MAP_FAILED ? NULL : mapping;
}

/* Without a lock, which a fork would have to take as well: of two at once one is too many. */
static bool make_leaf(_Atomic(tarn__shadow_leaf *) *place) {
  tarn__shadow_leaf *none = NULL;
  if (atomic_load_explicit(place, memory_order_acquire) != NULL) return true;
  tarn__shadow_leaf *made = map_zeros(sizeof *made);
  if (made == NULL) return false;
  if (!atomic_compare_exchange_strong_explicit(place, &none, made, memory_order_acq_rel,
                                               memory_order_acquire)) {
    (void)munmap(made, sizeof *made);
  }
  return true;
}

/* Leaves stay: an address may be asked for at any time. */
static bool make_leaves(uintptr_t first_cell, uintptr_t last_cell) {
  const uintptr_t last = last_cell >> TARN__LEAF_BITS;
  bool has_all = last < (uintptr_t)1 << TARN__TABLE_BITS;
  for (uintptr_t at = first_cell >> TARN__LEAF_BITS; has_all && at <= last; ++at) {
    has_all = make_leaf(&tarn__shadow_table[at]);
  }
  return has_all;
}

static void enter(const tarn__shadow *range, tarn__shadow *entered) {
  const uintptr_t last_cell = (range->start + range->size_bytes - 1) >> TARN__CELL_BITS;
  for (uintptr_t cell = range->start >> TARN__CELL_BITS; cell <= last_cell; ++cell) {
    tarn__shadow_leaf *leaf =
        atomic_load_explicit(&tarn__shadow_table[cell >> TARN__LEAF_BITS], memory_order_relaxed);
    atomic_store_explicit(&leaf->cells[cell & ((1u << TARN__LEAF_BITS) - 1)], entered,
                          memory_order_release);
  }
}

static bool map_words(tarn__shadow *shadow) {
  const size_t page_count = (shadow->size_bytes >> TARN__PAGE_BITS) + 1;
  const size_t granule_count = shadow->size_bytes >> TARN__GRANULE_BITS;
  const size_t page_bytes = page_count * sizeof(uint64_t);
  const size_t start_bytes = (page_count / 64 + 1) * sizeof(uint64_t);
  shadow->mapping_bytes = page_bytes + start_bytes + granule_count * sizeof(uint16_t);
  char *const mapping = map_zeros(shadow->mapping_bytes);
  if (mapping == NULL) return false;
  shadow->mapping = mapping;
  shadow->page_words = (void *)mapping;
  shadow->large_starts = (void *)(mapping + page_bytes);
  shadow->granule_words = (void *)(mapping + page_bytes + start_bytes);
  return true;
}

tarn__shadow *tarn__shadow_create(void *start, size_t size_bytes, const void *owner) {
  const uintptr_t first = (uintptr_t)start;
  if (!make_leaves(first >> TARN__CELL_BITS, (first + size_bytes - 1) >> TARN__CELL_BITS)) {
    return NULL;
  }
  tarn__shadow *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  /* Whole cells, so that whoever finds the shadow finds a word in it. */
  const size_t cell_bytes = (size_t)1 << TARN__CELL_BITS;
  *made = (tarn__shadow){.start = first,
                         .size_bytes = (size_bytes + cell_bytes - 1) & ~(cell_bytes - 1),
                         .owner = owner};
  if (!map_words(made)) {
    free(made);
    return NULL;
  }
  enter(made, made);
  return made;
}

void tarn__shadow_destroy(tarn__shadow *shadow) {
  if (shadow == NULL) return;
  enter(shadow, NULL);
  (void)munmap(shadow->mapping, shadow->mapping_bytes);
  free(shadow);
}

static size_t page_of(const tarn__shadow *shadow, const void *address) {
  return ((uintptr_t)address - shadow->start) >> TARN__PAGE_BITS;
}

static size_t granule_of(const tarn__shadow *shadow, const void *address) {
  return ((uintptr_t)address - shadow->start) >> TARN__GRANULE_BITS;
}

static void place_large(tarn__shadow *shadow, const void *address, unsigned size_class) {
  const size_t page = page_of(shadow, address);
  const uint64_t offset = granule_of(shadow, address) & TARN__PAGE_OFFSET_MASK;
  atomic_store_explicit(&shadow->page_words[page],
                        size_class | offset << TARN__PAGE_OFFSET_SHIFT | TARN__PAGE_IS_LARGE,
                        memory_order_relaxed);
  atomic_fetch_or_explicit(&shadow->large_starts[page / 64], UINT64_C(1) << page % 64,
                           memory_order_release);
}

void tarn__shadow_place(tarn__shadow *shadow, const void *address, unsigned size_class) {
  if (size_class >= TARN__FIRST_LARGE_CLASS) {
    place_large(shadow, address, size_class);
    return;
  }
  const char *const last = (const char *)address + tarn__class_bytes(size_class) - 1;
  for (size_t page = page_of(shadow, address); page <= page_of(shadow, last); ++page) {
    /* Written once per slab: the line is then shared by all who read it. */
    _Atomic uint64_t *const word = &shadow->page_words[page];
    if (atomic_load_explicit(word, memory_order_relaxed) == size_class) continue;
    atomic_store_explicit(word, size_class, memory_order_relaxed);
  }
}

void tarn__shadow_clear(tarn__shadow *shadow, const void *address, unsigned size_class) {
  if (size_class < TARN__FIRST_LARGE_CLASS) return;
  const size_t page = page_of(shadow, address);
  atomic_store_explicit(&shadow->page_words[page], 0, memory_order_relaxed);
  atomic_fetch_and_explicit(&shadow->large_starts[page / 64], ~(UINT64_C(1) << page % 64),
                            memory_order_release);
}

/* Does the block below 16 KiB that begins there reach the address? It may be another slab's. */
static bool covers(const tarn__shadow *shadow, size_t granule, uintptr_t address) {
  const size_t page = granule >> (TARN__PAGE_BITS - TARN__GRANULE_BITS);
  const uint64_t word = atomic_load_explicit(&shadow->page_words[page], memory_order_relaxed);
  const uintptr_t start = shadow->start + (granule << TARN__GRANULE_BITS);
  return address - start < tarn__class_bytes((unsigned)(word & TARN__PAGE_CLASS));
}

/* The start of the block below 16 KiB that holds the address. */
static uintptr_t small_start_of(const tarn__shadow *shadow, uintptr_t address) {
  const uint64_t page = atomic_load_explicit(
      &shadow->page_words[(address - shadow->start) >> TARN__PAGE_BITS], memory_order_relaxed);
  const unsigned size_class = (unsigned)(page & TARN__PAGE_CLASS);
  if ((page & TARN__PAGE_IS_LARGE) != 0 || size_class == 0) return 0;
  const size_t reach = tarn__class_bytes(size_class) >> TARN__GRANULE_BITS;
  size_t granule = (address - shadow->start) >> TARN__GRANULE_BITS;
  for (size_t steps = 0; steps < reach; ++steps, --granule) {
    const uint16_t word =
        atomic_load_explicit(&shadow->granule_words[granule], memory_order_relaxed);
    if ((word & TARN__GRANULE_SIZE_MASK) != 0) {
      return covers(shadow, granule, address) ? shadow->start + (granule << TARN__GRANULE_BITS) : 0;
    }
    if (granule == 0) break;
  }
  return 0;
}

/* The same for the others. What lies between its start and the address is its own. */
static uintptr_t large_start_of(const tarn__shadow *shadow, uintptr_t address) {
  const size_t page = (address - shadow->start) >> TARN__PAGE_BITS;
  size_t at = page / 64;
  uint64_t bits = atomic_load_explicit(&shadow->large_starts[at], memory_order_acquire) &
                  (~UINT64_C(0) >> (63 - page % 64));
  while (bits == 0 && at > 0) {
    bits = atomic_load_explicit(&shadow->large_starts[--at], memory_order_acquire);
  }
  if (bits == 0) return 0;
  const size_t first = 64 * at + 63 - (size_t)__builtin_clzll(bits);
  const uint64_t word = atomic_load_explicit(&shadow->page_words[first], memory_order_relaxed);
  const uintptr_t start =
      shadow->start + (first << TARN__PAGE_BITS) +
      ((word >> TARN__PAGE_OFFSET_SHIFT & TARN__PAGE_OFFSET_MASK) << TARN__GRANULE_BITS);
  const bool is_lent = word >> TARN__PAGE_SIZE_SHIFT != 0;
  const size_t class_bytes = tarn__class_bytes((unsigned)(word & TARN__PAGE_CLASS));
  return is_lent && address >= start && address - start < class_bytes ? start : 0;
}

void *tarn__shadow_start_of(const tarn__shadow *shadow, const void *address) {
  uintptr_t start = small_start_of(shadow, (uintptr_t)address);
  if (start == 0) start = large_start_of(shadow, (uintptr_t)address);
  return start == 0 ? NULL : (char *)(uintptr_t)address - ((uintptr_t)address - start);
}

void tarn__shadow_mark_used(tarn__shadow *shadow, const void *start) {
  const tarn__found found = tarn__shadow_look(shadow, start);
  if (found.size_class < TARN__FIRST_LARGE_CLASS) {
    atomic_fetch_or_explicit((_Atomic uint16_t *)found.word, TARN__GRANULE_IS_USED,
                             memory_order_relaxed);
  } else {
    atomic_fetch_or_explicit((_Atomic uint64_t *)found.word, TARN__PAGE_IS_USED,
                             memory_order_relaxed);
  }
}
