/* adaptor_fixture.c: a pool to stand on, a scripted one, and a sink for text. */
#include "tests/adapters/pools/adaptor_fixture.h"

#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"

tarn_pool *make_pages_pool(void) {
  tarn_provider *pages = NULL;
  tarn_pool *pool = NULL;
  assert_ok(tarn_pages_provider_create(NULL, &pages));
  assert_ok(tarn_caching_pool_create(pages, NULL, &pool));
  tarn_provider_release(pages);
  return pool;
}

tarn_pool_stats stats_of(tarn_pool *pool) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_pool_stats_of(pool, &stats));
  return stats;
}

static tarn_status scripted_attributes(void *context, tarn_pool_attributes *attributes) {
  const scripted_pool *self = context;
  attributes->device = self->device;
  attributes->alignment_bytes = 64;
  return TARN_OK;
}

static void call_out(scripted_pool *self) {
  void (*const function)(void *context) = self->in_call;
  self->in_call = NULL;
  if (function != NULL) function(self->in_call_context);
}

static tarn_status scripted_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                  tarn_stream *stream, void **address) {
  scripted_pool *self = context;
  (void)size_bytes;
  (void)alignment_bytes;
  (void)stream;
  call_out(self);
  if (self->alloc_status != TARN_OK) return tarn_fail(self->alloc_status, "scripted");
  self->alloc_count++;
  *address = self->block;
  return TARN_OK;
}

static tarn_status scripted_free(void *context, void *address, tarn_stream *stream) {
  scripted_pool *self = context;
  (void)address;
  (void)stream;
  call_out(self);
  if (self->free_status != TARN_OK) return tarn_fail(self->free_status, "scripted");
  self->free_count++;
  return TARN_OK;
}

static tarn_status scripted_note_use(void *context, void *address, tarn_stream *stream) {
  scripted_pool *self = context;
  (void)address;
  (void)stream;
  self->note_count++;
  return TARN_OK;
}

static tarn_status scripted_stats(void *context, tarn_pool_stats *stats) {
  (void)context;
  stats->active_bytes = stats->reserved_bytes = 1 << 20;
  return TARN_OK;
}

static void scripted_destroy(void *context) {
  scripted_pool *self = context;
  self->destroy_count++;
}

tarn_pool *make_scripted_pool(scripted_pool *script) {
  const tarn_pool_ops ops = {.struct_size = sizeof ops,
                             .name = "scripted",
                             .attributes = scripted_attributes,
                             .alloc = scripted_alloc,
                             .free = scripted_free,
                             .note_use = scripted_note_use,
                             .stats = scripted_stats,
                             .destroy = scripted_destroy};
  tarn_pool *pool = NULL;
  if (script->device.type == 0) script->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  assert_ok(tarn_pool_create(&ops, script, &pool));
  return pool;
}

tarn_status write_to_sink(void *context, const char *text, size_t text_bytes) {
  text_sink *self = context;
  self->write_count++;
  if (self->refused_from != 0 && self->write_count >= self->refused_from) {
    return tarn_fail(TARN_SYSTEM_ERROR, "the sink is full");
  }
  assert_true(self->length + text_bytes < sizeof self->text);
  memcpy(self->text + self->length, text, text_bytes);
  self->length += text_bytes;
  return TARN_OK;
}
