/* tarn_linear.h: a tensor's elements as one row-major run of host memory.
 *
 * Where the bytes already lie so on the host, begin is free and the pointer is the tensor's own.
 * Otherwise the elements are gathered into memory of a pool, across the bus if need be, and end
 * scatters back what was written. The span says which of the two happened and how many bytes moved.
 * Staging memory that is pinned lets a device's large and turned tensors come over in pieces, each
 * put in order by the CPU while the next one is on its way; pageable memory is copied at once.
 *
 * Zero-copy is whatever a CPU can load from (pageable, pinned and managed memory) in row-major
 * order without gaps, whatever the strides of dimensions of size 1; and what has no elements.
 *
 * Spans borrow: the caller holds the tensor's storage from begin to end. Between the two a span is
 * its opener's, and used by one thread at a time. Any number may be open on one tensor, from any
 * threads:
 *
 * 1. READ beside READ is always right.
 * 2. A WRITE span in place shows its writes at once to every other span in place; a staged span
 *    shows what there was when it began.
 * 3. A staged WRITE writes *all* its elements at end, those too that nobody changed. Of two staged
 *    WRITE spans that share elements the one that ends last wins, all of it.
 * 4. Who writes an element while another thread reads or writes it orders the two; tarn does not.
 * 5. A variable that holds an open span is not begun again before its end: what it held is lost.
 */
#ifndef TARN_LINEAR_H
#define TARN_LINEAR_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TARN_LINEAR_READ = 1u << 0,  /* the elements are there when begin returns */
  TARN_LINEAR_WRITE = 1u << 1, /* what lies in the span at end becomes the tensor's elements */
};

typedef struct tarn_linear_span {
  void *data; /* host address of the first element; NULL where the tensor has none. Where the
                 access is READ only it is not to be written */
  size_t size_bytes;
  size_t moved_bytes; /* of elements, copied by begin, and by end as well once it has returned */
  bool is_zero_copy;  /* data is the tensor's own memory */
  /* Private: what end needs. Where the span is zero-copy, `tensor` is not even written. */
  uint32_t access;
  tarn_storage *staging;
  tarn_tensor tensor;
} tarn_linear_span;

/* Opens `tensor` for linear access: `access` is READ, WRITE or both. The CPU may follow `data` at
 * once: where that is the tensor's own memory, or its elements are read, begin waits for all that
 * is enqueued on `stream` (NULL where nothing is pending, then begin is free); earlier work on
 * other streams is the caller's to order. `pool` lends the staging memory, is host memory, and may
 * be NULL where the caller knows that none is needed (TARN_INVALID_ARGUMENT if it was). A WRITE
 * without READ must write every element. TARN_READ_ONLY and TARN_OVERLAP for a WRITE to a read-only
 * storage, and to a tensor that reaches an element twice; TARN_INVALID_ARGUMENT for a tensor whose
 * elements do not lie in its storage. */
TARN_API TARN_NODISCARD tarn_status tarn_linear_begin(const tarn_tensor *tensor, uint32_t access,
                                                      tarn_pool *pool, tarn_stream *stream,
                                                      tarn_linear_span *span);

/* The same for the rows first_row to first_row + row_count - 1 alone: rows are indices of dimension
 * 0, and a tensor of rank 0 is one row. Only these elements are looked at, moved and written back;
 * a few rows may lie in order where the whole does not. TARN_INVALID_ARGUMENT where a row is not
 * one of the tensor's. */
TARN_API TARN_NODISCARD tarn_status tarn_linear_begin_rows(const tarn_tensor *tensor,
                                                           int64_t first_row, int64_t row_count,
                                                           uint32_t access, tarn_pool *pool,
                                                           tarn_stream *stream,
                                                           tarn_linear_span *span);

/* Closes the span: enqueues the scatter of a written staging copy on `stream`, behind which the
 * tensor is up to date, and gives the staging memory back. The span is over in any case, with only
 * its numbers left; a failure says that the write did not reach the tensor. Nothing happens to a
 * zeroed span, to one that has ended, and to NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_linear_end(tarn_linear_span *span, tarn_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
