/* heap_paused.c: how blocks lose their memory and get it back, as far as records go. */
#include "alloc/heap_paused.h"

void tarn__heap_pause(tarn__heap *heap, tarn__block *block, bool is_kept) {
  TARN_ASSERT(block->state == TARN__BLOCK_LIVE && tarn__block_is_lent(block));
  tarn__page_map_clear(&heap->starts, block);
  block->state = TARN__BLOCK_PAUSED;
  block->is_kept = is_kept;
  tarn__tree_insert(&heap->paused, block, /*key=*/0);
}

void tarn__heap_unpause(tarn__heap *heap, tarn__block *block) {
  TARN_ASSERT(block->state == TARN__BLOCK_PAUSED);
  tarn__tree_remove(block);
  block->state = TARN__BLOCK_LIVE;
  block->is_kept = false;
  const bool is_set = tarn__page_map_set(&heap->starts, block);
  TARN_ASSERT(is_set); /* its leaf is there */
  (void)is_set;
}

tarn__block *tarn__heap_paused_at(const tarn__heap *heap, const void *address) {
  tarn__block *block = tarn__tree_at_least(heap->paused, 0, address);
  return block != NULL && block->address == (const char *)address ? block : NULL;
}

/* By going down the tree: the last one that starts at or before the address. */
tarn__block *tarn__heap_paused_around(const tarn__heap *heap, const void *address) {
  const char *at = address;
  tarn__block *found = NULL;
  for (tarn__block *block = heap->paused; block != NULL;) {
    const bool is_before = block->address <= at;
    if (is_before) found = block;
    block = is_before ? block->high : block->low;
  }
  return found != NULL && at < found->address + found->size_bytes ? found : NULL;
}

tarn__block *tarn__heap_paused_first(const tarn__heap *heap) {
  return tarn__tree_at_least(heap->paused, 0, NULL);
}

tarn__block *tarn__heap_paused_next(const tarn__block *block) {
  return tarn__tree_next(block);
}

static bool may_join(const tarn__block *block) {
  return block != NULL && block->state == TARN__BLOCK_ASLEEP && block->stamps.count == 0;
}

tarn__block *tarn__heap_put_asleep(tarn__heap *heap, tarn__block *block) {
  TARN_ASSERT(block->state == TARN__BLOCK_CLAIMED && block->root == NULL);
  if (!tarn__stamps_are_of_captures(&block->stamps)) tarn__stamps_clear(&block->stamps);
  block->state = TARN__BLOCK_ASLEEP;
  heap->asleep_bytes += block->size_bytes;
  if (block->stamps.count != 0) return block;
  /* Without stamps a merge needs no memory. */
  bool is_merged = !may_join(block->right) || tarn__block_merge_right(block);
  TARN_ASSERT(is_merged);
  if (may_join(block->left)) {
    block = block->left;
    is_merged = tarn__block_merge_right(block);
    TARN_ASSERT(is_merged);
  }
  (void)is_merged;
  return block;
}

void tarn__heap_awake(tarn__heap *heap, tarn__block *block) {
  TARN_ASSERT(block->state == TARN__BLOCK_ASLEEP);
  heap->asleep_bytes -= block->size_bytes;
  block->state = TARN__BLOCK_CLAIMED;
}

tarn__block *tarn__heap_cut_asleep(tarn__heap *heap, tarn__block *block, uintptr_t start,
                                   uintptr_t end) {
  TARN_ASSERT(block->state == TARN__BLOCK_CLAIMED);
  if (start > (uintptr_t)block->address) {
    tarn__block *inner = tarn__block_split(block, start - (uintptr_t)block->address);
    if (inner == NULL) {
      tarn__heap_put_asleep(heap, block);
      return NULL;
    }
    tarn__heap_put_asleep(heap, block);
    block = inner;
  }
  if (end == (uintptr_t)block->address + block->size_bytes) return block;
  tarn__block *rest = tarn__block_split(block, end - (uintptr_t)block->address);
  if (rest == NULL) {
    tarn__heap_put_asleep(heap, block);
    return NULL;
  }
  tarn__heap_put_asleep(heap, rest);
  return block;
}
