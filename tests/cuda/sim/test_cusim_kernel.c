/* test_cusim_kernel.c: tags that streams write and look for, and words about those not found. */
#include "tests/cuda/sim/cusim_fixture.h"

enum { BYTES = 1000 };

static void expect_wrong(const char *first, const char *second) {
  char text[512];
  assert_int_equal(cusim_value_error_count(), 1);
  assert_true(cusim_value_error_report(0, text, sizeof text) > 0);
  const char *found = strstr(text, first);
  if (found == NULL || strstr(found, second) == NULL) {
    fail_msg("no \"%s\", \"%s\" in: %s", first, second, text);
  }
  cusim_forget_value_errors();
}

CUSIM_TEST(a_tag_is_found_where_it_was_written_or_copied) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(BYTES);
  unsigned char *pinned = cusim_fixture_pinned(BYTES);
  CU(cusim_kernel_write(stream, block, BYTES, 7));
  CU(cusim_kernel_check(stream, block, BYTES, 7));
  CU(cuMemcpyDtoHAsync(pinned, block, BYTES, stream));
  CU(cusim_kernel_check(stream, at(pinned), BYTES, 7));
  CU(cusim_kernel_check(stream, block, 13, 7)); /* the first bytes are the pattern's first */
  CU(cuStreamSynchronize(stream));
  for (size_t i = 0; i < BYTES; i++) assert_int_equal(pinned[i], cusim_tag_byte(7, i));
  assert_int_equal(cusim_value_error_count(), 0);
  CU(cuMemFree(block));
  CU(cuMemFreeHost(pinned));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(a_check_runs_in_stream_order_not_when_it_is_enqueued) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(BYTES);
  CU(cusim_kernel_write(stream, block, BYTES, 1));
  CU(cusim_kernel_check(stream, block, BYTES, 2));
  assert_int_equal(cusim_value_error_count(), 0);
  CU(cuStreamSynchronize(stream));
  expect_wrong("of tag 2", "what is there was written by call");
  CU(cuMemFree(block));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(the_first_wrong_byte_and_its_writer_are_named) {
  CUstream stream = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(BYTES);
  CU(cusim_kernel_check(stream, block, BYTES, 3));
  CU(cuStreamSynchronize(stream));
  expect_wrong("byte 0 of the 1000", "fresh memory");
  CU(cusim_kernel_write(stream, block, BYTES, 3));
  CU(cusim_kernel_write(stream, block + 501, 9, 4));
  CU(cusim_kernel_check(stream, block, BYTES, 3));
  CU(cuStreamSynchronize(stream));
  expect_wrong("byte 501 of the 1000", "with tag 4");
  CU(cusim_kernel_write(stream, block, BYTES, 3));
  CU(cuMemsetD8Async(block + 999, (unsigned char)~cusim_tag_byte(3, 999), 1, stream));
  CU(cusim_kernel_check(stream, block, BYTES, 3));
  CU(cuStreamSynchronize(stream));
  expect_wrong("byte 999 of the 1000", "of tag 3, written by call");
  CU(cuMemFree(block));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(kernels_race_as_copies_do) {
  CUstream writer = cusim_fixture_stream(), reader = cusim_fixture_stream();
  const CUdeviceptr block = cusim_fixture_device(BYTES);
  CU(cusim_kernel_write(writer, block, BYTES, 1));
  CU(cusim_kernel_check(reader, block + 100, 10, 1));
  cusim_expect_race("cusim_kernel_check", "reads bytes 100 to 109", "cusim_kernel_write");
  CU(cuCtxSynchronize());
  cusim_forget_value_errors();
  CU(cuMemFree(block));
  CU(cuStreamDestroy(writer));
  CU(cuStreamDestroy(reader));
}

CUSIM_TEST(kernels_are_refused_as_fills_are) {
  const CUdeviceptr block = cusim_fixture_device(BYTES);
  assert_int_equal(cusim_kernel_write(NULL, block + 1, BYTES, 1), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cusim_kernel_check(NULL, at(&block), 1, 1), CUDA_ERROR_INVALID_VALUE);
  cusim_fail_call("cusim_kernel_write", 1, CUDA_ERROR_LAUNCH_FAILED);
  assert_int_equal(cusim_kernel_write(NULL, block, 1, 1), CUDA_ERROR_LAUNCH_FAILED);
  CU(cuMemFree(block));
}

int run_cusim_kernel_tests(void) {
  return run_listed_tests(NULL, NULL);
}
