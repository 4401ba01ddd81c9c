/* pool_blocks.h: the blocks that a driver's pool has lent out, found by any address inside. */
#ifndef TARN_POOL_BLOCKS_H
#define TARN_POOL_BLOCKS_H

#include "alloc/tarn_stream.h"

/* A stream that uses a block besides the one it was lent to. */
typedef struct tarn__pool_use {
  struct tarn__pool_use *next;
  tarn_stream *stream; /* retained */
} tarn__pool_use;

/* In a treap by address. */
typedef struct tarn__pool_block {
  struct tarn__pool_block *low;
  struct tarn__pool_block *high;
  char *address;
  char *base; /* what the driver calls it: the address, or before it where that is aligned */
  size_t requested_bytes;
  size_t allocated_bytes; /* from base on */
  tarn_stream *stream;    /* it was lent to; retained; NULL: to the host */
  tarn__pool_use *uses;
} tarn__pool_block;

void tarn__pool_blocks_insert(tarn__pool_block **root, tarn__pool_block *block);
/* The block that `address` points into, or NULL. */
tarn__pool_block *tarn__pool_blocks_find(tarn__pool_block *root, const void *address);
/* Takes out the block that starts at the address; NULL where none does. */
tarn__pool_block *tarn__pool_blocks_remove(tarn__pool_block **root, const void *address);

/* Adds the stream to the block's uses, with a reference, unless it is among them or the block was
 * lent to it. False where there is no memory. */
bool tarn__pool_block_note(tarn__pool_block *block, tarn_stream *stream);
/* Lets go of the streams too. */
void tarn__pool_block_destroy(tarn__pool_block *block);

#endif
