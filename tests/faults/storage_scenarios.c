/* storage_scenarios.c: storages that grow in place while allocations fail. */
#include "tests/support/test.h"

#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_storage.h"
#include "tests/faults/scenarios.h"

enum { STREAM_COUNT = 3 }; /* more than a blob remembers without memory */

static void do_nothing(void *argument) {
  (void)argument;
}

tarn_status use_growing_storage(void) {
  tarn_reserve_options options = {
      .struct_size = sizeof options, .capacity_bytes = 1 << 20, .size_bytes = 1};
  tarn_provider *provider = NULL;
  tarn_storage *storage = NULL;
  tarn_stream *streams[STREAM_COUNT] = {NULL};
  tarn_status status = TARN_OK;
  TRY(tarn_pages_provider_create(NULL, &provider));
  TRY(tarn_budget_create(NULL, &options.budget));
  TRY(tarn_storage_reserve(provider, &options, &storage));
  TRY(tarn_storage_resize(storage, 1 << 20));
  for (int index = 0; index < STREAM_COUNT; index++) {
    TRY(tarn_worker_stream_create(&streams[index]));
    TRY(tarn_stream_call(streams[index], do_nothing, NULL));
    TRY(tarn_storage_note_use(storage, streams[index]));
  }
  TRY(tarn_storage_resize(storage, 0));
  TRY(tarn_storage_trim(storage));
  assert_int_equal(tarn_storage_committed_bytes(storage), 0);
done:
  for (int index = 0; index < STREAM_COUNT; index++) tarn_stream_release(streams[index]);
  tarn_storage_release(storage);
  tarn_budget_release(options.budget);
  tarn_provider_release(provider);
  return status;
}
