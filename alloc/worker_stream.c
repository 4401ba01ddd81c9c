/* worker_stream.c: the asynchronous stream of the CPU: a queue of jobs and one thread. */
#include "alloc/tarn_host_stream.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/fork.h"

/* Marks and fences share locks, by their addresses, so that all of them can be held around a fork.
 * A fence's ranks before those of workers, a mark's behind. */
enum { SHARE_COUNT = 32, SHARE_BYTES = 64 };

typedef struct mark_share {
  pthread_mutex_t lock;
  pthread_cond_t passed;
} mark_share;

static pthread_mutex_t fence_locks[SHARE_COUNT];
static mark_share mark_shares[SHARE_COUNT];

/* How often the process was forked to get here. What was enqueued before the last time is the
 * parent's to do, and counts as passed. */
static _Atomic uint32_t generation;

/* One record of a fence. A fence points at its latest mark; a wait holds on to the mark that it
 * found, so recording the fence again does not change what is waited for. */
typedef struct mark {
  atomic_size_t reference_count;
  uint32_t generation;
  bool is_passed; /* with the lock of its share */
} mark;

typedef struct worker_fence {
  mark *latest; /* NULL: never recorded; with the fence's lock */
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

/* Two owners: the stream's handle and the thread. The last one frees it. A child of fork has no
 * thread until something is enqueued there. */
typedef struct worker {
  struct worker *next; /* of all; with the list's lock */
  struct worker *previous;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  job *first;
  job **last;
  bool is_idle;    /* the thread waits for work, nothing is queued */
  bool is_closing; /* the handle is gone: finish the queue and go */
  bool has_thread;
  int owner_count;
} worker;

/* Ranks before all others here. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static worker *workers;

/* --- marks --- */

static mark_share *share_of(const mark *self) {
  return &mark_shares[(uintptr_t)self / SHARE_BYTES % SHARE_COUNT];
}

static pthread_mutex_t *lock_of(const worker_fence *self) {
  return &fence_locks[(uintptr_t)self / SHARE_BYTES % SHARE_COUNT];
}

/* With the lock of its share. */
static bool has_passed(const mark *self) {
  return self->is_passed ||
         self->generation != atomic_load_explicit(&generation, memory_order_relaxed);
}

static mark *mark_create(void) {
  mark *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  atomic_init(&made->reference_count, 1);
  made->generation = atomic_load_explicit(&generation, memory_order_relaxed);
  return made;
}

static mark *mark_retain(mark *self) {
  atomic_fetch_add_explicit(&self->reference_count, 1, memory_order_relaxed);
  return self;
}

static void mark_release(mark *self) {
  if (self == NULL) return;
  if (atomic_fetch_sub_explicit(&self->reference_count, 1, memory_order_acq_rel) != 1) return;
  free(self);
}

static void mark_pass(mark *self) {
  mark_share *share = share_of(self);
  pthread_mutex_lock(&share->lock);
  self->is_passed = true;
  pthread_cond_broadcast(&share->passed);
  pthread_mutex_unlock(&share->lock);
}

static void mark_wait(mark *self) {
  mark_share *share = share_of(self);
  pthread_mutex_lock(&share->lock);
  while (!has_passed(self)) pthread_cond_wait(&share->passed, &share->lock);
  pthread_mutex_unlock(&share->lock);
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

/* Not done, and never to be. */
static void drop_job(job *work) {
  if (work->kind == JOB_END) return; /* a waiting thread's */
  if (work->kind == JOB_PASS || work->kind == JOB_WAIT) mark_release(work->as.mark);
  free(work);
}

static void enlist_worker(worker *self) {
  pthread_mutex_lock(&list_lock);
  self->next = workers;
  if (workers != NULL) workers->previous = self;
  workers = self;
  pthread_mutex_unlock(&list_lock);
}

/* With the list's lock. */
static void unlink_worker(worker *self) {
  if (self->previous != NULL) self->previous->next = self->next;
  if (self->next != NULL) self->next->previous = self->previous;
  if (workers == self) workers = self->next;
}

static void free_worker(worker *self) {
  pthread_cond_destroy(&self->changed);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

static void worker_disown(worker *self) {
  pthread_mutex_lock(&list_lock);
  pthread_mutex_lock(&self->lock);
  const bool is_last = --self->owner_count == 0;
  pthread_mutex_unlock(&self->lock);
  if (is_last) unlink_worker(self);
  pthread_mutex_unlock(&list_lock);
  if (is_last) free_worker(self);
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

static tarn_status start_thread(worker *self) {
  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error == 0) {
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* The process's signals are for its own threads: the worker starts with all of them blocked. */
    sigset_t blocked;
    sigset_t before;
    sigfillset(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    pthread_t thread;
    error = pthread_create(&thread, &attributes, worker_main, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
  }
  if (error == 0) return TARN_OK;
  return tarn_fail_native(TARN_SYSTEM_ERROR, "pthread_create", error,
                          "no thread for a worker stream: %s", strerror(error));
}

/* With the lock. The thread is there, but in a child of fork before the first job. */
static tarn_status need_thread(worker *self) {
  if (self->has_thread) return TARN_OK;
  const tarn_status status = start_thread(self);
  if (status != TARN_OK) return status;
  self->has_thread = true;
  self->owner_count++;
  return TARN_OK;
}

/* Takes `work`, or on failure frees it. */
static tarn_status enqueue(worker *self, job *work) {
  pthread_mutex_lock(&self->lock);
  const tarn_status status = need_thread(self);
  if (status == TARN_OK) {
    *self->last = work;
    self->last = &work->next;
    /* A busy thread looks at the queue again by itself. */
    if (self->is_idle) pthread_cond_signal(&self->changed);
  }
  pthread_mutex_unlock(&self->lock);
  if (status != TARN_OK) drop_job(work);
  return status;
}

/* A fence on a stream whose thread has nothing to do is passed at once, and nobody is woken for it;
 * behind work it is enqueued. Takes `work`, a JOB_PASS of `fresh`, which nobody else knows yet. */
static tarn_status enqueue_pass(worker *self, job *work, mark *fresh) {
  pthread_mutex_lock(&self->lock);
  fresh->is_passed = self->is_idle && self->first == NULL;
  pthread_mutex_unlock(&self->lock);
  if (!fresh->is_passed) return enqueue(self, work);
  drop_job(work);
  return TARN_OK;
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
  return enqueue(context, work);
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
  return enqueue(context, work);
}

static tarn_status worker_call(void *context, tarn_host_function function, void *argument) {
  job *work = job_create(JOB_CALL);
  if (work == NULL) return refuse_job();
  work->as.call.function = function;
  work->as.call.argument = argument;
  return enqueue(context, work);
}

static tarn_status enqueue_mark(worker *self, job_kind kind, mark *passing) {
  job *work = job_create(kind);
  if (work == NULL) return refuse_job();
  work->as.mark = mark_retain(passing);
  return enqueue(self, work);
}

/* Needs no memory, for it is the last way to know that work is done: the mark and the job lie here,
 * and the thread is done with both when it has passed the mark. */
static tarn_status worker_synchronize(void *context) {
  worker *self = context;
  mark end = {.generation = atomic_load_explicit(&generation, memory_order_relaxed)};
  job work = {.kind = JOB_END, .as.mark = &end};
  pthread_mutex_lock(&self->lock);
  const bool has_work = self->has_thread; /* else nothing was enqueued since the fork */
  pthread_mutex_unlock(&self->lock);
  if (!has_work) return TARN_OK;
  const tarn_status status = enqueue(self, &work);
  if (status == TARN_OK) mark_wait(&end);
  return status;
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
  *fence = made;
  return TARN_OK;
}

static void worker_fence_destroy(void *fence) {
  worker_fence *self = fence;
  mark_release(self->latest);
  free(self);
}

static mark *latest_mark(worker_fence *self) {
  pthread_mutex_lock(lock_of(self));
  mark *latest = self->latest != NULL ? mark_retain(self->latest) : NULL;
  pthread_mutex_unlock(lock_of(self));
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
  pthread_mutex_lock(lock_of(self));
  const tarn_status status = enqueue_pass(context, work, fresh);
  mark *old = fresh;
  if (status == TARN_OK) {
    old = self->latest;
    self->latest = fresh;
  }
  pthread_mutex_unlock(lock_of(self));
  mark_release(old);
  return status;
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
  pthread_mutex_lock(&share_of(asked)->lock);
  const bool is_passed = has_passed(asked);
  pthread_mutex_unlock(&share_of(asked)->lock);
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

/* --- fork --- */

static pthread_once_t shares_once = PTHREAD_ONCE_INIT;

static void make_shares(void) {
  for (int index = 0; index < SHARE_COUNT; index++) {
    pthread_mutex_init(&fence_locks[index], NULL);
    pthread_mutex_init(&mark_shares[index].lock, NULL);
    pthread_cond_init(&mark_shares[index].passed, NULL);
  }
}

void tarn__worker_hold(void) {
  pthread_once(&shares_once, make_shares);
  pthread_mutex_lock(&list_lock);
  for (int index = 0; index < SHARE_COUNT; index++) pthread_mutex_lock(&fence_locks[index]);
  for (worker *self = workers; self != NULL; self = self->next) pthread_mutex_lock(&self->lock);
  for (int index = 0; index < SHARE_COUNT; index++) pthread_mutex_lock(&mark_shares[index].lock);
}

void tarn__worker_unhold(void) {
  for (int index = 0; index < SHARE_COUNT; index++) {
    pthread_mutex_unlock(&mark_shares[index].lock);
    pthread_mutex_unlock(&fence_locks[index]);
  }
  for (worker *self = workers; self != NULL; self = self->next) pthread_mutex_unlock(&self->lock);
  pthread_mutex_unlock(&list_lock);
}

/* What is queued is the parent's to do. False where the worker is gone: nobody has the stream, and
 * the thread that was to finish is not there. */
static bool mend_worker(worker *self) {
  for (job *work = self->first, *next = NULL; work != NULL; work = next) {
    next = work->next;
    drop_job(work);
  }
  self->first = NULL;
  self->last = &self->first;
  self->is_idle = true;
  self->owner_count -= self->has_thread;
  self->has_thread = false;
  pthread_cond_init(&self->changed, NULL); /* it may remember threads that wait */
  return self->owner_count != 0;
}

void tarn__worker_mend(void) {
  atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
  for (int index = 0; index < SHARE_COUNT; index++) {
    pthread_cond_init(&mark_shares[index].passed, NULL);
  }
  for (worker *self = workers, *next = NULL; self != NULL; self = next) {
    next = self->next;
    if (mend_worker(self)) continue;
    unlink_worker(self);
    pthread_mutex_unlock(&self->lock);
    free_worker(self);
  }
  tarn__worker_unhold();
}

tarn_status tarn_worker_stream_create(tarn_stream **stream) {
  if (stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "stream is NULL");
  *stream = NULL;
  worker *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a worker stream");
  self->last = &self->first;
  self->owner_count = 1;
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
  pthread_once(&shares_once, make_shares);
  enlist_worker(self);
  pthread_mutex_lock(&self->lock);
  tarn_status status = need_thread(self);
  pthread_mutex_unlock(&self->lock);
  if (status == TARN_OK) status = tarn_stream_create(&ops, self, NULL, stream);
  if (status != TARN_OK) worker_destroy(self); /* the thread goes and frees its share */
  return status;
}
