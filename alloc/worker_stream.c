/* worker_stream.c: the asynchronous stream of the CPU: a queue of jobs and one thread. */
#include "alloc/tarn_host_stream.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* One record of a fence. A fence points at its latest mark; a wait holds on to the mark that it
 * found, so recording the fence again does not change what is waited for. */
typedef struct mark {
  atomic_size_t reference_count;
  pthread_mutex_t lock;
  pthread_cond_t passed;
  bool is_passed;
} mark;

typedef struct worker_fence {
  pthread_mutex_t lock; /* guards the pointer */
  mark *latest;         /* NULL: never recorded */
} worker_fence;

typedef enum job_kind { JOB_COPY, JOB_FILL, JOB_CALL, JOB_PASS, JOB_END, JOB_WAIT } job_kind;

typedef struct job {
  struct job *next;
  job_kind kind;
  union {
    tarn_copy_rows copy;
    struct {
      void *dst;
      size_t size_bytes;
      uint8_t value;
    } fill;
    struct {
      tarn_host_function function;
      void *argument;
    } call;
    mark *mark; /* PASS and WAIT: a reference; END: of the thread that waits for it */
  } as;
} job;

/* Two owners: the stream's handle and the thread. The last one frees it. */
typedef struct worker {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  job *first;
  job **last;
  bool is_idle;    /* the thread waits for work, nothing is queued */
  bool is_closing; /* the handle is gone: finish the queue and go */
  int owner_count;
} worker;

/* --- marks --- */

static mark *mark_create(void) {
  mark *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  atomic_init(&made->reference_count, 1);
  pthread_mutex_init(&made->lock, NULL);
  pthread_cond_init(&made->passed, NULL);
  return made;
}

static mark *mark_retain(mark *self) {
  atomic_fetch_add_explicit(&self->reference_count, 1, memory_order_relaxed);
  return self;
}

static void mark_release(mark *self) {
  if (self == NULL) return;
  if (atomic_fetch_sub_explicit(&self->reference_count, 1, memory_order_acq_rel) != 1) return;
  pthread_cond_destroy(&self->passed);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

static void mark_pass(mark *self) {
  pthread_mutex_lock(&self->lock);
  self->is_passed = true;
  pthread_cond_broadcast(&self->passed);
  pthread_mutex_unlock(&self->lock);
}

static void mark_wait(mark *self) {
  pthread_mutex_lock(&self->lock);
  while (!self->is_passed) pthread_cond_wait(&self->passed, &self->lock);
  pthread_mutex_unlock(&self->lock);
}

/* --- the thread --- */

static void run_job(job *work) {
  switch (work->kind) {
    case JOB_COPY: {
      /* Checked when it was enqueued, so it cannot fail here. */
      const tarn_status status = tarn_stream_copy_rows(NULL, &work->as.copy);
      TARN_ASSERT(status == TARN_OK);
      (void)status;
      break;
    }
    case JOB_FILL:
      memset(work->as.fill.dst, work->as.fill.value, work->as.fill.size_bytes);
      break;
    case JOB_CALL:
      work->as.call.function(work->as.call.argument);
      break;
    case JOB_PASS:
      mark_pass(work->as.mark);
      mark_release(work->as.mark);
      break;
    case JOB_END:
      mark_pass(work->as.mark);
      return; /* job and mark are gone */
    case JOB_WAIT:
      mark_wait(work->as.mark);
      mark_release(work->as.mark);
      break;
  }
  free(work);
}

static void worker_disown(worker *self) {
  pthread_mutex_lock(&self->lock);
  const bool is_last = --self->owner_count == 0;
  pthread_mutex_unlock(&self->lock);
  if (!is_last) return;
  pthread_cond_destroy(&self->changed);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

static void *worker_main(void *argument) {
  worker *self = argument;
  pthread_mutex_lock(&self->lock);
  for (;;) {
    while (self->first == NULL && !self->is_closing) {
      self->is_idle = true;
      pthread_cond_wait(&self->changed, &self->lock);
    }
    self->is_idle = false;
    job *work = self->first;
    if (work == NULL) break;
    self->first = work->next;
    if (self->first == NULL) self->last = &self->first;
    pthread_mutex_unlock(&self->lock);
    run_job(work);
    pthread_mutex_lock(&self->lock);
  }
  pthread_mutex_unlock(&self->lock);
  worker_disown(self);
  return NULL;
}

/* Takes `work`. */
static void enqueue(worker *self, job *work) {
  pthread_mutex_lock(&self->lock);
  *self->last = work;
  self->last = &work->next;
  /* A busy thread looks at the queue again by itself. */
  if (self->is_idle) pthread_cond_signal(&self->changed);
  pthread_mutex_unlock(&self->lock);
}

/* A fence on a stream whose thread has nothing to do is passed at once, and nobody is woken for it;
 * behind work it is enqueued. Takes `work`, a JOB_PASS of `fresh`, which nobody else knows yet. */
static void enqueue_pass(worker *self, job *work, mark *fresh) {
  pthread_mutex_lock(&self->lock);
  fresh->is_passed = self->is_idle && self->first == NULL;
  pthread_mutex_unlock(&self->lock);
  if (!fresh->is_passed) {
    enqueue(self, work);
    return;
  }
  mark_release(fresh); /* the job's reference */
  free(work);
}

static job *job_create(job_kind kind) {
  job *made = malloc(sizeof *made);
  if (made != NULL) *made = (job){.kind = kind};
  return made;
}

static tarn_status refuse_job(void) {
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to enqueue on a worker stream");
}

/* --- operations --- */

static tarn_status check_host(tarn_device device) {
  if (tarn_device_is_host(device)) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "a worker stream reaches host memory only, not device type %d index %d",
                   (int)device.type, (int)device.index);
}

static tarn_status worker_copy(void *context, const tarn_copy_rows *rows) {
  tarn_status status = check_host(rows->dst_device);
  if (status == TARN_OK) status = check_host(rows->src_device);
  if (status != TARN_OK) return status;
  job *work = job_create(JOB_COPY);
  if (work == NULL) return refuse_job();
  work->as.copy = *rows;
  enqueue(context, work);
  return TARN_OK;
}

static tarn_status worker_fill(void *context, void *dst, tarn_device dst_device, uint8_t value,
                               size_t size_bytes) {
  const tarn_status status = check_host(dst_device);
  if (status != TARN_OK) return status;
  job *work = job_create(JOB_FILL);
  if (work == NULL) return refuse_job();
  work->as.fill.dst = dst;
  work->as.fill.size_bytes = size_bytes;
  work->as.fill.value = value;
  enqueue(context, work);
  return TARN_OK;
}

static tarn_status worker_call(void *context, tarn_host_function function, void *argument) {
  job *work = job_create(JOB_CALL);
  if (work == NULL) return refuse_job();
  work->as.call.function = function;
  work->as.call.argument = argument;
  enqueue(context, work);
  return TARN_OK;
}

static tarn_status enqueue_mark(worker *self, job_kind kind, mark *passing) {
  job *work = job_create(kind);
  if (work == NULL) return refuse_job();
  work->as.mark = mark_retain(passing);
  enqueue(self, work);
  return TARN_OK;
}

/* Needs no memory, for it is the last way to know that work is done: the mark and the job lie here,
 * and the thread is done with both when it has passed the mark. */
static tarn_status worker_synchronize(void *context) {
  mark end = {.lock = PTHREAD_MUTEX_INITIALIZER, .passed = PTHREAD_COND_INITIALIZER};
  job work = {.kind = JOB_END, .as.mark = &end};
  enqueue(context, &work);
  mark_wait(&end);
  pthread_cond_destroy(&end.passed);
  pthread_mutex_destroy(&end.lock);
  return TARN_OK;
}

static void worker_destroy(void *context) {
  worker *self = context;
  pthread_mutex_lock(&self->lock);
  self->is_closing = true;
  pthread_cond_signal(&self->changed);
  pthread_mutex_unlock(&self->lock);
  worker_disown(self);
}

/* --- fences --- */

static tarn_status worker_fence_create(void *context, void **fence) {
  (void)context;
  worker_fence *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a worker's fence");
  pthread_mutex_init(&made->lock, NULL);
  *fence = made;
  return TARN_OK;
}

static void worker_fence_destroy(void *fence) {
  worker_fence *self = fence;
  mark_release(self->latest);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

static mark *latest_mark(worker_fence *self) {
  pthread_mutex_lock(&self->lock);
  mark *latest = self->latest != NULL ? mark_retain(self->latest) : NULL;
  pthread_mutex_unlock(&self->lock);
  return latest;
}

static tarn_status worker_fence_record(void *context, void *fence) {
  worker_fence *self = fence;
  mark *fresh = mark_create();
  job *work = job_create(JOB_PASS);
  if (fresh == NULL || work == NULL) {
    mark_release(fresh);
    free(work);
    return refuse_job();
  }
  work->as.mark = mark_retain(fresh);
  /* Enqueued under the fence's lock, so that the latest mark is also the last one enqueued. */
  pthread_mutex_lock(&self->lock);
  enqueue_pass(context, work, fresh);
  mark *old = self->latest;
  self->latest = fresh;
  pthread_mutex_unlock(&self->lock);
  mark_release(old);
  return TARN_OK;
}

static tarn_status worker_fence_wait(void *context, void *fence) {
  mark *waited = latest_mark(fence);
  if (waited == NULL) return TARN_OK;
  const tarn_status status = enqueue_mark(context, JOB_WAIT, waited);
  mark_release(waited);
  return status;
}

static tarn_status worker_fence_query(void *fence) {
  mark *asked = latest_mark(fence);
  if (asked == NULL) return TARN_OK;
  pthread_mutex_lock(&asked->lock);
  const bool is_passed = asked->is_passed;
  pthread_mutex_unlock(&asked->lock);
  mark_release(asked);
  return is_passed ? TARN_OK : TARN_NOT_READY;
}

static tarn_status worker_fence_synchronize(void *fence) {
  mark *waited = latest_mark(fence);
  if (waited == NULL) return TARN_OK;
  mark_wait(waited);
  mark_release(waited);
  return TARN_OK;
}

static tarn_status start_thread(worker *self) {
  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error == 0) {
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* The process's signals are for its own threads: the worker starts with all of them blocked. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    error = pthread_create(&thread, &attributes, worker_main, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
  }
  if (error == 0) return TARN_OK;
  return tarn_fail_native(TARN_SYSTEM_ERROR, "pthread_create", error,
                          "no thread for a worker stream: %s", strerror(error));
}

tarn_status tarn_worker_stream_create(tarn_stream **stream) {
  if (stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "stream is NULL");
  *stream = NULL;
  worker *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a worker stream");
  self->last = &self->first;
  self->owner_count = 2;
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->changed, NULL);
  static const tarn_stream_ops ops = {.struct_size = sizeof ops,
                                      .name = "worker",
                                      .copy = worker_copy,
                                      .fill = worker_fill,
                                      .call = worker_call,
                                      .synchronize = worker_synchronize,
                                      .destroy = worker_destroy,
                                      .fence_create = worker_fence_create,
                                      .fence_record = worker_fence_record,
                                      .fence_wait = worker_fence_wait,
                                      .fence_query = worker_fence_query,
                                      .fence_synchronize = worker_fence_synchronize,
                                      .fence_destroy = worker_fence_destroy};
  tarn_status status = start_thread(self);
  if (status != TARN_OK) {
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
    return status;
  }
  status = tarn_stream_create(&ops, self, NULL, stream);
  if (status != TARN_OK) worker_destroy(self); /* the thread goes and frees its share */
  return status;
}
