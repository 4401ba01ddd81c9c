/* test_binning_pool.c: each size from its pool, and each block back to where it came from. */
#include "alloc/adapters/pools/tarn_binning_pool.h"

#include "alloc/adapters/pools/tarn_limit_pool.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_provider.h"
#include "tests/adapters/pools/adaptor_fixture.h"

/* A caching pool over the memory of another. */
static tarn_pool *make_pool_over(tarn_pool *lower) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  assert_ok(tarn_pool_provider_create(lower, NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  tarn_provider_release(provider);
  return pool;
}

TEST(a_size_comes_from_the_first_bin_that_it_fits) {
  tarn_pool *pools[3] = {make_pages_pool(), make_pages_pool(), make_pages_pool()};
  const tarn_bin bins[] = {{1000, pools[0]}, {5000, pools[1]}, {6000, pools[0]}};
  static const struct {
    size_t size_bytes;
    int pool;
  } cases[] = {{1, 0}, {1000, 0}, {1001, 1}, {5000, 1}, {5001, 0}, {6000, 0}, {6001, 2}};
  tarn_pool *pool = NULL;
  assert_ok(tarn_binning_pool_create(bins, COUNT_OF(bins), pools[2], "bins", &pool));
  for (size_t index = 0; index < COUNT_OF(cases); index++) {
    void *block = NULL;
    assert_ok(tarn_pool_alloc(pool, cases[index].size_bytes, NULL, &block));
    for (int other = 0; other < 3; other++) {
      const size_t expected = other == cases[index].pool ? cases[index].size_bytes : 0;
      assert_int_equal(stats_of(pools[other]).requested_bytes, expected);
    }
    assert_ok(tarn_pool_free(pool, block, NULL));
    assert_int_equal(stats_of(pools[cases[index].pool]).requested_bytes, 0);
  }
  tarn_pool_release(pool);
  for (int index = 0; index < 3; index++) tarn_pool_release(pools[index]);
}

TEST(what_is_larger_than_all_bins_is_refused_without_a_rest) {
  tarn_pool *below = make_pages_pool();
  const tarn_bin bin = {1000, below};
  tarn_pool *pool = NULL;
  void *block = NULL;
  assert_ok(tarn_binning_pool_create(&bin, 1, NULL, NULL, &pool));
  tarn_pool_release(below);
  assert_string_equal(tarn_pool_name(pool), "binning over pools");
  assert_status(tarn_pool_alloc(pool, 1001, NULL, &block), TARN_TOO_LARGE);
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &block));
  tarn_pool_release(pool);
  assert_ok(tarn_pool_free(pool, block, NULL)); /* the block kept all three */
}

/* Addresses in a block of the upper pool lie in one of the lower pool, too. */
TEST(a_use_inside_of_a_block_is_told_to_its_own_pool) {
  static _Alignas(64) char blocks[2][4096];
  scripted_pool scripts[2] = {{.block = blocks[0]}, {.block = blocks[1]}};
  tarn_pool *below[2] = {make_scripted_pool(&scripts[0]), make_scripted_pool(&scripts[1])};
  const tarn_bin bin = {1000, below[0]};
  tarn_pool *pool = NULL;
  tarn_stream *stream = NULL;
  void *small = NULL;
  void *large = NULL;
  assert_ok(tarn_binning_pool_create(&bin, 1, below[1], NULL, &pool));
  assert_ok(tarn_worker_stream_create(&stream));
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &small));
  assert_ok(tarn_pool_alloc(pool, 2000, NULL, &large));
  assert_ok(tarn_pool_note_use(pool, (char *)small + 999, stream));
  assert_int_equal(scripts[0].note_count, 1);
  assert_int_equal(scripts[1].note_count, 0);
  assert_ok(tarn_pool_note_use(pool, (char *)large + 1500, stream));
  assert_int_equal(scripts[1].note_count, 1);
  assert_status(tarn_pool_note_use(pool, (char *)small + 1000, stream), TARN_NOT_FOUND);
  assert_status(tarn_pool_free(pool, (char *)small + 64, stream), TARN_NOT_FOUND);
  assert_ok(tarn_pool_free(pool, large, NULL));
  assert_ok(tarn_pool_free(pool, small, NULL));
  assert_int_equal(scripts[0].free_count, 1);
  assert_int_equal(scripts[1].free_count, 1);
  tarn_pool_release(pool);
  for (int index = 0; index < 2; index++) tarn_pool_release(below[index]);
  assert_int_equal(scripts[0].destroy_count, 1);
  tarn_stream_release(stream);
}

TEST(pools_that_stand_on_each_other_keep_their_blocks_apart) {
  tarn_pool *large = make_pages_pool();
  tarn_pool *small = make_pool_over(large);
  const tarn_bin bin = {4096, small};
  tarn_pool *pool = NULL;
  void *blocks[40];
  assert_ok(tarn_binning_pool_create(&bin, 1, large, NULL, &pool));
  for (size_t index = 0; index < 40; index++) {
    assert_ok(tarn_pool_alloc(pool, index % 2 == 0 ? 1000 : 9000, NULL, &blocks[index]));
  }
  assert_int_equal(stats_of(small).requested_bytes, 20 * 1000);
  assert_int_equal(stats_of(pool).requested_bytes, 20 * 10000);
  for (size_t index = 0; index < 40; index++) {
    assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  }
  assert_int_equal(stats_of(small).requested_bytes, 0);
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_ok(tarn_pool_trim(pool, 0, &released)); /* what the upper one gave to the lower one */
  assert_int_equal(stats_of(large).reserved_bytes, 0);
  tarn_pool_release(pool);
  tarn_pool_release(small);
  tarn_pool_release(large);
}

TEST(a_trim_takes_from_the_large_sizes_first) {
  tarn_pool *pools[2] = {make_pages_pool(), make_pages_pool()};
  const tarn_bin bin = {4096, pools[0]};
  tarn_pool *pool = NULL;
  void *blocks[2];
  assert_ok(tarn_binning_pool_create(&bin, 1, pools[1], NULL, &pool));
  assert_ok(tarn_pool_alloc(pool, 4096, NULL, &blocks[0]));
  assert_ok(tarn_pool_alloc(pool, (size_t)64 << 20, NULL, &blocks[1]));
  for (int index = 0; index < 2; index++) assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  const size_t small_bytes = stats_of(pools[0]).reserved_bytes;
  const size_t all_bytes = stats_of(pool).reserved_bytes;
  assert_int_equal(all_bytes, small_bytes + stats_of(pools[1]).reserved_bytes);
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, small_bytes, &released));
  assert_int_equal(released, all_bytes - small_bytes);
  assert_int_equal(stats_of(pools[0]).reserved_bytes, small_bytes);
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, small_bytes);
  tarn_pool_release(pool);
  for (int index = 0; index < 2; index++) tarn_pool_release(pools[index]);
}

TEST(pauses_are_the_pools_own) {
  const tarn_pause_options discard = {.struct_size = sizeof discard,
                                      .contents = TARN_PAUSE_DISCARD};
  tarn_pool *below = make_pages_pool();
  const tarn_bin bin = {SIZE_MAX, below};
  tarn_pool *pool = NULL;
  void *block = NULL;
  assert_ok(tarn_binning_pool_create(&bin, 1, NULL, NULL, &pool));
  assert_ok(tarn_pool_alloc(pool, (size_t)8 << 20, NULL, &block));
  assert_status(tarn_pool_pause(pool, &discard, NULL), TARN_NOT_SUPPORTED);
  assert_status(tarn_pool_resume(pool, NULL, NULL), TARN_NOT_SUPPORTED);
  assert_ok(tarn_pool_pause(below, &discard, NULL));
  assert_true(tarn_pool_is_paused(pool, block));
  assert_true(stats_of(pool).paused_bytes > 0);
  assert_ok(tarn_pool_resume(below, NULL, NULL));
  assert_false(tarn_pool_is_paused(pool, block));
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_ok(tarn_pool_reset_peaks(pool));
  assert_int_equal(stats_of(pool).requested_bytes_peak, 0);
  text_sink sink = {.length = 0};
  assert_ok(tarn_pool_snapshot(pool, write_to_sink, &sink));
  tarn_pool_release(pool);
  tarn_pool_release(below);
}

TEST(bins_that_mean_nothing_are_refused) {
  scripted_pool device = {.device = {TARN_DEVICE_CUDA, 0}};
  tarn_pool *below = make_pages_pool();
  tarn_pool *elsewhere = make_scripted_pool(&device);
  tarn_pool *pool = below;
  const tarn_bin backwards[] = {{1000, below}, {1000, below}};
  const tarn_bin empty[] = {{1000, NULL}};
  const tarn_bin zero[] = {{0, below}};
  const tarn_bin fine[] = {{1000, below}};
  assert_status(tarn_binning_pool_create(backwards, 2, NULL, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_null(pool);
  assert_status(tarn_binning_pool_create(empty, 1, NULL, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_binning_pool_create(zero, 1, NULL, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_binning_pool_create(fine, 0, below, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_binning_pool_create(NULL, 1, below, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_binning_pool_create(fine, 1, elsewhere, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_binning_pool_create(fine, 1, NULL, NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(below);
  tarn_pool_release(elsewhere);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
