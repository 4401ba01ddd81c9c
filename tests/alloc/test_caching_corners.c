/* test_caching_corners.c: corners of the caching pool in which a defect could hide: what other
 * threads do meanwhile, and what must not change. */
#include "tests/support/test.h"

#include <pthread.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/asleep.h"
#include "tests/support/manual_stream.h"

static tarn_pool *shared_pool;
static pthread_t other_thread;
static tarn_status other_status;

static asleep_thread other_state;

static void *take_in_another_thread(void *argument) {
  (void)argument;
  void *address = NULL;
  asleep_here(&other_state);
  other_status = tarn_pool_alloc(shared_pool, 2 * MIB, NULL, &address);
  asleep_done(&other_state);
  return NULL;
}

/* In the middle of a growth that takes the pool to its limit. */
static void grow_at_the_same_time(void) {
  assert_int_equal(pthread_create(&other_thread, NULL, take_in_another_thread, NULL), 0);
  asleep_wait(&other_state);
}

TEST(threads_that_grow_at_once_respect_the_limit) {
  shared_pool = make_segment_pool(2 * MIB);
  other_state = (asleep_thread){0};
  provided.interlude = grow_at_the_same_time;
  void *block = take(shared_pool, 2 * MIB, NULL);
  assert_int_equal(pthread_join(other_thread, NULL), 0);
  assert_int_equal(other_status, TARN_OUT_OF_MEMORY);
  assert_int_equal(provided.live_bytes, 2 * MIB);
  give(shared_pool, block, NULL);
  tarn_pool_release(shared_pool);
}

TEST(an_aligned_block_is_not_lent_before_its_users_are_done) {
  tarn_pool *pool = make_segment_pool(4 * MIB);
  tarn_stream *a = make_stream();
  void *block = take(pool, 4 * MIB, a);
  work(a);
  give(pool, block, a);
  manual_fail_records = manual_fail_synchronizes = 100;
  void *address = &address;
  assert_status(tarn_pool_alloc_aligned(pool, 4 * MIB, 4096, NULL, &address), TARN_OUT_OF_MEMORY);
  assert_null(address);
  manual_fail_records = manual_fail_synchronizes = 0;
  assert_ok(tarn_pool_alloc_aligned(pool, 4 * MIB, 4096, NULL, &address));
  assert_int_equal(manual_stream_pending(a), 0);
  give(pool, address, NULL);
  tarn_stream_release(a);
  tarn_pool_release(pool);
}

/* --- life and figures --- */

TEST(a_pool_waits_for_its_users_before_it_goes) {
  tarn_pool *pool = make_segment_pool(0);
  tarn_stream *a = make_stream();
  void *block = take(pool, 2 * MIB, a);
  work(a);
  give(pool, block, a);
  tarn_pool_release(pool);
  assert_int_equal(manual_stream_pending(a), 0);
  assert_int_equal(provided.live_bytes, 0);
  tarn_stream_release(a);
}

TEST(peaks_stay_when_the_memory_goes) {
  tarn_pool *pool = make_segment_pool(0);
  void *large = take(pool, 6 * MIB - 100, NULL);
  give(pool, large, NULL);
  assert_ok(tarn_pool_trim(pool, 0, NULL));
  void *small = take(pool, 2 * MIB - 100, NULL);
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.requested_bytes, 2 * MIB - 100);
  assert_int_equal(stats.reserved_bytes, 2 * MIB);
  assert_int_equal(stats.requested_bytes_peak, 6 * MIB - 100);
  assert_int_equal(stats.allocated_bytes_peak, 6 * MIB);
  assert_int_equal(stats.reserved_bytes_peak, 6 * MIB);
  assert_int_equal(stats.alloc_count, 2);
  assert_int_equal(stats.free_count, 1);
  give(pool, small, NULL);
  tarn_pool_release(pool);
}

/* Two blocks of one thread, of which one is at home whenever anybody looks. */
TEST(a_peak_between_two_looks_is_seen) {
  tarn_pool *pool = make_range_pool(0);
  void *large = take(pool, 2 * MIB, NULL); /* lets the thread keep more than one block */
  void *first = take(pool, 4096, NULL);
  give(pool, first, NULL);
  void *second = take(pool, 64 * 1024, NULL);
  const tarn_pool_stats before = stats_of(pool);
  assert_ptr_equal(take(pool, 4096, NULL), first);
  give(pool, first, NULL);
  const tarn_pool_stats after = stats_of(pool);
  assert_int_equal(after.allocated_bytes, before.allocated_bytes);
  assert_int_equal(after.allocated_bytes_peak, 2 * MIB + 64 * 1024 + 4096);
  assert_int_equal(after.requested_bytes_peak, 2 * MIB + 64 * 1024 + 4096);
  give(pool, second, NULL);
  give(pool, large, NULL);
  tarn_pool_release(pool);
}

TEST(a_kept_block_carries_the_tag_of_its_next_owner) {
  tarn_pool *pool = make_range_pool(0);
  void *block = NULL;
  for (int index = 0; index < 4; index++) {
    assert_ok(tarn_tag_push(index % 2 == 0 ? "before" : "after"));
    const uint32_t tag = tarn_tag_current();
    void *again = take(pool, 4096, NULL);
    if (block != NULL) assert_ptr_equal(again, block);
    block = again;
    tarn_tag_pop();
    tarn_holder holder;
    size_t count = 0;
    assert_ok(tarn_pool_holders(pool, &holder, 1, &count));
    assert_int_equal(count, 1);
    assert_int_equal(holder.tag, tag);
    give(pool, block, NULL);
  }
  tarn_pool_release(pool);
}

/* --- growing and reclaiming --- */

TEST(a_range_grows_behind_memory_that_is_still_in_use) {
  tarn_pool *pool = make_range_pool(0);
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  char *first = take(pool, 1 * MIB, a);
  char *second = take(pool, 1 * MIB, a);
  assert_ptr_equal(second, first + 1 * MIB);
  work(a);
  give(pool, second, a); /* pending, and in front of the hole */
  char *third = take(pool, 3 * MIB, b);
  assert_ptr_equal(third, second + 1 * MIB);
  assert_int_equal(manual_stream_pending(b), 0);
  char *fourth = take(pool, 2 * MIB, a); /* a's own: 1 MiB in front, and 1 behind */
  give(pool, fourth, a);
  give(pool, third, b);
  give(pool, first, a);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_pool_release(pool);
}

/* Three segments, of which two together would do: one stream used the first two, two others share
 * the third. */
TEST(reclaim_waits_for_the_fewest_streams) {
  tarn_pool *pool = make_segment_pool(6 * MIB);
  tarn_stream *one = make_stream();
  tarn_stream *shared[] = {make_stream(), make_stream()};
  void *first = take(pool, 2 * MIB, one);
  void *second = take(pool, 2 * MIB, one);
  void *left = take(pool, MIB, shared[0]);
  void *right = take(pool, MIB, shared[1]);
  assert_int_equal(provided.alloc_count, 3);
  work(one);
  work(shared[0]);
  work(shared[1]);
  give(pool, first, one);
  give(pool, second, one);
  give(pool, left, shared[0]);
  give(pool, right, shared[1]);
  tarn_stream *asking = make_stream();
  void *large = take(pool, 4 * MIB, asking);
  assert_int_equal(manual_stream_pending(one), 0);
  assert_int_equal(manual_stream_pending(shared[0]), 1);
  assert_int_equal(manual_stream_pending(shared[1]), 1);
  give(pool, large, asking);
  tarn_stream_release(one);
  tarn_stream_release(shared[0]);
  tarn_stream_release(shared[1]);
  tarn_stream_release(asking);
  tarn_pool_release(pool);
}

/* Idle memory elsewhere goes back before a pool grows beyond what it has needed at once, but not
 * what was reserved up front. */
TEST(what_was_reserved_up_front_is_not_recycled) {
  for (int is_reserved = 0; is_reserved < 2; is_reserved++) {
    tarn_pool *pool = make_range_pool(0);
    if (is_reserved) assert_ok(tarn_caching_pool_reserve(pool, 16 * MIB));
    void *blocks[8];
    for (int index = 0; index < 8; index++) blocks[index] = take(pool, 2 * MIB, NULL);
    for (int index = 0; index < 8; index += 2) give(pool, blocks[index], NULL);
    void *large = take(pool, 4 * MIB, NULL);
    if (is_reserved) {
      assert_int_equal(stats_of(pool).reserved_bytes, 20 * MIB);
    } else {
      assert_true(stats_of(pool).reserved_bytes < 20 * MIB); /* else this says nothing */
    }
    give(pool, large, NULL);
    for (int index = 1; index < 8; index += 2) give(pool, blocks[index], NULL);
    tarn_pool_release(pool);
  }
}

/* --- locks --- */

static tarn_provider *probed; /* pages, behind a provider that asks the pool at every call */
static bool is_probing;
static int probe_count;

/* Takes the pool's lock and the streams', so that this hangs where one of them is held. */
static void probe(void) {
  if (!is_probing) return;
  is_probing = false; /* the probe's own calls are not probed */
  const manual_interludes others = manual_interlude;
  manual_interlude = (manual_interludes){.before_record = NULL};
  (void)stats_of(shared_pool);
  tarn_stream_release(make_stream());
  manual_interlude = others;
  probe_count++;
  is_probing = true;
}

static tarn_status probing_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  *attributes = *tarn_provider_attributes_of(probed);
  return TARN_OK;
}

static tarn_status probing_alloc(void *context, size_t size_bytes, void **address) {
  (void)context;
  probe();
  return tarn_provider_alloc(probed, size_bytes, address);
}

static tarn_status probing_release(void *context, void *address, size_t size_bytes) {
  (void)context;
  probe();
  return tarn_provider_free(probed, address, size_bytes);
}

static tarn_status probing_reserve(void *context, size_t size_bytes, void **address) {
  (void)context;
  probe();
  return tarn_provider_reserve(probed, size_bytes, address);
}

static tarn_status probing_commit(void *context, void *address, size_t size_bytes) {
  (void)context;
  probe();
  return tarn_provider_commit(probed, address, size_bytes);
}

static tarn_status probing_decommit(void *context, void *address, size_t size_bytes) {
  (void)context;
  probe();
  return tarn_provider_decommit(probed, address, size_bytes);
}

static void work_through_all_tiers(void) {
  tarn_stream *a = make_stream();
  tarn_stream *b = make_stream();
  char *left = take(shared_pool, 2 * MIB, a);
  char *right = take(shared_pool, 2 * MIB, a);
  work(a);
  is_probing = true;
  provided.interlude = probe;
  manual_interlude =
      (manual_interludes){.before_record = probe, .after_record = probe, .before_wait = probe};
  give(shared_pool, left, a);
  give(shared_pool, right, a);
  left = take(shared_pool, 2 * MIB, b);  /* behind a */
  right = take(shared_pool, 2 * MIB, b); /* a's other block */
  give(shared_pool, left, b);
  give(shared_pool, right, b);
  left = take(shared_pool, 4 * MIB, NULL); /* waits, joins or gives back and grows */
  give(shared_pool, left, NULL);
  assert_ok(tarn_pool_trim(shared_pool, 0, NULL));
  is_probing = false;
  tarn_stream_release(a);
  tarn_stream_release(b);
}

TEST(no_provider_and_no_stream_is_called_under_a_lock) {
  alarm(60); /* where it would hang, it ends */
  shared_pool = make_segment_pool(4 * MIB);
  probe_count = 0;
  work_through_all_tiers();
  assert_int_equal(probe_count, 4); /* one growth, and the stream's three */
  tarn_pool_release(shared_pool);

  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "probing",
                                        .attributes = probing_attributes,
                                        .alloc = probing_alloc,
                                        .release = probing_release,
                                        .reserve = probing_reserve,
                                        .commit = probing_commit,
                                        .decommit = probing_decommit};
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = 4 * MIB};
  tarn_provider *provider = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &probed));
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, &options, &shared_pool));
  is_probing = true;
  void *block = take(shared_pool, 4 * MIB, NULL); /* reserves and commits */
  give(shared_pool, block, NULL);
  assert_ok(tarn_pool_trim(shared_pool, 0, NULL)); /* decommits */
  is_probing = false;
  probe_count = 0;
  work_through_all_tiers();
  assert_int_not_equal(probe_count, 0);
  tarn_pool_release(shared_pool);
  tarn_provider_release(provider);
  tarn_provider_release(probed);
  alarm(0);
}

/* Room to align is address space, which costs nothing: neither of the limit nor of the machine. */
TEST(a_limit_is_no_limit_to_the_room_for_aligning) {
  tarn_pool *pool = make_range_pool(4 * MIB);
  void *block = NULL;
  for (int round = 0; round < 3; round++) {
    assert_ok(tarn_pool_alloc_aligned(pool, 4 * MIB, 32 * MIB, NULL, &block));
    assert_int_equal((uintptr_t)block % (32 * MIB), 0);
    assert_int_equal(stats_of(pool).reserved_bytes, 4 * MIB);
    give(pool, block, NULL);
    if (round == 0) assert_ok(tarn_pool_trim(pool, 0, NULL));
    if (round != 1) continue;
    /* What is idle elsewhere makes way. */
    assert_ok(tarn_pool_trim(pool, 0, NULL));
    give(pool, take(pool, 4 * MIB, NULL), NULL);
  }
  tarn_pool_release(pool);
}

TEST(a_reserve_beyond_any_machine_is_refused) {
  tarn_pool *pool = make_range_pool(0);
  assert_status(tarn_caching_pool_reserve(pool, SIZE_MAX), TARN_TOO_LARGE);
  assert_int_equal(stats_of(pool).reserved_bytes, 0);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
