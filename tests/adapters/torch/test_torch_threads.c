/* test_torch_threads.c: PyTorch's threads: many at once, others that free, and a child of fork. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/adapters/torch/torch_fixture.h"
#include "tests/support/child.h"

enum { THREADS = 4, STREAMS = 3, HELD = 8, STEPS = 300 };

typedef struct held_block {
  void *address;
  size_t size_bytes;
  int stream;
} held_block;

/* Blocks that any thread may free, as PyTorch's garbage collector does. */
static pthread_mutex_t shelf_lock = PTHREAD_MUTEX_INITIALIZER;
static held_block shelf[HELD];
static torch_stream streams[STREAMS];

static held_block swap_on_shelf(size_t place, held_block block) {
  pthread_mutex_lock(&shelf_lock);
  const held_block found = shelf[place];
  shelf[place] = block;
  pthread_mutex_unlock(&shelf_lock);
  return found;
}

static void *work(void *argument) {
  uint64_t random = (uint64_t)(uintptr_t)argument * 7919;
  for (int step = 0; step < STEPS; step++) {
    const int at = (int)(test_random(&random) % STREAMS);
    held_block made = {.size_bytes = 1 + test_random(&random) % SIZE_BYTES, .stream = at};
    made.address = tarn_torch_malloc_or_null(made.size_bytes, 0, streams[at].handle);
    if (made.address == NULL) continue; /* the limit is narrow */
    torch_fill(made.address, (uint8_t)step, made.size_bytes, &streams[at]);
    if (test_random(&random) % 4 == 0) {
      const int other = (int)(test_random(&random) % STREAMS);
      tarn_torch_record_stream(made.address, streams[other].handle);
    }
    const held_block old = swap_on_shelf(test_random(&random) % HELD, made);
    tarn_torch_free(old.address, old.size_bytes, 0, streams[old.stream].handle);
    if (step % 100 == 99) tarn_torch_reset();
  }
  return NULL;
}

TEST_WITH(threads_allocate_record_and_free_each_others_blocks, torch_setup, torch_teardown) {
  torch_limit(4 * MIB);
  for (int i = 0; i < STREAMS; i++) streams[i] = torch_make_stream();
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < HELD; i++) {
    const held_block old = swap_on_shelf((size_t)i, (held_block){.address = NULL});
    tarn_torch_free(old.address, old.size_bytes, 0, streams[old.stream].handle);
  }
  assert_int_equal(torch_stats().recorded_count, 0);
  assert_int_equal(torch_stats().refused_free_count, 0);
  assert_int_equal(torch_stats().pool.allocated_bytes, 0);
  assert_int_equal(torch_stats().stream_count, STREAMS);
  for (int i = 0; i < STREAMS; i++) torch_drop_stream(&streams[i]);
}

/* All threads meet the device, and a stream, for the first time. */
static void *first_use(void *argument) {
  void *block = tarn_torch_malloc(SIZE_BYTES, 0, argument);
  tarn_torch_free(block, SIZE_BYTES, 0, argument);
  return block;
}

TEST_WITH(one_pool_is_made_however_many_ask_first, torch_setup, torch_teardown) {
  torch_stream s = torch_make_stream();
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, first_use, s.handle), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    void *block = NULL;
    pthread_join(threads[i], &block);
    assert_non_null(block);
  }
  assert_int_equal(torch_stats().pool.alloc_count, THREADS);
  assert_int_equal(torch_stats().stream_count, 1);
  torch_drop_stream(&s);
}

/* Frees blocks that were recorded on a stream, and empties the cache, while that is forgotten. */
typedef struct helper {
  torch_stream stream;
  _Atomic(void *) handed; /* to be freed */
  atomic_bool is_over;
} helper;

static void *free_and_reset(void *argument) {
  helper *self = argument;
  while (!atomic_load(&self->is_over)) {
    void *block = atomic_exchange(&self->handed, NULL);
    tarn_torch_free(block, 0, 0, self->stream.handle);
    if (block == NULL) tarn_torch_reset();
  }
  return NULL;
}

TEST_WITH(a_stream_is_forgotten_while_others_wait_for_it, torch_setup, torch_teardown) {
  helper other = {.stream = torch_make_stream()};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, free_and_reset, &other), 0);
  for (int round = 0; round < STEPS; round++) {
    torch_stream s = torch_make_stream();
    torch_give(torch_take(SIZE_BYTES, &s), &s);
    void *block = torch_take(SIZE_BYTES, &other.stream);
    tarn_torch_record_stream(block, s.handle);
    torch_fill(block, 1, SIZE_BYTES, &s);
    tarn_torch_free(atomic_exchange(&other.handed, block), 0, 0, other.stream.handle);
    torch_drop_stream(&s);
  }
  atomic_store(&other.is_over, true);
  pthread_join(thread, NULL);
  tarn_torch_free(other.handed, 0, 0, other.stream.handle);
  assert_int_equal(torch_stats().refused_free_count, 0);
  assert_int_equal(torch_stats().pool.allocated_bytes, 0);
  torch_drop_stream(&other.stream);
}

static int child_frees_and_gets_nothing(void *block, void *segment, void *handle) {
  CHECK(tarn_torch_segment_alloc(SIZE_BYTES, 0, handle) == NULL);
  CHECK(tarn_torch_malloc_or_null(SIZE_BYTES, 0, handle) == NULL);
  CHECK(tarn_last_error()->status == TARN_UNAVAILABLE);
  tarn_torch_free(block, SIZE_BYTES, 0, handle);
  tarn_torch_segment_free(segment, SIZE_BYTES, 0, handle);
  tarn_torch_stats stats = {.struct_size = sizeof stats};
  CHECK(tarn_torch_stats_of(0, &stats) == TARN_OK);
  CHECK(stats.refused_free_count == 0 && stats.pool.allocated_bytes == 0);
  return 0;
}

TEST_WITH(a_child_of_fork_frees_and_gets_nothing, torch_setup, torch_teardown) {
  torch_stream s = torch_make_stream();
  torch_stream t = torch_make_stream();
  torch_give(torch_take(SIZE_BYTES, &t), &t);
  void *block = torch_take(SIZE_BYTES, &s);
  tarn_torch_record_stream(block, t.handle);
  void *segment = tarn_torch_segment_alloc(SIZE_BYTES, 0, s.handle);
  const pid_t child = fork();
  if (child == 0) {
    alarm(CHILD_SECONDS);
    _exit(child_frees_and_gets_nothing(block, segment, s.handle));
  }
  assert_int_equal(exit_code_of(child), 0);
  torch_give(block, &s);
  tarn_torch_segment_free(segment, SIZE_BYTES, 0, s.handle);
  torch_drop_stream(&s), torch_drop_stream(&t);
}

int run_torch_thread_tests(void) {
  return run_listed_tests(torch_group_setup, fixture_teardown);
}
