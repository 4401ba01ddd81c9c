/* linear.c: linear access: the tensor's own memory where it lies in order, else a gathered copy. */
#include "tensor/tarn_linear.h"

#include "tensor/element.h"
#include "tensor/linear.h"
#include "tensor/linear_device.h"
#include "tensor/tarn_copy.h"

static tarn_status check_arguments(const tarn_tensor *tensor, uint32_t access) {
  const uint32_t known = TARN_LINEAR_READ | TARN_LINEAR_WRITE;
  if ((access & known) == 0 || (access & ~known) != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "linear access 0x%x is neither READ nor WRITE", access);
  }
  return tarn__element_check(tensor, "linear access to");
}

tarn_status tarn__linear_check(const tarn_tensor *tensor, uint32_t access) {
  tarn_status status = check_arguments(tensor, access);
  if (status != TARN_OK || (access & TARN_LINEAR_WRITE) == 0) return status;
  if (tarn_storage_is_read_only(tensor->storage)) {
    return tarn_fail(TARN_READ_ONLY, "linear access to write a read-only storage");
  }
  if (!tarn_layout_is_contiguous(&tensor->layout) && tarn_layout_overlaps_itself(&tensor->layout)) {
    return tarn_fail(TARN_OVERLAP, "linear access to write a tensor that overlaps itself");
  }
  return TARN_OK;
}

/* True, and how many elements there are, where they lie in order and there is one. */
static inline bool count_in_order(const tarn_layout *layout, int64_t *count) {
  int64_t elements = 1;
  int64_t misplaced = 0; /* no branch for each dimension */
  for (int32_t d = layout->rank - 1; d >= 0; d--) {
    const int64_t size = layout->shape[d];
    misplaced |= (layout->strides[d] ^ elements) & -(int64_t)(size != 1);
    elements *= size;
  }
  *count = elements;
  return misplaced == 0 && elements > 0;
}

/* The size of an element that is one value of a common width; 0 for all others, which may be right
 * as well. One byte for each code up to bool, with its widths as a set. */
static inline size_t plain_bytes(tarn_dtype dtype) {
  const uint64_t widths = UINT64_C(0x0008E010F8707878);
  const unsigned bits = dtype.bits;
  const bool is_width = dtype.code < 8 && (widths >> dtype.code * 8 & bits) != 0;
  return is_width && (bits & (bits - 1)) == 0 && dtype.lanes == 1 ? bits / 8 : 0;
}

/* True, and all of *span but `tensor` filled in, where the tensor's own memory will do. */
static inline bool begin_in_place(const tarn_tensor *tensor, size_t element_bytes, uint32_t access,
                                  tarn_linear_span *span) {
  int64_t count;
  size_t end, end_bytes;
  if (!count_in_order(&tensor->layout, &count)) return false;
  const tarn_bytes host = (access & TARN_LINEAR_WRITE) != 0
                              ? tarn_storage_host_bytes_mutable(tensor->storage)
                              : tarn_storage_host_bytes(tensor->storage);
  /* A negative offset is a huge one, and so is any number that does not fit. */
  if (!tarn_size_add((size_t)tensor->layout.offset, (size_t)count, &end) ||
      !tarn_size_mul(end, element_bytes, &end_bytes) || end_bytes > host.size_bytes) {
    return false;
  }
  span->data = (char *)host.address + (size_t)tensor->layout.offset * element_bytes;
  span->size_bytes = (size_t)count * element_bytes;
  span->moved_bytes = 0;
  span->is_zero_copy = true;
  span->access = access;
  span->staging = NULL;
  return true;
}

/* The staging copy as a tensor: row-major in span->staging. Borrows it. */
static tarn_status staging_tensor(const tarn_linear_span *span, tarn_tensor *packed) {
  *packed = (tarn_tensor){.storage = span->staging, .dtype = span->tensor.dtype};
  return tarn_layout_init(&packed->layout, span->tensor.layout.rank, span->tensor.layout.shape);
}

/* Brings the tensor's elements into the staging copy and waits for them. */
static tarn_status gather(tarn_linear_span *span, tarn_pool *pool, tarn_stream *stream) {
  tarn_tensor packed;
  tarn_copy_report report = {.struct_size = sizeof report};
  tarn_status status = staging_tensor(span, &packed);
  if (status != TARN_OK) return status;
  if (tarn__linear_is_turned(&span->tensor, pool, stream)) {
    status = tarn__linear_turn_in(&span->tensor, &packed, pool, stream);
    if (status == TARN_OK) span->moved_bytes += span->size_bytes;
    return status;
  }
  status = tarn_tensor_copy(&packed, &span->tensor, stream, &report);
  if (status != TARN_OK) return status;
  span->moved_bytes += report.moved_bytes;
  return report.was_synchronous ? TARN_OK : tarn_stream_synchronize(stream);
}

tarn_status tarn__linear_check_pool(tarn_pool *pool, size_t size_bytes) {
  if (pool == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "%zu bytes do not lie in order on the host, and no pool to stage them in",
                     size_bytes);
  }
  const tarn_pool_attributes *attributes = tarn_pool_attributes_of(pool);
  if (!tarn_device_is_host(attributes->device)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pool %s of device type %d cannot stage for the host",
                     tarn_pool_name(pool), attributes->device.type);
  }
  return TARN_OK;
}

static tarn_status begin_staged(uint32_t access, tarn_pool *pool, tarn_stream *stream,
                                tarn_linear_span *span) {
  tarn_status status = tarn__linear_check_pool(pool, span->size_bytes);
  if (status != TARN_OK) return status;
  /* In the order of no stream: the CPU is the one who touches it. */
  status = tarn_storage_create(pool, span->size_bytes, /*stream=*/NULL, &span->staging);
  if (status != TARN_OK) return status;
  if (access & TARN_LINEAR_READ) status = gather(span, pool, stream);
  if (status != TARN_OK) {
    tarn_storage_release(span->staging);
    return status;
  }
  span->data = tarn_storage_data_mutable(span->staging);
  return TARN_OK;
}

static void clear(tarn_linear_span *span) {
  span->data = NULL;
  span->size_bytes = span->moved_bytes = 0;
  span->is_zero_copy = false;
  span->access = 0;
  span->staging = NULL;
}

/* In place, and behind the stream. */
static tarn_status begin_behind(tarn_stream *stream, tarn_linear_span *span) {
  const tarn_status status = tarn_stream_synchronize(stream);
  if (status != TARN_OK) clear(span);
  return status;
}

/* Whatever the short way left: what is staged, unusual element types, no elements, mistakes. */
static __attribute__((noinline)) tarn_status begin_elsewhere(const tarn_tensor *tensor,
                                                             uint32_t access, tarn_pool *pool,
                                                             tarn_stream *stream,
                                                             tarn_linear_span *span) {
  clear(span);
  tarn_status status = tarn__linear_check(tensor, access);
  if (status != TARN_OK) return status;
  const size_t element_bytes = tarn_dtype_size_bytes(tensor->dtype);
  if (begin_in_place(tensor, element_bytes, access, span)) return begin_behind(stream, span);
  if (tarn_layout_element_count(&tensor->layout) == 0) {
    span->is_zero_copy = true;
    return begin_behind(stream, span);
  }
  tarn_linear_span made = {
      .size_bytes = tarn_tensor_size_bytes(tensor), .access = access, .tensor = *tensor};
  status = begin_staged(access, pool, stream, &made);
  if (status == TARN_OK) *span = made;
  return status;
}

tarn_status tarn_linear_begin(const tarn_tensor *tensor, uint32_t access, tarn_pool *pool,
                              tarn_stream *stream, tarn_linear_span *span) {
  if (span == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the span");
  if (access - 1 < (TARN_LINEAR_READ | TARN_LINEAR_WRITE) && tensor != NULL &&
      tensor->storage != NULL) {
    const size_t element_bytes = plain_bytes(tensor->dtype);
    if (element_bytes != 0 && begin_in_place(tensor, element_bytes, access, span)) {
      return stream == NULL ? TARN_OK : begin_behind(stream, span);
    }
  }
  return begin_elsewhere(tensor, access, pool, stream, span);
}

tarn_status tarn_linear_begin_rows(const tarn_tensor *tensor, int64_t first_row, int64_t row_count,
                                   uint32_t access, tarn_pool *pool, tarn_stream *stream,
                                   tarn_linear_span *span) {
  if (span == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "no place for the span");
  clear(span);
  tarn_status status = check_arguments(tensor, access);
  if (status != TARN_OK) return status;
  tarn_tensor rows = *tensor;
  if (rows.layout.rank == 0) status = tarn_layout_unsqueeze(&rows.layout, 0);
  if (status == TARN_OK) status = tarn_layout_narrow(&rows.layout, 0, first_row, row_count);
  if (status != TARN_OK) return status;
  return tarn_linear_begin(&rows, access, pool, stream, span);
}

/* Sends what was written back to where it belongs. */
static tarn_status scatter(tarn_linear_span *span, tarn_stream *stream) {
  tarn_tensor packed;
  tarn_copy_report report = {.struct_size = sizeof report};
  tarn_status status = staging_tensor(span, &packed);
  if (status != TARN_OK) return status;
  tarn_pool *pool = tarn_storage_pool(span->staging);
  if (tarn__linear_is_turned(&span->tensor, pool, stream)) {
    status = tarn__linear_turn_out(&span->tensor, &packed, pool, stream);
    if (status == TARN_OK) span->moved_bytes += span->size_bytes;
    return status;
  }
  status = tarn_tensor_copy(&span->tensor, &packed, stream, &report);
  span->moved_bytes += report.moved_bytes;
  return status;
}

static __attribute__((noinline)) tarn_status end_staged(tarn_linear_span *span,
                                                        tarn_stream *stream) {
  tarn_status status = TARN_OK;
  if (span->access & TARN_LINEAR_WRITE) status = scatter(span, stream);
  tarn_storage_release(span->staging);
  span->staging = NULL;
  span->data = NULL;
  return status;
}

tarn_status tarn_linear_end(tarn_linear_span *span, tarn_stream *stream) {
  if (span == NULL) return TARN_OK;
  if (span->staging != NULL) return end_staged(span, stream);
  span->data = NULL;
  return TARN_OK;
}
