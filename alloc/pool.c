/* pool.c: the pool seam: checks an implementation once, then every call's arguments. */
#include "alloc/pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct tarn_pool {
  /* Handles; and lent-out blocks, or where the implementation counts those, one for them all. */
  atomic_size_t reference_count;
  /* What the calls go to: the implementation, or where tarn counts the blocks, alloc_counted and
   * free_counted with the pool itself. */
  tarn_status (*alloc)(void *callee, size_t size_bytes, size_t alignment_bytes, tarn_stream *stream,
                       void **address);
  tarn_status (*free)(void *callee, void *address, tarn_stream *stream);
  void *callee;
  tarn_pool_ops ops;
  void *context;
  tarn_pool_attributes attributes;
  char name[]; /* ops.name points here */
};

static tarn_status trim_nothing(void *context, size_t keep_bytes, size_t *released_bytes) {
  (void)context;
  (void)keep_bytes;
  *released_bytes = 0;
  return TARN_OK;
}

static tarn_status check_pool_ops(const tarn_pool_ops *ops) {
  if (ops == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "a pool needs its operations");
  if (ops->struct_size != sizeof *ops) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_pool_ops has %zu bytes here, %zu were given",
                     sizeof *ops, ops->struct_size);
  }
  const char *missing = ops->name == NULL         ? "name"
                        : ops->attributes == NULL ? "attributes"
                        : ops->alloc == NULL      ? "alloc"
                        : ops->free == NULL       ? "free"
                        : ops->note_use == NULL   ? "note_use"
                        : ops->stats == NULL      ? "stats"
                                                  : NULL;
  if (missing == NULL) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "pool operations lack %s", missing);
}

static tarn_status alloc_counted(void *callee, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  tarn_pool *pool = callee;
  tarn_pool_retain(pool); /* for the block */
  const tarn_status status =
      pool->ops.alloc(pool->context, size_bytes, alignment_bytes, stream, address);
  if (status != TARN_OK) {
    *address = NULL;
    tarn_pool_release(pool);
  }
  return status;
}

static tarn_status free_counted(void *callee, void *address, tarn_stream *stream) {
  tarn_pool *pool = callee;
  const tarn_status status = pool->ops.free(pool->context, address, stream);
  if (status == TARN_OK) tarn_pool_release(pool);
  return status;
}

tarn_status tarn_pool_create(const tarn_pool_ops *ops, void *context, tarn_pool **pool) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  *pool = NULL;
  tarn_status status = check_pool_ops(ops);
  if (status != TARN_OK) return status;
  tarn_pool_attributes attributes = {.struct_size = sizeof attributes, .node = -1};
  status = ops->attributes(context, &attributes);
  if (status != TARN_OK) return status;
  if (!tarn_is_power_of_two(attributes.alignment_bytes)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s: alignment %zu is not a power of two",
                     ops->name, attributes.alignment_bytes);
  }
  const size_t name_bytes = strlen(ops->name) + 1;
  tarn_pool *made = calloc(1, sizeof *made + name_bytes);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a pool's handle");
  atomic_init(&made->reference_count, ops->close != NULL ? 2 : 1);
  made->ops = *ops;
  made->context = context;
  const bool is_counted = ops->close == NULL;
  made->alloc = is_counted ? alloc_counted : ops->alloc;
  made->free = is_counted ? free_counted : ops->free;
  made->callee = is_counted ? (void *)made : context;
  made->attributes = attributes;
  memcpy(made->name, ops->name, name_bytes);
  made->ops.name = made->name;
  if (made->ops.trim == NULL) made->ops.trim = trim_nothing;
  *pool = made;
  return TARN_OK;
}

void tarn_pool_retain(tarn_pool *pool) {
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&pool->reference_count, 1, memory_order_relaxed);
}

static void drop_reference(tarn_pool *pool) {
  /* Release pairs with acquire: all use in other threads happens before destroy. */
  if (atomic_fetch_sub_explicit(&pool->reference_count, 1, memory_order_acq_rel) != 1) return;
  if (pool->ops.destroy != NULL) pool->ops.destroy(pool->context);
  free(pool);
}

void tarn_pool_release(tarn_pool *pool) {
  if (pool == NULL) return;
  size_t count = atomic_load_explicit(&pool->reference_count, memory_order_acquire);
  while (pool->ops.close != NULL) {
    if (count <= 2) {
      /* Said while this handle still keeps the pool alive. */
      pool->ops.close(pool->context, pool);
      break;
    }
    if (atomic_compare_exchange_weak_explicit(&pool->reference_count, &count, count - 1,
                                              memory_order_acq_rel, memory_order_acquire)) {
      return;
    }
  }
  drop_reference(pool);
}

void tarn_pool_end(tarn_pool *pool) {
  drop_reference(pool);
}

void *tarn__pool_context(const tarn_pool *pool, void (*destroy)(void *context)) {
  return pool != NULL && pool->ops.destroy == destroy ? pool->context : NULL;
}

const char *tarn_pool_name(const tarn_pool *pool) {
  return pool->name;
}

const tarn_pool_attributes *tarn_pool_attributes_of(const tarn_pool *pool) {
  return &pool->attributes;
}

static tarn_status refuse_alloc(tarn_pool *pool, size_t size_bytes, size_t alignment_bytes,
                                void **address) {
  if (address == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "address is NULL");
  *address = NULL;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  if (alignment_bytes != 0 && !tarn_is_power_of_two(alignment_bytes)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s: alignment %zu is not a power of two",
                     pool->name, alignment_bytes);
  }
  return tarn_fail(TARN_TOO_LARGE, "pool %s: %zu bytes aligned to %zu exceed any machine",
                   pool->name, size_bytes, alignment_bytes);
}

/* One function in two: the compiler writes out the common one, where the alignment is 0. */
static inline tarn_status alloc_checked(tarn_pool *pool, size_t size_bytes, size_t alignment_bytes,
                                        tarn_stream *stream, void **address) {
  const bool is_sound =
      address != NULL && pool != NULL && (alignment_bytes & (alignment_bytes - 1)) == 0 &&
      alignment_bytes <= PTRDIFF_MAX && size_bytes <= PTRDIFF_MAX - alignment_bytes;
  if (!is_sound) return refuse_alloc(pool, size_bytes, alignment_bytes, address);
  *address = NULL;
  if (size_bytes == 0) return TARN_OK;
  return pool->alloc(pool->callee, size_bytes, alignment_bytes, stream, address);
}

tarn_status tarn_pool_alloc(tarn_pool *pool, size_t size_bytes, tarn_stream *stream,
                            void **address) {
  return alloc_checked(pool, size_bytes, /*alignment_bytes=*/0, stream, address);
}

tarn_status tarn_pool_alloc_aligned(tarn_pool *pool, size_t size_bytes, size_t alignment_bytes,
                                    tarn_stream *stream, void **address) {
  return alloc_checked(pool, size_bytes, alignment_bytes, stream, address);
}

tarn_status tarn_pool_free(tarn_pool *pool, void *address, tarn_stream *stream) {
  if (address == NULL) return TARN_OK;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  return pool->free(pool->callee, address, stream); /* the pool may be gone then */
}

tarn_status tarn_pool_note_use(tarn_pool *pool, const void *address, tarn_stream *stream) {
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  if (address == NULL || tarn_stream_is_synchronous(stream)) return TARN_OK;
  return pool->ops.note_use(pool->context, (void *)(uintptr_t)address, stream);
}

tarn_status tarn_pool_trim(tarn_pool *pool, size_t keep_bytes, size_t *released_bytes) {
  size_t released = 0;
  if (released_bytes != NULL) *released_bytes = 0;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  const tarn_status status = pool->ops.trim(pool->context, keep_bytes, &released);
  if (released_bytes != NULL) *released_bytes = released;
  return status;
}

tarn_status tarn_pool_stats_of(tarn_pool *pool, tarn_pool_stats *stats) {
  if (pool == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a pool and a tarn_pool_stats with struct_size %zu are needed", sizeof *stats);
  }
  *stats = (tarn_pool_stats){.struct_size = sizeof *stats};
  return pool->ops.stats(pool->context, stats);
}
