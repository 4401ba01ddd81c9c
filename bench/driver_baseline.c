/* driver_baseline.c: a few entry points of libcuda, by their documented names and types.
 *
 * A CUdevice is an int, a CUdeviceptr a 64-bit integer, a CUcontext and a CUstream pointers, and a
 * CUresult an int that is 0 on success: CUDA Driver API, "Data types used by CUDA driver".
 */
#include "bench/driver_baseline.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

struct driver_baseline {
  void *library;
  void *context;
  int device;
  int (*init)(unsigned flags);
  int (*device_get)(int *device, int ordinal);
  int (*context_retain)(void **context, int device);
  int (*context_release)(int device);
  int (*context_set)(void *context);
  int (*copy)(uint64_t dst, uint64_t src, size_t size_bytes, void *stream);
  int (*alloc)(uint64_t *address, size_t size_bytes, void *stream);
  int (*free)(uint64_t address, void *stream);
  int (*synchronize)(void *stream);
};

typedef int (*entry_finder)(const char *name, void **function, int version, uint64_t flags);

/* The entry as CUDA 12.0 has it; the driver keeps it for ever. */
static bool load(entry_finder find, const char *name, void *function) {
  void *address = NULL;
  if (find(name, &address, 12000, 0) != 0 || address == NULL) return false;
  memcpy(function, &address, sizeof address); /* POSIX's way from object to function pointer */
  return true;
}

static tarn_status load_entries(driver_baseline *driver, const char *name) {
  void *address = dlsym(driver->library, "cuGetProcAddress");
  if (address == NULL) return tarn_fail(TARN_UNAVAILABLE, "%s has no cuGetProcAddress", name);
  entry_finder find;
  memcpy(&find, &address, sizeof find);
  if (load(find, "cuInit", &driver->init) && load(find, "cuDeviceGet", &driver->device_get) &&
      load(find, "cuDevicePrimaryCtxRetain", &driver->context_retain) &&
      load(find, "cuDevicePrimaryCtxRelease", &driver->context_release) &&
      load(find, "cuCtxSetCurrent", &driver->context_set) &&
      load(find, "cuMemcpyAsync", &driver->copy) && load(find, "cuMemAllocAsync", &driver->alloc) &&
      load(find, "cuMemFreeAsync", &driver->free) &&
      load(find, "cuStreamSynchronize", &driver->synchronize)) {
    return TARN_OK;
  }
  return tarn_fail(TARN_UNAVAILABLE, "%s lacks one of the calls of CUDA 12.0", name);
}

static tarn_status fail_call(const char *name, int code) {
  return tarn_fail_native(TARN_DEVICE_ERROR, name, code, "%s failed with %d", name, code);
}

static tarn_status enter_context(driver_baseline *driver, int32_t ordinal) {
  int code = driver->init(0);
  if (code != 0) return fail_call("cuInit", code);
  code = driver->device_get(&driver->device, ordinal);
  if (code != 0) return fail_call("cuDeviceGet", code);
  code = driver->context_retain(&driver->context, driver->device);
  if (code != 0) return fail_call("cuDevicePrimaryCtxRetain", code);
  code = driver->context_set(driver->context);
  return code == 0 ? TARN_OK : fail_call("cuCtxSetCurrent", code);
}

tarn_status driver_baseline_open(const char *path, int32_t device, driver_baseline **out) {
  *out = NULL;
  driver_baseline *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the driver's calls");
  const char *name = path == NULL ? "libcuda.so.1" : path;
  made->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  tarn_status status = TARN_OK;
  if (made->library == NULL) {
    status = tarn_fail(TARN_UNAVAILABLE, "no driver %s", name);
  } else {
    status = load_entries(made, name);
  }
  if (status == TARN_OK) status = enter_context(made, device);
  if (status != TARN_OK) {
    driver_baseline_close(made);
    return status;
  }
  *out = made;
  return TARN_OK;
}

void driver_baseline_close(driver_baseline *driver) {
  if (driver == NULL) return;
  if (driver->context != NULL) { /* as it was in a thread of ours: none current */
    driver->context_set(NULL);
    driver->context_release(driver->device);
  }
  if (driver->library != NULL) dlclose(driver->library);
  free(driver);
}

tarn_status driver_baseline_copy(const driver_baseline *driver, void *dst, const void *src,
                                 size_t size_bytes, void *native_stream) {
  const int code =
      driver->copy((uint64_t)(uintptr_t)dst, (uint64_t)(uintptr_t)src, size_bytes, native_stream);
  return code == 0 ? TARN_OK : fail_call("cuMemcpyAsync", code);
}

tarn_status driver_baseline_alloc(const driver_baseline *driver, size_t size_bytes,
                                  void *native_stream, void **address) {
  uint64_t device_address = 0;
  const int code = driver->alloc(&device_address, size_bytes, native_stream);
  *address = (void *)(uintptr_t)device_address;
  return code == 0 ? TARN_OK : fail_call("cuMemAllocAsync", code);
}

tarn_status driver_baseline_free(const driver_baseline *driver, void *address,
                                 void *native_stream) {
  const int code = driver->free((uint64_t)(uintptr_t)address, native_stream);
  return code == 0 ? TARN_OK : fail_call("cuMemFreeAsync", code);
}

tarn_status driver_baseline_synchronize(const driver_baseline *driver, void *native_stream) {
  const int code = driver->synchronize(native_stream);
  return code == 0 ? TARN_OK : fail_call("cuStreamSynchronize", code);
}
