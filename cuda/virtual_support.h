/* virtual_support.h: whether a device has virtual memory management. */
#ifndef TARN_VIRTUAL_SUPPORT_H
#define TARN_VIRTUAL_SUPPORT_H

#include "cuda/cuda_device.h"

/* TARN_NOT_SUPPORTED, and words for it, where the driver or the device, which exists, lacks it. */
TARN_NODISCARD tarn_status tarn__virtual_support(const tarn_cuda *cuda, int32_t device);

#endif
