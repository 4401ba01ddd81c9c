/* pool_snapshot.c: writes what a pool looked like as JSON, and sums it by tag. */
#include "alloc/tarn_pool_snapshot.h"

#include <inttypes.h>
#include <stdlib.h>

#include "alloc/pool.h"
#include "alloc/tag_sums.h"
#include "alloc/text.h"

/* --- room --- */

void tarn_snapshot_deinit(tarn_snapshot *snapshot) {
  free(snapshot->blocks);
  free(snapshot->stamps);
  snapshot->blocks = NULL;
  snapshot->stamps = NULL;
  snapshot->block_count = snapshot->block_capacity = 0;
  snapshot->stamp_count = snapshot->stamp_capacity = 0;
}

tarn_status tarn_snapshot_reserve(tarn_snapshot *snapshot, size_t block_count, size_t stamp_count) {
  tarn_snapshot_deinit(snapshot);
  const size_t block_capacity = block_count + block_count / 4 + 64;
  const size_t stamp_capacity = stamp_count + stamp_count / 4 + 64;
  snapshot->blocks = malloc(block_capacity * sizeof *snapshot->blocks);
  snapshot->stamps = malloc(stamp_capacity * sizeof *snapshot->stamps);
  if (snapshot->blocks == NULL || snapshot->stamps == NULL) {
    tarn_snapshot_deinit(snapshot);
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a snapshot of %zu blocks", block_count);
  }
  snapshot->block_capacity = block_capacity;
  snapshot->stamp_capacity = stamp_capacity;
  return TARN_OK;
}

static bool is_lent(const tarn_snapshot_block *block) {
  return block->state == TARN_BLOCK_LIVE || block->state == TARN_BLOCK_PAUSED;
}

size_t tarn_snapshot_holders(const tarn_snapshot *snapshot, tarn_holder *holders, size_t capacity) {
  tarn__tag_sums sums = {{0}, {0}};
  for (size_t at = 0; at < snapshot->block_count; at++) {
    const tarn_snapshot_block *block = &snapshot->blocks[at];
    if (is_lent(block)) tarn__tag_sums_add(&sums, block->tag, block->size_bytes);
  }
  return tarn__tag_sums_list(&sums, holders, capacity);
}

/* --- writing --- */

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
                   ",\"out_of_memory_count\":%" PRIu64
                   ",\"captured_bytes\":%zu,\"graph_bytes\":%zu,\"paused_bytes\":%zu},\n",
                   stats->fence_count, stats->wait_count, stats->out_of_memory_count,
                   stats->captured_bytes, stats->graph_bytes, stats->paused_bytes);
}

static void write_block(tarn__text *text, const tarn_snapshot_block *block,
                        const tarn_snapshot_stamp *stamps) {
  static const char *const names[] = {"live", "free",   "pending", "hole",
                                      "busy", "paused", "asleep"};
  tarn__text_print(text, "{\"address\":\"%p\",\"size_bytes\":%zu,\"state\":\"%s\"", block->address,
                   block->size_bytes, names[block->state]);
  if (is_lent(block)) {
    tarn__text_print(text, ",\"requested_bytes\":%zu", block->requested_bytes);
    if (block->tag != 0) {
      tarn__text_print(text, ",\"tag\":");
      tarn__text_quote(text, tarn_tag_name(block->tag));
    }
  }
  if (block->paused_bytes != 0) {
    tarn__text_print(text, ",\"paused_bytes\":%zu", block->paused_bytes);
  }
  if (block->capture != 0) tarn__text_print(text, ",\"capture\":%" PRIu64, block->capture);
  for (uint32_t index = 0; index < block->stamp_count; index++) {
    tarn__text_print(text, "%s[%" PRIu32 ",%" PRIu64 "]", index == 0 ? ",\"stamps\":[" : ",",
                     stamps[index].stream, stamps[index].ticket);
  }
  tarn__text_print(text, block->stamp_count > 0 ? "]}" : "}");
}

static size_t segment_bytes(const tarn_snapshot *self, size_t first) {
  size_t bytes = self->blocks[first].size_bytes;
  for (size_t at = first + 1; at < self->block_count && !self->blocks[at].is_first; at++) {
    bytes += self->blocks[at].size_bytes;
  }
  return bytes;
}

static void write_segments(tarn__text *text, const tarn_snapshot *self) {
  const tarn_snapshot_stamp *stamps = self->stamps;
  tarn__text_print(text, "\"segments\":[");
  for (size_t at = 0; at < self->block_count; at++) {
    const tarn_snapshot_block *block = &self->blocks[at];
    if (block->is_first) {
      tarn__text_print(text, "%s\n{\"address\":\"%p\",\"size_bytes\":%zu,\"blocks\":[\n",
                       at == 0 ? "" : "]},", block->address, segment_bytes(self, at));
    } else {
      tarn__text_print(text, ",\n");
    }
    write_block(text, block, stamps);
    stamps += block->stamp_count;
  }
  tarn__text_print(text, self->block_count > 0 ? "]}]}\n" : "]}\n");
}

/* --- asking --- */

tarn_status tarn_snapshot_take(tarn_pool *pool, tarn_snapshot *snapshot) {
  if (pool == NULL || snapshot == NULL || snapshot->struct_size != sizeof *snapshot) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a pool and a tarn_snapshot with struct_size %zu are needed",
                     sizeof *snapshot);
  }
  return tarn__pool_take_snapshot(pool, snapshot);
}

tarn_status tarn_pool_snapshot(tarn_pool *pool, tarn_write_function write, void *context) {
  if (pool == NULL || write == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a snapshot needs a pool and a function to write it");
  }
  tarn_snapshot taken = {.struct_size = sizeof taken};
  tarn_status status = tarn__pool_take_snapshot(pool, &taken);
  if (status == TARN_OK) {
    tarn__text text = {.write = write, .context = context, .status = TARN_OK};
    const tarn_device device = tarn_pool_attributes_of(pool)->device;
    tarn__text_print(&text, "{\"format\":\"tarn.snapshot\",\"version\":1,\n\"pool\":");
    tarn__text_quote(&text, tarn_pool_name(pool));
    tarn__text_print(&text, ",\"device\":{\"type\":%d,\"index\":%d},\n", device.type, device.index);
    tarn__text_print(&text, "\"limit_bytes\":%zu,\"floor_bytes\":%zu,\"lists\":\"%s\",\n",
                     taken.limit_bytes, taken.floor_bytes,
                     (taken.flags & TARN_SNAPSHOT_LENT_ONLY) != 0 ? "lent" : "all");
    write_counters(&text, &taken.stats);
    write_segments(&text, &taken);
    status = tarn__text_finish(&text);
  }
  tarn_snapshot_deinit(&taken);
  return status;
}

tarn_status tarn_pool_holders(tarn_pool *pool, tarn_holder *holders, size_t capacity,
                              size_t *count) {
  if (pool == NULL || count == NULL || (holders == NULL && capacity > 0)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "holders need a pool, rows and a count");
  }
  *count = 0;
  tarn_snapshot taken = {.struct_size = sizeof taken};
  const tarn_status status = tarn__pool_take_snapshot(pool, &taken);
  if (status == TARN_OK) *count = tarn_snapshot_holders(&taken, holders, capacity);
  tarn_snapshot_deinit(&taken);
  return status;
}
