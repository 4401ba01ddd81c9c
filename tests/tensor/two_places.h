/* two_places.h: pools of the host and of the fake device, and a stream, set up around each test. */
#ifndef TESTS_TWO_PLACES_H
#define TESTS_TWO_PLACES_H

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tests/support/pools.h"
#include "tests/tensor/fake_device.h"

static tarn_pool *pool, *device_pool;
static tarn_stream *device_stream;

static int start(void **state) {
  (void)state;
  pool = pages_pool(NULL);
  fake_device_start();
  device_pool = fake_device_pool_create();
  device_stream = fake_device_stream_create();
  return 0;
}

/* With a stream that copies by calls of its own, too. */
static inline void make_stream_able(void) {
  tarn_stream_release(device_stream);
  device_stream = fake_able_stream_create();
}

static inline int start_able(void **state) {
  start(state);
  make_stream_able();
  return 0;
}

static int stop(void **state) {
  (void)state;
  assert_int_equal(live_blocks(pool), 0);
  assert_int_equal(live_blocks(device_pool), 0);
  tarn_stream_release(device_stream);
  tarn_pool_release(device_pool);
  tarn_pool_release(pool);
  return 0;
}

#endif
