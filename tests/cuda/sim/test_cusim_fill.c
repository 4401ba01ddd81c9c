/* test_cusim_fill.c: fills of simulated memory: widths, rows, what is refused, who waits. */
#include "tests/cuda/sim/cusim_fixture.h"

CUSIM_TEST(values_of_one_two_and_four_bytes_fill_so_many_elements) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(16);
  memset(pinned, 0, 16);
  CU(cuMemsetD8Async(at(pinned), 0x11, 1, stream));
  CU(cuMemsetD16Async(at(pinned) + 2, 0x2322, 2, stream));
  CU(cuMemsetD32Async(at(pinned) + 8, 0x37363534, 1, stream));
  CU(cuStreamSynchronize(stream));
  assert_memory_equal(pinned, "\x11\0\x22\x23\x22\x23\0\0\x34\x35\x36\x37\0\0\0\0", 16);
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(rows_keep_what_lies_between_them) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(24);
  memset(pinned, '.', 24);
  CU(cuMemsetD2D8Async(at(pinned), 8, 'a', 3, 2, stream));
  CU(cuMemsetD2D16Async(at(pinned) + 4, 8, 0x6262, 1, 2, stream));
  CU(cuMemsetD2D32Async(at(pinned) + 16, 8, 0x63636363, 1, 1, stream));
  CU(cuStreamSynchronize(stream));
  assert_memory_equal(pinned, "aaa.bb..aaa.bb..cccc....", 24);
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(fills_off_their_alignment_or_out_of_bounds_are_refused) {
  CUstream stream = cusim_fixture_stream();
  CUdeviceptr device = cusim_fixture_device(64);
  char pageable[64];
  assert_int_equal(cuMemsetD16Async(device + 1, 0, 1, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD32Async(device + 2, 0, 1, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD32Async(device, 0, 17, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD32Async(device, 0, SIZE_MAX / 2, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD2D8Async(device, 7, 0, 8, 2, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD2D32Async(device, 6, 0, 1, 2, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD2D8Async(device, 32, 0, 32, 3, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuMemsetD8(at(pageable), 0, 1), CUDA_ERROR_INVALID_VALUE);
  CU(cuMemsetD2D16Async(device, 0, 0, 0, 5, stream));
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  CU(cuMemFree(device));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(a_blocking_fill_waits_for_pinned_memory_only) {
  unsigned char *pinned = cusim_fixture_pinned(4);
  CUdeviceptr device = cusim_fixture_device(4);
  CU(cuMemsetD8(device, 7, 4));
  assert_int_equal(cusim_fixture_counts().pending_operations, 1);
  CU(cuMemsetD8(at(pinned), 8, 4));
  assert_memory_equal(pinned, "\x8\x8\x8\x8", 4);
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  CU(cuMemFree(device));
  CU(cuMemFreeHost(pinned));
}

int run_cusim_fill_tests(void) {
  return run_listed_tests(NULL, NULL);
}
