/* fidelity_capture.c: what a driver allows while streams are captured, and how a capture ends. */
#include <stddef.h>

#include "tests/gpu/fidelity.h"

enum { BYTES = 4096 };
#define BEGIN(stream, mode) STEP(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_##mode), OK)

static CUstreamCaptureStatus status_of(CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  STEP(cu.cuStreamIsCapturing(stream, &status), OK);
  return status;
}

/* The capture is broken, and ends so; the stream is as any other behind it. */
static void end_broken(CUstream stream) {
  CUgraph graph = NULL;
  VALUE(status_of(stream), CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  STEP(cu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  VALUE(graph == NULL, 1);
  VALUE(status_of(stream), CU_STREAM_CAPTURE_STATUS_NONE);
  STEP(cu.cuStreamSynchronize(stream), OK);
}

static void a_captured_stream_is_not_asked(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  BEGIN(stream, GLOBAL);
  VALUE(status_of(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  STEP(cu.cuStreamQuery(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  BEGIN(stream, RELAXED);
  STEP(cu.cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  BEGIN(stream, GLOBAL);
  STEP(cu.cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
}

static void unsafe_calls_depend_on_the_mode(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUdeviceptr address = 0;
  CUgraph graph = NULL;
  BEGIN(stream, GLOBAL);
  STEP(cu.cuMemAlloc(&address, BYTES), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  BEGIN(stream, THREAD_LOCAL);
  STEP(cu.cuMemAlloc(&address, BYTES), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  BEGIN(stream, RELAXED);
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  STEP(cu.cuStreamEndCapture(stream, &graph), OK);
  STEP(cu.cuGraphDestroy(graph), OK);
}

static void streams_join_a_capture_by_events(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent fork_event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  CUevent join_event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  CUdeviceptr address = 0;
  CUgraph graph = NULL;
  CUgraphExec launched = NULL;
  unsigned char byte = 0;
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  STEP(cu.cuMemsetD8(address, 0, BYTES), OK);
  BEGIN(stream, GLOBAL);
  STEP(cu.cuEventRecord(fork_event, stream), OK);
  STEP(cu.cuStreamWaitEvent(other, fork_event, 0), OK);
  VALUE(status_of(other), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  STEP(cu.cuMemsetD8Async(address, 4, BYTES, other), OK);
  STEP(cu.cuEventRecord(join_event, other), OK);
  STEP(cu.cuStreamWaitEvent(stream, join_event, 0), OK);
  STEP(cu.cuStreamEndCapture(stream, &graph), OK);
  VALUE(status_of(other), CU_STREAM_CAPTURE_STATUS_NONE);
  STEP(cu.cuMemcpyDtoH(&byte, address, 1), OK);
  VALUE(byte, 0); /* captured, and not run */
  STEP(cu.cuGraphInstantiateWithFlags(&launched, graph, 0), OK);
  STEP(cu.cuGraphLaunch(launched, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  STEP(cu.cuMemcpyDtoH(&byte, address + BYTES - 1, 1), OK);
  VALUE(byte, 4);
  STEP(cu.cuGraphExecDestroy(launched), OK);
  STEP(cu.cuGraphDestroy(graph), OK);
}

static void a_stream_that_does_not_come_back_breaks_the_end(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  CUdeviceptr address = 0;
  CUgraph graph = NULL;
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  BEGIN(stream, GLOBAL);
  STEP(cu.cuEventRecord(event, stream), OK);
  STEP(cu.cuStreamWaitEvent(other, event, 0), OK);
  STEP(cu.cuMemsetD8Async(address, 4, BYTES, other), OK);
  STEP(cu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  VALUE(graph == NULL, 1);
  VALUE(status_of(stream), CU_STREAM_CAPTURE_STATUS_NONE);
  VALUE(status_of(other), CU_STREAM_CAPTURE_STATUS_NONE);
  STEP(cu.cuStreamSynchronize(other), OK);
}

static void only_its_origin_ends_a_capture(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  CUgraph graph = NULL;
  STEP(cu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_ILLEGAL_STATE);
  STEP(cu.cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL),
       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  STEP(cu.cuStreamBeginCapture(stream, (CUstreamCaptureMode)9), INVALID);
  BEGIN(stream, GLOBAL);
  STEP(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_ILLEGAL_STATE);
  STEP(cu.cuEventRecord(event, stream), OK);
  STEP(cu.cuStreamWaitEvent(other, event, 0), OK);
  STEP(cu.cuStreamEndCapture(other, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  /* Whether that breaks the capture is not told. */
  STEP(cu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
       CUDA_ERROR_STREAM_CAPTURE_UNJOINED, OK);
}

static void end_elsewhere(void *argument) {
  CUgraph graph = NULL;
  STEP(cu.cuStreamEndCapture(argument, &graph), CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
}

static void another_thread_ends_only_a_relaxed_capture(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUgraph graph = NULL;
  BEGIN(stream, THREAD_LOCAL);
  fidelity_on_thread(end_elsewhere, stream);
  STEP(cu.cuStreamEndCapture(stream, &graph), OK, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

static void events_of_a_capture_stay_in_it(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  BEGIN(stream, RELAXED);
  STEP(cu.cuEventRecord(event, stream), OK);
  STEP(cu.cuEventQuery(event), CUDA_ERROR_CAPTURED_EVENT);
  STEP(cu.cuEventSynchronize(event), CUDA_ERROR_CAPTURED_EVENT);
  end_broken(stream);
}

static void a_capture_does_not_wait_for_what_came_before(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream outside = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  STEP(cu.cuEventRecord(event, outside), OK);
  BEGIN(stream, GLOBAL);
  STEP(cu.cuStreamWaitEvent(stream, event, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  end_broken(stream);
}

static void two_captures_do_not_meet(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUstream other = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUevent event = fidelity_event(CU_EVENT_DISABLE_TIMING);
  CUgraph graph = NULL;
  BEGIN(stream, GLOBAL);
  BEGIN(other, GLOBAL);
  STEP(cu.cuEventRecord(event, stream), OK);
  STEP(cu.cuStreamWaitEvent(other, event, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
  STEP(cu.cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  STEP(cu.cuStreamEndCapture(other, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

static void the_legacy_stream_would_join_blocking_captures(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_DEFAULT);
  CUdeviceptr address = 0;
  STEP(cu.cuMemAlloc(&address, BYTES), OK);
  BEGIN(stream, RELAXED);
  STEP(cu.cuMemsetD8Async(address, 1, BYTES, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  end_broken(stream);
}

#define CASE(function) \
  { #function, function }
const fidelity_case fidelity_capture[] = {
    CASE(a_captured_stream_is_not_asked),
    CASE(unsafe_calls_depend_on_the_mode),
    CASE(streams_join_a_capture_by_events),
    CASE(a_stream_that_does_not_come_back_breaks_the_end),
    CASE(only_its_origin_ends_a_capture),
    CASE(another_thread_ends_only_a_relaxed_capture),
    CASE(events_of_a_capture_stay_in_it),
    CASE(a_capture_does_not_wait_for_what_came_before),
    CASE(two_captures_do_not_meet),
    CASE(the_legacy_stream_would_join_blocking_captures),
    {0},
};
