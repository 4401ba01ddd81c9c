/* driver_pool.h: what the files of the driver's pool share. */
#ifndef TARN_DRIVER_POOL_H
#define TARN_DRIVER_POOL_H

#include "cuda/cuda_fence.h"
#include "cuda/pool_blocks.h"

/* Bytes freed behind one stream. */
typedef struct tarn__pool_pending {
  struct tarn__pool_pending *next;
  tarn_stream *stream; /* retained */
  CUstream native;
  size_t open_bytes;   /* freed since the fence, or without one */
  size_t fenced_bytes; /* freed before it */
  tarn__cuda_fence *fence;
} tarn__pool_pending;

typedef struct tarn__driver_pool {
  tarn_cuda *cuda; /* retained */
  int32_t device;
  CUcontext context;
  CUmemoryPool native;
  size_t limit_bytes;
  tarn_stream *host_stream;
  tarn_stream *join_stream;
  pthread_mutex_t lock; /* a leaf: guards what follows, no driver call under it */
  tarn__pool_block *live;
  tarn__pool_pending *pendings;
  tarn_pool_stats stats; /* counts, peaks and what is live */
} tarn__driver_pool;

/* The handle of one of the pool's two streams. */
CUstream tarn__driver_pool_native(tarn_stream *stream);

/* pool_pending.c: what was freed behind streams. The device's context is current, and the lock is
 * not held. Adds a free behind `stream`; without memory for the record, waits for it instead. */
void tarn__driver_pool_add_pending(tarn__driver_pool *self, tarn_stream *stream, CUstream native,
                                   size_t bytes);
/* Asks how far the streams have come, and forgets what has passed. */
void tarn__driver_pool_observe(tarn__driver_pool *self);
/* Waits for all that is pending, which is nothing then. */
void tarn__driver_pool_wait_for_all(tarn__driver_pool *self);
/* Forgets what could not be waited for. */
void tarn__driver_pool_drop_pendings(tarn__driver_pool *self);

#endif
