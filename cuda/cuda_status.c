/* cuda_status.c: which status each CUresult is, and its message. */
#include "cuda/cuda_status.h"

#include <stdarg.h>
#include <stdio.h>

/* Open-ended on purpose: a newer driver has codes that this build does not know. */
static tarn_status status_of(CUresult result) {
  switch ((int)result) {
    case CUDA_SUCCESS:
      return TARN_OK;
    case CUDA_ERROR_INVALID_VALUE:
    case CUDA_ERROR_INVALID_HANDLE:
    case CUDA_ERROR_INVALID_DEVICE:
      return TARN_INVALID_ARGUMENT;
    case CUDA_ERROR_OUT_OF_MEMORY:
      return TARN_OUT_OF_MEMORY;
    case CUDA_ERROR_NOT_READY:
      return TARN_NOT_READY;
    case CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED:
      return TARN_BUSY;
    case CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED:
      return TARN_NOT_FOUND;
    case CUDA_ERROR_NOT_SUPPORTED:
      return TARN_NOT_SUPPORTED;
    case CUDA_ERROR_NOT_INITIALIZED: /* also what a forked child meets */
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_OPERATING_SYSTEM:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
      return TARN_UNAVAILABLE;
    default:
      return TARN_DEVICE_ERROR;
  }
}

tarn_status tarn__cuda_status(const tarn__driver *driver, CUresult result, const char *call,
                              const char *what, ...) {
  if (result == CUDA_SUCCESS) return TARN_OK;
  const char *name = NULL;
  const char *text = NULL;
  if (driver->GetErrorName(result, &name) != CUDA_SUCCESS || name == NULL) name = "CUDA_ERROR_?";
  if (driver->GetErrorString(result, &text) != CUDA_SUCCESS || text == NULL) text = "unknown error";

  char tried[256];
  va_list arguments;
  va_start(arguments, what);
  vsnprintf(tried, sizeof tried, what, arguments);
  va_end(arguments);
  return tarn_fail_native(status_of(result), call, result, "%s: %s: %s (%d): %s", tried, call, name,
                          (int)result, text);
}
