/* test_cuda_copy.c: planes of rows and batches of copies on a CUDA stream. */
#include "alloc/tarn_stream_copy.h"
#include "tests/cuda/pinned_fixture.h"

enum { BYTES = 1 << 16 };

static void fill_pattern(unsigned char *bytes, unsigned seed) {
  for (size_t i = 0; i < BYTES; i++) bytes[i] = (unsigned char)((i * 37 + seed) >> (i % 5));
}

static uint64_t calls_of(const char *name) {
  return fixture_sim_control() != NULL ? fixture_sim_control()->calls(name) : 0;
}

/* Memory on the device and on the host's two sides, and a stream. */
typedef struct subject {
  tarn_stream *stream;
  fixture_block device, source, result;
} subject;

static subject make_subject(tarn_cuda *cuda) {
  subject self = {.stream = fixture_stream(cuda),
                  .device = fixture_device_block(cuda, BYTES),
                  .source = fixture_pinned_block(cuda, BYTES),
                  .result = fixture_pinned_block(cuda, BYTES)};
  fill_pattern(self.source.address, 5);
  memset(self.result.address, 0xEE, BYTES);
  return self;
}

static void drop_subject(subject *self) {
  tarn_stream_release(self->stream);
  fixture_free(&self->device);
  fixture_free(&self->source);
  fixture_free(&self->result);
}

/* --- planes --- */

/* Up and down again, with other pitches on the device than on the host. */
static void send_planes(subject *self, tarn_copy_planes up) {
  tarn_copy_planes down = up;
  up.rows.dst = self->device.address + 3;
  up.rows.src = self->source.address;
  up.rows.dst_device = down.rows.src_device = self->device.device;
  up.rows.src_device = down.rows.dst_device = self->source.device;
  down.rows.dst = self->result.address;
  down.rows.src = self->device.address + 3;
  down.rows.dst_pitch_bytes = up.rows.src_pitch_bytes;
  down.rows.src_pitch_bytes = up.rows.dst_pitch_bytes;
  down.dst_pitch_bytes = up.src_pitch_bytes;
  down.src_pitch_bytes = up.dst_pitch_bytes;
  memset(self->result.address, 0xEE, BYTES);
  OK(tarn_stream_copy_planes(self->stream, &up));
  OK(tarn_stream_copy_planes(self->stream, &down));
  OK(tarn_stream_synchronize(self->stream));
  unsigned char expected[BYTES];
  memset(expected, 0xEE, sizeof expected);
  for (size_t plane = 0; plane < up.plane_count; plane++) {
    for (size_t row = 0; row < up.rows.row_count; row++) {
      const size_t at = plane * (size_t)up.src_pitch_bytes + row * up.rows.src_pitch_bytes;
      memcpy(expected + at, self->source.address + at, up.rows.row_bytes);
    }
  }
  assert_memory_equal(self->result.address, expected, BYTES);
}

TEST(planes_take_one_call_where_the_driver_can) {
  subject self = make_subject(*state);
  const tarn_copy_planes planes = {
      .rows = {.row_bytes = 10, .row_count = 7, .dst_pitch_bytes = 16, .src_pitch_bytes = 20},
      .dst_pitch_bytes = 16 * 8,
      .src_pitch_bytes = 20 * 7,
      .plane_count = 11};
  const uint64_t before = calls_of("cuMemcpy3DAsync");
  send_planes(&self, planes);
  if (fixture_sim_control() != NULL) assert_int_equal(calls_of("cuMemcpy3DAsync"), before + 2);
  drop_subject(&self);
}

TEST(planes_that_no_call_takes_go_as_rows) {
  tarn_cuda *cuda = *state;
  subject self = make_subject(cuda);
  const uint64_t before = calls_of("cuMemcpy3DAsync");
  tarn_copy_planes planes = {
      .rows = {.row_bytes = 10, .row_count = 7, .dst_pitch_bytes = 16, .src_pitch_bytes = 20},
      .dst_pitch_bytes = 16 * 8 + 1, /* no whole number of rows */
      .src_pitch_bytes = 20 * 7,
      .plane_count = 11};
  send_planes(&self, planes);
  planes.dst_pitch_bytes = 16 * 8;
  planes.rows.src_pitch_bytes = 2000; /* planes between the rows of others */
  planes.src_pitch_bytes = 20;
  send_planes(&self, planes);
  const size_t pitch_bytes_max = cuda->devices[0].pitch_bytes_max;
  cuda->devices[0].pitch_bytes_max = 19;
  planes.rows.src_pitch_bytes = 20;
  planes.src_pitch_bytes = 20 * 7;
  send_planes(&self, planes);
  cuda->devices[0].pitch_bytes_max = pitch_bytes_max;
  planes.rows.row_count = 1; /* whose pitch may be anything */
  planes.rows.src_pitch_bytes = planes.rows.dst_pitch_bytes = 4;
  send_planes(&self, planes);
  assert_int_equal(calls_of("cuMemcpy3DAsync"), before);
  drop_subject(&self);
}

/* --- batches --- */

enum { SPANS = 1200, SPAN_BYTES = 24 };

/* Every other piece of the source, in an order of its own. */
static void make_spans(const subject *self, tarn_copy_span *up, tarn_copy_span *down) {
  for (size_t i = 0; i < SPANS; i++) {
    const size_t from = i * 2 * SPAN_BYTES, to = i * 701 % SPANS * (SPAN_BYTES + 2);
    const size_t size_bytes = 1 + i % SPAN_BYTES;
    up[i] = (tarn_copy_span){self->device.address + to, self->source.address + from, size_bytes,
                             self->device.device, self->source.device};
    down[i] = (tarn_copy_span){self->result.address + from, self->device.address + to, size_bytes,
                               self->device.device, self->device.device};
    down[i].dst_device = self->result.device;
  }
}

static void send_batches(subject *self) {
  static tarn_copy_span up[SPANS], down[SPANS];
  unsigned char expected[BYTES];
  make_spans(self, up, down);
  OK(tarn_stream_copy_batch(self->stream, up, SPANS));
  OK(tarn_stream_copy_batch(self->stream, down, SPANS));
  OK(tarn_stream_synchronize(self->stream));
  memset(expected, 0xEE, sizeof expected);
  for (size_t i = 0; i < SPANS; i++) {
    const size_t at = i * 2 * SPAN_BYTES;
    memcpy(expected + at, self->source.address + at, up[i].size_bytes);
  }
  assert_memory_equal(self->result.address, expected, BYTES);
}

TEST(thousands_of_copies_take_a_few_calls) {
  tarn_cuda *cuda = *state;
  subject self = make_subject(cuda);
  const uint64_t before = calls_of("cuMemcpyBatchAsync"), lines = calls_of("cuMemcpyAsync");
  send_batches(&self);
  if (fixture_sim_control() != NULL) {
    assert_int_equal(calls_of("cuMemcpyBatchAsync"), before + 6);
    assert_int_equal(calls_of("cuMemcpyAsync"), lines);
  }
  drop_subject(&self);
}

/* Both directions in one batch are two of the driver's. */
TEST(a_batch_may_go_both_ways) {
  subject self = make_subject(*state);
  static tarn_copy_span up[SPANS], down[SPANS], both[20];
  make_spans(&self, up, down);
  OK(tarn_stream_copy_batch(self.stream, up + 10, 10));
  memcpy(both, up, 10 * sizeof *both);
  memcpy(both + 10, down + 10, 10 * sizeof *both);
  const uint64_t before = calls_of("cuMemcpyBatchAsync");
  OK(tarn_stream_copy_batch(self.stream, both, 20));
  if (fixture_sim_control() != NULL) assert_int_equal(calls_of("cuMemcpyBatchAsync"), before + 2);
  OK(tarn_stream_copy_batch(self.stream, down, 10));
  OK(tarn_stream_synchronize(self.stream));
  for (size_t i = 0; i < 20; i++) {
    assert_memory_equal(down[i].dst, up[i].src, up[i].size_bytes);
  }
  drop_subject(&self);
}

/* A driver that takes no such batch, for whatever reason, is asked one by one. */
TEST(a_batch_that_the_driver_refuses_goes_as_a_loop) {
  FIXTURE_NEEDS_SIM();
  subject self = make_subject(*state);
  static tarn_copy_span up[SPANS], down[SPANS];
  make_spans(&self, up, down);
  fixture_sim_control()->fail_call("cuMemcpyBatchAsync", 1, CUDA_ERROR_INVALID_VALUE);
  OK(tarn_stream_copy_batch(self.stream, up, SPANS));
  fixture_sim_control()->fail_call("cuMemcpyBatchAsync", 2, CUDA_ERROR_NOT_SUPPORTED);
  assert_int_equal(tarn_stream_copy_batch(self.stream, down, SPANS), TARN_DEVICE_ERROR);
  OK(tarn_stream_copy_batch(self.stream, down, SPANS));
  OK(tarn_stream_synchronize(self.stream));
  for (size_t i = 0; i < SPANS; i++) {
    assert_memory_equal(down[i].dst, up[i].src, up[i].size_bytes);
  }
  drop_subject(&self);
}

TEST(a_batch_goes_as_a_loop_where_the_driver_has_none) {
  FIXTURE_NEEDS_SIM();
  (void)state;
  fixture_sim_control()->hide("cuMemcpyBatchAsync");
  tarn_cuda *cuda = fixture_open();
  fixture_sim_control()->hide(NULL);
  subject self = make_subject(cuda);
  const uint64_t before = calls_of("cuMemcpyBatchAsync");
  send_batches(&self);
  assert_int_equal(calls_of("cuMemcpyBatchAsync"), before);
  drop_subject(&self);
  tarn_cuda_release(cuda);
}

/* Where the call has one argument more. */
TEST(a_batch_is_sent_as_drivers_before_cuda_13_want_it) {
  FIXTURE_NEEDS_SIM();
  (void)state;
  const tarn_cuda_options options = {.struct_size = sizeof options, .driver_path = OLD_DRIVER};
  tarn_cuda *cuda;
  OK(tarn_cuda_open(&options, &cuda));
  assert_null(cuda->driver.MemcpyBatchAsync);
  subject self = make_subject(cuda);
  const uint64_t before = calls_of("cuMemcpyBatchAsync");
  send_batches(&self);
  assert_int_equal(calls_of("cuMemcpyBatchAsync"), before + 6);
  drop_subject(&self);
  tarn_cuda_release(cuda);
}

TEST(a_batch_on_the_default_stream_goes_as_a_loop) {
  tarn_cuda *cuda = *state;
  subject self = make_subject(cuda);
  tarn_stream_release(self.stream);
  OK(tarn_cuda_stream_wrap(cuda, 0, NULL, &self.stream));
  send_batches(&self);
  drop_subject(&self);
}

/* --- captures --- */

/* What the application calls itself. */
typedef struct graphs {
  PFN_cuStreamBeginCapture_v10010 begin;
  PFN_cuStreamEndCapture_v10000 end;
  PFN_cuGraphInstantiateWithFlags_v11040 instantiate;
  PFN_cuGraphLaunch_v10000 launch;
  PFN_cuGraphExecDestroy_v10000 destroy_executable;
  PFN_cuGraphDestroy_v10000 destroy_graph;
  tarn__cuda_scope scope;
  void *native;
} graphs;

static graphs begin_capture(tarn_cuda *cuda, tarn_stream *stream) {
  graphs self;
  CUcontext context;
  const struct {
    const char *name;
    void *function;
  } wanted[] = {
      {"cuStreamBeginCapture_v2", &self.begin},           {"cuStreamEndCapture", &self.end},
      {"cuGraphInstantiateWithFlags", &self.instantiate}, {"cuGraphLaunch", &self.launch},
      {"cuGraphExecDestroy", &self.destroy_executable},   {"cuGraphDestroy", &self.destroy_graph}};
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    void *found = fixture_driver_function(wanted[i].name);
    memcpy(wanted[i].function, &found, sizeof found);
  }
  OK(tarn_cuda_stream_native(stream, &self.native));
  OK(tarn__cuda_context(cuda, 0, &context));
  OK(tarn__cuda_enter(cuda, context, &self.scope));
  assert_int_equal(self.begin(self.native, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
  return self;
}

/* Ends the capture, runs it once and waits. */
static void replay(graphs *self, tarn_stream *stream) {
  CUgraph graph;
  CUgraphExec executable;
  assert_int_equal(self->end(self->native, &graph), CUDA_SUCCESS);
  assert_int_equal(self->instantiate(&executable, graph, 0), CUDA_SUCCESS);
  assert_int_equal(self->launch(executable, self->native), CUDA_SUCCESS);
  OK(tarn_stream_synchronize(stream));
  assert_int_equal(self->destroy_executable(executable), CUDA_SUCCESS);
  assert_int_equal(self->destroy_graph(graph), CUDA_SUCCESS);
  tarn__cuda_leave(&self->scope);
}

/* A capture takes no batch, and goes on without a word. */
TEST(a_batch_is_captured_as_a_loop) {
  subject self = make_subject(*state);
  static tarn_copy_span up[SPANS], down[SPANS];
  make_spans(&self, up, down);
  graphs capture = begin_capture(*state, self.stream);
  OK(tarn_stream_copy_batch(self.stream, up, 20));
  OK(tarn_stream_copy_batch(self.stream, down, 20));
  replay(&capture, self.stream);
  for (size_t i = 0; i < 20; i++) {
    assert_memory_equal(down[i].dst, up[i].src, up[i].size_bytes);
  }
  drop_subject(&self);
}

/* The first that this process copies: kernels are loaded in the middle of it, or the copy is
 * refused; in neither case is the capture spoilt. */
TEST(a_grid_in_a_capture_does_not_spoil_it) {
  tarn_cuda *cuda = fixture_open();
  subject self = make_subject(cuda);
  const int64_t shape[] = {100, 60}, to[] = {60, 1}, from[] = {1, 100};
  const tarn_copy_grid grid = {.dst = self.device.address,
                               .src = self.source.address,
                               .dst_device = self.device.device,
                               .src_device = self.source.device,
                               .rank = 2,
                               .shape = shape,
                               .dst_strides_bytes = to,
                               .src_strides_bytes = from,
                               .element_bytes = 1};
  graphs capture = begin_capture(cuda, self.stream);
  const tarn_status status = tarn_stream_copy_grid(self.stream, &grid);
  if (status != TARN_NOT_SUPPORTED) OK(status);
  fixture_copy(self.stream, &self.result, &self.device, 6000);
  replay(&capture, self.stream);
  for (int64_t i = 0; i < 6000 && status == TARN_OK; i++) {
    assert_int_equal(self.result.address[i], self.source.address[i % 60 * 100 + i / 60]);
  }
  drop_subject(&self);
  tarn_cuda_release(cuda);
}

/* --- seams and devices --- */

/* Memory that was locked by several calls is no one memory to the driver. */
TEST(batches_and_planes_are_cut_at_the_seams) {
  tarn_cuda *cuda = *state;
  subject self = make_subject(cuda);
  fixture_free(&self.source);
  tarn_provider *provider = pinned_provider(cuda, PINNED_CHUNKS);
  void *block;
  OK(tarn_provider_alloc(provider, 2 * PINNED_GRANULE_BYTES, &block));
  self.source = (fixture_block){
      .address = (unsigned char *)block + PINNED_GRANULE_BYTES - 970, /* a seam in a copy */
      .device = PINNED_DEVICE};
  fill_pattern(self.source.address, 9);
  const uint64_t lines = calls_of("cuMemcpyAsync");
  send_batches(&self);
  /* A driver that refuses a batch is asked copy by copy: none was refused. */
  if (fixture_sim_control() != NULL) assert_int_equal(calls_of("cuMemcpyAsync"), lines);
  const tarn_copy_planes planes = {
      .rows = {.row_bytes = 10, .row_count = 7, .dst_pitch_bytes = 16, .src_pitch_bytes = 20},
      .dst_pitch_bytes = 16 * 8,
      .src_pitch_bytes = 20 * 7,
      .plane_count = 11};
  send_planes(&self, planes);
  self.source = fixture_pinned_block(cuda, BYTES);
  OK(tarn_provider_free(provider, block, 2 * PINNED_GRANULE_BYTES));
  tarn_provider_release(provider);
  drop_subject(&self);
}

TEST(a_device_that_is_not_there_is_refused) {
  subject self = make_subject(*state);
  static tarn_copy_span up[SPANS], down[SPANS];
  make_spans(&self, up, down);
  up[SPANS - 1].dst_device.index = 77;
  const uint64_t before = calls_of("cuMemcpyBatchAsync");
  assert_int_equal(tarn_stream_copy_batch(self.stream, up, SPANS), TARN_NOT_SUPPORTED);
  assert_int_equal(calls_of("cuMemcpyBatchAsync"), before);
  OK(tarn_stream_synchronize(self.stream)); /* those before it were enqueued */
  drop_subject(&self);
}

int run_cuda_copy_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
