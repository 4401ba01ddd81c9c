/* contract_scenarios.c: budgets and maintenance of pools, with each allocation failing once. */
#include "tests/support/test.h"

#include "alloc/tarn_budget.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fallback.h"
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

static bool give_nothing(void *context, const tarn_pressure *pressure) {
  (void)context;
  (void)pressure;
  return false;
}

tarn_status use_budgets(void) {
  const tarn_budget_options limit = {.struct_size = sizeof limit, .limit_bytes = 4 << 20};
  tarn_budget *budget = NULL;
  tarn_provider *provider = NULL;
  tarn_pool *pools[2] = {NULL};
  bool is_listening = false;
  tarn_status status = TARN_OK;
  TRY(tarn_budget_create(&limit, &budget));
  TRY(tarn_budget_add_pressure(budget, give_nothing, NULL));
  is_listening = true;
  TRY(tarn_pages_provider_create(NULL, &provider));
  const tarn_caching_options options = {.struct_size = sizeof options, .budget = budget};
  TRY(tarn_caching_pool_create(provider, &options, &pools[0]));
  TRY(tarn_caching_pool_create(provider, &options, &pools[1]));
  TRY(tarn_caching_pool_reserve(pools[0], 4 << 20));
  for (int index = 0; index < 4; index++) {
    void *block = NULL;
    TRY(tarn_pool_alloc(pools[index % 2], 3 << 20, NULL, &block));
    assert_ok(tarn_pool_free(pools[index % 2], block, NULL));
  }
done:
  for (int index = 0; index < 2; index++) tarn_pool_release(pools[index]);
  if (is_listening) assert_ok(tarn_budget_remove_pressure(budget, give_nothing, NULL));
  tarn_provider_release(provider);
  tarn_budget_release(budget);
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

tarn_status use_fallback(void) {
  tarn_fallback *fallback = NULL;
  tarn_storage *storage = NULL;
  tarn_pool *pool = NULL;
  tarn_status status = TARN_OK;
  TRY(make_pages_pool(&pool));
  const tarn_fallback_choice only = {.struct_size = sizeof only, .name = "only", .pool = pool};
  TRY(tarn_fallback_create(&only, 1, &fallback));
  TRY(tarn_fallback_storage_create(fallback, 1 << 20, NULL, &storage, NULL));
done:
  tarn_storage_release(storage);
  tarn_fallback_release(fallback);
  tarn_pool_release(pool);
  return status;
}
