/* caching_fixture.c: small pools over a counting provider, for the tests of the caching pool. */
#include "tests/alloc/caching_fixture.h"

#include <stdlib.h>

#include "alloc/tarn_pages.h"
#include "tests/support/manual_stream.h"

/* --- a provider that counts, fails on demand, and hands out addresses only --- */

counting_provider provided;

static tarn_status counting_attributes(void *context, tarn_provider_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  attributes->granularity_bytes = 2 * MIB;
  attributes->alignment_bytes = 2 * MIB;
  return TARN_OK;
}

static tarn_status counting_alloc(void *context, size_t size_bytes, void **address) {
  counting_provider *self = context;
  void (*interlude)(void) = self->interlude;
  self->interlude = NULL;
  if (interlude != NULL) interlude();
  if (self->fail_allocs > 0) {
    self->fail_allocs--;
    return tarn_fail(TARN_OUT_OF_MEMORY, "the test lets this allocation fail");
  }
  *address = aligned_alloc(2 * MIB, size_bytes);
  if (*address == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "aligned_alloc");
  self->alloc_count++;
  self->live_bytes += size_bytes;
  return TARN_OK;
}

static tarn_status counting_release(void *context, void *address, size_t size_bytes) {
  counting_provider *self = context;
  self->release_count++;
  self->live_bytes -= size_bytes;
  free(address);
  return TARN_OK;
}

tarn_pool *make_pool_with(const tarn_caching_options *options) {
  static const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                        .name = "counting",
                                        .attributes = counting_attributes,
                                        .alloc = counting_alloc,
                                        .release = counting_release};
  tarn_provider *provider = NULL;
  assert_ok(tarn_provider_create(&ops, &provided, &provider));
  return pool_over(provider, options);
}

tarn_pool *make_segment_pool(size_t limit_bytes) {
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  provided = (counting_provider){0};
  return make_pool_with(&options);
}

tarn_pool *make_range_pool(size_t limit_bytes) {
  const tarn_caching_options options = {.struct_size = sizeof options, .limit_bytes = limit_bytes};
  const tarn_pages_options pages = {.struct_size = sizeof pages, .granularity_bytes = 2 * MIB};
  tarn_provider *provider = NULL;
  assert_ok(tarn_pages_provider_create(&pages, &provider));
  return pool_over(provider, &options);
}

void *take(tarn_pool *pool, size_t size_bytes, tarn_stream *stream) {
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, size_bytes, stream, &address));
  return address;
}

void give(tarn_pool *pool, void *address, tarn_stream *stream) {
  assert_ok(tarn_pool_free(pool, address, stream));
}

idle_scene take_scene(tarn_pool *pool, tarn_stream *stream) {
  idle_scene made = {.pool = pool};
  for (int i = 0; i < 2; i++) {
    made.gone[i] = take(pool, 16 * MIB, stream);
    made.kept[i] = take(pool, 2 * MIB, stream);
  }
  return made;
}

idle_scene begin_idle(tarn_pool *pool, tarn_stream *stream) {
  idle_scene made = take_scene(pool, stream);
  for (int i = 0; i < 2; i++) give(pool, made.gone[i], stream);
  assert_int_equal(stats_of(pool).reserved_bytes, 36 * MIB);
  return made;
}

tarn_stream *make_stream(void) {
  tarn_stream *stream = NULL;
  assert_ok(manual_stream_create_on(tarn_device_make(TARN_DEVICE_CUDA, 0), &stream));
  return stream;
}

static void do_nothing(void *argument) {
  (void)argument;
}

void work(tarn_stream *stream) {
  assert_ok(tarn_stream_call(stream, do_nothing, NULL));
}
