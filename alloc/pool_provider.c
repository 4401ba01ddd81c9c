/* pool_provider.c: the provider over another pool: blocks in the order of the asking stream. */
#include "alloc/tarn_pool_provider.h"

#include <stdlib.h>

#include "alloc/caching.h"

static const size_t DEFAULT_GRANULARITY_BYTES = (size_t)64 << 10;
static const size_t DEFAULT_ALIGNMENT_BYTES = 256;

typedef struct pool_provider {
  tarn_pool *upstream; /* a reference */
  size_t granularity_bytes;
  size_t alignment_bytes;
} pool_provider;

static tarn_status over_pool_attributes(void *context, tarn_provider_attributes *attributes) {
  const pool_provider *self = context;
  const tarn_pool_attributes *below = tarn_pool_attributes_of(self->upstream);
  attributes->device = below->device;
  attributes->node = below->node;
  attributes->granularity_bytes = self->granularity_bytes;
  attributes->alignment_bytes = self->alignment_bytes;
  attributes->flags = TARN_PROVIDER_ORDERED;
  if (tarn__caching_is_of_process(self->upstream)) attributes->flags |= TARN_PROVIDER_OF_PROCESS;
  return TARN_OK;
}

static tarn_status over_pool_alloc_ordered(void *context, size_t size_bytes, tarn_stream *stream,
                                           void **address) {
  const pool_provider *self = context;
  return tarn_pool_alloc_aligned(self->upstream, size_bytes, self->alignment_bytes, stream,
                                 address);
}

static tarn_status over_pool_alloc(void *context, size_t size_bytes, void **address) {
  return over_pool_alloc_ordered(context, size_bytes, /*stream=*/NULL, address);
}

/* Nothing uses the memory any more, so it goes back in the order of the host. */
static tarn_status over_pool_release(void *context, void *address, size_t size_bytes) {
  const pool_provider *self = context;
  (void)size_bytes;
  return tarn_pool_free(self->upstream, address, /*stream=*/NULL);
}

static tarn_status over_pool_share_range(void *context, const void *address, size_t size_bytes,
                                         tarn_stream *stream, bool may_mark,
                                         tarn_share_memory *memory) {
  const pool_provider *self = context;
  return tarn_pool_share_range(self->upstream, address, size_bytes, stream, may_mark, memory);
}

static void over_pool_destroy(void *context) {
  pool_provider *self = context;
  tarn_pool_release(self->upstream);
  free(self);
}

static tarn_status check_options(const tarn_pool_provider_options *options) {
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_pool_provider_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  const bool is_sound =
      (options->granularity_bytes == 0 || tarn_is_power_of_two(options->granularity_bytes)) &&
      (options->alignment_bytes == 0 || tarn_is_power_of_two(options->alignment_bytes));
  if (is_sound) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "pool provider: granularity %zu and alignment %zu must be powers of two",
                   options->granularity_bytes, options->alignment_bytes);
}

tarn_status tarn_pool_provider_create(tarn_pool *upstream,
                                      const tarn_pool_provider_options *options,
                                      tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (upstream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "upstream is NULL");
  const tarn_pool_provider_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = check_options(options);
  if (status != TARN_OK) return status;

  pool_provider *self = malloc(sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a provider over a pool");
  *self = (pool_provider){.upstream = upstream,
                          .granularity_bytes = options->granularity_bytes,
                          .alignment_bytes = options->alignment_bytes};
  if (self->granularity_bytes == 0) self->granularity_bytes = DEFAULT_GRANULARITY_BYTES;
  const size_t below_bytes = tarn_pool_attributes_of(upstream)->alignment_bytes;
  if (self->alignment_bytes == 0) {
    self->alignment_bytes =
        below_bytes > DEFAULT_ALIGNMENT_BYTES ? below_bytes : DEFAULT_ALIGNMENT_BYTES;
  }
  const tarn_provider_ops ops = {
      .struct_size = sizeof ops,
      .name = options->name != NULL ? options->name : tarn_pool_name(upstream),
      .attributes = over_pool_attributes,
      .alloc = over_pool_alloc,
      .release = over_pool_release,
      .destroy = over_pool_destroy,
      .alloc_ordered = over_pool_alloc_ordered,
      .share_range = over_pool_share_range};
  tarn_pool_retain(upstream); /* before destroy can run */
  status = tarn_provider_create(&ops, self, provider);
  if (status != TARN_OK) over_pool_destroy(self);
  return status;
}
