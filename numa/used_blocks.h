/* used_blocks.h: the streams that used a lent block, kept for the few blocks that have any.
 *
 * A hash table in shards with one entry per such block, under its address. The block's shadow says
 * that there is an entry, so that nobody else looks.
 */
#ifndef TARN_NUMA_USED_BLOCKS_H
#define TARN_NUMA_USED_BLOCKS_H

#include "alloc/tarn_stream.h"

#include <pthread.h>

enum { TARN__USED_SHARDS = 32 };

/* A stream that used a block, or whose order a free was in. */
typedef struct tarn__block_use tarn__block_use;
struct tarn__block_use {
  tarn__block_use *next;
  tarn_stream *stream;          /* retained */
  struct tarn__held_line *line; /* for held_blocks.c */
  uint64_t ticket;
};

typedef struct tarn__used_slot {
  uintptr_t address; /* 0: empty */
  tarn__block_use *uses;
} tarn__used_slot;

typedef struct tarn__used_shard {
  pthread_mutex_t lock;
  tarn__used_slot *slots; /* open addressing, at most 3/4 full */
  size_t capacity;        /* 0 or a power of two */
  size_t count;
} tarn__used_shard;

typedef struct tarn__used_blocks {
  tarn__used_shard shards[TARN__USED_SHARDS];
} tarn__used_blocks;

void tarn__used_blocks_init(tarn__used_blocks *used);
/* Forgets what is left, which should be nothing. */
void tarn__used_blocks_deinit(tarn__used_blocks *used);

/* Notes that the stream uses the block that begins there. False where there is no memory. */
bool tarn__used_blocks_note(tarn__used_blocks *used, const void *start, tarn_stream *stream);
/* The block's uses, which are the caller's from then on; NULL where it has none. */
tarn__block_use *tarn__used_blocks_take(tarn__used_blocks *used, const void *start);

/* Around a fork, so that the child finds no lock closed by a thread that it does not have. */
void tarn__used_blocks_lock(tarn__used_blocks *used);
void tarn__used_blocks_unlock(tarn__used_blocks *used);

/* Adds `stream` to the list unless it is in it; false where there is no memory. */
bool tarn__block_uses_add(tarn__block_use **uses, tarn_stream *stream);
void tarn__block_uses_free(tarn__block_use *uses);

#endif
