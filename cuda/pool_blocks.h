/* pool_blocks.h: the blocks that a driver's pool has lent out, found by any address inside. */
#ifndef TARN_POOL_BLOCKS_H
#define TARN_POOL_BLOCKS_H

#include "alloc/tarn_capture.h"
#include "alloc/tarn_stream.h"

/* A stream that uses a block besides the one it was lent to, or in a capture. */
typedef struct tarn__pool_use {
  struct tarn__pool_use *next;
  tarn_stream *stream; /* retained; NULL: none, the record is spare */
  uint64_t capture;    /* the stream was in it; 0: in none */
} tarn__pool_use;

/* In a treap by address. */
typedef struct tarn__pool_block {
  struct tarn__pool_block *low;
  struct tarn__pool_block *high;
  char *address;
  char *base; /* what the driver calls it: the address, or before it where that is aligned */
  size_t requested_bytes;
  size_t allocated_bytes; /* from base on */
  uint32_t tag;
  tarn_stream *stream; /* it was lent to; retained; NULL: to the host */
  tarn__pool_use *uses;
  tarn__pool_use freed; /* the one that the free adds, which so needs no memory */
} tarn__pool_block;

void tarn__pool_blocks_insert(tarn__pool_block **root, tarn__pool_block *block);
/* The block that `address` points into, or NULL. */
tarn__pool_block *tarn__pool_blocks_find(tarn__pool_block *root, const void *address);
/* Takes out the block that starts at the address; NULL where none does. */
tarn__pool_block *tarn__pool_blocks_remove(tarn__pool_block **root, const void *address);

/* Calls `visit` for each block, in the order of addresses. */
void tarn__pool_blocks_walk(const tarn__pool_block *root,
                            void (*visit)(void *context, const tarn__pool_block *block),
                            void *context);

/* Adds the stream to the block's uses, with a reference, unless it is among them, in the same
 * capture or none, or the block was lent to it and it is in no capture. `record` is the place to
 * note it in; NULL: one is allocated. False where there is no memory. */
bool tarn__pool_block_note(tarn__pool_block *block, tarn_stream *stream, tarn__pool_use *record);
/* Takes the use out that tarn__pool_block_note put into block->freed. */
void tarn__pool_block_unfree(tarn__pool_block *block);
/* A capture that is not destroyed and has the block, or holds a stream that had it: until that is
 * over, nobody gets behind the block's use. 0 where there is none. */
uint64_t tarn__pool_block_capture(const tarn__pool_block *block);
/* Whether one of its uses was in the capture. */
bool tarn__pool_block_is_of(const tarn__pool_block *block, uint64_t capture);
/* Lets go of the streams too. */
void tarn__pool_block_destroy(tarn__pool_block *block);

#endif
