/* test_cusim_peer.c: simulated devices that reach each other's memory, or do not. */
#include "tests/cuda/sim/cusim_fixture.h"

enum { GRANULE = 2 << 20 };

static CUcontext enter_second(void) {
  CUcontext second = NULL;
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  return second;
}

static void leave_second(void) {
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(1));
}

CUSIM_TEST(no_device_is_let_in_where_none_can_be) {
  int can = 1;
  CUcontext first = NULL;
  CU(cuCtxGetCurrent(&first));
  CU(cuDeviceCanAccessPeer(&can, 0, 1));
  assert_int_equal(can, 0);
  enter_second();
  assert_int_equal(cuCtxEnablePeerAccess(first, 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
  leave_second();
}

CUSIM_TEST(a_peer_is_let_in_once_and_out_again) {
  int can = 0;
  CUcontext first = NULL;
  cusim_set_peers(1);
  CU(cuCtxGetCurrent(&first));
  CU(cuDeviceCanAccessPeer(&can, 0, 1));
  assert_int_equal(can, 1);
  CU(cuDeviceCanAccessPeer(&can, 1, 1));
  assert_int_equal(can, 0);
  const CUcontext second = enter_second();
  assert_int_equal(cuCtxEnablePeerAccess(second, 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
  assert_int_equal(cuCtxEnablePeerAccess(first, 1), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuCtxEnablePeerAccess(NULL, 0), CUDA_ERROR_INVALID_CONTEXT);
  CU(cuCtxEnablePeerAccess(first, 0));
  assert_int_equal(cuCtxEnablePeerAccess(first, 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
  CU(cuCtxDisablePeerAccess(first));
  assert_int_equal(cuCtxDisablePeerAccess(first), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
  CU(cuCtxEnablePeerAccess(first, 0));
  leave_second();
  enter_second(); /* anew */
  assert_int_equal(cuCtxDisablePeerAccess(first), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
  leave_second();
}

CUSIM_TEST(a_kernel_needs_to_be_let_in_and_a_copy_does_not) {
  CUcontext first = NULL;
  cusim_set_peers(1);
  CU(cuCtxGetCurrent(&first));
  const CUdeviceptr block = cusim_fixture_device(64);
  enter_second();
  CUstream stream = cusim_fixture_stream();
  CU(cuMemsetD8Async(block, 1, 64, stream));
  assert_int_equal(cusim_kernel_write(stream, block, 64, 7), CUDA_ERROR_INVALID_VALUE);
  CU(cuCtxEnablePeerAccess(first, 0));
  CU(cusim_kernel_write(stream, block, 64, 7));
  CU(cuStreamSynchronize(stream));
  CU(cuStreamDestroy(stream));
  leave_second();
  CU(cuMemFree(block));
}

/* Virtual memory that is open to its own device alone: no stream reaches both sides at once. */
CUSIM_TEST(a_copy_between_peers_uses_each_sides_own_access) {
  CUdeviceptr ranges[2] = {0};
  CUcontext contexts[2] = {NULL};
  unsigned char byte = 0;
  CU(cuCtxGetCurrent(&contexts[0]));
  contexts[1] = enter_second();
  for (int i = 0; i < 2; i++) {
    const CUmemAllocationProp properties = {
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = i}};
    const CUmemAccessDesc access = {.location = properties.location,
                                    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUmemGenericAllocationHandle handle = 0;
    CU(cuMemAddressReserve(&ranges[i], GRANULE, 0, 0, 0));
    CU(cuMemCreate(&handle, GRANULE, &properties, 0));
    CU(cuMemMap(ranges[i], GRANULE, 0, handle, 0));
    CU(cuMemRelease(handle));
    CU(cuMemSetAccess(ranges[i], GRANULE, &access, 1));
  }
  CUstream stream = cusim_fixture_stream();
  CU(cuMemsetD8Async(ranges[1], 0x42, GRANULE, stream));
  assert_int_equal(cuMemcpyAsync(ranges[0], ranges[1], GRANULE, stream), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemcpyPeerAsync(ranges[0], contexts[0], ranges[1], contexts[1], GRANULE, stream));
  CU(cuStreamSynchronize(stream));
  CU(cuStreamDestroy(stream));
  leave_second();
  CU(cuMemcpyDtoH(&byte, ranges[0] + GRANULE - 1, 1));
  assert_int_equal(byte, 0x42);
  for (int i = 0; i < 2; i++) {
    CU(cuMemUnmap(ranges[i], GRANULE));
    CU(cuMemAddressFree(ranges[i], GRANULE));
  }
}

int run_cusim_peer_tests(void) {
  return run_listed_tests(NULL, NULL);
}
