/* measure.h: how long something takes: several samples, and its rivals measured in turn with it. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "alloc/tarn_status.h"

enum { MEASURE_SAMPLES_MAX = 64, MEASURE_SUBJECTS_MAX = 4 };

/* In the unit of the samples. p95: at most one sample in twenty is above it. */
typedef struct measure_stats {
  double median;
  double min;
  double p95;
  int samples;
} measure_stats;

/* Does the thing `iterations` times; a failure ends the measurement. */
typedef tarn_status (*measure_body)(void *context, uint64_t iterations);

typedef struct measure_subject {
  const char *name; /* the first subject is tarn's, the others are baselines */
  measure_body body;
  void *context;
} measure_subject;

typedef struct measure_options {
  int samples;            /* per subject; 0: 11 */
  uint64_t sample_ns_min; /* a sample repeats the body until it takes so long; 0: 2 ms */
  size_t bytes;           /* moved by one iteration: samples are then GB/s, else ns */
} measure_options;

uint64_t measure_now_ns(void);

/* Sorts the samples in place. samples_count > 0. */
void measure_summarize(double *samples, int sample_count, measure_stats *stats);

/* One untimed round, then rounds in which each subject gives one sample: A B A B. The times of
 * one sample divided by its iterations; stats has room for each subject. */
TARN_NODISCARD tarn_status measure_interleaved(const measure_subject *subjects, int subject_count,
                                               const measure_options *options,
                                               measure_stats *stats);

/* Keeps the compiler from leaving out work whose result nobody reads. */
static inline void measure_keep(const void *address) {
  __asm__ volatile("" : : "r"(address) : "memory");
}

#endif
