/* pages_scenarios.c: providers of the CPU's memory, for test_faults.c. */
#include "tests/support/test.h"

#include <unistd.h>

#include "alloc/tarn_fixed.h"
#include "alloc/tarn_pages.h"
#include "tests/faults/scenarios.h"

tarn_status use_fixed_provider(void) {
  static _Alignas(4096) char range[1 << 16];
  tarn_provider *provider = NULL;
  void *first = NULL;
  void *second = NULL;
  tarn_status status = tarn_fixed_provider_create(range, sizeof range, NULL, &provider);
  if (status != TARN_OK) return status;
  TRY(tarn_provider_alloc(provider, 4096, &first));
  TRY(tarn_provider_alloc(provider, 8192, &second));
done:
  if (first != NULL) assert_ok(tarn_provider_free(provider, first, 4096));
  if (second != NULL) assert_ok(tarn_provider_free(provider, second, 8192));
  tarn_provider_release(provider);
  return status;
}

/* With whatever a provider of pages can have to remember. */
tarn_status use_shared_pages(void) {
  const int32_t cpus[] = {0, 1};
  const tarn_touch_options touch = {
      .struct_size = sizeof touch, .cpus = cpus, .cpu_count = COUNT_OF(cpus)};
  const tarn_pages_options options = {.struct_size = sizeof options,
                                      .flags = TARN_PAGES_SHARED | TARN_PAGES_POPULATE,
                                      .touch = &touch};
  tarn_provider *provider = NULL;
  void *block = NULL;
  int descriptor = -1;
  int64_t offset_bytes;
  tarn_status status = tarn_pages_provider_create(&options, &provider);
  if (status != TARN_OK) return status;
  TRY(tarn_provider_alloc(provider, 20 << 20, &block));
  TRY(tarn_provider_share(provider, block, &descriptor, &offset_bytes));
done:
  if (descriptor >= 0) close(descriptor);
  if (block != NULL) assert_ok(tarn_provider_free(provider, block, 20 << 20));
  tarn_provider_release(provider);
  return status;
}
