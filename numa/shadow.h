/* shadow.h: what is known of each block by its address: size class, requested size, lent or not.
 *
 * A range of addresses has its shadow beside it, in memory of its own that is touched where blocks
 * are. A table of cells of 2 MiB leads from an address to its range's shadow; ranges begin on
 * cells.
 *
 *     table --- cell --- shadow of a range --- page word per 4 KiB:     the class, and for blocks
 *                              |               of 16 KiB and more all of it, at their first page
 *                              |-------------- granule word per 64 B:   smaller blocks, at their
 *                              |               first granule; the page word tells their class
 *                              \-------------- a bit per 4 KiB:         a large block begins here
 *
 * Blocks below 16 KiB share pages with their own class only, larger ones have their pages for
 * themselves: so a page word is right as long as a block on its page is out of the arena. A word
 * whose size is 0 belongs to a block that is not lent. Words are written by whoever has the block;
 * a block goes from one thread to another only by what orders the two.
 */
#ifndef TARN_NUMA_SHADOW_H
#define TARN_NUMA_SHADOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  TARN__CELL_BITS = 21,
  TARN__LEAF_BITS = 14,
  TARN__TABLE_BITS = 13, /* 48 bits of address in all */
  TARN__PAGE_BITS = 12,  /* the shadow's, whatever the machine's are */
  TARN__GRANULE_BITS = 6,
  TARN__SIZE_CLASSES = 252,
  TARN__FIRST_LARGE_CLASS = 55, /* 16 KiB */
};

/* Of a page word: the class, where in its page a large block begins, flags, the requested size. */
#define TARN__PAGE_CLASS UINT64_C(0xff)
#define TARN__PAGE_OFFSET_SHIFT 8
#define TARN__PAGE_OFFSET_MASK UINT64_C(0x3f)
#define TARN__PAGE_IS_LARGE (UINT64_C(1) << 14)
#define TARN__PAGE_IS_USED (UINT64_C(1) << 15)
#define TARN__PAGE_SIZE_SHIFT 16
/* Of a granule word. */
#define TARN__GRANULE_IS_USED ((uint16_t)(1u << 15))
#define TARN__GRANULE_SIZE_MASK ((uint16_t)0x7fff)

typedef struct tarn__shadow {
  uintptr_t start;
  size_t size_bytes;
  const void *owner;
  _Atomic uint64_t *page_words;
  _Atomic uint16_t *granule_words;
  _Atomic uint64_t *large_starts;
  void *mapping;
  size_t mapping_bytes;
} tarn__shadow;

typedef struct tarn__shadow_leaf {
  _Atomic(tarn__shadow *) cells[1 << TARN__LEAF_BITS];
} tarn__shadow_leaf;

extern _Atomic(tarn__shadow_leaf *) tarn__shadow_table[1 << TARN__TABLE_BITS];

/* Makes the shadow of a range that begins on a cell. NULL where there is no memory. */
tarn__shadow *tarn__shadow_create(void *start, size_t size_bytes, const void *owner);
/* Nobody asks for an address of the range any more. */
void tarn__shadow_destroy(tarn__shadow *shadow);

/* A block of the class comes out of the arena, not lent yet; and goes back. */
void tarn__shadow_place(tarn__shadow *shadow, const void *address, unsigned size_class);
void tarn__shadow_clear(tarn__shadow *shadow, const void *address, unsigned size_class);

/* The start of the lent block that holds the address; NULL where there is none. Looks at a bit per
 * page from the address down to a large block's start. */
void *tarn__shadow_start_of(const tarn__shadow *shadow, const void *address);

/* Marks the lent block at its start as one that a stream used. */
void tarn__shadow_mark_used(tarn__shadow *shadow, const void *start);

/* --- size classes: four per doubling, as jemalloc's; none below 64 bytes, all multiples of 64 */

static inline unsigned tarn__class_of(size_t size_bytes) {
  const uint64_t last = (uint64_t)(size_bytes - 1) | ((1u << TARN__GRANULE_BITS) - 1);
  const unsigned log2 = 63u ^ (unsigned)__builtin_clzll(last);
  return 4 * log2 + ((unsigned)(last >> (log2 - 2)) & 3);
}

static inline size_t tarn__class_bytes(unsigned size_class) {
  return (size_t)(5 + size_class % 4) << (size_class / 4 - 2);
}

/* --- one block, inline --- */

/* The shadow of the range that the address lies in; NULL where it is nobody's. */
static inline tarn__shadow *tarn__shadow_find(const void *address) {
  const uintptr_t cell = (uintptr_t)address >> TARN__CELL_BITS;
  const uintptr_t at = cell >> TARN__LEAF_BITS;
  if (at >= (uintptr_t)1 << TARN__TABLE_BITS) return NULL;
  /* Acquire pairs with the release that entered the range. */
  tarn__shadow_leaf *leaf = atomic_load_explicit(&tarn__shadow_table[at], memory_order_acquire);
  if (leaf == NULL) return NULL;
  return atomic_load_explicit(&leaf->cells[cell & ((1u << TARN__LEAF_BITS) - 1)],
                              memory_order_acquire);
}

static inline void tarn__slot_lend(void *word, unsigned size_class, size_t requested_bytes) {
  if (size_class < TARN__FIRST_LARGE_CLASS) {
    atomic_store_explicit((_Atomic uint16_t *)word, (uint16_t)requested_bytes,
                          memory_order_relaxed);
    return;
  }
  _Atomic uint64_t *const page_word = word;
  const uint64_t idle = atomic_load_explicit(page_word, memory_order_relaxed);
  atomic_store_explicit(page_word, idle | (uint64_t)requested_bytes << TARN__PAGE_SIZE_SHIFT,
                        memory_order_relaxed);
}

/* A block that somebody gives back. */
typedef struct tarn__found {
  void *word;
  unsigned size_class;
  bool is_used;           /* by a stream, says note_use */
  size_t requested_bytes; /* 0: no lent block begins there */
} tarn__found;

static inline tarn__found tarn__shadow_look(const tarn__shadow *shadow, const void *address) {
  const uintptr_t offset = (uintptr_t)address - shadow->start;
  const uintptr_t granule = offset >> TARN__GRANULE_BITS;
  _Atomic uint64_t *const page_word = &shadow->page_words[offset >> TARN__PAGE_BITS];
  const uint64_t page = atomic_load_explicit(page_word, memory_order_relaxed);
  tarn__found found = {.size_class = (unsigned)(page & TARN__PAGE_CLASS)};
  if ((page & TARN__PAGE_IS_LARGE) == 0) {
    _Atomic uint16_t *const granule_word = &shadow->granule_words[granule];
    const uint16_t value = atomic_load_explicit(granule_word, memory_order_relaxed);
    found.word = granule_word;
    found.is_used = (value & TARN__GRANULE_IS_USED) != 0;
    found.requested_bytes = value & TARN__GRANULE_SIZE_MASK;
  } else {
    found.word = page_word;
    found.is_used = (page & TARN__PAGE_IS_USED) != 0;
    const bool is_start =
        ((page >> TARN__PAGE_OFFSET_SHIFT) ^ granule) % (TARN__PAGE_OFFSET_MASK + 1) == 0;
    found.requested_bytes = is_start ? (size_t)(page >> TARN__PAGE_SIZE_SHIFT) : 0;
  }
  const uintptr_t below_granule = (uintptr_t)address & ((1u << TARN__GRANULE_BITS) - 1);
  if (below_granule != 0) found.requested_bytes = 0;
  return found;
}

/* The block that was found is not lent any more. */
static inline void tarn__slot_take(void *word, unsigned size_class) {
  if (size_class < TARN__FIRST_LARGE_CLASS) {
    atomic_store_explicit((_Atomic uint16_t *)word, 0, memory_order_relaxed);
    return;
  }
  _Atomic uint64_t *const page_word = word;
  const uint64_t lent = atomic_load_explicit(page_word, memory_order_relaxed);
  const uint64_t kept_bits = (UINT64_C(1) << TARN__PAGE_SIZE_SHIFT) - 1 - TARN__PAGE_IS_USED;
  atomic_store_explicit(page_word, lent & kept_bits, memory_order_relaxed);
}

#endif
