/* cuda_share.h: what a device's providers do for other processes. */
#ifndef TARN_CUDA_SHARE_PRIVATE_H
#define TARN_CUDA_SHARE_PRIVATE_H

#include "cuda/cuda_device.h"

#include "alloc/tarn_share.h"

/* share_range of tarn_provider_ops, of memory of the device: mapped, each piece by one handle that
 * can be exported; or of one cuMemAlloc. */
TARN_NODISCARD tarn_status tarn__cuda_share_virtual(tarn_cuda *cuda, int32_t device,
                                                    const void *address, size_t size_bytes,
                                                    tarn_stream *stream, bool may_mark,
                                                    tarn_share_memory *memory);
TARN_NODISCARD tarn_status tarn__cuda_share_block(tarn_cuda *cuda, int32_t device,
                                                  const void *address, size_t size_bytes,
                                                  tarn_stream *stream, bool may_mark,
                                                  tarn_share_memory *memory);

/* Whether the device makes virtual memory that can be exported: TARN_NOT_SUPPORTED, and why not. */
TARN_NODISCARD tarn_status tarn__cuda_can_share_virtual(const tarn_cuda *cuda, int32_t device);

#endif
