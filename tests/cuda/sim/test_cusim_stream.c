/* test_cusim_stream.c: simulated streams: order, handles, the default stream, contexts. */
#include "tests/cuda/sim/cusim_fixture.h"

CUSIM_TEST(a_stream_runs_in_order_under_every_policy) {
  const cusim_policy policies[] = {CUSIM_RANDOM, CUSIM_LAZY, CUSIM_EAGER};
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(64);
  const CUdeviceptr block = cusim_fixture_device(64);
  for (int i = 0; i < 3; i++) {
    cusim_set_policy(policies[i]);
    for (unsigned char value = 0; value < 30; value++) {
      CU(cuMemsetD8Async(block, value, 64, stream));
      CU(cuMemcpyAsync(at(pinned) + value, block, 1, stream));
    }
    CU(cuStreamSynchronize(stream));
    for (unsigned char value = 0; value < 30; value++) assert_int_equal(pinned[value], value);
  }
  CU(cuMemFree(block));
  CU(cuMemFreeHost(pinned));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(a_destroyed_stream_finishes_and_its_handle_comes_back) {
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CUstream first = cusim_fixture_stream();
  unsigned long long first_id = 0, second_id = 0;
  CU(cuStreamGetId(first, &first_id));
  CU(cuMemsetD8Async(at(pinned), 1, 1, first));
  CU(cuStreamDestroy(first));
  assert_int_equal(pinned[0], 0);
  assert_int_equal(cuMemsetD8Async(at(pinned), 9, 1, first), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuStreamDestroy(first), CUDA_ERROR_INVALID_HANDLE);

  CUstream second = cusim_fixture_stream();
  assert_ptr_equal(second, first); /* the handle, but not the stream */
  CU(cuStreamGetId(second, &second_id));
  assert_int_not_equal(second_id, first_id);
  CU(cuMemsetD8Async(at(pinned) + 1, 2, 1, second));
  CU(cuStreamSynchronize(second));
  assert_memory_equal(pinned, "\0\2", 2); /* two queues: the older one has not moved */
  CU(cuCtxSynchronize());
  assert_memory_equal(pinned, "\1\2", 2);
  CU(cuStreamDestroy(second));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(the_default_stream_waits_for_blocking_streams_and_they_for_it) {
  CUstream blocking = NULL, loose = cusim_fixture_stream();
  CU(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  unsigned char *pinned = cusim_fixture_pinned(4);
  memset(pinned, 0, 4);
  CU(cuMemsetD8Async(at(pinned), 1, 1, blocking));
  CU(cuMemsetD8Async(at(pinned) + 1, 1, 1, loose));
  CU(cuMemcpyAsync(at(pinned) + 2, at(pinned), 1, NULL)); /* behind blocking, not behind loose */
  CU(cuMemcpyAsync(at(pinned) + 3, at(pinned) + 2, 1, blocking)); /* behind the default stream */
  CU(cuStreamSynchronize(blocking));
  assert_memory_equal(pinned, "\1\0\1\1", 4);
  CU(cuStreamSynchronize(loose));
  CU(cuMemsetD8Async(at(pinned), 7, 1, blocking));
  assert_int_equal(cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
  CU(cuStreamSynchronize(CU_STREAM_LEGACY));
  assert_int_equal(pinned[0], 7);
  CU(cuStreamDestroy(blocking));
  CU(cuStreamDestroy(loose));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(a_synchronous_copy_waits) {
  unsigned char bytes[16], back[16] = {0};
  memset(bytes, 3, sizeof bytes);
  const CUdeviceptr block = cusim_fixture_device(16);
  CU(cuMemcpyHtoD(block, bytes, 16));
  memset(bytes, 4, sizeof bytes);
  CU(cuMemcpyDtoH(back, block, 16));
  for (int i = 0; i < 16; i++) assert_int_equal(back[i], 3);
  CU(cuMemcpy(block, at(bytes), 16));
  CU(cuMemcpy(at(back), block, 16));
  assert_memory_equal(back, bytes, 16);
  CU(cuMemFree(block));
}

CUSIM_TEST(a_stream_is_enqueued_on_under_its_own_context) {
  CUcontext second = NULL, owner = NULL;
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(1);
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  assert_int_equal(cuMemsetD8Async(at(pinned), 1, 1, stream), CUDA_ERROR_INVALID_CONTEXT);
  CU(cuStreamGetCtx(stream, &owner));
  assert_ptr_equal(owner, *state);
  CU(cuStreamSynchronize(stream)); /* asking needs no more than any context */
  CU(cuCtxPopCurrent(NULL));
  CU(cuMemsetD8Async(at(pinned), 1, 1, stream));
  CU(cuStreamSynchronize(stream));
  CU(cuDevicePrimaryCtxRelease(1));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(handles_that_are_none_are_refused) {
  char inside[sizeof(void *) * 4];
  CUstream none = (CUstream)(void *)inside;
  assert_int_equal(cuStreamSynchronize(none), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuStreamQuery(none), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuEventRecord((CUevent)(void *)inside, NULL), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuStreamCreate(&none, 16), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuLaunchHostFunc(NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
}

int run_cusim_stream_tests(void) {
  return run_listed_tests(NULL, NULL);
}
