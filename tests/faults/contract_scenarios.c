/* contract_scenarios.c: maintenance of pools, with each allocation failing once. */
#include "tests/support/test.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_maintenance.h"
#include "alloc/tarn_pages.h"
#include "tests/faults/scenarios.h"

static tarn_status make_pages_pool(tarn_pool **pool) {
  tarn_provider *provider = NULL;
  tarn_status status = tarn_pages_provider_create(NULL, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

tarn_status use_maintenance(void) {
  const tarn_maintenance_options manual = {.struct_size = sizeof manual,
                                           .flags = TARN_MAINTENANCE_MANUAL};
  tarn_maintenance *maintenance = NULL;
  tarn_pool *pool = NULL;
  tarn_status status = TARN_OK;
  TRY(make_pages_pool(&pool));
  TRY(tarn_maintenance_create(&manual, &maintenance));
  TRY(tarn_maintenance_add(maintenance, pool));
  TRY(tarn_maintenance_step(maintenance, 1, NULL));
done:
  tarn_pool_release(pool);
  tarn_maintenance_destroy(maintenance);
  return status;
}
