/* test_cusim_module.c: modules and launches: what is refused, what runs, what is seen of it. */
#include "cuda/kernel_args.h"
#include "tests/cuda/sim/cusim_fixture.h"

static const char code[] = ".version 7.0\n.target sm_75\n.visible .entry tarn_fill(\n";

typedef struct scene {
  CUmodule module;
  CUfunction fill;
  CUstream stream;
  CUdeviceptr block;
  unsigned char *pinned;
} scene;

enum { COUNT = 256, BYTES = COUNT * 4 };

static scene scene_open(void) {
  scene self = {.stream = cusim_fixture_stream(),
                .block = cusim_fixture_device(BYTES),
                .pinned = cusim_fixture_pinned(BYTES)};
  CU(cuModuleLoadData(&self.module, code));
  CU(cuModuleGetFunction(&self.fill, self.module, "tarn_fill"));
  CU(cuMemsetD8Async(self.block, 0, BYTES, self.stream));
  CU(cuStreamSynchronize(self.stream));
  return self;
}

static void scene_close(scene *self) {
  CU(cuCtxSynchronize());
  CU(cuModuleUnload(self->module));
  CU(cuStreamDestroy(self->stream));
  CU(cuMemFree(self->block));
  CU(cuMemFreeHost(self->pinned));
}

/* Every `step`-th of COUNT elements of four bytes, from the address on, one by one. */
static tarn__kernel_run_args elements(CUdeviceptr address, uint32_t step, unsigned char value) {
  uint32_t shift = 0;
  while ((COUNT / step) >> (shift + 1) != 0) shift++;
  return (tarn__kernel_run_args){
      .dst = address,
      .digits = {{.dst_stride = step * 4, .by = {COUNT / step, 1, shift}}},
      .digit_count = 1,
      .item_count = COUNT / step,
      .run = 1,
      .chunk = 1,
      .chunk_count = 1,
      .inner = {1, 1, 0},
      .element_bytes = 4,
      .value = {value * 0x01010101u, value * 0x01010101u, value * 0x01010101u,
                value * 0x01010101u}};
}

static CUresult launch(CUfunction function, tarn__kernel_run_args args, CUstream stream) {
  void *parameters[] = {&args};
  return cuLaunchKernel(function, 1, 1, 1, COUNT, 1, 1, 0, stream, parameters, NULL);
}

CUSIM_TEST(no_image_but_device_code_is_taken) {
  CUmodule module = NULL;
  char log[64] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, (void *)sizeof log};
  assert_int_equal(cuModuleLoadData(&module, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cuModuleLoadData(&module, "garbage"), CUDA_ERROR_INVALID_IMAGE);
  assert_int_equal(cuModuleLoadData(&module, ".version 7.0\n.target sm_90\n"),
                   CUDA_ERROR_NO_BINARY_FOR_GPU);
  assert_int_equal(
      cuModuleLoadDataEx(&module, "// 1\n.version 9.9\n.target sm_75\n", 2, options, values),
      CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
  assert_non_null(strstr(log, "newer"));
  assert_null(module);
}

CUSIM_TEST(functions_are_those_of_the_module) {
  scene self = scene_open();
  CUfunction function = NULL;
  assert_int_equal(cuModuleGetFunction(&function, self.module, "tarn_copy_4"),
                   CUDA_ERROR_NOT_FOUND); /* the simulator has it, this text does not */
  assert_int_equal(cuModuleGetFunction(&function, self.module, "tarn_fil"), CUDA_ERROR_NOT_FOUND);
  assert_int_equal(cuModuleGetFunction(&function, (CUmodule)self.stream, "tarn_fill"),
                   CUDA_ERROR_INVALID_HANDLE);
  CU(cuModuleGetFunction(&function, self.module, "tarn_fill"));
  assert_ptr_equal(function, self.fill);
  scene_close(&self);
}

CUSIM_TEST(launches_that_no_gpu_takes_are_refused) {
  scene self = scene_open();
  tarn__kernel_run_args args = elements(self.block, 1, 1);
  void *parameters[] = {&args};
  const struct {
    unsigned x, y, z, threads, shared_bytes;
    CUresult result;
  } cases[] = {{0, 1, 1, 32, 0, CUDA_ERROR_INVALID_VALUE},
               {1u << 31, 1, 1, 32, 0, CUDA_ERROR_INVALID_VALUE},
               {1, 65536, 1, 32, 0, CUDA_ERROR_INVALID_VALUE},
               {1, 1, 0, 32, 0, CUDA_ERROR_INVALID_VALUE},
               {1, 1, 1, 0, 0, CUDA_ERROR_INVALID_VALUE},
               {1, 1, 1, 1025, 0, CUDA_ERROR_INVALID_VALUE},
               {1, 1, 1, 512, 0, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
               {1, 1, 1, 32, 1 << 20, CUDA_ERROR_INVALID_VALUE}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(cuLaunchKernel(self.fill, cases[i].x, cases[i].y, cases[i].z, cases[i].threads,
                                    1, 1, cases[i].shared_bytes, self.stream, parameters, NULL),
                     cases[i].result);
  }
  assert_int_equal(cuLaunchKernel(self.fill, 1, 1, 1, 32, 1, 1, 0, self.stream, NULL, NULL),
                   CUDA_ERROR_INVALID_VALUE);
  scene_close(&self);
}

CUSIM_TEST(a_function_of_another_context_is_refused) {
  scene self = scene_open();
  CUcontext other = NULL;
  CU(cuDevicePrimaryCtxRetain(&other, 1));
  CU(cuCtxPushCurrent(other));
  CUstream stream = cusim_fixture_stream();
  assert_int_equal(launch(self.fill, elements(self.block, 1, 1), stream),
                   CUDA_ERROR_INVALID_HANDLE);
  assert_int_equal(cuModuleUnload(self.module), CUDA_ERROR_INVALID_HANDLE);
  CU(cuStreamDestroy(stream));
  CU(cuCtxPopCurrent(NULL));
  CU(cuDevicePrimaryCtxRelease(1));
  scene_close(&self);
}

CUSIM_TEST(a_launch_runs_in_the_order_of_its_stream) {
  scene self = scene_open();
  CU(launch(self.fill, elements(self.block, 2, 7), self.stream));
  CU(cuMemcpyDtoHAsync(self.pinned, self.block, BYTES, self.stream));
  CU(launch(self.fill, elements(self.block, 1, 9), self.stream));
  CU(cuStreamSynchronize(self.stream));
  for (int i = 0; i < BYTES; i++) assert_int_equal(self.pinned[i], i / 4 % 2 == 0 ? 7 : 0);
  scene_close(&self);
}

CUSIM_TEST(launches_race_where_their_elements_meet_and_not_between) {
  scene self = scene_open();
  CUstream other = cusim_fixture_stream();
  CU(launch(self.fill, elements(self.block, 2, 1), self.stream));
  CU(launch(self.fill, elements(self.block + 4, 2, 2), other)); /* into the gaps of the first */
  cusim_expect_no_race();
  CU(launch(self.fill, elements(self.block, 4, 3), other));
  cusim_expect_race("cuLaunchKernel", "cuLaunchKernel", "never waited for anything recorded");
  CU(cuCtxSynchronize());
  CU(cuStreamDestroy(other));
  scene_close(&self);
}

CUSIM_TEST(a_captured_launch_runs_at_every_launch_of_the_graph) {
  scene self = scene_open();
  CUgraph graph = NULL;
  CUgraphExec executable = NULL;
  CU(cuStreamBeginCapture(self.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(launch(self.fill, elements(self.block, 1, 5), self.stream));
  CU(cuStreamEndCapture(self.stream, &graph));
  CU(cuGraphInstantiate(&executable, graph, 0));
  CU(cuGraphDestroy(graph));
  for (int round = 0; round < 2; round++) {
    CU(cuMemsetD8Async(self.block, 0, BYTES, self.stream));
    CU(cuGraphLaunch(executable, self.stream));
    CU(cuMemcpyDtoHAsync(self.pinned, self.block, BYTES, self.stream));
    CU(cuStreamSynchronize(self.stream));
    assert_int_equal(self.pinned[0], 5);
    assert_int_equal(self.pinned[BYTES - 1], 5);
  }
  CU(cuGraphExecDestroy(executable));
  scene_close(&self);
}

static CUgraph capture_launch(const scene *self, unsigned char value) {
  CUgraph graph = NULL;
  CU(cuStreamBeginCapture(self->stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(launch(self->fill, elements(self->block, 1, value), self->stream));
  CU(cuStreamEndCapture(self->stream, &graph));
  return graph;
}

CUSIM_TEST(a_captured_launch_is_replaced_by_another_graphs) {
  scene self = scene_open();
  CUgraph first = capture_launch(&self, 5), second = capture_launch(&self, 6);
  CUgraphExec executable = NULL;
  CUgraphExecUpdateResultInfo info;
  CU(cuGraphInstantiate(&executable, first, 0));
  CU(cuGraphExecUpdate(executable, second, &info));
  CU(cuGraphDestroy(second)); /* the executable is on its own */
  CUgraph third = capture_launch(&self, 7);
  CU(cuGraphLaunch(executable, self.stream));
  CU(cuMemcpyDtoHAsync(self.pinned, self.block, BYTES, self.stream));
  CU(cuStreamSynchronize(self.stream));
  for (int i = 0; i < BYTES; i++) assert_int_equal(self.pinned[i], 6);
  CU(cuGraphExecDestroy(executable));
  CU(cuGraphDestroy(first));
  CU(cuGraphDestroy(third));
  scene_close(&self);
}

CUSIM_TEST(loading_during_a_capture_breaks_it) {
  scene self = scene_open();
  CUmodule module = NULL;
  CUgraph graph = NULL;
  CU(cuStreamBeginCapture(self.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  assert_int_equal(cuModuleLoadData(&module, code), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  assert_int_equal(cuStreamEndCapture(self.stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  scene_close(&self);
}

/* Breaks the context by one launch; everything of the scene goes with it. */
static void expect_broken(scene *self, CUresult result, const char *fault) {
  assert_int_equal(cuStreamSynchronize(self->stream), result);
  assert_non_null(strstr(cusim_fault(), fault));
  CU(cuDevicePrimaryCtxRelease(0));
  cusim_fixture_forgive();
  CUcontext context = NULL;
  CU(cuDevicePrimaryCtxRetain(&context, 0));
  CU(cuCtxSetCurrent(context));
  cusim_forget_races();
}

CUSIM_TEST(a_launch_on_memory_that_is_no_device_s_breaks_the_context) {
  static unsigned char pageable[BYTES];
  scene self = scene_open();
  CU(launch(self.fill, elements(at(pageable), 1, 1), self.stream));
  expect_broken(&self, CUDA_ERROR_ILLEGAL_ADDRESS, "no memory of the device's");
}

CUSIM_TEST(a_launch_past_the_end_of_memory_breaks_the_context) {
  scene self = scene_open();
  CU(launch(self.fill, elements(self.block + 4, 1, 1), self.stream));
  expect_broken(&self, CUDA_ERROR_ILLEGAL_ADDRESS, "no memory of the device's");
}

CUSIM_TEST(a_misaligned_element_breaks_the_context) {
  scene self = scene_open();
  CU(launch(self.fill, elements(self.block + 2, 2, 1), self.stream));
  expect_broken(&self, CUDA_ERROR_MISALIGNED_ADDRESS, "not aligned");
}

CUSIM_TEST(a_launch_that_leaves_elements_out_breaks_the_context) {
  scene self = scene_open();
  tarn__kernel_run_args args = elements(self.block, 1, 1);
  args.item_count = COUNT - 1;
  CU(launch(self.fill, args, self.stream));
  expect_broken(&self, CUDA_ERROR_LAUNCH_FAILED, "not all of it was written");
}

CUSIM_TEST(memory_that_is_freed_before_the_launch_runs_breaks_the_context) {
  scene self = scene_open();
  CU(launch(self.fill, elements(self.block, 1, 1), self.stream));
  CU(cuMemFree(self.block));
  expect_broken(&self, CUDA_ERROR_ILLEGAL_ADDRESS, "freed");
}

CUSIM_TEST(a_module_that_is_unloaded_under_a_launch_breaks_the_context) {
  scene self = scene_open();
  CU(launch(self.fill, elements(self.block, 1, 1), self.stream));
  CU(cuModuleUnload(self.module));
  expect_broken(&self, CUDA_ERROR_ILLEGAL_ADDRESS, "unloaded");
}

CUSIM_TEST(a_graph_that_is_launched_without_its_module_breaks_the_context) {
  scene self = scene_open();
  CUgraph graph = NULL;
  CUgraphExec executable = NULL;
  CU(cuStreamBeginCapture(self.stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CU(launch(self.fill, elements(self.block, 1, 5), self.stream));
  CU(cuStreamEndCapture(self.stream, &graph));
  CU(cuGraphInstantiate(&executable, graph, 0));
  CU(cuGraphDestroy(graph));
  CU(cuModuleUnload(self.module));
  CU(cuModuleLoadData(&self.module, code)); /* another one, wherever it lies */
  CU(cuGraphLaunch(executable, self.stream));
  expect_broken(&self, CUDA_ERROR_ILLEGAL_ADDRESS, "unloaded");
  CU(cuGraphExecDestroy(executable));
}

int run_cusim_module_tests(void) {
  return run_listed_tests(NULL, NULL);
}
