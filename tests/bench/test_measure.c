/* test_measure.c: order statistics, and the order in which rivals are sampled. */
#include "bench/measure.h"

#include <string.h>

#include "tests/support/test.h"

TEST(median_of_odd_and_even_counts) {
  measure_stats stats;
  double odd[] = {9, 1, 5};
  measure_summarize(odd, 3, &stats);
  assert_true(stats.median == 5 && stats.min == 1 && stats.p95 == 9 && stats.samples == 3);
  double even[] = {4, 1, 3, 2};
  measure_summarize(even, 4, &stats);
  assert_true(stats.median == 2.5 && stats.min == 1 && stats.p95 == 4);
  double one[] = {7};
  measure_summarize(one, 1, &stats);
  assert_true(stats.median == 7 && stats.min == 7 && stats.p95 == 7);
}

TEST(at_most_one_sample_in_twenty_is_above_p95) {
  double samples[40];
  for (int i = 0; i < 40; i++) samples[i] = 40 - i;
  measure_stats stats;
  measure_summarize(samples, 40, &stats);
  assert_true(stats.p95 == 38);
}

typedef struct sample_log {
  char *log;
  char name;
  uint64_t work;
} sample_log;

static tarn_status record(void *context, uint64_t iterations) {
  const sample_log *recorder = context;
  char *log = recorder->log;
  const size_t length = strlen(log);
  if (length < 200) log[length] = recorder->name;
  for (uint64_t i = 0; i < iterations * recorder->work; i++) measure_keep(log);
  return TARN_OK;
}

TEST(rivals_give_their_samples_in_turn) {
  char log[256] = "";
  sample_log a = {log, 'A', 1000};
  sample_log b = {log, 'B', 2000};
  const measure_subject subjects[] = {{"a", record, &a}, {"b", record, &b}};
  const measure_options options = {.samples = 7, .sample_ns_min = 20000};
  measure_stats stats[2];
  assert_int_equal(measure_interleaved(subjects, 2, &options, stats), TARN_OK);
  const size_t length = strlen(log);
  assert_true(length >= 14 && length < 200);
  assert_string_equal(log + length - 14, "ABABABABABABAB");
  assert_true(stats[0].samples == 7 && stats[1].samples == 7);
  assert_true(stats[0].min > 0 && stats[0].min <= stats[0].median);
  assert_true(stats[0].median <= stats[0].p95);
}

typedef struct slow_start {
  int call_count;
  uint64_t last_iterations;
} slow_start;

static tarn_status start_slowly(void *context, uint64_t iterations) {
  slow_start *self = context;
  const uint64_t start_ns = measure_now_ns();
  while (self->call_count == 0 && measure_now_ns() - start_ns < 5 * 1000 * 1000) {
  }
  self->call_count++;
  self->last_iterations = iterations;
  for (uint64_t i = 0; i < iterations; i++) measure_keep(self);
  return TARN_OK;
}

TEST(a_slow_first_run_does_not_make_samples_short) {
  slow_start self = {0};
  const measure_subject subject = {"a", start_slowly, &self};
  const measure_options options = {.samples = 1, .sample_ns_min = 1000 * 1000};
  measure_stats stats;
  assert_int_equal(measure_interleaved(&subject, 1, &options, &stats), TARN_OK);
  assert_true(self.last_iterations > 1);
}

static tarn_status refuse(void *context, uint64_t iterations) {
  (void)context;
  (void)iterations;
  return tarn_fail(TARN_OUT_OF_MEMORY, "not today");
}

TEST(failure_of_a_body_ends_the_measurement) {
  const measure_subject subjects[] = {{"a", refuse, NULL}};
  const measure_options options = {.samples = 7};
  measure_stats stats[1];
  assert_int_equal(measure_interleaved(subjects, 1, &options, stats), TARN_OUT_OF_MEMORY);
}

TEST(too_many_samples_are_refused) {
  const measure_subject subjects[] = {{"a", refuse, NULL}};
  const measure_options options = {.samples = MEASURE_SAMPLES_MAX + 1};
  measure_stats stats[1];
  assert_int_equal(measure_interleaved(subjects, 1, &options, stats), TARN_INVALID_ARGUMENT);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
