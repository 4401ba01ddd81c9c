/* test_caching_behaviour.c: what the statistics, segments and streams of a caching pool do that
 * users of other caching allocators rely on. */
#include "tests/alloc/caching_fixture.h"

#include <pthread.h>
#include <string.h>

#include "alloc/tarn_pool_trace.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "tests/support/manual_stream.h"

/* --- statistics --- */

TEST(one_byte_counts_one_granule_and_its_free_takes_it_back) {
  tarn_pool *pool = make_segment_pool(0);
  void *kept = take(pool, 5000, NULL);
  const tarn_pool_stats before = stats_of(pool);
  void *block = take(pool, 1, NULL);
  const tarn_pool_stats during = stats_of(pool);
  assert_int_equal(during.requested_bytes, before.requested_bytes + 1);
  assert_int_equal(during.allocated_bytes, before.allocated_bytes + 256);
  assert_int_equal(during.active_bytes, before.active_bytes + 256);
  assert_int_equal(during.reserved_bytes, before.reserved_bytes);
  give(pool, block, NULL);
  const tarn_pool_stats after = stats_of(pool);
  assert_int_equal(after.allocated_bytes, before.allocated_bytes);
  assert_int_equal(after.active_bytes, before.active_bytes);
  assert_int_equal(after.reserved_bytes, before.reserved_bytes);
  give(pool, kept, NULL);
  tarn_pool_release(pool);
}

TEST(a_freed_block_is_active_until_its_stream_has_passed) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  void *block = take(pool, 1000, stream);
  work(stream);
  assert_int_equal(stats_of(pool).active_bytes, 1024);
  give(pool, block, stream);
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  assert_int_equal(stats_of(pool).active_bytes, 1024);
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(stats_of(pool).active_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(peaks_begin_again_at_what_is_there) {
  tarn_pool *pool = make_segment_pool(0);
  void *small = take(pool, 1000, NULL);
  void *large = take(pool, 9 * MIB, NULL);
  give(pool, large, NULL);
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes_peak, 9 * MIB + 1000);
  assert_int_equal(stats.reserved_bytes_peak, 12 * MIB);
  const uint64_t alloc_count = stats.alloc_count;
  assert_ok(tarn_pool_reset_peaks(pool));
  stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes_peak, stats.requested_bytes);
  assert_int_equal(stats.allocated_bytes_peak, stats.allocated_bytes);
  assert_int_equal(stats.reserved_bytes_peak, stats.reserved_bytes);
  assert_int_equal(stats.requested_bytes, 1000);
  assert_int_equal(stats.alloc_count, alloc_count); /* counts are not peaks */
  give(pool, take(pool, 500, NULL), NULL);
  assert_int_equal(stats_of(pool).requested_bytes_peak, 1500);
  give(pool, small, NULL);
  assert_status(tarn_pool_reset_peaks(NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
}

/* --- segments --- */

typedef struct segment_row {
  size_t reserved_bytes; /* before, by a reserve up front */
  size_t asked_bytes;
  size_t segment_bytes;
} segment_row;

/* The table that the header states, each row with both neighbours of its boundaries. The granules
 * of the provider are 2 MiB. */
TEST(segments_are_as_large_as_the_table_says) {
  static const segment_row rows[] = {
      {0, 1, 2 * MIB},
      {0, 2 * MIB - 1, 2 * MIB},
      {0, 2 * MIB, 2 * MIB},
      {0, 2 * MIB + 1, 4 * MIB},
      {0, 12 * MIB, 12 * MIB},
      {0, 12 * MIB + 1, 14 * MIB},
      {14 * MIB, 15 * MIB, 16 * MIB},
      /* A quarter of what is reserved, in whole granules. */
      {14 * MIB, 0, 2 * MIB},
      {16 * MIB, 0, 4 * MIB},
      {22 * MIB, 0, 4 * MIB},
      {24 * MIB, 0, 6 * MIB},
      {126 * MIB, 0, 30 * MIB},
      {128 * MIB, 0, 32 * MIB},
      {256 * MIB, 0, 32 * MIB},
      {256 * MIB, 257 * MIB, 258 * MIB},
  };
  for (size_t index = 0; index < COUNT_OF(rows); index++) {
    const segment_row *row = &rows[index];
    tarn_pool *pool = make_segment_pool(0);
    if (row->reserved_bytes > 0) {
      assert_ok(tarn_caching_pool_reserve(pool, row->reserved_bytes));
    }
    /* What is reserved is lent out whole, where the row asks for a little more. */
    void *whole = row->asked_bytes == 0 ? take(pool, row->reserved_bytes, NULL) : NULL;
    void *block = take(pool, row->asked_bytes == 0 ? 1 : row->asked_bytes, NULL);
    const size_t grown_bytes = stats_of(pool).reserved_bytes - row->reserved_bytes;
    if (grown_bytes != row->segment_bytes) {
      fail_msg("row %zu: a segment of %zu bytes, not of %zu", index, grown_bytes,
               row->segment_bytes);
    }
    give(pool, block, NULL);
    if (whole != NULL) give(pool, whole, NULL);
    tarn_pool_release(pool);
  }
}

TEST(trim_frees_whole_segments_only_and_a_live_piece_keeps_its_own) {
  tarn_pool *pool = make_segment_pool(0);
  void *first = take(pool, 2 * MIB, NULL);
  void *piece = take(pool, 4096, NULL);
  void *rest = take(pool, 2 * MIB - 4096, NULL);
  void *third = take(pool, 6 * MIB, NULL);
  give(pool, first, NULL);
  give(pool, rest, NULL);
  give(pool, third, NULL);
  size_t released = 0;
  assert_int_equal(stats_of(pool).reserved_bytes, 10 * MIB);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 8 * MIB);
  assert_int_equal(stats_of(pool).reserved_bytes, 2 * MIB);
  assert_int_equal(provided.live_bytes, 2 * MIB);
  give(pool, piece, NULL);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 2 * MIB);
  tarn_pool_release(pool);
}

static tarn_status keep_last_line(void *context, const char *text, size_t text_bytes) {
  char *last = context;
  assert_true(text_bytes > 0 && text_bytes < 512);
  memcpy(last, text, text_bytes);
  last[text_bytes] = '\0';
  return TARN_OK;
}

TEST(the_last_events_after_a_free_and_a_trim_are_those_two) {
  tarn_pool *pool = make_segment_pool(0);
  assert_ok(tarn_pool_trace_start(pool, 2));
  give(pool, take(pool, 100, NULL), NULL);
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  char text[512];
  assert_ok(tarn_pool_trace_write(pool, 0, keep_last_line, text));
  const char *begins = strchr(text, '\n') + 1;
  const char *freed = strchr(begins, '\n') + 1;
  const char *returned = strchr(freed, '\n') + 1;
  assert_int_equal(begins[0], 'm'); /* in the middle: the block was allocated before */
  assert_int_equal(freed[0], 'f');
  assert_int_equal(returned[0], 'r');
  assert_string_equal(strchr(returned, '\n'), "\n");
  tarn_pool_release(pool);
}

/* --- streams --- */

/* While the side stream still runs, another stream gets other memory where there is some; and its
 * own again, behind a wait, where there is not. */
TEST(a_block_used_aside_is_not_lent_before_that_use) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream();
  tarn_stream *side = make_stream();
  char *block = take(pool, 2 * MIB, stream);
  work(side);
  assert_ok(tarn_pool_note_use(pool, block + MIB, side)); /* anywhere inside */
  give(pool, block, stream);
  char *other = take(pool, 2 * MIB, stream);
  assert_ptr_not_equal(other, block);
  manual_called = (manual_calls){0};
  char *again = take(pool, 2 * MIB, stream);
  assert_ptr_equal(again, block);
  assert_int_equal(manual_called.waits, 1);
  /* The waiting stream moves only behind the side stream's work. */
  work(stream);
  while (manual_stream_advance(stream, 1) == 1) {
  }
  assert_int_not_equal(manual_stream_pending(stream), 0);
  assert_int_equal(manual_stream_advance(side, 1), 1);
  while (manual_stream_advance(side, 1) == 1 || manual_stream_advance(stream, 1) == 1) {
  }
  assert_int_equal(manual_stream_pending(stream), 0);
  give(pool, other, stream);
  give(pool, again, stream);
  tarn_stream_release(stream);
  tarn_stream_release(side);
  tarn_pool_release(pool);
}

TEST(a_block_used_aside_is_lent_once_that_use_was_seen) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  tarn_stream *side = make_stream();
  char *block = take(pool, 2 * MIB, stream);
  work(side);
  assert_ok(tarn_pool_note_use(pool, block, side));
  give(pool, block, stream);
  assert_ok(tarn_stream_synchronize(side));
  manual_called = (manual_calls){0};
  assert_ptr_equal(take(pool, 2 * MIB, stream), block);
  assert_int_equal(manual_called.waits + manual_called.records, 0);
  give(pool, block, stream);
  tarn_stream_release(stream);
  tarn_stream_release(side);
  tarn_pool_release(pool);
}

/* --- threads --- */

enum { THREAD_COUNT = 8, ROUND_COUNT = 400 };

static void *churn(void *argument) {
  tarn_pool *pool = argument;
  tarn_stream *stream = NULL;
  void *held[4] = {NULL};
  tarn_status status = tarn_worker_stream_create(&stream);
  for (int round = 0; status == TARN_OK && round < ROUND_COUNT; round++) {
    void **slot = &held[round * 3 % 4];
    status = tarn_pool_free(pool, *slot, stream);
    *slot = NULL;
    const size_t size_bytes = (size_t)1 << (round * 7 % 18);
    if (status == TARN_OK) status = tarn_pool_alloc(pool, size_bytes, stream, slot);
    if (status == TARN_OK) {
      status = tarn_stream_fill(stream, *slot, tarn_device_make(TARN_DEVICE_CPU, 0), (uint8_t)round,
                                size_bytes);
    }
  }
  for (int index = 0; index < 4; index++) {
    const tarn_status freed = tarn_pool_free(pool, held[index], stream);
    if (status == TARN_OK) status = freed;
  }
  tarn_stream_release(stream);
  return status == TARN_OK ? NULL : pool;
}

TEST(eight_threads_on_their_own_streams_leave_nothing_behind) {
  tarn_pool *pool = make_range_pool(0);
  pthread_t threads[THREAD_COUNT];
  for (int index = 0; index < THREAD_COUNT; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, churn, pool), 0);
  }
  for (int index = 0; index < THREAD_COUNT; index++) {
    void *failed = NULL;
    assert_int_equal(pthread_join(threads[index], &failed), 0);
    assert_null(failed);
  }
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes, 0);
  assert_int_equal(stats.allocated_bytes, 0);
  assert_int_equal(stats.alloc_count, THREAD_COUNT * ROUND_COUNT);
  assert_int_equal(stats.free_count, THREAD_COUNT * ROUND_COUNT);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
