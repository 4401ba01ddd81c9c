/* caching_snapshot.c: copies a caching pool's records under its lock. */
#include "alloc/tarn_pool_snapshot.h"

#include "alloc/magazine.h"

static tarn_block_state state_of(const tarn__block *block, uint32_t stamp_count) {
  switch (block->state) {
    case TARN__BLOCK_LIVE:
      return TARN_BLOCK_LIVE;
    case TARN__BLOCK_FREE:
      return stamp_count > 0 ? TARN_BLOCK_PENDING : TARN_BLOCK_FREE;
    case TARN__BLOCK_HOLE:
      return TARN_BLOCK_HOLE;
    case TARN__BLOCK_CLAIMED:
    case TARN__BLOCK_GROWING:
      return TARN_BLOCK_BUSY;
    case TARN__BLOCK_PAUSED:
      return TARN_BLOCK_PAUSED;
    case TARN__BLOCK_ASLEEP:
      return TARN_BLOCK_ASLEEP;
  }
  return TARN_BLOCK_BUSY;
}

/* What is seen may rise at any moment, so each stamp is asked once, and the state follows. */
static uint32_t copy_stamps(tarn_snapshot *copy, const tarn__block *block, uint64_t *capture) {
  uint32_t count = 0;
  for (uint32_t index = 0; index < block->stamps.count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(&block->stamps, index);
    if (tarn__order_is_seen(stamp)) continue;
    copy->stamps[copy->stamp_count++] =
        (tarn_snapshot_stamp){.stream = stamp.slot + 1, .ticket = stamp.ticket};
    const uint64_t number = tarn__order_capture_number(stamp.slot);
    if (*capture < number) *capture = number;
    count++;
  }
  return count;
}

static void copy_block(tarn_snapshot *copy, const tarn__caching *pool, const tarn__block *block) {
  uint64_t capture = 0;
  const uint32_t stamp_count = copy_stamps(copy, block, &capture);
  const tarn_block_state state = state_of(block, stamp_count);
  const bool is_live = state == TARN_BLOCK_LIVE || state == TARN_BLOCK_PAUSED;
  const uintptr_t start = (uintptr_t)block->address;
  const uintptr_t end = start + block->size_bytes;
  copy->blocks[copy->block_count++] =
      (tarn_snapshot_block){.address = block->address,
                            .size_bytes = block->size_bytes,
                            .requested_bytes = is_live ? block->requested_bytes : 0,
                            .paused_bytes = tarn__paused_missing_bytes(&pool->paused, start, end),
                            .capture = capture,
                            .tag = is_live ? block->tag : 0,
                            .stamp_count = stamp_count,
                            .state = state,
                            .is_first = block->left == NULL};
  if (capture != 0 && (is_live || state == TARN_BLOCK_PENDING)) {
    copy->stats.graph_bytes += block->size_bytes;
  }
  if (state != TARN_BLOCK_PENDING) return;
  copy->stats.active_bytes += block->size_bytes;
  if (capture != 0) copy->stats.captured_bytes += block->size_bytes;
}

static void count_records(const tarn__caching *pool, size_t *block_count, size_t *stamp_count) {
  *block_count = 0;
  *stamp_count = 0;
  for (tarn__segment *segment = pool->heap.segments; segment != NULL; segment = segment->next) {
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      ++*block_count;
      *stamp_count += block->stamps.count;
    }
  }
}

static void copy_pool(tarn_snapshot *copy, tarn__caching *pool) {
  tarn__caching_copy_stats(pool, &copy->stats);
  copy->stats.active_bytes = copy->stats.allocated_bytes;
  for (tarn__segment *segment = pool->heap.segments; segment != NULL; segment = segment->next) {
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      copy_block(copy, pool, block);
    }
  }
}

/* Room is made without the lock, with some to spare, until the pool fits in. */
static tarn_status copy_all(tarn__caching *pool, tarn_snapshot *copy) {
  for (;;) {
    size_t block_count = 0;
    size_t stamp_count = 0;
    pthread_mutex_lock(&pool->lock);
    tarn__magazines_empty(pool);
    count_records(pool, &block_count, &stamp_count);
    const bool fits = block_count <= copy->block_capacity && stamp_count <= copy->stamp_capacity;
    if (fits) copy_pool(copy, pool);
    tarn__magazines_open(pool);
    pthread_mutex_unlock(&pool->lock);
    if (fits) return TARN_OK;
    const tarn_status status = tarn_snapshot_reserve(copy, block_count, stamp_count);
    if (status != TARN_OK) return status;
  }
}

tarn_status tarn__caching_snapshot(void *context, tarn_snapshot *copy) {
  tarn__caching *self = context;
  tarn_budget_stats budget = {.struct_size = sizeof budget};
  tarn_status status = copy_all(self, copy);
  if (status == TARN_OK) status = tarn_budget_stats_of(self->budget, &budget);
  copy->limit_bytes = budget.limit_bytes;
  copy->floor_bytes = self->floor_bytes;
  return status;
}
