/* bench_touch.c: `tarn bench alloc`: first touch by two threads against one thread. */
#include <stdio.h>
#include <string.h>

#include "alloc/tarn_pages.h"
#include "bench/bench.h"

enum {
  SAMPLES = 21,
  SUBJECTS = 3,
};

static const size_t size_bytes = (size_t)256 << 20;

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

static tarn_status bench_bandwidth(bench_run *bench, const char *name, tarn_pages_huge huge) {
  if (!bench_wants(bench, name)) return TARN_OK;
  const tarn_pages_options options = {.struct_size = sizeof options, .huge = huge};
  tarn_provider *provider = NULL;
  double samples[SUBJECTS][SAMPLES];
  tarn_status status = tarn_pages_provider_create(&options, &provider);
  for (int i = -1; status == TARN_OK && i < SAMPLES; i++) { /* the first round warms up */
    for (int subject = 0; status == TARN_OK && subject < SUBJECTS; subject++) {
      status = sample(name, provider, subject, &samples[subject][i < 0 ? 0 : i]);
    }
  }
  tarn_provider_release(provider);
  if (status != TARN_OK) return status;
  report_row row = {.unit = "GB/s", .baseline_count = SUBJECTS - 1};
  snprintf(row.name, sizeof row.name, "%s", name);
  measure_summarize(samples[0], SAMPLES, &row.stats);
  for (int subject = 1; subject < SUBJECTS; subject++) {
    measure_stats stats;
    measure_summarize(samples[subject], SAMPLES, &stats);
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
