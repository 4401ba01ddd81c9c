/* test_barrier.c: two threads that raise a flag and look at the other's never both miss it. */
#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "alloc/barrier.h"

enum { ROUNDS_MAX = 300000, MEETINGS = 20000 };

/* Each on a line of its own, so that one side may have the other's at hand, and miss its own. */
static _Alignas(128) atomic_int frequent_flag;
static _Alignas(128) atomic_int rare_flag;
static _Alignas(128) atomic_int round_begun;
static atomic_int frequent_done;
static atomic_bool is_over;
static int frequent_saw;

/* A processor short, the other side may not be running at all. */
static void wait_for(atomic_int *value, int least) {
  for (int count = 0; atomic_load(value) < least; count++) {
    if (count > 1000) sched_yield();
  }
}

/* Lets the two sides meet at another point in every round. */
static void dawdle(uint64_t *random, int most) {
  for (volatile int left = (int)(test_random(random) % (uint64_t)most); left > 0; left--) {
  }
}

static void *run_frequent_side(void *argument) {
  const bool is_one_sided = tarn__barrier_is_one_sided();
  uint64_t random = 11;
  for (int round = 1;; round++) {
    wait_for(&round_begun, round);
    if (atomic_load(&is_over)) return argument;
    dawdle(&random, 64);
    (void)atomic_load_explicit(&rare_flag, memory_order_relaxed); /* has it at hand below */
    atomic_store_explicit(&frequent_flag, 1, memory_order_relaxed);
    if (is_one_sided) {
      atomic_signal_fence(memory_order_seq_cst);
    } else {
      atomic_thread_fence(memory_order_seq_cst);
    }
    frequent_saw = atomic_load_explicit(&rare_flag, memory_order_relaxed);
    atomic_store(&frequent_done, round);
  }
}

/* One round: what the two sides saw, the rare one's in the higher bit. */
static int run_round(int round, uint64_t *random) {
  atomic_store(&frequent_flag, 0);
  atomic_store(&rare_flag, 0);
  atomic_store(&round_begun, round);
  dawdle(random, 128);
  atomic_store_explicit(&rare_flag, 1, memory_order_relaxed);
  tarn__barrier_heavy();
  const int rare_saw = atomic_load_explicit(&frequent_flag, memory_order_relaxed);
  wait_for(&frequent_done, round);
  return 2 * rare_saw + frequent_saw;
}

static void one_of_two_sides_always_sees_the_other(void **state) {
  (void)state;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, run_frequent_side, NULL), 0);
  uint64_t random = 7;
  int counts[4] = {0};
  int round = 0;
  /* Where each saw the other, they ran side by side: only such rounds say much. */
  while (round < ROUNDS_MAX && counts[3] < MEETINGS && counts[0] == 0) {
    round++;
    counts[run_round(round, &random)]++;
  }
  atomic_store(&is_over, true);
  atomic_store(&round_begun, round + 1);
  pthread_join(thread, NULL);
  assert_int_equal(counts[0], 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_of_two_sides_always_sees_the_other)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
