/* test_cusim_event.c: simulated events, exactly as the manual has them. */
#include "tests/cuda/sim/cusim_fixture.h"

CUSIM_TEST(an_event_never_recorded_is_complete_and_holds_nobody) {
  CUevent event = cusim_fixture_event();
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(1);
  CU(cuEventQuery(event));
  CU(cuEventSynchronize(event));
  CU(cuStreamWaitEvent(stream, event, 0));
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  CU(cuMemsetD8Async(at(pinned), 1, 1, stream));
  CU(cuStreamSynchronize(stream));
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(an_event_covers_what_was_enqueued_before_it) {
  CUevent event = cusim_fixture_event();
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CU(cuMemsetD8Async(at(pinned), 1, 1, stream));
  CU(cuEventRecord(event, stream));
  CU(cuMemsetD8Async(at(pinned) + 1, 1, 1, stream));
  assert_int_equal(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  CU(cuEventSynchronize(event));
  CU(cuEventQuery(event));
  assert_memory_equal(pinned, "\1\0", 2);
  CU(cuStreamSynchronize(stream));
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(a_wait_binds_the_record_it_finds) {
  CUevent event = cusim_fixture_event();
  CUstream writer = cusim_fixture_stream(), reader = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(3);
  memset(pinned, 0, 3);
  CU(cuMemsetD8Async(at(pinned), 1, 1, writer));
  CU(cuEventRecord(event, writer));
  CU(cuStreamWaitEvent(reader, event, 0));
  CU(cuMemsetD8Async(at(pinned) + 2, 1, 1, reader));
  CU(cuMemsetD8Async(at(pinned) + 1, 1, 1, writer));
  CU(cuEventRecord(event, writer)); /* the wait above does not see this */
  CU(cuStreamSynchronize(reader));
  assert_memory_equal(pinned, "\1\0\1", 3);
  assert_int_equal(cuEventQuery(event), CUDA_ERROR_NOT_READY); /* the event itself does */
  CU(cuEventSynchronize(event));
  assert_int_equal(pinned[1], 1);
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(writer));
  CU(cuStreamDestroy(reader));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(a_wait_before_the_record_is_no_wait) {
  CUevent event = cusim_fixture_event();
  CUstream writer = cusim_fixture_stream(), reader = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CU(cuStreamWaitEvent(reader, event, 0));
  CU(cuMemsetD8Async(at(pinned), 1, 1, writer));
  CU(cuEventRecord(event, writer));
  CU(cuMemsetD8Async(at(pinned) + 1, 1, 1, reader));
  CU(cuStreamSynchronize(reader));
  assert_memory_equal(pinned, "\0\1", 2);
  CU(cuStreamSynchronize(writer));
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(writer));
  CU(cuStreamDestroy(reader));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(a_destroyed_event_still_orders_and_its_handle_comes_back) {
  CUevent event = cusim_fixture_event();
  CUstream writer = cusim_fixture_stream(), reader = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CU(cuMemsetD8Async(at(pinned), 1, 1, writer));
  CU(cuEventRecord(event, writer));
  CU(cuStreamWaitEvent(reader, event, 0));
  CU(cuEventDestroy(event));
  assert_int_equal(cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuEventDestroy(event), CUDA_ERROR_INVALID_HANDLE);
  CUevent again = cusim_fixture_event();
  assert_ptr_equal(again, event);
  CU(cuEventQuery(again)); /* a new event: never recorded */
  CU(cuMemcpyAsync(at(pinned) + 1, at(pinned), 1, reader));
  CU(cuStreamSynchronize(reader));
  assert_memory_equal(pinned, "\1\1", 2);
  CU(cuEventDestroy(again));
  CU(cuStreamDestroy(writer));
  CU(cuStreamDestroy(reader));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(an_event_is_recorded_on_its_own_device_but_waited_for_on_any) {
  CUcontext second = NULL;
  CUstream there = NULL, here = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CU(cuMemsetD8Async(at(pinned), 5, 1, here));
  CU(cuEventRecord(event, here));
  CU(cuDevicePrimaryCtxRetain(&second, 1));
  CU(cuCtxPushCurrent(second));
  CU(cuStreamCreate(&there, CU_STREAM_NON_BLOCKING));
  assert_int_equal(cuEventRecord(event, there), CUDA_ERROR_INVALID_HANDLE);
  CU(cuStreamWaitEvent(there, event, 0));
  CU(cuMemcpyAsync(at(pinned) + 1, at(pinned), 1, there));
  CU(cuStreamSynchronize(there));
  assert_memory_equal(pinned, "\5\5", 2);
  CU(cuStreamDestroy(there));
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(1));
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(here));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(events_with_timing_are_made_but_unknown_flags_are_not) {
  CUevent event = NULL;
  CU(cuEventCreate(&event, CU_EVENT_DEFAULT));
  CU(cuEventDestroy(event));
  assert_int_equal(cuEventCreate(&event, CU_EVENT_INTERPROCESS), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuEventCreate(&event, 1u << 9), CUDA_ERROR_INVALID_VALUE);
}

static CUevent timed_event(void) {
  CUevent event = NULL;
  CU(cuEventCreate(&event, CU_EVENT_DEFAULT));
  return event;
}

CUSIM_TEST(the_time_between_two_events_grows_with_the_work) {
  CUstream stream = cusim_fixture_stream();
  CUevent events[3] = {timed_event(), timed_event(), timed_event()};
  CUdeviceptr device = cusim_fixture_device(1 << 20);
  float small = -1, large = -1, backwards = 1;
  CU(cuEventRecord(events[0], stream));
  CU(cuMemsetD8Async(device, 0, 16, stream));
  CU(cuEventRecord(events[1], stream));
  CU(cuMemsetD8Async(device, 0, 1 << 20, stream));
  CU(cuEventRecord(events[2], stream));
  assert_int_equal(cuEventElapsedTime(&small, events[0], events[1]), CUDA_ERROR_NOT_READY);
  CUresult result;
  while ((result = cuEventElapsedTime(&large, events[1], events[2])) == CUDA_ERROR_NOT_READY) {
  }
  CU(result);
  CU(cuEventElapsedTime(&small, events[0], events[1]));
  CU(cuEventElapsedTime(&backwards, events[2], events[0]));
  assert_true(small > 0.0f && large > 10 * small && backwards < 0.0f);
  for (int i = 0; i < 3; i++) CU(cuEventDestroy(events[i]));
  CU(cuMemFree(device));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(time_is_refused_where_it_was_not_taken) {
  CUstream stream = cusim_fixture_stream();
  CUevent timed = timed_event(), untimed = cusim_fixture_event(), never = timed_event();
  float time;
  CU(cuEventRecord(timed, stream));
  CU(cuEventRecordWithFlags(untimed, stream, CU_EVENT_RECORD_DEFAULT));
  CU(cuStreamSynchronize(stream));
  assert_int_equal(cuEventElapsedTime(&time, timed, untimed), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuEventElapsedTime(&time, never, timed), CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuEventElapsedTime(NULL, timed, timed), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuEventRecordWithFlags(timed, stream, CU_EVENT_RECORD_EXTERNAL),
                   CUDA_ERROR_INVALID_VALUE);
  CU(cuEventElapsedTime(&time, timed, timed));
  assert_true(time == 0.0f);
  assert_true(cusim_fail_call("cuEventElapsedTime", 1, CUDA_ERROR_UNKNOWN));
  assert_int_equal(cuEventElapsedTime(&time, timed, timed), CUDA_ERROR_UNKNOWN);
  CU(cuEventDestroy(timed));
  CU(cuEventDestroy(untimed));
  CU(cuEventDestroy(never));
  CU(cuStreamDestroy(stream));
}

int run_cusim_event_tests(void) {
  return run_listed_tests(NULL, NULL);
}
