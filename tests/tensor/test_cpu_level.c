/* test_cpu_level.c: levels are found once and can be limited. */

#include "tensor/cpu_level.h"
#include "tests/support/test.h"

TEST(level_is_the_machines_where_nobody_limits_it) {
  assert_int_equal(tarn__cpu_level_now(), tarn__cpu_level_detect());
}

TEST(limit_lowers_the_level_and_never_raises_it) {
  for (int limit = TARN__CPU_PORTABLE; limit <= TARN__CPU_AVX512; limit++) {
    tarn__cpu_level_limit((tarn__cpu_level)limit);
    assert_true((int)tarn__cpu_level_now() <= limit);
    assert_true(tarn__cpu_level_now() <= tarn__cpu_level_detect());
  }
  assert_int_equal(tarn__cpu_level_now(), tarn__cpu_level_detect());
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
