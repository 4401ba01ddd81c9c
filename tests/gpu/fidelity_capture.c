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

/* --- what another thread may do meanwhile --- */

typedef struct bystander {
  CUstream stream; /* not captured */
  CUevent event;   /* recorded before the capture */
  CUmemoryPool pool;
  void *pinned;
  CUdeviceptr block; /* of the pool */
  CUdeviceptr range; /* mapped */
} bystander;

enum { GRANULE = 2 << 20 };

static const CUmemAllocationProp device_memory = {
    .type = CU_MEM_ALLOCATION_TYPE_PINNED,
    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}};

static CUresult query_event(bystander *self) {
  return cu.cuEventQuery(self->event);
}

static CUresult wait_for_event(bystander *self) {
  return cu.cuEventSynchronize(self->event);
}

static CUresult query_stream(bystander *self) {
  return cu.cuStreamQuery(self->stream);
}

static CUresult lend(bystander *self) {
  return cu.cuMemAllocFromPoolAsync(&self->block, BYTES, self->pool, self->stream);
}

static CUresult take_back(bystander *self) {
  return cu.cuMemFreeAsync(self->block, self->stream);
}

static CUresult trim(bystander *self) {
  return cu.cuMemPoolTrimTo(self->pool, 0);
}

static CUresult map(bystander *self) {
  CUmemGenericAllocationHandle handle = 0;
  const CUmemAccessDesc access = {.location = device_memory.location,
                                  .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  CUresult result = cu.cuMemAddressReserve(&self->range, GRANULE, 0, 0, 0);
  if (result == CUDA_SUCCESS) result = cu.cuMemCreate(&handle, GRANULE, &device_memory, 0);
  if (result == CUDA_SUCCESS) result = cu.cuMemMap(self->range, GRANULE, 0, handle, 0);
  if (result == CUDA_SUCCESS) result = cu.cuMemSetAccess(self->range, GRANULE, &access, 1);
  return result == CUDA_SUCCESS ? cu.cuMemRelease(handle) : result;
}

static CUresult unmap(bystander *self) {
  const CUresult result = cu.cuMemUnmap(self->range, GRANULE);
  return result == CUDA_SUCCESS ? cu.cuMemAddressFree(self->range, GRANULE) : result;
}

static CUresult ask_how_much(bystander *self) {
  (void)self;
  size_t free_bytes = 0, total_bytes = 0;
  return cu.cuMemGetInfo(&free_bytes, &total_bytes);
}

static CUresult pin(bystander *self) {
  return cu.cuMemHostAlloc(&self->pinned, BYTES, CU_MEMHOSTALLOC_PORTABLE);
}

static CUresult unpin(bystander *self) {
  return cu.cuMemFreeHost(self->pinned);
}

static CUresult make_stream(bystander *self) {
  (void)self;
  CUstream made = NULL;
  const CUresult result = cu.cuStreamCreate(&made, CU_STREAM_NON_BLOCKING);
  return result == CUDA_SUCCESS ? cu.cuStreamDestroy(made) : result;
}

static CUresult make_event(bystander *self) {
  (void)self;
  CUevent made = NULL;
  const CUresult result = cu.cuEventCreate(&made, CU_EVENT_DISABLE_TIMING);
  return result == CUDA_SUCCESS ? cu.cuEventDestroy(made) : result;
}

typedef struct call {
  const char *words;
  CUresult (*run)(bystander *self);
  bystander *self;
  CUstreamCaptureMode mode;
} call;

/* In order: what one makes another one takes. */
static const call calls[] = {{"cuEventQuery", query_event},
                             {"cuEventSynchronize", wait_for_event},
                             {"cuStreamQuery", query_stream},
                             {"cuMemAllocFromPoolAsync", lend},
                             {"cuMemFreeAsync", take_back},
                             {"cuMemPoolTrimTo", trim},
                             {"cuMemAddressReserve to cuMemSetAccess", map},
                             {"cuMemUnmap and cuMemAddressFree", unmap},
                             {"cuMemGetInfo", ask_how_much},
                             {"cuMemHostAlloc", pin},
                             {"cuMemFreeHost", unpin},
                             {"cuStreamCreate", make_stream},
                             {"cuEventCreate", make_event}};

/* In relaxed mode nothing is forbidden that has nothing to do with the capture; what is in the
 * threads' own mode, is not told. */
static void call_beside(void *argument) {
  const call *what = argument;
  CUstreamCaptureMode mode = what->mode;
  STEP(cu.cuThreadExchangeStreamCaptureMode(&mode), OK);
  VALUE(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
  const CUresult result = what->run(what->self);
  const CUresult allowed[] = {OK, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED};
  fidelity_step(what->words, result, allowed, what->mode == CU_STREAM_CAPTURE_MODE_RELAXED ? 1 : 2);
}

static bystander make_bystander(void) {
  bystander made = {.stream = fidelity_stream(CU_STREAM_NON_BLOCKING),
                    .event = fidelity_event(CU_EVENT_DISABLE_TIMING)};
  const CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = device_memory.location};
  STEP(cu.cuMemPoolCreate(&made.pool, &props), OK);
  return made;
}

static void a_relaxed_thread_breaks_no_capture(void) {
  fidelity_enter();
  bystander self = make_bystander();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  CUgraph graph = NULL;
  /* On the very stream, before it is captured. */
  STEP(cu.cuEventRecord(self.event, stream), OK);
  STEP(cu.cuStreamSynchronize(stream), OK);
  BEGIN(stream, GLOBAL);
  for (size_t i = 0; i < FIDELITY_COUNT(calls); i++) {
    call what = calls[i];
    what.self = &self;
    what.mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    fidelity_on_thread(call_beside, &what);
    VALUE(status_of(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  }
  STEP(cu.cuStreamEndCapture(stream, &graph), OK);
}

/* Tells which calls are unsafe: one capture for each. */
static void another_thread_may_break_a_capture(void) {
  fidelity_enter();
  bystander self = make_bystander();
  CUstream stream = fidelity_stream(CU_STREAM_NON_BLOCKING);
  STEP(cu.cuEventRecord(self.event, self.stream), OK);
  STEP(cu.cuStreamSynchronize(self.stream), OK);
  for (size_t i = 0; i < FIDELITY_COUNT(calls); i++) {
    call what = calls[i];
    CUgraph graph = NULL;
    what.self = &self;
    what.mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    BEGIN(stream, GLOBAL);
    fidelity_on_thread(call_beside, &what);
    VALUE(status_of(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    const CUresult ended = cu.cuStreamEndCapture(stream, &graph);
    STEP(ended, OK, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    what.mode = CU_STREAM_CAPTURE_MODE_RELAXED; /* for what comes next to find it done */
    if (ended != CUDA_SUCCESS) (void)what.run(&self);
  }
}

/* The question whether it is captured harms nothing, and has no answer. */
static void the_legacy_stream_is_not_asked_beside_blocking_captures(void) {
  fidelity_enter();
  CUstream stream = fidelity_stream(CU_STREAM_DEFAULT);
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  BEGIN(stream, RELAXED);
  STEP(cu.cuStreamIsCapturing(NULL, &status), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  VALUE(status_of(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  STEP(cu.cuStreamQuery(NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
       CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
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
    CASE(a_relaxed_thread_breaks_no_capture),
    CASE(another_thread_may_break_a_capture),
    CASE(the_legacy_stream_is_not_asked_beside_blocking_captures),
    {0},
};
