/* linear_walk.c: chunks of a tensor, in place or through two buffers that a stream fills ahead.
 *
 *     stream   gather 0 | gather 1 | scatter 0, gather 2 | scatter 1, gather 3 | ...
 *     CPU                 chunk 0    chunk 1               chunk 2
 *
 * Chunk n lives in buffer n mod 2. A buffer's fence is recorded behind the last thing that the
 * stream was asked to do with it, and the CPU waits for it before it touches the buffer.
 */
#include "tensor/linear_walk.h"

#include "tensor/linear.h"
#include "tensor/tarn_copy.h"

enum { CHUNK_BYTES_DEFAULT = 4 << 20 };

/* --- geometry --- */

/* Elements behind dimension `dim`: of one of its indices. */
static int64_t inner_count(const tarn_layout *layout, int32_t dim) {
  int64_t count = 1;
  for (int32_t d = dim + 1; d < layout->rank; d++) count *= layout->shape[d];
  return count;
}

/* One dimension where that is possible, so that chunks may end anywhere. */
static void flatten(tarn_layout *layout) {
  tarn_layout flat = *layout;
  const int64_t count = tarn_layout_element_count(layout);
  if (tarn_layout_view(&flat, 1, &count) == TARN_OK) *layout = flat;
}

/* The first dimension of which one index fits into a chunk, cut into equal parts. */
static void split(tarn_linear_walk *walk, size_t chunk_bytes) {
  const tarn_layout *layout = &walk->tensor.layout;
  const size_t element_bytes = tarn_dtype_size_bytes(walk->tensor.dtype);
  const int64_t most = chunk_bytes < element_bytes ? 1 : (int64_t)(chunk_bytes / element_bytes);
  int32_t dim = 0;
  while (dim < layout->rank - 1 && inner_count(layout, dim) > most) dim++;
  const int64_t size = layout->shape[dim], step_max = most / inner_count(layout, dim);
  const int64_t parts = size / step_max + (size % step_max != 0);
  walk->split_dim = dim;
  walk->split_step = size / parts + (size % parts != 0);
  walk->chunk_count = size / walk->split_step + (size % walk->split_step != 0);
  for (int32_t d = 0; d < dim; d++) walk->chunk_count *= layout->shape[d];
}

/* Narrows a layout of the tensor's shape to the chunk, whatever its strides. */
static void narrow_to(const tarn_linear_walk *walk, int64_t index, tarn_layout *layout) {
  const int32_t dim = walk->split_dim;
  const tarn_layout *whole = &walk->tensor.layout;
  const int64_t size = whole->shape[dim];
  const int64_t parts = size / walk->split_step + (size % walk->split_step != 0);
  const int64_t start = index % parts * walk->split_step;
  int64_t outer = index / parts;
  layout->offset += start * layout->strides[dim];
  if (size > 1) {
    layout->shape[dim] = size - start < walk->split_step ? size - start : walk->split_step;
  }
  for (int32_t d = dim - 1; d >= 0; d--) {
    layout->offset += outer % whole->shape[d] * layout->strides[d];
    if (whole->shape[d] > 1) layout->shape[d] = 1;
    outer /= whole->shape[d];
  }
}

/* The chunk as a view of the tensor; returns the number of its first element. */
static int64_t view_chunk(const tarn_linear_walk *walk, int64_t index, tarn_tensor *view) {
  const int32_t dim = walk->split_dim;
  const int64_t size = walk->tensor.layout.shape[dim];
  const int64_t parts = size / walk->split_step + (size % walk->split_step != 0);
  *view = walk->tensor;
  narrow_to(walk, index, &view->layout);
  return (index / parts * size + index % parts * walk->split_step) *
         inner_count(&walk->tensor.layout, dim);
}

void tarn__linear_walk_narrow(const tarn_linear_walk *walk, tarn_layout *layout) {
  narrow_to(walk, walk->chunk_index, layout);
}

static bool is_in_place(const tarn_tensor *view) {
  return tarn_device_is_host(tarn_tensor_device(view)) && tarn_layout_is_contiguous(&view->layout);
}

/* --- staging --- */

static int buffer_of(int64_t index) {
  return (int)(index & 1);
}

/* The chunk's staging buffer, as a packed tensor. Borrows it. */
static tarn_status packed_chunk(tarn_linear_walk *walk, int64_t index, const tarn_tensor *view,
                                tarn_tensor *packed) {
  tarn_storage **staging = &walk->staging[buffer_of(index)];
  *packed = (tarn_tensor){.dtype = view->dtype};
  tarn_status status = tarn_layout_init(&packed->layout, view->layout.rank, view->layout.shape);
  if (status != TARN_OK) return status;
  if (*staging == NULL) {
    const size_t size_bytes = (size_t)walk->split_step *
                              (size_t)inner_count(&walk->tensor.layout, walk->split_dim) *
                              tarn_dtype_size_bytes(view->dtype);
    status = tarn__linear_check_pool(walk->pool, size_bytes);
    if (status != TARN_OK) return status;
    /* In the order of no stream: the CPU is the one who touches it. */
    status = tarn_storage_create(walk->pool, size_bytes, /*stream=*/NULL, staging);
    if (status != TARN_OK) return status;
  }
  packed->storage = *staging;
  return TARN_OK;
}

/* What is enqueued by now is waited for before the CPU touches the buffer: by a fence, or where
 * there is none to be had, at once. */
static tarn_status mark(tarn_linear_walk *walk, int buffer) {
  tarn_status status = TARN_OK;
  if (walk->fences[buffer] == NULL) {
    status = tarn_fence_create(walk->stream, &walk->fences[buffer]);
  }
  if (status == TARN_OK) status = tarn_fence_record(walk->fences[buffer], walk->stream);
  walk->is_pending[buffer] = status == TARN_OK;
  return status == TARN_OK ? TARN_OK : tarn_stream_synchronize(walk->stream);
}

/* Copies between a chunk and its buffer, and marks the point in the stream where that is done. */
static tarn_status move_chunk(tarn_linear_walk *walk, int64_t index, bool is_gather,
                              bool *was_synchronous) {
  tarn_tensor view, packed;
  tarn_copy_report report = {.struct_size = sizeof report};
  const int buffer = buffer_of(index);
  view_chunk(walk, index, &view);
  tarn_status status = packed_chunk(walk, index, &view, &packed);
  if (status != TARN_OK) return status;
  status = is_gather ? tarn_tensor_copy(&packed, &view, walk->stream, &report)
                     : tarn_tensor_copy(&view, &packed, walk->stream, &report);
  if (status != TARN_OK) return status;
  walk->moved_bytes += report.moved_bytes;
  *was_synchronous = report.was_synchronous;
  /* What was there before it is done as well. */
  if (report.was_synchronous || (!is_gather && report.is_source_read)) {
    walk->is_pending[buffer] = false;
    return TARN_OK;
  }
  return mark(walk, buffer);
}

static tarn_status await_buffer(tarn_linear_walk *walk, int buffer) {
  if (!walk->is_pending[buffer]) return TARN_OK;
  const tarn_status status = tarn_fence_synchronize(walk->fences[buffer]);
  if (status == TARN_OK) walk->is_pending[buffer] = false;
  return status;
}

/* Gathers the chunk where that is still to be done. */
static tarn_status gather_chunk(tarn_linear_walk *walk, int64_t index) {
  bool was_synchronous;
  if (walk->gathered_count > index) return TARN_OK;
  const tarn_status status = move_chunk(walk, index, /*is_gather=*/true, &was_synchronous);
  if (status != TARN_OK) return status;
  walk->gathered_count = index + 1;
  if (was_synchronous) walk->reads_ahead = false;
  return TARN_OK;
}

/* --- the walk --- */

/* With the chunks cut as `tensor` has its dimensions. */
static tarn_status begin(const tarn_tensor *tensor, uint32_t access, size_t chunk_bytes,
                         tarn_pool *pool, tarn_stream *stream, tarn_linear_walk *walk) {
  /* The CPU itself goes to memory of the host. */
  if (tarn_device_is_host(tarn_tensor_device(tensor))) {
    const tarn_status status = tarn_stream_synchronize(stream);
    if (status != TARN_OK) return status;
  }
  walk->tensor = *tensor;
  walk->pool = pool;
  walk->stream = stream;
  walk->access = access;
  walk->chunk_index = -1;
  walk->reads_ahead = !tarn_stream_is_synchronous(stream);
  if (tarn_layout_element_count(&tensor->layout) > 0) split(walk, chunk_bytes);
  return TARN_OK;
}

tarn_status tarn__linear_walk_begin_boxes(const tarn_tensor *tensor, uint32_t access,
                                          size_t chunk_bytes, tarn_pool *pool, tarn_stream *stream,
                                          tarn_linear_walk *walk) {
  *walk = (tarn_linear_walk){0};
  return begin(tensor, access, chunk_bytes, pool, stream, walk);
}

tarn_status tarn_linear_walk_begin(const tarn_tensor *tensor, uint32_t access, size_t chunk_bytes,
                                   tarn_pool *pool, tarn_stream *stream, tarn_linear_walk *walk) {
  if (walk == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the walk");
  *walk = (tarn_linear_walk){0};
  tarn_status status = tarn__linear_check(tensor, access);
  if (status != TARN_OK) return status;
  tarn_tensor flat = *tensor;
  if (tarn_layout_element_count(&flat.layout) > 0) flatten(&flat.layout);
  return begin(&flat, access, chunk_bytes == 0 ? CHUNK_BYTES_DEFAULT : chunk_bytes, pool, stream,
               walk);
}

/* Sends what was written back to where it belongs. */
static tarn_status end_chunk(tarn_linear_walk *walk) {
  bool was_synchronous;
  const bool is_written =
      walk->data != NULL && !walk->is_zero_copy && (walk->access & TARN_LINEAR_WRITE) != 0;
  walk->data = NULL;
  walk->size_bytes = 0;
  walk->element_count = 0;
  walk->is_zero_copy = false;
  if (!is_written) return TARN_OK;
  return move_chunk(walk, walk->chunk_index, /*is_gather=*/false, &was_synchronous);
}

static tarn_status bring_staged(tarn_linear_walk *walk, int64_t index, const tarn_tensor *view) {
  tarn_tensor packed, next;
  tarn_status status = TARN_OK;
  const bool is_read = (walk->access & TARN_LINEAR_READ) != 0;
  if (is_read) status = gather_chunk(walk, index);
  if (status == TARN_OK) status = await_buffer(walk, buffer_of(index));
  if (status == TARN_OK) status = packed_chunk(walk, index, view, &packed);
  if (status != TARN_OK) return status;
  if (is_read && walk->reads_ahead && index + 1 < walk->chunk_count) {
    view_chunk(walk, index + 1, &next);
    if (!is_in_place(&next)) status = gather_chunk(walk, index + 1);
    if (status != TARN_OK) return status;
  }
  walk->data = tarn_storage_data_mutable(packed.storage);
  return TARN_OK;
}

tarn_status tarn_linear_walk_next(tarn_linear_walk *walk) {
  tarn_tensor view;
  if (walk == NULL || walk->tensor.storage == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a walk that was not begun, or has ended");
  }
  tarn_status status = end_chunk(walk);
  if (status != TARN_OK || walk->chunk_index + 1 >= walk->chunk_count) return status;
  const int64_t index = ++walk->chunk_index;
  walk->first_element = view_chunk(walk, index, &view);
  const bool is_zero_copy = is_in_place(&view);
  if (is_zero_copy) {
    walk->data = (void *)(uintptr_t)tarn_tensor_data(&view);
  } else {
    status = bring_staged(walk, index, &view);
    if (status != TARN_OK) return status;
  }
  walk->is_zero_copy = is_zero_copy;
  walk->element_count = tarn_layout_element_count(&view.layout);
  walk->size_bytes = tarn_tensor_size_bytes(&view);
  return TARN_OK;
}

tarn_status tarn_linear_walk_end(tarn_linear_walk *walk) {
  if (walk == NULL || walk->tensor.storage == NULL) return TARN_OK;
  const tarn_status status = end_chunk(walk);
  for (int buffer = 0; buffer < 2; buffer++) {
    /* The copies noted the stream on them: no byte is reused before it has passed. */
    tarn_storage_release(walk->staging[buffer]);
    tarn_fence_destroy(walk->fences[buffer]);
  }
  *walk = (tarn_linear_walk){.moved_bytes = walk->moved_bytes};
  return status;
}
