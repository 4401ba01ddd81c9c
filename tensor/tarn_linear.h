/* tarn_linear.h: a tensor's elements as one row-major run of host memory.
 *
 * Where the bytes already lie so on the host, begin is free and the pointer is the tensor's own.
 * Otherwise the elements are gathered into memory of a pool, across the bus if need be, and end
 * scatters back what was written. The span says which of the two happened and how many bytes moved.
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
  bool is_zero_copy;  /* data is the tensor's own memory */
  size_t moved_bytes; /* copied by begin, and by end as well once it has returned */
  /* Private: what end needs. */
  tarn_tensor tensor;
  tarn_storage *staging;
  uint32_t access;
} tarn_linear_span;

/* Opens `tensor` for linear access: `access` is READ, WRITE or both. The CPU may follow `data` at
 * once: where that is the tensor's own memory, or its elements are read, begin waits for all that
 * is enqueued on `stream` (NULL where nothing is pending, then begin is free); earlier work on
 * other streams is the caller's to order. `pool` lends the staging memory, is host memory, and may
 * be NULL where the caller knows that none is needed (TARN_INVALID_ARGUMENT if it was). The span
 * retains the tensor's storage until end; spans may be open side by side, and each end writes all
 * its elements. A WRITE without READ must write every element. TARN_READ_ONLY and TARN_OVERLAP for
 * a WRITE to a read-only storage, and to a tensor that reaches an element twice. */
TARN_API TARN_NODISCARD tarn_status tarn_linear_begin(const tarn_tensor *tensor, uint32_t access,
                                                      tarn_pool *pool, tarn_stream *stream,
                                                      tarn_linear_span *span);

/* Closes the span: enqueues the scatter of a written staging copy on `stream` (the tensor is up to
 * date for work behind it) and drops what begin retained. The span is released in any case, with
 * only its numbers left; a failure says that the write did not reach the tensor. Nothing happens to
 * a zeroed span, to one that has ended, and to NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_linear_end(tarn_linear_span *span, tarn_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
