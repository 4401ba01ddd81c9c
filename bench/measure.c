/* measure.c: calibration, interleaved sampling and the order statistics of the samples. */
#include "bench/measure.h"

#include <stdlib.h>
#include <time.h>

enum { SAMPLES_DEFAULT = 11, LONG_SAMPLES = 100 };
static const uint64_t sample_ns_default = 2 * 1000 * 1000;
static const uint64_t iterations_max = UINT64_C(1) << 32;

uint64_t measure_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
  const double x = *(const double *)a;
  const double y = *(const double *)b;
  return (x > y) - (x < y);
}

void measure_summarize(double *samples, int sample_count, measure_stats *stats) {
  qsort(samples, (size_t)sample_count, sizeof *samples, compare_doubles);
  const int middle = sample_count / 2;
  const int rank = (sample_count * 95 + 99) / 100; /* nearest rank, from 1 */
  *stats = (measure_stats){
      .median =
          sample_count % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2,
      .min = samples[0],
      .p95 = samples[rank - 1],
      .samples = sample_count,
  };
}

static tarn_status time_body(const measure_subject *subject, uint64_t iterations, uint64_t *ns) {
  const uint64_t start_ns = measure_now_ns();
  const tarn_status status = subject->body(subject->context, iterations);
  *ns = measure_now_ns() - start_ns;
  if (*ns == 0) *ns = 1;
  return status;
}

/* Warms the subject up and finds how often it fits into a sample. What the very first run takes,
 * fresh memory for one, is no measure of those that follow. */
static tarn_status calibrate(const measure_subject *subject, uint64_t sample_ns_min,
                             uint64_t *iterations) {
  *iterations = 1;
  uint64_t ns = 0;
  tarn_status status = time_body(subject, *iterations, &ns);
  if (status != TARN_OK || ns >= LONG_SAMPLES * sample_ns_min) return status;
  for (;;) {
    status = time_body(subject, *iterations, &ns);
    if (status != TARN_OK) return status;
    if (ns >= sample_ns_min || *iterations >= iterations_max) return TARN_OK;
    const uint64_t wanted = *iterations * sample_ns_min / ns + 1;
    /* Grow by steps: the first runs are cold and would mislead. */
    *iterations = wanted < *iterations * 10 ? wanted : *iterations * 10;
  }
}

tarn_status measure_interleaved(const measure_subject *subjects, int subject_count,
                                const measure_options *options, measure_stats *stats) {
  double samples[MEASURE_SUBJECTS_MAX][MEASURE_SAMPLES_MAX];
  uint64_t iterations[MEASURE_SUBJECTS_MAX];
  const int sample_count = options->samples == 0 ? SAMPLES_DEFAULT : options->samples;
  const uint64_t sample_ns_min =
      options->sample_ns_min == 0 ? sample_ns_default : options->sample_ns_min;
  if (subject_count > MEASURE_SUBJECTS_MAX || sample_count > MEASURE_SAMPLES_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d subjects of %d samples, room for %d of %d",
                     subject_count, sample_count, MEASURE_SUBJECTS_MAX, MEASURE_SAMPLES_MAX);
  }
  for (int i = 0; i < subject_count; i++) {
    const tarn_status status = calibrate(&subjects[i], sample_ns_min, &iterations[i]);
    if (status != TARN_OK) return status;
  }
  for (int sample = 0; sample < sample_count; sample++) {
    for (int i = 0; i < subject_count; i++) {
      uint64_t ns = 0;
      const tarn_status status = time_body(&subjects[i], iterations[i], &ns);
      if (status != TARN_OK) return status;
      const double each_ns = (double)ns / (double)iterations[i];
      samples[i][sample] = options->bytes == 0 ? each_ns : (double)options->bytes / each_ns;
    }
  }
  for (int i = 0; i < subject_count; i++) measure_summarize(samples[i], sample_count, &stats[i]);
  return TARN_OK;
}
