/* statistics.h: what samples say: median, spread, and how far the median can be trusted.
 *
 * Intervals are percentile bootstraps (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993,
 * chapter 13): of many samples drawn anew from the samples, with replacement, the medians between
 * the 2.5th and the 97.5th percentile. They assume no shape of the distribution. */
#ifndef BENCH_STATISTICS_H
#define BENCH_STATISTICS_H

#include "alloc/tarn_base.h"

enum { STATISTICS_SAMPLES_MAX = 256, STATISTICS_RESAMPLES = 2000 };

typedef struct statistics_interval {
  double low;
  double high;
} statistics_interval;

/* What measure_stats has, and how far it can be trusted. */
typedef struct statistics_summary {
  double median;
  double min;
  double p95; /* at most one sample in twenty is above it */
  double mean;
  double cv;                    /* standard deviation over mean; 0 for one sample */
  statistics_interval interval; /* of the median, 95 % */
  int samples;
} statistics_summary;

/* The next number of splitmix64 (Steele, Lea, Flood 2014). */
uint64_t statistics_random(uint64_t *state);

/* Of 1 to STATISTICS_SAMPLES_MAX samples, which stay as they are. The same seed gives the same
 * interval. */
void statistics_summarize(const double *samples, int count, uint64_t seed,
                          statistics_summary *summary);

/* Of the ratio of the medians of two rows of samples that were taken in turn: both samples of a
 * round are drawn together, so that what disturbed a whole round does not count. */
statistics_interval statistics_ratio(const double *a, const double *b, int count, uint64_t seed);

/* The width of the interval over the median; infinite for a median of 0. */
double statistics_width(const statistics_summary *summary);

#endif
