/* test_poison.c: marks for memory checkers are exact, and vanish where nobody looks. */
#include "tests/support/touchable.h"

enum { MEMORY_BYTES = 256 };
static _Alignas(64) char memory[MEMORY_BYTES];

static int lift_memory(void **state) {
  (void)state;
  tarn_poison_lift(memory, sizeof memory);
  return 0;
}

TEST_WITH(marks_change_no_byte, NULL, lift_memory) {
  for (int i = 0; i < MEMORY_BYTES; i++) memory[i] = (char)i;
  tarn_poison(memory, sizeof memory);
  tarn_poison_lift(memory, sizeof memory);
  for (int i = 0; i < MEMORY_BYTES; i++) assert_int_equal(memory[i], (char)i);
}

TEST_WITH(poisoned_bytes_and_no_others_are_out_of_reach, NULL, lift_memory) {
  SKIP_UNWATCHED();
  tarn_poison(memory + 64, 64);
  assert_true(is_touchable(memory + 63));
  assert_true(is_all_poisoned(memory + 64, 64));
  assert_true(is_touchable(memory + 128));
}

TEST_WITH(a_lent_block_ends_with_its_last_byte, NULL, lift_memory) {
  SKIP_UNWATCHED();
  for (size_t size_bytes = 1; size_bytes < 70; size_bytes++) {
    tarn_poison(memory, sizeof memory);
    tarn_poison_lend(memory, size_bytes);
    assert_int_equal(touchable_bytes(memory, sizeof memory), size_bytes);
    assert_true(is_all_poisoned(memory + size_bytes, sizeof memory - size_bytes));
  }
}

TEST_WITH(lifted_memory_is_anybodys, NULL, lift_memory) {
  SKIP_UNWATCHED();
  tarn_poison(memory, sizeof memory);
  tarn_poison_lift(memory, 100);
  assert_int_equal(touchable_bytes(memory, sizeof memory), 100);
}

TEST_WITH(a_size_of_zero_marks_nothing, NULL, lift_memory) {
  SKIP_UNWATCHED();
  tarn_poison(memory, 0);
  assert_true(is_touchable(memory));
  tarn_poison(memory, sizeof memory);
  tarn_poison_lend(memory, 0);
  tarn_poison_lift(memory, 0);
  assert_true(is_all_poisoned(memory, sizeof memory));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
