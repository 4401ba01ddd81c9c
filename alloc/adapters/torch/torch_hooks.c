/* torch_hooks.c: the functions that PyTorch calls, but for those of its private pools. */
#include <stdio.h>

#include "alloc/adapters/torch/torch_state.h"
#include "alloc/tarn_caching_pool.h"

/* --- allocating --- */

/* Wrapped where it is new. */
static inline tarn_status stream_of(int32_t device, void *handle, tarn_stream **stream) {
  if (tarn__torch_find_stream(device, handle, stream) && *stream != NULL) return TARN_OK;
  return tarn__torch_wrap_stream(device, handle, stream);
}

static void keep_report(tarn__torch_device *self) {
  const tarn_out_of_memory *report = tarn_last_out_of_memory();
  if (report == NULL) return;
  tarn__torch_lock();
  self->report = *report;
  self->has_report = true;
  tarn__torch_unlock();
}

/* What a released graph kept may be what is missing. */
static tarn_status try_again(int32_t device, tarn_pool *pool, size_t size_bytes,
                             tarn_stream *stream, void **address) {
  const tarn_error before = *tarn_last_error();
  if (!tarn__torch_reap(device)) return tarn_fail_again(&before);
  return tarn_pool_alloc(pool, size_bytes, stream, address);
}

static tarn_status take(size_t size_bytes, int32_t device, void *handle, void **address) {
  tarn_pool *pool;
  tarn_stream *stream;
  tarn_status status = tarn__torch_pool_of(device, &pool);
  if (status != TARN_OK) return status;
  tarn__torch_device *self = &tarn__torch_devices[device];
  status = stream_of(device, handle, &stream);
  if (status == TARN_OK && atomic_load_explicit(&self->open_routes, memory_order_acquire) != 0) {
    status = tarn__torch_draw_in(device, handle, stream);
  }
  if (status == TARN_OK) status = tarn_pool_alloc(pool, size_bytes, stream, address);
  if (status == TARN_OK) return TARN_OK;
  if (status == TARN_OUT_OF_MEMORY) status = try_again(device, pool, size_bytes, stream, address);
  if (status == TARN_OUT_OF_MEMORY) keep_report(self);
  if (status != TARN_OK) atomic_fetch_add_explicit(&self->failed_count, 1, memory_order_relaxed);
  return status;
}

/* "CUDA out of memory." is what tools look for that try again with less. */
static void throw_failure(tarn_status status) {
  char message[TARN_ERROR_MESSAGE_BYTES + 64];
  const char *told = status == TARN_OUT_OF_MEMORY ? "CUDA out of memory. " : "tarn for PyTorch: ";
  snprintf(message, sizeof message, "%s%s", told, tarn_last_error()->message);
  tarn__torch_throw(message);
}

void *tarn_torch_malloc(size_t size_bytes, int device, void *stream) {
  void *address = NULL;
  const tarn_status status = take(size_bytes, device, stream, &address);
  if (status != TARN_OK) throw_failure(status);
  return address;
}

void *tarn_torch_malloc_or_null(size_t size_bytes, int device, void *stream) {
  void *address = NULL;
  (void)!take(size_bytes, device, stream, &address);
  return address;
}

/* Without the device's pool, or the driver, nothing was lent out. */
static tarn_status give_back(void *address, int32_t device, void *handle) {
  const tarn_status status = tarn__torch_check_device(device);
  if (status != TARN_OK) return status;
  tarn_pool *pool = atomic_load_explicit(&tarn__torch_devices[device].pool, memory_order_acquire);
  if (pool == NULL) {
    return tarn_fail(TARN_NOT_FOUND, "CUDA device %d has lent nothing out", (int)device);
  }
  tarn_stream *stream = NULL;
  /* All work of a stream that was forgotten is done: in nobody's order. */
  if (!tarn__torch_find_stream(device, handle, &stream)) {
    const tarn_status wrapped = tarn__torch_wrap_stream(device, handle, &stream);
    if (wrapped != TARN_OK) return wrapped;
  }
  const tarn_status settled = tarn__torch_settle_records(device, pool, address);
  return settled == TARN_OK ? tarn_pool_free(pool, address, stream) : settled;
}

void tarn_torch_free(void *address, size_t size_bytes, int device, void *stream) {
  (void)size_bytes;
  if (address == NULL || give_back(address, device, stream) == TARN_OK) return;
  if (tarn__torch_check_device(device) != TARN_OK) device = 0;
  atomic_fetch_add_explicit(&tarn__torch_devices[device].refused_free_count, 1,
                            memory_order_relaxed);
}

void tarn_torch_record_stream(void *address, void *stream) {
  if (address != NULL) tarn__torch_add_record(address, stream);
}

/* --- the rest --- */

void tarn_torch_init(int device_count) {
  (void)device_count;
}

void tarn_torch_reset(void) {
  for (int32_t i = 0; i < TARN_TORCH_DEVICES_MAX; i++) {
    tarn_pool *pool = atomic_load_explicit(&tarn__torch_devices[i].pool, memory_order_acquire);
    if (pool == NULL) continue;
    (void)tarn__torch_reap(i);
    tarn__torch_wait_for_streams(i);
    (void)!tarn_pool_trim(pool, 0, NULL);
  }
}

void tarn_torch_memory_fraction(double fraction, int device) {
  tarn_pool *pool;
  if (!(fraction >= 0 && fraction <= 1) || tarn__torch_pool_of(device, &pool) != TARN_OK) return;
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  tarn_budget *budget = tarn_caching_pool_budget(pool);
  if (budget == NULL || tarn_cuda_device_info_of(tarn__torch_cuda(), device, &info) != TARN_OK) {
    return;
  }
  const size_t limit_bytes = (size_t)((double)info.total_bytes * fraction);
  tarn_budget_set_limit(budget, limit_bytes != 0 ? limit_bytes : 1); /* 0 would be no limit */
}

void *tarn_torch_base_alloc(void *address, size_t *size_bytes) {
  tarn_cuda *cuda = tarn__torch_cuda();
  void *start = NULL;
  size_t found_bytes = 0;
  for (int32_t i = 0; start == NULL && i < TARN_TORCH_DEVICES_MAX; i++) {
    /* Asking where nothing is in use would make a context there. */
    if (atomic_load_explicit(&tarn__torch_devices[i].pool, memory_order_acquire) == NULL) continue;
    (void)!tarn_cuda_address_range(cuda, i, address, &start, &found_bytes);
  }
  if (size_bytes != NULL) *size_bytes = found_bytes;
  return start != NULL ? start : address;
}
