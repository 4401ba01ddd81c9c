/* test_stamps.c: small sets of stamps: one per timeline, seen ones forgotten, more on the heap. */
#include "tests/support/test.h"

#include "alloc/stamps.h"
#include "tests/support/manual_stream.h"

enum { STREAM_COUNT = 7 };

static tarn_stream *streams[STREAM_COUNT];

static int make_streams(void **state) {
  (void)state;
  for (int index = 0; index < STREAM_COUNT; index++) {
    if (manual_stream_create(&streams[index]) != TARN_OK) return 1;
  }
  return 0;
}

static int release_streams(void **state) {
  (void)state;
  for (int index = 0; index < STREAM_COUNT; index++) tarn_stream_release(streams[index]);
  return 0;
}

TEST(one_stamp_per_timeline_and_the_later_wins) {
  tarn__stamps stamps = {.count = 0};
  const tarn__stamp early = tarn__order_close_ticket(streams[0]);
  const tarn__stamp late = tarn__order_close_ticket(streams[0]);
  assert_true(tarn__stamps_add(&stamps, late));
  assert_true(tarn__stamps_add(&stamps, early));
  assert_int_equal(stamps.count, 1);
  assert_int_equal(tarn__stamps_at(&stamps, 0).ticket, late.ticket);
  tarn__stamps_deinit(&stamps);
}

TEST(many_streams_fit_and_copy) {
  tarn__stamps stamps = {.count = 0};
  tarn__stamps copy = {.count = 0};
  for (int index = 0; index < STREAM_COUNT; index++) {
    assert_true(tarn__stamps_add(&stamps, tarn__order_stamp(streams[index])));
  }
  assert_int_equal(stamps.count, STREAM_COUNT);
  assert_true(tarn__stamps_copy(&copy, &stamps));
  assert_int_equal(copy.count, STREAM_COUNT);
  for (uint32_t index = 0; index < copy.count; index++) {
    assert_int_equal(tarn__stamps_at(&copy, index).slot, tarn__order_slot(streams[index]));
  }
  tarn__stamps_deinit(&stamps);
  tarn__stamps_deinit(&copy);
}

TEST(covered_means_every_stamp) {
  tarn__stamps stamps = {.count = 0};
  assert_true(tarn__stamps_are_covered(&stamps, NULL));
  assert_true(tarn__stamps_add(&stamps, tarn__order_stamp(streams[0])));
  assert_true(tarn__stamps_are_covered(&stamps, streams[0]));
  assert_false(tarn__stamps_are_covered(&stamps, NULL));
  assert_true(tarn__stamps_add(&stamps, tarn__order_stamp(streams[1])));
  assert_false(tarn__stamps_are_covered(&stamps, streams[0]));
  tarn__order_knows(streams[0], tarn__order_close_ticket(streams[1]));
  assert_true(tarn__stamps_are_covered(&stamps, streams[0]));
  tarn__stamps_deinit(&stamps);
}

TEST(seen_stamps_are_forgotten) {
  tarn__stamps stamps = {.count = 0};
  const tarn__stamp seen = tarn__order_close_ticket(streams[2]);
  const tarn__stamp kept = tarn__order_stamp(streams[3]);
  assert_true(tarn__stamps_add(&stamps, seen));
  assert_true(tarn__stamps_add(&stamps, kept));
  tarn__order_saw(seen);
  tarn__stamps_prune(&stamps);
  assert_int_equal(stamps.count, 1);
  assert_int_equal(tarn__stamps_at(&stamps, 0).slot, kept.slot);
  tarn__stamps_deinit(&stamps);
}

TEST(a_seen_stamp_needs_no_room) {
  tarn__stamps stamps = {.count = 0};
  const tarn__stamp seen = tarn__order_close_ticket(streams[4]);
  tarn__order_saw(seen);
  assert_true(tarn__stamps_add(&stamps, seen));
  assert_int_equal(stamps.count, 0);
}

int main(void) {
  return run_listed_tests(make_streams, release_streams);
}
