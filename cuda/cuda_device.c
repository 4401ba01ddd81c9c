/* cuda_device.c: opens the driver, counts its devices and describes them. */
#include "cuda/cuda_device.h"

#include "cuda/cuda_fence.h"

#include <stdlib.h>
#include <string.h>

/* --- fork --- */

/* How often the process was forked to get here. */
static _Atomic uint32_t generation;

static void begin_generation(void) {
  atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
}

static void watch_forks(void) {
  (void)pthread_atfork(NULL, NULL, begin_generation);
}

bool tarn__cuda_is_left_behind(const tarn_cuda *cuda) {
  return cuda->generation != atomic_load_explicit(&generation, memory_order_relaxed);
}

tarn_status tarn__cuda_check_process(const tarn_cuda *cuda) {
  if (!tarn__cuda_is_left_behind(cuda)) return TARN_OK;
  return tarn_fail(TARN_UNAVAILABLE,
                   "after a fork the CUDA driver and its memory are the parent process's");
}

/* --- life --- */

static tarn_status init_device(tarn_cuda *cuda, int32_t index) {
  tarn__cuda_device *device = &cuda->devices[index];
  CUresult result = cuda->driver.DeviceGet(&device->native, index);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(&cuda->driver, result, "cuDeviceGet", "device %d", (int)index);
  }
  int pitch = 0;
  result = cuda->driver.DeviceGetAttribute(&pitch, CU_DEVICE_ATTRIBUTE_MAX_PITCH, device->native);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(&cuda->driver, result, "cuDeviceGetAttribute",
                             "the largest pitch of device %d", (int)index);
  }
  device->pitch_bytes_max = pitch > 0 ? (size_t)pitch : 0;
  return TARN_OK;
}

static tarn_status start_driver(const tarn__driver *driver, int *version, int *device_count) {
  CUresult result = driver->Init(0);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, "cuInit", "the CUDA driver does not start");
  }
  result = driver->DriverGetVersion(version);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, "cuDriverGetVersion", "the CUDA driver's version");
  }
  result = driver->DeviceGetCount(device_count);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, "cuDeviceGetCount", "the number of CUDA devices");
  }
  if (*device_count < 1) {
    return tarn_fail(TARN_UNAVAILABLE, "the CUDA driver %d.%d runs, but names no device",
                     *version / 1000, *version % 1000 / 10);
  }
  return TARN_OK;
}

tarn_status tarn_cuda_open(const tarn_cuda_options *options, tarn_cuda **cuda) {
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  *cuda = NULL;
  const tarn_cuda_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_cuda_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }

  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  tarn__driver driver;
  tarn_status status = tarn__driver_load(options->driver_path, &driver);
  if (status != TARN_OK) return status;
  int version = 0;
  int device_count = 0;
  tarn_cuda *made = NULL;
  status = start_driver(&driver, &version, &device_count);
  if (status != TARN_OK) goto fail;

  made = calloc(1, sizeof *made + (size_t)device_count * sizeof made->devices[0]);
  if (made == NULL) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory to hold %d CUDA devices", device_count);
    goto fail;
  }
  atomic_init(&made->reference_count, 1);
  made->generation = atomic_load_explicit(&generation, memory_order_relaxed);
  made->driver = driver;
  made->driver_version = version;
  made->device_count = device_count;
  tarn__seams_init(&made->seams);
  pthread_mutex_init(&made->imports.lock, NULL);
  for (int32_t i = 0; i < device_count; i++) {
    pthread_mutex_init(&made->devices[i].event_lock, NULL);
  }
  for (int32_t i = 0; i < device_count; i++) {
    status = init_device(made, i);
    if (status != TARN_OK) goto fail;
  }
  *cuda = made;
  return TARN_OK;

fail:
  for (int32_t i = 0; made != NULL && i < device_count; i++) {
    pthread_mutex_destroy(&made->devices[i].event_lock);
  }
  if (made != NULL) tarn__seams_deinit(&made->seams);
  if (made != NULL) pthread_mutex_destroy(&made->imports.lock);
  free(made);
  tarn__driver_unload(&driver);
  return status;
}

void tarn_cuda_retain(tarn_cuda *cuda) {
  if (cuda == NULL) return;
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&cuda->reference_count, 1, memory_order_relaxed);
}

void tarn_cuda_release(tarn_cuda *cuda) {
  if (cuda == NULL) return;
  /* Release pairs with acquire: all use in other threads happens before the end. */
  if (atomic_fetch_sub_explicit(&cuda->reference_count, 1, memory_order_acq_rel) != 1) return;
  if (tarn__cuda_is_left_behind(cuda)) { /* the driver's own are the parent's to give back */
    free(cuda);
    return;
  }
  for (int32_t i = 0; i < cuda->device_count; i++) {
    tarn__cuda_device *device = &cuda->devices[i];
    tarn__cuda_drop_events(cuda, i);
    tarn__kernels_unload(cuda, i);
    if (atomic_load_explicit(&device->context, memory_order_relaxed) != NULL) {
      cuda->driver.DevicePrimaryCtxRelease(device->native);
    }
    pthread_mutex_destroy(&device->event_lock);
  }
  tarn__seams_deinit(&cuda->seams);
  pthread_mutex_destroy(&cuda->imports.lock);
  tarn__driver_unload(&cuda->driver);
  free(cuda);
}

/* --- contexts --- */

tarn_status tarn__cuda_context(tarn_cuda *cuda, int32_t device, CUcontext *context) {
  if (device < 0 || device >= cuda->device_count) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "there is no CUDA device %d, only %d of them",
                     (int)device, (int)cuda->device_count);
  }
  const tarn_status status = tarn__cuda_check_process(cuda);
  if (status != TARN_OK) return status;
  tarn__cuda_device *self = &cuda->devices[device];
  *context = atomic_load_explicit(&self->context, memory_order_acquire);
  if (*context != NULL) return TARN_OK;

  CUcontext retained = NULL;
  const CUresult result = cuda->driver.DevicePrimaryCtxRetain(&retained, self->native);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(&cuda->driver, result, "cuDevicePrimaryCtxRetain",
                             "the context of CUDA device %d", (int)device);
  }
  *context = retained;
  CUcontext expected = NULL;
  if (!atomic_compare_exchange_strong_explicit(&self->context, &expected, retained,
                                               memory_order_acq_rel, memory_order_acquire)) {
    cuda->driver.DevicePrimaryCtxRelease(self->native);
  }
  return TARN_OK;
}

tarn_status tarn__cuda_enter(tarn_cuda *cuda, CUcontext context, tarn__cuda_scope *scope) {
  *scope = (tarn__cuda_scope){.cuda = cuda};
  const tarn_status status = tarn__cuda_check_process(cuda);
  if (status != TARN_OK) return status;
  CUresult result = cuda->driver.CtxGetCurrent(&scope->previous);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(&cuda->driver, result, "cuCtxGetCurrent", "the thread's context");
  }
  if (scope->previous == context) return TARN_OK;
  result = cuda->driver.CtxPushCurrent(context);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(&cuda->driver, result, "cuCtxPushCurrent", "the device's context");
  }
  scope->is_pushed = true;
  return TARN_OK;
}

tarn_status tarn__cuda_enter_relaxed(tarn_cuda *cuda, CUcontext context, tarn__cuda_scope *scope) {
  const tarn_status status = tarn__cuda_enter(cuda, context, scope);
  if (status != TARN_OK || cuda->driver.ThreadExchangeStreamCaptureMode == NULL) return status;
  CUresult result = CUDA_SUCCESS;
  /* Tried twice, for memory that cannot be given back is lost. */
  for (int attempt = 0; attempt < 2; attempt++) {
    scope->previous_mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    result = cuda->driver.ThreadExchangeStreamCaptureMode(&scope->previous_mode);
    scope->is_relaxed = result == CUDA_SUCCESS;
    if (scope->is_relaxed) return TARN_OK;
  }
  tarn__cuda_leave(scope);
  return tarn__cuda_status(&cuda->driver, result, "cuThreadExchangeStreamCaptureMode",
                           "the thread's part in captures");
}

void tarn__cuda_leave(tarn__cuda_scope *scope) {
  /* Tried twice, for the thread would keep a freedom that it did not ask for. */
  for (int attempt = 0; scope->is_relaxed && attempt < 2; attempt++) {
    CUstreamCaptureMode mode = scope->previous_mode;
    scope->is_relaxed = scope->cuda->driver.ThreadExchangeStreamCaptureMode(&mode) != CUDA_SUCCESS;
  }
  if (!scope->is_pushed) return;
  CUcontext popped = NULL;
  /* What was enqueued stays enqueued, so a context that cannot be popped is no failure of the call:
   * the thread gets its own context back all the same. */
  if (scope->cuda->driver.CtxPopCurrent(&popped) != CUDA_SUCCESS) {
    scope->cuda->driver.CtxSetCurrent(scope->previous);
  }
}

/* --- what there is --- */

bool tarn_cuda_is_simulated(const tarn_cuda *cuda) {
  return cuda != NULL && cuda->driver.is_simulated;
}

int32_t tarn_cuda_driver_version(const tarn_cuda *cuda) {
  return cuda == NULL ? 0 : cuda->driver_version;
}

int32_t tarn_cuda_device_count(const tarn_cuda *cuda) {
  return cuda == NULL ? 0 : cuda->device_count;
}

/* Older drivers do not know every attribute. */
static int attribute_or(const tarn_cuda *cuda, CUdevice device, CUdevice_attribute attribute,
                        int otherwise) {
  int value = 0;
  const CUresult result = cuda->driver.DeviceGetAttribute(&value, attribute, device);
  return result == CUDA_SUCCESS ? value : otherwise;
}

static tarn_status read_memory_sizes(tarn_cuda *cuda, int32_t device, tarn_cuda_device_info *info) {
  CUcontext context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = cuda->driver.MemGetInfo(&info->free_bytes, &info->total_bytes);
  tarn__cuda_leave(&scope);
  return tarn__cuda_status(&cuda->driver, result, "cuMemGetInfo", "free memory of CUDA device %d",
                           (int)device);
}

tarn_status tarn_cuda_device_info_of(tarn_cuda *cuda, int32_t device, tarn_cuda_device_info *info) {
  if (cuda == NULL || info == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "cuda or info is NULL");
  }
  if (info->struct_size != sizeof *info) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_cuda_device_info has %zu bytes here, %zu were given", sizeof *info,
                     info->struct_size);
  }
  *info = (tarn_cuda_device_info){.struct_size = sizeof *info};
  tarn_cuda_device_info found = *info;
  tarn_status status = read_memory_sizes(cuda, device, &found);
  if (status != TARN_OK) return status;

  const tarn__driver *driver = &cuda->driver;
  const CUdevice native = cuda->devices[device].native;
  CUresult result = driver->DeviceGetName(found.name, (int)sizeof found.name, native);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, "cuDeviceGetName", "CUDA device %d", (int)device);
  }
  /* The card's whole memory; cuMemGetInfo leaves out what the driver keeps for itself. */
  result = driver->DeviceTotalMem(&found.total_bytes, native);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(driver, result, "cuDeviceTotalMem", "CUDA device %d", (int)device);
  }
  if (driver->DeviceGetPCIBusId == NULL ||
      driver->DeviceGetPCIBusId(found.pci_bus_id, (int)sizeof found.pci_bus_id, native) !=
          CUDA_SUCCESS) {
    found.pci_bus_id[0] = '\0';
  }
  found.compute_capability_major =
      attribute_or(cuda, native, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0);
  found.compute_capability_minor =
      attribute_or(cuda, native, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0);
  found.multiprocessor_count =
      attribute_or(cuda, native, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0);
  found.host_node = attribute_or(cuda, native, CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, -1);
  found.has_virtual_memory =
      attribute_or(cuda, native, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0) != 0;
  found.has_memory_pools =
      attribute_or(cuda, native, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 0) != 0;
  *info = found;
  return TARN_OK;
}

tarn_status tarn_cuda_synchronize(tarn_cuda *cuda, int32_t device) {
  if (cuda == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "cuda is NULL");
  if (cuda->driver.CtxSynchronize == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the driver lacks cuCtxSynchronize");
  }
  CUcontext context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = cuda->driver.CtxSynchronize();
  tarn__cuda_leave(&scope);
  return tarn__cuda_status(&cuda->driver, result, "cuCtxSynchronize", "work on CUDA device %d",
                           (int)device);
}

tarn_status tarn_cuda_address_range(tarn_cuda *cuda, int32_t device, const void *address,
                                    void **start, size_t *size_bytes) {
  if (start != NULL) *start = NULL;
  if (size_bytes != NULL) *size_bytes = 0;
  if (cuda == NULL || start == NULL || size_bytes == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "cuda, start or size_bytes is NULL");
  }
  if (cuda->driver.MemGetAddressRange == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the driver lacks cuMemGetAddressRange");
  }
  CUcontext context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  CUdeviceptr found = 0;
  size_t found_bytes = 0;
  const CUresult result =
      cuda->driver.MemGetAddressRange(&found, &found_bytes, (CUdeviceptr)(uintptr_t)address);
  tarn__cuda_leave(&scope);
  if (result == CUDA_ERROR_INVALID_VALUE || result == CUDA_ERROR_NOT_FOUND) {
    return tarn_fail_native(TARN_NOT_FOUND, "cuMemGetAddressRange", result,
                            "the driver knows no memory of CUDA device %d at %p", (int)device,
                            address);
  }
  if (result == CUDA_SUCCESS) {
    *start = (void *)(uintptr_t)found;
    *size_bytes = found_bytes;
  }
  return tarn__cuda_status(&cuda->driver, result, "cuMemGetAddressRange", "memory at %p", address);
}
