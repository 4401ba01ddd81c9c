/* test_driver_pool_tell.c: what the driver's pool tells as other pools do: traces, snapshots, tags,
 * budgets, decay, and why it has no memory. */
#include "tests/cuda/cuda_fixture.h"
#include "tests/support/collected.h"

#include <stdio.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pool_trace.h"
#include "tests/support/pools.h"

enum { MIB = 1 << 20 };

static tarn_pool *make_caching(tarn_cuda *cuda, tarn_budget *budget) {
  const tarn_caching_options options = {.struct_size = sizeof options, .budget = budget};
  tarn_provider *provider = NULL;
  OK(tarn_cuda_device_provider_create(cuda, 0, &provider));
  return pool_over(provider, &options);
}

static void *take(tarn_pool *pool, size_t size_bytes, tarn_stream *stream) {
  void *address = NULL;
  OK(tarn_pool_alloc(pool, size_bytes, stream, &address));
  return address;
}

/* --- traces --- */

static void use_everywhere(tarn_pool *pool, tarn_stream *first, tarn_stream *second) {
  OK(tarn_pool_trace_start(pool, 100));
  char *block = take(pool, 1000, first), *other = take(pool, 3 * MIB, NULL);
  OK(tarn_pool_note_use(pool, block + 5, second));
  OK(tarn_pool_free(pool, block, first));
  OK(tarn_pool_free(pool, other, NULL));
  assert_int_equal(tarn_pool_free(pool, other, NULL), TARN_NOT_FOUND); /* is no event */
  block = take(pool, 77, second);
  OK(tarn_pool_free(pool, block, second));
  OK(tarn_pool_trace_stop(pool));
  OK(tarn_pool_free(pool, take(pool, 9, first), first));
  OK(tarn_stream_synchronize(first));
  OK(tarn_stream_synchronize(second));
}

typedef struct event {
  char op;
  unsigned long long id;
  size_t size_bytes;
  unsigned stream;
} event;

/* The trace without what was obtained and given back: that the driver does not tell. */
static int read_trace(tarn_pool *pool, event *events) {
  text_length = 0;
  OK(tarn_pool_trace_write(pool, 0, collect, NULL));
  int count = 0;
  for (const char *at = strchr(text, '\n') + 1; *at != '\0'; at = strchr(at, '\n') + 1) {
    event *one = &events[count];
    assert_int_equal(
        sscanf(at, "%c,%llu,%zu,%u", &one->op, &one->id, &one->size_bytes, &one->stream), 4);
    if (one->op != 's' && one->op != 'r') count++;
    assert_true(count < 50);
  }
  return count;
}

TEST(its_trace_is_that_of_a_caching_pool) {
  tarn_cuda *cuda = *state;
  tarn_pool *pools[2] = {fixture_driver_pool(cuda, NULL), make_caching(cuda, NULL)};
  tarn_stream *first = fixture_stream(cuda), *second = fixture_stream(cuda);
  event events[2][50];
  int counts[2];
  for (int i = 0; i < 2; i++) {
    use_everywhere(pools[i], first, second);
    counts[i] = read_trace(pools[i], events[i]);
  }
  assert_int_equal(counts[0], 7);
  assert_int_equal(counts[1], 7);
  for (int i = 0; i < 7; i++) {
    assert_int_equal(events[0][i].op, "aauffaf"[i]);
    assert_int_equal(events[0][i].op, events[1][i].op);
    assert_int_equal(events[0][i].size_bytes, events[1][i].size_bytes);
    assert_int_equal(events[0][i].stream, events[1][i].stream);
  }
  assert_true(events[0][0].id == events[0][3].id && events[0][1].id == events[0][4].id);
  for (int i = 0; i < 2; i++) tarn_pool_release(pools[i]);
  tarn_stream_release(first);
  tarn_stream_release(second);
}

TEST(a_free_that_the_driver_refuses_stands_in_the_trace_as_lent_again) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  event events[50];
  OK(tarn_pool_trace_start(pool, 10));
  void *block = take(pool, 100, NULL);
  fixture_sim_control()->fail_call("cuMemFreeAsync", 1, CUDA_ERROR_UNKNOWN);
  assert_int_equal(tarn_pool_free(pool, block, NULL), TARN_DEVICE_ERROR);
  OK(tarn_pool_free(pool, block, NULL));
  assert_int_equal(read_trace(pool, events), 4);
  for (int i = 0; i < 4; i++) assert_int_equal(events[i].op, "afaf"[i]);
  tarn_pool_release(pool);
}

/* --- snapshots and tags --- */

TEST(a_snapshot_lists_what_is_lent_out_with_its_tags) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  tarn_stream *stream = fixture_stream(cuda);
  void *blocks[3];
  OK(tarn_tag_push("weights"));
  for (int i = 0; i < 2; i++) blocks[i] = take(pool, 1000, stream);
  tarn_tag_pop();
  blocks[2] = take(pool, 5000, NULL);
  text_length = 0;
  OK(tarn_pool_snapshot(pool, collect, NULL));
  assert_non_null(strstr(text, "\"pool\":\"cuda:0 driver\""));
  assert_non_null(strstr(text, "\"lists\":\"lent\""));
  assert_non_null(strstr(text, "\"counters\":{\"requested_bytes\":7000,\"allocated_bytes\":7168,"));
  size_t live_count = 0, tag_count = 0;
  for (const char *at = text; (at = strstr(at, "\"state\":\"live\"")) != NULL; at++) live_count++;
  for (const char *at = text; (at = strstr(at, "\"tag\":\"weights\"")) != NULL; at++) tag_count++;
  assert_int_equal(live_count, 3);
  assert_int_equal(tag_count, 2);
  tarn_holder holders[2];
  size_t count = 0;
  OK(tarn_pool_holders(pool, holders, 2, &count));
  assert_int_equal(count, 2);
  assert_int_equal(holders[0].size_bytes, 5120);
  assert_string_equal(tarn_tag_name(holders[1].tag), "weights");
  assert_int_equal(holders[1].size_bytes, 2048);
  assert_int_equal(holders[1].block_count, 2);
  for (int i = 0; i < 3; i++) OK(tarn_pool_free(pool, blocks[i], NULL));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(peaks_begin_again) {
  tarn_cuda *cuda = *state;
  tarn_pool *pool = fixture_driver_pool(cuda, NULL);
  void *small = take(pool, 1000, NULL);
  OK(tarn_pool_free(pool, take(pool, 40 * MIB, NULL), NULL));
  OK(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(stats_of(pool).allocated_bytes_peak, 40 * MIB + 1024);
  assert_true(stats_of(pool).reserved_bytes_peak >= 40 * MIB);
  OK(tarn_pool_reset_peaks(pool));
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes_peak, 1000);
  assert_int_equal(stats.allocated_bytes_peak, 1024);
  assert_int_equal(stats.reserved_bytes_peak, stats.reserved_bytes);
  assert_true(stats.reserved_bytes < 40 * MIB);
  assert_int_equal(stats.alloc_count, 2); /* counts go on */
  OK(tarn_pool_free(pool, small, NULL));
  tarn_pool_release(pool);
}

/* --- out of memory --- */

typedef struct listener {
  tarn_pool *pool;
  int told_count;
} listener;

static void listen(void *context, const tarn_out_of_memory *report) {
  listener *self = context;
  self->told_count++;
  assert_int_equal(report->asked_bytes, 2 * MIB);
  OK(tarn_pool_free(self->pool, take(self->pool, 100, NULL), NULL)); /* without any lock */
}

TEST(out_of_memory_is_explained_in_numbers) {
  listener told = {.pool = NULL};
  const tarn_cuda_driver_pool_options options = {.struct_size = sizeof options,
                                                 .name = "small",
                                                 .limit_bytes = 3 * MIB,
                                                 .out_of_memory = listen,
                                                 .out_of_memory_context = &told};
  tarn_cuda *cuda = *state;
  tarn_pool *pool = told.pool = fixture_driver_pool(cuda, &options);
  tarn_stream *stream = fixture_stream(cuda);
  OK(tarn_tag_push("kv cache"));
  void *block = take(pool, 2 * MIB, stream), *none = NULL;
  tarn_tag_pop();
  assert_int_equal(tarn_pool_alloc(pool, 2 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(told.told_count, 1);
  const tarn_out_of_memory *report = tarn_last_out_of_memory();
  assert_string_equal(report->pool, "small");
  assert_int_equal(report->stream, tarn_stream_number(stream));
  assert_int_equal(report->live_bytes, 2 * MIB);
  assert_int_equal(report->live_count, 1);
  assert_true(report->reserved_bytes >= 2 * MIB);
  assert_int_equal(report->cached_bytes, report->reserved_bytes - report->live_bytes);
  assert_int_equal(report->holder_count, 1);
  assert_string_equal(tarn_tag_name(report->holders[0].tag), "kv cache");
  assert_non_null(strstr(tarn_last_error()->message, "kv cache 2097152 in 1"));
  assert_non_null(strstr(tarn_last_error()->message, "limit 3145728"));
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  OK(tarn_pool_free(pool, block, stream));
  OK(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

TEST(what_is_pending_is_waited_for_or_not) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const fixture_sim *sim = fixture_sim_control();
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  sim->set_capacity(0, info.total_bytes - info.free_bytes + 64 * MIB);
  tarn_cuda_driver_pool_options options = {.struct_size = sizeof options,
                                           .flags = TARN_CUDA_POOL_NEVER_WAITS};
  tarn_pool *pool = fixture_driver_pool(cuda, &options);
  tarn_stream *stream = fixture_stream(cuda), *other = fixture_stream(cuda);
  fixture_gate gate;
  void *block = take(pool, 40 * MIB, stream), *none = NULL;
  fixture_hold(stream, &gate);
  OK(tarn_pool_free(pool, block, stream));
  assert_int_equal(tarn_pool_alloc(pool, 40 * MIB, other, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(tarn_last_out_of_memory()->pending_bytes, 40 * MIB);
  assert_int_equal(tarn_last_out_of_memory()->streams[0].stream, tarn_stream_number(stream));
  fixture_let_go(&gate);
  OK(tarn_stream_synchronize(stream));
  OK(tarn_pool_free(pool, take(pool, 40 * MIB, other), other));
  OK(tarn_stream_synchronize(other));
  sim->set_capacity(0, info.total_bytes);
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

/* The host's own streams wait for nobody, so that waiting for them is no wait for work. */
TEST(what_the_host_freed_is_had_again_without_a_wait_for_streams) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const fixture_sim *sim = fixture_sim_control();
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  OK(tarn_cuda_device_info_of(cuda, 0, &info));
  sim->set_capacity(0, info.total_bytes - info.free_bytes + 64 * MIB);
  const tarn_cuda_driver_pool_options options = {
      .struct_size = sizeof options,
      .flags = TARN_CUDA_POOL_NEVER_WAITS | TARN_CUDA_POOL_NO_COMPLETED_REUSE};
  tarn_pool *pool = fixture_driver_pool(cuda, &options);
  tarn_stream *stream = fixture_stream(cuda);
  OK(tarn_pool_free(pool, take(pool, 40 * MIB, NULL), NULL));
  OK(tarn_pool_free(pool, take(pool, 40 * MIB, stream), stream));
  OK(tarn_stream_synchronize(stream));
  sim->set_capacity(0, info.total_bytes);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

/* --- budgets --- */

static tarn_budget_stats used_of(const tarn_budget *budget) {
  tarn_budget_stats stats = {.struct_size = sizeof stats};
  OK(tarn_budget_stats_of(budget, &stats));
  return stats;
}

TEST(what_the_driver_has_reserved_counts_at_the_budget) {
  tarn_cuda *cuda = *state;
  const tarn_budget_options limits = {
      .struct_size = sizeof limits, .name = "process", .limit_bytes = 64 * MIB};
  tarn_budget *budget = NULL;
  OK(tarn_budget_create(&limits, &budget));
  const tarn_cuda_driver_pool_options options = {.struct_size = sizeof options, .budget = budget};
  tarn_pool *pool = fixture_driver_pool(cuda, &options);
  tarn_stream *stream = fixture_stream(cuda);
  void *block = take(pool, 40 * MIB, stream), *none = NULL;
  assert_int_equal(used_of(budget).used_bytes, stats_of(pool).reserved_bytes);
  assert_true(used_of(budget).used_bytes >= 40 * MIB);
  assert_int_equal(tarn_pool_alloc(pool, 40 * MIB, stream, &none), TARN_OUT_OF_MEMORY);
  assert_null(none);
  assert_string_equal(tarn_last_out_of_memory()->budget, "process");
  assert_int_equal(tarn_last_out_of_memory()->budget_limit_bytes, 64 * MIB);
  assert_non_null(strstr(tarn_last_error()->message, "Budget process"));
  assert_int_equal(used_of(budget).used_bytes, stats_of(pool).reserved_bytes);
  OK(tarn_pool_free(pool, block, stream));
  block = take(pool, 44 * MIB, stream); /* what is there goes back before */
  assert_true(used_of(budget).used_bytes <= 64 * MIB);
  OK(tarn_pool_free(pool, block, stream));
  OK(tarn_stream_synchronize(stream));
  OK(tarn_pool_trim(pool, 0, NULL));
  assert_int_equal(used_of(budget).used_bytes, stats_of(pool).reserved_bytes);
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  assert_int_equal(used_of(budget).used_bytes, 0);
  tarn_budget_release(budget);
}

TEST(pools_that_share_a_budget_give_each_other_what_is_idle) {
  tarn_cuda *cuda = *state;
  const tarn_budget_options limits = {.struct_size = sizeof limits, .limit_bytes = 64 * MIB};
  tarn_budget *budget = NULL;
  OK(tarn_budget_create(&limits, &budget));
  const tarn_cuda_driver_pool_options options = {.struct_size = sizeof options, .budget = budget};
  tarn_pool *driver = fixture_driver_pool(cuda, &options), *caching = make_caching(cuda, budget);
  for (int round = 0; round < 2; round++) {
    OK(tarn_pool_free(driver, take(driver, 40 * MIB, NULL), NULL));
    OK(tarn_pool_free(caching, take(caching, 40 * MIB, NULL), NULL));
    assert_true(used_of(budget).used_bytes <= 64 * MIB);
  }
  void *held = take(driver, 40 * MIB, NULL), *none = NULL;
  assert_int_equal(tarn_pool_alloc(caching, 40 * MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  OK(tarn_pool_free(driver, held, NULL));
  tarn_pool_release(driver);
  tarn_pool_release(caching);
  assert_int_equal(used_of(budget).used_bytes, 0);
  tarn_budget_release(budget);
}

TEST(a_chunk_that_the_budget_has_no_room_for_goes_back) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM(); /* takes 32 MiB at a time */
  const tarn_budget_options limits = {.struct_size = sizeof limits, .limit_bytes = 10 * MIB};
  tarn_budget *budget = NULL;
  OK(tarn_budget_create(&limits, &budget));
  const tarn_cuda_driver_pool_options options = {.struct_size = sizeof options, .budget = budget};
  tarn_pool *pool = fixture_driver_pool(cuda, &options);
  void *none = NULL;
  assert_int_equal(tarn_pool_alloc(pool, MIB, NULL, &none), TARN_OUT_OF_MEMORY);
  assert_int_equal(used_of(budget).used_bytes, 0);
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  assert_int_equal(stats_of(pool).alloc_count, 0);
  tarn_budget_set_limit(budget, 32 * MIB);
  OK(tarn_pool_free(pool, take(pool, MIB, NULL), NULL));
  assert_int_equal(used_of(budget).used_bytes, 32 * MIB);
  tarn_pool_release(pool);
  tarn_budget_release(budget);
}

/* --- decay --- */

TEST(what_a_window_did_not_need_goes_back) {
  tarn_cuda *cuda = *state;
  const uint64_t window_ns = 1000;
  const tarn_cuda_driver_pool_options options = {.struct_size = sizeof options,
                                                 .decay_ns = window_ns};
  tarn_pool *pool = fixture_driver_pool(cuda, &options);
  size_t released = 1;
  void *block = take(pool, 32 * MIB, NULL);
  OK(tarn_pool_free(pool, take(pool, 64 * MIB, NULL), NULL));
  OK(tarn_pool_decay(pool, 5000, &released)); /* the first window begins */
  assert_int_equal(released, 0);
  OK(tarn_pool_free(pool, take(pool, 32 * MIB, NULL), NULL));
  OK(tarn_pool_decay(pool, 5000 + window_ns - 1, &released));
  assert_int_equal(released, 0);
  OK(tarn_pool_decay(pool, 3, &released)); /* a clock that goes back */
  assert_int_equal(released, 0);
  OK(tarn_pool_decay(pool, 5000 + window_ns, &released));
  assert_true(stats_of(pool).reserved_bytes >= 64 * MIB); /* was needed at once */
  OK(tarn_pool_decay(pool, 5000 + 2 * window_ns, &released));
  assert_true(released >= 32 * MIB); /* in the driver's chunks, so perhaps more */
  assert_true(stats_of(pool).reserved_bytes <= 64 * MIB);
  OK(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
}

/* --- whatever fails --- */

/* All that a pool is asked for; what fails has changed nothing, or is given back here. */
static void use_up(tarn_cuda *cuda, tarn_budget *budget) {
  const tarn_cuda_driver_pool_options options = {.struct_size = sizeof options, .budget = budget};
  tarn_pool *pool = NULL;
  tarn_stream *streams[2] = {NULL, NULL};
  void *blocks[3] = {NULL, NULL, NULL};
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  tarn_status status = tarn_cuda_driver_pool_create(cuda, 0, &options, &pool);
  for (int i = 0; i < 2 && status == TARN_OK; i++) {
    status = tarn_cuda_stream_create(cuda, 0, &streams[i]);
  }
  if (status == TARN_OK) status = tarn_pool_trace_start(pool, 10);
  for (int i = 0; i < 3 && status == TARN_OK; i++) {
    status = tarn_pool_alloc(pool, (size_t)(i + 1) * 1000, i < 2 ? streams[i] : NULL, &blocks[i]);
  }
  if (status == TARN_OK) status = tarn_pool_note_use(pool, blocks[0], streams[1]);
  if (status == TARN_OK) status = tarn_pool_stats_of(pool, &stats);
  if (status == TARN_OK) status = tarn_pool_reset_peaks(pool);
  text_length = 0;
  if (status == TARN_OK) status = tarn_pool_snapshot(pool, collect, NULL);
  for (int i = 0; i < 3; i++) {
    tarn_status freed = tarn_pool_free(pool, blocks[i], streams[0]);
    if (blocks[i] != NULL && freed != TARN_OK) freed = tarn_pool_free(pool, blocks[i], streams[0]);
    if (blocks[i] != NULL) OK(freed); /* no second failure is planned */
  }
  if (status == TARN_OK) status = tarn_pool_trim(pool, 0, NULL);
  for (int i = 0; i < 2; i++) tarn_stream_release(streams[i]);
  tarn_pool_release(pool);
  (void)status;
}

TEST(every_driver_call_may_fail_once_and_nothing_is_lost) {
  tarn_cuda *cuda = *state;
  FIXTURE_NEEDS_SIM();
  const fixture_sim *sim = fixture_sim_control();
  tarn_budget *budget = NULL;
  OK(tarn_budget_create(NULL, &budget));
  use_up(cuda, budget); /* what stays for later use is made */
  cusim_counts before, after;
  sim->get_counts(&before);
  uint64_t nth = 1;
  for (bool has_failed = true; has_failed; nth++) {
    const uint64_t failures = sim->failures();
    sim->fail_call(NULL, nth, nth % 2 == 0 ? CUDA_ERROR_UNKNOWN : CUDA_ERROR_OUT_OF_MEMORY);
    use_up(cuda, budget);
    has_failed = sim->failures() != failures;
    sim->fail_nothing();
    sim->get_counts(&after);
    assert_int_equal(used_of(budget).used_bytes, 0);
    assert_true(nth < 400);
  }
  assert_true(nth > 40);
  assert_int_equal(after.pools, before.pools);
  assert_int_equal(after.streams, before.streams);
  assert_int_equal(after.pool_blocks, before.pool_blocks);
  tarn_budget_release(budget);
}

int run_driver_pool_tell_tests(void) {
  return run_listed_tests(fixture_setup, fixture_teardown);
}
