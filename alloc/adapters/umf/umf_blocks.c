/* umf_blocks.c: a hash table of blocks, chained, at most as many blocks as buckets. */
#include "alloc/adapters/umf/umf_blocks.h"

#include <stdlib.h>

enum { BUCKETS_LEAST = 64 };

static tarn__umf_block **bucket_of(tarn__umf_block **buckets, size_t bucket_count,
                                   const void *address) {
  /* Fibonacci hashing: the low bits of addresses are all alike. */
  const uint64_t hash = (uint64_t)(uintptr_t)address * UINT64_C(0x9E3779B97F4A7C15);
  return &buckets[(hash >> 32) & (bucket_count - 1)];
}

bool tarn__umf_blocks_reserve(tarn__umf_blocks *blocks) {
  if (blocks->block_count < blocks->bucket_count) return true;
  const size_t count = blocks->bucket_count != 0 ? 2 * blocks->bucket_count : BUCKETS_LEAST;
  tarn__umf_block **buckets = calloc(count, sizeof *buckets);
  if (buckets == NULL) return false;
  for (size_t i = 0; i < blocks->bucket_count; i++) {
    tarn__umf_block *next = NULL;
    for (tarn__umf_block *block = blocks->buckets[i]; block != NULL; block = next) {
      next = block->next;
      tarn__umf_block **bucket = bucket_of(buckets, count, block->address);
      block->next = *bucket;
      *bucket = block;
    }
  }
  free(blocks->buckets);
  blocks->buckets = buckets;
  blocks->bucket_count = count;
  return true;
}

void tarn__umf_blocks_add(tarn__umf_blocks *blocks, tarn__umf_block *block) {
  tarn__umf_block **bucket = bucket_of(blocks->buckets, blocks->bucket_count, block->address);
  block->next = *bucket;
  *bucket = block;
  blocks->block_count++;
}

tarn__umf_block **tarn__umf_blocks_find(tarn__umf_blocks *blocks, const void *address) {
  if (blocks->bucket_count == 0) return NULL;
  tarn__umf_block **link = bucket_of(blocks->buckets, blocks->bucket_count, address);
  while (*link != NULL && (*link)->address != address) link = &(*link)->next;
  return *link != NULL ? link : NULL;
}

tarn__umf_block *tarn__umf_blocks_remove(tarn__umf_blocks *blocks, tarn__umf_block **link) {
  tarn__umf_block *block = *link;
  *link = block->next;
  blocks->block_count--;
  return block;
}

tarn__umf_block *tarn__umf_blocks_pop(tarn__umf_blocks *blocks) {
  for (size_t i = 0; i < blocks->bucket_count; i++) {
    if (blocks->buckets[i] != NULL) return tarn__umf_blocks_remove(blocks, &blocks->buckets[i]);
  }
  return NULL;
}

void tarn__umf_blocks_deinit(tarn__umf_blocks *blocks) {
  free(blocks->buckets);
  *blocks = (tarn__umf_blocks){0};
}
