/* statistics.c: order statistics and the percentile bootstrap. */
#include "bench/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"

uint64_t statistics_random(uint64_t *state) {
  uint64_t value = (*state += 0x9E3779B97F4A7C15u);
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

static int compare_doubles(const void *a, const void *b) {
  const double x = *(const double *)a;
  const double y = *(const double *)b;
  return (x > y) - (x < y);
}

static void sort(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, compare_doubles);
}

/* Uniform below `count` to within 2^-32. */
static int draw(uint64_t *state, int count) {
  return (int)(((statistics_random(state) >> 32) * (uint64_t)count) >> 32);
}

/* The median of a row drawn by ranks: counting how often each rank comes up saves the sort. */
static double median_of_ranks(const double *sorted, const uint8_t *ranks, int count) {
  uint16_t hits[STATISTICS_SAMPLES_MAX] = {0};
  for (int i = 0; i < count; i++) hits[ranks[i]]++;
  const int upper = count / 2; /* places of the middle, from 0 */
  const int lower = count % 2 == 1 ? upper : upper - 1;
  int passed = 0;
  double low = sorted[0];
  for (int rank = 0; rank < count; rank++) {
    if (passed <= lower && lower < passed + hits[rank]) low = sorted[rank];
    if (upper < passed + hits[rank]) return (low + sorted[rank]) / 2;
    passed += hits[rank];
  }
  return sorted[count - 1];
}

/* Rank of each sample among the sorted ones; equal samples share one, which changes no median. */
static void find_ranks(const double *samples, const double *sorted, int count, uint8_t *ranks) {
  for (int i = 0; i < count; i++) {
    const double *found =
        bsearch(&samples[i], sorted, (size_t)count, sizeof *sorted, compare_doubles);
    ranks[i] = found == NULL ? 0 : (uint8_t)(found - sorted);
  }
}

static statistics_interval middle_95_percent(double *medians) {
  sort(medians, STATISTICS_RESAMPLES);
  const int tail = STATISTICS_RESAMPLES / 40;
  return (statistics_interval){medians[tail - 1], medians[STATISTICS_RESAMPLES - tail]};
}

static statistics_interval bootstrap(const double *sorted, int count, uint64_t seed) {
  double medians[STATISTICS_RESAMPLES];
  uint8_t ranks[STATISTICS_SAMPLES_MAX];
  for (int i = 0; i < STATISTICS_RESAMPLES; i++) {
    for (int j = 0; j < count; j++) ranks[j] = (uint8_t)draw(&seed, count);
    medians[i] = median_of_ranks(sorted, ranks, count);
  }
  return middle_95_percent(medians);
}

void statistics_summarize(const double *samples, int count, uint64_t seed,
                          statistics_summary *summary) {
  double sorted[STATISTICS_SAMPLES_MAX];
  measure_stats order;
  memcpy(sorted, samples, (size_t)count * sizeof *sorted);
  measure_summarize(sorted, count, &order);
  double sum = 0;
  for (int i = 0; i < count; i++) sum += sorted[i];
  const double mean = sum / count;
  double squares = 0;
  for (int i = 0; i < count; i++) squares += (sorted[i] - mean) * (sorted[i] - mean);
  const double deviation = count > 1 ? sqrt(squares / (count - 1)) : 0;
  *summary = (statistics_summary){
      .median = order.median,
      .min = order.min,
      .p95 = order.p95,
      .mean = mean,
      .cv = mean == 0 ? 0 : deviation / fabs(mean),
      .interval = bootstrap(sorted, count, seed),
      .samples = count,
  };
}

statistics_interval statistics_ratio(const double *a, const double *b, int count, uint64_t seed) {
  double sorted_a[STATISTICS_SAMPLES_MAX];
  double sorted_b[STATISTICS_SAMPLES_MAX];
  uint8_t ranks_a[STATISTICS_SAMPLES_MAX];
  uint8_t ranks_b[STATISTICS_SAMPLES_MAX];
  uint8_t drawn_a[STATISTICS_SAMPLES_MAX];
  uint8_t drawn_b[STATISTICS_SAMPLES_MAX];
  double ratios[STATISTICS_RESAMPLES];
  memcpy(sorted_a, a, (size_t)count * sizeof *a);
  memcpy(sorted_b, b, (size_t)count * sizeof *b);
  sort(sorted_a, count);
  sort(sorted_b, count);
  find_ranks(a, sorted_a, count, ranks_a);
  find_ranks(b, sorted_b, count, ranks_b);
  for (int i = 0; i < STATISTICS_RESAMPLES; i++) {
    for (int j = 0; j < count; j++) {
      const int round = draw(&seed, count);
      drawn_a[j] = ranks_a[round];
      drawn_b[j] = ranks_b[round];
    }
    ratios[i] =
        median_of_ranks(sorted_a, drawn_a, count) / median_of_ranks(sorted_b, drawn_b, count);
  }
  return middle_95_percent(ratios);
}

double statistics_width(const statistics_summary *summary) {
  if (summary->median == 0) return INFINITY;
  return (summary->interval.high - summary->interval.low) / fabs(summary->median);
}
