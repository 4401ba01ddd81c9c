/* test_worker_stream.c: the asynchronous CPU stream: its thread, its marks, and how it ends. */
#include "tests/support/test.h"

#include <pthread.h>
#include <signal.h>

#include "alloc/tarn_host_stream.h"

typedef struct gate {
  pthread_mutex_t lock;
  pthread_cond_t opened;
  bool is_open;
} gate;

#define GATE_CLOSED \
  { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER }

static void gate_pass(void *argument) {
  gate *self = argument;
  pthread_mutex_lock(&self->lock);
  while (!self->is_open) pthread_cond_wait(&self->opened, &self->lock);
  pthread_mutex_unlock(&self->lock);
}

static void gate_open(void *argument) {
  gate *self = argument;
  pthread_mutex_lock(&self->lock);
  self->is_open = true;
  pthread_cond_broadcast(&self->opened);
  pthread_mutex_unlock(&self->lock);
}

static void ask_signals(void *argument) {
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, NULL, &blocked);
  *(int *)argument = sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGTERM) == 1;
}

TEST(work_runs_on_another_thread_with_signals_blocked) {
  tarn_stream *stream = NULL;
  int are_blocked = 0;
  assert_ok(tarn_worker_stream_create(&stream));
  assert_ok(tarn_stream_call(stream, ask_signals, &are_blocked));
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(are_blocked, 1);
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, NULL, &mine);
  assert_int_equal(sigismember(&mine, SIGTERM), 0); /* the creator's own mask came back */
  tarn_stream_release(stream);
}

TEST(a_released_stream_finishes_its_queue) {
  tarn_stream *stream = NULL;
  static gate blocked = GATE_CLOSED; /* the worker may still be leaving them when the test ends */
  static gate finished = GATE_CLOSED;
  assert_ok(tarn_worker_stream_create(&stream));
  assert_ok(tarn_stream_call(stream, gate_pass, &blocked));
  assert_ok(tarn_stream_call(stream, gate_open, &finished));
  tarn_stream_release(stream); /* returns although the queue is blocked */
  gate_open(&blocked);
  gate_pass(&finished);
}

TEST(device_memory_is_out_of_reach) {
  tarn_stream *stream = NULL;
  char bytes[8] = {0};
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  const tarn_device gpu = tarn_device_make(TARN_DEVICE_CUDA, 0);
  assert_ok(tarn_worker_stream_create(&stream));
  assert_status(tarn_stream_copy(stream, bytes, gpu, bytes + 4, cpu, 4), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_copy(stream, bytes, cpu, bytes + 4, gpu, 4), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_fill(stream, bytes, gpu, 1, 4), TARN_NOT_SUPPORTED);
  tarn_stream_release(stream);
}

/* A fence recorded again, on another stream: who waited for the first mark waits for no other. */
TEST(each_record_is_a_mark_of_its_own) {
  tarn_stream *slow = NULL;
  tarn_stream *quick = NULL;
  tarn_stream *waiter = NULL;
  tarn_fence *fence = NULL;
  gate blocked = GATE_CLOSED;
  assert_ok(tarn_worker_stream_create(&slow));
  assert_ok(tarn_worker_stream_create(&quick));
  assert_ok(tarn_worker_stream_create(&waiter));
  assert_ok(tarn_fence_create(slow, &fence));
  assert_ok(tarn_stream_call(slow, gate_pass, &blocked));
  assert_ok(tarn_fence_record(fence, slow));
  assert_ok(tarn_stream_wait(waiter, fence));
  assert_ok(tarn_fence_record(fence, quick));
  assert_ok(tarn_fence_synchronize(fence)); /* the new mark passes while the old one is pending */
  tarn_fence *behind = NULL;
  assert_ok(tarn_fence_create(waiter, &behind));
  assert_ok(tarn_fence_record(behind, waiter));
  assert_status(tarn_fence_query(behind), TARN_NOT_READY);
  gate_open(&blocked);
  assert_ok(tarn_fence_synchronize(behind));
  tarn_fence_destroy(behind);
  tarn_fence_destroy(fence);
  tarn_stream_release(slow);
  tarn_stream_release(quick);
  tarn_stream_release(waiter);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
