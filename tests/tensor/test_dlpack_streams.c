/* test_dlpack_streams.c: what an exported tensor waits for, and what waits for its consumer. */
#include "tests/tensor/dlpack_foreign.h"

#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "tests/support/manual_stream.h"
#include "tests/support/pools.h"

enum { VALUE_COUNT = 64 };

static _Alignas(4096) char range[1 << 16];
static tarn_pool *pool;
static tarn_stream *producer, *consumer;

static int start(void **state) {
  (void)state;
  tarn_provider *provider;
  assert_ok(tarn_fixed_provider_create(range, sizeof range, NULL, &provider));
  pool = pool_over(provider, NULL);
  assert_ok(manual_stream_create(&producer));
  assert_ok(manual_stream_create(&consumer));
  manual_called = (manual_calls){0};
  return 0;
}

static int stop(void **state) {
  (void)state;
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.alloc_count, stats.free_count);
  tarn_stream_release(producer);
  tarn_stream_release(consumer);
  tarn_pool_release(pool);
  return 0;
}

static tarn_tensor bytes_on(tarn_stream *stream) {
  static const int64_t shape[] = {VALUE_COUNT};
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_U8, 1, shape, stream, &tensor));
  memset(tarn_tensor_data_mutable(&tensor), 0, VALUE_COUNT);
  return tensor;
}

static void enqueue_fill(tarn_stream *stream, void *address, uint8_t value) {
  assert_ok(
      tarn_stream_fill(stream, address, tarn_device_make(TARN_DEVICE_CPU, 0), value, VALUE_COUNT));
}

/* Enqueues on the consumer's stream a read of the tensor's first byte. */
static void enqueue_read(void *byte, const void *address) {
  const tarn_device host = {TARN_DEVICE_CPU, 0};
  assert_ok(tarn_stream_copy(consumer, byte, host, address, host, 1));
}

TEST_WITH(the_consumers_stream_runs_behind_the_producers_work, start, stop) {
  const tarn_dlpack_export_options options = {
      .struct_size = sizeof options, .producer = producer, .consumer = consumer};
  tarn_tensor tensor = bytes_on(producer);
  tarn_dl_managed_tensor_versioned *managed;
  uint8_t seen = 99;
  enqueue_fill(producer, tarn_tensor_data_mutable(&tensor), 7);
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_int_equal(manual_called.records, 1);
  assert_int_equal(manual_called.waits, 1);
  assert_int_equal(manual_called.synchronizes, 0); /* the host waits for nothing */
  enqueue_read(&seen, managed->dl_tensor.data);
  assert_int_equal(manual_stream_advance(consumer, 10), 0);
  manual_stream_advance(producer, 10);
  assert_int_equal(manual_stream_advance(consumer, 10), 2);
  assert_int_equal(seen, 7);
  managed->deleter(managed);
  tarn_tensor_release(&tensor);
}

TEST_WITH(one_and_the_same_stream_needs_no_fence, start, stop) {
  const tarn_dlpack_export_options same = {
      .struct_size = sizeof same, .producer = producer, .consumer = producer};
  const tarn_dlpack_export_options unordered = {.struct_size = sizeof unordered,
                                                .consumer = consumer};
  tarn_tensor tensor = bytes_on(producer);
  tarn_dl_managed_tensor_versioned *managed;
  enqueue_fill(producer, tarn_tensor_data_mutable(&tensor), 7);
  assert_ok(tarn_dlpack_export(&tensor, &same, &managed));
  managed->deleter(managed);
  assert_ok(tarn_dlpack_export(&tensor, &unordered, &managed)); /* DLPack's stream -1 */
  managed->deleter(managed);
  assert_int_equal(manual_called.records, 0);
  assert_int_equal(manual_called.waits, 0);
  assert_int_equal(manual_called.synchronizes, 0);
  tarn_tensor_release(&tensor);
}

TEST_WITH(for_a_consumer_on_the_cpu_the_work_is_done_at_once, start, stop) {
  const tarn_dlpack_export_options options = {.struct_size = sizeof options, .producer = producer};
  tarn_tensor tensor = bytes_on(producer);
  tarn_dl_managed_tensor *managed;
  enqueue_fill(producer, tarn_tensor_data_mutable(&tensor), 7);
  assert_ok(tarn_dlpack_export_legacy(&tensor, &options, &managed));
  assert_int_equal(*(const uint8_t *)managed->dl_tensor.data, 7);
  managed->deleter(managed);
  tarn_tensor_release(&tensor);
}

TEST_WITH(a_copy_runs_behind_its_source_and_before_the_consumer, start, stop) {
  const tarn_dlpack_export_options options = {.struct_size = sizeof options,
                                              .copy = TARN_DLPACK_COPY_ALWAYS,
                                              .pool = pool,
                                              .producer = producer,
                                              .consumer = consumer};
  tarn_tensor tensor = bytes_on(producer);
  tarn_dl_managed_tensor_versioned *managed;
  uint8_t seen = 99;
  enqueue_fill(producer, tarn_tensor_data_mutable(&tensor), 7);
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  enqueue_fill(producer, tarn_tensor_data_mutable(&tensor), 8); /* too late to be copied */
  tarn_tensor_release(&tensor);                                 /* while the copy is pending */
  enqueue_read(&seen, managed->dl_tensor.data);
  assert_int_equal(manual_stream_advance(consumer, 10), 0);
  manual_stream_advance(producer, 10);
  manual_stream_advance(consumer, 10);
  assert_int_equal(seen, 7);
  assert_int_equal(managed->flags, TARN_DL_IS_COPIED);
  managed->deleter(managed);
}

/* The next owner of the memory, on another stream, must not write before the consumer has read. */
TEST_WITH(deleted_memory_is_reused_behind_the_consumers_work, start, stop) {
  const tarn_dlpack_export_options options = {
      .struct_size = sizeof options, .producer = producer, .consumer = consumer};
  tarn_tensor tensor = bytes_on(producer), next;
  tarn_dl_managed_tensor_versioned *managed;
  uint8_t seen = 99;
  enqueue_fill(producer, tarn_tensor_data_mutable(&tensor), 7);
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  const void *address = managed->dl_tensor.data;
  tarn_tensor_release(&tensor);
  enqueue_read(&seen, address);
  managed->deleter(managed); /* with the read still pending */
  assert_int_equal(seen, 99);
  /* All the rest of the pool is taken, so that this memory has to come back. */
  void *rest[64];
  int rest_count = 0;
  static const int64_t shape[] = {VALUE_COUNT};
  assert_ok(tarn_tensor_create(pool, TARN_U8, 1, shape, producer, &next));
  while (tarn_tensor_data(&next) != address && rest_count < 64) {
    rest[rest_count++] = next.storage;
    assert_ok(tarn_tensor_create(pool, TARN_U8, 1, shape, producer, &next));
  }
  if (tarn_tensor_data(&next) == address) {
    enqueue_fill(producer, tarn_tensor_data_mutable(&next), 8);
    manual_stream_advance(producer, 100); /* as eagerly as it may */
  }
  assert_ok(tarn_stream_synchronize(consumer));
  assert_int_equal(seen, 7);
  for (int index = 0; index < rest_count; index++) tarn_storage_release(rest[index]);
  tarn_tensor_release(&next);
}

TEST_WITH(an_import_of_an_export_with_a_consumer_goes_behind_the_consumer_too, start, stop) {
  const tarn_dlpack_export_options options = {
      .struct_size = sizeof options, .producer = producer, .consumer = consumer};
  tarn_tensor tensor = bytes_on(producer), back;
  tarn_dl_managed_tensor_versioned *managed;
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_ok(tarn_dlpack_import(managed, NULL, &back));
  assert_ptr_not_equal(back.storage, tensor.storage);
  assert_ptr_equal(tarn_tensor_data(&back), tarn_tensor_data(&tensor));
  assert_int_equal(tarn_storage_use_count(tensor.storage), 2);
  tarn_tensor_release(&back);
  assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  tarn_tensor_release(&tensor);
}

TEST_WITH(where_the_streams_cannot_be_ordered_nothing_is_exported, start, stop) {
  tarn_dlpack_export_options options = {
      .struct_size = sizeof options, .pool = pool, .producer = producer, .consumer = consumer};
  tarn_tensor tensor = bytes_on(producer);
  tarn_dl_managed_tensor_versioned *managed;
  tarn_dl_managed_tensor *legacy;
  for (int copy = 0; copy < 2; copy++) {
    options.copy = copy == 1 ? TARN_DLPACK_COPY_ALWAYS : TARN_DLPACK_COPY_IF_NEEDED;
    enqueue_fill(producer, tarn_tensor_data_mutable(&tensor), 7);
    manual_fail_records = 1;
    assert_status(tarn_dlpack_export(&tensor, &options, &managed), TARN_DEVICE_ERROR);
    assert_null(managed);
    manual_fail_records = 0;
    manual_fail_waits = 1;
    assert_status(tarn_dlpack_export_legacy(&tensor, &options, &legacy), TARN_DEVICE_ERROR);
    manual_fail_waits = 0;
    assert_null(legacy);
    assert_int_equal(tarn_storage_use_count(tensor.storage), 1);
  }
  tarn_tensor_release(&tensor);
}

TEST_WITH(streams_of_two_kinds_are_ordered_as_well, start, stop) {
  tarn_stream *worker;
  assert_ok(tarn_worker_stream_create(&worker));
  const tarn_dlpack_export_options options = {
      .struct_size = sizeof options, .producer = producer, .consumer = worker};
  tarn_tensor tensor = bytes_on(producer);
  tarn_dl_managed_tensor_versioned *managed;
  uint8_t seen = 99;
  const tarn_device host = {TARN_DEVICE_CPU, 0};
  enqueue_fill(producer, tarn_tensor_data_mutable(&tensor), 7);
  assert_ok(tarn_dlpack_export(&tensor, &options, &managed));
  assert_ok(tarn_stream_copy(worker, &seen, host, managed->dl_tensor.data, host, 1));
  managed->deleter(managed);
  assert_ok(tarn_stream_synchronize(worker));
  assert_int_equal(seen, 7);
  tarn_tensor_release(&tensor);
  tarn_stream_release(worker);
}

TEST_WITH(the_producer_of_foreign_memory_waits_for_the_uses_that_were_noted, start, stop) {
  foreign self;
  tarn_tensor tensor;
  uint8_t seen = 99;
  foreign_begin(&self);
  self.bytes[0] = 7;
  assert_ok(tarn_dlpack_import(&self.versioned, NULL, &tensor));
  enqueue_read(&seen, tarn_tensor_data(&tensor));
  assert_ok(tarn_storage_note_use(tensor.storage, consumer));
  tarn_tensor_release(&tensor);
  assert_int_equal(seen, 7);
  assert_int_equal(self.deleted_count, 1);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
