/* test_stream.c: the stream seam: what an implementation must bring, and fences of two kinds. */
#include "tests/support/test.h"

#include <string.h>

#include "alloc/tarn_capture.h"
#include "alloc/tarn_host_stream.h"
#include "tests/support/manual_stream.h"

static tarn_status some_copy(void *context, const tarn_copy_rows *rows) {
  (void)context;
  (void)rows;
  return TARN_OK;
}

static tarn_status some_call(void *context, tarn_host_function function, void *argument) {
  (void)context;
  function(argument);
  return TARN_OK;
}

static tarn_status some_synchronize(void *context) {
  (void)context;
  return TARN_OK;
}

static void add_one(void *count) {
  ++*(int *)count;
}

TEST(incomplete_operations_are_refused_by_name) {
  tarn_stream *stream = NULL;
  tarn_stream_ops ops = {.struct_size = sizeof ops,
                         .name = "some",
                         .copy = some_copy,
                         .call = some_call,
                         .synchronize = some_synchronize};
  assert_status(tarn_stream_create(&ops, NULL, NULL, &stream), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "fence"));
  tarn_stream_options options = {.struct_size = sizeof options, .flags = TARN_STREAM_SYNCHRONOUS};
  assert_ok(tarn_stream_create(&ops, NULL, &options, &stream)); /* needs no fences */
  tarn_stream_release(stream);
  ops.copy = NULL;
  assert_status(tarn_stream_create(&ops, NULL, &options, &stream), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "copy"));
  ops.copy = some_copy;
  options.flags = 1u << 9;
  assert_status(tarn_stream_create(&ops, NULL, &options, &stream), TARN_INVALID_ARGUMENT);
  options = (tarn_stream_options){.struct_size = 1};
  assert_status(tarn_stream_create(&ops, NULL, &options, &stream), TARN_INVALID_ARGUMENT);
  assert_status(tarn_stream_create(&ops, NULL, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_null(stream);
}

TEST(a_stream_without_a_fill_fills_by_a_call) {
  const tarn_stream_ops ops = {.struct_size = sizeof ops,
                               .name = "some",
                               .copy = some_copy,
                               .call = some_call,
                               .synchronize = some_synchronize};
  const tarn_stream_options options = {.struct_size = sizeof options,
                                       .flags = TARN_STREAM_SYNCHRONOUS};
  tarn_stream *stream = NULL;
  char bytes[4] = "abc";
  assert_ok(tarn_stream_create(&ops, NULL, &options, &stream));
  assert_ok(tarn_stream_fill(stream, bytes, tarn_device_make(TARN_DEVICE_CPU, 0), 'x', 3));
  assert_string_equal(bytes, "xxx");
  assert_status(tarn_stream_fill(stream, bytes, tarn_device_make(TARN_DEVICE_CUDA, 0), 'y', 3),
                TARN_NOT_SUPPORTED);
  tarn_stream_release(stream);
}

TEST(no_stream_means_now_and_host_memory_only) {
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  const tarn_device gpu = tarn_device_make(TARN_DEVICE_CUDA, 0);
  char to[4] = "";
  assert_ok(tarn_stream_copy(NULL, to, cpu, "abc", cpu, 4));
  assert_string_equal(to, "abc");
  assert_status(tarn_stream_copy(NULL, to, gpu, "abc", cpu, 4), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_copy(NULL, to, cpu, "abc", gpu, 4), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_fill(NULL, to, gpu, 0, 4), TARN_NOT_SUPPORTED);
  assert_status(tarn_stream_copy_rows(NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_string_equal(tarn_stream_name(NULL), "now");
  assert_true(tarn_stream_is_synchronous(NULL));
  assert_ok(tarn_stream_synchronize(NULL));
  tarn_stream_retain(NULL);
  tarn_stream_release(NULL);
}

TEST(a_fence_is_recorded_on_its_own_kind_only) {
  tarn_stream *worker = NULL;
  tarn_stream *manual = NULL;
  tarn_fence *fence = NULL;
  tarn_fence *always = NULL;
  assert_ok(tarn_worker_stream_create(&worker));
  assert_ok(manual_stream_create(&manual));
  assert_ok(tarn_fence_create(worker, &fence));
  assert_ok(tarn_fence_create(NULL, &always));
  assert_status(tarn_fence_record(fence, manual), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "manual"));
  assert_status(tarn_fence_record(fence, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_fence_record(always, worker), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_fence_record(always, NULL));
  assert_ok(tarn_fence_query(always));
  assert_ok(tarn_stream_wait(worker, always));
  assert_ok(tarn_fence_record(fence, worker));
  assert_ok(tarn_stream_wait(manual, fence)); /* another kind: the host waits */
  assert_int_equal(manual_stream_pending(manual), 0);
  assert_ok(tarn_fence_query(fence));
  assert_status(tarn_fence_query(NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_stream_wait(worker, NULL), TARN_INVALID_ARGUMENT);
  tarn_fence_destroy(fence);
  tarn_fence_destroy(always);
  tarn_fence_destroy(NULL);
  tarn_stream_release(worker);
  tarn_stream_release(manual);
}

TEST(a_closed_stream_takes_nothing_more_and_is_waited_for) {
  tarn_stream *stream = NULL, *other = NULL, *host = NULL;
  assert_ok(manual_stream_create(&stream));
  assert_ok(manual_stream_create(&other));
  assert_ok(tarn_host_stream_create(&host));
  tarn_fence *fence = NULL, *none = NULL;
  tarn_capture *capture = NULL;
  int count = 0;
  char bytes[2] = {0};
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  assert_ok(tarn_fence_create(stream, &fence));
  assert_ok(tarn_stream_call(stream, add_one, &count));
  assert_ok(tarn_stream_close(stream));
  assert_ok(tarn_stream_close(stream)); /* again: nothing */
  assert_int_equal(tarn_stream_call(stream, add_one, &count), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_stream_copy(stream, bytes, cpu, bytes + 1, cpu, 1), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_stream_fill(stream, bytes, cpu, 1, 1), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_fence_record(fence, stream), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_stream_wait(stream, fence), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_fence_create(stream, &none), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_capture_begin(stream, &capture), TARN_INVALID_ARGUMENT);
  assert_null(none);
  assert_ok(tarn_stream_edge(stream, other));
  assert_ok(tarn_stream_synchronize(stream));
  assert_int_equal(count, 1);
  assert_int_equal(tarn_stream_close(NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_stream_close(host));
  assert_ok(tarn_stream_call(host, add_one, &count)); /* nothing to close */
  assert_ok(tarn_capture_begin(other, &capture));
  assert_int_equal(tarn_stream_close(other), TARN_BUSY);
  assert_ok(tarn_capture_destroy(capture));
  tarn_fence_destroy(fence);
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_stream_release(host);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
