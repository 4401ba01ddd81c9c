/* pinned_scenarios.c: page-locked memory while allocations fail. */
#include "tests/support/test.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tests/faults/scenarios.h"
#include "tests/support/open_cuda.h"

enum { GRANULE_BYTES = 64 << 10 };

/* A pool's blocks, and a block in several pieces. */
static tarn_status use_locked_pages(tarn_cuda *cuda, tarn_provider *pages, uint32_t flags,
                                    size_t chunk_bytes) {
  const tarn_cuda_pinned_options options = {
      .struct_size = sizeof options, .host = pages, .chunk_bytes = chunk_bytes, .flags = flags};
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  void *blocks[2] = {NULL, NULL};
  void *piecewise = NULL;
  tarn_status status = TARN_OK;
  TRY(tarn_cuda_pinned_provider_create(cuda, &options, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(tarn_pool_alloc(pool, 3 * GRANULE_BYTES, NULL, &blocks[0]));
  TRY(tarn_pool_alloc(pool, GRANULE_BYTES, NULL, &blocks[1]));
  TRY(tarn_provider_alloc(provider, 3 * GRANULE_BYTES, &piecewise));
done:
  if (piecewise != NULL) assert_ok(tarn_provider_free(provider, piecewise, 3 * GRANULE_BYTES));
  for (int i = 0; i < 2; i++) {
    if (blocks[i] != NULL) assert_ok(tarn_pool_free(pool, blocks[i], NULL));
  }
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}

static void count_delete(void *context) {
  ++*(int *)context;
}

static tarn_status use_pins(tarn_cuda *cuda, tarn_provider *pages) {
  void *block = NULL;
  int deleted_count = 0;
  tarn_cuda_pin *pin = NULL;
  tarn_storage *storage = NULL;
  tarn_status status = TARN_OK;
  TRY(tarn_provider_alloc(pages, GRANULE_BYTES, &block));
  TRY(tarn_cuda_pin_create(cuda, block, 4096, 0, &pin));
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = (char *)block + 4096,
                          .size_bytes = 4096,
                          .deleter = count_delete,
                          .context = &deleted_count};
  TRY(tarn_cuda_pinned_wrap(cuda, &blob, &storage));
done:
  assert_int_equal(deleted_count, 0); /* whether it was taken or not */
  tarn_storage_release(storage);
  assert_int_equal(deleted_count, storage != NULL);
  tarn_cuda_pin_destroy(pin);
  if (block != NULL) assert_ok(tarn_provider_free(pages, block, GRANULE_BYTES));
  return status;
}

tarn_status use_cuda_pinned(void) {
  tarn_cuda *cuda = NULL;
  tarn_provider *pages = NULL;
  tarn_status status = TARN_OK;
  TRY(test_open_cuda(&cuda));
  TRY(tarn_pages_provider_create(NULL, &pages));
  TRY(use_locked_pages(cuda, /*pages=*/NULL, /*flags=*/0, /*chunk_bytes=*/0));
  TRY(use_locked_pages(cuda, pages, /*flags=*/0, /*chunk_bytes=*/0));
  TRY(use_locked_pages(cuda, pages, /*flags=*/0, GRANULE_BYTES));
  TRY(use_locked_pages(cuda, pages, TARN_CUDA_PINNED_GRANULES, /*chunk_bytes=*/0));
  TRY(use_pins(cuda, pages));
done:
  tarn_provider_release(pages);
  tarn_cuda_release(cuda);
  return status;
}
