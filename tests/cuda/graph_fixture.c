/* graph_fixture.c: capturing, launching, and what goes with it. */
#include "tests/cuda/graph_fixture.h"
#include "tests/support/pools.h"

graph_driver driver;

static void find(const char *name, void *function) {
  void *found = fixture_driver_function(name);
  memcpy(function, &found, sizeof found);
}

int graph_setup(void **state) {
  find("cuStreamBeginCapture_v2", &driver.begin);
  find("cuStreamEndCapture", &driver.end);
  find("cuStreamIsCapturing", &driver.is_capturing);
  find("cuStreamSynchronize", &driver.synchronize);
  find("cuGraphInstantiateWithFlags", &driver.instantiate);
  find("cuGraphExecUpdate_v2", &driver.update);
  find("cuGraphLaunch", &driver.launch);
  find("cuGraphExecDestroy", &driver.destroy_executable);
  find("cuGraphDestroy", &driver.destroy_graph);
  return fixture_setup(state);
}

graph_subject make_graph_subject(tarn_cuda *cuda, tarn_pool *pool) {
  graph_subject self = {.cuda = cuda, .stream = fixture_stream(cuda), .pool = pool};
  void *native = NULL;
  CUcontext context = NULL;
  OK(tarn_cuda_stream_native(self.stream, &native));
  self.native = native;
  OK(tarn__cuda_context(cuda, 0, &context));
  OK(tarn__cuda_enter(cuda, context, &self.scope));
  return self;
}

void drop_graph_subject(graph_subject *self) {
  OK(tarn_stream_synchronize(self->stream));
  tarn__cuda_leave(&self->scope);
  tarn_stream_release(self->stream);
  tarn_pool_release(self->pool);
}

void graph_begin(graph_subject *self, CUstreamCaptureMode mode) {
  OK(tarn_capture_begin(self->stream, &self->capture));
  CU(driver.begin(self->native, mode));
}

void graph_end(graph_subject *self) {
  CUgraph graph = NULL;
  CU(driver.end(self->native, &graph));
  OK(tarn_capture_end(self->capture));
  CU(driver.instantiate(&self->executable, graph, 0));
  CU(driver.destroy_graph(graph));
}

void graph_launch(graph_subject *self, tarn_stream *stream) {
  void *native = NULL;
  OK(tarn_cuda_stream_native(stream, &native));
  CU(driver.launch(self->executable, native));
  OK(tarn_capture_note_launch(self->capture, stream));
}

void graph_destroy(graph_subject *self) {
  if (self->executable != NULL) CU(driver.destroy_executable(self->executable));
  self->executable = NULL;
  OK(tarn_capture_destroy(self->capture));
  self->capture = NULL;
}

CUstreamCaptureStatus graph_status(const graph_subject *self) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  CU(driver.is_capturing(self->native, &status));
  return status;
}

void *graph_take(const graph_subject *self, size_t size_bytes, tarn_stream *stream) {
  void *address = NULL;
  OK(tarn_pool_alloc(self->pool, size_bytes, stream, &address));
  return address;
}

void graph_fill(void *block, uint8_t value, size_t size_bytes, tarn_stream *stream) {
  OK(tarn_stream_fill(stream, block, tarn_device_make(TARN_DEVICE_CUDA, 0), value, size_bytes));
}

void graph_bring(const fixture_block *out, size_t offset, const void *block, size_t size_bytes,
                 tarn_stream *stream) {
  OK(tarn_stream_copy(stream, out->address + offset, out->device, block,
                      tarn_device_make(TARN_DEVICE_CUDA, 0), size_bytes));
}

tarn_pool_stats graph_stats(const graph_subject *self) {
  tarn_pool_stats stats = stats_of(self->pool);
  return stats;
}

size_t graph_kept(const tarn_capture *capture) {
  tarn_capture_stats stats = {.struct_size = sizeof stats};
  OK(tarn_capture_stats_of(capture, &stats));
  return stats.kept_bytes;
}
