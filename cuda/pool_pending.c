/* pool_pending.c: what was freed behind streams of the driver's pool, until they have passed.
 *
 * Every free is followed by a fence, recorded by whoever frees. So nobody else ever asks a stream
 * or waits for one: another thread may be about to capture it, and what is asked of a captured
 * stream breaks the capture. An event from before it may be asked at any time, by a thread that
 * says that it knows what it does (cuda.h, cuThreadExchangeStreamCaptureMode).
 *
 * A record is in the list, or in the hands of the one thread that looks at all of them. Who has no
 * memory waits until that has looked: what it waits for is pending all the same. */
#include "cuda/driver_pool.h"

#include <stdlib.h>

static void drop_pending(tarn__pool_pending *gone) {
  tarn__cuda_fence_destroy(gone->older);
  tarn__cuda_fence_destroy(gone->latest);
  tarn_stream_release(gone->stream);
  free(gone);
}

/* A record with a fence behind all that is enqueued; NULL where there is no memory for it, or the
 * driver refuses the event. */
static tarn__pool_pending *make_pending(tarn__driver_pool *self, tarn_stream *stream,
                                        CUstream native, size_t bytes) {
  tarn__pool_pending *made = malloc(sizeof *made);
  if (made == NULL) return NULL;
  *made = (tarn__pool_pending){.stream = stream, .latest_bytes = bytes};
  tarn_stream_retain(stream);
  tarn_status status = tarn__cuda_fence_create(self->cuda, self->device, &made->latest);
  if (status == TARN_OK) {
    status = tarn__cuda_fence_record(made->latest, self->cuda, self->device, native);
  }
  if (status == TARN_OK) return made;
  drop_pending(made);
  return NULL;
}

static uint64_t count_pendings(tarn__driver_pool *self) {
  pthread_mutex_lock(&self->lock);
  const uint64_t count = self->pending_count;
  pthread_mutex_unlock(&self->lock);
  return count;
}

/* Into the stream's record, if that was complete before the fence was begun: fences that threads
 * record at one time have no order that could be known, and stay apart. */
static void join_pending(tarn__driver_pool *self, tarn__pool_pending *made, uint64_t begun) {
  pthread_mutex_lock(&self->lock);
  tarn__pool_pending *one = self->pendings;
  while (one != NULL && (one->stream != made->stream || one->number > begun)) one = one->next;
  made->number = ++self->pending_count;
  self->pending_bytes += made->latest_bytes;
  self->stats.fence_count++;
  if (one == NULL) {
    made->next = self->pendings;
    self->pendings = made;
    made = NULL;
  } else {
    tarn__cuda_fence *before = one->latest;
    one->latest = made->latest;
    one->latest_bytes += made->latest_bytes;
    one->number = made->number;
    made->latest = before;
  }
  pthread_mutex_unlock(&self->lock);
  if (made != NULL) drop_pending(made);
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
  const uint64_t begun = count_pendings(self);
  tarn__pool_pending *made = make_pending(self, stream, native, bytes);
  if (made != NULL) {
    join_pending(self, made, begun);
  } else {
    wait_for_stream(self, native);
    (void)tarn_fail_again(&before);
  }
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

/* What is left of a record that was looked at. A free may have begun one for the same stream. */
static void put_back(tarn__driver_pool *self, tarn__pool_pending *one, size_t passed_bytes) {
  const bool is_over = one->older_bytes == 0 && one->latest_bytes == 0;
  pthread_mutex_lock(&self->lock);
  self->pending_bytes -= passed_bytes;
  if (!is_over) {
    one->next = self->pendings;
    self->pendings = one;
  }
  pthread_mutex_unlock(&self->lock);
  if (is_over) drop_pending(one);
}

/* How many were looked at: all, behind any other thread that looks; none, where one does and
 * may_wait is false. The thread's last error stays. */
static uint64_t look_at_all(tarn__driver_pool *self, bool may_wait,
                            void (*look)(tarn__pool_pending *one)) {
  const tarn_error before = *tarn_last_error();
  uint64_t count = 0;
  pthread_mutex_lock(&self->lock);
  while (self->is_looking && may_wait) pthread_cond_wait(&self->has_looked, &self->lock);
  const bool is_turn = !self->is_looking;
  tarn__pool_pending *list = self->pendings;
  if (is_turn) self->pendings = NULL;
  self->is_looking = true;
  pthread_mutex_unlock(&self->lock);
  if (!is_turn) return 0;
  for (; list != NULL; count++) {
    tarn__pool_pending *one = list;
    const size_t bytes = one->older_bytes + one->latest_bytes;
    list = one->next;
    look(one);
    put_back(self, one, bytes - one->older_bytes - one->latest_bytes);
  }
  pthread_mutex_lock(&self->lock);
  self->is_looking = false;
  pthread_cond_broadcast(&self->has_looked);
  pthread_mutex_unlock(&self->lock);
  (void)tarn_fail_again(&before);
  return count;
}

void tarn__driver_pool_observe(tarn__driver_pool *self) {
  tarn__driver_pool_free_kept(self);
  /* Where nobody waits for a stream, nobody looks for long. */
  (void)look_at_all(self, /*may_wait=*/self->never_waits, observe_one);
}

void tarn__driver_pool_wait_for_all(tarn__driver_pool *self) {
  tarn__driver_pool_free_kept(self);
  tarn__cuda_scope scope;
  if (tarn__cuda_enter_relaxed(self->cuda, self->context, &scope) != TARN_OK) return;
  const uint64_t wait_count = look_at_all(self, /*may_wait=*/true, wait_for_one);
  self->cuda->driver.StreamSynchronize(tarn__driver_pool_native(self->host_stream));
  tarn__cuda_leave(&scope);
  pthread_mutex_lock(&self->lock);
  self->stats.wait_count += wait_count;
  pthread_mutex_unlock(&self->lock);
}

void tarn__driver_pool_drop_pendings(tarn__driver_pool *self) {
  while (self->pendings != NULL) {
    tarn__pool_pending *gone = self->pendings;
    self->pendings = gone->next;
    drop_pending(gone);
  }
}
