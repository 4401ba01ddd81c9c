/* pool_blocks.c: a treap of lent blocks, and the streams that use them. */
#include "cuda/pool_blocks.h"

#include <stdlib.h>

/* A heap order over a hash of the record's address. */
static uint64_t priority(const tarn__pool_block *block) {
  uint64_t hash = (uint64_t)(uintptr_t)block;
  hash = (hash ^ (hash >> 33)) * UINT64_C(0xff51afd7ed558ccd); /* finaliser of MurmurHash3 */
  return hash ^ (hash >> 33);
}

void tarn__pool_blocks_insert(tarn__pool_block **root, tarn__pool_block *block) {
  tarn__pool_block **link = root;
  while (*link != NULL && priority(*link) >= priority(block)) {
    link = (*link)->address < block->address ? &(*link)->high : &(*link)->low;
  }
  tarn__pool_block *rest = *link; /* parted by the new address */
  tarn__pool_block **low = &block->low;
  tarn__pool_block **high = &block->high;
  *link = block;
  while (rest != NULL) {
    if (rest->address < block->address) {
      *low = rest;
      low = &rest->high;
      rest = *low;
    } else {
      *high = rest;
      high = &rest->low;
      rest = *high;
    }
  }
  *low = NULL;
  *high = NULL;
}

tarn__pool_block *tarn__pool_blocks_find(tarn__pool_block *root, const void *address) {
  const char *wanted = address;
  tarn__pool_block *found = NULL;
  while (root != NULL) {
    if (root->address <= wanted) {
      found = root;
      root = root->high;
    } else {
      root = root->low;
    }
  }
  return found != NULL && wanted - found->address < (ptrdiff_t)found->requested_bytes ? found
                                                                                      : NULL;
}

tarn__pool_block *tarn__pool_blocks_remove(tarn__pool_block **root, const void *address) {
  tarn__pool_block **link = root;
  while (*link != NULL && (*link)->address != (const char *)address) {
    link = (*link)->address < (const char *)address ? &(*link)->high : &(*link)->low;
  }
  tarn__pool_block *found = *link;
  if (found == NULL) return NULL;
  tarn__pool_block *low = found->low;
  tarn__pool_block *high = found->high;
  while (low != NULL && high != NULL) {
    if (priority(low) > priority(high)) {
      *link = low;
      link = &low->high;
      low = *link;
    } else {
      *link = high;
      link = &high->low;
      high = *link;
    }
  }
  *link = low != NULL ? low : high;
  return found;
}

bool tarn__pool_block_note(tarn__pool_block *block, tarn_stream *stream) {
  if (stream == block->stream) return true;
  for (const tarn__pool_use *use = block->uses; use != NULL; use = use->next) {
    if (use->stream == stream) return true;
  }
  tarn__pool_use *made = malloc(sizeof *made);
  if (made == NULL) return false;
  *made = (tarn__pool_use){.next = block->uses, .stream = stream};
  tarn_stream_retain(stream);
  block->uses = made;
  return true;
}

void tarn__pool_block_destroy(tarn__pool_block *block) {
  while (block->uses != NULL) {
    tarn__pool_use *gone = block->uses;
    block->uses = gone->next;
    tarn_stream_release(gone->stream);
    free(gone);
  }
  tarn_stream_release(block->stream);
  free(block);
}
