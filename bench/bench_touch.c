/* bench_touch.c: `tarn bench alloc`: first touch by two threads against one thread.
 *
 * Two threads are twice as fast only where they run on two processors. A virtual machine's two may
 * be one core for tens of milliseconds, and then two threads take as long as one, also to write
 * memory that is there. So that is timed before and after a sample, and a round in which it got
 * less than two processors does not count. */
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_pages.h"
#include "bench/bench.h"
#include "bench/processors.h"

enum {
  SAMPLES = 21,
  SAMPLES_MIN = 5, /* fewer are no figure */
  ROUNDS_MAX = 400,
  RESIDENT_BYTES = 32 << 20,
  SUBJECTS = 3,
};

/* On a quiet machine it is 1.8 to 1.9. */
static const double PROCESSORS_MIN = 1.7;

static const size_t size_bytes = (size_t)64 << 20; /* 4 to 16 ms */

static tarn_status touch_by(int32_t thread_count, void *address) {
  const tarn_touch_options options = {.struct_size = sizeof options, .thread_count = thread_count};
  return tarn_touch(address, size_bytes, &options);
}

static tarn_status touch_by_two(void *address) {
  return touch_by(2, address);
}

static tarn_status touch_by_one(void *address) {
  return touch_by(1, address);
}

/* As one does without tarn. */
static tarn_status write_each_page(void *address) {
  volatile char *bytes = address;
  for (size_t i = 0; i < size_bytes; i += 4096) bytes[i] = 0;
  return TARN_OK;
}

static const struct {
  const char *name;
  tarn_status (*touch)(void *address);
} subjects[SUBJECTS] = {
    {"2 threads", touch_by_two}, {"1 thread", touch_by_one}, {"store", write_each_page}};

/* Fresh memory each time; what the kernel takes to get it back is not part of the sample. */
static tarn_status sample(const char *name, tarn_provider *provider, int subject,
                          double *gb_per_s) {
  void *block = NULL;
  tarn_status status = tarn_provider_alloc(provider, size_bytes, &block);
  if (status != TARN_OK) return status;
  const uint64_t start_ns = measure_now_ns();
  status = subjects[subject].touch(block);
  *gb_per_s = (double)size_bytes / (double)(measure_now_ns() - start_ns);
  size_t resident_bytes = 0;
  if (status == TARN_OK) status = tarn_pages_resident(block, size_bytes, &resident_bytes);
  if (status == TARN_OK && resident_bytes != size_bytes) {
    status = bench_wrong(name, "some pages were not made");
  }
  const tarn_status ended = tarn_provider_free(provider, block, size_bytes);
  return status != TARN_OK ? status : ended;
}

/* One sample of each; *is_fair where two threads had two processors all the time. */
static tarn_status run_round(const char *name, tarn_provider *provider, void *resident,
                             double *gb_per_s, bool *is_fair) {
  const double before = processors_now(resident, RESIDENT_BYTES);
  tarn_status status = sample(name, provider, /*subject=*/0, &gb_per_s[0]);
  const double after = processors_now(resident, RESIDENT_BYTES);
  *is_fair = before >= PROCESSORS_MIN && after >= PROCESSORS_MIN;
  for (int subject = 1; *is_fair && status == TARN_OK && subject < SUBJECTS; subject++) {
    status = sample(name, provider, subject, &gb_per_s[subject]);
  }
  return status;
}

static tarn_status bench_bandwidth(bench_run *bench, const char *name, tarn_pages_huge huge) {
  if (!bench_wants(bench, name)) return TARN_OK;
  const tarn_pages_options options = {.struct_size = sizeof options, .huge = huge};
  tarn_provider *provider = NULL;
  double samples[SUBJECTS][SAMPLES];
  int sample_count = 0;
  int round_count = 0;
  tarn_status status = tarn_pages_provider_create(&options, &provider);
  void *resident = NULL;
  double warm_up = 0;
  if (status == TARN_OK) status = tarn_provider_alloc(provider, RESIDENT_BYTES, &resident);
  if (status == TARN_OK) {
    memset(resident, 1, RESIDENT_BYTES);
    status = sample(name, provider, /*subject=*/0, &warm_up);
  }
  for (; status == TARN_OK && sample_count < SAMPLES && round_count < ROUNDS_MAX; round_count++) {
    double gb_per_s[SUBJECTS];
    bool is_fair = false;
    status = run_round(name, provider, resident, gb_per_s, &is_fair);
    if (!is_fair) continue;
    for (int i = 0; i < SUBJECTS; i++) samples[i][sample_count] = gb_per_s[i];
    sample_count++;
  }
  if (resident != NULL) {
    const tarn_status ended = tarn_provider_free(provider, resident, RESIDENT_BYTES);
    if (status == TARN_OK) status = ended;
  }
  tarn_provider_release(provider);
  if (status != TARN_OK) return status;
  if (sample_count < SAMPLES_MIN) {
    fprintf(stderr,
            "tarn bench: %s is not measured: two threads had two processors in %d of %d "
            "rounds\n",
            name, sample_count, round_count);
    return TARN_OK;
  }
  report_row row = {.unit = "GB/s", .baseline_count = SUBJECTS - 1};
  snprintf(row.name, sizeof row.name, "%s", name);
  measure_summarize(samples[0], sample_count, &row.stats);
  for (int subject = 1; subject < SUBJECTS; subject++) {
    measure_stats stats;
    measure_summarize(samples[subject], sample_count, &stats);
    row.baselines[subject - 1] = (report_baseline){subjects[subject].name, stats.median};
  }
  return report_add(bench->report, &row);
}

tarn_status bench_touch(bench_run *bench) {
  if (!where_is_host(&bench->where)) return TARN_OK;
  tarn_status status = bench_bandwidth(bench, "touch.bandwidth", TARN_PAGES_HUGE_ADVISE);
  if (status != TARN_OK) return status;
  return bench_bandwidth(bench, "touch.bandwidth.base", TARN_PAGES_HUGE_NEVER);
}
