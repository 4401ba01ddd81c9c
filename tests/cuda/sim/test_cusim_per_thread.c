/* test_cusim_per_thread.c: the default stream of each thread, and the legacy one beside it. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <pthread.h>

typedef CUresult (*fill_function)(CUdeviceptr, unsigned char, size_t, CUstream);
typedef CUresult (*copy_function)(CUdeviceptr, CUdeviceptr, size_t);

static void find(const char *name, int version, cuuint64_t flags, void *function) {
  void *found = NULL;
  CU(cuGetProcAddress(name, &found, version, flags, NULL));
  assert_non_null(found);
  memcpy(function, &found, sizeof found);
}

static unsigned long long id_of(CUstream stream) {
  unsigned long long id = 0;
  CU(cuStreamGetId(stream, &id));
  return id;
}

static void *find_id(void *context) {
  static unsigned long long id;
  CU(cuCtxPushCurrent(context));
  id = id_of(CU_STREAM_PER_THREAD);
  return &id;
}

CUSIM_TEST(each_thread_has_one_and_keeps_it) {
  const unsigned long long own = id_of(CU_STREAM_PER_THREAD);
  assert_int_equal(id_of(CU_STREAM_PER_THREAD), own);
  assert_int_not_equal(own, id_of(NULL));
  assert_int_equal(id_of(CU_STREAM_LEGACY), id_of(NULL));
  pthread_t thread;
  void *other = NULL;
  assert_int_equal(pthread_create(&thread, NULL, find_id, *state), 0);
  pthread_join(thread, &other);
  assert_int_not_equal(*(unsigned long long *)other, own);
  assert_int_equal(cuStreamDestroy(CU_STREAM_PER_THREAD), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuStreamDestroy(CU_STREAM_LEGACY), CUDA_ERROR_INVALID_HANDLE);
}

typedef struct leaver {
  CUcontext context;
  CUdeviceptr dst;
} leaver;

static void *enqueue_and_leave(void *argument) {
  const leaver *self = argument;
  CU(cuCtxPushCurrent(self->context));
  CU(cuMemsetD8Async(self->dst, 9, 1, CU_STREAM_PER_THREAD));
  return NULL;
}

CUSIM_TEST(work_of_a_thread_that_ended_still_runs) {
  unsigned char *pinned = cusim_fixture_pinned(1);
  *pinned = 0;
  leaver self = {*state, at(pinned)};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, enqueue_and_leave, &self), 0);
  pthread_join(thread, NULL);
  assert_int_equal(cusim_fixture_counts().pending_operations, 1);
  CU(cuCtxSynchronize());
  assert_int_equal(*pinned, 9);
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(it_and_the_legacy_stream_wait_for_each_other) {
  CUstream aside = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(4);
  memset(pinned, 0, 4);
  CU(cuMemsetD8Async(at(pinned), 1, 1, CU_STREAM_PER_THREAD));
  CU(cuMemsetD8Async(at(pinned) + 3, 1, 1, aside)); /* non-blocking: waits for nobody */
  CU(cuMemcpyAsync(at(pinned) + 1, at(pinned), 1, CU_STREAM_LEGACY));
  CU(cuMemcpyAsync(at(pinned) + 2, at(pinned) + 1, 1, CU_STREAM_PER_THREAD));
  CU(cuStreamSynchronize(CU_STREAM_PER_THREAD));
  assert_memory_equal(pinned, "\1\1\1\0", 4);
  CU(cuStreamSynchronize(aside));
  CU(cuStreamDestroy(aside));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(an_event_on_the_null_stream_covers_blocking_streams_only) {
  CUstream blocking = NULL, aside = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CU(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  CU(cuMemsetD8Async(at(pinned), 1, 1, blocking));
  CU(cuMemsetD8Async(at(pinned) + 1, 1, 1, aside));
  CU(cuEventRecord(event, NULL));
  CU(cuEventSynchronize(event));
  assert_memory_equal(pinned, "\1\0", 2);
  CU(cuStreamSynchronize(aside));
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(blocking));
  CU(cuStreamDestroy(aside));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(the_variants_of_calls_take_null_for_it) {
  fill_function legacy, per_thread;
  copy_function copy;
  find("cuMemsetD8Async", 7000, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &legacy);
  find("cuMemsetD8Async", 7000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &per_thread);
  find("cuMemcpy", 7000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &copy);
  assert_true(legacy != per_thread);
  CUstream blocking = NULL;
  CU(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  unsigned char *pinned = cusim_fixture_pinned(3);
  memset(pinned, 0, 3);
  CU(cuMemsetD8Async(at(pinned), 1, 1, blocking));
  CU(per_thread(at(pinned) + 1, 1, 1, NULL));
  CU(copy(at(pinned) + 2, at(pinned) + 1, 1));
  assert_memory_equal(pinned, "\0\1\1", 3); /* nobody waited for the other blocking stream */
  CU(legacy(at(pinned) + 1, 2, 1, NULL));
  CU(cuStreamSynchronize(NULL));
  assert_memory_equal(pinned, "\1\2\1", 3);
  CU(cuStreamDestroy(blocking));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(names_without_a_variant_are_found_as_they_are) {
  void *plain = NULL, *found = NULL, *old = NULL;
  CUdriverProcAddressQueryResult reason;
  CU(cuGetProcAddress("cuMemAlloc", &plain, 3020, 0, NULL));
  CU(cuGetProcAddress("cuMemAlloc", &found, 3020, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
                      &reason));
  assert_int_equal(reason, CU_GET_PROC_ADDRESS_SUCCESS);
  assert_ptr_equal(plain, found);
  CU(cuGetProcAddress("cuMemcpyAsync", &plain, 4000, 0, NULL));
  CU(cuGetProcAddress("cuMemcpyAsync", &old, 4000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
                      NULL));
  assert_ptr_equal(plain, old); /* before there were such streams */
  assert_int_equal(cuGetProcAddress("cuMemAlloc", &found, 3020, 3, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuGetProcAddress("cuMemAlloc", &found, 3020, 4, NULL), CUDA_ERROR_INVALID_VALUE);
}

CUSIM_TEST(a_context_takes_the_threads_streams_with_it) {
  CUcontext second = NULL;
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  const unsigned long long first_id = id_of(CU_STREAM_PER_THREAD);
  CU(cuDevicePrimaryCtxRelease(1));
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  assert_true(id_of(CU_STREAM_PER_THREAD) > first_id);
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(1));
}

int run_cusim_per_thread_tests(void) {
  return run_listed_tests(NULL, NULL);
}
