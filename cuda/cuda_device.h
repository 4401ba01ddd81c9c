/* cuda_device.h: an opened driver, its devices and their primary contexts. */
#ifndef TARN_CUDA_DEVICE_H
#define TARN_CUDA_DEVICE_H

#include "cuda/cuda_status.h"
#include "cuda/kernels.h"
#include "cuda/seams.h"
#include "cuda/tarn_cuda.h"

#include <pthread.h>
#include <stdatomic.h>

/* An event that waits to be used again. */
typedef struct tarn__cuda_event {
  struct tarn__cuda_event *next;
  CUevent native;
} tarn__cuda_event;

/* Memory of another process: cuda_adopt.c. */
typedef struct tarn__cuda_import tarn__cuda_import;
typedef struct tarn__cuda_imports {
  pthread_mutex_t lock; /* a leaf: guards the list and its counts, no driver call under it */
  tarn__cuda_import *list;
} tarn__cuda_imports;

typedef struct tarn__cuda_device {
  CUdevice native;
  /* The primary context, retained at first use; NULL before. Two threads may race to retain it: the
   * one that comes second gives its retain back. Release pairs with acquire. */
  _Atomic(CUcontext) context;
  size_t pitch_bytes_max;     /* of a two-dimensional copy */
  pthread_mutex_t event_lock; /* a leaf: guards idle_events, no driver call under it */
  tarn__cuda_event *idle_events;
  tarn__kernels kernels;
} tarn__cuda_device;

struct tarn_cuda {
  atomic_size_t reference_count;
  tarn__driver driver;
  int32_t driver_version;
  int32_t device_count;
  atomic_size_t pinned_bytes; /* page-locked by tarn; host_register.h */
  tarn__seams seams;
  tarn__cuda_imports imports;
  uint32_t generation; /* of the process that opened it: cuda_device.c */
  tarn__cuda_device devices[];
};

/* A stretch of driver calls with a device's context current: enter, call, leave. */
typedef struct tarn__cuda_scope {
  tarn_cuda *cuda;
  CUcontext previous;
  bool is_pushed;
  bool is_relaxed;
  CUstreamCaptureMode previous_mode;
} tarn__cuda_scope;

/* In a child of fork, for what the parent opened. No lock of it may be taken then, for the thread
 * that holds it may not be there, and the driver would refuse every call. */
bool tarn__cuda_is_left_behind(const tarn_cuda *cuda);
/* TARN_UNAVAILABLE, and words for it, where that is so; else TARN_OK. */
TARN_NODISCARD tarn_status tarn__cuda_check_process(const tarn_cuda *cuda);

/* The device's primary context, retained now where it was not yet. TARN_INVALID_ARGUMENT where
 * there is no such device. */
TARN_NODISCARD tarn_status tarn__cuda_context(tarn_cuda *cuda, int32_t device, CUcontext *context);

/* Makes the context current in the calling thread. Needs no leave where it failed. */
TARN_NODISCARD tarn_status tarn__cuda_enter(tarn_cuda *cuda, CUcontext context,
                                            tarn__cuda_scope *scope);
/* The same for calls that allocate, free, ask or wait: while anybody captures a stream, CUDA
 * refuses them and spoils the capture, though they have nothing to do with it, unless the thread
 * says that it knows what it does. */
TARN_NODISCARD tarn_status tarn__cuda_enter_relaxed(tarn_cuda *cuda, CUcontext context,
                                                    tarn__cuda_scope *scope);
/* What stands behind a CUDA stream of the seam; false for any other kind, for another thread's
 * default stream, which cannot be named here, and for NULL. */
typedef struct tarn__cuda_stream {
  tarn_cuda *cuda;
  int32_t device;
  CUstream native;
} tarn__cuda_stream;
bool tarn__cuda_stream_of(const tarn_stream *stream, tarn__cuda_stream *found);

/* Makes the thread's earlier context current again. */
void tarn__cuda_leave(tarn__cuda_scope *scope);

#endif
