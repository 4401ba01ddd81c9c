/* aligned_pool.c: an adaptor that asks for more alignment than it was asked for. */
#include "alloc/adapters/pools/tarn_aligned_pool.h"

#include <stdlib.h>

#include "alloc/adapters/pools/over_pool.h"

typedef struct aligned_pool {
  tarn__over over; /* first: round_up finds the rest by it */
  size_t alignment_bytes;
  size_t size_min_bytes;
} aligned_pool;

static tarn_status aligned_attributes(void *context, tarn_pool_attributes *attributes) {
  const aligned_pool *self = context;
  *attributes = *tarn_pool_attributes_of(self->over.upstream);
  if (self->size_min_bytes == 0 && attributes->alignment_bytes < self->alignment_bytes) {
    attributes->alignment_bytes = self->alignment_bytes;
  }
  return TARN_OK;
}

/* Whole units of an alignment. */
static tarn_pool *round_up(const tarn__over *over, size_t requested_bytes, size_t *asked_bytes) {
  const aligned_pool *self = (const aligned_pool *)over;
  if (requested_bytes >= self->size_min_bytes) {
    *asked_bytes = (requested_bytes + self->alignment_bytes - 1) & ~(self->alignment_bytes - 1);
  }
  return over->upstream;
}

static tarn_status aligned_alloc_more(void *context, size_t size_bytes, size_t alignment_bytes,
                                      tarn_stream *stream, void **address) {
  aligned_pool *self = context;
  size_t asked_bytes = 0;
  if (size_bytes >= self->size_min_bytes) {
    if (alignment_bytes < self->alignment_bytes) alignment_bytes = self->alignment_bytes;
    if (!tarn_size_round_up(size_bytes, self->alignment_bytes, &asked_bytes)) {
      return tarn_fail(TARN_TOO_LARGE, "%zu bytes in units of %zu exceed any machine", size_bytes,
                       self->alignment_bytes);
    }
  }
  return tarn__over_alloc(&self->over, size_bytes, alignment_bytes, stream, address);
}

static tarn_status check_options(const tarn_aligned_pool_options *options) {
  if (options == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "options is NULL");
  const tarn_status status =
      tarn__over_check_size("tarn_aligned_pool_options", sizeof *options, options->struct_size);
  if (status != TARN_OK) return status;
  if ((options->flags & ~(uint32_t)TARN_ALIGNED_POOL_WHOLE) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown flags 0x%x", options->flags);
  }
  if (tarn_is_power_of_two(options->alignment_bytes)) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "alignment %zu is not a power of two",
                   options->alignment_bytes);
}

tarn_status tarn_aligned_pool_create(tarn_pool *upstream, const tarn_aligned_pool_options *options,
                                     tarn_pool **pool) {
  tarn_status status = tarn__over_check(pool, upstream);
  if (status == TARN_OK) status = check_options(options);
  if (status != TARN_OK) return status;
  tarn_pool_ops ops = tarn__over_ops;
  ops.attributes = aligned_attributes;
  ops.alloc = aligned_alloc_more;
  aligned_pool *self = calloc(1, sizeof *self);
  if (self != NULL) {
    self->alignment_bytes = options->alignment_bytes;
    self->size_min_bytes = options->size_min_bytes;
    if ((options->flags & TARN_ALIGNED_POOL_WHOLE) != 0) self->over.route = round_up;
  }
  return tarn__over_create(self != NULL ? &self->over : NULL, upstream, &ops, "aligned",
                           options->name, pool);
}
