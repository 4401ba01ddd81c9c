/* test_cusim_capture.c: what a capture forbids, to whom, and which error says so. */
#include "tests/cuda/sim/cusim_fixture.h"

#include <pthread.h>

static CUstreamCaptureStatus status_of(CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_INVALIDATED;
  CU(cuStreamIsCapturing(stream, &status));
  return status;
}

static CUstream begin(CUstreamCaptureMode mode) {
  CUstream stream = cusim_fixture_stream();
  CU(cuStreamBeginCapture(stream, mode));
  assert_int_equal(status_of(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  return stream;
}

/* The call before broke the capture: only its end is left, and says so. */
static void end_broken(CUstream stream) {
  CUgraph graph = (CUgraph)(void *)&graph;
  assert_int_equal(status_of(stream), CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  assert_int_equal(cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  assert_null(graph);
  assert_int_equal(status_of(stream), CU_STREAM_CAPTURE_STATUS_NONE);
  CU(cuStreamDestroy(stream));
}

static void end_whole(CUstream stream) {
  CUgraph graph = NULL;
  CU(cuStreamEndCapture(stream, &graph));
  CU(cuGraphDestroy(graph));
  CU(cuStreamDestroy(stream));
}

CUSIM_TEST(captured_work_does_not_run) {
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CU(cuMemsetD8Async(at(pinned), 1, 1, stream));
  CU(cuMemcpyAsync(at(pinned) + 1, at(pinned), 1, stream));
  cusim_drain();
  assert_int_equal(cusim_fixture_counts().pending_operations, 0);
  assert_memory_equal(pinned, "\0\0", 2);
  end_whole(stream);
  CU(cuMemFreeHost(pinned));
}

/* A program that does not look at the answer has a graph without the copies. */
CUSIM_TEST(a_batch_is_refused_and_the_capture_goes_on) {
  unsigned char *pinned = cusim_fixture_pinned(2);
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  CUdeviceptr to = at(pinned), from = at(pinned) + 1;
  size_t size = 1, start = 0;
  CUmemcpyAttributes order = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
  assert_int_equal(cuMemcpyBatchAsync(&to, &from, &size, 1, &order, &start, 1, stream),
                   CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  assert_int_equal(status_of(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  end_whole(stream);
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(states_that_do_not_fit_are_refused) {
  CUgraph graph = NULL;
  CUstreamCaptureStatus status;
  assert_int_equal(cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL),
                   CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CUstream stream = cusim_fixture_stream();
  assert_int_equal(cuStreamBeginCapture(stream, (CUstreamCaptureMode)3), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuStreamEndCapture(stream, &graph), CUDA_ERROR_ILLEGAL_STATE);
  assert_int_equal(cuStreamEndCapture(stream, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuStreamIsCapturing(stream, NULL), CUDA_ERROR_INVALID_VALUE);
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  assert_int_equal(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL),
                   CUDA_ERROR_ILLEGAL_STATE);
  assert_int_equal(status_of(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CU(cuStreamIsCapturing(NULL, &status)); /* a non-blocking stream does not concern it */
  end_whole(stream);
}

CUSIM_TEST(a_captured_stream_cannot_be_waited_for) {
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  CU(cuCtxSynchronize());
}

CUSIM_TEST(a_broken_capture_takes_nothing_more) {
  CUdeviceptr device = cusim_fixture_device(8);
  CUevent event = cusim_fixture_event();
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  assert_int_equal(cuMemsetD8Async(device, 1, 8, stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  assert_int_equal(cuEventRecord(event, stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  assert_int_equal(cuStreamWaitEvent(stream, event, 0), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  end_broken(stream);
  CU(cuMemFree(device));
  CU(cuEventDestroy(event));
}

CUSIM_TEST(an_event_recorded_in_a_capture_is_no_point_in_time) {
  CUevent event = NULL;
  CU(cuEventCreate(&event, CU_EVENT_DEFAULT));
  float time;
  CUresult (*const ask[])(CUevent) = {cuEventQuery, cuEventSynchronize};
  for (int i = 0; i < 2; i++) {
    CUstream stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
    CU(cuEventRecord(event, stream));
    assert_int_equal(ask[i](event), CUDA_ERROR_CAPTURED_EVENT);
    end_broken(stream);
    assert_int_equal(ask[i](event), CUDA_ERROR_CAPTURED_EVENT); /* afterwards, too */
  }
  assert_int_equal(cuEventElapsedTime(&time, event, event), CUDA_ERROR_CAPTURED_EVENT);
  CUstream other = cusim_fixture_stream();
  assert_int_equal(cuStreamWaitEvent(other, event, 0), CUDA_ERROR_CAPTURED_EVENT);
  CU(cuEventRecord(event, other)); /* recorded again it is one like any other */
  CU(cuEventSynchronize(event));
  CU(cuStreamDestroy(other));
  CU(cuEventDestroy(event));
}

CUSIM_TEST(a_wait_must_not_reach_out_of_a_capture_or_into_another) {
  CUstream outside = cusim_fixture_stream();
  CUevent event = cusim_fixture_event(), inside = cusim_fixture_event();
  CU(cuEventRecord(event, outside));
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  assert_int_equal(cuStreamWaitEvent(stream, event, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CUstream second = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CU(cuEventRecord(inside, stream));
  assert_int_equal(cuStreamWaitEvent(second, inside, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
  end_broken(stream);
  end_broken(second);
  stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CU(cuEventRecord(inside, stream));
  assert_int_equal(cuStreamWaitEvent(NULL, inside, 0), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  end_broken(stream);
  CU(cuStreamDestroy(outside));
  CU(cuEventDestroy(event));
  CU(cuEventDestroy(inside));
}

CUSIM_TEST(a_stream_that_waits_is_drawn_in_and_has_to_be_joined) {
  CUdeviceptr device = cusim_fixture_device(8);
  CUstream fork = cusim_fixture_stream();
  CUevent forked = cusim_fixture_event(), joined = cusim_fixture_event();
  CUgraph graph = NULL;
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CU(cuEventRecord(forked, stream));
  CU(cuStreamWaitEvent(fork, forked, 0));
  assert_int_equal(status_of(fork), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CU(cuMemsetD8Async(device, 1, 8, fork));
  assert_int_equal(cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  assert_int_equal(status_of(fork), CU_STREAM_CAPTURE_STATUS_NONE);
  assert_null(graph);

  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuEventRecord(forked, stream));
  CU(cuStreamWaitEvent(fork, forked, 0));
  CU(cuMemsetD8Async(device, 1, 8, fork));
  CU(cuEventRecord(joined, fork));
  CU(cuStreamWaitEvent(stream, joined, 0));
  end_whole(stream);

  stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CU(cuEventRecord(forked, stream));
  CU(cuStreamWaitEvent(fork, forked, 0));
  assert_int_equal(cuStreamEndCapture(fork, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  end_broken(stream);
  CU(cuStreamDestroy(fork));
  CU(cuEventDestroy(forked));
  CU(cuEventDestroy(joined));
  CU(cuMemFree(device));
}

CUSIM_TEST(the_legacy_stream_waits_for_no_capture) {
  CUdeviceptr device = cusim_fixture_device(8);
  CUstreamCaptureStatus status;
  CUresult (*const wait[])(CUstream) = {cuStreamSynchronize, cuStreamQuery};
  for (int i = 0; i < 3; i++) {
    CUstream stream = NULL;
    CU(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
    CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_int_equal(cuStreamIsCapturing(NULL, &status), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    assert_int_equal(status_of(stream), CU_STREAM_CAPTURE_STATUS_ACTIVE); /* asking is harmless */
    assert_int_equal(i == 2 ? cuMemsetD8Async(device, 0, 8, NULL) : wait[i](NULL),
                     CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    end_broken(stream);
  }
  CUstream aside = begin(CU_STREAM_CAPTURE_MODE_RELAXED); /* non-blocking: they do not meet */
  CU(cuMemsetD8Async(device, 0, 8, NULL));
  CU(cuStreamSynchronize(NULL));
  end_whole(aside);
  CU(cuMemFree(device));
}

/* A call that may conflict with a capture, by a thread with or without one of its own. */
typedef struct attempt {
  CUcontext context;
  CUstreamCaptureMode own_mode;
  CUresult result;
} attempt;

static void *allocate(void *argument) {
  attempt *self = argument;
  CU(cuCtxPushCurrent(self->context));
  CUstreamCaptureMode mode = self->own_mode;
  CU(cuThreadExchangeStreamCaptureMode(&mode));
  assert_int_equal(mode, CU_STREAM_CAPTURE_MODE_GLOBAL); /* what a thread begins with */
  CUdeviceptr device = 0;
  self->result = cuMemAlloc(&device, 8);
  if (self->result == CUDA_SUCCESS) CU(cuMemFree(device));
  return NULL;
}

static CUresult allocate_elsewhere(CUcontext context, CUstreamCaptureMode own_mode) {
  attempt self = {.context = context, .own_mode = own_mode};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, allocate, &self), 0);
  pthread_join(thread, NULL);
  return self.result;
}

static CUresult allocate_here(CUstreamCaptureMode own_mode) {
  CUdeviceptr device = 0;
  CU(cuThreadExchangeStreamCaptureMode(&own_mode));
  const CUresult result = cuMemAlloc(&device, 8);
  if (result == CUDA_SUCCESS) CU(cuMemFree(device));
  CU(cuThreadExchangeStreamCaptureMode(&own_mode));
  return result;
}

CUSIM_TEST(unsafe_calls_are_forbidden_as_the_modes_say) {
  static const struct {
    CUstreamCaptureMode capture, thread;
    bool here, elsewhere; /* permitted */
  } cases[] = {
      {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_GLOBAL, false, false},
      {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, false, true},
      {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_RELAXED, true, true},
      {CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_GLOBAL, false, true},
      {CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_RELAXED, true, true},
      {CU_STREAM_CAPTURE_MODE_RELAXED, CU_STREAM_CAPTURE_MODE_GLOBAL, true, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    for (int is_here = 0; is_here < 2; is_here++) {
      CUstream stream = begin(cases[i].capture);
      const bool is_permitted = is_here ? cases[i].here : cases[i].elsewhere;
      const CUresult result =
          is_here ? allocate_here(cases[i].thread) : allocate_elsewhere(*state, cases[i].thread);
      assert_int_equal(result, is_permitted ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
      if (is_permitted) {
        end_whole(stream);
      } else {
        end_broken(stream);
      }
    }
  }
}

CUSIM_TEST(asking_an_event_from_outside_breaks_a_global_capture) {
  CUevent event = cusim_fixture_event();
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  assert_int_equal(cuEventQuery(event), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  CU(cuEventQuery(event));
  end_whole(stream);
  CU(cuEventDestroy(event));
}

CUSIM_TEST(making_and_trimming_a_pool_breaks_a_global_capture) {
  const CUmemPoolProps properties = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                     .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
  CUmemoryPool pool = NULL, none = NULL;
  CU(cuMemPoolCreate(&pool, &properties));
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  assert_int_equal(cuMemPoolCreate(&none, &properties), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  assert_int_equal(cuMemPoolTrimTo(pool, 0), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL);
  assert_int_equal(cuMemPoolDestroy(pool), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  CU(cuMemPoolTrimTo(pool, 0));
  CU(cuMemPoolDestroy(pool));
  end_whole(stream);
}

CUSIM_TEST(what_cannot_be_captured_breaks_the_capture) {
  CUdeviceptr device = cusim_fixture_device(8);
  char pageable[8] = {0};
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  assert_int_equal(cuMemcpyHtoDAsync(device, pageable, 8, stream),
                   CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  assert_int_equal(cuMemcpyDtoHAsync(pageable, device, 8, stream),
                   CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  stream = begin(CU_STREAM_CAPTURE_MODE_RELAXED);
  CUdeviceptr block = 0;
  assert_int_equal(cuMemAllocAsync(&block, 8, stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  end_broken(stream);
  CU(cuMemFree(device));
}

typedef struct ender {
  CUcontext context;
  CUstream stream;
  CUgraph graph;
  CUresult result;
} ender;

static void *end_elsewhere(void *argument) {
  ender *self = argument;
  CU(cuCtxPushCurrent(self->context));
  self->result = cuStreamEndCapture(self->stream, &self->graph);
  return NULL;
}

CUSIM_TEST(another_thread_ends_relaxed_captures_only) {
  for (int is_relaxed = 0; is_relaxed < 2; is_relaxed++) {
    ender self = {.context = *state,
                  .stream = begin(is_relaxed ? CU_STREAM_CAPTURE_MODE_RELAXED
                                             : CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, end_elsewhere, &self), 0);
    pthread_join(thread, NULL);
    if (is_relaxed) {
      assert_int_equal(self.result, CUDA_SUCCESS);
      CU(cuGraphDestroy(self.graph));
      CU(cuStreamDestroy(self.stream));
    } else {
      assert_int_equal(self.result, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
      end_whole(self.stream);
    }
  }
}

CUSIM_TEST(a_capture_tells_its_number_and_its_frontier) {
  CUdeviceptr device = cusim_fixture_device(8);
  CUstreamCaptureStatus status;
  cuuint64_t id = 0, second_id = 0;
  CUgraph graph = NULL, made = NULL;
  const CUgraphNode *frontier = NULL;
  const CUgraphEdgeData *edges = NULL;
  size_t count = 9;
  CUstream stream = cusim_fixture_stream();
  CU(cuStreamGetCaptureInfo(stream, &status, &id, NULL, NULL, NULL, NULL));
  assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
  assert_int_equal(id, 0);
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuStreamGetCaptureInfo(stream, &status, &id, &graph, &frontier, &edges, &count));
  assert_int_equal(count, 0);
  CU(cuMemsetD8Async(device, 1, 8, stream));
  CU(cuStreamGetCaptureInfo(stream, &status, &id, &graph, &frontier, NULL, &count));
  assert_int_equal(count, 1);
  CUgraphNode node = frontier[0], found = NULL;
  CU(cuGraphGetNodes(graph, &found, &count));
  assert_ptr_equal(found, node);
  assert_int_equal(cuGraphDestroy(graph), CUDA_ERROR_INVALID_VALUE); /* still being made */
  CU(cuStreamEndCapture(stream, &made));
  assert_ptr_equal(made, graph);
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuStreamGetCaptureInfo(stream, &status, &second_id, NULL, NULL, NULL, NULL));
  assert_true(second_id > id);
  end_whole(stream);
  CU(cuGraphDestroy(made));
  CU(cuMemFree(device));
}

CUSIM_TEST(a_stream_destroyed_in_its_capture_takes_the_graph_along) {
  CUdeviceptr device = cusim_fixture_device(8);
  CUevent event = cusim_fixture_event();
  CUstream stream = begin(CU_STREAM_CAPTURE_MODE_GLOBAL), fork = cusim_fixture_stream();
  CU(cuMemsetD8Async(device, 1, 8, stream));
  CU(cuEventRecord(event, stream));
  CU(cuStreamWaitEvent(fork, event, 0));
  CU(cuStreamDestroy(fork));
  assert_int_equal(status_of(stream), CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  CU(cuStreamDestroy(stream));
  assert_int_equal(cusim_fixture_counts().graphs, 0);
  CU(cuEventDestroy(event));
  CU(cuMemFree(device));
}

#define FAILS(name, ...)                                        \
  do {                                                          \
    assert_true(cusim_fail_call(#name, 1, CUDA_ERROR_UNKNOWN)); \
    assert_int_equal(name(__VA_ARGS__), CUDA_ERROR_UNKNOWN);    \
  } while (0)

CUSIM_TEST(every_call_of_captures_fails_on_demand) {
  CUstream stream = cusim_fixture_stream();
  CUstreamCaptureStatus status;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  CUgraph graph = NULL;
  CUgraphExec executable = NULL;
  size_t count = 0;
  FAILS(cuStreamBeginCapture, stream, mode);
  CU(cuStreamBeginCapture(stream, mode));
  FAILS(cuStreamIsCapturing, stream, &status);
  FAILS(cuStreamGetCaptureInfo, stream, &status, NULL, NULL, NULL, NULL, NULL);
  FAILS(cuThreadExchangeStreamCaptureMode, &mode);
  FAILS(cuStreamEndCapture, stream, &graph);
  CU(cuStreamEndCapture(stream, &graph));
  FAILS(cuGraphGetNodes, graph, NULL, &count);
  assert_true(cusim_fail_call("cuGraphInstantiateWithFlags", 1, CUDA_ERROR_UNKNOWN));
  assert_int_equal(cuGraphInstantiate(&executable, graph, 0), CUDA_ERROR_UNKNOWN);
  CU(cuGraphInstantiate(&executable, graph, 0));
  FAILS(cuGraphLaunch, executable, stream);
  FAILS(cuGraphExecDestroy, executable);
  CU(cuGraphExecDestroy(executable));
  FAILS(cuGraphDestroy, graph);
  CU(cuGraphDestroy(graph));
  CU(cuStreamDestroy(stream));
}

int run_cusim_capture_tests(void) {
  return run_listed_tests(NULL, NULL);
}
