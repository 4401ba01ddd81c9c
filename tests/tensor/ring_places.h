/* ring_places.h: the two places, and a ring of few and small slots for the device's stream. */
#ifndef TESTS_RING_PLACES_H
#define TESTS_RING_PLACES_H

#include "alloc/tarn_fixed.h"
#include "alloc/tarn_staging.h"
#include "tests/support/pools.h"
#include "tests/tensor/two_places.h"

enum { SLOT_BYTES = 4096, SLOTS = 3 };

static tarn_staging *ring;
static tarn_pool *pinned_pool;

static tarn_provider *pinned_provider(void *memory, size_t size_bytes) {
  const tarn_fixed_options options = {.struct_size = sizeof options,
                                      .device = {TARN_DEVICE_CUDA_HOST, 0}};
  tarn_provider *provider;
  assert_ok(tarn_fixed_provider_create(memory, size_bytes, &options, &provider));
  return provider;
}

static int start_ring(void **state) {
  static _Alignas(4096) char slots[SLOTS * SLOT_BYTES], pinned[8 << 20];
  start(state);
  tarn_provider *provider = pinned_provider(slots, sizeof slots);
  const tarn_staging_options options = {
      .struct_size = sizeof options, .slot_bytes = SLOT_BYTES, .slot_count = SLOTS};
  assert_ok(tarn_staging_create(provider, &options, &ring));
  tarn_provider_release(provider);
  provider = pinned_provider(pinned, sizeof pinned);
  pinned_pool = pool_over(provider, NULL);
  assert_ok(tarn_stream_set_staging(device_stream, ring));
  return 0;
}

static inline tarn_staging_stats stats_of_ring(void) {
  tarn_staging_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_staging_stats_of(ring, &stats));
  return stats;
}

static int stop_ring(void **state) {
  stop(state);
  assert_int_equal(stats_of_ring().held_count, 0);
  tarn_staging_release(ring);
  tarn_pool_release(pinned_pool);
  return 0;
}

#endif
