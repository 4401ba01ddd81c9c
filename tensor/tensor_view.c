/* tensor_view.c: views of a tensor that read its bytes as elements of another type. */
#include "tensor/tarn_tensor.h"

#include <inttypes.h>

#include "tensor/layout.h"
#include "tensor/tensor.h"

/* The strides of a size that nothing is reached by may be anything, and need not fit. */
static bool scale(int64_t size, int64_t factor, int64_t *stride) {
  int64_t scaled;
  if (tarn_int64_mul(*stride, factor, &scaled)) {
    *stride = scaled;
    return true;
  }
  return size < 2;
}

/* Every element becomes `factor` of them, side by side, of which the first is kept. */
static tarn_status refine(const tarn_layout *layout, int64_t factor, tarn_layout *refined) {
  tarn_inline_set(refined, layout->rank, layout->shape, layout->strides, layout->offset);
  bool fits = tarn_int64_mul(layout->offset, factor, &refined->offset);
  for (int32_t d = 0; d < layout->rank; d++) {
    fits = scale(layout->shape[d], factor, &refined->strides[d]) && fits;
  }
  if (fits) return TARN_OK;
  return tarn_fail(TARN_TOO_LARGE,
                   "counted in elements %" PRId64 " times smaller, strides leave 63 bits", factor);
}

/* Every `factor` elements become one; the last dimension is not touched. */
static tarn_status coarsen(const tarn_layout *layout, int64_t factor, tarn_layout *coarse) {
  tarn_inline_set(coarse, layout->rank, layout->shape, layout->strides, layout->offset);
  if (layout->offset % factor != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "offset %" PRId64 " is no multiple of %" PRId64,
                     layout->offset, factor);
  }
  coarse->offset = layout->offset / factor;
  const bool has_none = tarn_layout_element_count(layout) == 0; /* nobody sees its strides */
  for (int32_t d = 0; d < layout->rank - 1; d++) {
    if (layout->strides[d] % factor != 0 && layout->shape[d] > 1 && !has_none) {
      return tarn_fail(TARN_INVALID_ARGUMENT,
                       "stride %" PRId64 " of dimension %d is no multiple of %" PRId64,
                       layout->strides[d], d, factor);
    }
    coarse->strides[d] = layout->strides[d] / factor;
  }
  return TARN_OK;
}

static tarn_status view_as_smaller(const tarn_layout *layout, int64_t factor, tarn_layout *viewed) {
  const int32_t last = layout->rank - 1;
  const tarn_status status = refine(layout, factor, viewed);
  if (status != TARN_OK) return status;
  viewed->strides[last] = 1;
  if (!tarn_int64_mul(layout->shape[last], factor, &viewed->shape[last])) {
    return tarn_fail(TARN_TOO_LARGE, "%" PRId64 " times %" PRId64 " elements", factor,
                     layout->shape[last]);
  }
  return TARN_OK;
}

static tarn_status view_as_larger(const tarn_layout *layout, int64_t factor, tarn_layout *viewed) {
  const int32_t last = layout->rank - 1;
  if (layout->shape[last] % factor != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "size %" PRId64 " of the last dimension is no multiple of %" PRId64,
                     layout->shape[last], factor);
  }
  const tarn_status status = coarsen(layout, factor, viewed);
  if (status != TARN_OK) return status;
  viewed->shape[last] = layout->shape[last] / factor;
  viewed->strides[last] = 1;
  return TARN_OK;
}

/* Takes the layout over where it is one, and the address fits the new type. */
static tarn_status finish(tarn_tensor *tensor, const tarn_layout *viewed, tarn_dtype dtype) {
  int64_t first, end;
  if (!tarn_inline_reach(viewed->rank, viewed->shape, viewed->strides, viewed->offset, &first,
                         &end)) {
    return tarn__layout_fail_strided(viewed->rank, viewed->shape, viewed->strides, viewed->offset);
  }
  if (tensor->storage != NULL) {
    const tarn_status status =
        tarn__tensor_check_alignment(tarn_storage_data(tensor->storage), dtype);
    if (status != TARN_OK) return status;
  }
  tarn_inline_set(&tensor->layout, viewed->rank, viewed->shape, viewed->strides, viewed->offset);
  tensor->dtype = dtype;
  return TARN_OK;
}

tarn_status tarn_tensor_view_as_dtype(tarn_tensor *tensor, tarn_dtype dtype) {
  const tarn_layout *layout = &tensor->layout;
  const int32_t last = layout->rank - 1;
  tarn_layout viewed;
  tarn_status status = tarn_dtype_check(dtype);
  if (status != TARN_OK) return status;
  const int64_t old_bytes = (int64_t)tarn_dtype_checked_bytes(tensor->dtype);
  const int64_t new_bytes = (int64_t)tarn_dtype_checked_bytes(dtype);
  if (old_bytes == new_bytes) return finish(tensor, layout, dtype);
  if (layout->rank == 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a scalar of %" PRId64 " bytes as one of %" PRId64,
                     old_bytes, new_bytes);
  }
  if (layout->shape[last] > 1 && layout->strides[last] != 1) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "elements of another size, and the last dimension has stride %" PRId64,
                     layout->strides[last]);
  }
  if (old_bytes % new_bytes == 0) {
    status = view_as_smaller(layout, old_bytes / new_bytes, &viewed);
  } else if (new_bytes % old_bytes == 0) {
    status = view_as_larger(layout, new_bytes / old_bytes, &viewed);
  } else {
    status = tarn_fail(TARN_INVALID_ARGUMENT,
                       "%" PRId64 " bytes of an element are no multiple of %" PRId64
                       ", nor the other way round",
                       old_bytes, new_bytes);
  }
  return status == TARN_OK ? finish(tensor, &viewed, dtype) : status;
}

/* --- complex numbers --- */

static tarn_status fail_dtype(const tarn_tensor *tensor, const char *wanted) {
  char name[64];
  return tarn_fail(TARN_INVALID_ARGUMENT, "%s where %s elements are needed",
                   tarn_dtype_name(tensor->dtype, name, sizeof name), wanted);
}

static bool is_complex(const tarn_tensor *tensor) {
  return tensor->dtype.code == TARN_CODE_COMPLEX && tensor->dtype.lanes == 1;
}

/* Of a complex type, that of its parts. */
static tarn_dtype part_of(tarn_dtype dtype) {
  return tarn_dtype_make(TARN_CODE_FLOAT, dtype.bits / 2, 1);
}

static tarn_status view_part(tarn_tensor *tensor, int64_t place) {
  tarn_layout viewed;
  if (!is_complex(tensor)) return fail_dtype(tensor, "complex");
  const tarn_status status = refine(&tensor->layout, 2, &viewed);
  if (status != TARN_OK) return status;
  /* Twice something is even, so one more fits. */
  if (tarn_layout_element_count(&viewed) > 0) viewed.offset += place;
  return finish(tensor, &viewed, part_of(tensor->dtype));
}

tarn_status tarn_tensor_real(tarn_tensor *tensor) {
  if (tensor->dtype.code != TARN_CODE_COMPLEX) return TARN_OK;
  return view_part(tensor, 0);
}

tarn_status tarn_tensor_imag(tarn_tensor *tensor) {
  return view_part(tensor, 1);
}

tarn_status tarn_tensor_view_as_real(tarn_tensor *tensor) {
  tarn_layout viewed;
  const int32_t rank = tensor->layout.rank;
  if (!is_complex(tensor)) return fail_dtype(tensor, "complex");
  if (rank == TARN_RANK_MAX) return tarn__layout_fail_rank(rank);
  const tarn_status status = refine(&tensor->layout, 2, &viewed);
  if (status != TARN_OK) return status;
  viewed.shape[rank] = 2;
  viewed.strides[rank] = 1;
  viewed.rank = rank + 1;
  return finish(tensor, &viewed, part_of(tensor->dtype));
}

tarn_status tarn_tensor_view_as_complex(tarn_tensor *tensor) {
  const tarn_layout *layout = &tensor->layout;
  const int32_t last = layout->rank - 1;
  const tarn_dtype dtype = tensor->dtype;
  tarn_layout viewed;
  if (dtype.code != TARN_CODE_FLOAT || dtype.lanes != 1) return fail_dtype(tensor, "float");
  if (last < 0 || layout->shape[last] != 2 || layout->strides[last] != 1) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "complex numbers need a last dimension of size 2 and stride 1");
  }
  const tarn_status status = coarsen(layout, 2, &viewed);
  if (status != TARN_OK) return status;
  viewed.rank = last;
  return finish(tensor, &viewed, tarn_dtype_make(TARN_CODE_COMPLEX, dtype.bits * 2, 1));
}
