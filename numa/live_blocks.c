/* live_blocks.c: which blocks are lent out, found by their start or by any address inside. */
#include "numa/live_blocks.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

/* Fibonacci hashing: the high bits of the product are well mixed. */
static uint64_t mix(uint64_t key) {
  return key * UINT64_C(0x9e3779b97f4a7c15);
}

static tarn__live_shard *shard_of(tarn__live_blocks *live, uint64_t key) {
  return &live->shards[mix(key) >> 59];
}

static size_t home_of(const tarn__live_shard *shard, uint64_t key) {
  return (size_t)(mix(key) >> 24) & (shard->capacity - 1);
}

static unsigned level_of(size_t size_bytes) {
  return 63u - (unsigned)__builtin_clzll(size_bytes);
}

/* User space ends far below 2^63, so that these keys are no block's address. */
static uint64_t cell_key(uint64_t cell, unsigned level) {
  return UINT64_C(1) << 63 | cell << 6 | level;
}

static uint64_t far_key(const tarn__live_block *block) {
  const unsigned level = level_of(block->rounded_bytes);
  return cell_key((uintptr_t)block->address >> level, level);
}

static bool is_far(const tarn__live_block *block) {
  return block->rounded_bytes > TARN__LIVE_NEAR_BYTES;
}

/* The slot of `key`, or the empty one where it would stand. The shard has capacity. */
static size_t find_slot(const tarn__live_shard *shard, uint64_t key) {
  size_t at = home_of(shard, key);
  while (shard->slots[at].key != 0 && shard->slots[at].key != key) {
    at = (at + 1) & (shard->capacity - 1);
  }
  return at;
}

static bool grow(tarn__live_shard *shard) {
  tarn__live_shard grown = {.capacity =
                                shard->capacity == 0 ? FIRST_CAPACITY : 2 * shard->capacity};
  grown.slots = calloc(grown.capacity, sizeof *grown.slots);
  if (grown.slots == NULL) return false;
  for (size_t i = 0; i < shard->capacity; ++i) {
    const tarn__live_slot *slot = &shard->slots[i];
    if (slot->key != 0) grown.slots[find_slot(&grown, slot->key)] = *slot;
  }
  free(shard->slots);
  shard->slots = grown.slots;
  shard->capacity = grown.capacity;
  return true;
}

static bool add_entry(tarn__live_blocks *live, uint64_t key, const tarn__live_block *block) {
  tarn__live_shard *const shard = shard_of(live, key);
  pthread_mutex_lock(&shard->lock);
  const bool has_room = 4 * (shard->count + 1) <= 3 * shard->capacity || grow(shard);
  if (has_room) {
    tarn__live_slot *const slot = &shard->slots[find_slot(shard, key)];
    TARN_ASSERT(slot->key == 0);
    *slot = (tarn__live_slot){key, *block};
    ++shard->count;
  }
  pthread_mutex_unlock(&shard->lock);
  return has_room;
}

/* Empties a slot and moves those behind it that would no longer be found. */
static void close_gap(tarn__live_shard *shard, size_t gap) {
  const size_t mask = shard->capacity - 1;
  for (size_t at = (gap + 1) & mask; shard->slots[at].key != 0; at = (at + 1) & mask) {
    const size_t home = home_of(shard, shard->slots[at].key);
    if (((at - home) & mask) >= ((at - gap) & mask)) {
      shard->slots[gap] = shard->slots[at];
      gap = at;
    }
  }
  shard->slots[gap] = (tarn__live_slot){0};
}

static bool remove_entry(tarn__live_blocks *live, uint64_t key, tarn__live_block *block) {
  tarn__live_shard *const shard = shard_of(live, key);
  pthread_mutex_lock(&shard->lock);
  const size_t at = shard->capacity == 0 ? 0 : find_slot(shard, key);
  const bool is_there = shard->capacity != 0 && shard->slots[at].key != 0;
  if (is_there) {
    *block = shard->slots[at].block;
    --shard->count;
    close_gap(shard, at);
  }
  pthread_mutex_unlock(&shard->lock);
  return is_there;
}

/* A copy of the entry; its list of uses is not to be followed. */
static bool find_entry(tarn__live_blocks *live, uint64_t key, tarn__live_block *block) {
  tarn__live_shard *const shard = shard_of(live, key);
  pthread_mutex_lock(&shard->lock);
  const size_t at = shard->capacity == 0 ? 0 : find_slot(shard, key);
  const bool is_there = shard->capacity != 0 && shard->slots[at].key != 0;
  if (is_there) *block = shard->slots[at].block;
  pthread_mutex_unlock(&shard->lock);
  return is_there;
}

void tarn__live_blocks_init(tarn__live_blocks *live) {
  for (size_t i = 0; i < TARN__LIVE_SHARDS; ++i) {
    live->shards[i] = (tarn__live_shard){.capacity = 0};
    pthread_mutex_init(&live->shards[i].lock, NULL);
  }
  for (size_t i = 0; i < TARN__LIVE_LEVELS; ++i) atomic_init(&live->far_counts[i], 0);
}

void tarn__live_blocks_deinit(tarn__live_blocks *live) {
  for (size_t i = 0; i < TARN__LIVE_SHARDS; ++i) {
    tarn__live_shard *const shard = &live->shards[i];
    TARN_ASSERT(shard->count == 0);
    free(shard->slots);
    pthread_mutex_destroy(&shard->lock);
  }
}

void tarn__live_blocks_lock(tarn__live_blocks *live) {
  for (size_t i = 0; i < TARN__LIVE_SHARDS; ++i) pthread_mutex_lock(&live->shards[i].lock);
}

void tarn__live_blocks_unlock(tarn__live_blocks *live) {
  for (size_t i = 0; i < TARN__LIVE_SHARDS; ++i) pthread_mutex_unlock(&live->shards[i].lock);
}

bool tarn__live_blocks_add(tarn__live_blocks *live, const tarn__live_block *block) {
  TARN_ASSERT(((uintptr_t)block->address & (TARN__LIVE_STEP_BYTES - 1)) == 0);
  if (!add_entry(live, (uintptr_t)block->address, block)) return false;
  if (!is_far(block)) return true;
  if (!add_entry(live, far_key(block), block)) {
    tarn__live_block taken_back;
    (void)remove_entry(live, (uintptr_t)block->address, &taken_back);
    return false;
  }
  atomic_fetch_add_explicit(&live->far_counts[level_of(block->rounded_bytes)], 1,
                            memory_order_relaxed);
  return true;
}

bool tarn__live_blocks_remove(tarn__live_blocks *live, const void *address,
                              tarn__live_block *block) {
  if (address == NULL || !remove_entry(live, (uintptr_t)address, block)) return false;
  if (is_far(block)) {
    tarn__live_block same;
    const bool is_there = remove_entry(live, far_key(block), &same);
    TARN_ASSERT(is_there && same.address == block->address);
    (void)is_there;
    atomic_fetch_sub_explicit(&live->far_counts[level_of(block->rounded_bytes)], 1,
                              memory_order_relaxed);
  }
  return true;
}

static bool holds(const tarn__live_block *block, const void *address) {
  return (uintptr_t)address - (uintptr_t)block->address < block->requested_bytes;
}

/* The start of the block that `address` points into; NULL where there is none. */
static const void *start_of(tarn__live_blocks *live, const void *address) {
  tarn__live_block block;
  const uintptr_t step = (uintptr_t)address & ~(uintptr_t)(TARN__LIVE_STEP_BYTES - 1);
  for (uintptr_t back = 0; back < TARN__LIVE_NEAR_BYTES && back < step;
       back += TARN__LIVE_STEP_BYTES) {
    /* Blocks do not overlap: the nearest start at or below is the only one that matters. */
    if (find_entry(live, step - back, &block)) {
      return holds(&block, address) ? block.address : NULL;
    }
  }
  for (unsigned level = 0; level < TARN__LIVE_LEVELS; ++level) {
    if (atomic_load_explicit(&live->far_counts[level], memory_order_relaxed) == 0) continue;
    const uint64_t cell = (uintptr_t)address >> level;
    for (uint64_t back = 0; back <= 2 && back <= cell; ++back) {
      if (find_entry(live, cell_key(cell - back, level), &block) && holds(&block, address)) {
        return block.address;
      }
    }
  }
  return NULL;
}

tarn_status tarn__live_blocks_note_use(tarn__live_blocks *live, const void *address,
                                       tarn_stream *stream) {
  const void *start = start_of(live, address);
  if (start == NULL) return tarn_fail(TARN_NOT_FOUND, "no live block holds %p", address);
  const uint64_t key = (uintptr_t)start;
  tarn__live_shard *const shard = shard_of(live, key);
  pthread_mutex_lock(&shard->lock);
  tarn__live_slot *const slot = &shard->slots[find_slot(shard, key)];
  const bool is_there = slot->key != 0;
  const bool is_added = is_there && tarn__block_uses_add(&slot->block.uses, stream);
  pthread_mutex_unlock(&shard->lock);
  if (!is_there) return tarn_fail(TARN_NOT_FOUND, "the block at %p was freed meanwhile", start);
  if (!is_added) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note a use of %p", address);
  return TARN_OK;
}

bool tarn__block_uses_add(tarn__block_use **uses, tarn_stream *stream) {
  for (const tarn__block_use *use = *uses; use != NULL; use = use->next) {
    if (use->stream == stream) return true;
  }
  tarn__block_use *made = calloc(1, sizeof *made);
  if (made == NULL) return false;
  tarn_stream_retain(stream);
  made->stream = stream;
  made->next = *uses;
  *uses = made;
  return true;
}

void tarn__block_uses_free(tarn__block_use *uses) {
  while (uses != NULL) {
    tarn__block_use *const next = uses->next;
    tarn_stream_release(uses->stream);
    free(uses);
    uses = next;
  }
}
