/* callbacks_scenarios.c: a client's callbacks while allocations fail. */
#include <stddef.h>

#include "alloc/adapters/callbacks/tarn_callbacks.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "tests/faults/scenarios.h"

static tarn_status wrap_worker(void *unused, void *native, tarn_stream **stream) {
  (void)unused, (void)native;
  return tarn_worker_stream_create(stream);
}

tarn_status use_callbacks(void) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_callbacks *callbacks = NULL;
  void *block = NULL, *grown = NULL, *const native = &pool;
  tarn_status status = TARN_OK;
  const tarn_callbacks_options options = {.struct_size = sizeof options, .wrap = wrap_worker};
  TRY(tarn_pages_provider_create(NULL, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(tarn_callbacks_create(pool, &options, &callbacks));
  TRY(tarn_callbacks_alloc_to(callbacks, &block, 1000, native));
  TRY(tarn_callbacks_forget(callbacks, native));
  grown = tarn_callbacks_realloc(callbacks, block, 3000);
  if (grown == NULL) TRY(tarn_last_error()->status);
  block = grown;
done:
  if (block != NULL) tarn_callbacks_posix_free(callbacks, block);
  tarn_callbacks_destroy(callbacks);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  return status;
}
