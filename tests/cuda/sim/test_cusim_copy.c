/* test_cusim_copy.c: simulated copies: what is refused, staged, waited for, and left under way. */
#include "tests/cuda/sim/cusim_fixture.h"

CUSIM_TEST(copies_past_an_allocation_are_refused) {
  const CUdeviceptr block = cusim_fixture_device(1000);
  unsigned char *pinned = cusim_fixture_pinned(1000);
  const CUresult refused = CUDA_ERROR_INVALID_VALUE;
  assert_int_equal(cuMemcpyAsync(block, at(pinned), 1001, NULL), refused);
  assert_int_equal(cuMemcpyAsync(block + 1, at(pinned), 1000, NULL), refused);
  assert_int_equal(cuMemcpyAsync(block - 1, at(pinned), 10, NULL), refused);
  assert_int_equal(cuMemcpyAsync(block + 1000, at(pinned), 1, NULL), refused);
  assert_int_equal(cuMemcpyAsync(0, at(pinned), 1, NULL), refused);
  assert_int_equal(cuMemcpyAsync(block, at(pinned), SIZE_MAX, NULL), refused);
  assert_int_equal(cuMemsetD8Async(block, 0, 1001, NULL), refused);
  assert_int_equal(cuMemsetD8Async(at(&refused), 0, 1, NULL), refused); /* pageable */
  assert_int_equal(cuMemcpyHtoDAsync(block, (void *)(uintptr_t)block, 1, NULL), refused);
  assert_int_equal(cuMemcpyDtoHAsync((void *)(uintptr_t)block, block, 1, NULL), refused);
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  CU(cuMemcpyAsync(0, 0, 0, NULL));
  CU(cuMemFree(block));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(pageable_bytes_are_read_before_the_call_returns) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(64);
  unsigned char *pinned = cusim_fixture_pinned(64);
  const cusim_policy policies[] = {CUSIM_LAZY, CUSIM_EAGER, CUSIM_RANDOM};
  for (int i = 0; i < 30; i++) {
    unsigned char bytes[64];
    cusim_set_policy(policies[i % 3]);
    memset(bytes, i, sizeof bytes);
    CU(cuMemcpyHtoDAsync(block, bytes, 64, stream));
    memset(bytes, 0xFF, sizeof bytes);
    CU(cuMemcpyDtoHAsync(pinned, block, 64, stream));
    CU(cuStreamSynchronize(stream));
    for (int k = 0; k < 64; k++) assert_int_equal(pinned[k], i);
  }
  CU(cuMemFree(block));
  CU(cuMemFreeHost(pinned));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(random_stages_or_waits) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(64);
  unsigned char bytes[64] = {0};
  cusim_set_policy(CUSIM_RANDOM);
  int waited = 0, left = 0;
  for (int i = 0; i < 200; i++) {
    CU(cuMemsetD8Async(block, 1, 64, stream));
    CU(cuMemsetD8Async(block, 2, 64, stream));
    CU(cuMemcpyHtoDAsync(block, bytes, 64, stream));
    if (cusim_fixture_counts().pending_operations == 0) {
      waited++;
    } else {
      left++;
    }
    CU(cuStreamSynchronize(stream));
  }
  assert_true(waited > 20 && left > 20);
  CU(cuMemFree(block));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(a_copy_to_pageable_memory_is_done_on_return) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(64);
  unsigned char bytes[64] = {0}, again[64] = {0};
  CU(cuMemsetD8Async(block, 5, 64, stream));
  CU(cuMemcpyDtoHAsync(bytes, block, 64, stream));
  for (int i = 0; i < 64; i++) assert_int_equal(bytes[i], 5);
  CU(cuMemcpyAsync(at(again), at(bytes), 64, stream)); /* between host addresses, too */
  assert_memory_equal(again, bytes, 64);
  CU(cuMemFree(block));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(page_locked_copies_are_left_under_way) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(64);
  unsigned char *source = cusim_fixture_pinned(64), *result = cusim_fixture_pinned(64);
  memset(source, 1, 64);
  CU(cuMemcpyHtoDAsync(block, source, 64, stream));
  CU(cuMemcpyDtoHAsync(result, block, 64, stream));
  assert_int_equal(result[0], 0xCD);
  memset(source, 2, 64); /* too early, and it shows */
  CU(cuStreamSynchronize(stream));
  assert_int_equal(result[0], 2);
  CU(cuMemFree(block));
  CU(cuMemFreeHost(source));
  CU(cuMemFreeHost(result));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(rectangles_have_corners_and_pitches) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(100);
  unsigned char source[100], result[100] = {0};
  for (unsigned char i = 0; i < 100; i++) source[i] = i;
  CUDA_MEMCPY2D copy = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = source,
                        .srcPitch = 10,
                        .srcXInBytes = 3,
                        .srcY = 2,
                        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                        .dstDevice = block,
                        .dstPitch = 5,
                        .WidthInBytes = 4,
                        .Height = 6};
  CU(cuMemcpy2DAsync(&copy, stream));
  const CUDA_MEMCPY2D back = {.srcMemoryType = CU_MEMORYTYPE_UNIFIED,
                              .srcDevice = block,
                              .srcPitch = 5,
                              .dstMemoryType = CU_MEMORYTYPE_UNIFIED,
                              .dstDevice = at(result),
                              .dstPitch = 4,
                              .WidthInBytes = 4,
                              .Height = 6};
  CU(cuMemcpy2DAsync(&back, stream));
  for (int row = 0; row < 6; row++) {
    assert_memory_equal(result + row * 4, source + (row + 2) * 10 + 3, 4);
  }
  copy.dstPitch = 3; /* narrower than a row */
  assert_int_equal(cuMemcpy2DAsync(&copy, stream), CUDA_ERROR_INVALID_VALUE);
  copy.dstPitch = 20; /* the last row ends at 104 */
  assert_int_equal(cuMemcpy2DAsync(&copy, stream), CUDA_ERROR_INVALID_VALUE);
  copy.dstPitch = (size_t)1 << 31;
  copy.Height = 1;
  assert_int_equal(cuMemcpy2DAsync(&copy, stream), CUDA_ERROR_INVALID_VALUE);
  copy.dstPitch = 5;
  copy.dstDevice = at(result); /* pageable is no device memory */
  assert_int_equal(cuMemcpy2DAsync(&copy, stream), CUDA_ERROR_INVALID_VALUE);
  copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
  assert_int_equal(cuMemcpy2DAsync(&copy, stream), CUDA_ERROR_NOT_SUPPORTED);
  CU(cuStreamSynchronize(stream));
  CU(cuMemFree(block));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(copies_reach_across_devices) {
  CUcontext second = NULL;
  CUdeviceptr there = 0;
  const CUdeviceptr here = cusim_fixture_device(64);
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  CU(cuMemAlloc(&there, 64));
  CU(cuCtxPopCurrent(NULL));
  unsigned char bytes[64], back[64] = {0};
  memset(bytes, 9, sizeof bytes);
  CU(cuMemcpyHtoD(here, bytes, 64));
  CU(cuMemcpyDtoDAsync(there, here, 64, NULL));
  CU(cuMemcpyDtoH(back, there, 64));
  assert_memory_equal(back, bytes, 64);
  CU(cuMemFree(there));
  CU(cuMemFree(here));
  CU(cuDevicePrimaryCtxRelease(1));
}

CUSIM_TEST(boxes_keep_what_lies_around_them) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(64);
  CUdeviceptr device = cusim_fixture_device(2 * 3 * 8);
  for (int i = 0; i < 32; i++) pinned[i] = (unsigned char)i;
  memset(pinned + 32, 0, 32);
  /* Two planes of two rows of three bytes, from rows of 4 and planes of 4 rows. */
  CUDA_MEMCPY3D box = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                       .srcHost = pinned,
                       .srcXInBytes = 1,
                       .srcY = 1,
                       .srcPitch = 4,
                       .srcHeight = 4,
                       .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                       .dstDevice = device,
                       .dstPitch = 8,
                       .dstHeight = 3,
                       .WidthInBytes = 3,
                       .Height = 2,
                       .Depth = 2};
  CU(cuMemcpy3DAsync(&box, stream));
  CUDA_MEMCPY3D back = {.srcMemoryType = CU_MEMORYTYPE_UNIFIED,
                        .srcDevice = device,
                        .srcPitch = 8,
                        .srcHeight = 3,
                        .dstMemoryType = CU_MEMORYTYPE_HOST,
                        .dstHost = pinned + 32,
                        .dstPitch = 3,
                        .dstHeight = 2,
                        .WidthInBytes = 3,
                        .Height = 2,
                        .Depth = 2};
  CU(cuMemcpy3DAsync(&back, stream));
  CU(cuStreamSynchronize(stream));
  assert_memory_equal(pinned + 32, "\5\6\7\11\12\13\25\26\27\31\32\33\0", 13);
  box.dstHeight = 1; /* planes would overlap */
  assert_int_equal(cuMemcpy3DAsync(&box, stream), CUDA_ERROR_INVALID_VALUE);
  box.dstHeight = 3, box.dstZ = 1;
  assert_int_equal(cuMemcpy3DAsync(&box, stream), CUDA_ERROR_INVALID_VALUE);
  box.dstZ = 0, box.srcLOD = 1;
  assert_int_equal(cuMemcpy3DAsync(&box, stream), CUDA_ERROR_INVALID_VALUE);
  box.srcLOD = 0, box.srcMemoryType = CU_MEMORYTYPE_ARRAY;
  assert_int_equal(cuMemcpy3DAsync(&box, stream), CUDA_ERROR_NOT_SUPPORTED);
  assert_int_equal(cuMemcpy3DAsync(NULL, stream), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemFree(device));
  CU(cuMemFreeHost(pinned));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(a_pageable_box_is_read_when_the_call_is_made) {
  CUstream stream = cusim_fixture_stream();
  CUdeviceptr device = cusim_fixture_device(8);
  unsigned char *pinned = cusim_fixture_pinned(8);
  char pageable[16] = "ab..cd..ef..gh..";
  CUDA_MEMCPY3D box = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                       .srcHost = pageable,
                       .srcPitch = 4,
                       .srcHeight = 2,
                       .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                       .dstDevice = device,
                       .dstPitch = 2,
                       .dstHeight = 2,
                       .WidthInBytes = 2,
                       .Height = 2,
                       .Depth = 2};
  CU(cuMemcpy3DAsync(&box, stream));
  memset(pageable, 'x', sizeof pageable);
  CU(cuMemcpyAsync(at(pinned), device, 8, stream));
  CU(cuStreamSynchronize(stream));
  assert_memory_equal(pinned, "abcdefgh", 8);
  CU(cuMemFree(device));
  CU(cuMemFreeHost(pinned));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(a_batch_copies_all_or_refuses_all) {
  CUstream stream = cusim_fixture_stream();
  CUdeviceptr device = cusim_fixture_device(8);
  unsigned char *pinned = cusim_fixture_pinned(8);
  memcpy(pinned, "12345678", 8);
  CUdeviceptr to[] = {device + 4, device}, from[] = {at(pinned), at(pinned) + 4};
  size_t sizes[] = {4, 4}, starts[] = {0, 1};
  CUmemcpyAttributes orders[] = {{.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM},
                                 {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL}};
  CU(cuMemcpyBatchAsync(to, from, sizes, 2, orders, starts, 2, stream));
  memset(pinned + 4, 'x', 4); /* the second source was read in the call */
  CU(cuMemcpyAsync(at(pinned), device, 8, stream));
  CU(cuStreamSynchronize(stream));
  assert_memory_equal(pinned, "56781234", 8);
  sizes[1] = 5;
  assert_int_equal(cuMemcpyBatchAsync(to, from, sizes, 2, orders, starts, 2, stream),
                   CUDA_ERROR_INVALID_VALUE);
  sizes[1] = 4, orders[1].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
  assert_int_equal(cuMemcpyBatchAsync(to, from, sizes, 2, orders, starts, 2, stream),
                   CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemcpyBatchAsync(to, from, sizes, 2, orders, starts, 1, NULL),
                   CUDA_ERROR_INVALID_VALUE); /* never on the legacy stream */
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  CU(cuMemFree(device));
  CU(cuMemFreeHost(pinned));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(a_copy_between_contexts_needs_both) {
  CUcontext second = NULL;
  CUstream stream = cusim_fixture_stream();
  CUdeviceptr here = cusim_fixture_device(4), there = 0;
  unsigned char *pinned = cusim_fixture_pinned(4);
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  CU(cuMemAlloc(&there, 4));
  CU(cuMemsetD8(there, 6, 4));
  CU(cuStreamSynchronize(NULL));
  CU(cuCtxPopCurrent(NULL));
  CU(cuMemcpyPeerAsync(here, *state, there, second, 4, stream));
  CU(cuMemcpyAsync(at(pinned), here, 4, stream));
  CU(cuStreamSynchronize(stream));
  assert_memory_equal(pinned, "\6\6\6\6", 4);
  CU(cuMemFree(there));
  CU(cuDevicePrimaryCtxRelease(1));
  assert_int_equal(cuMemcpyPeerAsync(here, *state, here, second, 1, stream),
                   CUDA_ERROR_INVALID_CONTEXT);
  CU(cuMemFree(here));
  CU(cuMemFreeHost(pinned));
  CU(cuStreamDestroy(stream));
}

int run_cusim_copy_tests(void) {
  return run_listed_tests(NULL, NULL);
}
