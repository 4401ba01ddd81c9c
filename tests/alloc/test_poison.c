/* test_poison.c: marks for memory checkers are exact, and vanish where nobody looks. */
#include "tests/support/touchable.h"

enum { MEMORY_BYTES = 256 };
static _Alignas(64) char memory[MEMORY_BYTES];

static int lift_memory(void **state) {
  (void)state;
  tarn_poison_lift(memory, sizeof memory);
  return 0;
}

static void marks_change_no_byte(void **state) {
  (void)state;
  for (int i = 0; i < MEMORY_BYTES; i++) memory[i] = (char)i;
  tarn_poison(memory, sizeof memory);
  tarn_poison_lift(memory, sizeof memory);
  for (int i = 0; i < MEMORY_BYTES; i++) assert_int_equal(memory[i], (char)i);
}

static void poisoned_bytes_and_no_others_are_out_of_reach(void **state) {
  (void)state;
  SKIP_UNWATCHED();
  tarn_poison(memory + 64, 64);
  assert_true(is_touchable(memory + 63));
  assert_true(is_all_poisoned(memory + 64, 64));
  assert_true(is_touchable(memory + 128));
}

static void a_lent_block_ends_with_its_last_byte(void **state) {
  (void)state;
  SKIP_UNWATCHED();
  for (size_t size_bytes = 1; size_bytes < 70; size_bytes++) {
    tarn_poison(memory, sizeof memory);
    tarn_poison_lend(memory, size_bytes);
    assert_int_equal(touchable_bytes(memory, sizeof memory), size_bytes);
    assert_true(is_all_poisoned(memory + size_bytes, sizeof memory - size_bytes));
  }
}

static void lifted_memory_is_anybodys(void **state) {
  (void)state;
  SKIP_UNWATCHED();
  tarn_poison(memory, sizeof memory);
  tarn_poison_lift(memory, 100);
  assert_int_equal(touchable_bytes(memory, sizeof memory), 100);
}

static void a_size_of_zero_marks_nothing(void **state) {
  (void)state;
  SKIP_UNWATCHED();
  tarn_poison(memory, 0);
  assert_true(is_touchable(memory));
  tarn_poison(memory, sizeof memory);
  tarn_poison_lend(memory, 0);
  tarn_poison_lift(memory, 0);
  assert_true(is_all_poisoned(memory, sizeof memory));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(marks_change_no_byte, lift_memory),
      cmocka_unit_test_teardown(poisoned_bytes_and_no_others_are_out_of_reach, lift_memory),
      cmocka_unit_test_teardown(a_lent_block_ends_with_its_last_byte, lift_memory),
      cmocka_unit_test_teardown(lifted_memory_is_anybodys, lift_memory),
      cmocka_unit_test_teardown(a_size_of_zero_marks_nothing, lift_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
