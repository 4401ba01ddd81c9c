/* kernels.c: loads the device code once for each context, and launches from it. */
#include "cuda/kernels.h"

#include "cuda/cuda_device.h"

#include <stdio.h>

static const char *const names[TARN__KERNEL_COUNT] = {
#define FLAT(name, arguments, body) [TARN__KERNEL_##name] = "tarn_" #name,
#define TILED(name, arguments, load, store) [TARN__KERNEL_##name] = "tarn_" #name,
    TARN__KERNELS(FLAT, TILED)
#undef FLAT
#undef TILED
};

/* --- loading --- */

static bool has_calls(const tarn__driver *driver) {
  return driver->ModuleLoadDataEx != NULL && driver->ModuleUnload != NULL &&
         driver->ModuleGetFunction != NULL && driver->LaunchKernel != NULL;
}

/* What will be no better the next time: the code and the device do not fit each other. */
static bool is_final(CUresult result) {
  switch ((int)result) {
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_JIT_COMPILATION_DISABLED:
    case CUDA_ERROR_NOT_FOUND:
    case CUDA_ERROR_NOT_SUPPORTED:
      return true;
    default:
      return false;
  }
}

/* The driver's refusal as an answer that leaves the copy to another way; but a context that is
 * broken fails every other way as well, and says so. */
static tarn_status refuse(tarn_cuda *cuda, int32_t device, CUresult result, const char *call,
                          const char *log) {
  const tarn_status status =
      tarn__cuda_status(&cuda->driver, result, call, "copy kernels for CUDA device %d%s%s",
                        (int)device, log[0] != '\0' ? ": " : "", log);
  if (is_final(result)) {
    atomic_store_explicit(&cuda->devices[device].kernels.refusal, (int)result,
                          memory_order_relaxed);
  } else if (status != TARN_OUT_OF_MEMORY) {
    return status;
  }
  return tarn_fail_native(TARN_NOT_SUPPORTED, call, result,
                          "no copy kernels on CUDA device %d: %s failed with %d%s%s", (int)device,
                          call, (int)result, log[0] != '\0' ? ": " : "", log);
}

static tarn_status load_module(tarn_cuda *cuda, int32_t device, CUmodule *module) {
  char log[512] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
  CUmodule loaded = NULL;
  const CUresult result =
      cuda->driver.ModuleLoadDataEx(&loaded, tarn__kernel_image, 2, options, values);
  if (result != CUDA_SUCCESS) return refuse(cuda, device, result, "cuModuleLoadDataEx", log);
  CUmodule first = NULL;
  if (atomic_compare_exchange_strong_explicit(&cuda->devices[device].kernels.module, &first, loaded,
                                              memory_order_acq_rel, memory_order_acquire)) {
    *module = loaded;
  } else {
    cuda->driver.ModuleUnload(loaded);
    *module = first;
  }
  return TARN_OK;
}

static tarn_status find_function(tarn_cuda *cuda, int32_t device, tarn__kernel kernel,
                                 CUfunction *function) {
  tarn__kernels *self = &cuda->devices[device].kernels;
  *function = atomic_load_explicit(&self->functions[kernel], memory_order_acquire);
  if (*function != NULL) return TARN_OK;
  if (!has_calls(&cuda->driver)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the CUDA driver has no call to load kernels");
  }
  const int refusal = atomic_load_explicit(&self->refusal, memory_order_relaxed);
  if (refusal != 0) return refuse(cuda, device, (CUresult)refusal, "cuModuleLoadDataEx", "");
  CUmodule module = atomic_load_explicit(&self->module, memory_order_acquire);
  if (module == NULL) {
    const tarn_status status = load_module(cuda, device, &module);
    if (status != TARN_OK) return status;
  }
  const CUresult result = cuda->driver.ModuleGetFunction(function, module, names[kernel]);
  if (result != CUDA_SUCCESS) return refuse(cuda, device, result, "cuModuleGetFunction", "");
  /* Whoever asks gets the same handle. */
  atomic_store_explicit(&self->functions[kernel], *function, memory_order_release);
  return TARN_OK;
}

void tarn__kernels_unload(tarn_cuda *cuda, int32_t device) {
  const CUmodule module =
      atomic_load_explicit(&cuda->devices[device].kernels.module, memory_order_relaxed);
  if (module == NULL) return;
  CUcontext context;
  tarn__cuda_scope scope;
  if (tarn__cuda_context(cuda, device, &context) != TARN_OK ||
      tarn__cuda_enter_relaxed(cuda, context, &scope) != TARN_OK) {
    return;
  }
  cuda->driver.ModuleUnload(module);
  tarn__cuda_leave(&scope);
}

/* --- launching --- */

tarn_status tarn__kernels_launch(tarn_cuda *cuda, int32_t device, CUstream stream,
                                 tarn__kernel kernel, uint32_t block_count, void *arguments) {
  CUfunction function;
  const tarn_status status = find_function(cuda, device, kernel, &function);
  if (status != TARN_OK) return status;
  void *parameters[] = {arguments};
  const CUresult result =
      cuda->driver.LaunchKernel(function, block_count, 1, 1, TARN__KERNEL_THREADS, 1, 1,
                                /*sharedMemBytes=*/0, stream, parameters, NULL);
  return tarn__cuda_status(&cuda->driver, result, "cuLaunchKernel",
                           "%s, %u blocks, on CUDA device %d", names[kernel], block_count,
                           (int)device);
}
