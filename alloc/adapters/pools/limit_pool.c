/* limit_pool.c: an adaptor that lends at most so many bytes at once. */
#include "alloc/adapters/pools/tarn_limit_pool.h"

#include <stdlib.h>

#include "alloc/adapters/pools/over_pool.h"

/* What every adaptor charges is held to a limit here. */
static void limit_destroy(void *context) {
  tarn__over_destroy(context);
}

tarn_status tarn_limit_pool_create(tarn_pool *upstream, const tarn_limit_pool_options *options,
                                   tarn_pool **pool) {
  const tarn_limit_pool_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = tarn__over_check(pool, upstream);
  if (status == TARN_OK) {
    status =
        tarn__over_check_size("tarn_limit_pool_options", sizeof *options, options->struct_size);
  }
  if (status != TARN_OK) return status;
  tarn_pool_ops ops = tarn__over_ops;
  ops.destroy = limit_destroy;
  tarn__over *self = calloc(1, sizeof *self);
  if (self != NULL) atomic_init(&self->limit_bytes, options->limit_bytes);
  return tarn__over_create(self, upstream, &ops, "limit", options->name, pool);
}

tarn_status tarn_limit_pool_set(tarn_pool *pool, size_t limit_bytes) {
  tarn__over *self = tarn_pool_context(pool, limit_destroy);
  if (self == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "not a limit's pool");
  tarn__over_set_limit(self, limit_bytes);
  return TARN_OK;
}
