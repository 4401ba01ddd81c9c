/* pool_pending.c: what was freed behind streams of the driver's pool, until they have passed.
 *
 * Every free is followed by a fence, recorded by whoever frees. So nobody else ever asks a stream
 * or waits for one: another thread may be about to capture it, and what is asked of a captured
 * stream breaks the capture. An event from before it may be asked at any time, by a thread that
 * says that it knows what it does (cuda.h, cuThreadExchangeStreamCaptureMode).
 *
 * A record is in the list, or some thread's that has taken it out. */
#include "cuda/driver_pool.h"

#include <stdlib.h>

static void drop_pending(tarn__pool_pending *gone) {
  tarn__cuda_fence_destroy(gone->older);
  tarn__cuda_fence_destroy(gone->latest);
  tarn_stream_release(gone->stream);
  free(gone);
}

/* Takes out what there is for the stream, or makes a record; NULL without memory. */
static tarn__pool_pending *take_or_make(tarn__driver_pool *self, tarn_stream *stream) {
  pthread_mutex_lock(&self->lock);
  tarn__pool_pending **link = &self->pendings;
  while (*link != NULL && (*link)->stream != stream) link = &(*link)->next;
  tarn__pool_pending *one = *link;
  if (one != NULL) *link = one->next;
  pthread_mutex_unlock(&self->lock);
  if (one != NULL) return one;
  one = malloc(sizeof *one);
  if (one == NULL) return NULL;
  *one = (tarn__pool_pending){.stream = stream};
  tarn_stream_retain(stream);
  return one;
}

/* Counts what was added, or is over. Another thread may have begun a record for the same stream. */
static void put_back(tarn__driver_pool *self, tarn__pool_pending *one, size_t added_bytes,
                     size_t passed_bytes) {
  const bool is_over = one->older_bytes == 0 && one->latest_bytes == 0;
  pthread_mutex_lock(&self->lock);
  self->pending_bytes += added_bytes;
  self->pending_bytes -= passed_bytes;
  if (!is_over) {
    one->next = self->pendings;
    self->pendings = one;
  }
  pthread_mutex_unlock(&self->lock);
  if (is_over) drop_pending(one);
}

static tarn_status record_latest(tarn__driver_pool *self, tarn__pool_pending *one,
                                 CUstream native) {
  tarn_status status = TARN_OK;
  if (one->latest == NULL) status = tarn__cuda_fence_create(self->cuda, self->device, &one->latest);
  if (status != TARN_OK) return status;
  return tarn__cuda_fence_record(one->latest, self->cuda, self->device, native);
}

static void wait_for_stream(tarn__driver_pool *self, CUstream native) {
  tarn__cuda_scope scope;
  if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) return;
  self->cuda->driver.StreamSynchronize(native);
  tarn__cuda_leave(&scope);
}

void tarn__driver_pool_add_pending(tarn__driver_pool *self, tarn_stream *stream, CUstream native,
                                   size_t bytes) {
  const tarn_error before = *tarn_last_error();
  tarn__pool_pending *one = take_or_make(self, stream);
  const bool is_recorded = one != NULL && record_latest(self, one, native) == TARN_OK;
  if (is_recorded) {
    one->latest_bytes += bytes;
  } else {
    wait_for_stream(self, native);
    (void)tarn_fail_again(&before);
  }
  if (one != NULL) put_back(self, one, is_recorded ? bytes : 0, 0);
  pthread_mutex_lock(&self->lock);
  self->stats.fence_count += is_recorded;
  pthread_mutex_unlock(&self->lock);
}

/* Whether all before the fence is done. The driver is made to see it, too, which gives memory back
 * only where it has (cuda.h, cuMemPoolTrimTo): waiting for what has passed is no wait. An event
 * that cannot be asked has lost its device, and with it all that could still be running. */
static bool has_passed(tarn__cuda_fence *fence) {
  const tarn_status status = tarn__cuda_fence_query(fence);
  return status == TARN_OK ? tarn__cuda_fence_synchronize(fence) == TARN_OK
                           : status != TARN_NOT_READY;
}

/* The latest fence is recorded anew with each free: so that a stream that is never idle gets
 * somewhere, it becomes the older one, and stays as it is until it has passed. */
static void observe_one(tarn__pool_pending *one) {
  if (one->latest_bytes != 0 && has_passed(one->latest)) {
    one->older_bytes = one->latest_bytes = 0;
  }
  if (one->older_bytes != 0 && has_passed(one->older)) one->older_bytes = 0;
  if (one->older_bytes != 0 || one->latest_bytes == 0) return;
  tarn__cuda_fence *idle = one->older;
  one->older = one->latest;
  one->older_bytes = one->latest_bytes;
  one->latest = idle;
  one->latest_bytes = 0;
}

static void wait_for_one(tarn__pool_pending *one) {
  tarn__cuda_fence *last = one->latest_bytes != 0 ? one->latest : one->older;
  if (tarn__cuda_fence_synchronize(last) == TARN_OK) one->older_bytes = one->latest_bytes = 0;
}

static tarn__pool_pending *take_pendings(tarn__driver_pool *self) {
  pthread_mutex_lock(&self->lock);
  tarn__pool_pending *list = self->pendings;
  self->pendings = NULL;
  pthread_mutex_unlock(&self->lock);
  return list;
}

/* How many were looked at. The thread's last error stays. */
static uint64_t look_at_all(tarn__driver_pool *self, void (*look)(tarn__pool_pending *one)) {
  const tarn_error before = *tarn_last_error();
  uint64_t count = 0;
  tarn__pool_pending *list = take_pendings(self);
  for (; list != NULL; count++) {
    tarn__pool_pending *one = list;
    const size_t bytes = one->older_bytes + one->latest_bytes;
    list = one->next;
    look(one);
    put_back(self, one, 0, bytes - one->older_bytes - one->latest_bytes);
  }
  (void)tarn_fail_again(&before);
  return count;
}

void tarn__driver_pool_observe(tarn__driver_pool *self) {
  tarn__driver_pool_free_kept(self);
  (void)look_at_all(self, observe_one);
}

void tarn__driver_pool_wait_for_all(tarn__driver_pool *self) {
  tarn__driver_pool_free_kept(self);
  tarn__cuda_scope scope;
  if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) return;
  const uint64_t wait_count = look_at_all(self, wait_for_one);
  self->cuda->driver.StreamSynchronize(tarn__driver_pool_native(self->host_stream));
  tarn__cuda_leave(&scope);
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
