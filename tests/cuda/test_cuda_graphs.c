/* test_cuda_graphs.c: several graphs and their memory: in a row, updated, outlived; and what may be
 * called while one is captured. */
#include "tests/cuda/graph_fixture.h"
#include "tests/support/collected.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pool_snapshot.h"
#include "tests/support/pools.h"

enum { MIB = 1 << 20, SIZE_BYTES = 4096, ROUNDS = 6 };

static tarn_pool *make_pool(tarn_cuda *cuda) {
  tarn_provider *provider = NULL;
  OK(tarn_cuda_device_provider_create(cuda, 0, &provider));
  return pool_over(provider, NULL);
}

static void assert_bytes(const fixture_block *out, size_t offset, uint8_t value) {
  for (size_t i = 0; i < SIZE_BYTES; i++) assert_int_equal(out->address[offset + i], value);
}

/* --- in a row --- */

/* A second graph on the same stream and pool; its capture continues the first one's. */
static graph_subject begin_after(const graph_subject *first) {
  graph_subject second = {
      .cuda = first->cuda, .stream = first->stream, .native = first->native, .pool = first->pool};
  OK(tarn_capture_begin_after(second.stream, first->capture, &second.capture));
  CU(driver.begin(second.native, CU_STREAM_CAPTURE_MODE_GLOBAL));
  return second;
}

/* Fills a block, brings it out, and frees it. */
static void *capture_scratch(const graph_subject *self, uint8_t value, const fixture_block *out,
                             size_t offset) {
  void *scratch = graph_take(self, SIZE_BYTES, self->stream);
  graph_fill(scratch, value, SIZE_BYTES, self->stream);
  graph_bring(out, offset, scratch, SIZE_BYTES, self->stream);
  OK(tarn_pool_free(self->pool, scratch, self->stream));
  return scratch;
}

/* Whatever anybody else may have of the pool is overwritten. */
static void overwrite_the_rest(const graph_subject *self) {
  void *blocks[40];
  for (int i = 0; i < 40; i++) {
    blocks[i] = graph_take(self, SIZE_BYTES, self->stream);
    graph_fill(blocks[i], 0xEE, SIZE_BYTES, self->stream);
  }
  for (int i = 0; i < 40; i++) OK(tarn_pool_free(self->pool, blocks[i], self->stream));
}

TEST(graphs_in_a_row_share_memory_and_replay_right) {
  graph_subject first = make_graph_subject(*state, make_pool(*state));
  fixture_block out = fixture_pinned_block(*state, 2 * SIZE_BYTES);
  graph_begin(&first, CU_STREAM_CAPTURE_MODE_GLOBAL);
  void *result = graph_take(&first, SIZE_BYTES, first.stream);
  graph_fill(result, 3, SIZE_BYTES, first.stream);
  void *scratch = capture_scratch(&first, 1, &out, 0);
  graph_end(&first);
  graph_subject second = begin_after(&first);
  assert_ptr_equal(capture_scratch(&second, 2, &out, SIZE_BYTES), scratch);
  graph_bring(&out, SIZE_BYTES, result, SIZE_BYTES, second.stream); /* what the first has left */
  graph_end(&second);
  assert_int_equal(graph_kept(first.capture), 2 * SIZE_BYTES);
  assert_int_equal(graph_kept(second.capture), SIZE_BYTES);
  assert_int_equal(graph_stats(&first).graph_bytes, 2 * SIZE_BYTES);
  for (int round = 0; round < ROUNDS; round++) {
    memset(out.address, 0, 2 * SIZE_BYTES);
    graph_launch(&first, first.stream);
    graph_launch(&second, first.stream);
    overwrite_the_rest(&first);
    OK(tarn_stream_synchronize(first.stream));
    assert_bytes(&out, 0, 1);
    assert_bytes(&out, SIZE_BYTES, 3);
  }
  graph_destroy(&first); /* the second one needs the scratch no less */
  for (int round = 0; round < 2; round++) {
    memset(out.address, 0, 2 * SIZE_BYTES);
    graph_launch(&second, first.stream);
    overwrite_the_rest(&first);
    OK(tarn_stream_synchronize(first.stream));
    assert_bytes(&out, SIZE_BYTES, 3);
  }
  OK(tarn_pool_free(first.pool, result, first.stream));
  graph_destroy(&second);
  assert_int_equal(graph_stats(&first).graph_bytes, 0);
  fixture_free(&out);
  drop_graph_subject(&first);
}

TEST(a_later_graph_frees_what_an_earlier_one_left_and_uses_it_again) {
  graph_subject first = make_graph_subject(*state, make_pool(*state));
  fixture_block out = fixture_pinned_block(*state, 2 * SIZE_BYTES);
  graph_begin(&first, CU_STREAM_CAPTURE_MODE_RELAXED);
  void *result = graph_take(&first, SIZE_BYTES, first.stream);
  graph_fill(result, 5, SIZE_BYTES, first.stream);
  graph_end(&first);
  graph_subject second = begin_after(&first);
  graph_bring(&out, 0, result, SIZE_BYTES, second.stream);
  OK(tarn_pool_free(second.pool, result, second.stream));
  assert_ptr_equal(capture_scratch(&second, 6, &out, SIZE_BYTES), result);
  graph_end(&second);
  for (int round = 0; round < ROUNDS; round++) {
    memset(out.address, 0, 2 * SIZE_BYTES);
    graph_launch(&first, first.stream);
    graph_launch(&second, first.stream);
    overwrite_the_rest(&first);
    OK(tarn_stream_synchronize(first.stream));
    assert_bytes(&out, 0, 5);
    assert_bytes(&out, SIZE_BYTES, 6);
  }
  graph_destroy(&second);
  assert_int_equal(graph_stats(&first).captured_bytes, SIZE_BYTES);
  graph_destroy(&first);
  assert_int_equal(graph_stats(&first).captured_bytes, 0);
  fixture_free(&out);
  drop_graph_subject(&first);
}

/* --- updated, outlived --- */

TEST(an_updated_executable_runs_on_the_new_captures_memory) {
  graph_subject self = make_graph_subject(*state, make_pool(*state));
  fixture_block out = fixture_pinned_block(*state, SIZE_BYTES);
  graph_begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  void *before = capture_scratch(&self, 1, &out, 0);
  graph_end(&self);
  graph_launch(&self, self.stream);
  tarn_capture *old = self.capture;
  graph_begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  assert_ptr_not_equal(capture_scratch(&self, 2, &out, 0), before);
  CUgraph graph = NULL;
  CU(driver.end(self.native, &graph));
  OK(tarn_capture_end(self.capture));
  CUgraphExecUpdateResultInfo info;
  CU(driver.update(self.executable, graph, &info));
  assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  CU(driver.destroy_graph(graph));
  OK(tarn_capture_destroy(old)); /* waits for the launch from before the update */
  assert_bytes(&out, 0, 1);
  for (int round = 0; round < ROUNDS; round++) {
    memset(out.address, 0, SIZE_BYTES);
    overwrite_the_rest(&self);
    graph_launch(&self, self.stream);
    OK(tarn_stream_synchronize(self.stream));
    assert_bytes(&out, 0, 2);
  }
  graph_destroy(&self);
  fixture_free(&out);
  drop_graph_subject(&self);
}

TEST(a_result_outlives_its_graph_and_keeps_its_memory_from_the_machine) {
  graph_subject self = make_graph_subject(*state, make_pool(*state));
  fixture_block out = fixture_pinned_block(*state, SIZE_BYTES);
  graph_begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  void *result = graph_take(&self, SIZE_BYTES, self.stream);
  graph_fill(result, 8, SIZE_BYTES, self.stream);
  graph_end(&self);
  graph_launch(&self, self.stream);
  graph_destroy(&self);
  OK(tarn_pool_trim(self.pool, 0, NULL));
  assert_true(graph_stats(&self).reserved_bytes > 0);
  overwrite_the_rest(&self);
  graph_bring(&out, 0, result, SIZE_BYTES, self.stream);
  OK(tarn_stream_synchronize(self.stream));
  assert_bytes(&out, 0, 8);
  OK(tarn_pool_free(self.pool, result, self.stream));
  OK(tarn_stream_synchronize(self.stream));
  OK(tarn_pool_trim(self.pool, 0, NULL));
  assert_int_equal(graph_stats(&self).reserved_bytes, 0);
  fixture_free(&out);
  drop_graph_subject(&self);
}

TEST(all_streams_of_a_capture_take_of_one_space) {
  graph_subject self = make_graph_subject(*state, make_pool(*state));
  tarn_stream *fork = fixture_stream(*state);
  tarn_fence *forked = NULL, *joined = NULL;
  OK(tarn_fence_create(self.stream, &forked));
  OK(tarn_fence_create(fork, &joined));
  graph_begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
  OK(tarn_fence_record(forked, self.stream));
  OK(tarn_stream_wait(fork, forked));
  void *blocks[] = {graph_take(&self, 1000, self.stream), graph_take(&self, 1000, fork),
                    graph_take(&self, 1000, fork)};
  char expected[48];
  snprintf(expected, sizeof expected, "\"capture\":%" PRIu64, tarn_stream_capture(self.stream));
  text_length = 0;
  OK(tarn_pool_snapshot(self.pool, collect, NULL));
  int count = 0;
  for (const char *at = text; (at = strstr(at, expected)) != NULL; at++) count++;
  assert_int_equal(count, 3);
  for (int i = 0; i < 3; i++) OK(tarn_pool_free(self.pool, blocks[i], i == 0 ? self.stream : fork));
  graph_fill(blocks[1], 1, 1000, fork);
  OK(tarn_fence_record(joined, fork));
  OK(tarn_stream_wait(self.stream, joined));
  graph_end(&self);
  graph_destroy(&self);
  tarn_fence_destroy(forked);
  tarn_fence_destroy(joined);
  tarn_stream_release(fork);
  drop_graph_subject(&self);
}

TEST(a_capture_that_was_never_joined_gives_everything_back) {
  graph_subject self = make_graph_subject(*state, make_pool(*state));
  tarn_stream *fork = fixture_stream(*state);
  for (int round = 0; round < 3; round++) {
    tarn_fence *forked = NULL;
    CUgraph graph = NULL;
    OK(tarn_fence_create(self.stream, &forked));
    graph_begin(&self, CU_STREAM_CAPTURE_MODE_GLOBAL);
    OK(tarn_fence_record(forked, self.stream));
    OK(tarn_stream_wait(fork, forked));
    void *block = graph_take(&self, 3 * MIB, fork);
    graph_fill(block, 1, SIZE_BYTES, fork);
    assert_int_equal(driver.end(self.native, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    assert_null(graph);
    OK(tarn_pool_free(self.pool, block, fork));
    graph_destroy(&self);
    assert_false(tarn_stream_is_captured(fork));
    assert_int_equal(graph_stats(&self).active_bytes, 0);
    OK(tarn_pool_trim(self.pool, 0, NULL));
    assert_int_equal(graph_stats(&self).reserved_bytes, 0);
    tarn_fence_destroy(forked);
  }
  OK(tarn_stream_synchronize(fork));
  tarn_stream_release(fork);
  drop_graph_subject(&self);
}

/* --- what may be called meanwhile --- */

static tarn_status make_device(tarn_cuda *cuda, tarn_provider **provider) {
  return tarn_cuda_device_provider_create(cuda, 0, provider);
}

static tarn_status make_virtual(tarn_cuda *cuda, tarn_provider **provider) {
  return tarn_cuda_virtual_provider_create(cuda, 0, NULL, provider);
}

static tarn_status make_pinned(tarn_cuda *cuda, tarn_provider **provider) {
  return tarn_cuda_pinned_provider_create(cuda, NULL, provider);
}

static tarn_status make_driver_pool(tarn_cuda *cuda, tarn_pool **pool) {
  return tarn_cuda_driver_pool_create(cuda, 0, NULL, pool);
}

static void use_pool(tarn_pool *pool, tarn_stream *stream) {
  void *blocks[2] = {NULL, NULL};
  for (int i = 0; i < 2; i++)
    OK(tarn_pool_alloc(pool, 3 * MIB, i == 0 ? stream : NULL, &blocks[i]));
  OK(tarn_stream_fill(stream, blocks[0], tarn_pool_attributes_of(pool)->device, 1, 100));
  OK(tarn_pool_note_use(pool, blocks[1], stream));
  for (int i = 0; i < 2; i++) OK(tarn_pool_free(pool, blocks[i], stream));
  stats_of(pool);
  OK(tarn_stream_synchronize(stream));
  OK(tarn_pool_decay(pool, 1, NULL));
  OK(tarn_pool_trim(pool, 0, NULL));
}

static void use_pools(tarn_cuda *cuda, tarn_stream *stream) {
  tarn_status (*const makers[])(tarn_cuda *, tarn_provider **) = {make_device, make_virtual,
                                                                  make_pinned};
  for (int i = 0; i < 3; i++) {
    tarn_provider *provider = NULL;
    tarn_pool *pool = NULL;
    if (makers[i](cuda, &provider) == TARN_NOT_SUPPORTED) continue;
    OK(tarn_caching_pool_create(provider, NULL, &pool));
    use_pool(pool, stream);
    tarn_pool_release(pool);
    tarn_provider_release(provider);
  }
  tarn_pool *pool = NULL;
  if (make_driver_pool(cuda, &pool) == TARN_NOT_SUPPORTED) return;
  use_pool(pool, stream);
  tarn_pool_release(pool);
}

static void use_streams(tarn_cuda *cuda, tarn_stream *stream) {
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  fixture_block block = fixture_device_block(cuda, 1000);
  char bytes[1000] = {0};
  tarn_fence *fence = NULL;
  tarn_stream *second = fixture_stream(cuda);
  OK(tarn_fence_create(stream, &fence));
  OK(tarn_stream_copy(stream, block.address, block.device, bytes, cpu, sizeof bytes));
  OK(tarn_fence_record(fence, stream));
  const tarn_status passed = tarn_fence_query(fence);
  assert_true(passed == TARN_OK || passed == TARN_NOT_READY);
  OK(tarn_stream_wait(second, fence));
  OK(tarn_fence_synchronize(fence));
  OK(tarn_stream_copy(second, bytes, cpu, block.address, block.device, sizeof bytes));
  OK(tarn_stream_synchronize(second));
  tarn_fence_destroy(fence);
  tarn_stream_release(second);
  fixture_free(&block);
}

/* Everything of tarn's that has nothing to do with the capture. */
static void *use_all(void *argument) {
  tarn_cuda *cuda = argument;
  tarn_stream *stream = fixture_stream(cuda);
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  use_streams(cuda, stream);
  use_pools(cuda, stream);
  tarn_stream_release(stream);
  return NULL;
}

TEST(all_that_tarn_does_elsewhere_is_legal_in_every_mode) {
  static const CUstreamCaptureMode modes[] = {CU_STREAM_CAPTURE_MODE_GLOBAL,
                                              CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
                                              CU_STREAM_CAPTURE_MODE_RELAXED};
  graph_subject self = make_graph_subject(*state, make_pool(*state));
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    graph_begin(&self, modes[i]);
    use_all(self.cuda);
    assert_int_equal(graph_status(&self), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, use_all, self.cuda), 0);
    pthread_join(thread, NULL);
    assert_int_equal(graph_status(&self), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    graph_end(&self);
    graph_destroy(&self);
  }
  drop_graph_subject(&self);
}

int run_cuda_graph_tests(void) {
  return run_listed_tests(graph_setup, fixture_teardown);
}
