/* test_cusim_graph.c: launched graphs do what was captured, in an order that their edges allow. */
#include "tests/cuda/sim/cusim_fixture.h"

static CUgraphExec instantiate(CUgraph graph) {
  CUgraphExec executable = NULL;
  CU(cuGraphInstantiate(&executable, graph, 0));
  CU(cuGraphDestroy(graph)); /* the executable is on its own */
  return executable;
}

static CUgraphExec end(CUstream stream) {
  CUgraph graph = NULL;
  CU(cuStreamEndCapture(stream, &graph));
  return instantiate(graph);
}

static void add_one(void *value) {
  ++*(unsigned char *)value;
}

CUSIM_TEST(every_launch_runs_all_of_it_again) {
  CUstream stream = cusim_fixture_stream(), launcher = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(8);
  CUdeviceptr device = cusim_fixture_device(4);
  memset(pinned, 0, 8);
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuMemcpyAsync(device, at(pinned), 4, stream));
  CU(cuMemsetD8Async(device, 7, 1, stream));
  CU(cuStreamWriteValue32(stream, at(pinned) + 4, 0x01010101, 0));
  CU(cuMemcpyAsync(at(pinned) + 4, device, 2, stream));
  CU(cuLaunchHostFunc(stream, add_one, pinned + 7));
  CUgraphExec executable = end(stream);
  for (int round = 1; round <= 3; round++) {
    memset(pinned, round, 4);
    CU(cuGraphLaunch(executable, round % 2 == 0 ? stream : launcher));
    CU(cuCtxSynchronize());
    const unsigned char expected[] = {7, (unsigned char)round, 1, 2};
    assert_memory_equal(pinned + 4, expected, 4);
  }
  CU(cuGraphExecDestroy(executable));
  CU(cuStreamDestroy(stream));
  CU(cuStreamDestroy(launcher));
  CU(cuMemFree(device));
  CU(cuMemFreeHost(pinned));
}

/* Two branches between a fork and a join: each writes its half, one step behind the other. */
static CUgraphExec capture_branches(unsigned char *pinned) {
  CUstream stream = cusim_fixture_stream(), fork = cusim_fixture_stream();
  CUevent event = cusim_fixture_event();
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuMemsetD8Async(at(pinned), 1, 6, stream));
  CU(cuEventRecord(event, stream));
  CU(cuStreamWaitEvent(fork, event, 0));
  CU(cuMemsetD8Async(at(pinned), 2, 1, stream));
  CU(cuMemcpyAsync(at(pinned) + 1, at(pinned), 1, stream));
  CU(cuMemsetD8Async(at(pinned) + 2, 3, 1, fork));
  CU(cuMemcpyAsync(at(pinned) + 3, at(pinned) + 2, 1, fork));
  CU(cuEventRecord(event, fork));
  CU(cuStreamWaitEvent(stream, event, 0));
  CU(cuMemcpyAsync(at(pinned) + 4, at(pinned) + 1, 1, stream));
  CU(cuMemcpyAsync(at(pinned) + 5, at(pinned) + 3, 1, stream));
  CUgraphExec executable = end(stream);
  CU(cuEventDestroy(event));
  CU(cuStreamDestroy(stream));
  CU(cuStreamDestroy(fork));
  return executable;
}

CUSIM_TEST(branches_come_together_on_every_schedule) {
  unsigned char *pinned = cusim_fixture_pinned(6);
  CUstream stream = cusim_fixture_stream();
  CUgraphExec executable = capture_branches(pinned);
  cusim_set_policy(CUSIM_RANDOM);
  for (uint64_t seed = 1; seed <= 50; seed++) {
    cusim_set_seed(seed);
    memset(pinned, 0, 6);
    CU(cuGraphLaunch(executable, stream));
    CU(cuStreamSynchronize(stream));
    assert_memory_equal(pinned, "\2\2\3\3\2\3", 6);
  }
  CU(cuGraphExecDestroy(executable));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(launches_of_one_executable_wait_for_each_other) {
  CUstream stream = cusim_fixture_stream(), second = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuLaunchHostFunc(stream, add_one, pinned));
  CU(cuMemcpyAsync(at(pinned) + 1, at(pinned), 1, stream));
  CUgraphExec executable = end(stream);
  CU(cuGraphLaunch(executable, stream));
  CU(cuGraphLaunch(executable, second));
  CU(cuGraphExecDestroy(executable)); /* what was launched still runs */
  assert_int_equal(cuGraphLaunch(executable, stream), CUDA_ERROR_INVALID_VALUE);
  CU(cuStreamSynchronize(second));
  assert_memory_equal(pinned, "\2\2", 2);
  CU(cuStreamDestroy(stream));
  CU(cuStreamDestroy(second));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(a_launch_races_like_the_launching_streams_own_work) {
  CUstream stream = cusim_fixture_stream(), other = cusim_fixture_stream();
  CUdeviceptr device = cusim_fixture_device(16);
  CUevent event = cusim_fixture_event();
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuMemsetD8Async(device, 1, 16, stream));
  CUgraphExec executable = end(stream);
  const cusim_races before = cusim_get_races();
  cusim_set_races(CUSIM_RACES_COUNT);
  CU(cuGraphLaunch(executable, stream));
  CU(cuEventRecord(event, stream));
  CU(cuStreamWaitEvent(other, event, 0));
  CU(cuMemsetD8Async(device, 2, 16, other)); /* behind the launch */
  assert_int_equal(cusim_race_count(), 0);
  CU(cuGraphLaunch(executable, stream)); /* beside the fill */
  assert_int_equal(cusim_race_count(), 1);
  CU(cuCtxSynchronize());
  cusim_set_races(before);
  cusim_forget_races();
  CU(cuGraphExecDestroy(executable));
  CU(cuEventDestroy(event));
  CU(cuMemFree(device));
  CU(cuStreamDestroy(stream));
  CU(cuStreamDestroy(other));
}

CUSIM_TEST(memory_freed_below_a_graph_breaks_its_launch) {
  CUstream stream = cusim_fixture_stream();
  CUdeviceptr device = cusim_fixture_device(16);
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuMemsetD8Async(device, 1, 16, stream));
  CUgraphExec executable = end(stream);
  CU(cuMemFree(device));
  CUdeviceptr again = cusim_fixture_device(16);
  assert_true(again == device); /* the address came back as another block */
  CU(cuGraphLaunch(executable, stream));
  assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
  CU(cuGraphExecDestroy(executable));
  CU(cuDevicePrimaryCtxRelease(0));
  CUcontext context = NULL;
  CU(cuDevicePrimaryCtxRetain(&context, 0));
  cusim_fixture_forgive();
}

static CUgraph capture_fill(CUstream stream, unsigned char *bytes, unsigned char value,
                            int more_count) {
  CUgraph graph = NULL;
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(cuMemsetD8Async(at(bytes), value, 1, stream));
  for (int i = 0; i < more_count; i++) CU(cuMemsetD8Async(at(bytes), value, 1, stream));
  CU(cuStreamEndCapture(stream, &graph));
  return graph;
}

CUSIM_TEST(an_executable_is_updated_by_a_graph_of_the_same_shape) {
  CUstream stream = cusim_fixture_stream();
  unsigned char *pinned = cusim_fixture_pinned(2);
  memset(pinned, 0, 2);
  CUgraphExec executable = instantiate(capture_fill(stream, pinned, 1, 0));
  CUgraph same = capture_fill(stream, pinned + 1, 2, 0);
  CUgraph other = capture_fill(stream, pinned, 3, 1);
  CUgraphExecUpdateResultInfo info;
  CU(cuGraphLaunch(executable, stream)); /* runs as it was */
  assert_int_equal(cuGraphExecUpdate(executable, other, &info),
                   CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  CU(cuGraphExecUpdate(executable, same, &info));
  assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  CU(cuStreamSynchronize(stream));
  assert_memory_equal(pinned, "\1\0", 2);
  CU(cuGraphLaunch(executable, stream));
  CU(cuStreamSynchronize(stream));
  assert_memory_equal(pinned, "\1\2", 2);
  assert_int_equal(cuGraphExecUpdate(executable, same, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuGraphExecUpdate(NULL, same, &info), CUDA_ERROR_INVALID_VALUE);
  CU(cuGraphDestroy(same));
  CU(cuGraphDestroy(other));
  CU(cuGraphExecDestroy(executable));
  CU(cuStreamDestroy(stream));
  CU(cuMemFreeHost(pinned));
}

CUSIM_TEST(wrong_handles_and_flags_are_refused) {
  CUstream stream = cusim_fixture_stream();
  CUgraph graph = NULL;
  CUgraphExec executable = NULL;
  size_t count = 0;
  assert_int_equal(cuGraphInstantiate(&executable, NULL, 0), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuGraphDestroy(NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuGraphExecDestroy(NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuGraphLaunch(NULL, stream), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuGraphGetNodes(NULL, NULL, &count), CUDA_ERROR_INVALID_VALUE);
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  CU(cuStreamEndCapture(stream, &graph)); /* empty */
  assert_int_equal(cuGraphInstantiate(&executable, graph, 8), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuGraphInstantiate(NULL, graph, 0), CUDA_ERROR_INVALID_VALUE);
  executable = instantiate(graph);
  CU(cuGraphLaunch(executable, stream));
  CU(cuStreamSynchronize(stream));
  CU(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  assert_int_equal(cuGraphLaunch(executable, stream), CUDA_ERROR_NOT_SUPPORTED);
  CU(cuStreamEndCapture(stream, &graph));
  CU(cuGraphDestroy(graph));
  assert_int_equal(cuGraphDestroy(graph), CUDA_ERROR_INVALID_VALUE);
  CU(cuGraphExecDestroy(executable));
  CU(cuStreamDestroy(stream));
}

int run_cusim_graph_tests(void) {
  return run_listed_tests(NULL, NULL);
}
