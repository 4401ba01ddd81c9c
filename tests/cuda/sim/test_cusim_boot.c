/* test_cusim_boot.c: starting the simulated driver, finding its entries, contexts of a thread. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(nothing_works_before_cuInit) {
  int count = 0;
  CUcontext context = NULL;
  assert_int_equal(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
  assert_int_equal(cuDevicePrimaryCtxRetain(&context, 0), CUDA_ERROR_NOT_INITIALIZED);
  assert_int_equal(cuMemAlloc(&(CUdeviceptr){0}, 1), CUDA_ERROR_NOT_INITIALIZED);
}

/* A bad value and good ones: nothing of either is kept. */
TEST(a_bad_environment_changes_nothing) {
  const int told = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY);
  setenv("CUSIM_IDLE_MS", "soon", 1);
  dup2(nowhere, STDERR_FILENO);
  const CUresult result = cuInit(0);
  dup2(told, STDERR_FILENO);
  unsetenv("CUSIM_IDLE_MS");
  close(told);
  close(nowhere);
  assert_int_equal(result, CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuDeviceGetCount(&(int){0}), CUDA_ERROR_NOT_INITIALIZED);
  assert_int_equal(cusim_get_seed(), 1);
  assert_int_equal(cusim_get_policy(), CUSIM_RANDOM);
}

TEST(the_environment_is_heard) {
  assert_int_equal(cuInit(1), CUDA_ERROR_INVALID_VALUE);
  CU(cuInit(0));
  CU(cuInit(0));
  int count = 0, version = 0;
  size_t bytes = 0;
  CU(cuDeviceGetCount(&count));
  CU(cuDeviceTotalMem(&bytes, 0));
  CU(cuDriverGetVersion(&version));
  assert_int_equal(count, CUSIM_TEST_DEVICES);
  assert_int_equal(bytes, CUSIM_TEST_CAPACITY);
  assert_int_equal(cusim_get_seed(), CUSIM_TEST_SEED);
  assert_int_equal(cusim_get_policy(), CUSIM_EAGER);
  assert_int_equal(version, 13000);
  assert_int_equal(cusim_is_simulated(), 1);
}

TEST(an_entry_is_found_by_the_version_of_its_abi) {
  CUdriverProcAddressQueryResult reason;
  void *found = NULL;
  CU(cuGetProcAddress("cuMemAlloc", &found, 3020, 0, &reason));
  assert_int_equal(reason, CU_GET_PROC_ADDRESS_SUCCESS);
  assert_non_null(found);
  /* By an older ABI than there is, by a newer one with other arguments, and a name of nothing. */
  CU(cuGetProcAddress("cuMemAlloc", &found, 2000, 0, &reason));
  assert_int_equal(reason, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  assert_null(found);
  CU(cuGetProcAddress("cuCtxSynchronize", &found, 12000, 0, &reason));
  assert_non_null(found);
  CU(cuGetProcAddress("cuCtxSynchronize", &found, 13000, 0, &reason));
  assert_null(found);
  CU(cuGetProcAddress("cuNothing", &found, 13000, 0, &reason));
  assert_int_equal(reason, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  assert_null(found);
  assert_int_equal(cuGetProcAddress("cuNothing", &found, 13000, 0, NULL), CUDA_ERROR_NOT_FOUND);
}

TEST(it_says_no_to_what_it_cannot_do) {
  const CUdevice_attribute attributes[] = {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY,
                                           CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS,
                                           CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED};
  for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
    int value = -1;
    CU(cuDeviceGetAttribute(&value, attributes[i], 0));
    /* Registering works. */
    assert_int_equal(value, attributes[i] == CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED);
  }
  int value = 0;
  assert_int_equal(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX, 0),
                   CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_PITCH, CUSIM_TEST_DEVICES),
                   CUDA_ERROR_INVALID_DEVICE);
}

CUSIM_TEST(a_thread_has_a_stack_of_contexts) {
  CUcontext first = *state, second = NULL, found = NULL;
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  CU(cuCtxGetCurrent(&found));
  assert_ptr_equal(found, second);
  CU(cuCtxPopCurrent(&found));
  assert_ptr_equal(found, second);
  CU(cuCtxGetCurrent(&found));
  assert_ptr_equal(found, first);
  CU(cuCtxSetCurrent(second)); /* in its place */
  CU(cuCtxSetCurrent(NULL));   /* away */
  CU(cuCtxGetCurrent(&found));
  assert_null(found);
  assert_int_equal(cuCtxPopCurrent(&found), CUDA_ERROR_INVALID_CONTEXT);
  assert_int_equal(cuMemAlloc(&(CUdeviceptr){0}, 1), CUDA_ERROR_INVALID_CONTEXT);
  assert_int_equal(cuCtxPushCurrent((CUcontext)&found), CUDA_ERROR_INVALID_CONTEXT);
  CU(cuCtxPushCurrent(second));
  CU(cuDevicePrimaryCtxRelease(1));
  assert_int_equal(cuMemAlloc(&(CUdeviceptr){0}, 1), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  assert_int_equal(cuDevicePrimaryCtxRelease(1), CUDA_ERROR_INVALID_CONTEXT);
  CU(cuCtxSetCurrent(first));
}

TEST(a_context_takes_its_objects_with_it_and_counts_them) {
  CUcontext second = NULL;
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  const cusim_counts before = cusim_fixture_counts();
  const CUdeviceptr block = cusim_fixture_device(1000);
  CU(cuMemsetD8Async(block, 1, 1000, cusim_fixture_stream()));
  cusim_fixture_pinned(1000);
  cusim_fixture_event();
  CU(cuDevicePrimaryCtxRelease(1));
  CU(cuCtxPopCurrent(NULL));
  const cusim_counts after = cusim_fixture_counts();
  assert_int_equal(after.abandoned, before.abandoned + 4);
  assert_int_equal(after.device_bytes, before.device_bytes);
  assert_int_equal(after.pinned_bytes, before.pinned_bytes);
  assert_int_equal(after.streams, before.streams);
  assert_int_equal(after.events, before.events);
  assert_int_equal(after.pending_operations, 0);
}

TEST(a_forked_child_is_refused) {
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    _exit(cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
  }
  int ended = -1;
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
}

int run_cusim_boot_tests(void) {
  return run_listed_tests(NULL, NULL);
}
