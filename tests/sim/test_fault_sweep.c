/* test_fault_sweep.c: one driver call of a program fails, whichever it is: nothing breaks, nothing
 * is lost, and the program goes on.
 *
 * usage: test_fault_sweep [STRIDE]: every STRIDE-th call of each program (default: a few hundred of
 * all, others every time; 1: all of them) */
#include "tests/support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/sim/program_isolate.h"

enum { PROGRAMS = 6, RUNS_WANTED = 60, OPS_MAX = 160, SWEEP_SECONDS_MAX = 250 };

/* CUresults that a driver may give: out of memory, launch failure (of earlier work), unknown, not
 * supported, a failed call to the operating system. */
static const int errors[] = {2, 719, 999, 801, 304};

static uint64_t stride_given;

typedef struct sweep {
  const program *run;
  uint64_t first; /* which call fails */
  uint64_t stride;
  uint64_t end;
  uint64_t nth; /* the one under way */
  int error;
  uint64_t run_count;
  uint64_t failed_count; /* runs in which the call was reached */
  program_verdict verdict;
} sweep;

static void run_sweep(void *context) {
  sweep *self = context;
  for (self->nth = self->first; self->nth <= self->end; self->nth += self->stride) {
    self->error = errors[self->run_count % COUNT_OF(errors)];
    program_run_failing(self->run, self->nth, self->error, &self->verdict);
    self->run_count++;
    self->failed_count += self->verdict.driver_failures;
    if (self->verdict.failing != PROGRAM_FINE) return;
  }
}

/* A program of every policy, with all its pools, and few enough operations to be run often. */
static void make_program(program *made, uint64_t seed) {
  program_generate(made, seed);
  if (made->op_count > OPS_MAX) made->op_count = OPS_MAX;
}

static void check_sweep(const sweep *swept, uint64_t seed) {
  if (swept->verdict.failing == PROGRAM_FINE) return;
  fail_msg("program %" PRIu64 ", driver call %" PRIu64 " (%s) fails with %d, operation %u: %s: %s",
           seed, swept->nth, swept->verdict.failed_call, swept->error, swept->verdict.op_index,
           program_failing_name(swept->verdict.failing), swept->verdict.text);
}

TEST(any_driver_call_may_fail) {
  static program made;
  sweep *shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(shared != MAP_FAILED);
  const uint64_t fresh = (uint64_t)time(NULL);
  printf("calls chosen by %" PRIu64 "\n", fresh);
  uint64_t run_count = 0;
  for (uint64_t seed = 1; seed <= PROGRAMS; seed++) {
    make_program(&made, seed);
    program_verdict whole;
    program_run_isolated(&made, &whole);
    assert_int_equal(whole.failing, PROGRAM_FINE);
    assert_true(whole.driver_calls > RUNS_WANTED);
    const uint64_t stride = stride_given != 0 ? stride_given : whole.driver_calls / RUNS_WANTED;
    *shared = (sweep){.run = &made,
                      .first = 1 + fresh * seed % stride,
                      .stride = stride,
                      .end = whole.driver_calls};
    assert_true(program_isolate(run_sweep, shared, &shared->verdict, SWEEP_SECONDS_MAX));
    check_sweep(shared, seed);
    /* The last calls may not be reached: what failed before them makes a program shorter. */
    assert_true(shared->failed_count >= shared->run_count * 9 / 10);
    run_count += shared->run_count;
  }
  printf("%" PRIu64 " programs with one driver call failed in each\n", run_count);
  munmap(shared, sizeof *shared);
}

int main(int argc, char **argv) {
  if (argc > 1) stride_given = strtoull(argv[1], NULL, 10);
  return run_listed_tests(NULL, NULL);
}
