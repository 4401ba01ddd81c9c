/* torch_tell.c: what the adapter tells of a device, which PyTorch's own interface has no way to. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc/adapters/torch/torch_state.h"
#include "alloc/tarn_pool_trace.h"

static tarn_out_of_memory reports[TARN_TORCH_DEVICES_MAX]; /* guarded by the lock */

void tarn__torch_keep_report(int32_t device) {
  const tarn_out_of_memory *report = tarn_last_out_of_memory();
  if (report == NULL) return;
  tarn__torch_lock();
  reports[device] = *report;
  tarn__torch_unlock();
}

void tarn__torch_forget_reports(void) {
  memset(reports, 0, sizeof reports);
}

tarn_status tarn_torch_stats_of(int32_t device, tarn_torch_stats *stats) {
  if (stats == NULL || stats->struct_size != sizeof *stats) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_torch_stats with struct_size %zu is needed",
                     sizeof *stats);
  }
  *stats =
      (tarn_torch_stats){.struct_size = sizeof *stats, .pool = {.struct_size = sizeof stats->pool}};
  tarn_status status = tarn__torch_check_device(device);
  if (status != TARN_OK) return status;
  tarn__torch_device *self = &tarn__torch_devices[device];
  tarn_torch_stats found = *stats;
  tarn_pool *pool = atomic_load_explicit(&self->pool, memory_order_acquire);
  if (pool != NULL) status = tarn_pool_stats_of(pool, &found.pool);
  if (status != TARN_OK) return status;
  found.failed_count = atomic_load_explicit(&self->failed_count, memory_order_relaxed);
  found.refused_free_count = atomic_load_explicit(&self->refused_free_count, memory_order_relaxed);
  found.stream_count = atomic_load_explicit(&self->stream_count, memory_order_relaxed);
  found.recorded_count = tarn__torch_record_count();
  tarn__torch_count_graphs(device, &found);
  *stats = found;
  return TARN_OK;
}

tarn_status tarn_torch_out_of_memory(int32_t device, tarn_out_of_memory *report) {
  if (report == NULL || report->struct_size != sizeof *report) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_out_of_memory with struct_size %zu is needed",
                     sizeof *report);
  }
  *report = (tarn_out_of_memory){.struct_size = sizeof *report};
  const tarn_status status = tarn__torch_check_device(device);
  if (status != TARN_OK) return status;
  tarn__torch_lock();
  const bool has_report = reports[device].struct_size != 0;
  if (has_report) *report = reports[device];
  tarn__torch_unlock();
  return has_report ? TARN_OK
                    : tarn_fail(TARN_NOT_FOUND, "CUDA device %d never lacked memory", (int)device);
}

/* --- files --- */

static tarn_status fail_file(const char *call, const char *path) {
  const int number = errno;
  return tarn_fail_native(TARN_SYSTEM_ERROR, call, number, "%s cannot be written", path);
}

static tarn_status write_piece(void *file, const char *text, size_t text_bytes) {
  if (fwrite(text, 1, text_bytes, file) == text_bytes) return TARN_OK;
  return fail_file("fwrite", "a file");
}

static tarn_status save(int32_t device, const char *path, bool is_trace) {
  if (path == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "path is NULL");
  tarn_pool *pool;
  tarn_status status = tarn__torch_pool_of(device, &pool);
  if (status != TARN_OK) return status;
  FILE *file = fopen(path, "we");
  if (file == NULL) return fail_file("fopen", path);
  status = is_trace ? tarn_pool_trace_write(pool, TARN_TRACE_COMPLETE, write_piece, file)
                    : tarn_pool_snapshot(pool, write_piece, file);
  if (fclose(file) != 0 && status == TARN_OK) status = fail_file("fclose", path);
  return status;
}

tarn_status tarn_torch_snapshot_save(int32_t device, const char *path) {
  return save(device, path, /*is_trace=*/false);
}

tarn_status tarn_torch_trace_save(int32_t device, const char *path) {
  return save(device, path, /*is_trace=*/true);
}

tarn_status tarn_torch_trace_start(int32_t device, size_t entry_count) {
  tarn_pool *pool;
  const tarn_status status = tarn__torch_pool_of(device, &pool);
  return status == TARN_OK ? tarn_pool_trace_start(pool, entry_count) : status;
}

tarn_status tarn_torch_trace_stop(int32_t device) {
  tarn_pool *pool;
  const tarn_status status = tarn__torch_pool_of(device, &pool);
  return status == TARN_OK ? tarn_pool_trace_stop(pool) : status;
}
