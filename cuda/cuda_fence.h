/* cuda_fence.h: fences of CUDA streams: events, kept and used again.
 *
 * A fence belongs to the kind of stream, so it may be recorded on any device's streams; an event
 * belongs to one context. So a fence holds one event per device it was recorded on:
 *
 *     fence   recorded_on --.
 *             events[0]     |   event of device 0 (a stale mark, or none)
 *             events[1]  <--'   event of device 1: the latest mark
 *
 * Events are not given back before the fence is destroyed: a query in another thread may still be
 * looking at the earlier mark, and must not find somebody else's there.
 */
#ifndef TARN_CUDA_FENCE_H
#define TARN_CUDA_FENCE_H

#include "cuda/cuda_device.h"

typedef struct tarn__cuda_fence {
  tarn_cuda *cuda;            /* retained: a fence outlives its stream */
  atomic_int recorded_on;     /* device of the latest mark; -1: never recorded */
  tarn__cuda_event *events[]; /* one per device; written by the one thread that records */
} tarn__cuda_fence;

TARN_NODISCARD tarn_status tarn__cuda_fence_create(tarn_cuda *cuda, int32_t device,
                                                   tarn__cuda_fence **fence);
void tarn__cuda_fence_destroy(tarn__cuda_fence *fence);

/* Both with `context` of `device` current. */
TARN_NODISCARD tarn_status tarn__cuda_fence_record(tarn__cuda_fence *fence, tarn_cuda *cuda,
                                                   int32_t device, CUstream stream);
TARN_NODISCARD tarn_status tarn__cuda_fence_wait(tarn__cuda_fence *fence, tarn_cuda *cuda,
                                                 CUstream stream);

TARN_NODISCARD tarn_status tarn__cuda_fence_query(tarn__cuda_fence *fence);
TARN_NODISCARD tarn_status tarn__cuda_fence_synchronize(tarn__cuda_fence *fence);

/* Destroys the events of `device` that nobody uses. */
void tarn__cuda_drop_events(tarn_cuda *cuda, int32_t device);

#endif
