/* ort_scenarios.c: a runtime served while allocations fail. */
#include "tests/support/test.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tests/adapters/ort/ort_stand_in.h"
#include "tests/faults/scenarios.h"

/* Out as a value, and back as a tensor that has taken it. */
static tarn_status exchange_values(tarn_ort *ort, tarn_pool *pool) {
  static const int64_t shape[] = {24, 40};
  tarn_tensor tensor = {0}, back = {0};
  struct OrtValue *value = NULL;
  tarn_status status = TARN_OK;
  TRY(tarn_tensor_create(pool, TARN_F32, 2, shape, NULL, &tensor));
  TRY(tarn_ort_value_of_tensor(ort, &tensor, 0, &value));
  TRY(tarn_ort_tensor_of_value(ort, value, &back));
  value = NULL;
done:
  stand_in_release(value);
  tarn_tensor_release(&back);
  tarn_tensor_release(&tensor);
  return status;
}

tarn_status use_ort(void) {
  tarn_provider *provider = NULL;
  tarn_pool *pool = NULL;
  tarn_ort *ort = NULL;
  struct OrtAllocator *allocator = NULL;
  tarn_status status = TARN_OK;
  stand_in_begin();
  TRY(tarn_pages_provider_create(NULL, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &pool));
  TRY(tarn_ort_open(stand_in_base(), &ort));
  TRY(tarn_ort_allocator_create(ort, pool, NULL, &allocator));
  TRY(exchange_values(ort, pool));
done:
  tarn_ort_allocator_release(allocator);
  tarn_ort_release(ort);
  tarn_pool_release(pool);
  tarn_provider_release(provider);
  assert_int_equal(stand_in.live_objects, 0);
  return status;
}
