/* test_base.c: sizes that do not fit, devices, NULL, and the end that a broken belief makes. */
#include "tests/support/test.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/tarn_base.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pool_trace.h"
#include "alloc/tarn_capture.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_storage.h"

TEST(sizes_that_do_not_fit_are_told) {
  size_t size = 0;
  assert_true(tarn_size_add(SIZE_MAX - 1, 1, &size));
  assert_true(size == SIZE_MAX);
  assert_false(tarn_size_add(SIZE_MAX, 1, &size));
  assert_true(tarn_size_mul(SIZE_MAX / 2, 2, &size));
  assert_true(size == SIZE_MAX - 1);
  assert_false(tarn_size_mul(SIZE_MAX / 2 + 1, 2, &size));
  int64_t count = 0;
  assert_false(tarn_int64_add(INT64_MAX, 1, &count));
  assert_false(tarn_int64_add(INT64_MIN, -1, &count));
  assert_false(tarn_int64_mul(INT64_MIN, -1, &count));
  assert_true(tarn_int64_mul(INT64_MAX, -1, &count));
  assert_true(count == -INT64_MAX);
}

TEST(rounding_up_reaches_the_last_multiple_and_no_further) {
  size_t size = 1;
  assert_true(tarn_size_round_up(0, 256, &size));
  assert_true(size == 0);
  assert_true(tarn_size_round_up(257, 256, &size));
  assert_true(size == 512);
  assert_true(tarn_size_round_up(SIZE_MAX - 255, 256, &size));
  assert_true(size == SIZE_MAX - 255);
  assert_false(tarn_size_round_up(SIZE_MAX - 254, 256, &size));
}

TEST(powers_of_two_are_told_from_the_rest) {
  assert_false(tarn_is_power_of_two(0));
  assert_true(tarn_is_power_of_two(1));
  assert_false(tarn_is_power_of_two(3));
  assert_true(tarn_is_power_of_two((SIZE_MAX >> 1) + 1));
  assert_false(tarn_is_power_of_two(SIZE_MAX));
}

TEST(devices_are_equal_by_type_and_index) {
  const tarn_device gpu = tarn_device_make(TARN_DEVICE_CUDA, 1);
  assert_true(tarn_device_equal(gpu, tarn_device_make(TARN_DEVICE_CUDA, 1)));
  assert_false(tarn_device_equal(gpu, tarn_device_make(TARN_DEVICE_CUDA, 0)));
  assert_false(tarn_device_equal(gpu, tarn_device_make(TARN_DEVICE_CPU, 1)));
  assert_false(tarn_device_is_host(gpu));
  assert_true(tarn_device_is_host(tarn_device_make(TARN_DEVICE_CPU, 0)));
  assert_true(tarn_device_is_host(tarn_device_make(TARN_DEVICE_CUDA_HOST, 0)));
  assert_true(tarn_device_is_host(tarn_device_make(TARN_DEVICE_CUDA_MANAGED, 0)));
}

TEST(a_broken_belief_names_its_place_and_ends_the_process) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGABRT, SIG_DFL);
    dup2(ends[1], STDERR_FILENO);
    tarn_assert_failed("water is dry", "lake.c", 7);
    _exit(0);
  }
  close(ends[1]);
  char said[256] = "";
  const ssize_t said_bytes = read(ends[0], said, sizeof said - 1);
  close(ends[0]);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(said_bytes > 0);
  assert_non_null(strstr(said, "lake.c:7: "));
  assert_non_null(strstr(said, "water is dry"));
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGABRT);
}

TEST(release_and_destroy_take_null) {
  tarn_provider_release(NULL);
  tarn_pool_release(NULL);
  tarn_budget_release(NULL);
  tarn_storage_release(NULL);
  tarn_storage_weak_release(NULL);
  tarn_stream_release(NULL);
  tarn_fence_destroy(NULL);
  assert_ok(tarn_capture_destroy(NULL));
}

/* One call of each header: what has a status to say so with, refuses what is not there. */
TEST(calls_with_a_status_refuse_null) {
  void *block = NULL;
  tarn_storage *storage = NULL;
  tarn_capture *capture = NULL;
  assert_status(tarn_provider_alloc(NULL, 4096, &block), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_alloc(NULL, 1, NULL, &block), TARN_INVALID_ARGUMENT);
  assert_status(tarn_caching_pool_reserve(NULL, 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_trace_stop(NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_budget_charge(NULL, 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_create(NULL, 1, NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_note_use(NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_fence_query(NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_begin(NULL, &capture), TARN_INVALID_ARGUMENT);
  assert_status(tarn_capture_end(NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_worker_stream_create(NULL), TARN_INVALID_ARGUMENT);
}

/* For streams NULL is one of them: now, on the CPU. */
TEST(null_is_a_stream) {
  tarn_stream_retain(NULL);
  tarn_stream_release(NULL);
  assert_string_equal(tarn_stream_name(NULL), "now");
  assert_true(tarn_stream_is_synchronous(NULL));
  assert_true(tarn_device_equal(tarn_stream_device(NULL), tarn_device_make(TARN_DEVICE_CPU, 0)));
  assert_int_equal(tarn_stream_number(NULL), 0);
  assert_ok(tarn_stream_synchronize(NULL));
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
