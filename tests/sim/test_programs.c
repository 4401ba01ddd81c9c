/* test_programs.c: random programs are repeatable, reach everything, and find planted defects.
 *
 * Each program runs in a process of its own, so this one never starts the driver. */
#include "tests/support/test.h"

#include "cuda/sim/cusim.h"
#include "tests/sim/program.h"

#ifndef PROGRAM_SLOWNESS
#error "the build says how many times slower than usual it is"
#endif

enum {
  REPEATED_SEEDS = 21 / PROGRAM_SLOWNESS,
  REACHING_SEEDS = 60 / PROGRAM_SLOWNESS,
  FINDING_SEEDS = 150, /* a planted defect is found within so many */
  SHRUNK_OPS_MAX = 10,
  SHRINK_RUNS_MAX = 3000,
};

static program made;

static void run_seed(uint64_t seed, program_verdict *verdict) {
  program_generate(&made, seed);
  program_run_isolated(&made, verdict);
  if (verdict->failing != PROGRAM_FINE) {
    fail_msg("seed %llu, operation %u: %s: %s", (unsigned long long)seed, verdict->op_index,
             program_failing_name(verdict->failing), verdict->text);
  }
}

TEST(the_same_seed_runs_the_same_way) {
  for (uint64_t seed = 1; seed <= REPEATED_SEEDS; seed++) {
    program_verdict first, second;
    run_seed(seed, &first);
    run_seed(seed, &second);
    if (first.trace_hash == second.trace_hash && first.run_count == second.run_count &&
        first.check_count == second.check_count && first.refused_count == second.refused_count) {
      continue;
    }
    fail_msg("seed %llu: trace %llx and %llx, operations run %u and %u, refused %u and %u",
             (unsigned long long)seed, (unsigned long long)first.trace_hash,
             (unsigned long long)second.trace_hash, first.run_count, second.run_count,
             first.refused_count, second.refused_count);
  }
}

/* No operation, policy or kind of pool is there for nothing. */
TEST(programs_reach_everything) {
  uint32_t verbs[VERB_COUNT] = {0};
  uint32_t policies[CUSIM_POLICY_COUNT] = {0};
  uint32_t kinds[POOL_KIND_COUNT] = {0};
  uint32_t refused_count = 0;
  for (uint64_t seed = 1000; seed < 1000 + REACHING_SEEDS; seed++) {
    program_verdict verdict;
    run_seed(seed, &verdict);
    policies[made.policy]++;
    refused_count += verdict.refused_count;
    for (uint32_t i = 0; i < made.pool_count; i++) kinds[made.pools[i].kind]++;
    for (uint32_t i = 0; i < made.op_count; i++) {
      verbs[made.ops[i].verb] += verdict.did_run[i / 8] >> i % 8 & 1;
    }
  }
  if (PROGRAM_SLOWNESS > 1) return; /* too few to have everything */
  for (int i = 0; i < VERB_COUNT; i++) {
    if (verbs[i] == 0) fail_msg("no program ran a %s", program_verb_name((program_verb)i));
  }
  for (int i = 0; i < CUSIM_POLICY_COUNT; i++) assert_true(policies[i] > 0);
  for (int i = 0; i < POOL_DRIVER; i++) assert_true(kinds[i] > 0);
  assert_true(refused_count > 0);
}

static void find_and_shrink(program_plant plant) {
  program_verdict verdict = {.failing = PROGRAM_FINE};
  for (uint64_t seed = 1; seed <= FINDING_SEEDS && verdict.failing == PROGRAM_FINE; seed++) {
    program_generate(&made, seed);
    made.plant = plant;
    program_run_isolated(&made, &verdict);
  }
  assert_int_not_equal(verdict.failing, PROGRAM_FINE);
  program_shrink(&made, &verdict, SHRINK_RUNS_MAX);
  print_message("found and shrunk to %u operations: %s: %s\n", made.op_count,
                program_failing_name(verdict.failing), verdict.text);
  assert_int_not_equal(verdict.failing, PROGRAM_FINE);
  assert_true(made.op_count <= SHRUNK_OPS_MAX);
  /* What is left fails because of the plant. */
  made.plant = PLANT_NOTHING;
  program_run_isolated(&made, &verdict);
  assert_int_equal(verdict.failing, PROGRAM_FINE);
}

TEST(a_lost_note_is_found_and_shrunk) {
  find_and_shrink(PLANT_NOTE_LOST);
}

TEST(a_free_without_order_is_found_and_shrunk) {
  if (PROGRAM_SLOWNESS > 1) skip(); /* one defect will do there */
  find_and_shrink(PLANT_FREE_AT_ONCE);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
