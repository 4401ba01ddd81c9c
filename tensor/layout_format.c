/* layout_format.c: layouts whose dimensions lie in memory in another order than they are named in.
 */
#include "tensor/tarn_layout.h"
#include "tensor/layout.h"

/* Outermost first. */
static const int32_t nhwc[4] = {0, 2, 3, 1};
static const int32_t ndhwc[5] = {0, 2, 3, 4, 1};

tarn_status tarn_layout_init_permuted(tarn_layout *layout, int32_t rank, const int64_t *shape,
                                      const int32_t *order) {
  tarn_layout made = {.rank = rank};
  uint32_t seen = 0;
  int64_t stride = 1;
  *layout = (tarn_layout){0};
  const tarn_status status = tarn__layout_check_shape(rank, shape);
  if (status != TARN_OK) return status;
  if (rank > 0 && order == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%d dimensions in no order", rank);
  }
  for (int32_t i = rank - 1; i >= 0; i--) {
    int32_t dim = order[i];
    if (!tarn__resolve_dim(rank, &dim)) return tarn__layout_fail_dim(rank, order[i]);
    if (seen & (1u << dim))
      return tarn_fail(TARN_INVALID_ARGUMENT, "dimension %d comes twice", dim);
    seen |= 1u << dim;
    made.shape[dim] = shape[dim];
    made.strides[dim] = stride;
    stride *= tarn__max_one(shape[dim]);
  }
  *layout = made;
  return TARN_OK;
}

/* NULL where such a shape has no channels. */
static const int32_t *channels_last_order(int32_t rank) {
  return rank == 4 ? nhwc : rank == 5 ? ndhwc : NULL;
}

tarn_status tarn_layout_init_channels_last(tarn_layout *layout, int32_t rank,
                                           const int64_t *shape) {
  const int32_t *order = channels_last_order(rank);
  if (order != NULL) return tarn_layout_init_permuted(layout, rank, shape, order);
  *layout = (tarn_layout){0};
  return tarn_fail(TARN_INVALID_ARGUMENT, "channels-last of rank %d, which is neither 4 nor 5",
                   rank);
}

bool tarn_layout_is_contiguous_in(const tarn_layout *layout, const int32_t *order) {
  tarn_layout ordered = {.rank = layout->rank};
  for (int32_t d = 0; d < layout->rank; d++) {
    const int32_t dim = order[d] < 0 ? order[d] + layout->rank : order[d];
    ordered.shape[d] = layout->shape[dim];
    ordered.strides[d] = layout->strides[dim];
  }
  return tarn_layout_is_contiguous(&ordered);
}

/* From the channels outwards, no dimension may begin before the one inside it ends. That alone does
 * not tell N x 1 x 1 x 1 from row-major: there the batch has to be wider than the channels, which
 * it is not where nothing inside it has an extent. */
bool tarn_layout_is_channels_last(const tarn_layout *layout) {
  const int32_t *order = channels_last_order(layout->rank);
  if (order == NULL || layout->strides[1] == 0) return false;
  int64_t inside = 0; /* how far the dimensions inside this one reach */
  for (int32_t i = layout->rank - 1; i >= 0; i--) {
    const int64_t size = layout->shape[order[i]], stride = layout->strides[order[i]];
    if (size == 0 || stride < inside) return false;
    if (i == 0 && inside == layout->strides[1]) return false;
    if (!tarn_int64_mul(stride, size, &inside)) inside = INT64_MAX;
  }
  return true;
}
