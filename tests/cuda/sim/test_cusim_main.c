/* test_cusim_main.c: runs every group of tests of the simulated driver. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <stdio.h>
#include <stdlib.h>

int main(void) {
  char number[32];
  setvbuf(stdout, NULL, _IOLBF, 0);
  snprintf(number, sizeof number, "%d", CUSIM_TEST_DEVICES);
  setenv("CUSIM_DEVICES", number, 1);
  snprintf(number, sizeof number, "%d", CUSIM_TEST_SEED);
  setenv("CUSIM_SEED", number, 1);
  snprintf(number, sizeof number, "%d", CUSIM_TEST_CAPACITY);
  setenv("CUSIM_CAPACITY", number, 1);
  setenv("CUSIM_POLICY", "eager", 1);
  int failed = run_cusim_boot_tests(); /* first: it sees the driver before and at its start */
  failed += run_cusim_schedule_tests();
  failed += run_cusim_adversary_tests();
  failed += run_cusim_host_tests();
  failed += run_cusim_stream_tests();
  failed += run_cusim_event_tests();
  failed += run_cusim_memory_tests();
  failed += run_cusim_virtual_tests();
  failed += run_cusim_peer_tests();
  failed += run_cusim_pool_tests();
  failed += run_cusim_copy_tests();
  failed += run_cusim_control_tests();
  failed += run_cusim_fill_tests();
  failed += run_cusim_value_tests();
  failed += run_cusim_per_thread_tests();
  failed += run_cusim_call_tests();
  failed += run_cusim_capture_tests();
  failed += run_cusim_graph_tests();
  failed += run_cusim_race_tests();
  failed += run_cusim_kernel_tests();
  failed += run_cusim_race_host_tests();
  failed += run_cusim_module_tests();
  return failed != 0;
}
