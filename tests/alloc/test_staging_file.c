/* test_staging_file.c: files through the slots of a ring, and files that fail in the middle. */
#include "tests/support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "alloc/tarn_capture.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_staging_file.h"
#include "tests/support/manual_stream.h"

enum { SLOT_BYTES = 4096, SLOTS = 3, BYTES = 50000, START = 100 };

static const tarn_device far = {TARN_DEVICE_CUDA, 0};
static tarn_staging *ring;
static tarn_stream *stream;
static char numbers[BYTES], device[BYTES];
static int file;

static int start(void **state) {
  (void)state;
  static _Alignas(4096) char slots[SLOTS * SLOT_BYTES];
  char name[] = "/tmp/tarn_staging_XXXXXX";
  tarn_provider *provider;
  const tarn_fixed_options fixed = {.struct_size = sizeof fixed,
                                    .device = {TARN_DEVICE_CUDA_HOST, 0}};
  assert_ok(tarn_fixed_provider_create(slots, sizeof slots, &fixed, &provider));
  const tarn_staging_options options = {
      .struct_size = sizeof options, .slot_bytes = SLOT_BYTES, .slot_count = SLOTS};
  assert_ok(tarn_staging_create(provider, &options, &ring));
  tarn_provider_release(provider);
  assert_ok(manual_stream_create_on(far, &stream));
  file = mkstemp(name);
  assert_true(file >= 0);
  unlink(name);
  for (int i = 0; i < BYTES; i++) numbers[i] = (char)(i * 3 + i / 256);
  memset(device, 0, sizeof device);
  return 0;
}

static size_t held_count(void) {
  tarn_staging_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_staging_stats_of(ring, &stats));
  return stats.held_count;
}

static int stop(void **state) {
  (void)state;
  close(file);
  tarn_stream_release(stream);
  assert_int_equal(held_count(), 0);
  tarn_staging_release(ring);
  return 0;
}

TEST_WITH(bytes_of_a_file_arrive_in_the_streams_order, start, stop) {
  assert_int_equal(pwrite(file, numbers, BYTES, START), BYTES);
  assert_ok(tarn_stream_fill(stream, device, far, 1, BYTES)); /* comes before */
  assert_ok(tarn_staging_load(ring, stream, file, START, device, far, BYTES - 1));
  assert_int_equal(ftruncate(file, 0), 0); /* it has been read */
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(device, numbers, BYTES - 1);
  assert_int_equal(device[BYTES - 1], 1);
}

TEST_WITH(bytes_of_a_device_are_in_the_file_on_return, start, stop) {
  static char seen[BYTES];
  memcpy(device, numbers, BYTES);
  assert_ok(tarn_stream_fill(stream, device + 7, far, 1, 1000)); /* comes before */
  assert_ok(tarn_staging_store(ring, stream, file, START, device, far, BYTES));
  memset(numbers + 7, 1, 1000);
  assert_int_equal(pread(file, seen, BYTES, START), BYTES);
  assert_memory_equal(seen, numbers, BYTES);
  assert_int_equal(lseek(file, 0, SEEK_END), START + BYTES);
}

TEST_WITH(slots_in_other_hands_do_not_stop_a_file, start, stop) {
  static char seen[BYTES];
  tarn_staging_slot held[SLOTS - 1];
  memcpy(device, numbers, BYTES);
  for (int i = 0; i < SLOTS - 1; i++) assert_ok(tarn_staging_acquire(ring, 0, &held[i]));
  assert_ok(tarn_staging_store(ring, stream, file, 0, device, far, BYTES));
  assert_int_equal(pread(file, seen, BYTES, 0), BYTES);
  assert_memory_equal(seen, numbers, BYTES);
  memset(device, 0, BYTES);
  assert_ok(tarn_staging_load(ring, stream, file, 0, device, far, BYTES));
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(device, numbers, BYTES);
  for (int i = 0; i < SLOTS - 1; i++) tarn_staging_give_back(&held[i]);
}

TEST_WITH(a_file_that_ends_early_is_malformed, start, stop) {
  assert_int_equal(pwrite(file, numbers, 20000, 0), 20000);
  assert_status(tarn_staging_load(ring, stream, file, 0, device, far, BYTES), TARN_BAD_FORMAT);
  assert_non_null(strstr(tarn_last_error()->message, "20000"));
  assert_int_equal(held_count(), 0);
}

TEST_WITH(a_disk_that_is_full_in_the_middle_is_a_system_error, start, stop) {
  struct rlimit old, little;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  little = (struct rlimit){.rlim_cur = 20000, .rlim_max = old.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
  const tarn_status status = tarn_staging_store(ring, stream, file, 0, device, far, BYTES);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, SIG_DFL);
  assert_status(status, TARN_SYSTEM_ERROR);
  assert_string_equal(tarn_last_error()->native_call, "pwrite");
  assert_int_equal(held_count(), 0);
}

TEST_WITH(what_is_no_file_is_a_system_error, start, stop) {
  assert_status(tarn_staging_load(ring, stream, -1, 0, device, far, 10), TARN_SYSTEM_ERROR);
  assert_status(tarn_staging_store(ring, stream, -1, 0, device, far, 10), TARN_SYSTEM_ERROR);
}

TEST_WITH(mistakes_are_refused_before_a_slot_is_taken, start, stop) {
  tarn_capture *capture;
  assert_ok(tarn_staging_load(ring, stream, -1, 0, device, far, 0)); /* nothing to do */
  assert_ok(tarn_staging_store(ring, stream, -1, 0, device, far, 0));
  assert_status(tarn_staging_load(NULL, stream, file, 0, device, far, 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_staging_store(ring, stream, file, 0, NULL, far, 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_staging_load(ring, stream, file, UINT64_MAX, device, far, 1), TARN_TOO_LARGE);
  assert_ok(tarn_capture_begin(stream, &capture));
  assert_status(tarn_staging_load(ring, stream, file, 0, device, far, 1), TARN_NOT_SUPPORTED);
  assert_ok(tarn_capture_destroy(capture));
  manual_is_capturing = true;
  assert_status(tarn_staging_store(ring, stream, file, 0, device, far, 1), TARN_NOT_SUPPORTED);
  manual_is_capturing = false;
  tarn_staging_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_staging_stats_of(ring, &stats));
  assert_int_equal(stats.acquire_count, 0);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
