/* umf_pool.c: a pool of tarn's as a UMF pool. */
#include "alloc/adapters/umf/umf_pool.h"

#include <stdlib.h>

#include "alloc/adapters/umf/umf_upstream.h"
#include "alloc/tarn_pool_snapshot.h"

static const char DEFAULT_NAME[] = "tarn";

/* Of the thread's last call that gave nothing. */
static _Thread_local tarn__umf_result last_error;

static __attribute__((noinline)) void *fail(tarn__umf_result result) {
  last_error = result;
  return NULL;
}

/* --- its life --- */

static tarn_status check_params(const tarn_umf_pool_params *params) {
  if (params->struct_size != sizeof *params) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_umf_pool_params has %zu bytes here, %zu were given", sizeof *params,
                     params->struct_size);
  }
  if (params->memory != NULL && (params->memory->flags & TARN_UMF_OWN_PROVIDER) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a UMF pool's provider is UMF's to destroy");
  }
  if (params->pool == NULL || (params->memory == NULL && params->caching == NULL)) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "a pool that is there has its memory and options");
}

static tarn_status make_own(struct umf_memory_provider_t *handle,
                            const tarn_umf_pool_params *params, tarn__umf_pool *self) {
  tarn_status status = tarn_umf_provider_create(handle, params->memory, &self->below);
  if (status != TARN_OK) return status;
  status = tarn_caching_pool_create(self->below, params->caching, &self->pool);
  if (status != TARN_OK) tarn_provider_release(self->below);
  return status;
}

static tarn__umf_result pool_initialize(struct umf_memory_provider_t *provider, const void *params,
                                        void **pool) {
  const tarn_umf_pool_params none = {.struct_size = sizeof none};
  const tarn_umf_pool_params *asked = params != NULL ? params : &none;
  tarn_status status = check_params(asked);
  if (status != TARN_OK) return tarn__umf_result_of(status);
  tarn__umf_pool *self = calloc(1, sizeof *self);
  if (self == NULL) return TARN__UMF_OUT_OF_HOST_MEMORY;
  self->pool = asked->pool;
  if (asked->pool == NULL) {
    status = make_own(provider, asked, self);
    if (status != TARN_OK) {
      free(self);
      return tarn__umf_result_of(status);
    }
  } else {
    tarn_pool_retain(self->pool);
  }
  self->stream = asked->stream;
  if (self->stream != NULL) tarn_stream_retain(self->stream);
  tarn__umf_copy_name(self->name, asked->name != NULL ? asked->name : tarn_pool_name(self->pool));
  *pool = self;
  return TARN__UMF_SUCCESS;
}

/* UMF's provider may be gone afterwards, so no block may keep the pool: what nobody freed is freed
 * here. */
static tarn_status free_what_is_lent(const tarn__umf_pool *self) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  tarn_status status = tarn_pool_stats_of(self->pool, &stats);
  if (status != TARN_OK || stats.alloc_count == stats.free_count) return status;
  tarn_snapshot lent = {.struct_size = sizeof lent};
  status = tarn_snapshot_take(self->pool, &lent);
  for (size_t i = 0; status == TARN_OK && i < lent.block_count; i++) {
    const tarn_block_state state = lent.blocks[i].state;
    if (state != TARN_BLOCK_LIVE && state != TARN_BLOCK_PAUSED) continue;
    status = tarn_pool_free(self->pool, (void *)(uintptr_t)lent.blocks[i].address, self->stream);
  }
  tarn_snapshot_deinit(&lent);
  return status;
}

static tarn__umf_result pool_finalize(void *pool) {
  tarn__umf_pool *self = pool;
  const tarn_status status = self->below != NULL ? free_what_is_lent(self) : TARN_OK;
  tarn_pool_release(self->pool);
  /* Then the pool stays, with nothing below it. */
  if (status != TARN_OK && self->below != NULL) tarn__umf_upstream_abandon(self->below);
  tarn_provider_release(self->below);
  tarn_stream_release(self->stream);
  free(self);
  return tarn__umf_result_of(status);
}

/* --- blocks --- */

static inline void *lend(const tarn__umf_pool *self, size_t size, size_t alignment) {
  void *address;
  const tarn_status status =
      alignment == 0 ? tarn_pool_alloc(self->pool, size, self->stream, &address)
                     : tarn_pool_alloc_aligned(self->pool, size, alignment, self->stream, &address);
  /* NULL without an error: no bytes. */
  if (__builtin_expect(status == TARN_OK && address != NULL, 1)) return address;
  return fail(tarn__umf_result_of(status));
}

static void *pool_malloc(void *pool, size_t size) {
  return lend(pool, size, /*alignment=*/0);
}

static void *pool_aligned_malloc(void *pool, size_t size, size_t alignment) {
  if (alignment != 0 && !tarn_is_power_of_two(alignment)) return fail(TARN__UMF_INVALID_ALIGNMENT);
  return lend(pool, size, alignment);
}

static tarn__umf_result pool_free(void *pool, void *address) {
  const tarn__umf_pool *self = pool;
  return tarn__umf_result_of(tarn_pool_free(self->pool, address, self->stream));
}

/* Takes back what a failure leaves in the caller's way, and fails with that. */
static void *undo(const tarn__umf_pool *self, void *address, tarn_status status) {
  const tarn_status ignored = tarn_pool_free(self->pool, address, self->stream);
  (void)ignored; /* the first failure is the cause */
  return fail(tarn__umf_result_of(status));
}

/* By the stream, so a GPU's memory is zeroed as well. */
static void *pool_calloc(void *pool, size_t count, size_t size) {
  const tarn__umf_pool *self = pool;
  size_t size_bytes = 0;
  if (!tarn_size_mul(count, size, &size_bytes)) return fail(TARN__UMF_OUT_OF_HOST_MEMORY);
  void *address = lend(self, size_bytes, /*alignment=*/0);
  if (address == NULL) return NULL;
  const tarn_device device = tarn_pool_attributes_of(self->pool)->device;
  const tarn_status status =
      tarn_stream_fill(self->stream, address, device, /*value=*/0, size_bytes);
  return status == TARN_OK ? address : undo(self, address, status);
}

static void *move_block(const tarn__umf_pool *self, void *address, size_t old_bytes,
                        size_t size_bytes) {
  void *moved = lend(self, size_bytes, /*alignment=*/0);
  if (moved == NULL) return NULL;
  const tarn_device device = tarn_pool_attributes_of(self->pool)->device;
  tarn_status status = tarn_stream_copy(self->stream, moved, device, address, device, old_bytes);
  if (status == TARN_OK) status = tarn_pool_free(self->pool, address, self->stream);
  return status == TARN_OK ? moved : undo(self, moved, status);
}

static void *pool_realloc(void *pool, void *address, size_t size) {
  const tarn__umf_pool *self = pool;
  if (address == NULL) return pool_malloc(pool, size);
  if (size == 0) return fail(pool_free(pool, address));
  size_t old_bytes = 0;
  const tarn_status known = tarn_pool_size_of(self->pool, address, &old_bytes);
  if (known != TARN_OK) return fail(tarn__umf_result_of(known));
  return size <= old_bytes ? address : move_block(self, address, old_bytes, size);
}

static tarn__umf_result pool_usable_size(void *pool, const void *address, size_t *size) {
  const tarn__umf_pool *self = pool;
  if (size == NULL) return TARN__UMF_INVALID_ARGUMENT;
  *size = 0;
  if (address == NULL) return TARN__UMF_SUCCESS;
  return tarn__umf_result_of(tarn_pool_size_of(self->pool, address, size));
}

/* --- what it tells --- */

static tarn__umf_result pool_last_error(void *pool) {
  (void)pool;
  return last_error;
}

static tarn__umf_result pool_name(void *pool, const char **name) {
  const tarn__umf_pool *self = pool;
  if (name == NULL) return TARN__UMF_INVALID_ARGUMENT;
  *name = self != NULL ? self->name : DEFAULT_NAME;
  return TARN__UMF_SUCCESS;
}

/* --- the tables --- */

#define OPS_OF(minor)                                                        \
  {                                                                          \
    .version = TARN__UMF_VERSION(1, minor), .initialize = pool_initialize,   \
    .finalize = pool_finalize, .malloc = pool_malloc, .calloc = pool_calloc, \
    .realloc = pool_realloc, .aligned_malloc = pool_aligned_malloc,          \
    .malloc_usable_size = pool_usable_size, .free = pool_free,               \
    .get_last_allocation_error = pool_last_error, .get_name = pool_name,     \
    .ext_ctl = tarn__umf_pool_ctl, .ext_trim_memory = tarn__umf_pool_trim,   \
  }

const struct umf_memory_pool_ops_t *tarn_umf_pool_ops(uint32_t version) {
  static const tarn__umf_pool_ops ops[] = {OPS_OF(0), OPS_OF(1)};
  uint32_t minor = 0;
  if (!tarn__umf_minor(version, 1, &minor)) return NULL;
  return (const struct umf_memory_pool_ops_t *)&ops[minor];
}
