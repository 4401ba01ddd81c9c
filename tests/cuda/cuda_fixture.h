/* cuda_fixture.h: the driver under test, and small steps that many tests of cuda/ share. */
#ifndef TARN_CUDA_FIXTURE_H
#define TARN_CUDA_FIXTURE_H

#include "cuda/cuda_device.h"
#include "cuda/sim/cusim.h"
#include "cuda/tarn_cuda.h"

#include <semaphore.h>
#include <string.h>

#include "tests/support/test.h"

/* The functions of cusim.h that tests use, found in the library: the program links no driver. */
#define FIXTURE_SIM(X)   \
  X(get_policy)          \
  X(policy_name)         \
  X(get_seed)            \
  X(set_capacity)        \
  X(set_pinned_capacity) \
  X(fail_call)           \
  X(fail_nothing)        \
  X(failures)            \
  X(failed_call)         \
  X(break_context)       \
  X(hide)                \
  X(calls)               \
  X(fault)               \
  X(get_counts)

typedef struct fixture_sim {
#define FIXTURE_SIM_MEMBER(name) __typeof__(cusim_##name) *name;
  FIXTURE_SIM(FIXTURE_SIM_MEMBER)
#undef FIXTURE_SIM_MEMBER
} fixture_sim;

/* Picks the driver: `path`, else the environment's TARN_TEST_DRIVER, else the machine's own where
 * it has a device, else the simulated one. Prints which. */
void fixture_choose_driver(const char *path);

/* Opens the driver under test. */
tarn_cuda *fixture_open(void);
/* A function that the driver's library exports; the test fails where it does not. */
void *fixture_driver_function(const char *name);
/* NULL where the driver under test is a real one. */
const fixture_sim *fixture_sim_control(void);

#define FIXTURE_NEEDS_SIM()                                                  \
  do {                                                                       \
    if (fixture_sim_control() == NULL) {                                     \
      print_message("skipped: only the simulated driver fails on demand\n"); \
      skip();                                                                \
    }                                                                        \
  } while (0)

/* Fails the test with the last error's words. */
void fixture_check(tarn_status status, const char *file, int line);
#define OK(call) fixture_check((call), __FILE__, __LINE__)

/* Setup and teardown of a group whose state is a tarn_cuda. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Blocks of memory of either kind, taken straight from a provider. */
typedef struct fixture_block {
  tarn_provider *provider;
  unsigned char *address;
  size_t size_bytes;
  tarn_device device;
} fixture_block;

fixture_block fixture_device_block(tarn_cuda *cuda, size_t size_bytes);
fixture_block fixture_pinned_block(tarn_cuda *cuda, size_t size_bytes);
void fixture_free(fixture_block *block);

tarn_stream *fixture_stream(tarn_cuda *cuda);
/* Enqueues a copy of the blocks' first size_bytes. */
void fixture_copy(tarn_stream *stream, const fixture_block *dst, const fixture_block *src,
                  size_t size_bytes);

/* The driver's own pool on the first device; skips the test where the driver has none. */
tarn_pool *fixture_driver_pool(tarn_cuda *cuda, const tarn_cuda_driver_pool_options *options);

/* What the simulated driver counts. */
cusim_counts counts_now(void);

/* A stream is held at a gate until somebody opens it. */
typedef struct fixture_gate {
  sem_t opened;
} fixture_gate;

void fixture_hold(tarn_stream *stream, fixture_gate *gate);
void fixture_let_go(fixture_gate *gate);

int run_driver_tests(void);
int run_cuda_device_tests(void);
int run_cuda_stream_tests(void);
int run_cuda_copy_tests(void);
int run_cuda_order_tests(void);
int run_cuda_capture_tests(void);
int run_cuda_graph_tests(void);
int run_cuda_pause_tests(void);
int run_cuda_failure_tests(void);
int run_device_provider_tests(void);
int run_virtual_provider_tests(void);
int run_virtual_move_tests(void);
int run_driver_pool_tests(void);
int run_driver_pool_tell_tests(void);
int run_driver_pool_capture_tests(void);
int run_pinned_tests(void);
int run_pinned_pool_tests(void);
int run_pin_tests(void);
int run_pointer_tests(void);

#endif
