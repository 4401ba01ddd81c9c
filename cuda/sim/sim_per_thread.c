/* sim_per_thread.c: the default stream that every thread has in every context, and the variants of
 * the calls for which the NULL stream is that one.
 *
 * Such a stream is made when its thread first uses it, and is a blocking one: the legacy stream
 * waits for it and it for the legacy stream. When its thread ends, what is queued still runs. */
#include "cuda/sim/sim.h"

#include <stdlib.h>
#include <string.h>

typedef struct thread_queues {
  struct thread_queues *next; /* all threads that have some */
  struct thread_queues *previous;
  sim_queue *queues[SIM_DEVICES_MAX]; /* by context; NULL: none yet */
} thread_queues;

static thread_queues *all_threads;
static pthread_key_t thread_key;
static bool has_key;
static _Thread_local bool is_null_per_thread;

bool sim_null_is_per_thread(void) {
  return is_null_per_thread;
}

/* The thread ends. */
static void let_go(void *argument) {
  thread_queues *self = argument;
  sim_lock();
  for (int i = 0; i < SIM_DEVICES_MAX; i++) {
    if (self->queues[i] != NULL) sim_queue_detach(self->queues[i]);
  }
  if (self->previous != NULL) {
    self->previous->next = self->next;
  } else {
    all_threads = self->next;
  }
  if (self->next != NULL) self->next->previous = self->previous;
  sim_unlock();
  free(self);
}

static thread_queues *own_queues(void) {
  if (!has_key) has_key = pthread_key_create(&thread_key, let_go) == 0;
  if (!has_key) return NULL;
  thread_queues *self = pthread_getspecific(thread_key);
  if (self != NULL) return self;
  self = calloc(1, sizeof *self);
  if (self == NULL) return NULL;
  if (pthread_setspecific(thread_key, self) != 0) {
    free(self);
    return NULL;
  }
  self->next = all_threads;
  if (all_threads != NULL) all_threads->previous = self;
  all_threads = self;
  return self;
}

sim_queue *sim_thread_queue(void) {
  thread_queues *self = own_queues();
  if (self == NULL) return NULL;
  const int device = sim_current()->device;
  if (self->queues[device] == NULL) {
    self->queues[device] = sim_queue_create(device, CU_STREAM_DEFAULT, /*is_legacy=*/false);
  }
  return self->queues[device];
}

void sim_thread_queues_abandon(int device) {
  for (thread_queues *thread = all_threads; thread != NULL; thread = thread->next) {
    if (thread->queues[device] != NULL) sim_queue_detach(thread->queues[device]);
    thread->queues[device] = NULL;
  }
}

/* --- variants --- */

/* Found by cuGetProcAddress only: programs that are compiled for default streams of threads and
 * link the driver directly are not served. */
#define VARIANTS(VARIANT)                                                                          \
  VARIANT(cuMemcpyAsync, (CUdeviceptr a, CUdeviceptr b, size_t c, CUstream d), (a, b, c, d))       \
  VARIANT(cuMemcpyPeerAsync,                                                                       \
          (CUdeviceptr a, CUcontext b, CUdeviceptr c, CUcontext d, size_t e, CUstream f),          \
          (a, b, c, d, e, f))                                                                      \
  VARIANT(cuMemcpyHtoDAsync, (CUdeviceptr a, const void *b, size_t c, CUstream d), (a, b, c, d))   \
  VARIANT(cuMemcpyDtoHAsync, (void *a, CUdeviceptr b, size_t c, CUstream d), (a, b, c, d))         \
  VARIANT(cuMemcpyDtoDAsync, (CUdeviceptr a, CUdeviceptr b, size_t c, CUstream d), (a, b, c, d))   \
  VARIANT(cuMemcpy2DAsync, (const CUDA_MEMCPY2D *a, CUstream b), (a, b))                           \
  VARIANT(cuMemcpy3DAsync, (const CUDA_MEMCPY3D *a, CUstream b), (a, b))                           \
  VARIANT(cuMemcpyBatchAsync,                                                                      \
          (CUdeviceptr * a, CUdeviceptr * b, size_t * c, size_t d, CUmemcpyAttributes * e,         \
           size_t * f, size_t g, CUstream h),                                                      \
          (a, b, c, d, e, f, g, h))                                                                \
  VARIANT(cuMemcpy, (CUdeviceptr a, CUdeviceptr b, size_t c), (a, b, c))                           \
  VARIANT(cuMemcpyHtoD, (CUdeviceptr a, const void *b, size_t c), (a, b, c))                       \
  VARIANT(cuMemcpyDtoH, (void *a, CUdeviceptr b, size_t c), (a, b, c))                             \
  VARIANT(cuMemcpyDtoD, (CUdeviceptr a, CUdeviceptr b, size_t c), (a, b, c))                       \
  VARIANT(cuMemsetD8, (CUdeviceptr a, unsigned char b, size_t c), (a, b, c))                       \
  VARIANT(cuMemsetD8Async, (CUdeviceptr a, unsigned char b, size_t c, CUstream d), (a, b, c, d))   \
  VARIANT(cuMemsetD16Async, (CUdeviceptr a, unsigned short b, size_t c, CUstream d), (a, b, c, d)) \
  VARIANT(cuMemsetD32Async, (CUdeviceptr a, unsigned b, size_t c, CUstream d), (a, b, c, d))       \
  VARIANT(cuMemsetD2D8Async,                                                                       \
          (CUdeviceptr a, size_t b, unsigned char c, size_t d, size_t e, CUstream f),              \
          (a, b, c, d, e, f))                                                                      \
  VARIANT(cuMemsetD2D16Async,                                                                      \
          (CUdeviceptr a, size_t b, unsigned short c, size_t d, size_t e, CUstream f),             \
          (a, b, c, d, e, f))                                                                      \
  VARIANT(cuMemsetD2D32Async,                                                                      \
          (CUdeviceptr a, size_t b, unsigned c, size_t d, size_t e, CUstream f),                   \
          (a, b, c, d, e, f))                                                                      \
  VARIANT(cuStreamQuery, (CUstream a), (a))                                                        \
  VARIANT(cuStreamSynchronize, (CUstream a), (a))                                                  \
  VARIANT(cuStreamWaitEvent, (CUstream a, CUevent b, unsigned c), (a, b, c))                       \
  VARIANT(cuStreamGetId, (CUstream a, unsigned long long *b), (a, b))                              \
  VARIANT(cuStreamGetCtx, (CUstream a, CUcontext * b), (a, b))                                     \
  VARIANT(cuStreamGetFlags, (CUstream a, unsigned *b), (a, b))                                     \
  VARIANT(cuStreamGetPriority, (CUstream a, int *b), (a, b))                                       \
  VARIANT(cuStreamWaitValue32, (CUstream a, CUdeviceptr b, cuuint32_t c, unsigned d),              \
          (a, b, c, d))                                                                            \
  VARIANT(cuStreamWaitValue64, (CUstream a, CUdeviceptr b, cuuint64_t c, unsigned d),              \
          (a, b, c, d))                                                                            \
  VARIANT(cuStreamWriteValue32, (CUstream a, CUdeviceptr b, cuuint32_t c, unsigned d),             \
          (a, b, c, d))                                                                            \
  VARIANT(cuStreamWriteValue64, (CUstream a, CUdeviceptr b, cuuint64_t c, unsigned d),             \
          (a, b, c, d))                                                                            \
  VARIANT(cuLaunchHostFunc, (CUstream a, CUhostFn b, void *c), (a, b, c))                          \
  VARIANT(cuEventRecord, (CUevent a, CUstream b), (a, b))                                          \
  VARIANT(cuEventRecordWithFlags, (CUevent a, CUstream b, unsigned c), (a, b, c))                  \
  VARIANT(cuStreamBeginCapture, (CUstream a, CUstreamCaptureMode b), (a, b))                       \
  VARIANT(cuStreamEndCapture, (CUstream a, CUgraph * b), (a, b))                                   \
  VARIANT(cuStreamIsCapturing, (CUstream a, CUstreamCaptureStatus * b), (a, b))                    \
  VARIANT(cuGraphLaunch, (CUgraphExec a, CUstream b), (a, b))

#define DEFINE(name, parameters, arguments) \
  static CUresult name##_ptsz parameters {  \
    const bool before = is_null_per_thread; \
    is_null_per_thread = true;              \
    const CUresult result = name arguments; \
    is_null_per_thread = before;            \
    return result;                          \
  }
VARIANTS(DEFINE)
#undef DEFINE

sim_function sim_per_thread_variant(const char *name) {
#define FIND(entry, parameters, arguments) \
  if (strcmp(name, #entry) == 0) return (sim_function)entry##_ptsz;
  VARIANTS(FIND)
#undef FIND
  return NULL;
}
