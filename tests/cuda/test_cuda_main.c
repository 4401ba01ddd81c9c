/* test_cuda_main.c: runs every group of tests on one driver: test_cuda [path of a libcuda.so.1]. */
#include "tests/cuda/cuda_fixture.h"

#include <stdio.h>

int main(int argument_count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  fixture_choose_driver(argument_count > 1 ? arguments[1] : NULL);
  int failed = 0;
  failed += run_driver_tests();
  failed += run_cuda_device_tests();
  failed += run_cuda_stream_tests();
  failed += run_cuda_copy_tests();
  failed += run_cuda_order_tests();
  failed += run_cuda_capture_tests();
  failed += run_cuda_graph_tests();
  failed += run_device_provider_tests();
  failed += run_virtual_provider_tests();
  failed += run_virtual_move_tests();
  failed += run_driver_pool_tests();
  failed += run_driver_pool_tell_tests();
  failed += run_driver_pool_capture_tests();
  failed += run_pinned_tests();
  failed += run_pinned_pool_tests();
  failed += run_pin_tests();
  failed += run_pointer_tests();
  failed += run_cuda_pause_tests();
  failed += run_cuda_failure_tests();
  return failed != 0;
}
