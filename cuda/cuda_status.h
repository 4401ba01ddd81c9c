/* cuda_status.h: a CUresult as a tarn_status, with the native cause kept. */
#ifndef TARN_CUDA_STATUS_H
#define TARN_CUDA_STATUS_H

#include "cuda/driver.h"

/* TARN_OK for CUDA_SUCCESS. Otherwise the last error becomes "<what>: <call>: CUDA_ERROR_... (n):
 * <the driver's words>", where `what` is printf's format for what was tried, with its numbers, and
 * `call` a literal. CUDA_ERROR_NOT_READY is a failure here: who expects it asks before. */
TARN_NODISCARD tarn_status tarn__cuda_status(const tarn__driver *driver, CUresult result,
                                             const char *call, const char *what, ...)
    TARN_PRINTF(4, 5);

#endif
