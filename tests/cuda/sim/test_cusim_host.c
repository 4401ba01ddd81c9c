/* test_cusim_host.c: host functions, the thread they run on, and work that nobody waits for. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <pthread.h>
#include <semaphore.h>

typedef struct visit {
  pthread_t thread;
  CUresult result;
  int count;
} visit;

static void note_visit(void *argument) {
  visit *self = argument;
  size_t free_bytes, total_bytes;
  self->thread = pthread_self();
  self->result = cuMemGetInfo(&free_bytes, &total_bytes);
  self->count++;
}

CUSIM_TEST(host_functions_run_elsewhere_and_may_not_call_the_driver) {
  CUstream stream = cusim_fixture_stream();
  visit seen = {0};
  CU(cuLaunchHostFunc(stream, note_visit, &seen));
  assert_int_equal(seen.count, 0);
  CU(cuStreamSynchronize(stream));
  assert_int_equal(seen.count, 1);
  assert_false(pthread_equal(seen.thread, pthread_self()));
  assert_int_equal(seen.result, CUDA_ERROR_NOT_PERMITTED);
  CU(cuStreamDestroy(stream));
}

typedef struct locked_counter {
  pthread_mutex_t lock;
  int count;
} locked_counter;

static void count_under_lock(void *argument) {
  locked_counter *self = argument;
  pthread_mutex_lock(&self->lock);
  self->count++;
  pthread_mutex_unlock(&self->lock);
}

/* A program may enqueue and ask under a lock that its own host functions take. */
CUSIM_TEST(a_lock_held_while_enqueuing_does_not_hang) {
  CUstream stream = cusim_fixture_stream();
  locked_counter counter = {.lock = PTHREAD_MUTEX_INITIALIZER};
  const cusim_policy policies[] = {CUSIM_RANDOM, CUSIM_LAZY, CUSIM_EAGER};
  cusim_set_patience_ms(1);
  for (int i = 0; i < 3; i++) {
    cusim_set_policy(policies[i]);
    pthread_mutex_lock(&counter.lock);
    for (int k = 0; k < 3; k++) CU(cuLaunchHostFunc(stream, count_under_lock, &counter));
    for (int k = 0; k < 5; k++) {
      assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    }
    assert_int_equal(counter.count, 3 * i);
    pthread_mutex_unlock(&counter.lock);
    CU(cuStreamSynchronize(stream));
    assert_int_equal(counter.count, 3 * (i + 1));
  }
  pthread_mutex_destroy(&counter.lock);
  CU(cuStreamDestroy(stream));
}

static void post(void *argument) {
  sem_post(argument);
}

static void wait_for(void *argument) {
  while (sem_wait(argument) != 0) {
  }
}

CUSIM_TEST(work_goes_on_beside_a_host_function_under_way) {
  CUstream held = cusim_fixture_stream(), free_one = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  sem_t gate;
  sem_init(&gate, 0, 0);
  cusim_set_patience_ms(1);
  CU(cuLaunchHostFunc(held, wait_for, &gate));
  CU(cuMemsetD8Async(at(pinned), 1, 1, held));
  CU(cuMemsetD8Async(at(pinned) + 1, 1, 1, free_one));
  assert_int_equal(cuStreamQuery(held), CUDA_ERROR_NOT_READY); /* starts it */
  CU(cuStreamSynchronize(free_one));
  assert_memory_equal(pinned, "\0\1", 2);
  assert_int_equal(cuStreamQuery(held), CUDA_ERROR_NOT_READY);
  sem_post(&gate);
  CU(cuStreamSynchronize(held));
  assert_memory_equal(pinned, "\1\1", 2);
  sem_destroy(&gate);
  CU(cuStreamDestroy(held));
  CU(cuStreamDestroy(free_one));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(host_functions_run_one_at_a_time) {
  CUstream held = cusim_fixture_stream(), other = cusim_fixture_stream();
  locked_counter counter = {.lock = PTHREAD_MUTEX_INITIALIZER};
  sem_t gate;
  sem_init(&gate, 0, 0);
  cusim_set_patience_ms(1);
  cusim_set_policy(CUSIM_EAGER);
  CU(cuLaunchHostFunc(held, wait_for, &gate)); /* under way when it returns */
  CU(cuLaunchHostFunc(other, count_under_lock, &counter));
  assert_int_equal(cuStreamQuery(other), CUDA_ERROR_NOT_READY);
  assert_int_equal(cusim_fixture_counts().pending_operations, 2);
  sem_post(&gate);
  CU(cuStreamSynchronize(other));
  CU(cuStreamSynchronize(held));
  assert_int_equal(counter.count, 1);
  sem_destroy(&gate);
  pthread_mutex_destroy(&counter.lock);
  CU(cuStreamDestroy(held));
  CU(cuStreamDestroy(other));
}

/* No call to the driver follows: as on a GPU, the work runs all the same. */
CUSIM_TEST(work_runs_on_when_nobody_asks) {
  CUstream stream = cusim_fixture_stream();
  sem_t done;
  sem_init(&done, 0, 0);
  const uint64_t before = cusim_idle_steps();
  cusim_set_idle_ms(5);
  CU(cuLaunchHostFunc(stream, post, &done));
  CU(cuStreamDestroy(stream));
  while (sem_wait(&done) != 0) {
  }
  assert_true(cusim_idle_steps() > before);
  sem_destroy(&done);
}

static int teardown_without_the_stream(void **state) {
  (void)state;
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(0));
  return 0;
}

TEST_WITH(a_broken_context_calls_no_host_function, cusim_setup, teardown_without_the_stream) {
  CUcontext second = NULL;
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  CUstream stream = cusim_fixture_stream();
  visit seen = {0};
  CU(cuLaunchHostFunc(stream, note_visit, &seen));
  cusim_break_context(1, CUDA_ERROR_LAUNCH_FAILED);
  assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_LAUNCH_FAILED);
  assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_LAUNCH_FAILED);
  assert_int_equal(cuMemAlloc(&(CUdeviceptr){0}, 1), CUDA_ERROR_LAUNCH_FAILED);
  CU(cuCtxPopCurrent(NULL));
  assert_int_equal(cusim_drain(), 1);
  assert_int_equal(seen.count, 0);
  CU(cuDevicePrimaryCtxRelease(1)); /* takes the stream and the error with it */
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  CU(cuCtxSynchronize());
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(1));
}

/* One stream was left to its context on purpose. */
int run_cusim_host_tests(void) {
  return run_listed_tests(NULL, NULL);
}
