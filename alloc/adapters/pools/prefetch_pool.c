/* prefetch_pool.c: an adaptor that has a block's pages made before it is used. */
#include "alloc/adapters/pools/tarn_prefetch_pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "alloc/adapters/pools/over_pool.h"
#include "alloc/tarn_tag.h"
#include "alloc/tarn_touch.h"

static const size_t SIZE_MIN_BYTES = (size_t)64 << 10;

/* Outlives the pool while a stream still has something to touch. */
typedef struct prefetch_counts {
  atomic_size_t reference_count;
  atomic_uint_fast64_t prefetched_bytes;
  atomic_uint_fast64_t failed_count;
} prefetch_counts;

typedef struct prefetch_pool {
  tarn__over over;
  size_t size_min_bytes;
  int32_t thread_count;
  bool touches; /* host memory, and no function of the caller's */
  tarn_prefetch_function prefetch;
  void *prefetch_context;
  prefetch_counts *counts;
} prefetch_pool;

/* What a stream has to touch. */
typedef struct touch_job {
  prefetch_counts *counts;
  char *first;
  size_t size_bytes;
  int32_t thread_count;
} touch_job;

static void release_counts(prefetch_counts *counts) {
  /* Release pairs with acquire: all counting happens before the end. */
  if (counts != NULL &&
      atomic_fetch_sub_explicit(&counts->reference_count, 1, memory_order_acq_rel) == 1) {
    free(counts);
  }
}

/* Relaxed: sums that nothing depends on. */
static void count_result(prefetch_counts *counts, tarn_status status, size_t size_bytes) {
  if (status == TARN_OK) {
    atomic_fetch_add_explicit(&counts->prefetched_bytes, size_bytes, memory_order_relaxed);
  } else if (status != TARN_OUT_OF_MEMORY) {
    atomic_fetch_add_explicit(&counts->failed_count, 1, memory_order_relaxed);
  }
}

/* --- touching --- */

/* The whole pages inside: those at the edges may be others' as well, who may be writing there. */
static size_t inner_pages(char *address, size_t size_bytes, char **first) {
  const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  const size_t skipped = (size_t)(-(uintptr_t)address) & (page_bytes - 1);
  *first = address + skipped;
  return size_bytes > skipped ? (size_bytes - skipped) & ~(page_bytes - 1) : 0;
}

static tarn_status touch_pages(char *first, size_t size_bytes, int32_t thread_count) {
  const tarn_touch_options options = {.struct_size = sizeof options, .thread_count = thread_count};
  return tarn_touch(first, size_bytes, &options);
}

static void run_touch_job(void *argument) {
  touch_job *job = argument;
  const tarn_status status = touch_pages(job->first, job->size_bytes, job->thread_count);
  /* Nobody can be told any more. */
  count_result(job->counts, status == TARN_OUT_OF_MEMORY ? TARN_SYSTEM_ERROR : status,
               job->size_bytes);
  release_counts(job->counts);
  free(job);
}

/* The job is the stream's work, and nobody else knows of it: the upstream is told. */
static tarn_status touch_in_order(prefetch_pool *self, char *first, size_t size_bytes,
                                  tarn_stream *stream) {
  touch_job *job = malloc(sizeof *job);
  if (job == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to have pages touched");
  *job = (touch_job){self->counts, first, size_bytes, self->thread_count};
  atomic_fetch_add_explicit(&self->counts->reference_count, 1, memory_order_relaxed);
  const tarn_status status = tarn_stream_call(stream, run_touch_job, job);
  if (status != TARN_OK) {
    release_counts(self->counts);
    free(job);
    return status;
  }
  if (tarn_pool_note_use(self->over.upstream, first, stream) == TARN_OK) return TARN_OK;
  return tarn_stream_synchronize(stream);
}

/* The bytes that were asked for are in *size_bytes; those that are counted here and now, too. */
static tarn_status touch_block(prefetch_pool *self, void *address, size_t *size_bytes,
                               tarn_stream *stream) {
  char *first;
  const size_t inner_bytes = inner_pages(address, *size_bytes, &first);
  *size_bytes = 0;
  if (inner_bytes == 0) return TARN_OK;
  if (tarn_stream_is_synchronous(stream)) {
    *size_bytes = inner_bytes;
    return touch_pages(first, inner_bytes, self->thread_count);
  }
  /* A device's stream may be captured, and would run the job at each launch. */
  if (tarn_stream_device(stream).type != TARN_DEVICE_CPU) return TARN_OK;
  return touch_in_order(self, first, inner_bytes, stream);
}

/* --- the pool --- */

static tarn_status prefetch_block(prefetch_pool *self, void *address, size_t size_bytes,
                                  tarn_stream *stream) {
  tarn_status status = TARN_OK;
  if (self->prefetch != NULL) {
    status = self->prefetch(self->prefetch_context, address, size_bytes, stream);
  } else if (self->touches) {
    status = touch_block(self, address, &size_bytes, stream);
  } else {
    return TARN_OK;
  }
  count_result(self->counts, status, size_bytes);
  return status;
}

/* The pages cannot be had, which is the last error: the block goes back. */
static tarn_status return_block(prefetch_pool *self, void *address, tarn_stream *stream) {
  const tarn_error cause = *tarn_last_error();
  const tarn_status freed = tarn_pool_free(self->over.upstream, address, stream);
  (void)tarn_fail_again(&cause);
  return freed;
}

static tarn_status prefetch_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                  tarn_stream *stream, void **address) {
  prefetch_pool *self = context;
  if (size_bytes < self->size_min_bytes) {
    return tarn__over_alloc(&self->over, size_bytes, alignment_bytes, stream, address);
  }
  tarn_status status = tarn__over_charge(&self->over, size_bytes);
  if (status != TARN_OK) return status;
  status =
      tarn_pool_alloc_aligned(self->over.upstream, size_bytes, alignment_bytes, stream, address);
  if (status == TARN_OK) {
    const tarn_error before = *tarn_last_error();
    status = prefetch_block(self, *address, size_bytes, stream);
    if (status != TARN_OUT_OF_MEMORY || return_block(self, *address, stream) != TARN_OK) {
      if (status != TARN_OK) (void)tarn_fail_again(&before); /* the call did not fail by it */
      return tarn__over_enter(&self->over, size_bytes, tarn_tag_current(), stream, address);
    }
  }
  *address = NULL;
  tarn__over_count_refusal(&self->over, status);
  tarn__over_pay_back(&self->over, size_bytes);
  return status;
}

static void prefetch_destroy(void *context) {
  prefetch_pool *self = context;
  release_counts(self->counts);
  tarn__over_destroy(self);
}

static tarn_status check_options(const tarn_pool *upstream,
                                 const tarn_prefetch_pool_options *options) {
  const tarn_status status =
      tarn__over_check_size("tarn_prefetch_pool_options", sizeof *options, options->struct_size);
  if (status != TARN_OK) return status;
  if (options->thread_count < 0 || options->thread_count > TARN_TOUCH_THREADS_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d threads; at most %d", (int)options->thread_count,
                     TARN_TOUCH_THREADS_MAX);
  }
  const int32_t type = tarn_pool_attributes_of(upstream)->device.type;
  if (options->prefetch != NULL || type == TARN_DEVICE_CPU || type == TARN_DEVICE_CUDA ||
      type == TARN_DEVICE_CUDA_HOST) {
    return TARN_OK;
  }
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "memory of device type %d is prefetched by a function of the caller's only",
                   (int)type);
}

static prefetch_pool *make_prefetch(const tarn_pool *upstream,
                                    const tarn_prefetch_pool_options *options) {
  prefetch_pool *self = calloc(1, sizeof *self);
  prefetch_counts *counts = calloc(1, sizeof *counts);
  if (self == NULL || counts == NULL) {
    free(self);
    free(counts);
    return NULL;
  }
  atomic_init(&counts->reference_count, 1);
  self->counts = counts;
  self->size_min_bytes = options->size_min_bytes != 0 ? options->size_min_bytes : SIZE_MIN_BYTES;
  self->thread_count = options->thread_count;
  self->prefetch = options->prefetch;
  self->prefetch_context = options->prefetch_context;
  self->touches = tarn_pool_attributes_of(upstream)->device.type == TARN_DEVICE_CPU;
  return self;
}

tarn_status tarn_prefetch_pool_create(tarn_pool *upstream,
                                      const tarn_prefetch_pool_options *options, tarn_pool **pool) {
  const tarn_prefetch_pool_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  tarn_status status = tarn__over_check(pool, upstream);
  if (status == TARN_OK) status = check_options(upstream, options);
  if (status != TARN_OK) return status;
  tarn_pool_ops ops = tarn__over_ops;
  ops.alloc = prefetch_alloc;
  ops.destroy = prefetch_destroy;
  prefetch_pool *self = make_prefetch(upstream, options);
  return tarn__over_create(self != NULL ? &self->over : NULL, upstream, &ops, "prefetch",
                           options->name, pool);
}

tarn_status tarn_prefetch_pool_tell(tarn_pool *pool, tarn_prefetch_told *told) {
  if (told == NULL || told->struct_size != sizeof *told) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_prefetch_told with struct_size %zu is needed",
                     sizeof *told);
  }
  *told = (tarn_prefetch_told){.struct_size = sizeof *told};
  const prefetch_pool *self = tarn_pool_context(pool, prefetch_destroy);
  if (self == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "not a pool that prefetches");
  told->prefetched_bytes =
      atomic_load_explicit(&self->counts->prefetched_bytes, memory_order_relaxed);
  told->failed_count = atomic_load_explicit(&self->counts->failed_count, memory_order_relaxed);
  return TARN_OK;
}
