/* test_capture.c: what captured streams share with nobody, and what they may not do. */
#include "tests/support/test.h"

#include "alloc/order.h"
#include "alloc/tarn_capture.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_storage.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/manual_stream.h"

static tarn_capture *begin(tarn_stream *stream) {
  tarn_capture *capture = NULL;
  assert_ok(tarn_capture_begin(stream, &capture));
  assert_true(tarn_stream_is_captured(stream));
  return capture;
}

static void assert_nobody_was_asked(void) {
  assert_int_equal(manual_called.records, 0);
  assert_int_equal(manual_called.waits, 0);
  assert_int_equal(manual_called.queries, 0);
  assert_int_equal(manual_called.synchronizes, 0);
}

/* --- what a capture keeps --- */

TEST(a_block_freed_in_a_capture_is_lent_in_it_and_to_nobody_else) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream(), *other = make_stream();
  tarn_capture *capture = begin(stream);
  void *block = take(pool, 3 * MIB, stream);
  work(stream);
  give(pool, block, stream);
  assert_int_equal(stats_of(pool).captured_bytes, 3 * MIB);
  assert_ptr_equal(take(pool, 3 * MIB, stream), block);
  give(pool, block, stream);
  tarn_stream *users[] = {other, NULL};
  for (size_t index = 0; index < COUNT_OF(users); index++) {
    void *elsewhere = take(pool, 3 * MIB, users[index]);
    assert_ptr_not_equal(elsewhere, block);
    give(pool, elsewhere, NULL);
  }
  assert_ok(tarn_capture_end(capture));
  assert_ok(tarn_stream_synchronize(stream));
  void *again = take(pool, 3 * MIB, stream); /* not even the stream itself, out of the capture */
  assert_ptr_not_equal(again, block);
  give(pool, again, stream);
  assert_ok(tarn_capture_destroy(capture));
  assert_int_equal(stats_of(pool).captured_bytes, 0);
  void *all[8];
  bool is_back = false;
  for (size_t index = 0; index < COUNT_OF(all); index++) {
    all[index] = take(pool, 3 * MIB, stream);
    is_back = is_back || all[index] == block;
  }
  assert_true(is_back);
  for (size_t index = 0; index < COUNT_OF(all); index++) give(pool, all[index], stream);
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
  assert_int_equal(provided.live_bytes, 0);
}

TEST(a_block_lent_in_a_capture_stays_with_it_whoever_frees_it) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream();
  tarn_capture *capture = begin(stream);
  void *block = take(pool, 4 * MIB, stream);
  assert_ok(tarn_capture_end(capture));
  give(pool, block, NULL); /* the CPU is done with it; the graph is not */
  void *none = NULL;
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  size_t released_bytes = 1;
  assert_ok(tarn_pool_trim(pool, 0, &released_bytes));
  assert_int_equal(released_bytes, 0);
  assert_ok(tarn_capture_destroy(capture));
  assert_ptr_equal(take(pool, 4 * MIB, NULL), block);
  give(pool, block, NULL);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_block_still_lent_when_the_capture_goes_is_like_any_other) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream();
  tarn_capture *capture = begin(stream);
  void *block = take(pool, 4 * MIB, stream);
  assert_ok(tarn_capture_destroy(capture)); /* ends it, too */
  assert_false(tarn_stream_is_captured(stream));
  assert_int_equal(stats_of(pool).allocated_bytes, 4 * MIB);
  give(pool, block, NULL);
  assert_ptr_equal(take(pool, 4 * MIB, NULL), block);
  give(pool, block, NULL);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_block_from_before_that_is_freed_in_a_capture_is_nobodys) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream(), *other = make_stream();
  void *block = take(pool, 4 * MIB, stream);
  work(stream);
  tarn_capture *capture = begin(stream);
  give(pool, block, stream);
  void *none = NULL;
  /* In the capture it would be reused at a launch on any stream, behind nothing of this one's. */
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, other, &none), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_capture_end(capture));
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  manual_called = (manual_calls){0};
  assert_int_equal(manual_stream_pending(stream), 1);
  assert_ok(tarn_capture_destroy(capture)); /* waits for the work from before */
  assert_int_equal(manual_stream_pending(stream), 0);
  assert_ptr_equal(take(pool, 4 * MIB, other), block);
  give(pool, block, other);
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(a_use_noted_in_a_capture_keeps_the_block) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream(), *other = make_stream();
  void *block = take(pool, 4 * MIB, other);
  tarn_capture *capture = begin(stream);
  assert_ok(tarn_pool_note_use(pool, block, stream));
  give(pool, block, other);
  void *none = NULL;
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, other, &none), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_capture_destroy(capture));
  assert_ptr_equal(take(pool, 4 * MIB, stream), block);
  give(pool, block, stream);
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

static void count_one(void *count) {
  ++*(int *)count;
}

TEST(a_blob_used_in_a_capture_does_not_wait_for_the_graph) {
  int deleted_count = 0;
  char bytes[8];
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = bytes,
                          .size_bytes = sizeof bytes,
                          .deleter = count_one,
                          .context = &deleted_count};
  tarn_storage *storage = NULL;
  tarn_stream *stream = make_stream();
  assert_ok(tarn_storage_wrap(&blob, &storage));
  tarn_capture *capture = begin(stream);
  assert_ok(tarn_storage_note_use(storage, stream));
  manual_called = (manual_calls){0};
  tarn_storage_release(storage);
  assert_int_equal(deleted_count, 1);
  assert_nobody_was_asked();
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
}

TEST(recapturing_does_not_grow_the_pool) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  size_t reserved_bytes = 0;
  for (int round = 0; round < 100; round++) {
    tarn_capture *capture = begin(stream);
    void *blocks[5];
    for (int index = 0; index < 5; index++) {
      blocks[index] = take(pool, (size_t)(index + 1) * 300 * 1024, stream);
    }
    for (int index = 0; index < 5; index += 2) give(pool, blocks[index], stream);
    assert_ok(tarn_capture_end(capture));
    for (int index = 1; index < 5; index += 2) give(pool, blocks[index], NULL);
    assert_ok(tarn_capture_destroy(capture));
    if (round == 4) reserved_bytes = stats_of(pool).reserved_bytes;
  }
  assert_int_equal(stats_of(pool).reserved_bytes, reserved_bytes);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* --- what a capture takes --- */

TEST(a_capture_takes_only_what_the_host_has_seen) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream(), *known = make_stream();
  void *pending = take(pool, 3 * MIB, stream), *behind = take(pool, 3 * MIB, known);
  void *clean = take(pool, 3 * MIB, NULL);
  work(stream);
  work(known);
  give(pool, pending, stream);
  give(pool, behind, known);
  give(pool, clean, NULL);
  assert_ok(tarn_stream_edge(known, stream)); /* holds for this stream, not for every launch */
  tarn_capture *capture = begin(stream);
  assert_ptr_equal(take(pool, 3 * MIB, stream), clean);
  void *fresh = take(pool, 3 * MIB, stream);
  assert_true(fresh != pending && fresh != behind);
  give(pool, clean, stream);
  give(pool, fresh, stream);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
  tarn_stream_release(known);
  tarn_pool_release(pool);
}

TEST(a_capture_asks_nobody_and_waits_for_nobody) {
  tarn_pool *pool = make_segment_pool(8 * MIB);
  tarn_stream *stream = make_stream(), *other = make_stream();
  void *pending = take(pool, 4 * MIB, other);
  work(other);
  give(pool, pending, other);
  tarn_capture *capture = begin(stream);
  manual_called = (manual_calls){0};
  void *block = take(pool, 4 * MIB, stream), *none = NULL;
  assert_status(tarn_pool_alloc(pool, 4 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  assert_nobody_was_asked();
  assert_int_equal(provided.release_count, 0);
  /* The capture goes on, or is given up and begun again. */
  give(pool, block, stream);
  assert_ptr_equal(take(pool, 4 * MIB, stream), block);
  give(pool, block, stream);
  assert_nobody_was_asked();
  assert_ok(tarn_capture_destroy(capture));
  capture = begin(stream);
  assert_ptr_equal(take(pool, 4 * MIB, stream), block);
  give(pool, block, stream);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(a_capture_joins_idle_neighbours_before_it_grows) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *a = make_stream(), *b = make_stream();
  char *first = take(pool, 1 * MIB, a);
  void *second = take(pool, 1 * MIB, b);
  assert_ptr_equal(second, first + 1 * MIB);
  give(pool, first, a);
  give(pool, second, b);
  assert_ok(tarn_stream_synchronize(a));
  assert_ok(tarn_stream_synchronize(b));
  tarn_capture *capture = begin(a);
  assert_ptr_equal(take(pool, 2 * MIB, a), first);
  give(pool, first, a);
  assert_int_equal(provided.alloc_count, 1);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

/* --- others meanwhile --- */

TEST(other_streams_pass_over_what_a_capture_keeps) {
  tarn_pool *pool = make_segment_pool(12 * MIB);
  tarn_stream *stream = make_stream(), *user = make_stream(), *other = make_stream();
  /* The captured block is the best fit, the other one is pending. */
  void *large = take(pool, 6 * MIB, user);
  tarn_capture *capture = begin(stream);
  void *captured = take(pool, 4 * MIB, stream);
  give(pool, captured, stream);
  work(user);
  give(pool, large, user);
  void *found = take(pool, 4 * MIB, other);
  assert_ptr_equal(found, large);
  assert_int_equal(manual_stream_pending(other), 1); /* behind the user, by a fence */
  give(pool, found, other);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
  tarn_stream_release(user);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(others_get_behind_a_captured_streams_earlier_work) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream(), *other = make_stream();
  void *block = take(pool, 4 * MIB, stream);
  work(stream);
  give(pool, block, stream);
  tarn_capture *capture = begin(stream);
  manual_called = (manual_calls){0};
  assert_ptr_equal(take(pool, 4 * MIB, other), block);
  assert_int_equal(manual_called.records, 0); /* by the fence from before the capture */
  assert_int_equal(manual_called.waits, 1);
  give(pool, block, other);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(told_after_the_driver_nothing_is_recorded_before_the_end) {
  tarn_pool *pool = make_segment_pool(8 * MIB);
  tarn_stream *stream = make_stream(), *other = make_stream();
  void *block = take(pool, 4 * MIB, stream), *second = take(pool, 4 * MIB, other), *none = NULL;
  work(stream);
  give(pool, block, stream);
  manual_called = (manual_calls){0};
  manual_is_capturing = true;
  tarn_capture *capture = begin(stream);
  manual_is_capturing = false;
  assert_status(tarn_pool_alloc(pool, 4 * MIB, other, &none), TARN_OUT_OF_MEMORY);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  work(other);
  give(pool, second, other);
  assert_ptr_equal(take(pool, 4 * MIB, NULL), second); /* found beside what is held */
  give(pool, second, NULL);
  assert_int_equal(manual_called.synchronizes, 1);
  assert_int_equal(manual_stream_pending(stream), 1);
  assert_ok(tarn_capture_end(capture));
  void *both[] = {take(pool, 4 * MIB, other), take(pool, 4 * MIB, other)};
  assert_true(both[0] == block || both[1] == block);
  give(pool, both[0], other);
  give(pool, both[1], other);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(free_neighbours_of_a_capture_stay_apart_from_it) {
  tarn_pool *pool = make_segment_pool(2 * MIB);
  tarn_stream *stream = make_stream();
  char *first = take(pool, 512 * 1024, NULL), *second = take(pool, 512 * 1024, NULL);
  tarn_capture *capture = begin(stream);
  char *third = take(pool, 1 * MIB, stream);
  assert_ptr_equal(third, first + 1 * MIB);
  give(pool, third, stream);
  give(pool, second, NULL);
  give(pool, first, NULL);
  void *none = NULL;
  assert_status(tarn_pool_alloc(pool, 2 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_ptr_equal(take(pool, 1 * MIB, NULL), first); /* none of it went to the capture */
  assert_ptr_equal(take(pool, 1 * MIB, stream), third);
  give(pool, first, NULL);
  give(pool, third, stream);
  assert_ok(tarn_capture_destroy(capture));
  assert_ptr_equal(take(pool, 2 * MIB, NULL), first);
  give(pool, first, NULL);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* --- several streams --- */

static tarn_fence *record_on(tarn_stream *stream) {
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(stream, &fence));
  assert_ok(tarn_fence_record(fence, stream));
  return fence;
}

TEST(a_captured_fence_draws_the_waiting_stream_in) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *origin = make_stream(), *fork = make_stream();
  tarn_capture *capture = begin(origin);
  tarn_fence *forked = record_on(origin);
  assert_ok(tarn_stream_wait(fork, forked));
  assert_true(tarn_stream_is_captured(fork));
  assert_ok(tarn_capture_join(capture, fork)); /* is in already */
  void *block = take(pool, 3 * MIB, fork);
  work(fork);
  give(pool, block, fork);
  /* Within the graph the two have no order yet. */
  void *unordered = take(pool, 3 * MIB, origin);
  assert_ptr_not_equal(unordered, block);
  tarn_fence *joined = record_on(fork);
  assert_ok(tarn_stream_wait(origin, joined));
  assert_ptr_equal(take(pool, 3 * MIB, origin), block);
  give(pool, block, origin);
  give(pool, unordered, origin);
  assert_ok(tarn_capture_end(capture));
  assert_false(tarn_stream_is_captured(fork) || tarn_stream_is_captured(origin));
  assert_ok(tarn_capture_destroy(capture));
  tarn_fence_destroy(forked);
  tarn_fence_destroy(joined);
  tarn_stream_release(origin);
  tarn_stream_release(fork);
  tarn_pool_release(pool);
}

TEST(a_block_moves_along_the_edges_of_a_capture) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream(), *b = make_stream();
  tarn_capture *capture = begin(a);
  assert_ok(tarn_capture_join(capture, b));
  void *block = take(pool, 4 * MIB, a), *none = NULL;
  assert_ok(tarn_pool_note_use(pool, block, b));
  give(pool, block, a);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, a, &none), TARN_OUT_OF_MEMORY);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, b, &none), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_stream_edge(b, a));
  assert_ptr_equal(take(pool, 4 * MIB, a), block);
  give(pool, block, a);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

TEST(nothing_is_known_across_a_captures_boundary) {
  tarn_pool *pool = make_segment_pool(8 * MIB);
  tarn_stream *inside = make_stream(), *outside = make_stream();
  void *before = take(pool, 4 * MIB, outside), *none = NULL;
  work(outside);
  give(pool, before, outside);
  tarn_capture *capture = begin(inside);
  assert_ok(tarn_stream_edge(outside, inside));
  void *block = take(pool, 4 * MIB, inside);
  assert_ptr_not_equal(block, before);
  give(pool, block, inside);
  assert_ok(tarn_stream_edge(inside, outside));
  assert_ok(tarn_stream_edge(inside, NULL));
  assert_ptr_equal(take(pool, 4 * MIB, outside), before);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, outside, &none), TARN_OUT_OF_MEMORY);
  assert_status(tarn_pool_alloc(pool, 4 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  give(pool, before, outside);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(inside);
  tarn_stream_release(outside);
  tarn_pool_release(pool);
}

TEST(a_join_whose_wait_fails_is_undone) {
  tarn_stream *origin = make_stream(), *fork = make_stream();
  tarn_capture *capture = begin(origin);
  tarn_fence *forked = record_on(origin);
  manual_fail_records = 1; /* of the fence that the fork's earlier work needs */
  assert_status(tarn_stream_wait(fork, forked), TARN_DEVICE_ERROR);
  assert_false(tarn_stream_is_captured(fork));
  manual_fail_waits = 1;
  assert_status(tarn_stream_wait(fork, forked), TARN_DEVICE_ERROR);
  assert_false(tarn_stream_is_captured(fork));
  assert_ok(tarn_stream_synchronize(fork));
  assert_ok(tarn_stream_wait(fork, forked));
  assert_true(tarn_stream_is_captured(fork));
  assert_ok(tarn_capture_destroy(capture));
  tarn_fence_destroy(forked);
  tarn_stream_release(origin);
  tarn_stream_release(fork);
}

/* --- what is refused --- */

TEST(captured_streams_and_fences_refuse_what_would_spoil_the_capture) {
  tarn_stream *stream = make_stream(), *other = make_stream(), *worker = NULL;
  assert_ok(tarn_worker_stream_create(&worker));
  tarn_fence *outside = record_on(other), *foreign = record_on(worker), *unused = NULL;
  assert_ok(tarn_fence_create(other, &unused));
  work(other);
  assert_ok(tarn_fence_record(outside, other));
  tarn_capture *capture = begin(stream);
  tarn_fence *inside = record_on(stream);
  manual_called = (manual_calls){0};
  assert_status(tarn_stream_synchronize(stream), TARN_NOT_SUPPORTED);
  assert_status(tarn_fence_query(inside), TARN_NOT_SUPPORTED);
  assert_status(tarn_fence_synchronize(inside), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_wait(NULL, inside), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_wait(worker, inside), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_wait(stream, outside), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_wait(stream, foreign), TARN_NOT_SUPPORTED);
  char bytes[2] = {0};
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  const tarn_device cuda = tarn_device_make(TARN_DEVICE_CUDA, 0);
  assert_status(tarn_stream_copy(stream, bytes, cpu, bytes + 1, cuda, 1), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_copy(stream, bytes, cuda, bytes + 1, cpu, 1), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_fill(stream, bytes, cpu, 1, 1), TARN_NOT_SUPPORTED);
  assert_ok(tarn_stream_copy(stream, bytes, cuda, bytes + 1, cuda, 1));
  assert_nobody_was_asked();
  assert_ok(tarn_stream_wait(stream, unused)); /* never recorded: passed */
  tarn_stream *second = make_stream();
  tarn_capture *another = begin(second);
  assert_status(tarn_stream_wait(second, inside), TARN_NOT_SUPPORTED);
  assert_ok(tarn_capture_destroy(another));
  assert_ok(tarn_capture_end(capture));
  assert_status(tarn_stream_wait(other, inside), TARN_NOT_SUPPORTED);
  assert_status(tarn_fence_query(inside), TARN_NOT_SUPPORTED);
  assert_ok(tarn_capture_destroy(capture));
  assert_ok(tarn_fence_query(inside));
  assert_ok(tarn_stream_wait(other, inside));
  assert_ok(tarn_stream_synchronize(stream));
  tarn_fence *fences[] = {outside, foreign, unused, inside};
  tarn_stream *streams[] = {stream, other, worker, second};
  for (size_t index = 0; index < COUNT_OF(fences); index++) tarn_fence_destroy(fences[index]);
  for (size_t index = 0; index < COUNT_OF(streams); index++) tarn_stream_release(streams[index]);
}

TEST(a_passed_fence_from_outside_needs_no_wait) {
  tarn_stream *stream = make_stream(), *other = make_stream();
  tarn_fence *outside = record_on(other);
  assert_ok(tarn_fence_synchronize(outside));
  tarn_capture *capture = begin(stream);
  manual_called = (manual_calls){0};
  assert_ok(tarn_stream_wait(stream, outside));
  assert_nobody_was_asked();
  assert_ok(tarn_capture_destroy(capture));
  tarn_fence_destroy(outside);
  tarn_stream_release(stream);
  tarn_stream_release(other);
}

TEST(wrong_calls_are_answered_and_change_nothing) {
  tarn_stream *stream = make_stream(), *host = NULL;
  assert_ok(tarn_host_stream_create(&host));
  tarn_capture *capture = NULL, *second = NULL;
  assert_status(tarn_capture_begin(NULL, &capture), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_begin(host, &capture), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_begin(stream, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_join(NULL, stream), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_end(NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_note_launch(NULL, stream), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_capture_destroy(NULL));
  manual_fail_records = 1;
  assert_status(tarn_capture_begin(stream, &capture), TARN_DEVICE_ERROR);
  assert_null(capture);
  assert_false(tarn_stream_is_captured(stream) || tarn_stream_is_captured(NULL));
  capture = begin(stream);
  assert_status(tarn_capture_begin(stream, &second), TARN_BUSY);
  assert_status(tarn_capture_note_launch(capture, NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_capture_end(capture));
  assert_status(tarn_capture_end(capture), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_join(capture, stream), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_capture_note_launch(capture, NULL));
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(stream);
  tarn_stream_release(host);
}

/* --- life --- */

TEST(destroying_waits_for_the_launches_that_were_noted) {
  tarn_stream *stream = make_stream(), *launcher = make_stream();
  tarn_capture *capture = begin(stream);
  assert_ok(tarn_capture_end(capture));
  work(launcher); /* the graph */
  assert_ok(tarn_capture_note_launch(capture, launcher));
  manual_is_capturing = true;
  tarn_capture *later = begin(launcher);
  manual_is_capturing = false;
  assert_status(tarn_capture_note_launch(capture, launcher), TARN_NOT_SUPPORTED);
  assert_status(tarn_capture_destroy(capture), TARN_BUSY);
  assert_ok(tarn_capture_end(later));
  assert_int_equal(manual_stream_pending(launcher), 1);
  assert_ok(tarn_capture_destroy(capture));
  assert_int_equal(manual_stream_pending(launcher), 0);
  assert_ok(tarn_capture_destroy(later));
  tarn_stream_release(stream);
  tarn_stream_release(launcher);
}

/* That a lost stream cannot be waited for is nobody's failure. */
TEST(destroying_after_a_lost_launch_leaves_the_last_error_alone) {
  tarn_stream *stream = make_stream();
  tarn_capture *capture = begin(stream);
  assert_ok(tarn_capture_end(capture));
  work(stream);
  assert_ok(tarn_capture_note_launch(capture, stream));
  assert_status(tarn_fail(TARN_BUSY, "before"), TARN_BUSY);
  manual_fail_records = manual_fail_synchronizes = 1;
  assert_ok(tarn_capture_destroy(capture));
  assert_int_equal(manual_fail_records + manual_fail_synchronizes, 0);
  assert_string_equal(tarn_last_error()->message, "before");
  tarn_stream_release(stream);
}

TEST(a_capture_keeps_its_streams_until_it_ends) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *stream = make_stream();
  tarn_capture *capture = begin(stream);
  void *block = take(pool, 4 * MIB, stream);
  give(pool, block, stream);
  tarn_stream_release(stream);
  assert_ok(tarn_capture_end(capture)); /* the stream goes here, behind its final fence */
  assert_ok(tarn_capture_destroy(capture));
  assert_ptr_equal(take(pool, 4 * MIB, NULL), block);
  give(pool, block, NULL);
  tarn_pool_release(pool);
}

TEST(captures_and_streams_share_their_most) {
  static tarn_stream *streams[TARN_STREAMS_MAX];
  static tarn_capture *captures[TARN_STREAMS_MAX];
  int count = 0;
  tarn_status status = TARN_OK;
  while (status == TARN_OK) {
    streams[count] = make_stream();
    status = tarn_capture_begin(streams[count], &captures[count]);
    count++;
    if (status == TARN_OK && count >= TARN_STREAMS_MAX / 2) {
      status = tarn_capture_begin(streams[0], &captures[count]);
      assert_status(status, TARN_BUSY);
      break;
    }
  }
  assert_true(status == TARN_BUSY || status == TARN_NOT_SUPPORTED);
  if (status == TARN_BUSY) {
    tarn_stream *extra = NULL;
    tarn_status made = manual_stream_create(&extra);
    assert_true(made == TARN_NOT_SUPPORTED || made == TARN_OK);
    tarn_stream_release(extra);
  }
  for (int index = 0; index < count; index++) {
    assert_ok(tarn_capture_destroy(captures[index]));
    tarn_stream_release(streams[index]);
  }
  tarn_stream *again = make_stream();
  tarn_capture *capture = begin(again);
  assert_ok(tarn_capture_destroy(capture));
  tarn_stream_release(again);
}

TEST(a_captured_stream_gets_behind_nothing_outside) {
  tarn_stream *inside = make_stream(), *outside = make_stream();
  work(outside);
  const tarn__stamp before = tarn__order_stamp(outside);
  tarn_capture *capture = NULL;
  assert_ok(tarn_capture_begin(inside, &capture));
  const tarn__stamp captured = tarn__order_stamp(inside);
  tarn__order_cost cost = {0};
  manual_called = (manual_calls){0};
  assert_status(tarn__order_behind(inside, before, &cost), TARN_NOT_READY);
  assert_int_equal(tarn_last_error()->status, TARN_NOT_READY); /* a refusal, and no answer */
  assert_status(tarn__order_behind(outside, captured, &cost), TARN_NOT_READY);
  assert_status(tarn__order_behind(NULL, captured, &cost), TARN_NOT_READY);
  tarn__order_observe(captured, &cost);
  assert_int_equal(manual_called.records + manual_called.waits + manual_called.queries, 0);
  assert_true(tarn__order_is_held(captured));
  assert_false(tarn__order_is_held(before));
  assert_ok(tarn_capture_destroy(capture));
  assert_true(tarn__order_is_seen(captured));
  tarn_stream_release(inside);
  tarn_stream_release(outside);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
