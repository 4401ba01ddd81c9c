/* adaptor_implementations.c: every adaptor, alone and stacked, as the conformance suite makes
 * pools. */
#include "tests/conformance/conformance.h"

#include <string.h>

#include "alloc/adapters/pools/tarn_aligned_pool.h"
#include "alloc/adapters/pools/tarn_binning_pool.h"
#include "alloc/adapters/pools/tarn_failing_pool.h"
#include "alloc/adapters/pools/tarn_limit_pool.h"
#include "alloc/adapters/pools/tarn_logging_pool.h"
#include "alloc/adapters/pools/tarn_prefetch_pool.h"
#include "alloc/adapters/pools/tarn_tracking_pool.h"
#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pool_provider.h"
#include "tests/support/open_cuda.h"

/* --- what they stand on --- */

static tarn_status caching_over(tarn_status status, tarn_provider *provider, tarn_pool **pool) {
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

static tarn_status make_pages_pool(tarn_pool **pool) {
  tarn_provider *provider = NULL;
  const tarn_status status = tarn_pages_provider_create(NULL, &provider);
  return caching_over(status, provider, pool);
}

static tarn_status make_device_pool(tarn_pool **pool) {
  tarn_cuda *cuda = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_device_provider_create(cuda, 0, &provider);
  tarn_cuda_release(cuda);
  return caching_over(status, provider, pool);
}

static tarn_status make_virtual_pool(tarn_pool **pool) {
  tarn_cuda *cuda = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_virtual_provider_create(cuda, 0, NULL, &provider);
  tarn_cuda_release(cuda);
  return caching_over(status, provider, pool);
}

static tarn_status make_pinned_pool(tarn_pool **pool) {
  tarn_cuda *cuda = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_pinned_provider_create(cuda, NULL, &provider);
  tarn_cuda_release(cuda);
  return caching_over(status, provider, pool);
}

static tarn_status make_driver_pool(tarn_pool **pool) {
  tarn_cuda *cuda = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_driver_pool_create(cuda, 0, NULL, pool);
  tarn_cuda_release(cuda);
  return status;
}

/* --- adaptors, by letters --- */

static tarn_status write_nowhere(void *context, const char *text, size_t text_bytes) {
  (void)context;
  (void)text;
  (void)text_bytes;
  return TARN_OK;
}

/* Small blocks from a pool of their own, whose memory is the upstream's. */
static tarn_status make_bins(tarn_pool *upstream, tarn_pool **pool) {
  tarn_provider *provider = NULL;
  tarn_pool *small = NULL;
  tarn_status status = tarn_pool_provider_create(upstream, NULL, &provider);
  status = caching_over(status, provider, &small);
  const tarn_bin bins[] = {{.size_max_bytes = 512, .pool = small},
                           {.size_max_bytes = 4096, .pool = upstream},
                           {.size_max_bytes = 16384, .pool = small}};
  if (status == TARN_OK) {
    status = tarn_binning_pool_create(bins, COUNT_OF(bins), upstream, NULL, pool);
  }
  tarn_pool_release(small);
  return status;
}

static tarn_status make_adaptor(char letter, tarn_pool *upstream, tarn_pool **pool) {
  static const tarn_limit_pool_options limit = {.struct_size = sizeof limit,
                                                .limit_bytes = (size_t)1 << 40};
  static const tarn_logging_pool_options log = {.struct_size = sizeof log, .write = write_nowhere};
  static const tarn_aligned_pool_options pages = {
      .struct_size = sizeof pages, .alignment_bytes = 4096, .flags = TARN_ALIGNED_POOL_WHOLE};
  switch (letter) {
    case 'l':
      return tarn_limit_pool_create(upstream, &limit, pool);
    case 't':
      return tarn_tracking_pool_create(upstream, NULL, pool);
    case 'w':
      return tarn_logging_pool_create(upstream, &log, pool);
    case 'f':
      return tarn_failing_pool_create(upstream, NULL, pool);
    case 'a':
      return tarn_aligned_pool_create(upstream, &pages, pool);
    case 'b':
      return make_bins(upstream, pool);
    case 'p':
      return tarn_prefetch_pool_create(upstream, NULL, pool);
    default:
      return tarn_fail(TARN_INVALID_ARGUMENT, "no adaptor '%c'", letter);
  }
}

/* The first letter lies on top. */
static tarn_status stack(const char *letters, tarn_status (*make)(tarn_pool **), tarn_pool **pool) {
  tarn_pool *top = NULL;
  tarn_status status = make(&top);
  for (size_t at = strlen(letters); status == TARN_OK && at-- > 0;) {
    tarn_pool *upstream = top;
    top = NULL;
    status = make_adaptor(letters[at], upstream, &top);
    tarn_pool_release(upstream);
  }
  *pool = top;
  return status;
}

/* A caching pool whose memory comes out of adaptors. */
static tarn_status cache_over(const char *letters, tarn_status (*make)(tarn_pool **),
                              tarn_pool **pool) {
  tarn_pool *below = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = stack(letters, make, &below);
  if (status == TARN_OK) status = tarn_pool_provider_create(below, NULL, &provider);
  tarn_pool_release(below);
  return caching_over(status, provider, pool);
}

/* name, letters, what they stand on */
#define STACKS(X)                                   \
  X(limit_pages, "l", make_pages_pool)              \
  X(tracking_pages, "t", make_pages_pool)           \
  X(logging_pages, "w", make_pages_pool)            \
  X(failing_pages, "f", make_pages_pool)            \
  X(aligned_pages, "a", make_pages_pool)            \
  X(binning_pages, "b", make_pages_pool)            \
  X(prefetch_pages, "p", make_pages_pool)           \
  X(all_pages, "ltwfabp", make_pages_pool)          \
  X(all_reversed_pages, "pbafwtl", make_pages_pool) \
  X(mixed_pinned, "bwptla", make_pinned_pool)       \
  X(limit_device, "l", make_device_pool)            \
  X(tracking_device, "t", make_device_pool)         \
  X(logging_device, "w", make_device_pool)          \
  X(failing_device, "f", make_device_pool)          \
  X(aligned_device, "a", make_device_pool)          \
  X(binning_device, "b", make_device_pool)          \
  X(prefetch_device, "p", make_device_pool)         \
  X(all_device, "tlbpafw", make_device_pool)        \
  X(mixed_virtual, "wlt", make_virtual_pool)        \
  X(mixed_driver, "tbl", make_driver_pool)

#define MAKE_STACK(label, letters, make)              \
  static tarn_status make_##label(tarn_pool **pool) { \
    return stack(letters, make, pool);                \
  }
STACKS(MAKE_STACK)

static tarn_status make_cache_over_all(tarn_pool **pool) {
  return cache_over("ltwfabp", make_pages_pool, pool);
}

static tarn_status make_cache_over_device(tarn_pool **pool) {
  return cache_over("bwl", make_device_pool, pool);
}

#define STACK_ROW(label, letters, make) {.name = #label, .make_pool = make_##label},
const implementation adaptor_implementations[] = {
    {.name = "caching over all adaptors over pages", .make_pool = make_cache_over_all},
    {.name = "caching over bins over cuda device", .make_pool = make_cache_over_device},
    STACKS(STACK_ROW){.name = NULL},
};
