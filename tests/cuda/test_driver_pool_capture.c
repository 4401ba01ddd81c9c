/* test_driver_pool_capture.c: the driver's pool beside captures: it lends nothing to them, keeps
 * what they use, and spoils none. */
#include "tests/cuda/graph_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "alloc/tarn_pool_snapshot.h"

enum { MIB = 1 << 20, SIZE_BYTES = 4096, ROUNDS = 6 };

typedef struct subject {
  graph_subject graph;
  tarn_stream *other;
} subject;

static subject make_subject(tarn_cuda *cuda, const tarn_cuda_driver_pool_options *options) {
  tarn_pool *pool = fixture_driver_pool(cuda, options);
  return (subject){.graph = make_graph_subject(cuda, pool), .other = fixture_stream(cuda)};
}

static void drop_subject(subject *self) {
  OK(tarn_stream_synchronize(self->other));
  tarn_stream_release(self->other);
  drop_graph_subject(&self->graph);
}

static void begin(subject *self) {
  graph_begin(&self->graph, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

static void end(subject *self) {
  graph_end(&self->graph);
}

static void destroy(subject *self) {
  graph_destroy(&self->graph);
}

static void assert_capturing(const subject *self) {
  assert_int_equal(graph_status(&self->graph), CU_STREAM_CAPTURE_STATUS_ACTIVE);
}

static void *take(const subject *self, size_t size_bytes, tarn_stream *stream) {
  return graph_take(&self->graph, size_bytes, stream);
}

static tarn_pool_stats stats_of(const subject *self) {
  return graph_stats(&self->graph);
}

/* --- what it refuses --- */

TEST(it_lends_nothing_in_a_capture_and_leaves_that_whole) {
  subject self = make_subject(*state, NULL);
  void *none = &none;
  begin(&self);
  const uint64_t calls = stats_of(&self).provider_calls;
  assert_int_equal(tarn_pool_alloc(self.graph.pool, 100, self.graph.stream, &none),
                   TARN_NOT_SUPPORTED);
  assert_null(none);
  assert_int_equal(stats_of(&self).provider_calls, calls); /* the driver saw nothing */
  assert_capturing(&self);
  OK(tarn_pool_free(self.graph.pool, take(&self, 100, self.other), self.other));
  OK(tarn_pool_free(self.graph.pool, take(&self, 100, NULL), NULL));
  assert_capturing(&self);
  end(&self);
  destroy(&self);
  drop_subject(&self);
}

TEST(a_capture_that_tarn_was_not_told_of_is_left_whole_too) {
  subject self = make_subject(*state, NULL);
  void *own = take(&self, 100, self.graph.stream), *foreign = take(&self, 100, self.other);
  void *none = NULL;
  CUgraph graph = NULL;
  CU(driver.begin(self.graph.native, CU_STREAM_CAPTURE_MODE_GLOBAL));
  assert_int_equal(tarn_pool_alloc(self.graph.pool, 100, self.graph.stream, &none),
                   TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_pool_free(self.graph.pool, own, self.graph.stream), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_pool_free(self.graph.pool, own, self.other), TARN_NOT_SUPPORTED);
  assert_int_equal(tarn_pool_free(self.graph.pool, foreign, self.graph.stream), TARN_NOT_SUPPORTED);
  assert_int_equal(stats_of(&self).requested_bytes, 200); /* still lent out */
  assert_int_equal(stats_of(&self).free_count, 0);
  assert_capturing(&self);
  CU(driver.end(self.graph.native, &graph));
  CU(driver.destroy_graph(graph));
  OK(tarn_pool_free(self.graph.pool, own, self.graph.stream));
  OK(tarn_pool_free(self.graph.pool, foreign, self.graph.stream));
  drop_subject(&self);
}

/* --- what it keeps --- */

TEST(a_block_freed_in_a_capture_is_right_at_every_launch) {
  subject self = make_subject(*state, NULL);
  fixture_block out = fixture_pinned_block(self.graph.cuda, SIZE_BYTES);
  void *block = take(&self, SIZE_BYTES, self.graph.stream);
  begin(&self);
  graph_fill(block, 7, SIZE_BYTES, self.graph.stream);
  graph_bring(&out, 0, block, SIZE_BYTES, self.graph.stream);
  OK(tarn_pool_free(self.graph.pool, block, self.graph.stream));
  assert_capturing(&self);
  assert_int_equal(graph_kept(self.graph.capture), SIZE_BYTES);
  end(&self);
  for (int round = 0; round < ROUNDS; round++) {
    const tarn_pool_stats stats = stats_of(&self);
    assert_int_equal(stats.allocated_bytes, 0);
    assert_int_equal(stats.captured_bytes, SIZE_BYTES);
    assert_int_equal(stats.graph_bytes, SIZE_BYTES);
    assert_true(stats.active_bytes >= SIZE_BYTES && stats.active_bytes <= stats.reserved_bytes);
    void *elsewhere = take(&self, SIZE_BYTES, self.other);
    assert_ptr_not_equal(elsewhere, block);
    graph_fill(elsewhere, 0xEE, SIZE_BYTES, self.other);
    memset(out.address, 0, SIZE_BYTES);
    graph_launch(&self.graph, self.graph.stream);
    OK(tarn_stream_synchronize(self.graph.stream));
    for (int i = 0; i < SIZE_BYTES; i++) assert_int_equal(out.address[i], 7);
    OK(tarn_pool_free(self.graph.pool, elsewhere, self.other));
    OK(tarn_pool_trim(self.graph.pool, 0, NULL));
  }
  graph_launch(&self.graph, self.graph.stream); /* under way when the capture goes */
  destroy(&self);
  assert_int_equal(stats_of(&self).graph_bytes, 0);
  OK(tarn_stream_synchronize(self.graph.stream));
  OK(tarn_stream_synchronize(self.other));
  OK(tarn_pool_trim(self.graph.pool, 0, NULL));
  assert_int_equal(stats_of(&self).active_bytes, 0);
  if (tarn_cuda_is_simulated(self.graph.cuda)) assert_int_equal(stats_of(&self).reserved_bytes, 0);
  fixture_free(&out);
  drop_subject(&self);
}

TEST(a_use_noted_in_a_capture_keeps_the_block_whoever_frees_it) {
  subject self = make_subject(*state, NULL);
  void *noted = take(&self, MIB, self.other), *own = take(&self, MIB, self.graph.stream);
  begin(&self);
  OK(tarn_pool_note_use(self.graph.pool, noted, self.graph.stream));
  OK(tarn_pool_note_use(self.graph.pool, own, self.graph.stream)); /* lent to it, but before */
  OK(tarn_pool_note_use(self.graph.pool, own, self.graph.stream));
  assert_int_equal(graph_kept(self.graph.capture), 2 * MIB);
  assert_int_equal(stats_of(&self).graph_bytes, 2 * MIB);
  assert_int_equal(stats_of(&self).captured_bytes, 0);
  OK(tarn_pool_free(self.graph.pool, noted, self.other));
  assert_int_equal(stats_of(&self).captured_bytes, MIB);
  end(&self);
  OK(tarn_pool_free(self.graph.pool, own, NULL));
  assert_int_equal(stats_of(&self).captured_bytes, 2 * MIB);
  assert_int_equal(graph_kept(self.graph.capture), 2 * MIB);
  destroy(&self);
  assert_int_equal(stats_of(&self).captured_bytes, 0);
  begin(&self); /* what a capture kept that is gone counts at no later one */
  assert_int_equal(graph_kept(self.graph.capture), 0);
  end(&self);
  destroy(&self);
  drop_subject(&self);
}

TEST(a_noted_block_that_outlives_the_capture_is_like_any_other) {
  subject self = make_subject(*state, NULL);
  void *block = take(&self, MIB, self.other);
  begin(&self);
  OK(tarn_pool_note_use(self.graph.pool, block, self.graph.stream));
  end(&self);
  destroy(&self);
  assert_int_equal(stats_of(&self).graph_bytes, 0);
  begin(&self); /* of the same stream, which has nothing to do with the block any more */
  OK(tarn_pool_free(self.graph.pool, block, self.other));
  OK(tarn_stream_synchronize(self.other));
  assert_int_equal(stats_of(&self).captured_bytes, 0);
  assert_int_equal(stats_of(&self).active_bytes, 0);
  end(&self);
  destroy(&self);
  drop_subject(&self);
}

TEST(a_block_of_a_stream_that_is_captured_waits_for_the_end) {
  subject self = make_subject(*state, NULL);
  void *block = take(&self, MIB, self.graph.stream), *used = take(&self, MIB, self.other);
  graph_fill(block, 1, MIB, self.graph.stream);
  OK(tarn_pool_note_use(self.graph.pool, used, self.graph.stream));
  begin(&self);
  OK(tarn_pool_free(self.graph.pool, block, NULL)); /* the stream's earlier work may still use it */
  OK(tarn_pool_free(self.graph.pool, used, self.other));
  assert_capturing(&self);
  assert_int_equal(stats_of(&self).captured_bytes, 2 * MIB);
  end(&self);
  destroy(&self);
  OK(tarn_stream_synchronize(self.graph.stream));
  assert_int_equal(stats_of(&self).captured_bytes, 0);
  drop_subject(&self);
}

TEST(a_pool_that_goes_takes_what_it_kept_along) {
  subject self = make_subject(*state, NULL);
  void *block = take(&self, MIB, self.graph.stream);
  begin(&self);
  OK(tarn_pool_free(self.graph.pool, block, self.graph.stream));
  end(&self);
  assert_int_equal(graph_kept(self.graph.capture), MIB);
  tarn_pool_release(self.graph.pool);
  self.graph.pool = NULL;
  assert_int_equal(graph_kept(self.graph.capture), 0);
  const fixture_sim *sim = fixture_sim_control();
  cusim_counts counts = {0};
  if (sim != NULL) sim->get_counts(&counts);
  assert_int_equal(counts.pool_blocks, 0);
  assert_int_equal(counts.pools, 0);
  destroy(&self);
  drop_subject(&self);
}

TEST(what_was_kept_waits_for_a_capture_that_tarn_was_not_told_of) {
  subject self = make_subject(*state, NULL);
  void *alone = take(&self, MIB, self.graph.stream), *noted = take(&self, MIB, self.graph.stream);
  CUgraph graph = NULL;
  OK(tarn_pool_note_use(self.graph.pool, noted, self.other));
  begin(&self);
  OK(tarn_pool_free(self.graph.pool, alone, self.graph.stream));
  OK(tarn_pool_free(self.graph.pool, noted, self.graph.stream));
  end(&self);
  assert_int_equal(stats_of(&self).captured_bytes, 2 * MIB);
  CU(driver.begin(self.graph.native, CU_STREAM_CAPTURE_MODE_GLOBAL));
  destroy(&self);
  /* What its stream alone has used was waited for; else its stream takes no free. */
  assert_int_equal(stats_of(&self).captured_bytes, MIB);
  assert_capturing(&self);
  CU(driver.end(self.graph.native, &graph));
  CU(driver.destroy_graph(graph));
  assert_int_equal(stats_of(&self).captured_bytes, 0);
  OK(tarn_cuda_synchronize(self.graph.cuda, 0));
  OK(tarn_pool_trim(self.graph.pool, 0, NULL));
  assert_int_equal(stats_of(&self).active_bytes, 0);
  if (tarn_cuda_is_simulated(self.graph.cuda)) assert_int_equal(stats_of(&self).reserved_bytes, 0);
  drop_subject(&self);
}

TEST(an_aborted_capture_gives_everything_back) {
  subject self = make_subject(*state, NULL);
  for (int round = 0; round < 3; round++) {
    CUgraph graph = NULL;
    void *before = take(&self, MIB, self.graph.stream),
         *after = take(&self, MIB, self.graph.stream);
    begin(&self);
    graph_fill(before, 1, SIZE_BYTES, self.graph.stream);
    OK(tarn_pool_free(self.graph.pool, before, self.graph.stream));
    assert_int_not_equal(driver.synchronize(self.graph.native), CUDA_SUCCESS); /* breaks it */
    OK(tarn_pool_free(self.graph.pool, after, self.graph.stream));
    assert_int_equal(driver.end(self.graph.native, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_null(graph);
    destroy(&self);
    assert_int_equal(stats_of(&self).captured_bytes, 0); /* now they are freed in its order */
    OK(tarn_stream_synchronize(self.graph.stream));
    assert_int_equal(stats_of(&self).active_bytes, 0);
  }
  drop_subject(&self);
}

/* --- others meanwhile --- */

typedef struct crowd {
  subject *self;
  atomic_bool is_over;
  pthread_t threads[2];
} crowd;

static tarn_status drop_text(void *context, const char *piece, size_t piece_bytes) {
  (void)context, (void)piece, (void)piece_bytes;
  return TARN_OK;
}

/* All that the pool can be asked for, from threads that capture nothing. */
static void *crowd_in(void *argument) {
  crowd *others = argument;
  const subject *self = others->self;
  tarn_stream *streams[2] = {fixture_stream(self->graph.cuda), fixture_stream(self->graph.cuda)};
  for (unsigned round = 0; !atomic_load(&others->is_over); round++) {
    tarn_stream *stream = streams[round % 2];
    void *block = take(self, (size_t)(round % 5 + 1) * 700, round % 3 == 0 ? NULL : stream);
    graph_fill(block, 0xEE, 700, stream);
    OK(tarn_pool_note_use(self->graph.pool, block, stream));
    OK(tarn_pool_free(self->graph.pool, block, streams[(round + 1) % 2]));
    if (round % 8 == 0) (void)stats_of(self);
    if (round % 16 == 0) OK(tarn_pool_snapshot(self->graph.pool, drop_text, NULL));
    if (round % 32 == 0) OK(tarn_pool_trim(self->graph.pool, 0, NULL));
    void *none = NULL;
    if (round % 64 == 0) {
      assert_int_equal(tarn_pool_alloc(self->graph.pool, (size_t)1 << 50, stream, &none),
                       TARN_OUT_OF_MEMORY);
    }
  }
  for (int i = 0; i < 2; i++) {
    OK(tarn_stream_synchronize(streams[i]));
    tarn_stream_release(streams[i]);
  }
  return NULL;
}

TEST(nothing_that_others_ask_of_it_breaks_a_capture) {
  subject self = make_subject(*state, NULL);
  fixture_block out = fixture_pinned_block(self.graph.cuda, SIZE_BYTES);
  crowd others = {.self = &self};
  atomic_init(&others.is_over, false);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_create(&others.threads[i], NULL, crowd_in, &others), 0);
  }
  for (int round = 0; round < 20; round++) {
    const uint8_t value = (uint8_t)(round + 1);
    void *block = take(&self, SIZE_BYTES, self.graph.stream);
    begin(&self);
    graph_fill(block, value, SIZE_BYTES, self.graph.stream);
    graph_bring(&out, 0, block, SIZE_BYTES, self.graph.stream);
    OK(tarn_pool_free(self.graph.pool, block, self.graph.stream));
    for (int wait = 0; wait < 20; wait++) assert_capturing(&self); /* the others have time */
    end(&self);
    graph_launch(&self.graph, self.graph.stream);
    OK(tarn_stream_synchronize(self.graph.stream));
    for (int i = 0; i < SIZE_BYTES; i++) assert_int_equal(out.address[i], value);
    destroy(&self);
  }
  atomic_store(&others.is_over, true);
  for (int i = 0; i < 2; i++) pthread_join(others.threads[i], NULL);
  fixture_free(&out);
  drop_subject(&self);
}

TEST(who_has_no_memory_waits_for_no_captured_stream) {
  FIXTURE_NEEDS_SIM();
  const tarn_cuda_driver_pool_options options = {.struct_size = sizeof options,
                                                 .limit_bytes = 8 * MIB};
  subject self = make_subject(*state, &options);
  void *pending = take(&self, 4 * MIB, self.graph.stream), *live = take(&self, 4 * MIB, self.other);
  void *none = NULL;
  graph_fill(pending, 1, 4 * MIB, self.graph.stream);
  OK(tarn_pool_free(self.graph.pool, pending, self.graph.stream)); /* before the capture */
  begin(&self);
  assert_int_equal(tarn_pool_alloc(self.graph.pool, 6 * MIB, self.other, &none),
                   TARN_OUT_OF_MEMORY);
  assert_capturing(&self);
  OK(tarn_pool_free(self.graph.pool, live, self.other));
  end(&self);
  destroy(&self);
  OK(tarn_pool_free(self.graph.pool, take(&self, 6 * MIB, self.other), self.other));
  drop_subject(&self);
}

/* While a blocking stream is captured the default stream has no answers, and a question to it
 * breaks the capture. */
TEST(what_is_pending_on_the_default_stream_breaks_no_capture) {
  subject self = make_subject(*state, NULL);
  CUresult (*create)(CUstream *, unsigned) = NULL;
  CUresult (*drop)(CUstream) = NULL;
  void *found[] = {fixture_driver_function("cuStreamCreate"),
                   fixture_driver_function("cuStreamDestroy_v2")};
  memcpy(&create, &found[0], sizeof create);
  memcpy(&drop, &found[1], sizeof drop);
  tarn_stream *legacy = NULL;
  CUstream blocking = NULL;
  CUgraph graph = NULL;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  OK(tarn_cuda_stream_wrap(self.graph.cuda, 0, NULL, &legacy));
  CU(create(&blocking, CU_STREAM_DEFAULT));
  OK(tarn_pool_free(self.graph.pool, take(&self, MIB, legacy), legacy));
  CU(driver.begin(blocking, CU_STREAM_CAPTURE_MODE_GLOBAL));
  (void)stats_of(&self);
  OK(tarn_pool_trim(self.graph.pool, 0, NULL));
  void *none = NULL;
  assert_int_equal(tarn_pool_alloc(self.graph.pool, (size_t)1 << 50, NULL, &none),
                   TARN_OUT_OF_MEMORY);
  CU(driver.is_capturing(blocking, &status));
  assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  assert_int_equal(stats_of(&self).active_bytes, 0); /* it was before the capture */
  CU(driver.end(blocking, &graph));
  CU(driver.destroy_graph(graph));
  CU(drop(blocking));
  tarn_stream_release(legacy);
  drop_subject(&self);
}

int run_driver_pool_capture_tests(void) {
  return run_listed_tests(graph_setup, fixture_teardown);
}
