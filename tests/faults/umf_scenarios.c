/* umf_scenarios.c: UMF's pools and providers of tarn's while allocations fail. */
#include <string.h>

#include "alloc/adapters/umf/umf_share.h"
#include "alloc/tarn_pages.h"
#include "tests/adapters/umf/fake_umf.h"
#include "tests/faults/scenarios.h"

/* What UMF was answered; TARN_DEVICE_ERROR for what no allocation that failed explains. */
static tarn_status status_of(tarn__umf_result result) {
  return result == TARN__UMF_SUCCESS              ? TARN_OK
         : result == TARN__UMF_OUT_OF_HOST_MEMORY ? TARN_OUT_OF_MEMORY
                                                  : TARN_DEVICE_ERROR;
}

/* More blocks than the table has room for at first, and one in two processes. */
static tarn_status use_blocks(struct umf_memory_provider_t *below) {
  enum { BLOCKS = 70 };
  void *blocks[BLOCKS] = {NULL};
  void *opened = NULL;
  tarn__umf_handle handle;
  tarn_status status = TARN_OK;
  for (size_t i = 0; i < BLOCKS; i++) {
    TRY(status_of(below->ops.alloc(below->provider, 100, 0, &blocks[i])));
  }
  TRY(status_of(below->ops.ext_get_ipc_handle(below->provider, blocks[0], 100, &handle)));
  TRY(status_of(below->ops.ext_open_ipc_handle(below->provider, &handle, &opened)));
  memset(opened, 1, 100);
done:
  for (size_t i = 0; i < BLOCKS; i += 2) below->ops.free(below->provider, blocks[i], 0);
  return status;
}

/* The pool goes with a block out. */
static tarn_status use_pool(struct umf_memory_provider_t *below) {
  const tarn__umf_pool_ops *ops = (const tarn__umf_pool_ops *)tarn_umf_pool_ops(0);
  const tarn_umf_provider_options memory = {.struct_size = sizeof memory, .find = fake_umf_find};
  const tarn_umf_pool_params params = {.struct_size = sizeof params, .memory = &memory};
  void *pool = NULL;
  tarn_status status = status_of(ops->initialize(below, &params, &pool));
  if (status != TARN_OK) return status;
  void *block = ops->malloc(pool, 1000);
  if (block != NULL) block = ops->realloc(pool, block, 5000);
  status = status_of(ops->get_last_allocation_error(pool));
  if (block != NULL) status = TARN_OK;
  const tarn_status ended = status_of(ops->finalize(pool));
  return status != TARN_OK ? status : ended;
}

tarn_status use_umf(void) {
  const tarn_pages_options options = {.struct_size = sizeof options, .flags = TARN_PAGES_SHARED};
  tarn_umf_provider_params params = {.struct_size = sizeof params};
  struct umf_memory_provider_t *below = NULL;
  tarn_status status = TARN_OK;
  TRY(tarn_pages_provider_create(&options, &params.provider));
  below = fake_umf_create(tarn_umf_provider_ops(0), &params);
  if (below == NULL) {
    status = TARN_OUT_OF_MEMORY;
    goto done;
  }
  TRY(use_blocks(below));
  TRY(use_pool(below));
done:
  if (below != NULL) fake_umf_destroy(below);
  tarn_provider_release(params.provider);
  return status;
}
