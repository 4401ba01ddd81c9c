/* test_callbacks_main.c: runs every group of tests of pools as C functions. */
#include "tests/adapters/callbacks/test_callbacks.h"

tarn_pool *callbacks_test_pool(size_t limit_bytes) {
  tarn_provider *provider;
  tarn_pool *pool;
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  tarn_provider_release(provider);
  return pool;
}

void callbacks_test_settled(tarn_pool *pool, const tarn_callbacks *callbacks) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_pool_stats_of(pool, &stats));
  assert_int_equal(stats.alloc_count, stats.free_count);
  assert_int_equal(stats.allocated_bytes, 0);
  assert_int_equal(tarn_callbacks_refused_frees(callbacks), 0);
}

int main(void) {
  int failed = run_handle_table_tests();
  failed += run_callbacks_tests();
  failed += run_callbacks_posix_tests();
  return failed != 0;
}
