/* programs_main.c: runs random programs for a while; shrinks and prints the first that fails. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/sim/program_isolate.h"
#include "tests/sim/program_print.h"
#include "tests/sim/program_threads.h"

enum {
  BATCH_PROGRAMS = 256, /* in one process, so that what they leave behind is met by the next */
  BATCH_SECONDS_MAX = 300,
  SHRINK_RUNS_MAX = 4000,
  THREADED_ONE_IN = 16, /* programs has several host threads */
};

typedef struct options {
  uint64_t first_seed;
  uint64_t count_max;
  double seconds;
  program_plant plant;
  bool is_seed_given;
  bool prints; /* the first program, and runs nothing */
} options;

/* Shared with the process that runs a batch. */
typedef struct batch {
  uint64_t first_seed;
  uint64_t count;
  double deadline;
  program_plant plant;
  /* How far it has come. */
  uint64_t seed;
  uint64_t program_count;
  uint64_t op_count;
  uint64_t check_count;
  uint64_t refused_count;
  uint64_t trace_hash;     /* of all */
  program_verdict verdict; /* of the program that failed */
} batch;

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool has_threads(uint64_t seed) {
  return seed % THREADED_ONE_IN == 0;
}

static void run_batch(void *context) {
  batch *self = context;
  static program made;
  for (uint64_t i = 0; i < self->count && now_s() < self->deadline; i++) {
    program_verdict verdict;
    self->seed = self->first_seed + i;
    if (has_threads(self->seed)) {
      program_run_threads(self->seed, &verdict);
      verdict.trace_hash = 0; /* another one each time */
    } else {
      program_generate(&made, self->seed);
      made.plant = self->plant;
      program_run(&made, &verdict);
    }
    self->program_count++;
    self->op_count += verdict.run_count;
    self->check_count += verdict.check_count;
    self->refused_count += verdict.refused_count;
    self->trace_hash = self->trace_hash * 31 + verdict.trace_hash;
    if (verdict.failing == PROGRAM_FINE) continue;
    self->verdict = verdict;
    return;
  }
}

/* The program by itself, smaller, and as C. */
static void report_failure(const batch *failed) {
  static program made;
  program_verdict verdict;
  printf("seed %" PRIu64 " failed: %s: %s\n", failed->seed,
         program_failing_name(failed->verdict.failing), failed->verdict.text);
  if (has_threads(failed->seed)) {
    printf("it has several host threads, so another run may be fine\n");
    return;
  }
  program_generate(&made, failed->seed);
  made.plant = failed->plant;
  program_run_isolated(&made, &verdict);
  if (verdict.failing == PROGRAM_FINE) {
    printf("it does not fail by itself, only behind the programs from seed %" PRIu64 " on\n",
           failed->first_seed);
    return;
  }
  const uint32_t op_count = made.op_count;
  program_shrink(&made, &verdict, SHRINK_RUNS_MAX);
  printf("shrunk from %u operations to %u: %s: %s\n\n", op_count, made.op_count,
         program_failing_name(verdict.failing), verdict.text);
  program_print(stdout, &made, &verdict);
}

static int parse(int argc, char **argv, options *parsed) {
  static const struct option known[] = {
      {"seed", required_argument, NULL, 's'},    {"count", required_argument, NULL, 'c'},
      {"seconds", required_argument, NULL, 't'}, {"plant", required_argument, NULL, 'p'},
      {"print", no_argument, NULL, 'P'},         {NULL, 0, NULL, 0}};
  int letter;
  while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
    switch (letter) {
      case 's':
        parsed->first_seed = strtoull(optarg, NULL, 0);
        parsed->is_seed_given = true;
        break;
      case 'c':
        parsed->count_max = strtoull(optarg, NULL, 0);
        break;
      case 't':
        parsed->seconds = strtod(optarg, NULL);
        break;
      case 'p':
        parsed->plant = (program_plant)strtol(optarg, NULL, 0);
        break;
      case 'P':
        parsed->prints = true;
        break;
      default:
        fprintf(stderr,
                "usage: %s [--seed FIRST] [--count PROGRAMS] [--seconds S] [--plant DEFECT] "
                "[--print]\n",
                argv[0]);
        return 2;
    }
  }
  return 0;
}

int main(int argc, char **argv) {
  options wanted = {.count_max = UINT64_MAX, .seconds = 10};
  const int wrong = parse(argc, argv, &wanted);
  if (wrong != 0) return wrong;
  if (!wanted.is_seed_given) wanted.first_seed = (uint64_t)time(NULL) * 1000003u;
  batch *shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 2;
  if (wanted.prints) {
    static program made;
    const program_verdict unknown = {.text = "not run"};
    program_generate(&made, wanted.first_seed);
    made.plant = wanted.plant;
    program_print(stdout, &made, &unknown);
    return 0;
  }
  printf("seeds from %" PRIu64 " on\n", wanted.first_seed);
  fflush(stdout);
  const double deadline = now_s() + wanted.seconds;
  memset(shared, 0, sizeof *shared);
  shared->plant = wanted.plant;
  shared->deadline = deadline;
  for (uint64_t seed = wanted.first_seed;
       now_s() < deadline && shared->program_count < wanted.count_max; seed += BATCH_PROGRAMS) {
    const uint64_t left = wanted.count_max - shared->program_count;
    shared->first_seed = seed;
    shared->count = left < BATCH_PROGRAMS ? left : BATCH_PROGRAMS;
    if (!program_isolate(run_batch, shared, &shared->verdict, BATCH_SECONDS_MAX)) return 2;
    if (shared->verdict.failing != PROGRAM_FINE) break;
  }
  if (shared->verdict.failing != PROGRAM_FINE) {
    report_failure(shared);
    return 1;
  }
  printf("%" PRIu64 " values compared, %" PRIu64 " allocations out of memory, order %016" PRIx64
         "\n",
         shared->check_count, shared->refused_count, shared->trace_hash);
  printf("%" PRIu64 " programs, %" PRIu64 " operations, 0 races, 0 wrong values\n",
         shared->program_count, shared->op_count);
  return 0;
}
