/* lent_blocks.h: what an adaptor has lent out, by address: found by its start or from inside.
 *
 * A treap: in the order of addresses, and a heap of ranks that are made of the addresses, so that
 * its depth grows with the logarithm of the blocks. The nodes are the records themselves, one
 * allocation for each, so that nothing but making a record can fail. Whoever calls holds the lock
 * that guards the tree. */
#ifndef TARN_LENT_BLOCKS_PRIVATE_H
#define TARN_LENT_BLOCKS_PRIVATE_H

#include "alloc/tarn_pool.h"

typedef struct tarn__lent {
  struct tarn__lent *lower;
  struct tarn__lent *higher;
  uint64_t rank;
  char *address;
  size_t size_bytes;      /* as the adaptor asked for it, */
  size_t requested_bytes; /* and as the adaptor was asked */
  tarn_pool *below;       /* whose block it is, and who lives as long as the adaptor */
  uint32_t tag;
  uint32_t note_count; /* of what follows */
  void *notes[];       /* the adaptor's own */
} tarn__lent;

/* `block` has its address, and no other that is there overlaps it. */
void tarn__lent_insert(tarn__lent **root, tarn__lent *block);
/* Takes out the block that begins at `address`; NULL where none does. */
tarn__lent *tarn__lent_take(tarn__lent **root, const void *address);
/* The block that `address` points into, NULL for none; and the first one behind it. */
tarn__lent *tarn__lent_find(tarn__lent *root, const void *address);
tarn__lent *tarn__lent_after(tarn__lent *root, const void *address);

#endif
