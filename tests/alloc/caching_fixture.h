/* caching_fixture.h: small pools over a counting provider, for the tests of the caching pool. */
#ifndef TARN_CACHING_FIXTURE_H
#define TARN_CACHING_FIXTURE_H

#include "alloc/tarn_caching_pool.h"
#include "tests/support/pools.h"

enum { MIB = 1 << 20 };

/* What the provider below the segment pools was asked for; zeroed by make_segment_pool. */
typedef struct counting_provider {
  int alloc_count;
  int release_count;
  int fail_allocs; /* the next so many allocations are out of memory */
  size_t live_bytes;
  void (*interlude)(void); /* called once, in the next allocation: another thread's part */
} counting_provider;

extern counting_provider provided;

/* Caching pools: over 2 MiB segments of a pretended device, and over pages. 0: no limit. */
tarn_pool *make_segment_pool(size_t limit_bytes);
tarn_pool *make_range_pool(size_t limit_bytes);
/* Over the same pretended device, whose counts go on; with all options. */
tarn_pool *make_pool_with(const tarn_caching_options *options);

void *take(tarn_pool *pool, size_t size_bytes, tarn_stream *stream);
void give(tarn_pool *pool, void *address, tarn_stream *stream);

/* Two stretches of 16 MiB, to lie idle, with a live block of 2 MiB behind each. */
typedef struct idle_scene {
  tarn_pool *pool;
  void *gone[2];
  void *kept[2];
} idle_scene;

/* All of it live; and what is gone freed. */
idle_scene take_scene(tarn_pool *pool, tarn_stream *stream);
idle_scene begin_idle(tarn_pool *pool, tarn_stream *stream);

/* A manual stream of the pretended device, and one step of work on it. */
tarn_stream *make_stream(void);
void work(tarn_stream *stream);

#endif
