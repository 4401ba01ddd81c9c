/* test_aligned_pool.c: blocks aligned to more than was asked for. */
#include "alloc/adapters/pools/tarn_aligned_pool.h"

#include "tests/adapters/pools/adaptor_fixture.h"

enum { ALIGNMENT = 16384, BLOCKS = 16 };

static tarn_pool *make_aligned(size_t size_min_bytes, uint32_t flags) {
  const tarn_aligned_pool_options options = {.struct_size = sizeof options,
                                             .alignment_bytes = ALIGNMENT,
                                             .size_min_bytes = size_min_bytes,
                                             .flags = flags};
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  assert_ok(tarn_aligned_pool_create(upstream, &options, &pool));
  tarn_pool_release(upstream);
  return pool;
}

static bool is_aligned(const void *address, size_t alignment_bytes) {
  return ((uintptr_t)address & (alignment_bytes - 1)) == 0;
}

TEST(every_block_is_aligned_and_the_pool_says_so) {
  tarn_pool *pool = make_aligned(0, 0);
  void *blocks[BLOCKS];
  assert_int_equal(tarn_pool_attributes_of(pool)->alignment_bytes, ALIGNMENT);
  for (size_t index = 0; index < BLOCKS; index++) {
    assert_ok(tarn_pool_alloc(pool, 1 + index * 1000, NULL, &blocks[index]));
    assert_true(is_aligned(blocks[index], ALIGNMENT));
  }
  void *more = NULL;
  assert_ok(tarn_pool_alloc_aligned(pool, 100, (size_t)1 << 20, NULL, &more));
  assert_true(is_aligned(more, (size_t)1 << 20)); /* more than the option is still to be had */
  assert_ok(tarn_pool_free(pool, more, NULL));
  for (size_t index = 0; index < BLOCKS; index++) {
    assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  }
  tarn_pool_release(pool);
}

TEST(small_blocks_are_left_alone_where_asked_for) {
  tarn_pool *pool = make_aligned(4096, 0);
  void *blocks[BLOCKS];
  bool is_some_other = false;
  assert_true(tarn_pool_attributes_of(pool)->alignment_bytes < ALIGNMENT);
  for (size_t index = 0; index < BLOCKS; index++) {
    const bool is_large = index % 2 == 1;
    assert_ok(tarn_pool_alloc(pool, is_large ? 4096 : 4095, NULL, &blocks[index]));
    assert_true(!is_large || is_aligned(blocks[index], ALIGNMENT));
    is_some_other |= !is_aligned(blocks[index], ALIGNMENT);
  }
  assert_true(is_some_other);
  for (size_t index = 0; index < BLOCKS; index++) {
    assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  }
  tarn_pool_release(pool);
}

TEST(whole_units_are_one_blocks_alone) {
  tarn_pool *pool = make_aligned(0, TARN_ALIGNED_POOL_WHOLE);
  void *blocks[BLOCKS];
  for (size_t index = 0; index < BLOCKS; index++) {
    assert_ok(tarn_pool_alloc(pool, 100, NULL, &blocks[index]));
  }
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes, BLOCKS * 100);
  assert_int_equal(stats.allocated_bytes, BLOCKS * ALIGNMENT);
  for (size_t left = 0; left < BLOCKS; left++) {
    for (size_t right = 0; right < left; right++) {
      assert_true((uintptr_t)blocks[left] / ALIGNMENT != (uintptr_t)blocks[right] / ALIGNMENT);
    }
    assert_ok(tarn_pool_free(pool, blocks[left], NULL));
  }
  void *huge = NULL;
  assert_status(tarn_pool_alloc(pool, PTRDIFF_MAX, NULL, &huge), TARN_TOO_LARGE);
  tarn_pool_release(pool);
}

TEST(peaks_have_what_was_lent_at_once_and_no_more) {
  tarn_pool *pool = make_aligned(4096, TARN_ALIGNED_POOL_WHOLE);
  void *large = NULL;
  void *small = NULL;
  for (size_t size_bytes = 6000; size_bytes > 4096; size_bytes -= 1000) {
    assert_ok(tarn_pool_alloc(pool, size_bytes, NULL, &large));
    assert_ok(tarn_pool_free(pool, large, NULL));
  }
  assert_int_equal(stats_of(pool).requested_bytes_peak, 6000);
  assert_int_equal(stats_of(pool).allocated_bytes_peak, ALIGNMENT);
  assert_ok(tarn_pool_alloc(pool, 5000, NULL, &large));
  assert_ok(tarn_pool_alloc(pool, 900, NULL, &small));
  assert_int_equal(stats_of(pool).requested_bytes_peak, 6000);
  assert_int_equal(stats_of(pool).allocated_bytes_peak, ALIGNMENT + 900);
  assert_ok(tarn_pool_free(pool, large, NULL));
  assert_ok(tarn_pool_free(pool, small, NULL));
  tarn_pool_release(pool);
}

TEST(what_is_no_alignment_is_refused) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  tarn_aligned_pool_options options = {.struct_size = sizeof options, .alignment_bytes = 48};
  assert_status(tarn_aligned_pool_create(upstream, &options, &pool), TARN_INVALID_ARGUMENT);
  options.alignment_bytes = 0;
  assert_status(tarn_aligned_pool_create(upstream, &options, &pool), TARN_INVALID_ARGUMENT);
  options.alignment_bytes = 64;
  options.flags = 2;
  assert_status(tarn_aligned_pool_create(upstream, &options, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_aligned_pool_create(upstream, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_null(pool);
  tarn_pool_release(upstream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
