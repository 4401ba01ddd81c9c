/* test_tracking_pool.c: a report of who holds what, by the places in this file. */
#include "alloc/adapters/pools/tarn_tracking_pool.h"

#include <stdio.h>
#include <string.h>

#include "alloc/adapters/pools/tarn_limit_pool.h"
#include "alloc/tarn_tag.h"
#include "tests/adapters/pools/adaptor_fixture.h"

static tarn_pool *make_tracking(uint32_t depth) {
  const tarn_tracking_pool_options options = {
      .struct_size = sizeof options, .name = "tracked", .depth = depth};
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  assert_ok(tarn_tracking_pool_create(upstream, &options, &pool));
  tarn_pool_release(upstream);
  return pool;
}

/* Two places, by names that the dynamic linker knows. */
__attribute__((noinline, visibility("default"))) void *hold_small(tarn_pool *pool);
__attribute__((noinline, visibility("default"))) void *hold_large(tarn_pool *pool);

void *hold_small(tarn_pool *pool) {
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 100, NULL, &address));
  return address;
}

void *hold_large(tarn_pool *pool) {
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 5000, NULL, &address));
  return address;
}

static const char *report_of(tarn_pool *pool, text_sink *sink) {
  *sink = (text_sink){.length = 0};
  assert_ok(tarn_tracking_pool_report(pool, write_to_sink, sink));
  return sink->text;
}

TEST(blocks_of_one_place_are_summed_and_most_bytes_come_first) {
  static text_sink sink;
  tarn_pool *pool = make_tracking(0);
  void *small[3];
  volatile int count = 3; /* or there are three calls, in three places */
  for (int index = 0; index < count; index++) small[index] = hold_small(pool);
  void *large = hold_large(pool);
  const char *report = report_of(pool, &sink);
  assert_int_equal(strncmp(report, "tracked: 4 blocks, 5300 bytes\n5000 bytes in 1 block, ", 52),
                   0);
  const char *first = strstr(report, " hold_large+0x");
  const char *sums = strstr(report, "\n300 bytes in 3 blocks, one at ");
  const char *second = strstr(report, " hold_small+0x");
  assert_true(first != NULL && sums > first && second > sums);
  assert_null(strstr(second + 2, "hold_small"));
  assert_ok(tarn_pool_free(pool, large, NULL));
  report = report_of(pool, &sink);
  assert_null(strstr(report, "hold_large"));
  for (int index = 0; index < 3; index++) assert_ok(tarn_pool_free(pool, small[index], NULL));
  assert_string_equal(report_of(pool, &sink), "tracked: 0 blocks, 0 bytes\n");
  tarn_pool_release(pool);
}

TEST(tags_tell_blocks_of_one_place_apart) {
  static text_sink sink;
  tarn_pool *pool = make_tracking(0);
  void *blocks[2];
  volatile int count = 2;
  for (int index = 0; index < count; index++) {
    if (index == 1) assert_ok(tarn_tag_push("tracking test"));
    blocks[index] = hold_small(pool);
  }
  tarn_tag_pop();
  const char *report = report_of(pool, &sink);
  assert_non_null(strstr(report, "\n100 bytes in 1 block, one at "));
  assert_non_null(strstr(report, "\n100 bytes in 1 block, tag tracking test, one at "));
  for (int index = 0; index < 2; index++) assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  tarn_pool_release(pool);
}

static size_t frames_in(const char *report) {
  size_t count = 0;
  for (const char *at = report; (at = strstr(at, "\n    0x")) != NULL; at++) count++;
  return count;
}

TEST(no_more_addresses_are_kept_than_asked_for) {
  static text_sink sink;
  for (uint32_t depth = 1; depth <= 3; depth++) {
    tarn_pool *pool = make_tracking(depth);
    void *block = hold_small(pool);
    assert_int_equal(frames_in(report_of(pool, &sink)), depth);
    assert_ok(tarn_pool_free(pool, block, NULL));
    tarn_pool_release(pool);
  }
  const tarn_tracking_pool_options deep = {.struct_size = sizeof deep,
                                           .depth = TARN_TRACKING_DEPTH_MAX + 1};
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  assert_status(tarn_tracking_pool_create(upstream, &deep, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tracking_pool_report(upstream, write_to_sink, &sink), TARN_INVALID_ARGUMENT);
  tarn_pool_release(upstream);
}

TEST(below_other_adaptors_the_place_is_still_found) {
  static text_sink sink;
  tarn_pool *tracking = make_tracking(TARN_TRACKING_DEPTH_MAX);
  tarn_pool *pool = NULL;
  assert_ok(tarn_limit_pool_create(tracking, NULL, &pool));
  void *block = hold_small(pool);
  assert_non_null(strstr(report_of(tracking, &sink), " hold_small+0x"));
  assert_ok(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
  tarn_pool_release(tracking);
}

/* A report may be asked for, and allocate from the pool, while it is written. */
typedef struct using_sink {
  tarn_pool *pool;
  void *block;
} using_sink;

static tarn_status allocate_while_writing(void *context, const char *text, size_t text_bytes) {
  using_sink *self = context;
  (void)text;
  (void)text_bytes;
  return self->block != NULL ? tarn_fail(TARN_BUSY, "enough")
                             : tarn_pool_alloc(self->pool, 100, NULL, &self->block);
}

TEST(a_report_is_written_without_the_lock_and_ends_where_it_is_refused) {
  using_sink sink = {.pool = make_tracking(0)};
  void *block = hold_small(sink.pool);
  assert_status(tarn_tracking_pool_report(sink.pool, allocate_while_writing, &sink), TARN_BUSY);
  assert_ok(tarn_pool_free(sink.pool, sink.block, NULL));
  assert_ok(tarn_pool_free(sink.pool, block, NULL));
  tarn_pool_release(sink.pool);
}

/* The mistake that a report is to find must not be what breaks it. */
TEST(a_block_that_was_freed_below_is_not_told_of_twice) {
  static text_sink sink;
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  assert_ok(tarn_tracking_pool_create(upstream, NULL, &pool));
  void *block = hold_small(pool);
  assert_ok(tarn_pool_free(upstream, block, NULL));
  assert_ptr_equal(hold_small(pool), block);
  const char *report = report_of(pool, &sink);
  assert_non_null(strstr(report, ": 1 block, 100 bytes\n100 bytes in 1 block, "));
  assert_null(strstr(report, " in 0 blocks"));
  /* The first one was over when its address was lent again: nothing of it keeps the pool. */
  assert_int_equal(stats_of(pool).requested_bytes, 100);
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_status(tarn_pool_free(pool, block, NULL), TARN_NOT_FOUND);
  assert_int_equal(stats_of(pool).alloc_count, stats_of(pool).free_count);
  tarn_pool_release(pool);
  tarn_pool_release(upstream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
