/* test_barrier.c: two threads that raise a flag and look at the other's never both miss it. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "alloc/barrier.h"

enum { ROUNDS = 20000 };

static atomic_int frequent_flag;
static atomic_int rare_flag;
static atomic_int round_begun;
static atomic_int frequent_done;
static int frequent_saw[ROUNDS];
static int rare_saw[ROUNDS];

static void *run_frequent_side(void *argument) {
  const bool is_one_sided = tarn__barrier_is_one_sided();
  for (int round = 0; round < ROUNDS; round++) {
    while (atomic_load(&round_begun) <= round) {
    }
    atomic_store_explicit(&frequent_flag, 1, memory_order_relaxed);
    if (is_one_sided) {
      atomic_signal_fence(memory_order_seq_cst);
    } else {
      atomic_thread_fence(memory_order_seq_cst);
    }
    frequent_saw[round] = atomic_load_explicit(&rare_flag, memory_order_relaxed);
    atomic_store(&frequent_done, round + 1);
  }
  return argument;
}

static void one_of_two_sides_always_sees_the_other(void **state) {
  (void)state;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, run_frequent_side, NULL), 0);
  for (int round = 0; round < ROUNDS; round++) {
    atomic_store(&frequent_flag, 0);
    atomic_store(&rare_flag, 0);
    atomic_store(&round_begun, round + 1);
    atomic_store_explicit(&rare_flag, 1, memory_order_relaxed);
    tarn__barrier_heavy();
    rare_saw[round] = atomic_load_explicit(&frequent_flag, memory_order_relaxed);
    while (atomic_load(&frequent_done) <= round) {
    }
  }
  pthread_join(thread, NULL);
  int missed = 0;
  for (int round = 0; round < ROUNDS; round++) missed += !frequent_saw[round] && !rare_saw[round];
  assert_int_equal(missed, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_of_two_sides_always_sees_the_other)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
