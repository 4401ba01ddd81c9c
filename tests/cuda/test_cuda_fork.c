/* test_cuda_fork.c: in a child of fork what is CUDA's is refused, and may be let go; the parent
 * goes on unharmed. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_trace.h"
#include "alloc/tarn_storage.h"
#include "tests/support/child.h"
#include "tests/support/open_cuda.h"

enum { DEVICE, VIRTUAL, PINNED, DRIVER, POOLS };
enum { THREADS = 3, FORKS = 12, BYTES = 100000, LOCKINGS = 1000 };

static struct {
  tarn_cuda *cuda;
  tarn_stream *stream;
  tarn_fence *fence;
  tarn_pool *pools[POOLS]; /* NULL: the driver cannot */
  tarn_storage *storages[POOLS];
  atomic_bool is_over;
} shared;

static tarn_pool *pool_over(tarn_provider *provider, size_t prepare_bytes) {
  tarn_pool *pool = NULL;
  const tarn_caching_options options = {.struct_size = sizeof options,
                                        .prepare_bytes = prepare_bytes};
  if (provider != NULL) assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  tarn_provider_release(provider);
  return pool;
}

static int set_up(void **state) {
  (void)state;
  if (test_open_cuda(&shared.cuda) != TARN_OK) return 0;
  tarn_provider *provider = NULL;
  assert_ok(tarn_cuda_device_provider_create(shared.cuda, 0, &provider));
  shared.pools[DEVICE] = pool_over(provider, /*prepare_bytes=*/0);
  if (tarn_cuda_virtual_provider_create(shared.cuda, 0, NULL, &provider) != TARN_OK) {
    provider = NULL;
  }
  shared.pools[VIRTUAL] = pool_over(provider, /*prepare_bytes=*/4 << 20);
  assert_ok(tarn_cuda_pinned_provider_create(shared.cuda, NULL, &provider));
  shared.pools[PINNED] = pool_over(provider, /*prepare_bytes=*/0);
  if (tarn_cuda_driver_pool_create(shared.cuda, 0, NULL, &shared.pools[DRIVER]) != TARN_OK) {
    shared.pools[DRIVER] = NULL;
  }
  assert_ok(tarn_cuda_stream_create(shared.cuda, 0, &shared.stream));
  assert_ok(tarn_fence_create(shared.stream, &shared.fence));
  for (int i = 0; i < POOLS; i++) {
    if (shared.pools[i] == NULL) continue;
    assert_ok(tarn_storage_create(shared.pools[i], BYTES, shared.stream, &shared.storages[i]));
    assert_ok(tarn_stream_fill(shared.stream, tarn_storage_data_mutable(shared.storages[i]),
                               tarn_storage_device(shared.storages[i]), 5, BYTES));
  }
  assert_ok(tarn_fence_record(shared.fence, shared.stream));
  return 0;
}

static void let_all_go(void) {
  for (int i = 0; i < POOLS; i++) {
    tarn_storage_release(shared.storages[i]);
    tarn_pool_release(shared.pools[i]);
  }
  tarn_fence_destroy(shared.fence);
  tarn_stream_release(shared.stream);
  tarn_cuda_release(shared.cuda);
}

static int tear_down(void **state) {
  (void)state;
  let_all_go();
  return 0;
}

/* --- what a child does --- */

static bool is_refused(tarn_status status) {
  return status == TARN_UNAVAILABLE && strstr(tarn_last_error()->message, "after a fork") != NULL;
}

static int find_all_refused(void) {
  alarm(CHILD_SECONDS);
  for (int i = 0; i < POOLS; i++) {
    if (shared.pools[i] == NULL) continue;
    void *block = NULL;
    CHECK(is_refused(tarn_pool_alloc(shared.pools[i], BYTES, shared.stream, &block)));
    CHECK(is_refused(tarn_pool_alloc(shared.pools[i], BYTES, NULL, &block)));
    CHECK(is_refused(tarn_pool_trim(shared.pools[i], 0, NULL)));
    CHECK(tarn_pool_trace_stop(shared.pools[i]) == TARN_OK); /* takes no lock of a lost thread's */
    size_t size_bytes = 0; /* nor does this, whoever may still tell */
    const tarn_status told =
        tarn_pool_size_of(shared.pools[i], tarn_storage_data(shared.storages[i]), &size_bytes);
    CHECK(told == TARN_OK || is_refused(told));
  }
  char bytes[8] = {0};
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  CHECK(is_refused(tarn_stream_fill(shared.stream, bytes, cpu, 1, sizeof bytes)));
  CHECK(is_refused(tarn_stream_synchronize(shared.stream)));
  CHECK(is_refused(tarn_fence_query(shared.fence)));
  CHECK(is_refused(tarn_fence_synchronize(shared.fence)));
  CHECK(is_refused(tarn_fence_record(shared.fence, shared.stream)));
  tarn_stream *stream = NULL;
  CHECK(is_refused(tarn_cuda_stream_create(shared.cuda, 0, &stream)));
  tarn_cuda *again = NULL;
  CHECK(is_refused(test_open_cuda(&again)));
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  CHECK(is_refused(tarn_cuda_device_info_of(shared.cuda, 0, &info)));
  let_all_go();
  return 0;
}

static void find_all_as_it_was(void) {
  assert_ok(tarn_stream_synchronize(shared.stream));
  assert_ok(tarn_fence_query(shared.fence));
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  unsigned char bytes[BYTES];
  for (int i = 0; i < POOLS; i++) {
    if (shared.pools[i] == NULL) continue;
    memset(bytes, 0, sizeof bytes);
    assert_ok(tarn_stream_copy(shared.stream, bytes, cpu, tarn_storage_data(shared.storages[i]),
                               tarn_storage_device(shared.storages[i]), BYTES));
    assert_ok(tarn_stream_synchronize(shared.stream));
    for (int at = 0; at < BYTES; at++) assert_int_equal(bytes[at], 5);
    void *block = NULL;
    assert_ok(tarn_pool_alloc(shared.pools[i], BYTES, shared.stream, &block));
    assert_ok(tarn_pool_free(shared.pools[i], block, shared.stream));
  }
}

TEST(a_child_is_refused_and_lets_all_of_it_go) {
  if (shared.cuda == NULL) skip();
  const pid_t child = fork();
  if (child == 0) _exit(find_all_refused());
  assert_int_equal(exit_code_of(child), 0);
  find_all_as_it_was();
}

/* A device's stream has nothing to do for the child, so it holds up no memory of the CPU's. */
static int pause_and_free(tarn_pool *pool, void *block) {
  const tarn_pause_options options = {.struct_size = sizeof options,
                                      .contents = TARN_PAUSE_DISCARD};
  tarn_pause_options at_once = options;
  at_once.flags = TARN_PAUSE_NO_WAIT;
  CHECK(tarn_pool_pause(pool, &at_once, NULL) == TARN_OK);
  CHECK(tarn_pool_resume(pool, NULL, NULL) == TARN_OK);
  CHECK(tarn_pool_pause(pool, &options, NULL) == TARN_OK);
  CHECK(tarn_pool_resume(pool, NULL, NULL) == TARN_OK);
  CHECK(tarn_pool_free(pool, block, shared.stream) == TARN_OK);
  CHECK(tarn_pool_trim(pool, 0, NULL) == TARN_OK);
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  CHECK(tarn_pool_stats_of(pool, &stats) == TARN_OK);
  CHECK(stats.reserved_bytes == 0);
  tarn_pool_release(pool);
  return 0;
}

TEST(a_childs_host_memory_waits_for_no_device) {
  if (shared.cuda == NULL) skip();
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  void *block = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  tarn_provider_release(provider);
  assert_ok(tarn_pool_alloc(pool, 4 << 20, NULL, &block));
  const pid_t child = fork();
  if (child == 0) _exit(pause_and_free(pool, block));
  assert_int_equal(exit_code_of(child), 0);
  assert_ok(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
}

static void *be_busy(void *argument) {
  tarn_stream *stream = NULL;
  assert_ok(tarn_cuda_stream_create(shared.cuda, 0, &stream));
  uint64_t random = (uint64_t)(uintptr_t)argument;
  while (!atomic_load(&shared.is_over)) {
    tarn_pool *pool = shared.pools[test_random(&random) % POOLS];
    void *block = NULL;
    if (pool == NULL) continue;
    assert_ok(tarn_pool_alloc(pool, 1 + test_random(&random) % (4 * BYTES), stream, &block));
    assert_ok(tarn_pool_free(pool, block, stream));
    for (int i = 0; i < LOCKINGS; i++) assert_ok(tarn_pool_trace_stop(pool));
    if (test_random(&random) % 8 == 0) assert_ok(tarn_pool_trim(pool, 0, NULL));
    if (test_random(&random) % 8 == 1) assert_ok(tarn_stream_synchronize(stream));
  }
  tarn_stream_release(stream);
  return NULL;
}

TEST(a_child_waits_for_no_thread_that_was_at_work) {
  if (shared.cuda == NULL) skip();
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, be_busy, (void *)(uintptr_t)(i + 1)), 0);
  }
  for (int round = 0; round < FORKS; round++) {
    const pid_t child = fork();
    if (child == 0) _exit(find_all_refused());
    assert_int_equal(exit_code_of(child), 0);
  }
  atomic_store(&shared.is_over, true);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  find_all_as_it_was();
}

int main(void) {
  return run_listed_tests(set_up, tear_down);
}
