/* test_cuda_capture.c: graphs captured on tarn's streams, replayed with the memory they keep. */
#include "tests/cuda/graph_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "alloc/tarn_caching_pool.h"
#include "tests/support/pools.h"

enum { SIZE_BYTES = 4096, ROUNDS = 12 };

/* --- a stream, a pool, and a graph --- */

typedef struct subject {
  graph_subject graph;
  fixture_block out; /* pinned; what a replay leaves behind */
} subject;

static tarn_pool *make_pool(tarn_cuda *cuda, size_t limit_bytes) {
  tarn_provider *provider = NULL;
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  OK(tarn_cuda_device_provider_create(cuda, 0, &provider));
  return pool_over(provider, &options);
}

static subject make_subject(tarn_cuda *cuda, size_t limit_bytes) {
  return (subject){.graph = make_graph_subject(cuda, make_pool(cuda, limit_bytes)),
                   .out = fixture_pinned_block(cuda, SIZE_BYTES)};
}

static void drop_subject(subject *self) {
  OK(tarn_stream_synchronize(self->graph.stream));
  fixture_free(&self->out);
  drop_graph_subject(&self->graph);
}

static void begin(subject *self, CUstreamCaptureMode mode) {
  graph_begin(&self->graph, mode);
}

static void end(subject *self) {
  graph_end(&self->graph);
}

static void launch(subject *self, tarn_stream *stream) {
  graph_launch(&self->graph, stream);
}

static void destroy(subject *self) {
  graph_destroy(&self->graph);
}

static void *take(const subject *self, size_t size_bytes, tarn_stream *stream) {
  return graph_take(&self->graph, size_bytes, stream);
}

static void fill(const subject *self, void *block, uint8_t value, size_t size_bytes,
                 tarn_stream *stream) {
  (void)self;
  graph_fill(block, value, size_bytes, stream);
}

static void copy(void *dst, tarn_device dst_device, const void *src, tarn_device src_device,
                 size_t size_bytes, tarn_stream *stream) {
  OK(tarn_stream_copy(stream, dst, dst_device, src, src_device, size_bytes));
}

static const tarn_device CUDA_0 = {TARN_DEVICE_CUDA, 0};

/* A chain of blocks, each freed as soon as the next one holds its bytes: the first half of what
 * ends up outside goes through five blocks, the second half is filled beside them. */
static void capture_chain(subject *self, uint8_t value) {
  const size_t half_bytes = SIZE_BYTES / 2;
  void *first = take(self, half_bytes, self->graph.stream);
  fill(self, first, value, half_bytes, self->graph.stream);
  for (int step = 0; step < 4; step++) {
    void *next = take(self, half_bytes, self->graph.stream);
    copy(next, CUDA_0, first, CUDA_0, half_bytes, self->graph.stream);
    OK(tarn_pool_free(self->graph.pool, first, self->graph.stream));
    first = next;
  }
  void *second = take(self, half_bytes, self->graph.stream);
  fill(self, second, (uint8_t)(value + 1), half_bytes, self->graph.stream);
  copy(self->out.address, self->out.device, first, CUDA_0, half_bytes, self->graph.stream);
  copy(self->out.address + half_bytes, self->out.device, second, CUDA_0, half_bytes,
       self->graph.stream);
  OK(tarn_pool_free(self->graph.pool, first, self->graph.stream));
  OK(tarn_pool_free(self->graph.pool, second, self->graph.stream));
}

static void assert_chain(const subject *self, uint8_t value) {
  for (int i = 0; i < SIZE_BYTES; i++) {
    assert_int_equal(self->out.address[i], i < SIZE_BYTES / 2 ? value : (uint8_t)(value + 1));
  }
}

/* --- others who use the pool meanwhile --- */

typedef struct crowd {
  subject *self;
  atomic_bool is_over;
  pthread_t threads[2];
} crowd;

/* Allocates, overwrites and frees on streams of its own, and asks and waits in between. */
static void *crowd_in(void *argument) {
  crowd *others = argument;
  tarn_stream *streams[2] = {fixture_stream(others->self->graph.cuda),
                             fixture_stream(others->self->graph.cuda)};
  tarn_fence *fence = NULL;
  OK(tarn_fence_create(streams[0], &fence));
  for (unsigned round = 0; !atomic_load(&others->is_over); round++) {
    tarn_stream *stream = streams[round % 2];
    const size_t size_bytes = (size_t)(round % 5 + 1) * 700;
    void *block = take(others->self, size_bytes, stream);
    fill(others->self, block, 0xEE, size_bytes, stream);
    OK(tarn_fence_record(fence, stream));
    const tarn_status passed = tarn_fence_query(fence);
    assert_true(passed == TARN_OK || passed == TARN_NOT_READY);
    OK(tarn_stream_wait(streams[0], fence)); /* the free comes after the fill */
    OK(tarn_pool_free(others->self->graph.pool, block, streams[0]));
    if (round % 16 == 0) OK(tarn_fence_synchronize(fence));
    if (round % 32 == 0) OK(tarn_pool_trim(others->self->graph.pool, 0, NULL));
  }
  tarn_fence_destroy(fence);
  for (int i = 0; i < 2; i++) {
    OK(tarn_stream_synchronize(streams[i]));
    tarn_stream_release(streams[i]);
  }
  return NULL;
}

static void start_crowd(crowd *others, subject *self) {
  others->self = self;
  atomic_init(&others->is_over, false);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_create(&others->threads[i], NULL, crowd_in, others), 0);
  }
}

static void end_crowd(crowd *others) {
  atomic_store(&others->is_over, true);
  for (int i = 0; i < 2; i++) pthread_join(others->threads[i], NULL);
}

/* --- replays --- */

TEST(replays_are_right_while_others_use_the_pool_like_mad) {
  subject self = make_subject(*state, 0);
  tarn_stream *launcher = fixture_stream(self.graph.cuda);
  crowd others;
  start_crowd(&others, &self);
  for (uint8_t value = 1; value <= 3; value++) {
    begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL); /* what the others do must not break it */
    capture_chain(&self, value);
    end(&self);
    for (int round = 0; round < ROUNDS; round++) {
      tarn_stream *stream = round % 3 == 0 ? launcher : self.graph.stream;
      memset(self.out.address, 0, SIZE_BYTES);
      launch(&self, stream);
      OK(tarn_stream_synchronize(stream));
      assert_chain(&self, value);
    }
    destroy(&self);
  }
  end_crowd(&others);
  tarn_stream_release(launcher);
  drop_subject(&self);
}

TEST(addresses_stay_the_captures_over_all_replays) {
  subject self = make_subject(*state, 0);
  begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  char *block = take(&self, SIZE_BYTES, self.graph.stream);
  fill(&self, block, 9, SIZE_BYTES, self.graph.stream);
  OK(tarn_pool_free(self.graph.pool, block, self.graph.stream));
  end(&self);
  for (int round = 0; round < ROUNDS; round++) {
    launch(&self, self.graph.stream);
    void *other = take(&self, SIZE_BYTES, round % 2 == 0 ? self.graph.stream : NULL);
    assert_ptr_not_equal(other, block);
    OK(tarn_pool_free(self.graph.pool, other, self.graph.stream));
  }
  tarn_pool_stats stats = stats_of(self.graph.pool);
  assert_int_equal(stats.captured_bytes, SIZE_BYTES);
  destroy(&self);
  OK(tarn_pool_stats_of(self.graph.pool, &stats));
  assert_int_equal(stats.captured_bytes, 0);
  drop_subject(&self);
}

TEST(a_fork_by_a_fence_is_captured_and_replayed) {
  subject self = make_subject(*state, 0);
  tarn_stream *fork = fixture_stream(self.graph.cuda);
  tarn_fence *forked = NULL, *joined = NULL;
  OK(tarn_fence_create(self.graph.stream, &forked));
  OK(tarn_fence_create(fork, &joined));
  const size_t half_bytes = SIZE_BYTES / 2;
  begin(&self, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  void *here = take(&self, half_bytes, self.graph.stream);
  OK(tarn_fence_record(forked, self.graph.stream));
  OK(tarn_stream_wait(fork, forked));
  void *there = take(&self, half_bytes, fork);
  fill(&self, here, 3, half_bytes, self.graph.stream);
  fill(&self, there, 4, half_bytes, fork);
  copy(self.out.address + half_bytes, self.out.device, there, CUDA_0, half_bytes, fork);
  OK(tarn_pool_free(self.graph.pool, there, fork));
  OK(tarn_fence_record(joined, fork));
  copy(self.out.address, self.out.device, here, CUDA_0, half_bytes, self.graph.stream);
  OK(tarn_stream_wait(self.graph.stream, joined));
  OK(tarn_pool_free(self.graph.pool, here, self.graph.stream));
  end(&self);
  assert_false(tarn_stream_is_captured(fork));
  for (int round = 0; round < ROUNDS; round++) {
    memset(self.out.address, 0, SIZE_BYTES);
    launch(&self, self.graph.stream);
    OK(tarn_stream_synchronize(self.graph.stream));
    assert_chain(&self, 3);
  }
  destroy(&self);
  OK(tarn_fence_query(joined)); /* the capture is gone, and the fence of any use again */
  OK(tarn_fence_record(joined, fork));
  OK(tarn_fence_synchronize(joined));
  tarn_fence_destroy(forked);
  tarn_fence_destroy(joined);
  tarn_stream_release(fork);
  drop_subject(&self);
}

TEST(recapturing_does_not_grow_what_is_reserved) {
  subject self = make_subject(*state, 0);
  size_t reserved_bytes = 0;
  for (int round = 0; round < 100; round++) {
    begin(&self, CU_STREAM_CAPTURE_MODE_RELAXED);
    capture_chain(&self, (uint8_t)round);
    end(&self);
    launch(&self, self.graph.stream);
    destroy(&self); /* waits for the launch */
    assert_chain(&self, (uint8_t)round);
    tarn_pool_stats stats = stats_of(self.graph.pool);
    if (round == 0) reserved_bytes = stats.reserved_bytes;
    assert_int_equal(stats.reserved_bytes, reserved_bytes);
  }
  drop_subject(&self);
}

/* --- what goes wrong --- */

static CUstreamCaptureStatus status_of(const subject *self) {
  return graph_status(&self->graph);
}

TEST(what_tarn_refuses_leaves_the_capture_whole) {
  subject self = make_subject(*state, 0);
  tarn_fence *fence = NULL, *outside = NULL;
  tarn_stream *other = fixture_stream(self.graph.cuda);
  fixture_gate gate;
  fixture_hold(other, &gate);
  OK(tarn_fence_create(other, &outside));
  OK(tarn_fence_record(outside, other));
  OK(tarn_fence_create(self.graph.stream, &fence));
  begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  void *block = take(&self, SIZE_BYTES, self.graph.stream);
  char pageable[8] = {0};
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  OK(tarn_fence_record(fence, self.graph.stream));
  assert_int_equal(tarn_stream_synchronize(self.graph.stream), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_fence_query(fence), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_fence_synchronize(fence), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_stream_wait(self.graph.stream, outside), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_stream_copy(self.graph.stream, block, CUDA_0, pageable, cpu, 8),
                   TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_stream_fill(self.graph.stream, pageable, cpu, 1, 8), TARN_NOT_SUPPORTED);
  assert_int_equal(status_of(&self), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  OK(tarn_pool_free(self.graph.pool, block, self.graph.stream));
  end(&self);
  destroy(&self);
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(other));
  tarn_fence_destroy(fence);
  tarn_fence_destroy(outside);
  tarn_stream_release(other);
  drop_subject(&self);
}

TEST(an_aborted_capture_gives_everything_back) {
  subject self = make_subject(*state, 4 << 20);
  for (int round = 0; round < 3; round++) {
    CUgraph graph = NULL;
    begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
    void *kept = take(&self, 3 << 20, self.graph.stream);
    void *freed = take(&self, SIZE_BYTES, self.graph.stream);
    fill(&self, kept, 1, SIZE_BYTES, self.graph.stream);
    OK(tarn_pool_free(self.graph.pool, freed, self.graph.stream));
    assert_int_not_equal(driver.synchronize(self.graph.native), CUDA_SUCCESS); /* breaks it */
    assert_int_equal(driver.end(self.graph.native, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(tarn_pool_free(self.graph.pool, kept, self.graph.stream)); /* before tarn knows, or after */
    destroy(&self);
    void *all = take(&self, 4 << 20, self.graph.stream);
    fill(&self, all, 2, 4 << 20, self.graph.stream);
    OK(tarn_pool_free(self.graph.pool, all, self.graph.stream));
    OK(tarn_stream_synchronize(self.graph.stream)); /* a capture takes nothing that is pending */
  }
  drop_subject(&self);
}

TEST(out_of_memory_in_a_capture_is_an_answer) {
  subject self = make_subject(*state, 4 << 20);
  void *pending = take(&self, 2 << 20, self.graph.stream), *none = NULL;
  fill(&self, pending, 5, 2 << 20, self.graph.stream);
  OK(tarn_pool_free(self.graph.pool, pending, self.graph.stream));
  begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  assert_int_equal(tarn_pool_alloc(self.graph.pool, 4 << 20, self.graph.stream, &none),
                   TARN_OUT_OF_MEMORY);
  assert_int_equal(status_of(&self), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  capture_chain(&self, 6); /* what fits goes on */
  end(&self);
  launch(&self, self.graph.stream);
  OK(tarn_stream_synchronize(self.graph.stream));
  assert_chain(&self, 6);
  destroy(&self);
  begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  void *again = take(&self, 2 << 20, self.graph.stream);
  OK(tarn_pool_free(self.graph.pool, again, self.graph.stream));
  end(&self);
  destroy(&self);
  drop_subject(&self);
}

TEST(the_machine_out_of_memory_is_an_answer_too) {
  FIXTURE_NEEDS_SIM();
  subject self = make_subject(*state, 0);
  cusim_counts counts;
  begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  counts = counts_now();
  fixture_sim_control()->set_capacity(0, counts.device_bytes + SIZE_BYTES);
  void *none = NULL;
  assert_int_equal(tarn_pool_alloc(self.graph.pool, SIZE_BYTES, self.graph.stream, &none),
                   TARN_OUT_OF_MEMORY);
  fixture_sim_control()->set_capacity(0, (size_t)4 << 30);
  assert_int_equal(status_of(&self), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  capture_chain(&self, 1);
  end(&self);
  destroy(&self);
  drop_subject(&self);
}

TEST(told_after_the_driver_it_works_as_well) {
  subject self = make_subject(*state, 0);
  tarn_stream *other = fixture_stream(self.graph.cuda);
  void *before = take(&self, SIZE_BYTES, self.graph.stream);
  fill(&self, before, 1, SIZE_BYTES, self.graph.stream);
  OK(tarn_pool_free(self.graph.pool, before, self.graph.stream));
  const fixture_sim *sim = fixture_sim_control();
  const uint64_t record_count = sim != NULL ? sim->calls("cuEventRecord") : 0;
  CU(driver.begin(self.graph.native, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(tarn_capture_begin(self.graph.stream, &self.graph.capture));
  if (sim != NULL) assert_true(sim->calls("cuEventRecord") == record_count);
  capture_chain(&self, 7);
  void *elsewhere = take(&self, SIZE_BYTES, other); /* must not be ordered behind the stream */
  fill(&self, elsewhere, 0xEE, SIZE_BYTES, other);
  OK(tarn_pool_free(self.graph.pool, elsewhere, other));
  end(&self);
  launch(&self, self.graph.stream);
  OK(tarn_stream_synchronize(self.graph.stream));
  assert_chain(&self, 7);
  destroy(&self);
  OK(tarn_stream_synchronize(other));
  tarn_stream_release(other);
  drop_subject(&self);
}

TEST(a_stream_drawn_in_by_the_application_is_told) {
  subject self = make_subject(*state, 0);
  tarn_stream *fork = fixture_stream(self.graph.cuda);
  tarn_fence *event = NULL, *joined = NULL;
  OK(tarn_fence_create(self.graph.stream, &event));
  OK(tarn_fence_create(fork, &joined));
  begin(&self, CU_STREAM_CAPTURE_MODE_RELAXED);
  OK(tarn_capture_join(self.graph.capture, fork));
  assert_true(tarn_stream_is_captured(fork));
  OK(tarn_fence_record(event, self.graph.stream));
  OK(tarn_stream_wait(fork, event));
  void *block = take(&self, SIZE_BYTES, fork);
  fill(&self, block, 1, SIZE_BYTES, fork);
  OK(tarn_pool_free(self.graph.pool, block, fork));
  OK(tarn_fence_record(joined, fork));
  OK(tarn_stream_wait(self.graph.stream, joined));
  end(&self);
  assert_false(tarn_stream_is_captured(fork));
  launch(&self, self.graph.stream);
  destroy(&self);
  tarn_fence_destroy(event);
  tarn_fence_destroy(joined);
  tarn_stream_release(fork);
  drop_subject(&self);
}

int run_cuda_capture_tests(void) {
  return run_listed_tests(graph_setup, fixture_teardown);
}
