/* tarn_tensor.h: a tensor is a value: a storage, an element type and a layout.
 *
 * It lives in the caller's memory. Assigning it *borrows*: the copy is good as long as somebody
 * holds the storage. tarn_tensor_retain makes an owner of a copy, tarn_tensor_release ends one.
 * Views change a tensor in place, cost a few nanoseconds and touch no reference count:
 *
 *     tarn_tensor row = matrix;                       // borrows
 *     status = tarn_tensor_select(&row, 0, 3);        // row 3, same bytes
 */
#ifndef TARN_TENSOR_H
#define TARN_TENSOR_H

#include "alloc/tarn_storage.h"
#include "tensor/tarn_dtype.h"
#include "tensor/tarn_layout_inline.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_tensor {
  tarn_storage *storage; /* NULL only in a tensor that is zeroed or was released */
  tarn_dtype dtype;
  tarn_layout layout;
} tarn_tensor;

/* A new row-major tensor from `pool`, usable in the order of `stream`; the caller owns it (release
 * it). Elements are not initialised. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_create(tarn_pool *pool, tarn_dtype dtype,
                                                       int32_t rank, const int64_t *shape,
                                                       tarn_stream *stream, tarn_tensor *tensor);

/* A row-major tensor at byte offset_bytes (a multiple of the element size) of `storage`, which is
 * retained. Everything must lie inside the storage, and its address be aligned as for wrap. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_of_storage(tarn_storage *storage, tarn_dtype dtype,
                                                           int32_t rank, const int64_t *shape,
                                                           size_t offset_bytes,
                                                           tarn_tensor *tensor);

/* Wraps a blob: `strides` in elements, NULL for row-major; the element at index 0 lies offset_bytes
 * behind blob->address; blob->size_bytes 0 with a non-NULL address: computed from the layout, which
 * then must not reach in front of the address. Takes the blob's deleter on success.
 *
 * Negative and zero strides are welcome as long as every element lies in the blob. The
 * claimed device is believed.
 *
 * An address that is not aligned to one value of the dtype (8 bytes for complex128, 4 for
 * float32x4) is TARN_INVALID_ARGUMENT, here and in tarn_tensor_of_storage: no C code may load
 * through it. Wrap such bytes as uint8 and copy them. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_wrap(const tarn_blob *blob, tarn_dtype dtype,
                                                     int32_t rank, const int64_t *shape,
                                                     const int64_t *strides, size_t offset_bytes,
                                                     tarn_tensor *tensor);

TARN_API void tarn_tensor_retain(tarn_tensor *tensor);
/* Drops the reference and zeroes the tensor; a zeroed tensor is fine. */
TARN_API void tarn_tensor_release(tarn_tensor *tensor);

/* Address of the element at index (0, 0, ...), for reading; and for writing: NULL where read-only.
 * NULL for a tensor without elements. */
TARN_API const void *tarn_tensor_data(const tarn_tensor *tensor);
TARN_API void *tarn_tensor_data_mutable(const tarn_tensor *tensor);
/* The strides in bytes, for libraries that count so (NumPy, PEP 3118): layout.rank of them. Where
 * one does not fit, nobody steps along the dimension, and it is 0. */
TARN_API void tarn_tensor_strides_bytes(const tarn_tensor *tensor,
                                        int64_t strides_bytes[TARN_RANK_MAX]);
TARN_API tarn_device tarn_tensor_device(const tarn_tensor *tensor);
TARN_API int64_t tarn_tensor_element_count(const tarn_tensor *tensor);
/* Elements times element size: what a packed copy holds; SIZE_MAX where that does not fit, as an
 * expanded tensor may name more than memory holds. */
TARN_API size_t tarn_tensor_size_bytes(const tarn_tensor *tensor);
/* Whole elements that the storage holds, from its start; -1 for a tensor without a storage. */
TARN_API int64_t tarn_tensor_capacity(const tarn_tensor *tensor);
TARN_API bool tarn_tensor_is_contiguous(const tarn_tensor *tensor);
static inline bool tarn_tensor_is_dense(const tarn_tensor *tensor) {
  return tarn_layout_is_dense(&tensor->layout);
}
static inline bool tarn_tensor_is_channels_last(const tarn_tensor *tensor) {
  return tarn_layout_is_channels_last(&tensor->layout);
}
static inline bool tarn_tensor_overlaps_itself(const tarn_tensor *tensor) {
  return tarn_layout_overlaps_itself(&tensor->layout);
}

/* Views: tarn_layout.h says what each does and when it fails. */
static inline TARN_NODISCARD tarn_status tarn_tensor_select(tarn_tensor *tensor, int32_t dim,
                                                            int64_t index) {
  if (TARN_IS_CONSTANT(dim) && tarn_inline_select(&tensor->layout, dim, index)) return TARN_OK;
  return tarn_layout_select(&tensor->layout, dim, index);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_slice(tarn_tensor *tensor, int32_t dim,
                                                           int64_t start, int64_t stop,
                                                           int64_t step) {
  if (TARN_IS_CONSTANT(step) && step > 0 &&
      tarn_inline_slice(&tensor->layout, dim, start, stop, step)) {
    return TARN_OK;
  }
  return tarn_layout_slice(&tensor->layout, dim, start, stop, step);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_narrow(tarn_tensor *tensor, int32_t dim,
                                                            int64_t start, int64_t length) {
  if (TARN_IS_CONSTANT(dim) && tarn_inline_narrow(&tensor->layout, dim, start, length)) {
    return TARN_OK;
  }
  return tarn_layout_narrow(&tensor->layout, dim, start, length);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_permute(tarn_tensor *tensor, int32_t dim_count,
                                                             const int32_t *dims) {
  if (tarn_inline_is_worth(dim_count) && tarn_inline_permute(&tensor->layout, dim_count, dims)) {
    return TARN_OK;
  }
  return tarn_layout_permute(&tensor->layout, dim_count, dims);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_transpose(tarn_tensor *tensor, int32_t a,
                                                               int32_t b) {
  if (TARN_IS_CONSTANT(a) && TARN_IS_CONSTANT(b) && tarn_inline_transpose(&tensor->layout, a, b)) {
    return TARN_OK;
  }
  return tarn_layout_transpose(&tensor->layout, a, b);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_expand(tarn_tensor *tensor, int32_t rank,
                                                            const int64_t *shape) {
  const int32_t new_count = rank - tensor->layout.rank;
  if (tarn_inline_is_worth(rank)) {
    if (new_count == 0 && tarn_inline_expand(&tensor->layout, 0, rank, shape)) return TARN_OK;
    if (new_count == 1 && tarn_inline_expand(&tensor->layout, 1, rank, shape)) return TARN_OK;
  }
  return tarn_layout_expand(&tensor->layout, rank, shape);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_split(tarn_tensor *tensor, int32_t dim,
                                                           int64_t piece_size, int64_t index) {
  return tarn_layout_split(&tensor->layout, dim, piece_size, index);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_chunk(tarn_tensor *tensor, int32_t dim,
                                                           int64_t chunk_count, int64_t index) {
  return tarn_layout_chunk(&tensor->layout, dim, chunk_count, index);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_array_split(tarn_tensor *tensor, int32_t dim,
                                                                 int64_t part_count,
                                                                 int64_t index) {
  return tarn_layout_array_split(&tensor->layout, dim, part_count, index);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_unfold(tarn_tensor *tensor, int32_t dim,
                                                            int64_t size, int64_t step) {
  return tarn_layout_unfold(&tensor->layout, dim, size, step);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_diagonal(tarn_tensor *tensor, int64_t offset,
                                                              int32_t dim1, int32_t dim2) {
  return tarn_layout_diagonal(&tensor->layout, offset, dim1, dim2);
}
static inline void tarn_tensor_reverse(tarn_tensor *tensor) {
  tarn_layout_reverse(&tensor->layout);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_movedim(tarn_tensor *tensor, int32_t dim_count,
                                                             const int32_t *from,
                                                             const int32_t *to) {
  return tarn_layout_movedim(&tensor->layout, dim_count, from, to);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_flip(tarn_tensor *tensor, int32_t dim_count,
                                                          const int32_t *dims) {
  return tarn_layout_flip(&tensor->layout, dim_count, dims);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_expand_as(tarn_tensor *tensor,
                                                               const tarn_tensor *other) {
  return tarn_layout_expand_as(&tensor->layout, &other->layout);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_broadcast(tarn_tensor *a, tarn_tensor *b) {
  return tarn_layout_broadcast(&a->layout, &b->layout);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_squeeze(tarn_tensor *tensor, int32_t dim) {
  return tarn_layout_squeeze(&tensor->layout, dim);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_squeeze_dims(tarn_tensor *tensor,
                                                                  int32_t dim_count,
                                                                  const int32_t *dims) {
  return tarn_layout_squeeze_dims(&tensor->layout, dim_count, dims);
}
static inline void tarn_tensor_squeeze_all(tarn_tensor *tensor) {
  tarn_layout_squeeze_all(&tensor->layout);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_unsqueeze(tarn_tensor *tensor, int32_t dim) {
  return tarn_layout_unsqueeze(&tensor->layout, dim);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_view(tarn_tensor *tensor, int32_t rank,
                                                          const int64_t *shape) {
  if (tarn_inline_is_worth(rank) && tarn_inline_view(&tensor->layout, rank, shape)) return TARN_OK;
  return tarn_layout_view(&tensor->layout, rank, shape);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_flatten(tarn_tensor *tensor, int32_t start_dim,
                                                             int32_t end_dim) {
  return tarn_layout_flatten(&tensor->layout, start_dim, end_dim);
}
static inline TARN_NODISCARD tarn_status tarn_tensor_unflatten(tarn_tensor *tensor, int32_t dim,
                                                               int32_t rank, const int64_t *shape) {
  return tarn_layout_unflatten(&tensor->layout, dim, rank, shape);
}
/* Over the whole storage; offset in elements from the storage's start. */
static inline TARN_NODISCARD tarn_status tarn_tensor_as_strided(tarn_tensor *tensor, int32_t rank,
                                                                const int64_t *shape,
                                                                const int64_t *strides,
                                                                int64_t offset) {
  int64_t first, end;
  size_t end_bytes;
  if (tarn_inline_is_worth(rank) && tensor->storage != NULL &&
      tarn_inline_reach(rank, shape, strides, offset, &first, &end) && first >= 0 &&
      tarn_size_mul((size_t)end, tarn_dtype_checked_bytes(tensor->dtype), &end_bytes) &&
      end_bytes <= tarn_storage_size_bytes(tensor->storage)) {
    tarn_inline_set(&tensor->layout, rank, shape, strides, offset);
    return TARN_OK;
  }
  return tarn_layout_as_strided(&tensor->layout, rank, shape, strides, offset,
                                tarn_tensor_capacity(tensor));
}

/* --- views as another type --- */

/* The same bytes as elements of another dtype; the data must be aligned for it as for wrap. Where
 * the element sizes differ, the last dimension grows or shrinks by the ratio: it has to be packed
 * (stride 1, or one element), and towards larger elements its size, the offset and all other
 * strides have to be multiples of the ratio. TARN_INVALID_ARGUMENT otherwise. A last dimension of
 * size 1 may have any stride, as in NumPy; PyTorch wants 1. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_view_as_dtype(tarn_tensor *tensor,
                                                              tarn_dtype dtype);

/* The real and the imaginary parts of complex numbers, as floats with twice the strides; a tensor
 * of real numbers is its own real part, and has no imaginary one: TARN_INVALID_ARGUMENT. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_real(tarn_tensor *tensor);
TARN_API TARN_NODISCARD tarn_status tarn_tensor_imag(tarn_tensor *tensor);
/* Complex numbers as pairs of floats along a new last dimension, and back; that dimension then has
 * size 2 and stride 1, the offset and all other strides are even: else TARN_INVALID_ARGUMENT. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_view_as_real(tarn_tensor *tensor);
TARN_API TARN_NODISCARD tarn_status tarn_tensor_view_as_complex(tarn_tensor *tensor);

/* `view` where that is possible, and then *reshaped borrows nothing but retains the same storage;
 * else a packed copy from `pool` made in the order of `stream`. The caller owns *reshaped either
 * way, and *copied (may be NULL) says which. `pool` may be NULL where the caller knows that no copy
 * is needed. *reshaped is another variable than *tensor. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_reshape(const tarn_tensor *tensor, int32_t rank,
                                                        const int64_t *shape, tarn_pool *pool,
                                                        tarn_stream *stream, tarn_tensor *reshaped,
                                                        bool *copied);

#ifdef __cplusplus
}
#endif
#endif
