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

/* The treap is as deep as a logarithm, expected. */
void tarn__pool_blocks_walk(const tarn__pool_block *root,
                            void (*visit)(void *context, const tarn__pool_block *block),
                            void *context) {
  while (root != NULL) {
    tarn__pool_blocks_walk(root->low, visit, context);
    visit(context, root);
    root = root->high;
  }
}

bool tarn__pool_block_note(tarn__pool_block *block, tarn_stream *stream, tarn__pool_use *record) {
  const uint64_t capture = tarn_stream_capture(stream);
  if (stream == block->stream && capture == 0) return true;
  for (const tarn__pool_use *use = block->uses; use != NULL; use = use->next) {
    if (use->stream == stream && use->capture == capture) return true;
  }
  if (record == NULL) record = malloc(sizeof *record);
  if (record == NULL) return false;
  *record = (tarn__pool_use){.next = block->uses, .stream = stream, .capture = capture};
  tarn_stream_retain(stream);
  block->uses = record;
  return true;
}

void tarn__pool_block_unfree(tarn__pool_block *block) {
  if (block->freed.stream == NULL) return;
  TARN_ASSERT(block->uses == &block->freed); /* nobody has the block but the one who frees it */
  block->uses = block->freed.next;
  tarn_stream_release(block->freed.stream);
  block->freed = (tarn__pool_use){.stream = NULL};
}

static uint64_t capture_of(const tarn_stream *stream, uint64_t noted) {
  return !tarn_capture_is_destroyed(noted) ? noted : noted == 0 ? tarn_stream_capture(stream) : 0;
}

uint64_t tarn__pool_block_capture(const tarn__pool_block *block) {
  uint64_t capture = block->stream != NULL ? capture_of(block->stream, 0) : 0;
  for (const tarn__pool_use *use = block->uses; use != NULL && capture == 0; use = use->next) {
    capture = capture_of(use->stream, use->capture);
  }
  return capture;
}

bool tarn__pool_block_is_of(const tarn__pool_block *block, uint64_t capture) {
  const tarn__pool_use *use = block->uses;
  while (use != NULL && use->capture != capture) use = use->next;
  return use != NULL;
}

void tarn__pool_block_destroy(tarn__pool_block *block) {
  while (block->uses != NULL) {
    tarn__pool_use *gone = block->uses;
    block->uses = gone->next;
    tarn_stream_release(gone->stream);
    if (gone != &block->freed) free(gone);
  }
  tarn_stream_release(block->stream);
  free(block);
}
