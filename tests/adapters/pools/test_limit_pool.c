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

static void the_last_byte_can_be_had_and_none_beyond_it(void **state) {
  (void)state;
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

static void a_failure_of_the_upstream_costs_nothing(void **state) {
  (void)state;
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
static void what_is_on_its_way_counts_on_both_ways(void **state) {
  (void)state;
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

static void a_lower_limit_waits_for_what_is_out(void **state) {
  (void)state;
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

static void a_pool_of_another_kind_has_no_limit_to_set(void **state) {
  (void)state;
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

static void of_two_threads_that_ask_for_all_one_gets_it(void **state) {
  (void)state;
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_last_byte_can_be_had_and_none_beyond_it),
      cmocka_unit_test(a_failure_of_the_upstream_costs_nothing),
      cmocka_unit_test(what_is_on_its_way_counts_on_both_ways),
      cmocka_unit_test(a_lower_limit_waits_for_what_is_out),
      cmocka_unit_test(a_pool_of_another_kind_has_no_limit_to_set),
      cmocka_unit_test(of_two_threads_that_ask_for_all_one_gets_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
