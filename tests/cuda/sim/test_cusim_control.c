/* test_cusim_control.c: failures on demand, hidden names, counters. */
#include "tests/cuda/sim/cusim_fixture.h"

CUSIM_TEST(the_nth_call_of_a_name_fails_once_and_does_nothing) {
  CUdeviceptr blocks[4] = {0};
  const uint64_t failures = cusim_failures();
  assert_int_equal(cusim_fail_call("cuMemAlloc", 3, CUDA_ERROR_OUT_OF_MEMORY), 1);
  CU(cuMemAlloc(&blocks[0], 10));
  CU(cuCtxSynchronize()); /* other names do not count */
  CU(cuMemAlloc(&blocks[1], 10));
  assert_int_equal(cuMemAlloc(&blocks[2], 10), CUDA_ERROR_OUT_OF_MEMORY);
  assert_int_equal(blocks[2], 0);
  assert_int_equal(cusim_failures(), failures + 1);
  assert_string_equal(cusim_failed_call(), "cuMemAlloc");
  CU(cuMemAlloc(&blocks[3], 10));
  assert_int_equal(cusim_fixture_counts().device_blocks, 3);
  for (int i = 0; i < 4; i++) CU(cuMemFree(blocks[i]));
  assert_int_equal(cusim_fail_call("cuNothing", 1, CUDA_ERROR_UNKNOWN), 0);
}

CUSIM_TEST(the_nth_call_of_any_name_fails) {
  const char *name = NULL;
  cusim_fail_call(NULL, 2, CUDA_ERROR_UNKNOWN);
  CU(cuCtxSynchronize());
  CU(cuGetErrorName(CUDA_ERROR_UNKNOWN, &name)); /* neither counts nor fails */
  assert_string_equal(name, "CUDA_ERROR_UNKNOWN");
  assert_int_equal(cuStreamSynchronize(NULL), CUDA_ERROR_UNKNOWN);
  assert_string_equal(cusim_failed_call(), "cuStreamSynchronize");
  CU(cuStreamSynchronize(NULL));
  cusim_fail_call(NULL, 1, CUDA_ERROR_UNKNOWN);
  cusim_fail_nothing();
  CU(cuStreamSynchronize(NULL));
}

CUSIM_TEST(calls_are_counted_by_name) {
  const uint64_t queries = cusim_calls("cuStreamQuery"), all = cusim_calls(NULL);
  for (int i = 0; i < 3; i++) CU(cuStreamQuery(NULL));
  CU(cuStreamSynchronize(NULL));
  assert_int_equal(cusim_calls("cuStreamQuery"), queries + 3);
  assert_int_equal(cusim_calls(NULL), all + 4);
  assert_int_equal(cusim_calls("cuNothing"), 0);
}

CUSIM_TEST(a_hidden_name_is_not_found) {
  CUdriverProcAddressQueryResult reason;
  void *found = NULL;
  cusim_hide("cuMemAlloc");
  CU(cuGetProcAddress("cuMemAlloc", &found, 3020, 0, &reason));
  assert_int_equal(reason, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  assert_null(found);
  CU(cuGetProcAddress("cuMemFree", &found, 3020, 0, &reason));
  assert_non_null(found);
  cusim_hide(NULL);
  CU(cuGetProcAddress("cuMemAlloc", &found, 3020, 0, &reason));
  assert_non_null(found);
}

CUSIM_TEST(what_is_alive_is_counted) {
  const cusim_counts before = cusim_fixture_counts();
  const CUdeviceptr block = cusim_fixture_device(1000);
  unsigned char *pinned = cusim_fixture_pinned(500);
  CUstream stream = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  CU(cuEventRecord(event, stream));
  const cusim_counts now = cusim_fixture_counts();
  assert_int_equal(now.device_blocks, before.device_blocks + 1);
  assert_int_equal(now.device_bytes, before.device_bytes + 1000);
  assert_int_equal(now.pinned_blocks, before.pinned_blocks + 1);
  assert_int_equal(now.pinned_bytes, before.pinned_bytes + 500);
  assert_int_equal(now.streams, before.streams + 1);
  assert_int_equal(now.events, before.events + 1);
  assert_int_equal(now.pending_operations, 1);
  CU(cuStreamSynchronize(stream));
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
  CU(cuMemFree(block));
}

CUSIM_TEST(every_error_it_returns_has_a_name_and_words) {
  const CUresult errors[] = {CUDA_SUCCESS,
                             CUDA_ERROR_INVALID_VALUE,
                             CUDA_ERROR_OUT_OF_MEMORY,
                             CUDA_ERROR_NOT_INITIALIZED,
                             CUDA_ERROR_INVALID_DEVICE,
                             CUDA_ERROR_INVALID_CONTEXT,
                             CUDA_ERROR_INVALID_HANDLE,
                             CUDA_ERROR_NOT_FOUND,
                             CUDA_ERROR_NOT_READY,
                             CUDA_ERROR_ILLEGAL_ADDRESS,
                             CUDA_ERROR_CONTEXT_IS_DESTROYED,
                             CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED,
                             CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
                             CUDA_ERROR_NOT_PERMITTED,
                             CUDA_ERROR_NOT_SUPPORTED};
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    const char *name = NULL, *words = NULL;
    CU(cuGetErrorName(errors[i], &name));
    CU(cuGetErrorString(errors[i], &words));
    assert_true(strncmp(name, "CUDA_", 5) == 0 && strlen(words) > 3);
  }
  const char *name = "x";
  assert_int_equal(cuGetErrorName((CUresult)12345, &name), CUDA_ERROR_INVALID_VALUE);
  assert_null(name);
}

int run_cusim_control_tests(void) {
  return run_listed_tests(NULL, NULL);
}
