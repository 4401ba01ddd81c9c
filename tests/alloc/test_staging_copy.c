/* test_staging_copy.c: pageable copies of a stream that has a ring. */
#include "tests/support/test.h"

#include <string.h>

#include "alloc/tarn_capture.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_staging.h"
#include "tests/support/manual_stream.h"

enum { SLOT_BYTES = 4096, SLOTS = 3, BYTES = 1 << 17 };

static const tarn_device far = {TARN_DEVICE_CUDA, 0}, near = {TARN_DEVICE_CPU, 0},
                         pinned = {TARN_DEVICE_CUDA_HOST, 0};
static tarn_staging *ring;
static tarn_stream *stream;
static unsigned char host[BYTES], device[BYTES], expected[BYTES];

static tarn_staging *make_ring(tarn_device where) {
  static _Alignas(4096) char range[SLOTS * SLOT_BYTES];
  tarn_provider *provider;
  tarn_staging *made;
  const tarn_fixed_options fixed = {.struct_size = sizeof fixed, .device = where};
  assert_ok(tarn_fixed_provider_create(range, sizeof range, &fixed, &provider));
  const tarn_staging_options options = {
      .struct_size = sizeof options, .slot_bytes = SLOT_BYTES, .slot_count = SLOTS};
  assert_ok(tarn_staging_create(provider, &options, &made));
  tarn_provider_release(provider);
  return made;
}

static int start(void **state) {
  (void)state;
  ring = make_ring(pinned);
  assert_ok(manual_stream_create_on(far, &stream));
  assert_ok(tarn_stream_set_staging(stream, ring));
  memset(device, 0, sizeof device);
  for (int i = 0; i < BYTES; i++) host[i] = (unsigned char)(i * 7 + i / 251);
  return 0;
}

static int stop(void **state) {
  (void)state;
  tarn_stream_release(stream);
  tarn_staging_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_staging_stats_of(ring, &stats));
  assert_int_equal(stats.held_count, 0);
  tarn_staging_release(ring);
  return 0;
}

static uint64_t passed_bytes(void) {
  tarn_staging_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_staging_stats_of(ring, &stats));
  return stats.passed_bytes;
}

TEST_WITH(a_source_has_been_read_when_the_copy_returns, start, stop) {
  const size_t size_bytes = SLOTS * SLOT_BYTES; /* fits: nothing is waited for */
  memcpy(expected, host, size_bytes);
  assert_ok(tarn_stream_copy(stream, device, far, host, near, size_bytes));
  assert_true(manual_stream_pending(stream) > 0);
  memset(host, 0xee, size_bytes);
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(device, expected, size_bytes);
  assert_int_equal(passed_bytes(), size_bytes);
}

TEST_WITH(a_copy_larger_than_the_ring_waits_for_its_slots, start, stop) {
  assert_ok(tarn_stream_copy(stream, device, far, host, near, BYTES));
  assert_true(manual_stream_pending(stream) <= SLOTS);
  assert_ok(tarn_stream_synchronize(stream));
  assert_memory_equal(device, host, BYTES);
}

TEST_WITH(a_copy_from_the_device_is_done_on_return_and_behind_the_stream, start, stop) {
  memcpy(expected, host, BYTES);
  assert_ok(tarn_stream_copy(stream, device, far, host, near, BYTES));
  assert_ok(tarn_stream_fill(stream, device + 100, far, 9, 50));
  memset(expected + 100, 9, 50);
  memset(host, 0, BYTES);
  assert_ok(tarn_stream_copy(stream, host, near, device, far, BYTES));
  assert_memory_equal(host, expected, BYTES);
}

/* Rows shorter and longer than a slot, with gaps on either side, both ways. */
TEST_WITH(rows_keep_their_gaps, start, stop) {
  static const size_t shapes[][4] = {/* row, rows, pitch of the device, pitch of the host */
                                     {1, 100, 3, 5},         {100, 700, 128, 101},
                                     {100, 700, 100, 180},   {4096, 20, 4097, 4096},
                                     {5000, 20, 6000, 5001}, {40000, 3, 40000, 43000},
                                     {300, 400, 300, 300}};
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const size_t *s = shapes[i];
    memset(device, 1, sizeof device);
    memset(expected, 1, sizeof expected);
    for (size_t row = 0; row < s[1]; row++) {
      memcpy(expected + row * s[2], host + row * s[3], s[0]);
    }
    tarn_copy_rows rows = {.dst = device,
                           .src = host,
                           .dst_pitch_bytes = s[2],
                           .src_pitch_bytes = s[3],
                           .row_bytes = s[0],
                           .row_count = s[1],
                           .dst_device = far,
                           .src_device = near};
    assert_ok(tarn_stream_copy_rows(stream, &rows));
    assert_ok(tarn_stream_synchronize(stream));
    assert_memory_equal(device, expected, sizeof device);
    memset(host, 2, sizeof host);
    memset(expected, 2, sizeof expected);
    for (size_t row = 0; row < s[1]; row++) {
      memcpy(expected + row * s[3], device + row * s[2], s[0]);
    }
    rows.dst = host;
    rows.src = device;
    rows.dst_pitch_bytes = s[3];
    rows.src_pitch_bytes = s[2];
    rows.dst_device = near;
    rows.src_device = far;
    assert_ok(tarn_stream_copy_rows(stream, &rows));
    assert_memory_equal(host, expected, sizeof host);
    for (int at = 0; at < BYTES; at++) host[at] = (unsigned char)(at * 11 + at / 199);
  }
}

TEST_WITH(copies_that_need_no_ring_pass_it_by, start, stop) {
  assert_ok(tarn_stream_copy(stream, device, far, host, pinned, 1000));
  assert_ok(tarn_stream_copy(stream, device + 5000, far, device, far, 1000));
  assert_ok(tarn_stream_copy(stream, host + 5000, pinned, host, near, 1000));
  assert_int_equal(passed_bytes(), 0);
  assert_ok(tarn_stream_set_staging(stream, NULL));
  assert_ok(tarn_stream_copy(stream, device, far, host, near, 1000));
  assert_int_equal(passed_bytes(), 0);
}

/* --- the order of host functions --- */

static void write_sevens(void *argument) {
  memset(argument, 7, 1000);
}

TEST_WITH(a_source_that_a_host_function_writes_is_read_behind_it, start, stop) {
  assert_ok(tarn_stream_call(stream, write_sevens, host));
  assert_ok(tarn_stream_copy(stream, device, far, host, near, 1000));
  assert_ok(tarn_stream_synchronize(stream));
  for (int i = 0; i < 1000; i++) assert_int_equal(device[i], 7);
}

TEST_WITH(a_host_function_of_another_stream_is_waited_for_through_fences, start, stop) {
  tarn_stream *first, *second;
  tarn_fence *fence;
  assert_ok(manual_stream_create_on(far, &first));
  assert_ok(manual_stream_create_on(far, &second));
  assert_ok(tarn_fence_create(first, &fence));
  assert_ok(tarn_stream_call(first, write_sevens, host));
  assert_ok(tarn_fence_record(fence, first));
  assert_ok(tarn_stream_wait(second, fence));
  assert_ok(tarn_fence_record(fence, second));
  assert_ok(tarn_stream_wait(stream, fence));
  assert_ok(tarn_stream_copy(stream, device, far, host, near, 1000));
  assert_ok(tarn_stream_synchronize(stream));
  for (int i = 0; i < 1000; i++) assert_int_equal(device[i], 7);
  tarn_fence_destroy(fence);
  tarn_stream_release(first);
  tarn_stream_release(second);
}

TEST_WITH(a_host_function_of_another_stream_is_waited_for_through_an_edge, start, stop) {
  tarn_stream *first;
  assert_ok(manual_stream_create_on(far, &first));
  tarn_fence *fence;
  assert_ok(tarn_fence_create(first, &fence));
  assert_ok(tarn_fence_record(fence, first));
  assert_ok(tarn_stream_call(first, write_sevens, host));
  assert_ok(tarn_stream_edge(first, stream)); /* the test runs them in this order itself */
  manual_stream_advance(first, 1);
  assert_ok(tarn_stream_copy(stream, device, far, host, near, 1000));
  assert_ok(tarn_stream_synchronize(stream));
  for (int i = 0; i < 1000; i++) assert_int_equal(device[i], 7);
  tarn_fence_destroy(fence);
  tarn_stream_release(first);
}

TEST_WITH(a_stream_without_host_functions_is_not_waited_for, start, stop) {
  assert_ok(tarn_stream_fill(stream, device, far, 1, 1000));
  manual_called = (manual_calls){0};
  for (int i = 0; i < 3; i++) {
    assert_ok(tarn_stream_copy(stream, device, far, host, near, SLOT_BYTES));
  }
  assert_int_equal(manual_called.synchronizes, 0);
  assert_int_equal(manual_stream_pending(stream), 4);
}

/* --- refusals --- */

TEST_WITH(streams_that_need_no_ring_get_none, start, stop) {
  tarn_stream *other;
  tarn_staging *found = ring;
  assert_status(tarn_stream_set_staging(NULL, ring), TARN_NOT_SUPPORTED);
  assert_ok(tarn_host_stream_create(&other));
  assert_status(tarn_stream_set_staging(other, ring), TARN_NOT_SUPPORTED);
  tarn_stream_release(other);
  assert_ok(tarn_worker_stream_create(&other));
  assert_status(tarn_stream_set_staging(other, ring), TARN_NOT_SUPPORTED);
  assert_ok(tarn_stream_staging(other, /*reads_host=*/true, &found));
  assert_null(found);
  tarn_stream_release(other);
  assert_ok(manual_stream_create_on(far, &other));
  tarn_staging *pageable = make_ring(near);
  assert_status(tarn_stream_set_staging(other, pageable), TARN_INVALID_ARGUMENT);
  tarn_staging_release(pageable);
  assert_ok(tarn_stream_set_staging(other, ring));
  assert_ok(tarn_stream_staging(other, /*reads_host=*/false, &found));
  assert_ptr_equal(found, ring);
  assert_ok(tarn_stream_close(other));
  assert_status(tarn_stream_set_staging(other, ring), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_stream_staging(other, /*reads_host=*/false, &found));
  assert_null(found);
  assert_status(tarn_stream_staging(other, false, NULL), TARN_INVALID_ARGUMENT);
  tarn_stream_release(other);
}

TEST_WITH(a_captured_stream_uses_no_slot, start, stop) {
  tarn_capture *capture;
  tarn_staging *found;
  assert_ok(tarn_capture_begin(stream, &capture));
  assert_status(tarn_stream_copy(stream, device, far, host, near, 100), TARN_NOT_SUPPORTED);
  assert_ok(tarn_stream_staging(stream, true, &found));
  assert_null(found);
  assert_ok(tarn_capture_destroy(capture));
  manual_is_capturing = true; /* the driver's, and tarn was not told */
  assert_ok(tarn_stream_copy(stream, device, far, host, near, 100));
  manual_is_capturing = false;
  assert_int_equal(passed_bytes(), 0);
}

TEST_WITH(a_copy_without_fences_is_right_all_the_same, start, stop) {
  manual_fail_records = 1000000;
  assert_ok(tarn_stream_copy(stream, device, far, host, near, BYTES));
  memset(expected, 0, BYTES);
  assert_ok(tarn_stream_copy(stream, expected, near, device, far, BYTES));
  manual_fail_records = 0;
  assert_memory_equal(expected, host, BYTES);
}

TEST_WITH(sizes_beyond_any_machine_are_refused, start, stop) {
  const tarn_copy_rows rows = {.dst = device,
                               .src = host,
                               .dst_pitch_bytes = SIZE_MAX,
                               .src_pitch_bytes = SIZE_MAX,
                               .row_bytes = SIZE_MAX / 2,
                               .row_count = 3,
                               .dst_device = far,
                               .src_device = near};
  assert_status(tarn_stream_copy_rows(stream, &rows), TARN_TOO_LARGE);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
