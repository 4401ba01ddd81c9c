/* test_driver_pool.c: the CUDA driver's own pool behind the pool seam. */
#include "tests/cuda/cuda_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>

#include "alloc/tarn_host_stream.h"
#include "cuda/cuda_device.h"

enum { MIB = 1 << 20 };

static tarn_pool_stats stats_of(tarn_pool *pool) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  OK(tarn_pool_stats_of(pool, &stats));
  assert_true(stats.requested_bytes <= stats.allocated_bytes);
  assert_true(stats.allocated_bytes <= stats.active_bytes);
  assert_true(stats.active_bytes <= stats.reserved_bytes);
  return stats;
}

/* Asks until fewer are in use. */
static size_t active_below(tarn_pool *pool, size_t bytes) {
  size_t active_bytes = bytes;
  while (active_bytes >= bytes) active_bytes = stats_of(pool).active_bytes;
  return active_bytes;
}

static void *take(tarn_pool *pool, size_t size_bytes, tarn_stream *stream) {
  void *address = NULL;
  OK(tarn_pool_alloc(pool, size_bytes, stream, &address));
  return address;
}

TEST(it_says_what_it_is) {
  tarn_pool *pool = fixture_driver_pool(*state, NULL);
  const tarn_pool_attributes *attributes = tarn_pool_attributes_of(pool);
  assert_string_equal(tarn_pool_name(pool), "cuda:0 driver");
  assert_true(tarn_device_equal(attributes->device, tarn_device_make(TARN_DEVICE_CUDA, 0)));
  assert_int_equal(attributes->alignment_bytes, 256);
  assert_int_equal(attributes->node, -1);
  if (fixture_sim_control() != NULL) assert_int_equal(counts_now().pools, 1); /* its own */
  tarn_pool_release(pool);
  if (fixture_sim_control() != NULL) assert_int_equal(counts_now().pools, 0);
}

TEST(its_figures_mean_what_those_of_other_pools_mean) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *stream = fixture_stream(cuda);
  fixture_gate gate;
  void *first = take(pool, 1000, stream);
  void *second = take(pool, 5000, stream);
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes, 6000);
  assert_int_equal(stats.allocated_bytes, 1024 + 5120);
  assert_int_equal(stats.active_bytes, 1024 + 5120);
  assert_true(stats.reserved_bytes >= stats.active_bytes);
  fixture_hold(stream, &gate);
  OK(tarn_pool_free(pool, second, stream));
  for (int i = 0; i < 3; i++) { /* asking changes nothing */
    stats = stats_of(pool);
    assert_int_equal(stats.requested_bytes, 1000);
    assert_int_equal(stats.allocated_bytes, 1024);
    assert_int_equal(stats.active_bytes, 1024 + 5120);
  }
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(stream));
  stats = stats_of(pool);
  assert_int_equal(stats.active_bytes, 1024);
  assert_int_equal(stats.requested_bytes_peak, 6000);
  assert_int_equal(stats.allocated_bytes_peak, 1024 + 5120);
  assert_int_equal(stats.alloc_count, 2);
  assert_int_equal(stats.free_count, 1);
  assert_int_equal(stats.provider_calls, 3);
  OK(tarn_pool_free(pool, first, NULL));
  OK(tarn_stream_synchronize(stream));
  size_t released = 0;
  OK(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, stats.reserved_bytes);
  stats = stats_of(pool);
  assert_int_equal(stats.reserved_bytes, 0);
  assert_int_equal(stats.reserved_bytes_peak, released);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_stream_gets_its_own_block_back_at_once) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *stream = fixture_stream(cuda);
  fixture_gate gate;
  void *first = take(pool, MIB, stream);
  fixture_hold(stream, &gate);
  OK(tarn_pool_free(pool, first, stream));
  void *second = take(pool, MIB, stream);
  if (tarn_cuda_is_simulated(cuda)) assert_ptr_equal(second, first);
  OK(tarn_pool_free(pool, second, stream));
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_noted_stream_is_waited_for_but_by_no_stream_of_the_callers) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *own = fixture_stream(cuda), *other = fixture_stream(cuda);
  fixture_gate gate;
  void *block = take(pool, 32 * MIB, own);
  OK(tarn_stream_synchronize(own)); /* so that the other one may use it */
  fixture_hold(other, &gate);
  OK(tarn_stream_fill(other, block, tarn_device_make(TARN_DEVICE_CUDA, 0), 1, 100));
  OK(tarn_pool_note_use(pool, (char *)block + 77, other));
  OK(tarn_pool_note_use(pool, block, other));
  OK(tarn_pool_free(pool, block, own));
  OK(tarn_stream_synchronize(own)); /* would hang if it had to wait */
  void *next = take(pool, 32 * MIB, own);
  assert_ptr_not_equal(next, block);
  assert_int_equal(stats_of(pool).active_bytes, 64 * MIB);
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(other));
  OK(tarn_pool_free(pool, next, own));
  tarn_stream_release(own);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

TEST(a_block_may_be_freed_on_a_stream_that_never_used_it) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *own = fixture_stream(cuda), *other = fixture_stream(cuda);
  fixture_gate gate;
  fixture_hold(own, &gate);
  void *block = take(pool, MIB, own); /* its allocation has not run yet */
  OK(tarn_stream_fill(own, block, tarn_device_make(TARN_DEVICE_CUDA, 0), 1, MIB));
  OK(tarn_pool_free(pool, block, other));
  OK(tarn_stream_synchronize(other));
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.fence_count, 2 + 1); /* one per stream, and one to look at */
  assert_int_equal(stats.wait_count, 2);
  assert_int_equal(stats.active_bytes, MIB);
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(own));
  tarn_stream_release(own);
  tarn_stream_release(other);
  tarn_pool_release(pool); /* waits for the end of the block */
}

TEST(memory_for_the_host_waits_for_no_stream) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *stream = fixture_stream(cuda), *worker = NULL;
  fixture_gate gate;
  void *block = take(pool, 32 * MIB, stream);
  fixture_hold(stream, &gate);
  OK(tarn_pool_free(pool, block, stream));
  void *host = take(pool, 32 * MIB, NULL); /* would hang */
  assert_ptr_not_equal(host, block);
  OK(tarn_pool_free(pool, host, NULL));
  assert_int_equal(stats_of(pool).active_bytes, 32 * MIB);
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(stream));
  /* So it is with a stream that the driver does not know. */
  OK(tarn_worker_stream_create(&worker));
  void *strange = take(pool, 1000, worker);
  OK(tarn_pool_free(pool, strange, worker));
  OK(tarn_stream_synchronize(worker));
  tarn_stream_release(worker);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(memory_that_is_pending_is_waited_for_before_there_is_none) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const fixture_sim *sim = fixture_sim_control();
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  sim->set_capacity(0, info.total_bytes - info.free_bytes + 64 * MIB);
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *first = fixture_stream(cuda), *second = fixture_stream(cuda);
  void *block = take(pool, 40 * MIB, first);
  OK(tarn_stream_fill(first, block, tarn_device_make(TARN_DEVICE_CUDA, 0), 1, 40 * MIB));
  OK(tarn_pool_free(pool, block, first));
  const uint64_t trims = sim->calls("cuMemPoolTrimTo");
  void *larger = take(pool, 60 * MIB, second); /* 40 have to go back before */
  assert_int_equal(sim->calls("cuMemPoolTrimTo"), trims + 1);

  const uint64_t tries = sim->calls("cuMemAllocFromPoolAsync");
  void *none = &none;
  assert_int_equal(tarn_pool_alloc(pool, 20 * MIB, second, &none), TARN_OUT_OF_MEMORY);
  assert_null(none);
  assert_int_equal(sim->calls("cuMemAllocFromPoolAsync"), tries + 2); /* one more try, no more */
  char number[32];
  snprintf(number, sizeof number, "%d bytes asked", 20 * MIB);
  assert_non_null(strstr(tarn_last_error()->message, number));
  snprintf(number, sizeof number, "%d live", 60 * MIB);
  assert_non_null(strstr(tarn_last_error()->message, number));
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.out_of_memory_count, 1);
  assert_int_equal(stats.requested_bytes, 60 * MIB);
  OK(tarn_pool_free(pool, larger, second));
  OK(tarn_stream_synchronize(second));
  sim->set_capacity(0, info.total_bytes);
  tarn_stream_release(first);
  tarn_stream_release(second);
  tarn_pool_release(pool);
}

typedef struct late_taker {
  tarn_pool *pool;
  tarn_stream *stream;
  tarn_status status;
  void *block;
  atomic_bool is_done;
} late_taker;

static void *take_late(void *argument) {
  late_taker *self = argument;
  self->status = tarn_pool_alloc(self->pool, 30 * MIB, self->stream, &self->block);
  atomic_store(&self->is_done, true);
  return NULL;
}

/* What is pending is in the first one's hands when the second one looks for it. */
TEST(two_threads_wait_for_what_is_pending_before_there_is_none) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const fixture_sim *sim = fixture_sim_control();
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  sim->set_capacity(0, info.total_bytes - info.free_bytes + 64 * MIB);
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *held = fixture_stream(cuda);
  late_taker takers[] = {{.pool = pool, .stream = fixture_stream(cuda)},
                         {.pool = pool, .stream = fixture_stream(cuda)}};
  pthread_t threads[2];
  fixture_gate gate;
  void *block = take(pool, 40 * MIB, held);
  fixture_hold(held, &gate);
  OK(tarn_pool_free(pool, block, held));
  const uint64_t waits = sim->calls("cuEventSynchronize");
  assert_int_equal(pthread_create(&threads[0], NULL, take_late, &takers[0]), 0);
  while (sim->calls("cuEventSynchronize") == waits) sched_yield();
  const uint64_t tries = sim->calls("cuMemAllocFromPoolAsync");
  assert_int_equal(pthread_create(&threads[1], NULL, take_late, &takers[1]), 0);
  while (sim->calls("cuMemAllocFromPoolAsync") == tries) sched_yield();
  for (int i = 0; i < 1000 && !atomic_load(&takers[1].is_done); i++) sched_yield();
  fixture_let_go(&gate);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    OK(takers[i].status);
    OK(tarn_pool_free(pool, takers[i].block, takers[i].stream));
    OK(tarn_stream_synchronize(takers[i].stream));
    tarn_stream_release(takers[i].stream);
  }
  sim->set_capacity(0, info.total_bytes);
  tarn_stream_release(held);
  tarn_pool_release(pool);
}

/* Nobody has waited for the stream of the pool's own where the block was freed. */
TEST(a_trim_gives_back_what_has_passed_though_nobody_waited) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *own = fixture_stream(cuda), *other = fixture_stream(cuda);
  void *block = take(pool, MIB, own);
  OK(tarn_pool_note_use(pool, block, other));
  OK(tarn_pool_free(pool, block, own));
  OK(tarn_stream_synchronize(own));
  OK(tarn_stream_synchronize(other));
  while (stats_of(pool).active_bytes != 0) {
  }
  OK(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_stream_release(own);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

/* Another thread may be about to capture it, or to destroy it, once it is closed here. */
TEST(no_stream_is_asked_for_what_is_pending) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const fixture_sim *sim = fixture_sim_control();
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *stream = fixture_stream(cuda);
  fixture_gate gate;
  void *block = take(pool, MIB, stream), *none = NULL;
  fixture_hold(stream, &gate);
  OK(tarn_pool_free(pool, block, stream));
  const uint64_t queries = sim->calls("cuStreamQuery");
  const uint64_t questions = sim->calls("cuStreamIsCapturing");
  for (int i = 0; i < 3; i++) assert_int_equal(stats_of(pool).active_bytes, MIB);
  OK(tarn_pool_trim(pool, 0, NULL));
  fixture_let_go(&gate);
  const uint64_t waits = sim->calls("cuStreamSynchronize");
  assert_int_equal(tarn_pool_alloc(pool, (size_t)1 << 50, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(stats_of(pool).active_bytes, 0);
  assert_int_equal(sim->calls("cuStreamQuery"), queries);
  assert_int_equal(sim->calls("cuStreamIsCapturing"), questions);
  assert_int_equal(sim->calls("cuStreamSynchronize"), waits + 2); /* of the pool's own stream */
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* A stream that is never idle gets somewhere all the same. */
TEST(an_earlier_free_passes_while_a_later_one_is_pending) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *stream = fixture_stream(cuda);
  fixture_gate first, second;
  void *early = take(pool, MIB, stream), *late = take(pool, MIB, stream);
  OK(tarn_pool_free(pool, take(pool, MIB, stream), stream)); /* its event says nothing of others */
  OK(tarn_stream_synchronize(stream));
  fixture_hold(stream, &first);
  OK(tarn_pool_free(pool, early, stream));
  assert_true(stats_of(pool).active_bytes >= 2 * MIB);
  fixture_hold(stream, &second);
  OK(tarn_pool_free(pool, late, stream));
  assert_true(stats_of(pool).active_bytes >= 2 * MIB);
  fixture_let_go(&first);
  const size_t active_bytes = active_below(pool, 2 * MIB);
  fixture_let_go(&second);
  assert_int_equal(active_bytes, MIB);
  OK(tarn_stream_synchronize(stream));
  assert_int_equal(stats_of(pool).active_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* Who records first stops behind that. */
static struct {
  CUresult (*record)(CUevent event, CUstream stream);
  sem_t recorded;
  sem_t go_on;
  atomic_bool is_passed;
} turnstile;

static CUresult record_and_stop(CUevent event, CUstream stream) {
  const CUresult result = turnstile.record(event, stream);
  if (!atomic_exchange(&turnstile.is_passed, true)) {
    sem_post(&turnstile.recorded);
    sem_wait(&turnstile.go_on);
  }
  return result;
}

typedef struct freer {
  tarn_pool *pool;
  tarn_stream *stream;
  void *block;
  tarn_status status;
} freer;

static void *free_one(void *argument) {
  freer *self = argument;
  self->status = tarn_pool_free(self->pool, self->block, self->stream);
  return NULL;
}

/* The earlier one comes to its record after the later one did. */
TEST(of_two_frees_at_one_time_neither_stands_for_the_other) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *stream = fixture_stream(cuda);
  fixture_gate gate;
  void *late = take(pool, MIB, stream);
  freer early = {.pool = pool, .stream = stream, .block = take(pool, MIB, stream)};
  turnstile.record = cuda->driver.EventRecord;
  atomic_store(&turnstile.is_passed, false);
  assert_int_equal(sem_init(&turnstile.recorded, 0, 0), 0);
  assert_int_equal(sem_init(&turnstile.go_on, 0, 0), 0);
  cuda->driver.EventRecord = record_and_stop;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, free_one, &early), 0);
  sem_wait(&turnstile.recorded);
  fixture_hold(stream, &gate);
  OK(tarn_pool_free(pool, late, stream));
  sem_post(&turnstile.go_on);
  assert_int_equal(pthread_join(thread, NULL), 0);
  cuda->driver.EventRecord = turnstile.record;
  OK(early.status);
  const size_t active_bytes = active_below(pool, 2 * MIB);
  fixture_let_go(&gate);
  assert_int_equal(active_bytes, MIB);
  OK(tarn_stream_synchronize(stream));
  assert_int_equal(stats_of(pool).active_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_limit_holds) {
  const tarn_cuda_driver_pool_options options = {
      .struct_size = sizeof options, .name = "small", .limit_bytes = 3 * MIB};
  tarn_pool *pool = fixture_driver_pool(*state, &options);
  assert_string_equal(tarn_pool_name(pool), "small");
  void *block = take(pool, 2 * MIB, NULL);
  void *none = &none;
  assert_int_equal(tarn_pool_alloc(pool, 2 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_null(none);
  char number[32];
  snprintf(number, sizeof number, "limit %d", 3 * MIB);
  assert_non_null(strstr(tarn_last_error()->message, number));
  OK(tarn_pool_free(pool, block, NULL));
  block = take(pool, 3 * MIB, NULL);
  if (tarn_cuda_is_simulated(*state)) assert_true(stats_of(pool).reserved_bytes <= 4 * MIB);
  OK(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
}

TEST(options_choose_what_stays_and_what_is_reused) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  tarn_cuda_driver_pool_options options = {.struct_size = sizeof options,
                                           .release_threshold_bytes = 1};
  for (int round = 0; round < 2; round++) {
    tarn_pool *pool = fixture_driver_pool(cuda, round == 0 ? &options : NULL);
    tarn_stream *stream = fixture_stream(cuda);
    OK(tarn_pool_free(pool, take(pool, MIB, stream), stream));
    OK(tarn_stream_synchronize(stream));
    assert_int_equal(stats_of(pool).reserved_bytes, round == 0 ? 0 : 32 * MIB);
    tarn_stream_release(stream);
    tarn_pool_release(pool);
  }
  options = (tarn_cuda_driver_pool_options){.struct_size = sizeof options,
                                            .flags = TARN_CUDA_POOL_ADD_WAITS};
  tarn_pool *pool = fixture_driver_pool(cuda, &options);
  tarn_stream *first = fixture_stream(cuda), *second = fixture_stream(cuda);
  fixture_gate gate;
  void *block = take(pool, 32 * MIB, first);
  fixture_hold(first, &gate);
  OK(tarn_pool_free(pool, block, first));
  void *again = take(pool, 32 * MIB, second);
  assert_ptr_equal(again, block); /* the second stream waits for the first one */
  OK(tarn_pool_free(pool, again, second));
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(second));
  tarn_stream_release(first);
  tarn_stream_release(second);
  tarn_pool_release(pool);
}

TEST(bad_options_are_refused) {
  tarn_cuda *cuda = *state;
  tarn_pool_release(fixture_driver_pool(cuda, NULL));
  tarn_cuda_driver_pool_options options = {.struct_size = sizeof options, .flags = 1u << 9};
  tarn_pool *pool = (tarn_pool *)&pool;
  assert_int_equal(tarn_cuda_driver_pool_create(cuda, 0, &options, &pool), TARN_INVALID_ARGUMENT);
  assert_null(pool);
  options = (tarn_cuda_driver_pool_options){.struct_size = 3};
  assert_int_equal(tarn_cuda_driver_pool_create(cuda, 0, &options, &pool), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_driver_pool_create(cuda, 99, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_driver_pool_create(NULL, 0, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_cuda_driver_pool_create(cuda, 0, NULL, NULL), TARN_INVALID_ARGUMENT);
}

TEST(a_driver_without_pools_is_told) {
  FIXTURE_NEEDS_SIM();
  static const char *const entries[] = {"cuMemPoolCreate",       "cuMemPoolDestroy",
                                        "cuMemPoolTrimTo",       "cuMemPoolSetAttribute",
                                        "cuMemPoolGetAttribute", "cuMemAllocFromPoolAsync",
                                        "cuMemFreeAsync"};
  for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
    fixture_sim_control()->hide(entries[i]);
    tarn_cuda *cuda = fixture_open();
    fixture_sim_control()->hide(NULL);
    tarn_pool *pool = (tarn_pool *)&pool;
    assert_int_equal(tarn_cuda_driver_pool_create(cuda, 0, NULL, &pool), TARN_NOT_SUPPORTED);
    assert_null(pool);
    assert_non_null(strstr(tarn_last_error()->message, entries[i]));
    tarn_cuda_release(cuda);
  }
}

TEST(every_driver_call_may_fail) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const fixture_sim *sim = fixture_sim_control();
  const cusim_counts before = counts_now();
  tarn_pool *pool = NULL;
  for (uint64_t nth = 1; pool == NULL; nth++) {
    sim->fail_call(NULL, nth, CUDA_ERROR_UNKNOWN);
    const tarn_status status = tarn_cuda_driver_pool_create(cuda, 0, NULL, &pool);
    sim->fail_nothing();
    if (status != TARN_OK) assert_null(pool);
    if (status != TARN_OK) assert_int_equal(counts_now().pools, before.pools);
    if (status != TARN_OK) assert_int_equal(counts_now().streams, before.streams);
    assert_true(nth < 100);
  }
  static const char *const allocs[] = {"cuMemAllocFromPoolAsync", "cuStreamSynchronize"};
  for (size_t i = 0; i < 2; i++) {
    void *block = &block;
    sim->fail_call(allocs[i], 1, CUDA_ERROR_UNKNOWN);
    assert_int_equal(tarn_pool_alloc(pool, MIB, NULL, &block), TARN_DEVICE_ERROR);
    assert_null(block);
    assert_string_equal(tarn_last_error()->native_call, allocs[i]);
    assert_int_equal(stats_of(pool).alloc_count, 0);
    assert_int_equal(counts_now().pool_blocks, before.pool_blocks);
  }
  void *block = take(pool, MIB, NULL);
  sim->fail_call("cuMemFreeAsync", 1, CUDA_ERROR_UNKNOWN);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_DEVICE_ERROR);
  assert_int_equal(stats_of(pool).allocated_bytes, MIB); /* it is still lent out */
  OK(tarn_pool_free(pool, block, NULL));
  sim->fail_call("cuMemPoolTrimTo", 1, CUDA_ERROR_UNKNOWN);
  assert_int_equal(tarn_pool_trim(pool, 0, NULL), TARN_DEVICE_ERROR);
  tarn_pool_release(pool);
  assert_int_equal(counts_now().pools, before.pools);
}

int run_driver_pool_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
