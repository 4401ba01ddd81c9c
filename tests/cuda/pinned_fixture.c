/* pinned_fixture.c: makes page-locked memory of every origin. */
#include "tests/cuda/pinned_fixture.h"

tarn_provider *pinned_pages(void) {
  tarn_provider *pages = NULL;
  const tarn_pages_options options = {.struct_size = sizeof options,
                                      .granularity_bytes = PINNED_GRANULE_BYTES};
  OK(tarn_pages_provider_create(&options, &pages));
  return pages;
}

tarn_provider *pinned_provider(tarn_cuda *cuda, pinned_origin origin) {
  tarn_provider *provider = NULL;
  tarn_provider *host = origin == PINNED_OF_DRIVER ? NULL : pinned_pages();
  const tarn_cuda_pinned_options options = {
      .struct_size = sizeof options,
      .host = host,
      .chunk_bytes = origin == PINNED_CHUNKS ? PINNED_GRANULE_BYTES : 0,
      .flags = origin == PINNED_GRANULES ? TARN_CUDA_PINNED_GRANULES : 0};
  OK(tarn_cuda_pinned_provider_create(cuda, &options, &provider));
  tarn_provider_release(host);
  return provider;
}
