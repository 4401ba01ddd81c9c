/* pinned_fixture.h: page-locked memory of every origin, for the tests of providers and pools. */
#ifndef TARN_PINNED_FIXTURE_H
#define TARN_PINNED_FIXTURE_H

#include "alloc/tarn_pages.h"
#include "tests/cuda/cuda_fixture.h"

enum { PINNED_GRANULE_BYTES = 64 << 10 };
#define PINNED_DEVICE tarn_device_make(TARN_DEVICE_CUDA_HOST, 0)

typedef enum pinned_origin {
  PINNED_OF_DRIVER, /* cuMemHostAlloc */
  PINNED_WHOLE,     /* the system's pages, each block registered with one call */
  PINNED_CHUNKS,    /* a block in pieces of a granule */
  PINNED_GRANULES,  /* reserved, and registered granule by granule */
  PINNED_ORIGINS,
} pinned_origin;

/* The system's pages in granules of PINNED_GRANULE_BYTES. */
tarn_provider *pinned_pages(void);
tarn_provider *pinned_provider(tarn_cuda *cuda, pinned_origin origin);

#endif
