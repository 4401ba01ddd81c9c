/* bench_pause.c: `tarn bench alloc`: a pool's memory given back for a while, and obtained again. */
#include <stdio.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pause.h"
#include "bench/bench.h"

enum { SAMPLES = 11, BLOCKS_MAX = 128 };

static const size_t block_bytes = (size_t)64 << 20;
/* What a model server gives back; less where the memory is the CPU's or pretended, and for contents
 * that cross a bus. */
static const size_t device_bytes = (size_t)8 << 30;
static const size_t small_bytes = (size_t)512 << 20;

typedef struct pause_case {
  const char *name;
  tarn_pool *pool;
  tarn_pool *backup; /* NULL: contents are discarded */
  tarn_stream *stream;
  void *blocks[BLOCKS_MAX];
  int block_count;
} pause_case;

typedef enum figure { FIGURE_BOTH, FIGURE_PAUSE, FIGURE_RESUME, FIGURES } figure;

/* As many as there is memory for, in halves of what was wanted. */
static tarn_status take_blocks(pause_case *self, size_t wanted_bytes) {
  tarn_status status = tarn_caching_pool_reserve(self->pool, wanted_bytes);
  while (status == TARN_OUT_OF_MEMORY && wanted_bytes > block_bytes) {
    wanted_bytes /= 2;
    status = tarn_caching_pool_reserve(self->pool, wanted_bytes);
  }
  for (; status == TARN_OK && self->block_count < (int)(wanted_bytes / block_bytes);) {
    void **block = &self->blocks[self->block_count];
    status = tarn_pool_alloc(self->pool, block_bytes, self->stream, block);
    if (status == TARN_OK) self->block_count++;
  }
  return status;
}

static tarn_status fill_blocks(const pause_case *self, tarn_device device) {
  tarn_status status = TARN_OK;
  for (int i = 0; status == TARN_OK && i < self->block_count; i++) {
    status = tarn_stream_fill(self->stream, self->blocks[i], device, (uint8_t)(i + 1), block_bytes);
  }
  return status == TARN_OK ? tarn_stream_synchronize(self->stream) : status;
}

/* The first and the last bytes of each block, for those are where a run begins and ends. */
static tarn_status check_blocks(const pause_case *self, tarn_device device) {
  tarn_status status = TARN_OK;
  for (int i = 0; status == TARN_OK && i < self->block_count; i++) {
    const char *ends[] = {self->blocks[i], (char *)self->blocks[i] + block_bytes - 1};
    for (int end = 0; status == TARN_OK && end < 2; end++) {
      uint8_t value = 0;
      status = tarn_stream_copy(self->stream, &value, tarn_device_make(TARN_DEVICE_CPU, 0),
                                ends[end], device, 1);
      if (status == TARN_OK) status = tarn_stream_synchronize(self->stream);
      if (status == TARN_OK && value != i + 1)
        status = bench_wrong(self->name, "contents are lost");
    }
  }
  return status;
}

static tarn_status sample(const pause_case *self, double ms[FIGURES]) {
  const tarn_pause_options options = {
      .struct_size = sizeof options,
      .contents = self->backup != NULL ? TARN_PAUSE_KEEP : TARN_PAUSE_DISCARD,
      .backup = self->backup,
      .stream = self->stream};
  const tarn_resume_options back = {.struct_size = sizeof back, .stream = self->stream};
  tarn_pause_report report = {.struct_size = sizeof report};
  const uint64_t start_ns = measure_now_ns();
  tarn_status status = tarn_pool_pause(self->pool, &options, &report);
  const uint64_t middle_ns = measure_now_ns();
  if (status == TARN_OK && report.moved_bytes != (size_t)self->block_count * block_bytes) {
    status = bench_wrong(self->name, "not all of the memory went");
  }
  const uint64_t again_ns = measure_now_ns();
  if (status == TARN_OK) status = tarn_pool_resume(self->pool, &back, &report);
  const uint64_t end_ns = measure_now_ns();
  ms[FIGURE_PAUSE] = (double)(middle_ns - start_ns) / 1e6;
  ms[FIGURE_RESUME] = (double)(end_ns - again_ns) / 1e6;
  ms[FIGURE_BOTH] = ms[FIGURE_PAUSE] + ms[FIGURE_RESUME];
  return status;
}

static tarn_status add_rows(bench_run *bench, const pause_case *self,
                            double samples[FIGURES][SAMPLES]) {
  static const char *const suffixes[FIGURES] = {"", ".pause", ".resume"};
  tarn_status status = TARN_OK;
  for (int i = 0; status == TARN_OK && i < FIGURES; i++) {
    report_row row = {.unit = "ms"};
    snprintf(row.name, sizeof row.name, "%s.%s%s", self->name,
             bench_size_name((size_t)self->block_count * block_bytes).text, suffixes[i]);
    measure_summarize(samples[i], SAMPLES, &row.stats);
    status = report_add(bench->report, &row);
  }
  return status;
}

/* Written before each pause: memory that nobody has touched is no memory of the CPU's. */
static tarn_status run_samples(bench_run *bench, const pause_case *self) {
  const tarn_device device = tarn_pool_attributes_of(self->pool)->device;
  double samples[FIGURES][SAMPLES];
  tarn_status status = TARN_OK;
  for (int i = -1; status == TARN_OK && i < SAMPLES; i++) { /* the first round warms up */
    double ms[FIGURES];
    status = fill_blocks(self, device);
    if (status == TARN_OK) status = sample(self, ms);
    if (status == TARN_OK && self->backup != NULL) status = check_blocks(self, device);
    for (int each = 0; status == TARN_OK && each < FIGURES; each++) {
      samples[each][i < 0 ? 0 : i] = ms[each];
    }
  }
  return status == TARN_OK ? add_rows(bench, self, samples) : status;
}

static tarn_status bench_case(bench_run *bench, const char *name, size_t size_bytes, bool is_kept) {
  if (!bench_wants(bench, name)) return TARN_OK;
  pause_case self = {.name = name};
  tarn_status status = tarn_caching_pool_create(bench->where.provider, NULL, &self.pool);
  if (status == TARN_OK && is_kept) {
    status = tarn_caching_pool_create(bench_host_memory(bench), NULL, &self.backup);
  }
  if (status == TARN_OK && bench->where.cuda != NULL) {
    status = where_stream_create(&bench->where, &self.stream);
  }
  if (status == TARN_OK) status = take_blocks(&self, size_bytes);
  if (status == TARN_OK) status = run_samples(bench, &self);
  for (int i = 0; i < self.block_count; i++) {
    const tarn_status freed = tarn_pool_free(self.pool, self.blocks[i], self.stream);
    if (status == TARN_OK) status = freed;
  }
  tarn_pool_release(self.pool);
  tarn_pool_release(self.backup);
  tarn_stream_release(self.stream);
  return status;
}

static bool is_pausable(const bench_run *bench) {
  if (bench->where.provider == NULL) return true; /* just listed */
  const tarn_provider_attributes *machine = tarn_provider_attributes_of(bench->where.provider);
  return (machine->flags & TARN_PROVIDER_RESERVES) != 0;
}

tarn_status bench_pause(bench_run *bench) {
  if (!is_pausable(bench)) return TARN_OK;
  const bool is_large = where_is_device(&bench->where) && !bench->where.is_simulated;
  tarn_status status =
      bench_case(bench, "pause.resume", is_large ? device_bytes : small_bytes, /*is_kept=*/false);
  if (status != TARN_OK) return status;
  return bench_case(bench, "pause.resume.kept", small_bytes, /*is_kept=*/true);
}
