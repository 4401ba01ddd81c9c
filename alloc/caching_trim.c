/* caching_trim.c: how a caching pool gives idle memory back. */
#include "alloc/caching.h"

/* Claims the whole granules inside a free block that no stream uses any more. NULL where there are
 * none, or no records to cut them out. */
static tarn__block *claim_idle_granules(tarn__caching *self, tarn__block *block) {
  const uintptr_t granule = self->machine->granularity_bytes;
  const uintptr_t start = (uintptr_t)block->address;
  const uintptr_t first = (start + granule - 1) & ~(granule - 1);
  const uintptr_t end = (start + block->size_bytes) & ~(granule - 1);
  if (end <= first) return NULL;
  tarn__heap_claim(block);
  if (first > start) {
    tarn__block *inner = tarn__block_split(block, first - start);
    tarn__heap_put_free(&self->heap, block);
    if (inner == NULL) return NULL;
    block = inner;
  }
  if (block->size_bytes > end - first) {
    tarn__block *rest = tarn__block_split(block, end - first);
    if (rest == NULL) {
      tarn__heap_put_free(&self->heap, block);
      return NULL;
    }
    tarn__heap_put_free(&self->heap, rest);
  }
  return block;
}

/* Claims idle memory until at most keep_bytes would be left; the blocks are chained by `low`. */
static tarn__block *claim_idle(tarn__caching *self, size_t keep_bytes) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  tarn__block *chain = NULL;
  size_t left_bytes = self->heap.reserved_bytes;
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (left_bytes <= keep_bytes) return chain;
      if (block->state != TARN__BLOCK_FREE) continue;
      tarn__stamps_prune(&block->stamps);
      if (block->stamps.count != 0) continue;
      if (!reserves && block->size_bytes != segment->size_bytes) continue;
      tarn__block *idle = block;
      if (reserves) {
        idle = claim_idle_granules(self, block);
      } else {
        tarn__heap_claim(block);
      }
      if (idle == NULL) continue;
      left_bytes -= idle->size_bytes;
      idle->low = chain;
      chain = idle;
      block = idle;
    }
  }
  return chain;
}

tarn_status tarn__caching_release_idle(tarn__caching *self, size_t keep_bytes,
                                       size_t *released_bytes) {
  const bool reserves = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0;
  tarn_status result = TARN_OK;
  tarn__block *chain = claim_idle(self, keep_bytes);
  while (chain != NULL) {
    tarn__block *block = chain;
    chain = block->low;
    self->stats.provider_calls++;
    tarn__caching_leave(self);
    const tarn_status status =
        reserves ? tarn_provider_decommit(self->provider, block->address, block->size_bytes)
                 : tarn_provider_free(self->provider, block->address, block->size_bytes);
    tarn__caching_return(self);
    if (status != TARN_OK) result = status;
    if (status == TARN_OK) *released_bytes += block->size_bytes;
    if (reserves && status == TARN_OK) {
      self->heap.reserved_bytes -= block->size_bytes;
      tarn__heap_put_hole(&self->heap, block);
    } else if (reserves) {
      tarn__heap_put_free(&self->heap, block);
    } else {
      tarn__heap_remove_segment(&self->heap, block->segment); /* refused or not, it is gone */
    }
  }
  tarn__caching_note_change(self);
  return result;
}

/* The last users of every free block. Without memory some are left out, and stay pending. */
static tarn__stamps pending_stamps(tarn__caching *self) {
  tarn__stamps stamps = {.count = 0};
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state != TARN__BLOCK_FREE) continue;
      const bool is_joined = tarn__stamps_join(&stamps, &block->stamps);
      (void)is_joined;
    }
  }
  return stamps;
}

void tarn__caching_observe_pending(tarn__caching *self) {
  tarn__stamps stamps = pending_stamps(self);
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  for (uint32_t index = 0; index < stamps.count; index++) {
    tarn__order_observe(tarn__stamps_at(&stamps, index), &cost);
  }
  tarn__stamps_deinit(&stamps);
  pthread_mutex_lock(&self->lock);
  tarn__caching_add_cost(self, &cost);
}

void tarn__caching_wait_for_pending(tarn__caching *self) {
  tarn__stamps stamps = pending_stamps(self);
  pthread_mutex_unlock(&self->lock);
  tarn__order_cost cost = {0};
  for (uint32_t index = 0; index < stamps.count; index++) {
    const tarn_status status = tarn__order_behind(NULL, tarn__stamps_at(&stamps, index), &cost);
    (void)status; /* a stream that cannot be waited for leaves its blocks pending */
  }
  tarn__stamps_deinit(&stamps);
  pthread_mutex_lock(&self->lock);
  tarn__caching_add_cost(self, &cost);
}
