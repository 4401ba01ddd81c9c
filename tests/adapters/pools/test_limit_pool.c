/* test_limit_pool.c: never more lent out than the limit, whoever asks at once. */
#include "alloc/adapters/pools/tarn_limit_pool.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "tests/adapters/pools/adaptor_fixture.h"

static tarn_pool *make_limited(tarn_pool *upstream, size_t limit_bytes) {
  const tarn_limit_pool_options options = {.struct_size = sizeof options,
                                           .limit_bytes = limit_bytes};
  tarn_pool *pool = NULL;
  assert_ok(tarn_limit_pool_create(upstream, &options, &pool));
  tarn_pool_release(upstream);
  return pool;
}

TEST(the_last_byte_can_be_had_and_none_beyond_it) {
  tarn_pool *pool = make_limited(make_pages_pool(), 1000);
  void *blocks[2];
  void *refused = &refused;
  assert_ok(tarn_pool_alloc(pool, 400, NULL, &blocks[0]));
  assert_ok(tarn_pool_alloc(pool, 600, NULL, &blocks[1]));
  assert_status(tarn_pool_alloc(pool, 1, NULL, &refused), TARN_OUT_OF_MEMORY);
  assert_null(refused);
  assert_non_null(strstr(tarn_last_error()->message, "limit of 1000"));
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  assert_ok(tarn_pool_free(pool, blocks[1], NULL));
  assert_ok(tarn_pool_alloc(pool, 600, NULL, &blocks[1]));
  assert_ok(tarn_pool_free(pool, blocks[0], NULL));
  assert_ok(tarn_pool_free(pool, blocks[1], NULL));
  tarn_pool_release(pool);
}

TEST(a_failure_of_the_upstream_costs_nothing) {
  static _Alignas(64) char block[1000];
  scripted_pool script = {.block = block, .alloc_status = TARN_OUT_OF_MEMORY};
  tarn_pool *pool = make_limited(make_scripted_pool(&script), 1000);
  void *address = NULL;
  assert_status(tarn_pool_alloc(pool, 1000, NULL, &address), TARN_OUT_OF_MEMORY);
  assert_string_equal(tarn_last_error()->message, "scripted");
  script.alloc_status = TARN_OK;
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  script.free_status = TARN_BUSY;
  assert_status(tarn_pool_free(pool, address, NULL), TARN_BUSY);
  void *more = NULL;
  assert_status(tarn_pool_alloc(pool, 1, NULL, &more), TARN_OUT_OF_MEMORY);
  script.free_status = TARN_OK;
  assert_ok(tarn_pool_free(pool, address, NULL));
  tarn_pool_release(pool);
}

static void ask_for_one_byte(void *context) {
  void *address = NULL;
  assert_status(tarn_pool_alloc(context, 1, NULL, &address), TARN_OUT_OF_MEMORY);
}

/* What another thread may do at that moment. */
TEST(what_is_on_its_way_counts_on_both_ways) {
  static _Alignas(64) char block[1000];
  scripted_pool script = {.block = block};
  tarn_pool *pool = make_limited(make_scripted_pool(&script), 1000);
  void *address = NULL;
  script.in_call_context = pool;
  script.in_call = ask_for_one_byte;
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  assert_null(script.in_call);
  script.in_call = ask_for_one_byte;
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_null(script.in_call);
  assert_int_equal(stats_of(pool).out_of_memory_count, 2);
  tarn_pool_release(pool);
}

TEST(a_lower_limit_waits_for_what_is_out) {
  tarn_pool *pool = make_limited(make_pages_pool(), 0);
  void *blocks[2];
  assert_ok(tarn_pool_alloc(pool, 800, NULL, &blocks[0]));
  assert_ok(tarn_limit_pool_set(pool, 500));
  assert_status(tarn_pool_alloc(pool, 100, NULL, &blocks[1]), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_pool_free(pool, blocks[0], NULL));
  assert_ok(tarn_pool_alloc(pool, 500, NULL, &blocks[0]));
  assert_ok(tarn_limit_pool_set(pool, 0));
  assert_ok(tarn_pool_alloc(pool, (size_t)1 << 20, NULL, &blocks[1]));
  for (int index = 0; index < 2; index++) assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  tarn_pool_release(pool);
}

/* What a thread has freed it is lent again without asking anybody. */
TEST(what_a_thread_freed_gets_it_nothing_beyond_a_lower_limit) {
  tarn_pool *pool = make_limited(make_pages_pool(), 1000);
  void *blocks[2];
  for (int index = 0; index < 2; index++) {
    assert_ok(tarn_pool_alloc(pool, 500, NULL, &blocks[index]));
  }
  for (int index = 0; index < 2; index++) assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  assert_int_equal(stats_of(pool).requested_bytes, 0);
  assert_ok(tarn_limit_pool_set(pool, 600));
  assert_ok(tarn_pool_alloc(pool, 500, NULL, &blocks[0]));
  assert_status(tarn_pool_alloc(pool, 500, NULL, &blocks[1]), TARN_OUT_OF_MEMORY);
  assert_non_null(
      strstr(tarn_last_error()->message, "500 bytes over a limit of 600, of which 500"));
  assert_ok(tarn_pool_free(pool, blocks[0], NULL));
  tarn_pool_release(pool);
}

TEST(what_comes_back_above_a_lower_limit_is_not_lent_again) {
  tarn_pool *pool = make_limited(make_pages_pool(), 1000);
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 800, NULL, &address));
  assert_ok(tarn_limit_pool_set(pool, 500));
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_status(tarn_pool_alloc(pool, 600, NULL, &address), TARN_OUT_OF_MEMORY);
  assert_ok(tarn_pool_alloc(pool, 500, NULL, &address));
  assert_ok(tarn_pool_free(pool, address, NULL));
  tarn_pool_release(pool);
}

static void *free_here(void *argument) {
  void **call = argument; /* the pool, and 4 blocks */
  for (int index = 1; index <= 4; index++) {
    if (tarn_pool_free(call[0], call[index], NULL) != TARN_OK) return call;
  }
  return NULL;
}

/* And what a thread has freed that lends nothing any more is everybody's. */
TEST(what_another_thread_freed_can_be_had_to_the_last_byte) {
  void *call[5] = {make_limited(make_pages_pool(), 1000)};
  for (int round = 0; round < 3; round++) {
    for (int index = 1; index <= 4; index++) {
      assert_ok(tarn_pool_alloc(call[0], 250, NULL, &call[index]));
    }
    pthread_t thread;
    void *failed = NULL;
    assert_int_equal(pthread_create(&thread, NULL, free_here, call), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
  }
  assert_int_equal(stats_of(call[0]).requested_bytes, 0);
  assert_int_equal(stats_of(call[0]).requested_bytes_peak, 1000);
  tarn_pool_release(call[0]);
}

TEST(a_pool_of_another_kind_has_no_limit_to_set) {
  tarn_pool *pool = make_pages_pool();
  assert_status(tarn_limit_pool_set(pool, 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_limit_pool_set(NULL, 1), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
}

enum { THREADS = 2, ROUNDS = 10000, BLOCK_BYTES = 1000 };

/* Threads that ask for all there is at the same moment, again and again. */
typedef struct race {
  tarn_pool *pool;
  atomic_int arrived;
  atomic_int lent;
  atomic_bool is_wrong;
} race;

static void meet(race *self, int *met) {
  *met += THREADS;
  atomic_fetch_add(&self->arrived, 1);
  for (int spins = 0; atomic_load(&self->arrived) < *met; spins++) {
    if (spins % 1000 == 999) sched_yield();
  }
}

static void *take_and_give(void *argument) {
  race *self = argument;
  int met = 0;
  for (int round = 0; round < ROUNDS; round++) {
    void *address = NULL;
    meet(self, &met);
    const tarn_status status = tarn_pool_alloc(self->pool, BLOCK_BYTES, NULL, &address);
    if (status == TARN_OK) atomic_fetch_add(&self->lent, 1);
    if (status != TARN_OK && status != TARN_OUT_OF_MEMORY) atomic_store(&self->is_wrong, true);
    meet(self, &met);
    if (atomic_load(&self->lent) != round + 1) atomic_store(&self->is_wrong, true);
    if (tarn_pool_free(self->pool, address, NULL) != TARN_OK) atomic_store(&self->is_wrong, true);
  }
  return NULL;
}

TEST(of_two_threads_that_ask_for_all_one_gets_it) {
  race both = {.pool = make_limited(make_pages_pool(), BLOCK_BYTES)};
  pthread_t threads[THREADS];
  for (int index = 0; index < THREADS; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, take_and_give, &both), 0);
  }
  for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
  assert_false(both.is_wrong);
  const tarn_pool_stats stats = stats_of(both.pool);
  assert_int_equal(stats.alloc_count, ROUNDS);
  assert_int_equal(stats.free_count, ROUNDS);
  assert_int_equal(stats.out_of_memory_count, (THREADS - 1) * ROUNDS);
  assert_int_equal(stats.requested_bytes_peak, BLOCK_BYTES);
  void *all = NULL;
  assert_ok(tarn_pool_alloc(both.pool, BLOCK_BYTES, NULL, &all)); /* nothing was lost */
  assert_ok(tarn_pool_free(both.pool, all, NULL));
  tarn_pool_release(both.pool);
}

enum { CREDIT_ROUNDS = 300 };

/* Each first frees one half of what there is, and then asks for the whole. */
static void *ask_with_half_of_it(void *argument) {
  race *self = argument;
  int met = 0;
  void *address = NULL;
  if (tarn_pool_alloc(self->pool, BLOCK_BYTES / 2, NULL, &address) != TARN_OK) {
    atomic_store(&self->is_wrong, true);
  }
  meet(self, &met);
  if (tarn_pool_free(self->pool, address, NULL) != TARN_OK) atomic_store(&self->is_wrong, true);
  meet(self, &met);
  if (tarn_pool_alloc(self->pool, BLOCK_BYTES, NULL, &address) == TARN_OK) {
    atomic_fetch_add(&self->lent, 1);
  }
  meet(self, &met);
  if (tarn_pool_free(self->pool, address, NULL) != TARN_OK) atomic_store(&self->is_wrong, true);
  return NULL;
}

/* Of a pool that has refused nobody yet. */
TEST(of_two_threads_with_half_of_it_that_ask_for_all_one_gets_it) {
  for (int round = 0; round < CREDIT_ROUNDS; round++) {
    race both = {.pool = make_limited(make_pages_pool(), BLOCK_BYTES)};
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++) {
      assert_int_equal(pthread_create(&threads[index], NULL, ask_with_half_of_it, &both), 0);
    }
    for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
    assert_false(both.is_wrong);
    assert_int_equal(both.lent, 1);
    tarn_pool_release(both.pool);
  }
}

enum { CROWD = 4, CROWD_ROUNDS = 4000, CROWD_LIMIT = 20000, CROWD_HELD = 6 };

/* Threads that lend and free around the limit, and pass each other blocks to free. */
typedef struct crowd {
  tarn_pool *pool;
  atomic_size_t lent_bytes; /* never more than what the pool counts */
  _Atomic(void *) passed[CROWD];
  atomic_size_t passed_bytes[CROWD];
  atomic_uint refused_count;
  atomic_bool is_wrong;
} crowd;

typedef struct crowd_member {
  crowd *all;
  size_t index;
} crowd_member;

static void give_to_crowd(crowd *self, void *address, size_t size_bytes) {
  atomic_fetch_sub(&self->lent_bytes, size_bytes); /* before it may be lent again */
  if (tarn_pool_free(self->pool, address, NULL) != TARN_OK) atomic_store(&self->is_wrong, true);
}

static void take_from_crowd(crowd *self, void **address, size_t size_bytes) {
  const tarn_status status = tarn_pool_alloc(self->pool, size_bytes, NULL, address);
  if (status == TARN_OK) {
    if (atomic_fetch_add(&self->lent_bytes, size_bytes) + size_bytes > CROWD_LIMIT) {
      atomic_store(&self->is_wrong, true);
    }
  } else if (status == TARN_OUT_OF_MEMORY) {
    atomic_fetch_add(&self->refused_count, 1);
  } else {
    atomic_store(&self->is_wrong, true);
  }
}

static void *join_crowd(void *argument) {
  const crowd_member *self = argument;
  crowd *all = self->all;
  void *held[CROWD_HELD] = {NULL};
  size_t held_bytes[CROWD_HELD];
  uint64_t random = self->index + 1;
  for (int round = 0; round < CROWD_ROUNDS; round++) {
    const size_t at = (size_t)(test_random(&random) % CROWD_HELD);
    if (held[at] == NULL) {
      held_bytes[at] = 1 + (size_t)(test_random(&random) % 2000);
      take_from_crowd(all, &held[at], held_bytes[at]);
    } else if (round % 3 == 0) {
      const size_t other = (self->index + 1) % CROWD;
      void *nothing = NULL;
      if (atomic_load(&all->passed_bytes[other]) == 0 &&
          atomic_compare_exchange_strong(&all->passed[other], &nothing, held[at])) {
        atomic_store(&all->passed_bytes[other], held_bytes[at]);
        held[at] = NULL;
      }
    } else {
      give_to_crowd(all, held[at], held_bytes[at]);
      held[at] = NULL;
    }
    const size_t passed_bytes = atomic_exchange(&all->passed_bytes[self->index], 0);
    if (passed_bytes != 0) {
      give_to_crowd(all, atomic_exchange(&all->passed[self->index], NULL), passed_bytes);
    }
  }
  for (int index = 0; index < CROWD_HELD; index++) {
    if (held[index] != NULL) give_to_crowd(all, held[index], held_bytes[index]);
  }
  return NULL;
}

TEST(a_crowd_around_the_limit_never_has_more_and_loses_nothing) {
  crowd all = {.pool = make_limited(make_pages_pool(), CROWD_LIMIT)};
  crowd_member members[CROWD];
  pthread_t threads[CROWD];
  for (size_t index = 0; index < CROWD; index++) {
    members[index] = (crowd_member){&all, index};
    assert_int_equal(pthread_create(&threads[index], NULL, join_crowd, &members[index]), 0);
  }
  for (int index = 0; index < CROWD; index++) pthread_join(threads[index], NULL);
  for (int index = 0; index < CROWD; index++) {
    if (all.passed_bytes[index] == 0) continue;
    give_to_crowd(&all, all.passed[index], all.passed_bytes[index]);
  }
  assert_false(all.is_wrong);
  const tarn_pool_stats stats = stats_of(all.pool);
  assert_int_equal(stats.requested_bytes, 0);
  assert_int_equal(stats.alloc_count, stats.free_count);
  assert_int_equal(stats.out_of_memory_count, all.refused_count);
  assert_true(stats.requested_bytes_peak <= CROWD_LIMIT);
  void *whole = NULL;
  assert_ok(tarn_pool_alloc(all.pool, CROWD_LIMIT, NULL, &whole));
  tarn_pool_release(all.pool);
  assert_ok(tarn_pool_free(all.pool, whole, NULL)); /* and takes the pool down */
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
