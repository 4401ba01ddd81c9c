/* tarn_host_stream.h: streams of the CPU: one that works at once, one with a thread of its own. */
#ifndef TARN_HOST_STREAM_H
#define TARN_HOST_STREAM_H

#include "alloc/tarn_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Does everything in the calling thread before the call returns; the same as a NULL stream, where
 * an object is wanted. Two threads that use one such stream are not ordered by it. */
TARN_API TARN_NODISCARD tarn_status tarn_host_stream_create(tarn_stream **stream);

/* A queue with one worker thread. Copies and callbacks run there in order; enqueueing allocates a
 * queue node and can fail with TARN_OUT_OF_MEMORY. The last release returns at once; the thread
 * finishes what is queued and goes. All signals are blocked in the thread. In a child of fork the
 * queue is empty, and a thread of the child's begins with the first call. */
TARN_API TARN_NODISCARD tarn_status tarn_worker_stream_create(tarn_stream **stream);

#ifdef __cplusplus
}
#endif
#endif
