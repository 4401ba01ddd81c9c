/* pool.c: the pool seam: checks an implementation once, then every call's arguments. */
#include "alloc/pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/magazine_fast.h"
#include "alloc/maintenance.h"

struct tarn_pool {
  /* Handles; and lent-out blocks, or where the implementation counts those, one for them all. */
  atomic_size_t reference_count;
  /* What the calls go to: the implementation, or where tarn counts the blocks, alloc_counted and
   * free_counted with the pool itself. */
  tarn_status (*alloc)(void *callee, size_t size_bytes, size_t alignment_bytes, tarn_stream *stream,
                       void **address);
  tarn_status (*free)(void *callee, void *address, tarn_stream *stream);
  void *callee;
  tarn__caching *caching; /* what its threads keep is asked first; NULL: not a caching pool */
  tarn_pool_ops ops;
  void *context;
  tarn_pool_attributes attributes;
  atomic_bool is_maintained;   /* once; it may be no more */
  _Atomic(tarn_trace *) trace; /* NULL: never started */
  char name[];                 /* ops.name points here */
};

static tarn_status trim_nothing(void *context, size_t keep_bytes, size_t *released_bytes) {
  (void)context;
  (void)keep_bytes;
  *released_bytes = 0;
  return TARN_OK;
}

static tarn_status decay_nothing(void *context, uint64_t now_ns, size_t *released_bytes) {
  (void)context;
  (void)now_ns;
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
  if (missing != NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool operations lack %s", missing);
  }
  const int pausing = (ops->pause != NULL) + (ops->resume != NULL) + (ops->is_paused != NULL);
  if (pausing == 0 || pausing == 3) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "pool %s has some of pause, resume and is_paused, but not all", ops->name);
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
  if (made->ops.decay == NULL) made->ops.decay = decay_nothing;
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
  if (atomic_load_explicit(&pool->is_maintained, memory_order_relaxed)) {
    tarn__maintenance_forget(pool);
  }
  if (pool->ops.destroy != NULL) pool->ops.destroy(pool->context);
  tarn__trace_destroy(atomic_load_explicit(&pool->trace, memory_order_relaxed));
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

void *tarn_pool_context(const tarn_pool *pool, void (*destroy)(void *context)) {
  return pool != NULL && pool->ops.destroy == destroy ? pool->context : NULL;
}

const tarn_pool_ops *tarn__pool_ops(const tarn_pool *pool, void **context) {
  *context = pool->context;
  return &pool->ops;
}

void tarn__pool_set_caching(tarn_pool *pool, tarn__caching *caching) {
  pool->caching = caching;
}

void tarn__pool_set_maintained(tarn_pool *pool) {
  /* Relaxed: whoever adds the pool has a handle, and gives it up with a release. */
  atomic_store_explicit(&pool->is_maintained, true, memory_order_relaxed);
}

const char *tarn_pool_name(const tarn_pool *pool) {
  return pool->name;
}

const tarn_pool_attributes *tarn_pool_attributes_of(const tarn_pool *pool) {
  return &pool->attributes;
}

/* What is not to be passed on: nothing at all, or a mistake. */
static __attribute__((noinline)) tarn_status refuse_alloc(tarn_pool *pool, size_t size_bytes,
                                                          size_t alignment_bytes, void **address) {
  if (address == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "address is NULL");
  *address = NULL;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  if (alignment_bytes != 0 && !tarn_is_power_of_two(alignment_bytes)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s: alignment %zu is not a power of two",
                     pool->name, alignment_bytes);
  }
  if (size_bytes == 0) return TARN_OK;
  return tarn_fail(TARN_TOO_LARGE, "pool %s: %zu bytes aligned to %zu exceed any machine",
                   pool->name, size_bytes, alignment_bytes);
}

/* What is no mistake, and no more than the address space with room to round it. */
static inline bool is_sound(const tarn_pool *pool, size_t size_bytes, size_t alignment_bytes,
                            void *const *address) {
  return tarn__is_common(pool != NULL) && tarn__is_common(address != NULL) &&
         tarn__is_common(size_bytes != 0) &&
         tarn__is_common((alignment_bytes & (alignment_bytes - 1)) == 0) &&
         tarn__is_common(alignment_bytes <= PTRDIFF_MAX) &&
         tarn__is_common(size_bytes <= PTRDIFF_MAX - alignment_bytes);
}

/* Not what the calling thread has at hand. */
static __attribute__((noinline)) tarn_status alloc_across(tarn_pool *pool, size_t size_bytes,
                                                          size_t alignment_bytes,
                                                          tarn_stream *stream, void **address) {
  *address = NULL;
  return pool->alloc(pool->callee, size_bytes, alignment_bytes, stream, address);
}

static __attribute__((noinline)) tarn_status alloc_on(tarn_pool *pool, size_t size_bytes,
                                                      tarn_stream *stream, void **address,
                                                      tarn__magazine *magazine) {
  if (tarn__magazine_alloc_on(magazine, size_bytes, stream, address)) return TARN_OK;
  return alloc_across(pool, size_bytes, /*alignment_bytes=*/0, stream, address);
}

/* The same as for no stream; each of the two runs straight on. */
static __attribute__((noinline)) tarn_status alloc_on_stream(tarn_pool *pool, size_t size_bytes,
                                                             tarn_stream *stream, void **address,
                                                             tarn__magazine *magazine) {
  const bool is_lent =
      tarn__magazine_alloc_recent(magazine, size_bytes, tarn__stream_face(stream), address);
  return tarn__is_common(is_lent) ? TARN_OK : alloc_on(pool, size_bytes, stream, address, magazine);
}

/* A thread without a place in a caching pool. */
static __attribute__((noinline)) tarn_status alloc_elsewhere(tarn_pool *pool, size_t size_bytes,
                                                             tarn_stream *stream, void **address) {
  tarn__magazine *magazine = tarn__magazine_of_caller(pool->caching);
  if (magazine == NULL) {
    return alloc_across(pool, size_bytes, /*alignment_bytes=*/0, stream, address);
  }
  tarn__magazine_enter(magazine);
  return alloc_on(pool, size_bytes, stream, address, magazine);
}

tarn_status tarn_pool_alloc(tarn_pool *pool, size_t size_bytes, tarn_stream *stream,
                            void **address) {
  if (!tarn__is_common(is_sound(pool, size_bytes, /*alignment_bytes=*/0, address))) {
    return refuse_alloc(pool, size_bytes, /*alignment_bytes=*/0, address);
  }
  if (!tarn__is_common(pool->caching != NULL)) {
    *address = NULL;
    return pool->alloc(pool->callee, size_bytes, /*alignment_bytes=*/0, stream, address);
  }
  tarn__magazine *magazine = NULL;
  if (!tarn__is_common(tarn__magazine_is_here(pool->caching, &magazine))) {
    return alloc_elsewhere(pool, size_bytes, stream, address);
  }
  if (!tarn__is_common(stream == NULL)) {
    return alloc_on_stream(pool, size_bytes, stream, address, magazine);
  }
  const bool is_lent = tarn__magazine_alloc_recent(magazine, size_bytes, /*face=*/NULL, address);
  return tarn__is_common(is_lent) ? TARN_OK : alloc_on(pool, size_bytes, stream, address, magazine);
}

tarn_status tarn_pool_alloc_aligned(tarn_pool *pool, size_t size_bytes, size_t alignment_bytes,
                                    tarn_stream *stream, void **address) {
  if (!is_sound(pool, size_bytes, alignment_bytes, address)) {
    return refuse_alloc(pool, size_bytes, alignment_bytes, address);
  }
  /* Every block of the pool has the pool's own alignment. */
  if (alignment_bytes <= pool->attributes.alignment_bytes) {
    return tarn_pool_alloc(pool, size_bytes, stream, address);
  }
  return alloc_across(pool, size_bytes, alignment_bytes, stream, address);
}

static __attribute__((noinline)) tarn_status free_on(tarn_pool *pool, void *address,
                                                     tarn_stream *stream,
                                                     tarn__magazine *magazine) {
  if (tarn__magazine_free_on(magazine, address, stream)) return TARN_OK;
  return pool->free(pool->callee, address, stream); /* the pool may be gone then */
}

static __attribute__((noinline)) tarn_status free_on_stream(tarn_pool *pool, void *address,
                                                            tarn_stream *stream,
                                                            tarn__magazine *magazine) {
  const bool is_kept = tarn__magazine_free_known(magazine, address, tarn__stream_face(stream));
  return tarn__is_common(is_kept) ? TARN_OK : free_on(pool, address, stream, magazine);
}

static __attribute__((noinline)) tarn_status refuse_free(void) {
  return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
}

/* A thread without a place in a caching pool. */
static __attribute__((noinline)) tarn_status free_elsewhere(tarn_pool *pool, void *address,
                                                            tarn_stream *stream) {
  tarn__magazine *magazine = tarn__magazine_of_caller(pool->caching);
  if (magazine == NULL) return pool->free(pool->callee, address, stream);
  tarn__magazine_enter(magazine);
  return free_on(pool, address, stream, magazine);
}

tarn_status tarn_pool_free(tarn_pool *pool, void *address, tarn_stream *stream) {
  if (!tarn__is_common(address != NULL)) return TARN_OK;
  if (!tarn__is_common(pool != NULL)) return refuse_free();
  if (!tarn__is_common(pool->caching != NULL)) return pool->free(pool->callee, address, stream);
  tarn__magazine *magazine = NULL;
  if (!tarn__is_common(tarn__magazine_is_here(pool->caching, &magazine))) {
    return free_elsewhere(pool, address, stream);
  }
  if (!tarn__is_common(stream == NULL)) return free_on_stream(pool, address, stream, magazine);
  const bool is_kept = tarn__magazine_free_known(magazine, address, /*face=*/NULL);
  return tarn__is_common(is_kept) ? TARN_OK : free_on(pool, address, stream, magazine);
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

tarn_status tarn_pool_decay(tarn_pool *pool, uint64_t now_ns, size_t *released_bytes) {
  size_t released = 0;
  if (released_bytes != NULL) *released_bytes = 0;
  if (pool == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL");
  const tarn_status status = pool->ops.decay(pool->context, now_ns, &released);
  if (released_bytes != NULL) *released_bytes = released;
  return status;
}

tarn_status tarn_pool_share_range(tarn_pool *pool, const void *address, size_t size_bytes,
                                  tarn_stream *stream, bool may_mark, tarn_share_memory *memory) {
  if (pool == NULL || address == NULL || size_bytes == 0 || memory == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "sharing needs a pool, its bytes and a description");
  }
  if (pool->ops.share_range == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "pool %s: its memory is this process's alone", pool->name);
  }
  return pool->ops.share_range(pool->context, address, size_bytes, stream, may_mark, memory);
}

tarn_status tarn_pool_stats_of(tarn_pool *pool, tarn_pool_stats *stats) {
  if (pool == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a pool and a tarn_pool_stats with struct_size %zu are needed", sizeof *stats);
  }
  *stats = (tarn_pool_stats){.struct_size = sizeof *stats};
  return pool->ops.stats(pool->context, stats);
}

/* --- what not every pool tells --- */

static tarn_status refuse_untold(const tarn_pool *pool, const char *what) {
  return pool == NULL ? tarn_fail(TARN_INVALID_ARGUMENT, "pool is NULL")
                      : tarn_fail(TARN_NOT_SUPPORTED, "pool %s %s", pool->name, what);
}

tarn_status tarn_pool_reset_peaks(tarn_pool *pool) {
  if (pool == NULL || pool->ops.reset_peaks == NULL) {
    return refuse_untold(pool, "cannot begin its peaks again");
  }
  return pool->ops.reset_peaks(pool->context);
}

tarn_status tarn_pool_size_of(tarn_pool *pool, const void *address, size_t *size_bytes) {
  if (size_bytes == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "size_bytes is NULL");
  *size_bytes = 0;
  if (pool == NULL || pool->ops.size_of == NULL) {
    return refuse_untold(pool, "does not tell the sizes of its blocks");
  }
  if (address == NULL) return tarn_fail(TARN_NOT_FOUND, "no block is at NULL");
  return pool->ops.size_of(pool->context, address, size_bytes);
}

_Atomic(tarn_trace *) *tarn__pool_trace(tarn_pool *pool) {
  return &pool->trace;
}

tarn_status tarn__pool_check_traced(const tarn_pool *pool) {
  if (pool != NULL && pool->ops.set_trace != NULL) return TARN_OK;
  return refuse_untold(pool, "records nothing");
}

void tarn__pool_set_trace(tarn_pool *pool, tarn_trace *trace) {
  pool->ops.set_trace(pool->context, trace);
}

tarn_status tarn__pool_take_snapshot(tarn_pool *pool, tarn_snapshot *snapshot) {
  if (pool->ops.snapshot == NULL) return refuse_untold(pool, "gives no snapshot");
  return pool->ops.snapshot(pool->context, snapshot);
}
