/* test_caching_explain.c: each figure of an out-of-memory answer, and who holds what. */
#include "tests/alloc/caching_fixture.h"

#include <string.h>

#include "alloc/tarn_tag.h"
#include "tests/support/manual_stream.h"

static const tarn_out_of_memory *run_out(tarn_pool *pool, size_t size_bytes, tarn_stream *stream) {
  void *none = &none;
  assert_status(tarn_pool_alloc(pool, size_bytes, stream, &none), TARN_OUT_OF_MEMORY);
  assert_null(none);
  const tarn_out_of_memory *report = tarn_last_out_of_memory();
  assert_int_equal(report->struct_size, sizeof *report);
  assert_int_equal(report->reserved_bytes, report->live_bytes + report->cached_bytes);
  return report;
}

static void *take_tagged(tarn_pool *pool, size_t size_bytes, const char *tag) {
  assert_ok(tarn_tag_push(tag));
  void *block = take(pool, size_bytes, NULL);
  tarn_tag_pop();
  return block;
}

TEST(before_any_failure_there_is_no_report) {
  assert_null(tarn_last_out_of_memory()); /* the first test of its thread */
}

TEST(a_full_pool_says_who_asked_who_holds_and_which_limit_refused) {
  const tarn_caching_options options = {
      .struct_size = sizeof options, .name = "small", .limit_bytes = 8 * MIB};
  tarn_pool *pool = make_pool_with(&options);
  tarn_stream *stream = make_stream();
  void *weights = take_tagged(pool, 4 * MIB, "weights");
  void *cache[2] = {take_tagged(pool, 512 * 1024, "kv cache"), take_tagged(pool, 1000, "kv cache")};
  void *plain = take(pool, 300, NULL);
  const tarn_out_of_memory *report = run_out(pool, 5 * MIB, stream);
  assert_string_equal(report->pool, "small");
  assert_int_equal(report->device.type, TARN_DEVICE_CUDA);
  assert_int_equal(report->asked_bytes, 5 * MIB);
  assert_int_equal(report->alignment_bytes, 256);
  assert_int_equal(report->stream, tarn_stream_number(stream));
  assert_int_not_equal(report->stream, 0);
  assert_int_equal(report->live_bytes, 4 * MIB + 512 * 1024 + 1024 + 512);
  assert_int_equal(report->live_count, 4);
  assert_int_equal(report->reserved_bytes, 6 * MIB);
  assert_int_equal(report->pending_bytes, 0);
  assert_int_equal(report->stream_count, 0);
  assert_int_equal(report->largest_free_bytes, report->cached_bytes);
  assert_string_equal(report->budget, "small");
  assert_int_equal(report->budget_limit_bytes, 8 * MIB);
  assert_int_equal(report->budget_used_bytes, 6 * MIB);
  assert_int_equal(report->holder_count, 3);
  assert_string_equal(tarn_tag_name(report->holders[0].tag), "weights");
  assert_int_equal(report->holders[0].size_bytes, 4 * MIB);
  assert_int_equal(report->holders[0].block_count, 1);
  assert_string_equal(tarn_tag_name(report->holders[1].tag), "kv cache");
  assert_int_equal(report->holders[1].size_bytes, 512 * 1024 + 1024);
  assert_int_equal(report->holders[1].block_count, 2);
  assert_int_equal(report->holders[2].tag, 0);
  assert_int_equal(report->holders[2].size_bytes, 512);
  give(pool, weights, NULL);
  give(pool, cache[0], NULL);
  give(pool, cache[1], NULL);
  give(pool, plain, NULL);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(the_message_says_it_in_words) {
  const tarn_caching_options options = {
      .struct_size = sizeof options, .name = "small", .limit_bytes = 4 * MIB};
  tarn_pool *pool = make_pool_with(&options);
  void *block = take_tagged(pool, 2 * MIB, "weights");
  run_out(pool, 4 * MIB, NULL);
  assert_string_equal(
      tarn_last_error()->message,
      "pool small: 4194304 bytes asked for; 2097152 live, 0 cached of which 0 pending, largest "
      "free "
      "range 0, 2097152 reserved. Budget small is at 2097152 of 4194304. A trim would give back 0, "
      "a wait 0 more. Held by: weights 2097152 in 1.");
  void *none = NULL;
  assert_status(tarn_pool_alloc_aligned(pool, 10, 8 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "10 bytes asked for, aligned to 8388608;"));
  assert_status(tarn_pool_free(pool, &none, NULL), TARN_NOT_FOUND);
  assert_non_null(strstr(tarn_last_error()->message, "pool small: "));
  give(pool, block, NULL);
  tarn_pool_release(pool);
}

/* Streams that cannot be waited for leave their blocks pending. */
TEST(pending_bytes_are_told_by_stream_and_what_a_wait_would_give) {
  tarn_pool *pool = make_segment_pool(10 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  void *kept = take(pool, 2 * MIB - 4096, NULL);
  void *small = take(pool, 4096, a); /* beside it: never a whole segment */
  void *first = take(pool, 2 * MIB, a);
  void *second = take(pool, 4 * MIB, b);
  void *both = take(pool, 2 * MIB, b);
  work(a);
  work(b);
  assert_ok(tarn_pool_note_use(pool, both, a));
  give(pool, small, a);
  give(pool, first, a);
  give(pool, second, b);
  give(pool, both, b);
  manual_fail_synchronizes = manual_fail_records = 1000;
  const tarn_out_of_memory *report = run_out(pool, 10 * MIB, NULL);
  manual_fail_synchronizes = manual_fail_records = 0;
  assert_int_equal(report->pending_bytes, 8 * MIB + 4096); /* each block once */
  assert_int_equal(report->cached_bytes, report->pending_bytes);
  assert_int_equal(report->stream_count, 2);
  assert_int_equal(report->streams[0].stream, tarn_stream_number(b));
  assert_int_equal(report->streams[0].size_bytes, 6 * MIB);
  assert_int_equal(report->streams[1].stream, tarn_stream_number(a));
  assert_int_equal(report->streams[1].size_bytes, 4 * MIB + 4096);
  assert_int_equal(report->trim_bytes, 0);
  assert_int_equal(report->wait_bytes, 8 * MIB);
  assert_int_equal(report->largest_free_bytes, 4 * MIB);
  /* And it is true: */
  assert_ok(tarn_stream_synchronize(a));
  assert_ok(tarn_stream_synchronize(b));
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 8 * MIB);
  give(pool, kept, NULL);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

TEST(what_a_trim_would_give_is_what_it_gives) {
  const tarn_caching_options options = {.struct_size = sizeof options, .floor_bytes = 4 * MIB};
  tarn_pool *pool = make_pool_with(&options);
  void *block = take(pool, 2 * MIB, NULL);
  assert_ok(tarn_caching_pool_reserve(pool, 12 * MIB));
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 13 * MIB);
  const tarn_out_of_memory *report =
      run_out(pool, 14 * MIB, NULL); /* can never fit: nothing goes */
  assert_int_equal(report->largest_free_bytes, 10 * MIB);
  assert_int_equal(report->trim_bytes, 0); /* of a segment of 10 MiB the floor keeps all */
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 0);
  give(pool, block, NULL);
  report = run_out(pool, 14 * MIB, NULL);
  assert_int_equal(report->trim_bytes, 2 * MIB);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 2 * MIB);
  tarn_pool_release(pool);

  pool = make_range_pool(0);
  block = take(pool, 3 * MIB, NULL);
  assert_ok(tarn_caching_pool_reserve(pool, 16 * MIB));
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 17 * MIB);
  report = run_out(pool, 30 * MIB, NULL);
  assert_int_equal(report->trim_bytes, 12 * MIB);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 12 * MIB);
  give(pool, block, NULL);
  tarn_pool_release(pool);
}

TEST(a_provider_that_refuses_is_quoted) {
  tarn_pool *pool = make_segment_pool(0);
  provided.fail_allocs = 1000;
  const tarn_out_of_memory *report = run_out(pool, 1 * MIB, NULL);
  assert_string_equal(report->budget, "");
  assert_string_equal(report->cause, "the test lets this allocation fail");
  assert_non_null(strstr(tarn_last_error()->message, "the test lets this allocation fail"));
  provided.fail_allocs = 0;
  tarn_pool_release(pool);
}

TEST(a_parent_that_refuses_is_named) {
  const tarn_budget_options limit = {
      .struct_size = sizeof limit, .name = "process", .limit_bytes = 4 * MIB};
  tarn_budget *budget = NULL;
  assert_ok(tarn_budget_create(&limit, &budget));
  const tarn_caching_options options = {.struct_size = sizeof options, .budget = budget};
  tarn_pool *pool = make_pool_with(&options);
  tarn_pool *other = make_pool_with(&options);
  void *block = take(other, 3 * MIB, NULL);
  const tarn_out_of_memory *report = run_out(pool, 1 * MIB, NULL);
  assert_string_equal(report->budget, "process");
  assert_int_equal(report->budget_used_bytes, 4 * MIB);
  assert_int_equal(report->live_bytes + report->cached_bytes, 0);
  give(other, block, NULL);
  tarn_pool_release(pool);
  tarn_pool_release(other);
  tarn_budget_release(budget);
}

/* --- the observer --- */

typedef struct observer {
  tarn_pool *pool;
  int call_count;
  size_t asked_bytes;
  size_t limit_bytes;
} observer;

static void observe(void *context, const tarn_out_of_memory *report) {
  observer *self = context;
  self->call_count++;
  self->asked_bytes = report->asked_bytes;
  self->limit_bytes = report->budget_limit_bytes;
  /* It may use the pool, and a failure of its own is not the caller's. */
  give(self->pool, take(self->pool, 1 * MIB, NULL), NULL);
  assert_status(tarn_pool_free(self->pool, self, NULL), TARN_NOT_FOUND);
}

TEST(an_observer_is_called_once_per_failure_without_the_lock) {
  observer seen = {.call_count = 0};
  const tarn_caching_options options = {.struct_size = sizeof options,
                                        .limit_bytes = 4 * MIB,
                                        .out_of_memory = observe,
                                        .out_of_memory_context = &seen};
  tarn_pool *pool = make_pool_with(&options);
  seen.pool = pool;
  give(pool, take(pool, 4 * MIB, NULL), NULL);
  assert_int_equal(seen.call_count, 0);
  run_out(pool, 6 * MIB, NULL);
  assert_int_equal(seen.call_count, 1);
  assert_int_equal(seen.asked_bytes, 6 * MIB);
  assert_int_equal(seen.limit_bytes, 4 * MIB);
  assert_int_equal(tarn_last_error()->status, TARN_OUT_OF_MEMORY);
  run_out(pool, 5 * MIB, NULL);
  assert_int_equal(seen.call_count, 2);
  assert_int_equal(stats_of(pool).out_of_memory_count, 2);
  tarn_pool_release(pool);
}

/* --- holders --- */

TEST(holders_are_summed_by_tag_most_bytes_first) {
  tarn_pool *pool = make_segment_pool(0);
  static const char *const names[] = {"a", "b", "c", "b"};
  void *blocks[4];
  for (int index = 0; index < 4; index++) {
    blocks[index] = take_tagged(pool, (size_t)(index + 1) << 10, names[index]);
  }
  tarn_holder holders[3];
  size_t count = 0;
  assert_ok(tarn_pool_holders(pool, holders, 3, &count));
  assert_int_equal(count, 3);
  assert_string_equal(tarn_tag_name(holders[0].tag), "b");
  assert_int_equal(holders[0].size_bytes, 6 << 10);
  assert_int_equal(holders[0].block_count, 2);
  assert_string_equal(tarn_tag_name(holders[1].tag), "c");
  assert_string_equal(tarn_tag_name(holders[2].tag), "a");
  /* Few rows name those with the most. */
  assert_ok(tarn_pool_holders(pool, holders, 1, &count));
  assert_int_equal(count, 3);
  assert_string_equal(tarn_tag_name(holders[0].tag), "b");
  assert_ok(tarn_pool_holders(pool, NULL, 0, &count));
  assert_int_equal(count, 3);
  for (int index = 0; index < 4; index++) give(pool, blocks[index], NULL);
  assert_ok(tarn_pool_holders(pool, holders, 3, &count));
  assert_int_equal(count, 0);
  assert_status(tarn_pool_holders(pool, NULL, 1, &count), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_holders(NULL, holders, 3, &count), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
