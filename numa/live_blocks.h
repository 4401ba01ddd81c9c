/* live_blocks.h: which blocks are lent out, found by their start or by any address inside.
 *
 * A hash table in shards, with one entry per block under its address. A block of more than
 * TARN__LIVE_NEAR_BYTES has a second entry: with 2^L <= size < 2^(L+1), its start is the only start
 * of a block of that level in its cell of 2^L bytes. An address inside lies in that cell or one of
 * the two that follow, so three look-ups per level find the start.
 */
#ifndef TARN_NUMA_LIVE_BLOCKS_H
#define TARN_NUMA_LIVE_BLOCKS_H

#include "alloc/tarn_stream.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
  TARN__LIVE_SHARDS = 32,
  TARN__LIVE_STEP_BYTES = 64, /* every block starts at a multiple */
  TARN__LIVE_NEAR_BYTES = 4096,
  TARN__LIVE_LEVELS = 64,
};

/* A stream that used a block, or whose order a free was in. */
typedef struct tarn__block_use tarn__block_use;
struct tarn__block_use {
  tarn__block_use *next;
  tarn_stream *stream;          /* retained */
  struct tarn__held_line *line; /* for held_blocks.c */
  uint64_t ticket;
};

typedef struct tarn__live_block {
  void *address;
  size_t requested_bytes;
  size_t rounded_bytes;
  tarn__block_use *uses;
} tarn__live_block;

typedef struct tarn__live_slot {
  uint64_t key; /* 0: empty */
  tarn__live_block block;
} tarn__live_slot;

typedef struct tarn__live_shard {
  pthread_mutex_t lock;
  tarn__live_slot *slots; /* open addressing, at most 3/4 full */
  size_t capacity;        /* 0 or a power of two */
  size_t count;
} tarn__live_shard;

typedef struct tarn__live_blocks {
  tarn__live_shard shards[TARN__LIVE_SHARDS];
  atomic_size_t far_counts[TARN__LIVE_LEVELS]; /* blocks with a second entry, by level */
} tarn__live_blocks;

void tarn__live_blocks_init(tarn__live_blocks *live);
/* Forgets what is left, which should be nothing. */
void tarn__live_blocks_deinit(tarn__live_blocks *live);

/* False, with nothing changed, where there is no memory. The block's bytes are nobody else's. */
bool tarn__live_blocks_add(tarn__live_blocks *live, const tarn__live_block *block);
/* False where no block starts at `address`. */
bool tarn__live_blocks_remove(tarn__live_blocks *live, const void *address,
                              tarn__live_block *block);

/* Notes a use of the block that `address` points into. TARN_NOT_FOUND where there is none. */
tarn_status tarn__live_blocks_note_use(tarn__live_blocks *live, const void *address,
                                       tarn_stream *stream);

/* Around a fork, so that the child finds no lock closed by a thread that it does not have. */
void tarn__live_blocks_lock(tarn__live_blocks *live);
void tarn__live_blocks_unlock(tarn__live_blocks *live);

/* Adds `stream` to the list unless it is in it; false where there is no memory. */
bool tarn__block_uses_add(tarn__block_use **uses, tarn_stream *stream);
void tarn__block_uses_free(tarn__block_use *uses);

#endif
