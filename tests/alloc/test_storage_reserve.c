/* test_storage_reserve.c: storages that grow in place: what is committed, charged, waited for and
 * given back. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_storage.h"
#include "tests/alloc/fast_taker.h"
#include "tests/support/manual_stream.h"

enum { GRANULE = 64 << 10, CAPACITY = 16 * GRANULE };

static tarn_storage *reserve(tarn_provider *provider, size_t capacity_bytes, size_t size_bytes,
                             tarn_budget *budget) {
  const tarn_reserve_options options = {.struct_size = sizeof options,
                                        .capacity_bytes = capacity_bytes,
                                        .size_bytes = size_bytes,
                                        .budget = budget};
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_reserve(provider, &options, &storage));
  return storage;
}

static tarn_storage *reserve_pages(size_t capacity_bytes, size_t size_bytes, tarn_budget *budget) {
  tarn_provider *provider;
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  tarn_storage *storage = reserve(provider, capacity_bytes, size_bytes, budget);
  tarn_provider_release(provider); /* the storage has its own reference */
  return storage;
}

/* --- a provider that tells what it is asked, and refuses on demand --- */

typedef struct told {
  int reserves, commits, decommits, releases;
  int commits_to_fail;
  tarn_status decommit_status;
  size_t committed_bytes;
  tarn_storage *resized_within; /* while the provider is called */
  tarn_status within;
  tarn_stream *watched;
  int pending_at_decommit, pending_at_release;
} told;

static told calls;
static _Alignas(GRANULE) char range[CAPACITY];

static tarn_status told_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, 3);
  attributes->granularity_bytes = attributes->alignment_bytes = GRANULE;
  attributes->flags = TARN_PROVIDER_RESERVES;
  return TARN_OK;
}

static tarn_status told_reserve(void *context, size_t size_bytes, void **address) {
  (void)context;
  assert_int_equal(size_bytes, CAPACITY);
  calls.reserves++;
  *address = range;
  return TARN_OK;
}

static tarn_status told_commit(void *context, void *address, size_t size_bytes) {
  (void)context;
  calls.commits++;
  if (calls.resized_within != NULL) calls.within = tarn_storage_resize(calls.resized_within, 1);
  if (calls.commits_to_fail > 0) {
    calls.commits_to_fail--;
    return tarn_fail(TARN_OUT_OF_MEMORY, "told to refuse");
  }
  assert_ptr_equal(address, range + calls.committed_bytes);
  calls.committed_bytes += size_bytes;
  return TARN_OK;
}

static tarn_status told_decommit(void *context, void *address, size_t size_bytes) {
  (void)context;
  calls.decommits++;
  if (calls.watched != NULL) calls.pending_at_decommit = manual_stream_pending(calls.watched);
  if (calls.decommit_status != TARN_OK) return tarn_fail(calls.decommit_status, "told to refuse");
  calls.committed_bytes -= size_bytes;
  assert_ptr_equal(address, range + calls.committed_bytes);
  return TARN_OK;
}

static tarn_status told_release(void *context, void *address, size_t size_bytes) {
  (void)context;
  calls.releases++;
  if (calls.watched != NULL) calls.pending_at_release = manual_stream_pending(calls.watched);
  assert_ptr_equal(address, range);
  assert_int_equal(size_bytes, CAPACITY);
  return TARN_OK;
}

static tarn_status told_alloc(void *context, size_t size_bytes, void **address) {
  (void)context, (void)size_bytes, (void)address;
  return tarn_fail(TARN_OUT_OF_MEMORY, "told to reserve only");
}

static tarn_provider *make_told(void) {
  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "told",
                                        .attributes = told_attributes,
                                        .alloc = told_alloc,
                                        .release = told_release,
                                        .reserve = told_reserve,
                                        .commit = told_commit,
                                        .decommit = told_decommit};
  tarn_provider *provider;
  memset(&calls, 0, sizeof calls);
  assert_ok(tarn_provider_create(&ops, NULL, &provider));
  return provider;
}

static tarn_storage *reserve_told(size_t size_bytes, tarn_budget *budget) {
  tarn_provider *provider = make_told();
  tarn_storage *storage = reserve(provider, CAPACITY, size_bytes, budget);
  tarn_provider_release(provider);
  return storage;
}

/* --- growing --- */

TEST(it_grows_where_it_is_by_whole_granules) {
  tarn_storage *storage = reserve_pages(CAPACITY, 0, NULL);
  const void *address = tarn_storage_data(storage);
  assert_non_null(address);
  assert_int_equal(tarn_storage_size_bytes(storage), 0);
  assert_int_equal(tarn_storage_committed_bytes(storage), 0);
  assert_int_equal(tarn_storage_capacity_bytes(storage), CAPACITY);
  for (size_t size = 1; size <= CAPACITY; size += 10007) {
    assert_ok(tarn_storage_resize(storage, size));
    char *bytes = tarn_storage_data_mutable(storage);
    assert_ptr_equal(bytes, address);
    bytes[size - 1] = (char)size;
    assert_int_equal(tarn_storage_size_bytes(storage), size);
    assert_int_equal(tarn_storage_committed_bytes(storage),
                     (size + GRANULE - 1) / GRANULE * GRANULE);
  }
  for (size_t size = 1; size <= CAPACITY; size += 10007) {
    assert_int_equal(((const char *)address)[size - 1], (char)size);
  }
  assert_null(tarn_storage_pool(storage));
  assert_null(tarn_storage_stream(storage));
  assert_false(tarn_storage_is_read_only(storage));
  tarn_storage_release(storage);
}

TEST(it_begins_with_the_size_that_was_asked_for) {
  tarn_storage *storage = reserve_told(GRANULE + 1, NULL);
  assert_int_equal(tarn_storage_size_bytes(storage), GRANULE + 1);
  assert_int_equal(calls.committed_bytes, 2 * GRANULE);
  assert_int_equal(calls.commits, 1);
  assert_int_equal(tarn_storage_device(storage).type, TARN_DEVICE_CUDA);
  assert_int_equal(tarn_storage_device(storage).index, 3);
  /* What is committed already asks nobody. */
  assert_ok(tarn_storage_resize(storage, 2 * GRANULE));
  assert_int_equal(calls.commits, 1);
  assert_ok(tarn_storage_resize(storage, 2 * GRANULE + 1));
  assert_int_equal(calls.commits, 2);
  tarn_storage_release(storage);
  assert_int_equal(calls.releases, 1);
}

TEST(a_capacity_is_rounded_up_to_granules) {
  tarn_storage *storage = reserve_pages(GRANULE + 1, 0, NULL);
  assert_int_equal(tarn_storage_capacity_bytes(storage), 2 * GRANULE);
  assert_ok(tarn_storage_resize(storage, 2 * GRANULE));
  assert_status(tarn_storage_resize(storage, 2 * GRANULE + 1), TARN_OUT_OF_MEMORY);
  assert_status(tarn_storage_resize(storage, SIZE_MAX), TARN_OUT_OF_MEMORY);
  assert_int_equal(tarn_storage_size_bytes(storage), 2 * GRANULE);
  tarn_storage_release(storage);
}

/* ThreadSanitizer leaves a program 1.5 TiB, and the kernel may begin in the middle of them. */
#ifdef __SANITIZE_THREAD__
static const size_t vast_bytes = (size_t)1 << 38;
#else
static const size_t vast_bytes = (size_t)1 << 40;
#endif

TEST(a_terabyte_is_reserved_without_memory) {
  tarn_storage *storage = reserve_pages(vast_bytes, 100, NULL);
  ((char *)tarn_storage_data_mutable(storage))[99] = 1;
  assert_int_equal(tarn_storage_committed_bytes(storage), GRANULE);
  tarn_storage_release(storage);
}

/* --- shrinking --- */

TEST(shrinking_keeps_the_memory_until_it_is_trimmed) {
  tarn_storage *storage = reserve_pages(CAPACITY, CAPACITY, NULL);
  char *bytes = tarn_storage_data_mutable(storage);
  memset(bytes, 7, CAPACITY);
  assert_ok(tarn_storage_resize(storage, 10));
  assert_int_equal(tarn_storage_size_bytes(storage), 10);
  assert_int_equal(tarn_storage_committed_bytes(storage), CAPACITY);
  assert_ok(tarn_storage_resize(storage, CAPACITY));
  assert_int_equal(bytes[CAPACITY - 1], 7);
  assert_ok(tarn_storage_trim(storage)); /* nothing to give back */
  assert_int_equal(bytes[CAPACITY - 1], 7);
  assert_ok(tarn_storage_resize(storage, GRANULE + 10));
  assert_ok(tarn_storage_trim(storage));
  assert_int_equal(tarn_storage_committed_bytes(storage), 2 * GRANULE);
  assert_ok(tarn_storage_resize(storage, CAPACITY));
  assert_ptr_equal(tarn_storage_data(storage), bytes);
  assert_int_equal(bytes[2 * GRANULE - 1], 7);
  assert_int_equal(bytes[2 * GRANULE], 0);
  assert_int_equal(bytes[CAPACITY - 1], 0);
  assert_ok(tarn_storage_resize(storage, 0));
  assert_ok(tarn_storage_trim(storage));
  assert_int_equal(tarn_storage_committed_bytes(storage), 0);
  tarn_storage_release(storage);
}

static void work_on(tarn_stream *stream, tarn_storage *storage) {
  static char from[8], to[8];
  const tarn_device host = tarn_device_make(TARN_DEVICE_CPU, 0);
  assert_ok(tarn_stream_copy(stream, to, host, from, host, sizeof to));
  assert_ok(tarn_storage_note_use(storage, stream));
}

TEST(memory_is_given_back_behind_the_streams_that_use_it) {
  tarn_stream *streams[3];
  tarn_storage *storage = reserve_told(CAPACITY, NULL);
  calls.pending_at_decommit = calls.pending_at_release = -1;
  for (size_t i = 0; i < COUNT_OF(streams); i++) {
    assert_ok(manual_stream_create(&streams[i]));
    work_on(streams[i], storage);
  }
  calls.watched = streams[2];
  assert_ok(tarn_storage_resize(storage, GRANULE));
  assert_true(manual_stream_pending(streams[2]) > 0);
  assert_ok(tarn_storage_trim(storage));
  assert_int_equal(calls.decommits, 1);
  assert_int_equal(calls.pending_at_decommit, 0);
  assert_int_equal(calls.committed_bytes, GRANULE);

  work_on(streams[2], storage);
  tarn_storage_release(storage);
  assert_int_equal(calls.pending_at_release, 0);
  assert_int_equal(calls.releases, 1);
  for (size_t i = 0; i < COUNT_OF(streams); i++) tarn_stream_release(streams[i]);
}

TEST(a_stream_that_cannot_be_waited_for_keeps_the_memory) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  tarn_storage *storage = reserve_told(CAPACITY, NULL);
  work_on(stream, storage);
  assert_ok(tarn_storage_resize(storage, 0));
  manual_fail_records = manual_fail_synchronizes = 100;
  assert_int_not_equal(tarn_storage_trim(storage), TARN_OK);
  manual_fail_records = manual_fail_synchronizes = 0;
  assert_int_equal(calls.decommits, 0);
  assert_int_equal(tarn_storage_committed_bytes(storage), CAPACITY);
  assert_ok(tarn_storage_trim(storage));
  assert_int_equal(calls.committed_bytes, 0);
  tarn_storage_release(storage);
  tarn_stream_release(stream);
}

TEST(memory_that_is_not_taken_back_stays_committed) {
  tarn_budget *budget;
  assert_ok(tarn_budget_create(NULL, &budget));
  tarn_storage *storage = reserve_told(CAPACITY, budget);
  assert_ok(tarn_storage_resize(storage, 0));
  calls.decommit_status = TARN_DEVICE_ERROR;
  assert_status(tarn_storage_trim(storage), TARN_DEVICE_ERROR);
  assert_int_equal(tarn_storage_committed_bytes(storage), CAPACITY);
  calls.decommit_status = TARN_OK;
  assert_ok(tarn_storage_trim(storage));
  tarn_storage_release(storage);
  tarn_budget_release(budget);
}

/* --- refusals --- */

TEST(other_storages_do_not_grow) {
  static char bytes[100];
  tarn_provider *provider;
  tarn_pool *pool;
  tarn_storage *pooled, *wrapped;
  const tarn_blob blob = {.struct_size = sizeof blob, .address = bytes, .size_bytes = 100};
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, NULL, &pool));
  assert_ok(tarn_storage_create(pool, 1000, NULL, &pooled));
  assert_ok(tarn_storage_wrap(&blob, &wrapped));
  tarn_storage *const storages[] = {pooled, wrapped};
  for (size_t i = 0; i < COUNT_OF(storages); i++) {
    const size_t size_bytes = tarn_storage_size_bytes(storages[i]);
    assert_status(tarn_storage_resize(storages[i], 1), TARN_NOT_SUPPORTED);
    assert_status(tarn_storage_trim(storages[i]), TARN_NOT_SUPPORTED);
    assert_int_equal(tarn_storage_size_bytes(storages[i]), size_bytes);
    assert_int_equal(tarn_storage_capacity_bytes(storages[i]), size_bytes);
    assert_int_equal(tarn_storage_committed_bytes(storages[i]), size_bytes);
    tarn_storage_release(storages[i]);
  }
  assert_status(tarn_storage_resize(NULL, 1), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_trim(NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
}

TEST(wrong_options_are_refused) {
  static _Alignas(4096) char bytes[1 << 16];
  tarn_provider *fixed, *pages;
  tarn_storage *storage = (tarn_storage *)bytes;
  tarn_reserve_options options = {.struct_size = sizeof options, .capacity_bytes = 4096};
  assert_ok(tarn_pages_provider_create(NULL, &pages));
  assert_ok(tarn_fixed_provider_create(bytes, sizeof bytes, NULL, &fixed));
  assert_status(tarn_storage_reserve(fixed, &options, &storage), TARN_NOT_SUPPORTED);
  assert_null(storage);
  assert_status(tarn_storage_reserve(NULL, &options, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_reserve(pages, NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_reserve(pages, &options, NULL), TARN_INVALID_ARGUMENT);
  options.size_bytes = 4097;
  assert_status(tarn_storage_reserve(pages, &options, &storage), TARN_INVALID_ARGUMENT);
  options.capacity_bytes = options.size_bytes = 0;
  assert_status(tarn_storage_reserve(pages, &options, &storage), TARN_INVALID_ARGUMENT);
  options.capacity_bytes = SIZE_MAX;
  assert_status(tarn_storage_reserve(pages, &options, &storage), TARN_TOO_LARGE);
  options.capacity_bytes = (size_t)1 << 60;
  assert_status(tarn_storage_reserve(pages, &options, &storage), TARN_OUT_OF_MEMORY);
  options.struct_size = 1;
  assert_status(tarn_storage_reserve(pages, &options, &storage), TARN_INVALID_ARGUMENT);
  tarn_provider_release(fixed);
  tarn_provider_release(pages);
}

TEST(where_there_is_no_memory_nothing_changes) {
  tarn_storage *storage = reserve_told(GRANULE, NULL);
  calls.commits_to_fail = 1;
  assert_status(tarn_storage_resize(storage, CAPACITY), TARN_OUT_OF_MEMORY);
  assert_string_equal(tarn_last_error()->message, "told to refuse");
  assert_int_equal(tarn_storage_size_bytes(storage), GRANULE);
  assert_int_equal(tarn_storage_committed_bytes(storage), GRANULE);
  assert_ok(tarn_storage_resize(storage, CAPACITY));
  assert_int_equal(calls.committed_bytes, CAPACITY);
  tarn_storage_release(storage);

  tarn_provider *provider = make_told();
  const tarn_reserve_options options = {
      .struct_size = sizeof options, .capacity_bytes = CAPACITY, .size_bytes = 1};
  calls.commits_to_fail = 1;
  assert_status(tarn_storage_reserve(provider, &options, &storage), TARN_OUT_OF_MEMORY);
  assert_string_equal(tarn_last_error()->message, "told to refuse");
  assert_int_equal(calls.releases, 1);
  tarn_provider_release(provider);
}

TEST(one_change_at_a_time) {
  tarn_storage *storage = reserve_told(0, NULL);
  calls.resized_within = storage;
  assert_ok(tarn_storage_resize(storage, GRANULE));
  assert_int_equal(calls.within, TARN_BUSY);
  assert_int_equal(tarn_storage_size_bytes(storage), GRANULE);
  calls.resized_within = NULL;
  tarn_storage_release(storage);
}

/* --- budgets --- */

static size_t used_bytes(const tarn_budget *budget) {
  tarn_budget_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_budget_stats_of(budget, &stats));
  return stats.used_bytes;
}

TEST(what_is_committed_is_charged_and_paid_back) {
  const tarn_budget_options options = {.struct_size = sizeof options, .limit_bytes = 4 * GRANULE};
  tarn_budget *budget;
  assert_ok(tarn_budget_create(&options, &budget));
  tarn_storage *storage = reserve_told(1, budget);
  assert_int_equal(used_bytes(budget), GRANULE);
  assert_ok(tarn_storage_resize(storage, 4 * GRANULE));
  assert_int_equal(used_bytes(budget), 4 * GRANULE);
  assert_status(tarn_storage_resize(storage, 4 * GRANULE + 1), TARN_OUT_OF_MEMORY);
  assert_int_equal(calls.committed_bytes, 4 * GRANULE);
  assert_ok(tarn_storage_resize(storage, 1));
  assert_int_equal(used_bytes(budget), 4 * GRANULE);
  assert_ok(tarn_storage_trim(storage));
  assert_int_equal(used_bytes(budget), GRANULE);
  calls.commits_to_fail = 1;
  assert_status(tarn_storage_resize(storage, 2 * GRANULE), TARN_OUT_OF_MEMORY);
  assert_int_equal(used_bytes(budget), GRANULE);
  tarn_storage_release(storage);
  assert_int_equal(used_bytes(budget), 0);
  tarn_budget_release(budget);
}

/* A pool keeps what was freed, and gives it to a storage that grows under the same budget. */
TEST(a_growing_storage_gets_what_a_pool_keeps_idle) {
  const tarn_budget_options limit = {.struct_size = sizeof limit, .limit_bytes = 32 << 20};
  tarn_budget *budget;
  tarn_provider *provider;
  tarn_pool *pool;
  void *block;
  assert_ok(tarn_budget_create(&limit, &budget));
  assert_ok(tarn_pages_provider_create(NULL, &provider));
  const tarn_caching_options options = {.struct_size = sizeof options, .budget = budget};
  assert_ok(tarn_caching_pool_create(provider, &options, &pool));
  assert_ok(tarn_pool_alloc(pool, 24 << 20, NULL, &block));
  assert_ok(tarn_pool_free(pool, block, NULL));
  assert_true(used_bytes(budget) >= 24 << 20);
  tarn_storage *storage = reserve(provider, 64 << 20, 0, budget);
  assert_ok(tarn_storage_resize(storage, 30 << 20));
  assert_status(tarn_storage_resize(storage, 40 << 20), TARN_OUT_OF_MEMORY);
  assert_int_equal(tarn_storage_size_bytes(storage), 30 << 20);
  tarn_storage_release(storage);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  assert_int_equal(used_bytes(budget), 0);
  tarn_budget_release(budget);
}

TEST(a_storage_that_is_late_many_times_grows) {
  const tarn_budget_options options = {.struct_size = sizeof options, .limit_bytes = 2 * GRANULE};
  fast_taker taker = {.size_bytes = 2 * GRANULE, .left_count = 100};
  assert_ok(tarn_budget_create(&options, &taker.budget));
  tarn_storage *storage = reserve_told(0, taker.budget);
  assert_ok(tarn_budget_charge(taker.budget, 2 * GRANULE));
  assert_ok(tarn_budget_add_pressure(taker.budget, give_and_take, &taker));
  assert_ok(tarn_storage_resize(storage, 2 * GRANULE));
  assert_ok(tarn_budget_remove_pressure(taker.budget, give_and_take, &taker));
  tarn_storage_release(storage);
  tarn_budget_release(taker.budget);
}

/* --- threads --- */

static tarn_storage *shared;
static atomic_bool is_over;

/* Whatever size is seen may be touched to its last byte, and holds what was written before it was
 * announced. */
static void *read_behind(void *context) {
  (void)context;
  const size_t *words = tarn_storage_data(shared);
  while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
    const size_t count = tarn_storage_size_bytes(shared) / sizeof *words;
    if (count > 1) assert_int_equal(words[count - 2], count - 2);
  }
  return NULL;
}

TEST(others_read_while_it_grows) {
  enum { READERS = 3 };
  pthread_t readers[READERS];
  shared = reserve_pages(CAPACITY, 8, NULL);
  size_t *words = tarn_storage_data_mutable(shared);
  atomic_store(&is_over, false);
  for (int i = 0; i < READERS; i++) {
    assert_int_equal(pthread_create(&readers[i], NULL, read_behind, NULL), 0);
  }
  for (size_t count = 1; count < CAPACITY / sizeof *words; count++) {
    words[count - 1] = count - 1; /* the last word that the size covers */
    assert_ok(tarn_storage_resize(shared, (count + 1) * sizeof *words));
  }
  atomic_store(&is_over, true);
  for (int i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
  tarn_storage_release(shared);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
