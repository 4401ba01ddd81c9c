/* test_fork_storm.c: forks while eight threads use pools, streams and budgets, and while others
 * hold locks nearly all the time. */
#include "tests/alloc/caching_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pool_provider.h"
#include "alloc/tarn_poison.h"
#include "alloc/tarn_pool_trace.h"
#include "alloc/tarn_storage.h"
#include "alloc/tarn_tag.h"
#include "tensor/tarn_dlpack.h"
#include "tests/support/child.h"
#include "tests/support/manual_stream.h"
#include "tests/support/pools.h"

enum { THREADS = 8, FORKS = 40 };

/* --- what is shared --- */

enum { RANGE, SMALL, OVER, FIXED, POOLS };

static struct {
  tarn_budget *budget;
  char *fixed_range;
  tarn_pool *pools[POOLS];
  tarn_stream *streams[2];
  atomic_bool is_over;
} shared;

static tarn_pool *make_pool(tarn_provider *provider, size_t limit_bytes) {
  const tarn_caching_options options = {
      .struct_size = sizeof options, .limit_bytes = limit_bytes, .budget = shared.budget};
  return pool_over(provider, &options);
}

static tarn_provider *make_pages(void) {
  tarn_provider *provider = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  return provider;
}

static void set_up(void) {
  memset(&shared, 0, sizeof shared);
  const tarn_budget_options options = {.struct_size = sizeof options, .limit_bytes = 96 * MIB};
  assert_ok(tarn_budget_create(&options, &shared.budget));
  shared.pools[RANGE] = make_pool(make_pages(), 0);
  shared.pools[SMALL] =
      make_pool(make_pages(), 4 * MIB); /* always short: it gives back and waits */
  tarn_provider *over = NULL;
  assert_ok(tarn_pool_provider_create(shared.pools[RANGE], NULL, &over));
  shared.pools[OVER] = make_pool(over, 0);
  const size_t range_bytes = 16 * MIB;
  shared.fixed_range = malloc(range_bytes);
  tarn_provider *fixed = NULL;
  assert_ok(tarn_fixed_provider_create(shared.fixed_range, range_bytes, NULL, &fixed));
  shared.pools[FIXED] = make_pool(fixed, 0);
  for (int i = 0; i < 2; i++) assert_ok(tarn_worker_stream_create(&shared.streams[i]));
}

static void release_all(void) {
  for (int i = 0; i < 2; i++) tarn_stream_release(shared.streams[i]);
  for (int i = POOLS; i-- > 0;) tarn_pool_release(shared.pools[i]);
  tarn_budget_release(shared.budget);
}

static void tear_down(void) {
  release_all();
  free(shared.fixed_range);
}

/* --- what the parent's threads do --- */

static void fill(void *address, size_t size_bytes, uint64_t seed) {
  memset(address, (int)(seed % 251), size_bytes);
}

static bool is_filled(const void *address, size_t size_bytes, uint64_t seed) {
  const unsigned char *bytes = address;
  return bytes[0] == seed % 251 && bytes[size_bytes - 1] == seed % 251;
}

static size_t random_bytes(uint64_t *random) {
  const unsigned shift = (unsigned)(test_random(random) % 15);
  return 16 + test_random(random) % ((size_t)64 << shift);
}

static void use_pool(tarn_pool *pool, uint64_t *random) {
  void *blocks[8] = {NULL};
  size_t sizes[8] = {0};
  for (int i = 0; i < 8; i++) {
    sizes[i] = random_bytes(random);
    if (tarn_pool_alloc(pool, sizes[i], NULL, &blocks[i]) != TARN_OK) continue;
    fill(blocks[i], sizes[i], (uint64_t)(uintptr_t)blocks[i]);
  }
  for (int i = 0; i < 8; i++) {
    if (blocks[i] == NULL) continue;
    assert_true(is_filled(blocks[i], sizes[i], (uint64_t)(uintptr_t)blocks[i]));
    assert_ok(tarn_pool_free(pool, blocks[i], NULL));
  }
}

static void use_stream(tarn_pool *pool, tarn_stream *stream, tarn_stream *other, uint64_t *random) {
  const size_t size_bytes = random_bytes(random);
  tarn_storage *storage = NULL;
  if (tarn_storage_create(pool, size_bytes, stream, &storage) != TARN_OK) return;
  assert_ok(tarn_stream_fill(stream, tarn_storage_data_mutable(storage),
                             tarn_device_make(TARN_DEVICE_CPU, 0), 7, size_bytes));
  tarn_fence *fence = NULL;
  assert_ok(tarn_fence_create(stream, &fence));
  assert_ok(tarn_fence_record(fence, stream));
  assert_ok(tarn_stream_wait(other, fence));
  assert_ok(tarn_storage_note_use(storage, other));
  if (test_random(random) % 4 == 0) assert_ok(tarn_fence_synchronize(fence));
  tarn_fence_destroy(fence);
  tarn_storage_release(storage);
}

static void *be_busy(void *argument) {
  uint64_t random = (uint64_t)(uintptr_t)argument;
  uint64_t now_ns = 0;
  while (!atomic_load(&shared.is_over)) {
    tarn_pool *pool = shared.pools[test_random(&random) % POOLS];
    assert_ok(tarn_tag_push(test_random(&random) % 2 == 0 ? "even" : "odd"));
    use_pool(pool, &random);
    use_stream(pool, shared.streams[random % 2], shared.streams[(random + 1) % 2], &random);
    tarn_tag_pop();
    if (test_random(&random) % 16 == 0) assert_ok(tarn_pool_trim(pool, 0, NULL));
    if (test_random(&random) % 16 == 1) {
      now_ns += 2000000000;
      assert_ok(tarn_pool_decay(pool, now_ns, NULL));
    }
    tarn_pool_stats stats = {.struct_size = sizeof stats};
    if (test_random(&random) % 16 == 2) assert_ok(tarn_pool_stats_of(pool, &stats));
  }
  return NULL;
}

/* --- what a child does: the line that went wrong, or 0 --- */

static int check_stats(tarn_pool *pool) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  CHECK(tarn_pool_stats_of(pool, &stats) == TARN_OK);
  CHECK(stats.requested_bytes <= stats.allocated_bytes);
  CHECK(stats.allocated_bytes <= stats.active_bytes);
  CHECK(stats.active_bytes <= stats.reserved_bytes);
  return 0;
}

static int use_pool_in_child(tarn_pool *pool, uint64_t *random) {
  void *held[32];
  size_t sizes[32];
  for (int i = 0; i < 32; i++) {
    sizes[i] = 1 + test_random(random) % 4096;
    CHECK(tarn_pool_alloc(pool, sizes[i], NULL, &held[i]) == TARN_OK);
    fill(held[i], sizes[i], (uint64_t)i);
  }
  for (int i = 0; i < 32; i++) {
    CHECK(is_filled(held[i], sizes[i], (uint64_t)i));
    CHECK(tarn_pool_free(pool, held[i], NULL) == TARN_OK);
  }
  return check_stats(pool);
}

static int use_streams_in_child(uint64_t *random) {
  for (int i = 0; i < 2; i++) {
    tarn_stream *stream = shared.streams[i];
    CHECK(tarn_stream_synchronize(stream) == TARN_OK); /* nothing is waited for */
    for (int round = 0; round < 4; round++) {
      const size_t size_bytes = 1 + test_random(random) % 4096;
      tarn_storage *storage = NULL;
      CHECK(tarn_storage_create(shared.pools[RANGE], size_bytes, stream, &storage) == TARN_OK);
      unsigned char *bytes = tarn_storage_data_mutable(storage);
      CHECK(tarn_stream_fill(stream, bytes, tarn_storage_device(storage), 9, size_bytes) ==
            TARN_OK);
      CHECK(tarn_stream_synchronize(stream) == TARN_OK);
      CHECK(bytes[0] == 9 && bytes[size_bytes - 1] == 9);
      tarn_storage_release(storage);
    }
  }
  return 0;
}

static void *use_pools_elsewhere(void *result) {
  uint64_t random = 77;
  for (int i = 0; i < POOLS && *(int *)result == 0; i++) {
    *(int *)result = use_pool_in_child(shared.pools[i], &random);
  }
  return NULL;
}

static int use_all_in_child(void) {
  alarm(CHILD_SECONDS);
  uint64_t random = 5;
  int wrong = 0;
  for (int i = 0; i < POOLS && wrong == 0; i++) {
    wrong = use_pool_in_child(shared.pools[i], &random);
    CHECK(tarn_pool_trim(shared.pools[i], 0, NULL) == TARN_OK);
  }
  if (wrong != 0) return wrong;
  if (CHILD_HAS_THREADS) {
    wrong = use_streams_in_child(&random);
    if (wrong != 0) return wrong;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, use_pools_elsewhere, &wrong) == 0);
    pthread_join(thread, NULL);
    if (wrong != 0) return wrong;
  }
  for (int i = 0; i < POOLS; i++) {
    wrong = check_stats(shared.pools[i]);
    if (wrong != 0) return wrong;
  }
  /* What the budget counts is what the pools have: nothing of what was under way is left. */
  size_t reserved_bytes = 0;
  for (int i = 0; i < POOLS; i++) {
    tarn_pool_stats stats = {.struct_size = sizeof stats};
    CHECK(tarn_pool_stats_of(shared.pools[i], &stats) == TARN_OK);
    reserved_bytes += stats.reserved_bytes;
  }
  tarn_budget_stats used = {.struct_size = sizeof used};
  CHECK(tarn_budget_stats_of(shared.budget, &used) == TARN_OK);
  CHECK(used.used_bytes == reserved_bytes);
  release_all();
  return 0;
}

/* --- the tests --- */

/* AddressSanitizer's allocator holds no lock of its own around a fork: where another thread of the
 * parent was inside of it, the child hangs at its next malloc or free, whatever tarn does. */
static const bool is_malloc_lost_in_children = TARN_POISON_WATCHER == TARN_POISON_ADDRESS_SANITIZER;

TEST(children_use_what_eight_threads_were_using) {
  if (is_malloc_lost_in_children) skip();
  set_up();
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, be_busy, (void *)(uintptr_t)(i + 1)), 0);
  }
  uint64_t random = 3;
  for (int round = 0; round < FORKS; round++) {
    use_pool(shared.pools[test_random(&random) % POOLS], &random);
    const pid_t child = fork();
    if (child == 0) _exit(use_all_in_child());
    assert_int_equal(exit_code_of(child), 0);
  }
  atomic_store(&shared.is_over, true);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < POOLS; i++) assert_int_equal(check_stats(shared.pools[i]), 0);
  tear_down();
}

/* --- locks that other threads hold nearly all the time --- */

typedef struct hammered {
  tarn_budget *budget;
  tarn_provider *fixed;
  tarn_storage *blob;
  tarn_stream *stream;
  tarn_fence *fence;
} hammered;

static tarn_status hit_budget(const hammered *on) {
  const tarn_status status = tarn_budget_charge(on->budget, 1);
  if (status == TARN_OK) tarn_budget_pay_back(on->budget, 1);
  return status;
}

static tarn_status hit_fixed(const hammered *on) {
  void *block = NULL;
  tarn_status status = tarn_provider_alloc(on->fixed, 4096, &block);
  if (status == TARN_OK) status = tarn_provider_free(on->fixed, block, 4096);
  return status;
}

static tarn_status hit_blob(const hammered *on) {
  return tarn_storage_note_use(on->blob, on->stream);
}

static tarn_status hit_fence(const hammered *on) {
  const tarn_status status = tarn_fence_query(on->fence);
  return status == TARN_NOT_READY ? TARN_OK : status;
}

static tarn_status hit_order(const hammered *on) {
  (void)on;
  tarn_stream_release(make_stream());
  return TARN_OK;
}

static tarn_status hit_exchange(const hammered *on) {
  (void)on;
  return tarn_dlpack_set_exchange_pool(tarn_device_make(TARN_DEVICE_CPU, 0), NULL);
}

static tarn_status (*const hits[])(const hammered *) = {hit_budget, hit_fixed, hit_blob,
                                                        hit_fence,  hit_order, hit_exchange};

typedef struct hammer {
  pthread_t thread;
  const hammered *on;
  tarn_status (*hit)(const hammered *);
} hammer;

static void *hammer_on(void *argument) {
  const hammer *self = argument;
  while (!atomic_load(&shared.is_over)) assert_ok(self->hit(self->on));
  return NULL;
}

static int hit_all(const hammered *on) {
  alarm(CHILD_SECONDS);
  for (size_t i = 0; i < COUNT_OF(hits); i++) CHECK(hits[i](on) == TARN_OK);
  return 0;
}

TEST(a_childs_locks_are_free) {
  atomic_store(&shared.is_over, false);
  hammered on = {0};
  char *range = malloc(8 * 4096);
  const tarn_blob blob = {.struct_size = sizeof blob, .address = range, .size_bytes = 8};
  assert_ok(tarn_budget_create(NULL, &on.budget));
  assert_ok(tarn_fixed_provider_create(range, (size_t)8 * 4096, NULL, &on.fixed));
  assert_ok(tarn_storage_wrap(&blob, &on.blob));
  assert_ok(tarn_worker_stream_create(&on.stream));
  assert_ok(tarn_fence_create(on.stream, &on.fence));
  assert_ok(tarn_fence_record(on.fence, on.stream));
  hammer hammers[COUNT_OF(hits)];
  for (size_t i = 0; i < COUNT_OF(hits); i++) {
    hammers[i] = (hammer){.on = &on, .hit = hits[i]};
    assert_int_equal(pthread_create(&hammers[i].thread, NULL, hammer_on, &hammers[i]), 0);
  }
  for (int round = 0; round < FORKS; round++) {
    const pid_t child = fork();
    if (child == 0) _exit(hit_all(&on));
    assert_int_equal(exit_code_of(child), 0);
  }
  atomic_store(&shared.is_over, true);
  for (size_t i = 0; i < COUNT_OF(hits); i++) pthread_join(hammers[i].thread, NULL);
  tarn_fence_destroy(on.fence);
  tarn_storage_release(on.blob);
  tarn_stream_release(on.stream);
  tarn_provider_release(on.fixed);
  tarn_budget_release(on.budget);
  free(range);
}

/* --- a trace that another thread copies nearly all the time --- */

enum { TRACED_ENTRIES = 1 << 16 }; /* many, so that they take long to copy */

static tarn_status refuse_text(void *context, const char *piece, size_t piece_bytes) {
  (void)context, (void)piece, (void)piece_bytes;
  return TARN_UNAVAILABLE;
}

static void *copy_trace(void *pool) {
  while (!atomic_load(&shared.is_over)) {
    assert_status(tarn_pool_trace_write(pool, 0, refuse_text, NULL), TARN_UNAVAILABLE);
  }
  return NULL;
}

/* It asks the C library for nothing: a sanitizer's locks need not be free. */
static int use_traced(tarn_pool *pool) {
  alarm(CHILD_SECONDS);
  void *block = NULL;
  CHECK(tarn_pool_alloc(pool, 256, NULL, &block) == TARN_OK);
  CHECK(tarn_pool_free(pool, block, NULL) == TARN_OK);
  return 0;
}

TEST(a_child_records_while_the_trace_is_copied) {
  atomic_store(&shared.is_over, false);
  tarn_pool *pool = make_range_pool(0);
  assert_ok(tarn_pool_trace_start(pool, TRACED_ENTRIES));
  for (int i = 0; i < TRACED_ENTRIES / 2; i++) give(pool, take(pool, 256, NULL), NULL);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, copy_trace, pool), 0);
  for (int round = 0; round < FORKS; round++) {
    const pid_t child = fork();
    if (child == 0) _exit(use_traced(pool));
    assert_int_equal(exit_code_of(child), 0);
  }
  atomic_store(&shared.is_over, true);
  pthread_join(thread, NULL);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
