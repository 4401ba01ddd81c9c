/* linear_device.c: walks a device's tensor in the order of its memory, and turns each chunk. */
#include "tensor/linear_device.h"

#include "alloc/tarn_stream_copy.h"
#include "tensor/linear_walk.h"
#include "tensor/tarn_copy.h"

/* Below the first there is nothing to overlap; runs as long as the second are copied one by one. */
enum { TURN_BYTES_MIN = 1 << 20, RUN_BYTES_DIRECT = 64 << 10 };

/* Pieces: several of them, each long against a call of the driver. */
enum { PIECES_WANTED = 8, PIECE_BYTES_MIN = 256 << 10, PIECE_BYTES_MAX = 4 << 20 };

static int64_t magnitude(int64_t value) {
  return value < 0 ? -value : value;
}

/* Whether dimension `a` of the layout lies outside of dimension `b` in memory. What is broadcast
 * lies inside of everything. */
static bool is_outside(const tarn_layout *layout, int32_t a, int32_t b) {
  return magnitude(layout->strides[a]) > magnitude(layout->strides[b]);
}

/* The order of the dimensions in memory, the outermost first; equal ones as they are. */
static void memory_order(const tarn_layout *layout, int32_t order[TARN_RANK_MAX]) {
  for (int32_t d = 0; d < layout->rank; d++) {
    int32_t at = d;
    for (; at > 0 && is_outside(layout, d, order[at - 1]); at--) order[at] = order[at - 1];
    order[at] = d;
  }
}

/* The same elements by other indices: dimensions in the given order, and those counted forwards
 * that `flips` says. */
static tarn_status reorder(tarn_layout *layout, const int32_t *order, const bool *flips) {
  tarn_status status = tarn_layout_permute(layout, layout->rank, order);
  for (int32_t d = 0; d < layout->rank && status == TARN_OK; d++) {
    if (!flips[d]) continue;
    status = tarn_layout_slice(layout, d, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1);
  }
  return status;
}

bool tarn__linear_is_turned(const tarn_tensor *tensor, tarn_pool *pool, tarn_stream *stream) {
  const tarn_layout *layout = &tensor->layout;
  if (tarn_device_is_host(tarn_tensor_device(tensor)) || tarn_stream_is_synchronous(stream) ||
      tarn_pool_attributes_of(pool)->device.type == TARN_DEVICE_CPU ||
      tarn_tensor_size_bytes(tensor) < TURN_BYTES_MIN) {
    return false;
  }
  /* A kernel turns it on its way, in one copy. */
  if ((tarn_stream_copy_abilities(stream) & TARN_STREAM_COPIES_GRIDS) != 0) return false;
  int32_t last = -1;
  bool is_turned = false;
  int64_t run = (int64_t)tarn_dtype_size_bytes(tensor->dtype);
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] == 1) continue;
    is_turned |= layout->strides[d] < 0 || (last >= 0 && is_outside(layout, d, last));
    last = d;
  }
  if (last >= 0 && layout->strides[last] == 1) run *= layout->shape[last];
  return is_turned && run < RUN_BYTES_DIRECT;
}

/* Both sides in the order of the device's memory; what is broadcast there has one index. */
static tarn_status reorder_both(tarn_tensor *far, tarn_tensor *near) {
  int32_t order[TARN_RANK_MAX];
  bool flips[TARN_RANK_MAX] = {false};
  memory_order(&far->layout, order);
  for (int32_t d = 0; d < far->layout.rank; d++) {
    flips[d] = far->layout.strides[order[d]] < 0 && far->layout.shape[order[d]] > 1;
  }
  tarn_status status = reorder(&far->layout, order, flips);
  if (status == TARN_OK) status = reorder(&near->layout, order, flips);
  for (int32_t d = 0; d < far->layout.rank; d++) {
    if (far->layout.strides[d] == 0 && far->layout.shape[d] > 1) far->layout.shape[d] = 1;
  }
  return status;
}

static size_t piece_bytes(const tarn_tensor *tensor) {
  const size_t wanted = tarn_tensor_size_bytes(tensor) / PIECES_WANTED;
  if (wanted < PIECE_BYTES_MIN) return PIECE_BYTES_MIN;
  return wanted < PIECE_BYTES_MAX ? wanted : PIECE_BYTES_MAX;
}

/* The chunk at hand: the CPU copies between the walk's buffer and its place in `near`. */
static tarn_status turn_chunk(const tarn_linear_walk *walk, const tarn_tensor *near, bool is_in) {
  tarn_tensor place = *near, buffer;
  tarn_layout box = walk->tensor.layout;
  tarn__linear_walk_narrow(walk, &place.layout);
  tarn__linear_walk_narrow(walk, &box);
  const tarn_blob blob = {
      .struct_size = sizeof blob, .address = walk->data, .size_bytes = walk->size_bytes};
  tarn_status status = tarn_tensor_wrap(&blob, near->dtype, box.rank, box.shape, NULL, 0, &buffer);
  if (status != TARN_OK) return status;
  status = is_in ? tarn_tensor_copy(&place, &buffer, NULL, NULL)
                 : tarn_tensor_copy(&buffer, &place, NULL, NULL);
  tarn_tensor_release(&buffer);
  return status;
}

static tarn_status turn(const tarn_tensor *tensor, const tarn_tensor *packed, uint32_t access,
                        tarn_pool *pool, tarn_stream *stream) {
  tarn_tensor far = *tensor, near = *packed;
  tarn_linear_walk walk;
  tarn_status status = reorder_both(&far, &near);
  if (status != TARN_OK) return status;
  status = tarn__linear_walk_begin_boxes(&far, access, piece_bytes(&far), pool, stream, &walk);
  while (status == TARN_OK) {
    status = tarn_linear_walk_next(&walk);
    if (status != TARN_OK || walk.data == NULL) break;
    status = turn_chunk(&walk, &near, access == TARN_LINEAR_READ);
  }
  const tarn_status ended = tarn_linear_walk_end(&walk);
  return status == TARN_OK ? ended : status;
}

tarn_status tarn__linear_turn_in(const tarn_tensor *tensor, const tarn_tensor *packed,
                                 tarn_pool *pool, tarn_stream *stream) {
  return turn(tensor, packed, TARN_LINEAR_READ, pool, stream);
}

tarn_status tarn__linear_turn_out(const tarn_tensor *tensor, const tarn_tensor *packed,
                                  tarn_pool *pool, tarn_stream *stream) {
  return turn(tensor, packed, TARN_LINEAR_WRITE, pool, stream);
}
