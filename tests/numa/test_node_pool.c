/* test_node_pool.c: what is jemalloc's and the node's own, beyond what every pool must do. */
#include "tests/numa/node_pool_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pool_provider.h"

TEST(every_block_lies_on_the_node) {
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

TEST(a_pool_on_no_node_is_unavailable) {
  tarn_node_pool_options wrong = {.struct_size = sizeof wrong, .node = 4711};
  tarn_pool *pool = NULL;
  assert_int_equal(tarn_node_pool_create(topology, &wrong, &pool), TARN_UNAVAILABLE);
  assert_null(pool);
  assert_int_equal(tarn_node_pool_create(NULL, NULL, &pool), TARN_INVALID_ARGUMENT);
  const tarn_topology_options options = {.struct_size = sizeof options,
                                         .synthetic = "numa:2 core:2 pu:1"};
  tarn_topology *described = NULL;
  assert_int_equal(tarn_topology_create(&options, &described), TARN_OK);
  assert_int_equal(tarn_node_pool_create(described, NULL, &pool), TARN_UNAVAILABLE);
  tarn_topology_release(described);
}

TEST(small_blocks_are_packed) {
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

TEST(memory_is_kept_until_it_is_trimmed) {
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

TEST(more_than_the_machine_has_is_out_of_memory) {
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

TEST(a_block_of_a_kept_class_is_held_for_the_stream_that_uses_it) {
  tarn_pool *pool = make_pool();
  tarn_stream *stream = NULL;
  assert_int_equal(tarn_worker_stream_create(&stream), TARN_OK);
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  const size_t sizes[] = {100, 100000};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    void *block = NULL, *again = NULL;
    assert_int_equal(tarn_pool_alloc(pool, sizes[i], NULL, &block), TARN_OK);
    assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK); /* the thread keeps such now */
    pthread_mutex_lock(&gate);
    assert_int_equal(tarn_pool_alloc(pool, sizes[i], NULL, &block), TARN_OK);
    assert_int_equal(tarn_stream_call(stream, pass_gate, &gate), TARN_OK);
    assert_int_equal(tarn_pool_note_use(pool, (char *)block + sizes[i] / 2, stream), TARN_OK);
    assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK);
    assert_int_equal(tarn_pool_alloc(pool, sizes[i], NULL, &again), TARN_OK);
    assert_ptr_not_equal(again, block);
    assert_true(stats_of(pool).active_bytes >= 2 * sizes[i]);
    pthread_mutex_unlock(&gate);
    assert_int_equal(tarn_pool_free(pool, again, NULL), TARN_OK);
    assert_int_equal(tarn_stream_synchronize(stream), TARN_OK);
    assert_int_equal(stats_of(pool).active_bytes, 0);
  }
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(a_held_block_is_lent_again_once_its_stream_has_passed) {
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

static tarn_node_pool_stats node_stats_of(tarn_pool *pool) {
  tarn_node_pool_stats stats = {.struct_size = sizeof stats};
  assert_int_equal(tarn_node_pool_stats_of(pool, &stats), TARN_OK);
  return stats;
}

TEST(wrong_options_make_no_pool) {
  tarn_pool *pool = NULL;
  tarn_node_pool_options options = {.struct_size = 8, .node = first_node};
  assert_int_equal(tarn_node_pool_create(topology, &options, &pool), TARN_INVALID_ARGUMENT);
  options = (tarn_node_pool_options){.struct_size = sizeof options,
                                     .node = first_node,
                                     .arena_count = TARN_NODE_POOL_ARENAS_MAX + 1};
  assert_int_equal(tarn_node_pool_create(topology, &options, &pool), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_node_pool_create(topology, NULL, NULL), TARN_INVALID_ARGUMENT);
  /* A pool as a provider lends whole blocks only. */
  tarn_pool *below = make_pool();
  options = (tarn_node_pool_options){.struct_size = sizeof options};
  assert_int_equal(tarn_pool_provider_create(below, NULL, &options.provider), TARN_OK);
  assert_int_equal(tarn_node_pool_create(topology, &options, &pool), TARN_NOT_SUPPORTED);
  assert_null(pool);
  tarn_provider_release(options.provider);
  tarn_pool_release(below);
}

TEST(a_pool_may_stand_over_any_provider_of_the_hosts) {
  const tarn_pages_options pages = {.struct_size = sizeof pages, .granularity_bytes = 2 << 20};
  tarn_node_pool_options options = {
      .struct_size = sizeof options, .name = "weights", .arena_count = 3};
  assert_int_equal(tarn_pages_provider_create(&pages, &options.provider), TARN_OK);
  tarn_pool *pool = NULL;
  assert_int_equal(tarn_node_pool_create(NULL, &options, &pool), TARN_OK);
  tarn_provider_release(options.provider);
  assert_string_equal(tarn_pool_name(pool), "weights");
  assert_int_equal(tarn_pool_attributes_of(pool)->node, -1);
  void *blocks[40];
  for (size_t i = 0; i < 40; ++i) {
    const size_t size_bytes = (size_t)100 << (i % 14);
    assert_int_equal(tarn_pool_alloc(pool, size_bytes, NULL, &blocks[i]), TARN_OK);
    memset(blocks[i], 1, size_bytes);
  }
  assert_int_equal(stats_of(pool).reserved_bytes % (2 << 20), 0);
  assert_int_equal(node_stats_of(pool).arena_count, 3);
  for (size_t i = 0; i < 40; ++i) {
    assert_int_equal(tarn_pool_free(pool, blocks[i], NULL), TARN_OK);
  }
  assert_int_equal(tarn_pool_trim(pool, 0, NULL), TARN_OK);
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_pool_release(pool);
}

TEST(a_kept_block_is_not_freed_twice) {
  tarn_pool *pool = make_pool();
  const size_t sizes[] = {64, 1000, 14336, 16384, 100000, 3 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    void *block = NULL, *again = NULL;
    assert_int_equal(tarn_pool_alloc(pool, sizes[i], NULL, &block), TARN_OK);
    assert_int_equal(tarn_pool_free(pool, (char *)block + 64, NULL), TARN_NOT_FOUND);
    assert_int_equal(tarn_pool_free(pool, (char *)block + 1, NULL), TARN_NOT_FOUND);
    assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK);
    assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_NOT_FOUND);
    assert_true(node_stats_of(pool).kept_bytes >= sizes[i]);
    assert_int_equal(tarn_pool_alloc(pool, sizes[i] - 1, NULL, &again), TARN_OK);
    assert_ptr_equal(again, block);
    assert_int_equal(tarn_pool_free(pool, again, NULL), TARN_OK);
    assert_int_equal(tarn_pool_trim(pool, 0, NULL), TARN_OK);
    assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_NOT_FOUND);
  }
  tarn_pool *other = make_pool();
  void *block = NULL;
  assert_int_equal(tarn_pool_alloc(other, 100, NULL, &block), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_NOT_FOUND);
  assert_int_equal(tarn_pool_free(other, block, NULL), TARN_OK);
  tarn_pool_release(other);
  tarn_pool_release(pool);
}

TEST(peaks_are_those_of_the_calls) {
  tarn_pool *pool = make_pool();
  void *blocks[10];
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 10; ++i) {
      assert_int_equal(tarn_pool_alloc(pool, 1000, NULL, &blocks[i]), TARN_OK);
    }
    for (size_t i = 0; i < 10; ++i) {
      assert_int_equal(tarn_pool_free(pool, blocks[i], NULL), TARN_OK);
    }
  }
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes_peak, 10000);
  assert_int_equal(stats.allocated_bytes_peak, 10 * 1024);
  assert_int_equal(stats.alloc_count, 30);
  assert_int_equal(stats.free_count, 30);
  assert_int_equal(tarn_pool_alloc(pool, 20000, NULL, &blocks[0]), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, blocks[0], NULL), TARN_OK);
  stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes_peak, 20000);
  assert_int_equal(stats.allocated_bytes_peak, 20480);
  /* Both are kept by the thread now: that they are lent at once, nobody is told. */
  assert_int_equal(tarn_pool_alloc(pool, 20000, NULL, &blocks[0]), TARN_OK);
  assert_int_equal(tarn_pool_alloc(pool, 1000, NULL, &blocks[1]), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, blocks[0], NULL), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, blocks[1], NULL), TARN_OK);
  stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes_peak, 21000);
  assert_int_equal(stats.allocated_bytes_peak, 20480 + 1024);
  tarn_pool_release(pool);
}

enum { MIXERS = 4, MIXED_BLOCKS = 64, MIXED_STEPS = 20000 };

typedef struct mixer {
  tarn_pool *pool;
  _Atomic(void *) *blocks; /* shared: what one thread allocates, another may free */
  uint64_t random;
  bool has_failed;
} mixer;

static void *mix(void *argument) {
  mixer *self = argument;
  for (int step = 0; step < MIXED_STEPS; ++step) {
    self->random = self->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    const size_t size_bytes = ((size_t)1 << (self->random >> 60)) * 37 + (self->random >> 58) % 64;
    void *block = NULL;
    if (tarn_pool_alloc(self->pool, size_bytes, NULL, &block) != TARN_OK) self->has_failed = true;
    block = atomic_exchange(&self->blocks[(self->random >> 33) % MIXED_BLOCKS], block);
    if (tarn_pool_free(self->pool, block, NULL) != TARN_OK) self->has_failed = true;
  }
  return NULL;
}

/* Whether what jemalloc counts is what tarn does. */
static void assert_reconciled(tarn_pool *pool) {
  const tarn_node_pool_stats node = node_stats_of(pool);
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(node.lent_bytes, stats.allocated_bytes);
  assert_int_equal(node.lent_bytes + node.held_bytes, stats.active_bytes);
  assert_int_equal(node.committed_bytes, stats.reserved_bytes);
  assert_int_equal(node.small_bytes + node.large_bytes,
                   node.lent_bytes + node.held_bytes + node.kept_bytes + node.cached_bytes);
  assert_int_equal(node.active_bytes + node.dirty_bytes, node.committed_bytes);
  assert_true(node.small_bytes + node.large_bytes <= node.active_bytes);
}

TEST(what_jemalloc_counts_is_what_the_pool_does) {
  const tarn_node_pool_options options = {
      .struct_size = sizeof options, .node = first_node, .arena_count = 2};
  tarn_pool *pool = NULL;
  assert_int_equal(tarn_node_pool_create(topology, &options, &pool), TARN_OK);
  _Atomic(void *) blocks[MIXED_BLOCKS] = {NULL};
  mixer mixers[MIXERS];
  pthread_t threads[MIXERS];
  for (int i = 0; i < MIXERS; ++i) {
    mixers[i] = (mixer){pool, blocks, (uint64_t)i + 1, false};
    assert_int_equal(pthread_create(&threads[i], NULL, mix, &mixers[i]), 0);
  }
  for (int i = 0; i < MIXERS; ++i) pthread_join(threads[i], NULL);
  for (int i = 0; i < MIXERS; ++i) assert_false(mixers[i].has_failed);
  assert_reconciled(pool);
  mix(&mixers[0]); /* and with what this thread keeps */
  assert_reconciled(pool);
  assert_true(node_stats_of(pool).kept_bytes > 0);
  assert_int_equal(tarn_pool_trim(pool, 0, NULL), TARN_OK);
  assert_reconciled(pool);
  assert_int_equal(node_stats_of(pool).cached_bytes, 0);
  assert_int_equal(node_stats_of(pool).kept_bytes, 0);
  assert_int_equal(node_stats_of(pool).dirty_bytes, 0);
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.alloc_count, (MIXERS + 1) * MIXED_STEPS);
  size_t lent_count = 0;
  for (size_t i = 0; i < MIXED_BLOCKS; ++i) lent_count += blocks[i] != NULL;
  assert_int_equal(stats.alloc_count - stats.free_count, lent_count);
  for (size_t i = 0; i < MIXED_BLOCKS; ++i) {
    assert_int_equal(tarn_pool_free(pool, blocks[i], NULL), TARN_OK);
  }
  assert_int_equal(tarn_pool_trim(pool, 0, NULL), TARN_OK);
  assert_int_equal(node_stats_of(pool).small_bytes + node_stats_of(pool).large_bytes, 0);
  assert_int_equal(stats_of(pool).requested_bytes, 0);
  tarn_pool_release(pool);
}

TEST(only_a_node_pool_has_a_node_pools_statistics) {
  tarn_provider *provider = NULL;
  tarn_pool *other = NULL, *pool = make_pool();
  tarn_node_pool_stats stats = {.struct_size = sizeof stats};
  assert_int_equal(tarn_pages_provider_create(NULL, &provider), TARN_OK);
  assert_int_equal(tarn_caching_pool_create(provider, NULL, &other), TARN_OK);
  assert_int_equal(tarn_node_pool_stats_of(other, &stats), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_node_pool_stats_of(NULL, &stats), TARN_INVALID_ARGUMENT);
  assert_int_equal(tarn_node_pool_stats_of(pool, NULL), TARN_INVALID_ARGUMENT);
  stats.struct_size = 1;
  assert_int_equal(tarn_node_pool_stats_of(pool, &stats), TARN_INVALID_ARGUMENT);
  tarn_pool_release(other);
  tarn_provider_release(provider);
  tarn_pool_release(pool);
}

static void *keep_a_large_block(void *argument) {
  void **pool_and_barrier = argument;
  void *block = NULL;
  if (tarn_pool_alloc(pool_and_barrier[0], 20 << 20, NULL, &block) != TARN_OK) return NULL;
  if (tarn_pool_free(pool_and_barrier[0], block, NULL) != TARN_OK) return NULL;
  pthread_barrier_wait(pool_and_barrier[1]);
  pthread_barrier_wait(pool_and_barrier[1]);
  return argument;
}

TEST(what_another_thread_keeps_is_lent_before_memory_is_out) {
  const tarn_node_pool_options options = {
      .struct_size = sizeof options, .node = first_node, .limit_bytes = 30 << 20};
  tarn_pool *pool = NULL;
  assert_int_equal(tarn_node_pool_create(topology, &options, &pool), TARN_OK);
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  void *pool_and_barrier[2] = {pool, &barrier};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, keep_a_large_block, pool_and_barrier), 0);
  pthread_barrier_wait(&barrier);
  void *block = NULL, *more = NULL;
  const tarn_status status = tarn_pool_alloc(pool, 25 << 20, NULL, &block);
  const tarn_status refused = tarn_pool_alloc(pool, 10 << 20, NULL, &more);
  pthread_barrier_wait(&barrier);
  void *result = NULL;
  pthread_join(thread, &result);
  assert_non_null(result);
  assert_int_equal(status, TARN_OK);
  assert_int_equal(refused, TARN_OUT_OF_MEMORY);
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  assert_true(stats_of(pool).reserved_bytes <= 30 << 20);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK);
  pthread_barrier_destroy(&barrier);
  tarn_pool_release(pool);
}

TEST(what_a_window_did_not_need_goes_back) {
  enum { SECOND = 1000000000 };
  const tarn_node_pool_options options = {
      .struct_size = sizeof options, .node = first_node, .decay_ns = SECOND};
  tarn_pool *pool = NULL;
  assert_int_equal(tarn_node_pool_create(topology, &options, &pool), TARN_OK);
  const size_t size_bytes = 8 << 20;
  void *block = NULL;
  size_t released = 1;
  assert_int_equal(tarn_pool_decay(pool, 10, &released), TARN_OK); /* the clock starts */
  assert_int_equal(released, 0);
  assert_int_equal(tarn_pool_alloc(pool, size_bytes, NULL, &block), TARN_OK);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_OK);
  assert_int_equal(tarn_pool_decay(pool, 10 + SECOND, &released), TARN_OK);
  assert_int_equal(released, 0); /* it was needed in this window */
  assert_int_equal(tarn_pool_decay(pool, 5, &released), TARN_OK);
  assert_int_equal(released, 0); /* the clock went back */
  assert_int_equal(tarn_pool_decay(pool, 9 + 2 * (uint64_t)SECOND, &released), TARN_OK);
  assert_int_equal(released, 0); /* not yet */
  assert_int_equal(tarn_pool_decay(pool, 10 + 2 * (uint64_t)SECOND, &released), TARN_OK);
  assert_true(released >= size_bytes);
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(load_topology, release_topology);
}
