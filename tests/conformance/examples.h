/* examples.h: what the examples of alloc/examples/ make, each declared in its one source. */
#ifndef TARN_CONFORMANCE_EXAMPLES_H
#define TARN_CONFORMANCE_EXAMPLES_H

#include <stdatomic.h>

#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"
#include "alloc/tarn_stream.h"

typedef struct counting_counts {
  atomic_size_t lent;
  atomic_size_t taken_back;
  atomic_size_t refused;
  atomic_size_t by_size[64];
} counting_counts;

tarn_status arena_pool_create(void *buffer, size_t size_bytes, tarn_pool **pool);
tarn_status counting_pool_create(tarn_pool *below, counting_counts *counts, tarn_pool **pool);
tarn_status shared_provider_create(size_t capacity_bytes, tarn_provider **provider);
tarn_status crew_stream_create(tarn_stream **stream);

#endif
