/* test_statistics.c: medians, spreads, and how often an interval holds the true median. */
#include <math.h>

#include "bench/statistics.h"
#include "tests/support/test.h"

static const double pi = 3.14159265358979323846;

static double uniform(uint64_t *state) {
  return ((double)(statistics_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(uint64_t *state) {
  const double radius = sqrt(-2 * log(uniform(state)));
  return radius * cos(2 * pi * uniform(state));
}

TEST(summary_tells_middle_and_spread) {
  const double samples[] = {5, 1, 4, 2, 3};
  statistics_summary summary;
  statistics_summarize(samples, 5, 1, &summary);
  assert_true(summary.median == 3 && summary.min == 1 && summary.p95 == 5 && summary.mean == 3);
  assert_true(fabs(summary.cv - sqrt(2.5) / 3) < 1e-12);
  assert_int_equal(summary.samples, 5);
  assert_true(summary.interval.low >= 1 && summary.interval.low <= 3);
  assert_true(summary.interval.high >= 3 && summary.interval.high <= 5);
  statistics_summarize(samples, 4, 1, &summary);
  assert_true(summary.median == 3); /* between 2 and 4 */
}

TEST(samples_keep_their_order) {
  const double before[] = {9, 7, 8};
  double samples[] = {9, 7, 8};
  statistics_summary summary;
  statistics_summarize(samples, 3, 1, &summary);
  assert_memory_equal(samples, before, sizeof before);
}

TEST(equal_samples_have_an_interval_without_width) {
  const double samples[] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
  statistics_summary summary;
  statistics_summarize(samples, 11, 7, &summary);
  assert_true(summary.interval.low == 2 && summary.interval.high == 2 && summary.cv == 0);
  assert_true(statistics_width(&summary) == 0);
  const statistics_interval ratio = statistics_ratio(samples, samples, 11, 7);
  assert_true(ratio.low == 1 && ratio.high == 1);
}

TEST(one_sample_is_its_own_interval) {
  const double sample = 3.5;
  statistics_summary summary;
  statistics_summarize(&sample, 1, 1, &summary);
  assert_true(summary.interval.low == 3.5 && summary.interval.high == 3.5 && summary.cv == 0);
}

TEST(same_seed_gives_the_same_interval) {
  double samples[40];
  uint64_t seed = 3;
  for (int i = 0; i < 40; i++) samples[i] = normal(&seed);
  statistics_summary first;
  statistics_summary second;
  statistics_summarize(samples, 40, 99, &first);
  statistics_summarize(samples, 40, 99, &second);
  assert_true(first.interval.low == second.interval.low);
  assert_true(first.interval.high == second.interval.high);
  assert_true(first.interval.low < first.median && first.median < first.interval.high);
}

/* How many of 400 rows of samples have an interval with the true median in it. */
static int covered(double (*distribution)(uint64_t *state), double true_median, int count) {
  uint64_t seed = 20;
  int hits = 0;
  for (int i = 0; i < 400; i++) {
    double samples[STATISTICS_SAMPLES_MAX];
    for (int j = 0; j < count; j++) samples[j] = distribution(&seed);
    statistics_summary summary;
    statistics_summarize(samples, count, (uint64_t)i, &summary);
    hits += summary.interval.low <= true_median && true_median <= summary.interval.high;
  }
  return hits;
}

static double skewed(uint64_t *state) {
  return exp(normal(state)); /* log-normal: median 1, mean 1.65 */
}

static double exponential(uint64_t *state) {
  return -log(uniform(state)); /* median ln 2 */
}

/* Of 400, 95 % are 380; the median of few samples is a step function, so an interval covers a
 * little more or less. Below 92 % or all of them would be a wrong interval. */
TEST(intervals_cover_the_true_median_as_often_as_they_say) {
  static const int counts[] = {11, 25, 60};
  for (int i = 0; i < 3; i++) {
    const int hits[] = {covered(normal, 0, counts[i]), covered(skewed, 1, counts[i]),
                        covered(exponential, log(2), counts[i])};
    for (int j = 0; j < 3; j++) assert_in_range(hits[j], 368, 398);
  }
}

TEST(more_samples_make_a_narrower_interval) {
  uint64_t seed = 8;
  double samples[STATISTICS_SAMPLES_MAX];
  for (int i = 0; i < STATISTICS_SAMPLES_MAX; i++) samples[i] = 100 + normal(&seed);
  statistics_summary few;
  statistics_summary many;
  statistics_summarize(samples, 16, 1, &few);
  statistics_summarize(samples, STATISTICS_SAMPLES_MAX, 1, &many);
  assert_true(statistics_width(&many) < statistics_width(&few) / 2);
}

/* What slows both rivals down in a round falls out of the ratio, and stays in each interval. */
TEST(ratio_of_rounds_ignores_what_disturbs_both) {
  uint64_t seed = 5;
  double a[60];
  double b[60];
  for (int i = 0; i < 60; i++) {
    const double disturbance = exp(normal(&seed));
    a[i] = 2 * disturbance;
    b[i] = disturbance;
  }
  const statistics_interval ratio = statistics_ratio(a, b, 60, 1);
  assert_true(fabs(ratio.low - 2) < 1e-9 && fabs(ratio.high - 2) < 1e-9);
  statistics_summary summary;
  statistics_summarize(a, 60, 1, &summary);
  assert_true(statistics_width(&summary) > 0.2);
}

TEST(median_of_nothing_is_never_precise) {
  const double samples[] = {0, 0, 0};
  statistics_summary summary;
  statistics_summarize(samples, 3, 1, &summary);
  assert_true(isinf(statistics_width(&summary)));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
