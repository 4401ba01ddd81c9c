/* pool_pending.c: what was freed behind streams of the driver's pool, until they have passed. */
#include "cuda/driver_pool.h"

#include <stdlib.h>

static bool is_captured(const tarn__driver_pool *self, CUstream native) {
  const tarn__driver *driver = &self->cuda->driver;
  CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
  return driver->StreamIsCapturing != NULL &&
         driver->StreamIsCapturing(native, &capture) == CUDA_SUCCESS &&
         capture != CU_STREAM_CAPTURE_STATUS_NONE;
}

static void wait_for_stream(tarn__driver_pool *self, CUstream native) {
  tarn__cuda_scope scope;
  if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) return;
  self->cuda->driver.StreamSynchronize(native);
  tarn__cuda_leave(&scope);
}

void tarn__driver_pool_add_pending(tarn__driver_pool *self, tarn_stream *stream, CUstream native,
                                   size_t bytes) {
  tarn__pool_pending *made = malloc(sizeof *made);
  pthread_mutex_lock(&self->lock);
  tarn__pool_pending *found = self->pendings;
  while (found != NULL && found->stream != stream) found = found->next;
  if (found == NULL && made != NULL) {
    *made = (tarn__pool_pending){.next = self->pendings, .stream = stream, .native = native};
    tarn_stream_retain(stream);
    self->pendings = found = made;
    made = NULL;
  }
  if (found != NULL) found->open_bytes += bytes;
  pthread_mutex_unlock(&self->lock);
  if (found == NULL) wait_for_stream(self, native);
  free(made);
}

static void drop_pending(tarn__pool_pending *gone) {
  tarn__cuda_fence_destroy(gone->fence);
  tarn_stream_release(gone->stream);
  free(gone);
}

/* Asks how far the stream has come. A stream that cannot be asked has lost its device, and with it
 * all that could still be running; one that is captured is not asked. */
static void observe_one(tarn__driver_pool *self, tarn__pool_pending *one, uint64_t *fence_count) {
  const tarn__driver *driver = &self->cuda->driver;
  if (one->fenced_bytes != 0 && tarn__cuda_fence_query(one->fence) == TARN_OK) {
    one->fenced_bytes = 0;
  }
  if (is_captured(self, one->native)) return;
  if (driver->StreamQuery(one->native) != CUDA_ERROR_NOT_READY) {
    one->open_bytes = one->fenced_bytes = 0;
    return;
  }
  if (one->fenced_bytes != 0 || one->open_bytes == 0) return;
  tarn_status status = TARN_OK;
  if (one->fence == NULL) status = tarn__cuda_fence_create(self->cuda, self->device, &one->fence);
  if (status == TARN_OK) {
    status = tarn__cuda_fence_record(one->fence, self->cuda, self->device, one->native);
    (*fence_count)++;
  }
  if (status != TARN_OK) return; /* it costs only that the next look knows less */
  one->fenced_bytes = one->open_bytes;
  one->open_bytes = 0;
}

/* Waits for the stream, or where that is captured as far as a fence from before reaches. */
static void wait_for_one(tarn__driver_pool *self, tarn__pool_pending *one) {
  if (!is_captured(self, one->native)) {
    if (self->cuda->driver.StreamSynchronize(one->native) == CUDA_SUCCESS) {
      one->open_bytes = one->fenced_bytes = 0;
    }
  } else if (one->fenced_bytes != 0 && tarn__cuda_fence_synchronize(one->fence) == TARN_OK) {
    one->fenced_bytes = 0;
  }
}

/* Puts back what is left; another free may have begun a record for the same stream. */
static void put_back(tarn__driver_pool *self, tarn__pool_pending *list) {
  while (list != NULL) {
    tarn__pool_pending *one = list;
    list = one->next;
    if (one->open_bytes == 0 && one->fenced_bytes == 0) {
      drop_pending(one);
      continue;
    }
    pthread_mutex_lock(&self->lock);
    one->next = self->pendings;
    self->pendings = one;
    pthread_mutex_unlock(&self->lock);
  }
}

static tarn__pool_pending *take_pendings(tarn__driver_pool *self) {
  pthread_mutex_lock(&self->lock);
  tarn__pool_pending *list = self->pendings;
  self->pendings = NULL;
  pthread_mutex_unlock(&self->lock);
  return list;
}

void tarn__driver_pool_observe(tarn__driver_pool *self) {
  tarn__driver_pool_free_kept(self);
  tarn__cuda_scope scope;
  if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) return;
  uint64_t fence_count = 0;
  tarn__pool_pending *list = take_pendings(self);
  for (tarn__pool_pending *one = list; one != NULL; one = one->next)
    observe_one(self, one, &fence_count);
  tarn__cuda_leave(&scope);
  put_back(self, list);
  pthread_mutex_lock(&self->lock);
  self->stats.fence_count += fence_count;
  pthread_mutex_unlock(&self->lock);
}

void tarn__driver_pool_wait_for_all(tarn__driver_pool *self) {
  tarn__driver_pool_free_kept(self);
  tarn__cuda_scope scope;
  if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) return;
  tarn__pool_pending *list = take_pendings(self);
  uint64_t wait_count = 0;
  for (tarn__pool_pending *one = list; one != NULL; one = one->next, wait_count++) {
    wait_for_one(self, one);
  }
  self->cuda->driver.StreamSynchronize(tarn__driver_pool_native(self->host_stream));
  tarn__cuda_leave(&scope);
  put_back(self, list);
  pthread_mutex_lock(&self->lock);
  self->stats.wait_count += wait_count;
  pthread_mutex_unlock(&self->lock);
}

void tarn__driver_pool_drop_pendings(tarn__driver_pool *self) {
  tarn__pool_pending *list = take_pendings(self);
  while (list != NULL) {
    tarn__pool_pending *gone = list;
    list = gone->next;
    drop_pending(gone);
  }
}
