/* caching_move.c: memory that lies idle is put where a caching pool needs it.
 *
 *     before   | LIVE | idle ... idle | LIVE | growing .... | hole |
 *     after    | LIVE | hole          | LIVE | the block    | hole |     reserved: the same
 *
 * What moves stays charged all the way, so no other pool of a budget's and, over a provider that
 * moves (tarn_provider_move), no other process gets it in between. */
#include "alloc/caching_poison.h"

enum { SPANS_MAX = 128 }; /* in one call of the provider's */

/* Idle blocks that one call moves. */
typedef struct moving {
  tarn_provider_span spans[SPANS_MAX];
  tarn__block *blocks[SPANS_MAX];
  size_t count;
  size_t size_bytes;
} moving;

/* As much of the block as is to come, without cutting a piece; the rest is its right neighbour.
 * NULL where nothing of it can go. */
static tarn__block *cut_to(tarn__caching *self, tarn__block *block, size_t size_bytes,
                           tarn__block **rest) {
  *rest = NULL;
  if (block->size_bytes <= size_bytes) return block;
  uintptr_t start = (uintptr_t)block->address;
  uintptr_t end = start + size_bytes;
  tarn__heap_trim_pieces(&self->heap, block->segment, &start, &end);
  if (start != (uintptr_t)block->address || end == start) return NULL;
  *rest = tarn__block_split(block, end - start);
  if (*rest == NULL) return NULL;
  (*rest)->is_going = true;
  return block;
}

/* Takes blocks off the chain for a hole of so many bytes; what does not go stays in the chain. */
static void take_blocks(tarn__caching *self, tarn__block **chain, size_t size_bytes,
                        moving *taken) {
  while (*chain != NULL && taken->size_bytes < size_bytes && taken->count < SPANS_MAX) {
    tarn__block *next = (*chain)->low;
    tarn__block *rest = NULL;
    tarn__block *block = cut_to(self, *chain, size_bytes - taken->size_bytes, &rest);
    if (block == NULL) return;
    if (rest != NULL) rest->low = next;
    *chain = rest != NULL ? rest : next;
    taken->blocks[taken->count] = block;
    taken->spans[taken->count++] = (tarn_provider_span){block->address, block->size_bytes};
    taken->size_bytes += block->size_bytes;
  }
}

static void put_back(tarn__caching *self, tarn__block *block) {
  block->is_going = false;
  tarn__heap_put_free(&self->heap, block);
}

void tarn__caching_put_back_idle(tarn__caching *self, tarn__block *chain) {
  while (chain != NULL) {
    tarn__block *block = chain;
    chain = block->low;
    put_back(self, block);
  }
}

static void note_taken(tarn__caching *self, tarn__block *block) {
  block->is_going = false;
  tarn__caching_trace(self, 'r', block->address, block->size_bytes, /*stream=*/NULL);
  tarn__caching_note_hole(self, block);
}

/* *is_refused: the provider did not take all that is idle away. */
static tarn_status commit_hole(tarn__caching *self, const tarn__request *asked, tarn__block *hole,
                               tarn__block **idle, bool *is_refused) {
  moving taken = {.count = 0};
  *is_refused = false;
  take_blocks(self, idle, hole->size_bytes, &taken);
  if (taken.count == SPANS_MAX && *idle != NULL) { /* too scattered: the rest is swapped */
    tarn__block *rest = *idle;
    *idle = NULL;
    tarn__caching_release_chain(self, rest);
  }
  const size_t fresh_bytes = hole->size_bytes - taken.size_bytes;
  tarn_status status = TARN_OK;
  if (fresh_bytes != 0) status = tarn_budget_charge(self->budget, fresh_bytes);
  if (status != TARN_OK) {
    for (size_t i = 0; i < taken.count; i++) put_back(self, taken.blocks[i]);
    return status;
  }
  self->obtaining_bytes += fresh_bytes;
  const bool moves = (self->machine->flags & TARN_PROVIDER_MOVES) != 0;
  self->stats.provider_calls += 1 + (moves ? 0 : taken.count);
  for (size_t i = 0; i < taken.count; i++) tarn__caching_watch_gone(self, taken.blocks[i]);
  size_t gone_count = 0;
  tarn__caching_leave(self);
  status = taken.count == 0 ? tarn_provider_commit(self->provider, hole->address, hole->size_bytes)
                            : tarn_provider_move(self->provider, taken.spans, taken.count,
                                                 hole->address, hole->size_bytes, &gone_count);
  tarn__caching_return(self);
  self->obtaining_bytes -= fresh_bytes;
  *is_refused = gone_count < taken.count;
  for (size_t i = 0; i < taken.count; i++) {
    tarn__block *block = taken.blocks[i];
    if (i >= gone_count) {
      tarn__caching_watch_free(self, block);
      put_back(self, block);
      continue;
    }
    if (status != TARN_OK) tarn_budget_pay_back(self->budget, block->size_bytes);
    note_taken(self, block);
  }
  if (status != TARN_OK) {
    tarn__budget_cancel(self->budget, fresh_bytes);
    return status;
  }
  tarn__caching_trace(self, 's', hole->address, hole->size_bytes, asked->stream);
  const uintptr_t start = (uintptr_t)hole->address;
  tarn__heap_note_pieces(&self->heap, hole->segment, start, start + hole->size_bytes,
                         /*is_committed=*/true);
  hole->state = TARN__BLOCK_CLAIMED;
  tarn__caching_watch_free(self, hole);
  self->heap.reserved_bytes += hole->size_bytes;
  return TARN_OK;
}

tarn_status tarn__caching_commit_hole(tarn__caching *self, const tarn__request *asked,
                                      tarn__block *hole, tarn__block **idle) {
  bool is_refused = false;
  const tarn_status status = commit_hole(self, asked, hole, idle, &is_refused);
  if (status == TARN_OK || !is_refused) return status;
  tarn__block *nothing = NULL; /* what is idle has to stay, and the pool grows all the same */
  return commit_hole(self, asked, hole, &nothing, &is_refused);
}

size_t tarn__caching_movable_bytes(const tarn__caching *self) {
  if ((self->machine->flags & TARN_PROVIDER_MOVES) == 0) return 0;
  size_t bytes = 0;
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state != TARN__BLOCK_FREE) continue;
      tarn__stamps_prune(&block->stamps);
      if (block->stamps.count == 0) bytes += tarn__caching_givable(self, block).size_bytes;
    }
  }
  return bytes;
}
