/* pause_scenarios.c: pools that are paused and resumed while allocations fail. */
#include "alloc/tarn_pause.h"

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_tag.h"
#include "tests/faults/scenarios.h"
#include "tests/support/test.h"

enum { BLOCK_COUNT = 6, BLOCK_BYTES = 100 << 10, GRANULE_BYTES = 64 << 10 };

static tarn_status make_pool(size_t granularity_bytes, tarn_pool **pool) {
  const tarn_pages_options options = {.struct_size = sizeof options,
                                      .granularity_bytes = granularity_bytes};
  tarn_provider *provider = NULL;
  tarn_status status = tarn_pages_provider_create(&options, &provider);
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

tarn_status use_pause(void) {
  const char *const tag = "paused";
  tarn_pool *pool = NULL;
  tarn_pause_options options = {.struct_size = sizeof options, .tags = &tag, .tag_count = 1};
  void *blocks[BLOCK_COUNT] = {NULL};
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  tarn_status status = TARN_OK;
  TRY(make_pool(GRANULE_BYTES, &pool));
  TRY(make_pool(/*granularity_bytes=*/0, &options.backup));
  for (int index = 0; index < BLOCK_COUNT; index++) {
    if (index % 3 != 2) assert_int_equal(tarn_tag_push(tag), TARN_OK);
    status = tarn_pool_alloc(pool, BLOCK_BYTES, NULL, &blocks[index]);
    if (index % 3 != 2) tarn_tag_pop();
    if (status != TARN_OK) goto done;
    *(char *)blocks[index] = (char)index;
  }
  assert_int_equal(tarn_pool_free(pool, blocks[1], NULL), TARN_OK); /* idle, between the others */
  blocks[1] = NULL;
  assert_int_equal(tarn_pool_trim(pool, SIZE_MAX, NULL), TARN_OK);
  TRY(tarn_pool_pause(pool, &options, NULL));
  assert_int_equal(tarn_pool_free(pool, blocks[3], NULL), TARN_OK);
  blocks[3] = NULL;
  TRY(tarn_pool_resume(pool, NULL, NULL));
  for (int index = 0; index < BLOCK_COUNT; index++) {
    if (blocks[index] != NULL) assert_int_equal(*(char *)blocks[index], index);
  }
  assert_int_equal(tarn_pool_stats_of(pool, &stats), TARN_OK);
  assert_int_equal(stats.paused_bytes, 0);
done:
  for (int index = 0; index < BLOCK_COUNT; index++) {
    if (blocks[index] != NULL) {
      assert_int_equal(tarn_pool_free(pool, blocks[index], NULL), TARN_OK);
    }
  }
  tarn_pool_release(pool);
  tarn_pool_release(options.backup);
  return status;
}
