/* dlpack_scenarios.c: tensors exchanged while allocations fail. */
#include "tests/support/test.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "tensor/tarn_dlpack.h"
#include "tests/faults/scenarios.h"

static void delete_nothing(tarn_dl_managed_tensor_versioned *managed) {
  managed->manager_ctx = NULL;
}

/* Out by both forms, with a copy and streams to order; in from tarn and from a stranger. */
static tarn_status exchange_tensors(tarn_pool *pool, tarn_stream *producer, tarn_stream *consumer) {
  static const int64_t shape[] = {24, 40};
  const tarn_dlpack_export_options options = {.struct_size = sizeof options,
                                              .copy = TARN_DLPACK_COPY_ALWAYS,
                                              .pool = pool,
                                              .producer = producer,
                                              .consumer = consumer};
  tarn_tensor tensor = {0}, back = {0}, stranger = {0};
  tarn_dl_managed_tensor_versioned *managed = NULL;
  tarn_dl_managed_tensor_versioned foreign = {.version = {TARN_DLPACK_MAJOR, 0},
                                              .deleter = delete_nothing};
  tarn_dl_managed_tensor *legacy = NULL;
  tarn_status status = TARN_OK;
  TRY(tarn_tensor_create(pool, TARN_F32, 2, shape, producer, &tensor));
  TRY(tarn_dlpack_export(&tensor, &options, &managed));
  TRY(tarn_dlpack_import(managed, NULL, &back));
  managed = NULL;
  TRY(tarn_dlpack_export_legacy(&tensor, NULL, &legacy));
  TRY(tarn_dlpack_describe(&tensor, &foreign.dl_tensor));
  TRY(tarn_dlpack_import(&foreign, NULL, &stranger));
done:
  if (managed != NULL) managed->deleter(managed); /* a failed import has not taken it */
  if (legacy != NULL) legacy->deleter(legacy);
  tarn_tensor_release(&stranger);
  tarn_tensor_release(&back);
  tarn_tensor_release(&tensor);
  return status;
}

tarn_status use_dlpack(void) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_stream *streams[2] = {NULL};
  tarn_status status = TARN_OK;
  TRY(tarn_pages_provider_create(NULL, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  for (int index = 0; index < 2; index++) TRY(tarn_worker_stream_create(&streams[index]));
  TRY(exchange_tensors(pool, streams[0], streams[1]));
done:
  for (int index = 0; index < 2; index++) tarn_stream_release(streams[index]);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}
