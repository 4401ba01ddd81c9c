/* caching_paused.c: what becomes of a caching pool's blocks that have lost their memory. */
#include "alloc/caching_pause.h"

#include <stdlib.h>

#include "alloc/caching_poison.h"
#include "alloc/heap_paused.h"

static uintptr_t start_of(const tarn__block *block) {
  return (uintptr_t)block->address;
}

static uintptr_t end_of(const tarn__block *block) {
  return (uintptr_t)block->address + block->size_bytes;
}

static bool is_touched(const tarn__caching *self, const tarn__block *block) {
  return tarn__paused_touches(&self->paused, start_of(block), end_of(block));
}

/* Whole granules inside a sleeping block go for good: they are addresses for whoever grows next.
 * What the block is part of then, or the part of it that is left. */
static tarn__block *make_hole(tarn__caching *self, tarn__block *block) {
  const uintptr_t granule = self->machine->granularity_bytes;
  const uintptr_t start = (start_of(block) + granule - 1) & ~(granule - 1);
  const uintptr_t end = end_of(block) & ~(granule - 1);
  if (end <= start || block->stamps.count != 0) return block;
  /* Elsewhere there is memory, which the next resume sorts out. */
  if (!tarn__paused_lacks(&self->paused, start, end)) return block;
  /* There is, but for blocks whose turn was put off. */
  if (!tarn__paused_reserve(&self->paused, self->paused.block_count + 1)) return block;
  tarn__block *rest = block;
  tarn__heap_awake(&self->heap, block);
  block = tarn__heap_cut_asleep(&self->heap, block, start, end);
  if (block == NULL) return rest; /* no record: it sleeps on */
  tarn__caching_watch_gone(self, block);
  self->heap.reserved_bytes -= block->size_bytes;
  self->heap.paused_bytes -= block->size_bytes;
  tarn__paused_remove(&self->paused, start, end);
  return tarn__heap_put_hole(&self->heap, block);
}

static tarn__block *settle_asleep(tarn__caching *self, tarn__block *block) {
  tarn__stamps_prune(&block->stamps);
  if (is_touched(self, block)) return make_hole(self, block);
  tarn__heap_awake(&self->heap, block);
  tarn__caching_watch_free(self, block);
  return tarn__heap_put_free(&self->heap, block);
}

uint64_t tarn__caching_settle_paused(tarn__caching *self) {
  uint64_t count = 0;
  tarn__block *next = NULL;
  for (tarn__block *block = tarn__heap_paused_first(&self->heap); block != NULL; block = next) {
    next = tarn__heap_paused_next(block);
    if (is_touched(self, block)) continue;
    tarn__heap_unpause(&self->heap, block);
    self->paused.block_count--;
    count++;
  }
  if (self->heap.asleep_bytes == 0) return count;
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state == TARN__BLOCK_ASLEEP) block = settle_asleep(self, block);
    }
  }
  return count;
}

/* Cuts off what has memory after all, in granules that stayed for others, at the low end of a
 * CLAIMED block. False where there is no record for the cut. */
static bool free_low_end(tarn__caching *self, tarn__block **block, uintptr_t end) {
  if (end <= start_of(*block)) return true;
  tarn__block *rest = tarn__block_split(*block, end - start_of(*block));
  if (rest == NULL) return false;
  tarn__caching_watch_free(self, *block);
  tarn__heap_put_free(&self->heap, *block);
  *block = rest;
  return true;
}

static bool free_high_end(tarn__caching *self, tarn__block *block, uintptr_t start) {
  if (start >= end_of(block)) return true;
  tarn__block *rest = tarn__block_split(block, start - start_of(block));
  if (rest == NULL) return false;
  tarn__caching_watch_free(self, rest);
  tarn__heap_put_free(&self->heap, rest);
  return true;
}

/* What a block has of the pieces is one run, for only its ends lie in granules of others. */
static void free_ends(tarn__caching *self, tarn__block **block) {
  const tarn__paused *paused = &self->paused;
  size_t index = tarn__paused_find(paused, start_of(*block));
  const uintptr_t first = (uintptr_t)paused->pieces[index].address;
  uintptr_t last = first;
  for (; index < paused->count; index++) {
    const tarn__piece *piece = &paused->pieces[index];
    if ((uintptr_t)piece->address >= end_of(*block)) break;
    last = (uintptr_t)piece->address + piece->size_bytes;
  }
  if (free_low_end(self, block, first)) (void)free_high_end(self, *block, last);
}

void tarn__caching_free_paused(tarn__caching *self, tarn__block *block) {
  tarn__heap_take_back(&self->heap, block);
  block->is_kept = false;
  self->paused.block_count--;
  /* Without a record for a cut more of the block sleeps until the next resume. */
  free_ends(self, &block);
  block = tarn__heap_put_asleep(&self->heap, block);
  /* While memory goes or comes, what is where is the business of whoever is at it. */
  if (!self->paused.is_busy) make_hole(self, block);
}

void tarn__caching_drop_pieces(tarn__caching *self, bool is_all) {
  tarn__paused *paused = &self->paused;
  for (size_t index = paused->count; index-- > 0;) {
    tarn__piece *piece = &paused->pieces[index];
    const bool is_chosen = piece->is_chosen;
    piece->is_chosen = false;
    piece->is_fresh = false;
    if (!is_chosen || !piece->has_memory || !(is_all || piece->is_in_place)) continue;
    const uintptr_t start = (uintptr_t)piece->address;
    tarn__paused_remove(paused, start, start + piece->size_bytes);
  }
}

tarn__backup *tarn__caching_take_gone(tarn__caching *self) {
  tarn__backup *gone = self->paused.gone;
  self->paused.gone = NULL;
  return gone;
}

/* What was going may be gone, and is taken for that; what was coming is paid back already, and
 * obtained again by the next resume. Whatever the other thread had not touched is as before. */
void tarn__caching_mend_paused(tarn__caching *self) {
  for (size_t index = 0; index < self->paused.count; index++) {
    tarn__piece *piece = &self->paused.pieces[index];
    if (piece->is_moving && piece->has_memory) {
      piece->has_memory = false;
      piece->is_in_place = false;
      self->heap.paused_bytes += piece->size_bytes;
      tarn_budget_pay_back(self->budget, piece->size_bytes);
    }
    piece->is_moving = false;
    piece->is_chosen = true;
  }
  tarn__caching_drop_pieces(self, /*is_all=*/false);
  self->paused.is_busy = false;
  tarn__caching_settle_paused(self);
}

void tarn__caching_forget_paused(tarn__caching *self) {
  tarn__paused *paused = &self->paused;
  while (paused->count != 0) {
    const tarn__piece *piece = &paused->pieces[paused->count - 1];
    const uintptr_t start = (uintptr_t)piece->address;
    tarn__paused_remove(paused, start, start + piece->size_bytes);
  }
  tarn__backups_free(tarn__caching_take_gone(self), /*stream=*/NULL);
  free(paused->pieces);
}

bool tarn__caching_is_paused(void *context, const void *address) {
  tarn__caching *self = context;
  pthread_mutex_lock(&self->lock);
  const bool is_paused = tarn__heap_paused_around(&self->heap, address) != NULL;
  pthread_mutex_unlock(&self->lock);
  return is_paused;
}
