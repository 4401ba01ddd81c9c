/* test_over_pool.c: what all adaptors share, by a limit that is none: whose blocks they take, what
 * they tell of themselves and what they hand through. */
#include "alloc/adapters/pools/tarn_limit_pool.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "alloc/adapters/pools/over_desk.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_maintenance.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pause.h"
#include "alloc/tarn_pool_trace.h"
#include "alloc/tarn_share.h"
#include "alloc/tarn_tag.h"
#include "tests/adapters/pools/adaptor_fixture.h"
#include "tests/support/child.h"

/* An adaptor without a limit, which owns the only reference of its upstream. */
static tarn_pool *make_plain(tarn_pool *upstream) {
  tarn_pool *pool = NULL;
  assert_ok(tarn_limit_pool_create(upstream, NULL, &pool));
  tarn_pool_release(upstream);
  return pool;
}

TEST(a_block_of_the_upstreams_own_is_refused) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool_retain(upstream);
  tarn_pool *pool = make_plain(upstream);
  tarn_stream *stream = NULL;
  void *others = NULL;
  assert_ok(tarn_worker_stream_create(&stream));
  assert_ok(tarn_pool_alloc(upstream, 1000, NULL, &others));
  assert_status(tarn_pool_free(pool, others, NULL), TARN_NOT_FOUND);
  assert_status(tarn_pool_note_use(pool, others, stream), TARN_NOT_FOUND);
  assert_int_equal(stats_of(pool).requested_bytes, 0);
  assert_int_equal(stats_of(upstream).requested_bytes, 1000);
  assert_ok(tarn_pool_free(upstream, others, NULL));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  tarn_pool_release(upstream);
}

TEST(each_level_counts_what_it_lent_out) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool_retain(upstream);
  tarn_pool *lower = make_plain(upstream);
  tarn_pool_retain(lower);
  tarn_pool *upper = make_plain(lower);
  tarn_pool *const levels[] = {upstream, lower, upper};
  void *blocks[3];
  for (size_t index = 0; index < 3; index++) {
    assert_ok(tarn_pool_alloc(levels[index], 1000, NULL, &blocks[index]));
  }
  for (size_t index = 0; index < 3; index++) {
    const tarn_pool_stats stats = stats_of(levels[index]);
    assert_int_equal(stats.requested_bytes, (3 - index) * 1000);
    assert_int_equal(stats.alloc_count, 3 - index);
    assert_int_equal(stats.reserved_bytes, stats_of(upstream).reserved_bytes);
    assert_true(stats.allocated_bytes <= stats.active_bytes);
  }
  for (size_t index = 0; index < 3; index++) {
    assert_ok(tarn_pool_free(levels[index], blocks[index], NULL));
  }
  assert_int_equal(stats_of(lower).requested_bytes_peak, 2000);
  assert_ok(tarn_pool_reset_peaks(upper));
  for (size_t index = 0; index < 3; index++) {
    assert_int_equal(stats_of(levels[index]).requested_bytes_peak, 0);
  }
  tarn_pool_release(upper);
  tarn_pool_release(lower);
  tarn_pool_release(upstream);
}

TEST(a_free_that_the_upstream_refuses_leaves_the_block_lent_out) {
  static _Alignas(64) char block[4096];
  scripted_pool script = {.block = block, .free_status = TARN_NOT_SUPPORTED};
  tarn_pool *pool = make_plain(make_scripted_pool(&script));
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  const tarn_pool_stats before = stats_of(pool);
  assert_status(tarn_pool_free(pool, address, NULL), TARN_NOT_SUPPORTED);
  const tarn_pool_stats after = stats_of(pool);
  assert_memory_equal(&before, &after, sizeof before);
  tarn_pool_release(pool);
  assert_int_equal(script.destroy_count, 0); /* the block keeps both */
  script.free_status = TARN_OK;
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_int_equal(script.free_count, 1);
  assert_int_equal(script.destroy_count, 1);
}

/* As a storage has one that its owner asks for. */
TEST(a_handle_that_comes_up_after_the_last_is_lent_memory_again) {
  static _Alignas(64) char block[4096];
  scripted_pool script = {.block = block};
  tarn_pool *pool = make_plain(make_scripted_pool(&script));
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  tarn_pool_release(pool);
  tarn_pool_retain(pool); /* the block has kept it */
  for (int round = 0; round < 3; round++) {
    assert_ok(tarn_pool_free(pool, address, NULL));
    assert_int_equal(script.destroy_count, 0);
    script.alloc_status = TARN_OUT_OF_MEMORY;
    assert_status(tarn_pool_alloc(pool, 1000, NULL, &address), TARN_OUT_OF_MEMORY);
    script.alloc_status = TARN_OK;
    assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  }
  tarn_pool_release(pool);
  assert_int_equal(script.destroy_count, 0);
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_int_equal(script.destroy_count, 1);
}

TEST(a_release_without_blocks_takes_the_pool_down_with_what_threads_keep) {
  static _Alignas(64) char block[4096];
  scripted_pool script = {.block = block};
  tarn_pool *pool = make_plain(make_scripted_pool(&script));
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  assert_ok(tarn_pool_free(pool, address, NULL));
  tarn_pool_release(pool);
  assert_int_equal(script.destroy_count, 1);
}

static void lend_it_again(void *context) {
  void *address = NULL;
  assert_ok(tarn_pool_alloc(context, 500, NULL, &address));
}

TEST(an_address_may_be_lent_again_before_its_free_returns) {
  static _Alignas(64) char block[4096];
  scripted_pool script = {.block = block};
  tarn_pool *pool = make_plain(make_scripted_pool(&script));
  void *address = NULL;
  size_t size_bytes = 0;
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  assert_ok(tarn_pool_size_of(pool, address, &size_bytes));
  assert_int_equal(size_bytes, 1000);
  script.in_call_context = pool;
  script.in_call = lend_it_again;
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_ok(tarn_pool_size_of(pool, address, &size_bytes));
  assert_int_equal(size_bytes, 500);
  assert_int_equal(stats_of(pool).requested_bytes, 500);
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_status(tarn_pool_free(pool, address, NULL), TARN_NOT_FOUND);
  tarn_pool_release(pool);
}

TEST(what_the_upstream_cannot_is_refused) {
  static _Alignas(64) char block[4096];
  scripted_pool script = {.block = block};
  tarn_pool *pool = make_plain(make_scripted_pool(&script));
  tarn_pool *backup = make_pages_pool();
  const tarn_pause_options pause = {.struct_size = sizeof pause, .backup = backup};
  void *address = NULL;
  tarn_share_memory memory = {.size_bytes = 100};
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &address));
  assert_status(tarn_pool_pause(pool, &pause, NULL), TARN_NOT_SUPPORTED);
  assert_status(tarn_pool_resume(pool, NULL, NULL), TARN_NOT_SUPPORTED);
  assert_false(tarn_pool_is_paused(pool, address));
  assert_status(tarn_pool_reset_peaks(pool), TARN_NOT_SUPPORTED);
  assert_int_equal(stats_of(pool).requested_bytes_peak, 1000);
  assert_status(tarn_pool_share_range(pool, address, 100, NULL, false, &memory),
                TARN_NOT_SUPPORTED);
  assert_status(tarn_pool_share_range(pool, &memory, 100, NULL, false, &memory), TARN_NOT_FOUND);
  script.alloc_status = TARN_OUT_OF_MEMORY;
  void *more = &more;
  assert_status(tarn_pool_alloc(pool, 1000, NULL, &more), TARN_OUT_OF_MEMORY);
  assert_null(more);
  assert_int_equal(stats_of(pool).out_of_memory_count, 1);
  assert_ok(tarn_pool_free(pool, address, NULL));
  tarn_pool_release(pool);
  tarn_pool_release(backup);
}

TEST(a_storage_over_adaptors_is_exported_where_the_upstream_shares) {
  const tarn_pages_options shared = {.struct_size = sizeof shared, .flags = TARN_PAGES_SHARED};
  tarn_provider *pages = NULL;
  tarn_pool *upstream = NULL;
  assert_ok(tarn_pages_provider_create(&shared, &pages));
  assert_ok(tarn_caching_pool_create(pages, NULL, &upstream));
  tarn_provider_release(pages);
  tarn_pool *pool = make_plain(make_plain(upstream));
  tarn_storage *storage = NULL;
  tarn_parcel *parcel = NULL;
  assert_ok(tarn_storage_create(pool, 5000, NULL, &storage));
  tarn_pool_release(pool);
  assert_ok(tarn_storage_export(storage, NULL, &parcel));
  assert_string_equal(tarn_parcel_kind(parcel), "file");
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  assert_int_equal(tarn_share_collect(), 0);
}

TEST(a_trace_records_what_the_adaptor_was_asked_for) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool_retain(upstream);
  tarn_pool *pool = make_plain(upstream);
  tarn_stream *stream = NULL;
  text_sink sink = {.length = 0};
  void *own = NULL;
  void *others = NULL;
  assert_ok(tarn_worker_stream_create(&stream));
  assert_ok(tarn_pool_trace_start(pool, 16));
  assert_ok(tarn_pool_alloc(upstream, 700, NULL, &others));
  assert_ok(tarn_pool_alloc(pool, 1000, NULL, &own));
  assert_ok(tarn_pool_note_use(pool, (char *)own + 10, stream));
  assert_ok(tarn_pool_free(pool, own, stream));
  assert_ok(tarn_pool_free(upstream, others, NULL));
  assert_ok(tarn_pool_trace_write(pool, 0, write_to_sink, &sink));
  char expected[256];
  const unsigned number = tarn_stream_number(stream);
  snprintf(expected, sizeof expected,
           "op,id,bytes,stream,thread\na,%ju,1000,0,0\nu,%ju,1000,%u,0\nf,%ju,1000,%u,0\n",
           (uintmax_t)(uintptr_t)own, (uintmax_t)(uintptr_t)own, number, (uintmax_t)(uintptr_t)own,
           number);
  assert_string_equal(sink.text, expected);
  assert_ok(tarn_pool_trace_stop(pool));
  assert_ok(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
  tarn_pool_release(pool);
  tarn_pool_release(upstream);
}

TEST(a_snapshot_lists_what_the_adaptor_lent_out) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool_retain(upstream);
  tarn_pool *pool = make_plain(upstream);
  void *blocks[100];
  void *others = NULL;
  assert_ok(tarn_pool_alloc(upstream, 700, NULL, &others));
  assert_ok(tarn_tag_push("adaptor snapshot"));
  for (size_t index = 0; index < 100; index++) {
    assert_ok(tarn_pool_alloc(pool, 300, NULL, &blocks[index]));
  }
  tarn_tag_pop();
  tarn_holder holder = {0};
  size_t count = 0;
  assert_ok(tarn_pool_holders(pool, &holder, 1, &count));
  assert_int_equal(count, 1);
  assert_int_equal(holder.block_count, 100);
  assert_int_equal(holder.size_bytes, 30000);
  assert_string_equal(tarn_tag_name(holder.tag), "adaptor snapshot");
  for (size_t index = 1; index < 100; index++) {
    assert_ok(tarn_pool_free(pool, blocks[index], NULL));
  }
  text_sink sink = {.length = 0};
  assert_ok(tarn_pool_snapshot(pool, write_to_sink, &sink));
  assert_non_null(strstr(sink.text, "\"lists\":\"lent\""));
  assert_non_null(strstr(sink.text, "\"requested_bytes\":300,\"allocated_bytes\":300,"));
  assert_non_null(strstr(sink.text, "\"tag\":\"adaptor snapshot\""));
  assert_ok(tarn_pool_free(pool, blocks[0], NULL));
  assert_ok(tarn_pool_free(upstream, others, NULL));
  tarn_pool_release(pool);
  tarn_pool_release(upstream);
}

TEST(a_paused_block_is_so_in_the_snapshot) {
  tarn_pool *pool = make_plain(make_pages_pool());
  const tarn_pause_options discard = {.struct_size = sizeof discard,
                                      .contents = TARN_PAUSE_DISCARD};
  void *block = NULL;
  text_sink sink = {.length = 0};
  assert_ok(tarn_pool_alloc(pool, (size_t)8 << 20, NULL, &block));
  assert_ok(tarn_pool_pause(pool, &discard, NULL));
  assert_true(tarn_pool_is_paused(pool, (char *)block + 100));
  assert_ok(tarn_pool_snapshot(pool, write_to_sink, &sink));
  assert_non_null(strstr(sink.text, "\"state\":\"paused\""));
  assert_ok(tarn_pool_resume(pool, NULL, NULL));
  assert_ok(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
}

TEST(maintenance_gives_the_upstreams_idle_memory_back) {
  const tarn_maintenance_options manual = {.struct_size = sizeof manual,
                                           .flags = TARN_MAINTENANCE_MANUAL};
  tarn_pool *pool = make_plain(make_pages_pool());
  tarn_maintenance *maintenance = NULL;
  void *block = NULL;
  assert_ok(tarn_maintenance_create(&manual, &maintenance));
  assert_ok(tarn_maintenance_add(maintenance, pool));
  assert_ok(tarn_pool_alloc(pool, (size_t)64 << 20, NULL, &block));
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_true(stats_of(pool).reserved_bytes > 0);
  for (uint64_t hour = 0; hour < 10; hour++) {
    assert_ok(tarn_maintenance_step(maintenance, 1 + hour * UINT64_C(3600000000000), NULL));
  }
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_maintenance_destroy(maintenance);
  tarn_pool_release(pool);
}

TEST(creators_clear_the_pool_and_say_what_is_wrong) {
  tarn_pool *upstream = make_pages_pool();
  tarn_pool *pool = upstream;
  const tarn_limit_pool_options wrong = {.struct_size = 1};
  assert_status(tarn_limit_pool_create(NULL, NULL, &pool), TARN_INVALID_ARGUMENT);
  assert_null(pool);
  assert_status(tarn_limit_pool_create(upstream, NULL, NULL), TARN_INVALID_ARGUMENT);
  pool = upstream;
  assert_status(tarn_limit_pool_create(upstream, &wrong, &pool), TARN_INVALID_ARGUMENT);
  assert_null(pool);
  const tarn_limit_pool_options named = {.struct_size = sizeof named, .name = "mine"};
  assert_ok(tarn_limit_pool_create(upstream, &named, &pool));
  assert_string_equal(tarn_pool_name(pool), "mine");
  tarn_pool_release(pool);
  assert_ok(tarn_limit_pool_create(upstream, NULL, &pool));
  char expected[128];
  snprintf(expected, sizeof expected, "limit over %s", tarn_pool_name(upstream));
  assert_string_equal(tarn_pool_name(pool), expected);
  assert_null(tarn_pool_context(pool, NULL));
  assert_null(tarn_pool_context(NULL, NULL));
  tarn_pool_release(pool);
  tarn_pool_release(upstream);
}

/* Stacks lie one behind the other with a page between them, or on whole megabytes. */
TEST(threads_whose_stacks_lie_evenly_have_desks_of_their_own) {
  static const size_t steps[] = {(8 << 20) + 4096, 2 << 20, 10 << 20, 66 << 20};
  (void)state;
  for (size_t step = 0; step < COUNT_OF(steps); step++) {
    uint32_t taken = 0;
    for (size_t index = 0; index < 8; index++) {
      const uintptr_t thread = (uintptr_t)0x7f64800016c0 + index * steps[step];
      const uint32_t desk = UINT32_C(1) << tarn__over_desk_index(thread);
      assert_int_equal(taken & desk, 0);
      taken |= desk;
    }
  }
}

typedef struct busy_thread {
  tarn_pool *pool;
  void *block;
  atomic_bool is_over;
} busy_thread;

/* Asks the adaptor alone, which has nothing that a fork waits for. */
static void *ask_pool(void *argument) {
  busy_thread *self = argument;
  while (!atomic_load(&self->is_over)) {
    size_t size_bytes = 0;
    if (tarn_pool_size_of(self->pool, self->block, &size_bytes) != TARN_OK) return self;
  }
  return NULL;
}

static void *use_pool(void *argument) {
  busy_thread *self = argument;
  while (!atomic_load(&self->is_over)) {
    void *address = NULL;
    if (tarn_pool_alloc(self->pool, 1000, NULL, &address) != TARN_OK) return self;
    if (tarn_pool_free(self->pool, address, NULL) != TARN_OK) return self;
  }
  return NULL;
}

static int use_in_child(tarn_pool *pool, void *block) {
  void *more = NULL;
  alarm(CHILD_SECONDS);
  CHECK(tarn_pool_alloc(pool, 5000, NULL, &more) == TARN_OK);
  memset(more, 1, 5000);
  CHECK(tarn_pool_free(pool, more, NULL) == TARN_OK);
  CHECK(tarn_pool_free(pool, block, NULL) == TARN_OK);
  return 0;
}

TEST(a_child_of_fork_uses_the_adaptors_that_it_finds) {
  busy_thread busy = {.pool = make_plain(make_plain(make_pages_pool()))};
  pthread_t threads[2];
  assert_ok(tarn_pool_alloc(busy.pool, 5000, NULL, &busy.block));
  assert_int_equal(pthread_create(&threads[0], NULL, use_pool, &busy), 0);
  assert_int_equal(pthread_create(&threads[1], NULL, ask_pool, &busy), 0);
  for (int round = 0; round < 40; round++) {
    const pid_t child = fork();
    if (child == 0) _exit(use_in_child(busy.pool, busy.block));
    assert_int_equal(exit_code_of(child), 0);
  }
  atomic_store(&busy.is_over, true);
  for (int index = 0; index < 2; index++) {
    void *failed = NULL;
    pthread_join(threads[index], &failed);
    assert_null(failed);
  }
  assert_ok(tarn_pool_free(busy.pool, busy.block, NULL));
  tarn_pool_release(busy.pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
