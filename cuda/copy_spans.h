/* copy_spans.h: many scattered spans copied by a few launches. */
#ifndef CUDA_COPY_SPANS_H
#define CUDA_COPY_SPANS_H

#include "alloc/tarn_stream_copy.h"
#include "cuda/cuda_device.h"

/* What the copy_batch operation of a stream is given, by a kernel: no call for each span, whatever
 * the driver, and in captures too. Worth it for spans of some KiB of the device's memory and
 * page-locked memory: a launch takes TARN__KERNEL_SPANS_MAX of them, and as many blocks for each as
 * the longest needs. TARN_NOT_SUPPORTED, with nothing enqueued, where a kernel does not reach one
 * of them or there is none. The context need not be current. */
TARN_NODISCARD tarn_status tarn__cuda_copy_spans(tarn_cuda *cuda, int32_t device, CUcontext context,
                                                 CUstream stream, const tarn_copy_span *spans,
                                                 size_t count);

#endif
