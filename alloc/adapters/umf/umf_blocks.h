/* umf_blocks.h: what a UMF provider has lent out or opened, by address: a hash table.
 *
 * UMF frees by address and by a size that may not be the block's; what the memory is really is kept
 * here. The caller locks. */
#ifndef TARN_UMF_BLOCKS_H
#define TARN_UMF_BLOCKS_H

#include "alloc/tarn_storage.h"

typedef struct tarn__umf_block {
  struct tarn__umf_block *next; /* of the same bucket */
  void *address;                /* UMF's */
  size_t size_bytes;            /* as UMF asked */
  void *base;                   /* what the memory begins with, where it was lent */
  size_t base_bytes;
  tarn_storage *storage; /* a reference: the memory, where it was opened */
} tarn__umf_block;

/* A zeroed struct is empty. */
typedef struct tarn__umf_blocks {
  tarn__umf_block **buckets;
  size_t bucket_count; /* a power of two, or 0 */
  size_t block_count;
} tarn__umf_blocks;

/* Room for one more; false without memory. */
bool tarn__umf_blocks_reserve(tarn__umf_blocks *blocks);
/* Enters a block, for which there is room. */
void tarn__umf_blocks_add(tarn__umf_blocks *blocks, tarn__umf_block *block);
/* Where the block at the address is linked in; NULL for none. */
tarn__umf_block **tarn__umf_blocks_find(tarn__umf_blocks *blocks, const void *address);
/* Takes out what `link` points to. */
tarn__umf_block *tarn__umf_blocks_remove(tarn__umf_blocks *blocks, tarn__umf_block **link);
/* Takes any block out; NULL when none is left. */
tarn__umf_block *tarn__umf_blocks_pop(tarn__umf_blocks *blocks);
/* Of an empty table. */
void tarn__umf_blocks_deinit(tarn__umf_blocks *blocks);

#endif
