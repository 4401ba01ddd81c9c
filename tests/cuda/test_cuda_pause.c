/* test_cuda_pause.c: a GPU's blocks without their memory, over virtual memory management. */
#include "tests/cuda/cuda_fixture.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_capture.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_tag.h"
#include "tests/support/pools.h"

enum { BLOCKS = 3 };

static const tarn_device CUDA_0 = {TARN_DEVICE_CUDA, 0};

typedef struct subject {
  tarn_cuda *cuda;
  tarn_stream *stream; /* works on the blocks */
  tarn_stream *copier; /* saves and restores them */
  tarn_pool *pool;
  tarn_pool *backup; /* pinned */
  size_t granule_bytes;
  fixture_block host; /* pinned; as large as the largest block */
  char *blocks[BLOCKS];
} subject;

static size_t block_bytes(const subject *self, int index) {
  return (size_t)(index + 1) * self->granule_bytes + 4096;
}

static tarn_pool *make_pool(tarn_provider *provider) {
  return pool_over(provider, NULL);
}

static void write_block(const subject *self, int index, int value) {
  memset(self->host.address, value, block_bytes(self, index));
  OK(tarn_stream_copy(self->stream, self->blocks[index], CUDA_0, self->host.address,
                      self->host.device, block_bytes(self, index)));
}

static void expect_block(const subject *self, int index, unsigned char value) {
  memset(self->host.address, 0xEE, block_bytes(self, index));
  OK(tarn_stream_copy(self->stream, self->host.address, self->host.device, self->blocks[index],
                      CUDA_0, block_bytes(self, index)));
  OK(tarn_stream_synchronize(self->stream));
  assert_int_equal(self->host.address[0], value);
  assert_memory_equal(self->host.address, self->host.address + 1, block_bytes(self, index) - 1);
}

static subject make_subject(tarn_cuda *cuda) {
  tarn_provider *provider = NULL;
  const tarn_status status = tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider);
  if (status == TARN_NOT_SUPPORTED) {
    print_message("skipped: %s\n", tarn_last_error()->message);
    skip();
  }
  OK(status);
  subject self = {.cuda = cuda, .stream = fixture_stream(cuda), .copier = fixture_stream(cuda)};
  self.granule_bytes = tarn_provider_attributes_of(provider)->granularity_bytes;
  self.pool = make_pool(provider);
  OK(tarn_cuda_pinned_provider_create(cuda, NULL, &provider));
  self.backup = make_pool(provider);
  self.host = fixture_pinned_block(cuda, block_bytes(&self, BLOCKS - 1));
  for (int index = 0; index < BLOCKS; index++) {
    void *address = NULL;
    OK(tarn_pool_alloc(self.pool, block_bytes(&self, index), self.stream, &address));
    self.blocks[index] = address;
    write_block(&self, index, index + 1);
    OK(tarn_stream_synchronize(self.stream)); /* the host's block is used again */
  }
  return self;
}

static void drop_subject(subject *self) {
  for (int index = 0; index < BLOCKS; index++) {
    OK(tarn_pool_free(self->pool, self->blocks[index], self->stream));
  }
  OK(tarn_stream_synchronize(self->stream));
  assert_int_equal(stats_of(self->backup).allocated_bytes, 0);
  fixture_free(&self->host);
  tarn_pool_release(self->pool);
  tarn_pool_release(self->backup);
  tarn_stream_release(self->copier);
  tarn_stream_release(self->stream);
}

static tarn_status pause(const subject *self, tarn_pause_contents contents) {
  const tarn_pause_options options = {.struct_size = sizeof options,
                                      .contents = contents,
                                      .backup = self->backup,
                                      .stream = self->copier};
  return tarn_pool_pause(self->pool, &options, NULL);
}

static tarn_status resume(const subject *self) {
  const tarn_resume_options options = {.struct_size = sizeof options, .stream = self->copier};
  return tarn_pool_resume(self->pool, &options, NULL);
}

static size_t physical_bytes(void) {
  cusim_counts counts = counts_now();
  return counts.physical_bytes;
}

/* All that is taken of the device. */
static size_t device_bytes(void) {
  cusim_counts counts = counts_now();
  return counts.physical_bytes + counts.device_bytes + counts.pool_bytes;
}

TEST(kept_contents_come_back_to_the_device) {
  subject self = make_subject(*state);
  const size_t before = stats_of(self.pool).reserved_bytes;
  const bool is_simulated = tarn_cuda_is_simulated(self.cuda);
  const size_t extra_bytes = is_simulated ? physical_bytes() - before : 0;
  for (int cycle = 0; cycle < 20; cycle++) {
    OK(pause(&self, TARN_PAUSE_KEEP));
    const tarn_pool_stats away = stats_of(self.pool);
    assert_int_equal(away.reserved_bytes + away.paused_bytes, before);
    assert_true(away.paused_bytes >= 6 * self.granule_bytes);
    if (is_simulated) assert_int_equal(physical_bytes() - extra_bytes, away.reserved_bytes);
    OK(resume(&self));
    assert_int_equal(stats_of(self.pool).reserved_bytes, before);
  }
  for (int index = 0; index < BLOCKS; index++) {
    expect_block(&self, index, (unsigned char)(index + 1));
  }
  drop_subject(&self);
}

TEST(work_enqueued_before_is_done_first) {
  subject self = make_subject(*state);
  write_block(&self, 2, 77); /* and nobody waits for it */
  OK(pause(&self, TARN_PAUSE_KEEP));
  OK(resume(&self));
  expect_block(&self, 2, 77);
  drop_subject(&self);
}

TEST(a_stream_that_is_held_is_told) {
  subject self = make_subject(*state);
  fixture_gate gate;
  fixture_hold(self.stream, &gate);
  const tarn_pause_options options = {
      .struct_size = sizeof options, .contents = TARN_PAUSE_DISCARD, .flags = TARN_PAUSE_NO_WAIT};
  assert_int_equal(tarn_pool_pause(self.pool, &options, NULL), TARN_BUSY);
  assert_false(tarn_pool_is_paused(self.pool, self.blocks[0]));
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(self.stream));
  OK(pause(&self, TARN_PAUSE_DISCARD));
  assert_true(tarn_pool_is_paused(self.pool, self.blocks[0]));
  OK(resume(&self));
  drop_subject(&self);
}

TEST(the_granules_of_a_piece_go_together) {
  enum { PIECE_GRANULES = 4 };
  tarn_provider *provider = NULL;
  tarn_cuda_virtual_options options = {.struct_size = sizeof options};
  if (tarn_cuda_virtual_provider_create(*state, 0, &options, &provider) != TARN_OK) skip();
  const size_t granule_bytes = tarn_provider_attributes_of(provider)->granularity_bytes;
  const size_t piece_bytes = PIECE_GRANULES * granule_bytes;
  tarn_provider_release(provider);
  options.piece_bytes = piece_bytes;
  OK(tarn_cuda_virtual_provider_create(*state, 0, &options, &provider));
  tarn_pool *pool = make_pool(provider);
  OK(tarn_caching_pool_reserve(pool, 3 * piece_bytes)); /* two pieces at least are whole */
  void *blocks[3];
  OK(tarn_tag_push("a"));
  OK(tarn_pool_alloc_aligned(pool, piece_bytes, piece_bytes, NULL, &blocks[0]));
  OK(tarn_pool_alloc_aligned(pool, granule_bytes, piece_bytes, NULL, &blocks[1]));
  tarn_tag_pop();
  OK(tarn_pool_alloc(pool, piece_bytes - granule_bytes, NULL, &blocks[2]));
  assert_ptr_equal(blocks[2], (char *)blocks[1] + granule_bytes);
  const char *const tag = "a";
  tarn_pause_options pausing = {
      .struct_size = sizeof pausing, .contents = TARN_PAUSE_DISCARD, .tags = &tag, .tag_count = 1};
  tarn_pause_report report = {.struct_size = sizeof report};
  OK(tarn_pool_pause(pool, &pausing, &report));
  assert_int_equal(report.moved_bytes, piece_bytes);
  assert_int_equal(report.shared_bytes, granule_bytes);
  pausing.tag_count = 0;
  OK(tarn_pool_pause(pool, &pausing, &report));
  assert_int_equal(stats_of(pool).paused_bytes, 2 * piece_bytes);
  OK(tarn_pool_resume(pool, NULL, NULL));
  assert_int_equal(stats_of(pool).paused_bytes, 0);
  OK(tarn_pool_free(pool, blocks[2], NULL));
  pausing.tag_count = 1;
  OK(tarn_pool_pause(pool, &pausing, &report)); /* with what lies idle in the piece */
  assert_int_equal(report.moved_bytes, 2 * piece_bytes);
  OK(tarn_pool_resume(pool, NULL, NULL));
  for (int i = 0; i < 2; i++) OK(tarn_pool_free(pool, blocks[i], NULL));
  tarn_pool_release(pool);
}

/* --- graphs --- */

static void find(const char *name, void *function) {
  void *found = fixture_driver_function(name);
  memcpy(function, &found, sizeof found);
}

#define CU(call) assert_int_equal((call), CUDA_SUCCESS)

TEST(a_graph_finds_its_addresses_after_the_resume) {
  subject self = make_subject(*state);
  PFN_cuStreamBeginCapture_v10010 begin;
  PFN_cuStreamEndCapture_v10000 end;
  PFN_cuGraphInstantiateWithFlags_v11040 instantiate;
  PFN_cuGraphLaunch_v10000 launch;
  PFN_cuGraphExecDestroy_v10000 destroy_executable;
  PFN_cuGraphDestroy_v10000 destroy_graph;
  find("cuStreamBeginCapture_v2", &begin);
  find("cuStreamEndCapture", &end);
  find("cuGraphInstantiateWithFlags", &instantiate);
  find("cuGraphLaunch", &launch);
  find("cuGraphExecDestroy", &destroy_executable);
  find("cuGraphDestroy", &destroy_graph);
  CUcontext context = NULL;
  tarn__cuda_scope scope;
  void *native = NULL;
  OK(tarn__cuda_context(self.cuda, 0, &context));
  OK(tarn__cuda_enter(self.cuda, context, &scope));
  OK(tarn_cuda_stream_native(self.stream, &native));
  CUgraph graph = NULL;
  CUgraphExec executable = NULL;
  tarn_capture *capture = NULL;
  OK(tarn_capture_begin(self.stream, &capture));
  CU(begin(native, CU_STREAM_CAPTURE_MODE_GLOBAL));
  assert_int_equal(pause(&self, TARN_PAUSE_DISCARD), TARN_BUSY);
  OK(tarn_stream_copy(self.stream, self.blocks[1], CUDA_0, self.blocks[0], CUDA_0,
                      block_bytes(&self, 0)));
  OK(tarn_pool_note_use(self.pool, self.blocks[0], self.stream));
  OK(tarn_pool_note_use(self.pool, self.blocks[1], self.stream));
  CU(end(native, &graph));
  OK(tarn_capture_end(capture));
  CU(instantiate(&executable, graph, 0));
  OK(pause(&self, TARN_PAUSE_KEEP));
  OK(resume(&self));
  /* The simulator takes memory that was mapped again for somebody else's. */
  const bool may_launch = !tarn_cuda_is_simulated(self.cuda);
  if (may_launch) {
    CU(launch(executable, native));
    OK(tarn_capture_note_launch(capture, self.stream));
    OK(tarn_stream_synchronize(self.stream));
  }
  CU(destroy_executable(executable));
  CU(destroy_graph(graph));
  OK(tarn_capture_destroy(capture));
  expect_block(&self, 0, 1);
  OK(tarn_stream_copy(self.stream, self.host.address, self.host.device, self.blocks[1], CUDA_0,
                      block_bytes(&self, 0)));
  OK(tarn_stream_synchronize(self.stream));
  assert_int_equal(self.host.address[0], may_launch ? 1 : 2);
  tarn__cuda_leave(&scope);
  drop_subject(&self);
}

/* --- failures --- */

static void assert_as_before(const subject *self, const tarn_pool_stats *before) {
  const tarn_pool_stats now = stats_of(self->pool);
  assert_int_equal(now.allocated_bytes, before->allocated_bytes);
  assert_int_equal(now.reserved_bytes, before->reserved_bytes);
  assert_int_equal(now.paused_bytes, before->paused_bytes);
}

/* A handle that the driver does not release is lost with its memory: the provider says so. */
static size_t lost_bytes(const subject *self) {
  const bool is_handle = strcmp(fixture_sim_control()->failed_call(), "cuMemRelease") == 0;
  return is_handle ? self->granule_bytes : 0;
}

TEST(every_failure_of_the_driver_is_undone) {
  FIXTURE_NEEDS_SIM();
  subject self = make_subject(*state);
  const fixture_sim *sim = fixture_sim_control();
  size_t extra_bytes = physical_bytes() - stats_of(self.pool).reserved_bytes;
  for (int direction = 0; direction < 2; direction++) {
    for (uint64_t nth = 1;; nth++) {
      const tarn_pool_stats before = stats_of(self.pool);
      const uint64_t failures = sim->failures();
      sim->fail_call(NULL, nth, CUDA_ERROR_OUT_OF_MEMORY);
      const tarn_status status = direction == 0 ? pause(&self, TARN_PAUSE_KEEP) : resume(&self);
      const bool has_failed = sim->failures() > failures;
      sim->fail_nothing();
      if (has_failed) extra_bytes += lost_bytes(&self);
      assert_int_equal(physical_bytes(), stats_of(self.pool).reserved_bytes + extra_bytes);
      if (status == TARN_OK && !has_failed) break;
      if (status == TARN_OK) { /* survived: the other way round, and again */
        OK(direction == 0 ? resume(&self) : pause(&self, TARN_PAUSE_KEEP));
      } else {
        assert_as_before(&self, &before);
      }
      if (direction == 0)
        expect_block(&self, (int)(nth % BLOCKS), (unsigned char)(nth % BLOCKS + 1));
    }
  }
  for (int index = 0; index < BLOCKS; index++) {
    expect_block(&self, index, (unsigned char)(index + 1));
  }
  drop_subject(&self);
}

/* The device is full of somebody else's memory. */
TEST(a_full_device_keeps_all_paused) {
  FIXTURE_NEEDS_SIM();
  subject self = make_subject(*state);
  OK(pause(&self, TARN_PAUSE_KEEP));
  OK(tarn_pool_trim(self.pool, 0, NULL));
  const tarn_pool_stats before = stats_of(self.pool);
  fixture_sim_control()->set_capacity(0, device_bytes() + 2 * self.granule_bytes);
  assert_int_equal(resume(&self), TARN_OUT_OF_MEMORY);
  fixture_sim_control()->set_capacity(0, (size_t)1 << 30);
  assert_as_before(&self, &before);
  OK(resume(&self));
  for (int index = 0; index < BLOCKS; index++) {
    expect_block(&self, index, (unsigned char)(index + 1));
  }
  drop_subject(&self);
}

TEST(plain_device_memory_cannot_be_paused) {
  tarn_provider *provider = NULL;
  OK(tarn_cuda_device_provider_create(*state, 0, &provider));
  tarn_pool *pool = make_pool(provider);
  const tarn_pause_options options = {.struct_size = sizeof options,
                                      .contents = TARN_PAUSE_DISCARD};
  assert_int_equal(tarn_pool_pause(pool, &options, NULL), TARN_NOT_SUPPORTED);
  tarn_pool_release(pool);
}

int run_cuda_pause_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
