/* stream_copy.c: checked calls for planes, batches and grids, and what replaces them. */
#include "alloc/tarn_stream_copy.h"

#include "alloc/stream.h"

/* Pageable memory is for tarn_stream_copy_rows: it knows rings, captures and calls that wait. */
static bool is_pageable(tarn_device dst, tarn_device src) {
  return dst.type == TARN_DEVICE_CPU || src.type == TARN_DEVICE_CPU;
}

uint32_t tarn_stream_copy_abilities(const tarn_stream *stream) {
  if (stream == NULL) return 0;
  const tarn_stream_ops *ops = stream->ops;
  return (ops->copy_planes != NULL ? TARN_STREAM_COPIES_PLANES : 0u) |
         (ops->copy_batch != NULL ? TARN_STREAM_COPIES_BATCHES : 0u) |
         (ops->copy_grid != NULL ? TARN_STREAM_COPIES_GRIDS : 0u) |
         (atomic_load_explicit(&stream->staging, memory_order_relaxed) != NULL
              ? TARN_STREAM_COPIES_BY_RING
              : 0u);
}

/* --- planes --- */

static tarn_status copy_planes_one_by_one(tarn_stream *stream, const tarn_copy_planes *planes) {
  tarn_copy_rows rows = planes->rows;
  for (size_t plane = 0; plane < planes->plane_count; plane++) {
    rows.dst = (char *)planes->rows.dst + (int64_t)plane * planes->dst_pitch_bytes;
    rows.src = (const char *)planes->rows.src + (int64_t)plane * planes->src_pitch_bytes;
    const tarn_status status = tarn_stream_copy_rows(stream, &rows);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status tarn_stream_copy_planes(tarn_stream *stream, const tarn_copy_planes *planes) {
  if (planes == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "planes is NULL");
  const tarn_copy_rows *rows = &planes->rows;
  if (planes->plane_count == 0) return TARN_OK;
  if (planes->plane_count == 1 || stream == NULL || stream->ops->copy_planes == NULL ||
      is_pageable(rows->dst_device, rows->src_device)) {
    return copy_planes_one_by_one(stream, planes);
  }
  const tarn_status checked = tarn__stream_check_rows(stream, rows);
  if (checked != TARN_OK || rows->row_bytes == 0 || rows->row_count == 0) return checked;
  const tarn_status status = stream->ops->copy_planes(stream->context, planes);
  return status == TARN_NOT_SUPPORTED ? copy_planes_one_by_one(stream, planes) : status;
}

/* --- batches --- */

static tarn_status check_spans(const tarn_copy_span *spans, size_t count) {
  if (spans == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a batch of %zu copies at NULL", count);
  }
  for (size_t i = 0; i < count; i++) {
    if (spans[i].size_bytes == 0 || (spans[i].dst != NULL && spans[i].src != NULL)) continue;
    return tarn_fail(TARN_INVALID_ARGUMENT, "copy %zu of %zu: %zu bytes from %p to %p", i, count,
                     spans[i].size_bytes, spans[i].src, spans[i].dst);
  }
  return TARN_OK;
}

static tarn_status copy_one_by_one(tarn_stream *stream, const tarn_copy_span *spans, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const tarn_copy_span *span = &spans[i];
    const tarn_status status = tarn_stream_copy(stream, span->dst, span->dst_device, span->src,
                                                span->src_device, span->size_bytes);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

/* How many spans from the first one on the stream may be given at once. */
static size_t leading_count(const tarn_copy_span *spans, size_t count) {
  size_t leading = 0;
  while (leading < count && spans[leading].size_bytes != 0 &&
         !is_pageable(spans[leading].dst_device, spans[leading].src_device)) {
    leading++;
  }
  return leading;
}

tarn_status tarn_stream_copy_batch(tarn_stream *stream, const tarn_copy_span *spans, size_t count) {
  if (count == 0) return TARN_OK;
  tarn_status status = check_spans(spans, count);
  if (status == TARN_OK && tarn__stream_is_closed(stream)) {
    status = tarn__stream_refuse_closed(stream, "a batch of copies");
  }
  bool may_batch = stream != NULL && stream->ops->copy_batch != NULL;
  for (size_t done = 0; done < count && status == TARN_OK;) {
    const size_t leading = may_batch ? leading_count(spans + done, count - done) : 0;
    const size_t step = leading > 0 ? leading : 1;
    if (leading > 1) {
      status = stream->ops->copy_batch(stream->context, spans + done, leading);
      may_batch = status != TARN_NOT_SUPPORTED;
      if (!may_batch) {
        status = TARN_OK; /* nothing was enqueued: the same spans again, one by one */
        continue;
      }
    } else {
      status = copy_one_by_one(stream, spans + done, step);
    }
    done += step;
  }
  return status;
}

/* --- grids --- */

static bool are_types_equal(const tarn_copy_grid *grid) {
  return grid->dst_type.code == grid->src_type.code && grid->dst_type.bits == grid->src_type.bits &&
         grid->dst_type.lanes == grid->src_type.lanes;
}

static tarn_status check_grid(const tarn_copy_grid *grid, bool *is_empty) {
  *is_empty = false;
  if (grid == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "grid is NULL");
  if (grid->rank < 0 || grid->rank > TARN_COPY_GRID_RANK_MAX) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a grid of rank %d: at most %d", (int)grid->rank,
                     TARN_COPY_GRID_RANK_MAX);
  }
  if (grid->rank > 0 &&
      (grid->shape == NULL || grid->dst_strides_bytes == NULL || grid->src_strides_bytes == NULL)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a grid of rank %d lacks its shape or its strides",
                     (int)grid->rank);
  }
  for (int32_t dim = 0; dim < grid->rank; dim++) {
    if (grid->shape[dim] < 0) {
      return tarn_fail(TARN_INVALID_ARGUMENT, "extent %d of a grid is %lld", (int)dim,
                       (long long)grid->shape[dim]);
    }
    *is_empty |= grid->shape[dim] == 0;
  }
  if (are_types_equal(grid) != (grid->element_bytes != 0)) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a grid of %zu-byte elements whose two types are %s: a size, or two types",
                     grid->element_bytes, are_types_equal(grid) ? "equal" : "different");
  }
  if (*is_empty || (grid->dst != NULL && grid->src != NULL)) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "a grid from %p to %p", grid->src, grid->dst);
}

/* One element of host memory for all: its value is what matters, not where it lies. */
static bool repeats_one(const tarn_copy_grid *grid) {
  bool repeats = grid->dst_device.type != TARN_DEVICE_CPU;
  for (int32_t dim = 0; dim < grid->rank; dim++) repeats &= grid->src_strides_bytes[dim] == 0;
  return repeats;
}

tarn_status tarn_stream_copy_grid(tarn_stream *stream, const tarn_copy_grid *grid) {
  bool is_empty;
  const tarn_status status = check_grid(grid, &is_empty);
  if (status != TARN_OK || is_empty) return status;
  if (tarn__stream_is_closed(stream)) return tarn__stream_refuse_closed(stream, "a grid's copy");
  if (stream == NULL || stream->ops->copy_grid == NULL) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the %s stream has no way to copy elements",
                     tarn_stream_name(stream));
  }
  if (!tarn_device_is_host(stream->device) && is_pageable(grid->dst_device, grid->src_device) &&
      !repeats_one(grid)) {
    return tarn_fail(TARN_NOT_SUPPORTED, "the %s stream's device does not reach pageable memory",
                     tarn_stream_name(stream));
  }
  return stream->ops->copy_grid(stream->context, grid);
}
