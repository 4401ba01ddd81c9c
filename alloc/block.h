/* block.h: records of pieces of memory, their neighbours, and ordered trees of them. */
#ifndef TARN_BLOCK_H
#define TARN_BLOCK_H

#include <stdatomic.h>

#include "alloc/stamps.h"

typedef enum tarn__block_state {
  TARN__BLOCK_LIVE,    /* lent out */
  TARN__BLOCK_FREE,    /* usable behind its stamps */
  TARN__BLOCK_HOLE,    /* address space without memory */
  TARN__BLOCK_CLAIMED, /* one thread works on it, outside of the lock; in no tree */
  TARN__BLOCK_GROWING, /* a hole that one thread is giving memory to; in no tree */
  TARN__BLOCK_PAUSED,  /* lent out, and without all of its memory: heap_paused.h */
  TARN__BLOCK_ASLEEP,  /* nobody's, beside such blocks and without memory as they are; in no tree */
} tarn__block_state;

typedef struct tarn__segment tarn__segment;

/* Blocks of a segment tile it in address order:
 *
 *     segment |  LIVE  | FREE |  LIVE  |    FREE    |      HOLE      |
 *                 <----- left    right ----->
 */
typedef struct tarn__block {
  /* What a thread reads and writes when it keeps a block or lends it out lies in one cache line. */
  _Alignas(64) char *address;
  size_t size_bytes;
  /* Of a live block: what was asked for; 0 where it is lent to a thread's magazine, not to a
   * caller. */
  _Atomic size_t requested_bytes;
  struct tarn__block *below; /* of a kept block: the one that was freed before it */
  tarn__block_state state;
  uint32_t tag; /* of a live block: its thread's when it was lent out */
  tarn__stamps stamps;
  tarn__segment *segment;
  struct tarn__block *left;
  struct tarn__block *right;
  bool is_going; /* CLAIMED to go back to the provider */
  bool is_kept;  /* PAUSED, and its contents are to come back */
  /* The tree that holds the block, keyed by (key, address): a line again. */
  _Alignas(64) struct tarn__block **root; /* NULL: none */
  struct tarn__block *low;
  struct tarn__block *high;
  size_t key;
  uint64_t priority; /* in its tree: a parent's is not lower */
  bool is_poisoned;  /* all of it: caching_poison.h */
} tarn__block;

/* A live block that a caller holds. Threads may write what is read here at any time. */
static inline bool tarn__block_is_lent(const tarn__block *block) {
  return atomic_load_explicit(&block->requested_bytes, memory_order_relaxed) != 0;
}

/* A record without neighbours and stamps; NULL where there is no memory. */
tarn__block *tarn__block_create(void);
void tarn__block_destroy(tarn__block *block);

/* Cuts `block` after size_bytes; the rest becomes a new block to its right, with the same state and
 * the same stamps, in no tree. NULL, and nothing changed, where there is no memory for the
 * record. */
tarn__block *tarn__block_split(tarn__block *block, size_t size_bytes);
/* Makes `block` and its right neighbour one; both in no tree. False, and nothing changed but
 * perhaps more stamps on `block`, where their stamps cannot be joined for want of memory. */
bool tarn__block_merge_right(tarn__block *block);

/* Trees hold blocks in the order of (key, address): treaps, so every step is O(log n) expected. */
void tarn__tree_insert(tarn__block **root, tarn__block *block, size_t key);
void tarn__tree_remove(tarn__block *block);
/* The first block at or behind (key, address); NULL for none. */
tarn__block *tarn__tree_at_least(tarn__block *root, size_t key, const char *address);
/* The one that follows `block` in its tree. */
tarn__block *tarn__tree_next(const tarn__block *block);

#endif
