/* test_program_threads.c: programs of several host threads, over every kind of pool. */
#include "tests/support/test.h"

#include "tests/sim/program_threads.h"

enum { SEEDS = 24 };

TEST(threads_share_pools_and_hand_blocks_over) {
  static program_verdict verdict;
  uint32_t run_count = 0;
  uint32_t check_count = 0;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    program_run_threads(seed, &verdict);
    if (verdict.failing != PROGRAM_FINE) {
      fail_msg("seed %llu: %s: %s", (unsigned long long)seed, program_failing_name(verdict.failing),
               verdict.text);
    }
    run_count += verdict.run_count;
    check_count += verdict.check_count;
  }
  assert_true(run_count > SEEDS * 1000);
  assert_true(check_count > SEEDS * 300);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
