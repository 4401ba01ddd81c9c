/* test_caching_pool.c: the tiers of the caching pool, one by one. */
#include "tests/support/test.h"

#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_pages.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/manual_stream.h"

/* --- tier 0 --- */

TEST(a_freed_block_is_reused_on_its_stream_without_a_call) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  manual_called = (manual_calls){0};
  void *first = take(pool, 3 * MIB, stream);
  for (int round = 0; round < 100; round++) {
    work(stream);
    give(pool, first, stream);
    assert_ptr_equal(take(pool, 3 * MIB, stream), first);
  }
  give(pool, first, stream);
  assert_int_equal(manual_called.records + manual_called.waits + manual_called.queries, 0);
  assert_int_equal(provided.alloc_count, 1);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  assert_int_equal(provided.live_bytes, 0);
}

TEST(the_best_fit_is_taken_and_the_rest_stays_free) {
  tarn_pool *pool = make_range_pool(0);
  void *small = take(pool, 64 * 1024, NULL);
  void *wall = take(pool, 256, NULL);
  void *large = take(pool, 512 * 1024, NULL);
  void *end = take(pool, 256, NULL);
  give(pool, large, NULL);
  give(pool, small, NULL);
  assert_ok(tarn_pool_trim(pool, SIZE_MAX, NULL)); /* what the thread keeps is not looked at */
  assert_ptr_equal(take(pool, 60 * 1024, NULL), small);
  assert_ptr_equal(take(pool, 256 * 1024, NULL), large);
  assert_ptr_equal(take(pool, 256 * 1024, NULL), (char *)large + 256 * 1024);
  give(pool, small, NULL);
  give(pool, wall, NULL);
  give(pool, large, NULL);
  give(pool, (char *)large + 256 * 1024, NULL);
  give(pool, end, NULL);
  /* All joined again: one block serves the whole. */
  assert_ptr_equal(take(pool, 2 * MIB, NULL), small);
  give(pool, small, NULL);
  tarn_pool_release(pool);
}

/* --- tier 1 --- */

TEST(a_block_whose_fence_has_passed_is_reused_across_streams) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  void *block = take(pool, 3 * MIB, a);
  work(a);
  give(pool, block, a);
  void *other = take(pool, 3 * MIB, b); /* still pending: a new segment, and a fence to ask later */
  assert_ptr_not_equal(other, block);
  manual_stream_advance(a, 1);
  assert_ptr_equal(take(pool, 3 * MIB, b), block);
  assert_int_equal(stats_of(pool).wait_count, 0);
  give(pool, block, b);
  give(pool, other, b);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

TEST(an_edge_lets_another_stream_reuse_at_once) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  void *block = take(pool, 3 * MIB, a);
  work(a);
  give(pool, block, a);
  assert_ok(tarn_stream_edge(a, b));
  manual_called = (manual_calls){0};
  assert_ptr_equal(take(pool, 3 * MIB, b), block);
  assert_int_equal(manual_called.records + manual_called.waits + manual_called.queries, 0);
  give(pool, block, b);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

/* --- tiers 2 and 3 --- */

TEST(at_the_limit_a_stream_is_ordered_behind_the_last_user) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  void *block = take(pool, 4 * MIB, a);
  work(a);
  give(pool, block, a);
  assert_ptr_equal(take(pool, 4 * MIB, b), block);
  assert_int_equal(manual_stream_pending(a), 1); /* the host did not wait */
  assert_int_equal(manual_stream_pending(b), 1); /* b did: its step is the wait */
  assert_int_equal(manual_stream_advance(b, 1), 0);
  manual_stream_advance(a, 1);
  assert_int_equal(manual_stream_advance(b, 1), 1);
  assert_int_equal(stats_of(pool).reserved_bytes_peak, 4 * MIB);
  give(pool, block, b);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

TEST(at_the_limit_the_host_waits_for_the_last_user) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream();
  void *block = take(pool, 4 * MIB, a);
  work(a);
  give(pool, block, a);
  assert_ptr_equal(take(pool, 4 * MIB, NULL), block);
  assert_int_equal(manual_stream_pending(a), 0);
  give(pool, block, NULL);
  tarn_stream_release(a);
  tarn_pool_release(pool);
}

TEST(a_noted_stream_is_waited_for_too) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *side = make_stream();
  void *block = take(pool, 4 * MIB, a);
  work(side);
  assert_ok(tarn_pool_note_use(pool, (char *)block + MIB, side)); /* through a view */
  give(pool, block, a);
  assert_ptr_equal(take(pool, 4 * MIB, a), block);
  assert_int_equal(manual_stream_advance(a, 1), 0); /* a now waits for the side stream */
  manual_stream_advance(side, 1);
  assert_int_equal(manual_stream_advance(a, 1), 1);
  give(pool, block, a);
  tarn_stream_release(a);
  tarn_stream_release(side);
  tarn_pool_release(pool);
}

TEST(a_wait_that_fails_leaves_the_block_where_it_was) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  void *block = take(pool, 4 * MIB, a);
  work(a);
  give(pool, block, a);
  const tarn_pool_stats before = stats_of(pool);
  manual_fail_records = manual_fail_synchronizes = 100;
  void *address = &address;
  assert_status(tarn_pool_alloc(pool, 4 * MIB, b, &address), TARN_OUT_OF_MEMORY);
  assert_null(address);
  manual_fail_records = manual_fail_synchronizes = 0;
  assert_int_equal(stats_of(pool).allocated_bytes, before.allocated_bytes);
  assert_int_equal(stats_of(pool).reserved_bytes, before.reserved_bytes);
  assert_ptr_equal(take(pool, 4 * MIB, b), block);
  give(pool, block, b);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

TEST(without_a_fence_the_host_waits) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  void *block = take(pool, 4 * MIB, a);
  work(a);
  give(pool, block, a);
  manual_fail_records = 100;
  assert_ptr_equal(take(pool, 4 * MIB, b), block);
  manual_fail_records = 0;
  assert_int_equal(manual_stream_pending(a), 0);
  give(pool, block, b);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

/* Lent behind another stream's work and never used: the work is still there when it comes back. */
TEST(a_block_lent_by_order_keeps_the_stamps_of_who_wrote_it) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *writer = make_stream();
  tarn_stream *next = make_stream();
  void *block = take(pool, 4 * MIB, writer);
  assert_ok(tarn_stream_fill(writer, block, tarn_device_make(TARN_DEVICE_CUDA, 0), 0xEE, 4 * MIB));
  give(pool, block, writer);
  assert_ptr_equal(take(pool, 4 * MIB, next), block);
  give(pool, block, NULL); /* nobody used it, says the host */
  assert_int_equal(stats_of(pool).active_bytes, 4 * MIB);
  unsigned char *bytes = take(pool, 4 * MIB, NULL);
  assert_ptr_equal(bytes, block);
  assert_int_equal(manual_stream_pending(writer), 0);
  bytes[0] = 0x11;
  give(pool, bytes, NULL);
  tarn_stream_release(writer);
  tarn_stream_release(next);
  tarn_pool_release(pool);
}

/* --- tier 4 --- */

TEST(neighbours_of_different_streams_are_joined_when_needed) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  void *whole = take(pool, 4 * MIB, a);
  give(pool, whole, a);
  void *left = take(pool, 2 * MIB, a);
  void *right = take(pool, 2 * MIB, a);
  work(a);
  work(b);
  assert_ok(tarn_pool_note_use(pool, right, b));
  give(pool, left, a);
  give(pool, right, a);
  tarn_stream *c = make_stream();
  assert_ptr_equal(take(pool, 4 * MIB, c), whole);
  /* Both stamps survived the join: c runs only behind a and b. */
  manual_stream_advance(a, 1);
  while (manual_stream_advance(c, 1) == 1) {
  }
  assert_int_not_equal(manual_stream_pending(c), 0);
  manual_stream_advance(b, 1);
  while (manual_stream_advance(c, 1) == 1) {
  }
  assert_int_equal(manual_stream_pending(c), 0);
  give(pool, whole, c);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_stream_release(c);
  tarn_pool_release(pool);
}

/* --- tier 5 --- */

TEST(idle_segments_are_given_back_for_one_that_fits) {
  tarn_pool *pool = make_segment_pool(8 * MIB);
  void *blocks[4];
  for (int index = 0; index < 4; index++) blocks[index] = take(pool, 2 * MIB, NULL);
  for (int index = 0; index < 4; index++) give(pool, blocks[index], NULL);
  assert_int_equal(provided.alloc_count, 4);
  void *large = take(pool, 8 * MIB, NULL); /* no two segments lie side by side for the pool */
  assert_int_equal(provided.release_count, 4);
  assert_int_equal(provided.live_bytes, 8 * MIB);
  give(pool, large, NULL);
  tarn_pool_release(pool);
}

TEST(a_provider_out_of_memory_is_asked_again_after_reclaim) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  void *block = take(pool, 2 * MIB, stream);
  work(stream);
  give(pool, block, stream);
  provided.fail_allocs = 1;
  void *large = take(pool, 6 * MIB, stream);
  assert_int_equal(provided.release_count, 1);
  assert_int_equal(manual_stream_pending(stream), 0); /* waited for before it was given back */
  give(pool, large, stream);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(half_the_memory_twice_fails_and_works_once_one_is_free) {
  tarn_pool *pool = make_segment_pool(16 * MIB);
  void *first = take(pool, 10 * MIB, NULL);
  void *second = &second;
  assert_status(tarn_pool_alloc(pool, 10 * MIB, NULL, &second), TARN_OUT_OF_MEMORY);
  assert_null(second);
  assert_non_null(strstr(tarn_last_error()->message, "10485760 bytes asked for"));
  assert_non_null(strstr(tarn_last_error()->message, "of 16777216"));
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  give(pool, first, NULL);
  second = take(pool, 10 * MIB, NULL);
  give(pool, second, NULL);
  tarn_pool_release(pool);
}

TEST(a_hundred_pending_blocks_are_reclaimed_in_one_call) {
  enum { COUNT = 100 };
  tarn_pool *pool = make_segment_pool((size_t)COUNT * 2 * MIB);
  tarn_stream *side = make_stream();
  void *blocks[COUNT];
  for (int index = 0; index < COUNT; index++) {
    blocks[index] = take(pool, 2 * MIB, side);
    work(side);
  }
  for (int index = 0; index < COUNT; index++) give(pool, blocks[index], side);
  tarn_stream *main_stream = make_stream();
  void *large = take(pool, (size_t)COUNT * 2 * MIB, main_stream);
  assert_int_equal(provided.live_bytes, (size_t)COUNT * 2 * MIB);
  assert_int_equal(stats_of(pool).fence_count, 1); /* one fence for a hundred frees */
  give(pool, large, main_stream);
  tarn_stream_release(side);
  tarn_stream_release(main_stream);
  tarn_pool_release(pool);
}

/* --- growing in place --- */

TEST(a_range_grows_in_place_and_holes_are_committed_again) {
  tarn_pool *pool = make_range_pool(0);
  char *first = take(pool, 1 * MIB, NULL);
  char *second = take(pool, 3 * MIB, NULL); /* 1 MiB is left over: 2 MiB more will do */
  assert_ptr_equal(second, first + 1 * MIB);
  assert_int_equal(stats_of(pool).reserved_bytes, 4 * MIB);
  char *third = take(pool, 8 * MIB, NULL);
  give(pool, second, NULL);
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 2 * MIB); /* the one whole granule inside the free 3 MiB */
  assert_int_equal(stats_of(pool).reserved_bytes, 10 * MIB);
  char *again = take(pool, 3 * MIB, NULL); /* the hole, and the free piece in front of it */
  assert_ptr_equal(again, first + 1 * MIB);
  memset(again, 1, 3 * MIB);
  give(pool, again, NULL);
  give(pool, third, NULL);
  give(pool, first, NULL);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_pool_release(pool);
}

TEST(trim_keeps_what_it_is_told_and_what_is_pending) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  void *blocks[4];
  for (int index = 0; index < 4; index++) blocks[index] = take(pool, 2 * MIB, stream);
  work(stream);
  give(pool, blocks[0], stream);
  for (int index = 1; index < 4; index++) give(pool, blocks[index], NULL);
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 6 * MIB, &released));
  assert_int_equal(released, 2 * MIB);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 4 * MIB);
  assert_int_equal(stats_of(pool).reserved_bytes, 2 * MIB);
  assert_int_equal(stats_of(pool).active_bytes, 2 * MIB);
  assert_ok(tarn_stream_synchronize(stream));
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(trim_leaves_idle_memory_clean) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  void *whole = take(pool, 8 * MIB, NULL);
  give(pool, whole, NULL);
  void *used = take(pool, 2 * MIB, stream);
  work(stream);
  give(pool, used, stream);
  const tarn_pool_stats before = stats_of(pool);
  assert_int_equal(before.active_bytes, 2 * MIB);
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(stats_of(pool).active_bytes, 2 * MIB);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(trim_asks_the_streams_first) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  void *block = take(pool, 2 * MIB, stream);
  work(stream);
  give(pool, block, stream);
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 0); /* still at work, and not waited for */
  assert_int_equal(manual_stream_pending(stream), 1);
  manual_stream_advance(stream, 1);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 2 * MIB);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* A provider with less left than the pool would like still serves what is needed. */
TEST(a_small_provider_is_used_to_its_end) {
  enum { RANGE = 1 << 20 };
  static _Alignas(RANGE) char range[RANGE];
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  assert_ok(tarn_fixed_provider_create(range, sizeof range, NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  void *small = take(pool, 256, NULL); /* the range is smaller than the default segment */
  give(pool, small, NULL);
  void *whole = NULL;
  assert_ok(tarn_pool_alloc_aligned(pool, RANGE, 4096, NULL, &whole)); /* needs no room to align */
  assert_ptr_equal(whole, range);
  give(pool, whole, NULL);
  assert_ok(tarn_pool_alloc_aligned(pool, RANGE, 4096, NULL, &whole)); /* from the cache as well */
  give(pool, whole, NULL);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
}

TEST(growth_that_fits_the_limit_is_found) {
  tarn_pool *pool = make_range_pool(12 * MIB);
  char *blocks[5];
  for (int index = 0; index < 5; index++) blocks[index] = take(pool, 2 * MIB, NULL);
  char *middle = take(pool, 2 * MIB, NULL);
  give(pool, blocks[1], NULL);
  give(pool, blocks[2], NULL);
  assert_ok(tarn_pool_trim(pool, 0, NULL)); /* a hole of 4 MiB in the middle; 8 are reserved */
  char *small = take(pool, MIB / 2, NULL);
  assert_int_equal(stats_of(pool).reserved_bytes, 10 * MIB);
  char *large = take(pool, 3 * MIB, NULL); /* 1.5 MiB beside the small block, and 2 MiB more */
  assert_true(stats_of(pool).reserved_bytes <= 12 * MIB);
  give(pool, large, NULL);
  give(pool, small, NULL);
  give(pool, middle, NULL);
  give(pool, blocks[0], NULL);
  give(pool, blocks[3], NULL);
  give(pool, blocks[4], NULL);
  tarn_pool_release(pool);
}

TEST(a_success_leaves_the_last_error_alone) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  void *block = take(pool, 4 * MIB, a);
  give(pool, block, a);
  assert_status(tarn_fail(TARN_BUSY, "before"), TARN_BUSY);
  assert_ptr_equal(take(pool, 4 * MIB, b), block); /* the limit refused to grow on the way */
  assert_string_equal(tarn_last_error()->message, "before");
  give(pool, block, b);
  tarn_budget_set_limit(tarn_caching_pool_budget(pool), 0);
  provided.fail_allocs = 1;
  void *large = take(pool, 6 * MIB, b); /* the provider refused, once */
  assert_int_equal(provided.fail_allocs, 0);
  assert_string_equal(tarn_last_error()->message, "before");
  give(pool, large, b);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

TEST(bad_options_are_refused) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  tarn_caching_options options = {.struct_size = 3};
  assert_status(tarn_caching_pool_create(provider, &options, &pool), TARN_INVALID_ARGUMENT);
  options = (tarn_caching_options){.struct_size = sizeof options, .range_bytes = SIZE_MAX};
  assert_status(tarn_caching_pool_create(provider, &options, &pool), TARN_TOO_LARGE);
  assert_status(tarn_caching_pool_create(NULL, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_caching_pool_create(provider, NULL, NULL), TARN_INVALID_ARGUMENT);
  options = (tarn_caching_options){
      .struct_size = sizeof options, .limit_bytes = 2 * MIB, .floor_bytes = 2 * MIB + 1};
  assert_status(tarn_caching_pool_create(provider, &options, &pool), TARN_INVALID_ARGUMENT);
  assert_string_equal(tarn_last_error()->message,
                      "a floor of 2097153 bytes lies above the pool's limit of 2097152");
  assert_null(pool);
  options.floor_bytes = options.limit_bytes;
  assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  tarn_pool_release(pool);
  options.limit_bytes = 0; /* none, so no floor is above it */
  assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  tarn_pool_release(pool);
  options = (tarn_caching_options){.struct_size = sizeof options, .name = "weights"};
  assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  assert_string_equal(tarn_pool_name(pool), "weights");
  tarn_pool_release(pool);
  tarn_provider_release(provider);
}

TEST(a_block_freed_on_a_closed_stream_waits_for_its_last_work) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *closed = make_stream(), *other = make_stream();
  void *block = take(pool, 4 * MIB, closed), *none = NULL;
  work(closed);
  assert_ok(tarn_stream_close(closed));
  give(pool, block, closed);
  assert_int_equal(tarn_pool_alloc(pool, 8 * MIB, closed, &none), TARN_INVALID_ARGUMENT);
  assert_int_equal(stats_of(pool).active_bytes, 4 * MIB);
  manual_called = (manual_calls){0};
  assert_ptr_equal(take(pool, 4 * MIB, other), block);
  assert_int_equal(manual_called.queries, 1); /* of the final fence, which has passed */
  assert_int_equal(manual_called.records, 0);
  give(pool, block, other);
  tarn_stream_release(closed);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(a_block_freed_on_a_closed_stream_waits_for_others_in_its_place) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *closed = make_stream();
  tarn_stream *keeper = make_stream();
  const uint32_t number = tarn_stream_number(closed);
  void *block = take(pool, 4096, closed), *warm = take(pool, 4096, closed);
  give(pool, warm, closed); /* from now on the thread keeps what that stream frees */
  assert_ok(tarn_stream_close(closed));
  tarn_stream *next = make_stream(); /* on the timeline that is free again */
  assert_int_equal(tarn_stream_number(next), number);
  work(next);
  assert_ok(tarn_pool_note_use(pool, block, next));
  give(pool, block, closed);
  assert_int_equal(stats_of(pool).active_bytes, 4096);
  void *of_host = take(pool, 4096, NULL); /* empties the magazine on the way, where it grows */
  assert_ptr_not_equal(of_host, block);
  give(pool, of_host, NULL);
  tarn_stream_release(closed);
  tarn_stream_release(keeper);
  tarn_stream_release(next);
  tarn_pool_release(pool);
}

/* The host has seen all of the closed stream's own work, so only the other's stamp is left. */
TEST(a_block_freed_on_a_seen_stream_still_waits_for_another) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *closed = make_stream(), *other = make_stream();
  void *block = take(pool, 4096, closed);
  assert_ok(tarn_stream_close(closed));
  tarn_stream *next = make_stream();
  work(other);
  assert_ok(tarn_pool_note_use(pool, block, other));
  give(pool, block, closed);
  void *found = take(pool, 4096, next);
  assert_ptr_not_equal(found, block);
  give(pool, found, next);
  tarn_stream_release(closed);
  tarn_stream_release(other);
  tarn_stream_release(next);
  tarn_pool_release(pool);
}

TEST(a_closed_stream_is_refused_memory_that_its_thread_keeps) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *closed = make_stream();
  give(pool, take(pool, 4096, closed), closed);
  assert_ok(tarn_stream_close(closed));
  void *none = NULL;
  assert_status(tarn_pool_alloc(pool, 4096, closed, &none), TARN_INVALID_ARGUMENT);
  assert_null(none);
  tarn_stream_release(closed);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
