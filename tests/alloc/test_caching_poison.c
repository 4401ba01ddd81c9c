/* test_caching_poison.c: what of a caching pool's memory may be touched, and when. */

#include "alloc/tarn_fixed.h"
#include "alloc/tarn_pool_provider.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/manual_stream.h"
#include "tests/support/touchable.h"

enum { GRANULE_BYTES = 256 };

static tarn_pool *pool;

static int make_pool(void **state) {
  (void)state;
  pool = make_range_pool(/*limit_bytes=*/0);
  return 0;
}

static int drop_pool(void **state) {
  (void)state;
  tarn_pool_release(pool);
  return 0;
}

static tarn_stream *make_host_stream(void) {
  tarn_stream *stream = NULL;
  assert_ok(manual_stream_create_on(tarn_device_make(TARN_DEVICE_CPU, 0), &stream));
  return stream;
}

/* What a step of a stream finds when it runs. */
typedef struct reader {
  const char *address;
  size_t size_bytes;
  size_t found_bytes;
} reader;

static void read_later(void *argument) {
  reader *self = argument;
  self->found_bytes = touchable_bytes(self->address, self->size_bytes);
}

TEST_WITH(a_block_is_touchable_to_its_last_byte, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  static const size_t sizes[] = {1, 7, 8, 255, 256, 257, 1000, 70001, 3 * MIB + 5};
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    char *block = take(pool, sizes[i], NULL);
    assert_int_equal(touchable_bytes(block, sizes[i] + 1), sizes[i]);
    give(pool, block, NULL);
  }
}

TEST_WITH(what_was_never_lent_is_poisoned, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  char *block = take(pool, GRANULE_BYTES, NULL);
  assert_true(is_all_poisoned(block + GRANULE_BYTES, MIB));
  give(pool, block, NULL);
}

TEST_WITH(a_freed_block_is_poisoned_at_once, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  static const size_t sizes[] = {100, 5000, 200000, 3 * MIB};
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    char *block = take(pool, sizes[i], NULL);
    give(pool, block, NULL); /* with the lock the first time, without it the second */
    assert_true(is_all_poisoned(block, sizes[i]));
    assert_ptr_equal(take(pool, sizes[i], NULL), block);
    assert_int_equal(touchable_bytes(block, sizes[i] + 1), sizes[i]);
    give(pool, block, NULL);
    assert_true(is_all_poisoned(block, sizes[i]));
  }
}

TEST_WITH(a_shorter_block_in_the_same_place_ends_earlier, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  char *block = take(pool, 1000, NULL);
  give(pool, block, NULL);
  assert_ptr_equal(take(pool, 901, NULL), block);
  assert_int_equal(touchable_bytes(block, 1024), 901);
  give(pool, block, NULL);
}

TEST_WITH(a_second_free_is_refused_and_leaves_it_poisoned, make_pool, drop_pool) {
  char *block = take(pool, 100, NULL);
  give(pool, block, NULL);
  assert_status(tarn_pool_free(pool, block, NULL), TARN_NOT_FOUND);
  SKIP_UNWATCHED();
  assert_true(is_all_poisoned(block, 100));
}

TEST_WITH(work_that_was_enqueued_before_the_free_may_read, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  tarn_stream *stream = make_host_stream();
  reader late = {.size_bytes = 1000};
  char *block = take(pool, 1000, stream);
  late.address = block;
  assert_ok(tarn_stream_call(stream, read_later, &late));
  give(pool, block, stream);
  tarn_pool_stats stats = stats_of(pool); /* the pool looks at what it has */
  assert_int_equal(stats.allocated_bytes, 0);
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(late.found_bytes, 1000);
  tarn_stream_release(stream);
}

/* The earlier work reads all of its block, though the next one in that place is shorter. */
TEST_WITH(work_before_the_next_block_in_that_place_may_read, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  tarn_stream *stream = make_host_stream();
  reader late = {.size_bytes = 1000};
  char *block = take(pool, 1000, stream);
  late.address = block;
  assert_ok(tarn_stream_call(stream, read_later, &late));
  give(pool, block, stream);
  assert_ptr_equal(take(pool, 910, stream), block);
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(late.found_bytes, 1000);
  give(pool, block, stream);
  tarn_stream_release(stream);
}

TEST_WITH(a_block_of_a_stream_is_poisoned_once_the_stream_is_past_it, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  static const size_t sizes[] = {100, 40000, 3 * MIB}; /* kept by the thread, and not */
  tarn_stream *stream = make_host_stream();
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    char *block = take(pool, sizes[i], stream);
    work(stream);
    give(pool, block, stream);
    assert_int_equal(touchable_bytes(block, sizes[i]), sizes[i]);
    assert_ok(tarn_stream_synchronize(stream));
    give(pool, take(pool, 100000 + i * 1000, NULL), NULL);
    assert_true(is_all_poisoned(block, sizes[i]));
  }
  tarn_stream_release(stream);
}

TEST_WITH(another_streams_use_keeps_a_block_touchable, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  tarn_stream *stream = make_host_stream();
  char *block = take(pool, 100, NULL);
  work(stream);
  assert_ok(tarn_pool_note_use(pool, block, stream));
  give(pool, block, NULL);
  assert_int_equal(touchable_bytes(block, 100), 100);
  assert_ok(tarn_stream_synchronize(stream));
  size_t released_bytes = 0;
  assert_ok(tarn_pool_trim(pool, SIZE_MAX, &released_bytes));
  assert_true(is_all_poisoned(block, 100));
  tarn_stream_release(stream);
}

TEST_WITH(trimmed_memory_bears_no_marks, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  char *block = take(pool, 3 * MIB, NULL);
  give(pool, block, NULL);
  size_t released_bytes = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released_bytes));
  assert_int_equal(released_bytes, 4 * MIB);
  assert_int_equal(touchable_bytes(block, 4 * MIB), 4 * MIB); /* it is asked about, not touched */
  block = take(pool, 3 * MIB + 1, NULL);
  assert_int_equal(touchable_bytes(block, 4 * MIB), 3 * MIB + 1);
  give(pool, block, NULL);
}

TEST(the_range_of_a_pool_that_is_gone_bears_no_marks) {
  SKIP_UNWATCHED();
  static _Alignas(4096) char range[64 << 10];
  tarn_provider *provider = NULL;
  tarn_pool *fixed = NULL;
  assert_ok(tarn_fixed_provider_create(range, sizeof range, NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &fixed));
  char *block = take(fixed, 100, NULL);
  assert_int_equal(touchable_bytes(block, 4096), 100);
  give(fixed, block, NULL);
  tarn_pool_release(fixed);
  tarn_provider_release(provider);
  assert_int_equal(touchable_bytes(range, sizeof range), sizeof range);
}

TEST_WITH(a_pool_over_a_pool_draws_its_own_lines, make_pool, drop_pool) {
  SKIP_UNWATCHED();
  tarn_provider *provider = NULL;
  tarn_pool *upper = NULL;
  assert_ok(tarn_pool_provider_create(pool, NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &upper));
  char *block = take(upper, 1001, NULL);
  assert_int_equal(touchable_bytes(block, 64 << 10), 1001);
  give(upper, block, NULL);
  assert_true(is_all_poisoned(block, 1001));
  tarn_pool_release(upper);
  tarn_provider_release(provider);
  assert_true(is_all_poisoned(block, 64 << 10)); /* free in the one below */
  block = take(pool, 2 * MIB, NULL);
  assert_int_equal(touchable_bytes(block, 2 * MIB), 2 * MIB);
  give(pool, block, NULL);
}

TEST(memory_of_a_device_is_never_marked) {
  SKIP_UNWATCHED();
  tarn_pool *device = make_segment_pool(/*limit_bytes=*/0);
  char *block = take(device, 1000, NULL);
  assert_int_equal(touchable_bytes(block, MIB), MIB);
  give(device, block, NULL);
  assert_int_equal(touchable_bytes(block, MIB), MIB);
  tarn_pool_release(device);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
