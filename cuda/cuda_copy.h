/* cuda_copy.h: copies of planes and of many spans, by one call of the driver. */
#ifndef TARN_CUDA_COPY_H
#define TARN_CUDA_COPY_H

#include "alloc/tarn_stream_copy.h"
#include "cuda/cuda_device.h"

/* What a description of a copy says of memory that lies there. */
CUmemorytype tarn__cuda_memory_type(tarn_device device);

/* Both answer TARN_NOT_SUPPORTED, with nothing enqueued, where the driver has no such call or does
 * not take these numbers; the context is current. */

/* By cuMemcpy3DAsync: where both pitches of planes are multiples of those of rows, and no seam of
 * page-locked memory lies between the first byte and the last. */
TARN_NODISCARD tarn_status tarn__cuda_copy_planes(const tarn__cuda_stream *stream,
                                                  const tarn_copy_planes *planes);

/* By cuMemcpyBatchAsync: on any stream but the legacy default one, and not while it is captured. */
TARN_NODISCARD tarn_status tarn__cuda_copy_batch(const tarn__cuda_stream *stream,
                                                 const tarn_copy_span *spans, size_t count);

#endif
