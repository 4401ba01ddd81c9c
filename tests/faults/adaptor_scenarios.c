/* adaptor_scenarios.c: pools over pools while allocations fail. */
#include <stddef.h>

#include "alloc/adapters/pools/tarn_aligned_pool.h"
#include "alloc/adapters/pools/tarn_binning_pool.h"
#include "alloc/adapters/pools/tarn_failing_pool.h"
#include "alloc/adapters/pools/tarn_limit_pool.h"
#include "alloc/adapters/pools/tarn_logging_pool.h"
#include "alloc/adapters/pools/tarn_prefetch_pool.h"
#include "alloc/adapters/pools/tarn_tracking_pool.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "tests/faults/scenarios.h"
#include "tests/support/test.h"

enum { LEVELS = 8, BLOCK_BYTES = 200 << 10 };

static tarn_status write_nowhere(void *context, const char *text, size_t text_bytes) {
  (void)context, (void)text, (void)text_bytes;
  return TARN_OK;
}

/* Each level but the first over the one before. */
static tarn_status make_levels(tarn_pool *levels[LEVELS]) {
  const tarn_logging_pool_options log = {.struct_size = sizeof log, .write = write_nowhere};
  const tarn_aligned_pool_options pages = {.struct_size = sizeof pages, .alignment_bytes = 4096};
  tarn_provider *provider = NULL;
  tarn_status status = TARN_OK;
  TRY(tarn_pages_provider_create(NULL, &provider));
  TRY(tarn_caching_pool_create(provider, NULL, &levels[0]));
  TRY(tarn_tracking_pool_create(levels[0], NULL, &levels[1]));
  TRY(tarn_limit_pool_create(levels[1], NULL, &levels[2]));
  TRY(tarn_logging_pool_create(levels[2], &log, &levels[3]));
  TRY(tarn_failing_pool_create(levels[3], NULL, &levels[4]));
  TRY(tarn_aligned_pool_create(levels[4], &pages, &levels[5]));
  TRY(tarn_prefetch_pool_create(levels[5], NULL, &levels[6]));
  const tarn_bin bin = {.size_max_bytes = 1000, .pool = levels[1]};
  TRY(tarn_binning_pool_create(&bin, 1, levels[6], NULL, &levels[7]));
done:
  tarn_provider_release(provider);
  return status;
}

tarn_status use_adaptors(void) {
  tarn_pool *levels[LEVELS] = {NULL};
  tarn_stream *stream = NULL;
  void *blocks[3] = {NULL};
  static const size_t sizes[3] = {500, BLOCK_BYTES, BLOCK_BYTES};
  tarn_status status = TARN_OK;
  TRY(make_levels(levels));
  TRY(tarn_worker_stream_create(&stream));
  for (int index = 0; index < 3; index++) {
    tarn_stream *order = index == 2 ? stream : NULL;
    TRY(tarn_pool_alloc(levels[LEVELS - 1], sizes[index], order, &blocks[index]));
  }
  TRY(tarn_tracking_pool_report(levels[1], write_nowhere, NULL));
done:
  for (int index = 0; index < 3; index++) {
    assert_ok(tarn_pool_free(levels[LEVELS - 1], blocks[index], index == 2 ? stream : NULL));
  }
  if (stream != NULL) assert_ok(tarn_stream_synchronize(stream));
  for (int index = 0; levels[0] != NULL && index < LEVELS && levels[index] != NULL; index++) {
    tarn_pool_stats stats = {.struct_size = sizeof stats};
    assert_ok(tarn_pool_stats_of(levels[index], &stats));
    assert_int_equal(stats.requested_bytes, 0);
  }
  for (int index = 0; index < LEVELS; index++) tarn_pool_release(levels[index]);
  tarn_stream_release(stream);
  return status;
}
