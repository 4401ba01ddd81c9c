/* heap.c: segments, free trees and best fit of a caching pool. */
#include "alloc/heap.h"

#include <stdlib.h>

/* Blocks looked at in one tree before it is given up: those that do not do lie behind work of other
 * streams, and beyond a few a new block costs less than the search. */
enum { PROBE_COUNT_MAX = 16 };

/* --- trees --- */

static bool is_clean_tree(const tarn__heap *heap, tarn__block *const *tree) {
  return tree >= heap->clean && tree < heap->clean + TARN__SIZE_BINS;
}

static tarn__block **tree_for(tarn__heap *heap, tarn__block *block) {
  tarn__stamps_prune(&block->stamps);
  if (block->stamps.count == 0) {
    const unsigned bin = tarn__size_bin(block->size_bytes);
    heap->clean_used[bin / 64] |= UINT64_C(1) << bin % 64;
    return &heap->clean[bin];
  }
  if (block->stamps.count > 1) return &heap->mixed;
  /* Limbo is kept apart, so that it does not spread over what a capture may use again. */
  if (tarn__order_is_limbo(tarn__stamps_at(&block->stamps, 0))) return &heap->mixed;
  const uint32_t slot = tarn__stamps_at(&block->stamps, 0).slot;
  if (heap->slot_end <= slot) heap->slot_end = slot + 1;
  return &heap->by_slot[slot];
}

void tarn__heap_claim(tarn__block *block) {
  TARN_ASSERT(block->state == TARN__BLOCK_FREE || block->state == TARN__BLOCK_HOLE);
  tarn__tree_remove(block);
  block->state = TARN__BLOCK_CLAIMED;
}

/* May two free neighbours become one without anybody losing much? Those of one kind, yes. A clean
 * block joined to a stamped one is lost to the CPU and to other streams for a while: only where it
 * is the smaller part, and never to a capture, which keeps it for long. */
static bool may_join(const tarn__heap *heap, tarn__block **tree, const tarn__block *block,
                     const tarn__block *neighbour) {
  if (neighbour == NULL || neighbour->state != TARN__BLOCK_FREE) return false;
  if (neighbour->root == &heap->mixed || tree == &heap->mixed) return false;
  const bool is_clean = is_clean_tree(heap, tree);
  const bool is_neighbour_clean = is_clean_tree(heap, neighbour->root);
  if (neighbour->root == tree || (is_clean && is_neighbour_clean)) return true;
  if (!is_clean && !is_neighbour_clean) return false;
  if (tarn__stamps_are_held(&block->stamps) || tarn__stamps_are_held(&neighbour->stamps)) {
    return false;
  }
  return is_clean ? block->size_bytes <= neighbour->size_bytes
                  : neighbour->size_bytes <= block->size_bytes;
}

tarn__block *tarn__heap_put_free(tarn__heap *heap, tarn__block *block) {
  TARN_ASSERT(block->state == TARN__BLOCK_CLAIMED && block->root == NULL);
  tarn__block **tree = tree_for(heap, block);
  if (may_join(heap, tree, block, block->right)) {
    tarn__block *right = block->right;
    tarn__tree_remove(right);
    if (!tarn__block_merge_right(block))
      tarn__tree_insert(tree_for(heap, right), right, right->size_bytes);
    tree = tree_for(heap, block);
  }
  if (may_join(heap, tree, block, block->left)) {
    tarn__block *left = block->left;
    tarn__tree_remove(left);
    if (tarn__block_merge_right(left)) {
      block = left;
      tree = tree_for(heap, block);
    } else {
      tarn__tree_insert(tree_for(heap, left), left, left->size_bytes);
    }
  }
  block->state = TARN__BLOCK_FREE;
  tarn__tree_insert(tree, block, block->size_bytes);
  return block;
}

tarn__block *tarn__heap_put_hole(tarn__heap *heap, tarn__block *block) {
  TARN_ASSERT(block->state == TARN__BLOCK_CLAIMED || block->state == TARN__BLOCK_GROWING);
  TARN_ASSERT(block->root == NULL);
  tarn__stamps_clear(&block->stamps);
  tarn__block *right = block->right;
  tarn__block *left = block->left;
  /* Without stamps a merge needs no memory. */
  if (right != NULL && right->state == TARN__BLOCK_HOLE) {
    tarn__tree_remove(right);
    const bool is_merged = tarn__block_merge_right(block);
    TARN_ASSERT(is_merged);
    (void)is_merged;
  }
  if (left != NULL && left->state == TARN__BLOCK_HOLE) {
    tarn__tree_remove(left);
    const bool is_merged = tarn__block_merge_right(left);
    TARN_ASSERT(is_merged);
    (void)is_merged;
    block = left;
  }
  block->state = TARN__BLOCK_HOLE;
  tarn__tree_insert(&heap->holes, block, block->size_bytes);
  return block;
}

/* --- segments --- */

tarn__block *tarn__heap_add_segment(tarn__heap *heap, void *address, size_t size_bytes,
                                    tarn__block_state state) {
  /* It may touch one piece more than it has room for. */
  const size_t words = heap->piece_bytes != 0 ? (size_bytes / heap->piece_bytes + 1) / 64 + 1 : 0;
  tarn__segment *segment = calloc(1, sizeof *segment + words * sizeof segment->pieces[0]);
  tarn__block *block = tarn__block_create();
  if (segment == NULL || block == NULL) {
    free(segment);
    if (block != NULL) tarn__block_destroy(block);
    return NULL;
  }
  segment->first = block;
  segment->address = address;
  segment->size_bytes = size_bytes;
  segment->next = heap->segments;
  if (segment->next != NULL) segment->next->previous = segment;
  heap->segments = segment;
  block->address = address;
  block->size_bytes = size_bytes;
  block->segment = segment;
  if (state == TARN__BLOCK_HOLE) return tarn__heap_put_hole(heap, block);
  heap->reserved_bytes += size_bytes;
  return tarn__heap_put_free(heap, block);
}

static size_t piece_of(const tarn__heap *heap, const tarn__segment *segment, uintptr_t address) {
  return address / heap->piece_bytes - (uintptr_t)segment->address / heap->piece_bytes;
}

void tarn__heap_note_pieces(const tarn__heap *heap, tarn__segment *segment, uintptr_t start,
                            uintptr_t end, bool is_committed) {
  const size_t step = heap->piece_bytes;
  if (step == 0) return;
  for (uintptr_t at = (start + step - 1) & ~(step - 1); at < end && end - at >= step; at += step) {
    const size_t piece = piece_of(heap, segment, at);
    const uint64_t bit = UINT64_C(1) << piece % 64;
    if (is_committed) {
      segment->pieces[piece / 64] |= bit;
    } else {
      segment->pieces[piece / 64] &= ~bit;
    }
  }
}

/* The addresses on both sides of it may belong to one piece. */
static bool cuts_piece(const tarn__heap *heap, const tarn__segment *segment, uintptr_t boundary) {
  if ((boundary & (heap->piece_bytes - 1)) == 0) return false;
  const size_t piece = piece_of(heap, segment, boundary);
  return (segment->pieces[piece / 64] >> piece % 64 & 1) != 0;
}

void tarn__heap_trim_pieces(const tarn__heap *heap, const tarn__segment *segment, uintptr_t *start,
                            uintptr_t *end) {
  const size_t step = heap->piece_bytes;
  if (step == 0 || *end <= *start) return;
  if (cuts_piece(heap, segment, *start)) *start = (*start + step - 1) & ~(step - 1);
  if (cuts_piece(heap, segment, *end)) *end &= ~(step - 1);
  if (*end < *start) *end = *start;
}

void tarn__heap_widen_to_pieces(const tarn__heap *heap, const tarn__segment *segment,
                                uintptr_t *start, uintptr_t *end) {
  const size_t step = heap->piece_bytes;
  if (step == 0) return;
  if (cuts_piece(heap, segment, *start)) *start &= ~(step - 1);
  if (cuts_piece(heap, segment, *end)) *end = (*end + step - 1) & ~(step - 1);
}

void tarn__heap_remove_segment(tarn__heap *heap, tarn__segment *segment) {
  for (tarn__block *block = segment->first, *right = NULL; block != NULL; block = right) {
    TARN_ASSERT(block->state != TARN__BLOCK_LIVE && block->state != TARN__BLOCK_PAUSED);
    right = block->right;
    if (block->state == TARN__BLOCK_ASLEEP) heap->asleep_bytes -= block->size_bytes;
    if (block->state != TARN__BLOCK_HOLE) heap->reserved_bytes -= block->size_bytes;
    tarn__tree_remove(block);
    tarn__block_destroy(block);
  }
  if (segment->previous != NULL) segment->previous->next = segment->next;
  if (segment->next != NULL) segment->next->previous = segment->previous;
  if (heap->segments == segment) heap->segments = segment->next;
  free(segment);
}

/* --- finding --- */

static bool is_better(const tarn__block *candidate, const tarn__block *best) {
  if (best == NULL || candidate->size_bytes != best->size_bytes) {
    return best == NULL || candidate->size_bytes < best->size_bytes;
  }
  return candidate->address < best->address;
}

static void probe(tarn__block *root, size_t size_bytes, const tarn_stream *stream,
                  tarn__block **best, tarn__block **pending) {
  tarn__block *block = tarn__tree_at_least(root, size_bytes, NULL);
  for (int count = 0; block != NULL && count < PROBE_COUNT_MAX; count++) {
    if (tarn__stamps_are_covered(&block->stamps, stream)) {
      if (is_better(block, *best)) *best = block;
      return;
    }
    if (is_better(block, *pending) && !tarn__stamps_are_held(&block->stamps)) *pending = block;
    block = tarn__tree_next(block);
  }
}

/* The best fit of all that need not wait for anybody. */
static tarn__block *find_clean(tarn__heap *heap, size_t size_bytes) {
  const unsigned first = tarn__size_bin(size_bytes);
  uint64_t used = heap->clean_used[first / 64] & UINT64_MAX << first % 64;
  for (unsigned word = first / 64;;) {
    for (; used != 0; used &= used - 1) {
      const unsigned bin = word * 64 + (unsigned)__builtin_ctzll(used);
      if (heap->clean[bin] == NULL) heap->clean_used[word] &= ~(UINT64_C(1) << bin % 64);
      tarn__block *block = tarn__tree_at_least(heap->clean[bin], size_bytes, NULL);
      if (block != NULL) return block;
    }
    if (++word == TARN__SIZE_BINS / 64) return NULL;
    used = heap->clean_used[word];
  }
}

/* What captures keep is of no use to anybody else, so a captured stream takes that first. */
static tarn__block *find_kept(tarn__heap *heap, size_t size_bytes, const tarn_stream *stream) {
  tarn__block *best = NULL;
  tarn__block *waiting = NULL;
  for (uint32_t slot = 0; slot < heap->slot_end; slot++) {
    if (heap->by_slot[slot] == NULL || !tarn__order_is_private(slot)) continue;
    probe(heap->by_slot[slot], size_bytes, stream, &best, &waiting);
  }
  /* Of two captures, of which one continues the other. */
  if (best == NULL) probe(heap->mixed, size_bytes, stream, &best, &waiting);
  return best;
}

tarn__block *tarn__heap_find(tarn__heap *heap, size_t size_bytes, const tarn_stream *stream,
                             tarn__block **pending) {
  if (tarn__order_is_captured(stream)) {
    tarn__block *kept = find_kept(heap, size_bytes, stream);
    if (kept != NULL) return kept;
  }
  tarn__block *best = NULL;
  tarn__block *waiting = NULL;
  best = find_clean(heap, size_bytes);
  const bool has_own = !tarn_stream_is_synchronous(stream);
  const uint32_t own = has_own ? tarn__order_slot(stream) : 0;
  if (has_own && own < heap->slot_end) {
    probe(heap->by_slot[own], size_bytes, stream, &best, &waiting);
  }
  /* What another stream freed comes second, though it be covered: taken from there, it is soon
   * missed, and costs a fence and a wait to get back. */
  const bool is_enough = best != NULL;
  for (uint32_t slot = 0; !is_enough && slot < heap->slot_end; slot++) {
    if (heap->by_slot[slot] == NULL || (has_own && slot == own)) continue;
    probe(heap->by_slot[slot], size_bytes, stream, &best, &waiting);
  }
  if (!is_enough) probe(heap->mixed, size_bytes, stream, &best, &waiting);
  if (pending != NULL) *pending = waiting;
  return best;
}

/* --- lending --- */

static size_t lead_bytes(const tarn__block *block, size_t alignment_bytes) {
  return (size_t)(-(uintptr_t)block->address & (alignment_bytes - 1));
}

tarn__block *tarn__heap_cut(tarn__heap *heap, tarn__block *block, size_t size_bytes,
                            size_t alignment_bytes) {
  TARN_ASSERT(block->state == TARN__BLOCK_CLAIMED);
  const size_t lead = lead_bytes(block, alignment_bytes);
  TARN_ASSERT(block->size_bytes >= lead + size_bytes);
  if (lead != 0) {
    tarn__block *aligned = tarn__block_split(block, lead);
    tarn__heap_put_free(heap, block);
    if (aligned == NULL) return NULL;
    block = aligned;
  }
  if (block->size_bytes > size_bytes) {
    tarn__block *rest = tarn__block_split(block, size_bytes);
    /* Without a record for the rest the block is lent out whole. */
    if (rest != NULL) tarn__heap_put_free(heap, rest);
  }
  return block;
}

tarn__block *tarn__heap_lend(tarn__heap *heap, tarn__block *block, size_t size_bytes,
                             size_t alignment_bytes, size_t requested_bytes) {
  block = tarn__heap_cut(heap, block, size_bytes, alignment_bytes);
  if (block == NULL) return NULL;
  tarn__stamps_prune(&block->stamps);
  if (!tarn__stamps_reserve(&block->stamps, 1) || !tarn__page_map_set(&heap->starts, block)) {
    tarn__heap_put_free(heap, block);
    return NULL;
  }
  block->state = TARN__BLOCK_LIVE;
  block->requested_bytes = requested_bytes;
  heap->requested_bytes += requested_bytes;
  heap->allocated_bytes += block->size_bytes;
  heap->live_count++;
  return block;
}

tarn__block *tarn__heap_find_aligned(tarn__heap *heap, size_t size_bytes, size_t alignment_bytes,
                                     const tarn_stream *stream) {
  tarn__block *best = NULL;
  for (tarn__segment *segment = heap->segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      const size_t lead = lead_bytes(block, alignment_bytes);
      const bool fits = block->state == TARN__BLOCK_FREE && block->size_bytes >= size_bytes &&
                        block->size_bytes - size_bytes >= lead;
      if (fits && tarn__stamps_are_covered(&block->stamps, stream) && is_better(block, best)) {
        best = block;
      }
    }
  }
  return best;
}

tarn__block *tarn__heap_live_at(tarn__heap *heap, const void *address) {
  tarn__page_leaf *leaf = tarn__page_map_leaf(&heap->starts, address);
  tarn__block *block = leaf == NULL ? NULL : tarn__page_leaf_get(leaf, address);
  return block != NULL && block->address == (const char *)address ? block : NULL;
}

tarn__block *tarn__heap_live_around(tarn__heap *heap, const void *address) {
  tarn__block *block = tarn__page_map_at_or_before(&heap->starts, address);
  return block != NULL && (const char *)address < block->address + block->size_bytes ? block : NULL;
}

void tarn__heap_take_back(tarn__heap *heap, tarn__block *block) {
  TARN_ASSERT(block->state == TARN__BLOCK_LIVE || block->state == TARN__BLOCK_PAUSED);
  if (block->state == TARN__BLOCK_LIVE) {
    tarn__page_map_clear(&heap->starts, block);
  } else {
    tarn__tree_remove(block);
  }
  heap->live_count--;
  block->state = TARN__BLOCK_CLAIMED;
  heap->requested_bytes -= block->requested_bytes;
  heap->allocated_bytes -= block->size_bytes;
  block->requested_bytes = 0;
}

static bool may_join_now(tarn__block *block, bool clean_only) {
  if (block == NULL || block->state != TARN__BLOCK_FREE) return false;
  tarn__stamps_prune(&block->stamps);
  return block->stamps.count == 0 || (!clean_only && !tarn__stamps_are_held(&block->stamps));
}

/* A run of free neighbours, as a window that slides over a segment: how many of its stamps lie on
 * each timeline that the stream is not yet behind. */
typedef struct run {
  const tarn_stream *stream;
  tarn__block *first;
  size_t size_bytes;
  uint32_t fence_count; /* timelines with such a stamp in it */
  uint32_t stamp_counts[TARN_STREAMS_MAX];
  /* By timeline: the first ticket that is not covered, asked once, since it may rise meanwhile; 0
   * before. */
  uint64_t uncovered[TARN_STREAMS_MAX];
} run;

static bool run_needs_fence(run *self, tarn__stamp stamp) {
  uint64_t *uncovered = &self->uncovered[stamp.slot];
  if (*uncovered == 0) *uncovered = tarn__order_first_uncovered(self->stream, stamp.slot);
  return stamp.ticket >= *uncovered;
}

static void run_add(run *self, const tarn__block *block) {
  self->size_bytes += block->size_bytes;
  for (uint32_t index = 0; index < block->stamps.count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(&block->stamps, index);
    if (run_needs_fence(self, stamp) && self->stamp_counts[stamp.slot]++ == 0) self->fence_count++;
  }
}

static void run_drop_first(run *self) {
  const tarn__block *block = self->first;
  self->first = block->right;
  self->size_bytes -= block->size_bytes;
  for (uint32_t index = 0; index < block->stamps.count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(&block->stamps, index);
    if (run_needs_fence(self, stamp) && --self->stamp_counts[stamp.slot] == 0) self->fence_count--;
  }
}

static bool run_fits(const run *self, size_t size_bytes, size_t alignment_bytes) {
  if (self->size_bytes == 0) return false;
  const size_t lead = lead_bytes(self->first, alignment_bytes);
  return self->size_bytes >= lead && self->size_bytes - lead >= size_bytes;
}

/* Joins the blocks from `first` to `last`; what could be joined where memory ends. */
static tarn__block *join_blocks(tarn__heap *heap, tarn__block *first, const tarn__block *last) {
  bool is_whole = true;
  tarn__tree_remove(first);
  for (bool is_last = first == last; is_whole && !is_last;) {
    tarn__block *right = first->right;
    is_last = right == last;
    tarn__tree_remove(right);
    is_whole = tarn__block_merge_right(first);
    if (!is_whole) tarn__tree_insert(tree_for(heap, right), right, right->size_bytes);
  }
  tarn__tree_insert(tree_for(heap, first), first, first->size_bytes);
  return is_whole ? first : NULL;
}

tarn__block *tarn__heap_join_run(tarn__heap *heap, size_t size_bytes, size_t alignment_bytes,
                                 const tarn_stream *stream) {
  tarn__block *best_first = NULL;
  tarn__block *best_last = NULL;
  size_t best_bytes = 0;
  uint32_t best_count = 0;
  run window = {.stream = stream};
  for (tarn__segment *segment = heap->segments; segment != NULL; segment = segment->next) {
    window.first = segment->first;
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state != TARN__BLOCK_FREE || tarn__stamps_are_held(&block->stamps)) {
        while (window.first != block) run_drop_first(&window);
        window.first = block->right;
        continue;
      }
      run_add(&window, block);
      for (; run_fits(&window, size_bytes, alignment_bytes); run_drop_first(&window)) {
        const bool is_first = best_first == NULL || window.fence_count < best_count;
        const bool is_smaller = window.fence_count == best_count && window.size_bytes < best_bytes;
        if (!is_first && !is_smaller) continue;
        best_first = window.first;
        best_last = block;
        best_bytes = window.size_bytes;
        best_count = window.fence_count;
      }
    }
    while (window.first != NULL) run_drop_first(&window);
  }
  return best_first != NULL ? join_blocks(heap, best_first, best_last) : NULL;
}

bool tarn__heap_join_all(tarn__heap *heap, bool clean_only) {
  bool is_any = false;
  for (tarn__segment *segment = heap->segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (!may_join_now(block, clean_only)) continue;
      tarn__tree_remove(block);
      while (may_join_now(block->right, clean_only)) {
        tarn__block *right = block->right;
        tarn__tree_remove(right);
        if (!tarn__block_merge_right(block)) {
          tarn__tree_insert(tree_for(heap, right), right, right->size_bytes);
          break;
        }
        is_any = true;
      }
      tarn__tree_insert(tree_for(heap, block), block, block->size_bytes);
    }
  }
  return is_any;
}

/* --- what there is --- */

size_t tarn__heap_pending_bytes(const tarn__heap *heap) {
  size_t pending = 0;
  for (tarn__segment *segment = heap->segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      const bool is_pending =
          block->state == TARN__BLOCK_FREE && !tarn__stamps_are_covered(&block->stamps, NULL);
      if (is_pending) pending += block->size_bytes;
    }
  }
  return pending;
}

size_t tarn__heap_captured_bytes(const tarn__heap *heap, size_t *live_bytes) {
  size_t captured = 0;
  *live_bytes = 0;
  for (tarn__segment *segment = heap->segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (!tarn__stamps_are_of_captures(&block->stamps)) continue;
      if (block->state == TARN__BLOCK_FREE) captured += block->size_bytes;
      const bool is_lent = block->state == TARN__BLOCK_LIVE || block->state == TARN__BLOCK_PAUSED;
      if (is_lent) *live_bytes += block->size_bytes;
    }
  }
  return captured;
}

void tarn__heap_deinit(tarn__heap *heap) {
  TARN_ASSERT(heap->segments == NULL);
  tarn__page_map_deinit(&heap->starts);
}

static void validate_block(const tarn__heap *heap, const tarn__block *block) {
  switch (block->state) {
    case TARN__BLOCK_LIVE: /* the tag may be its thread's to write, in a magazine */
      TARN_ASSERT(block->root == NULL);
      break;
    case TARN__BLOCK_FREE:
      TARN_ASSERT(block->root != NULL && block->root != &heap->holes);
      TARN_ASSERT(block->key == block->size_bytes);
      break;
    case TARN__BLOCK_HOLE:
      TARN_ASSERT(block->root == &heap->holes && block->stamps.count == 0);
      break;
    case TARN__BLOCK_PAUSED:
      TARN_ASSERT(block->root == &heap->paused && tarn__block_is_lent(block));
      break;
    case TARN__BLOCK_CLAIMED:
    case TARN__BLOCK_GROWING:
    case TARN__BLOCK_ASLEEP:
      TARN_ASSERT(block->root == NULL);
      break;
  }
}

static bool is_reserved(const tarn__block *block) {
  return block->state != TARN__BLOCK_HOLE && block->state != TARN__BLOCK_GROWING;
}

void tarn__heap_validate(const tarn__heap *heap) {
  size_t allocated = 0;
  size_t live_count = 0;
  size_t reserved = 0;
  size_t asleep = 0;
  for (tarn__segment *segment = heap->segments; segment != NULL; segment = segment->next) {
    const char *expected = segment->address;
    const tarn__block *left = NULL;
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      TARN_ASSERT(block->address == expected && block->left == left && block->size_bytes > 0);
      TARN_ASSERT(block->segment == segment);
      validate_block(heap, block);
      if (block->state == TARN__BLOCK_LIVE || block->state == TARN__BLOCK_PAUSED) {
        allocated += block->size_bytes;
        live_count++;
      }
      if (block->state == TARN__BLOCK_ASLEEP) asleep += block->size_bytes;
      if (is_reserved(block)) reserved += block->size_bytes;
      expected += block->size_bytes;
      left = block;
    }
    TARN_ASSERT(expected == segment->address + segment->size_bytes);
  }
  TARN_ASSERT(live_count == heap->live_count);
  TARN_ASSERT(allocated == heap->allocated_bytes);
  TARN_ASSERT(reserved == heap->reserved_bytes);
  TARN_ASSERT(asleep == heap->asleep_bytes && heap->paused_bytes <= reserved);
}
