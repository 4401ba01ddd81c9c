/* test_failing_pool.c: calls that fail are those of the plan, and no other. */
#include "alloc/adapters/pools/tarn_failing_pool.h"

#include "tests/adapters/pools/adaptor_fixture.h"

static tarn_pool *make_failing(void) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  assert_ok(tarn_failing_pool_create(upstream, NULL, &pool));
  tarn_pool_release(upstream);
  return pool;
}

static void set_plan(tarn_pool *pool, tarn_failing_plan plan) {
  plan.struct_size = sizeof plan;
  assert_ok(tarn_failing_pool_set(pool, &plan));
}

/* Which of the next `count` calls, at most 64, fail: the first one is bit 0. */
static uint64_t failures_of(tarn_pool *pool, int count) {
  uint64_t failed = 0;
  for (int index = 0; index < count; index++) {
    void *address = NULL;
    if (tarn_pool_alloc(pool, 100, NULL, &address) != TARN_OK) {
      assert_null(address);
      failed |= UINT64_C(1) << index;
    }
    assert_ok(tarn_pool_free(pool, address, NULL));
  }
  return failed;
}

TEST(each_kind_fails_the_calls_that_it_names) {
  tarn_pool *pool = make_failing();
  assert_int_equal(failures_of(pool, 8), 0);
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_NTH, .n = 3});
  assert_int_equal(failures_of(pool, 8), 1u << 2);
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_EVERY, .n = 3});
  assert_int_equal(failures_of(pool, 8), (1u << 2) | (1u << 5));
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_FROM, .n = 3});
  assert_int_equal(failures_of(pool, 8), 0xFC);
  assert_int_equal(failures_of(pool, 8), 0xFF);
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_NEVER});
  assert_int_equal(failures_of(pool, 8), 0);
  tarn_pool_release(pool);
}

TEST(a_seed_fails_the_same_calls_again) {
  tarn_pool *pool = make_failing();
  const tarn_failing_plan quarter = {
      .kind = TARN_FAILING_RANDOM, .per_million = 250000, .seed = 11};
  tarn_failing_plan other = quarter;
  other.seed = 12;
  set_plan(pool, quarter);
  const uint64_t first = failures_of(pool, 64);
  set_plan(pool, quarter);
  assert_int_equal(failures_of(pool, 64), first);
  set_plan(pool, other);
  assert_int_not_equal(failures_of(pool, 64), first);
  int failed_count = 0;
  for (int round = 0; round < 100; round++) {
    failed_count += __builtin_popcountll(failures_of(pool, 64));
  }
  assert_in_range(failed_count, 1450, 1750); /* of 6400; the standard deviation is 35 */
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_RANDOM, .per_million = 1000000});
  assert_int_equal(failures_of(pool, 64), UINT64_MAX);
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_RANDOM, .per_million = 0});
  assert_int_equal(failures_of(pool, 64), 0);
  tarn_pool_release(pool);
}

TEST(the_answer_is_the_plans_and_small_calls_are_left_alone) {
  tarn_pool *pool = make_failing();
  void *small = NULL;
  void *large = NULL;
  set_plan(
      pool,
      (tarn_failing_plan){
          .kind = TARN_FAILING_FROM, .n = 1, .status = TARN_DEVICE_ERROR, .size_min_bytes = 1000});
  assert_ok(tarn_pool_alloc(pool, 999, NULL, &small));
  assert_status(tarn_pool_alloc(pool, 1000, NULL, &large), TARN_DEVICE_ERROR);
  assert_int_equal(stats_of(pool).out_of_memory_count, 0);
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_FROM, .n = 1});
  assert_status(tarn_pool_alloc(pool, 1000, NULL, &large), TARN_OUT_OF_MEMORY);
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  assert_int_equal(stats_of(pool).alloc_count, 1);
  assert_ok(tarn_pool_free(pool, small, NULL));
  tarn_pool_release(pool);
}

TEST(it_tells_how_many_calls_came_and_failed) {
  tarn_pool *pool = make_failing();
  tarn_failing_told told = {.struct_size = sizeof told};
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_EVERY, .n = 4});
  (void)failures_of(pool, 10);
  assert_ok(tarn_failing_pool_tell(pool, &told));
  assert_int_equal(told.call_count, 10);
  assert_int_equal(told.failed_count, 2);
  set_plan(pool, (tarn_failing_plan){.kind = TARN_FAILING_EVERY, .n = 4});
  assert_ok(tarn_failing_pool_tell(pool, &told));
  assert_int_equal(told.call_count, 0);
  tarn_pool_release(pool);
}

TEST(a_plan_that_means_nothing_is_refused) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = NULL;
  const tarn_failing_plan wrong[] = {
      {.struct_size = 1},
      {.struct_size = sizeof *wrong, .kind = TARN_FAILING_NTH},
      {.struct_size = sizeof *wrong, .kind = (tarn_failing_kind)5},
      {.struct_size = sizeof *wrong, .kind = TARN_FAILING_RANDOM, .per_million = 1000001},
  };
  tarn_failing_pool_options options = {.struct_size = sizeof options};
  options.plan =
      (tarn_failing_plan){.struct_size = sizeof options.plan, .kind = TARN_FAILING_EVERY, .n = 2};
  assert_ok(tarn_failing_pool_create(upstream, &options, &pool));
  for (size_t index = 0; index < COUNT_OF(wrong); index++) {
    assert_status(tarn_failing_pool_set(pool, &wrong[index]), TARN_INVALID_ARGUMENT);
  }
  assert_status(tarn_failing_pool_set(pool, NULL), TARN_INVALID_ARGUMENT);
  assert_int_equal(failures_of(pool, 4), (1u << 1) | (1u << 3)); /* the first plan's */
  tarn_failing_told told = {.struct_size = sizeof told};
  assert_status(tarn_failing_pool_tell(upstream, &told), TARN_INVALID_ARGUMENT);
  assert_status(tarn_failing_pool_set(upstream, &options.plan), TARN_INVALID_ARGUMENT);
  assert_status(tarn_failing_pool_tell(pool, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
  options.plan.n = 0;
  assert_status(tarn_failing_pool_create(upstream, &options, &pool), TARN_INVALID_ARGUMENT);
  assert_null(pool);
  tarn_pool_release(upstream);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
