/* transfer_driver.c: entry points of libcuda, by their documented names, types and values.
 *
 * A CUdevice is an int, a CUdeviceptr a 64-bit integer, a CUcontext, a CUstream and a CUevent are
 * pointers, a CUresult and an enumeration are ints: CUDA Driver API, "Data types used by CUDA
 * driver". The versions are those of the functions' types, as cuGetProcAddress wants them.
 */
#include "bench/transfer_driver.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"

/* CUDA_MEMCPY2D of CUDA 3.2 and later. */
typedef struct copy_2d {
  size_t src_x_bytes, src_y;
  int src_type;
  const void *src_host;
  uint64_t src_device;
  void *src_array;
  size_t src_pitch_bytes;
  size_t dst_x_bytes, dst_y;
  int dst_type;
  void *dst_host;
  uint64_t dst_device;
  void *dst_array;
  size_t dst_pitch_bytes;
  size_t row_bytes, row_count;
} copy_2d;

/* CUmemLocation, and CUmemcpyAttributes: an order of access, two hints of a place, flags. */
typedef struct batch_location {
  int type;
  int id;
} batch_location;
typedef struct batch_attributes {
  int src_access_order;
  batch_location src_hint;
  batch_location dst_hint;
  unsigned flags;
} batch_attributes;

enum {
  ATTRIBUTE_L2_CACHE_SIZE = 38,
  ATTRIBUTE_CAN_MAP_HOST_MEMORY = 19,
  MEMORY_UNIFIED = 4,
  ACCESS_ORDER_STREAM = 1,
  LOCATION_DEVICE = 1,
  LOCATION_HOST = 2,
  STREAM_NON_BLOCKING = 1,
  WAIT_VALUE_GEQ = 0,
  HOST_ALLOC_PORTABLE = 1,
  HOST_ALLOC_DEVICEMAP = 2,
  HOST_ALLOC_WRITECOMBINED = 4,
  HOST_REGISTER_PORTABLE = 1,
  ERROR_NOT_READY = 600,
  WORD_BYTES = 4096,
  ANSWER_WORD = 512, /* words apart: two that no cache line shares */
};

/* member, name, version of its type, whether nothing goes without it, parameters */
#define ENTRIES(X)                                                                                 \
  X(init, "cuInit", 2000, true, (unsigned flags))                                                  \
  X(device_get, "cuDeviceGet", 2000, true, (int *device, int ordinal))                             \
  X(attribute, "cuDeviceGetAttribute", 2000, true, (int *value, int attribute, int device))        \
  X(context_retain, "cuDevicePrimaryCtxRetain", 7000, true, (void **context, int device))          \
  X(context_release, "cuDevicePrimaryCtxRelease", 11000, true, (int device))                       \
  X(context_set, "cuCtxSetCurrent", 4000, true, (void *context))                                   \
  X(stream_create, "cuStreamCreate", 2000, true, (void **stream, unsigned flags))                  \
  X(stream_destroy, "cuStreamDestroy", 4000, true, (void *stream))                                 \
  X(stream_wait, "cuStreamWaitEvent", 3020, true, (void *stream, void *event, unsigned flags))     \
  X(stream_synchronize, "cuStreamSynchronize", 2000, true, (void *stream))                         \
  X(event_create, "cuEventCreate", 2000, true, (void **event, unsigned flags))                     \
  X(event_destroy, "cuEventDestroy", 4000, true, (void *event))                                    \
  X(event_record, "cuEventRecord", 2000, true, (void *event, void *stream))                        \
  X(event_query, "cuEventQuery", 2000, true, (void *event))                                        \
  X(event_elapsed, "cuEventElapsedTime", 2000, true,                                               \
    (float *milliseconds, void *start, void *end))                                                 \
  X(copy, "cuMemcpyAsync", 4000, true,                                                             \
    (uint64_t dst, uint64_t src, size_t size_bytes, void *stream))                                 \
  X(copy_2d, "cuMemcpy2DAsync", 3020, true, (const copy_2d *copy, void *stream))                   \
  X(fill, "cuMemsetD8Async", 3020, true,                                                           \
    (uint64_t dst, unsigned char value, size_t size_bytes, void *stream))                          \
  X(mem_alloc, "cuMemAlloc", 3020, true, (uint64_t * address, size_t size_bytes))                  \
  X(mem_free, "cuMemFree", 3020, true, (uint64_t address))                                         \
  X(host_alloc, "cuMemHostAlloc", 2020, true, (void **address, size_t size_bytes, unsigned flags)) \
  X(host_free, "cuMemFreeHost", 2000, true, (void *address))                                       \
  X(host_device_pointer, "cuMemHostGetDevicePointer", 3020, true,                                  \
    (uint64_t * device, void *host, unsigned flags))                                               \
  X(host_register, "cuMemHostRegister", 6050, true,                                                \
    (void *address, size_t size_bytes, unsigned flags))                                            \
  X(host_unregister, "cuMemHostUnregister", 4000, true, (void *address))                           \
  X(alloc_async, "cuMemAllocAsync", 11020, false,                                                  \
    (uint64_t * address, size_t size_bytes, void *stream))                                         \
  X(free_async, "cuMemFreeAsync", 11020, false, (uint64_t address, void *stream))                  \
  X(wait_value, "cuStreamWaitValue32", 11070, false,                                               \
    (void *stream, uint64_t address, uint32_t value, unsigned flags))                              \
  X(write_value, "cuStreamWriteValue32", 11070, false,                                             \
    (void *stream, uint64_t address, uint32_t value, unsigned flags))                              \
  X(batch, "cuMemcpyBatchAsync", 13000, false,                                                     \
    (uint64_t * dsts, uint64_t * srcs, size_t * sizes, size_t count,                               \
     batch_attributes * attributes, size_t * starts, size_t attribute_count, void *stream))        \
  X(batch_12, "cuMemcpyBatchAsync", 12080, false,                                                  \
    (uint64_t * dsts, uint64_t * srcs, size_t * sizes, size_t count,                               \
     batch_attributes * attributes, size_t * starts, size_t attribute_count, size_t * failed,      \
     void *stream))

struct transfer_driver {
  void *library;
  void *context;
  int device;
  size_t l2_bytes;
  uint32_t *words; /* page-locked: the latch, and what answers it */
  uint64_t words_device;
  uint32_t turn; /* what opens the latch now */
  transfer_latch_kind latch;
#define MEMBER(member, name, version, is_required, parameters) int(*member) parameters;
  ENTRIES(MEMBER)
#undef MEMBER
};

/* As CUDA 12 and as CUDA 11.3 have it. */
typedef struct entry_finder {
  int (*find)(const char *name, void **function, int version, uint64_t flags, int *reason);
  int (*find_old)(const char *name, void **function, int version, uint64_t flags);
} entry_finder;

static bool load(const entry_finder *finder, const char *name, int version, void *function) {
  void *address = NULL;
  int reason = 0;
  const int code = finder->find != NULL ? finder->find(name, &address, version, 0, &reason)
                                        : finder->find_old(name, &address, version, 0);
  if (code != 0 || address == NULL) return false;
  memcpy(function, &address, sizeof address); /* POSIX's way from object to function pointer */
  return true;
}

static tarn_status load_entries(transfer_driver *driver, const char *path) {
  entry_finder finder = {NULL, NULL};
  void *address = dlsym(driver->library, "cuGetProcAddress_v2");
  memcpy(&finder.find, &address, sizeof address);
  address = dlsym(driver->library, "cuGetProcAddress");
  memcpy(&finder.find_old, &address, sizeof address);
  if (finder.find == NULL && finder.find_old == NULL) {
    return tarn_fail(TARN_UNAVAILABLE, "%s has no cuGetProcAddress", path);
  }
#define LOAD(member, name, version, is_required, parameters)                      \
  if (!load(&finder, name, version, &driver->member) && (is_required)) {          \
    return tarn_fail(TARN_UNAVAILABLE, "%s lacks " name " of %d", path, version); \
  }
  ENTRIES(LOAD)
#undef LOAD
  return TARN_OK;
}

static tarn_status check(const char *name, int code) {
  if (code == 0) return TARN_OK;
  const tarn_status status = code == 2 ? TARN_OUT_OF_MEMORY : TARN_DEVICE_ERROR;
  return tarn_fail_native(status, name, code, "%s failed with %d", name, code);
}

static uint64_t number(const void *address) {
  return (uint64_t)(uintptr_t)address;
}

static void *pointer(uint64_t address) {
  return (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): a CUdeviceptr */
}

static tarn_status enter_context(transfer_driver *driver, int32_t ordinal) {
  tarn_status status = check("cuInit", driver->init(0));
  if (status == TARN_OK) {
    status = check("cuDeviceGet", driver->device_get(&driver->device, ordinal));
  }
  if (status != TARN_OK) return status;
  status =
      check("cuDevicePrimaryCtxRetain", driver->context_retain(&driver->context, driver->device));
  return status == TARN_OK ? transfer_driver_enter(driver, /*enters=*/true) : status;
}

/* The word is there where the device reaches host memory; whether a stream waits for it is tried,
 * for no attribute says so of the calls since CUDA 11.7. */
static tarn_status make_latch(transfer_driver *driver) {
  int can_map = 0;
  tarn_status status =
      check("cuDeviceGetAttribute",
            driver->attribute(&can_map, ATTRIBUTE_CAN_MAP_HOST_MEMORY, driver->device));
  if (status != TARN_OK || can_map == 0 || driver->wait_value == NULL ||
      driver->write_value == NULL) {
    return status;
  }
  void *words = NULL;
  status = check("cuMemHostAlloc", driver->host_alloc(&words, WORD_BYTES,
                                                      HOST_ALLOC_PORTABLE | HOST_ALLOC_DEVICEMAP));
  if (status != TARN_OK) return status;
  driver->words = words;
  memset(words, 0, WORD_BYTES);
  status = check("cuMemHostGetDevicePointer",
                 driver->host_device_pointer(&driver->words_device, words, 0));
  void *stream = NULL;
  if (status == TARN_OK) status = transfer_stream_create(driver, &stream);
  if (status != TARN_OK) return status;
  const int code = driver->wait_value(stream, driver->words_device, 0, WAIT_VALUE_GEQ);
  if (code == 0) status = transfer_stream_synchronize(driver, stream);
  if (code == 0 && status == TARN_OK) driver->latch = TRANSFER_LATCH_VALUE;
  transfer_stream_destroy(driver, stream);
  return status;
}

tarn_status transfer_driver_open(const char *path, int32_t device, transfer_driver **out) {
  *out = NULL;
  transfer_driver *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the driver's calls");
  const char *name = path == NULL ? "libcuda.so.1" : path;
  made->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  tarn_status status = made->library == NULL ? tarn_fail(TARN_UNAVAILABLE, "no driver %s", name)
                                             : load_entries(made, name);
  if (status == TARN_OK) status = enter_context(made, device);
  int l2_bytes = 0;
  if (status == TARN_OK) {
    const int code = made->attribute(&l2_bytes, ATTRIBUTE_L2_CACHE_SIZE, made->device);
    made->l2_bytes = code == 0 && l2_bytes > 0 ? (size_t)l2_bytes : 0;
    status = make_latch(made);
  }
  if (status != TARN_OK) {
    transfer_driver_close(made);
    return status;
  }
  *out = made;
  return TARN_OK;
}

void transfer_driver_close(transfer_driver *driver) {
  if (driver == NULL) return;
  if (driver->words != NULL) driver->host_free(driver->words);
  if (driver->context != NULL) {
    driver->context_set(NULL);
    driver->context_release(driver->device);
  }
  if (driver->library != NULL) dlclose(driver->library);
  free(driver);
}

tarn_status transfer_driver_enter(const transfer_driver *driver, bool enters) {
  return check("cuCtxSetCurrent", driver->context_set(enters ? driver->context : NULL));
}

transfer_latch_kind transfer_driver_latch(const transfer_driver *driver) {
  return driver->latch;
}

bool transfer_driver_has_batch(const transfer_driver *driver) {
  return driver->batch != NULL || driver->batch_12 != NULL;
}

bool transfer_driver_has_ordered_alloc(const transfer_driver *driver) {
  return driver->alloc_async != NULL && driver->free_async != NULL;
}

size_t transfer_driver_l2_bytes(const transfer_driver *driver) {
  return driver->l2_bytes;
}

/* --- the latch --- */

tarn_status transfer_latch_wait(transfer_driver *driver, void *stream) {
  return check("cuStreamWaitValue32",
               driver->wait_value(stream, driver->words_device, driver->turn, WAIT_VALUE_GEQ));
}

void transfer_latch_close(transfer_driver *driver) {
  driver->turn++; /* the word itself never goes back: nobody can find it open by an old value */
}

/* Pairs with the device's wait; the watcher's thread may open it as well. */
void transfer_latch_open(transfer_driver *driver) {
  __atomic_store_n(&driver->words[0], driver->turn, __ATOMIC_RELEASE);
}

tarn_status transfer_latch_answer(transfer_driver *driver, void *stream) {
  return check("cuStreamWriteValue32",
               driver->write_value(stream, driver->words_device + ANSWER_WORD * sizeof(uint32_t),
                                   driver->turn, 0));
}

tarn_status transfer_latch_await_answer(transfer_driver *driver, void *stream) {
  const uint64_t start_ns = measure_now_ns();
  for (uint64_t i = 1;
       __atomic_load_n(&driver->words[ANSWER_WORD], __ATOMIC_ACQUIRE) != driver->turn; i++) {
    /* A simulated driver may do nothing before somebody waits. */
    if (i % 1024 == 0 && measure_now_ns() - start_ns > 2 * 1000 * 1000) break;
  }
  return transfer_stream_synchronize(driver, stream);
}

/* --- streams and events --- */

tarn_status transfer_stream_create(transfer_driver *driver, void **stream) {
  *stream = NULL;
  return check("cuStreamCreate", driver->stream_create(stream, STREAM_NON_BLOCKING));
}

void transfer_stream_destroy(transfer_driver *driver, void *stream) {
  if (stream != NULL) driver->stream_destroy(stream);
}

tarn_status transfer_stream_wait(transfer_driver *driver, void *stream, void *event) {
  return check("cuStreamWaitEvent", driver->stream_wait(stream, event, 0));
}

tarn_status transfer_stream_synchronize(transfer_driver *driver, void *stream) {
  return check("cuStreamSynchronize", driver->stream_synchronize(stream));
}

tarn_status transfer_event_create(transfer_driver *driver, void **event) {
  *event = NULL;
  return check("cuEventCreate", driver->event_create(event, 0));
}

void transfer_event_destroy(transfer_driver *driver, void *event) {
  if (event != NULL) driver->event_destroy(event);
}

tarn_status transfer_event_record(transfer_driver *driver, void *event, void *stream) {
  return check("cuEventRecord", driver->event_record(event, stream));
}

tarn_status transfer_event_is_passed(transfer_driver *driver, void *event, bool *is_passed) {
  const int code = driver->event_query(event);
  *is_passed = code == 0;
  return code == ERROR_NOT_READY ? TARN_OK : check("cuEventQuery", code);
}

tarn_status transfer_event_elapsed(transfer_driver *driver, void *start, void *end,
                                   double *elapsed_ns) {
  float milliseconds = 0;
  const int code = driver->event_elapsed(&milliseconds, start, end);
  *elapsed_ns = (double)milliseconds * 1e6;
  return check("cuEventElapsedTime", code);
}

/* --- copies --- */

tarn_status transfer_driver_copy(transfer_driver *driver, void *dst, const void *src,
                                 size_t size_bytes, void *stream) {
  return check("cuMemcpyAsync", driver->copy(number(dst), number(src), size_bytes, stream));
}

tarn_status transfer_driver_copy_rows(transfer_driver *driver, void *dst, size_t dst_pitch_bytes,
                                      const void *src, size_t src_pitch_bytes, size_t row_bytes,
                                      size_t row_count, void *stream) {
  const copy_2d copy = {.src_type = MEMORY_UNIFIED,
                        .src_device = number(src),
                        .src_pitch_bytes = src_pitch_bytes,
                        .dst_type = MEMORY_UNIFIED,
                        .dst_device = number(dst),
                        .dst_pitch_bytes = dst_pitch_bytes,
                        .row_bytes = row_bytes,
                        .row_count = row_count};
  return check("cuMemcpy2DAsync", driver->copy_2d(&copy, stream));
}

tarn_status transfer_driver_copy_batch(transfer_driver *driver, uint64_t *dsts, uint64_t *srcs,
                                       size_t *sizes_bytes, size_t count, bool is_to_device,
                                       void *stream) {
  /* A driver looks at the places only where the memory is not its own. */
  const batch_location host = {LOCATION_HOST, 0};
  const batch_location device = {LOCATION_DEVICE, driver->device};
  batch_attributes attributes = {.src_access_order = ACCESS_ORDER_STREAM,
                                 .src_hint = is_to_device ? host : device,
                                 .dst_hint = is_to_device ? device : host};
  size_t start = 0;
  if (driver->batch != NULL) {
    return check("cuMemcpyBatchAsync",
                 driver->batch(dsts, srcs, sizes_bytes, count, &attributes, &start, 1, stream));
  }
  if (driver->batch_12 == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the driver has no cuMemcpyBatchAsync");
  }
  size_t failed = 0;
  return check("cuMemcpyBatchAsync", driver->batch_12(dsts, srcs, sizes_bytes, count, &attributes,
                                                      &start, 1, &failed, stream));
}

tarn_status transfer_driver_fill(transfer_driver *driver, void *dst, uint8_t value,
                                 size_t size_bytes, void *stream) {
  return check("cuMemsetD8Async", driver->fill(number(dst), value, size_bytes, stream));
}

/* --- memory --- */

tarn_status transfer_driver_alloc(transfer_driver *driver, size_t size_bytes, void **address) {
  uint64_t found = 0;
  const tarn_status status = check("cuMemAlloc", driver->mem_alloc(&found, size_bytes));
  *address = status == TARN_OK ? pointer(found) : NULL;
  return status;
}

tarn_status transfer_driver_free(transfer_driver *driver, void *address) {
  return address == NULL ? TARN_OK : check("cuMemFree", driver->mem_free(number(address)));
}

tarn_status transfer_driver_alloc_ordered(transfer_driver *driver, size_t size_bytes, void *stream,
                                          void **address) {
  uint64_t found = 0;
  const tarn_status status =
      check("cuMemAllocAsync", driver->alloc_async(&found, size_bytes, stream));
  *address = status == TARN_OK ? pointer(found) : NULL;
  return status;
}

tarn_status transfer_driver_free_ordered(transfer_driver *driver, void *address, void *stream) {
  return check("cuMemFreeAsync", driver->free_async(number(address), stream));
}

tarn_status transfer_driver_host_alloc(transfer_driver *driver, size_t size_bytes,
                                       bool is_write_combined, void **address) {
  const unsigned flags = HOST_ALLOC_PORTABLE | (is_write_combined ? HOST_ALLOC_WRITECOMBINED : 0);
  *address = NULL;
  return check("cuMemHostAlloc", driver->host_alloc(address, size_bytes, flags));
}

tarn_status transfer_driver_host_free(transfer_driver *driver, void *address) {
  return address == NULL ? TARN_OK : check("cuMemFreeHost", driver->host_free(address));
}

tarn_status transfer_driver_register(transfer_driver *driver, void *address, size_t size_bytes) {
  return check("cuMemHostRegister",
               driver->host_register(address, size_bytes, HOST_REGISTER_PORTABLE));
}

tarn_status transfer_driver_unregister(transfer_driver *driver, void *address) {
  return check("cuMemHostUnregister", driver->host_unregister(address));
}
