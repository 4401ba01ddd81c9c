/* used_blocks.c: the streams that used a lent block, kept for the few blocks that have any. */
#include "numa/used_blocks.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

/* Fibonacci hashing: the high bits of the product are well mixed. */
static uint64_t mix(uintptr_t address) {
  return address * UINT64_C(0x9e3779b97f4a7c15);
}

static tarn__used_shard *shard_of(tarn__used_blocks *used, uintptr_t address) {
  return &used->shards[mix(address) >> 59];
}

static size_t home_of(const tarn__used_shard *shard, uintptr_t address) {
  return (size_t)(mix(address) >> 24) & (shard->capacity - 1);
}

/* The slot of the address, or the empty one where it would stand. The shard has capacity. */
static size_t find_slot(const tarn__used_shard *shard, uintptr_t address) {
  size_t at = home_of(shard, address);
  while (shard->slots[at].address != 0 && shard->slots[at].address != address) {
    at = (at + 1) & (shard->capacity - 1);
  }
  return at;
}

static bool grow(tarn__used_shard *shard) {
  tarn__used_shard grown = {.capacity =
                                shard->capacity == 0 ? FIRST_CAPACITY : 2 * shard->capacity};
  grown.slots = calloc(grown.capacity, sizeof *grown.slots);
  if (grown.slots == NULL) return false;
  for (size_t i = 0; i < shard->capacity; ++i) {
    const tarn__used_slot *slot = &shard->slots[i];
    if (slot->address != 0) grown.slots[find_slot(&grown, slot->address)] = *slot;
  }
  free(shard->slots);
  shard->slots = grown.slots;
  shard->capacity = grown.capacity;
  return true;
}

/* Empties a slot and moves those behind it that would no longer be found. */
static void close_gap(tarn__used_shard *shard, size_t gap) {
  const size_t mask = shard->capacity - 1;
  for (size_t at = (gap + 1) & mask; shard->slots[at].address != 0; at = (at + 1) & mask) {
    const size_t home = home_of(shard, shard->slots[at].address);
    if (((at - home) & mask) >= ((at - gap) & mask)) {
      shard->slots[gap] = shard->slots[at];
      gap = at;
    }
  }
  shard->slots[gap] = (tarn__used_slot){0};
}

void tarn__used_blocks_init(tarn__used_blocks *used) {
  for (size_t i = 0; i < TARN__USED_SHARDS; ++i) {
    used->shards[i] = (tarn__used_shard){.capacity = 0};
    pthread_mutex_init(&used->shards[i].lock, NULL);
  }
}

void tarn__used_blocks_deinit(tarn__used_blocks *used) {
  for (size_t i = 0; i < TARN__USED_SHARDS; ++i) {
    TARN_ASSERT(used->shards[i].count == 0);
    free(used->shards[i].slots);
    pthread_mutex_destroy(&used->shards[i].lock);
  }
}

bool tarn__used_blocks_note(tarn__used_blocks *used, const void *start, tarn_stream *stream) {
  const uintptr_t address = (uintptr_t)start;
  tarn__used_shard *const shard = shard_of(used, address);
  pthread_mutex_lock(&shard->lock);
  bool is_noted = 4 * (shard->count + 1) <= 3 * shard->capacity || grow(shard);
  if (is_noted) {
    tarn__used_slot *const slot = &shard->slots[find_slot(shard, address)];
    is_noted = tarn__block_uses_add(&slot->uses, stream);
    if (is_noted && slot->address == 0) {
      slot->address = address;
      ++shard->count;
    }
  }
  pthread_mutex_unlock(&shard->lock);
  return is_noted;
}

tarn__block_use *tarn__used_blocks_take(tarn__used_blocks *used, const void *start) {
  const uintptr_t address = (uintptr_t)start;
  tarn__used_shard *const shard = shard_of(used, address);
  tarn__block_use *uses = NULL;
  pthread_mutex_lock(&shard->lock);
  const size_t at = shard->capacity == 0 ? 0 : find_slot(shard, address);
  if (shard->capacity != 0 && shard->slots[at].address != 0) {
    uses = shard->slots[at].uses;
    --shard->count;
    close_gap(shard, at);
  }
  pthread_mutex_unlock(&shard->lock);
  return uses;
}

void tarn__used_blocks_lock(tarn__used_blocks *used) {
  for (size_t i = 0; i < TARN__USED_SHARDS; ++i) pthread_mutex_lock(&used->shards[i].lock);
}

void tarn__used_blocks_unlock(tarn__used_blocks *used) {
  for (size_t i = 0; i < TARN__USED_SHARDS; ++i) pthread_mutex_unlock(&used->shards[i].lock);
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
