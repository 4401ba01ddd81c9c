/* test_node_pool.c: what is jemalloc's and the node's own, beyond what every pool must do. */
#include "numa/tarn_numa.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/tarn_host_stream.h"

static tarn_topology *topology;
static int32_t first_node;

static int load_topology(void **state) {
  (void)state;
  tarn_node_info info = {.struct_size = sizeof info};
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return -1;
  if (tarn_topology_node(topology, 0, &info) != TARN_OK) return -1;
  first_node = info.node;
  return 0;
}

static int release_topology(void **state) {
  (void)state;
  tarn_topology_release(topology);
  return 0;
}

static tarn_pool *make_pool(void) {
  tarn_pool *pool = NULL;
  assert_int_equal(tarn_node_pool_create(topology, first_node, &pool), TARN_OK);
  return pool;
}

static tarn_pool_stats stats_of(tarn_pool *pool) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  assert_int_equal(tarn_pool_stats_of(pool, &stats), TARN_OK);
  return stats;
}

static void every_block_lies_on_the_node(void **state) {
  (void)state;
  enum { BLOCKS = 200 };
  tarn_pool *pool = make_pool();
  assert_int_equal(tarn_pool_attributes_of(pool)->node, first_node);
  void *blocks[BLOCKS];
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i < BLOCKS; ++i) {
      const size_t size_bytes = (size_t)64 << (i % 16);
      assert_int_equal(tarn_pool_alloc(pool, size_bytes, NULL, &blocks[i]), TARN_OK);
      memset(blocks[i], 1, size_bytes);
      size_t elsewhere = 0, untouched = 0;
      const tarn_status status =
          tarn_node_verify(blocks[i], size_bytes, first_node, NULL, &elsewhere, &untouched);
      if (status == TARN_NOT_SUPPORTED) continue; /* a container that forbids move_pages */
      assert_int_equal(status, TARN_OK);
      assert_int_equal(elsewhere, 0);
      assert_int_equal(untouched, 0);
    }
    for (size_t i = 0; i < BLOCKS; ++i) {
      assert_int_equal(tarn_pool_free(pool, blocks[i], NULL), TARN_OK);
    }
    assert_int_equal(tarn_pool_trim(pool, 0, NULL), TARN_OK); /* the second round faults anew */
    assert_int_equal(stats_of(pool).reserved_bytes, 0);
  }
  tarn_pool_release(pool);
}

static void a_pool_on_no_node_is_unavailable(void **state) {
  (void)state;
  tarn_pool *pool = NULL;
  assert_int_equal(tarn_node_pool_create(topology, 4711, &pool), TARN_UNAVAILABLE);
  assert_null(pool);
  assert_int_equal(tarn_node_pool_create(NULL, 0, &pool), TARN_INVALID_ARGUMENT);
  const tarn_topology_options options = {.struct_size = sizeof options,
                                         .synthetic = "numa:2 core:2 pu:1"};
  tarn_topology *described = NULL;
  assert_int_equal(tarn_topology_create(&options, &described), TARN_OK);
  assert_int_equal(tarn_node_pool_create(described, 0, &pool), TARN_UNAVAILABLE);
  tarn_topology_release(described);
}

static void small_blocks_are_packed(void **state) {
  (void)state;
  enum { BLOCKS = 1000 };
  tarn_pool *pool = make_pool();
  void *blocks[BLOCKS];
  for (size_t i = 0; i < BLOCKS; ++i) {
    assert_int_equal(tarn_pool_alloc(pool, 64, NULL, &blocks[i]), TARN_OK);
  }
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes, BLOCKS * 64);
  assert_int_equal(stats.allocated_bytes, BLOCKS * 64);
  assert_true(stats.reserved_bytes <= 2 * BLOCKS * 64);
  for (size_t i = 0; i < BLOCKS; ++i) {
    assert_int_equal(tarn_pool_free(pool, blocks[i], NULL), TARN_OK);
  }
  tarn_pool_release(pool);
}

static void memory_is_kept_until_it_is_trimmed(void **state) {
  (void)state;
  tarn_pool *pool = make_pool();
  void *block = NULL;
  const size_t size_bytes = 20 << 20; /* above what jemalloc gives back at once by itself */
  assert_int_equal(tarn_pool_alloc(pool, size_bytes, NULL, &block), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK);
  const uint64_t calls = stats_of(pool).provider_calls;
  for (int i = 0; i < 10; ++i) {
    assert_int_equal(tarn_pool_alloc(pool, size_bytes, NULL, &block), TARN_OK);
    assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK);
  }
  assert_int_equal(stats_of(pool).provider_calls, calls);
  size_t released = 0;
  assert_int_equal(tarn_pool_trim(pool, (size_t)1 << 30, &released), TARN_OK);
  assert_int_equal(released, 0); /* less than that is reserved already */
  assert_int_equal(tarn_pool_trim(pool, 0, &released), TARN_OK);
  assert_true(released >= size_bytes);
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_pool_release(pool);
}

static void more_than_the_machine_has_is_out_of_memory(void **state) {
  (void)state;
  tarn_pool *pool = make_pool();
  void *block = &block;
  assert_int_equal(tarn_pool_alloc(pool, (size_t)1 << 45, NULL, &block), TARN_OUT_OF_MEMORY);
  assert_null(block);
  assert_non_null(strstr(tarn_last_error()->message, "35184372088832"));
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  assert_int_equal(tarn_pool_alloc(pool, PTRDIFF_MAX, NULL, &block), TARN_TOO_LARGE);
  assert_int_equal(tarn_pool_alloc(pool, 100, NULL, &block), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK);
  tarn_pool_release(pool);
}

static void pass_gate(void *argument) {
  pthread_mutex_t *gate = argument;
  pthread_mutex_lock(gate);
  pthread_mutex_unlock(gate);
}

static void a_held_block_is_lent_again_once_its_stream_has_passed(void **state) {
  (void)state;
  tarn_pool *pool = make_pool();
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&gate);
  void *block = NULL;
  const size_t size_bytes = 1 << 20;
  assert_int_equal(tarn_pool_alloc(pool, size_bytes, stream, &block), TARN_OK);
  assert_int_equal(tarn_stream_call(stream, pass_gate, &gate), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, stream), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, stream), TARN_NOT_FOUND);
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.allocated_bytes, 0);
  assert_int_equal(stats.active_bytes, size_bytes);
  assert_int_equal(stats.fence_count, 1);
  assert_int_equal(stats.wait_count, 0);
  size_t released = 0;
  assert_int_equal(tarn_pool_trim(pool, 0, &released), TARN_OK); /* does not wait for it */
  assert_true(stats_of(pool).reserved_bytes >= size_bytes);
  pthread_mutex_unlock(&gate);
  assert_int_equal(tarn_stream_synchronize(stream), TARN_OK);
  void *again = NULL;
  assert_int_equal(tarn_pool_alloc(pool, size_bytes, NULL, &again), TARN_OK);
  /* The same pages; a build of jemalloc may move large blocks inside their first one. */
  assert_int_equal((uintptr_t)again >> 12, (uintptr_t)block >> 12);
  assert_int_equal(tarn_pool_free(pool, again, NULL), TARN_OK);
  assert_int_equal(stats_of(pool).active_bytes, 0);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

static void a_pool_may_go_while_blocks_are_held(void **state) {
  (void)state;
  tarn_pool *pool = make_pool();
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  void *block = NULL;
  assert_int_equal(tarn_pool_alloc(pool, 5000, stream, &block), TARN_OK);
  assert_int_equal(tarn_stream_fill(stream, block, tarn_device_make(TARN_DEVICE_CPU, 0), 7, 5000),
                   TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, stream), TARN_OK);
  tarn_stream_release(stream);
  tarn_pool_release(pool); /* waits for the fill */
}

static void *free_elsewhere(void *argument) {
  void **pool_and_block = argument;
  return tarn_pool_free(pool_and_block[0], pool_and_block[1], NULL) == TARN_OK ? NULL : argument;
}

static void a_block_may_be_freed_by_another_thread(void **state) {
  (void)state;
  tarn_pool *pool = make_pool();
  for (int i = 0; i < 50; ++i) {
    void *pool_and_block[2] = {pool, NULL};
    assert_int_equal(tarn_pool_alloc(pool, 500, NULL, &pool_and_block[1]), TARN_OK);
    memset(pool_and_block[1], i, 500);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_elsewhere, pool_and_block), 0);
    void *failed = NULL;
    pthread_join(thread, &failed);
    assert_null(failed);
  }
  assert_int_equal(stats_of(pool).allocated_bytes, 0);
  assert_int_equal(tarn_pool_trim(pool, 0, NULL), TARN_OK);
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_pool_release(pool);
}

static void *use_until_stopped(void *argument) {
  void **pool_and_stop = argument;
  atomic_bool *stop = pool_and_stop[1];
  while (!atomic_load(stop)) {
    void *block = NULL;
    if (tarn_pool_alloc(pool_and_stop[0], 3000, NULL, &block) != TARN_OK) return argument;
    if (tarn_pool_free(pool_and_stop[0], block, NULL) != TARN_OK) return argument;
  }
  return NULL;
}

/* What a forked child does with a pool of its parent's; its exit code. */
static int use_in_child(tarn_pool *pool, void *block) {
  if (tarn_pool_free(pool, block, NULL) != TARN_OK) return 1;
  for (int i = 0; i < 100; ++i) {
    if (tarn_pool_alloc(pool, 3000, NULL, &block) != TARN_OK) return 2;
    memset(block, 1, 3000);
    if (tarn_pool_free(pool, block, NULL) != TARN_OK) return 3;
  }
  return tarn_pool_trim(pool, 0, NULL) == TARN_OK ? 0 : 4;
}

static void a_forked_child_waits_for_no_stream_of_its_parents(void **state) {
  (void)state;
#if defined(__SANITIZE_THREAD__)
  skip(); /* as below */
#endif
  tarn_pool *pool = make_pool();
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&gate);
  assert_int_equal(tarn_stream_call(stream, pass_gate, &gate), TARN_OK);
  void *block = NULL;
  assert_int_equal(tarn_pool_alloc(pool, 1 << 20, stream, &block), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, stream), TARN_OK);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(stats_of(pool).active_bytes == 0 && tarn_pool_trim(pool, 0, NULL) == TARN_OK ? 0 : 1);
  }
  int result = -1;
  assert_true(child > 0 && waitpid(child, &result, 0) == child);
  assert_int_equal(result, 0);
  assert_int_equal(stats_of(pool).active_bytes, 1 << 20); /* the parent still waits */
  pthread_mutex_unlock(&gate);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

static void a_forked_child_may_use_the_pool(void **state) {
  (void)state;
#if defined(__SANITIZE_THREAD__)
  skip(); /* its deadlock detector ends a process that forks with as many locks as jemalloc has */
#endif
  enum { USERS = 3, FORKS = 20 };
  tarn_pool *pool = make_pool();
  atomic_bool stop = false;
  void *pool_and_stop[2] = {pool, &stop};
  pthread_t users[USERS];
  for (int i = 0; i < USERS; ++i) {
    assert_int_equal(pthread_create(&users[i], NULL, use_until_stopped, pool_and_stop), 0);
  }
  int fine_count = 0; /* asserted when the threads are gone, which use this frame */
  for (int i = 0; i < FORKS; ++i) {
    void *block = NULL;
    if (tarn_pool_alloc(pool, 3000, NULL, &block) != TARN_OK) break;
    const pid_t child = fork();
    if (child == 0) {
      alarm(20); /* a lock that nobody opens ends the child, and the test fails */
      _exit(use_in_child(pool, block));
    }
    int result = -1;
    const bool has_ended = child > 0 && waitpid(child, &result, 0) == child;
    const bool is_freed = tarn_pool_free(pool, block, NULL) == TARN_OK;
    if (has_ended && result == 0 && is_freed) ++fine_count;
  }
  atomic_store(&stop, true);
  for (int i = 0; i < USERS; ++i) {
    void *failed = NULL;
    pthread_join(users[i], &failed);
    if (failed != NULL) fine_count = -1;
  }
  assert_int_equal(fine_count, FORKS);
  tarn_pool_release(pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_block_lies_on_the_node),
      cmocka_unit_test(a_pool_on_no_node_is_unavailable),
      cmocka_unit_test(small_blocks_are_packed),
      cmocka_unit_test(memory_is_kept_until_it_is_trimmed),
      cmocka_unit_test(more_than_the_machine_has_is_out_of_memory),
      cmocka_unit_test(a_held_block_is_lent_again_once_its_stream_has_passed),
      cmocka_unit_test(a_pool_may_go_while_blocks_are_held),
      cmocka_unit_test(a_block_may_be_freed_by_another_thread),
      cmocka_unit_test(a_forked_child_waits_for_no_stream_of_its_parents),
      cmocka_unit_test(a_forked_child_may_use_the_pool),
  };
  return cmocka_run_group_tests(tests, load_topology, release_topology);
}
