/* test_caching_decay.c: memory that was not needed for a while goes back in steps. Time is passed
 * in. */
#include "tests/alloc/caching_fixture.h"

#include "tests/support/manual_stream.h"

enum { SLICE = 1000, WINDOW = 8 * SLICE };

static tarn_pool *make_decaying(size_t floor_bytes) {
  const tarn_caching_options options = {
      .struct_size = sizeof options, .floor_bytes = floor_bytes, .decay_ns = WINDOW};
  return make_pool_with(&options);
}

/* So many segments of 2 MiB, lent out and taken back; more than 8 would make some larger. */
static void burst(tarn_pool *pool, int segment_count, tarn_stream *stream) {
  void *blocks[64];
  for (int index = 0; index < segment_count; index++) blocks[index] = take(pool, 2 * MIB, stream);
  for (int index = 0; index < segment_count; index++) give(pool, blocks[index], stream);
}

static size_t decay(tarn_pool *pool, uint64_t now_ns) {
  size_t released = 0;
  assert_ok(tarn_pool_decay(pool, now_ns, &released));
  return released;
}

TEST(what_no_window_needed_goes_in_steps) {
  tarn_pool *pool = make_decaying(0);
  assert_int_equal(decay(pool, 5000), 0); /* the clock starts */
  burst(pool, 8, NULL);
  /* The burst lies in the first slice: for a window of slices it counts as needed. */
  for (int slice = 1; slice <= 8; slice++) assert_int_equal(decay(pool, 5000 + slice * SLICE), 0);
  size_t before = stats_of(pool).reserved_bytes;
  assert_int_equal(before, 16 * MIB);
  int step_count = 0;
  for (int slice = 9; before > 0; slice++, step_count++) {
    assert_true(slice < 50);
    const size_t released = decay(pool, 5000 + slice * SLICE);
    assert_true(released > 0 && released <= before / 8 + 2 * MIB);
    before -= released;
    assert_int_equal(stats_of(pool).reserved_bytes, before);
  }
  assert_true(step_count >= 4);
  tarn_pool_release(pool);
}

TEST(what_comes_back_once_in_a_window_stays) {
  tarn_pool *pool = make_decaying(0);
  decay(pool, 0);
  for (int slice = 1; slice < 60; slice++) {
    if (slice % 6 == 0) burst(pool, 8, NULL);
    assert_int_equal(decay(pool, slice * SLICE), 0);
  }
  assert_int_equal(stats_of(pool).provider_calls, 8);
  tarn_pool_release(pool);
}

TEST(a_window_without_any_call_gives_all_of_it_back) {
  tarn_pool *pool = make_decaying(0);
  void *kept = take(pool, 2 * MIB, NULL);
  burst(pool, 7, NULL);
  decay(pool, 100);
  assert_int_equal(decay(pool, 100 + WINDOW), 14 * MIB);
  assert_int_equal(stats_of(pool).reserved_bytes, 2 * MIB);
  give(pool, kept, NULL);
  tarn_pool_release(pool);
}

TEST(decay_keeps_the_floor) {
  tarn_pool *pool = make_decaying(7 * MIB);
  burst(pool, 8, NULL);
  decay(pool, 0);
  for (int round = 1; round < 5; round++) decay(pool, (uint64_t)round * WINDOW);
  assert_int_equal(stats_of(pool).reserved_bytes, 8 * MIB);
  tarn_pool_release(pool);
}

TEST(decay_leaves_what_a_stream_may_use) {
  tarn_pool *pool = make_decaying(0);
  tarn_stream *stream = make_stream();
  decay(pool, 0);
  void *block = take(pool, 6 * MIB, stream);
  work(stream);
  give(pool, block, stream);
  decay(pool, WINDOW);
  assert_int_equal(decay(pool, 3 * WINDOW), 0);
  assert_true(manual_stream_pending(stream) > 0); /* nobody waited */
  while (manual_stream_advance(stream, 1) == 1) {
  }
  assert_int_equal(decay(pool, 4 * WINDOW), 6 * MIB);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_clock_that_goes_back_changes_nothing) {
  tarn_pool *pool = make_decaying(0);
  burst(pool, 4, NULL);
  decay(pool, 10 * WINDOW);
  assert_int_equal(decay(pool, 0), 0);
  assert_int_equal(decay(pool, 9 * WINDOW), 0);
  assert_int_equal(decay(pool, 11 * WINDOW), 8 * MIB);
  assert_status(tarn_pool_decay(NULL, 0, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
}

TEST(a_range_gives_single_granules_back) {
  tarn_pool *pool = make_range_pool(0); /* with the window that is the default */
  void *block = take(pool, 64 * MIB, NULL);
  give(pool, block, NULL);
  const size_t reserved = stats_of(pool).reserved_bytes;
  decay(pool, 0);
  const uint64_t slice_ns = UINT64_C(10000000000) / 8;
  assert_int_equal(decay(pool, slice_ns), 0);
  for (int slice = 2; slice <= 8; slice++) decay(pool, slice * slice_ns);
  const size_t released = decay(pool, 9 * slice_ns);
  assert_true(released > 0 && released <= reserved / 8 + 2 * MIB);
  assert_true(stats_of(pool).reserved_bytes + released <= reserved);
  tarn_pool_release(pool);
}

/* Each block alone is all that the lock has seen; together they were out without it. */
TEST(decay_forgets_no_peak_of_calls_without_the_lock) {
  tarn_pool *pool = make_range_pool(0);
  size_t released = 0;
  assert_ok(tarn_pool_decay(pool, 0, &released));
  give(pool, take(pool, 4096, NULL), NULL);
  give(pool, take(pool, 16384, NULL), NULL);
  void *small = take(pool, 4096, NULL);
  void *large = take(pool, 16384, NULL);
  give(pool, small, NULL);
  give(pool, large, NULL);
  assert_ok(tarn_pool_decay(pool, UINT64_MAX / 2, &released));
  assert_int_equal(stats_of(pool).allocated_bytes_peak, 4096 + 16384);
  assert_int_equal(stats_of(pool).requested_bytes_peak, 4096 + 16384);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
