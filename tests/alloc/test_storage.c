/* test_storage.c: strong and weak references, wrapped blobs, and deleters that run exactly once. */
#include "tests/support/pools.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_storage.h"
#include "tests/support/manual_stream.h"

static tarn_pool *pool;

static int make_pool(void **state) {
  (void)state;
  tarn_provider *provider = NULL;
  tarn_status status = tarn_pages_provider_create(NULL, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, &pool);
  tarn_provider_release(provider);
  return status != TARN_OK;
}

static int release_pool(void **state) {
  (void)state;
  tarn_pool_release(pool);
  return 0;
}

static size_t live_bytes(void) {
  tarn_pool_stats stats = stats_of(pool);
  return stats.requested_bytes;
}

static void count_delete(void *context) {
  atomic_fetch_add((atomic_int *)context, 1);
}

TEST(a_storage_gives_its_block_back_with_the_last_reference) {
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_create(pool, 1000, NULL, &storage));
  assert_int_equal(live_bytes(), 1000);
  assert_int_equal(tarn_storage_size_bytes(storage), 1000);
  assert_ptr_equal(tarn_storage_pool(storage), pool);
  assert_null(tarn_storage_stream(storage));
  assert_int_equal(tarn_storage_device(storage).type, TARN_DEVICE_CPU);
  memset(tarn_storage_data_mutable(storage), 1, 1000);
  tarn_storage_retain(storage);
  assert_int_equal(tarn_storage_use_count(storage), 2);
  tarn_storage_release(storage);
  assert_int_equal(live_bytes(), 1000);
  tarn_storage_release(storage);
  assert_int_equal(live_bytes(), 0);
  tarn_storage_release(NULL);
}

TEST(a_weak_reference_locks_only_while_a_strong_one_lives) {
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_create(pool, 64, NULL, &storage));
  assert_int_equal(tarn_storage_weak_count(storage), 0);
  tarn_storage_weak_retain(storage);
  assert_int_equal(tarn_storage_weak_count(storage), 1);
  assert_true(tarn_storage_lock(storage));
  assert_int_equal(tarn_storage_use_count(storage), 2);
  tarn_storage_release(storage);
  tarn_storage_release(storage);
  assert_int_equal(live_bytes(), 0);
  assert_false(tarn_storage_lock(storage));
  assert_int_equal(tarn_storage_use_count(storage), 0);
  assert_int_equal(tarn_storage_weak_count(storage), 1);
  tarn_storage_weak_release(storage);
}

TEST(an_empty_storage_has_no_address) {
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_create(pool, 0, NULL, &storage));
  assert_null(tarn_storage_data(storage));
  assert_int_equal(tarn_storage_size_bytes(storage), 0);
  tarn_storage_release(storage);
  assert_status(tarn_storage_create(NULL, 8, NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_null(storage);
  assert_status(tarn_storage_create(pool, SIZE_MAX, NULL, &storage), TARN_TOO_LARGE);
  assert_null(storage);
}

TEST(a_blob_is_deleted_once_with_its_context) {
  char bytes[32];
  atomic_int deleted = 0;
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = bytes,
                          .size_bytes = sizeof bytes,
                          .deleter = count_delete,
                          .context = &deleted};
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_wrap(&blob, &storage));
  assert_ptr_equal(tarn_storage_data(storage), bytes);
  assert_ptr_equal(tarn_storage_data_mutable(storage), bytes);
  assert_null(tarn_storage_pool(storage));
  tarn_storage_weak_retain(storage);
  tarn_storage_retain(storage);
  tarn_storage_release(storage);
  assert_int_equal(deleted, 0);
  tarn_storage_release(storage);
  assert_int_equal(deleted, 1);
  tarn_storage_weak_release(storage);
  assert_int_equal(deleted, 1);
}

TEST(a_read_only_blob_is_not_handed_out_for_writing) {
  static const char bytes[] = "constant";
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = (void *)(uintptr_t)bytes,
                          .size_bytes = sizeof bytes,
                          .flags = TARN_STORAGE_READ_ONLY};
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_wrap(&blob, &storage));
  assert_true(tarn_storage_is_read_only(storage));
  assert_null(tarn_storage_data_mutable(storage));
  assert_null(tarn_storage_host_bytes_mutable(storage).address);
  assert_int_equal(tarn_storage_host_bytes(storage).size_bytes, tarn_storage_size_bytes(storage));
  assert_ptr_equal(tarn_storage_host_bytes(storage).address, tarn_storage_data(storage));
  assert_ptr_equal(tarn_storage_data(storage), bytes);
  tarn_storage_release(storage); /* without a deleter */
}

TEST(the_cpu_reaches_no_bytes_of_a_device) {
  char bytes[8];
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = bytes,
                          .size_bytes = sizeof bytes,
                          .device = tarn_device_make(TARN_DEVICE_CUDA, 0)};
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_wrap(&blob, &storage));
  assert_null(tarn_storage_host_bytes(storage).address);
  assert_int_equal(tarn_storage_host_bytes_mutable(storage).size_bytes, 0);
  tarn_storage_release(storage);
}

TEST(bad_blobs_are_refused_and_keep_their_deleter) {
  char bytes[8];
  atomic_int deleted = 0;
  tarn_storage *storage = NULL;
  const tarn_blob good = {.struct_size = sizeof good,
                          .address = bytes,
                          .size_bytes = sizeof bytes,
                          .deleter = count_delete,
                          .context = &deleted};
  tarn_blob blob = good;
  blob.address = NULL;
  assert_status(tarn_storage_wrap(&blob, &storage), TARN_INVALID_ARGUMENT);
  blob = good;
  blob.size_bytes = SIZE_MAX;
  assert_status(tarn_storage_wrap(&blob, &storage), TARN_TOO_LARGE);
  blob = good;
  blob.flags = 1u << 20;
  assert_status(tarn_storage_wrap(&blob, &storage), TARN_INVALID_ARGUMENT);
  blob = good;
  blob.struct_size = 4;
  assert_status(tarn_storage_wrap(&blob, &storage), TARN_INVALID_ARGUMENT);
  assert_status(tarn_storage_wrap(NULL, &storage), TARN_INVALID_ARGUMENT);
  assert_null(storage);
  assert_int_equal(deleted, 0);
}

static void *release_elsewhere(void *argument) {
  tarn_storage_release(argument);
  return NULL;
}

TEST(any_thread_may_drop_the_last_reference) {
  enum { THREADS = 4 };
  char bytes[8];
  atomic_int deleted = 0;
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = bytes,
                          .size_bytes = sizeof bytes,
                          .deleter = count_delete,
                          .context = &deleted};
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_wrap(&blob, &storage));
  pthread_t threads[THREADS];
  for (int index = 1; index < THREADS; index++) tarn_storage_retain(storage);
  for (int index = 0; index < THREADS; index++) {
    assert_int_equal(pthread_create(&threads[index], NULL, release_elsewhere, storage), 0);
  }
  for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
  assert_int_equal(deleted, 1);
}

static void read_int(void *argument) {
  int **pair = argument;
  *pair[1] = *pair[0];
}

static void forget(void *context) {
  *(int *)context = -1;
}

TEST(a_deleter_waits_for_the_streams_that_were_noted) {
  int value = 7;
  int seen = 0;
  int *pair[2] = {&value, &seen};
  tarn_stream *stream = NULL;
  assert_ok(manual_stream_create(&stream));
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = &value,
                          .size_bytes = sizeof value,
                          .deleter = forget,
                          .context = &value};
  tarn_storage *storage = NULL;
  assert_ok(tarn_storage_wrap(&blob, &storage));
  assert_ok(tarn_stream_call(stream, read_int, pair));
  assert_ok(tarn_storage_note_use(storage, stream));
  tarn_storage_release(storage);
  assert_int_equal(seen, 7); /* read before the deleter spoiled it */
  assert_int_equal(value, -1);
  tarn_stream_release(stream);
}

TEST(a_storage_is_freed_in_the_order_of_its_stream) {
  tarn_stream *stream = NULL;
  tarn_storage *storage = NULL;
  assert_ok(manual_stream_create(&stream));
  assert_ok(tarn_storage_create(pool, 100000, stream, &storage));
  const void *address = tarn_storage_data(storage);
  assert_ok(tarn_stream_fill(stream, tarn_storage_data_mutable(storage),
                             tarn_storage_device(storage), 1, 100000));
  tarn_storage_release(storage);
  tarn_storage *other = NULL;
  assert_ok(tarn_storage_create(pool, 100000, NULL, &other));
  assert_ptr_not_equal(tarn_storage_data(other), address);
  tarn_storage_release(other);
  assert_ok(tarn_storage_create(pool, 100000, stream, &other));
  assert_ptr_equal(tarn_storage_data(other), address);
  tarn_storage_release(other);
  tarn_stream_release(stream);
}

int main(void) {
  return run_listed_tests(make_pool, release_pool);
}
