/* caching_explain.c: what a caching pool looks like when it has no memory, in numbers and words. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc/magazine.h"
#include "alloc/stream.h"
#include "alloc/tag.h"

static _Thread_local tarn_out_of_memory last_report;

const tarn_out_of_memory *tarn_last_out_of_memory(void) {
  return last_report.struct_size != 0 ? &last_report : NULL;
}

/* --- holders --- */

typedef struct tag_sums {
  size_t size_bytes[TARN_TAGS_MAX];
  size_t block_count[TARN_TAGS_MAX];
} tag_sums;

static void sum_tags(const tarn__caching *self, tag_sums *sums) {
  for (tarn__segment *segment = self->heap.segments; segment != NULL; segment = segment->next) {
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      if (block->state != TARN__BLOCK_LIVE) continue;
      sums->size_bytes[block->tag] += block->size_bytes;
      sums->block_count[block->tag]++;
    }
  }
}

/* The rows with the most bytes, in order; returns how many there are in all. */
static size_t list_holders(const tag_sums *sums, tarn_holder *holders, size_t capacity) {
  size_t count = 0;
  for (uint32_t tag = 0; tag < TARN_TAGS_MAX; tag++) {
    if (sums->block_count[tag] == 0) continue;
    size_t at = count < capacity ? count : capacity;
    count++;
    while (at > 0 && holders[at - 1].size_bytes < sums->size_bytes[tag]) {
      if (at < capacity) holders[at] = holders[at - 1];
      at--;
    }
    if (at < capacity) {
      holders[at] = (tarn_holder){
          .tag = tag, .size_bytes = sums->size_bytes[tag], .block_count = sums->block_count[tag]};
    }
  }
  return count;
}

tarn_status tarn_caching_pool_holders(tarn_pool *pool, tarn_holder *holders, size_t capacity,
                                      size_t *count) {
  if (count == NULL || (holders == NULL && capacity > 0)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "holders need rows and a count");
  }
  *count = 0;
  tarn__caching *self = tarn__caching_of(pool);
  if (self == NULL) return TARN_INVALID_ARGUMENT;
  tag_sums sums = {{0}, {0}};
  pthread_mutex_lock(&self->lock);
  tarn__magazines_empty(self);
  sum_tags(self, &sums);
  tarn__magazines_open(self);
  pthread_mutex_unlock(&self->lock);
  *count = list_holders(&sums, holders, capacity);
  return TARN_OK;
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

/* Sentences one behind the other, as long as there is room. */
typedef struct paragraph {
  char text[TARN_ERROR_MESSAGE_BYTES];
  size_t length;
} paragraph;

static TARN_PRINTF(2, 3) void say(paragraph *self, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const size_t room = sizeof self->text - self->length;
  const int length = vsnprintf(self->text + self->length, room, format, arguments);
  va_end(arguments);
  if (length > 0) self->length += (size_t)length < room ? (size_t)length : room - 1;
}

static void say_refusal(paragraph *text, const tarn_out_of_memory *report) {
  if (report->budget[0] == '\0') {
    say(text, "The provider refused: %s. ", report->cause);
  } else {
    say(text, "Budget %s is at %zu of %zu. ", report->budget, report->budget_used_bytes,
        report->budget_limit_bytes);
  }
}

static void say_rows(paragraph *text, const tarn_out_of_memory *report) {
  for (uint32_t row = 0; row < report->stream_count; row++) {
    say(text, "%s%zu on stream %" PRIu32, row == 0 ? "Pending: " : ", ",
        report->streams[row].size_bytes, report->streams[row].stream);
  }
  if (report->stream_count > 0) say(text, ". ");
  for (uint32_t row = 0; row < report->holder_count; row++) {
    const char *name = tarn_tag_name(report->holders[row].tag);
    say(text, "%s%s %zu in %zu", row == 0 ? "Held by: " : ", ", name[0] != '\0' ? name : "(no tag)",
        report->holders[row].size_bytes, report->holders[row].block_count);
  }
  if (report->holder_count > 0) say(text, ".");
}

static tarn_status say_report(const tarn_out_of_memory *report) {
  paragraph text = {.length = 0};
  say(&text, "pool %s: %zu bytes asked for", report->pool, report->asked_bytes);
  if (report->alignment_bytes > TARN__HEAP_GRANULE_BYTES) {
    say(&text, ", aligned to %zu", report->alignment_bytes);
  }
  say(&text, "; %zu live, %zu cached of which %zu pending, ", report->live_bytes,
      report->cached_bytes, report->pending_bytes);
  say(&text, "largest free range %zu, %zu reserved. ", report->largest_free_bytes,
      report->reserved_bytes);
  say_refusal(&text, report);
  say(&text, "A trim would give back %zu, a wait %zu more. ", report->trim_bytes,
      report->wait_bytes);
  say_rows(&text, report);
  return tarn_fail(TARN_OUT_OF_MEMORY, "%s", text.text);
}

tarn_status tarn__caching_explain(tarn__caching *self, const tarn__request *asked) {
  tarn_out_of_memory *report = &last_report;
  tarn__magazines_empty(self);
  const uint32_t stream = tarn_stream_number(asked->stream);
  *report = (tarn_out_of_memory){.struct_size = sizeof *report,
                                 .device = self->machine->device,
                                 .asked_bytes = asked->requested_bytes,
                                 .alignment_bytes = asked->alignment_bytes,
                                 .stream = stream,
                                 .live_bytes = self->heap.allocated_bytes,
                                 .reserved_bytes = self->heap.reserved_bytes};
  copy_name(report->pool, sizeof report->pool, tarn_budget_name(self->budget));
  copy_name(report->cause, sizeof report->cause, tarn_last_error()->message);
  report->cached_bytes = report->reserved_bytes - report->live_bytes;
  report->pending_bytes = tarn__heap_pending_bytes(&self->heap);
  size_t clean_run_bytes = 0;
  report->trim_bytes = sum_returnable(self, /*with_pending=*/false, &clean_run_bytes);
  report->wait_bytes = sum_returnable(self, /*with_pending=*/true, &report->largest_free_bytes);
  /* With a floor, other segments may go first and less in all. */
  report->wait_bytes -=
      report->wait_bytes < report->trim_bytes ? report->wait_bytes : report->trim_bytes;
  fill_budget(self, asked, report);
  list_streams(self, report);
  tag_sums sums = {{0}, {0}};
  sum_tags(self, &sums);
  for (uint32_t tag = 0; tag < TARN_TAGS_MAX; tag++) report->live_count += sums.block_count[tag];
  const size_t holder_count = list_holders(&sums, report->holders, TARN_OUT_OF_MEMORY_ROWS);
  report->holder_count =
      (uint32_t)(holder_count < TARN_OUT_OF_MEMORY_ROWS ? holder_count : TARN_OUT_OF_MEMORY_ROWS);
  tarn__magazines_open(self);
  self->stats.out_of_memory_count++;
  return say_report(report);
}
