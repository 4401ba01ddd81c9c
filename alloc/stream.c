/* stream.c: the stream seam: checked calls, fences, and what they teach about order. */
#include "alloc/stream.h"

#include "alloc/capture.h"
#include "alloc/staging.h"

#include <stdlib.h>
#include <string.h>

/* --- life --- */

static tarn_status check_stream_ops(const tarn_stream_ops *ops, uint32_t flags) {
  if (ops == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "a stream needs its operations");
  if (ops->struct_size != sizeof *ops) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_stream_ops has %zu bytes here, %zu were given",
                     sizeof *ops, ops->struct_size);
  }
  const bool is_asynchronous = (flags & TARN_STREAM_SYNCHRONOUS) == 0;
  const bool has_fences = ops->fence_create != NULL && ops->fence_record != NULL &&
                          ops->fence_wait != NULL && ops->fence_query != NULL &&
                          ops->fence_synchronize != NULL && ops->fence_destroy != NULL;
  const char *missing = ops->name == NULL                ? "name"
                        : ops->copy == NULL              ? "copy"
                        : ops->call == NULL              ? "call"
                        : ops->synchronize == NULL       ? "synchronize"
                        : is_asynchronous && !has_fences ? "some of its fence functions"
                                                         : NULL;
  if (missing == NULL) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "stream operations lack %s", missing);
}

tarn_status tarn_stream_create(const tarn_stream_ops *ops, void *context,
                               const tarn_stream_options *options, tarn_stream **stream) {
  if (stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "stream is NULL");
  *stream = NULL;
  const tarn_stream_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "tarn_stream_options has %zu bytes here, %zu were given", sizeof *options,
                     options->struct_size);
  }
  if ((options->flags & ~(uint32_t)TARN_STREAM_SYNCHRONOUS) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "unknown stream flags 0x%x", options->flags);
  }
  tarn_status status = check_stream_ops(ops, options->flags);
  if (status != TARN_OK) return status;

  tarn_stream *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a stream's handle");
  atomic_init(&made->reference_count, 1);
  made->ops = ops;
  made->context = context;
  made->flags = options->flags;
  made->device = options->device.type != 0 ? options->device : tarn_device_make(TARN_DEVICE_CPU, 0);
  if ((options->flags & TARN_STREAM_SYNCHRONOUS) == 0) {
    status = tarn__order_register(made);
  }
  if (status != TARN_OK) {
    free(made);
    return status;
  }
  *stream = made;
  return TARN_OK;
}

tarn_status tarn__stream_refuse_closed(const tarn_stream *stream, const char *what) {
  return tarn_fail(TARN_INVALID_ARGUMENT, "%s on a %s stream that is closed", what,
                   stream->ops->name);
}

void tarn_stream_retain(tarn_stream *stream) {
  if (stream == NULL) return;
  /* Relaxed: whoever retains already holds a reference. */
  atomic_fetch_add_explicit(&stream->reference_count, 1, memory_order_relaxed);
}

bool tarn__stream_try_retain(tarn_stream *stream) {
  size_t count = atomic_load(&stream->reference_count);
  while (count != 0 && !atomic_compare_exchange_weak(&stream->reference_count, &count, count + 1)) {
  }
  return count != 0;
}

void tarn_stream_release(tarn_stream *stream) {
  if (stream == NULL) return;
  /* Release pairs with acquire: all use in other threads happens before destroy. */
  if (atomic_fetch_sub_explicit(&stream->reference_count, 1, memory_order_acq_rel) != 1) return;
  if (!tarn__stream_is_closed(stream)) {
    if (stream->base != NULL) tarn__order_retire(stream->base);
    if (stream->ops->destroy != NULL) stream->ops->destroy(stream->context);
  }
  tarn_staging_release(atomic_load_explicit(&stream->staging, memory_order_relaxed));
  free(stream);
}

tarn_status tarn_stream_close(tarn_stream *stream) {
  if (stream == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "stream is NULL");
  if (tarn_stream_is_synchronous(stream) || tarn__stream_is_closed(stream)) return TARN_OK;
  if (tarn__order_is_captured(stream)) {
    return tarn_fail(TARN_BUSY, "the %s stream is being captured into a graph", stream->ops->name);
  }
  tarn__order_close(stream);
  if (stream->ops->destroy != NULL) stream->ops->destroy(stream->context);
  stream->context = NULL;
  return TARN_OK;
}

const char *tarn_stream_name(const tarn_stream *stream) {
  return stream == NULL ? "now" : stream->ops->name;
}

tarn_device tarn_stream_device(const tarn_stream *stream) {
  return stream == NULL ? tarn_device_make(TARN_DEVICE_CPU, 0) : stream->device;
}

bool tarn_stream_is_synchronous(const tarn_stream *stream) {
  return stream == NULL || (stream->flags & TARN_STREAM_SYNCHRONOUS) != 0;
}

uint32_t tarn_stream_number(const tarn_stream *stream) {
  return tarn_stream_is_synchronous(stream) ? 0 : tarn__order_slot(stream) + 1;
}

void *tarn_stream_context(const tarn_stream *stream, const tarn_stream_ops *kind) {
  return stream != NULL && stream->ops == kind ? stream->context : NULL;
}

/* --- work --- */

static tarn_status refuse_device(const char *what, tarn_device device) {
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "%s without a stream reaches host memory only, not device type %d index %d",
                   what, (int)device.type, (int)device.index);
}

static tarn_status copy_now(const tarn_copy_rows *rows) {
  if (!tarn_device_is_host(rows->dst_device)) return refuse_device("a copy", rows->dst_device);
  if (!tarn_device_is_host(rows->src_device)) return refuse_device("a copy", rows->src_device);
  for (size_t row = 0; row < rows->row_count; row++) {
    memcpy((char *)rows->dst + row * rows->dst_pitch_bytes,
           (const char *)rows->src + row * rows->src_pitch_bytes, rows->row_bytes);
  }
  return TARN_OK;
}

/* What a call on a captured stream cannot do: the driver would have to wait for the stream. */
static tarn_status refuse_captured(const tarn_stream *stream, const char *what) {
  return tarn_fail(TARN_NOT_SUPPORTED, "%s: the %s stream is being captured into a graph", what,
                   tarn_stream_name(stream));
}

/* Pageable memory, which a device's stream can only reach by waiting. */
static bool is_out_of_reach(const tarn_stream *stream, tarn_device device) {
  return device.type == TARN_DEVICE_CPU && !tarn_device_is_host(stream->device) &&
         tarn__order_is_captured(stream);
}

/* Through the ring; past it where the driver captures the stream, for it to refuse. */
static tarn_status copy_by_staging(tarn_stream *stream, const tarn_copy_rows *rows) {
  tarn_staging *staging;
  const bool reads_host = rows->src_device.type == TARN_DEVICE_CPU;
  const tarn_status status = tarn_stream_staging(stream, reads_host, &staging);
  if (status != TARN_OK) return status;
  if (staging == NULL) return stream->ops->copy(stream->context, rows);
  return tarn__staging_copy_rows(staging, stream, rows);
}

tarn_status tarn__stream_check_rows(const tarn_stream *stream, const tarn_copy_rows *rows) {
  if (rows == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "rows is NULL");
  if (rows->row_bytes == 0 || rows->row_count == 0) return TARN_OK;
  if (rows->dst == NULL || rows->src == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a copy of %zu rows of %zu bytes from %p to %p",
                     rows->row_count, rows->row_bytes, rows->src, rows->dst);
  }
  if (rows->row_count > 1 &&
      (rows->dst_pitch_bytes < rows->row_bytes || rows->src_pitch_bytes < rows->row_bytes)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "pitches of %zu (destination) and %zu (source) bytes hold no row of %zu",
                     rows->dst_pitch_bytes, rows->src_pitch_bytes, rows->row_bytes);
  }
  if (tarn__stream_is_closed(stream)) return tarn__stream_refuse_closed(stream, "a copy");
  return TARN_OK;
}

tarn_status tarn_stream_copy_rows(tarn_stream *stream, const tarn_copy_rows *rows) {
  const tarn_status status = tarn__stream_check_rows(stream, rows);
  if (status != TARN_OK || rows->row_bytes == 0 || rows->row_count == 0) return status;
  if (stream == NULL) return copy_now(rows);
  if (is_out_of_reach(stream, rows->dst_device) || is_out_of_reach(stream, rows->src_device)) {
    return refuse_captured(stream, "a copy of pageable memory");
  }
  if (atomic_load_explicit(&stream->staging, memory_order_relaxed) != NULL &&
      tarn__staging_takes(rows)) {
    return copy_by_staging(stream, rows);
  }
  return stream->ops->copy(stream->context, rows);
}

tarn_status tarn_stream_copy(tarn_stream *stream, void *dst, tarn_device dst_device,
                             const void *src, tarn_device src_device, size_t size_bytes) {
  const tarn_copy_rows rows = {.dst = dst,
                               .src = src,
                               .dst_pitch_bytes = size_bytes,
                               .src_pitch_bytes = size_bytes,
                               .row_bytes = size_bytes,
                               .row_count = 1,
                               .dst_device = dst_device,
                               .src_device = src_device};
  return tarn_stream_copy_rows(stream, &rows);
}

/* Whatever host function the stream is behind by now, it lies behind this point. */
static void note_call(tarn_stream *stream) {
  if (stream->base == NULL || tarn__order_is_captured(stream)) return;
  atomic_store(&stream->called, tarn__order_stamp(stream).ticket);
}

/* The point behind which the stream's host functions lie; false where all have been seen to run. */
static bool may_await_call(const tarn_stream *stream, tarn__stamp *point) {
  if (stream->base == NULL || tarn__stream_is_closed(stream)) return false;
  *point = (tarn__stamp){tarn__stream_slot(stream), atomic_load(&stream->called)};
  return point->ticket != 0 && !tarn__order_is_captured(stream) && !tarn__order_is_seen(*point);
}

static tarn_status call(tarn_stream *stream, tarn_host_function function, void *argument) {
  const tarn_status status = stream->ops->call(stream->context, function, argument);
  if (status == TARN_OK) note_call(stream);
  return status;
}

typedef struct fill_job {
  void *dst;
  size_t size_bytes;
  uint8_t value;
} fill_job;

static void run_fill(void *argument) {
  const fill_job *job = argument;
  memset(job->dst, job->value, job->size_bytes);
  free(argument);
}

/* For a stream without a fill of its own. */
static tarn_status fill_by_call(tarn_stream *stream, void *dst, uint8_t value, size_t size_bytes) {
  /* The job is freed when it has run, and would run at every launch. */
  if (tarn__order_is_captured(stream)) return refuse_captured(stream, "a fill by a host function");
  fill_job *job = malloc(sizeof *job);
  if (job == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to enqueue a fill");
  *job = (fill_job){.dst = dst, .size_bytes = size_bytes, .value = value};
  const tarn_status status = call(stream, run_fill, job);
  if (status != TARN_OK) free(job);
  return status;
}

tarn_status tarn_stream_fill(tarn_stream *stream, void *dst, tarn_device dst_device, uint8_t value,
                             size_t size_bytes) {
  if (size_bytes == 0) return TARN_OK;
  if (dst == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a fill of %zu bytes at NULL", size_bytes);
  }
  if (tarn__stream_is_closed(stream)) return tarn__stream_refuse_closed(stream, "a fill");
  if (stream != NULL && is_out_of_reach(stream, dst_device)) {
    return refuse_captured(stream, "a fill of pageable memory");
  }
  if (stream != NULL && stream->ops->fill != NULL) {
    return stream->ops->fill(stream->context, dst, dst_device, value, size_bytes);
  }
  if (!tarn_device_is_host(dst_device)) return refuse_device("a fill", dst_device);
  if (stream != NULL) return fill_by_call(stream, dst, value, size_bytes);
  memset(dst, value, size_bytes);
  return TARN_OK;
}

tarn_status tarn_stream_call(tarn_stream *stream, tarn_host_function function, void *argument) {
  if (function == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "function is NULL");
  if (tarn__stream_is_closed(stream)) return tarn__stream_refuse_closed(stream, "a host function");
  if (stream != NULL) return call(stream, function, argument);
  function(argument);
  return TARN_OK;
}

tarn_status tarn_stream_synchronize(tarn_stream *stream) {
  if (tarn_stream_is_synchronous(stream)) return TARN_OK;
  if (tarn__stream_is_closed(stream)) {
    tarn__order_cost cost = {0};
    return tarn__order_behind(NULL, tarn__order_stamp(stream), &cost);
  }
  if (tarn__order_is_captured(stream)) return refuse_captured(stream, "a synchronize");
  const tarn__stamp reached = tarn__order_close_ticket(stream);
  const tarn_status status = stream->ops->synchronize(stream->context);
  if (status == TARN_OK) tarn__order_saw(reached);
  return status;
}

tarn_status tarn_stream_edge(tarn_stream *earlier, tarn_stream *later) {
  tarn__stamp point;
  tarn__order_edge(earlier, later);
  if (earlier != NULL && later != NULL && may_await_call(earlier, &point)) note_call(later);
  return TARN_OK;
}

/* --- staging --- */

static tarn_status check_staging(const tarn_stream *stream, const tarn_staging *staging) {
  if (tarn_stream_is_synchronous(stream) || stream->device.type == TARN_DEVICE_CPU) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the %s stream copies pageable memory without a ring",
                     tarn_stream_name(stream));
  }
  if (tarn__stream_is_closed(stream)) return tarn__stream_refuse_closed(stream, "a staging ring");
  if (staging == NULL || tarn_staging_device(staging).type != TARN_DEVICE_CPU) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT,
                   "staging ring %s is pageable itself: the %s stream would wait for each slot",
                   tarn_staging_name(staging), stream->ops->name);
}

tarn_status tarn_stream_set_staging(tarn_stream *stream, tarn_staging *staging) {
  const tarn_status status = check_staging(stream, staging);
  if (status != TARN_OK) return status;
  if (staging != NULL) tarn_staging_retain(staging);
  tarn_staging_release(atomic_exchange(&stream->staging, staging));
  return TARN_OK;
}

tarn_status tarn__stream_ask_captured(const tarn_stream *stream, bool *is_captured) {
  *is_captured = stream != NULL && tarn__order_is_captured(stream);
  if (*is_captured || stream == NULL || tarn__stream_is_closed(stream)) return TARN_OK;
  if (stream->ops->is_capturing == NULL) return TARN_OK;
  return stream->ops->is_capturing(stream->context, is_captured);
}

tarn_status tarn_stream_staging(tarn_stream *stream, bool reads_host, tarn_staging **staging) {
  if (staging == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "staging is NULL");
  *staging = NULL;
  if (stream == NULL || tarn__stream_is_closed(stream)) return TARN_OK;
  /* Acquire pairs with the exchange that set it: what the ring consists of. */
  tarn_staging *found = atomic_load_explicit(&stream->staging, memory_order_acquire);
  if (found == NULL) return TARN_OK;
  bool is_captured;
  tarn__stamp point;
  tarn_status status = tarn__stream_ask_captured(stream, &is_captured);
  if (status != TARN_OK || is_captured) return status;
  if (reads_host && may_await_call(stream, &point)) {
    tarn__order_cost cost = {0};
    status = tarn__order_behind(NULL, point, &cost);
  }
  if (status == TARN_OK) *staging = found;
  return status;
}

/* --- fences --- */

static uint64_t pack_mark(tarn__stamp stamp) {
  return stamp.ticket * TARN_STREAMS_MAX + stamp.slot;
}

static tarn__stamp unpack_mark(uint64_t mark) {
  return (tarn__stamp){(uint32_t)(mark % TARN_STREAMS_MAX), mark / TARN_STREAMS_MAX};
}

tarn_status tarn_fence_create(tarn_stream *stream, tarn_fence **fence) {
  if (fence == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "fence is NULL");
  *fence = NULL;
  return tarn__stream_is_closed(stream) ? tarn__stream_refuse_closed(stream, "a fence")
                                        : tarn__fence_create(stream, fence);
}

tarn_status tarn__fence_create(tarn_stream *stream, tarn_fence **fence) {
  *fence = NULL;
  tarn_fence *made = calloc(1, sizeof *made);
  if (made == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a fence's handle");
  atomic_init(&made->reference_count, 1);
  if (!tarn_stream_is_synchronous(stream)) {
    made->ops = stream->ops;
    const tarn_status status = stream->ops->fence_create(stream->context, &made->native);
    if (status != TARN_OK) {
      free(made);
      return status;
    }
  }
  *fence = made;
  return TARN_OK;
}

void tarn__fence_retain(tarn_fence *fence) {
  atomic_fetch_add_explicit(&fence->reference_count, 1, memory_order_relaxed);
}

void tarn_fence_destroy(tarn_fence *fence) {
  if (fence == NULL) return;
  if (atomic_fetch_sub_explicit(&fence->reference_count, 1, memory_order_acq_rel) != 1) return;
  if (fence->ops != NULL) fence->ops->fence_destroy(fence->native);
  free(fence);
}

tarn_status tarn_fence_record(tarn_fence *fence, tarn_stream *stream) {
  if (fence == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "fence is NULL");
  const tarn_stream_ops *kind = tarn_stream_is_synchronous(stream) ? NULL : stream->ops;
  if (fence->ops != kind) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a fence of kind %s cannot be recorded on a %s stream",
                     fence->ops == NULL ? "now" : fence->ops->name, tarn_stream_name(stream));
  }
  if (kind == NULL) return TARN_OK;
  if (tarn__stream_is_closed(stream)) return tarn__stream_refuse_closed(stream, "a fence's record");
  tarn__stamp point;
  const bool is_behind_call = may_await_call(stream, &point);
  if (is_behind_call) atomic_store(&fence->is_behind_call, true);
  const uint64_t old_mark = atomic_exchange(&fence->mark, 0);
  const tarn__stamp reached = tarn__order_close_ticket(stream);
  const tarn_status status = kind->fence_record(stream->context, fence->native);
  if (status == TARN_OK && !is_behind_call) atomic_store(&fence->is_behind_call, false);
  atomic_store(&fence->mark, status == TARN_OK ? pack_mark(reached) : old_mark);
  return status;
}

/* A mark in a capture is no point in time: until the capture is destroyed there is no answer, and
 * then it is passed. */
static bool is_in_capture(uint64_t mark) {
  return mark != 0 && tarn__order_is_private(unpack_mark(mark).slot);
}

static tarn_status answer_in_capture(uint64_t mark) {
  if (tarn__order_is_seen(unpack_mark(mark))) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "the fence was recorded in a capture: it is no point in time");
}

tarn_status tarn_fence_query(tarn_fence *fence) {
  if (fence == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "fence is NULL");
  if (fence->ops == NULL) return TARN_OK;
  const uint64_t mark = atomic_load(&fence->mark);
  if (is_in_capture(mark)) return answer_in_capture(mark);
  const tarn_status status = fence->ops->fence_query(fence->native);
  if (status == TARN_OK && mark != 0 && mark == atomic_load(&fence->mark)) {
    tarn__order_saw(unpack_mark(mark));
  }
  return status;
}

tarn_status tarn_fence_synchronize(tarn_fence *fence) {
  if (fence == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "fence is NULL");
  if (fence->ops == NULL) return TARN_OK;
  const uint64_t mark = atomic_load(&fence->mark);
  if (is_in_capture(mark)) return answer_in_capture(mark);
  const tarn_status status = fence->ops->fence_synchronize(fence->native);
  if (status == TARN_OK && mark != 0 && mark == atomic_load(&fence->mark)) {
    tarn__order_saw(unpack_mark(mark));
  }
  return status;
}

tarn_status tarn_stream_wait(tarn_stream *stream, tarn_fence *fence) {
  if (fence == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "fence is NULL");
  if (tarn__stream_is_closed(stream)) return tarn__stream_refuse_closed(stream, "a wait");
  if (tarn_stream_is_synchronous(stream) || stream->ops != fence->ops) {
    if (tarn__order_is_captured(stream) && fence->ops != NULL) {
      return refuse_captured(stream, "a wait by the host");
    }
    return tarn_fence_synchronize(fence);
  }
  const uint64_t mark = atomic_load(&fence->mark);
  tarn_capture *joined = NULL;
  if (mark != 0) {
    /* Passed, and the driver might not like to hear of it: nothing reaches into a capture. */
    const bool is_seen = tarn__order_is_seen(unpack_mark(mark));
    if (is_seen && (is_in_capture(mark) || tarn__order_is_captured(stream))) return TARN_OK;
    const tarn_status followed = tarn__capture_follow(stream, unpack_mark(mark).slot, &joined);
    if (followed != TARN_OK) return followed;
  }
  const bool was_behind_call = atomic_load(&fence->is_behind_call);
  const tarn_status status = stream->ops->fence_wait(stream->context, fence->native);
  if (status == TARN_OK && (was_behind_call || atomic_load(&fence->is_behind_call))) {
    note_call(stream);
  }
  if (status != TARN_OK && joined != NULL) tarn__capture_undo_join(joined, stream);
  if (status == TARN_OK && mark != 0 && mark == atomic_load(&fence->mark)) {
    tarn__order_knows(stream, unpack_mark(mark));
  }
  return status;
}
