/* npy_scenarios.c: .npy files while allocations fail. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tensor/tarn_npy.h"
#include "tests/faults/scenarios.h"

/* Written through a transposed view, then mapped and loaded. */
static tarn_status use_file(tarn_pool *pool, const char *path) {
  static const int64_t shape[] = {3, 5, 7};
  tarn_tensor source = {0};
  tarn_tensor mapped = {0};
  tarn_tensor loaded = {0};
  tarn_status status = TARN_OK;
  TRY(tarn_tensor_create(pool, TARN_F32, 3, shape, NULL, &source));
  memset(tarn_tensor_data_mutable(&source), 1, tarn_tensor_size_bytes(&source));
  tarn_tensor view = source;
  TRY(tarn_tensor_transpose(&view, 0, 1));
  TRY(tarn_npy_save(&view, path, NULL, NULL));
  TRY(tarn_npy_open(path, NULL, &mapped));
  TRY(tarn_npy_load(path, pool, NULL, &loaded));
  assert_memory_equal(tarn_tensor_data(&mapped), tarn_tensor_data(&source), sizeof(float) * 105);
done:
  tarn_tensor_release(&source);
  tarn_tensor_release(&mapped);
  tarn_tensor_release(&loaded);
  return status;
}

tarn_status use_npy_files(void) {
  char folder[] = "/tmp/tarn_faults_XXXXXX", path[64];
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_status status = TARN_OK;
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/array.npy", folder);
  TRY(tarn_pages_provider_create(NULL, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(use_file(pool, path));
done:
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  unlink(path);
  assert_int_equal(rmdir(folder), 0); /* a failure leaves nothing else there */
  return status == TARN_OK ? use_staging() : status;
}
