/* test_pool_snapshot.c: what a pool of one's own may tell: snapshots, traces, peaks, and why it has
 * no memory. */
#include "tests/support/collected.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_out_of_memory.h"
#include "alloc/tarn_pool_trace.h"

/* A pool of one place. */
typedef struct place {
  char bytes[1000];
  bool is_lent;
  uint32_t tag;
  int peaks_begun;
  tarn_trace *trace;
} place;

static tarn_status place_attributes(void *context, tarn_pool_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->alignment_bytes = 1;
  return TARN_OK;
}

static tarn_status refuse(size_t size_bytes) {
  tarn_out_of_memory report = {.pool = "place",
                               .asked_bytes = size_bytes,
                               .live_bytes = 1000,
                               .live_count = 1,
                               .reserved_bytes = 1000,
                               .holder_count = 1,
                               .holders = {{.tag = 0, .size_bytes = 1000, .block_count = 1}}};
  strcpy(report.cause, "there is one place");
  const tarn_status status = tarn_fail_native(TARN_OUT_OF_MEMORY, "place", 7, "one place");
  assert_status(status, TARN_OUT_OF_MEMORY);
  return tarn_out_of_memory_report(&report);
}

static tarn_status place_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                               tarn_stream *stream, void **address) {
  place *self = context;
  (void)alignment_bytes;
  if (self->is_lent) return refuse(size_bytes);
  self->is_lent = true;
  self->tag = tarn_tag_current();
  *address = self->bytes;
  if (self->trace != NULL) tarn_trace_record(self->trace, 'a', *address, size_bytes, stream);
  return TARN_OK;
}

static tarn_status place_free(void *context, void *address, tarn_stream *stream) {
  place *self = context;
  self->is_lent = false;
  if (self->trace != NULL) tarn_trace_record(self->trace, 'f', address, 10, stream);
  return TARN_OK;
}

static tarn_status place_note_use(void *context, void *address, tarn_stream *stream) {
  (void)context, (void)address, (void)stream;
  return TARN_OK;
}

static tarn_status place_stats(void *context, tarn_pool_stats *stats) {
  (void)context;
  stats->reserved_bytes = 1000;
  return TARN_OK;
}

static void place_set_trace(void *context, tarn_trace *trace) {
  ((place *)context)->trace = trace;
}

static tarn_status place_snapshot(void *context, tarn_snapshot *snapshot) {
  place *self = context;
  assert_int_equal(snapshot->block_capacity, 0);
  const tarn_status status = tarn_snapshot_reserve(snapshot, 1, 0);
  if (status != TARN_OK) return status;
  assert_true(snapshot->block_capacity >= 1 && snapshot->block_count == 0);
  snapshot->flags = TARN_SNAPSHOT_LENT_ONLY;
  snapshot->stats.reserved_bytes = 1000;
  if (!self->is_lent) return TARN_OK;
  snapshot->blocks[snapshot->block_count++] = (tarn_snapshot_block){.address = self->bytes,
                                                                    .size_bytes = 1000,
                                                                    .requested_bytes = 10,
                                                                    .tag = self->tag,
                                                                    .state = TARN_BLOCK_LIVE,
                                                                    .is_first = true};
  return TARN_OK;
}

static tarn_status place_reset_peaks(void *context) {
  ((place *)context)->peaks_begun++;
  return TARN_OK;
}

static tarn_pool *make_place(place *self, bool tells) {
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = "place",
                             .attributes = place_attributes,
                             .alloc = place_alloc,
                             .free = place_free,
                             .note_use = place_note_use,
                             .stats = place_stats,
                             .set_trace = tells ? place_set_trace : NULL,
                             .snapshot = tells ? place_snapshot : NULL,
                             .reset_peaks = tells ? place_reset_peaks : NULL};
  tarn_pool *pool = NULL;
  assert_ok(tarn_pool_create(&ops, self, &pool));
  return pool;
}

TEST(a_snapshot_and_its_holders_are_written_of_what_the_pool_fills_in) {
  place self = {0};
  tarn_pool *pool = make_place(&self, /*tells=*/true);
  void *block = NULL;
  assert_ok(tarn_tag_push("weights"));
  assert_ok(tarn_pool_alloc(pool, 10, NULL, &block));
  tarn_tag_pop();
  tarn_snapshot taken = {.struct_size = sizeof taken};
  assert_ok(tarn_snapshot_take(pool, &taken));
  assert_int_equal(taken.block_count, 1);
  assert_ptr_equal(taken.blocks[0].address, block);
  tarn_snapshot_deinit(&taken);
  taken = (tarn_snapshot){.struct_size = 1};
  assert_status(tarn_snapshot_take(pool, &taken), TARN_INVALID_ARGUMENT);
  text_length = 0;
  assert_ok(tarn_pool_snapshot(pool, collect, NULL));
  assert_non_null(strstr(text, "\"pool\":\"place\""));
  assert_non_null(strstr(text, "\"lists\":\"lent\""));
  assert_non_null(strstr(text, "\"reserved_bytes\":1000"));
  assert_non_null(strstr(text, "\"requested_bytes\":10,\"tag\":\"weights\""));
  tarn_holder holder;
  size_t count = 0;
  assert_ok(tarn_pool_holders(pool, &holder, 1, &count));
  assert_int_equal(count, 1);
  assert_string_equal(tarn_tag_name(holder.tag), "weights");
  assert_int_equal(holder.size_bytes, 1000);
  tarn_snapshot own = {.struct_size = sizeof own};
  assert_ok(place_snapshot(&self, &own));
  assert_int_equal(tarn_snapshot_holders(&own, NULL, 0), 1);
  tarn_snapshot_deinit(&own);
  assert_null(own.blocks);
  assert_ok(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
}

TEST(a_trace_is_what_the_pool_records_and_goes_with_it) {
  place self = {0};
  tarn_pool *pool = make_place(&self, /*tells=*/true);
  void *block = NULL;
  assert_status(tarn_pool_trace_write(pool, 0, collect, NULL), TARN_NOT_FOUND);
  assert_ok(tarn_pool_trace_start(pool, 5));
  assert_ok(tarn_pool_alloc(pool, 10, NULL, &block));
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_ok(tarn_pool_trace_stop(pool));
  assert_null(self.trace);
  text_length = 0;
  assert_ok(tarn_pool_trace_write(pool, 0, collect, NULL));
  assert_non_null(strstr(text, "\na,"));
  assert_non_null(strstr(text, "\nf,"));
  assert_ok(tarn_pool_reset_peaks(pool));
  assert_int_equal(self.peaks_begun, 1);
  tarn_pool_release(pool); /* a leak checker sees whether the ring went */
}

TEST(a_refusal_is_told_in_numbers_and_words) {
  place self = {0};
  tarn_pool *pool = make_place(&self, /*tells=*/true);
  void *block = NULL, *none = NULL;
  assert_ok(tarn_pool_alloc(pool, 10, NULL, &block));
  assert_status(tarn_pool_alloc(pool, 77, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_null(none);
  assert_int_equal(tarn_last_out_of_memory()->asked_bytes, 77);
  assert_string_equal(tarn_last_out_of_memory()->pool, "place");
  assert_non_null(strstr(tarn_last_error()->message, "77 bytes asked for; 1000 live"));
  assert_non_null(strstr(tarn_last_error()->message, "there is one place"));
  assert_string_equal(tarn_last_error()->native_call, "place"); /* the cause stays */
  assert_int_equal(tarn_last_error()->native_code, 7);
  assert_ok(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
}

TEST(a_pool_that_tells_nothing_says_so) {
  place self = {0};
  tarn_pool *pool = make_place(&self, /*tells=*/false);
  size_t count = 3;
  assert_status(tarn_pool_snapshot(pool, collect, NULL), TARN_NOT_SUPPORTED);
  assert_status(tarn_pool_holders(pool, NULL, 0, &count), TARN_NOT_SUPPORTED);
  assert_int_equal(count, 0);
  assert_status(tarn_pool_trace_start(pool, 5), TARN_NOT_SUPPORTED);
  assert_status(tarn_pool_trace_stop(pool), TARN_NOT_SUPPORTED);
  assert_status(tarn_pool_trace_write(pool, 0, collect, NULL), TARN_NOT_SUPPORTED);
  assert_status(tarn_pool_reset_peaks(pool), TARN_NOT_SUPPORTED);
  assert_non_null(strstr(tarn_last_error()->message, "place"));
  assert_status(tarn_pool_reset_peaks(NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
