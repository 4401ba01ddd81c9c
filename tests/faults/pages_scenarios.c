/* pages_scenarios.c: providers of pages, for test_faults.c. */
#include "tests/support/test.h"

#include <unistd.h>

#include "alloc/tarn_pages.h"
#include "tests/faults/scenarios.h"

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
