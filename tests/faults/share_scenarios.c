/* share_scenarios.c: storages exported and imported while allocations fail. */
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/test.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_share.h"
#include "cuda/tarn_cuda.h"
#include "tests/faults/scenarios.h"
#include "tests/support/open_cuda.h"

enum { PATIENCE_MS = 10000 };

tarn_status use_share(void) {
  const tarn_pages_options pages = {.struct_size = sizeof pages, .flags = TARN_PAGES_SHARED};
  const tarn_export_options options = {
      .struct_size = sizeof options, .note = "a note", .note_bytes = 6};
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_storage *storage = NULL, *imported = NULL;
  tarn_parcel *parcel = NULL, *received = NULL;
  int ends[2];
  tarn_status status = TARN_OK;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  TRY(tarn_pages_provider_create(&pages, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(tarn_storage_create(pool, 1000, NULL, &storage));
  TRY(tarn_storage_export(storage, &options, &parcel));
  TRY(tarn_share_send(ends[0], parcel, PATIENCE_MS));
  TRY(tarn_share_receive(ends[1], PATIENCE_MS, &received));
  TRY(tarn_storage_import(received, NULL, NULL, &imported));
  received = NULL;
done:
  close(ends[0]);
  close(ends[1]);
  tarn_storage_release(imported);
  tarn_parcel_destroy(received);
  tarn_parcel_destroy(parcel);
  tarn_storage_release(storage);
  assert_int_equal(tarn_share_collect(), 0);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}

/* Virtual memory comes to its own process; what is marked is for others alone. */
static tarn_status pass_device_memory(tarn_cuda *cuda, int ends[2]) {
  const tarn_cuda_virtual_options virtual = {.struct_size = sizeof virtual,
                                             .flags = TARN_CUDA_VIRTUAL_SHARED};
  tarn_export_options options = {.struct_size = sizeof options};
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_storage *storage = NULL, *imported = NULL;
  tarn_parcel *marked = NULL, *parcel = NULL, *received = NULL;
  tarn_status status = TARN_OK;
  TRY(tarn_cuda_virtual_provider_create(cuda, 0, &virtual, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(tarn_cuda_stream_create(cuda, 0, &options.stream));
  TRY(tarn_storage_create(pool, 3 << 20, options.stream, &storage));
  TRY(tarn_storage_export(storage, &options, &marked));
  options.flags = TARN_SHARE_WAIT;
  TRY(tarn_storage_export(storage, &options, &parcel));
  TRY(tarn_share_send(ends[0], parcel, PATIENCE_MS));
  TRY(tarn_share_receive(ends[1], PATIENCE_MS, &received));
  TRY(tarn_storage_import(received, provider, options.stream, &imported));
  received = NULL;
done:
  tarn_storage_release(imported);
  tarn_parcel_destroy(received);
  tarn_parcel_destroy(parcel);
  tarn_parcel_destroy(marked);
  tarn_storage_release(storage);
  tarn_stream_release(options.stream);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}

tarn_status use_cuda_share(void) {
  tarn_cuda *cuda = NULL;
  int ends[2];
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_NOT_SUPPORTED) return TARN_OK; /* a build without CUDA */
  if (status != TARN_OK) return status;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  status = pass_device_memory(cuda, ends);
  close(ends[0]);
  close(ends[1]);
  tarn_cuda_release(cuda);
  return status;
}
