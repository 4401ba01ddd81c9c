/* limit_pool.c: an adaptor that lends at most so many bytes at once. */
#include "alloc/adapters/pools/tarn_limit_pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "alloc/adapters/pools/over_pool.h"

/* Bytes are charged before the upstream is asked, and paid back after it has the block again. */
typedef struct limit_pool {
  tarn__over over;
  atomic_size_t limit_bytes; /* SIZE_MAX: none */
  atomic_size_t charged_bytes;
} limit_pool;

/* Relaxed: nothing but the sum itself depends on it. */
static bool charge(limit_pool *self, size_t size_bytes, size_t *charged_bytes) {
  const size_t limit_bytes = atomic_load_explicit(&self->limit_bytes, memory_order_relaxed);
  *charged_bytes = atomic_load_explicit(&self->charged_bytes, memory_order_relaxed);
  size_t sum;
  do {
    if (!tarn_size_add(*charged_bytes, size_bytes, &sum) || sum > limit_bytes) return false;
  } while (!atomic_compare_exchange_weak_explicit(&self->charged_bytes, charged_bytes, sum,
                                                  memory_order_relaxed, memory_order_relaxed));
  return true;
}

static void pay_back(limit_pool *self, size_t size_bytes) {
  atomic_fetch_sub_explicit(&self->charged_bytes, size_bytes, memory_order_relaxed);
}

static tarn_status limit_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                               tarn_stream *stream, void **address) {
  limit_pool *self = context;
  size_t charged_bytes;
  if (!charge(self, size_bytes, &charged_bytes)) {
    tarn__over_count_refusal(&self->over, TARN_OUT_OF_MEMORY);
    return tarn_fail(TARN_OUT_OF_MEMORY, "%zu bytes over a limit of %zu, of which %zu are lent out",
                     size_bytes, atomic_load_explicit(&self->limit_bytes, memory_order_relaxed),
                     charged_bytes);
  }
  const tarn_status status =
      tarn__over_alloc(&self->over, size_bytes, alignment_bytes, stream, address);
  if (status != TARN_OK) pay_back(self, size_bytes);
  return status;
}

static tarn_status limit_free(void *context, void *address, tarn_stream *stream) {
  limit_pool *self = context;
  tarn__lent *block = tarn__over_take_back(&self->over, address, stream);
  if (block == NULL) return TARN_NOT_FOUND;
  const size_t size_bytes = block->requested_bytes;
  const tarn_status status = tarn__over_give_back(&self->over, block, stream);
  if (status == TARN_OK) pay_back(self, size_bytes);
  return status;
}

static void limit_destroy(void *context) {
  tarn__over_destroy(context);
}

static size_t limit_of(size_t limit_bytes) {
  return limit_bytes != 0 ? limit_bytes : SIZE_MAX;
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
  ops.alloc = limit_alloc;
  ops.free = limit_free;
  ops.destroy = limit_destroy;
  limit_pool *self = calloc(1, sizeof *self);
  if (self != NULL) atomic_init(&self->limit_bytes, limit_of(options->limit_bytes));
  return tarn__over_create(self != NULL ? &self->over : NULL, upstream, &ops, "limit",
                           options->name, pool);
}

tarn_status tarn_limit_pool_set(tarn_pool *pool, size_t limit_bytes) {
  limit_pool *self = tarn_pool_context(pool, limit_destroy);
  if (self == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "not a limit's pool");
  atomic_store_explicit(&self->limit_bytes, limit_of(limit_bytes), memory_order_relaxed);
  return TARN_OK;
}
