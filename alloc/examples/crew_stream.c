/* crew_stream.c: a stream of one's own: orders of work that share a few threads of the application.
 *
 *     cc -Wall -Wextra crew_stream.c $(pkg-config --cflags --libs tarn) -o crew_stream
 *
 * prints
 *
 *     the consumer waits for the producer: not ready
 *     freed behind the consumer: the CPU is lent another block
 *     the producer runs
 *     the consumer runs: 42
 *
 * What it shows of tarn_stream_ops: a queue for each stream, fences that stay valid when their
 * stream is gone, a wait that keeps the mark it found, and the end of a stream whose work goes on.
 * A stream that waits for another one takes no thread. A host function that blocks does, and as
 * many of them as there are threads hold up all streams: that is the price of sharing, and why one
 * thread is not enough. (A worker stream of tarn_host_stream.h has a thread of its own.)
 *
 * Not shown: fork. A child has no such threads, and must not use these streams.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_stream.h"

/* What a header of your own declares: a stream of the CPU. The threads of all of them start with
 * the first and stay. */
tarn_status crew_stream_create(tarn_stream **stream);

/* A fence marks how many jobs of a queue have to be done. Counting them is all there is to it. */
typedef struct queue queue;

typedef struct point {
  queue *of; /* counted; NULL: passed */
  size_t job_count;
} point;

typedef enum job_kind { COPY, FILL, CALL, WAIT } job_kind;

typedef struct job {
  struct job *next;
  job_kind kind;
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
  point awaited;
} job;

/* One stream's. Its handle counts, each point of it, and the ring as long as there are jobs. */
struct queue {
  queue *next;     /* in the ring of queues with jobs; NULL: not there */
  bool is_running; /* a thread has its first job */
  size_t reference_count;
  size_t enqueued_count;
  size_t done_count;
  job *first;
  job **last;
};

/* One lock for everything here, and one condition: something was enqueued, or done. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static queue *ring; /* whose turn it was; its next one's it is */

enum { THREAD_COUNT = 3 };
static int thread_count;

/* --- all with the lock --- */

static void drop_queue(queue *self) {
  if (self != NULL && --self->reference_count == 0) free(self);
}

static bool has_passed(const point *self) {
  return self->of == NULL || self->of->done_count >= self->job_count;
}

static point copy_point(const point *self) {
  if (has_passed(self)) return (point){NULL, 0};
  self->of->reference_count++;
  return *self;
}

static void enter_ring(queue *self) {
  self->reference_count++;
  if (ring == NULL) ring = self->next = self;
  self->next = ring->next;
  ring->next = self;
}

static void leave_ring(queue *self) {
  queue *before = self;
  while (before->next != self) before = before->next;
  before->next = self->next;
  if (ring == self) ring = before == self ? NULL : before;
  self->next = NULL;
  drop_queue(self);
}

/* The next queue whose first job is nobody's and need not wait; NULL: there is none. */
static queue *find_ready(void) {
  for (queue *here = ring; here != NULL;) {
    here = here->next;
    const bool must_wait = here->first->kind == WAIT && !has_passed(&here->first->awaited);
    if (!here->is_running && !must_wait) return here;
    if (here == ring) break;
  }
  return NULL;
}

static void finish_job(queue *self) {
  job *done = self->first;
  self->first = done->next;
  if (self->first == NULL) self->last = &self->first;
  self->is_running = false;
  self->done_count++;
  drop_queue(done->awaited.of);
  free(done);
  if (self->first == NULL) leave_ring(self);
  pthread_cond_broadcast(&changed);
}

/* --- the threads --- */

/* Without the lock: a function of the application may enqueue more. */
static void run(const job *work) {
  switch (work->kind) {
    case COPY:
      if (tarn_stream_copy_rows(NULL, &work->copy) != TARN_OK) abort(); /* it was checked before */
      break;
    case FILL:
      memset(work->fill.dst, work->fill.value, work->fill.size_bytes);
      break;
    case CALL:
      work->call.function(work->call.argument);
      break;
    case WAIT:
      break;
  }
}

static void *run_jobs(void *argument) {
  (void)argument;
  pthread_mutex_lock(&lock);
  for (;;) {
    queue *turn = find_ready();
    if (turn == NULL) {
      pthread_cond_wait(&changed, &lock);
      continue;
    }
    ring = turn;
    turn->is_running = true;
    const job *work = turn->first;
    pthread_mutex_unlock(&lock);
    run(work);
    pthread_mutex_lock(&lock);
    finish_job(turn);
  }
  return NULL;
}

/* --- operations --- */

static tarn_status enqueue(queue *self, const job *work) {
  job *copy = malloc(sizeof *copy);
  if (copy == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to enqueue on a crew stream");
  *copy = *work;
  pthread_mutex_lock(&lock);
  copy->awaited = copy_point(&work->awaited);
  if (self->first == NULL) enter_ring(self);
  *self->last = copy;
  self->last = &copy->next;
  self->enqueued_count++;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  return TARN_OK;
}

static tarn_status check_host(tarn_device device) {
  if (tarn_device_is_host(device)) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "a crew stream does not reach device type %d",
                   (int)device.type);
}

static tarn_status crew_copy(void *context, const tarn_copy_rows *rows) {
  tarn_status status = check_host(rows->dst_device);
  if (status == TARN_OK) status = check_host(rows->src_device);
  if (status != TARN_OK) return status;
  return enqueue(context, &(job){.kind = COPY, .copy = *rows});
}

static tarn_status crew_fill(void *context, void *dst, tarn_device dst_device, uint8_t value,
                             size_t size_bytes) {
  const tarn_status status = check_host(dst_device);
  if (status != TARN_OK) return status;
  return enqueue(context, &(job){.kind = FILL, .fill = {dst, size_bytes, value}});
}

static tarn_status crew_call(void *context, tarn_host_function function, void *argument) {
  return enqueue(context, &(job){.kind = CALL, .call = {function, argument}});
}

/* With the lock, which is given up meanwhile. */
static void wait_for(const point *self) {
  while (!has_passed(self)) pthread_cond_wait(&changed, &lock);
}

static tarn_status crew_synchronize(void *context) {
  queue *self = context;
  pthread_mutex_lock(&lock);
  wait_for(&(point){self, self->enqueued_count});
  pthread_mutex_unlock(&lock);
  return TARN_OK;
}

/* The jobs go on: the ring keeps the queue. */
static void crew_destroy(void *context) {
  pthread_mutex_lock(&lock);
  drop_queue(context);
  pthread_mutex_unlock(&lock);
}

/* --- fences: a point each, that is moved with the lock --- */

static tarn_status crew_fence_create(void *context, void **fence) {
  (void)context;
  *fence = calloc(1, sizeof(point));
  return *fence != NULL ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a crew's fence");
}

static tarn_status crew_fence_record(void *context, void *fence) {
  queue *self = context;
  point *mark = fence;
  pthread_mutex_lock(&lock);
  queue *earlier = mark->of;
  *mark = copy_point(&(point){self, self->enqueued_count});
  drop_queue(earlier);
  pthread_mutex_unlock(&lock);
  return TARN_OK;
}

/* The job has a copy of the mark: recording the fence again does not change what is waited for. */
static tarn_status crew_fence_wait(void *context, void *fence) {
  pthread_mutex_lock(&lock);
  job work = {.kind = WAIT, .awaited = copy_point(fence)};
  pthread_mutex_unlock(&lock);
  const tarn_status status = enqueue(context, &work);
  crew_destroy(work.awaited.of);
  return status;
}

static tarn_status crew_fence_query(void *fence) {
  pthread_mutex_lock(&lock);
  const bool is_passed = has_passed(fence);
  pthread_mutex_unlock(&lock);
  return is_passed ? TARN_OK : TARN_NOT_READY; /* an answer: no tarn_fail */
}

static tarn_status crew_fence_synchronize(void *fence) {
  pthread_mutex_lock(&lock);
  point mark = copy_point(fence);
  wait_for(&mark);
  drop_queue(mark.of);
  pthread_mutex_unlock(&lock);
  return TARN_OK;
}

static void crew_fence_destroy(void *fence) {
  crew_destroy(((point *)fence)->of);
  free(fence);
}

/* As many as there are to be, or as there can be; one at least. */
static tarn_status start_threads(void) {
  int error = 0;
  pthread_mutex_lock(&lock);
  while (error == 0 && thread_count < THREAD_COUNT) {
    pthread_t thread;
    error = pthread_create(&thread, NULL, run_jobs, NULL);
    if (error == 0) pthread_detach(thread);
    if (error == 0) thread_count++;
  }
  const bool is_started = thread_count > 0;
  pthread_mutex_unlock(&lock);
  if (is_started) return TARN_OK;
  return tarn_fail_native(TARN_SYSTEM_ERROR, "pthread_create", error, "no thread for a crew: %s",
                          strerror(error));
}

tarn_status crew_stream_create(tarn_stream **stream) {
  /* One and the same for all streams of the kind, and for as long as the process lives. */
  static const tarn_stream_ops ops = {.struct_size = sizeof ops,
                                      .name = "crew",
                                      .copy = crew_copy,
                                      .fill = crew_fill,
                                      .call = crew_call,
                                      .synchronize = crew_synchronize,
                                      .destroy = crew_destroy,
                                      .fence_create = crew_fence_create,
                                      .fence_record = crew_fence_record,
                                      .fence_wait = crew_fence_wait,
                                      .fence_query = crew_fence_query,
                                      .fence_synchronize = crew_fence_synchronize,
                                      .fence_destroy = crew_fence_destroy};
  if (stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "stream is NULL");
  *stream = NULL;
  tarn_status status = start_threads();
  if (status != TARN_OK) return status;
  queue *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a crew stream");
  self->reference_count = 1;
  self->last = &self->first;
  /* No options: a stream of the CPU, asynchronous. */
  status = tarn_stream_create(&ops, self, NULL, stream);
  if (status != TARN_OK) crew_destroy(self);
  return status;
}

/* --- a program that uses it --- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void produce(void *argument) {
  pthread_mutex_lock(&gate);
  puts("the producer runs");
  *(int *)argument = 42;
  pthread_mutex_unlock(&gate);
}

static void consume(void *argument) {
  printf("the consumer runs: %d\n", *(int *)argument);
}

#define TRY(call)                                                   \
  do {                                                              \
    if ((call) == TARN_OK) break;                                   \
    fprintf(stderr, "%s: %s\n", #call, tarn_last_error()->message); \
    return 1;                                                       \
  } while (0)

int main(void) {
  tarn_stream *producer = NULL, *consumer = NULL;
  tarn_fence *made = NULL, *used = NULL;
  tarn_provider *pages = NULL;
  tarn_pool *pool = NULL;
  void *block = NULL, *other = NULL;
  TRY(crew_stream_create(&producer));
  TRY(crew_stream_create(&consumer));
  TRY(tarn_fence_create(producer, &made));
  TRY(tarn_fence_create(consumer, &used));
  TRY(tarn_pages_provider_create(NULL, &pages));
  TRY(tarn_caching_pool_create(pages, NULL, &pool));
  TRY(tarn_pool_alloc(pool, sizeof(int), producer, &block));

  pthread_mutex_lock(&gate); /* the producer does not come to its end before this is open */
  TRY(tarn_stream_call(producer, produce, block));
  TRY(tarn_fence_record(made, producer));
  TRY(tarn_stream_wait(consumer, made));
  TRY(tarn_stream_call(consumer, consume, block));
  TRY(tarn_pool_free(pool, block, consumer)); /* behind the consumer's work, which is behind all */
  TRY(tarn_fence_record(used, consumer));
  const bool is_ready = tarn_fence_query(used) == TARN_OK;
  printf("the consumer waits for the producer: %s\n", is_ready ? "ready" : "not ready");
  TRY(tarn_pool_alloc(pool, sizeof(int), NULL, &other));
  if (other == block) return 1;
  puts("freed behind the consumer: the CPU is lent another block");
  pthread_mutex_unlock(&gate);
  TRY(tarn_fence_synchronize(used));

  TRY(tarn_pool_free(pool, other, NULL));
  tarn_pool_release(pool);
  tarn_provider_release(pages);
  tarn_fence_destroy(used);
  tarn_fence_destroy(made);
  tarn_stream_release(consumer);
  tarn_stream_release(producer);
  return 0;
}
