/* cuda_fence.c: fences over events without timing, and the events that wait to be used again. */
#include "cuda/cuda_fence.h"

#include <stdlib.h>

/* --- events --- */

/* An idle event, whose old mark means nothing, or a new one. The device's context is current. */
static tarn_status take_event(tarn_cuda *cuda, int32_t device, tarn__cuda_event **event) {
  tarn__cuda_device *self = &cuda->devices[device];
  pthread_mutex_lock(&self->event_lock);
  *event = self->idle_events;
  if (*event != NULL) self->idle_events = (*event)->next;
  pthread_mutex_unlock(&self->event_lock);
  if (*event != NULL) return TARN_OK;

  tarn__cuda_event *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for an event's handle");
  const CUresult result = cuda->driver.EventCreate(&made->native, CU_EVENT_DISABLE_TIMING);
  if (result != CUDA_SUCCESS) {
    free(made);
    return tarn__cuda_status(&cuda->driver, result, "cuEventCreate", "a fence on CUDA device %d",
                             (int)device);
  }
  *event = made;
  return TARN_OK;
}

static void give_event(tarn_cuda *cuda, int32_t device, tarn__cuda_event *event) {
  tarn__cuda_device *self = &cuda->devices[device];
  if (tarn__cuda_is_left_behind(cuda)) {
    free(event);
    return;
  }
  pthread_mutex_lock(&self->event_lock);
  event->next = self->idle_events;
  self->idle_events = event;
  pthread_mutex_unlock(&self->event_lock);
}

void tarn__cuda_drop_events(tarn_cuda *cuda, int32_t device) {
  tarn__cuda_device *self = &cuda->devices[device];
  pthread_mutex_lock(&self->event_lock);
  tarn__cuda_event *event = self->idle_events;
  self->idle_events = NULL;
  pthread_mutex_unlock(&self->event_lock);
  if (event == NULL) return;

  CUcontext context;
  tarn__cuda_scope scope = {0};
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__cuda_enter(cuda, context, &scope);
  while (event != NULL) {
    tarn__cuda_event *next = event->next;
    if (status == TARN_OK) cuda->driver.EventDestroy(event->native);
    free(event);
    event = next;
  }
  if (status == TARN_OK) tarn__cuda_leave(&scope);
}

/* --- fences --- */

tarn_status tarn__cuda_fence_create(tarn_cuda *cuda, int32_t device, tarn__cuda_fence **fence) {
  *fence = NULL;
  tarn__cuda_fence *made =
      calloc(1, sizeof *made + (size_t)cuda->device_count * sizeof made->events[0]);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a fence's handle");
  made->cuda = cuda;
  atomic_init(&made->recorded_on, -1);
  /* Now rather than at the first record, which has nothing left to fail then. */
  const tarn_status status = take_event(cuda, device, &made->events[device]);
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  tarn_cuda_retain(cuda);
  *fence = made;
  return TARN_OK;
}

void tarn__cuda_fence_destroy(tarn__cuda_fence *fence) {
  if (fence == NULL) return;
  tarn_cuda *cuda = fence->cuda;
  for (int32_t i = 0; i < cuda->device_count; i++) {
    if (fence->events[i] != NULL) give_event(cuda, i, fence->events[i]);
  }
  free(fence);
  tarn_cuda_release(cuda);
}

/* Two tarn_cuda over one driver share its events; the real and a simulated driver do not. */
static bool share_driver(const tarn_cuda *a, const tarn_cuda *b) {
  return a == b || a->driver.EventRecord == b->driver.EventRecord;
}

tarn_status tarn__cuda_fence_record(tarn__cuda_fence *fence, tarn_cuda *cuda, int32_t device,
                                    CUstream stream) {
  if (!share_driver(fence->cuda, cuda)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a fence of one CUDA driver cannot be recorded on a stream of another");
  }
  if (fence->events[device] == NULL) {
    const tarn_status status = take_event(fence->cuda, device, &fence->events[device]);
    if (status != TARN_OK) return status;
  }
  const CUresult result = cuda->driver.EventRecord(fence->events[device]->native, stream);
  if (result != CUDA_SUCCESS) {
    return tarn__cuda_status(&cuda->driver, result, "cuEventRecord", "a fence on CUDA device %d",
                             (int)device);
  }
  /* Release pairs with latest_mark: whoever sees the device sees its event. */
  atomic_store_explicit(&fence->recorded_on, device, memory_order_release);
  return TARN_OK;
}

/* The event with the latest mark and its device, or NULL where there is no mark. */
static tarn__cuda_event *latest_mark(tarn__cuda_fence *fence, int32_t *device) {
  *device = atomic_load_explicit(&fence->recorded_on, memory_order_acquire);
  return *device < 0 ? NULL : fence->events[*device];
}

tarn_status tarn__cuda_fence_wait(tarn__cuda_fence *fence, tarn_cuda *cuda, CUstream stream) {
  int32_t device;
  const tarn__cuda_event *event = latest_mark(fence, &device);
  if (event == NULL) return TARN_OK;
  if (!share_driver(fence->cuda, cuda)) return tarn__cuda_fence_synchronize(fence);
  const CUresult result = cuda->driver.StreamWaitEvent(stream, event->native, 0);
  return tarn__cuda_status(&cuda->driver, result, "cuStreamWaitEvent",
                           "a wait for a fence of CUDA device %d", (int)device);
}

tarn_status tarn__cuda_fence_query(tarn__cuda_fence *fence) {
  int32_t device;
  const tarn__cuda_event *event = latest_mark(fence, &device);
  if (event == NULL) return TARN_OK;
  tarn_cuda *cuda = fence->cuda;
  CUcontext context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = cuda->driver.EventQuery(event->native);
  tarn__cuda_leave(&scope);
  /* An answer, not a failure: the thread's last error stays. */
  if (result == CUDA_ERROR_NOT_READY) return TARN_NOT_READY;
  return tarn__cuda_status(&cuda->driver, result, "cuEventQuery", "a fence of CUDA device %d",
                           (int)device);
}

tarn_status tarn__cuda_fence_synchronize(tarn__cuda_fence *fence) {
  int32_t device;
  const tarn__cuda_event *event = latest_mark(fence, &device);
  if (event == NULL) return TARN_OK;
  tarn_cuda *cuda = fence->cuda;
  CUcontext context;
  tarn__cuda_scope scope;
  tarn_status status = tarn__cuda_context(cuda, device, &context);
  if (status == TARN_OK) status = tarn__cuda_enter_relaxed(cuda, context, &scope);
  if (status != TARN_OK) return status;
  const CUresult result = cuda->driver.EventSynchronize(event->native);
  tarn__cuda_leave(&scope);
  return tarn__cuda_status(&cuda->driver, result, "cuEventSynchronize", "a fence of CUDA device %d",
                           (int)device);
}
