/* cusim_fixture.h: what the tests of the simulated driver share. */
#ifndef TARN_CUSIM_FIXTURE_H
#define TARN_CUSIM_FIXTURE_H

#include "cuda/sim/cusim.h"

#include <cuda.h>
#include <stdbool.h>
#include <string.h>

#include "tests/support/test.h"

#define CU(call) assert_int_equal((call), CUDA_SUCCESS)

/* What cusim_setup finds in the environment; test_cusim_main.c puts it there. */
enum { CUSIM_TEST_DEVICES = 2, CUSIM_TEST_SEED = 77, CUSIM_TEST_CAPACITY = 256 << 20 };

/* Before each test: the first device's context is current, the seed is 1, the policy lazy, nothing
 * runs by itself. After: all of it gone, nothing of the test alive, no context broken. */
int cusim_setup(void **state);
int cusim_teardown(void **state);
#define CUSIM_TEST(name) TEST_WITH(name, cusim_setup, cusim_teardown)

/* What is abandoned by now is the test's own doing. */
void cusim_fixture_forgive(void);
/* Races since the last of these. cusim_teardown wants none left. */
void cusim_expect_no_race(void);
void cusim_expect_races(uint64_t count);
/* One, whose report has these words in this order. */
void cusim_expect_race(const char *later, const char *earlier, const char *reason);

cusim_counts cusim_fixture_counts(void);
CUstream cusim_fixture_stream(void); /* non-blocking */
CUevent cusim_fixture_event(void);
unsigned char *cusim_fixture_pinned(size_t size_bytes);
CUdeviceptr cusim_fixture_device(size_t size_bytes);

/* The address as a copy takes it. */
static inline CUdeviceptr at(const void *address) {
  return (CUdeviceptr)(uintptr_t)address;
}

int run_cusim_boot_tests(void);
int run_cusim_schedule_tests(void);
int run_cusim_adversary_tests(void);
int run_cusim_host_tests(void);
int run_cusim_stream_tests(void);
int run_cusim_event_tests(void);
int run_cusim_memory_tests(void);
int run_cusim_virtual_tests(void);
int run_cusim_peer_tests(void);
int run_cusim_pool_tests(void);
int run_cusim_copy_tests(void);
int run_cusim_control_tests(void);
int run_cusim_fill_tests(void);
int run_cusim_value_tests(void);
int run_cusim_per_thread_tests(void);
int run_cusim_call_tests(void);
int run_cusim_capture_tests(void);
int run_cusim_graph_tests(void);
int run_cusim_race_tests(void);
int run_cusim_kernel_tests(void);
int run_cusim_race_host_tests(void);
int run_cusim_module_tests(void);

#endif
