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

/* What PyTorch asks for; in memory, so that nobody saves registers for the case that it fails. */
typedef struct request {
  size_t size_bytes;
  void *handle;
  void *address; /* the answer */
  int32_t device;
} request;

/* At any time: what is missing is made, and a stream of a graph's drawn in. */
static __attribute__((noinline)) tarn_status take_anywhere(request *asked) {
  tarn_pool *pool;
  tarn_stream *stream;
  asked->address = NULL;
  tarn_status status = tarn__torch_pool_of(asked->device, &pool);
  if (status == TARN_OK) status = stream_of(asked->device, asked->handle, &stream);
  if (status != TARN_OK) return status;
  const tarn__torch_device *self = &tarn__torch_devices[asked->device];
  if (atomic_load_explicit(&self->open_routes, memory_order_acquire) != 0) {
    status = tarn__torch_draw_in(asked->device, asked->handle, stream);
    if (status != TARN_OK) return status;
  }
  return tarn_pool_alloc(pool, asked->size_bytes, stream, &asked->address);
}

/* What a released graph kept may be what is missing: true where asking again may help. */
static bool may_ask_again(int32_t device, tarn_status status) {
  if (status != TARN_OUT_OF_MEMORY) return false;
  const tarn_error before = *tarn_last_error();
  if (tarn__torch_reap(device)) return true;
  (void)!tarn_fail_again(&before);
  return false;
}

static void count_failure(int32_t device, tarn_status status) {
  if ((uint32_t)device >= TARN_TORCH_DEVICES_MAX || status == TARN_OK) return;
  if (status == TARN_OUT_OF_MEMORY) tarn__torch_keep_report(device);
  atomic_fetch_add_explicit(&tarn__torch_devices[device].failed_count, 1, memory_order_relaxed);
}

static __attribute__((noinline)) tarn_status take_after(request *asked, tarn_status status) {
  if (may_ask_again(asked->device, status)) status = take_anywhere(asked);
  count_failure(asked->device, status);
  return status;
}

/* One straight run, where a stream is the first of its bucket and nobody captures. No load waits
 * for another but the pool's own. */
static inline tarn_status take(request *asked, size_t size_bytes, int32_t device, void *handle) {
  asked->size_bytes = size_bytes;
  asked->device = device;
  asked->handle = handle;
  const tarn__torch_stream *node = tarn__torch_first_stream(device, handle);
  if (!tarn__torch_is_common(node != NULL)) return take_anywhere(asked);
  const tarn__torch_device *self = &tarn__torch_devices[device];
  tarn_pool *pool = atomic_load_explicit(&self->pool, memory_order_acquire);
  if (!tarn__torch_is_common(pool != NULL)) return take_anywhere(asked);
  const unsigned open_routes = atomic_load_explicit(&self->open_routes, memory_order_acquire);
  if (!tarn__torch_is_common(open_routes == 0)) return take_anywhere(asked);
  tarn_stream *stream = atomic_load_explicit(&node->stream, memory_order_acquire);
  if (!tarn__torch_is_common(stream != NULL)) return take_anywhere(asked);
  return tarn_pool_alloc(pool, size_bytes, stream, &asked->address);
}

/* Once more, or not at all: "CUDA out of memory." is what tools look for that try again with less.
 */
static __attribute__((noinline)) void take_or_throw(request *asked, tarn_status status) {
  status = take_after(asked, status);
  if (status == TARN_OK) return;
  char message[TARN_ERROR_MESSAGE_BYTES + 64];
  const char *told = status == TARN_OUT_OF_MEMORY ? "CUDA out of memory. " : "tarn for PyTorch: ";
  snprintf(message, sizeof message, "%s%s", told, tarn_last_error()->message);
  tarn__torch_throw(message);
}

void *tarn_torch_malloc(size_t size_bytes, int device, void *stream) {
  request asked;
  const tarn_status status = take(&asked, size_bytes, device, stream);
  if (!tarn__torch_is_common(status == TARN_OK)) take_or_throw(&asked, status);
  return asked.address;
}

void *tarn_torch_malloc_or_null(size_t size_bytes, int device, void *stream) {
  request asked;
  const tarn_status status = take(&asked, size_bytes, device, stream);
  if (status != TARN_OK) (void)!take_after(&asked, status);
  return asked.address;
}

void *tarn_torch_segment_alloc(size_t size_bytes, int device, void *stream) {
  (void)stream;
  tarn_pool *pool;
  void *address = NULL;
  tarn_status status = tarn__torch_pool_of(device, &pool);
  if (status == TARN_OK) {
    status = tarn_pool_alloc(pool, size_bytes, /*stream=*/NULL, &address);
    if (may_ask_again(device, status)) {
      status = tarn_pool_alloc(pool, size_bytes, /*stream=*/NULL, &address);
    }
  }
  count_failure(device, status);
  return address;
}

/* --- freeing --- */

static __attribute__((noinline)) void count_refused(int32_t device) {
  if (tarn__torch_check_device(device) != TARN_OK) device = 0;
  atomic_fetch_add_explicit(&tarn__torch_devices[device].refused_free_count, 1,
                            memory_order_relaxed);
}

/* Without the device's pool, or the driver, nothing was lent out. */
static tarn_status used_pool_of(int32_t device, tarn_pool **pool) {
  const tarn_status status = tarn__torch_check_device(device);
  if (status != TARN_OK) return status;
  *pool = atomic_load_explicit(&tarn__torch_devices[device].pool, memory_order_acquire);
  if (*pool != NULL) return TARN_OK;
  return tarn_fail(TARN_NOT_FOUND, "CUDA device %d has lent nothing out", (int)device);
}

static tarn_status free_in_order(void *address, int32_t device, void *handle) {
  tarn_pool *pool;
  const tarn_status status = used_pool_of(device, &pool);
  if (status != TARN_OK) return status;
  tarn_stream *stream = NULL;
  /* All work of a stream that was forgotten is done: in nobody's order. */
  if (!tarn__torch_find_stream(device, handle, &stream)) {
    const tarn_status wrapped = tarn__torch_wrap_stream(device, handle, &stream);
    if (wrapped != TARN_OK) return wrapped;
  }
  const tarn_status settled = tarn__torch_settle_records(device, pool, address);
  return settled == TARN_OK ? tarn_pool_free(pool, address, stream) : settled;
}

static __attribute__((noinline)) void give_back(void *address, int32_t device, void *handle) {
  if (address == NULL || free_in_order(address, device, handle) == TARN_OK) return;
  count_refused(device);
}

void tarn_torch_free(void *address, size_t size_bytes, int device, void *stream) {
  (void)size_bytes;
  const tarn__torch_stream *node = tarn__torch_first_stream(device, stream);
  if (!tarn__torch_is_common(node != NULL)) {
    give_back(address, device, stream);
    return;
  }
  tarn_pool *pool = atomic_load_explicit(&tarn__torch_devices[device].pool, memory_order_acquire);
  const uint64_t use_count = atomic_load_explicit(&tarn__torch_use_count, memory_order_acquire);
  if (!tarn__torch_is_common(pool != NULL) || !tarn__torch_is_common(use_count == 0)) {
    give_back(address, device, stream);
    return;
  }
  tarn_stream *known = atomic_load_explicit(&node->stream, memory_order_acquire);
  const tarn_status status = tarn_pool_free(pool, address, known);
  if (!tarn__torch_is_common(status == TARN_OK)) count_refused(device);
}

void tarn_torch_segment_free(void *address, size_t size_bytes, int device, void *stream) {
  (void)size_bytes, (void)stream;
  if (address == NULL) return;
  tarn_pool *pool = NULL;
  tarn_status status = used_pool_of(device, &pool);
  if (status == TARN_OK) status = tarn_cuda_synchronize(tarn__torch_cuda(), device);
  /* Unavailable in a child of fork, which has no work there. */
  if (status == TARN_OK || (pool != NULL && status == TARN_UNAVAILABLE)) {
    status = tarn_pool_free(pool, address, /*stream=*/NULL);
  }
  if (status != TARN_OK) count_refused(device);
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
