/* caching_snapshot.c: copies a caching pool's records under its lock, and writes them as JSON. */
#include "alloc/tarn_caching_snapshot.h"

#include <inttypes.h>
#include <stdlib.h>

#include "alloc/magazine.h"
#include "alloc/tag.h"
#include "alloc/text.h"

typedef enum copied_state {
  COPIED_LIVE,
  COPIED_FREE,
  COPIED_PENDING,
  COPIED_HOLE,
  COPIED_BUSY,
} copied_state;

typedef struct copied_block {
  const char *address;
  size_t size_bytes;
  size_t requested_bytes;
  uint32_t tag;
  uint32_t stamp_count; /* they follow those of the block before */
  copied_state state;
  bool is_first; /* of its segment */
} copied_block;

typedef struct snapshot {
  copied_block *blocks;
  size_t block_count;
  size_t block_capacity;
  tarn__stamp *stamps;
  size_t stamp_count;
  size_t stamp_capacity;
  tarn_pool_stats stats;
  tarn_budget_stats budget;
} snapshot;

static void snapshot_deinit(snapshot *self) {
  free(self->blocks);
  free(self->stamps);
}

/* --- copying, under the lock --- */

static copied_state state_of(const tarn__block *block, uint32_t stamp_count) {
  switch (block->state) {
    case TARN__BLOCK_LIVE:
      return COPIED_LIVE;
    case TARN__BLOCK_FREE:
      return stamp_count > 0 ? COPIED_PENDING : COPIED_FREE;
    case TARN__BLOCK_HOLE:
      return COPIED_HOLE;
    case TARN__BLOCK_CLAIMED:
    case TARN__BLOCK_GROWING:
      return COPIED_BUSY;
  }
  return COPIED_BUSY;
}

/* What is seen may rise at any moment, so each stamp is asked once, and the state follows. */
static uint32_t copy_stamps(snapshot *self, const tarn__block *block) {
  uint32_t count = 0;
  for (uint32_t index = 0; index < block->stamps.count; index++) {
    const tarn__stamp stamp = tarn__stamps_at(&block->stamps, index);
    if (tarn__order_is_seen(stamp)) continue;
    self->stamps[self->stamp_count++] = stamp;
    count++;
  }
  return count;
}

static void copy_block(snapshot *self, const tarn__block *block) {
  const uint32_t stamp_count = copy_stamps(self, block);
  const copied_state state = state_of(block, stamp_count);
  const bool is_live = state == COPIED_LIVE;
  self->blocks[self->block_count++] =
      (copied_block){.address = block->address,
                     .size_bytes = block->size_bytes,
                     .requested_bytes = is_live ? block->requested_bytes : 0,
                     .tag = is_live ? block->tag : 0,
                     .stamp_count = stamp_count,
                     .state = state,
                     .is_first = block->left == NULL};
  if (state == COPIED_PENDING) self->stats.active_bytes += block->size_bytes;
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

static void copy_pool(snapshot *self, tarn__caching *pool) {
  tarn__caching_copy_stats(pool, &self->stats);
  self->stats.active_bytes = self->stats.allocated_bytes;
  for (tarn__segment *segment = pool->heap.segments; segment != NULL; segment = segment->next) {
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      copy_block(self, block);
    }
  }
}

/* Room is made without the lock, with some to spare, until the pool fits in. */
static tarn_status take_snapshot(tarn__caching *pool, snapshot *self) {
  for (;;) {
    size_t block_count = 0;
    size_t stamp_count = 0;
    pthread_mutex_lock(&pool->lock);
    tarn__magazines_empty(pool);
    count_records(pool, &block_count, &stamp_count);
    const bool fits = block_count <= self->block_capacity && stamp_count <= self->stamp_capacity;
    if (fits) copy_pool(self, pool);
    tarn__magazines_open(pool);
    pthread_mutex_unlock(&pool->lock);
    if (fits) return TARN_OK;
    snapshot_deinit(self);
    self->block_capacity = block_count + block_count / 4 + 64;
    self->stamp_capacity = stamp_count + stamp_count / 4 + 64;
    self->blocks = malloc(self->block_capacity * sizeof *self->blocks);
    self->stamps = malloc(self->stamp_capacity * sizeof *self->stamps);
    if (self->blocks == NULL || self->stamps == NULL) {
      return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a snapshot of %zu blocks", block_count);
    }
  }
}

/* --- writing, without it --- */

static void write_counters(tarn__text *text, const tarn_pool_stats *stats) {
  tarn__text_print(text,
                   "\"counters\":{\"requested_bytes\":%zu,\"allocated_bytes\":%zu,"
                   "\"active_bytes\":%zu,\"reserved_bytes\":%zu,",
                   stats->requested_bytes, stats->allocated_bytes, stats->active_bytes,
                   stats->reserved_bytes);
  tarn__text_print(text,
                   "\"requested_bytes_peak\":%zu,\"allocated_bytes_peak\":%zu,"
                   "\"reserved_bytes_peak\":%zu,",
                   stats->requested_bytes_peak, stats->allocated_bytes_peak,
                   stats->reserved_bytes_peak);
  tarn__text_print(text,
                   "\"alloc_count\":%" PRIu64 ",\"free_count\":%" PRIu64
                   ",\"provider_calls\":%" PRIu64 ",",
                   stats->alloc_count, stats->free_count, stats->provider_calls);
  tarn__text_print(text,
                   "\"fence_count\":%" PRIu64 ",\"wait_count\":%" PRIu64
                   ",\"out_of_memory_count\":%" PRIu64 "},\n",
                   stats->fence_count, stats->wait_count, stats->out_of_memory_count);
}

static void write_block(tarn__text *text, const copied_block *block, const tarn__stamp *stamps) {
  static const char *const names[] = {"live", "free", "pending", "hole", "busy"};
  tarn__text_print(text, "{\"address\":\"%p\",\"size_bytes\":%zu,\"state\":\"%s\"",
                   (const void *)block->address, block->size_bytes, names[block->state]);
  if (block->state == COPIED_LIVE) {
    tarn__text_print(text, ",\"requested_bytes\":%zu", block->requested_bytes);
    if (block->tag != 0) {
      tarn__text_print(text, ",\"tag\":");
      tarn__text_quote(text, tarn_tag_name(block->tag));
    }
  }
  for (uint32_t index = 0; index < block->stamp_count; index++) {
    tarn__text_print(text, "%s[%" PRIu32 ",%" PRIu64 "]", index == 0 ? ",\"stamps\":[" : ",",
                     stamps[index].slot + 1, stamps[index].ticket);
  }
  tarn__text_print(text, block->stamp_count > 0 ? "]}" : "}");
}

static size_t segment_bytes(const snapshot *self, size_t first) {
  size_t bytes = self->blocks[first].size_bytes;
  for (size_t at = first + 1; at < self->block_count && !self->blocks[at].is_first; at++) {
    bytes += self->blocks[at].size_bytes;
  }
  return bytes;
}

static void write_segments(tarn__text *text, const snapshot *self) {
  const tarn__stamp *stamps = self->stamps;
  tarn__text_print(text, "\"segments\":[");
  for (size_t at = 0; at < self->block_count; at++) {
    const copied_block *block = &self->blocks[at];
    if (block->is_first) {
      tarn__text_print(text, "%s\n{\"address\":\"%p\",\"size_bytes\":%zu,\"blocks\":[\n",
                       at == 0 ? "" : "]},", (const void *)block->address, segment_bytes(self, at));
    } else {
      tarn__text_print(text, ",\n");
    }
    write_block(text, block, stamps);
    stamps += block->stamp_count;
  }
  tarn__text_print(text, self->block_count > 0 ? "]}]}\n" : "]}\n");
}

tarn_status tarn_caching_pool_snapshot(tarn_pool *pool, tarn_write_function write, void *context) {
  tarn__caching *self = tarn__caching_of(pool);
  if (self == NULL) return TARN_INVALID_ARGUMENT;
  if (write == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "write is NULL");
  snapshot taken = {.blocks = NULL, .budget = {.struct_size = sizeof taken.budget}};
  tarn_status status = take_snapshot(self, &taken);
  if (status == TARN_OK) status = tarn_budget_stats_of(self->budget, &taken.budget);
  if (status == TARN_OK) {
    tarn__text text = {.write = write, .context = context, .status = TARN_OK};
    tarn__text_print(&text, "{\"format\":\"tarn.snapshot\",\"version\":1,\n\"pool\":");
    tarn__text_quote(&text, tarn_pool_name(pool));
    tarn__text_print(&text, ",\"device\":{\"type\":%d,\"index\":%d},\n", self->machine->device.type,
                     self->machine->device.index);
    tarn__text_print(&text, "\"limit_bytes\":%zu,\"floor_bytes\":%zu,\n", taken.budget.limit_bytes,
                     self->floor_bytes);
    write_counters(&text, &taken.stats);
    write_segments(&text, &taken);
    status = tarn__text_finish(&text);
  }
  snapshot_deinit(&taken);
  return status;
}
