/* held_blocks.h: freed blocks that a stream may still touch, until it has passed their free.
 *
 * A free takes the next ticket of every stream that used the block, and calls no driver. Whoever
 * looks later records one fence per stream, which covers all tickets taken by then; when it has
 * passed, so have they.
 *
 *     stream's line:   1 .. passed | .. covered by the fence | .. last ticket
 */
#ifndef TARN_NUMA_HELD_BLOCKS_H
#define TARN_NUMA_HELD_BLOCKS_H

#include <stdatomic.h>

#include "numa/used_blocks.h"

typedef struct tarn__held_line tarn__held_line;
typedef struct tarn__held_block tarn__held_block;

/* A block that is not lent any more. */
typedef struct tarn__freed_block {
  void *address;
  unsigned size_class;
  tarn__block_use *uses;
} tarn__freed_block;

struct tarn__held_block {
  tarn__held_block *next;
  tarn__freed_block block; /* its uses belong to the held block */
};

typedef struct tarn__held_blocks {
  pthread_mutex_t lock; /* not held while a stream is called */
  pthread_cond_t line_is_idle;
  tarn__held_line *lines;
  tarn__held_block *blocks;
  atomic_size_t block_count;
  atomic_uint_fast64_t fence_count;
  atomic_uint_fast64_t wait_count;
} tarn__held_blocks;

void tarn__held_blocks_init(tarn__held_blocks *held);
/* Nothing is held any more. */
void tarn__held_blocks_deinit(tarn__held_blocks *held);

static inline bool tarn__held_blocks_any(const tarn__held_blocks *held) {
  return atomic_load_explicit(&held->block_count, memory_order_acquire) != 0;
}

/* Takes the block and its uses, at least one. False, with nothing taken, where there is no
 * memory. */
bool tarn__held_blocks_add(tarn__held_blocks *held, const tarn__freed_block *block);

/* The blocks that their streams have passed; the caller frees each with its uses. `waits` waits for
 * all that is held by now. A stream that fails has not passed anything. */
tarn__held_block *tarn__held_blocks_reap(tarn__held_blocks *held, bool waits);
/* All that is left, passed or not: for the end of a pool, after a reap that waited. */
tarn__held_block *tarn__held_blocks_take_all(tarn__held_blocks *held);

/* Around a fork. The child has none of the threads that streams work with, and a copy of the memory
 * that nothing works on: what is held there has passed. Its streams are left alone. */
void tarn__held_blocks_lock(tarn__held_blocks *held);
void tarn__held_blocks_unlock(tarn__held_blocks *held);
void tarn__held_blocks_unlock_in_child(tarn__held_blocks *held);

#endif
