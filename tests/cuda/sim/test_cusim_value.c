/* test_cusim_value.c: streams that wait for values in memory and write them. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <pthread.h>

CUSIM_TEST(a_stream_waits_until_another_writes_the_value) {
  CUstream waiter = cusim_fixture_stream(), writer = cusim_fixture_stream();
  CUdeviceptr flag = cusim_fixture_device(8);
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CU(cuMemcpyHtoDAsync(flag, (const char[8]){0}, 8, waiter));
  CU(cuStreamSynchronize(waiter));
  CU(cuStreamWaitValue32(waiter, flag, 5, CU_STREAM_WAIT_VALUE_GEQ));
  CU(cuMemsetD8Async(at(pinned), 1, 1, waiter));
  CU(cuMemsetD8Async(at(pinned) + 1, 1, 1, writer));
  CU(cuStreamWriteValue32(writer, flag, 6, 0));
  CU(cuStreamSynchronize(waiter));
  assert_memory_equal(pinned, "\1\1", 2);
  cusim_host_acquire((void *)(uintptr_t)flag); /* written after the wait came: not seen by itself */
  CU(cuStreamDestroy(waiter));
  CU(cuStreamDestroy(writer));
  CU(cuMemFree(flag));
  CU(cuMemFreeHost(pinned));
}

/* Whether a wait under the condition passes while memory holds `found`. */
static bool passes(unsigned condition, uint64_t found, uint64_t wanted, bool is_wide) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(8);
  memcpy(pinned, &found, 8);
  if (is_wide) {
    CU(cuStreamWaitValue64(stream, at(pinned), wanted, condition));
  } else {
    CU(cuStreamWaitValue32(stream, at(pinned), (cuuint32_t)wanted, condition));
  }
  cusim_drain();
  const bool has_passed = cusim_fixture_counts().pending_operations == 0;
  const uint64_t other = condition == CU_STREAM_WAIT_VALUE_NOR ? 0 : wanted;
  memcpy(pinned, &other, 8);
  CU(cuStreamSynchronize(stream));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
  return has_passed;
}

CUSIM_TEST(the_conditions_are_the_manuals) {
  assert_true(passes(CU_STREAM_WAIT_VALUE_GEQ, 5, 5, false));
  assert_true(passes(CU_STREAM_WAIT_VALUE_GEQ, 1, 0xFFFFFFFF, false)); /* in a circle */
  assert_false(passes(CU_STREAM_WAIT_VALUE_GEQ, 4, 5, false));
  assert_true(passes(CU_STREAM_WAIT_VALUE_GEQ, 1, UINT64_MAX, true));
  assert_false(passes(CU_STREAM_WAIT_VALUE_GEQ, 1, 0xFFFFFFFF, true));
  assert_true(passes(CU_STREAM_WAIT_VALUE_EQ, 7, 7, true));
  assert_false(passes(CU_STREAM_WAIT_VALUE_EQ, 8, 7, true));
  assert_true(passes(CU_STREAM_WAIT_VALUE_EQ, UINT64_C(1) << 32 | 7, 7, false));
  assert_true(passes(CU_STREAM_WAIT_VALUE_AND, 6, 2, false));
  assert_false(passes(CU_STREAM_WAIT_VALUE_AND, 4, 2, false));
  assert_true(passes(CU_STREAM_WAIT_VALUE_NOR, 1, 2, false));
  assert_false(passes(CU_STREAM_WAIT_VALUE_NOR, 0xF0F0F0F0, 0x0F0F0F0F, false));
  assert_true(passes(CU_STREAM_WAIT_VALUE_NOR, 0xF0F0F0F0, 0x0F0F0F0F, true));
}

CUSIM_TEST(bad_addresses_and_flags_are_refused) {
  CUstream stream = cusim_fixture_stream();
  CUdeviceptr flag = cusim_fixture_device(8);
  uint64_t pageable = 0;
  assert_int_equal(cuStreamWaitValue32(stream, flag + 2, 0, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuStreamWaitValue64(stream, flag + 4, 0, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuStreamWaitValue64(stream, flag + 8, 0, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuStreamWaitValue32(stream, at(&pageable), 0, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuStreamWaitValue32(stream, flag, 0, 4), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuStreamWaitValue32(stream, flag, 0, CU_STREAM_WAIT_VALUE_FLUSH),
                   CUDA_ERROR_NOT_SUPPORTED);
  assert_int_equal(cuStreamWriteValue64(stream, flag, 0, 1), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  CU(cuMemFree(flag));
  CU(cuStreamDestroy(stream));
}

static void *write_later(void *flag) {
  cusim_drain(); /* takes its time */
  __atomic_store_n((uint32_t *)flag, 1, __ATOMIC_RELEASE);
  return NULL;
}

CUSIM_TEST(a_host_thread_may_write_the_value) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *flag = cusim_fixture_pinned(4);
  memset(flag, 0, 4);
  CU(cuStreamWaitValue32(stream, at(flag), 1, CU_STREAM_WAIT_VALUE_EQ));
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, write_later, flag), 0);
  cusim_set_stall_ms(60000);
  CU(cuStreamSynchronize(stream));
  cusim_set_stall_ms(2000);
  pthread_join(thread, NULL);
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(flag));
}

CUSIM_TEST(waiting_for_a_value_that_nobody_writes_breaks_the_context) {
  CUstream stream = cusim_fixture_stream(), behind = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  unsigned char *flag = cusim_fixture_pinned(4);
  memset(flag, 0, 4);
  CU(cuStreamWaitValue32(stream, at(flag), 1, CU_STREAM_WAIT_VALUE_EQ));
  CU(cuEventRecord(event, stream));
  CU(cuStreamWaitEvent(behind, event, 0));
  for (int i = 0; i < 3; i++) assert_int_equal(cuStreamQuery(behind), CUDA_ERROR_NOT_READY);
  cusim_set_stall_ms(1);
  assert_int_equal(cuStreamSynchronize(behind), CUDA_ERROR_LAUNCH_TIMEOUT);
  cusim_set_stall_ms(2000);
  assert_non_null(strstr(cusim_fault(), "waits for a value"));
  assert_int_equal(cuEventQuery(event), CUDA_ERROR_LAUNCH_TIMEOUT);
  /* A broken context gives nothing back but as a whole. */
  CU(cuDevicePrimaryCtxRelease(0));
  const size_t abandoned = cusim_fixture_counts().abandoned;
  assert_true(abandoned >= 4);
  CUcontext context = NULL;
  CU(cuDevicePrimaryCtxRetain(&context, 0));
  cusim_fixture_forgive();
}

CUSIM_TEST(memory_freed_below_a_wait_breaks_the_context) {
  CUstream stream = cusim_fixture_stream();
  CUdeviceptr flag = cusim_fixture_device(8);
  CU(cuMemcpyHtoD(flag, (const char[8]){0}, 8));
  CU(cuStreamWaitValue64(stream, flag, 1, CU_STREAM_WAIT_VALUE_EQ));
  CU(cuMemFree(flag));
  cusim_expect_race("cuMemFree", "cuStreamWaitValue64", "the host never waited");
  assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
  assert_non_null(strstr(cusim_fault(), "a wait for a value"));
  CU(cuDevicePrimaryCtxRelease(0));
  CUcontext context = NULL;
  CU(cuDevicePrimaryCtxRetain(&context, 0));
  cusim_fixture_forgive();
}

int run_cusim_value_tests(void) {
  return run_listed_tests(NULL, NULL);
}
