/* caching_explain.c: what a caching pool looks like when it has no memory, in numbers and words. */
#include <string.h>

#include "alloc/magazine.h"
#include "alloc/stream.h"
#include "alloc/tag_sums.h"

/* --- holders --- */

static void list_holders(const tarn__caching *self, tarn_out_of_memory *report) {
  tarn__tag_sums sums = {{0}, {0}};
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      const bool is_lent = block->state == TARN__BLOCK_LIVE || block->state == TARN__BLOCK_PAUSED;
      if (!is_lent) continue;
      tarn__tag_sums_add(&sums, block->tag, block->size_bytes);
      report->live_count++;
    }
  }
  const size_t count = tarn__tag_sums_list(&sums, report->holders, TARN_OUT_OF_MEMORY_ROWS);
  report->holder_count =
      (uint32_t)(count < TARN_OUT_OF_MEMORY_ROWS ? count : TARN_OUT_OF_MEMORY_ROWS);
}

/* --- free memory --- */

static bool is_pending(const tarn__block *block) {
  return !tarn__stamps_are_covered(&block->stamps, /*stream=*/NULL);
}

static void sum_streams(const tarn__caching *self, size_t *by_slot) {
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      for (uint32_t index = 0; index < block->stamps.count; index++) {
        const tarn__stamp stamp = tarn__stamps_at(&block->stamps, index);
        if (block->state != TARN__BLOCK_FREE || tarn__order_is_seen(stamp)) continue;
        by_slot[stamp.slot] += block->size_bytes;
      }
    }
  }
}

static void list_streams(const tarn__caching *self, tarn_out_of_memory *report) {
  size_t by_slot[TARN_STREAMS_MAX] = {0};
  sum_streams(self, by_slot);
  for (uint32_t slot = 0; slot < TARN_STREAMS_MAX; slot++) {
    if (by_slot[slot] == 0) continue;
    uint32_t at = report->stream_count;
    if (at < TARN_OUT_OF_MEMORY_ROWS) report->stream_count++;
    for (; at > 0 && report->streams[at - 1].size_bytes < by_slot[slot]; at--) {
      if (at < TARN_OUT_OF_MEMORY_ROWS) report->streams[at] = report->streams[at - 1];
    }
    if (at == TARN_OUT_OF_MEMORY_ROWS) continue;
    report->streams[at] = (tarn_pending_stream){.stream = slot + 1, .size_bytes = by_slot[slot]};
  }
}

/* The run of free neighbours that starts at `block`: where it ends, and its bytes. Without pending
 * ones where they are not to count; never with what a capture keeps, for no wait gives that. */
static tarn__block *run_end(tarn__block *block, bool with_pending, size_t *size_bytes) {
  *size_bytes = 0;
  while (block != NULL && block->state == TARN__BLOCK_FREE &&
         (with_pending ? !tarn__stamps_are_held(&block->stamps) : !is_pending(block))) {
    *size_bytes += block->size_bytes;
    block = block->right;
  }
  return block;
}

/* What would go to the provider of such a run, while left_bytes are reserved: the floor stays. */
static size_t returnable_bytes(const tarn__caching *self, const tarn__block *first,
                               size_t size_bytes, size_t left_bytes) {
  if (left_bytes <= self->floor_bytes) return 0;
  const size_t allowed_bytes = left_bytes - self->floor_bytes;
  if ((self->machine->flags & TARN_PROVIDER_RESERVES) == 0) {
    const bool is_whole = size_bytes == first->segment->size_bytes;
    return is_whole && size_bytes <= allowed_bytes ? size_bytes : 0;
  }
  const uintptr_t granule = self->machine->granularity_bytes;
  const uintptr_t start = ((uintptr_t)first->address + granule - 1) & ~(granule - 1);
  const uintptr_t end = ((uintptr_t)first->address + size_bytes) & ~(granule - 1);
  if (end <= start) return 0;
  const size_t allowed_granules_bytes = allowed_bytes & ~(granule - 1);
  return end - start < allowed_granules_bytes ? end - start : allowed_granules_bytes;
}

/* In the order in which a trim goes through the segments. */
static size_t sum_returnable(const tarn__caching *self, bool with_pending,
                             size_t *largest_free_bytes) {
  size_t left_bytes = self->heap.reserved_bytes;
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (tarn__block *block = segment->first; block != NULL;) {
      size_t run_bytes = 0;
      tarn__block *end = run_end(block, with_pending, &run_bytes);
      if (*largest_free_bytes < run_bytes) *largest_free_bytes = run_bytes;
      left_bytes -= returnable_bytes(self, block, run_bytes, left_bytes);
      block = end != block ? end : block->right;
    }
  }
  return self->heap.reserved_bytes - left_bytes;
}

/* --- the report --- */

static void copy_name(char *to, size_t capacity, const char *name) {
  const size_t length = strnlen(name, capacity - 1);
  memcpy(to, name, length);
  to[length] = '\0';
}

static void fill_budget(const tarn__caching *self, const tarn__request *asked,
                        tarn_out_of_memory *report) {
  size_t fresh_bytes = 0;
  size_t missing_bytes = 0;
  if (!tarn__caching_fresh_bytes(self, asked, &fresh_bytes)) return;
  const tarn_budget *refuser = tarn__budget_find_refuser(self->budget, fresh_bytes, &missing_bytes);
  if (refuser == NULL) return;
  tarn_budget_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_budget_stats_of(refuser, &stats);
  (void)status; /* its arguments are right */
  copy_name(report->budget, sizeof report->budget, tarn_budget_name(refuser));
  report->budget_limit_bytes = stats.limit_bytes;
  report->budget_used_bytes = stats.used_bytes;
}

tarn_status tarn__caching_explain(tarn__caching *self, const tarn__request *asked) {
  tarn__magazines_empty(self);
  tarn_out_of_memory filled = {.struct_size = sizeof filled,
                               .device = self->machine->device,
                               .asked_bytes = asked->requested_bytes,
                               .alignment_bytes = asked->alignment_bytes,
                               .stream = tarn_stream_number(asked->stream),
                               .live_bytes = self->heap.allocated_bytes,
                               .cached_bytes = tarn__caching_spare_bytes(self),
                               .paused_bytes = self->heap.paused_bytes};
  tarn_out_of_memory *report = &filled;
  copy_name(report->pool, sizeof report->pool, tarn_budget_name(self->budget));
  copy_name(report->cause, sizeof report->cause, tarn_last_error()->message);
  report->reserved_bytes = report->live_bytes + report->cached_bytes;
  report->pending_bytes = tarn__heap_pending_bytes(&self->heap);
  size_t live_bytes = 0;
  report->graph_bytes = tarn__heap_captured_bytes(&self->heap, &live_bytes) + live_bytes;
  size_t clean_run_bytes = 0;
  report->trim_bytes = sum_returnable(self, /*with_pending=*/false, &clean_run_bytes);
  report->wait_bytes = sum_returnable(self, /*with_pending=*/true, &report->largest_free_bytes);
  /* With a floor, other segments may go first and less in all. */
  report->wait_bytes -=
      report->wait_bytes < report->trim_bytes ? report->wait_bytes : report->trim_bytes;
  fill_budget(self, asked, report);
  list_streams(self, report);
  list_holders(self, report);
  tarn__magazines_open(self);
  self->stats.out_of_memory_count++;
  return tarn_out_of_memory_report(report);
}
