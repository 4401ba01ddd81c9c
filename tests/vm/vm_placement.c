/* vm_placement.c: every page of every provider and pool lies on its node, however it is touched. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/vm/guest.h"
#include "tests/vm/guest_makers.h"

enum { TESTS_MAX = 1024, ROUNDS = 3, BLOCKS = 96, THREADS_MAX = GUEST_NODES_MAX };

static tarn_topology *topology;

typedef struct pair {
  const guest_maker *maker;
  int32_t node;
} pair;

static tarn_provider *make_provider(void **state) {
  const pair *self = *state;
  tarn_provider *provider = NULL;
  const tarn_status status = self->maker->make_provider(topology, self->node, &provider);
  if (status != TARN_OK) fail_msg("%s: %s", self->maker->name, tarn_last_error()->message);
  assert_int_equal(tarn_provider_attributes_of(provider)->node, self->node);
  return provider;
}

static tarn_pool *make_pool(void **state) {
  const pair *self = *state;
  tarn_pool *pool = NULL;
  const tarn_status status = self->maker->make_pool(topology, self->node, &pool);
  if (status != TARN_OK) fail_msg("%s: %s", self->maker->name, tarn_last_error()->message);
  assert_int_equal(tarn_pool_attributes_of(pool)->node, self->node);
  return pool;
}

static void touch_and_check(void *address, size_t size_bytes, int32_t node) {
  guest_touch_from_afar(address, size_bytes, node);
  guest_check_on_node(address, size_bytes, node);
}

/* --- providers --- */

static void blocks_lie_on_the_node(void **state) {
  const int32_t node = ((const pair *)*state)->node;
  tarn_provider *provider = make_provider(state);
  const size_t granule_bytes = tarn_provider_attributes_of(provider)->granularity_bytes;
  const size_t sizes_bytes[] = {granule_bytes, 5 * granule_bytes, 4 << 20, 10 << 20};
  for (int round = 0; round < 2; ++round) {
    void *blocks[COUNT_OF(sizes_bytes)];
    for (size_t i = 0; i < COUNT_OF(sizes_bytes); ++i) {
      assert_ok(tarn_provider_alloc(provider, sizes_bytes[i], &blocks[i]));
      touch_and_check(blocks[i], sizes_bytes[i], node);
    }
    for (size_t i = 0; i < COUNT_OF(sizes_bytes); ++i) {
      assert_ok(tarn_provider_free(provider, blocks[i], sizes_bytes[i]));
    }
  }
  tarn_provider_release(provider);
}

/* What was given back and comes again is new pages: the policy must have stayed with the range. */
static void decommitted_ranges_come_back_to_the_node(void **state) {
  const int32_t node = ((const pair *)*state)->node;
  tarn_provider *provider = make_provider(state);
  const tarn_provider_attributes *attributes = tarn_provider_attributes_of(provider);
  if ((attributes->flags & TARN_PROVIDER_RESERVES) == 0) {
    tarn_provider_release(provider);
    skip();
  }
  size_t piece_bytes = attributes->granularity_bytes;
  while (piece_bytes < 1 << 20) piece_bytes *= 2;
  const size_t size_bytes = 8 * piece_bytes;
  char *range = NULL;
  assert_ok(tarn_provider_reserve(provider, size_bytes, (void **)&range));
  /* In pieces, as growth in place does; not in order of address. */
  for (size_t i = 0; i < 8; ++i) {
    char *piece = range + (i * 3 % 8) * piece_bytes;
    assert_ok(tarn_provider_commit(provider, piece, piece_bytes));
    touch_and_check(piece, piece_bytes, node);
  }
  /* A hole in the middle, then the whole range. */
  assert_ok(tarn_provider_decommit(provider, range + 2 * piece_bytes, 3 * piece_bytes));
  assert_ok(tarn_provider_commit(provider, range + 2 * piece_bytes, 3 * piece_bytes));
  touch_and_check(range, size_bytes, node);
  for (int round = 0; round < ROUNDS; ++round) {
    assert_ok(tarn_provider_decommit(provider, range, size_bytes));
    assert_ok(tarn_provider_commit(provider, range, size_bytes));
    touch_and_check(range, size_bytes, node);
  }
  assert_ok(tarn_provider_free(provider, range, size_bytes));
  tarn_provider_release(provider);
}

/* --- pools --- */

/* 64 bytes to 2 MiB, most of them small. */
static size_t some_size(uint64_t *random) {
  return (test_random(random) % 63 + 65)
         << (test_random(random) % 16 * (test_random(random) % 16) / 15);
}

static void blocks_lie_on_the_node_before_and_after_trim(void **state) {
  const int32_t node = ((const pair *)*state)->node;
  tarn_pool *pool = make_pool(state);
  uint64_t random = 1;
  for (int round = 0; round < ROUNDS; ++round) {
    void *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; ++i) {
      const size_t size_bytes = i == 0 ? 9 << 20 : some_size(&random);
      assert_ok(tarn_pool_alloc(pool, size_bytes, NULL, &blocks[i]));
      touch_and_check(blocks[i], size_bytes, node);
      if (i % 3 == 2) { /* reuse, too */
        assert_ok(tarn_pool_free(pool, blocks[i - 1], NULL));
        const size_t next_bytes = some_size(&random);
        assert_ok(tarn_pool_alloc(pool, next_bytes, NULL, &blocks[i - 1]));
        touch_and_check(blocks[i - 1], next_bytes, node);
      }
    }
    /* With half of the blocks in use, what lies between them is given back and touched anew. */
    for (size_t i = 0; i < BLOCKS; i += 2) assert_ok(tarn_pool_free(pool, blocks[i], NULL));
    assert_ok(tarn_pool_trim(pool, 0, NULL));
    for (size_t i = 0; i < BLOCKS; i += 2) {
      const size_t size_bytes = some_size(&random);
      assert_ok(tarn_pool_alloc(pool, size_bytes, NULL, &blocks[i]));
      touch_and_check(blocks[i], size_bytes, node);
    }
    for (size_t i = 0; i < BLOCKS; ++i) assert_ok(tarn_pool_free(pool, blocks[i], NULL));
    assert_ok(tarn_pool_trim(pool, 0, NULL));
  }
  tarn_pool_release(pool);
}

typedef struct worker {
  pthread_t thread;
  tarn_pool *pool;
  int32_t node;     /* the pool's */
  int32_t run_node; /* the thread's */
  void *kept[BLOCKS];
  size_t kept_bytes[BLOCKS];
  bool has_failed;
} worker;

/* Asserts belong to the first thread: this one only says that something failed. */
static void *use_pool(void *argument) {
  worker *self = argument;
  guest_run_on(self->run_node);
  uint64_t random = (uint64_t)self->run_node + 7;
  for (size_t i = 0; i < 4 * BLOCKS && !self->has_failed; ++i) {
    const size_t k = i % BLOCKS;
    if (self->kept[k] != NULL) self->has_failed |= tarn_pool_free(self->pool, self->kept[k], NULL);
    self->kept_bytes[k] = some_size(&random) / 4 + 1;
    self->has_failed |= tarn_pool_alloc(self->pool, self->kept_bytes[k], NULL, &self->kept[k]);
    if (self->kept[k] != NULL) memset(self->kept[k], 1, self->kept_bytes[k]);
  }
  return NULL;
}

static void threads_of_all_nodes_get_memory_of_the_pools(void **state) {
  const int32_t node = ((const pair *)*state)->node;
  const int32_t thread_count = guest_machine_here()->node_count;
  tarn_pool *pool = make_pool(state);
  worker *workers = calloc((size_t)thread_count, sizeof *workers);
  assert_non_null(workers);
  for (int32_t i = 0; i < thread_count; ++i) {
    workers[i] = (worker){.pool = pool, .node = node, .run_node = i};
    assert_int_equal(pthread_create(&workers[i].thread, NULL, use_pool, &workers[i]), 0);
  }
  for (int32_t i = 0; i < thread_count; ++i) pthread_join(workers[i].thread, NULL);
  for (int32_t i = 0; i < thread_count; ++i) {
    assert_false(workers[i].has_failed);
    for (size_t k = 0; k < BLOCKS; ++k) {
      guest_check_on_node(workers[i].kept[k], workers[i].kept_bytes[k], node);
      assert_ok(tarn_pool_free(pool, workers[i].kept[k], NULL));
    }
  }
  free(workers);
  tarn_pool_release(pool);
}

/* The pools of all nodes at once: none takes what another gave back. */
static void pools_of_several_nodes_stay_apart(void **state) {
  const pair *self = *state;
  const int32_t node_count = guest_machine_here()->node_count;
  if (self->node != 0) skip(); /* all nodes take part in the one test */
  tarn_pool *pools[GUEST_NODES_MAX];
  for (int32_t node = 0; node < node_count; ++node) {
    assert_ok(self->maker->make_pool(topology, node, &pools[node]));
  }
  uint64_t random = 5;
  for (int round = 0; round < 4 * BLOCKS; ++round) {
    const int32_t node = (int32_t)(test_random(&random) % (uint64_t)node_count);
    void *block = NULL;
    const size_t size_bytes = some_size(&random);
    assert_ok(tarn_pool_alloc(pools[node], size_bytes, NULL, &block));
    touch_and_check(block, size_bytes, node);
    assert_ok(tarn_pool_free(pools[node], block, NULL));
    if (round % 32 == 31) assert_ok(tarn_pool_trim(pools[node], 0, NULL));
  }
  for (int32_t node = 0; node < node_count; ++node) tarn_pool_release(pools[node]);
}

/* --- one test per behaviour, maker and node --- */

typedef struct behaviour {
  const char *name;
  void (*run)(void **state);
} behaviour;

#define BEHAVIOUR(function) \
  { #function, function }

static const behaviour provider_behaviours[] = {
    BEHAVIOUR(blocks_lie_on_the_node),
    BEHAVIOUR(decommitted_ranges_come_back_to_the_node),
    {NULL, NULL},
};

static const behaviour pool_behaviours[] = {
    BEHAVIOUR(blocks_lie_on_the_node_before_and_after_trim),
    BEHAVIOUR(threads_of_all_nodes_get_memory_of_the_pools),
    BEHAVIOUR(pools_of_several_nodes_stay_apart),
    {NULL, NULL},
};

static struct CMUnitTest tests[TESTS_MAX];
static size_t test_count;

static void add_tests(const guest_maker *makers, const behaviour *behaviours) {
  for (const guest_maker *maker = makers; maker->name != NULL; ++maker) {
    if (!guest_can_make(maker)) continue;
    for (int32_t node = 0; node < guest_machine_here()->node_count; ++node) {
      pair *state = malloc(sizeof *state);
      assert_non_null(state);
      *state = (pair){.maker = maker, .node = node};
      for (const behaviour *row = behaviours; row->name != NULL; ++row) {
        char name[128];
        snprintf(name, sizeof name, "%s on %d: %s", maker->name, node, row->name);
        assert_true(test_count < TESTS_MAX);
        tests[test_count++] = (struct CMUnitTest){
            .name = strdup(name), .test_func = row->run, .initial_state = state};
      }
    }
  }
}

int main(void) {
  if (tarn_topology_create(NULL, &topology) != TARN_OK) return 1;
  add_tests(guest_providers, provider_behaviours);
  add_tests(guest_pools, pool_behaviours);
  const int failed_count = _cmocka_run_group_tests("placement", tests, test_count, NULL, NULL);
  tarn_topology_release(topology);
  return guest_finish(failed_count);
}
