/* test_caching_budget.c: caching pools under limits: shared budgets, floors, pressure, and how
 * little is waited for. */
#include "tests/alloc/caching_fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_fixed.h"
#include "alloc/tarn_pages.h"
#include "tests/alloc/fast_taker.h"
#include "tests/support/manual_stream.h"

static tarn_budget *make_budget(size_t limit_bytes) {
  const tarn_budget_options options = {
      .struct_size = sizeof options, .name = "shared", .limit_bytes = limit_bytes};
  tarn_budget *budget = NULL;
  assert_ok(tarn_budget_create(&options, &budget));
  return budget;
}

static size_t used_bytes(const tarn_budget *budget) {
  tarn_budget_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_budget_stats_of(budget, &stats));
  return stats.used_bytes;
}

static tarn_pool *make_sharing(tarn_budget *budget, size_t floor_bytes) {
  const tarn_caching_options options = {
      .struct_size = sizeof options, .budget = budget, .floor_bytes = floor_bytes};
  return make_pool_with(&options);
}

TEST(what_is_reserved_is_charged_and_paid_back) {
  tarn_budget *budget = make_budget(0);
  tarn_pool *pool = make_sharing(budget, 0);
  void *block = take(pool, 5 * MIB, NULL);
  assert_int_equal(used_bytes(budget), 6 * MIB);
  assert_int_equal(used_bytes(tarn_caching_pool_budget(pool)), 6 * MIB);
  provided.fail_allocs = 3;
  void *none = NULL;
  assert_status(tarn_pool_alloc(pool, 8 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  provided.fail_allocs = 0;
  assert_int_equal(used_bytes(budget), 6 * MIB);
  give(pool, block, NULL);
  assert_int_equal(used_bytes(budget), 6 * MIB);
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(used_bytes(budget), 0);
  block = take(pool, 1 * MIB, NULL);
  assert_int_equal(used_bytes(budget), 2 * MIB);
  tarn_pool_release(pool); /* a block is still lent out: the pool lives on */
  assert_int_equal(used_bytes(budget), 2 * MIB);
  give(pool, block, NULL);
  assert_int_equal(used_bytes(budget), 0);
  tarn_budget_release(budget);
}

TEST(a_range_charges_as_it_grows) {
  tarn_pool *pool = make_range_pool(0);
  tarn_budget *budget = tarn_caching_pool_budget(pool);
  void *first = take(pool, 3 * MIB, NULL);
  void *second = take(pool, 9 * MIB, NULL);
  assert_int_equal(used_bytes(budget), stats_of(pool).reserved_bytes);
  give(pool, first, NULL);
  give(pool, second, NULL);
  assert_ok(tarn_pool_trim(pool, 4 * MIB, NULL));
  assert_int_equal(used_bytes(budget), stats_of(pool).reserved_bytes);
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(used_bytes(budget), 0);
  tarn_pool_release(pool);
}

TEST(the_limit_of_a_pool_may_move) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_budget *budget = tarn_caching_pool_budget(pool);
  void *first = take(pool, 4 * MIB, NULL);
  void *second = NULL;
  assert_status(tarn_pool_alloc(pool, 2 * MIB, NULL, &second), TARN_OUT_OF_MEMORY);
  tarn_budget_set_limit(budget, 6 * MIB);
  second = take(pool, 2 * MIB, NULL);
  tarn_budget_set_limit(budget, 2 * MIB);
  give(pool, first, NULL);
  first = take(pool, 1 * MIB, NULL); /* what is there may still be used */
  give(pool, first, NULL);
  give(pool, second, NULL);
  tarn_pool_release(pool);
}

TEST(idle_memory_of_one_pool_serves_another) {
  tarn_budget *budget = make_budget(8 * MIB);
  provided = (counting_provider){0};
  tarn_pool *first = make_sharing(budget, 0);
  tarn_pool *second = make_sharing(budget, 0);
  tarn_stream *stream = make_stream();
  void *idle = take(first, 6 * MIB, stream);
  void *kept = take(first, 2 * MIB, stream);
  work(stream);
  give(first, idle, stream); /* pending even: it is waited for */
  void *block = take(second, 4 * MIB, NULL);
  assert_int_equal(used_bytes(budget), 2 * MIB + 4 * MIB);
  assert_int_equal(stats_of(first).reserved_bytes, 2 * MIB);
  assert_int_equal(stats_of(second).out_of_memory_count, 0);
  give(first, kept, stream);
  give(second, block, NULL);
  tarn_stream_release(stream);
  tarn_pool_release(first);
  tarn_pool_release(second);
  assert_int_equal(used_bytes(budget), 0);
  tarn_budget_release(budget);
}

TEST(the_floor_is_kept_by_trim_and_by_neighbours) {
  tarn_budget *budget = make_budget(8 * MIB);
  provided = (counting_provider){0};
  tarn_pool *first = make_sharing(budget, 4 * MIB);
  tarn_pool *second = make_sharing(budget, 0);
  assert_ok(tarn_caching_pool_reserve(first, 4 * MIB));
  size_t released = 1;
  assert_ok(tarn_pool_trim(first, 0, &released));
  assert_int_equal(released, 0);
  void *block = NULL;
  assert_status(tarn_pool_alloc(second, 6 * MIB, NULL, &block), TARN_OUT_OF_MEMORY);
  assert_int_equal(stats_of(first).reserved_bytes, 4 * MIB);
  block = take(second, 4 * MIB, NULL);
  give(second, block, NULL);
  tarn_pool_release(first);
  tarn_pool_release(second);
  tarn_budget_release(budget);
}

/* --- reserve --- */

TEST(what_was_reserved_up_front_is_lent_without_the_provider) {
  tarn_pool *pools[] = {make_segment_pool(0), make_range_pool(0)};
  for (size_t index = 0; index < COUNT_OF(pools); index++) {
    tarn_pool *pool = pools[index];
    assert_ok(tarn_caching_pool_reserve(pool, 31 * MIB));
    const tarn_pool_stats before = stats_of(pool);
    assert_int_equal(before.reserved_bytes, 32 * MIB);
    assert_int_equal(before.alloc_count + before.allocated_bytes_peak, 0);
    assert_ok(tarn_caching_pool_reserve(pool, 20 * MIB)); /* there is more already */
    void *block = take(pool, 32 * MIB, NULL);
    assert_int_equal(stats_of(pool).provider_calls, before.provider_calls);
    assert_ok(tarn_caching_pool_reserve(pool, 40 * MIB));
    assert_int_equal(stats_of(pool).reserved_bytes, 40 * MIB);
    give(pool, block, NULL);
    tarn_pool_release(pool);
  }
}

TEST(a_reserve_beyond_the_limit_fails) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  assert_status(tarn_caching_pool_reserve(pool, 6 * MIB), TARN_OUT_OF_MEMORY);
  assert_non_null(strstr(tarn_last_error()->message, "limit of 4194304"));
  assert_status(tarn_caching_pool_reserve(pool, SIZE_MAX), TARN_TOO_LARGE);
  assert_status(tarn_caching_pool_reserve(NULL, 1), TARN_INVALID_ARGUMENT);
  assert_null(tarn_caching_pool_budget(NULL));
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_pool_release(pool);
}

/* --- pressure --- */

typedef struct giver {
  tarn_pool *pool;
  void *block; /* what it can give; NULL: nothing more */
  int call_count;
  tarn_pressure seen;
} giver;

/* Uses the pool: that would deadlock under its lock. */
static bool give_block(void *context, const tarn_pressure *pressure) {
  giver *self = context;
  self->call_count++;
  self->seen = *pressure;
  assert_int_equal(stats_of(self->pool).out_of_memory_count, 0);
  if (self->block == NULL) return false;
  give(self->pool, self->block, NULL);
  self->block = NULL;
  return true;
}

TEST(pressure_comes_before_failing_and_is_told_what_is_missing) {
  tarn_pool *pool = make_segment_pool(8 * MIB);
  tarn_budget *budget = tarn_caching_pool_budget(pool);
  giver cache = {.pool = pool, .block = take(pool, 4 * MIB, NULL)};
  assert_ok(tarn_budget_add_pressure(budget, give_block, &cache));
  void *kept = take(pool, 2 * MIB, NULL);
  assert_int_equal(cache.call_count, 0);
  void *block = take(pool, 6 * MIB - 4096, NULL);
  assert_int_equal(cache.call_count, 1);
  assert_ptr_equal(cache.seen.budget, budget);
  assert_int_equal(cache.seen.asked_bytes, 6 * MIB - 4096);
  assert_int_equal(cache.seen.missing_bytes, 4 * MIB);
  /* Nothing left to give: then it fails, and is counted. */
  void *none = NULL;
  assert_status(tarn_pool_alloc(pool, 1 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(cache.call_count, 2);
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  assert_ok(tarn_budget_remove_pressure(budget, give_block, &cache));
  give(pool, kept, NULL);
  give(pool, block, NULL);
  tarn_pool_release(pool);
}

static bool promise(void *context, const tarn_pressure *pressure) {
  (void)pressure;
  ++*(int *)context;
  return true;
}

TEST(empty_promises_end) {
  tarn_pool *pool = make_segment_pool(2 * MIB);
  tarn_budget *budget = tarn_caching_pool_budget(pool);
  int call_count = 0;
  void *block = take(pool, 2 * MIB, NULL);
  void *none = NULL;
  assert_ok(tarn_budget_add_pressure(budget, promise, &call_count));
  assert_status(tarn_pool_alloc(pool, 1 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_in_range(call_count, 1, 16);
  /* What can never fit is not asked for. */
  call_count = 0;
  assert_status(tarn_pool_alloc(pool, 4 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(call_count, 0);
  assert_ok(tarn_budget_remove_pressure(budget, promise, &call_count));
  give(pool, block, NULL);
  tarn_pool_release(pool);
}

TEST(who_is_late_many_times_is_not_refused) {
  tarn_budget *budget = make_budget(4 * MIB);
  fast_taker taker = {.budget = budget, .size_bytes = 4 * MIB, .left_count = 100};
  tarn_pool *pool = make_sharing(budget, 0);
  assert_ok(tarn_budget_charge(budget, 4 * MIB));
  assert_ok(tarn_budget_add_pressure(budget, give_and_take, &taker));
  give(pool, take(pool, 4 * MIB, NULL), NULL);
  assert_int_equal(stats_of(pool).out_of_memory_count, 0);
  assert_ok(tarn_budget_remove_pressure(budget, give_and_take, &taker));
  tarn_pool_release(pool);
  tarn_budget_release(budget);
}

/* --- threads --- */

enum { SHARING_ROUNDS = 3000 };

/* 2 or 4 MiB, one block at a time. NULL, or what was refused, for the caller to free. */
static void *take_turns(void *argument) {
  tarn_pool *pool = argument;
  uint64_t random = (uint64_t)(uintptr_t)pool | 1;
  tarn_status status = TARN_OK;
  for (int round = 0; status == TARN_OK && round < SHARING_ROUNDS; round++) {
    void *block = NULL;
    const size_t size_bytes = (test_random(&random) % 2 + 1) * 2 * MIB;
    status = tarn_pool_alloc(pool, size_bytes, NULL, &block);
    if (status == TARN_OK) status = tarn_pool_free(pool, block, NULL);
    if (status == TARN_OK && test_random(&random) % 8 == 0) status = tarn_pool_trim(pool, 0, NULL);
  }
  return status == TARN_OK ? NULL : strdup(tarn_last_error()->message);
}

/* What is live always fits, so no allocation may fail, whatever the other pool keeps, gives back or
 * is about to give back. */
static void share_a_budget(tarn_provider **providers) {
  tarn_budget *budget = make_budget(8 * MIB);
  const tarn_caching_options options = {.struct_size = sizeof options, .budget = budget};
  tarn_pool *pools[2];
  pthread_t threads[2];
  for (int index = 0; index < 2; index++) {
    assert_ok(tarn_caching_pool_create(providers[index], &options, &pools[index]));
  }
  for (int index = 0; index < 2; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, take_turns, pools[index]), 0);
  }
  for (int index = 0; index < 2; index++) {
    void *failed = NULL;
    assert_int_equal(pthread_join(threads[index], &failed), 0);
    if (failed != NULL) fail_msg("pool %d: %s", index, (char *)failed);
  }
  for (int index = 0; index < 2; index++) {
    assert_int_equal(stats_of(pools[index]).out_of_memory_count, 0);
    tarn_pool_release(pools[index]);
    tarn_provider_release(providers[index]);
  }
  assert_int_equal(used_bytes(budget), 0);
  tarn_budget_release(budget);
}

TEST(two_pools_of_segments_never_starve_each_other) {
  static _Alignas(2 * MIB) char memory[2][16 * MIB];
  const tarn_fixed_options options = {.struct_size = sizeof options, .granularity_bytes = 2 * MIB};
  tarn_provider *providers[2];
  for (int index = 0; index < 2; index++) {
    assert_ok(tarn_fixed_provider_create(memory[index], sizeof memory[index], &options,
                                         &providers[index]));
  }
  share_a_budget(providers);
}

TEST(two_pools_of_ranges_never_starve_each_other) {
  tarn_provider *providers[2];
  for (int index = 0; index < 2; index++) {
    assert_ok(tarn_pages_provider_create(NULL, &providers[index]));
  }
  share_a_budget(providers);
}

/* A provider whose release takes until the other pool's allocation has come to press. */
typedef struct slow_release {
  pthread_mutex_t lock;
  pthread_cond_t pressed;
  bool is_pressed;
  tarn_pool *other;
  pthread_t thread; /* allocates from the other pool */
  bool is_started;
} slow_release;

static slow_release slow = {.lock = PTHREAD_MUTEX_INITIALIZER, .pressed = PTHREAD_COND_INITIALIZER};

static bool note_press(void *context, const tarn_pressure *pressure) {
  (void)context;
  (void)pressure;
  pthread_mutex_lock(&slow.lock);
  slow.is_pressed = true;
  pthread_cond_signal(&slow.pressed);
  pthread_mutex_unlock(&slow.lock);
  return false;
}

static void *take_from_other(void *argument) {
  void **block = argument;
  return tarn_pool_alloc(slow.other, 4 * MIB, NULL, block) == TARN_OK ? NULL : argument;
}

static tarn_status slow_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->granularity_bytes = 2 * MIB;
  attributes->alignment_bytes = 4096;
  return TARN_OK;
}

static tarn_status slow_alloc(void *context, size_t size_bytes, void **address) {
  (void)context;
  *address = aligned_alloc(4096, size_bytes);
  return *address != NULL ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "aligned_alloc");
}

static void *taken_by_other;

static tarn_status slow_give_back(void *context, void *address, size_t size_bytes) {
  (void)context;
  (void)size_bytes;
  if (!slow.is_started) {
    slow.is_started = true;
    assert_int_equal(pthread_create(&slow.thread, NULL, take_from_other, &taken_by_other), 0);
    pthread_mutex_lock(&slow.lock);
    while (!slow.is_pressed) pthread_cond_wait(&slow.pressed, &slow.lock);
    pthread_mutex_unlock(&slow.lock);
  }
  free(address);
  return TARN_OK;
}

TEST(memory_on_its_way_back_is_waited_for) {
  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "slow",
                                        .attributes = slow_attributes,
                                        .alloc = slow_alloc,
                                        .release = slow_give_back};
  tarn_budget *budget = make_budget(4 * MIB);
  const tarn_caching_options options = {.struct_size = sizeof options, .budget = budget};
  assert_ok(tarn_budget_add_pressure(budget, note_press, NULL)); /* called first */
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  assert_ok(tarn_caching_pool_create(provider, &options, &slow.other));
  give(pool, take(pool, 4 * MIB, NULL), NULL);
  size_t released = 0;
  assert_ok(tarn_pool_trim(pool, 0, &released));
  assert_int_equal(released, 4 * MIB);
  void *failed = NULL;
  assert_int_equal(pthread_join(slow.thread, &failed), 0);
  assert_null(failed);
  give(slow.other, taken_by_other, NULL);
  tarn_pool_release(slow.other);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  assert_ok(tarn_budget_remove_pressure(budget, note_press, NULL));
  tarn_budget_release(budget);
}

/* --- how little is waited for --- */

enum { STREAM_COUNT = 4 };

/* Fills the pool with one 2 MiB segment per stream, each pending on its own stream. */
static void fill_with_pending(tarn_pool *pool, tarn_stream **streams) {
  void *blocks[STREAM_COUNT];
  for (int index = 0; index < STREAM_COUNT; index++) {
    streams[index] = make_stream();
    blocks[index] = take(pool, 2 * MIB, streams[index]);
    work(streams[index]);
  }
  for (int index = 0; index < STREAM_COUNT; index++) give(pool, blocks[index], streams[index]);
}

static int busy_count(tarn_stream **streams) {
  int count = 0;
  for (int index = 0; index < STREAM_COUNT; index++) {
    if (manual_stream_pending(streams[index]) > 0) count++;
  }
  return count;
}

static void release_all(tarn_stream **streams) {
  for (int index = 0; index < STREAM_COUNT; index++) tarn_stream_release(streams[index]);
}

/* The memory is full and pending: a request of one block's size waits for one stream. */
TEST(reclaim_of_one_block_waits_for_one_stream) {
  tarn_pool *pool = make_segment_pool(STREAM_COUNT * 2 * MIB);
  tarn_stream *streams[STREAM_COUNT];
  fill_with_pending(pool, streams);
  void *block = take(pool, 2 * MIB, NULL);
  assert_int_equal(busy_count(streams), STREAM_COUNT - 1);
  give(pool, block, NULL);
  release_all(streams);
  tarn_pool_release(pool);
}

/* A larger one needs two segments given back: two streams, and no segment more. */
TEST(reclaim_gives_back_and_waits_for_no_more_than_it_needs) {
  tarn_pool *pool = make_segment_pool(STREAM_COUNT * 2 * MIB);
  tarn_stream *streams[STREAM_COUNT];
  fill_with_pending(pool, streams);
  void *block = take(pool, 4 * MIB, NULL);
  assert_int_equal(busy_count(streams), STREAM_COUNT - 2);
  assert_int_equal(provided.release_count, 2);
  assert_int_equal(stats_of(pool).reserved_bytes, STREAM_COUNT * 2 * MIB);
  give(pool, block, NULL);
  release_all(streams);
  tarn_pool_release(pool);
}

/* Of two runs of neighbours that would do, the one that one stream used is joined. */
TEST(the_run_that_needs_fewer_fences_is_joined) {
  const tarn_caching_options options = {
      .struct_size = sizeof options, .limit_bytes = 8 * MIB, .segment_bytes = 8 * MIB};
  tarn_pool *pool = make_pool_with(&options);
  tarn_stream *streams[STREAM_COUNT];
  for (int index = 0; index < STREAM_COUNT; index++) streams[index] = make_stream();
  char *blocks[8];
  static const int users[8] = {0, 1, 2, 0, 3, 3, 2, 1};
  for (int index = 0; index < 8; index++) {
    blocks[index] = take(pool, 1 * MIB, NULL);
    work(streams[users[index]]);
    assert_ok(tarn_pool_note_use(pool, blocks[index], streams[users[index]]));
  }
  for (int index = 0; index < 8; index++) give(pool, blocks[index], NULL);
  void *block = take(pool, 2 * MIB, NULL);
  assert_ptr_equal(block, blocks[4]);
  assert_int_equal(busy_count(streams), STREAM_COUNT - 1);
  assert_int_equal(manual_stream_pending(streams[3]), 0);
  give(pool, block, NULL);
  block = take(pool, 3 * MIB, NULL); /* 3 is done: 4, 5 and one more stream's neighbour */
  assert_int_equal(busy_count(streams), STREAM_COUNT - 2);
  give(pool, block, NULL);
  release_all(streams);
  tarn_pool_release(pool);
}

/* --- growth without a limit --- */

TEST(once_there_is_enough_streams_share_instead_of_growing) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *streams[STREAM_COUNT];
  for (int index = 0; index < STREAM_COUNT; index++) streams[index] = make_stream();
  for (int round = 0; round < 3 * STREAM_COUNT; round++) {
    tarn_stream *stream = streams[round % STREAM_COUNT];
    void *block = take(pool, 64 * MIB, stream);
    work(stream);
    give(pool, block, stream);
  }
  /* One block is live at a time; the second stream already grew before there was enough. */
  assert_in_range(stats_of(pool).reserved_bytes_peak, 64 * MIB, 128 * MIB);
  assert_true(stats_of(pool).wait_count > 0);
  release_all(streams);
  tarn_pool_release(pool);
}

TEST(the_cpu_gets_fresh_memory_rather_than_wait) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *stream = make_stream();
  assert_ok(tarn_caching_pool_reserve(pool, 96 * MIB)); /* enough */
  for (int round = 0; round < 3; round++) {
    void *block = take(pool, 64 * MIB, stream);
    work(stream);
    give(pool, block, stream);
  }
  manual_called = (manual_calls){0};
  void *block = take(pool, 64 * MIB, NULL);
  assert_int_equal(manual_called.synchronizes, 0);
  assert_int_not_equal(manual_stream_pending(stream), 0);
  give(pool, block, NULL);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(looks_that_find_nothing_are_put_off_longer_and_longer) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *busy = make_stream();
  tarn_stream *stream = make_stream();
  void *pending = take(pool, 2 * MIB, busy);
  work(busy);
  give(pool, pending, busy);
  manual_called = (manual_calls){0};
  void *blocks[8];
  static const int looks[7] = {1, 1, 2, 2, 2, 2, 3};
  for (int index = 0; index < 7; index++) {
    blocks[index] = take(pool, 2 * MIB, stream);
    assert_int_equal(manual_called.records + manual_called.queries, looks[index]);
    assert_ptr_not_equal(blocks[index], pending);
  }
  /* Once the host has seen it, no look is needed. */
  assert_ok(tarn_stream_synchronize(busy));
  blocks[7] = take(pool, 2 * MIB, stream);
  assert_ptr_equal(blocks[7], pending);
  for (int index = 0; index < 8; index++) give(pool, blocks[index], stream);
  tarn_stream_release(busy);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(what_is_enough_is_no_matter_of_statistics) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *first = make_stream();
  tarn_stream *second = make_stream();
  void *block = take(pool, 64 * MIB, first);
  work(first);
  give(pool, block, first);
  assert_ok(tarn_pool_reset_peaks(pool));
  assert_int_equal(stats_of(pool).allocated_bytes_peak, 0);
  /* 64 MiB are not yet enough, for so many were lent out once. */
  block = take(pool, 64 * MIB, second);
  assert_int_equal(stats_of(pool).reserved_bytes, 128 * MIB);
  give(pool, block, second);
  tarn_stream_release(first);
  tarn_stream_release(second);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
