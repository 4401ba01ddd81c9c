/* test_cpu_level.c: levels are found once and can be limited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/cpu_level.h"

static void level_is_the_machines_where_nobody_limits_it(void **state) {
  (void)state;
  assert_int_equal(tarn__cpu_level_now(), tarn__cpu_level_detect());
}

static void limit_lowers_the_level_and_never_raises_it(void **state) {
  (void)state;
  for (int limit = TARN__CPU_PORTABLE; limit <= TARN__CPU_AVX512; limit++) {
    tarn__cpu_level_limit((tarn__cpu_level)limit);
    assert_true((int)tarn__cpu_level_now() <= limit);
    assert_true(tarn__cpu_level_now() <= tarn__cpu_level_detect());
  }
  assert_int_equal(tarn__cpu_level_now(), tarn__cpu_level_detect());
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(level_is_the_machines_where_nobody_limits_it),
      cmocka_unit_test(limit_lowers_the_level_and_never_raises_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
