/* magazine_state.h: what a magazine consists of, for the files that work on it.
 *
 * A lane is a stack of blocks per bin of sizes. The block freed last of all has a place of its own,
 * and goes on its stack when the next one is freed: most often it is what is asked for next, and
 * where it lies does not depend on what it is. */
#ifndef TARN_MAGAZINE_STATE_H
#define TARN_MAGAZINE_STATE_H

#include "alloc/magazine.h"
#include "alloc/stream.h"
#include "alloc/thread_number.h"

enum {
  TARN__KNOWN_LEAVES = 64,
  TARN__NEEDS_FENCE = 1 << 30, /* no barrier makes up for its own; tarn_barrier.h */
};

typedef struct tarn__lane {
  size_t kept_bytes_max;              /* the magazine's, but for the block freed last */
  size_t block_bytes_max;             /* of a stream's: no larger block is kept at all */
  struct tarn__lane *next;            /* of the magazine's, but for the host's */
  tarn__block *bins[TARN__SIZE_BINS]; /* chained by `below`; the one freed last comes first */
} tarn__lane;

/* No address has it. */
#define TARN__NO_LEAF UINTPTR_MAX

typedef struct tarn__known_leaf {
  uintptr_t key; /* the address bits above the leaf's span; TARN__NO_LEAF: none is known */
  const tarn__page_leaf *leaf;
} tarn__known_leaf;

/* A block that is kept in no bin. */
typedef struct tarn__recent {
  tarn__lane *lane; /* that it belongs to; NULL: there is none */
  tarn__block *block;
  char *address; /* the block's */
} tarn__recent;

/* Of magazine.turn: the thread is inside. */
#define TARN__TURN_INSIDE UINT64_C(1)
#define TARN__TURN_SERVED UINT64_C(2)

struct tarn__magazine {
  /* Written by the thread alone, while it is inside; what is atomic is read by anybody. */
  _Atomic uint64_t turn;   /* whether it is inside, and how many calls were served */
  _Atomic uint32_t closed; /* how often, and TARN__NEEDS_FENCE; written with the lock */
  uint32_t tag;            /* the thread's */
  _Atomic size_t kept_bytes;
  size_t kept_bytes_low;          /* since the peaks were looked at */
  _Atomic size_t requested_bytes; /* modulo 2^64: of blocks taken out less of blocks kept */
  size_t requested_bytes_high;    /* since the peaks were looked at */
  tarn__recent recent;            /* the block freed last */
  tarn__recent aside;             /* lent_large, where that is freed */
  _Atomic size_t aside_bytes;
  /* In a pool that packs its memory: the large block that the thread's last call with the lock was
   * lent. Only to be compared with: others may have taken it back since. */
  const tarn__block *lent_large;
  tarn__lane host;
  tarn__known_leaf leaves[TARN__KNOWN_LEAVES]; /* leaves of the page map that were used lately */
  tarn__lane *lane_of[TARN_STREAMS_MAX];       /* by timeline; NULL: none yet */
  tarn__lane *lanes;                           /* all of these */
  tarn__caching *pool;
  uint64_t pool_id;
  /* Guarded by the pool's lock. */
  uint64_t locked_count; /* modulo 2^64: blocks that came with the lock less those that went so */
  tarn__magazine *next;
  tarn__magazine *previous;
  bool is_forgotten; /* the pool is gone; guarded by the lock of magazine_threads.c */
};

/* No lane of a stream's keeps larger ones, but for the block freed last. */
enum { TARN__KEPT_BYTES_OF_STREAM = 32 << 10 };

/* True where the block freed last has to go to the heap when the next one comes. */
static inline bool tarn__magazine_has_large(const tarn__magazine *magazine) {
  const tarn__recent *recent = &magazine->recent;
  return recent->lane != NULL && recent->lane != &magazine->host &&
         recent->block->size_bytes > TARN__KEPT_BYTES_OF_STREAM;
}

/* Puts the block freed last where all others are. Before anybody looks at those. */
static inline void tarn__magazine_settle(tarn__magazine *magazine) {
  tarn__recent *recent = &magazine->recent;
  if (recent->lane == NULL) return;
  tarn__block *block = recent->block;
  tarn__block **bin = &recent->lane->bins[tarn__size_bin(block->size_bytes)];
  block->below = *bin;
  *bin = block;
  recent->lane = NULL;
}

#endif
