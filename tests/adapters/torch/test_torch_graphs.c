/* test_torch_graphs.c: PyTorch's private pools: graphs that keep memory, share it, and end. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/adapters/torch/torch_fixture.h"

/* libstdc++'s std::function<bool(cudaStream_t)>, as g++ lays it out; test_torch_client has a real
 * one. */
typedef struct filter {
  void *functor[2];
  bool (*manage)(void *to, const void *from, int operation);
  bool (*invoke)(const void *functor, void **stream);
} filter;

static int alive_count; /* filters that were copied and not destroyed */
static int asked_count;

static bool manage(void *to, const void *from, int operation) {
  if (operation == 2) memcpy(to, from, 2 * sizeof(void *));
  alive_count += operation == 2 ? 1 : operation == 3 ? -1 : 0;
  return false;
}

/* As PyTorch's: whether the driver captures the stream. */
static bool is_captured(const void *functor, void **stream) {
  (void)functor;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  asked_count++;
  CU(driver.is_capturing(*stream, &status));
  return status == CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

static const filter captured = {.manage = manage, .invoke = is_captured};

/* One graph of PyTorch's, and what happens to it in PyTorch's order. */
typedef struct graph {
  torch_stream stream;
  tarn_torch_pool_id id;
  CUgraphExec executable;
} graph;

static void begin(graph *self) {
  tarn_torch_begin_allocate_to_pool(0, self->id, &captured);
  CU(driver.begin(self->stream.handle, CU_STREAM_CAPTURE_MODE_GLOBAL));
}

static void end(graph *self) {
  CUgraph made = NULL;
  CU(driver.end(self->stream.handle, &made));
  tarn_torch_end_allocate_to_pool(0, self->id);
  CU(driver.instantiate(&self->executable, made, 0));
  CU(driver.destroy_graph(made));
}

static void replay(const graph *self) {
  CU(driver.launch(self->executable, self->stream.handle));
}

static void reset(graph *self) {
  tarn_torch_release_pool(0, self->id);
  CU(driver.destroy_executable(self->executable));
}

/* The context that PyTorch has current. */
static tarn__cuda_scope scope;

static int enter_setup(void **state) {
  CUcontext context = NULL;
  OK(tarn__cuda_context(*state, 0, &context));
  OK(tarn__cuda_enter(*state, context, &scope));
  alive_count = asked_count = 0;
  return torch_setup(state);
}

static int leave_teardown(void **state) {
  const int result = torch_teardown(state);
  tarn__cuda_leave(&scope);
  assert_int_equal(alive_count, 0);
  return result;
}

static void overwrite_the_rest(const torch_stream *stream) {
  void *blocks[12];
  for (int i = 0; i < 12; i++) {
    blocks[i] = torch_take(SIZE_BYTES, stream);
    torch_fill(blocks[i], 0xEE, SIZE_BYTES, stream);
  }
  for (int i = 0; i < 12; i++) torch_give(blocks[i], stream);
}

/* Takes a block, fills it, brings it out and frees it. */
static void *scratch(const torch_stream *stream, uint8_t value, const fixture_block *out) {
  void *block = torch_take(SIZE_BYTES, stream);
  torch_fill(block, value, SIZE_BYTES, stream);
  graph_bring(out, 0, block, SIZE_BYTES, stream->work);
  torch_give(block, stream);
  return block;
}

TEST_WITH(a_graphs_memory_is_its_own_until_the_pool_is_released, enter_setup, leave_teardown) {
  fixture_block out = fixture_pinned_block(*state, SIZE_BYTES);
  graph self = {.stream = torch_make_stream(), .id = {7, 0}};
  overwrite_the_rest(&self.stream); /* there is idle memory to be drawn in */
  begin(&self);
  void *inside = scratch(&self.stream, 5, &out);
  assert_ptr_equal(scratch(&self.stream, 6, &out), inside); /* again in the same graph */
  end(&self);
  assert_true(asked_count > 0);
  assert_int_equal(alive_count, 0);
  assert_int_equal(torch_stats().graph_pool_count, 1);
  assert_int_equal(torch_stats().pool.graph_bytes, SIZE_BYTES);
  for (int round = 0; round < ROUNDS; round++) {
    memset(out.address, 0, SIZE_BYTES);
    replay(&self);
    overwrite_the_rest(&self.stream);
    OK(tarn_stream_synchronize(self.stream.work));
    assert_int_equal(out.address[0], 6);
    assert_int_equal(out.address[SIZE_BYTES - 1], 6);
  }
  replay(&self); /* still under way */
  reset(&self);
  assert_int_equal(torch_stats().graph_pool_count, 0);
  assert_int_equal(torch_stats().pool.graph_bytes, 0);
  overwrite_the_rest(&self.stream);
  torch_drop_stream(&self.stream);
  fixture_free(&out);
}

TEST_WITH(streams_forked_in_a_capture_are_drawn_in, enter_setup, leave_teardown) {
  fixture_block out = fixture_pinned_block(*state, SIZE_BYTES);
  graph self = {.stream = torch_make_stream(), .id = {8, 0}};
  torch_stream side = torch_make_stream();
  torch_stream beside = torch_make_stream(); /* not captured */
  begin(&self);
  void *block = torch_take(SIZE_BYTES, &self.stream);
  torch_order(&side, &self.stream);
  void *other = torch_take(SIZE_BYTES, &side);
  void *outside = torch_take(SIZE_BYTES, &beside);
  torch_fill(other, 3, SIZE_BYTES, &side);
  torch_order(&self.stream, &side);
  graph_bring(&out, 0, other, SIZE_BYTES, self.stream.work);
  torch_give(other, &side);
  torch_give(block, &self.stream);
  torch_give(outside, &beside);
  end(&self);
  assert_int_equal(torch_stats().pool.graph_bytes, 2 * SIZE_BYTES);
  replay(&self);
  OK(tarn_stream_synchronize(self.stream.work));
  assert_int_equal(out.address[0], 3);
  reset(&self);
  torch_drop_stream(&side), torch_drop_stream(&beside), torch_drop_stream(&self.stream);
  fixture_free(&out);
}

TEST_WITH(graphs_of_one_pool_share_their_memory, enter_setup, leave_teardown) {
  fixture_block out = fixture_pinned_block(*state, SIZE_BYTES);
  graph first = {.stream = torch_make_stream(), .id = {0, 3}};
  graph second = first, third = first;
  third.id = (tarn_torch_pool_id){0, 4};
  begin(&first);
  void *result = torch_take(SIZE_BYTES, &first.stream); /* outlives its capture */
  void *shared = scratch(&first.stream, 1, &out);
  end(&first);
  begin(&second);
  assert_ptr_equal(scratch(&second.stream, 2, &out), shared);
  end(&second);
  begin(&third);
  assert_ptr_not_equal(scratch(&third.stream, 2, &out), shared);
  end(&third);
  assert_int_equal(torch_stats().graph_pool_count, 2);
  reset(&third);
  replay(&first), replay(&second);
  reset(&first);
  overwrite_the_rest(&second.stream);
  replay(&second); /* the memory stays as long as one of them */
  OK(tarn_stream_synchronize(second.stream.work));
  assert_int_equal(out.address[0], 2);
  torch_give(result, &first.stream);
  assert_int_equal(torch_stats().pool.graph_bytes, 2 * SIZE_BYTES);
  assert_int_equal(tarn_torch_close(), TARN_BUSY);
  reset(&second);
  assert_int_equal(torch_stats().pool.graph_bytes, 0);
  torch_drop_stream(&first.stream);
  fixture_free(&out);
}

TEST_WITH(releasing_waits_for_the_end_of_another_capture, enter_setup, leave_teardown) {
  fixture_block out = fixture_pinned_block(*state, SIZE_BYTES);
  graph first = {.stream = torch_make_stream(), .id = {1, 0}};
  graph second = {.stream = torch_make_stream(), .id = {2, 0}};
  begin(&first);
  scratch(&first.stream, 1, &out);
  end(&first);
  replay(&first);
  begin(&second);
  scratch(&second.stream, 2, &out);
  reset(&first); /* waiting for the device would spoil the second */
  assert_int_equal(torch_stats().waiting_graph_count, 1);
  assert_int_equal(torch_stats().pool.graph_bytes, 2 * SIZE_BYTES);
  end(&second);
  assert_int_equal(torch_stats().waiting_graph_count, 0);
  assert_int_equal(torch_stats().pool.graph_bytes, SIZE_BYTES);
  replay(&second);
  reset(&second);
  torch_drop_stream(&first.stream), torch_drop_stream(&second.stream);
  fixture_free(&out);
}

static void *empty_the_cache(void *is_over) {
  while (!atomic_load((atomic_bool *)is_over)) tarn_torch_reset();
  return NULL;
}

TEST_WITH(a_capture_begins_while_another_thread_empties_the_cache, enter_setup, leave_teardown) {
  fixture_block out = fixture_pinned_block(*state, SIZE_BYTES);
  graph self = {.stream = torch_make_stream(), .id = {3, 0}};
  torch_give(torch_take(SIZE_BYTES, &self.stream), &self.stream); /* a stream to be waited for */
  atomic_bool is_over = false;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, empty_the_cache, &is_over), 0);
  for (int round = 0; round < 20 * ROUNDS; round++) {
    begin(&self);
    scratch(&self.stream, 1, &out);
    end(&self);
    reset(&self);
  }
  atomic_store(&is_over, true);
  pthread_join(thread, NULL);
  torch_drop_stream(&self.stream);
  fixture_free(&out);
}

/* use_mem_pool of PyTorch's without a graph: the memory is apart, and the work runs at once. */
TEST_WITH(a_pool_without_a_capture_is_apart_too, enter_setup, leave_teardown) {
  torch_stream s = torch_make_stream();
  const tarn_torch_pool_id id = {0, 9};
  const filter none = {.manage = NULL};
  tarn_torch_begin_allocate_to_pool(0, id, &none);
  tarn_torch_begin_allocate_to_pool(0, id, NULL);
  void *block = torch_take(SIZE_BYTES, &s);
  torch_fill(block, 4, SIZE_BYTES, &s);
  torch_give(block, &s);
  assert_ptr_equal(torch_take(SIZE_BYTES, &s), block);
  assert_int_equal(tarn_torch_forget_stream(0, s.handle), TARN_BUSY);
  torch_give(block, &s);
  tarn_torch_end_allocate_to_pool(0, id);
  tarn_torch_release_pool(0, id);
  assert_int_equal(torch_stats().graph_pool_count, 1);
  tarn_torch_end_allocate_to_pool(0, id);
  void *other = torch_take(SIZE_BYTES, &s);
  assert_ptr_not_equal(other, block);
  torch_fill(other, 5, SIZE_BYTES, &s);
  torch_give(other, &s);
  tarn_torch_release_pool(0, id);
  assert_int_equal(torch_stats().pool.graph_bytes, 0);
  torch_drop_stream(&s);
}

TEST_WITH(ends_and_releases_without_a_beginning_do_nothing, enter_setup, leave_teardown) {
  const tarn_torch_pool_id id = {5, 5};
  tarn_torch_end_allocate_to_pool(0, id);
  tarn_torch_release_pool(0, id);
  tarn_torch_end_allocate_to_pool(-1, id);
  tarn_torch_release_pool(-1, id);
  tarn_torch_begin_allocate_to_pool(-1, id, &captured);
  assert_int_equal(torch_stats().graph_pool_count, 0);
}

/* What a released graph kept is found before there is said to be none. */
TEST_WITH(memory_of_a_released_graph_is_not_missed, enter_setup, leave_teardown) {
  fixture_block out = fixture_pinned_block(*state, SIZE_BYTES);
  torch_limit(4 * MIB);
  graph first = {.stream = torch_make_stream(), .id = {1, 0}};
  torch_stream other = torch_make_stream();
  begin(&first);
  torch_give(torch_take(3 * MIB, &first.stream), &first.stream);
  end(&first);
  assert_null(tarn_torch_malloc_or_null(3 * MIB, 0, other.handle));
  reset(&first);
  torch_give(torch_take(3 * MIB, &other), &other);
  torch_drop_stream(&other), torch_drop_stream(&first.stream);
  fixture_free(&out);
}

/* Of a MemPool with a graph: PyTorch's own allocator asks for segments on a stream that it
 * captures, and tells of no pool. All that is idle was used by another stream. */
TEST_WITH(a_segment_comes_in_a_capture_that_nobody_tells_of, enter_setup, leave_teardown) {
  torch_limit(8 * MIB);
  graph self = {.stream = torch_make_stream()};
  torch_stream other = torch_make_stream();
  void *block = torch_take(8 * MIB, &other);
  torch_fill(block, 1, SIZE_BYTES, &other);
  torch_give(block, &other);
  CU(driver.begin(self.stream.handle, CU_STREAM_CAPTURE_MODE_GLOBAL));
  void *segment = tarn_torch_segment_alloc(6 * MIB, 0, self.stream.handle);
  assert_non_null(segment);
  torch_fill(segment, 2, SIZE_BYTES, &self.stream);
  assert_null(tarn_torch_segment_alloc(6 * MIB, 0, self.stream.handle));
  CUgraph made = NULL;
  CU(driver.end(self.stream.handle, &made));
  CU(driver.instantiate(&self.executable, made, 0));
  CU(driver.destroy_graph(made));
  CU(driver.launch(self.executable, other.handle)); /* where nobody knows of the segment */
  CU(driver.destroy_executable(self.executable));
  tarn_torch_segment_free(segment, 0, 0, self.stream.handle);
  block = torch_take(8 * MIB, &self.stream);
  torch_fill(block, 3, SIZE_BYTES, &self.stream);
  torch_give(block, &self.stream);
  assert_int_equal(torch_stats().refused_free_count, 0);
  assert_int_equal(torch_stats().failed_count, 1);
  torch_drop_stream(&other), torch_drop_stream(&self.stream);
}

TEST_WITH(a_segment_that_cannot_be_waited_for_stays, enter_setup, leave_teardown) {
  graph self = {.stream = torch_make_stream()};
  tarn_torch_segment_free(NULL, 0, 0, NULL);
  void *segment = tarn_torch_segment_alloc(SIZE_BYTES, 0, NULL);
  CU(driver.begin(self.stream.handle, CU_STREAM_CAPTURE_MODE_GLOBAL));
  tarn_torch_segment_free(segment, 0, 0, NULL);
  assert_int_equal(torch_stats().refused_free_count, 1);
  CUgraph made = NULL;
  (void)driver.end(self.stream.handle, &made); /* whether waiting broke it is the driver's */
  if (made != NULL) CU(driver.destroy_graph(made));
  tarn_torch_segment_free(segment, 0, 0, NULL);
  assert_int_equal(torch_stats().refused_free_count, 1);
  assert_int_equal(torch_stats().pool.allocated_bytes, 0);
  torch_drop_stream(&self.stream);
}

int run_torch_graph_tests(void) {
  return run_listed_tests(torch_group_setup, fixture_teardown);
}
