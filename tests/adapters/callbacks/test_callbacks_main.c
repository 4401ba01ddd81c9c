/* test_callbacks_main.c: runs every group of tests of pools as C functions. */
#include "tests/adapters/callbacks/test_callbacks.h"
#include "tests/support/pools.h"

tarn_pool *callbacks_test_pool(size_t limit_bytes) {
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  return pages_pool(&options);
}

void callbacks_test_settled(tarn_pool *pool, const tarn_callbacks *callbacks) {
  tarn_pool_stats stats = stats_of(pool);
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
