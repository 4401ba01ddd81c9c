/* test_capture_space.c: how much captures keep, and captures that continue earlier ones. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_capture.h"
#include "alloc/tarn_out_of_memory.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/collected.h"
#include "tests/support/manual_stream.h"

static tarn_capture *begin(tarn_stream *stream) {
  tarn_capture *capture = NULL;
  assert_ok(tarn_capture_begin(stream, &capture));
  return capture;
}

static tarn_capture *begin_after(tarn_stream *stream, const tarn_capture *earlier) {
  tarn_capture *capture = NULL;
  assert_ok(tarn_capture_begin_after(stream, earlier, &capture));
  return capture;
}

static tarn_capture_stats capture_stats_of(const tarn_capture *capture) {
  tarn_capture_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_capture_stats_of(capture, &stats));
  return stats;
}

static void assert_kept(const tarn_capture *capture, tarn_pool *pool, size_t size_bytes) {
  assert_int_equal(capture_stats_of(capture).kept_bytes, size_bytes);
  assert_int_equal(stats_of(pool).graph_bytes, size_bytes);
}

static void take_snapshot(tarn_pool *pool) {
  text_length = 0;
  assert_ok(tarn_pool_snapshot(pool, collect, NULL));
}

static void end_all(tarn_capture **captures, size_t count) {
  for (size_t index = 0; index < count; index++) assert_ok(tarn_capture_destroy(captures[index]));
}

/* --- how much --- */

TEST(what_a_capture_keeps_is_counted_once_however_it_is_used) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream(), *other = make_stream();
  void *noted = take(pool, 1 * MIB, other), *freed = take(pool, 2 * MIB, other);
  tarn_capture *capture = begin(stream);
  assert_kept(capture, pool, 0);
  void *block = take(pool, 3 * MIB, stream);
  assert_kept(capture, pool, 3 * MIB); /* lent out already */
  assert_int_equal(stats_of(pool).captured_bytes, 0);
  give(pool, block, stream);
  assert_kept(capture, pool, 3 * MIB);
  assert_int_equal(stats_of(pool).captured_bytes, 3 * MIB);
  char *part = take(pool, 1 * MIB, stream), *rest = take(pool, 2 * MIB, stream);
  assert_true(part == (char *)block || rest == (char *)block); /* what it has comes first */
  assert_kept(capture, pool, 3 * MIB);
  assert_ok(tarn_pool_note_use(pool, noted, stream));
  assert_ok(tarn_pool_note_use(pool, noted, stream));
  assert_kept(capture, pool, 4 * MIB);
  give(pool, freed, stream);
  assert_kept(capture, pool, 6 * MIB);
  give(pool, part, stream);
  give(pool, rest, NULL);
  give(pool, noted, other);
  assert_kept(capture, pool, 6 * MIB);
  assert_ok(tarn_capture_end(capture));
  assert_kept(capture, pool, 6 * MIB);
  assert_ok(tarn_capture_destroy(capture));
  assert_int_equal(stats_of(pool).graph_bytes, 0);
  capture = begin(stream); /* on the same timeline, perhaps */
  assert_kept(capture, pool, 0);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(what_a_block_grows_by_in_a_capture_is_counted_and_forgotten) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *stream = make_stream();
  tarn_capture *first = begin(stream);
  void *block = take(pool, 1 * MIB, stream);
  give(pool, block, stream);
  assert_ptr_equal(take(pool, 3 * MIB, stream), block); /* with what lies behind it */
  assert_kept(first, pool, 3 * MIB);
  give(pool, block, stream);
  assert_ok(tarn_capture_end(first));
  tarn_capture *second = begin_after(stream, first);
  assert_ptr_equal(take(pool, 6 * MIB, stream), block);
  assert_kept(first, pool, 6 * MIB); /* it has used a part, and keeps the whole */
  assert_kept(second, pool, 6 * MIB);
  give(pool, block, stream);
  tarn_pool_release(pool);
  assert_int_equal(capture_stats_of(first).kept_bytes, 0);
  assert_int_equal(capture_stats_of(second).kept_bytes, 0);
  tarn_capture *captures[] = {second, first};
  end_all(captures, 2);
  tarn_stream_release(stream);
}

TEST(captures_count_over_all_pools_and_forget_those_that_go) {
  tarn_pool *pools[] = {make_segment_pool(0), make_range_pool(0)};
  tarn_stream *stream = make_stream(), *other = make_stream();
  tarn_capture *captures[] = {begin(stream), begin(other)};
  const uint64_t numbers[] = {capture_stats_of(captures[0]).number,
                              capture_stats_of(captures[1]).number};
  assert_true(numbers[0] != 0 && numbers[0] < numbers[1]);
  void *first = take(pools[0], 1 * MIB, stream), *second = take(pools[1], 2 * MIB, stream);
  void *third = take(pools[0], 4 * MIB, other);
  assert_int_equal(capture_stats_of(captures[0]).kept_bytes, 3 * MIB);
  assert_int_equal(capture_stats_of(captures[1]).kept_bytes, 4 * MIB);
  assert_int_equal(stats_of(pools[0]).graph_bytes, 5 * MIB);
  assert_int_equal(stats_of(pools[1]).graph_bytes, 2 * MIB);
  give(pools[0], first, stream);
  give(pools[0], third, other);
  tarn_pool_release(pools[0]);
  assert_int_equal(capture_stats_of(captures[0]).kept_bytes, 2 * MIB);
  assert_int_equal(capture_stats_of(captures[1]).kept_bytes, 0);
  give(pools[1], second, stream);
  end_all(captures, 2);
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pools[1]);
}

TEST(a_snapshot_names_the_capture_of_each_block) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  tarn_capture *capture = begin(stream);
  void *block = take(pool, 3 * MIB, stream);
  char expected[64];
  snprintf(expected, sizeof expected, "\"capture\":%" PRIu64, capture_stats_of(capture).number);
  take_snapshot(pool);
  assert_non_null(strstr(text, "\"state\":\"live\""));
  assert_non_null(strstr(text, expected));
  assert_non_null(strstr(text, "\"captured_bytes\":0,\"graph_bytes\":3145728"));
  give(pool, block, stream);
  take_snapshot(pool);
  assert_non_null(strstr(text, "\"state\":\"pending\""));
  assert_non_null(strstr(text, expected));
  assert_non_null(strstr(text, "\"captured_bytes\":3145728,\"graph_bytes\":3145728"));
  assert_ok(tarn_capture_destroy(capture));
  take_snapshot(pool);
  assert_null(strstr(text, "\"capture\":"));
  assert_non_null(strstr(text, "\"captured_bytes\":0,\"graph_bytes\":0"));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(out_of_memory_says_what_captures_keep) {
  tarn_pool *pool = make_segment_pool(6 * MIB);
  tarn_stream *stream = make_stream();
  tarn_capture *capture = begin(stream);
  void *live = take(pool, 4 * MIB, stream), *freed = take(pool, 2 * MIB, stream), *none = NULL;
  give(pool, freed, stream);
  assert_status(tarn_pool_alloc(pool, 2 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(tarn_last_out_of_memory()->graph_bytes, 6 * MIB);
  assert_non_null(strstr(tarn_last_error()->message, "6291456 kept by captures"));
  give(pool, live, stream);
  assert_ok(tarn_capture_destroy(capture));
  assert_status(tarn_pool_alloc(pool, 8 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(tarn_last_out_of_memory()->graph_bytes, 0);
  assert_null(strstr(tarn_last_error()->message, "captures"));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* --- captures in a row --- */

TEST(a_later_capture_takes_what_the_earlier_one_freed_and_nothing_else) {
  tarn_pool *pool = make_segment_pool(8 * MIB);
  tarn_stream *stream = make_stream(), *other = make_stream();
  tarn_capture *first = begin(stream);
  void *kept = take(pool, 4 * MIB, stream), *scratch = take(pool, 4 * MIB, stream), *none = NULL;
  give(pool, scratch, stream);
  assert_ok(tarn_capture_end(first));
  tarn_capture *apart = begin(other);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, other, &none), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_capture_destroy(apart));
  tarn_capture *second = begin_after(other, first); /* on any stream */
  assert_ptr_equal(take(pool, 4 * MIB, other), scratch);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, other, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(capture_stats_of(first).kept_bytes, 8 * MIB);
  assert_int_equal(capture_stats_of(second).kept_bytes, 4 * MIB);
  assert_int_equal(stats_of(pool).graph_bytes, 8 * MIB); /* each byte once */
  give(pool, scratch, other);
  assert_ok(tarn_capture_end(second));
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  give(pool, kept, stream);
  assert_ok(tarn_capture_destroy(first));
  assert_ok(tarn_capture_destroy(second));
  assert_int_equal(stats_of(pool).graph_bytes, 0);
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(a_shared_block_goes_when_the_last_of_its_captures_does) {
  for (int order = 0; order < 6; order++) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    tarn_pool *pool = make_segment_pool(4 * MIB);
    tarn_stream *stream = make_stream();
    tarn_capture *captures[3] = {begin(stream), NULL, NULL};
    void *block = NULL, *none = NULL;
    for (int index = 0; index < 3; index++) {
      if (index > 0) captures[index] = begin_after(stream, captures[index - 1]);
      block = take(pool, 4 * MIB, stream);
      give(pool, block, stream);
      assert_ok(tarn_capture_end(captures[index]));
    }
    for (int index = 0; index < 3; index++) {
      assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
      assert_int_equal(stats_of(pool).captured_bytes, 4 * MIB);
      assert_ok(tarn_capture_destroy(captures[orders[order][index]]));
    }
    assert_ptr_equal(take(pool, 4 * MIB, stream), block);
    give(pool, block, stream);
    tarn_stream_release(stream);
    tarn_pool_release(pool);
    assert_int_equal(provided.live_bytes, 0);
  }
}

TEST(what_an_earlier_graph_left_may_be_freed_and_used_again_in_a_later_one) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream();
  tarn_capture *first = begin(stream);
  void *result = take(pool, 4 * MIB, stream);
  assert_ok(tarn_capture_end(first));
  tarn_capture *second = begin_after(stream, first);
  work(stream);
  give(pool, result, stream);
  assert_ptr_equal(take(pool, 4 * MIB, stream), result);
  give(pool, result, stream);
  assert_ok(tarn_capture_end(second));
  tarn_capture *captures[] = {second, first};
  end_all(captures, 2);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(what_was_used_before_the_first_capture_stays_nobodys_in_the_later_ones) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream();
  void *before = take(pool, 4 * MIB, stream), *none = NULL;
  work(stream);
  tarn_capture *first = begin(stream);
  give(pool, before, stream);
  assert_ok(tarn_capture_end(first));
  tarn_capture *second = begin_after(stream, first);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  tarn_capture *captures[] = {first, second};
  end_all(captures, 2);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(work_outside_on_what_the_earlier_one_left_is_respected) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream(), *reader = make_stream();
  tarn_capture *first = begin(stream);
  void *result = take(pool, 4 * MIB, stream), *none = NULL;
  assert_ok(tarn_capture_end(first));
  work(reader); /* reads what a launch has left */
  give(pool, result, reader);
  tarn_capture *second = begin_after(stream, first);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_stream_synchronize(reader));
  assert_ptr_equal(take(pool, 4 * MIB, stream), result);
  give(pool, result, stream);
  tarn_capture *captures[] = {first, second};
  end_all(captures, 2);
  tarn_stream_release(stream);
  tarn_stream_release(reader);
  tarn_pool_release(pool);
}

TEST(an_earlier_capture_that_is_gone_leaves_nothing_to_continue) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream(), *fork = make_stream(), *third = make_stream();
  tarn_capture *first = begin(stream);
  assert_ok(tarn_capture_end(first));
  tarn_capture *second = begin_after(stream, first);
  assert_ok(tarn_capture_destroy(first));
  tarn_capture *foreign = begin(third); /* where the first one was, perhaps */
  void *block = take(pool, 4 * MIB, third), *none = NULL;
  give(pool, block, third);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_capture_join(second, fork));
  assert_status(tarn_pool_alloc(pool, 4 * MIB, fork, &none), TARN_OUT_OF_MEMORY);
  tarn_capture *captures[] = {second, foreign};
  end_all(captures, 2);
  tarn_stream *streams[] = {stream, fork, third};
  for (size_t index = 0; index < COUNT_OF(streams); index++) tarn_stream_release(streams[index]);
  tarn_pool_release(pool);
}

TEST(all_streams_of_a_later_capture_continue_all_of_the_earlier_one) {
  tarn_pool *pool = make_segment_pool(8 * MIB);
  tarn_stream *stream = make_stream(), *fork = make_stream();
  tarn_capture *first = begin(stream);
  assert_ok(tarn_capture_join(first, fork));
  void *here = take(pool, 4 * MIB, stream), *there = take(pool, 4 * MIB, fork), *none = NULL;
  give(pool, here, stream);
  give(pool, there, fork);
  assert_status(tarn_pool_alloc(pool, 8 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_capture_end(first));
  tarn_capture *second = begin_after(stream, first);
  assert_ok(tarn_capture_join(second, fork));
  void *both[] = {take(pool, 4 * MIB, fork), take(pool, 4 * MIB, fork)};
  assert_true((both[0] == here && both[1] == there) || (both[0] == there && both[1] == here));
  give(pool, both[0], fork);
  give(pool, both[1], fork);
  tarn_capture *captures[] = {second, first};
  end_all(captures, 2);
  tarn_stream_release(stream);
  tarn_stream_release(fork);
  tarn_pool_release(pool);
}

TEST(recapturing_in_a_row_keeps_no_more_than_the_largest_needs) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  tarn_capture *captures[20];
  for (size_t index = 0; index < COUNT_OF(captures); index++) {
    captures[index] = index == 0 ? begin(stream) : begin_after(stream, captures[index - 1]);
    void *blocks[3];
    for (size_t each = 0; each < 3; each++) {
      blocks[each] = take(pool, (each + 1) * 400 * 1024, stream);
    }
    for (size_t each = 0; each < 3; each++) give(pool, blocks[each], stream);
    assert_ok(tarn_capture_end(captures[index]));
  }
  assert_true(stats_of(pool).graph_bytes <= 6 * 400 * 1024);
  end_all(captures, COUNT_OF(captures));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_pool_of_ones_own_counts_and_asks_by_number) {
  tarn_stream *stream = make_stream();
  assert_int_equal(tarn_stream_capture(stream), 0);
  assert_int_equal(tarn_stream_capture(NULL), 0);
  assert_true(tarn_capture_is_destroyed(0));
  tarn_capture *capture = begin(stream);
  const uint64_t number = tarn_stream_capture(stream);
  assert_int_equal(number, capture_stats_of(capture).number);
  assert_false(tarn_capture_is_destroyed(number));
  tarn_capture_keep(number, 100);
  tarn_capture_keep(number, 50);
  tarn_capture_let_go(number, 100);
  assert_int_equal(capture_stats_of(capture).kept_bytes, 50);
  assert_ok(tarn_capture_end(capture));
  assert_int_equal(tarn_stream_capture(stream), 0);
  assert_false(tarn_capture_is_destroyed(number)); /* the graph may still be launched */
  assert_ok(tarn_capture_destroy(capture));
  assert_true(tarn_capture_is_destroyed(number));
  capture = begin(stream);
  tarn_capture_keep(number, 100); /* is gone, and counts nowhere */
  tarn_capture_keep(0, 100);
  assert_int_equal(capture_stats_of(capture).kept_bytes, 0);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
}

TEST(wrong_calls_are_answered_and_change_nothing) {
  tarn_stream *stream = make_stream();
  tarn_capture *capture = begin(stream), *later = (tarn_capture *)&later;
  tarn_capture_stats stats = {.struct_size = 1};
  assert_status(tarn_capture_begin_after(stream, NULL, &later), TARN_INVALID_ARGUMENT);
  assert_null(later);
  assert_status(tarn_capture_begin_after(stream, capture, &later), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_begin_after(stream, capture, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_stats_of(capture, &stats), TARN_INVALID_ARGUMENT);
  stats.struct_size = sizeof stats;
  assert_status(tarn_capture_stats_of(NULL, &stats), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_stats_of(capture, NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_capture_end(capture));
  assert_status(tarn_capture_begin_after(NULL, capture, &later), TARN_INVALID_ARGUMENT);
  assert_null(later);
  assert_false(tarn_stream_is_captured(stream));
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
