/* test_pool_provider.c: pools over pools: whose order fresh memory is in, and where it goes back
 * to. */
#include "tests/alloc/caching_fixture.h"

#include <string.h>

#include "alloc/tarn_pool_provider.h"
#include "tests/support/manual_stream.h"
#include "tests/support/pools.h"

enum { KIB = 1 << 10 };

/* An upper caching pool whose segments come from `lower`. */
static tarn_pool *make_upper(tarn_pool *lower, size_t limit_bytes, size_t segment_bytes) {
  const tarn_caching_options options = {
      .struct_size = sizeof options, .limit_bytes = limit_bytes, .segment_bytes = segment_bytes};
  tarn_provider *provider = NULL;
  assert_ok(tarn_pool_provider_create(lower, NULL, &provider));
  return pool_over(provider, &options);
}

static void fill(tarn_stream *stream, void *address, size_t size_bytes) {
  assert_ok(
      tarn_stream_fill(stream, address, tarn_device_make(TARN_DEVICE_CUDA, 0), 0xBB, size_bytes));
}

/* The lower pool makes A wait for B. The upper pool then has the rest of the fresh segment, which
 * only A is behind: C must be ordered behind A before it gets a part. */
TEST(the_rest_of_a_fresh_segment_is_behind_the_stream_that_got_it) {
  tarn_pool *lower = make_segment_pool(2 * MIB);
  tarn_pool *upper = make_upper(lower, 2 * MIB, 2 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  tarn_stream *c = make_stream();
  char *whole = take(lower, 2 * MIB, b);
  fill(b, whole, 2 * MIB);
  give(lower, whole, b);
  char *first = take(upper, 64 * KIB, a);
  assert_ptr_equal(first, whole);
  char *second = take(upper, 64 * KIB, c);
  assert_true(second > whole && second < whole + 2 * MIB);
  memset(second, 0, 64 * KIB);
  fill(c, second, 64 * KIB);
  /* C cannot run before B has. */
  while (manual_stream_advance(c, 1) == 1) {
  }
  assert_int_not_equal(manual_stream_pending(c), 0);
  assert_int_equal(second[0], 0);
  assert_int_equal(manual_stream_advance(b, 1), 1);
  while (manual_stream_advance(a, 1) == 1) {
  }
  while (manual_stream_advance(c, 1) == 1) {
  }
  assert_int_equal(manual_stream_pending(c), 0);
  give(upper, first, a);
  give(upper, second, c);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_stream_release(c);
  tarn_pool_release(upper);
  tarn_pool_release(lower);
}

/* The CPU is a timeline too: it gets a part of such a segment only once B is done. */
TEST(the_host_waits_for_the_rest_of_a_fresh_segment) {
  tarn_pool *lower = make_segment_pool(2 * MIB);
  tarn_pool *upper = make_upper(lower, 2 * MIB, 2 * MIB);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  char *whole = take(lower, 2 * MIB, b);
  fill(b, whole, 2 * MIB);
  give(lower, whole, b);
  char *first = take(upper, 64 * KIB, a);
  char *second = take(upper, 64 * KIB, NULL);
  assert_int_equal(manual_stream_pending(b), 0);
  assert_true(second != first);
  give(upper, first, a);
  give(upper, second, NULL);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(upper);
  tarn_pool_release(lower);
}

TEST(memory_for_the_host_is_clean_at_once) {
  tarn_pool *lower = make_segment_pool(0);
  tarn_pool *upper = make_upper(lower, 0, 2 * MIB);
  tarn_stream *stream = make_stream();
  char *block = take(upper, 64 * KIB, NULL);
  manual_called = (manual_calls){0};
  char *other = take(upper, 64 * KIB, stream);
  assert_ptr_equal(other, block + 64 * KIB);
  assert_int_equal(manual_called.records + manual_called.waits, 0);
  give(upper, block, NULL);
  give(upper, other, stream);
  tarn_stream_release(stream);
  tarn_pool_release(upper);
  tarn_pool_release(lower);
}

TEST(a_segment_goes_back_only_when_every_stream_has_passed_it) {
  tarn_pool *lower = make_segment_pool(0);
  tarn_pool *upper = make_upper(lower, 0, 2 * MIB);
  tarn_stream *stream = make_stream();
  void *block = take(upper, 64 * KIB, stream);
  work(stream);
  give(upper, block, stream);
  size_t released = 1;
  assert_ok(tarn_pool_trim(upper, 0, &released));
  assert_int_equal(released, 0);
  assert_int_equal(stats_of(lower).allocated_bytes, 2 * MIB);
  while (manual_stream_advance(stream, 1) == 1) {
  }
  assert_ok(tarn_pool_trim(upper, 0, &released));
  assert_int_equal(released, 2 * MIB);
  assert_int_equal(stats_of(lower).allocated_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(upper);
  tarn_pool_release(lower);
}

TEST(the_lower_pool_lives_as_long_as_the_upper_one) {
  tarn_pool *lower = make_segment_pool(0);
  tarn_pool *upper = make_upper(lower, 0, 0);
  tarn_pool_release(lower);
  void *block = take(upper, 3 * MIB, NULL);
  assert_int_equal(provided.live_bytes, 4 * MIB);
  tarn_pool_release(upper);
  give(upper, block, NULL);
  assert_int_equal(provided.live_bytes, 0);
}

TEST(what_the_lower_pool_lacks_the_upper_one_tells) {
  tarn_pool *lower = make_segment_pool(4 * MIB);
  tarn_pool *upper = make_upper(lower, 0, 0);
  void *block = &block;
  assert_status(tarn_pool_alloc(upper, 5 * MIB, NULL, &block), TARN_OUT_OF_MEMORY);
  assert_null(block);
  assert_int_equal(stats_of(lower).allocated_bytes, 0);
  block = take(upper, 4 * MIB, NULL);
  give(upper, block, NULL);
  tarn_pool_release(upper);
  tarn_pool_release(lower);
}

static bool trim_upper(void *context, const tarn_pressure *pressure) {
  (void)pressure;
  size_t released = 0;
  return tarn_pool_trim(context, 0, &released) == TARN_OK && released > 0;
}

/* What the upper pool keeps idle comes down when the lower one runs out. */
TEST(the_upper_pool_can_give_back_under_the_lower_ones_pressure) {
  tarn_pool *lower = make_segment_pool(4 * MIB);
  tarn_pool *upper = make_upper(lower, 0, 0);
  tarn_budget *budget = tarn_caching_pool_budget(lower);
  assert_ok(tarn_budget_add_pressure(budget, trim_upper, upper));
  give(upper, take(upper, 4 * MIB, NULL), NULL);
  assert_int_equal(stats_of(lower).allocated_bytes, 4 * MIB);
  void *block = take(lower, 4 * MIB, NULL);
  assert_int_equal(stats_of(upper).reserved_bytes, 0);
  give(lower, block, NULL);
  assert_ok(tarn_budget_remove_pressure(budget, trim_upper, upper));
  tarn_pool_release(upper);
  tarn_pool_release(lower);
}

TEST(attributes_are_the_pools) {
  tarn_pool *lower = make_segment_pool(0);
  const tarn_pool_provider_options options = {.struct_size = sizeof options,
                                              .name = "upper",
                                              .granularity_bytes = 1024,
                                              .alignment_bytes = 4096};
  tarn_provider *provider = NULL;
  assert_ok(tarn_pool_provider_create(lower, &options, &provider));
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  assert_string_equal(tarn_provider_name(provider), "upper");
  assert_int_equal(attributes->granularity_bytes, 1024);
  assert_int_equal(attributes->alignment_bytes, 4096);
  assert_int_equal(attributes->device.type, TARN_DEVICE_CUDA);
  assert_int_equal(attributes->flags, TARN_PROVIDER_ORDERED | TARN_PROVIDER_OF_PROCESS);
  void *block = NULL;
  void *kept = take(lower, 256, NULL);
  assert_ok(tarn_provider_alloc(provider, 1024, &block));
  assert_int_equal((uintptr_t)block % 4096, 0);
  assert_ok(tarn_provider_free(provider, block, 1024));
  give(lower, kept, NULL);
  tarn_provider_release(provider);
  tarn_pool_release(lower);
}

TEST(bad_arguments_are_refused) {
  tarn_pool *lower = make_segment_pool(0);
  tarn_provider *provider = (tarn_provider *)lower;
  assert_status(tarn_pool_provider_create(NULL, NULL, &provider), TARN_INVALID_ARGUMENT);
  assert_null(provider);
  assert_status(tarn_pool_provider_create(lower, NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_provider_options options = {.struct_size = 3};
  assert_status(tarn_pool_provider_create(lower, &options, &provider), TARN_INVALID_ARGUMENT);
  options = (tarn_pool_provider_options){.struct_size = sizeof options, .granularity_bytes = 1000};
  assert_status(tarn_pool_provider_create(lower, &options, &provider), TARN_INVALID_ARGUMENT);
  options = (tarn_pool_provider_options){.struct_size = sizeof options, .alignment_bytes = 48};
  assert_status(tarn_pool_provider_create(lower, &options, &provider), TARN_INVALID_ARGUMENT);
  tarn_pool_release(lower);
}

/* What is left of a segment, and what lies in front of an aligned block, is less than a granule of
 * the heap's. */
TEST(scraps_of_a_fine_granularity_stay_in_their_segment) {
  tarn_pool *lower = make_segment_pool(0);
  const tarn_pool_provider_options fine = {
      .struct_size = sizeof fine, .granularity_bytes = 64, .alignment_bytes = 64};
  const tarn_caching_options options = {.struct_size = sizeof options, .segment_bytes = 960};
  tarn_provider *provider = NULL;
  assert_ok(tarn_pool_provider_create(lower, &fine, &provider));
  tarn_pool *pool = pool_over(provider, &options);
  void *block = take(pool, 768, NULL);
  void *small = take(pool, 256, NULL); /* 192 bytes are free, which is not enough */
  assert_int_equal(stats_of(pool).reserved_bytes, 2 * 960);
  give(pool, block, NULL);
  give(pool, small, NULL);
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  assert_ok(tarn_caching_pool_reserve(pool, 960));
  assert_int_equal(stats_of(pool).reserved_bytes, 960);
  assert_ok(tarn_caching_pool_reserve(pool, 1000));
  assert_int_equal(stats_of(pool).reserved_bytes, 2 * 960);
  tarn_pool_release(pool);
  tarn_pool_release(lower);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
